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

impl View<'_> {
    /// A tenant's routes, in the order of their addresses; only those that hold `prefix` or lie within it.
    pub(super) fn routes(&self, tenant: &str, prefix: Option<IpNet>) -> Result<Vec<RouteReport>, Failure> {
        let not_found = || Failure::not_found("tenant", tenant);
        let id = self.ids.tenant_id(tenant).ok_or_else(not_found)?;
        let routes = self.tables.routes.get(&id).ok_or_else(not_found)?;
        let chosen = |net: &IpNet| prefix.is_none_or(|prefix| net.contains(&prefix) || prefix.contains(net));
        let mut chosen: Vec<(IpNet, Route)> = all(routes).filter(|(net, _)| chosen(net)).collect();
        chosen.sort_unstable_by_key(|(net, _)| (net.addr(), net.prefix_len()));

        let names = Names::new(self);
        let meanings = names::meanings(self.ids);
        let hosts: HashMap<HostId, IpAddr> = self.ids.host_addresses().collect();
        let sets = self.feasible_sets();
        let connection = |id: ConnectionId| Some(names.connection(id).1);
        let origin = |origin: OriginId| names::origin_with(origin, connection, |id| hosts.get(&id).copied());
        let rows = chosen.into_iter().map(|(prefix, route)| {
            let nexthop = self.tables.nexthops.get(&route.nexthop.0).filter(|_| route.nexthop != NexthopId::NONE);
            let meaning = || meanings.get(&route.nexthop).copied().unwrap_or_default();
            RouteReport {
                prefix,
                leads_to: match nexthop {
                    Some(nexthop) => names::leads_to(nexthop, meaning, connection),
                    None => "none (source only)".to_owned(),
                },
                nexthop: nexthop.map(|_| route.nexthop.0),
                feasible: feasible(route.feasible, &sets).into_iter().map(origin).collect(),
            }
        });
        Ok(rows.collect())
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
                routes.v4.binary_search_by_key(&key, |(prefix, _)| *prefix).ok().map(|_| IpNet::from(net))
            }),
            IpAddr::V6(address) => (0..=128u8).rev().find_map(|len| {
                let net = Ipv6Net::new(address, len).ok()?.trunc();
                let key = Prefix6 { len: len.into(), address: net.addr().octets() };
                routes.v6.binary_search_by_key(&key, |(prefix, _)| *prefix).ok().map(|_| IpNet::from(net))
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
        let of_vm = || {
            let tenant = meaning.strip_prefix("vm/")?.split('/').next()?;
            Some(names.tenant(TenantId(tenant.parse().ok()?)))
        };
        let tenant = match nexthop.connection {
            ConnectionId::NONE => of_vm(),
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
                Nexthop::GROUP => members(nexthop),
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

/// A group's members.
fn members(nexthop: &Nexthop) -> Vec<u32> {
    let count = (nexthop.flags as usize).min(Nexthop::GROUP_SIZE);
    (0..count).map(|index| (nexthop.header[index / 2] >> (32 * (index % 2))) as u32).collect()
}
