//! Trace: a record of each packet of a traced tenant, when it arrives and when its run ends.

use crate::context::Context;
use crate::maps::{EVENTS, RUN, TENANTS};
use crate::packet::Packet;
use crate::run::Run;
use aya_ebpf::bindings::xdp_action;
use gateway_common::tables::Tenant;
use gateway_common::trace::{SNAP, Traced};

/// Records a packet as it came in.
#[inline(always)]
pub fn arrived<C: Context>(packet: &Packet<C>) {
    C::record_trace(packet.raw(), 0, 0, Traced::ARRIVED);
}

/// Records the end of a packet that goes on.
#[inline(always)]
pub fn ended<C: Context>(packet: &Packet<C>, action: u32) {
    C::record_trace(packet.raw(), action, 0, 0);
}

/// Records the end of a packet that is dropped. It may have met its end before anybody looked whether its tenant is traced.
#[inline(always)]
pub fn dropped<C: Context>(packet: &Packet<C>, reason: u32) {
    C::record_drop(packet.raw(), reason);
}

/// Records a drop if its tenant is traced.
#[inline(always)]
pub fn record_dropped<C: Context>(packet: &Packet<C>, reason: u32) -> u32 {
    let Some(run) = RUN.get(0) else { return 0 };
    let traced = run.flags & Run::TRACED != 0
        || TENANTS.get(run.tenant.0).is_some_and(|tenant| tenant.flags & Tenant::TRACED != 0);
    if traced { C::record_trace(packet.raw(), xdp_action::XDP_DROP, reason, 0) } else { 0 }
}

/// Records the run as it stands.
#[inline(always)]
pub fn record<C: Context>(packet: &Packet<C>, action: u32, reason: u32, flags: u32) -> u32 {
    let Some(run) = RUN.get(0) else { return 0 };
    let Some(mut entry) = EVENTS.reserve_untyped::<Traced>(0) else { return 0 };
    let traced: *mut Traced = entry.as_mut_ptr();
    let cached = if run.flags & Run::CACHED != 0 { Traced::CACHED } else { 0 };
    let length = packet.len();
    // SAFETY: the reserved record is ours until it is submitted, and every field of it is written.
    unsafe {
        (*traced).kind = Traced::KIND;
        (*traced).ifindex = run.ifindex;
        (*traced).time = run.now;
        (*traced).tenant = run.tenant;
        (*traced).origin = run.origin;
        (*traced).seat = run.seat;
        (*traced).nexthop = run.nexthop;
        (*traced).stage = run.stage;
        (*traced).action = action;
        (*traced).reason = reason;
        (*traced).flags = flags | cached;
        (*traced).length = length;
        (*traced).inner_offset = run.inner;
        let bytes = (&raw mut (*traced).packet).cast::<u64>();
        for word in 0..SNAP / 8 {
            bytes.add(word).write_volatile(0);
        }
        let snap = if length > SNAP as u32 { SNAP as u32 } else { length };
        let _ = packet.copy_some(0, bytes.cast(), snap, SNAP as u32);
    }
    entry.submit(0);
    1
}
