//! What has to hold between properties, and between resources: what the tables of the schema cannot say.
//!
//! | to change | go to |
//! |---|---|
//! | logical networks, addresses, pools of addresses | [`fabric`] |
//! | virtual networks, interfaces | [`networks`] |
//! | gateway pools, gateways, virtual gateways | [`gateways`] |
//! | connections | [`connections`] |
//! | BGP and policy maps | [`bgp`] |
//! | addresses that are drawn | [`draw`](mod@draw) |
//! | the pools of public addresses | [`public`] |

pub mod bgp;
pub mod connections;
pub mod draw;
pub mod fabric;
pub mod gateways;
pub mod networks;
pub mod public;

pub use connections::leave_out_learned;
pub use draw::draw;
pub use fabric::vlan_conflicts;

use super::error::{Code, Error};
use super::path::Path;
use super::roles::Principal;
use super::schema::Kind;
use super::tree::index::Claim;
use super::tree::node::{Lookup, Node, text, walk};
use ipnet::IpNet;
use serde_json::Value;
use std::net::IpAddr;

/// A tree that is about to be written.
#[derive(Clone, Copy, Debug)]
pub struct Writing<'a> {
    /// Resources as they would be.
    pub lookup: &'a Lookup<'a>,
    /// Where the tree is.
    pub root: &'a Path,
    /// What it would be.
    pub new: &'a Value,
    /// What it is.
    pub old: Option<&'a Value>,
    /// Who asks.
    pub principal: &'a Principal,
}

/// What is wrong, with places as in the root's body.
#[derive(Debug, Default)]
pub struct Faults(Vec<Error>);

impl Faults {
    fn add(&mut self, code: Code, at: impl Into<String>, message: impl Into<String>) {
        self.0.push(Error::at(code, at, message));
    }

    fn value(&mut self, at: impl Into<String>, message: impl Into<String>) {
        self.add(Code::InvalidParameterValue, at, message);
    }
}

/// Everything that a tree's content breaks.
pub fn check(writing: &Writing<'_>) -> Vec<Error> {
    let mut faults = Faults::default();
    for node in walk(writing.root, writing.new) {
        match node.path.kind() {
            Kind::LogicalNetwork => fabric::logical_network(writing, &node, &mut faults),
            Kind::LogicalSubnet => fabric::logical_subnet(&node, &mut faults),
            Kind::MacPool => fabric::mac_pool(&node, &mut faults),
            Kind::PublicIpAddress => fabric::public_ip_address(&node, &mut faults),
            Kind::LoadBalancerManager => fabric::load_balancer_manager(writing, &node, &mut faults),
            Kind::VirtualNetwork => networks::virtual_network(writing, &node, &mut faults),
            Kind::NetworkInterface => networks::network_interface(writing, &node, &mut faults),
            Kind::GatewayPool => gateways::pool(writing, &node, &mut faults),
            Kind::Gateway => gateways::gateway(writing, &node, &mut faults),
            Kind::VirtualGateway => {
                gateways::virtual_gateway(writing, &node, &mut faults);
                connections::vlans(writing, &node, &mut faults);
            }
            Kind::NetworkConnection => connections::connection(writing, &node, &mut faults),
            Kind::BgpRouter => bgp::router(&node, &mut faults),
            Kind::BgpPeer => bgp::peer(&node, &mut faults),
            Kind::PolicyMap => bgp::policy_map(&node, &mut faults),
            _ => {}
        }
    }
    faults.0
}

/// Properties that stay as they are while something refers to the resource.
pub const fn frozen_in_use(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::LogicalSubnet => &["addressPrefix", "vlanID"],
        Kind::VirtualSubnet => &["addressPrefix"],
        Kind::GatewayPool => &["type"],
        _ => &[],
    }
}

/// What is said when a claim is another's.
pub fn claim_fault(claim: &Claim, owner: &str) -> (Code, String) {
    match claim {
        Claim::GatewayOf(_) => (
            Code::MultipleGatwaysUseSameVnet,
            format!("the virtual network has a gateway already, {owner}: one virtual gateway per virtual network"),
        ),
        Claim::Subnet(_) => {
            (Code::DuplicateVlan, format!("this subnet's VLAN is used by {owner}: one VLAN per connection"))
        }
        Claim::Vlan(vlan, _) | Claim::FabricVlan(vlan, _) => {
            (Code::DuplicateVlan, format!("VLAN {vlan} is used by {owner}, in the same racks: one VLAN per connection"))
        }
        Claim::Mac(_, mac) => (Code::DuplicateMacAddress, format!("{mac} is used by {owner} in the same network")),
        Claim::Address(_, address) => {
            (Code::DuplicateIPAddress, format!("{address} is used by {owner} in the same network"))
        }
        Claim::Public(address) => (Code::PublicIPAddressInUse, format!("{address} is that of {owner}")),
        Claim::Device(_, device) => {
            (Code::ResourceInUse, format!("`{device}` on that server is the device of {owner}"))
        }
        Claim::Machine(_) => (Code::ResourceInUse, format!("{owner} runs on that machine already")),
    }
}

fn address_of(value: Option<&Value>) -> Option<IpAddr> {
    value?.as_str()?.parse().ok()
}

fn prefix_of(resource: &Value, name: &str) -> Option<IpNet> {
    text(resource, name)?.parse().ok()
}

/// The number of an address, for ranges.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

/// The pairs of a list that share addresses: positions of the later and the earlier one.
fn overlaps(prefixes: &[(usize, IpNet)]) -> Vec<(usize, usize)> {
    // Prefixes either nest or are apart, so sorted by address a prefix overlaps its predecessors' widest or nothing.
    let mut sorted: Vec<(usize, IpNet)> = prefixes.to_vec();
    sorted.sort_by_key(|(_, prefix)| (prefix.addr(), prefix.prefix_len()));
    let mut found = Vec::new();
    let mut widest: Option<(usize, IpNet)> = None;
    for (position, prefix) in sorted {
        match widest {
            Some((earlier, wide)) if wide.contains(&prefix) => {
                found.push((position.max(earlier), position.min(earlier)));
            }
            _ => widest = Some((position, prefix)),
        }
    }
    found
}

/// Whether a host can have the address: one station's, out of the middle of its network.
fn is_station(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && address != IpAddr::from([255, 255, 255, 255])
}

fn within(node: &Node<'_>, name: &str, position: usize) -> String {
    node.at(&format!("{name}[{position}]"))
}
