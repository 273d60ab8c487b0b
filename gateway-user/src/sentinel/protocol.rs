//! What travels between an agent (or `gatewayctl`) and a sentinel: one JSON document a line, over a Unix socket of mode 0600.
//!
//! Both sides greet first. Then the client sends [`Request`]s, and the process [`Event`]s: to every client how each seat is, whenever that
//! changes, and what happens. Who has sent a configuration is the agent: from then on it says that it is alive, several times in a heartbeat.

use super::configuration::Configuration;
use super::history::Entry;
use seat::{GatewayName, Opinion, SeatName, watch::Diagnosis};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The protocol's number. It rises when a process of before would misunderstand; a client ends a process that speaks another.
pub const PROTOCOL: u32 = 1;
/// Bytes of a line: the announcements of some ten thousand addresses are in one.
pub const LINE_LIMIT: usize = 16 << 20;

/// The first line from either side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the sender.
    pub sentinel_protocol: u32,
    /// The sender's version, for a person to read.
    pub version: String,
}

impl Hello {
    /// This program's own.
    pub fn own() -> Self {
        Self { sentinel_protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// All that is settled, in place of what was before. Makes the client the agent.
    Configure(Box<Configuration>),
    /// Have another gateway take a seat that this one holds, without a loss: this one, or whose turn it is.
    HandOver {
        /// The seat.
        seat: SeatName,
        /// To whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<GatewayName>,
    },
    /// How everything is.
    Status,
    /// What happened.
    History,
    /// The agent is alive.
    Alive,
    /// The first BGP session of a seat's tenants is up, or all are: it belongs to the story of the takeover.
    BgpUp {
        /// The seat.
        seat: SeatName,
        /// Under which it is held.
        epoch: u64,
        /// Sessions that are up.
        up: usize,
        /// Sessions that there are to be.
        of: usize,
    },
    /// A letter of the controllers, which have a vote in a pool of an even number of gateways.
    Letter(seat::Message),
    /// End: what is held stays held until its lease is over.
    End,
}

/// What the process tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// How a seat is.
    Seat(SeatReport),
    /// Something has happened.
    Happened(Box<Entry>),
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::History`], oldest first.
    History(Vec<Entry>),
    /// A letter to the controllers.
    Letter(seat::Message),
    /// A request was not understood, or makes no sense.
    Refused {
        /// Why.
        message: String,
    },
}

/// What this gateway is to a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holding {
    /// It has a replica: nothing passes.
    Replica,
    /// It holds it.
    Held,
    /// It forwards what still reaches it, and another takes it.
    Yielding,
}

impl fmt::Display for Holding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Replica => "replica",
            Self::Held => "held",
            Self::Yielding => "yielding",
        })
    }
}

/// How a seat is, as far as this gateway knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatReport {
    /// The seat.
    pub seat: SeatName,
    /// What this gateway is to it.
    pub holding: Holding,
    /// The epoch that its gate is under.
    pub epoch: u64,
    /// Who holds it, by what was heard last, and under which epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<(GatewayName, u64)>,
    /// What is seen of that holder from here.
    #[serde(default, skip_serializing_if = "Opinion::is_unknown")]
    pub sight: Opinion,
}

/// How everything is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// This gateway.
    pub me: GatewayName,
    /// Its seats.
    pub seats: Vec<SeatStatus>,
    /// The other gateways.
    pub peers: Vec<PeerStatus>,
    /// Whether its agent is heard.
    pub agent: AgentState,
}

/// A seat, with what is of interest to a person alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatStatus {
    /// How it is.
    #[serde(flatten)]
    pub report: SeatReport,
    /// What is left of the lease; none without an end, or where it is not held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
    /// Who may take it next, and under which epochs.
    pub next: Vec<(GatewayName, u64)>,
}

/// Another gateway, as it is seen from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its name.
    pub name: GatewayName,
    /// What is wrong with it.
    pub diagnosis: Diagnosis,
    /// The longest time between two answers, in microseconds.
    pub longest_gap_us: u64,
    /// The same, without the time in which this sentinel itself did not get to probe.
    pub longest_discounted_gap_us: u64,
    /// Half of the shortest round trip of a letter that compared the clocks: by no more is the difference wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_error_us: Option<u64>,
    /// How much its clock is ahead of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_us: Option<i64>,
}

/// An agent, as its sentinel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// There was none yet.
    Awaited,
    /// It is heard.
    Heard,
    /// It is not heard, and has some time to come back.
    Silent,
    /// It was given up: seats are handed over.
    GivenUp,
}
