//! The decision process (RFC 4271, 9.1.2.2), as an elimination: each step takes those out that are worse than the best of
//! who is left. Unlike a chain of comparisons its outcome does not depend on the order of the paths, MEDs included.

use super::NeighbourId;
use super::neighbour::Neighbour;
use super::next_hops::NextHops;
use super::settings::{EqualPaths, MedScope, MissingMed, Relation, RibSettings, TieBreak};
use super::table::{Path, PathFlags};
use crate::attributes::{AttributeStore, Marks, Origin};
use crate::number::{Asn, PathId};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// A step of the decision, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Long-lived stale routes lose (RFC 9494, 4.3).
    LongLivedStale,
    /// The highest weight wins.
    Weight,
    /// The highest LOCAL_PREF wins.
    LocalPref,
    /// What the speaker originates wins.
    LocalOrigin,
    /// The shortest AS path wins.
    AsPathLength,
    /// The lowest ORIGIN wins.
    Origin,
    /// The lowest MED wins, among those from one neighbouring system.
    Med,
    /// What came from outside wins.
    External,
    /// The nearest next hop wins.
    Metric,
    /// The oldest of those from outside wins.
    Oldest,
    /// The lowest identifier, of the originator where the route was reflected, wins.
    RouterId,
    /// The shortest CLUSTER_LIST wins.
    ClusterListLength,
    /// The lowest address of a neighbour wins.
    PeerAddress,
    /// The lowest path identifier wins.
    PathId,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LongLivedStale => "long-lived stale",
            Self::Weight => "lower weight",
            Self::LocalPref => "lower local preference",
            Self::LocalOrigin => "not originated here",
            Self::AsPathLength => "longer AS path",
            Self::Origin => "worse origin",
            Self::Med => "higher MED",
            Self::External => "learned from inside",
            Self::Metric => "farther next hop",
            Self::Oldest => "younger",
            Self::RouterId => "higher router id",
            Self::ClusterListLength => "longer cluster list",
            Self::PeerAddress => "higher neighbour address",
            Self::PathId => "higher path id",
        })
    }
}

/// Why a path does not take part in the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The import policy, or a rule of the protocol, refused it; it is kept for soft reconfiguration.
    Rejected,
    /// Its next hop is not reached.
    NextHop,
    /// It flaps.
    Damped,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rejected => "refused on import",
            Self::NextHop => "next hop is not reachable",
            Self::Damped => "suppressed because it flaps",
        })
    }
}

/// What of a path is compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rank {
    pub long_lived_stale: bool,
    pub weight: u32,
    pub local_pref: u32,
    pub local: bool,
    pub path_length: u32,
    pub origin: Origin,
    pub neighbour_asn: Option<Asn>,
    pub med: u32,
    pub external: bool,
    pub metric: u32,
    pub since: u32,
    pub router_id: Ipv4Addr,
    pub cluster_list_length: u16,
    pub address: IpAddr,
    pub path_id: PathId,
}

/// Everything that the decision looks at besides the paths.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub settings: &'a RibSettings,
    pub attributes: &'a AttributeStore,
    pub neighbours: &'a [Option<Box<Neighbour>>],
    pub next_hops: &'a NextHops,
}

impl Judge<'_> {
    /// Whether the path takes part at all.
    pub fn usable(&self, path: &Path) -> Result<u32, Unusable> {
        if path.flags.has(PathFlags::REJECTED) {
            return Err(Unusable::Rejected);
        }
        if path.flags.has(PathFlags::DAMPED) {
            return Err(Unusable::Damped);
        }
        self.next_hops.metric(self.attributes.summary(path.attributes).next_hop).ok_or(Unusable::NextHop)
    }

    pub fn rank(&self, path: &Path) -> Result<Rank, Unusable> {
        let metric = self.usable(path)?;
        let summary = self.attributes.summary(path.attributes);
        let neighbour = self.neighbours.get(path.neighbour.0 as usize).and_then(Option::as_ref);
        let own = summary.originator_id.map(|id| id.0);
        let router_id = match neighbour {
            None => self.settings.router_id.0,
            Some(neighbour) => {
                own.or(neighbour.facts.as_ref().map(|facts| facts.router_id.0)).unwrap_or(Ipv4Addr::BROADCAST)
            }
        };
        let med = if summary.marks.has(Marks::MED) || self.settings.missing_med == MissingMed::Best {
            summary.med
        } else {
            u32::MAX
        };
        Ok(Rank {
            long_lived_stale: summary.marks.has(Marks::LLGR_STALE),
            weight: summary.weight,
            local_pref: summary.local_pref,
            local: path.neighbour == NeighbourId::LOCAL,
            path_length: summary.path_length,
            origin: summary.origin,
            neighbour_asn: summary.neighbour_asn,
            med,
            external: neighbour.is_some_and(|neighbour| neighbour.settings.relation == Relation::External),
            metric,
            since: path.since,
            router_id,
            cluster_list_length: summary.cluster_list_length,
            address: neighbour.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |neighbour| neighbour.settings.address),
            path_id: path.path_id,
        })
    }

    /// Puts the paths to use in front, the best first; how many they are.
    pub fn choose(&self, paths: &mut [Path], scratch: &mut Scratch) -> u16 {
        if let [only] = paths {
            return u16::from(self.usable(only).is_ok());
        }
        scratch.ranks.clear();
        scratch.paths.clear();
        scratch.rest.clear();
        for path in paths.iter() {
            match self.rank(path) {
                Ok(rank) => {
                    scratch.ranks.push(rank);
                    scratch.paths.push(*path);
                }
                Err(_) => scratch.rest.push(*path),
            }
        }
        scratch.alive.clear();
        scratch.alive.extend(0..scratch.ranks.len());
        let Some(best) = eliminate(self.settings, &scratch.ranks, &mut scratch.alive, &mut scratch.equal, |_, _| ())
        else {
            return 0;
        };
        let chosen = self.multipath(best, scratch);
        let order = scratch.equal[..chosen].iter().map(|index| scratch.paths[*index]);
        let is_chosen = |index: &usize| scratch.equal[..chosen].contains(index);
        let left = (0..scratch.paths.len()).filter(|index| !is_chosen(index)).map(|index| scratch.paths[index]);
        let rest = scratch.rest.iter().copied();
        for (place, path) in paths.iter_mut().zip(order.chain(left).chain(rest)) {
            *place = path;
        }
        u16::try_from(chosen).unwrap_or(u16::MAX)
    }

    /// Leaves in `equal` the best and, behind it, the paths that are used with it; how many they are.
    fn multipath(&self, best: usize, scratch: &mut Scratch) -> usize {
        let multipath = self.settings.multipath;
        let Scratch { ranks, paths, equal, .. } = scratch;
        if multipath.maximum <= 1 {
            equal.clear();
            equal.push(best);
            return 1;
        }
        equal.retain(|index| {
            *index == best
                || match multipath.paths {
                    EqualPaths::SameLength => true,
                    EqualPaths::SameNeighbour if ranks[best].external => {
                        ranks[*index].neighbour_asn == ranks[best].neighbour_asn
                    }
                    EqualPaths::SameNeighbour => {
                        let path = |index: usize| self.attributes.as_path_octets(paths[index].attributes);
                        path(*index) == path(best)
                    }
                }
        });
        let key = |index: &usize| {
            let rank = &ranks[*index];
            (*index != best, rank.router_id, rank.cluster_list_length, rank.address, rank.path_id)
        };
        equal.sort_unstable_by_key(key);
        equal.len().min(usize::from(multipath.maximum))
    }
}

/// Room that the decision uses again and again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    ranks: Vec<Rank>,
    paths: Vec<Path>,
    rest: Vec<Path>,
    alive: Vec<usize>,
    equal: Vec<usize>,
}

/// Takes out of `alive` all but the best, telling of each at which step it lost. `equal` gets those that were left before
/// identifiers decide: equally good for forwarding.
pub(super) fn eliminate(
    settings: &RibSettings,
    ranks: &[Rank],
    alive: &mut Vec<usize>,
    equal: &mut Vec<usize>,
    mut lost: impl FnMut(usize, Step),
) -> Option<usize> {
    /// Keeps those with the lowest key.
    fn lowest<K: Ord + Copy>(
        ranks: &[Rank],
        alive: &mut Vec<usize>,
        key: impl Fn(&Rank) -> K,
        mut lost: impl FnMut(usize),
    ) {
        if alive.len() < 2 {
            return;
        }
        let Some(best) = alive.iter().map(|index| key(&ranks[*index])).min() else { return };
        alive.retain(|index| {
            let stays = key(&ranks[*index]) == best;
            if !stays {
                lost(*index);
            }
            stays
        });
    }
    macro_rules! step {
        ($step:ident, $key:expr) => {
            lowest(ranks, alive, $key, |index| lost(index, Step::$step))
        };
    }
    step!(LongLivedStale, |rank| rank.long_lived_stale);
    step!(Weight, |rank| u32::MAX - rank.weight);
    step!(LocalPref, |rank| u32::MAX - rank.local_pref);
    step!(LocalOrigin, |rank| !rank.local);
    step!(AsPathLength, |rank| rank.path_length);
    step!(Origin, |rank| rank.origin);
    match settings.med_scope {
        MedScope::AcrossAsns => step!(Med, |rank| rank.med),
        MedScope::SameNeighbour if alive.len() > 1 => {
            // The lowest MED of each neighbouring system, in the order of the systems.
            let mut lowest: Vec<(Option<Asn>, u32)> =
                alive.iter().map(|index| (ranks[*index].neighbour_asn, ranks[*index].med)).collect();
            lowest.sort_unstable();
            lowest.dedup_by_key(|(asn, _)| *asn);
            alive.retain(|index| {
                let mine = &ranks[*index];
                let place = lowest.binary_search_by_key(&mine.neighbour_asn, |(asn, _)| *asn);
                let beaten = place.is_ok_and(|place| lowest[place].1 < mine.med);
                if beaten {
                    lost(*index, Step::Med);
                }
                !beaten
            });
        }
        MedScope::SameNeighbour => {}
    }
    step!(External, |rank| !rank.external);
    step!(Metric, |rank| rank.metric);
    equal.clear();
    equal.extend_from_slice(alive);
    if settings.tie_break == TieBreak::Oldest && alive.iter().all(|index| ranks[*index].external) {
        step!(Oldest, |rank| rank.since);
    }
    step!(RouterId, |rank| rank.router_id);
    step!(ClusterListLength, |rank| rank.cluster_list_length);
    step!(PeerAddress, |rank| rank.address);
    step!(PathId, |rank| rank.path_id);
    alive.truncate(1);
    alive.first().copied()
}
