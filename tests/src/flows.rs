//! Packets along several ways at once, counted one by one.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::node::Node;
use crate::ping::{Ping, Stream};
use crate::wait::SOON;

/// Echo requests along several ways at once, none of which may be lost.
#[derive(Debug, Default)]
pub struct Flows(Vec<(String, Stream)>);

impl Flows {
    /// Adds a way, once a request on it is answered.
    pub fn add(&mut self, from: &Node, ping: Ping) -> Result<()> {
        let answer = ping.until_reply(from, SOON)?;
        let way = format!("{} to {}", from.name(), ping.to);
        ensure!(answer.is_reply(), "{way}: {answer:?}");
        self.0.push((way, ping.stream(from, Duration::from_millis(2))?));
        Ok(())
    }

    /// The same for several addresses.
    pub fn add_all(&mut self, from: &Node, to: &[IpAddr]) -> Result<()> {
        to.iter().try_for_each(|to| self.add(from, Ping::to(*to)))
    }

    /// Waits until so many more requests are answered on every way.
    pub fn go_on(&self, more: usize) -> Result<()> {
        self.0.iter().try_for_each(|(way, stream)| stream.go_on(more).with_context(|| way.clone()))
    }

    /// Ends them, and fails if a request on any way was lost.
    pub fn stop(self) -> Result<()> {
        let tallies: Vec<_> = self.0.into_iter().map(|(way, stream)| (way, stream.stop())).collect();
        let lossy: Vec<_> = tallies.iter().filter(|(_, tally)| !tally.lost.is_empty()).collect();
        ensure!(lossy.is_empty(), "lost: {lossy:?}");
        Ok(())
    }
}
