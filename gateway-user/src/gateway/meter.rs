//! Rates of what the data plane counts, for the controller.

use crate::agent::protocol::{ConnectionCounters, Rates};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The shortest time that rates are taken over: a plan that changes makes the agent look again at once.
const SHORTEST: Duration = Duration::from_secs(2);

/// What was counted, by whatever it is counted for.
pub(super) type Counted<K> = BTreeMap<K, ConnectionCounters>;

/// Rates between two looks.
#[derive(Debug)]
pub(super) struct Meter<K> {
    before: Option<(Instant, Counted<K>)>,
    rates: BTreeMap<K, Rates>,
}

impl<K> Default for Meter<K> {
    fn default() -> Self {
        Self { before: None, rates: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Meter<K> {
    /// Takes the next look. What is new, or began anew, counts from zero.
    pub fn look(&mut self, now: Instant, counted: Counted<K>) {
        let Some((at, before)) = &self.before else {
            self.before = Some((now, counted));
            return;
        };
        let over = now.saturating_duration_since(*at);
        if over < SHORTEST {
            return;
        }
        let rate = |old: u64, new: u64, times: f64| {
            (new.checked_sub(old).unwrap_or(new) as f64 * times / over.as_secs_f64()).round() as u64
        };
        let rates = counted.iter().map(|(key, new)| {
            let old = before.get(key).copied().unwrap_or_default();
            let rates = Rates {
                in_packets: rate(old.in_packets, new.in_packets, 1.0),
                in_bits: rate(old.in_bytes, new.in_bytes, 8.0),
                out_packets: rate(old.out_packets, new.out_packets, 1.0),
                out_bits: rate(old.out_bytes, new.out_bytes, 8.0),
                dropped_packets: rate(old.dropped_packets, new.dropped_packets, 1.0),
            };
            (key.clone(), rates)
        });
        self.rates = rates.collect();
        self.before = Some((now, counted));
    }

    /// The rates at the last look.
    pub fn rates(&self, key: &K) -> Rates {
        self.rates.get(key).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(in_bytes: u64, in_packets: u64) -> Counted<&'static str> {
        [("hq", ConnectionCounters { in_bytes, in_packets, ..ConnectionCounters::default() })].into()
    }

    #[test]
    fn rates_are_differences_over_time() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        meter.look(start, counted(1_000, 10));
        assert_eq!(meter.rates(&"hq"), Rates::default(), "one look is no rate");
        meter.look(start + Duration::from_secs(10), counted(11_000, 30));
        let expected = Rates { in_bits: 8_000, in_packets: 2, ..Rates::default() };
        assert_eq!(meter.rates(&"hq"), expected);
        // A look right after it has too little to go by, and is left out.
        meter.look(start + Duration::from_secs(11), counted(1_000_000, 30));
        assert_eq!(meter.rates(&"hq"), expected);
        meter.look(start + Duration::from_secs(20), counted(11_000, 30));
        assert_eq!(meter.rates(&"hq"), Rates::default());
        assert_eq!(meter.rates(&"dc"), Rates::default());
    }

    #[test]
    fn counters_that_began_anew_are_no_flood() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        meter.look(start, counted(9_000_000, 9_000));
        meter.look(start + Duration::from_secs(8), counted(1_000, 8));
        assert_eq!(meter.rates(&"hq"), Rates { in_bits: 1_000, in_packets: 1, ..Rates::default() });
    }
}
