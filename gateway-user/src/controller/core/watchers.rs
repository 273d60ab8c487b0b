//! Who follows what changes.

use super::event::StreamId;
use super::message::{WatchEvent, WatchKind};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How many changes are remembered for those who come again.
const REMEMBERED: usize = 16_384;

/// A change of a tree, before it is known at which revision it becomes durable.
#[derive(Clone, Debug)]
pub struct News {
    /// What happened.
    pub kind: WatchKind,
    /// The tree's canonical path.
    pub path: String,
    /// Whose it is: the tenant id in its metadata.
    pub tenant: Option<Arc<str>>,
    /// The tree as a client sees it; for one that went, nothing.
    pub object: Option<Arc<str>>,
}

/// Which changes somebody follows.
#[derive(Clone, Debug)]
pub struct Interest {
    /// The path, in lower case and without a slash at its end; empty for everything.
    pub path: String,
    /// Only what is this tenant's.
    pub tenant: Option<Arc<str>>,
}

impl Interest {
    /// Whether a tree is of interest: it is what is followed, below it, or above it.
    pub fn covers(&self, path: &str, tenant: Option<&str>) -> bool {
        let path = path.to_ascii_lowercase();
        let below = |long: &str, short: &str| {
            long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        (self.tenant.is_none() || self.tenant.as_deref() == tenant)
            && (below(&path, &self.path) || below(&self.path, &path))
    }
}

/// An open watch.
#[derive(Debug)]
struct Watcher {
    interest: Interest,
    /// It has heard of everything until this revision, perhaps from a controller that was further than this one.
    heard: u64,
}

/// The open watches, and what happened lately.
#[derive(Debug, Default)]
pub struct Watchers {
    /// Changes after this revision are all remembered.
    floor: u64,
    /// What happened, without the trees, which the events have.
    log: VecDeque<(News, Arc<WatchEvent>)>,
    open: BTreeMap<StreamId, Watcher>,
}

impl Watchers {
    /// What was before this revision cannot be told.
    pub fn begin(&mut self, revision: u64) {
        self.floor = self.floor.max(revision);
    }

    /// Whether everything after a revision can still be told.
    pub fn remembers(&self, after: u64) -> bool {
        after >= self.floor
    }

    /// Opens a watch by somebody who has heard of everything until a revision; gives what happened since.
    pub fn open(&mut self, stream: StreamId, interest: Interest, heard: u64) -> Vec<Arc<WatchEvent>> {
        let from = self.log.partition_point(|(_, event)| event.revision <= Some(heard));
        let since = self.log.range(from..).filter(|(news, _)| interest.covers(&news.path, news.tenant.as_deref()));
        let missed = since.map(|(_, event)| Arc::clone(event)).collect();
        self.open.insert(stream, Watcher { interest, heard });
        missed
    }

    /// A watch has ended.
    pub fn close(&mut self, stream: StreamId) {
        self.open.remove(&stream);
    }

    /// A change is durable: who is to be told. There is one a revision at most, so that a revision says what somebody has heard.
    pub fn tell(&mut self, revision: u64, news: News) -> Vec<(StreamId, Arc<WatchEvent>)> {
        let told = Arc::new(event(Some(revision), &news));
        let interested = self.open.iter().filter(|(_, watcher)| {
            watcher.heard < revision && watcher.interest.covers(&news.path, news.tenant.as_deref())
        });
        let whom = interested.map(|(stream, _)| (*stream, Arc::clone(&told))).collect();
        // The event has it.
        self.log.push_back((News { object: None, ..news }, told));
        if self.log.len() > REMEMBERED
            && let Some((_, forgotten)) = self.log.pop_front()
        {
            self.floor = forgotten.revision.unwrap_or(self.floor);
        }
        whom
    }
}

/// That everything until a revision has been told.
pub fn bookmark(revision: u64) -> WatchEvent {
    WatchEvent { revision: Some(revision), kind: WatchKind::Bookmark, data: "{}".into() }
}

/// The event for a change, or for what is there at the beginning.
pub fn event(revision: Option<u64>, news: &News) -> WatchEvent {
    let data = match &news.object {
        Some(object) => format!(r#"{{"resourceRef":{},"object":{object}}}"#, json!(news.path)),
        None => json!({ "resourceRef": news.path }).to_string(),
    };
    WatchEvent { revision, kind: news.kind, data: data.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(path: &str, tenant: Option<&str>) -> News {
        News { kind: WatchKind::Modified, path: path.into(), tenant: tenant.map(Arc::from), object: Some("{}".into()) }
    }

    fn all() -> Interest {
        Interest { path: String::new(), tenant: None }
    }

    #[test]
    fn a_watcher_hears_of_what_it_follows_alone() {
        let mut watchers = Watchers::default();
        let at = |path: &str| Interest { path: path.into(), tenant: None };
        watchers.open(StreamId(1), all(), 0);
        watchers.open(StreamId(2), at("/virtualgateways"), 0);
        watchers.open(StreamId(3), at("/virtualgateways/a/networkconnections"), 0);
        watchers.open(StreamId(4), Interest { path: String::new(), tenant: Some("t".into()) }, 0);
        let whom = |told: Vec<(StreamId, Arc<WatchEvent>)>| told.iter().map(|(stream, _)| stream.0).collect::<Vec<_>>();
        assert_eq!(whom(watchers.tell(1, news("/virtualGateways/A", Some("t")))), [1, 2, 3, 4]);
        assert_eq!(whom(watchers.tell(2, news("/virtualGateways/AB", None))), [1, 2]);
        assert_eq!(whom(watchers.tell(3, news("/gateways/A", None))), [1]);
    }

    #[test]
    fn who_comes_again_hears_what_happened_meanwhile() {
        let mut watchers = Watchers::default();
        watchers.begin(10);
        watchers.tell(11, news("/gateways/A", None));
        watchers.tell(12, news("/gateways/B", None));
        assert!(!watchers.remembers(9) && watchers.remembers(10));
        let missed = watchers.open(StreamId(1), all(), 11);
        assert_eq!(missed.iter().map(|event| event.revision).collect::<Vec<_>>(), [Some(12)]);
    }

    #[test]
    fn who_was_told_more_by_another_controller_hears_nothing_twice() {
        let mut watchers = Watchers::default();
        watchers.begin(10);
        assert!(watchers.open(StreamId(1), all(), 12).is_empty());
        let told = (11..=13).map(|revision| watchers.tell(revision, news("/gateways/A", None)).len());
        assert_eq!(told.collect::<Vec<_>>(), [0, 0, 1]);
    }

    #[test]
    fn what_is_forgotten_is_said_to_be() {
        let mut watchers = Watchers::default();
        for revision in 1..=REMEMBERED as u64 + 2 {
            watchers.tell(revision, news("/gateways/A", None));
        }
        assert!(!watchers.remembers(1) && watchers.remembers(2));
    }
}
