//! Where the controller keeps what must survive it: keys with values, revisions, compare-and-set transactions, watches and leaderships,
//! with etcd's meaning in every engine.
//!
//! ```text
//!             Store ── range, commit, watch, campaign ──┬── memory   tests, the simulator
//!   Writer ──┘ (a leader's writes: guarded, in order)   ├── file     one controller: redb below --data-dir
//!                                                       └── etcd     several controllers
//! ```
//!
//! | to change | go to |
//! |---|---|
//! | what a transaction may say | [`model`] |
//! | how a transaction is evaluated where the engine is ours | [`apply`] |
//! | how a leader's writes keep their order | [`writer`] |
//! | the file, its group commit, what is refused at opening | [`file`] |
//! | etcd's limits, reconnecting, leases | [`etcd`] |
//! | which of them `--store` means | [`location`] |
//! | secrets and the key that seals them | [`secret`], [`seal`] |
//! | backup and restore | [`backup`] |

mod apply;
pub mod backup;
pub mod election;
mod error;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod file;
mod location;
mod memory;
mod model;
pub mod seal;
mod secret;
mod watch;
mod writer;

pub use election::{Leader, Leadership, Term};
pub use error::{Error, WatchError};
pub use file::FileStore;
pub use location::{Location, Tls};
pub use memory::{MemoryStore, replay};
pub use model::{Batch, Change, Compare, Entry, Epoch, Expected, Op, Outcome, Revision, Snapshot, Txn, Value};
pub use secret::Secret;
pub use watch::Watch;
pub use writer::{Pending, Writer};

use writer::Request;

/// A store. Clones are the same store.
#[derive(Clone, Debug)]
pub enum Store {
    /// In memory.
    Memory(MemoryStore),
    /// In a file, for one process.
    File(FileStore),
    /// In an etcd cluster, for many.
    #[cfg(feature = "etcd")]
    Etcd(etcd::EtcdStore),
}

impl Store {
    /// All entries whose keys start with `prefix`, as they stood at one revision no older than the last acknowledged commit.
    pub async fn range(&self, prefix: &str) -> Result<Snapshot, Error> {
        match self {
            Self::Memory(store) => Ok(store.range(prefix)),
            Self::File(store) => store.range(prefix).await,
            #[cfg(feature = "etcd")]
            Self::Etcd(store) => store.range(prefix).await,
        }
    }

    /// The entry of one key.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        match self {
            Self::Memory(store) => Ok(store.get(key)),
            Self::File(store) => store.get(key).await,
            #[cfg(feature = "etcd")]
            Self::Etcd(store) => store.get(key).await,
        }
    }

    /// Makes the changes of a transaction if its compares hold; when this returns, they are durable.
    ///
    /// After [`Error::Unavailable`] nobody knows whether they were made; after any other error they were not.
    pub async fn commit(&self, txn: Txn) -> Result<Outcome, Error> {
        let (reply, pending) = tokio::sync::oneshot::channel();
        self.submit(Request { txn, session: None, reply });
        Pending(pending).await
    }

    /// A leader's way to write.
    pub fn writer(&self, term: &Term) -> Writer {
        Writer::new(self.clone(), term)
    }

    /// The changes of keys that start with `prefix`, beginning with those of the revision `from`.
    pub fn watch(&self, prefix: &str, from: Revision) -> Watch {
        match self {
            Self::Memory(store) => Watch::memory(store.clone(), prefix, from),
            Self::File(store) => Watch::file(store.clone(), prefix, from),
            #[cfg(feature = "etcd")]
            Self::Etcd(store) => Watch::etcd(store.watch(prefix, from)),
        }
    }

    /// Waits until nobody else leads, then leads. `address` is what [`Store::leader`] tells everybody.
    pub async fn campaign(&self, name: &str, address: &str) -> Result<Leadership, Error> {
        match self {
            Self::Memory(_) | Self::File(_) => election::campaign_locally(self, name, address).await,
            #[cfg(feature = "etcd")]
            Self::Etcd(store) => store.campaign(name, address).await,
        }
    }

    /// Who leads, if anybody does.
    pub async fn leader(&self, name: &str) -> Result<Option<Leader>, Error> {
        self.get(&election::leader_key(name)).await?.as_ref().map(Leader::read).transpose()
    }

    /// Gives a transaction to the engine. Requests are taken in the order of the calls.
    fn submit(&self, request: Request) {
        match self {
            Self::Memory(store) => {
                let result = if request.is_halted() { Err(Error::Halted) } else { store.commit(&request.txn) };
                request.answer(result);
            }
            Self::File(store) => store.submit(request),
            #[cfg(feature = "etcd")]
            Self::Etcd(store) => store.submit(request),
        }
    }
}

impl From<MemoryStore> for Store {
    fn from(store: MemoryStore) -> Self {
        Self::Memory(store)
    }
}

impl From<FileStore> for Store {
    fn from(store: FileStore) -> Self {
        Self::File(store)
    }
}

#[cfg(feature = "etcd")]
impl From<etcd::EtcdStore> for Store {
    fn from(store: etcd::EtcdStore) -> Self {
        Self::Etcd(store)
    }
}
