//! A store in an etcd cluster, which several controllers share.
//!
//! Below the namespace stand `kv/` with the entries, `chunk/` with the pieces of values that are too large for one request, and `txn/`
//! with the mark that each client's last transaction left, by which a transaction whose answer was lost is found again.
//!
//! | to change | go to |
//! |---|---|
//! | what `--store etcd://…` may say | [`options`] |
//! | which member is asked, what its errors mean | [`cluster`] |
//! | reading | [`read`] |
//! | writing, exactly once | [`commit`] |
//! | values larger than a request | [`chunks`] |
//! | watches that outlive their connections | [`watch`] |
//! | leases, compaction | [`election`] |

mod chunks;
mod cluster;
mod commit;
mod election;
mod options;
mod read;
mod watch;

pub use options::Options;
pub(super) use watch::EtcdWatch;

use super::seal::hex;
use super::writer::Request;
use super::{Entry, Error, Leadership, Revision, Snapshot};
use cluster::Cluster;
use ring::rand::{SecureRandom, SystemRandom};
use std::sync::Arc;
use tokio::sync::mpsc;

/// A store in an etcd cluster; clones share its connections.
#[derive(Clone, Debug)]
pub struct EtcdStore {
    cluster: Arc<Cluster>,
    queue: mpsc::UnboundedSender<Request>,
    /// A name of this client that no other has.
    client: String,
}

impl EtcdStore {
    /// Makes ready to use a cluster. Its members need not be reachable yet.
    pub async fn connect(options: &Options) -> Result<Self, Error> {
        let cluster = Arc::new(Cluster::connect(options).await?);
        let (queue, requests) = mpsc::unbounded_channel();
        let mut bytes = [0; 16];
        SystemRandom::new().fill(&mut bytes).map_err(|_| cluster.unavailable("the system gave no random numbers"))?;
        let client = hex(&bytes).to_string();
        tokio::spawn(commit::Committer::new(cluster.clone(), client.clone()).run(requests));
        Ok(Self { cluster, queue, client })
    }

    pub(super) async fn range(&self, prefix: &str) -> Result<Snapshot, Error> {
        read::range(&self.cluster, prefix).await
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        read::get(&self.cluster, key).await
    }

    pub(super) fn watch(&self, prefix: &str, from: Revision) -> EtcdWatch {
        EtcdWatch::new(self.cluster.clone(), prefix, from)
    }

    pub(super) async fn campaign(&self, name: &str, address: &str) -> Result<Leadership, Error> {
        election::campaign(self, name, address).await
    }

    pub(super) fn submit(&self, request: Request) {
        // A request that cannot be sent is dropped, which its caller sees.
        let _ = self.queue.send(request);
    }
}

/// etcd counts in `i64`, from 1; what is negative is none of its revisions.
fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}

fn number(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}
