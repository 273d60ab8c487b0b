//! What a connection may carry is what its resource says, each way, over GRE and over L3: asked for by REST, metered at the gateway.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::cloud::{Cloud, Operated};
use lab::gateway::Gateway;
use lab::meter::{Meter, Way};
use lab::node::Node;
use lab::tenants::{CONTOSO, DC, HQ, SUBNETS, address};
use lab::throughput::under_udp;
use lab::wait::until;
use serde_json::{Value, json};

/// The limits, each another, so that none is taken for another.
const HQ_KBPS: [u64; 2] = [8_000, 10_000];
const DC_KBPS: [u64; 2] = [12_000, 14_000];
/// The L3 connection's limits after they were changed.
const CHANGED_KBPS: [u64; 2] = [20_000, 6_000];
/// How long anything may take, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

const PLACES: [&str; 2] = ["inboundKiloBitsPerSecond", "outboundKiloBitsPerSecond"];

#[test]
fn a_connections_kilobits_asked_for_by_rest_are_what_passes_within_two_percent() -> Result<()> {
    let mut operated = Operated::start(Cloud::build(|_| {})?)?;
    operated.describe_fabric()?;
    operated.start_agents()?;
    operated.describe_tenant(CONTOSO)?;
    limit(&operated, "hq", HQ_KBPS)?;
    limit(&operated, "dc", DC_KBPS)?;
    let _tunnel = operated.dig(operated.cloud.members("contoso"))?;
    let (hq, dc) = (carrier(&operated, "hq")?, carrier(&operated, "dc")?);
    let members = operated.cloud.members("contoso");
    let [vm1, vm2] = &members.vms;
    operated.finds(vm1, HQ[0], &members.hq)?;
    operated.finds(&members.dc, SUBNETS[1].addresses[0], vm2)?;

    holds(&hq, "hq", Way::In, HQ_KBPS[0], (&members.hq, vm1, SUBNETS[0].addresses[0]))?;
    holds(&hq, "hq", Way::Out, HQ_KBPS[1], (vm1, &members.hq, HQ[0]))?;
    holds(&dc, "dc", Way::In, DC_KBPS[0], (&members.dc, vm2, SUBNETS[1].addresses[0]))?;
    holds(&dc, "dc", Way::Out, DC_KBPS[1], (vm2, &members.dc, DC[0]))?;
    limit(&operated, "dc", CHANGED_KBPS)?;
    holds(&dc, "dc", Way::In, CHANGED_KBPS[0], (&members.dc, vm2, SUBNETS[1].addresses[0]))?;
    holds(&dc, "dc", Way::Out, CHANGED_KBPS[1], (vm2, &members.dc, DC[0]))?;

    // What the limits refused is told where they were set.
    for connection in ["hq", "dc"] {
        until(PATIENCE, "the refused packets to be told", || {
            let seen = resource(&operated, connection).ok()?;
            let statistics = &seen["properties"]["statistics"];
            let refused = ["rxRateLimitedPacketsDropped", "txRateLimitedPacketsDropped"];
            refused.iter().all(|way| statistics[way].as_u64() > Some(0)).then_some(())
        })
        .with_context(|| format!("{:?}\n{}", resource(&operated, connection), operated.log()))?;
    }
    Ok(())
}

fn path(connection: &str) -> String {
    format!("/virtualGateways/contoso/networkConnections/{connection}")
}

fn resource(operated: &Operated, connection: &str) -> Result<Value> {
    operated.get(&path(connection))
}

/// Gives a connection its limits, inbound and outbound, and waits until its gateway has them.
fn limit(operated: &Operated, connection: &str, kbps: [u64; 2]) -> Result<()> {
    let mut properties = resource(operated, connection)?["properties"].take();
    for (place, kbps) in PLACES.into_iter().zip(kbps) {
        properties[place] = json!(kbps);
    }
    let put = operated.put(&path(connection), &properties)?;
    ensure!(PLACES.map(|place| put["properties"][place].as_u64()) == kbps.map(Some), "{put}");
    operated.configured(&path(connection))?;
    let gateway = carrier(operated, connection)?;
    until(PATIENCE, "the limits", || {
        let report = gateway.connection("contoso", connection).ok()?;
        ([report.inbound_kbps, report.outbound_kbps] == kbps.map(Some)).then_some(())
    })
    .with_context(|| operated.log())
}

/// The gateway that a connection is on.
fn carrier(operated: &Operated, connection: &str) -> Result<Gateway> {
    let resource = resource(operated, connection)?;
    let at = resource["properties"]["gateway"]["resourceRef"].as_str().context("the connection is on no gateway")?;
    Ok(Gateway::new(operated.cloud.gateway(at.trim_start_matches("/gateways/"))))
}

/// Twice the limit is offered, and the limit passes.
fn holds(gateway: &Gateway, connection: &str, way: Way, kbps: u64, (from, to, at): (&Node, &Node, &str)) -> Result<()> {
    let mut meter = Meter::new(gateway, "contoso", connection, way)?;
    let offered = kbps as f64 * 2000.0;
    under_udp(from, to, address(at), (1400, offered), || meter.holds_for(Duration::from_secs(2)))
        .with_context(|| format!("{connection} {way:?} {kbps} kbit/s: {:?}", gateway.connection("contoso", connection)))
}
