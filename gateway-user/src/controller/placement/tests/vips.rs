//! VIPs: (VIP, remote address, key) is there once only.

use super::*;
use std::net::IpAddr;

fn vip(fleet: &mut Fleet, tenant: &str, wanted: &Wanted) -> IpAddr {
    fleet.place(&id(tenant), &[], wanted).unwrap().placement.vip.unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn connections_of_a_gateway_share_its_vip() {
    let mut fleet = plain(100_000, 0, &["GW1"]);
    assert_eq!(vip(&mut fleet, "a", &gre("x", 1, "203.0.113.1", 1)), address("192.0.2.1"));
    assert_eq!(vip(&mut fleet, "a", &gre("y", 1, "203.0.113.1", 2)), address("192.0.2.1"));
    assert_eq!(vip(&mut fleet, "b", &gre("x", 1, "203.0.113.2", 1)), address("192.0.2.1"));
    assert_eq!(fleet.status(&id("GW1")).unwrap().vips, [address("192.0.2.1")]);
}

#[test]
fn each_gateway_has_vips_of_its_own() {
    let mut fleet = plain(10_000, 0, &["GW1", "GW2"]);
    assert_eq!(vip(&mut fleet, "a", &gre("x", 2_000, "203.0.113.1", 1)), address("192.0.2.1"));
    assert_eq!(vip(&mut fleet, "b", &gre("x", 2_000, "203.0.113.1", 1)), address("192.0.2.2"));
}

#[test]
fn a_clash_takes_another_vip_then_a_fresh_one_then_another_gateway_then_is_refused() {
    let mut fleet = plain(1_000_000, 0, &["GW1", "GW2"]);
    let narrow = |fleet: &mut Fleet, last: &str| {
        let vips = vec![VipRange { first: address("192.0.2.1"), last: address(last) }];
        fleet.set_pool(PoolSpec { vips, ..pool("default", PoolType::All, 1_000_000, 0) }).unwrap();
    };
    narrow(&mut fleet, "192.0.2.2");
    let clash = gre("x", 1, "203.0.113.1", 7);
    assert_eq!(vip(&mut fleet, "a", &clash), address("192.0.2.1"));
    // Drawn from the subnet.
    assert_eq!(vip(&mut fleet, "b", &clash), address("192.0.2.2"));
    // The gateway's second VIP has room for this one, its first has not.
    assert_eq!(vip(&mut fleet, "a", &gre("y", 1, "203.0.113.9", 7)), address("192.0.2.1"));
    assert_eq!(vip(&mut fleet, "b", &gre("y", 1, "203.0.113.9", 7)), address("192.0.2.2"));
    // The subnet is used up: no VIP for GW2 either.
    let refusal = fleet.place(&id("c"), &[], &clash).unwrap_err();
    assert_eq!(refusal, Refusal::TunnelTaken { remote: address("203.0.113.1"), key: Some(7) });
    assert_eq!(
        refusal.to_string(),
        "the destination 203.0.113.1 with GRE key 7 is in use already at every VIP; choose another greKey"
    );
    // Once GW2 has a VIP, the clash on GW1 leads there.
    narrow(&mut fleet, "192.0.2.3");
    let cordoned = GatewaySpec { scheduling: Schedulable::Cordoned, ..gateway_at("GW1", "default", "", "") };
    fleet.set_gateway(cordoned).unwrap();
    assert_eq!(vip(&mut fleet, "d", &gre("x", 1, "203.0.113.2", 7)), address("192.0.2.3"));
    fleet.set_gateway(gateway_at("GW1", "default", "", "")).unwrap();
    let decision = fleet.place(&id("c"), &[], &clash).unwrap();
    assert_eq!((decision.placement.gateway, decision.placement.vip), (id("GW2"), Some(address("192.0.2.3"))));
}

#[test]
fn no_key_and_key_0_are_two_keys() {
    let mut fleet = plain(100_000, 0, &["GW1"]);
    let remote = address("203.0.113.1");
    let without = wanted("x", 1, Link::Gre { remote, key: None });
    assert_eq!(vip(&mut fleet, "a", &without), address("192.0.2.1"));
    assert_eq!(vip(&mut fleet, "b", &gre("x", 1, "203.0.113.1", 0)), address("192.0.2.1"));
    assert_eq!(vip(&mut fleet, "c", &without), address("192.0.2.2"));
}

#[test]
fn a_vip_is_of_the_remote_address_s_family() {
    let mut fleet = plain(100_000, 0, &["GW1"]);
    vip(&mut fleet, "a", &gre("x", 1, "203.0.113.1", 1));
    assert_eq!(vip(&mut fleet, "a", &gre("y", 1, "2001:db8:1::1", 1)), address("2001:db8::1"));
    let mut fleet = Fleet::new(Settings::default());
    fleet.set_pool(PoolSpec { vips: Vec::new(), ..pool("default", PoolType::Gre, 100_000, 0) }).unwrap();
    fleet.set_gateway(gateway_at("GW1", "default", "", "")).unwrap();
    let refusal = fleet.place(&id("a"), &[], &gre("x", 1, "203.0.113.1", 1)).unwrap_err();
    assert_eq!(refusal, Refusal::NoVip { remote: address("203.0.113.1"), pools: vec![id("default")] });
}

#[test]
fn a_site_is_not_where_vips_are_drawn_from() {
    let mut fleet = plain(10_000, 0, &["GW1"]);
    let refusal = fleet.place(&id("a"), &[], &gre("x", 1, "192.0.2.4", 1)).unwrap_err();
    assert_eq!(refusal, Refusal::RemoteIsVip { remote: address("192.0.2.4"), pool: id("default") });
}

#[test]
fn a_vip_without_connections_is_free_again() {
    let mut fleet = plain(10_000, 0, &["GW1", "GW2"]);
    vip(&mut fleet, "a", &gre("x", 2_000, "203.0.113.1", 1));
    fleet.release(&id("a"), &id("x"));
    assert!(fleet.status(&id("GW1")).unwrap().vips.is_empty());
    assert_eq!(vip(&mut fleet, "b", &gre("x", 1, "203.0.113.1", 1)), address("192.0.2.1"));
}

#[test]
fn a_changed_connection_keeps_its_vip_and_takes_it_along() {
    let mut fleet = plain(10_000, 0, &["GW1", "GW2"]);
    vip(&mut fleet, "a", &gre("x", 500, "203.0.113.1", 1));
    vip(&mut fleet, "b", &gre("x", 500, "203.0.113.1", 1));
    assert_eq!(vip(&mut fleet, "b", &gre("x", 500, "203.0.113.7", 9)), address("192.0.2.2"));
    let moved = fleet.place(&id("b"), &[], &gre("x", 1_600, "203.0.113.7", 9)).unwrap();
    assert_eq!((moved.placement.gateway, moved.placement.vip), (id("GW2"), Some(address("192.0.2.2"))));
    assert_eq!(fleet.status(&id("GW1")).unwrap().vips, [address("192.0.2.1")]);
}

#[test]
fn a_pool_s_subnets_may_not_leave_a_vip_in_use_outside() {
    let mut fleet = plain(10_000, 0, &["GW1"]);
    vip(&mut fleet, "a", &gre("x", 1, "203.0.113.1", 1));
    let spec = pool("default", PoolType::All, 10_000, 0);
    let refusal = fleet.set_pool(PoolSpec { vips: spec.vips[1..].to_vec(), ..spec.clone() }).unwrap_err();
    let users = vec!["/virtualGateways/a/networkConnections/x".to_owned()];
    let (pool, gateway, vip) = (id("default"), id("GW1"), address("192.0.2.1"));
    assert_eq!(refusal, FleetRefusal::VipInUse { pool, gateway, vip, users });
    fleet.set_pool(PoolSpec { vips: spec.vips[..1].to_vec(), ..spec }).unwrap();
}
