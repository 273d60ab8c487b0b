//! What the core is asked and what it answers, as plain values: nothing here knows of HTTP, sockets or tasks.

use crate::agent::protocol::Hello;
use crate::controller::model::records::AgentId;
use bytes::Bytes;
use std::fmt;

pub use crate::controller::resources::{Principal, Role};

/// What is to be done with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// To read.
    Get,
    /// To create or replace.
    Put,
    /// To change in part.
    Patch,
    /// To act.
    Post,
    /// To remove.
    Delete,
}

/// A request of a client's, with its principal known and its form sound: nothing else was judged.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub principal: Principal,
    /// The server's own number for it, in the log and in `x-ms-request-id`.
    pub request_id: String,
    /// What is to be done.
    pub method: Method,
    /// The path from `/networking` on, without escapes.
    pub path: String,
    /// The query's pairs, without escapes.
    pub query: Vec<(String, String)>,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
    /// `x-ms-client-request-id`: the same one again is the same request again.
    pub client_request_id: Option<String>,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// The value of a query's key, in any case.
    pub fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value.as_str())
    }
}

/// What a client is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Location`: a path.
    pub location: Option<String>,
    /// `Azure-AsyncOperation`: a path.
    pub operation: Option<String>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
    /// JSON, or nothing.
    pub body: Bytes,
}

impl Answer {
    /// An answer with a body, and nothing else.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    /// An error as the northbound interface has it.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let body =
            serde_json::json!({ "error": { "code": code, "message": message, "innerError": "", "details": [] } });
        Self::json(status, body.to_string())
    }
}

/// What somebody wants to follow.
#[derive(Clone, Debug)]
pub struct WatchRequest {
    /// Who asks.
    pub principal: Principal,
    /// A resource, a collection, or `/networking/v1` for all.
    pub path: String,
    /// The revision that they have seen; absent to begin with all that is there.
    pub after: Option<u64>,
}

/// What became of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// The store's revision: what to come again with. Absent while what is there at the beginning is told: who has heard only part of it begins
    /// again.
    pub revision: Option<u64>,
    /// What happened.
    pub kind: WatchKind,
    /// The event's JSON: for a resource `{"resourceRef": …, "object": …}`, for a bookmark `{}`.
    pub data: Bytes,
}

/// What happened to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WatchKind {
    /// It came, or was there at the beginning.
    Added,
    /// It changed.
    Modified,
    /// It went.
    Deleted,
    /// Nothing: the revision has been reached.
    Bookmark,
}

impl WatchKind {
    /// As it stands in the stream.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
            Self::Bookmark => "BOOKMARK",
        }
    }
}

/// A public key, as the SHA-256 of its `SubjectPublicKeyInfo`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 32]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A new agent, whose token is genuine and has not expired.
#[derive(Clone, Debug)]
pub struct Enrol {
    /// Who it is by the token.
    pub agent: AgentId,
    /// The token's number: it is good for one key. The same key may come again, since an answer may be lost.
    pub token: String,
    /// When the token expires, in seconds of the wall clock: until then it has to be remembered.
    pub token_expires: u64,
    /// The agent's key.
    pub key: KeyId,
    /// What its machine is like.
    pub hello: Hello,
}

/// An agent that wants its plan.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Who it is by its certificate.
    pub agent: AgentId,
    /// Its key.
    pub key: KeyId,
    /// What its machine is like, and what plan it has.
    pub hello: Hello,
}

/// Why an agent is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind.
    pub kind: RefusalKind,
    /// Why, and what to do.
    pub message: String,
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// It may not: 403. To ask again is of no use until an operator did something.
    Forbidden,
    /// What it said makes no sense: 400.
    Malformed,
    /// Not now, or not here: 503.
    Unavailable,
}

impl Refusal {
    /// A refusal in these words.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
