//! What operators describe: logical networks, public addresses, servers, pools and gateways.

use super::{Id, Reference, Resource};
use ipnet::IpNet;
use seat::timers::{Settings, Timers, TimersError};
use serde::Deserialize;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

/// A network of the fabric.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogicalNetwork {
    /// Whether provider addresses are out of it.
    pub network_virtualization_enabled: bool,
    /// Its subnets.
    pub subnets: Vec<Resource<LogicalSubnet>>,
}

/// A subnet of a logical network.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogicalSubnet {
    /// Addresses in it.
    pub address_prefix: IpNet,
    /// Its VLAN; 0 or absent is none.
    #[serde(rename = "vlanID", default)]
    pub vlan: Option<u16>,
    /// The racks whose ToR has the VLAN; empty means all.
    #[serde(default)]
    pub racks: Vec<String>,
    /// Addresses that the controller may give away.
    #[serde(default)]
    pub ip_pools: Vec<Resource<IpPool>>,
}

/// A range of addresses, both ends included.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpPool {
    /// The first address.
    pub start_ip_address: IpAddr,
    /// The last address.
    pub end_ip_address: IpAddr,
}

/// A public address.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicIpAddress {
    /// The address.
    #[serde(default)]
    pub ip_address: Option<IpAddr>,
}

/// Where something stands: what fails together with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FailureDomain {
    /// The physical host.
    pub host: Option<String>,
    /// The rack.
    pub rack: Option<String>,
}

/// A compute host.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Server {
    /// Where it stands.
    pub failure_domain: FailureDomain,
}

/// A machine that a gateway runs on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualServer {
    /// The server that it runs on.
    pub server: Option<Reference>,
}

/// What a pool's gateways carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum PoolType {
    /// IPsec connections only.
    #[serde(rename = "s2sIPsec")]
    IpSec,
    /// GRE connections only.
    #[serde(rename = "s2sGre")]
    Gre,
    /// L3 connections only.
    #[serde(rename = "forwarding")]
    Forwarding,
    /// Connections of all types.
    All,
}

/// How a type's share of a gateway's capacity is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum CapacityRule {
    /// Windows Server 2016: fixed ratios, IPsec 3/20, GRE 1/5, L3 1/2.
    #[serde(rename = "2016")]
    Ratios,
    /// Windows Server 2019: fixed maxima, IPsec 5, GRE 15, L3 5 Gbit/s.
    #[default]
    #[serde(rename = "2019")]
    Maxima,
}

/// A pool of gateways.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayPool {
    /// What its gateways carry.
    #[serde(rename = "type")]
    pub kind: PoolType,
    /// N: how many gateways are kept as standbys.
    pub redundant_gateway_count: u32,
    /// What each gateway can carry, in kbit/s.
    pub gateway_capacity_kilo_bits_per_second: u64,
    /// How capacity is counted (ours).
    #[serde(default)]
    pub capacity_rule: CapacityRule,
    /// Where VIPs come from.
    #[serde(default)]
    pub ip_configuration: PoolAddresses,
    /// Where seats' addresses on the fabric come from; without, there are no seats (ours).
    #[serde(default)]
    pub seat_fabric_subnet: Option<Reference>,
    /// Where their addresses on the racks' side come from (ours).
    #[serde(default)]
    pub seat_rack_subnet: Option<Reference>,
    /// When a gateway counts as gone (ours).
    #[serde(default)]
    pub failover_timers: FailoverTimers,
}

/// When a gateway counts as gone; what is left out is as usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FailoverTimers {
    /// Between two probes.
    pub probe_milliseconds: Option<u32>,
    /// Probes in a row without an answer that mean an end.
    pub misses: Option<NonZeroU32>,
    /// Without a word from an agent, until it counts as dead.
    pub heartbeat_milliseconds: Option<u32>,
    /// What a dead agent is given to come back.
    pub restart_milliseconds: Option<u32>,
    /// Between two rounds of a holder's questions.
    pub renewal_milliseconds: Option<u32>,
    /// How long a majority's answer lets a holder forward.
    pub lease_milliseconds: Option<u32>,
    /// Until an unanswered question is asked again.
    pub patience_milliseconds: Option<u32>,
}

impl FailoverTimers {
    /// All of them.
    ///
    /// # Errors
    /// They do not go together.
    pub fn all(&self) -> Result<Timers, TimersError> {
        let usual = Settings::default();
        let time = |set: Option<u32>, usual| set.map_or(usual, |set| Duration::from_millis(set.into()));
        Timers::new(Settings {
            probe: time(self.probe_milliseconds, usual.probe),
            misses: self.misses.unwrap_or(usual.misses),
            heartbeat: time(self.heartbeat_milliseconds, usual.heartbeat),
            restart: time(self.restart_milliseconds, usual.restart),
            renewal: time(self.renewal_milliseconds, usual.renewal),
            lease: time(self.lease_milliseconds, usual.lease),
            patience: time(self.patience_milliseconds, usual.patience),
        })
    }
}

/// Where a pool's VIPs come from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolAddresses {
    /// Logical subnets out of whose pools GRE VIPs are drawn.
    pub gre_vip_subnets: Vec<Reference>,
    /// Shared public addresses.
    #[serde(rename = "publicIPAddresses")]
    pub public_ip_addresses: Vec<Reference>,
}

/// What an operator wants of a gateway (ours).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum Schedulable {
    /// It takes connections.
    #[default]
    Enabled,
    /// It keeps what it has and takes no more.
    Cordoned,
    /// It takes no more, and hands over the seats that it holds.
    Drained,
}

/// A gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// The pool that it is in.
    pub pool: Reference,
    /// The machine that it runs on.
    #[serde(default)]
    pub virtual_server: Option<Reference>,
    /// Where it stands; if absent, where its machine's server does (ours).
    #[serde(default)]
    pub failure_domain: FailureDomain,
    /// Whether it takes connections (ours).
    #[serde(default)]
    pub scheduling: Schedulable,
    /// Its BGP with the rack's routers.
    #[serde(default)]
    pub bgp_config: RackBgp,
}

/// A gateway's BGP with the rack's routers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RackBgp {
    /// The gateway's autonomous system.
    #[serde(rename = "extASNumber")]
    pub ext_as_number: Option<String>,
    /// The routers.
    #[serde(rename = "bgpPeer")]
    pub peers: Vec<RackPeer>,
}

/// One of the rack's routers.
#[derive(Clone, Debug, Deserialize)]
pub struct RackPeer {
    /// Its address.
    #[serde(rename = "peerIP")]
    pub address: IpAddr,
    /// Its autonomous system.
    #[serde(rename = "peerExtAsNumber")]
    pub ext_as_number: String,
}

impl LogicalNetwork {
    /// A subnet by its id.
    pub fn subnet(&self, id: &Id) -> Option<&LogicalSubnet> {
        self.subnets.iter().find(|subnet| subnet.resource_id == *id).map(|subnet| &subnet.properties)
    }
}
