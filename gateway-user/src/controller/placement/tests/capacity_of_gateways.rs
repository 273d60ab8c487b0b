//! What a gateway shows of its capacity.

use super::*;

#[test]
fn a_gateway_shows_what_the_specification_s_sample_shows() {
    let mut fleet = plain(104_857_600, 0, &["CloudGw1"]);
    for tenant in 1..=20 {
        place(&mut fleet, &format!("VirtualGateway_{tenant}"), &ipsec("IPSEC_1", 614_400));
    }
    place(&mut fleet, "VirtualGateway_1", &gre("GRE_1", 614_400, "11.1.0.2", 1234));
    place(&mut fleet, "VirtualGateway_1", &l3("L3_1", 614_400, &[]));
    let status = fleet.status(&id("cloudgw1")).unwrap();
    assert_eq!((status.total_capacity, status.available_capacity), (104_857_600, 18_636_800));
    assert_eq!((status.connections, status.tenants, status.over_capacity), (22, 20, 0));
}

#[test]
fn ipsec_is_counted_as_on_classic_gateways_until_the_last_of_them_has_gone() {
    let mut fleet = Fleet::new(Settings::default());
    let spec = PoolSpec { rule: CapacityRule::Maxima, ..pool("default", PoolType::All, 20_000_000, 0) };
    fleet.set_pool(spec).unwrap();
    let classic = GatewaySpec { ipsec: IpsecPath::Classic, ..gateway_at("GW2", "default", "", "") };
    fleet.load_gateways([gateway_at("GW1", "default", "", ""), classic]).unwrap();
    place(&mut fleet, "contoso", &ipsec("c", 3_000_000));
    assert_eq!(fleet.status(&id("GW1")).unwrap().available_capacity, 0);
    fleet.remove_gateway(&id("GW2")).unwrap();
    assert_eq!(fleet.status(&id("GW1")).unwrap().available_capacity, 8_000_000);
}

#[test]
fn a_gateway_with_too_much_keeps_it_and_carries_a_warning() {
    let mut fleet = plain(10_000, 0, &["GW1"]);
    place(&mut fleet, "contoso", &gre("a", 1_000, "203.0.113.1", 1));
    place(&mut fleet, "contoso", &gre("b", 1_000, "203.0.113.1", 2));
    fleet.set_pool(pool("default", PoolType::All, 9_000, 0)).unwrap();
    let status = fleet.status(&id("GW1")).unwrap();
    assert_eq!((status.available_capacity, status.over_capacity, status.connections), (0, 1_000, 2));
    let warnings = fleet.warnings(&id("default"));
    assert!(warnings.contains(&Warning::OverCapacity { gateway: id("GW1"), kbps: 1_000 }), "{warnings:?}");
    // What asks for no more stays; what asks for more does not fit.
    assert_eq!(place(&mut fleet, "contoso", &gre("a", 900, "203.0.113.1", 1)), ("GW1".into(), Class::Stay));
    assert!(matches!(fleet.place(&id("contoso"), &[], &gre("a", 901, "203.0.113.1", 1)), Err(Refusal::NoRoom { .. })));
}

#[test]
fn l3_bandwidth_is_counted() {
    let mut fleet = plain(10_000, 0, &["GW1"]);
    place(&mut fleet, "contoso", &l3("c", 3_000, &[]));
    assert_eq!(fleet.status(&id("GW1")).unwrap().available_capacity, 4_000);
    assert!(fleet.place(&id("contoso"), &[], &l3("d", 2_001, &[])).is_err());
    assert!(fleet.place(&id("contoso"), &[], &l3("d", 2_000, &[])).is_ok());
}
