//! Pools, gateways and what each carries.

use super::capacity::{self, Capacity, slot};
use super::pool::{Load, Member, Pool, Rank};
use super::spec::{GatewaySpec, GatewayState, Health, IpsecPath, Link, Racks, Settings, Wanted};
use super::spread;
use super::vips::Taken;
use crate::controller::model::Id;
use crate::controller::model::fabric::Schedulable;
use crate::controller::model::records::Placement;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// All pools, their gateways, and the connections on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    pub(super) settings: Settings,
    pub(super) pools: BTreeMap<Id, Pool>,
    pub(super) gateways: BTreeMap<Id, Gateway>,
    pub(super) tenants: HashMap<Id, Tenant>,
    pub(super) vips: Taken,
    pub(super) tunnels: HashSet<Tunnel>,
    /// Connections that move, each after its tenant.
    pub(super) moving: BTreeSet<(Id, Id)>,
}

/// What may be there only once in the fleet: a site's packets have nothing else to be told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tunnel {
    pub vip: IpAddr,
    pub remote: IpAddr,
    pub key: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gateway {
    pub spec: GatewaySpec,
    pub health: Health,
    pub rank: Rank,
    /// Sums of bandwidth by type, in kbit/s.
    pub carried: [u128; 3],
    /// How many connections of which tenant.
    pub tenants: BTreeMap<Id, usize>,
    /// How many connections each VIP has.
    pub vips: BTreeMap<IpAddr, usize>,
    /// The racks to which its VLANs confine it, with how many connections do.
    pub confined: BTreeMap<Arc<BTreeSet<Id>>, usize>,
    /// Other gateways whose connections are carried by whoever carries these.
    pub beside: BTreeSet<Id>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tenant {
    /// Empty for the default pool.
    pub pools: Vec<Id>,
    pub connections: BTreeMap<Id, Placed>,
    /// How many connections on which gateway.
    pub gateways: BTreeMap<Id, usize>,
}

/// A connection and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub wanted: Wanted,
    pub at: Placement,
}

impl Placed {
    pub fn tunnel(&self) -> Option<Tunnel> {
        match (&self.wanted.link, self.at.vip) {
            (&Link::Gre { remote, key }, Some(vip)) => Some(Tunnel { vip, remote, key }),
            _ => None,
        }
    }
}

/// What a gateway carries and can carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// What it is in its pool.
    pub state: GatewayState,
    /// What it can carry, in kbit/s.
    pub total_capacity: u64,
    /// What of that is left, in kbit/s.
    pub available_capacity: u64,
    /// How much more it carries than it can, in kbit/s.
    pub over_capacity: u64,
    /// How many connections it has.
    pub connections: usize,
    /// How many tenants those are of.
    pub tenants: usize,
    /// Its VIPs.
    pub vips: Vec<IpAddr>,
}

impl Gateway {
    pub fn new(spec: GatewaySpec) -> Self {
        Self {
            spec,
            health: Health::default(),
            rank: 0,
            carried: [0; 3],
            tenants: BTreeMap::new(),
            vips: BTreeMap::new(),
            confined: BTreeMap::new(),
            beside: BTreeSet::new(),
        }
    }

    pub fn is_usable(&self) -> bool {
        self.health == Health::Healthy && self.spec.scheduling == Schedulable::Enabled
    }

    pub fn connections(&self) -> usize {
        self.tenants.values().sum()
    }

    fn load(&self, capacity: &Capacity) -> Load {
        if self.tenants.is_empty() {
            Load::Idle
        } else {
            Load::Carrying { remaining: capacity.total() - capacity.used(&self.carried) }
        }
    }

    fn member(&self, capacity: &Capacity) -> Member {
        Member {
            id: self.spec.id.clone(),
            rack: self.spec.rack.clone(),
            load: self.load(capacity),
            beside: 0,
            usable: self.is_usable(),
        }
    }
}

impl Fleet {
    /// An empty fleet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// The pools, by name.
    pub fn pools(&self) -> impl Iterator<Item = &Id> {
        self.pools.keys()
    }

    /// A pool's gateways, in the order in which they become active.
    pub fn members(&self, pool: &Id) -> impl Iterator<Item = &Id> {
        self.pools.get(pool).into_iter().flat_map(|pool| pool.members().iter().map(|member| &member.id))
    }

    /// What was told of a gateway.
    pub fn gateway(&self, id: &Id) -> Option<&GatewaySpec> {
        self.gateways.get(id).map(|gateway| &gateway.spec)
    }

    /// What a gateway carries and can carry.
    pub fn status(&self, gateway: &Id) -> Option<GatewayStatus> {
        let gateway = self.gateways.get(gateway)?;
        let pool = self.pools.get(&gateway.spec.pool)?;
        let remaining = pool.remaining(gateway.rank);
        Some(GatewayStatus {
            state: pool.state(gateway.rank),
            total_capacity: capacity::kbps(pool.capacity.total()),
            available_capacity: capacity::kbps(remaining),
            over_capacity: capacity::kbps_up(-remaining),
            connections: gateway.connections(),
            tenants: gateway.tenants.len(),
            vips: gateway.vips.keys().copied().collect(),
        })
    }

    /// How much of a gateway's capacity what is placed on it takes, in percent, rounded up.
    pub fn percent_used(&self, gateway: &Id) -> u32 {
        let known = self.gateways.get(gateway);
        let capacity = known.and_then(|known| Some((known, &self.pools.get(&known.spec.pool)?.capacity)));
        capacity.map_or(0, |(known, capacity)| {
            let percent = capacity.percent_used(capacity.total() - capacity.used(&known.carried));
            u32::try_from(percent).unwrap_or(u32::MAX)
        })
    }

    /// Where a connection is.
    pub fn placement(&self, tenant: &Id, connection: &Id) -> Option<&Placement> {
        Some(&self.tenants.get(tenant)?.connections.get(connection)?.at)
    }

    /// Where a tenant's connections are, by name.
    pub fn placements(&self, tenant: &Id) -> impl Iterator<Item = (&Id, &Placement)> {
        let connections = self.tenants.get(tenant).map(|tenant| &tenant.connections);
        connections.into_iter().flatten().map(|(id, placed)| (id, &placed.at))
    }

    /// A gateway's connections, with their tenants, by name.
    pub fn carried_by<'a>(&'a self, gateway: &'a Id) -> impl Iterator<Item = (&'a Id, &'a Id)> {
        self.connections_on(gateway).map(|(tenant, placed)| (tenant, &placed.wanted.connection))
    }

    pub(super) fn connections_on<'a>(&'a self, gateway: &'a Id) -> impl Iterator<Item = (&'a Id, &'a Placed)> {
        let tenants = self.gateways.get(gateway).into_iter().flat_map(|gateway| gateway.tenants.keys());
        tenants.filter_map(|id| self.tenants.get(id).map(|tenant| (id, tenant))).flat_map(move |(id, tenant)| {
            tenant
                .connections
                .values()
                .filter(move |placed| placed.at.gateway == *gateway)
                .map(move |placed| (id, placed))
        })
    }

    /// Counts a connection in where it is. The gateway and the pool exist.
    pub(super) fn count_in(&mut self, tenant: &Id, placed: Placed) {
        let gateway = placed.at.gateway.clone();
        self.enter(tenant, placed);
        self.refresh_load(&gateway);
    }

    /// The same without telling the gateway's pool.
    pub(super) fn enter(&mut self, tenant: &Id, placed: Placed) {
        if let Some(gateway) = self.gateways.get_mut(&placed.at.gateway) {
            gateway.carried[slot(placed.wanted.link.kind())] += u128::from(placed.wanted.bandwidth.total());
            *gateway.tenants.entry(tenant.clone()).or_default() += 1;
            if let Link::L3 { racks: Racks::Only(racks) } = &placed.wanted.link {
                *gateway.confined.entry(racks.clone()).or_default() += 1;
            }
            if let Some(vip) = placed.at.vip {
                let connections = gateway.vips.entry(vip).or_default();
                *connections += 1;
                if *connections == 1 {
                    self.vips.insert(vip);
                }
            }
        }
        self.tunnels.extend(placed.tunnel());
        if placed.at.transfer.is_some() {
            self.moving.insert((tenant.clone(), placed.wanted.connection.clone()));
        }
        let tenant = self.tenants.entry(tenant.clone()).or_default();
        *tenant.gateways.entry(placed.at.gateway.clone()).or_default() += 1;
        tenant.connections.insert(placed.wanted.connection.clone(), placed);
    }

    /// Counts a connection out again.
    pub(super) fn count_out(&mut self, tenant: &Id, connection: &Id) -> Option<Placed> {
        let of_tenant = self.tenants.get_mut(tenant)?;
        let placed = of_tenant.connections.remove(connection)?;
        less_one(&mut of_tenant.gateways, &placed.at.gateway);
        if let Some(tunnel) = placed.tunnel() {
            self.tunnels.remove(&tunnel);
        }
        self.moving.remove(&(tenant.clone(), connection.clone()));
        if let Some(gateway) = self.gateways.get_mut(&placed.at.gateway) {
            gateway.carried[slot(placed.wanted.link.kind())] -= u128::from(placed.wanted.bandwidth.total());
            less_one(&mut gateway.tenants, tenant);
            if let Link::L3 { racks: Racks::Only(racks) } = &placed.wanted.link {
                less_one(&mut gateway.confined, racks);
            }
            if let Some(vip) = placed.at.vip
                && less_one(&mut gateway.vips, &vip) == Left::Nothing
            {
                self.vips.remove(vip);
            }
        }
        self.refresh_load(&placed.at.gateway);
        Some(placed)
    }

    /// Says whose connections are carried by whoever carries a gateway's, beside these: what is left there is left to all of them together.
    pub fn set_beside(&mut self, id: &Id, beside: BTreeSet<Id>) {
        if let Some(gateway) = self.gateways.get_mut(id)
            && gateway.beside != beside
        {
            gateway.beside = beside;
            self.refresh_load(id);
        }
    }

    /// Tells the pool what a gateway carries, and whether it is usable.
    pub(super) fn refresh_load(&mut self, id: &Id) {
        let Self { gateways, pools, .. } = self;
        let Some(changed) = gateways.get(id) else { return };
        for gateway in changed.beside.iter().filter_map(|id| gateways.get(id)).chain([changed]) {
            let Some(pool) = pools.get_mut(&gateway.spec.pool) else { continue };
            let others = gateway.beside.iter().filter_map(|id| gateways.get(id));
            let beside = others.map(|other| pool.capacity.used(&other.carried)).sum();
            pool.set(gateway.rank, gateway.load(&pool.capacity), beside, gateway.is_usable());
        }
    }

    /// Makes a pool anew of its gateways.
    pub(super) fn rebuild(&mut self, pool: &Id, with: Option<&GatewaySpec>) {
        let Some(old) = self.pools.get(pool) else { return };
        let ids = old.members().iter().map(|member| &member.id).chain(with.map(|spec| &spec.id));
        let ids: BTreeSet<Id> = ids.cloned().collect();
        self.assemble(old.spec.clone(), &ids);
    }

    /// Makes a pool of gateways.
    pub(super) fn assemble(&mut self, spec: super::PoolSpec, ids: &BTreeSet<Id>) {
        let specs: Vec<&GatewaySpec> = ids
            .iter()
            .filter_map(|id| self.gateways.get(id))
            .map(|gateway| &gateway.spec)
            .filter(|gateway| gateway.pool == spec.id)
            .collect();
        let classic = specs.iter().any(|gateway| gateway.ipsec == IpsecPath::Classic);
        let ipsec = if classic { IpsecPath::Classic } else { IpsecPath::Fast };
        let capacity = Capacity::new(spec.capacity_kbps, spec.rule, ipsec);
        let order: Vec<Id> = spread::fill_order(&specs).into_iter().map(|at| specs[at].id.clone()).collect();
        let mut members = Vec::with_capacity(order.len());
        for (rank, id) in (0..).zip(&order) {
            if let Some(gateway) = self.gateways.get_mut(id) {
                gateway.rank = rank;
                members.push(gateway.member(&capacity));
            }
        }
        self.pools.insert(spec.id.clone(), Pool::new(spec, capacity, members));
        for id in ids {
            if self.gateways.get(id).is_some_and(|gateway| !gateway.beside.is_empty()) {
                self.refresh_load(id);
            }
        }
    }
}

/// What is left of a count.
#[derive(PartialEq, Eq)]
pub(super) enum Left {
    Some,
    Nothing,
}

/// Counts down, and forgets what is not there any more.
pub(super) fn less_one<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) -> Left {
    match counts.get_mut(key) {
        Some(count) if *count > 1 => {
            *count -= 1;
            Left::Some
        }
        _ => {
            counts.remove(key);
            Left::Nothing
        }
    }
}
