//! What the controller decides: one state machine, without I/O.

pub mod event;
pub mod held;
pub mod message;
