//! How a table and its neighbours are set up.

use super::NeighbourId;
use crate::number::{Asn, Family, RouterId};
use crate::policy::Policy;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// How MEDs are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MedScope {
    /// Between paths from the same neighbouring system (RFC 4271, 9.1.2.2 c).
    #[default]
    SameNeighbour,
    /// Between all paths.
    AcrossAsns,
}

/// What a path without a MED is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingMed {
    /// 0, the best.
    #[default]
    Best,
    /// The worst there is.
    Worst,
}

/// Whether the older of two paths from outside is kept before identifiers are compared (RFC 5004).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TieBreak {
    /// The older one stays: fewer changes.
    Oldest,
    /// Identifiers at once: the same outcome whatever the order of arrival.
    #[default]
    RouterId,
}

/// Which equally good paths are used together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multipath {
    /// At most so many; 1 for none besides the best.
    pub maximum: u16,
    /// Which paths count as equal.
    pub paths: EqualPaths,
}

impl Default for Multipath {
    fn default() -> Self {
        Self { maximum: 1, paths: EqualPaths::default() }
    }
}

/// Which AS paths count as equal for multipath.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EqualPaths {
    /// From outside: through the same neighbouring system. From inside: the same path.
    #[default]
    SameNeighbour,
    /// Of the same length.
    SameLength,
}

/// What a next hop is worth that nobody has spoken of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnresolvedNextHop {
    /// It is reachable, at metric 0.
    #[default]
    Reachable,
    /// It is not, until [`Rib::resolve`](super::Rib::resolve) says so.
    Unreachable,
}

/// A limit on how many paths are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// At most so many.
    pub maximum: u32,
    /// From so many on, a warning is given once.
    pub warning: u32,
}

/// An aggregate that is originated while a more specific route is there (RFC 4271, 9.2.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateSettings {
    /// Its prefix.
    pub prefix: IpNet,
    /// Whether the routes that it stands for are not sent beside it.
    pub summary_only: bool,
    /// Whether the systems of their paths are kept, in an AS_SET.
    pub keep_as_path: bool,
}

/// A confederation (RFC 5065) that the speaker's system is a member of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confederation {
    /// The number that the world outside sees.
    pub identifier: Asn,
}

/// A table's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RibSettings {
    /// The speaker's autonomous system.
    pub asn: Asn,
    /// Its identifier.
    pub router_id: RouterId,
    /// Its cluster (RFC 4456); its identifier where it has none of its own.
    pub cluster_id: Option<RouterId>,
    /// Whether routes of one client go to the other clients.
    pub client_to_client: ClientToClient,
    /// The confederation, if it is in one.
    pub confederation: Option<Confederation>,
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
}

/// Whether a route reflector's clients get each other's routes from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientToClient {
    /// They do.
    #[default]
    Reflected,
    /// They have them from each other.
    Withheld,
}

impl RibSettings {
    /// The usual settings for a speaker.
    pub const fn new(asn: Asn, router_id: RouterId) -> Self {
        Self {
            asn,
            router_id,
            cluster_id: None,
            client_to_client: ClientToClient::Reflected,
            confederation: None,
            med_scope: MedScope::SameNeighbour,
            missing_med: MissingMed::Best,
            tie_break: TieBreak::RouterId,
            multipath: Multipath { maximum: 1, paths: EqualPaths::SameNeighbour },
            unresolved: UnresolvedNextHop::Reachable,
            limit: None,
            aggregates: Vec::new(),
        }
    }

    pub(super) fn cluster(&self) -> RouterId {
        self.cluster_id.unwrap_or(self.router_id)
    }
}

/// What a neighbour is to the speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// Of another autonomous system.
    External,
    /// Of another member of the own confederation.
    ConfederationExternal,
    /// Of the own autonomous system.
    Internal,
    /// Of the own autonomous system, served as a route reflector's client.
    Client,
}

impl Relation {
    /// Whether it is of the own autonomous system.
    pub const fn is_internal(self) -> bool {
        matches!(self, Self::Internal | Self::Client)
    }
}

/// The speaker's own role towards a neighbour (RFC 9234).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It sells transit to the neighbour.
    Provider,
    /// It is a route server for the neighbour.
    RouteServer,
    /// It is a client of the neighbour's route server.
    RouteServerClient,
    /// It buys transit from the neighbour.
    Customer,
    /// Neither.
    Peer,
}

/// The next hop that a neighbour is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NextHopMode {
    /// Outside: the speaker itself, or a third party on the neighbour's own subnet. Inside: as it came.
    #[default]
    Standard,
    /// The speaker itself, except for routes that it reflects.
    ToSelf,
    /// The speaker itself, always.
    ToSelfAlways,
    /// As it came.
    Unchanged,
}

/// How many paths of a prefix a neighbour is sent (RFC 7911), where the session can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AddPathSend {
    /// The best one.
    #[default]
    Best,
    /// So many of the best.
    BestOf(u16),
    /// All that may be used.
    All,
}

/// What becomes of routes where no policy is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WithoutPolicy {
    /// They pass.
    #[default]
    Permit,
    /// Those of neighbours outside do not (RFC 8212).
    DenyExternal,
}

/// Damping of routes that flap (RFC 2439 with the values of RFC 7196).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DampingSettings {
    /// A route is suppressed from this penalty on. A withdrawal adds 1000, another path 500.
    pub suppress: u32,
    /// It is used again below this one.
    pub reuse: u32,
    /// The time in which the penalty halves.
    pub half_life: Duration,
    /// The longest that a route is suppressed after its last flap.
    pub longest: Duration,
}

impl Default for DampingSettings {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        Self { suppress: 6000, reuse: 750, half_life: minutes(15), longest: minutes(60) }
    }
}

/// A neighbour's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourSettings {
    /// Its address.
    pub address: IpAddr,
    /// Its autonomous system.
    pub asn: Asn,
    /// What it is to the speaker.
    pub relation: Relation,
    /// What its routes go through.
    pub import: Option<Arc<Policy>>,
    /// What routes to it go through.
    pub export: Option<Arc<Policy>>,
    /// What becomes of routes where no policy is set.
    pub without_policy: WithoutPolicy,
    /// Whether its routes are kept as they came, so that another policy needs no refresh by the neighbour.
    pub soft_reconfiguration: bool,
    /// The weight of its routes.
    pub weight: u32,
    /// How often the own number may be in a path.
    pub allow_own_asn: u8,
    /// Whether the first number of a path must be its own (RFC 4271, 6.3); not so for route servers.
    pub enforce_first_asn: bool,
    /// Whether its own number is replaced by the speaker's in paths that it is sent.
    pub as_override: bool,
    /// The next hop that it is told.
    pub next_hop: NextHopMode,
    /// A subnet that it shares with third parties, for their next hops.
    pub shared_subnets: Vec<IpNet>,
    /// How many paths of a prefix it is sent.
    pub add_path: AddPathSend,
    /// The speaker's role towards it.
    pub role: Option<Role>,
    /// Whether it is sent a default route, whatever is in the table.
    pub default_originate: bool,
    /// At most so many paths of each family.
    pub limit: Option<Limit>,
    /// Damping of its routes.
    pub damping: Option<DampingSettings>,
}

impl NeighbourSettings {
    /// The usual settings for a neighbour.
    pub const fn new(address: IpAddr, asn: Asn, relation: Relation) -> Self {
        Self {
            address,
            asn,
            relation,
            import: None,
            export: None,
            without_policy: WithoutPolicy::Permit,
            soft_reconfiguration: false,
            weight: 0,
            allow_own_asn: 0,
            enforce_first_asn: true,
            as_override: false,
            next_hop: NextHopMode::Standard,
            shared_subnets: Vec::new(),
            add_path: AddPathSend::Best,
            role: None,
            default_originate: false,
            limit: None,
            damping: None,
        }
    }

    /// Whether routes that came before would be taken differently.
    pub(super) fn imports_like(&self, other: &Self) -> bool {
        self.import == other.import
            && self.without_policy == other.without_policy
            && self.weight == other.weight
            && self.allow_own_asn == other.allow_own_asn
            && self.enforce_first_asn == other.enforce_first_asn
            && self.role == other.role
            && self.relation == other.relation
    }
}

/// What was settled with a neighbour when the session came up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    /// Its identifier.
    pub router_id: RouterId,
    /// The families whose routes are exchanged.
    pub families: Vec<Family>,
    /// The families whose routes it takes with path identifiers (RFC 7911).
    pub add_path_send: Vec<Family>,
    /// Whether it takes IPv6 next hops for IPv4 routes (RFC 8950).
    pub extended_next_hop: bool,
    /// Whether it knows AS numbers of four octets; messages become longer where not.
    pub four_octet_asn: bool,
    /// Whether it keeps routes for long (RFC 9494).
    pub long_lived: bool,
    /// The speaker's IPv4 address on the session's link.
    pub local_v4: Option<Ipv4Addr>,
    /// The speaker's IPv6 address there.
    pub local_v6: Option<Ipv6Addr>,
    /// The speaker's link-local address there.
    pub local_link: Option<Ipv6Addr>,
}

impl SessionFacts {
    /// A session that knows the family of the speaker's address and nothing special.
    pub fn new(router_id: RouterId, local: IpAddr) -> Self {
        let (local_v4, local_v6) = match local {
            IpAddr::V4(address) => (Some(address), None),
            IpAddr::V6(address) => (None, Some(address)),
        };
        Self {
            router_id,
            families: vec![Family::of(local)],
            add_path_send: Vec::new(),
            extended_next_hop: false,
            four_octet_asn: true,
            long_lived: false,
            local_v4,
            local_v6,
            local_link: None,
        }
    }
}

/// Whose limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitScope {
    /// A neighbour's, in a family.
    Neighbour(NeighbourId, Family),
    /// That of the whole table.
    Table,
    /// Of how many paths a neighbour may have to one prefix: 128.
    Prefix(NeighbourId),
}
