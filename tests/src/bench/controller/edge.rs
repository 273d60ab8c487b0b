//! The core by itself, with a store that is as fast as memory: how the store is filled, and what planning costs.

use super::super::report::Samples;
use super::agents::Agent;
use super::estate::{Estate, Put, tenant_name};
use anyhow::{Context, Result, bail, ensure};
use gateway_user::controller::core::event::{Action, CallId, Event, Moment, StreamId};
use gateway_user::controller::core::message::{Connect, Enrol, Method, Principal, Request};
use gateway_user::controller::core::{self, Core, Settings};
use gateway_user::controller::model::Id;
use gateway_user::controller::model::records::AgentId;
use gateway_user::controller::resources::Seal;
use gateway_user::controller::store::{FileStore, Op, Store, Txn};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Changes that are timed.
const CHANGES: usize = 400;
/// Agents whose whole plans are timed.
const WHOLE: usize = 100;

/// A core that leads.
pub struct Edge {
    core: Core,
    /// What it has written.
    store: BTreeMap<String, Arc<str>>,
    revision: u64,
    number: u64,
    /// How many resources were put, and in how many seconds.
    pub puts: usize,
    pub spent: f64,
}

/// What the core takes.
pub struct Figures {
    pub change: Samples,
    pub whole: Samples,
}

/// A directory with a store that holds all of an estate.
pub struct Filled {
    pub directory: tempfile::TempDir,
    /// Of some tenants: the gateway that carries what changes, and their gateway's tree as it is stored.
    pub carriers: HashMap<usize, (AgentId, Arc<str>)>,
}

struct Unsealed;

impl Seal for Unsealed {
    fn seal(&self, _: &str, secret: &str) -> String {
        secret.to_owned()
    }
}

impl Edge {
    /// With all of an estate.
    pub fn filled(estate: &Estate, agents: &[Agent]) -> Result<Self> {
        let settings = Settings { placement: Default::default(), seal: Arc::new(Unsealed) };
        let store = BTreeMap::new();
        let mut edge = Self { core: Core::new(settings), store, revision: 0, number: 0, puts: 0, spent: 0.0 };
        edge.step(Event::Written { revision: 0, entries: Vec::new() });
        edge.step(Event::Elected { epoch: 1, revision: 0 });
        for put in estate.fabric() {
            edge.put(put)?;
        }
        for (number, Agent { id, hello, key, .. }) in agents.iter().enumerate() {
            let token = format!("token-{number}");
            let enrol = Enrol { agent: id.clone(), token, token_expires: 0, key: *key, hello: hello.clone() };
            edge.admitted(|call| Event::Enrol(call, enrol))?;
        }
        let start = Instant::now();
        edge.puts = 0;
        for tenant in 0..estate.tenants {
            for put in estate.tenant(tenant) {
                edge.put(put)?;
            }
        }
        edge.spent = start.elapsed().as_secs_f64();
        Ok(edge)
    }

    /// Has something happen; what is written is durable at once. Gives what is to be done beside writing.
    fn step(&mut self, event: Event) -> Vec<Action> {
        let mut all = Vec::new();
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            self.number += 1;
            let seed = u128::from(self.number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            let moment = Moment { unix_milliseconds: 1_700_000_000_000 + self.number, seed };
            let mut actions = Vec::new();
            self.core.step(event, moment, &mut actions);
            for action in actions {
                let Action::Write(sequence, write) = action else {
                    all.push(action);
                    continue;
                };
                for (key, value) in write.entries {
                    match value {
                        Some(value) => self.store.insert(key, value),
                        None => self.store.remove(&key),
                    };
                }
                self.revision += 1;
                events.push(Event::Durable(sequence, self.revision));
            }
        }
        all
    }

    fn request(&mut self, (path, properties): Put) -> Request {
        Request {
            principal: Principal::admin("bench"),
            request_id: self.number.to_string(),
            method: Method::Put,
            path: format!("/networking/v1/{path}"),
            query: Vec::new(),
            if_match: None,
            if_none_match: None,
            client_request_id: None,
            body: json!({ "properties": properties }).to_string().into(),
        }
    }

    fn put(&mut self, put: Put) -> Result<Vec<Action>> {
        let request = self.request(put);
        self.send(request)
    }

    fn send(&mut self, request: Request) -> Result<Vec<Action>> {
        self.puts += 1;
        let path = request.path.clone();
        let actions = self.step(Event::Request(CallId(self.number), request));
        let answer = actions.iter().find_map(|action| match action {
            Action::Answer(_, answer) => Some(answer),
            _ => None,
        });
        let answer = answer.with_context(|| format!("no answer to {path}"))?;
        ensure!(answer.status < 300, "{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        Ok(actions)
    }

    fn admitted(&mut self, event: impl FnOnce(CallId) -> Event) -> Result<Vec<Action>> {
        let actions = self.step(event(CallId(self.number)));
        for action in &actions {
            if let Action::Admit(_, Err(refusal)) = action {
                bail!("an agent was not let in: {refusal}");
            }
        }
        Ok(actions)
    }

    /// Times a change of some tenants, from the request to the plans and the answer, and the plans of some agents that connect.
    pub fn changes(&mut self, estate: &Estate, agents: &[Agent]) -> Result<Figures> {
        let mut whole = Vec::new();
        for (number, Agent { id, hello, key, .. }) in agents.iter().enumerate() {
            let connect = Connect { agent: id.clone(), key: *key, hello: hello.clone() };
            let stream = StreamId(number as u64 + 1);
            let start = Instant::now();
            self.admitted(|call| Event::Connect(call, stream, connect))?;
            if number < WHOLE {
                whole.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        let mut change = Vec::new();
        for (version, tenant) in estate.some(CHANGES).enumerate() {
            let request = self.request(estate.gateway_of(tenant, version + 1));
            let start = Instant::now();
            let actions = self.send(request)?;
            change.push(start.elapsed().as_secs_f64() * 1e3);
            let plans = actions.iter().filter(|action| matches!(action, Action::Plan(..))).count();
            let placements = self.core.state().placements(&Id::from(tenant_name(tenant)));
            let gateways: BTreeSet<_> = placements.connections.values().map(|placed| placed.gateway.lower()).collect();
            ensure!(
                plans == gateways.len() + 1,
                "tenant {tenant}'s change concerns its {} gateways and its host, not {plans} agents",
                gateways.len()
            );
        }
        Ok(Figures { change: Samples::new(change), whole: Samples::new(whole) })
    }

    /// Puts all that was written into a store on the disk.
    pub fn into_store(self, estate: &Estate) -> Result<Filled> {
        let carriers = estate.some(super::daemon::CHANGES).map(|tenant| {
            let id = Id::from(tenant_name(tenant));
            let placements = self.core.state().placements(&id);
            let at = placements.connections.get(&Id::from("hq")).context("the tunnel is placed")?;
            let text = self.store.get(&format!("resources/virtualgateways/{}", id.lower())).context("it is stored")?;
            Ok((tenant, (core::gateway(&at.gateway), text.clone())))
        });
        let carriers = carriers.collect::<Result<_>>()?;
        let directory = tempfile::Builder::new().prefix("bench-controller-").tempdir()?;
        write(directory.path(), self.store.into_iter().collect())?;
        Ok(Filled { directory, carriers })
    }
}

/// Writes entries in transactions as large as they may be, as many at once as the store takes.
fn write(directory: &Path, entries: Vec<(String, Arc<str>)>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let store = Store::from(FileStore::open(directory)?);
    for wave in entries.chunks(100 * Txn::MAX_OPERATIONS) {
        runtime.block_on(async {
            let mut commits = tokio::task::JoinSet::new();
            for entries in wave.chunks(Txn::MAX_OPERATIONS) {
                let txn =
                    Txn::of(entries.iter().map(|(key, value)| Op::put(key.clone(), Arc::<[u8]>::from(value.clone()))));
                let store = store.clone();
                commits.spawn(async move { store.commit(txn).await });
            }
            while let Some(committed) = commits.join_next().await {
                committed??;
            }
            Ok::<_, anyhow::Error>(())
        })?;
    }
    Ok(())
}
