//! GoBGP.

use std::process::Command;
use std::sync::Arc;

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{PATIENCE, quiet};
use crate::node::{Node, Running};
use crate::wait::{SOON, until};

/// A gobgpd that runs.
#[derive(Debug)]
pub struct GoBgp {
    node: Arc<Node>,
    daemon: Running,
}

impl GoBgp {
    /// Starts it with a configuration in TOML.
    pub fn start(node: &Arc<Node>, config: &str) -> Result<Self> {
        node.write("/run/gobgpd.toml", config)?;
        let mut command = quiet("gobgpd");
        command.args(["-t", "toml", "-f", "/run/gobgpd.toml", "--api-hosts", "127.0.0.1:50051", "--log-plain"]);
        let daemon = node.spawn(&mut command)?;
        let gobgp = Self { node: Arc::clone(node), daemon };
        until(SOON, "an answer of GoBGP", || gobgp.ctl(&["global"]).ok())?;
        Ok(gobgp)
    }

    /// Runs its command line.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        self.node.run(Command::new("gobgp").args(arguments))
    }

    /// Whether it has a route, of the family `ipv4` or `ipv6`.
    pub fn valid(&self, family: &str, prefix: &str) -> bool {
        let printed = self.ctl(&["global", "rib", "-a", family, "-j"]).unwrap_or_default();
        serde_json::from_str::<Value>(&printed).is_ok_and(|routes| routes.get(prefix).is_some())
    }

    /// Waits until it has a route.
    pub fn has(&self, family: &str, prefix: &str) -> Result<()> {
        until(PATIENCE, &format!("{prefix} at GoBGP"), || self.valid(family, prefix).then_some(()))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.daemon.signal(signal)
    }
}
