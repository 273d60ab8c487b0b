use super::compile::{SEAT, compile};
use super::ids::Ids;
use super::tables::Tables;
use super::world::{CompartmentState, Hop, PortState, World};
use crate::plan::{Plan, parse};
use gateway_common::tables::{FabricKey, Local, Nexthop};
use gateway_common::{NexthopId, SeatId, TenantId, Vni};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

const PORT: PortState = PortState { ifindex: 11, mac: [2, 0, 0, 0, 0, 11], mtu: 1600 };

/// One tenant on two seats, and what is the gateway's own.
fn plan(seats: &[&str]) -> Plan {
    let seat = |name: &&str| {
        let number: u32 = name[2..].parse().expect("a number");
        json!({"name": name, "number": number, "pa": [format!("10.10.0.10{number}")], "mac": format!("02:5e:a7:00:00:0{number}")})
    };
    let tenant = |name: &&str| {
        let number = &name[2..];
        json!({"name": "contoso", "seat": name, "gateway_addresses": [format!("10.1.255.{number}")],
               "subnets": [{"vsid": 5001, "prefix": "10.1.0.0/24"}],
               "vms": [{"ca": "10.1.0.5", "mac": "02:00:00:00:01:05", "vsid": 5001, "pa": "10.10.0.11"}],
               "connection": [{"name": "hq", "type": "gre", "vip": format!("198.51.100.{number}"), "remote": "203.0.113.20",
                               "routes": [{"destination": "10.2.0.0/16"}]}]})
    };
    let plan: Value = json!({
        "gateway": {"name": "GW3", "encapsulation": "vxlan", "pa": ["10.10.0.3"]},
        "port": [{"name": "port0", "role": "both"}],
        "seat": seats.iter().map(seat).collect::<Vec<_>>(),
        "pool": {"name": "default", "number": 3, "fabric": "10.10.0.3",
                 "charter": {"number": 1, "electorate": {"number": 1, "voters": [{"gateway": "GW3"}]}, "seats": {}},
                 "peers": [{"name": "GW1", "number": 1, "fabric": "10.10.0.1",
                            "key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]},
        "tenant": seats.iter().map(tenant).collect::<Vec<_>>(),
    });
    parse(&plan.to_string(), "plan.json").unwrap_or_else(|errors| panic!("{errors}"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn world() -> World {
    let hop = Hop { ifindex: PORT.ifindex, destination: [2, 0, 0, 0, 1, 1], source: PORT.mac, mtu: PORT.mtu };
    let compartment = |ifindex| CompartmentState { ifindex, mac: [2, 0, 0, 0, 2, 2] };
    World {
        ports: BTreeMap::from([("port0".into(), PORT)]),
        hops: ["10.10.0.1", "10.10.0.11", "203.0.113.20"].map(|remote| (ip(remote), hop)).into(),
        compartments: BTreeMap::from([
            ("contoso@GW1".into(), compartment(21)),
            ("contoso@GW2".into(), compartment(22)),
        ]),
        ..World::default()
    }
}

fn instance<'a>(ids: &Ids, tables: &'a Tables, seat: &str) -> (TenantId, SeatId, Vec<&'a Nexthop>) {
    let tenant = ids.tenant_id(&format!("contoso@{seat}")).expect("an instance");
    let routes = &tables.routes[&tenant].v4;
    let ways = routes.iter().map(|(_, route)| route.nexthop).filter(|id| *id != NexthopId::NONE);
    let ways = ways.map(|id| &tables.nexthops[&id.0]).filter(|way| way.kind == Nexthop::ADJACENCY);
    (tenant, ids.seat_id(seat).expect("a slot"), ways.collect())
}

#[test]
fn each_seat_has_an_instance_of_its_tenants_under_its_own_gate() {
    let mut ids = Ids::default();
    let tables = compile(&plan(&["GW1", "GW2"]), &world(), &mut ids);
    for (number, name) in [(1u8, "GW1"), (2, "GW2")] {
        let (tenant, slot, ways) = instance(&ids, &tables, name);
        assert_ne!(slot, SEAT);
        assert_eq!(tables.seats[&slot.0].mac[5], number);
        assert_eq!(tables.seat_numbers[&u32::from(number)], slot);
        assert_eq!(tables.tenants[&tenant.0].seat, slot);
        assert_eq!(tables.compartments[&(20 + u32::from(number))].seat, slot);
        let connection = ids.connection_id(&format!("contoso@{name}"), "hq").expect("a connection");
        assert_eq!(tables.connections[&connection.0].seat, slot);
        assert_eq!(ways.len(), 2, "to the VM and to the site");
        assert!(ways.iter().all(|way| way.seat == slot), "{ways:?}");
        let pa = ip(&format!("10.10.0.10{number}"));
        let key = FabricKey { pa: pa.into(), vni: Vni(5001), encapsulation: FabricKey::VXLAN };
        assert_eq!((tables.fabric[&key].tenant, tables.fabric[&key].seat), (tenant, slot));
        let of = |address: IpAddr| tables.local[&address.into()];
        assert_eq!(of(pa), Local { seat: slot, flags: Local::FABRIC | Local::ANSWERED });
        let vip = ip(&format!("198.51.100.{number}"));
        assert_eq!(of(vip), Local { seat: slot, flags: Local::VIP | Local::ANSWERED });
    }
    let own = FabricKey { pa: ip("10.10.0.3").into(), vni: Vni(5001), encapsulation: FabricKey::VXLAN };
    assert_eq!(tables.fabric.get(&own), None, "nothing of a seat's is at the gateway's own address");
    assert_eq!(tables.local[&ip("10.10.0.3").into()].seat, SEAT);
    let prober = tables.probers[&1];
    assert_eq!(tables.nexthops[&prober.ways[0].nexthop.0].kind, Nexthop::ADJACENCY);
    assert_eq!(prober.ways[1].nexthop, NexthopId::NONE);
}

#[test]
fn a_seat_keeps_its_slot_whatever_comes_and_goes() {
    let mut ids = Ids::default();
    let mut slots = |seats: &[&str], name: &str| {
        compile(&plan(seats), &world(), &mut ids);
        ids.settle();
        ids.seat_id(name).expect("a slot")
    };
    let second = slots(&["GW1", "GW2"], "GW2");
    assert_eq!(slots(&["GW2"], "GW2"), second);
    assert_eq!(slots(&["GW1", "GW2"], "GW2"), second);
    assert_ne!(slots(&["GW1", "GW2"], "GW1"), second);
}
