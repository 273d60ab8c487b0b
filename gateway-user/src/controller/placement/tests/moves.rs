//! Drain, takeover, moves.

use super::*;
use crate::controller::model::records::Stage;

#[test]
fn a_standby_elsewhere_takes_over() {
    let places = [("A1", "h1", "a"), ("A2", "h2", "a"), ("B1", "h3", "b"), ("B2", "h4", "b")];
    let mut fleet = fleet(10_000, 2, &places);
    assert_eq!(those(&fleet, GatewayState::Redundant), "A2 B2");
    place(&mut fleet, "t", &l3("x", 1, &[]));
    assert_eq!(fleet.successor(&id("A1")), Some(id("B2")));
    fleet.set_health(&id("B2"), Health::Failed).unwrap();
    assert_eq!(fleet.successor(&id("A1")), Some(id("A2")));
}

#[test]
fn a_takeover_brings_everything_with_its_vips() {
    let mut fleet = plain(10_000, 1, &["GW1", "GW2", "GW3"]);
    place(&mut fleet, "a", &gre("x", 500, "203.0.113.1", 1));
    place(&mut fleet, "a", &l3("y", 500, &[]));
    place(&mut fleet, "b", &gre("x", 500, "203.0.113.1", 1));
    let vips = fleet.status(&id("GW1")).unwrap().vips;
    fleet.set_health(&id("GW1"), Health::Failed).unwrap();
    let moved = fleet.take_over(&id("GW1"), &id("GW3")).unwrap();
    assert_eq!(moved.len(), 3);
    assert_eq!(fleet.status(&id("GW3")).unwrap().vips, vips);
    assert_eq!((active(&fleet).as_str(), fleet.status(&id("GW1")).unwrap().connections), ("GW2 GW3", 0));
    // The repaired gateway becomes the standby, and a third VIP is drawn beside those that moved.
    fleet.set_health(&id("GW1"), Health::Healthy).unwrap();
    assert_eq!(those(&fleet, GatewayState::Redundant), "GW2");
    let decision = fleet.place(&id("c"), &[], &gre("x", 1, "203.0.113.1", 1)).unwrap();
    assert_eq!(decision.placement.vip, Some("192.0.2.3".parse().unwrap()));
}

#[test]
fn what_a_vlan_does_not_let_move_stays() {
    let mut fleet = fleet(10_000, 1, &[("A1", "", "a"), ("B1", "", "b")]);
    place(&mut fleet, "t", &l3("here", 1, &["a"]));
    place(&mut fleet, "t", &l3("anywhere", 1, &[]));
    let moved = fleet.take_over(&id("A1"), &id("B1")).unwrap();
    assert_eq!(moved.iter().map(|it| it.connection.as_str()).collect::<Vec<_>>(), ["anywhere"]);
    assert_eq!(fleet.placement(&id("t"), &id("here")).unwrap().gateway, id("A1"));
}

#[test]
fn a_drain_says_where_everything_would_go() {
    let mut fleet = plain(10_000, 0, &["GW1", "GW2", "GW3"]);
    for (tenant, gateway, kbps) in [("a", "GW1", 2_000), ("b", "GW1", 1_000), ("c", "GW2", 3_000), ("d", "GW3", 500)] {
        let at = Placement { pool: id("default"), gateway: id(gateway), vip: None, transfer: None };
        fleet.restore(&id(tenant), &[], l3("x", kbps, &[]), at).unwrap();
    }
    let drain = fleet.drain(&id("GW1")).unwrap();
    let to = |drain: &Drain| -> Vec<(String, u64, Option<Id>)> {
        drain.pieces.iter().map(|piece| (piece.connections[0].0.to_string(), piece.kbps, piece.to.clone())).collect()
    };
    assert_eq!(drain.successor, None);
    assert_eq!(to(&drain), [("a".into(), 4_000, Some(id("GW3"))), ("b".into(), 2_000, Some(id("GW2")))]);
    let mut moved = fleet.clone();
    moved.evacuate(&id("GW1")).unwrap();
    assert_eq!(moved.placement(&id("a"), &id("x")).unwrap().gateway, id("GW3"));
    moved.remove_gateway(&id("GW1")).unwrap();
    // Without GW3 there is no place for all of it: nothing moves.
    fleet.set_health(&id("GW3"), Health::Failed).unwrap();
    let before = fleet.clone();
    let drain = fleet.evacuate(&id("GW1")).unwrap_err();
    assert_eq!(to(&drain), [("a".into(), 4_000, Some(id("GW2"))), ("b".into(), 2_000, None)]);
    assert!(fleet == before);
}

#[test]
fn a_drain_goes_to_the_standby_if_there_is_one() {
    let mut fleet = plain(10_000, 1, &["GW1", "GW2", "GW3"]);
    place(&mut fleet, "a", &gre("x", 500, "203.0.113.1", 1));
    assert_eq!(fleet.drain(&id("GW1")).unwrap().successor, Some(id("GW3")));
    let moved = fleet.evacuate(&id("GW1")).unwrap();
    assert_eq!((moved[0].from.clone(), moved[0].placement.gateway.clone()), (id("GW1"), id("GW3")));
}

#[test]
fn a_vip_moves_with_all_its_connections() {
    let mut fleet = plain(10_000, 0, &["GW1", "GW2"]);
    place(&mut fleet, "a", &gre("x", 500, "203.0.113.1", 1));
    place(&mut fleet, "b", &gre("x", 500, "203.0.113.2", 1));
    place(&mut fleet, "b", &l3("y", 500, &[]));
    let moved = fleet.move_connection(&id("a"), &id("x"), &id("GW2")).unwrap();
    assert_eq!(moved.iter().map(|it| it.tenant.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(fleet.placement(&id("b"), &id("y")).unwrap().gateway, id("GW1"));
    assert_eq!(fleet.status(&id("GW2")).unwrap().vips, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]);
    // Nobody else is given the VIP that moved.
    let decision = fleet.place(&id("c"), &[], &gre("x", 1_800, "203.0.113.1", 1)).unwrap();
    assert_eq!((decision.placement.gateway, decision.placement.vip), (id("GW1"), Some("192.0.2.2".parse().unwrap())));
}

#[test]
fn a_move_is_refused_with_the_reason() {
    let mut fleet = fleet(10_000, 0, &[("A1", "", "a"), ("B1", "", "b"), ("B2", "", "b")]);
    fleet.set_pool(pool("other", PoolType::All, 10_000, 0)).unwrap();
    fleet.set_gateway(gateway_at("O1", "other", "", "")).unwrap();
    for (tenant, gateway, kbps, racks) in [("t", "A1", 3_000, vec!["a"]), ("u", "B1", 4_000, vec![])] {
        let at = Placement { pool: id("default"), gateway: id(gateway), vip: None, transfer: None };
        fleet.restore(&id(tenant), &[], l3("x", kbps, &racks), at).unwrap();
    }
    let to = |fleet: &mut Fleet, to: &str| fleet.move_connection(&id("t"), &id("x"), &id(to)).unwrap_err();
    assert_eq!(to(&mut fleet, "B1"), MoveRefusal::NoRoom { to: id("B1"), kbps: 6_000, free_kbps: 2_000 });
    assert_eq!(to(&mut fleet, "B2"), MoveRefusal::NoRack { to: id("B2"), tenant: id("t"), connection: id("x") });
    assert_eq!(to(&mut fleet, "O1"), MoveRefusal::OtherPool { from: id("A1"), to: id("O1") });
    assert_eq!(to(&mut fleet, "Z9"), MoveRefusal::UnknownGateway(id("Z9")));
    fleet.set_health(&id("B2"), Health::Failed).unwrap();
    assert_eq!(to(&mut fleet, "B2"), MoveRefusal::NotUsable(id("B2")));
    assert!(matches!(fleet.take_over(&id("A1"), &id("B1")), Err(MoveRefusal::NoRoom { .. })));
    let nobody = fleet.move_connection(&id("t"), &id("y"), &id("B1"));
    assert!(matches!(nobody, Err(MoveRefusal::UnknownConnection { .. })));
}

#[test]
fn a_move_without_a_gap_is_counted_where_it_goes_when_it_has_arrived() {
    let mut fleet = plain(10_000, 0, &["GW1", "GW2"]);
    for (tenant, key) in [("a", 1), ("b", 2)] {
        place(&mut fleet, tenant, &gre("x", 500, "203.0.113.1", key));
    }
    let place_of = |fleet: &Fleet, tenant: &str| {
        let placement = fleet.placement(&id(tenant), &id("x")).unwrap().clone();
        (placement.gateway.to_string(), placement.transfer.map(|transfer| transfer.stage))
    };
    let moved = fleet.begin_transfer(&id("a"), &id("x"), &id("GW2")).unwrap();
    assert_eq!(moved.len(), 2, "both are at one VIP");
    assert_eq!(place_of(&fleet, "b"), ("GW1".to_owned(), Some(Stage::Known)));
    let at = Placement { pool: id("default"), gateway: id("GW2"), vip: None, transfer: None };
    fleet.restore(&id("c"), &[], l3("x", 400, &[]), at).unwrap();
    for (tenant, to) in [("b", "GW2"), ("c", "GW1")] {
        let another = fleet.begin_transfer(&id(tenant), &id("x"), &id(to));
        assert!(matches!(another, Err(MoveRefusal::Moving { .. })), "{another:?}");
    }
    assert_eq!(fleet.begin_transfer(&id("c"), &id("x"), &id("GW2")), Ok(Vec::new()), "it is there");
    fleet.advance_transfer();
    assert_eq!(place_of(&fleet, "a"), ("GW1".to_owned(), Some(Stage::Arriving)));
    fleet.advance_transfer();
    assert_eq!(place_of(&fleet, "b"), ("GW2".to_owned(), Some(Stage::Leaving)));
    assert_eq!(fleet.status(&id("GW1")).unwrap().connections, 0);
    fleet.advance_transfer();
    assert_eq!(place_of(&fleet, "a"), ("GW2".to_owned(), Some(Stage::Announced)));
    fleet.advance_transfer();
    assert_eq!(place_of(&fleet, "a"), ("GW2".to_owned(), None));
    assert_eq!((fleet.transfer(), fleet.status(&id("GW2")).unwrap().connections), (None, 3));
}

#[test]
fn what_has_no_room_any_more_where_it_goes_stays() {
    let mut fleet = plain(1_000, 0, &["GW1", "GW2"]);
    place(&mut fleet, "a", &l3("x", 300, &[]));
    fleet.begin_transfer(&id("a"), &id("x"), &id("GW2")).unwrap();
    fleet.advance_transfer();
    let at = Placement { pool: id("default"), gateway: id("GW2"), vip: None, transfer: None };
    fleet.restore(&id("b"), &[], l3("x", 400, &[]), at).unwrap();
    fleet.advance_transfer();
    let placement = fleet.placement(&id("a"), &id("x")).unwrap();
    assert_eq!((placement.gateway.as_str(), &placement.transfer), ("GW1", &None));
}

#[test]
fn the_load_is_evened_out_until_that_is_not_worth_it() {
    let mut fleet = plain(10_000, 0, &["GW1", "GW2", "GW3"]);
    for (tenant, gateway, kbps) in [("a", "GW1", 2_000), ("b", "GW1", 1_500), ("c", "GW1", 400), ("d", "GW2", 300)] {
        let at = Placement { pool: id("default"), gateway: id(gateway), vip: None, transfer: None };
        fleet.restore(&id(tenant), &[], l3("x", kbps, &[]), at).unwrap();
    }
    let mut moves = Vec::new();
    while let Some(next) = fleet.evening(&id("default")) {
        let (tenant, connection) = next.connections[0].clone();
        moves.push(format!("{tenant} from {} to {}", next.from, next.to));
        fleet.move_connection(&tenant, &connection, &next.to).unwrap();
        assert!(moves.len() < 10, "{moves:?}");
    }
    assert_eq!(moves, ["a from GW1 to GW3", "c from GW1 to GW2"]);
}
