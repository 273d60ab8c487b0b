//! What every engine of the controller's store has to do, asked of each of them alike.
//!
//! - [`behaviours`]: one behaviour a function, on a store of its own; [`leading`]: those of leaders and their writes
//! - [`random`]: random transactions beside a naive model
//! - [`etcd`]: real etcd members, and cables to them that can be cut
//! - [`controllers`]: real controllers, on a file or on such members, [`clients`] of theirs, and an [`agent`]

#![expect(clippy::unwrap_used, reason = "these functions are tests, which fail by panicking")]

pub mod agent;
pub mod behaviours;
pub mod clients;
pub mod controllers;
pub mod etcd;
pub mod leading;
pub mod random;

use gateway_user::controller::store::{Batch, Entry, Op, Outcome, Revision, Store, Txn, Watch, WatchError};
use std::pin::Pin;
use std::time::Duration;

/// A behaviour: a sentence and how it is tried on an empty store.
pub struct Behaviour {
    /// What the store does.
    pub sentence: &'static str,
    run: fn(Store) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Behaviour {
    /// Tries it; panics where the store does otherwise.
    pub async fn run(&self, store: Store) {
        // What hangs has to be named.
        let tried = tokio::time::timeout(crate::wait::SOON * 2, (self.run)(store)).await;
        assert!(tried.is_ok(), "waited in vain: {}", self.sentence);
    }
}

/// A list of behaviours named by their functions.
macro_rules! list {
    ($($function:ident: $sentence:literal,)*) => {
        /// All behaviours of this module.
        pub const ALL: &[$crate::store::Behaviour] = &[$($crate::store::Behaviour {
            sentence: $sentence,
            run: |store| Box::pin($function(store)),
        }),*];
    };
}
pub(crate) use list;

/// Every behaviour.
pub fn all() -> impl Iterator<Item = &'static Behaviour> {
    behaviours::ALL.iter().chain(leading::ALL)
}

/// Commits what has to be committed.
pub async fn commit(store: &Store, txn: Txn) -> Revision {
    match store.commit(txn).await.expect("a commit") {
        Outcome::Committed(revision) => revision,
        Outcome::Conflict => panic!("a compare did not hold"),
    }
}

/// Puts a text.
pub async fn put(store: &Store, key: &str, text: &str) -> Revision {
    commit(store, Txn::of([Op::put(key, text.as_bytes())])).await
}

/// Keys and texts, as `key=text`.
pub fn texts(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value))).collect()
}

/// The next batch of a watch.
pub async fn next(watch: &mut Watch) -> Batch {
    loop {
        match watch.next().await {
            Ok(batch) => return batch,
            Err(WatchError::Store(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("the watch ended: {error}"),
        }
    }
}
