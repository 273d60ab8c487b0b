//! What happens to the core, and what it wants done.

use crate::controller::model::records::{AgentId, Registration};
use serde_json::value::RawValue;
use std::sync::Arc;

/// A moment, as whoever drives the core sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970, UTC.
    pub unix_milliseconds: u64,
    /// Fresh random bits: GUIDs made in this step come out of them.
    pub seed: u128,
}

/// The number of a leadership: durable, growing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Epoch(pub u64);

/// The number of one of the core's writes, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// Names a request until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// To read.
    Get,
    /// To create or replace.
    Put,
    /// An operation on a resource.
    Post,
    /// To remove.
    Delete,
}

/// What a client may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Everything.
    Admin,
    /// What its tenant id stands at, and to read what that refers to.
    Tenant(Arc<str>),
    /// To read everything.
    ReadOnly,
}

/// A client's request, authenticated.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whose.
    pub principal: Principal,
    /// What it wants.
    pub method: Method,
    /// The path below `/networking/v1`, with its leading slash, percent-decoded.
    pub path: String,
    /// The query's pairs, decoded.
    pub query: Vec<(String, String)>,
    /// The `If-Match` header.
    pub if_match: Option<String>,
    /// The `If-None-Match` header.
    pub if_none_match: Option<String>,
    /// The `x-ms-client-request-id` header.
    pub client_request_id: Option<String>,
    /// The body, as it came.
    pub body: Vec<u8>,
}

/// The answer to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers besides the usual ones of a JSON answer.
    pub headers: Vec<(&'static str, String)>,
    /// JSON, if there is a body.
    pub body: Option<String>,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A client asks.
    Request(RequestId, Request),
    /// A write and all before it are durable, at this revision of the store.
    Durable(Sequence, u64),
    /// A write was refused: another controller leads.
    Superseded(Sequence),
    /// Somebody else wrote this: a follower's news.
    Written {
        /// The store's revision.
        revision: u64,
        /// Keys, with their values if they are there.
        changes: Vec<(String, Option<Arc<str>>)>,
    },
    /// An agent's plan stream is open.
    Connected {
        /// Which.
        agent: AgentId,
        /// What it says of its machine.
        registration: Registration,
        /// The last plan that it has: leadership and revision.
        resume: Option<(Epoch, u64)>,
    },
    /// An agent's plan stream is closed.
    Disconnected(AgentId),
    /// An agent is alive.
    Heartbeat(AgentId),
    /// An agent tells how it goes, as JSON of the agents' protocol.
    Report(AgentId, Box<RawValue>),
    /// Time goes by.
    Tick,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Write this, guarded by the leadership, after all writes before it.
    Write(Sequence, Write),
    /// Answer a request.
    Answer(RequestId, Answer),
    /// Send an agent its next plan event, as JSON of the agents' protocol, with its revision.
    Plan(AgentId, u64, Arc<str>),
    /// Tell whoever watches: a tree, with its text if it is there still.
    Changed {
        /// The store's revision.
        revision: u64,
        /// The canonical path of the tree.
        path: String,
        /// What the tree is, as a client may see it.
        body: Option<Arc<str>>,
    },
    /// Drop this core and read everything again: somebody else leads.
    Restart,
}

/// One transaction: keys with their values, or without where the key goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// What is written.
    pub entries: Vec<(String, Option<Arc<str>>)>,
}
