//! `If-Match` and `If-None-Match` (RFC 9110, 13.1), by the interface's table:
//!
//! | method | header | does not exist | exists |
//! |---|---|---|---|
//! | PUT | none, or empty | 201 | 200 |
//! | PUT | `If-Match: *` | 412 | 200 |
//! | PUT | `If-Match: value` | 412 | 200, or 412 if it has another ETag |
//! | PUT | `If-None-Match: *` | 201 | 412 |
//! | DELETE | none, or `If-Match` | 204 | 200, or 412 if it has another ETag |

use crate::controller::resources::error::{Code, Error};

/// What a request asks of the resource's ETag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    Any,
    These(Vec<String>),
}

impl Tags {
    fn parse(header: Option<&str>) -> Option<Self> {
        match header?.trim() {
            "" => None,
            "*" => Some(Self::Any),
            tags => Some(Self::These(tags.split(',').map(|tag| bare(tag).to_owned()).collect())),
        }
    }

    fn has(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|tag| tag == etag),
        }
    }
}

/// An ETag without its quotes and its mark of weakness, which clients lose at times.
fn bare(tag: &str) -> &str {
    let tag = tag.trim();
    let tag = tag.strip_prefix("W/").or_else(|| tag.strip_prefix("w/")).unwrap_or(tag);
    tag.trim_matches('"')
}

/// An ETag as it is sent.
pub fn written(bare: &str) -> String {
    format!("W/\"{bare}\"")
}

impl Conditions {
    /// Of these headers.
    pub fn new(if_match: Option<&str>, if_none_match: Option<&str>) -> Self {
        Self { if_match: Tags::parse(if_match), if_none_match: Tags::parse(if_none_match) }
    }

    /// Whether a PUT may go on, given the ETag of what exists.
    ///
    /// # Errors
    /// A condition does not hold.
    pub fn check_put(&self, etag: Option<&str>) -> Result<(), Error> {
        match (&self.if_match, etag) {
            (Some(_), None) => return Err(failed("If-Match is given, and there is no such resource")),
            (Some(tags), Some(etag)) if !tags.has(etag) => return Err(changed(etag)),
            _ => {}
        }
        match (&self.if_none_match, etag) {
            (Some(tags), Some(etag)) if tags.has(etag) => {
                Err(failed("If-None-Match is given, and the resource exists; leave the header out to replace it"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a DELETE may go on, given the ETag of what exists.
    ///
    /// # Errors
    /// A condition does not hold.
    pub fn check_delete(&self, etag: &str) -> Result<(), Error> {
        match &self.if_match {
            Some(tags) if !tags.has(etag) => Err(changed(etag)),
            _ => Ok(()),
        }
    }

    /// Whether the answer to a GET is 304.
    pub fn not_modified(&self, etag: &str) -> bool {
        self.if_none_match.as_ref().is_some_and(|tags| tags.has(bare(etag)))
    }
}

fn failed(message: &str) -> Error {
    Error::at(Code::PreconditionFailed, "etag", message)
}

fn changed(etag: &str) -> Error {
    let message = format!("the resource has changed since: its ETag is {}; read it again", written(etag));
    Error::at(Code::PreconditionFailed, "etag", message)
}
