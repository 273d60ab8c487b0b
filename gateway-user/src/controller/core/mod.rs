//! What the controller decides: one state machine, without I/O.

pub mod agents;
pub mod entropy;
pub mod event;
pub mod held;
pub mod message;
pub mod watchers;
