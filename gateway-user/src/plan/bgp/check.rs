//! What a tenant's BGP must agree on with the rest of the plan.

use super::super::check::{World, good};
use super::super::model::{ConnectionKind, Tenant};
use super::super::path::Path;
use super::super::report::Problems;
use super::super::values::{Complaint, Name, family, routable, unicast};
use super::policy::Community;
use super::{Bgp, BgpPeer, Reach, Reflection};
use std::collections::HashMap;
use std::net::IpAddr;

/// Checks all tenants' BGP.
pub(in super::super) fn check(tenants: &[Tenant], world: &World<'_>, problems: &mut Problems) {
    for (index, tenant) in tenants.iter().enumerate() {
        if let Some(bgp) = &tenant.bgp {
            let local = Local { index, tenant, bgp, world };
            local.router(problems);
            local.policies(problems);
            local.peers(problems);
        }
    }
}

struct Local<'a> {
    index: usize,
    tenant: &'a Tenant,
    bgp: &'a Bgp,
    world: &'a World<'a>,
}

impl Local<'_> {
    fn here(&self) -> Path {
        Path::tenant(self.index).key("bgp")
    }

    fn peer(&self, at: usize) -> Path {
        self.here().item("peer", at)
    }

    /// Whether nothing of the tenant's could not be read.
    fn all_is_there(&self) -> bool {
        let keys = ["connection", "gateway_addresses", "addresses", "routes", "peers"];
        keys.into_iter().all(|key| self.world.missing.nothing_of(key))
    }

    fn router(&self, problems: &mut Problems) {
        for address in self.bgp.addresses.iter() {
            let here = || self.here().key("addresses");
            if !good(problems, unicast(address), here) {
                continue;
            }
            if let Some(vm) = self.tenant.vms.iter().position(|vm| vm.ca == address) {
                let complaint =
                    Complaint::new(format!("{address} is a VM's address"), "give the router an address of its own");
                let there = Path::tenant(self.index).item("vms", vm).key("ca");
                problems.conflict(here(), there, complaint);
            }
            let on_vlan = self.tenant.connections.iter().position(|it| it.address_on_link(address) == Some(address));
            if let Some(connection) = on_vlan {
                let what = format!("{address} is the gateway's own address on a VLAN already");
                let remedy = "leave it out: a peer on the VLAN is spoken to from there anyway";
                let there = Path::connection(self.index, connection).key("addresses");
                problems.conflict(here(), there, Complaint::new(what, remedy));
            }
        }
        let own = self.tenant.router_addresses();
        if self.bgp.router_id.is_none() && own.v4.is_none() && self.all_is_there() {
            let what = "the router has no BGP identifier: it has no IPv4 address to take it from";
            problems.at(self.here(), Complaint::new(what, "add `router_id`, such as `router_id = \"10.1.255.1\"`"));
        }
        for (at, network) in self.bgp.networks.iter().enumerate() {
            good(problems, routable(*network), || self.here().item("networks", at));
        }
        for (at, what) in self.bgp.announce.iter().enumerate() {
            if self.bgp.announce[..at].contains(what) {
                let complaint = Complaint::new("this stands here for the second time", "keep one");
                problems.at(self.here().item("announce", at), complaint);
            }
        }
    }

    fn policies(&self, problems: &mut Problems) {
        let mut names = HashMap::new();
        for (at, policy) in self.bgp.policies.iter().enumerate() {
            let here = || self.here().item("policy", at);
            if let Some(first) = names.insert(policy.name.as_str(), at) {
                let what = format!("a second policy of the tenant is called {}", policy.name);
                let there = self.here().item("policy", first).key("name");
                problems.conflict(here().key("name"), there, Complaint::new(what, "rename one of them"));
            }
            for (number, statement) in policy.statements.iter().enumerate() {
                let here = || here().item("statements", number);
                if let Some(next_hop) = statement.set.next_hop {
                    good(problems, unicast(next_hop), || here().key("set").key("next_hop"));
                }
                let large = |it: &&Community| matches!(it, Community::Large(_));
                let larges = statement.matches.communities.iter().filter(large).count();
                if larges != 0 && larges != statement.matches.communities.len() {
                    let what = "one list asks for large communities and for others";
                    let remedy = "make two statements of it, one for each kind";
                    problems.at(here().key("match").key("communities"), Complaint::new(what, remedy));
                }
                let twice =
                    statement.set.add_communities.iter().find(|it| statement.set.remove_communities.contains(it));
                if let Some(community) = twice {
                    let what = format!("the community {community} is both added and removed");
                    let (one, other) =
                        (here().key("set").key("add_communities"), here().key("set").key("remove_communities"));
                    problems.conflict(one, other, Complaint::new(what, "keep one of the two"));
                }
            }
            // What single values do not show: statements that cannot be reached, that reject and change, and the like.
            if problems.is_empty()
                && let Err(error) = policy.compiled()
            {
                let statement = error.statement.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                let place = statement.map_or_else(here, |number| here().item("statements", number));
                let what = format!("the policy {}: {}", policy.name, error.reason);
                problems.at(place, Complaint::new(what, "correct the statement, or take it out"));
            }
        }
    }

    fn peers(&self, problems: &mut Problems) {
        let (mut names, mut addresses) = (HashMap::new(), HashMap::new());
        for (at, peer) in self.bgp.peers.iter().enumerate() {
            if let Some(first) = names.insert(peer.name.as_str(), at) {
                let what = format!("a second peer of the tenant is called {}", peer.name);
                let there = self.peer(first).key("name");
                problems.conflict(self.peer(at).key("name"), there, Complaint::new(what, "rename one of them"));
            }
            if let Some(first) = addresses.insert(peer.address, at) {
                let what = format!("a second peer of the tenant has the address {}", peer.address);
                let complaint = Complaint::new(what, "keep one: there is one session with an address");
                problems.conflict(self.peer(at).key("address"), self.peer(first).key("address"), complaint);
            }
            for (key, name) in [("policy_in", &peer.policy_in), ("policy_out", &peer.policy_out)] {
                self.policy_is_there(name.as_ref(), || self.peer(at).key(key), problems);
            }
            self.session(at, peer, problems);
            self.address(at, peer, problems);
        }
    }

    fn policy_is_there(&self, name: Option<&Name>, here: impl Fn() -> Path, problems: &mut Problems) {
        let Some(name) = name else { return };
        if self.bgp.policies.iter().any(|policy| policy.name == *name) || !self.world.missing.nothing_of("policy") {
            return;
        }
        let names: Vec<&str> = self.bgp.policies.iter().map(|policy| policy.name.as_str()).collect();
        let remedy = match names.as_slice() {
            [] => format!("add a `[[tenant.bgp.policy]]` with `name = \"{name}\"`"),
            names => format!("name one of {}, or add it as `[[tenant.bgp.policy]]`", names.join(", ")),
        };
        problems.at(here(), Complaint::new(format!("the tenant has no policy {name}"), remedy));
    }

    fn session(&self, at: usize, peer: &BgpPeer, problems: &mut Problems) {
        if let Some(bfd) = peer.bfd {
            good(problems, bfd.timers().map(drop), || self.peer(at).key("bfd").key("interval_ms"));
        }
        let internal = peer.as_number == self.bgp.as_number;
        if let (Some(_), Some(_)) = (peer.multihop, peer.ttl_security) {
            let what = "`multihop` lets the peer be far away, `ttl_security` keeps it near";
            let complaint = Complaint::new(what, "keep one; `ttl_security` takes the number of hops, too (RFC 5082)");
            problems.conflict(self.peer(at).key("multihop"), self.peer(at).key("ttl_security"), complaint);
        }
        if internal && peer.multihop.is_some() {
            let what = "an iBGP peer may be any number of hops away";
            problems.at(self.peer(at).key("multihop"), Complaint::new(what, "remove `multihop`"));
        }
        if !internal && peer.reflection == Reflection::Client {
            let what = format!("a route reflector's client is in the router's own AS {}", self.bgp.as_number);
            let complaint = Complaint::new(what, "remove `reflection`, or correct `as_number` (RFC 4456)");
            problems.conflict(self.peer(at).key("reflection"), self.here().key("as_number"), complaint);
        }
        if internal && let Some(_) = peer.role {
            let what = "roles are for eBGP (RFC 9234)";
            problems.at(self.peer(at).key("role"), Complaint::new(what, "remove `role`, or correct `as_number`"));
        }
    }

    /// The peer's address, ours, and what leads from one to the other.
    fn address(&self, at: usize, peer: &BgpPeer, problems: &mut Problems) {
        let here = || self.peer(at).key("address");
        if !good(problems, unicast(peer.address), here) {
            return;
        }
        let own = self.tenant.own_addresses().any(|own| own == peer.address)
            || self.tenant.connections.iter().any(|it| it.address_on_link(peer.address) == Some(peer.address));
        if own {
            let what = format!("{} is the gateway's own address in this tenant", peer.address);
            problems.at(here(), Complaint::new(what, "write the address of the router at the site"));
            return;
        }
        if let Some(vm) = self.tenant.vms.iter().position(|vm| vm.ca == peer.address) {
            let what = format!("{} is a VM's address", peer.address);
            let complaint = Complaint::new(what, "write the address of the router at the site");
            problems.conflict(here(), Path::tenant(self.index).item("vms", vm).key("ca"), complaint);
            return;
        }
        if !self.all_is_there() {
            return;
        }
        if let Some(name) = &peer.connection
            && !self.tenant.connections.iter().any(|connection| connection.name == *name)
        {
            let names: Vec<&str> = self.tenant.connections.iter().map(|it| it.name.as_str()).collect();
            let remedy = match names.as_slice() {
                [] => "add it as `[[tenant.connection]]`".to_owned(),
                names => format!("name one of {}, or add it as `[[tenant.connection]]`", names.join(", ")),
            };
            let complaint = Complaint::new(format!("the tenant has no connection {name}"), remedy);
            problems.at(self.peer(at).key("connection"), complaint);
            return;
        }
        let connection = match self.tenant.reach_of(peer) {
            Some(Reach::Connection(connection)) => Some(connection),
            Some(Reach::Gateway(_)) => {
                self.local_address(at, peer, problems);
                return;
            }
            None => None,
        };
        let Some(connection) = connection else {
            let what = format!("Peers {} have no connectivity through any connection", peer.address);
            let remedy =
                "add `connection` with the name of the one that leads there, or the address to that one's `peers`";
            problems.at(here(), Complaint::new(what, remedy));
            return;
        };
        let routed = || connection.routes.iter().any(|route| route.destination.contains(peer.address));
        if let ConnectionKind::L3(_) = &connection.kind
            && connection.network_of(peer.address).is_none()
            && !routed()
        {
            let networks: Vec<String> = connection.networks().map(|network| network.to_string()).collect();
            let what = format!("{} is not on the VLAN of {} ({})", peer.address, connection.name, networks.join(", "));
            let remedy = "write the router's address on the VLAN, or add a route to this one to the connection";
            problems.at(here(), Complaint::new(what, remedy));
        }
        self.local_address(at, peer, problems);
    }

    fn local_address(&self, at: usize, peer: &BgpPeer, problems: &mut Problems) {
        let here = || self.peer(at).key("local_address");
        match peer.local_address {
            Some(local) if local.is_ipv4() != peer.address.is_ipv4() => {
                let what = format!("the local address {local} is {}, the peer's is not", family(local));
                problems.conflict(
                    here(),
                    self.peer(at).key("address"),
                    Complaint::new(what, "write one of its family"),
                );
            }
            Some(local) if !self.is_own(local) => {
                let what = format!("{local} is none of the gateway's own addresses in this tenant");
                let remedy =
                    "write one of `gateway_addresses`, of the router's `addresses`, or the gateway's on the VLAN";
                problems.at(here(), Complaint::new(what, remedy));
            }
            Some(_) => {}
            None if self.tenant.local_address_for(peer).is_none() => {
                let family = family(peer.address);
                let what = format!("the gateway has no {family} address in this tenant to speak to the peer from");
                let remedy = format!("add an {family} address to `gateway_addresses` of the tenant");
                problems.at(self.peer(at).key("address"), Complaint::new(what, remedy));
            }
            None => {}
        }
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.tenant.own_addresses().any(|own| own == address)
            || self.tenant.connections.iter().any(|connection| connection.address_on_link(address) == Some(address))
    }
}
