//! Credentials are made known, and taken back.

use super::Core;
use super::change::{Entries, json};
use super::event::{Moment, Sink};
use super::ledger::{Credential, CredentialId};
use super::message::{Refusal, RefusalKind};

impl Core {
    /// Remembers a credential that was made or shown, so that it can be listed.
    pub(super) fn know(
        &mut self,
        id: CredentialId,
        credential: Credential,
        now: Moment,
        actions: &mut dyn Sink,
    ) -> Result<(), Refusal> {
        self.change_credential(id, now, actions, |known| known.is_none().then_some(credential))
    }

    /// Takes a credential back: from now on nobody is let in by it.
    pub(super) fn revoke(&mut self, id: CredentialId, now: Moment, actions: &mut dyn Sink) -> Result<(), Refusal> {
        self.change_credential(id, now, actions, |known| {
            let known = known.cloned().unwrap_or_default();
            known.revoked.is_none().then_some(Credential { revoked: Some(now.unix_milliseconds / 1000), ..known })
        })
    }

    /// Makes of what is known of a credential something else, if there is anything to change.
    fn change_credential(
        &mut self,
        id: CredentialId,
        now: Moment,
        actions: &mut dyn Sink,
        change: impl FnOnce(Option<&Credential>) -> Option<Credential>,
    ) -> Result<(), Refusal> {
        self.leads()?;
        let Some(credential) = change(self.state.ledger().get(&id)) else { return Ok(()) };
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
