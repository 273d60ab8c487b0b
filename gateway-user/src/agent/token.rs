//! Tokens as their bearers hold them: what a token says can be read by anybody, whether it is genuine only by the controller.

use crate::controller::model::records::AgentId;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What every token begins with, so that people and scanners know one when they see it.
const PREFIX: &str = "gwt_";
/// Longest token.
const MAX_LEN: usize = 2048;

/// A certificate, as the SHA-256 of its DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of a certificate's DER.
    pub fn of(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, der).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = TokenError;

    fn try_from(text: String) -> Result<Self, TokenError> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(TokenError);
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte =
                std::str::from_utf8(digits).ok().and_then(|two| u8::from_str_radix(two, 16).ok()).ok_or(TokenError)?;
        }
        Ok(Self(bytes))
    }
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Its number: no other token has it.
    pub id: String,
    /// When it expires, in seconds since 1970.
    pub expires: u64,
    /// The authority that the controller's certificate comes from.
    pub authority: Fingerprint,
    /// What it is good for.
    pub grant: Grant,
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// One certificate for this agent.
    Join(AgentId),
    /// The REST API, in the name of this client.
    Client(Client),
}

/// A client of the REST API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// The client's name, for the audit trail.
    pub name: String,
    /// What it may do.
    pub role: ClientRole,
}

/// What a client may do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientRole {
    /// Everything.
    Admin,
    /// What is this tenant's.
    Tenant(String),
    /// To read everything.
    ReadOnly,
}

/// A token. It is a secret: neither `Debug` nor a log shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

/// This is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no token; `gatewayd controller token create` makes one, give it whole")]
pub struct TokenError;

impl Token {
    /// Puts claims and their signature together.
    pub fn new(claims: &[u8], signature: &[u8]) -> Self {
        let (claims, signature) = (URL_SAFE_NO_PAD.encode(claims), URL_SAFE_NO_PAD.encode(signature));
        Self(format!("{PREFIX}{claims}.{signature}").into())
    }

    /// The token itself, for the one place where it is sent or printed.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The claims' bytes and their signature.
    pub fn parts(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (claims, signature) = self.0.strip_prefix(PREFIX)?.split_once('.')?;
        Some((URL_SAFE_NO_PAD.decode(claims).ok()?, URL_SAFE_NO_PAD.decode(signature).ok()?))
    }

    /// What it says. Whether that is true only the controller knows.
    pub fn claims(&self) -> Option<Claims> {
        serde_json::from_slice(&self.parts()?.0).ok()
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() > MAX_LEN {
            return Err(TokenError);
        }
        let token = Self(text.into());
        token.claims().map(|_| token).ok_or(TokenError)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            id: "1".to_owned(),
            expires: 2,
            authority: Fingerprint::of(b"certificate"),
            grant: Grant::Client(Client { name: "alice".to_owned(), role: ClientRole::Tenant("contoso".to_owned()) }),
        }
    }

    #[test]
    fn a_token_tells_its_claims_and_hides_itself() {
        let token = Token::new(&serde_json::to_vec(&claims()).expect("JSON"), b"signature");
        assert_eq!(token.expose().parse::<Token>().expect("a token").claims(), Some(claims()));
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn what_is_no_token_is_told_so() {
        for text in ["", "gwt_", "gwt_e30.AA", "gwt_!!.AA", "e30.AA", &format!("gwt_{}.AA", "A".repeat(4000))] {
            assert_eq!(text.parse::<Token>(), Err(TokenError), "{text}");
        }
    }
}
