//! Who runs the cloud: starts its daemons, describes it by the files in `examples/cloud`, and asks the controller by `gatewayctl`, or by
//! curl, as a script of anybody's would.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{CONTROLLER, Cloud, GATEWAY_PA, Members, SiteTunnel};
use crate::enter::CONTEXTS;
use crate::gateway::{Log, program};
use crate::identity::who_is_at;
use crate::node::{Node, Running};
use crate::tenants::{HOST_PA, Tenant, address};
use crate::wait::until;

/// Where the controller keeps what is its own.
const DATA: &str = "/run/controller";
const PORT: u16 = 8443;
/// How long a daemon may take to do something.
const PATIENCE: Duration = Duration::from_secs(240);

/// The file that describes the fabric or, by its name, a tenant.
pub fn described(what: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("examples/cloud").join(format!("{what}.yaml"))
}

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
        this.contexts()?;
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

    /// Waits until one machine finds another at an address.
    pub fn finds(&self, from: &Node, to: &str, who: &Node) -> Result<()> {
        let found = until(PATIENCE, "an answer", || {
            let heard = who_is_at(from, None, address(to), Duration::from_secs(1)).ok()??;
            (heard.name == who.name()).then_some(())
        });
        ensure!(found.is_ok(), "{} does not find {} at {to}\n{}", from.name(), who.name(), self.log());
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
        ensure!(status == 200 || status == 201, "PUT {path}: {status} {body}");
        Ok(body)
    }

    /// Removes a resource.
    pub fn delete(&self, path: &str) -> Result<()> {
        let (status, body) = self.curl(&["-X", "DELETE"], path)?;
        ensure!(status == 202 || status == 204, "DELETE {path}: {status} {body}");
        Ok(())
    }

    /// Runs `gatewayctl` as the administrator, or as whom `--context` says; gives what it printed.
    pub fn ctl(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(program("gatewayctl")?);
        command.env("GATEWAYCTL_CONTEXTS", CONTEXTS).args(["--timeout", "120"]).args(words);
        self.cloud.controller.run(&mut command)
    }

    /// Prepares a context for `gatewayctl`: a name for the controller, and as whom to ask it.
    fn context(&self, name: &str, certificate: &str, key: &str) -> Result<()> {
        let (controller, authority) = (format!("https://{}:{PORT}", CONTROLLER[0]), format!("{DATA}/ca.crt"));
        let set = ["config", "set-context", name, "--controller", &controller, "--ca", &authority];
        self.ctl(&[&set[..], &["--cert", certificate, "--key", key]].concat()).map(drop)
    }

    /// Prepares the contexts: the administrator's, which is used if none is named, and each tenant's own user's, by the tenant's name.
    fn contexts(&self) -> Result<()> {
        self.context("admin", &format!("{DATA}/admin.crt"), &format!("{DATA}/admin.key"))?;
        for members in &self.cloud.tenants {
            let name = members.tenant.name;
            let out = format!("/run/{name}");
            let create =
                ["controller", "certificate", "create", "--role", "tenant", "--tenant", name, "--client", name];
            let mut command = Command::new(program("gatewayd")?);
            self.cloud.controller.run(command.args(create).args(["--out", &out, "--data-dir", DATA]))?;
            self.context(name, &format!("{out}/client.crt"), &format!("{out}/client.key"))?;
        }
        Ok(())
    }

    /// Creates and changes what a file describes.
    pub fn apply(&self, file: &Path) -> Result<()> {
        let file = file.to_str().context("the file's path is no text")?;
        self.ctl(&["apply", "-f", file]).with_context(|| self.log()).map(drop)
    }

    /// The same for what a text describes.
    pub fn apply_text(&self, resources: &str) -> Result<()> {
        self.cloud.controller.write("/run/resources.yaml", resources)?;
        self.apply(Path::new("/run/resources.yaml"))
    }

    /// Describes the fabric: networks, the pool, gateways and servers.
    pub fn describe_fabric(&self) -> Result<()> {
        self.apply(&described("fabric"))
    }

    /// Describes a tenant: its network, its machines, its gateway with a GRE and an L3 connection.
    pub fn describe_tenant(&self, tenant: Tenant) -> Result<()> {
        self.apply(&described(tenant.name))
    }

    /// Lets every gateway and host join.
    pub fn start_agents(&mut self) -> Result<()> {
        for index in 0..self.cloud.gateways.len() {
            self.join_gateway(index)?;
        }
        for (node, pa) in self.cloud.hosts.clone().iter().zip(HOST_PA) {
            self.join("host", node, &pa[..1], &["fab0=fabric"])?;
        }
        Ok(())
    }

    fn join_gateway(&mut self, index: usize) -> Result<()> {
        let node = Arc::clone(&self.cloud.gateways[index]);
        self.join("gateway", &node, &GATEWAY_PA[index][..1], &["fab0=fabric", "tor0=site"])
    }

    /// Adds a gateway to the pool: its machine, its resources, its daemon.
    pub fn add_gateway(&mut self) -> Result<Arc<Node>> {
        let node = self.cloud.add_gateway()?;
        let (name, pool) = (node.name(), "{ resourceRef: /gatewayPools/default }");
        self.apply_text(&format!(
            "{{ kind: virtualServer, resourceId: {name}, properties: {{}} }}
---
{{ kind: gateway, resourceId: {name}, properties: {{ pool: {pool}, virtualServer: {{ resourceRef: /virtualServers/{name} }} }} }}
"
        ))?;
        self.join_gateway(self.cloud.gateways.len() - 1)?;
        Ok(node)
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

    /// Sets up the GRE site's end, to the address that the controller gave the connection.
    pub fn dig(&self, members: &Members) -> Result<SiteTunnel> {
        let connection = self.get(&format!("/virtualGateways/{}/networkConnections/hq", members.tenant.name))?;
        let vip =
            connection["properties"]["sourceIPAddress"].as_str().context("the connection has no sourceIPAddress")?;
        members.dig(address(vip))
    }

    /// Waits until a resource is configured.
    pub fn configured(&self, path: &str) -> Result<Value> {
        let configured = until(PATIENCE, "a resource to be configured", || self.is_configured(path));
        configured.with_context(|| format!("{path} is not configured: {:?}\n{}", self.get(path), self.log()))
    }

    /// A resource, if it is configured.
    pub fn is_configured(&self, path: &str) -> Option<Value> {
        self.get(path).ok().filter(|resource| resource["properties"]["configurationState"]["status"] == "Success")
    }
}
