//! Numbered traffic: every flow has a frame sent at each interval, by the kernel, and what arrives of it is counted there, too.

#[path = "../ebpf/src/numbered.rs"]
mod shared;

use crate::bench::rig::lab_programs;
use crate::node::Node;
use crate::precedence::run_first;
use crate::wait::until;
use anyhow::{Context, Result, anyhow, ensure};
use aya::Ebpf;
use aya::maps::{Array, DevMap, MapData};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use nix::net::if_::if_nametoindex;
use shared::{Arrivals, FLOWS_MAX, HEAD_WORDS, Head, MARK, Turn};
pub use shared::{FRAME, MARK_LEN};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

// SAFETY: plain data without padding, every bit pattern valid.
unsafe impl aya::Pod for Head {}
// SAFETY: as above.
unsafe impl aya::Pod for Turn {}
// SAFETY: as above.
unsafe impl aya::Pod for Arrivals {}

/// Between two frames of a flow.
pub const INTERVAL: Duration = Duration::from_millis(10);
/// Parts that a round is sent in, at equal distances, so that no queue has to hold it whole.
const PARTS: u32 = 5;
/// Frames that the kernel makes at once.
const BATCH: u32 = 64;

/// A flow: what its frames look like up to their mark, and how they arrive.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The frame, [`FRAME`] bytes of it; the mark is written over its end.
    pub frame: Vec<u8>,
    /// The interface that it is sent by.
    pub from: &'static str,
    /// The word that says whose it is when it arrives, as on the wire: the end of its IPv4 destination if it arrives as it was sent, VXLAN's
    /// identifier with the byte behind it, GRE's key, the VLAN's tag with the type behind it.
    pub whose: [u8; 4],
}

/// A frame's mark: what tells it from all others.
pub fn mark(flow: u32, number: u64) -> [u8; MARK_LEN] {
    let words = [u64::from(MARK) << 32 | u64::from(flow), number];
    let mut mark = [0; MARK_LEN];
    for (bytes, word) in mark.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    mark
}

/// What happened to the flows since an earlier look.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Frames that were sent.
    pub sent: u64,
    /// Frames that arrived, each counted once.
    pub arrived: u64,
    /// Frames that did not.
    pub lost: u64,
    /// Frames that arrived again.
    pub duplicates: u64,
    /// Frames that came after a later one.
    pub late: u64,
    /// Frames that came to another tenant.
    pub foreign: u64,
    /// For each flow the longest loss in a row, in milliseconds.
    pub outages: Vec<f64>,
    /// How long it took.
    pub time: Duration,
}

impl Account {
    /// Frames a second.
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.time.as_secs_f64()
    }
}

/// The account at one time.
#[derive(Clone, Debug)]
struct Look {
    number: u64,
    arrivals: Vec<Arrivals>,
    at: Instant,
}

/// The traffic.
pub struct Traffic {
    ends: Arc<Node>,
    turn: Array<MapData, Turn>,
    arrivals: Array<MapData, Arrivals>,
    trial: Array<MapData, u64>,
    trials: u64,
    flows: u32,
    frame: Vec<u8>,
    state: State,
    before: Option<Look>,
}

enum State {
    Still(Ebpf),
    Sending {
        ended: Arc<AtomicBool>,
        thread: JoinHandle<Result<Ebpf>>,
    },
    /// Only while one becomes the other.
    Neither,
}

impl Traffic {
    /// Traffic between these interfaces of a machine, which is not sent yet.
    pub fn new(ends: &Arc<Node>, interfaces: &[&'static str], flows: &[Flow]) -> Result<Self> {
        ensure!(flows.len() <= FLOWS_MAX as usize, "more than {FLOWS_MAX} flows");
        let mut programs = lab_programs()?;
        let mut take = |name: &str| programs.take_map(name).with_context(|| format!("no map {name}"));
        let mut heads: Array<MapData, Head> = take("HEADS")?.try_into()?;
        let mut devices: DevMap<MapData> = take("DEVICES")?.try_into()?;
        let (turn, arrivals, trial) =
            (take("TURN")?.try_into()?, take("ARRIVALS")?.try_into()?, take("TRIAL")?.try_into()?);
        for (flow, number) in flows.iter().zip(0u32..) {
            let slot = interfaces.iter().position(|name| *name == flow.from).context("a flow from nowhere")?;
            heads.set(number, head(flow, u32::try_from(slot)?)?, 0)?;
        }
        for name in ["number", "count"] {
            program(&mut programs, name)?.load().with_context(|| format!("cannot load the program {name}"))?;
        }
        ends.within_network(|| -> Result<()> {
            for (name, slot) in interfaces.iter().zip(0u32..) {
                devices.set(slot, if_nametoindex(*name)?, None, 0)?;
                program(&mut programs, "count")?.attach(name, XdpMode::Driver)?;
            }
            Ok(())
        })?;
        let frame = flows.first().context("no flows")?.frame.clone();
        let flows = u32::try_from(flows.len())?;
        let ends = ends.clone();
        let state = State::Still(programs);
        let mut new = Self { ends, turn, arrivals, trial, trials: 0, flows, frame, state, before: None };
        new.turn.set(0, Turn { number: 0, flow: 0, flows }, 0)?;
        Ok(new)
    }

    /// Sends from now on.
    pub fn start(&mut self) -> Result<()> {
        let State::Still(programs) = std::mem::replace(&mut self.state, State::Neither) else {
            return Err(anyhow!("it is sent already"));
        };
        let ended = Arc::new(AtomicBool::new(false));
        let (ends, told, frame, flows) = (self.ends.clone(), ended.clone(), self.frame.clone(), self.flows);
        let thread = std::thread::spawn(move || {
            ends.within_network(move || {
                run_first();
                send(programs, &told, &frame, flows)
            })
        });
        self.state = State::Sending { ended, thread };
        Ok(())
    }

    /// Sends no more, once a round is complete.
    pub fn stop(&mut self) -> Result<()> {
        if let State::Sending { ended, thread } = std::mem::replace(&mut self.state, State::Neither) {
            ended.store(true, Ordering::Relaxed);
            self.state = State::Still(thread.join().map_err(|_| anyhow!("the sender panicked"))??);
        }
        Ok(())
    }

    fn look(&self) -> Result<Look> {
        let number = self.turn.get(&0, 0)?.number;
        let arrivals = (0..self.flows).map(|flow| self.arrivals.get(&flow, 0)).collect::<Result<_, _>>()?;
        Ok(Look { number, arrivals, at: Instant::now() })
    }

    /// Begins an account.
    pub fn begin(&mut self) -> Result<()> {
        self.trials += 1;
        self.trial.set(0, self.trials, 0)?;
        self.before = Some(self.look()?);
        Ok(())
    }

    /// Waits until every flow's frames arrive, the newest of them.
    pub fn flows_all(&self, patience: Duration) -> Result<()> {
        let mut missing = Vec::new();
        let outcome = until(patience, "all flows to arrive", || {
            let sent = self.turn.get(&0, 0).ok()?.number;
            std::thread::sleep(2 * INTERVAL);
            let look = self.look().ok()?;
            missing =
                (0..).zip(&look.arrivals).filter(|(_, it)| it.next <= sent).map(|(flow, _): (u32, _)| flow).collect();
            missing.is_empty().then_some(())
        });
        outcome.with_context(|| {
            let first: Vec<u32> = missing.iter().copied().take(16).collect();
            format!("{} of {} flows do not arrive, of them {first:?}", missing.len(), self.flows)
        })
    }

    /// The account so far, which goes on.
    pub fn tally(&self) -> Result<Account> {
        let before = self.before.as_ref().context("no account was begun")?;
        Ok(self.difference(before, &self.look()?))
    }

    /// Ends the account. If no more is sent, what did not arrive in the end is lost as well.
    pub fn account(&mut self) -> Result<Account> {
        let before = self.before.take().context("no account was begun")?;
        let mut now = self.look()?;
        if matches!(self.state, State::Still(_)) {
            // What is under way arrives within a moment, or never does.
            let settled = until(Duration::from_secs(1), "all to arrive", || {
                now = self.look().ok()?;
                now.arrivals.iter().all(|it| it.next == now.number).then_some(())
            });
            drop(settled);
            for it in &mut now.arrivals {
                let missing = now.number.saturating_sub(it.next);
                it.lost += missing;
                if it.trial != self.trials {
                    (it.trial, it.longest_loss) = (self.trials, 0);
                }
                it.longest_loss = it.longest_loss.max(missing);
            }
        }
        Ok(self.difference(&before, &now))
    }

    fn difference(&self, before: &Look, now: &Look) -> Account {
        let time = now.at - before.at;
        let rounds = now.number - before.number;
        let interval = time.as_secs_f64() * 1e3 / rounds.max(1) as f64;
        let mut account = Account { sent: rounds * u64::from(self.flows), time, ..Account::default() };
        for (was, is) in before.arrivals.iter().zip(&now.arrivals) {
            account.arrived += is.arrived - was.arrived;
            // A number that came late was lost before.
            account.lost += is.lost.saturating_sub(was.lost);
            account.duplicates += is.duplicates - was.duplicates;
            account.late += is.late - was.late;
            account.foreign += is.foreign - was.foreign;
            let longest = if is.trial == self.trials { is.longest_loss } else { 0 };
            account.outages.push(longest as f64 * interval);
        }
        account
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        // It is gone either way.
        let _ = self.stop();
    }
}

fn head(flow: &Flow, slot: u32) -> Result<Head> {
    ensure!(flow.frame.len() == FRAME, "a frame of {} bytes instead of {FRAME}", flow.frame.len());
    let mut words = [0; HEAD_WORDS];
    for (word, bytes) in words.iter_mut().zip(flow.frame.chunks_exact(8)) {
        *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    Ok(Head { words, slot, whose: u32::from_ne_bytes(flow.whose) })
}

/// Sends a part of a round at each of its times. A part that comes late is not made up for: the flows are what they are, and their frames at
/// most one at a time.
fn send(mut programs: Ebpf, ended: &AtomicBool, frame: &[u8], flows: u32) -> Result<Ebpf> {
    let parts = PARTS.min(flows);
    let step = INTERVAL / parts;
    let mut due = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        for part in 0..parts {
            let frames = flows * (part + 1) / parts - flows * part / parts;
            let options = TestRunOptions {
                data_in: Some(frame),
                repeat: frames,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH.min(frames)),
                ..TestRunOptions::new()
            };
            program(&mut programs, "number")?.test_run(options).context("the kernel does not send")?;
            due += step;
            let now = Instant::now();
            match due.checked_duration_since(now) {
                Some(left) => std::thread::sleep(left),
                None => due = now,
            }
        }
    }
    Ok(programs)
}

fn program<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(programs.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}
