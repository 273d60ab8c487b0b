//! The keys and values of the eBPF maps, one type a map side. All plain data, all words naturally aligned, no padding.
//!
//! | map | kind | key | value |
//! |---|---|---|---|
//! | `PORTS` | hash | interface index | [`Port`] |
//! | `DEVICES` | device map | [`PortId`] | interface index |
//! | `INTERFACES` | array | [`PortId`] | interface index, for tc, to which the device map is closed |
//! | `GRE` | hash | [`GreKey`] | [`ConnectionId`] |
//! | `VLANS` | hash | [`VlanKey`] | [`ConnectionId`] |
//! | `FABRIC` | hash | [`FabricKey`] | [`Vnet`] |
//! | `FABRIC_PEERS` | hash | [`FabricPeerKey`] | [`OriginId`] |
//! | `COMPARTMENTS` | hash | interface index | [`Attachment`] |
//! | `LOCAL` | hash | [`Address`] | [`Local`] |
//! | `SEATS` | array | [`SeatId`] | [`Seat`] |
//! | `SEAT_SETUP` | array | [`SeatId`] | [`SeatSetup`] |
//! | `SEAT_NUMBERS` | hash | the seat's number in its pool | [`SeatId`] |
//! | `PROBERS` | hash | the observer's number in the pool | [`Prober`] |
//! | `TENANTS` | array | [`TenantId`] | [`Tenant`] |
//! | `TENANT_STATE` | array | [`TenantId`] | [`TenantState`] |
//! | `CONNECTIONS` | array | [`ConnectionId`] | [`Connection`] |
//! | `CONNECTION_STATE` | array | [`ConnectionId`] | [`ConnectionState`] |
//! | `ROUTES4`, `ROUTES6` | array of tries | [`TenantId`], then the prefix | [`Route`] |
//! | `FEASIBLE` | hash | [`FeasibleKey`] | one byte |
//! | `NEXTHOPS` | array | [`NexthopId`] | [`Nexthop`] |
//! | `FLOWS4`, `FLOWS6` | array | CPU, hash of the flow | two of [`Flow4`], [`Flow6`] |
//! | `CONNECTION_COUNTERS` | per-CPU array | [`ConnectionId`] | [`ConnectionShare`] |
//! | `TENANT_COUNTERS`, `PORT_COUNTERS` | per-CPU array | the id | [`Counters`] |
//! | `DROPS` | per-CPU hash | [`DropKey`] | packets |
//! | `SETTINGS` | array of one | 0 | [`Settings`] |
//! | `TOTALS` | array of one | 0 | [`Totals`] |
//! | `CHANGES` | array of one | 0 | see [`changes`] |
//! | `STAGES` | program array | see [`stage`] | program |
//! | `STEER` | hash | [`SteerKey`] | [`SteerTarget`] |
//! | `VMS` | hash | interface index | [`VmPort`] |
//! | `STATIONS` | hash | [`StationKey`] | [`Station`] |
//! | `FLOODS` | hash | [`FloodKey`] | [`Flood`] |
//! | `EVENTS` | ring buffer | | see [`crate::trace`] |

use crate::gate::Gate;
use crate::policer::Policer;
use crate::{Address, ConnectionId, Epoch, Feasible, NexthopId, OriginId, PortId, SeatId, TenantId, Vni};
use bytemuck::{Pod, Zeroable};

/// Marks a plain-data struct as a map's key or value, for bytemuck and for aya.
macro_rules! table_types {
    ($($name:ident),+ $(,)?) => {
        $(
            #[cfg(feature = "user")]
            // SAFETY: the type is `repr(C)` and `bytemuck::Pod`: no padding, no pointers, every bit pattern valid.
            unsafe impl aya::Pod for $name {}
        )+
    };
}

/// Slots of `STAGES`: the rare parts of the pipeline, each a program of its own, reached by a tail call.
pub mod stage {
    /// `stage_originate`: routes and sends an inner packet that the gateway has made or taken back.
    pub const ORIGINATE: u32 = 0;
    /// `stage_icmp`: answers an inner packet with an ICMP error.
    pub const ICMP: u32 = 1;
    /// `stage_host`: what is addressed to the gateway's own outer addresses: ARP, neighbour discovery, ICMP.
    pub const HOST: u32 = 2;
    /// `stage_keepalive`: returns a GRE keepalive.
    pub const KEEPALIVE: u32 = 3;
    /// `stage_punt`: hands a packet to the tenant's compartment.
    pub const PUNT: u32 = 4;
    /// `stage_slow`: hands a packet to the slow path in user space.
    pub const SLOW: u32 = 5;
    /// `stage_frame`: takes a frame back from the slow path, as if it had come in by a port.
    pub const FRAME: u32 = 6;
    /// `stage_steer`: rewrites a packet for the shared VIP, or one on its way back.
    pub const STEER: u32 = 7;
    /// `stage_least`: forwards an IPv6 packet of no more than the least that every path takes by one that takes less.
    pub const LEAST: u32 = 8;
    /// `stage_vm`: answers a virtual machine in place of its subnet's router and its other machines.
    pub const VM: u32 = 9;
    /// `stage_probe`: returns a probe, or takes in what it tells of a seat.
    pub const PROBE: u32 = 10;
    /// Every slot and the program that stands in it.
    pub const PROGRAMS: &[(u32, &str)] = &[
        (ORIGINATE, "stage_originate"),
        (ICMP, "stage_icmp"),
        (HOST, "stage_host"),
        (KEEPALIVE, "stage_keepalive"),
        (PUNT, "stage_punt"),
        (SLOW, "stage_slow"),
        (FRAME, "stage_frame"),
        (STEER, "stage_steer"),
        (LEAST, "stage_least"),
        (VM, "stage_vm"),
        (PROBE, "stage_probe"),
    ];
}

/// Sealed decisions: one that was looked over need not be looked over again until the tables change.
///
/// The word in `CHANGES` grows with every change of what is looked over: tenants, next hops, learned path MTUs. A decision's seal tells at
/// which word that was. Seats are not among it: their gates are asked for every packet.
pub mod changes {
    /// What a program adds. The lowest bit is always zero, and set in every seal.
    pub const BY_PROGRAM: u64 = 2;
    /// What user space adds to what it reads: more than all that programs add between its reading and its writing.
    pub const BY_USER: u64 = 1 << 32;
}

/// The gateway's MAC address on every virtual subnet: hosts send to it, and it is the source of inner frames.
/// Locally administered; the same on all gateways, so that a seat that moves changes nothing for a VM.
pub const GATEWAY_MAC: [u8; 6] = [0x02, 0x00, 0x5e, 0x00, 0x00, 0x01];

/// Pairs of flows in the IPv4 flow cache of a CPU. A power of two.
pub const FLOW4_PAIRS: u32 = 16 * 1024;
/// Pairs of flows in the IPv6 flow cache of a CPU. A power of two.
pub const FLOW6_PAIRS: u32 = 4 * 1024;

/// What holds for the whole gateway.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Settings {
    /// The device-map slot of the slow path's veth; [`Tenant::NO_COMPARTMENT`] without one.
    pub slow_port: PortId,
    /// On a compute host: the interface that leads to the program `reentry`, for what tc leaves to XDP. 0: none.
    pub aside: u32,
    /// [`Settings::SELECTORS`] if some steering rule has a selector; 0 spares every packet the lookup.
    pub steering: u32,
    /// Zero.
    pub reserved: u32,
    /// ICMP errors, a tenant. Metered as if every packet had [`Settings::PACKET`] bytes, like the others here.
    pub icmp: Policer,
    /// Packets to a tenant's compartment, BGP and BFD aside.
    pub punt: Policer,
    /// BGP and BFD to a tenant's compartment.
    pub punt_routing: Policer,
    /// Packets to all compartments, BGP and BFD aside.
    pub punt_total: Policer,
    /// Packets to the slow path, all tenants together.
    pub slow: Policer,
}

impl Settings {
    /// See [`Settings::steering`].
    pub const SELECTORS: u32 = 1;
    /// The size at which the policers here meter every packet, so that a rate of `n` packets/s is `n` kbit/s.
    pub const PACKET: u32 = 125;
}

/// What the programs keep for the whole gateway.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Totals {
    /// The policer word for all compartments.
    pub punt: u64,
    /// The policer word for the slow path.
    pub slow: u64,
}

/// What a physical port takes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Port {
    /// The slot in the device map and in the port counters.
    pub id: PortId,
    /// [`Port::FABRIC`] and [`Port::SITE`].
    pub flags: u32,
    /// The MAC address, and two bytes of zero.
    pub mac: [u8; 8],
}

impl Port {
    /// Fabric encapsulation (VXLAN, NVGRE) is taken here.
    pub const FABRIC: u32 = 1;
    /// Tunnels of sites and tenant VLANs are taken here.
    pub const SITE: u32 = 2;
    /// A compute host's fabric port: frames in the fabric's encapsulation are for virtual machines.
    pub const HOST: u32 = 4;
}

/// A site's GRE tunnel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct GreKey {
    /// Our end.
    pub vip: Address,
    /// The site's end.
    pub remote: Address,
    /// The key (RFC 2890) in host order; 0 if there is none.
    pub key: u32,
    /// 1 with a key, 0 without: key 0 is not the same as no key.
    pub keyed: u32,
}

/// A tenant's VLAN on a port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct VlanKey {
    /// The port's interface index.
    pub ifindex: u32,
    /// The VLAN identifier, in host order.
    pub vlan: u32,
}

/// A virtual subnet as the fabric names it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FabricKey {
    /// The provider address that the packet was sent to.
    pub pa: Address,
    /// The virtual subnet.
    pub vni: Vni,
    /// [`FabricKey::VXLAN`] or [`FabricKey::NVGRE`].
    pub encapsulation: u32,
}

impl FabricKey {
    /// RFC 7348.
    pub const VXLAN: u32 = 1;
    /// RFC 7637.
    pub const NVGRE: u32 = 2;
}

/// Whose a virtual subnet is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Vnet {
    /// The tenant.
    pub tenant: TenantId,
    /// The seat that the provider address belongs to.
    pub seat: SeatId,
}

/// A provider address from which a tenant's packets may come.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FabricPeerKey {
    /// The host's or gateway's provider address.
    pub pa: Address,
    /// The tenant.
    pub tenant: TenantId,
}

/// One veth between a tenant's compartment and the pipeline.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Attachment {
    /// The tenant.
    pub tenant: TenantId,
    /// The seat under whose gate the compartment speaks.
    pub seat: SeatId,
    /// [`ConnectionId::NONE`] for the routed attachment; otherwise the L3 connection whose VLAN the veth is.
    pub connection: ConnectionId,
    /// For a VLAN's attachment: the device-map slot of the VLAN's port.
    pub port: PortId,
    /// For a VLAN's attachment: the VLAN identifier.
    pub vlan: u32,
    /// Zero.
    pub reserved: u32,
}

/// One of the gateway's own outer addresses: a VIP, the gateway's or a seat's provider address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Local {
    /// The seat that the address belongs to.
    pub seat: SeatId,
    /// [`Local::ANSWERED`] and its fellows.
    pub flags: u32,
}

impl Local {
    /// ARP, neighbour discovery and echo for it are answered by the program; otherwise the host's own stack has the address.
    pub const ANSWERED: u32 = 1;
    /// A provider address: fabric encapsulation ends here.
    pub const FABRIC: u32 = 2;
    /// A VIP: site tunnels end here.
    pub const VIP: u32 = 4;
    /// The shared VIP of a mux: what comes for it is steered.
    pub const STEERED: u32 = 8;
}

/// A seat.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Seat {
    /// State and lease.
    pub gate: Gate,
    /// The holdership that the gate belongs to.
    pub epoch: Epoch,
    /// The gate as a program last found it open; it need not be tried again within the same tick of the clock.
    pub tried: Gate,
    /// That tick, in jiffies: when the last packet passed.
    pub tick: u64,
    /// The highest epoch that a message with a right tag carried. A gate of a lower one is closed by whoever opens it too late.
    pub seen: Epoch,
    /// The epoch under which `first` was written.
    pub passed: Epoch,
    /// When the first packet passed under that epoch, in nanoseconds of the coarse monotonic clock.
    pub first: u64,
}

impl Seat {
    /// A seat whose gate nobody has tried.
    pub const fn new(gate: Gate, epoch: Epoch) -> Self {
        Self { gate, epoch, tried: Gate(0), tick: 0, seen: Epoch(0), passed: Epoch(0), first: 0 }
    }
}

/// What of a seat its holder shows, by the seat's slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SeatSetup {
    /// The MAC address that moves with the seat, and two bytes of zero; all zero for a seat that answers from its port's.
    pub mac: [u8; 8],
}

/// A gateway of the pool that may send probes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Prober {
    /// What its tags are made with.
    pub key: [u64; 2],
    /// By which ways a probe goes through this gateway to it: to its address on the fabric, and to the one at the sites' side.
    pub ways: [ProbeWay; 2],
}

/// A way out for a probe.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ProbeWay {
    /// The next hop towards the observer; [`NexthopId::NONE`] if there is no such way.
    pub nexthop: NexthopId,
    /// Zero.
    pub reserved: u32,
    /// This gateway's own address there.
    pub source: Address,
    /// The observer's, of the same family.
    pub destination: Address,
}

/// A tenant.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Tenant {
    /// Cached flows of another generation are stale. User space raises it after every change of what the tenant's packets may meet.
    pub generation: u32,
    /// [`Tenant::TRACED`].
    pub flags: u32,
    /// The gateway's own IPv4 address within the tenant, as on the wire: the source of ICMP errors. 0: none.
    pub gateway4: u32,
    /// The device-map slot of the compartment's routed attachment; [`Tenant::NO_COMPARTMENT`] without one.
    pub compartment: PortId,
    /// The gateway's own IPv6 address within the tenant. Unspecified: none.
    pub gateway6: Address,
    /// MAC address of the compartment's side of the routed attachment, and two bytes of zero.
    pub compartment_mac: [u8; 8],
    /// The seat of the tenant's own addresses.
    pub seat: SeatId,
    /// Zero.
    pub reserved: u32,
}

impl Tenant {
    /// Packets of the tenant are to be traced.
    pub const TRACED: u32 = 1;
    /// In [`Tenant::compartment`]: there is none.
    pub const NO_COMPARTMENT: PortId = PortId(u32::MAX);
}

/// What the programs keep of a tenant; user space never writes it after the tenant was made.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct TenantState {
    /// The policer word for ICMP errors that the gateway sends.
    pub icmp: u64,
    /// The policer word for packets to the compartment, BGP and BFD aside.
    pub punt: u64,
    /// The policer word for BGP and BFD to the compartment.
    pub punt_routing: u64,
}

/// A connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Connection {
    /// What comes from the site.
    pub inbound: Policer,
    /// What goes to the site.
    pub outbound: Policer,
    /// The tenant.
    pub tenant: TenantId,
    /// The seat.
    pub seat: SeatId,
    /// [`Connection::ENABLED`] and its fellows.
    pub flags: u32,
    /// Largest TCP segment to allow over IPv4 (in 16 lower bits) and IPv6 (in 16 upper bits); 0: do not clamp.
    pub mss: u32,
    /// For L3: the slot of the attachment's veth, for what the kernel must see (ARP, ND, packets to the gateway's address).
    pub attachment: PortId,
    /// Zero.
    pub reserved: u32,
}

impl Connection {
    /// Carries packets.
    pub const ENABLED: u32 = 1;
    /// Sources are checked (by feasible path).
    pub const ANTI_SPOOFING: u32 = 2;
    /// Only the best route's prefixes are good sources.
    pub const STRICT: u32 = 4;
    /// GRE sequence numbers are sent (RFC 2890).
    pub const SEQUENCED: u32 = 8;
    /// Another gateway speaks for its addresses on the VLAN: neither ARP nor neighbour discovery passes here.
    pub const QUIET: u32 = 16;
}

/// What the programs keep of a connection; user space only reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ConnectionState {
    /// The inbound policer's word.
    pub inbound: u64,
    /// The outbound policer's word.
    pub outbound: u64,
    /// When the learned path MTU is forgotten, nanoseconds of `CLOCK_MONOTONIC`.
    pub path_mtu_expiry: u64,
    /// The largest outer packet that the path takes, learned from ICMP; 0: nothing learned.
    pub path_mtu: u32,
    /// The next GRE sequence number.
    pub sequence: u32,
}

/// What a prefix of a tenant leads to, and who may use its addresses as a source.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Route {
    /// Where to; [`NexthopId::NONE`] if the prefix is known only as a feasible source.
    pub nexthop: NexthopId,
    /// Who may send from it.
    pub feasible: Feasible,
    /// The prefix's own length, so that a lookup can go on with the next shorter one.
    pub prefix_len: u32,
}

/// A member of a feasible set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FeasibleKey {
    /// The set's number.
    pub set: u32,
    /// The member.
    pub origin: OriginId,
}

/// Words of a header template.
pub const TEMPLATE_WORDS: usize = 11;

/// A fully resolved next hop, or a group of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Nexthop {
    /// One of [`Nexthop::UNRESOLVED`] and its fellows.
    pub kind: u32,
    /// For an adjacency: a [`crate::template::Encapsulation`] as its number.
    pub encapsulation: u32,
    /// The connection that it leads to; [`ConnectionId::NONE`] for hosts and compartments.
    pub connection: ConnectionId,
    /// The device-map slot to leave by.
    pub port: PortId,
    /// The largest inner IP packet, in bytes.
    pub mtu: u32,
    /// [`Nexthop::TO_GATEWAY`] and its fellow. For a group: the number of members.
    pub flags: u32,
    /// Bytes of headers added before the inner IP packet, Ethernet included.
    pub header_len: u32,
    /// The sum over the outer IPv4 header with type of service, length and checksum zero.
    pub checksum_base: u32,
    /// The header template; a group's members instead, two in a word, the lower half first.
    pub header: [u64; TEMPLATE_WORDS],
    /// The seat that the next hop's connection belongs to.
    pub seat: SeatId,
    /// On a compute host: the virtual subnet that a machine or router is in. 0 where there is none.
    pub vni: Vni,
}

impl Nexthop {
    /// Nothing here.
    pub const UNUSED: u32 = 0;
    /// The link-layer address is not known yet.
    pub const UNRESOLVED: u32 = 1;
    /// Ready to send to.
    pub const ADJACENCY: u32 = 2;
    /// Equal-cost members, chosen by the flow's hash.
    pub const GROUP: u32 = 3;
    /// The tenant's own address: to the compartment.
    pub const LOCAL: u32 = 4;
    /// Drop.
    pub const BLACKHOLE: u32 = 5;
    /// Flag: leads to another gateway.
    pub const TO_GATEWAY: u32 = 1;
    /// Flag: leads to another gateway's own address. The gateways are one router to the tenant, so on the way between them the time to
    /// live stays as it is: a BGP session of a single hop ends on any of them (RFC 4271, RFC 5082).
    pub const TO_GATEWAY_ITSELF: u32 = 2;
    /// Members that a group has room for.
    pub const GROUP_SIZE: usize = 16;

    /// The group of `members` (one to [`Nexthop::GROUP_SIZE`]).
    pub fn group(members: &[NexthopId]) -> Self {
        let mut nexthop = Self { kind: Self::GROUP, flags: members.len() as u32, ..Self::default() };
        for (index, member) in members.iter().enumerate() {
            nexthop.header[index / 2] |= u64::from(member.0) << (32 * (index % 2));
        }
        nexthop
    }

    /// The members. Only for a group.
    pub fn members(&self) -> impl Iterator<Item = NexthopId> + use<> {
        let (header, count) = (self.header, (self.flags as usize).min(Self::GROUP_SIZE));
        (0..count).map(move |index| NexthopId((header[index / 2] >> (32 * (index % 2))) as u32))
    }

    /// The member that a flow with this hash takes. Only for a group.
    #[inline(always)]
    pub fn member(&self, hash: u32) -> NexthopId {
        let index = (u64::from(hash) * u64::from(self.flags)) >> 32;
        let word = self.header[(index as usize / 2) % (Self::GROUP_SIZE / 2)];
        NexthopId((word >> (32 * (index % 2))) as u32)
    }
}

/// Packets and bytes, both ways, of a connection, a tenant's fabric side or a port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Counters {
    /// Packets that came from it.
    pub in_packets: u64,
    /// Bytes that came from it: inner IP packets; of a port, whole frames.
    pub in_bytes: u64,
    /// Packets that went to it.
    pub out_packets: u64,
    /// Bytes that went to it.
    pub out_bytes: u64,
}

/// What a CPU has of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ConnectionShare {
    /// What it counted.
    pub counters: Counters,
    /// Bytes that came from the site, that the inbound policer has metered, and that have not come yet.
    pub inbound: u64,
    /// The same for what goes to the site.
    pub outbound: u64,
}

/// What a drop is counted under.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct DropKey {
    /// [`DropKey::PORT`], [`DropKey::TENANT`] or [`DropKey::CONNECTION`].
    pub scope: u32,
    /// The interface index, tenant or connection.
    pub id: u32,
    /// The [`crate::DropReason`]'s number.
    pub reason: u32,
}

impl DropKey {
    /// Dropped before it was known whose it is; the id is the interface index.
    pub const PORT: u32 = 0;
    /// Dropped on the tenant's fabric side or from its compartment.
    pub const TENANT: u32 = 1;
    /// Dropped on its way from (or, for what the outbound policer and MTU say, to) a connection.
    pub const CONNECTION: u32 = 2;
}

/// A steering rule of a mux. A rule that leaves the source port open has it 0; it is looked up after the exact one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct SteerKey {
    /// Where the packet goes: the VIP; on the way back, the site.
    pub destination: Address,
    /// Where it comes from: the site; on the way back, the gateway.
    pub source: Address,
    /// IP protocol number.
    pub protocol: u32,
    /// Destination port in host order (source port on the way back); 0 for ESP.
    pub port: u32,
    /// The site's port in host order, 0 for any; for ESP the SPI.
    pub selector: u32,
    /// [`SteerKey::FORWARD`] or [`SteerKey::BACK`].
    pub direction: u32,
}

impl SteerKey {
    /// From the site to the gateway: the destination is rewritten.
    pub const FORWARD: u32 = 0;
    /// From the gateway to the site: the source is rewritten.
    pub const BACK: u32 = 1;
}

/// Where a steered packet goes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SteerTarget {
    /// The new destination (forward) or source (back).
    pub address: Address,
    /// The next hop's adjacency: only its Ethernet header and port are used.
    pub nexthop: NexthopId,
    /// Zero.
    pub reserved: u32,
}

/// The host's side of a virtual machine's interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct VmPort {
    /// The tenant.
    pub tenant: TenantId,
    /// The machine's own slot: of its counters, and of what it may send from.
    pub connection: ConnectionId,
    /// The virtual subnet that it is in.
    pub vni: Vni,
    /// The subnet router's IPv4 address, as on the wire; 0: none.
    pub router4: u32,
    /// The machine's MAC address, and two bytes of zero.
    pub mac: [u8; 8],
    /// The subnet router's IPv6 address. Unspecified: none.
    pub router6: Address,
}

/// A MAC address in a virtual subnet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct StationKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The virtual subnet.
    pub vni: Vni,
    /// The MAC address as loaded, in the lower 48 bits.
    pub mac: u64,
}

impl StationKey {
    /// The key of a MAC address.
    pub const fn new(tenant: TenantId, vni: Vni, mac: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = mac;
        Self { tenant, vni, mac: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]) }
    }
}

/// Where a MAC address of a virtual subnet is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Station {
    /// The way to it.
    pub nexthop: NexthopId,
    /// The interface of a machine on this host; 0 for one elsewhere.
    pub ifindex: u32,
    /// The slot of a machine on this host; [`ConnectionId::NONE`] for one elsewhere.
    pub connection: ConnectionId,
    /// Zero.
    pub reserved: u32,
}

/// One of those that a virtual subnet's broadcasts and multicasts go to: numbered from 0 without a gap, this host's own machines first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FloodKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The virtual subnet.
    pub vni: Vni,
    /// The number.
    pub index: u32,
}

impl FloodKey {
    /// Receivers that are served at most: as many copies are made of one frame.
    pub const MAX: u32 = 128;
}

/// A receiver of broadcasts and multicasts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Flood {
    /// For another host: the way to it, in the subnet's encapsulation.
    pub nexthop: NexthopId,
    /// For a machine on this host: its interface; else 0.
    pub ifindex: u32,
}

/// What XDP tells tc about a frame that it lets pass, in the bytes before the frame: two words.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Delivery {
    /// [`Delivery::UNICAST`] and its fellows.
    pub operation: u32,
    /// The interface of the machine that it is for, or from.
    pub ifindex: u32,
}

impl Delivery {
    /// For the machine behind the interface.
    pub const UNICAST: u32 = 0x6777_0001;
    /// To be taken as if the machine behind the interface had sent it.
    pub const RESUME: u32 = 0x6777_0002;
}

/// A cached decision for a flow whose outer and inner addresses are IPv4.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Flow4 {
    /// What the packet must match, bit for bit: see [`crate::flow`].
    pub key: [u64; crate::flow::KEY4_WORDS],
    /// What was decided.
    pub decision: Decision,
}

/// A cached decision for a flow with an IPv6 address, outer or inner.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Flow6 {
    /// What the packet must match, bit for bit: see [`crate::flow`].
    pub key: [u64; crate::flow::KEY6_WORDS],
    /// What was decided.
    pub decision: Decision,
}

/// What classify, admit and route made of a flow's first packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Decision {
    /// At which change the decision was found to hold, see [`changes`]; 0 if nobody looked yet.
    pub seal: u64,
    /// The tenant's generation under which this was decided. 0 is no generation: the entry is empty.
    pub generation: u32,
    /// The tenant.
    pub tenant: TenantId,
    /// Where the packet came from.
    pub origin: OriginId,
    /// The seat that the packet came in by.
    pub seat: SeatId,
    /// Where it goes: an adjacency, or a group to choose from.
    pub nexthop: NexthopId,
    /// The port's slot, for its counters.
    pub port: PortId,
}

table_types!(
    Settings,
    Totals,
    Port,
    GreKey,
    VlanKey,
    FabricKey,
    Vnet,
    FabricPeerKey,
    Attachment,
    Local,
    Prober,
    Seat,
    SeatSetup,
    SeatId,
    Tenant,
    TenantState,
    Connection,
    ConnectionState,
    Route,
    FeasibleKey,
    Nexthop,
    Counters,
    ConnectionShare,
    DropKey,
    SteerKey,
    SteerTarget,
    Flow4,
    Flow6,
    Decision,
    VmPort,
    StationKey,
    Station,
    FloodKey,
    Flood,
    Delivery,
    Address,
    ConnectionId,
    OriginId,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_a_line_of_the_processors_cache() {
        assert_eq!(size_of::<Flow4>(), 64);
    }

    #[test]
    fn a_hash_is_cut_to_a_pair_by_a_mask() {
        assert!(FLOW4_PAIRS.is_power_of_two() && FLOW6_PAIRS.is_power_of_two());
    }

    #[test]
    fn a_group_spreads_flows_over_all_members_evenly() {
        for count in 1..=Nexthop::GROUP_SIZE {
            let members: [NexthopId; Nexthop::GROUP_SIZE] = core::array::from_fn(|index| NexthopId(100 + index as u32));
            let group = Nexthop::group(&members[..count]);
            assert_eq!(group.kind, Nexthop::GROUP);
            let mut hits = [0u32; Nexthop::GROUP_SIZE];
            for step in 0..2200u32 {
                let member = group.member(step * (u32::MAX / 2200));
                hits[(member.0 - 100) as usize] += 1;
            }
            let share = 2200 / count as u32;
            assert!(hits[..count].iter().all(|&hit| hit.abs_diff(share) <= 2), "{count} members: {hits:?}");
            assert!(hits[count..].iter().all(|&hit| hit == 0));
        }
    }
}
