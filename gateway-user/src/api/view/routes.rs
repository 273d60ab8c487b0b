//! Routes and next hops as they stand in the tables.

use super::View;
use super::names::{self, Names};
use crate::api::protocol::Failure;
use crate::api::report::{NexthopReport, RouteReport};
use crate::dataplane::tables::{Prefix4, Prefix6, TenantRoutes};
use gateway_common::tables::{Nexthop, Route};
use gateway_common::template::Encapsulation;
use gateway_common::{ConnectionId, Feasible, HostId, NexthopId, OriginId, TenantId};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

fn net4(prefix: &Prefix4) -> Option<IpNet> {
    let len = u8::try_from(prefix.len).ok()?;
    Some(Ipv4Net::new(Ipv4Addr::from(prefix.address), len).ok()?.into())
}

fn net6(prefix: &Prefix6) -> Option<IpNet> {
    let len = u8::try_from(prefix.len).ok()?;
    Some(Ipv6Net::new(Ipv6Addr::from(prefix.address), len).ok()?.into())
}

/// A tenant's routes of both families.
fn all(routes: &TenantRoutes) -> impl Iterator<Item = (IpNet, Route)> {
    let v4 = routes.v4.iter().filter_map(|(prefix, route)| Some((net4(prefix)?, *route)));
    let v6 = routes.v6.iter().filter_map(|(prefix, route)| Some((net6(prefix)?, *route)));
    v4.chain(v6)
}

/// All that it takes to tell of a tenant's routes, however many, without the daemon's main loop: the routes themselves are shared, what they lead
/// to has its name.
#[derive(Debug)]
pub struct RouteList {
    routes: Arc<TenantRoutes>,
    learned: TenantRoutes,
    prefix: Option<IpNet>,
    names: RouteNames,
}

#[derive(Debug)]
struct RouteNames {
    nexthops: HashMap<NexthopId, String>,
    connections: HashMap<ConnectionId, String>,
    hosts: HashMap<HostId, IpAddr>,
    sets: HashMap<u32, Vec<OriginId>>,
}

impl RouteList {
    /// The routes that were asked for, in the order of their addresses. Takes its time.
    pub fn sorted(self) -> SortedRoutes {
        let chosen = |net: &IpNet| self.prefix.is_none_or(|prefix| net.contains(&prefix) || prefix.contains(net));
        let planned = all(&self.routes);
        let mut routes: Vec<(IpNet, Route)> =
            planned.chain(all(&self.learned)).filter(|(net, _)| chosen(net)).collect();
        // A route of the plan goes before a learned one, and is the only one in the table.
        routes.sort_by_key(|(net, _)| (net.addr(), net.prefix_len()));
        routes.dedup_by_key(|(net, _)| *net);
        SortedRoutes { routes, names: self.names }
    }
}

/// Routes in their order, to be told in parts.
#[derive(Debug)]
pub struct SortedRoutes {
    routes: Vec<(IpNet, Route)>,
    names: RouteNames,
}

impl SortedRoutes {
    /// The rows in parts of at most so many; no part if there is no route.
    pub fn parts(&self, rows: usize) -> impl ExactSizeIterator<Item = Vec<RouteReport>> {
        self.routes
            .chunks(rows.max(1))
            .map(|part| part.iter().map(|(prefix, route)| self.names.row(*prefix, route)).collect())
    }
}

impl RouteNames {
    fn row(&self, prefix: IpNet, route: &Route) -> RouteReport {
        let leads_to = self.nexthops.get(&route.nexthop);
        let connection = |id: ConnectionId| self.connections.get(&id).cloned();
        let origin = |origin: OriginId| names::origin_with(origin, connection, |id| self.hosts.get(&id).copied());
        RouteReport {
            prefix,
            leads_to: leads_to.cloned().unwrap_or_else(|| "none (source only)".to_owned()),
            nexthop: leads_to.map(|_| route.nexthop.0),
            feasible: feasible(route.feasible, &self.sets).into_iter().map(origin).collect(),
        }
    }
}

impl View<'_> {
    /// A tenant's routes, all at once.
    pub(super) fn routes(&self, tenant: &str, prefix: Option<IpNet>) -> Result<Vec<RouteReport>, Failure> {
        Ok(self.route_list(tenant, prefix)?.sorted().parts(usize::MAX).flatten().collect())
    }

    /// What it takes to tell of a tenant's routes; of those only that hold `prefix` or lie within it.
    pub fn route_list(&self, tenant: &str, prefix: Option<IpNet>) -> Result<RouteList, Failure> {
        let not_found = || Failure::not_found("tenant", tenant);
        let id = self.ids.tenant_id(tenant).ok_or_else(not_found)?;
        let routes = self.tables.routes.get(&id).ok_or_else(not_found)?;
        let largest = self.tables.nexthops.keys().max().map_or(0, |largest| *largest as usize);
        let mut used = vec![false; largest + 1];
        let learned = self.learned.routes(id);
        fn every(routes: &TenantRoutes) -> impl Iterator<Item = &Route> {
            routes.v4.iter().map(|(_, route)| route).chain(routes.v6.iter().map(|(_, route)| route))
        }
        for route in every(routes).chain(every(&learned)).filter(|route| route.nexthop != NexthopId::NONE) {
            used.get_mut(route.nexthop.0 as usize).into_iter().for_each(|used| *used = true);
        }
        let names = Names::new(self);
        let meanings = names::meanings(self.ids);
        let connection = |id: ConnectionId| Some(names.connection(id).1);
        let named = self.tables.nexthops.iter().filter(|(id, _)| used[**id as usize]).map(|(id, nexthop)| {
            let id = NexthopId(*id);
            let meaning = || meanings.get(&id).copied().unwrap_or_default();
            (id, names::leads_to(nexthop, meaning, connection))
        });
        let names = RouteNames {
            nexthops: named.collect(),
            connections: names.connections_of(tenant),
            hosts: self.ids.host_addresses().collect(),
            sets: self.feasible_sets(),
        };
        Ok(RouteList { routes: Arc::clone(routes), learned, prefix, names })
    }

    fn feasible_sets(&self) -> HashMap<u32, Vec<OriginId>> {
        let mut sets: HashMap<u32, Vec<OriginId>> = HashMap::new();
        for key in self.tables.feasible.keys() {
            sets.entry(key.set).or_default().push(key.origin);
        }
        sets.values_mut().for_each(|members| members.sort_unstable());
        sets
    }

    /// The longest prefix of a tenant's that holds an address.
    pub(super) fn longest_prefix(&self, tenant: TenantId, address: IpAddr) -> Option<String> {
        let routes = self.tables.routes.get(&tenant)?;
        // Tables are sorted by length, then address: one search a length, the longest first.
        let found = match address {
            IpAddr::V4(address) => (0..=32u8).rev().find_map(|len| {
                let net = Ipv4Net::new(address, len).ok()?.trunc();
                let key = Prefix4 { len: len.into(), address: net.addr().octets() };
                let planned = routes.v4.binary_search_by_key(&key, |(prefix, _)| *prefix).is_ok();
                (planned || self.learned.contains(tenant, net.into())).then(|| IpNet::from(net))
            }),
            IpAddr::V6(address) => (0..=128u8).rev().find_map(|len| {
                let net = Ipv6Net::new(address, len).ok()?.trunc();
                let key = Prefix6 { len: len.into(), address: net.addr().octets() };
                let planned = routes.v6.binary_search_by_key(&key, |(prefix, _)| *prefix).is_ok();
                (planned || self.learned.contains(tenant, net.into())).then(|| IpNet::from(net))
            }),
        };
        found.map(|net| net.to_string())
    }

    /// All next hops, by number.
    pub(super) fn nexthops(&self) -> Vec<NexthopReport> {
        let names = Names::new(self);
        let meanings = names::meanings(self.ids);
        let mut rows: Vec<NexthopReport> = self
            .tables
            .nexthops
            .iter()
            .map(|(&id, nexthop)| {
                let meaning = meanings.get(&NexthopId(id)).copied().unwrap_or_default();
                self.nexthop(id, nexthop, meaning, &names)
            })
            .collect();
        rows.sort_unstable_by_key(|row| row.id);
        rows
    }

    fn nexthop(&self, id: u32, nexthop: &Nexthop, meaning: &str, names: &Names<'_>) -> NexthopReport {
        let adjacency = nexthop.kind == Nexthop::ADJACENCY;
        let of_fabric = || {
            let tenant = meaning.strip_prefix("vm/").or_else(|| meaning.strip_prefix("gateway/"))?.split('/').next()?;
            Some(names.tenant(TenantId(tenant.parse().ok()?)))
        };
        let tenant = match nexthop.connection {
            ConnectionId::NONE => of_fabric(),
            connection => names.connection(connection).0,
        };
        NexthopReport {
            id,
            state: match nexthop.kind {
                Nexthop::ADJACENCY => "resolved",
                Nexthop::GROUP => "group",
                Nexthop::LOCAL => "local",
                Nexthop::BLACKHOLE => "blackhole",
                _ => "unresolved",
            }
            .to_owned(),
            tenant,
            leads_to: names::leads_to(nexthop, || meaning, |id| Some(names.connection(id).1)),
            encapsulation: adjacency
                .then(|| Encapsulation::from_number(nexthop.encapsulation).map(names::encapsulation))
                .flatten()
                .map(str::to_owned),
            port: adjacency.then(|| self.slot(nexthop.port)).flatten(),
            mac: adjacency.then(|| names::link_destination(nexthop)),
            mtu: adjacency.then_some(nexthop.mtu),
            members: match nexthop.kind {
                Nexthop::GROUP => nexthop.members().map(|member| member.0).collect(),
                _ => Vec::new(),
            },
        }
    }
}

/// Who may send from a prefix.
fn feasible(feasible: Feasible, sets: &HashMap<u32, Vec<OriginId>>) -> Vec<OriginId> {
    if feasible == Feasible::NOBODY {
        return Vec::new();
    }
    match feasible.as_set() {
        Some(set) => sets.get(&set).cloned().unwrap_or_default(),
        None => vec![OriginId(feasible.0)],
    }
}
