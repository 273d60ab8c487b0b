//! The task that drives the core: it carries the store's news, the clients' calls and the time to it, and does what it decides.
//!
//! A controller follows until it is elected: it reads what is there and then what others write, so that it can answer readers and lead
//! at once. A controller that loses its leadership forgets everything and begins again, since what it decided last may not be what the
//! store holds.

use super::core::event::{Action, CallId, Event, Moment, Sequence, StreamId, Write};
use super::core::message::{Answer, Refusal, RefusalKind, WatchEvent};
use super::core::{Core, Settings};
use super::server::service::{Call, Calls, Reply, Standing};
use super::store::{Batch, Change, Error, Leadership, Op, Outcome, Pending, Revision, Store, Txn, WatchError, Writer};
use crate::agent::protocol::PlanEvent;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// How often the core is told that time goes by.
const TICK: Duration = Duration::from_millis(500);
/// How long to wait before a store that failed is asked again.
const PATIENCE: Duration = Duration::from_secs(1);
/// Plan events that an agent may leave unread before its stream is ended.
const PLANS: usize = 256;
/// Events that a watcher may leave unread before its stream is ended.
const EVENTS: usize = 4096;
/// The name of the leadership.
const LEADERSHIP: &str = "controller";

/// Drives a core until the server's end of `calls` is gone.
///
/// `address` is where this controller answers, for the others to point at.
pub async fn run(store: Store, mut calls: Calls, address: String, settings: Settings) {
    loop {
        match reign(&store, &mut calls, &address, &settings).await {
            Ok(End::Closed) => return,
            Ok(End::Superseded) => tracing::warn!("this controller leads no more; it begins again as a follower"),
            Err(error) => {
                tracing::error!(%error, "the store failed; trying again");
                tokio::time::sleep(PATIENCE).await;
            }
        }
        calls.standing.send_replace(Standing::Starting);
    }
}

/// Why a run of the core ended.
enum End {
    /// Nobody asks any more.
    Closed,
    /// Another controller leads, or nobody knows.
    Superseded,
}

/// One life of a core: from what the store holds to the loss of its leadership.
async fn reign(store: &Store, calls: &mut Calls, address: &str, settings: &Settings) -> Result<End, Error> {
    let snapshot = store.range("").await?;
    let mut driver = Driver::new(settings);
    let entries =
        snapshot.entries.into_iter().filter_map(|entry| Some((entry.key, Some(text(&entry.value)?)))).collect();
    driver.step(Event::Written { revision: snapshot.revision.0, entries });
    let mut watch = store.watch("", snapshot.revision.next());
    let mut seen = snapshot.revision;
    let mut campaign = Box::pin(store.campaign(LEADERSHIP, address));
    let mut leading: Option<(Leadership, Writer)> = None;
    let mut writes = Writes::new();
    let mut won: Option<Leadership> = None;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    follow(store, calls).await;
    loop {
        // Elected, and everything that was written before is read.
        if let Some(leadership) =
            won.take_if(|leadership| leadership.term().guard.revision().is_none_or(|at| seen >= at))
        {
            let epoch = leadership.term().epoch.0;
            let writer = store.writer(leadership.term());
            leading = Some((leadership, writer));
            driver.step(Event::Elected { epoch, revision: seen.0 });
            calls.standing.send_replace(Standing::Leader { epoch });
            tracing::info!(epoch, "this controller leads");
        }
        if let Some((_, writer)) = &mut leading {
            driver.hand_over(writer, &mut writes);
        }
        tokio::select! {
            biased;
            Some((agent, heartbeat)) = calls.heartbeats.recv() => driver.step(Event::Heartbeat(agent, heartbeat)),
            Some(outcome) = writes.next() => match outcome {
                (sequence, Ok(Outcome::Committed(revision))) => driver.step(Event::Durable(sequence, revision.0)),
                (_, Ok(Outcome::Conflict) | Err(Error::Halted)) => return Ok(End::Superseded),
                (_, Err(error)) => return Err(error),
            },
            () = lost(leading.as_ref()) => return Ok(End::Superseded),
            elected = &mut campaign, if leading.is_none() && won.is_none() => won = Some(elected?),
            batch = watch.next(), if leading.is_none() => match batch {
                Ok(batch) => {
                    seen = batch.revision;
                    if batch.changes.iter().any(|change| change.key().starts_with(super::store::election::LEADERS)) {
                        follow(store, calls).await;
                    }
                    driver.step(news(batch));
                }
                Err(WatchError::Compacted { .. }) => return Ok(End::Superseded),
                Err(WatchError::Store(error)) => return Err(error),
            },
            call = calls.calls.recv() => match call {
                Some(call) => driver.call(call),
                None => return Ok(End::Closed),
            },
            _ = tick.tick() => driver.step(Event::Tick),
        }
    }
}

/// Writes on their way, in their order.
type Writes = FuturesOrdered<Pin<Box<dyn Future<Output = (Sequence, Result<Outcome, Error>)> + Send>>>;

async fn lost(leading: Option<&(Leadership, Writer)>) {
    match leading {
        Some((leadership, _)) => leadership.lost().await,
        None => std::future::pending().await,
    }
}

/// Says who leads, as far as is known.
async fn follow(store: &Store, calls: &Calls) {
    let leader = store.leader(LEADERSHIP).await.ok().flatten().map(|leader| Arc::from(leader.address));
    calls.standing.send_replace(Standing::Follower { leader });
}

fn text(value: &[u8]) -> Option<Arc<str>> {
    // What is ours is JSON. Anything else under these keys is somebody else's.
    str::from_utf8(value).ok().map(Arc::from)
}

fn news(batch: Batch) -> Event {
    let entries = batch.changes.into_iter().filter_map(|change| match change {
        Change::Put(entry) => Some((entry.key, Some(text(&entry.value)?))),
        Change::Deleted { key } => Some((key, None)),
    });
    Event::Written { revision: batch.revision.0, entries: entries.collect() }
}

/// A core with the ends of whoever waits for it.
struct Driver {
    core: Core,
    random: SystemRandom,
    actions: Vec<Action>,
    writes: Vec<(Sequence, Write)>,
    next: u64,
    answers: HashMap<CallId, Waiting>,
    plans: HashMap<StreamId, mpsc::Sender<Arc<PlanEvent>>>,
    watches: HashMap<StreamId, mpsc::Sender<Arc<WatchEvent>>>,
}

/// Who waits for an answer.
enum Waiting {
    Answer(Reply<Answer>),
    Admission(Reply<Result<(), Refusal>>),
    Plan(Reply<Result<mpsc::Receiver<Arc<PlanEvent>>, Refusal>>, mpsc::Receiver<Arc<PlanEvent>>),
    Watch(Reply<Result<mpsc::Receiver<Arc<WatchEvent>>, Answer>>, mpsc::Receiver<Arc<WatchEvent>>),
}

impl Driver {
    fn new(settings: &Settings) -> Self {
        Self {
            core: Core::new(settings.clone()),
            random: SystemRandom::new(),
            actions: Vec::new(),
            writes: Vec::new(),
            next: 0,
            answers: HashMap::new(),
            plans: HashMap::new(),
            watches: HashMap::new(),
        }
    }

    fn moment(&self) -> Moment {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut seed = [0; 16];
        // Without the kernel's randomness nothing here runs: TLS has asked for it before.
        let _ = self.random.fill(&mut seed);
        Moment {
            unix_milliseconds: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            seed: u128::from_ne_bytes(seed),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn call(&mut self, call: Call) {
        let id = CallId(self.number());
        let event = match call {
            Call::Request(request, reply) => {
                self.answers.insert(id, Waiting::Answer(reply));
                Event::Request(id, request)
            }
            Call::Watch(request, reply) => {
                let stream = StreamId(self.number());
                let (sender, receiver) = mpsc::channel(EVENTS);
                self.watches.insert(stream, sender);
                self.answers.insert(id, Waiting::Watch(reply, receiver));
                Event::Watch(id, stream, request)
            }
            Call::Enrol(enrol, reply) => {
                self.answers.insert(id, Waiting::Admission(reply));
                Event::Enrol(id, enrol)
            }
            Call::Connect(connect, reply) => {
                let stream = StreamId(self.number());
                let (sender, receiver) = mpsc::channel(PLANS);
                self.plans.insert(stream, sender);
                self.answers.insert(id, Waiting::Plan(reply, receiver));
                Event::Connect(id, stream, connect)
            }
            Call::Report(agent, report, reply) => {
                self.answers.insert(id, Waiting::Admission(reply));
                Event::Report(id, agent, report)
            }
        };
        self.step(event);
    }

    fn step(&mut self, event: Event) {
        let now = self.moment();
        let mut actions = std::mem::take(&mut self.actions);
        self.core.step(event, now, &mut actions);
        let mut closed = Vec::new();
        for action in actions.drain(..) {
            self.act(action, &mut closed);
        }
        self.actions = actions;
        for stream in closed {
            self.step(Event::Closed(stream));
        }
    }

    fn act(&mut self, action: Action, closed: &mut Vec<StreamId>) {
        match action {
            Action::Write(sequence, write) => self.writes.push((sequence, write)),
            Action::Answer(call, answer) => {
                if let Some(Waiting::Answer(reply)) = self.answers.remove(&call) {
                    reply.send(answer);
                }
            }
            Action::Admit(call, admitted) => match self.answers.remove(&call) {
                Some(Waiting::Admission(reply)) => reply.send(admitted),
                Some(Waiting::Plan(reply, stream)) => reply.send(admitted.map(|()| stream)),
                _ => {}
            },
            Action::Follow(call, followed) => {
                if let Some(Waiting::Watch(reply, stream)) = self.answers.remove(&call) {
                    reply.send(followed.map(|()| stream));
                }
            }
            Action::Plan(stream, event) => {
                if self.plans.get(&stream).is_some_and(|sender| sender.try_send(event).is_err()) {
                    self.plans.remove(&stream);
                    closed.push(stream);
                }
            }
            Action::Tell(stream, event) => {
                if self.watches.get(&stream).is_some_and(|sender| sender.try_send(event).is_err()) {
                    self.watches.remove(&stream);
                    closed.push(stream);
                }
            }
            Action::Close(stream) => {
                self.plans.remove(&stream);
                self.watches.remove(&stream);
            }
        }
    }

    /// Gives the writes that were decided to the store, in their order.
    fn hand_over(&mut self, writer: &mut Writer, writes: &mut Writes) {
        for (sequence, write) in self.writes.drain(..) {
            let ops = write.entries.into_iter().map(|(key, value)| match value {
                Some(value) => Op::put(key, Arc::<[u8]>::from(value)),
                None => Op::delete(key),
            });
            let pending: Pending = writer.commit(Txn::of(ops));
            writes.push_back(Box::pin(async move { (sequence, pending.await) }));
        }
    }
}

impl Drop for Driver {
    /// Whoever waits is told to come again.
    fn drop(&mut self) {
        let later = || Refusal::new(RefusalKind::Unavailable, "this controller does not lead any more; ask again");
        for (_, waiting) in self.answers.drain() {
            match waiting {
                Waiting::Answer(reply) => reply.send(superseded()),
                Waiting::Admission(reply) => reply.send(Err(later())),
                Waiting::Plan(reply, _) => reply.send(Err(later())),
                Waiting::Watch(reply, _) => reply.send(Err(superseded())),
            }
        }
    }
}

/// What a client is told whose request may or may not have been carried out.
fn superseded() -> Answer {
    Answer {
        retry_after: Some(1),
        ..Answer::error(
            503,
            "RetryableError",
            "this controller does not lead any more; send the same request again, with the same x-ms-client-request-id",
        )
    }
}

/// The revision from which a guard holds.
trait Since {
    fn revision(&self) -> Option<Revision>;
}

impl Since for super::store::Compare {
    fn revision(&self) -> Option<Revision> {
        match self.expected {
            super::store::Expected::Created(revision) => Some(revision),
            _ => None,
        }
    }
}
