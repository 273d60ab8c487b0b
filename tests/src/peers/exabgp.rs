//! ExaBGP: it announces what it is told, however malformed.

use std::sync::Arc;

use anyhow::Result;

use super::{PATIENCE, quiet};
use crate::node::{Node, Running};
use crate::wait::until;

/// An exabgp that runs.
#[derive(Debug)]
pub struct ExaBgp {
    node: Arc<Node>,
    _daemon: Running,
}

impl ExaBgp {
    /// Starts it with one neighbour: its address, the settings and static routes. What it receives is written down as JSON.
    pub fn start(node: &Arc<Node>, address: &str, settings: &str) -> Result<Self> {
        let config = format!(
            "process seen {{ run /bin/sh -c \"cat >> /run/exabgp.json\"; encoder json; }}\n\
             neighbor {address} {{\n{settings}\n  api {{ processes [ seen ]; neighbor-changes; receive {{ parsed; update; }} }}\n}}\n"
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

    /// What it received so far, a JSON object a line.
    pub fn seen(&self) -> String {
        self.node.sh("cat /run/exabgp.json").unwrap_or_default()
    }

    /// Waits until it was told of a prefix.
    pub fn has(&self, prefix: &str) -> Result<()> {
        until(PATIENCE, &format!("{prefix} at ExaBGP"), || self.seen().contains(prefix).then_some(()))
    }
}
