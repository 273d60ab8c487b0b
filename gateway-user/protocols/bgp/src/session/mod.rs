//! One neighbour's state machine (RFC 4271, 8, and what its extensions add).
//!
//! [`Session`] is told what happens and the time, and answers with [`Action`]s. It owns no socket and reads no clock;
//! [`Session::next_deadline`] says when it wants to be asked again though nothing happened.

mod config;
mod negotiated;
mod statistics;

pub use config::{
    Administrative, AoKey, Authentication, Distance, FamilyConfig, GracefulRestart, Local, MaxPrefixes, Mode, Neighbor,
    Offer, RoleConfig, Secret, Strictness, Timers,
};
pub use negotiated::{FamilyNegotiated, Negotiated, OwnRestart, RestartNegotiated, negotiate, open};
pub use statistics::{Count, Messages, Routes, Statistics};

use crate::number::Family;
use crate::wire::{Fault, Notification};
use std::fmt;

/// Names a connection to a neighbour. Which side opened it tells who gave it its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionId {
    /// Opened by us, and numbered by the speaker.
    Outgoing(u64),
    /// Accepted by us, and numbered by the owner of the sockets.
    Incoming(u64),
}

/// The states of RFC 4271, 8.2.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum State {
    /// Nothing is tried: it is switched off, or pauses after a failure.
    #[default]
    Idle,
    /// A connection is being opened.
    Connect,
    /// A connection is waited for, or the time to open one.
    Active,
    /// Our OPEN is sent.
    OpenSent,
    /// The neighbour's OPEN was good.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a connection or a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// We said why.
    Sent(Notification),
    /// The neighbour said why.
    Received(Notification),
    /// The connection closed without a word.
    ConnectionClosed,
    /// The neighbour opened another connection after a restart (RFC 4724, 5).
    Replaced,
    /// The connection could not be opened.
    ConnectFailed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(notification) => write!(f, "we sent {notification}"),
            Self::Received(notification) => write!(f, "the neighbour sent {notification}"),
            Self::ConnectionClosed => f.write_str("the connection was closed"),
            Self::Replaced => f.write_str("the neighbour has restarted and opened another connection"),
            Self::ConnectFailed => f.write_str("no connection could be opened"),
        }
    }
}

/// Something that people may want to know of a neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session is up.
    Established(Box<Negotiated>),
    /// A session that was up is not; `retained` says whether its routes stay for a while.
    Lost {
        /// Why.
        reason: Reason,
        /// The families whose routes stay (RFC 4724).
        retained: Vec<Family>,
    },
    /// An attempt to bring a session up has failed.
    Failed(Reason),
    /// Part of an UPDATE was wrong; the session goes on.
    Faulty(Fault),
    /// A family is not believed any more until the session ends (RFC 7606).
    Disabled(Family),
    /// Retained routes have gone: the neighbour was not back in time, or did not send them again.
    StaleGone(Family),
    /// Retained routes may grow old (RFC 9494).
    LongLived(Family),
    /// The neighbour has sent all its routes.
    EndOfRib(Family),
    /// Near its limit of prefixes.
    PrefixWarning {
        /// Of which.
        family: Family,
        /// How many there are.
        count: u32,
        /// How many there may be.
        limit: u32,
    },
}
