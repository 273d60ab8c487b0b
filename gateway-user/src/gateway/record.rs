//! What the daemon keeps beside the pins: who is running, and what was made or switched on this host and is to be undone.
//!
//! It lies below /run, so it ends with the boot, as all that it tells of does.

use super::slowpath::Ownership;
use crate::net::fitness::Switched;
use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// What is to be undone by `detach`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// What was switched on ports.
    pub switched: Switched,
    /// Tenants whose compartments were made. Noted before they are.
    pub compartments: BTreeSet<String>,
    /// Ports on which neighbours are kept.
    pub ports: BTreeSet<String>,
    /// Whether the slow path's veth pair was made. Noted before it is.
    pub slow_path: Ownership,
    /// The same of a compute host's VXLAN device.
    pub overlay: Ownership,
    /// Where the compartments are named.
    pub netns: PathBuf,
}

impl Record {
    /// Reads the record; an empty one if there is none.
    pub fn load(state: &Path) -> anyhow::Result<Self> {
        let path = path(state);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!("{} is damaged; what it told of must be undone by hand, then remove it", path.display())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes the record whole, or not at all.
    pub fn save(&self, state: &Path) -> anyhow::Result<()> {
        let path = path(state);
        let fresh = path.with_extension("json.new");
        let write = || -> anyhow::Result<()> {
            fs::write(&fresh, serde_json::to_vec_pretty(self)?)?;
            Ok(fs::rename(&fresh, &path)?)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes the record.
    pub fn remove(state: &Path) -> anyhow::Result<()> {
        match fs::remove_file(path(state)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("cannot remove the host's record")
            }
            _ => Ok(()),
        }
    }
}

fn path(state: &Path) -> PathBuf {
    state.join("host.json")
}

/// Held by the one daemon that works with a state directory.
#[derive(Debug)]
pub struct Lock {
    file: Flock<File>,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock, or tells who has it.
    pub fn take(state: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(state)
            .with_context(|| format!("cannot make {}; run as root, or choose another --state", state.display()))?;
        let path = state.join("gatewayd.pid");
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}; run as root, or choose another --state", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                file.set_len(0)?;
                file.rewind()?;
                writeln!(file, "{}", std::process::id())?;
                Ok(Self { file, path })
            }
            Err((mut file, nix::Error::EWOULDBLOCK)) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid)?;
                bail!(
                    "gatewayd is running already, as process {}; stop it first, or give this one its own --state, --pins and --socket",
                    pid.trim()
                )
            }
            Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// Gives the lock up for good, its file too.
    pub fn remove(self) -> anyhow::Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))?;
        drop(self.file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_the_first_ones_process() {
        let state = tempfile::tempdir().expect("a directory");
        let first = Lock::take(state.path()).expect("the first");
        let error = Lock::take(state.path()).expect_err("the second").to_string();
        assert!(error.contains(&format!("process {};", std::process::id())), "{error}");
        first.remove().expect("it is ours");
        Lock::take(state.path()).expect("free again");
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_missing_one_is_empty() {
        let state = tempfile::tempdir().expect("a directory");
        assert_eq!(Record::load(state.path()).expect("empty"), Record::default());
        let mut record = Record::default();
        record.compartments.insert("contoso".to_owned());
        record.switched.multicast.entry("tor0".to_owned()).or_default().insert([0x33, 0x33, 0xff, 1, 2, 3]);
        record.save(state.path()).expect("saved");
        assert_eq!(Record::load(state.path()).expect("there"), record);
        Record::remove(state.path()).expect("removed");
        Record::remove(state.path()).expect("twice");
        assert_eq!(Record::load(state.path()).expect("empty"), Record::default());
    }
}
