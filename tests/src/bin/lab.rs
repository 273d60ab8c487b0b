//! The lab as a program.

use anyhow::Result;
use clap::{Parser, Subcommand};
use lab::{bench, bfd_owner, chaos, enter, live};

/// A controller, gateways, hosts, tenants and their sites, made of network namespaces.
#[derive(Debug, Parser)]
#[command(
    name = "lab",
    version,
    after_help = "Examples:
  lab run
  lab run --once
  lab chaos --minutes 10 --seed 7
  lab bench dataplane --quick
  lab enter controller gatewayctl where tenant/contoso
  lab enter gw1 gatewayctl top
  lab enter contoso-vm1 ping 10.2.0.1"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring a whole cloud up and show what it does and who reaches whom, live; Ctrl-C takes it away
    Run(live::Options),
    /// Have gateways fail at random, and watch that tenants' packets, seats and the controller's view come through it
    Chaos(chaos::Options),
    /// Measure beside a peer in the same run, and print the ratio
    Bench(bench::Options),
    /// Run a command on one of the running lab's machines
    Enter(enter::Options),
    /// Want BFD sessions, as an agent does
    #[command(hide = true)]
    OwnBfd(bfd_owner::Options),
    /// Have tenants' BGP without a data plane
    #[command(hide = true)]
    OwnBgp(bench::OwnBgp),
}

fn main() -> Result<std::process::ExitCode> {
    match Arguments::parse().command {
        Command::Run(options) => live::run(&options),
        Command::Chaos(options) => chaos::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Enter(options) => enter::enter(&options),
        Command::OwnBfd(options) => bfd_owner::own(&options),
        Command::OwnBgp(options) => bench::own_bgp(&options),
    }
}
