//! Points in time of one machine's monotonic clock, as protocol code takes them: told, never read.

use core::ops::{Add, Sub};
use core::time::Duration;

/// Nanoseconds of a monotonic clock. Where it started is its owner's affair; on a gateway it is `CLOCK_MONOTONIC`,
/// which is also what `bpf_ktime_get_ns` reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// How long after `earlier` this is; zero where it is before.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// Stays at the end of the clock's range where the sum is beyond it: 584 years.
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(later.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    /// Stays at the start of the clock's range where the difference is before it.
    fn sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(earlier.as_nanos()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_inside_its_range() {
        let end = Moment(u64::MAX);
        assert_eq!(end + Duration::MAX, end);
        assert_eq!(Moment(5) - Duration::from_nanos(6), Moment(0));
        assert_eq!(Moment(5).since(Moment(7)), Duration::ZERO);
        assert_eq!((Moment(5) + Duration::from_nanos(2)).since(Moment(5)), Duration::from_nanos(2));
    }
}
