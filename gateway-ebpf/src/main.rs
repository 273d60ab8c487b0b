//! The gateway's XDP programs, and the tc programs of compute hosts: a packet's way, stage by stage.
//!
//! ```text
//! a port's program        express, for plain packets of flows that are cached and allowed; for all others
//!                         parse → resolve (classify, admit, route; or the flow cache) → forward (police, adapt, encapsulate, emit)
//! `compartment`           what a tenant's own namespace sends → originate, or out by its VLAN
//! `reentry`               what the slow path hands back → frame or originate
//! `mux`                   steer, on a load balancer that is no gateway
//!
//! on a compute host:
//! `vm` (tc)               what a virtual machine sends → to a neighbour, by the distributed router, or aside (`reentry` → stage_vm)
//! `host` (tc)             what comes from the fabric → headers off, to the machine; TCP by the kernel's VXLAN device
//! `overlay` (tc)          what that device has unwrapped → to the machine
//! `deliver` (tc)          what stage_vm has answered → to the machine
//!
//! stage_originate         resolve's route, then forward: packets that start here
//! stage_icmp              an error for the packet's sender → originate
//! stage_host              ARP, neighbour discovery, echo and ICMP errors for the gateway's own outer addresses
//! stage_keepalive         a GRE keepalive goes back
//! stage_punt              to the tenant's compartment
//! stage_slow              to user space, to be reassembled or fragmented
//! stage_frame             a reassembled frame, as a port's program takes it
//! stage_steer             steer, on a gateway
//! stage_least             forward, for IPv6 packets that are never too big
//! stage_probe             another gateway's question whether this one forwards, or its claim to a seat
//! stage_vm                ARP, neighbour discovery, echo and ICMP errors for a virtual machine
//! ```
//!
//! Every stage returns a [`Verdict`]: an action, or the reason why the packet is dropped; [`run::Run::finish`] counts and traces it.
//! What is not ours is passed to the host untouched.
//!
//! Functions that are `extern "C"` and keep their names are *global* to the verifier: it proves each once, for any arguments, instead of
//! once for every way to reach it. Their arguments and results are plain numbers, and pointers that may be null.
//!
//! To change how a header is read: `parse.rs`. Whose a packet is, or whether its source is good: `resolve.rs`. How a destination is
//! looked up: `route.rs`, alone. What is done to a packet before it leaves: `forward.rs`. What is put in front of it: `encapsulate.rs`.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![allow(internal_features, reason = "compare-and-exchange exists on this target as an intrinsic only")]

mod answers;
mod atomic;
mod cache;
mod compartment;
mod context;
mod encapsulate;
mod express;
mod forward;
mod gate;
mod gre_checksum;
mod host;
mod host_answer;
mod host_deliver;
mod host_fabric;
mod host_flood;
mod host_overlay;
mod host_vm;
mod icmp;
mod inner;
mod maps;
mod packet;
mod parse;
mod police;
mod probe;
mod punt;
mod reentry;
mod resolve;
mod route;
mod run;
mod seal;
mod segment;
mod steer;
mod trace;

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT, xdp_action, xdp_md};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use gateway_common::DropReason;
use gateway_common::tables::Port;
use packet::Packet;
use run::Run;

/// What becomes of a packet: an XDP action, or why it is dropped.
pub type Verdict = Result<u32, DropReason>;

/// A packet that is not ours.
pub const PASS: Verdict = Ok(xdp_action::XDP_PASS);

/// A port of the fabric.
#[xdp]
#[inline(always)]
pub fn fabric(ctx: XdpContext) -> u32 {
    port::<{ Port::FABRIC }>(&ctx)
}

/// A port towards the sites.
#[xdp]
#[inline(always)]
pub fn site(ctx: XdpContext) -> u32 {
    port::<{ Port::SITE }>(&ctx)
}

/// A port that is both.
#[xdp]
#[inline(always)]
pub fn both(ctx: XdpContext) -> u32 {
    port::<{ Port::FABRIC | Port::SITE }>(&ctx)
}

#[inline(always)]
fn port<const KIND: u32>(ctx: &XdpContext) -> u32 {
    match express::frame::<KIND>(&Packet::new(ctx)) {
        Some(action) => action,
        None => long_way::<KIND>(ctx),
    }
}

/// Takes a frame that the express way leaves. A function of its own, so that the express way pays nothing for it.
#[inline(never)]
fn long_way<const KIND: u32>(ctx: &XdpContext) -> u32 {
    begin(
        ctx,
        #[inline(always)]
        |packet, run| parse::frame::<KIND>(packet, run),
    )
}

/// Runs a packet from its start.
#[inline(always)]
fn begin(ctx: &XdpContext, stage: impl Fn(&Packet, &mut Run) -> Verdict) -> u32 {
    let packet = Packet::new(ctx);
    // The map's only slot is always there; the verifier wants to hear of the other case.
    let Some(run) = Run::begin(packet.ifindex()) else { return xdp_action::XDP_ABORTED };
    let verdict = stage(&packet, run);
    run.finish(&packet, verdict)
}

/// Runs a packet on from where the calling stage left it.
#[inline(always)]
fn go_on(ctx: &XdpContext, stage: impl Fn(&Packet, &mut Run) -> Verdict) -> u32 {
    let packet = Packet::new(ctx);
    let Some(run) = Run::taken_over() else { return xdp_action::XDP_ABORTED };
    let verdict = stage(&packet, run);
    run.finish(&packet, verdict)
}

/// The root namespace's end of a compartment's veth.
#[xdp]
pub fn compartment(ctx: XdpContext) -> u32 {
    begin(
        &ctx,
        #[inline(always)]
        |packet, run| compartment::output(packet, run),
    )
}

/// The pipeline's end of the slow path's veth.
#[xdp]
pub fn reentry(ctx: XdpContext) -> u32 {
    begin(
        &ctx,
        #[inline(always)]
        |packet, run| reentry::take_back(packet, run),
    )
}

/// A port of a mux.
#[xdp]
pub fn mux(ctx: XdpContext) -> u32 {
    let packet = Packet::new(&ctx);
    match steer::frame(&packet) {
        Ok(action) => action,
        Err(reason) => refused(packet.raw(), reason as u32),
    }
}

/// Ends the run of a packet that needed none until it was dropped.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn refused(ctx: *mut xdp_md, reason: u32) -> u32 {
    begin(
        &XdpContext::new(ctx),
        #[inline(always)]
        |_, _| Err(resolve::reason_of(reason)),
    )
}

/// A compute host's port to the fabric.
#[classifier]
pub fn host(ctx: TcContext) -> i32 {
    begin_tc(
        &ctx,
        #[inline(always)]
        |packet, run| host_fabric::frame(packet, run),
    )
}

/// The kernel's VXLAN device.
#[classifier]
pub fn overlay(ctx: TcContext) -> i32 {
    begin_tc(
        &ctx,
        #[inline(always)]
        |packet, _| host_overlay::frame(packet),
    )
}

/// The host's side of a virtual machine's interface.
#[classifier]
pub fn vm(ctx: TcContext) -> i32 {
    begin_tc(
        &ctx,
        #[inline(always)]
        |packet, run| host_vm::frame(packet, run),
    )
}

/// [`begin`], in tc.
#[inline(always)]
fn begin_tc(ctx: &TcContext, stage: impl Fn(&host_vm::Buffer, &mut Run) -> host_vm::Outcome) -> i32 {
    let packet = Packet::of(ctx.skb.skb);
    let Some(run) = Run::begin(packet.ifindex()) else { return TC_ACT_SHOT as i32 };
    let outcome = stage(&packet, run);
    finish(&packet, run, outcome)
}

/// Where answers to virtual machines come by.
#[classifier]
pub fn deliver(ctx: TcContext) -> i32 {
    host_deliver::frame(ctx.skb.skb)
}

/// The run's end in tc: the outcome as an action, a drop counted, both traced if asked for.
#[inline(always)]
fn finish(packet: &host_vm::Buffer, run: &Run, outcome: host_vm::Outcome) -> i32 {
    match outcome {
        Ok(action) => {
            if run.flags & Run::TRACED != 0 {
                let passed = action == TC_ACT_OK as i32;
                trace::ended(packet, if passed { xdp_action::XDP_PASS } else { xdp_action::XDP_REDIRECT });
            }
            action
        }
        Err(reason) => {
            run.count_drop(reason);
            trace::dropped(packet, reason as u32);
            TC_ACT_SHOT as i32
        }
    }
}

/// Passes everything: an XDP program at a veth's far end makes the kernel poll it, which redirecting into it needs.
#[xdp]
pub fn pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Declares a stage that a tail call reaches: it takes the run over where the caller left it.
macro_rules! stage {
    ($($(#[$doc:meta])+ $name:ident => $function:path;)+) => {
        $(
            $(#[$doc])+
            #[xdp]
            pub fn $name(ctx: XdpContext) -> u32 {
                go_on(&ctx, #[inline(always)] |packet, run| $function(packet, run))
            }
        )+
    };
}

stage! {
    /// See [`gateway_common::tables::stage::ORIGINATE`].
    stage_originate => forward::originate;
    /// See [`gateway_common::tables::stage::ICMP`].
    stage_icmp => icmp::error;
    /// See [`gateway_common::tables::stage::HOST`].
    stage_host => host::answer;
    /// See [`gateway_common::tables::stage::KEEPALIVE`].
    stage_keepalive => host::keepalive;
    /// See [`gateway_common::tables::stage::PUNT`].
    stage_punt => punt::to_compartment;
    /// See [`gateway_common::tables::stage::SLOW`].
    stage_slow => punt::to_slow_path;
    /// See [`gateway_common::tables::stage::FRAME`].
    stage_frame => parse::frame::<{ Port::FABRIC | Port::SITE }>;
    /// See [`gateway_common::tables::stage::STEER`].
    stage_steer => steer::stage;
    /// See [`gateway_common::tables::stage::LEAST`].
    stage_least => forward::least;
    /// See [`gateway_common::tables::stage::VM`].
    stage_vm => host_answer::frame;
    /// See [`gateway_common::tables::stage::PROBE`].
    stage_probe => probe::stage;
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Nothing here needs a helper that the kernel keeps for GPL programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 18] = *b"MIT OR Apache-2.0\0";
