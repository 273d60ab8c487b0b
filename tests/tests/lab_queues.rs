//! Several receive queues and several cores: every one of them forwards, and together they count all there is.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::{Map, MapData, PerCpuArray};
use gateway_common::tables::Counters;
use lab::Lab;
use lab::identity::who_is_at;
use lab::ping::Ping;
use lab::tenants::{DC, HQ, SUBNETS, address};
use lab::topology::World;
use lab::wait::{SOON, until};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

const QUEUES: u32 = 2;

/// Lets this thread, and those that it starts, run on one processor only.
fn keep_to(processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Processors that this test may use.
fn processors() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|&processor| allowed.is_set(processor).unwrap_or_default()).collect())
}

/// Packets that the port's program took from each of its receive queues.
fn by_queue(lab: &Lab, port: &str) -> Result<BTreeMap<u32, u64>> {
    let text = lab.gateway.node().sh(&format!("ethtool -S {port}"))?;
    let counts = text.lines().filter_map(|line| {
        let (queue, count) = line.trim().strip_prefix("rx_queue_")?.split_once("_xdp_packets: ")?;
        Some((queue.parse().ok()?, count.parse().ok()?))
    });
    Ok(counts.collect())
}

/// A port's counters on every processor, from the kernel itself.
fn by_processor(lab: &Lab, slot: u32) -> Result<Vec<Counters>> {
    lab.gateway.node().within(|| {
        let map = MapData::from_pin(Path::new("/sys/fs/bpf/gateway/maps/PORT_COUNTERS"))?;
        let counters: PerCpuArray<_, [u64; 4]> = PerCpuArray::try_from(Map::from_map_data(map)?)?;
        let values = counters.get(&slot, 0)?;
        let counters = values.iter().map(|&[in_packets, in_bytes, out_packets, out_bytes]| Counters {
            in_packets,
            in_bytes,
            out_packets,
            out_bytes,
        });
        Ok(counters.collect())
    })
}

#[test]
fn every_queue_and_every_core_forwards_and_nothing_is_lost_or_left_uncounted() -> Result<()> {
    let lab = Lab::start_with(World { queues: QUEUES, ..World::default() }, |_| {})?;
    let processors = processors()?;
    ensure!(processors.len() > 1, "this test needs two processors");
    let [vm, site] = [&lab.world.contoso.vms[0], &lab.world.contoso.hq];
    let directions = [(vm, HQ), (vm, DC), (site, SUBNETS[0].addresses), (site, DC)];
    for (from, to) in directions {
        to.into_iter().try_for_each(|to| lab.reaches(from, to))?;
    }

    // A stream from every core in every direction, none of whose packets may be lost.
    let mut streams = Vec::new();
    for &processor in processors.iter().take(2) {
        for (from, to) in directions {
            let started = std::thread::scope(|scope| {
                let start = || {
                    keep_to(processor)?;
                    Ping::to(address(to[0])).stream(from, Duration::from_millis(2))
                };
                scope.spawn(start).join().map_err(|_| anyhow::anyhow!("the sender has panicked"))?
            });
            streams.push(started?);
        }
    }
    streams.iter().try_for_each(|stream| stream.go_on(300))?;
    let tallies: Vec<_> = streams.into_iter().map(|stream| stream.stop()).collect();
    let (sent, lost) = tallies.iter().fold((0, 0), |(sent, lost), tally| (sent + tally.sent, lost + tally.lost.len()));
    ensure!(lost == 0, "lost {lost} of {sent} packets\n{}", lab.circumstances());

    // New flows, as each question has a source port of its own, until every queue of both ports had some.
    until(SOON, "packets in every queue", || {
        let _ = who_is_at(vm, None, address(HQ[0]), SOON);
        let every = |port| {
            by_queue(&lab, port)
                .is_ok_and(|counts| counts.len() == QUEUES as usize && counts.values().all(|&count| count > 0))
        };
        (every("fab0") && every("tor0")).then_some(())
    })
    .with_context(|| format!("{:?} {:?}", by_queue(&lab, "fab0"), by_queue(&lab, "tor0")))?;

    // What is shown is what all cores counted, and each had its share.
    let wanted: Vec<[u64; 2]> = ["fab0", "tor0"]
        .into_iter()
        .map(|port| lab.gateway.port(port).map(|report| [report.traffic.in_packets, report.traffic.out_packets]))
        .collect::<Result<_>>()?;
    let mut found = Vec::new();
    for slot in 0..8 {
        let each = by_processor(&lab, slot)?;
        let total = |field: fn(&Counters) -> u64| each.iter().map(field).sum::<u64>();
        if total(|counters| counters.in_packets) > 0 {
            let shares = each.iter().filter(|counters| counters.in_packets > 0 && counters.out_packets > 0).count();
            ensure!(shares > 1, "slot {slot}: {each:?}");
            found.push([total(|counters| counters.in_packets), total(|counters| counters.out_packets)]);
        }
    }
    found.sort_unstable();
    let mut wanted_sorted = wanted;
    wanted_sorted.sort_unstable();
    ensure!(found.len() == 2, "counters of other ports: {found:?}");
    for (found, shown) in found.iter().zip(&wanted_sorted) {
        // Neighbours and their like may have gone by between the two looks.
        ensure!(found[0] >= shown[0] && found[0] - shown[0] < 20 && found[1] - shown[1] < 20, "{found:?} {shown:?}");
        ensure!(found[0] >= sent as u64 / 2, "{found:?}, of {sent} sent");
    }
    Ok(())
}
