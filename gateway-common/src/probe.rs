//! Probes: does a gateway forward? A small message in UDP that the gateway's own program returns, so that a busy user space is never
//! taken for a dead gateway; and what a gateway tells the others of a pool's seats, in the same form.
//!
//! Forty-eight bytes, all numbers big-endian:
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------------------------------------------------------+
//! |                       magic: 0x47575042                       |
//! +---------------+---------------+-------------------------------+
//! |  version: 1   |     kind      |           observer            |
//! +---------------+---------------+-------------------------------+
//! |                        nonce (64 bits)                        |
//! +---------------------------------------------------------------+
//! |                             seat                              |
//! +---------------------------------------------------------------+
//! |                              way                              |
//! +---------------------------------------------------------------+
//! |                        epoch (64 bits)                        |
//! +---------------------------------------------------------------+
//! |                        clock (64 bits)                        |
//! +---------------------------------------------------------------+
//! |            tag (64 bits): SipHash-2-4 of what is before it    |
//! +---------------------------------------------------------------+
//! ```
//!
//! The key belongs to the observer and the gateway that it asks, so a tag says who asked whom. A request is returned as a reply with the
//! same nonce, by the way it asks for, under the gate of the seat that it names. Whoever sees a higher epoch of a seat than its own in a
//! request or a claim with a right tag stops holding that seat at once; a message that is shown again says nothing that was not known.

use crate::Epoch;
use crate::siphash::{self, Key};

/// The UDP port to which probes go, and which they come from.
pub const PORT: u16 = 61_790;
/// Bytes of a probe.
pub const LEN: usize = 48;

const MAGIC: u32 = 0x4757_5042;
const VERSION: u8 = 1;

/// What a probe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Asks to be returned.
    Request,
    /// Was returned.
    Reply,
    /// Says who holds a seat; it is not returned.
    Claim,
}

impl Kind {
    /// Its number in a probe.
    pub const fn number(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Reply => 2,
            Self::Claim => 3,
        }
    }

    const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Request),
            2 => Some(Self::Reply),
            3 => Some(Self::Claim),
            _ => None,
        }
    }
}

/// By which way a probe is to be returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// By the port that it came in by, to whom it came from.
    Back,
    /// Through the gateway: out to the fabric, to the observer's address there.
    Fabric,
    /// Through the gateway: out to the sites' side, to the observer's address there.
    Site,
}

impl Way {
    /// Its number in a probe.
    pub const fn number(self) -> u32 {
        match self {
            Self::Back => 0,
            Self::Fabric => 1,
            Self::Site => 2,
        }
    }

    const fn of(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Back),
            1 => Some(Self::Fabric),
            2 => Some(Self::Site),
            _ => None,
        }
    }
}

/// A probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// What it is.
    pub kind: Kind,
    /// The number in the pool of the gateway that asks or claims.
    pub observer: u16,
    /// What tells it from others of the same observer.
    pub nonce: u64,
    /// The number in the pool of the seat under whose gate it is returned; 0 for none, and then nothing is asked but whether the port's
    /// program runs.
    pub seat: u32,
    /// How it is returned.
    pub way: Way,
    /// In a request: the highest epoch of the seat that the observer knows. In a reply: the holder's. In a claim: the claimant's.
    pub epoch: Epoch,
    /// In a reply: when it was returned, in nanoseconds of that machine's monotonic clock. Else 0.
    pub clock: u64,
}

/// A probe as it stands on the wire, word by word, in the machine's own reading of the bytes.
pub type Words = [u64; 6];

/// Where in [`Words`] a field stands that a program reads or writes by itself.
pub mod word {
    /// Magic, version, kind, observer.
    pub const HEAD: usize = 0;
    /// The nonce.
    pub const NONCE: usize = 1;
    /// Seat and way.
    pub const SEAT: usize = 2;
    /// The epoch.
    pub const EPOCH: usize = 3;
    /// The clock.
    pub const CLOCK: usize = 4;
    /// The tag.
    pub const TAG: usize = 5;
}

/// The first word of a probe.
#[inline(always)]
pub const fn head(kind: Kind, observer: u16) -> u64 {
    let number = (MAGIC as u64) << 32 | (VERSION as u64) << 24 | (kind.number() as u64) << 16 | observer as u64;
    number.to_be()
}

/// What the first word says: the kind and the observer; nothing if this is no probe.
#[inline(always)]
pub const fn read_head(word: u64) -> Option<(Kind, u16)> {
    let number = u64::from_be(word);
    if number >> 24 != (MAGIC as u64) << 8 | VERSION as u64 {
        return None;
    }
    match Kind::of((number >> 16) as u8) {
        Some(kind) => Some((kind, number as u16)),
        None => None,
    }
}

/// The tag that belongs to a probe's words, as it stands in the last of them.
#[inline(always)]
pub const fn tag(key: Key, words: &Words) -> u64 {
    let message = [words[0].to_le(), words[1].to_le(), words[2].to_le(), words[3].to_le(), words[4].to_le()];
    siphash::tag(key, message).to_be()
}

impl Probe {
    /// As it stands on the wire, with its tag.
    pub const fn words(&self, key: Key) -> Words {
        let seat = (self.seat as u64) << 32 | self.way.number() as u64;
        let mut words = [
            head(self.kind, self.observer),
            self.nonce.to_be(),
            seat.to_be(),
            self.epoch.0.to_be(),
            self.clock.to_be(),
            0,
        ];
        words[word::TAG] = tag(key, &words);
        words
    }

    /// The same as bytes.
    pub const fn to_bytes(&self, key: Key) -> [u8; LEN] {
        let words = self.words(key);
        let mut bytes = [0; LEN];
        let mut at = 0;
        while at < LEN {
            bytes[at] = words[at / 8].to_ne_bytes()[at % 8];
            at += 1;
        }
        bytes
    }

    /// Reads a probe whose observer's key `key_of` knows; nothing if it is none, or its tag is another. What follows it is ignored.
    pub fn read(bytes: &[u8], key_of: impl FnOnce(u16) -> Option<Key>) -> Option<Self> {
        let bytes = bytes.first_chunk::<LEN>()?;
        let mut words = [0; 6];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        let (kind, observer) = read_head(words[word::HEAD])?;
        if tag(key_of(observer)?, &words) != words[word::TAG] {
            return None;
        }
        let seat = u64::from_be(words[word::SEAT]);
        Some(Self {
            kind,
            observer,
            nonce: u64::from_be(words[word::NONCE]),
            seat: (seat >> 32) as u32,
            way: Way::of(seat as u32)?,
            epoch: Epoch(u64::from_be(words[word::EPOCH])),
            clock: u64::from_be(words[word::CLOCK]),
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;

    const KEY: Key = Key([1, 2]);

    fn probe() -> impl Strategy<Value = Probe> {
        let kinds = prop_oneof![Just(Kind::Request), Just(Kind::Reply), Just(Kind::Claim)];
        let ways = prop_oneof![Just(Way::Back), Just(Way::Fabric), Just(Way::Site)];
        (kinds, ways, any::<(u16, u64, u32, u64, u64)>()).prop_map(
            |(kind, way, (observer, nonce, seat, epoch, clock))| Probe {
                kind,
                observer,
                nonce,
                seat,
                way,
                epoch: Epoch(epoch),
                clock,
            },
        )
    }

    #[test]
    fn a_probe_stands_on_the_wire_as_drawn() {
        let probe = Probe {
            kind: Kind::Claim,
            observer: 0x0102,
            nonce: 0x1112_1314_1516_1718,
            seat: 0x2122_2324,
            way: Way::Site,
            epoch: Epoch(0x31),
            clock: 0x41,
        };
        let bytes = probe.to_bytes(KEY);
        assert_eq!(bytes[..8], [0x47, 0x57, 0x50, 0x42, 1, 3, 1, 2]);
        assert_eq!(bytes[8..16], [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
        assert_eq!(bytes[16..24], [0x21, 0x22, 0x23, 0x24, 0, 0, 0, 2]);
        assert_eq!((bytes[31], bytes[39]), (0x31, 0x41));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(probe in probe(), more in any::<[u8; 3]>()) {
            let mut bytes = probe.to_bytes(KEY).to_vec();
            bytes.extend(more);
            let read = Probe::read(&bytes, |observer| (observer == probe.observer).then_some(KEY));
            prop_assert_eq!(read, Some(probe));
        }

        #[test]
        fn nothing_else_is_believed(probe in probe(), at in 0..LEN * 8, other in any::<[u64; 2]>(), len in 0..LEN) {
            let mut bytes = probe.to_bytes(KEY);
            prop_assert_eq!(Probe::read(&bytes[..len], |_| Some(KEY)), None);
            prop_assert_eq!(Probe::read(&bytes, |_| None), None);
            if other != KEY.0 {
                prop_assert_eq!(Probe::read(&bytes, |_| Some(Key(other))), None);
            }
            bytes[at / 8] ^= 1 << (at % 8);
            prop_assert_eq!(Probe::read(&bytes, |_| Some(KEY)), None);
        }
    }
}
