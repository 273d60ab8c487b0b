//! `cargo xtask mutants`: do the tests notice when the code is wrong?

use crate::tool::Tool;
use crate::{process, workspace};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;
use std::fs;
use std::process::Command;

const CARGO_MUTANTS: Tool =
    Tool { name: "cargo-mutants", version: "27.1.0", version_arguments: &["mutants", "--version"] };
/// The share of mutants that the tests have to kill, in percent.
const GOAL: f64 = 90.0;

/// Change the packet code in small ways and see whether the tests notice
#[derive(Args)]
#[command(
    after_help = "Runs cargo-mutants on gateway-common and, where they exist, on the crates below protocols/; what is left
out, and why, stands in .cargo/mutants.toml. Lists the survivors: mutants that no test noticed. The
exit code is 1 if fewer than 90 % were killed.

Examples:
  cargo xtask mutants
  cargo xtask mutants -- --file '**/mss.rs'    only this file; words after -- go to cargo-mutants"
)]
pub struct Arguments {
    /// Mutants tested at the same time
    #[arg(long, default_value_t = 2)]
    jobs: u32,
    /// Further words for cargo-mutants
    #[arg(last = true, value_name = "WORDS")]
    words: Vec<String>,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    let program = CARGO_MUTANTS.ensure()?;
    let output = workspace::target().join("mutants");
    fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
    let mut command = Command::new(program);
    command.current_dir(workspace::root()).arg("mutants").args(packages()?);
    command.arg("--output").arg(&output).arg("--jobs").arg(arguments.jobs.to_string()).args(&arguments.words);
    // cargo-mutants fails when a mutant survives; what counts here is how many.
    let status = command.status().with_context(|| format!("cannot start `{}`", process::shown(&command)))?;
    let outcomes = output.join("mutants.out/outcomes.json");
    let text = fs::read_to_string(&outcomes)
        .with_context(|| format!("`{}` ({status}) left no result", process::shown(&command)))?;
    let result: Outcomes =
        serde_json::from_str(&text).with_context(|| format!("{} is not as expected", workspace::shown(&outcomes)))?;
    let survivors = fs::read_to_string(output.join("mutants.out/missed.txt")).unwrap_or_default();
    result.judge(&survivors)
}

/// The packages to change: gateway-common and every protocol crate.
fn packages() -> Result<Vec<String>> {
    let mut words = vec!["--package".to_owned(), "gateway-common".to_owned()];
    let Ok(protocols) = fs::read_dir(workspace::root().join("gateway-user/protocols")) else { return Ok(words) };
    for entry in protocols {
        let directory = entry?.path();
        if directory.join("Cargo.toml").exists() {
            let text =
                process::output(process::cargo().args(["pkgid", "--manifest-path"]).arg(directory.join("Cargo.toml")))?;
            let name = text.trim().rsplit('/').next().unwrap_or_default();
            words.extend(["--package".into(), package_name(name).into()]);
        }
    }
    Ok(words)
}

/// The name in the last part of a package id: `name#1.0.0`, `name@1.0.0` or `directory#name@1.0.0`.
fn package_name(id: &str) -> &str {
    let id = match id.split_once('#') {
        Some((_, name)) if name.contains('@') => name,
        Some((directory, _)) => directory,
        None => id,
    };
    id.split('@').next().unwrap_or(id)
}

/// How the mutants fared, in cargo-mutants' own words.
#[derive(Deserialize)]
struct Outcomes {
    caught: u32,
    missed: u32,
    timeout: u32,
    unviable: u32,
}

impl Outcomes {
    /// In percent, of the mutants that compile. A test that hangs has noticed.
    fn kill_rate(&self) -> f64 {
        let killed = self.caught + self.timeout;
        match killed + self.missed {
            0 => 0.0,
            all => f64::from(killed) * 100.0 / f64::from(all),
        }
    }

    fn judge(&self, survivors: &str) -> Result<()> {
        let rate = self.kill_rate();
        if !survivors.trim().is_empty() {
            println!("\nSurvivors:\n{}", survivors.trim_end());
        }
        println!(
            "\nmutants: {:.1} % killed ({} caught, {} timed out, {} survived; {} did not compile)",
            rate, self.caught, self.timeout, self.missed, self.unviable
        );
        if rate < GOAL {
            bail!("fewer than {GOAL} % of the mutants were killed: write tests that notice the survivors above");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kill_rate_leaves_out_what_does_not_compile() {
        let outcomes = Outcomes { caught: 8, missed: 1, timeout: 1, unviable: 90 };
        assert_eq!(outcomes.kill_rate(), 90.0);
        assert!(outcomes.judge("").is_ok());
        assert!(Outcomes { caught: 8, missed: 2, timeout: 0, unviable: 0 }.judge("x").is_err());
        assert!(Outcomes { caught: 0, missed: 0, timeout: 0, unviable: 3 }.judge("").is_err());
    }

    #[test]
    fn a_package_id_gives_its_name() {
        assert_eq!(package_name("bfd#0.1.0"), "bfd");
        assert_eq!(package_name("ikev2#gateway-ikev2@0.1.0"), "gateway-ikev2");
    }
}
