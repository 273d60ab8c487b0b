//! What gateways of a pool say to each other: sealed datagrams, each for one receiver.
//!
//! ```text
//!  0                   1                   2                   3
//! +-------------------------------+---------------+---------------+
//! |                        magic "seat"                           |
//! +---------------+---------------+-------------------------------+
//! |  version (1)  |       0       |        sender's number        |
//! +---------------+---------------+-------------------------------+
//! |                     sender's session (64)                     |
//! |                    receiver's session (64)                    |
//! |                         sequence (64)                         |
//! +---------------------------------------------------------------+
//! |       sealed by AES-256-GCM: a letter as JSON, 16 bytes of tag |
//! ```
//!
//! A session is a process's own random number. The key of a letter comes from the pair's key, the sender's number and its session, and the
//! nonce is the sequence, so no nonce is used twice under a key. A letter counts only if it names the receiver's own session, which its
//! sender can only know from a letter of this session: what was sent to a former one is never heard again. Within a session a letter counts
//! once. Who is named a wrong session greets, so that both know each other's after one round trip.

use super::configuration::PairKey;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The UDP port on which letters are heard.
pub const PORT: u16 = 61_791;
/// Bytes of a letter at most.
pub const LIMIT: usize = 1200;
const MAGIC: [u8; 4] = *b"seat";
const VERSION: u8 = 1;
const HEADER: usize = 32;
const TAG: usize = 16;
/// Letters that may come in another order than they were sent.
const WINDOW: u64 = 64;

/// What a letter says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// When it was sent, by its sender's monotonic clock; nobody else's business.
    pub sent: u64,
    /// The same by its sender's wall clock.
    pub wall: u64,
    /// The last letter of the receiver's: its `sent`, and how many nanoseconds ago it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<(u64, u64)>,
    /// Whether the sender's agent is heard.
    pub agent: bool,
    /// A question or an answer; none in a letter that only says that its sender is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<seat::Message>,
}

/// Why a letter does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LetterError {
    /// It is none.
    #[error("it is no letter of this version")]
    Malformed,
    /// It was made by somebody without the key, or changed.
    #[error("it was not sealed by the gateway that it names")]
    Forged,
    /// It was for another session of ours.
    #[error("it was for another session")]
    OtherSession,
    /// It came before.
    #[error("it came before")]
    Repeated,
}

/// A letter's head, which anybody can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The sender's number.
    pub sender: u16,
    session: u64,
    to_session: u64,
    sequence: u64,
}

impl Head {
    /// Reads the head of a datagram.
    ///
    /// # Errors
    /// It is no letter.
    pub fn read(datagram: &[u8]) -> Result<Self, LetterError> {
        let is_letter = (HEADER + TAG..=LIMIT).contains(&datagram.len())
            && datagram[..4] == MAGIC
            && datagram[4..6] == [VERSION, 0];
        if !is_letter {
            return Err(LetterError::Malformed);
        }
        let number = |at: usize| datagram[at..at + 8].iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        let sender = u16::from_be_bytes([datagram[6], datagram[7]]);
        Ok(Self { sender, session: number(8), to_session: number(16), sequence: number(24) })
    }

    fn bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[6..8].copy_from_slice(&self.sender.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.session.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.to_session.to_be_bytes());
        bytes[24..].copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }
}

/// What two gateways send each other, from one end.
#[derive(Debug)]
pub struct Correspondence {
    key: PairKey,
    me: u16,
    peer: u16,
    session: u64,
    sealing: LessSafeKey,
    sequence: u64,
    /// The peer's session, as it told itself in a letter to this session of ours.
    known: Option<u64>,
    /// The same, as it told in a letter that may be old.
    guessed: Option<u64>,
    opening: Option<(u64, LessSafeKey)>,
    heard: Window,
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

fn key_of(pair: &PairKey, sender: u16, session: u64) -> Option<LessSafeKey> {
    let secret = Salt::new(HKDF_SHA256, b"gateway seats").extract(pair.bytes());
    let (sender, session) = (sender.to_be_bytes(), session.to_be_bytes());
    let info: [&[u8]; 3] = [b"letters", &sender, &session];
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    secret.expand(&info, Length).ok()?.fill(bytes.as_mut_slice()).ok()?;
    UnboundKey::new(&AES_256_GCM, bytes.as_slice()).ok().map(LessSafeKey::new)
}

fn nonce_of(sequence: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&sequence.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

impl Correspondence {
    /// Between these two gateways, in a session of ours that has a random number. `None` if the library makes no key.
    pub fn new(key: PairKey, me: u16, peer: u16, session: u64) -> Option<Self> {
        let sealing = key_of(&key, me, session)?;
        let (known, guessed, opening) = (None, None, None);
        Some(Self { key, me, peer, session, sealing, sequence: 0, known, guessed, opening, heard: Window::default() })
    }

    /// Whether the peer's session is known, so that what is sent counts.
    pub const fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// A letter as it goes onto the wire.
    pub fn seal(&mut self, letter: &Letter) -> Option<Vec<u8>> {
        self.sequence += 1;
        let to_session = self.known.or(self.guessed).unwrap_or(0);
        let head = Head { sender: self.me, session: self.session, to_session, sequence: self.sequence }.bytes();
        let mut body = serde_json::to_vec(letter).ok()?;
        let tag = self.sealing.seal_in_place_separate_tag(nonce_of(self.sequence), Aad::from(head), &mut body).ok()?;
        let datagram = [head.as_slice(), &body, tag.as_ref()].concat();
        (datagram.len() <= LIMIT).then_some(datagram)
    }

    /// What a datagram says, if it is a letter of the peer's that counts.
    ///
    /// # Errors
    /// It does not count.
    pub fn open(&mut self, head: Head, datagram: &mut [u8]) -> Result<Letter, LetterError> {
        if head.sender != self.peer || datagram.len() < HEADER + TAG {
            return Err(LetterError::Forged);
        }
        if self.opening.as_ref().is_none_or(|(session, _)| *session != head.session) {
            let key = key_of(&self.key, self.peer, head.session).ok_or(LetterError::Forged)?;
            // Whoever invents a session costs one derivation and does not take the place of the one that is known.
            let forged = |_| LetterError::Forged;
            let mut copy = datagram[HEADER..].to_vec();
            key.open_in_place(nonce_of(head.sequence), Aad::from(head.bytes()), &mut copy).map_err(forged)?;
            if head.to_session != self.session {
                self.guessed = Some(head.session);
                return Err(LetterError::OtherSession);
            }
            self.opening = Some((head.session, key));
            self.heard = Window::default();
        }
        let Some((_, key)) = &self.opening else { return Err(LetterError::Forged) };
        let body = &mut datagram[HEADER..];
        let body = key.open_in_place(nonce_of(head.sequence), Aad::from(head.bytes()), body);
        let body = body.map_err(|_| LetterError::Forged)?;
        if head.to_session != self.session {
            self.guessed = Some(head.session);
            return Err(LetterError::OtherSession);
        }
        if !self.heard.take(head.sequence) {
            return Err(LetterError::Repeated);
        }
        (self.known, self.guessed) = (Some(head.session), None);
        serde_json::from_slice(body).map_err(|_| LetterError::Malformed)
    }
}

/// Which sequence numbers were seen (as in RFC 4303, 3.4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Window {
    highest: u64,
    /// Bit i: `highest - i` was seen.
    seen: u64,
}

impl Window {
    /// Notes a number; whether it was not seen before.
    fn take(&mut self, sequence: u64) -> bool {
        if sequence > self.highest {
            let ahead = sequence - self.highest;
            self.seen = if ahead < WINDOW { self.seen << ahead | 1 } else { 1 };
            self.highest = sequence;
            return true;
        }
        let age = self.highest - sequence;
        if sequence == 0 || age >= WINDOW || self.seen >> age & 1 == 1 {
            return false;
        }
        self.seen |= 1 << age;
        true
    }
}

/// For the fuzzer: a datagram from anybody, and a letter whose sealed part is anything.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    let pair = || PairKey::new([7; 32]);
    let (Some(mut one), Some(mut other)) =
        (Correspondence::new(pair(), 1, 2, 11), Correspondence::new(pair(), 2, 1, 22))
    else {
        return;
    };
    if let Ok(head) = Head::read(bytes) {
        assert!(one.open(head, &mut bytes.to_vec()).is_err(), "forged");
    }
    if let Ok(letter) = serde_json::from_slice::<Letter>(bytes) {
        for _ in 0..2 {
            let Some(mut sealed) = other.seal(&letter) else { return };
            let Ok(head) = Head::read(&sealed) else { panic!("what was sealed is no letter") };
            if let Ok(read) = one.open(head, &mut sealed) {
                assert_eq!(read, letter);
            }
            // Now `other` knows the session of `one`.
            let Some(mut sealed) = one.seal(&letter) else { return };
            let Ok(head) = Head::read(&sealed) else { panic!("what was sealed is no letter") };
            let _ = other.open(head, &mut sealed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(sent: u64) -> Letter {
        Letter { sent, wall: 1, echo: Some((3, 4)), agent: true, message: None }
    }

    fn pair() -> (Correspondence, Correspondence) {
        let new = |me, peer, session| Correspondence::new(PairKey::new([9; 32]), me, peer, session).unwrap();
        (new(1, 2, 100), new(2, 1, 200))
    }

    fn pass(sealed: &[u8], to: &mut Correspondence) -> Result<Letter, LetterError> {
        to.open(Head::read(sealed)?, &mut sealed.to_vec())
    }

    fn acquaint(one: &mut Correspondence, other: &mut Correspondence) {
        for _ in 0..2 {
            let _ = pass(&one.seal(&letter(0)).unwrap(), other);
            let _ = pass(&other.seal(&letter(0)).unwrap(), one);
        }
        assert!(one.is_known() && other.is_known());
    }

    #[test]
    fn two_that_know_each_other_hear_each_letter_once() {
        let (mut one, mut other) = pair();
        assert_eq!(pass(&one.seal(&letter(1)).unwrap(), &mut other), Err(LetterError::OtherSession));
        assert_eq!(pass(&other.seal(&letter(2)).unwrap(), &mut one), Ok(letter(2)), "one round trip");
        let first = one.seal(&letter(3)).unwrap();
        let second = one.seal(&letter(4)).unwrap();
        assert_eq!(pass(&second, &mut other), Ok(letter(4)));
        assert_eq!(pass(&first, &mut other), Ok(letter(3)), "in another order");
        assert_eq!(pass(&first, &mut other), Err(LetterError::Repeated));
        assert_eq!(pass(&second, &mut other), Err(LetterError::Repeated));
    }

    #[test]
    fn what_a_former_session_was_told_counts_no_more() {
        let (mut one, mut other) = pair();
        acquaint(&mut one, &mut other);
        let kept = one.seal(&letter(5)).unwrap();
        let mut anew = Correspondence::new(PairKey::new([9; 32]), 2, 1, 201).unwrap();
        assert_eq!(pass(&kept, &mut anew), Err(LetterError::OtherSession));
        acquaint(&mut one, &mut anew);
        assert_eq!(pass(&kept, &mut anew), Err(LetterError::OtherSession));
        assert_eq!(pass(&one.seal(&letter(6)).unwrap(), &mut anew), Ok(letter(6)));
        let late = other.seal(&letter(7)).unwrap();
        assert_eq!(pass(&late, &mut one), Ok(letter(7)), "who really speaks in another session of its own");
    }

    #[test]
    fn who_has_no_key_says_nothing_and_every_changed_bit_shows() {
        let (mut one, mut other) = pair();
        acquaint(&mut one, &mut other);
        let sealed = one.seal(&letter(5)).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(pass(&changed, &mut other).is_err(), "bit {bit}");
        }
        assert_eq!(pass(&sealed, &mut one), Err(LetterError::Forged), "sent back");
        let mut stranger = Correspondence::new(PairKey::new([8; 32]), 1, 2, 100).unwrap();
        stranger.known = Some(200);
        assert_eq!(pass(&stranger.seal(&letter(5)).unwrap(), &mut other), Err(LetterError::Forged));
        assert_eq!(pass(&sealed, &mut other), Ok(letter(5)), "after all that");
    }

    #[test]
    fn a_window_takes_each_number_once_and_no_old_ones() {
        let mut window = Window::default();
        assert!(!window.take(0));
        for (sequence, is_new) in [(1, true), (1, false), (70, true), (6, false), (7, true), (7, false), (69, true)] {
            assert_eq!(window.take(sequence), is_new, "{sequence}");
        }
        assert!(window.take(1000) && !window.take(70) && window.take(999));
    }

    #[test]
    fn the_fuzzers_entry_takes_what_there_is() {
        exercise(b"");
        exercise(&serde_json::to_vec(&letter(5)).unwrap());
        exercise(&[b"seat\x01\x00\x00\x02".as_slice(), &[0; 60]].concat());
    }
}
