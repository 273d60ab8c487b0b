//! What a write has to know of other trees: who refers to whom, and who has what only one may have.

use super::node::{self, Lookup, Node, target, text, walk};
use super::write::Change;
use crate::controller::parallel;
use crate::controller::resources::path::Path;
use crate::controller::resources::schema::Kind;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// One reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// To what: a key of [`Path::key`].
    pub target: Box<str>,
    /// By which property.
    pub via: &'static str,
    /// From where: a path, ids as they are spelled.
    pub from: Box<str>,
}

/// What only one may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// To be the gateway of a virtual network.
    GatewayOf(Box<str>),
    /// A logical subnet's VLAN, for an L3 connection.
    Subnet(Box<str>),
    /// The same by the VLAN's number. Another subnet may have it in other racks.
    Vlan(u16, Box<str>),
    /// A VLAN of the fabric itself.
    FabricVlan(u16, Box<str>),
    /// A MAC address in a network.
    Mac(Box<str>, Box<str>),
    /// An address in a network.
    Address(Box<str>, IpAddr),
    /// A public address.
    Public(IpAddr),
    /// A device on a server.
    Device(Box<str>, Box<str>),
    /// To be the gateway on a machine.
    Machine(Box<str>),
}

/// A claim, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// To what.
    pub claim: Claim,
    /// Whose: a path.
    pub owner: Box<str>,
    /// Where it stands in the root's body.
    pub at: String,
}

/// The two indexes.
#[derive(Debug, Default)]
pub struct Index {
    edges: BTreeSet<Edge>,
    claims: BTreeMap<Claim, Box<str>>,
}

impl Index {
    /// Adds those of many trees.
    pub(super) fn add(&mut self, mut edges: Vec<Edge>, claims: Vec<(Claim, Box<str>)>) {
        parallel::sort(&mut edges);
        self.edges.append(&mut edges.into_iter().collect());
        self.claims.append(&mut claims.into_iter().collect());
    }

    pub(super) fn apply(&mut self, change: &Change) {
        for edge in &change.edges_gone {
            self.edges.remove(edge);
        }
        self.edges.extend(change.edges_come.iter().cloned());
        for claim in &change.claims_gone {
            self.claims.remove(claim);
        }
        self.claims.extend(change.claims_come.iter().cloned());
    }

    /// Who refers to a key, by which property.
    pub(super) fn referrers<'a>(&'a self, key: &str) -> impl Iterator<Item = (&'a str, &'static str)> + use<'a> {
        let from = Edge { target: key.into(), via: "", from: "".into() };
        let key: Box<str> = key.into();
        self.edges.range(from..).take_while(move |edge| edge.target == key).map(|edge| (edge.from.as_ref(), edge.via))
    }

    /// Who has it.
    pub fn owner(&self, claim: &Claim) -> Option<&str> {
        self.claims.get(claim).map(AsRef::as_ref)
    }

    /// Who has a VLAN, by logical subnet.
    pub fn vlan(&self, vlan: u16) -> impl Iterator<Item = (&str, &str)> {
        self.claims.range(Claim::Vlan(vlan, "".into())..).map_while(move |(claim, owner)| match claim {
            Claim::Vlan(number, subnet) if *number == vlan => Some((subnet.as_ref(), owner.as_ref())),
            _ => None,
        })
    }

    /// Which public addresses from `first` to `last` somebody has, and who.
    pub fn public(&self, first: IpAddr, last: IpAddr) -> impl Iterator<Item = (IpAddr, &str)> {
        self.claims.range(Claim::Public(first)..).map_while(move |(claim, owner)| match claim {
            Claim::Public(address) if *address <= last => Some((*address, owner.as_ref())),
            _ => None,
        })
    }

    /// Which subnets of the fabric itself have a VLAN.
    pub fn fabric_vlan(&self, vlan: u16) -> impl Iterator<Item = &str> {
        self.claims.range(Claim::FabricVlan(vlan, "".into())..).map_while(move |(claim, owner)| match claim {
            Claim::FabricVlan(number, _) if *number == vlan => Some(owner.as_ref()),
            _ => None,
        })
    }
}

/// All references of a tree.
pub fn edges(root: &Path, value: &Value) -> BTreeSet<Edge> {
    let mut edges = BTreeSet::new();
    for node in walk(root, value) {
        let Some(Value::Object(properties)) = node.value.get("properties") else { continue };
        let from: Box<str> = node.path.to_string().into();
        node::references(node.path.kind().info().properties, properties, "", &mut |_, property, path| {
            edges.insert(Edge { target: path.key().into(), via: property.name, from: from.clone() });
        });
    }
    edges
}

/// Whether trees of a kind claim anything.
pub const fn has_claims(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::VirtualGateway | Kind::NetworkInterface | Kind::PublicIpAddress | Kind::Gateway | Kind::LogicalNetwork
    )
}

/// All claims of a tree, doubles included.
pub fn claims(lookup: &Lookup<'_>, root: &Path, value: &Value) -> Vec<Claimed> {
    let mut claims = Vec::new();
    for node in walk(root, value) {
        let mut claim = |claim, at: &str| {
            claims.push(Claimed { claim, owner: node.path.to_string().into(), at: node.at(at) });
        };
        match node.path.kind() {
            Kind::VirtualGateway => {
                let networks =
                    node::list(node.value, "gatewaySubnets").iter().filter_map(target).map(|path| path.tree().key());
                for network in networks.collect::<BTreeSet<_>>() {
                    claim(Claim::GatewayOf(network.into()), "gatewaySubnets");
                }
            }
            Kind::NetworkConnection if text(node.value, "connectionType") == Some("L3") => {
                let subnet = node::get(node.value, "l3Configuration").and_then(|l3| target(l3.get("vlanSubnet")?));
                if let Some(subnet) = subnet {
                    claim(Claim::Subnet(subnet.key().into()), "l3Configuration.vlanSubnet");
                    if let Some(vlan) = lookup.with(&subnet, vlan).flatten() {
                        claim(Claim::Vlan(vlan, subnet.key().into()), "l3Configuration.vlanSubnet");
                    }
                }
            }
            Kind::LogicalSubnet => {
                let fabric = node::get(value, "networkVirtualizationEnabled").and_then(Value::as_bool).unwrap_or(false);
                if let Some(vlan) = vlan(node.value).filter(|_| fabric) {
                    claim(Claim::FabricVlan(vlan, node.path.key().into()), "vlanID");
                }
            }
            Kind::NetworkInterface => interface_claims(&node, &mut claim),
            Kind::PublicIpAddress => {
                if let Some(address) = address(text(node.value, "ipAddress")) {
                    claim(Claim::Public(address), "ipAddress");
                }
            }
            Kind::Gateway => {
                if let Some(machine) = node::get(node.value, "virtualServer").and_then(target) {
                    claim(Claim::Machine(machine.key().into()), "virtualServer");
                }
            }
            _ => {}
        }
    }
    claims
}

fn interface_claims(node: &Node<'_>, claim: &mut dyn FnMut(Claim, &str)) {
    let server = node::get(node.value, "server").and_then(target);
    if let (Some(server), Some(device)) = (server, text(node.value, "deviceName")) {
        claim(Claim::Device(server.key().into(), device.into()), "deviceName");
    }
    let mut networks = BTreeSet::new();
    for (position, configuration) in node::list(node.value, "ipConfigurations").iter().enumerate() {
        let Some(subnet) = node::get(configuration, "subnet").and_then(target) else { continue };
        let network = subnet.tree().key();
        if let Some(address) = address(text(configuration, "privateIPAddress")) {
            let at = format!("ipConfigurations[{position}].properties.privateIPAddress");
            claim(Claim::Address(network.as_str().into(), address), &at);
        }
        networks.insert(network);
    }
    if let Some(mac) = text(node.value, "privateMacAddress") {
        for network in networks {
            claim(Claim::Mac(network.into(), mac.into()), "privateMacAddress");
        }
    }
}

/// A logical subnet's VLAN.
pub fn vlan(subnet: &Value) -> Option<u16> {
    node::get(subnet, "vlanID")?.as_u64().and_then(|vlan| u16::try_from(vlan).ok()).filter(|vlan| *vlan != 0)
}

fn address(text: Option<&str>) -> Option<IpAddr> {
    text?.parse().ok()
}
