//! Which gateway is chosen, and what is said where none is.

use super::*;
use crate::controller::model::tenant::ConnectionType;

#[test]
fn the_tenant_s_own_gateway_comes_before_a_better_fit() {
    let mut fleet = plain(100_000, 0, &["GW1", "GW2"]);
    place(&mut fleet, "contoso", &gre("a", 1_000, "203.0.113.1", 1));
    fleet
        .set_gateway(GatewaySpec { scheduling: Schedulable::Cordoned, ..gateway_at("GW1", "default", "", "") })
        .unwrap();
    assert_eq!(place(&mut fleet, "woodgrove", &gre("a", 9_000, "203.0.113.2", 1)).0, "GW2");
    fleet.set_gateway(gateway_at("GW1", "default", "", "")).unwrap();
    assert_eq!(place(&mut fleet, "contoso", &gre("b", 1_000, "203.0.113.3", 1)), ("GW1".into(), Class::Own));
}

#[test]
fn the_tenant_s_own_gateway_is_filled_to_the_brim() {
    let mut fleet = plain(10_000, 0, &["GW1", "GW2"]);
    place(&mut fleet, "contoso", &l3("a", 4_000, &[]));
    assert_eq!(place(&mut fleet, "contoso", &l3("b", 1_000, &[])), ("GW1".into(), Class::Own));
    assert_eq!(place(&mut fleet, "contoso", &l3("c", 1, &[])), ("GW2".into(), Class::UnderWatermark));
}

#[test]
fn the_smallest_sufficient_remainder_wins() {
    let mut fleet = plain(100_000, 0, &["GW1", "GW2", "GW3"]);
    for (tenant, gateway, kbps) in [("a", "GW1", 10_000), ("b", "GW2", 30_000), ("c", "GW3", 20_000)] {
        let at = Placement { pool: id("default"), gateway: id(gateway), vip: None, transfer: None };
        fleet.restore(&id(tenant), &[], l3("x", kbps, &[]), at).unwrap();
    }
    assert_eq!(place(&mut fleet, "d", &l3("x", 10_000, &[])), ("GW2".into(), Class::UnderWatermark));
    // GW2 is at the watermark exactly: the next best fit is GW3, with 60,000 of 100,000 left.
    assert_eq!(place(&mut fleet, "e", &l3("x", 1, &[])), ("GW3".into(), Class::UnderWatermark));
}

#[test]
fn one_below_the_soft_watermark_comes_before_a_better_fit_above_it() {
    let mut fleet = plain(10_000, 0, &["GW1", "GW2"]);
    assert_eq!(place(&mut fleet, "a", &l3("x", 4_000, &[])), ("GW1".into(), Class::UnderWatermark));
    assert_eq!(place(&mut fleet, "b", &l3("x", 1, &[])), ("GW2".into(), Class::UnderWatermark));
    assert_eq!(place(&mut fleet, "c", &l3("x", 3_999, &[])), ("GW2".into(), Class::UnderWatermark));
    assert_eq!(place(&mut fleet, "d", &l3("x", 1_000, &[])), ("GW1".into(), Class::AboveWatermark));
}

#[test]
fn the_watermark_can_be_chosen() {
    let mut fleet = Fleet::new(Settings { soft_watermark_percent: 50 });
    fleet.set_pool(pool("default", PoolType::All, 10_000, 0)).unwrap();
    fleet.load_gateways(["GW1", "GW2"].map(|name| gateway_at(name, "default", "", ""))).unwrap();
    place(&mut fleet, "a", &l3("x", 2_500, &[]));
    assert_eq!(place(&mut fleet, "b", &l3("x", 1, &[])).0, "GW2");
}

#[test]
fn equal_gateways_are_taken_by_name_and_from_rack_to_rack() {
    let mut fleet = plain(10_000, 0, &["gw2", "GW3", "GW1"]);
    let full: Vec<String> =
        (0..3).map(|tenant| place(&mut fleet, &tenant.to_string(), &l3("x", 5_000, &[])).0).collect();
    assert_eq!(full, ["GW1", "gw2", "GW3"]);
    let mut fleet = super::fleet(10_000, 0, &[("A1", "", "a"), ("A2", "", "a"), ("B1", "", "b")]);
    let full: Vec<String> =
        (0..3).map(|tenant| place(&mut fleet, &tenant.to_string(), &l3("x", 5_000, &[])).0).collect();
    assert_eq!(full, ["A1", "B1", "A2"]);
}

#[test]
fn a_connection_that_is_placed_already_stays() {
    let mut fleet = plain(10_000, 0, &["GW1", "GW2"]);
    place(&mut fleet, "a", &l3("x", 100, &[]));
    fleet
        .set_gateway(GatewaySpec { scheduling: Schedulable::Cordoned, ..gateway_at("GW1", "default", "", "") })
        .unwrap();
    assert_eq!(place(&mut fleet, "a", &l3("x", 5_000, &[])), ("GW1".into(), Class::Stay));
    let decision = fleet.place(&id("A"), &[], &l3("X", 200, &[])).unwrap();
    assert_eq!((decision.class, decision.before.unwrap().gateway), (Class::Stay, id("gw1")));
    assert_eq!(fleet.status(&id("GW1")).unwrap().available_capacity, 9_600);
}

#[test]
fn one_that_outgrows_its_gateway_is_moved() {
    let mut fleet = plain(10_000, 0, &["GW1", "GW2"]);
    place(&mut fleet, "a", &l3("x", 3_000, &[]));
    place(&mut fleet, "b", &l3("x", 1_000, &[]));
    let decision = fleet.place(&id("b"), &[], &l3("x", 2_500, &[])).unwrap();
    assert_eq!((decision.placement.gateway, decision.before.unwrap().gateway), (id("GW2"), id("GW1")));
    assert_eq!(fleet.status(&id("GW1")).unwrap().available_capacity, 4_000);
}

#[test]
fn best_fit_is_over_all_pools_that_the_tenant_subscribes_to_and_that_carry_the_type() {
    let mut fleet = Fleet::new(Settings::default());
    for (name, kind, capacity) in
        [("big", PoolType::Gre, 100_000), ("small", PoolType::Gre, 50_000), ("l3", PoolType::Forwarding, 20_000)]
    {
        fleet.set_pool(pool(name, kind, capacity, 0)).unwrap();
        fleet.set_gateway(gateway_at(&format!("{name}-1"), name, "", "")).unwrap();
    }
    let pools = ["big", "small", "l3"].map(id);
    let gateway_of = |fleet: &mut Fleet, tenant: &str, pools: &[Id], wanted: &Wanted| {
        fleet.place(&id(tenant), pools, wanted).unwrap().placement.gateway.to_string()
    };
    assert_eq!(gateway_of(&mut fleet, "a", &pools, &gre("x", 1_000, "203.0.113.1", 1)), "small-1");
    assert_eq!(gateway_of(&mut fleet, "b", &pools[..1], &gre("x", 1_000, "203.0.113.1", 1)), "big-1");
    assert_eq!(gateway_of(&mut fleet, "a", &pools, &l3("y", 1_000, &[])), "l3-1");
    assert_eq!(gateway_of(&mut fleet, "c", &pools, &gre("x", 12_000, "203.0.113.1", 1)), "big-1");
    let refusal = fleet.place(&id("d"), &pools, &ipsec("x", 1)).unwrap_err();
    assert_eq!(refusal, Refusal::WrongType { kind: ConnectionType::IpSec, pools: pools.to_vec() });
}

#[test]
fn a_tenant_without_pools_has_the_default_one() {
    for name in ["Default", "defaultall"] {
        let mut fleet = Fleet::new(Settings::default());
        assert_eq!(fleet.place(&id("a"), &[], &l3("x", 1, &[])), Err(Refusal::NoDefaultPool));
        fleet.set_pool(pool("another", PoolType::All, 10_000, 0)).unwrap();
        fleet.set_pool(pool(name, PoolType::All, 10_000, 0)).unwrap();
        fleet.load_gateways([gateway_at("A", "another", "", ""), gateway_at("D", name, "", "")]).unwrap();
        assert_eq!(place(&mut fleet, "a", &l3("x", 1, &[])).0, "D");
    }
}

#[test]
fn a_tenant_on_an_all_pool_subscribes_to_no_other() {
    let mut fleet = plain(10_000, 0, &["GW1"]);
    fleet.set_pool(pool("gre", PoolType::Gre, 10_000, 0)).unwrap();
    let both = [id("gre"), id("default")];
    let refusal = fleet.place(&id("a"), &both, &l3("x", 1, &[])).unwrap_err();
    assert_eq!(refusal, Refusal::AllPoolNotAlone { pool: id("default") });
    // The same pool named twice is one pool.
    assert!(fleet.place(&id("a"), &[id("default"), id("DEFAULT")], &l3("x", 1, &[])).is_ok());
}

#[test]
fn an_l3_connection_goes_to_a_rack_that_has_its_vlan() {
    let mut fleet = super::fleet(10_000, 0, &[("A1", "", "a"), ("B1", "", "b"), ("C1", "", "c"), ("N1", "", "")]);
    assert_eq!(place(&mut fleet, "x", &l3("x", 1, &["B", "c"])).0, "B1");
    assert_eq!(place(&mut fleet, "y", &l3("x", 5_000, &["c"])).0, "C1");
    let refusal = fleet.place(&id("z"), &[], &l3("x", 1, &["c"])).unwrap_err();
    let Refusal::NoRoom { shortages, .. } = &refusal else { panic!("{refusal}") };
    assert_eq!(shortages[0].cause, ShortageCause::Full { gateway: id("C1"), free_kbps: 0 });
    let refusal = fleet.place(&id("z"), &[], &l3("x", 1, &["d", "e"])).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "no gateway has room for 1 kbit/s (in + out) of L3: pool default lacks 1 kbit/s (no active gateway of it is in a rack with the \
         VLAN: d, e); ask for less, or add gateways to a pool"
    );
}

#[test]
fn a_refusal_says_which_pool_lacks_how_much() {
    let mut fleet = Fleet::new(Settings::default());
    for (name, capacity) in [("p1", 10_000), ("p2", 5_000), ("p3", 10_000)] {
        fleet.set_pool(pool(name, PoolType::Gre, capacity, 0)).unwrap();
    }
    fleet.load_gateways([gateway_at("G1", "p1", "", ""), gateway_at("G2", "p2", "", "")]).unwrap();
    let pools = ["p1", "p2", "p3"].map(id);
    fleet.place(&id("a"), &pools[..1], &gre("x", 900, "203.0.113.1", 1)).unwrap();
    let before = fleet.clone();
    let refusal = fleet.place(&id("b"), &pools, &gre("x", 1_500, "203.0.113.1", 1)).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "no gateway has room for 1500 kbit/s (in + out) of GRE: pool p1 lacks 400 kbit/s (its freest gateway, G1, has 1100), pool p2 lacks \
         500 kbit/s (an empty gateway of it carries 1000), pool p3 lacks 1500 kbit/s (no gateway of it is active, healthy and not cordoned); \
         ask for less, or add gateways to a pool"
    );
    assert!(fleet == before, "a refusal changes nothing");
}

#[test]
fn neither_standbys_nor_failed_nor_cordoned_gateways_are_given_anything() {
    let mut fleet = plain(10_000, 1, &["GW1", "GW2", "GW3", "GW4"]);
    fleet.set_health(&id("GW1"), Health::Failed).unwrap();
    fleet
        .set_gateway(GatewaySpec { scheduling: Schedulable::Cordoned, ..gateway_at("GW2", "default", "", "") })
        .unwrap();
    assert_eq!(place(&mut fleet, "a", &l3("x", 5_000, &[])).0, "GW3");
    assert_eq!(place(&mut fleet, "b", &l3("x", 5_000, &[])).0, "GW4");
    let explanation = fleet.explain(&id("c"), &[], &l3("x", 1, &[])).unwrap();
    let why: Vec<_> =
        explanation.candidates.iter().map(|candidate| (candidate.gateway.as_str(), &candidate.verdict)).collect();
    let full = Verdict::No(Reason::Full { lacks_kbps: 1 });
    assert_eq!(
        why,
        [
            ("GW1", &Verdict::No(Reason::Failed)),
            ("GW2", &Verdict::No(Reason::Cordoned)),
            ("GW3", &full),
            ("GW4", &full)
        ]
    );
}

#[test]
fn an_explanation_lists_the_candidates_from_the_best_on() {
    let mut fleet = plain(10_000, 1, &["GW1", "GW2", "GW3"]);
    place(&mut fleet, "a", &gre("x", 1_000, "203.0.113.1", 1));
    place(&mut fleet, "b", &gre("x", 1_500, "203.0.113.2", 1));
    let explanation = fleet.explain(&id("c"), &[], &gre("x", 500, "203.0.113.1", 1)).unwrap();
    let vip = |text: &str| Some(text.parse().unwrap());
    let fits = |class, remainder_kbps, used_percent, vip| Verdict::Fits { class, remainder_kbps, used_percent, vip };
    let found: Vec<_> = explanation
        .candidates
        .into_iter()
        .map(|candidate| (candidate.gateway.to_string(), candidate.free_kbps, candidate.verdict))
        .collect();
    assert_eq!(
        found,
        [
            ("GW1".to_owned(), 1_000, fits(Class::UnderWatermark, 2_500, 75, vip("192.0.2.3"))),
            ("GW2".to_owned(), 500, fits(Class::AboveWatermark, 0, 100, vip("192.0.2.2"))),
            ("GW3".to_owned(), 2_000, Verdict::No(Reason::Standby)),
        ]
    );
    let explained = fleet.explain_placed(&id("A"), &id("X")).unwrap().unwrap();
    assert_eq!(explained.candidates[0].verdict, fits(Class::Stay, 5_000, 50, vip("192.0.2.1")));
    assert!(fleet.explain_placed(&id("nobody"), &id("x")).is_none());
}

#[test]
fn a_tenant_is_settled_as_a_whole_or_not_at_all() {
    let mut fleet = plain(10_000, 0, &["GW1"]);
    fleet.settle(&id("a"), &[], &[l3("keep", 1_000, &[]), l3("drop", 1_000, &[]), l3("grow", 1_000, &[])]).unwrap();
    let before = fleet.clone();
    let refused = fleet.settle(&id("a"), &[], &[l3("grow", 5_000, &[]), l3("keep", 1_000, &[])]).unwrap_err();
    assert_eq!(refused.connection, id("grow"));
    assert!(fleet == before);
    // What shrinks makes room for what grows, in whatever order they are given.
    let decisions = fleet.settle(&id("a"), &[], &[l3("grow", 4_500, &[]), l3("keep", 500, &[])]).unwrap();
    let found: Vec<_> = decisions.iter().map(|it| (it.connection.as_str(), it.before.is_some())).collect();
    assert_eq!(found, [("grow", true), ("keep", true)]);
    assert_eq!(fleet.placement(&id("a"), &id("drop")), None);
    assert_eq!(fleet.status(&id("GW1")).unwrap().available_capacity, 0);
    fleet.settle(&id("a"), &[], &[]).unwrap();
    assert!(fleet == plain(10_000, 0, &["GW1"]));
}
