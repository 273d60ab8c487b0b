//! The controller as a process over stores that only a lab has: etcd behind certificates, a disk that is full.

use anyhow::{Context, Result, ensure};
use gateway_user::agent::credentials::pem;
use gateway_user::agent::token::{Client, ClientRole};
use gateway_user::controller::server::authority::Authority;
use lab::gateway::program;
use lab::node::{Node, Processes, Running};
use lab::wait::until;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long anything may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);
const ADDRESS: &str = "https://127.0.0.1:8443";
const ETCD: &str = "etcd://127.0.0.1:2379";

/// A controller on a machine, alone at its port.
struct Controller {
    node: Arc<Node>,
    data: String,
    log: Arc<Mutex<String>>,
    _process: Running,
}

fn controller(data: &str, options: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("gatewayd")?);
    command.args(["controller", "--data-dir", data, "--listen", "127.0.0.1:8443", "--advertise", "127.0.0.1"]);
    command.args(options).stdin(Stdio::null()).stderr(Stdio::piped()).env("NO_COLOR", "1");
    Ok(command)
}

impl Controller {
    /// Starts one, and waits until it leads.
    fn start(node: &Arc<Node>, data: &str, options: &[&str]) -> Result<Self> {
        let mut process = node.spawn(&mut controller(data, options)?)?;
        let log = Arc::new(Mutex::new(String::new()));
        let (errors, written) = (process.child().stderr.take().context("no log")?, log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(std::result::Result::ok) {
                written.lock().expect("a lock").push_str(&(line + "\n"));
            }
        });
        let this = Self { node: node.clone(), data: data.to_owned(), log, _process: process };
        until(PATIENCE, "a leader", || this.log().contains("this controller leads").then_some(()))
            .with_context(|| this.log())?;
        Ok(this)
    }

    fn log(&self) -> String {
        self.log.lock().expect("a lock").clone()
    }

    fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program("gatewayctl")?);
        command.args(["--controller", ADDRESS, "--timeout", "60"]).args(arguments);
        for (option, file) in [("--ca", "ca.crt"), ("--cert", "admin.crt"), ("--key", "admin.key")] {
            command.arg(option).arg(format!("{}/{file}", self.data));
        }
        self.node.run(command.stdin(Stdio::null())).with_context(|| self.log())
    }

    /// Asks by curl: the status and the body.
    fn curl(&self, arguments: &[&str], path: &str) -> Result<(u16, Value)> {
        let mut command = Command::new("curl");
        for (option, file) in [("--cacert", "ca.crt"), ("--cert", "admin.crt"), ("--key", "admin.key")] {
            command.arg(option).arg(format!("{}/{file}", self.data));
        }
        command.args(["--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}"]).args(arguments);
        let printed = self.node.run(command.arg(format!("{ADDRESS}{path}"))).with_context(|| self.log())?;
        let (body, status) = printed.rsplit_once('\n').context("curl printed no status")?;
        Ok((status.trim().parse()?, serde_json::from_str(body).unwrap_or(Value::Null)))
    }
}

/// An authority, and what etcd and its client show of it, in a directory of a machine.
fn certify(node: &Node, directory: &str) -> Result<()> {
    let made = tempfile::tempdir()?;
    let authority = Authority::open(made.path())?;
    let server = authority.server(&["127.0.0.1".to_owned()])?;
    let key = pem(server.key.secret_der()).replace("CERTIFICATE", "PRIVATE KEY");
    let client = Client { name: "controller".to_owned(), role: ClientRole::ReadOnly };
    let client = authority.client(&client, time::Duration::days(1))?;
    node.sh(&format!("mkdir -p {directory}"))?;
    for (name, text) in [
        ("ca.crt", fs::read_to_string(made.path().join("ca.crt"))?),
        ("server.crt", pem(&server.chain[0])),
        ("server.key", key),
        ("client.crt", client.certificate),
        ("client.key", client.key),
    ] {
        node.write(format!("{directory}/{name}"), &text)?;
    }
    Ok(())
}

fn etcd(node: &Node, tls: &str) -> Result<Running> {
    let mut command = Command::new("etcd");
    command.args(["--data-dir", "/run/etcd", "--listen-client-urls", "https://127.0.0.1:2379", "--client-cert-auth"]);
    command.args(["--advertise-client-urls", "https://127.0.0.1:2379"]);
    for (option, file) in [("cert-file", "server.crt"), ("key-file", "server.key"), ("trusted-ca-file", "ca.crt")] {
        command.arg(format!("--{option}={tls}/{file}"));
    }
    node.spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}

#[test]
fn controllers_share_an_etcd_that_knows_them_by_certificates_and_by_their_key() -> Result<()> {
    let node = Node::new("etcd", &Processes::new()?)?;
    certify(&node, "/run/tls")?;
    let _etcd = etcd(&node, "/run/tls")?;
    let tls =
        ["--store-ca", "/run/tls/ca.crt", "--store-cert", "/run/tls/client.crt", "--store-key", "/run/tls/client.key"];
    let options = [&["--store", ETCD], &tls[..]].concat();

    // What a file holds moves into etcd by a backup.
    let first = Controller::start(&node, "/run/file", &[])?;
    let put = ["-X", "PUT", "-d", r#"{"properties":{"type":"usernamePassword","userName":"a","value":"b"}}"#];
    ensure!(first.curl(&put, "/networking/v1/credentials/dial-in")?.0 == 201, "{}", first.log());
    first.ctl(&["backup", "/run/backup"])?;
    drop(first);
    node.sh("mkdir -m 700 /run/first; cd /run/file; cp -p ca.crt ca.key admin.crt admin.key secrets.key /run/first/")?;
    let second = Controller::start(&node, "/run/first", &options)?;
    second.ctl(&["restore", "/run/backup"])?;
    ensure!(second.ctl(&["get", "credentials/dial-in", "-o", "name"])?.contains("dial-in"));
    drop(second);

    // A controller with a key of its own is told what to do, and leaves the store alone.
    node.sh("mkdir -m 700 /run/second; cd /run/file; cp -p ca.crt ca.key admin.crt admin.key /run/second/")?;
    let mut stranger = node.spawn(&mut controller("/run/second", &options)?)?;
    let mut said = String::new();
    let errors = stranger.child().stderr.take().context("no log")?;
    std::io::Read::read_to_string(&mut BufReader::new(errors), &mut said)?;
    ensure!(!stranger.child().wait()?.success() && said.contains("copy secrets.key"), "{said}");
    // With the key it takes over where the first one stopped.
    node.sh("cp -p /run/file/secrets.key /run/second/")?;
    let third = Controller::start(&node, "/run/second", &options)?;
    ensure!(third.ctl(&["get", "credentials/dial-in", "-o", "name"])?.contains("dial-in"));
    Ok(())
}

#[test]
fn a_full_disk_refuses_writers_answers_readers_and_passes() -> Result<()> {
    let node = Node::new("disk", &Processes::new()?)?;
    node.sh("mkdir /run/small; mount -t tmpfs -o size=16m tmpfs /run/small")?;
    let controller = Controller::start(&node, "/run/small/data", &[])?;
    // A network of so many subnets is some ten kilobytes.
    let subnet = |number: usize| json!({ "resourceId": format!("subnet{number}"), "properties": { "addressPrefix": format!("10.1.{number}.0/24") } });
    let subnets: Vec<Value> = (0..100).map(subnet).collect();
    let body = json!({ "properties": { "addressSpace": { "addressPrefixes": ["10.1.0.0/16"] }, "subnets": subnets } });
    node.write("/run/body", &body.to_string())?;
    let path = |number: usize| format!("/networking/v1/virtualNetworks/network{number}");
    // What is answered 503 is to be asked again.
    let put = |number: usize| {
        until(PATIENCE, "an answer", || {
            let answered = controller.curl(&["-X", "PUT", "-d", "@/run/body"], &path(number)).ok()?;
            (answered.0 != 503).then_some(answered)
        })
        .with_context(|| controller.log())
    };
    ensure!(put(0)?.0 == 201, "{}", controller.log());
    node.sh("cat /dev/zero > /run/small/filler 2> /dev/null || true")?;
    let mut number = 1;
    let told = loop {
        let (status, answer) = put(number)?;
        if !matches!(status, 200 | 201) {
            break (status, answer);
        }
        number += 1;
        ensure!(number < 2000, "the disk does not fill");
    };
    ensure!(told.0 == 507 && told.1.to_string().contains("make room"), "{told:?}");
    // Nothing of it is there, all before it is, readers are answered; the next writer is told the same.
    let readable = |number: usize, expected: u16| {
        until(PATIENCE, "an answer", || {
            let (status, _) = controller.curl(&[], &path(number)).ok()?;
            (status != 503).then_some(status)
        })
        .and_then(|status| {
            ensure!(status == expected, "network {number}: {status}\n{}", controller.log());
            Ok(())
        })
    };
    readable(0, 200)?;
    readable(number - 1, 200)?;
    readable(number, 404)?;
    // It may find room for a little more where pages were freed.
    let mut again = put(number)?;
    while matches!(again.0, 200 | 201) && number < 2000 {
        number += 1;
        again = put(number)?;
    }
    ensure!(again.0 == 507 && again.1.to_string().contains("make room"), "{again:?}\n{}", controller.log());
    node.sh("rm /run/small/filler")?;
    until(PATIENCE, "the controller to go on", || put(number).ok().filter(|(status, _)| matches!(status, 200 | 201)))
        .with_context(|| controller.log())?;
    drop(controller);
    let controller = Controller::start(&node, "/run/small/data", &[])?;
    for known in [0, number - 1, number] {
        ensure!(controller.curl(&[], &path(known))?.0 == 200, "network {known}\n{}", controller.log());
    }
    Ok(())
}
