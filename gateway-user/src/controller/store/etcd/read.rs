//! Reading entries, all of them at one revision.

use super::super::{Entry, Error, Revision, Snapshot};
use super::chunks::{self, Stored};
use super::cluster::{Cluster, Failure};
use super::{number, revision};
use etcd_client::{GetOptions, GetResponse, KeyValue};

/// How many keys are asked for at once.
const PAGE: i64 = 512;
/// How often a listing begins again because its revision was compacted under it.
const LISTINGS: usize = 3;

/// A page of keys from `start` on, below `end`.
pub async fn page(cluster: &Cluster, start: &str, end: &[u8], at: Option<Revision>) -> Result<GetResponse, Failure> {
    let options = GetOptions::new().with_range(end).with_limit(PAGE).with_revision(at.map_or(0, number));
    cluster.ask(|mut member| member_get(start, options.clone(), &mut member.kv.clone(), &mut member)).await
}

pub async fn get(cluster: &Cluster, key: &str) -> Result<Option<Entry>, Error> {
    let place = cluster.key("kv", key);
    for _ in 0..LISTINGS {
        let answer = one(cluster, &place).await.map_err(|failure| cluster.error(failure))?;
        let Some(kv) = answer.kvs().first() else { return Ok(None) };
        match entry(cluster, kv, header(&answer)).await {
            Err(Failure::Compacted) => {}
            entry => return entry.map(Some).map_err(|failure| cluster.error(failure)),
        }
    }
    Err(cluster.error(Failure::Compacted))
}
