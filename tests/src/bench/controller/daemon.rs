//! The program: `gatewayd controller` on a store that is full.

use super::super::memory::kibibytes;
use super::super::report::Samples;
use super::agents::{Agents, Following};
use super::edge::Filled;
use super::estate::{Estate, tenant_name};
use crate::gateway::program;
use anyhow::{Context, Result, bail, ensure};
use gateway_user::agent::address::ControllerAddress;
use gateway_user::agent::http::{self, Connection};
use gateway_user::agent::tls::{self, Shown};
use gateway_user::agent::token::{Client, ClientRole};
use gateway_user::controller::server::authority::Authority;
use gateway_user::controller::store::{FileStore, Op, Store, Txn};
use hyper::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Changes that are timed.
pub const CHANGES: usize = 200;
/// Versions of a tenant's gateway that the store has not seen begin here.
const VERSIONS: usize = 2000;
/// Starts that are timed.
const STARTS: usize = 3;
/// How long it may take to start, or an agent to be told.
const PATIENCE: Duration = Duration::from_secs(300);

/// What was measured.
pub struct Measured {
    /// From a PUT to the last of the agents that it concerns, in milliseconds.
    pub delivered: Samples,
    /// From a PUT to its answer, in milliseconds.
    pub put: Samples,
    /// The same bytes made durable in a store like it, in turn with the PUTs, in milliseconds.
    pub commit: Samples,
    /// The most memory that it took since its start, in MiB.
    pub peak: Samples,
    /// What it takes in the end, in MiB.
    pub resident: Samples,
    /// From its start to the answer to a PUT, in seconds.
    pub restart: Samples,
    /// From then on until all agents have their whole plans, in seconds.
    pub all_told: Samples,
    /// How many agents there are.
    pub agents: usize,
}

/// Measures it on a store that is full.
pub fn measure(estate: &Estate, filled: Filled, agents: &Agents) -> Result<Measured> {
    // The operator has a thread of its own: a client does not wait for what agents do, who are other machines.
    let others = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let operator = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    operator.block_on(run(estate, &filled, agents, others.handle()))
}

async fn run(estate: &Estate, filled: &Filled, agents: &Agents, others: &Handle) -> Result<Measured> {
    let data = filled.directory.path();
    let twin = tempfile::Builder::new().prefix("bench-controller-twin-").tempdir()?;
    fs::copy(data.join("store.redb"), twin.path().join("store.redb"))?;
    let operator = operator(&agents.authority)?;

    let mut restart = Vec::new();
    for start in 1..STARTS {
        let daemon = Daemon::start(data, agents)?;
        restart.push(daemon.serving(estate, &operator, VERSIONS - start).await?);
        daemon.stop()?;
    }
    let daemon = Daemon::start(data, agents)?;
    restart.push(daemon.serving(estate, &operator, VERSIONS - STARTS).await?);
    let start = Instant::now();
    let mut following = tokio::time::timeout(PATIENCE, Following::start(agents.all.clone(), &daemon.address, others))
        .await
        .context("not all agents were told their plans")??;
    let all_told = start.elapsed().as_secs_f64();

    let store = Store::from(FileStore::open(twin.path())?);
    let mut client = Connection::open(&daemon.address, operator).await?;
    let (mut put, mut commit, mut delivered) = (Vec::new(), Vec::new(), Vec::new());
    for (version, tenant) in estate.some(CHANGES).enumerate() {
        let (path, properties) = estate.gateway_of(tenant, VERSIONS + version);
        let body = json!({ "properties": properties }).to_string();
        let (carrier, text) = &filled.carriers[&tenant];
        let mut waited_for = vec![carrier.clone(), Estate::host_of(tenant)];
        let start = Instant::now();
        ask(&mut client, Method::PUT, &path, body).await?;
        put.push(milliseconds(start, Instant::now()));
        while !waited_for.is_empty() {
            let told = tokio::time::timeout(PATIENCE, following.next()).await.context("an agent was not told")??;
            if told.tenants.contains(&tenant_name(tenant)) {
                waited_for.retain(|agent| *agent != told.agent);
                if waited_for.is_empty() {
                    delivered.push(milliseconds(start, told.at));
                }
            }
        }
        let key = format!("resources/{}", path.to_ascii_lowercase());
        let start = Instant::now();
        store.commit(Txn::of([Op::put(key, Arc::<[u8]>::from(text.clone()))])).await?;
        commit.push(milliseconds(start, Instant::now()));
    }
    let (peak, resident) = (daemon.memory("VmHWM:")?, daemon.memory("VmRSS:")?);
    drop(following);
    daemon.stop()?;
    Ok(Measured {
        delivered: Samples::new(delivered),
        put: Samples::new(put),
        commit: Samples::new(commit),
        peak: Samples::new(vec![peak]),
        resident: Samples::new(vec![resident]),
        restart: Samples::new(restart),
        all_told: Samples::new(vec![all_told]),
        agents: agents.all.len(),
    })
}

fn milliseconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e3
}

/// How the operator speaks to the controller.
fn operator(authority: &Authority) -> Result<Arc<ClientConfig>> {
    let client = Client { name: "bench".to_owned(), role: ClientRole::Admin };
    let made = authority.client(&client, time::Duration::days(1))?;
    let certificate = CertificateDer::from_pem_slice(made.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes())?;
    Ok(tls::config(authority.certificate(), Shown::Certificate(certificate, key))?)
}

async fn ask(client: &mut Connection, method: Method, path: &str, body: String) -> Result<()> {
    let answer = client.ask(method, &format!("/networking/v1/{path}"), &[], body.into()).await?;
    http::whole(answer).await?;
    Ok(())
}

/// The program, running.
struct Daemon {
    process: Child,
    started: Instant,
    address: ControllerAddress,
}

impl Daemon {
    fn start(data: &Path, agents: &Agents) -> Result<Self> {
        // The port is free, and nobody else looks for one in the meantime who would find it.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = File::options().create(true).append(true).open(data.join("log"))?;
        let mut command = Command::new(program("gatewayd")?);
        command.arg("controller").arg("--data-dir").arg(data);
        for (option, file) in agents.files() {
            command.arg(option).arg(file);
        }
        command.args(["--advertise", "localhost", "--listen", &format!("127.0.0.1:{port}")]).stderr(log);
        let started = Instant::now();
        let process = command.spawn().context("gatewayd does not start")?;
        Ok(Self { process, started, address: format!("https://localhost:{port}").parse()? })
    }

    /// How long it took until a change was acknowledged.
    async fn serving(&self, estate: &Estate, operator: &Arc<ClientConfig>, version: usize) -> Result<f64> {
        let (path, properties) = estate.gateway_of(0, version);
        let body = json!({ "properties": properties }).to_string();
        loop {
            let asked = async {
                let mut client = Connection::open(&self.address, operator.clone()).await?;
                ask(&mut client, Method::PUT, &path, body.clone()).await
            };
            match asked.await {
                Ok(()) => return Ok(self.started.elapsed().as_secs_f64()),
                Err(error) => ensure!(self.started.elapsed() < PATIENCE, "it does not serve: {error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// In MiB.
    fn memory(&self, field: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        Ok(kibibytes(&status, field)? as f64 / 1024.0)
    }

    fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.process.id().try_into()?), Signal::SIGTERM)?;
        let status = self.process.wait()?;
        if !status.success() {
            bail!("gatewayd ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Nothing is left to do about one that has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
