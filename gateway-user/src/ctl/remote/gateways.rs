//! What operators do with gateways: drain, cordon, uncordon; who takes over.

use super::client::Client;
use super::error::Refused;
use super::fields::{NOTHING, kbps, property, text};
use super::target;
use crate::controller::resources::{Kind, Path};
use crate::ctl::args::Format;
use crate::ctl::output::Output;
use crate::ctl::table::{Align, Row, Table, clean};
use anyhow::Context;
use bytes::Bytes;
use hyper::{Method, StatusCode, header};
use serde_json::Value;

/// How often a change is tried that others interfere with.
const TRIES: usize = 5;

/// Whether to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Say what would move.
    Look,
    /// Move it.
    Move,
}

/// Whether a gateway is given connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduling {
    /// It is.
    Enabled,
    /// It is not.
    Cordoned,
}

impl Scheduling {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Cordoned => "Cordoned",
        }
    }
}

fn gateway(word: &str) -> anyhow::Result<Path> {
    Ok(target::root(word, Kind::Gateway)?)
}

/// Moves what a gateway carries, or tells what would move.
pub async fn drain(client: &mut Client, word: &str, wish: Wish, output: &mut Output) -> anyhow::Result<()> {
    let path = gateway(word)?;
    let query = match wish {
        Wish::Look => "",
        Wish::Move => "?confirm=true",
    };
    let url = format!("{}/drain{query}", target::url(&path));
    let answer = match client.ask(Method::POST, &url, &[], Bytes::new()).await {
        Ok(answer) => answer.body,
        Err(error) => {
            if let Some(drain) = drain_of(&error).filter(|_| output.format() == Format::Table) {
                output.text(&plan(&drain, output))?;
                output.flush()?;
            }
            return Err(error);
        }
    };
    if output.format() == Format::Json {
        return Ok(output.document(&answer)?);
    }
    let id = clean(path.id().to_string());
    match wish {
        Wish::Look => {
            output.text(&plan(&answer["drain"], output))?;
            output.line(&format!(
                "nothing was moved; to move it, each connection interrupted for a moment: gatewayctl drain gateway/{id} --confirm"
            ))?;
        }
        Wish::Move => {
            let moved = answer["moved"].as_array().map(Vec::as_slice).unwrap_or_default();
            for one in moved {
                let said = format!(
                    "{} moved from {} to {}",
                    text_of(&one["resourceRef"]),
                    text(&one["from"]),
                    text(&one["to"])
                );
                output.line(&clean(said))?;
            }
            output.line(&format!(
                "gateway {id} is drained: {} moved; `gatewayctl cordon gateway/{id}` keeps it empty",
                moved.len()
            ))?;
        }
    }
    Ok(())
}

/// What would go where, by a refusal to move it.
fn drain_of(error: &anyhow::Error) -> Option<Value> {
    let told = &error.downcast_ref::<Refused>()?.told;
    serde_json::from_str(told.inner_error.as_str()?).ok().filter(|drain: &Value| drain["pieces"].is_array())
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or(NOTHING)
}

/// Where everything would go.
fn plan(drain: &Value, output: &Output) -> String {
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
    let url = target::url(&path);
    let mut tries = 0;
    let result = loop {
        let mut resource = client.get(&url).await?;
        let etag = resource["etag"].as_str().context("the gateway has no etag")?.to_owned();
        let now = property(&resource, "scheduling").as_str().unwrap_or("Enabled");
        if now.eq_ignore_ascii_case(scheduling.as_str()) {
            break "unchanged";
        }
        resource["properties"]["scheduling"] = scheduling.as_str().into();
        let body = serde_json::to_vec(&resource)?;
        // Only what was seen is changed: another change in between is not undone.
        match client.ask(Method::PUT, &url, &[(header::IF_MATCH, etag.as_str())], body.into()).await {
            Ok(_) => break "configured",
            Err(error) if is_outdated(&error) && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    };
    match output.format() {
        Format::Json => {
            let told = serde_json::json!({ "resourceRef": path.to_string(), "scheduling": scheduling.as_str(), "result": result });
            output.document(&told)?;
        }
        Format::Table => {
            let word = match scheduling {
                Scheduling::Cordoned => "cordoned: it keeps what it has and is given no more",
                Scheduling::Enabled => "enabled: it is given connections",
            };
            let already = if result == "unchanged" { "already " } else { "" };
            output.line(&clean(format!("gateway {} is {already}{word}", path.id())))?;
        }
    }
    Ok(())
}

fn is_outdated(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| refused.status == StatusCode::PRECONDITION_FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_to_drain_tells_what_has_no_place() {
        let drain =
            serde_json::json!({ "gateway": "GW1", "pieces": [{ "connections": [["contoso", "hq"]], "kbps": 1 }] });
        let refusal = |inner: Value| {
            let body = serde_json::json!({ "error": { "code": "InsufficientCapacity", "message": "no", "innerError": inner } });
            let status = StatusCode::CONFLICT;
            anyhow::Error::from(Refused::new(Method::POST, "/gateways/GW1/drain", status, body.to_string().as_bytes()))
        };
        assert_eq!(drain_of(&refusal(drain.to_string().into())), Some(drain));
        for other in [Value::Null, "no JSON".into(), "{}".into()] {
            assert_eq!(drain_of(&refusal(other)), None);
        }
    }
}
