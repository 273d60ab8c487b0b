//! Counters and state, read from the maps as they are now.

use super::error::Result;
use super::map::{PerCpu, Table};
use super::maps;
use super::tables::Prefix4;
use gateway_common::tables::{ConnectionShare, ConnectionState, Counters, DropKey, Route, Seat};
use gateway_common::{ConnectionId, DropReason, PortId, SeatId, TenantId};
use ipnet::Ipv4Net;
use std::path::Path;

/// Reads what the programs count and learn. Needs only the pinned maps, not a daemon.
pub struct Reader {
    connections: PerCpu<u32, ConnectionShare>,
    tenants: PerCpu<u32, Counters>,
    ports: PerCpu<u32, Counters>,
    drops: PerCpu<DropKey, u64>,
    state: Table<u32, ConnectionState>,
    seats: Table<u32, Seat>,
}

/// Whose packets were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Came in by the interface with this index, before it was known whose they are.
    Port(u32),
    /// A tenant's, on its fabric side or from its compartment.
    Tenant(TenantId),
    /// A connection's.
    Connection(ConnectionId),
}

/// Packets that were dropped for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Whose.
    pub scope: Scope,
    /// Why.
    pub reason: DropReason,
    /// How many.
    pub packets: u64,
}

impl Reader {
    /// Opens the maps that are pinned in a directory (of [`super::pins::Pins::maps`]).
    pub fn open(directory: &Path) -> Result<Self> {
        Ok(Self {
            connections: PerCpu::open(directory, "CONNECTION_COUNTERS")?,
            tenants: PerCpu::open(directory, "TENANT_COUNTERS")?,
            ports: PerCpu::open(directory, "PORT_COUNTERS")?,
            drops: PerCpu::open(directory, "DROPS")?,
            state: Table::open(directory, "CONNECTION_STATE")?,
            seats: Table::open(directory, "SEATS")?,
        })
    }

    /// A connection's packets and bytes: in is from the site.
    pub fn connection(&self, id: ConnectionId) -> Result<Counters> {
        let shares = self.connections.get(&id.0)?;
        Ok(shares.into_iter().map(|share| share.counters).fold(Counters::default(), add))
    }

    /// A tenant's packets and bytes on the fabric: in is from its hosts.
    pub fn tenant(&self, id: TenantId) -> Result<Counters> {
        total(&self.tenants, id.0)
    }

    /// A port's frames and bytes.
    pub fn port(&self, id: PortId) -> Result<Counters> {
        total(&self.ports, id.0)
    }

    /// All that was dropped, by whose and why.
    pub fn drops(&self) -> Result<Vec<Dropped>> {
        let entries = self.drops.entries(|a, b| a.wrapping_add(b))?;
        Ok(entries.into_iter().filter_map(|(key, packets)| dropped(key, packets)).collect())
    }

    /// What was learned about a connection: its path MTU above all.
    pub fn connection_state(&self, id: ConnectionId) -> Result<ConnectionState> {
        Ok(self.state.get(&id.0)?.unwrap_or_default())
    }

    /// A seat's gate.
    pub fn seat(&self, id: SeatId) -> Result<Seat> {
        Ok(self.seats.get(&id.0)?.unwrap_or_default())
    }
}

/// A tenant's routes of IPv4 as packets meet them. Needs only the pinned maps, not a daemon.
pub struct LiveRoutes(Table<Prefix4, Route>);

impl LiveRoutes {
    /// Opens the table of a tenant, of the maps that are pinned in a directory; none if it has no table (yet).
    pub fn open(directory: &Path, tenant: TenantId) -> Result<Option<Self>> {
        let tables = Table::open(directory, maps::ROUTES4)?;
        Ok(maps::open_trie(&tables, tenant.0)?.map(Self))
    }

    /// Whether there is a route to exactly this prefix.
    pub fn has(&self, prefix: Ipv4Net) -> Result<bool> {
        let key = Prefix4 { len: prefix.prefix_len().into(), address: prefix.network().octets() };
        Ok(self.0.get(&key)?.is_some_and(|route| route.prefix_len == key.len))
    }
}

fn dropped(key: DropKey, packets: u64) -> Option<Dropped> {
    let scope = match key.scope {
        DropKey::PORT => Scope::Port(key.id),
        DropKey::TENANT => Scope::Tenant(TenantId(key.id)),
        DropKey::CONNECTION => Scope::Connection(ConnectionId(key.id)),
        _ => return None,
    };
    Some(Dropped { scope, reason: DropReason::from_number(key.reason)?, packets })
}

fn total(map: &PerCpu<u32, Counters>, slot: u32) -> Result<Counters> {
    Ok(map.get(&slot)?.into_iter().fold(Counters::default(), add))
}

fn add(a: Counters, b: Counters) -> Counters {
    Counters {
        in_packets: a.in_packets.wrapping_add(b.in_packets),
        in_bytes: a.in_bytes.wrapping_add(b.in_bytes),
        out_packets: a.out_packets.wrapping_add(b.out_packets),
        out_bytes: a.out_bytes.wrapping_add(b.out_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_of_an_unknown_kind_are_left_out() {
        let key = DropKey { scope: DropKey::CONNECTION, id: 7, reason: DropReason::Spoofed as u32 };
        let expected = Dropped { scope: Scope::Connection(ConnectionId(7)), reason: DropReason::Spoofed, packets: 3 };
        assert_eq!(dropped(key, 3), Some(expected));
        assert_eq!(dropped(DropKey { scope: 9, ..key }, 3), None);
        assert_eq!(dropped(DropKey { reason: 0, ..key }, 3), None);
    }

    #[test]
    fn processors_add_up() {
        let one = Counters { in_packets: 1, in_bytes: 2, out_packets: 3, out_bytes: 4 };
        let two = Counters { in_packets: 2, in_bytes: 4, out_packets: 6, out_bytes: 8 };
        assert_eq!(add(one, one), two);
    }
}
