//! BGP of the tenants: one speaker for each tenant that has a router here, thousands in one task. And the gateway's own, which is one of
//! them in all but where its sockets are.
//!
//! ```text
//!   agent ── plan ──► Runtime ── Input ──► Speaker (sans I/O, one a tenant)
//!     ▲                │  ▲                  │
//!     └─ routes, in ───┘  └── stream tasks ◄─┘ Output: connect, send, close, route
//!        batches              (sockets in the tenant's compartment)
//! ```
//!
//! Sessions end with the daemon, and their neighbours keep our routes for a while (RFC 4724); what was learned stays in the data plane until
//! it is learned again, or the time for that is over.
//!
//! | to change | go to |
//! |---|---|
//! | what of a plan becomes what of a speaker's settings | [`translate`] |
//! | socket options: TTL, passwords, classes | [`socket`] |
//! | what the rack's routers are told | `tor` |
//! | reading, writing and accepting, and their bounds | `stream` |
//! | what of a peer's path is watched by BFD | `bfd` |
//! | what a router asks of the plan | `subject` |
//! | one tenant: its sockets, its speaker, what became of its peers | `router` |
//! | the task itself, and its timers | `runtime` |
//! | what BMP stations are told, and how they are kept | `monitor`, `stations` |
//! | what a person sees | `report`, `routes`, [`policy_test`] |

mod agreed;
mod bfd;
mod monitor;
pub mod policy_test;
mod report;
mod router;
mod routes;
mod runtime;
pub mod socket;
mod stations;
mod stream;
mod subject;
#[cfg(test)]
mod tests;
mod tor;
pub mod translate;

use crate::agent::protocol::{PeerState, RackSession};
use crate::api::agent::{Reply, Shown};
use crate::api::protocol::{Failure, Query};
use crate::dataplane::learned::Change;
use crate::gateway::standing::Standing;
use crate::plan::Plan;
use bgp::speaker::Start;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

/// Batches of routes that may wait for the data plane. While they do, what is learned waits as one change for each prefix.
const BATCHES: usize = 16;

/// What the agent says to the runtime.
enum Command {
    Plan(Arc<Plan>),
    Standing(Standing),
    Show(Query, Reply<Shown>),
    Peers(Box<dyn FnOnce(PeerStates) + Send>),
}

/// How peers fare, by tenant and name.
pub type PeerStates = BTreeMap<String, BTreeMap<String, PeerState>>;

/// What the runtime says to the agent.
#[derive(Debug)]
pub enum Told {
    /// What became of prefixes.
    Routes {
        /// Of this tenant.
        tenant: Box<str>,
        /// No prefix twice.
        changes: Vec<Change>,
    },
    /// A session came up or was lost.
    Peers {
        /// Of this tenant.
        tenant: Box<str>,
        /// How many of its sessions are up.
        up: usize,
    },
    /// All is learned that the tenant's peers have, as far as they are back.
    Recovered {
        /// Which tenant.
        tenant: Box<str>,
    },
}

/// The agent's end.
#[derive(Debug)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    rack: watch::Receiver<Vec<RackSession>>,
    task: AbortHandle,
}

impl Handle {
    /// Starts the runtime, which does nothing before it has a plan. `start` is for the routers of the first one. Compartments are named in
    /// `netns`; the process that keeps BFD sessions listens in `state`. To be called within a tokio runtime.
    pub fn start(netns: &Path, state: &Path, start: Start) -> (Self, mpsc::Receiver<Told>) {
        let (commands, asked) = mpsc::unbounded_channel();
        let (told, learned) = mpsc::channel(BATCHES);
        let (tell_rack, rack) = watch::channel(Vec::new());
        let runtime = runtime::Runtime::new(netns.to_owned(), bfd::Watch::new(state), start, asked, (told, tell_rack));
        let task = tokio::spawn(runtime.run()).abort_handle();
        (Self { commands, rack, task }, learned)
    }

    /// Has the routers be what a plan says. Only what differs is touched.
    pub fn configure(&self, plan: &Arc<Plan>) {
        let _ = self.commands.send(Command::Plan(Arc::clone(plan)));
    }

    /// The gateway stands so with its seats. Before it is told it stands as one that holds none. Routers of seats that it does not hold are
    /// silent: they have no sockets, and their neighbours hear no farewell. Those of one that it takes begin as after a restart.
    pub fn stand(&self, standing: Standing) {
        let _ = self.commands.send(Command::Standing(standing));
    }

    /// How the sessions with the rack's routers are.
    pub fn rack(&self) -> Vec<RackSession> {
        self.rack.borrow().clone()
    }

    /// Tells how peers fare.
    pub fn peers(&self, tell: impl FnOnce(PeerStates) + Send + 'static) {
        let _ = self.commands.send(Command::Peers(Box::new(tell)));
    }

    /// Answers a question.
    pub fn show(&self, query: Query, reply: Reply<Shown>) {
        if let Err(mpsc::error::SendError(Command::Show(_, reply))) = self.commands.send(Command::Show(query, reply)) {
            reply.send(Err(Failure::internal("BGP does not run any more")));
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}
