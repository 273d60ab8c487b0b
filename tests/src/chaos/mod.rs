//! `lab chaos`: the cloud of `lab run`, in which gateways and the controller fail at random, one at a time, while all tenants' numbered packets
//! flow. Whatever happens,
//!
//! - no packet arrives at another tenant, or by another of the tenant's ways;
//! - no seat is without a holder, and no way without packets, for longer than [`longest_outage`](judge::longest_outage);
//! - packets of a seat do not pass at two gateways for longer than a lease, no epoch is held by two, and whoever has seen a later one stops;
//! - once all is brought back, within [`RECOVERY`], every seat has one holder, packets flow every way, all gateways see each other well and
//!   are so in the controller's view, and nobody warns of what was not warned of at the start.
//!
//! | to change | go to |
//! |---|---|
//! | what can happen, and in which order | [`step`] |
//! | what must hold of seats | [`judge`] |
//! | how their gates are looked at | [`gates`] |
//! | the table at the end | [`summary`] |

pub mod gates;
pub mod judge;
pub mod step;
pub mod summary;

use std::collections::BTreeSet;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::seat::Timers;
use ::seat::watch::Diagnosis;
use anyhow::{Context, Result, bail, ensure};
use gateway_user::api::report::StatusReport;
use gateway_user::ctl::story;
use gateway_user::sentinel::protocol::AgentState;
use gateway_user::sentinel::{Entry, Status};
use serde_json::Value;

use crate::cloud::Operated;
use crate::enter::Register;
use crate::gateway::program;
use crate::live::datagrams::{Datagrams, Way};
use crate::live::outage::{ask, holders};
use crate::live::{Scene, catch_interrupts, is_interrupted, settle};
use gates::Watch;
use judge::longest_outage;
use step::{Step, Steps};
use summary::{Cost, is_stranger};

/// Options of `lab chaos`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lab chaos
  lab chaos --minutes 60
  lab chaos --seed 7")]
pub struct Options {
    /// For how long something happens
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0)]
    minutes: f64,
    /// What happens, and in which order: the same for the same number; else another one each time, which is printed
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

/// How long after the last step everything may take to be as it was at the start. A gateway that starts anew loads its programs, joins, and is
/// granted seats anew, and the sites' routers come back by timers of their own.
const RECOVERY: Duration = Duration::from_secs(90);
/// Between two looks at what must not be.
const TURN: Duration = Duration::from_millis(20);
/// Between two times that everybody is asked how they are.
const ASK: Duration = Duration::from_millis(500);
/// Of what is told after something that must not be: what happened in the time before.
const BEFORE: Duration = Duration::from_secs(60);
/// An outage is told in detail from here on, though it be allowed: a takeover takes far less.
const NOTABLE: Duration = Duration::from_millis(250);

/// Brings the cloud up, has things fail, and prints what came of it.
pub fn run(options: &Options) -> Result<ExitCode> {
    ensure!(options.minutes > 0.0 && options.minutes.is_finite(), "--minutes takes a number above 0");
    catch_interrupts()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let seed = options.seed.unwrap_or_else(|| u64::from(now.subsec_micros()));
    println!("seed {seed}");
    let start = Instant::now();
    let tell = |step: &str| eprintln!("{:6.2} s  {step}", start.elapsed().as_secs_f64());
    let mut scene = Scene::build(tell).context("cannot bring the lab up")?;
    let _register = Register::new(&scene.operated.cloud.machines())?;
    if !settle(&mut scene) {
        bail!("the cloud did not come up\n{}\n{}", scene.text(), scene.operated.log());
    }
    let mut chaos = Chaos::start(scene, start)?;
    let lasts = Duration::try_from_secs_f64(options.minutes * 60.0)?;
    let done = chaos.go(seed, lasts);
    if let Err(violation) = &done {
        println!("\nseed {seed}: {violation:#}\n{}", chaos.story());
        eprintln!("{}", chaos.scene.operated.log());
    }
    print!("\n{}", chaos.summary()?);
    Ok(if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Chaos {
    // What looks at the machines ends before them.
    watch: Watch,
    datagrams: Option<Datagrams>,
    ways: Vec<Way>,
    timers: Timers,
    start: Instant,
    /// What was warned of before anything happened.
    warnings: BTreeSet<String>,
    said: Vec<String>,
    costs: Vec<Cost>,
    scene: Scene,
}

impl Chaos {
    fn start(scene: Scene, start: Instant) -> Result<Self> {
        // The pool of examples/cloud does not say otherwise.
        let timers = Timers::default();
        let operated = &scene.operated;
        let seats: Vec<String> = holders(operated).into_keys().collect();
        ensure!(!seats.is_empty(), "nobody holds a seat");
        let watch = Watch::start(&operated.cloud.gateways, &seats, &timers)?;
        let ways: Vec<Way> = operated.cloud.tenants.iter().flat_map(Way::of).collect();
        let datagrams = Some(Datagrams::start(&ways)?);
        let (said, costs) = (Vec::new(), Vec::new());
        let mut chaos = Self { watch, datagrams, ways, timers, start, warnings: BTreeSet::new(), said, costs, scene };
        // At the start there is no state of before to compare with: what does not pass by itself was there.
        let settled = Instant::now();
        loop {
            chaos.warnings = warnings(&chaos.scene.operated)?;
            if chaos.warnings.is_empty() || settled.elapsed() > RECOVERY / 3 {
                break;
            }
            chaos.pause(ASK)?;
        }
        chaos.recover(Instant::now())?;
        for warning in &chaos.warnings {
            println!("at the start: {warning}");
        }
        Ok(chaos)
    }

    fn say(&mut self, text: &str) {
        let line = format!("{:7.2} s  {text}", self.start.elapsed().as_secs_f64());
        println!("{line}");
        self.said.push(line);
    }

    /// Has one thing after the other happen; an error is what must not be.
    fn go(&mut self, seed: u64, lasts: Duration) -> Result<()> {
        let mut steps = Steps::new(seed);
        let began = Instant::now();
        while began.elapsed() < lasts && !is_interrupted() {
            let step = steps.next(self.scene.operated.cloud.gateways.len());
            self.happen(&step)?;
        }
        self.say("everything is back");
        Ok(())
    }

    fn happen(&mut self, step: &Step) -> Result<()> {
        let held = |watch: &Watch| {
            let one = |(seat, holder): (String, Option<(String, u64)>)| match holder {
                Some((holder, epoch)) => format!("{seat} is {holder}'s ({epoch})"),
                None => format!("{seat} is nobody's alone"),
            };
            watch.holders().into_iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let gateway = step.whom.name(&self.scene.operated.cloud, &self.watch);
        self.say(&format!("{}; {}", step.text(&gateway), held(&self.watch)));
        let began = SystemTime::now();
        let first = self.datagrams.as_ref().map_or(0, Datagrams::sent);
        let begun = step.begin(&gateway, &mut self.scene.operated, &self.watch);
        let passed = begun.and_then(|()| self.pause(step.lasts));
        // Also after what must not be: nothing may stand still when its story is asked for.
        step.end(&gateway, &mut self.scene.operated, &self.watch)?;
        passed?;
        let since = if step.forgets() { Instant::now() + self.timers.lease() } else { Instant::now() };
        self.recover(since)?;
        let tallies = self.datagrams.as_ref().map(|it| it.since(first)).unwrap_or_default();
        let worst = self.ways.iter().zip(&tallies).max_by_key(|(_, tally)| tally.outage);
        let (outage, lost) =
            (worst.map_or(Duration::ZERO, |(_, tally)| tally.outage), tallies.iter().map(|it| it.lost).sum());
        let bound = longest_outage(&self.timers);
        let told: String = self.ways.iter().zip(&tallies).filter(|(_, tally)| tally.lost > 0).fold(
            String::new(),
            |told, (way, tally)| {
                format!("{told}    {}: {} lost, outage {} ms\n", way_text(way), tally.lost, tally.outage.as_millis())
            },
        );
        let too_long = worst.filter(|(_, tally)| tally.outage > bound).map(|(way, tally)| {
            format!("{} had no packets for {:?}, and {bound:?} is the bound", way_text(way), tally.outage)
        });
        self.say(&format!(
            "  all is well; outage {} ms, {lost} packets lost; {}",
            outage.as_millis(),
            held(&self.watch)
        ));
        if outage >= NOTABLE {
            print!("{told}{}", self.history(began));
        }
        self.costs.push(Cost { kind: step.kind, outage, lost });
        too_long.map_or(Ok(()), |too_long| bail!(too_long))
    }

    /// Lets time pass; an error is what must not be.
    fn pause(&self, lasts: Duration) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < lasts && !is_interrupted() {
            self.check()?;
            std::thread::sleep(TURN);
        }
        self.check()
    }

    fn check(&self) -> Result<()> {
        if let Some(violation) = self.watch.violation() {
            bail!(violation);
        }
        let Some(datagrams) = &self.datagrams else { return Ok(()) };
        if let Some(astray) = datagrams.oddities().astray.first() {
            let stranger = if is_stranger(&self.ways, astray.at, astray.of) { "another tenant's" } else { "another" };
            let [at, of] =
                [astray.at, astray.of].map(|way| self.ways.get(way).map_or_else(|| way.to_string(), way_text));
            bail!("packet {} of {of} arrived at the end of {stranger} way: {at}", astray.number);
        }
        let bound = longest_outage(&self.timers);
        for (way, silence) in self.ways.iter().zip(datagrams.silences()) {
            ensure!(
                silence <= bound,
                "{} has had no packets for {silence:?}, and {bound:?} is the bound",
                way_text(way)
            );
        }
        Ok(())
    }

    /// Waits until everything is as it was at the start, but not before that time.
    fn recover(&self, since: Instant) -> Result<()> {
        let began = Instant::now();
        loop {
            self.pause(ASK)?;
            let lack = match is_interrupted() {
                true => return Ok(()),
                false => self.lack()?,
            };
            match lack {
                None if Instant::now() >= since => return Ok(()),
                Some(lack) if began.elapsed() > RECOVERY => bail!("not everything is well after {RECOVERY:?}: {lack}"),
                _ => {}
            }
        }
    }

    /// What is not as it should be.
    fn lack(&self) -> Result<Option<String>> {
        let operated = &self.scene.operated;
        if let Some((seat, _)) = self.watch.holders().into_iter().find(|(_, holder)| holder.is_none()) {
            return Ok(Some(format!("seat {seat} is not held by one gateway")));
        }
        if !self.datagrams.as_ref().is_none_or(Datagrams::flow) {
            return Ok(Some("packets do not flow every way".to_owned()));
        }
        for gateway in &operated.cloud.gateways {
            let name = gateway.name();
            let status = match ask::<Status>(gateway, "seats") {
                Ok(status) => status,
                Err(error) => return Ok(Some(format!("{name}: {error:#}"))),
            };
            if status.agent != AgentState::Heard {
                return Ok(Some(format!("{name}'s agent is {:?}", status.agent)));
            }
            if let Some(peer) = status.peers.iter().find(|peer| peer.diagnosis != Diagnosis::Well) {
                return Ok(Some(format!("{name} sees {} as {:?}", peer.name, peer.diagnosis)));
            }
            // Without one, the next failure would leave it empty.
            if let Some(seat) = status.seats.iter().find(|seat| seat.next.is_empty()) {
                return Ok(Some(format!("{name} knows of nobody who may take seat {}", seat.report.seat)));
            }
        }
        let new = warnings(operated).map(|now| now.difference(&self.warnings).next().cloned());
        Ok(new.unwrap_or_else(|error| Some(format!("{error:#}"))))
    }

    /// What was done before, and what the gateways tell of it.
    fn story(&self) -> String {
        let mut told = String::from("What was done last:\n");
        told.extend(self.said.iter().rev().take(8).rev().map(|line| format!("  {line}\n")));
        told += &format!("Gates:\n{}", self.watch.text());
        told += "History of the gateways:\n";
        told + &self.history(SystemTime::now().checked_sub(BEFORE).unwrap_or(UNIX_EPOCH))
    }

    /// What the gateways tell that happened since a time. A sentinel that was killed has taken its story with it.
    fn history(&self, since: SystemTime) -> String {
        let since = since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let (mut told, mut entries) = (String::new(), Vec::new());
        for gateway in &self.scene.operated.cloud.gateways {
            match ask::<Vec<Entry>>(gateway, "history") {
                Ok(history) => entries.extend(history.into_iter().filter(|entry| u128::from(entry.at) >= since)),
                Err(error) => told += &format!("    {} has no history: {error:#}\n", gateway.name()),
            }
        }
        entries.sort_by_key(|entry| entry.at);
        told.extend(story(&entries).iter().map(|line| format!("    {line}\n")));
        told
    }

    fn summary(&mut self) -> Result<String> {
        let mut text = summary::steps(&self.costs);
        if let Some(datagrams) = self.datagrams.take() {
            let (tallies, oddities) = datagrams.stop()?;
            text += &format!("\n{}", summary::packets(&self.ways, &tallies, &oddities));
        }
        let [empty, overlap] = self.watch.longest().map(|longest| longest.as_millis());
        text +=
            &format!("seats: at most {empty} ms without a holder, at most {overlap} ms with packets at two gateways\n");
        Ok(text)
    }
}

fn way_text(way: &Way) -> String {
    format!("{}/{} {}", way.tenant, way.connection, way.to)
}

/// What the controller and the gateways warn of.
fn warnings(operated: &Operated) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for collection in ["/gatewayPools", "/gateways", "/servers", "/virtualGateways"] {
        of_states(collection, &operated.get(collection)?, &mut found);
    }
    for gateway in &operated.cloud.gateways {
        let status = gateway.run(Command::new(program("gatewayctl")?).args(["status", "-o", "json"]))?;
        let status: StatusReport = serde_json::from_str(&status)?;
        found.extend(status.warnings.into_iter().map(|warning| format!("{}: {warning}", gateway.name())));
    }
    Ok(found)
}

/// Every configuration state below a value that is not a success.
fn of_states(name: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let name = fields
                .get("resourceId")
                .and_then(Value::as_str)
                .map_or_else(|| name.to_owned(), |id| format!("{name}/{id}"));
            if let Some(state) = fields.get("configurationState").filter(|state| state["status"] != "Success") {
                found.insert(format!("{name}: {state}"));
            }
            fields.values().for_each(|field| of_states(&name, field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| of_states(name, item, found)),
        _ => {}
    }
}
