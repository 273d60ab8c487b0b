//! `gatewayctl watch`: follows what changes.

use super::args::WatchOptions;
use super::client::{BASE, Client};
use super::error::{Refused, Usage};
use super::fetch::Item;
use super::fields;
use super::target::{self, Target};
use crate::agent::events::{Decoder, Event};
use crate::controller::resources::Path;
use crate::ctl::args::Form;
use crate::ctl::output::Output;
use crate::ctl::table::clean;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Bytes of an event: a resource with all that it holds.
const EVENT_BYTES: usize = 64 << 20;
/// A controller says every few seconds that it lives.
const SILENCE: Duration = Duration::from_secs(90);
/// Between two tries to go on.
const PAUSE: Duration = Duration::from_millis(500);

/// Follows until it is enough.
pub async fn run(client: &mut Client, options: &WatchOptions, output: &mut Output) -> anyhow::Result<()> {
    let url = match options.what.as_deref().map(target::parse).transpose()? {
        None => BASE.to_owned(),
        Some(Target::Resource(path)) => target::url(&path),
        Some(Target::Collection(collection)) => target::collection_url(&collection),
        Some(Target::Anywhere(..)) => {
            return Err(Usage(
                "embedded resources change with the one that they stand in: watch that one, as in tenant/ID".to_owned(),
            )
            .into());
        }
    };
    let url = format!("{url}?watch=true");
    let mut watch = Watch { last: None, left: options.count };
    let mut broken: Option<Instant> = None;
    loop {
        let headers: Vec<(HeaderName, &str)> = watch.last.iter().map(|last| (LAST_EVENT_ID, last.as_str())).collect();
        match client.send(Method::GET, &url, &headers, Bytes::new()).await {
            Ok(response) => {
                broken = None;
                if watch.follow(response.into_body(), output).await? == Ended::Enough {
                    return Ok(());
                }
                client.move_on();
            }
            Err(error) => match error.downcast_ref::<Refused>().map(|refused| refused.status) {
                Some(StatusCode::GONE) if watch.last.take().is_some() => {
                    eprintln_quietly(
                        "the controller does not remember as far back: from here on everything is told again",
                    );
                }
                Some(_) => return Err(error),
                // It was there: it may come back.
                None if watch.started() => {
                    let since = *broken.get_or_insert_with(Instant::now);
                    if since.elapsed() > client.patience() {
                        return Err(error);
                    }
                }
                None => return Err(error),
            },
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Enough,
    Broken,
}

struct Watch {
    /// The last event's id: it is gone on from there.
    last: Option<String>,
    /// How many are still to be shown.
    left: Option<u64>,
}

impl Watch {
    fn started(&self) -> bool {
        self.last.is_some()
    }

    async fn follow(&mut self, mut body: Incoming, output: &mut Output) -> anyhow::Result<Ended> {
        let mut decoder = Decoder::new(EVENT_BYTES);
        loop {
            let Ok(Some(Ok(frame))) = tokio::time::timeout(SILENCE, body.frame()).await else {
                return Ok(Ended::Broken);
            };
            let Ok(data) = frame.into_data() else { continue };
            decoder.push(&data)?;
            while let Some(event) = decoder.event()? {
                if !event.id.is_empty() {
                    self.last = Some(event.id.clone());
                }
                if event.kind == "BOOKMARK" {
                    continue;
                }
                show(&event, output)?;
                output.flush()?;
                if let Some(left) = &mut self.left {
                    *left -= 1;
                    if *left == 0 {
                        return Ok(Ended::Enough);
                    }
                }
            }
        }
    }
}

fn show(event: &Event, output: &mut Output) -> anyhow::Result<()> {
    let data: Value = serde_json::from_slice(&event.data).unwrap_or(Value::Null);
    let place = fields::text(&data["resourceRef"]);
    match output.form() {
        Form::Json => output.json_line(&json!({ "event": event.kind, "revision": event.id, "data": data }))?,
        Form::Yaml => {
            output.line("---")?;
            output.document(&json!({ "event": event.kind, "revision": event.id, "data": data }))?;
        }
        Form::Name => output.line(&clean(place.trim_start_matches('/').to_owned()))?,
        Form::Table | Form::Wide => {
            let status = match (Path::parse(&place), data.get("object")) {
                (Ok(path), Some(object)) => fields::status(&Item { path, value: object.clone() }),
                _ => String::new(),
            };
            let status = output.style().state(&clean(status));
            let line = format!("{:<8}  {}  {status}", clean(event.kind.clone()), clean(place));
            output.line(line.trim_end())?;
        }
    }
    Ok(())
}

/// Says something beside the events. Whoever reads may have gone.
fn eprintln_quietly(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "gatewayctl: {text}");
}
