//! `gatewayctl where`: where a tenant is, and an address of its.

use super::client::Client;
use super::columns::{self, Width};
use super::describe::problems;
use super::fetch::{self, Item};
use super::fields::{NOTHING, property, references, text};
use super::target;
use crate::controller::resources::{Kind, Path};
use crate::ctl::args::Format;
use crate::ctl::output::Output;
use crate::ctl::table::clean;
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Where a tenant is.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Places {
    tenant: String,
    gateways: BTreeSet<String>,
    vips: BTreeSet<String>,
    virtual_networks: BTreeSet<String>,
    hosts: BTreeSet<String>,
    connections: Vec<Connection>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    id: String,
    gateway: String,
    vip: String,
    state: String,
    problems: Vec<String>,
}

/// Shows its gateways, VIPs and hosts.
pub async fn run(client: &mut Client, word: &str, output: &mut Output) -> anyhow::Result<()> {
    let path = target::root(word, Kind::VirtualGateway)?;
    let tenant = fetch::one(client, &path).await?;
    let connections = fetch::children(&tenant, Kind::NetworkConnection);
    let interfaces = fetch::roots(client, Kind::NetworkInterface).await?;
    let places = places(&tenant, &connections, &interfaces);
    if output.format() == Format::Json {
        return Ok(output.document(&places)?);
    }
    let list = |set: &BTreeSet<String>| -> String {
        if set.is_empty() { "none".to_owned() } else { set.iter().map(String::as_str).collect::<Vec<_>>().join(", ") }
    };
    for (label, set) in [
        ("gateways", &places.gateways),
        ("VIPs", &places.vips),
        ("virtual networks", &places.virtual_networks),
        ("hosts", &places.hosts),
    ] {
        output.line(&clean(format!("{label}: {}", list(set))))?;
    }
    if connections.is_empty() {
        return Ok(());
    }
    output.line("")?;
    output.table(&columns::table(Kind::NetworkConnection, connections.iter(), Width::Narrow))?;
    // Why one is not connected is the next question.
    let told =
        places.connections.iter().flat_map(|of| of.problems.iter().map(|problem| format!("{}: {problem}", of.id)));
    for (index, problem) in told.enumerate() {
        if index == 0 {
            output.line("")?;
        }
        output.line(&clean(problem))?;
    }
    Ok(())
}

/// Shows by what an address of a tenant's is reached.
pub async fn ways(client: &mut Client, word: &str, address: IpAddr, output: &mut Output) -> anyhow::Result<()> {
    let path = target::root(word, Kind::VirtualGateway)?;
    let answer = client.get(&format!("{}?explain={address}", target::url(&path))).await?;
    if output.format() == Format::Json {
        return Ok(output.document(&answer)?);
    }
    let found = &answer["ways"];
    let (prefix, protocol) = (text(&found["destinationPrefix"]), text(&found["protocol"]));
    let ways = found["ways"].as_array().map_or(&[][..], Vec::as_slice);
    for way in ways {
        let parts = [("connection", "networkConnection"), ("gateway", "gateway"), ("virtual subnet", "virtualSubnet")];
        let told = parts.iter().filter_map(|(name, key)| {
            let what = way.get(*key)?;
            Some(format!("{name} {}", text(what)))
        });
        let told: Vec<String> = told.collect();
        output.line(&clean(format!("{address} is in {prefix} ({protocol}): {}", told.join(", "))))?;
    }
    if ways.is_empty() {
        output.line(&clean(format!("no route of {} leads to {address}", path.id())))?;
    }
    if found["complete"].as_bool() == Some(false) {
        output.line("the tenant's BGP router has not told this controller all that it has learned; the one that leads knows it first")?;
    }
    Ok(())
}

fn places(tenant: &Item, connections: &[Item], interfaces: &[Item]) -> Places {
    let mut places = Places { tenant: tenant.path.id().to_string(), ..Places::default() };
    let mut networks = BTreeSet::new();
    let mut subnets = Vec::new();
    references(property(&tenant.value, "gatewaySubnets"), &mut subnets);
    for network in subnets.into_iter().filter_map(|text| Path::parse(text).ok()) {
        places.virtual_networks.insert(network.tree().id().to_string());
        networks.insert(network.tree().key());
    }
    for connection in connections {
        let (gateway, vip) = (property(&connection.value, "gateway"), property(&connection.value, "sourceIPAddress"));
        places.gateways.extend((!gateway.is_null()).then(|| text(gateway)));
        places.vips.extend((!vip.is_null()).then(|| text(vip)));
        places.connections.push(Connection {
            id: connection.path.id().to_string(),
            gateway: text(gateway),
            vip: text(vip),
            state: text(property(&connection.value, "connectionState")),
            problems: problems(&connection.value),
        });
    }
    for interface in interfaces {
        let mut subnets = Vec::new();
        for address in property(&interface.value, "ipConfigurations").as_array().into_iter().flatten() {
            references(property(address, "subnet"), &mut subnets);
            subnets.extend(property(address, "subnet")["resourceRef"].as_str());
        }
        let ours = subnets.into_iter().filter_map(|text| Path::parse(text).ok());
        if ours.into_iter().any(|subnet| networks.contains(&subnet.tree().key())) {
            let host = text(property(&interface.value, "server"));
            places.hosts.extend((host != NOTHING).then_some(host));
        }
    }
    places
}
