//! Real controllers on the loopback of a machine of the lab.

use super::clients::Client;
use crate::gateway::{Log, program};
use crate::node::{Node, Processes, Running};
use crate::wait::SOON;
use gateway_user::agent::address::ControllerAddress;
use gateway_user::agent::tls::{self, Shown};
use hyper::Method;
use nix::sys::signal::Signal;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything of a controller may take, however slow the machine is.
pub const PATIENCE: Duration = SOON.saturating_mul(2);
/// The controllers' ports count up from here.
const PORT: u16 = 8443;

/// Runs something on a machine without a network but its loopback.
pub fn on_a_machine<F: Future<Output = ()>>(run: impl FnOnce(Arc<Node>) -> F + Send) {
    let node = Node::new("controller", &Processes::new().unwrap()).unwrap();
    node.within_network(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(Arc::clone(&node)));
        runtime.shutdown_background();
    });
}

/// Some controllers of one configuration.
pub struct Controllers {
    node: Arc<Node>,
    directory: TempDir,
    all: Vec<Controller>,
}

struct Controller {
    store: Option<String>,
    process: Option<Running>,
    log: Log,
}

/// What a controller says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It leads.
    Leader(u64),
    /// Another one does, here.
    Follower(Option<String>),
    /// It knows nothing, or does not answer.
    Unknown,
}

impl Controllers {
    /// Starts one controller for each of these stores (`etcd://…`), or one with a file. All have the first one's keys.
    pub async fn start(node: &Arc<Node>, stores: &[Option<String>]) -> Self {
        let all = stores.iter().map(|store| Controller { store: store.clone(), process: None, log: Log::default() });
        let directory = tempfile::tempdir().unwrap();
        let mut this = Self { node: Arc::clone(node), directory, all: all.collect() };
        this.launch(0);
        this.answers(0).await;
        for number in 1..stores.len() {
            fs::create_dir(this.data(number)).unwrap();
            for file in ["ca.crt", "ca.key", "secrets.key", "admin.crt", "admin.key"] {
                fs::copy(this.data(0).join(file), this.data(number).join(file)).unwrap();
            }
            this.launch(number);
        }
        for number in 1..stores.len() {
            this.answers(number).await;
        }
        this
    }

    /// A controller's own directory.
    pub fn data(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("c{number}"))
    }

    /// Starts one on what it has in its directory.
    pub fn launch(&mut self, number: usize) {
        let data = self.data(number).display().to_string();
        let listen = format!("127.0.0.1:{}", PORT + u16::try_from(number).unwrap());
        let mut arguments = vec!["controller", "--data-dir", &data, "--listen", &listen, "--advertise", "127.0.0.1"];
        let controller = &mut self.all[number];
        arguments.extend(controller.store.iter().flat_map(|store| ["--store", store.as_str()]));
        let mut command = Command::new(program("gatewayd").unwrap());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.process_group(0).env("NO_COLOR", "1");
        let mut process = self.node.spawn(&mut command).unwrap();
        controller.log.follow(process.child().stderr.take().unwrap());
        controller.process = Some(process);
    }

    /// Kills one as a crash does.
    pub fn kill(&mut self, number: usize) {
        drop(self.all[number].process.take());
    }

    /// Stops one as an operator does, and waits until it has ended.
    pub async fn stop(&mut self, number: usize) {
        let mut process = self.all[number].process.take().unwrap();
        process.signal(Signal::SIGTERM).unwrap();
        self.until("a controller to end", async || process.child().try_wait().unwrap()).await;
    }

    /// Sends one a signal.
    pub fn signal(&self, number: usize, signal: Signal) {
        self.all[number].process.as_ref().unwrap().signal(signal).unwrap();
    }

    /// Where one answers.
    pub fn address(&self, number: usize) -> ControllerAddress {
        let port = PORT + u16::try_from(number).unwrap();
        format!("https://127.0.0.1:{port}").parse().unwrap()
    }

    /// Where all answer.
    pub fn addresses(&self) -> Vec<ControllerAddress> {
        (0..self.all.len()).map(|number| self.address(number)).collect()
    }

    /// What an administrator shows.
    pub fn config(&self) -> Arc<ClientConfig> {
        let file = |name: &str| self.data(0).join(name);
        let certificate = |name: &str| CertificateDer::from_pem_file(file(name)).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("admin.key")).unwrap();
        tls::config(&certificate("ca.crt"), Shown::Certificate(certificate("admin.crt"), key)).unwrap()
    }

    /// A client that knows all of them.
    pub fn client(&self) -> Client {
        Client::new(self.addresses(), self.config())
    }

    /// A client that knows one of them.
    pub fn client_of(&self, number: usize) -> Client {
        Client::new(vec![self.address(number)], self.config())
    }

    /// A program of ours, run to its end on the controllers' machine; what it printed.
    pub fn run(&self, name: &str, arguments: &[&str]) -> anyhow::Result<String> {
        self.node.run(Command::new(program(name)?).args(arguments))
    }

    /// Another's program.
    pub fn run_other(&self, name: &str, arguments: &[&str]) -> anyhow::Result<String> {
        self.node.run(Command::new(name).args(arguments))
    }

    /// Files by which curl and gatewayctl are an administrator.
    pub fn files(&self) -> [String; 3] {
        ["ca.crt", "admin.crt", "admin.key"].map(|name| self.data(0).join(name).display().to_string())
    }

    /// What one says of itself.
    pub async fn standing(&self, number: usize) -> Standing {
        let Some(answer) = self.client_of(number).once(&Method::GET, "/healthz", &[], &Value::Null).await else {
            return Standing::Unknown;
        };
        let text = |name: &str| answer.body[name].as_str().map(str::to_owned);
        match (text("status").as_deref(), answer.body["epoch"].as_u64()) {
            (Some("leader"), Some(epoch)) => Standing::Leader(epoch),
            (Some("follower"), _) => Standing::Follower(text("leader")),
            _ => Standing::Unknown,
        }
    }

    /// Waits until one of these leads; its number and epoch.
    pub async fn leader(&self, among: &[usize]) -> (usize, u64) {
        self.until("a controller to lead", async || {
            for &number in among {
                if let Standing::Leader(epoch) = self.standing(number).await {
                    return Some((number, epoch));
                }
            }
            None
        })
        .await
    }

    /// Waits until one answers readers.
    pub async fn answers(&self, number: usize) {
        let client = self.client_when_there(number).await;
        let mut client = client;
        self.until("a controller to answer", async || {
            client
                .once(&Method::GET, "/networking/v1/gateways", &[], &Value::Null)
                .await
                .filter(|answer| answer.status == 200)
        })
        .await;
    }

    async fn client_when_there(&self, number: usize) -> Client {
        // At its first start it makes its files first.
        let made = |path: &Path| path.exists();
        self.until("a controller's files", async || made(&self.data(0).join("admin.crt")).then_some(())).await;
        self.client_of(number)
    }

    /// Asks until there is an answer. What the controllers said is told if there is none.
    pub async fn until<T>(&self, awaited: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain for {awaited}\n{}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What they said.
    pub fn said(&self) -> String {
        let each = self.all.iter().enumerate();
        each.map(|(number, controller)| format!("--- c{number} said:\n{}", controller.log.text())).collect()
    }
}
