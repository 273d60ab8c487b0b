//! Credentials are made known, and taken back.

use super::Core;
use super::change::{Entries, json};
use super::event::{Action, Moment};
use super::ledger::{Credential, CredentialId};
use super::message::{Refusal, RefusalKind};

impl Core {
    /// Remembers a credential that was made or shown, so that it can be listed.
    pub(super) fn know(
        &mut self,
        id: CredentialId,
        credential: Credential,
        now: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        self.leads()?;
        if self.state.ledger().get(&id).is_some() {
            return Ok(());
        }
        self.keep_credential(id, credential, now, actions)
    }

    /// Takes a credential back: from now on nobody is let in by it.
    pub(super) fn revoke(&mut self, id: CredentialId, now: Moment, actions: &mut Vec<Action>) -> Result<(), Refusal> {
        self.leads()?;
        let known = self.state.ledger().get(&id).cloned().unwrap_or_default();
        if known.revoked.is_some() {
            return Ok(());
        }
        let revoked = Credential { revoked: Some(now.unix_milliseconds / 1000), ..known };
        self.keep_credential(id, revoked, now, actions)
    }

    fn keep_credential(
        &mut self,
        id: CredentialId,
        credential: Credential,
        now: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        let record = json(&credential).map_err(|error| Refusal::new(RefusalKind::Malformed, error.to_string()))?;
        let mut entries: Entries = vec![(id.store_key(), Some(record))];
        for expired in self.state.ledger().expired(now.unix_milliseconds / 1000) {
            if expired != id {
                entries.push((expired.store_key(), None));
                self.state.ledger_mut().set(expired, None);
            }
        }
        self.state.ledger_mut().set(id, Some(credential));
        self.write(entries, actions);
        Ok(())
    }
}
