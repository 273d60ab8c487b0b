//! What a large gateway takes: the daemon's own memory, and the kernel's for its maps and programs.

use super::report::{Goal, Row, Samples};
use super::rig::{Rig, Sink};
use super::scenario::{Scenario, Way};
use crate::gateway::Gateway;
use crate::wait::until;
use anyhow::{Context, Result};
use std::time::Duration;

/// What all of it may take, in MiB.
const GOAL: f64 = 400.0;
/// How long the daemon may take to read and apply its plan.
const PATIENCE: Duration = Duration::from_secs(180);

/// The row of 10,000 tenants with 1,000,000 routes in all.
pub fn row(rig: &mut Rig) -> Result<Row> {
    let scenario = Scenario { way: Way::GreToVxlan, flows: 10_000, tenants: 10_000, routes: 1_000_000 };
    let track = rig.track("gateway", Sink::Xdp)?;
    let mut gateway = Gateway::new(&track.node);
    let before = kernel()?;
    gateway.start_large(&scenario.text(), PATIENCE)?;
    until(PATIENCE, "the plan to be applied", || gateway.status().ok().filter(|status| status.plans_applied > 0))?;
    let daemon = resident(gateway.pid().context("no daemon runs")?)?;
    let total = (kernel()?.saturating_sub(before) + daemon) as f64 / 1024.0;
    drop(gateway);
    rig.take_up(track);
    Ok(Row {
        name: format!(
            "memory: 10,000 tenants, 1,000,000 routes ({:.0} MiB of it the daemon's)",
            daemon as f64 / 1024.0
        ),
        unit: "MiB",
        ours: Samples::new(vec![total]),
        peer: None,
        goal: Goal::AtMost(GOAL),
    })
}

/// KiB that the kernel has taken for itself, for all processes: what maps are made of. The rest of the machine has to be quiet meanwhile.
fn kernel() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    ["SUnreclaim:", "VmallocUsed:", "Percpu:"].iter().map(|field| kibibytes(&text, field)).sum()
}

fn resident(process: u32) -> Result<u64> {
    kibibytes(&std::fs::read_to_string(format!("/proc/{process}/status"))?, "VmRSS:")
}

pub fn kibibytes(text: &str, field: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    let number = line.split_whitespace().next().with_context(|| format!("nothing at {field}"))?;
    Ok(number.parse()?)
}
