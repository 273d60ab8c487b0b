//! What the controller keeps beside the resources, durable like them.

use super::Id;
use crate::plan::{Dual, PortName, PortRole, Vsid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Where a virtual gateway's connections are: `placements/<virtual gateway>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placements {
    /// By connection.
    pub connections: BTreeMap<Id, Placement>,
    /// The gateway that the tenant's BGP router is on: its route reflector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reflector: Option<Id>,
    /// Of the other gateways, which address of the gateway subnet is each one's own: counted from the one after the reflector's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<Id, u32>,
}

/// Where a connection is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// The pool that it is counted in.
    pub pool: Id,
    /// The gateway that carries it.
    pub gateway: Id,
    /// The address that its site sends to; GRE only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<IpAddr>,
    /// Its move to another gateway, while that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Transfer>,
}

/// A connection's move from one gateway's seat to another's, of which both holders forward meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// How far it is.
    pub stage: Stage,
    /// The other gateway: where it goes until it has arrived, and then where it was.
    pub other: Id,
}

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Everybody is told of the seat that it goes to, so that what comes from there is believed.
    Known,
    /// Who holds the other seat gets it too, and forwards what comes; all others go on as before.
    Arriving,
    /// All others send to where it is now; who had it falls silent about its addresses, and forwards what still comes.
    Leaving,
    /// Neighbours are told that its addresses are where it is now.
    Announced,
}

/// What was allocated for a virtual network: `allocations/<virtual network>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allocations {
    /// The virtual subnet id of each subnet.
    pub subnets: BTreeMap<Id, Vsid>,
}

/// What an agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It carries connections.
    Gateway,
    /// It is the edge of tenants' VMs.
    Host,
}

impl Role {
    /// As it stands in certificates and keys.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Host => "host",
        }
    }
}

/// Who an agent is: its role, and the gateway or server that it runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgentId {
    /// What it does.
    pub role: Role,
    /// The gateway or server.
    pub id: Id,
}

impl std::fmt::Display for AgentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.role.as_str(), self.id)
    }
}

/// A gateway's machine between its start and its end: what it knows of seats goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Life {
    /// A number of its own.
    pub incarnation: u64,
    /// The gateway's own address on the racks' side, by which others probe it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<IpAddr>,
}

/// What an agent said of its machine: `agents/<role>/<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Its provider addresses.
    pub pa: Dual,
    /// Its ports.
    pub ports: Vec<(PortName, PortRole)>,
    /// The version of its program.
    pub version: String,
    /// The life of its machine; none if it cannot hold seats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<Life>,
    /// The SHA-256 of the key that it joined with last: certificates of an earlier one are not taken any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}
