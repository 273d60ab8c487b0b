//! The core by itself: what a request changes, and what waits for what.

mod learned;
mod order;
mod seats;
mod watches;

use super::event::{Action, CallId, Event, Moment, Sequence, StreamId, Write};
use super::message::{Answer, Connect, Enrol, KeyId, Method, Principal, Request, Role, WatchEvent, WatchRequest};
use super::{Core, Settings, gateway, ledger};
use crate::agent::protocol::{Hello, PROTOCOL, PlanEvent, Resume};
use crate::agent::routes::RouteEvent;
use crate::controller::model::records::AgentId;
use crate::controller::resources::Seal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

struct Wax;

impl Seal for Wax {
    fn seal(&self, place: &str, _: &str) -> String {
        format!("sealed at {place}")
    }

    fn draw(&self, place: &str) -> Option<String> {
        Some(self.seal(place, ""))
    }

    fn open(&self, place: &str, sealed: &str) -> Option<crate::controller::store::Secret> {
        (sealed == self.seal(place, "")).then(|| crate::controller::store::Secret::new(place))
    }
}

fn settings() -> Settings {
    Settings { placement: Default::default(), seal: Arc::new(Wax) }
}

/// A core with a store that is as slow as the test wants it.
struct World {
    core: Core,
    store: BTreeMap<String, Arc<str>>,
    revision: u64,
    writes: Vec<(Sequence, Write)>,
    answers: Vec<(CallId, Answer)>,
    plans: Vec<Arc<PlanEvent>>,
    routes: Vec<Arc<RouteEvent>>,
    told: Vec<Arc<WatchEvent>>,
    calls: u64,
    now: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            core: Core::new(settings()),
            store: BTreeMap::new(),
            revision: 0,
            writes: Vec::new(),
            answers: Vec::new(),
            plans: Vec::new(),
            routes: Vec::new(),
            told: Vec::new(),
            calls: 0,
            now: 1_700_000_000_000,
        };
        world.lead();
        world
    }

    /// Another controller takes over, with nothing but the store.
    fn lead(&mut self) {
        self.core = Core::new(settings());
        self.writes.clear();
        let entries = self.store.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        self.step(Event::Written { revision: self.revision, entries });
        self.step(Event::Elected { epoch: self.core.epoch().unwrap_or(0) + 1, revision: self.revision });
    }

    fn step(&mut self, event: Event) {
        self.now += 1;
        let moment = Moment { unix_milliseconds: self.now, seed: u128::from(self.now) << 64 | u128::from(self.now) };
        let mut actions = Vec::new();
        self.core.step(event, moment, &mut actions);
        for action in actions {
            match action {
                Action::Write(sequence, write) => self.writes.push((sequence, write)),
                Action::Answer(call, answer) => self.answers.push((call, answer)),
                Action::Plan(_, event) => self.plans.push(event),
                Action::Routes(_, event) => self.routes.push(event),
                Action::Admit(_, admitted) => admitted.expect("let in"),
                Action::Follow(_, _, followed) => self.told.extend(followed.expect("remembered")),
                Action::Tell(_, event) => self.told.push(event),
                Action::Close(_) => {}
            }
        }
    }

    fn settle(&mut self) {
        for (sequence, write) in std::mem::take(&mut self.writes) {
            self.revision += 1;
            for (key, value) in write.entries {
                match value {
                    Some(value) => self.store.insert(key, value),
                    None => self.store.remove(&key),
                };
            }
            self.step(Event::Durable(sequence, self.revision));
        }
    }

    fn ask(&mut self, method: Method, path: &str, body: &Value, id: Option<&str>) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        let request = self.request(method, path, body, id);
        self.step(Event::Request(call, request));
        call
    }

    fn request(&self, method: Method, path: &str, body: &Value, id: Option<&str>) -> Request {
        Request {
            principal: Principal { name: "operator".into(), role: Role::Admin },
            request_id: self.calls.to_string(),
            method,
            path: format!("/networking/v1{}", path.split('?').next().unwrap_or_default()),
            query: path
                .split_once('?')
                .into_iter()
                .flat_map(|(_, query)| query.split('&'))
                .map(|pair| pair.split_once('=').unwrap_or((pair, "true")))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            if_match: None,
            if_none_match: None,
            client_request_id: id.map(str::to_owned),
            body: if *body == Value::Null { Default::default() } else { body.to_string().into() },
        }
    }

    fn answer(&mut self, call: CallId) -> (u16, Value) {
        let at = self.answers.iter().position(|(of, _)| *of == call).expect("an answer");
        let (_, answer) = self.answers.remove(at);
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    fn put(&mut self, path: &str, properties: Value) -> Value {
        let call = self.ask(Method::Put, path, &json!({ "properties": properties }), None);
        self.settle();
        let (status, body) = self.answer(call);
        assert!(status == 200 || status == 201, "{path}: {status} {body}");
        body
    }

    fn get(&mut self, path: &str) -> (u16, Value) {
        let call = self.ask(Method::Get, path, &Value::Null, None);
        self.answer(call)
    }

    /// A pool of three gateways, and a tenant's network.
    fn furnished() -> Self {
        let mut world = Self::new();
        world.put(
            "/logicalNetworks/vips",
            json!({ "subnets": [{ "resourceId": "gre", "properties": {
                "addressPrefix": "198.51.100.0/24",
                "ipPools": [{ "resourceId": "p", "properties": { "startIpAddress": "198.51.100.16", "endIpAddress": "198.51.100.31" } }],
            } }] }),
        );
        let subnet = json!({ "resourceRef": "/logicalNetworks/vips/subnets/gre" });
        world.put(
            "/gatewayPools/default",
            json!({ "type": "All", "redundantGatewayCount": 1, "gatewayCapacityKiloBitsPerSecond": 10_000_000,
                    "ipConfiguration": { "greVipSubnets": [subnet] } }),
        );
        for name in ["GW1", "GW2", "GW3"] {
            let machine = json!({});
            world.put(&format!("/virtualServers/{name}"), machine);
            world.put(
                &format!("/gateways/{name}"),
                json!({ "pool": { "resourceRef": "/gatewayPools/default" }, "virtualServer": { "resourceRef": format!("/virtualServers/{name}") } }),
            );
        }
        world.put(
            "/virtualNetworks/contoso",
            json!({ "addressSpace": { "addressPrefixes": ["10.1.0.0/16"] },
                    "subnets": [{ "resourceId": "gateway", "properties": { "addressPrefix": "10.1.255.0/28" } }] }),
        );
        world
    }

    fn connect_site(&mut self, tenant: &str, key: u32, kbps: u64) -> CallId {
        let (path, body) = site(tenant, key, kbps);
        self.ask(Method::Put, &path, &body, None)
    }
}

/// A tenant's gateway with one connection.
fn site(tenant: &str, key: u32, kbps: u64) -> (String, Value) {
    let body = json!({ "properties": {
            "gatewaySubnets": [{ "resourceRef": format!("/virtualNetworks/{tenant}/subnets/gateway") }],
            "networkConnections": [{ "resourceId": "hq", "properties": gre(key, kbps) }],
        } });
    (format!("/virtualGateways/{tenant}"), body)
}

fn gre(key: u32, kbps: u64) -> Value {
    json!({ "connectionType": "GRE", "inboundKiloBitsPerSecond": kbps, "outboundKiloBitsPerSecond": kbps,
            "greConfiguration": { "greKey": key.to_string() }, "destinationIPAddress": "203.0.113.20",
            "routes": [{ "destinationPrefix": "10.2.0.0/16", "metric": 10 }] })
}

#[test]
fn a_connection_is_placed_when_it_is_put_and_shows_where() {
    let mut world = World::furnished();
    let call = world.connect_site("contoso", 100, 1000);
    world.settle();
    let (status, body) = world.answer(call);
    assert_eq!(status, 201, "{body}");
    let connection = &body["properties"]["networkConnections"][0]["properties"];
    assert_eq!(connection["gateway"]["resourceRef"], "/gateways/GW1", "{connection}");
    assert_eq!(connection["sourceIPAddress"], "198.51.100.16", "{connection}");
    let (_, gateway) = world.get("/gateways/gw1");
    assert_eq!(gateway["properties"]["state"], "Active");
    let (status, explained) = world.get("/virtualGateways/contoso/networkConnections/hq?explain");
    assert_eq!((status, explained["placement"]["gateway"].as_str()), (200, Some("GW1")), "{explained}");
}

#[test]
fn no_answer_leaves_before_what_it_tells_is_durable() {
    let mut world = World::furnished();
    let put = world.connect_site("contoso", 100, 1000);
    let read = world.ask(Method::Get, "/virtualGateways/contoso", &Value::Null, None);
    assert!(world.answers.is_empty(), "a write is on its way");
    world.settle();
    assert_eq!((world.answer(put).0, world.answer(read).0), (201, 200));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut world = World::furnished();
    let before = world.store.clone();
    let call = world.connect_site("contoso", 100, 4_000_000_000);
    world.settle();
    let (status, body) = world.answer(call);
    assert_eq!((status, body["error"]["code"].as_str()), (409, Some("InsufficientCapacity")), "{body}");
    assert!(body["error"]["message"].as_str().is_some_and(|message| message.contains("lacks")), "{body}");
    assert_eq!(world.store, before);
    assert_eq!(world.get("/virtualGateways/contoso").0, 404);
}

#[test]
fn the_next_leader_has_the_state_that_was_written() {
    let mut world = World::furnished();
    world.connect_site("contoso", 100, 1000);
    world.settle();
    world.answers.clear();
    let shown = |world: &mut World| {
        ["/virtualGateways", "/gateways", "/gatewayPools", "/virtualNetworks"].map(|path| {
            let (_, mut body) = world.get(path);
            forget_times(&mut body);
            body
        })
    };
    let before = shown(&mut world);
    let fleet = format!("{:?}", world.core.state().fleet);
    world.lead();
    assert_eq!(shown(&mut world), before);
    assert_eq!(format!("{:?}", world.core.state().fleet), fleet);
}

fn forget_times(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|name, _| name != "lastUpdatedTime" && name != "lastUpdated");
            object.values_mut().for_each(forget_times);
        }
        Value::Array(values) => values.iter_mut().for_each(forget_times),
        _ => {}
    }
}

#[test]
fn a_request_that_comes_again_is_answered_again_even_by_the_next_leader() {
    let mut world = World::furnished();
    let body = json!({ "properties": { "type": "s2sGre", "redundantGatewayCount": 0, "gatewayCapacityKiloBitsPerSecond": 1000,
                       "ipConfiguration": { "greVipSubnets": [{ "resourceRef": "/logicalNetworks/vips/subnets/gre" }] } } });
    let first = world.ask(Method::Put, "/gatewayPools/other", &body, Some("request-1"));
    world.settle();
    let (status, answer) = world.answer(first);
    assert_eq!(status, 201, "{answer}");
    world.lead();
    let again = world.ask(Method::Put, "/gatewayPools/other", &body, Some("request-1"));
    world.settle();
    let (status, same) = world.answer(again);
    assert_eq!((status, &same["etag"]), (201, &answer["etag"]), "created once, and answered twice");
    let other = world.ask(Method::Put, "/gatewayPools/third", &body, Some("request-1"));
    assert_eq!(world.answer(other).0, 409);
}

#[test]
fn a_gateway_that_carries_connections_is_drained_before_it_is_removed() {
    let mut world = World::furnished();
    world.connect_site("contoso", 100, 1000);
    world.settle();
    let refused = world.ask(Method::Delete, "/gateways/GW1", &Value::Null, None);
    let (status, body) = world.answer(refused);
    assert_eq!((status, body["error"]["code"].as_str()), (409, Some("ResourceInUse")), "{body}");
    let asked = world.ask(Method::Post, "/gateways/GW1/drain", &Value::Null, None);
    assert_eq!(world.answer(asked).1["confirmed"], false);
    let drained = world.ask(Method::Post, "/gateways/GW1/drain?confirm", &Value::Null, None);
    world.settle();
    let (status, body) = world.answer(drained);
    assert_eq!((status, body["moved"][0]["from"].as_str()), (200, Some("GW1")), "{body}");
    let (_, connection) = world.get("/virtualGateways/contoso/networkConnections/hq");
    assert_eq!(
        connection["properties"]["gateway"]["resourceRef"], "/gateways/GW3",
        "the standby takes it: {connection}"
    );
}

#[test]
fn virtual_subnets_get_ids_of_their_own_and_keep_them() {
    let mut world = World::furnished();
    let id = |world: &mut World, path: &str| world.get(path).1["properties"]["virtualSubnetId"].as_u64();
    let contoso = id(&mut world, "/virtualNetworks/contoso/subnets/gateway");
    assert_eq!(contoso, Some(4096));
    world.put(
        "/virtualNetworks/woodgrove",
        json!({ "addressSpace": { "addressPrefixes": ["10.1.0.0/16"] },
                "subnets": [{ "resourceId": "gateway", "properties": { "addressPrefix": "10.1.255.0/28" } }] }),
    );
    assert_eq!(id(&mut world, "/virtualNetworks/woodgrove/subnets/gateway"), Some(4097));
    world.lead();
    assert_eq!(id(&mut world, "/virtualNetworks/contoso/subnets/gateway"), Some(4096));
}

fn hello(resume: Option<Resume>) -> Hello {
    Hello {
        protocol: PROTOCOL,
        version: "1".into(),
        boot: Default::default(),
        pa: serde_json::from_value(json!(["10.10.0.1"])).expect("an address"),
        ports: serde_json::from_value(json!([["fab0", "fabric"], ["tor0", "site"]])).expect("ports"),
        life: None,
        resume,
    }
}

fn enrol(world: &mut World, agent: &AgentId) {
    let enrol = Enrol {
        agent: agent.clone(),
        token: "t".into(),
        token_expires: u64::MAX,
        key: KeyId([7; 32]),
        hello: hello(None),
    };
    world.step(Event::Enrol(CallId(900), enrol));
    world.settle();
}

#[test]
fn an_agent_is_told_its_whole_plan_and_then_what_changes() {
    let mut world = World::furnished();
    let agent = gateway(&"GW1".into());
    enrol(&mut world, &agent);
    let connect = Connect { agent: agent.clone(), key: KeyId([7; 32]), hello: hello(None) };
    world.step(Event::Connect(CallId(901), StreamId(1), connect));
    let whole = world.plans.pop().expect("a plan");
    assert!(whole.since.is_none() && whole.base.is_some() && whole.set.is_empty(), "{whole:?}");
    world.connect_site("contoso", 100, 1000);
    assert!(world.plans.is_empty(), "not before it is durable");
    world.settle();
    let change = world.plans.pop().expect("a plan");
    assert_eq!((change.since, change.revision), (Some(whole.revision), world.revision));
    assert_eq!(change.set.keys().collect::<Vec<_>>(), ["contoso"]);
    let deleted = world.ask(Method::Delete, "/virtualGateways/contoso", &Value::Null, None);
    world.settle();
    assert_eq!(world.answer(deleted).0, 202);
    assert_eq!(world.plans.pop().expect("a plan").removed, ["contoso"]);
}

#[test]
fn a_join_token_lets_one_key_in() {
    let mut world = World::furnished();
    let agent = gateway(&"GW1".into());
    enrol(&mut world, &agent);
    // The answer was lost: the same key asks again.
    enrol(&mut world, &agent);
    let mut actions = Vec::new();
    let stranger = Enrol { agent, token: "t".into(), token_expires: u64::MAX, key: KeyId([8; 32]), hello: hello(None) };
    world.core.step(Event::Enrol(CallId(1), stranger), Moment { unix_milliseconds: 1, seed: 1 }, &mut actions);
    assert!(
        matches!(&actions[..], [Action::Admit(_, Err(refusal))] if refusal.message.contains("used already")),
        "{actions:?}"
    );
}

#[test]
fn a_join_token_is_used_up_together_with_what_it_lets_in() {
    let mut world = World::furnished();
    let join = |agent: AgentId, token: &str, key: u8| {
        let key = KeyId([key; 32]);
        Event::Enrol(
            CallId(900),
            Enrol { agent, token: token.into(), token_expires: u64::MAX, key, hello: hello(None) },
        )
    };
    let agent = gateway(&"GW1".into());
    enrol(&mut world, &agent);
    // Set up anew: a leader that dies before this is durable has written all of it or nothing.
    world.step(join(agent.clone(), "u", 8));
    let [(_, write)] = &world.writes[..] else { panic!("one write, not {:?}", world.writes) };
    let keys: Vec<&str> = write.entries.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["tokens/u", "agents/gateway/gw1"]);
    world.lead();
    world.step(join(agent, "u", 8));
    world.settle();
    // Who is refused for another reason keeps the token.
    let told = refusal(&mut world, join(gateway(&"GW2".into()), "v", 9));
    assert!(told.contains("a provider address of gateway/GW2"), "{told}");
    assert!(world.core.state().token("v").is_none());
}

/// Why an agent is not let in.
fn refusal(world: &mut World, event: Event) -> String {
    let mut actions = Vec::new();
    world.core.step(event, Moment { unix_milliseconds: world.now, seed: 1 }, &mut actions);
    match &actions[..] {
        [Action::Admit(_, Err(refusal))] => refusal.message.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_agents_earlier_key_is_refused_and_what_is_revoked_stays_so() {
    let mut world = World::furnished();
    let agent = gateway(&"GW1".into());
    enrol(&mut world, &agent);
    let join = |token: &str, key: u8| {
        let key = KeyId([key; 32]);
        let enrol =
            Enrol { agent: agent.clone(), token: token.into(), token_expires: u64::MAX, key, hello: hello(None) };
        Event::Enrol(CallId(900), enrol)
    };
    world.step(join("u", 8));
    world.settle();
    let revoked = ledger::CredentialId::from(KeyId([9; 32]));
    world.step(Event::Revoke(CallId(901), revoked.clone()));
    world.settle();
    // A leader that only knows the store says the same.
    world.lead();
    assert!(world.core.state().ledger().is_revoked(&revoked));
    let connect = Connect { agent: agent.clone(), key: KeyId([7; 32]), hello: hello(None) };
    let told = refusal(&mut world, Event::Connect(CallId(902), StreamId(1), connect));
    assert!(told.contains("joined again"), "{told}");
    // Nor does the token of before bring the key of before back.
    let told = refusal(&mut world, join("t", 7));
    assert!(told.contains("used already"), "{told}");
    let connect = Connect { agent, key: KeyId([8; 32]), hello: hello(None) };
    world.step(Event::Connect(CallId(903), StreamId(2), connect));
}

#[test]
fn a_drain_that_a_leader_did_not_end_is_ended_by_the_next() {
    let mut world = World::furnished();
    let at = |world: &World, tenant: &str| -> Value {
        let record = &world.store[&format!("placements/{tenant}")];
        serde_json::from_str::<Value>(record).expect("a record")["connections"]["hq"].clone()
    };
    world.put(
        "/virtualNetworks/woodgrove",
        json!({ "addressSpace": { "addressPrefixes": ["10.1.0.0/16"] },
                "subnets": [{ "resourceId": "gateway", "properties": { "addressPrefix": "10.1.255.0/28" } }] }),
    );
    for (tenant, key) in [("contoso", 100), ("woodgrove", 200)] {
        world.connect_site(tenant, key, 1000);
        world.settle();
    }
    let before = at(&world, "contoso");
    assert_eq!(before, at(&world, "woodgrove"), "both are at one VIP");
    let path = format!("/gateways/{}/drain?confirm", before["gateway"].as_str().expect("a gateway"));
    world.ask(Method::Post, &path, &Value::Null, None);
    assert_eq!(world.writes.len(), 2, "a write for each tenant");
    // The leader dies when the first of them is durable.
    world.writes.truncate(1);
    world.settle();
    assert_ne!(at(&world, "contoso"), at(&world, "woodgrove"));
    world.lead();
    assert_eq!(world.writes.len(), 1, "what was left");
    world.settle();
    let after = at(&world, "contoso");
    assert_eq!((&after["vip"], &after), (&before["vip"], &at(&world, "woodgrove")), "the VIP is on one gateway");
    world.lead();
    assert!(world.writes.is_empty(), "nothing is left");
}

/// Asks for something that is refused; who is named in the answer. Nothing has changed.
fn refused(world: &mut World, method: Method, path: &str, body: &Value) -> String {
    let before = world.store.clone();
    let call = world.ask(method, path, body, None);
    world.settle();
    let (status, answer) = world.answer(call);
    assert_eq!((status, answer["error"]["code"].as_str()), (409, Some("ResourceInUse")), "{path}: {answer}");
    assert_eq!(world.store, before, "{path}");
    answer["error"]["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_vip_s_addresses_stay_while_a_connection_has_it() {
    let mut world = World::furnished();
    world.connect_site("contoso", 100, 1000);
    world.settle();
    let pool = |start: &str, end: &str| json!({ "startIpAddress": start, "endIpAddress": end });
    let subnets = |pools: Value| {
        json!({ "properties": { "subnets": [{ "resourceId": "gre", "properties": {
            "addressPrefix": "198.51.100.0/24", "ipPools": pools } }] } })
    };
    let at = "/logicalNetworks/vips/subnets/gre/ipPools/p";
    let user = "/virtualGateways/contoso/networkConnections/hq";
    let smaller = pool("198.51.100.17", "198.51.100.31");
    for (method, path, body) in [
        (Method::Put, at, json!({ "properties": smaller })),
        (Method::Put, "/logicalNetworks/vips", subnets(json!([{ "resourceId": "p", "properties": smaller }]))),
        (Method::Put, "/logicalNetworks/vips", subnets(json!([]))),
        (Method::Delete, at, Value::Null),
    ] {
        let message = refused(&mut world, method, path, &body);
        assert!(message.contains(user) && message.contains("198.51.100.16"), "{message}");
    }
    for path in ["/logicalNetworks/vips/subnets/gre", "/logicalNetworks/vips"] {
        let message = refused(&mut world, Method::Delete, path, &Value::Null);
        assert!(message.contains("/gatewayPools/default"), "{message}");
    }
    let message = refused(&mut world, Method::Delete, "/gatewayPools/default", &Value::Null);
    assert!(message.contains("/gateways/GW1"), "{message}");
    // What nobody has may go.
    world.put(at, pool("198.51.100.16", "198.51.100.20"));
    world.ask(Method::Delete, "/virtualGateways/contoso", &Value::Null, None);
    world.settle();
    world.put(at, pool("198.51.100.30", "198.51.100.31"));
    assert_eq!(format!("{:?}", world.core.state().fleet), {
        world.lead();
        format!("{:?}", world.core.state().fleet)
    });
}

#[test]
fn what_is_asked_is_an_operation_that_can_be_followed() {
    let mut world = World::furnished();
    let created = world.connect_site("contoso", 100, 1000);
    world.settle();
    let at = world.answers.iter().position(|(call, _)| *call == created).expect("an answer");
    let operation = world.answers.remove(at).1.operation.expect("an operation");
    let followed = world.ask(Method::Get, operation.trim_start_matches("/networking/v1"), &Value::Null, None);
    assert_eq!(world.answer(followed).1["status"], "Succeeded");
    let deleted = world.ask(Method::Delete, "/virtualGateways/contoso", &Value::Null, None);
    world.settle();
    let at = world.answers.iter().position(|(call, _)| *call == deleted).expect("an answer");
    let (_, answer) = world.answers.remove(at);
    assert!(answer.status == 202 && answer.retry_after.is_some(), "{answer:?}");
    let location = answer.location.expect("where its result is");
    let followed = world.ask(Method::Get, location.trim_start_matches("/networking/v1"), &Value::Null, None);
    assert_eq!(world.answer(followed).0, 204);
    let patch = world.ask(Method::Patch, "/virtualGateways/contoso", &json!({}), None);
    assert_eq!(world.answer(patch).0, 405);
}

/// Status and codes of a resource's `configurationState`.
fn configuration(world: &mut World, path: &str) -> (String, Vec<String>) {
    let (_, body) = world.get(path);
    let state = &body["properties"]["configurationState"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let details = state["detailedInfo"].as_array().into_iter().flatten();
    (text(&state["status"]), details.map(|detail| text(&detail["code"])).collect())
}

#[test]
fn what_has_been_reached_is_told_with_its_code() {
    let mut world = World::furnished();
    world.connect_site("contoso", 100, 1000);
    world.settle();
    let paths = ["/gateways/GW1", "/virtualGateways/contoso", "/virtualGateways/contoso/networkConnections/hq"];
    let all = |world: &mut World| paths.map(|path| configuration(world, path));
    let state = |status: &str, codes: &[&str]| (status.to_owned(), codes.iter().map(|&code| code.to_owned()).collect());
    for (status, codes) in all(&mut world) {
        assert_eq!((status.as_str(), codes[0].as_str()), ("Failure", "HostUnreachable"), "nobody has enrolled");
    }
    let agent = gateway(&"GW1".into());
    enrol(&mut world, &agent);
    let connect = Connect { agent: agent.clone(), key: KeyId([7; 32]), hello: hello(None) };
    world.step(Event::Connect(CallId(901), StreamId(1), connect));
    assert_eq!(all(&mut world), [(); 3].map(|()| state("InProgress", &["InProgress"])), "it is told its plan");
    let plan = world.plans.pop().expect("a plan");
    let report = |sequence, problems: Value| -> crate::agent::protocol::Report {
        serde_json::from_value(json!({
            "boot": "b", "sequence": sequence, "extent": "whole", "position": plan.position(), "problems": [],
            "tenants": { "contoso": { "problems": problems, "connections": {} } },
        }))
        .expect("a report")
    };
    world.step(Event::Report(CallId(902), agent.clone(), report(1, json!([]))));
    assert_eq!(all(&mut world), [(); 3].map(|()| state("Success", &[])));
    let problem = json!([{ "about": "tenant contoso, connection hq", "message": "no" }]);
    world.step(Event::Report(CallId(903), agent, report(2, problem)));
    let failure = state("Failure", &["PolicyConfigurationFailure"]);
    assert_eq!(all(&mut world), [state("Success", &[]), failure.clone(), failure]);
    world.now += super::agents::SILENCE;
    world.step(Event::Tick);
    let (_, body) = world.get("/gateways/GW1");
    assert_eq!(body["properties"]["healthState"], "Unhealthy");
    assert_eq!(all(&mut world)[0], state("Failure", &["HostUnreachable"]));
    let (_, statistics) = world.get("/monitoring/networkControllerStatistics");
    assert_eq!(statistics["properties"]["healthStatistics"]["Gateway"]["errorResourceCount"], 1);
}

/// What an agent has that took these events.
fn taken(events: &[Arc<PlanEvent>]) -> Resume {
    let mut has = Resume { position: Default::default(), base: None, tenants: BTreeMap::new() };
    for event in events {
        if event.since.is_none() {
            (has.base, has.tenants) = (None, BTreeMap::new());
        } else {
            assert_eq!(event.since, Some(has.position.revision));
        }
        has.base = event.base.as_ref().map(|base| base.digest()).or(has.base);
        has.tenants.retain(|name, _| !event.removed.contains(name));
        has.tenants.extend(event.set.iter().map(|(name, document)| (name.clone(), document.digest())));
        has.position = event.position();
    }
    has
}

#[test]
fn an_agent_that_comes_again_is_told_what_differs_and_no_more_also_by_the_next_leader() {
    let mut world = World::furnished();
    let agent = gateway(&"GW1".into());
    enrol(&mut world, &agent);
    let connect = |resume: Option<Resume>| Connect { agent: agent.clone(), key: KeyId([7; 32]), hello: hello(resume) };
    world.step(Event::Connect(CallId(901), StreamId(1), connect(None)));
    world.connect_site("contoso", 100, 1000);
    world.settle();
    let mut told = std::mem::take(&mut world.plans);
    assert_eq!(taken(&told).tenants.len(), 1);
    world.lead();
    // Nothing differs: that it is up to date is all there is to say.
    world.step(Event::Connect(CallId(902), StreamId(1), connect(Some(taken(&told)))));
    let nothing = world.plans.pop().expect("a plan");
    assert_eq!(nothing.since, Some(taken(&told).position.revision));
    assert!(nothing.base.is_none() && nothing.set.is_empty() && nothing.removed.is_empty(), "{nothing:?}");
    told.push(nothing);
    // What changed while it was away.
    world.step(Event::Closed(StreamId(1)));
    world.ask(Method::Delete, "/virtualGateways/contoso", &Value::Null, None);
    world.settle();
    world.step(Event::Connect(CallId(903), StreamId(2), connect(Some(taken(&told)))));
    let change = world.plans.pop().expect("a plan");
    assert!(change.since.is_some() && change.base.is_none() && change.set.is_empty(), "{change:?}");
    assert_eq!(change.removed, ["contoso"]);
}

#[test]
fn the_next_leader_knows_what_became_of_an_operation() {
    let mut world = World::new();
    let call = world.ask(Method::Put, "/virtualServers/a", &json!({ "properties": {} }), None);
    world.settle();
    let at = world.answers.iter().position(|(of, _)| *of == call).expect("an answer");
    let operation = world.answers.remove(at).1.operation.expect("an operation");
    let operation = operation.strip_prefix("/networking/v1").expect("a path").to_owned();
    world.lead();
    assert_eq!(world.get(&operation), (200, json!({ "status": "Succeeded" })));
    let (status, body) = world.get("/operations/other");
    assert_eq!(status, 404);
    assert!(body.to_string().contains("provisioningState"), "{body}");
}
