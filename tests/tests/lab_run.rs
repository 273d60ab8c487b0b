//! The lab as a person runs it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::wait::{SOON, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long a whole cloud may take to come up.
const PATIENCE: Duration = Duration::from_secs(300);

fn lab(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.args(arguments);
    command
}

/// Whether tables show that everybody reaches whom they should.
fn is_complete(tables: &str) -> bool {
    let (agents, connections) = (tables.matches(" Success ").count(), tables.matches(" Connected").count());
    let (sessions, answers) = (tables.matches(" established ").count(), tables.matches(" ms ").count());
    let learned = ["10.20.0.0/16", "10.30.0.0/16"].map(|prefix| tables.matches(prefix).count());
    (agents, connections, sessions, learned, answers) == (5, 4, 4, [2, 2], 12)
        && !tables.contains("no answer")
        && !tables.contains('!')
}

#[test]
fn once_prints_complete_tables_and_says_so_by_its_exit_code() -> Result<()> {
    let output = lab(&["run", "--once"]).output()?;
    let (tables, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{tables}\n{said}");
    ensure!(is_complete(&tables), "{tables}");
    let wide = tables.lines().find(|line| line.chars().count() > 80);
    ensure!(wide.is_none(), "too wide for a terminal: {wide:?}");
    Ok(())
}

const ENTER: &str = "lab enter";

/// A lab that runs; killed, if it still does, when this is dropped.
struct Live {
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl Live {
    fn start() -> Result<Self> {
        let mut child = lab(&["run"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut stdout = child.stdout.take().context("no output")?;
        let shown = Arc::<Mutex<String>>::default();
        let into = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut buffer = [0u8; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]);
                into.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        Ok(Self { child, shown })
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn number(&self) -> String {
        self.child.id().to_string()
    }

    fn enter(&self, words: &[&str]) -> Result<std::process::Output> {
        Ok(lab(&[&["enter", "--lab", &self.number()], words].concat()).output()?)
    }

    /// Where the lab writes down its machines.
    fn listed(&self) -> PathBuf {
        Path::new("/run/gateway-lab").join(format!("{}.json", self.number()))
    }

    /// Waits until its machines can be entered; gives the processes that run on them.
    fn processes(&mut self) -> Result<Vec<Process>> {
        until(PATIENCE, "the lab to be up", || {
            let ended = self.child.try_wait().ok().flatten().is_some();
            let entered = self.enter(&["controller", "true"]).is_ok_and(|output| output.status.success());
            (ended || entered).then_some(())
        })?;
        let listed: Value = serde_json::from_str(&std::fs::read_to_string(self.listed())?)?;
        let machines = listed["machines"].as_object().context("it lists no machines")?;
        let network = |at: &Value| Ok(std::fs::read_link(at[0].as_str().context("no path")?)?);
        let networks = machines.values().map(network).collect::<Result<Vec<PathBuf>>>()?;
        let inside: Vec<Process> = everybody()?
            .into_iter()
            .filter(|number| {
                let network = std::fs::read_link(format!("/proc/{number}/ns/net"));
                network.is_ok_and(|network| networks.contains(&network))
            })
            .filter_map(Process::find)
            .collect();
        ensure!(inside.len() >= 6, "a controller, three gateways and two hosts should run, and not {}", inside.len());
        Ok(inside)
    }

    /// The lines that are to be pasted, as they were shown last.
    fn hints(&self) -> Result<Vec<String>> {
        let shown = self.shown();
        let (_, last) = shown.rsplit_once("To look closer").context("nothing is said to be pasted")?;
        let lines = last.lines().filter(|line| line.starts_with("  ") && line.contains(ENTER));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        ensure!(lines.len() > 8, "{shown}");
        Ok(lines)
    }

    /// Does what is said, as far as it ends by itself.
    fn paste(&self, lines: &[String]) -> Result<()> {
        let endless = [" watch", " top", " trace "];
        for line in lines.iter().filter(|line| !endless.iter().any(|word| line.contains(word))) {
            // Another test's lab may be newer.
            let line = line.replacen(ENTER, &format!("{ENTER} --lab {}", self.number()), 1);
            let output = Command::new("sh").args(["-c", &line]).output()?;
            ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    /// Fails unless nothing is left of it.
    fn is_gone(&self, processes: &[Process]) -> Result<()> {
        for process in processes {
            until(SOON, "the lab's processes to end", || (!process.lives()).then_some(()))?;
        }
        ensure!(!self.enter(&["controller", "true"])?.status.success(), "an ended lab can be entered");
        ensure!(!self.listed().exists(), "{} is left", self.listed().display());
        Ok(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_shows_live_tables_and_how_to_look_closer_and_an_interrupt_takes_everything_away() -> Result<()> {
    let mut live = Live::start()?;
    let processes = live.processes()?;
    let seen = until(PATIENCE, "complete tables", || {
        let shown = live.shown();
        let tables = shown.rsplit("AGENT ").next()?;
        tables.contains("Ctrl-C").then_some(())?;
        is_complete(tables).then_some(())
    });
    ensure!(seen.is_ok(), "the tables are not complete: {}", live.shown());
    // What is said to be pasted works. If another gateway has come to carry the tenant meanwhile, something else is said by the next tables.
    let mut hints = live.hints()?;
    while let Err(error) = live.paste(&hints) {
        let tables = |shown: &str| shown.matches("AGENT ").count();
        let before = tables(&live.shown());
        let newer = || (tables(&live.shown()) > before + 1).then_some(());
        until(PATIENCE, "newer tables", newer).with_context(|| format!("{error:#}"))?;
        let now = live.hints()?;
        ensure!(now != hints, "{error:#}");
        hints = now;
    }
    let user = live.enter(&["controller", "gatewayctl", "--context", "contoso", "get", "virtualGateways"])?;
    let user = String::from_utf8(user.stdout)?;
    ensure!(user.contains("contoso") && !user.contains("woodgrove"), "{user}");
    live.signal(Signal::SIGINT)?;
    let status = live.child.wait()?;
    ensure!(status.success(), "{status}");
    live.is_gone(&processes)
}

#[test]
fn what_a_killed_run_leaves_is_nothing_that_the_next_one_trips_on() -> Result<()> {
    let mut live = Live::start()?;
    let processes = live.processes()?;
    live.signal(Signal::SIGKILL)?;
    live.child.wait()?;
    live.is_gone(&processes)
}

/// A process, told by its start from a later one with the same number.
struct Process {
    number: u32,
    start: String,
}

impl Process {
    fn find(number: u32) -> Option<Self> {
        Some(Self { number, start: start_of(number)? })
    }

    fn lives(&self) -> bool {
        start_of(self.number).is_some_and(|start| start == self.start)
    }
}

/// When a process started, in the kernel's ticks.
fn start_of(process: u32) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything; 20 fields after it comes the start.
    status.rsplit_once(") ")?.1.split(' ').nth(19).map(str::to_owned)
}

/// The numbers of all processes.
fn everybody() -> Result<Vec<u32>> {
    let names = std::fs::read_dir("/proc").context("no /proc")?.flatten().map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.to_str()?.parse().ok()).collect())
}
