//! Makes tokens and tells whether one is genuine. Their key follows from the authority's, so nothing about them is stored until one is used.

use super::authority::Authority;
use crate::agent::token::{Claims, Fingerprint, Grant, Token};
use ring::rand::{SecureRandom, SystemRandom};
use std::time::{Duration, SystemTime};

/// How long a join token is good unless somebody says otherwise.
pub const JOIN_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How long a join token may be good.
pub const JOIN_LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long a client's token is good unless somebody says otherwise.
pub const CLIENT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long a client's token may be good.
pub const CLIENT_LIFETIME_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// How long a token is good unless somebody says otherwise.
pub const fn default_lifetime(grant: &Grant) -> Duration {
    match grant {
        Grant::Join(_) => JOIN_LIFETIME,
        Grant::Client(_) => CLIENT_LIFETIME,
    }
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untaken {
    /// Not one of ours.
    #[error("the token is not one of this controller's")]
    Forged,
    /// It was good once.
    #[error("the token has expired; make another one with `gatewayd controller token create`")]
    Expired,
    /// Somebody took it back.
    #[error("this token or certificate was revoked, or its agent has joined again with another key")]
    Revoked,
    /// The system's clock stands before 1970, or there is no randomness.
    #[error("the host has no clock or no random bytes")]
    Host,
}

impl Authority {
    /// Makes a token. `pinned` is the certificate by which its bearer knows the controller.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn token(&self, grant: Grant, pinned: Fingerprint, lifetime: Duration) -> Result<Token, Untaken> {
        let mut number = [0; 16];
        SystemRandom::new().fill(&mut number).map_err(|_| Untaken::Host)?;
        let limit = match grant {
            Grant::Join(_) => JOIN_LIFETIME_MAX,
            Grant::Client(_) => CLIENT_LIFETIME_MAX,
        };
        let claims = Claims {
            id: number.iter().map(|byte| format!("{byte:02x}")).collect(),
            expires: seconds()? + lifetime.min(limit).as_secs(),
            authority: pinned,
            grant,
        };
        let bytes = serde_json::to_vec(&claims).map_err(|_| Untaken::Host)?;
        Ok(Token::new(&bytes, ring::hmac::sign(self.secret(), &bytes).as_ref()))
    }

    /// What a genuine token that has not expired says.
    ///
    /// # Errors
    /// It is none.
    pub fn claims(&self, token: &Token) -> Result<Claims, Untaken> {
        let (bytes, signature) = token.parts().ok_or(Untaken::Forged)?;
        ring::hmac::verify(self.secret(), &bytes, &signature).map_err(|_| Untaken::Forged)?;
        let claims: Claims = serde_json::from_slice(&bytes).map_err(|_| Untaken::Forged)?;
        if claims.expires <= seconds()? {
            return Err(Untaken::Expired);
        }
        Ok(claims)
    }
}

fn seconds() -> Result<u64, Untaken> {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map(|since| since.as_secs()).map_err(|_| Untaken::Host)
}
