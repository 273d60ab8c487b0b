//! Who was let in, and who is not any more: tokens and certificates that were made or shown here, and each agent's key.

use super::message::KeyId;
use crate::agent::token::Grant;
use crate::controller::model::records::AgentId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Below this prefix the credentials stand.
pub const CREDENTIALS: &str = "credentials/";
/// How many expired ones are forgotten at a time.
const FORGOTTEN: usize = 50;

/// A credential's name: a token's number, or the SHA-256 of a certificate's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialId(Box<str>);

/// What a credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialKind {
    /// A token.
    Token,
    /// A certificate with its key.
    Certificate,
}

/// This names no credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a token's number has 32 hexadecimal digits, a certificate's has 64; `gatewayctl token list` and `certificate list` show them"
)]
pub struct NoCredential;

impl CredentialId {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it names.
    pub fn kind(&self) -> CredentialKind {
        if self.0.len() == 32 { CredentialKind::Token } else { CredentialKind::Certificate }
    }

    /// Where it stands in the store.
    pub fn store_key(&self) -> String {
        format!("{CREDENTIALS}{self}")
    }
}

impl FromStr for CredentialId {
    type Err = NoCredential;

    fn from_str(text: &str) -> Result<Self, NoCredential> {
        let sound = matches!(text.len(), 32 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if sound { Ok(Self(text.to_ascii_lowercase().into())) } else { Err(NoCredential) }
    }
}

impl From<KeyId> for CredentialId {
    fn from(key: KeyId) -> Self {
        Self(key.to_string().into())
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known of a credential: `credentials/<id>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Whom it lets in; absent if nobody has shown it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
    /// When it expires, in seconds since 1970; absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// When it was taken back, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<u64>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    credentials: BTreeMap<CredentialId, Credential>,
    keys: BTreeMap<AgentId, CredentialId>,
}

impl Ledger {
    /// What is known of one.
    pub fn get(&self, id: &CredentialId) -> Option<&Credential> {
        self.credentials.get(id)
    }

    /// All that were made or shown here.
    pub fn credentials(&self) -> impl Iterator<Item = (&CredentialId, &Credential)> {
        self.credentials.iter()
    }

    /// The agents' present keys.
    pub fn keys(&self) -> impl Iterator<Item = (&AgentId, &CredentialId)> {
        self.keys.iter()
    }

    /// Whether it was taken back.
    pub fn is_revoked(&self, id: &CredentialId) -> bool {
        self.get(id).is_some_and(|known| known.revoked.is_some())
    }

    /// Whether an agent has joined again with another key than this one.
    pub fn is_replaced(&self, agent: &AgentId, id: &CredentialId) -> bool {
        self.keys.get(agent).is_some_and(|known| known != id)
    }

    /// Says what is known of one.
    pub fn set(&mut self, id: CredentialId, credential: Option<Credential>) {
        match credential {
            Some(credential) => self.credentials.insert(id, credential),
            None => self.credentials.remove(&id),
        };
    }

    /// Says which key an agent has.
    pub fn set_key(&mut self, agent: &AgentId, key: Option<CredentialId>) {
        match key {
            Some(key) => self.keys.insert(agent.clone(), key),
            None => self.keys.remove(agent),
        };
    }

    /// Some that have expired by `now`, in seconds since 1970: nobody is let in by them anyway.
    pub fn expired(&self, now: u64) -> Vec<CredentialId> {
        let expired = self.credentials.iter().filter(|(_, known)| known.expires.is_some_and(|expires| expires < now));
        expired.map(|(id, _)| id.clone()).take(FORGOTTEN).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_named_by_its_digits() {
        let (token, key) = ("0123456789abcdef".repeat(2), "0123456789ABCDEF".repeat(4));
        assert_eq!(token.parse::<CredentialId>().map(|id| id.kind()), Ok(CredentialKind::Token));
        let id = key.parse::<CredentialId>().expect("a certificate's");
        assert_eq!((id.kind(), id.as_str()), (CredentialKind::Certificate, key.to_ascii_lowercase().as_str()));
        for wrong in ["", "0123", &"g".repeat(32), &format!("{key}0"), "../../resources/gateways/gw1"] {
            assert_eq!(wrong.parse::<CredentialId>(), Err(NoCredential), "{wrong}");
        }
    }
}
