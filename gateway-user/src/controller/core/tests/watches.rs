//! What watchers are told.

use super::*;

#[test]
fn a_watcher_begins_with_what_is_there_and_hears_what_changes() {
    let mut world = World::furnished();
    let request = WatchRequest {
        principal: Principal { name: "operator".into(), role: Role::Admin },
        path: "/networking/v1/virtualNetworks".into(),
        after: None,
    };
    let mut actions = Vec::new();
    let now = Moment { unix_milliseconds: 1, seed: 1 };
    world.core.step(Event::Watch(CallId(1), StreamId(1), request), now, &mut actions);
    let [Action::Follow(_, StreamId(1), Ok(events))] = &actions[..] else { panic!("{actions:?}") };
    let told: Vec<_> = events.iter().map(|event| (event.kind.as_str(), event.revision)).collect();
    assert_eq!(told, [("ADDED", None), ("BOOKMARK", Some(world.revision))]);
}

/// What a tenant's watcher, which was there from the beginning, is told.
fn told(world: &World) -> Vec<(u64, &'static str)> {
    let events = world.told.iter().filter_map(|event| Some((event.revision?, event.kind.as_str())));
    events.collect()
}

pub(super) fn watch(world: &mut World, principal: Principal, after: Option<u64>) {
    let request = WatchRequest { principal, path: "/networking/v1/virtualGateways".into(), after };
    world.step(Event::Watch(CallId(77), StreamId(77), request));
}

#[test]
fn a_watch_opens_after_what_is_on_its_way_and_tells_it_once() {
    for after in [None, Some(5)] {
        let mut world = World::furnished();
        world.connect_site("contoso", 100, 1000);
        watch(&mut world, Principal { name: "operator".into(), role: Role::Admin }, after);
        assert!(world.told.is_empty(), "a write is on its way");
        world.settle();
        let kinds: Vec<_> = told(&world).into_iter().map(|(_, kind)| kind).collect();
        match after {
            None => {
                assert_eq!(world.told[0].kind.as_str(), "ADDED");
                assert_eq!((kinds, world.told[1].revision), (vec!["BOOKMARK"], Some(world.revision)));
            }
            Some(_) => assert_eq!(told(&world), [(world.revision, "ADDED")]),
        }
    }
}

#[test]
fn a_tenant_hears_that_what_was_its_own_is_gone() {
    let mut world = World::furnished();
    let body = json!({ "resourceMetadata": { "tenantId": "c" }, "properties": {
        "gatewaySubnets": [{ "resourceRef": "/virtualNetworks/contoso/subnets/gateway" }] } });
    let put = world.ask(Method::Put, "/virtualGateways/contoso", &body, None);
    world.settle();
    assert_eq!(world.answer(put).0, 201);
    let tenant = Principal { name: "contoso".into(), role: Role::Tenant("c".into()) };
    let revision = world.revision;
    watch(&mut world, tenant, Some(revision));
    world.ask(Method::Delete, "/virtualGateways/contoso", &Value::Null, None);
    world.settle();
    assert_eq!(told(&world), [(revision + 1, "DELETED")]);
}

#[test]
fn every_tenant_that_a_drain_moves_is_told_at_a_revision_of_its_own() {
    let mut world = World::furnished();
    world.put(
        "/virtualNetworks/woodgrove",
        json!({ "addressSpace": { "addressPrefixes": ["10.1.0.0/16"] },
                "subnets": [{ "resourceId": "gateway", "properties": { "addressPrefix": "10.1.255.0/28" } }] }),
    );
    world.connect_site("contoso", 100, 1000);
    world.connect_site("woodgrove", 200, 1000);
    world.settle();
    let before = world.revision;
    watch(&mut world, Principal { name: "operator".into(), role: Role::Admin }, Some(before));
    world.ask(Method::Post, "/gateways/GW1/drain?confirm", &Value::Null, None);
    world.settle();
    let expected: Vec<(u64, &str)> = (before + 1..=world.revision).map(|revision| (revision, "MODIFIED")).collect();
    assert!(!expected.is_empty());
    assert_eq!(told(&world), expected);
}

#[test]
fn a_follower_shows_what_the_leader_decided_and_tells_its_watchers() {
    let mut world = World::furnished();
    enrol(&mut world, &gateway(&"GW1".into()));
    let mut follower = Core::new(settings());
    let now = Moment { unix_milliseconds: 1, seed: 1 };
    let mut actions = Vec::new();
    let entries = |store: &BTreeMap<String, Arc<str>>| -> Vec<(String, Option<Arc<str>>)> {
        store.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect()
    };
    follower.step(Event::Written { revision: world.revision, entries: entries(&world.store) }, now, &mut actions);
    let principal = Principal { name: "operator".into(), role: Role::Admin };
    let request = WatchRequest { principal, path: "/networking/v1".into(), after: Some(world.revision) };
    follower.step(Event::Watch(CallId(1), StreamId(1), request), now, &mut actions);
    actions.clear();
    world.connect_site("contoso", 100, 1000);
    world.ask(Method::Delete, "/virtualGateways/contoso", &Value::Null, None);
    let mut told = Vec::new();
    for (_, write) in std::mem::take(&mut world.writes) {
        world.revision += 1;
        follower.step(Event::Written { revision: world.revision, entries: write.entries }, now, &mut actions);
        told.extend(actions.drain(..).filter_map(|action| match action {
            Action::Tell(_, event) => Some((event.kind.as_str(), String::from_utf8_lossy(&event.data).into_owned())),
            _ => None,
        }));
    }
    let of_gateway: Vec<&(&str, String)> =
        told.iter().filter(|(_, data)| data.contains("/virtualGateways/contoso\"")).collect();
    assert_eq!(of_gateway.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), ["ADDED", "DELETED"]);
    // Where the connection was placed is part of it, though it stands under another key.
    assert!(of_gateway[0].1.contains("/gateways/GW1"), "{}", of_gateway[0].1);
    assert!(of_gateway[0].1.contains("ask that one"), "a follower does not hear agents: {}", of_gateway[0].1);
}
