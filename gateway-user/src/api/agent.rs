//! What the control socket's server asks of the agent, as messages to its main loop.
//!
//! The agent makes the pair with [`channel`], hands the [`AgentHandle`] to [`super::Server`], and takes [`Call`]s in its loop, each
//! with a [`Reply`] to send. Besides that it does two things for tracing, both level-triggered:
//! - whenever [`Tracers::changed`] returns (and at start, and after a plan was applied) it makes the `TRACED` flag of the tenants
//!   equal to [`Tracers::wanted`];
//! - it gives every record of the `EVENTS` ring buffer that is a [`Traced`](gateway_common::trace::Traced) to [`Tracers::offer`].

use super::protocol::{Answer, Applied, Failure, FailureCode, PlanSource, Query};
use super::tracers::Tracers;
use super::view::RouteList;
use gateway_common::{ConnectionId, NexthopId, OriginId, TenantId};
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Calls that may wait for the agent.
const BACKLOG: usize = 64;
/// How long the agent may take to show something.
const SHOW_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the agent may take to apply a plan.
const APPLY_TIMEOUT: Duration = Duration::from_secs(600);

/// A question to the agent.
#[derive(Debug)]
pub enum Call {
    /// Something to be shown. The answer's variant is the query's.
    Show(Query, Reply<Shown>),
    /// A plan to be validated and applied as a difference.
    Apply(PlanSource, Reply<Applied>),
    /// The numbers of a tenant and a connection that are to be traced, or [`Failure::not_found`].
    TraceTarget {
        /// The tenant's name.
        tenant: String,
        /// The connection's name.
        connection: Option<String>,
        /// Where to send them.
        reply: Reply<TraceTarget>,
    },
    /// The names of what a traced packet met.
    TraceNames(TraceKeys, Reply<TraceNames>),
}

/// What is shown.
#[derive(Debug)]
pub enum Shown {
    /// The answer.
    Whole(Answer),
    /// Routes, of which there may be a million: the server makes the answer of them.
    Routes(RouteList),
    /// A part of a long answer, and what to ask for the next one.
    Part(Answer, Option<Query>),
}

impl From<Answer> for Shown {
    fn from(answer: Answer) -> Self {
        Self::Whole(answer)
    }
}

/// Where an answer goes.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<Result<T, Failure>>);

impl<T> Reply<T> {
    /// Answers. A client that has gone meanwhile is no error.
    pub fn send(self, result: Result<T, Failure>) {
        let _ = self.0.send(result);
    }
}

/// Whose packets to trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceTarget {
    /// The tenant.
    pub tenant: TenantId,
    /// The connection.
    pub connection: Option<ConnectionId>,
}

/// What a traced packet met, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceKeys {
    /// The tenant.
    pub tenant: TenantId,
    /// Where the packet came in.
    pub ifindex: u32,
    /// What it came from.
    pub origin: OriginId,
    /// Where it goes; [`NexthopId::NONE`] if that is not known.
    pub nexthop: NexthopId,
    /// The inner destination.
    pub destination: Option<IpAddr>,
}

/// What a traced packet met, as names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceNames {
    /// The tenant's name.
    pub tenant: String,
    /// The port that it came in by.
    pub in_port: String,
    /// What it came from: `connection hq`, `host 10.10.0.11`, `compartment`, `another gateway`.
    pub origin: String,
    /// The longest prefix of the tenant's that holds the destination.
    pub prefix: Option<String>,
    /// What the next hop leads to: `connection hq`, `vm at 10.10.0.11`, `compartment`.
    pub leads_to: Option<String>,
    /// The connection that the next hop belongs to.
    pub out_connection: Option<ConnectionId>,
    /// The port that the next hop leaves by.
    pub out_port: Option<String>,
    /// The largest inner packet that the next hop takes.
    pub mtu: Option<u32>,
}

/// The server's end.
#[derive(Clone, Debug)]
pub struct AgentHandle {
    calls: mpsc::Sender<Call>,
    tracers: Tracers,
}

/// Makes the server's end, and the agent's.
pub fn channel() -> (AgentHandle, mpsc::Receiver<Call>) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    (AgentHandle { calls: sender, tracers: Tracers::default() }, receiver)
}

impl AgentHandle {
    /// Who is tracing: the agent shares it.
    pub fn tracers(&self) -> &Tracers {
        &self.tracers
    }

    /// Something to be shown.
    pub async fn show(&self, query: Query) -> Result<Shown, Failure> {
        self.ask(SHOW_TIMEOUT, |reply| Call::Show(query, reply)).await
    }

    /// A plan to be applied.
    pub async fn apply(&self, source: PlanSource) -> Result<Applied, Failure> {
        self.ask(APPLY_TIMEOUT, |reply| Call::Apply(source, reply)).await
    }

    /// The numbers of what is to be traced.
    pub async fn trace_target(&self, tenant: String, connection: Option<String>) -> Result<TraceTarget, Failure> {
        self.ask(SHOW_TIMEOUT, |reply| Call::TraceTarget { tenant, connection, reply }).await
    }

    /// The names of what a traced packet met.
    pub async fn trace_names(&self, keys: TraceKeys) -> Result<TraceNames, Failure> {
        self.ask(SHOW_TIMEOUT, |reply| Call::TraceNames(keys, reply)).await
    }

    async fn ask<T>(&self, limit: Duration, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, Failure> {
        let gone = || Failure::new(FailureCode::Busy, "the gateway is shutting down");
        let (sender, receiver) = oneshot::channel();
        let conversation = async {
            self.calls.send(call(Reply(sender))).await.map_err(|_| gone())?;
            receiver.await.map_err(|_| gone())?
        };
        tokio::time::timeout(limit, conversation).await.unwrap_or_else(|_| {
            Err(Failure::new(FailureCode::Busy, format!("the gateway did not answer within {} s", limit.as_secs()))
                .remedy("look at its log; packets are forwarded all the same"))
        })
    }
}
