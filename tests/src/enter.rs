//! Finding the machines of a lab that runs, from another terminal.
//!
//! A lab's machines have no names in the system, so a lab that people look into writes down where they are. A file whose lab has ended
//! without removing it holds nothing but a dead process's number; it is removed whenever labs are looked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};

use crate::node::Node;

const DIRECTORY: &str = "/run/gateway-lab";
/// Where `gatewayctl` finds its contexts on the lab's machines: their own, not those of the person who looks.
pub const CONTEXTS: &str = "/run/gatewayctl/contexts.json";

/// Options of `lab enter`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The lab, by its process; the newest if not given
    #[arg(long, value_name = "PID")]
    lab: Option<u32>,
    /// The machine; without one, their names are printed
    machine: Option<String>,
    /// What to run there; a shell if nothing is given
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Where the machines of one lab are.
#[derive(Debug, Serialize, Deserialize)]
struct Lab {
    process: u32,
    /// Tells the process from a later one with the same number.
    since: String,
    machines: BTreeMap<String, [PathBuf; 2]>,
}

impl Lab {
    fn lives(&self) -> bool {
        start_of(self.process).is_some_and(|start| start == self.since)
    }
}

/// When a process started, in the kernel's ticks.
fn start_of(process: u32) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything; 20 fields after it comes the start.
    status.rsplit_once(") ")?.1.split(' ').nth(19).map(str::to_owned)
}

/// What a running lab has written down; removed when this is dropped.
#[derive(Debug)]
pub struct Register(PathBuf);

impl Register {
    /// Writes down where this process's machines are.
    pub fn new(machines: &[&std::sync::Arc<Node>]) -> Result<Self> {
        labs()?;
        let process = std::process::id();
        let lab = Lab {
            process,
            since: start_of(process).context("cannot read /proc")?,
            machines: machines
                .iter()
                .map(|node| (node.name().to_owned(), [node.namespaces().network, node.namespaces().mounts]))
                .collect(),
        };
        std::fs::create_dir_all(DIRECTORY).with_context(|| format!("cannot make {DIRECTORY}"))?;
        let path = Path::new(DIRECTORY).join(format!("{process}.json"));
        std::fs::write(&path, serde_json::to_string(&lab)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Register {
    fn drop(&mut self) {
        // The next lab removes what stays, and the directory goes with its last file.
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_dir(DIRECTORY);
    }
}

/// The labs that run, oldest first. Forgets those that do not.
fn labs() -> Result<Vec<Lab>> {
    let Ok(files) = std::fs::read_dir(DIRECTORY) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for path in files.flatten().map(|file| file.path()) {
        let lab = std::fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str::<Lab>(&text).ok());
        match lab {
            Some(lab) if lab.lives() => found.push(lab),
            _ => std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?,
        }
    }
    found.sort_by_key(|lab| lab.since.parse::<u64>().unwrap_or(0));
    Ok(found)
}

/// Becomes a command on one of the running lab's machines.
pub fn enter(options: &Options) -> Result<ExitCode> {
    let labs = labs()?;
    let chosen = match options.lab {
        Some(process) => labs.iter().find(|lab| lab.process == process),
        None => labs.last(),
    };
    let Some(lab) = chosen else { bail!("no such lab runs; `cargo xtask run` starts one") };
    let names = lab.machines.keys().cloned().collect::<Vec<_>>().join("\n");
    let Some(machine) = &options.machine else {
        println!("{names}");
        return Ok(ExitCode::SUCCESS);
    };
    let Some(namespaces) = lab.machines.get(machine) else { bail!("the lab has no machine {machine}, but:\n{names}") };
    let [network, mounts] = namespaces.each_ref().map(File::open);
    let (own, here) = (std::env::current_exe()?, std::env::current_dir());
    setns(network?, CloneFlags::CLONE_NEWNET).context("cannot enter the network (it needs root)")?;
    setns(mounts?, CloneFlags::CLONE_NEWNS).context("cannot enter the mounts (it needs root)")?;
    // Entering mounts leads to their root. Files that the command names are looked for where they were named.
    if let Ok(here) = here {
        std::env::set_current_dir(&here).with_context(|| format!("cannot go to {} there", here.display()))?;
    }
    let shell = [std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".into())];
    let words = if options.command.is_empty() { &shell[..] } else { &options.command };
    let (name, rest) = words.split_first().context("no command")?;
    let mut command = Command::new(name);
    command.args(rest).env("GATEWAYCTL_CONTEXTS", CONTEXTS);
    // The client stands beside this program.
    if let (Some(directory), Some(path)) = (own.parent(), std::env::var_os("PATH")) {
        let all = std::iter::once(directory.to_owned()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(all)?);
    }
    Err(command.exec()).with_context(|| format!("cannot run {name}"))
}
