//! `gatewayd bfd`: a process of its own that keeps BFD sessions with neighbours, and the client by which an agent uses it.
//!
//! It is small and does nothing else, so it is never late because of a large plan, and it survives the agent: sessions stay up while the
//! agent crashes, is upgraded or restarted, which is what the C bit in their packets promises. An agent starts it when it first wants a
//! session ([`BfdClient`]) and finds it again after its own restart. A session whose owner does not come back within a bounded time is
//! switched off, so that nobody believes in a state that nobody looks after; without sessions and clients the process ends.
//!
//! | to change | go to |
//! |---|---|
//! | packets and the state machine | the crate `bfd` |
//! | what client and process say to each other | [`protocol`] |
//! | what an agent does with sessions | [`client`], [`watcher`] |
//! | who claims which session, and when it ends | [`engine`] |
//! | namespaces and sockets | [`places`], [`socket`] |
//! | the loop, its timer, its priority | [`process`] |
//! | how clients are served | [`server`] |

pub mod client;
pub mod engine;
pub mod places;
pub mod process;
pub mod protocol;
pub mod server;
pub mod socket;
pub mod watcher;

#[cfg(test)]
mod tests;

pub use client::BfdClient;
pub use process::{Options, run};
pub use protocol::{Report, SessionKey, SessionOptions, Verdict};
pub use watcher::Watcher;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long sessions are kept for an owner that is not there: as long as routers usually wait for a restarting neighbour.
pub const OWNER_TIMEOUT: Duration = Duration::from_secs(120);

/// Where the process of an agent listens that keeps its own things in this directory.
pub fn socket_in(state: &Path) -> PathBuf {
    state.join("bfd.sock")
}
