//! The VIPs that are in use, and which is the next free one.

use super::fleet::less_one;
use super::spec::VipRange;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that are taken, as runs of neighbours: finding the next free one looks at one run only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    v4: Runs,
    v6: Runs,
    /// How many times more than once an address is taken: while a VIP moves, tenant by tenant, two gateways have it.
    again: BTreeMap<IpAddr, usize>,
}

/// First to last address of each run; between two runs there is at least one free address.
type Runs = BTreeMap<u128, u128>;

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl Taken {
    fn of(&self, address: IpAddr) -> &Runs {
        if address.is_ipv4() { &self.v4 } else { &self.v6 }
    }

    fn of_mut(&mut self, address: IpAddr) -> &mut Runs {
        if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }

    /// Takes an address.
    pub fn insert(&mut self, address: IpAddr) {
        let runs = self.of_mut(address);
        let at = number(address);
        let before = runs.range(..=at).next_back().map(|(&first, &last)| (first, last));
        if before.is_some_and(|(_, last)| last >= at) {
            *self.again.entry(address).or_default() += 1;
            return;
        }
        let first = before.filter(|(_, last)| last + 1 == at).map_or(at, |(first, _)| first);
        let last = at.checked_add(1).and_then(|next| runs.remove(&next)).unwrap_or(at);
        runs.insert(first, last);
    }

    /// Gives an address back, as often as it was taken.
    pub fn remove(&mut self, address: IpAddr) {
        if self.again.contains_key(&address) {
            less_one(&mut self.again, &address);
            return;
        }
        let runs = self.of_mut(address);
        let at = number(address);
        let Some((&first, &last)) = runs.range(..=at).next_back().filter(|(_, last)| **last >= at) else { return };
        if first == at {
            runs.remove(&first);
        } else {
            runs.insert(first, at - 1);
        }
        if at < last {
            runs.insert(at + 1, last);
        }
    }

    /// The addresses that are taken more than once.
    pub fn several_times(&self) -> impl Iterator<Item = IpAddr> {
        self.again.keys().copied()
    }

    /// The lowest free address of a range.
    pub fn first_free(&self, range: &VipRange) -> Option<IpAddr> {
        let first = number(range.first);
        let run = self.of(range.first).range(..=first).next_back();
        let free = match run {
            Some((_, &last)) if last >= first => last.checked_add(1)?,
            _ => first,
        };
        let address = match range.first {
            IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(free).ok()?).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(free).into(),
        };
        range.contains(address).then_some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(first: &str, last: &str) -> VipRange {
        VipRange { first: first.parse().expect("an address"), last: last.parse().expect("an address") }
    }

    #[test]
    fn the_lowest_free_address_is_next() {
        let range = range("10.0.0.1", "10.0.0.3");
        let mut taken = Taken::default();
        let mut drawn = Vec::new();
        while let Some(address) = taken.first_free(&range) {
            taken.insert(address);
            drawn.push(address.to_string());
        }
        assert_eq!(drawn, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        taken.remove("10.0.0.2".parse().expect("an address"));
        assert_eq!(taken.first_free(&range), Some("10.0.0.2".parse().expect("an address")));
    }

    #[test]
    fn the_ends_of_the_address_space_are_addresses_like_others() {
        let (v4, v6) = (
            range("255.255.255.255", "255.255.255.255"),
            range("ffff::ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        );
        let mut taken = Taken::default();
        taken.insert(v4.first);
        assert_eq!(taken.first_free(&v4), None);
        taken.insert(v6.last);
        assert_eq!(taken.first_free(&VipRange { first: v6.last, last: v6.last }), None);
        assert_eq!(taken.first_free(&v6), Some(v6.first));
    }

    proptest! {
        #[test]
        fn runs_equal_counts(steps in proptest::collection::vec((any::<bool>(), 0u8..24), 0..80), from in 0u8..24) {
            let mut taken = Taken::default();
            let mut counts = [0usize; 30];
            for (insert, at) in steps {
                let address = IpAddr::from([10, 0, 0, at]);
                if insert {
                    taken.insert(address);
                    counts[usize::from(at)] += 1;
                } else {
                    taken.remove(address);
                    counts[usize::from(at)] -= counts[usize::from(at)].min(1);
                }
                let free = (from..30).find(|at| counts[usize::from(*at)] == 0).map(|at| IpAddr::from([10, 0, 0, at]));
                let several = (0..30).filter(|at| counts[usize::from(*at)] > 1).map(|at| IpAddr::from([10, 0, 0, at]));
                prop_assert!(taken.several_times().eq(several));
                prop_assert_eq!(taken.first_free(&VipRange { first: [10, 0, 0, from].into(), last: [10, 0, 0, 29].into() }), free);
            }
        }
    }
}
