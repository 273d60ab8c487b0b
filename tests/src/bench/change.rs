//! How long a change of the plan takes, from the parsed plan to the last map written.

use super::peers::Gateway;
use super::report::{Goal, Row, Samples};
use super::rig::Rig;
use super::scenario::{Scenario, Way};
use anyhow::Result;
use gateway_user::plan::{Plan, parse};
use std::fmt::Write as _;
use std::sync::Arc;

/// Connections that change.
const CHANGED: usize = 1000;
/// Connections that stay as they are.
const OTHERS: usize = 1000;
/// What a change may take, in milliseconds.
const GOAL: f64 = 100.0;

/// What is different from the plan before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    Limits,
    Routes,
    Without,
}

/// The rows of changes to 1,000 connections of as many tenants, beside 1,000 connections that stay.
pub fn rows(rig: &mut Rig, runs: usize) -> Result<Vec<Row>> {
    let scenario = Scenario { way: Way::GreToVxlan, flows: 1, tenants: 1, routes: 10 };
    let mut gateway = Gateway::new(rig, "gateway", &scenario, None)?;
    let plans = [Change::None, Change::Limits, Change::Routes, Change::Without]
        .map(|change| (change, plan(change).map(Arc::new)));
    let mut times = [const { Vec::new() }; 4];
    let usual = plans[0].1.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
    gateway.apply(usual, &scenario)?;
    for _ in 0..runs {
        for (index, (change, plan)) in plans.iter().enumerate().skip(1) {
            let plan = plan.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
            times[index].push(gateway.apply(plan, &scenario)?);
            let back = gateway.apply(usual, &scenario)?;
            if *change == Change::Without {
                times[0].push(back);
            }
        }
    }
    let Gateway { track, .. } = gateway;
    rig.take_up(track);
    let names = ["added", "given other limits", "given other keys and routes", "removed"];
    Ok(names
        .iter()
        .zip(times)
        .map(|(what, times)| Row {
            name: format!("plan: {CHANGED} connections {what}"),
            unit: "ms",
            ours: Samples::new(times),
            peer: None,
            goal: Goal::AtMost(GOAL),
        })
        .collect())
}

fn plan(change: Change) -> Result<Plan> {
    let mut text = String::from(
        "[gateway]\nname = 'gw1'\nencapsulation = 'vxlan'\npa = ['10.10.0.1']\n\
         [[port]]\nname = 'in0'\nrole = 'site'\n[[port]]\nname = 'out0'\nrole = 'fabric'\n",
    );
    // Writing to a string does not fail.
    for tenant in 0..CHANGED.max(OTHERS) {
        let _ = writeln!(
            text,
            "[[tenant]]\nname = 't{tenant}'\nsubnets = [ {{ vsid = {}, prefix = '10.0.0.0/8' }} ]\n\
             vms = [ {{ ca = '10.1.0.5', mac = '02:00:00:00:01:05', vsid = {0}, pa = '10.10.0.12' }} ]",
            5000 + tenant
        );
        if tenant < OTHERS {
            connection(&mut text, "stays", 100_000 + tenant, 100_000, 30);
        }
        if tenant < CHANGED && change != Change::Without {
            let limit = if change == Change::Limits { 200_000 } else { 100_000 };
            let (key, prefix) = if change == Change::Routes { (300_000, 60) } else { (200_000, 40) };
            connection(&mut text, "changes", key + tenant, limit, prefix);
        }
    }
    parse(&text, "bench").map_err(|errors| anyhow::anyhow!("{errors}"))
}

fn connection(text: &mut String, name: &str, key: usize, limit: u32, prefix: u32) {
    let _ = writeln!(
        text,
        "[[tenant.connection]]\nname = '{name}'\ntype = 'gre'\nvip = '198.51.100.10'\nremote = '203.0.113.20'\n\
         key = {key}\ninbound_kbps = {limit}\noutbound_kbps = {limit}\nroutes = [ {{ destination = '{prefix}.0.0.0/16' }} ]"
    );
}
