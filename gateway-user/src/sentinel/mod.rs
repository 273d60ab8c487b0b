//! `gatewayd sentinel`: a process of its own that watches the other gateways of a pool, votes on who holds which seat, and opens and shuts
//! the gates of this gateway's seats; and the client by which an agent uses it.
//!
//! Everything urgent of a failover is here, and nothing else: so it is never late because of a large plan, and it survives the agent. The
//! agent starts it ([`SentinelClient`]), tells it what is settled ([`Configuration`], whole, whenever something changes), and hears what
//! happens. An agent that is not heard for `heartbeat + restart` has its seats handed over. A sentinel that dies is started anew: what it
//! has promised is in a file, what it holds is in the gates, and the lease bridges the time.
//!
//! | to change | go to |
//! |---|---|
//! | who may hold a seat, when a gateway counts as gone | the crate `seat` |
//! | what client and process say to each other | [`protocol`], [`configuration`] |
//! | what an agent does with it | [`client`] |
//! | what gateways say to each other, and how it is sealed | [`letters`] |
//! | probes: sockets, tags, and what their loss means | [`probing`], [`verdicts`] |
//! | gates | [`gates`] |
//! | gratuitous ARP and neighbour advertisements | [`announcements`] |
//! | what is kept over a restart | [`memory`] |
//! | what is told afterwards | [`history`] |
//! | how it all hangs together, the loop, its priority | [`engine`], [`process`], [`server`] |

pub mod client;
pub mod configuration;
pub mod history;
pub mod keys;
pub mod protocol;

pub use client::SentinelClient;
pub use configuration::{Announcement, Configuration, PairKey, Peer, Seat};
pub use history::{Entry, What};
pub use protocol::{Holding, SeatReport, Status};

use std::path::{Path, PathBuf};

/// Where the process of an agent listens that keeps its own things in this directory.
pub fn socket_in(state: &Path) -> PathBuf {
    state.join("sentinel.sock")
}
