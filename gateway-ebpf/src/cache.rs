//! The flow cache: decisions by flow, one table a CPU and family. A flow's hash names a pair of slots, and the flow may be in either: with
//! one slot each, a thirtieth of a thousand flows would forever push each other out.
//!
//! A hit must match the whole key and the tenant's present generation. The generation was read before the tables were, so a change in
//! between makes the entry stale from its birth.

use crate::maps::{FLOWS4, FLOWS6, TENANTS};
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use gateway_common::flow::{KEY4_WORDS, KEY6_WORDS, hash4, hash6};
use gateway_common::tables::{Decision, FLOW4_PAIRS, FLOW6_PAIRS, Tenant};

/// A flow's key, and with it its cache.
pub trait Flow {
    /// What was decided about the flow, be it stale or not.
    fn find(&self) -> Option<*mut Decision>;

    /// Remembers a decision: the younger of the pair's two flows takes the place of the older.
    fn remember(&self, decision: &Decision);
}

/// The cached decision and its tenant, if both are still good.
#[inline(always)]
pub fn recall<F: Flow>(flow: &F) -> Option<(Decision, &'static Tenant)> {
    // SAFETY: a slot of this CPU's, which nobody else touches during the run.
    let decision = unsafe { *flow.find()? };
    let tenant = TENANTS.get(decision.tenant.0)?;
    // Generation 0 marks an empty slot; tenants start at 1.
    if decision.generation == 0 || tenant.generation != decision.generation {
        return None;
    }
    Some((decision, tenant))
}

/// The two caches differ in names and in the length of a key.
macro_rules! cache {
    ($key:ty, $map:ident, $pairs:ident, $hash:ident, $words:ident) => {
        impl Flow for $key {
            #[inline(always)]
            fn find(&self) -> Option<*mut Decision> {
                let pair = $map.get_ptr_mut(of_this_cpu($hash(self) >> ($pairs.leading_zeros() + 1), $pairs))?;
                // SAFETY: this CPU's pair of slots, which nobody else touches during the run.
                unsafe {
                    let [first, second] = &mut *pair;
                    if equal(&first.key, self) {
                        return Some(&raw mut first.decision);
                    }
                    if equal(&second.key, self) { Some(&raw mut second.decision) } else { None }
                }
            }

            #[inline(always)]
            fn remember(&self, decision: &Decision) {
                let Some(pair) = $map.get_ptr_mut(of_this_cpu($hash(self) >> ($pairs.leading_zeros() + 1), $pairs))
                else {
                    return;
                };
                // SAFETY: as above. Word by word: the compiler would copy a larger whole byte by byte.
                unsafe {
                    let [younger, older] = &mut *pair;
                    for word in 0..$words {
                        older.key[word] = younger.key[word];
                        younger.key[word] = self[word];
                    }
                    older.decision = younger.decision;
                    younger.decision = *decision;
                }
            }
        }
    };
}

/// The index of this CPU's `index`-th pair in a map that has `pairs` of every CPU.
#[inline(always)]
fn of_this_cpu(index: u32, pairs: u32) -> u32 {
    // SAFETY: a helper without arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    cpu * pairs + index
}

cache!([u64; KEY4_WORDS], FLOWS4, FLOW4_PAIRS, hash4, KEY4_WORDS);
cache!([u64; KEY6_WORDS], FLOWS6, FLOW6_PAIRS, hash6, KEY6_WORDS);

#[inline(always)]
fn equal<const N: usize>(one: &[u64; N], other: &[u64; N]) -> bool {
    let mut differs = 0;
    for word in 0..N {
        differs |= one[word] ^ other[word];
    }
    differs == 0
}
