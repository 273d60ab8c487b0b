//! What comes from the fabric to a compute host (tc): whose it is, and to which virtual machine. The kernel has joined the segments of TCP
//! flows by then (GRO). The outer headers come off, and the frame goes to the machine; TCP in VXLAN goes there by `host_overlay.rs`.

use crate::context::field;
use crate::forward::{count_in, count_out, counters_of, set_class};
use crate::host_vm::{self, Buffer, MAC_BITS, MAC_MODE, Outcome};
use crate::inner::Inner;
use crate::maps::{PORT_COUNTERS, PORTS, STATIONS, TENANT_COUNTERS, TENANTS};
use crate::parse::{self, Refusal};
use crate::run::Run;
use crate::{host, host_flood, host_overlay, resolve, trace};
use aya_ebpf::bindings::{
    BPF_F_ADJ_ROOM_DECAP_L3_IPV4, BPF_F_ADJ_ROOM_DECAP_L3_IPV6, BPF_F_ADJ_ROOM_FIXED_GSO, TC_ACT_OK,
};
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_skb_adjust_room, bpf_skb_change_tail};
use gateway_common::flow::Carrier;
use gateway_common::tables::{Port, StationKey, Tenant};
use gateway_common::trace::Stage;
use gateway_common::wire::{ethertype, protocol};
use gateway_common::{DropReason, Vni, ecn};
use network_types::eth::EthHdr;

/// `BPF_F_ADJ_ROOM_DECAP_L4_GRE`: the frame is in no tunnel any more. A kernel that does not know it refuses, and takes the frame for one in a
/// tunnel: it is as right, but an interface that takes no tunnels gets the train cut.
const OUT_OF_GRE: u64 = 1 << 9;
/// What is not ours.
const PASS: Outcome = Ok(TC_ACT_OK as i32);
const IPV4: u16 = ethertype::IPV4.to_be();
const IPV6: u16 = ethertype::IPV6.to_be();

/// Takes a frame of a host's fabric port.
#[inline(always)]
pub fn frame(packet: &Buffer, run: &mut Run) -> Outcome {
    host_overlay::begin(packet);
    host_vm::pull(packet);
    run.query.begin(run.ifindex);
    match parse::headers::<{ Port::FABRIC | Port::HOST }, _>(packet, run) {
        Ok(inner) => run.packet = inner,
        Err(Refusal::Host) => return host::learn(packet, run).and(PASS),
        Err(Refusal::Fragment) if parse::is_ours_to_reassemble(packet, &run.query) => {
            return Err(DropReason::OuterFragment);
        }
        Err(Refusal::Drop(reason)) => return if parse::is_ours(&run.query) { Err(reason) } else { PASS },
        Err(_) => return PASS,
    }
    run.reach(Stage::Classify);
    let (tenant, origin) = match resolve::on_host(&run.query) {
        Ok(class) => class,
        Err(Refusal::Drop(reason)) => return Err(reason),
        Err(_) => return PASS,
    };
    run.tenant = tenant;
    run.origin = origin;
    // SAFETY: the run is there; read anew, so that what the verifier knew of it on each way here is forgotten.
    let offset = unsafe { core::ptr::read_volatile(&run.packet.offset) } & 0x1ff;
    let len = run.packet.len & 0x1_ffff;
    run.inner = offset as u32;
    if let Some(tenant) = TENANTS.get(run.tenant.0)
        && tenant.flags & Tenant::TRACED != 0
    {
        run.flags |= Run::TRACED;
        trace::arrived(packet);
    }
    run.reach(Stage::Decapsulate);
    let start = offset.wrapping_sub(EthHdr::LEN) & 0x1ff;
    let to: u64 = packet.header::<u64>(start).ok_or(DropReason::InnerEthernetTruncated)? & MAC_BITS;
    let kind: u16 = packet.header(start + 12).ok_or(DropReason::InnerEthernetTruncated)?;
    if kind != IPV4 && kind != IPV6 {
        return Err(DropReason::InnerEthertype);
    }
    if let Some(port) = PORTS.get_ptr(run.ifindex) {
        // SAFETY: a port's record is replaced whole, and never while its program is attached.
        let id = unsafe { (*port).id };
        if let Some(counters) = PORT_COUNTERS.get_ptr_mut(id.0) {
            count_in(counters, packet.len());
        }
    }
    if let Some(counters) = TENANT_COUNTERS.get_ptr_mut(run.tenant.0) {
        count_in(counters, len);
    }
    if is_marked(run.outer_class) {
        congestion(packet, run, offset)?;
    }
    let vni = Vni(run.query.key);
    if to & 1 != 0 {
        unwrap(packet, start, offset as u32 + len, kind)?;
        run.reach(Stage::Emit);
        return host_flood::to_machines(packet, tenant, vni);
    }
    let station = STATIONS.get_ptr(StationKey { tenant, vni, mac: to }).ok_or(DropReason::StationUnknown)?;
    // SAFETY: aligned words, of which any mix of old and new is one that was or will be right.
    let (ifindex, connection) = unsafe { ((*station).ifindex, (*station).connection) };
    if ifindex == 0 {
        return Err(DropReason::StationUnknown);
    }
    if let Some(counters) = counters_of(connection) {
        count_out(counters, len);
    }
    if matches!(run.query.carrier, Carrier::Vxlan) && is_joined(packet, offset, kind) {
        run.reach(Stage::Emit);
        return host_overlay::by_device(packet, start, ifindex);
    }
    unwrap(packet, start, offset as u32 + len, kind)?;
    run.inner = EthHdr::LEN as u32;
    run.reach(Stage::Emit);
    // SAFETY: a helper that takes plain numbers.
    Ok(unsafe { bpf_redirect(ifindex, 0) } as i32)
}

/// Whether the kernel has joined the frame out of several, or joins such: TCP's.
#[inline(always)]
fn is_joined(packet: &Buffer, offset: usize, kind: u16) -> bool {
    // Two bytes, of which the protocol is one.
    let protocol = if kind == IPV4 {
        packet.header::<[u8; 2]>(offset + 8).map(|[_, protocol]| protocol)
    } else {
        packet.header::<[u8; 2]>(offset + 6).map(|[protocol, _]| protocol)
    };
    field!(packet.raw(), gso_size) != 0 || protocol == Some(protocol::TCP)
}

/// Takes off everything before the Ethernet header at `start` and what is behind `end`.
#[inline(always)]
fn unwrap(packet: &Buffer, start: usize, end: u32, kind: u16) -> Result<(), DropReason> {
    let macs: [u32; 3] = packet.header(start).ok_or(DropReason::InnerEthernetTruncated)?;
    // SAFETY: the context is valid.
    if packet.len() != end && unsafe { bpf_skb_change_tail(packet.raw(), end, 0) } != 0 {
        return Err(DropReason::InnerTruncated);
    }
    let inside = if kind == IPV4 { BPF_F_ADJ_ROOM_DECAP_L3_IPV4 } else { BPF_F_ADJ_ROOM_DECAP_L3_IPV6 };
    let flags = u64::from(BPF_F_ADJ_ROOM_FIXED_GSO | inside);
    // The Ethernet header that stays is the outer one, and is overwritten.
    // SAFETY: as above.
    let shrink = |flags| unsafe { bpf_skb_adjust_room(packet.raw(), -(start as i32), MAC_MODE, flags) } == 0;
    let is_train = field!(packet.raw(), gso_size) != 0;
    if !(is_train && shrink(flags | OUT_OF_GRE)) && !shrink(flags) {
        return Err(DropReason::InnerTruncated);
    }
    let written = || {
        packet.store(0, macs)?;
        packet.store(12, kind)
    };
    written().ok_or(DropReason::InnerTruncated)
}

/// Whether an outer header's congestion mark changes what is inside (RFC 6040 figure 4).
#[inline(always)]
fn is_marked(class: u32) -> bool {
    class & 1 != 0
}

/// Takes a congestion mark of the outer header over into the inner one.
#[inline(always)]
fn congestion(packet: &Buffer, run: &Run, offset: usize) -> Result<(), DropReason> {
    let inner = Inner::read(packet, offset, packet.len())?;
    let class = ecn::decapsulate(inner.class, run.outer_class as u8).ok_or(DropReason::EcnInvalid)?;
    if class == inner.class { Ok(()) } else { set_class(packet, &inner, class) }
}
