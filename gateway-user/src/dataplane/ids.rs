//! The dense numbers by which the programs know things, kept stable by name: across changes of the plan and restarts of the daemon.
//!
//! A number that becomes free rests until what was compiled without it has been applied ([`Ids::settle`]); otherwise a route that still
//! names it would for a moment lead to its new owner.

use super::error::{Error, Result};
use gateway_common::{ConnectionId, HostId, NexthopId, OriginId, PortId, SeatId, TenantId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// All numbers that were given out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    tenants: Pool,
    connections: Pool,
    hosts: Pool,
    nexthops: Pool,
    ports: Pool,
    devices: Pool,
    sets: Pool,
    #[serde(default)]
    seats: Pool,
}

/// Slots of the device map from here on are veths'; those below are ports', which alone have counters.
pub(super) const FIRST_VETH: u32 = 256;

/// Numbers of one kind, from 1: an element of all zero in a map is nobody's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pool {
    names: HashMap<Box<str>, Entry>,
    /// Free for use.
    free: BTreeSet<u32>,
    /// Free, but perhaps still in the kernel's tables.
    resting: BTreeSet<u32>,
    /// The largest number that was ever given out.
    largest: u32,
    /// Counts compilations, to find what the last one did not ask for.
    #[serde(skip)]
    round: u32,
    /// Whether anything differs from what was last saved.
    #[serde(skip)]
    changed: bool,
    /// Names that got their number in this round.
    #[serde(skip)]
    fresh: Vec<Box<str>>,
    /// Names that lost it in this round.
    #[serde(skip)]
    dropped: Vec<(Box<str>, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Entry {
    id: u32,
    #[serde(skip)]
    round: u32,
}

impl Pool {
    /// The number of `name`, a new one if it has none.
    fn get(&mut self, name: &str) -> u32 {
        if let Some(entry) = self.names.get_mut(name) {
            entry.round = self.round;
            return entry.id;
        }
        let id = self.free.pop_first().unwrap_or_else(|| {
            // Numbers at rest that a lost state file knew nothing of may lie above.
            while self.resting.contains(&(self.largest + 1)) {
                self.largest += 1;
            }
            self.largest += 1;
            self.largest
        });
        self.names.insert(name.into(), Entry { id, round: self.round });
        self.fresh.push(name.into());
        self.changed = true;
        id
    }

    /// Starts a compilation.
    fn begin(&mut self) {
        self.round += 1;
        self.fresh.clear();
        self.dropped.clear();
    }

    /// Ends a compilation: what it did not ask for loses its number.
    fn end(&mut self) {
        let (round, resting, dropped) = (self.round, &mut self.resting, &mut self.dropped);
        self.names.retain(|name, entry| {
            let stays = entry.round == round;
            if !stays {
                resting.insert(entry.id);
                dropped.push((name.clone(), entry.id));
            }
            stays
        });
        self.changed |= !self.dropped.is_empty();
    }

    /// Undoes the last compilation, of which nothing was applied.
    fn take_back(&mut self) {
        for name in self.fresh.drain(..) {
            self.free.extend(self.names.remove(&name).map(|entry| entry.id));
        }
        for (name, id) in self.dropped.drain(..) {
            self.resting.remove(&id);
            self.names.insert(name, Entry { id, round: self.round });
        }
        while self.free.remove(&self.largest) {
            self.largest -= 1;
        }
    }

    /// Nothing in the kernel's tables names a resting number any more.
    fn settle(&mut self) {
        self.changed |= !self.resting.is_empty();
        self.free.append(&mut self.resting);
    }

    /// Lets numbers rest that the kernel's tables hold and no name has.
    fn found(&mut self, in_use: impl Iterator<Item = u32>) {
        let named: BTreeSet<u32> = self.names.values().map(|entry| entry.id).collect();
        for id in in_use.filter(|id| !named.contains(id)) {
            self.free.remove(&id);
            self.changed |= self.resting.insert(id);
        }
    }

    fn name_of(&self, id: u32) -> Option<&str> {
        self.names.iter().find(|(_, entry)| entry.id == id).map(|(name, _)| &**name)
    }
}

/// Numbers that the kernel's tables hold, by kind.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    /// Tenants.
    pub tenants: Vec<u32>,
    /// Connections.
    pub connections: Vec<u32>,
    /// Hosts.
    pub hosts: Vec<u32>,
    /// Next hops.
    pub nexthops: Vec<u32>,
    /// Slots of the device map.
    pub devices: Vec<u32>,
    /// Feasible sets.
    pub sets: Vec<u32>,
    /// Slots of seats.
    pub seats: Vec<u32>,
}

impl Ids {
    fn pools(&mut self) -> [&mut Pool; 8] {
        let Self { tenants, connections, hosts, nexthops, ports, devices, sets, seats } = self;
        [tenants, connections, hosts, nexthops, ports, devices, sets, seats]
    }

    pub(super) fn begin(&mut self) {
        self.pools().into_iter().for_each(Pool::begin);
    }

    pub(super) fn end(&mut self) {
        self.pools().into_iter().for_each(Pool::end);
    }

    /// Makes the numbers what they were before the last compilation, of which nothing was applied.
    pub(super) fn take_back(&mut self) {
        self.pools().into_iter().for_each(Pool::take_back);
    }

    /// To be called when what was last compiled has been applied: numbers that it freed may be given out again.
    pub fn settle(&mut self) {
        self.pools().into_iter().for_each(Pool::settle);
    }

    /// Tells which numbers the kernel's tables hold, so that none that is unknown here is given out before it is gone from there.
    pub fn found(&mut self, in_use: InUse) {
        let InUse { tenants, connections, hosts, nexthops, devices, sets, seats } = in_use;
        let (ports, mut devices): (Vec<u32>, Vec<u32>) = devices.into_iter().partition(|slot| *slot < FIRST_VETH);
        devices.iter_mut().for_each(|slot| *slot -= FIRST_VETH);
        let in_use = [tenants, connections, hosts, nexthops, ports, devices, sets, seats];
        for (pool, in_use) in self.pools().into_iter().zip(in_use) {
            pool.found(in_use.into_iter());
        }
    }

    /// Reads what an earlier daemon saved; none of it is no error.
    pub fn load(path: &Path) -> Result<Self> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(Error::Io { path: path.into(), source }),
        };
        // A damaged file only costs a longer first change: what the kernel holds is found again.
        Ok(serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "the saved numbers cannot be read; giving out new ones");
            Self::default()
        }))
    }

    /// Saves the numbers if any changed. To be called before they are applied.
    pub fn save(&mut self, path: &Path) -> Result<()> {
        if !self.pools().iter().any(|pool| pool.changed) {
            return Ok(());
        }
        let new = path.with_extension("new");
        let text = serde_json::to_vec(self).map_err(|error| Error::Io { path: path.into(), source: error.into() })?;
        fs::write(&new, text).map_err(Error::io(&new))?;
        fs::rename(&new, path).map_err(Error::io(path))?;
        self.pools().into_iter().for_each(|pool| pool.changed = false);
        Ok(())
    }

    pub(super) fn tenant(&mut self, name: &str) -> TenantId {
        TenantId(self.tenants.get(name))
    }

    pub(super) fn connection(&mut self, tenant: TenantId, name: &str) -> ConnectionId {
        ConnectionId(self.connections.get(&format!("{}/{name}", tenant.0)))
    }

    pub(super) fn host(&mut self, pa: IpAddr) -> HostId {
        HostId(self.hosts.get(&pa.to_string()))
    }

    pub(super) fn nexthop(&mut self, meaning: &str) -> NexthopId {
        NexthopId(self.nexthops.get(meaning))
    }

    /// The slot of one of the plan's ports.
    pub(super) fn port(&mut self, name: &str) -> PortId {
        PortId(self.ports.get(name))
    }

    /// The slot of a veth.
    pub(super) fn veth(&mut self, name: &str) -> PortId {
        PortId(FIRST_VETH + self.devices.get(name))
    }

    pub(super) fn set(&mut self, members: &[OriginId]) -> u32 {
        let mut name = String::new();
        for member in members {
            // Writing to a string cannot fail.
            let _ = write!(name, "{},", member.0);
        }
        self.sets.get(&name)
    }

    /// The slot of a seat: never 0, which is the gateway's own.
    pub(super) fn seat(&mut self, name: &str) -> SeatId {
        SeatId(self.seats.get(name))
    }

    /// The slot of a seat, if it has one.
    pub fn seat_id(&self, name: &str) -> Option<SeatId> {
        self.seats.names.get(name).map(|entry| SeatId(entry.id))
    }

    /// The tenant's number, if it has one. It is asked for by its key: a tenant of several seats has a number for each.
    pub fn tenant_id(&self, name: &str) -> Option<TenantId> {
        self.tenants.names.get(name).map(|entry| TenantId(entry.id))
    }

    /// The tenant's key.
    pub fn tenant_name(&self, id: TenantId) -> Option<&str> {
        self.tenants.name_of(id.0)
    }

    /// The connection's number, if it has one.
    pub fn connection_id(&self, tenant: &str, connection: &str) -> Option<ConnectionId> {
        let tenant = self.tenant_id(tenant)?;
        self.connections.names.get(&*format!("{}/{connection}", tenant.0)).map(|entry| ConnectionId(entry.id))
    }

    /// The names of the connection's tenant and its own.
    pub fn connection_name(&self, id: ConnectionId) -> Option<(&str, &str)> {
        let (tenant, name) = self.connections.name_of(id.0)?.split_once('/')?;
        Some((self.tenant_name(TenantId(tenant.parse().ok()?))?, name))
    }

    /// The slot of one of the plan's ports.
    pub fn port_id(&self, name: &str) -> Option<PortId> {
        self.ports.names.get(name).map(|entry| PortId(entry.id))
    }

    /// Every tenant's key and number.
    pub fn tenants(&self) -> impl Iterator<Item = (&str, TenantId)> {
        self.tenants.names.iter().map(|(name, entry)| (&**name, TenantId(entry.id)))
    }

    /// What the numbers of next hops stand for.
    pub fn nexthop_meanings(&self) -> impl Iterator<Item = (NexthopId, &str)> {
        self.nexthops.names.iter().map(|(meaning, entry)| (NexthopId(entry.id), &**meaning))
    }

    /// The provider addresses of the numbered hosts.
    pub fn host_addresses(&self) -> impl Iterator<Item = (HostId, IpAddr)> {
        self.hosts.names.iter().filter_map(|(address, entry)| Some((HostId(entry.id), address.parse().ok()?)))
    }

    /// The provider address of a numbered host.
    pub fn host_address(&self, id: HostId) -> Option<IpAddr> {
        self.hosts.name_of(id.0)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(ids: &mut Ids, names: &[&str]) -> Vec<u32> {
        ids.begin();
        let numbers = names.iter().map(|name| ids.tenant(name).0).collect();
        ids.end();
        numbers
    }

    #[test]
    fn a_name_keeps_its_number_whatever_comes_and_goes() {
        let mut ids = Ids::default();
        assert_eq!(round(&mut ids, &["a", "b", "c"]), [1, 2, 3]);
        assert_eq!(round(&mut ids, &["c", "d"]), [3, 4]);
        ids.settle();
        assert_eq!(round(&mut ids, &["d", "c"]), [4, 3]);
    }

    #[test]
    fn a_freed_number_rests_until_the_change_was_applied() {
        let mut ids = Ids::default();
        round(&mut ids, &["a", "b"]);
        assert_eq!(round(&mut ids, &["b", "c"]), [2, 3]);
        assert_eq!(round(&mut ids, &["b", "c", "d"]), [2, 3, 4]);
        ids.settle();
        assert_eq!(round(&mut ids, &["b", "c", "d", "e"]), [2, 3, 4, 1]);
    }

    #[test]
    fn what_was_never_applied_is_taken_back() {
        let mut ids = Ids::default();
        round(&mut ids, &["a", "b"]);
        ids.settle();
        assert_eq!(round(&mut ids, &["b", "c", "d"]), [2, 3, 4]);
        ids.take_back();
        assert_eq!(round(&mut ids, &["a", "b"]), [1, 2]);
        assert_eq!(round(&mut ids, &["e", "a"]), [3, 1], "numbers that were never used are free, b's rests");
    }

    #[test]
    fn numbers_survive_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ids.json");
        assert_eq!(Ids::load(&path).expect("none yet"), Ids::default());
        let mut ids = Ids::default();
        round(&mut ids, &["a", "b", "c"]);
        let mut again = {
            round(&mut ids, &["a", "c"]);
            ids.save(&path).expect("saved");
            Ids::load(&path).expect("loaded")
        };
        assert_eq!(round(&mut again, &["a", "b", "c"]), [1, 4, 3]);
        fs::write(&path, b"{").expect("damaged");
        assert_eq!(Ids::load(&path).expect("as if none"), Ids::default());
    }

    #[test]
    fn what_the_kernel_still_holds_is_not_given_out() {
        let mut ids = Ids::default();
        ids.found(InUse { tenants: vec![1, 2, 4], ..InUse::default() });
        assert_eq!(round(&mut ids, &["a", "b"]), [3, 5]);
        ids.settle();
        assert_eq!(round(&mut ids, &["a", "b", "c"]), [3, 5, 1]);
    }

    #[test]
    fn slots_of_ports_and_of_veths_do_not_meet() {
        let mut ids = Ids::default();
        ids.found(InUse { devices: vec![1, 257], ..InUse::default() });
        ids.begin();
        assert_eq!((ids.port("a"), ids.veth("a")), (PortId(2), PortId(258)));
        ids.end();
        assert_eq!(ids.port_id("a"), Some(PortId(2)));
    }

    #[test]
    fn names_are_found_by_number() {
        let mut ids = Ids::default();
        ids.begin();
        let tenant = ids.tenant("contoso");
        let connection = ids.connection(tenant, "hq");
        let pa = IpAddr::from([10, 0, 0, 1]);
        let host = ids.host(pa);
        ids.end();
        assert_eq!(ids.connection_name(connection), Some(("contoso", "hq")));
        assert_eq!(ids.connection_id("contoso", "hq"), Some(connection));
        assert_eq!(ids.connection_id("woodgrove", "hq"), None);
        assert_eq!(ids.host_address(host), Some(pa));
    }
}
