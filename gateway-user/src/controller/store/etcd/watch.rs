//! Watches that outlive their connections.

use super::super::{Batch, Change, Revision, WatchError};
use super::cluster::{Cluster, Failure};
use super::{number, read, revision};
use etcd_client::{Event, EventType, WatchOptions, WatchResponse, WatchStream};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long a member may take to begin a watch.
const BEGIN: Duration = Duration::from_secs(2);
/// Before a watch is begun at another member.
const PAUSE: Duration = Duration::from_millis(100);

/// A watch on a cluster.
#[derive(Debug)]
pub struct EtcdWatch {
    cluster: Arc<Cluster>,
    prefix: String,
    /// The first revision that was not told yet.
    next: Revision,
    stream: Option<(usize, WatchStream)>,
    /// What came and was not told yet: its revision and events.
    events: VecDeque<(Revision, Vec<Event>)>,
    over: Option<Revision>,
}

/// What came in.
enum News {
    Events,
    Compacted(Revision),
    Nothing,
}

impl EtcdWatch {
    pub fn new(cluster: Arc<Cluster>, prefix: &str, from: Revision) -> Self {
        let (prefix, next) = (cluster.key("kv", prefix), from.max(Revision(1)));
        Self { cluster, prefix, next, stream: None, events: VecDeque::new(), over: None }
    }

    pub async fn next(&mut self) -> Result<Batch, WatchError> {
        loop {
            if let Some(compacted) = self.over {
                return Err(WatchError::Compacted(compacted));
            }
            if let Some((revision, events)) = self.events.front() {
                // Only a batch that is complete is taken away, so that a wait can be given up at any time.
                match batch(&self.cluster, *revision, events).await {
                    Ok(batch) => {
                        self.events.pop_front();
                        if batch.changes.is_empty() {
                            continue;
                        }
                        return Ok(batch);
                    }
                    Err(Failure::Compacted) => self.over = Some(*revision),
                    Err(failure) => return Err(self.cluster.error(failure).into()),
                }
                continue;
            }
            let Some((member, stream)) = &mut self.stream else {
                self.begin().await;
                continue;
            };
            let member = *member;
            match stream.message().await {
                Ok(Some(message)) => match self.take(&message) {
                    News::Events => {}
                    News::Compacted(revision) => self.over = Some(revision),
                    News::Nothing if message.canceled() => self.end(member, message.cancel_reason()).await,
                    News::Nothing => {}
                },
                Ok(None) => self.end(member, "it was closed").await,
                Err(error) => self.end(member, &error.to_string()).await,
            }
        }
    }

    /// Begins at the revision before the next one: what happened at just the revision to which etcd was compacted may be gone.
    async fn begin(&mut self) {
        let start = number(self.next).max(2) - 1;
        let options = WatchOptions::new()
            .with_range(read::end_of(&self.prefix))
            .with_start_revision(start)
            .with_progress_notify();
        let (number, member) = self.cluster.member();
        let mut client = member.client.watch_client().max_decoding_message_size(usize::MAX);
        match timeout(BEGIN, client.watch(self.prefix.as_str(), Some(options))).await {
            Ok(Ok(stream)) => self.stream = Some((number, stream)),
            Ok(Err(error)) => self.end(number, &error.to_string()).await,
            Err(_) => self.end(number, "it does not answer").await,
        }
    }

    async fn end(&mut self, member: usize, why: &str) {
        tracing::debug!(prefix = %self.prefix, next = %self.next, %why, "a watch ended and is begun again");
        self.stream = None;
        self.cluster.leave(member);
        sleep(PAUSE).await;
    }

    fn take(&mut self, message: &WatchResponse) -> News {
        if message.compact_revision() != 0 {
            return News::Compacted(revision(message.compact_revision()));
        }
        if message.canceled() {
            return News::Nothing;
        }
        for event in message.events() {
            let at = event.kv().map_or(Revision(0), |kv| revision(kv.mod_revision()));
            if at < self.next {
                continue;
            }
            match self.events.back_mut() {
                Some((last, events)) if *last == at => events.push(event.clone()),
                _ => self.events.push_back((at, vec![event.clone()])),
            }
        }
        if let Some((last, _)) = self.events.back() {
            self.next = last.next();
            return News::Events;
        }
        // Nothing happened up to the revision of a notice of progress.
        if !message.created()
            && message.events().is_empty()
            && let Some(header) = message.header()
        {
            self.next = self.next.max(revision(header.revision()).next());
        }
        News::Nothing
    }
}

async fn batch(cluster: &Cluster, revision: Revision, events: &[Event]) -> Result<Batch, Failure> {
    let mut changes = Vec::with_capacity(events.len());
    for event in events {
        let Some(kv) = event.kv() else { continue };
        match event.event_type() {
            EventType::Put => changes.extend(read::entry(cluster, kv, revision).await?.map(Change::Put)),
            EventType::Delete => changes.extend(read::name(cluster, kv.key()).map(|key| Change::Deleted { key })),
        }
    }
    Ok(Batch { revision, changes })
}
