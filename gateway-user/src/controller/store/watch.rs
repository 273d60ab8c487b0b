//! Following the changes of a prefix.

use super::{Batch, Error, FileStore, MemoryStore, Revision, WatchError};
use std::collections::VecDeque;

/// The changes of a prefix, from a revision on.
///
/// It survives what a store can survive: disconnects and restarts of its servers. After [`WatchError::Compacted`] it is over, and the
/// caller lists again; after any other error it may be asked again and goes on where it was.
#[derive(Debug)]
pub struct Watch(Source);

#[derive(Debug)]
enum Source {
    Local(Local),
    #[cfg(feature = "etcd")]
    Etcd(Box<super::etcd::EtcdWatch>),
}

impl Watch {
    pub(super) fn memory(store: MemoryStore, prefix: &str, from: Revision) -> Self {
        Self(Source::Local(Local::new(Log::Memory(store), prefix, from)))
    }

    pub(super) fn file(store: FileStore, prefix: &str, from: Revision) -> Self {
        Self(Source::Local(Local::new(Log::File(store), prefix, from)))
    }

    #[cfg(feature = "etcd")]
    pub(super) fn etcd(watch: super::etcd::EtcdWatch) -> Self {
        Self(Source::Etcd(Box::new(watch)))
    }

    /// The next changes; waits for them. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Batch, WatchError> {
        match &mut self.0 {
            Source::Local(local) => local.next().await,
            #[cfg(feature = "etcd")]
            Source::Etcd(watch) => watch.next().await,
        }
    }
}

/// A watch that reads an engine's own log.
#[derive(Debug)]
struct Local {
    log: Log,
    prefix: String,
    next: Revision,
    ready: VecDeque<Batch>,
    latest: tokio::sync::watch::Receiver<Revision>,
}

#[derive(Debug)]
enum Log {
    Memory(MemoryStore),
    File(FileStore),
}

impl Local {
    fn new(log: Log, prefix: &str, from: Revision) -> Self {
        let latest = match &log {
            Log::Memory(store) => store.latest(),
            Log::File(store) => store.latest(),
        };
        Self { log, prefix: prefix.into(), next: from.max(Revision(1)), ready: VecDeque::new(), latest }
    }

    async fn next(&mut self) -> Result<Batch, WatchError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            let latest = *self.latest.borrow_and_update();
            if latest >= self.next {
                self.read(latest).await?;
            } else if self.latest.changed().await.is_err() {
                let why = "it was closed meanwhile".into();
                return Err(Error::Unavailable { at: "of this process".into(), why }.into());
            }
        }
    }

    /// Takes the changes up to `latest`, or some of them.
    async fn read(&mut self, latest: Revision) -> Result<(), WatchError> {
        let (batches, read_to) = match &self.log {
            Log::Memory(store) => {
                let mut batches = store.changes(&self.prefix, self.next)?;
                batches.retain(|batch| batch.revision <= latest);
                (batches, latest)
            }
            Log::File(store) => store.changes(&self.prefix, self.next).await?,
        };
        self.ready.extend(batches);
        self.next = read_to.next();
        Ok(())
    }
}
