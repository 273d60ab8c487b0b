//! Sets of prefixes, as bits: an eighth of an octet for each where they are dense, nothing where there are none.

use super::table::PrefixId;

const WORDS: usize = 64;
const CHUNK: usize = WORDS * 64;

/// A sparse set of [`PrefixId`]s, iterated in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct BitSet {
    chunks: Vec<Option<Box<Chunk>>>,
    count: usize,
}

#[derive(Clone, Debug)]
struct Chunk {
    words: [u64; WORDS],
    count: u16,
}

const fn place(id: PrefixId) -> (usize, usize, u64) {
    let bit = id.0 as usize;
    (bit / CHUNK, bit % CHUNK / 64, 1 << (bit % 64))
}

impl BitSet {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn contains(&self, id: PrefixId) -> bool {
        let (chunk, word, bit) = place(id);
        self.chunks.get(chunk).and_then(Option::as_ref).is_some_and(|chunk| chunk.words[word] & bit != 0)
    }

    /// Puts it in; says whether it was not there.
    pub fn insert(&mut self, id: PrefixId) -> bool {
        let (chunk, word, bit) = place(id);
        if chunk >= self.chunks.len() {
            self.chunks.resize_with(chunk + 1, || None);
        }
        let chunk = self.chunks[chunk].get_or_insert_with(|| Box::new(Chunk { words: [0; WORDS], count: 0 }));
        let absent = chunk.words[word] & bit == 0;
        chunk.words[word] |= bit;
        chunk.count += u16::from(absent);
        self.count += usize::from(absent);
        absent
    }

    /// Takes it out; says whether it was there.
    pub fn remove(&mut self, id: PrefixId) -> bool {
        let (index, word, bit) = place(id);
        let Some(slot) = self.chunks.get_mut(index) else { return false };
        let Some(chunk) = slot else { return false };
        let there = chunk.words[word] & bit != 0;
        chunk.words[word] &= !bit;
        chunk.count -= u16::from(there);
        self.count -= usize::from(there);
        if chunk.count == 0 {
            *slot = None;
            while self.chunks.last().is_some_and(Option::is_none) {
                self.chunks.pop();
            }
        }
        there
    }

    /// The first member that is not before `id`.
    pub fn next(&self, id: PrefixId) -> Option<PrefixId> {
        let (mut index, mut word, bit) = place(id);
        let mut mask = !(bit - 1);
        while let Some(slot) = self.chunks.get(index) {
            if let Some(chunk) = slot {
                while word < WORDS {
                    let bits = chunk.words[word] & mask;
                    if bits != 0 {
                        let bit = index * CHUNK + word * 64 + bits.trailing_zeros() as usize;
                        return u32::try_from(bit).ok().map(PrefixId);
                    }
                    (word, mask) = (word + 1, u64::MAX);
                }
            }
            (index, word, mask) = (index + 1, 0, u64::MAX);
        }
        None
    }

    pub fn iter(&self) -> impl Iterator<Item = PrefixId> + '_ {
        let mut from = Some(PrefixId(0));
        std::iter::from_fn(move || {
            let id = self.next(from?)?;
            from = id.0.checked_add(1).map(PrefixId);
            Some(id)
        })
    }

    pub fn memory(&self) -> usize {
        let chunks = self.chunks.iter().flatten().count();
        self.chunks.capacity() * size_of::<usize>() + chunks * size_of::<Chunk>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn is_a_set(steps in proptest::collection::vec((any::<bool>(), 0..20_000_u32), 0..200), from in 0..20_000_u32) {
            let (mut bits, mut model) = (BitSet::default(), BTreeSet::new());
            for (put, number) in steps {
                if put {
                    prop_assert_eq!(bits.insert(PrefixId(number)), model.insert(number));
                } else {
                    prop_assert_eq!(bits.remove(PrefixId(number)), model.remove(&number));
                }
                prop_assert_eq!(bits.contains(PrefixId(number)), model.contains(&number));
            }
            prop_assert_eq!(bits.count, model.len());
            prop_assert!(bits.iter().map(|id| id.0).eq(model.iter().copied()));
            prop_assert_eq!(bits.next(PrefixId(from)).map(|id| id.0), model.range(from..).next().copied());
            for number in model {
                bits.remove(PrefixId(number));
            }
            prop_assert!(bits.chunks.is_empty());
        }
    }
}
