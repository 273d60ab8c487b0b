//! Adding, changing and removing pools and gateways. None of that moves a connection.

use super::fleet::{Fleet, Gateway, Placed};
use super::pool::{Load, Pool};
use super::refusal::FleetRefusal;
use super::spec::{GatewaySpec, Health, PoolSpec, Wanted, carries};
use crate::controller::model::Id;
use crate::controller::model::fabric::PoolType;
use crate::controller::model::records::Placement;
use crate::controller::model::tenant::ConnectionType;
use std::collections::BTreeSet;

impl Fleet {
    /// Adds a pool, or changes what it is. Its gateways stay, and so does what they carry, even if that is too much afterwards.
    ///
    /// # Errors
    /// What it carries, or has as gateways, does not allow the change.
    pub fn set_pool(&mut self, spec: PoolSpec) -> Result<(), FleetRefusal> {
        if let Some(pool) = self.pools.get(&spec.id) {
            if spec.redundant > pool.spec.redundant {
                holds(&spec.id, pool.members().len(), pool.carrying(), spec.redundant)?;
            }
            self.may_become(pool, &spec)?;
        }
        let members: BTreeSet<Id> = self.members(&spec.id).cloned().collect();
        self.assemble(spec, &members);
        Ok(())
    }

    /// Whether what is on a pool goes together with what it is to be.
    fn may_become(&self, pool: &Pool, spec: &PoolSpec) -> Result<(), FleetRefusal> {
        for gateway in pool.members().iter().filter_map(|member| self.gateways.get(&member.id)) {
            let kinds = [ConnectionType::IpSec, ConnectionType::Gre, ConnectionType::L3];
            let carried = kinds.into_iter().filter(|kind| {
                !carries(spec.kind, *kind)
                    && self.connections_on(&gateway.spec.id).any(|(_, placed)| placed.wanted.link.kind() == *kind)
            });
            if spec.kind != pool.spec.kind
                && let Some(kind) = carried.min()
            {
                return Err(FleetRefusal::TypeInUse { pool: spec.id.clone(), gateway: gateway.spec.id.clone(), kind });
            }
            let outside = gateway.vips.keys().find(|vip| !spec.vips.iter().any(|range| range.contains(**vip)));
            if spec.vips != pool.spec.vips
                && let Some(&vip) = outside
            {
                let users = self.connections_on(&gateway.spec.id).filter(|(_, placed)| placed.at.vip == Some(vip));
                let users = users.map(|(tenant, placed)| {
                    format!("/virtualGateways/{tenant}/networkConnections/{}", placed.wanted.connection)
                });
                return Err(FleetRefusal::VipInUse {
                    pool: spec.id.clone(),
                    gateway: gateway.spec.id.clone(),
                    vip,
                    users: users.collect(),
                });
            }
        }
        if spec.kind == PoolType::All && pool.spec.kind != PoolType::All {
            let shared =
                self.tenants.values().filter(|tenant| tenant.pools.len() > 1 && tenant.pools.contains(&spec.id));
            let tenants = shared.count();
            if tenants > 0 {
                return Err(FleetRefusal::SharedSubscription { pool: spec.id.clone(), tenants });
            }
        }
        Ok(())
    }

    /// Removes a pool.
    ///
    /// # Errors
    /// It has gateways, or is not there.
    pub fn remove_pool(&mut self, id: &Id) -> Result<(), FleetRefusal> {
        let pool = self.pools.get(id).ok_or_else(|| FleetRefusal::UnknownPool(id.clone()))?;
        if !pool.members().is_empty() {
            let gateways = pool.members().iter().map(|member| member.id.clone()).collect();
            return Err(FleetRefusal::HasGateways { pool: id.clone(), gateways });
        }
        self.pools.remove(id);
        Ok(())
    }

    /// Adds a gateway, or changes what it is.
    ///
    /// # Errors
    /// Its pool is not there, or it carries connections and would change its pool.
    pub fn set_gateway(&mut self, spec: GatewaySpec) -> Result<(), FleetRefusal> {
        if !self.pools.contains_key(&spec.pool) {
            return Err(FleetRefusal::UnknownPool(spec.pool));
        }
        let id = spec.id.clone();
        let Some(gateway) = self.gateways.get(&id) else {
            self.gateways.insert(id, Gateway::new(spec.clone()));
            self.rebuild(&spec.pool, Some(&spec));
            return Ok(());
        };
        let old = gateway.spec.clone();
        if old == spec {
            return Ok(());
        }
        let health = gateway.health;
        if old.pool != spec.pool {
            self.remove_gateway(&id)?;
            self.gateways.insert(id.clone(), Gateway { health, ..Gateway::new(spec.clone()) });
        } else if let Some(gateway) = self.gateways.get_mut(&id) {
            gateway.spec = spec.clone();
        }
        // Whether it is cordoned has no bearing on its pool's order.
        if (GatewaySpec { scheduling: spec.scheduling, ..old }) == spec {
            self.refresh_load(&id);
        } else {
            self.rebuild(&spec.pool, Some(&spec));
        }
        Ok(())
    }

    /// Adds many gateways at once, at a start: each pool is put in order once.
    ///
    /// # Errors
    /// The pool of one is not there; none is added.
    pub fn load_gateways(&mut self, specs: impl IntoIterator<Item = GatewaySpec>) -> Result<(), FleetRefusal> {
        let specs: Vec<GatewaySpec> = specs.into_iter().collect();
        if let Some(spec) = specs.iter().find(|spec| !self.pools.contains_key(&spec.pool)) {
            return Err(FleetRefusal::UnknownPool(spec.pool.clone()));
        }
        let mut pools: std::collections::BTreeMap<Id, BTreeSet<Id>> = std::collections::BTreeMap::new();
        for spec in specs {
            pools.entry(spec.pool.clone()).or_default().insert(spec.id.clone());
            self.gateways.entry(spec.id.clone()).or_insert_with(|| Gateway::new(spec));
        }
        for (pool, mut members) in pools {
            members.extend(self.members(&pool).cloned());
            if let Some(pool) = self.pools.get(&pool) {
                self.assemble(pool.spec.clone(), &members);
            }
        }
        Ok(())
    }

    /// Removes a gateway that carries nothing.
    ///
    /// # Errors
    /// It carries connections, or the rest could not hold what its pool carries beside N standbys.
    pub fn remove_gateway(&mut self, id: &Id) -> Result<(), FleetRefusal> {
        let gateway = self.gateways.get(id).ok_or_else(|| FleetRefusal::UnknownGateway(id.clone()))?;
        let connections = gateway.connections();
        if connections > 0 {
            return Err(FleetRefusal::Carries { gateway: id.clone(), connections });
        }
        let pool_id = gateway.spec.pool.clone();
        if let Some(pool) = self.pools.get(&pool_id)
            && pool.carrying() > 0
        {
            holds(&pool_id, pool.members().len() - 1, pool.carrying(), pool.spec.redundant)?;
        }
        self.gateways.remove(id);
        self.rebuild(&pool_id, None);
        Ok(())
    }

    /// Says whether a gateway works. It keeps what it has.
    ///
    /// # Errors
    /// It is not there.
    pub fn set_health(&mut self, id: &Id, health: Health) -> Result<(), FleetRefusal> {
        let gateway = self.gateways.get_mut(id).ok_or_else(|| FleetRefusal::UnknownGateway(id.clone()))?;
        gateway.health = health;
        self.refresh_load(id);
        Ok(())
    }

    /// Whether a gateway works.
    pub fn health(&self, id: &Id) -> Option<Health> {
        self.gateways.get(id).map(|gateway| gateway.health)
    }

    /// Puts a connection where the store says that it is, whether that has room or not.
    ///
    /// # Errors
    /// The gateway is not there, or is not in that pool: the connection has to be placed again.
    pub fn restore(&mut self, tenant: &Id, pools: &[Id], wanted: Wanted, at: Placement) -> Result<(), FleetRefusal> {
        if !self.is_there(&at) {
            return Err(FleetRefusal::UnknownGateway(at.gateway));
        }
        self.count_out(tenant, &wanted.connection);
        self.count_in(tenant, Placed { wanted, at });
        self.subscribe(tenant, pools);
        Ok(())
    }

    /// Does that for many tenants of which the fleet has nothing yet, at a start: what each gateway has left is worked out once.
    ///
    /// Gives the connections that have to be placed again, with their tenants.
    pub fn load_connections(
        &mut self,
        tenants: impl IntoIterator<Item = (Id, Vec<Id>, Vec<(Wanted, Placement)>)>,
    ) -> Vec<(Id, Id, FleetRefusal)> {
        let mut gone = Vec::new();
        for (tenant, pools, connections) in tenants {
            for (wanted, at) in connections {
                if self.is_there(&at) {
                    self.enter(&tenant, Placed { wanted, at });
                } else {
                    gone.push((tenant.clone(), wanted.connection, FleetRefusal::UnknownGateway(at.gateway)));
                }
            }
            self.subscribe(&tenant, &pools);
        }
        let gateways: Vec<Id> = self.gateways.keys().cloned().collect();
        for gateway in &gateways {
            self.refresh_load(gateway);
        }
        gone
    }

    fn is_there(&self, at: &Placement) -> bool {
        self.gateways.get(&at.gateway).is_some_and(|gateway| gateway.spec.pool == at.pool)
    }

    /// Takes a connection off its gateway.
    pub fn release(&mut self, tenant: &Id, connection: &Id) -> Option<Placement> {
        let placed = self.count_out(tenant, connection)?;
        if self.tenants.get(tenant).is_some_and(|tenant| tenant.connections.is_empty()) {
            self.tenants.remove(tenant);
        }
        Some(placed.at)
    }

    /// Takes all of a tenant's connections off their gateways.
    pub fn forget(&mut self, tenant: &Id) {
        let connections: Vec<Id> = self.placements(tenant).map(|(id, _)| id.clone()).collect();
        for connection in &connections {
            self.release(tenant, connection);
        }
    }

    pub(super) fn is_carrying(&self, pool: &Pool, rank: super::pool::Rank) -> bool {
        pool.member(rank).load != Load::Idle
    }
}

/// Whether so many gateways are enough for N standbys beside those that carry connections. A pool without gateways is yet to be filled.
fn holds(pool: &Id, members: usize, carrying: usize, redundant: u32) -> Result<(), FleetRefusal> {
    let redundant = redundant as usize;
    let active = members.saturating_sub(redundant);
    if members > 0 && redundant > active {
        return Err(FleetRefusal::TooFew { pool: pool.clone(), active: members / 2, redundant });
    }
    if carrying > active {
        return Err(FleetRefusal::HoldsTooMuch { pool: pool.clone(), carrying, active, redundant });
    }
    Ok(())
}
