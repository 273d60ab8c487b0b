//! What travels between an agent and the process that keeps its BFD sessions: one JSON document a line, over a Unix socket of mode 0600.
//!
//! Both sides greet first. Then the client sends [`Request`]s, at least one in half of the owner's timeout, and the process an [`Event`]
//! whenever a session that this client claims is not as told before. What a slow client does not read in time is told as it is then.

use bfd::{Failure, Hops, Settings, State, Status};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// The protocol's number. It rises when a process of before would misunderstand; a client ends a process that speaks another.
pub const PROTOCOL: u32 = 1;
/// Bytes of a line.
pub const LINE_LIMIT: usize = 64 << 10;

/// The first line from either side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the sender.
    pub bfd_protocol: u32,
    /// The sender's version, for a person to read.
    pub version: String,
}

impl Hello {
    /// This program's own.
    pub fn own() -> Self {
        Self { bfd_protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// Which session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey {
    /// The network namespace, by its name in the file system, such as `/run/netns/gw-contoso`; none is the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<PathBuf>,
    /// How far away the neighbour is.
    pub hops: Hops,
    /// Our address.
    pub local: IpAddr,
    /// The neighbour's.
    pub peer: IpAddr,
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hops = match self.hops {
            Hops::Single => "",
            Hops::Multiple => " multihop",
        };
        write!(f, "{} - {}{hops}", self.local, self.peer)?;
        match self.netns.as_deref().and_then(std::path::Path::file_name) {
            Some(name) => write!(f, " in {}", name.display()),
            None => Ok(()),
        }
    }
}

/// How a session is to be. What changes here changes a session that runs without it going down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOptions {
    /// Timers, role, key.
    #[serde(default)]
    pub settings: Settings,
    /// The only interface that packets take, by its name in the namespace; needed for link-local addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Interfaces that must have an XDP program for the path to carry anything: without one the session is down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forwarded_by: Vec<String>,
    /// Over several hops: what packets must have left of their TTL; 0 takes all.
    #[serde(default)]
    pub minimum_ttl: u8,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A session that is to be; claims it for this client if it is there already.
    Add {
        /// Which.
        session: SessionKey,
        /// How.
        options: SessionOptions,
    },
    /// A session that this client wants no more. Without others that claim it, it is switched off.
    Remove {
        /// Which.
        session: SessionKey,
    },
    /// All sessions, whoever claims them.
    List,
    /// The client is alive.
    Alive,
    /// Switch all sessions off, and end.
    End,
}

/// What the process tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// How a session is that this client claims.
    Session(Box<Report>),
    /// To [`Request::List`]: one of the sessions.
    Listed(Box<Report>),
    /// To [`Request::List`]: that was the last.
    ListEnded,
    /// A request was not understood.
    Refused {
        /// Why.
        message: String,
    },
}

/// A session as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which.
    pub session: SessionKey,
    /// How it is; none while nobody keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// What is in its way: a namespace that is not there, an address that cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Packets sent.
    #[serde(default)]
    pub sent: u64,
    /// Packets received and taken.
    #[serde(default)]
    pub received: u64,
    /// How often it went from up to another state.
    #[serde(default)]
    pub downs: u64,
}

/// What a session means for the routes that depend on it (RFC 5882).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both ends hear each other.
    Up,
    /// They did, and nobody switched it off: the path has failed. [`Failure::control_plane`] says whether a neighbour that restarts
    /// gracefully may explain it.
    Failed(Failure),
    /// Nothing is known: it was never up, somebody switched it off, or nobody keeps it. No reason to doubt the path (RFC 5882, 3.2).
    Unknown,
}

impl Report {
    /// A session of which nothing is known.
    pub fn unknown(session: SessionKey, trouble: Option<String>) -> Self {
        Self { session, status: None, trouble, sent: 0, received: 0, downs: 0 }
    }

    /// What it means for routes.
    pub fn verdict(&self) -> Verdict {
        match &self.status {
            Some(status) if status.state == State::Up => Verdict::Up,
            Some(Status { failure: Some(failure), .. }) => Verdict::Failed(*failure),
            _ => Verdict::Unknown,
        }
    }
}
