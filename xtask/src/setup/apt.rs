//! Debian's package manager.

use crate::process;
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Installs packages without their recommendations, and without starting the daemons that some of them hold.
pub fn install(mut packages: Vec<String>) -> Result<()> {
    packages.sort();
    packages.dedup();
    let line = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if process::find("apt-get").is_none() {
        bail!(
            "this system has no apt-get, so this has to be installed by hand; Debian calls the packages\n  {}",
            packages.join(" ")
        );
    }
    if !process::is_root() {
        bail!("installing packages needs root; run this, then try again\n  sudo {line}");
    }
    make_available(&packages)?;
    println!("setup: running `{line}`");
    let install = || process::run(quiet("apt-get").args(["install", "--no-install-recommends"]).args(&packages));
    if install().is_err() {
        // The lists may name a version that the mirror no longer has.
        update()?;
        install()?;
    }
    Ok(())
}

/// Downloads a package's file into `directory`.
pub fn download(package: &str, directory: &std::path::Path) -> Result<()> {
    make_available(&[package.into()])?;
    process::run(quiet("apt-get").args(["download", package]).current_dir(directory))
}

/// The packages that `package` depends on.
pub fn dependencies(package: &str) -> Vec<String> {
    let text = process::probe(Command::new("apt-cache").args(["depends", package])).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().strip_prefix("Depends: ")).map(Into::into).collect()
}

/// Fetches the package lists if they do not offer all of `packages`.
fn make_available(packages: &[String]) -> Result<()> {
    if unavailable(packages).is_empty() {
        return Ok(());
    }
    update()?;
    let missing = unavailable(packages);
    if !missing.is_empty() {
        bail!(
            "apt offers no package {}; the tried systems are Debian 12 and later with their security updates enabled",
            missing.join(", ")
        );
    }
    Ok(())
}

/// Refreshes the package lists.
pub fn update() -> Result<()> {
    println!("setup: running `apt-get update`, since the package lists are missing or old");
    process::run(quiet("apt-get").arg("update")).context("the package lists could not be fetched")
}

fn unavailable(packages: &[String]) -> Vec<String> {
    let text = process::probe(Command::new("apt-cache").arg("policy").args(packages)).unwrap_or_default();
    let offered = offered(&text);
    packages.iter().filter(|package| !offered.contains(&package.as_str())).cloned().collect()
}

/// The packages with a candidate in the output of `apt-cache policy`.
fn offered(policy: &str) -> Vec<&str> {
    let mut offered = Vec::new();
    let mut package = "";
    for line in policy.lines() {
        if let Some(name) = line.strip_suffix(':')
            && !line.starts_with(' ')
        {
            package = name;
        } else if let Some(candidate) = line.trim().strip_prefix("Candidate: ")
            && candidate != "(none)"
        {
            offered.push(package);
        }
    }
    offered
}

/// A command of apt that asks nothing and starts no daemon: systemctl and invoke-rc.d obey these two variables.
fn quiet(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args([
            "--yes",
            "--quiet=2",
            "-o",
            "DPkg::Lock::Timeout=300",
            "-o",
            "APT::Sandbox::User=root",
            "-o",
            "Dpkg::Use-Pty=0",
        ])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C")
        .env("SYSTEMD_OFFLINE", "1")
        .env("RUNLEVEL", "1");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_with_a_candidate_are_offered() {
        let policy = "iperf3:\n  Installed: (none)\n  Candidate: 3.12-1\n  Version table:\n     3.12-1 500\n\
                      gone:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n";
        assert_eq!(offered(policy), ["iperf3"]);
        assert!(offered("").is_empty());
    }
}
