//! Event streams (server-sent events): how they are written, kept alive, counted and ended.

use super::response::Content;
use bytes::Bytes;
use hyper::Response;
use hyper::header::{self, HeaderValue};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

/// Events that wait for the connection. What is more waits with the core, which ends a stream that nobody reads.
const AHEAD: usize = 4;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What to come again with after it.
    pub id: String,
    /// Its kind.
    pub kind: &'static str,
    /// Its text, in one line as JSON is written.
    pub data: Bytes,
}

impl Event {
    /// As it is sent.
    fn encode(&self) -> Bytes {
        let mut text = Vec::with_capacity(self.data.len() + self.id.len() + 32);
        text.extend_from_slice(format!("id: {}\nevent: {}\n", self.id, self.kind).as_bytes());
        for line in self.data.split(|byte| *byte == b'\n') {
            text.extend_from_slice(b"data: ");
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        text.push(b'\n');
        text.into()
    }
}

/// How many streams each client has.
#[derive(Clone, Debug, Default)]
pub struct Count(Arc<Mutex<HashMap<String, usize>>>);

/// One stream of a client's, counted until it is dropped.
#[derive(Debug)]
pub struct Counted {
    count: Count,
    name: String,
}

impl Count {
    /// Counts one more, unless there are too many.
    pub fn one_more(&self, name: &str, limit: usize) -> Option<Counted> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(name.to_owned()).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Counted { count: self.clone(), name: name.to_owned() })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.count.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.name);
            }
        }
    }
}

/// Answers with a stream of what comes, until its source, its reader or the server ends.
pub fn answer<T: Send + 'static>(
    mut source: mpsc::Receiver<T>,
    events: impl Fn(T) -> Vec<Event> + Send + 'static,
    keep_alive: Duration,
    counted: Counted,
    mut stopping: watch::Receiver<bool>,
) -> Response<Content> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let _counted = counted;
        let mut ticks = tokio::time::interval_at(Instant::now() + keep_alive, keep_alive);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let pieces = tokio::select! {
                next = source.recv() => match next {
                    Some(next) => {
                        ticks.reset();
                        events(next).iter().map(Event::encode).collect()
                    }
                    None => return,
                },
                _ = ticks.tick() => vec![Bytes::from_static(b": alive\n\n")],
                _ = stopping.wait_for(|stopping| *stopping) => return,
                () = sender.closed() => return,
            };
            for piece in pieces {
                tokio::select! {
                    sent = sender.send(piece) => if sent.is_err() {
                        return;
                    },
                    _ = stopping.wait_for(|stopping| *stopping) => return,
                }
            }
        }
    });
    let mut response = Response::new(Content::Stream(receiver));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that collect answers would hold the events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_line_by_line() {
        let event = Event { id: "1.2".to_owned(), kind: "plan", data: "{\n}".into() };
        assert_eq!(event.encode(), "id: 1.2\nevent: plan\ndata: {\ndata: }\n\n");
    }

    #[test]
    fn streams_are_counted_by_client_until_they_end() {
        let count = Count::default();
        let first = count.one_more("gateway/GW1", 1).expect("there is room");
        assert!(count.one_more("gateway/GW1", 1).is_none());
        assert!(count.one_more("gateway/GW2", 1).is_some());
        drop(first);
        assert!(count.one_more("gateway/GW1", 1).is_some());
    }
}
