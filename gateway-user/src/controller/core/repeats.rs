//! Requests that are sent twice: a client that has lost an answer, to a broken connection or a dead controller, asks again under the same
//! `x-ms-client-request-id`, and is answered again, and nothing is done twice.
//!
//! What was answered is written together with what was changed, so the next leader knows it too.

use super::latest::Latest;
use super::message::{Method, Request};
use crate::controller::resources::operations::{Answered, Fingerprint};
use crate::controller::resources::{Code, Error, Path};
use serde_json::Value;
use std::sync::Arc;

/// Below this prefix the answers stand.
pub const REQUESTS: &str = "requests/";
/// Longest request id.
const MAX_ID: usize = 128;

/// The latest answers to requests with an id.
#[derive(Debug)]
pub struct Repeats(Latest<Answered>);

impl Default for Repeats {
    fn default() -> Self {
        Self(Latest::new(REQUESTS))
    }
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
        match self.0.get(&mark.key) {
            Some(answered) if answered.fingerprint != mark.fingerprint => {
                let message =
                    "x-ms-client-request-id stood on another request before; take an id of its own for each request";
                Err(Error::new(Code::RequestIdReused, message))
            }
            known => Ok(known),
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
        self.0.keep(&mark.key, answered)
    }

    /// Takes what the store holds.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn record(&mut self, key: &str, value: Option<&str>) -> serde_json::Result<()> {
        self.0.record(key, value)
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
}
