//! The gateway under test: the real daemon on the lab's machine for it, and the real client to ask it with.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gateway_user::api::report::{ConnectionReport, DropReport, PortReport, StatusReport, TenantReport};
use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;

use crate::node::{Node, Running};
use crate::plan::Plan;
use crate::wait::{SOON, until};

/// Where the daemon reads its plan, on the gateway's machine.
pub const PLAN: &str = "/run/plan.toml";

/// The gateway.
#[derive(Debug)]
pub struct Gateway {
    node: Arc<Node>,
    role: &'static str,
    plan: &'static str,
    daemon: Option<Running>,
    log: Log,
}

impl Gateway {
    /// A gateway whose daemon has not been started.
    pub fn new(node: &Arc<Node>) -> Self {
        Self { node: Arc::clone(node), role: "gateway", plan: PLAN, daemon: None, log: Log::default() }
    }

    /// The same with its plan in another file on its machine: one of JSON may say what one of TOML cannot.
    pub fn plan_in(self, plan: &'static str) -> Self {
        Self { plan, ..self }
    }

    /// A compute host whose daemon has not been started.
    pub fn host(node: &Arc<Node>) -> Self {
        Self { role: "host", ..Self::new(node) }
    }

    /// Its machine.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Writes the plan, starts the daemon, and waits until it answers.
    pub fn start(&mut self, plan: &Plan) -> Result<()> {
        self.start_text(&plan.to_string())
    }

    /// The same with a plan that is text already.
    pub fn start_text(&mut self, plan: &str) -> Result<()> {
        self.start_large(plan, SOON)
    }

    /// The same with one that may take this long.
    pub fn start_large(&mut self, plan: &str, patience: Duration) -> Result<()> {
        self.node.write(self.plan, plan)?;
        self.launch()?;
        self.await_answer_for(patience)
    }

    /// The running daemon's process.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Running::id)
    }

    /// Starts the daemon on the plan that is there.
    pub fn launch(&mut self) -> Result<()> {
        let mut command = Command::new(program("gatewayd")?);
        command
            .args([self.role, "--plan", self.plan])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // An interrupt from the terminal is for the lab, which stops the daemon in order.
        command.process_group(0).env("NO_COLOR", "1");
        let mut daemon = self.node.spawn(&mut command)?;
        let said = daemon.child().stderr.take().context("the daemon has no standard error")?;
        self.log.follow(said);
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Waits until the daemon answers at its socket; fails with what it said if it ends instead.
    pub fn await_answer(&mut self) -> Result<()> {
        self.await_answer_for(SOON)
    }

    fn await_answer_for(&mut self, patience: Duration) -> Result<()> {
        let pid = self.daemon.as_ref().map(Running::id);
        let outcome = until(patience, "the daemon to answer", || {
            let ended = self.daemon.as_mut().and_then(|daemon| daemon.child().try_wait().ok().flatten());
            if let Some(status) = ended {
                return Some(Err(anyhow::anyhow!("the daemon has ended ({status})")));
            }
            self.status().ok().map(Ok)
        });
        outcome.and_then(|it| it).map(drop).with_context(|| format!("daemon {pid:?} said:\n{}", self.log()))
    }

    /// Waits for the daemon to end by itself; gives its exit code.
    pub fn await_end(&mut self) -> Result<Option<i32>> {
        let Some(daemon) = self.daemon.as_mut() else { anyhow::bail!("no daemon was started") };
        let status = until(SOON, "the daemon to end", || daemon.child().try_wait().ok().flatten())?;
        self.daemon = None;
        Ok(status.code())
    }

    /// Kills the daemon as a crash would.
    pub fn kill(&mut self) {
        self.daemon = None;
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.daemon.as_ref().context("no daemon runs")?.signal(signal)
    }

    /// Stops the daemon as an operator would; what it forwards goes on.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(daemon) = &self.daemon {
            daemon.signal(Signal::SIGTERM)?;
            let code = self.await_end()?;
            ensure!(code == Some(0), "the daemon ended with {code:?}; it said:\n{}", self.log());
        }
        Ok(())
    }

    /// Gives the running daemon another plan by SIGHUP, and waits until it runs by it.
    pub fn reload(&mut self, plan: &Plan) -> Result<()> {
        let before = self.status()?.plans_applied;
        self.node.write(self.plan, &plan.to_string())?;
        self.signal(Signal::SIGHUP)?;
        until(SOON, "the daemon to apply the plan", || {
            self.status().ok().filter(|status| status.plans_applied > before)
        })
        .with_context(|| format!("the daemon said:\n{}", self.log()))?;
        Ok(())
    }

    /// Runs the client and gives what it printed.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        self.node.run(Command::new(program("gatewayctl")?).args(arguments))
    }

    fn show<T: DeserializeOwned>(&self, what: &[&str]) -> Result<T> {
        let printed = self.ctl(&[&["show"], what, &["-o", "json"]].concat())?;
        serde_json::from_str(&printed).with_context(|| format!("gatewayctl show {what:?} printed: {printed}"))
    }

    /// The gateway as a whole.
    pub fn status(&self) -> Result<StatusReport> {
        self.show(&["status"])
    }

    /// A connection's state and counters.
    pub fn connection(&self, tenant: &str, name: &str) -> Result<ConnectionReport> {
        let all: Vec<ConnectionReport> = self.show(&["connections"])?;
        all.into_iter()
            .find(|one| one.tenant == tenant && one.name == name)
            .with_context(|| format!("gatewayctl shows no connection {name} of {tenant}"))
    }

    /// A tenant's counters.
    pub fn tenant(&self, name: &str) -> Result<TenantReport> {
        let all: Vec<TenantReport> = self.show(&["tenants"])?;
        all.into_iter().find(|one| one.name == name).with_context(|| format!("gatewayctl shows no tenant {name}"))
    }

    /// A port's counters.
    pub fn port(&self, name: &str) -> Result<PortReport> {
        let all: Vec<PortReport> = self.show(&["ports"])?;
        all.into_iter().find(|one| one.name == name).with_context(|| format!("gatewayctl shows no port {name}"))
    }

    /// Packets dropped for a reason, wherever they are counted.
    pub fn dropped(&self, reason: &str) -> Result<u64> {
        let all: Vec<DropReport> = self.show(&["drops"])?;
        Ok(all.into_iter().filter(|one| one.reason == reason).map(|one| one.packets).sum())
    }

    /// What the daemons said so far.
    pub fn log(&self) -> String {
        self.log.text()
    }
}

/// What the daemons print, gathered by threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<String>>);

impl Log {
    pub(crate) fn follow(&self, stream: impl std::io::Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if std::env::var_os("LAB_VERBOSE").is_some() {
                    eprintln!("gatewayd: {line}");
                }
                let mut text = log.0.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&line);
                text.push('\n');
            }
        });
    }

    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A program of the workspace, built beside the one that runs.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let directories = own.ancestors().skip(1).take(2);
    let found = directories.map(|directory| directory.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("there is no {name} beside {}; run `cargo xtask build`", own.display()))
}
