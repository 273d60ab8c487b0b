//! What comes from the fabric to a compute host (XDP): whose it is, and to which virtual machine. The outer headers come off, and the frame
//! goes on to the kernel, which joins segments of one flow again before tc hands them to the machine: see `host_deliver.rs`.

use crate::forward::{count_in, count_out, counters_of, set_class};
use crate::inner::Inner;
use crate::maps::{PORT_COUNTERS, PORTS, STATIONS, TENANT_COUNTERS, TENANTS};
use crate::packet::Packet;
use crate::parse::{self, Refusal};
use crate::run::Run;
use crate::{PASS, Verdict, resolve, trace};
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_meta;
use gateway_common::tables::{Delivery, Port, StationKey, Tenant, stage};
use gateway_common::trace::Stage;
use gateway_common::wire::ethertype;
use gateway_common::{DropReason, Vni, ecn};
use network_types::eth::EthHdr;

/// Takes a frame of a host's fabric port.
#[inline(always)]
pub fn frame(packet: &Packet, run: &mut Run) -> Verdict {
    run.query.begin(run.ifindex);
    match parse::headers::<{ Port::FABRIC | Port::HOST }>(packet, run) {
        Ok(inner) => run.packet = inner,
        Err(Refusal::Host) => return run.hand_over(packet, stage::HOST),
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
        Err(Refusal::Host) => return run.hand_over(packet, stage::HOST),
        Err(_) => return PASS,
    };
    run.tenant = tenant;
    run.origin = origin;
    // SAFETY: the run is there; read anew, so that what the verifier knew of it on each way here is forgotten.
    let offset = unsafe { core::ptr::read_volatile(&run.packet.offset) } & 0x1ff;
    let len = run.packet.len & 0xffff;
    run.inner = offset as u32;
    if let Some(tenant) = TENANTS.get(run.tenant.0)
        && tenant.flags & Tenant::TRACED != 0
    {
        run.flags |= Run::TRACED;
        trace::arrived(packet);
    }
    run.reach(Stage::Decapsulate);
    let start = offset.wrapping_sub(EthHdr::LEN) & 0x1ff;
    let to: u64 = packet.header::<u64>(start).ok_or(DropReason::InnerEthernetTruncated)? & 0xffff_ffff_ffff;
    let kind: u16 = packet.header(start + 12).ok_or(DropReason::InnerEthernetTruncated)?;
    if kind != ethertype::IPV4.to_be() && kind != ethertype::IPV6.to_be() {
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
    let delivery = if to & 1 != 0 {
        Delivery { operation: Delivery::FLOOD, ifindex: 0, tenant, vni }
    } else {
        let station = STATIONS.get_ptr(StationKey { tenant, vni, mac: to }).ok_or(DropReason::StationUnknown)?;
        // SAFETY: aligned words, of which any mix of old and new is one that was or will be right.
        let (ifindex, connection) = unsafe { ((*station).ifindex, (*station).connection) };
        if ifindex == 0 {
            return Err(DropReason::StationUnknown);
        }
        if let Some(counters) = counters_of(connection) {
            count_out(counters, len);
        }
        Delivery { operation: Delivery::UNICAST, ifindex, tenant, vni }
    };
    let surplus = packet.len().wrapping_sub(offset as u32 + len);
    if surplus != 0 {
        packet.adjust_tail((surplus as i32).wrapping_neg())?;
    }
    packet.adjust_head(start as i32)?;
    run.inner = EthHdr::LEN as u32;
    run.reach(Stage::Emit);
    pass(packet, delivery)
}

/// Lets the frame pass to the kernel, with a note for tc.
#[inline(always)]
pub fn pass(packet: &Packet, delivery: Delivery) -> Verdict {
    const LEN: usize = size_of::<Delivery>();
    let ctx = packet.raw();
    // SAFETY: the context is valid.
    if unsafe { bpf_xdp_adjust_meta(ctx, -(LEN as i32)) } != 0 {
        return Err(DropReason::NoHeadroom);
    }
    // SAFETY: fields of the kernel's context.
    let (note, frame) = unsafe { ((*ctx).data_meta as usize, (*ctx).data as usize) };
    if note + LEN > frame {
        return Err(DropReason::NoHeadroom);
    }
    // SAFETY: the bytes between are ours.
    unsafe {
        *(note as *mut [u32; 4]) = [delivery.operation, delivery.ifindex, delivery.tenant.0, delivery.vni.0];
    }
    Ok(xdp_action::XDP_PASS)
}

/// Whether an outer header's congestion mark changes what is inside (RFC 6040 figure 4).
#[inline(always)]
fn is_marked(class: u32) -> bool {
    class & 1 != 0
}

/// Takes a congestion mark of the outer header over into the inner one.
#[inline(always)]
fn congestion(packet: &Packet, run: &Run, offset: usize) -> Result<(), DropReason> {
    let inner = Inner::read(packet, offset, packet.len())?;
    let class = ecn::decapsulate(inner.class, run.outer_class as u8).ok_or(DropReason::EcnInvalid)?;
    if class == inner.class { Ok(()) } else { set_class(packet, &inner, class) }
}
