//! `cargo xtask build`: the XDP programs, then the user-space programs that embed them.

use crate::setup::{self, Group, toolchain::Toolchain};
use crate::{process, workspace};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Build the XDP programs and the user-space programs
#[derive(Args)]
#[command(after_help = "Results:
  target/bpf/gateway.o                the XDP programs (always optimised: the kernel refuses others)
  target/debug/gatewayd, gatewayctl   the daemon, which holds the XDP programs, and its client
  target/debug/lab                    the lab and the benches

Examples:
  cargo xtask build
  cargo xtask build --release     to target/release, for measuring and for production")]
pub struct Arguments {
    /// Optimise the user-space programs
    #[arg(long)]
    release: bool,
}

/// How user-space programs are built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Debug,
    Release,
}

impl Profile {
    pub const fn chosen(release: bool) -> Self {
        if release { Self::Release } else { Self::Debug }
    }

    /// Where its programs lie in the target directory.
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

pub fn main(arguments: &Arguments) -> Result<()> {
    let profile = Profile::chosen(arguments.release);
    all(profile)?;
    println!("build: programs are in target/{}", profile.directory());
    Ok(())
}

/// Sets up what building needs and builds everything.
pub fn all(profile: Profile) -> Result<()> {
    setup::ensure(&[Group::Build])?;
    programs()?;
    user_space(profile)
}

/// A crate of BPF programs: where it lies and the object it gives.
const OBJECTS: [(&str, &str); 2] = [("gateway-ebpf", "gateway.o"), ("tests/ebpf", "lab.o")];

/// The crates that run in the kernel and so are no members of the workspace.
pub fn bpf_crates() -> impl Iterator<Item = PathBuf> {
    OBJECTS
        .iter()
        .map(|(directory, _)| workspace::root().join(directory))
        .filter(|path| path.join("Cargo.toml").exists())
}

/// Builds the BPF objects; what that needs has been set up.
pub fn programs() -> Result<()> {
    let toolchain = Toolchain::find()?;
    println!("build: XDP programs ({})", toolchain.name());
    for (directory, object) in OBJECTS {
        let directory = workspace::root().join(directory);
        if !directory.join("Cargo.toml").exists() {
            continue;
        }
        let object = workspace::bpf().join(object);
        let built = build_object(&toolchain, &directory)
            .with_context(|| format!("the BPF programs of {} were not built", workspace::shown(&directory)))?;
        copy_if_changed(&built, &object)?;
    }
    Ok(())
}

/// Builds one crate and returns the object that came out.
fn build_object(toolchain: &Toolchain, directory: &Path) -> Result<PathBuf> {
    let mut command = toolchain.build(directory);
    command.arg("--target-dir").arg(workspace::target().join("bpf-build"));
    command.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let messages = process::output(&mut command)?;
    let mut objects = executables(&messages);
    match (objects.pop(), objects.pop()) {
        (Some(object), None) => Ok(object),
        (None, _) => bail!("the crate has no program"),
        (Some(_), Some(_)) => bail!("the crate has several programs; one object holds them all"),
    }
}

/// The executables that cargo's messages name.
pub fn executables(messages: &str) -> Vec<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
        .collect()
}

/// Leaves the copy alone if it is the same, so that nothing is rebuilt for its time stamp.
fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    // A reader sees the old object or the new one, never a part.
    let partial = to.with_extension("partial");
    fs::write(&partial, &bytes)
        .and_then(|()| fs::rename(&partial, to))
        .with_context(|| format!("cannot write {}", to.display()))
}

/// Builds the workspace's programs.
fn user_space(profile: Profile) -> Result<()> {
    println!("build: user-space programs ({})", profile.directory());
    let mut command = cargo_build(profile);
    process::run(&mut command)
}

fn cargo_build(profile: Profile) -> Command {
    let mut command = process::cargo();
    command.args(["build", "--workspace", "--exclude", "xtask", "--bins"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","executable":null}
{"reason":"compiler-artifact","executable":"/x/gateway"}
not json
{"reason":"build-finished","success":true}"#;
        assert_eq!(executables(messages), [PathBuf::from("/x/gateway")]);
    }

    #[test]
    fn an_object_that_did_not_change_keeps_its_time_stamp() {
        let directory = std::env::temp_dir().join(format!("xtask-copy-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (from, to) = (directory.join("from"), directory.join("below/to.o"));
        fs::write(&from, "one").unwrap();
        copy_if_changed(&from, &to).unwrap();
        let before = fs::metadata(&to).unwrap().modified().unwrap();
        copy_if_changed(&from, &to).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().modified().unwrap(), before);
        fs::write(&from, "two").unwrap();
        copy_if_changed(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"two");
        fs::remove_dir_all(&directory).unwrap();
    }
}
