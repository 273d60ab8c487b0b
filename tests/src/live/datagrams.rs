//! Numbered datagrams between a tenant's machines and its sites, both ways over every connection, and what becomes of them.
//!
//! Plain sockets in the machines' own networks: one thread sends a datagram every way at each tick, one for each way receives.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::Machine;
use crate::cloud::Members;
use crate::precedence::run_first;
use crate::tenants::{DC, HQ, SUBNETS, address};
use crate::wait::until;

/// Between two datagrams of a way.
const INTERVAL: Duration = Duration::from_millis(5);
/// Datagrams of a way of which one has arrived if the way is well.
const LATELY: usize = 20;
/// How long the last datagrams may be under way.
const UNDER_WAY: Duration = Duration::from_millis(300);
const PORT: u16 = 9;

/// A way, from a machine to another one over a connection.
#[derive(Clone, Debug)]
pub struct Way {
    /// Whose.
    pub tenant: &'static str,
    /// The connection's name.
    pub connection: &'static str,
    /// Where to, in a word.
    pub to: &'static str,
    ends: [(Machine, &'static str); 2],
}

impl Way {
    /// All ways of a tenant.
    pub fn of(members: &Members) -> Vec<Self> {
        let tenant = members.tenant.name;
        let site = |connection, vm: usize, site: &Machine, at| {
            let vm = (Machine::clone(&members.vms[vm]), SUBNETS[vm].addresses[0]);
            let site = (Machine::clone(site), at);
            [
                Self { tenant, connection, to: "to site", ends: [vm.clone(), site.clone()] },
                Self { tenant, connection, to: "to VM", ends: [site, vm] },
            ]
        };
        [site("hq", 0, &members.hq, HQ[0]), site("dc", 1, &members.dc, DC[0])].concat()
    }

    fn socket(&self, end: usize, port: u16) -> Result<UdpSocket> {
        let (machine, at) = &self.ends[end];
        let socket = machine.within_network(|| UdpSocket::bind(SocketAddr::new(address(at), port)));
        socket.with_context(|| format!("on {}: cannot use port {port} of {at}", machine.name()))
    }
}

/// What became of a way's datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Sent.
    pub sent: usize,
    /// Of those, lost.
    pub lost: usize,
    /// From the first of the longest loss in a row until one was sent that arrived.
    pub outage: Duration,
}

/// What arrived otherwise than it was sent, on all ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    /// Datagrams that arrived once more.
    pub duplicates: usize,
    /// Datagrams that arrived after a later one.
    pub reordered: usize,
    /// Datagrams that arrived at the end of another way: where, and what they said of themselves.
    pub astray: Vec<Astray>,
}

/// A datagram that arrived at the end of another way than it was sent on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Astray {
    /// The way at whose end it arrived, by its place among all.
    pub at: usize,
    /// The way that it says.
    pub of: usize,
    /// Its number.
    pub number: usize,
}

/// The traffic.
pub struct Datagrams {
    log: Arc<Log>,
    sender: Option<JoinHandle<()>>,
    receivers: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Log {
    sends_no_more: AtomicBool,
    receives_no_more: AtomicBool,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// When each number was sent, on all ways.
    sent: Vec<Instant>,
    /// Which numbers have arrived, by way.
    arrived: Vec<Vec<bool>>,
    oddities: Oddities,
}

impl Log {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Datagrams {
    /// Starts.
    pub fn start(ways: &[Way]) -> Result<Self> {
        let log = Arc::<Log>::default();
        log.entries().arrived.resize(ways.len(), Vec::new());
        let mut receivers = Vec::new();
        let mut sockets = Vec::new();
        for (number, way) in ways.iter().enumerate() {
            let socket = way.socket(1, PORT)?;
            socket.set_read_timeout(Some(UNDER_WAY / 4))?;
            sockets.push((way.socket(0, 0)?, SocketAddr::new(address(way.ends[1].1), PORT)));
            let log = Arc::clone(&log);
            receivers.push(std::thread::Builder::new().name("receiver".to_owned()).spawn(move || {
                while !log.receives_no_more.load(Ordering::Relaxed) {
                    receive(&socket, number, &log);
                }
            })?);
        }
        let told = Arc::clone(&log);
        let sender = std::thread::Builder::new().name("sender".to_owned()).spawn(move || {
            run_first();
            send(&sockets, &told);
        })?;
        Ok(Self { log, sender: Some(sender), receivers })
    }

    /// How many were sent on every way.
    pub fn sent(&self) -> usize {
        self.log.entries().sent.len()
    }

    /// Whether something arrived on every way lately.
    pub fn flow(&self) -> bool {
        let entries = self.log.entries();
        let oldest = entries.sent.len().saturating_sub(LATELY);
        entries.sent.len() >= LATELY && entries.arrived.iter().all(|arrived| arrived.len() > oldest)
    }

    /// What became, way by way, of those that were sent from this number on, but for the last ones, which may be under way.
    pub fn since(&self, number: usize) -> Vec<Tally> {
        let entries = self.log.entries();
        let under_way = Instant::now().checked_sub(UNDER_WAY);
        let end = entries.sent.partition_point(|at| under_way.is_some_and(|under_way| *at < under_way)).max(number);
        let of = |arrived: &Vec<bool>| tally(&entries.sent[number..end], arrived.get(number..).unwrap_or_default());
        entries.arrived.iter().map(of).collect()
    }

    /// For how long nothing of what is sent has arrived, way by way.
    pub fn silences(&self) -> Vec<Duration> {
        let entries = self.log.entries();
        let since = |arrived: &Vec<bool>| entries.sent.get(arrived.len()).map_or(Duration::ZERO, Instant::elapsed);
        entries.arrived.iter().map(since).collect()
    }

    /// What has arrived otherwise than it was sent.
    pub fn oddities(&self) -> Oddities {
        self.log.entries().oddities.clone()
    }

    /// Ends; what became of them, way by way, and what arrived otherwise than it was sent.
    pub fn stop(mut self) -> Result<(Vec<Tally>, Oddities)> {
        self.log.sends_no_more.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            sender.join().map_err(|_| anyhow!("the sender panicked"))?;
        }
        let all = || {
            let entries = self.log.entries();
            entries.arrived.iter().all(|arrived| arrived.len() == entries.sent.len()).then_some(())
        };
        // What has not arrived by then is lost, which is for the tally to say.
        let _ = until(UNDER_WAY, "the last ones", all);
        let entries = self.log.entries();
        Ok((entries.arrived.iter().map(|arrived| tally(&entries.sent, arrived)).collect(), entries.oddities.clone()))
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.log.sends_no_more.store(true, Ordering::Relaxed);
        self.log.receives_no_more.store(true, Ordering::Relaxed);
        for thread in self.sender.take().into_iter().chain(self.receivers.drain(..)) {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

/// A tick that comes late is not made up for: an outage is reckoned by when datagrams were sent, not by how many.
fn send(sockets: &[(UdpSocket, SocketAddr)], log: &Log) {
    let mut due = Instant::now();
    while !log.sends_no_more.load(Ordering::Relaxed) {
        let now = Instant::now();
        let number = {
            let sent = &mut log.entries().sent;
            sent.push(now);
            sent.len() as u64 - 1
        };
        for (way, (socket, to)) in (0u64..).zip(sockets) {
            let datagram = [way.to_be_bytes(), number.to_be_bytes()].concat();
            // What cannot be sent, since nothing leads there, is lost like any other.
            let _ = socket.send_to(&datagram, to);
        }
        due += INTERVAL;
        match due.checked_duration_since(Instant::now()) {
            Some(left) => std::thread::sleep(left),
            None => due = now,
        }
    }
}

fn receive(socket: &UdpSocket, own: usize, log: &Log) {
    let mut datagram = [0u8; 16];
    let Ok(16) = socket.recv(&mut datagram) else { return };
    let [way, number] = [0, 8].map(|at| {
        let word = datagram[at..at + 8].iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        usize::try_from(word).unwrap_or(usize::MAX)
    });
    let mut entries = log.entries();
    if way != own || number >= entries.sent.len() {
        entries.oddities.astray.push(Astray { at: own, of: way, number });
        return;
    }
    let arrived = &mut entries.arrived[own];
    let is_late = number < arrived.len();
    if !is_late {
        arrived.resize(number + 1, false);
    }
    let is_known = std::mem::replace(&mut arrived[number], true);
    entries.oddities.duplicates += usize::from(is_known);
    entries.oddities.reordered += usize::from(is_late && !is_known);
}

fn tally(sent: &[Instant], arrived: &[bool]) -> Tally {
    let has_arrived = |number: usize| arrived.get(number).copied().unwrap_or_default();
    let (mut lost, mut outage, mut since) = (0, Duration::ZERO, None);
    for (number, at) in sent.iter().enumerate() {
        if has_arrived(number) {
            outage = outage.max(since.take().map_or(Duration::ZERO, |since| *at - since));
        } else {
            lost += 1;
            since.get_or_insert(*at);
        }
    }
    if let (Some(since), Some(last)) = (since, sent.last()) {
        outage = outage.max(*last - since + INTERVAL);
    }
    Tally { sent: sent.len(), lost, outage }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lasts_from_the_first_that_is_lost_until_one_is_sent_that_arrives() {
        let start = Instant::now();
        let sent: Vec<Instant> = [0, 5, 10, 35, 40, 45].map(|ms| start + Duration::from_millis(ms)).into();
        let of = |arrived: &[bool]| {
            let Tally { sent: 6, lost, outage } = tally(&sent, arrived) else { panic!("six were sent") };
            (lost, outage.as_millis())
        };
        assert_eq!(of(&[true; 6]), (0, 0));
        assert_eq!(of(&[true, false, false, true, false, true]), (3, 30));
        assert_eq!(of(&[true, true, true, true]), (2, 10));
        assert_eq!(of(&[]), (6, 50));
    }
}
