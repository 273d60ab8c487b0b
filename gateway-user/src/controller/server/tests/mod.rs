//! The server over real TLS on loopback, before a core that answers as it is told.

mod agents;
mod api;
mod bounds;
mod certificates;
pub(crate) mod rig;
mod secrets;
