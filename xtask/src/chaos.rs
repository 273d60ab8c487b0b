//! `cargo xtask chaos`: gateways of the lab fail at random, and it is watched that nobody is the worse for it.

use crate::build::{self, Profile};
use crate::setup::{self, Group};
use crate::{process, run, workspace};
use anyhow::{Result, bail};
use clap::Args;
use std::process::Command;

/// Have the lab's gateways fail at random, and watch that tenants, seats and the controller's view come through it
#[derive(Args)]
#[command(
    after_help = "The lab of `cargo xtask run` is made of network namespaces. Then, one after the other and in an order that the seed
says, agents are killed and stopped, hosts lose their power, ports go down, gateways do not hear each other, seats
are handed over, and the controller is killed, while all tenants' numbered packets flow. It ends with a table, and
with a failure as soon as something must not be; the story of that is printed, with the seed that repeats it.

Examples:
  cargo xtask chaos
  cargo xtask chaos --minutes 60
  cargo xtask chaos --minutes 2 --seed 7"
)]
pub struct Arguments {
    /// Build with optimisations
    #[arg(long)]
    release: bool,
    /// For how long something happens
    #[arg(long, value_name = "MINUTES", default_value = "10")]
    minutes: String,
    /// What happens, and in which order: the same for the same number; else another one each time, which is printed
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    if !process::is_root() {
        bail!("the lab needs root, to load XDP programs and to make namespaces; try it as root or with sudo");
    }
    run::check_kernel()?;
    setup::ensure(&[Group::Build, Group::Test])?;
    let profile = Profile::chosen(arguments.release);
    build::all(profile)?;
    let lab = workspace::program(profile.directory(), "lab");
    if !process::is_executable(&lab) {
        bail!("{} was not built", workspace::shown(&lab));
    }
    let mut command = Command::new(lab);
    command.args(["chaos", "--minutes", &arguments.minutes]);
    if let Some(seed) = arguments.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    process::become_program(&mut command)
}
