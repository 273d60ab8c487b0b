//! The task that drives the core: it carries the store's news, the clients' calls and the time to it, and does what it decides.
//!
//! A controller follows until it is elected: it reads what is there and then what others write, so that it can answer readers and lead
//! at once. A controller that loses its leadership forgets everything and begins again, since what it decided last may not be what the
//! store holds.

use super::core::event::{CallId, Event, Moment, StreamId};
use super::core::message::{Answer, Refusal, RefusalKind};
use super::core::{Core, Settings};
use super::outbox::{Outbox, Written};
use super::server::service::{Call, Calls, Standing};
use super::store::backup::{Backup, BackupError, RESTORING};
use super::store::seal::Keys;
use super::store::{Batch, Change, Error, Leadership, Outcome, Revision, Store, WatchError};
use crate::agent::backoff::Backoff;
use crate::agent::protocol::Heartbeat;
use crate::controller::model::records::AgentId;
use ring::rand::{SecureRandom, SystemRandom};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// How often the core is told that time goes by.
const TICK: Duration = Duration::from_millis(500);
/// How long a sign of life may lie before the core is told of it, if nothing else happens. They are as many as there are agents, and none of
/// them is worth waking up for.
const HEARING: Duration = Duration::from_millis(100);
/// How long to wait before a store that failed is asked again: at first, and when it goes on failing. Each time a store in a file opens its
/// file anew.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));
/// The name of the leadership.
const LEADERSHIP: &str = "controller";

/// Drives a core until the server's end of `calls` is gone.
///
/// `address` is where this controller answers, for the others to point at; `keys` are those that seal what the store holds.
///
/// # Errors
/// What a person has to do something about before this controller may touch the store.
pub async fn run(
    store: Store,
    mut calls: Calls,
    address: String,
    settings: Settings,
    keys: Arc<Keys>,
) -> Result<(), Error> {
    let mut trouble = None;
    let mut patience = Backoff::new(PATIENCE.0, PATIENCE.1);
    loop {
        let ended = match keys.agree(&store).await {
            Ok(()) => {
                let mut reign = Reign { store: &store, address: &address, keys: &keys, trouble, patience };
                let ended = reign.run(&mut calls, &settings).await;
                (trouble, patience) = (reign.trouble, reign.patience);
                ended
            }
            Err(error @ Error::Refused { .. }) => return Err(error),
            Err(error) => Err(error),
        };
        match ended {
            Ok(End::Closed) => return Ok(()),
            Ok(End::Superseded) => tracing::warn!("this controller leads no more; it begins again as a follower"),
            Ok(End::Replaced) => tracing::info!("the store was restored from a backup; everything is read again"),
            Err(error) => {
                tracing::error!(%error, "the store failed; trying again");
                calls.standing.send_replace(standing(None, Some(&error)));
                if tokio::time::timeout(patience.wait(), turn_away(&mut calls, &error)).await.is_ok() {
                    return Ok(());
                }
                trouble = Some(error);
                continue;
            }
        }
        calls.standing.send_replace(Standing::Starting);
    }
}

/// What clients are told while this controller does not lead.
fn standing(leader: Option<Arc<str>>, trouble: Option<&Error>) -> Standing {
    match (leader, trouble) {
        (None, Some(full @ Error::Full { .. })) => Standing::Full { why: full.to_string().into() },
        (leader, _) => Standing::Follower { leader },
    }
}

/// Tells whoever asks that nothing can be told; returns when nobody asks any more.
async fn turn_away(calls: &mut Calls, error: &Error) {
    let why = match error {
        Error::Full { .. } => error.to_string(),
        _ => "this controller does not reach its store; ask another one, or again in a second".to_owned(),
    };
    let later = || Refusal::new(RefusalKind::Unavailable, &*why);
    let answer = || Answer { retry_after: Some(1), ..Answer::error(503, "RetryableError", &why) };
    while let Some(call) = calls.calls.recv().await {
        match call {
            Call::Request(_, reply) => reply.send(answer()),
            Call::Watch(_, reply) => reply.send(Err(answer())),
            Call::Enrol(_, reply) => reply.send(Err(later())),
            Call::Connect(_, reply) => reply.send(Err(later())),
            Call::Report(_, _, reply) => reply.send(Err(later())),
            Call::Routes(_, _, reply) => reply.send(Err(later())),
            Call::Vote(_, _, reply) => reply.send(answer()),
            Call::Know(_, _, reply) | Call::Revoke(_, reply) => reply.send(Err(later())),
            Call::Backup(reply) => reply.send(Err(error.clone().into())),
            Call::Restore(_, _, reply) => reply.send(Err(error.clone().into())),
        }
    }
}

/// Why a run of the core ended.
enum End {
    /// Nobody asks any more.
    Closed,
    /// Another controller leads, or nobody knows.
    Superseded,
    /// What the store holds is another configuration.
    Replaced,
}

/// One life of a core: from what the store holds to the loss of its leadership.
struct Reign<'a> {
    store: &'a Store,
    address: &'a str,
    keys: &'a Keys,
    /// What went wrong with the store last, until a write succeeds.
    trouble: Option<Error>,
    /// How long to wait when it goes wrong again.
    patience: Backoff,
}

impl Reign<'_> {
    async fn run(&mut self, calls: &mut Calls, settings: &Settings) -> Result<End, Error> {
        let (store, address) = (self.store, self.address);
        let snapshot = store.range("").await?;
        let mut driver = Driver::new(settings);
        let entries =
            snapshot.entries.into_iter().filter_map(|entry| Some((entry.key, Some(text(&entry.value)?)))).collect();
        driver.step(Event::Written { revision: snapshot.revision.0, entries });
        if let Some(unreadable) = driver.core.unreadable() {
            tracing::error!("{unreadable}");
        }
        let mut watch = store.watch("", snapshot.revision.next());
        let mut seen = snapshot.revision;
        let mut campaign = Box::pin(elect(store, address, Duration::ZERO));
        let mut leading: Option<Leadership> = None;
        let mut won: Option<Leadership> = None;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut hearing = tokio::time::interval(HEARING);
        hearing.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.follow(calls).await;
        loop {
            driver.hear(&mut calls.heartbeats);
            // Elected, and everything that was written before is read.
            if let Some(leadership) =
                won.take_if(|leadership| leadership.term().guard.revision().is_none_or(|at| seen >= at))
            {
                let epoch = leadership.term().epoch.0;
                driver.outbox.write_by(store.writer(leadership.term()));
                leading = Some(leadership);
                driver.step(Event::Elected { epoch, revision: seen.0 });
                self.trouble = None;
                self.patience.reset();
                calls.standing.send_replace(Standing::Leader { epoch });
                tracing::info!(epoch, "this controller leads");
            }
            // Who is taken out of it is not let in from here on, whether that is durable yet or not.
            let ledger = driver.core.state().ledger();
            calls.ledger.send_if_modified(|told| {
                let differs = !Arc::ptr_eq(told, ledger);
                if differs {
                    *told = ledger.clone();
                }
                differs
            });
            tokio::select! {
                biased;
                Some(outcome) = driver.outbox.written() => {
                    if let Some(end) = driver.outcome(outcome)? {
                        return Ok(end);
                    }
                }
                () = lost(leading.as_ref()) => return Ok(End::Superseded),
                elected = &mut campaign, if leading.is_none() && won.is_none() => match elected {
                    Ok(leadership) => won = Some(leadership),
                    Err(error @ (Error::Full { .. } | Error::Unavailable { .. })) => {
                        tracing::error!(%error, "this controller cannot lead; trying again");
                        // Who cannot read either does not know what others write, and has nothing to tell readers.
                        store.leader(LEADERSHIP).await?;
                        self.trouble = Some(error);
                        self.follow(calls).await;
                        campaign = Box::pin(elect(store, address, self.patience.wait()));
                    }
                    Err(error) => return Err(error),
                },
                batch = watch.next(), if leading.is_none() => match batch {
                    Ok(batch) => {
                        seen = batch.revision;
                        // The leader puts another configuration in place, piece by piece.
                        if batch.changes.iter().any(|change| change.key() == RESTORING) {
                            return Ok(End::Replaced);
                        }
                        if batch.changes.iter().any(|change| change.key().starts_with(super::store::election::LEADERS)) {
                            self.follow(calls).await;
                        }
                        driver.step(news(batch));
                    }
                    Err(WatchError::Compacted { .. }) => return Ok(End::Superseded),
                    Err(WatchError::Store(error)) => return Err(error),
                },
                call = calls.calls.recv() => match call {
                    // It slept, and another one may lead: nothing is answered on the strength of a lease that has ended.
                    Some(_) if leading.as_ref().is_some_and(|leadership| !leadership.is_held()) => {
                        return Ok(End::Superseded);
                    }
                    Some(Call::Backup(reply)) => {
                        let store = store.clone();
                        tokio::spawn(async move { reply.send(Backup::take(&store).await) });
                    }
                    Some(Call::Restore(backup, existing, reply)) => {
                        let checked = backup.check_keys(self.keys);
                        match (leading.take().zip(driver.outbox.take_writer()), checked) {
                            (Some((leadership, mut writer)), Ok(())) => {
                                while let Some(outcome) = driver.outbox.written().await {
                                    if let Some(end) = driver.outcome(outcome)? {
                                        return Ok(end);
                                    }
                                }
                                let restored = backup.restore(&mut writer, existing, driver.moment().unix_milliseconds).await;
                                if matches!(restored, Err(BackupError::NotEmpty(_))) {
                                    driver.outbox.write_by(writer);
                                    leading = Some(leadership);
                                    reply.send(restored);
                                } else {
                                    leadership.resign().await;
                                    reply.send(restored);
                                    return Ok(End::Replaced);
                                }
                            }
                            (before, Err(error)) => {
                                if let Some((leadership, writer)) = before {
                                    driver.outbox.write_by(writer);
                                    leading = Some(leadership);
                                }
                                reply.send(Err(error));
                            }
                            (None, Ok(())) => reply.send(Err(BackupError::NotLeader)),
                        }
                    }
                    Some(call) => driver.call(call),
                    None => {
                        if let Some(leadership) = leading {
                            leadership.resign().await;
                        }
                        return Ok(End::Closed);
                    }
                },
                _ = hearing.tick() => {}
                _ = tick.tick() => driver.step(Event::Tick),
            }
        }
    }

    /// Says who leads, as far as is known.
    async fn follow(&self, calls: &Calls) {
        let leader = self.store.leader(LEADERSHIP).await.ok().flatten();
        // What stands there of this controller itself is left from before.
        let leader = leader.filter(|leader| leader.address != self.address).map(|leader| Arc::from(leader.address));
        calls.standing.send_replace(standing(leader, self.trouble.as_ref()));
    }
}

/// Waits, then until this controller leads.
async fn elect(store: &Store, address: &str, wait: Duration) -> Result<Leadership, Error> {
    tokio::time::sleep(wait).await;
    store.campaign(LEADERSHIP, address).await
}

async fn lost(leading: Option<&Leadership>) {
    match leading {
        Some(leadership) => leadership.lost().await,
        None => std::future::pending().await,
    }
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
    outbox: Outbox,
    next: u64,
}

impl Driver {
    fn new(settings: &Settings) -> Self {
        Self { core: Core::new(settings.clone()), random: SystemRandom::new(), outbox: Outbox::default(), next: 0 }
    }

    /// Takes what became of a write. Without it nothing that was decided since holds.
    fn outcome(&mut self, (sequence, outcome): Written) -> Result<Option<End>, Error> {
        match outcome {
            Ok(Outcome::Committed(revision)) => {
                self.step(Event::Durable(sequence, revision.0));
                Ok(None)
            }
            Ok(Outcome::Conflict) | Err(Error::Halted) => Ok(Some(End::Superseded)),
            Err(error) => {
                self.outbox.end(error.clone());
                Err(error)
            }
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

    /// Takes all signs of life that have come.
    fn hear(&mut self, heartbeats: &mut mpsc::Receiver<(AgentId, Heartbeat)>) {
        while let Ok((agent, heartbeat)) = heartbeats.try_recv() {
            self.step(Event::Heartbeat(agent, heartbeat));
        }
    }

    fn call(&mut self, call: Call) {
        let id = CallId(self.number());
        let event = match call {
            Call::Request(request, reply) => {
                self.outbox.answer(id, reply);
                Event::Request(id, request)
            }
            Call::Watch(request, reply) => {
                let stream = StreamId(self.number());
                self.outbox.watch(id, reply);
                Event::Watch(id, stream, request)
            }
            Call::Enrol(enrol, reply) => {
                self.outbox.admit(id, reply);
                Event::Enrol(id, enrol)
            }
            Call::Connect(connect, reply) => {
                let stream = StreamId(self.number());
                self.outbox.plan(id, stream, reply);
                Event::Connect(id, stream, connect)
            }
            Call::Report(agent, report, reply) => {
                self.outbox.admit(id, reply);
                Event::Report(id, agent, report)
            }
            Call::Routes(agent, report, reply) => {
                self.outbox.admit(id, reply);
                Event::Routes(id, agent, report)
            }
            Call::Vote(agent, ask, reply) => {
                self.outbox.answer(id, reply);
                Event::Vote(id, agent, ask)
            }
            Call::Know(credential, known, reply) => {
                self.outbox.admit(id, reply);
                Event::Know(id, credential, known)
            }
            Call::Revoke(credential, reply) => {
                self.outbox.admit(id, reply);
                Event::Revoke(id, credential)
            }
            // They concern the store, not the core.
            Call::Backup(_) | Call::Restore(..) => return,
        };
        self.step(event);
    }

    fn step(&mut self, event: Event) {
        let now = self.moment();
        self.core.step(event, now, &mut self.outbox);
        self.outbox.give_answers();
        for stream in self.outbox.take_closed() {
            self.step(Event::Closed(stream));
        }
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
