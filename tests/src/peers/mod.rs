//! Routing daemons that we did not write, on machines of the lab, one launcher for each. Each keeps its files in the machine's own
//! /run, and ends with what is returned here. [`Frr::bgpd`] is for BGP alone; with BFD, FRR needs more of its daemons.

mod bird;
mod exabgp;
mod frr;
mod gobgp;

pub use bird::{BfdSession, Bird};
pub use exabgp::ExaBgp;
pub use frr::Frr;
pub use gobgp::GoBgp;

use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a daemon may take for what it is waited for: some try again only after half a minute.
const PATIENCE: Duration = Duration::from_secs(120);

/// A command that prints nothing to the test's own output.
fn quiet(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
