//! BGP of the tenants: one speaker for each tenant that has a router here, thousands in one task.
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
//! | reading, writing and accepting, and their bounds | `stream` |
//! | one tenant: its sockets, its speaker, what became of its peers | `router` |
//! | the task itself, and its timers | `runtime` |
//! | what a person sees | `report` |

mod agreed;
mod report;
mod router;
mod runtime;
pub mod socket;
mod stream;
pub mod translate;

use crate::api::agent::{Reply, Shown};
use crate::api::protocol::{Failure, Query};
use crate::dataplane::learned::Change;
use crate::plan::Plan;
use bgp::speaker::Start;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Batches of routes that may wait for the data plane. While they do, what is learned waits as one change for each prefix.
const BATCHES: usize = 16;

/// What the agent says to the runtime.
enum Command {
    Plan(Arc<Plan>),
    Show(Query, Reply<Shown>),
}

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
    task: AbortHandle,
}

impl Handle {
    /// Starts the runtime, which does nothing before it has a plan. `start` is for the routers of the first one. Compartments are named in
    /// `netns`. To be called within a tokio runtime.
    pub fn start(netns: &Path, start: Start) -> (Self, mpsc::Receiver<Told>) {
        let (commands, asked) = mpsc::unbounded_channel();
        let (told, learned) = mpsc::channel(BATCHES);
        let runtime = runtime::Runtime::new(netns.to_owned(), start, asked, told);
        let task = tokio::spawn(runtime.run()).abort_handle();
        (Self { commands, task }, learned)
    }

    /// Has the routers be what a plan says. Only what differs is touched.
    pub fn configure(&self, plan: &Arc<Plan>) {
        let _ = self.commands.send(Command::Plan(Arc::clone(plan)));
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
