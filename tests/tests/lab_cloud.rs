//! The whole cloud: what is described to the controller comes to pass on gateways and hosts, and packets flow.

use anyhow::{Result, ensure};
use lab::cloud::{Cloud, Operated, described};
use lab::identity::who_is_at;
use lab::tenants::{DC, HQ, SUBNETS, address};
use lab::wait::until;
use std::time::Duration;

/// How long packets may take to flow after they should.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a tenant's user asks for and does ends where another tenant's begins.
fn sees_its_own_alone(operated: &Operated, own: &str, other: &str) -> Result<()> {
    let ask = |words: &[&str]| operated.ctl(&[&["--context", own], words].concat());
    for kind in ["virtualNetworks", "networkInterfaces", "virtualGateways", "networkConnections"] {
        let seen = ask(&["get", kind, "-o", "json"])?;
        ensure!(seen.contains(own) && !seen.contains(other), "{own} sees of {kind}: {seen}");
    }
    for kind in ["gateways", "servers", "gatewayPools"] {
        let seen = ask(&["get", kind, "-o", "name"])?;
        ensure!(seen.trim().is_empty(), "{own} sees of {kind}: {seen}");
    }
    let path = format!("/virtualGateways/{other}");
    let before = operated.get(&path)?;
    let file = described(other);
    let file = file.to_str().unwrap_or_default();
    for words in [&["get", &path][..], &["delete", &path], &["describe", &path], &["apply", "-f", file]] {
        ensure!(ask(words).is_err(), "{own} may {words:?}");
    }
    let after = operated.get(&path)?;
    ensure!(before["etag"] == after["etag"], "{own} has changed {before} to {after}");
    Ok(())
}

#[test]
fn tenants_that_are_described_to_the_controller_reach_their_sites() -> Result<()> {
    let mut operated = Operated::start(Cloud::build(|_| {})?)?;
    operated.describe_fabric()?;
    operated.start_agents()?;
    for members in &operated.cloud.tenants {
        operated.describe_tenant(members.tenant)?;
    }
    let mut tunnels = Vec::new();
    for members in &operated.cloud.tenants {
        let gateway = operated.configured(&format!("/virtualGateways/{}", members.tenant.name))?;
        let first = &gateway["properties"]["networkConnections"][0]["properties"];
        ensure!(first["gateway"]["resourceRef"].is_string(), "{gateway}");
        tunnels.push(operated.dig(members)?);
    }
    for members in &operated.cloud.tenants {
        let [vm1, vm2] = &members.vms;
        for to in SUBNETS[1].addresses {
            operated.finds(vm1, to, vm2)?;
        }
        operated.finds(vm1, HQ[0], &members.hq)?;
        operated.finds(&members.hq, SUBNETS[0].addresses[0], vm1)?;
        operated.finds(vm2, DC[0], &members.dc)?;
        operated.finds(&members.dc, SUBNETS[1].addresses[0], vm2)?;
    }
    for (own, other) in [("contoso", "woodgrove"), ("woodgrove", "contoso")] {
        sees_its_own_alone(&operated, own, other)?;
    }
    // What machines carry is counted on their hosts, and told.
    until(PATIENCE, "a host to tell what its machines carry", || {
        let host = operated.get("/servers/host1").ok()?;
        host["properties"]["statistics"]["inboundPackets"].as_u64().filter(|&packets| packets > 0)
    })?;
    let top = operated.ctl(&["top", "hosts"])?;
    ensure!(top.contains("host1") && top.contains("IN bit/s"), "{top}");
    // Packets need no controller, and one that comes back finds everything as it was.
    operated.kill("controller");
    let members = &operated.cloud.tenants[0];
    operated.finds(&members.vms[0], HQ[0], &members.hq)?;
    operated.start_controller()?;
    let gone = operated.cloud.tenants[1].tenant.name;
    operated.configured("/virtualGateways/contoso")?;
    operated.delete(&format!("/virtualGateways/{gone}"))?;
    let members = &operated.cloud.tenants[1];
    until(PATIENCE, "the deleted tenant to be cut off", || {
        let heard = who_is_at(&members.vms[0], None, address(HQ[0]), Duration::from_millis(300)).ok()?;
        heard.is_none().then_some(())
    })?;
    let members = &operated.cloud.tenants[0];
    operated.finds(&members.vms[0], HQ[0], &members.hq)
}
