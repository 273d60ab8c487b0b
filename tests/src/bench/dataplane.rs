//! `dataplane`: what is compared with what.

use super::frames::{Endpoints, Form, Traffic};
use super::openvswitch::Switch;
use super::peers::{Gateway, kernel};
use super::report::{Goal, Row, Samples};
use super::rig::{Rig, Track};
use super::scenario::{Scenario, Way, far};
use super::{Options, change, memory};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// Of the bare redirect's rate, with at most [`GOAL_SIZE`] routes and flows.
const GOAL_REDIRECT: f64 = 0.80;
const GOAL_SIZE: usize = 1000;
/// Times the rate of the kernel's route and vxlan.
const GOAL_KERNEL: f64 = 4.0;

/// How much is done.
#[derive(Clone, Copy, Debug)]
struct Effort {
    runs: usize,
    packets: u32,
}

/// A row of the forwarding plane: a scenario and the size of the packets.
#[derive(Clone, Copy, Debug)]
struct Case {
    scenario: Scenario,
    size: usize,
}

impl Case {
    const fn new(way: Way, size: usize, flows: usize, tenants: usize, routes: usize) -> Self {
        Self { scenario: Scenario { way, flows, tenants, routes }, size }
    }

    fn name(&self) -> String {
        let Scenario { way, flows, tenants, routes } = self.scenario;
        if way == Way::Steer {
            return format!("{}: {} bytes, {} rules", way.name(), self.size, count(flows));
        }
        format!(
            "{}: {} bytes, flows {}, tenants {}, routes {}",
            way.name(),
            self.size,
            count(flows),
            count(tenants),
            count(routes)
        )
    }

    fn goal(&self) -> Goal {
        if self.scenario.routes <= GOAL_SIZE && self.scenario.flows <= GOAL_SIZE {
            Goal::RatioAtLeast(GOAL_REDIRECT)
        } else {
            Goal::None
        }
    }

    fn traffic(&self) -> Traffic {
        Traffic::new(self.scenario.way.form(), self.size, &self.scenario.endpoints())
    }

    /// The frames' length behind the gateway.
    fn length(&self) -> usize {
        self.scenario.way.leaves_as().header_len() + self.size
    }
}

fn count(number: usize) -> String {
    match number {
        1_000_000.. if number.is_multiple_of(1_000_000) => format!("{}M", number / 1_000_000),
        1000.. if number.is_multiple_of(1000) => format!("{}k", number / 1000),
        _ => number.to_string(),
    }
}

const WAYS: [Way; 4] = [Way::GreToVxlan, Way::VxlanToGre, Way::VlanToVxlan, Way::HostToHost];

/// One dimension at a time around 64 bytes, 1,000 flows, one tenant, 1,000 routes.
fn cases(quick: bool) -> Vec<Case> {
    let mut cases: Vec<Case> = WAYS.map(|way| Case::new(way, 64, 1000, 1, 1000)).to_vec();
    cases.push(Case::new(Way::Steer, 64, 1000, 1, 0));
    if quick {
        cases.push(Case::new(Way::GreToVxlan, 1400, 1000, 1, 1000));
        cases.push(Case::new(Way::GreToVxlan, 64, 100_000, 1, 1000));
        return cases;
    }
    for size in [512, 1400] {
        cases.extend(WAYS.map(|way| Case::new(way, size, 1000, 1, 1000)));
    }
    for flows in [1, 100_000] {
        cases.extend(WAYS.map(|way| Case::new(way, 64, flows, 1, 1000)));
    }
    for way in [Way::GreToVxlan, Way::VxlanToGre] {
        cases.push(Case::new(way, 64, 1000, 1000, 10_000));
        cases.push(Case::new(way, 64, 10_000, 10_000, 100_000));
    }
    for routes in [100, 10_000, 1_000_000] {
        cases.push(Case::new(Way::GreToVxlan, 64, 1000, 1, routes));
    }
    cases.push(Case::new(Way::GreToVxlan, 64, 100_000, 1, 1_000_000));
    cases
}

/// Runs all rows.
pub fn run(options: &Options) -> Result<Vec<Row>> {
    let effort =
        if options.quick { Effort { runs: 5, packets: 200_000 } } else { Effort { runs: 7, packets: 400_000 } };
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|words| name.contains(words.as_str()));
    // Machines of the lab have another working directory.
    let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::fs::canonicalize).transpose();
    let (object, other) = (absolute(&options.object)?, absolute(&options.against)?);
    let object = object.as_deref();
    let mut rig = Rig::new()?;
    let floor = rig.floor()?;
    let mut rows = Vec::new();
    let mut note = |found: Vec<Row>| {
        for row in found {
            eprintln!("bench: {}", row.line());
            rows.push(row);
        }
    };
    for case in cases(options.quick).iter().filter(|case| wanted(&case.name())) {
        note(vec![match &other {
            Some(other) => against(&mut rig, effort, case, object, other)?,
            None => redirect(&mut rig, effort, case, object, &floor)?,
        }]);
    }
    if other.is_some() {
        return Ok(rows);
    }
    for size in if options.quick { &[64][..] } else { &[64, 512, 1400] } {
        let name = format!("gre-to-vxlan: {size} bytes, beside the kernel");
        if wanted(&name) {
            note(vec![stack(&mut rig, effort, name, *size, object)?]);
        }
    }
    let name = "vxlan-to-gre: 64 bytes, beside Open vSwitch";
    if wanted(name) {
        note(switch(&mut rig, effort, name, object)?);
    }
    if wanted("plan") {
        note(change::rows(&mut rig, effort.runs)?);
    }
    if wanted("memory") && !options.quick {
        note(vec![memory::row(&mut rig)?]);
    }
    Ok(rows)
}

/// One of the forwarders that are compared.
#[derive(Clone, Copy)]
struct Contestant<'a> {
    track: &'a Track,
    traffic: &'a Traffic,
    /// The frames' length at the end.
    length: usize,
    loss: Loss,
}

/// Whether a forwarder may lose frames.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// It runs where the generator runs: whatever is lost was dropped by mistake.
    Refused,
    /// It has a core of its own and is sent more than it can take.
    Allowed,
}

/// Runs the contestants in turn, each once to warm up; their rates.
fn compare<const N: usize>(rig: &mut Rig, effort: Effort, contestants: [Contestant<'_>; N]) -> Result<[Samples; N]> {
    let mut rates = [const { Vec::new() }; N];
    rig.forget();
    for run in 0..=effort.runs {
        for (rates, it) in rates.iter_mut().zip(&contestants) {
            let outcome = rig.send(it.traffic, it.track, it.length, effort.packets)?;
            ensure!(
                it.loss == Loss::Allowed || outcome.is_lossless(),
                "of {} frames through {} {} arrived, and {} of another length",
                outcome.sent,
                it.track.node.name(),
                outcome.arrived,
                outcome.wrong
            );
            if run > 0 {
                rates.push(outcome.rate());
            }
        }
    }
    Ok(rates.map(Samples::new))
}

/// Our gateway in a comparison that may fail for what it dropped.
fn with_drops<T>(gateway: &Gateway, outcome: Result<T>) -> Result<T> {
    outcome
        .with_context(|| gateway.drops().map_or_else(|_| String::new(), |drops| format!("the gateway dropped {drops}")))
}

/// Beside the bare redirect of the same frames.
fn redirect(rig: &mut Rig, effort: Effort, case: &Case, object: Option<&Path>, floor: &Track) -> Result<Row> {
    let gateway = Gateway::new(rig, "gateway", &case.scenario, object)?;
    let traffic = case.traffic();
    let loss = Loss::Refused;
    let ours = Contestant { track: &gateway.track, traffic: &traffic, length: case.length(), loss };
    let bare = Contestant { track: floor, traffic: &traffic, length: traffic.frame.len(), loss };
    let [ours, bare] = with_drops(&gateway, compare(rig, effort, [ours, bare]))?;
    rig.take_up(gateway.track);
    Ok(Row { name: case.name(), unit: "Mpps", ours, peer: Some(("bare redirect", bare)), goal: case.goal() })
}

/// Beside a gateway with other programs.
fn against(rig: &mut Rig, effort: Effort, case: &Case, object: Option<&Path>, other: &Path) -> Result<Row> {
    let gateway = Gateway::new(rig, "gateway", &case.scenario, object)?;
    let other = Gateway::new(rig, "other", &case.scenario, Some(other))?;
    let traffic = case.traffic();
    let ours = Contestant { track: &gateway.track, traffic: &traffic, length: case.length(), loss: Loss::Refused };
    let theirs = Contestant { track: &other.track, ..ours };
    let [ours, theirs] = with_drops(&gateway, compare(rig, effort, [ours, theirs]))?;
    rig.take_up(other.track);
    rig.take_up(gateway.track);
    Ok(Row { name: case.name(), unit: "Mpps", ours, peer: Some(("other programs", theirs)), goal: Goal::None })
}

/// Plain packets from a thousand sources to hosts, for those who cannot do all that we do.
fn plain(size: usize) -> Traffic {
    let flows: Vec<Endpoints> = (0..1000u32)
        .map(|flow| Endpoints {
            key: 0x9c40_9c41,
            source: (0x1400_0001 + (flow << 8)).into(),
            destination: far(flow as usize % 16),
        })
        .collect();
    Traffic::new(Form::Plain, size, &flows)
}

/// Beside the kernel's own routing and vxlan, which only encapsulates.
fn stack(rig: &mut Rig, effort: Effort, name: String, size: usize, object: Option<&Path>) -> Result<Row> {
    let case = Case::new(Way::GreToVxlan, size, 1000, 1, 1000);
    let kernel = kernel(rig)?;
    let gateway = Gateway::new(rig, "gateway", &case.scenario, object)?;
    let (traffic, plain) = (case.traffic(), plain(size));
    let loss = Loss::Refused;
    let ours = Contestant { track: &gateway.track, traffic: &traffic, length: case.length(), loss };
    let theirs = Contestant { track: &kernel, traffic: &plain, length: case.length(), loss };
    let [ours, theirs] = with_drops(&gateway, compare(rig, effort, [ours, theirs]))?;
    rig.take_up(gateway.track);
    rig.take_up(kernel);
    let goal = Goal::RatioAtLeast(GOAL_KERNEL);
    Ok(Row { name, unit: "Mpps", ours, peer: Some(("kernel route + vxlan", theirs)), goal })
}

/// Beside Open vSwitch's user-space GRE, which only encapsulates; nothing where it does not start.
fn switch(rig: &mut Rig, effort: Effort, name: &str, object: Option<&Path>) -> Result<Vec<Row>> {
    let case = Case::new(Way::VxlanToGre, 64, 1000, 1, 1000);
    let switch = match Switch::new(rig) {
        Ok(switch) => switch,
        Err(error) => {
            eprintln!("bench: skipped `{name}`: {error:#}");
            return Ok(Vec::new());
        }
    };
    let gateway = Gateway::new(rig, "gateway", &case.scenario, object)?;
    let (traffic, plain) = (case.traffic(), plain(case.size));
    let ours = Contestant { track: &gateway.track, traffic: &traffic, length: case.length(), loss: Loss::Refused };
    let theirs = Contestant { track: &switch.track, traffic: &plain, length: 0, loss: Loss::Allowed };
    // Its thread needs a while to get going.
    let effort = Effort { packets: effort.packets * 5, ..effort };
    let outcome = with_drops(&gateway, compare(rig, effort, [ours, theirs]));
    rig.take_up(gateway.track);
    rig.take_up(switch.remove());
    let [ours, theirs] = outcome?;
    if theirs.median() < 0.001 {
        eprintln!("bench: skipped `{name}`: Open vSwitch forwarded nothing");
        return Ok(Vec::new());
    }
    let peer = Some(("OVS user-space GRE", theirs));
    Ok(vec![Row { name: name.to_owned(), unit: "Mpps", ours, peer, goal: Goal::None }])
}
