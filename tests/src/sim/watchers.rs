//! Watchers: each follows everything, over whatever controller, and hears of every change once.

use super::Fault;
use super::controllers::Caller;
use super::world::{CONTROLLERS, Simulation, What};
use gateway_user::controller::core::event::{Event, StreamId};
use gateway_user::controller::core::message::{Principal, Role, WatchEvent, WatchKind, WatchRequest};
use gateway_user::controller::store::{Change, MemoryStore, Revision};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A change of a tree: at which revision, which tree, what became of it.
type Heard = (u64, String, WatchKind);

/// A watcher.
#[derive(Debug, Default)]
pub struct Watcher {
    /// Which controller, in which of its lives, tells it.
    pub link: Option<(usize, u64, StreamId)>,
    /// Counts its requests: what comes of an earlier one is nothing to it.
    pub attempt: u64,
    /// When its stream last delivered: a stream keeps its order.
    pub clock: u64,
    /// What it comes again with.
    pub after: Option<u64>,
    /// What was there when it began, and at which revision, once it has heard all of that.
    listed: Option<u64>,
    present: BTreeSet<String>,
    /// What it has heard since.
    heard: Vec<Heard>,
}

impl Watcher {
    /// It begins again.
    pub fn forget(&mut self) {
        *self = Self { link: self.link, attempt: self.attempt, clock: self.clock, ..Self::default() };
    }

    /// Hears of something.
    pub fn hear(&mut self, event: &WatchEvent) -> Result<(), String> {
        let data: Value =
            serde_json::from_slice(&event.data).map_err(|error| format!("an event is no JSON: {error}"))?;
        let path = data["resourceRef"].as_str().unwrap_or_default().to_ascii_lowercase();
        match (event.revision, event.kind) {
            (None, _) if self.listed.is_some() => return Err(format!("a watcher is told of {path} as if it began")),
            (None, _) => _ = self.present.insert(path),
            (Some(revision), WatchKind::Bookmark) => self.listed = Some(revision),
            (Some(revision), kind) => {
                if self.listed.is_none() {
                    return Err(format!("a watcher hears of {path} before it has heard what is there"));
                }
                self.heard.push((revision, path, kind));
            }
        }
        if event.revision.is_some() {
            self.after = event.revision;
        }
        Ok(())
    }

    /// What it has heard is what happened.
    pub fn check(&self, store: &MemoryStore) -> Result<(), String> {
        let Some(listed) = self.listed else { return Err("a watcher has heard nothing".to_owned()) };
        let mut trees = BTreeSet::new();
        let mut happened: Vec<Heard> = Vec::new();
        for batch in store.changes("", Revision(1)).map_err(|error| error.to_string())? {
            if happened.is_empty() && batch.revision.0 > listed && self.present != trees {
                return Err(format!("a watcher began at revision {listed} with {:?}, not {trees:?}", self.present));
            }
            let mut moved = Vec::new();
            let mut changed = Vec::new();
            for change in &batch.changes {
                if let Some(path) = change.key().strip_prefix("resources") {
                    let kind = match change {
                        Change::Deleted { .. } => WatchKind::Deleted,
                        Change::Put(_) if trees.contains(path) => WatchKind::Modified,
                        Change::Put(_) => WatchKind::Added,
                    };
                    match kind {
                        WatchKind::Deleted => _ = trees.remove(path),
                        _ => _ = trees.insert(path.to_owned()),
                    }
                    changed.push((path.to_owned(), kind));
                } else if let Some(tenant) = change.key().strip_prefix("placements/") {
                    moved.push((format!("/virtualgateways/{tenant}"), WatchKind::Modified));
                }
            }
            let told = if changed.is_empty() { moved } else { changed };
            if batch.revision.0 > listed {
                happened.extend(told.into_iter().map(|(path, kind)| (batch.revision.0, path, kind)));
            }
        }
        if self.heard != happened {
            let differs = self.heard.iter().zip(&happened).position(|(heard, happened)| heard != happened);
            let at = differs.unwrap_or(self.heard.len().min(happened.len()));
            return Err(format!(
                "a watcher from revision {listed} on heard {:?} where {:?} happened",
                self.heard.get(at),
                happened.get(at)
            ));
        }
        Ok(())
    }
}

impl Simulation {
    pub(super) fn look(&mut self, watcher: usize) -> Result<(), String> {
        let delay = 30 + self.random.below(100);
        self.after(delay, What::Look(watcher));
        let live = |(at, life, _): &(usize, u64, StreamId)| self.controllers[*at].life == *life;
        if self.watchers[watcher].link.as_ref().is_some_and(live) {
            return Ok(());
        }
        self.watchers[watcher].link = None;
        if self.watchers[watcher].after.is_none() && self.fault != Some(Fault::ResumeInside) {
            self.watchers[watcher].forget();
        }
        let controller = self.random.below(CONTROLLERS as u64) as usize;
        if self.controllers[controller].core.is_none() || self.is_lost() {
            return Ok(());
        }
        self.watchers[watcher].attempt += 1;
        let attempt = self.watchers[watcher].attempt;
        let call = self.call(controller, Caller::Watcher { watcher, attempt });
        let this = &mut self.controllers[controller];
        this.next += 1;
        let stream = StreamId(this.next);
        let request = WatchRequest {
            principal: Principal { name: "watcher".into(), role: Role::ReadOnly },
            path: "/networking/v1".to_owned(),
            after: self.watchers[watcher].after,
        };
        self.step(controller, Event::Watch(call, stream, request))
    }

    pub(super) fn send(&mut self, watcher: usize, link: (usize, u64, StreamId), event: Arc<WatchEvent>) {
        let at = (self.now + self.delay()).max(self.watchers[watcher].clock);
        self.watchers[watcher].clock = at;
        self.at(at, What::Told { watcher, link, event });
    }

    pub(super) fn told(
        &mut self,
        watcher: usize,
        link: (usize, u64, StreamId),
        event: &WatchEvent,
    ) -> Result<(), String> {
        if self.watchers[watcher].link != Some(link) {
            return Ok(());
        }
        let inside = event.revision.is_none();
        self.watchers[watcher].hear(event)?;
        if self.calm || !self.random.once_in(40) {
            return Ok(());
        }
        self.watchers[watcher].link = None;
        let (controller, life, stream) = link;
        if inside && self.fault == Some(Fault::ResumeInside) {
            self.watchers[watcher].after = Some(self.controllers[controller].read.0);
        }
        if self.controllers[controller].life == life {
            self.controllers[controller].watches.remove(&stream);
            self.step(controller, Event::Closed(stream))?;
        }
        Ok(())
    }
}
