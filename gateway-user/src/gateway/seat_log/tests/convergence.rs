//! Whatever changes, breaks off, comes anew and is taken over: in the end every replica knows what the holder knows, and so do the tables
//! that are written from what is heard.

use super::super::entries::{Key, LogId, Name, Record, Room, Sequence, Subject, Value};
use super::super::holder::{FollowerId, Following, Log, REMINDER};
use super::super::message::Message;
use super::super::replica::{Refusal, Replica};
use super::super::report::{self, Part};
use super::super::seats::Seats;
use crate::dataplane::learned::{Via, Way};
use gateway_common::Epoch;
use gateway_common::moment::Moment;
use ipnet::IpNet;
use proptest::prelude::*;
use seat::{GatewayName, SeatName};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

const GATEWAYS: usize = 3;
const TENANTS: [&str; 2] = ["contoso", "fabrikam"];

fn seat() -> SeatName {
    "GW1".into()
}

fn gateway(number: usize) -> GatewayName {
    GatewayName::from(format!("GW{number}"))
}

fn net(number: u8) -> IpNet {
    IpNet::new([10, number, 0, 0].into(), 16).expect("a prefix")
}

fn route(tenant: &str, number: u8, way: u8) -> Record {
    let next_hop: IpAddr = [192, 0, 2, way].into();
    let way = Way { via: Via::Connection("hq".into()), next_hop };
    let ways: Vec<Way> = (next_hop != IpAddr::from([192, 0, 2, 0])).then_some(way).into_iter().collect();
    Record::route(tenant.into(), net(number), ways.into())
}

fn station(tenant: &str, number: u8, mac: u8) -> Record {
    let mac = (mac != 0).then_some([2, 0, 0, 0, 0, mac]);
    Record::neighbour(tenant.into(), "vlan".into(), [10, 0, 0, number].into(), mac)
}

type Known = BTreeMap<Key, Value>;

fn note(known: &mut Known, record: &Record) {
    match &record.value {
        Some(value) => known.insert(record.key.clone(), value.clone()),
        None => known.remove(&record.key),
    };
}

fn known(seats: &Seats) -> Known {
    let all = seats.known(&seat()).into_iter();
    let told = all.filter(|record| record.key.subject != Subject::Complete);
    told.filter_map(|record| Some((record.key, record.value?))).collect()
}

/// One gateway that follows another.
struct Pipe {
    id: FollowerId,
    down: VecDeque<Message>,
    up: VecDeque<Message>,
}

#[derive(Clone, Debug)]
enum Step {
    Route { tenant: usize, number: u8, way: u8 },
    Station { tenant: usize, number: u8, mac: u8 },
    Complete { tenant: usize },
    Connect { from: usize, to: usize },
    Disconnect { from: usize, to: usize },
    Produce { from: usize, to: usize },
    Deliver { from: usize, to: usize },
    Answer { from: usize, to: usize },
    Take { gateway: usize },
    Release { gateway: usize },
    Restart,
}

struct World {
    room: Room,
    gateways: Vec<Seats>,
    /// What the tables of each would hold.
    written: Vec<Known>,
    pipes: BTreeMap<(usize, usize), Pipe>,
    truth: Known,
    holder: usize,
    epoch: u64,
    life: u64,
}

impl World {
    fn new(room: Room) -> Self {
        let one = |_| {
            let mut seats = Seats::new(room);
            seats.want(&[seat()].into());
            seats
        };
        let mut world = Self {
            room,
            gateways: (0..GATEWAYS).map(one).collect(),
            written: vec![Known::new(); GATEWAYS],
            pipes: BTreeMap::new(),
            truth: Known::new(),
            holder: 0,
            epoch: 0,
            life: 0,
        };
        world.take(0);
        world
    }

    fn id(&mut self) -> LogId {
        self.life += 1;
        LogId { epoch: Epoch(self.epoch), life: self.life }
    }

    fn take(&mut self, gateway: usize) {
        self.epoch += 1;
        self.holder = gateway;
        let id = self.id();
        self.gateways[gateway].hold(&seat(), id);
    }

    fn release(&mut self, gateway: usize) {
        if gateway != self.holder {
            let before = known(&self.gateways[gateway]);
            if matches!(self.gateways[gateway].report(Moment(0))[0].part, Part::Holder { .. }) {
                self.written[gateway] = before;
            }
            self.gateways[gateway].release(&seat());
        }
    }

    fn put(&mut self, record: Record) {
        note(&mut self.truth, &record);
        self.gateways[self.holder].put(&seat(), [record]);
    }

    fn connect(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        self.disconnect(from, to);
        let id = self.gateways[to].connect(gateway(from));
        let up = VecDeque::from([self.gateways[from].follows()]);
        self.pipes.insert((from, to), Pipe { id, down: VecDeque::new(), up });
    }

    fn disconnect(&mut self, from: usize, to: usize) {
        if let Some(pipe) = self.pipes.remove(&(from, to)) {
            self.gateways[to].disconnect(pipe.id);
        }
    }

    fn produce(&mut self, from: usize, to: usize) -> bool {
        let Some(pipe) = self.pipes.get_mut(&(from, to)) else { return false };
        let message = self.gateways[to].next(pipe.id, Moment(0));
        let some = message.is_some();
        pipe.down.extend(message);
        some
    }

    fn deliver(&mut self, from: usize, to: usize) -> bool {
        let Some(pipe) = self.pipes.get_mut(&(from, to)) else { return false };
        let Some(message) = pipe.down.pop_front() else { return false };
        let (heard, answer) = self.gateways[from].told(&gateway(to), message);
        pipe.up.extend(answer);
        for record in heard.into_iter().flat_map(|heard| heard.changes) {
            if record.key.subject != Subject::Complete {
                note(&mut self.written[from], &record);
            }
        }
        true
    }

    fn answer(&mut self, from: usize, to: usize) -> bool {
        let Some(pipe) = self.pipes.get_mut(&(from, to)) else { return false };
        let Some(message) = pipe.up.pop_front() else { return false };
        self.gateways[to].asked(pipe.id, message, Moment(0));
        true
    }

    /// The holder's agent comes anew under the same epoch: stations are read at once, routes come again later.
    fn restart(&mut self) {
        let holder = self.holder;
        for other in 0..GATEWAYS {
            self.disconnect(other, holder);
            self.disconnect(holder, other);
        }
        self.gateways[holder] = Seats::new(self.room);
        self.gateways[holder].want(&[seat()].into());
        let id = self.id();
        self.gateways[holder].hold(&seat(), id);
        self.tell_stations();
    }

    fn tell_stations(&mut self) {
        let stations = self.truth.iter().filter_map(|(key, value)| match (&key.subject, value) {
            (Subject::Neighbour { connection, address }, Value::Neighbour(mac)) => {
                Some((key.tenant.clone(), connection.clone(), *address, *mac))
            }
            _ => None,
        });
        self.gateways[self.holder].neighbours(&seat(), stations);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Route { tenant, number, way } => self.put(route(TENANTS[tenant], number, way)),
            Step::Station { tenant, number, mac } => self.put(station(TENANTS[tenant], number, mac)),
            Step::Complete { tenant } => self.complete(TENANTS[tenant]),
            Step::Connect { from, to } => self.connect(from, to),
            Step::Disconnect { from, to } => self.disconnect(from, to),
            Step::Produce { from, to } => {
                self.produce(from, to);
            }
            Step::Deliver { from, to } => {
                self.deliver(from, to);
            }
            Step::Answer { from, to } => {
                self.answer(from, to);
            }
            Step::Take { gateway } if gateway != self.holder => self.take(gateway),
            Step::Take { .. } => {}
            Step::Release { gateway } => self.release(gateway),
            Step::Restart => self.restart(),
        }
    }

    /// A router that has learned everything has told everything.
    fn complete(&mut self, tenant: &str) {
        let routes = self.truth.iter().filter(|(key, _)| *key.tenant == *tenant);
        let routes: Vec<Record> =
            routes.map(|(key, value)| Record { key: key.clone(), value: Some(value.clone()) }).collect();
        self.gateways[self.holder].put(&seat(), routes);
        self.gateways[self.holder].complete(&seat(), &tenant.into());
    }

    /// Everything that is under way arrives, and everybody is connected.
    fn settle(&mut self) {
        for gateway in 0..GATEWAYS {
            self.release(gateway);
        }
        TENANTS.iter().for_each(|tenant| self.complete(tenant));
        self.tell_stations();
        for from in 0..GATEWAYS {
            for to in 0..GATEWAYS {
                if !self.pipes.contains_key(&(from, to)) {
                    self.connect(from, to);
                }
            }
        }
        for _ in 0..100_000 {
            let mut moved = false;
            for from in 0..GATEWAYS {
                for to in 0..GATEWAYS {
                    moved |= self.answer(from, to);
                    moved |= self.produce(from, to);
                    moved |= self.deliver(from, to);
                }
            }
            if !moved {
                return;
            }
        }
        panic!("they never stop talking");
    }

    fn check(&self) {
        for (number, seats) in self.gateways.iter().enumerate() {
            assert_eq!(known(seats), self.truth, "what gateway {number} knows; {} holds", self.holder);
            if number != self.holder {
                assert_eq!(self.written[number], self.truth, "what gateway {number} has written");
            }
        }
        let Part::Holder { protected, followers, .. } = &self.gateways[self.holder].report(Moment(0))[0].part else {
            panic!("the holder holds");
        };
        assert!(protected);
        for follower in followers {
            assert_eq!((follower.following, follower.changes), (report::Following::Live, 0), "{follower:?}");
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let pair = || (0..GATEWAYS, 0..GATEWAYS);
    prop_oneof![
        6 => (0..2usize, 0..10u8, 0..4u8).prop_map(|(tenant, number, way)| Step::Route { tenant, number, way }),
        3 => (0..2usize, 0..6u8, 0..3u8).prop_map(|(tenant, number, mac)| Step::Station { tenant, number, mac }),
        1 => (0..2usize).prop_map(|tenant| Step::Complete { tenant }),
        2 => pair().prop_map(|(from, to)| Step::Connect { from, to }),
        1 => pair().prop_map(|(from, to)| Step::Disconnect { from, to }),
        6 => pair().prop_map(|(from, to)| Step::Produce { from, to }),
        6 => pair().prop_map(|(from, to)| Step::Deliver { from, to }),
        4 => pair().prop_map(|(from, to)| Step::Answer { from, to }),
        1 => (0..GATEWAYS).prop_map(|gateway| Step::Take { gateway }),
        2 => (0..GATEWAYS).prop_map(|gateway| Step::Release { gateway }),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn replicas_end_with_what_the_holder_knows(
        steps in proptest::collection::vec(step(), 0..250),
        gone in 0..5usize,
    ) {
        let mut world = World::new(Room { entries: 64, gone });
        for step in steps {
            world.step(step);
        }
        world.settle();
        world.check();
    }

    #[test]
    fn memory_is_what_there_is_to_tell_and_a_bounded_past(
        records in proptest::collection::vec((0..40u8, 0..3u8), 0..400),
        follows in any::<bool>(),
    ) {
        let room = Room { entries: 16, gone: 4 };
        let mut log = Log::new(LogId::default(), room);
        if follows {
            // It never takes anything, and holds nothing up.
            log.join(FollowerId(1), None);
            log.next(&seat(), FollowerId(1), Moment(0));
        }
        for (number, way) in records {
            log.put(route("contoso", number, way));
            prop_assert!(log.len() <= room.entries);
            prop_assert!(log.places() <= room.entries + room.gone);
        }
    }
}

fn id(epoch: u64, life: u64) -> LogId {
    LogId { epoch: Epoch(epoch), life }
}

fn room() -> Room {
    Room { entries: 100, gone: 10 }
}

fn told(log: &mut Log, follower: FollowerId) -> Vec<Message> {
    std::iter::from_fn(|| log.next(&seat(), follower, Moment(0))).collect()
}

#[test]
fn who_comes_again_is_told_what_it_missed_and_nothing_else() {
    let (mut log, mut replica) = (Log::new(id(1, 1), room()), Replica::new(room()));
    log.put(route("contoso", 1, 1));
    log.put(route("contoso", 2, 1));
    log.join(FollowerId(1), replica.has());
    told(&mut log, FollowerId(1)).into_iter().for_each(|message| drop(replica.hear(message)));
    log.leave(FollowerId(1));
    log.put(route("contoso", 1, 0));
    log.put(route("contoso", 3, 1));
    log.join(FollowerId(2), replica.has());
    let messages = told(&mut log, FollowerId(2));
    let [Message::Begin { after, .. }, Message::Records { records, .. }, Message::Whole { .. }] = &messages[..] else {
        panic!("{messages:?}");
    };
    assert_eq!((*after, records.len()), (Sequence(2), 2));
    messages.into_iter().for_each(|message| drop(replica.hear(message)));
    assert_eq!(replica.iter().count(), 2);
}

#[test]
fn who_is_too_far_behind_begins_anew() {
    let mut log = Log::new(id(1, 1), Room { entries: 100, gone: 2 });
    (1..=5).for_each(|number| log.put(route("contoso", number, 1)));
    log.join(FollowerId(1), Some((id(1, 1), Sequence(5))));
    let begin = |messages: Vec<Message>| match messages.first() {
        Some(Message::Begin { after, .. }) => *after,
        other => panic!("{other:?}"),
    };
    assert_eq!(begin(told(&mut log, FollowerId(1))), Sequence(5));
    (1..=4).for_each(|number| log.put(route("contoso", number, 0)));
    assert_eq!(begin(told(&mut log, FollowerId(1))), Sequence::START);
}

#[test]
fn what_is_of_an_earlier_epoch_is_refused() {
    let mut replica = Replica::new(room());
    replica.begin(id(5, 1), Sequence::START).expect("the first");
    let records = vec![route("contoso", 1, 1)];
    let first = (Sequence(0), Sequence(1));
    assert_eq!(replica.begin(id(4, 9), Sequence::START), Err(Refusal::Older(Epoch(5))));
    assert_eq!(replica.take(id(4, 9), first, records.clone()), Err(Refusal::Older(Epoch(5))));
    assert_eq!(replica.begin(id(5, 0), Sequence::START), Err(Refusal::Past), "an earlier life of the same holder");
    replica.take(id(5, 1), first, records.clone()).expect("the next");
    assert_eq!(replica.take(id(5, 1), first, records.clone()), Err(Refusal::Missing(id(5, 1))), "the same again");
    replica.heard_of(Epoch(6));
    assert_eq!(replica.take(id(5, 1), (Sequence(1), Sequence(2)), records), Err(Refusal::Older(Epoch(6))));
    assert_eq!(replica.len(), 1, "what was known stays");
}

#[test]
fn routes_stay_until_the_next_holders_router_has_learned_all() {
    let tenant: Name = "contoso".into();
    let mut replica = Replica::new(room());
    let mut first = Log::new(id(1, 1), room());
    first.put(route("contoso", 1, 1));
    first.put(route("contoso", 2, 1));
    first.put(station("contoso", 1, 1));
    first.complete(&tenant);
    first.join(FollowerId(1), None);
    told(&mut first, FollowerId(1)).into_iter().for_each(|message| drop(replica.hear(message)));
    // It has taken the seat with nothing in its hands, as a restarted agent does.
    let mut next = Log::new(id(2, 1), room());
    next.put(route("contoso", 1, 1));
    next.join(FollowerId(1), replica.has());
    let heard: Vec<Record> =
        told(&mut next, FollowerId(1)).into_iter().flat_map(|message| replica.hear(message).0).collect();
    assert_eq!(heard, [station("contoso", 1, 0)], "stations are what the kernel says, routes are not all told yet");
    next.complete(&tenant);
    let heard: Vec<Record> =
        told(&mut next, FollowerId(1)).into_iter().flat_map(|message| replica.hear(message).0).collect();
    assert_eq!(heard, [route("contoso", 2, 0), Record::complete(tenant)]);
}

#[test]
fn what_was_inherited_and_is_not_learned_again_goes_when_the_router_is_back() {
    let tenant: Name = "contoso".into();
    let entries = [route("contoso", 1, 1), route("contoso", 2, 1), station("contoso", 1, 1)];
    let entries = entries.map(|record| (record.key, record.value.expect("there")));
    let mut log = Log::inherit(id(2, 1), room(), entries);
    log.put(route("contoso", 1, 1));
    assert_eq!(log.len(), 3);
    log.complete(&tenant);
    let left: Vec<Record> =
        log.iter().map(|(key, value)| Record { key: key.clone(), value: Some(value.clone()) }).collect();
    assert_eq!(left, [Record::complete(tenant.clone()), station("contoso", 1, 1), route("contoso", 1, 1)]);
    log.forget(&tenant);
    assert!(log.is_empty());
}

#[test]
fn what_is_not_acknowledged_is_told_again_after_a_while() {
    let (mut log, mut replica, follower) = (Log::new(id(2, 1), room()), Replica::new(room()), FollowerId(1));
    log.put(route("contoso", 1, 1));
    log.join(follower, None);
    // It held the seat itself, and took nothing.
    assert_eq!(told(&mut log, follower).len(), 3);
    let later = Moment(0) + REMINDER;
    let again: Vec<Message> = std::iter::from_fn(|| log.next(&seat(), follower, later)).collect();
    assert_eq!(again.len(), 3);
    for message in again.iter().chain(&again[1..]).cloned() {
        if let (_, Some(Message::Acknowledged { log: of, at, .. })) = replica.hear(message) {
            log.acknowledge(follower, of, at, later);
        }
    }
    assert_eq!(replica.len(), 1);
    let lag = log.lag(follower, later).expect("it follows");
    assert_eq!((lag.following, lag.changes, lag.time), (Following::Live, 0, Duration::ZERO));
    assert_eq!(log.next(&seat(), follower, later + REMINDER), None);
    // One that goes back hears what it heard before.
    replica.begin(id(2, 1), Sequence(1)).expect("where it is");
    assert_eq!(replica.begin(id(2, 1), Sequence(2)), Err(Refusal::Missing(id(2, 1))));
}

#[test]
fn a_seat_is_protected_once_somebody_has_acknowledged_everything() {
    let (mut log, follower) = (Log::new(id(1, 1), room()), FollowerId(1));
    let lag = |log: &Log| log.lag(follower, Moment(7_000_000)).expect("it follows");
    log.put(route("contoso", 1, 1));
    log.join(follower, None);
    assert_eq!((lag(&log).following, lag(&log).changes), (Following::CatchingUp, 1));
    told(&mut log, follower);
    assert_eq!((lag(&log).following, lag(&log).time), (Following::CatchingUp, Duration::from_millis(7)));
    log.acknowledge(follower, id(1, 1), Sequence(9), Moment(0));
    assert_eq!(lag(&log).changes, 1, "nobody acknowledges what was not sent");
    log.acknowledge(follower, id(1, 1), Sequence(1), Moment(0));
    assert_eq!((lag(&log).following, lag(&log).changes), (Following::Live, 0));
    assert_eq!(lag(&log).time, Duration::ZERO);
    log.refused_by(follower, Epoch(1));
    assert_eq!(lag(&log).following, Following::Live, "an epoch that is not later refuses nothing");
    log.refused_by(follower, Epoch(2));
    assert_eq!(lag(&log).following, Following::Refused(Epoch(2)));
    log.put(route("contoso", 1, 2));
    assert!(told(&mut log, follower).is_empty());
}
