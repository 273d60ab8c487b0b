//! `cargo xtask bench`: our programs beside a peer, in one run on one rig. The benches are part of the lab.

use crate::build::{self, Profile};
use crate::setup::{self, Group};
use crate::{process, workspace};
use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;
use std::process::Command;

/// Measure beside a peer in the same run, and print the ratio
#[derive(Args)]
#[command(
    after_help = "A bench builds with optimisations and makes its own namespaces; it needs root and an otherwise idle
machine. Medians are shown as a table and, with --json, written to a file.

Examples:
  cargo xtask bench dataplane
  cargo xtask bench dataplane --quick --json target/dataplane.json
  cargo xtask bench controller
  cargo xtask bench bgp
  cargo xtask bench failover --quick
  cargo xtask bench failover -- --only 'false alarms' --minutes 60"
)]
pub struct Arguments {
    /// Which bench
    #[arg(value_parser = ["bgp", "controller", "dataplane", "failover", "host"])]
    name: String,
    /// Fewer and shorter runs
    #[arg(long)]
    quick: bool,
    /// Also write the rows to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Further words for the bench: see `target/release/lab bench --help`
    #[arg(last = true, value_name = "WORDS")]
    words: Vec<String>,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    if !process::is_root() {
        bail!("benches need root, to load XDP programs and to make namespaces; try it as root or with sudo");
    }
    setup::ensure(&[Group::Build, Group::Test, Group::Bench])?;
    build::all(Profile::Release)?;
    let lab = workspace::program(Profile::Release.directory(), "lab");
    if !process::is_executable(&lab) {
        bail!("{} was not built", workspace::shown(&lab));
    }
    let mut command = Command::new(lab);
    command.args(["bench", &arguments.name]);
    if arguments.quick {
        command.arg("--quick");
    }
    if let Some(file) = &arguments.json {
        command.arg("--json").arg(file);
    }
    command.args(&arguments.words);
    process::become_program(&mut command)
}
