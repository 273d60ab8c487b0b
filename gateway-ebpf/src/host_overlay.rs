//! The way of TCP in VXLAN to a virtual machine: through the kernel's own VXLAN device.
//!
//! The kernel joins the segments of a TCP flow around their outer headers as well (GRO), and such a train is marked as one inside a tunnel.
//! A program can take the headers off, but not the mark, for which the interfaces of machines would cut the train again. The kernel's VXLAN
//! device takes off both. So TCP is given to that device, and the number of the virtual subnet, which has served, gives way to that of the
//! machine's interface.
//!
//! All of a flow goes this way, trains or not, for it takes a little longer than the other.

use crate::context::{field, set_field};
use crate::host_vm::{Buffer, Outcome};
use crate::packet::opaque;
use aya_ebpf::bindings::{__sk_buff, BPF_F_TUNINFO_IPV6, TC_ACT_OK, bpf_tunnel_key};
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_skb_get_tunnel_key};
use core::mem::MaybeUninit;
use gateway_common::wire::VXLAN_FLAGS;
use gateway_common::{DropReason, checksum};

/// The class of a buffer that came by a port of ours and was admitted, which the kernel keeps with it as `tc_index`. Nothing on a wire can set it.
const ADMITTED: u32 = 0x6777;
/// UDP's header and VXLAN's.
const VXLAN: usize = 16;
/// What a VXLAN network identifier can hold.
const NUMBER_MAX: u32 = 0xff_ffff;

/// Begins with a frame of a port that is not admitted yet: what the kernel holds of its class is of no meaning.
#[inline(always)]
pub fn begin(packet: &Buffer) {
    set_field!(packet.raw(), tc_classid, 0);
}

/// Gives a frame from the fabric, whose inner Ethernet header is at `start`, to the device, for the machine behind an interface.
#[inline(always)]
pub fn by_device(packet: &Buffer, start: usize, ifindex: u32) -> Outcome {
    if ifindex > NUMBER_MAX {
        return Err(DropReason::StationUnknown);
    }
    let number = (ifindex << 8).to_be();
    renumber(packet, start, number).ok_or(DropReason::VxlanTruncated)?;
    set_field!(packet.raw(), tc_classid, ADMITTED);
    Ok(TC_ACT_OK as i32)
}

/// Takes a frame that the device has unwrapped.
#[inline(always)]
pub fn frame(packet: &Buffer) -> Outcome {
    let ctx = packet.raw();
    if field!(ctx, tc_index) as u32 & 0xffff != ADMITTED {
        return Err(DropReason::NotServed);
    }
    let number = number_of(ctx).ok_or(DropReason::NotServed)?;
    // SAFETY: a helper that takes plain numbers.
    Ok(unsafe { bpf_redirect(number, 0) } as i32)
}

/// What stood in the place of the virtual subnet's number.
#[inline(always)]
fn number_of(ctx: *mut __sk_buff) -> Option<u32> {
    let mut key = MaybeUninit::<bpf_tunnel_key>::uninit();
    let size = size_of::<bpf_tunnel_key>() as u32;
    for version in [0, u64::from(BPF_F_TUNINFO_IPV6)] {
        // SAFETY: the context is valid, and the key has room for what is written.
        if unsafe { bpf_skb_get_tunnel_key(ctx, key.as_mut_ptr(), size, version) } == 0 {
            // SAFETY: it was written.
            return Some(unsafe { key.assume_init_ref() }.tunnel_id);
        }
    }
    None
}

/// Writes the number into a VXLAN header. The UDP source port, which nobody needs any more, makes up for the change, so that no checksum changes:
/// neither UDP's, nor one that the network card has computed over the whole packet.
#[inline(always)]
fn renumber(packet: &Buffer, start: usize, number: u32) -> Option<()> {
    let port = opaque(start.wrapping_sub(VXLAN) & 0x7f);
    let own = opaque(start.wrapping_sub(8) & 0x7f);
    let source: u16 = packet.load(port)?;
    let [flags, old]: [u32; 2] = packet.load(own)?;
    // What is reserved means nothing (RFC 7348 section 5), but Linux would refuse it.
    let (before, after) = ([u32::from(source), flags, old], [VXLAN_FLAGS.to_be(), number]);
    packet.store(port, less(sum(&before), sum(&after)))?;
    packet.store(own, after)
}

/// The sum of words.
#[inline(always)]
fn sum<const N: usize>(words: &[u32; N]) -> u64 {
    let mut sum = 0;
    for word in words {
        sum += u64::from(*word);
    }
    sum
}

/// The difference of two sums, in one's complement.
#[inline(always)]
fn less(sum: u64, other: u64) -> u16 {
    checksum::fold(u64::from(checksum::fold(sum)) + u64::from(!checksum::fold(other)))
}
