//! All seats of a gateway, and the connections by which others follow those that it holds: no sockets, no clock.

use super::entries::{Fact, LogId, Name, Record, Room};
use super::holder::{FollowerId, Following, Log};
use super::message::{self, Message};
use super::replica::Replica;
use super::report::{FollowerReport, Part, SeatLogReport};
use crate::dataplane::world::Mac;
use gateway_common::Epoch;
use gateway_common::moment::Moment;
use seat::{GatewayName, SeatName};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

/// What is different by something that the holder of a seat said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The seat.
    pub seat: SeatName,
    /// What is different. That a tenant's routes are [complete](Fact::Complete) is said whenever all of them were told anew.
    pub changes: Vec<Record>,
}

/// This gateway's side of a seat.
#[derive(Debug)]
enum Side {
    Holder(Log),
    Replica {
        replica: Replica,
        /// Whom it was heard from.
        holder: Option<GatewayName>,
    },
}

/// A connection by which another gateway follows.
#[derive(Debug)]
struct Connection {
    gateway: GatewayName,
    seats: BTreeMap<SeatName, message::Following>,
    outbox: VecDeque<Message>,
}

/// The logs of a gateway's seats.
#[derive(Debug, Default)]
pub struct Seats {
    room: Room,
    seats: BTreeMap<SeatName, Side>,
    connections: BTreeMap<FollowerId, Connection>,
    last: u64,
}

impl Seats {
    /// With so much room for each seat.
    pub fn new(room: Room) -> Self {
        Self { room, ..Self::default() }
    }

    /// The seats that this gateway may hold. Those that come are replicas.
    pub fn want(&mut self, seats: &BTreeSet<SeatName>) {
        self.seats.retain(|seat, _| seats.contains(seat));
        for seat in seats {
            if !self.seats.contains_key(seat) {
                self.seats.insert(seat.clone(), Side::Replica { replica: Replica::new(self.room), holder: None });
            }
        }
    }

    /// This gateway holds a seat under an epoch: a log begins, with what was known of it. The same again changes nothing.
    pub fn hold(&mut self, seat: &SeatName, log: LogId) {
        let Some(side) = self.seats.get_mut(seat) else { return };
        if matches!(side, Side::Holder(held) if held.id().epoch >= log.epoch) {
            return;
        }
        let nothing = Side::Holder(Log::new(log, self.room));
        let mut fresh = match std::mem::replace(side, nothing) {
            Side::Holder(held) => Log::inherit(log, self.room, held.into_entries()),
            Side::Replica { replica, .. } => Log::inherit(log, self.room, replica.into_entries()),
        };
        for (id, connection) in &self.connections {
            if let Some(following) = connection.seats.get(seat) {
                fresh.join(*id, following.has);
            }
        }
        *side = Side::Holder(fresh);
    }

    /// This gateway holds a seat no more, or not yet. What it knew of it is kept.
    pub fn release(&mut self, seat: &SeatName) {
        let Some(side) = self.seats.get_mut(seat) else { return };
        let Side::Holder(log) = side else { return };
        let epoch = log.id().epoch;
        let followers: Vec<FollowerId> = log.followers().collect();
        let log = std::mem::replace(log, Log::new(LogId::default(), self.room));
        *side = Side::Replica { replica: Replica::after(epoch, self.room, log.into_entries()), holder: None };
        for id in followers {
            if let Some(connection) = self.connections.get_mut(&id) {
                // What it has is of a log that is over.
                if let Some(following) = connection.seats.get_mut(seat) {
                    following.has = None;
                }
                connection.outbox.push_back(Message::Ended { seat: seat.clone(), epoch });
            }
        }
    }

    /// Somebody holds a seat under this epoch.
    pub fn heard_of(&mut self, seat: &SeatName, epoch: Epoch) {
        if let Some(Side::Replica { replica, .. }) = self.seats.get_mut(seat) {
            replica.heard_of(epoch);
        }
    }

    /// What became of things of a seat that this gateway holds.
    pub fn put(&mut self, seat: &SeatName, records: impl IntoIterator<Item = Record>) {
        if let Some(log) = self.log(seat) {
            records.into_iter().for_each(|record| log.put(record));
        }
    }

    /// All stations that are known of a seat that this gateway holds.
    pub fn neighbours(&mut self, seat: &SeatName, all: impl IntoIterator<Item = (Name, Name, IpAddr, Mac)>) {
        if let Some(log) = self.log(seat) {
            log.neighbours(all);
        }
    }

    /// A tenant's router has learned all that its peers have to say.
    pub fn complete(&mut self, seat: &SeatName, tenant: &Name) {
        if let Some(log) = self.log(seat) {
            log.complete(tenant);
        }
    }

    /// The tenants that have a part in a seat that this gateway holds: what was known of others is forgotten. A replica is told of that by
    /// the holder, whose plan it may not have yet.
    pub fn tenants(&mut self, seat: &SeatName, tenants: &BTreeSet<Name>) {
        if let Some(log) = self.log(seat) {
            log.tenants().difference(tenants).for_each(|tenant| log.forget(tenant));
        }
    }

    /// All that is known of a seat, as records.
    pub fn known(&self, seat: &SeatName) -> Vec<Record> {
        let record = |(key, value): (&_, &_)| Record { key: Clone::clone(key), value: Some(Clone::clone(value)) };
        match self.seats.get(seat) {
            Some(Side::Holder(log)) => log.iter().map(record).collect(),
            Some(Side::Replica { replica, .. }) => replica.iter().map(record).collect(),
            None => Vec::new(),
        }
    }

    fn log(&mut self, seat: &SeatName) -> Option<&mut Log> {
        match self.seats.get_mut(seat) {
            Some(Side::Holder(log)) => Some(log),
            _ => None,
        }
    }

    /// What is asked of other gateways: the seats that are not held here, with what is known of each.
    pub fn follows(&self) -> Message {
        let of = |(seat, side): (&SeatName, &Side)| match side {
            Side::Replica { replica, .. } => message::Following { seat: seat.clone(), has: replica.has() },
            // It may be given away any time, and the one that takes it is to tell of it then.
            Side::Holder(_) => message::Following { seat: seat.clone(), has: None },
        };
        Message::Follow(self.seats.iter().map(of).collect())
    }

    /// Takes what another gateway says of a seat that it holds: what is different by it, and what to answer.
    pub fn told(&mut self, gateway: &GatewayName, message: Message) -> (Option<Heard>, Option<Message>) {
        if let Message::Ended { seat, .. } = &message
            && let Some(Side::Replica { holder, .. }) = self.seats.get_mut(seat)
        {
            *holder = holder.take().filter(|holder| holder != gateway);
        }
        let name = match &message {
            Message::Begin { seat, .. } | Message::Records { seat, .. } | Message::Whole { seat, .. } => seat.clone(),
            _ => return (None, None),
        };
        match self.seats.get_mut(&name) {
            Some(Side::Replica { replica, holder }) => {
                let (changes, answer) = replica.hear(message);
                if matches!(answer, Some(Message::Acknowledged { .. })) && holder.as_ref() != Some(gateway) {
                    *holder = Some(gateway.clone());
                }
                ((!changes.is_empty()).then_some(Heard { seat: name, changes }), answer)
            }
            // It is held here, under a later epoch or an earlier one: the voters know which, and say so to the one that is not to hold it.
            Some(Side::Holder(log)) => (None, Some(Message::Refused { seat: name, epoch: log.id().epoch })),
            None => (None, None),
        }
    }

    /// Another gateway has connected, to follow.
    pub fn connect(&mut self, gateway: GatewayName) -> FollowerId {
        self.last += 1;
        let id = FollowerId(self.last);
        let connection = Connection { gateway, seats: BTreeMap::new(), outbox: VecDeque::new() };
        self.connections.insert(id, connection);
        id
    }

    /// It has gone.
    pub fn disconnect(&mut self, id: FollowerId) {
        self.connections.remove(&id);
        for side in self.seats.values_mut() {
            if let Side::Holder(log) = side {
                log.leave(id);
            }
        }
    }

    /// Takes what a follower says.
    pub fn asked(&mut self, id: FollowerId, message: Message, now: Moment) {
        match message {
            Message::Follow(seats) => {
                let Some(connection) = self.connections.get_mut(&id) else { return };
                connection.seats = seats.into_iter().map(|following| (following.seat.clone(), following)).collect();
                for (seat, side) in &mut self.seats {
                    let Side::Holder(log) = side else { continue };
                    match connection.seats.get(seat) {
                        Some(following) if !log.is_followed_by(id) => log.join(id, following.has),
                        Some(_) => {}
                        None => log.leave(id),
                    }
                }
            }
            Message::Acknowledged { seat, log: of, at } => {
                if let Some(log) = self.log(&seat) {
                    log.acknowledge(id, of, at, now);
                }
            }
            Message::Again { seat, log: of } => {
                if let Some(log) = self.log(&seat) {
                    log.again(id, of);
                }
            }
            Message::Refused { seat, epoch } => {
                if let Some(log) = self.log(&seat) {
                    log.refused_by(id, epoch);
                }
            }
            _ => {}
        }
    }

    /// What a follower is to be told next.
    pub fn next(&mut self, id: FollowerId, now: Moment) -> Option<Message> {
        if let Some(message) = self.connections.get_mut(&id)?.outbox.pop_front() {
            return Some(message);
        }
        self.seats.iter_mut().find_map(|(seat, side)| match side {
            Side::Holder(log) => log.next(seat, id, now),
            Side::Replica { .. } => None,
        })
    }

    /// How all of it is.
    pub fn report(&self, now: Moment) -> Vec<SeatLogReport> {
        let of = |(seat, side): (&SeatName, &Side)| {
            let part = match side {
                Side::Holder(log) => self.report_holder(log, now),
                Side::Replica { replica, holder } => Part::Replica {
                    holder: holder.clone(),
                    epoch: replica.has().map(|(log, _)| log.epoch.0),
                    whole: replica.is_whole(),
                    entries: replica.len() as u64,
                    refused: replica.refused(),
                },
            };
            SeatLogReport { seat: seat.clone(), part }
        };
        self.seats.iter().map(of).collect()
    }

    fn report_holder(&self, log: &Log, now: Moment) -> Part {
        let follower = |(id, connection): (&FollowerId, &Connection)| {
            let lag = log.lag(*id, now)?;
            let gateway = connection.gateway.clone();
            Some(FollowerReport {
                gateway,
                following: lag.following.into(),
                changes: lag.changes,
                milliseconds: lag.time.as_millis() as u64,
            })
        };
        let followers: Vec<FollowerReport> = self.connections.iter().filter_map(follower).collect();
        let is_live = |id| log.lag(id, now).is_some_and(|lag| lag.following == Following::Live);
        Part::Holder {
            epoch: log.id().epoch.0,
            protected: log.followers().any(is_live),
            entries: log.len() as u64,
            refused: log.refused(),
            followers,
        }
    }
}

/// A change as a learned one is taken.
impl Record {
    /// The learned route that it tells of.
    pub fn as_route(&self) -> Option<crate::dataplane::learned::Change> {
        match self.fact() {
            Fact::Route { prefix, ways } => Some(crate::dataplane::learned::Change { prefix, ways: ways.to_vec() }),
            _ => None,
        }
    }
}
