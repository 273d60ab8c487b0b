//! Seats: what is settled of them when gateways join, what they are told, and what is made of the word of a gateway that took one.

use super::*;
use crate::agent::protocol::{BootId, Extent, Heartbeat, Holding, Report, SeatNews, TenantState};
use crate::controller::core::agents::SILENCE;
use crate::controller::model::records::Life;
use crate::controller::seats::{Grant, Occupancy, Seats};
use crate::plan::Plan;

impl World {
    /// The same with seats.
    fn seated() -> Self {
        let mut world = Self::furnished();
        world.put("/logicalNetworks/fabric", fabric());
        world.put("/gatewayPools/default", pool());
        world
    }

    /// What a gateway says of itself.
    fn hello_of(&self, number: u8, incarnation: u64) -> Hello {
        let life = Some(Life { incarnation, site: None });
        let pa = serde_json::from_value(json!([format!("10.10.0.{number}")])).expect("an address");
        let ports = json!([["fab0", "fabric"], [format!("tor{number}"), "site"]]);
        Hello { pa, ports: serde_json::from_value(ports).expect("ports"), life, ..hello(None) }
    }

    /// A gateway joins and asks for its plan, which is applied.
    fn join(&mut self, number: u8, incarnation: u64) {
        let agent = gateway(&format!("GW{number}").into());
        let key = KeyId([number; 32]);
        let hello = self.hello_of(number, incarnation);
        if self.core.state().agents.get(&agent).is_none() {
            let enrol = Enrol {
                agent: agent.clone(),
                token: format!("token-{number}"),
                token_expires: u64::MAX,
                key,
                hello: hello.clone(),
            };
            self.step(Event::Enrol(CallId(900), enrol));
            self.settle();
        }
        self.step(Event::Connect(
            CallId(901),
            StreamId(incarnation * 100 + u64::from(number)),
            Connect { agent, key, hello },
        ));
        self.settle_all();
    }

    /// Everything is durable, and all agents that are there do as they were told.
    fn settle_all(&mut self) {
        for _ in 0..8 {
            self.settle();
            let agents: Vec<AgentId> = self.core.state().agents.iter().map(|(agent, _)| agent.clone()).collect();
            for agent in agents {
                let known = self.core.state().agents.get(&agent).expect("known");
                let Some(sent) = known.sent.filter(|_| known.stream.is_some()) else { continue };
                let epoch = self.core.epoch().expect("leads");
                let position = Some(crate::agent::protocol::Position { epoch, revision: sent });
                self.step(Event::Heartbeat(agent, Heartbeat { position, ..Heartbeat::default() }));
            }
            self.step(Event::Tick);
        }
        assert!(self.writes.is_empty(), "{:?}", self.writes);
    }

    fn seats(&self) -> Seats {
        serde_json::from_str(&self.store["seats/default"]).expect("a record")
    }

    fn base(&self, gateway_name: &str) -> Plan {
        let plan = self.core.plan(&gateway(&gateway_name.into())).expect("a plan");
        plan.base.expect("a base").read().expect("a plan")
    }

    fn tenants(&self, gateway_name: &str) -> Vec<String> {
        self.core.plan(&gateway(&gateway_name.into())).expect("a plan").set.into_keys().collect()
    }

    /// A gateway tells who holds a seat.
    fn tell(&mut self, teller: &str, seat: &str, holder: &str, epoch: u64, sequence: u64) {
        let news = SeatNews { holding: Holding::Held, holder: Some(holder.to_owned()), epoch, ..SeatNews::default() };
        let report = Report {
            boot: BootId(teller.to_owned()),
            sequence,
            extent: Extent::Whole,
            seats: [(seat.to_owned(), news)].into(),
            tenants: [("contoso@GW1".to_owned(), up())].into(),
            ..Report::default()
        };
        self.step(Event::Report(CallId(902), gateway(&teller.into()), report));
        self.settle_all();
    }
}

fn up() -> TenantState {
    serde_json::from_value(json!({ "connections": { "hq": { "state": "up", "counters": { "in_packets": 3 } } } }))
        .expect("a tenant's state")
}

fn fabric() -> Value {
    let subnet = |id: &str, net: u8| {
        json!({ "resourceId": id, "properties": { "addressPrefix": format!("10.{net}.9.0/24"),
            "ipPools": [{ "resourceId": "p", "properties": { "startIpAddress": format!("10.{net}.9.1"), "endIpAddress": format!("10.{net}.9.20") } }] } })
    };
    json!({ "networkVirtualizationEnabled": true, "subnets": [subnet("seats", 10), subnet("racks", 20), subnet("others", 30)] })
}

fn pool() -> Value {
    json!({ "type": "All", "redundantGatewayCount": 1, "gatewayCapacityKiloBitsPerSecond": 10_000_000,
            "ipConfiguration": { "greVipSubnets": [{ "resourceRef": "/logicalNetworks/vips/subnets/gre" }] },
            "seatFabricSubnet": { "resourceRef": "/logicalNetworks/fabric/subnets/seats" },
            "seatRackSubnet": { "resourceRef": "/logicalNetworks/fabric/subnets/racks" },
            "failoverTimers": { "probeMilliseconds": 20 } })
}

/// Three gateways with lives of their own, and a tenant with a connection on the seat of the first.
fn cloud() -> World {
    let mut world = World::seated();
    for number in 1..=3 {
        world.join(number, 7);
    }
    world.connect_site("contoso", 100, 1000);
    world.settle_all();
    world.answers.clear();
    world
}

#[test]
fn a_pool_s_seats_are_settled_when_its_gateways_join() {
    let mut world = cloud();
    let seats = world.seats();
    assert_eq!(seats.seats.keys().map(|id| id.as_str()).collect::<Vec<_>>(), ["GW1", "GW2"]);
    assert!(!seats.electorate.is_changing());
    assert_eq!(seats.electorate.voters().count(), 3);
    let plan = world.base("GW3");
    let pool = plan.pool.as_ref().expect("a pool");
    assert_eq!(pool.charter, seats.settled().expect("settled"));
    assert_eq!(pool.timers.probe().as_millis(), 20);
    assert_eq!(pool.peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["GW1", "GW2"]);
    assert_eq!(pool.peers[0].fabric.to_string(), "10.10.0.1");
    let of_the_other = world.base("GW1");
    let other = of_the_other.pool.as_ref().expect("a pool").peers.iter().find(|peer| peer.name.as_str() == "GW3");
    assert_eq!(other.expect("GW3").key, pool.peers[0].key);
    assert_ne!(pool.peers[0].key, pool.peers[1].key);
    let (_, shown) = world.get("/gatewayPools/default");
    let properties = &shown["properties"];
    assert_eq!(properties["seats"][0]["next"][0]["gateway"], "GW1", "{properties}");
    assert_eq!(properties["configurationState"]["status"], "Success", "{properties}");
    // A secret is not stored as it is, and is never shown.
    assert!(seats.secret.is_some_and(|secret| secret.starts_with("sealed")));
}

#[test]
fn every_gateway_that_may_take_a_seat_has_its_tenants_with_its_own_ports() {
    let mut world = cloud();
    assert_eq!(
        (world.tenants("GW1"), world.tenants("GW2"), world.tenants("GW3")),
        (vec!["contoso@GW1".to_owned()], vec!["contoso@GW1".to_owned()], vec!["contoso@GW1".to_owned()])
    );
    let plan = world.core.plan(&gateway(&"GW3".into())).expect("a plan");
    let mut whole: Value = plan.base.expect("a base").read().expect("JSON");
    whole["tenant"] = plan.set.values().map(|document| document.read::<Value>().expect("JSON")).collect();
    let whole: Plan = serde_json::from_value(whole).expect("it passes its own checks");
    assert_eq!(whole.tenants[0].key(), "contoso@GW1");
    // A host knows the seat alone.
    let (_, connection) = world.get("/virtualGateways/contoso/networkConnections/hq");
    assert_eq!(connection["properties"]["gateway"]["resourceRef"], "/gateways/GW1");
    assert_eq!(connection["properties"]["seatHolder"]["resourceRef"], "/gateways/GW1");
}

#[test]
fn a_failover_is_heard_of_and_settled_anew_by_whoever_leads() {
    let mut world = cloud();
    world.tell("GW1", "GW1", "GW1", 1, 1);
    let (_, connection) = world.get("/virtualGateways/contoso/networkConnections/hq");
    assert_eq!(connection["properties"]["connectionState"], "Connected", "{connection}");
    let before = world.seats();
    let grant = before.seats[&"GW1".into()].ahead().next().expect("a grant").clone();
    assert_eq!(grant.to, "GW3".into());
    // Another gateway of the pool may tell of it, too.
    world.tell("GW2", "GW1", "GW3", grant.epoch, 1);
    let after = world.seats();
    assert_eq!(after.bearer(&"GW1".into()), Some(&"GW3".into()));
    assert_eq!(after.candidates(&"GW1".into()).map(|id| id.as_str()).collect::<Vec<_>>(), ["GW1", "GW2"]);
    assert_eq!(after.candidates(&"GW2".into()).map(|id| id.as_str()).collect::<Vec<_>>(), ["GW1", "GW3"]);
    assert_eq!(world.tenants("GW1"), ["contoso@GW1"], "it stays a replica, and may take it again");
    // What the one of before tells does not count any more.
    let (_, connection) = world.get("/virtualGateways/contoso/networkConnections/hq");
    assert_eq!(connection["properties"]["gateway"]["resourceRef"], "/gateways/GW1", "no placement changes");
    assert_eq!(connection["properties"]["seatHolder"]["resourceRef"], "/gateways/GW3");
    assert_eq!(connection["properties"]["connectionState"], "Disconnected", "{connection}");
    world.tell("GW3", "GW1", "GW3", grant.epoch, 1);
    let (_, connection) = world.get("/virtualGateways/contoso/networkConnections/hq");
    assert_eq!(connection["properties"]["connectionState"], "Connected", "{connection}");
    let (_, shown) = world.get("/gatewayPools/default");
    let history = &shown["properties"]["seatHistory"];
    assert_eq!((history[1]["from"].as_str(), history[1]["to"].as_str()), (Some("GW1"), Some("GW3")), "{history}");
    // Stale and forged words change nothing, and the next leader knows all of it.
    world.tell("GW1", "GW1", "GW1", 1, 2);
    world.tell("GW2", "GW1", "GW2", 10_000, 2);
    assert_eq!(world.seats(), after);
    world.lead();
    world.settle_all();
    assert_eq!(world.seats(), after);
}

#[test]
fn a_gateway_that_is_not_heard_of_moves_nothing_and_its_seat_is_given_nothing_until_it_is_taken() {
    let mut world = cloud();
    world.tell("GW1", "GW1", "GW1", 1, 1);
    let before = world.seats();
    world.now += SILENCE;
    for name in ["GW2", "GW3"] {
        world.step(Event::Heartbeat(gateway(&name.into()), Heartbeat::default()));
    }
    world.step(Event::Tick);
    assert!(world.writes.is_empty());
    let health = |world: &World| world.core.state().fleet.health(&"GW1".into());
    assert_eq!(health(&world), Some(crate::controller::placement::Health::Failed));
    let (_, shown) = world.get("/gatewayPools/default");
    assert_eq!(shown["properties"]["configurationState"]["detailedInfo"][0]["code"], "Degraded", "{shown}");
    assert_eq!(world.seats(), before);
    let epoch = before.seats[&"GW1".into()].ahead().next().expect("a grant").epoch;
    let news = SeatNews { holding: Holding::Held, holder: Some("GW3".to_owned()), epoch, ..SeatNews::default() };
    let report = Report {
        boot: BootId("GW3".into()),
        sequence: 1,
        seats: [("GW1".to_owned(), news)].into(),
        ..Report::default()
    };
    world.step(Event::Report(CallId(903), gateway(&"GW3".into()), report));
    world.settle();
    assert_eq!(health(&world), Some(crate::controller::placement::Health::Healthy), "who holds it is there");
}

#[test]
fn who_is_next_follows_from_what_gateways_carry_and_what_shares_a_gateway_shares_its_room() {
    let mut world = cloud();
    let next =
        |world: &World, seat: &str| world.seats().candidates(&seat.into()).map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(next(&world, "GW1"), ["GW3", "GW2"]);
    // Its seat takes more of a gateway than GW1's leaves: that one is asked no more.
    let share = |world: &World, seat: &str| world.seats().seats[&seat.into()].share;
    let before = share(&world, "GW1");
    world.connect_site("contoso", 100, 2_500_000);
    world.settle_all();
    assert!(share(&world, "GW1") > before);
    assert_eq!(next(&world, "GW1"), ["GW3", "GW2"]);
    let available = |world: &World, gateway: &str| {
        world.core.state().fleet.status(&gateway.into()).expect("a gateway").available_capacity
    };
    let left = available(&world, "GW1");
    assert!(left < available(&world, "GW2"));
    let grant =
        world.seats().seats[&"GW1".into()].ahead().find(|grant| grant.to == "GW2".into()).expect("granted").clone();
    world.tell("GW3", "GW1", "GW2", grant.epoch, 1);
    assert_eq!(available(&world, "GW2"), left, "both seats are carried by one gateway");
    assert_eq!(available(&world, "GW1"), left);
}

impl World {
    /// Gateways tell what they see of the holder of the tenant's seat.
    fn see(&mut self, tellers: &[&str], holder: &str, epoch: u64, sight: seat::Opinion, sequence: u64) {
        for teller in tellers {
            let news = SeatNews {
                holding: Holding::Replica,
                holder: Some(holder.to_owned()),
                epoch,
                sight,
                ..SeatNews::default()
            };
            let report = Report {
                boot: BootId((*teller).to_owned()),
                sequence,
                seats: [("GW1".to_owned(), news)].into(),
                ..Report::default()
            };
            self.step(Event::Report(CallId(906), gateway(&(*teller).into()), report));
        }
        self.settle();
    }

    fn occupancy(&self) -> Occupancy {
        self.seats().seats[&"GW1".into()].occupancy
    }

    /// The codes of what is wrong with something.
    fn wrong(&mut self, path: &str) -> String {
        self.get(path).1["properties"]["configurationState"].to_string()
    }
}

#[test]
fn a_seat_that_nobody_can_take_is_said_to_be_empty_until_somebody_holds_it() {
    use seat::Opinion::{Alive, Gone};
    let mut world = cloud();
    world.tell("GW1", "GW1", "GW1", 1, 1);
    let lease = u64::try_from(Seats::default().timers.lease().as_millis()).expect("a number");
    world.see(&["GW2", "GW3"], "GW1", 1, Alive, 1);
    world.see(&["GW2"], "GW1", 1, Gone, 2);
    assert_eq!(world.occupancy(), Occupancy::Carried, "GW3 sees it");
    world.see(&["GW3"], "GW1", 1, Gone, 2);
    assert_eq!(world.occupancy(), Occupancy::Carried, "GW3 is about to take it");
    world.now += lease;
    world.step(Event::Tick);
    world.settle();
    assert_eq!(world.occupancy(), Occupancy::Empty, "it did not");
    for path in ["/gatewayPools/default", "/gateways/GW1", "/virtualGateways/contoso/networkConnections/hq"] {
        let wrong = world.wrong(path);
        assert!(wrong.contains("nobody holds seat GW1"), "{path}: {wrong}");
    }
    let (_, connection) = world.get("/virtualGateways/contoso/networkConnections/hq");
    assert_eq!(connection["properties"]["connectionState"], "Disconnected");
    // The next leader knows, and does not take its own ignorance for good news.
    world.lead();
    world.settle_all();
    assert_eq!(world.occupancy(), Occupancy::Empty);
    let grant = world.seats().seats[&"GW1".into()].ahead().next().expect("a grant").clone();
    world.tell("GW2", "GW1", "GW3", grant.epoch, 3);
    assert_eq!(world.occupancy(), Occupancy::Carried);
    assert!(!world.wrong("/gatewayPools/default").contains("nobody holds seat GW1"));
}

#[test]
fn a_seat_without_a_successor_that_is_heard_of_is_empty_at_once_and_carried_when_its_holder_is_back() {
    use seat::Opinion::{Alive, Gone};
    let mut world = cloud();
    world.tell("GW1", "GW1", "GW1", 1, 1);
    world.see(&["GW2"], "GW1", 1, Alive, 1);
    world.now += SILENCE;
    world.step(Event::Heartbeat(gateway(&"GW2".into()), Heartbeat::default()));
    world.step(Event::Tick);
    world.settle();
    assert_eq!(world.occupancy(), Occupancy::Carried, "that controllers do not hear of it says nothing");
    world.see(&["GW2"], "GW1", 1, Gone, 2);
    assert_eq!(world.occupancy(), Occupancy::Empty, "one of three gateways decides nothing, and takes nothing");
    world.see(&["GW2"], "GW1", 1, Alive, 3);
    assert_eq!(world.occupancy(), Occupancy::Carried);
}

#[test]
fn a_gateway_with_two_seats_is_told_to_hand_one_over_and_nothing_else_goes_back() {
    let mut world = cloud();
    let grant = |world: &World, seat: &str, to: &str| {
        let seats = world.seats();
        seats.seats[&seat.into()].ahead().find(|grant| grant.to == to.into()).expect("granted").epoch
    };
    let epoch = grant(&world, "GW2", "GW2");
    world.tell("GW2", "GW2", "GW2", epoch, 1);
    let epoch = grant(&world, "GW1", "GW2");
    world.tell("GW2", "GW1", "GW2", epoch, 2);
    let relief = |world: &World| {
        let charter = world.base("GW2").pool.expect("a pool").charter;
        charter.seats().values().filter_map(|it| it.relief.as_ref().map(ToString::to_string)).collect::<Vec<_>>()
    };
    assert!(relief(&world).is_empty(), "who has just failed is not trusted at once");
    world.now += 60_000;
    world.settle_all();
    assert_eq!(relief(&world), ["GW1"]);
    // Its home falls silent, and the standby is as good.
    world.now += SILENCE;
    for name in ["GW2", "GW3"] {
        let position = world.core.state().agents.get(&gateway(&name.into())).expect("known").position;
        world.step(Event::Heartbeat(gateway(&name.into()), Heartbeat { position, ..Heartbeat::default() }));
    }
    world.step(Event::Tick);
    world.settle();
    assert_eq!(relief(&world), ["GW3"]);
    let epoch = grant(&world, "GW1", "GW3");
    world.tell("GW3", "GW1", "GW3", epoch, 1);
    assert!(relief(&world).is_empty());
}

#[test]
fn a_gateway_that_starts_anew_is_granted_anew() {
    let mut world = cloud();
    let before = world.seats();
    world.join(3, 8);
    let after = world.seats();
    let of = |seats: &Seats| {
        let grants = &seats.seats[&"GW1".into()].grants;
        grants.iter().find(|grant| grant.to == "GW3".into()).cloned().expect("granted")
    };
    assert_eq!((of(&before).incarnation, of(&after).incarnation), (7, 8));
    assert!(of(&after).epoch > before.epoch);
}

#[test]
fn who_holds_another_s_seat_stays_and_seats_keep_their_addresses() {
    let mut world = cloud();
    let epoch = world.seats().seats[&"GW2".into()].ahead().nth(1).expect("GW3's").epoch;
    world.tell("GW3", "GW2", "GW3", epoch, 1);
    let refused = |world: &mut World, method, path: &str, properties: Value| {
        let call = world.ask(method, path, &json!({ "properties": properties }), None);
        world.settle_all();
        let (status, body) = world.answer(call);
        assert_eq!((status, body["error"]["code"].as_str()), (409, Some("ResourceInUse")), "{body}");
        body["error"]["message"].as_str().expect("a message").to_owned()
    };
    let told = refused(&mut world, Method::Delete, "/gateways/GW3", json!({}));
    assert!(told.contains("holds seat GW2"), "{told}");
    let mut elsewhere = pool();
    elsewhere["seatFabricSubnet"]["resourceRef"] = json!("/logicalNetworks/fabric/subnets/others");
    let told = refused(&mut world, Method::Put, "/gatewayPools/default", elsewhere);
    assert!(told.contains("leave `seatFabricSubnet`"), "{told}");
    // Without it there are no seats, and everything is as it was before there were any.
    let mut without = pool();
    for property in ["seatFabricSubnet", "seatRackSubnet", "failoverTimers"] {
        without.as_object_mut().expect("an object").remove(property);
    }
    world.put("/gatewayPools/default", without);
    world.settle_all();
    assert!(world.seats().seats.is_empty() && world.base("GW1").pool.is_none());
    assert_eq!((world.tenants("GW1"), world.tenants("GW3")), (vec!["contoso".to_owned()], vec![]));
}

#[test]
fn an_agent_that_knows_nothing_of_seats_is_told_what_is_missing() {
    let mut world = World::seated();
    enrol(&mut world, &gateway(&"GW1".into()));
    world.connect_site("contoso", 100, 1000);
    world.settle();
    let (_, connection) = world.get("/virtualGateways/contoso/networkConnections/hq");
    let told = connection["properties"]["configurationState"].to_string();
    assert!(told.contains("cannot hold a seat"), "{told}");
}

impl World {
    /// What the controllers say to a gateway of the pool, once the store has it.
    fn vote(&mut self, asker: &str, seat: &str, epoch: u64, claim: seat::Claim) -> (u16, Option<seat::Verdict>) {
        let electorate = self.seats().electorate.number();
        let asked = seat::Moment(5);
        let ask = seat::Ask { seat: seat.into(), epoch: seat::Epoch(epoch), claim, electorate, asked };
        self.step(Event::Vote(CallId(903), gateway(&asker.into()), ask));
        self.settle_all();
        let (status, body) = self.answer(CallId(903));
        (status, serde_json::from_value(body["verdict"].clone()).ok())
    }
}

#[test]
fn in_an_even_pool_the_controllers_vote_and_the_next_leader_stands_by_it() {
    use seat::{Claim, Verdict};
    let mut world = World::seated();
    for number in 1..=2 {
        world.join(number, 7);
    }
    let (_, shown) = world.get("/gatewayPools/default");
    assert_eq!(shown["properties"]["configurationState"]["status"], "Success", "{shown}");
    // Neither outvotes the other without a controller, so that none stops because the other one does not answer.
    let charter = world.base("GW1").pool.expect("a pool").charter;
    assert!(charter.seats().values().all(|seat| seat.bound == seat::Bound::Unbounded));

    assert_eq!(world.vote("GW1", "GW1", 1, Claim::Bids), (200, Some(Verdict::Yes)));
    let next = world.seats().seats[&"GW1".into()].ahead().find(|grant| grant.epoch > 1).expect("a grant").clone();
    assert_eq!(next.to, "GW2".into());
    world.now += 120_000;
    assert_eq!(world.vote("GW2", "GW1", next.epoch, Claim::Bids), (200, Some(Verdict::Yes)));
    let promised = world.seats().seats[&"GW1".into()].promised.clone().expect("a promise");
    assert_eq!((promised.gateway, promised.epoch), ("GW2".into(), next.epoch));
    world.lead();
    let superseded = Verdict::Superseded(seat::Epoch(next.epoch));
    assert_eq!(world.vote("GW1", "GW1", 1, Claim::Holds), (200, Some(superseded)));
    // A gateway speaks for itself alone, of seats that its pool has.
    assert_eq!(world.vote("GW1", "GW1", next.epoch, Claim::Holds).1, Some(Verdict::Ungranted));
    assert_eq!(world.vote("GW1", "GW9", 1, Claim::Bids).1, Some(Verdict::Ungranted));
    assert_eq!(world.vote("GW9", "GW1", next.epoch, Claim::Bids).0, 404);
}

#[test]
fn no_vote_is_heard_before_the_store_has_it() {
    let mut world = World::seated();
    for number in 1..=2 {
        world.join(number, 7);
    }
    world.answers.clear();
    let electorate = world.seats().electorate.number();
    let ask = seat::Ask {
        seat: "GW1".into(),
        epoch: seat::Epoch(1),
        claim: seat::Claim::Bids,
        electorate,
        asked: seat::Moment(5),
    };
    world.step(Event::Vote(CallId(903), gateway(&"GW1".into()), ask));
    assert!(world.answers.is_empty() && !world.writes.is_empty());
    world.settle_all();
    assert_eq!(world.answer(CallId(903)).0, 200);
}

#[test]
fn what_is_written_of_seats_has_to_make_sense() {
    let mut world = World::seated();
    world.put(
        "/logicalNetworks/bare",
        json!({ "networkVirtualizationEnabled": true, "subnets": [
        { "resourceId": "s", "properties": { "addressPrefix": "10.40.0.0/24" } }] }),
    );
    let mut refused = |change: &dyn Fn(&mut Value)| {
        let mut wrong = pool();
        change(&mut wrong);
        let call = world.ask(Method::Put, "/gatewayPools/default", &json!({ "properties": wrong }), None);
        world.settle();
        let (status, body) = world.answer(call);
        assert_eq!(status, 400, "{body}");
        body["error"].to_string()
    };
    let fabric = |path: &'static str| move |pool: &mut Value| pool["seatFabricSubnet"]["resourceRef"] = json!(path);
    assert!(refused(&fabric("/logicalNetworks/bare/subnets/s")).contains("has no ipPools"));
    assert!(refused(&fabric("/logicalNetworks/fabric/subnets/racks")).contains("seats' subnet on the fabric"));
    let told = refused(&fabric("/logicalNetworks/vips/subnets/gre"));
    assert!(told.contains("GRE VIPs are drawn from") && told.contains("no provider addresses"), "{told}");
    assert!(refused(&|pool| _ = pool.as_object_mut().expect("an object").remove("seatFabricSubnet")).contains("first"));
    let told = refused(&|pool| pool["failoverTimers"] = json!({ "leaseMilliseconds": 1000 }));
    assert!(told.contains("does not outlive the restart"), "{told}");
}

/// A generator of numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        usize::try_from((mixed ^ (mixed >> 27)) % limit.max(1) as u64).expect("below a limit")
    }
}

/// Whose an epoch is: of which seat, whom, in which life.
type Granted = BTreeMap<u64, (String, String, u64)>;

/// Notes what gateways were told since.
fn note(world: &mut World, granted: &mut Granted) {
    let bases = world.plans.drain(..).filter_map(|event| event.base.clone());
    for plan in bases.map(|base| base.read::<Plan>().expect("a plan")) {
        for (seat, succession) in plan.pool.iter().flat_map(|pool| pool.charter.seats()) {
            for grant in &succession.grants {
                let whose = (seat.to_string(), grant.to.to_string(), grant.incarnation.0);
                let first = granted.entry(grant.epoch.0).or_insert_with(|| whose.clone());
                assert_eq!(*first, whose, "epoch {} is granted twice", grant.epoch.0);
            }
        }
    }
}

#[test]
fn no_epoch_is_granted_twice_whoever_leads_and_whenever_one_dies() {
    for seed in 1..=6 {
        let (mut world, mut random, mut granted) = (cloud(), Random(seed), Granted::new());
        for step in 1..=40 {
            let number = u8::try_from(1 + random.below(3)).expect("one of three");
            match random.below(6) {
                0 => {
                    let hello = world.hello_of(number, 100 + step);
                    let (agent, key) = (gateway(&format!("GW{number}").into()), KeyId([number; 32]));
                    let stream = StreamId(10_000 + step);
                    world.step(Event::Connect(CallId(904), stream, Connect { agent, key, hello }));
                }
                1 | 2 => {
                    let all: Vec<_> = granted.iter().map(|(epoch, whose)| (*epoch, whose.clone())).collect();
                    if let Some((epoch, (seat, holder, _))) = all.get(random.below(all.len())).cloned() {
                        let news =
                            SeatNews { holding: Holding::Replica, holder: Some(holder), epoch, ..SeatNews::default() };
                        let report = Report {
                            boot: BootId(format!("{step}")),
                            sequence: step,
                            seats: [(seat, news)].into(),
                            ..Report::default()
                        };
                        world.step(Event::Report(CallId(905), gateway(&format!("GW{number}").into()), report));
                    }
                }
                // A leader dies, and what it wrote last may not have come to the store.
                3 => {
                    let kept = random.below(world.writes.len() + 1);
                    world.writes.truncate(kept);
                    world.settle();
                    note(&mut world, &mut granted);
                    world.lead();
                }
                4 => world.settle(),
                _ => world.settle_all(),
            }
            note(&mut world, &mut granted);
        }
        world.settle_all();
        note(&mut world, &mut granted);
        assert!(granted.len() > 6, "{granted:?}");
        assert!(world.seats().settled().is_ok());
    }
}

impl World {
    /// Time passes, and everybody does as told.
    fn wait(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        self.settle_all();
    }

    fn post(&mut self, path: &str) -> (u16, Value) {
        let call = self.ask(Method::Post, path, &Value::Null, None);
        self.settle();
        self.answer(call)
    }

    /// Where the tenant's connection is, and how far its move is.
    fn placed(&mut self) -> (String, String) {
        let (_, explained) = self.get("/virtualGateways/contoso/networkConnections/hq?explain");
        let at = &explained["placement"];
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (word(&at["gateway"]), word(&at["transfer"]["stage"]))
    }

    /// A gateway tells of the connection in a seat that it holds.
    fn carries(&mut self, teller: &str, seat: &str, sequence: u64) {
        let news = SeatNews {
            holding: Holding::Held,
            holder: Some(teller.to_owned()),
            epoch: self.seats().seats[&seat.into()].held().max(1),
            ..SeatNews::default()
        };
        let report = Report {
            boot: BootId(teller.to_owned()),
            sequence,
            extent: Extent::Whole,
            seats: [(seat.to_owned(), news)].into(),
            tenants: [(format!("contoso@{seat}"), up())].into(),
            ..Report::default()
        };
        self.step(Event::Report(CallId(902), gateway(&teller.into()), report));
        self.settle_all();
    }
}

const MOVE: &str = "/virtualGateways/contoso/networkConnections/hq/move?to=GW2";

#[test]
fn a_connection_is_moved_in_stages_when_it_works_where_it_goes() {
    let mut world = cloud();
    world.carries("GW1", "GW1", 1);
    world.tell("GW2", "GW2", "GW2", 1, 1);
    let (status, look) = world.post(MOVE);
    assert_eq!((status, &look["confirmed"], &look["moves"][0]["from"]), (200, &json!(false), &json!("GW1")), "{look}");
    assert_eq!(world.placed(), ("GW1".to_owned(), String::new()), "a look moves nothing");
    let (status, begun) = world.post(&format!("{MOVE}&confirm=true"));
    assert_eq!((status, &begun["confirmed"]), (200, &json!(true)), "{begun}");
    assert_eq!(world.placed(), ("GW1".to_owned(), "known".to_owned()));
    for gateway in ["GW1", "GW2", "GW3"] {
        assert_eq!(world.tenants(gateway), ["contoso@GW1", "contoso@GW2"], "{gateway}");
    }
    world.wait(10_000);
    assert_eq!(world.placed(), ("GW1".to_owned(), "arriving".to_owned()), "it does not work there yet");
    world.carries("GW2", "GW2", 2);
    world.wait(2_000);
    assert_eq!(world.placed(), ("GW2".to_owned(), "leaving".to_owned()));
    world.wait(1_000);
    assert_eq!(world.placed().1, "leaving", "what is under way arrives first");
    world.wait(2_000);
    assert_eq!(world.placed().1, "announced");
    world.wait(3_000);
    assert_eq!(world.placed(), ("GW2".to_owned(), String::new()));
    for gateway in ["GW1", "GW2", "GW3"] {
        assert_eq!(world.tenants(gateway), ["contoso@GW2"], "{gateway}");
    }
}

#[test]
fn a_connection_that_does_not_come_up_where_it_goes_stays() {
    let mut world = cloud();
    world.carries("GW1", "GW1", 1);
    world.tell("GW2", "GW2", "GW2", 1, 1);
    world.post(&format!("{MOVE}&confirm=true"));
    world.wait(1);
    world.wait(31_000);
    assert_eq!(world.placed(), ("GW1".to_owned(), String::new()));
    assert_eq!(world.tenants("GW2"), ["contoso@GW1"]);
}

#[test]
fn a_seat_that_changes_hands_during_a_move_is_waited_for_at_who_holds_it_then() {
    let mut world = cloud();
    world.carries("GW1", "GW1", 1);
    world.tell("GW2", "GW2", "GW2", 1, 1);
    world.post(&format!("{MOVE}&confirm=true"));
    world.wait(1_000);
    assert_eq!(world.placed(), ("GW1".to_owned(), "arriving".to_owned()));
    let granted = |grant: &&Grant| grant.to.as_str() == "GW3";
    let epoch = world.seats().seats[&"GW2".into()].grants.iter().find(granted).expect("a grant ahead").epoch;
    world.tell("GW3", "GW2", "GW3", epoch, 1);
    world.wait(5_000);
    assert_eq!(world.placed(), ("GW1".to_owned(), "arriving".to_owned()), "it does not work at GW3 yet");
    world.carries("GW3", "GW2", 2);
    assert_eq!(world.placed(), ("GW2".to_owned(), "leaving".to_owned()));
}

#[test]
fn a_tenants_own_user_moves_nothing() {
    let mut world = cloud();
    world.carries("GW1", "GW1", 1);
    world.tell("GW2", "GW2", "GW2", 1, 1);
    for path in [MOVE.to_owned(), format!("{MOVE}&confirm=true")] {
        let mut request = world.request(Method::Post, &path, &Value::Null, None);
        request.principal = Principal::tenant("user", "contoso");
        world.step(Event::Request(CallId(910), request));
        world.settle();
        assert_eq!(world.answer(CallId(910)).0, 403);
    }
    assert_eq!(world.placed(), ("GW1".to_owned(), String::new()));
}

#[test]
fn the_next_leader_ends_a_move_where_it_is() {
    let mut world = cloud();
    world.carries("GW1", "GW1", 1);
    world.tell("GW2", "GW2", "GW2", 1, 1);
    world.post(&format!("{MOVE}&confirm=true"));
    assert_eq!(world.placed().1, "known");
    world.lead();
    world.settle();
    assert_eq!(world.placed(), ("GW1".to_owned(), String::new()));
}

#[test]
fn nothing_moves_where_it_cannot_be() {
    let mut world = cloud();
    let path = |to: &str| format!("/virtualGateways/contoso/networkConnections/hq/move{to}");
    assert_eq!(world.post(&path("")).0, 400);
    assert_eq!(world.post(&path("?to=GW9")).0, 400);
    assert_eq!(world.post("/virtualGateways/contoso/networkConnections/none/move?to=GW2").0, 404);
    assert_eq!(world.post("/gatewayPools/default/rebalance").1["next"], Value::Null);
}
