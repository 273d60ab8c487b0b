//! `cargo xtask test`: which tests there are, and what CI runs.
//!
//! A test belongs to a group by the name of its file: in the `tests` crate, `fixtures*.rs` are `fixtures`, `lab_*.rs` are `lab`,
//! `vm_*.rs` are `vm` and `sim_*.rs` are `sim`; every other test of the workspace is `unit`.

use crate::build::{self, Profile};
use crate::setup::{self, Group as SetupGroup};
use crate::{process, workspace};
use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::thread;

/// Run the tests; without a group, all that CI runs
#[derive(Args)]
#[command(after_help = "Groups:
  unit       pure logic; needs neither root nor the XDP programs
  fixtures   one packet in, one packet and a verdict out of the XDP programs (root)
  lab        the gateway in network namespaces, end to end (root)
  vm         against a real kernel in a virtual machine, and loading on other kernels (root)
  sim        the controller under a simulator; SIM_SEEDS=5000 runs more schedules, SIM_SEED=N one again

Without a group: rustfmt, clippy, then all of them. cargo-nextest runs them where it is installed.

Examples:
  cargo xtask test
  cargo xtask test unit
  cargo xtask test fixtures -- vxlan    only cases with `vxlan` in their name
  cargo xtask test lab --list           one case a line
  cargo xtask test vm --all             every fixture and the gateway on every kernel, which takes many minutes")]
pub struct Arguments {
    /// Which tests
    #[arg(value_enum)]
    group: Option<Group>,
    /// Print the cases, one a line, and run none
    #[arg(long)]
    list: bool,
    /// Also the cases that take so long that CI leaves them out
    #[arg(long)]
    all: bool,
    /// Only cases whose name contains one of these
    #[arg(last = true, value_name = "FILTER")]
    filters: Vec<String>,
}

/// What a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    Unit,
    Fixtures,
    Lab,
    Vm,
    Sim,
}

impl Group {
    const ALL: [Self; 5] = [Self::Unit, Self::Fixtures, Self::Lab, Self::Vm, Self::Sim];

    /// The group of an integration test.
    fn of(package: &str, target: &str) -> Self {
        if package != "gateway-tests" {
            Self::Unit
        } else if target.starts_with("fixtures") {
            Self::Fixtures
        } else if target.starts_with("lab_") {
            Self::Lab
        } else if target.starts_with("vm_") {
            Self::Vm
        } else if target.starts_with("sim_") {
            Self::Sim
        } else {
            Self::Unit
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Fixtures => "fixtures",
            Self::Lab => "lab",
            Self::Vm => "vm",
            Self::Sim => "sim",
        }
    }

    const fn needs(self) -> &'static [SetupGroup] {
        match self {
            // The controller's store speaks to etcd, whose messages are compiled.
            Self::Unit | Self::Sim => &[SetupGroup::Build],
            Self::Fixtures => &[SetupGroup::Build],
            Self::Lab => &[SetupGroup::Build, SetupGroup::Test],
            Self::Vm => &[SetupGroup::Build, SetupGroup::Test, SetupGroup::Vm],
        }
    }
}

pub fn main(arguments: &Arguments) -> Result<()> {
    let groups = arguments.group.as_ref().map_or(&Group::ALL[..], std::slice::from_ref);
    let selection = Selection::of(groups)?;
    if arguments.list {
        return selection.list();
    }
    let privileged: Vec<&str> =
        groups.iter().filter(|group| !matches!(group, Group::Unit | Group::Sim)).map(|group| group.name()).collect();
    if !privileged.is_empty() && !process::is_root() {
        bail!(
            "{} need root, to load XDP programs and to make namespaces; without it there is `cargo xtask test unit`",
            privileged.join(", ")
        );
    }
    if selection.is_empty() {
        bail!("there are no tests of this group yet");
    }
    let needs: Vec<SetupGroup> = groups.iter().flat_map(|group| group.needs()).copied().collect();
    setup::ensure(if arguments.group.is_none() {
        &[SetupGroup::Build, SetupGroup::Test, SetupGroup::Vm]
    } else {
        &needs
    })?;
    if arguments.group.is_none() {
        if arguments.filters.is_empty() {
            // The XDP programs' linker keeps one core busy for a minute: the lints have the others.
            side_by_side(build::programs, check)?;
        } else {
            build::programs()?;
        }
        // The tests of gateway-user and of the lab are among the selected ones: cargo builds both crates' programs for them. Built apart, with
        // the features that they have without tests, both crates would be compiled twice.
    } else if !privileged.is_empty() {
        build::all(Profile::Debug)?;
        if groups.contains(&Group::Vm) {
            // Other kernels run them, too.
            let fixtures = Selection { arguments: vec!["--test".into(), "fixtures".into()] };
            process::run(&mut fixtures.command(&["test", "--quiet", "--no-run"]))?;
        }
    }
    selection.run(arguments)
}

/// Runs both at once, and returns when both have ended.
fn side_by_side(one: fn() -> Result<()>, other: fn() -> Result<()>) -> Result<()> {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        one.join().unwrap_or_else(|_| Err(anyhow!("a step of the build panicked"))).and(other)
    })
}

/// rustfmt and clippy.
fn check() -> Result<()> {
    println!("test: layout (rustfmt)");
    process::run(process::cargo().args(["fmt", "--all", "--check"]))?;
    let fuzz = workspace::root().join("tests/fuzz");
    for directory in build::bpf_crates().chain(fuzz.join("Cargo.toml").exists().then_some(fuzz)) {
        process::run(process::cargo().args(["fmt", "--check", "--manifest-path"]).arg(directory.join("Cargo.toml")))?;
    }
    println!("test: lints (clippy)");
    process::run(process::cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))
}

/// Cargo's own words for what is to be tested.
struct Selection {
    arguments: Vec<String>,
}

impl Selection {
    fn of(groups: &[Group]) -> Result<Self> {
        let mut arguments = Vec::new();
        if groups.contains(&Group::Unit) {
            arguments.extend(["--lib".to_owned(), "--bins".to_owned()]);
        }
        for (package, target) in integration_tests()? {
            if groups.contains(&Group::of(&package, &target)) {
                arguments.extend(["--test".to_owned(), target]);
            }
        }
        Ok(Self { arguments })
    }

    fn is_empty(&self) -> bool {
        self.arguments.is_empty()
    }

    /// A command on the selected tests. Always of the whole workspace: a part of it would give dependencies other features.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = process::cargo();
        command.args(words).arg("--workspace").args(&self.arguments);
        command
    }

    /// Ends with the runner's own summary.
    fn run(&self, arguments: &Arguments) -> Result<()> {
        let mut command = if process::find("cargo-nextest").is_some() {
            self.command(&["nextest", "run", "--no-fail-fast", "--no-tests=pass"])
        } else {
            self.command(&["test", "--no-fail-fast"])
        };
        if arguments.all || !arguments.filters.is_empty() {
            // Nextest knows this word of cargo's, too.
            command.arg("--").args(arguments.all.then_some("--include-ignored")).args(&arguments.filters);
        }
        println!("test: {}", process::shown(&command));
        process::run(&mut command)
    }

    fn list(&self) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let mut command = self.command(&["test", "--quiet", "--no-run", "--message-format=json-render-diagnostics"]);
        let messages = process::output(command.stdout(Stdio::piped()))?;
        let mut cases = Vec::new();
        for message in messages.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok()) {
            let (true, Some(executable)) = (message.profile.test, message.executable) else { continue };
            let list = process::output(Command::new(&executable).args(["--list", "--format", "terse"]))?;
            let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
            cases.extend(names.map(|case| format!("{}::{case}\n", message.target.name)));
        }
        cases.sort();
        // A closed pipe (`| head`) ends the list, and is no error.
        let _ = io::stdout().write_all(cases.concat().as_bytes());
        Ok(())
    }
}

/// What cargo says of something that it built.
#[derive(Deserialize)]
struct Artifact {
    target: Target,
    profile: ArtifactProfile,
    executable: Option<String>,
}

#[derive(Deserialize)]
struct ArtifactProfile {
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    targets: Vec<Target>,
}

/// The integration tests of the workspace: package and target.
fn integration_tests() -> Result<Vec<(String, String)>> {
    let text = process::output(process::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("cargo metadata wrote something unexpected")?;
    let mut tests = Vec::new();
    for package in metadata.packages {
        for target in package.targets.into_iter().filter(|target| target.kind.iter().any(|kind| kind == "test")) {
            tests.push((package.name.clone(), target.name));
        }
    }
    tests.sort();
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_belongs_to_the_group_that_its_file_names() {
        for (target, group) in [
            ("fixtures", Group::Fixtures),
            ("fixtures_vxlan", Group::Fixtures),
            ("lab_forward", Group::Lab),
            ("vm_gre", Group::Vm),
            ("frames", Group::Unit),
            ("labels", Group::Unit),
        ] {
            assert_eq!(Group::of("gateway-tests", target), group, "{target}");
        }
        assert_eq!(Group::of("gateway-user", "lab_x"), Group::Unit);
    }
}
