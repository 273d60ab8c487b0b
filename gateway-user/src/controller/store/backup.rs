//! Backup and restore: the whole configuration as lines of JSON, consistent at one revision.
//!
//! ```text
//! {"format":"gateway-controller-backup","version":1,"revision":812,"epoch":7}
//! {"key":"resources/gateways/gw1","json":{…}}            a value that is JSON
//! {"key":"…","text":"…"}                                 other text
//! {"key":"…","hex":"…"}                                  anything else
//! {"entries":2,"sha256":"…"}                             of all lines before
//! ```
//!
//! Sealed secrets stay sealed: the key file is not part of a backup and is needed to use a restored store.

use super::super::core::ledger::CREDENTIALS;
use super::super::core::repeats::REQUESTS;
use super::election::{EPOCHS, LEADERS, read_epoch};
use super::seal::{Keys, SEALING, hex, unhex};
use super::{Entry, Epoch, Error, Op, Outcome, Revision, Store, Txn, Value, Writer};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::io::{BufRead, Read, Write};

const FORMAT: &str = "gateway-controller-backup";
const VERSION: u32 = 1;
/// The longest line: that of the largest value, in the encoding that needs most, and its key.
const LONGEST_LINE: usize = 6 * (Txn::MAX_VALUE + Txn::MAX_KEY) + 1024;
/// What is restored in one transaction.
const RESTORED_TOGETHER: usize = 512 << 10;
/// Stands in the store while a restore is under way.
pub const RESTORING: &str = "restoring";
/// What a controller keeps for itself, which no backup holds.
const OWN: [&str; 4] = [LEADERS, EPOCHS, RESTORING, SEALING];

/// The configuration of a store at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The revision.
    pub revision: Revision,
    /// The last leadership's number; what is restored goes on above it.
    pub epoch: Epoch,
    /// Keys and values, in the order of the keys.
    pub entries: Vec<(String, Value)>,
}

/// Why something is not a backup, or cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It cannot be read or written.
    #[error("the backup cannot be read or written: {0}")]
    Io(#[from] std::io::Error),
    /// It is something else.
    #[error("this is not a backup of a controller: {0}")]
    Foreign(String),
    /// A later version wrote it.
    #[error(
        "a later version wrote this backup (its version is {0}, this program knows {VERSION}): restore it with that version"
    )]
    Version(u32),
    /// It is not complete, or was changed.
    #[error("line {line} of the backup: {why}; nothing was restored, take another copy of it")]
    Damaged {
        /// Where.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The store holds something.
    #[error(
        "the store is not empty, it holds {0} keys: restore into an empty store, or with --force, which deletes what is there"
    )]
    NotEmpty(usize),
    /// The key file is another one's.
    #[error(
        "the backup's secrets are sealed with the key {0}, which this controller's secrets.key does not hold: put that key's line \
         into it from the copy that was kept apart, on every controller, and restore again; nothing was changed"
    )]
    Key(String),
    /// Another controller leads.
    #[error("this controller lost its leadership while it restored: restore again, at the controller that leads")]
    NotLeader,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

/// What to do with what is in a store already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse to restore.
    Keep,
    /// Delete it.
    Replace,
}

#[derive(Serialize, Deserialize)]
struct Heading {
    format: String,
    version: u32,
    revision: Revision,
    epoch: Epoch,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ending {
    entries: usize,
    sha256: String,
}

impl Backup {
    /// Takes all of a store at one revision.
    pub async fn take(store: &Store) -> Result<Self, BackupError> {
        let snapshot = store.range("").await?;
        if snapshot.entries.iter().any(|entry| entry.key == RESTORING) {
            return Err(interrupted().into());
        }
        let epoch = last_epoch(&snapshot.entries)?;
        let entries = snapshot.entries.into_iter().filter(|entry| !is_own(&entry.key));
        Ok(Self {
            revision: snapshot.revision,
            epoch,
            entries: entries.map(|entry| (entry.key, entry.value)).collect(),
        })
    }

    /// Writes it.
    pub fn write(&self, to: impl Write) -> Result<(), BackupError> {
        let mut lines = Lines { to, digest: Context::new(&SHA256) };
        let heading = Heading { format: FORMAT.into(), version: VERSION, revision: self.revision, epoch: self.epoch };
        lines.write(&heading)?;
        for (key, value) in &self.entries {
            lines.write(&Line::of(key, value))?;
        }
        let sha256 = hex(lines.digest.clone().finish().as_ref()).to_string();
        lines.write(&Ending { entries: self.entries.len(), sha256 })?;
        Ok(lines.to.flush()?)
    }

    /// Reads and checks one.
    pub fn read(from: impl BufRead) -> Result<Self, BackupError> {
        let mut lines = Reader { from, digest: Context::new(&SHA256), number: 0 };
        let Some(text) = lines.next()? else { return Err(BackupError::Foreign("it is empty".into())) };
        let heading: Heading =
            serde_json::from_slice(&text).map_err(|error| BackupError::Foreign(error.to_string()))?;
        if heading.format != FORMAT {
            return Err(BackupError::Foreign(format!("it calls itself {:?}", heading.format)));
        }
        if heading.version != VERSION {
            return Err(BackupError::Version(heading.version));
        }
        lines.digest.update(&text);
        let mut entries: Vec<(String, Value)> = Vec::new();
        loop {
            let Some(text) = lines.next()? else {
                return Err(lines.damaged(format!("it ends after {} entries, without its last line", entries.len())));
            };
            if let Ok(line) = serde_json::from_slice::<Line>(&text) {
                let (key, value) = line.read().map_err(|why| lines.damaged(why))?;
                if entries.last().is_some_and(|(last, _)| *last >= key) {
                    return Err(lines.damaged(format!("the key {key} is not in order")));
                }
                entries.push((key, value));
                lines.digest.update(&text);
                continue;
            }
            let ending: Ending = serde_json::from_slice(&text)
                .map_err(|error| lines.damaged(format!("it is not an entry ({error})")))?;
            let sha256 = hex(lines.digest.clone().finish().as_ref());
            if ending.entries != entries.len() || ending.sha256 != *sha256 {
                return Err(lines.damaged("the checksum of the lines before it does not fit".into()));
            }
            if lines.next()?.is_some() {
                return Err(lines.damaged("something follows the last line".into()));
            }
            return Ok(Self { revision: heading.revision, epoch: heading.epoch, entries });
        }
    }

    /// Whether these keys open its secrets.
    pub fn check_keys(&self, keys: &Keys) -> Result<(), BackupError> {
        let texts = self.entries.iter().filter_map(|(_, value)| str::from_utf8(value).ok());
        match texts.filter_map(|text| keys.missing(text)).next() {
            Some(id) => Err(BackupError::Key(id.into())),
            None => Ok(()),
        }
    }

    /// Writes it into a store, as the store's leader. Afterwards give the leadership up and campaign again: the next one has an epoch
    /// above all that were given out before the backup's store was lost, and reads what is there now.
    ///
    /// `now_millis` is the time since 1970. A restore that is interrupted leaves a store that no controller starts with; it is
    /// repeated with [`Existing::Replace`].
    pub async fn restore(&self, writer: &mut Writer, existing: Existing, now_millis: u64) -> Result<(), BackupError> {
        let present = writer.store().range("").await?.entries;
        // Who was let in or shut out here stays so: a backup knows nothing of what was revoked since.
        let here = |key: &str| key.starts_with(CREDENTIALS);
        let theirs: Vec<&Entry> = present.iter().filter(|entry| !is_own(&entry.key) && !is_trace(&entry.key)).collect();
        let interrupted_before = present.iter().any(|entry| entry.key == RESTORING);
        if existing == Existing::Keep && (!theirs.is_empty() || interrupted_before) {
            return Err(BackupError::NotEmpty(theirs.len()));
        }
        commit(writer, vec![Op::put(RESTORING, self.revision.to_string().into_bytes())]).await?;
        let kept: BTreeSet<&str> = self.entries.iter().map(|(key, _)| key.as_str()).collect();
        let others = present.iter().filter(|entry| !is_own(&entry.key) && !here(&entry.key));
        let gone = others.filter(|entry| !kept.contains(entry.key.as_str()));
        let deletes = gone.map(|entry| Op::delete(&entry.key));
        let known: BTreeSet<&str> = present.iter().map(|entry| entry.key.as_str()).filter(|key| here(key)).collect();
        let puts = self.entries.iter().filter(|(key, _)| !known.contains(key.as_str()));
        let puts = puts.map(|(key, value)| Op::put(key, value.clone()));
        let (mut ops, mut bytes) = (Vec::new(), 0);
        for op in deletes.chain(puts) {
            let size = match &op {
                Op::Put { key, value } => key.len() + value.len(),
                Op::Delete { key } | Op::DeletePrefix { prefix: key } => key.len(),
            };
            if !ops.is_empty() && (bytes + size > RESTORED_TOGETHER || ops.len() == Txn::MAX_OPERATIONS / 2) {
                commit(writer, std::mem::take(&mut ops)).await?;
                bytes = 0;
            }
            bytes += size;
            ops.push(op);
        }
        commit(writer, ops).await?;
        let epoch = self.epoch.max(last_epoch(&present)?).0.max(now_millis);
        let epochs = present.iter().filter(|entry| entry.key.starts_with(EPOCHS));
        let mut last: Vec<Op> = epochs.map(|entry| Op::put(&entry.key, epoch.to_string().into_bytes())).collect();
        last.push(Op::delete(RESTORING));
        commit(writer, last).await
    }
}

/// Refuses a store that a restore has not finished.
pub async fn check_complete(store: &Store) -> Result<(), Error> {
    match store.get(RESTORING).await? {
        Some(_) => Err(interrupted()),
        None => Ok(()),
    }
}

fn interrupted() -> Error {
    Error::Refused {
        place: "the store".into(),
        why: "a restore into it was interrupted".into(),
        remedy: "restore the backup again: `gatewayctl restore FILE --force`".into(),
    }
}

async fn commit(writer: &mut Writer, ops: Vec<Op>) -> Result<(), BackupError> {
    if ops.is_empty() {
        return Ok(());
    }
    match writer.commit(Txn::of(ops)).await? {
        Outcome::Committed(_) => Ok(()),
        Outcome::Conflict => Err(BackupError::NotLeader),
    }
}

/// Whether a key is only a trace of somebody's asking.
fn is_trace(key: &str) -> bool {
    [CREDENTIALS, REQUESTS].iter().any(|trace| key.starts_with(trace))
}

fn is_own(key: &str) -> bool {
    OWN.iter().any(|own| key.starts_with(own))
}

fn last_epoch(entries: &[Entry]) -> Result<Epoch, Error> {
    let epochs = entries.iter().filter(|entry| entry.key.starts_with(EPOCHS)).map(read_epoch);
    epochs.collect::<Result<Vec<_>, _>>().map(|epochs| epochs.into_iter().max().unwrap_or_default())
}

impl Line {
    fn of(key: &str, value: &[u8]) -> Self {
        let mut line = Self { key: key.into(), json: None, text: None, hex: None };
        match str::from_utf8(value) {
            Err(_) => line.hex = Some(hex(value).to_string()),
            Ok(text) => match serde_json::from_str::<Box<RawValue>>(text) {
                // What is read back has to be the same bytes, so no line breaks and no space around it.
                Ok(json) if json.get() == text && !text.contains(['\n', '\r']) && text != "null" => {
                    line.json = Some(json)
                }
                _ => line.text = Some(text.into()),
            },
        }
        line
    }

    fn read(self) -> Result<(String, Value), String> {
        let value = match (self.json, self.text, self.hex) {
            (Some(json), None, None) => json.get().as_bytes().into(),
            (None, Some(text), None) => text.into_bytes().into(),
            (None, None, Some(hex)) => unhex(&hex).ok_or("this is not hexadecimal")?.into(),
            _ => return Err("an entry has one of json, text and hex".into()),
        };
        if is_own(&self.key) {
            return Err(format!("{} is no key of a configuration", self.key));
        }
        Txn::of([Op::Put { key: self.key.clone(), value: Value::clone(&value) }])
            .check()
            .map_err(|error| error.to_string())?;
        Ok((self.key, value))
    }
}

struct Lines<W> {
    to: W,
    digest: Context,
}

impl<W: Write> Lines<W> {
    fn write(&mut self, line: &impl Serialize) -> Result<(), BackupError> {
        let mut text = serde_json::to_vec(line).map_err(std::io::Error::from)?;
        text.push(b'\n');
        self.digest.update(&text);
        Ok(self.to.write_all(&text)?)
    }
}

struct Reader<R> {
    from: R,
    digest: Context,
    number: usize,
}

impl<R: BufRead> Reader<R> {
    /// The next line with its end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, BackupError> {
        let mut text = Vec::new();
        Read::by_ref(&mut self.from).take(LONGEST_LINE as u64).read_until(b'\n', &mut text)?;
        self.number += 1;
        match text.last() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(text)),
            Some(_) if self.number == 1 => Err(BackupError::Foreign("its first line is no heading".into())),
            Some(_) => Err(self.damaged("it is cut off here".into())),
        }
    }

    fn damaged(&self, why: String) -> BackupError {
        BackupError::Damaged { line: self.number, why }
    }
}
