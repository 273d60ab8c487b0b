//! Writes in order: the way in which a leader writes.

use super::{Compare, Error, Outcome, Store, Term, Txn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// Writes transactions in the order of the calls, each with the guard of a leadership, and stops for good at the first that is not
/// committed: what was built on it must not stand without it.
///
/// Many may be on their way at once, and are then made durable together.
#[derive(Debug)]
pub struct Writer {
    store: Store,
    guard: Compare,
    session: Session,
}

impl Writer {
    pub(super) fn new(store: Store, term: &Term) -> Self {
        Self { store, guard: term.guard.clone(), session: Session::default() }
    }

    /// Hands a transaction over at once; what is returned tells its outcome.
    pub fn commit(&mut self, txn: Txn) -> Pending {
        let (reply, pending) = oneshot::channel();
        let txn = txn.when(self.guard.clone());
        self.store.submit(Request { txn, session: Some(self.session.clone()), reply });
        Pending(pending)
    }

    /// The store that it writes to.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// The outcome of a write that is on its way.
#[derive(Debug)]
#[must_use = "whether a write is durable is known by its outcome alone"]
pub struct Pending(pub(super) oneshot::Receiver<Result<Outcome, Error>>);

impl Future for Pending {
    type Output = Result<Outcome, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|reply| {
            reply.unwrap_or_else(|_| {
                Err(Error::Unavailable { at: "of this process".into(), why: "it was closed meanwhile".into() })
            })
        })
    }
}

/// A transaction on its way to an engine.
#[derive(Debug)]
pub(super) struct Request {
    pub txn: Txn,
    pub session: Option<Session>,
    pub reply: oneshot::Sender<Result<Outcome, Error>>,
}

impl Request {
    /// Answers, and halts its session if this was no commit.
    pub fn answer(self, result: Result<Outcome, Error>) {
        self.heed(&result);
        let _ = self.reply.send(result);
    }

    /// Halts its session if this is no commit, before it is answered.
    pub fn heed(&self, result: &Result<Outcome, Error>) {
        if !matches!(result, Ok(Outcome::Committed(_)))
            && let Some(session) = &self.session
        {
            session.halt();
        }
    }

    /// Whether an earlier write of its session failed.
    pub fn is_halted(&self) -> bool {
        self.session.as_ref().is_some_and(Session::is_halted)
    }
}

/// What the writes of one [`Writer`] share: whether one has failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Session(Arc<AtomicBool>);

impl Session {
    fn halt(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_halted(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
