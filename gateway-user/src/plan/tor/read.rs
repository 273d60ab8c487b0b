//! From TOML to the types of the gateway's BGP with the rack's routers.

use super::super::bgp::read::peer_with;
use super::super::bgp::{BgpPeer, Identifier};
use super::super::fields::{Key, Reader};
use super::super::read::Node;
use super::{PreferBy, Tor};

pub(in super::super) const TOR: &[Key] = &[
    Key("as_number", "as_number = 64512"),
    Key("router_id", "router_id = \"10.10.0.1\""),
    Key("next_hop", "next_hop = [\"198.51.100.5\"]"),
    Key("prefer_by", "prefer_by = \"med\""),
    Key("med", "med = 50"),
    Key("local_preference", "local_preference = 200"),
    Key("communities", "communities = [\"64512:100\"]"),
    Key("peer", "the header `[[tor.peer]]`"),
];
pub(in super::super) const PEER: &[Key] = &[
    Key("name", "name = \"tor1\""),
    Key("address", "address = \"198.51.100.1\""),
    Key("as_number", "as_number = 64513"),
    Key("local_address", "local_address = \"198.51.100.2\""),
    Key("mode", "mode = \"mixed\""),
    Key("hold_time_ms", "hold_time_ms = 90000"),
    Key("connect_retry_ms", "connect_retry_ms = 5000"),
    Key("password", "password = \"…\""),
    Key("multihop", "multihop = 2"),
    Key("ttl_security", "ttl_security = 1"),
    Key("bfd", "bfd = { interval_ms = 300, multiplier = 3 }"),
    Key("graceful_restart_s", "graceful_restart_s = 120"),
    Key("families", "families = [\"ipv4\", \"ipv6\"]"),
];

const PREFER_BY: &[(&str, PreferBy)] =
    &[("next-hop", PreferBy::NextHop), ("med", PreferBy::Med), ("local-preference", PreferBy::LocalPreference)];

pub(in super::super) fn tor(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Tor> {
    let fields = reader.open(node, "`[tor]`", TOR)?;
    let as_number = reader.required(&fields, "as_number");
    let router_id = reader.optional::<Identifier>(&fields, "router_id");
    let next_hop = reader.optional_dual(&fields, "next_hop").unwrap_or_default();
    let prefer_by = reader.optional_choice(&fields, "prefer_by", PREFER_BY).unwrap_or_default();
    let med = reader.optional(&fields, "med");
    let local_preference = reader.optional(&fields, "local_preference");
    let communities = reader.values(&fields, "communities");
    let peers = reader.list(&fields, "peer", peer);
    Some(Tor { as_number: as_number?, router_id, next_hop, prefer_by, med, local_preference, communities, peers })
}

fn peer(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<BgpPeer> {
    peer_with(reader, node, "`[[tor.peer]]`", PEER)
}
