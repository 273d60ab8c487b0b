//! `gatewayctl apply -f`: creates and changes resources.

use super::client::Client;
use super::documents::Document;
use super::error::is_not_found;
use super::{code, order, target};
use crate::ctl::args::Format;
use crate::ctl::output::Output;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::json;

/// Puts all documents, each after what it refers to. One that is refused does not keep the others back.
pub async fn run(client: &mut Client, documents: Vec<Document>, output: &mut Output) -> anyhow::Result<u8> {
    let mut results = Vec::new();
    let mut failures = 0;
    for document in order::creation(documents) {
        let result = match put(client, &document).await {
            Ok(result) => result,
            Err(error) if is_refusal(&error) => {
                failures += 1;
                output.flush()?;
                super::super::report(&error.context(document.source.clone()));
                "refused"
            }
            // Nobody is there: the next one would fare no better.
            Err(error) => return Err(error.context(format!("{}: {}", document.source, document.path))),
        };
        match output.format() {
            Format::Json => results.push(json!({ "resourceRef": document.path.to_string(), "result": result })),
            Format::Table if result != "refused" => output.line(&format!("{} {result}", document.path))?,
            Format::Table => {}
        }
    }
    if output.format() == Format::Json {
        output.document(&results)?;
    }
    Ok(code(failures))
}

async fn put(client: &mut Client, document: &Document) -> anyhow::Result<&'static str> {
    let url = target::url(&document.path);
    // The tag tells whether anything was different.
    let before = match client.ask(Method::GET, &url, &[], Bytes::new()).await {
        Ok(answered) => answered.etag,
        Err(error) if is_not_found(&error) => None,
        Err(error) => return Err(error),
    };
    let body = serde_json::to_vec(&document.body)?;
    let answered = client.ask(Method::PUT, &url, &[], body.into()).await?;
    Ok(match answered.status {
        StatusCode::CREATED => "created",
        _ if before.is_some() && before == answered.etag => "unchanged",
        _ => "configured",
    })
}

/// Whether the controller said no, rather than nothing.
pub fn is_refusal(error: &anyhow::Error) -> bool {
    error.downcast_ref::<super::error::Refused>().is_some_and(|refused| !refused.status.is_server_error())
}
