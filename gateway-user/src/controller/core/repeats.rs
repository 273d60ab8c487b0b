//! Requests that are sent twice: a client that has lost an answer, to a broken connection or a dead controller, asks again under the same
//! `x-ms-client-request-id`, and is answered again, and nothing is done twice.
//!
//! What was answered is written together with what was changed, so the next leader knows it too.

use super::message::{Method, Request};
use crate::controller::resources::operations::{Answered, Fingerprint};
use crate::controller::resources::{Code, Error, Path};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Below this prefix the answers stand.
pub const REQUESTS: &str = "requests/";
/// How many answers are remembered.
const REMEMBERED: usize = 4096;
/// Longest request id.
const MAX_ID: usize = 128;

/// An answer, with its place in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    number: u64,
    answered: Answered,
}

/// The latest answers to requests with an id.
#[derive(Debug, Default)]
pub struct Repeats {
    records: BTreeMap<String, Record>,
    order: VecDeque<(u64, String)>,
    next: u64,
}

/// What tells a request from others.
#[derive(Clone, Debug)]
pub struct Mark {
    key: String,
    fingerprint: Fingerprint,
}

impl Mark {
    /// Of a request on a resource; none if the client gave it no id.
    ///
    /// # Errors
    /// The id is none.
    pub fn of(request: &Request, path: &Path, body: &Value) -> Result<Option<Self>, Error> {
        let Some(id) = &request.client_request_id else { return Ok(None) };
        if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = format!("x-ms-client-request-id has to be 1 to {MAX_ID} visible ASCII characters");
            return Err(Error::new(Code::InvalidParameterValue, message));
        }
        let method = match request.method {
            Method::Delete => "DELETE",
            _ => "PUT",
        };
        // A space cannot be part of an id.
        let key = format!("{id} {}", request.principal.name);
        Ok(Some(Self { key, fingerprint: Fingerprint::new(method, path, body) }))
    }
}

impl Repeats {
    /// What was answered before; none if the request comes for the first time.
    ///
    /// # Errors
    /// The id stood on another request.
    pub fn before(&self, mark: &Mark) -> Result<Option<&Answered>, Error> {
        match self.records.get(&mark.key) {
            Some(record) if record.answered.fingerprint != mark.fingerprint => {
                let message =
                    "x-ms-client-request-id stood on another request before; take an id of its own for each request";
                Err(Error::new(Code::RequestIdReused, message))
            }
            known => Ok(known.map(|record| &record.answered)),
        }
    }

    /// Keeps an answer: what is to be written.
    pub fn keep(&mut self, mark: &Mark, status: u16, operation: &str) -> Vec<(String, Option<Arc<str>>)> {
        self.remember(mark, status, Some(operation.into()), None)
    }

    /// Keeps a refusal: a request that was refused stays so, though it arrive again when it could be met. Gives what is to be written.
    pub fn keep_refusal(&mut self, mark: &Mark, error: &Error) -> Vec<(String, Option<Arc<str>>)> {
        self.remember(mark, error.status(), None, Some(error.clone()))
    }

    fn remember(
        &mut self,
        mark: &Mark,
        status: u16,
        operation: Option<Box<str>>,
        error: Option<Error>,
    ) -> Vec<(String, Option<Arc<str>>)> {
        let answered = Answered { fingerprint: mark.fingerprint, status, operation, error };
        let record = Record { number: self.next, answered };
        let Ok(text) = serde_json::to_string(&record) else { return Vec::new() };
        let mut entries = vec![(format!("{REQUESTS}{}", mark.key), Some(text.into()))];
        self.insert(mark.key.clone(), record);
        // Two at a time, so that what was too much shrinks again.
        for _ in 0..2 {
            if self.records.len() > REMEMBERED
                && let Some((number, key)) = self.order.pop_front()
                && self.records.get(&key).is_some_and(|record| record.number == number)
            {
                self.records.remove(&key);
                entries.push((format!("{REQUESTS}{key}"), None));
            }
        }
        entries
    }

    /// Takes what the store holds.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn record(&mut self, key: &str, value: Option<&str>) -> serde_json::Result<()> {
        match value.map(serde_json::from_str::<Record>).transpose()? {
            Some(record) => self.insert(key.to_owned(), record),
            None => {
                self.records.remove(key);
            }
        }
        Ok(())
    }

    fn insert(&mut self, key: String, record: Record) {
        self.next = self.next.max(record.number + 1);
        let at = self.order.partition_point(|(number, _)| *number < record.number);
        self.order.insert(at, (record.number, key.clone()));
        self.records.insert(key, record);
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Principal, Role};
    use super::*;
    use serde_json::json;

    fn mark(id: &str, body: &Value) -> Mark {
        let request = Request {
            principal: Principal { name: "operator".into(), role: Role::Admin },
            request_id: String::new(),
            method: Method::Put,
            path: String::new(),
            query: Vec::new(),
            if_match: None,
            if_none_match: None,
            client_request_id: Some(id.to_owned()),
            body: Default::default(),
        };
        let path = Path::parse("/gatewayPools/default").expect("a path");
        Mark::of(&request, &path, body).expect("a good id").expect("an id")
    }

    #[test]
    fn the_same_request_is_known_and_another_is_refused() {
        let mut repeats = Repeats::default();
        let (one, other) =
            (mark("a", &json!({ "properties": {} })), mark("a", &json!({ "properties": { "type": "All" } })));
        assert_eq!(repeats.before(&one), Ok(None));
        repeats.keep(&one, 201, "operation");
        assert_eq!(repeats.before(&one).map(|known| known.map(|known| known.status)), Ok(Some(201)));
        assert_eq!(repeats.before(&other).map_err(|error| error.code), Err(Code::RequestIdReused));
    }

    #[test]
    fn what_was_written_is_known_to_the_next_leader_and_the_oldest_is_forgotten() {
        let (mut repeats, mut next) = (Repeats::default(), Repeats::default());
        for number in 0..REMEMBERED + 2 {
            for (key, value) in repeats.keep(&mark(&number.to_string(), &json!({})), 200, "o") {
                let key = key.strip_prefix(REQUESTS).expect("below the prefix");
                next.record(key, value.as_deref()).expect("readable");
            }
        }
        assert_eq!((repeats.records.len(), &repeats.records), (REMEMBERED, &next.records));
        assert_eq!(next.before(&mark("0", &json!({}))), Ok(None));
        assert!(next.before(&mark("2", &json!({}))).expect("known").is_some());
    }
}
