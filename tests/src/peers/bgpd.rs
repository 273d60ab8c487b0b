//! FRR's bgpd, without zebra and without the kernel's routes.

use std::process::Command;
use std::sync::Arc;

use anyhow::Result;
use serde_json::Value;

use super::quiet;
use crate::node::{Node, Running};
use crate::wait::{SOON, until};

const DIRECTORY: &str = "/run/frr";

/// A bgpd that runs.
#[derive(Debug)]
pub struct Bgpd {
    node: Arc<Node>,
    daemon: Option<Running>,
}

impl Bgpd {
    /// Starts it with a configuration.
    pub fn start(node: &Arc<Node>, config: &str) -> Result<Self> {
        node.sh(&format!("mkdir -p {DIRECTORY}"))?;
        node.write(format!("{DIRECTORY}/bgpd.conf"), config)?;
        let mut bgpd = Self { node: Arc::clone(node), daemon: None };
        bgpd.run()?;
        Ok(bgpd)
    }

    /// Starts it (again) with what it was configured with.
    pub fn run(&mut self) -> Result<()> {
        let mut command = quiet("/usr/lib/frr/bgpd");
        command.args(["-Z", "-S", "-n", "-u", "root", "-g", "root", "-P", "0", "--vty_socket", DIRECTORY]);
        command.args(["-f", "/run/frr/bgpd.conf", "-i", "/run/frr/bgpd.pid", "--log", "file:/run/frr/bgpd.log"]);
        self.daemon = Some(self.node.spawn(&mut command)?);
        until(SOON, "an answer of FRR", || self.vtysh("show version").ok()).map(|_| ())
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.daemon = None;
    }

    /// Runs one command of its shell.
    pub fn vtysh(&self, command: &str) -> Result<String> {
        self.node.run(Command::new("vtysh").args(["--vty_socket", DIRECTORY, "-d", "bgpd", "-c", command]))
    }

    /// The same for one that answers with JSON.
    pub fn json(&self, command: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.vtysh(command)?)?)
    }

    /// Waits until it has a valid route.
    pub fn has(&self, family: &str, prefix: &str) -> Result<()> {
        until(SOON, &format!("{prefix} at FRR"), || self.valid(family, prefix).then_some(()))
    }

    /// Waits until it has it no more.
    pub fn lacks(&self, family: &str, prefix: &str) -> Result<()> {
        until(SOON, &format!("no {prefix} at FRR"), || (!self.valid(family, prefix)).then_some(()))
    }

    /// Whether it has a valid route.
    pub fn valid(&self, family: &str, prefix: &str) -> bool {
        let routes = self.json(&format!("show bgp {family} unicast {prefix} json")).unwrap_or_default();
        routes["paths"].as_array().is_some_and(|paths| paths.iter().any(|path| path["valid"] == true))
    }
}
