//! `gatewayctl drain`: takes from a gateway what it carries.
//!
//! In a pool with seats it hands its seats over: the controller asks for that, and the holders do it, so that no packet is lost. Else its
//! connections are placed on others.

use super::client::Client;
use super::error::Refused;
use super::fields::{NOTHING, property, text};
use super::gateways::{self, Scheduling, gateway, plan};
use super::target;
use crate::controller::resources::Path;
use crate::ctl::args::Format;
use crate::ctl::output::Output;
use crate::ctl::table::{Align, Row, Table, clean};
use anyhow::{Context, bail};
use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at who holds the seats.
const PAUSE: Duration = Duration::from_millis(200);

/// Whether to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Say what would move.
    Look,
    /// Move it.
    Move,
}

/// What is to be taken from a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// What it carries: its seats, if it is in a pool with seats.
    Everything,
    /// The connections that are placed on it.
    Connections,
}

/// Moves what a gateway carries, or tells what would move.
pub async fn run(client: &mut Client, word: &str, wish: Wish, what: What, output: &mut Output) -> anyhow::Result<()> {
    let path = gateway(word)?;
    let answer = ask(client, &path, Wish::Look, output).await?;
    match seats_of(&answer).filter(|_| what == What::Everything) {
        Some(seats) => hand_over(client, &path, wish, &seats, output).await,
        None => place_elsewhere(client, &path, wish, answer, output).await,
    }
}

async fn ask(client: &mut Client, path: &Path, wish: Wish, output: &mut Output) -> anyhow::Result<Value> {
    let query = match wish {
        Wish::Look => "",
        Wish::Move => "?confirm=true",
    };
    let url = format!("{}/drain{query}", target::url(path));
    match client.ask(Method::POST, &url, &[], Bytes::new()).await {
        Ok(answer) => Ok(answer.body),
        Err(error) => {
            if let Some(drain) = drain_of(&error).filter(|_| output.format() == Format::Table) {
                output.text(&plan(&drain, output))?;
                output.flush()?;
            }
            Err(error)
        }
    }
}

async fn place_elsewhere(
    client: &mut Client,
    path: &Path,
    wish: Wish,
    look: Value,
    output: &mut Output,
) -> anyhow::Result<()> {
    let answer = match wish {
        Wish::Look => look,
        Wish::Move => ask(client, path, wish, output).await?,
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

/// The seats that a gateway holds, by name, in a pool with seats.
pub(super) async fn held(
    client: &mut Client,
    path: &Path,
    output: &mut Output,
) -> anyhow::Result<BTreeMap<String, Value>> {
    let answer = ask(client, path, Wish::Look, output).await?;
    seats_of(&answer).with_context(|| {
        format!(
            "gateway {} is in no pool with seats, so that nothing takes over what it carries without a loss",
            path.id()
        )
    })
}

fn seats_of(answer: &Value) -> Option<BTreeMap<String, Value>> {
    let seats = answer["seats"].as_array()?.iter();
    Some(seats.filter_map(|seat| Some((seat["seat"].as_str()?.to_owned(), seat.clone()))).collect())
}

/// Has a gateway's seats handed over, and waits until it holds none.
async fn hand_over(
    client: &mut Client,
    path: &Path,
    wish: Wish,
    seats: &BTreeMap<String, Value>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let id = clean(path.id().to_string());
    if wish == Wish::Look {
        if output.format() == Format::Json {
            return Ok(output
                .document(&json!({ "resourceRef": path.to_string(), "seats": seats.values().collect::<Vec<_>>() }))?);
        }
        output.text(&table(seats, output))?;
        return Ok(output.line(&format!(
            "nothing was moved; to have the seats handed over, without a loss: gatewayctl drain gateway/{id} --confirm"
        ))?);
    }
    let moved = empty(client, path, seats.clone(), output).await?;
    if output.format() == Format::Json {
        let moved: Vec<Value> = moved.iter().map(|(seat, to)| json!({ "seat": seat, "holder": to })).collect();
        return Ok(output.document(&json!({ "resourceRef": path.to_string(), "moved": moved }))?);
    }
    Ok(output
        .line(&format!("gateway {id} holds no seat, and is given none until `gatewayctl uncordon gateway/{id}`"))?)
}

/// Has a gateway hand its seats over, and tells of each, until it holds none; who has taken which.
pub(super) async fn empty(
    client: &mut Client,
    path: &Path,
    mut left: BTreeMap<String, Value>,
    output: &mut Output,
) -> anyhow::Result<Vec<(String, String)>> {
    let id = clean(path.id().to_string());
    gateways::set(client, path, Scheduling::Drained).await?;
    let (began, patience) = (Instant::now(), client.patience());
    let mut moved = Vec::new();
    while !left.is_empty() {
        let gone = look(client, path, &mut left).await?;
        for (seat, to) in &gone {
            if output.format() == Format::Table {
                let after = began.elapsed().as_secs_f64();
                output.line(&clean(format!("seat {seat} is held by {to}, after {after:.1} s")))?;
                output.flush()?;
            }
        }
        moved.extend(gone);
        if left.is_empty() {
            break;
        }
        if began.elapsed() >= patience {
            if output.format() == Format::Table {
                output.text(&table(&left, output))?;
                output.flush()?;
            }
            let names: Vec<&str> = left.keys().map(String::as_str).collect();
            bail!(
                "gateway {id} still holds {} after {} s: who may take it is not heard of, not ready, or has no room; it goes on being \
                 drained, so repeat the command to wait, or take it back by `gatewayctl uncordon gateway/{id}`",
                clean(names.join(", ")),
                patience.as_secs()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(moved)
}

/// Who has taken which of these seats; those stay that the gateway holds, with what is known of them now.
///
/// The pool is asked: a gateway that is drained is granted nothing, so it says no more of a seat that it has handed over.
async fn look(
    client: &mut Client,
    path: &Path,
    left: &mut BTreeMap<String, Value>,
) -> anyhow::Result<Vec<(String, String)>> {
    let gateway = client.get(&target::url(path)).await?;
    let pool = property(&gateway, "pool.resourceRef").as_str().context("the gateway is in no pool")?;
    let pool = client.get(&target::url(&Path::parse(pool)?)).await?;
    let seats = property(&pool, "seats").as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(gone(path.id().as_str(), seats, left))
}

/// Takes those out that somebody else holds now, with whom.
fn gone(gateway: &str, seats: &[Value], left: &mut BTreeMap<String, Value>) -> Vec<(String, String)> {
    let mut gone = Vec::new();
    for seat in seats {
        let Some(name) = seat["seat"].as_str() else { continue };
        let Some(known) = left.get_mut(name) else { continue };
        match seat["holder"].as_str() {
            Some(holder) if !holder.eq_ignore_ascii_case(gateway) => {
                left.remove(name);
                gone.push((name.to_owned(), holder.to_owned()));
            }
            _ => known.clone_from(seat),
        }
    }
    // A seat that nothing is placed on may be given up with its gateway's turn as an active one.
    left.retain(|name, _| seats.iter().any(|seat| seat["seat"].as_str() == Some(name)));
    gone
}

/// The seats, each with who may take it.
fn table(seats: &BTreeMap<String, Value>, output: &Output) -> String {
    let columns = [("SEAT", Align::Left), ("MAY TAKE IT", Align::Left)];
    let mut table = Table::new("it holds no seat", &columns);
    for (name, seat) in seats {
        let next = seat["next"].as_array().into_iter().flatten().filter(|next| next["gateway"] != seat["holder"]);
        let told: Vec<String> = next
            .map(|next| match next["lacks"].as_str() {
                Some(lack) => format!("{} (lacks {lack})", text(&next["gateway"])),
                None => text(&next["gateway"]),
            })
            .collect();
        let told = if told.is_empty() { "nobody".to_owned() } else { told.join(", ") };
        table.push(Row::new().cell(clean(name.clone())).cell(clean(told)));
    }
    table.render(output.style())
}

/// What would go where, by a refusal to move it.
fn drain_of(error: &anyhow::Error) -> Option<Value> {
    let told = &error.downcast_ref::<Refused>()?.told;
    serde_json::from_str(told.inner_error.as_str()?).ok().filter(|drain: &Value| drain["pieces"].is_array())
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or(NOTHING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;

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

    #[test]
    fn a_seat_has_moved_once_somebody_else_holds_it() {
        let seat = |holder: Value| json!({ "seat": "GW1", "holder": holder, "epoch": 7 });
        let mut left = BTreeMap::from([("GW1".to_owned(), seat("GW1".into()))]);
        for holder in ["gw1".into(), Value::Null] {
            assert_eq!(gone("GW1", &[seat(holder)], &mut left), []);
        }
        let other = json!({ "seat": "GW2", "holder": "GW2" });
        assert_eq!(gone("GW1", &[other, seat("GW3".into())], &mut left), [("GW1".to_owned(), "GW3".to_owned())]);
        assert!(left.is_empty());
        let mut left = BTreeMap::from([("GW3".to_owned(), json!({ "seat": "GW3", "holder": "GW1" }))]);
        assert_eq!(gone("GW1", &[seat("GW2".into())], &mut left), []);
        assert!(left.is_empty(), "it is not there any more");
    }
}
