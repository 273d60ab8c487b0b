//! Routes that tenants' routers have learned: soft state, which no store holds. A new leader hears them from the routers again, and meanwhile
//! hosts keep what they have.
//!
//! ```text
//!   gateways ── slices ──► Rounds, one a gateway ──► Aggregate of the one whose router counts ──► hosts, what is different
//! ```
//!
//! Only the gateway with the tenant's router is believed. If that becomes another one, the routes of the one before stay until the other has
//! told all that it knows. The silence of a gateway withdraws nothing for [an hour](SILENT): packets may still flow by what its programs hold,
//! whatever became of its agent. What leads to connections that are placed nowhere is gone at once.

use super::agents::Agents;
use super::event::StreamId;
use super::plans::Documents;
use super::state::State;
use super::{Core, Moment, Out, Sink};
use crate::agent::protocol::{BootId, Extent, Parts};
use crate::agent::routes::{Leading, Rounds, RouteChanges, RouteEvent, RouteReport, SLICE};
use crate::controller::core::message::{Refusal, RefusalKind};
use crate::controller::model::Id;
use crate::controller::model::records::{AgentId, Role};
use crate::controller::planning::aggregate::{Aggregate, Changes};
use crate::controller::planning::{Planned, Reach};
use crate::controller::resources::{Kind, Path};
use crate::dataplane::learned::Via;
use crate::plan::Gateway;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// How long routes stay whose gateway is not heard of, in milliseconds.
pub const SILENT: u64 = 3_600_000;

/// Routes of one tenant.
const ROOM: usize = Gateway::DEFAULT_ROUTES_PER_TENANT as usize;

/// What all tenants have learned, by virtual gateway.
#[derive(Debug, Default)]
pub struct Learned(HashMap<Id, OfTenant>);

/// The gateways that lead to a prefix, all of them alike.
type Seats = Arc<[Id]>;

/// What one tenant has learned.
#[derive(Debug)]
pub struct OfTenant {
    /// Its virtual network.
    network: Id,
    reach: Arc<Reach>,
    /// What gateways have told.
    sources: BTreeMap<Id, Source>,
    /// The one that is believed.
    believed: Option<Id>,
    table: Aggregate<Seats>,
    /// Routes that there was no room for.
    pub refused: usize,
}

#[derive(Debug, Default)]
struct Source {
    boot: BootId,
    sequence: u64,
    rounds: Rounds<Via>,
}

impl Learned {
    /// What a tenant has learned.
    pub fn get(&self, gateway: &Id) -> Option<&OfTenant> {
        self.0.get(gateway)
    }
}

impl OfTenant {
    fn new(network: Id, reach: Arc<Reach>) -> Self {
        let table = Aggregate::among(&reach.planned);
        Self { network, reach, sources: BTreeMap::new(), believed: None, table, refused: 0 }
    }

    fn rounds(&self) -> Option<&Rounds<Via>> {
        self.sources.get(self.believed.as_ref()?).map(|source| &source.rounds)
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.rounds().map_or(0, Rounds::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The gateway that is believed.
    pub fn believed(&self) -> Option<&Id> {
        self.believed.as_ref()
    }

    /// What a connection leads to by what was learned.
    pub fn by_connection<'a>(&'a self, connection: &'a Id) -> impl Iterator<Item = IpNet> + 'a {
        let routes = self.rounds().into_iter().flat_map(Rounds::iter);
        let leads = |via: &Arc<[Via]>| {
            via.iter().any(|via| matches!(via, Via::Connection(name) if name.eq_ignore_ascii_case(connection.as_str())))
        };
        routes.filter(move |(_, via)| leads(via)).map(|(prefix, _)| prefix)
    }

    /// What an address is looked up by among what was learned.
    pub fn longest(&self, address: IpAddr) -> Option<(IpNet, &Arc<[Via]>)> {
        let rounds = self.rounds()?;
        let lengths = 0..=IpNet::from(address).max_prefix_len();
        let prefixes = lengths.rev().filter_map(|length| IpNet::new(address, length).ok());
        prefixes.map(|prefix| prefix.trunc()).find_map(|prefix| Some((prefix, rounds.get(&prefix)?)))
    }

    /// The gateway that has a provider address.
    pub fn gateway_at(&self, pa: IpAddr) -> Option<&Id> {
        self.reach.gateways.get(&pa)
    }

    /// Whether what is known is all there is.
    pub fn is_complete(&self) -> bool {
        self.parts() == Parts::Last
    }

    /// How what is told goes on.
    fn parts(&self) -> Parts {
        let complete = match &self.reach.router {
            // Without a router nothing is learned.
            None => true,
            router => self.believed == *router && self.rounds().is_some_and(Rounds::is_complete),
        };
        if complete { Parts::Last } else { Parts::More }
    }

    /// The gateways that have the connections, or are the ones that are named.
    fn seats(&self, via: &[Via]) -> Option<Seats> {
        let seat = |via: &Via| match via {
            Via::Connection(name) => self.reach.connections.get(&Id::from(&**name)).cloned(),
            Via::Gateway(pa) => self.reach.gateways.get(pa).cloned(),
        };
        let mut seats: Vec<Id> = via.iter().filter_map(seat).filter(|seat| !self.reach.empty.contains(seat)).collect();
        seats.sort_unstable();
        seats.dedup();
        (!seats.is_empty()).then(|| seats.into())
    }

    /// Believes the gateway with the router as soon as it has told all that it knows, or if nobody else is believed.
    fn believe(&mut self) -> bool {
        let Some(router) = self.reach.router.clone() else { return self.believed.take().is_some() };
        if self.believed.as_ref() == Some(&router) {
            return false;
        }
        let told = self.sources.get(&router).is_some_and(|source| source.rounds.is_complete());
        let nobody = self.believed.as_ref().is_none_or(|before| !self.sources.contains_key(before));
        if told || nobody && self.sources.contains_key(&router) {
            self.believed = Some(router);
            return true;
        }
        false
    }

    /// Makes the table anew: what differs.
    fn rebuild(&mut self) -> Changes<Seats> {
        let mut table = Aggregate::among(&self.reach.planned);
        if let Some(rounds) = self.rounds() {
            // Few of them are different.
            let mut known: HashMap<&[Via], Option<Seats>> = HashMap::new();
            for (prefix, via) in rounds.iter() {
                let seats = known.entry(via).or_insert_with(|| self.seats(via)).clone();
                table.put(prefix, seats, &mut Changes::new());
            }
        }
        let before = std::mem::replace(&mut self.table, table);
        let gone = before.told().keys().filter(|prefix| !self.table.told().contains_key(*prefix));
        let mut changes: Changes<Seats> = gone.map(|prefix| (*prefix, None)).collect();
        let now = self.table.told().iter().filter(|(prefix, seats)| before.told().get(*prefix) != Some(*seats));
        changes.extend(now.map(|(prefix, seats)| (*prefix, Some(Arc::clone(seats)))));
        changes
    }

    /// Takes what a gateway tells.
    fn take(&mut self, gateway: &Id, told: RouteChanges<Via>) -> Changes<Seats> {
        let Some(source) = self.sources.get_mut(gateway) else { return Changes::new() };
        let (changed, refused) = source.rounds.take(told, ROOM);
        if refused > 0 && self.refused == 0 {
            tracing::warn!(network = %self.network, %gateway, most = ROOM, "a tenant has learned more routes than are taken; further ones are left out");
        }
        self.refused = self.refused.saturating_add(refused);
        if self.believe() {
            return self.rebuild();
        }
        let mut changes = Changes::new();
        if self.believed.as_ref() == Some(gateway) {
            for (prefix, via) in changed {
                let seats = via.and_then(|via| self.seats(&via));
                self.table.put(prefix, seats, &mut changes);
            }
        }
        changes
    }

    /// Meets what follows from resources and placements: what differs.
    fn meet(&mut self, reach: Arc<Reach>) -> Changes<Seats> {
        let before = std::mem::replace(&mut self.reach, reach);
        self.sources.retain(|gateway, _| self.reach.connections.values().any(|carrier| carrier == gateway));
        let believed = self.believe();
        let same = before.connections == self.reach.connections
            && before.empty == self.reach.empty
            && before.gateways == self.reach.gateways
            && before.planned == self.reach.planned;
        if same && !believed { Changes::new() } else { self.rebuild() }
    }

    /// What a host is told, in slices.
    fn events(
        &self,
        host: &Id,
        extent: Extent,
        changes: impl IntoIterator<Item = (IpNet, Option<Seats>)>,
    ) -> Vec<RouteEvent> {
        let nobody = BTreeMap::new();
        let gateways = self.reach.hosts.get(host).unwrap_or(&nobody);
        let mut known: HashMap<Seats, Option<Arc<[IpAddr]>>> = HashMap::new();
        let mut addresses = |seats: Seats| {
            let known = known.entry(Arc::clone(&seats)).or_insert_with(|| {
                let addresses: Vec<IpAddr> = seats.iter().filter_map(|seat| gateways.get(seat).copied()).collect();
                (!addresses.is_empty()).then(|| addresses.into())
            });
            known.clone()
        };
        let all: Vec<_> = changes.into_iter().map(|(prefix, seats)| (prefix, seats.and_then(&mut addresses))).collect();
        let mut slices: Vec<&[_]> = all.chunks(SLICE).collect();
        if slices.is_empty() {
            slices.push(&[]);
        }
        let last = slices.len() - 1;
        let slice = |(number, slice): (usize, &[Leading<IpAddr>])| {
            let extent = if number == 0 { extent } else { Extent::Changes };
            let parts = if number == last { self.parts() } else { Parts::More };
            event(&self.network, RouteChanges::of(extent, parts, slice.iter().cloned()))
        };
        slices.into_iter().enumerate().map(slice).collect()
    }

    /// All that a host is to know.
    fn whole(&self, host: &Id) -> Vec<RouteEvent> {
        let told = self.table.told().iter();
        self.events(host, Extent::Whole, told.map(|(prefix, seats)| (*prefix, Some(Arc::clone(seats)))))
    }
}

fn event(network: &Id, changes: RouteChanges<IpAddr>) -> RouteEvent {
    RouteEvent { tenants: [(network.to_string(), changes)].into(), ..RouteEvent::default() }
}

impl Core {
    /// Takes what a gateway tells of tenants' routes.
    ///
    /// # Errors
    /// It goes on with what this controller has not heard the beginning of.
    pub(super) fn routes(
        &mut self,
        agent: &AgentId,
        report: RouteReport,
        now: Moment,
        actions: &mut dyn Sink,
    ) -> Result<(), Refusal> {
        self.leads()?;
        if self.state.agents.get(agent).is_none() || agent.role != Role::Gateway {
            return Err(super::unknown(agent));
        }
        self.state.agents.hear(agent, now.unix_milliseconds);
        let RouteReport { boot, sequence, tenants } = report;
        let mut refused = Ok(());
        for (name, told) in tenants {
            // A seat's routes are its holder's to tell.
            let Some((gateway, source_id)) = self.state.told_by(&agent.id, &name) else { continue };
            if !self.state.learned.0.contains_key(&gateway) {
                let Some(of) = self.learner(&gateway) else { continue };
                self.state.learned.0.insert(gateway.clone(), of);
            }
            let Some(of) = self.state.learned.0.get_mut(&gateway) else { continue };
            let begins = told.extent == Extent::Whole;
            match of.sources.get_mut(&source_id) {
                Some(source) if source.boot == boot && sequence <= source.sequence => continue,
                Some(source) if source.boot == boot || begins => {
                    (source.boot, source.sequence) = (boot.clone(), sequence);
                }
                None if begins => {
                    let source = Source { boot: boot.clone(), sequence, ..Source::default() };
                    of.sources.insert(source_id.clone(), source);
                }
                _ => {
                    let message = format!("nothing is known of the routes of {gateway} on {agent}; tell all of them");
                    refused = Err(Refusal::new(RefusalKind::Unavailable, message));
                    continue;
                }
            }
            let before = of.parts();
            let changes = of.take(&source_id, told);
            if !changes.is_empty() || before != of.parts() {
                let events = hosts(of, &self.state.agents).map(|(host, stream)| {
                    (host.clone(), stream, of.events(&host.id, Extent::Changes, changes.clone()))
                });
                let events: Vec<_> = events.collect();
                self.let_out_routes(events, actions);
            }
        }
        refused
    }

    /// A tenant that has learned nothing yet.
    fn learner(&self, gateway: &Id) -> Option<OfTenant> {
        let network = self.state.network_of(gateway)?;
        let planned = self.state.planned(&network);
        Some(OfTenant::new(network, planned.reach))
    }

    /// Tells hosts what a change of resources or placements makes of learned routes.
    pub(super) fn tell_routes(&mut self, before: &Documents, now: &Documents, actions: &mut dyn Sink) {
        for (network, now) in now {
            let Some(was) = before.get(network) else { continue };
            if let Some(gone) = was.gateway.as_ref().filter(|gateway| now.gateway.as_ref() != Some(*gateway)) {
                self.state.learned.0.remove(gone);
            }
            if was.reach == now.reach && was.gateway == now.gateway && has_same_hosts(was, now) {
                continue;
            }
            let mut events = Vec::new();
            match now.gateway.as_ref().and_then(|gateway| self.state.learned.0.get_mut(gateway)) {
                Some(of) => {
                    let parts = of.parts();
                    let changes = of.meet(Arc::clone(&now.reach));
                    let moved = changes.is_empty() && parts == of.parts();
                    for (host, stream) in hosts(of, &self.state.agents) {
                        let known = was.documents.contains_key(&host);
                        let told = if !known || was.reach.hosts.get(&host.id) != now.reach.hosts.get(&host.id) {
                            of.whole(&host.id)
                        } else if moved {
                            continue;
                        } else {
                            of.events(&host.id, Extent::Changes, changes.clone())
                        };
                        events.push((host, stream, told));
                    }
                }
                None => {
                    for host in now.documents.keys().filter(|agent| agent.role == Role::Host) {
                        let Some(stream) = self.state.agents.get(host).and_then(|known| known.stream) else { continue };
                        events.push((host.clone(), stream, vec![nothing(network, &now.reach)]));
                    }
                }
            }
            self.let_out_routes(events, actions);
        }
    }

    /// Begins a round with a host that has connected.
    pub(super) fn begin_routes(
        &mut self,
        agent: &AgentId,
        stream: StreamId,
        tenants: &[(Id, Planned)],
        actions: &mut dyn Sink,
    ) {
        if agent.role != Role::Host {
            return;
        }
        let mut events = Vec::new();
        for (network, planned) in tenants {
            match planned.gateway.as_ref().and_then(|gateway| self.state.learned.0.get(gateway)) {
                Some(of) => events.extend(of.whole(&agent.id)),
                None => events.push(nothing(network, &planned.reach)),
            }
        }
        // Those with little to tell go together.
        let mut joined: Vec<RouteEvent> = Vec::new();
        for event in events {
            match joined.last_mut() {
                Some(last) if weight(last) + weight(&event) <= SLICE && !shares(last, &event) => {
                    last.tenants.extend(event.tenants);
                }
                _ => joined.push(event),
            }
        }
        self.let_out_routes(vec![(agent.clone(), stream, joined)], actions);
    }

    fn let_out_routes(&mut self, events: Vec<(AgentId, StreamId, Vec<RouteEvent>)>, actions: &mut dyn Sink) {
        for (agent, stream, events) in events {
            for event in events {
                self.let_out(Out::Routes { agent: agent.clone(), stream, event }, actions);
            }
        }
    }

    /// Gives up what gateways have told that have not been heard of for long.
    pub(super) fn forget_routes(&mut self, now: Moment, actions: &mut dyn Sink) {
        let mut events = Vec::new();
        let believed: BTreeSet<Id> = self.state.learned.0.values().filter_map(|of| of.believed.clone()).collect();
        let bearers: BTreeMap<Id, AgentId> =
            believed.into_iter().map(|id| (id.clone(), self.state.bearer(&id).agent())).collect();
        for (tenant, of) in &mut self.state.learned.0 {
            let silent = |gateway: &Id| {
                let heard =
                    bearers.get(gateway).and_then(|agent| self.state.agents.get(agent)).and_then(|known| known.heard);
                heard.is_none_or(|heard| now.unix_milliseconds.saturating_sub(heard) >= SILENT)
            };
            let Some(gateway) = of.believed.clone().filter(silent) else { continue };
            let Some(source) = of.sources.get_mut(&gateway) else { continue };
            if source.rounds.is_empty() && source.rounds.is_complete() {
                continue;
            }
            tracing::warn!(%tenant, %gateway, "the gateway with the tenant's router has been silent for long; its routes go");
            source.rounds.take(RouteChanges::nothing(Parts::Last), ROOM);
            let changes = of.rebuild();
            for (host, stream) in hosts(of, &self.state.agents) {
                let told = of.events(&host.id, Extent::Changes, changes.clone());
                events.push((host, stream, told));
            }
        }
        self.let_out_routes(events, actions);
    }
}

fn has_same_hosts(was: &Planned, now: &Planned) -> bool {
    let hosts = |planned: &Planned| -> Vec<AgentId> {
        planned.documents.keys().filter(|agent| agent.role == Role::Host).cloned().collect()
    };
    hosts(was) == hosts(now)
}

/// A tenant of which nothing was told by anybody.
fn nothing(network: &Id, reach: &Reach) -> RouteEvent {
    let parts = if reach.router.is_none() { Parts::Last } else { Parts::More };
    event(network, RouteChanges::nothing(parts))
}

fn weight(event: &RouteEvent) -> usize {
    let of = |changes: &RouteChanges<IpAddr>| changes.set.iter().map(|routes| routes.prefixes.len()).sum::<usize>();
    event.tenants.values().map(|changes| 1 + of(changes) + changes.gone.len()).sum()
}

fn shares(one: &RouteEvent, other: &RouteEvent) -> bool {
    other.tenants.keys().any(|name| one.tenants.contains_key(name))
}

/// The tenant's hosts that listen.
fn hosts<'a>(of: &'a OfTenant, agents: &'a Agents) -> impl Iterator<Item = (AgentId, StreamId)> + 'a {
    of.reach.hosts.keys().filter_map(|id| {
        let host = super::host(id);
        let stream = agents.get(&host)?.stream?;
        Some((host, stream))
    })
}

impl State {
    /// The virtual network of a virtual gateway.
    pub fn network_of(&self, gateway: &Id) -> Option<Id> {
        let root = Path::root(Kind::VirtualGateway, gateway.clone());
        self.networks(&root, self.forest.text(&root)?).into_iter().next()
    }
}
