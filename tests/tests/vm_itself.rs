//! The virtual machine's own parts work, with no gateway in sight.

use anyhow::{Result, ensure};
use lab::node::Processes;
use lab::vm::{Kernel, Machine};

/// A command comes by the serial line byte by byte, and takes its time.
#[test]
fn commands_arrive_whole_while_processes_that_nobody_waits_for_end() -> Result<()> {
    const ORPHANS: &str = "(while :; do (sleep 0 &); done) > /dev/null 2>&1 & echo $! > /tmp/orphans";
    let mut vm = Machine::new(Kernel::Linux6_12)?.boot(&Processes::new()?)?;
    vm.sh(ORPHANS)?;
    for round in 0..20 {
        let text = round.to_string().repeat(1000);
        let said = vm.sh(&format!("echo {text}"))?;
        ensure!(said.trim_end() == text, "instead of {text}, the machine read {said}");
    }
    vm.sh("kill $(cat /tmp/orphans)").map(drop)
}
