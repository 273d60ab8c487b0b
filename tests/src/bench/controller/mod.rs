//! The controller at its full size: what a change costs it, what it takes to hold everything, how long it needs to start.
//!
//! What is measured is the program as it is shipped, with agents that are no more than their streams. The store is filled beforehand by the
//! same code, in this process, since so many PUTs would be a bench of their own.
//!
//! | to change | go to |
//! |---|---|
//! | what operators and tenants have made | [`estate`] |
//! | finding a connection its gateway | [`placement`] |
//! | the core by itself: how the store is filled, what planning costs | [`edge`] |
//! | the program: its start, its memory, its answers | [`daemon`] |
//! | the agents | [`agents`] |

mod agents;
mod daemon;
mod edge;
mod estate;
mod placement;

use super::Options;
use super::report::{Goal, Row};
use agents::Agents;
use anyhow::Result;
use daemon::Measured;
use edge::Edge;
use estate::{Estate, GATEWAYS};

/// The tenants that the goals are for.
const TENANTS: usize = 100_000;
/// The same of a quick run.
const QUICK_TENANTS: usize = 10_000;
/// The tenants that a change at full size is compared with.
const FEW: usize = 1_000;

/// What one of the goals allows: microseconds, milliseconds, ratios, MiB, seconds.
const CHANGE: f64 = 10.0;
const GROWTH: f64 = 3.0;
const PUT: f64 = 2.0;
const MEMORY: f64 = 2048.0;
const RESTART: f64 = 5.0;

/// All rows.
pub fn run(options: &Options) -> Result<Vec<Row>> {
    let (tenants, layouts) = if options.quick { (QUICK_TENANTS, &[100][..]) } else { (TENANTS, &[100, 1][..]) };
    let mut rows = Vec::new();
    let agents = Agents::new()?;
    for &pools in layouts {
        let layout = match pools {
            1 => format!("{GATEWAYS} gateways in one pool"),
            _ => format!("{GATEWAYS} gateways in {pools} pools"),
        };
        println!("{layout}");
        let mut show = |row: Row| {
            println!("  {}", row.line());
            rows.push(Row { name: format!("{}, {layout}", row.name), ..row });
        };
        let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|words| name.contains(words));
        if wanted("placement") {
            show(placement::row(pools, tenants)?);
        }
        if wanted("change") {
            changes(pools, tenants, &agents, &mut show)?;
        }
    }
    Ok(rows)
}

/// Fills a store, has the core change something in it, and then the program.
fn changes(pools: usize, tenants: usize, agents: &Agents, show: &mut impl FnMut(Row)) -> Result<()> {
    let mut measured = Vec::new();
    for tenants in [FEW, tenants] {
        let estate = Estate::new(pools, tenants);
        let mut edge = Edge::filled(&estate, &agents.all)?;
        println!(
            "  ({} trees of {tenants} tenants put, {:.0} µs each)",
            edge.puts,
            edge.spent * 1e6 / edge.puts as f64
        );
        let core = edge.changes(&estate, &agents.all)?;
        let filled = edge.into_store(&estate)?;
        measured.push((core, daemon::measure(&estate, filled, agents)?));
    }
    let [(core_few, few), (core, many)] = <[_; 2]>::try_from(measured).map_err(|_| anyhow::anyhow!("two runs"))?;
    let beside = "with 1,000 tenants";
    let row = |name: String, unit, ours, goal| Row { name, unit, ours, peer: None, goal };
    show(Row {
        name: format!("a change of one of {tenants} tenants, decided and planned by the core"),
        unit: "ms",
        ours: core.change,
        peer: Some((beside, core_few.change)),
        goal: Goal::RatioAtMost(GROWTH),
    });
    show(row(format!("the whole plan of a gateway with {tenants} tenants in all"), "ms", core.whole, Goal::None));
    let Measured { delivered, put, commit, peak, resident, restart, all_told, agents } = many;
    let name = format!("a change of one of {tenants} tenants, from its PUT to its agents");
    show(row(format!("{name}: at most"), "ms", delivered.clone(), Goal::AtMost(CHANGE)));
    let peer = Some((beside, few.delivered));
    show(Row { name, unit: "ms", ours: delivered, peer, goal: Goal::RatioAtMost(GROWTH) });
    show(Row {
        name: format!("PUT with {tenants} tenants"),
        unit: "ms",
        ours: put,
        peer: Some(("a bare commit", commit)),
        goal: Goal::RatioAtMost(PUT),
    });
    let name = format!("memory with {tenants} tenants and {agents} agents, the most since its start");
    show(row(name, "MiB", peak, Goal::AtMost(MEMORY)));
    show(row(format!("memory with {tenants} tenants and {agents} agents, in the end"), "MiB", resident, Goal::None));
    show(row(format!("restart to serving with {tenants} tenants"), "s", restart, Goal::AtMost(RESTART)));
    show(row(format!("all {agents} agents have their whole plans"), "s", all_told, Goal::None));
    Ok(())
}
