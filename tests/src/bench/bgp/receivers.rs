//! Who receives: other people's daemons and our programs, each a process whose time and memory are looked at from outside.

use super::super::memory::kibibytes;
use crate::node::{Node, Running};
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The receiver's system.
pub const OURS: u32 = 64512;
/// How long a daemon may take to start with all that it is configured with.
const START: Duration = Duration::from_secs(120);
/// How often a daemon is asked how far it is. Its answer costs it time, too.
const ASK: Duration = Duration::from_millis(250);
/// Over this time a daemon is looked at to see whether it is done.
const QUIET: Duration = Duration::from_millis(200);
/// The longest hold time there is, in seconds.
const LONGEST: u16 = u16::MAX;
/// The share of that time that one which is done may still use.
const IDLE: f64 = 0.02;

/// What a process has used.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Of the processor, in seconds, all threads and those that have ended.
    pub processor: f64,
    /// Resident memory, in KiB.
    pub memory: u64,
}

/// What a process has used until now.
pub fn used(process: u32) -> Result<Used> {
    let clock = clock_getcpuclockid(Pid::from_raw(process.try_into()?))?;
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    Ok(Used { processor: Duration::from(clock.now()?).as_secs_f64(), memory: kibibytes(&status, "VmRSS:")? })
}

/// Waits until a process has nothing to do any more. What it has used by then.
pub fn quiet(process: u32, patience: Duration) -> Result<Used> {
    let start = Instant::now();
    let mut before = used(process)?;
    loop {
        std::thread::sleep(QUIET);
        let now = used(process)?;
        if now.processor - before.processor < QUIET.as_secs_f64() * IDLE {
            return Ok(now);
        }
        ensure!(start.elapsed() < patience, "a daemon was busy for {} s", patience.as_secs());
        before = now;
    }
}

/// A neighbour of a receiver.
#[derive(Clone, Copy, Debug)]
pub struct Neighbour {
    /// Its tenant.
    pub tenant: usize,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its system.
    pub asn: u32,
}

/// A daemon on a machine of the lab.
pub struct Receiver {
    /// What it is called in the table.
    pub name: &'static str,
    node: Arc<Node>,
    process: Running,
    counter: Counter,
}

/// How a receiver is asked how many prefixes it has taken in.
enum Counter {
    Frr,
    Bird,
    GoBgp,
    Ours(Arc<AtomicU64>),
}

impl Receiver {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The hold time that its neighbours offer: none. GoBGP takes the hold time for the time that a message may take to be written; without
    /// one, no UPDATE leaves it in time, and it ends the session.
    pub fn hold_time(&self) -> u16 {
        match self.counter {
            Counter::GoBgp => LONGEST,
            Counter::Frr | Counter::Bird | Counter::Ours(_) => 0,
        }
    }

    /// How many prefixes it has taken in.
    pub fn count(&self) -> Result<u64> {
        match &self.counter {
            Counter::Frr => {
                let printed = vtysh(&self.node, "show bgp ipv4 unicast summary json")?;
                Ok(sum(&serde_json::from_str(&printed)?, "pfxRcd"))
            }
            Counter::Bird => {
                let printed = birdc(&self.node, "show protocols all peer")?;
                let routes = printed.lines().find_map(|line| line.trim().strip_prefix("Routes:"));
                let count = routes.and_then(|text| text.split_whitespace().next());
                Ok(count.with_context(|| format!("BIRD printed: {printed}"))?.parse()?)
            }
            Counter::GoBgp => {
                let printed = gobgp(&self.node, &["global", "rib", "summary"])?;
                let count = printed.split("Destination:").nth(1).and_then(|text| text.split(',').next());
                Ok(count.with_context(|| format!("GoBGP printed: {printed}"))?.trim().parse()?)
            }
            Counter::Ours(count) => Ok(count.load(Ordering::Acquire)),
        }
    }

    /// Waits until it has taken so many in and has nothing left to do. What it has used by then.
    pub fn converged(&self, prefixes: u64, patience: Duration) -> Result<Used> {
        let start = Instant::now();
        loop {
            let count = self.count()?;
            if count >= prefixes {
                return quiet(self.id(), patience);
            }
            ensure!(start.elapsed() < patience, "{} has {count} of {prefixes} prefixes", self.name);
            std::thread::sleep(ASK);
        }
    }
}

/// All numbers under a key, wherever it stands.
fn sum(value: &Value, key: &str) -> u64 {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| if name == key { value.as_u64().unwrap_or(0) } else { sum(value, key) })
            .sum(),
        Value::Array(items) => items.iter().map(|item| sum(item, key)).sum(),
        _ => 0,
    }
}

fn quietly(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn vtysh(node: &Node, command: &str) -> Result<String> {
    node.run(Command::new("vtysh").args(["--vty_socket", "/run/frr", "-d", "bgpd", "-c", command]))
}

fn birdc(node: &Node, command: &str) -> Result<String> {
    node.run(Command::new("birdc").args(["-s", "/run/bird.ctl"]).args(command.split(' ')))
}

fn gobgp(node: &Node, arguments: &[&str]) -> Result<String> {
    node.run(Command::new("gobgp").args(arguments))
}

/// FRR's bgpd without zebra: its RIB alone. Tenants are views. A view's neighbours cannot connect to it (they are looked for in the default
/// instance alone, and without one bgpd 8.4 dies of it), so it connects to them, whose addresses differ.
pub fn frr(node: &Arc<Node>, router: Ipv4Addr, neighbours: &[Neighbour], views: Views) -> Result<Receiver> {
    let (mut text, opening) = match views {
        Views::None => {
            let text = format!("router bgp {OURS}\n bgp router-id {router}\n no bgp ebgp-requires-policy\n");
            (text, "passive".to_owned())
        }
        Views::Tenants => (String::new(), format!("update-source {router}")),
    };
    let mut tenant = None;
    // Writing to a string does not fail.
    for neighbour in neighbours {
        if views == Views::Tenants && tenant != Some(neighbour.tenant) {
            tenant = Some(neighbour.tenant);
            let _ = write!(
                text,
                "router bgp {OURS} view t{}\n bgp router-id {router}\n no bgp ebgp-requires-policy\n coalesce-time 0\n",
                neighbour.tenant
            );
        }
        let Neighbour { address, asn, .. } = neighbour;
        let _ = write!(
            text,
            " neighbor {address} remote-as {asn}\n neighbor {address} {opening}\n neighbor {address} ebgp-multihop 2\n \
             neighbor {address} timers connect 1\n neighbor {address} advertisement-interval 0\n"
        );
    }
    node.sh("mkdir -p /run/frr")?;
    node.write("/run/frr/bgpd.conf", &text)?;
    let mut command = quietly("/usr/lib/frr/bgpd");
    command.args(["-Z", "-S", "-n", "-u", "root", "-g", "root", "-P", "0", "--vty_socket", "/run/frr"]);
    command.args(["-f", "/run/frr/bgpd.conf", "-i", "/run/frr/bgpd.pid", "--log", "file:/run/frr/bgpd.log"]);
    if views == Views::Tenants {
        // It listens nowhere: the port is the neighbours'.
        command.args(["-p", "0"]);
    }
    let process = node.spawn(&mut command)?;
    until(START, "an answer of FRR", || vtysh(node, "show version").ok())?;
    settled(Receiver { name: "FRR", node: Arc::clone(node), process, counter: Counter::Frr })
}

/// Whether FRR's tenants have tables of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Views {
    /// One table for all.
    None,
    /// Each tenant has one.
    Tenants,
}

/// BIRD with one neighbour, and without the kernel's routes.
pub fn bird(node: &Arc<Node>, router: Ipv4Addr, neighbour: Neighbour) -> Result<Receiver> {
    let text = format!(
        "router id {router};\nprotocol device {{ }}\nprotocol bgp peer {{\n  local {router} as {OURS};\n  \
         neighbor {} as {};\n  passive on;\n  ipv4 {{ import all; export none; }};\n}}\n",
        neighbour.address, neighbour.asn,
    );
    node.write("/run/bird.conf", &text)?;
    let mut command = quietly("bird");
    command.args(["-f", "-c", "/run/bird.conf", "-s", "/run/bird.ctl", "-P", "/run/bird.pid"]);
    let process = node.spawn(&mut command)?;
    until(START, "an answer of BIRD", || birdc(node, "show status").ok())?;
    settled(Receiver { name: "BIRD", node: Arc::clone(node), process, counter: Counter::Bird })
}

/// GoBGP. Tenants are VRFs, if they are to be told apart; neighbours' addresses differ there, too.
pub fn gobgpd(node: &Arc<Node>, router: Ipv4Addr, neighbours: &[Neighbour]) -> Result<Receiver> {
    let mut text = format!("[global.config]\nas = {OURS}\nrouter-id = \"{router}\"\n");
    let mut tenant = None;
    for Neighbour { tenant: its, .. } in neighbours {
        if tenant != Some(its) {
            tenant = Some(its);
            let target = format!("{OURS}:{}", its + 1);
            let _ = write!(
                text,
                "[[vrfs]]\n[vrfs.config]\nname = \"t{its}\"\nid = {}\nrd = \"{target}\"\nboth-rt-list = [\"{target}\"]\n",
                its + 1
            );
        }
    }
    for Neighbour { tenant, address, asn } in neighbours {
        let _ = write!(
            text,
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{address}\"\npeer-as = {asn}\nvrf = \"t{tenant}\"\n\
             [neighbors.timers.config]\nhold-time = {LONGEST}\nkeepalive-interval = {}\n\
             [neighbors.transport.config]\npassive-mode = true\n[neighbors.ebgp-multihop.config]\nenabled = true\nmultihop-ttl = 2\n",
            LONGEST / 3,
        );
    }
    node.write("/run/gobgpd.toml", &text)?;
    let mut command = quietly("gobgpd");
    command.args(["-t", "toml", "-f", "/run/gobgpd.toml", "--api-hosts", "127.0.0.1:50051", "--log-plain"]);
    let process = node.spawn(&mut command)?;
    let receiver = Receiver { name: "GoBGP", node: Arc::clone(node), process, counter: Counter::GoBgp };
    let last = neighbours.last().context("no neighbour")?.address.to_string();
    until(START, "GoBGP to know its neighbours", || gobgp(node, &["neighbor", &last]).ok())?;
    settled(receiver)
}

/// The gateway's own BGP, sockets and all, without a data plane: what it would be told is counted and let go.
pub fn rib(node: &Arc<Node>, plan: &str) -> Result<Receiver> {
    node.sh("mkdir -p /run/netns; touch /run/netns/gw-t0; mount --bind /proc/self/ns/net /run/netns/gw-t0")?;
    node.write("/run/plan.toml", plan)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["own-bgp", "--netns", "/run/netns", "/run/plan.toml"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = node.spawn(&mut command)?;
    let count = Arc::new(AtomicU64::new(0));
    let (said, counted) = (process.child().stdout.take().context("no standard output")?, Arc::clone(&count));
    std::thread::spawn(move || {
        for line in BufReader::new(said).lines().map_while(Result::ok) {
            counted.store(line.parse().unwrap_or(0), Ordering::Release);
        }
    });
    settled(Receiver { name: "ours", node: Arc::clone(node), process, counter: Counter::Ours(count) })
}

/// A daemon that has read what it is configured with, and waits.
fn settled(receiver: Receiver) -> Result<Receiver> {
    quiet(receiver.id(), START)?;
    Ok(receiver)
}
