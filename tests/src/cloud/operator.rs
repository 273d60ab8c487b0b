//! Who runs the cloud: starts its daemons, describes it by the files in `examples/cloud`, and asks the controller by `gatewayctl`, or by
//! curl, as a script of anybody's would.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gateway_user::api::report::ConnectionReport;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{CONTROLLER, Cloud, GATEWAY_PA, GATEWAY_TOR, Members, SiteTunnel};
use crate::enter::CONTEXTS;
use crate::gateway::{Log, program};
use crate::identity::who_is_at;
use crate::node::{Node, Running};
use crate::store::etcd::Members as Etcd;
use crate::tenants::{HOST_PA, Tenant, address};
use crate::wait::until;

/// Where the first controller keeps what is its own, and all that anybody else needs of it.
const DATA: &str = "/run/controller";
/// The controllers' ports count up from here.
const PORT: u16 = 8443;
/// A gateway's ports, and on which side each is.
const GATEWAY_PORTS: [&str; 2] = ["fab0=fabric", "tor0=site"];
/// How many controllers stand in for each other, and etcd members for each other.
const SEVERAL: usize = 3;
/// How long a daemon may take to do something.
const PATIENCE: Duration = Duration::from_secs(240);

/// The file that describes the fabric or, by its name, a tenant.
pub fn described(what: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("examples/cloud").join(format!("{what}.yaml"))
}

/// One of the controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controller(usize);

impl Controller {
    /// What its daemon is called.
    fn name(self) -> String {
        match self.0 {
            0 => "controller".to_owned(),
            number => format!("controller{}", number + 1),
        }
    }

    fn data(self) -> String {
        format!("/run/{}", self.name())
    }

    fn listens(self) -> String {
        format!("{}:{}", CONTROLLER[0], usize::from(PORT) + self.0)
    }

    fn url(self) -> String {
        format!("https://{}", self.listens())
    }
}

/// The cloud's daemons, and the way to the controllers.
#[derive(Debug)]
pub struct Operated {
    /// What runs.
    daemons: Vec<(String, Running, Log)>,
    controllers: Vec<Controller>,
    /// Where several controllers keep everything.
    etcd: Option<Etcd>,
    /// The cloud.
    pub cloud: Cloud,
}

impl Operated {
    /// Starts a controller, and waits until it leads.
    pub fn start(cloud: Cloud) -> Result<Self> {
        let controllers = vec![Controller(0)];
        let mut this = Self { daemons: Vec::new(), controllers, etcd: None, cloud };
        this.start_controller()?;
        this.contexts()?;
        Ok(this)
    }

    /// Starts three controllers and the three etcd members that they need, and waits until all answer.
    pub fn start_several(cloud: Cloud) -> Result<Self> {
        let controllers = (0..SEVERAL).map(Controller).collect();
        let etcd = Etcd::start(&cloud.controller, SEVERAL, &[]);
        let mut this = Self { daemons: Vec::new(), controllers, etcd: Some(etcd), cloud };
        this.start_controller()?;
        for other in this.controllers.clone().into_iter().skip(1) {
            // All are of one authority and open the same secrets.
            let files = "ca.crt ca.key secrets.key admin.crt admin.key";
            this.cloud.controller.sh(&format!("mkdir {0}; cd {DATA}; cp {files} {0}", other.data()))?;
            this.launch(other)?;
        }
        this.contexts()?;
        Ok(this)
    }

    /// Starts the first controller, on what it left in its directory.
    pub fn start_controller(&mut self) -> Result<()> {
        self.launch(Controller(0))
    }

    /// Starts a controller, on what it left in its directory, and waits until it answers.
    pub fn launch(&mut self, controller: Controller) -> Result<()> {
        let node = Arc::clone(&self.cloud.controller);
        let (data, listen) = (controller.data(), controller.listens());
        let members: Vec<String> = self.etcd.iter().flat_map(Etcd::all).map(|member| member.to_string()).collect();
        let store = format!("etcd://{}", members.join(","));
        let mut arguments = vec!["controller", "--data-dir", &data, "--listen", &listen, "--advertise", CONTROLLER[0]];
        if self.etcd.is_some() {
            arguments.extend(["--store", &store]);
        }
        self.daemon(&controller.name(), &node, &arguments)?;
        let answer = || self.ask(controller, &[], "/networking/v1/gateways").ok().filter(|(status, _)| *status == 200);
        until(PATIENCE, "a controller to answer", answer).map(drop).with_context(|| self.log())
    }

    /// Waits until one of the controllers leads.
    pub fn leader(&self) -> Result<Controller> {
        let leads = |controller: &Controller| {
            self.ask(*controller, &[], "/healthz").is_ok_and(|(_, body)| body["status"] == "leader")
        };
        let leader = until(PATIENCE, "a controller to lead", || self.controllers.iter().copied().find(leads));
        leader.with_context(|| self.log())
    }

    /// Ends a controller as a crash would.
    pub fn crash(&mut self, controller: Controller) {
        self.kill(&controller.name());
    }

    /// Sends a daemon a signal.
    pub fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        let daemon = self.daemons.iter().find(|(known, ..)| known == name);
        daemon.with_context(|| format!("there is no daemon {name}"))?.1.signal(signal)
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

    /// Asks whichever controller has an answer; the others point at the one that leads.
    fn curl(&self, arguments: &[&str], path: &str) -> Result<(u16, Value)> {
        let (path, mut last) = (format!("/networking/v1{path}"), None);
        for &controller in &self.controllers {
            match self.ask(controller, arguments, &path) {
                Ok((status, body)) if status != 503 => return Ok((status, body)),
                other => last = Some(other),
            }
        }
        last.context("there is no controller")?
    }

    fn ask(&self, controller: Controller, arguments: &[&str], path: &str) -> Result<(u16, Value)> {
        let mut command = Command::new("curl");
        for (option, file) in [("--cacert", "ca.crt"), ("--cert", "admin.crt"), ("--key", "admin.key")] {
            command.arg(option).arg(format!("{DATA}/{file}"));
        }
        command.args(["--location", "--silent", "--show-error", "--max-time", "30", "--write-out", "\n%{http_code}"]);
        command.args(arguments).arg(format!("{}{path}", controller.url()));
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
        self.cloud.controller.run(&mut self.ctl_command(words)?)
    }

    /// The same, to be run on the controller's machine.
    pub fn ctl_command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(program("gatewayctl")?);
        command.env("GATEWAYCTL_CONTEXTS", CONTEXTS).args(["--timeout", "120"]).args(words);
        Ok(command)
    }

    /// The option that names a controller, for each of them.
    fn named(&self) -> Vec<String> {
        self.controllers.iter().flat_map(|controller| ["--controller".to_owned(), controller.url()]).collect()
    }

    /// Prepares a context for `gatewayctl`: a name for the controllers, and as whom to ask them.
    fn context(&self, name: &str, certificate: &str, key: &str) -> Result<()> {
        let (named, authority) = (self.named(), format!("{DATA}/ca.crt"));
        let mut set = vec!["config", "set-context", name, "--ca", &authority, "--cert", certificate, "--key", key];
        set.extend(named.iter().map(String::as_str));
        self.ctl(&set).map(drop)
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
        self.join("gateway", &node, &GATEWAY_PA[index][..1], &GATEWAY_PORTS)
    }

    /// Starts a gateway's daemon, which has joined before. No controller is needed for that.
    pub fn resume_gateway(&mut self, name: &str) -> Result<()> {
        let index = self.cloud.gateways.iter().position(|gateway| gateway.name() == name);
        let index = index.with_context(|| format!("the cloud has no gateway {name}"))?;
        let node = Arc::clone(&self.cloud.gateways[index]);
        self.agent("gateway", &node, &GATEWAY_PA[index][..1], &GATEWAY_PORTS)
    }

    /// Ends a gateway's daemon as a crash would, if it runs, and starts it again.
    pub fn restart_gateway(&mut self, name: &str) -> Result<()> {
        let index = self.cloud.gateways.iter().position(|gateway| gateway.name() == name);
        self.kill(name);
        self.join_gateway(index.with_context(|| format!("the cloud has no gateway {name}"))?)
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
        self.agent(role, node, pa, ports)
    }

    fn agent(&mut self, role: &str, node: &Arc<Node>, pa: &[&str], ports: &[&str]) -> Result<()> {
        let name = node.name().to_owned();
        let named = self.named();
        let mut arguments = vec![role, "--name", &name, "--token-file", "/run/token", "--data-dir", "/run/agent"];
        arguments.extend(named.iter().map(String::as_str));
        arguments.extend(pa.iter().flat_map(|pa| ["--pa", pa]));
        arguments.extend(ports.iter().flat_map(|port| ["--port", port]));
        if let Some(index) = self.cloud.gateways.iter().position(|gateway| Arc::ptr_eq(gateway, node)) {
            arguments.extend(["--site-address", GATEWAY_TOR[index][0]]);
        }
        self.daemon(&name, node, &arguments)
    }

    /// Sets up the GRE site's end, to the address that the controller gave the connection.
    pub fn dig(&self, members: &Members) -> Result<SiteTunnel> {
        let connection = self.get(&format!("/virtualGateways/{}/networkConnections/hq", members.tenant.name))?;
        let vip =
            connection["properties"]["sourceIPAddress"].as_str().context("the connection has no sourceIPAddress")?;
        members.dig(address(vip))
    }

    /// The gateway that carries all connections of a tenant.
    pub fn carrier(&self, tenant: &str) -> Result<String> {
        let resource = self.get(&format!("/virtualGateways/{tenant}"))?;
        let connections = resource["properties"]["networkConnections"].as_array().context("no connections")?;
        let mut on = connections.iter().map(|it| it["properties"]["gateway"]["resourceRef"].as_str());
        let first = on.next().flatten().context("no connections")?;
        ensure!(on.all(|other| other == Some(first)), "{tenant} is on several gateways: {resource}");
        Ok(first.trim_start_matches("/gateways/").to_owned())
    }

    /// A gateway's connections, as it shows them itself.
    pub fn connections(&self, gateway: &str) -> Result<Vec<ConnectionReport>> {
        let show = ["show", "connections", "-o", "json"];
        let printed = self.cloud.gateway(gateway).run(Command::new(program("gatewayctl")?).args(show))?;
        Ok(serde_json::from_str(&printed)?)
    }

    /// Waits until a resource is configured.
    pub fn configured(&self, path: &str) -> Result<Value> {
        let configured = until(PATIENCE, "a resource to be configured", || self.is_configured(path));
        configured.with_context(|| format!("{path} is not configured: {:?}\n{}", self.get(path), self.log()))
    }

    /// A resource, if it is configured, by the controller that hears of that.
    pub fn is_configured(&self, path: &str) -> Option<Value> {
        let path = format!("/networking/v1{path}");
        let answers = self.controllers.iter().filter_map(|controller| self.ask(*controller, &[], &path).ok());
        let resources = answers.filter(|(status, _)| *status == 200).map(|(_, resource)| resource);
        resources.into_iter().find(|resource| resource["properties"]["configurationState"]["status"] == "Success")
    }
}
