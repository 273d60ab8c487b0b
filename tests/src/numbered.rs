//! Numbered traffic: every flow has a frame sent at each interval, by the kernel, and what arrives of it is counted there, too.
//!
//! ```text
//! packet socket ═ [number] ─> an interface … an interface [count]
//! ```
//!
//! User space gives the time alone: for each frame that it puts into a cable, a program at the cable's other end sends the next flow's.

#[path = "../ebpf/src/numbered.rs"]
mod shared;

use crate::bench::rig::lab_programs;
use crate::frame_socket::FrameSocket;
use crate::link::{End, cable};
use crate::node::Node;
use crate::precedence::run_first;
use crate::wait::until;
use anyhow::{Context, Result, anyhow, ensure};
use aya::Ebpf;
use aya::maps::{Array, DevMap, MapData};
use aya::programs::{Xdp, XdpMode};
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

/// Between two frames of a flow, where nothing else is said.
pub const INTERVAL: Duration = Duration::from_millis(10);
/// Parts that a round is sent in, at equal distances, so that no queue has to hold it whole.
const PARTS: u32 = 20;
/// Frames that are put into the cable at once: a veth's ring has room for four times as many.
const BATCH: usize = 64;
/// The cable's ends.
const CLOCK: [&str; 2] = ["clock0", "clock1"];

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
    turn: Turn,
    arrivals: Vec<Arrivals>,
    at: Instant,
}

impl Look {
    /// The number that a flow's next frame will have.
    fn next(&self, flow: usize) -> u64 {
        self.turn.number + u64::from(flow < self.turn.flow as usize)
    }

    /// Frames of a flow that were sent since another look. What had arrived by then is where it begins: traffic went on while it was read.
    fn sent_since(&self, before: &Self, flow: usize) -> u64 {
        self.next(flow).max(self.arrivals[flow].next) - before.arrivals[flow].next
    }
}

/// The traffic.
pub struct Traffic {
    ends: Arc<Node>,
    turn: Array<MapData, Turn>,
    arrivals: Array<MapData, Arrivals>,
    trial: Array<MapData, u64>,
    trials: u64,
    flows: u32,
    interval: Duration,
    sending: Option<Sending>,
    before: Option<Look>,
    /// With the links that keep the programs where they are.
    _programs: Ebpf,
}

struct Sending {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
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
        let [near, far] = CLOCK;
        cable(1500, End::new(ends, near), End::new(ends, far))?;
        ends.within_network(|| -> Result<()> {
            program(&mut programs, "number")?.attach(far, XdpMode::Driver)?;
            for (name, slot) in interfaces.iter().zip(0u32..) {
                devices.set(slot, if_nametoindex(*name)?, None, 0)?;
                program(&mut programs, "count")?.attach(name, XdpMode::Driver)?;
            }
            Ok(())
        })?;
        let flows = u32::try_from(flows.len())?;
        let ends = ends.clone();
        let mut new = Self {
            ends,
            turn,
            arrivals,
            trial,
            trials: 0,
            flows,
            interval: INTERVAL,
            sending: None,
            before: None,
            _programs: programs,
        };
        new.turn.set(0, Turn { number: 0, flow: 0, flows }, 0)?;
        Ok(new)
    }

    /// The machine that it comes from and goes to.
    pub fn ends(&self) -> &Node {
        &self.ends
    }

    /// How many flows there are.
    pub const fn flows(&self) -> u32 {
        self.flows
    }

    /// Sends from now on.
    pub fn start(&mut self) -> Result<()> {
        self.start_every(INTERVAL)
    }

    /// Sends a frame of each flow at each interval from now on.
    pub fn start_every(&mut self, interval: Duration) -> Result<()> {
        ensure!(self.sending.is_none(), "it is sent already");
        self.interval = interval;
        let clock = FrameSocket::open(&self.ends, CLOCK[0])?;
        let ended = Arc::new(AtomicBool::new(false));
        let (told, flows) = (ended.clone(), self.flows as usize);
        let thread = std::thread::Builder::new().name("traffic".into()).spawn(move || {
            run_first();
            send(&clock, &told, flows, interval)
        })?;
        self.sending = Some(Sending { ended, thread });
        Ok(())
    }

    /// Sends no more.
    pub fn stop(&mut self) -> Result<()> {
        let Some(Sending { ended, thread }) = self.sending.take() else { return Ok(()) };
        ended.store(true, Ordering::Relaxed);
        thread.join().map_err(|_| anyhow!("the sender panicked"))?
    }

    fn look(&self) -> Result<Look> {
        let turn = self.turn.get(&0, 0)?;
        let arrivals = (0..self.flows).map(|flow| self.arrivals.get(&flow, 0)).collect::<Result<_, _>>()?;
        Ok(Look { turn, arrivals, at: Instant::now() })
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
        let is_sent = self.sending.as_ref().is_some_and(|sending| !sending.thread.is_finished());
        ensure!(is_sent, "nothing is sent any more");
        let mut missing = Vec::new();
        let outcome = until(patience, "all flows to arrive", || {
            let number = || self.turn.get(&0, 0).ok().map(|turn| turn.number);
            let sent = number()?;
            // On a machine that is short of time a round takes longer than it should.
            let is_over = || number().filter(|now| *now > sent + 1);
            until(Duration::from_secs(1), "the round to be over", is_over).ok()?;
            std::thread::sleep(self.interval / 2);
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
        if self.sending.is_none() {
            // What is under way arrives within a moment, or never does.
            let settled = until(Duration::from_secs(1), "all to arrive", || {
                now = Look { at: now.at, ..self.look().ok()? };
                now.arrivals.iter().enumerate().all(|(flow, it)| it.next == now.next(flow)).then_some(())
            });
            drop(settled);
            for flow in 0..now.arrivals.len() {
                let next = now.next(flow);
                let it = &mut now.arrivals[flow];
                let missing = next.saturating_sub(it.next);
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
        let sent = (0..now.arrivals.len()).map(|flow| now.sent_since(before, flow)).sum::<u64>();
        let interval = time.as_secs_f64() * 1e3 * f64::from(self.flows) / sent.max(1) as f64;
        let mut account = Account { sent, time, ..Account::default() };
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

/// Gives the time for a part of a round at each of its times. A part that comes late is not made up for.
fn send(clock: &FrameSocket, ended: &AtomicBool, flows: usize, interval: Duration) -> Result<()> {
    let parts = PARTS.min(u32::try_from(flows)?);
    let step = interval / parts;
    let frame = [0; FRAME];
    let mut due = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        for part in 0..parts as usize {
            let (from, to) = (flows * part / parts as usize, flows * (part + 1) / parts as usize);
            let mut left = to - from;
            while left > 0 {
                let sent = clock.send_many(&frame, left.min(BATCH))?;
                left -= sent;
                if sent == 0 {
                    std::thread::sleep(step / 10);
                }
            }
            due += step;
            let now = Instant::now();
            match due.checked_duration_since(now) {
                Some(left) => std::thread::sleep(left),
                None => due = now,
            }
        }
    }
    Ok(())
}

fn program<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(programs.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}
