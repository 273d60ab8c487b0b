//! What is in the file.

use super::super::apply::{Rows, Stamp};
use super::super::{Batch, Change, Entry, Revision, Snapshot};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition};

/// Key → created, modified, value.
pub const ENTRIES: TableDefinition<&str, (u64, u64, &[u8])> = TableDefinition::new("entries");
/// Revision and place within it → key, created, value; no value where the key was deleted.
pub type Place = (u64, u32);
/// See [`Place`].
pub type Logged<'a> = (&'a str, u64, Option<&'a [u8]>);
pub const CHANGES: TableDefinition<Place, Logged> = TableDefinition::new("changes");
/// The numbers below.
pub const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");

/// The layout of these tables.
pub const FORMAT: &str = "format";
/// The layout that this code writes and reads.
pub const THIS_FORMAT: u64 = 1;
/// The last revision.
pub const REVISION: &str = "revision";
/// The last revision whose changes are forgotten.
pub const COMPACTED: &str = "compacted";

/// How much a watch reads at once.
const READ_CHANGES: usize = 1024;
const READ_BYTES: usize = 4 << 20;

type Result<T> = std::result::Result<T, redb::Error>;

pub fn revision(database: &Database) -> Result<Revision> {
    number(&database.begin_read()?, REVISION).map(Revision)
}

fn number(transaction: &ReadTransaction, name: &str) -> Result<u64> {
    Ok(transaction.open_table(NUMBERS)?.get(name)?.map_or(0, |number| number.value()))
}

pub fn range(transaction: &ReadTransaction, prefix: &str) -> Result<Snapshot> {
    let revision = Revision(number(transaction, REVISION)?);
    let table = transaction.open_table(ENTRIES)?;
    let mut entries = Vec::new();
    for row in table.range(prefix..)? {
        let (key, row) = row?;
        if !key.value().starts_with(prefix) {
            break;
        }
        entries.push(entry(key.value(), row.value()));
    }
    Ok(Snapshot { revision, entries })
}

pub fn get(transaction: &ReadTransaction, key: &str) -> Result<Option<Entry>> {
    let row = transaction.open_table(ENTRIES)?.get(key)?;
    Ok(row.map(|row| entry(key, row.value())))
}

fn entry(key: &str, (created, modified, value): (u64, u64, &[u8])) -> Entry {
    Entry { key: key.into(), value: value.into(), created: Revision(created), modified: Revision(modified) }
}

/// Changes from `from` on and the revision up to which they are complete, or the last revision whose changes are forgotten.
pub fn changes(
    transaction: &ReadTransaction,
    prefix: &str,
    from: Revision,
) -> Result<std::result::Result<(Vec<Batch>, Revision), Revision>> {
    let compacted = Revision(number(transaction, COMPACTED)?);
    if from <= compacted {
        return Ok(Err(compacted));
    }
    let mut batches: Vec<Batch> = Vec::new();
    let (mut read, mut bytes) = (0, 0);
    let mut scanned = Revision(from.0 - 1);
    for row in transaction.open_table(CHANGES)?.range((from.0, 0)..)? {
        let (place, row) = row?;
        let revision = Revision(place.value().0);
        if revision != scanned && (read >= READ_CHANGES || bytes >= READ_BYTES) {
            return Ok(Ok((batches, scanned)));
        }
        scanned = revision;
        let (key, created, value) = row.value();
        read += 1;
        if !key.starts_with(prefix) {
            continue;
        }
        bytes += value.map_or(0, <[u8]>::len);
        let change = match value {
            Some(value) => Change::Put(entry(key, (created, revision.0, value))),
            None => Change::Deleted { key: key.into() },
        };
        match batches.last_mut() {
            Some(batch) if batch.revision == revision => batch.changes.push(change),
            _ => batches.push(Batch { revision, changes: vec![change] }),
        }
    }
    Ok(Ok((batches, Revision(number(transaction, REVISION)?))))
}

/// Writes a batch into the log and returns how many bytes it takes there.
pub fn log(table: &mut Table<'_, Place, Logged<'static>>, batch: &Batch) -> Result<u64> {
    let mut bytes = 0;
    for (place, change) in (0..).zip(&batch.changes) {
        let (created, value) = match change {
            Change::Put(entry) => (entry.created.0, Some(&*entry.value)),
            Change::Deleted { .. } => (0, None),
        };
        table.insert((batch.revision.0, place), (change.key(), created, value))?;
        bytes += size(change.key(), value);
    }
    Ok(bytes)
}

pub fn size(key: &str, value: Option<&[u8]>) -> u64 {
    (key.len() + value.map_or(0, <[u8]>::len) + 32) as u64
}

/// The entries while they are written.
pub struct Writable<'t>(pub Table<'t, &'static str, (u64, u64, &'static [u8])>);

impl Rows for Writable<'_> {
    type Error = redb::Error;

    fn stamp(&self, key: &str) -> Result<Option<Stamp>> {
        let row = self.0.get(key)?;
        Ok(row.map(|row| {
            let (created, modified, _) = row.value();
            Stamp { created: Revision(created), modified: Revision(modified) }
        }))
    }

    fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        for row in self.0.range(prefix..)? {
            let key = row?.0;
            if !key.value().starts_with(prefix) {
                break;
            }
            keys.push(key.value().to_owned());
        }
        Ok(keys)
    }

    fn put(&mut self, entry: &Entry) -> Result<()> {
        self.0.insert(entry.key.as_str(), (entry.created.0, entry.modified.0, &*entry.value))?;
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<()> {
        self.0.remove(key)?;
        Ok(())
    }
}
