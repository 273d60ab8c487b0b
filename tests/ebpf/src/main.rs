//! The benches' XDP programs: what makes frames, what counts them, and the least that a forwarder can do between the two. Traffic whose every
//! frame is accounted for is in [`numbered_programs`], and the switch that it passes in [`switch_programs`].
//!
//! A generator runs by BPF_PROG_TEST_RUN with live frames. The kernel gives it the same pages again and again without restoring what the
//! gateway wrote into them, so it writes all headers anew, every time.
#![no_std]
#![no_main]

mod numbered;
mod numbered_programs;
mod switch_programs;
mod traffic;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, DevMap, PerCpuArray};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use traffic::{FLOWS_MAX, Flow, Job, Seen};

#[btf_map]
static JOB: Array<Job, 1> = Array::new();
#[btf_map]
static FLOWS: Array<Flow, { FLOWS_MAX as usize }> = Array::new();
#[btf_map]
static SEEN: PerCpuArray<Seen, 1> = PerCpuArray::new();
#[btf_map]
static DEVICES: DevMap<16> = DevMap::new();

/// The slot of the device by which [`redirect`] sends.
const REDIRECT_SLOT: u32 = 15;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
const GRE: usize = 4;
const CHECK: usize = 10;

/// GRE with a key over IPv4, from a site.
#[xdp]
pub fn gre(ctx: XdpContext) -> u32 {
    send::<{ ETHERNET + IPV4 + GRE }, { ETHERNET + IPV4 + GRE + 4 }, 10>(&ctx)
}

/// VXLAN over IPv4, from a host.
#[xdp]
pub fn vxlan(ctx: XdpContext) -> u32 {
    send::<{ ETHERNET + IPV4 + UDP + 4 }, { ETHERNET + IPV4 + UDP + 8 + ETHERNET }, 12>(&ctx)
}

/// A tagged IPv4 packet.
#[xdp]
pub fn vlan(ctx: XdpContext) -> u32 {
    send::<ETHERNET, { ETHERNET + 4 }, 10>(&ctx)
}

/// UDP over IPv4.
#[xdp]
pub fn plain(ctx: XdpContext) -> u32 {
    send::<{ ETHERNET + IPV4 }, ETHERNET, 9>(&ctx)
}

/// Writes the next flow's frame, whose key is at `KEY` and whose IPv4 header with the flow's addresses at `IP`.
#[inline(always)]
fn send<const KEY: usize, const IP: usize, const WORDS: usize>(ctx: &XdpContext) -> u32 {
    let Some(job) = JOB.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: the generator runs on one CPU, and user space changes the job only between its runs.
    let job = unsafe { &mut *job };
    let number = job.next;
    job.next = if number + 1 < job.flows { number + 1 } else { 0 };
    let Some(flow) = FLOWS.get(number) else { return xdp_action::XDP_ABORTED };
    let start = ctx.data();
    if start + WORDS * 8 > ctx.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    for (index, word) in job.template[..WORDS].iter().enumerate() {
        // SAFETY: these bytes lie within the frame, as checked above, and BPF takes any alignment; so do those below, by the constants.
        unsafe { *((start + index * 8) as *mut u64) = *word };
    }
    // SAFETY: as above.
    unsafe {
        *((start + KEY) as *mut u32) = flow.key;
        *((start + IP + CHECK) as *mut u16) = flow.check as u16;
        *((start + IP + CHECK + 2) as *mut [u32; 2]) = flow.addresses;
    }
    DEVICES.redirect(job.slot, 0).unwrap_or(xdp_action::XDP_ABORTED)
}

/// The floor: what every forwarder does, and nothing else.
#[xdp]
pub fn redirect(_ctx: XdpContext) -> u32 {
    DEVICES.redirect(REDIRECT_SLOT, 0).unwrap_or(xdp_action::XDP_ABORTED)
}

/// The end: counts and drops.
#[xdp]
pub fn sink(ctx: XdpContext) -> u32 {
    if let Some(seen) = SEEN.get_ptr_mut(0) {
        // SAFETY: this CPU's slot of a per-CPU map.
        let seen = unsafe { &mut *seen };
        if (ctx.data_end() - ctx.data()) as u64 == seen.expected {
            seen.right += 1;
        } else {
            seen.wrong += 1;
        }
    }
    xdp_action::XDP_DROP
}

/// Does nothing: what a program costs that does nothing.
#[xdp]
pub fn nothing(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// A switch's port that takes no VLAN: what has a tag is lost.
#[xdp]
pub fn untagged(ctx: XdpContext) -> u32 {
    const VLAN: u16 = 0x8100u16.to_be();
    let kind = ctx.data() + 12;
    if kind + 2 > ctx.data_end() {
        return xdp_action::XDP_DROP;
    }
    // SAFETY: within the frame, as was just looked.
    let kind = unsafe { (kind as *const u16).read_unaligned() };
    if kind == VLAN { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 18] = *b"MIT OR Apache-2.0\0";
