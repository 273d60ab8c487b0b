//! Sessions with their sockets and their owners: which are wanted, what they send and hear, and when they end.

use super::places::{Fresh, Hearing, Places, Way};
use super::protocol::{Report, SessionKey, SessionOptions};
use super::socket::{self, random};
use crate::net::links::Link;
use crate::net::netlink::Netlink;
use bfd::{Arrival, Discriminator, Due, Endpoint, Forwarding, Moment, Output, Sessions, State, Wanted};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// A timer that fires later than this was not waited for by a process that ran.
const LATE: Duration = Duration::from_millis(20);
/// How long a neighbour is told at most that its session is off.
const FAREWELL: Duration = Duration::from_secs(10);
/// How often what is in a session's way is looked at again.
pub const LOOK: Duration = Duration::from_secs(1);
/// Datagrams that are taken from one socket before others have their turn.
const TURN: usize = 256;
/// Sessions that are kept. Each has a socket of its own.
const SESSIONS: usize = 16_384;

/// A client's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(u64);

/// All sessions with all that belongs to them.
#[derive(Debug)]
pub struct Engine {
    sessions: Sessions,
    places: Places,
    records: BTreeMap<SessionKey, Record>,
    keys: HashMap<Discriminator, SessionKey>,
    clients: BTreeMap<ClientId, Client>,
    last_client: u64,
    owner_timeout: Duration,
    /// Since when there has been neither a client nor a session.
    idle_since: Option<Moment>,
    is_ending: bool,
    /// What the timer waits for, and how it is told of something earlier.
    armed: Option<Moment>,
    rearm: Rc<Notify>,
    /// Sockets that nobody waits for yet.
    fresh: Vec<Fresh>,
}

#[derive(Debug)]
struct Record {
    options: SessionOptions,
    claims: BTreeSet<ClientId>,
    unclaimed_since: Option<Moment>,
    live: Option<Live>,
    trouble: Option<String>,
    /// Whether the programs run that it needs.
    forwarding: Forwarding,
    state: State,
    sent: u64,
    received: u64,
    downs: u64,
    /// It is off, and its neighbour is told so until then.
    ends: Option<Moment>,
}

#[derive(Debug)]
struct Live {
    discriminator: Discriminator,
    way: Way,
}

#[derive(Debug)]
struct Client {
    untold: BTreeSet<SessionKey>,
    changed: Rc<Notify>,
}

impl Engine {
    /// Without sessions. Those of an owner that is gone are kept for so long.
    pub fn new(owner_timeout: Duration, now: Moment) -> Self {
        Self {
            sessions: Sessions::default(),
            places: Places::default(),
            records: BTreeMap::new(),
            keys: HashMap::new(),
            clients: BTreeMap::new(),
            last_client: 0,
            owner_timeout,
            idle_since: Some(now),
            is_ending: false,
            armed: None,
            rearm: Rc::new(Notify::new()),
            fresh: Vec::new(),
        }
    }

    /// A client has come; it is told by `changed` that [`Self::take_report`] has something for it.
    pub fn connect(&mut self, changed: Rc<Notify>) -> ClientId {
        self.last_client += 1;
        let client = ClientId(self.last_client);
        self.clients.insert(client, Client { untold: BTreeSet::new(), changed });
        self.idle_since = None;
        client
    }

    /// A client has gone. What it alone claimed is kept for a while.
    pub fn disconnect(&mut self, client: ClientId, now: Moment) {
        self.clients.remove(&client);
        for record in self.records.values_mut() {
            if record.claims.remove(&client) && record.claims.is_empty() && record.ends.is_none() {
                record.unclaimed_since = Some(now);
            }
        }
        self.note_idleness(now);
    }

    /// A client wants a session.
    ///
    /// # Errors
    /// There is no room for another.
    pub fn add(
        &mut self,
        client: ClientId,
        key: &SessionKey,
        options: SessionOptions,
        now: Moment,
    ) -> Result<(), String> {
        if self.records.get(key).is_some_and(|record| record.ends.is_some()) {
            self.forget(key);
        }
        if self.is_ending {
            return Err("this process ends".into());
        }
        if !self.records.contains_key(key) && self.records.len() >= SESSIONS {
            return Err(format!("no more than {SESSIONS} sessions are kept; {key} is not"));
        }
        let record = self.records.entry(key.clone()).or_insert_with(|| Record {
            options: options.clone(),
            claims: BTreeSet::new(),
            unclaimed_since: None,
            live: None,
            trouble: None,
            forwarding: Forwarding::Works,
            state: State::Down,
            sent: 0,
            received: 0,
            downs: 0,
            ends: None,
        });
        let is_as_before = record.live.is_some() && record.options == options;
        record.options = options;
        record.claims.insert(client);
        record.unclaimed_since = None;
        if !is_as_before || !self.is_current(key) {
            self.open(key, now);
        }
        self.tell(key);
        self.arm();
        Ok(())
    }

    /// A client wants a session no more.
    pub fn remove(&mut self, client: ClientId, key: &SessionKey, now: Moment) {
        let Some(record) = self.records.get_mut(key) else { return };
        if record.claims.remove(&client) && record.claims.is_empty() {
            self.retire(key, now);
        }
    }

    /// Switches all sessions off; [`Self::is_over`] when their neighbours know.
    pub fn end(&mut self, now: Moment) {
        self.is_ending = true;
        let all: Vec<SessionKey> = self.records.keys().cloned().collect();
        for key in all {
            self.retire(&key, now);
        }
    }

    /// Whether there is nothing left to do.
    pub fn is_over(&self, now: Moment) -> bool {
        let waits = self.owner_timeout;
        self.records.is_empty() && (self.is_ending || self.idle_since.is_some_and(|since| now.since(since) >= waits))
    }

    /// The next session of which a client has not been told as it is.
    pub fn take_report(&mut self, client: ClientId) -> Option<Report> {
        let untold = &mut self.clients.get_mut(&client)?.untold;
        while let Some(key) = untold.pop_first() {
            if let Some(record) = self.records.get(&key) {
                return Some(record.report(&key, &self.sessions));
            }
        }
        None
    }

    /// All sessions.
    pub fn reports(&self) -> Vec<Report> {
        self.records.iter().map(|(key, record)| record.report(key, &self.sessions)).collect()
    }

    /// Sockets that somebody has to wait for since the last call.
    pub fn take_fresh(&mut self) -> Vec<Fresh> {
        std::mem::take(&mut self.fresh)
    }

    /// When [`Self::tick`] is to be called, and what says that it is to be earlier.
    pub fn wait(&mut self) -> (Option<Moment>, Rc<Notify>) {
        self.armed = self.sessions.deadline();
        (self.armed, self.rearm.clone())
    }

    /// The moment that was waited for has come, or something earlier.
    ///
    /// A neighbour's silence is not believed before its socket was looked at, and not for the time in which this process did not run.
    pub fn tick(&mut self, now: Moment) {
        let late = self.armed.map_or(Duration::ZERO, |armed| now.since(armed));
        if late > LATE {
            tracing::debug!(milliseconds = late.as_millis(), "this process did not run; the time is not counted");
            self.sessions.excuse(late);
        }
        let mut looked = None;
        while let Some(due) = self.sessions.due(now) {
            match due {
                Due::Expire(session) if looked != Some(session) => {
                    looked = Some(session);
                    let live = self.keys.get(&session).and_then(|key| self.records.get(key)?.live.as_ref());
                    if let Some(hearing) = live.map(|live| live.way.hearing) {
                        while self.hear(&hearing, now) {}
                    }
                }
                Due::Expire(session) | Due::Send(session) => {
                    let mut out = Vec::new();
                    self.sessions.elapse(session, now, random(), &mut out);
                    self.carry_out(session, out);
                }
            }
        }
        self.arm();
    }

    /// Takes what waits in a socket; whether there may be more.
    pub fn hear(&mut self, hearing: &Hearing, now: Moment) -> bool {
        let Some(receiver) = self.places.receiver(hearing) else { return false };
        let mut buffer = [0; 512];
        for _ in 0..TURN {
            let datagram = match socket::receive(&receiver.socket, &mut buffer) {
                Ok(Some(datagram)) => datagram,
                Ok(None) => return false,
                Err(error) => {
                    tracing::debug!(%error, "a socket cannot be read");
                    return false;
                }
            };
            let endpoint =
                Endpoint { place: hearing.place, hops: hearing.hops, local: datagram.to, peer: datagram.from };
            let arrival = Arrival { endpoint, interface: datagram.interface, ttl: datagram.ttl };
            let mut out = Vec::new();
            let payload = buffer.get(..datagram.length).unwrap_or_default();
            match self.sessions.receive(&arrival, payload, now, random(), &mut out) {
                Ok(session) => {
                    let record = self.keys.get(&session).and_then(|key| self.records.get_mut(key));
                    if let Some(record) = record {
                        record.received += 1;
                    }
                    self.carry_out(session, out);
                }
                Err(refusal) => {
                    tracing::trace!(%refusal, from = %datagram.from, to = %datagram.to, "a packet was discarded");
                }
            }
        }
        true
    }

    /// What is done every now and then: sessions whose owner did not come back end, and what was in a session's way is looked at again.
    pub fn look(&mut self, now: Moment) {
        let keys: Vec<SessionKey> = self.records.keys().cloned().collect();
        for key in keys {
            let Some(record) = self.records.get(&key) else { continue };
            let is_left = record.unclaimed_since.is_some_and(|since| now.since(since) >= self.owner_timeout);
            if record.ends.is_some_and(|ends| ends <= now) {
                self.forget(&key);
            } else if is_left && record.ends.is_none() {
                tracing::warn!(session = %key, "nobody has claimed this session for long: it is switched off");
                self.retire(&key, now);
            } else if record.ends.is_none() && (record.trouble.is_some() || !self.is_current(&key)) {
                self.open(&key, now);
            }
        }
        self.look_at_programs(now);
        self.note_idleness(now);
        self.arm();
    }

    /// Sessions are down while an interface has no program that needs one for their paths to carry anything.
    fn look_at_programs(&mut self, now: Moment) {
        let needed = |record: &Record| record.ends.is_none() && !record.options.forwarded_by.is_empty();
        let names: BTreeSet<&String> =
            self.records.values().filter(|record| needed(record)).flat_map(|it| &it.options.forwarded_by).collect();
        if names.is_empty() {
            return;
        }
        let links = Netlink::new().and_then(|mut netlink| netlink.links(names.iter().map(|name| name.as_str())));
        let links = match links {
            Ok(links) => links,
            Err(error) => return tracing::debug!(%error, "interfaces cannot be looked at"),
        };
        let has_program = |link: &Option<Link>| link.as_ref().is_some_and(|link| link.xdp.is_some());
        let bare: BTreeSet<String> =
            names.iter().zip(&links).filter(|(_, link)| !has_program(link)).map(|(name, _)| (*name).clone()).collect();
        let mut changed = Vec::new();
        for (key, record) in self.records.iter_mut().filter(|(_, record)| needed(record)) {
            let missing = record.options.forwarded_by.iter().find(|name| bare.contains(*name));
            let forwarding = if missing.is_some() { Forwarding::Broken } else { Forwarding::Works };
            if let Some(live) = record.live.as_ref().filter(|_| record.forwarding != forwarding) {
                record.forwarding = forwarding;
                match missing {
                    Some(name) => {
                        tracing::warn!(session = %key, interface = name, "no program forwards there: the session is down")
                    }
                    None => tracing::info!(session = %key, "the programs forward again"),
                }
                changed.push((live.discriminator, forwarding));
            }
        }
        for (session, forwarding) in changed {
            let mut out = Vec::new();
            self.sessions.set_forwarding(session, forwarding, now, random(), &mut out);
            self.carry_out(session, out);
        }
    }

    fn note_idleness(&mut self, now: Moment) {
        if !self.clients.is_empty() || !self.records.is_empty() {
            self.idle_since = None;
        } else if self.idle_since.is_none() {
            self.idle_since = Some(now);
        }
    }

    /// Whether a session's sockets are where its name leads.
    fn is_current(&self, key: &SessionKey) -> bool {
        let live = self.records.get(key).and_then(|record| record.live.as_ref());
        live.is_some_and(|live| self.places.is_current(&live.way))
    }

    /// Opens a session's sockets, again if there are some, and gives it its options.
    fn open(&mut self, key: &SessionKey, now: Moment) {
        let Some(record) = self.records.get_mut(key) else { return };
        let interface = record.options.interface.as_deref();
        let mut out = Vec::new();
        match self.places.open(key.netns.as_deref(), key.hops, key.local, interface) {
            Ok((way, receiver)) => {
                self.fresh.extend(receiver);
                let endpoint = Endpoint { place: way.place, hops: key.hops, local: key.local, peer: key.peer };
                let options = &record.options;
                let wanted = Wanted {
                    interface: way.interface,
                    minimum_ttl: options.minimum_ttl,
                    settings: options.settings.clone(),
                };
                let discriminator = self.sessions.add(endpoint, wanted, now, &mut random, &mut out);
                record.trouble = None;
                if let Some(before) = record.live.replace(Live { discriminator, way }) {
                    self.places.close(&before.way);
                    // Another namespace by the same name: another session.
                    if before.discriminator != discriminator {
                        self.sessions.remove(before.discriminator);
                        self.keys.remove(&before.discriminator);
                    }
                }
                self.keys.insert(discriminator, key.clone());
                self.carry_out(discriminator, out);
            }
            Err(trouble) => {
                if record.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(session = %key, trouble, "a session cannot be kept");
                    record.trouble = Some(trouble);
                    self.tell(key);
                }
            }
        }
    }

    /// Switches a session off; it is forgotten when its neighbour knows.
    fn retire(&mut self, key: &SessionKey, now: Moment) {
        let Some(record) = self.records.get_mut(key) else { return };
        if record.ends.is_some() {
            return;
        }
        record.claims.clear();
        record.unclaimed_since = None;
        let Some(discriminator) = record.live.as_ref().map(|live| live.discriminator) else {
            return self.forget(key);
        };
        let mut out = Vec::new();
        let farewell = self.sessions.disable(discriminator, now, random(), &mut out);
        record.ends = Some(now + farewell.min(FAREWELL));
        self.carry_out(discriminator, out);
        self.arm();
    }

    fn forget(&mut self, key: &SessionKey) {
        if let Some(live) = self.records.remove(key).and_then(|record| record.live) {
            self.sessions.remove(live.discriminator);
            self.keys.remove(&live.discriminator);
            self.places.close(&live.way);
        }
    }

    fn carry_out(&mut self, session: Discriminator, outputs: Vec<Output>) {
        let Some(key) = self.keys.get(&session).cloned() else { return };
        let mut is_changed = false;
        for output in outputs {
            match output {
                Output::Send(packet) => is_changed |= self.send(&key, packet.bytes()),
                Output::Changed => {
                    self.note_state(&key, session);
                    is_changed = true;
                }
            }
        }
        if is_changed {
            self.tell(&key);
        }
    }

    /// Sends a packet; whether what is in its way has changed.
    fn send(&mut self, key: &SessionKey, packet: &[u8]) -> bool {
        let Some(record) = self.records.get_mut(key) else { return false };
        let Some(live) = &record.live else { return false };
        let to = socket::address(key.peer, key.hops.port(), live.way.interface);
        let trouble = match live.way.sender.send_to(packet, &to.into()) {
            Ok(_) => {
                record.sent += 1;
                None
            }
            // A packet that is lost here is like one that is lost on the way.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
            Err(error) => Some(format!("cannot send to {}: {error}", key.peer)),
        };
        let is_other = record.trouble != trouble;
        record.trouble = trouble;
        is_other
    }

    fn note_state(&mut self, key: &SessionKey, session: Discriminator) {
        let (Some(status), Some(record)) = (self.sessions.status(session), self.records.get_mut(key)) else { return };
        if status.state == record.state {
            return;
        }
        if record.state == State::Up {
            record.downs += 1;
        }
        tracing::info!(session = %key, from = %record.state, to = %status.state, reason = %status.diagnostic, "BFD");
        record.state = status.state;
    }

    /// Tells all who claim a session that it is not as before.
    fn tell(&mut self, key: &SessionKey) {
        let Some(record) = self.records.get(key) else { return };
        for client in &record.claims {
            if let Some(client) = self.clients.get_mut(client) {
                client.untold.insert(key.clone());
                client.changed.notify_one();
            }
        }
    }

    /// To be called after [`Self::hear`] by whoever waits for sockets: what has come may be due an answer soon.
    pub fn settle(&mut self) {
        self.arm();
    }

    /// Wakes the timer if somebody is due before what it waits for.
    fn arm(&mut self) {
        let deadline = self.sessions.deadline();
        if deadline.is_some_and(|deadline| self.armed.is_none_or(|armed| deadline < armed)) {
            self.rearm.notify_one();
        }
    }
}

impl Record {
    fn report(&self, key: &SessionKey, sessions: &Sessions) -> Report {
        Report {
            session: key.clone(),
            status: self.live.as_ref().and_then(|live| sessions.status(live.discriminator)),
            trouble: self.trouble.clone(),
            sent: self.sent,
            received: self.received,
            downs: self.downs,
        }
    }
}
