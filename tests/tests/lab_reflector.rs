//! A tenant's BGP router and its sites on several gateways: one neighbour for all of them, wherever their connections end.

use anyhow::{Context, Result, ensure};
use gateway_user::api::report::{BgpNeighborReport, BgpRouteReport, DropReport, RouteReport};
use lab::cloud::{Cloud, Operated, TENANT_GATEWAY};
use lab::gateway::program;
use lab::node::Node;
use lab::peers::{Bird, Frr};
use lab::ping::Ping;
use lab::tenants::{CONTOSO, HQ, address};
use lab::wait::until;
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A site's router takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the sites announce, and a machine there.
const BEHIND_HQ: (&str, &str) = ("10.7.0.0/16", "10.7.0.1");
const BEHIND_DC: (&str, &str) = ("10.8.0.0/16", "10.8.0.1");

fn ctl<T: serde::de::DeserializeOwned>(gateway: &Node, words: &[&str]) -> Result<T> {
    let printed = gateway.run(Command::new(program("gatewayctl")?).args(words).args(["-o", "json"]))?;
    serde_json::from_str(&printed).with_context(|| format!("gatewayctl {words:?} printed: {printed}"))
}

/// The gateway that a connection was placed on.
fn carrier(operated: &Operated, connection: &Value) -> Result<Arc<Node>> {
    let name =
        connection["properties"]["gateway"]["resourceRef"].as_str().context("the connection is on no gateway")?;
    let mut gateways = operated.cloud.gateways.iter();
    gateways.find(|gateway| name.ends_with(gateway.name())).cloned().context("no such gateway")
}

/// The router at the GRE site.
fn bird(site: &Arc<Node>) -> Result<Bird> {
    let text = format!(
        "router id {hq};
protocol device {{ scan time 1; }}
protocol static announced {{ ipv4; route {} unreachable; }}
protocol bgp cloud {{
  local {hq} as 65002;
  neighbor {TENANT_GATEWAY} as 65001;
  multihop 2;
  hold time 60;
  connect delay time 1; connect retry time 2; error wait time 1, 2;
  ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
",
        BEHIND_HQ.0,
        hq = HQ[0],
    );
    site.ip(&format!("address add {}/32 dev lo\n", BEHIND_HQ.1))?;
    Bird::start(site, &text)
}

/// The router at the L3 site: a single hop is all that it lets its packets go.
fn frr(site: &Arc<Node>) -> Result<Frr> {
    let text = format!(
        "router bgp 65003
 bgp router-id 10.3.0.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor {TENANT_GATEWAY} remote-as 65001
 neighbor {TENANT_GATEWAY} disable-connected-check
 neighbor {TENANT_GATEWAY} update-source {}
 neighbor {TENANT_GATEWAY} timers connect 2
 neighbor {TENANT_GATEWAY} timers 20 60
 address-family ipv4 unicast
  network {}
 exit-address-family
",
        CONTOSO.vlan_peer[0], BEHIND_DC.0,
    );
    site.ip(&format!("address add {}/32 dev lo\n", BEHIND_DC.1))?;
    Frr::bgpd(site, &text)
}

struct Scene {
    operated: Operated,
    /// The router's gateway, and the other one.
    gateways: [Arc<Node>; 2],
}

impl Scene {
    /// What helps to see why something failed.
    fn about(&self) -> String {
        let ask = |gateway: &Arc<Node>, words: &[&str]| {
            let command = program("gatewayctl").and_then(|program| gateway.run(Command::new(program).args(words)));
            command.unwrap_or_else(|error| format!("{error:#}"))
        };
        let shown = self.gateways.iter().flat_map(|gateway| {
            let what: [&[&str]; 4] = [
                &["bgp", "neighbors"],
                &["bgp", "routes", "--tenant", CONTOSO.name],
                &["show", "routes", "--tenant", CONTOSO.name],
                &["show", "drops"],
            ];
            what.map(|words| format!("--- {} {words:?}\n{}", gateway.name(), ask(gateway, words)))
        });
        format!("{}\n{}", shown.collect::<String>(), self.operated.log())
    }

    fn await_sessions(&self, gateway: usize, names: &[&str]) -> Result<()> {
        let up = || {
            let all: Vec<BgpNeighborReport> = ctl(&self.gateways[gateway], &["bgp", "neighbors"]).ok()?;
            let is_up = |name: &&str| all.iter().any(|peer| peer.name == **name && peer.state == "established");
            (all.len() == names.len() && names.iter().all(is_up)).then_some(())
        };
        let awaited = format!("the sessions {names:?} of {}", self.gateways[gateway].name());
        until(PATIENCE, &awaited, up).with_context(|| self.about())
    }

    /// Waits until both gateways have a route, or have it no more.
    fn await_route(&self, prefix: &str, wanted: bool) -> Result<()> {
        for gateway in &self.gateways {
            let settled = || {
                let words = ["bgp", "routes", "--tenant", CONTOSO.name, "--prefix", prefix];
                let all: Vec<BgpRouteReport> = ctl(gateway, &words).ok()?;
                let known = all.iter().any(|path| path.prefix.to_string() == prefix && path.used == "best");
                let table: Vec<RouteReport> = ctl(gateway, &["show", "routes", "--tenant", CONTOSO.name]).ok()?;
                let forwards = table.iter().any(|route| route.prefix.to_string() == prefix && route.nexthop.is_some());
                (known == wanted && forwards == wanted).then_some(())
            };
            let awaited = format!("{prefix} {} {}", if wanted { "on" } else { "gone from" }, gateway.name());
            until(PATIENCE, &awaited, settled).with_context(|| self.about())?;
        }
        Ok(())
    }

    fn answers(&self, from: &Arc<Node>, source: &str, to: &str) -> Result<()> {
        let answered = || {
            let answer = Ping::to(address(to)).from(address(source)).send(from, Duration::from_secs(1)).ok()?;
            answer.is_reply().then_some(())
        };
        until(PATIENCE, &format!("an answer from {to} to {source}"), answered).with_context(|| self.about())
    }
}

#[test]
fn sites_on_different_gateways_have_one_neighbour_and_learn_each_others_routes() -> Result<()> {
    let mut operated = Operated::start(Cloud::build(|_| {})?)?;
    operated.describe_fabric()?;
    // Room for one of the tenant's two connections on each gateway.
    operated.put(
        "/gatewayPools/default",
        &json!({ "type": "All", "redundantGatewayCount": 1, "gatewayCapacityKiloBitsPerSecond": 500_000,
                 "ipConfiguration": { "greVipSubnets": [{ "resourceRef": "/logicalNetworks/vips/subnets/gre" }] } }),
    )?;
    operated.start_agents()?;
    operated.describe_tenant(CONTOSO)?;
    let peer = |name: &str, address: &str, number: u32| json!({ "resourceId": name, "properties": { "peerIpAddress": address, "extAsNumber": format!("0.{number}") } });
    operated.put(
        &format!("/virtualGateways/{}/bgpRouters/router", CONTOSO.name),
        &json!({ "extAsNumber": "0.65001",
                 "bgpPeers": [peer("hq", HQ[0], 65002), peer("dc", CONTOSO.vlan_peer[0], 65003)] }),
    )?;
    let gateway = operated.configured(&format!("/virtualGateways/{}", CONTOSO.name))?;
    let connections = &gateway["properties"]["networkConnections"];
    let gateways = [carrier(&operated, &connections[0])?, carrier(&operated, &connections[1])?];
    ensure!(gateways[0].name() != gateways[1].name(), "both connections are on one gateway: {gateway}");
    let scene = Scene { operated, gateways };
    let contoso = &scene.operated.cloud.tenants[0];
    let _tunnel = scene.operated.dig(contoso)?;
    let hq = bird(&contoso.hq)?;
    let dc = frr(&contoso.dc)?;

    let other = scene.gateways[1].name().to_owned();
    scene.await_sessions(0, &["hq", "dc", &other])?;
    scene.await_sessions(1, &["route-reflector"])?;
    scene.await_route(BEHIND_HQ.0, true)?;
    scene.await_route(BEHIND_DC.0, true)?;
    hq.has(BEHIND_DC.0)?;
    dc.has("ipv4", BEHIND_HQ.0)?;
    scene.answers(&contoso.hq, BEHIND_HQ.1, BEHIND_DC.1)?;
    scene.answers(&contoso.dc, BEHIND_DC.1, BEHIND_HQ.1)?;
    for gateway in &scene.gateways {
        let drops: Vec<DropReport> = ctl(gateway, &["show", "drops"])?;
        ensure!(!drops.iter().any(|drop| drop.reason == "gateway_loop"), "{drops:?}");
    }

    hq.ask("disable announced")?;
    scene.await_route(BEHIND_HQ.0, false)?;
    dc.lacks("ipv4", BEHIND_HQ.0)?;
    dc.ask("configure terminal\nrouter bgp 65003\naddress-family ipv4 unicast\nno network 10.8.0.0/16")?;
    scene.await_route(BEHIND_DC.0, false)?;
    hq.lacks(BEHIND_DC.0)
}
