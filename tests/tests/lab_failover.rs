//! Controllers stand in for each other while gateways and hosts forward: a leader that is killed costs no packet, and the next one is obeyed.

use anyhow::{Context, Result, ensure};
use gateway_user::api::report::RouteReport;
use lab::cloud::{Cloud, Operated, Seen, Traffic, described};
use lab::gateway::program;
use lab::node::Node;
use lab::tenants::CONTOSO;
use lab::wait::until;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long anything may take, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_leader_that_is_killed_costs_no_packet_and_what_the_next_one_is_told_reaches_gateways_and_hosts() -> Result<()> {
    let mut operated = Operated::start_several(Cloud::build(|_| {})?)?;
    operated.describe_fabric()?;
    operated.start_agents()?;
    operated.describe_tenant(CONTOSO)?;
    operated.configured("/virtualGateways/contoso")?;
    let _tunnel = operated.dig(operated.cloud.members("contoso"))?;
    let gateway = operated.carrier("contoso")?;

    let traffic = Traffic::start(operated.cloud.members("contoso"))?;
    let before = Seen::at(&operated, &gateway, "contoso")?;
    let outcome = fail_over(&mut operated, &gateway, &traffic);
    let noticed = traffic.stop();
    outcome.with_context(|| format!("{noticed:?}\n{}", operated.log()))?;
    println!("{:?}", noticed.with_context(|| operated.log())?);
    Seen::at(&operated, &gateway, "contoso")?.went_on_since(&before)?;
    ensure!(operated.carrier("contoso")? == gateway, "the tenant was moved");
    Ok(())
}

/// Kills the leader twice, and each time changes something at whoever leads then.
fn fail_over(operated: &mut Operated, gateway: &str, traffic: &Traffic) -> Result<()> {
    for (limit, network) in [(150_000, "10.4.0.0/16"), (120_000, "10.5.0.0/16")] {
        traffic.go_on()?;
        let killed = operated.leader()?;
        operated.crash(killed);
        traffic.go_on()?;
        let next = operated.leader()?;
        ensure!(next != killed, "{killed:?} was killed, and leads");
        change(operated, limit, network)?;
        arrives(operated, gateway, limit, network)?;
        operated.configured("/virtualGateways/contoso")?;
        // It finds its agents where they were, and follows.
        operated.launch(killed)?;
    }
    traffic.go_on()
}

/// Gives a connection another limit and another network behind it.
fn change(operated: &Operated, limit: u64, network: &str) -> Result<()> {
    let tenant = std::fs::read_to_string(described("contoso"))?;
    let route = "          - { destinationPrefix: 10.2.0.0/16, metric: 10 }\n";
    let more = format!("{route}          - {{ destinationPrefix: {network}, metric: 10 }}\n");
    let changed = tenant.replace(": 200000", &format!(": {limit}")).replace(route, &more);
    ensure!(changed.contains(network), "the tenant's file is not as this case knows it");
    operated.apply_text(&changed)
}

/// The gateway and both hosts do as the next leader was told.
fn arrives(operated: &Operated, gateway: &str, limit: u64, network: &str) -> Result<()> {
    until(PATIENCE, "the changed limit", || {
        let connections = operated.connections(gateway).ok()?;
        let hq = connections.into_iter().find(|it| it.tenant == "contoso" && it.name == "hq")?;
        (hq.outbound_kbps == Some(limit)).then_some(())
    })?;
    let program = program("gatewayctl")?;
    for host in &operated.cloud.hosts {
        until(PATIENCE, "the changed route", || has_route(&program, host, network).ok()?.then_some(()))
            .with_context(|| format!("{} has: {:?}", host.name(), routes(&program, host)))?;
    }
    Ok(())
}

fn has_route(program: &Path, host: &Node, network: &str) -> Result<bool> {
    Ok(routes(program, host)?.iter().any(|route| route.prefix.to_string() == network))
}

fn routes(program: &Path, host: &Node) -> Result<Vec<RouteReport>> {
    let printed = host.run(Command::new(program).args(["show", "routes", "--tenant", "contoso", "-o", "json"]))?;
    Ok(serde_json::from_str(&printed)?)
}
