//! A tenant's sites on different gateways: they reach each other, by one hop from gateway to gateway.

use anyhow::{Context, Result, ensure};
use gateway_user::api::report::{ConnectionReport, DropReport};
use lab::cloud::{Cloud, Operated};
use lab::gateway::program;
use lab::identity::who_is_at;
use lab::node::Node;
use lab::tenants::{CONTOSO, DC, HQ, SUBNETS, address};
use lab::wait::until;
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// How long packets may take to flow after they should.
const PATIENCE: Duration = Duration::from_secs(120);

fn find(operated: &Operated, from: &Node, to: &str, who: &Node) -> Result<()> {
    let found = until(PATIENCE, "an answer", || {
        let heard = who_is_at(from, None, address(to), Duration::from_secs(1)).ok()??;
        (heard.name == who.name()).then_some(())
    });
    ensure!(found.is_ok(), "{} does not find {} at {to}\n{}", from.name(), who.name(), operated.log());
    Ok(())
}

fn show<T: serde::de::DeserializeOwned>(gateway: &Node, what: &str) -> Result<T> {
    let printed = gateway.run(Command::new(program("gatewayctl")?).args(["show", what, "-o", "json"]))?;
    serde_json::from_str(&printed).with_context(|| format!("gatewayctl show {what} printed: {printed}"))
}

/// Packets that a connection has let in and out.
fn packets(gateway: &Node, connection: &str) -> Result<(u64, u64)> {
    let all: Vec<ConnectionReport> = show(gateway, "connections")?;
    let one = all.into_iter().find(|one| one.name == connection).context("the gateway does not carry it")?;
    Ok((one.traffic.in_packets, one.traffic.out_packets))
}

/// The gateway that a connection was placed on.
fn carrier(operated: &Operated, connection: &Value) -> Result<Arc<Node>> {
    let name =
        connection["properties"]["gateway"]["resourceRef"].as_str().context("the connection is on no gateway")?;
    let gateways = operated.cloud.gateways.iter();
    gateways.clone().find(|gateway| name.ends_with(gateway.name())).cloned().context("no such gateway")
}

#[test]
fn sites_on_different_gateways_reach_each_other() -> Result<()> {
    let mut operated = Operated::start(Cloud::build(|_| {})?)?;
    operated.describe_fabric()?;
    // Room for one of the tenant's two connections on each gateway.
    operated.put(
        "/gatewayPools/default",
        &json!({ "type": "All", "redundantGatewayCount": 1, "gatewayCapacityKiloBitsPerSecond": 300_000,
                 "ipConfiguration": { "greVipSubnets": [{ "resourceRef": "/logicalNetworks/vips/subnets/gre" }] } }),
    )?;
    operated.start_agents()?;
    operated.describe_tenant(CONTOSO)?;
    let gateway = operated.configured(&format!("/virtualGateways/{}", CONTOSO.name))?;
    let connections = &gateway["properties"]["networkConnections"];
    let (first, second) = (carrier(&operated, &connections[0])?, carrier(&operated, &connections[1])?);
    ensure!(first.name() != second.name(), "both connections are on one gateway: {gateway}");
    let contoso = &operated.cloud.tenants[0];
    let _tunnel = operated.dig(contoso)?;
    let [vm1, _] = &contoso.vms;
    find(&operated, vm1, HQ[0], &contoso.hq)?;
    find(&operated, vm1, DC[0], &contoso.dc)?;
    let before = [packets(&first, "hq")?, packets(&second, "dc")?];
    find(&operated, &contoso.hq, DC[0], &contoso.dc)?;
    find(&operated, &contoso.dc, HQ[0], &contoso.hq)?;
    find(&operated, &contoso.hq, SUBNETS[0].addresses[0], vm1)?;
    // What went from site to site was counted, and so policed, at both connections, in both directions.
    for ((gateway, connection), before) in [(&first, "hq"), (&second, "dc")].into_iter().zip(before) {
        let after = packets(gateway, connection)?;
        ensure!(after.0 > before.0 && after.1 > before.1, "{connection}: {before:?}, then {after:?}");
    }
    for gateway in [&first, &second] {
        let drops: Vec<DropReport> = show(gateway, "drops")?;
        ensure!(!drops.iter().any(|drop| drop.reason == "gateway_loop"), "{drops:?}");
    }
    Ok(())
}
