//! Agents that are no more than their streams: each follows its plan and shows that it lives, as the agents of gateways and hosts do.

use super::estate::Estate;
use anyhow::{Context, Result, bail};
use gateway_user::agent::address::ControllerAddress;
use gateway_user::agent::credentials::{Credentials, Key};
use gateway_user::agent::events::Decoder;
use gateway_user::agent::http::{self, Connection};
use gateway_user::agent::protocol::{Endpoint, Heartbeat, Hello, Parts, PlanEvent, path};
use gateway_user::controller::core::message::KeyId;
use gateway_user::controller::model::records::AgentId;
use gateway_user::controller::server::authority::Authority;
use http_body_util::BodyExt;
use hyper::Method;
use rustls::ClientConfig;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

/// From one sign of life to the next, as agents do it.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How many shake hands at once: they have one machine together with the controller.
const AT_ONCE: usize = 16;

/// That an agent was told something.
#[derive(Debug)]
pub struct Told {
    pub agent: AgentId,
    pub at: Instant,
    /// Whether it was the whole plan.
    pub whole: bool,
    pub tenants: Vec<String>,
}

/// An agent with its certificate.
pub struct Agent {
    pub id: AgentId,
    pub hello: Hello,
    pub key: KeyId,
    config: Arc<ClientConfig>,
}

/// All of them, and the authority that their certificates come from.
pub struct Agents {
    pub authority: Authority,
    pub all: Arc<Vec<Agent>>,
    directory: tempfile::TempDir,
}

impl Agents {
    /// With certificates that they did not have to ask for.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("bench-controller-agents-").tempdir()?;
        let authority = Authority::open(directory.path())?;
        let all = Arc::new(make(&authority, directory.path())?);
        Ok(Self { authority, all, directory })
    }

    /// What makes a controller believe them.
    pub fn files(&self) -> [(&'static str, PathBuf); 2] {
        [("--ca-cert", "ca.crt"), ("--ca-key", "ca.key")]
            .map(|(option, file)| (option, self.directory.path().join(file)))
    }
}

fn make(authority: &Authority, directory: &Path) -> Result<Vec<Agent>> {
    let make = |(id, hello): (AgentId, Hello)| {
        let own = directory.join(id.to_string());
        let request = Key::open(&own)?.request()?;
        let key = Authority::requested_key(&request)?;
        let certificate = authority.agent(&id, &request)?;
        let config = Credentials::save(&own, &certificate, authority.certificate())?.config()?;
        Ok(Agent { id, hello, key, config })
    };
    Estate::agents().map(make).collect()
}

/// Agents that follow their plans. Dropping it ends them.
pub struct Following {
    pub told: mpsc::UnboundedReceiver<Told>,
    tasks: JoinSet<Result<()>>,
}

impl Following {
    /// Starts them all, and waits until each has its whole plan.
    pub async fn start(agents: Arc<Vec<Agent>>, address: &ControllerAddress, runtime: &Handle) -> Result<Self> {
        let (sender, told) = mpsc::unbounded_channel();
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        for number in 0..agents.len() {
            let (agents, address, sender) = (agents.clone(), address.clone(), sender.clone());
            let turns = turns.clone();
            let live = async move {
                let agent = &agents[number];
                tokio::try_join!(agent.follow(&address, &sender, &turns), agent.live(&address, &turns)).map(drop)
            };
            tasks.spawn_on(live, runtime);
        }
        let mut following = Self { told, tasks };
        let mut missing = agents.len();
        while missing > 0 {
            missing -= usize::from(following.next().await?.whole);
        }
        Ok(following)
    }

    /// What is told next.
    pub async fn next(&mut self) -> Result<Told> {
        tokio::select! {
            told = self.told.recv() => told.context("the agents are gone"),
            Some(ended) = self.tasks.join_next() => match ended? {
                Ok(()) => bail!("an agent's stream has ended"),
                Err(error) => Err(error),
            },
        }
    }
}

impl Agent {
    async fn follow(
        &self,
        address: &ControllerAddress,
        told: &mpsc::UnboundedSender<Told>,
        turns: &Semaphore,
    ) -> Result<()> {
        let turn = turns.acquire().await?;
        let mut connection = Connection::open(address, self.config.clone()).await?;
        let hello = serde_json::to_vec(&self.hello)?;
        let answer = connection.ask(Method::POST, &path(&self.id, Endpoint::Plan), &[], hello.into()).await?;
        drop(turn);
        let mut body = answer.into_body();
        let mut decoder = Decoder::new(64 << 20);
        while let Some(frame) = body.frame().await {
            if let Some(bytes) = frame?.data_ref() {
                decoder.push(bytes)?;
            }
            while let Some(event) = decoder.event()? {
                let at = Instant::now();
                let event: PlanEvent = serde_json::from_slice(&event.data)?;
                let whole = event.since.is_none() && event.parts == Parts::Last;
                let tenants = if event.since.is_some() { event.set.into_keys().collect() } else { Vec::new() };
                let _ = told.send(Told { agent: self.id.clone(), at, whole, tenants });
            }
        }
        Ok(())
    }

    async fn live(&self, address: &ControllerAddress, turns: &Semaphore) -> Result<()> {
        let turn = turns.acquire().await?;
        let mut connection = Connection::open(address, self.config.clone()).await?;
        drop(turn);
        let at = path(&self.id, Endpoint::Heartbeat);
        let mut ticks = tokio::time::interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for sequence in 1.. {
            ticks.tick().await;
            let heartbeat = Heartbeat { boot: self.hello.boot.clone(), sequence, position: None };
            let answer = connection.ask(Method::POST, &at, &[], serde_json::to_vec(&heartbeat)?.into()).await?;
            http::whole(answer).await?;
        }
        Ok(())
    }
}
