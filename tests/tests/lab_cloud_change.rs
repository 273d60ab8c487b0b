//! What happens to one tenant, and to the fleet, does not happen to another tenant's packets.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gateway_user::api::report::TenantReport;
use lab::cloud::{Cloud, Operated, Seen, Traffic, described};
use lab::gateway::program;
use lab::identity::who_is_at;
use lab::node::Node;
use lab::tenants::{CONTOSO, DC, HQ, SUBNETS, WOODGROVE, address};
use lab::wait::{SOON, until};
use serde::de::DeserializeOwned;

#[test]
fn a_tenant_is_created_changed_and_deleted_and_a_gateway_added_while_another_tenant_notices_nothing() -> Result<()> {
    let mut operated = Operated::start(Cloud::build(|_| {})?)?;
    // Gateways with room for both tenants, so that both are on the same one.
    let fabric = std::fs::read_to_string(described("fabric"))?;
    let roomy = fabric.replace("KiloBitsPerSecond: 1000000\n", "KiloBitsPerSecond: 10000000\n");
    ensure!(roomy != fabric, "the fabric's file is not as this case knows it");
    operated.apply_text(&roomy)?;
    operated.start_agents()?;
    operated.describe_tenant(CONTOSO)?;
    operated.configured("/virtualGateways/contoso")?;
    let _tunnel = operated.dig(operated.cloud.members("contoso"))?;
    let gateway = operated.carrier("contoso")?;

    let traffic = Traffic::start(operated.cloud.members("contoso"))?;
    let before = Seen::at(&operated, &gateway, "contoso")?;
    let outcome = disturb(&mut operated, &gateway, &traffic);
    let noticed = traffic.stop();
    outcome.with_context(|| format!("{noticed:?}\n{}", operated.log()))?;
    println!("{:?}", noticed.with_context(|| operated.log())?);

    // The gateway's own counters say the same.
    Seen::at(&operated, &gateway, "contoso")?.went_on_since(&before)?;
    ensure!(operated.carrier("contoso")? == gateway, "the tenant was moved");
    Ok(())
}

/// Does to the other tenant and to the fleet what can be done to them.
fn disturb(operated: &mut Operated, gateway: &str, traffic: &Traffic) -> Result<()> {
    traffic.go_on()?;
    // Created: with the very same addresses, on the same gateway and hosts.
    operated.describe_tenant(WOODGROVE)?;
    operated.configured("/virtualGateways/woodgrove")?;
    ensure!(operated.carrier("woodgrove")? == gateway, "both tenants should be on {gateway}");
    let tunnel = operated.dig(operated.cloud.members("woodgrove"))?;
    for members in &operated.cloud.tenants {
        finds(operated, &members.vms[0], HQ[0], &members.hq)?;
        finds(operated, &members.vms[0], SUBNETS[1].addresses[0], &members.vms[1])?;
        finds(operated, &members.dc, SUBNETS[1].addresses[0], &members.vms[1])?;
    }
    traffic.go_on()?;
    // Changed: its limits and its routes.
    let described = std::fs::read_to_string(described("woodgrove"))?;
    let changed = described.replace(": 200000", ": 150000").replace("10.3.0.0/16", "10.4.0.0/16");
    operated.apply_text(&changed)?;
    until(SOON * 2, "the changed limit", || {
        let hq = operated.connections(gateway).ok()?.into_iter().find(|it| it.tenant == "woodgrove" && it.name == "hq");
        (hq?.outbound_kbps == Some(150_000)).then_some(())
    })
    .with_context(|| operated.log())?;
    let woodgrove = operated.cloud.members("woodgrove");
    finds(operated, &woodgrove.vms[0], HQ[0], &woodgrove.hq)?;
    is_cut_off(&woodgrove.vms[1], DC[0])?;
    traffic.go_on()?;
    // Deleted, with all that it had.
    let file = lab::cloud::described("woodgrove");
    operated.ctl(&["delete", "-f", file.to_str().context("the file's path is no text")?])?;
    let machines = operated.cloud.gateways.iter().chain(&operated.cloud.hosts);
    for machine in machines {
        until(SOON * 2, "the tenant to be gone", || {
            let left: Vec<TenantReport> = show(machine, "tenants").ok()?;
            left.iter().all(|tenant| tenant.name != "woodgrove").then_some(())
        })
        .with_context(|| format!("{} still has it\n{}", machine.name(), operated.log()))?;
    }
    is_cut_off(&woodgrove.vms[0], HQ[0])?;
    drop(tunnel);
    traffic.go_on()?;
    // A gateway more moves nothing.
    let added = operated.add_gateway()?;
    operated.configured(&format!("/gateways/{}", added.name()))?;
    traffic.go_on()
}

fn show<T: DeserializeOwned>(machine: &Node, what: &str) -> Result<T> {
    let printed = machine.run(Command::new(program("gatewayctl")?).args(["show", what, "-o", "json"]))?;
    Ok(serde_json::from_str(&printed)?)
}

fn finds(operated: &Operated, from: &Node, to: &str, who: &Node) -> Result<()> {
    let found = until(SOON * 2, "an answer", || {
        let heard = who_is_at(from, None, address(to), Duration::from_secs(1)).ok()??;
        Some(heard.name)
    });
    let name = found.with_context(|| format!("{} at {to}\n{}", from.name(), operated.log()))?;
    ensure!(name == who.name(), "{} finds {name} at {to}", from.name());
    Ok(())
}

fn is_cut_off(from: &Node, to: &str) -> Result<()> {
    until(SOON * 2, "nobody to answer", || {
        who_is_at(from, None, address(to), Duration::from_millis(300)).ok()?.is_none().then_some(())
    })
    .with_context(|| format!("{} still reaches {to}", from.name()))
}
