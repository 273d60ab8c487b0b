//! Every developer and user command of the gateway: `cargo xtask setup`, `build`, `run`, `test`, `mutants`, `bench`, `chaos`, `fuzz`, `dist`.
//!
//! To change what is installed, go to [`setup`]; how the XDP programs are compiled, to [`build`] and [`setup::toolchain`];
//! what CI runs, to [`test`]; what a user installs, to [`dist`].

mod bench;
mod build;
mod chaos;
mod dist;
mod fuzz;
mod mutants;
mod process;
mod run;
mod setup;
mod test;
mod tool;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Build, run and test the multitenant edge gateway
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    after_help = "Examples:
  cargo xtask run                       build everything and watch the lab, live
  cargo xtask run -- --plan plan.toml   run the gateway on this host
  cargo xtask test                      all that CI runs"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Setup(setup::Arguments),
    Build(build::Arguments),
    Run(run::Arguments),
    Test(test::Arguments),
    Mutants(mutants::Arguments),
    Bench(bench::Arguments),
    Chaos(chaos::Arguments),
    Fuzz(fuzz::Arguments),
    Dist(dist::Arguments),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup(arguments) => setup::main(&arguments),
        Command::Build(arguments) => build::main(&arguments),
        Command::Run(arguments) => run::main(&arguments),
        Command::Test(arguments) => test::main(&arguments),
        Command::Mutants(arguments) => mutants::main(&arguments),
        Command::Bench(arguments) => bench::main(&arguments),
        Command::Chaos(arguments) => chaos::main(&arguments),
        Command::Fuzz(arguments) => fuzz::main(&arguments),
        Command::Dist(arguments) => dist::main(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
