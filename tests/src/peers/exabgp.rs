//! ExaBGP: it announces what it is told, however malformed.

use std::sync::Arc;

use anyhow::Result;

use super::quiet;
use crate::node::{Node, Running};
use crate::wait::{SOON, until};

/// An exabgp that runs.
#[derive(Debug)]
pub struct ExaBgp {
    node: Arc<Node>,
    _daemon: Running,
}

impl ExaBgp {
    /// Starts it with one neighbour's settings and static routes; what it receives is written down as JSON.
    pub fn start(node: &Arc<Node>, neighbor: &str) -> Result<Self> {
        let config = format!(
            "process seen {{ run /bin/sh -c \"cat >> /run/exabgp.json\"; encoder json; }}\n\
             neighbor 10.9.0.1 {{\n{neighbor}\n  api {{ processes [ seen ]; neighbor-changes; receive {{ parsed; update; }} }}\n}}\n"
        );
        node.write("/run/exabgp.conf", &config)?;
        let mut command = quiet("exabgp");
        command.arg("/run/exabgp.conf").envs([
            ("exabgp.daemon.user", "root"),
            ("exabgp.daemon.daemonize", "false"),
            ("exabgp.tcp.bind", ""),
            ("exabgp.api.ack", "false"),
            ("exabgp.api.cli", "false"),
            ("exabgp.cache.attributes", "false"),
        ]);
        let daemon = node.spawn(&mut command)?;
        Ok(Self { node: Arc::clone(node), _daemon: daemon })
    }

    /// Waits until it was told of a prefix.
    pub fn has(&self, prefix: &str) -> Result<()> {
        until(SOON, &format!("{prefix} at ExaBGP"), || {
            let seen = self.node.sh("cat /run/exabgp.json").ok()?;
            seen.contains(prefix).then_some(())
        })
    }
}
