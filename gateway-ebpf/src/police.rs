//! Policers: words shared by all CPUs, advanced by compare-and-exchange; and what a CPU has metered ahead.

use crate::atomic;
use gateway_common::policer::Policer;

/// Whether a packet of `bytes` is within the rate; if it is, the word has been advanced.
#[inline(always)]
pub fn admit(policer: &Policer, word: *mut u64, bytes: u32, now: u64) -> bool {
    if policer.is_unlimited() {
        return true;
    }
    // SAFETY: the word is an aligned u64 in a map's value, which lives as long as the map.
    let seen = unsafe { word.read_volatile() };
    let Some(next) = policer.admit(seen, bytes, now) else { return false };
    // SAFETY: as above.
    unsafe {
        if !atomic::compare_exchange(word, seen, next) {
            // Another CPU's packet came between, and has brought the word up to now: this one's share is added to that. So every packet is
            // metered, and what is over the burst at one instant is at most a packet, or a quantum, of each CPU.
            atomic::add(word, policer.cost_of(bytes));
        }
    }
    true
}

/// [`admit`], out of this CPU's credit; if that does not suffice, some is drawn first.
#[inline(always)]
pub fn admit_from(credit: *mut u64, policer: &Policer, word: *mut u64, bytes: u32, now: u64) -> bool {
    // SAFETY: a field of this CPU's slot of a per-CPU map; and so below.
    let (drawn, left) = policer.draw(unsafe { *credit }, bytes);
    if drawn != 0 && !admit(policer, word, drawn, now) {
        return false;
    }
    // SAFETY: as above.
    unsafe { *credit = left };
    true
}
