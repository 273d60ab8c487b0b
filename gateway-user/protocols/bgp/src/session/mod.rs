//! One neighbour's state machine (RFC 4271, 8, and what its extensions add).
//!
//! [`Session`] is told what happens and the time, and answers with [`Action`]s. It owns no socket and reads no clock;
//! [`Session::next_deadline`] says when it wants to be asked again though nothing happened.

mod chance;
mod config;
mod connection;
mod machine;
mod negotiated;
mod retained;
mod statistics;

pub use config::{
    Administrative, AoKey, Authentication, Distance, FamilyConfig, GracefulRestart, Local, MaxPrefixes, Mode, Neighbor,
    Offer, RoleConfig, Secret, Strictness, Timers,
};
pub use machine::{Session, WINDOW};
pub use negotiated::{FamilyNegotiated, Negotiated, OwnRestart, RestartNegotiated};
pub(crate) use retained::FIRST_ROUTES;
pub use statistics::{Count, Messages, Routes, Statistics};

use crate::number::Family;
use crate::wire::{Fault, Notification, Update};
use bytes::Bytes;
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
    /// The speaker's table has reached its limit: prefixes were left out.
    TableFull,
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

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// After what was sent, for at most a few seconds.
    AfterSending,
    /// At once, with a reset: nobody reads it.
    Abort,
}

/// What a session wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection.
    Connect(ConnectionId),
    /// Close a connection; the session has forgotten it.
    Close(ConnectionId, Close),
    /// Send bytes.
    Send(ConnectionId, Bytes),
    /// The session is up: routes may be sent, and will come.
    Established(Box<Negotiated>),
    /// The session is not up any more. Its neighbour's routes go, but for those of these families: they are stale.
    Down {
        /// The families whose routes stay.
        retained: Vec<Family>,
    },
    /// A family's routes are about to be sent again: those that are there are stale from here on.
    Stale(Family),
    /// A family's routes that are still stale go.
    StaleGone(Family),
    /// A family's stale routes are to be used only where there are no others (RFC 9494).
    LongLived(Family),
    /// No route of the family is believed any more; those that are there go.
    Disabled(Family),
    /// Routes have come or gone.
    Update(Update),
    /// The neighbour has sent all routes of a family.
    EndOfRib(Family),
    /// The neighbour wants all routes of a family again.
    RefreshWanted(Family),
    /// Something happened that people may want to know.
    Event(Event),
}
