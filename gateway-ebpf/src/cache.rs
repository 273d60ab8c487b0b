//! The flow cache: decisions by flow, one table a CPU and family. A flow's hash names a pair of slots, and the flow may be in either: with
//! one slot each, a thirtieth of a thousand flows would forever push each other out.
//!
//! A hit must match the whole key and the tenant's present generation. The generation was read before the tables were, so a change in
//! between makes the entry stale from its birth.

use crate::maps::{FLOWS4, FLOWS6, TENANTS};
use gateway_common::flow::{KEY4_WORDS, KEY6_WORDS, hash4, hash6};
use gateway_common::tables::{Decision, FLOW_PAGE, FLOW4_SLOTS, FLOW6_SLOTS, Flow4, Flow6, Tenant};

/// A flow's key, and with it its cache.
pub trait Flow {
    /// What was decided about the flow, be it stale or not.
    fn find(&self) -> Option<*const Decision>;

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
    ($key:ty, $entry:ty, $map:ident, $slots:ident, $hash:ident, $words:ident) => {
        impl Flow for $key {
            #[inline(always)]
            fn find(&self) -> Option<*const Decision> {
                let hash = $hash(self);
                let page: *const $entry = $map.get_ptr(hash & ($slots - 1) / FLOW_PAGE)?.cast();
                let first = ((hash >> 16) & (FLOW_PAGE - 2)) as usize;
                // SAFETY: a pair of slots within this CPU's page, which nobody else touches during the run.
                unsafe {
                    let pair = page.add(first);
                    if equal(&(*pair).key, self) {
                        return Some(&raw const (*pair).decision);
                    }
                    let other = pair.add(1);
                    if equal(&(*other).key, self) { Some(&raw const (*other).decision) } else { None }
                }
            }

            #[inline(always)]
            fn remember(&self, decision: &Decision) {
                let hash = $hash(self);
                let Some(page) = $map.get_ptr_mut(hash & ($slots - 1) / FLOW_PAGE) else { return };
                let first = ((hash >> 16) & (FLOW_PAGE - 2)) as usize;
                // SAFETY: as above. Word by word: the compiler would copy a larger whole byte by byte.
                unsafe {
                    let younger = page.cast::<$entry>().add(first);
                    let older = younger.add(1);
                    for word in 0..$words {
                        (*older).key[word] = (*younger).key[word];
                        (*younger).key[word] = self[word];
                    }
                    (*older).decision = (*younger).decision;
                    (*younger).decision = *decision;
                }
            }
        }
    };
}

cache!([u64; KEY4_WORDS], Flow4, FLOWS4, FLOW4_SLOTS, hash4, KEY4_WORDS);
cache!([u64; KEY6_WORDS], Flow6, FLOWS6, FLOW6_SLOTS, hash6, KEY6_WORDS);

#[inline(always)]
fn equal<const N: usize>(one: &[u64; N], other: &[u64; N]) -> bool {
    let mut differs = 0;
    for word in 0..N {
        differs |= one[word] ^ other[word];
    }
    differs == 0
}
