//! A controller as a process, asked by `gatewayctl`, and agents of this process at it.

use gateway_user::agent::link::Timers;
use gateway_user::agent::protocol::{BootId, Hello, PROTOCOL, Position};
use gateway_user::agent::token::Token;
use gateway_user::agent::{Kind, Link, News, Offer, Options, link};
use gateway_user::controller::model::Id;
use gateway_user::controller::model::records::{AgentId, Role};
use gateway_user::plan::PortRole;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A controller, which ends with this.
pub struct Controller {
    pub data: PathBuf,
    pub address: String,
    process: Child,
    log: Arc<Mutex<String>>,
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address of the loopback that no other test uses: what listens there may be started again at its port.
pub fn here() -> String {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    format!("127.{}.{middle}.{}", 64 + high % 128, low.max(1))
}

fn gatewayd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatewayd"));
    command.arg("controller").args(arguments).stdin(Stdio::null()).env("NO_COLOR", "1");
    command
}

/// Makes something that needs no running controller.
pub fn make(arguments: &[&str]) -> String {
    let output = gatewayd(arguments).output().expect("the program starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs a controller that is to refuse to start, and gives back what it says.
pub fn refused(arguments: &[&str]) -> String {
    let mut process = gatewayd(arguments).stderr(Stdio::piped()).spawn().expect("the program starts");
    let begin = Instant::now();
    while process.try_wait().expect("a process").is_none() {
        if begin.elapsed() > PATIENCE {
            let _ = process.kill();
            panic!("it goes on");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = process.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Controller {
    /// Starts one over a directory, at a port of its own.
    pub fn start(data: &Path) -> Self {
        Self::at(data, &format!("{}:0", here()), &[])
    }

    /// The same at an address, with more options; waits until it leads.
    pub fn at(data: &Path, listen: &str, options: &[&str]) -> Self {
        let data = data.to_owned();
        let arguments = ["--data-dir", data.to_str().expect("UTF-8"), "--listen", listen, "--advertise", &here()];
        let mut command = gatewayd(&[&arguments[..], options].concat());
        let mut process = command.stderr(Stdio::piped()).spawn().expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let errors = BufReader::new(process.stderr.take().expect("its log"));
        let (sender, address) = std::sync::mpsc::channel();
        let written = log.clone();
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("listening=[") {
                    let _ = sender.send(rest.split(']').next().unwrap_or_default().to_owned());
                }
                written.lock().expect("a lock").push_str(&(line + "\n"));
            }
        });
        let Ok(listening) = address.recv_timeout(PATIENCE) else {
            panic!("it does not start: {}", log.lock().expect("a lock"));
        };
        let this = Self { data, address: format!("https://{listening}"), process, log };
        this.until("a leader", || this.log().contains("this controller leads").then_some(()));
        this
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("a lock").clone()
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Kills it, as a crash does.
    pub fn kill(self) -> PathBuf {
        self.data.clone()
    }

    /// Where it listens, without the scheme.
    pub fn listen(&self) -> &str {
        &self.address["https://".len()..]
    }

    pub fn until<T>(&self, awaited: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begin.elapsed() < PATIENCE, "waited in vain for {awaited}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `gatewayctl` as the first administrator.
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        let (certificate, key) = (self.data.join("admin.crt"), self.data.join("admin.key"));
        let (certificate, key) = (certificate.to_str().expect("UTF-8"), key.to_str().expect("UTF-8"));
        self.ctl_as(&["--cert", certificate, "--key", key, "--timeout", "60"], arguments)
    }

    /// `gatewayctl` as somebody.
    pub fn ctl_as(&self, who: &[&str], arguments: &[&str]) -> Output {
        let ca = self.data.join("ca.crt");
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatewayctl"));
        command.args(["--controller", &self.address, "--ca", ca.to_str().expect("UTF-8")]);
        command.args(who).args(arguments).stdin(Stdio::null()).env("GATEWAYCTL_CONTEXTS", self.data.join("none.json"));
        command.output().expect("the program starts")
    }

    /// What a command prints that has to succeed.
    pub fn ask(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        assert!(output.status.success(), "{arguments:?}: {}\n{}", said(&output), self.log());
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// A resource.
    pub fn get(&self, what: &str) -> Value {
        serde_json::from_str(&self.ask(&["get", what, "-o", "json"])).expect("JSON")
    }

    /// Describes a cloud with one gateway, and a tenant with a GRE connection; then a secret.
    pub fn describe(&self) {
        let documents = [
            json!({ "resourceRef": "/logicalNetworks/vips", "properties": { "subnets": [{ "resourceId": "gre", "properties": {
                "addressPrefix": "198.51.100.0/24", "ipPools": [{ "resourceId": "pool", "properties": {
                    "startIpAddress": "198.51.100.16", "endIpAddress": "198.51.100.31" } }] } }] } }),
            json!({ "resourceRef": "/gatewayPools/default", "properties": { "type": "All", "redundantGatewayCount": 0,
                "gatewayCapacityKiloBitsPerSecond": 10_000_000,
                "ipConfiguration": { "greVipSubnets": [{ "resourceRef": "/logicalNetworks/vips/subnets/gre" }] } } }),
            json!({ "resourceRef": "/virtualServers/GW1", "properties": {} }),
            json!({ "resourceRef": "/gateways/GW1", "properties": { "pool": { "resourceRef": "/gatewayPools/default" },
                "virtualServer": { "resourceRef": "/virtualServers/GW1" } } }),
            json!({ "resourceRef": "/credentials/dial-in", "properties": {
                "type": "usernamePassword", "userName": "a", "value": SECRET } }),
            json!({ "resourceRef": "/virtualNetworks/contoso", "properties": {
                "addressSpace": { "addressPrefixes": ["10.1.0.0/16"] },
                "subnets": [{ "resourceId": "gateway", "properties": { "addressPrefix": "10.1.255.0/28" } }] } }),
            json!({ "resourceRef": "/virtualGateways/contoso", "properties": {
                "gatewaySubnets": [{ "resourceRef": "/virtualNetworks/contoso/subnets/gateway" }], "routingType": "Dynamic",
                "networkConnections": [{ "resourceId": "hq", "properties": { "connectionType": "GRE",
                    "inboundKiloBitsPerSecond": 100_000, "outboundKiloBitsPerSecond": 100_000,
                    "greConfiguration": { "greKey": "100" }, "destinationIPAddress": "203.0.113.1",
                    "routes": [{ "destinationPrefix": "10.2.0.0/16", "metric": 10 }] } }] } }),
        ];
        let file = self.data.join("cloud.json");
        std::fs::write(&file, json!({ "value": documents }).to_string()).expect("written");
        self.ask(&["apply", "-f", file.to_str().expect("UTF-8")]);
    }

    /// Lets an agent of this process in as a gateway.
    pub fn token(&self, gateway: &str) -> Token {
        let made = ["token", "create", "--role", "gateway", "--id", gateway, "--data-dir"];
        let text = make(&[&made[..], &[self.data.to_str().expect("UTF-8")]].concat());
        text.trim().parse().expect("a token")
    }
}

/// Something that nobody may see.
pub const SECRET: &str = "correct-horse-battery";

/// What a program said on standard error.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A gateway's plan as an agent gets it, whatever is in it.
pub struct Any;

impl Kind for Any {
    type Base = Value;
    type Part = Value;
    type Plan = Vec<Value>;

    fn assemble<'a>(_: &Value, parts: impl Iterator<Item = &'a Value>) -> Result<Vec<Value>, String> {
        Ok(parts.cloned().collect())
    }
}

/// An agent, which keeps what it has in a directory. To be called within a tokio runtime.
pub fn agent(at: &str, gateway: &str, token: Option<Token>, directory: &Path) -> Link<Vec<Value>> {
    let often = Duration::from_millis(100);
    link::start::<Any>(Options {
        agent: AgentId { role: Role::Gateway, id: Id::from(gateway) },
        controllers: vec![at.parse().expect("an address")],
        token,
        directory: directory.to_owned(),
        hello: Hello {
            protocol: PROTOCOL,
            version: "1".to_owned(),
            boot: BootId("boot".to_owned()),
            pa: serde_json::from_value(json!(["10.10.0.1"])).expect("an address"),
            ports: [("fab0", PortRole::Fabric), ("tor0", PortRole::Site)]
                .map(|(name, role)| (name.parse().expect("a name"), role))
                .into(),
            life: None,
            resume: None,
        },
        timers: Timers { heartbeat: often, report: often, retry: often, retry_bound: often * 5, ..Timers::default() },
    })
    .expect("started")
}

/// The next plan, taken over.
pub async fn plan(link: &mut Link<Vec<Value>>) -> (Vec<Value>, Position) {
    loop {
        match tokio::time::timeout(PATIENCE, link.news.recv()).await.expect("soon").expect("the link lives") {
            News::Plan(Offer { plan, position, reply }) => {
                let _ = reply.send(Ok(()));
                return (plan, position);
            }
            News::Routes(_) => {}
            News::Failed(error) => panic!("{error:#}"),
        }
    }
}
