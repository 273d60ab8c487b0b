//! The seat gate: nothing of a seat moves unless this gateway holds it.

use crate::maps::SEATS;
use gateway_common::{DropReason, SeatId};

/// Lets a packet of `seat` pass at `now`.
#[inline(always)]
pub fn check(seat: SeatId, now: u64) -> Result<(), DropReason> {
    match SEATS.get(seat.0) {
        Some(seat) if seat.gate.is_open(now) => Ok(()),
        _ => Err(DropReason::SeatNotHeld),
    }
}
