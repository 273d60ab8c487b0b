//! What happens to the core, and what it wants done.

use super::ledger::{Credential, CredentialId};
use super::message::{Answer, Connect, Enrol, Refusal, Request, WatchEvent, WatchRequest};
use crate::agent::protocol::{Heartbeat, PlanEvent, Report};
use crate::agent::routes::{RouteEvent, RouteReport};
use crate::controller::model::records::AgentId;
use std::sync::Arc;

/// A moment, as whoever drives the core sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970, UTC.
    pub unix_milliseconds: u64,
    /// Fresh random bits: GUIDs made in this step come out of them.
    pub seed: u128,
}

/// The number of one of the core's writes, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// Names what is asked until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Names an open stream of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// This controller leads from now on, under this number. Everything written before is in.
    Elected {
        /// The leadership's number.
        epoch: u64,
        /// The store's revision.
        revision: u64,
    },
    /// These are in the store at this revision: at the start, and what another leader wrote.
    Written {
        /// The store's revision.
        revision: u64,
        /// Keys, with their values if they are there still.
        entries: Vec<(String, Option<Arc<str>>)>,
    },
    /// A write is durable, at this revision of the store, and all before it are. Each write is told of by itself, in their order.
    Durable(Sequence, u64),
    /// A client asks.
    Request(CallId, Request),
    /// A client wants to follow what changes, by this stream.
    Watch(CallId, StreamId, WatchRequest),
    /// A new agent asks to be let in.
    Enrol(CallId, Enrol),
    /// An agent asks for its plan, by this stream.
    Connect(CallId, StreamId, Connect),
    /// A stream's reader has gone, or did not read.
    Closed(StreamId),
    /// An agent lives.
    Heartbeat(AgentId, Heartbeat),
    /// An agent tells how it goes.
    Report(CallId, AgentId, Report),
    /// A gateway tells what tenants' routers have learned.
    Routes(CallId, AgentId, RouteReport),
    /// A gateway asks whether the controllers stand by it as the holder of a seat.
    Vote(CallId, AgentId, seat::Ask),
    /// A credential was made, or shown for the first time.
    Know(CallId, CredentialId, Credential),
    /// A credential is taken back.
    Revoke(CallId, CredentialId),
    /// Time goes by.
    Tick,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Write this, guarded by the leadership, after all writes before it.
    Write(Sequence, Write),
    /// Answer a request.
    Answer(CallId, Answer),
    /// Let somebody in: an agent to its plan, an agent's report, a new agent; say that a credential is known or taken back; or say why not.
    Admit(CallId, Result<(), Refusal>),
    /// Open a watch by this stream, which begins with these events; or say why not. Nothing is told by the stream before.
    Follow(CallId, StreamId, Result<Vec<Arc<WatchEvent>>, Answer>),
    /// Send an agent what it is to do.
    Plan(StreamId, Arc<PlanEvent>),
    /// Tell a host of learned routes.
    Routes(StreamId, Arc<RouteEvent>),
    /// Tell a watcher.
    Tell(StreamId, Arc<WatchEvent>),
    /// End a stream.
    Close(StreamId),
}

/// Where actions go, each as soon as it is decided and in their order: a write is on its way while what follows from it is worked out.
pub trait Sink {
    /// Does it, or sees to it that it is done.
    fn act(&mut self, action: Action);
}

impl Sink for Vec<Action> {
    fn act(&mut self, action: Action) {
        self.push(action);
    }
}

/// One transaction: keys with their values, or without where the key goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// What is written.
    pub entries: Vec<(String, Option<Arc<str>>)>,
}
