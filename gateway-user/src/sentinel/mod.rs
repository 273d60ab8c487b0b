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
//! | probes: sockets, tags, and what their loss means | [`probing`], [`keys`], [`verdicts`] |
//! | gates | [`gates`] |
//! | what a gateway is to its pool, as a whole | [`pool`], [`watch`] |
//! | gratuitous ARP and neighbour advertisements | [`announcements`] |
//! | what is kept over a restart | [`memory`] |
//! | what is told afterwards | [`history`] |
//! | clients, the loop, its priority | [`engine`], [`process`], [`server`], [`ports`] |

pub mod announcements;
pub mod client;
pub mod configuration;
pub mod engine;
pub mod gates;
pub mod history;
pub mod keys;
pub mod letters;
pub mod memory;
pub mod pool;
pub mod ports;
pub mod post;
pub mod probing;
pub mod process;
pub mod protocol;
pub mod server;
pub mod verdicts;
pub mod watch;

pub use client::SentinelClient;
pub use configuration::{Announcement, Configuration, PairKey, Peer, Seat};
pub use history::{Entry, What};
pub use keys::probe_key;
pub use process::{Options, run};
pub use protocol::{Holding, SeatReport, Status};

use ring::rand::{SecureRandom, SystemRandom};
use std::path::{Path, PathBuf};

/// Where the process of an agent listens that keeps its own things in this directory.
pub fn socket_in(state: &Path) -> PathBuf {
    state.join("sentinel.sock")
}

/// Any number.
fn random() -> u64 {
    let mut bytes = [0; 8];
    // A machine without randomness has no keys either.
    let _ = SystemRandom::new().fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
