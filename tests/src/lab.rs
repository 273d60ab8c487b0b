//! The lab as a whole: the world with its gateway in it.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};

use crate::gateway::Gateway;
use crate::identity::who_is_at;
use crate::node::Node;
use crate::ping::{Ping, Stream};
use crate::plan::Plan;
use crate::tenants::address;
use crate::topology::{Topology, World};
use crate::wait::SOON;

/// A world with a gateway that runs.
#[derive(Debug)]
pub struct Lab {
    /// The gateway. It ends before its world.
    pub gateway: Gateway,
    /// The plan that it was started with.
    pub plan: Plan,
    /// Everything around it.
    pub world: Topology,
}

impl Lab {
    /// The usual lab: VXLAN and GRE over IPv4.
    pub fn start() -> Result<Self> {
        Self::start_with(World::default(), |_| {})
    }

    /// A lab in a world of one's own, with changes to the plan that fits it.
    pub fn start_with(world: World, change: impl FnOnce(&mut Plan)) -> Result<Self> {
        Self::start_telling(world, change, |_| {})
    }

    /// The same, saying before each step what comes.
    pub fn start_telling(world: World, change: impl FnOnce(&mut Plan), mut progress: impl FnMut(&str)) -> Result<Self> {
        let topology = Topology::build(world, &mut progress)?;
        let mut plan = Plan::of(&world);
        change(&mut plan);
        progress("the gateway: its daemon, its programs, its plan");
        Self::around(topology, plan)
    }

    /// A lab around what has been built already.
    pub fn around(world: Topology, plan: Plan) -> Result<Self> {
        let mut gateway = Gateway::new(&world.gateway);
        gateway.start(&plan)?;
        Ok(Self { gateway, plan, world })
    }

    /// Fails unless an echo request is answered soon.
    pub fn reaches(&self, from: &Node, to: &str) -> Result<()> {
        self.answers(from, Ping::to(address(to)))
    }

    /// The same for an echo request of one's own.
    pub fn answers(&self, from: &Node, ping: Ping) -> Result<()> {
        let answer = ping.until_reply(from, SOON).with_context(|| format!("{} to {}", from.name(), ping.to))?;
        ensure!(
            answer.is_reply(),
            "{} has no reply from {} ({} bytes): {answer:?}\n{}",
            from.name(),
            ping.to,
            ping.length,
            self.circumstances()
        );
        Ok(())
    }

    /// Fails unless one echo request, which is not repeated, is answered.
    pub fn answers_once(&self, from: &Node, ping: Ping) -> Result<()> {
        let answer = ping.send(from, SOON)?;
        ensure!(answer.is_reply(), "{} to {}: {answer:?}\n{}", from.name(), ping.to, self.circumstances());
        Ok(())
    }

    /// Fails unless at that address, as seen from a machine, there is this other machine.
    pub fn finds(&self, from: &Node, to: &str, who: &Node) -> Result<()> {
        let heard = who_is_at(from, None, address(to), SOON)?;
        let name = heard.as_ref().map(|heard| heard.name.as_str());
        ensure!(
            name == Some(who.name()),
            "{} finds {name:?} at {to}, and should find {}\n{}",
            from.name(),
            who.name(),
            self.circumstances()
        );
        Ok(())
    }

    /// Runs something while an echo request a millisecond goes from a machine to an address, none of which may be lost.
    pub fn losing_nothing(
        &mut self,
        from: impl Fn(&Self) -> &Node,
        to: IpAddr,
        action: impl FnOnce(&mut Self, &Stream) -> Result<()>,
    ) -> Result<()> {
        let ping = Ping::to(to);
        self.answers(from(self), ping)?;
        let stream = ping.stream(from(self), std::time::Duration::from_millis(1))?;
        let outcome = stream.go_on(100).and_then(|()| action(self, &stream)).and_then(|()| stream.go_on(100));
        let tally = stream.stop();
        outcome.with_context(|| format!("{} of {} requests were lost", tally.lost.len(), tally.sent))?;
        ensure!(
            tally.lost.is_empty(),
            "lost {} of {} packets: {:?}\n{}",
            tally.lost.len(),
            tally.sent,
            tally.lost,
            self.circumstances()
        );
        Ok(())
    }

    /// What helps to see why something failed.
    pub fn circumstances(&self) -> String {
        let asked = [&["show", "drops"][..], &["show", "nexthops"], &["show", "connections"]];
        let shown = asked.map(|what| self.gateway.ctl(what).unwrap_or_else(|error| format!("{error:#}")));
        format!(
            "{}\nlost by interfaces, not by the gateway's programs:\n{}\nthe daemon said:\n{}",
            shown.join("\n"),
            self.lost_by_interfaces(),
            self.gateway.log()
        )
    }

    /// What the machines' own queues had no room for, an interface a line.
    fn lost_by_interfaces(&self) -> String {
        let counted = "cd /sys/class/net; grep -H '[1-9]' */statistics/*_dropped */statistics/*_missed_errors || true";
        let lines = self.world.machines().into_iter().map(|machine| {
            let lost = machine.sh(counted).unwrap_or_else(|error| format!("{error:#}\n"));
            lost.lines().map(|line| format!("  {} {line}\n", machine.name())).collect::<String>()
        });
        lines.collect()
    }
}
