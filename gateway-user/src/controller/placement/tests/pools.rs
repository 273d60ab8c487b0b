//! M + N: which gateways are active, and what may be changed.

use super::*;
use crate::controller::model::tenant::ConnectionType;

#[test]
fn the_last_ones_of_the_order_are_standbys() {
    assert_eq!(active(&plain(10_000, 1, &["GW1", "GW2", "GW3"])), "GW1 GW2");
    assert_eq!(active(&plain(10_000, 0, &["GW1", "GW2", "GW3"])), "GW1 GW2 GW3");
    let racks = fleet(10_000, 2, &[("A1", "", "a"), ("A2", "", "a"), ("B1", "", "b"), ("B2", "", "b")]);
    assert_eq!(active(&racks), "A1 B1");
}

#[test]
fn a_gateway_with_connections_stays_active() {
    let mut fleet = plain(10_000, 1, &["GW1", "GW2", "GW3"]);
    let at = Placement { pool: id("default"), gateway: id("GW3"), vip: None, transfer: None };
    fleet.restore(&id("a"), &[], l3("x", 1, &[]), at).unwrap();
    assert_eq!(active(&fleet), "GW1 GW3");
    fleet.set_gateway(gateway_at("GW0", "default", "", "")).unwrap();
    assert_eq!(active(&fleet), "GW0 GW1 GW3");
    fleet.release(&id("a"), &id("x"));
    assert_eq!(active(&fleet), "GW0 GW1 GW2");
}

#[test]
fn adding_a_gateway_or_a_pool_moves_nothing() {
    let mut fleet = plain(10_000, 0, &["GW5", "GW6"]);
    for tenant in 0..8 {
        place(&mut fleet, &tenant.to_string(), &l3("x", 1_000, &[]));
    }
    let before: Vec<_> = (0..8).map(|tenant| fleet.placement(&id(&tenant.to_string()), &id("x")).cloned()).collect();
    fleet.set_pool(pool("another", PoolType::All, 10_000, 0)).unwrap();
    fleet.set_gateway(gateway_at("GW1", "default", "", "")).unwrap();
    fleet.set_gateway(gateway_at("GW7", "another", "", "")).unwrap();
    let after: Vec<_> = (0..8).map(|tenant| fleet.placement(&id(&tenant.to_string()), &id("x")).cloned()).collect();
    assert_eq!(before, after);
}

#[test]
fn a_pool_that_has_not_all_its_gateways_works_and_says_what_is_missing() {
    let mut fleet = plain(10_000, 2, &[]);
    let missing = |fleet: &Fleet| match fleet.warnings(&id("default")).first() {
        Some(Warning::Incomplete { missing, .. }) => *missing,
        _ => 0,
    };
    assert_eq!((active(&fleet).as_str(), missing(&fleet)), ("", 4));
    fleet.set_gateway(gateway_at("GW1", "default", "", "")).unwrap();
    assert_eq!((active(&fleet).as_str(), missing(&fleet)), ("GW1", 3));
    fleet.set_gateway(gateway_at("GW2", "default", "", "")).unwrap();
    assert_eq!((active(&fleet).as_str(), missing(&fleet)), ("GW1", 2));
    fleet.set_gateway(gateway_at("GW3", "default", "", "")).unwrap();
    assert_eq!((active(&fleet).as_str(), missing(&fleet)), ("GW1 GW2", 1));
    assert_eq!(
        fleet.warnings(&id("default"))[0].to_string(),
        "pool default has 3 gateways; for redundantGatewayCount 2 with as many active ones it needs 1 more"
    );
    fleet.set_gateway(gateway_at("GW4", "default", "", "")).unwrap();
    assert_eq!((active(&fleet).as_str(), missing(&fleet)), ("GW1 GW2", 0));
}

#[test]
fn a_pool_without_standbys_is_shown_as_unprotected() {
    let fleet = plain(10_000, 0, &["GW1"]);
    assert_eq!(fleet.warnings(&id("default")), [Warning::Unprotected { pool: id("default") }]);
}

#[test]
fn n_is_at_most_m_when_it_is_raised() {
    let mut fleet = plain(10_000, 0, &["GW1", "GW2", "GW3"]);
    let refusal = fleet.set_pool(pool("default", PoolType::All, 10_000, 2)).unwrap_err();
    assert_eq!(refusal, FleetRefusal::TooFew { pool: id("default"), active: 1, redundant: 2 });
    fleet.set_pool(pool("default", PoolType::All, 10_000, 1)).unwrap();
    assert_eq!(active(&fleet), "GW1 GW2");
}

#[test]
fn n_is_raised_only_as_far_as_the_connections_leave_gateways_free() {
    let mut fleet = plain(10_000, 0, &["GW1", "GW2"]);
    place(&mut fleet, "a", &l3("x", 5_000, &[]));
    place(&mut fleet, "b", &l3("x", 5_000, &[]));
    let refusal = fleet.set_pool(pool("default", PoolType::All, 10_000, 1)).unwrap_err();
    assert_eq!(refusal, FleetRefusal::HoldsTooMuch { pool: id("default"), carrying: 2, active: 1, redundant: 1 });
    fleet.release(&id("b"), &id("x"));
    fleet.set_pool(pool("default", PoolType::All, 10_000, 1)).unwrap();
    assert_eq!(active(&fleet), "GW1");
}

#[test]
fn a_gateway_is_removed_only_if_the_rest_holds_what_is_placed() {
    let mut fleet = plain(10_000, 1, &["GW1", "GW2", "GW3"]);
    place(&mut fleet, "a", &l3("x", 5_000, &[]));
    let refusal = fleet.remove_gateway(&id("GW1")).unwrap_err();
    assert_eq!(refusal, FleetRefusal::Carries { gateway: id("GW1"), connections: 1 });
    place(&mut fleet, "b", &l3("x", 5_000, &[]));
    let refusal = fleet.remove_gateway(&id("GW3")).unwrap_err();
    assert_eq!(refusal, FleetRefusal::HoldsTooMuch { pool: id("default"), carrying: 2, active: 1, redundant: 1 });
    fleet.release(&id("b"), &id("x"));
    fleet.remove_gateway(&id("GW3")).unwrap();
    let refusal = fleet.remove_gateway(&id("GW2")).unwrap_err();
    assert_eq!(refusal, FleetRefusal::TooFew { pool: id("default"), active: 0, redundant: 1 });
    fleet.set_pool(pool("default", PoolType::All, 10_000, 0)).unwrap();
    fleet.remove_gateway(&id("gw2")).unwrap();
    assert_eq!(fleet.remove_gateway(&id("GW2")), Err(FleetRefusal::UnknownGateway(id("GW2"))));
}

#[test]
fn a_pool_that_carries_nothing_can_be_taken_down() {
    let mut fleet = plain(10_000, 1, &["GW1", "GW2"]);
    let refusal = fleet.remove_pool(&id("default")).unwrap_err();
    assert_eq!(refusal.to_string(), "pool default has the gateways GW1, GW2; remove them first");
    fleet.remove_gateway(&id("GW2")).unwrap();
    fleet.remove_gateway(&id("GW1")).unwrap();
    fleet.remove_pool(&id("DEFAULT")).unwrap();
    assert!(fleet == Fleet::default());
}

#[test]
fn a_failed_gateway_uses_up_a_standby_and_keeps_what_it_has() {
    let mut fleet = plain(10_000, 1, &["GW1", "GW2", "GW3"]);
    place(&mut fleet, "a", &l3("x", 1, &[]));
    fleet.set_health(&id("GW1"), Health::Failed).unwrap();
    assert_eq!(active(&fleet), "GW1 GW2");
    fleet.set_health(&id("GW2"), Health::Failed).unwrap();
    assert_eq!(active(&fleet), "GW1 GW3");
    assert_eq!(fleet.warnings(&id("default")), [Warning::FewStandbys { pool: id("default"), redundant: 1, ready: 0 }]);
    fleet.set_health(&id("GW2"), Health::Healthy).unwrap();
    assert_eq!(active(&fleet), "GW1 GW2");
}

#[test]
fn a_pool_s_type_fits_what_it_carries_and_who_subscribes() {
    let mut fleet = plain(10_000, 0, &["GW1"]);
    place(&mut fleet, "a", &l3("x", 1, &[]));
    let refusal = fleet.set_pool(pool("default", PoolType::Gre, 10_000, 0)).unwrap_err();
    assert_eq!(refusal, FleetRefusal::TypeInUse { pool: id("default"), gateway: id("GW1"), kind: ConnectionType::L3 });
    fleet.set_pool(pool("default", PoolType::Forwarding, 10_000, 0)).unwrap();
    fleet.set_pool(pool("gre", PoolType::Gre, 10_000, 0)).unwrap();
    fleet.place(&id("b"), &[id("default"), id("gre")], &l3("x", 1, &[])).unwrap();
    let refusal = fleet.set_pool(pool("default", PoolType::All, 10_000, 0)).unwrap_err();
    assert_eq!(refusal, FleetRefusal::SharedSubscription { pool: id("default"), tenants: 1 });
}

#[test]
fn a_gateway_changes_its_pool_only_while_it_carries_nothing() {
    let mut fleet = plain(10_000, 0, &["GW1", "GW2"]);
    fleet.set_pool(pool("other", PoolType::All, 10_000, 0)).unwrap();
    place(&mut fleet, "a", &l3("x", 1, &[]));
    assert!(matches!(fleet.set_gateway(gateway_at("GW1", "other", "", "")), Err(FleetRefusal::Carries { .. })));
    fleet.set_gateway(gateway_at("GW2", "other", "", "")).unwrap();
    assert_eq!(fleet.members(&id("other")).count(), 1);
    assert_eq!(fleet.set_gateway(gateway_at("GW3", "nowhere", "", "")), Err(FleetRefusal::UnknownPool(id("nowhere"))));
}

#[test]
fn what_a_rack_or_a_host_takes_with_it_is_warned_of() {
    let uncovered = |fleet: &Fleet| {
        let warnings = fleet.warnings(&id("default")).into_iter();
        let uncovered = warnings.filter_map(|warning| match warning {
            Warning::Uncovered { domain, carrying, covered, .. } => Some(format!("{domain}: {covered} of {carrying}")),
            _ => None,
        });
        uncovered.collect::<Vec<_>>()
    };
    // Both racks hold a standby each, so either may fail.
    let spread = [("A1", "h1", "a"), ("A2", "h2", "a"), ("B1", "h3", "b"), ("B2", "h4", "b")];
    let mut fleet = super::fleet(10_000, 2, &spread);
    place(&mut fleet, "t1", &l3("x", 5_000, &[]));
    place(&mut fleet, "t2", &l3("x", 5_000, &[]));
    assert_eq!(uncovered(&fleet), Vec::<String>::new());
    // One rack, and two gateways on one host.
    let crowded = [("A1", "h1", "a"), ("A2", "h1", "a"), ("A3", "h1", "a"), ("A4", "h2", "a")];
    let mut fleet = super::fleet(10_000, 1, &crowded);
    for tenant in ["t1", "t2", "t3"] {
        place(&mut fleet, tenant, &l3("x", 5_000, &[]));
    }
    assert_eq!(those(&fleet, GatewayState::Redundant), "A3");
    assert_eq!(uncovered(&fleet), ["host h1: 0 of 2", "rack a: 0 of 3"]);
    // A VLAN that no standby reaches.
    let mut fleet = super::fleet(10_000, 1, &[("A1", "h1", "a"), ("B1", "h2", "b")]);
    place(&mut fleet, "t1", &l3("x", 1, &["a"]));
    assert_eq!(uncovered(&fleet), ["gateway A1: 0 of 1"]);
}

#[test]
fn standbys_are_matched_to_the_vlans_that_they_reach() {
    let racks = [("A1", "", "a"), ("A2", "", "a"), ("B1", "", "b"), ("C1", "", "c"), ("B2", "", "b"), ("C2", "", "c")];
    let mut fleet = super::fleet(10_000, 2, &racks);
    assert_eq!(those(&fleet, GatewayState::Redundant), "B2 C2");
    // Either standby for A1, C2 alone for A2: both are covered only if A1 leaves C2 alone.
    for (gateway, allowed) in [("A1", vec!["a", "b", "c"]), ("A2", vec!["a", "c"])] {
        let at = Placement { pool: id("default"), gateway: id(gateway), vip: None, transfer: None };
        fleet.restore(&id(gateway), &[], l3("x", 1, &allowed), at).unwrap();
    }
    assert_eq!(fleet.warnings(&id("default")), []);
    fleet.set_health(&id("B2"), Health::Failed).unwrap();
    let warnings: Vec<String> = fleet.warnings(&id("default")).iter().map(ToString::to_string).collect();
    assert!(
        warnings.iter().any(|it| it.contains("rack a: standbys elsewhere can take over 1 of the 2")),
        "{warnings:?}"
    );
}
