//! A tenant's packets along every kind of way, under which nothing may be lost, whatever is done elsewhere.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Members, Operated};
use crate::gateway::Log;
use crate::node::{Node, Running};
use crate::ping::{Ping, Stream};
use crate::tenants::{DC, HQ, SUBNETS, address};
use crate::wait::{SOON, until};

/// So seldom that no queue of the lab's ever fills: what is lost, somebody dropped.
const INTERVAL: Duration = Duration::from_millis(20);
/// How many more answers there have to be before something else is done.
const MORE: usize = 40;
/// What is sent at a time on the TCP connection: a few segments.
const BLOCK: usize = 8 << 10;
/// What iperf3 sends in a second, each way, for the same reason.
const PACE: &str = "2M";

/// A tenant's traffic.
pub struct Traffic {
    streams: Vec<(String, Stream)>,
    dialogue: Dialogue,
    iperf3: Iperf3,
}

/// What went over the way while nothing was lost.
#[derive(Debug)]
pub struct Noticed {
    /// Echo requests, each of which was answered.
    pub echoes: usize,
    /// Blocks that came back over a TCP connection.
    pub blocks: usize,
    /// What iperf3 counts there and back: bytes, and segments that TCP sent again, which on a slow machine it does before an answer comes.
    pub iperf3: [(u64, u64); 2],
}

impl Traffic {
    /// Starts once packets flow.
    pub fn start(members: &Members) -> Result<Self> {
        let [vm1, vm2] = &members.vms;
        let ways = [(vm1, SUBNETS[1].addresses[0]), (vm1, HQ[0]), (&members.hq, SUBNETS[0].addresses[0]), (vm2, DC[0])];
        let mut streams = Vec::new();
        for (from, to) in ways {
            let ping = Ping::to(address(to));
            let answer = ping.until_reply(from, SOON * 2)?;
            ensure!(answer.is_reply(), "{} to {to}: {answer:?}", from.name());
            streams.push((format!("{} to {to}", from.name()), ping.stream(from, INTERVAL)?));
        }
        let dialogue = Dialogue::start(vm2, &members.hq, HQ[0])?;
        Ok(Self { streams, dialogue, iperf3: Iperf3::start(vm1, &members.hq, HQ[0])? })
    }

    /// Waits until more was answered on every way.
    pub fn go_on(&self) -> Result<()> {
        for (way, stream) in &self.streams {
            stream.go_on(MORE).with_context(|| way.clone())?;
        }
        self.dialogue.go_on()
    }

    /// Ends it, and fails if anything was lost.
    pub fn stop(self) -> Result<Noticed> {
        let iperf3 = self.iperf3.stop();
        let tallies: Vec<_> = self.streams.into_iter().map(|(way, stream)| (way, stream.stop())).collect();
        let echoes = tallies.iter().map(|(_, tally)| tally.sent).sum();
        let lossy: Vec<_> = tallies.into_iter().filter(|(_, tally)| !tally.lost.is_empty()).collect();
        let lost = || format!("these lost echo requests: {lossy:?}");
        let blocks = self.dialogue.stop().context("the TCP connection was disturbed").with_context(lost)?;
        let iperf3 = iperf3.context("iperf3 was disturbed").with_context(lost)?;
        ensure!(lossy.is_empty(), "{}", lost());
        Ok(Noticed { echoes, blocks, iperf3 })
    }
}

/// A TCP connection on which one end sends blocks and the other sends them back.
struct Dialogue {
    ending: Arc<AtomicBool>,
    exchanged: Arc<AtomicUsize>,
    ends: [JoinHandle<Result<()>>; 2],
}

impl Dialogue {
    fn start(from: &Node, to: &Node, at: &str) -> Result<Self> {
        let listener = to.within(|| TcpListener::bind(SocketAddr::new(address(at), 0)))?;
        let listening = listener.local_addr()?;
        let mut caller = from.within(|| TcpStream::connect_timeout(&listening, SOON))?;
        let mut called = listener.accept()?.0;
        caller.set_read_timeout(Some(SOON))?;
        let (ending, exchanged) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (until, count) = (Arc::clone(&ending), Arc::clone(&exchanged));
        let calling = std::thread::spawn(move || {
            let mut back = vec![0u8; BLOCK];
            while !until.load(Ordering::Relaxed) {
                let block = vec![count.load(Ordering::Relaxed) as u8; BLOCK];
                caller.write_all(&block).context("cannot send")?;
                caller.read_exact(&mut back).context("nothing comes back")?;
                ensure!(block == back, "something else comes back");
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(INTERVAL);
            }
            Ok(())
        });
        let answering = std::thread::spawn(move || {
            let mut buffer = vec![0u8; BLOCK];
            loop {
                match called.read(&mut buffer).context("cannot receive")? {
                    0 => return Ok(()),
                    length => called.write_all(&buffer[..length]).context("cannot send back")?,
                }
            }
        });
        Ok(Self { ending, exchanged, ends: [calling, answering] })
    }

    fn go_on(&self) -> Result<()> {
        let wanted = self.exchanged.load(Ordering::Relaxed) + MORE;
        until(SOON, "the TCP connection to go on", || {
            let ended = self.ends.iter().any(JoinHandle::is_finished);
            (ended || self.exchanged.load(Ordering::Relaxed) >= wanted).then_some(())
        })
    }

    fn stop(self) -> Result<usize> {
        let ended = self.ends.iter().any(JoinHandle::is_finished);
        self.ending.store(true, Ordering::Relaxed);
        for end in self.ends {
            end.join().map_err(|_| anyhow::anyhow!("an end of the connection panicked"))??;
        }
        ensure!(!ended, "the connection ended by itself");
        Ok(self.exchanged.load(Ordering::Relaxed))
    }
}

/// iperf3, both ways at once.
struct Iperf3 {
    _server: Running,
    client: Running,
}

impl Iperf3 {
    fn start(from: &Node, to: &Node, at: &str) -> Result<Self> {
        let mut server = Command::new("iperf3");
        server.args(["--server", "--one-off", "--forceflush", "--bind", at]).stdin(Stdio::null());
        let mut server = to.spawn(server.stdout(Stdio::piped()).stderr(Stdio::null()))?;
        let said = Log::default();
        said.follow(server.child().stdout.take().context("iperf3 has no standard output")?);
        until(SOON, "iperf3 to listen", || said.text().contains("Server listening").then_some(()))?;
        let mut client = Command::new("iperf3");
        client.args(["--client", at, "--bidir", "--bitrate", PACE, "--length", "8K", "--time", "0", "--json"]);
        let client = from.spawn(client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()))?;
        // What it sends and receives.
        until(SOON, "iperf3 to begin", || said.text().contains("TX-S").then_some(()))?;
        Ok(Self { _server: server, client })
    }

    /// Interrupts it, and reads its report; it is an error if it has ended before.
    fn stop(mut self) -> Result<[(u64, u64); 2]> {
        self.client.signal(Signal::SIGINT)?;
        let mut printed = String::new();
        self.client.child().stdout.take().context("iperf3 has no standard output")?.read_to_string(&mut printed)?;
        let report: Value = serde_json::from_str(&printed).with_context(|| format!("iperf3 printed {printed}"))?;
        let error = report["error"].as_str().unwrap_or("it ended by itself");
        ensure!(error.starts_with("interrupt"), "{error}");
        let carried = ["sum_sent", "sum_received_bidir_reverse"].map(|way| {
            let sum = &report["end"][way];
            (sum["bytes"].as_u64().unwrap_or(0), sum["retransmits"].as_u64().unwrap_or(0))
        });
        ensure!(carried.iter().all(|(bytes, _)| *bytes > 0), "{}", report["end"]);
        Ok(carried)
    }
}

/// What a gateway counts of a tenant's connections.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    to_site: u64,
    dropped: Vec<(String, String, u64)>,
}

impl Seen {
    /// What the gateway that carries all of the tenant's connections has counted.
    pub fn at(operated: &Operated, gateway: &str, tenant: &str) -> Result<Self> {
        let ours: Vec<_> =
            operated.connections(gateway)?.into_iter().filter(|connection| connection.tenant == tenant).collect();
        let hq = ours.iter().find(|connection| connection.name == "hq");
        let to_site = hq.with_context(|| format!("{gateway} has {ours:?}"))?.traffic.out_packets;
        // A site's kernel sends multicasts of itself, which go nowhere.
        let dropped = ours.iter().flat_map(|connection| {
            let drops = connection.traffic.drops.iter().filter(|drop| drop.reason != "martian");
            drops.map(|drop| (connection.name.clone(), drop.reason.clone(), drop.packets))
        });
        Ok(Self { to_site, dropped: dropped.collect() })
    }

    /// Fails if anything was dropped since, or nothing was let through.
    pub fn went_on_since(&self, before: &Self) -> Result<()> {
        ensure!(self.dropped == before.dropped, "dropped before: {:?}, after: {:?}", before.dropped, self.dropped);
        ensure!(self.to_site >= before.to_site + MORE as u64, "{} and {} packets", before.to_site, self.to_site);
        Ok(())
    }
}
