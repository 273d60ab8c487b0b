//! What is read from and written to a store: the values that every engine shares.

use super::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A point in a store's history: it grows with every transaction that changes something, in no fixed steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The first revision that can follow this one: where a watch continues after a [`Snapshot`] or a [`Batch`].
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a leadership: durable, larger than that of every leadership before, restored stores included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The bytes under a key; cheap to clone.
pub type Value = Arc<[u8]>;

/// What stands under a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub value: Value,
    /// When the key came into being; another number after it was deleted and put again.
    pub created: Revision,
    /// When it was put last.
    pub modified: Revision,
}

/// Values may hold what only their owner should read, so only their size is shown.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, created, modified } = self;
        write!(f, "{key}: {} bytes, created at {created}, modified at {modified}", value.len())
    }
}

/// All entries of a prefix as they stood at one revision, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// That revision; a watch from [`Revision::next`] of it misses nothing.
    pub revision: Revision,
    /// The entries.
    pub entries: Vec<Entry>,
}

/// A condition that a transaction makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key that it speaks of.
    pub key: String,
    /// What has to hold.
    pub expected: Expected,
}

/// What a [`Compare`] asks of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It does not exist.
    Absent,
    /// It exists, and came into being at this revision.
    Created(Revision),
    /// It exists, and was put last at this revision.
    Modified(Revision),
}

impl Compare {
    /// The key does not exist.
    pub fn absent(key: impl Into<String>) -> Self {
        Self { key: key.into(), expected: Expected::Absent }
    }

    /// The key came into being at this revision.
    pub fn created(key: impl Into<String>, revision: Revision) -> Self {
        Self { key: key.into(), expected: Expected::Created(revision) }
    }

    /// The key was put last at this revision.
    pub fn modified(key: impl Into<String>, revision: Revision) -> Self {
        Self { key: key.into(), expected: Expected::Modified(revision) }
    }
}

/// One change that a transaction makes.
#[derive(Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a value, whether the key exists or not.
    Put {
        /// Where.
        key: String,
        /// What.
        value: Value,
    },
    /// Removes a key if it exists.
    Delete {
        /// Which.
        key: String,
    },
    /// Removes every key that starts so.
    DeletePrefix {
        /// How.
        prefix: String,
    },
}

impl Op {
    /// Writes a value.
    pub fn put(key: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Put { key: key.into(), value: value.into() }
    }

    /// Removes a key.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// Removes every key that starts with `prefix`.
    pub fn delete_prefix(prefix: impl Into<String>) -> Self {
        Self::DeletePrefix { prefix: prefix.into() }
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value } => write!(f, "put {key} ({} bytes)", value.len()),
            Self::Delete { key } => write!(f, "delete {key}"),
            Self::DeletePrefix { prefix } => write!(f, "delete {prefix}*"),
        }
    }
}

/// Changes that are made together, and only if every compare holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// The conditions.
    pub compares: Vec<Compare>,
    /// The changes, in order.
    pub ops: Vec<Op>,
}

impl Txn {
    /// The most compares, and the most operations, of a transaction: what a default etcd (128) takes, less what the engine adds.
    pub const MAX_OPERATIONS: usize = 100;
    /// The longest key, in bytes.
    pub const MAX_KEY: usize = 1024;
    /// The longest value, in bytes.
    pub const MAX_VALUE: usize = 32 << 20;

    /// Changes without a condition.
    pub fn of(ops: impl IntoIterator<Item = Op>) -> Self {
        Self { compares: Vec::new(), ops: ops.into_iter().collect() }
    }

    /// The same with one more condition.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Refuses what some engine could not do, so that it fails on every engine alike.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.compares.len() > Self::MAX_OPERATIONS || self.ops.len() > Self::MAX_OPERATIONS {
            return Err(Error::Invalid(format!(
                "a transaction of {} compares and {} operations; at most {} of each are possible",
                self.compares.len(),
                self.ops.len(),
                Self::MAX_OPERATIONS
            )));
        }
        for compare in &self.compares {
            check_key(&compare.key)?;
        }
        for (place, op) in self.ops.iter().enumerate() {
            match op {
                Op::Put { key, value } => {
                    check_key(key)?;
                    if value.len() > Self::MAX_VALUE {
                        return Err(Error::Invalid(format!(
                            "the value of {key} has {} bytes; at most {} are possible",
                            value.len(),
                            Self::MAX_VALUE
                        )));
                    }
                    let others = self.ops.iter().enumerate().filter(|(other, _)| *other != place);
                    if others.into_iter().any(|(_, other)| other.touches(key)) {
                        return Err(Error::Invalid(format!("{key} is changed twice in one transaction")));
                    }
                }
                Op::Delete { key } => check_key(key)?,
                Op::DeletePrefix { prefix } => check_key(prefix)?,
            }
        }
        Ok(())
    }

    /// Roughly how many bytes it takes on a wire or a disk.
    pub(super) fn size(&self) -> usize {
        let compares: usize = self.compares.iter().map(|compare| compare.key.len() + 32).sum();
        compares + self.ops.iter().map(Op::size).sum::<usize>()
    }
}

impl Op {
    /// Whether it changes this key.
    pub(super) fn touches(&self, this: &str) -> bool {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key == this,
            Self::DeletePrefix { prefix } => this.starts_with(prefix.as_str()),
        }
    }

    fn size(&self) -> usize {
        32 + match self {
            Self::Put { key, value } => key.len() + value.len(),
            Self::Delete { key } => key.len(),
            Self::DeletePrefix { prefix } => prefix.len(),
        }
    }
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() || key.len() > Txn::MAX_KEY || key.contains('\0') {
        return Err(Error::Invalid(format!(
            "{key:?} cannot be a key: those have 1 to {} bytes, none of them zero",
            Txn::MAX_KEY
        )));
    }
    Ok(())
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable. The revision is that of its changes, or the current one if it changed nothing.
    Committed(Revision),
    /// A compare did not hold, and nothing was changed.
    Conflict,
}

/// What happened to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was put.
    Put(Entry),
    /// It was deleted.
    Deleted {
        /// The key.
        key: String,
    },
}

impl Change {
    /// The key that changed.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Deleted { key } => key,
        }
    }
}

/// All changes of one revision, in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// That revision.
    pub revision: Revision,
    /// The changes, never none.
    pub changes: Vec<Change>,
}

impl Batch {
    /// What of it concerns this prefix.
    pub(super) fn within(mut self, prefix: &str) -> Option<Self> {
        self.changes.retain(|change| change.key().starts_with(prefix));
        (!self.changes.is_empty()).then_some(self)
    }
}
