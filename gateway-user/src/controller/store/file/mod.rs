//! A store in one file, for one process: redb, with a log of changes beside the entries.
//!
//! One thread writes. What waits for it is made durable together, so that a burst of writes costs one wait for the disk; readers
//! see the last durable state and wait for nobody.
//!
//! | to change | go to |
//! |---|---|
//! | what is in the file | [`tables`] |
//! | what is refused at opening, how a file begins | [`open`] |
//! | group commit, what happens when the disk fails, how long changes are kept | [`commit`] |

mod commit;
mod open;
mod tables;

pub use commit::Retention;

use super::writer::Request;
use super::{Batch, Entry, Error, Revision, Snapshot, WatchError};
use open::Directory;
use redb::{Database, ReadTransaction, ReadableDatabase};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::thread::{self, JoinHandle};
use tokio::sync::watch;

/// A store in a file; clones share it. The last of them to be dropped closes the file.
#[derive(Clone, Debug)]
pub struct FileStore {
    writer: Arc<WriterThread>,
    shared: Arc<Shared>,
}

/// What readers and the writing thread share.
#[derive(Debug)]
struct Shared {
    directory: Directory,
    /// None while it cannot be opened again after the disk failed.
    database: RwLock<Option<Database>>,
    latest: watch::Sender<Revision>,
}

/// The writing thread, which ends with this.
#[derive(Debug)]
struct WriterThread {
    queue: Mutex<Option<mpsc::Sender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl FileStore {
    /// Opens the store of a directory; makes both if there is none. A file that is not a store of ours, or is damaged, is refused
    /// and left as it is.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        Self::open_with(directory, Retention::default())
    }

    /// The same, keeping changes for as long as asked.
    pub fn open_with(directory: &Path, retention: Retention) -> Result<Self, Error> {
        let directory = Directory::lock(directory)?;
        let database = directory.database()?;
        let revision = tables::revision(&database).map_err(|error| directory.error(error))?;
        let shared =
            Arc::new(Shared { directory, database: RwLock::new(Some(database)), latest: watch::Sender::new(revision) });
        let (queue, requests) = mpsc::channel();
        let mut committer = commit::Committer::new(shared.clone(), retention)?;
        committer.forget_leaders()?;
        let thread = thread::Builder::new()
            .name("store".into())
            .spawn(move || committer.run(&requests))
            .map_err(|error| Error::io(shared.directory.path(), &error))?;
        let writer = WriterThread { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) };
        Ok(Self { writer: Arc::new(writer), shared })
    }

    pub(super) async fn range(&self, prefix: &str) -> Result<Snapshot, Error> {
        let prefix = prefix.to_owned();
        self.read(move |transaction| tables::range(transaction, &prefix)).await
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        let key = key.to_owned();
        self.read(move |transaction| tables::get(transaction, &key)).await
    }

    /// Changes from `from` on, not all at once if they are many, and the revision up to which they are complete.
    pub(super) async fn changes(&self, prefix: &str, from: Revision) -> Result<(Vec<Batch>, Revision), WatchError> {
        let prefix = prefix.to_owned();
        let read = self.read(move |transaction| tables::changes(transaction, &prefix, from)).await?;
        read.map_err(WatchError::Compacted)
    }

    pub(super) fn latest(&self) -> watch::Receiver<Revision> {
        self.shared.latest.subscribe()
    }

    pub(super) fn submit(&self, request: Request) {
        let queue = self.writer.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // A request that cannot be sent is dropped, which its caller sees.
        if let Some(queue) = &*queue {
            let _ = queue.send(request);
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = self.shared.clone();
        let task = tokio::task::spawn_blocking(move || shared.read(read));
        task.await.unwrap_or_else(|error| {
            Err(Error::Unavailable { at: "of this process".into(), why: format!("a read ended early: {error}") })
        })
    }
}

impl Shared {
    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = &*database else { return Err(self.closed()) };
        let transaction = database.begin_read().map_err(redb::Error::from);
        transaction.and_then(|transaction| read(&transaction)).map_err(|error| self.directory.error(error))
    }

    fn closed(&self) -> Error {
        let why = "it could not be opened again after an error of the disk".into();
        Error::Unavailable { at: self.directory.path().display().to_string(), why }
    }

    /// Wakes the watches.
    fn publish(&self, revision: Revision) {
        self.latest.send_if_modified(|latest| {
            let grows = revision > *latest;
            *latest = revision.max(*latest);
            grows
        });
    }
}

impl Drop for WriterThread {
    /// Waits for the writes that were handed over, so that the file is closed when the store is gone.
    fn drop(&mut self) {
        self.queue.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}
