//! What a pool does not survive, said before it happens.

use super::order::matched;
use super::record::{Seats, gateway_name};
use super::settle::{Heard, Pool, Standing};
use super::survivors::Burden;
use crate::controller::model::Id;
use crate::controller::placement::Domain;
use seat::Voter;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A loss that would leave seats empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// What would be lost.
    pub of: Domain,
    /// What would follow.
    pub because: Because,
}

/// Why seats would stay empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// More seats would be lost than there are standbys left to take them, and gateways with room for another seat.
    Standbys {
        /// How many seats are there.
        seats: usize,
        /// For how many of them there is a gateway elsewhere.
        covered: usize,
    },
    /// Those who are left could decide nothing.
    Votes {
        /// How many voters would be left.
        left: usize,
        /// How many there are.
        of: usize,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = &self.of;
        match self.because {
            Because::Standbys { seats, covered } => write!(
                f,
                "the loss of {of} would leave seats empty: other gateways could take {covered} of its {seats}; repair, uncordon or add \
                 standbys that stand elsewhere, and where the seats' VLANs are, or leave more of the other gateways' capacity free"
            ),
            Because::Votes { left, of: all } => write!(
                f,
                "after the loss of {of} nobody could take a seat: {left} of {all} votes would be left, and more than half have to agree; \
                 add gateways, or place them in more places"
            ),
        }
    }
}

impl Seats {
    /// The losses, of gateways, hosts and racks, after which seats would stay empty. A host or a rack is named only if its loss is worse than
    /// those of its gateways one by one.
    pub fn unsurvived<'a>(&'a self, pool: &Pool<'_>) -> Vec<Loss> {
        let alive = |id: &&Id| pool.gateways.get(*id).is_some_and(|member| member.heard == Heard::Lately);
        let joined: Vec<&Id> = self.gateways.keys().filter(alive).collect();
        let bearers: BTreeMap<Id, Id> =
            self.seats.keys().filter_map(|seat| Some((seat.clone(), self.bearer(seat)?.clone()))).collect();
        let burden = Burden::of(pool, &bearers);
        let bearing: BTreeSet<&Id> = bearers.values().collect();
        let open = |id: &Id| pool.gateways.get(id).is_some_and(|member| member.standing == Standing::Open);
        let (busy, idle): (Vec<&Id>, Vec<&Id>) =
            joined.iter().copied().filter(|id| open(id)).partition(|id| bearing.contains(id));
        let mut domains: BTreeMap<Domain, BTreeSet<&Id>> = BTreeMap::new();
        for bearer in &bearing {
            let Some(member) = pool.gateways.get(*bearer) else { continue };
            let host = member.host.clone().map(Domain::Host);
            let rack = member.rack.clone().map(Domain::Rack);
            for domain in [Some(Domain::Gateway((*bearer).clone())), host, rack].into_iter().flatten() {
                let inside = self.gateways.keys().filter(|id| is_in(pool, id, &domain)).collect();
                domains.insert(domain, inside);
            }
        }
        let mut losses = Vec::new();
        let mut alone: BTreeMap<&Id, Empty> = BTreeMap::new();
        for (domain, inside) in &domains {
            let lost: Vec<&Id> = self
                .seats
                .keys()
                .filter(|seat| self.bearer(seat).is_some_and(|bearer| inside.contains(bearer)))
                .collect();
            let outside = |gateways: &[&'a Id]| -> Vec<&'a Id> {
                gateways.iter().copied().filter(|id| !inside.contains(id)).collect()
            };
            let left: Vec<Voter> = joined
                .iter()
                .filter(|id| !inside.contains(**id))
                .map(|id| Voter::Gateway(gateway_name(id)))
                // A controller that says so leads.
                .chain([Voter::Controllers])
                .filter(|voter| self.electorate.voters().any(|one| one == voter))
                .collect();
            let of = self.electorate.voters().count();
            let because = if !self.electorate.is_majority(left.iter()) {
                Because::Votes { left: left.len(), of }
            } else {
                let taken = matched(pool, &lost, &outside(&idle));
                let rest: Vec<&Id> = lost.iter().copied().filter(|seat| !taken.contains(seat)).collect();
                let covered = taken.len() + burden.fitting(pool, &rest, &outside(&busy));
                if covered == lost.len() {
                    continue;
                }
                Because::Standbys { seats: lost.len(), covered }
            };
            let empty = match because {
                Because::Votes { .. } => Empty { seats: lost.len(), mute: true },
                Because::Standbys { seats, covered } => Empty { seats: seats - covered, mute: false },
            };
            match domain {
                Domain::Gateway(id) => {
                    alone.insert(id, empty);
                }
                _ => {
                    let one_by_one = inside.iter().filter_map(|id| alone.get(id));
                    let sum: usize = one_by_one.clone().map(|empty| empty.seats).sum();
                    if empty.seats <= sum && (!empty.mute || one_by_one.clone().any(|empty| empty.mute)) {
                        continue;
                    }
                }
            }
            losses.push(Loss { of: domain.clone(), because });
        }
        losses
    }
}

/// What a loss leaves empty.
#[derive(Clone, Copy)]
struct Empty {
    seats: usize,
    mute: bool,
}

fn is_in(pool: &Pool<'_>, id: &Id, domain: &Domain) -> bool {
    let Some(member) = pool.gateways.get(id) else { return false };
    match domain {
        Domain::Gateway(gateway) => gateway == id,
        Domain::Host(host) => member.host.as_ref() == Some(host),
        Domain::Rack(rack) => member.rack.as_ref() == Some(rack),
    }
}
