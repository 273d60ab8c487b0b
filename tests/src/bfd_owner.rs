//! An agent as far as BFD goes: a process that wants sessions, tells what becomes of them, and can be killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use gateway_user::bfd::client::{self, BfdClient};
use gateway_user::bfd::{Report, SessionKey, SessionOptions};
use serde::{Deserialize, Serialize};

use crate::gateway::program;
use crate::node::{Node, Running};

/// Where the process that keeps the sessions listens, on each machine.
pub const SOCKET: &str = "/run/gateway/bfd.sock";

/// Options of `lab own-bfd`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// How long the sessions are kept without this process
    #[arg(long)]
    owner_timeout: u64,
    /// gatewayd
    #[arg(long)]
    program: PathBuf,
    /// The sessions, as JSON
    sessions: String,
}

/// A session that is wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wanted {
    /// Which.
    pub session: SessionKey,
    /// How.
    pub options: SessionOptions,
}

/// Wants sessions until it is killed; prints each report as a line of JSON.
pub fn own(options: &Options) -> Result<ExitCode> {
    let wanted: Vec<Wanted> = serde_json::from_str(&options.sessions)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = BfdClient::start(client::Options {
            owner_timeout: Duration::from_secs(options.owner_timeout),
            program: options.program.clone(),
            ..client::Options::new(SOCKET.into())
        });
        let mut watcher = client.watcher();
        for wanted in wanted {
            watcher.add(wanted.session, wanted.options);
        }
        loop {
            let report = serde_json::to_string(&watcher.next().await)?;
            writeln!(std::io::stdout(), "{report}")?;
        }
    })
}

/// Such a process on a machine.
#[derive(Debug)]
pub struct Owner {
    _process: Running,
    told: Arc<Mutex<Told>>,
}

#[derive(Debug, Default)]
struct Told {
    latest: BTreeMap<SessionKey, Report>,
    all: Vec<Report>,
}

impl Owner {
    /// Starts it. What it says to people goes to the test's own output.
    pub fn start(node: &Node, wanted: &[Wanted], owner_timeout: Duration) -> Result<Self> {
        let mut command = Command::new(program("lab")?);
        command.arg("own-bfd").args(["--owner-timeout", &owner_timeout.as_secs().to_string()]);
        command.arg("--program").arg(program("gatewayd")?).arg(serde_json::to_string(wanted)?);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).env("NO_COLOR", "1");
        let mut process = node.spawn(&mut command)?;
        let printed = process.child().stdout.take().context("no standard output")?;
        let told = Arc::new(Mutex::new(Told::default()));
        let telling = told.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(printed).lines().map_while(Result::ok) {
                let Ok(report) = serde_json::from_str::<Report>(&line) else { continue };
                let mut told = telling.lock().unwrap_or_else(PoisonError::into_inner);
                told.latest.insert(report.session.clone(), report.clone());
                told.all.push(report);
            }
        });
        Ok(Self { _process: process, told })
    }

    /// The sessions as they were told last.
    pub fn latest(&self) -> Vec<Report> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).latest.values().cloned().collect()
    }

    /// All that was told, in order.
    pub fn all(&self) -> Vec<Report> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).all.clone()
    }
}
