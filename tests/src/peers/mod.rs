//! Routing daemons that we did not write, on machines of the lab. Each keeps its files in the machine's own /run, and ends
//! with what is returned here.

pub mod bgpd;
pub mod bird;
pub mod exabgp;
pub mod frr;
pub mod gobgp;

pub use bird::Bird;
pub use frr::Frr;

use std::process::{Command, Stdio};

/// A command that prints nothing to the test's own output.
fn quiet(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
