//! What routers learn on its way to hosts.

use super::*;
use crate::agent::protocol::Heartbeat;
use crate::agent::protocol::{BootId, Extent, Parts};
use crate::agent::routes::{Rounds, RouteChanges, RouteReport};
use crate::controller::core::host;
use crate::controller::core::learned::SILENT;
use crate::dataplane::learned::Via;
use ipnet::IpNet;
use std::net::IpAddr;

const STREAM: StreamId = StreamId(70);

fn join(world: &mut World, agent: &AgentId, pa: &str, stream: StreamId) {
    let hello = Hello { pa: serde_json::from_value(json!([pa])).expect("an address"), ..hello(None) };
    if world.core.state().agents.get(agent).is_none() {
        let key = KeyId([stream.0 as u8; 32]);
        let token = format!("token {stream:?}");
        let enrol = Enrol { agent: agent.clone(), token, token_expires: u64::MAX, key, hello: hello.clone() };
        world.step(Event::Enrol(CallId(900), enrol));
        world.settle();
    }
    let connect = Connect { agent: agent.clone(), key: KeyId([stream.0 as u8; 32]), hello };
    world.step(Event::Connect(CallId(901), stream, connect));
    world.settle();
}

fn router() -> AgentId {
    gateway(&"GW1".into())
}

fn join_all(world: &mut World) {
    join(world, &router(), "10.10.0.1", StreamId(71));
    join(world, &host(&"HOST1".into()), "10.10.0.11", STREAM);
}

/// A tenant with a machine on a host, a site, and a router with a peer there.
fn routed() -> World {
    let mut world = World::furnished();
    world.put(
        "/virtualNetworks/contoso",
        json!({ "addressSpace": { "addressPrefixes": ["10.1.0.0/16"] }, "subnets": [
            { "resourceId": "gateway", "properties": { "addressPrefix": "10.1.255.0/28" } },
            { "resourceId": "machines", "properties": { "addressPrefix": "10.1.0.0/24" } },
        ] }),
    );
    world.put("/servers/HOST1", json!({}));
    world.put(
        "/networkInterfaces/vm1",
        json!({ "privateMacAddress": "02:00:00:00:01:05", "server": { "resourceRef": "/servers/HOST1" }, "deviceName": "vm1",
                "ipConfigurations": [{ "resourceId": "ip", "properties": { "privateIPAddress": "10.1.0.5",
                    "privateIPAllocationMethod": "Static",
                    "subnet": { "resourceRef": "/virtualNetworks/contoso/subnets/machines" } } }] }),
    );
    world.connect_site("contoso", 100, 1000);
    world.settle();
    let router = "/virtualGateways/contoso/bgpRouters/router";
    world.put(router, json!({ "extAsNumber": "65001" }));
    world.put(&format!("{router}/bgpPeers/hq"), json!({ "peerIpAddress": "10.2.0.1", "extAsNumber": "65002" }));
    join_all(&mut world);
    world
}

/// What the router tells of the site.
fn tell(world: &mut World, sequence: u64, extent: Extent, parts: Parts, set: &[&str], gone: &[&str]) {
    let via: Arc<[Via]> = [Via::Connection("hq".into())].into();
    let set = set.iter().map(|prefix| (net(prefix), Some(Arc::clone(&via))));
    let changes = RouteChanges::of(extent, parts, set.chain(gone.iter().map(|prefix| (net(prefix), None))));
    let tenants = [("contoso".to_owned(), changes)].into();
    let report = RouteReport { boot: BootId("boot".into()), sequence, tenants };
    world.step(Event::Routes(CallId(910), router(), report));
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

/// What the host makes of all that it has been told since.
fn hear(world: &mut World, known: &mut Rounds<IpAddr>) -> Vec<String> {
    for event in std::mem::take(&mut world.routes) {
        for (tenant, changes) in event.tenants.clone() {
            assert_eq!(tenant, "contoso");
            known.take(changes, usize::MAX);
        }
    }
    let row = |(prefix, via): (IpNet, &Arc<[IpAddr]>)| format!("{prefix} {via:?}");
    known.iter().map(row).collect()
}

#[test]
fn hosts_hear_what_a_router_learns_aggregated_and_what_it_loses() {
    let (mut world, mut known) = (routed(), Rounds::default());
    hear(&mut world, &mut known);
    assert!(!known.is_complete(), "nobody has told anything");
    tell(&mut world, 1, Extent::Whole, Parts::More, &["10.7.0.0/24", "10.7.1.0/24"], &[]);
    assert_eq!(hear(&mut world, &mut known), ["10.7.0.0/23 [10.10.0.1]"]);
    assert!(!known.is_complete());
    tell(&mut world, 2, Extent::Changes, Parts::Last, &["10.2.0.0/16"], &[]);
    assert_eq!(hear(&mut world, &mut known).len(), 2);
    assert!(known.is_complete());
    let (_, connection) = world.get("/virtualGateways/contoso/networkConnections/hq");
    let routes = connection["properties"]["routes"].as_array().expect("routes");
    assert_eq!(routes.iter().filter(|route| route["protocol"] == "BGP").count(), 3, "{routes:?}");
    let before = world.plans.len();
    tell(&mut world, 3, Extent::Changes, Parts::Last, &[], &["10.7.0.0/24", "10.2.0.0/16"]);
    assert_eq!(world.routes.len(), 1);
    assert_eq!(hear(&mut world, &mut known), ["10.7.1.0/24 [10.10.0.1]"]);
    assert_eq!(world.plans.len(), before, "no document is sent again");
    // One that was overtaken.
    tell(&mut world, 2, Extent::Changes, Parts::Last, &["10.9.0.0/16"], &[]);
    assert!(world.routes.is_empty());
}

#[test]
fn an_address_is_where_the_longest_prefix_leads_planned_or_learned() {
    let mut world = routed();
    let ways = |world: &mut World, address: &str| {
        let (status, body) = world.get(&format!("/virtualGateways/contoso?explain={address}"));
        assert_eq!(status, 200, "{body}");
        body["ways"].clone()
    };
    assert_eq!(ways(&mut world, "10.7.1.9")["complete"], false, "the router has told nothing");
    tell(&mut world, 1, Extent::Whole, Parts::Last, &["10.7.0.0/16", "10.2.0.0/16", "10.1.0.0/16"], &[]);
    let hq = json!({ "networkConnection": { "resourceRef": "/virtualGateways/contoso/networkConnections/hq" },
                     "gateway": { "resourceRef": "/gateways/GW1" } });
    let machines = json!({ "virtualSubnet": { "resourceRef": "/virtualNetworks/contoso/subnets/machines" } });
    for (address, prefix, protocol, way) in [
        ("10.7.1.9", "10.7.0.0/16", "BGP", &hq),
        ("10.1.9.9", "10.1.0.0/16", "BGP", &hq),
        // What is written stands in place of what is learned.
        ("10.2.0.9", "10.2.0.0/16", "Static", &hq),
        ("10.1.0.9", "10.1.0.0/24", "Local", &machines),
    ] {
        let expected = json!({ "address": address, "destinationPrefix": prefix, "protocol": protocol, "ways": [way], "complete": true });
        assert_eq!(ways(&mut world, address), expected);
    }
    let nowhere = ways(&mut world, "10.9.9.9");
    assert_eq!((&nowhere["destinationPrefix"], &nowhere["ways"]), (&Value::Null, &json!([])));
    assert_eq!(world.get("/virtualGateways/contoso?explain=here").0, 400);
}

#[test]
fn a_new_leader_withdraws_nothing_before_it_knows_all() {
    let (mut world, mut known) = (routed(), Rounds::default());
    tell(&mut world, 1, Extent::Whole, Parts::Last, &["10.7.0.0/16", "10.8.0.0/16"], &[]);
    assert_eq!(hear(&mut world, &mut known).len(), 2);
    world.lead();
    join_all(&mut world);
    assert_eq!(hear(&mut world, &mut known).len(), 2);
    assert!(!known.is_complete());
    tell(&mut world, 1, Extent::Whole, Parts::More, &["10.7.0.0/16"], &[]);
    assert_eq!(hear(&mut world, &mut known).len(), 2);
    tell(&mut world, 2, Extent::Changes, Parts::Last, &[], &[]);
    assert_eq!(hear(&mut world, &mut known), ["10.7.0.0/16 [10.10.0.1]"]);
}

#[test]
fn what_leads_nowhere_any_more_goes() {
    let (mut world, mut known) = (routed(), Rounds::default());
    tell(&mut world, 1, Extent::Whole, Parts::Last, &["10.7.0.0/16"], &[]);
    hear(&mut world, &mut known);
    // A host that was not there hears all of it.
    world.step(Event::Closed(STREAM));
    join(&mut world, &host(&"HOST1".into()), "10.10.0.11", STREAM);
    assert_eq!(hear(&mut world, &mut Rounds::default()).len(), 1);
    let gone = world.ask(Method::Delete, "/virtualGateways/contoso/bgpRouters/router", &Value::Null, None);
    world.settle();
    assert!(world.answer(gone).0 < 300);
    assert!(hear(&mut world, &mut known).is_empty(), "without a router nothing is learned");
    assert!(known.is_complete());
}

#[test]
fn a_router_that_is_silent_for_long_is_believed_no_more() {
    let (mut world, mut known) = (routed(), Rounds::default());
    tell(&mut world, 1, Extent::Whole, Parts::Last, &["10.7.0.0/16"], &[]);
    world.now += SILENT - 1000;
    world.step(Event::Tick);
    assert_eq!(hear(&mut world, &mut known).len(), 1);
    world.step(Event::Heartbeat(router(), Heartbeat::default()));
    world.now += SILENT - 1000;
    world.step(Event::Tick);
    assert_eq!(hear(&mut world, &mut known).len(), 1);
    world.now += 2000;
    world.step(Event::Tick);
    assert!(hear(&mut world, &mut known).is_empty());
}
