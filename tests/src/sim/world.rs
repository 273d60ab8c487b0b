//! The world around the cores: time, the store, and what happens in which order until everything is at rest.

use super::agents::Agent;
use super::clients::{self, Client};
use super::controllers::Controller;
use super::random::Random;
use super::watchers::Watcher;
use super::{Fault, TENANTS, checks};
use gateway_user::agent::protocol::PlanEvent;
use gateway_user::controller::core::event::{Event, Sequence, StreamId, Write};
use gateway_user::controller::core::message::{Answer, Request, WatchEvent};
use gateway_user::controller::core::{Core, Settings};
use gateway_user::controller::resources::Seal;
use gateway_user::controller::store::{MemoryStore, Snapshot, Term};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

/// How many of what.
pub(super) const CONTROLLERS: usize = 3;
const GATEWAYS: usize = 4;
const WATCHERS: usize = 3;
const CHANGES: u64 = 6;
/// The name of the leadership.
pub(super) const LEADERSHIP: &str = "controller";
/// Steps after which a run that does not end is a finding.
const MOST_STEPS: u64 = 200_000;

/// What a run found: what does not hold, and the last that happened before.
#[derive(Clone, Debug)]
pub struct Found {
    /// The run's seed.
    pub seed: u64,
    /// What does not hold.
    pub what: String,
    /// The last that happened.
    pub before: Vec<String>,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.what)?;
        self.before.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// What is to happen.
#[derive(Debug)]
pub(super) enum What {
    /// A controller's process starts.
    Start(usize),
    /// It dies.
    Crash(usize),
    /// A controller tries to lead.
    Campaign(usize, u64),
    /// The lease of a leadership ends.
    Expire(u64),
    /// A follower reads what was written.
    Read(usize, u64),
    /// The store makes a write, whether who sent it lives or not.
    Commit { controller: usize, life: u64, term: Term, sequence: Sequence, write: Write },
    /// A controller hears what became of it.
    Committed(usize, u64, Sequence, Option<u64>),
    /// A client's request arrives.
    Arrive { client: usize, attempt: (u64, u64), controller: usize, request: Request },
    /// A client's answer arrives.
    Answer { client: usize, attempt: (u64, u64), answer: Answer },
    /// A client has waited long enough.
    Impatient { client: usize, attempt: (u64, u64) },
    /// A client that has nothing to wait for goes on.
    Act(usize),
    /// An agent looks for a controller.
    Seek(usize),
    /// A plan arrives.
    Plan { agent: usize, link: (usize, u64, StreamId), event: Arc<PlanEvent> },
    /// A watcher looks for a controller.
    Look(usize),
    /// It hears of something.
    Told { watcher: usize, link: (usize, u64, StreamId), event: Arc<WatchEvent> },
    /// It is told that it has to begin again.
    Gone { watcher: usize, link: (usize, u64, StreamId) },
    /// Time goes by for a controller.
    Tick(usize, u64),
}

struct Wax;

impl Seal for Wax {
    fn seal(&self, place: &str, _: &str) -> String {
        format!("sealed at {place}")
    }

    fn draw(&self, place: &str) -> Option<String> {
        Some(self.seal(place, ""))
    }

    fn open(&self, place: &str, sealed: &str) -> Option<gateway_user::controller::store::Secret> {
        (sealed == self.seal(place, "")).then(|| gateway_user::controller::store::Secret::new(place))
    }
}

/// A run.
pub struct Simulation {
    seed: u64,
    pub(super) random: Random,
    pub(super) now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: HashMap<u64, What>,
    pub(super) store: MemoryStore,
    pub(super) controllers: Vec<Controller>,
    pub(super) clients: Vec<Client>,
    pub(super) agents: Vec<Agent>,
    /// When each agent's stream last delivered: a stream keeps its order.
    pub(super) stream_clocks: Vec<u64>,
    pub(super) watchers: Vec<Watcher>,
    pub(super) fault: Option<Fault>,
    pub(super) log: Vec<String>,
    /// Nothing fails any more: everything is to come to rest.
    pub(super) calm: bool,
}

pub(super) fn settings() -> Settings {
    Settings { placement: Default::default(), seal: Arc::new(Wax) }
}

pub(super) fn text(value: &[u8]) -> Option<Arc<str>> {
    str::from_utf8(value).ok().map(Arc::from)
}

impl Simulation {
    /// A run of this seed, with a mistake in it if there is to be one.
    pub fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut random = Random::new(seed);
        let mut clients = vec![Client::new(0, clients::operator(GATEWAYS))];
        clients.extend((1..=TENANTS).map(|number| Client::new(number, clients::tenant(number, CHANGES, &mut random))));
        clients.push(Client::new(TENANTS + 1, clients::keeper(GATEWAYS, &mut random)));
        Self {
            seed,
            random,
            now: 1_700_000_000_000,
            order: 0,
            queue: BinaryHeap::new(),
            events: HashMap::new(),
            store: MemoryStore::new(),
            controllers: (0..CONTROLLERS).map(|_| Controller::default()).collect(),
            clients,
            agents: (0..GATEWAYS).map(Agent::new).collect(),
            stream_clocks: vec![0; GATEWAYS],
            watchers: (0..WATCHERS).map(|_| Watcher::default()).collect(),
            fault,
            log: Vec::new(),
            calm: false,
        }
    }

    /// Runs to its end.
    ///
    /// # Errors
    /// Something does not hold.
    pub fn run(mut self) -> Result<(), Found> {
        for controller in 0..CONTROLLERS {
            self.after(controller as u64 * 5, What::Start(controller));
        }
        self.after(30, What::Act(0));
        for agent in 0..GATEWAYS {
            self.after(200, What::Seek(agent));
        }
        for watcher in 0..WATCHERS {
            let delay = self.random.below(1000);
            self.after(delay, What::Look(watcher));
        }
        let mut steps = 0;
        while let Some(Reverse((at, order))) = self.queue.pop() {
            let Some(what) = self.events.remove(&order) else { continue };
            self.now = self.now.max(at);
            self.happen(what).map_err(|what| self.found(what))?;
            steps += 1;
            if !self.calm && self.clients.iter().all(|client| client.tasks.is_empty()) {
                self.note("everything was asked for; from here on nothing fails");
                self.calm = true;
            }
            if self.calm && self.is_at_rest() {
                break;
            }
            if steps > MOST_STEPS {
                return Err(self.found(format!("it does not come to rest: {}", self.unrest())));
            }
        }
        let leader = self
            .controllers
            .iter()
            .find_map(|controller| controller.core.as_ref().filter(|core| core.epoch().is_some()));
        let Some(leader) = leader else { return Err(self.found("nobody leads in the end".to_owned())) };
        let checked = checks::at_rest(leader, &self.stored(), &self.agents, settings());
        checked
            .and_then(|()| self.clients.iter().try_for_each(|client| checks::client(client, &self.store)))
            .and_then(|()| self.watchers.iter().try_for_each(|watcher| watcher.check(&self.store)))
            .map_err(|what| self.found(what))
    }

    fn found(&self, what: String) -> Found {
        let from = self.log.len().saturating_sub(40);
        Found { seed: self.seed, what, before: self.log[from..].to_vec() }
    }

    pub(super) fn note(&mut self, line: impl Into<String>) {
        let line = format!("{:>6} ms  {}", self.now - 1_700_000_000_000, line.into());
        self.log.push(line);
    }

    pub(super) fn after(&mut self, delay: u64, what: What) {
        self.at(self.now + delay, what);
    }

    pub(super) fn at(&mut self, time: u64, what: What) {
        self.order += 1;
        self.queue.push(Reverse((time, self.order)));
        self.events.insert(self.order, what);
    }

    /// How long a message takes: mostly a little, at times long.
    pub(super) fn delay(&mut self) -> u64 {
        if !self.calm && self.random.once_in(20) { self.random.below(600) } else { 1 + self.random.below(8) }
    }

    /// Whether a message is lost.
    pub(super) fn is_lost(&mut self) -> bool {
        !self.calm && self.random.once_in(25)
    }

    pub(super) fn leader(&self) -> Option<usize> {
        self.controllers.iter().position(|controller| {
            !controller.halted && controller.core.as_ref().is_some_and(|core| core.epoch().is_some())
        })
    }

    pub(super) fn stored(&self) -> Snapshot {
        self.store.range("")
    }

    fn is_at_rest(&self) -> bool {
        self.unrest().is_empty()
    }

    /// What has not come to rest.
    fn unrest(&self) -> String {
        let Some(leader) = self.leader() else { return "nobody leads".to_owned() };
        let controller = &self.controllers[leader];
        let epoch = controller.core.as_ref().and_then(Core::epoch);
        if self.store.leader(LEADERSHIP).map(|leader| leader.epoch.0) != epoch {
            return format!("controller {leader} leads no more");
        }
        if controller.core.as_ref().is_some_and(|core| core.in_flight() > 0) {
            return format!("writes of controller {leader} are under way");
        }
        let linked = |agent: &Agent| agent.link.is_some_and(|(at, life, _)| at == leader && life == controller.life);
        if let Some(agent) = self.agents.iter().find(|agent| !linked(agent)) {
            return format!("{} is not told by controller {leader}: {:?}", agent.id, agent.link);
        }
        let told = |watcher: &Watcher| watcher.link.is_some_and(|link| self.is_told_everything(link));
        if let Some(watcher) = self.watchers.iter().position(|watcher| !told(watcher)) {
            return format!("watcher {watcher} is not told everything");
        }
        let under_way = |what: &&What| {
            matches!(
                what,
                What::Plan { .. }
                    | What::Commit { .. }
                    | What::Committed(..)
                    | What::Expire(_)
                    | What::Told { .. }
                    | What::Gone { .. }
            )
        };
        self.events.values().find(under_way).map(|what| format!("{what:?} is under way")).unwrap_or_default()
    }

    /// Whether who is told by this link has been told of all that is in the store.
    fn is_told_everything(&self, (at, life, _): (usize, u64, StreamId)) -> bool {
        let this = &self.controllers[at];
        let follows = this.core.as_ref().is_some_and(|core| core.epoch().is_none());
        this.life == life && (self.leader() == Some(at) || (follows && this.read == self.stored().revision))
    }

    fn happen(&mut self, what: What) -> Result<(), String> {
        match what {
            What::Start(controller) => self.start(controller)?,
            What::Crash(controller) => self.crash(controller),
            What::Campaign(controller, life) if self.controllers[controller].life == life => {
                self.campaign(controller)?
            }
            What::Expire(epoch) => {
                if self.store.leader(LEADERSHIP).is_some_and(|leader| leader.epoch.0 == epoch) {
                    self.note(format!("the lease of epoch {epoch} ends"));
                    self.store.expire(LEADERSHIP);
                }
            }
            What::Read(controller, life) if self.controllers[controller].life == life => {
                self.catch_up(controller)?;
                let delay = self.delay();
                self.after(delay, What::Read(controller, life));
            }
            What::Commit { controller, life, term, sequence, write } => {
                self.commit((controller, life), &term, sequence, write);
            }
            What::Committed(controller, life, sequence, revision) if self.controllers[controller].life == life => {
                match revision {
                    Some(revision) => self.step(controller, Event::Durable(sequence, revision))?,
                    None => {
                        self.note(format!("controller {controller} was superseded"));
                        self.restart(controller);
                    }
                }
            }
            What::Arrive { client, attempt, controller, request } => {
                self.arrive(client, attempt, controller, request)?
            }
            What::Answer { client, attempt, answer } => self.answered(client, attempt, &answer)?,
            What::Impatient { client, attempt } => {
                let waiting = &mut self.clients[client];
                if waiting.busy && (waiting.task, waiting.attempt) == attempt {
                    waiting.busy = false;
                    waiting.attempt += 1;
                    self.act(client);
                }
            }
            What::Act(client) => self.act(client),
            What::Seek(agent) => self.seek(agent)?,
            What::Plan { agent, link, event } => self.planned(agent, link, &event)?,
            What::Look(watcher) => self.look(watcher)?,
            What::Told { watcher, link, event } => self.told(watcher, link, &event)?,
            What::Gone { watcher, link } => {
                if self.watchers[watcher].link == Some(link) {
                    self.watchers[watcher].forget();
                    self.watchers[watcher].link = None;
                }
            }
            What::Tick(controller, life) if self.controllers[controller].life == life => {
                self.step(controller, Event::Tick)?;
                self.after(500, What::Tick(controller, life));
                self.notice(controller);
            }
            What::Read(..) | What::Committed(..) | What::Tick(..) | What::Campaign(..) => {}
        }
        Ok(())
    }
}
