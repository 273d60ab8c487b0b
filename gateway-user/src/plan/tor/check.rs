//! What the gateway's BGP with the rack's routers must agree on with the rest of the plan.

use super::super::bgp::{BgpPeer, PeerFamily, Reflection};
use super::super::check::good;
use super::super::locate::Missing;
use super::super::model::{ConnectionKind, Draft};
use super::super::path::Path;
use super::super::report::Problems;
use super::super::values::{Complaint, Dual, family, unicast};
use super::{PreferBy, Tor};
use std::collections::HashMap;
use std::net::IpAddr;

/// Checks `[tor]`.
pub(in super::super) fn check(draft: &Draft, missing: &Missing, problems: &mut Problems) {
    let Some(tor) = &draft.tor else { return };
    let own_v4 = draft.gateway.as_ref().is_none_or(|gateway| gateway.pa.v4.is_some());
    if tor.router_id.is_none() && !own_v4 && tor.next_hop.v4.is_none() && missing.nothing_of("pa") {
        let what = "the gateway has no BGP identifier: it has no IPv4 address to take it from";
        problems.at(here(), Complaint::new(what, "add `router_id`, such as `router_id = \"10.10.0.1\"`"));
    }
    for address in tor.next_hop.iter() {
        good(problems, unicast(address).and_then(|()| is_free(draft, address)), || here().key("next_hop"));
    }
    if tor.peers.is_empty() && missing.nothing_of("peer") {
        let remedy = "add `[[tor.peer]]` with `name`, `address` and `as_number`; without BGP, remove `[tor]`";
        problems.at(here(), Complaint::new("`[tor]` names no router of the rack", remedy));
    }
    let (mut names, mut addresses) = (HashMap::new(), HashMap::new());
    for (at, peer) in tor.peers.iter().enumerate() {
        if let Some(first) = names.insert(peer.name.as_str(), at) {
            let what = format!("a second router of the rack is called {}", peer.name);
            let there = self::peer(first).key("name");
            problems.conflict(self::peer(at).key("name"), there, Complaint::new(what, "rename one of them"));
        }
        if let Some(first) = addresses.insert(peer.address, at) {
            let what = format!("a second router of the rack has the address {}", peer.address);
            let complaint = Complaint::new(what, "keep one: there is one session with an address");
            problems.conflict(self::peer(at).key("address"), self::peer(first).key("address"), complaint);
        }
        one(tor, at, peer, problems);
    }
}

fn here() -> Path {
    Path::root().key("tor")
}

fn peer(at: usize) -> Path {
    here().item("peer", at)
}

/// Whether nothing else in the plan is at an address that VIPs' packets are sent to.
fn is_free(draft: &Draft, address: IpAddr) -> Result<(), Complaint> {
    let mut connections = draft.tenants.iter().flat_map(|tenant| &tenant.connections);
    let is_vip = connections.any(|connection| match &connection.kind {
        ConnectionKind::Gre(gre) => gre.vip == address,
        ConnectionKind::L3(_) => false,
    });
    if is_vip {
        let what = format!("{address} is a VIP: a route to it would lead to itself");
        return Err(Complaint::new(what, "write another address on the rack's segment"));
    }
    if draft.tor.iter().flat_map(|tor| &tor.peers).any(|peer| peer.address == address) {
        let what = format!("{address} is the address of a router of the rack");
        return Err(Complaint::new(what, "write an address of the gateway's own"));
    }
    Ok(())
}

fn one(tor: &Tor, at: usize, it: &BgpPeer, problems: &mut Problems) {
    let internal = it.as_number == tor.as_number;
    good(problems, unicast(it.address), || peer(at).key("address"));
    // Only a document of a controller's can say these.
    for (key, is_there) in [
        ("connection", it.connection.is_some()),
        ("policy_in", it.policy_in.is_some()),
        ("policy_out", it.policy_out.is_some()),
        ("max_prefixes", it.max_prefixes.is_some()),
        ("role", it.role.is_some()),
        ("reflection", it.reflection != Reflection::None),
        ("add_path", it.add_path.is_some()),
        ("long_lived_stale_s", it.long_lived_stale.is_some()),
    ] {
        if is_there {
            let what = format!("`{key}` means nothing for a router of the rack");
            problems.at(peer(at).key(key), Complaint::new(what, format!("remove `{key}`")));
        }
    }
    if let (Some(_), Some(_)) = (it.multihop, it.ttl_security) {
        let what = "`multihop` lets the peer be far away, `ttl_security` keeps it near";
        let complaint = Complaint::new(what, "keep one; `ttl_security` takes the number of hops, too (RFC 5082)");
        problems.conflict(peer(at).key("multihop"), peer(at).key("ttl_security"), complaint);
    }
    if internal && it.multihop.is_some() {
        let what = "an iBGP peer may be any number of hops away";
        problems.at(peer(at).key("multihop"), Complaint::new(what, "remove `multihop`"));
    }
    if !internal && tor.prefer_by == PreferBy::LocalPreference {
        let what = format!("a local preference says nothing to AS {}, which is not the gateway's own", it.as_number);
        let complaint = Complaint::new(what, "write `prefer_by = \"med\"`");
        problems.conflict(peer(at).key("as_number"), here().key("prefer_by"), complaint);
    }
    if let Some(local) = it.local_address
        && local.is_ipv4() != it.address.is_ipv4()
    {
        let what = format!("the local address {local} is {}, the peer's is not", family(local));
        let complaint = Complaint::new(what, "write one of its family");
        problems.conflict(peer(at).key("local_address"), peer(at).key("address"), complaint);
    }
    if let Some(bfd) = it.bfd {
        good(problems, bfd.timers().map(drop), || peer(at).key("bfd").key("interval_ms"));
        if it.local_address.is_none() {
            let what = "BFD needs to know our end of the session";
            let remedy = "add `local_address`, the gateway's own address on the rack's segment";
            problems.at(peer(at).key("bfd"), Complaint::new(what, remedy));
        }
    }
    for (at_family, wanted) in it.families.iter().enumerate() {
        let (has, name) = match wanted {
            PeerFamily::Ipv4 => (reaches(tor.next_hop, it, IpAddr::is_ipv4), "IPv4"),
            PeerFamily::Ipv6 => (reaches(tor.next_hop, it, IpAddr::is_ipv6), "IPv6"),
        };
        if !has {
            let what = format!(
                "there is no {name} address to send VIPs' packets to: the session has none, nor has `next_hop`"
            );
            let remedy = format!("add the gateway's {name} address on the rack's segment to `next_hop`");
            problems.at(peer(at).item("families", at_family), Complaint::new(what, remedy));
        }
    }
}

/// Whether there is a next hop of a family.
fn reaches(next_hop: Dual, peer: &BgpPeer, is: fn(&IpAddr) -> bool) -> bool {
    is(&peer.address) || next_hop.iter().any(|address| is(&address))
}
