//! `GET /networking/backup`: an administrator takes a copy of everything. `POST /networking/restore`: puts one in place of what is there.

use super::response::{self, Content};
use super::router::{self, Head, Refused};
use super::service::Silence;
use super::{roles, uri};
use crate::controller::store;
use crate::controller::store::backup::{Backup, BackupError, Existing};
use bytes::{Buf, Bytes};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use tokio::sync::mpsc;

/// Bytes that are sent at once.
const PIECE: usize = 64 << 10;
/// Pieces that wait for the connection.
const AHEAD: usize = 4;

/// What was restored.
#[derive(Serialize)]
struct Restored {
    entries: usize,
    revision: u64,
}

/// A copy of everything, consistent at one revision. Any controller can give it.
pub async fn backup(head: &Head<'_>) -> Response<Content> {
    take(head).await.unwrap_or_else(|refused| *refused)
}

async fn take(head: &Head<'_>) -> Result<Response<Content>, Refused> {
    if head.parts.method != Method::GET {
        return Err(router::not_allowed("GET").into());
    }
    let client = administrator(head, "take a backup: that takes the role admin")?;
    let taken = settle(head.context.controller.backup().await)?;
    tracing::info!(client, revision = taken.revision.0, entries = taken.entries.len(), "a backup is taken");
    let (pieces, receiver) = mpsc::channel(AHEAD);
    // A reader that goes away ends the writing; it has no last line then, and is known to be incomplete.
    tokio::task::spawn_blocking(move || taken.write(BufWriter::with_capacity(PIECE, Pieces(pieces))));
    let mut response = Response::new(Content::Stream(receiver));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Puts a copy in place of what is there.
pub async fn restore(head: &Head<'_>, body: Incoming) -> Response<Content> {
    put_back(head, body).await.unwrap_or_else(|refused| *refused)
}

async fn put_back(head: &Head<'_>, body: Incoming) -> Result<Response<Content>, Refused> {
    if head.parts.method != Method::POST {
        return Err(router::not_allowed("POST").into());
    }
    let client = administrator(head, "restore a backup: that takes the role admin")?;
    if let Some(elsewhere) = head.elsewhere() {
        return Err(elsewhere.into());
    }
    let query = uri::query(head.parts.uri.query().unwrap_or_default()).unwrap_or_default();
    let force =
        query.iter().any(|(name, value)| name.eq_ignore_ascii_case("force") && value.eq_ignore_ascii_case("true"));
    let existing = if force { Existing::Replace } else { Existing::Keep };
    let limits = &head.context.limits;
    let collected = router::collect(body, limits.backup_bytes, limits.backup).await?;
    let reading = tokio::task::spawn_blocking(move || Backup::read(collected.aggregate().reader()));
    let read = reading.await.unwrap_or_else(|error| Err(io::Error::other(error).into()));
    let backup = read.map_err(|error| refusal(&error))?;
    let restored = Restored { entries: backup.entries.len(), revision: backup.revision.0 };
    tracing::warn!(client, revision = restored.revision, entries = restored.entries, ?existing, "a backup is restored");
    settle(head.context.controller.restore(backup, existing).await)?;
    tracing::warn!(revision = restored.revision, "the backup is restored; what it holds is served from now on");
    Ok(response::json(StatusCode::OK, &restored))
}

fn administrator(head: &Head<'_>, what: &'static str) -> Result<String, Refused> {
    let subject = head.subject().map_err(|error| router::untaken(head, error))?;
    let client = roles::administer(subject.as_ref(), what).map_err(|error| router::denied(head, &error))?;
    Ok(client.name.clone())
}

fn settle<T>(said: Result<Result<T, BackupError>, Silence>) -> Result<T, Refused> {
    said.map_err(router::silence)?.map_err(|error| refusal(&error))
}

fn refusal(error: &BackupError) -> Refused {
    let (status, code) = match error {
        BackupError::Io(_) | BackupError::Foreign(_) | BackupError::Version(_) | BackupError::Damaged { .. } => {
            (StatusCode::BAD_REQUEST, "InvalidBackup")
        }
        BackupError::NotEmpty(_) => (StatusCode::CONFLICT, "StoreNotEmpty"),
        BackupError::Key(_) => (StatusCode::CONFLICT, "OtherKey"),
        BackupError::NotLeader | BackupError::Store(store::Error::Unavailable { .. } | store::Error::Halted) => {
            (StatusCode::SERVICE_UNAVAILABLE, "RetryableError")
        }
        BackupError::Store(store::Error::Full { .. }) => (StatusCode::INSUFFICIENT_STORAGE, "InsufficientStorage"),
        BackupError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
    };
    tracing::warn!(%error, "a backup was not taken or restored");
    response::error(status, code, &error.to_string()).into()
}

/// Sends what is written to it.
struct Pieces(mpsc::Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.blocking_send(Bytes::copy_from_slice(bytes)).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
