//! `cargo xtask setup`: looks for what the other commands need and installs what is missing.
//!
//! Setting up is a loop: survey, say what is missing and why, install it, survey again (which LLVM is needed, for instance, is known
//! only once the compiler is there). A survey that finds nothing missing starts no package manager, so it is quick.
//!
//! - [`system`]: programs that come from the distribution's packages
//! - [`toolchain`]: the compiler and linker of the XDP programs
//! - [`kernels`]: kernels for the virtual machine
//! - [`apt`]: the package manager

mod apt;
mod kernels;
mod system;
pub mod toolchain;

use crate::process;
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use std::process::Command;

/// Find or install what the other commands need; does nothing when nothing is missing
#[derive(Args)]
#[command(after_help = "Groups:
  build   compiler and linker of the XDP programs
  test    programs that the lab and the tests call (ip, ethtool, ping, ...), rustfmt and clippy
  bench   what the benches compare with
  vm      a virtual machine with Debian's kernels: the real peer, and other kernels for the programs

The compiler is rustup's nightly where it has rust-src and a bpf-linker that fits, else Debian's
rustc-web. BPF_TOOLCHAIN=nightly or BPF_TOOLCHAIN=debian in the environment decides otherwise.

Examples:
  cargo xtask setup               everything
  cargo xtask setup build         just what building needs
  cargo xtask setup --check       only report; the exit code is 1 if something is missing")]
pub struct Arguments {
    /// What to set up; everything if none is named
    #[arg(value_enum)]
    groups: Vec<Group>,
    /// Change nothing, only report what is missing
    #[arg(long)]
    check: bool,
}

/// What a thing is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Group {
    Build,
    Test,
    Bench,
    Vm,
}

impl Group {
    const ALL: [Self; 4] = [Self::Build, Self::Test, Self::Bench, Self::Vm];

    const fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Test => "test",
            Self::Bench => "bench",
            Self::Vm => "vm",
        }
    }
}

/// Something that is not there.
pub struct Missing {
    group: Group,
    /// What it is, as a person calls it.
    what: String,
    /// Why it is wanted.
    why: String,
    remedy: Remedy,
}

/// How a missing thing is had.
pub enum Remedy {
    /// Packages of the distribution.
    Packages(Vec<String>),
    /// A command that installs it.
    Command(Box<Command>),
    /// A kernel to be downloaded and unpacked.
    Kernel(kernels::Kernel),
    /// Only a person can.
    ByHand(String),
}

pub fn main(arguments: &Arguments) -> Result<()> {
    let groups = if arguments.groups.is_empty() { &Group::ALL[..] } else { &arguments.groups };
    if arguments.check {
        let missing = survey(groups);
        if missing.is_empty() {
            println!("setup: nothing is missing{}", chosen(groups));
            return Ok(());
        }
        report(&missing);
        bail!("{} of what is needed {} missing; `cargo xtask setup` installs it", missing.len(), are(missing.len()));
    }
    match ensure(groups)? {
        Outcome::NothingMissing => println!("setup: nothing is missing{}", chosen(groups)),
        Outcome::Installed => println!("setup: done{}", chosen(groups)),
    }
    Ok(())
}

/// Which compiler the XDP programs will get, if that was asked for.
fn chosen(groups: &[Group]) -> String {
    match toolchain::Toolchain::find() {
        Ok(toolchain) if groups.contains(&Group::Build) => format!(" (XDP programs: {})", toolchain.name()),
        _ => String::new(),
    }
}

/// What [`ensure`] did.
pub enum Outcome {
    NothingMissing,
    Installed,
}

/// Installs what `groups` miss, after saying what and why; silent if nothing is missing.
pub fn ensure(groups: &[Group]) -> Result<Outcome> {
    let mut before = String::new();
    loop {
        let missing = survey(groups);
        if missing.is_empty() {
            return Ok(if before.is_empty() { Outcome::NothingMissing } else { Outcome::Installed });
        }
        report(&missing);
        let names = names(&missing);
        if names == before {
            bail!("what was installed is still not found: {names}");
        }
        before = names;
        install(missing)?;
    }
}

fn survey(groups: &[Group]) -> Vec<Missing> {
    let mut missing = Vec::new();
    for group in Group::ALL.into_iter().filter(|group| groups.contains(group)) {
        missing.extend(system::survey(group));
        match group {
            Group::Build => missing.extend(toolchain::survey()),
            Group::Test => missing.extend(system::components()),
            Group::Bench => {}
            Group::Vm => missing.extend(kernels::survey()),
        }
    }
    missing
}

fn report(missing: &[Missing]) {
    println!("setup: {} {} missing", missing.len(), are(missing.len()));
    let width = missing.iter().map(|thing| thing.what.len()).max().unwrap_or(0);
    for thing in missing {
        println!("  {:5}  {:width$}  {}", thing.group.name(), thing.what, thing.why);
    }
}

/// Packages in one go, then the rest one after the other.
fn install(missing: Vec<Missing>) -> Result<()> {
    let mut packages = Vec::new();
    let mut rest = Vec::new();
    let mut by_hand = Vec::new();
    for thing in missing {
        match thing.remedy {
            Remedy::Packages(names) => packages.extend(names),
            Remedy::ByHand(text) => by_hand.push(format!("{}: {text}", thing.what)),
            _ => rest.push(thing),
        }
    }
    if !by_hand.is_empty() {
        bail!("this has to be done by hand\n  {}", by_hand.join("\n  "));
    }
    if !packages.is_empty() {
        apt::install(packages)?;
    }
    for thing in rest {
        match thing.remedy {
            Remedy::Command(mut command) => {
                println!("setup: running `{}`", process::shown(&command));
                process::run(&mut command)?;
            }
            Remedy::Kernel(kernel) => kernel.fetch()?,
            Remedy::Packages(_) | Remedy::ByHand(_) => {}
        }
    }
    Ok(())
}

fn names(missing: &[Missing]) -> String {
    missing.iter().map(|thing| thing.what.as_str()).collect::<Vec<_>>().join(", ")
}

const fn are(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}
