//! Everything that the store holds, as the core works with it. What a state is follows from the store's entries alone, in whatever order they
//! were written: a controller that reads them again has the state that wrote them.

use crate::controller::model::fabric::{Gateway, GatewayPool, LogicalNetwork, LogicalSubnet, Server, VirtualServer};
use crate::controller::model::records::{AgentId, Allocations, Placement, Placements, Registration, Role};
use crate::controller::model::tenant::{ConnectionType, NetworkInterface, Tenant, VirtualGateway, VirtualNetwork};
use crate::controller::model::{self, Id, Reference, Resource};
use crate::controller::parallel;
use crate::controller::placement::{
    self, Bandwidth, Fleet, GatewaySpec, IpsecPath, Link, PoolSpec, Racks, Settings, VipRange, Wanted,
};
use crate::controller::planning::{self, Fabric, Input, Planned, Seating};
use crate::controller::resources::operations::Operation;
use crate::controller::resources::{Forest, Kind, Path};
use crate::controller::seats::Seats;
use crate::controller::store::backup::RESTORING;
use crate::plan::Vsid;
use serde::de::DeserializeOwned;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::agents::Agents;
use super::latest::Latest;
use super::learned::Learned;
use super::ledger::{CREDENTIALS, Ledger, NoCredential};
use super::plans::{TOKENS, TokenUse};
use super::repeats::{REQUESTS, Repeats};
use super::seats::SEATS;

/// Below this prefix the trees of resources stand.
pub const RESOURCES: &str = "resources/";
/// Below this prefix stands where connections are, by virtual gateway.
pub const PLACEMENTS: &str = "placements/";
/// Below this prefix stands what was allocated, by virtual network.
pub const ALLOCATIONS: &str = "allocations/";
/// Below this prefix the agents stand that were let in.
pub const AGENTS: &str = "agents/";

/// Below this prefix the operations stand that clients may still ask for.
pub const OPERATIONS: &str = "operations/";

/// Virtual subnet ids below this one are reserved (RFC 7637, section 3.1).
const FIRST_VSID: u32 = 4096;

/// An entry of the store that no version of this program wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store's `{key}` cannot be read: {what}; restore the store from a backup: `gatewayctl restore FILE --force`"
)]
pub struct Unreadable {
    /// Its key.
    pub key: String,
    /// What is wrong.
    pub what: String,
}

/// Everything that the store holds.
#[derive(Debug)]
pub struct State {
    /// The resources.
    pub forest: Forest,
    /// Which gateway carries what.
    pub fleet: Fleet,
    /// The agents.
    pub agents: Agents,
    /// What tenants' routers have learned: nobody stores it.
    pub learned: Learned,
    placements: HashMap<Id, Placements>,
    /// How many tenants' reflectors are on a gateway.
    reflectors: HashMap<Id, usize>,
    allocations: HashMap<Id, Allocations>,
    /// What is settled of pools' seats; of pools that had some, too.
    pub(super) seats: BTreeMap<Id, Seats>,
    /// Seats whose holders are gone: since when, in milliseconds since 1970, and under which epoch they were held.
    pub(super) leaderless: BTreeMap<Id, (u64, u64)>,
    vsids: BTreeSet<u32>,
    /// All ids below it are given away or reserved.
    first_vsid: u32,
    mustered: Mustered,
    tokens: BTreeMap<String, TokenUse>,
    ledger: Arc<Ledger>,
    /// What was answered to requests that may come again.
    pub repeats: Repeats,
    /// What became of the latest operations.
    pub operations: Latest<Operation>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            forest: Forest::default(),
            fleet: Fleet::default(),
            agents: Agents::default(),
            learned: Learned::default(),
            placements: HashMap::new(),
            reflectors: HashMap::new(),
            allocations: HashMap::new(),
            seats: BTreeMap::new(),
            leaderless: BTreeMap::new(),
            vsids: BTreeSet::new(),
            tokens: BTreeMap::new(),
            ledger: Arc::default(),
            first_vsid: 0,
            mustered: Mustered::Not,
            repeats: Repeats::default(),
            operations: Latest::new(OPERATIONS),
        }
    }
}

/// Whether the fleet is that of the resources and the placements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mustered {
    /// It is not: others wrote some of those, or nothing is read yet.
    #[default]
    Not,
    UpToDate,
}

impl State {
    /// Reads what the store holds.
    ///
    /// # Errors
    /// An entry is none of ours.
    pub fn load(entries: &[(String, Option<Arc<str>>)], settings: Settings) -> Result<Self, Unreadable> {
        if let Some((key, _)) = entries.iter().find(|(key, value)| key == RESTORING && value.is_some()) {
            let what = "a restore into the store was interrupted, and part of the configuration is missing".to_owned();
            return Err(Unreadable { key: key.clone(), what });
        }
        let present = || entries.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_ref()?)));
        let records = || {
            let mut state = Self::default();
            present().try_for_each(|(key, value)| state.record(key, Some(value)))?;
            Ok(state)
        };
        let trees = || Forest::load(present().filter(|(key, _)| key.starts_with(RESOURCES)));
        let (state, forest) = parallel::both(records, trees);
        let mut state = state?;
        state.forest = forest.map_err(|corrupt| Unreadable { key: corrupt.key, what: corrupt.what })?;
        state.muster(settings);
        Ok(state)
    }

    /// Takes an entry that is no tree.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn record(&mut self, key: &str, value: Option<&str>) -> Result<(), Unreadable> {
        let unreadable = |what: String| Unreadable { key: key.to_owned(), what };
        let read_error = |error: serde_json::Error| unreadable(error.to_string());
        if let Some(id) = key.strip_prefix(PLACEMENTS) {
            let placements = value.map(serde_json::from_str).transpose().map_err(read_error)?;
            self.set_placements(&id.into(), placements);
        } else if let Some(id) = key.strip_prefix(ALLOCATIONS) {
            let allocations = value.map(serde_json::from_str).transpose().map_err(read_error)?;
            self.set_allocations(&id.into(), allocations);
        } else if let Some(pool) = key.strip_prefix(SEATS) {
            self.record_seats(pool, value)?;
        } else if let Some(agent) = key.strip_prefix(AGENTS) {
            let agent = agent_of(agent).ok_or_else(|| unreadable("the key names no agent".to_owned()))?;
            let registration = value.map(serde_json::from_str).transpose().map_err(read_error)?;
            self.register(&agent, registration);
        } else if let Some(id) = key.strip_prefix(CREDENTIALS) {
            let id = id.parse().map_err(|error: NoCredential| unreadable(error.to_string()))?;
            let credential = value.map(serde_json::from_str).transpose().map_err(read_error)?;
            self.ledger_mut().set(id, credential);
        } else if let Some(request) = key.strip_prefix(REQUESTS) {
            self.repeats.record(request, value).map_err(read_error)?;
        } else if let Some(operation) = key.strip_prefix(OPERATIONS) {
            self.operations.record(operation, value).map_err(read_error)?;
        } else if let Some(token) = key.strip_prefix(TOKENS) {
            match value.map(serde_json::from_str).transpose().map_err(read_error)? {
                Some(used) => self.tokens.insert(token.to_owned(), used),
                None => self.tokens.remove(token),
            };
        }
        Ok(())
    }

    /// Takes what an agent said of its machine, and its key; nothing if it is not let in any more.
    pub fn register(&mut self, agent: &AgentId, registration: Option<Registration>) {
        let key = registration.as_ref().and_then(|registration| registration.key.as_deref()?.parse().ok());
        self.ledger_mut().set_key(agent, key);
        self.agents.register(agent, registration);
    }

    /// Who is let in, and who is not any more.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The same, to change it.
    pub fn ledger_mut(&mut self) -> &mut Ledger {
        Arc::make_mut(&mut self.ledger)
    }

    /// What became of a join token.
    pub fn token(&self, token: &str) -> Option<&TokenUse> {
        self.tokens.get(token)
    }

    /// Remembers the use of a join token, and forgets those that have expired by `now`, in seconds since 1970.
    pub fn use_token(&mut self, token: &str, used: TokenUse, now: u64) -> Vec<String> {
        let expired: Vec<String> = self
            .tokens
            .iter()
            .filter(|(_, used)| used.expires < now)
            .map(|(token, _)| token.clone())
            .take(50)
            .collect();
        self.tokens.retain(|token, _| !expired.contains(token));
        self.tokens.insert(token.to_owned(), used);
        expired
    }

    /// Somebody else wrote a resource or a placement.
    pub fn overtaken(&mut self) {
        self.mustered = Mustered::Not;
    }

    /// Makes the fleet of the resources and the placements, unless it is that.
    pub fn muster(&mut self, settings: Settings) {
        if self.mustered == Mustered::UpToDate {
            return;
        }
        self.mustered = Mustered::UpToDate;
        self.fleet = Fleet::new(settings);
        let pools: Vec<Id> = self.forest.trees(Kind::GatewayPool).map(|(id, _)| id.clone()).collect();
        let specs: Vec<PoolSpec> = pools.iter().filter_map(|pool| self.pool_spec(pool, None)).collect();
        for spec in specs {
            // What was let in once is let in again: the resources and the placements agree.
            let _ = self.fleet.set_pool(spec);
        }
        let gateways: Vec<Id> = self.forest.trees(Kind::Gateway).map(|(id, _)| id.clone()).collect();
        let specs: Vec<GatewaySpec> = gateways.iter().filter_map(|gateway| self.gateway_spec(gateway, None)).collect();
        let _ = self.fleet.load_gateways(specs);
        self.enlist();
    }

    /// Counts all connections in where they are.
    fn enlist(&mut self) {
        let tenants: Vec<(&Id, &Placements)> = self.placements.iter().collect();
        let placed = parallel::map(&tenants, |(tenant, placements)| {
            let gateway = self.read::<VirtualGateway>(Kind::VirtualGateway, tenant)?.properties;
            let at = |wanted: Wanted| {
                let at = placements.connections.get(&wanted.connection)?.clone();
                Some((wanted, at))
            };
            let connections: Vec<_> = self.wanted(&gateway).into_iter().filter_map(at).collect();
            Some(((*tenant).clone(), pools_of(&gateway), connections))
        });
        for (tenant, connection, error) in self.fleet.load_connections(placed.into_iter().flatten()) {
            tracing::warn!(%tenant, %connection, %error, "a connection's gateway is gone");
        }
    }

    /// A root, parsed.
    pub fn read<P: DeserializeOwned>(&self, kind: Kind, id: &Id) -> Option<Resource<P>> {
        parse(self.forest.text(&Path::root(kind, id.clone()))?)
    }

    /// Where a virtual gateway's connections are.
    pub fn placements(&self, tenant: &Id) -> Placements {
        self.placements.get(tenant).cloned().unwrap_or_default()
    }

    /// Says where a virtual gateway's connections are.
    pub fn set_placements(&mut self, tenant: &Id, placements: Option<Placements>) {
        if let Some(on) = placements.as_ref().and_then(|placements| placements.reflector.clone()) {
            *self.reflectors.entry(on).or_default() += 1;
        }
        let before = match placements {
            Some(placements) => self.placements.insert(tenant.clone(), placements),
            None => self.placements.remove(tenant),
        };
        if let Some(was) = before.and_then(|before| before.reflector)
            && let Entry::Occupied(mut count) = self.reflectors.entry(was)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// The placements of a virtual gateway whose connections are to be at these places.
    pub fn seated(&self, tenant: &Id, gateway: &VirtualGateway, connections: BTreeMap<Id, Placement>) -> Placements {
        let reflectors = |gateway: &Id| self.reflectors.get(gateway).copied().unwrap_or_default();
        placement::seated(gateway, connections, self.placements.get(tenant), reflectors)
    }

    /// What was allocated for a virtual network.
    pub fn allocations(&self, network: &Id) -> Allocations {
        self.allocations.get(network).cloned().unwrap_or_default()
    }

    /// Says what was allocated for a virtual network.
    pub fn set_allocations(&mut self, network: &Id, allocations: Option<Allocations>) {
        let ids = |allocations: &Allocations| allocations.subnets.values().map(|vsid| vsid.get()).collect::<Vec<_>>();
        for vsid in self.allocations.remove(network).iter().flat_map(ids) {
            self.vsids.remove(&vsid);
            self.first_vsid = self.first_vsid.min(vsid);
        }
        if let Some(allocations) = allocations {
            self.vsids.extend(ids(&allocations));
            self.allocations.insert(network.clone(), allocations);
        }
        self.first_vsid = self.first_vsid.max(FIRST_VSID);
        while self.vsids.contains(&self.first_vsid) {
            self.first_vsid += 1;
        }
    }

    /// What a virtual network is to have: its subnets keep their ids, others get the lowest free ones, and those on one link the same one. None
    /// if there is none left.
    pub fn allocate(&self, id: &Id, network: &VirtualNetwork) -> Option<Allocations> {
        let mut allocations = self.allocations(id);
        allocations.subnets.retain(|subnet, _| network.subnets.iter().any(|wanted| wanted.resource_id == *subnet));
        let mut next = self.first_vsid.max(FIRST_VSID);
        for subnet in &network.subnets {
            if allocations.subnets.contains_key(&subnet.resource_id) || subnet.properties.same_link_as.is_some() {
                continue;
            }
            while self.vsids.contains(&next) {
                next += 1;
            }
            allocations.subnets.insert(subnet.resource_id.clone(), Vsid::try_from(i64::from(next)).ok()?);
            next += 1;
        }
        for subnet in &network.subnets {
            if let Some(other) = &subnet.properties.same_link_as {
                let vsid = *allocations.subnets.get(&other.last())?;
                allocations.subnets.insert(subnet.resource_id.clone(), vsid);
            }
        }
        Some(allocations)
    }

    /// A pool as placement sees it, with one logical network as it is to be.
    pub fn pool_spec(&self, id: &Id, with: Option<(&Id, &LogicalNetwork)>) -> Option<PoolSpec> {
        let pool = self.read::<GatewayPool>(Kind::GatewayPool, id)?;
        Some(self.pool_spec_of(&pool, with))
    }

    /// The same of a pool that is to be.
    pub fn pool_spec_of(&self, pool: &Resource<GatewayPool>, with: Option<(&Id, &LogicalNetwork)>) -> PoolSpec {
        let properties = &pool.properties;
        let mut vips = Vec::new();
        for reference in &properties.ip_configuration.gre_vip_subnets {
            let subnet = match with {
                Some((id, network)) if *id == reference.root() => network.subnet(&reference.last()).cloned(),
                _ => self.logical_subnet(reference),
            };
            let pools = subnet.into_iter().flat_map(|subnet| subnet.ip_pools);
            vips.extend(pools.map(|pool| VipRange {
                first: pool.properties.start_ip_address,
                last: pool.properties.end_ip_address,
            }));
        }
        PoolSpec {
            id: pool.resource_id.clone(),
            kind: properties.kind,
            capacity_kbps: properties.gateway_capacity_kilo_bits_per_second,
            redundant: properties.redundant_gateway_count,
            rule: properties.capacity_rule,
            vips,
        }
    }

    /// A gateway as placement sees it, with one server as it is to be.
    pub fn gateway_spec(&self, id: &Id, with: Option<(&Id, &Server)>) -> Option<GatewaySpec> {
        let gateway = self.read::<Gateway>(Kind::Gateway, id)?;
        Some(self.gateway_spec_of(&gateway, with))
    }

    /// A gateway's own resource.
    pub fn gateway_resource(&self, id: &Id) -> Option<Gateway> {
        Some(self.read::<Gateway>(Kind::Gateway, id)?.properties)
    }

    /// The same of a gateway that is to be.
    pub fn gateway_spec_of(&self, gateway: &Resource<Gateway>, with: Option<(&Id, &Server)>) -> GatewaySpec {
        let properties = &gateway.properties;
        let machine = properties.virtual_server.as_ref();
        let machine = machine.and_then(|machine| self.read::<VirtualServer>(Kind::VirtualServer, &machine.root()));
        let server = machine.and_then(|machine| machine.properties.server).map(|server| server.root());
        let stands = server.as_ref().and_then(|server| match with {
            Some((id, changed)) if id == server => Some(changed.failure_domain.clone()),
            _ => self.read::<Server>(Kind::Server, server).map(|server| server.properties.failure_domain),
        });
        let stands = stands.unwrap_or_default();
        let host = properties.failure_domain.host.clone().or(stands.host).map(Id::from).or(server);
        let rack = properties.failure_domain.rack.clone().or(stands.rack).map(Id::from);
        GatewaySpec {
            id: gateway.resource_id.clone(),
            pool: properties.pool.root(),
            host,
            rack,
            scheduling: properties.scheduling,
            ipsec: IpsecPath::default(),
        }
    }

    /// A virtual gateway's connections, as placement sees them.
    pub fn wanted(&self, gateway: &VirtualGateway) -> Vec<Wanted> {
        let wanted = |connection: &Resource<model::tenant::NetworkConnection>| {
            let properties = &connection.properties;
            let link = match properties.connection_type {
                ConnectionType::IpSec => Link::IpSec,
                ConnectionType::Gre => {
                    Link::Gre { remote: properties.destination_ip_address?, key: properties.gre_configuration.key() }
                }
                ConnectionType::L3 => {
                    let subnet =
                        properties.l3_configuration.vlan_subnet.as_ref().and_then(|subnet| self.logical_subnet(subnet));
                    Link::L3 { racks: Racks::new(subnet.into_iter().flat_map(|subnet| subnet.racks).map(Id::from)) }
                }
            };
            let bandwidth = Bandwidth {
                inbound: properties.inbound_kilo_bits_per_second,
                outbound: properties.outbound_kilo_bits_per_second,
            };
            Some(Wanted { connection: connection.resource_id.clone(), bandwidth, link })
        };
        gateway.network_connections.iter().filter_map(wanted).collect()
    }

    /// A virtual network with its gateway and its interfaces.
    pub fn tenant(&self, network: &Id) -> Option<Tenant> {
        let network = self.read::<VirtualNetwork>(Kind::VirtualNetwork, network)?;
        let root = Path::root(Kind::VirtualNetwork, network.resource_id.clone());
        let mut gateway = None;
        let mut interfaces = BTreeSet::new();
        for subnet in &network.properties.subnets {
            let path = root.child(Kind::VirtualSubnet, subnet.resource_id.clone());
            for (from, _) in self.forest.referrers(&path) {
                let tree = from.tree();
                match tree.kind() {
                    Kind::VirtualGateway => gateway = Some(tree.id().clone()),
                    Kind::NetworkInterface => {
                        interfaces.insert(tree.id().clone());
                    }
                    _ => {}
                }
            }
        }
        let gateway = gateway.and_then(|gateway| self.read::<VirtualGateway>(Kind::VirtualGateway, &gateway));
        let read = |id: &Id| self.read::<NetworkInterface>(Kind::NetworkInterface, id);
        let interfaces = interfaces.iter().filter_map(read).collect();
        Some(Tenant { network, gateway, interfaces })
    }

    /// What follows for a virtual network.
    pub fn planned(&self, network: &Id) -> Planned {
        let Some(tenant) = self.tenant(network) else { return Planned::default() };
        let placements =
            tenant.gateway.as_ref().map(|gateway| self.placements(&gateway.resource_id)).unwrap_or_default();
        let allocations = self.allocations(network);
        planning::tenant(&Input { tenant: &tenant, placements: &placements, allocations: &allocations }, self)
    }

    /// The virtual networks that a tree says something of, by its text.
    pub fn networks(&self, root: &Path, text: &str) -> BTreeSet<Id> {
        let of =
            |references: Vec<Reference>| references.iter().filter(|one| is_virtual(one)).map(Reference::root).collect();
        match root.kind() {
            Kind::VirtualNetwork => [root.id().clone()].into(),
            Kind::VirtualGateway => {
                parse::<VirtualGateway>(text).map(|gateway| of(gateway.properties.gateway_subnets)).unwrap_or_default()
            }
            Kind::NetworkInterface => {
                let interface = parse::<NetworkInterface>(text);
                let addresses = interface.into_iter().flat_map(|interface| interface.properties.ip_configurations);
                of(addresses.filter_map(|address| address.properties.subnet).collect())
            }
            Kind::LogicalNetwork => self.users(root),
            _ => BTreeSet::new(),
        }
    }

    /// The virtual networks whose gateways have a connection on a VLAN of a logical network.
    fn users(&self, root: &Path) -> BTreeSet<Id> {
        let Some(network) = self.read::<LogicalNetwork>(Kind::LogicalNetwork, root.id()) else {
            return BTreeSet::new();
        };
        let mut networks = BTreeSet::new();
        for subnet in &network.properties.subnets {
            let path = root.child(Kind::LogicalSubnet, subnet.resource_id.clone());
            for (from, _) in self.forest.referrers(&path) {
                if from.tree().kind() == Kind::VirtualGateway
                    && let Some(text) = self.forest.text(&from.tree())
                {
                    networks.extend(self.networks(&from.tree(), text));
                }
            }
        }
        networks
    }

    /// The virtual networks that an agent has to do with.
    pub fn networks_of(&self, agent: &AgentId) -> BTreeSet<Id> {
        let mut networks = BTreeSet::new();
        match agent.role {
            Role::Gateway => {
                let placed: Vec<&Id> = match self.seats_around(&agent.id) {
                    Some((_, seats)) => seats.concerning(&agent.id).collect(),
                    None => vec![&agent.id],
                };
                let tenants: BTreeSet<&Id> = placed.into_iter().flat_map(|at| self.concerned_by(at)).collect();
                for tenant in tenants {
                    let root = Path::root(Kind::VirtualGateway, tenant.clone());
                    networks.extend(self.forest.text(&root).into_iter().flat_map(|text| self.networks(&root, text)));
                }
            }
            Role::Host => {
                let server = Path::root(Kind::Server, agent.id.clone());
                for (from, _) in self.forest.referrers(&server) {
                    if from.tree().kind() == Kind::NetworkInterface
                        && let Some(text) = self.forest.text(&from.tree())
                    {
                        networks.extend(self.networks(&from.tree(), text));
                    }
                }
            }
        }
        networks
    }
}

impl Fabric for State {
    fn registration(&self, agent: &AgentId) -> Option<&Registration> {
        self.agents.get(agent).map(|agent| &agent.registration)
    }

    fn logical_subnet(&self, reference: &Reference) -> Option<LogicalSubnet> {
        let network = self.read::<LogicalNetwork>(Kind::LogicalNetwork, &reference.root())?;
        network.properties.subnet(&reference.last()).cloned()
    }

    fn seating(&self, gateway: &Id) -> Seating {
        self.seating_of(gateway)
    }

    fn rack(&self, gateway: &Id) -> Option<Id> {
        self.fleet.gateway(gateway)?.rack.clone()
    }
}

/// Reads a tree's text. What does not parse was let in by the schema and is not what the model expects: a mistake of ours, told in the log.
fn parse<P: DeserializeOwned>(text: &str) -> Option<Resource<P>> {
    model::parse(text)
        .inspect_err(|error| tracing::error!(%error, "a resource is not what the controller expects"))
        .ok()
}

fn is_virtual(reference: &Reference) -> bool {
    Path::parse(&reference.path).is_ok_and(|path| path.tree().kind() == Kind::VirtualNetwork)
}

/// The pools that a virtual gateway subscribes to.
pub fn pools_of(gateway: &VirtualGateway) -> Vec<Id> {
    gateway.gateway_pools.iter().map(Reference::root).collect()
}

fn agent_of(text: &str) -> Option<AgentId> {
    let (role, id) = text.split_once('/')?;
    let role = [Role::Gateway, Role::Host].into_iter().find(|known| known.as_str() == role)?;
    Some(AgentId { role, id: id.into() })
}

/// The key of an agent's registration.
pub fn agent_key(agent: &AgentId) -> String {
    format!("{AGENTS}{}/{}", agent.role.as_str(), agent.id.lower())
}
