//! From a request's path to what answers it.

use super::authority::Authority;
use super::limits::Limits;
use super::response::{self, Content};
use super::roles::Denied;
use super::service::{Controller, KeyId, Silence, Standing};
use super::streams::Count;
use super::subject::Subject;
use super::tls::Certificate;
use super::tokens::Untaken;
use super::{agents, api, copies, credentials_api, page, tokens_api, uri};
use crate::agent::token::{Claims, Grant, Token};
use crate::controller::core::ledger::{Credential, CredentialId, Ledger};
use crate::controller::resources::{self, path::VERSIONS};
use bytes::Bytes;
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderName};
use hyper::{Method, Request, Response, StatusCode};
use ring::rand::{SecureRandom, SystemRandom};
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;

/// What all requests share.
#[derive(Debug)]
pub struct Context {
    /// The core.
    pub controller: Controller,
    /// Whose certificates and tokens are taken.
    pub authority: Arc<Authority>,
    /// The server's own certificate.
    pub certificate: Arc<Certificate>,
    /// What is served as it is.
    pub documents: Documents,
    /// What bounds clients.
    pub limits: Limits,
    /// Open streams.
    pub streams: Count,
    /// Whether the server stops.
    pub stopping: watch::Receiver<bool>,
}

/// What is served as it is, to anybody.
#[derive(Clone, Debug)]
pub struct Documents {
    /// `/networking/openapi.json`.
    pub openapi: Bytes,
    /// `/networking/discovery`.
    pub discovery: Bytes,
}

impl Default for Documents {
    fn default() -> Self {
        Self {
            openapi: resources::schema::document::openapi().to_string().into(),
            discovery: resources::discovery().to_string().into(),
        }
    }
}

/// Who is at the far end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Where from.
    pub address: SocketAddr,
    /// By their certificate; absent if they showed none.
    pub certified: Option<(Subject, KeyId)>,
    /// When that expires.
    pub expires: Option<OffsetDateTime>,
    /// The token that was shown last.
    pub token: Mutex<Option<CredentialId>>,
}

impl Peer {
    /// Whether what they showed has been taken back, or replaced.
    pub fn is_revoked(&self, ledger: &Ledger) -> bool {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        let certificate = self.certified.as_ref().is_some_and(|(subject, key)| {
            let id = CredentialId::from(*key);
            ledger.is_revoked(&id) || matches!(subject, Subject::Agent(agent) if ledger.is_replaced(agent, &id))
        });
        certificate || token.as_ref().is_some_and(|token| ledger.is_revoked(token))
    }
}

/// A request's beginning: everything but its body.
pub struct Head<'a> {
    /// What all requests share.
    pub context: &'a Context,
    /// Who asks.
    pub peer: &'a Peer,
    /// Its number.
    pub id: &'a str,
    /// Its method, headers and so on.
    pub parts: &'a hyper::http::request::Parts,
    /// Its path, without escapes.
    pub path: &'a str,
}

impl Head<'_> {
    /// A header's text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// Where the client asked: `https://host:port`.
    pub fn origin(&self) -> String {
        let host = self.header(header::HOST).or_else(|| self.parts.uri.authority().map(|authority| authority.as_str()));
        format!("https://{}", host.unwrap_or("localhost"))
    }

    /// The token in the `Authorization` header, if it is genuine. An error if there is one that is not.
    pub fn claims(&self) -> Result<Option<Claims>, Untaken> {
        let Some(header) = self.header(header::AUTHORIZATION) else { return Ok(None) };
        let (scheme, text) = header.split_once(' ').ok_or(Untaken::Forged)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Untaken::Forged);
        }
        let token: Token = text.parse().map_err(|_| Untaken::Forged)?;
        let claims = self.context.authority.claims(&token)?;
        let id: CredentialId = claims.id.parse().map_err(|_| Untaken::Forged)?;
        *self.peer.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.clone());
        if self.context.controller.ledger().is_revoked(&id) {
            return Err(Untaken::Revoked);
        }
        Ok(Some(claims))
    }

    /// What was shown, and what is known of it.
    pub fn credential(&self) -> Option<(CredentialId, Credential)> {
        if let Some((subject, key)) = &self.peer.certified {
            let Subject::Client(client) = subject else { return None };
            let expires = self.peer.expires.and_then(|expires| u64::try_from(expires.unix_timestamp()).ok());
            let grant = Some(Grant::Client(client.clone()));
            return Some(((*key).into(), Credential { grant, expires, revoked: None }));
        }
        let claims = self.claims().ok()??;
        let known = Credential { grant: Some(claims.grant), expires: Some(claims.expires), revoked: None };
        Some((claims.id.parse().ok()?, known))
    }

    /// Who asks: by certificate, else by token.
    pub fn subject(&self) -> Result<Option<Subject>, Untaken> {
        if let Some((subject, _)) = &self.peer.certified {
            if self.peer.is_revoked(&self.context.controller.ledger()) {
                return Err(Untaken::Revoked);
            }
            return Ok(Some(subject.clone()));
        }
        Ok(self.claims()?.and_then(|claims| match claims.grant {
            Grant::Client(client) => Some(Subject::Client(client)),
            Grant::Join(_) => None,
        }))
    }

    /// Sends a client on to the leader; absent if that is here.
    pub fn elsewhere(&self) -> Option<Response<Content>> {
        let leader = match self.context.controller.standing() {
            Standing::Leader { .. } => return None,
            Standing::Starting => None,
            Standing::Follower { leader } => leader,
            Standing::Full { why } => {
                return Some(response::error(StatusCode::INSUFFICIENT_STORAGE, "InsufficientStorage", &why));
            }
        };
        let Some(leader) = leader else {
            let mut answer = response::error(
                StatusCode::SERVICE_UNAVAILABLE,
                "RetryableError",
                "no controller leads at the moment; ask again in a second",
            );
            response::set(&mut answer, header::RETRY_AFTER, "1");
            return Some(answer);
        };
        let path = self.parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut answer = response::error(
            StatusCode::TEMPORARY_REDIRECT,
            "NotLeader",
            &format!("another controller leads: ask {leader}"),
        );
        response::set(&mut answer, header::LOCATION, &format!("{}{path}", leader.trim_end_matches('/')));
        Some(answer)
    }
}

/// Answers a request, whatever it is.
pub async fn route(context: Arc<Context>, peer: Arc<Peer>, request: Request<Incoming>) -> Response<Content> {
    let id = request_id();
    let (parts, body) = request.into_parts();
    let mut answer = match uri::path(parts.uri.path()) {
        None => response::error(StatusCode::BAD_REQUEST, "InvalidUri", "the path has escapes that make no sense"),
        Some(path) => {
            let head = Head { context: &context, peer: &peer, id: &id, parts: &parts, path: &path };
            dispatch(&head, body).await
        }
    };
    response::set(&mut answer, HeaderName::from_static("x-ms-request-id"), &id);
    let status = answer.status();
    // Writes are what an audit asks for. Neither bodies nor headers are logged: there are secrets in them.
    if parts.method == Method::GET && !status.is_server_error() {
        tracing::debug!(id, from = %peer.address, path = parts.uri.path(), status = status.as_u16(), "request");
    } else if !parts.uri.path().ends_with("/heartbeat") || !status.is_success() {
        tracing::info!(id, from = %peer.address, method = %parts.method, path = parts.uri.path(), status = status.as_u16(), "request");
    }
    answer
}

async fn dispatch(head: &Head<'_>, body: Incoming) -> Response<Content> {
    let segments: Vec<String> = head.path.split('/').skip(1).map(str::to_ascii_lowercase).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let get = head.parts.method == Method::GET;
    match segments.as_slice() {
        ["healthz"] if get => page::health(head.context),
        ["" | "networking"] | ["networking", ""] if get => page::page(),
        ["networking", "browse.js"] if get => page::script(),
        ["networking", "browse.css"] if get => page::style(),
        ["networking", "openapi.json"] | ["networking", _, "openapi.json"] if get => {
            page::document(&head.context.documents.openapi)
        }
        ["networking", "discovery"] if get => page::document(&head.context.documents.discovery),
        ["networking", "credentials", rest @ ..] => credentials_api::handle(head, rest).await,
        ["networking", "backup"] => copies::backup(head).await,
        ["networking", "restore"] => copies::restore(head, body).await,
        ["networking", "tokens"] => tokens_api::handle(head, body).await,
        ["networking", "agents", "v1", rest @ ..] => agents::handle(head, rest, body).await,
        ["networking", version, ..] if VERSIONS.iter().any(|known| known.eq_ignore_ascii_case(version)) => {
            api::handle(head, body).await
        }
        _ => response::error(
            StatusCode::NOT_FOUND,
            "NotFound",
            "nothing is served there; resources are below /networking/v1, and /networking lists them",
        ),
    }
}

/// The answer to somebody who does not get what they asked for.
pub type Refused = Box<Response<Content>>;

/// Reads a body, within bounds.
pub async fn read(head: &Head<'_>, body: Incoming, limit: usize) -> Result<Bytes, Refused> {
    collect(body, limit, head.context.limits.body).await.map(Collected::to_bytes)
}

/// Reads a body as it comes, within bounds.
pub async fn collect(body: Incoming, limit: usize, time: Duration) -> Result<Collected<Bytes>, Refused> {
    let too_large = || {
        let message = format!("the body is larger than {limit} bytes");
        response::error(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLarge", &message).into()
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let (status, code, message) = match tokio::time::timeout(time, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => return Ok(collected),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => (StatusCode::BAD_REQUEST, "InvalidBody", "the body is not whole"),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "RequestTimeout", "the body did not come in time"),
    };
    Err(response::error(status, code, message).into())
}

/// Reads a body of JSON.
pub async fn read_json<T: DeserializeOwned>(head: &Head<'_>, body: Incoming, limit: usize) -> Result<T, Refused> {
    let bytes = read(head, body, limit).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("the body is not what it should be: {error}");
        response::error(StatusCode::BAD_REQUEST, "InvalidRequestBody", &message).into()
    })
}

/// Somebody may not.
pub fn denied(head: &Head<'_>, denied: &Denied) -> Response<Content> {
    tracing::warn!(id = head.id, from = %head.peer.address, path = head.path, "refused: {denied}");
    match denied {
        Denied::Anonymous => unauthorized(&denied.to_string()),
        Denied::Forbidden { .. } => response::error(StatusCode::FORBIDDEN, "Forbidden", &denied.to_string()),
    }
}

/// A token is not taken.
pub fn untaken(head: &Head<'_>, untaken: Untaken) -> Response<Content> {
    tracing::warn!(id = head.id, from = %head.peer.address, path = head.path, "refused: {untaken}");
    unauthorized(&untaken.to_string())
}

fn unauthorized(message: &str) -> Response<Content> {
    let mut answer = response::error(StatusCode::UNAUTHORIZED, "Unauthorized", message);
    response::set(&mut answer, header::WWW_AUTHENTICATE, "Bearer");
    answer
}

/// The core said nothing.
pub fn silence(silence: Silence) -> Response<Content> {
    let mut answer = response::error(StatusCode::SERVICE_UNAVAILABLE, "RetryableError", &silence.to_string());
    response::set(&mut answer, header::RETRY_AFTER, "1");
    answer
}

/// A method that a path does not have.
pub fn not_allowed(allowed: &'static str) -> Response<Content> {
    let message = format!("only {allowed} can be asked there");
    let mut answer = response::error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", &message);
    response::set(&mut answer, header::ALLOW, allowed);
    answer
}

/// A random GUID.
fn request_id() -> String {
    let mut bytes = [0; 16];
    // Without randomness requests are told apart by nothing, which only makes the log harder to read.
    let _ = SystemRandom::new().fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let number = u128::from_be_bytes(bytes);
    let group = |place: u32, bits: u32| number >> place & ((1 << bits) - 1);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        group(96, 32),
        group(80, 16),
        group(64, 16),
        group(48, 16),
        group(0, 48)
    )
}
