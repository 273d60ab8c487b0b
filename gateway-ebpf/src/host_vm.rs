//! A virtual machine's frame, on its host (tc): is it the machine's own, where does it go, and there with it.
//!
//! What a machine sends may be a whole train of segments whose checksums the hardware is to compute. It stays one: headers are put in front
//! in a way that the kernel and the network card know what is inside.
//!
//! Everything that is not plain forwarding goes aside, to XDP: see `host_answer.rs`.

use crate::context::field;
use crate::encapsulate::{self, Variable};
use crate::forward::{count_in, count_out, counters_of, decrement_ttl, flow_hash};
use crate::inner::Inner;
use crate::maps::{
    INTERFACES, NEXTHOPS, PORT_COUNTERS, SETTINGS, STATIONS, TENANT_COUNTERS, TENANT_STATE, TENANTS, TOTALS, VMS,
};
use crate::packet::Packet;
use crate::run::Run;
use crate::{host_flood, police, resolve, trace};
use aya_ebpf::bindings::{
    __sk_buff, BPF_F_ADJ_ROOM_ENCAP_L2_ETH, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6,
    BPF_F_ADJ_ROOM_ENCAP_L4_GRE, BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_ADJ_ROOM_FIXED_GSO,
};
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_skb_adjust_room, bpf_skb_change_head, bpf_skb_pull_data};
use gateway_common::tables::{GATEWAY_MAC, Nexthop, Settings, StationKey, Tenant, VmPort};
use gateway_common::template::Encapsulation;
use gateway_common::trace::{Reentry, Stage};
use gateway_common::wire::{ethertype, protocol};
use gateway_common::{DropReason, OriginId};
use network_types::eth::EthHdr;

/// A frame of tc's.
pub type Buffer = Packet<__sk_buff>;
/// What becomes of it: one of tc's actions, or why it is dropped.
pub type Outcome = Result<i32, DropReason>;

/// Bytes of a frame that must lie in one piece: every header that is read or written directly.
const HEADERS: u32 = 136;
/// [`GATEWAY_MAC`] as loaded.
const ROUTER: u64 = u64::from_le_bytes([
    GATEWAY_MAC[0],
    GATEWAY_MAC[1],
    GATEWAY_MAC[2],
    GATEWAY_MAC[3],
    GATEWAY_MAC[4],
    GATEWAY_MAC[5],
    0,
    0,
]);
pub const MAC_BITS: u64 = 0xffff_ffff_ffff;
/// `BPF_ADJ_ROOM_MAC`: room behind the Ethernet header.
pub const MAC_MODE: u32 = 1;

/// What happens to the frame's Ethernet header on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// It stays: the frame goes to a neighbour, or to another gateway's side of the router.
    Bridged,
    /// The distributed router's comes in its place.
    Routed,
}

/// Takes a frame from the machine behind the interface that `run` names.
#[inline(always)]
pub fn frame(packet: &Buffer, run: &mut Run) -> Outcome {
    let port = VMS.get_ptr(run.ifindex).ok_or(DropReason::VmUnknown)?;
    // SAFETY: entries are replaced whole, and their memory stays for the run.
    let port: &VmPort = unsafe { &*port };
    run.tenant = port.tenant;
    run.origin = OriginId::connection(port.connection);
    if let Some(tenant) = TENANTS.get(run.tenant.0)
        && tenant.flags & Tenant::TRACED != 0
    {
        run.flags |= Run::TRACED;
        trace::arrived(packet);
    }
    pull(packet);
    if field!(packet.raw(), vlan_present) != 0 {
        return Err(DropReason::VmFrame);
    }
    let to: u64 = packet.load::<u64>(0).ok_or(DropReason::EthernetTruncated)? & MAC_BITS;
    let from: u64 = packet.load::<u64>(6).ok_or(DropReason::EthernetTruncated)? & MAC_BITS;
    let kind: u16 = packet.load(12).ok_or(DropReason::EthernetTruncated)?;
    if from != u64::from_le_bytes(port.mac) {
        return Err(DropReason::SpoofedMac);
    }
    let kind = u16::from_be(kind);
    if kind == ethertype::ARP {
        return aside(packet, run, Reentry::ANSWER, 0);
    }
    if kind != ethertype::IPV4 && kind != ethertype::IPV6 {
        return Err(DropReason::VmFrame);
    }
    run.inner = EthHdr::LEN as u32;
    run.packet = Inner::read(packet, EthHdr::LEN, packet.len())?;
    // SAFETY: the run is there; read anew, so that what the verifier knew of it is forgotten.
    let mut inner = unsafe { core::ptr::read_volatile(&run.packet) };
    inner.offset = EthHdr::LEN;
    let inner = &inner;
    run.reach(Stage::Admit);
    if inner.protocol == protocol::ICMPV6
        && let Some(kind) = discovery(packet, inner)
    {
        // Machines need not tell each other of routers and neighbours; and must not.
        return if kind == SOLICITATION { aside(packet, run, Reentry::ANSWER, 0) } else { Err(DropReason::VmFrame) };
    }
    if resolve::is_martian(&inner.source) {
        return Err(DropReason::Martian);
    }
    if !resolve::is_feasible(run.tenant, &inner.source, run.origin, 0) {
        return Err(DropReason::Spoofed);
    }
    if let Some(counters) = counters_of(port.connection) {
        count_in(counters, inner.len);
    }
    run.reach(Stage::Route);
    run.hash = flow_hash(packet, inner);
    run.macs = packet.load(0).ok_or(DropReason::EthernetTruncated)?;
    if to & 1 != 0 {
        return host_flood::all(packet, run, port.vni);
    }
    if resolve::is_martian(&inner.destination) {
        return Err(DropReason::Martian);
    }
    if to == ROUTER { routed(packet, run, port, inner) } else { bridged(packet, run, port, inner, to) }
}

/// Makes sure that the headers can be read and written directly.
#[inline(always)]
pub fn pull(packet: &Buffer) {
    let len = if packet.len() < HEADERS { packet.len() } else { HEADERS };
    if !packet.has(len) {
        // SAFETY: the context is valid. If it fails, what is read next is missing.
        unsafe { bpf_skb_pull_data(packet.raw(), len) };
    }
}

const SOLICITATION: u8 = 135;

/// The type of an ICMPv6 message of neighbour discovery (RFC 4861), if it is one.
#[inline(always)]
fn discovery(packet: &Buffer, inner: &Inner) -> Option<u8> {
    if inner.transport == 0 {
        return None;
    }
    let kind = packet.byte((inner.offset & 0x1ff) + (inner.transport as usize & 0x3fff))?;
    if (133..=137).contains(&kind) { Some(kind) } else { None }
}

/// To another machine of the virtual subnet.
#[inline(always)]
fn bridged(packet: &Buffer, run: &mut Run, port: &VmPort, inner: &Inner, to: u64) -> Outcome {
    let key = StationKey { tenant: port.tenant, vni: port.vni, mac: to };
    let station = STATIONS.get_ptr(key).ok_or(DropReason::StationUnknown)?;
    // SAFETY: one aligned word.
    run.nexthop = unsafe { (*station).nexthop };
    let nexthop = NEXTHOPS.get(run.nexthop.0).ok_or(DropReason::StationUnknown)?;
    leave(packet, run, port, nexthop, inner, Layer::Bridged)
}

/// By the distributed router: to another subnet, or to a gateway.
#[inline(always)]
fn routed(packet: &Buffer, run: &mut Run, port: &VmPort, inner: &Inner) -> Outcome {
    run.nexthop = resolve::lookup(port.tenant, &inner.destination).ok_or(DropReason::NoRoute)?;
    let mut nexthop = NEXTHOPS.get(run.nexthop.0).ok_or(DropReason::NoRoute)?;
    if nexthop.kind == Nexthop::GROUP {
        run.nexthop = nexthop.member(run.hash);
        nexthop = NEXTHOPS.get(run.nexthop.0).ok_or(DropReason::NoRoute)?;
    }
    if nexthop.kind == Nexthop::LOCAL {
        return aside(packet, run, Reentry::ANSWER, 0);
    }
    if nexthop.flags & Nexthop::TO_GATEWAY != 0 {
        // The gateway is the router that the machine sees.
        return leave(packet, run, port, nexthop, inner, Layer::Bridged);
    }
    if inner.ttl <= 1 {
        return aside(packet, run, Reentry::EXPIRED, 0);
    }
    leave(packet, run, port, nexthop, inner, Layer::Routed)
}

#[inline(always)]
fn leave(packet: &Buffer, run: &mut Run, port: &VmPort, nexthop: &Nexthop, inner: &Inner, layer: Layer) -> Outcome {
    match nexthop.kind {
        Nexthop::ADJACENCY => {}
        Nexthop::UNRESOLVED => return Err(DropReason::NeighbourUnresolved),
        Nexthop::BLACKHOLE => return Err(DropReason::StationUnknown),
        _ => return Err(DropReason::NoRoute),
    }
    run.reach(Stage::Adapt);
    if largest_segment(packet, inner) > nexthop.mtu {
        // The kernel cuts no train of segments whose pieces are too big, and TCP's never are without DF.
        if inner.may_fragment && field!(packet.raw(), gso_size) == 0 {
            return cut(packet, run, port, inner, nexthop.mtu);
        }
        return aside(packet, run, Reentry::TOO_BIG, nexthop.mtu);
    }
    if layer == Layer::Routed {
        decrement_ttl(packet, inner)?;
    }
    run.reach(Stage::Encapsulate);
    if nexthop.encapsulation == Encapsulation::Ethernet as u32 {
        if let Some(counters) = counters_of(nexthop.connection) {
            count_out(counters, inner.len);
        }
        if layer == Layer::Routed {
            let [first, second] = [nexthop.header[0], nexthop.header[1]];
            packet.store(0, [first as u32, (first >> 32) as u32, second as u32]).ok_or(DropReason::NoHeadroom)?;
        }
        return emit(run, nexthop);
    }
    if let Some(counters) = TENANT_COUNTERS.get_ptr_mut(run.tenant.0) {
        count_out(counters, inner.len);
    }
    make_room(packet, nexthop)?;
    let macs = if layer == Layer::Bridged { Some(run.macs) } else { None };
    let vni = if nexthop.flags & Nexthop::TO_GATEWAY != 0 { Some(port.vni.0) } else { None };
    write(packet, run, nexthop, inner, macs, vni).ok_or(DropReason::NoHeadroom)?;
    if let Some(counters) = PORT_COUNTERS.get_ptr_mut(nexthop.port.0) {
        count_out(counters, packet.len());
    }
    emit(run, nexthop)
}

/// The largest IP packet that the frame is or will be cut into.
#[inline(always)]
fn largest_segment(packet: &Buffer, inner: &Inner) -> u32 {
    let size = field!(packet.raw(), gso_size) as u32;
    if size == 0 {
        return inner.len;
    }
    let header = match inner.protocol {
        protocol::TCP if inner.transport != 0 => {
            let at = (inner.offset & 0x1ff) + (inner.transport as usize & 0x3fff) + 12;
            u32::from(packet.byte(at).unwrap_or(0xf0) >> 4) * 4
        }
        _ => 8,
    };
    inner.transport + header + size
}

/// Makes room for the next hop's header in front of the frame's own, in such a way that the kernel knows of the frame inside.
#[inline(always)]
pub fn make_room(packet: &Buffer, nexthop: &Nexthop) -> Result<(), DropReason> {
    const VXLAN4: u32 = Encapsulation::Vxlan4 as u32;
    const VXLAN6: u32 = Encapsulation::Vxlan6 as u32;
    const NVGRE4: u32 = Encapsulation::Nvgre4 as u32;
    const NVGRE6: u32 = Encapsulation::Nvgre6 as u32;
    const INSIDE: u64 = (BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L2_ETH) as u64 | (EthHdr::LEN as u64) << 56;
    let outside = match nexthop.encapsulation {
        VXLAN4 => BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP,
        VXLAN6 => BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP,
        NVGRE4 => BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_GRE,
        NVGRE6 => BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_ENCAP_L4_GRE,
        _ => return Err(DropReason::NoRoute),
    };
    let room = (nexthop.header_len & 0xff) as i32 - EthHdr::LEN as i32;
    // SAFETY: the context is valid.
    match unsafe { bpf_skb_adjust_room(packet.raw(), room, MAC_MODE, INSIDE | u64::from(outside)) } {
        0 => Ok(()),
        _ => Err(DropReason::NoHeadroom),
    }
}

/// Writes the next hop's header into the room that was made. With `macs` the inner frame keeps them; with `vni` it is in that subnet.
#[inline(always)]
pub fn write(
    packet: &Buffer,
    run: &Run,
    nexthop: &Nexthop,
    inner: &Inner,
    macs: Option<[u32; 3]>,
    vni: Option<u32>,
) -> Option<()> {
    let header = (nexthop.header_len & 0x7f) as usize;
    // The frame goes as it is, with what may be behind the packet.
    let len = packet.len().wrapping_sub(header as u32);
    let variable = Variable { family: inner.family, len, class: inner.class, hash: run.hash, sequence: 0 };
    encapsulate::write(packet, nexthop, &variable)?;
    if let Some(macs) = macs {
        packet.store(header.wrapping_sub(EthHdr::LEN) & 0x7f, macs)?;
    }
    if let Some(vni) = vni {
        // Both encapsulations have it in the upper three bytes of the word before the inner frame.
        packet.store(header.wrapping_sub(EthHdr::LEN + 4) & 0x7f, (vni << 8).to_be())?;
    }
    Some(())
}

#[inline(always)]
fn emit(run: &mut Run, nexthop: &Nexthop) -> Outcome {
    run.reach(Stage::Emit);
    let ifindex = *INTERFACES.get(nexthop.port.0).ok_or(DropReason::NoPort)?;
    // SAFETY: a helper that takes plain numbers.
    Ok(unsafe { bpf_redirect(ifindex, 0) } as i32)
}

/// Hands the frame to XDP, behind a private header that says what is to be done.
#[inline(always)]
pub fn aside(packet: &Buffer, run: &mut Run, operation: u32, mtu: u32) -> Outcome {
    let settings = SETTINGS.get(0).ok_or(DropReason::StageMissing)?;
    enclose(packet, run, settings, operation, mtu)?;
    // SAFETY: a helper that takes plain numbers.
    Ok(unsafe { bpf_redirect(settings.aside, 0) } as i32)
}

/// Hands the frame to user space, which cuts its packet: the pieces come back as if the machine had sent them.
#[inline(always)]
fn cut(packet: &Buffer, run: &mut Run, port: &VmPort, inner: &Inner, mtu: u32) -> Outcome {
    let (Some(settings), Some(totals)) = (SETTINGS.get(0), TOTALS.get_ptr_mut(0)) else {
        return Err(DropReason::StageMissing);
    };
    // SAFETY: a field of a map's value.
    let word = unsafe { &raw mut (*totals).slow };
    if !police::admit(&settings.slow, word, Settings::PACKET, run.now) {
        return Err(DropReason::SlowPathLimited);
    }
    let ifindex = *INTERFACES.get(settings.slow_port.0).ok_or(DropReason::TooBig)?;
    enclose(packet, run, settings, Reentry::CUT, mtu)?;
    if let Some(counters) = counters_of(port.connection) {
        // The pieces are counted in its place.
        // SAFETY: this CPU's slot of a per-CPU map.
        unsafe {
            (*counters).in_packets = (*counters).in_packets.wrapping_sub(1);
            (*counters).in_bytes = (*counters).in_bytes.wrapping_sub(u64::from(inner.len));
        }
    }
    // SAFETY: a helper that takes plain numbers.
    Ok(unsafe { bpf_redirect(ifindex, 0) } as i32)
}

/// Puts the private header in front of the frame, if the tenant may have more done than is plain forwarding.
#[inline(always)]
fn enclose(packet: &Buffer, run: &mut Run, settings: &Settings, operation: u32, mtu: u32) -> Result<(), DropReason> {
    const FRONT: u32 = (EthHdr::LEN + size_of::<Reentry>()) as u32;
    run.reach(Stage::Punt);
    let state = TENANT_STATE.get_ptr_mut(run.tenant.0).ok_or(DropReason::StageMissing)?;
    if settings.aside == 0 {
        return Err(DropReason::StageMissing);
    }
    // SAFETY: a field of a map's value.
    let word = unsafe { &raw mut (*state).punt };
    if !police::admit(&settings.punt, word, Settings::PACKET, run.now) {
        return Err(DropReason::PuntRateLimited);
    }
    // SAFETY: the context is valid.
    if unsafe { bpf_skb_change_head(packet.raw(), FRONT, 0) } != 0 {
        return Err(DropReason::NoHeadroom);
    }
    let written = || {
        packet.store(0, [0u32; 3])?;
        packet.store(12, ethertype::PRIVATE.to_be())?;
        packet.store(EthHdr::LEN, [operation, run.ifindex, run.origin.0, mtu])
    };
    written().ok_or(DropReason::NoHeadroom)
}
