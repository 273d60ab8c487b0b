//! `failover`: how long tenants' packets do not arrive when the gateway that carries them dies, beside keepalived moving an address.
//!
//! Every connection has a flow each way. Each flow's frames are numbered, sent every 10 milliseconds by the kernel and counted where they
//! arrive; an outage is the longest run of numbers that did not arrive, in milliseconds. Where nothing may be lost they are sent at a fixed
//! rate. Nothing is taken for granted: what is lost, late,
//! doubled or another tenant's is counted flow by flow.
//!
//! | to change | go to |
//! |---|---|
//! | how traffic is sent and counted | [`crate::numbered`] |
//! | which tenants there are | [`estate`] |
//! | the gateways, and how they are struck | [`gateways`] |
//! | the routers of sites on VLANs | [`routers`] |
//! | what we are compared with | [`keepalived`] |

mod estate;
mod gateways;
mod keepalived;
mod routers;

use super::Options;
use super::report::{Goal, Row, Samples};
use crate::node::{Node, Processes};
use anyhow::Result;
use estate::Estate;
use gateways::{Gateways, Move, Stroke};
use keepalived::{Keepalived, Pace};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What an outage may be, in milliseconds: the median, and all but one in a hundred.
const GOAL_MEDIAN: f64 = 25.0;
const GOAL_MOST: f64 = 50.0;
/// Of keepalived's outage at its default.
const GOAL_DEFAULT: f64 = 0.01;
/// Of the outage with [`FEW`] connections.
const GOAL_SIZE: f64 = 1.2;
const FEW: usize = 10;

/// How much is done.
#[derive(Clone, Copy, Debug)]
struct Effort {
    connections: usize,
    silent: usize,
    other: usize,
    peer: usize,
    watched: Duration,
}

const WHOLE: Effort = Effort { connections: 1000, silent: 100, other: 30, peer: 20, watched: Duration::from_secs(300) };
const QUICK: Effort = Effort { connections: 100, silent: 10, other: 3, peer: 3, watched: Duration::from_secs(20) };

const OTHERS: [Stroke; 8] = [
    Stroke::FabricSilence,
    Stroke::SiteSilence,
    Stroke::Pause,
    Stroke::Flapping,
    Stroke::AgentDeath,
    Stroke::AgentRestart,
    Stroke::AgentHang,
    Stroke::HandOver,
];

/// Runs all rows.
pub fn run(options: &Options) -> Result<Vec<Row>> {
    let mut effort = if options.quick { QUICK } else { WHOLE };
    if let Some(minutes) = options.minutes {
        effort.watched = Duration::from_secs(60 * minutes);
    }
    if let Some(connections) = options.connections {
        effort.connections = connections;
    }
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|words| name.contains(words.as_str()));
    let mut rows = Vec::new();
    let mut note = |row: Row| {
        eprintln!("bench: {}", row.line());
        rows.push(row);
    };
    let estate = Estate { connections: effort.connections };
    let is_any_wanted = |strokes: &[Stroke]| strokes.iter().any(|stroke| wanted(stroke.name()));
    if is_any_wanted(&[Stroke::Silence]) || is_any_wanted(&OTHERS) || wanted(FALSE_ALARMS) {
        let mut gateways = Gateways::new(estate)?;
        let silent = if wanted(Stroke::Silence.name()) {
            let moves = strikes(&mut gateways, Stroke::Silence, effort.silent)?;
            let outages = Samples::new(outages(&moves));
            lossy(Stroke::Silence, &moves, [Goal::AtMost(GOAL_MEDIAN), Goal::AtMost(GOAL_MOST)])
                .into_iter()
                .for_each(&mut note);
            Some(outages)
        } else {
            None
        };
        for stroke in OTHERS.into_iter().filter(|stroke| wanted(stroke.name())) {
            let moves = strikes(&mut gateways, stroke, effort.other)?;
            if stroke.is_lossy() {
                lossy(stroke, &moves, [Goal::None, Goal::None]).into_iter().for_each(&mut note);
            } else {
                lossless(stroke, &moves).into_iter().for_each(&mut note);
            }
        }
        if wanted(FALSE_ALARMS) {
            false_alarms(&mut gateways, effort.watched)?.into_iter().for_each(&mut note);
        }
        drop(gateways);
        if let Some(silent) = silent {
            note(size(&silent, effort)?);
            for (pace, goal) in [(Pace::Default, GOAL_DEFAULT), (Pace::Fastest, 1.0)] {
                let mut peer = Keepalived::new(pace)?;
                let outages: Vec<Vec<f64>> = (0..effort.peer).map(|_| peer.strike()).collect::<Result<_>>()?;
                note(Row {
                    name: format!("silent death: outage beside {}", pace.name()),
                    unit: "ms",
                    ours: silent.clone(),
                    peer: Some((pace.name(), Samples::new(outages.concat()))),
                    goal: Goal::RatioAtMost(goal),
                });
            }
        }
    }
    Ok(rows)
}

/// Strikes so many times; tells the story of the worst.
fn strikes(gateways: &mut Gateways, stroke: Stroke, times: usize) -> Result<Vec<Move>> {
    let moves: Vec<Move> = (0..times).map(|_| gateways.strike(stroke)).collect::<Result<_>>()?;
    let longest = |one: &Move| one.outages.iter().copied().fold(0.0, f64::max);
    if let Some(worst) = moves.iter().max_by(|one, other| longest(one).total_cmp(&longest(other)))
        && longest(worst) > 0.0
    {
        eprintln!(
            "bench: {}: the longest outage was {:.1} ms, of which is told:\n{}",
            stroke.name(),
            longest(worst),
            worst.story
        );
    }
    Ok(moves)
}

fn outages(moves: &[Move]) -> Vec<f64> {
    moves.iter().flat_map(|one| one.outages.iter().copied()).collect()
}

/// The outages of a kind of death: their median, their 99th percentile, and what arrived where it should not have.
fn lossy(stroke: Stroke, moves: &[Move], [median, most]: [Goal; 2]) -> Vec<Row> {
    let all = Samples::new(outages(moves));
    let worst = Samples::new(vec![all.percentile(99)]);
    let astray = moves.iter().map(|one| one.account.foreign as f64).collect();
    let row =
        |name: &str, unit, ours, goal| Row { name: format!("{}: {name}", stroke.name()), unit, ours, peer: None, goal };
    vec![
        row("outage", "ms", all, median),
        row("outage, 99th percentile", "ms", worst, most),
        row("to another tenant", "packets", Samples::new(astray), Goal::AtMost(0.0)),
    ]
}

/// Packets that were lost where none may be, and how many of them may have been lost by the lab itself.
fn lossless(stroke: Stroke, moves: &[Move]) -> Vec<Row> {
    let rate = moves.iter().map(|one| one.account.rate()).sum::<f64>() / moves.len().max(1) as f64;
    let unaccounted = |one: &Move| (one.account.sent - one.account.arrived).max(one.account.lost) + one.account.foreign;
    let lost: f64 = moves.iter().map(|one| unaccounted(one) as f64).sum();
    let overflowed: u64 = moves.iter().map(|one| one.overflowed).sum();
    let sent: u64 = moves.iter().map(|one| one.account.sent).sum();
    let row = |what: String, ours: f64, goal| Row {
        name: format!("{}: {what}", stroke.name()),
        unit: "packets",
        ours: Samples::new(vec![ours]),
        peer: None,
        goal,
    };
    vec![
        row(format!("lost of {sent} at {:.0} k/s", rate / 1e3), lost, Goal::AtMost(0.0)),
        row("found a queue of the lab's cables full".to_owned(), overflowed as f64, Goal::None),
    ]
}

/// Beside the same with few connections.
fn size(many: &Samples, effort: Effort) -> Result<Row> {
    let mut gateways = Gateways::new(Estate { connections: FEW })?;
    let few = outages(&strikes(&mut gateways, Stroke::Silence, effort.silent / 2)?);
    Ok(Row {
        name: format!("silent death: outage with {} connections", effort.connections),
        unit: "ms",
        ours: many.clone(),
        peer: Some(("with 10", Samples::new(few))),
        goal: Goal::RatioAtMost(GOAL_SIZE),
    })
}

const FALSE_ALARMS: &str = "false alarms";

/// Watches gateways of which nobody dies, on a machine whose CPUs have more to do than they can.
fn false_alarms(gateways: &mut Gateways, watched: Duration) -> Result<Vec<Row>> {
    let processes = Processes::new()?;
    let busy = Node::new("busy", &processes)?;
    let loops = 2 * std::thread::available_parallelism()?.get();
    let spin = || busy.spawn(Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()));
    let running = (0..loops).map(|_| spin()).collect::<Result<Vec<_>>>()?;
    let (before, ..) = gateways.alarms()?;
    gateways.traffic.begin()?;
    let start = Instant::now();
    std::thread::sleep(watched);
    let account = gateways.traffic.account()?;
    let (after, longest, discounted) = gateways.alarms()?;
    drop(running);
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    let row = |name: String, unit, value, goal| Row { name, unit, ours: Samples::new(vec![value]), peer: None, goal };
    Ok(vec![
        row(
            format!(
                "{FALSE_ALARMS}: in {minutes:.1} minutes of {loops} busy loops and {:.0} k packets/s",
                account.rate() / 1e3
            ),
            "failovers",
            (after - before) as f64,
            Goal::AtMost(0.0),
        ),
        row(format!("{FALSE_ALARMS}: longest gap between answers, ever"), "ms", longest, Goal::None),
        row(format!("{FALSE_ALARMS}: longest of it after discounting own lateness"), "ms", discounted, Goal::None),
    ])
}
