//! One peer with a full table: the processor's time and the memory from the wire to the RIB and to the XDP tables.

use super::load;
use super::ours::{self, Ours, Presence, watch};
use super::receivers::{self, Neighbour, Receiver, Used, Views, used};
use super::sender::{Opening, Peer, Sender};
use super::{PATIENCE, Size};
use crate::bench::report::{Goal, Row, Samples};
use crate::link::{End, cable};
use crate::node::{Node, Processes};
use anyhow::Result;
use gateway_user::dataplane::read::LiveRoutes;
use ipnet::Ipv4Net;
use std::fs::File;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const SENDER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const ASN: u32 = 64513;
const MTU: u32 = 1500;
/// What the goals allow.
const BESIDE_FRR: f64 = 1.0;
const BESIDE_BIRD: f64 = 3.0;
const MEMORY: f64 = 1.5;
const WITHDRAWAL: f64 = 10.0;
/// Prefixes of the tenant that has little, beside the one with the table.
const FEW: u32 = 100;

/// What a table costs.
#[derive(Debug, Default)]
struct Cost {
    /// Seconds of the processor.
    processor: Vec<f64>,
    /// Octets of memory a prefix.
    memory: Vec<f64>,
}

impl Cost {
    fn add(&mut self, before: Used, after: Used, prefixes: usize) {
        self.processor.push(after.processor - before.processor);
        self.memory.push(after.memory.saturating_sub(before.memory) as f64 * 1024.0 / prefixes as f64);
    }
}

/// The rows for one way of sharing attributes.
pub fn rows(size: &Size, shared: usize, show: &mut impl FnMut(Row)) -> Result<()> {
    let prefixes = load::full_table(size.prefixes);
    let bytes = Arc::new(load::announce(&prefixes, shared, ASN, SENDER));
    let (mut frr, mut bird, mut rib) = (Cost::default(), Cost::default(), Cost::default());
    let mut gateway = Whole::default();
    for _ in 0..size.runs {
        receive(&bytes, size, &mut frr, |node, peer| receivers::frr(node, RECEIVER, &[peer], Views::None))?;
        receive(&bytes, size, &mut bird, |node, peer| receivers::bird(node, RECEIVER, peer))?;
        receive(&bytes, size, &mut rib, |node, _| receivers::rib(node, &alone(size)))?;
        gateway.run(size, &prefixes, shared)?;
    }
    let of = |what: &str| format!("{} prefixes, {shared} an UPDATE: {what}", size.prefixes);
    let mut row = |what: &str, unit, ours: &[f64], peer: Option<(&'static str, &[f64])>, goal| {
        let peer = peer.map(|(name, samples)| (name, Samples::new(samples.to_vec())));
        show(Row { name: of(what), unit, ours: Samples::new(ours.to_vec()), peer, goal });
    };
    let seconds = "s of CPU";
    let (by_frr, by_bird) = (Goal::RatioAtMost(BESIDE_FRR), Goal::RatioAtMost(BESIDE_BIRD));
    let wire = "from the wire to the RIB";
    row(wire, seconds, &rib.processor, Some(("FRR", &frr.processor)), by_frr);
    row(wire, seconds, &rib.processor, Some(("BIRD", &bird.processor)), by_bird);
    row("memory of the RIB", "B a route", &rib.memory, Some(("BIRD", &bird.memory)), Goal::RatioAtMost(MEMORY));
    let whole = "from the wire to the XDP tables";
    row(whole, seconds, &gateway.cost.processor, Some(("FRR, to its RIB", &frr.processor)), by_frr);
    row("memory of the daemon", "B a route", &gateway.cost.memory, Some(("FRR", &frr.memory)), Goal::None);
    row("a withdrawn prefix is out of the XDP table", "ms", &gateway.withdrawn, None, Goal::AtMost(WITHDRAWAL));
    row("the session is lost, all routes are out of the XDP table", seconds, &gateway.lost, None, Goal::None);
    row("the same, meanwhile another tenant's withdrawal, at worst", "ms", &gateway.meanwhile, None, Goal::None);
    Ok(())
}

/// The plan of a RIB alone.
fn alone(size: &Size) -> String {
    let addresses = [(ours::address(0), SENDER), (ours::ROUTER, RECEIVER)];
    let plan = ours::plan(1, 1, room(size));
    addresses.iter().fold(plan, |plan, (usual, rig)| plan.replace(&usual.to_string(), &rig.to_string()))
}

/// With some to spare.
const fn room(size: &Size) -> usize {
    size.prefixes + size.prefixes / 10
}

/// Has a receiver of somebody's making take the table in.
fn receive(
    bytes: &Arc<Vec<u8>>,
    size: &Size,
    cost: &mut Cost,
    start: impl FnOnce(&Arc<Node>, Neighbour) -> Result<Receiver>,
) -> Result<()> {
    let processes = Processes::new()?;
    let (near, far) = (Node::new("receiver", &processes)?, Node::new("sender", &processes)?);
    cable(MTU, End::new(&near, "eth0"), End::new(&far, "eth0"))?;
    near.ip(&format!("address add {RECEIVER}/24 dev eth0\n"))?;
    far.ip(&format!("address add {SENDER}/24 dev eth0\n"))?;
    let receiver = start(&near, Neighbour { tenant: 0, address: SENDER, asn: ASN })?;
    let network = Arc::new(File::open(far.namespaces().network)?);
    let before = used(receiver.id())?;
    let peer = Peer {
        network,
        local: SENDER,
        remote: RECEIVER,
        asn: ASN,
        hold_time: receiver.hold_time(),
        updates: Arc::clone(bytes),
        awaits: usize::MAX,
        opening: Opening::Ours,
    };
    let sender = Sender::start(vec![peer])?;
    sender.sent(1, PATIENCE)?;
    let after = receiver.converged(size.prefixes as u64, PATIENCE)?;
    cost.add(before, after, size.prefixes);
    println!("  {}: {:.2} s of CPU", receiver.name, after.processor - before.processor);
    Ok(())
}

/// The gateway as it is shipped.
#[derive(Debug, Default)]
struct Whole {
    cost: Cost,
    /// Milliseconds until a withdrawn prefix is gone.
    withdrawn: Vec<f64>,
    /// Seconds of the processor until all are gone after the session.
    lost: Vec<f64>,
    /// The longest, in milliseconds, that another tenant's withdrawal took meanwhile.
    meanwhile: Vec<f64>,
}

impl Whole {
    fn run(&mut self, size: &Size, prefixes: &[Ipv4Net], shared: usize) -> Result<()> {
        let ours = Ours::start(&ours::plan(2, 1, room(size)), 2)?;
        let few = load::site(0, FEW);
        let other = Sender::start(vec![ours.peer(1, 0, Arc::new(announce(&few, shared)), usize::MAX)])?;
        other.sent(1, PATIENCE)?;
        let before = ours.settled(FEW.into())?;
        let sender = Sender::start(vec![ours.peer(0, 0, Arc::new(announce(prefixes, shared)), usize::MAX)])?;
        sender.sent(1, PATIENCE)?;
        let all = u64::from(FEW) + prefixes.len() as u64;
        let after = ours.settled(all)?;
        self.cost.add(before, after, prefixes.len());
        println!("  the gateway: {:.2} s of CPU", after.processor - before.processor);
        let (table, others) = (ours.table(0)?, ours.table(1)?);
        for prefix in prefixes.iter().step_by(prefixes.len() / size.withdrawals.min(prefixes.len())) {
            self.withdrawn.push(withdrawal(&sender, 0, &table, *prefix)?);
        }
        let before = ours.settled(all)?;
        drop(sender);
        let (mut longest, mut gone): (f64, bool) = (0.0, false);
        let probe = *prefixes.last().unwrap_or(&few[0]);
        while !gone {
            gone = !table.has(probe)? && ours.learned_now()? == u64::from(FEW);
            for prefix in &few {
                longest = longest.max(withdrawal(&other, 0, &others, *prefix)?);
            }
        }
        let after = ours.settled(FEW.into())?;
        self.lost.push(after.processor - before.processor);
        self.meanwhile.push(longest);
        Ok(())
    }
}

/// What the site announces.
fn announce(prefixes: &[Ipv4Net], shared: usize) -> Vec<u8> {
    load::announce(prefixes, shared, ours::asn(0), ours::address(0))
}

/// How many milliseconds pass until a withdrawn prefix is out of a table. It is announced again afterwards.
pub fn withdrawal(sender: &Sender, session: usize, table: &LiveRoutes, prefix: Ipv4Net) -> Result<f64> {
    watch(table, prefix, Presence::There)?;
    let start = Instant::now();
    sender.say(session, &load::withdraw(prefix))?;
    watch(table, prefix, Presence::Gone)?;
    let passed = start.elapsed().as_secs_f64() * 1e3;
    sender.say(session, &announce(&[prefix], 1))?;
    watch(table, prefix, Presence::There)?;
    Ok(passed)
}
