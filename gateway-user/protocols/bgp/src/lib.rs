//! BGP-4 (RFC 4271 and its extensions) as pure state machines: messages, events and the time come in, messages, timers and
//! changes of routes come out. Whoever drives it owns the sockets.
#![deny(missing_docs)]

pub mod attributes;
pub mod bmp;
pub mod mrt;
pub mod number;
pub mod policy;
pub mod rib;
pub mod session;
pub mod speaker;
pub mod wire;

pub use gateway_common::moment::Moment;
