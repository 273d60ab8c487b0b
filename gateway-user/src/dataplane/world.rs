//! What the host looks like at a moment: all that the tables need to know beside the plan.
//!
//! The network side fills it from rtnetlink and the compartments that it made; what is missing here is unresolved, and
//! packets for it are dropped and counted until it turns up.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU32;

/// A MAC address.
pub type Mac = [u8; 6];

/// The host around a plan. An empty world is valid: everything is unresolved in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// The plan's ports that exist, by name.
    pub ports: BTreeMap<String, PortState>,
    /// The way to outer addresses: hosts' provider addresses, far ends of GRE tunnels, and both sides of steering rules.
    pub hops: HashMap<IpAddr, Hop>,
    /// Link-layer addresses on the VLANs of L3 connections: every neighbour that the compartment's kernel knows, peers and next hops above all.
    pub neighbours: HashMap<Neighbour, Mac>,
    /// The root end of each tenant's routed attachment, by tenant.
    pub compartments: BTreeMap<String, CompartmentState>,
    /// The interface index of the root end of each L3 connection's VLAN attachment.
    pub attachments: BTreeMap<ConnectionName, u32>,
    /// Which of the plan's provider addresses and VIPs the host's own kernel has on an interface, and so answers for.
    pub owned: BTreeSet<IpAddr>,
    /// The interface index of the slow path's veth (its root end).
    pub slow_port: Option<u32>,
    /// The interface index of its other end, by which a compute host's tc programs reach the root end.
    pub aside: Option<u32>,
    /// The host's sides of virtual machines' interfaces that exist, by name.
    pub devices: BTreeMap<String, DeviceState>,
    /// The host's processors, which share a connection's limit. Not known: each packet is metered by itself.
    pub processors: Option<NonZeroU32>,
}

/// The host's side of a virtual machine's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceState {
    /// Its interface index.
    pub ifindex: u32,
    /// Its MTU: the largest IP packet, in bytes.
    pub mtu: u32,
}

/// A connection by its tenant's name and its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionName {
    /// The tenant.
    pub tenant: String,
    /// The connection.
    pub connection: String,
}

/// An address on the VLAN of an L3 connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbour {
    /// The connection.
    pub connection: ConnectionName,
    /// The neighbour's address.
    pub address: IpAddr,
}

/// A port as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortState {
    /// Its interface index.
    pub ifindex: u32,
    /// Its MAC address.
    pub mac: Mac,
    /// Its MTU: the largest IP packet, in bytes.
    pub mtu: u32,
}

/// A resolved way to an outer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The interface index of the port to leave by.
    pub ifindex: u32,
    /// The link-layer address of the next hop.
    pub destination: Mac,
    /// The port's own.
    pub source: Mac,
    /// The largest outer IP packet, in bytes.
    pub mtu: u32,
}

/// A compartment's routed attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompartmentState {
    /// The interface index of the root end.
    pub ifindex: u32,
    /// The MAC address of the compartment's end.
    pub mac: Mac,
}
