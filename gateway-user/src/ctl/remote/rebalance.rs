//! `gatewayctl move` and `gatewayctl rebalance`: connections go to another gateway, and none of their packets is lost.
//!
//! The controller does it in stages; what is told here is when it has come to an end, and where the connection is then.

use super::client::Client;
use super::drain::Wish;
use super::error::Usage;
use super::fields::{kbps, text};
use super::gateways::gateway;
use super::{fetch, target};
use crate::controller::resources::{Kind, Path};
use crate::ctl::args::Format;
use crate::ctl::output::Output;
use crate::ctl::table::{Align, Row, Table, clean};
use anyhow::bail;
use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at where a connection is.
const PAUSE: Duration = Duration::from_millis(500);

/// Moves a connection, with all that are at its VIP, or tells what would move.
pub async fn connection(
    client: &mut Client,
    word: &str,
    to: &str,
    wish: Wish,
    output: &mut Output,
) -> anyhow::Result<()> {
    let path = fetch::resolve(client, &target::parse(word)?).await?;
    if path.kind() != Kind::NetworkConnection {
        return Err(Usage(format!("connections move: connection/TENANT/ID, not {path}")).into());
    }
    let to = gateway(to)?.id().clone();
    let query = if wish == Wish::Move { "&confirm=true" } else { "" };
    let url = format!("{}/move?to={}{query}", target::url(&path), clean(to.as_str().to_owned()));
    let answer = client.ask(Method::POST, &url, &[], Bytes::new()).await?.body;
    if output.format() == Format::Json && wish == Wish::Look {
        return Ok(output.document(&answer)?);
    }
    let moves = answer["moves"].as_array().cloned().unwrap_or_default();
    if moves.is_empty() && output.format() == Format::Table {
        return Ok(output.line(&clean(format!("{path} is on {to} already")))?);
    }
    if wish == Wish::Look {
        output.table(&table(&moves))?;
        return Ok(output.line(&clean(format!(
            "nothing was moved; to move it, without a loss: gatewayctl move {word} --to {to} --confirm"
        )))?);
    }
    let came = follow(client, &path, to.as_str()).await?;
    if output.format() == Format::Json {
        return Ok(output.document(&json!({ "resourceRef": path.to_string(), "moved": moves, "seconds": came }))?);
    }
    for one in &moves {
        let said = format!("{} moved from {} to {to}, in {came:.1} s", text(&one["resourceRef"]), text(&one["from"]));
        output.line(&clean(said))?;
    }
    Ok(())
}

/// Evens the load of a pool's gateways out, a VIP or a connection at a time, or tells what would move first.
pub async fn pool(client: &mut Client, word: &str, wish: Wish, output: &mut Output) -> anyhow::Result<()> {
    let pool = target::root(word, Kind::GatewayPool)?;
    let mut done = Vec::new();
    loop {
        let next = ask(client, &pool, wish).await?;
        let Some(connections) = next["connections"].as_array().filter(|connections| !connections.is_empty()) else {
            break;
        };
        let names: Vec<String> =
            connections.iter().map(|pair| format!("{}/{}", text(&pair[0]), text(&pair[1]))).collect();
        let (from, to) = (text(&next["from"]), text(&next["to"]));
        if wish == Wish::Look {
            if output.format() == Format::Json {
                return Ok(output.document(&json!({ "resourceRef": pool.to_string(), "next": next }))?);
            }
            output.line(&clean(format!(
                "{} ({}) would move from {from} to {to}",
                names.join(", "),
                kbps(&next["kbps"])
            )))?;
            return Ok(output.line(&clean(format!(
                "nothing was moved; to go on until the load is even, without a loss: gatewayctl rebalance pool/{} --confirm",
                pool.id()
            )))?);
        }
        let path = connection_path(&connections[0])?;
        let came = follow(client, &path, &to).await?;
        if output.format() == Format::Table {
            output.line(&clean(format!("{} moved from {from} to {to}, in {came:.1} s", names.join(", "))))?;
            output.flush()?;
        }
        done.push(next);
    }
    if output.format() == Format::Json {
        return Ok(output.document(&json!({ "resourceRef": pool.to_string(), "moved": done }))?);
    }
    Ok(output.line(&clean(format!("the load of pool {} is as even as moves make it", pool.id())))?)
}

async fn ask(client: &mut Client, pool: &Path, wish: Wish) -> anyhow::Result<Value> {
    let query = if wish == Wish::Move { "?confirm=true" } else { "" };
    let url = format!("{}/rebalance{query}", target::url(pool));
    Ok(client.ask(Method::POST, &url, &[], Bytes::new()).await?.body["next"].clone())
}

fn connection_path(pair: &Value) -> anyhow::Result<Path> {
    let path = format!("/virtualGateways/{}/networkConnections/{}", text(&pair[0]), text(&pair[1]));
    Ok(Path::parse(&path)?)
}

/// Waits until a connection has come to the end of its move; after how many seconds.
async fn follow(client: &mut Client, path: &Path, to: &str) -> anyhow::Result<f64> {
    let (began, patience) = (Instant::now(), client.patience());
    loop {
        let at = client.get(&format!("{}?explain", target::url(path))).await?["placement"].clone();
        if at["transfer"].is_null() {
            if at["gateway"].as_str().is_some_and(|at| at.eq_ignore_ascii_case(to)) {
                return Ok(began.elapsed().as_secs_f64());
            }
            bail!(clean(format!(
                "{path} did not come up on {to} and stays on {}; `gatewayctl describe gateway/{to}` tells what is wrong there",
                text(&at["gateway"])
            )));
        }
        if began.elapsed() >= patience {
            bail!(
                "{path} is still on its way to {to} after {} s; the controller goes on with it, and --timeout says how long to wait",
                patience.as_secs()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn table(moves: &[Value]) -> Table {
    let columns = [("CONNECTION", Align::Left), ("FROM", Align::Left), ("TO", Align::Left)];
    let mut table = Table::new("nothing would move", &columns);
    for one in moves {
        table.push(Row::new().cell(text(&one["resourceRef"])).cell(text(&one["from"])).cell(text(&one["to"])));
    }
    table
}
