//! What is left to chance: the jitter of timers (RFC 4271, 10). Its seed comes from outside, so runs can be repeated.

use std::time::Duration;

/// SplitMix64.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between three quarters of it and all of it.
    pub fn jittered(&mut self, duration: Duration) -> Duration {
        duration * 3 / 4 + duration / 4 / 1024 * u32::try_from(self.next() % 1024).unwrap_or_default()
    }
}
