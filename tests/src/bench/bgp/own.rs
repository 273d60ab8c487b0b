//! The gateway's BGP as a process of its own: for benches of what comes before the data plane.

use anyhow::{Context, Result, anyhow};
use bgp::speaker::Start;
use gateway_user::gateway::bgp::{Handle, Told};
use gateway_user::plan::parse;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Options of `lab own-bgp`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where compartments are named
    #[arg(long)]
    netns: PathBuf,
    /// The plan, of which only tenants' BGP is looked at
    plan: PathBuf,
}

/// Runs until it is killed; prints how many changes of routes the data plane would have been told, whenever there is a pause.
pub fn own(options: &Options) -> Result<ExitCode> {
    let text = std::fs::read_to_string(&options.plan)?;
    let plan = Arc::new(parse(&text, "bench").map_err(|errors| anyhow!("{errors}"))?);
    // As the daemon's.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (handle, mut told) = Handle::start(&options.netns, Path::new("/run/gateway"), Start::Fresh);
        handle.configure(&plan);
        let mut count = 0;
        loop {
            if let Told::Routes { changes, .. } = told.recv().await.context("BGP has ended")? {
                count += changes.len();
            }
            if told.is_empty() {
                writeln!(std::io::stdout(), "{count}")?;
            }
        }
    })
}
