//! The gates of all gateways, looked at in their kernels: they tell who holds what even while a gateway's processes are stopped or dead.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use gateway_common::SeatId;
use gateway_common::gate::State;
use gateway_user::api::report::SeatReport;
use gateway_user::dataplane::pins::{DEFAULT as PINS, Pins};
use gateway_user::dataplane::seats::Gates;
use gateway_user::sentinel::process::now;
use seat::Timers;

use super::judge::{Gate, Judge};
use crate::gateway::program;
use crate::node::Node;

/// Between two looks at all gates.
const LOOK: Duration = Duration::from_millis(5);
/// Between two times that a gateway is asked where its gates are.
const ASK: Duration = Duration::from_secs(1);

/// Looks all the time.
pub struct Watch {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    ends: AtomicBool,
    gateways: Vec<Gateway>,
    judged: Mutex<Judged>,
}

struct Gateway {
    node: Arc<Node>,
    /// Its kernel has nothing, as its host has no power.
    is_off: AtomicBool,
    sight: Mutex<Option<Sight>>,
}

struct Sight {
    gates: Gates,
    slots: BTreeMap<String, SeatId>,
}

#[derive(Default)]
struct Judged {
    judges: BTreeMap<String, Judge>,
    violations: Vec<String>,
}

impl Gateway {
    fn sight(&self) -> MutexGuard<'_, Option<Sight>> {
        self.sight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks where its gates are. What was known stays if there is no answer, since an agent that is dead has gates all the same.
    fn ask(&self) {
        if self.is_off.load(Ordering::Relaxed) {
            return;
        }
        let Ok(sight) = Sight::of(&self.node) else { return };
        let mut known = self.sight();
        // It may have lost its power meanwhile.
        if !self.is_off.load(Ordering::Relaxed) && !sight.slots.is_empty() {
            *known = Some(sight);
        }
    }
}

impl Sight {
    fn of(gateway: &Node) -> Result<Self> {
        let shown = gateway.run(Command::new(program("gatewayctl")?).args(["show", "seats", "-o", "json"]))?;
        let seats: Vec<SeatReport> = serde_json::from_str(&shown)?;
        let slots = seats.into_iter().filter_map(|seat| Some((seat.name?, SeatId(seat.id)))).collect();
        let gates = gateway.within(|| Gates::open(&Pins::new(Path::new(PINS)).maps())).context("its gates")?;
        Ok(Self { gates, slots })
    }
}

impl Shared {
    fn judged(&self) -> MutexGuard<'_, Judged> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the gates of each seat.
    fn read(&self) -> BTreeMap<String, Vec<Gate<'_>>> {
        let mut seats = BTreeMap::<String, Vec<Gate<'_>>>::new();
        for gateway in &self.gateways {
            let sight = gateway.sight();
            let Some(Sight { gates, slots }) = &*sight else { continue };
            for (seat, slot) in slots {
                let words = gates.read(*slot);
                seats.entry(seat.clone()).or_default().push(Gate {
                    gateway: gateway.node.name(),
                    state: words.gate.state(),
                    is_open: words.gate.is_open(now().0),
                    epoch: words.epoch.0,
                    seen: words.seen.0,
                });
            }
        }
        seats
    }

    fn look(&self) {
        let seats = self.read();
        let mut judged = self.judged();
        let Judged { judges, violations } = &mut *judged;
        // A seat that no gateway knows of at present is held by nobody.
        for (seat, judge) in judges {
            let gates = seats.get(seat).map_or(&[][..], Vec::as_slice);
            if let Err(violation) = judge.look(now().0, gates) {
                violations.push(format!("seat {seat}: {violation}"));
            }
        }
    }
}

impl Watch {
    /// Begins, with the seats of a pool with these timers.
    pub fn start(gateways: &[Arc<Node>], seats: &[String], timers: &Timers) -> Result<Self> {
        let one = |node: &Arc<Node>| -> Result<Gateway> {
            let sight = Sight::of(node).with_context(|| format!("{} does not tell of its seats", node.name()))?;
            Ok(Gateway { node: Arc::clone(node), is_off: AtomicBool::new(false), sight: Mutex::new(Some(sight)) })
        };
        let gateways = gateways.iter().map(one).collect::<Result<_>>()?;
        let judges = seats.iter().map(|seat| (seat.clone(), Judge::new(timers))).collect();
        let judged = Mutex::new(Judged { judges, violations: Vec::new() });
        let shared = Arc::new(Shared { ends: AtomicBool::new(false), gateways, judged });
        let mut threads = Vec::new();
        for index in 0..shared.gateways.len() {
            let told = Arc::clone(&shared);
            let asks = move || told.gateways[index].ask();
            threads.push(repeat("asks for gates", &shared, ASK, asks)?);
        }
        let told = Arc::clone(&shared);
        threads.push(repeat("looks at gates", &shared, LOOK, move || told.look())?);
        Ok(Self { shared, threads })
    }

    /// A gateway's host has no power any more, or has it again.
    pub fn power(&self, gateway: &str, power: Power) {
        let Some(gateway) = self.shared.gateways.iter().find(|it| it.node.name() == gateway) else { return };
        gateway.is_off.store(power == Power::Off, Ordering::Relaxed);
        *gateway.sight() = None;
    }

    /// Who holds each seat, and under which epoch; none for a seat that nobody holds, or several.
    pub fn holders(&self) -> BTreeMap<String, Option<(String, u64)>> {
        let one = |gates: &Vec<Gate<'_>>| {
            let mut open = gates.iter().filter(|gate| gate.is_open);
            let first = open.next().filter(|gate| gate.state == State::Held)?;
            open.next().is_none().then(|| (first.gateway.to_owned(), first.epoch))
        };
        let read = self.shared.read();
        let seats: Vec<String> = self.shared.judged().judges.keys().cloned().collect();
        seats.into_iter().map(|seat| (seat.clone(), read.get(&seat).and_then(one))).collect()
    }

    /// What must not be and was seen.
    pub fn violation(&self) -> Option<String> {
        self.shared.judged().violations.first().cloned()
    }

    /// How long at most nobody held a seat, and how long packets passed at several gateways.
    pub fn longest(&self) -> [Duration; 2] {
        let judged = self.shared.judged();
        let most = |of: fn(&Judge) -> Duration| judged.judges.values().map(of).max().unwrap_or_default();
        [most(|judge| judge.longest_empty), most(|judge| judge.longest_overlap)]
    }

    /// What the gates say, for a person.
    pub fn text(&self) -> String {
        let line = |(seat, gates): (&String, &Vec<Gate<'_>>)| format!("  seat {seat}: {gates:?}\n");
        self.shared.read().iter().map(line).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

/// Whether a host has power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It has.
    On,
    /// It has not.
    Off,
}

fn repeat(
    name: &str,
    shared: &Arc<Shared>,
    pause: Duration,
    what: impl Fn() + Send + 'static,
) -> Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let turns = move || {
        while !shared.ends.load(Ordering::Relaxed) {
            what();
            std::thread::sleep(pause);
        }
    };
    Ok(std::thread::Builder::new().name(name.to_owned()).spawn(turns)?)
}
