//! Broadcasts and multicasts of a virtual subnet, on a compute host (tc): a copy for each machine here, and one for each other host.

use crate::forward::count_out;
use crate::host_vm::{self, Buffer, Outcome};
use crate::maps::{FLOODS, INTERFACES, NEXTHOPS, TENANT_COUNTERS};
use crate::packet::Packet;
use crate::run::Run;
use aya_ebpf::bindings::{__sk_buff, TC_ACT_STOLEN};
use aya_ebpf::helpers::generated::bpf_clone_redirect;
use gateway_common::tables::{FloodKey, Nexthop};
use gateway_common::trace::Stage;
use gateway_common::{DropReason, NexthopId, TenantId, Vni};

/// There are no more receivers.
const LAST: u32 = u32::MAX;
/// Nothing was put in front of the frame yet.
const BARE: u32 = 0;

/// Sends a machine's frame to all others of its subnet.
#[inline(always)]
pub fn all(packet: &Buffer, run: &mut Run, vni: Vni) -> Outcome {
    run.query.key = vni.0;
    run.nexthop = NexthopId::NONE;
    run.reach(Stage::Emit);
    let mut form = BARE;
    for index in 0..FloodKey::MAX {
        form = copy_to(packet.raw(), index, form);
        if form == LAST {
            return Ok(TC_ACT_STOLEN as i32);
        }
    }
    let rest = FloodKey { tenant: run.tenant, vni, index: FloodKey::MAX };
    if FLOODS.get_ptr(rest).is_some() { Err(DropReason::FloodLimited) } else { Ok(TC_ACT_STOLEN as i32) }
}

/// Sends a copy to the receiver with this number; `form` is the encapsulation that the frame is in. Returns the one that it is in
/// afterwards, or [`LAST`] if there was no such receiver.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn copy_to(ctx: *mut __sk_buff, index: u32, form: u32) -> u32 {
    let packet = Packet::of(ctx);
    let Some(run) = Run::taken_over() else { return LAST };
    let key = FloodKey { tenant: run.tenant, vni: Vni(run.query.key), index };
    let Some(receiver) = FLOODS.get_ptr(key) else { return LAST };
    // SAFETY: entries are replaced whole.
    let receiver = unsafe { *receiver };
    if receiver.ifindex != 0 {
        if receiver.ifindex != run.ifindex {
            // SAFETY: the context is valid. A copy that cannot be made is lost, like any frame that finds no memory.
            unsafe { bpf_clone_redirect(ctx, receiver.ifindex, 0) };
        }
        return form;
    }
    let Some(nexthop) = NEXTHOPS.get(receiver.nexthop.0) else { return form };
    if nexthop.kind != Nexthop::ADJACENCY {
        return form;
    }
    if form != BARE && form != nexthop.encapsulation {
        return form;
    }
    if form == BARE && host_vm::make_room(&packet, nexthop).is_err() {
        return LAST;
    }
    // SAFETY: the run is there; read anew, so that what the verifier knew of it is forgotten.
    let inner = unsafe { core::ptr::read_volatile(&run.packet) };
    if host_vm::write(&packet, run, nexthop, &inner, Some(run.macs), None).is_none() {
        return LAST;
    }
    if let Some(counters) = TENANT_COUNTERS.get_ptr_mut(run.tenant.0) {
        count_out(counters, inner.len);
    }
    if let Some(&ifindex) = INTERFACES.get(nexthop.port.0) {
        // SAFETY: as above.
        unsafe { bpf_clone_redirect(ctx, ifindex, 0) };
    }
    nexthop.encapsulation
}

/// Gives a copy of a frame from the fabric to each of the subnet's machines on this host.
#[inline(always)]
pub fn to_machines(packet: &Buffer, tenant: TenantId, vni: Vni) -> Outcome {
    for index in 0..FloodKey::MAX {
        if copy_to_machine(packet.raw(), tenant.0, vni.0, index) == LAST {
            break;
        }
    }
    Ok(TC_ACT_STOLEN as i32)
}

/// Gives a copy to the machine with this number; [`LAST`] if there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn copy_to_machine(ctx: *mut __sk_buff, tenant: u32, vni: u32, index: u32) -> u32 {
    let key = FloodKey { tenant: TenantId(tenant), vni: Vni(vni), index };
    let Some(receiver) = FLOODS.get_ptr(key) else { return LAST };
    // SAFETY: entries are replaced whole.
    let receiver = unsafe { *receiver };
    if receiver.ifindex == 0 {
        return LAST;
    }
    // SAFETY: the context is valid.
    unsafe { bpf_clone_redirect(ctx, receiver.ifindex, 0) };
    0
}
