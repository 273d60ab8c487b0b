//! The controller under a simulator: its shipping core, several of them, with a store, clients and agents that lose, delay and reorder what
//! they say to each other, controllers that crash after any action, and leaderships that are lost without a word.
//!
//! A run is a function of its seed. Whatever happens, these have to hold:
//!
//! - what a client was told is done is in the store, from that moment on; what it was told is refused is not;
//! - what is asked on a condition that does not hold is not done, and a join token lets one key in;
//! - a request that is sent again, to whatever controller, is done once;
//! - who follows what changes hears of every change once, in order, whatever controllers tell it;
//! - no plan tells of what is not in the store, and no agent is told less than another time by an older leader;
//! - in the end, when everything is repaired, every agent has the plan that follows from the store, the leader's state is the store's, no
//!   gateway carries more than its capacity, no two tunnels are the same, no VIP is on two gateways, and every tenant's reflector is on one
//!   that carries the tenant.
//!
//! [`Fault`]s are planted, one at a time: the simulator is good for something only if it finds them. The core is the one that ships, so a
//! mistake inside it is made where it shows: in what it is told, and in what it writes and says.

mod agents;
mod checks;
mod clients;
mod controllers;
pub(crate) mod random;
mod watchers;
mod world;

pub use world::{Found, Simulation};

/// How many tenants there are.
const TENANTS: usize = 4;

/// A mistake that is made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Writes are taken for durable as soon as they are handed over.
    AcknowledgeBeforeCommit,
    /// A leader's writes are not guarded by its leadership.
    SkipCompare,
    /// What agents are to remove is left out of their plans.
    DropWithdrawal,
    /// A tree and its placements are written apart, and a crash may fall between them.
    TearWrite,
    /// A leader begins before it has read what was written before.
    LeadUnread,
    /// Answers are not remembered with what they answered.
    ForgetAnswers,
    /// Where connections are is not written with them.
    ForgetPlacements,
    /// The numbers that a virtual network's subnets were given are not written with it.
    ForgetAllocations,
    /// What an agent says of its machine is not written.
    ForgetAgents,
    /// The use of a join token is not written.
    ForgetTokens,
    /// What a change brings for an agent is not always told.
    ForgetToTell,
    /// Plans are numbered by what was issued, not by what is durable.
    NumberAhead,
    /// Requests are carried out whether their condition holds or not.
    SkipCondition,
    /// An agent takes what an older leader says.
    SkipEpoch,
    /// What changed while a watcher was away is not told.
    SkipMissed,
    /// A watcher whose stream broke while it was told what is there goes on as if it had heard all of it.
    ResumeInside,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::AcknowledgeBeforeCommit,
        Self::SkipCompare,
        Self::DropWithdrawal,
        Self::TearWrite,
        Self::LeadUnread,
        Self::ForgetAnswers,
        Self::ForgetPlacements,
        Self::ForgetAllocations,
        Self::ForgetAgents,
        Self::ForgetTokens,
        Self::ForgetToTell,
        Self::NumberAhead,
        Self::SkipCondition,
        Self::SkipEpoch,
        Self::SkipMissed,
        Self::ResumeInside,
    ];

    /// The keys that are left out of what the core writes.
    const fn forgotten(self) -> Option<&'static str> {
        match self {
            Self::ForgetAnswers => Some("requests/"),
            Self::ForgetPlacements => Some("placements/"),
            Self::ForgetAllocations => Some("allocations/"),
            Self::ForgetAgents => Some("agents/"),
            Self::ForgetTokens => Some("tokens/"),
            _ => None,
        }
    }
}
