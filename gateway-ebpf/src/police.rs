//! Policers: words shared by all CPUs, advanced by compare-and-exchange.

use crate::atomic;
use gateway_common::policer::Policer;

/// How often a CPU that lost the race tries again before it lets the packet through unmetered: each loss means that another CPU's
/// packet was metered, so the error is bounded by the number of CPUs.
const TRIES: usize = 4;

/// Whether a packet of `bytes` is within the rate; if it is, the word has been advanced.
#[inline(always)]
pub fn admit(policer: &Policer, word: *mut u64, bytes: u32, now: u64) -> bool {
    if policer.is_unlimited() {
        return true;
    }
    for _ in 0..TRIES {
        // SAFETY: the word is an aligned u64 in a map's value, which lives as long as the map.
        let seen = unsafe { word.read_volatile() };
        match policer.admit(seen, bytes, now) {
            None => return false,
            Some(next) => {
                // SAFETY: as above.
                if unsafe { atomic::compare_exchange(word, seen, next) } {
                    return true;
                }
            }
        }
    }
    true
}
