//! Controllers: processes around the shipping core, which lead, follow, write, and die after any action.

use super::Fault;
use super::world::{LEADERSHIP, Simulation, What, settings, text};
use gateway_user::agent::protocol::PlanEvent;
use gateway_user::controller::core::Core;
use gateway_user::controller::core::event::{Action, CallId, Event, Moment, Sequence, StreamId, Write};
use gateway_user::controller::core::message::RefusalKind;
use gateway_user::controller::store::{Change, Op, Outcome, Revision, Term, Txn};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A controller's process.
#[derive(Default)]
pub(super) struct Controller {
    /// Counts its lives: what was meant for an earlier one is lost.
    pub(super) life: u64,
    pub(super) core: Option<Core>,
    pub(super) term: Option<Term>,
    /// An earlier write of this life's was refused.
    pub(super) halted: bool,
    pub(super) read: Revision,
    pub(super) calls: HashMap<CallId, Caller>,
    pub(super) streams: BTreeMap<StreamId, usize>,
    pub(super) watches: BTreeMap<StreamId, usize>,
    pub(super) next: u64,
    /// What is sent to the store, and comes from it, keeps its order.
    pub(super) store_clock: u64,
    pub(super) answer_clock: u64,
}

/// Who asked.
pub(super) enum Caller {
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

impl Simulation {
    pub(super) fn start(&mut self, controller: usize) -> Result<(), String> {
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

    pub(super) fn crash(&mut self, controller: usize) {
        if self.calm || self.controllers[controller].core.is_none() {
            return;
        }
        self.note(format!("controller {controller} crashes"));
        self.restart(controller);
    }

    /// The process ends; another one starts in its place after a while.
    pub(super) fn restart(&mut self, controller: usize) {
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

    pub(super) fn campaign(&mut self, controller: usize) -> Result<(), String> {
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
    pub(super) fn notice(&mut self, controller: usize) {
        let genuine = self.store.leader(LEADERSHIP).map(|leader| leader.epoch.0);
        let own = self.controllers[controller].core.as_ref().and_then(Core::epoch);
        if own.is_some() && own != genuine && (self.calm || self.random.once_in(6)) {
            self.note(format!("controller {controller} notices that it leads no more"));
            self.restart(controller);
        }
    }

    /// A follower reads what was written since it read last.
    pub(super) fn catch_up(&mut self, controller: usize) -> Result<(), String> {
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

    pub(super) fn commit(&mut self, (controller, life): (usize, u64), term: &Term, sequence: Sequence, write: Write) {
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
    pub(super) fn step(&mut self, controller: usize, event: Event) -> Result<(), String> {
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

    pub(super) fn call(&mut self, controller: usize, caller: Caller) -> CallId {
        let this = &mut self.controllers[controller];
        this.next += 1;
        let call = CallId(this.next);
        this.calls.insert(call, caller);
        call
    }
}
