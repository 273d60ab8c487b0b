//! FRR: one or more of its daemons on a machine of the lab.

use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::PATIENCE;
use crate::gateway::Log;
use crate::node::{Node, Running};
use crate::wait::{SOON, until};

const DIRECTORY: &str = "/run/frr";
const CONFIGURATION: &str = "/run/frr/frr.conf";

/// Where the package puts the daemons.
const DAEMONS: &str = "/usr/lib/frr";

/// FRR's daemons that run.
#[derive(Debug)]
pub struct Frr {
    node: Arc<Node>,
    mode: Mode,
    daemons: Vec<(String, Running)>,
    log: Log,
}

/// Whether routes reach the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// By zebra, which other daemons need too.
    WithZebra,
    /// They do not.
    BgpdAlone,
}

impl Frr {
    /// Starts daemons, such as `zebra` and `bfdd` (which need each other), on a machine, and waits until they answer.
    pub fn start(node: &Arc<Node>, daemons: &[&str], configuration: &str) -> Result<Self> {
        Self::start_in(node, Mode::WithZebra, daemons, configuration)
    }

    /// Starts bgpd alone, which tells nothing to the kernel.
    pub fn bgpd(node: &Arc<Node>, configuration: &str) -> Result<Self> {
        Self::start_in(node, Mode::BgpdAlone, &["bgpd"], configuration)
    }

    fn start_in(node: &Arc<Node>, mode: Mode, daemons: &[&str], configuration: &str) -> Result<Self> {
        node.sh(&format!("mkdir -p {DIRECTORY}; chown frr:frr {DIRECTORY}"))?;
        node.write(CONFIGURATION, configuration)?;
        let mut frr = Self { node: Arc::clone(node), mode, daemons: Vec::new(), log: Log::default() };
        for &name in daemons {
            frr.launch(name)?;
        }
        Ok(frr)
    }

    /// Starts a daemon, that was killed perhaps, with what it was configured with, and waits until it answers.
    pub fn launch(&mut self, name: &str) -> Result<()> {
        let mut command = Command::new(format!("{DAEMONS}/{name}"));
        command.args(["-f", CONFIGURATION, "-i", &format!("{DIRECTORY}/{name}.pid")]);
        command.args(["--vty_socket", DIRECTORY, "-A", "127.0.0.1", "-P", "0", "--log", "stdout"]);
        match self.mode {
            Mode::WithZebra => command.args(["-z", &format!("{DIRECTORY}/zserv.api")]),
            Mode::BgpdAlone => command.args(["-Z", "-S", "-n", "-u", "root", "-g", "root"]),
        };
        if name == "bfdd" {
            command.args(["--bfdctl", &format!("{DIRECTORY}/bfdd.sock")]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut daemon = self.node.spawn(&mut command)?;
        self.log.follow(daemon.child().stdout.take().context("FRR has no standard output")?);
        self.daemons.push((name.to_owned(), daemon));
        until(SOON, "FRR to answer", || self.ask_daemon(name, "show version").ok())
            .with_context(|| format!("{name} said:\n{}", self.log.text()))?;
        Ok(())
    }

    /// Kills a daemon.
    pub fn kill(&mut self, daemon: &str) {
        self.daemons.retain(|(name, _)| name != daemon);
    }

    fn ask_daemon(&self, daemon: &str, command: &str) -> Result<String> {
        self.node.run(Command::new("vtysh").args(["--vty_socket", DIRECTORY, "-d", daemon, "-c", command]))
    }

    /// What it answers to a command of `vtysh`.
    pub fn ask(&self, command: &str) -> Result<String> {
        self.node.run(Command::new("vtysh").args(["--vty_socket", DIRECTORY, "-c", command]))
    }

    /// The same for a command that answers with JSON.
    pub fn show(&self, command: &str) -> Result<Value> {
        let printed = self.ask(command)?;
        serde_json::from_str(&printed).with_context(|| format!("{command} printed: {printed}"))
    }

    /// Its BFD sessions, each an object with `peer`, `status`, `diagnostic` and more.
    pub fn bfd(&self) -> Result<Vec<Value>> {
        Ok(self.show("show bfd peers json")?.as_array().cloned().unwrap_or_default())
    }

    /// Sends a signal to one of its daemons.
    pub fn signal(&self, daemon: &str, signal: Signal) -> Result<()> {
        let found = self.daemons.iter().find(|(name, _)| name == daemon);
        found.with_context(|| format!("no {daemon} runs"))?.1.signal(signal)
    }

    /// Whether it has a valid route, of the family `ipv4` or `ipv6`.
    pub fn valid(&self, family: &str, prefix: &str) -> bool {
        let routes = self.show(&format!("show bgp {family} unicast {prefix} json")).unwrap_or_default();
        routes["paths"].as_array().is_some_and(|paths| paths.iter().any(|path| path["valid"] == true))
    }

    /// Waits until it has a valid route.
    pub fn has(&self, family: &str, prefix: &str) -> Result<()> {
        until(PATIENCE, &format!("{prefix} at FRR"), || self.valid(family, prefix).then_some(()))
    }

    /// Waits until it has it no more.
    pub fn lacks(&self, family: &str, prefix: &str) -> Result<()> {
        until(PATIENCE, &format!("no {prefix} at FRR"), || (!self.valid(family, prefix)).then_some(()))
    }
}
