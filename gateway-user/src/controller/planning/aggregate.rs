//! Many prefixes that go the same way, told as few.
//!
//! A prefix is left out if what it would be looked up by otherwise, the next shorter one, leads to the same; and two halves of a prefix that
//! lead to the same are told as one. What a longest match finds is the same before and after, for every address.
//!
//! A change costs what it changes: the prefix, those that it is a half of for as far as they follow, and those right below them.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// What is to be told, by prefix; nothing of those that are to be taken back.
pub type Changes<S> = BTreeMap<IpNet, Option<S>>;

/// A table of prefixes, and the same told as few.
#[derive(Clone, Debug)]
pub struct Aggregate<S> {
    /// What was put in, and the prefixes of which both halves lead to the same.
    entries: BTreeMap<IpNet, Entry<S>>,
    /// What is known otherwise, and looked up before what is shorter.
    barriers: BTreeSet<IpNet>,
    lengths: BTreeMap<(bool, u8), usize>,
    told: BTreeMap<IpNet, S>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry<S> {
    to: S,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It was put in.
    Own,
    /// It follows from its halves.
    Halves,
}

impl<S> Default for Aggregate<S> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), barriers: BTreeSet::new(), lengths: BTreeMap::new(), told: BTreeMap::new() }
    }
}

impl<S: Clone + PartialEq> Aggregate<S> {
    /// An empty table among prefixes that are known otherwise.
    pub fn among(barriers: &BTreeSet<IpNet>) -> Self {
        let mut table = Self { barriers: barriers.clone(), ..Self::default() };
        for barrier in barriers {
            *table.lengths.entry(length(barrier)).or_default() += 1;
        }
        table
    }

    /// What is told.
    pub fn told(&self) -> &BTreeMap<IpNet, S> {
        &self.told
    }

    /// A prefix leads there from here on, or nowhere. What is to be told differently is added to `changes`.
    pub fn put(&mut self, prefix: IpNet, to: Option<S>, changes: &mut Changes<S>) {
        let own = to.map(|to| Entry { to, origin: Origin::Own });
        let mut touched = Vec::new();
        let mut next = Some((prefix, own.or_else(|| self.of_halves(prefix))));
        while let Some((at, entry)) = next.take() {
            if self.entries.get(&at) == entry.as_ref() {
                break;
            }
            touched.push(at);
            self.enter(at, entry);
            next = at
                .supernet()
                .filter(|parent| self.entries.get(parent).is_none_or(|entry| entry.origin == Origin::Halves))
                .map(|parent| (parent, self.of_halves(parent)));
        }
        for at in touched {
            self.tell(at, changes);
            for below in self.right_below(at) {
                self.tell(below, changes);
            }
        }
    }

    fn enter(&mut self, at: IpNet, entry: Option<Entry<S>>) {
        let before = match entry {
            Some(entry) => {
                *self.lengths.entry(length(&at)).or_default() += 1;
                self.entries.insert(at, entry)
            }
            None => self.entries.remove(&at),
        };
        if before.is_some()
            && let Some(count) = self.lengths.get_mut(&length(&at))
        {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&length(&at));
            }
        }
    }

    /// What follows for a prefix from its halves.
    fn of_halves(&self, prefix: IpNet) -> Option<Entry<S>> {
        if self.barriers.contains(&prefix) {
            return None;
        }
        let mut halves = prefix.subnets(prefix.prefix_len().checked_add(1)?).ok()?;
        let (low, high) = (self.entries.get(&halves.next()?)?, self.entries.get(&halves.next()?)?);
        (low.to == high.to).then(|| Entry { to: low.to.clone(), origin: Origin::Halves })
    }

    /// What is looked up where a prefix is not told; nothing if that leads elsewhere, or nowhere.
    fn above(&self, prefix: IpNet) -> Option<&S> {
        let (family, own) = length(&prefix);
        let lengths = self.lengths.range((family, 0)..(family, own)).rev();
        for ((_, length), _) in lengths {
            let above = shortened(prefix, *length)?;
            if self.barriers.contains(&above) {
                return None;
            }
            if let Some(entry) = self.entries.get(&above) {
                return Some(&entry.to);
            }
        }
        None
    }

    /// Makes what is told of a prefix what it should be.
    fn tell(&mut self, prefix: IpNet, changes: &mut Changes<S>) {
        let entry = self.entries.get(&prefix);
        let wanted = entry.filter(|entry| self.above(prefix) != Some(&entry.to)).map(|entry| entry.to.clone());
        if self.told.get(&prefix) == wanted.as_ref() {
            return;
        }
        match &wanted {
            Some(to) => drop(self.told.insert(prefix, to.clone())),
            None => drop(self.told.remove(&prefix)),
        }
        changes.insert(prefix, wanted);
    }

    /// The longest prefixes within one.
    fn right_below(&self, prefix: IpNet) -> Vec<IpNet> {
        let (mut below, mut after, end) = (Vec::new(), prefix, last(prefix));
        while let Some((next, _)) =
            self.entries.range((Bound::Excluded(after), Bound::Included(end))).next().filter(|_| after < end)
        {
            below.push(*next);
            after = last(*next);
        }
        below
    }
}

/// What prefixes are counted by.
fn length(prefix: &IpNet) -> (bool, u8) {
    (prefix.addr().is_ipv6(), prefix.prefix_len())
}

/// The first bits of a prefix.
fn shortened(prefix: IpNet, length: u8) -> Option<IpNet> {
    Some(match prefix {
        IpNet::V4(net) => Ipv4Net::new(net.addr(), length).ok()?.trunc().into(),
        IpNet::V6(net) => Ipv6Net::new(net.addr(), length).ok()?.trunc().into(),
    })
}

/// The last address of a prefix: everything within it comes before, in order.
fn last(prefix: IpNet) -> IpNet {
    IpNet::from(prefix.broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn table(routes: &[(&str, u8)], barriers: &[&str]) -> Aggregate<u8> {
        let mut table = Aggregate::among(&barriers.iter().map(|text| net(text)).collect());
        for (prefix, to) in routes {
            table.put(net(prefix), Some(*to), &mut Changes::new());
        }
        table
    }

    fn told(table: &Aggregate<u8>) -> Vec<String> {
        table.told().iter().map(|(prefix, to)| format!("{prefix} {to}")).collect()
    }

    #[test]
    fn halves_become_one_and_what_is_covered_is_left_out() {
        let mut table = table(&[("10.0.0.0/24", 1), ("10.0.1.0/24", 1), ("10.0.1.128/25", 1), ("10.0.1.7/32", 2)], &[]);
        assert_eq!(told(&table), ["10.0.0.0/23 1", "10.0.1.7/32 2"]);
        let mut changes = Changes::new();
        table.put(net("10.0.0.0/24"), None, &mut changes);
        assert_eq!(changes, [(net("10.0.0.0/23"), None), (net("10.0.1.0/24"), Some(1))].into());
        table.put(net("2001:db8::/33"), Some(3), &mut changes);
        table.put(net("2001:db8:8000::/33"), Some(3), &mut changes);
        assert!(told(&table).contains(&"2001:db8::/32 3".to_owned()));
    }

    #[test]
    fn what_is_known_otherwise_stays_between() {
        assert_eq!(told(&table(&[("10.0.0.0/8", 1), ("10.1.2.0/24", 1)], &["10.1.0.0/16"])).len(), 2);
        assert_eq!(told(&table(&[("10.0.0.0/24", 1), ("10.0.1.0/24", 1)], &["10.0.0.0/23"])).len(), 2);
    }

    #[test]
    fn many_neighbours_are_few() {
        let mut table = Aggregate::default();
        for n in 0..1024u32 {
            let address = Ipv4Addr::from(0x0a00_0000 + (n << 8));
            table.put(Ipv4Net::new(address, 24).expect("a prefix").into(), Some(1), &mut Changes::new());
        }
        assert_eq!(told(&table), ["10.0.0.0/14 1"]);
    }

    fn prefix() -> impl Strategy<Value = IpNet> {
        (any::<u8>(), 24u8..=32)
            .prop_map(|(low, length)| IpNet::new(IpAddr::from([10, 0, 0, low]), length).expect("a prefix").trunc())
    }

    /// What a longest match finds: a route, what is known otherwise, or nothing.
    fn find<'a>(
        routes: impl Iterator<Item = (&'a IpNet, &'a u8)>,
        barriers: &BTreeSet<IpNet>,
        address: IpAddr,
    ) -> Option<Result<u8, IpNet>> {
        let routes = routes.filter(|(net, _)| net.contains(&address)).map(|(net, to)| (net.prefix_len(), Ok(*to)));
        let known = barriers.iter().filter(|net| net.contains(&address)).map(|net| (net.prefix_len(), Err(*net)));
        routes.chain(known).max_by_key(|(length, found)| (*length, found.is_err())).map(|(_, found)| found)
    }

    proptest! {
        #[test]
        fn a_longest_match_finds_the_same(
            steps in prop::collection::vec((prefix(), prop::option::of(0u8..3)), 0..80),
            barriers in prop::collection::btree_set(prefix(), 0..6),
        ) {
            let (mut table, mut naive) = (Aggregate::among(&barriers), BTreeMap::new());
            let mut heard: BTreeMap<IpNet, u8> = BTreeMap::new();
            for (prefix, to) in steps {
                match to {
                    Some(to) => drop(naive.insert(prefix, to)),
                    None => drop(naive.remove(&prefix)),
                }
                let mut changes = Changes::new();
                table.put(prefix, to, &mut changes);
                for (prefix, to) in changes {
                    match to {
                        Some(to) => drop(heard.insert(prefix, to)),
                        None => drop(heard.remove(&prefix)),
                    }
                }
            }
            prop_assert_eq!(&heard, table.told());
            prop_assert!(heard.len() <= naive.len());
            for low in 0..=255 {
                let address = IpAddr::from([10, 0, 0, low]);
                prop_assert_eq!(find(heard.iter(), &barriers, address), find(naive.iter(), &barriers, address));
            }
            let mut anew = Aggregate::among(&barriers);
            for (prefix, to) in &naive {
                anew.put(*prefix, Some(*to), &mut Changes::new());
            }
            prop_assert_eq!(anew.told(), table.told());
        }
    }
}
