//! Cargo's own tools, pinned by version: found where the user has them, or installed.

use crate::{process, workspace};
use anyhow::{Context, Result, bail};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that `cargo install` brings.
pub struct Tool {
    /// The crate, and the program's name.
    pub name: &'static str,
    /// The version that is known to work.
    pub version: &'static str,
    /// How it is asked for its version.
    pub version_arguments: &'static [&'static str],
}

impl Tool {
    /// Every copy of the tool with the pinned version: in `PATH`, cargo's own directory and ours.
    pub fn candidates(&self) -> impl Iterator<Item = PathBuf> {
        process::find_all(self.name)
            .chain([cargo_home(), own_root()].map(|root| root.join("bin").join(self.name)))
            .filter(|path| process::is_executable(path) && self.has_version(path))
    }

    fn has_version(&self, path: &Path) -> bool {
        process::probe(Command::new(path).args(self.version_arguments))
            .is_some_and(|text| text.split_whitespace().any(|word| word == self.version))
    }

    /// What [`Tool::install`] will run.
    pub fn installation(&self, arguments: &[&str]) -> Command {
        let mut command = process::cargo();
        process::forget_compiler(&mut command);
        // A tool's build is thrown away; it does not belong among ours.
        command.env_remove("CARGO_TARGET_DIR");
        command.args(["install", self.name, "--version", self.version, "--locked"]).args(arguments);
        // Another version that the user has stays the user's.
        if process::find(self.name).is_some() || cargo_home().join("bin").join(self.name).exists() {
            command.arg("--force").arg("--root").arg(own_root());
        }
        command
    }

    /// The tool, installed if need be.
    pub fn ensure(&self) -> Result<PathBuf> {
        if let Some(path) = self.candidates().next() {
            return Ok(path);
        }
        let mut command = self.installation(&[]);
        println!("{} {} is missing: running `{}`", self.name, self.version, process::shown(&command));
        process::run(&mut command).with_context(|| format!("could not install {}", self.name))?;
        match self.candidates().next() {
            Some(path) => Ok(path),
            None => bail!(
                "{} {} was installed but is not found; is cargo's bin directory elsewhere?",
                self.name,
                self.version
            ),
        }
    }
}

/// Where tools go when the user has another version of them.
fn own_root() -> PathBuf {
    workspace::target().join("tools")
}

fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cargo"))
}
