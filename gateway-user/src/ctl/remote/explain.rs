//! `gatewayctl explain`: why a connection is where it is.

use super::client::Client;
use super::describe::problems;
use super::error::{Usage, is_not_found};
use super::fields::{NOTHING, kbps, property, text};
use super::{fetch, target};
use crate::controller::resources::Kind;
use crate::ctl::args::Format;
use crate::ctl::output::Output;
use crate::ctl::table::{Align, Row, Table, clean};
use serde_json::Value;

/// Shows all gateways that could carry it.
pub async fn run(client: &mut Client, what: &str, output: &mut Output) -> anyhow::Result<()> {
    let path = fetch::resolve(client, &target::parse(what)?).await?;
    if path.kind() != Kind::NetworkConnection {
        return Err(Usage(format!(
            "connections can be explained: connection/TENANT/ID; of a gateway `gatewayctl who-takes-over gateway/{}` tells",
            path.id()
        ))
        .into());
    }
    let answer = client.get(&format!("{}?explain", target::url(&path))).await?;
    if output.format() == Format::Json {
        return Ok(output.document(&answer)?);
    }
    let at = &answer["placement"];
    let place = match at["gateway"].as_str() {
        Some(gateway) => {
            let vip = at["vip"].as_str().map_or_else(String::new, |vip| format!(", VIP {vip}"));
            format!("{path}: {}, on {gateway} of pool {}{vip}", kbps(&answer["explanation"]["kbps"]), text(&at["pool"]))
        }
        None => format!("{path}: {}, on no gateway", kbps(&answer["explanation"]["kbps"])),
    };
    output.line(&clean(place))?;
    if let Some(gateway) = at["gateway"].as_str() {
        for circumstance in circumstances(client, gateway).await? {
            output.line(&clean(format!("{gateway} {circumstance}")))?;
        }
    }
    Ok(output.table(&candidates(&answer["explanation"], at["gateway"].as_str()))?)
}

/// What a person should know of the gateway that carries it: what is there stays there, whatever becomes of the gateway.
async fn circumstances(client: &mut Client, gateway: &str) -> anyhow::Result<Vec<String>> {
    let gateway = match fetch::one(client, &target::root(gateway, Kind::Gateway)?).await {
        Ok(gateway) => gateway,
        // Gateways are the operator's to see.
        Err(error) if is_not_found(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut told = Vec::new();
    if matches!(property(&gateway.value, "scheduling").as_str(), Some("Cordoned" | "Drained")) {
        let id = gateway.path.id();
        told.push(format!(
            "is cordoned: it keeps what it has and is given no more; `gatewayctl drain gateway/{id}` moves it"
        ));
    }
    if property(&gateway.value, "healthState").as_str() == Some("Unhealthy") {
        told.push("is not healthy".to_owned());
        told.extend(problems(&gateway.value).into_iter().map(|problem| format!("has a problem: {problem}")));
    }
    Ok(told)
}

/// The candidates, the best first. The one that carries it has a star.
pub fn candidates(explanation: &Value, here: Option<&str>) -> Table {
    let mut table = Table::new(
        "no gateway is in the tenant's pools; `gatewayctl get gatewayPools` shows them",
        &[
            ("", Align::Left),
            ("GATEWAY", Align::Left),
            ("POOL", Align::Left),
            ("ROOM", Align::Right),
            ("LEFT", Align::Right),
            ("USED", Align::Right),
            ("VIP", Align::Left),
            ("VERDICT", Align::Left),
        ],
    );
    for candidate in explanation["candidates"].as_array().into_iter().flatten() {
        let fits = &candidate["verdict"]["fits"];
        let is_here = here.is_some_and(|here| candidate["gateway"].as_str() == Some(here));
        let percent = fits["usedPercent"].as_u64().map_or_else(|| NOTHING.to_owned(), |percent| format!("{percent} %"));
        table.push(
            Row::new()
                .cell(if is_here { "*" } else { "" })
                .cell(text(&candidate["gateway"]))
                .cell(text(&candidate["pool"]))
                .cell(kbps(&candidate["freeKbps"]))
                .cell(kbps(&fits["remainderKbps"]))
                .cell(percent)
                .cell(text(&fits["vip"]))
                .cell(verdict(&candidate["verdict"])),
        );
    }
    table
}

fn verdict(verdict: &Value) -> String {
    if let Some(class) = verdict["fits"]["class"].as_str() {
        return match class {
            "stay" => "fits: it is there already",
            "own" => "fits: it carries the tenant already",
            "underWatermark" => "fits, under the watermark",
            "aboveWatermark" => "fits, above the watermark",
            other => return format!("fits: {other}"),
        }
        .to_owned();
    }
    let reason = &verdict["no"];
    match reason.as_str() {
        Some("wrongType") => "no: its pool does not carry this type".to_owned(),
        Some("standby") => "no: it is a standby".to_owned(),
        Some("failed") => "no: it has failed".to_owned(),
        Some("cordoned") => "no: it is cordoned".to_owned(),
        Some("noRack") => "no: the VLAN is not in its rack".to_owned(),
        Some("noVip") => "no: no VIP of it is free for this remote and key".to_owned(),
        Some(other) => format!("no: {other}"),
        None if reason["full"].is_object() => format!("no: too full, lacks {}", kbps(&reason["full"]["lacksKbps"])),
        None => "no".to_owned(),
    }
}
