//! What is configured of a speaker.

use crate::attributes::{Attributes, Community, ExtendedCommunity, LargeCommunity, NextHop};
use crate::number::{Asn, Family, RouterId};
use crate::policy::Policy;
use crate::rib::{
    AddPathSend, AggregateSettings, ClientToClient, DampingSettings, Limit, MedScope, MissingMed, Multipath,
    NeighbourSettings, NextHopMode, Relation, RibSettings, TieBreak, UnresolvedNextHop, WithoutPolicy,
};
use crate::session::{Local, Neighbor};
use crate::wire::{FirstAs, Forwarding, Peering, Role};
use ipnet::IpNet;
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// Names a neighbour among those of a speaker: what people call it. Stays the same over changes of its settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighborName(Arc<str>);

impl From<&str> for NeighborName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl Borrow<str> for NeighborName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for NeighborName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NeighborName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One speaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its AS.
    pub asn: Asn,
    /// Its BGP identifier.
    pub router_id: RouterId,
    /// What it puts into cluster lists (RFC 4456); the identifier where it is absent.
    pub cluster_id: Option<RouterId>,
    /// How it chooses among routes.
    pub decision: Decision,
    /// Its neighbours.
    pub neighbors: BTreeMap<NeighborName, NeighborConfig>,
    /// Prefixes that it originates.
    pub networks: Vec<Network>,
}

impl Config {
    /// A speaker without neighbours, with the usual settings.
    pub fn new(asn: Asn, router_id: RouterId) -> Self {
        Self {
            asn,
            router_id,
            cluster_id: None,
            decision: Decision::default(),
            neighbors: BTreeMap::new(),
            networks: Vec::new(),
        }
    }

    pub(super) const fn local(&self) -> Local {
        Local { asn: self.asn, router_id: self.router_id }
    }

    pub(super) fn rib(&self) -> RibSettings {
        let mut settings = RibSettings::new(self.asn, self.router_id);
        settings.cluster_id = self.cluster_id;
        settings.client_to_client = self.decision.client_to_client;
        settings.med_scope = self.decision.med_scope;
        settings.missing_med = self.decision.missing_med;
        settings.tie_break = self.decision.tie_break;
        settings.multipath = self.decision.multipath;
        settings.unresolved = self.decision.unresolved;
        settings.limit = self.decision.limit;
        settings.aggregates.clone_from(&self.decision.aggregates);
        settings
    }
}

/// How a speaker chooses among routes, and how many it keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether routes of one client go to the other clients.
    pub client_to_client: ClientToClient,
    /// How MEDs are compared.
    pub med_scope: MedScope,
    /// What no MED is worth.
    pub missing_med: MissingMed,
    /// What decides when all else is equal.
    pub tie_break: TieBreak,
    /// Which paths are used together.
    pub multipath: Multipath,
    /// Next hops that nobody has spoken of.
    pub unresolved: UnresolvedNextHop,
    /// At most so many paths from all neighbours together.
    pub limit: Option<Limit>,
    /// Aggregates.
    pub aggregates: Vec<AggregateSettings>,
    /// How long a speaker that restarts waits for its neighbours' routes (RFC 4724, 4.1).
    pub deferral: Deferral,
}

/// How long a speaker that restarts waits for its neighbours' routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferral(pub Duration);

impl Default for Deferral {
    fn default() -> Self {
        Self(Duration::from_secs(120))
    }
}

/// A neighbour and what happens to its routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborConfig {
    /// Its session.
    pub session: Neighbor,
    /// Its routes and ours to it.
    pub routes: RouteConfig,
}

impl From<Neighbor> for NeighborConfig {
    fn from(session: Neighbor) -> Self {
        Self { session, routes: RouteConfig::default() }
    }
}

/// What happens to a neighbour's routes, and to ours on their way to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteConfig {
    /// Whether it is a client of this route reflector. Means something inside the AS only.
    pub reflection: Reflection,
    /// What its routes go through.
    pub import: Option<Arc<Policy>>,
    /// What routes to it go through.
    pub export: Option<Arc<Policy>>,
    /// What becomes of routes where no policy is set.
    pub without_policy: WithoutPolicy,
    /// Whether its routes are kept as they came, so that another policy needs no refresh by it.
    pub soft_reconfiguration: SoftReconfiguration,
    /// The weight of its routes.
    pub weight: u32,
    /// How often our own AS may be in a path.
    pub allow_own_asn: u8,
    /// Whether its AS is replaced by ours in paths that it is sent.
    pub as_override: AsOverride,
    /// The next hop that it is told.
    pub next_hop: NextHopMode,
    /// Our IPv4 address as a next hop, where the session's own is of the other family.
    pub next_hop_v4: Option<Ipv4Addr>,
    /// Our IPv6 address as a next hop, where the session's own is of the other family.
    pub next_hop_v6: Option<Ipv6Addr>,
    /// Our link-local address beside it, where the neighbour is on the link (RFC 2545, 3).
    pub link_local: Option<Ipv6Addr>,
    /// Subnets that it shares with third parties.
    pub shared_subnets: Vec<IpNet>,
    /// How many paths of a prefix it is sent.
    pub add_path: AddPathSend,
    /// Whether it is sent a default route, whatever is in the table.
    pub default_originate: DefaultOriginate,
    /// Damping of its routes.
    pub damping: Option<DampingSettings>,
}

/// Whether a neighbour is a route reflector's client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reflection {
    /// It is none.
    #[default]
    NoClient,
    /// It is one.
    Client,
}

/// Whether a neighbour's routes are kept as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SoftReconfiguration {
    /// Only after the import policy; another policy asks the neighbour for its routes again.
    #[default]
    ByRefresh,
    /// They are.
    Kept,
}

/// Whether a neighbour's AS is replaced in what it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AsOverride {
    /// It stays.
    #[default]
    Off,
    /// By ours.
    On,
}

/// Whether a neighbour is sent a default route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultOriginate {
    /// If there is one.
    #[default]
    Off,
    /// In any case.
    On,
}

impl NeighborConfig {
    /// The neighbour as the table knows it.
    pub(super) fn rib(&self, local: &Local) -> NeighbourSettings {
        let (session, routes) = (&self.session, &self.routes);
        let relation = match (session.peering(local), routes.reflection) {
            (Peering::External, _) => Relation::External,
            (Peering::Internal, Reflection::NoClient) => Relation::Internal,
            (Peering::Internal, Reflection::Client) => Relation::Client,
        };
        let mut settings = NeighbourSettings::new(session.address, session.asn, relation);
        settings.import.clone_from(&routes.import);
        settings.export.clone_from(&routes.export);
        settings.without_policy = routes.without_policy;
        settings.soft_reconfiguration = routes.soft_reconfiguration == SoftReconfiguration::Kept;
        settings.weight = routes.weight;
        settings.allow_own_asn = routes.allow_own_asn;
        settings.enforce_first_asn = session.first_as == FirstAs::Enforced;
        settings.as_override = routes.as_override == AsOverride::On;
        settings.next_hop = routes.next_hop;
        settings.shared_subnets.clone_from(&routes.shared_subnets);
        settings.add_path = routes.add_path;
        settings.role = session.role.map(|role| match role.role {
            Role::Provider => crate::rib::Role::Provider,
            Role::RouteServer => crate::rib::Role::RouteServer,
            Role::RouteServerClient => crate::rib::Role::RouteServerClient,
            Role::Customer => crate::rib::Role::Customer,
            Role::Peer => crate::rib::Role::Peer,
        });
        settings.default_originate = routes.default_originate == DefaultOriginate::On;
        // The table keeps out what is above the highest limit; each family's own is the speaker's to see to.
        let limits = session.families.values().map(|family| family.max_prefixes);
        settings.limit = limits
            .reduce(|one, other| one.zip(other).map(|(one, other)| if one.limit > other.limit { one } else { other }))
            .flatten()
            .map(|limit| Limit { maximum: limit.limit, warning: u32::MAX });
        settings.damping = routes.damping;
        settings
    }

    pub(super) fn max_prefixes(&self, family: Family) -> Option<crate::session::MaxPrefixes> {
        self.session.families.get(&family).and_then(|family| family.max_prefixes)
    }
}

/// A prefix that a speaker originates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The prefix.
    pub prefix: IpNet,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Where it leads, where that is not this speaker.
    pub next_hop: NextHop,
    /// LOCAL_PREF inside the AS.
    pub local_pref: Option<u32>,
    /// Communities.
    pub communities: Vec<Community>,
    /// Extended communities.
    pub extended_communities: Vec<ExtendedCommunity>,
    /// Large communities.
    pub large_communities: Vec<LargeCommunity>,
}

impl From<IpNet> for Network {
    fn from(prefix: IpNet) -> Self {
        Self {
            prefix,
            med: None,
            next_hop: NextHop::SELF,
            local_pref: None,
            communities: Vec::new(),
            extended_communities: Vec::new(),
            large_communities: Vec::new(),
        }
    }
}

impl Network {
    pub(super) fn attributes(&self) -> Attributes {
        Attributes {
            med: self.med,
            next_hop: self.next_hop,
            local_pref: self.local_pref,
            communities: self.communities.clone(),
            extended_communities: self.extended_communities.clone(),
            large_communities: self.large_communities.clone(),
            ..Attributes::default()
        }
    }
}

/// How a speaker begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// There was none before it.
    Fresh,
    /// It takes over from one that ended, whose neighbours may have kept its routes (RFC 4724, 4.1).
    Restart(Forwarding),
}
