//! What a change of one tree brings with it: allocations, placements, the shape of the fleet.

use super::state::{ALLOCATIONS, PLACEMENTS, State, agent_key, pools_of};
use crate::controller::model::fabric::{Gateway, GatewayPool, LogicalNetwork, Server};
use crate::controller::model::records::AgentId;
use crate::controller::model::tenant::{VirtualGateway, VirtualNetwork};
use crate::controller::model::{self, Id, Resource};
use crate::controller::placement::{FleetRefusal, Refusal, Refused};
use crate::controller::resources::{Change, Code, Error, Kind, Path};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Entries of the store.
pub type Entries = Vec<(String, Option<Arc<str>>)>;

impl State {
    /// Makes a change part of the state, with all that it brings with it; gives what is to be written. A refusal changes nothing.
    ///
    /// # Errors
    /// The change cannot be met: no gateway has room, a pool would be too small.
    pub fn make(&mut self, change: &Change) -> Result<Entries, Error> {
        let mut entries = vec![(change.store_key(), change.new.clone())];
        let root = &change.root;
        let id = root.id();
        match root.kind() {
            Kind::VirtualNetwork => self.make_network(id, change, &mut entries)?,
            Kind::VirtualGateway => self.make_gateway_of_tenant(id, change, &mut entries)?,
            Kind::GatewayPool => match read::<GatewayPool>(change)? {
                Some(pool) => {
                    self.may_reseat(root, &pool)?;
                    let spec = self.pool_spec_of(&pool, None);
                    self.fleet.set_pool(spec).map_err(|refusal| refused(root, &refusal))?;
                }
                None => self.fleet.remove_pool(id).map_err(|refusal| refused(root, &refusal))?,
            },
            Kind::Gateway => match read::<Gateway>(change)? {
                Some(gateway) => {
                    let spec = self.gateway_spec_of(&gateway, None);
                    self.fleet.set_gateway(spec).map_err(|refusal| refused(root, &refusal))?;
                }
                None => {
                    self.may_leave(root, id)?;
                    self.fleet.remove_gateway(id).map_err(|refusal| refused(root, &refusal))?;
                }
            },
            Kind::LogicalNetwork => {
                if let Some(network) = read::<LogicalNetwork>(change)? {
                    self.make_logical_network(root, &network.properties)?;
                }
            }
            Kind::Server => {
                if let Some(server) = read::<Server>(change)? {
                    self.make_server(root, &server.properties)?;
                }
            }
            _ => {}
        }
        self.forest.apply(change);
        match root.kind() {
            // Where its server stands is known by the machine.
            Kind::VirtualServer => self.restand(root)?,
            Kind::Server if change.new.is_none() => self.turn_out(&super::host(id), &mut entries),
            Kind::Gateway if change.new.is_none() => self.turn_out(&super::gateway(id), &mut entries),
            _ => {}
        }
        Ok(entries)
    }

    /// What is removed has no agent any more: one of the same name has to join anew.
    fn turn_out(&mut self, agent: &AgentId, entries: &mut Entries) {
        if self.agents.get(agent).is_some() {
            entries.push((agent_key(agent), None));
            self.register(agent, None);
        }
    }

    fn make_network(&mut self, id: &Id, change: &Change, entries: &mut Entries) -> Result<(), Error> {
        let key = format!("{ALLOCATIONS}{}", id.lower());
        let allocations = match read::<VirtualNetwork>(change)? {
            Some(network) => {
                let allocations = self.allocate(id, &network.properties);
                let full = || {
                    Error::new(
                        Code::AddressPoolExhausted,
                        "no virtual subnet id is left; delete virtual subnets that are not used",
                    )
                };
                Some(allocations.ok_or_else(full)?)
            }
            None => None,
        };
        if allocations.as_ref() != Some(&self.allocations(id)) {
            entries.push((key, allocations.as_ref().map(json).transpose()?));
            self.set_allocations(id, allocations);
        }
        Ok(())
    }

    fn make_gateway_of_tenant(&mut self, id: &Id, change: &Change, entries: &mut Entries) -> Result<(), Error> {
        let before = self.placements(id);
        let placements = match read::<VirtualGateway>(change)? {
            Some(gateway) => {
                let wanted = self.wanted(&gateway.properties);
                let decisions = self
                    .fleet
                    .settle(id, &pools_of(&gateway.properties), &wanted)
                    .map_err(|why| no_place(&change.path, why))?;
                let connections = decisions.into_iter().map(|decision| (decision.connection, decision.placement));
                Some(self.seated(id, &gateway.properties, connections.collect()))
            }
            None => {
                self.fleet.forget(id);
                None
            }
        };
        let had = !before.connections.is_empty();
        if placements.as_ref().is_some_and(|placements| *placements != before) || (placements.is_none() && had) {
            entries.push((placements_key(id), placements.as_ref().map(json).transpose()?));
        }
        self.set_placements(id, placements);
        Ok(())
    }

    /// The pools whose VIPs come out of it change with it.
    fn make_logical_network(&mut self, root: &Path, network: &LogicalNetwork) -> Result<(), Error> {
        let mut done = Vec::new();
        for pool in self.referrers_of_kind(root, network, Kind::GatewayPool) {
            let (Some(before), Some(after)) =
                (self.pool_spec(&pool, None), self.pool_spec(&pool, Some((root.id(), network))))
            else {
                continue;
            };
            if let Err(refusal) = self.fleet.set_pool(after) {
                for spec in done {
                    // It was that a moment ago.
                    let _ = self.fleet.set_pool(spec);
                }
                return Err(refused(root, &refusal));
            }
            done.push(before);
        }
        Ok(())
    }

    fn referrers_of_kind(&self, root: &Path, network: &LogicalNetwork, kind: Kind) -> BTreeSet<Id> {
        let subnets = network.subnets.iter().map(|subnet| root.child(Kind::LogicalSubnet, subnet.resource_id.clone()));
        let trees =
            subnets.flat_map(|subnet| self.forest.referrers(&subnet).map(|(from, _)| from.tree()).collect::<Vec<_>>());
        trees.filter(|tree| tree.kind() == kind).map(|tree| tree.id().clone()).collect()
    }

    /// The gateways whose machines run on it stand where it stands.
    fn make_server(&mut self, root: &Path, server: &Server) -> Result<(), Error> {
        let machines: Vec<Path> = self.forest.referrers(root).map(|(from, _)| from.tree()).collect();
        let gateways = machines
            .iter()
            .filter(|machine| machine.kind() == Kind::VirtualServer)
            .flat_map(|machine| self.gateways_on(machine));
        for gateway in gateways.collect::<BTreeSet<_>>() {
            if let Some(spec) = self.gateway_spec(&gateway, Some((root.id(), server))) {
                self.fleet.set_gateway(spec).map_err(|refusal| refused(root, &refusal))?;
            }
        }
        Ok(())
    }

    fn restand(&mut self, machine: &Path) -> Result<(), Error> {
        for gateway in self.gateways_on(machine) {
            if let Some(spec) = self.gateway_spec(&gateway, None) {
                self.fleet.set_gateway(spec).map_err(|refusal| refused(machine, &refusal))?;
            }
        }
        Ok(())
    }

    fn gateways_on(&self, machine: &Path) -> Vec<Id> {
        let trees = self.forest.referrers(machine).map(|(from, _)| from.tree());
        trees.filter(|tree| tree.kind() == Kind::Gateway).map(|tree| tree.id().clone()).collect()
    }
}

/// The key under which a virtual gateway's placements stand.
pub fn placements_key(tenant: &Id) -> String {
    format!("{PLACEMENTS}{}", tenant.lower())
}

/// The tree as it is to be.
fn read<P: DeserializeOwned>(change: &Change) -> Result<Option<Resource<P>>, Error> {
    change.new.as_deref().map(model::parse).transpose().map_err(internal)
}

/// A record as the store keeps it.
pub fn json(record: &impl Serialize) -> Result<Arc<str>, Error> {
    serde_json::to_string(record).map(Arc::from).map_err(internal)
}

fn internal(error: serde_json::Error) -> Error {
    Error { inner_error: Some(error.to_string()), ..Error::new(Code::InternalError, "a resource cannot be read back") }
}

fn refused(at: &Path, refusal: &FleetRefusal) -> Error {
    let code = match refusal {
        FleetRefusal::UnknownPool(_) | FleetRefusal::UnknownGateway(_) => Code::ReferencedResourceNotFound,
        FleetRefusal::HasGateways { .. }
        | FleetRefusal::TypeInUse { .. }
        | FleetRefusal::SharedSubscription { .. }
        | FleetRefusal::VipInUse { .. }
        | FleetRefusal::Carries { .. } => Code::ResourceInUse,
        FleetRefusal::TooFew { .. } | FleetRefusal::HoldsTooMuch { .. } => Code::InsufficientCapacity,
    };
    Error::at(code, at.to_string(), refusal.to_string())
}

/// Why a connection has no place, told at that connection.
fn no_place(path: &Path, Refused { connection, why }: Refused) -> Error {
    let code = match why {
        Refusal::UnknownPool(_) | Refusal::NoDefaultPool => Code::ReferencedResourceNotFound,
        Refusal::AllPoolNotAlone { .. } => Code::VirtualGatewayPoolsConflict,
        Refusal::WrongType { .. } | Refusal::RemoteIsVip { .. } => Code::InvalidParameterValue,
        Refusal::NoRoom { .. } => Code::InsufficientCapacity,
        Refusal::TunnelTaken { .. } => Code::InvalidParameterValue,
        Refusal::NoVip { .. } => Code::AddressPoolExhausted,
    };
    let target = path.tree().child(Kind::NetworkConnection, connection);
    let error = Error::at(code, target.to_string(), why.to_string());
    if let Refusal::TunnelTaken { .. } = why { Error { code: Code::ResourceInUse, ..error } } else { error }
}
