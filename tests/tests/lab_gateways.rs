//! A tenant's sites on different gateways: they reach each other, by one hop from gateway to gateway.

use anyhow::{Context, Result, ensure};
use gateway_user::api::report::{ConnectionReport, DropReport};
use lab::cloud::{Cloud, GATEWAY_TOR, Operated};
use lab::gateway::program;
use lab::node::Node;
use lab::peers::Bird;
use lab::tenants::{CONTOSO, DC, HQ, SUBNETS, TOR};
use lab::wait::{SOON, until};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;

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

/// A gateway whose resource names the rack's router tells it where its VIP is, and shows that it does.
fn announces_to_the_rack(operated: &Operated, gateway: &Node, vip: &str) -> Result<()> {
    let cloud = &operated.cloud;
    let index = cloud.gateways.iter().position(|it| it.name() == gateway.name()).context("no such gateway")?;
    let bird = Bird::start(
        &cloud.tor,
        &format!(
            "log stderr all;
router id {router};
protocol device {{ scan time 1; }}
protocol bgp rack {{
  local {router} as 64600;
  neighbor {neighbor} as 64512;
  graceful restart on;
  connect delay time 1; connect retry time 2; error wait time 1, 2;
  ipv4 {{ import all; export none; }};
}}
",
            router = TOR[0],
            neighbor = GATEWAY_TOR[index][0],
        ),
    )?;
    let path = format!("/gateways/{}", gateway.name());
    let mut properties = operated.get(&path)?["properties"].clone();
    properties["bgpConfig"] =
        json!({ "extASNumber": "0.64512", "bgpPeer": [{ "peerIP": TOR[0], "peerExtAsNumber": "0.64600" }] });
    operated.put(&path, &properties)?;
    let vip = &format!("{vip}/32");
    bird.has(vip).with_context(|| format!("{:?}\n{}", bird.ask("show protocols all"), operated.log()))?;
    until(SOON, "the gateway's resource to show the session", || {
        let shown = operated.get(&path).ok()?;
        (shown["properties"]["bgpPeerStates"][0]["connectionState"] == "Connected").then_some(())
    })
    .with_context(|| format!("{:?}", operated.get(&path)))?;
    properties["bgpConfig"] = json!({});
    operated.put(&path, &properties)?;
    bird.lacks(vip)
}

fn reference(path: &str) -> Value {
    json!({ "resourceRef": path })
}

/// Another tenant, as SDN Express and its guides create one: every resource that they have, in their order.
fn create_in_order(operated: &Operated) -> Result<()> {
    let subnet = |id: &str, prefix: &str, vlan: u16, pool: Value| json!({ "resourceId": id, "properties": { "addressPrefix": prefix, "vlanID": vlan, "ipPools": pool } });
    let pool = |start: &str, end: &str| json!([{ "resourceId": "pool", "properties": { "startIpAddress": start, "endIpAddress": end } }]);
    let external = "/networkInterfaces/express-external";
    let internal = "/networkInterfaces/express-internal";
    let gateway = "/virtualGateways/express";
    for (path, properties) in [
        (
            "/credentials/NCHostUser",
            json!({ "type": "UsernamePassword", "userName": "nc", "value": "secret-of-the-host" }),
        ),
        (
            "/servers/express-host",
            json!({ "connections": [{ "managementAddresses": ["host.example.com"], "credentialType": "UsernamePassword",
                    "credential": reference("/credentials/NCHostUser") }] }),
        ),
        (
            "/logicalNetworks/HNVPA",
            json!({ "networkVirtualizationEnabled": true, "subnets": [subnet("pa", "10.10.56.0/23", 11, json!([]))] }),
        ),
        ("/logicalNetworks/Transit", json!({ "subnets": [subnet("transit", "27.1.1.0/24", 10, json!([]))] })),
        (
            "/logicalNetworks/PublicVIP",
            json!({ "subnets": [{ "resourceId": "public", "properties": { "addressPrefix": "41.40.40.0/27", "isPublic": true,
                    "ipPools": pool("41.40.40.1", "41.40.40.31") } }] }),
        ),
        (
            "/logicalNetworks/GreVIP",
            json!({ "subnets": [subnet("gre", "31.30.30.0/24", 0, pool("31.30.30.1", "31.30.30.254"))] }),
        ),
        (
            "/loadBalancerManager/config",
            json!({ "loadBalancerManagerIPAddress": "41.40.40.1",
                    "vipIpPools": [reference("/logicalNetworks/PublicVIP/subnets/public/ipPools/pool")] }),
        ),
        ("/virtualServers/express-mux", json!({ "server": reference("/servers/express-host") })),
        (
            "/loadBalancerMuxes/express-mux",
            json!({ "virtualServer": reference("/virtualServers/express-mux"), "routerConfiguration": { "localASN": 64628,
                    "peerRouterConfigurations": [{ "routerName": "tor", "routerIPAddress": "10.10.10.1", "peerASN": 64623 }] } }),
        ),
        ("/publicIPAddresses/express", json!({ "publicIPAllocationMethod": "Dynamic", "idleTimeoutInMinutes": 4 })),
        (
            "/gatewayPools/express",
            json!({ "type": "All", "redundantGatewayCount": 0, "gatewayCapacityKiloBitsPerSecond": 1_000_000,
                    "ipConfiguration": { "greVipSubnets": [reference("/logicalNetworks/GreVIP/subnets/gre")],
                                         "publicIPAddresses": [reference("/publicIPAddresses/express")] } }),
        ),
        ("/virtualServers/express-gw", json!({ "server": reference("/servers/express-host") })),
        (internal, json!({ "privateMacAddress": "001DD8B71C00", "privateMacAllocationMethod": "Static" })),
        (
            external,
            json!({ "privateMacAddress": "001DD8B71C01", "privateMacAllocationMethod": "Static",
                    "ipConfigurations": [{ "resourceId": "FrontEnd", "properties": { "privateIPAddress": "27.1.1.15",
                        "privateIPAllocationMethod": "Static", "subnet": reference("/logicalNetworks/Transit/subnets/transit") } }] }),
        ),
        (
            "/gateways/express-gw",
            json!({ "pool": reference("/gatewayPools/express"), "types": ["s2sipsec", "s2sgre", "forwarding", "vpn"],
                    "virtualServer": reference("/virtualServers/express-gw"),
                    "networkInterfaces": { "externalNetworkInterface": reference(external), "internalNetworkInterface": reference(internal) },
                    "bgpConfig": { "extASNumber": "0.1", "bgpPeer": [{ "peerIP": "27.1.1.1", "peerExtAsNumber": "0.1" }] } }),
        ),
        (
            "/virtualNetworks/express",
            json!({ "addressSpace": { "addressPrefixes": ["10.2.0.0/16"] }, "logicalNetwork": reference("/logicalNetworks/HNVPA"),
                    "subnets": [{ "resourceId": "gateway", "properties": { "addressPrefix": "10.2.255.0/28" } }] }),
        ),
        (
            gateway,
            json!({ "gatewayPools": [reference("/gatewayPools/express")], "routingType": "Dynamic", "networkConnections": [],
                    "bgpRouters": [], "gatewaySubnets": [reference("/virtualNetworks/express/subnets/gateway")] }),
        ),
        (
            "/virtualGateways/express/networkConnections/gre",
            json!({ "connectionType": "GRE", "outboundKiloBitsPerSecond": 1000, "inboundKiloBitsPerSecond": 1000,
                    "greConfiguration": { "greKey": "1234" }, "l3Configuration": {}, "ipAddresses": [], "peerIPAddresses": [],
                    "routes": [{ "destinationPrefix": "40.1.1.4/32", "nextHop": "0.0.0.0", "metric": 10, "protocol": "Static" }],
                    "connectionStatus": "Enabled", "destinationIPAddress": "11.1.0.2" }),
        ),
        (
            "/virtualGateways/express/bgpRouters/router",
            json!({ "isEnabled": "true", "requireIGPSync": "true", "extAsNumber": "0.64512" }),
        ),
        (
            "/virtualGateways/express/bgpRouters/router/bgpPeers/peer",
            json!({ "peerIpAddress": "40.1.1.4", "peerAsNumber": 65001, "ExtAsNumber": "0.65001" }),
        ),
    ] {
        let created = operated.put(path, &properties)?;
        ensure!(created["properties"]["provisioningState"] == "Succeeded", "{path}: {created}");
    }
    let tenant = operated.get(gateway)?;
    let connection = &tenant["properties"]["networkConnections"][0]["properties"];
    ensure!(connection["gateway"]["resourceRef"] == "/gateways/express-gw", "{tenant}");
    ensure!(connection["sourceIPAddress"] == "31.30.30.1", "{tenant}");
    // Nobody has enrolled there, and that is what it says.
    ensure!(connection["configurationState"]["detailedInfo"][0]["code"] == "HostUnreachable", "{tenant}");
    Ok(())
}

#[test]
fn sites_on_different_gateways_reach_each_other() -> Result<()> {
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
    let gateway = operated.configured(&format!("/virtualGateways/{}", CONTOSO.name))?;
    let connections = &gateway["properties"]["networkConnections"];
    let (first, second) = (carrier(&operated, &connections[0])?, carrier(&operated, &connections[1])?);
    ensure!(first.name() != second.name(), "both connections are on one gateway: {gateway}");
    let contoso = &operated.cloud.tenants[0];
    let _tunnel = operated.dig(contoso)?;
    let [vm1, _] = &contoso.vms;
    operated.finds(vm1, HQ[0], &contoso.hq)?;
    operated.finds(vm1, DC[0], &contoso.dc)?;
    let before = [packets(&first, "hq")?, packets(&second, "dc")?];
    operated.finds(&contoso.hq, DC[0], &contoso.dc)?;
    operated.finds(&contoso.dc, HQ[0], &contoso.hq)?;
    operated.finds(&contoso.hq, SUBNETS[0].addresses[0], vm1)?;
    // What went from site to site was counted, and so policed, at both connections, in both directions.
    for ((gateway, connection), before) in [(&first, "hq"), (&second, "dc")].into_iter().zip(before) {
        let after = packets(gateway, connection)?;
        ensure!(after.0 > before.0 && after.1 > before.1, "{connection}: {before:?}, then {after:?}");
    }
    for gateway in [&first, &second] {
        let drops: Vec<DropReport> = show(gateway, "drops")?;
        ensure!(!drops.iter().any(|drop| drop.reason == "gateway_loop"), "{drops:?}");
    }
    let tunnels = connections
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| Some((carrier(&operated, it).ok()?, it["properties"]["sourceIPAddress"].as_str()?)));
    let (at, vip) = tunnels.into_iter().next().context("no connection has a VIP")?;
    announces_to_the_rack(&operated, &at, vip)?;
    create_in_order(&operated)
}
