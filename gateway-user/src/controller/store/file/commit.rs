//! The thread that writes: group commit, what happens when the disk fails, and how long changes are kept.

use super::super::apply::{Applied, apply};
use super::super::election::LEADERS;
use super::super::writer::Request;
use super::super::{Error, Op, Outcome, Revision, Txn};
use super::Shared;
use super::tables::{self, CHANGES, COMPACTED, ENTRIES, Logged, NUMBERS, Place, REVISION, Writable};
use redb::{Database, ReadableTable, Table};
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, mpsc};
use tokio::sync::oneshot;

/// How much is made durable at once at most.
const GROUP_REQUESTS: usize = 1024;
const GROUP_BYTES: usize = 16 << 20;

/// How long changes are kept for watches that come late. Whoever comes later than that lists again.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// At most so many revisions.
    pub revisions: usize,
    /// At most about so many bytes.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { revisions: 65_536, bytes: 64 << 20 }
    }
}

pub struct Committer {
    shared: Arc<Shared>,
    retention: Retention,
    log: Log,
}

/// What became of each request of a group.
type Results = Vec<Result<Outcome, Error>>;

impl Committer {
    pub fn new(shared: Arc<Shared>, retention: Retention) -> Result<Self, Error> {
        let log = shared.read(|transaction| Log::read(&transaction.open_table(CHANGES)?))?;
        Ok(Self { shared, retention, log })
    }

    /// A leadership does not outlive its process, and the lock on the directory shows that there is no other.
    pub fn forget_leaders(&mut self) -> Result<(), Error> {
        let (reply, _) = oneshot::channel();
        self.write(&[Request { txn: Txn::of([Op::delete_prefix(LEADERS)]), session: None, reply }]).map(drop)
    }

    /// Serves requests until nobody can make any.
    pub fn run(mut self, requests: &mpsc::Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            let mut bytes = first.txn.size();
            let mut group = vec![first];
            while group.len() < GROUP_REQUESTS && bytes < GROUP_BYTES {
                let Ok(request) = requests.try_recv() else { break };
                bytes += request.txn.size();
                group.push(request);
            }
            match self.write(&group) {
                Ok(results) => group.into_iter().zip(results).for_each(|(request, result)| request.answer(result)),
                Err(failed) => group.into_iter().for_each(|request| request.answer(Err(failed.clone()))),
            }
        }
    }

    /// Makes a group durable, or none of it.
    fn write(&mut self, group: &[Request]) -> Result<Results, Error> {
        self.reopen_if_closed()?;
        let attempt = {
            let database = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
            let Some(database) = &*database else { return Err(self.shared.closed()) };
            self.attempt(database, group)
        };
        let attempt = attempt.map_err(|error| self.recover(error))?;
        self.log.bytes =
            self.log.bytes + attempt.logged.iter().map(|(_, bytes)| bytes).sum::<u64>() - attempt.pruned_bytes;
        self.log.revisions.extend(attempt.logged);
        self.log.revisions.drain(..attempt.pruned);
        self.shared.publish(attempt.revision);
        Ok(attempt.results)
    }

    fn attempt(&self, database: &Database, group: &[Request]) -> Result<Attempt, redb::Error> {
        let transaction = database.begin_write()?;
        let mut entries = Writable(transaction.open_table(ENTRIES)?);
        let mut changes = transaction.open_table(CHANGES)?;
        let mut numbers = transaction.open_table(NUMBERS)?;
        let before = Revision(numbers.get(REVISION)?.map_or(0, |number| number.value()));
        let mut attempt =
            Attempt { revision: before, results: Vec::new(), logged: Vec::new(), pruned: 0, pruned_bytes: 0 };
        for request in group {
            let next = attempt.revision.next();
            let result = if request.is_halted() {
                Err(Error::Halted)
            } else if let Err(invalid) = request.txn.check() {
                Err(invalid)
            } else {
                Ok(match apply(&mut entries, next, &request.txn)? {
                    Applied::Conflict => Outcome::Conflict,
                    Applied::Nothing => Outcome::Committed(attempt.revision),
                    Applied::Changed(batch) => {
                        attempt.logged.push((next.0, tables::log(&mut changes, &batch)?));
                        attempt.revision = next;
                        Outcome::Committed(next)
                    }
                })
            };
            request.heed(&result);
            attempt.results.push(result);
        }
        let changed = attempt.revision != before;
        if changed {
            numbers.insert(REVISION, attempt.revision.0)?;
            if let Some(compacted) = self.prune(&mut changes, &mut attempt)? {
                numbers.insert(COMPACTED, compacted)?;
            }
        }
        drop((entries, changes, numbers));
        if changed {
            transaction.commit()?
        } else {
            transaction.abort()?
        }
        Ok(attempt)
    }

    /// Forgets the oldest revisions while there are too many; returns the last forgotten one.
    fn prune(&self, changes: &mut Changes<'_>, attempt: &mut Attempt) -> Result<Option<u64>, redb::Error> {
        let mut count = self.log.revisions.len() + attempt.logged.len();
        let mut bytes = self.log.bytes + attempt.logged.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let mut compacted = None;
        for &(revision, size) in &self.log.revisions {
            if count <= self.retention.revisions && bytes <= self.retention.bytes {
                break;
            }
            count -= 1;
            bytes -= size;
            attempt.pruned += 1;
            attempt.pruned_bytes += size;
            compacted = Some(revision);
        }
        if let Some(compacted) = compacted {
            changes.retain_in(..=(compacted, u32::MAX), |_, _| false)?;
        }
        Ok(compacted)
    }

    /// After an error of the disk redb wants its file opened anew. What is found then tells whether the group was applied.
    fn recover(&mut self, error: redb::Error) -> Error {
        let told = self.shared.directory.error(error);
        tracing::error!(error = %told, "a write to the store failed");
        let before = *self.shared.latest.borrow();
        *self.shared.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        match self.reopen_if_closed() {
            Ok(()) if *self.shared.latest.borrow() == before => told,
            // The changes are there although writing them failed, or nobody can look: the caller has to read again.
            Ok(()) | Err(_) => {
                Error::Unavailable { at: self.shared.directory.path().display().to_string(), why: told.to_string() }
            }
        }
    }

    fn reopen_if_closed(&mut self) -> Result<(), Error> {
        let mut database = self.shared.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_some() {
            return Ok(());
        }
        let opened = self.shared.directory.database()?;
        let revision = tables::revision(&opened).map_err(|error| self.shared.directory.error(error))?;
        *database = Some(opened);
        drop(database);
        self.log = self.shared.read(|transaction| Log::read(&transaction.open_table(CHANGES)?))?;
        self.shared.publish(revision);
        Ok(())
    }
}

type Changes<'t> = Table<'t, Place, Logged<'static>>;

/// What a group did if it becomes durable.
struct Attempt {
    revision: Revision,
    results: Results,
    /// Revisions and sizes of what was added to the log.
    logged: Vec<(u64, u64)>,
    /// How many of the oldest revisions were taken out of it.
    pruned: usize,
    pruned_bytes: u64,
}

/// What the log holds: its revisions with their sizes in bytes.
#[derive(Default)]
struct Log {
    revisions: VecDeque<(u64, u64)>,
    bytes: u64,
}

impl Log {
    fn read(table: &impl ReadableTable<Place, Logged<'static>>) -> Result<Self, redb::Error> {
        let mut log = Self::default();
        for row in table.iter()? {
            let (place, row) = row?;
            let (key, _, value) = row.value();
            let size = tables::size(key, value);
            log.bytes += size;
            match log.revisions.back_mut() {
                Some((revision, bytes)) if *revision == place.value().0 => *bytes += size,
                _ => log.revisions.push_back((place.value().0, size)),
            }
        }
        Ok(log)
    }
}
