//! Connections: what identifies them, their addresses and their routes.

use super::super::model::{Connection, ConnectionKind, Gre, L3, Tenant};
use super::super::path::Path;
use super::super::report::Problems;
use super::super::values::{Complaint, Prefix, Vlan, family, names_no_host, routable, unicast};
use super::{World, good, overlaps};
use gateway_common::tables::Nexthop;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// The smallest MTU of a link that carries IPv6 (RFC 8200 section 5).
const IPV6_MTU: u16 = 1280;

type Tunnel = (IpAddr, IpAddr, Option<u32>);

/// What the connections of all tenants must not claim twice.
#[derive(Default)]
struct Claims<'a> {
    tunnels: HashMap<Tunnel, (usize, usize)>,
    vlans: HashMap<(&'a str, Vlan), (usize, usize)>,
}

/// Whose a customer address is, within one tenant.
#[derive(Clone, Copy)]
enum Owner {
    Vm(usize),
    Gateway,
    Vlan(usize, usize),
}

impl Owner {
    fn path(self, tenant: usize) -> Path {
        match self {
            Self::Vm(index) => Path::tenant(tenant).item("vms", index).key("ca"),
            Self::Gateway => Path::tenant(tenant).key("gateway_addresses"),
            Self::Vlan(connection, index) => Path::connection(tenant, connection).item("addresses", index),
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Vm(_) => "a VM's address",
            Self::Gateway => "the gateway's own address in this tenant",
            Self::Vlan(..) => "the gateway's own address on a VLAN",
        }
    }
}

type Owners = HashMap<IpAddr, Owner>;

/// Checks all tenants' connections.
pub(super) fn check(tenants: &[Tenant], world: &World<'_>, problems: &mut Problems) {
    let mut claims = Claims::default();
    for (index, tenant) in tenants.iter().enumerate() {
        let owners = owners(index, tenant, problems);
        let mut names = HashMap::new();
        for (number, connection) in tenant.connections.iter().enumerate() {
            let here = || Path::connection(index, number);
            if let Some(first) = names.insert(connection.name.as_str(), number) {
                let what = format!("a second connection of the tenant is called {}", connection.name);
                let complaint = Complaint::new(what, "rename one of them");
                problems.conflict(here().key("name"), Path::connection(index, first).key("name"), complaint);
            }
            match &connection.kind {
                ConnectionKind::Gre(gre) => {
                    tunnel(gre, &here, world, problems);
                    claim_tunnel(gre, (index, number), tenants, &mut claims, problems);
                }
                ConnectionKind::L3(l3) => {
                    vlan(l3, &here, world, problems);
                    claim_vlan(l3, (index, number), tenants, &mut claims, problems);
                }
            }
            let local = Local { index, number, connection, owners: &owners, world };
            local.mtu(problems);
            local.peers(problems);
            local.routes(problems);
        }
        networks(index, tenant, problems);
        table_size(index, tenant, world, problems);
        equal_cost(index, tenant, problems);
    }
}

/// Whose every address of a tenant is; notes the VLAN addresses that somebody else has already.
fn owners(index: usize, tenant: &Tenant, problems: &mut Problems) -> Owners {
    let mut owners: Owners = tenant.vms.iter().enumerate().map(|(number, vm)| (vm.ca, Owner::Vm(number))).collect();
    owners.extend(tenant.own_addresses().map(|address| (address, Owner::Gateway)));
    for (number, connection) in tenant.connections.iter().enumerate() {
        let ConnectionKind::L3(l3) = &connection.kind else { continue };
        for (at, interface) in l3.addresses.iter().enumerate() {
            let owner = Owner::Vlan(number, at);
            if let Some(first) = owners.insert(interface.addr(), owner) {
                let what = format!("{} is {} already", interface.addr(), first.describe());
                let complaint = Complaint::new(what, "give the gateway another address on this VLAN");
                problems.conflict(owner.path(index), first.path(index), complaint);
            }
        }
    }
    owners
}

fn tunnel(gre: &Gre, here: &impl Fn() -> Path, world: &World<'_>, problems: &mut Problems) {
    let vip_good = good(problems, unicast(gre.vip), || here().key("vip"));
    let remote_good = good(problems, unicast(gre.remote), || here().key("remote"));
    if !(vip_good && remote_good) {
        return;
    }
    if gre.vip.is_ipv4() != gre.remote.is_ipv4() {
        let what =
            format!("the remote {} is {}, the VIP {} is {}", gre.remote, family(gre.remote), gre.vip, family(gre.vip));
        let remedy = "write both ends of the tunnel in one family; either can carry both families inside";
        problems.conflict(here().key("remote"), here().key("vip"), Complaint::new(what, remedy));
    } else if gre.vip == gre.remote {
        let complaint =
            Complaint::new("the tunnel's two ends are the same address", "write the site's address as `remote`");
        problems.conflict(here().key("remote"), here().key("vip"), complaint);
    }
    not_provider("VIP", gre.vip, world, || here().key("vip"), problems);
    if gre.vip != gre.remote
        && let Some(&(tenant, number)) = world.vips.get(&gre.remote)
    {
        let what = format!("the remote {} is a VIP of this gateway", gre.remote);
        let complaint = Complaint::new(what, "write the site's address as `remote`");
        problems.conflict(here().key("remote"), Path::connection(tenant, number).key("vip"), complaint);
    }
    if let Some(there) = world.provider(gre.remote) {
        let what = format!("the remote {} is the gateway's own provider address", gre.remote);
        let complaint = Complaint::new(what, "write the site's address as `remote`");
        problems.conflict(here().key("remote"), there, complaint);
    }
}

/// Refuses a VIP that is also an address of the fabric: the two are told apart by address.
pub(super) fn not_provider(
    what: &str,
    vip: IpAddr,
    world: &World<'_>,
    here: impl Fn() -> Path,
    problems: &mut Problems,
) {
    let remedy = "take an address that sites use and the fabric does not";
    if let Some(there) = world.provider(vip) {
        let what = format!("the {what} {vip} is the gateway's own provider address");
        problems.conflict(here(), there, Complaint::new(what, remedy));
    } else if world.host_pas.contains(&vip) {
        problems.at(here(), Complaint::new(format!("the {what} {vip} is the provider address of a VM's host"), remedy));
    }
}

fn claim_tunnel(
    gre: &Gre,
    (tenant, number): (usize, usize),
    tenants: &[Tenant],
    claims: &mut Claims<'_>,
    problems: &mut Problems,
) {
    let (owner, first) = *claims.tunnels.entry((gre.vip, gre.remote, gre.key)).or_insert((tenant, number));
    if (owner, first) == (tenant, number) {
        return;
    }
    let key = gre.key.map_or("no key".to_owned(), |key| format!("key {key}"));
    let what = format!(
        "the tunnel {} to {} with {key} is the connection {} of the tenant {} already",
        gre.vip, gre.remote, tenants[owner].connections[first].name, tenants[owner].name
    );
    let complaint = Complaint::new(what, "give this one another `key`, and the same at the site, or another `vip`");
    problems.conflict(Path::connection(tenant, number).key("remote"), Path::connection(owner, first), complaint);
}

fn vlan(l3: &L3, here: &impl Fn() -> Path, world: &World<'_>, problems: &mut Problems) {
    match world.ports.get(l3.port.as_str()) {
        Some(port) if !port.role.is_site() => {
            let what = format!("the port {} is for the fabric only", l3.port);
            let complaint = Complaint::new(what, "name a site port, or give this one `role = \"both\"`");
            problems.at(here().key("port"), complaint);
        }
        None if world.missing.nothing_of("port") => {
            let mut names: Vec<&str> =
                world.ports.values().filter(|port| port.role.is_site()).map(|port| port.name.as_str()).collect();
            names.sort_unstable();
            let remedy = match names.as_slice() {
                [] => format!("add a `[[port]]` with `name = \"{}\"` and `role = \"site\"`", l3.port),
                _ => format!("name one of the site ports ({}), or add it as `[[port]]`", names.join(", ")),
            };
            problems.at(here().key("port"), Complaint::new(format!("no `[[port]]` is called {}", l3.port), remedy));
        }
        _ => {}
    }
    if l3.addresses.is_empty() && world.missing.nothing_of("addresses") {
        let remedy = "write the gateway's own, such as `addresses = [\"10.127.134.50/24\"]`";
        problems.at(here().key("addresses"), Complaint::new("the gateway has no address on the VLAN", remedy));
    }
}

fn claim_vlan<'a>(
    l3: &'a L3,
    (tenant, number): (usize, usize),
    tenants: &[Tenant],
    claims: &mut Claims<'a>,
    problems: &mut Problems,
) {
    let (owner, first) = *claims.vlans.entry((l3.port.as_str(), l3.vlan)).or_insert((tenant, number));
    if (owner, first) == (tenant, number) {
        return;
    }
    let what = format!(
        "the VLAN {} on {} is the connection {} of the tenant {} already",
        l3.vlan, l3.port, tenants[owner].connections[first].name, tenants[owner].name
    );
    let complaint =
        Complaint::new(what, "take another VLAN or another port: a VLAN on a port belongs to one connection");
    let (here, there) = (Path::connection(tenant, number), Path::connection(owner, first));
    problems.conflict(here.key("vlan"), there.key("vlan"), complaint);
}

/// The VLANs' networks of one tenant are disjoint, among each other and from its virtual subnets.
fn networks(index: usize, tenant: &Tenant, problems: &mut Problems) {
    let mut networks: Vec<(Prefix, (usize, usize))> = Vec::new();
    for (number, connection) in tenant.connections.iter().enumerate() {
        if let ConnectionKind::L3(l3) = &connection.kind {
            networks.extend(l3.addresses.iter().enumerate().map(|(at, interface)| (interface.network(), (number, at))));
        }
    }
    if networks.is_empty() {
        return;
    }
    let place = |(number, at)| Path::connection(index, number).item("addresses", at);
    for ((outer, first), (inner, second)) in overlaps(&mut networks) {
        let (later, earlier) = (first.max(second), first.min(second));
        let what = if outer == inner {
            format!("two addresses of the tenant's VLANs are in {outer}")
        } else {
            format!("the VLAN network {inner} lies within the VLAN network {outer} of the same tenant")
        };
        let remedy = "keep one address a network: a network is on one VLAN of a tenant";
        problems.conflict(place(later), place(earlier), Complaint::new(what, remedy));
    }
    // Subnet `n` sorts by (usize::MAX, n), after every connection.
    let subnets = tenant.subnets.iter().enumerate().filter(|(_, subnet)| subnet.prefix.prefix_len() > 0);
    networks.extend(subnets.map(|(at, subnet)| (subnet.prefix, (usize::MAX, at))));
    for ((outer, first), (inner, second)) in overlaps(&mut networks) {
        let (vlan, subnet) = (first.min(second), first.max(second));
        if vlan.0 != usize::MAX && subnet.0 == usize::MAX {
            let what = format!("the VLAN's network and a virtual subnet of the tenant overlap: {inner} is in {outer}");
            let complaint = Complaint::new(what, "make them disjoint: an address is behind one of the two");
            let there = Path::tenant(index).item("subnets", subnet.1).key("prefix");
            problems.conflict(place(vlan), there, complaint);
        }
    }
}

fn table_size(index: usize, tenant: &Tenant, world: &World<'_>, problems: &mut Problems) {
    let Some(gateway) = world.gateway else { return };
    let of_connections: usize = (tenant.connections.iter())
        .map(|connection| {
            let own = match &connection.kind {
                ConnectionKind::Gre(_) => 0,
                // An address and its network.
                ConnectionKind::L3(l3) => 2 * l3.addresses.len(),
            };
            connection.routes.len() + connection.peers.len() + own
        })
        .sum();
    let own = tenant.own_addresses().count() + usize::from(tenant.gateway_subnet.is_some());
    let own = own + tenant.bgp.as_ref().map_or(0, |bgp| bgp.peers.len());
    let of_gateways: usize = tenant.gateways.iter().map(|gateway| gateway.routes.len() + gateway.addresses.len()).sum();
    let count = of_connections + of_gateways + tenant.vms.len() + tenant.subnets.len() + own;
    if gateway.routes_per_tenant > 0 && count > gateway.routes_per_tenant as usize {
        let what = format!(
            "the tenant {} needs {count} table entries, more than `routes_per_tenant` allows ({})",
            tenant.name, gateway.routes_per_tenant
        );
        let remedy = "raise `routes_per_tenant` in `[gateway]`, or aggregate the tenant's routes";
        problems.at(Path::tenant(index).key("name"), Complaint::new(what, remedy));
    }
}

/// Refuses more equal routes than flows can be spread over.
fn equal_cost(index: usize, tenant: &Tenant, problems: &mut Problems) {
    if ways_out(tenant) <= Nexthop::GROUP_SIZE {
        return;
    }
    let mut routes: Vec<(Prefix, u32, u32, u32)> = Vec::new();
    for (number, connection) in tenant.connections.iter().enumerate() {
        routes.extend(
            connection
                .routes
                .iter()
                .enumerate()
                .map(|(at, route)| (route.destination, route.metric, number as u32, at as u32)),
        );
    }
    routes.sort_unstable();
    for group in routes.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).filter(|group| group.len() > Nexthop::GROUP_SIZE) {
        let (destination, metric, number, at) = group[Nexthop::GROUP_SIZE];
        let what = format!("{} routes to {destination} have the metric {metric}", group.len());
        let remedy = format!("flows are spread over {} at most: give the others another `metric`", Nexthop::GROUP_SIZE);
        let place = Path::connection(index, number as usize).item("routes", at as usize);
        problems.at(place, Complaint::new(what, remedy));
    }
}

/// How many different ways lead out of the tenant: no more than these can be equal.
fn ways_out(tenant: &Tenant) -> usize {
    let ways = |connection: &Connection| match &connection.kind {
        ConnectionKind::Gre(_) => 1,
        ConnectionKind::L3(_) => connection.routes.iter().map(|route| route.next_hop).collect::<HashSet<_>>().len(),
    };
    tenant.connections.iter().map(ways).sum()
}

/// One connection and what surrounds it.
struct Local<'a> {
    index: usize,
    number: usize,
    connection: &'a Connection,
    owners: &'a Owners,
    world: &'a World<'a>,
}

impl Local<'_> {
    fn here(&self) -> Path {
        Path::connection(self.index, self.number)
    }

    /// The addresses that the gateway has on the VLAN.
    fn vlan(&self) -> Option<&L3> {
        match &self.connection.kind {
            ConnectionKind::L3(l3) => Some(l3),
            ConnectionKind::Gre(_) => None,
        }
    }

    fn carries_ipv6(&self) -> bool {
        self.connection.routes.iter().any(|route| route.destination.addr().is_ipv6())
            || self.connection.peers.iter().any(IpAddr::is_ipv6)
            || self.vlan().is_some_and(|l3| l3.addresses.iter().any(|interface| interface.addr().is_ipv6()))
    }

    fn mtu(&self, problems: &mut Problems) {
        if let Some(mtu) = self.connection.mtu
            && mtu.get() < IPV6_MTU
            && self.carries_ipv6()
        {
            let what = format!("an MTU of {mtu} is too small for the IPv6 that the connection carries");
            let complaint = Complaint::new(what, format!("raise it to {IPV6_MTU} or more (RFC 8200)"));
            problems.at(self.here().key("mtu"), complaint);
        }
    }

    fn peers(&self, problems: &mut Problems) {
        let mut seen = HashMap::new();
        for (at, &peer) in self.connection.peers.iter().enumerate() {
            let here = || self.here().item("peers", at);
            if let Some(first) = seen.insert(peer, at) {
                let complaint = Complaint::new(format!("the peer {peer} stands here for the second time"), "keep one");
                problems.conflict(here(), self.here().item("peers", first), complaint);
                continue;
            }
            if good(problems, unicast(peer), here) && self.is_free(peer, "the peer", here, problems) {
                self.on_link(peer, "the peer", here, problems);
            }
        }
    }

    /// Refuses an address at the far end that somebody at the near end has.
    fn is_free(&self, address: IpAddr, what: &str, here: impl Fn() -> Path, problems: &mut Problems) -> bool {
        let Some(owner) = self.owners.get(&address) else { return true };
        let what = format!("{what} {address} is {}", owner.describe());
        let complaint = Complaint::new(what, "write the address of the router at the far end");
        problems.conflict(here(), owner.path(self.index), complaint);
        false
    }

    /// Refuses an address on the VLAN that is outside its networks. Anything is reached through a tunnel.
    fn on_link(&self, address: IpAddr, what: &str, here: impl Fn() -> Path, problems: &mut Problems) {
        let Some(l3) = self.vlan() else { return };
        match l3.addresses.iter().map(|interface| interface.network()).find(|network| network.contains(address)) {
            Some(network) if names_no_host(network.net(), address) => {
                let what = format!("{what} {address} is the network's or broadcast address of {network}");
                problems.at(here(), Complaint::new(what, "write the router's own address"));
            }
            Some(_) => {}
            None if l3.addresses.is_empty() || !self.world.missing.nothing_of("addresses") => {}
            None => {
                let networks: Vec<String> = l3.addresses.iter().map(|it| it.network().to_string()).collect();
                let what = format!("{what} {address} is not on the VLAN ({})", networks.join(", "));
                let remedy = "write a router's address on the VLAN, or correct the prefix length in `addresses`";
                problems.conflict(here(), self.here().key("addresses"), Complaint::new(what, remedy));
            }
        }
    }

    fn routes(&self, problems: &mut Problems) {
        for (at, route) in self.connection.routes.iter().enumerate() {
            let here = |key| self.here().item("routes", at).key(key);
            if !good(problems, routable(route.destination), || here("destination")) {
                continue;
            }
            let destination = route.destination.net();
            if destination.prefix_len() == destination.max_prefix_len()
                && let Some(owner) = self.owners.get(&destination.addr())
            {
                let what = format!("{} is {}", destination.addr(), owner.describe());
                let complaint = Complaint::new(what, "remove the route: that address is not behind this connection");
                problems.conflict(here("destination"), owner.path(self.index), complaint);
            }
            match (&self.connection.kind, route.next_hop) {
                (ConnectionKind::Gre(_), None) => {}
                (ConnectionKind::Gre(_), Some(_)) => {
                    let remedy = "remove `next_hop`: all that goes into a tunnel comes out at its far end";
                    problems.at(here("next_hop"), Complaint::new("a route into a tunnel has no next hop", remedy));
                }
                (ConnectionKind::L3(_), None) => {
                    let peer = self.connection.peers.iter().find(|peer| peer.is_ipv4() == destination.addr().is_ipv4());
                    let remedy = match peer {
                        Some(peer) => format!("add `next_hop = \"{peer}\"`, or another router on the VLAN"),
                        None => "add `next_hop` with the address of a router on the VLAN".to_owned(),
                    };
                    let what = format!("the route to {destination} by a VLAN has no next hop");
                    problems.at(self.here().item("routes", at), Complaint::new(what, remedy));
                }
                (ConnectionKind::L3(_), Some(next_hop)) => {
                    self.next_hop(route.destination, next_hop, || here("next_hop"), problems)
                }
            }
        }
        self.repeated_routes(problems);
    }

    fn next_hop(&self, destination: Prefix, next_hop: IpAddr, here: impl Fn() -> Path, problems: &mut Problems) {
        if next_hop.is_ipv4() != destination.addr().is_ipv4() {
            let what = format!("the next hop {next_hop} is {}, the destination is not", family(next_hop));
            problems.at(here(), Complaint::new(what, "write the router's address of the destination's family"));
        } else if good(problems, unicast(next_hop), &here) && self.is_free(next_hop, "the next hop", &here, problems) {
            self.on_link(next_hop, "the next hop", here, problems);
        }
    }

    fn repeated_routes(&self, problems: &mut Problems) {
        let routes = &self.connection.routes;
        let key = |at: u32| (routes[at as usize].destination, routes[at as usize].next_hop);
        let mut order: Vec<u32> = (0..routes.len() as u32).collect();
        order.sort_unstable_by_key(|&at| (key(at), at));
        for pair in order.windows(2).filter(|pair| key(pair[0]) == key(pair[1])) {
            let here = |at: u32| self.here().item("routes", at as usize).key("destination");
            let what = format!("the connection has the route to {} twice", routes[pair[1] as usize].destination);
            problems.conflict(here(pair[1]), here(pair[0]), Complaint::new(what, "keep the one with the right metric"));
        }
    }
}
