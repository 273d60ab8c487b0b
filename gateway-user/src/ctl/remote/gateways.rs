//! What operators do with gateways: cordon, uncordon; who takes over.

use super::client::Client;
use super::error::Refused;
use super::fields::{kbps, property, text};
use super::target;
use crate::controller::resources::{Kind, Path};
use crate::ctl::args::Format;
use crate::ctl::output::Output;
use crate::ctl::table::{Align, Row, Table, clean};
use anyhow::Context;
use hyper::{Method, StatusCode, header};
use serde_json::Value;

/// How often a change is tried that others interfere with.
const TRIES: usize = 5;

/// Whether a gateway is given connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduling {
    /// It is.
    Enabled,
    /// It is not.
    Cordoned,
    /// Nor does it keep the seats that it holds.
    Drained,
}

impl Scheduling {
    /// What the controller calls so.
    pub fn of(word: Option<&str>) -> Self {
        let is = |it: &Self| word.is_some_and(|word| word.eq_ignore_ascii_case(it.as_str()));
        [Self::Cordoned, Self::Drained].into_iter().find(is).unwrap_or(Self::Enabled)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Cordoned => "Cordoned",
            Self::Drained => "Drained",
        }
    }
}

/// The gateway that a word names.
pub(super) fn gateway(word: &str) -> anyhow::Result<Path> {
    Ok(target::root(word, Kind::Gateway)?)
}

/// Where everything would go.
pub(super) fn plan(drain: &Value, output: &Output) -> String {
    let successor = drain["successor"].as_str();
    let mut table = Table::new(
        "it carries nothing",
        &[("VIP", Align::Left), ("CONNECTIONS", Align::Left), ("TAKES", Align::Right), ("GOES-TO", Align::Left)],
    );
    for piece in drain["pieces"].as_array().into_iter().flatten() {
        let connections = piece["connections"].as_array().into_iter().flatten();
        let names: Vec<String> = connections.map(|pair| format!("{}/{}", text(&pair[0]), text(&pair[1]))).collect();
        let to = successor.or(piece["to"].as_str()).unwrap_or("nowhere: no gateway of the pool has room");
        table.push(Row::new().cell(text(&piece["vip"])).cell(names.join(",")).cell(kbps(&piece["kbps"])).cell(to));
    }
    table.render(output.style())
}

/// Says who would take a gateway's connections over.
pub async fn who_takes_over(client: &mut Client, word: &str, output: &mut Output) -> anyhow::Result<()> {
    let path = gateway(word)?;
    let answer = client.get(&format!("{}?explain", target::url(&path))).await?;
    if output.format() == Format::Json {
        return Ok(output.document(&answer)?);
    }
    let id = path.id();
    if answer["drain"]["pieces"].as_array().is_none_or(Vec::is_empty) {
        return Ok(output.line(&clean(format!("{id} carries nothing: if it fails, nothing has to move")))?);
    }
    // The pool's standby may not reach the VLANs that this gateway's connections are on.
    let line = match (answer["drain"]["successor"].as_str(), answer["successor"].as_str()) {
        (Some(successor), _) => format!("if {id} fails, {successor} takes over all that it carries"),
        (None, Some(standby)) => format!(
            "if {id} fails, {standby} stands by, but cannot take all that it carries: a VLAN is not in its rack. Without it:"
        ),
        (None, None) => format!("if {id} fails, no standby takes over: its pool has none. Its connections would go:"),
    };
    output.line(&clean(line))?;
    Ok(output.text(&plan(&answer["drain"], output))?)
}

/// Lets a gateway take connections, or not.
pub async fn schedule(
    client: &mut Client,
    word: &str,
    scheduling: Scheduling,
    output: &mut Output,
) -> anyhow::Result<()> {
    let path = gateway(word)?;
    let result = set(client, &path, scheduling).await?;
    match output.format() {
        Format::Json => {
            let told = serde_json::json!({ "resourceRef": path.to_string(), "scheduling": scheduling.as_str(), "result": result });
            output.document(&told)?;
        }
        Format::Table => {
            let word = match scheduling {
                Scheduling::Cordoned => "cordoned: it keeps what it has and is given no more",
                Scheduling::Drained => "drained: it is given no more, and hands over its seats",
                Scheduling::Enabled => "enabled: it is given connections",
            };
            let already = if result == "unchanged" { "already " } else { "" };
            output.line(&clean(format!("gateway {} is {already}{word}", path.id())))?;
        }
    }
    Ok(())
}

/// Has a gateway scheduled so; whether anything changed by it, in a word.
pub(super) async fn set(client: &mut Client, path: &Path, scheduling: Scheduling) -> anyhow::Result<&'static str> {
    let url = target::url(path);
    let mut tries = 0;
    loop {
        let mut resource = client.get(&url).await?;
        let etag = resource["etag"].as_str().context("the gateway has no etag")?.to_owned();
        let now = property(&resource, "scheduling").as_str().unwrap_or("Enabled");
        if now.eq_ignore_ascii_case(scheduling.as_str()) {
            return Ok("unchanged");
        }
        resource["properties"]["scheduling"] = scheduling.as_str().into();
        let body = serde_json::to_vec(&resource)?;
        // Only what was seen is changed: another change in between is not undone.
        match client.ask(Method::PUT, &url, &[(header::IF_MATCH, etag.as_str())], body.into()).await {
            Ok(_) => return Ok("configured"),
            Err(error) if is_outdated(&error) && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

fn is_outdated(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| refused.status == StatusCode::PRECONDITION_FAILED)
}
