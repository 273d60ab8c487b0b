//! GRE's checksum (RFC 2784 section 2.3), over header and payload.

use crate::maps::SCRATCH;
use crate::packet::Packet;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_csum_diff;
use gateway_common::checksum;

/// Bytes that are summed at a time.
const PIECE: u32 = 128;
/// Pieces at most: more than a frame without fragments has.
const PIECES: u32 = 32;

/// Whether the checksum over the bytes from `at` to `end` of the packet is right.
#[inline(always)]
pub fn is_right(packet: &Packet, at: u32, end: u32) -> bool {
    verify_checksum(packet.raw(), at, end) != 0
}

/// 1 if the checksum over the bytes from `at` to `end` is right, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn verify_checksum(ctx: *mut xdp_md, at: u32, end: u32) -> u32 {
    let packet = Packet::of(ctx);
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return 0 };
    let scratch: *mut u64 = scratch.cast();
    let mut sum = 0u32;
    for piece in 0..PIECES {
        let from = at + piece * PIECE;
        if from >= end {
            return u32::from(checksum::fold(u64::from(sum)) == 0xffff);
        }
        let mut len = end - from;
        if len > PIECE {
            len = PIECE;
        }
        if len < PIECE {
            for word in 0..(PIECE / 8) as usize {
                // SAFETY: within this CPU's scratch room; volatile, so that it stays a loop of words.
                unsafe { scratch.add(word).write_volatile(0) };
            }
        }
        if !packet.copy_some(from, scratch.cast(), len, PIECE) {
            return 0;
        }
        // SAFETY: a whole piece of this CPU's scratch room.
        sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, scratch.cast(), PIECE, sum) } as u32;
    }
    0
}
