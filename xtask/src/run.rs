//! `cargo xtask run`: the lab, live, or the gateway on this host.

use crate::build::{self, Profile};
use crate::setup::{self, Group};
use crate::{process, workspace};
use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;
use std::process::Command;

/// Show a whole cloud at work: the lab, live; with a plan, a gateway on this host
#[derive(Args)]
#[command(after_help = "Without a plan, a network controller, three gateways, two compute hosts, and two tenants with
overlapping addresses and two sites each are made of network namespaces on this machine. The
controller is told of them by the files in examples/cloud; live tables show what it makes of them
and who reaches whom. At a terminal, Enter offers to kill a gateway, and shows what its tenants notice;
--kill does so once, without asking. Ctrl-C takes everything away again; the host's own interfaces, routes and
firewall are not touched.

With a plan, the gateway takes the ports of this host that the plan names.

Examples:
  cargo xtask run
  cargo xtask run -- --once
  cargo xtask run -- --kill gw1
  cargo xtask run -- --kill gw1 --by agent
  cargo xtask run -- --plan plan.toml
  cargo xtask run --release -- --plan plan.toml")]
pub struct Arguments {
    /// Build with optimisations
    #[arg(long)]
    release: bool,
    /// What comes after `--`
    #[command(flatten)]
    rest: Rest,
}

/// Clap reads options after `--` as plain words, so they are parsed here.
#[derive(Args)]
struct Rest {
    /// `--plan FILE`: run the gateway on this host by this plan; `--once`: print the lab's tables once and end; `--kill gw1`: kill that
    /// gateway (`--by silence`, `host`, `agent` or `handover`), print what its tenants noticed, and end
    #[arg(last = true, value_name = "--plan FILE")]
    words: Vec<String>,
}

/// What is to be run.
#[derive(Debug, PartialEq, Eq)]
enum Subject {
    Lab(Vec<String>),
    Gateway { plan: PathBuf, more: Vec<String> },
}

impl Subject {
    fn parse(words: &[String]) -> Result<Self> {
        let (mut plan, mut more) = (None, Vec::new());
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--plan" {
                match words.next() {
                    Some(file) => plan = Some(file.into()),
                    None => bail!("--plan needs a file: cargo xtask run -- --plan FILE"),
                }
            } else if let Some(file) = word.strip_prefix("--plan=") {
                plan = Some(file.into());
            } else {
                more.push(word.clone());
            }
        }
        Ok(match plan {
            Some(plan) => Self::Gateway { plan, more },
            None => Self::Lab(more),
        })
    }
}

/// The oldest kernel with what the lab's compute hosts attach to virtual machines (tcx).
const OLDEST: (u32, u32) = (6, 6);

/// Major and minor version of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Tells who would otherwise wait for a build in vain.
pub fn check_kernel() -> Result<()> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if version(&release).is_some_and(|version| version < OLDEST) {
        bail!(
            "the lab's compute hosts need Linux {}.{} or later, and this is {}; Debian 13 has it, and so have Debian 12's backports. \
             A gateway alone runs here: cargo xtask run -- --plan FILE",
            OLDEST.0,
            OLDEST.1,
            release.trim()
        );
    }
    Ok(())
}

pub fn main(arguments: &Arguments) -> Result<()> {
    let subject = Subject::parse(&arguments.rest.words)?;
    if let Subject::Gateway { plan, .. } = &subject
        && !plan.is_file()
    {
        bail!("there is no plan file {}", plan.display());
    }
    if !process::is_root() {
        bail!("running needs root, to load XDP programs and to make namespaces; try it as root or with sudo");
    }
    if matches!(subject, Subject::Lab(_)) {
        check_kernel()?;
    }
    let profile = Profile::chosen(arguments.release);
    let groups: &[Group] = match subject {
        Subject::Lab(_) => &[Group::Build, Group::Test],
        Subject::Gateway { .. } => &[Group::Build],
    };
    setup::ensure(groups)?;
    build::all(profile)?;
    let (program, words) = match subject {
        Subject::Lab(more) => ("lab", [vec!["run".into()], more].concat()),
        Subject::Gateway { plan, more } => {
            ("gatewayd", [vec!["gateway".into(), "--plan".into(), plan.display().to_string()], more].concat())
        }
    };
    let program = workspace::program(profile.directory(), program);
    if !process::is_executable(&program) {
        bail!("{} was not built", workspace::shown(&program));
    }
    process::become_program(Command::new(program).args(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Subject> {
        Subject::parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_plan_makes_it_this_host_and_no_plan_the_lab() {
        assert_eq!(parse("").unwrap(), Subject::Lab(vec![]));
        assert_eq!(parse("--once").unwrap(), Subject::Lab(vec!["--once".into()]));
        for line in ["--plan a.toml", "--plan=a.toml"] {
            assert_eq!(parse(line).unwrap(), Subject::Gateway { plan: "a.toml".into(), more: vec![] });
        }
        assert!(parse("--plan").is_err());
    }

    #[test]
    fn a_kernels_release_tells_its_version() {
        assert_eq!(version("6.1.0-18-amd64\n"), Some((6, 1)));
        assert_eq!(version("6.12.9+deb13-amd64\n"), Some((6, 12)));
        assert_eq!(version("unknown"), None);
    }
}
