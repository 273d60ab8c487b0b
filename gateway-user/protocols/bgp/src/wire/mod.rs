//! Messages to and from bytes.
//!
//! | to change | go to |
//! |---|---|
//! | how bytes become messages, and how long they may be | `framing` |
//! | OPEN and capabilities | `open`, `codec` |
//! | NOTIFICATION | `notification` |
//! | which fault of an UPDATE costs what (RFC 7606) | `attributes` |
//! | what an UPDATE says | `update`, `nlri` |
//! | UPDATEs to send | `encode` |

mod as_path;
pub(crate) mod attributes;
mod codec;
mod encode;
mod framing;
mod nlri;
mod notification;
mod open;
mod update;

pub use encode::{Encoder, TooLong};
pub use framing::{Framing, Received};
pub use nlri::{Nlri, NlriEntry};
pub use notification::{Notification, OutOfTurn, cease, code};
pub use open::{AddPath, Capabilities, Forwarding, LongLivedCapability, Open, RestartCapability, Role};
pub use update::{
    Announcement, Disposition, Fault, FirstAs, Peering, Unreadable, Update, UpdateContext, UpdateError, decode_update,
};

use crate::number::Family;
use bytes::Bytes;

/// The types of messages.
pub mod kind {
    /// OPEN.
    pub const OPEN: u8 = 1;
    /// UPDATE.
    pub const UPDATE: u8 = 2;
    /// NOTIFICATION.
    pub const NOTIFICATION: u8 = 3;
    /// KEEPALIVE.
    pub const KEEPALIVE: u8 = 4;
    /// ROUTE-REFRESH (RFC 2918).
    pub const REFRESH: u8 = 5;
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Who the neighbour is and what it can do.
    Open(Open),
    /// Routes, not yet looked into.
    Update(UpdateFields),
    /// Why the neighbour closes.
    Notification(Notification),
    /// That it is there.
    Keepalive,
    /// A wish for routes, or the marks around its fulfilment.
    Refresh(Refresh),
}

impl Message {
    /// The type in its header.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Open(_) => kind::OPEN,
            Self::Update(_) => kind::UPDATE,
            Self::Notification(_) => kind::NOTIFICATION,
            Self::Keepalive => kind::KEEPALIVE,
            Self::Refresh(_) => kind::REFRESH,
        }
    }
}

/// An UPDATE's three parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateFields {
    /// IPv4 prefixes that are gone.
    pub withdrawn: Bytes,
    /// What holds for the announced prefixes.
    pub attributes: Bytes,
    /// IPv4 prefixes that are reachable.
    pub announced: Bytes,
}

/// A ROUTE-REFRESH (RFC 2918, RFC 7313).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// Of which routes; `None` for a family that is not ours.
    pub family: Option<Family>,
    /// Wish or mark.
    pub kind: RefreshKind,
}

/// What a ROUTE-REFRESH is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshKind {
    /// The sender wants all routes again.
    Request,
    /// What follows is all of them.
    Begin,
    /// That was all of them.
    End,
    /// Of no known kind: ignored (RFC 7313, 5).
    Unknown(u8),
}

/// An OPEN's bytes.
pub fn encode_open(open: &Open) -> Bytes {
    codec::encode_open(open)
}

/// A KEEPALIVE's bytes.
pub fn encode_keepalive() -> Bytes {
    codec::encode_keepalive()
}

/// A NOTIFICATION's bytes.
pub fn encode_notification(notification: &Notification) -> Bytes {
    codec::encode_notification(notification)
}

/// A ROUTE-REFRESH's bytes.
pub fn encode_refresh(family: Family, kind: RefreshKind) -> Bytes {
    codec::encode_refresh(family, kind)
}

/// The capabilities for these families as they stand in an OPEN: what goes into "unsupported capability".
pub(crate) fn multiprotocol(families: &[Family]) -> Bytes {
    codec::multiprotocol(families)
}
