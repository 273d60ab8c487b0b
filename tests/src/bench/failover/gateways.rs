//! Our three gateways between two switches, and the ways in which the one that holds a seat is struck.
//!
//! ```text
//!           ┌ fabric ═ GW1 ═ rack ┐
//!  fabric0 ─┤ fabric ═ GW2 ═ rack ├─ site0
//!           └ fabric ═ GW3 ═ rack ┘
//! ```
//!
//! One machine is all hosts and all sites. Its traffic goes through switches that learn where a seat is as switches do. The first seat moves
//! between the first gateway and the third, the second stays on the second.

use super::estate::{END_MAC, Estate, FABRIC, HOST, RACK, SEATS, SITE, VLAN_ROUTERS};
use super::routers::Routers;
use crate::gateway::Gateway;
use crate::link::{End, overflows};
use crate::node::{Node, Processes};
use crate::numbered::{Account, INTERVAL, Traffic};
use crate::switch::{Switch, Wire};
use crate::wait::{SOON, until};
use anyhow::{Context, Result, bail, ensure};
use gateway_common::SeatId;
use gateway_common::gate::State;
use gateway_user::api::report::NexthopReport;
use gateway_user::dataplane::pins::{DEFAULT as PINS, Pins};
use gateway_user::dataplane::seats::Gates;
use gateway_user::sentinel::process::now;
use gateway_user::sentinel::{Entry, PairKey, Status, What};
use nix::sys::signal::Signal;
use seat::watch::Diagnosis;
use seat::{
    Bound, Charter, CharterNumber, Electorate, ElectorateNumber, Epoch, GatewayName, Grant, Incarnation, SeatName,
    Succession,
};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const NAMES: [&str; 3] = ["GW1", "GW2", "GW3"];
const SIDES: [&str; 2] = ["fabric", "site"];
const PLAN: &str = "/run/plan.json";
/// Room for VXLAN around the largest frames of the sites.
const MTU: u32 = 1600;
/// Epochs that each seat is granted: more than any run takes.
const GRANTS: u64 = 2000;
/// This life of every machine.
const INCARNATION: u64 = 1;
/// How long gateways that hold a thousand connections may take to start.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often links that flap come and go, and how long they are either: longer than it takes to see that they are gone.
const FLAPS: usize = 5;
const FLAP: Duration = Duration::from_millis(60);
/// Frames a second while none may be lost: as many as have to be shown. Many more, and what is measured is how the lab's machine gets on with
/// its own queues beside an agent that starts.
const COUNTED_RATE: f64 = 110_000.0;
/// The seat that moves.
pub const MOVING: usize = 0;

/// How the gateway that holds the seat is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// Nothing that it sends arrives anywhere, and nothing arrives at it; it is told nothing.
    Silence,
    /// The same on the fabric alone.
    FabricSilence,
    /// The same at the sites alone.
    SiteSilence,
    /// Its host stands still, with all that it runs, and comes back as it was.
    Pause,
    /// Its links come and go, and nothing says so.
    Flapping,
    /// Its agent is killed, and not started again until its seats are elsewhere.
    AgentDeath,
    /// Its agent is killed and started again at once.
    AgentRestart,
    /// Its agent stands still until its seats are elsewhere.
    AgentHang,
    /// An operator has the other gateway take the seat.
    HandOver,
}

impl Stroke {
    /// Its name in a row's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silence => "silent death",
            Self::FabricSilence => "fabric side dead",
            Self::SiteSilence => "site side dead",
            Self::Pause => "host paused",
            Self::Flapping => "links flapping",
            Self::AgentDeath => "agent killed",
            Self::AgentRestart => "agent restarted",
            Self::AgentHang => "agent hung",
            Self::HandOver => "handed over by hand",
        }
    }

    /// Whether packets may be lost.
    pub const fn is_lossy(self) -> bool {
        !self.silences().is_empty()
    }

    const fn silences(self) -> &'static [usize] {
        match self {
            Self::Silence | Self::Pause | Self::Flapping => &[0, 1],
            Self::FabricSilence => &[0],
            Self::SiteSilence => &[1],
            _ => &[],
        }
    }
}

/// The gateways with all that is around them.
pub struct Gateways {
    /// The traffic through them.
    pub traffic: Traffic,
    members: Vec<Member>,
    switches: [Switch; 2],
    estate: Estate,
    _routers: Routers,
}

struct Member {
    gateway: Gateway,
    gates: Gates,
}

/// A seat that moved.
#[derive(Clone, Debug)]
pub struct Move {
    /// For each flow of the seat how long nothing arrived, in milliseconds.
    pub outages: Vec<f64>,
    /// What happened to all flows.
    pub account: Account,
    /// Frames that found a queue of a cable full: those that the machine under the lab had no time for.
    pub overflowed: u64,
    /// What the gateways tell of it.
    pub story: String,
}

impl Gateways {
    /// Three gateways whose traffic flows.
    pub fn new(estate: Estate) -> Result<Self> {
        let processes = Processes::new()?;
        let mut switches = [Switch::new("fabric", &processes)?, Switch::new("rack", &processes)?];
        let ends = ends(&mut switches, &processes)?;
        let gateways: Result<Vec<Gateway>> =
            (0..NAMES.len()).map(|at| gateway(at, &mut switches, &processes)).collect();
        let mut gateways = gateways?;
        let routers = Routers::new(&ends)?;
        std::thread::scope(|scope| {
            let starting: Vec<_> =
                (0..).zip(&mut gateways).map(|(at, gateway)| scope.spawn(move || start(gateway, at, estate))).collect();
            starting.into_iter().try_for_each(|it| it.join().unwrap_or_else(|_| bail!("a gateway's start panicked")))
        })?;
        let members = gateways.into_iter().map(|gateway| {
            let gates = gateway.node().within(|| Gates::open(&Pins::new(Path::new(PINS)).maps()))?;
            Ok(Member { gateway, gates })
        });
        let members = members.collect::<Result<Vec<_>>>()?;
        let traffic = Traffic::new(&ends, &[FABRIC, SITE], &estate.flows()?)?;
        let mut new = Self { traffic, members, switches, estate, _routers: routers };
        new.settle().with_context(|| new.story(0))?;
        new.traffic.start()?;
        new.traffic.flows_all(PATIENCE).with_context(|| new.drops())?;
        Ok(new)
    }

    /// Strikes the holder of the moving seat, waits until everything flows again, and until the gateway that was struck is a standby.
    pub fn strike(&mut self, stroke: Stroke) -> Result<Move> {
        self.traffic.flows_all(SOON).with_context(|| format!("{}\n{}", self.drops(), self.story(0)))?;
        let began = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
        let (holder, epoch) = self.holder(MOVING).context("nobody holds the seat that is to move")?;
        if !stroke.is_lossy() {
            self.traffic.stop()?;
            self.traffic.start_every(self.counted())?;
        }
        let overflowed = self.overflows()?;
        self.traffic.begin()?;
        self.wire(stroke, holder, Wire::Cut)?;
        match stroke {
            Stroke::Pause => self.members[holder].gateway.node().signal_all("gatewayd", Signal::SIGSTOP)?,
            Stroke::Flapping => {
                for wire in [Wire::Whole, Wire::Cut].repeat(FLAPS) {
                    std::thread::sleep(FLAP);
                    self.wire(stroke, holder, wire)?;
                }
            }
            Stroke::AgentDeath => self.members[holder].gateway.kill(),
            Stroke::AgentRestart => {
                self.members[holder].gateway.kill();
                self.members[holder].gateway.launch()?;
                self.members[holder].gateway.await_answer()?;
            }
            Stroke::AgentHang => self.members[holder].gateway.signal(Signal::SIGSTOP)?,
            Stroke::HandOver => drop(self.members[holder].gateway.ctl(&["failover", SEATS[MOVING]])?),
            _ => {}
        }
        if stroke != Stroke::AgentRestart {
            let moved = || self.open(MOVING).into_iter().any(|(at, later)| at != holder && later > epoch).then_some(());
            until(SOON, "another gateway to hold the seat", moved).with_context(|| self.story(began))?;
        }
        let flowing = self.traffic.flows_all(SOON);
        flowing.with_context(|| format!("{}\n{}", self.drops(), self.story(began)))?;
        if !stroke.is_lossy() {
            self.traffic.stop()?;
        }
        let account = self.traffic.account()?;
        let overflowed = self.overflows()? - overflowed;
        if !stroke.is_lossy() {
            self.traffic.start()?;
        }
        let outages = account.outages.iter().enumerate().filter(|(flow, _)| self.estate.is_of(*flow, MOVING));
        let outages = outages.map(|(_, outage)| *outage).collect();
        self.wire(stroke, holder, Wire::Whole)?;
        let gateway = &mut self.members[holder].gateway;
        match stroke {
            Stroke::Pause => gateway.node().signal_all("gatewayd", Signal::SIGCONT)?,
            Stroke::AgentDeath => {
                gateway.launch()?;
                gateway.await_answer()?;
            }
            Stroke::AgentHang => gateway.signal(Signal::SIGCONT)?,
            _ => {}
        }
        let story = self.story(began);
        self.settle().with_context(|| self.story(began))?;
        Ok(Move { outages, account, overflowed, story })
    }

    /// The interval of flows of which every frame has to arrive.
    fn counted(&self) -> Duration {
        Duration::from_secs_f64(f64::from(self.traffic.flows()) / COUNTED_RATE).max(INTERVAL)
    }

    /// Cuts or mends the wires of a gateway that a stroke concerns.
    fn wire(&mut self, stroke: Stroke, gateway: usize, wire: Wire) -> Result<()> {
        stroke.silences().iter().try_for_each(|side| self.switches[*side].set(NAMES[gateway], wire))
    }

    /// The times that a seat was taken, ever, and the longest gap between probes' answers that was seen, and that was discounted, in
    /// milliseconds.
    pub fn alarms(&self) -> Result<(usize, f64, f64)> {
        let (mut taken, mut longest, mut discounted) = (0, 0.0f64, 0.0f64);
        for member in &self.members {
            taken += member.history()?.iter().filter(|entry| matches!(entry.what, What::Taken(_))).count();
            for peer in member.status()?.peers {
                longest = longest.max(peer.longest_gap_us as f64 / 1e3);
                discounted = discounted.max(peer.longest_discounted_gap_us as f64 / 1e3);
            }
        }
        Ok((taken, longest, discounted))
    }

    /// Waits until every seat has one holder and everybody sees everybody well.
    fn settle(&self) -> Result<()> {
        until(PATIENCE, "every seat to have one holder", || {
            (0..SEATS.len()).all(|seat| self.open(seat).len() == 1).then_some(())
        })?;
        let start = Instant::now();
        while !self.members.iter().all(Member::is_ready) {
            ensure!(start.elapsed() < PATIENCE, "gateways do not see each other, or whom they are to reach");
            // What asks costs more than what is asked.
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Who holds a seat, by the gates, and under which epoch.
    fn holder(&self, seat: usize) -> Option<(usize, u64)> {
        self.open(seat).into_iter().max_by_key(|(_, epoch)| *epoch)
    }

    /// All whose gate of a seat is open, and under which epoch.
    fn open(&self, seat: usize) -> Vec<(usize, u64)> {
        let open = |(at, member): (usize, &Member)| {
            let it = member.gates.read(SeatId(u32::try_from(seat + 1).ok()?));
            (it.gate.state() != State::Replica && it.gate.is_open(now().0)).then_some((at, it.epoch.0))
        };
        self.members.iter().enumerate().filter_map(open).collect()
    }

    /// Frames that a queue of a cable was too full for, ever.
    fn overflows(&self) -> Result<u64> {
        let mut sum = overflows(self.traffic.ends(), &[FABRIC, SITE])?;
        for member in &self.members {
            sum += overflows(member.gateway.node(), &SIDES)?;
        }
        self.switches.iter().try_fold(sum, |sum, switch| Ok(sum + switch.overflows()?))
    }

    /// What all gateways tell, from a time on.
    fn story(&self, since: u64) -> String {
        let mut entries: Vec<Entry> =
            self.members.iter().filter_map(|member| member.history().ok()).flatten().collect();
        entries.retain(|entry| entry.at >= since);
        entries.sort_by_key(|entry| entry.at);
        let first = entries.first().map_or(0, |entry| if since == 0 { entry.at } else { since });
        let told = |entry: &Entry| {
            let seat = entry.seat.as_ref().map_or(String::new(), |seat| format!(" seat {seat}:"));
            format!("  {:9.3} ms  {}:{seat} {}\n", (entry.at - first) as f64 / 1e6, entry.gateway, entry.what)
        };
        let skipped = entries.len().saturating_sub(60);
        entries.iter().skip(skipped).map(told).collect()
    }

    fn drops(&self) -> String {
        let drops = |member: &Member| {
            let shown = member.gateway.ctl(&["show", "drops"]).unwrap_or_else(|error| format!("{error:#}"));
            format!("{}:\n{shown}", member.gateway.node().name())
        };
        self.members.iter().map(drops).collect()
    }
}

impl Member {
    fn ask<T: serde::de::DeserializeOwned>(&self, what: &str) -> Result<T> {
        let words: Vec<&str> = what.split(' ').chain(["-o", "json"]).collect();
        Ok(serde_json::from_str(&self.gateway.ctl(&words)?)?)
    }

    fn status(&self) -> Result<Status> {
        self.ask("seats")
    }

    fn history(&self) -> Result<Vec<Entry>> {
        self.ask("history")
    }

    /// Whether it sees the others well, and would reach everybody if it took a seat now.
    fn is_ready(&self) -> bool {
        let is_router = |nexthop: &NexthopReport| VLAN_ROUTERS.iter().any(|router| nexthop.leads_to.contains(router));
        let is_resolved = |nexthop: &NexthopReport| nexthop.state != "unresolved" || !is_router(nexthop);
        self.status().is_ok_and(|status| status.peers.iter().all(|peer| peer.diagnosis == Diagnosis::Well))
            && self.ask::<Vec<NexthopReport>>("show nexthops").is_ok_and(|nexthops| nexthops.iter().all(is_resolved))
    }
}

/// The machine that is all hosts and all sites.
fn ends(switches: &mut [Switch; 2], processes: &Arc<Processes>) -> Result<Arc<Node>> {
    let ends = Node::new("ends", processes)?;
    ends.sh("for at in all default; do echo 1 > /proc/sys/net/ipv6/conf/$at/disable_ipv6; done")?;
    let mac = format!("{END_MAC:?}");
    for (switch, (name, address)) in switches.iter_mut().zip([(FABRIC, HOST), (SITE, RACK)]) {
        switch.connect(MTU, End::new(&ends, name).mac(&mac), "ends")?;
        ends.ip(&format!("address add {address}/24 dev {name}\n"))?;
    }
    Ok(ends)
}

fn own_fabric(at: usize) -> String {
    format!("10.10.0.{}", at + 1)
}

fn own_site(at: usize) -> String {
    format!("192.0.2.{}", at + 1)
}

/// A gateway's machine with its cables.
fn gateway(at: usize, switches: &mut [Switch; 2], processes: &Arc<Processes>) -> Result<Gateway> {
    let node = Node::new(NAMES[at], processes)?;
    for (switch, side) in switches.iter_mut().zip(SIDES) {
        switch.connect(MTU, End::new(&node, side), NAMES[at])?;
    }
    node.ip(&format!(
        "address add {}/24 dev fabric\naddress add {}/24 dev site\nroute add 203.0.113.0/24 via {RACK}\n",
        own_fabric(at),
        own_site(at)
    ))?;
    node.sh(&format!("mkdir -p /run/gateway; echo {INCARNATION} > /run/gateway/incarnation"))?;
    Ok(Gateway::new(&node).plan_in(PLAN))
}

fn start(gateway: &mut Gateway, at: usize, estate: Estate) -> Result<()> {
    let plan = json!({
        "gateway": {"name": NAMES[at], "encapsulation": "vxlan", "pa": [format!("10.10.0.{}", at + 51)]},
        "port": [{"name": "fabric", "role": "fabric"}, {"name": "site", "role": "site"}],
        "seat": Estate::seats(), "pool": pool(at)?, "tenant": estate.plan(),
    });
    gateway.start_large(&plan.to_string(), PATIENCE)
}

fn pool(at: usize) -> Result<Value> {
    let peer = |peer: usize| {
        let key = PairKey::new([1 + (at.min(peer) * NAMES.len() + at.max(peer)) as u8; 32]);
        Ok(json!({"name": NAMES[peer], "number": peer + 1, "fabric": own_fabric(peer), "site": own_site(peer),
                  "key": serde_json::to_value(&key)?}))
    };
    let peers = (0..NAMES.len()).filter(|peer| *peer != at).map(peer).collect::<Result<Vec<Value>>>()?;
    Ok(json!({"name": "default", "number": at + 1, "fabric": own_fabric(at), "site": own_site(at),
              "charter": serde_json::to_value(charter()?)?, "peers": peers}))
}

/// The first seat is granted to the first gateway and the third in turns, the second to the second before anybody else.
fn charter() -> Result<Charter> {
    let turns = [["GW1", "GW3"], ["GW2", "GW3"]];
    let succession = |turns: [&str; 2]| {
        let grant = |epoch: u64| {
            let to = turns[usize::from(epoch.is_multiple_of(2))];
            Grant { epoch: Epoch(epoch), to: to.into(), incarnation: Incarnation(INCARNATION) }
        };
        Succession { bound: Bound::Leased, grants: (1..=GRANTS).map(grant).collect(), ..Succession::default() }
    };
    let electorate = Electorate::of(ElectorateNumber(1), NAMES.map(GatewayName::from));
    let seats = SEATS.iter().zip(turns).map(|(seat, turns)| (SeatName::from(*seat), succession(turns)));
    Ok(Charter::new(CharterNumber(1), electorate, seats.collect())?)
}
