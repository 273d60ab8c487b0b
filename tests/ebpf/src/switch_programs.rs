//! A switch: it learns by which port an address was seen last, and floods what is for an address that it does not know.

use aya_ebpf::bindings::{BPF_F_BROADCAST, BPF_F_EXCLUDE_INGRESS, xdp_action};
use aya_ebpf::btf_maps::{DevMapHash, HashMap};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;

const PORTS_MAX: usize = 16;
const ADDRESSES_MAX: usize = 1024;
const ETHERNET: usize = 14;

/// The ports whose wires are whole, by their interfaces.
#[btf_map]
static SWITCH_PORTS: DevMapHash<PORTS_MAX> = DevMapHash::new();
/// By which port a MAC address was seen last.
#[btf_map]
static SWITCH_ADDRESSES: HashMap<u64, u32, ADDRESSES_MAX> = HashMap::new();

/// A frame comes in by one of the ports.
#[xdp]
pub fn switch(ctx: XdpContext) -> u32 {
    let start = ctx.data();
    if start + ETHERNET > ctx.data_end() {
        return xdp_action::XDP_DROP;
    }
    // SAFETY: the context is the kernel's.
    let port = unsafe { (*ctx.ctx).ingress_ifindex };
    if SWITCH_PORTS.get(port).is_none() {
        return xdp_action::XDP_DROP;
    }
    // SAFETY: within the frame, as was just looked, and BPF takes any alignment.
    let [to, from] = unsafe { [address(start), address(start + 6)] };
    match SWITCH_ADDRESSES.get_ptr_mut(from) {
        // SAFETY: one aligned word.
        Some(seen) => unsafe {
            if *seen != port {
                *seen = port;
            }
        },
        // What there is no room for is flooded.
        None => drop(SWITCH_ADDRESSES.insert(from, port, 0)),
    }
    // SAFETY: one aligned word.
    if let Some(at) = SWITCH_ADDRESSES.get_ptr(to).map(|at| unsafe { *at }) {
        if at == port {
            return xdp_action::XDP_DROP;
        }
        if SWITCH_PORTS.get(at).is_some() {
            return SWITCH_PORTS.redirect(at, 0).unwrap_or(xdp_action::XDP_DROP);
        }
    }
    let everywhere = u64::from(BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS);
    SWITCH_PORTS.redirect(0, everywhere).unwrap_or(xdp_action::XDP_DROP)
}

/// The MAC address that stands there.
///
/// # Safety
/// It is within the frame.
#[inline(always)]
unsafe fn address(at: usize) -> u64 {
    // SAFETY: the caller's.
    unsafe { u64::from(*(at as *const u32)) << 16 | u64::from(*((at + 4) as *const u16)) }
}
