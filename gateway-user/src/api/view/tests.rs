//! Answers for a small gateway, compiled as the daemon compiles it.

use super::*;
use crate::api::report::{NexthopReport, RouteReport};
use crate::dataplane::compile::compile;
use crate::dataplane::world::{CompartmentState, Hop, Neighbour, PortState};
use gateway_common::gate::Gate;
use gateway_common::{Epoch, HostId, OriginId};

const PLAN: &str = r#"
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

[[tenant]]
name = "contoso"
gateway_addresses = ["10.1.255.1"]
subnets = [ { vsid = 5001, prefix = "10.1.0.0/24" } ]
vms = [
    { ca = "10.1.0.5", mac = "02:00:00:00:01:05", vsid = 5001, pa = "10.10.0.11" },
    { ca = "10.1.0.6", mac = "02:00:00:00:01:06", vsid = 5001, pa = "10.10.0.12" },
]

[[tenant.connection]]
name = "hq"
type = "gre"
vip = "198.51.100.10"
remote = "203.0.113.20"
key = 100
inbound_kbps = 100000
routes = [ { destination = "10.2.0.0/16", metric = 10 }, { destination = "10.3.0.0/16", metric = 10 } ]

[[tenant.connection]]
name = "dc"
type = "l3"
port = "tor0"
vlan = 1001
addresses = ["10.127.134.50/24"]
peers = ["10.127.134.55"]
routes = [ { destination = "10.3.0.0/16", next_hop = "10.127.134.55", metric = 10 } ]

[[tenant.connection]]
name = "off"
type = "gre"
vip = "198.51.100.10"
remote = "203.0.113.21"
enabled = false
routes = []
"#;

/// Counts that say whom they are of; those of drops and path MTUs are of one connection.
struct Fake {
    hq: ConnectionId,
}

impl Counts for Fake {
    fn connection(&self, id: ConnectionId) -> dataplane::Result<Counters> {
        Ok(Counters { in_packets: id.0.into(), ..Counters::default() })
    }

    fn tenant(&self, id: TenantId) -> dataplane::Result<Counters> {
        Ok(Counters { out_bytes: id.0.into(), ..Counters::default() })
    }

    fn port(&self, id: PortId) -> dataplane::Result<Counters> {
        Ok(Counters { in_bytes: id.0.into(), ..Counters::default() })
    }

    fn drops(&self) -> dataplane::Result<Vec<Dropped>> {
        let drop = |scope, reason, packets| Dropped { scope, reason, packets };
        Ok(vec![
            drop(Scope::Connection(self.hq), DropReason::RateInbound, 7),
            drop(Scope::Connection(self.hq), DropReason::Spoofed, 9),
            drop(Scope::Connection(self.hq), DropReason::NoRoute, 0),
            drop(Scope::Connection(ConnectionId(99)), DropReason::NoRoute, 1),
            drop(Scope::Tenant(TenantId(1)), DropReason::FabricPeerUnknown, 3),
            drop(Scope::Port(12), DropReason::GreUnknown, 5),
            drop(Scope::Port(77), DropReason::EthernetTruncated, 2),
        ])
    }

    fn connection_state(&self, id: ConnectionId) -> dataplane::Result<ConnectionState> {
        let learned = id == self.hq;
        Ok(ConnectionState {
            path_mtu: if learned { 1400 } else { 1300 },
            path_mtu_expiry: if learned { clock::monotonic() + 61_000_000_000 } else { 1 },
            ..ConnectionState::default()
        })
    }

    fn seat(&self, _: SeatId) -> dataplane::Result<Seat> {
        Ok(Seat::new(Gate::FOREVER, Epoch(1)))
    }
}

struct Gateway {
    plan: Plan,
    world: World,
    links: BTreeMap<String, Link>,
    ids: Ids,
    tables: Tables,
    learned: crate::dataplane::learned::Learned,
    daemon: Daemon,
    counts: Fake,
}

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.to_owned(),
        mac: [2, 0, 0, 0, 0, index as u8],
        mtu: 1500,
        kind: None,
        controller: None,
        peer: None,
        ethernet: true,
        up: true,
        running: true,
        loopback: false,
        promiscuous: false,
        xdp: None,
    }
}

impl Gateway {
    fn new() -> Self {
        let plan = plan::parse(PLAN, "plan.toml").expect("a good plan");
        let port = |ifindex: u32| PortState { ifindex, mac: [2, 0, 0, 0, 0, ifindex as u8], mtu: 1500 };
        let hop = |ifindex: u32, last: u8| Hop {
            ifindex,
            destination: [2, 0, 0, 0, 1, last],
            source: [2, 0, 0, 0, 0, ifindex as u8],
            mtu: 1500,
        };
        let dc = ConnectionName { tenant: "contoso".to_owned(), connection: "dc".to_owned() };
        let peer = Neighbour { connection: dc.clone(), address: [10, 127, 134, 55].into() };
        let world = World {
            ports: [("fab0".to_owned(), port(11)), ("tor0".to_owned(), port(12))].into(),
            hops: [([10, 10, 0, 11].into(), hop(11, 11)), ([203, 0, 113, 20].into(), hop(12, 20))].into(),
            neighbours: [(peer, [2, 0, 0, 0, 2, 55])].into(),
            compartments: [("contoso".to_owned(), CompartmentState { ifindex: 21, mac: [2; 6] })].into(),
            attachments: [(dc, 22)].into(),
            ..World::default()
        };
        let mut ids = Ids::default();
        let tables = compile(&plan, &world, &mut ids);
        let links = [("fab0".to_owned(), link(11, "fab0"))].into();
        let counts = Fake { hq: ids.connection_id("contoso", "hq").expect("it is in the plan") };
        Self { plan, world, links, ids, tables, learned: Default::default(), daemon: Daemon::default(), counts }
    }

    fn view(&self) -> View<'_> {
        View {
            plan: &self.plan,
            world: &self.world,
            links: &self.links,
            ids: &self.ids,
            tables: &self.tables,
            learned: &self.learned,
            counts: &self.counts,
            daemon: &self.daemon,
        }
    }

    fn nexthop(&self, leads_to: &str) -> NexthopReport {
        let rows = self.view().nexthops();
        rows.iter().find(|row| row.leads_to == leads_to).unwrap_or_else(|| panic!("{leads_to} in {rows:#?}")).clone()
    }
}

#[test]
fn connections_tell_their_ends_state_and_counters() {
    let gateway = Gateway::new();
    let rows = gateway.view().connections().expect("counts");
    let told: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.state.as_str(), row.endpoint.as_str())).collect();
    assert_eq!(
        told,
        [
            ("hq", "up", "198.51.100.10 - 203.0.113.20 key 100"),
            ("dc", "up", "tor0 vlan 1001"),
            ("off", "disabled", "198.51.100.10 - 203.0.113.21"),
        ]
    );
    let hq = &rows[0];
    assert_eq!((hq.inbound_kbps, hq.outbound_kbps, hq.key), (Some(100_000), None, Some(100)));
    assert_eq!((hq.traffic.in_packets, hq.traffic.dropped_packets), (gateway.counts.hq.0.into(), 16));
    assert_eq!((hq.rate_limited_in, hq.rate_limited_out), (7, 0));
    let reasons: Vec<_> = hq.traffic.drops.iter().map(|drop| drop.reason.as_str()).collect();
    assert_eq!(reasons, ["spoofed", "rate_inbound"]);
}

#[test]
fn a_connection_whose_way_is_not_known_is_unresolved() {
    let mut gateway = Gateway::new();
    gateway.world.hops.clear();
    gateway.tables = compile(&gateway.plan, &gateway.world, &mut gateway.ids);
    let rows = gateway.view().connections().expect("counts");
    assert_eq!((rows[0].state.as_str(), rows[1].state.as_str()), ("unresolved", "up"));
}

#[test]
fn tenants_and_ports_tell_theirs() {
    let gateway = Gateway::new();
    let tenants = gateway.view().tenants().expect("counts");
    let contoso = &tenants[0];
    assert_eq!((contoso.connections, contoso.vms, contoso.traffic.out_bytes), (3, 2, 1));
    assert_eq!(contoso.compartment.as_deref(), Some("gw-contoso"));
    assert_eq!(contoso.traffic.dropped_packets, 3);
    let ports = gateway.view().ports().expect("counts");
    let told: Vec<_> = ports.iter().map(|row| (row.name.as_str(), row.role.as_str(), row.state.as_str())).collect();
    assert_eq!(told, [("fab0", "fabric", "up"), ("tor0", "site", "gone")]);
    assert_eq!(ports[0].mac, "02:00:00:00:00:0b");
}

#[test]
fn drops_are_named_even_if_their_owner_has_gone() {
    let rows = Gateway::new().view().drops().expect("counts");
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.scope.as_str(), row.tenant.as_deref(), row.name.as_str(), row.reason.as_str(), row.packets))
        .collect();
    assert_eq!(
        told,
        [
            ("connection", Some("contoso"), "hq", "spoofed", 9),
            ("connection", Some("contoso"), "hq", "rate_inbound", 7),
            ("port", None, "tor0", "gre_unknown", 5),
            ("tenant", Some("contoso"), "contoso", "fabric_peer_unknown", 3),
            ("port", None, "interface 77", "ethernet_truncated", 2),
            ("connection", None, "#99", "no_route", 1),
        ]
    );
}

#[test]
fn routes_name_where_they_lead_and_who_may_send() {
    let gateway = Gateway::new();
    let rows = gateway.view().routes("contoso", None).expect("the tenant is there");
    let row = |prefix: &str| -> &RouteReport {
        rows.iter().find(|row| row.prefix.to_string() == prefix).unwrap_or_else(|| panic!("{prefix} in {rows:#?}"))
    };
    assert_eq!(row("10.1.0.5/32").leads_to, "vm 02:00:00:00:01:05 at 10.10.0.11");
    assert_eq!(row("10.1.0.5/32").feasible, ["host 10.10.0.11"]);
    assert_eq!(row("10.1.0.0/24").leads_to, "nowhere (dropped)");
    assert!(row("10.1.0.0/24").feasible.is_empty());
    assert_eq!(row("10.1.255.1/32").leads_to, "compartment");
    assert_eq!(row("10.2.0.0/16").leads_to, "connection hq");
    assert_eq!(row("10.3.0.0/16").leads_to, "one of 2 next hops");
    let mut feasible = row("10.3.0.0/16").feasible.clone();
    feasible.sort_unstable();
    assert_eq!(feasible, ["connection dc", "connection hq"]);
    assert_eq!(row("10.127.134.55/32").leads_to, "connection dc, 10.127.134.55");
    assert_eq!(row("10.127.134.0/24").leads_to, "connection dc, whoever is on the VLAN");
    assert!(rows.is_sorted_by_key(|row| (row.prefix.addr(), row.prefix.prefix_len())));
    assert!(gateway.view().routes("fabrikam", None).is_err());
}

#[test]
fn routes_are_chosen_by_what_holds_or_is_held() {
    let gateway = Gateway::new();
    let chosen = |prefix: &str| -> Vec<String> {
        let rows = gateway.view().routes("contoso", Some(prefix.parse().expect("a prefix"))).expect("the tenant");
        rows.iter().map(|row| row.prefix.to_string()).collect()
    };
    assert_eq!(chosen("10.1.0.5/32"), ["10.1.0.0/24", "10.1.0.5/32"]);
    assert_eq!(chosen("10.2.0.0/15"), ["10.2.0.0/16", "10.3.0.0/16"]);
    assert!(chosen("fd00::/8").is_empty());
}

#[test]
fn next_hops_tell_their_resolution() {
    let gateway = Gateway::new();
    let vm = gateway.nexthop("vm 02:00:00:00:01:05 at 10.10.0.11");
    assert_eq!((vm.state.as_str(), vm.tenant.as_deref(), vm.mtu), ("resolved", Some("contoso"), Some(1450)));
    assert_eq!((vm.encapsulation.as_deref(), vm.port.as_deref()), (Some("vxlan4"), Some("fab0")));
    assert_eq!(vm.mac.as_deref(), Some("02:00:00:00:01:0b"));
    let lost = gateway.nexthop("vm 02:00:00:00:01:06 at 10.10.0.12");
    assert_eq!((lost.state.as_str(), lost.mac, lost.port), ("unresolved", None, None));
    let group = gateway.nexthop("one of 2 next hops");
    let hq = gateway.nexthop("connection hq");
    let dc = gateway.nexthop("connection dc, 10.127.134.55");
    assert_eq!(group.members, [hq.id, dc.id]);
    assert_eq!((dc.encapsulation.as_deref(), dc.port.as_deref()), (Some("vlan"), Some("tor0")));
    assert_eq!(hq.encapsulation.as_deref(), Some("gre4_key"));
}

#[test]
fn a_traced_packet_is_named() {
    let gateway = Gateway::new();
    let hq = gateway.nexthop("connection hq");
    let keys = TraceKeys {
        tenant: TenantId(1),
        ifindex: 11,
        origin: OriginId::host(HostId(1)),
        nexthop: NexthopId(hq.id),
        destination: Some([10, 2, 7, 7].into()),
    };
    let names = gateway.view().trace_names(&keys);
    assert_eq!((names.tenant.as_str(), names.in_port.as_str()), ("contoso", "fab0"));
    assert_eq!(names.origin, "host 10.10.0.11");
    assert_eq!((names.prefix.as_deref(), names.leads_to.as_deref()), (Some("10.2.0.0/16"), Some("connection hq")));
    assert_eq!((names.out_port.as_deref(), names.mtu), (Some("tor0"), hq.mtu));
    assert_eq!(names.out_connection, Some(gateway.counts.hq));
    let from_compartment = TraceKeys { ifindex: 22, origin: OriginId::COMPARTMENT, ..keys };
    let names = gateway.view().trace_names(&from_compartment);
    assert_eq!((names.in_port.as_str(), names.origin.as_str()), ("compartment of contoso", "compartment"));
    let to_vlan = TraceKeys { nexthop: NexthopId::NONE, ..from_compartment };
    assert_eq!(gateway.view().trace_names(&to_vlan).out_port.as_deref(), Some("tor0"));
    // Numbers that mean nothing any more.
    let stale = TraceKeys {
        tenant: TenantId(9),
        ifindex: 99,
        origin: OriginId::connection(ConnectionId(77)),
        nexthop: NexthopId(999),
        destination: Some([10, 2, 7, 7].into()),
    };
    let names = gateway.view().trace_names(&stale);
    assert_eq!((names.tenant.as_str(), names.origin.as_str()), ("#9", "connection #77"));
    assert_eq!((names.prefix, names.leads_to), (None, None));
}

#[test]
fn status_seats_and_path_mtus_are_told() {
    let mut gateway = Gateway::new();
    gateway.daemon = Daemon {
        uptime: Duration::from_secs(65),
        plan: "plan.toml".to_owned(),
        traced: vec![TenantId(1)],
        path_mtus: vec![([10, 10, 0, 11].into(), 1300, Duration::from_secs(9))],
        ..Daemon::default()
    };
    let view = gateway.view();
    let status = view.status();
    assert_eq!((status.tenants, status.connections, status.compartments), (1, 3, 1));
    assert_eq!((status.uptime_seconds, status.traced.as_slice()), (65, &["contoso".to_owned()][..]));
    assert!(status.nexthops_unresolved >= 1 && status.routes >= 9);
    let Ok(Answer::Seats(seats)) = view.show(&Query::Seats) else { panic!("seats") };
    assert_eq!((seats[0].state.as_str(), seats[0].epoch, seats[0].lease_seconds), ("held", 1, None));
    let path_mtus = view.path_mtus().expect("states");
    let told: Vec<_> = path_mtus.iter().map(|row| (row.connection.as_deref(), row.mtu)).collect();
    assert_eq!(told, [(Some("hq"), 1400), (None, 1300)]);
    assert!((59..=61).contains(&path_mtus[0].expires_seconds));
}

/// The main loop hands out what is shared, and is not waited for while a million rows are made of it.
#[test]
fn routes_are_told_in_parts_without_the_daemon() {
    fn goes_elsewhere<T: Send + 'static>(value: T) -> T {
        value
    }
    let gateway = Gateway::new();
    let whole = gateway.view().routes("contoso", None).expect("routes");
    let list = gateway.view().route_list("contoso", None).expect("routes");
    let sorted = std::thread::spawn(move || goes_elsewhere(list).sorted()).join().expect("sorted");
    let parts: Vec<Vec<RouteReport>> = sorted.parts(3).collect();
    assert!(parts.len() > 1 && parts.iter().all(|part| part.len() <= 3));
    assert_eq!(parts.concat(), whole);
    let none = gateway.view().route_list("contoso", Some("192.0.2.0/24".parse().expect("a prefix"))).expect("none");
    assert_eq!(none.sorted().parts(3).len(), 0);
}
