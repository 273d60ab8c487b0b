//! What the store keeps of a pool's seats: `seats/<pool>`.

use crate::controller::model::{Id, Reference};
use crate::plan::{Dual, Mac};
use seat::{
    Bound, Charter, CharterError, CharterNumber, Electorate, GatewayName, Incarnation, SeatName, Share, Succession,
    Timers, Voter,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many moves are remembered.
const REMEMBERED: usize = 32;

/// The seats of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seats {
    /// Where addresses come from; the pool has no seats without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnets: Option<Subnets>,
    /// When a gateway counts as gone.
    #[serde(default)]
    pub timers: Timers,
    /// The number of what is settled: it grows with each change.
    pub charter: u64,
    /// Who votes.
    pub electorate: Electorate,
    /// The last epoch that was granted, of whatever seat.
    pub epoch: u64,
    /// The last number that a seat was given.
    pub number: u32,
    /// The gateways' numbers on the wire.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gateways: BTreeMap<Id, u16>,
    /// The seats, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seats: BTreeMap<Id, Seat>,
    /// What the gateways' keys for each other are derived from, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Box<str>>,
    /// The latest moves, the last one at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Move>,
}

/// The logical subnets that seats' addresses are drawn from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnets {
    /// Addresses on the fabric.
    pub fabric: Reference,
    /// Addresses on the racks' side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<Reference>,
}

/// One seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seat {
    /// Its number on the wire, which no other seat of the controller ever has.
    pub number: u32,
    /// Its address on the fabric.
    pub pa: Dual,
    /// Its address on the racks' side, if it has one.
    #[serde(default, skip_serializing_if = "Dual::is_empty")]
    pub next_hop: Dual,
    /// The MAC address that goes with its addresses, whoever holds it.
    pub mac: Mac,
    /// How much of a gateway its connections take.
    #[serde(default, skip_serializing_if = "Share::is_nothing")]
    pub share: Share,
    /// Whether its packets are carried.
    #[serde(default, skip_serializing_if = "Occupancy::is_carried")]
    pub occupancy: Occupancy,
    /// Who was the last one known to hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// Whom the controllers stand by, where they have a vote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promised: Option<Holder>,
    /// Whom its holder, which has another one, is to hand it over to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relief: Option<Relief>,
    /// Who may hold it: the holder, and who is next, in the order of their epochs.
    pub grants: Vec<Grant>,
    /// Grants that were taken back and may have been used before everybody heard of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<Grant>,
}

/// Whether anybody carries a seat's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Occupancy {
    /// Its holder does, or somebody is about to.
    #[default]
    Carried,
    /// Its holder is gone, and nobody took it.
    Empty,
}

impl Occupancy {
    fn is_carried(&self) -> bool {
        *self == Self::Carried
    }
}

/// Who holds a seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// The gateway.
    pub gateway: Id,
    /// Under this epoch.
    pub epoch: u64,
}

/// Who is to have a seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relief {
    /// The gateway.
    pub to: Id,
    /// In which life.
    pub incarnation: u64,
}

/// Leave to hold a seat under an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The epoch.
    pub epoch: u64,
    /// Whose it is.
    pub to: Id,
    /// In which life.
    pub incarnation: u64,
}

/// A seat that came to another gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// When the controller heard of it, in milliseconds since 1970.
    pub heard: u64,
    /// The seat.
    pub seat: Id,
    /// Who held it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Id>,
    /// Who holds it.
    pub to: Id,
    /// Under this epoch.
    pub epoch: u64,
}

impl Seat {
    /// The epoch under which it is held; 0 if it never was.
    pub fn held(&self) -> u64 {
        self.holder.as_ref().map_or(0, |holder| holder.epoch)
    }

    /// Grants that are yet to be used, the next one first.
    pub fn ahead(&self) -> impl Iterator<Item = &Grant> {
        let held = self.held();
        self.grants.iter().filter(move |grant| grant.epoch > held)
    }
}

impl Seats {
    /// Who carries a seat's packets, as far as is known: its holder, or its home, which is to take it first.
    pub fn bearer<'a>(&'a self, seat: &'a Id) -> Option<&'a Id> {
        let (name, known) = self.seats.get_key_value(seat)?;
        Some(known.holder.as_ref().map_or(name, |holder| &holder.gateway))
    }

    /// Who may take a seat from its bearer, the first one first.
    pub fn candidates<'a>(&'a self, seat: &'a Id) -> impl Iterator<Item = &'a Id> {
        let bearer = self.bearer(seat);
        let ahead = self.seats.get(seat).into_iter().flat_map(Seat::ahead).map(|grant| &grant.to);
        ahead.filter(move |to| Some(*to) != bearer)
    }

    /// All gateways that are to be able to carry a seat: its bearer, its home until somebody holds it, and the candidates.
    pub fn instances<'a>(&'a self, seat: &'a Id) -> impl Iterator<Item = &'a Id> {
        self.bearer(seat).into_iter().chain(self.candidates(seat))
    }

    /// The seats that a gateway carries.
    pub fn carried<'a>(&'a self, gateway: &'a Id) -> impl Iterator<Item = &'a Id> {
        self.seats.keys().filter(move |seat| self.bearer(seat) == Some(gateway))
    }

    /// The seats that a gateway carries or may take.
    pub fn concerning<'a>(&'a self, gateway: &'a Id) -> impl Iterator<Item = &'a Id> {
        self.seats.keys().filter(move |seat| self.instances(seat).any(|instance| instance == gateway))
    }

    /// Takes the word of a gateway of the pool that a seat is held under an epoch. What is older than what is known counts for nothing, and so
    /// does an epoch that was granted to somebody else or to nobody.
    pub fn follow(&mut self, seat: &Id, gateway: &Id, epoch: u64, heard: u64) -> Followed {
        let Some(name) = self.seats.get_key_value(seat).map(|(name, _)| name.clone()) else { return Followed::Known };
        let Some(known) = self.seats.get_mut(&name) else { return Followed::Known };
        if epoch <= known.held() {
            return Followed::Known;
        }
        let all = || known.grants.iter().chain(&known.withdrawn);
        let Some(grant) = all().find(|grant| grant.epoch == epoch && grant.to == *gateway).cloned() else {
            return Followed::Never;
        };
        // What was granted to one that has left since, others would not bear it out.
        if !self.electorate.voters().any(|voter| *voter == Voter::Gateway(gateway_name(gateway))) {
            return Followed::Never;
        }
        let from = known.holder.as_ref().map(|holder| holder.gateway.clone());
        known.holder = Some(Holder { gateway: grant.to.clone(), epoch });
        known.occupancy = Occupancy::Carried;
        known.withdrawn.retain(|withdrawn| withdrawn.epoch > epoch);
        known.grants.retain(|granted| granted.epoch > epoch);
        known.grants.insert(0, grant.clone());
        self.history.push(Move { heard, seat: name, from, to: grant.to, epoch });
        let forgotten = self.history.len().saturating_sub(REMEMBERED);
        self.history.drain(..forgotten);
        self.charter += 1;
        Followed::Moved
    }

    /// What is settled, as the gateways have it.
    ///
    /// # Errors
    /// It makes no sense: nobody votes yet.
    pub fn settled(&self) -> Result<Charter, CharterError> {
        let lonely = self.electorate.voters().filter_map(seat::Voter::as_gateway).count() == 2;
        let succession = |(name, known): (&Id, &Seat)| {
            // Of two gateways neither can outvote the other, and a seat that nobody else may take is better held than empty.
            let alone = self.candidates(name).next().is_none();
            let bound = if lonely || alone { Bound::Unbounded } else { Bound::Leased };
            let grants = known.grants.iter().map(|grant| seat::Grant {
                epoch: gateway_common::Epoch(grant.epoch),
                to: gateway_name(&grant.to),
                incarnation: Incarnation(grant.incarnation),
            });
            (
                SeatName::from(name.as_str()),
                Succession {
                    bound,
                    share: known.share,
                    relief: known.relief.as_ref().map(|relief| gateway_name(&relief.to)),
                    grants: grants.collect(),
                },
            )
        };
        let seats = self.seats.iter().map(succession).collect();
        Charter::new(CharterNumber(self.charter), self.electorate.clone(), seats)
    }
}

/// What became of a word about a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Nothing: it was known, or is of old.
    Known,
    /// Nothing: that epoch was not granted to that gateway, or the gateway has left since.
    Never,
    /// The seat is somebody else's, or under another epoch.
    Moved,
}

/// A gateway as voters know it.
pub fn gateway_name(id: &Id) -> GatewayName {
    GatewayName::from(id.as_str())
}
