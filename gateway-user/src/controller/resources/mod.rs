//! The northbound interface's resources: schema, trees, ETags, references, errors.
//!
//! Pure: what depends on time or chance is passed in, what is to be written is handed back. The two types that matter are [`Forest`], all
//! resources, and [`Change`], what one request does to one tree of them. A [`Change`] is made by [`Forest::put`] or [`Forest::delete`], is
//! committed by the caller, and takes effect by [`Forest::apply`].
//!
//! | to change | go to |
//! |---|---|
//! | a property: its name, form, whether it is needed, what it does | [`schema`] |
//! | URLs and references | [`path`] |
//! | create, replace, delete; ETags; who refers to whom | [`tree`] |
//! | what has to hold between properties and between resources | [`rules`] |
//! | who may do what | [`roles`] |
//! | codes and words of refusals | [`error`] |
//! | asynchronous operations, and requests that are sent twice | [`operations`] |

pub mod error;
pub mod operations;
pub mod path;
pub mod roles;
pub mod rules;
pub mod schema;
pub mod tree;

#[cfg(test)]
mod tests;

pub use error::{Code, Error};
pub use path::{Collection, Location, Path};
pub use roles::{Principal, Role};
pub use schema::Kind;
pub use schema::normalise::{Seal, normalise};
pub use tree::{Change, Conditions, Forest, Observed, Outcome, Stamp, View};

use serde_json::Value;

/// Longest body that is read.
pub const MAX_BODY: usize = 4 * 1024 * 1024;

/// Reads a request's body.
///
/// # Errors
/// It is too long, or no JSON.
pub fn parse_body(bytes: &[u8]) -> Result<Value, Error> {
    if bytes.len() > MAX_BODY {
        let message = format!("the body is {} bytes long; at most {MAX_BODY} are taken", bytes.len());
        return Err(Error::new(Code::RequestTooLarge, message));
    }
    // A byte order mark stands before what some Windows clients send.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // serde_json's own words may quote the text, which may hold a secret: only the place is told.
    serde_json::from_slice(bytes).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Eof => "the body ends too early",
            _ => "the body is no JSON",
        };
        Error::new(Code::InvalidRequestContent, format!("{what}: line {}, column {}", error.line(), error.column()))
    })
}

/// The answer to `GET /networking/discovery`.
pub fn discovery() -> Value {
    let versions: Vec<Value> = path::VERSIONS.iter().map(|version| Value::from(*version)).collect();
    serde_json::json!({
        "properties": {
            "networkControllerVersion": env!("CARGO_PKG_VERSION"),
            "supportedRestVersions": versions,
            "currentRestVersion": path::VERSIONS[path::VERSIONS.len() - 1],
        }
    })
}
