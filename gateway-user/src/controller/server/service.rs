//! What the server asks of the controller's core, as messages to its task.
//!
//! The core's driver makes the pair with [`channel`], gives the [`Controller`] to the server, and takes [`Call`]s and heartbeats in its loop.
//! Heartbeats have a queue of their own and are to be taken first, all that are there: they never wait behind a request. Nobody has to wait
//! for them.
//!
//! Streams (plans, watches) end when their sender is dropped, or by the server dropping the receiver. A stream that is full belongs to
//! somebody who does not read: the core drops its sender, and the reader comes again with what it has.

use crate::agent::protocol::{Heartbeat, Report};
use crate::agent::routes::{RouteReport, Told};
use crate::controller::core::ledger::{Credential, CredentialId, Ledger};
pub use crate::controller::core::message::{
    Answer, Connect, Enrol, KeyId, Method, Principal, Refusal, RefusalKind, Request, Role, WatchEvent, WatchKind,
    WatchRequest,
};
use crate::controller::model::records::AgentId;
use crate::controller::store::backup::{Backup, BackupError, Existing};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Calls that may wait for the core.
const BACKLOG: usize = 1024;
/// Heartbeats that may wait for the core.
const HEARTBEATS: usize = 16_384;
/// How long the core may take to answer: a write waits for the store.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long copying everything may take.
const COPYING: Duration = Duration::from_secs(600);

/// Where an answer goes.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<T>);

impl<T> Reply<T> {
    /// Answers. Somebody who has gone meanwhile is no error.
    pub fn send(self, value: T) {
        let _ = self.0.send(value);
    }
}

/// What the core is asked.
#[derive(Debug)]
pub enum Call {
    /// A client's request.
    Request(Request, Reply<Answer>),
    /// A client that wants to follow what changes. An answer instead of a stream says why not: 410 if the revision is too old.
    Watch(WatchRequest, Reply<Result<mpsc::Receiver<Arc<WatchEvent>>, Answer>>),
    /// A new agent. Its registration and its token's use are durable before this is answered.
    Enrol(Enrol, Reply<Result<(), Refusal>>),
    /// An agent that wants its plan: a stream that begins with a whole one or with what changed since `resume`. An earlier stream of the same
    /// agent ends.
    Connect(Connect, Reply<Result<mpsc::Receiver<Told>, Refusal>>),
    /// What became of an agent's plan.
    Report(AgentId, Report, Reply<Result<(), Refusal>>),
    /// A gateway tells what tenants' routers have learned.
    Routes(AgentId, RouteReport, Reply<Result<(), Refusal>>),
    /// A gateway asks whether the controllers stand by it as the holder of a seat.
    Vote(AgentId, seat::Ask, Reply<Answer>),
    /// A credential was made, or shown for the first time.
    Know(CredentialId, Credential, Reply<Result<(), Refusal>>),
    /// An administrator takes a credential back.
    Revoke(CredentialId, Reply<Result<(), Refusal>>),
    /// An administrator wants a copy of everything.
    Backup(Reply<Result<Backup, BackupError>>),
    /// An administrator puts a copy in place of what is there.
    Restore(Box<Backup>, Existing, Reply<Result<(), BackupError>>),
}

/// Whether this controller leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It does not know yet.
    #[default]
    Starting,
    /// It does.
    Leader {
        /// The leadership's number.
        epoch: u64,
    },
    /// Another one does.
    Follower {
        /// Where that one advertises itself: `https://…`. Absent while nobody leads.
        leader: Option<Arc<str>>,
    },
    /// Nobody does, since the store has no room.
    Full {
        /// What is full, and what to do.
        why: Arc<str>,
    },
}

/// The server's end: asks the core.
#[derive(Clone, Debug)]
pub struct Controller {
    calls: mpsc::Sender<Call>,
    heartbeats: mpsc::Sender<(AgentId, Heartbeat)>,
    standing: watch::Receiver<Standing>,
    ledger: watch::Receiver<Arc<Ledger>>,
}

/// The core's end.
#[derive(Debug)]
pub struct Calls {
    /// To be taken first.
    pub heartbeats: mpsc::Receiver<(AgentId, Heartbeat)>,
    /// What is asked.
    pub calls: mpsc::Receiver<Call>,
    /// To say who leads.
    pub standing: watch::Sender<Standing>,
    /// To say who is let in.
    pub ledger: watch::Sender<Arc<Ledger>>,
}

/// Makes the server's end, and the core's.
pub fn channel() -> (Controller, Calls) {
    let (call_sender, calls) = mpsc::channel(BACKLOG);
    let (heartbeat_sender, heartbeats) = mpsc::channel(HEARTBEATS);
    let (standing, standing_receiver) = watch::channel(Standing::Starting);
    let (ledger, ledger_receiver) = watch::channel(Arc::default());
    (
        Controller {
            calls: call_sender,
            heartbeats: heartbeat_sender,
            standing: standing_receiver,
            ledger: ledger_receiver,
        },
        Calls { heartbeats, calls, standing, ledger },
    )
}

/// The core did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// It has ended.
    #[error("the controller is shutting down")]
    Gone,
    /// It took too long.
    #[error("the controller did not answer within {} s", PATIENCE.as_secs())]
    Late,
}

impl Controller {
    /// Whether this controller leads.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Who is let in, and who is not any more.
    pub fn ledger(&self) -> Arc<Ledger> {
        self.ledger.borrow().clone()
    }

    /// The same, to be told when it changes.
    pub fn ledgers(&self) -> watch::Receiver<Arc<Ledger>> {
        let mut ledgers = self.ledger.clone();
        ledgers.mark_unchanged();
        ledgers
    }

    /// A credential was made, or shown for the first time.
    pub async fn know(&self, id: CredentialId, credential: Credential) -> Result<Result<(), Refusal>, Silence> {
        self.ask(|reply| Call::Know(id, credential, reply)).await
    }

    /// A credential is taken back.
    pub async fn revoke(&self, id: CredentialId) -> Result<Result<(), Refusal>, Silence> {
        self.ask(|reply| Call::Revoke(id, reply)).await
    }

    /// A client's request.
    pub async fn request(&self, request: Request) -> Result<Answer, Silence> {
        self.ask(|reply| Call::Request(request, reply)).await
    }

    /// A client that wants to follow what changes.
    pub async fn watch(
        &self,
        request: WatchRequest,
    ) -> Result<Result<mpsc::Receiver<Arc<WatchEvent>>, Answer>, Silence> {
        self.ask(|reply| Call::Watch(request, reply)).await
    }

    /// A new agent.
    pub async fn enrol(&self, enrol: Enrol) -> Result<Result<(), Refusal>, Silence> {
        self.ask(|reply| Call::Enrol(enrol, reply)).await
    }

    /// An agent that wants its plan.
    pub async fn connect(&self, connect: Connect) -> Result<Result<mpsc::Receiver<Told>, Refusal>, Silence> {
        self.ask(|reply| Call::Connect(connect, reply)).await
    }

    /// What tenants' routers on a gateway have learned.
    pub async fn routes(&self, agent: AgentId, report: RouteReport) -> Result<Result<(), Refusal>, Silence> {
        self.ask(|reply| Call::Routes(agent, report, reply)).await
    }

    /// Whether the controllers stand by a gateway as the holder of a seat.
    pub async fn vote(&self, agent: AgentId, ask: seat::Ask) -> Result<Answer, Silence> {
        self.ask(|reply| Call::Vote(agent, ask, reply)).await
    }

    /// What became of an agent's plan.
    pub async fn report(&self, agent: AgentId, report: Report) -> Result<Result<(), Refusal>, Silence> {
        self.ask(|reply| Call::Report(agent, report, reply)).await
    }

    /// That an agent lives.
    pub fn heartbeat(&self, agent: AgentId, heartbeat: Heartbeat) -> Result<(), Silence> {
        self.heartbeats.try_send((agent, heartbeat)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Silence::Late,
            mpsc::error::TrySendError::Closed(_) => Silence::Gone,
        })
    }

    /// A copy of everything.
    pub async fn backup(&self) -> Result<Result<Backup, BackupError>, Silence> {
        self.ask_for(COPYING, Call::Backup).await
    }

    /// Puts a copy in place of what is there.
    pub async fn restore(&self, backup: Backup, existing: Existing) -> Result<Result<(), BackupError>, Silence> {
        self.ask_for(COPYING, |reply| Call::Restore(Box::new(backup), existing, reply)).await
    }

    async fn ask<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, Silence> {
        self.ask_for(PATIENCE, call).await
    }

    async fn ask_for<T>(&self, patience: Duration, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, Silence> {
        let (sender, receiver) = oneshot::channel();
        let conversation = async {
            self.calls.send(call(Reply(sender))).await.map_err(|_| Silence::Gone)?;
            receiver.await.map_err(|_| Silence::Gone)
        };
        tokio::time::timeout(patience, conversation).await.unwrap_or(Err(Silence::Late))
    }
}
