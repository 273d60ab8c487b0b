//! `cargo xtask fuzz`: random input for everything that parses bytes from outside.

use crate::tool::Tool;
use crate::{process, workspace};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::process::Command;

const CARGO_FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2", version_arguments: &["--version"] };

/// Feed a parser random input, guided by coverage, until it breaks or the time is over
#[derive(Args)]
#[command(
    after_help = "Needs rustup's nightly toolchain; installs cargo-fuzz where it is missing. Inputs found on the way are kept
in target/fuzz-corpus; what breaks a target is shown and kept in tests/fuzz/artifacts.

Examples:
  cargo xtask fuzz --list
  cargo xtask fuzz plan --seconds 30"
)]
pub struct Arguments {
    /// What to fuzz
    #[arg(required_unless_present = "list")]
    target: Option<String>,
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Print the targets, one a line
    #[arg(long)]
    list: bool,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    let targets = targets()?;
    if arguments.list {
        for target in targets {
            println!("{target}");
        }
        return Ok(());
    }
    let Some(target) = &arguments.target else { bail!("which target? One of: {}", targets.join(", ")) };
    if !targets.contains(target) {
        bail!("there is no target `{target}`; there are: {}", targets.join(", "));
    }
    if !has_nightly() {
        bail!(
            "fuzzing needs the compiler's sanitizers, which only nightly has: rustup toolchain install nightly --profile minimal"
        );
    }
    let program = CARGO_FUZZ.ensure()?;
    let found = workspace::target().join("fuzz-corpus").join(target);
    fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let directory = directory();
    let mut command = Command::new(program);
    process::forget_compiler(&mut command);
    command.current_dir(&directory).env("RUSTUP_TOOLCHAIN", "nightly").env_remove("LD_LIBRARY_PATH");
    command.args(["run", "--fuzz-dir"]).arg(&directory).arg("--target-dir").arg(workspace::target().join("fuzz"));
    // libFuzzer writes what it finds to the first corpus and only reads the others.
    command.arg(target).arg(&found).arg(directory.join("corpus").join(target));
    command.arg("--").arg(format!("-max_total_time={}", arguments.seconds));
    process::run(&mut command)?;
    println!("fuzz: {target} withstood {} s", arguments.seconds);
    Ok(())
}

fn directory() -> std::path::PathBuf {
    workspace::root().join("tests/fuzz")
}

/// One target a file.
fn targets() -> Result<Vec<String>> {
    let directory = directory().join("fuzz_targets");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut targets = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(name) = path.file_stem()
        {
            targets.push(name.to_string_lossy().into_owned());
        }
    }
    targets.sort();
    Ok(targets)
}

fn has_nightly() -> bool {
    process::probe(Command::new("rustup").args(["toolchain", "list"]))
        .is_some_and(|text| text.lines().any(|line| line.starts_with("nightly-")))
}
