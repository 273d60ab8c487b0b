//! The lab as a person runs it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use lab::wait::{SOON, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn lab(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.args(arguments);
    command
}

#[test]
fn once_prints_a_complete_table_and_says_so_by_its_exit_code() -> Result<()> {
    let output = lab(&["run", "--once"]).output()?;
    let (table, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{table}\n{said}");
    ensure!(table.lines().count() == 13, "{table}");
    ensure!(table.matches(" ms").count() == 24 && !table.contains("no answer") && !table.contains('!'), "{table}");
    Ok(())
}

#[test]
fn an_interrupt_takes_everything_away_and_so_does_a_kill() -> Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut child = lab(&["run"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let number = child.id().to_string();
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        let enter = |words: &[&str]| lab(&[&["enter", "--lab", &number, "gateway"], words].concat()).output();
        let seen = until(SOON * 3, "the lab to be up", || {
            let output = enter(&["gatewayctl", "show", "connections"]).ok()?;
            output.status.success().then_some(output)
        });
        if seen.is_err() {
            kill(pid, Signal::SIGKILL)?;
        }
        let seen = String::from_utf8(seen?.stdout)?;
        let network = String::from_utf8(enter(&["readlink", "/proc/thread-self/ns/net"])?.stdout)?;
        kill(pid, signal)?;
        let status = child.wait()?;
        ensure!(seen.contains("woodgrove"), "{seen}");
        ensure!(signal == Signal::SIGKILL || status.success(), "{status}");
        until(SOON, "the lab's processes to end", || (in_network(network.trim()) == 0).then_some(()))?;
        let gone = enter(&["true"])?;
        ensure!(!gone.status.success(), "an ended lab can be entered");
        let listed = std::path::Path::new("/run/gateway-lab").join(format!("{number}.json"));
        ensure!(!listed.exists(), "{} is left", listed.display());
    }
    Ok(())
}

/// How many processes there are in a network namespace.
fn in_network(network: &str) -> usize {
    let Ok(processes) = std::fs::read_dir("/proc").context("no /proc") else { return 0 };
    processes
        .flatten()
        .filter(|process| {
            std::fs::read_link(process.path().join("ns/net")).is_ok_and(|it| it.as_os_str().to_str() == Some(network))
        })
        .count()
}
