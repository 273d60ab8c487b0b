//! One tenant's routes: of all that leads to a prefix the best is chosen, and all whose it is may send from it.

use super::ids::Ids;
use super::tables::{AnyPrefix, Prefix4, Prefix6, Tables, TenantRoutes};
use crate::plan;
use gateway_common::tables::{FeasibleKey, Nexthop, Route};
use gateway_common::{ConnectionId, Feasible, NexthopId, OriginId, TenantId};
use ipnet::IpNet;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

/// How good a candidate is; the lower one is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// The tenant's own: its gateway's addresses, its VMs.
    Own,
    /// A virtual subnet: what no VM in it has must not leak to a site's default route.
    Subnet,
    /// Connected: a peer, a VLAN's subnet.
    Connected,
    /// A route with its metric.
    Metric(u32),
}

/// Something that leads to a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    rank: Rank,
    nexthop: NexthopId,
    sender: Sender,
}

/// Who may send from a candidate's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Nobody,
    Always(OriginId),
    IfBest(OriginId),
}

impl Candidate {
    pub(super) fn new(rank: Rank, nexthop: NexthopId) -> Self {
        Self { rank, nexthop, sender: Sender::Nobody }
    }

    /// `origin` may send from the prefix.
    pub(super) fn feasible(self, origin: OriginId) -> Self {
        Self { sender: Sender::Always(origin), ..self }
    }

    /// `origin` may send from the prefix if this is among the best that lead to it.
    pub(super) fn feasible_if_best(self, origin: OriginId) -> Self {
        Self { sender: Sender::IfBest(origin), ..self }
    }
}

/// Gathers a tenant's candidates.
#[derive(Debug, Default)]
pub(super) struct RouteBuilder {
    v4: Vec<(Prefix4, Candidate)>,
    v6: Vec<(Prefix6, Candidate)>,
}

/// Where a tenant's routes go while its connections are gone through.
pub(super) enum Routes {
    /// To be chosen from.
    Gathered(RouteBuilder),
    /// Nowhere: what will be chosen is known.
    Known,
}

impl Routes {
    pub(super) fn add(&mut self, prefix: AnyPrefix, candidate: Candidate) {
        if let Self::Gathered(routes) = self {
            routes.add(prefix, candidate);
        }
    }

    pub(super) fn own(&mut self, address: IpAddr, local: NexthopId) {
        self.add(address.into(), Candidate::new(Rank::Own, local).feasible(OriginId::COMPARTMENT));
    }

    pub(super) fn subnet(&mut self, prefix: IpNet, blackhole: NexthopId) {
        self.add(prefix.into(), Candidate::new(Rank::Subnet, blackhole));
    }

    /// The connection's routes, if anybody wants them.
    pub(super) fn wanted<'a>(&self, connection: &'a plan::Connection) -> &'a [plan::Route] {
        match self {
            Self::Gathered(_) => &connection.routes,
            Self::Known => &[],
        }
    }
}

/// What was chosen for a tenant, with the groups and sets that it needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Chosen {
    pub(super) routes: Arc<TenantRoutes>,
    groups: HashSet<Box<[NexthopId]>>,
    sets: HashSet<Box<[OriginId]>>,
}

impl Chosen {
    /// Puts the routes, the groups and the sets into `tables`, as if they had just been chosen.
    pub(super) fn enter(&self, tenant: TenantId, ids: &mut Ids, tables: &mut Tables) {
        for members in &self.groups {
            let id = group_id(members, ids);
            tables.nexthops.insert(id.0, group(members));
        }
        for members in &self.sets {
            let set = ids.set(members);
            tables.feasible.extend(members.iter().map(|&origin| (FeasibleKey { set, origin }, 1)));
        }
        tables.routes.insert(tenant, Arc::clone(&self.routes));
    }
}

impl RouteBuilder {
    pub(super) fn add(&mut self, prefix: AnyPrefix, candidate: Candidate) {
        match prefix {
            AnyPrefix::V4(prefix) => self.v4.push((prefix, candidate)),
            AnyPrefix::V6(prefix) => self.v6.push((prefix, candidate)),
        }
    }

    /// Chooses for every prefix.
    pub(super) fn finish(self, ids: &mut Ids) -> Chosen {
        let mut chosen = Chosen::default();
        let v4 = choose(self.v4, |prefix| prefix.len, ids, &mut chosen);
        let v6 = choose(self.v6, |prefix| prefix.len, ids, &mut chosen);
        chosen.routes = Arc::new(TenantRoutes { v4, v6 });
        chosen
    }
}

fn choose<P: Copy + Ord>(
    mut candidates: Vec<(P, Candidate)>,
    len: impl Fn(&P) -> u32,
    ids: &mut Ids,
    chosen: &mut Chosen,
) -> Box<[(P, Route)]> {
    // Stable, because that is quick for what is sorted in parts, as plans are.
    candidates.sort_by_key(|(prefix, candidate)| (*prefix, candidate.rank, candidate.nexthop));
    candidates
        .chunk_by(|(a, _), (b, _)| a == b)
        .map(|same| {
            let (prefix, best) = same[0];
            let equal = same.partition_point(|(_, candidate)| candidate.rank <= best.rank);
            let route = Route {
                nexthop: nexthop(&same[..equal], ids, chosen),
                feasible: feasible(same, best.rank, ids, chosen),
                prefix_len: len(&prefix),
            };
            (prefix, route)
        })
        .collect()
}

/// The next hop of equally good candidates, which are sorted by next hop.
fn nexthop<P>(best: &[(P, Candidate)], ids: &mut Ids, chosen: &mut Chosen) -> NexthopId {
    let first = best[0].1.nexthop;
    if best.iter().all(|(_, candidate)| candidate.nexthop == first) {
        return first;
    }
    let mut members: Vec<NexthopId> = best.iter().map(|(_, candidate)| candidate.nexthop).collect();
    members.dedup();
    members.truncate(Nexthop::GROUP_SIZE);
    let id = group_id(&members, ids);
    chosen.groups.insert(members.into());
    id
}

/// The next hop that spreads flows over its members.
pub(super) fn group(members: &[NexthopId]) -> Nexthop {
    Nexthop { connection: ConnectionId::NONE, seat: super::compile::SEAT, ..Nexthop::group(members) }
}

pub(super) fn group_id(members: &[NexthopId], ids: &mut Ids) -> NexthopId {
    let meaning: String = members.iter().map(|member| format!("{},", member.0)).collect();
    ids.nexthop(&format!("group/{meaning}"))
}

fn feasible<P>(all: &[(P, Candidate)], best: Rank, ids: &mut Ids, chosen: &mut Chosen) -> Feasible {
    let sender = |candidate: &Candidate| match candidate.sender {
        Sender::Always(origin) => Some(origin),
        Sender::IfBest(origin) if candidate.rank == best => Some(origin),
        Sender::IfBest(_) | Sender::Nobody => None,
    };
    if let [(_, only)] = all {
        return sender(only).map_or(Feasible::NOBODY, Feasible::only);
    }
    let mut members: Vec<OriginId> = all.iter().filter_map(|(_, candidate)| sender(candidate)).collect();
    members.sort_unstable();
    members.dedup();
    match members[..] {
        [] => Feasible::NOBODY,
        [only] => Feasible::only(only),
        _ => {
            let set = ids.set(&members);
            chosen.sets.insert(members.into());
            Feasible::set(set)
        }
    }
}
