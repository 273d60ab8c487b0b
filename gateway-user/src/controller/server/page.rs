//! What is served to everybody: whether the controller is well, what it serves, and a page to browse that.

use super::response::{self, Content};
use super::router::Context;
use super::service::Standing;
use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

/// Nothing is loaded from elsewhere, and nothing runs that is not in the program.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Whether the controller is well, and whether it leads.
pub fn health(context: &Context) -> Response<Content> {
    let (status, body) = match context.controller.standing() {
        Standing::Starting => (StatusCode::SERVICE_UNAVAILABLE, serde_json::json!({ "status": "starting" })),
        Standing::Leader { epoch } => (StatusCode::OK, serde_json::json!({ "status": "leader", "epoch": epoch })),
        Standing::Full { why } => {
            (StatusCode::INSUFFICIENT_STORAGE, serde_json::json!({ "status": "full", "why": &*why }))
        }
        Standing::Follower { leader } => {
            (StatusCode::OK, serde_json::json!({ "status": "follower", "leader": leader.as_deref() }))
        }
    };
    response::json(status, &body)
}

/// The page.
pub fn page() -> Response<Content> {
    let mut answer = fixed("text/html; charset=utf-8", include_str!("browse.html"));
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    answer
}

/// What makes the page work.
pub fn script() -> Response<Content> {
    fixed("text/javascript; charset=utf-8", include_str!("browse.js"))
}

/// What the page looks like.
pub fn style() -> Response<Content> {
    fixed("text/css; charset=utf-8", include_str!("browse.css"))
}

/// A document that is JSON.
pub fn document(bytes: &Bytes) -> Response<Content> {
    response::whole(StatusCode::OK, "application/json", bytes.clone())
}

fn fixed(kind: &'static str, text: &'static str) -> Response<Content> {
    let mut answer = response::whole(StatusCode::OK, kind, Bytes::from_static(text.as_bytes()));
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
