//! How a transaction is evaluated, for the engines that do it themselves.

use super::{Batch, Change, Compare, Entry, Expected, Op, Revision, Txn};

/// When a key came into being, and when it was put last.
#[derive(Clone, Copy)]
pub(super) struct Stamp {
    pub created: Revision,
    pub modified: Revision,
}

/// Rows by key, as an engine keeps them.
pub(super) trait Rows {
    type Error;
    fn stamp(&self, key: &str) -> Result<Option<Stamp>, Self::Error>;
    fn keys(&self, prefix: &str) -> Result<Vec<String>, Self::Error>;
    fn put(&mut self, entry: &Entry) -> Result<(), Self::Error>;
    fn delete(&mut self, key: &str) -> Result<(), Self::Error>;
}

/// What a transaction did.
pub(super) enum Applied {
    /// A compare did not hold, nothing was done.
    Conflict,
    /// There was nothing to change.
    Nothing,
    /// These changes were made.
    Changed(Batch),
}

/// Evaluates `txn`; its changes get the revision `next`. After an error the rows are to be thrown away.
pub(super) fn apply<R: Rows>(rows: &mut R, next: Revision, txn: &Txn) -> Result<Applied, R::Error> {
    for compare in &txn.compares {
        if !holds(rows, compare)? {
            return Ok(Applied::Conflict);
        }
    }
    let mut changes = Vec::with_capacity(txn.ops.len());
    for op in &txn.ops {
        match op {
            Op::Put { key, value } => {
                let created = rows.stamp(key)?.map_or(next, |stamp| stamp.created);
                let entry = Entry { key: key.clone(), value: value.clone(), created, modified: next };
                rows.put(&entry)?;
                changes.push(Change::Put(entry));
            }
            Op::Delete { key } => {
                if rows.stamp(key)?.is_some() {
                    rows.delete(key)?;
                    changes.push(Change::Deleted { key: key.clone() });
                }
            }
            Op::DeletePrefix { prefix } => {
                for key in rows.keys(prefix)? {
                    rows.delete(&key)?;
                    changes.push(Change::Deleted { key });
                }
            }
        }
    }
    if changes.is_empty() {
        return Ok(Applied::Nothing);
    }
    Ok(Applied::Changed(Batch { revision: next, changes }))
}

fn holds<R: Rows>(rows: &R, compare: &Compare) -> Result<bool, R::Error> {
    let stamp = rows.stamp(&compare.key)?;
    Ok(match (compare.expected, stamp) {
        (Expected::Absent, stamp) => stamp.is_none(),
        (_, None) => false,
        (Expected::Created(revision), Some(stamp)) => stamp.created == revision,
        (Expected::Modified(revision), Some(stamp)) => stamp.modified == revision,
    })
}
