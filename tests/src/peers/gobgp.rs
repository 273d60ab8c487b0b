//! GoBGP.

use std::process::Command;
use std::sync::Arc;

use anyhow::Result;
use serde_json::Value;

use super::quiet;
use crate::node::{Node, Running};
use crate::wait::{SOON, until};

/// A gobgpd that runs.
#[derive(Debug)]
pub struct GoBgp {
    node: Arc<Node>,
    _daemon: Running,
}

impl GoBgp {
    /// Starts it with a configuration in TOML.
    pub fn start(node: &Arc<Node>, config: &str) -> Result<Self> {
        node.write("/run/gobgpd.toml", config)?;
        let mut command = quiet("gobgpd");
        command.args(["-t", "toml", "-f", "/run/gobgpd.toml", "--api-hosts", "127.0.0.1:50051", "--log-plain"]);
        let daemon = node.spawn(&mut command)?;
        let gobgp = Self { node: Arc::clone(node), _daemon: daemon };
        until(SOON, "an answer of GoBGP", || gobgp.ctl(&["global"]).ok())?;
        Ok(gobgp)
    }

    /// Runs its command line.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        self.node.run(Command::new("gobgp").args(arguments))
    }

    /// Waits until it has a route.
    pub fn has(&self, family: &str, prefix: &str) -> Result<()> {
        until(SOON, &format!("{prefix} at GoBGP"), || {
            let routes: Value = serde_json::from_str(&self.ctl(&["global", "rib", "-a", family, "-j"]).ok()?).ok()?;
            routes.get(prefix).map(|_| ())
        })
    }
}
