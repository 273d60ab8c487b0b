//! What agents are told: what they have not got when they connect, then what changes.

use super::change::{Entries, json};
use super::event::{Action, CallId, Moment, Sink, StreamId};
use super::message::{Connect, Enrol, KeyId, Refusal, RefusalKind};
use super::state::agent_key;
use super::{Core, Out, unknown};
use crate::agent::protocol::{Document, PROTOCOL, PlanEvent};
use crate::agent::routes::RouteEvent;
use crate::controller::model::Id;
use crate::controller::model::records::{AgentId, Registration, Role};
use crate::controller::planning::{self, Planned};
use crate::controller::resources::{Kind, Path};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// What follows for some virtual networks at one moment.
pub(super) type Documents = BTreeMap<Id, Rc<Planned>>;

impl Core {
    /// What follows for virtual networks, as things are now.
    pub(super) fn documents<'a>(&self, networks: impl IntoIterator<Item = &'a Id>) -> Documents {
        networks.into_iter().map(|network| (network.clone(), Rc::new(self.state.planned(network)))).collect()
    }

    /// Tells the agents what is different from before.
    pub(super) fn tell_agents(&mut self, before: &Documents, now: &Documents, actions: &mut dyn Sink) {
        let mut events: BTreeMap<AgentId, PlanEvent> = BTreeMap::new();
        for (network, now) in now {
            let Some(was) = before.get(network) else { continue };
            for agent in was.documents.keys() {
                let name = was.name(network, agent);
                if !now.documents.contains_key(agent) || now.name(network, agent) != name {
                    events.entry(agent.clone()).or_default().removed.push(name.to_string());
                }
            }
            for (agent, document) in &now.documents {
                let name = now.name(network, agent);
                if was.documents.get(agent) != Some(document) || was.name(network, agent) != name {
                    events.entry(agent.clone()).or_default().set.insert(name.to_string(), document.clone());
                }
            }
            if !(was.replicas.is_empty() && now.replicas.is_empty()) {
                let (was, now) = (replicas(network, was), replicas(network, now));
                for (agent, name) in was.keys().filter(|key| !now.contains_key(*key)) {
                    events.entry((*agent).clone()).or_default().removed.push(name.clone());
                }
                for ((agent, name), document) in now {
                    if was.get(&(agent, name.clone())) != Some(&document) {
                        events.entry(agent.clone()).or_default().set.insert(name, document.clone());
                    }
                }
            }
        }
        for (agent, event) in events {
            if let Some(stream) = self.state.agents.get(&agent).and_then(|known| known.stream) {
                self.let_out(Out::Plan { agent, stream, event }, actions);
            }
        }
        self.tell_routes(before, now, actions);
    }

    /// Tells a host of learned routes: all that they depend on is durable.
    pub(super) fn send_routes(
        &mut self,
        agent: &AgentId,
        stream: StreamId,
        mut event: RouteEvent,
        actions: &mut dyn Sink,
    ) {
        let open = self.state.agents.get(agent).and_then(|known| known.stream) == Some(stream);
        let Some(epoch) = self.epoch().filter(|_| open) else { return };
        (event.epoch, event.revision) = (epoch, self.revision);
        actions.act(Action::Routes(stream, Arc::new(event)));
    }

    /// Sends an agent what it is to do, numbered with the revision that has become durable.
    pub(super) fn send(&mut self, agent: &AgentId, stream: StreamId, mut event: PlanEvent, actions: &mut dyn Sink) {
        let open = self.state.agents.get(agent).and_then(|known| known.stream) == Some(stream);
        let Some(epoch) = self.epoch().filter(|_| open) else { return };
        (event.epoch, event.revision) = (epoch, self.revision);
        // The first on a stream may change what the agent came with.
        event.since = self.state.agents.send(agent, self.revision).or(event.since);
        actions.act(Action::Plan(stream, Arc::new(event)));
    }

    /// What concerns no tenant.
    pub(super) fn base(&self, agent: &AgentId, registration: &Registration) -> Option<Document> {
        let gateway = (agent.role == Role::Gateway).then(|| self.state.gateway_resource(&agent.id)).flatten();
        let pooled =
            (agent.role == Role::Gateway).then(|| self.state.pooled(&agent.id, &*self.settings.seal)).flatten();
        // In a pool everybody goes by the name that the gateway's resource has.
        let named = match (&pooled, self.state.fleet.gateway(&agent.id)) {
            (Some(_), Some(spec)) => &super::gateway(&spec.id),
            _ => agent,
        };
        let rack = gateway.as_ref().map(|gateway| &gateway.bgp_config);
        planning::base_in_pool(named, registration, rack, pooled)
    }

    /// Tells a gateway's agent what concerns no tenant, after the gateway's own resource has changed.
    pub(super) fn tell_base(&mut self, gateway: &Id, actions: &mut dyn Sink) {
        let agent = super::gateway(gateway);
        let Some(known) = self.state.agents.get(&agent) else { return };
        if let Some(stream) = known.stream {
            let event = PlanEvent { base: self.base(&agent, &known.registration), ..PlanEvent::default() };
            self.let_out(Out::Plan { agent, stream, event }, actions);
        }
    }

    /// The whole plan of an agent.
    fn whole_plan(&self, agent: &AgentId, registration: &Registration) -> (PlanEvent, Vec<(Id, Planned)>) {
        let networks = self.state.networks_of(agent);
        let mut event = PlanEvent { base: self.base(agent, registration), ..PlanEvent::default() };
        let mut tenants = Vec::with_capacity(networks.len());
        for network in networks {
            let planned = self.state.planned(&network);
            if let Some(document) = planned.documents.get(agent) {
                event.set.insert(planned.name(&network, agent).to_string(), document.clone());
            }
            for (seat, document) in planned.replicas.get(agent).into_iter().flatten() {
                event.set.insert(planned.replica(&network, seat), document.clone());
            }
            tenants.push((network, planned));
        }
        (event, tenants)
    }

    /// The whole plan of an agent, as things are now; none for one that was never let in.
    pub fn plan(&self, agent: &AgentId) -> Option<PlanEvent> {
        Some(self.whole_plan(agent, &self.state.agents.get(agent)?.registration).0)
    }

    /// Opens an agent's plan stream: it begins with the whole plan, or with what differs from the one that the agent has, after which it is
    /// told what changes.
    pub(super) fn connect(
        &mut self,
        call: CallId,
        stream: StreamId,
        connect: Connect,
        now: Moment,
        actions: &mut dyn Sink,
    ) {
        let Connect { agent, key, hello } = connect;
        let admitted = self.admit(&agent, key, hello.protocol);
        if let Err(refusal) = admitted {
            self.let_out(Out::Action(Action::Admit(call, Err(refusal))), actions);
            return;
        }
        let registration = hello.registration(key);
        if let Err(refusal) = self.register(&agent, registration.clone(), Entries::new(), now, actions) {
            self.let_out(Out::Action(Action::Admit(call, Err(refusal))), actions);
            return;
        }
        if let Some(before) = self.state.agents.connect(&agent, stream, now.unix_milliseconds) {
            actions.act(Action::Close(before));
        }
        self.revive(&agent);
        let (mut event, tenants) = self.whole_plan(&agent, &registration);
        if let Some(resume) = &hello.resume {
            event = event.beyond(resume);
        }
        self.let_out(Out::Action(Action::Admit(call, Ok(()))), actions);
        self.let_out(Out::Plan { agent: agent.clone(), stream, event }, actions);
        self.begin_routes(&agent, stream, &tenants, actions);
    }

    /// Lets a new agent in, whose token is genuine. The use of the token is written together with the agent: a leader that dies in between
    /// must not leave a token that is used up and an agent that nobody knows.
    pub(super) fn enrol(&mut self, enrol: Enrol, now: Moment, actions: &mut dyn Sink) -> Result<(), Refusal> {
        self.leads()?;
        self.exists(&enrol.agent)?;
        let registration = enrol.hello.registration(enrol.key);
        self.are_free(&enrol.agent, &registration)?;
        let used = TokenUse { key: enrol.key.to_string(), expires: enrol.token_expires };
        let mut entries = Entries::new();
        match self.state.token(&enrol.token) {
            // Its answer was lost, and it asks again; unless somebody joined with another token since.
            Some(before) if before.key == used.key && !self.is_replaced(&enrol.agent, enrol.key) => {}
            Some(_) => {
                let message = "the join token has been used already; create another one";
                return Err(Refusal::new(RefusalKind::Forbidden, message));
            }
            None => {
                entries.push((format!("{TOKENS}{}", enrol.token), Some(json(&used).map_err(internal)?)));
                let expired = self.state.use_token(&enrol.token, used, now.unix_milliseconds / 1000);
                entries.extend(expired.into_iter().map(|token| (format!("{TOKENS}{token}"), None)));
            }
        }
        self.register(&enrol.agent, registration, entries, now, actions)
    }

    /// Whether an agent has joined with another key than this one.
    fn is_replaced(&self, agent: &AgentId, key: KeyId) -> bool {
        self.state.ledger().is_replaced(agent, &key.into())
    }

    pub(super) fn leads(&self) -> Result<(), Refusal> {
        // What is not known is not the agent's fault, and an empty plan is not what it should do.
        if let Some(unreadable) = &self.unreadable {
            return Err(Refusal::new(RefusalKind::Unavailable, unreadable.to_string()));
        }
        match self.epoch() {
            Some(_) => Ok(()),
            None => Err(Refusal::new(RefusalKind::Unavailable, "this controller does not lead; ask the one that does")),
        }
    }

    fn exists(&self, agent: &AgentId) -> Result<(), Refusal> {
        let (kind, collection) = match agent.role {
            Role::Gateway => (Kind::Gateway, "gateways"),
            Role::Host => (Kind::Server, "servers"),
        };
        if self.state.forest.text(&Path::root(kind, agent.id.clone())).is_some() {
            return Ok(());
        }
        let message = format!("there is no /{collection}/{}; create it, or enrol under another name", agent.id);
        Err(Refusal::new(RefusalKind::Forbidden, message))
    }

    fn admit(&self, agent: &AgentId, key: KeyId, protocol: u32) -> Result<(), Refusal> {
        self.leads()?;
        if self.is_replaced(agent, key) {
            let message = format!("{agent} has joined again with another key: this certificate is not taken any more");
            return Err(Refusal::new(RefusalKind::Forbidden, message));
        }
        if protocol != PROTOCOL {
            let message =
                format!("the agent speaks protocol {protocol}, this controller {PROTOCOL}; install the same version");
            return Err(Refusal::new(RefusalKind::Malformed, message));
        }
        self.exists(agent)?;
        self.state.agents.get(agent).map(|_| ()).ok_or_else(|| unknown(agent))
    }

    /// Whether no other agent has the provider addresses of this one.
    fn are_free(&self, agent: &AgentId, registration: &Registration) -> Result<(), Refusal> {
        let taken = self.state.agents.iter().find(|(other, known)| {
            *other != agent && registration.pa.iter().any(|pa| known.registration.pa.contains(pa))
        });
        let Some((other, _)) = taken else { return Ok(()) };
        let message = format!("a provider address of {agent} is {other}'s already; give each agent its own");
        Err(Refusal::new(RefusalKind::Forbidden, message))
    }

    /// Keeps what an agent says of its machine, together with these entries. Whoever knows its provider addresses is told of new ones.
    fn register(
        &mut self,
        agent: &AgentId,
        registration: Registration,
        mut entries: Entries,
        now: Moment,
        actions: &mut dyn Sink,
    ) -> Result<(), Refusal> {
        if self.state.agents.get(agent).is_some_and(|known| known.registration == registration) {
            if !entries.is_empty() {
                self.write(entries, actions);
            }
            return Ok(());
        }
        self.are_free(agent, &registration)?;
        entries.push((agent_key(agent), Some(json(&registration).map_err(internal)?)));
        let before = self.documents(&self.state.networks_of(agent));
        self.state.register(agent, Some(registration));
        self.write(entries, actions);
        let after = self.documents(before.keys());
        self.tell_agents(&before, &after, actions);
        if agent.role == Role::Gateway
            && let Some((pool, _)) = self.state.seats_around(&agent.id)
        {
            let pool = pool.clone();
            self.settle_seats([pool.clone()], now, actions);
            // The others are told its addresses.
            let others: Vec<Id> = self.state.fleet.members(&pool).filter(|id| **id != agent.id).cloned().collect();
            self.tell_bases(&others, actions);
        }
        Ok(())
    }
}

/// What gateways are told of a tenant's parts on seats, by agent and name.
fn replicas<'a>(network: &Id, planned: &'a Planned) -> BTreeMap<(&'a AgentId, String), &'a Document> {
    let of = |(agent, seats): (&'a AgentId, &'a BTreeMap<Id, Document>)| {
        seats
            .iter()
            .map(move |(seat, document)| ((agent, planned.replica(network, seat)), document))
            .collect::<Vec<_>>()
    };
    planned.replicas.iter().flat_map(of).collect()
}

/// Below this prefix the join tokens stand that were used and have not expired.
pub const TOKENS: &str = "tokens/";

/// What became of a join token.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenUse {
    /// The key that it let in.
    pub key: String,
    /// When it expires, in seconds since 1970: then it need not be remembered.
    pub expires: u64,
}

fn internal(error: crate::controller::resources::Error) -> Refusal {
    Refusal::new(RefusalKind::Malformed, error.to_string())
}
