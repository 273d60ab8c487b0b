//! The REST API: HTTP's form is taken off a request and put on its answer. What is in between the core decides.

use super::response::{self, Content};
use super::router::{self, Head};
use super::service::{Method, Principal, Request, WatchEvent, WatchRequest};
use super::streams::{self, Event};
use super::{credentials_api, roles, uri};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName};
use hyper::{Response, StatusCode};
use std::sync::Arc;

const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const RETURN_CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-return-client-request-id");

/// Answers a request for resources.
pub async fn handle(head: &Head<'_>, body: Incoming) -> Response<Content> {
    let mut answer = respond(head, body).await;
    if let Some(id) = head.header(CLIENT_REQUEST_ID)
        && head.header(RETURN_CLIENT_REQUEST_ID).is_some_and(|wish| wish.eq_ignore_ascii_case("true"))
    {
        response::set(&mut answer, CLIENT_REQUEST_ID, id);
    }
    answer
}

async fn respond(head: &Head<'_>, body: Incoming) -> Response<Content> {
    let method = match head.parts.method {
        hyper::Method::GET => Method::Get,
        hyper::Method::PUT => Method::Put,
        hyper::Method::PATCH => Method::Patch,
        hyper::Method::POST => Method::Post,
        hyper::Method::DELETE => Method::Delete,
        _ => return router::not_allowed("GET, PUT, PATCH, POST, DELETE"),
    };
    let subject = match head.subject() {
        Ok(subject) => subject,
        Err(error) => return router::untaken(head, error),
    };
    let principal = match roles::api(subject.as_ref(), method) {
        Ok(principal) => principal,
        Err(error) => return router::denied(head, &error),
    };
    tracing::debug!(id = head.id, client = %principal.name, role = ?principal.role, "client");
    credentials_api::note(head);
    if method != Method::Get
        && let Some(elsewhere) = head.elsewhere()
    {
        return elsewhere;
    }
    let Some(query) = uri::query(head.parts.uri.query().unwrap_or_default()) else {
        return response::error(StatusCode::BAD_REQUEST, "InvalidUri", "the query has escapes that make no sense");
    };
    let path = first_version(head.path);
    let asks_for = |name: &str, value: &str| {
        query.iter().any(|(key, given)| key.eq_ignore_ascii_case(name) && given.eq_ignore_ascii_case(value))
    };
    if method == Method::Get && asks_for("watch", "true") {
        return watch(head, principal, path, &query).await;
    }
    let body = match router::read(head, body, head.context.limits.request_bytes).await {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    let text = |name| head.header(name).map(str::to_owned);
    let request = Request {
        principal,
        request_id: head.id.to_owned(),
        method,
        path,
        query,
        if_match: text(header::IF_MATCH),
        if_none_match: text(header::IF_NONE_MATCH),
        client_request_id: text(CLIENT_REQUEST_ID),
        body,
    };
    match head.context.controller.request(request).await {
        Ok(answer) => response::of_answer(answer, &head.origin()),
        Err(error) => router::silence(error),
    }
}

/// A path as if it had been asked in the first version, without a slash at its end.
fn first_version(path: &str) -> String {
    let rest = path.splitn(4, '/').nth(3).unwrap_or_default();
    format!("/networking/v1/{rest}").trim_end_matches('/').to_owned()
}

async fn watch(head: &Head<'_>, principal: Principal, path: String, query: &[(String, String)]) -> Response<Content> {
    let given = head.header(HeaderName::from_static("last-event-id")).or_else(|| {
        query.iter().find(|(name, _)| name.eq_ignore_ascii_case("revision")).map(|(_, value)| value.as_str())
    });
    let after = match given.map(str::parse::<u64>) {
        None => None,
        Some(Ok(revision)) => Some(revision),
        Some(Err(_)) => {
            let message = "the revision to go on from (Last-Event-ID, or `revision` in the query) is a number";
            return response::error(StatusCode::BAD_REQUEST, "InvalidParameterValue", message);
        }
    };
    // A client that opens many streams shuts out itself.
    let name = format!("{:?} {}", principal.role, principal.name);
    let Some(counted) = head.context.streams.one_more(&name, head.context.limits.streams) else {
        return too_many_streams();
    };
    match head.context.controller.watch(WatchRequest { principal, path, after }).await {
        Ok(Ok(stream)) => {
            let event = |event: Arc<WatchEvent>| {
                let id = event.revision.map(|revision| revision.to_string()).unwrap_or_default();
                let kind = event.kind.as_str();
                vec![Event { id, kind, data: event.data.clone() }]
            };
            let Head { context, .. } = head;
            streams::answer(stream, event, context.limits.keep_alive, counted, context.stopping.clone())
        }
        Ok(Err(answer)) => response::of_answer(answer, &head.origin()),
        Err(error) => router::silence(error),
    }
}

/// A client has its streams already.
pub fn too_many_streams() -> Response<Content> {
    let message = "too many event streams are open in this name; close one first";
    response::error(StatusCode::TOO_MANY_REQUESTS, "TooManyStreams", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_sees_one_version_and_no_slash_at_the_end() {
        for (path, seen) in [
            ("/networking/v1", "/networking/v1"),
            ("/networking/v1/", "/networking/v1"),
            ("/networking/v3.1/gateways", "/networking/v1/gateways"),
            ("/Networking/V1/gateways/GW1/", "/networking/v1/gateways/GW1"),
        ] {
            assert_eq!(first_version(path), seen);
        }
    }
}
