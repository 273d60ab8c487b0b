//! What befalls a gateway or the controller, and how it ends.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::gates::{Power, Watch};
use crate::cloud::{Cloud, GATEWAY_PA, GATEWAY_TOR, Operated};
use crate::gateway::program;
use crate::node::Node;
use crate::sim::random::Random;

/// A side of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Towards the compute hosts.
    Fabric,
    /// Towards the sites.
    Site,
}

impl Side {
    fn switch(self, cloud: &Cloud) -> &Node {
        match self {
            Self::Fabric => &cloud.fabric,
            Self::Site => &cloud.tor,
        }
    }

    /// The gateways' own addresses there.
    fn addresses(self, cloud: &Cloud) -> Vec<&'static str> {
        let all = match self {
            Self::Fabric => GATEWAY_PA,
            Self::Site => GATEWAY_TOR,
        };
        all.iter().take(cloud.gateways.len()).map(|at| at[0]).collect()
    }
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A gateway's agent is killed, and started again later.
    AgentKilled,
    /// A gateway's host loses its power: cables, processes, and all that its kernel had.
    HostDead,
    /// A gateway's agent stands still.
    AgentStopped,
    /// All processes of a gateway stand still, its sentinel too. Its kernel goes on.
    GatewayStopped,
    /// A gateway's port has no carrier.
    PortDown(Side),
    /// The other gateways and one do not hear each other on a side. Everybody else hears all of them.
    Parted(Side),
    /// The controller is killed, and started again later.
    ControllerKilled,
    /// An operator has all seats of a gateway handed over.
    HandedOver,
}

impl Kind {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::AgentKilled,
        Self::HostDead,
        Self::AgentStopped,
        Self::GatewayStopped,
        Self::PortDown(Side::Fabric),
        Self::PortDown(Side::Site),
        Self::Parted(Side::Fabric),
        Self::Parted(Side::Site),
        Self::ControllerKilled,
        Self::HandedOver,
    ];

    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AgentKilled => "agent killed",
            Self::HostDead => "host without power",
            Self::AgentStopped => "agent stopped",
            Self::GatewayStopped => "all processes stopped",
            Self::PortDown(Side::Fabric) => "fabric port down",
            Self::PortDown(Side::Site) => "site port down",
            Self::Parted(Side::Fabric) => "parted on the fabric",
            Self::Parted(Side::Site) => "parted at the sites",
            Self::ControllerKilled => "controller killed",
            Self::HandedOver => "handed over by hand",
        }
    }
}

/// One thing that happens. It is drawn whole before anything is known of how the cloud is: a seed says all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub kind: Kind,
    /// To whom.
    pub whom: Whom,
    /// For how long.
    pub lasts: Duration,
    /// What else is away meanwhile.
    pub controller: Controller,
}

/// Whom something befalls, by a place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Whoever holds this seat then.
    Holder(usize),
    /// This gateway, whatever it holds.
    Gateway(usize),
}

impl Whom {
    /// The gateway's name, as seats are held now.
    pub fn name(self, cloud: &Cloud, watch: &Watch) -> String {
        let holders: Vec<_> = watch.holders().into_values().collect();
        let (Self::Holder(at) | Self::Gateway(at)) = self;
        let held = holders.get(at % holders.len().max(1)).cloned().flatten().map(|(holder, _)| holder);
        let place = || cloud.gateways[at % cloud.gateways.len()].name().to_owned();
        match self {
            Self::Holder(_) => held.unwrap_or_else(place),
            Self::Gateway(_) => place(),
        }
    }
}

/// Whether there is a controller while something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// There is.
    Present,
    /// It was killed before, and is started after.
    Away,
}

/// Steps, in an order that a seed says.
#[derive(Debug)]
pub struct Steps {
    random: Random,
    deck: Vec<Kind>,
}

impl Steps {
    /// What this seed says.
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), deck: Vec::new() }
    }

    /// The next step, with so many gateways. Every kind comes once before any comes again.
    pub fn next(&mut self, gateways: usize) -> Step {
        if self.deck.is_empty() {
            self.deck = Kind::ALL.into();
        }
        let mut below = |limit: usize| usize::try_from(self.random.below(limit as u64)).unwrap_or_default();
        let kind = self.deck.swap_remove(below(self.deck.len()));
        // Most often somebody who has something to lose.
        let at = below(gateways);
        let whom = if below(4) == 0 && kind != Kind::HandedOver { Whom::Gateway(at) } else { Whom::Holder(at) };
        // As often shorter as longer than what an agent is given to come back, and now and then longer than a lease.
        let lasts = Duration::from_millis([200, 1000, 3000, 5000][below(4)] + below(1000) as u64);
        let controller = if below(4) == 0 { Controller::Away } else { Controller::Present };
        Step { kind, whom, lasts, controller }
    }
}

impl Step {
    /// What happens to that gateway, for a person.
    pub fn text(&self, gateway: &str) -> String {
        let whom = match self.kind {
            Kind::ControllerKilled => String::new(),
            _ => format!("{gateway}: "),
        };
        let away = if self.controller == Controller::Away { ", the controller being away" } else { "" };
        format!("{whom}{} for {:.1} s{away}", self.kind.name(), self.lasts.as_secs_f64())
    }

    /// Whether a sentinel has been started anew after it, which does not vote for a lease's time.
    pub fn forgets(&self) -> bool {
        self.kind == Kind::HostDead
    }

    /// Lets it happen to that gateway.
    pub fn begin(&self, gateway: &str, operated: &mut Operated, watch: &Watch) -> Result<()> {
        if self.controller == Controller::Away || self.kind == Kind::ControllerKilled {
            operated.kill("controller");
        }
        match self.kind {
            Kind::AgentKilled => operated.kill(gateway),
            Kind::HostDead => {
                operated.cloud.unplug(gateway)?;
                operated.kill(gateway);
                let node = operated.cloud.gateway(gateway);
                node.signal_all("gatewayd", Signal::SIGKILL)?;
                watch.power(gateway, Power::Off);
                node.sh(FORGET)?;
            }
            Kind::AgentStopped => operated.signal(gateway, Signal::SIGSTOP)?,
            Kind::GatewayStopped => operated.cloud.gateway(gateway).signal_all("gatewayd", Signal::SIGSTOP)?,
            Kind::PortDown(side) => side.switch(&operated.cloud).ip(&format!("link set {gateway} down\n"))?,
            Kind::Parted(side) => part(&operated.cloud, gateway, side)?,
            Kind::ControllerKilled => {}
            Kind::HandedOver => {
                let mut failover = Command::new(program("gatewayctl")?);
                let said = operated.cloud.gateway(gateway).run(failover.args(["failover", "--all"]));
                // On a busy machine another may have taken what it held just before.
                let holds = watch.holders().into_values().flatten().any(|(holder, _)| holder == gateway);
                if holds {
                    said?;
                }
            }
        }
        Ok(())
    }

    /// Brings all of it back.
    pub fn end(&self, gateway: &str, operated: &mut Operated, watch: &Watch) -> Result<()> {
        match self.kind {
            Kind::AgentKilled => operated.resume_gateway(gateway)?,
            Kind::HostDead => {
                operated.cloud.plug(gateway)?;
                watch.power(gateway, Power::On);
                operated.resume_gateway(gateway)?;
            }
            Kind::AgentStopped => operated.signal(gateway, Signal::SIGCONT)?,
            Kind::GatewayStopped => operated.cloud.gateway(gateway).signal_all("gatewayd", Signal::SIGCONT)?,
            Kind::PortDown(side) => side.switch(&operated.cloud).ip(&format!("link set {gateway} up\n"))?,
            Kind::Parted(side) => {
                let switch = side.switch(&operated.cloud);
                switch.sh(&format!("tc qdisc del dev {gateway} clsact; ip link del hole"))?;
            }
            Kind::ControllerKilled | Kind::HandedOver => {}
        }
        if self.controller == Controller::Away || self.kind == Kind::ControllerKilled {
            operated.start_controller()?;
        }
        Ok(())
    }
}

/// What a machine's kernel had, and what it kept in memory, is gone: pinned programs, interfaces that were made, compartments. Its disk is not.
const FORGET: &str = "rm -rf /sys/fs/bpf/gateway /run/gateway
ip -all netns delete
for made in $(ls /sys/class/net); do
    case $made in lo | mgmt0 | fab0 | tor0) ;; *) ip link delete $made 2>/dev/null || true ;; esac
done";

/// Sends all the product's processes of a machine a signal.
/// Has a switch carry nothing between one gateway and the others: it goes into a hole instead.
fn part(cloud: &Cloud, gateway: &str, side: Side) -> Result<()> {
    let mut script = format!(
        "ip link add hole type veth peer name hole-end; ip link set hole up; ip link set hole-end up
         tc qdisc add dev {gateway} clsact\n"
    );
    let names = cloud.gateways.iter().map(|gateway| gateway.name());
    for (_, other) in names.zip(side.addresses(cloud)).filter(|(name, _)| *name != gateway) {
        for (direction, end) in [("ingress", "dst"), ("egress", "src")] {
            script += &format!(
                "tc filter add dev {gateway} {direction} protocol ip prio 1 u32 match ip {end} {other}/32 \
                 action mirred egress redirect dev hole\n"
            );
        }
    }
    side.switch(cloud).sh(&script).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_all_steps_and_every_kind_comes_once_before_any_comes_again() {
        let run = |seed| {
            let mut steps = Steps::new(seed);
            (0..Kind::ALL.len() * 2).map(|_| steps.next(3)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let drawn = run(7);
        for kinds in drawn.chunks(Kind::ALL.len()) {
            for kind in Kind::ALL {
                assert_eq!(kinds.iter().filter(|step| step.kind == kind).count(), 1, "{kind:?} in {kinds:?}");
            }
        }
    }
}
