//! Damping of routes that flap (RFC 2439, with the values of RFC 7196).

use super::NeighbourId;
use super::settings::DampingSettings;
use crate::Moment;
use crate::number::PathId;
use hashbrown::HashMap;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::time::Duration;

/// What a withdrawal adds to the penalty.
pub(super) const WITHDRAWAL: u32 = 1000;
/// What another path adds.
pub(super) const CHANGE: u32 = 500;

/// The most routes that are remembered: a neighbour that flaps with everything costs no more memory than this.
const MAX: usize = 1 << 16;

pub(super) type Key = (NeighbourId, IpNet, PathId);

#[derive(Clone, Copy, Debug)]
struct Record {
    settings: DampingSettings,
    penalty: f64,
    at: Moment,
    suppressed: bool,
    /// When something is to be done about it.
    due: Moment,
}

impl Record {
    fn decayed(&self, now: Moment) -> f64 {
        let halves = now.since(self.at).as_secs_f64() / self.settings.half_life.as_secs_f64().max(1.0);
        self.penalty * (-halves).exp2()
    }

    /// When the penalty will have fallen to `level`.
    fn falls_to(&self, level: f64) -> Moment {
        if self.penalty <= level {
            return self.at;
        }
        let seconds = self.settings.half_life.as_secs_f64() * (self.penalty / level.max(1.0)).log2();
        self.at + Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    fn schedule(&mut self) {
        let reuse = f64::from(self.settings.reuse);
        self.due = self.falls_to(if self.suppressed { reuse } else { reuse / 2.0 });
    }
}

/// The routes that flapped lately.
#[derive(Debug, Default)]
pub(super) struct Damping {
    records: HashMap<Key, Record>,
    queue: BTreeSet<(Moment, Key)>,
}

impl Damping {
    /// Adds to a route's penalty; whether it is suppressed.
    pub fn flap(&mut self, key: Key, penalty: u32, settings: DampingSettings, now: Moment) -> bool {
        if self.records.len() >= MAX && !self.records.contains_key(&key) {
            return false;
        }
        let fresh = Record { settings, penalty: 0.0, at: now, suppressed: false, due: now };
        let record = self.records.entry(key).or_insert(fresh);
        self.queue.remove(&(record.due, key));
        let halves = settings.longest.as_secs_f64() / settings.half_life.as_secs_f64().max(1.0);
        let ceiling = f64::from(settings.reuse) * halves.exp2();
        record.penalty = (record.decayed(now) + f64::from(penalty)).min(ceiling.max(f64::from(settings.suppress)));
        record.at = now;
        record.suppressed |= record.penalty >= f64::from(settings.suppress);
        record.schedule();
        self.queue.insert((record.due, key));
        record.suppressed
    }

    pub fn is_suppressed(&self, key: &Key) -> bool {
        !self.records.is_empty() && self.records.get(key).is_some_and(|record| record.suppressed)
    }

    pub fn deadline(&self) -> Option<Moment> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// The next route that may be used again; forgets those that are calm.
    pub fn reused(&mut self, now: Moment) -> Option<Key> {
        while let Some((due, key)) = self.queue.first().copied().filter(|(due, _)| *due <= now) {
            self.queue.remove(&(due, key));
            let Some(record) = self.records.get_mut(&key) else { continue };
            if !record.suppressed {
                self.records.remove(&key);
                continue;
            }
            record.suppressed = false;
            record.schedule();
            self.queue.insert((record.due, key));
            return Some(key);
        }
        None
    }

    /// Forgets a neighbour.
    pub fn forget(&mut self, neighbour: NeighbourId) {
        self.records.retain(|key, _| key.0 != neighbour);
        self.queue.retain(|(_, key)| key.0 != neighbour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_flaps_is_suppressed_and_used_again_when_it_is_calm() {
        let settings = DampingSettings::default();
        let mut damping = Damping::default();
        let key = (NeighbourId(0), "10.0.0.0/8".parse().expect("a prefix"), PathId(0));
        let now = Moment(0);
        for flap in 1..=6 {
            assert_eq!(damping.flap(key, WITHDRAWAL, settings, now), flap == 6);
        }
        // 6000 to 750 takes three half lives.
        let due = damping.deadline().expect("a suppressed route has a deadline");
        assert_eq!(due.since(now).as_secs(), 45 * 60);
        assert_eq!(damping.reused(now + Duration::from_secs(44 * 60)), None);
        assert!(damping.is_suppressed(&key));
        assert_eq!(damping.reused(due), Some(key));
        assert!(!damping.is_suppressed(&key));
        let forgotten = damping.deadline().expect("it is remembered for another half life");
        assert_eq!(forgotten.since(due).as_secs(), 15 * 60);
        assert_eq!(damping.reused(forgotten), None);
        assert!(damping.records.is_empty() && damping.queue.is_empty());
    }

    #[test]
    fn no_route_is_suppressed_for_longer_than_the_limit() {
        let settings = DampingSettings::default();
        let mut damping = Damping::default();
        let key = (NeighbourId(0), "10.0.0.0/8".parse().expect("a prefix"), PathId(0));
        for _ in 0..1000 {
            damping.flap(key, WITHDRAWAL, settings, Moment(0));
        }
        let due = damping.deadline().expect("a suppressed route has a deadline");
        assert!(due.since(Moment(0)) <= settings.longest + Duration::from_secs(1));
    }
}
