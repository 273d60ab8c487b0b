//! The plan on disk, so that an agent that starts without a controller does what it did last.
//!
//! One event a line, as it came: what a change costs is the change. When the file has grown to several times what it tells, it is written anew.

use super::files;
use super::protocol::{Document, PlanEvent, Position, Resume};
use anyhow::Context;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes that the file may have before it is looked at whether it should be written anew.
const SMALL: u64 = 1 << 20;

/// A plan's documents, as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Documents {
    /// How new they are; absent if there are none.
    pub position: Option<Position>,
    /// What concerns no tenant.
    pub base: Option<Document>,
    /// By tenant.
    pub tenants: BTreeMap<String, Document>,
}

/// An event does not follow from what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It comes from an older leadership.
    #[error(
        "it is from leadership {theirs}, and {ours} was seen already: it comes from a controller that leads no more"
    )]
    OlderEpoch {
        /// The event's.
        theirs: u64,
        /// The latest.
        ours: u64,
    },
    /// It changes something else than what is there.
    #[error("it changes another revision than the one that is here")]
    Gap,
}

impl Documents {
    /// Whether an event, or its first part, follows from what is there.
    ///
    /// # Errors
    /// It does not.
    pub fn check(&self, event: &PlanEvent) -> Result<(), Misfit> {
        if let Some(position) = self.position
            && event.epoch < position.epoch
        {
            return Err(Misfit::OlderEpoch { theirs: event.epoch, ours: position.epoch });
        }
        match (event.since, self.position) {
            (None, _) => Ok(()),
            (Some(since), Some(position)) if since == position.revision => Ok(()),
            (Some(_), _) => Err(Misfit::Gap),
        }
    }

    /// Takes a whole event that follows.
    pub fn take(&mut self, event: PlanEvent) {
        self.position = Some(event.position());
        if event.since.is_none() {
            (self.base, self.tenants) = (None, BTreeMap::new());
        }
        self.base = event.base.or(self.base.take());
        for name in &event.removed {
            self.tenants.remove(name);
        }
        self.tenants.extend(event.set);
    }

    /// What a controller has to know of them, so that it sends what differs; absent if there are none.
    pub(super) fn resume(&self) -> Option<Resume> {
        let tenants = self.tenants.iter().map(|(name, document)| (name.clone(), document.digest())).collect();
        Some(Resume { position: self.position?, base: self.base.as_ref().map(Document::digest), tenants })
    }

    /// All of it as one event.
    pub(super) fn whole(&self) -> Option<PlanEvent> {
        let Position { epoch, revision } = self.position?;
        Some(PlanEvent { epoch, revision, base: self.base.clone(), set: self.tenants.clone(), ..PlanEvent::default() })
    }
}

/// The file.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Bytes of the whole when it was written last.
    whole: u64,
    /// Bytes now.
    size: u64,
}

impl Journal {
    /// Opens the file, and reads what it tells: up to its last whole line, if a crash cut it.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn open(path: &Path) -> anyhow::Result<(Self, Documents)> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let mut documents = Documents::default();
        let mut rest = bytes.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let Ok(event) = serde_json::from_slice::<PlanEvent>(&rest[..end]) else { break };
            if documents.check(&event).is_err() {
                break;
            }
            documents.take(event);
            rest = &rest[end + 1..];
        }
        let mut journal = Self { path: path.to_owned(), whole: 0, size: bytes.len() as u64 };
        if !rest.is_empty() {
            tracing::warn!(path = %path.display(), bytes = rest.len(), "the end of the stored plan is damaged and left out; the controller sends it again");
        }
        if !bytes.is_empty() {
            journal.rewrite(&documents)?;
        }
        Ok((journal, documents))
    }

    /// Adds events that are in force. `documents` is what they lead to.
    ///
    /// # Errors
    /// They cannot be written; the file tells what it told before.
    pub fn append(&mut self, events: &[PlanEvent], documents: &Documents) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        for event in events {
            serde_json::to_writer(&mut lines, event)?;
            lines.push(b'\n');
        }
        let starts_anew = events.iter().any(|event| event.since.is_none());
        if starts_anew || self.size + lines.len() as u64 > SMALL.max(4 * self.whole) {
            return self.rewrite(documents);
        }
        let write = || {
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
            file.write_all(&lines).and_then(|()| file.sync_data()).inspect_err(|_| {
                // What was written of it would stand before the next line.
                let _ = file.set_len(self.size);
            })
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))?;
        self.size += lines.len() as u64;
        Ok(())
    }

    fn rewrite(&mut self, documents: &Documents) -> anyhow::Result<()> {
        let mut line = Vec::new();
        if let Some(whole) = documents.whole() {
            serde_json::to_writer(&mut line, &whole)?;
            line.push(b'\n');
        }
        files::write_private(&self.path, &line).with_context(|| format!("cannot write {}", self.path.display()))?;
        (self.whole, self.size) = (line.len() as u64, line.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::of(&text).expect("JSON")
    }

    fn event(revision: u64, since: Option<u64>, set: &[(&str, &str)], removed: &[&str]) -> PlanEvent {
        PlanEvent {
            epoch: 1,
            revision,
            since,
            base: since.is_none().then(|| document("base")),
            set: set.iter().map(|(name, text)| ((*name).to_owned(), document(text))).collect(),
            removed: removed.iter().map(|name| (*name).to_owned()).collect(),
            ..PlanEvent::default()
        }
    }

    fn write(journal: &mut Journal, documents: &mut Documents, event: PlanEvent) {
        documents.check(&event).expect("it follows");
        documents.take(event.clone());
        journal.append(&[event], documents).expect("written");
    }

    #[test]
    fn what_was_written_is_read_again_even_if_the_last_line_was_cut() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("plan.log");
        let (mut journal, mut documents) = Journal::open(&path).expect("empty");
        assert_eq!(documents, Documents::default());
        write(&mut journal, &mut documents, event(1, None, &[("a", "1"), ("b", "1")], &[]));
        write(&mut journal, &mut documents, event(3, Some(1), &[("a", "2")], &["b"]));
        let before = documents.clone();
        write(&mut journal, &mut documents, event(4, Some(3), &[("c", "1")], &[]));
        assert_eq!(Journal::open(&path).expect("read").1, documents);
        let (mut journal, mut documents) = Journal::open(&path).expect("read");
        write(&mut journal, &mut documents, event(5, Some(4), &[("d", "1")], &[]));
        let bytes = fs::read(&path).expect("there");
        fs::write(&path, &bytes[..bytes.len() - 3]).expect("cut");
        let (mut journal, read) = Journal::open(&path).expect("read");
        assert_eq!((read.position.expect("a plan").revision, read.tenants.contains_key("d")), (4, false));
        let mut documents = read;
        write(&mut journal, &mut documents, event(6, Some(4), &[], &["c"]));
        assert_eq!(Journal::open(&path).expect("read").1.tenants, before.tenants);
    }

    #[test]
    fn the_file_does_not_grow_for_ever() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("plan.log");
        let (mut journal, mut documents) = Journal::open(&path).expect("empty");
        let text = "x".repeat(100_000);
        write(&mut journal, &mut documents, event(0, None, &[], &[]));
        for revision in 1..40 {
            write(&mut journal, &mut documents, event(revision, Some(revision - 1), &[("a", &text)], &[]));
        }
        assert!(fs::metadata(&path).expect("there").len() < 2 * SMALL);
        assert_eq!(Journal::open(&path).expect("read").1, documents);
    }

    #[test]
    fn what_does_not_follow_is_refused() {
        let documents = Documents { position: Some(Position { epoch: 5, revision: 10 }), ..Documents::default() };
        let event = |epoch, since| PlanEvent { epoch, revision: 11, since, ..PlanEvent::default() };
        assert_eq!(documents.check(&event(4, None)), Err(Misfit::OlderEpoch { theirs: 4, ours: 5 }));
        assert_eq!(documents.check(&event(5, Some(9))), Err(Misfit::Gap));
        assert_eq!(Documents::default().check(&event(5, Some(9))), Err(Misfit::Gap));
        for (epoch, since) in [(5, Some(10)), (6, Some(10)), (6, None), (5, None)] {
            assert_eq!(documents.check(&event(epoch, since)), Ok(()));
        }
    }
}
