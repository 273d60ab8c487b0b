//! A set of sessions that somebody in the agent wants, and what becomes of them.

use super::client::Shared;
use super::protocol::{Report, SessionKey, SessionOptions};
use std::sync::Arc;
use tokio::sync::Notify;

/// A set of sessions of one owner within the agent. Dropping it gives them up.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    id: u64,
    changed: Arc<Notify>,
}

impl Watcher {
    pub(super) fn new(shared: Arc<Shared>, id: u64, changed: Arc<Notify>) -> Self {
        Self { shared, id, changed }
    }

    /// Wants a session, or wants it otherwise; it is told of by [`Self::next`] soon. One that others watch too is shared, with the options that
    /// were given last.
    pub fn add(&self, session: SessionKey, options: SessionOptions) {
        self.shared.add(self.id, session, options);
    }

    /// Wants a session no more. When nobody does, it is switched off.
    pub fn remove(&self, session: &SessionKey) {
        self.shared.remove(self.id, session);
    }

    /// The next session that is not as it was told before. May be cancelled at any time. What changes more often than it is asked for is told
    /// as it is then.
    pub async fn next(&mut self) -> Report {
        loop {
            if let Some(report) = self.shared.take_report(self.id) {
                return report;
            }
            self.changed.notified().await;
        }
    }

    /// Goes without giving the sessions up: they are kept for whoever claims them next.
    pub fn leave(self) {
        std::mem::forget(self);
    }

    /// How a session is that this watcher wants.
    pub fn report(&self, session: &SessionKey) -> Option<Report> {
        self.shared.report(self.id, session)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.forget(self.id);
    }
}
