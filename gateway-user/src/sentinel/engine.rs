//! The sentinel as its clients see it: what they ask, and what each has still to be told.

use super::configuration::Configuration;
use super::gates::Gates;
use super::history::{Entry, History, What};
use super::pool::{Fresh, News, Pool};
use super::ports::Interfaces;
use super::protocol::{AgentState, Event, Request, SeatReport, Status};
use crate::api::clock;
use crate::net::frame_sender::FrameSender;
use seat::watch::Side;
use seat::{GatewayName, Input, Message, Moment, SeatName, Voter};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// Letters to the controllers that wait for an agent: older ones are of no use.
const LETTERS: usize = 64;
/// How long a process without a configuration waits for one.
const IDLE: Duration = Duration::from_secs(60);

/// A client's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(u64);

/// The sentinel.
#[derive(Debug)]
pub struct Engine {
    state: PathBuf,
    gates: Box<dyn Gates>,
    history: History,
    pool: Option<Pool>,
    clients: BTreeMap<ClientId, Client>,
    last_client: u64,
    told: BTreeMap<SeatName, SeatReport>,
    /// Sockets that nobody waits for yet, and how it is said that there are.
    fresh: Vec<Fresh>,
    opened: Rc<Notify>,
    /// What the timer waits for, and how it is told of something earlier.
    armed: Option<Moment>,
    rearm: Rc<Notify>,
    started: Moment,
    is_ending: bool,
}

#[derive(Debug)]
struct Client {
    untold: BTreeSet<SeatName>,
    /// The next entry that it is told.
    next_entry: u64,
    is_agent: bool,
    letters: VecDeque<Message>,
    changed: Rc<Notify>,
}

impl Engine {
    /// Without a configuration. `opened` is told when there are sockets that somebody has to wait for.
    pub fn new(state: PathBuf, gates: Box<dyn Gates>, opened: Rc<Notify>, now: Moment) -> Self {
        Self {
            history: History::open(&state),
            state,
            gates,
            pool: None,
            clients: BTreeMap::new(),
            last_client: 0,
            told: BTreeMap::new(),
            fresh: Vec::new(),
            opened,
            armed: None,
            rearm: Rc::new(Notify::new()),
            started: now,
            is_ending: false,
        }
    }

    /// A client has come; it is told by `changed` that [`Self::take_event`] has something for it.
    pub fn connect(&mut self, changed: Rc<Notify>) -> ClientId {
        self.last_client += 1;
        let client = ClientId(self.last_client);
        changed.notify_one();
        let untold = self.told.keys().cloned().collect();
        let next_entry = self.history.next();
        let letters = VecDeque::new();
        self.clients.insert(client, Client { untold, next_entry, is_agent: false, letters, changed });
        client
    }

    /// A client has gone.
    pub fn disconnect(&mut self, client: ClientId) {
        self.clients.remove(&client);
    }

    /// What a client is to be told next.
    pub fn take_event(&mut self, client: ClientId) -> Option<Event> {
        let client = self.clients.get_mut(&client)?;
        while let Some(seat) = client.untold.pop_first() {
            if let Some(report) = self.told.get(&seat) {
                return Some(Event::Seat(report.clone()));
            }
        }
        if let Some(letter) = client.letters.pop_front() {
            return Some(Event::Letter(letter));
        }
        let entry = self.history.since(client.next_entry).next()?;
        client.next_entry = entry.number + 1;
        Some(Event::Happened(Box::new(entry.clone())))
    }

    /// A client asks; the answer, if there is one at once.
    pub fn answer(&mut self, client: ClientId, request: Request, now: Moment) -> Option<Event> {
        self.hears(client, now);
        match request {
            Request::Configure(configuration) => {
                let configured = self.configure(client, *configuration, now);
                configured.err().map(|message| Event::Refused { message })
            }
            Request::HandOver { seat, to } => {
                if self.pool.is_none() || !self.told.contains_key(&seat) {
                    let message =
                        format!("there is no seat {seat} here; `gatewayctl seats` shows those that there are");
                    return Some(Event::Refused { message });
                }
                self.with(now, |pool, gates, news| pool.step(Input::HandOver { seat, to }, gates, now, news));
                None
            }
            Request::BgpUp { seat, epoch, up, of } => {
                self.with(now, |_, _, news| news.happened.push((Some(seat), What::BgpUp { epoch, up, of })));
                None
            }
            Request::Letter(message) => {
                self.with(now, |pool, gates, news| {
                    pool.step(Input::Message { from: Voter::Controllers, message }, gates, now, news);
                });
                None
            }
            Request::Status => Some(Event::Status(Box::new(self.status(now)))),
            Request::History => Some(Event::History(self.entries())),
            Request::Alive => None,
            Request::End => {
                self.is_ending = true;
                None
            }
        }
    }

    fn hears(&mut self, client: ClientId, now: Moment) {
        if self.clients.get(&client).is_some_and(|client| client.is_agent)
            && let Some(pool) = &mut self.pool
        {
            pool.hears_agent(now);
        }
    }

    fn configure(&mut self, client: ClientId, configuration: Configuration, now: Moment) -> Result<(), String> {
        configuration.check().map_err(|error| error.to_string())?;
        let mut news = News::default();
        let fresh = match &mut self.pool {
            Some(pool) => pool.configure(configuration, &mut *self.gates, now, &mut news),
            None => {
                let sender = FrameSender::open().map_err(|error| format!("cannot send whole frames: {error}"))?;
                let random = super::random();
                let gates = &mut *self.gates;
                let (pool, fresh) = Pool::new(configuration, &self.state, gates, sender, random, now, &mut news);
                self.pool = Some(pool);
                fresh
            }
        };
        // Another client was the agent before, if any was: whoever configures is it from here on.
        for (id, known) in &mut self.clients {
            known.is_agent = *id == client;
        }
        self.fresh.extend(fresh);
        self.opened.notify_one();
        self.settle(news, now);
        Ok(())
    }

    fn with(&mut self, now: Moment, action: impl FnOnce(&mut Pool, &mut dyn Gates, &mut News)) {
        let Some(pool) = &mut self.pool else { return };
        let mut news = News::default();
        action(pool, &mut *self.gates, &mut news);
        self.settle(news, now);
    }

    /// Tells clients what is not as told before, and the timer what it is to wait for.
    fn settle(&mut self, news: News, now: Moment) {
        let Some(pool) = &self.pool else { return };
        for (seat, what) in news.happened {
            // What fails again and again is told once.
            let is_repeated = self
                .history
                .since(self.history.next().saturating_sub(1))
                .any(|last| last.seat == seat && last.what == what);
            if !is_repeated {
                self.history.note(clock::wall(now.0), pool.me().clone(), seat, what);
            }
        }
        let reports: BTreeMap<SeatName, SeatReport> =
            pool.reports().map(|report| (report.seat.clone(), report)).collect();
        let changed = reports.iter().filter(|(seat, report)| self.told.get(*seat) != Some(*report));
        let changed: Vec<SeatName> = changed.map(|(seat, _)| seat.clone()).collect();
        self.told = reports;
        for client in self.clients.values_mut() {
            client.untold.extend(changed.iter().cloned());
            if client.is_agent {
                client.letters.extend(news.letters.iter().cloned());
                let surplus = client.letters.len().saturating_sub(LETTERS);
                client.letters.drain(..surplus);
            }
            let has_news =
                !client.untold.is_empty() || !client.letters.is_empty() || client.next_entry < self.history.next();
            if has_news {
                client.changed.notify_one();
            }
        }
        let deadline = pool.deadline();
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.rearm.notify_one();
        }
    }

    /// When [`Self::look`] has something to do, and what tells that it is earlier.
    pub fn wait(&mut self) -> (Option<Moment>, Rc<Notify>) {
        self.armed = self.pool.as_ref().map(Pool::deadline);
        (self.armed, self.rearm.clone())
    }

    /// Does what the time asks for.
    pub fn look(&mut self, now: Moment) {
        self.with(now, |pool, gates, news| pool.look(gates, now, news));
    }

    /// Probes wait on a side.
    pub fn hear_probes(&mut self, side: Side, now: Moment) {
        self.with(now, |pool, gates, news| pool.hear_probes(side, gates, now, news));
    }

    /// Letters wait on a side.
    pub fn hear_letters(&mut self, side: Side, now: Moment) {
        self.with(now, |pool, gates, news| pool.hear_letters(side, gates, now, news));
    }

    /// Opens what could not be opened before, and where addresses are now.
    pub fn open_ports(&mut self, interfaces: Interfaces) {
        if let Some(pool) = &mut self.pool {
            self.fresh.extend(pool.open_ports(Some(interfaces)));
            self.opened.notify_one();
        }
    }

    /// Sockets that nobody waits for yet.
    pub fn take_fresh(&mut self) -> Vec<Fresh> {
        std::mem::take(&mut self.fresh)
    }

    /// How everything is.
    pub fn status(&self, now: Moment) -> Status {
        let nothing =
            || Status { me: GatewayName::from(""), seats: Vec::new(), peers: Vec::new(), agent: AgentState::Awaited };
        self.pool.as_ref().map_or_else(nothing, |pool| pool.status(now))
    }

    /// What happened, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.history.since(0).cloned().collect()
    }

    /// The process is to end.
    pub fn end(&mut self) {
        self.is_ending = true;
    }

    /// Whether there is nothing left to do.
    pub fn is_over(&self, now: Moment) -> bool {
        self.is_ending || self.pool.is_none() && self.clients.is_empty() && now.since(self.started) >= IDLE
    }
}
