//! A connection's limits, each way, for one TCP flow.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::Lab;
use lab::node::Node;
use lab::tenants::{HQ, SUBNETS, address};
use lab::topology::World;

const KBPS: i64 = 20_000;

fn limited(limit: &str, run: impl FnOnce(&Lab) -> Result<f64>) -> Result<()> {
    let lab = Lab::start_with(World::default(), |plan| {
        plan.connection("contoso", "hq").insert(limit.into(), KBPS.into());
    })?;
    let payload = run(&lab)?;
    // The limit counts whole inner packets: 1472 bytes with 20 of IP, 20 of TCP and 12 of its timestamps.
    let share = payload * 1472.0 / 1420.0 / (KBPS as f64 * 1000.0);
    ensure!((0.9..=1.02).contains(&share), "{:.1} % of the limit\n{}", share * 100.0, lab.circumstances());
    Ok(())
}

fn tcp(lab: &Lab, from: &Node, to: &Node, at: &str) -> Result<f64> {
    lab.reaches(from, at)?;
    lab::throughput::tcp_after(from, to, address(at), Duration::from_secs(1), Duration::from_secs(4))
}

#[test]
fn one_tcp_flow_fills_the_inbound_limit_and_does_not_exceed_it() -> Result<()> {
    limited("inbound_kbps", |lab| {
        let members = &lab.world.contoso;
        tcp(lab, &members.hq, &members.vms[0], SUBNETS[0].addresses[0])
    })
}

#[test]
fn one_tcp_flow_fills_the_outbound_limit_and_does_not_exceed_it() -> Result<()> {
    limited("outbound_kbps", |lab| {
        let members = &lab.world.contoso;
        tcp(lab, &members.vms[0], &members.hq, HQ[0])
    })
}

#[test]
fn what_is_over_the_limit_is_counted_as_such() -> Result<()> {
    limited("inbound_kbps", |lab| {
        let members = &lab.world.contoso;
        let rate = tcp(lab, &members.hq, &members.vms[0], SUBNETS[0].addresses[0])?;
        let connection = lab.gateway.connection("contoso", "hq")?;
        ensure!(connection.rate_limited_in > 0 && connection.rate_limited_out == 0, "{connection:?}");
        Ok(rate)
    })
}
