//! Who runs the cloud: starts its daemons, and asks the controller by curl, as a script of anybody's would.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{CONTROLLER, Cloud, GATEWAY_PA, Members, SiteTunnel};
use crate::gateway::{Log, program};
use crate::node::{Node, Running};
use crate::tenants::{DC_PREFIXES, HOST_PA, HQ_PREFIXES, SUBNETS, Tenant, address};
use crate::wait::until;

/// Where the controller keeps what is its own.
const DATA: &str = "/run/controller";
const PORT: u16 = 8443;
/// How long a daemon may take to do something.
const PATIENCE: Duration = Duration::from_secs(120);

/// The cloud's daemons, and the way to the controller.
#[derive(Debug)]
pub struct Operated {
    /// What runs, the controller first.
    daemons: Vec<(String, Running, Log)>,
    /// The cloud.
    pub cloud: Cloud,
}

impl Operated {
    /// Starts the controller, and waits until it leads.
    pub fn start(cloud: Cloud) -> Result<Self> {
        let mut this = Self { daemons: Vec::new(), cloud };
        this.start_controller()?;
        Ok(this)
    }

    /// Starts the controller, on what it left in its directory.
    pub fn start_controller(&mut self) -> Result<()> {
        let listen = format!("{}:{PORT}", CONTROLLER[0]);
        let node = Arc::clone(&self.cloud.controller);
        let arguments = ["controller", "--data-dir", DATA, "--listen", &listen, "--advertise", CONTROLLER[0]];
        self.daemon("controller", &node, &arguments)?;
        until(PATIENCE, "the controller to answer", || self.get("/gateways").ok()).map(drop).with_context(|| self.log())
    }

    /// Ends a daemon as a crash would.
    pub fn kill(&mut self, name: &str) {
        self.daemons.retain(|(known, ..)| known != name);
    }

    fn daemon(&mut self, name: &str, node: &Arc<Node>, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(program("gatewayd")?);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.process_group(0).env("NO_COLOR", "1");
        let mut running = node.spawn(&mut command)?;
        let log = Log::default();
        log.follow(running.child().stderr.take().context("the daemon has no standard error")?);
        self.daemons.push((name.to_owned(), running, log));
        Ok(())
    }

    /// What the daemons said.
    pub fn log(&self) -> String {
        let said = self.daemons.iter().map(|(name, _, log)| format!("--- {name} said:\n{}", log.text()));
        said.collect::<Vec<_>>().join("\n")
    }

    fn curl(&self, arguments: &[&str], path: &str) -> Result<(u16, Value)> {
        let mut command = Command::new("curl");
        for (option, file) in [("--cacert", "ca.crt"), ("--cert", "admin.crt"), ("--key", "admin.key")] {
            command.arg(option).arg(format!("{DATA}/{file}"));
        }
        command.args(["--silent", "--show-error", "--max-time", "30", "--write-out", "\n%{http_code}"]).args(arguments);
        command.arg(format!("https://{}:{PORT}/networking/v1{path}", CONTROLLER[0]));
        let printed = self.cloud.controller.run(&mut command)?;
        let (body, status) = printed.rsplit_once('\n').context("curl printed no status")?;
        Ok((status.trim().parse()?, serde_json::from_str(body).unwrap_or(Value::Null)))
    }

    /// Reads a resource.
    pub fn get(&self, path: &str) -> Result<Value> {
        let (status, body) = self.curl(&[], path)?;
        ensure!(status == 200, "GET {path}: {status} {body}");
        Ok(body)
    }

    /// Creates or replaces a resource.
    pub fn put(&self, path: &str, properties: &Value) -> Result<Value> {
        let body = json!({ "properties": properties }).to_string();
        let (status, body) = self.curl(&["-X", "PUT", "-d", &body], path)?;
        ensure!(status == 200 || status == 201, "PUT {path}: {status} {body}\n{}", self.log());
        Ok(body)
    }

    /// Removes a resource.
    pub fn delete(&self, path: &str) -> Result<()> {
        let (status, body) = self.curl(&["-X", "DELETE"], path)?;
        ensure!(status == 202 || status == 204, "DELETE {path}: {status} {body}");
        Ok(())
    }

    /// Describes the fabric: networks, the pool, gateways and servers.
    pub fn describe_fabric(&self) -> Result<()> {
        let pool = |start: &str, end: &str| json!([{ "resourceId": "pool", "properties": { "startIpAddress": start, "endIpAddress": end } }]);
        self.put(
            "/logicalNetworks/vips",
            &json!({ "subnets": [{ "resourceId": "gre", "properties": {
                "addressPrefix": "198.51.100.0/24", "ipPools": pool("198.51.100.16", "198.51.100.31") } }] }),
        )?;
        let vlans: Vec<Value> = self
            .cloud
            .tenants
            .iter()
            .map(|members| {
                json!({ "resourceId": members.tenant.name, "properties": {
                    "addressPrefix": "10.127.134.0/24", "vlanID": members.tenant.vlan } })
            })
            .collect();
        for vlan in vlans {
            let name = vlan["resourceId"].as_str().unwrap_or_default().to_owned();
            self.put(&format!("/logicalNetworks/{name}-dc"), &json!({ "subnets": [vlan] }))?;
        }
        self.put(
            "/gatewayPools/default",
            &json!({ "type": "All", "redundantGatewayCount": 1, "gatewayCapacityKiloBitsPerSecond": 10_000_000,
                     "ipConfiguration": { "greVipSubnets": [{ "resourceRef": "/logicalNetworks/vips/subnets/gre" }] } }),
        )?;
        for gateway in &self.cloud.gateways {
            let name = gateway.name();
            self.put(&format!("/virtualServers/{name}"), &json!({}))?;
            self.put(
                &format!("/gateways/{name}"),
                &json!({ "pool": { "resourceRef": "/gatewayPools/default" },
                         "virtualServer": { "resourceRef": format!("/virtualServers/{name}") } }),
            )?;
        }
        for host in &self.cloud.hosts {
            self.put(&format!("/servers/{}", host.name()), &json!({}))?;
        }
        Ok(())
    }

    /// Lets every gateway and host join.
    pub fn start_agents(&mut self) -> Result<()> {
        for (node, pa) in self.cloud.gateways.clone().iter().zip(GATEWAY_PA) {
            self.join("gateway", node, &pa[..1], &["fab0=fabric", "tor0=site"])?;
        }
        for (node, pa) in self.cloud.hosts.clone().iter().zip(HOST_PA) {
            self.join("host", node, &pa[..1], &["fab0=fabric"])?;
        }
        Ok(())
    }

    fn join(&mut self, role: &str, node: &Arc<Node>, pa: &[&str], ports: &[&str]) -> Result<()> {
        let name = node.name().to_owned();
        let create = ["controller", "token", "create", "--role", role, "--id", &name, "--data-dir", DATA];
        let token = self.cloud.controller.run(Command::new(program("gatewayd")?).args(create))?;
        node.write("/run/token", token.trim())?;
        let controller = format!("https://{}:{PORT}", CONTROLLER[0]);
        let mut arguments = vec![role, "--controller", &controller, "--name", &name, "--token-file", "/run/token"];
        arguments.extend(["--data-dir", "/run/agent"]);
        arguments.extend(pa.iter().flat_map(|pa| ["--pa", pa]));
        arguments.extend(ports.iter().flat_map(|port| ["--port", port]));
        self.daemon(&name, node, &arguments)
    }

    /// Describes a tenant: its network, its machines, its gateway with a GRE and an L3 connection.
    pub fn describe_tenant(&self, tenant: Tenant) -> Result<()> {
        let name = tenant.name;
        let mut subnets: Vec<Value> = (SUBNETS.iter().enumerate())
            .map(|(index, subnet)| {
                json!({ "resourceId": format!("subnet{index}"), "properties": { "addressPrefix": subnet.prefixes[0] } })
            })
            .collect();
        subnets.push(json!({ "resourceId": "gateway", "properties": { "addressPrefix": "10.1.255.0/28" } }));
        self.put(
            &format!("/virtualNetworks/{name}"),
            &json!({ "addressSpace": { "addressPrefixes": ["10.1.0.0/16"] }, "subnets": subnets }),
        )?;
        for (index, subnet) in SUBNETS.iter().enumerate() {
            let host = self.cloud.hosts[subnet.host].name();
            self.put(
                &format!("/networkInterfaces/{name}-{}", subnet.vm),
                &json!({
                    "privateMacAddress": subnet.mac, "server": { "resourceRef": format!("/servers/{host}") },
                    "deviceName": format!("{name}-{}", subnet.vm),
                    "ipConfigurations": [{ "resourceId": "ip", "properties": {
                        "privateIPAddress": subnet.addresses[0], "privateIPAllocationMethod": "Static",
                        "subnet": { "resourceRef": format!("/virtualNetworks/{name}/subnets/subnet{index}") } } }],
                }),
            )?;
        }
        let vlan = format!("/logicalNetworks/{name}-dc/subnets/{name}");
        self.put(
            &format!("/virtualGateways/{name}"),
            &json!({
                "gatewaySubnets": [{ "resourceRef": format!("/virtualNetworks/{name}/subnets/gateway") }],
                "routingType": "Dynamic",
                "networkConnections": [
                    { "resourceId": "hq", "properties": {
                        "connectionType": "GRE", "inboundKiloBitsPerSecond": 100_000, "outboundKiloBitsPerSecond": 100_000,
                        "greConfiguration": { "greKey": tenant.key.to_string() }, "destinationIPAddress": tenant.remote[0],
                        "routes": [{ "destinationPrefix": HQ_PREFIXES[0], "metric": 10 }] } },
                    { "resourceId": "dc", "properties": {
                        "connectionType": "L3", "inboundKiloBitsPerSecond": 100_000, "outboundKiloBitsPerSecond": 100_000,
                        "l3Configuration": { "vlanSubnet": { "resourceRef": vlan } },
                        "ipAddresses": [{ "ipAddress": tenant.vlan_gateway[0], "prefixLength": 24 }],
                        "peerIPAddresses": [tenant.vlan_peer[0]],
                        "routes": [{ "destinationPrefix": DC_PREFIXES[0], "metric": 10 }] } },
                ],
            }),
        )?;
        Ok(())
    }

    /// Sets up the GRE site's end, to the address that the controller gave the connection.
    pub fn dig(&self, members: &Members) -> Result<SiteTunnel> {
        let connection = self.get(&format!("/virtualGateways/{}/networkConnections/hq", members.tenant.name))?;
        let vip =
            connection["properties"]["sourceIPAddress"].as_str().context("the connection has no sourceIPAddress")?;
        members.dig(address(vip))
    }

    /// Waits until a resource is configured.
    pub fn configured(&self, path: &str) -> Result<Value> {
        let mut last = Value::Null;
        let configured = until(PATIENCE, "a resource to be configured", || {
            last = self.get(path).ok()?;
            (last["properties"]["configurationState"]["status"] == "Success").then(|| last.clone())
        });
        match configured {
            Ok(resource) => Ok(resource),
            Err(_) => bail!("{path} is not configured: {last}\n{}", self.log()),
        }
    }
}
