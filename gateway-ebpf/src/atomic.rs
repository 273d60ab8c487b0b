//! Atomic updates of words in maps. `core`'s atomic types lack them on this target, whose instruction set has them since its third version.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

/// Stores `new` in an aligned word of a map's value if it still holds `old`; says whether it did.
///
/// # Safety
///
/// The pointer must be valid for reads and writes.
#[inline(always)]
pub unsafe fn compare_exchange(word: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: promised by the caller.
    unsafe { atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, old, new).1 }
}

/// Adds `increment` to an aligned word of a map's value.
///
/// # Safety
///
/// The pointer must be valid for reads and writes.
#[inline(always)]
pub unsafe fn add(word: *mut u64, increment: u64) {
    // SAFETY: promised by the caller.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(word, increment) };
}

/// Adds `increment` to an aligned word of a map's value and returns what it held before.
///
/// # Safety
///
/// The pointer must be valid for reads and writes.
#[inline(always)]
pub unsafe fn fetch_add(word: *mut u32, increment: u32) -> u32 {
    // SAFETY: promised by the caller.
    unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::SeqCst }>(word, increment) }
}
