//! Seals: what tells a flow's later packets that an earlier one has looked at all that may change, and that nothing has changed since. See
//! [`gateway_common::tables::changes`].

use crate::atomic;
use crate::maps::CHANGES;
use gateway_common::tables::changes::BY_PROGRAM;

/// The seal of this moment. To be taken before one looks: what changes then makes the seal stale from its birth.
#[inline(always)]
pub fn present() -> Option<u64> {
    let changes = CHANGES.get_ptr(0)?;
    // SAFETY: an aligned word in a map's value, which others change as a whole.
    Some(unsafe { changes.read_volatile() } | 1)
}

/// Makes all seals stale.
#[inline(always)]
pub fn break_all() {
    if let Some(changes) = CHANGES.get_ptr_mut(0) {
        // SAFETY: an aligned word in a map's value.
        unsafe { atomic::add(changes, BY_PROGRAM) };
    }
}
