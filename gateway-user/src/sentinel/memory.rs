//! What a sentinel has to know after a restart: what it promised, and under which epochs it holds seats.
//!
//! The file is written before a promise is said. It is meant for a file system that goes with the machine's life (a tmpfs): a machine that
//! starts anew remembers nothing, and then it says nothing for one lease, which is safe.

use gateway_common::gate::{Gate, State};
use seat::{Epoch, GatewayName, Hold, Incarnation, Memory, Moment, Promise, SeatName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;

/// What is in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    format: u32,
    /// Another life of the machine has another memory.
    incarnation: Incarnation,
    promises: BTreeMap<SeatName, Kept>,
    /// Under which epoch each seat is held; until when the gates say.
    holds: BTreeMap<SeatName, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    epoch: u64,
    to: GatewayName,
}

/// The file.
#[derive(Debug)]
pub struct MemoryFile {
    path: PathBuf,
    record: Record,
    /// Whether there is a file: a process that may have forgotten what another said before it writes none, so that the next one knows.
    is_kept: bool,
}

impl MemoryFile {
    /// What is kept in this directory of this life of the machine.
    pub fn open(state: &Path, incarnation: Incarnation) -> Self {
        let path = state.join("sentinel.memory");
        let known = read(&path).filter(|record| record.format == FORMAT && record.incarnation == incarnation);
        let is_kept = known.is_some();
        let record = known.unwrap_or_else(|| Record {
            format: FORMAT,
            incarnation,
            promises: BTreeMap::new(),
            holds: BTreeMap::new(),
        });
        Self { path, record, is_kept }
    }

    /// Whether all is known that was ever said in this life of the machine.
    pub const fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// What a member starts with, together with what the gates say.
    pub fn recall(&self, gates: impl IntoIterator<Item = (SeatName, Gate)>) -> Memory {
        if !self.is_kept {
            return Memory::Blank;
        }
        let promise = |(seat, kept): (&SeatName, &Kept)| {
            (seat.clone(), Promise { epoch: Epoch(kept.epoch), to: kept.to.clone() })
        };
        let held = gates.into_iter().filter_map(|(seat, gate)| {
            let epoch = Epoch(*self.record.holds.get(&seat)?);
            let until = gate.expiry().map(Moment);
            match gate.state() {
                State::Replica => None,
                // A seat that was being handed over is held again: its gate is under its successor's epoch, this one under its own.
                State::Held | State::Yielding => Some((seat, (epoch, Hold::Held(until)))),
            }
        });
        Memory::Kept { promises: self.record.promises.iter().map(promise).collect(), held: held.collect() }
    }

    /// Keeps a promise, before it is said.
    ///
    /// # Errors
    /// The file cannot be written: then it must not be said.
    pub fn promise(&mut self, seat: &SeatName, promise: &Promise) -> io::Result<()> {
        let kept = Kept { epoch: promise.epoch.0, to: promise.to.clone() };
        let before = self.record.promises.insert(seat.clone(), kept);
        self.write().inspect_err(|_| {
            match before {
                Some(before) => self.record.promises.insert(seat.clone(), before),
                None => self.record.promises.remove(seat),
            };
        })
    }

    /// Notes under which epoch a seat is held, or that it is not.
    ///
    /// # Errors
    /// The file cannot be written: after a restart the seat is not known to be held.
    pub fn hold(&mut self, seat: &SeatName, epoch: Option<Epoch>) -> io::Result<()> {
        let epoch = epoch.map(|epoch| epoch.0);
        if self.record.holds.get(seat).copied() == epoch {
            return Ok(());
        }
        match epoch {
            Some(epoch) => self.record.holds.insert(seat.clone(), epoch),
            None => self.record.holds.remove(seat),
        };
        if self.is_kept { self.write() } else { Ok(()) }
    }

    /// From here on all is known that was said.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&mut self) -> io::Result<()> {
        if self.is_kept { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> io::Result<()> {
        let fresh = self.path.with_extension("memory.new");
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        // Not waited for until it is durable: what outlives the process is enough.
        serde_json::to_writer(io::BufWriter::new(file), &self.record)?;
        fs::rename(&fresh, &self.path)?;
        self.is_kept = true;
        Ok(())
    }
}

fn read(path: &Path) -> Option<Record> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .inspect_err(|error| {
                tracing::warn!(%error, path = %path.display(), "what was promised cannot be read: nothing is said for one lease");
            })
            .ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "what was promised cannot be read: nothing is said for one lease");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Incarnation = Incarnation(5);

    #[test]
    fn what_was_promised_and_held_is_known_again_in_the_same_life() {
        let directory = tempfile::tempdir().unwrap();
        let promise = Promise { epoch: Epoch(7), to: "b".into() };
        let seat = SeatName::from("s");
        let mut file = MemoryFile::open(directory.path(), LIFE);
        assert_eq!(file.recall([]), Memory::Blank);
        file.hold(&seat, Some(Epoch(6))).unwrap();
        assert!(!MemoryFile::open(directory.path(), LIFE).is_kept(), "what came before it is not known yet");
        file.promise(&seat, &promise).unwrap();
        let again = MemoryFile::open(directory.path(), LIFE);
        let gate = Gate::new(State::Yielding, 99);
        assert_eq!(
            again.recall([(seat.clone(), gate)]),
            Memory::Kept {
                promises: [(seat.clone(), promise)].into(),
                held: [(seat.clone(), (Epoch(6), Hold::Held(Some(Moment(99)))))].into(),
            }
        );
        let Memory::Kept { held, .. } = again.recall([(seat, Gate::REPLICA)]) else { panic!("it is known") };
        assert!(held.is_empty(), "the gate is shut");
        assert_eq!(MemoryFile::open(directory.path(), Incarnation(6)).recall([]), Memory::Blank);
    }

    #[test]
    fn a_damaged_file_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = MemoryFile::open(directory.path(), LIFE);
        file.keep().unwrap();
        assert!(MemoryFile::open(directory.path(), LIFE).is_kept());
        fs::write(directory.path().join("sentinel.memory"), b"{\"format\":1,").unwrap();
        assert_eq!(MemoryFile::open(directory.path(), LIFE).recall([]), Memory::Blank);
    }
}
