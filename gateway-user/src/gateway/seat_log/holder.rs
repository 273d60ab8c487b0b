//! The holder's log: the last word on each thing, in the order in which the words were said.
//!
//! A newcomer is told what a follower is told, only from the start: the walk over all that there is *is* the snapshot, and what changes
//! meanwhile comes later in the same walk. So nothing is ever copied for anyone, and memory is what there is to tell, once.

use super::entries::{Key, LogId, Name, Record, Room, Sequence, Subject, Value};
use super::message::{BATCH, Message, weight};
use crate::dataplane::world::Mac;
use gateway_common::Epoch;
use gateway_common::moment::Moment;
use seat::SeatName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// When what was not acknowledged is told again: to one that held the seat itself until a moment ago, for instance, and so took nothing.
pub(super) const REMINDER: Duration = Duration::from_secs(5);

/// Who follows: one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FollowerId(pub u64);

/// What a holder knows of its seat, for those that may take it.
#[derive(Debug)]
pub struct Log {
    id: LogId,
    room: Room,
    head: Sequence,
    entries: BTreeMap<Key, Slot>,
    /// Every entry's key at the place of its last change.
    order: BTreeMap<Sequence, Key>,
    /// Places of what is gone.
    gone: BTreeSet<Sequence>,
    /// What is gone up to here may be forgotten.
    floor: Sequence,
    refused: u64,
    followers: BTreeMap<FollowerId, Follower>,
}

#[derive(Debug)]
struct Slot {
    at: Sequence,
    value: Option<Value>,
    source: Source,
}

/// Whence a holder knows something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// It heard it itself.
    Own,
    /// The holder before it did.
    Inherited,
}

#[derive(Debug)]
struct Follower {
    has: Option<(LogId, Sequence)>,
    walk: Option<Walk>,
    acknowledged: Sequence,
    /// Whether it has acknowledged all that was there when it came.
    live: bool,
    /// Something that was sent and is not acknowledged, and when it was sent.
    mark: Option<(Sequence, Moment)>,
    refused: Option<Epoch>,
}

/// How far a follower was told.
#[derive(Clone, Copy, Debug)]
struct Walk {
    sent: Sequence,
    /// What was gone by this place need not be told.
    since: Sequence,
    /// Where it is whole; nothing once that was said.
    goal: Option<Sequence>,
    /// The place at which that was said.
    whole: Option<Sequence>,
}

/// How a follower is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Following {
    /// It is being told what there is.
    CatchingUp,
    /// It has everything but what changed lately.
    Live,
    /// It knows of a later epoch.
    Refused(Epoch),
}

/// How far a follower is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// How it is.
    pub following: Following,
    /// Changes that it has not acknowledged, at most.
    pub changes: u64,
    /// How long it has owed the oldest acknowledgement.
    pub time: Duration,
}

impl Log {
    /// An empty one.
    pub fn new(id: LogId, room: Room) -> Self {
        Self {
            id,
            room,
            head: Sequence::START,
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            gone: BTreeSet::new(),
            floor: Sequence::START,
            refused: 0,
            followers: BTreeMap::new(),
        }
    }

    /// One that begins with what its holder knew as a replica. That holds until it is told anew, or its tenant's router has
    /// learned [all](Self::complete).
    pub fn inherit(id: LogId, room: Room, entries: impl IntoIterator<Item = (Key, Value)>) -> Self {
        let mut log = Self::new(id, room);
        for (key, value) in entries {
            if key.subject != Subject::Complete {
                log.put_from(Record { key, value: Some(value) }, Source::Inherited);
            }
        }
        log
    }

    /// Which log it is.
    pub fn id(&self) -> LogId {
        self.id
    }

    /// The place of the last change.
    pub fn head(&self) -> Sequence {
        self.head
    }

    /// How many things are known.
    pub fn len(&self) -> usize {
        self.entries.len() - self.gone.len()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many things there was no room for.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// All that is known.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.entries.iter().filter_map(|(key, slot)| Some((key, slot.value.as_ref()?)))
    }

    /// The same, when the seat is held no more.
    pub fn into_entries(self) -> impl Iterator<Item = (Key, Value)> {
        self.entries.into_iter().filter_map(|(key, slot)| Some((key, slot.value?)))
    }

    /// Takes a change in.
    pub fn put(&mut self, record: Record) {
        self.put_from(record, Source::Own);
    }

    fn put_from(&mut self, Record { key, value }: Record, source: Source) {
        let full = self.len() >= self.room.entries;
        let slot = self.entries.get_mut(&key);
        if slot.as_ref().and_then(|slot| slot.value.as_ref()) == value.as_ref() {
            if let Some(slot) = slot {
                slot.source = source;
            }
            return;
        }
        if full && slot.is_none_or(|slot| slot.value.is_none()) {
            self.refused += 1;
            return;
        }
        self.head = self.head.next();
        let at = self.head;
        if value.is_none() {
            self.gone.insert(at);
        }
        self.order.insert(at, key.clone());
        if let Some(before) = self.entries.insert(key, Slot { at, value, source }) {
            self.order.remove(&before.at);
            self.gone.remove(&before.at);
        }
        while self.gone.len() > self.room.gone
            && let Some(oldest) = self.gone.pop_first()
        {
            self.floor = oldest;
            if let Some(key) = self.order.remove(&oldest) {
                self.entries.remove(&key);
            }
        }
    }

    /// All stations that are known: whoever is not among them is known no more.
    pub fn neighbours(&mut self, all: impl IntoIterator<Item = (Name, Name, IpAddr, Mac)>) {
        let mut known = BTreeSet::new();
        for (tenant, connection, address, mac) in all {
            let record = Record::neighbour(tenant, connection, address, Some(mac));
            known.insert(record.key.clone());
            self.put(record);
        }
        let mut gone = Vec::new();
        for tenant in self.tenants() {
            // They come before the tenant's routes, of which there may be many.
            let first = Key { tenant, subject: Subject::Complete };
            let stations = self
                .entries
                .range(&first..)
                .take_while(|(key, _)| key.tenant == first.tenant && !matches!(key.subject, Subject::Route(_)));
            let is_gone = |key: &Key, slot: &Slot| {
                matches!(key.subject, Subject::Neighbour { .. }) && slot.value.is_some() && !known.contains(key)
            };
            gone.extend(stations.filter(|(key, slot)| is_gone(key, slot)).map(|(key, _)| key.clone()));
        }
        gone.into_iter().for_each(|key| self.put(Record::gone(key)));
    }

    /// A tenant's router has learned all that its peers have to say: routes that were inherited and not learned again are gone.
    pub fn complete(&mut self, tenant: &Name) {
        let stale = |key: &Key, slot: &Slot| {
            matches!(key.subject, Subject::Route(_)) && slot.value.is_some() && slot.source == Source::Inherited
        };
        self.give_up(tenant, stale);
        self.put(Record::complete(tenant.clone()));
    }

    /// A tenant has no part in the seat any more.
    pub fn forget(&mut self, tenant: &Name) {
        self.give_up(tenant, |_, slot| slot.value.is_some());
    }

    fn give_up(&mut self, tenant: &Name, which: impl Fn(&Key, &Slot) -> bool) {
        let first = Key { tenant: tenant.clone(), subject: Subject::Complete };
        let of_tenant = self.entries.range(first..).take_while(|(key, _)| key.tenant == *tenant);
        let gone: Vec<Key> = of_tenant.filter(|(key, slot)| which(key, slot)).map(|(key, _)| key.clone()).collect();
        gone.into_iter().for_each(|key| self.put(Record::gone(key)));
    }

    /// The tenants of which something is or was known.
    pub fn tenants(&self) -> BTreeSet<Name> {
        let mut tenants = BTreeSet::new();
        let mut next = self.entries.first_key_value();
        while let Some((Key { tenant, .. }, _)) = next {
            tenants.insert(Name::clone(tenant));
            // No name is between the two.
            let after = Key { tenant: format!("{tenant}\0").into(), subject: Subject::Complete };
            next = self.entries.range(after..).next();
        }
        tenants
    }

    /// Somebody follows, who has this already.
    pub fn join(&mut self, id: FollowerId, has: Option<(LogId, Sequence)>) {
        let follower =
            Follower { has, walk: None, acknowledged: Sequence::START, live: false, mark: None, refused: None };
        self.followers.insert(id, follower);
    }

    /// Whether somebody follows.
    pub fn is_followed_by(&self, id: FollowerId) -> bool {
        self.followers.contains_key(&id)
    }

    /// Somebody follows no more.
    pub fn leave(&mut self, id: FollowerId) {
        self.followers.remove(&id);
    }

    /// What a follower is to be told next; nothing if it was told everything.
    pub fn next(&mut self, seat: &SeatName, id: FollowerId, now: Moment) -> Option<Message> {
        let follower = self.followers.get_mut(&id).filter(|follower| follower.refused.is_none())?;
        let (seat, log) = (seat.clone(), self.id);
        // What went meanwhile and was forgotten cannot be told any more.
        let walk = follower.walk.filter(|walk| self.floor <= walk.sent.max(walk.since));
        let Some(walk) = walk else {
            let goes_on =
                |(of, at): (LogId, Sequence)| (of == log && at >= self.floor && at <= self.head).then_some(at);
            let after = follower.has.take().and_then(goes_on).unwrap_or_default();
            let since = if after == Sequence::START { self.head } else { Sequence::START };
            follower.walk = Some(Walk { sent: after, since, goal: Some(self.head), whole: None });
            (follower.acknowledged, follower.live, follower.mark) = (after, false, None);
            return Some(Message::Begin { seat, log, after });
        };
        let (after, mut sent) = (walk.sent, walk.sent);
        if walk.goal.is_none_or(|goal| sent < goal) {
            let (mut records, mut bytes) = (Vec::new(), 0);
            for (at, key) in self.order.range(after.next()..) {
                let Some(slot) = self.entries.get(key) else { continue };
                sent = *at;
                if slot.value.is_none() && *at <= walk.since {
                    continue;
                }
                bytes += weight(key, slot.value.as_ref());
                records.push(Record { key: key.clone(), value: slot.value.clone() });
                if bytes >= BATCH {
                    break;
                }
            }
            if !records.is_empty() {
                follower.mark.get_or_insert((sent, now));
                follower.walk = Some(Walk { sent, ..walk });
                return Some(Message::Records { seat, log, after, upto: sent, records });
            }
            if walk.goal.is_none() {
                let (_, since) = follower.mark.filter(|(_, since)| now.since(*since) >= REMINDER)?;
                tracing::debug!(%seat, owed = ?now.since(since), "a follower is told again what it has not acknowledged");
                (follower.walk, follower.has) = (None, Some((log, follower.acknowledged)));
                return self.next(&seat, id, now);
            }
            // Nothing is left to be told, whatever the goal was.
            sent = self.head;
        }
        follower.walk = Some(Walk { sent, goal: None, whole: Some(sent), ..walk });
        follower.mark.get_or_insert((sent, now));
        Some(Message::Whole { seat, log, after, at: sent })
    }

    /// A follower has everything up to here.
    pub fn acknowledge(&mut self, id: FollowerId, log: LogId, at: Sequence, now: Moment) {
        let Some(follower) = self.followers.get_mut(&id).filter(|_| log == self.id) else { return };
        let Some(walk) = follower.walk.filter(|walk| at >= follower.acknowledged && at <= walk.sent) else { return };
        follower.acknowledged = at;
        follower.live |= walk.whole.is_some_and(|whole| at >= whole);
        if follower.mark.is_some_and(|(mark, _)| at >= mark) {
            follower.mark = (at < walk.sent).then_some((walk.sent, now));
        }
    }

    /// A follower is missing something: it is told everything anew.
    pub fn again(&mut self, id: FollowerId, log: LogId) {
        if let Some(follower) = self.followers.get_mut(&id).filter(|_| log == self.id) {
            (follower.walk, follower.has) = (None, None);
        }
    }

    /// A follower knows of a later epoch.
    pub fn refused_by(&mut self, id: FollowerId, epoch: Epoch) {
        if let Some(follower) = self.followers.get_mut(&id).filter(|_| epoch > self.id.epoch) {
            follower.refused = Some(epoch);
        }
    }

    /// How far a follower is behind.
    pub fn lag(&self, id: FollowerId, now: Moment) -> Option<Lag> {
        let follower = self.followers.get(&id)?;
        let following = match (follower.refused, follower.live) {
            (Some(epoch), _) => Following::Refused(epoch),
            (None, true) => Following::Live,
            (None, false) => Following::CatchingUp,
        };
        Some(Lag {
            following,
            changes: self.head.since(follower.acknowledged),
            time: follower.mark.map_or(Duration::ZERO, |(_, sent)| now.since(sent)),
        })
    }

    /// Who follows.
    pub fn followers(&self) -> impl Iterator<Item = FollowerId> {
        self.followers.keys().copied()
    }

    /// How many places are kept, those of what is gone among them.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        assert_eq!(self.order.len(), self.entries.len());
        self.order.len()
    }
}
