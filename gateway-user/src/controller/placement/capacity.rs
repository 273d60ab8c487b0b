//! How much of a gateway a connection takes, exactly.
//!
//! Every type of connection costs more of a gateway's capacity than its own bandwidth: encryption and tunnels take processing. Both rules
//! give each type a *ratio* (its maximum on an otherwise empty gateway, over the capacity), and a connection takes bandwidth / ratio:
//!
//! | rule | IPsec | GRE | L3 |
//! |---|---|---|---|
//! | ratios (2016) | 3/20 | 1/5 | 1/2 |
//! | maxima (2019) | 5 Gbit/s / C | 15 Gbit/s / C | 5 Gbit/s / C |
//!
//! where a maximum above the capacity C counts as C. All of that is whole in units of 1/15,000,000 kbit/s, so nothing is ever rounded. That
//! a type may not exceed its own maximum needs no second check: what it takes of the whole is never less than its share of that maximum.

use super::spec::IpsecPath;
use crate::controller::model::fabric::CapacityRule;
use crate::controller::model::tenant::ConnectionType;
use serde::Serialize;

/// The greatest rate that is counted, in kbit/s; greater ones count as this much. It is far above any gateway's capacity.
pub const MAX_KBPS: u64 = 1 << 48;

/// Units of capacity in one kbit/s.
const UNIT: i128 = 15_000_000;
/// The maxima of the 2019 rule, in kbit/s.
const MAX_IPSEC: i128 = 5_000_000;
const MAX_GRE: i128 = 15_000_000;
const MAX_L3: i128 = 5_000_000;

/// The limits of a connection, in kbit/s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Bandwidth {
    /// From the site.
    pub inbound: u64,
    /// To the site.
    pub outbound: u64,
}

impl Bandwidth {
    /// What is counted: both directions together.
    pub const fn total(self) -> u64 {
        let sum = self.inbound.saturating_add(self.outbound);
        if sum < MAX_KBPS { sum } else { MAX_KBPS }
    }
}

/// A type's place in an array.
pub(super) const fn slot(kind: ConnectionType) -> usize {
    match kind {
        ConnectionType::IpSec => 0,
        ConnectionType::Gre => 1,
        ConnectionType::L3 => 2,
    }
}

/// What a gateway of a pool can carry, and what connections take of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    /// All of it, in units.
    total: i128,
    /// What one kbit/s of each type takes, in units.
    weights: [i128; 3],
}

impl Capacity {
    /// Of a gateway with a capacity in kbit/s.
    pub fn new(kbps: u64, rule: CapacityRule, ipsec: IpsecPath) -> Self {
        let kbps = i128::from(kbps.min(MAX_KBPS));
        let by_ratio = [UNIT / 3 * 20, UNIT * 5, UNIT * 2];
        // C / maximum; 1 where the maximum is above C.
        let by_maximum = [MAX_IPSEC, MAX_GRE, MAX_L3].map(|most| UNIT / most * kbps.max(most));
        let mut weights = match rule {
            CapacityRule::Ratios => by_ratio,
            CapacityRule::Maxima => by_maximum,
        };
        if ipsec == IpsecPath::Classic {
            weights[0] = by_ratio[0];
        }
        Self { total: kbps * UNIT, weights }
    }

    /// All of it, in units.
    pub const fn total(&self) -> i128 {
        self.total
    }

    /// What a bandwidth of a type takes, in units.
    pub fn cost(&self, kind: ConnectionType, kbps: u64) -> i128 {
        self.weights[slot(kind)] * i128::from(kbps)
    }

    /// What is taken by sums of bandwidths, by type.
    pub fn used(&self, carried: &[u128; 3]) -> i128 {
        self.weights
            .iter()
            .zip(carried)
            .map(|(weight, &kbps)| weight * i128::try_from(kbps).unwrap_or(i128::MAX >> 64))
            .sum()
    }

    /// What has to stay free for the use to be at most so many percent.
    pub const fn reserve(&self, percent: u8) -> i128 {
        let free = 100 - if percent < 100 { percent as i128 } else { 100 };
        (self.total * free + 99) / 100
    }

    /// How much of a type fits into so many units, in kbit/s, rounded down.
    pub fn room(&self, kind: ConnectionType, units: i128) -> u64 {
        let weight = self.weights[slot(kind)];
        u64::try_from(units.max(0) / weight).unwrap_or(u64::MAX).min(MAX_KBPS)
    }

    /// The most of a type that an empty gateway carries, in kbit/s, rounded down.
    pub fn most(&self, kind: ConnectionType) -> u64 {
        self.room(kind, self.total)
    }

    /// How full a gateway is with so many units free, in percent, rounded up.
    pub fn percent_used(&self, remaining: i128) -> u64 {
        let used = (self.total - remaining).max(0);
        if self.total == 0 {
            if used == 0 { 0 } else { 100 }
        } else {
            u64::try_from((used * 100 + self.total - 1) / self.total).unwrap_or(u64::MAX)
        }
    }
}

/// Units as kbit/s of capacity, rounded down; never below 0.
pub(super) fn kbps(units: i128) -> u64 {
    u64::try_from(units.max(0) / UNIT).unwrap_or(u64::MAX)
}

/// Units as kbit/s of capacity, rounded up; never below 0.
pub(super) fn kbps_up(units: i128) -> u64 {
    u64::try_from((units.max(0) + UNIT - 1) / UNIT).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConnectionType::{Gre, IpSec, L3};

    const GBPS: u64 = 1_000_000;

    #[test]
    fn the_specification_s_sample_to_the_last_kilobit() {
        let capacity = Capacity::new(104_857_600, CapacityRule::Ratios, IpsecPath::Fast);
        let each = u128::from(Bandwidth { inbound: 307_200, outbound: 307_200 }.total());
        let used = capacity.used(&[20 * each, each, each]);
        assert_eq!((kbps(used), used % UNIT), (86_220_800, 0));
        assert_eq!(kbps(capacity.total() - used), 18_636_800);
    }

    #[test]
    fn the_example_of_the_2019_rule() {
        let capacity = Capacity::new(25 * GBPS, CapacityRule::Maxima, IpsecPath::Fast);
        let left = capacity.total() - capacity.cost(IpSec, 2 * GBPS);
        assert_eq!(kbps(left), 15 * GBPS);
        assert_eq!(capacity.room(IpSec, left), 3 * GBPS);
        assert_eq!(capacity.room(Gre, left), 9 * GBPS);
        assert_eq!([IpSec, Gre, L3].map(|kind| capacity.most(kind)), [5 * GBPS, 15 * GBPS, 5 * GBPS]);
    }

    #[test]
    fn ratios_limit_each_type_to_its_share() {
        let capacity = Capacity::new(20_000, CapacityRule::Ratios, IpsecPath::Fast);
        assert_eq!([IpSec, Gre, L3].map(|kind| capacity.most(kind)), [3_000, 4_000, 10_000]);
    }

    #[test]
    fn a_maximum_above_the_capacity_is_the_capacity() {
        let capacity = Capacity::new(4 * GBPS, CapacityRule::Maxima, IpsecPath::Fast);
        assert_eq!([IpSec, Gre, L3].map(|kind| capacity.most(kind)), [4 * GBPS; 3]);
        assert_eq!(kbps(capacity.cost(Gre, 7)), 7);
        let between = Capacity::new(10 * GBPS, CapacityRule::Maxima, IpsecPath::Fast);
        assert_eq!([IpSec, Gre, L3].map(|kind| between.most(kind)), [5 * GBPS, 10 * GBPS, 5 * GBPS]);
    }

    #[test]
    fn ipsec_keeps_its_ratio_while_a_gateway_of_the_pool_is_classic() {
        let capacity = Capacity::new(20 * GBPS, CapacityRule::Maxima, IpsecPath::Classic);
        assert_eq!([IpSec, Gre, L3].map(|kind| capacity.most(kind)), [3 * GBPS, 15 * GBPS, 5 * GBPS]);
    }

    #[test]
    fn the_greatest_rates_do_not_overflow() {
        let capacity = Capacity::new(u64::MAX, CapacityRule::Maxima, IpsecPath::Fast);
        let most = Bandwidth { inbound: u64::MAX, outbound: u64::MAX }.total();
        assert_eq!(most, MAX_KBPS);
        let used = capacity.used(&[u128::from(most) * 1_000_000; 3]);
        assert!(used > capacity.total() && capacity.cost(IpSec, most) > 0);
        assert!(capacity.reserve(80) > 0 && capacity.percent_used(capacity.total() - used) > 100);
    }

    #[test]
    fn nothing_has_room_for_nothing() {
        let capacity = Capacity::new(0, CapacityRule::Maxima, IpsecPath::Fast);
        assert_eq!((capacity.most(Gre), capacity.cost(Gre, 0), capacity.percent_used(0)), (0, 0, 0));
    }
}
