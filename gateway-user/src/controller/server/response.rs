//! HTTP answers, made of the core's.

use super::service::Answer;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// An answer's body: bytes that are there, or a stream.
#[derive(Debug)]
pub enum Content {
    /// All of it.
    Whole(Option<Bytes>),
    /// As it comes.
    Stream(mpsc::Receiver<Bytes>),
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(receiver) => receiver.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// An answer with a body of some type.
pub fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Content> {
    let body = body.into();
    let mut response = Response::new(Content::Whole((!body.is_empty()).then_some(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// An answer with JSON.
pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Content> {
    whole(status, "application/json", serde_json::to_vec(value).unwrap_or_default())
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response<Content> {
    let mut response = Response::new(Content::Whole(None));
    *response.status_mut() = status;
    response
}

/// An error in the northbound interface's form.
pub fn error(status: StatusCode, code: &str, message: &str) -> Response<Content> {
    let body = serde_json::json!({ "error": { "code": code, "message": message, "innerError": "", "target": "", "details": [] } });
    json(status, &body)
}

/// A header that is set if its value can be one.
pub fn set(response: &mut Response<Content>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The core's answer. Paths in its headers become URLs at `origin`, which is where the client asked.
pub fn of_answer(answer: Answer, origin: &str) -> Response<Content> {
    let Answer { status, etag, location, operation, retry_after, body } = answer;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = if body.is_empty() { empty(status) } else { whole(status, "application/json", body) };
    let url = |path: String| if path.starts_with('/') { format!("{origin}{path}") } else { path };
    let headers = [
        (header::ETAG, etag),
        (header::LOCATION, location.map(url)),
        (HeaderName::from_static("azure-asyncoperation"), operation.map(url)),
        (header::RETRY_AFTER, retry_after.map(|seconds| seconds.to_string())),
    ];
    for (name, value) in headers {
        if let Some(value) = value {
            set(&mut response, name, &value);
        }
    }
    response
}
