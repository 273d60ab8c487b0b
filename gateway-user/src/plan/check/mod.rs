//! What the parts of a plan must agree on. Works on the types, so it holds for a plan from any source.

mod connections;
mod steer;
mod tenants;

use super::bgp;
use super::locate::Missing;
use super::model::{ConnectionKind, Draft, Gateway, Port, Tenant};
use super::path::Path;
use super::report::Problems;
use super::seat::{self, Seat};
use super::tor;
use super::values::{Complaint, Dual, Prefix, unicast};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Ports that a gateway can have.
const MAX_PORTS: usize = 64;

/// What is looked up about the plan as a whole.
pub(super) struct World<'a> {
    pub(super) missing: &'a Missing,
    gateway: Option<&'a Gateway>,
    seats: &'a [Seat],
    ports: HashMap<&'a str, &'a Port>,
    host_pas: HashSet<IpAddr>,
    /// Where a tunnel first names each VIP: tenant and connection.
    vips: HashMap<IpAddr, (usize, usize)>,
}

impl World<'_> {
    /// The provider addresses of a tenant's instance, and where they stand; none if that could not be read.
    fn pa_of(&self, tenant: &Tenant) -> Option<(Dual, Path)> {
        match &tenant.seat {
            None => Some((self.gateway?.pa, Path::root().key("gateway").key("pa"))),
            Some(name) => {
                let at = self.seats.iter().position(|seat| seat.name == *name)?;
                Some((self.seats[at].pa, Path::root().item("seat", at).key("pa")))
            }
        }
    }

    /// Where an address stands that is the gateway's own on the fabric, or one of its seats'.
    fn provider(&self, address: IpAddr) -> Option<Path> {
        if self.gateway.is_some_and(|gateway| gateway.pa.contains(address)) {
            return Some(Path::root().key("gateway").key("pa"));
        }
        let at = self.seats.iter().position(|seat| seat.pa.contains(address))?;
        Some(Path::root().item("seat", at).key("pa"))
    }
}

/// Notes everything in which the plan contradicts itself.
pub(super) fn check(draft: &Draft, missing: &Missing, problems: &mut Problems) {
    let mut vips = HashMap::new();
    for (tenant, it) in draft.tenants.iter().enumerate() {
        for (number, connection) in it.connections.iter().enumerate() {
            if let ConnectionKind::Gre(gre) = &connection.kind {
                vips.entry(gre.vip).or_insert((tenant, number));
            }
        }
    }
    let world = World {
        missing,
        gateway: draft.gateway.as_ref(),
        seats: &draft.seats,
        ports: draft.ports.iter().map(|port| (port.name.as_str(), port)).collect(),
        host_pas: draft.tenants.iter().flat_map(|tenant| tenant.vms.iter().map(|vm| vm.pa)).collect(),
        vips,
    };
    gateway(&world, problems);
    ports(draft, &world, problems);
    tenants::check(&draft.tenants, &world, problems);
    connections::check(&draft.tenants, &world, problems);
    bgp::check::check(&draft.tenants, &world, problems);
    steer::check(draft, &world, problems);
    tor::check::check(draft, missing, problems);
    seat::check::check(draft, problems);
}

fn gateway(world: &World<'_>, problems: &mut Problems) {
    let Some(gateway) = world.gateway else {
        if world.missing.nothing_of("gateway") {
            let remedy = "add `[gateway]` with `name`, `encapsulation` and `pa`";
            problems.at(Path::root(), Complaint::new("the plan has no `[gateway]`", remedy));
        }
        return;
    };
    let here = || Path::root().key("gateway");
    if gateway.pa.is_empty() && world.missing.nothing_of("pa") {
        let remedy = "write the gateway's own address on the fabric, such as `pa = [\"10.10.0.1\"]`";
        problems.at(here().key("pa"), Complaint::new("the gateway has no provider address", remedy));
    }
    if gateway.routes_per_tenant == 0 {
        let remedy = format!("leave it out for {}", Gateway::DEFAULT_ROUTES_PER_TENANT);
        problems.at(here().key("routes_per_tenant"), Complaint::new("a tenant's table has room for no route", remedy));
    }
    for address in gateway.pa.iter() {
        if world.host_pas.contains(&address) {
            // Told at the VM, where it is more likely to be wrong.
            continue;
        }
        good(problems, unicast(address), || here().key("pa"));
    }
}

fn ports(draft: &Draft, world: &World<'_>, problems: &mut Problems) {
    let mut names = HashMap::new();
    for (index, port) in draft.ports.iter().enumerate() {
        let here = || Path::root().item("port", index).key("name");
        if let Some(first) = names.insert(port.name.as_str(), index) {
            let what = format!("the port {} stands here for the second time", port.name);
            let remedy = "keep one; a port for both kinds of traffic has `role = \"both\"`";
            problems.conflict(here(), Path::root().item("port", first).key("name"), Complaint::new(what, remedy));
        }
        if index == MAX_PORTS {
            let what = format!("{} ports are more than the {MAX_PORTS} that a gateway can have", draft.ports.len());
            problems.at(here(), Complaint::new(what, "bond them, or move some to another gateway"));
        }
    }
    if !world.missing.nothing_of("port") {
        return;
    }
    let has = |good: fn(&Port) -> bool| draft.ports.iter().any(good);
    if draft.ports.is_empty() {
        let remedy = "add `[[port]]` with `name` and `role` for every interface that the gateway is to take";
        problems.at(Path::root(), Complaint::new("the plan has no port", remedy));
        return;
    }
    if let Some(tenant) = draft.tenants.iter().position(|tenant| !tenant.vms.is_empty())
        && !has(|port| port.role.is_fabric())
    {
        let remedy = "add a `[[port]]` with `role = \"fabric\"` or `\"both\"`";
        problems
            .at(Path::tenant(tenant).key("vms"), Complaint::new("there is no fabric port to reach the VMs by", remedy));
    }
    let tunnel = draft.tenants.iter().enumerate().find_map(|(tenant, it)| {
        let index = it.connections.iter().position(|connection| matches!(connection.kind, ConnectionKind::Gre(_)))?;
        Some(Path::connection(tenant, index))
    });
    if let Some(path) = tunnel
        && !has(|port| port.role.is_site())
    {
        let remedy = "add a `[[port]]` with `role = \"site\"` or `\"both\"`";
        problems.at(path.key("vip"), Complaint::new("there is no site port for the tunnel", remedy));
    }
}

/// Notes what an examination of a single value found.
pub(super) fn good(problems: &mut Problems, found: Result<(), Complaint>, path: impl FnOnce() -> Path) -> bool {
    match found {
        Ok(()) => true,
        Err(complaint) => {
            problems.at(path(), complaint);
            false
        }
    }
}

/// Pairs of prefixes of which the second lies within the first or equals it; each prefix is told once. Sorts the list.
pub(super) fn overlaps<T: Copy + Ord>(prefixes: &mut [(Prefix, T)]) -> Vec<((Prefix, T), (Prefix, T))> {
    prefixes.sort_unstable();
    let mut pairs = Vec::new();
    let mut outer: Option<(Prefix, T)> = None;
    for &inner in prefixes.iter() {
        match outer {
            Some(around) if around.0.net().contains(&inner.0.net()) => pairs.push((around, inner)),
            _ => outer = Some(inner),
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn overlaps_are_those_that_comparing_every_pair_finds(raw in prop::collection::vec((any::<[u8; 2]>(), 0u8..=16), 0..12)) {
            let mut list: Vec<(Prefix, usize)> = raw
                .iter()
                .enumerate()
                .map(|(index, (bytes, len))| {
                    let net = ipnet::Ipv4Net::new([bytes[0], bytes[1], 0, 0].into(), *len).expect("short enough").trunc();
                    (Prefix::try_from(ipnet::IpNet::V4(net)).expect("truncated"), index)
                })
                .collect();
            let any_pair = list.iter().enumerate().any(|(at, (a, _))| {
                list[..at].iter().any(|(b, _)| a.net().contains(&b.net()) || b.net().contains(&a.net()))
            });
            let found = overlaps(&mut list);
            prop_assert_eq!(!found.is_empty(), any_pair);
            for ((outer, a), (inner, b)) in found {
                prop_assert!(a != b && outer.net().contains(&inner.net()));
            }
        }
    }
}
