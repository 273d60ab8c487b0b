//! Authentication sections (RFC 5880, 4.2-4.4 and 6.7): keyed and meticulous keyed SHA1.
//!
//! The simple password, which anybody on the way can read, and MD5 are recognised and refused.

use crate::packet::{DecodeError, Encoded, LENGTH, MAX_LENGTH};
use ring::digest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU8;
use thiserror::Error;

/// Bytes of a section with SHA1.
pub const SHA1_LENGTH: usize = 28;
/// Bytes of the longest secret.
pub const LONGEST_SECRET: usize = 20;

const KEYED_SHA1: u8 = 4;
const METICULOUS_SHA1: u8 = 5;

/// How much a sender takes upon itself against packets that are sent once more by somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// The sequence number may stay: the last packet can be sent again.
    KeyedSha1,
    /// Every packet has a number of its own.
    MeticulousSha1,
}

impl Strength {
    const fn kind(self) -> u8 {
        match self {
            Self::KeyedSha1 => KEYED_SHA1,
            Self::MeticulousSha1 => METICULOUS_SHA1,
        }
    }
}

/// What both ends know.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawKey", into = "RawKey")]
pub struct Key {
    id: u8,
    strength: Strength,
    /// Filled up with zeroes.
    secret: [u8; LONGEST_SECRET],
}

/// A secret that no packet has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a secret has 1 to {LONGEST_SECRET} bytes, not {0}")]
pub struct SecretLength(pub usize);

impl Key {
    /// A key by its number, which both ends have to give it.
    ///
    /// # Errors
    /// The secret is empty or too long.
    pub fn new(id: u8, strength: Strength, secret: &[u8]) -> Result<Self, SecretLength> {
        let mut padded = [0; LONGEST_SECRET];
        let room = padded.get_mut(..secret.len()).filter(|room| !room.is_empty());
        room.ok_or(SecretLength(secret.len()))?.copy_from_slice(secret);
        Ok(Self { id, strength, secret: padded })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {:?}, secret not shown)", self.id, self.strength)
    }
}

/// A key that nobody has looked at.
#[derive(Serialize, Deserialize)]
struct RawKey {
    id: u8,
    strength: Strength,
    secret: Vec<u8>,
}

impl TryFrom<RawKey> for Key {
    type Error = SecretLength;

    fn try_from(raw: RawKey) -> Result<Self, SecretLength> {
        Self::new(raw.id, raw.strength, &raw.secret)
    }
}

impl From<Key> for RawKey {
    fn from(key: Key) -> Self {
        // Zeroes at the end are all the same to both ends.
        Self { id: key.id, strength: key.strength, secret: key.secret.to_vec() }
    }
}

/// A section as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section<'a> {
    /// SHA1 in one of two strengths.
    Sha1 {
        /// Which.
        strength: Strength,
        /// The key's number.
        key: u8,
        /// The packet's number.
        sequence: u32,
        /// What the sender computed.
        digest: &'a [u8],
    },
    /// A password that everybody on the way can read.
    SimplePassword,
    /// MD5 in one of two strengths.
    Md5,
    /// Another type.
    Unknown(u8),
}

impl<'a> Section<'a> {
    /// Reads what follows the packet's header.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let malformed = DecodeError::Authentication;
        let &[kind, length, ..] = bytes else { return Err(malformed) };
        if usize::from(length) != bytes.len() {
            return Err(malformed);
        }
        let of_length = |wanted: usize| if bytes.len() == wanted { Ok(()) } else { Err(malformed) };
        match kind {
            1 if (4..=19).contains(&bytes.len()) => Ok(Self::SimplePassword),
            1 => Err(malformed),
            2 | 3 => of_length(24).map(|()| Self::Md5),
            KEYED_SHA1 | METICULOUS_SHA1 => {
                of_length(SHA1_LENGTH)?;
                Ok(Self::Sha1 {
                    strength: if kind == KEYED_SHA1 { Strength::KeyedSha1 } else { Strength::MeticulousSha1 },
                    key: bytes[2],
                    sequence: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
                    digest: &bytes[8..],
                })
            }
            other => Ok(Self::Unknown(other)),
        }
    }
}

/// Why a packet is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AuthError {
    /// One end has a key, the other has none.
    #[error("it is not authenticated, and has to be")]
    Missing,
    /// The same the other way round.
    #[error("it is authenticated, and this session has no key")]
    Unexpected,
    /// The type is another one than ours.
    #[error("it is authenticated in another way than this session asks for")]
    Kind,
    /// The key's number is another one than ours.
    #[error("it is authenticated by key {0}, which this session does not have")]
    Key(u8),
    /// It was sent before, or too many are missing.
    #[error("its sequence number {0} is out of order")]
    Sequence(u32),
    /// The secret is another one, or the packet was changed.
    #[error("its digest is wrong")]
    Digest,
}

/// One session's authentication: its key and the numbers in both directions.
#[derive(Clone, Debug)]
pub(crate) struct Authenticator {
    key: Key,
    next: u32,
    last_received: Option<u32>,
}

impl Authenticator {
    /// The first number is random, so that what was sent before a restart is out of order.
    pub(crate) fn new(key: Key, random: u32) -> Self {
        Self { key, next: random, last_received: None }
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// The neighbour was silent for long: it may begin with any number (6.8.1, bfd.AuthSeqKnown).
    pub(crate) fn forget_sequence(&mut self) {
        self.last_received = None;
    }

    pub(crate) fn sign(&mut self, encoded: &mut Encoded) {
        let bytes = encoded.extended();
        bytes[LENGTH..LENGTH + 4].copy_from_slice(&[self.key.strength.kind(), SHA1_LENGTH as u8, self.key.id, 0]);
        bytes[LENGTH + 4..LENGTH + 8].copy_from_slice(&self.next.to_be_bytes());
        let digest = digest_of(&self.key, bytes);
        bytes[LENGTH + 8..].copy_from_slice(digest.as_ref());
        self.next = self.next.wrapping_add(1);
    }

    /// Believes a packet or not (6.7.4). `multiplier` is the neighbour's.
    pub(crate) fn check(
        &mut self,
        section: &Section<'_>,
        bytes: &[u8],
        multiplier: NonZeroU8,
    ) -> Result<(), AuthError> {
        let Section::Sha1 { strength, key, sequence, digest } = *section else { return Err(AuthError::Kind) };
        if strength != self.key.strength {
            return Err(AuthError::Kind);
        }
        if key != self.key.id {
            return Err(AuthError::Key(key));
        }
        if let Some(last) = self.last_received {
            let ahead = sequence.wrapping_sub(last);
            let least = u32::from(strength == Strength::MeticulousSha1);
            if !(least..=3 * u32::from(multiplier.get())).contains(&ahead) {
                return Err(AuthError::Sequence(sequence));
            }
        }
        let bytes: &[u8; MAX_LENGTH] = bytes.try_into().map_err(|_| AuthError::Digest)?;
        let expected = digest_of(&self.key, bytes);
        // Every byte is looked at, however early they differ.
        let differences = expected.as_ref().iter().zip(digest).fold(0, |sum, (one, other)| sum | (one ^ other));
        if differences != 0 {
            return Err(AuthError::Digest);
        }
        self.last_received = Some(sequence);
        Ok(())
    }
}

/// SHA1 over the packet with the secret where the digest stands.
fn digest_of(key: &Key, bytes: &[u8; MAX_LENGTH]) -> digest::Digest {
    let mut filled = *bytes;
    filled[LENGTH + 8..].copy_from_slice(&key.secret);
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Received;
    use crate::packet::tests::GOLDEN;

    fn key(strength: Strength) -> Key {
        Key::new(2, strength, b"secret").unwrap()
    }

    fn signed(by: &mut Authenticator) -> Vec<u8> {
        let mut encoded = Received::decode(&GOLDEN).unwrap().packet.encode();
        by.sign(&mut encoded);
        encoded.bytes().to_vec()
    }

    fn check(by: &mut Authenticator, bytes: &[u8]) -> Result<(), AuthError> {
        let received = Received::decode(bytes).unwrap();
        by.check(&received.section.unwrap(), received.bytes, received.packet.multiplier)
    }

    #[test]
    fn a_section_stands_on_the_wire_as_the_rfc_draws_it() {
        let bytes = signed(&mut Authenticator::new(key(Strength::MeticulousSha1), 0x0102_0304));
        assert_eq!(bytes.len(), 52);
        assert_eq!((bytes[1], bytes[3]), (0xcc, 52));
        assert_eq!(bytes[24..32], [5, 28, 2, 0, 1, 2, 3, 4]);
        // Computed by sha1sum(1) over the header, the section's first eight bytes and the secret with its zeroes.
        let mut whole = bytes[..32].to_vec();
        whole.extend(b"secret");
        whole.resize(52, 0);
        assert_eq!(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &whole).as_ref(), &bytes[32..]);
    }

    #[test]
    fn the_right_secret_is_believed_and_no_other() {
        for strength in [Strength::KeyedSha1, Strength::MeticulousSha1] {
            let bytes = signed(&mut Authenticator::new(key(strength), 5));
            assert_eq!(check(&mut Authenticator::new(key(strength), 0), &bytes), Ok(()));
            let wrong = Key::new(2, strength, b"Secret").unwrap();
            assert_eq!(check(&mut Authenticator::new(wrong, 0), &bytes), Err(AuthError::Digest));
            let other = Key::new(3, strength, b"secret").unwrap();
            assert_eq!(check(&mut Authenticator::new(other, 0), &bytes), Err(AuthError::Key(2)));
            let mut changed = bytes.clone();
            changed[15] ^= 1;
            assert_eq!(check(&mut Authenticator::new(key(strength), 0), &changed), Err(AuthError::Digest));
        }
        let bytes = signed(&mut Authenticator::new(key(Strength::KeyedSha1), 5));
        assert_eq!(check(&mut Authenticator::new(key(Strength::MeticulousSha1), 0), &bytes), Err(AuthError::Kind));
    }

    #[test]
    fn a_packet_that_is_sent_again_is_not_believed_by_the_meticulous() {
        for (strength, again) in
            [(Strength::KeyedSha1, Ok(())), (Strength::MeticulousSha1, Err(AuthError::Sequence(u32::MAX)))]
        {
            let (mut sender, mut receiver) =
                (Authenticator::new(key(strength), u32::MAX), Authenticator::new(key(strength), 0));
            let first = signed(&mut sender);
            assert_eq!(check(&mut receiver, &first), Ok(()));
            assert_eq!(check(&mut receiver, &first), again);
            // The numbers go on behind the largest.
            let second = signed(&mut sender);
            assert_eq!(check(&mut receiver, &second), Ok(()));
            assert_eq!(check(&mut receiver, &first), Err(AuthError::Sequence(u32::MAX)));
            // At most three times the multiplier may be missing.
            for _ in 0..9 {
                signed(&mut sender);
            }
            let far = signed(&mut sender);
            assert_eq!(check(&mut receiver, &far), Err(AuthError::Sequence(10)));
            receiver.forget_sequence();
            assert_eq!(check(&mut receiver, &far), Ok(()));
        }
    }

    #[test]
    fn passwords_and_md5_are_recognised_and_refused() {
        let section = |kind: u8, length: usize| {
            let mut bytes = GOLDEN.to_vec();
            bytes.extend([kind, length as u8]);
            bytes.resize(24 + length, 0);
            bytes[1] |= 0x04;
            bytes[3] = bytes.len() as u8;
            bytes
        };
        for (kind, length, expected) in [
            (1, 9, Section::SimplePassword),
            (2, 24, Section::Md5),
            (3, 24, Section::Md5),
            (77, 2, Section::Unknown(77)),
        ] {
            let bytes = section(kind, length);
            assert_eq!(Received::decode(&bytes).unwrap().section, Some(expected));
            assert_eq!(check(&mut Authenticator::new(key(Strength::KeyedSha1), 0), &bytes), Err(AuthError::Kind));
        }
        for (kind, length) in [(1, 3), (1, 20), (2, 23), (3, 25), (4, 27), (5, 29)] {
            assert_eq!(Received::decode(&section(kind, length)), Err(DecodeError::Authentication));
        }
        let mut longer = section(4, 28);
        longer[25] = 27;
        assert_eq!(Received::decode(&longer), Err(DecodeError::Authentication));
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert!(!format!("{:?}", key(Strength::KeyedSha1)).contains("secret\""));
        assert_eq!(Key::new(1, Strength::KeyedSha1, b""), Err(SecretLength(0)));
        assert_eq!(Key::new(1, Strength::KeyedSha1, &[1; 21]), Err(SecretLength(21)));
        let text = serde_json::to_string(&key(Strength::KeyedSha1)).unwrap();
        assert_eq!(serde_json::from_str::<Key>(&text).unwrap(), key(Strength::KeyedSha1));
    }
}
