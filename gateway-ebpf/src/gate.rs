//! The seat gate: nothing of a seat moves unless this gateway holds it.

use crate::maps::SEATS;
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use gateway_common::tables::Seat;
use gateway_common::{DropReason, SeatId};

/// Lets a packet of `seat` pass at `now`.
#[inline(always)]
pub fn check(seat: SeatId, now: u64) -> Result<(), DropReason> {
    match SEATS.get(seat.0) {
        Some(seat) if seat.gate.is_open(now) => Ok(()),
        _ => Err(DropReason::SeatNotHeld),
    }
}

/// Lets what a `seat` and its neighbours say to each other about link-layer addresses pass at `now`.
#[inline(always)]
pub fn speaks(seat: SeatId, now: u64) -> Result<(), DropReason> {
    match SEATS.get(seat.0) {
        Some(seat) if seat.gate.speaks(now) => Ok(()),
        _ => Err(DropReason::SeatNotHeld),
    }
}

/// Lets a packet that came in by `seat` pass at `now`, and notes that one did.
#[inline(always)]
pub fn pass(seat: SeatId, now: u64) -> Result<(), DropReason> {
    let seat = SEATS.get_ptr_mut(seat.0).ok_or(DropReason::SeatNotHeld)?;
    // SAFETY: as in `is_open`.
    unsafe {
        let gate = (*seat).gate;
        if !gate.is_open(now) {
            return Err(DropReason::SeatNotHeld);
        }
        let tick = bpf_jiffies64();
        if gate != (*seat).tried || tick != (*seat).tick {
            note(seat, now);
            (*seat).tick = tick;
            (*seat).tried = gate;
        }
    }
    Ok(())
}

/// Notes the first packet of an epoch.
///
/// # Safety
/// It is a seat in the table.
#[inline(always)]
unsafe fn note(seat: *mut Seat, now: u64) {
    // SAFETY: the caller's; aligned words, of which CPUs that race write nearly the same.
    unsafe {
        if (*seat).passed != (*seat).epoch {
            (*seat).first = now;
            (*seat).passed = (*seat).epoch;
        }
    }
}

/// Whether a packet of `seat` may pass in this tick of the clock. The coarse clock moves by ticks as well, so that of the packets of one tick
/// only the first needs it, as long as the gate's word stays what it was.
#[inline(always)]
pub fn is_open(seat: SeatId) -> bool {
    let Some(seat) = SEATS.get_ptr_mut(seat.0) else { return false };
    // SAFETY: the kernel makes a load of this call. The words are aligned, in a map's value. CPUs that write what they found at the same
    // time write the same, or what no longer fits the gate's word.
    unsafe {
        let tick = bpf_jiffies64();
        let gate = (*seat).gate;
        if gate == (*seat).tried && tick == (*seat).tick {
            return true;
        }
        let now = bpf_ktime_get_coarse_ns();
        if !gate.is_open(now) {
            return false;
        }
        note(seat, now);
        (*seat).tick = tick;
        (*seat).tried = gate;
        true
    }
}
