//! A short run of `lab chaos`: what fails comes back, and nothing happened meanwhile that must not.

use anyhow::{Context, Result, ensure};
use std::process::Command;

/// Long enough for a few failures; `cargo xtask chaos` takes its time.
const MINUTES: &str = "0.6";
const SEED: &str = "7";

#[test]
fn gateways_fail_at_random_and_nobodys_packets_go_astray_or_stay_away_for_long() -> Result<()> {
    let run = ["chaos", "--minutes", MINUTES, "--seed", SEED];
    let output = Command::new(env!("CARGO_BIN_EXE_lab")).args(run).output()?;
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let about = || format!("{shown}\n{said}");
    ensure!(output.status.success(), "{}", about());
    ensure!(shown.contains(&format!("seed {SEED}\n")), "{}", about());
    let number = |after: &str| -> Result<usize> {
        let rest = shown.split_once(after).with_context(about)?.1;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().with_context(about)
    };
    ensure!(number("packets: ")? > 50_000, "{}", about());
    ensure!(number("wrong tenant ")? == 0, "{}", about());
    ensure!(number("wrong way of the tenant ")? == 0, "{}", about());
    ensure!(shown.matches("all is well").count() >= 2, "hardly anything happened\n{}", about());
    Ok(())
}
