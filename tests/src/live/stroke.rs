//! How a gateway is struck, and brought back.

use std::process::Command;

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::programs::Xdp;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use gateway_user::dataplane::pins::{DEFAULT as PINS, Pins};

use crate::bench::rig::lab_programs;
use crate::cloud::Operated;
use crate::gateway::program;
use crate::node::Node;

/// What befalls a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Stroke {
    /// Its ports' programs drop everything
    Silence,
    /// All its links go down
    Host,
    /// Its agent is killed
    Agent,
    /// It is told to hand its seats over
    Handover,
}

impl Stroke {
    /// In the order in which they are offered.
    pub const ALL: [Self; 4] = [Self::Silence, Self::Host, Self::Agent, Self::Handover];

    /// What is done to it, and what that means.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Silence => {
                "its forwarding plane falls silent: its ports drop everything until its agent notices; links and processes look well"
            }
            Self::Host => "its host stops: all its links go down at once",
            Self::Agent => {
                "its agent is killed: packets flow on, and its seats are handed over if it does not come back"
            }
            Self::Handover => "no death: it hands its seats over, as before maintenance (gatewayctl failover --all)",
        }
    }

    /// Whether there is something to be brought back.
    pub fn leaves_damage(self) -> bool {
        self != Self::Handover
    }

    /// Strikes.
    pub fn strike(self, operated: &mut Operated, gateway: &str) -> Result<()> {
        match self {
            Self::Silence => silence(operated.cloud.gateway(gateway)),
            Self::Host => operated.cloud.unplug(gateway),
            Self::Agent => {
                operated.kill(gateway);
                Ok(())
            }
            Self::Handover => {
                let mut failover = Command::new(program("gatewayctl")?);
                operated.cloud.gateway(gateway).run(failover.args(["failover", "--all"])).map(drop)
            }
        }
    }

    /// Brings the gateway back.
    pub fn mend(self, operated: &mut Operated, gateway: &str) -> Result<()> {
        match self {
            // An agent that starts puts its programs where they belong.
            Self::Silence | Self::Agent => operated.restart_gateway(gateway),
            Self::Host => operated.cloud.plug(gateway),
            Self::Handover => Ok(()),
        }
    }
}

/// Puts programs that drop everything in the place of those that forward, on both sides at once.
fn silence(gateway: &Node) -> Result<()> {
    let prepare = |port: &str| -> Result<(Ebpf, XdpLink)> {
        let mut programs = lab_programs()?;
        nothing(&mut programs)?.load()?;
        let ifindex = nix::net::if_::if_nametoindex(port)?;
        let pins = Pins::new(PINS);
        let pin = pins.links()?.into_iter().find(|pin| pin.ifindex == ifindex);
        let link = PinnedLink::from_pin(pins.link(pin.with_context(|| format!("{port} has no program"))?))?;
        Ok((programs, XdpLink::try_from(FdLink::from(link))?))
    };
    let prepared = gateway.within(|| ["fab0", "tor0"].map(prepare));
    let prepared = prepared.into_iter().collect::<Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        let swap = |(mut programs, link): (Ebpf, XdpLink)| -> Result<()> {
            nothing(&mut programs)?.attach_to_link(link)?;
            Ok(())
        };
        let swaps: Vec<_> = prepared.into_iter().map(|port| scope.spawn(move || swap(port))).collect();
        swaps.into_iter().try_for_each(|it| it.join().unwrap_or_else(|_| bail!("swapping a program panicked")))
    })
}

fn nothing(programs: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(programs.program_mut("nothing").context("no program nothing")?.try_into()?)
}
