use super::compile::{SEAT, compile, recompile};
use super::ids::Ids;
use super::learned::Learned;
use super::memory::Memory;
use super::tables::{AnyPrefix, Tables};
use super::world::{CompartmentState, ConnectionName, Hop, Neighbour, PortState, World};
use crate::plan::{Plan, parse};
use gateway_common::tables::{
    Connection, FabricKey, FabricPeerKey, FeasibleKey, GATEWAY_MAC, GreKey, Local, Nexthop, Port, Route, Settings,
    SteerKey, Tenant, VlanKey,
};
use gateway_common::template::{Encapsulation, Ends, Link, Template};
use gateway_common::{ConnectionId, Feasible, NexthopId, OriginId, PortId, TenantId, Vni, mss};
use ipnet::IpNet;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;

const GATEWAY: &str = r#"
[gateway]
name = "gw1"
encapsulation = "vxlan"
pa = ["10.10.0.1"]
[[port]]
name = "fab0"
role = "fabric"
[[port]]
name = "tor0"
role = "site"
"#;

const CONTOSO: &str = r#"
[[tenant]]
name = "contoso"
gateway_addresses = ["10.1.255.1", "fd01:255::1"]
gateway_subnet = "10.1.255.0/29"
subnets = [ { vsid = 5001, prefix = "10.1.0.0/24" } ]
vms = [ { ca = "10.1.0.5", mac = "02:00:00:00:01:05", vsid = 5001, pa = "10.10.0.11" } ]
"#;

const HQ: &str = r#"
[[tenant.connection]]
name = "hq"
type = "gre"
vip = "198.51.100.10"
remote = "203.0.113.20"
key = 100
"#;

const BACKUP: &str = r#"
[[tenant.connection]]
name = "backup"
type = "gre"
vip = "198.51.100.10"
remote = "203.0.113.21"
"#;

const DC: &str = r#"
[[tenant.connection]]
name = "dc"
type = "l3"
port = "tor0"
vlan = 1001
addresses = ["10.127.134.50/24"]
"#;

fn plan(parts: &[&str]) -> Plan {
    parse(&[&[GATEWAY], parts].concat().concat(), "test").unwrap_or_else(|errors| panic!("{errors}"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

const FABRIC: PortState = PortState { ifindex: 11, mac: [2, 0, 0, 0, 0, 11], mtu: 1600 };
const TOR: PortState = PortState { ifindex: 12, mac: [2, 0, 0, 0, 0, 12], mtu: 1500 };

fn hop(port: PortState, last: u8) -> Hop {
    Hop { ifindex: port.ifindex, destination: [2, 0, 0, 0, 1, last], source: port.mac, mtu: port.mtu }
}

fn world() -> World {
    World {
        ports: BTreeMap::from([("fab0".into(), FABRIC), ("tor0".into(), TOR)]),
        hops: [
            (ip("10.10.0.2"), hop(FABRIC, 2)),
            (ip("10.10.0.11"), hop(FABRIC, 11)),
            (ip("203.0.113.20"), hop(TOR, 20)),
            (ip("203.0.113.21"), hop(TOR, 21)),
        ]
        .into(),
        ..World::default()
    }
}

/// A compiled plan, to be asked by name.
struct Compiled {
    ids: Ids,
    tables: Tables,
}

impl Compiled {
    fn new(plan: &Plan, world: &World) -> Self {
        let mut ids = Ids::default();
        let tables = compile(plan, world, &mut ids);
        Self { ids, tables }
    }

    fn tenant(&self) -> TenantId {
        self.ids.tenant_id("contoso").expect("a tenant")
    }

    fn connection_id(&self, name: &str) -> ConnectionId {
        self.ids.connection_id("contoso", name).expect("a connection")
    }

    fn connection(&self, name: &str) -> Connection {
        self.tables.connections[&self.connection_id(name).0]
    }

    fn origin(&self, name: &str) -> OriginId {
        OriginId::connection(self.connection_id(name))
    }

    fn route(&self, prefix: &str) -> Route {
        let net: IpNet = prefix.parse().expect("a prefix");
        let routes = &self.tables.routes[&self.tenant()];
        let found = match net.into() {
            AnyPrefix::V4(prefix) => routes.v4.iter().find(|(other, _)| *other == prefix).map(|(_, route)| *route),
            AnyPrefix::V6(prefix) => routes.v6.iter().find(|(other, _)| *other == prefix).map(|(_, route)| *route),
        };
        let route = found.unwrap_or_else(|| panic!("no route to {prefix}"));
        assert_eq!(route.prefix_len, u32::from(net.prefix_len()));
        route
    }

    fn nexthop(&self, prefix: &str) -> Nexthop {
        self.tables.nexthops[&self.route(prefix).nexthop.0]
    }

    /// Who may send from exactly this prefix.
    fn feasible(&self, prefix: &str) -> Vec<OriginId> {
        members(&self.tables, self.route(prefix).feasible)
    }
}

fn members(tables: &Tables, feasible: Feasible) -> Vec<OriginId> {
    if feasible == Feasible::NOBODY {
        return Vec::new();
    }
    let Some(set) = feasible.as_set() else { return vec![OriginId(feasible.0)] };
    let mut members: Vec<OriginId> =
        tables.feasible.keys().filter(|key| key.set == set).map(|FeasibleKey { origin, .. }| *origin).collect();
    members.sort_unstable();
    members
}

#[test]
fn a_vm_is_a_host_route_into_its_hosts_tunnel() {
    let compiled = Compiled::new(&plan(&[CONTOSO]), &world());
    let vm = compiled.nexthop("10.1.0.5/32");
    let link = Link { destination: [2, 0, 0, 0, 1, 11], source: FABRIC.mac };
    let ends = Ends::new(ip("10.10.0.1"), ip("10.10.0.11")).expect("one family");
    let inner = Link { destination: [2, 0, 0, 0, 1, 5], source: GATEWAY_MAC };
    let template = Template::vxlan(link, ends, Vni(5001), inner);
    assert_eq!((vm.kind, vm.encapsulation), (Nexthop::ADJACENCY, Encapsulation::Vxlan4 as u32));
    assert_eq!((vm.header, vm.checksum_base, vm.header_len), (template.words(), template.checksum_base, 64));
    assert_eq!((vm.mtu, vm.connection), (1600 - 50, ConnectionId::NONE));
    assert_eq!(compiled.tables.devices[&vm.port.0], FABRIC.ifindex);

    let key = FabricPeerKey { pa: ip("10.10.0.11").into(), tenant: compiled.tenant() };
    let host = compiled.tables.fabric_peers[&key];
    assert_eq!(host.as_connection(), None);
    assert_eq!(compiled.feasible("10.1.0.5/32"), [host]);
    let key = FabricKey { pa: ip("10.10.0.1").into(), vni: Vni(5001), encapsulation: FabricKey::VXLAN };
    assert_eq!(compiled.tables.fabric[&key].tenant, compiled.tenant());
}

#[test]
fn a_tenants_own_encapsulation_comes_before_the_gateways() {
    let nvgre = CONTOSO.replace("gateway_subnet", "encapsulation = \"nvgre\"\ngateway_subnet");
    let compiled = Compiled::new(&plan(&[&nvgre]), &world());
    assert_eq!(compiled.nexthop("10.1.0.5/32").encapsulation, Encapsulation::Nvgre4 as u32);
    let key = |encapsulation| FabricKey { pa: ip("10.10.0.1").into(), vni: Vni(5001), encapsulation };
    assert_eq!(compiled.tables.fabric[&key(FabricKey::NVGRE)].tenant, compiled.tenant());
    assert!(!compiled.tables.fabric.contains_key(&key(FabricKey::VXLAN)));
}

#[test]
fn what_no_vm_of_a_subnet_has_goes_nowhere_and_comes_from_nobody() {
    let default = "routes = [ { destination = \"0.0.0.0/0\" } ]";
    let compiled = Compiled::new(&plan(&[CONTOSO, HQ, default]), &world());
    for prefix in ["10.1.0.0/24", "10.1.255.0/29"] {
        assert_eq!(compiled.nexthop(prefix).kind, Nexthop::BLACKHOLE);
        assert_eq!(compiled.route(prefix).feasible, Feasible::NOBODY);
    }
    assert_eq!(compiled.feasible("0.0.0.0/0"), [compiled.origin("hq")]);
}

#[test]
fn the_gateways_own_addresses_lead_to_the_compartment() {
    let mut world = world();
    world.compartments.insert("contoso".into(), CompartmentState { ifindex: 40, mac: [2, 0, 0, 0, 0, 40] });
    let compiled = Compiled::new(&plan(&[CONTOSO]), &world);
    for prefix in ["10.1.255.1/32", "fd01:255::1/128"] {
        assert_eq!(compiled.nexthop(prefix).kind, Nexthop::LOCAL);
        assert_eq!(compiled.feasible(prefix), [OriginId::COMPARTMENT]);
    }
    let tenant = compiled.tables.tenants[&compiled.tenant().0];
    assert_eq!(tenant.gateway4, u32::from_ne_bytes([10, 1, 255, 1]));
    assert_eq!(IpAddr::from(tenant.gateway6), ip("fd01:255::1"));
    assert_eq!(tenant.compartment_mac, [2, 0, 0, 0, 0, 40, 0, 0]);
    assert_eq!(compiled.tables.devices[&tenant.compartment.0], 40);
    let attachment = compiled.tables.compartments[&40];
    assert_eq!((attachment.tenant, attachment.connection), (compiled.tenant(), ConnectionId::NONE));

    let without = Compiled::new(&plan(&[CONTOSO]), &self::world());
    assert_eq!(without.tables.tenants[&without.tenant().0].compartment, Tenant::NO_COMPARTMENT);
}

#[test]
fn the_lower_metric_wins_and_both_connections_are_good_sources() {
    let hq = "routes = [ { destination = \"10.2.0.0/16\", metric = 10 } ]";
    let backup = "routes = [ { destination = \"10.2.0.0/16\", metric = 20 } ]";
    let compiled = Compiled::new(&plan(&[CONTOSO, HQ, hq, BACKUP, backup]), &world());
    assert_eq!(compiled.nexthop("10.2.0.0/16").connection, compiled.connection_id("hq"));
    assert_eq!(compiled.feasible("10.2.0.0/16"), [compiled.origin("hq"), compiled.origin("backup")]);
}

/// The tenant's other gateway, behind which two prefixes are.
const OTHER: &str = r#"
gateway_vsid = 5009
[[tenant.gateways]]
pa = "10.10.0.2"
routes = [ { destination = "10.2.0.0/16", metric = 20 }, { destination = "10.3.0.0/16", metric = 20 } ]
"#;

#[test]
fn another_gateway_is_reached_by_the_gateways_virtual_subnet_and_trusted() {
    let compiled = Compiled::new(&plan(&[CONTOSO, OTHER]), &world());
    let way = compiled.nexthop("10.3.0.0/16");
    let link = Link { destination: [2, 0, 0, 0, 1, 2], source: FABRIC.mac };
    let ends = Ends::new(ip("10.10.0.1"), ip("10.10.0.2")).expect("one family");
    let inner = Link { destination: GATEWAY_MAC, source: GATEWAY_MAC };
    let template = Template::vxlan(link, ends, Vni(5009), inner);
    assert_eq!((way.kind, way.flags, way.header), (Nexthop::ADJACENCY, Nexthop::TO_GATEWAY, template.words()));
    assert_eq!(way.connection, ConnectionId::NONE);
    let tenant = compiled.tenant();
    let peer = FabricPeerKey { pa: ip("10.10.0.2").into(), tenant };
    assert_eq!(compiled.tables.fabric_peers[&peer], OriginId::GATEWAY);
    let vnet = FabricKey { pa: ip("10.10.0.1").into(), vni: Vni(5009), encapsulation: FabricKey::VXLAN };
    assert_eq!(compiled.tables.fabric[&vnet].tenant, tenant);
    assert_eq!(compiled.feasible("10.3.0.0/16"), [], "no connection here is a good source of what is behind another");
}

#[test]
fn metrics_decide_between_a_connection_and_another_gateway() {
    for (metric, flags) in [(10, 0), (30, Nexthop::TO_GATEWAY)] {
        let route = format!("routes = [ {{ destination = \"10.2.0.0/16\", metric = {metric} }} ]");
        let compiled = Compiled::new(&plan(&[CONTOSO, OTHER, HQ, &route]), &world());
        assert_eq!(compiled.nexthop("10.2.0.0/16").flags, flags);
        assert_eq!(compiled.feasible("10.2.0.0/16"), [compiled.origin("hq")]);
    }
}

#[test]
fn a_strict_connection_is_a_good_source_only_where_it_is_best() {
    let hq = "anti_spoofing = \"strict\"\nroutes = [ { destination = \"10.2.0.0/16\", metric = 30 }, { destination = \"10.3.0.0/16\" } ]";
    let backup = "routes = [ { destination = \"10.2.0.0/16\", metric = 20 } ]";
    let compiled = Compiled::new(&plan(&[CONTOSO, HQ, hq, BACKUP, backup]), &world());
    assert_eq!(compiled.feasible("10.2.0.0/16"), [compiled.origin("backup")]);
    assert_eq!(compiled.feasible("10.3.0.0/16"), [compiled.origin("hq")]);
    let strict = Connection::ANTI_SPOOFING | Connection::STRICT;
    assert_eq!(compiled.connection("hq").flags & strict, strict);
    assert_eq!(compiled.connection("backup").flags & strict, Connection::ANTI_SPOOFING);
}

#[test]
fn equal_metrics_share_the_flows() {
    let routes =
        "routes = [ { destination = \"10.2.0.0/16\", metric = 10 }, { destination = \"10.3.0.0/16\", metric = 10 } ]";
    let compiled = Compiled::new(&plan(&[CONTOSO, HQ, routes, BACKUP, routes]), &world());
    let group = compiled.nexthop("10.2.0.0/16");
    assert_eq!((group.kind, group.flags), (Nexthop::GROUP, 2));
    let connections = [0, u32::MAX].map(|hash| compiled.tables.nexthops[&group.member(hash).0].connection);
    assert_eq!(connections, [compiled.connection_id("hq"), compiled.connection_id("backup")]);
    assert_eq!(
        compiled.route("10.2.0.0/16"),
        Route { prefix_len: 16, ..compiled.route("10.3.0.0/16") },
        "one group, one set"
    );
}

#[test]
fn a_gre_tunnel_is_found_by_its_key_and_left_by_its_template() {
    let compiled = Compiled::new(&plan(&[CONTOSO, HQ, "peers = [\"10.2.0.1\"]\nsequence = true", BACKUP]), &world());
    let key = |remote, key, keyed| GreKey { vip: ip("198.51.100.10").into(), remote: ip(remote).into(), key, keyed };
    assert_eq!(compiled.tables.gre[&key("203.0.113.20", 100, 1)], compiled.connection_id("hq"));
    assert_eq!(compiled.tables.gre[&key("203.0.113.21", 0, 0)], compiled.connection_id("backup"));
    let peer = compiled.nexthop("10.2.0.1/32");
    assert_eq!((peer.kind, peer.encapsulation), (Nexthop::ADJACENCY, Encapsulation::Gre4KeySequence as u32));
    assert_eq!((peer.mtu, peer.connection), (1500 - 32, compiled.connection_id("hq")));
    assert_eq!(compiled.feasible("10.2.0.1/32"), [compiled.origin("hq")]);
    assert_ne!(compiled.connection("hq").flags & Connection::SEQUENCED, 0);
    assert_eq!(compiled.connection("backup").flags & Connection::SEQUENCED, 0);
}

#[test]
fn segments_fit_the_tunnel_and_the_fabric() {
    let mut world = world();
    let segments = |world: &World, settings| Compiled::new(&plan(&[CONTOSO, HQ, settings]), world).connection("hq").mss;
    let both = |mtu| u32::from(mss::for_mtu(mtu, 20)) | u32::from(mss::for_mtu(mtu, 40)) << 16;
    assert_eq!(segments(&world, ""), both(1500 - 28));
    assert_eq!(segments(&world, "mtu = 1400"), both(1400));
    assert_eq!(segments(&world, "mtu = 9000"), both(1500 - 28));
    world.hops.insert(ip("10.10.0.11"), Hop { mtu: 1450, ..hop(FABRIC, 11) });
    assert_eq!(segments(&world, "mtu = 1440"), both(1400));
    world.hops.remove(&ip("10.10.0.11"));
    assert_eq!(segments(&world, "mtu = 1440"), both(1440), "a host that cannot be reached limits nobody");
}

#[test]
fn a_burst_lasts_as_long_as_tcp_waits_or_ten_packets() {
    let limits = "inbound_kbps = 100000\noutbound_kbps = 100\nmtu = 1000";
    let compiled = Compiled::new(&plan(&[CONTOSO, HQ, limits, BACKUP]), &world());
    let hq = compiled.connection("hq");
    let burst =
        |policer: gateway_common::policer::Policer| policer.burst / gateway_common::policer::TICKS_PER_NANOSECOND;
    assert_eq!(burst(hq.inbound), 200_000_000);
    // 80,000 bits at 100 kbit/s.
    assert_eq!(burst(hq.outbound), 800_000_000);
    assert!(compiled.connection("backup").inbound.is_unlimited());
    let several = World { processors: NonZeroU32::new(4), ..world() };
    let shared = Compiled::new(&plan(&[CONTOSO, HQ, limits, BACKUP]), &several).connection("hq");
    assert_eq!(shared.inbound, hq.inbound.shared(4));
    assert_eq!(shared.outbound, hq.outbound.shared(4));
    assert!(hq.inbound.quantum == 0 && shared.inbound.quantum > 0);
}

#[test]
fn what_is_not_resolved_is_known_and_leads_nowhere_yet() {
    let routes = "routes = [ { destination = \"10.2.0.0/16\" } ]";
    let mut world = world();
    world.hops.clear();
    let compiled = Compiled::new(&plan(&[CONTOSO, HQ, routes]), &world);
    for prefix in ["10.1.0.5/32", "10.2.0.0/16"] {
        assert_eq!(compiled.nexthop(prefix).kind, Nexthop::UNRESOLVED);
    }
    // A hop by an interface that is no port of the gateway's is none.
    world.hops.insert(ip("203.0.113.20"), Hop { ifindex: 99, ..hop(TOR, 20) });
    let compiled = Compiled::new(&plan(&[CONTOSO, HQ, routes]), &world);
    assert_eq!(compiled.nexthop("10.2.0.0/16").kind, Nexthop::UNRESOLVED);
    // Nothing at all of the world is needed.
    let compiled = Compiled::new(&plan(&[CONTOSO, HQ, routes, DC]), &World::default());
    assert!(compiled.tables.ports.is_empty() && compiled.tables.vlans.is_empty());
    assert_eq!(compiled.tables.gre.len(), 1);
}

#[test]
fn a_next_hop_that_moves_changes_nothing_but_its_own_entry() {
    let routes = "routes = [ { destination = \"10.2.0.0/16\" } ]";
    let plan = plan(&[CONTOSO, HQ, routes]);
    let (mut ids, mut world) = (Ids::default(), world());
    let before = compile(&plan, &world, &mut ids);
    world.hops.insert(ip("203.0.113.20"), hop(TOR, 99));
    let mut after = compile(&plan, &world, &mut ids);
    let changed: Vec<u32> =
        before.nexthops.iter().filter(|(id, entry)| after.nexthops[id] != **entry).map(|(id, _)| *id).collect();
    assert_eq!(changed.len(), 1);
    after.nexthops.clone_from(&before.nexthops);
    assert_eq!(before, after);
}

/// A packet may read half of a record before it is replaced and half of it after.
#[test]
fn what_a_packet_becomes_never_changes_under_a_number() {
    let mut dc = DC.to_owned();
    dc.push_str("peers = [\"10.127.134.55\"]\n");
    let usual = [GATEWAY, CONTOSO, HQ, BACKUP, &dc].concat();
    let mut moved = world();
    let neighbour = Neighbour {
        connection: ConnectionName { tenant: "contoso".into(), connection: "dc".into() },
        address: ip("10.127.134.55"),
    };
    moved.neighbours.insert(neighbour.clone(), [2, 0, 0, 0, 0, 55]);
    moved.hops.insert(ip("10.10.0.12"), hop(FABRIC, 12));
    let mut elsewhere = moved.clone();
    elsewhere.neighbours.insert(neighbour, [2, 0, 0, 0, 0, 56]);
    elsewhere.hops.insert(ip("203.0.113.20"), hop(FABRIC, 99));
    elsewhere.hops.insert(ip("10.10.0.11"), Hop { mtu: 1400, ..hop(FABRIC, 98) });
    let changed = |from: &str, to: &str| {
        assert!(usual.contains(from), "{from}");
        (usual.replace(from, to), &moved)
    };
    let mut cases = vec![(usual.clone(), &moved), (usual.clone(), &elsewhere)];
    cases.extend([
        changed("198.51.100.10", "198.51.100.11"),
        changed("203.0.113.20", "203.0.113.22"),
        changed("203.0.113.20", "203.0.113.21"),
        changed("key = 100", "key = 101"),
        changed("key = 100", ""),
        changed("key = 100", "key = 100\nsequence = true"),
        changed("vlan = 1001", "vlan = 1002"),
        changed("port = \"tor0\"", "port = \"fab0\""),
        changed("10.10.0.11", "10.10.0.12"),
        changed("[\"10.10.0.1\"]", "[\"10.10.0.2\"]"),
        changed("\"vxlan\"", "\"nvgre\""),
        changed("5001", "5002"),
        changed("02:00:00:00:01:05", "02:00:00:00:01:06"),
    ]);
    for (port, role) in [("fab0", "fabric"), ("tor0", "site")] {
        let both = |text: &String| text.replace(&format!("role = \"{role}\""), "role = \"both\"");
        cases.iter_mut().for_each(|(text, _)| *text = both(text));
        assert!(cases[0].0.contains(port));
    }
    let become_of = |nexthop: &Nexthop| {
        // All but the way: the kind, the port, the packet size, the MAC addresses.
        let header: &[u8] = bytemuck::cast_slice(&nexthop.header);
        (nexthop.encapsulation, nexthop.header_len, nexthop.checksum_base, nexthop.connection, header[12..].to_vec())
    };
    let (mut compared, mut moves) = (0, 0);
    for (before, world_before) in &cases {
        for (after, world_after) in &cases {
            let parsed = |text: &String| parse(text, "test").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
            let mut ids = Ids::default();
            let old = compile(&parsed(before), world_before, &mut ids).nexthops;
            let new = compile(&parsed(after), world_after, &mut ids).nexthops;
            for (id, old) in old.iter().filter(|(_, nexthop)| nexthop.kind == Nexthop::ADJACENCY) {
                let Some(new) = new.get(id).filter(|nexthop| nexthop.kind == Nexthop::ADJACENCY) else { continue };
                assert_eq!(become_of(old), become_of(new), "{before}\n{after}");
                compared += 1;
                moves += usize::from(old != new);
            }
        }
    }
    assert!(compared > 100 && moves > 10, "{compared} {moves}");
}

#[test]
fn a_vlan_reaches_its_peers_and_whoever_was_seen_on_it() {
    let settings = "peers = [\"10.127.134.55\"]\nroutes = [ { destination = \"10.3.0.0/16\", next_hop = \"10.127.134.55\" }, { destination = \"10.4.0.0/16\", next_hop = \"10.127.134.56\" } ]";
    let mut world = world();
    let dc = ConnectionName { tenant: "contoso".into(), connection: "dc".into() };
    world.attachments.insert(dc.clone(), 41);
    for (address, last) in [("10.127.134.55", 55), ("10.127.134.77", 77), ("10.127.134.50", 50), ("192.0.2.1", 1)] {
        let neighbour = Neighbour { connection: dc.clone(), address: ip(address) };
        world.neighbours.insert(neighbour, [2, 0, 0, 0, 2, last]);
    }
    let compiled = Compiled::new(&plan(&[CONTOSO, DC, settings]), &world);
    let id = compiled.connection_id("dc");
    assert_eq!(compiled.tables.vlans[&VlanKey { ifindex: TOR.ifindex, vlan: 1001 }], id);

    let peer = compiled.nexthop("10.127.134.55/32");
    let link = Link { destination: [2, 0, 0, 0, 2, 55], source: TOR.mac };
    assert_eq!(peer.header, Template::vlan(link, gateway_common::VlanId(1001)).words());
    assert_eq!((peer.kind, peer.mtu, peer.connection), (Nexthop::ADJACENCY, 1500, id));
    assert_eq!(compiled.route("10.3.0.0/16").nexthop, compiled.route("10.127.134.55/32").nexthop);
    assert_eq!(compiled.nexthop("10.127.134.77/32").kind, Nexthop::ADJACENCY);
    for unresolved in ["10.127.134.56/32", "10.4.0.0/16", "10.127.134.0/24"] {
        assert_eq!(
            (compiled.nexthop(unresolved).kind, compiled.nexthop(unresolved).connection),
            (Nexthop::UNRESOLVED, id)
        );
    }
    for prefix in ["10.127.134.0/24", "10.127.134.55/32", "10.127.134.56/32", "10.3.0.0/16"] {
        assert_eq!(compiled.feasible(prefix), [compiled.origin("dc")]);
    }
    assert_eq!(compiled.nexthop("10.127.134.50/32").kind, Nexthop::LOCAL, "its own address stays its own");
    assert!(!compiled.tables.routes[&compiled.tenant()].v4.iter().any(|(prefix, _)| prefix.address == [192, 0, 2, 1]));

    let attachment = compiled.tables.compartments[&41];
    assert_eq!((attachment.connection, attachment.vlan), (id, 1001));
    assert_eq!(compiled.tables.devices[&attachment.port.0], TOR.ifindex);
    assert_eq!(compiled.tables.devices[&compiled.connection("dc").attachment.0], 41);
}

#[test]
fn a_disabled_connection_is_known_but_attracts_nothing() {
    let hq = "enabled = false\npeers = [\"10.2.0.1\"]\nroutes = [ { destination = \"10.2.0.0/16\", metric = 1 } ]";
    let backup = "routes = [ { destination = \"10.2.0.0/16\", metric = 2 } ]";
    let compiled = Compiled::new(&plan(&[CONTOSO, HQ, hq, BACKUP, backup]), &world());
    assert_eq!(compiled.connection("hq").flags & Connection::ENABLED, 0);
    assert_eq!(compiled.tables.gre.len(), 2);
    assert_eq!(compiled.nexthop("10.2.0.0/16").connection, compiled.connection_id("backup"));
    assert_eq!(compiled.feasible("10.2.0.0/16"), [compiled.origin("backup")]);
}

#[test]
fn the_programs_answer_for_addresses_that_the_host_does_not_own() {
    let mut world = world();
    world.owned.insert(ip("10.10.0.1"));
    let compiled = Compiled::new(&plan(&[CONTOSO, HQ]), &world);
    let flags = |address| compiled.tables.local[&ip(address).into()].flags;
    assert_eq!(flags("10.10.0.1"), Local::FABRIC);
    assert_eq!(flags("198.51.100.10"), Local::VIP | Local::ANSWERED);
}

#[test]
fn ports_have_their_role_and_the_lowest_slots() {
    let mut world = world();
    world.slow_port = Some(50);
    let compiled = Compiled::new(&plan(&[]), &world);
    let port = compiled.tables.ports[&FABRIC.ifindex];
    assert_eq!((port.id, port.flags), (PortId(1), Port::FABRIC));
    let port = compiled.tables.ports[&TOR.ifindex];
    assert_eq!((port.id, port.flags), (PortId(2), Port::SITE));
    assert_eq!(compiled.tables.devices[&compiled.tables.settings.slow_port.0], 50);
    assert_eq!(Compiled::new(&plan(&[]), &self::world()).tables.settings.slow_port, Tenant::NO_COMPARTMENT);
}

#[test]
fn a_steering_rule_goes_both_ways() {
    let rule = "[[steer]]\nvip = \"198.51.100.1\"\nprotocol = \"udp\"\nport = 500\nsource = \"203.0.113.20\"\nsource_port = 501\ngateway = \"10.10.0.11\"\n\
        [[steer]]\nvip = \"198.51.100.1\"\nprotocol = \"esp\"\nspi = 4660\nsource = \"203.0.113.20\"\ngateway = \"10.10.0.11\"";
    let compiled = Compiled::new(&plan(&[rule]), &world());
    let key = |destination, source, protocol, port, selector, direction| SteerKey {
        destination: ip(destination).into(),
        source: ip(source).into(),
        protocol,
        port,
        selector,
        direction,
    };
    assert_eq!(compiled.tables.settings.steering, Settings::SELECTORS);
    let target = |key| compiled.tables.steer[&key];
    let forward = target(key("198.51.100.1", "203.0.113.20", 17, 500, 501, SteerKey::FORWARD));
    assert_eq!(IpAddr::from(forward.address), ip("10.10.0.11"));
    let nexthop = compiled.tables.nexthops[&forward.nexthop.0];
    assert_eq!((nexthop.kind, nexthop.encapsulation), (Nexthop::ADJACENCY, Encapsulation::Ethernet as u32));
    assert_eq!(compiled.tables.devices[&nexthop.port.0], FABRIC.ifindex);
    let back = target(key("203.0.113.20", "10.10.0.11", 17, 500, 501, SteerKey::BACK));
    assert_eq!(IpAddr::from(back.address), ip("198.51.100.1"));
    target(key("198.51.100.1", "203.0.113.20", 50, 0, 4660, SteerKey::FORWARD));
    target(key("203.0.113.20", "10.10.0.11", 50, 0, 0, SteerKey::BACK));
    assert_eq!(compiled.tables.local[&ip("198.51.100.1").into()].flags, Local::STEERED | Local::ANSWERED);
}

/// A route of the model: which connection, where to, how good.
type ModelRoute = ((u8, u8, u8), u32);

fn prefix((_, address, len): (u8, u8, u8)) -> (u32, u32) {
    // Short prefixes of 172.16.0.0/16, so that they nest and meet.
    let len = 16 + u32::from(len);
    let mask = u32::MAX << (32 - len);
    (0xac10_0000 | (u32::from(address) << 8) & mask & 0xffff, len)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_address_is_routed_and_admitted_as_a_naive_model_says(
        routes in proptest::collection::btree_map((0u8..4, 0u8..=255, 0u8..9), 0u32..3, 0..40),
        strict in proptest::collection::vec(any::<bool>(), 4),
        addresses in proptest::collection::vec(0u32..65536, 60),
    ) {
        let mut merged: BTreeMap<(u8, (u32, u32)), u32> = BTreeMap::new();
        for (key, metric) in routes.iter().map(|route: (&(u8, u8, u8), &u32)| -> ModelRoute { (*route.0, *route.1) }) {
            merged.insert((key.0, prefix(key)), metric);
        }
        let mut text = String::from(CONTOSO);
        for connection in 0..4u8 {
            let lines: Vec<String> = merged
                .iter()
                .filter(|((of, _), _)| *of == connection)
                .map(|((_, (address, len)), metric)| format!("{{ destination = \"{}/{len}\", metric = {metric} }}", Ipv4Addr::from(*address)))
                .collect();
            text.push_str(&format!(
                "[[tenant.connection]]\nname = \"c{connection}\"\ntype = \"gre\"\nvip = \"198.51.100.10\"\nremote = \"203.0.113.20\"\nkey = {connection}\nanti_spoofing = \"{}\"\nroutes = [ {} ]\n",
                if strict[usize::from(connection)] { "strict" } else { "feasible" },
                lines.join(", ")
            ));
        }
        let compiled = Compiled::new(&plan(&[&text]), &world());
        let tables = &compiled.tables;
        let table = &tables.routes[&compiled.tenant()].v4;
        let sorted = table.windows(2).all(|pair| pair[0].0 < pair[1].0);
        prop_assert!(sorted, "no prefix twice");
        let connection = |id: NexthopId| tables.nexthops[&id.0].connection;
        let covers = |address: u32, (net, len): (u32, u32)| (address ^ net) >> (32 - len) == 0;
        for address in addresses.iter().map(|low| 0xac10_0000 | low) {
            // What the programs do: the longest prefix.
            let mut covering: Vec<&Route> = table
                .iter()
                .filter(|(prefix, _)| prefix.len > 0 && covers(address, (u32::from_be_bytes(prefix.address), prefix.len)))
                .map(|(_, route)| route)
                .collect();
            covering.sort_by_key(|route| std::cmp::Reverse(route.prefix_len));
            let longest = merged.keys().map(|(_, prefix)| *prefix).filter(|prefix| covers(address, *prefix)).max_by_key(|(_, len)| *len);
            prop_assert_eq!(covering.first().map(|route| route.prefix_len), longest.map(|(_, len)| len));
            let Some(longest) = longest else { continue };
            let rivals: Vec<(u8, u32)> = merged.iter().filter(|((_, prefix), _)| *prefix == longest).map(|((of, _), metric)| (*of, *metric)).collect();
            let least = rivals.iter().map(|(_, metric)| *metric).min();
            let mut best: Vec<ConnectionId> = rivals.iter().filter(|(_, metric)| Some(*metric) == least).map(|(of, _)| compiled.connection_id(&format!("c{of}"))).collect();
            best.sort_unstable();
            let chosen = tables.nexthops[&covering[0].nexthop.0];
            let mut got: Vec<ConnectionId> = if chosen.kind == Nexthop::GROUP {
                (0..chosen.flags).map(|index| connection(NexthopId((chosen.header[index as usize / 2] >> (32 * (index % 2))) as u32))).collect()
            } else {
                vec![chosen.connection]
            };
            got.sort_unstable();
            prop_assert_eq!(got, best);
            for of in 0..4u8 {
                let origin = compiled.origin(&format!("c{of}"));
                let is_strict = strict[usize::from(of)];
                let walked = covering.iter().take(if is_strict { 1 } else { usize::MAX });
                let admitted = walked.clone().any(|route| members(tables, route.feasible).contains(&origin));
                let expected = if is_strict {
                    rivals.iter().any(|(rival, metric)| *rival == of && Some(*metric) == least)
                } else {
                    merged.keys().any(|(owner, prefix)| *owner == of && covers(address, *prefix))
                };
                prop_assert_eq!(admitted, expected, "{} from connection {}", Ipv4Addr::from(address), of);
            }
        }
    }
}

#[test]
fn compiling_again_changes_nothing() {
    let routes = "routes = [ { destination = \"10.2.0.0/16\" } ]";
    let plan = plan(&[CONTOSO, HQ, routes, BACKUP, routes, DC]);
    let mut ids = Ids::default();
    let first = compile(&plan, &world(), &mut ids);
    let saved = ids.clone();
    assert_eq!(compile(&plan, &world(), &mut ids), first);
    ids.settle();
    assert_eq!(compile(&plan, &world(), &mut ids), first);
    assert_eq!(saved.connection_id("contoso", "dc"), ids.connection_id("contoso", "dc"));
    assert!(first.connections.values().all(|connection| connection.seat == SEAT));
}

#[test]
fn what_is_remembered_of_the_last_time_changes_no_table() {
    let shared = "routes = [ { destination = \"10.2.0.0/16\" } ]";
    let other = "routes = [ { destination = \"10.2.0.0/16\" }, { destination = \"10.3.0.0/16\", metric = 3 } ]";
    let hop = "routes = [ { destination = \"10.4.0.0/16\", next_hop = \"10.127.134.55\" } ]";
    let woodgrove = "\n[[tenant]]\nname = \"woodgrove\"\n";
    let moved = HQ.replace("key = 100", "key = 7");
    let plans = [
        plan(&[CONTOSO, HQ, shared, BACKUP, shared, DC, hop]),
        plan(&[CONTOSO, HQ, shared, BACKUP, shared, DC, hop, woodgrove, &moved, other]),
        plan(&[woodgrove, &moved, other, CONTOSO, HQ, shared, BACKUP, shared, DC, hop]),
        plan(&[woodgrove, &moved, shared, CONTOSO, HQ, shared, BACKUP, other]),
        plan(&[CONTOSO, OTHER, HQ, shared]),
        parse(&[&GATEWAY.replace("10.10.0.1", "10.10.0.9"), CONTOSO, OTHER, HQ, shared].concat(), "test")
            .expect("good"),
    ]
    .map(Arc::new);
    let seen = Neighbour {
        connection: ConnectionName { tenant: "contoso".into(), connection: "dc".into() },
        address: ip("10.127.134.77"),
    };
    let (mut ids, mut memory) = (Ids::default(), Memory::default());
    for step in [0, 0, 1, 1, 2, 3, 0, 2, 4, 5, 4] {
        for known in [false, true] {
            let mut world = world();
            if known {
                world.neighbours.insert(seen.clone(), [2, 0, 0, 0, 2, 77]);
            }
            let mut afresh = ids.clone();
            let expected = compile(&plans[step], &world, &mut afresh);
            assert_eq!(
                recompile(&plans[step], &world, &mut ids, &mut memory, (&mut Learned::default(), None)),
                expected,
                "step {step}"
            );
            ids.settle();
            afresh.settle();
            assert_eq!(ids, afresh);
        }
    }
}
