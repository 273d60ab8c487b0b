//! The benches: our programs beside a peer, in one run on one rig.
//!
//! | to change | go to |
//! |---|---|
//! | what BGP is measured at | [`bgp`] |
//! | what the controller is measured at | [`controller`] |
//! | what is compared, and which ratios are goals | [`dataplane`] |
//! | what a gateway's death is measured at | [`failover`] |
//! | compute hosts beside the kernel's | [`host`] |
//! | how traffic is made and counted | [`rig`] |
//! | what the frames look like | [`frames`] |
//! | what the gateway is told for a row | [`scenario`] |
//! | what we are compared with | [`peers`], [`openvswitch`] |
//! | the time that a change of the plan takes | [`change`] |
//! | memory | [`memory`] |
//! | how results are shown and written | [`report`] |

mod bgp;
mod change;
mod controller;
mod dataplane;
mod failover;
mod frames;
mod host;
mod memory;
mod openvswitch;
mod peers;
mod report;
pub(crate) mod rig;
mod scenario;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

pub use bgp::own::{Options as OwnBgp, own as own_bgp};

/// Options of `lab bench`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lab bench dataplane
  lab bench dataplane --quick --json dataplane.json
  lab bench dataplane --only gre-to-vxlan --only memory
  lab bench bgp --only tenants
  lab bench controller
  lab bench failover --quick --only 'silent death'
  lab bench failover --only 'false alarms' --minutes 60")]
pub struct Options {
    /// Which bench
    #[arg(value_enum)]
    name: Name,
    /// Fewer rows and shorter runs
    #[arg(long)]
    quick: bool,
    /// Also write the rows to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only rows whose name contains this; may be repeated
    #[arg(long, value_name = "WORDS")]
    only: Vec<String>,
    /// How many connections the failover bench has
    #[arg(long, value_name = "NUMBER")]
    connections: Option<usize>,
    /// For how many minutes the failover bench watches for false alarms
    #[arg(long, value_name = "NUMBER")]
    minutes: Option<u64>,
    /// XDP programs to measure in place of those that this program was built with
    #[arg(long, value_name = "FILE")]
    object: Option<PathBuf>,
    /// XDP programs to measure the gateway's own against, in place of its usual peers
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Name {
    /// BGP beside other speakers: a full table, many tenants, a withdrawal
    Bgp,
    /// The forwarding plane: packet rates, a plan's change, memory
    Dataplane,
    /// The controller at its full size: placement, a tenant's change, PUT, memory, restart
    Controller,
    /// Seats that move: how long packets do not arrive when a gateway dies, beside keepalived
    Failover,
    /// Compute hosts: TCP between machines
    Host,
}

/// Runs a bench.
pub fn run(options: &Options) -> Result<ExitCode> {
    let (name, rows) = match options.name {
        Name::Bgp => ("bgp", bgp::run(options)?),
        Name::Dataplane => ("dataplane", dataplane::run(options)?),
        Name::Controller => ("controller", controller::run(options)?),
        Name::Failover => ("failover", failover::run(options)?),
        Name::Host => ("host", host::run(options)?),
    };
    let report = report::Report::new(name, rows);
    report.print();
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
