//! How long to wait before asking again.

use ring::rand::{SecureRandom, SystemRandom};
use std::time::Duration;

/// Doubles from a little to a bound, each time with jitter, so that agents that lost a controller together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    bound: Duration,
    /// The bound of the first waits.
    soon: Duration,
    /// How many there were since it went well.
    waits: u32,
    next: Duration,
}

/// How many waits are the first ones.
const FIRST: u32 = 20;

impl Backoff {
    /// From a first wait to a bound.
    pub fn new(first: Duration, bound: Duration) -> Self {
        Self { first, bound, soon: bound, waits: 0, next: first }
    }

    /// The same, with another bound for the first waits: what is waited for is most often about to come.
    pub fn at_first(self, soon: Duration) -> Self {
        Self { soon: soon.min(self.bound), ..self }
    }

    /// It went well: the next wait is short again.
    pub fn reset(&mut self) {
        (self.next, self.waits) = (self.first, 0);
    }

    /// How long to wait: at least half of what is due, at most all of it.
    pub fn wait(&mut self) -> Duration {
        let due = self.next;
        self.waits = self.waits.saturating_add(1);
        self.next = (due * 2).min(if self.waits < FIRST { self.soon } else { self.bound });
        jittered(due)
    }
}

/// Between half of a time and all of it.
pub fn jittered(time: Duration) -> Duration {
    let mut byte = [0; 2];
    // Without randomness there is no jitter, which is no error.
    let _ = SystemRandom::new().fill(&mut byte);
    time / 2 + (time / 2).mul_f64(f64::from(u16::from_ne_bytes(byte)) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_bound_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for due in [100, 200, 400, 800, 1000, 1000] {
            let due = Duration::from_millis(due);
            let wait = backoff.wait();
            assert!(wait >= due / 2 && wait <= due, "{wait:?} of {due:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(100));
    }

    #[test]
    fn the_first_waits_are_short_and_the_later_ones_are_not() {
        let (first, soon, bound) = (Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(10));
        let mut backoff = Backoff::new(first, bound).at_first(soon);
        assert!((0..FIRST).all(|_| backoff.wait() <= soon));
        assert!((0..5).map(|_| backoff.wait()).last() >= Some(bound / 2));
        backoff.reset();
        assert!(backoff.wait() <= first);
    }
}
