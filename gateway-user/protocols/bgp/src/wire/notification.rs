//! NOTIFICATION messages: why a session ends (RFC 4271 4.5, 6; RFC 4486; RFC 6608; RFC 8538; RFC 9003; RFC 9687).

use super::codec;
use crate::number::Family;
use bytes::{Bytes, BytesMut};
use std::fmt;

/// What a NOTIFICATION says.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Notification {
    /// The error's code.
    pub code: u8,
    /// What it says more closely.
    pub subcode: u8,
    /// What belongs to it: the bytes that were wrong, mostly.
    pub data: Bytes,
}

/// The codes that are told apart (IANA "BGP Error (Notification) Codes").
pub mod code {
    /// Message Header Error.
    pub const HEADER: u8 = 1;
    /// OPEN Message Error.
    pub const OPEN: u8 = 2;
    /// UPDATE Message Error.
    pub const UPDATE: u8 = 3;
    /// Hold Timer Expired.
    pub const HOLD_TIMER: u8 = 4;
    /// Finite State Machine Error.
    pub const STATE: u8 = 5;
    /// Cease.
    pub const CEASE: u8 = 6;
    /// ROUTE-REFRESH Message Error (RFC 7313).
    pub const REFRESH: u8 = 7;
    /// Send Hold Timer Expired (RFC 9687).
    pub const SEND_HOLD_TIMER: u8 = 8;
}

/// The subcodes of Cease (RFC 4486, 8538, 9384).
pub mod cease {
    /// Maximum Number of Prefixes Reached.
    pub const MAX_PREFIXES: u8 = 1;
    /// Administrative Shutdown.
    pub const SHUTDOWN: u8 = 2;
    /// Peer De-configured.
    pub const DECONFIGURED: u8 = 3;
    /// Administrative Reset.
    pub const RESET: u8 = 4;
    /// Connection Rejected.
    pub const REJECTED: u8 = 5;
    /// Other Configuration Change.
    pub const CONFIGURATION: u8 = 6;
    /// Connection Collision Resolution.
    pub const COLLISION: u8 = 7;
    /// Out of Resources.
    pub const RESOURCES: u8 = 8;
    /// Hard Reset.
    pub const HARD_RESET: u8 = 9;
    /// BFD Down.
    pub const BFD_DOWN: u8 = 10;
}

/// The states in which a message may come that has no business there (RFC 6608).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfTurn {
    /// Our OPEN is sent, the neighbour's has not come.
    OpenSent,
    /// Both OPENs are there, the neighbour's KEEPALIVE is not.
    OpenConfirm,
    /// The session is up.
    Established,
}

impl Notification {
    /// A notification with data.
    pub fn new(code: u8, subcode: u8, data: impl Into<Bytes>) -> Self {
        Self { code, subcode, data: data.into() }
    }

    const fn bare(code: u8, subcode: u8) -> Self {
        Self { code, subcode, data: Bytes::new() }
    }

    /// The marker is not all ones.
    pub const fn not_synchronized() -> Self {
        Self::bare(code::HEADER, 1)
    }

    /// A length that no message of its type has.
    pub fn bad_length(length: u16) -> Self {
        Self::new(code::HEADER, 2, length.to_be_bytes().to_vec())
    }

    /// A type of message that was not negotiated or does not exist.
    pub fn bad_type(kind: u8) -> Self {
        Self::new(code::HEADER, 3, vec![kind])
    }

    /// An OPEN of another version; ours is in the data.
    pub fn unsupported_version() -> Self {
        Self::new(code::OPEN, 1, 4u16.to_be_bytes().to_vec())
    }

    /// The neighbour is in another AS than the configured one.
    pub const fn bad_peer_as() -> Self {
        Self::bare(code::OPEN, 2)
    }

    /// The neighbour's identifier is 0, or our own inside one AS (RFC 6286).
    pub const fn bad_identifier() -> Self {
        Self::bare(code::OPEN, 3)
    }

    /// An optional parameter that is none of the known ones.
    pub const fn unsupported_parameter() -> Self {
        Self::bare(code::OPEN, 4)
    }

    /// A hold time of one or two seconds, or below what is accepted.
    pub const fn unacceptable_hold_time() -> Self {
        Self::bare(code::OPEN, 6)
    }

    /// The neighbour lacks a capability without which there is no session; the capabilities that are wanted are in the data.
    pub fn unsupported_capability(wanted: impl Into<Bytes>) -> Self {
        Self::new(code::OPEN, 7, wanted)
    }

    /// Our role and the neighbour's do not go together (RFC 9234).
    pub const fn role_mismatch() -> Self {
        Self::bare(code::OPEN, 11)
    }

    /// An OPEN whose fields do not fit together.
    pub const fn malformed_open() -> Self {
        Self::bare(code::OPEN, 0)
    }

    /// The fields' lengths in an UPDATE contradict each other.
    pub const fn malformed_attributes() -> Self {
        Self::bare(code::UPDATE, 1)
    }

    /// MP_REACH_NLRI or MP_UNREACH_NLRI cannot be read; the attribute is in the data (RFC 4760, 7).
    pub fn optional_attribute(attribute: impl Into<Bytes>) -> Self {
        Self::new(code::UPDATE, 9, attribute)
    }

    /// Prefixes that cannot be read.
    pub const fn invalid_network() -> Self {
        Self::bare(code::UPDATE, 10)
    }

    /// Nothing came for the hold time.
    pub const fn hold_timer_expired() -> Self {
        Self::bare(code::HOLD_TIMER, 0)
    }

    /// A message of this type has no business in this state; the type is in the data.
    pub fn out_of_turn(state: OutOfTurn, kind: u8) -> Self {
        let subcode = match state {
            OutOfTurn::OpenSent => 1,
            OutOfTurn::OpenConfirm => 2,
            OutOfTurn::Established => 3,
        };
        Self::new(code::STATE, subcode, vec![kind])
    }

    /// A Cease without data.
    pub const fn cease(subcode: u8) -> Self {
        Self::bare(code::CEASE, subcode)
    }

    /// More prefixes than the limit (RFC 4486, 4: AFI, SAFI, limit).
    pub fn max_prefixes(family: Family, limit: u32) -> Self {
        let mut data = Vec::with_capacity(7);
        data.extend_from_slice(&codec::afi(family).to_be_bytes());
        data.push(1);
        data.extend_from_slice(&limit.to_be_bytes());
        Self::new(code::CEASE, cease::MAX_PREFIXES, data)
    }

    /// An operator's shutdown or reset with words for the other operator (RFC 9003); empty words are left out.
    pub fn administrative(subcode: u8, words: &str) -> Self {
        match words {
            "" => Self::cease(subcode),
            words => Self::new(code::CEASE, subcode, codec::shutdown_communication(words)),
        }
    }

    /// The same, wrapped so that a neighbour that keeps routes over notifications drops them (RFC 8538, 3).
    pub fn into_hard_reset(self) -> Self {
        let mut data = BytesMut::with_capacity(2 + self.data.len());
        data.extend_from_slice(&[self.code, self.subcode]);
        data.extend_from_slice(&self.data);
        Self { code: code::CEASE, subcode: cease::HARD_RESET, data: data.freeze() }
    }

    /// Whether it is a Hard Reset.
    pub fn is_hard_reset(&self) -> bool {
        (self.code, self.subcode) == (code::CEASE, cease::HARD_RESET)
    }

    /// An error in a ROUTE-REFRESH's length; the message is in the data (RFC 7313, 5).
    pub fn bad_refresh_length(message: impl Into<Bytes>) -> Self {
        Self::new(code::REFRESH, 1, message)
    }

    /// What we sent was not taken for the send hold time (RFC 9687).
    pub const fn send_hold_timer_expired() -> Self {
        Self::bare(code::SEND_HOLD_TIMER, 0)
    }

    /// The words of the other side's operator, where there are any (RFC 9003).
    pub fn communication(&self) -> Option<String> {
        codec::communication(self)
    }

    /// The registry's name for code and subcode.
    pub fn name(&self) -> &'static str {
        codec::notification_name(self.code, self.subcode)
    }
}

impl fmt::Debug for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {:02x?}", self.code, self.subcode, &self.data[..])
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}/{})", self.name(), self.code, self.subcode)?;
        // Foreign words on a terminal: control characters stay escaped.
        self.communication().map_or(Ok(()), |words| write!(f, ": {}", words.escape_debug()))
    }
}
