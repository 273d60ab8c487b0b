//! Many tenants: how soon all converge from cold, and how soon one's withdrawal is felt when they have.

use super::load;
use super::ours::{self, Ours};
use super::receivers::{self, Neighbour, Receiver, Views, used};
use super::sender::{Opening, Peer, Sender};
use super::table::withdrawal;
use super::{PATIENCE, SITES, Size};
use crate::bench::report::{Goal, Row, Samples};
use crate::node::{Node, Processes};
use anyhow::Result;
use ipnet::Ipv4Net;
use std::fs::File;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
/// Where the neighbours are that must not have the same address.
const NEIGHBOURS: &str = "10.64.0.0/10";
const WITHDRAWAL: f64 = 10.0;
/// How many tenants GoBGP is given. It offers what it learns to the neighbours of all VRFs: twice the tenants cost it several times as much.
pub const VRFS: usize = 20;

/// What many tenants cost.
#[derive(Debug, Default)]
struct Cost {
    /// Seconds until all neighbours are told.
    seconds: Vec<f64>,
    /// Of the processor.
    processor: Vec<f64>,
    /// Memory in MiB.
    memory: Vec<f64>,
}

/// All rows.
pub fn rows(size: &Size, show: &mut impl FnMut(Row)) -> Result<()> {
    let (mut us, mut frr) = (Cost::default(), Cost::default());
    let (mut table, mut withdrawn) = (Vec::new(), Vec::new());
    let few = Size { tenants: size.tenants.min(VRFS), withdrawals: 0, ..*size };
    let (mut few_ours, mut gobgp) = (Cost::default(), Cost::default());
    for _ in 0..size.runs {
        gateway(size, &mut us, &mut table, &mut withdrawn)?;
        others(size, &mut frr, Opening::Theirs, |node, all| receivers::frr(node, RECEIVER, all, Views::Tenants))?;
        gateway(&few, &mut few_ours, &mut Vec::new(), &mut Vec::new())?;
        others(&few, &mut gobgp, Opening::Ours, |node, all| receivers::gobgpd(node, RECEIVER, all))?;
    }
    let mut row = |size: &Size, what: &str, unit, ours: &[f64], peer: Option<(&'static str, &[f64])>, goal| {
        let name = format!("{} tenants with {SITES} peers and {} prefixes each: {what}", size.tenants, size.each);
        let peer = peer.map(|(name, samples)| (name, Samples::new(samples.to_vec())));
        show(Row { name, unit, ours: Samples::new(ours.to_vec()), peer, goal });
    };
    let faster = Goal::RatioAtMost(1.0);
    for (size, ours, name, peer) in [(size, &us, "FRR, views", &frr), (&few, &few_ours, "GoBGP, VRFs", &gobgp)] {
        row(size, "from cold until each peer is told", "s", &ours.seconds, Some((name, &peer.seconds)), faster);
        row(size, "the same", "s of CPU", &ours.processor, Some((name, &peer.processor)), Goal::None);
        row(size, "memory for it", "MiB", &ours.memory, Some((name, &peer.memory)), Goal::None);
    }
    row(size, "from cold until all are in the XDP tables", "s", &table, None, Goal::None);
    row(size, "a withdrawn prefix is out of the XDP table", "ms", &withdrawn, None, Goal::AtMost(WITHDRAWAL));
    Ok(())
}

/// What a site of a tenant announces. Tenants have the same prefixes.
fn site(size: &Size, site: usize) -> Vec<Ipv4Net> {
    load::site(site as u32, size.each)
}

fn updates(size: &Size, number: usize, address: Ipv4Addr) -> Arc<Vec<u8>> {
    Arc::new(load::announce(&site(size, number), 10, ours::asn(number), address))
}

fn gateway(size: &Size, cost: &mut Cost, table: &mut Vec<f64>, withdrawn: &mut Vec<f64>) -> Result<()> {
    let ours = Ours::start(&ours::plan(size.tenants, SITES, 10_000), size.tenants)?;
    let says: [Arc<Vec<u8>>; SITES] = std::array::from_fn(|number| updates(size, number, ours::address(number)));
    let sites = (0..size.tenants).flat_map(|tenant| (0..SITES).map(move |number| (tenant, number)));
    let peers: Vec<Peer> = sites
        .map(|(tenant, number)| ours.peer(tenant, number, Arc::clone(&says[number]), size.each as usize))
        .collect();
    let sessions = peers.len();
    let before = ours.used()?;
    let start = Instant::now();
    let sender = Sender::start(peers)?;
    let told = sender.told(sessions, PATIENCE)?;
    let all = sessions as u64 * u64::from(size.each);
    let in_table = ours.learned(all)?;
    let after = ours.settled(all)?;
    cost.seconds.push(told.as_secs_f64());
    table.push((in_table - start).as_secs_f64());
    cost.processor.push(after.processor - before.processor);
    cost.memory.push(after.memory.saturating_sub(before.memory) as f64 / 1024.0);
    println!(
        "  ours: {:.2} s, {:.2} s until all is in the tables",
        told.as_secs_f64(),
        (in_table - start).as_secs_f64()
    );
    let prefixes = site(size, 0);
    let mut chance = load::Sequence::new(3);
    for _ in 0..size.withdrawals {
        let tenant = chance.below(size.tenants as u64) as usize;
        let prefix = prefixes[chance.below(prefixes.len() as u64) as usize];
        withdrawn.push(withdrawal(&sender, tenant * SITES, &ours.table(tenant)?, prefix)?);
    }
    Ok(())
}

/// Somebody else's daemon, which has all tenants' neighbours in one network.
fn others(
    size: &Size,
    cost: &mut Cost,
    opening: Opening,
    start: impl FnOnce(&Arc<Node>, &[Neighbour]) -> Result<Receiver>,
) -> Result<()> {
    let processes = Processes::new()?;
    let node = Node::new("receiver", &processes)?;
    node.ip(&format!("route add local {NEIGHBOURS} dev lo\n"))?;
    let address =
        |tenant: usize, number: usize| Ipv4Addr::from(u32::from(RECEIVER) + 256 + (tenant * SITES + number) as u32);
    let sites = (0..size.tenants).flat_map(|tenant| (0..SITES).map(move |number| (tenant, number)));
    let neighbours: Vec<Neighbour> = sites
        .map(|(tenant, number)| Neighbour { tenant, address: address(tenant, number), asn: ours::asn(number) })
        .collect();
    let receiver = start(&node, &neighbours)?;
    let network = Arc::new(File::open(node.namespaces().network)?);
    let peers: Vec<Peer> = neighbours
        .iter()
        .enumerate()
        .map(|(index, neighbour)| Peer {
            network: Arc::clone(&network),
            local: neighbour.address,
            remote: RECEIVER,
            asn: neighbour.asn,
            hold_time: receiver.hold_time(),
            updates: updates(size, index % SITES, neighbour.address),
            awaits: size.each as usize,
            opening,
        })
        .collect();
    let sessions = peers.len();
    let before = used(receiver.id())?;
    let sender = Sender::start(peers)?;
    let told = sender.told(sessions, PATIENCE)?;
    let after = receivers::quiet(receiver.id(), PATIENCE)?;
    cost.seconds.push(told.as_secs_f64());
    cost.processor.push(after.processor - before.processor);
    cost.memory.push(after.memory.saturating_sub(before.memory) as f64 / 1024.0);
    println!("  {}: {:.2} s", receiver.name, told.as_secs_f64());
    Ok(())
}
