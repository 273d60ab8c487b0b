//! BIRD.

use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::PATIENCE;
use crate::gateway::Log;
use crate::node::{Node, Running};
use crate::wait::{SOON, until};

const CONFIGURATION: &str = "/run/bird.conf";
const SOCKET: &str = "/run/bird.ctl";

/// A BIRD that runs.
#[derive(Debug)]
pub struct Bird {
    node: Arc<Node>,
    daemon: Option<Running>,
    log: Log,
}

/// A BFD session as BIRD shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BfdSession {
    /// Its neighbour's address.
    pub peer: String,
    /// `Up`, `Init`, `Down`, `AdminDown`.
    pub state: String,
    /// When that state began, as BIRD writes times.
    pub since: String,
    /// Seconds between its packets.
    pub interval: String,
    /// Seconds that its neighbour may be silent.
    pub timeout: String,
}

impl BfdSession {
    /// Whether the state in which a session was earlier has lasted until now. BIRD reckons the time of day at which a state began anew whenever
    /// it is asked, from two clocks that it does not read at once: on a busy machine that wanders by some milliseconds. A session that failed in
    /// between came up again more than a second later: it takes its detection time to fail, and packets once a second to come up (RFC 5880,
    /// section 6.8.3).
    pub fn has_lasted_since(&self, earlier: &Self) -> bool {
        const DAY: f64 = 86_400.0;
        let began = |session: &Self| {
            let parts: Vec<f64> = session.since.split(':').filter_map(|part| part.parse().ok()).collect();
            let &[hours, minutes, seconds] = &parts[..] else { return None };
            Some((hours * 60.0 + minutes) * 60.0 + seconds)
        };
        let (Some(now), Some(then)) = (began(self), began(earlier)) else { return false };
        let apart = (now - then).rem_euclid(DAY);
        self.peer == earlier.peer && self.state == earlier.state && apart.min(DAY - apart) < 1.0
    }
}

impl Bird {
    /// Starts it on a machine and waits until it answers.
    pub fn start(node: &Arc<Node>, configuration: &str) -> Result<Self> {
        node.write(CONFIGURATION, configuration)?;
        let mut bird = Self { node: Arc::clone(node), daemon: None, log: Log::default() };
        bird.launch()?;
        Ok(bird)
    }

    /// Starts it again, after it was killed, with what it was configured with.
    pub fn launch(&mut self) -> Result<()> {
        self.launch_with(&[])
    }

    /// The same, telling its neighbours that it restarts gracefully.
    pub fn recover(&mut self) -> Result<()> {
        self.launch_with(&["-R"])
    }

    fn launch_with(&mut self, options: &[&str]) -> Result<()> {
        let mut command = Command::new("bird");
        command.args(["-f", "-c", CONFIGURATION, "-s", SOCKET, "-P", "/run/bird.pid"]).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut daemon = self.node.spawn(&mut command)?;
        self.log.follow(daemon.child().stderr.take().context("BIRD has no standard error")?);
        self.daemon = Some(daemon);
        until(SOON, "BIRD to answer", || self.ask("show status").ok())
            .with_context(|| format!("BIRD said:\n{}", self.log.text()))?;
        Ok(())
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.daemon = None;
    }

    /// What it answers to a command of `birdc`.
    pub fn ask(&self, command: &str) -> Result<String> {
        self.node.run(Command::new("birdc").args(["-s", SOCKET]).args(command.split(' ')))
    }

    /// Gives it another configuration, which it changes over to.
    pub fn configure(&self, configuration: &str) -> Result<String> {
        self.node.write(CONFIGURATION, configuration)?;
        self.ask("configure")
    }

    /// Its BFD sessions.
    pub fn bfd(&self) -> Result<Vec<BfdSession>> {
        Ok(self.ask("show bfd sessions")?.lines().filter_map(session).collect())
    }

    /// Whether it has a route.
    pub fn valid(&self, prefix: &str) -> bool {
        self.ask(&format!("show route {prefix}")).is_ok_and(|answer| answer.contains(prefix))
    }

    /// Waits until it has a route.
    pub fn has(&self, prefix: &str) -> Result<()> {
        until(PATIENCE, &format!("{prefix} at BIRD"), || self.valid(prefix).then_some(()))
    }

    /// Waits until it has it no more.
    pub fn lacks(&self, prefix: &str) -> Result<()> {
        until(PATIENCE, &format!("no {prefix} at BIRD"), || (!self.valid(prefix)).then_some(()))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.daemon.as_ref().context("no BIRD runs")?.signal(signal)
    }
}

/// A line of the table: address, interface, state, since, interval, timeout.
fn session(line: &str) -> Option<BfdSession> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let &[peer, _, state, ref since @ .., interval, timeout] = &fields[..] else { return None };
    peer.parse::<std::net::IpAddr>().ok()?;
    let [state, interval, timeout] = [state, interval, timeout].map(str::to_owned);
    Some(BfdSession { peer: peer.to_owned(), state, since: since.join(" "), interval, timeout })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_read_from_the_table() {
        let table = "BIRD 2.0.12 ready.\nb:\n\
                     IP address                Interface  State      Since         Interval  Timeout\n\
                     fd02::1                   ---        Up         21:03:51.075    0.300    1.500\n\
                     10.9.0.1                  eth0       Down       2026-11-22      1.000    0.000\n";
        let found: Vec<BfdSession> = table.lines().filter_map(session).collect();
        let [one, two] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&one.peer[..], &one.state[..], &one.interval[..]), ("fd02::1", "Up", "0.300"));
        assert_eq!((&two.state[..], &two.since[..], &two.timeout[..]), ("Down", "2026-11-22", "0.000"));
    }

    #[test]
    fn a_state_that_began_at_another_time_is_another() {
        let up = |since: &str| session(&format!("10.9.0.1 eth0 Up {since} 0.300 1.500")).unwrap();
        assert!(up("21:03:51.075").has_lasted_since(&up("21:03:51.069")));
        assert!(up("00:00:00.003").has_lasted_since(&up("23:59:59.998")));
        assert!(!up("21:04:51.075").has_lasted_since(&up("21:03:51.075")));
        assert!(!up("2026-11-22").has_lasted_since(&up("2026-11-22")), "a day's name says too little");
    }
}
