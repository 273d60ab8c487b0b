//! What a site announces by BGP alone reaches the compute hosts through the controller, and goes again.

use anyhow::{Result, ensure};
use gateway_user::api::report::RouteReport;
use lab::cloud::{Cloud, Operated, TENANT_GATEWAY};
use lab::gateway::program;
use lab::peers::Bird;
use lab::ping::Ping;
use lab::tenants::{HQ, address};
use lab::wait::until;
use serde_json::json;
use std::process::Command;
use std::time::Duration;

/// Everything may take its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the site announces, and a machine there.
const BEHIND: (&str, &str) = ("10.7.0.0/16", "10.7.0.1");
/// What it announces for a while.
const FLEETING: &str = "10.77.0.0/16";

fn configuration(announced: &[&str]) -> String {
    let routes: String = announced.iter().map(|prefix| format!("  route {prefix} unreachable;\n")).collect();
    format!(
        "router id 10.2.0.1;
protocol device {{ scan time 1; }}
protocol static announced {{
  ipv4;
{routes}}}
protocol bgp cloud {{
  local {} as 64513;
  neighbor {TENANT_GATEWAY} as 64512;
  multihop 2;
  hold time 30;
  graceful restart on;
  connect delay time 1; connect retry time 2; error wait time 1, 2;
  ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
",
        HQ[0]
    )
}

/// Whether a daemon's tables hold a route of the tenant to exactly this prefix.
fn holds(operated: &Operated, node: &lab::node::Node, prefix: &str) -> Result<bool> {
    let printed = node.run(
        Command::new(program("gatewayctl")?)
            .args(["show", "routes", "--tenant", "contoso", "--prefix", prefix, "-o", "json"]),
    );
    let routes: Vec<RouteReport> = serde_json::from_str(&printed.map_err(|error| error.context(operated.log()))?)?;
    Ok(routes.iter().any(|route| route.prefix.to_string() == prefix))
}

fn wait_for(operated: &Operated, node: &lab::node::Node, prefix: &str, wanted: bool) -> Result<()> {
    let what = format!("{prefix} at {} to be {}", node.name(), if wanted { "there" } else { "gone" });
    let found = until(PATIENCE, &what, || (holds(operated, node, prefix).ok()? == wanted).then_some(()));
    found.map_err(|error| error.context(operated.log()))
}

/// The prefixes that the connection is shown to lead to, by protocol.
fn shown(operated: &Operated, protocol: &str) -> Result<Vec<String>> {
    let connection = operated.get("/virtualGateways/contoso/networkConnections/hq")?;
    let routes = connection["properties"]["routes"].as_array().cloned().unwrap_or_default();
    let of = routes.iter().filter(|route| route["protocol"] == protocol);
    Ok(of.filter_map(|route| route["destinationPrefix"].as_str().map(str::to_owned)).collect())
}

#[test]
fn what_a_site_announces_reaches_the_hosts_and_outlives_the_controller() -> Result<()> {
    let mut operated = Operated::start(Cloud::build(|_| {})?)?;
    operated.describe_fabric()?;
    operated.start_agents()?;
    let tenant = operated.cloud.members("contoso").tenant;
    operated.describe_tenant(tenant)?;
    operated.configured("/virtualGateways/contoso")?;
    let _tunnel = operated.dig(operated.cloud.members("contoso"))?;
    let (vm, site) = (operated.cloud.members("contoso").vms[0].clone(), operated.cloud.members("contoso").hq.clone());
    let (host, gateway) =
        (operated.cloud.hosts[0].clone(), operated.cloud.gateway(&operated.carrier("contoso")?).clone());

    let router = "/virtualGateways/contoso/bgpRouters/router";
    operated.put(router, &json!({ "extAsNumber": "0.64512" }))?;
    operated.put(&format!("{router}/bgpPeers/hq"), &json!({ "peerIpAddress": HQ[0], "extAsNumber": "0.64513" }))?;
    site.ip(&format!("address add {}/32 dev lo\n", BEHIND.1))?;
    let bird = Bird::start(&site, &configuration(&[BEHIND.0, FLEETING]))?;
    let ping = Ping::to(address(BEHIND.1));
    ping.until_reply(&vm, PATIENCE).map_err(|error| error.context(operated.log()))?;
    wait_for(&operated, &host, FLEETING, true)?;

    // It is shown where the static ones are, and is no part of what was written.
    let learned = shown(&operated, "BGP")?;
    ensure!(learned == [BEHIND.0, FLEETING], "{learned:?}");
    until(PATIENCE, "the peer to be shown as connected", || {
        let peer = operated.get(&format!("{router}/bgpPeers/hq")).ok()?;
        let statistics = &peer["properties"]["statistics"];
        let counted = statistics["ipv4Route"]["updateReceivedCount"].as_u64() >= Some(2);
        (peer["properties"]["connectionState"] == "Connected" && counted).then_some(())
    })?;

    // One that is withdrawn goes.
    bird.configure(&configuration(&[BEHIND.0]))?;
    wait_for(&operated, &host, FLEETING, false)?;
    ensure!(shown(&operated, "BGP")? == [BEHIND.0]);

    // A controller that dies and comes back withdraws nothing, and knows it again.
    let stream = ping.stream(&vm, Duration::from_millis(20))?;
    operated.kill("controller");
    stream.go_on(20)?;
    operated.start_controller()?;
    until(PATIENCE, "the route to be known again", || (shown(&operated, "BGP").ok()? == [BEHIND.0]).then_some(()))?;
    stream.go_on(20)?;
    let tally = stream.stop();
    ensure!(tally.lost.is_empty(), "{tally:?}\n{}", operated.log());

    // What is withdrawn while there is no controller goes when there is one again.
    operated.kill("controller");
    bird.configure(&configuration(&[]))?;
    wait_for(&operated, &gateway, BEHIND.0, false)?;
    ensure!(holds(&operated, &host, BEHIND.0)?, "without a controller the host keeps what it has");
    operated.start_controller()?;
    wait_for(&operated, &host, BEHIND.0, false)
}
