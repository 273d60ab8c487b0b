//! Numbered traffic: every flow sends a frame a round, which bears the round's number, and counts at its end what comes and what does not.

use crate::DEVICES;
use crate::numbered::{Arrivals, FLOWS_MAX, FRAME, HEAD_WORDS, Head, MARK, MARK_LEN, Turn};
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;

#[btf_map]
static TURN: Array<Turn, 1> = Array::new();
#[btf_map]
static HEADS: Array<Head, { FLOWS_MAX as usize }> = Array::new();
#[btf_map]
static ARRIVALS: Array<Arrivals, { FLOWS_MAX as usize }> = Array::new();
/// The trial whose longest losses are kept.
#[btf_map]
static TRIAL: Array<u64, 1> = Array::new();

/// Sends the frame of the flow whose turn it is in place of the one that has come.
#[xdp]
pub fn number(ctx: XdpContext) -> u32 {
    let start = ctx.data();
    // What a stack says of itself is nobody's turn.
    if start + FRAME > ctx.data_end() {
        return xdp_action::XDP_DROP;
    }
    let Some(turn) = TURN.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: what comes has one queue, so this runs on one CPU at a time; user space only reads the turn meanwhile.
    let turn = unsafe { &mut *turn };
    let (flow, number) = (turn.flow, turn.number);
    let is_last = flow + 1 >= turn.flows;
    turn.flow = if is_last { 0 } else { flow + 1 };
    turn.number = number + u64::from(is_last);
    let Some(head) = HEADS.get(flow) else { return xdp_action::XDP_ABORTED };
    for (index, word) in head.words.iter().enumerate() {
        // SAFETY: these bytes lie within the frame, as checked above, and BPF takes any alignment; so do those below.
        unsafe { *((start + index * 8) as *mut u64) = *word };
    }
    // SAFETY: as above.
    unsafe {
        *((start + HEAD_WORDS * 8) as *mut u64) = u64::from(MARK) << 32 | u64::from(flow);
        *((start + HEAD_WORDS * 8 + 8) as *mut u64) = number;
    }
    DEVICES.redirect(head.slot, 0).unwrap_or(xdp_action::XDP_ABORTED)
}

/// How a frame arrives, told by its length: what carries it is as long as its headers make it.
#[derive(Clone, Copy)]
enum Form {
    /// As it was sent.
    Plain,
    /// From a site's GRE tunnel, in VXLAN.
    GreToVxlan,
    /// From a site's VLAN, in VXLAN.
    VlanToVxlan,
    /// From VXLAN, in GRE.
    VxlanToGre,
    /// From VXLAN, on a VLAN.
    VxlanToVlan,
}

impl Form {
    /// Bytes of a frame.
    const fn len(self) -> usize {
        const ETHERNET: usize = 14;
        const GRE: usize = ETHERNET + 20 + 8;
        const VXLAN: usize = ETHERNET + 20 + 8 + 8 + ETHERNET;
        const VLAN: usize = ETHERNET + 4;
        match self {
            Self::Plain => FRAME,
            Self::GreToVxlan => FRAME - GRE + VXLAN,
            Self::VlanToVxlan => FRAME - VLAN + VXLAN,
            Self::VxlanToGre => FRAME - VXLAN + GRE,
            Self::VxlanToVlan => FRAME - VXLAN + VLAN,
        }
    }

    /// Where the word stands that says whose a frame is: the end of an address, VXLAN's identifier, GRE's key, the tag.
    const fn whose(self) -> usize {
        match self {
            Self::Plain => 30,
            Self::GreToVxlan | Self::VlanToVxlan => 46,
            Self::VxlanToGre => 38,
            Self::VxlanToVlan => 14,
        }
    }
}

/// Counts numbered frames and drops them; everything else is the stack's.
#[xdp]
pub fn count(ctx: XdpContext) -> u32 {
    const PLAIN: usize = Form::Plain.len();
    const GRE_TO_VXLAN: usize = Form::GreToVxlan.len();
    const VLAN_TO_VXLAN: usize = Form::VlanToVxlan.len();
    const VXLAN_TO_GRE: usize = Form::VxlanToGre.len();
    const VXLAN_TO_VLAN: usize = Form::VxlanToVlan.len();
    // The verifier learns a frame's bounds from comparisons of its own alone, which the compiler must not find needless.
    let length = core::hint::black_box(ctx.data_end() - ctx.data());
    let seen = match length {
        PLAIN => seen::<PLAIN, { Form::Plain.whose() }>(&ctx),
        GRE_TO_VXLAN => seen::<GRE_TO_VXLAN, { Form::GreToVxlan.whose() }>(&ctx),
        VLAN_TO_VXLAN => seen::<VLAN_TO_VXLAN, { Form::VlanToVxlan.whose() }>(&ctx),
        VXLAN_TO_GRE => seen::<VXLAN_TO_GRE, { Form::VxlanToGre.whose() }>(&ctx),
        VXLAN_TO_VLAN => seen::<VXLAN_TO_VLAN, { Form::VxlanToVlan.whose() }>(&ctx),
        _ => None,
    };
    match seen {
        Some((flow, number, whose)) => {
            take(flow, number, whose);
            xdp_action::XDP_DROP
        }
        None => xdp_action::XDP_PASS,
    }
}

/// The flow and number of a frame of this length, and whose it is.
#[inline(always)]
fn seen<const LEN: usize, const WHOSE: usize>(ctx: &XdpContext) -> Option<(u32, u64, u32)> {
    let start = ctx.data();
    if start + LEN > ctx.data_end() {
        return None;
    }
    // SAFETY: these bytes lie within the frame, as checked above, and BPF takes any alignment.
    let (mark, number, whose) = unsafe {
        (
            *((start + LEN - MARK_LEN) as *const u64),
            *((start + LEN - MARK_LEN + 8) as *const u64),
            *((start + WHOSE) as *const u32),
        )
    };
    ((mark >> 32) as u32 == MARK).then_some((mark as u32, number, whose))
}

/// Takes a number into its flow's account. A flow's frames arrive by one queue, on one CPU at a time.
#[inline(always)]
fn take(flow: u32, number: u64, whose: u32) {
    let (Some(head), Some(arrivals), Some(trial)) = (HEADS.get(flow), ARRIVALS.get_ptr_mut(flow), TRIAL.get(0)) else {
        return;
    };
    // SAFETY: the slot of a map's array, which nobody else writes meanwhile.
    let it = unsafe { &mut *arrivals };
    if head.whose != whose {
        it.foreign += 1;
        return;
    }
    if number >= it.next {
        let skipped = number - it.next;
        it.recent = if skipped < 63 { it.recent << (skipped + 1) | 1 } else { 1 };
        it.next = number + 1;
        it.arrived += 1;
        it.lost += skipped;
        if it.trial != *trial {
            it.trial = *trial;
            it.longest_loss = 0;
        }
        if skipped > it.longest_loss {
            it.longest_loss = skipped;
        }
        return;
    }
    let back = it.next - 1 - number;
    if back < 64 && it.recent >> back & 1 == 0 {
        it.recent |= 1 << back;
        it.arrived += 1;
        it.late += 1;
        it.lost -= 1;
    } else {
        it.duplicates += 1;
    }
}
