//! Intervals as they stand in packets, and what a session is to run with.

use serde::{Deserialize, Serialize};
use std::num::NonZeroU8;
use std::time::Duration;
use thiserror::Error;

/// A time between packets: whole microseconds, up to an hour and some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Interval(pub u32);

impl Interval {
    /// None: as a minimum to receive, "send me nothing".
    pub const ZERO: Self = Self(0);
    /// The least time between packets of a session that is not up (RFC 5880, 6.8.3).
    pub const SLOW: Self = Self(1_000_000);

    /// So many milliseconds, at most the longest interval.
    pub const fn from_millis(milliseconds: u32) -> Self {
        Self(milliseconds.saturating_mul(1000))
    }

    /// As a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_micros(self.0 as u64)
    }
}

/// How fast a session is to be: what is wished for; the neighbour's own wishes may slow it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawTimers", into = "RawTimers")]
pub struct Timers {
    desired_min_tx: Interval,
    required_min_rx: Interval,
    multiplier: NonZeroU8,
}

/// Why a session cannot run with these timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TimersError {
    /// Packets would follow each other without end.
    #[error("an interval of {} µs is too short: from {} µs on", .0.0, Timers::SHORTEST.0)]
    TooShort(Interval),
    /// A state would be detected hours later.
    #[error("an interval of {} µs is too long: up to {} µs", .0.0, Timers::LONGEST.0)]
    TooLong(Interval),
    /// Every pause would be an end.
    #[error("a multiplier of 0 means nothing: from 1 on")]
    NoMultiplier,
}

impl Timers {
    /// The shortest interval: a single late packet should not look like an end.
    pub const SHORTEST: Interval = Interval(5_000);
    /// The longest interval.
    pub const LONGEST: Interval = Interval(60_000_000);

    /// Checks the intervals.
    ///
    /// # Errors
    /// They make no sense.
    pub fn new(desired_min_tx: Interval, required_min_rx: Interval, multiplier: u8) -> Result<Self, TimersError> {
        for interval in [desired_min_tx, required_min_rx] {
            if interval < Self::SHORTEST {
                return Err(TimersError::TooShort(interval));
            }
            if interval > Self::LONGEST {
                return Err(TimersError::TooLong(interval));
            }
        }
        let multiplier = NonZeroU8::new(multiplier).ok_or(TimersError::NoMultiplier)?;
        Ok(Self { desired_min_tx, required_min_rx, multiplier })
    }

    /// The least time between packets that are sent.
    pub const fn desired_min_tx(self) -> Interval {
        self.desired_min_tx
    }

    /// The least time between packets that can be received.
    pub const fn required_min_rx(self) -> Interval {
        self.required_min_rx
    }

    /// How many packets in a row may be lost, and one more.
    pub const fn multiplier(self) -> NonZeroU8 {
        self.multiplier
    }
}

impl Default for Timers {
    /// 300 ms, three times: what most routers have, and what a virtual machine's pauses allow.
    fn default() -> Self {
        let usual = Interval::from_millis(300);
        Self { desired_min_tx: usual, required_min_rx: usual, multiplier: NonZeroU8::MIN.saturating_add(2) }
    }
}

/// Timers that nobody has looked at.
#[derive(Serialize, Deserialize)]
struct RawTimers {
    desired_min_tx: Interval,
    required_min_rx: Interval,
    multiplier: u8,
}

impl TryFrom<RawTimers> for Timers {
    type Error = TimersError;

    fn try_from(raw: RawTimers) -> Result<Self, TimersError> {
        Self::new(raw.desired_min_tx, raw.required_min_rx, raw.multiplier)
    }
}

impl From<Timers> for RawTimers {
    fn from(timers: Timers) -> Self {
        Self {
            desired_min_tx: timers.desired_min_tx,
            required_min_rx: timers.required_min_rx,
            multiplier: timers.multiplier.get(),
        }
    }
}

/// The time until the next packet (RFC 5880, 6.8.7): up to a quarter less than the interval, and with a multiplier of 1 at least a
/// tenth less. `random` is any number.
pub(crate) fn jittered(interval: Duration, multiplier: NonZeroU8, random: u32) -> Duration {
    let least = if multiplier.get() == 1 { 10.0 } else { 0.0 };
    let percent = least + (25.0 - least) * f64::from(random) / f64::from(u32::MAX);
    interval.mul_f64(1.0 - percent / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_that_make_no_sense_are_refused() {
        let usual = Interval::from_millis(300);
        assert_eq!(Timers::new(Interval::ZERO, usual, 3), Err(TimersError::TooShort(Interval::ZERO)));
        assert_eq!(Timers::new(usual, Interval(4_999), 3), Err(TimersError::TooShort(Interval(4_999))));
        assert_eq!(Timers::new(usual, Interval(u32::MAX), 3), Err(TimersError::TooLong(Interval(u32::MAX))));
        assert_eq!(Timers::new(usual, usual, 0), Err(TimersError::NoMultiplier));
        assert_eq!(Timers::new(usual, usual, 3), Ok(Timers::default()));
        let text = serde_json::to_string(&Timers::default()).unwrap();
        assert_eq!(serde_json::from_str::<Timers>(&text).unwrap(), Timers::default());
        assert!(serde_json::from_str::<Timers>(&text.replace(":3}", ":0}")).is_err());
    }

    #[test]
    fn jitter_takes_up_to_a_quarter_and_with_a_multiplier_of_one_never_less_than_a_tenth() {
        let second = Duration::from_secs(1);
        let [one, three] = [1, 3].map(|n| NonZeroU8::new(n).unwrap());
        assert_eq!(jittered(second, three, 0), second);
        assert_eq!(jittered(second, three, u32::MAX), Duration::from_millis(750));
        assert_eq!(jittered(second, one, 0), Duration::from_millis(900));
        assert_eq!(jittered(second, one, u32::MAX), Duration::from_millis(750));
    }
}
