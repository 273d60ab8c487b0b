//! Random histories: what has to hold whatever happens, and a model that knows no index.

use super::*;
use crate::controller::model::tenant::ConnectionType;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Step {
    Place(u8, Wanted),
    Release(u8, u8),
    Health(u8, Health),
    Cordon(u8, Schedulable),
    Add(u8),
    Remove(u8),
    TakeOver(u8),
    Evacuate(u8),
    Standbys(u32),
    Capacity(u64),
}

fn link() -> impl Strategy<Value = Link> {
    prop_oneof![
        Just(Link::IpSec),
        (0u8..3, 0u32..2).prop_map(|(site, key)| Link::Gre { remote: [203, 0, 113, site].into(), key: Some(key) }),
        proptest::sample::subsequence(vec!["r0", "r1", "r2"], 0..3)
            .prop_map(|racks| Link::L3 { racks: Racks::new(racks.into_iter().map(id)) }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let place = (0u8..5, 0u8..4, 0u64..4_000, link())
        .prop_map(|(tenant, connection, kbps, link)| Step::Place(tenant, wanted(&connection.to_string(), kbps, link)));
    let health = prop_oneof![Just(Health::Healthy), Just(Health::Failed)];
    let cordon = prop_oneof![Just(Schedulable::Enabled), Just(Schedulable::Cordoned)];
    prop_oneof![
        12 => place,
        3 => (0u8..5, 0u8..4).prop_map(|(tenant, connection)| Step::Release(tenant, connection)),
        2 => (0u8..6, health).prop_map(|(gateway, health)| Step::Health(gateway, health)),
        1 => (0u8..6, cordon).prop_map(|(gateway, scheduling)| Step::Cordon(gateway, scheduling)),
        1 => (0u8..6).prop_map(Step::Add),
        1 => (0u8..6).prop_map(Step::Remove),
        1 => (0u8..6).prop_map(Step::TakeOver),
        1 => (0u8..6).prop_map(Step::Evacuate),
        1 => (0u32..3).prop_map(Step::Standbys),
        1 => (5_000u64..15_000).prop_map(Step::Capacity),
    ]
}

fn name(gateway: u8) -> Id {
    id(&format!("GW{gateway}"))
}

fn spec(gateway: u8) -> GatewaySpec {
    gateway_at(name(gateway).as_str(), "default", &format!("h{}", gateway / 2), &format!("r{}", gateway % 3))
}

fn of_pool(fleet: &Fleet) -> PoolSpec {
    fleet.pools[&id("default")].spec.clone()
}

fn take(fleet: &mut Fleet, step: &Step) {
    match step {
        Step::Place(tenant, wanted) => {
            let (tenant, before) = (id(&tenant.to_string()), fleet.clone());
            let best = best(fleet, &tenant, wanted);
            match fleet.place(&tenant, &[], wanted) {
                Ok(decision) => {
                    assert_eq!(best, Some((decision.placement.gateway, decision.class, decision.placement.vip)))
                }
                Err(_) => {
                    assert_eq!(best, None);
                    assert!(*fleet == before, "a refusal changes nothing");
                }
            }
        }
        Step::Release(tenant, connection) => {
            fleet.release(&id(&tenant.to_string()), &id(&connection.to_string()));
        }
        Step::Health(gateway, health) => drop(fleet.set_health(&name(*gateway), *health)),
        Step::Cordon(gateway, scheduling) if fleet.gateways.contains_key(&name(*gateway)) => {
            fleet.set_gateway(GatewaySpec { scheduling: *scheduling, ..spec(*gateway) }).unwrap();
        }
        Step::Cordon(..) => {}
        Step::Add(gateway) => drop(fleet.set_gateway(spec(*gateway))),
        Step::Remove(gateway) => drop(fleet.remove_gateway(&name(*gateway))),
        Step::TakeOver(gateway) => {
            if let Some(successor) = fleet.successor(&name(*gateway)) {
                fleet.take_over(&name(*gateway), &successor).unwrap();
            }
        }
        Step::Evacuate(gateway) => drop(fleet.evacuate(&name(*gateway))),
        Step::Standbys(redundant) => drop(fleet.set_pool(PoolSpec { redundant: *redundant, ..of_pool(fleet) })),
        Step::Capacity(capacity_kbps) => {
            fleet.set_pool(PoolSpec { capacity_kbps: *capacity_kbps, ..of_pool(fleet) }).unwrap();
        }
    }
}

/// The first candidate of an explanation, which looks at every gateway: what the indexes have to find.
fn best(fleet: &Fleet, tenant: &Id, wanted: &Wanted) -> Option<(Id, Class, Option<std::net::IpAddr>)> {
    let first = fleet.explain(tenant, &[], wanted).unwrap().candidates.into_iter().next()?;
    match first.verdict {
        Verdict::Fits { class, vip, .. } => Some((first.gateway, class, vip)),
        Verdict::No(_) => None,
    }
}

/// What the store and the health reports would make of it.
fn filled_again(fleet: &Fleet) -> Fleet {
    let mut again = Fleet::new(fleet.settings);
    again.set_pool(of_pool(fleet)).unwrap();
    again.load_gateways(fleet.gateways.values().map(|gateway| gateway.spec.clone())).unwrap();
    for gateway in fleet.gateways.values() {
        again.set_health(&gateway.spec.id, gateway.health).unwrap();
    }
    for (tenant, of_tenant) in &fleet.tenants {
        for placed in of_tenant.connections.values() {
            again.restore(tenant, &of_tenant.pools, placed.wanted.clone(), placed.at.clone()).unwrap();
        }
    }
    again
}

/// What a start would make of it, with everybody well.
fn loaded_again(fleet: &Fleet) -> Fleet {
    let mut again = Fleet::new(fleet.settings);
    again.set_pool(of_pool(fleet)).unwrap();
    again.load_gateways(fleet.gateways.values().map(|gateway| gateway.spec.clone())).unwrap();
    let tenants = fleet.tenants.iter().map(|(tenant, of_tenant)| {
        let connections = of_tenant.connections.values().map(|placed| (placed.wanted.clone(), placed.at.clone()));
        (tenant.clone(), of_tenant.pools.clone(), connections.collect())
    });
    assert_eq!(again.load_connections(tenants), []);
    for gateway in fleet.gateways.values() {
        again.set_health(&gateway.spec.id, gateway.health).unwrap();
    }
    again
}

/// Who is active by the rule's own words, without a line between two sets.
fn active_by_the_rule(fleet: &Fleet) -> BTreeSet<Id> {
    let members: Vec<&Id> = fleet.members(&id("default")).collect();
    let standbys = (of_pool(fleet).redundant as usize).min(members.len() / 2);
    let mut active: BTreeSet<Id> =
        members.iter().filter(|id| fleet.gateways[**id].connections() > 0).map(|id| (*id).clone()).collect();
    for id in members.iter().filter(|id| fleet.gateways[**id].is_usable()) {
        if active.len() < members.len() - standbys {
            active.insert((*id).clone());
        }
    }
    active
}

fn hold(fleet: &Fleet) {
    let mut tunnels = BTreeSet::new();
    let mut holders: BTreeMap<std::net::IpAddr, Id> = BTreeMap::new();
    let mut used: BTreeMap<Id, u128> = BTreeMap::new();
    for of_tenant in fleet.tenants.values() {
        for placed in of_tenant.connections.values() {
            if let (Link::Gre { remote, key }, Some(vip)) = (&placed.wanted.link, placed.at.vip) {
                assert!(tunnels.insert((vip, *remote, *key)), "two tunnels are alike");
                assert_eq!(
                    holders.entry(vip).or_insert_with(|| placed.at.gateway.clone()),
                    &placed.at.gateway,
                    "a VIP is at two gateways"
                );
            }
            // By the 2016 ratios, in thirds of a kbit/s.
            let thirds = match placed.wanted.link.kind() {
                ConnectionType::IpSec => 20,
                ConnectionType::Gre => 15,
                ConnectionType::L3 => 6,
            };
            *used.entry(placed.at.gateway.clone()).or_default() += u128::from(placed.wanted.bandwidth.total()) * thirds;
        }
    }
    let active = active_by_the_rule(fleet);
    for gateway in fleet.members(&id("default")) {
        let status = fleet.status(gateway).unwrap();
        let capacity = u128::from(of_pool(fleet).capacity_kbps) * 3;
        let used = used.get(gateway).copied().unwrap_or_default();
        assert_eq!(u128::from(status.available_capacity), capacity.saturating_sub(used) / 3);
        assert_eq!(status.state == GatewayState::Active, active.contains(gateway), "{gateway} of {active:?}");
    }
    assert!(filled_again(fleet) == *fleet, "a fleet that is filled again equals the one that wrote it");
    assert!(loaded_again(fleet) == *fleet, "and so does one that is filled at once");
}

proptest! {
    #[test]
    fn whatever_happens_the_indexes_say_what_a_look_at_everything_says(
        standbys in 0u32..3,
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let mut fleet = Fleet::new(Settings::default());
        fleet.set_pool(pool("default", PoolType::All, 10_000, standbys)).unwrap();
        fleet.load_gateways((0..4).map(spec)).unwrap();
        for step in &steps {
            take(&mut fleet, step);
            hold(&fleet);
        }
    }

    #[test]
    fn what_is_released_leaves_no_trace(placements in proptest::collection::vec((0u8..5, 0u8..4, 0u64..4_000, link()), 1..30)) {
        let mut fleet = Fleet::new(Settings::default());
        fleet.set_pool(pool("default", PoolType::All, 10_000, 1)).unwrap();
        fleet.load_gateways((0..5).map(spec)).unwrap();
        let empty = fleet.clone();
        for (tenant, connection, kbps, link) in placements {
            drop(fleet.place(&id(&tenant.to_string()), &[], &wanted(&connection.to_string(), kbps, link)));
            let too_much = fleet.warnings(&id("default")).iter().any(|it| matches!(it, Warning::OverCapacity { .. }));
            prop_assert!(!too_much);
        }
        for tenant in 0..5 {
            fleet.forget(&id(&tenant.to_string()));
        }
        prop_assert!(fleet == empty);
    }

    #[test]
    fn a_tenant_is_settled_alike_by_everyone(
        first in proptest::collection::vec((0u64..3_000, link()), 0..4),
        second in proptest::collection::vec((0u64..3_000, link()), 0..4),
    ) {
        let all = |list: Vec<(u64, Link)>| -> Vec<Wanted> {
            list.into_iter().enumerate().map(|(at, (kbps, link))| wanted(&at.to_string(), kbps, link)).collect()
        };
        let (first, second) = (all(first), all(second));
        let run = || {
            let mut fleet = Fleet::new(Settings::default());
            fleet.set_pool(pool("default", PoolType::All, 10_000, 1)).unwrap();
            fleet.load_gateways((0..3).map(spec)).unwrap();
            let answers = [&first, &second].map(|wanted| {
                let before = fleet.clone();
                let answer = fleet.settle(&id("t"), &[], wanted);
                if answer.is_err() {
                    assert!(fleet == before, "all of it or nothing");
                }
                answer
            });
            hold(&fleet);
            (answers, fleet)
        };
        prop_assert!(run() == run());
    }
}
