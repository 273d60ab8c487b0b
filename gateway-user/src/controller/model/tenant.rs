//! What tenants describe: virtual networks, interfaces, virtual gateways and their connections.

use super::bgp::{BgpRouter, PolicyMap};
use super::{Reference, Resource};
use crate::plan::Mac;
use ipnet::IpNet;
use serde::Deserialize;
use std::net::IpAddr;

/// A tenant's network.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualNetwork {
    /// How its packets travel on the fabric (ours).
    pub encapsulation: Encapsulation,
    /// Its subnets.
    pub subnets: Vec<Resource<VirtualSubnet>>,
}

/// How packets travel on the fabric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum Encapsulation {
    /// RFC 7348.
    #[default]
    #[serde(rename = "VXLAN")]
    Vxlan,
    /// RFC 7637.
    #[serde(rename = "NVGRE")]
    Nvgre,
}

/// A subnet of a virtual network.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualSubnet {
    /// Addresses in it.
    pub address_prefix: IpNet,
    /// The subnet of the other IP version on the same link (ours).
    #[serde(default)]
    pub same_link_as: Option<Reference>,
}

/// A tenant VM's interface.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkInterface {
    /// Its MAC address.
    #[serde(default)]
    pub private_mac_address: Option<Mac>,
    /// The host that its VM runs on; absent while it runs nowhere.
    #[serde(default)]
    pub server: Option<Reference>,
    /// The tap or veth on that host (ours).
    #[serde(default)]
    pub device_name: Option<String>,
    /// Its addresses.
    #[serde(default)]
    pub ip_configurations: Vec<Resource<IpConfiguration>>,
}

/// An address of an interface.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpConfiguration {
    /// The address.
    #[serde(rename = "privateIPAddress", default)]
    pub private_ip_address: Option<IpAddr>,
    /// The subnet that it is out of: of a virtual network for a tenant's VM.
    #[serde(default)]
    pub subnet: Option<Reference>,
}

/// A tenant's gateway: the tenant itself, as far as gateways know.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualGateway {
    /// The pools that may carry its connections; the default pool if there are none.
    pub gateway_pools: Vec<Reference>,
    /// The virtual subnets out of which the gateway's own addresses come.
    pub gateway_subnets: Vec<Reference>,
    /// Its connections.
    pub network_connections: Vec<Resource<NetworkConnection>>,
    /// Its BGP routers.
    pub bgp_routers: Vec<Resource<BgpRouter>>,
    /// What its BGP peers' policies are.
    pub policy_maps: Vec<Resource<PolicyMap>>,
}

/// How a site is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub enum ConnectionType {
    /// IKEv2 and ESP.
    #[serde(rename = "IPSec")]
    IpSec,
    /// GRE (RFC 2890).
    #[serde(rename = "GRE")]
    Gre,
    /// A VLAN of the tenant's own.
    L3,
}

/// Whether a connection is wanted to work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum ConnectionStatus {
    /// It is.
    #[default]
    Enabled,
    /// It keeps its place, and carries nothing.
    Disabled,
}

/// A connection to a site.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkConnection {
    /// How the site is reached.
    pub connection_type: ConnectionType,
    /// The limit to the site, in kbit/s.
    pub outbound_kilo_bits_per_second: u64,
    /// The limit from the site, in kbit/s.
    pub inbound_kilo_bits_per_second: u64,
    /// Of type GRE.
    #[serde(default)]
    pub gre_configuration: GreConfiguration,
    /// Of type L3.
    #[serde(default)]
    pub l3_configuration: L3Configuration,
    /// The site's end of a tunnel.
    #[serde(rename = "destinationIPAddress", default)]
    pub destination_ip_address: Option<IpAddr>,
    /// The gateway's addresses on the VLAN.
    #[serde(default)]
    pub ip_addresses: Vec<Address>,
    /// The site's routers on the VLAN.
    #[serde(rename = "peerIPAddresses", default)]
    pub peer_ip_addresses: Vec<IpAddr>,
    /// What lies behind the site.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Whether it is wanted to work.
    #[serde(default)]
    pub connection_status: ConnectionStatus,
}

/// Of a GRE connection.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GreConfiguration {
    /// The key, a number in decimal; absent or empty means no key.
    pub gre_key: Option<String>,
}

impl GreConfiguration {
    /// The key as a number. The schema has seen to it that it is one.
    pub fn key(&self) -> Option<u32> {
        self.gre_key.as_deref().and_then(|text| text.trim().parse().ok())
    }
}

/// Of an L3 connection.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct L3Configuration {
    /// The logical subnet with the VLAN.
    pub vlan_subnet: Option<Reference>,
}

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// The address.
    pub ip_address: IpAddr,
    /// The prefix's length, in bits.
    pub prefix_length: u8,
}

/// A route of a connection.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Where it leads.
    pub destination_prefix: IpNet,
    /// The router on the VLAN; unspecified (0.0.0.0) or absent means the peer.
    #[serde(default)]
    pub next_hop: Option<IpAddr>,
    /// The lower one wins.
    #[serde(default)]
    pub metric: u32,
}

/// A virtual network with all that gateways and hosts need to know of it.
///
/// On hosts the tenant goes by the network's id, which it has before it has a gateway; on gateways by the virtual gateway's.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The virtual network.
    pub network: Resource<VirtualNetwork>,
    /// The virtual gateway whose gateway subnets are of that network, if there is one.
    pub gateway: Option<Resource<VirtualGateway>>,
    /// The interfaces in that network.
    pub interfaces: Vec<Resource<NetworkInterface>>,
}
