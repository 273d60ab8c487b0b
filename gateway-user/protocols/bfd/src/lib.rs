//! Bidirectional forwarding detection (RFC 5880, 5881, 5883) as pure state machines: packets and the time come in, packets,
//! timers and changes of state come out. Whoever drives it owns the sockets.
//!
//! [`Sessions`] holds all sessions of a process, finds the one that a packet is for, and says who is due next; a [`Session`] is one
//! neighbour's state machine. Neither reads a clock or a source of randomness: both are told.
//!
//! | to change | go to |
//! |---|---|
//! | what stands in a packet, and which are refused unseen | [`packet`] |
//! | authentication sections | [`auth`] |
//! | the state machine, timers, poll sequences | [`session`] |
//! | which session a packet is for | [`sessions`] |
//! | intervals, settings, what is told of a session | [`timers`], [`status`] |
//!
//! The echo function is not offered, and demand mode is honoured where the neighbour asks for it, never asked for.
#![deny(missing_docs)]

pub mod auth;
pub mod packet;
pub mod session;
pub mod sessions;
pub mod status;
pub mod timers;

pub use auth::{Key, Strength};
pub use gateway_common::moment::Moment;
pub use packet::{DecodeError, Diagnostic, Discriminator, Packet, State};
pub use session::{Forwarding, Output, Refusal, Role, Session, Settings};
pub use sessions::{Arrival, Due, Endpoint, Hops, Place, Sessions, Wanted};
pub use status::{Cause, Failure, Remote, Status};
pub use timers::{Interval, Timers};

/// The UDP port of single-hop sessions (RFC 5881, 4).
pub const SINGLE_HOP_PORT: u16 = 3784;
/// The UDP port of multihop sessions (RFC 5883, 5).
pub const MULTIHOP_PORT: u16 = 4784;
/// The first source port that a session may use (RFC 5881, 4).
pub const FIRST_SOURCE_PORT: u16 = 49152;
/// What every packet is sent with, and every single-hop packet must arrive with (RFC 5881, 5).
pub const TTL: u8 = 255;
