//! A replica's side of a log: takes it in order, refuses what is of an earlier epoch, and says when something is missing.
//!
//! What it knew of an earlier log stays until the present one has told everything, and learned routes until their tenant's router has
//! learned everything itself: a holder that has just begun knows less than its predecessor did.

use super::entries::{Key, LogId, Name, Record, Room, Sequence, Subject, Value};
use super::message::Message;
use gateway_common::Epoch;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// What is known of a seat that another gateway holds.
#[derive(Debug)]
pub struct Replica {
    room: Room,
    /// The highest epoch that was heard of.
    epoch: Epoch,
    /// The log that is followed.
    log: Option<LogId>,
    at: Sequence,
    whole: bool,
    round: u32,
    entries: BTreeMap<Key, Held>,
    refused: u64,
}

#[derive(Debug)]
struct Held {
    value: Value,
    /// When it was told last.
    round: u32,
}

/// Why something is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The seat is another's, under this epoch.
    Older(Epoch),
    /// Something before it is missing.
    Missing(LogId),
    /// It is of a log that is not followed any more: nothing is to be said of it.
    Past,
}

impl Replica {
    /// One that knows nothing.
    pub fn new(room: Room) -> Self {
        Self {
            room,
            epoch: Epoch::default(),
            log: None,
            at: Sequence::START,
            whole: false,
            round: 0,
            entries: BTreeMap::new(),
            refused: 0,
        }
    }

    /// One that knows what it knew as the holder under an epoch.
    pub fn after(epoch: Epoch, room: Room, entries: impl IntoIterator<Item = (Key, Value)>) -> Self {
        let entries = entries.into_iter().filter(|(key, _)| key.subject != Subject::Complete);
        let entries = entries.map(|(key, value)| (key, Held { value, round: 0 })).collect();
        Self { epoch, entries, ..Self::new(room) }
    }

    /// Somebody holds the seat under this epoch: earlier ones are not listened to.
    pub fn heard_of(&mut self, epoch: Epoch) {
        self.epoch = self.epoch.max(epoch);
    }

    /// The log and the place from which to go on.
    pub fn has(&self) -> Option<(LogId, Sequence)> {
        self.log.map(|log| (log, self.at))
    }

    /// Whether all is known that the holder knew when it was last asked.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// How many things are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many things there was no room for.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// All that is known.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.entries.iter().map(|(key, held)| (key, &held.value))
    }

    /// The same, when the seat is taken.
    pub fn into_entries(self) -> impl Iterator<Item = (Key, Value)> {
        self.entries.into_iter().map(|(key, held)| (key, held.value))
    }

    /// A log begins, or goes on.
    ///
    /// # Errors
    /// It is an earlier one than was heard of, or goes on where this replica is not.
    pub fn begin(&mut self, log: LogId, after: Sequence) -> Result<(), Refusal> {
        if log.epoch < self.epoch {
            return Err(Refusal::Older(self.epoch));
        }
        if self.log.is_some_and(|known| log < known) {
            return Err(Refusal::Past);
        }
        if after != Sequence::START {
            // The last word on a thing may be said twice, so to go back is to lose nothing.
            let goes_on = self.log == Some(log) && after <= self.at;
            self.at = if goes_on { after } else { self.at };
            return if goes_on { Ok(()) } else { Err(Refusal::Missing(log)) };
        }
        (self.epoch, self.log, self.at) = (log.epoch, Some(log), after);
        self.whole = false;
        self.round += 1;
        Ok(())
    }

    /// Takes records: what is different by them.
    ///
    /// # Errors
    /// They are not the next of the log that is followed.
    pub fn take(
        &mut self,
        log: LogId,
        (after, upto): (Sequence, Sequence),
        records: Vec<Record>,
    ) -> Result<Vec<Record>, Refusal> {
        self.go_on(log, after, upto)?;
        let mut changes = Vec::new();
        let mut told = BTreeSet::new();
        for record in records {
            if record.key.subject == Subject::Complete && record.value.is_some() {
                told.insert(record.key.tenant.clone());
            }
            self.put(record, &mut changes);
        }
        if self.whole {
            told.into_iter().for_each(|tenant| self.sweep(tenant, &mut changes));
        }
        Ok(changes)
    }

    fn put(&mut self, record: Record, changes: &mut Vec<Record>) {
        let about_routes = record.key.subject == Subject::Complete;
        let Some(value) = &record.value else {
            if self.entries.remove(&record.key).is_some() && !about_routes {
                changes.push(record);
            }
            return;
        };
        let full = self.entries.len() >= self.room.entries;
        let differs = match self.entries.get_mut(&record.key) {
            Some(held) => {
                held.round = self.round;
                let differs = held.value != *value;
                if differs {
                    held.value = value.clone();
                }
                differs
            }
            None if full => {
                self.refused += 1;
                false
            }
            None => {
                self.entries.insert(record.key.clone(), Held { value: value.clone(), round: self.round });
                true
            }
        };
        if differs && !about_routes {
            changes.push(record);
        }
    }

    /// Everything was told that was there at the begin: what is different by that.
    ///
    /// # Errors
    /// It is not the next of the log that is followed.
    pub fn whole(&mut self, log: LogId, after: Sequence, at: Sequence) -> Result<Vec<Record>, Refusal> {
        self.go_on(log, after, at)?;
        self.whole = true;
        let round = self.round;
        let gone = self.entries.extract_if(.., |key, held| {
            held.round != round && matches!(key.subject, Subject::Neighbour { .. } | Subject::Complete)
        });
        let stations = gone.filter(|(key, _)| key.subject != Subject::Complete);
        let mut changes: Vec<Record> = stations.map(|(key, _)| Record::gone(key)).collect();
        let complete = self.entries.keys().filter(|key| key.subject == Subject::Complete);
        for tenant in complete.map(|key| key.tenant.clone()).collect::<Vec<_>>() {
            self.sweep(tenant, &mut changes);
        }
        Ok(changes)
    }

    /// A tenant's routes are all told.
    fn sweep(&mut self, tenant: Name, changes: &mut Vec<Record>) {
        let round = self.round;
        let complete = Key { tenant: tenant.clone(), subject: Subject::Complete };
        if !self.entries.contains_key(&complete) {
            return;
        }
        let of_tenant = self.entries.range(complete..).take_while(|(key, _)| key.tenant == tenant);
        let gone: Vec<Key> = of_tenant.filter(|(_, held)| held.round != round).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.entries.remove(&key);
            changes.push(Record::gone(key));
        }
        changes.push(Record::complete(tenant));
    }

    fn go_on(&mut self, log: LogId, after: Sequence, upto: Sequence) -> Result<(), Refusal> {
        if log.epoch < self.epoch {
            return Err(Refusal::Older(self.epoch));
        }
        match self.log {
            Some(known) if known == log && self.at == after && upto >= after => {
                self.at = upto;
                Ok(())
            }
            Some(known) if log < known => Err(Refusal::Past),
            _ => Err(Refusal::Missing(log)),
        }
    }

    /// Takes any message of a holder: what is different by it, and what to answer.
    pub fn hear(&mut self, message: Message) -> (Vec<Record>, Option<Message>) {
        let (seat, taken) = match message {
            Message::Begin { seat, log, after } => (seat, self.begin(log, after).map(|()| Vec::new())),
            Message::Records { seat, log, after, upto, records } => (seat, self.take(log, (after, upto), records)),
            Message::Whole { seat, log, after, at } => (seat, self.whole(log, after, at)),
            _ => return (Vec::new(), None),
        };
        match taken {
            Ok(changes) => (changes, self.has().map(|(log, at)| Message::Acknowledged { seat, log, at })),
            Err(Refusal::Older(epoch)) => (Vec::new(), Some(Message::Refused { seat, epoch })),
            Err(Refusal::Missing(log)) => (Vec::new(), Some(Message::Again { seat, log })),
            Err(Refusal::Past) => (Vec::new(), None),
        }
    }
}
