//! What an agent is told, from the resources, the placements and the registrations: a pure function, tenant by tenant.
//!
//! Nothing is remembered here. Which agents a tenant concerns follows from its placements and from where its interfaces are; the core makes
//! a tenant's documents before and after a change, and sends each agent those that differ. An agent that connects is told the documents of
//! all its tenants. So a change costs what its tenant costs, however many tenants and agents there are.
//!
//! One part that cannot be done does not keep the rest from being done: it is left out, and told as a [`Problem`].
//!
//! | to change | go to |
//! |---|---|
//! | what gateways are told of a connection | `sites` |
//! | the BGP router | `bgp` |
//! | which machines there are, and where | `machines` |
//! | a virtual network's subnets, and the addresses in them that are not machines' | `subnets` |
//! | which gateway has which address | `gateways` |
//! | what is told of a connection that moves | `passage` |
//! | the documents | `documents` |
//! | how learned routes are told as few | [`aggregate`] |

pub mod aggregate;
mod bgp;
mod documents;
mod gateways;
mod machines;
mod passage;
mod sites;
mod subnets;

#[cfg(test)]
mod tests;

pub use documents::{Pooled, base, base_in_pool, tenant};

use crate::agent::protocol::Document;
use crate::controller::model::fabric::LogicalSubnet;
use crate::controller::model::records::{AgentId, Allocations, Placements, Registration, Role};
use crate::controller::model::tenant::Tenant;
use crate::controller::model::{Id, Reference};
use crate::controller::seats::Occupancy;
use crate::plan::Dual;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What planning asks of the rest of the controller.
pub trait Fabric {
    /// What an agent said of its machine; none if it never enrolled.
    fn registration(&self, agent: &AgentId) -> Option<&Registration>;

    /// A subnet of a logical network.
    fn logical_subnet(&self, reference: &Reference) -> Option<LogicalSubnet>;

    /// Whether what is placed on a gateway is its own to carry, or its seat's.
    fn seating(&self, _gateway: &Id) -> Seating {
        Seating::Unseated
    }

    /// The rack that a gateway is in; none if that is not known, in which case it is trusted to have every VLAN.
    fn rack(&self, _gateway: &Id) -> Option<Id> {
        None
    }
}

/// Who carries what is placed on a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seating {
    /// It does: its pool has no seats.
    Unseated,
    /// Nobody yet, for this reason.
    Vacant(String),
    /// Whoever holds its seat.
    Seat {
        /// The seat's address on the fabric.
        pa: Dual,
        /// All gateways that hold it or may take it.
        instances: Vec<Id>,
        /// Who holds it, as far as is known.
        holder: Option<Id>,
        /// Whether anybody carries its packets; else nobody is to send it any.
        occupancy: Occupancy,
    },
}

/// A tenant, and what was decided for it.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Its network, gateway and interfaces.
    pub tenant: &'a Tenant,
    /// Where its connections are.
    pub placements: &'a Placements,
    /// Its virtual subnets' ids.
    pub allocations: &'a Allocations,
}

/// Who is told of connections that are moving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Everybody.
    Most,
    /// The gateway at the other end of the move.
    Other,
}

/// What follows for a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// The virtual gateway, if there is one.
    pub gateway: Option<Id>,
    /// The tenant's document for each agent that it concerns. It goes by the network's id on hosts, by the virtual gateway's on gateways.
    pub documents: BTreeMap<AgentId, Document>,
    /// The same of each seat that carries the tenant, for each gateway that holds it or may take it.
    pub replicas: BTreeMap<AgentId, BTreeMap<Id, Document>>,
    /// What cannot be done.
    pub problems: Vec<Problem>,
    /// What learned routes meet on the tenant's hosts.
    pub reach: Arc<Reach>,
}

/// Where learned routes come from, and what they meet on the tenant's hosts. The routes themselves are no part of documents: they change by
/// themselves, and by the thousand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The gateway whose router's word counts, if the tenant has a router.
    pub router: Option<Id>,
    /// Which gateway carries a connection.
    pub connections: BTreeMap<Id, Id>,
    /// Gateways whose seats nobody holds: nothing leads there.
    pub empty: BTreeSet<Id>,
    /// Which gateway has a provider address.
    pub gateways: BTreeMap<IpAddr, Id>,
    /// The gateways' addresses, by host, as it reaches them.
    pub hosts: BTreeMap<Id, BTreeMap<Id, IpAddr>>,
    /// What hosts know by the plan, and look up before anything shorter that is learned.
    pub planned: BTreeSet<IpNet>,
}

impl Planned {
    /// The name that a virtual network's tenant goes by on an agent.
    pub fn name<'a>(&'a self, network: &'a Id, agent: &AgentId) -> &'a Id {
        match (agent.role, &self.gateway) {
            (Role::Gateway, Some(gateway)) => gateway,
            _ => network,
        }
    }

    /// The name that a seat's part of the tenant goes by on gateways.
    pub fn replica(&self, network: &Id, seat: &Id) -> String {
        instance(self.gateway.as_ref().unwrap_or(network), seat)
    }
}

/// The name of a tenant's part that a seat carries.
pub fn instance(tenant: &Id, seat: &Id) -> String {
    format!("{tenant}@{seat}")
}

/// Something that cannot be done as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The connection, interface, BGP router or peer that it is about; the tenant as a whole if absent.
    pub about: Option<About>,
    /// The code for `configurationState`, as the northbound interface has it: `HostUnreachable`, `PolicyConfigurationFailure`.
    pub code: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

/// What a problem is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// A connection of the virtual gateway.
    Connection(Id),
    /// A network interface.
    Interface(Id),
    /// A BGP router.
    Router(Id),
    /// A peer of a BGP router.
    Peer {
        /// The router.
        router: Id,
        /// The peer.
        peer: Id,
    },
}

/// The machine or the gateway that has to do it cannot be told, or has no such thing.
const UNREACHABLE: &str = "HostUnreachable";
/// What is wanted contradicts itself, or is nothing that can be done.
const FAILURE: &str = "PolicyConfigurationFailure";

impl Problem {
    fn of_connection(connection: &Id, code: &'static str, message: String) -> Self {
        Self { about: Some(About::Connection(connection.clone())), code, message }
    }

    fn of_interface(interface: &Id, code: &'static str, message: String) -> Self {
        Self { about: Some(About::Interface(interface.clone())), code, message }
    }

    fn of_router(router: &Id, message: String) -> Self {
        Self { about: Some(About::Router(router.clone())), code: FAILURE, message }
    }

    fn of_peer(router: &Id, peer: &Id, message: String) -> Self {
        Self { about: Some(About::Peer { router: router.clone(), peer: peer.clone() }), code: FAILURE, message }
    }

    fn of_tenant(message: String) -> Self {
        Self { about: None, code: FAILURE, message }
    }
}
