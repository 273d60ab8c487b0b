//! A tenant's BGP: its router, the neighbours at its sites, and what is let in and out.
//!
//! | to change | go to |
//! |---|---|
//! | a key | here, then `read` (TOML) |
//! | policies | [`policy`]; from the entries of a policy map: `entries` |
//! | the form or range of one value | `values` |
//! | what must agree | `check` |

pub(super) mod check;
mod entries;
pub mod policy;
pub(super) mod read;
mod values;

use super::model::{Connection, ConnectionKind, OtherGateway, Tenant};
use super::values::{Complaint, Dual, Name, Prefix};
use ::bfd::{Interval, Timers};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::net::IpAddr;
use std::num::NonZeroU32;

pub use entries::BadPolicy;
pub use values::{
    AsNumber, HoldTime, Hops, Identifier, Milliseconds, Multipath, Password, Percent, RestartTime, StaleTime,
};

/// A tenant's BGP router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bgp {
    /// Its autonomous system.
    pub as_number: AsNumber,
    /// Its BGP identifier; if absent, its IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_id: Option<Identifier>,
    /// Its addresses; if there are none, the gateway's own in the tenant.
    #[serde(default, skip_serializing_if = "Dual::is_empty")]
    pub addresses: Dual,
    /// The cluster that it reflects in (RFC 4456); if absent, its BGP identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<Identifier>,
    /// What of the plan is announced to peers.
    #[serde(default = "Bgp::default_announce")]
    pub announce: Box<[Announce]>,
    /// What else is announced.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub networks: Box<[Prefix]>,
    /// How many equally good paths share the flows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multipath: Option<Multipath>,
    /// Which paths count as equally good.
    #[serde(default)]
    pub multipath_as_path: AsPathEquality,
    /// The most prefixes that are taken from all peers together; if absent, what the tenant's table has room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_routes: Option<NonZeroU32>,
    /// Whether routes that come and go are kept back for a while.
    #[serde(default)]
    pub damping: Damping,
    /// The neighbours.
    #[serde(rename = "peer", default, skip_serializing_if = "<[_]>::is_empty")]
    pub peers: Box<[BgpPeer]>,
    /// What peers' `policy_in` and `policy_out` name.
    #[serde(rename = "policy", default, skip_serializing_if = "<[_]>::is_empty")]
    pub policies: Box<[policy::BgpPolicy]>,
}

impl Bgp {
    /// What is announced when the plan does not say.
    pub const DEFAULT_ANNOUNCE: [Announce; 1] = [Announce::Subnets];

    /// A router of which nothing more is said.
    pub fn new(as_number: AsNumber) -> Self {
        Self {
            as_number,
            router_id: None,
            addresses: Dual::default(),
            cluster_id: None,
            announce: Self::default_announce(),
            networks: Box::default(),
            multipath: None,
            multipath_as_path: AsPathEquality::default(),
            max_routes: None,
            damping: Damping::default(),
            peers: Box::default(),
            policies: Box::default(),
        }
    }

    pub(super) fn default_announce() -> Box<[Announce]> {
        Self::DEFAULT_ANNOUNCE.into()
    }
}

/// A part of the plan whose prefixes are announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Announce {
    /// The virtual subnets.
    Subnets,
    /// The subnet of the gateway's own addresses.
    GatewaySubnet,
    /// The networks of the VLANs of L3 connections.
    Vlans,
    /// The static routes of connections, and what lies behind the tenant's other gateways.
    StaticRoutes,
}

/// What paths must have in common to share the flows, apart from being equally good otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AsPathEquality {
    /// The AS path.
    #[default]
    Same,
    /// The AS path's length.
    Length,
}

/// Whether routes that come and go are kept back for a while (RFC 2439).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Damping {
    /// They are not.
    #[default]
    Off,
    /// With the values of RFC 7196.
    Rfc7196,
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BgpPeer {
    /// Its name, unique within the tenant.
    pub name: Name,
    /// Its address, unique within the tenant.
    pub address: IpAddr,
    /// Its autonomous system.
    pub as_number: AsNumber,
    /// By which connection it is reached; if absent, that follows from its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Name>,
    /// Our end; if absent, the router's address, or on a VLAN the gateway's there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_address: Option<IpAddr>,
    /// Who opens the session.
    #[serde(default)]
    pub mode: PeerMode,
    /// How long it may be silent.
    #[serde(rename = "hold_time_ms", default)]
    pub hold_time: HoldTime,
    /// How long to wait before another attempt.
    #[serde(rename = "connect_retry_ms", default, skip_serializing_if = "Option::is_none")]
    pub connect_retry: Option<Milliseconds>,
    /// The session's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// How many hops away an eBGP peer may be; if absent, one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multihop: Option<Hops>,
    /// Packets from farther away than so many hops are dropped (RFC 5082).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_security: Option<Hops>,
    /// Whether the peer's end of the path is watched by BFD (RFC 5882).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<BgpBfd>,
    /// Prefixes that it may send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prefixes: Option<MaxPrefixes>,
    /// What is let in, and how it is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_in: Option<Name>,
    /// What is let out, and how it is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_out: Option<Name>,
    /// Our role in the session (RFC 9234).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<PeerRole>,
    /// What it is to our route reflector.
    #[serde(default, skip_serializing_if = "Reflection::is_none")]
    pub reflection: Reflection,
    /// How long its routes are kept while it restarts, and ours by it (RFC 4724).
    #[serde(rename = "graceful_restart_s", default = "BgpPeer::default_restart_time")]
    pub graceful_restart: RestartTime,
    /// How long they are kept after that as a last resort (RFC 9494).
    #[serde(rename = "long_lived_stale_s", default, skip_serializing_if = "Option::is_none")]
    pub long_lived_stale: Option<StaleTime>,
    /// Whether several paths to a prefix are exchanged (RFC 7911).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_path: Option<AddPath>,
    /// Whose routes are exchanged; if empty, those of the address's family.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub families: Box<[PeerFamily]>,
}

impl BgpPeer {
    /// A neighbour of which nothing more is said.
    pub fn new(name: Name, address: IpAddr, as_number: AsNumber) -> Self {
        Self {
            name,
            address,
            as_number,
            connection: None,
            local_address: None,
            mode: PeerMode::default(),
            hold_time: HoldTime::default(),
            connect_retry: None,
            password: None,
            multihop: None,
            ttl_security: None,
            bfd: None,
            max_prefixes: None,
            policy_in: None,
            policy_out: None,
            role: None,
            reflection: Reflection::default(),
            graceful_restart: Self::default_restart_time(),
            long_lived_stale: None,
            add_path: None,
            families: Box::default(),
        }
    }

    pub(super) fn default_restart_time() -> RestartTime {
        RestartTime::try_from(120).unwrap_or_else(|_| unreachable!("it is in range"))
    }
}

/// Who opens a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerMode {
    /// We do; what the peer opens is taken, too.
    #[default]
    Mixed,
    /// We alone.
    Active,
    /// The peer alone.
    Passive,
}

/// A peer's BFD session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BgpBfd {
    /// How often either end sends.
    #[serde(rename = "interval_ms")]
    pub interval: Milliseconds,
    /// How many may be lost.
    #[serde(default = "BgpBfd::default_multiplier")]
    pub multiplier: Hops,
}

impl BgpBfd {
    /// What the session is to run with.
    ///
    /// # Errors
    /// No session can.
    pub fn timers(self) -> Result<Timers, Complaint> {
        let interval = Interval::from_millis(self.interval.get());
        Timers::new(interval, interval, self.multiplier.get()).map_err(|_| {
            let (least, most) = (Timers::SHORTEST.0 / 1000, Timers::LONGEST.0 / 1000);
            let what = format!("a BFD session cannot run with an interval of {} ms", self.interval);
            Complaint::new(what, format!("write {least} to {most}; 300 suits machines that share their processors"))
        })
    }

    pub(super) fn default_multiplier() -> Hops {
        Hops::try_from(3).unwrap_or_else(|_| unreachable!("it is in range"))
    }
}

/// How many prefixes a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxPrefixes {
    /// With more the session is ended.
    pub count: NonZeroU32,
    /// From this part of them on a person is told.
    #[serde(rename = "warning_percent", default = "MaxPrefixes::default_warning")]
    pub warning: Percent,
    /// When the session is tried again; if absent, when an operator says so.
    #[serde(rename = "restart_ms", default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Milliseconds>,
}

impl MaxPrefixes {
    pub(super) fn default_warning() -> Percent {
        Percent::try_from(80).unwrap_or_else(|_| unreachable!("it is in range"))
    }
}

/// Our role towards a peer (RFC 9234).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerRole {
    /// It is our customer.
    Provider,
    /// It is our provider.
    Customer,
    /// Neither.
    Peer,
    /// We are a route server, it is a client of it.
    RouteServer,
    /// It is a route server, we are a client of it.
    RouteServerClient,
}

/// What an iBGP peer is to our route reflector (RFC 4456).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reflection {
    /// Nothing special.
    #[default]
    None,
    /// A client.
    Client,
}

impl Reflection {
    const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// Which way several paths to a prefix go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddPath {
    /// To the peer.
    Send,
    /// From the peer.
    Receive,
    /// Both ways.
    Both,
}

/// Routes of one address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Tenant {
    /// The addresses of the tenant's BGP router.
    pub fn router_addresses(&self) -> Dual {
        match &self.bgp {
            Some(bgp) if !bgp.addresses.is_empty() => bgp.addresses,
            _ => self.gateway_addresses,
        }
    }

    /// All of the gateway's own addresses in the tenant, VLANs aside: none twice.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let gateway = self.gateway_addresses;
        let router = self.bgp.as_ref().map_or_else(Dual::default, |bgp| bgp.addresses);
        gateway.iter().chain(router.iter().filter(move |address| !gateway.contains(*address)))
    }

    /// By what an address is reached: the connection that has it on a VLAN or among its `peers`, the gateway whose own it is, or what has
    /// the longest static route to it; of several that are alike, the first, and a connection before another gateway.
    pub fn reach(&self, address: IpAddr) -> Option<Reach<'_>> {
        // Of several greatest ones `max_by_key` gives the last.
        let gateways = self.gateways.iter().rev();
        let gateways = gateways.filter_map(|gateway| Some((gateway.leads_to(address)?, Reach::Gateway(gateway))));
        let connections = self.connections.iter().rev();
        let connections =
            connections.filter_map(|connection| Some((connection.leads_to(address)?, Reach::Connection(connection))));
        gateways.chain(connections).max_by_key(|(how, _)| *how).map(|(_, by)| by)
    }

    /// By what a peer is reached: the connection that is named, else what leads to its address.
    pub fn reach_of(&self, peer: &BgpPeer) -> Option<Reach<'_>> {
        match &peer.connection {
            Some(name) => self.connections.iter().find(|connection| connection.name == *name).map(Reach::Connection),
            None => self.reach(peer.address),
        }
    }

    /// The connection by which a peer is reached, if it is one.
    pub fn connection_to(&self, peer: &BgpPeer) -> Option<&Connection> {
        match self.reach_of(peer)? {
            Reach::Connection(connection) => Some(connection),
            Reach::Gateway(_) => None,
        }
    }

    /// Our end of the session with a peer, if there is an address for it.
    pub fn local_address_for(&self, peer: &BgpPeer) -> Option<IpAddr> {
        let on_link = || self.connection_to(peer).and_then(|connection| connection.address_on_link(peer.address));
        peer.local_address.or_else(on_link).or_else(|| self.router_addresses().same_family(peer.address))
    }

    /// What a peer is told to send packets to: on a VLAN the gateway's addresses there, which need no route, and elsewhere the router's.
    pub fn next_hops_for(&self, peer: &BgpPeer) -> Dual {
        let on_link = self.connection_to(peer).filter(|connection| connection.network_of(peer.address).is_some());
        let vlan = on_link.map(Connection::own_addresses).unwrap_or_default();
        let router = self.router_addresses();
        Dual { v4: vlan.v4.or(router.v4), v6: vlan.v6.or(router.v6) }
    }

    /// The peers that are reached by a connection.
    pub fn peers_by<'a>(&'a self, connection: &'a Connection) -> impl Iterator<Item = &'a BgpPeer> {
        let peers = self.bgp.iter().flat_map(|bgp| &bgp.peers);
        peers.filter(|peer| self.connection_to(peer).is_some_and(|it| it.name == connection.name))
    }

    /// The prefixes that the tenant's router announces by itself, none twice.
    pub fn announced(&self) -> Vec<IpNet> {
        let Some(bgp) = &self.bgp else { return Vec::new() };
        let mut all: Vec<IpNet> = bgp.networks.iter().map(|prefix| prefix.net()).collect();
        for what in &bgp.announce {
            match what {
                Announce::Subnets => all.extend(self.subnets.iter().map(|subnet| subnet.prefix.net())),
                Announce::GatewaySubnet => all.extend(self.gateway_subnet.map(Prefix::net)),
                Announce::Vlans => all.extend(self.connections.iter().flat_map(Connection::networks).map(Prefix::net)),
                Announce::StaticRoutes => {
                    let enabled = self.connections.iter().filter(|connection| connection.enabled);
                    all.extend(enabled.flat_map(|connection| &connection.routes).map(|route| route.destination.net()));
                    let others = self.gateways.iter().flat_map(|gateway| &gateway.routes);
                    all.extend(others.map(|route| route.destination.net()));
                }
            }
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// By what an address is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach<'a> {
    /// By a connection.
    Connection(&'a Connection),
    /// By another gateway of the tenant: it is one of its own addresses, or it is reached from there.
    Gateway(&'a OtherGateway),
}

impl OtherGateway {
    /// How it leads to an address, if it does.
    pub fn leads_to(&self, address: IpAddr) -> Option<Leads> {
        if self.addresses.contains(&address) {
            return Some(Leads::Directly);
        }
        let covering = self.routes.iter().filter(|route| route.destination.contains(address));
        covering.map(|route| Leads::ByRoute(route.destination.prefix_len(), Reverse(route.metric))).max()
    }
}

/// How a connection or a gateway leads to an address: the better, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leads {
    /// By a static route, of which this is the prefix's length, and the metric.
    ByRoute(u8, Reverse<u32>),
    /// It is on the VLAN, or one of the connection's peers.
    Directly,
}

impl Connection {
    /// How it leads to an address, if it does.
    pub fn leads_to(&self, address: IpAddr) -> Option<Leads> {
        if self.peers.contains(&address) || self.network_of(address).is_some() {
            return Some(Leads::Directly);
        }
        let covering = self.routes.iter().filter(|route| route.destination.contains(address));
        covering.map(|route| Leads::ByRoute(route.destination.prefix_len(), Reverse(route.metric))).max()
    }

    /// The networks of its VLAN.
    pub fn networks(&self) -> impl Iterator<Item = Prefix> {
        let addresses = match &self.kind {
            ConnectionKind::L3(l3) => &*l3.addresses,
            ConnectionKind::Gre(_) => &[],
        };
        addresses.iter().map(|address| address.network())
    }

    /// The gateway's first address of each family on its VLAN.
    fn own_addresses(&self) -> Dual {
        let mut own = Dual::default();
        if let ConnectionKind::L3(l3) = &self.kind {
            for address in &l3.addresses {
                match address.addr() {
                    IpAddr::V4(address) => own.v4 = own.v4.or(Some(address)),
                    IpAddr::V6(address) => own.v6 = own.v6.or(Some(address)),
                }
            }
        }
        own
    }

    /// The network of its VLAN that an address is in.
    pub fn network_of(&self, address: IpAddr) -> Option<Prefix> {
        self.networks().find(|network| network.contains(address))
    }

    /// The gateway's address on the VLAN network that an address is in.
    pub fn address_on_link(&self, address: IpAddr) -> Option<IpAddr> {
        match &self.kind {
            ConnectionKind::L3(l3) => {
                l3.addresses.iter().find(|own| own.network().contains(address)).map(|own| own.addr())
            }
            ConnectionKind::Gre(_) => None,
        }
    }
}
