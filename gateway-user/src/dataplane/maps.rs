//! The maps that user space fills, opened from their pins.

use super::error::Result;
use super::ids::InUse;
use super::map::{PerCpu, Table};
use super::tables::{Prefix4, Prefix6, Tables, TenantRoutes};
use super::{bpf, error::Error};
use bytemuck::Pod;
use gateway_common::tables::{
    Attachment, Connection, ConnectionShare, ConnectionState, Counters, DropKey, FabricKey, FabricPeerKey, FeasibleKey,
    Flood, FloodKey, GreKey, Local, Nexthop, Port, Prober, Route, Seat, SeatSetup, Settings, Station, StationKey,
    SteerKey, SteerTarget, Tenant, TenantState, VlanKey, VmPort, Vnet, changes,
};
use gateway_common::{Address, ConnectionId, HostId, OriginId, SeatId, TenantId};
use std::collections::HashMap;
use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;

/// All of them.
pub struct Maps {
    pub ports: Table<u32, Port>,
    /// The second word is a program for frames on their way out, which we have none of.
    pub devices: Table<u32, [u32; 2]>,
    /// The same, for tc.
    pub interfaces: Table<u32, u32>,
    pub gre: Table<GreKey, ConnectionId>,
    pub vlans: Table<VlanKey, ConnectionId>,
    pub fabric: Table<FabricKey, Vnet>,
    pub fabric_peers: Table<FabricPeerKey, OriginId>,
    pub compartments: Table<u32, Attachment>,
    pub local: Table<Address, Local>,
    pub seats: Table<u32, Seat>,
    pub seat_setup: Table<u32, SeatSetup>,
    pub seat_numbers: Table<u32, SeatId>,
    pub probers: Table<u32, Prober>,
    pub tenants: Table<u32, Tenant>,
    pub tenant_state: Table<u32, TenantState>,
    pub connections: Table<u32, Connection>,
    pub connection_state: Table<u32, ConnectionState>,
    pub routes4: Table<u32, u32>,
    pub routes6: Table<u32, u32>,
    pub feasible: Table<FeasibleKey, u8>,
    pub nexthops: Table<u32, Nexthop>,
    pub settings: Table<u32, Settings>,
    pub changes: Table<u32, u64>,
    pub steer: Table<SteerKey, SteerTarget>,
    pub vms: Table<u32, VmPort>,
    pub stations: Table<StationKey, Station>,
    pub floods: Table<FloodKey, Flood>,
    pub connection_counters: PerCpu<u32, ConnectionShare>,
    pub tenant_counters: PerCpu<u32, Counters>,
    pub port_counters: PerCpu<u32, Counters>,
    pub drops: PerCpu<DropKey, u64>,
}

/// The array of tries for IPv4.
pub const ROUTES4: &str = "ROUTES4";
/// The array of tries for IPv6.
pub const ROUTES6: &str = "ROUTES6";

impl Maps {
    /// Opens every map that is pinned in a directory.
    pub fn open(directory: &Path) -> Result<Self> {
        Ok(Self {
            ports: Table::open(directory, "PORTS")?,
            devices: Table::open(directory, "DEVICES")?,
            interfaces: Table::open(directory, "INTERFACES")?,
            gre: Table::open(directory, "GRE")?,
            vlans: Table::open(directory, "VLANS")?,
            fabric: Table::open(directory, "FABRIC")?,
            fabric_peers: Table::open(directory, "FABRIC_PEERS")?,
            compartments: Table::open(directory, "COMPARTMENTS")?,
            local: Table::open(directory, "LOCAL")?,
            seats: Table::open(directory, "SEATS")?,
            seat_setup: Table::open(directory, "SEAT_SETUP")?,
            seat_numbers: Table::open(directory, "SEAT_NUMBERS")?,
            probers: Table::open(directory, "PROBERS")?,
            tenants: Table::open(directory, "TENANTS")?,
            tenant_state: Table::open(directory, "TENANT_STATE")?,
            connections: Table::open(directory, "CONNECTIONS")?,
            connection_state: Table::open(directory, "CONNECTION_STATE")?,
            routes4: Table::open(directory, ROUTES4)?,
            routes6: Table::open(directory, ROUTES6)?,
            feasible: Table::open(directory, "FEASIBLE")?,
            nexthops: Table::open(directory, "NEXTHOPS")?,
            settings: Table::open(directory, "SETTINGS")?,
            changes: Table::open(directory, "CHANGES")?,
            steer: Table::open(directory, "STEER")?,
            vms: Table::open(directory, "VMS")?,
            stations: Table::open(directory, "STATIONS")?,
            floods: Table::open(directory, "FLOODS")?,
            connection_counters: PerCpu::open(directory, "CONNECTION_COUNTERS")?,
            tenant_counters: PerCpu::open(directory, "TENANT_COUNTERS")?,
            port_counters: PerCpu::open(directory, "PORT_COUNTERS")?,
            drops: PerCpu::open(directory, "DROPS")?,
        })
    }

    /// Reads back what the maps hold, and each tenant slot's generation.
    pub fn read(&self) -> Result<(Tables, HashMap<u32, u32>)> {
        let mut generations = HashMap::new();
        let mut tenants = HashMap::new();
        for (slot, mut tenant) in self.tenants.entries()? {
            if tenant.generation != 0 {
                generations.insert(slot, tenant.generation);
            }
            if is_live(&tenant) {
                tenant.generation = 0;
                tenant.flags &= !Tenant::TRACED;
                tenants.insert(slot, tenant);
            }
        }
        let mut routes = HashMap::new();
        for slot in tenants.keys() {
            let v4 = self.read_routes::<Prefix4>(&self.routes4, *slot)?;
            let v6 = self.read_routes::<Prefix6>(&self.routes6, *slot)?;
            routes.insert(TenantId(*slot), Arc::new(TenantRoutes { v4, v6 }));
        }
        let tables = Tables {
            ports: whole(&self.ports)?,
            devices: self
                .devices
                .entries()?
                .into_iter()
                .map(|(slot, [ifindex, _])| (slot, ifindex))
                .filter(|(_, ifindex)| *ifindex != 0)
                .collect(),
            gre: whole(&self.gre)?,
            vlans: whole(&self.vlans)?,
            fabric: whole(&self.fabric)?,
            fabric_peers: whole(&self.fabric_peers)?,
            compartments: whole(&self.compartments)?,
            local: whole(&self.local)?,
            tenants,
            connections: used(&self.connections)?,
            nexthops: used(&self.nexthops)?,
            feasible: whole(&self.feasible)?,
            steer: whole(&self.steer)?,
            vms: whole(&self.vms)?,
            stations: whole(&self.stations)?,
            floods: whole(&self.floods)?,
            routes,
            seats: used(&self.seat_setup)?,
            seat_numbers: whole(&self.seat_numbers)?,
            probers: whole(&self.probers)?,
            settings: self.settings.get(&0)?.unwrap_or_default(),
        };
        Ok((tables, generations))
    }

    /// Makes the programs look again at all that they have found to hold. After every write of what [`changes`] names.
    pub fn renew(&self) -> Result<()> {
        let word = self.changes.get(&0)?.unwrap_or_default();
        self.changes.set(&0, &word.wrapping_add(changes::BY_USER))
    }

    fn read_routes<P: Pod + Ord>(&self, outer: &Table<u32, u32>, tenant: u32) -> Result<Box<[(P, Route)]>> {
        let mut routes = match open_trie::<P>(outer, tenant)? {
            Some(trie) => trie.entries()?,
            None => Vec::new(),
        };
        routes.sort_unstable_by_key(|(prefix, _)| *prefix);
        Ok(routes.into_boxed_slice())
    }
}

/// A tenant slot in use: no device-map slot of ours is 0, so a compartment of 0 stands only where nothing was written, or where a tenant was removed.
pub fn is_live(tenant: &Tenant) -> bool {
    tenant.compartment.0 != 0
}

/// A tenant's trie, opened by its number: descriptors for all of them would exceed a process's limit.
pub fn open_trie<P: Pod>(outer: &Table<u32, u32>, tenant: u32) -> Result<Option<Table<P, Route>>> {
    let Some(id) = outer.get(&tenant)? else { return Ok(None) };
    let fd = bpf::map_by_id(id).map_err(|source| Error::map("FIB", "open", source))?;
    Table::new(fd, "FIB").map(Some)
}

fn whole<K: Pod + Eq + Hash, V: Pod>(table: &Table<K, V>) -> Result<HashMap<K, V>> {
    Ok(table.entries()?.into_iter().collect())
}

fn used<V: Pod>(table: &Table<u32, V>) -> Result<HashMap<u32, V>> {
    let entries = table.entries()?;
    Ok(entries.into_iter().filter(|(_, value)| bytemuck::bytes_of(value).iter().any(|&byte| byte != 0)).collect())
}

/// The numbers that tables hold.
pub fn in_use(tables: &Tables) -> InUse {
    let host = OriginId::host(HostId(0)).0;
    InUse {
        tenants: tables.tenants.keys().copied().collect(),
        connections: tables.connections.keys().copied().collect(),
        hosts: tables.fabric_peers.values().map(|origin| origin.0 & !host).collect(),
        nexthops: tables.nexthops.keys().copied().collect(),
        devices: tables.devices.keys().copied().collect(),
        sets: tables.feasible.keys().map(|key| key.set).collect(),
        seats: tables.seats.keys().copied().collect(),
    }
}
