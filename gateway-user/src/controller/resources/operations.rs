//! Asynchronous operations, and requests that are sent twice.
//!
//! A change is carried out before it is answered, so an operation is over when a client first hears of it; its record says how it ended.
//! A request with an `x-ms-client-request-id` is answered once: the same request again gets the same answer, another one is refused.

use super::error::{Code, Error};
use super::path::Path;
use super::schema::{Access, Kind, Property, Shape};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What `Retry-After` may say, in seconds.
pub const RETRY_AFTER_SECONDS: std::ops::RangeInclusive<u32> = 15..=900;

/// How an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// It goes on.
    InProgress,
    /// It did what was asked.
    Succeeded,
    /// It did nothing, for the reason given with it.
    Failed,
    /// A newer request on the same resources took its place.
    Canceled,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Whose it is: nobody else sees it.
    pub principal: Box<str>,
    /// On which resource.
    pub resource: Box<str>,
    /// How it stands.
    pub status: Status,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

impl Operation {
    /// One that did what was asked.
    pub fn succeeded(principal: &str, resource: &Path) -> Self {
        Self {
            principal: principal.into(),
            resource: resource.to_string().into(),
            status: Status::Succeeded,
            error: None,
        }
    }

    /// The answer to `GET /operations/{id}`.
    pub fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("status".to_owned(), json!(self.status));
        if let Some(error) = &self.error {
            body.insert("error".to_owned(), json!(error));
        }
        Value::Object(body)
    }

    /// The status of the answer to `GET /operationResults/{id}`: 202 while it goes on, then 204, or the error's.
    pub fn result_status(&self) -> u16 {
        match (self.status, &self.error) {
            (Status::InProgress, _) => 202,
            (_, Some(error)) => error.status(),
            (Status::Canceled, None) => Code::AnotherOperationInProgress.status(),
            _ => 204,
        }
    }
}

/// What tells one request from another. Secrets have no part in it, so that it can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(u64, u64);

impl Fingerprint {
    /// Of a request.
    pub fn new(method: &str, path: &Path, body: &Value) -> Self {
        let text = format!("{method} {} {}", path.key(), without_secrets(path.kind(), body));
        let hash = |start: u64| {
            text.bytes()
                .fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(5))
        };
        Self(hash(0xcbf2_9ce4_8422_2325), hash(0x9e37_79b9_7f4a_7c15))
    }
}

/// A body of a client's, without what is secret in it.
fn without_secrets(kind: Kind, body: &Value) -> Value {
    let Value::Object(body) = body else { return body.clone() };
    let part = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::Object(properties) if name.eq_ignore_ascii_case("properties") => {
                Value::Object(object_without_secrets(kind.info().properties, properties))
            }
            other => other.clone(),
        };
        (name.clone(), value)
    };
    Value::Object(body.iter().map(part).collect())
}

fn object_without_secrets(table: &'static [Property], object: &Map<String, Value>) -> Map<String, Value> {
    let property = |name: &str| table.iter().find(|property| property.is_called(name));
    let secret = |name: &str| property(name).is_some_and(|property| property.access == Access::Secret);
    let part = |(name, value): (&String, &Value)| {
        let value = match (property(name).map(|property| property.shape), value) {
            (Some(Shape::Object(table)), Value::Object(object)) => Value::Object(object_without_secrets(table, object)),
            (Some(Shape::Children(kind)), Value::Array(children)) => {
                children.iter().map(|child| without_secrets(kind, child)).collect()
            }
            (_, value) => value.clone(),
        };
        (name.clone(), value)
    };
    object.iter().filter(|(name, _)| !secret(name)).map(part).collect()
}

/// What was answered, as much as it takes to answer it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The request.
    pub fingerprint: Fingerprint,
    /// The HTTP status.
    pub status: u16,
    /// The operation, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Box<str>>,
    /// The refusal, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}
