//! Reading entries, all of them at one revision.

use super::super::{Entry, Error, Revision, Snapshot};
use super::chunks::{Pieces, Stored};
use super::cluster::{Cluster, Failure};
use super::{number, revision};
use etcd_client::{GetOptions, GetResponse, KeyValue};

/// How many keys are asked for at once.
const PAGE: i64 = 512;
/// How often reading begins again because its revision was compacted under it.
const TRIES: usize = 3;

pub async fn get(cluster: &Cluster, key: &str) -> Result<Option<Entry>, Error> {
    let place = cluster.key("kv", key);
    for _ in 0..TRIES {
        let answer = ask(cluster, place.as_str(), GetOptions::new()).await.map_err(|failure| cluster.error(failure))?;
        let Some(kv) = answer.kvs().first() else { return Ok(None) };
        match entry(cluster, kv, header(&answer)).await {
            Err(Failure::Compacted) => {}
            entry => return entry.map_err(|failure| cluster.error(failure)),
        }
    }
    Err(cluster.error(Failure::Compacted))
}

pub async fn range(cluster: &Cluster, prefix: &str) -> Result<Snapshot, Error> {
    for _ in 0..TRIES {
        match range_once(cluster, prefix).await {
            Err(Failure::Compacted) => {}
            snapshot => return snapshot.map_err(|failure| cluster.error(failure)),
        }
    }
    Err(cluster.error(Failure::Compacted))
}

async fn range_once(cluster: &Cluster, prefix: &str) -> Result<Snapshot, Failure> {
    let mut entries = Vec::new();
    let mut pages = Pages::new(&cluster.key("kv", prefix), GetOptions::new());
    while let Some(page) = pages.next(cluster).await? {
        for kv in page.kvs() {
            entries.extend(entry(cluster, kv, pages.revision()).await?);
        }
    }
    Ok(Snapshot { revision: pages.revision(), entries })
}

/// All keys of a prefix, a page at a time, all at one revision.
pub struct Pages {
    /// Where the next page begins; nothing after the last one.
    start: Option<Vec<u8>>,
    options: GetOptions,
    at: Option<Revision>,
}

impl Pages {
    /// At the current revision.
    pub fn new(prefix: &str, options: GetOptions) -> Self {
        let options = options.with_range(end_of(prefix)).with_limit(PAGE);
        Self { start: Some(prefix.into()), options, at: None }
    }

    /// At this revision.
    pub fn at(mut self, revision: Revision) -> Self {
        self.at = Some(revision);
        self
    }

    /// The next page.
    pub async fn next(&mut self, cluster: &Cluster) -> Result<Option<GetResponse>, Failure> {
        let Some(start) = &self.start else { return Ok(None) };
        let options = self.options.clone().with_revision(self.at.map_or(0, number));
        let answer = ask(cluster, start.as_slice(), options).await?;
        self.at.get_or_insert(header(&answer));
        self.start = answer.kvs().last().filter(|_| answer.more()).map(|last| [last.key(), &[0]].concat());
        Ok(Some(answer))
    }

    /// The revision, known once there was a page.
    pub fn revision(&self) -> Revision {
        self.at.unwrap_or_default()
    }
}

pub async fn ask(
    cluster: &Cluster,
    key: impl Into<Vec<u8>> + Clone,
    options: GetOptions,
) -> Result<GetResponse, Failure> {
    cluster
        .ask(|mut member| {
            let (key, options) = (key.clone(), options.clone());
            async move { member.kv.get(key, Some(options)).await }
        })
        .await
}

/// What stands under a key of ours, its pieces put together; nothing for a key that is none of ours.
pub async fn entry(cluster: &Cluster, kv: &KeyValue, at: Revision) -> Result<Option<Entry>, Failure> {
    let Some(key) = name(cluster, kv.key()) else { return Ok(None) };
    let value = match Stored::read(kv.value()) {
        Stored::Whole(value) => value.into(),
        Stored::InPieces(head) => {
            let pieces = Pieces::read(head).ok_or_else(|| damaged(&key))?;
            let prefix = format!("{}/", cluster.key("chunk", &pieces.at));
            let mut bytes = Vec::with_capacity(pieces.bytes);
            let mut pages = Pages::new(&format!("{prefix}0"), GetOptions::new()).at(at);
            while let Some(page) = pages.next(cluster).await? {
                page.kvs().iter().for_each(|kv| bytes.extend_from_slice(kv.value()));
            }
            if !pieces.fit(&bytes) {
                return Err(damaged(&key));
            }
            bytes.into()
        }
    };
    Ok(Some(Entry { key, value, created: revision(kv.create_revision()), modified: revision(kv.mod_revision()) }))
}

fn damaged(key: &str) -> Failure {
    Failure::Lasting(Error::Refused {
        place: key.into(),
        why: "the pieces of this value in etcd are not those that its head names".into(),
        remedy: "somebody changed them by hand: write this resource again, or restore a backup".into(),
    })
}

/// A key without the namespace.
pub fn name(cluster: &Cluster, key: &[u8]) -> Option<String> {
    let key = str::from_utf8(key).ok()?;
    Some(key.strip_prefix(&cluster.key("kv", ""))?.to_owned())
}

pub fn header(answer: &GetResponse) -> Revision {
    answer.header().map_or_else(Revision::default, |header| revision(header.revision()))
}

/// The end of the range of a prefix: the prefix with its last byte counted up. Text never ends in the byte that has no successor.
pub fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
