//! `gatewayctl delete`.

use super::args::{DeleteOptions, Reach};
use super::client::Client;
use super::error::is_not_found;
use super::target::{self, Target};
use super::{apply, code, documents, fetch, order};
use crate::controller::resources::Path;
use crate::ctl::args::Format;
use crate::ctl::output::Output;
use anyhow::bail;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks whether a deletion has ended.
const PAUSE: Duration = Duration::from_millis(200);

/// Deletes.
pub async fn run(reach: &Reach, options: &DeleteOptions, output: &mut Output) -> anyhow::Result<u8> {
    let targets = target::all(&options.what)?;
    if let Some(Target::Collection(_) | Target::Anywhere(_, None)) =
        targets.iter().find(|target| matches!(target, Target::Collection(_) | Target::Anywhere(_, None)))
    {
        return Err(super::error::Usage("name what is to be deleted: KIND/ID".to_owned()).into());
    }
    let described = if options.files.is_empty() { Vec::new() } else { documents::read(&options.files)? };
    let mut client = super::client(reach).await?;
    let mut paths: Vec<Path> = order::creation(described).into_iter().rev().map(|document| document.path).collect();
    for target in &targets {
        paths.push(fetch::resolve(&mut client, target).await?);
    }
    let mut results = Vec::new();
    let mut failures = 0;
    for path in paths {
        let result = match delete(&mut client, &path, reach.patience()).await {
            Ok(()) => "deleted",
            Err(error) if options.ignore_not_found && is_not_found(&error) => "not found",
            Err(error) if apply::is_refusal(&error) => {
                failures += 1;
                output.flush()?;
                super::super::report(&error);
                "refused"
            }
            Err(error) => return Err(error),
        };
        match output.format() {
            Format::Json => results.push(json!({ "resourceRef": path.to_string(), "result": result })),
            Format::Table if result != "refused" => output.line(&format!("{path} {result}"))?,
            Format::Table => {}
        }
    }
    if output.format() == Format::Json {
        output.document(&results)?;
    }
    Ok(code(failures))
}

async fn delete(client: &mut Client, path: &Path, patience: Duration) -> anyhow::Result<()> {
    let answered = client.ask(Method::DELETE, &target::url(path), &[], Bytes::new()).await?;
    // Nothing was there: the interface has no other word for it.
    if answered.status == StatusCode::NO_CONTENT {
        return Err(super::error::Refused::new(
            Method::DELETE,
            &path.to_string(),
            StatusCode::NOT_FOUND,
            json!({ "error": { "code": "ResourceNotFound", "message": format!("there is no {path}") } })
                .to_string()
                .as_bytes(),
        )
        .into());
    }
    let Some(result) = answered.location.filter(|_| answered.status == StatusCode::ACCEPTED) else { return Ok(()) };
    let until = Instant::now() + patience;
    loop {
        match client.ask(Method::GET, &result, &[], Bytes::new()).await {
            Ok(answered) if answered.status != StatusCode::ACCEPTED => return Ok(()),
            Ok(_) if Instant::now() >= until => {
                bail!("{path} is still being deleted; `gatewayctl get` shows when it is gone")
            }
            Ok(_) => tokio::time::sleep(PAUSE).await,
            // The one who knew has gone, or has forgotten what ended long ago.
            Err(error) if is_not_found(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
