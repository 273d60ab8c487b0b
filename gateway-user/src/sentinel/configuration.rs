//! What an agent has its sentinel do.

use crate::plan::Mac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use seat::{Charter, GatewayName, Incarnation, SeatName, Timers};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use zeroize::Zeroizing;

/// What two gateways of a pool have in common, and nobody else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PairKey(Zeroizing<[u8; 32]>);

impl PairKey {
    /// These bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for PairKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PairKey(..)")
    }
}

impl TryFrom<String> for PairKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let text = Zeroizing::new(text);
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(text.as_bytes()).map_err(|_| "a pair's key is not base64")?);
        bytes.as_slice().try_into().map(Self::new).map_err(|_| "a pair's key has 32 bytes")
    }
}

impl From<PairKey> for String {
    fn from(key: PairKey) -> Self {
        BASE64_STANDARD.encode(key.bytes())
    }
}

/// All that a sentinel has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// This gateway.
    pub me: GatewayName,
    /// Its name on the wire.
    pub number: u16,
    /// In which of its machine's lives it is.
    pub incarnation: Incarnation,
    /// When what is done.
    pub timers: Timers,
    /// Who votes, and who may take what.
    pub charter: Charter,
    /// This gateway's own address on the fabric.
    pub fabric: IpAddr,
    /// Its own address where the sites are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<IpAddr>,
    /// The other gateways of the pool.
    pub peers: Vec<Peer>,
    /// The seats that this gateway may hold.
    pub seats: Vec<Seat>,
}

/// Another gateway of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name.
    pub name: GatewayName,
    /// Its name on the wire.
    pub number: u16,
    /// Its own address on the fabric, which is no seat's.
    pub fabric: IpAddr,
    /// Its own address where the sites are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<IpAddr>,
    /// What this gateway and that one have in common.
    pub key: PairKey,
}

/// A seat that this gateway may hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Its name.
    pub name: SeatName,
    /// Its slot in the table of gates.
    pub slot: u32,
    /// Its name on the wire.
    pub number: u32,
    /// What neighbours are told when it is taken.
    pub announcements: Vec<Announcement>,
}

/// An address, and the station that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Announcement {
    /// Out of which port.
    pub ifindex: u32,
    /// Under which VLAN tag, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The address.
    pub address: IpAddr,
    /// The station.
    pub mac: Mac,
}

/// Why a configuration makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// On the wire it could not be told who speaks.
    #[error("the number {0} is two gateways' or 0: each gateway of a pool has one of its own")]
    GatewayNumber(u16),
    /// On the wire it could not be told which seat is meant.
    #[error("the number {0} is two seats' or 0: each seat of a pool has one of its own")]
    SeatNumber(u32),
    /// Slot 0 is the gateway's own, for ever.
    #[error("slot {0} is two seats' or 0, which is the gateway's own")]
    Slot(u32),
    /// It could not be told whom a vote is from.
    #[error("gateway {0} is named twice")]
    Name(GatewayName),
}

impl Configuration {
    /// Checks that all are told apart.
    ///
    /// # Errors
    /// They are not.
    pub fn check(&self) -> Result<(), ConfigurationError> {
        let (mut numbers, mut names) = (BTreeSet::from([0]), BTreeSet::new());
        let gateways = self.peers.iter().map(|peer| (&peer.name, peer.number));
        for (name, number) in gateways.chain([(&self.me, self.number)]) {
            if !numbers.insert(number) {
                return Err(ConfigurationError::GatewayNumber(number));
            }
            if !names.insert(name) {
                return Err(ConfigurationError::Name(name.clone()));
            }
        }
        let (mut numbers, mut slots) = (BTreeSet::from([0]), BTreeSet::from([0]));
        for seat in &self.seats {
            if !numbers.insert(seat.number) {
                return Err(ConfigurationError::SeatNumber(seat.number));
            }
            if !slots.insert(seat.slot) {
                return Err(ConfigurationError::Slot(seat.slot));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown_and_is_read_as_it_was_written() {
        let key = PairKey::new([7; 32]);
        assert_eq!(format!("{key:?}"), "PairKey(..)");
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<PairKey>(&text).unwrap(), key);
        assert!(serde_json::from_str::<PairKey>("\"AAAA\"").is_err());
    }

    #[test]
    fn numbers_and_slots_are_one_gateways_and_one_seats() {
        let peer = |name: &str, number| Peer {
            name: name.into(),
            number,
            fabric: "10.0.0.2".parse().unwrap(),
            site: None,
            key: PairKey::new([0; 32]),
        };
        let seat = |slot, number| Seat { name: "s".into(), slot, number, announcements: Vec::new() };
        let configuration = |peers: Vec<Peer>, seats: Vec<Seat>| Configuration {
            me: "a".into(),
            number: 1,
            incarnation: Incarnation(1),
            timers: Timers::default(),
            charter: Charter::default(),
            fabric: "10.0.0.1".parse().unwrap(),
            site: None,
            peers,
            seats,
        };
        let check = |peers, seats| configuration(peers, seats).check();
        assert_eq!(check(vec![peer("b", 2)], vec![seat(1, 1), seat(2, 2)]), Ok(()));
        assert_eq!(check(vec![peer("b", 1)], Vec::new()), Err(ConfigurationError::GatewayNumber(1)));
        assert_eq!(check(vec![peer("a", 2)], Vec::new()), Err(ConfigurationError::Name("a".into())));
        assert_eq!(check(Vec::new(), vec![seat(0, 1)]), Err(ConfigurationError::Slot(0)));
        assert_eq!(check(Vec::new(), vec![seat(1, 1), seat(2, 1)]), Err(ConfigurationError::SeatNumber(1)));
    }
}
