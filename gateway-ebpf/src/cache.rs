//! The flow cache: decisions by flow, one table a CPU and family, each flow in the slot that its hash names.
//!
//! A hit must match the whole key and the tenant's present generation. The generation was read before the tables were, so a change in
//! between makes the entry stale from its birth.

use crate::maps::{FLOWS4, FLOWS6, TENANTS};
use gateway_common::flow::{KEY4_WORDS, KEY6_WORDS, hash4, hash6};
use gateway_common::tables::{Decision, FLOW4_SLOTS, FLOW6_SLOTS, Flow4, Flow6, Tenant};

/// A flow's key, and with it its cache.
pub trait Flow {
    /// The slot that the flow would be in.
    fn slot(&self) -> Option<Slot<'_>>;
}

/// A slot of the cache: whether it holds the flow, and where its decision stands.
pub struct Slot<'a> {
    /// Whether the slot's key is the flow's.
    pub matches: bool,
    /// The slot's decision.
    pub decision: *mut Decision,
    /// The slot's key.
    words: *mut u64,
    key: &'a [u64],
}

impl Flow for [u64; KEY4_WORDS] {
    #[inline(always)]
    fn slot(&self) -> Option<Slot<'_>> {
        let entry: *mut Flow4 = FLOWS4.get_ptr_mut(hash4(self) & (FLOW4_SLOTS - 1))?;
        // SAFETY: this CPU's slot of a per-CPU map, which nobody else touches during the run.
        let entry = unsafe { &mut *entry };
        let matches =
            entry.key[3] == self[3] && entry.key[2] == self[2] && entry.key[1] == self[1] && entry.key[0] == self[0];
        Some(Slot { matches, decision: &raw mut entry.decision, words: entry.key.as_mut_ptr(), key: self })
    }
}

impl Flow for [u64; KEY6_WORDS] {
    #[inline(always)]
    fn slot(&self) -> Option<Slot<'_>> {
        let entry: *mut Flow6 = FLOWS6.get_ptr_mut(hash6(self) & (FLOW6_SLOTS - 1))?;
        // SAFETY: as above.
        let entry = unsafe { &mut *entry };
        let mut differs = 0;
        for word in 0..KEY6_WORDS {
            differs |= entry.key[word] ^ self[word];
        }
        Some(Slot {
            matches: differs == 0,
            decision: &raw mut entry.decision,
            words: entry.key.as_mut_ptr(),
            key: self,
        })
    }
}

impl Slot<'_> {
    /// The cached decision and its tenant, if both are still good.
    #[inline(always)]
    pub fn decision(&self) -> Option<(Decision, &'static Tenant)> {
        if !self.matches {
            return None;
        }
        // SAFETY: this CPU's slot of a per-CPU map.
        let decision = unsafe { *self.decision };
        let tenant = TENANTS.get(decision.tenant.0)?;
        // Generation 0 marks an empty slot; tenants start at 1.
        if decision.generation == 0 || tenant.generation != decision.generation {
            return None;
        }
        Some((decision, tenant))
    }

    /// Remembers a decision.
    #[inline(always)]
    pub fn remember(&self, decision: &Decision) {
        for (index, word) in self.key.iter().enumerate() {
            // SAFETY: the slot's key has as many words as the flow's.
            unsafe { *self.words.add(index) = *word };
        }
        // SAFETY: this CPU's slot of a per-CPU map.
        unsafe { *self.decision = *decision };
    }
}
