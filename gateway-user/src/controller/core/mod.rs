//! What the controller decides: one state machine, without I/O.
//!
//! ```text
//!   Event ──► step ──► Action
//!              │
//!              ├─ a request changes the state at once and issues a write;
//!              └─ its answer, and everything else that anybody may see of it, is held until the write is durable
//! ```
//!
//! [`Core::step`] is all there is: it is given what happened and when, and says what to do. The same code runs in the daemon and in a
//! simulator. The leader is the only one that writes; a core that follows is told what was written, and answers readers.
//!
//! | to change | go to |
//! |---|---|
//! | what may happen, and what may be done | [`event`], [`message`] |
//! | how a request is answered | [`requests`] |
//! | what a change of a tree brings with it | [`change`] |
//! | what stands in the store | [`state`] |
//! | what a follower makes of what the leader writes | `follow` |
//! | who is told what of a change: agents, watchers | [`plans`], [`watchers`] |
//! | what is known of the agents | [`agents`] |
//! | what tenants' routers have learned | [`learned`] |
//! | pools' seats, and who holds them | [`seats`] |
//! | which seats nobody holds | `empty` |
//! | the controllers' vote on who holds them | `voting` |
//! | moves of connections without a gap | `rebalance` |
//! | where an address of a tenant's is reached | `ways` |
//! | what answers show beside what was written | [`observed`] |
//! | who is let in, and who is not any more | [`ledger`], `credentials` |
//! | what waits for what | [`held`] |
//! | requests that are sent twice | [`repeats`] |
//! | records of which the latest are kept | [`latest`] |

pub mod agents;
pub mod change;
mod credentials;
mod empty;
pub mod event;
mod follow;
pub mod held;
pub mod latest;
pub mod learned;
pub mod ledger;
pub mod message;
pub mod observed;
pub mod plans;
mod rebalance;
pub mod repeats;
pub mod requests;
pub mod seats;
pub mod state;
mod voting;
pub mod watchers;
mod ways;

#[cfg(test)]
mod tests;

use self::agents::Presence;
use self::change::Entries;
use self::event::{Action, CallId, Event, Moment, Sink, StreamId, Write};
use self::held::Held;
use self::message::{Answer, Refusal, RefusalKind, WatchEvent, WatchRequest};
use self::plans::Documents;
use self::state::{State, Unreadable};
use self::watchers::{Interest, News, Watchers};
use crate::agent::protocol::PlanEvent;
use crate::agent::routes::RouteEvent;
use crate::controller::model::Id;
use crate::controller::model::records::{AgentId, Role};
use crate::controller::placement::{self, Health, Moved};
use crate::controller::resources::{Role as ClientRole, Seal};
use crate::controller::seats::vote::Vote;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a core is told once.
#[derive(Clone)]
pub struct Settings {
    /// How connections are spread.
    pub placement: placement::Settings,
    /// What seals secrets before they are stored.
    pub seal: Arc<dyn Seal + Send + Sync>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("placement", &self.placement).finish_non_exhaustive()
    }
}

/// The state machine.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    state: State,
    standing: Standing,
    /// The store's revision as far as it is known to be durable.
    revision: u64,
    held: Held<Out>,
    watchers: Watchers,
    /// What was said of each pool's seats since this controller leads.
    votes: BTreeMap<Id, Vote>,
    /// When a move came to its present stage, in milliseconds since 1970.
    transfer_since: u64,
    unreadable: Option<Unreadable>,
}

/// What this controller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing has been read yet.
    Empty,
    /// It reads what another one writes.
    Follower,
    /// It writes.
    Leader {
        /// The leadership's number.
        epoch: u64,
    },
}

/// What is let out when the writes before it are durable.
#[derive(Debug)]
enum Out {
    Action(Action),
    /// A tree changed.
    News(News),
    /// A watch is to be opened.
    Watch(Opening),
    /// An agent's plan: to be numbered with the revision.
    Plan {
        agent: AgentId,
        stream: StreamId,
        event: PlanEvent,
    },
    /// What a host is told of learned routes, likewise.
    Routes {
        agent: AgentId,
        stream: StreamId,
        event: RouteEvent,
    },
}

/// A watch that is to be opened.
#[derive(Debug)]
struct Opening {
    call: CallId,
    stream: StreamId,
    interest: Interest,
    begin: Begin,
}

/// Where a watch begins.
#[derive(Debug)]
enum Begin {
    /// After a revision.
    After(u64),
    /// With what is there.
    With(Vec<Arc<WatchEvent>>),
}

/// The agent of a gateway.
pub fn gateway(id: &Id) -> AgentId {
    AgentId { role: Role::Gateway, id: id.clone() }
}

/// The agent of a server.
pub fn host(id: &Id) -> AgentId {
    AgentId { role: Role::Host, id: id.clone() }
}

impl Core {
    /// A core that knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: State::default(),
            standing: Standing::Empty,
            revision: 0,
            held: Held::default(),
            watchers: Watchers::default(),
            votes: BTreeMap::new(),
            transfer_since: 0,
            unreadable: None,
        }
    }

    /// What it holds.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The number of its leadership, if it leads.
    pub fn epoch(&self) -> Option<u64> {
        match self.standing {
            Standing::Leader { epoch } => Some(epoch),
            Standing::Empty | Standing::Follower => None,
        }
    }

    /// How many writes are on their way.
    pub fn in_flight(&self) -> u64 {
        self.held.in_flight()
    }

    /// What is wrong with the store, if it holds what cannot be read. Then everything is refused.
    pub fn unreadable(&self) -> Option<&Unreadable> {
        self.unreadable.as_ref()
    }

    /// Takes what happened; tells `actions` what to do, in this order. A write is told as soon as it is known, before what follows from it.
    pub fn step(&mut self, event: Event, now: Moment, actions: &mut dyn Sink) {
        match event {
            Event::Written { revision, entries } => self.written(revision, &entries, actions),
            Event::Elected { epoch, revision } => {
                self.standing = Standing::Leader { epoch };
                self.revision = revision;
                self.state.muster(self.settings.placement);
                self.state.agents.listen();
                self.votes.clear();
                self.end_transfer(actions);
                self.reunite(actions);
                self.settle_all_seats(now, actions);
            }
            Event::Durable(sequence, revision) => {
                self.revision = revision;
                let out: Vec<Out> = self.held.release(sequence).collect();
                for out in out {
                    self.emit(out, actions);
                }
            }
            Event::Request(call, request) => {
                let (answer, made) = self.request(&request, now, actions);
                self.let_out(Out::Action(Action::Answer(call, answer)), actions);
                // Whoever asked waits for nothing that others are told.
                if let Some(made) = made {
                    self.tell_of(made, now, actions);
                }
            }
            Event::Watch(call, stream, request) => self.watch(call, stream, &request, actions),
            Event::Enrol(call, enrol) => {
                let admitted = self.enrol(enrol, now, actions);
                self.let_out(Out::Action(Action::Admit(call, admitted)), actions);
            }
            Event::Connect(call, stream, connect) => self.connect(call, stream, connect, now, actions),
            Event::Closed(stream) => {
                self.watchers.close(stream);
                self.state.agents.close(stream);
            }
            Event::Heartbeat(agent, heartbeat) => {
                self.state.agents.heartbeat(&agent, heartbeat.position, now.unix_milliseconds);
                self.revive(&agent);
            }
            Event::Report(call, agent, report) => {
                let admitted = match self.state.agents.get(&agent) {
                    Some(_) => Ok(()),
                    None => self.leads().and(Err(unknown(&agent))),
                };
                let seats = report.seats.clone();
                let said = self.state.agents.get(&agent).map(|known| known.seats().clone());
                self.state.agents.report(&agent, report, now.unix_milliseconds);
                self.revive(&agent);
                if admitted.is_ok() {
                    self.follow_seats(&agent, &seats, now, actions);
                    let says = self.state.agents.get(&agent).map(|known| known.seats());
                    let pool = self
                        .state
                        .seats_around(&agent.id)
                        .filter(|_| says != said.as_ref())
                        .map(|(pool, _)| pool.clone());
                    if let Some(pool) = pool.filter(|_| agent.role == Role::Gateway) {
                        self.judge_seats(&pool, now, actions);
                    }
                }
                self.let_out(Out::Action(Action::Admit(call, admitted)), actions);
            }
            Event::Routes(call, agent, report) => {
                let admitted = self.routes(&agent, report, now, actions);
                self.let_out(Out::Action(Action::Admit(call, admitted)), actions);
            }
            Event::Vote(call, agent, ask) => {
                let answer = self.vote(&agent, ask, now, actions);
                self.let_out(Out::Action(Action::Answer(call, answer)), actions);
            }
            Event::Know(call, id, credential) => {
                let known = self.know(id, credential, now, actions);
                self.let_out(Out::Action(Action::Admit(call, known)), actions);
            }
            Event::Revoke(call, id) => {
                let revoked = self.revoke(id, now, actions);
                self.let_out(Out::Action(Action::Admit(call, revoked)), actions);
            }
            Event::Tick => {
                self.tick(now);
                self.tick_seats(now, actions);
                self.tick_transfer(now, actions);
                self.forget_routes(now, actions);
            }
        }
    }

    /// Takes what is in the store: at the start all of it, then what another leader wrote.
    fn written(&mut self, revision: u64, entries: &Entries, actions: &mut dyn Sink) {
        if self.standing == Standing::Empty {
            match State::load(entries, self.settings.placement) {
                Ok(state) => self.state = state,
                Err(error) => self.unreadable = Some(error),
            }
            self.standing = Standing::Follower;
            self.revision = revision;
            self.watchers.begin(revision);
            return;
        }
        self.follow(revision, entries, actions);
    }

    /// Ends what a leader began that died while it moved a VIP from a gateway to another: it must not be at both.
    fn reunite(&mut self, actions: &mut dyn Sink) {
        let moved = self.state.fleet.reunite();
        for Moved { tenant, connection, from, placement } in &moved {
            tracing::info!(%tenant, %connection, %from, to = %placement.gateway, "a move that was interrupted is ended");
        }
        if let Err(error) = self.keep_moved(&moved, None, &Documents::new(), actions) {
            tracing::error!(%error, "a move that was interrupted cannot be ended");
        }
    }

    fn tell(&mut self, revision: u64, news: News, actions: &mut dyn Sink) {
        for (stream, event) in self.watchers.tell(revision, news) {
            actions.act(Action::Tell(stream, event));
        }
    }

    /// Issues a write. What is let out from here on waits for it.
    fn write(&mut self, entries: Entries, actions: &mut dyn Sink) {
        let sequence = self.held.issue();
        actions.act(Action::Write(sequence, Write { entries }));
    }

    /// Lets something out as soon as all writes so far are durable.
    fn let_out(&mut self, out: Out, actions: &mut dyn Sink) {
        if let Some(out) = self.held.hold(out) {
            self.emit(out, actions);
        }
    }

    fn emit(&mut self, out: Out, actions: &mut dyn Sink) {
        match out {
            Out::Action(action) => actions.act(action),
            Out::News(news) => self.tell(self.revision, news, actions),
            Out::Watch(opening) => self.open(opening, actions),
            Out::Plan { agent, stream, event } => self.send(&agent, stream, event, actions),
            Out::Routes { agent, stream, event } => self.send_routes(&agent, stream, event, actions),
        }
    }

    fn watch(&mut self, call: CallId, stream: StreamId, request: &WatchRequest, actions: &mut dyn Sink) {
        let tenant = match &request.principal.role {
            ClientRole::Tenant(tenant) => Some(Arc::from(tenant.as_ref())),
            ClientRole::Admin | ClientRole::ReadOnly => None,
        };
        let interest = Interest { path: below_version(&request.path), tenant };
        // What is there, as far as it is decided: by the time that the watch opens it is durable.
        let begin = match request.after {
            Some(after) => Begin::After(after),
            None => Begin::With(self.present(&interest, &request.principal)),
        };
        self.let_out(Out::Watch(Opening { call, stream, interest, begin }), actions);
    }

    /// Opens a watch: all writes before it are durable, and have been told to others.
    fn open(&mut self, Opening { call, stream, interest, begin }: Opening, actions: &mut dyn Sink) {
        let events = match begin {
            // Nobody was told of what comes after the latest revision: the number is of another store, or from before a restore.
            Begin::After(after) if !self.watchers.remembers(after) || self.is_ahead(after) => {
                let message = format!(
                    "what changed since revision {after} is not remembered; watch again without a revision: it begins with all there is"
                );
                Err(Answer::error(410, "Gone", &message))
            }
            Begin::After(after) => Ok(self.watchers.open(stream, interest, after)),
            Begin::With(mut present) => {
                self.watchers.open(stream, interest, self.revision);
                present.push(Arc::new(watchers::bookmark(self.revision)));
                Ok(present)
            }
        };
        actions.act(Action::Follow(call, stream, events));
    }

    /// Whether a revision is one that no controller can have told of.
    fn is_ahead(&self, revision: u64) -> bool {
        self.epoch().is_some() && self.in_flight() == 0 && revision > self.revision
    }

    /// A gateway that is heard of again may be given connections again.
    fn revive(&mut self, agent: &AgentId) {
        if agent.role == Role::Gateway
            && self.state.fleet.health(&agent.id) == Some(Health::Failed)
            && self.state.seats_around(&agent.id).is_none()
        {
            let _ = self.state.fleet.set_health(&agent.id, Health::Healthy);
        }
    }

    /// Gateways that are not heard of any more are given nothing.
    fn tick(&mut self, now: Moment) {
        let silent = self.state.agents.iter().filter(|(agent, known)| {
            agent.role == Role::Gateway && known.presence(now.unix_milliseconds) == Presence::Silent
        });
        let silent: Vec<Id> = silent.map(|(agent, _)| agent.id.clone()).collect();
        for gateway in
            silent.into_iter().filter(|gateway| self.state.seats_around(gateway).is_none()).collect::<Vec<_>>()
        {
            if self.state.fleet.health(&gateway) == Some(Health::Healthy) {
                tracing::warn!(%gateway, "a gateway is not heard of; it is given no connections");
                let _ = self.state.fleet.set_health(&gateway, Health::Failed);
            }
        }
    }
}

/// A path without `/networking` and its version, in lower case: what watchers compare.
fn below_version(path: &str) -> String {
    let path = path.trim_end_matches('/').to_ascii_lowercase();
    let mut segments = path.splitn(4, '/');
    match (segments.next(), segments.next(), segments.next(), segments.next()) {
        (Some(""), Some("networking"), Some(_), Some(rest)) => format!("/{rest}"),
        _ => String::new(),
    }
}

/// What an agent is told that nobody let in.
fn unknown(agent: &AgentId) -> Refusal {
    let message = format!("{agent} is not enrolled here; create a join token for it and enrol it");
    Refusal::new(RefusalKind::Forbidden, message)
}
