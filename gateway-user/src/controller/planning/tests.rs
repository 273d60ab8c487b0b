//! What agents are told, and what is said where something cannot be done.

use super::*;
use crate::agent::protocol::Document;
use crate::controller::model::Resource;
use crate::controller::model::fabric::RackBgp;
use crate::controller::model::records::{Placement, Role, Stage, Transfer};
use crate::controller::model::tenant::{NetworkInterface, VirtualGateway, VirtualNetwork};
use crate::plan::host::{HostPlan, HostTenant};
use crate::plan::{ConnectionKind, Dual, Passage, Plan, PortRole};
use serde_json::{Value, json};

/// Gateways GW1 and GW2, hosts HOST1 and HOST2; a VLAN 1001 in the racks r1 and r2.
struct World {
    registrations: BTreeMap<AgentId, Registration>,
    racks: BTreeMap<Id, Id>,
    /// Gateways with a seat, and whether it is carried.
    seats: BTreeMap<Id, Occupancy>,
}

fn id(text: &str) -> Id {
    Id::from(text)
}

fn gateway(text: &str) -> AgentId {
    AgentId { role: Role::Gateway, id: id(text) }
}

fn host(text: &str) -> AgentId {
    AgentId { role: Role::Host, id: id(text) }
}

fn registration(pa: &[&str], ports: &[(&str, PortRole)]) -> Registration {
    let pa: Vec<std::net::IpAddr> = pa.iter().map(|text| text.parse().unwrap()).collect();
    Registration {
        pa: Dual::try_from(pa).unwrap(),
        ports: ports.iter().map(|(name, role)| (name.parse().unwrap(), *role)).collect(),
        version: "1".to_owned(),
        life: None,
        key: None,
    }
}

impl World {
    fn new() -> Self {
        let ports = [("fab0", PortRole::Fabric), ("tor0", PortRole::Site)];
        let registrations = [
            (gateway("GW1"), registration(&["10.10.0.1", "fd00:10::1"], &ports)),
            (gateway("GW2"), registration(&["10.10.0.2"], &ports)),
            (host("HOST1"), registration(&["10.10.0.11", "fd00:10::11"], &ports[..1])),
            (host("HOST2"), registration(&["10.10.0.12"], &ports[..1])),
        ];
        Self { registrations: registrations.into(), racks: [(id("GW1"), id("R1"))].into(), seats: BTreeMap::new() }
    }
}

impl Fabric for World {
    fn registration(&self, agent: &AgentId) -> Option<&Registration> {
        self.registrations.get(agent)
    }

    fn logical_subnet(&self, reference: &Reference) -> Option<LogicalSubnet> {
        let subnet = json!({"addressPrefix": "10.127.134.0/24", "vlanID": 1001, "racks": ["r1", "r2"]});
        (reference.last() == id("vlan1001")).then(|| serde_json::from_value(subnet).unwrap())
    }

    fn seating(&self, gateway: &Id) -> Seating {
        let seat = |occupancy: &Occupancy| Seating::Seat {
            pa: Dual::try_from(vec![gateway.as_str().replace("GW", "10.10.9.").parse().unwrap()]).unwrap(),
            instances: self.seats.keys().cloned().collect(),
            holder: Some(gateway.clone()),
            occupancy: *occupancy,
        };
        self.seats.get(gateway).map_or(Seating::Unseated, seat)
    }

    fn rack(&self, gateway: &Id) -> Option<Id> {
        self.racks.get(gateway).cloned()
    }
}

fn subnet(name: &str) -> Value {
    json!({"resourceRef": format!("/virtualNetworks/contoso-net/subnets/{name}")})
}

fn interface(name: &str, address: &str, host: &str) -> Value {
    let mac = name.bytes().fold(0, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(byte));
    json!({"resourceId": name, "properties": {
        "privateMacAddress": format!("00-15-5D-00-00-{mac:02X}"), "deviceName": format!("tap-{name}"),
        "server": {"resourceRef": format!("/servers/{host}")},
        "ipConfigurations": [{"resourceId": "ip", "properties": {"privateIPAddress": address, "subnet": subnet("web")}}]}})
}

fn gre(name: &str, routes: Value) -> Value {
    json!({"resourceId": name, "properties": {
        "connectionType": "GRE", "outboundKiloBitsPerSecond": 1000, "inboundKiloBitsPerSecond": 2000,
        "greConfiguration": {"greKey": "1234"}, "destinationIPAddress": "203.0.113.1", "routes": routes}})
}

fn l3(name: &str) -> Value {
    json!({"resourceId": name, "properties": {
        "connectionType": "L3", "outboundKiloBitsPerSecond": 1000, "inboundKiloBitsPerSecond": 1000,
        "l3Configuration": {"vlanSubnet": {"resourceRef": "/logicalNetworks/sites/subnets/vlan1001"}},
        "ipAddresses": [{"ipAddress": "10.127.134.50", "prefixLength": 24}], "peerIPAddresses": ["10.127.134.55"],
        "routes": [{"destinationPrefix": "10.3.0.0/16", "nextHop": "0.0.0.0", "metric": 10}]}})
}

/// A tenant and what was decided for it.
struct Case {
    tenant: Tenant,
    placements: Placements,
    allocations: Allocations,
    world: World,
}

fn read<P: serde::de::DeserializeOwned>(value: Value) -> Resource<P> {
    serde_json::from_value(value).unwrap()
}

impl Case {
    fn new(connections: &[Value], interfaces: &[Value]) -> Self {
        let network = json!({"resourceId": "contoso-net", "properties": {"subnets": [
            {"resourceId": "web", "properties": {"addressPrefix": "10.1.0.0/24"}},
            {"resourceId": "gateway", "properties": {"addressPrefix": "10.1.255.0/29"}}]}});
        let virtual_gateway = json!({"resourceId": "contoso", "properties": {
            "gatewaySubnets": [subnet("gateway")], "networkConnections": connections}});
        let tenant = Tenant {
            network: read::<VirtualNetwork>(network),
            gateway: Some(read::<VirtualGateway>(virtual_gateway)),
            interfaces: interfaces.iter().map(|interface| read::<NetworkInterface>(interface.clone())).collect(),
        };
        let vsid = |number: i64| crate::plan::Vsid::try_from(number).unwrap();
        let allocations = Allocations { subnets: [(id("web"), vsid(5001)), (id("gateway"), vsid(5002))].into() };
        let mut placements = Placements::default();
        for connection in &tenant.gateway.as_ref().unwrap().properties.network_connections {
            let vip = Some("198.51.100.10".parse().unwrap());
            let at = Placement { pool: id("default"), gateway: id("GW1"), vip, transfer: None };
            placements.connections.insert(connection.resource_id.clone(), at);
        }
        Self { tenant, placements, allocations, world: World::new() }
    }

    fn usual() -> Self {
        let routes = json!([{"destinationPrefix": "10.2.0.0/16", "metric": 10}]);
        Self::new(
            &[gre("hq", routes), l3("dc")],
            &[interface("vm1", "10.1.0.5", "HOST1"), interface("vm2", "10.1.0.6", "HOST2")],
        )
    }

    fn at(mut self, connection: &str, gateway: &str) -> Self {
        self.placements.connections.get_mut(&id(connection)).unwrap().gateway = id(gateway);
        self
    }

    fn plan(&self) -> Planned {
        let Self { tenant, placements, allocations, world } = self;
        super::tenant(&Input { tenant, placements, allocations }, world)
    }

    /// What the problems say, each after whom it is about.
    fn problems(&self) -> Vec<String> {
        let about = |problem: &Problem| match &problem.about {
            Some(About::Connection(id) | About::Interface(id) | About::Router(id)) => id.to_string(),
            Some(About::Peer { router, peer }) => format!("{router}/{peer}"),
            None => "tenant".to_owned(),
        };
        self.plan()
            .problems
            .iter()
            .map(|problem| format!("{}: {}: {}", about(problem), problem.code, problem.message))
            .collect()
    }
}

fn for_gateway(planned: &Planned, name: &str) -> crate::plan::Tenant {
    planned.documents[&gateway(name)].read().unwrap()
}

fn for_host(planned: &Planned, name: &str) -> HostTenant {
    planned.documents[&host(name)].read().unwrap()
}

/// What an agent makes of its base part and the tenants' documents.
fn whole(base: &Document, tenants: &[&Document]) -> Value {
    let mut plan: Value = base.read().unwrap();
    plan["tenant"] = tenants.iter().map(|document| document.read::<Value>().unwrap()).collect();
    plan
}

#[test]
fn what_agents_are_told_passes_their_own_checks() {
    let case = Case::usual();
    let agents = [gateway("GW1"), host("HOST1"), host("HOST2")];
    assert_eq!(case.plan().documents.keys().cloned().collect::<Vec<_>>(), agents);
    passes(&case);
    let case = case.at("dc", "GW2");
    assert_eq!(case.plan().documents.len(), 4);
    passes(&case);
}

#[test]
fn an_interface_with_an_address_of_each_ip_version_is_one_machine() {
    let mut both = interface("vm1", "10.1.0.5", "HOST1");
    let six = json!({"resourceId": "six", "properties": {"privateIPAddress": "fd01::5", "subnet": subnet("web6")}});
    both["properties"]["ipConfigurations"].as_array_mut().unwrap().push(six);
    let routes = json!([{"destinationPrefix": "10.2.0.0/16", "metric": 10}]);
    let mut case = Case::new(&[gre("hq", routes)], &[both]);
    let web6 = json!({"resourceId": "web6", "properties": {"addressPrefix": "fd01::/64", "sameLinkAs": subnet("web")}});
    case.tenant.network.properties.subnets.push(read(web6));
    let vsid = case.allocations.subnets[&id("web")];
    case.allocations.subnets.insert(id("web6"), vsid);
    passes(&case);
    let planned = case.plan();
    let host = for_host(&planned, "HOST1");
    let machines: Vec<_> = host.vms.iter().map(|vm| (vm.vsid, vm.ca.len(), vm.device.is_some())).collect();
    assert_eq!(machines, [(vsid, 2, true)]);
    let routers: Vec<_> =
        host.subnets.iter().map(|subnet| (subnet.vsid, subnet.gateway.unwrap().to_string())).collect();
    assert_eq!(routers, [(vsid, "10.1.0.1".to_owned()), (vsid, "fd01::1".to_owned())]);
    let gateway = for_gateway(&planned, "GW1");
    let addresses: Vec<_> = gateway.vms.iter().map(|vm| (vm.vsid, vm.ca.to_string())).collect();
    assert_eq!(addresses, [(vsid, "10.1.0.5".to_owned()), (vsid, "fd01::5".to_owned())]);
}

fn passes(case: &Case) {
    let planned = case.plan();
    assert_eq!(planned.problems, []);
    for (agent, document) in &planned.documents {
        let base = base(agent, &case.world.registrations[agent], None).unwrap();
        let plan = whole(&base, &[document]);
        match agent.role {
            Role::Gateway => drop(serde_json::from_value::<Plan>(plan).unwrap()),
            Role::Host => drop(serde_json::from_value::<HostPlan>(plan).unwrap()),
        }
    }
}

#[test]
fn a_gateway_is_told_of_its_rack_s_routers() {
    let case = Case::usual();
    let agent = gateway("GW1");
    let rack: RackBgp = serde_json::from_value(json!({
        "extASNumber": "1.10",
        "bgpPeer": [{ "peerIP": "11.0.1.100", "peerExtAsNumber": "0.64600" }, { "peerIP": "fd00::1", "peerExtAsNumber": "1.10" }],
    }))
    .unwrap();
    let mut registration = case.world.registrations[&agent].clone();
    let told = |registration: &Registration| {
        let base = base(&agent, registration, Some(&rack)).unwrap();
        serde_json::from_value::<Plan>(whole(&base, &[])).unwrap()
    };
    let tor = told(&registration).tor.unwrap();
    assert_eq!((tor.as_number.get().0, tor.router_id), (65546, None));
    let peers: Vec<_> = tor.peers.iter().map(|peer| (peer.address.to_string(), peer.as_number.get().0)).collect();
    assert_eq!(peers, [("11.0.1.100".to_owned(), 64600), ("fd00::1".to_owned(), 65546)]);
    // A gateway without an IPv4 address has an identifier all the same.
    registration.pa = Dual { v4: None, v6: Some("fd00:10::1".parse().unwrap()) };
    assert_eq!(told(&registration).tor_router_id().unwrap().to_string(), "0.0.0.1");
    let none = base(&agent, &registration, Some(&RackBgp::default())).unwrap();
    assert_eq!(serde_json::from_value::<Plan>(whole(&none, &[])).unwrap().tor, None);
}

#[test]
fn a_gateway_is_told_the_tenant_s_machines_and_its_own_connections() {
    let planned = Case::usual().at("dc", "GW2").plan();
    let tenant = for_gateway(&planned, "GW1");
    assert_eq!(
        (tenant.name.as_str(), tenant.gateway_addresses.v4.unwrap().to_string().as_str()),
        ("contoso", "10.1.255.2")
    );
    assert_eq!(tenant.gateway_subnet.unwrap().to_string(), "10.1.255.0/29");
    assert_eq!(tenant.subnets.iter().map(|subnet| subnet.vsid.get()).collect::<Vec<_>>(), [5001]);
    let machines: Vec<_> = tenant.vms.iter().map(|vm| (vm.ca.to_string(), vm.pa.to_string())).collect();
    assert_eq!(machines, [("10.1.0.5".into(), "10.10.0.11".into()), ("10.1.0.6".into(), "10.10.0.12".into())]);
    let [hq] = &*tenant.connections else { panic!("{:?}", tenant.connections) };
    let ConnectionKind::Gre(tunnel) = hq.kind else { panic!("{hq:?}") };
    assert_eq!((tunnel.vip.to_string(), tunnel.key), ("198.51.100.10".to_owned(), Some(1234)));
    assert_eq!((hq.inbound_kbps.unwrap().get(), hq.outbound_kbps.unwrap().get(), hq.enabled), (2000, 1000, true));
    let tenant = for_gateway(&planned, "GW2");
    let [dc] = &*tenant.connections else { panic!("{:?}", tenant.connections) };
    let ConnectionKind::L3(vlan) = &dc.kind else { panic!("{dc:?}") };
    assert_eq!(
        (vlan.port.as_str(), vlan.vlan.get(), vlan.addresses[0].to_string().as_str()),
        ("tor0", 1001, "10.127.134.50/24")
    );
    assert_eq!(dc.routes[0].next_hop, Some("10.127.134.55".parse().unwrap()), "0.0.0.0 means the peer");
}

#[test]
fn a_host_is_told_its_machines_the_others_and_the_ways_to_the_sites() {
    let planned = Case::usual().at("dc", "GW2").plan();
    let tenant = for_host(&planned, "HOST1");
    assert_eq!(tenant.name.as_str(), "contoso-net");
    let subnets: Vec<_> = tenant.subnets.iter().map(|it| (it.vsid.get(), it.prefix.to_string(), it.gateway)).collect();
    assert_eq!(subnets, [(5001, "10.1.0.0/24".into(), Some("10.1.0.1".parse().unwrap()))]);
    let machines: Vec<_> =
        tenant.vms.iter().map(|vm| (vm.ca[0].to_string(), vm.device.as_ref().map(|it| it.as_str()))).collect();
    assert_eq!(machines, [("10.1.0.5".into(), Some("tap-vm1")), ("10.1.0.6".into(), None)]);
    let routes: Vec<String> =
        tenant.routes.iter().map(|it| format!("{} {:?} {}", it.destination, it.gateways, it.metric)).collect();
    assert_eq!(
        routes,
        [
            "10.1.255.0/29 [10.10.0.1, 10.10.0.2] 0",
            "10.1.255.2/32 [10.10.0.1] 0",
            "10.1.255.3/32 [10.10.0.2] 0",
            "10.2.0.0/16 [10.10.0.1] 10",
            "10.3.0.0/16 [10.10.0.2] 10",
            "10.127.134.0/24 [10.10.0.2] 0",
            "10.127.134.55/32 [10.10.0.2] 0",
        ]
    );
}

#[test]
fn of_several_ways_hosts_are_told_the_best_ones() {
    let to = |metric: u32| json!([{"destinationPrefix": "10.2.0.0/16", "metric": metric}]);
    let machines = [interface("vm1", "10.1.0.5", "HOST1")];
    let gateways = |one: u32, other: u32| {
        let planned = Case::new(&[gre("a", to(one)), gre("b", to(other))], &machines).at("b", "GW2").plan();
        let tenant = for_host(&planned, "HOST1");
        let route = tenant.routes.iter().find(|route| route.destination.to_string() == "10.2.0.0/16").unwrap();
        format!("{:?} {}", route.gateways, route.metric)
    };
    assert_eq!(gateways(10, 10), "[10.10.0.1, 10.10.0.2] 10");
    assert_eq!(gateways(20, 10), "[10.10.0.2] 10");
}

/// Where a gateway sends what is behind other gateways: prefix, metric, by which addresses.
fn by_others(planned: &Planned, name: &str) -> Vec<String> {
    let others = for_gateway(planned, name).gateways;
    let routes = others.iter().flat_map(|other| other.routes.iter().map(move |route| (route, other.pa)));
    let mut told: Vec<String> =
        routes.map(|(route, pa)| format!("{} {} by {pa}", route.destination, route.metric)).collect();
    told.sort();
    told
}

#[test]
fn gateways_of_one_tenant_are_told_what_is_behind_each_other() {
    let planned = Case::usual().at("dc", "GW2").plan();
    assert_eq!(
        by_others(&planned, "GW1"),
        ["10.127.134.0/24 0 by 10.10.0.2", "10.127.134.55/32 0 by 10.10.0.2", "10.3.0.0/16 10 by 10.10.0.2"]
    );
    assert_eq!(by_others(&planned, "GW2"), ["10.2.0.0/16 10 by 10.10.0.1"]);
    for name in ["GW1", "GW2"] {
        assert_eq!(
            for_gateway(&planned, name).gateway_vsid.map(|vsid| vsid.get()),
            Some(5002),
            "the gateways' own subnet"
        );
    }
    // A tenant on one gateway needs none of this.
    let alone = for_gateway(&Case::usual().plan(), "GW1");
    assert_eq!((alone.gateway_vsid, alone.gateways.len()), (None, 0));
}

#[test]
fn a_gateway_sends_to_another_one_only_what_that_reaches_better() {
    let to = |metric: u32| json!([{"destinationPrefix": "10.2.0.0/16", "metric": metric}]);
    let case = |one, other| Case::new(&[gre("a", to(one)), gre("b", to(other))], &[]).at("b", "GW2").plan();
    let better = case(20, 10);
    assert_eq!(by_others(&better, "GW1"), ["10.2.0.0/16 10 by 10.10.0.2"]);
    assert_eq!(by_others(&better, "GW2"), [""; 0], "else a packet would come back");
    let equal = case(10, 10);
    for name in ["GW1", "GW2"] {
        assert_eq!(by_others(&equal, name), [""; 0]);
        assert_eq!(for_gateway(&equal, name).gateways.len(), 1, "it is to be trusted all the same");
    }
}

#[test]
fn nothing_is_sent_to_a_seat_that_nobody_holds_and_alternatives_win() {
    let to = |metric: u32| json!([{"destinationPrefix": "10.2.0.0/16", "metric": metric}]);
    let machines = [interface("vm1", "10.1.0.5", "HOST1")];
    let planned = |occupancy| {
        let mut case = Case::new(&[gre("a", to(10)), gre("b", to(20)), l3("dc")], &machines).at("b", "GW2");
        case.world.seats.insert(id("GW1"), occupancy);
        case.plan()
    };
    let ways = |planned: &Planned| -> Vec<String> {
        let routes = for_host(planned, "HOST1").routes;
        let way = |it: &crate::plan::host::HostRoute| format!("{} {:?} {}", it.destination, it.gateways, it.metric);
        routes.iter().map(way).filter(|way| !way.starts_with("10.1.")).collect()
    };
    let carried = planned(Occupancy::Carried);
    assert!(ways(&carried).contains(&"10.2.0.0/16 [10.10.9.1] 10".to_owned()), "{:?}", ways(&carried));
    assert!(by_others(&carried, "GW2").contains(&"10.2.0.0/16 10 by 10.10.9.1".to_owned()));
    let empty = planned(Occupancy::Empty);
    assert_eq!(ways(&empty), ["10.2.0.0/16 [10.10.0.2] 20"], "what has no other way has none");
    assert_eq!(by_others(&empty, "GW2"), [""; 0]);
    assert_eq!(for_gateway(&empty, "GW2").gateways.len(), 1, "whoever takes it is believed at once");
    assert_eq!(empty.replicas, carried.replicas, "and has all that it needs");
}

#[test]
fn gateways_without_a_common_family_are_named() {
    let mut case = Case::usual().at("dc", "GW2");
    let ports = [("fab0", PortRole::Fabric), ("tor0", PortRole::Site)];
    case.world.registrations.insert(gateway("GW2"), registration(&["fd00:10::2"], &ports));
    case.world.registrations.insert(gateway("GW1"), registration(&["10.10.0.1"], &ports));
    let both = "no provider addresses of one family; give one of them another";
    let problems = case.problems();
    assert!(
        problems.contains(&format!("tenant: HostUnreachable: gateway GW1 and gateway GW2 have {both}")),
        "{problems:?}"
    );
    assert!(by_others(&case.plan(), "GW1").is_empty());
}

#[test]
fn a_connection_that_is_switched_off_keeps_its_place_and_attracts_nothing() {
    let mut dc = l3("dc");
    dc["properties"]["connectionStatus"] = "Disabled".into();
    let planned = Case::new(&[dc], &[interface("vm1", "10.1.0.5", "HOST1")]).plan();
    assert!(!for_gateway(&planned, "GW1").connections[0].enabled);
    let routes: Vec<String> = for_host(&planned, "HOST1").routes.iter().map(|it| it.destination.to_string()).collect();
    assert_eq!(routes, ["10.1.255.0/29"]);
}

#[test]
fn the_bgp_router_s_address_is_the_gateway_s() {
    let mut case = Case::usual();
    let router = json!({"resourceId": "router1", "properties": {"routerIP": ["10.1.255.4"]}});
    case.tenant.gateway.as_mut().unwrap().properties.bgp_routers = vec![read(router)];
    assert_eq!(for_gateway(&case.plan(), "GW1").gateway_addresses.v4.unwrap().to_string(), "10.1.255.4");
}

#[test]
fn ipsec_is_planned_nowhere_and_says_so() {
    let vpn = json!({"resourceId": "vpn", "properties": {
        "connectionType": "IPSec", "outboundKiloBitsPerSecond": 1, "inboundKiloBitsPerSecond": 1}});
    let case = Case::new(&[vpn], &[]);
    assert!(case.plan().documents.is_empty());
    assert_eq!(
        case.problems(),
        ["vpn: PolicyConfigurationFailure: no gateway can carry IPSec connections yet; use GRE or L3"]
    );
}

#[test]
fn agents_that_never_enrolled_are_named() {
    let mut case = Case::usual();
    case.world.registrations.remove(&gateway("GW1"));
    case.world.registrations.remove(&host("HOST2"));
    let problems = case.problems();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].starts_with("vm2: HostUnreachable: no host agent has enrolled as HOST2"), "{problems:?}");
    assert!(problems[1].starts_with("hq: HostUnreachable: no agent has enrolled as gateway GW1"), "{problems:?}");
    let planned = case.plan();
    assert_eq!(planned.documents.keys().cloned().collect::<Vec<_>>(), [host("HOST1")], "what can be done is done");
}

#[test]
fn agents_without_a_common_family_are_named() {
    let mut case = Case::usual();
    case.world.registrations.insert(host("HOST2"), registration(&["fd00:10::12"], &[("fab0", PortRole::Fabric)]));
    case = case.at("hq", "GW2").at("dc", "GW2");
    let problems = case.problems();
    assert_eq!(
        problems,
        [
            "vm2: HostUnreachable: its host HOST2 and gateway GW2 have no provider addresses of one family; give one of them another",
            "tenant: HostUnreachable: host HOST2 and gateway GW2 have no provider addresses of one family; give one of them another",
        ]
    );
    // HOST1 has both, and reaches HOST2 by IPv6.
    let machines = for_host(&case.plan(), "HOST1").vms;
    assert_eq!(machines[1].pa.to_string(), "fd00:10::12");
}

#[test]
fn a_vlan_that_is_not_in_the_gateway_s_rack_is_named() {
    let mut case = Case::usual();
    case.world.racks.insert(id("GW1"), id("r9"));
    assert_eq!(
        case.problems(),
        [
            "dc: HostUnreachable: VLAN 1001 is not in rack r9, where gateway GW1 is; extend it there, or move the connection"
        ]
    );
    assert_eq!(for_gateway(&case.plan(), "GW1").connections.len(), 1);
}

#[test]
fn what_is_not_placed_or_not_complete_is_named() {
    let mut case = Case::usual();
    case.placements.connections.remove(&id("hq"));
    let gateway = case.tenant.gateway.as_mut().unwrap();
    gateway.properties.network_connections[1].properties.ip_addresses.clear();
    assert_eq!(
        case.problems(),
        [
            "hq: HostUnreachable: the connection is on no gateway; write it again",
            "dc: PolicyConfigurationFailure: the connection has no ipAddresses; write the gateway's own on the VLAN",
        ]
    );
    assert!(!case.plan().documents.contains_key(&super::tests::gateway("GW1")));
}

#[test]
fn addresses_that_a_machine_cannot_have_are_named() {
    let interfaces = [
        interface("a", "10.1.0.1", "HOST1"),
        interface("b", "10.1.0.9", "HOST1"),
        interface("c", "10.1.0.9", "HOST1"),
        interface("d", "10.9.0.1", "HOST1"),
    ];
    let case = Case::new(&[], &interfaces);
    assert_eq!(
        case.problems(),
        [
            "a: PolicyConfigurationFailure: 10.1.0.1 is the subnet's router; give the interface another address",
            "c: PolicyConfigurationFailure: another interface of the network has 10.1.0.9; give this one another address",
            "d: PolicyConfigurationFailure: 10.9.0.1 is not in subnet web (10.1.0.0/24); correct it",
        ]
    );
    assert_eq!(for_host(&case.plan(), "HOST1").vms.len(), 1);
}

#[test]
fn a_mac_address_is_on_a_subnet_once() {
    let mut second = interface("vm2", "10.1.0.6", "HOST2");
    second["properties"]["privateMacAddress"] = interface("vm1", "", "")["properties"]["privateMacAddress"].clone();
    let case = Case::new(&[], &[interface("vm1", "10.1.0.5", "HOST1"), second]);
    assert!(
        case.problems()[0].contains("vm2: PolicyConfigurationFailure: another interface of the subnet has the MAC")
    );
    assert_eq!(for_host(&case.plan(), "HOST1").vms.len(), 1);
}

#[test]
fn a_machine_without_a_device_is_known_to_the_others_only() {
    let mut vm = interface("vm1", "10.1.0.5", "HOST1");
    vm["properties"]["deviceName"] = Value::Null;
    let case = Case::new(&[], &[vm, interface("vm2", "10.1.0.6", "HOST2")]);
    assert!(case.problems()[0].starts_with("vm1: PolicyConfigurationFailure: the interface has no deviceName"));
    let planned = case.plan();
    assert_eq!((for_host(&planned, "HOST1").vms.len(), for_host(&planned, "HOST2").vms.len()), (1, 2));
}

#[test]
fn a_machine_that_runs_nowhere_is_nobody_s() {
    let mut vm = interface("vm1", "10.1.0.5", "HOST1");
    vm["properties"]["server"] = Value::Null;
    let planned = Case::new(&[], &[vm]).plan();
    assert_eq!(planned, Planned { gateway: planned.gateway.clone(), ..Planned::default() });
}

#[test]
fn the_network_s_encapsulation_is_everyone_s() {
    let mut case = Case::usual();
    case.tenant.network.properties.encapsulation = crate::controller::model::tenant::Encapsulation::Nvgre;
    let planned = case.plan();
    assert_eq!(for_gateway(&planned, "GW1").encapsulation, Some(crate::plan::Encapsulation::Nvgre));
    assert_eq!(for_host(&planned, "HOST1").encapsulation, crate::plan::Encapsulation::Nvgre);
}

/// The usual tenant with a router, whose properties these are.
fn with_router(properties: Value, maps: Value) -> Case {
    let mut case = Case::usual();
    let gateway = &mut case.tenant.gateway.as_mut().unwrap().properties;
    gateway.bgp_routers = vec![read(json!({"resourceId": "router1", "properties": properties}))];
    gateway.policy_maps = serde_json::from_value(maps).unwrap();
    case
}

fn peers(list: &[(&str, &str)]) -> Value {
    let peer = |(name, address): &(&str, &str)| json!({"resourceId": name, "properties": {"peerIpAddress": address, "extAsNumber": "0.65002"}});
    list.iter().map(peer).collect()
}

#[test]
fn the_router_is_on_the_tenant_s_first_gateway() {
    let peers = peers(&[("hq", "10.2.0.1")]);
    let case = with_router(json!({"extAsNumber": "1.10", "routerId": "192.0.2.1", "bgpPeers": peers}), json!([]));
    let case = case.at("hq", "GW2");
    passes(&case);
    let planned = case.plan();
    let bgp = for_gateway(&planned, "GW2").bgp.unwrap();
    assert_eq!((bgp.as_number.to_string(), bgp.router_id.unwrap().to_string()), ("65546".into(), "192.0.2.1".into()));
    assert!(bgp.addresses.is_empty(), "they are the gateway's own");
    let [peer, _] = &*bgp.peers else { panic!("one peer and the other gateway: {bgp:?}") };
    assert_eq!((peer.address.to_string(), peer.as_number.to_string()), ("10.2.0.1".into(), "65002".into()));
    assert_eq!(peer.connection.as_ref().unwrap().as_str(), "hq");
    let announced: Vec<String> = for_gateway(&planned, "GW2").announced().iter().map(ToString::to_string).collect();
    assert_eq!(announced, ["10.1.0.0/24"], "the tenant's networks, not the gateway's");
}

#[test]
fn a_router_without_a_number_gets_the_usual_one_and_may_have_an_address_of_its_own() {
    let case =
        with_router(json!({"routerIP": ["192.0.2.7"], "bgpPeers": peers(&[("dc", "10.127.134.55")])}), json!([]));
    passes(&case);
    let tenant = for_gateway(&case.plan(), "GW1");
    assert_eq!(tenant.bgp.as_ref().unwrap().as_number.to_string(), "65001");
    assert_eq!(tenant.router_addresses().v4.unwrap().to_string(), "192.0.2.7");
    let peer = &tenant.bgp.as_ref().unwrap().peers[0];
    assert_eq!(tenant.local_address_for(peer).unwrap().to_string(), "10.127.134.50", "it is on the VLAN");
}

#[test]
fn policy_maps_become_policies_of_the_peers_that_name_them() {
    let map = |name: &str| json!({"resourceRef": format!("/virtualGateways/contoso/policyMaps/{name}")});
    let maps = json!([
        {"resourceId": "IN", "properties": {"policyMapEntryList": [
            {"policyName": "no", "action": "Deny", "matchCriteria": [
                {"property": "MatchPrefix", "value": ["5.4.3.2/32", "10.0.0.0/8 le 24"]}, {"property": "NextHop", "value": ["4.3.2.1"]}], "setActions": []},
            {"action": "ModifyAttribute", "matchCriteria": [{"property": "AsnRange", "value": ["123", "345"]}, {"property": "Community", "value": "1:1"}],
             "setActions": [{"property": "Local-Pref", "value": "200"}, {"property": "As-Path", "value": "65001 65001"},
                            {"property": "Remove-All-Community"}, {"property": "Add-Community", "value": ["no-export"]}]}]}},
        {"resourceId": "UNUSED", "properties": {"policyMapEntryList": []}}]);
    let peer = json!({"resourceId": "hq", "properties": {
        "peerIpAddress": "10.2.0.1", "asNumber": "65002", "policyMapIn": map("in"), "policyMapOut": map("IN")}});
    let case = with_router(json!({"extAsNumber": "0.65001", "bgpPeers": [peer]}), maps);
    passes(&case);
    let bgp = for_gateway(&case.plan(), "GW1").bgp.unwrap();
    let [policy] = &*bgp.policies else { panic!("one policy: {bgp:?}") };
    assert_eq!(
        (&bgp.peers[0].policy_in, &bgp.peers[0].policy_out),
        (&Some(policy.name.clone()), &Some(policy.name.clone()))
    );
    let written = serde_json::to_value(policy).unwrap();
    assert_eq!(
        written["statements"],
        json!([
            {"match": {"prefixes": ["5.4.3.2/32", "10.0.0.0/8 le 24"], "next_hops": ["4.3.2.1/32"]}, "then": "reject"},
            {"match": {"as_path": ["123-345"], "communities": ["1:1"]}, "then": "accept",
             "set": {"local_preference": 200, "prepend": [65001, 65001], "add_communities": ["no-export"], "clear": ["communities"]}}])
    );
    assert_eq!(written["otherwise"], "accept");
}

#[test]
fn peers_that_cannot_be_reached_are_named_and_the_others_are_not_kept_from_it() {
    let list = peers(&[
        ("far", "40.1.1.4"),
        ("vm", "10.1.0.5"),
        ("own", "10.127.134.50"),
        ("hq", "10.2.0.1"),
        ("dc", "10.127.134.55"),
    ]);
    let case = with_router(json!({"routerIP": ["10.1.0.9"], "extAsNumber": "0.65001", "bgpPeers": list}), json!([]));
    let bgp = for_gateway(&case.plan(), "GW1").bgp.unwrap();
    assert_eq!(bgp.peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["hq", "dc"]);
    let problems = case.problems();
    let expected = [
        "router1: PolicyConfigurationFailure: 10.1.0.9 is in subnet web",
        "router1/far: PolicyConfigurationFailure: Peers 40.1.1.4 do not have connectivity through any network connection",
        "router1/vm: PolicyConfigurationFailure: 10.1.0.5 is an address in the cloud",
        "router1/own: PolicyConfigurationFailure: 10.127.134.50 is an address in the cloud",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{problem}");
    }
    let mut apart = case.at("dc", "GW2");
    let dc = &mut apart.tenant.gateway.as_mut().unwrap().properties.network_connections[1].properties;
    dc.connection_status = crate::controller::model::tenant::ConnectionStatus::Disabled;
    let apart = apart.problems();
    let switched_off = |problem: &String| problem.starts_with("router1/dc") && problem.contains("on gateway GW2 is");
    assert!(apart.iter().any(switched_off), "{apart:?}");
}

#[test]
fn the_router_speaks_to_sites_on_other_gateways_and_these_are_its_clients() {
    let list = peers(&[("hq", "10.2.0.1"), ("dc", "10.127.134.55")]);
    let mut case = with_router(json!({"extAsNumber": "0.65001", "bgpPeers": list}), json!([])).at("dc", "GW2");
    passes(&case);
    let planned = case.plan();
    let (first, second) = (for_gateway(&planned, "GW1"), for_gateway(&planned, "GW2"));
    let own = |tenant: &crate::plan::Tenant| tenant.gateway_addresses.v4.unwrap().to_string();
    assert_eq!((own(&first), own(&second)), ("10.1.255.2".into(), "10.1.255.3".into()));
    let shown = |tenant: &crate::plan::Tenant| -> Vec<String> {
        let peers = tenant.bgp.as_ref().unwrap().peers.iter();
        let shown = peers.map(|peer| {
            let by = peer.connection.as_ref().map_or("-", |name| name.as_str());
            format!("{} {} {} {by} {:?} {:?}", peer.name, peer.address, peer.as_number, peer.reflection, peer.mode)
        });
        shown.collect()
    };
    assert_eq!(
        shown(&first),
        [
            "hq 10.2.0.1 65002 hq None Mixed",
            "dc 10.127.134.55 65002 - None Mixed",
            "GW2 10.1.255.3 65001 - Client Passive"
        ]
    );
    assert_eq!(shown(&second), ["route-reflector 10.1.255.2 65001 - None Active"]);
    assert!(second.announced().is_empty(), "the router announces everything");
    assert_eq!(second.gateways[0].addresses[..], ["10.1.255.2".parse::<std::net::IpAddr>().unwrap()]);
    let host = for_host(&planned, "HOST1");
    let to = |prefix: &str| {
        let route = host.routes.iter().find(|route| route.destination.to_string() == prefix).unwrap();
        format!("{:?}", route.gateways)
    };
    assert_eq!((to("10.1.255.2/32"), to("10.1.255.3/32")), ("[10.10.0.1]".into(), "[10.10.0.2]".into()));
    // It stays where it was put, with its address.
    case.placements.reflector = Some(id("GW2"));
    case.placements.numbers = [(id("GW1"), 4)].into();
    passes(&case);
    let planned = case.plan();
    let (first, second) = (for_gateway(&planned, "GW1"), for_gateway(&planned, "GW2"));
    assert_eq!((own(&first), own(&second)), ("10.1.255.6".into(), "10.1.255.2".into()));
    assert_eq!(shown(&first), ["route-reflector 10.1.255.2 65001 - None Active"]);
    case.placements.numbers = [(id("GW1"), 5)].into();
    let full = case.problems();
    assert!(full.iter().any(|problem| problem.contains("no IPv4 address left for gateway GW1")), "{full:?}");
}

#[test]
fn a_second_router_is_one_too_many() {
    let mut case = with_router(json!({"extAsNumber": "0.65001"}), json!([]));
    let second = read(json!({"resourceId": "router2", "properties": {"extAsNumber": "0.65009"}}));
    case.tenant.gateway.as_mut().unwrap().properties.bgp_routers.push(second);
    assert_eq!(case.problems().len(), 1);
    assert!(case.problems()[0].starts_with("router2: PolicyConfigurationFailure"), "{:?}", case.problems());
}

/// What a gateway is told of each seat's connections.
fn seats(planned: &Planned, name: &str) -> Vec<String> {
    let of = |(seat, document): (&Id, &Document)| {
        let tenant: crate::plan::Tenant = document.read().unwrap();
        let connections = tenant.connections.iter().map(|it| match it.passage {
            Passage::None => it.name.to_string(),
            passage => format!("{} {passage:?}", it.name),
        });
        format!("{seat}: {}", connections.collect::<Vec<_>>().join(", "))
    };
    planned.replicas[&gateway(name)].iter().map(of).collect()
}

#[test]
fn what_moves_is_at_both_ends_and_with_everybody_else_in_one_seat() {
    let planned = |at: &str, other: &str, stage| {
        let routes = json!([{"destinationPrefix": "10.2.0.0/16", "metric": 10}]);
        let mut case = Case::new(&[gre("hq", routes), l3("dc")], &[interface("vm1", "10.1.0.5", "HOST1")]).at("dc", at);
        case.placements.connections.get_mut(&id("dc")).unwrap().transfer = Some(Transfer { stage, other: id(other) });
        let ports = [("fab0", PortRole::Fabric), ("tor0", PortRole::Site)];
        case.world.registrations.insert(gateway("GW3"), registration(&["10.10.0.3"], &ports));
        for seat in ["GW1", "GW2", "GW3"] {
            case.world.seats.insert(id(seat), Occupancy::Carried);
        }
        case.plan()
    };
    let way = |planned: &Planned| {
        let routes = for_host(planned, "HOST1").routes;
        routes.iter().find(|it| it.destination.to_string() == "10.3.0.0/16").map(|it| it.gateways[0].to_string())
    };
    let known = planned("GW1", "GW2", Stage::Known);
    for gateway in ["GW1", "GW2", "GW3"] {
        assert_eq!(seats(&known, gateway), ["GW1: hq, dc", "GW2: "], "{gateway}");
    }
    let routes = for_host(&known, "HOST1").routes;
    assert!(routes.iter().any(|it| it.gateways.iter().any(|by| by.to_string() == "10.10.9.2")), "it is believed");
    let arriving = planned("GW1", "GW2", Stage::Arriving);
    assert_eq!(seats(&arriving, "GW1"), ["GW1: hq, dc", "GW2: "]);
    assert_eq!(seats(&arriving, "GW2"), ["GW1: hq", "GW2: dc Arriving"]);
    assert_eq!(seats(&arriving, "GW3"), ["GW1: hq, dc", "GW2: "]);
    assert_eq!(way(&arriving).as_deref(), Some("10.10.9.1"));
    let leaving = planned("GW2", "GW1", Stage::Leaving);
    assert_eq!(seats(&leaving, "GW1"), ["GW1: hq, dc Leaving", "GW2: "]);
    assert_eq!(seats(&leaving, "GW2"), ["GW1: hq", "GW2: dc Arriving"]);
    assert_eq!(seats(&leaving, "GW3"), ["GW1: hq", "GW2: dc Arriving"]);
    assert_eq!(way(&leaving).as_deref(), Some("10.10.9.2"));
    let announced = planned("GW2", "GW1", Stage::Announced);
    assert_eq!(seats(&announced, "GW1"), ["GW1: hq, dc Leaving", "GW2: "]);
    assert_eq!(seats(&announced, "GW2"), ["GW1: hq", "GW2: dc"]);
    assert_eq!(seats(&announced, "GW3"), ["GW1: hq", "GW2: dc"]);
}
