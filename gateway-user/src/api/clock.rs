//! The clocks that the programs' times are told by.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`, as in gates, leases and trace records.
pub fn monotonic() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC)
}

/// Nanoseconds of the wall clock for nanoseconds of `CLOCK_MONOTONIC`.
pub fn wall(monotonic_then: u64) -> u64 {
    nanoseconds(ClockId::CLOCK_REALTIME).saturating_sub(monotonic()).saturating_add(monotonic_then)
}

fn nanoseconds(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |time| time.tv_sec().unsigned_abs() * 1_000_000_000 + time.tv_nsec().unsigned_abs())
}
