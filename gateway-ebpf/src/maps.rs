//! The maps. Keys and values stand in `gateway_common::tables`; sizes here are defaults that the loader may override.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{
    Array, ArrayOfMaps, DevMap, HashMap, LpmTrie, PerCpuArray, PerCpuHashMap, ProgramArray, RingBuf,
};
use aya_ebpf::macros::btf_map;
use gateway_common::tables::{
    Attachment, Connection, ConnectionShare, ConnectionState, Counters, DropKey, FLOW4_PAIRS, FLOW6_PAIRS, FabricKey,
    FabricPeerKey, FeasibleKey, Flood, FloodKey, Flow4, Flow6, GreKey, Local, Nexthop, Port, Prober, Route, Seat,
    SeatSetup, Settings, Station, StationKey, SteerKey, SteerTarget, Tenant, TenantState, Totals, VlanKey, VmPort,
    Vnet,
};
use gateway_common::trace::Traced;
use gateway_common::{Address, ConnectionId, OriginId, SeatId};

use crate::run::{Run, Scratch};

const TENANTS_MAX: usize = 16 * 1024;
const CONNECTIONS_MAX: usize = 64 * 1024;
const NEXTHOPS_MAX: usize = 128 * 1024;
/// Such an array starts at a page, and so every element of a flow cache at a line of the processor's. User space maps `SEATS` alone.
const MMAPABLE: usize = BPF_F_MMAPABLE as usize;
const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;

/// A tenant's routes of one family.
pub type Routes4 = LpmTrie<[u8; 4], Route, 1_000_000>;
/// A tenant's routes of the other.
pub type Routes6 = LpmTrie<[u8; 16], Route, 1_000_000>;

#[btf_map]
pub static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
pub static TOTALS: Array<Totals, 1> = Array::new();
#[btf_map]
pub static CHANGES: Array<u64, 1> = Array::new();
#[btf_map]
pub static STAGES: ProgramArray<16> = ProgramArray::new();

#[btf_map]
pub static PORTS: HashMap<u32, Port, 256> = HashMap::new();
#[btf_map]
pub static DEVICES: DevMap<{ 64 * 1024 }> = DevMap::new();
#[btf_map]
pub static INTERFACES: Array<u32, { 64 * 1024 }> = Array::new();

#[btf_map]
pub static GRE: HashMap<GreKey, ConnectionId, CONNECTIONS_MAX, NO_PREALLOC> = HashMap::new();
#[btf_map]
pub static VLANS: HashMap<VlanKey, ConnectionId, CONNECTIONS_MAX, NO_PREALLOC> = HashMap::new();
#[btf_map]
pub static FABRIC: HashMap<FabricKey, Vnet, { 4 * TENANTS_MAX }, NO_PREALLOC> = HashMap::new();
#[btf_map]
pub static FABRIC_PEERS: HashMap<FabricPeerKey, OriginId, NEXTHOPS_MAX, NO_PREALLOC> = HashMap::new();
#[btf_map]
pub static COMPARTMENTS: HashMap<u32, Attachment, { 4 * TENANTS_MAX }, NO_PREALLOC> = HashMap::new();
#[btf_map]
pub static LOCAL: HashMap<Address, Local, { 16 * 1024 }, NO_PREALLOC> = HashMap::new();

#[btf_map]
pub static SEATS: Array<Seat, 256, MMAPABLE> = Array::new();
#[btf_map]
pub static SEAT_SETUP: Array<SeatSetup, 256> = Array::new();
#[btf_map]
pub static SEAT_NUMBERS: HashMap<u32, SeatId, 1024, NO_PREALLOC> = HashMap::new();
#[btf_map]
pub static PROBERS: HashMap<u32, Prober, 1024, NO_PREALLOC> = HashMap::new();
#[btf_map]
pub static TENANTS: Array<Tenant, TENANTS_MAX> = Array::new();
#[btf_map]
pub static TENANT_STATE: Array<TenantState, TENANTS_MAX> = Array::new();
#[btf_map]
pub static CONNECTIONS: Array<Connection, CONNECTIONS_MAX> = Array::new();
#[btf_map]
pub static CONNECTION_STATE: Array<ConnectionState, CONNECTIONS_MAX> = Array::new();

#[btf_map]
pub static ROUTES4: ArrayOfMaps<Routes4, TENANTS_MAX> = ArrayOfMaps::new();
#[btf_map]
pub static ROUTES6: ArrayOfMaps<Routes6, TENANTS_MAX> = ArrayOfMaps::new();
#[btf_map]
pub static FEASIBLE: HashMap<FeasibleKey, u8, NEXTHOPS_MAX, NO_PREALLOC> = HashMap::new();
#[btf_map]
pub static NEXTHOPS: Array<Nexthop, NEXTHOPS_MAX> = Array::new();

/// The loader makes room for every CPU's.
#[btf_map]
pub static FLOWS4: Array<[Flow4; 2], { FLOW4_PAIRS as usize }, MMAPABLE> = Array::new();
/// Likewise.
#[btf_map]
pub static FLOWS6: Array<[Flow6; 2], { FLOW6_PAIRS as usize }, MMAPABLE> = Array::new();

#[btf_map]
pub static CONNECTION_COUNTERS: PerCpuArray<ConnectionShare, CONNECTIONS_MAX> = PerCpuArray::new();
#[btf_map]
pub static TENANT_COUNTERS: PerCpuArray<Counters, TENANTS_MAX> = PerCpuArray::new();
#[btf_map]
pub static PORT_COUNTERS: PerCpuArray<Counters, 256> = PerCpuArray::new();
#[btf_map]
pub static DROPS: PerCpuHashMap<DropKey, u64, { 256 * 1024 }, NO_PREALLOC> = PerCpuHashMap::new();

#[btf_map]
pub static STEER: HashMap<SteerKey, SteerTarget, CONNECTIONS_MAX, NO_PREALLOC> = HashMap::new();

#[btf_map]
pub static VMS: HashMap<u32, VmPort, { 16 * 1024 }, NO_PREALLOC> = HashMap::new();
#[btf_map]
pub static STATIONS: HashMap<StationKey, Station, NEXTHOPS_MAX, NO_PREALLOC> = HashMap::new();
#[btf_map]
pub static FLOODS: HashMap<FloodKey, Flood, NEXTHOPS_MAX, NO_PREALLOC> = HashMap::new();

#[btf_map]
pub static EVENTS: RingBuf<Traced, { 1024 * 1024 }> = RingBuf::new();

/// What one stage leaves for the next; a CPU runs one packet at a time.
#[btf_map]
pub static RUN: PerCpuArray<Run, 1> = PerCpuArray::new();
/// Room for what does not fit on the stack.
#[btf_map]
pub static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();
