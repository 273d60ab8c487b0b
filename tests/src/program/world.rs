//! One test's tables.

use super::{Drop, Entry, Event, Loaded, Outcome, Programs, Scope};
use crate::frame::Stack;
use aya::Pod;
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, MapError, PerCpuArray, PerCpuHashMap, PerCpuValues, RingBuf};
use gateway_common::tables::*;
use gateway_common::trace::{PathMtu, Traced};
use gateway_common::{Address, ConnectionId, DropReason, NexthopId, OriginId, PortId, SeatId, TenantId};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

type Undo = Box<dyn FnOnce(&mut Programs)>;

/// One test's tables: everything written through it is taken back at the end.
///
/// Setters panic on failure: a test can do nothing about it.
pub struct World<'p> {
    pub(super) programs: &'p mut Programs,
    undo: Vec<Undo>,
    generation: u32,
    connections: BTreeSet<ConnectionId>,
    tenants: BTreeSet<TenantId>,
    ports: BTreeSet<PortId>,
}

impl std::ops::Drop for World<'_> {
    fn drop(&mut self) {
        while let Some(undo) = self.undo.pop() {
            undo(self.programs);
        }
    }
}

pub(super) fn missing(map: &str) -> String {
    format!("the object has no map {map}")
}

impl Programs {
    /// An empty world.
    pub fn world(&mut self) -> World<'_> {
        // A new generation a world: no flow that an earlier one cached is valid in it.
        self.generation += 1000;
        let generation = self.generation;
        let mut world = World {
            programs: self,
            undo: Vec::new(),
            generation,
            connections: BTreeSet::new(),
            tenants: BTreeSet::new(),
            ports: BTreeSet::new(),
        };
        world.take_drops();
        world.take_events();
        world
    }

    fn hash<K: Pod, V: Pod>(&mut self, map: &str) -> HashMap<&mut aya::maps::MapData, K, V> {
        self.ebpf.map_mut(map).unwrap_or_else(|| panic!("{}", missing(map))).try_into().expect("a hash of these types")
    }

    fn array<V: Pod>(&mut self, map: &str) -> Array<&mut aya::maps::MapData, V> {
        self.ebpf.map_mut(map).unwrap_or_else(|| panic!("{}", missing(map))).try_into().expect("an array of this type")
    }

    /// Writes a slot of an array, and breaks the seals of all that was decided by what it held.
    fn set<V: Pod>(&mut self, map: &str, index: u32, value: V) {
        self.array(map).set(index, value, 0).unwrap_or_else(|error| panic!("{map} {index}: {error}"));
        let mut word = self.array::<u64>("CHANGES");
        let changes = word.get(&0, 0).expect("the word of changes");
        word.set(0, changes.wrapping_add(changes::BY_USER), 0).expect("written");
    }

    /// Takes back what the processors may still let through of a connection's packets.
    fn forget_credit(&mut self, id: ConnectionId) {
        let map =
            self.ebpf.map_mut("CONNECTION_COUNTERS").unwrap_or_else(|| panic!("{}", missing("CONNECTION_COUNTERS")));
        let mut shares: PerCpuArray<_, ConnectionShare> = map.try_into().expect("a per-CPU array of shares");
        let mut values = shares.get(&id.0, 0).expect("the connection's slot").to_vec();
        values.iter_mut().for_each(|share| (share.inbound, share.outbound) = (0, 0));
        shares.set(id.0, PerCpuValues::try_from(values).expect("a value a processor"), 0).expect("written");
    }

    /// A slot's counters, each processor's taken out of its value.
    fn counters<V: aya::Pod>(&self, map: &str, index: u32, counters: impl Fn(&V) -> Counters) -> Counters {
        let array: PerCpuArray<_, V> = self
            .ebpf
            .map(map)
            .unwrap_or_else(|| panic!("{}", missing(map)))
            .try_into()
            .expect("a per-CPU array of counters");
        let values = array.get(&index, 0).unwrap_or_else(|error| panic!("slot {index} of {map}: {error}"));
        values.iter().map(counters).fold(Counters::default(), |sum, value| Counters {
            in_packets: sum.in_packets + value.in_packets,
            in_bytes: sum.in_bytes + value.in_bytes,
            out_packets: sum.out_packets + value.out_packets,
            out_bytes: sum.out_bytes + value.out_bytes,
        })
    }
}

impl World<'_> {
    /// Writes an entry of a hash.
    pub fn hash<K: Pod + Debug + 'static, V: Pod + 'static>(&mut self, map: &'static str, key: K, value: V) {
        let before = self.programs.hash::<K, V>(map).get(&key, 0).ok();
        self.programs.hash::<K, V>(map).insert(key, value, 0).unwrap_or_else(|error| panic!("{map} {key:?}: {error}"));
        self.undo.push(Box::new(move |programs| {
            let mut hash = programs.hash::<K, V>(map);
            match before {
                Some(before) => hash.insert(key, before, 0).expect("restored"),
                None => drop(hash.remove(&key)),
            }
        }));
    }

    /// Removes an entry of a hash; it comes back at the end.
    pub fn unhash<K: Pod + Debug + 'static, V: Pod + 'static>(&mut self, map: &'static str, key: K) {
        let before: V = self.programs.hash(map).get(&key, 0).unwrap_or_else(|error| panic!("{map} {key:?}: {error}"));
        self.programs.hash::<K, V>(map).remove(&key).unwrap_or_else(|error| panic!("{map} {key:?}: {error}"));
        self.undo.push(Box::new(move |programs| programs.hash(map).insert(key, before, 0).expect("restored")));
    }

    /// Writes a slot of an array.
    pub fn array<V: Pod + 'static>(&mut self, map: &'static str, index: u32, value: V) {
        let before: V = self.read(map, index);
        self.programs.set(map, index, value);
        self.undo.push(Box::new(move |programs| programs.set(map, index, before)));
    }

    /// Reads a slot of an array.
    pub fn read<V: Pod>(&mut self, map: &str, index: u32) -> V {
        self.programs.array(map).get(&index, 0).unwrap_or_else(|error| panic!("{map} {index}: {error}"))
    }

    /// Changes a slot of an array.
    pub fn change<V: Pod + 'static>(&mut self, map: &'static str, index: u32, change: impl FnOnce(&mut V)) {
        let mut value = self.read(map, index);
        change(&mut value);
        self.array(map, index, value);
    }

    /// What the port of interface `name` takes.
    pub fn port(&mut self, name: &str, port: Port) {
        let ifindex = self.ifindex(name);
        self.ports.insert(port.id);
        self.hash("PORTS", ifindex, port);
    }

    /// Counts what leaves by this slot of the device map, which is no port's.
    pub fn watch(&mut self, slot: PortId) {
        self.ports.insert(slot);
    }

    /// A seat's gate.
    pub fn seat(&mut self, id: SeatId, seat: Seat) {
        self.array("SEATS", id.0, seat);
    }

    /// A tenant; its generation is this world's.
    pub fn tenant(&mut self, id: TenantId, tenant: Tenant) {
        self.tenants.insert(id);
        self.array("TENANTS", id.0, Tenant { generation: self.generation, ..tenant });
        self.array("TENANT_STATE", id.0, TenantState::default());
    }

    /// Changes a tenant.
    pub fn change_tenant(&mut self, id: TenantId, change: impl FnOnce(&mut Tenant)) {
        self.change("TENANTS", id.0, change);
    }

    /// Makes what was cached of the tenant's flows stale.
    pub fn bump(&mut self, id: TenantId) {
        self.generation += 1;
        let generation = self.generation;
        self.change_tenant(id, |tenant| tenant.generation = generation);
    }

    /// A connection.
    pub fn connection(&mut self, id: ConnectionId, connection: Connection) {
        self.connections.insert(id);
        self.array("CONNECTIONS", id.0, connection);
        self.array("CONNECTION_STATE", id.0, ConnectionState::default());
        self.programs.forget_credit(id);
    }

    /// Changes a connection, and makes what was cached of its tenant's flows stale.
    pub fn change_connection(&mut self, id: ConnectionId, change: impl FnOnce(&mut Connection)) {
        self.change("CONNECTIONS", id.0, change);
        let connection: Connection = self.read("CONNECTIONS", id.0);
        self.bump(connection.tenant);
    }

    /// A connection's words as the programs left them.
    pub fn connection_state(&mut self, id: ConnectionId) -> ConnectionState {
        self.read("CONNECTION_STATE", id.0)
    }

    /// A GRE tunnel.
    pub fn gre(&mut self, key: GreKey, connection: ConnectionId) {
        self.hash("GRE", key, connection);
    }

    /// A VLAN on the port of interface `name`.
    pub fn vlan(&mut self, name: &str, vlan: u32, connection: ConnectionId) {
        let ifindex = self.ifindex(name);
        self.hash("VLANS", VlanKey { ifindex, vlan }, connection);
    }

    /// A virtual subnet.
    pub fn fabric(&mut self, key: FabricKey, vnet: Vnet) {
        self.hash("FABRIC", key, vnet);
    }

    /// A provider address of a tenant.
    pub fn fabric_peer(&mut self, key: FabricPeerKey, origin: OriginId) {
        self.hash("FABRIC_PEERS", key, origin);
    }

    /// The attachment whose root end is interface `name`.
    pub fn attachment(&mut self, name: &str, attachment: Attachment) {
        let ifindex = self.ifindex(name);
        self.hash("COMPARTMENTS", ifindex, attachment);
    }

    /// One of the gateway's own outer addresses.
    pub fn local(&mut self, address: impl Into<Address>, local: Local) {
        self.hash("LOCAL", address.into(), local);
    }

    /// A next hop.
    pub fn nexthop(&mut self, id: NexthopId, nexthop: Nexthop) {
        self.array("NEXTHOPS", id.0, nexthop);
    }

    /// Changes a next hop.
    pub fn change_nexthop(&mut self, id: NexthopId, change: impl FnOnce(&mut Nexthop)) {
        self.change("NEXTHOPS", id.0, change);
    }

    /// A member of a feasible set.
    pub fn feasible(&mut self, set: u32, origin: OriginId) {
        self.hash("FEASIBLE", FeasibleKey { set, origin }, 1u8);
    }

    /// A steering rule.
    pub fn steer(&mut self, key: SteerKey, target: SteerTarget) {
        self.change("SETTINGS", 0, |settings: &mut Settings| {
            if key.selector != 0 {
                settings.steering = Settings::SELECTORS;
            }
        });
        self.hash("STEER", key, target);
    }

    /// A tenant's route; its length is filled in.
    pub fn route(&mut self, tenant: TenantId, prefix: IpNet, route: Route) {
        let route = Route { prefix_len: u32::from(prefix.prefix_len()), ..route };
        self.with_route(tenant, prefix, Some(route));
    }

    /// Takes a tenant's route away.
    pub fn unroute(&mut self, tenant: TenantId, prefix: IpNet) {
        self.with_route(tenant, prefix, None);
    }

    fn with_route(&mut self, tenant: TenantId, prefix: IpNet, route: Option<Route>) {
        let before = exchange_route(self.programs, tenant, prefix, route);
        self.undo.push(Box::new(move |programs| {
            exchange_route(programs, tenant, prefix, before);
        }));
    }

    /// What holds for the whole gateway.
    pub fn settings(&mut self, settings: Settings) {
        self.array("SETTINGS", 0, settings);
        self.array("TOTALS", 0, Totals::default());
    }

    /// Takes a stage out of the program array.
    pub fn without_stage(&mut self, slot: u32) {
        self.programs.stage(slot, Loaded::Missing).expect("a stage");
        self.undo.push(Box::new(move |programs| programs.stage(slot, Loaded::Present).expect("restored")));
    }

    /// The index of an interface.
    pub fn ifindex(&self, name: &str) -> u32 {
        self.programs.ifindex(name)
    }

    /// Runs `entry` on a frame that comes in by interface `name`.
    pub fn run(&mut self, entry: Entry, name: &str, frame: &Stack) -> Outcome {
        self.run_bytes(entry, name, &frame.build())
    }

    /// Runs `entry` on bytes that come in by interface `name`.
    pub fn run_bytes(&mut self, entry: Entry, name: &str, frame: &[u8]) -> Outcome {
        let before = self.counters();
        let ifindex = self.ifindex(name);
        let (action, out) = self.programs.run(entry, ifindex, frame).unwrap_or_else(|error| panic!("{error:#}"));
        let after = self.counters();
        Outcome {
            verdict: action.into(),
            input: frame.to_vec(),
            frame: out,
            drops: self.take_drops(),
            connections: moved(&before.0, after.0),
            tenants: moved(&before.1, after.1),
            ports: moved(&before.2, after.2),
            events: self.take_events(),
        }
    }

    #[allow(clippy::type_complexity)]
    fn counters(&self) -> (BTreeMap<ConnectionId, Counters>, BTreeMap<TenantId, Counters>, BTreeMap<PortId, Counters>) {
        let programs = &*self.programs;
        (
            self.connections
                .iter()
                .map(|id| {
                    (*id, programs.counters("CONNECTION_COUNTERS", id.0, |share: &ConnectionShare| share.counters))
                })
                .collect(),
            self.tenants.iter().map(|id| (*id, programs.counters("TENANT_COUNTERS", id.0, Counters::clone))).collect(),
            self.ports.iter().map(|id| (*id, programs.counters("PORT_COUNTERS", id.0, Counters::clone))).collect(),
        )
    }

    pub(super) fn take_drops(&mut self) -> Vec<Drop> {
        let map = self.programs.ebpf.map_mut("DROPS").unwrap_or_else(|| panic!("{}", missing("DROPS")));
        let mut drops: PerCpuHashMap<_, DropKey, u64> = map.try_into().expect("a per-CPU hash of drops");
        let keys: Vec<DropKey> = drops.keys().collect::<Result<_, MapError>>().expect("the keys of DROPS");
        let mut taken = Vec::new();
        for key in keys {
            let packets = drops.get(&key, 0).expect("a drop").iter().sum();
            drops.remove(&key).expect("removed");
            if packets > 0 {
                taken.push(Drop { scope: scope(key), reason: reason(key), packets });
            }
        }
        taken
    }

    fn take_events(&mut self) -> Vec<Event> {
        let Some(map) = self.programs.ebpf.map_mut("EVENTS") else { return Vec::new() };
        let mut ring = RingBuf::try_from(map).expect("a ring buffer");
        let mut events = Vec::new();
        while let Some(record) = ring.next() {
            let kind = u32::from_ne_bytes(record[..4].try_into().expect("four bytes"));
            events.push(match kind {
                Traced::KIND => Event::Traced(Box::new(bytemuck::pod_read_unaligned(&record[..size_of::<Traced>()]))),
                PathMtu::KIND => Event::PathMtu(bytemuck::pod_read_unaligned(&record[..size_of::<PathMtu>()])),
                other => panic!("a record of unknown kind {other}"),
            });
        }
        events
    }
}

fn scope(key: DropKey) -> Scope {
    match key.scope {
        DropKey::PORT => Scope::Port(key.id),
        DropKey::TENANT => Scope::Tenant(TenantId(key.id)),
        DropKey::CONNECTION => Scope::Connection(ConnectionId(key.id)),
        other => panic!("a drop of unknown scope {other}"),
    }
}

fn reason(key: DropKey) -> DropReason {
    DropReason::from_number(key.reason).unwrap_or_else(|| panic!("a drop of unknown reason {}", key.reason))
}

fn moved<K: Ord + Copy>(before: &BTreeMap<K, Counters>, after: BTreeMap<K, Counters>) -> BTreeMap<K, Counters> {
    let mut moved = BTreeMap::new();
    for (id, after) in after {
        let before = before.get(&id).copied().unwrap_or_default();
        if before != after {
            moved.insert(
                id,
                Counters {
                    in_packets: after.in_packets - before.in_packets,
                    in_bytes: after.in_bytes - before.in_bytes,
                    out_packets: after.out_packets - before.out_packets,
                    out_bytes: after.out_bytes - before.out_bytes,
                },
            );
        }
    }
    moved
}

/// Puts `route` where `prefix` leads, and returns what was there.
fn exchange_route(programs: &mut Programs, tenant: TenantId, prefix: IpNet, route: Option<Route>) -> Option<Route> {
    let tries = programs.tries.get_mut(&tenant).expect("a tenant with route tables");
    let len = u32::from(prefix.prefix_len());
    macro_rules! exchange {
        ($trie:expr, $prefix:expr) => {{
            let key = Key::new(len, $prefix.network().octets());
            let before = $trie.get(&key, 0).ok().filter(|found| found.prefix_len == len);
            match route {
                Some(route) => $trie.insert(&key, route, 0).expect("a route"),
                None => drop($trie.remove(&key)),
            }
            before
        }};
    }
    match prefix {
        IpNet::V4(prefix) => exchange!(tries.v4, prefix),
        IpNet::V6(prefix) => exchange!(tries.v6, prefix),
    }
}
