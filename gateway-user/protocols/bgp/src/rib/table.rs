//! The prefixes with their paths: 40 octets for a prefix of IPv4 with one path, and 10 to find it.

use super::NeighbourId;
use crate::attributes::AttributesId;
use crate::number::{Family, PathId};
use hashbrown::{DefaultHashBuilder, HashTable};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::hash::BuildHasher;

/// Names a prefix while it has paths, or somebody must still be told that it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PrefixId(pub u32);

/// What is special about a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PathFlags(u16);

impl PathFlags {
    /// Kept over a restart of its neighbour (RFC 4724).
    pub const STALE: Self = Self(1);
    /// Not sent again since an enhanced refresh began (RFC 7313).
    pub const REFRESHING: Self = Self(1 << 1);
    /// Refused on import, kept for soft reconfiguration.
    pub const REJECTED: Self = Self(1 << 2);
    /// Suppressed by damping.
    pub const DAMPED: Self = Self(1 << 3);

    pub const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub const fn with(self, flag: Self) -> Self {
        Self(self.0 | flag.0)
    }

    pub const fn without(self, flag: Self) -> Self {
        Self(self.0 & !flag.0)
    }
}

/// One path to a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub neighbour: NeighbourId,
    pub path_id: PathId,
    /// After the import policy.
    pub attributes: AttributesId,
    /// Before it, where they are kept and differ.
    pub received: Option<AttributesId>,
    /// Seconds of the clock when the path came to be as it is.
    pub since: u32,
    /// What tells it from the prefix's other paths where several are sent (RFC 7911).
    pub local_id: u16,
    pub flags: PathFlags,
}

#[derive(Clone, Debug, Default)]
enum Paths {
    #[default]
    None,
    One(Path),
    /// Two or more: where they are.
    Many(u32),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The address of IPv4, or the place where that of IPv6 is.
    address: u32,
    length: u8,
    family: Family,
    /// How many of the paths, from the first, are used for forwarding.
    pub chosen: u16,
    /// For how many reasons the prefix stays although it has no path: neighbours that were sent it, and so on.
    pub holds: u32,
    paths: Paths,
}

/// All prefixes.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    v4: HashTable<u32>,
    v6: HashTable<u32>,
    addresses: Vec<u128>,
    free_addresses: Vec<u32>,
    many: Vec<Vec<Path>>,
    free_many: Vec<u32>,
    hasher: DefaultHashBuilder,
}

fn grow<T>(items: &mut Vec<T>, free: &mut Vec<u32>, item: T) -> u32 {
    if let Some(index) = free.pop() {
        items[index as usize] = item;
        return index;
    }
    // A page at a time behind the first million: doubling would reserve what is never used.
    if items.len() == items.capacity() && items.len() > 1 << 16 {
        items.reserve_exact(items.len() / 8);
    }
    items.push(item);
    u32::try_from(items.len() - 1).expect("memory ends before four thousand million prefixes")
}

impl Table {
    fn hash(&self, prefix: IpNet) -> u64 {
        match prefix {
            IpNet::V4(net) => self.hasher.hash_one((u32::from(net.addr()), net.prefix_len())),
            IpNet::V6(net) => self.hasher.hash_one((u128::from(net.addr()), net.prefix_len())),
        }
    }

    fn prefix_of(addresses: &[u128], entry: &Entry) -> IpNet {
        match entry.family {
            Family::Ipv4 => IpNet::V4(Ipv4Net::new(entry.address.into(), entry.length).unwrap_or_default()),
            Family::Ipv6 => {
                let address = addresses[entry.address as usize];
                IpNet::V6(Ipv6Net::new(address.into(), entry.length).unwrap_or_default())
            }
        }
    }

    pub fn find(&self, prefix: IpNet) -> Option<PrefixId> {
        let hash = self.hash(prefix);
        let same = |entry: &Entry| match prefix {
            IpNet::V4(net) => entry.address == u32::from(net.addr()) && entry.length == net.prefix_len(),
            IpNet::V6(net) => {
                self.addresses[entry.address as usize] == u128::from(net.addr()) && entry.length == net.prefix_len()
            }
        };
        let index = if prefix.addr().is_ipv4() { &self.v4 } else { &self.v6 };
        index.find(hash, |&index| self.entries[index as usize].as_ref().is_some_and(same)).copied().map(PrefixId)
    }

    /// The prefix, which is put in where it is missing.
    pub fn insert(&mut self, prefix: IpNet) -> PrefixId {
        if let Some(id) = self.find(prefix) {
            return id;
        }
        let hash = self.hash(prefix);
        let (address, family) = match prefix {
            IpNet::V4(net) => (u32::from(net.addr()), Family::Ipv4),
            IpNet::V6(net) => (grow(&mut self.addresses, &mut self.free_addresses, net.addr().into()), Family::Ipv6),
        };
        let entry = Entry { address, length: prefix.prefix_len(), family, chosen: 0, holds: 0, paths: Paths::None };
        let id = grow(&mut self.entries, &mut self.free, Some(entry));
        let (entries, addresses, hasher) = (&self.entries, &self.addresses, &self.hasher);
        let rehash = |&index: &u32| match &entries[index as usize] {
            Some(entry) if entry.family == Family::Ipv4 => hasher.hash_one((entry.address, entry.length)),
            Some(entry) => hasher.hash_one((addresses[entry.address as usize], entry.length)),
            None => 0,
        };
        match family {
            Family::Ipv4 => self.v4.insert_unique(hash, id, rehash),
            Family::Ipv6 => self.v6.insert_unique(hash, id, rehash),
        };
        PrefixId(id)
    }

    /// Takes a prefix out that has neither paths nor holds.
    pub fn remove_unused(&mut self, id: PrefixId) {
        let Some(entry) = &self.entries[id.0 as usize] else { return };
        if entry.holds > 0 || !matches!(entry.paths, Paths::None) {
            return;
        }
        let hash = self.hash(Self::prefix_of(&self.addresses, entry));
        let index = match entry.family {
            Family::Ipv4 => &mut self.v4,
            Family::Ipv6 => {
                self.free_addresses.push(entry.address);
                &mut self.v6
            }
        };
        if let Ok(found) = index.find_entry(hash, |&other| other == id.0) {
            found.remove();
        }
        self.entries[id.0 as usize] = None;
        self.free.push(id.0);
    }

    /// Gives back the memory of a table that has become much smaller.
    pub fn shrink(&mut self) {
        let (entries, addresses, hasher) = (&self.entries, &self.addresses, &self.hasher);
        let rehash = |&index: &u32| match &entries[index as usize] {
            Some(entry) if entry.family == Family::Ipv4 => hasher.hash_one((entry.address, entry.length)),
            Some(entry) => hasher.hash_one((addresses[entry.address as usize], entry.length)),
            None => 0,
        };
        for index in [&mut self.v4, &mut self.v6] {
            if index.len() < index.capacity() / 4 {
                index.shrink_to(index.len() * 2, rehash);
            }
        }
        if self.len() == 0 && !self.entries.is_empty() {
            *self = Self { hasher: self.hasher.clone(), ..Self::default() };
        }
    }

    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    pub fn len_of(&self, family: Family) -> usize {
        match family {
            Family::Ipv4 => self.v4.len(),
            Family::Ipv6 => self.v6.len(),
        }
    }

    pub fn ids(&self) -> impl Iterator<Item = PrefixId> + use<'_> {
        self.entries.iter().enumerate().filter(|(_, entry)| entry.is_some()).map(|(index, _)| PrefixId(index as u32))
    }

    /// One past the highest place that was ever used.
    pub fn end(&self) -> usize {
        self.entries.len()
    }

    pub fn get(&self, id: PrefixId) -> Option<&Entry> {
        self.entries.get(id.0 as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, id: PrefixId) -> Option<&mut Entry> {
        self.entries.get_mut(id.0 as usize)?.as_mut()
    }

    pub fn family(&self, id: PrefixId) -> Family {
        self.get(id).map_or(Family::Ipv4, |entry| entry.family)
    }

    /// The prefix of an id that is in use.
    pub fn prefix(&self, id: PrefixId) -> IpNet {
        self.get(id).map_or(IpNet::V4(Ipv4Net::default()), |entry| Self::prefix_of(&self.addresses, entry))
    }

    pub fn paths(&self, id: PrefixId) -> &[Path] {
        match self.get(id).map(|entry| &entry.paths) {
            None | Some(Paths::None) => &[],
            Some(Paths::One(path)) => std::slice::from_ref(path),
            Some(Paths::Many(place)) => &self.many[*place as usize],
        }
    }

    pub fn paths_mut(&mut self, id: PrefixId) -> &mut [Path] {
        match self.entries.get_mut(id.0 as usize).and_then(Option::as_mut).map(|entry| &mut entry.paths) {
            None | Some(Paths::None) => &mut [],
            Some(Paths::One(path)) => std::slice::from_mut(path),
            Some(Paths::Many(place)) => &mut self.many[*place as usize],
        }
    }

    /// The paths in use for forwarding, the best first.
    pub fn chosen(&self, id: PrefixId) -> &[Path] {
        let count = self.get(id).map_or(0, |entry| usize::from(entry.chosen));
        self.paths(id).get(..count).unwrap_or_default()
    }

    pub fn best(&self, id: PrefixId) -> Option<Path> {
        self.chosen(id).first().copied()
    }

    pub fn add_path(&mut self, id: PrefixId, path: Path) {
        let Some(entry) = self.entries.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        match entry.paths {
            Paths::None => entry.paths = Paths::One(path),
            Paths::One(first) => {
                entry.paths = Paths::Many(grow(&mut self.many, &mut self.free_many, vec![first, path]));
            }
            Paths::Many(place) => self.many[place as usize].push(path),
        }
    }

    /// Takes out the path at a position. What was chosen must be decided again.
    pub fn remove_path(&mut self, id: PrefixId, position: usize) {
        let Some(entry) = self.entries.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        match entry.paths {
            Paths::None => {}
            Paths::One(_) => entry.paths = Paths::None,
            Paths::Many(place) => {
                let paths = &mut self.many[place as usize];
                paths.remove(position);
                if let [only] = paths[..] {
                    entry.paths = Paths::One(only);
                    *paths = Vec::new();
                    self.free_many.push(place);
                }
            }
        }
    }

    pub fn memory(&self) -> usize {
        let paths: usize = self.many.iter().map(|paths| paths.capacity() * size_of::<Path>()).sum();
        self.entries.capacity() * size_of::<Option<Entry>>()
            + self.v4.allocation_size()
            + self.v6.allocation_size()
            + self.addresses.capacity() * 16
            + self.many.capacity() * size_of::<Vec<Path>>()
            + paths
            + (self.free.capacity() + self.free_many.capacity() + self.free_addresses.capacity()) * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_costs_what_the_module_says() {
        assert_eq!(size_of::<Path>(), 24);
        assert_eq!(size_of::<Option<Entry>>(), 40);
    }
}
