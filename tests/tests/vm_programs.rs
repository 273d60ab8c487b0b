//! The XDP programs on other kernels: the fixtures again, in a virtual machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::node::Processes;
use lab::program::object_path;
use lab::vm::{Kernel, Machine};

/// From every encapsulation to every other.
const PAIRS: &str = "pairs";
const ALL: &str = "";

#[test]
fn every_pair_of_encapsulations_is_forwarded_on_linux_6_12() -> Result<()> {
    fixtures_hold_on(Kernel::Linux6_12, PAIRS)
}

#[test]
fn every_pair_of_encapsulations_is_forwarded_on_linux_6_1() -> Result<()> {
    fixtures_hold_on(Kernel::Linux6_1, PAIRS)
}

#[test]
#[ignore = "takes minutes: `cargo xtask test vm --all`"]
fn every_fixture_holds_on_linux_6_12() -> Result<()> {
    fixtures_hold_on(Kernel::Linux6_12, ALL)
}

#[test]
#[ignore = "takes minutes: `cargo xtask test vm --all`"]
fn every_fixture_holds_on_linux_6_1() -> Result<()> {
    fixtures_hold_on(Kernel::Linux6_1, ALL)
}

fn fixtures_hold_on(kernel: Kernel, which: &str) -> Result<()> {
    if !kernel.is_offered() {
        eprintln!("this release of Debian has no such kernel: nothing is tested on it");
        return Ok(());
    }
    let object = object_path();
    let object =
        std::fs::read(&object).with_context(|| format!("cannot read {}; run `cargo xtask build`", object.display()))?;
    let machine = Machine::new(kernel)?.program("fixtures", &fixtures()?)?.file("/gateway.o", object);
    let mut vm = machine.boot(&Processes::new()?)?;
    let printed = vm.sh_for(
        Duration::from_secs(900),
        &format!(
            "GATEWAY_OBJECT=/gateway.o fixtures {which} --format terse --color never > /tmp/said 2>&1 || {{ tail -c 20000 /tmp/said; exit 1; }}
             tail -n 5 /tmp/said"
        ),
    )?;
    ensure!(printed.contains("test result: ok"), "{printed}");
    Ok(())
}

/// The tests of single packets, built with this test: the newest of that name beside it.
fn fixtures() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let directory = own.parent().context("a program lies in a directory")?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("fixtures-") && path.extension().is_none() {
            found.push((path.metadata()?.modified()?, path));
        }
    }
    let newest = found.into_iter().max().context("the fixtures are not built; run `cargo xtask test vm`")?;
    Ok(newest.1)
}
