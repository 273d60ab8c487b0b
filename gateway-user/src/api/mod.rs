//! The daemon's local control socket: what `gatewayctl` asks, and how the daemon answers.
//!
//! Newline-delimited JSON over a Unix socket of mode 0600. Both sides greet first with the protocol's number, so a client and a daemon
//! that do not fit say so; then the client sends [`Request`]s and reads one [`Frame`] or more for each.
//!
//! | to change | go to |
//! |---|---|
//! | what can be asked and answered | [`protocol`], [`report`], [`mod@bgp`] |
//! | what the agent must answer to the server | [`agent`] |
//! | how answers are made of the plan, the host and the maps | [`view`] |
//! | how clients are served, and kept from doing harm | [`server`] |
//! | who is tracing what | [`tracers`] |
//! | how a traced packet is told | [`story`], [`dissect`] |

pub mod agent;
pub mod bgp;
pub mod client;
pub(crate) mod clock;
pub mod dissect;
pub(crate) mod line;
pub mod protocol;
pub mod report;
pub mod server;
pub mod story;
pub mod tracers;
pub mod view;

#[cfg(test)]
mod tests;

pub use agent::{AgentHandle, Call, Reply};
pub use client::Client;
pub use protocol::{Answer, Failure, FailureCode, Frame, Hello, PlanSource, Query, Request};
pub use server::Server;
pub use tracers::Tracers;
pub use view::View;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/gateway/control.sock";
