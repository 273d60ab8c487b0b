//! Every distinct set of attributes once.

use super::{Attributes, Community, NextHop, Origin};
use super::{canonical, kind};
use crate::number::{Asn, RouterId};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;
use std::num::NonZeroU32;

/// Names an interned set of attributes. Worth something only to the store that gave it, while a reference is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributesId(NonZeroU32);

impl AttributesId {
    fn at(index: usize) -> Option<Self> {
        u32::try_from(index + 1).ok().and_then(NonZeroU32::new).map(Self)
    }

    const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Communities and attributes that decide where a route may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u16);

impl Marks {
    /// NO_EXPORT is among the communities.
    pub const NO_EXPORT: Self = Self(1);
    /// NO_ADVERTISE is.
    pub const NO_ADVERTISE: Self = Self(1 << 1);
    /// NO_EXPORT_SUBCONFED is.
    pub const NO_EXPORT_SUBCONFED: Self = Self(1 << 2);
    /// NOPEER is.
    pub const NO_PEER: Self = Self(1 << 3);
    /// LLGR_STALE is.
    pub const LLGR_STALE: Self = Self(1 << 4);
    /// NO_LLGR is.
    pub const NO_LLGR: Self = Self(1 << 5);
    /// The attribute Only to Customer is there.
    pub const ONLY_TO_CUSTOMER: Self = Self(1 << 6);
    /// A MULTI_EXIT_DISC is there.
    pub const MED: Self = Self(1 << 7);
    /// A LOCAL_PREF is there.
    pub const LOCAL_PREF: Self = Self(1 << 8);

    /// Whether a mark is there.
    pub const fn has(self, mark: Self) -> bool {
        self.0 & mark.0 != 0
    }

    fn of(attributes: &Attributes) -> Self {
        let mut marks = 0;
        for community in &attributes.communities {
            marks |= match *community {
                Community::NO_EXPORT => Self::NO_EXPORT.0,
                Community::NO_ADVERTISE => Self::NO_ADVERTISE.0,
                Community::NO_EXPORT_SUBCONFED => Self::NO_EXPORT_SUBCONFED.0,
                Community::NO_PEER => Self::NO_PEER.0,
                Community::LLGR_STALE => Self::LLGR_STALE.0,
                Community::NO_LLGR => Self::NO_LLGR.0,
                _ => 0,
            };
        }
        for (there, mark) in [
            (attributes.only_to_customer.is_some(), Self::ONLY_TO_CUSTOMER),
            (attributes.med.is_some(), Self::MED),
            (attributes.local_pref.is_some(), Self::LOCAL_PREF),
        ] {
            marks |= if there { mark.0 } else { 0 };
        }
        Self(marks)
    }
}

/// What the decision process compares, so that it need not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The next hop's global address and its link-local one.
    pub next_hop: NextHop,
    /// The weight.
    pub weight: u32,
    /// LOCAL_PREF, 100 where there is none.
    pub local_pref: u32,
    /// MULTI_EXIT_DISC, 0 where there is none ([`Marks::MED`] tells).
    pub med: u32,
    /// The path's length as the decision counts it.
    pub path_length: u32,
    /// The neighbouring system that MEDs are compared within.
    pub neighbour_asn: Option<Asn>,
    /// ORIGINATOR_ID.
    pub originator_id: Option<RouterId>,
    /// How many clusters the route was reflected in.
    pub cluster_list_length: u16,
    /// ORIGIN.
    pub origin: Origin,
    /// Where it may go.
    pub marks: Marks,
}

/// LOCAL_PREF of a route that came without.
pub(crate) const DEFAULT_LOCAL_PREF: u32 = 100;

impl Summary {
    pub(crate) fn of(attributes: &Attributes) -> Self {
        Self {
            next_hop: attributes.next_hop,
            weight: attributes.weight,
            local_pref: attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
            med: attributes.med.unwrap_or_default(),
            path_length: attributes.as_path.length(),
            neighbour_asn: attributes.as_path.neighbour(),
            originator_id: attributes.originator_id,
            cluster_list_length: u16::try_from(attributes.cluster_list.len()).unwrap_or(u16::MAX),
            origin: attributes.origin,
            marks: Marks::of(attributes),
        }
    }
}

#[derive(Debug)]
struct Slot {
    canonical: Box<[u8]>,
    /// 0: free.
    references: u32,
    /// Another for each set, so that a weak name does not find the set that came after.
    generation: u32,
    hash: u64,
    summary: Summary,
}

/// Names a set without keeping it: finds it again while somebody else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WeakAttributes {
    id: AttributesId,
    generation: u32,
}

impl WeakAttributes {
    pub(crate) const fn index(self) -> usize {
        self.id.index()
    }
}

/// Interned attributes, counted by reference.
///
/// [`intern`](Self::intern) and [`retain`](Self::retain) take a reference, [`release`](Self::release) gives one back; the
/// last one back frees the set. Reading one that is not held gives the empty set, never another tenant's memory.
#[derive(Debug, Default)]
pub struct AttributeStore {
    slots: Vec<Slot>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    scratch: Vec<u8>,
    bytes: usize,
    generation: u32,
}

impl AttributeStore {
    /// Takes a reference to the set, which is stored if it is not yet known.
    pub fn intern(&mut self, attributes: &Attributes) -> AttributesId {
        self.scratch.clear();
        attributes.encode(&mut self.scratch);
        let hash = self.hasher.hash_one(self.scratch.as_slice());
        let (slots, scratch) = (&self.slots, &self.scratch);
        if let Some(&index) = self.index.find(hash, |&index| *slots[index as usize].canonical == **scratch) {
            self.slots[index as usize].references += 1;
            return AttributesId::at(index as usize).expect("it was given before");
        }
        let canonical: Box<[u8]> = self.scratch.as_slice().into();
        self.bytes += canonical.len();
        let summary = Summary::of(attributes);
        self.generation = self.generation.wrapping_add(1);
        let slot = Slot { canonical, references: 1, generation: self.generation, hash, summary };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                // Each slot costs a hundred octets and more: memory ends long before the numbers do.
                u32::try_from(self.slots.len() - 1).expect("four thousand million sets of attributes")
            }
        };
        let slots = &self.slots;
        self.index.insert_unique(hash, index, |&index| slots[index as usize].hash);
        AttributesId::at(index as usize).expect("checked when the slot was made")
    }

    /// Takes one more reference to a set that is held.
    pub fn retain(&mut self, id: AttributesId) {
        if let Some(slot) = self.slots.get_mut(id.index()).filter(|slot| slot.references > 0) {
            slot.references += 1;
        }
    }

    /// Gives a reference back.
    pub fn release(&mut self, id: AttributesId) {
        let Some(slot) = self.slots.get_mut(id.index()).filter(|slot| slot.references > 0) else { return };
        slot.references -= 1;
        if slot.references > 0 {
            return;
        }
        let (hash, index) = (slot.hash, id.index() as u32);
        self.bytes -= slot.canonical.len();
        slot.canonical = Box::default();
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
        self.free.push(index);
        if self.index.is_empty() {
            // After the last route nothing is kept of the memory of a flood.
            self.slots = Vec::new();
            self.free = Vec::new();
            self.index = HashTable::new();
        }
    }

    /// The numbers to compare. Panics on an id that this store never gave.
    pub fn summary(&self, id: AttributesId) -> &Summary {
        &self.slots[id.index()].summary
    }

    /// The canonical bytes: see [`Attributes::encode`].
    pub fn canonical(&self, id: AttributesId) -> &[u8] {
        &self.slots[id.index()].canonical
    }

    /// The octets of the AS_PATH.
    pub(crate) fn as_path_octets(&self, id: AttributesId) -> &[u8] {
        let mut bytes = self.canonical(id);
        while let Some(Some((_, code, value))) = canonical::next(&mut bytes) {
            if code == kind::AS_PATH {
                return value;
            }
        }
        &[]
    }

    /// The whole set, decoded.
    pub fn get(&self, id: AttributesId) -> Attributes {
        Attributes::decode(self.canonical(id)).unwrap_or_default()
    }

    /// How many sets are held.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// How many octets the sets take, roughly: what is allocated for them and for finding them.
    pub fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.bytes + self.index.allocation_size() + self.free.capacity() * 4
    }

    pub(crate) fn weak(&self, id: AttributesId) -> WeakAttributes {
        WeakAttributes { id, generation: self.slots[id.index()].generation }
    }

    pub(crate) fn upgrade(&mut self, weak: WeakAttributes) -> Option<AttributesId> {
        let slot = self.slots.get_mut(weak.id.index())?;
        let held = slot.references > 0 && slot.generation == weak.generation;
        slot.references += u32::from(held);
        held.then_some(weak.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::AsPath;

    fn set(asn: u32) -> Attributes {
        Attributes { as_path: AsPath::sequence([asn]), ..Attributes::default() }
    }

    #[test]
    fn equal_sets_are_one_and_the_last_reference_frees_it() {
        let mut store = AttributeStore::default();
        let (one, other) = (store.intern(&set(1)), store.intern(&set(2)));
        assert_eq!(store.intern(&set(1)), one);
        assert_ne!(one, other);
        assert_eq!(store.len(), 2);
        assert_eq!(store.get(other), set(2));
        store.release(one);
        assert_eq!(store.len(), 2);
        store.release(one);
        store.release(one);
        assert_eq!(store.len(), 1);
        store.release(other);
        assert!(store.is_empty());
    }

    #[test]
    fn a_weak_name_does_not_find_the_set_that_came_after() {
        let mut store = AttributeStore::default();
        let held = store.intern(&set(7));
        let first = store.intern(&set(1));
        let weak = store.weak(first);
        assert_eq!(store.upgrade(weak), Some(first));
        store.release(first);
        store.release(first);
        assert_eq!(store.upgrade(weak), None);
        assert_eq!(store.intern(&set(2)), first, "the slot is used again");
        assert_eq!(store.upgrade(weak), None);
        store.release(held);
    }

    #[test]
    fn a_flood_leaves_no_memory_behind() {
        let mut store = AttributeStore::default();
        for round in 0..50 {
            let ids: Vec<_> = (0..100).map(|asn| store.intern(&set(round * 1000 + asn))).collect();
            ids.into_iter().for_each(|id| store.release(id));
        }
        assert!(store.is_empty());
        assert_eq!(store.memory(), 0);
    }
}
