//! Makes the maps hold what they should: only what differs is written, in an order in which no packet meets a reference to
//! something that is not there yet or not there any more.
//!
//! 1. what is referred to: devices, next hops, feasible sets, connections, tenants
//! 2. routes
//! 3. what leads packets to a tenant: tunnels, VLANs, virtual subnets
//! 4. the touched tenants' generations, which makes cached decisions stale
//! 5. once the packets that saw the old tables have left: what nothing refers to any more

use super::bpf;
use super::error::{Error, Result};
use super::learned::{Key, Learned, Needs};
use super::map::Table;
use super::maps::{self, Maps, ROUTES4, ROUTES6};
use super::nexthop;
use super::object::Loaded;
use super::room::{self, Room};
use super::tables::{Difference, Tables, TenantRoutes, difference, sorted_difference};
use bytemuck::{Pod, Zeroable};
use gateway_common::gate::Gate;
use gateway_common::policer::Policer;
use gateway_common::tables::{
    Connection, ConnectionState, DropKey, Nexthop, Port, Route, Seat, SeatSetup, Tenant, TenantState,
};
use gateway_common::{ConnectionId, Epoch, TenantId};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

/// Tries that are put into their slots at once: each change of slots costs a wait of some milliseconds, however many they are.
const TRIES_AT_ONCE: usize = 512;

/// What an application did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Elements written.
    pub written: usize,
    /// Elements removed.
    pub removed: usize,
    /// Tenants whose cached decisions became stale.
    pub tenants: usize,
}

impl Applied {
    /// Whether nothing had to be done.
    pub fn is_empty(&self) -> bool {
        self.written == 0 && self.removed == 0
    }
}

impl std::ops::Add for Applied {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            written: self.written + other.written,
            removed: self.removed + other.removed,
            tenants: self.tenants + other.tenants,
        }
    }
}

/// The maps and what they hold.
pub struct Applier {
    maps: Maps,
    /// What the maps hold; `None` after an error, when only they know.
    current: Option<Tables>,
    /// By tenant slot, those of removed tenants included: a slot's generation never falls.
    generations: HashMap<u32, u32>,
    traced: HashSet<u32>,
}

impl Applier {
    /// Takes the maps over as they are.
    pub fn adopt(maps: Maps) -> Result<Self> {
        let (current, generations) = maps.read()?;
        if maps.seats.get(&super::compile::SEAT.0)?.is_none_or(|seat| seat.gate != Gate::FOREVER) {
            maps.seats.set(&super::compile::SEAT.0, &Seat::new(Gate::FOREVER, Epoch(1)))?;
        }
        let mut applier = Self { maps, current: Some(current), generations, traced: HashSet::new() };
        applier.end_stale_traces()?;
        Ok(applier)
    }

    /// Whoever traced went away with the daemon of before.
    fn end_stale_traces(&mut self) -> Result<()> {
        let tenants = self.maps.tenants.entries()?;
        let traced = tenants.into_iter().filter(|(_, tenant)| tenant.flags & Tenant::TRACED != 0);
        let cleared = traced.map(|(slot, tenant)| (slot, Tenant { flags: tenant.flags & !Tenant::TRACED, ..tenant }));
        let cleared = cleared.collect();
        self.write_tenants(cleared)
    }

    /// What the maps hold.
    pub fn current(&mut self) -> Result<&Tables> {
        if self.current.is_none() {
            let (current, generations) = self.maps.read()?;
            self.generations = generations;
            self.current = Some(current);
        }
        self.current.as_ref().ok_or_else(|| Error::Object("unreachable".into()))
    }

    /// Makes the maps hold `new`. `routes_room` is what a tenant's trie is made for.
    pub fn apply(&mut self, loaded: &Loaded, new: Tables, routes_room: u32, learned: &Learned) -> Result<Applied> {
        if let Room::AfterRemoving(full) = self.room(&new, routes_room)? {
            return Err(full);
        }
        let Some(old) = self.current.take() else { return Ok(Applied::default()) };
        // On an error `current` stays unknown, and the next application reads the maps again.
        let applied = Change::new(self, loaded, (&old, &new), routes_room, learned).run()?;
        self.current = Some(new);
        Ok(applied)
    }

    /// Writes what has changed of the learned routes, after what they need.
    pub(super) fn learn(
        &mut self,
        loaded: &Loaded,
        needs: Needs,
        routes_room: u32,
        learned: &Learned,
    ) -> Result<Applied> {
        self.current()?;
        let Some(mut current) = self.current.take() else { return Ok(Applied::default()) };
        let room = self.maps.nexthops.capacity();
        if let Some((id, _)) = needs.nexthops.iter().find(|(id, _)| *id >= room) {
            let needed = *id as usize + 1;
            return Err(Error::Full { what: "next hops", map: "NEXTHOPS", needed, room: room as usize });
        }
        let (ids, groups): (Vec<_>, Vec<_>) = needs.nexthops.iter().copied().unzip();
        self.maps.nexthops.set_all(&ids, &groups)?;
        self.maps.feasible.set_all(&needs.feasible, &vec![1; needs.feasible.len()])?;
        current.nexthops.extend(needs.nexthops);
        current.feasible.extend(needs.feasible.into_iter().map(|key| (key, 1)));
        let mut change = Change::new(self, loaded, (&current, &current), routes_room, learned);
        change.routes()?;
        change.touch()?;
        let applied = change.applied;
        self.current = Some(current);
        Ok(applied)
    }

    /// Whether `new` fits, beside what the maps hold or at all. Nothing is written.
    ///
    /// # Errors
    /// It does not fit, whatever goes.
    pub fn room(&mut self, new: &Tables, routes_room: u32) -> Result<Room> {
        self.current()?;
        let Some(old) = &self.current else { return Ok(Room::Beside) };
        room::check(&self.maps, old, new, routes_room)
    }

    /// Makes every cached decision stale: after new programs took over.
    pub fn touch_all(&mut self) -> Result<()> {
        let tenants: Vec<(u32, Tenant)> =
            self.current()?.tenants.iter().map(|(slot, tenant)| (*slot, *tenant)).collect();
        self.write_tenants(tenants)
    }

    /// Turns the tracing of a tenant's packets on or off.
    pub fn trace(&mut self, tenant: TenantId, tracing: Tracing) -> Result<()> {
        let Some(entry) = self.current()?.tenants.get(&tenant.0).copied() else { return Ok(()) };
        match tracing {
            Tracing::On => self.traced.insert(tenant.0),
            Tracing::Off => self.traced.remove(&tenant.0),
        };
        self.write_tenants(vec![(tenant.0, entry)])
    }

    /// Writes tenants under their next generation.
    fn write_tenants(&mut self, mut tenants: Vec<(u32, Tenant)>) -> Result<()> {
        for (slot, tenant) in &mut tenants {
            let generation = self.generations.entry(*slot).or_default();
            // 0 is no generation.
            *generation = generation.checked_add(1).unwrap_or(1);
            tenant.generation = *generation;
            if self.traced.contains(slot) {
                tenant.flags |= Tenant::TRACED;
            }
        }
        if tenants.is_empty() {
            return Ok(());
        }
        let (keys, values): (Vec<_>, Vec<_>) = tenants.into_iter().unzip();
        self.maps.tenants.set_all(&keys, &values)?;
        self.maps.renew()
    }
}

/// Whether a tenant's packets are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracing {
    /// They are.
    On,
    /// They are not.
    Off,
}

/// One application under way.
struct Change<'a> {
    applier: &'a mut Applier,
    loaded: &'a Loaded,
    old: &'a Tables,
    new: &'a Tables,
    routes_room: u32,
    learned: &'a Learned,
    touched: BTreeSet<u32>,
    applied: Applied,
}

impl<'a> Change<'a> {
    fn new(
        applier: &'a mut Applier,
        loaded: &'a Loaded,
        (old, new): (&'a Tables, &'a Tables),
        routes_room: u32,
        learned: &'a Learned,
    ) -> Self {
        let (touched, applied) = (BTreeSet::new(), Applied::default());
        Self { applier, loaded, old, new, routes_room, learned, touched, applied }
    }

    fn run(mut self) -> Result<Applied> {
        let (old, new) = (self.old, self.new);
        let devices = difference(&old.devices, &new.devices);
        let nexthops = difference(&old.nexthops, &new.nexthops);
        let feasible = difference(&old.feasible, &new.feasible);
        let connections = difference(&old.connections, &new.connections);
        let tenants = difference(&old.tenants, &new.tenants);

        // 1. What is referred to.
        self.settings()?;
        let seats = difference(&old.seats, &new.seats);
        self.seats(&seats)?;
        self.devices(&devices)?;
        self.nexthops(&nexthops)?;
        self.write(&self.applier.maps.feasible, &feasible).map(|written| self.applied.written += written)?;
        self.connections(&connections)?;
        self.new_tenants(&tenants)?;

        // 2. Routes.
        self.routes()?;

        // 3. What leads packets here.
        self.classification()?;

        // 4. Cached decisions.
        self.touch()?;
        // A slot without a tenant keeps its generation: flows of the old tenant must never match those of the next one there.
        self.applier.traced.retain(|slot| new.tenants.contains_key(slot));
        self.applier.write_tenants(tenants.gone.iter().map(|slot| (*slot, Tenant::default())).collect())?;

        // 5. What nothing refers to any more.
        let gone = [&devices.gone, &nexthops.gone, &connections.gone, &tenants.gone];
        if gone.iter().any(|gone| !gone.is_empty()) || !feasible.gone.is_empty() {
            bpf::quiesce();
        }
        let maps = &self.applier.maps;
        maps.devices.delete_all(&devices.gone)?;
        clear(&maps.interfaces, &devices.gone)?;
        clear(&maps.nexthops, &nexthops.gone)?;
        if !nexthops.gone.is_empty() {
            maps.renew()?;
        }
        clear(&maps.connections, &connections.gone)?;
        clear(&maps.seat_setup, &seats.gone)?;
        maps.feasible.delete_all(&feasible.gone)?;
        for outer in [&maps.routes4, &maps.routes6] {
            outer.delete_all(&tenants.gone)?;
        }
        self.forget_drops(&connections.gone, &tenants.gone)?;
        self.applied.removed += gone.iter().map(|gone| gone.len()).sum::<usize>() + feasible.gone.len();
        Ok(self.applied)
    }

    /// Makes the cached decisions of touched tenants stale.
    fn touch(&mut self) -> Result<()> {
        let touched: Vec<(u32, Tenant)> =
            self.touched.iter().filter_map(|slot| Some((*slot, *self.new.tenants.get(slot)?))).collect();
        self.applied.tenants = touched.len();
        self.applier.write_tenants(touched)
    }

    /// What was counted for removed connections and tenants is not to be shown as their successors'.
    fn forget_drops(&self, connections: &[u32], tenants: &[u32]) -> Result<()> {
        if connections.is_empty() && tenants.is_empty() {
            return Ok(());
        }
        let gone = |scope, ids: &[u32]| ids.iter().map(move |&id| (scope, id)).collect::<Vec<_>>();
        let gone: HashSet<(u32, u32)> =
            [gone(DropKey::CONNECTION, connections), gone(DropKey::TENANT, tenants)].into_iter().flatten().collect();
        let drops = &self.applier.maps.drops;
        let keys = drops.entries(|a, _| a)?.into_iter().map(|(key, _)| key);
        let keys: Vec<DropKey> = keys.filter(|key| gone.contains(&(key.scope, key.id))).collect();
        drops.delete_all(&keys)
    }

    fn write<K: Pod, V: Pod>(&self, table: &Table<K, V>, difference: &Difference<K, V>) -> Result<usize> {
        table.set_all(&difference.keys, &difference.values)?;
        Ok(difference.keys.len())
    }

    fn settings(&mut self) -> Result<()> {
        if self.old.settings != self.new.settings {
            self.applier.maps.settings.set(&0, &self.new.settings)?;
            self.applied.written += 1;
        }
        Ok(())
    }

    /// Seats come with a closed gate, which nobody but their holder opens, and go with one. The gate of a seat that stays is not touched.
    fn seats(&mut self, seats: &Difference<u32, SeatSetup>) -> Result<()> {
        let maps = &self.applier.maps;
        let fresh = seats.keys.iter().filter(|slot| !self.old.seats.contains_key(slot));
        let closed: Vec<u32> = fresh.chain(&seats.gone).copied().collect();
        maps.seats.set_all(&closed, &vec![Seat::new(Gate::REPLICA, Epoch(0)); closed.len()])?;
        self.applied.written += self.write(&maps.seat_setup, seats)?;
        let mut probed = Applied::default();
        let numbers = difference(&self.old.seat_numbers, &self.new.seat_numbers);
        reconcile(&maps.seat_numbers, numbers, &mut probed, |_, _| None, &mut self.touched, &self.old.seat_numbers)?;
        self.applied = self.applied + probed;
        Ok(())
    }

    fn devices(&mut self, devices: &Difference<u32, u32>) -> Result<()> {
        let values: Vec<[u32; 2]> = devices.values.iter().map(|&ifindex| [ifindex, 0]).collect();
        let maps = &self.applier.maps;
        maps.interfaces.set_all(&devices.keys, &devices.values)?;
        for (slot, value) in devices.keys.iter().zip(&values) {
            match maps.devices.set(slot, value) {
                // The interface went away in this moment; the network side will say so, and this slot is dropped at then.
                Err(Error::Map { source, .. }) if source.raw_os_error() == Some(libc::EINVAL) => {
                    tracing::warn!(slot, ifindex = value[0], "an interface is gone before packets could be sent to it");
                }
                result => result?,
            }
            if !self.old.devices.contains_key(slot) {
                // The counters of whoever had the slot before.
                maps.port_counters.clear_if_present(slot)?;
            }
        }
        self.applied.written += values.len();
        Ok(())
    }

    /// Next hops that packets may be meeting now.
    fn nexthops(&mut self, nexthops: &Difference<u32, Nexthop>) -> Result<()> {
        let maps = &self.applier.maps;
        let table = &maps.nexthops;
        let changed = nexthops.keys.iter().zip(&nexthops.values);
        let changed = changed.filter_map(|(slot, new)| Some((*slot, self.old.nexthops.get(slot)?, new)));
        let (retired, prepared): (Vec<_>, Vec<_>) = changed
            .map(|(slot, old, new)| ((slot, nexthop::retired(old, new)), (slot, nexthop::prepared(old, new))))
            .unzip();
        let write = |steps: Vec<(u32, Option<Nexthop>)>| {
            let steps = steps.into_iter().filter_map(|(slot, step)| Some((slot, step?)));
            let (keys, values): (Vec<_>, Vec<_>) = steps.unzip();
            table.set_all(&keys, &values).map(|()| keys.len())
        };
        if write(retired)? > 0 {
            bpf::quiesce();
        }
        write(prepared)?;
        self.applied.written += self.write(table, nexthops)?;
        if nexthops.keys.is_empty() { Ok(()) } else { maps.renew() }
    }

    fn connections(&mut self, connections: &Difference<u32, Connection>) -> Result<()> {
        let maps = &self.applier.maps;
        let mut fresh = Vec::new();
        for (slot, connection) in connections.keys.iter().zip(&connections.values) {
            match self.old.connections.get(slot) {
                None => fresh.push(*slot),
                Some(old) if is_cached(old) != is_cached(connection) => {
                    self.touched.insert(connection.tenant.0);
                }
                // Segment size and attachment are read for every packet that needs them.
                Some(_) => {}
            }
        }
        maps.connection_state.set_all(&fresh, &vec![ConnectionState::zeroed(); fresh.len()])?;
        for slot in &fresh {
            maps.connection_counters.clear_if_present(slot)?;
        }
        self.applied.written += self.write(&maps.connections, connections)?;
        Ok(())
    }

    fn new_tenants(&mut self, tenants: &Difference<u32, Tenant>) -> Result<()> {
        let fresh: Vec<u32> =
            tenants.keys.iter().filter(|slot| !self.old.tenants.contains_key(slot)).copied().collect();
        let maps = &self.applier.maps;
        maps.tenant_state.set_all(&fresh, &vec![TenantState::zeroed(); fresh.len()])?;
        for slot in &fresh {
            maps.tenant_counters.clear_if_present(slot)?;
        }
        self.touched.extend(&tenants.keys);
        self.applied.written += tenants.keys.len();
        let fresh = fresh.iter().filter_map(|slot| Some((*slot, *self.new.tenants.get(slot)?))).collect();
        self.applier.write_tenants(fresh)
    }

    fn routes(&mut self) -> Result<()> {
        let none = Arc::new(TenantRoutes::default());
        let unsettled: HashSet<TenantId> = self.learned.unsettled().collect();
        let pair = |(tenant, new): (&TenantId, &'a Arc<TenantRoutes>)| {
            let old = self.old.routes.get(tenant).unwrap_or(&none);
            (!Arc::ptr_eq(old, new) || unsettled.contains(tenant)).then_some((tenant.0, old, new))
        };
        let mut pairs: Vec<_> = if std::ptr::eq(self.old, self.new) {
            unsettled.iter().filter_map(|tenant| self.new.routes.get_key_value(tenant)).filter_map(pair).collect()
        } else {
            self.new.routes.iter().filter_map(pair).collect()
        };
        pairs.sort_unstable_by_key(|(tenant, ..)| *tenant);
        self.family(ROUTES4, pairs.iter().map(|(tenant, old, new)| (*tenant, &*old.v4, &*new.v4)))?;
        self.family(ROUTES6, pairs.iter().map(|(tenant, old, new)| (*tenant, &*old.v6, &*new.v6)))
    }

    fn family<'r, P: Key>(
        &mut self,
        name: &'static str,
        pairs: impl Iterator<Item = (u32, &'r [(P, Route)], &'r [(P, Route)])>,
    ) -> Result<()> {
        let outer = if name == ROUTES4 { &self.applier.maps.routes4 } else { &self.applier.maps.routes6 };
        let (mut slots, mut tries, mut emptied) = (Vec::new(), Vec::new(), Vec::new());
        for (tenant, old, new) in pairs {
            let mut change = sorted_difference(old, new);
            let of_plan = change.keys.len();
            let learned = self.learned.len::<P>(TenantId(tenant));
            self.learned.add_to(TenantId(tenant), &mut change, new);
            if change.is_empty() {
                continue;
            }
            self.touched.insert(tenant);
            self.applied.written += change.keys.len();
            self.applied.removed += change.gone.len();
            if new.is_empty() && learned == 0 {
                emptied.push(tenant);
                continue;
            }
            let trie = maps::open_trie::<P>(outer, tenant)?;
            match trie.filter(|trie| old.len() + learned + of_plan <= trie.capacity() as usize) {
                Some(trie) => {
                    trie.set_all(&change.keys, &change.values)?;
                    trie.delete_all(&change.gone)?;
                }
                // None yet, or too small: a new one takes the slot when it is full.
                None => {
                    let map = self.loaded.inner_map(name, self.routes_room)?;
                    let fd =
                        map.fd().as_fd().try_clone_to_owned().map_err(|source| Error::map(name, "fill", source))?;
                    let trie = Table::<P, Route>::new(fd, name)?;
                    let (keys, values): (Vec<P>, Vec<Route>) = new.iter().copied().unzip();
                    self.learned.fill(TenantId(tenant), &trie)?;
                    trie.set_all(&keys, &values)?;
                    slots.push(tenant);
                    tries.push(trie);
                    if tries.len() == TRIES_AT_ONCE {
                        place(outer, &mut slots, &mut tries)?;
                    }
                }
            }
        }
        place(outer, &mut slots, &mut tries)?;
        outer.delete_all(&emptied)
    }

    fn classification(&mut self) -> Result<()> {
        let (old, new) = (self.old, self.new);
        let tenant_of = |connection: &ConnectionId| {
            let entry = new.connections.get(&connection.0).or_else(|| old.connections.get(&connection.0));
            entry.map(|entry| entry.tenant)
        };
        let ports = difference(&old.ports, &new.ports);
        let role =
            |ports: &HashMap<u32, Port>, ifindex: &u32| ports.get(ifindex).map(|port| (port.id, port.flags, port.mac));
        if ports.keys.iter().chain(&ports.gone).any(|key| role(&old.ports, key) != role(&new.ports, key)) {
            self.touched.extend(new.tenants.keys());
        }
        let local = difference(&old.local, &new.local);
        let maps = &self.applier.maps;
        let touched = &mut self.touched;
        let applied = &mut self.applied;
        reconcile(&maps.ports, ports, applied, |_, _| None, touched, &old.ports)?;
        reconcile(&maps.local, local, applied, |_, _| None, touched, &old.local)?;
        let attachments = difference(&old.compartments, &new.compartments);
        reconcile(&maps.compartments, attachments, applied, |_, value| Some(value.tenant), touched, &old.compartments)?;
        let peers = difference(&old.fabric_peers, &new.fabric_peers);
        reconcile(&maps.fabric_peers, peers, applied, |key, _| Some(key.tenant), touched, &old.fabric_peers)?;
        let fabric = difference(&old.fabric, &new.fabric);
        reconcile(&maps.fabric, fabric, applied, |_, value| Some(value.tenant), touched, &old.fabric)?;
        let vlans = difference(&old.vlans, &new.vlans);
        reconcile(&maps.vlans, vlans, applied, |_, value| tenant_of(value), touched, &old.vlans)?;
        let gre = difference(&old.gre, &new.gre);
        reconcile(&maps.gre, gre, applied, |_, value| tenant_of(value), touched, &old.gre)?;
        let probers = difference(&old.probers, &new.probers);
        reconcile(&maps.probers, probers, applied, |_, _| None, touched, &old.probers)?;
        let steer = difference(&old.steer, &new.steer);
        reconcile(&maps.steer, steer, applied, |_, _| None, touched, &old.steer)?;
        // No decision about a virtual machine's packets is cached.
        let stations = difference(&old.stations, &new.stations);
        reconcile(&maps.stations, stations, applied, |_, _| None, touched, &old.stations)?;
        let floods = difference(&old.floods, &new.floods);
        reconcile(&maps.floods, floods, applied, |_, _| None, touched, &old.floods)?;
        let vms = difference(&old.vms, &new.vms);
        reconcile(&maps.vms, vms, applied, |_, _| None, touched, &old.vms)
    }
}

/// What of a connection is part of a cached decision. So are its limits, as packets by cached decisions use up what was metered ahead.
fn is_cached(connection: &Connection) -> (u32, TenantId, u32, [Policer; 2]) {
    (connection.flags, connection.tenant, connection.seat.0, [connection.inbound, connection.outbound])
}

/// Writes a difference and marks the tenants that it concerns, those of the values that were there before included.
fn reconcile<K: Pod + Eq + std::hash::Hash, V: Pod>(
    table: &Table<K, V>,
    difference: Difference<K, V>,
    applied: &mut Applied,
    tenant: impl Fn(&K, &V) -> Option<TenantId>,
    touched: &mut BTreeSet<u32>,
    old: &HashMap<K, V>,
) -> Result<()> {
    let before = difference.keys.iter().chain(&difference.gone).filter_map(|key| Some((key, old.get(key)?)));
    let after = difference.keys.iter().zip(&difference.values);
    touched.extend(before.chain(after).filter_map(|(key, value)| tenant(key, value)).map(|tenant| tenant.0));
    table.set_all(&difference.keys, &difference.values)?;
    table.delete_all(&difference.gone)?;
    applied.written += difference.keys.len();
    applied.removed += difference.gone.len();
    Ok(())
}

/// Sets elements of an array to all zero.
fn clear<V: Pod>(table: &Table<u32, V>, slots: &[u32]) -> Result<()> {
    table.set_all(slots, &vec![V::zeroed(); slots.len()])
}

/// Puts filled tries into their slots.
fn place<P: Pod>(outer: &Table<u32, u32>, slots: &mut Vec<u32>, tries: &mut Vec<Table<P, Route>>) -> Result<()> {
    let fds: Vec<u32> = tries.iter().map(|trie| trie.as_fd().as_raw_fd().cast_unsigned()).collect();
    outer.set_all(slots, &fds)?;
    slots.clear();
    tries.clear();
    Ok(())
}
