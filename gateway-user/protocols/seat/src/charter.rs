//! What the controller has settled for a pool ahead of time: who votes, and who may take which seat under which epoch.

use crate::names::{GatewayName, SeatName, Voter};
use gateway_common::Epoch;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// The number of an electorate: it grows with every change of who votes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ElectorateNumber(pub u64);

/// Who votes in a pool.
///
/// A change of voters takes two steps, since majorities of two electorates need not have a voter in common: first an electorate in which
/// both the old voters and the new ones have to agree; and when a majority of both has it, the new one alone. Each has a number of its own;
/// a voter has no answer for who goes by an older one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Electorate {
    number: ElectorateNumber,
    voters: BTreeSet<Voter>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    outgoing: BTreeSet<Voter>,
}

impl Electorate {
    /// The gateways of a pool, made odd in number by the controllers' vote.
    pub fn of(number: ElectorateNumber, gateways: impl IntoIterator<Item = GatewayName>) -> Self {
        Self { number, voters: odd(gateways), outgoing: BTreeSet::new() }
    }

    /// The first step of a change to these gateways.
    #[must_use]
    pub fn changing_to(&self, number: ElectorateNumber, gateways: impl IntoIterator<Item = GatewayName>) -> Self {
        Self { number, voters: odd(gateways), outgoing: self.voters.clone() }
    }

    /// The second step.
    #[must_use]
    pub fn changed(&self, number: ElectorateNumber) -> Self {
        Self { number, voters: self.voters.clone(), outgoing: BTreeSet::new() }
    }

    /// Its number.
    pub const fn number(&self) -> ElectorateNumber {
        self.number
    }

    /// Whether the voters are being changed.
    pub fn is_changing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// All who are asked.
    pub fn voters(&self) -> impl Iterator<Item = &Voter> {
        self.voters.union(&self.outgoing)
    }

    /// Whether these voters decide: more than half, of the old ones too during a change.
    pub fn is_majority<'a>(&self, agreeing: impl Iterator<Item = &'a Voter> + Clone) -> bool {
        [&self.voters, &self.outgoing].into_iter().all(|voters| {
            let count = agreeing.clone().filter(|voter| voters.contains(*voter)).count();
            voters.is_empty() || count * 2 > voters.len()
        }) && !self.voters.is_empty()
    }
}

fn odd(gateways: impl IntoIterator<Item = GatewayName>) -> BTreeSet<Voter> {
    let mut voters: BTreeSet<_> = gateways.into_iter().map(Voter::Gateway).collect();
    if voters.len().is_multiple_of(2) {
        voters.insert(Voter::Controllers);
    }
    voters
}

/// The number of a gateway's life: another one with every start of its machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

/// Leave to take a seat under one epoch, given ahead of time. An epoch of a seat is granted once, to one gateway, for ever; and to one life
/// of it: a machine that starts anew does not know which epochs it has used, and what is sealed under one must never be sealed twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// The epoch.
    #[serde(with = "epoch")]
    pub epoch: Epoch,
    /// Who may hold the seat under it.
    pub to: GatewayName,
    /// In which of its lives.
    pub incarnation: Incarnation,
}

/// What happens to a seat whose holder finds no majority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Its holder stops when the lease is over: never two holders for longer than a lease.
    #[default]
    Leased,
    /// Its holder goes on until it sees a higher epoch: for a seat that nobody else could take, or where standing still is worse than two
    /// holders in two halves of a torn network.
    Unbounded,
}

/// How much of a gateway a seat's connections take, in percent, rounded up. Nothing, where nobody counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(pub u32);

impl Share {
    /// All of a gateway.
    pub const WHOLE: Self = Self(100);

    /// Whether it stands for nothing.
    pub const fn is_nothing(&self) -> bool {
        self.0 == 0
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::iter::Sum for Share {
    fn sum<I: Iterator<Item = Self>>(shares: I) -> Self {
        shares.fold(Self::default(), Self::plus)
    }
}

/// Who may hold a seat, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Succession {
    /// What its holder does without a majority.
    #[serde(default)]
    pub bound: Bound,
    /// What it takes of whoever holds it. One that holds another seat takes it only if both fit.
    #[serde(default, skip_serializing_if = "Share::is_nothing")]
    pub share: Share,
    /// Whom its holder is to hand it over to, again and again until that one has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relief: Option<GatewayName>,
    /// In the order of their epochs, the present holder's among them.
    pub grants: Vec<Grant>,
}

impl Succession {
    /// Who may hold the seat under an epoch.
    pub fn granted(&self, epoch: Epoch) -> Option<&GatewayName> {
        self.grants.iter().find(|grant| grant.epoch == epoch).map(|grant| &grant.to)
    }

    /// Grants beyond an epoch, the next one first.
    pub fn beyond(&self, epoch: Epoch) -> impl Iterator<Item = &Grant> {
        self.grants.iter().filter(move |grant| grant.epoch > epoch)
    }
}

/// The number of a charter of a pool: the higher one is what is settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CharterNumber(pub u64);

/// All that is settled for a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawCharter")]
pub struct Charter {
    number: CharterNumber,
    electorate: Electorate,
    seats: BTreeMap<SeatName, Succession>,
}

/// Why a charter makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CharterError {
    /// Nobody could decide.
    #[error("a pool without gateways has no voters")]
    NoVoters,
    /// It would not be known who is next.
    #[error("the grants of seat {0} are not in the order of their epochs")]
    Disorder(SeatName),
    /// Epoch 0 is what a seat has that nobody ever held.
    #[error("a grant of seat {0} has epoch 0: the first is 1")]
    EpochZero(SeatName),
    /// Its holder would have no vote.
    #[error("seat {seat} is granted to {gateway}, which is no gateway of the pool")]
    Stranger {
        /// The seat.
        seat: SeatName,
        /// Who is not in the pool.
        gateway: GatewayName,
    },
}

impl Charter {
    /// Checks what the controller has settled.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn new(
        number: CharterNumber,
        electorate: Electorate,
        seats: BTreeMap<SeatName, Succession>,
    ) -> Result<Self, CharterError> {
        if electorate.voters.is_empty() {
            return Err(CharterError::NoVoters);
        }
        for (seat, succession) in &seats {
            if !succession.grants.is_sorted_by(|one, next| one.epoch < next.epoch) {
                return Err(CharterError::Disorder(seat.clone()));
            }
            for grant in &succession.grants {
                if grant.epoch == Epoch(0) {
                    return Err(CharterError::EpochZero(seat.clone()));
                }
                if !electorate.voters().any(|voter| voter.as_gateway() == Some(&grant.to)) {
                    return Err(CharterError::Stranger { seat: seat.clone(), gateway: grant.to.clone() });
                }
            }
        }
        Ok(Self { number, electorate, seats })
    }

    /// Its number.
    pub const fn number(&self) -> CharterNumber {
        self.number
    }

    /// Who votes.
    pub const fn electorate(&self) -> &Electorate {
        &self.electorate
    }

    /// The seats of the pool.
    pub const fn seats(&self) -> &BTreeMap<SeatName, Succession> {
        &self.seats
    }

    /// How much of a gateway a seat takes.
    pub fn share(&self, seat: &SeatName) -> Share {
        self.seats.get(seat).map_or(Share::default(), |succession| succession.share)
    }

    /// Whether a gateway may hold a seat under an epoch.
    pub fn grants(&self, seat: &SeatName, epoch: Epoch, gateway: &GatewayName) -> bool {
        self.seats.get(seat).and_then(|succession| succession.granted(epoch)) == Some(gateway)
    }
}

/// A charter that nobody has looked at.
#[derive(Deserialize)]
struct RawCharter {
    number: CharterNumber,
    electorate: Electorate,
    seats: BTreeMap<SeatName, Succession>,
}

impl TryFrom<RawCharter> for Charter {
    type Error = CharterError;

    fn try_from(raw: RawCharter) -> Result<Self, CharterError> {
        Self::new(raw.number, raw.electorate, raw.seats)
    }
}

/// An epoch as a number in text.
pub(crate) mod epoch {
    use gateway_common::Epoch;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(epoch: &Epoch, serializer: S) -> Result<S::Ok, S::Error> {
        epoch.0.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Epoch, D::Error> {
        u64::deserialize(deserializer).map(Epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateways<const N: usize>(names: [&str; N]) -> [GatewayName; N] {
        names.map(GatewayName::from)
    }

    fn voters(names: &[&str]) -> Vec<Voter> {
        let voter = |name: &&str| match *name {
            "controllers" => Voter::Controllers,
            name => Voter::Gateway(name.into()),
        };
        names.iter().map(voter).collect()
    }

    #[test]
    fn an_even_pool_has_the_controllers_vote_as_well() {
        let two = Electorate::of(ElectorateNumber(1), gateways(["a", "b"]));
        assert_eq!(two.voters().count(), 3);
        assert!(two.is_majority(voters(&["a", "controllers"]).iter()));
        assert!(!two.is_majority(voters(&["a"]).iter()));
        let three = Electorate::of(ElectorateNumber(1), gateways(["a", "b", "c"]));
        assert!(three.is_majority(voters(&["a", "c"]).iter()));
        assert!(!three.is_majority(voters(&["a", "controllers"]).iter()));
        assert!(!Electorate::default().is_majority(voters(&["a"]).iter()));
    }

    #[test]
    fn while_the_voters_change_the_old_ones_have_to_agree_too() {
        let three = Electorate::of(ElectorateNumber(1), gateways(["a", "b", "c"]));
        let changing = three.changing_to(ElectorateNumber(2), gateways(["a", "b", "c", "d"]));
        assert!(!changing.is_majority(voters(&["c", "d", "controllers"]).iter()));
        assert!(!changing.is_majority(voters(&["a", "b"]).iter()));
        assert!(changing.is_majority(voters(&["a", "b", "d"]).iter()));
        assert!(changing.changed(ElectorateNumber(3)).is_majority(voters(&["c", "d", "controllers"]).iter()));
    }

    #[test]
    fn a_charter_that_makes_no_sense_is_refused() {
        let electorate = Electorate::of(ElectorateNumber(1), gateways(["a", "b", "c"]));
        let charter = |grants: &[(u64, &str)]| {
            let grant = |(epoch, to): &(u64, &str)| Grant {
                epoch: Epoch(*epoch),
                to: (*to).into(),
                incarnation: Incarnation(1),
            };
            let grants = grants.iter().map(grant).collect();
            let succession = Succession { bound: Bound::Leased, grants, ..Succession::default() };
            Charter::new(CharterNumber(1), electorate.clone(), [(SeatName::from("s"), succession)].into())
        };
        assert_eq!(charter(&[(2, "a"), (2, "b")]), Err(CharterError::Disorder("s".into())));
        assert_eq!(charter(&[(0, "a")]), Err(CharterError::EpochZero("s".into())));
        assert!(matches!(charter(&[(1, "a"), (2, "x")]), Err(CharterError::Stranger { .. })));
        assert_eq!(Charter::new(CharterNumber(1), Electorate::default(), BTreeMap::new()), Err(CharterError::NoVoters));
        let good = charter(&[(1, "a"), (2, "b")]).unwrap();
        assert!(good.grants(&"s".into(), Epoch(2), &"b".into()));
        assert!(!good.grants(&"s".into(), Epoch(2), &"a".into()));
        let text = serde_json::to_string(&good).unwrap();
        assert_eq!(serde_json::from_str::<Charter>(&text).unwrap(), good);
        assert!(serde_json::from_str::<Charter>(&text.replace(":2,", ":1,")).is_err(), "{text}");
    }
}
