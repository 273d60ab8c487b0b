//! How long to wait before asking again.

use ring::rand::{SecureRandom, SystemRandom};
use std::time::Duration;

/// Doubles from a little to a bound, each time with jitter, so that agents that lost a controller together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    bound: Duration,
    next: Duration,
}

impl Backoff {
    /// From a first wait to a bound.
    pub fn new(first: Duration, bound: Duration) -> Self {
        Self { first, bound, next: first }
    }

    /// It went well: the next wait is short again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait: at least half of what is due, at most all of it.
    pub fn wait(&mut self) -> Duration {
        let due = self.next;
        self.next = (due * 2).min(self.bound);
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
}
