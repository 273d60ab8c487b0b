//! From TOML to the types of a tenant's BGP.

use super::super::fields::{Key, Reader, Refusal, Value};
use super::super::read::Node;
use super::policy::{AsRange, BgpPolicy, Clear, Community, Match, PrefixRange, Set, Statement, Verdict};
use super::values::{
    AsNumber, HoldTime, Hops, Identifier, Milliseconds, Multipath, Password, Percent, RestartTime, StaleTime,
};
use super::{
    AddPath, Announce, AsPathEquality, Bgp, BgpBfd, BgpPeer, Damping, MaxPrefixes, PeerFamily, PeerMode, PeerRole,
    Reflection,
};
use std::num::NonZeroU32;
use toml::de::DeValue;

pub(in super::super) const BGP: &[Key] = &[
    Key("as_number", "as_number = 64512"),
    Key("router_id", "router_id = \"10.1.255.1\""),
    Key("addresses", "addresses = [\"10.1.255.1\"]"),
    Key("cluster_id", "cluster_id = \"10.1.255.1\""),
    Key("announce", "announce = [\"subnets\", \"static-routes\"]"),
    Key("networks", "networks = [\"10.9.0.0/16\"]"),
    Key("multipath", "multipath = 4"),
    Key("multipath_as_path", "multipath_as_path = \"length\""),
    Key("max_routes", "max_routes = 100000"),
    Key("damping", "damping = \"rfc7196\""),
    Key("peer", "the header `[[tenant.bgp.peer]]`"),
    Key("policy", "the header `[[tenant.bgp.policy]]`"),
];
pub(in super::super) const PEER: &[Key] = &[
    Key("name", "name = \"hq\""),
    Key("address", "address = \"10.2.0.1\""),
    Key("as_number", "as_number = 64513"),
    Key("connection", "connection = \"hq\""),
    Key("local_address", "local_address = \"10.1.255.1\""),
    Key("mode", "mode = \"mixed\""),
    Key("hold_time_ms", "hold_time_ms = 90000"),
    Key("connect_retry_ms", "connect_retry_ms = 5000"),
    Key("password", "password = \"…\""),
    Key("multihop", "multihop = 2"),
    Key("ttl_security", "ttl_security = 1"),
    Key("bfd", "bfd = { interval_ms = 300, multiplier = 3 }"),
    Key("max_prefixes", "max_prefixes = { count = 1000, warning_percent = 80 }"),
    Key("policy_in", "policy_in = \"from-hq\""),
    Key("policy_out", "policy_out = \"to-hq\""),
    Key("role", "role = \"provider\""),
    Key("reflection", "reflection = \"client\""),
    Key("graceful_restart_s", "graceful_restart_s = 120"),
    Key("long_lived_stale_s", "long_lived_stale_s = 3600"),
    Key("add_path", "add_path = \"both\""),
    Key("families", "families = [\"ipv4\", \"ipv6\"]"),
];
pub(in super::super) const BFD: &[Key] =
    &[Key("interval_ms", "interval_ms = 300"), Key("multiplier", "multiplier = 3")];
pub(in super::super) const MAX_PREFIXES: &[Key] = &[
    Key("count", "count = 1000"),
    Key("warning_percent", "warning_percent = 80"),
    Key("restart_ms", "restart_ms = 60000"),
];
pub(in super::super) const POLICY: &[Key] = &[
    Key("name", "name = \"from-hq\""),
    Key("statements", "statements = [ { match = { prefixes = [\"10.0.0.0/8 le 24\"] }, then = \"accept\" } ]"),
    Key("otherwise", "otherwise = \"reject\""),
];
pub(in super::super) const STATEMENT: &[Key] = &[
    Key("match", "match = { prefixes = [\"10.0.0.0/8 le 24\"] }"),
    Key("set", "set = { local_preference = 200 }"),
    Key("then", "then = \"accept\""),
];
pub(in super::super) const MATCH: &[Key] = &[
    Key("prefixes", "prefixes = [\"10.0.0.0/8 le 24\"]"),
    Key("not_prefixes", "not_prefixes = [\"10.5.0.0/16 le 32\"]"),
    Key("next_hops", "next_hops = [\"10.2.0.0/16\"]"),
    Key("as_path", "as_path = [\"64512-64520\"]"),
    Key("origin_as", "origin_as = [\"64513\"]"),
    Key("communities", "communities = [\"64512:100\"]"),
];
pub(in super::super) const SET: &[Key] = &[
    Key("local_preference", "local_preference = 200"),
    Key("med", "med = 50"),
    Key("weight", "weight = 100"),
    Key("next_hop", "next_hop = \"10.2.0.1\""),
    Key("prepend", "prepend = [64512, 64512]"),
    Key("add_communities", "add_communities = [\"64512:100\"]"),
    Key("remove_communities", "remove_communities = [\"64512:100\"]"),
    Key("clear", "clear = [\"med\"]"),
];

const ANNOUNCE: &[(&str, Announce)] = &[
    ("subnets", Announce::Subnets),
    ("gateway-subnet", Announce::GatewaySubnet),
    ("vlans", Announce::Vlans),
    ("static-routes", Announce::StaticRoutes),
];
const EQUALITY: &[(&str, AsPathEquality)] = &[("same", AsPathEquality::Same), ("length", AsPathEquality::Length)];
const DAMPING: &[(&str, Damping)] = &[("off", Damping::Off), ("rfc7196", Damping::Rfc7196)];
const MODES: &[(&str, PeerMode)] =
    &[("mixed", PeerMode::Mixed), ("active", PeerMode::Active), ("passive", PeerMode::Passive)];
const ROLES: &[(&str, PeerRole)] = &[
    ("provider", PeerRole::Provider),
    ("customer", PeerRole::Customer),
    ("peer", PeerRole::Peer),
    ("route-server", PeerRole::RouteServer),
    ("route-server-client", PeerRole::RouteServerClient),
];
const REFLECTION: &[(&str, Reflection)] = &[("none", Reflection::None), ("client", Reflection::Client)];
const ADD_PATH: &[(&str, AddPath)] = &[("send", AddPath::Send), ("receive", AddPath::Receive), ("both", AddPath::Both)];
const FAMILIES: &[(&str, PeerFamily)] = &[("ipv4", PeerFamily::Ipv4), ("ipv6", PeerFamily::Ipv6)];
const VERDICTS: &[(&str, Verdict)] = &[("accept", Verdict::Accept), ("reject", Verdict::Reject)];
const CLEAR: &[(&str, Clear)] = &[("med", Clear::Med), ("communities", Clear::Communities)];

impl Value for AsNumber {
    fn read(value: &DeValue<'_>) -> Result<Self, Refusal> {
        match value.as_str() {
            Some(text) => text.parse().map_err(Refusal::Content),
            None => super::super::fields::integer(value)?.try_into().map_err(Refusal::Content),
        }
    }
}

pub(in super::super) fn bgp(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Bgp> {
    let fields = reader.open(node, "`[tenant.bgp]`", BGP)?;
    let as_number = reader.required(&fields, "as_number");
    let router_id = reader.optional::<Identifier>(&fields, "router_id");
    let addresses = reader.optional_dual(&fields, "addresses").unwrap_or_default();
    let cluster_id = reader.optional(&fields, "cluster_id");
    let announce = match fields.node("announce") {
        Some(_) => reader.words(&fields, "announce", ANNOUNCE),
        None => Bgp::default_announce(),
    };
    let networks = reader.values(&fields, "networks");
    let multipath = reader.optional::<Multipath>(&fields, "multipath");
    let multipath_as_path = reader.optional_choice(&fields, "multipath_as_path", EQUALITY).unwrap_or_default();
    let max_routes = reader.optional::<NonZeroU32>(&fields, "max_routes");
    let damping = reader.optional_choice(&fields, "damping", DAMPING).unwrap_or_default();
    let peers = reader.list(&fields, "peer", peer);
    let policies = reader.list(&fields, "policy", policy);
    Some(Bgp {
        as_number: as_number?,
        router_id,
        addresses,
        cluster_id,
        announce,
        networks,
        multipath,
        multipath_as_path,
        max_routes,
        damping,
        peers,
        policies,
    })
}

fn peer(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<BgpPeer> {
    peer_with(reader, node, "`[[tenant.bgp.peer]]`", PEER)
}

/// A neighbour that may have some of the keys alone.
pub(in super::super) fn peer_with(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    what: &'static str,
    keys: &'static [Key],
) -> Option<BgpPeer> {
    let fields = reader.open(node, what, keys)?;
    let name = reader.required(&fields, "name");
    let address = reader.required(&fields, "address");
    let as_number = reader.required(&fields, "as_number");
    let connection = reader.optional(&fields, "connection");
    let local_address = reader.optional(&fields, "local_address");
    let mode = reader.optional_choice(&fields, "mode", MODES).unwrap_or_default();
    let hold_time = reader.optional::<HoldTime>(&fields, "hold_time_ms").unwrap_or_default();
    let connect_retry = reader.optional::<Milliseconds>(&fields, "connect_retry_ms");
    let password = reader.optional::<Password>(&fields, "password");
    let multihop = reader.optional::<Hops>(&fields, "multihop");
    let ttl_security = reader.optional::<Hops>(&fields, "ttl_security");
    let bfd = reader.table(&fields, "bfd", bfd);
    let max_prefixes = reader.table(&fields, "max_prefixes", max_prefixes);
    let policy_in = reader.optional(&fields, "policy_in");
    let policy_out = reader.optional(&fields, "policy_out");
    let role = reader.optional_choice(&fields, "role", ROLES);
    let reflection = reader.optional_choice(&fields, "reflection", REFLECTION).unwrap_or_default();
    let graceful_restart = reader.optional::<RestartTime>(&fields, "graceful_restart_s");
    let long_lived_stale = reader.optional::<StaleTime>(&fields, "long_lived_stale_s");
    let add_path = reader.optional_choice(&fields, "add_path", ADD_PATH);
    let families = reader.words(&fields, "families", FAMILIES);
    Some(BgpPeer {
        name: name?,
        address: address?,
        as_number: as_number?,
        connection,
        local_address,
        mode,
        hold_time,
        connect_retry,
        password,
        multihop,
        ttl_security,
        bfd,
        max_prefixes,
        policy_in,
        policy_out,
        role,
        reflection,
        graceful_restart: graceful_restart.unwrap_or_else(BgpPeer::default_restart_time),
        long_lived_stale,
        add_path,
        families,
    })
}

fn bfd(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<BgpBfd> {
    let fields = reader.open(node, "a peer's `bfd`", BFD)?;
    let interval = reader.required(&fields, "interval_ms");
    let multiplier = reader.optional(&fields, "multiplier");
    Some(BgpBfd { interval: interval?, multiplier: multiplier.unwrap_or_else(BgpBfd::default_multiplier) })
}

fn max_prefixes(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<MaxPrefixes> {
    let fields = reader.open(node, "a peer's `max_prefixes`", MAX_PREFIXES)?;
    let count = reader.required(&fields, "count");
    let warning = reader.optional::<Percent>(&fields, "warning_percent");
    let restart = reader.optional(&fields, "restart_ms");
    Some(MaxPrefixes { count: count?, warning: warning.unwrap_or_else(MaxPrefixes::default_warning), restart })
}

fn policy(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<BgpPolicy> {
    let fields = reader.open(node, "`[[tenant.bgp.policy]]`", POLICY)?;
    let name = reader.required(&fields, "name");
    let statements = reader.list(&fields, "statements", statement);
    let otherwise = reader.optional_choice(&fields, "otherwise", VERDICTS).unwrap_or_default();
    Some(BgpPolicy { name: name?, statements, otherwise })
}

fn statement(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Statement> {
    let fields = reader.open(node, "a statement of a policy", STATEMENT)?;
    let matches = reader.table(&fields, "match", matches).unwrap_or_default();
    let set = reader.table(&fields, "set", set).unwrap_or_default();
    let then = reader.optional_choice(&fields, "then", VERDICTS).unwrap_or_default();
    Some(Statement { matches, set, then })
}

fn matches(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Match> {
    let fields = reader.open(node, "a statement's `match`", MATCH)?;
    Some(Match {
        prefixes: reader.values::<PrefixRange>(&fields, "prefixes"),
        not_prefixes: reader.values::<PrefixRange>(&fields, "not_prefixes"),
        next_hops: reader.values(&fields, "next_hops"),
        as_path: reader.values::<AsRange>(&fields, "as_path"),
        origin_as: reader.values::<AsRange>(&fields, "origin_as"),
        communities: reader.values::<Community>(&fields, "communities"),
    })
}

fn set(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Set> {
    let fields = reader.open(node, "a statement's `set`", SET)?;
    Some(Set {
        local_preference: reader.optional(&fields, "local_preference"),
        med: reader.optional(&fields, "med"),
        weight: reader.optional(&fields, "weight"),
        next_hop: reader.optional(&fields, "next_hop"),
        prepend: reader.values(&fields, "prepend"),
        add_communities: reader.values(&fields, "add_communities"),
        remove_communities: reader.values(&fields, "remove_communities"),
        clear: reader.words(&fields, "clear", CLEAR),
    })
}
