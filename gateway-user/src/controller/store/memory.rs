//! A store in memory, for tests and the simulator. What the other engines do over time it does at once, in plain calls.

use super::apply::{Applied, Rows, Stamp, apply};
use super::election::{self, Leader, Term};
use super::{Batch, Change, Entry, Error, Op, Outcome, Revision, Snapshot, Txn, WatchError};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A store in memory; clones share it.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    latest: Arc<watch::Sender<Revision>>,
}

#[derive(Debug, Default)]
struct State {
    revision: Revision,
    /// The last revision whose changes are forgotten.
    compacted: Revision,
    entries: BTreeMap<String, Entry>,
    log: VecDeque<Batch>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { state: Arc::default(), latest: Arc::new(watch::Sender::new(Revision::default())) }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries whose keys start with `prefix`.
    pub fn range(&self, prefix: &str) -> Snapshot {
        let state = self.state();
        Snapshot { revision: state.revision, entries: with_prefix(&state.entries, prefix).cloned().collect() }
    }

    /// The entry of one key.
    pub fn get(&self, key: &str) -> Option<Entry> {
        self.state().entries.get(key).cloned()
    }

    /// Applies a transaction. It fails only for a transaction that no engine takes.
    pub fn commit(&self, txn: &Txn) -> Result<Outcome, Error> {
        txn.check()?;
        let mut state = self.state();
        let next = state.revision.next();
        let Ok(applied) = apply(&mut state.entries, next, txn);
        match applied {
            Applied::Conflict => Ok(Outcome::Conflict),
            Applied::Nothing => Ok(Outcome::Committed(state.revision)),
            Applied::Changed(batch) => {
                state.revision = next;
                state.log.push_back(batch);
                drop(state);
                self.latest.send_modify(|latest| *latest = next.max(*latest));
                Ok(Outcome::Committed(next))
            }
        }
    }

    /// The changes to keys of `prefix` from this revision on.
    pub fn changes(&self, prefix: &str, from: Revision) -> Result<Vec<Batch>, WatchError> {
        let state = self.state();
        if from <= state.compacted {
            return Err(WatchError::Compacted(state.compacted));
        }
        let batches = state.log.iter().filter(|batch| batch.revision >= from);
        Ok(batches.filter_map(|batch| batch.clone().within(prefix)).collect())
    }

    /// Forgets the changes up to and including this revision, for watches that come later.
    pub fn compact(&self, revision: Revision) {
        let mut state = self.state();
        state.compacted = state.compacted.max(revision.min(state.revision));
        let compacted = state.compacted;
        state.log.retain(|batch| batch.revision > compacted);
    }

    /// Takes a leadership if nobody has it.
    pub fn acquire(&self, name: &str, address: &str) -> Option<Term> {
        let candidacy = election::Candidacy::new(name, address, self.get(&election::epoch_key(name)).as_ref()).ok()?;
        match self.commit(&candidacy.txn()).ok()? {
            Outcome::Committed(revision) => Some(candidacy.won(revision)),
            Outcome::Conflict => None,
        }
    }

    /// Ends a leadership, as the end of a lease does it: whoever had it is not told, but its guard holds no longer.
    pub fn expire(&self, name: &str) {
        let _ = self.commit(&Txn::of([Op::delete(election::leader_key(name))]));
    }

    /// Who leads.
    pub fn leader(&self, name: &str) -> Option<Leader> {
        Leader::read(&self.get(&election::leader_key(name))?).ok()
    }

    pub(super) fn latest(&self) -> watch::Receiver<Revision> {
        self.latest.subscribe()
    }
}

impl Rows for BTreeMap<String, Entry> {
    type Error = Infallible;

    fn stamp(&self, key: &str) -> Result<Option<Stamp>, Infallible> {
        Ok(self.get(key).map(|entry| Stamp { created: entry.created, modified: entry.modified }))
    }

    fn keys(&self, prefix: &str) -> Result<Vec<String>, Infallible> {
        Ok(with_prefix(self, prefix).map(|entry| entry.key.clone()).collect())
    }

    fn put(&mut self, entry: &Entry) -> Result<(), Infallible> {
        self.insert(entry.key.clone(), entry.clone());
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<(), Infallible> {
        self.remove(key);
        Ok(())
    }
}

fn with_prefix<'a>(entries: &'a BTreeMap<String, Entry>, prefix: &'a str) -> impl Iterator<Item = &'a Entry> {
    entries.range(prefix.to_owned()..).map(|(_, entry)| entry).take_while(move |entry| entry.key.starts_with(prefix))
}

/// What a reader of batches makes of its own copy of the entries.
pub fn replay(entries: &mut BTreeMap<String, Entry>, batch: &Batch) {
    for change in &batch.changes {
        match change {
            Change::Put(entry) => entries.insert(entry.key.clone(), entry.clone()),
            Change::Deleted { key } => entries.remove(key),
        };
    }
}
