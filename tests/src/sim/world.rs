//! The world around the cores: time, the store, who hears what when.

use super::agents::{Agent, Taken};
use super::clients::{self, Client, PATIENCE};
use super::random::Random;
use super::watchers::Watcher;
use super::{Fault, TENANTS, checks};
use gateway_user::agent::protocol::{Heartbeat, PlanEvent};
use gateway_user::controller::core::event::{Action, CallId, Event, Moment, Sequence, StreamId, Write};
use gateway_user::controller::core::message::{
    Answer, Connect, Enrol, KeyId, Method, Principal, RefusalKind, Request, Role, WatchEvent, WatchRequest,
};
use gateway_user::controller::core::{Core, Settings};
use gateway_user::controller::resources::Seal;
use gateway_user::controller::store::{Change, MemoryStore, Op, Outcome, Revision, Snapshot, Term, Txn};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

/// How many of what.
const CONTROLLERS: usize = 3;
const GATEWAYS: usize = 4;
const WATCHERS: usize = 3;
const CHANGES: u64 = 6;
/// The name of the leadership.
const LEADERSHIP: &str = "controller";
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
enum What {
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

/// A controller's process.
struct Controller {
    /// Counts its lives: what was meant for an earlier one is lost.
    life: u64,
    core: Option<Core>,
    term: Option<Term>,
    /// An earlier write of this life's was refused.
    halted: bool,
    read: Revision,
    calls: HashMap<CallId, Caller>,
    streams: BTreeMap<StreamId, usize>,
    watches: BTreeMap<StreamId, usize>,
    next: u64,
    /// What is sent to the store, and comes from it, keeps its order.
    store_clock: u64,
    answer_clock: u64,
}

/// Who asked.
enum Caller {
    Client {
        client: usize,
        attempt: (u64, u64),
    },
    /// An agent, in which of its installations, for which stream.
    Agent(usize, u8, Option<StreamId>),
    /// Somebody with an agent's token, after the agent.
    Thief(usize),
    Watcher {
        watcher: usize,
        attempt: u64,
    },
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
    random: Random,
    now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: HashMap<u64, What>,
    store: MemoryStore,
    controllers: Vec<Controller>,
    clients: Vec<Client>,
    agents: Vec<Agent>,
    /// When each agent's stream last delivered: a stream keeps its order.
    stream_clocks: Vec<u64>,
    watchers: Vec<Watcher>,
    fault: Option<Fault>,
    log: Vec<String>,
    /// Nothing fails any more: everything is to come to rest.
    calm: bool,
}

fn settings() -> Settings {
    Settings { placement: Default::default(), seal: Arc::new(Wax) }
}

fn text(value: &[u8]) -> Option<Arc<str>> {
    str::from_utf8(value).ok().map(Arc::from)
}

impl Simulation {
    /// A run of this seed, with a mistake in it if there is to be one.
    pub fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut random = Random::new(seed);
        let controllers = (0..CONTROLLERS).map(|_| Controller {
            life: 0,
            core: None,
            term: None,
            halted: false,
            read: Revision(0),
            calls: HashMap::new(),
            streams: BTreeMap::new(),
            watches: BTreeMap::new(),
            next: 0,
            store_clock: 0,
            answer_clock: 0,
        });
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
            controllers: controllers.collect(),
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

    fn note(&mut self, line: impl Into<String>) {
        let line = format!("{:>6} ms  {}", self.now - 1_700_000_000_000, line.into());
        self.log.push(line);
    }

    fn after(&mut self, delay: u64, what: What) {
        self.at(self.now + delay, what);
    }

    fn at(&mut self, time: u64, what: What) {
        self.order += 1;
        self.queue.push(Reverse((time, self.order)));
        self.events.insert(self.order, what);
    }

    /// How long a message takes: mostly a little, at times long.
    fn delay(&mut self) -> u64 {
        if !self.calm && self.random.once_in(20) { self.random.below(600) } else { 1 + self.random.below(8) }
    }

    /// Whether a message is lost.
    fn is_lost(&mut self) -> bool {
        !self.calm && self.random.once_in(25)
    }

    fn leader(&self) -> Option<usize> {
        self.controllers.iter().position(|controller| {
            !controller.halted && controller.core.as_ref().is_some_and(|core| core.epoch().is_some())
        })
    }

    fn stored(&self) -> Snapshot {
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

    // ---------------------------------------------------------------- controllers

    fn start(&mut self, controller: usize) -> Result<(), String> {
        let snapshot = self.stored();
        let this = &mut self.controllers[controller];
        this.life += 1;
        let life = this.life;
        this.core = Some(Core::new(settings()));
        (this.term, this.halted, this.read) = (None, false, snapshot.revision);
        this.calls.clear();
        this.streams.clear();
        this.watches.clear();
        self.note(format!("controller {controller} starts (life {life}, revision {})", snapshot.revision));
        let entries =
            snapshot.entries.iter().filter_map(|entry| Some((entry.key.clone(), Some(text(&entry.value)?)))).collect();
        self.step(controller, Event::Written { revision: snapshot.revision.0, entries })?;
        let delay = self.delay();
        self.after(delay, What::Campaign(controller, life));
        self.after(delay, What::Read(controller, life));
        self.after(500, What::Tick(controller, life));
        if !self.calm && self.random.once_in(2) {
            let delay = 300 + self.random.below(6000);
            self.after(delay, What::Crash(controller));
        }
        Ok(())
    }

    fn crash(&mut self, controller: usize) {
        if self.calm || self.controllers[controller].core.is_none() {
            return;
        }
        self.note(format!("controller {controller} crashes"));
        self.restart(controller);
    }

    /// The process ends; another one starts in its place after a while.
    fn restart(&mut self, controller: usize) {
        let this = &mut self.controllers[controller];
        this.core = None;
        this.life += 1;
        if let Some(term) = this.term.take() {
            // Its lease ends some time after it did.
            let delay = 20 + self.random.below(300);
            self.after(delay, What::Expire(term.epoch.0));
        }
        let delay = 20 + self.random.below(400);
        self.after(delay, What::Start(controller));
    }

    fn campaign(&mut self, controller: usize) -> Result<(), String> {
        let this = &self.controllers[controller];
        let life = this.life;
        let follows = this.core.as_ref().is_some_and(|core| core.epoch().is_none());
        if follows
            && this.term.is_none()
            && let Some(term) = self.store.acquire(LEADERSHIP, &format!("controller-{controller}"))
        {
            let epoch = term.epoch.0;
            self.controllers[controller].term = Some(term);
            if self.fault != Some(Fault::LeadUnread) {
                self.catch_up(controller)?;
            }
            if self.controllers[controller].life != life {
                return Ok(());
            }
            self.note(format!("controller {controller} leads (epoch {epoch})"));
            let revision = self.controllers[controller].read.0;
            self.step(controller, Event::Elected { epoch, revision })?;
            if !self.calm && self.random.once_in(3) {
                // It will not notice that its lease has ended.
                let delay = 200 + self.random.below(2000);
                self.after(delay, What::Expire(epoch));
            }
        }
        let delay = 50 + self.random.below(50);
        self.after(delay, What::Campaign(controller, life));
        Ok(())
    }

    /// A leader whose lease has ended learns of it, sooner or later.
    fn notice(&mut self, controller: usize) {
        let genuine = self.store.leader(LEADERSHIP).map(|leader| leader.epoch.0);
        let own = self.controllers[controller].core.as_ref().and_then(Core::epoch);
        if own.is_some() && own != genuine && (self.calm || self.random.once_in(6)) {
            self.note(format!("controller {controller} notices that it leads no more"));
            self.restart(controller);
        }
    }

    /// A follower reads what was written since it read last.
    fn catch_up(&mut self, controller: usize) -> Result<(), String> {
        let this = &self.controllers[controller];
        let life = this.life;
        let follows = this.core.as_ref().is_some_and(|core| core.epoch().is_none());
        if follows {
            let batches = self.store.changes("", this.read.next()).map_err(|error| error.to_string())?;
            for batch in batches {
                self.controllers[controller].read = batch.revision;
                let entries = batch.changes.iter().filter_map(|change| match change {
                    Change::Put(entry) => Some((entry.key.clone(), Some(text(&entry.value)?))),
                    Change::Deleted { key } => Some((key.clone(), None)),
                });
                self.step(controller, Event::Written { revision: batch.revision.0, entries: entries.collect() })?;
                if self.controllers[controller].life != life {
                    break;
                }
            }
        }
        Ok(())
    }

    fn commit(&mut self, (controller, life): (usize, u64), term: &Term, sequence: Sequence, write: Write) {
        let this = &self.controllers[controller];
        // What comes after a write that was refused is not sent any more.
        if this.life == life && this.halted {
            return;
        }
        let halves: Vec<Write> = match self.fault {
            Some(Fault::TearWrite) if write.entries.len() > 1 && self.random.once_in(3) => {
                self.note(format!("controller {controller} dies within a write"));
                vec![Write { entries: write.entries[..1].to_vec() }]
            }
            _ => vec![write],
        };
        let torn = self.fault == Some(Fault::TearWrite)
            && self.log.last().is_some_and(|line| line.ends_with("dies within a write"));
        let mut outcome = None;
        for write in halves {
            let ops = write.entries.into_iter().filter_map(|(key, value)| {
                let forgotten = self.fault.and_then(Fault::forgotten).is_some_and(|prefix| key.starts_with(prefix));
                (!forgotten).then(|| match value {
                    Some(value) => Op::put(key, Arc::<[u8]>::from(value)),
                    None => Op::delete(key),
                })
            });
            let txn = Txn::of(ops);
            let txn = if self.fault == Some(Fault::SkipCompare) { txn } else { txn.when(term.guard.clone()) };
            outcome = match self.store.commit(&txn) {
                Ok(Outcome::Committed(revision)) => Some(revision.0),
                Ok(Outcome::Conflict) | Err(_) => None,
            };
        }
        if self.controllers[controller].life != life {
            return;
        }
        if torn {
            self.restart(controller);
            return;
        }
        if outcome.is_none() {
            self.controllers[controller].halted = true;
        }
        let at = self.in_order(controller, false);
        self.at(at, What::Committed(controller, life, sequence, outcome));
    }

    /// When something that is sent to the store now arrives there, or comes back: never before what was sent earlier.
    fn in_order(&mut self, controller: usize, to_store: bool) -> u64 {
        let at = self.now + self.delay();
        let this = &mut self.controllers[controller];
        let clock = if to_store { &mut this.store_clock } else { &mut this.answer_clock };
        *clock = at.max(*clock);
        *clock
    }

    /// Tells a core what happened, and does what it wants.
    fn step(&mut self, controller: usize, event: Event) -> Result<(), String> {
        let seed = u128::from(self.random.next()) << 64 | u128::from(self.random.next());
        let moment = Moment { unix_milliseconds: self.now, seed };
        let mut actions = Vec::new();
        let this = &mut self.controllers[controller];
        let life = this.life;
        let Some(core) = this.core.as_mut() else { return Ok(()) };
        core.step(event, moment, &mut actions);
        if let Some(unreadable) = core.unreadable() {
            return Err(format!("controller {controller} cannot read the store: {unreadable}"));
        }
        for action in actions {
            if !self.calm && self.random.once_in(400) {
                self.note(format!("controller {controller} crashes between two actions"));
                self.restart(controller);
                return Ok(());
            }
            self.act_for(controller, life, action)?;
            if self.controllers[controller].life != life {
                return Ok(());
            }
        }
        Ok(())
    }

    fn act_for(&mut self, controller: usize, life: u64, action: Action) -> Result<(), String> {
        match action {
            Action::Write(sequence, write) => {
                let term = self.controllers[controller].term.clone();
                let term = term.ok_or_else(|| format!("controller {controller} writes and has no leadership"))?;
                let at = self.in_order(controller, true);
                self.at(at, What::Commit { controller, life, term, sequence, write });
                if self.fault == Some(Fault::AcknowledgeBeforeCommit) {
                    let revision = self.stored().revision.0;
                    self.step(controller, Event::Durable(sequence, revision))?;
                }
            }
            Action::Answer(call, answer) => {
                if let Some(Caller::Client { client, attempt }) = self.controllers[controller].calls.remove(&call) {
                    self.check_answer(client, attempt, &answer)?;
                    if !self.is_lost() {
                        let delay = self.delay();
                        self.after(delay, What::Answer { client, attempt, answer });
                    }
                }
            }
            Action::Admit(call, admitted) => {
                let caller = self.controllers[controller].calls.remove(&call);
                if let Some(Caller::Thief(agent)) = caller
                    && admitted.is_ok()
                {
                    return Err(format!("the token of agent {agent} lets another key in, too"));
                }
                // What was answered to an earlier installation is nothing to this one.
                if let Some(Caller::Agent(agent, installation, stream)) = caller
                    && self.agents[agent].installation == installation
                {
                    match (admitted, stream) {
                        (Ok(()), Some(stream)) => {
                            self.agents[agent].link = Some((controller, life, stream));
                            self.stream_clocks[agent] = self.now;
                        }
                        (Ok(()), None) => {
                            self.agents[agent].enrolled = true;
                        }
                        (Err(refusal), Some(_)) if refusal.kind == RefusalKind::Forbidden => {
                            self.note(format!("agent {agent} is not let in: {refusal}"));
                            self.agents[agent].reinstall();
                        }
                        (Err(refusal), _) => {
                            self.note(format!("agent {agent} cannot join: {refusal}"));
                            self.agents[agent].link = None;
                        }
                    }
                }
            }
            Action::Plan(stream, event) => {
                let event = self.tampered(event);
                if event.revision > self.stored().revision.0 {
                    return Err(format!(
                        "controller {controller} plans at revision {}, which the store has not reached",
                        event.revision
                    ));
                }
                if let Some(&agent) = self.controllers[controller].streams.get(&stream) {
                    let at = (self.now + self.delay()).max(self.stream_clocks[agent]);
                    self.stream_clocks[agent] = at;
                    self.at(at, What::Plan { agent, link: (controller, life, stream), event });
                }
            }
            // Agents here learn nothing.
            Action::Routes(..) => {}
            Action::Close(stream) => {
                if let Some(agent) = self.controllers[controller].streams.remove(&stream)
                    && self.agents[agent].link == Some((controller, life, stream))
                {
                    self.agents[agent].link = None;
                }
            }
            Action::Follow(call, stream, followed) => {
                let Some(Caller::Watcher { watcher, attempt }) = self.controllers[controller].calls.remove(&call)
                else {
                    return Ok(());
                };
                if self.watchers[watcher].attempt != attempt {
                    return self.step(controller, Event::Closed(stream));
                }
                let link = (controller, life, stream);
                self.watchers[watcher].link = Some(link);
                self.watchers[watcher].clock = self.now;
                match followed {
                    Ok(events) => {
                        self.controllers[controller].watches.insert(stream, watcher);
                        let skipped = self.fault == Some(Fault::SkipMissed) && self.watchers[watcher].after.is_some();
                        for event in events.into_iter().filter(|_| !skipped) {
                            self.send(watcher, link, event);
                        }
                    }
                    Err(_) => self.after(1, What::Gone { watcher, link }),
                }
            }
            Action::Tell(stream, event) => {
                if let Some(&watcher) = self.controllers[controller].watches.get(&stream) {
                    self.send(watcher, (controller, life, stream), event);
                }
            }
        }
        Ok(())
    }

    /// A plan as a core with a mistake in it would have made it.
    fn tampered(&mut self, event: Arc<PlanEvent>) -> Arc<PlanEvent> {
        match self.fault {
            Some(Fault::NumberAhead) if event.since.is_some() => {
                Arc::new(PlanEvent { revision: event.revision + 1, ..PlanEvent::clone(&event) })
            }
            Some(Fault::ForgetToTell) if event.since.is_some() && self.random.once_in(2) => {
                Arc::new(PlanEvent { set: Default::default(), ..PlanEvent::clone(&event) })
            }
            _ => event,
        }
    }

    fn call(&mut self, controller: usize, caller: Caller) -> CallId {
        let this = &mut self.controllers[controller];
        this.next += 1;
        let call = CallId(this.next);
        this.calls.insert(call, caller);
        call
    }

    // ---------------------------------------------------------------- clients

    fn act(&mut self, client: usize) {
        let this = &mut self.clients[client];
        if this.busy {
            return;
        }
        let Some(request) = this.request() else { return };
        this.busy = true;
        let attempt = (this.task, this.attempt);
        let controller = match self.leader() {
            Some(leader) if self.random.below(4) > 0 => leader,
            _ => self.random.below(CONTROLLERS as u64) as usize,
        };
        self.after(PATIENCE, What::Impatient { client, attempt });
        if !self.is_lost() {
            let delay = self.delay();
            // At times a request arrives twice.
            if !self.calm && self.random.once_in(6) {
                let later = 100 + self.random.below(3000);
                let controller = self.random.below(CONTROLLERS as u64) as usize;
                self.after(later, What::Arrive { client, attempt, controller, request: request.clone() });
            }
            self.after(delay, What::Arrive { client, attempt, controller, request });
        }
    }

    fn arrive(
        &mut self,
        client: usize,
        attempt: (u64, u64),
        controller: usize,
        request: Request,
    ) -> Result<(), String> {
        if self.controllers[controller].core.is_none() {
            return Ok(());
        }
        let call = self.call(controller, Caller::Client { client, attempt });
        let mut request = request;
        if self.fault == Some(Fault::SkipCondition) {
            request.if_match = None;
        }
        self.step(controller, Event::Request(call, request))
    }

    /// What a client is told has to be so at that moment, whether the answer arrives or not.
    fn check_answer(&mut self, client: usize, attempt: (u64, u64), answer: &Answer) -> Result<(), String> {
        let this = &self.clients[client];
        // A request that was overtaken tells of the past.
        if this.task != attempt.0 || !(200..300).contains(&answer.status) {
            return Ok(());
        }
        let Some(task) = this.tasks.front() else { return Ok(()) };
        checks::answered(task, answer.status, &self.store)
    }

    fn answered(&mut self, client: usize, attempt: (u64, u64), answer: &Answer) -> Result<(), String> {
        let this = &mut self.clients[client];
        if (this.task, this.attempt) != attempt || !this.busy {
            return Ok(());
        }
        let done = this.answered(answer);
        if let Some(task) = &done {
            let status = answer.status;
            if (200..300).contains(&status) {
                this.holds = (task.method == Method::Put).then(|| task.mark.clone()).filter(|mark| !mark.is_empty());
            }
            let number = this.number;
            self.note(format!("client {number}: {:?} {} is answered {status}", task.method, task.path));
            if number == 0 && !(200..300).contains(&status) {
                return Err(format!("the operator is answered {status}: {}", String::from_utf8_lossy(&answer.body)));
            }
            if client == 0 && self.clients[0].tasks.is_empty() {
                for tenant in 1..=TENANTS + 1 {
                    self.after(1, What::Act(tenant));
                }
            }
        }
        let delay = if done.is_some() { self.random.below(60) } else { 20 };
        self.after(delay, What::Act(client));
        Ok(())
    }

    // ---------------------------------------------------------------- agents

    fn seek(&mut self, agent: usize) -> Result<(), String> {
        let delay = 30 + self.random.below(60);
        self.after(delay, What::Seek(agent));
        // A stream ends with the process at its other end.
        let live = |(at, life, _): &(usize, u64, StreamId)| self.controllers[*at].life == *life;
        if self.agents[agent].link.as_ref().is_some_and(live) {
            return Ok(());
        }
        self.agents[agent].link = None;
        let controller = self.random.below(CONTROLLERS as u64) as usize;
        if self.controllers[controller].core.is_none() || self.is_lost() {
            return Ok(());
        }
        if !self.calm && self.agents[agent].enrolled && self.random.once_in(25) {
            self.note(format!("agent {agent} is set up anew"));
            self.agents[agent].reinstall();
        }
        let this = &self.agents[agent];
        let (id, hello, enrolled, installation) = (this.id.clone(), this.hello(), this.enrolled, this.installation);
        let mut key = [agent as u8; 32];
        key[0] = installation;
        let token = format!("token-{agent}-{installation}");
        if enrolled && !self.calm && self.random.once_in(4) {
            let call = self.call(controller, Caller::Thief(agent));
            let enrol = Enrol {
                agent: id.clone(),
                token: token.clone(),
                token_expires: u64::MAX,
                key: KeyId([u8::MAX; 32]),
                hello: hello.clone(),
            };
            let life = self.controllers[controller].life;
            self.step(controller, Event::Enrol(call, enrol))?;
            if self.controllers[controller].life != life {
                return Ok(());
            }
        }
        let key = KeyId(key);
        if !enrolled {
            let call = self.call(controller, Caller::Agent(agent, installation, None));
            let enrol = Enrol { agent: id, token, token_expires: u64::MAX, key, hello };
            return self.step(controller, Event::Enrol(call, enrol));
        }
        let this = &mut self.controllers[controller];
        this.next += 1;
        let stream = StreamId(this.next);
        this.streams.insert(stream, agent);
        let call = self.call(controller, Caller::Agent(agent, installation, Some(stream)));
        self.step(controller, Event::Connect(call, stream, Connect { agent: id, key, hello }))
    }

    fn planned(&mut self, agent: usize, link: (usize, u64, StreamId), event: &PlanEvent) -> Result<(), String> {
        if self.agents[agent].link != Some(link) {
            return Ok(());
        }
        let before = self.agents[agent].position;
        let fault = self.fault;
        match self.agents[agent].take(event, fault) {
            Taken::Applied => {
                let position = self.agents[agent].position;
                if position < before {
                    return Err(format!("agent {agent} went back from {before:?} to {position:?}"));
                }
                let (controller, life, _) = link;
                if self.controllers[controller].life == life {
                    let id = self.agents[agent].id.clone();
                    self.step(controller, Event::Heartbeat(id, Heartbeat { position, ..Heartbeat::default() }))?;
                }
                if !self.calm && self.random.once_in(30) {
                    self.disconnect(agent)?;
                }
                Ok(())
            }
            Taken::Refused => self.disconnect(agent),
        }
    }

    /// A stream breaks; the controller may notice, and the agent looks for one again.
    fn disconnect(&mut self, agent: usize) -> Result<(), String> {
        let Some((controller, life, stream)) = self.agents[agent].link.take() else { return Ok(()) };
        let this = &mut self.controllers[controller];
        if this.life == life {
            this.streams.remove(&stream);
            self.step(controller, Event::Closed(stream))?;
        }
        Ok(())
    }
}

// -------------------------------------------------------------------- watchers
impl Simulation {
    fn look(&mut self, watcher: usize) -> Result<(), String> {
        let delay = 30 + self.random.below(100);
        self.after(delay, What::Look(watcher));
        let live = |(at, life, _): &(usize, u64, StreamId)| self.controllers[*at].life == *life;
        if self.watchers[watcher].link.as_ref().is_some_and(live) {
            return Ok(());
        }
        self.watchers[watcher].link = None;
        if self.watchers[watcher].after.is_none() && self.fault != Some(Fault::ResumeInside) {
            self.watchers[watcher].forget();
        }
        let controller = self.random.below(CONTROLLERS as u64) as usize;
        if self.controllers[controller].core.is_none() || self.is_lost() {
            return Ok(());
        }
        self.watchers[watcher].attempt += 1;
        let attempt = self.watchers[watcher].attempt;
        let call = self.call(controller, Caller::Watcher { watcher, attempt });
        let this = &mut self.controllers[controller];
        this.next += 1;
        let stream = StreamId(this.next);
        let request = WatchRequest {
            principal: Principal { name: "watcher".into(), role: Role::ReadOnly },
            path: "/networking/v1".to_owned(),
            after: self.watchers[watcher].after,
        };
        self.step(controller, Event::Watch(call, stream, request))
    }

    fn send(&mut self, watcher: usize, link: (usize, u64, StreamId), event: Arc<WatchEvent>) {
        let at = (self.now + self.delay()).max(self.watchers[watcher].clock);
        self.watchers[watcher].clock = at;
        self.at(at, What::Told { watcher, link, event });
    }

    fn told(&mut self, watcher: usize, link: (usize, u64, StreamId), event: &WatchEvent) -> Result<(), String> {
        if self.watchers[watcher].link != Some(link) {
            return Ok(());
        }
        let inside = event.revision.is_none();
        self.watchers[watcher].hear(event)?;
        if self.calm || !self.random.once_in(40) {
            return Ok(());
        }
        self.watchers[watcher].link = None;
        let (controller, life, stream) = link;
        if inside && self.fault == Some(Fault::ResumeInside) {
            self.watchers[watcher].after = Some(self.controllers[controller].read.0);
        }
        if self.controllers[controller].life == life {
            self.controllers[controller].watches.remove(&stream);
            self.step(controller, Event::Closed(stream))?;
        }
        Ok(())
    }
}
