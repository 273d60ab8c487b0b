//! Next hops: who uses them, and how far away they are.

use super::bits::BitSet;
use super::settings::UnresolvedNextHop;
use super::table::PrefixId;
use crate::attributes::NextHop;
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// Whether and how a next hop is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reachability {
    /// At this metric, the smaller the nearer.
    Reachable(u32),
    /// Not at all: its routes are not used.
    Unreachable,
}

impl Reachability {
    pub(super) const fn metric(self) -> Option<u32> {
        match self {
            Self::Reachable(metric) => Some(metric),
            Self::Unreachable => None,
        }
    }
}

/// Whether a next hop must be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHopInterest {
    /// Routes use it: say how it is reached, and whenever that changes.
    Needed,
    /// No route does any more.
    Released,
}

#[derive(Debug)]
struct Tracked {
    hop: NextHop,
    references: u32,
    reach: Reachability,
    /// Resolved before there was a route; kept without one.
    preset: bool,
    /// The prefixes with a path through it, and perhaps some that had one.
    prefixes: BitSet,
}

#[derive(Debug, Default)]
pub(super) struct NextHops {
    unresolved: UnresolvedNextHop,
    index: HashMap<NextHop, u32>,
    slots: Vec<Option<Tracked>>,
    free: Vec<u32>,
    last: Option<(NextHop, u32)>,
    interest: BTreeMap<NextHop, NextHopInterest>,
}

impl NextHops {
    pub fn new(unresolved: UnresolvedNextHop) -> Self {
        Self { unresolved, ..Self::default() }
    }

    fn place(&self, hop: NextHop) -> Option<u32> {
        match self.last {
            Some((last, place)) if last == hop => Some(place),
            _ => self.index.get(&hop).copied(),
        }
    }

    fn slot(&mut self, hop: NextHop) -> &mut Option<Tracked> {
        let place = match self.place(hop) {
            Some(place) => place,
            None => {
                let reach = match self.unresolved {
                    UnresolvedNextHop::Reachable => Reachability::Reachable(0),
                    UnresolvedNextHop::Unreachable => Reachability::Unreachable,
                };
                let tracked = Some(Tracked { hop, references: 0, reach, preset: false, prefixes: BitSet::default() });
                let place = self.free.pop().unwrap_or_else(|| {
                    self.slots.push(None);
                    (self.slots.len() - 1) as u32
                });
                self.slots[place as usize] = tracked;
                self.index.insert(hop, place);
                place
            }
        };
        self.last = Some((hop, place));
        &mut self.slots[place as usize]
    }

    /// The interest is told only to who waits for it: where unresolved next hops are unreachable.
    fn tell(&mut self, hop: NextHop, interest: NextHopInterest) {
        if self.unresolved == UnresolvedNextHop::Reachable {
            return;
        }
        match (self.interest.get(&hop), interest) {
            // Needed and released before anybody asked.
            (Some(NextHopInterest::Needed), NextHopInterest::Released) => self.interest.remove(&hop),
            _ => self.interest.insert(hop, interest),
        };
    }

    /// A path of the prefix uses it.
    pub fn retain(&mut self, hop: NextHop, id: PrefixId) {
        if hop.is_self() {
            return;
        }
        let Some(tracked) = self.slot(hop) else { return };
        tracked.references += 1;
        tracked.prefixes.insert(id);
        if tracked.references == 1 && !tracked.preset {
            self.tell(hop, NextHopInterest::Needed);
        }
    }

    /// A path does not any more.
    pub fn release(&mut self, hop: NextHop) {
        let Some(place) = (if hop.is_self() { None } else { self.place(hop) }) else { return };
        let Some(tracked) = &mut self.slots[place as usize] else { return };
        tracked.references = tracked.references.saturating_sub(1);
        if tracked.references > 0 {
            return;
        }
        tracked.prefixes = BitSet::default();
        if !tracked.preset {
            self.remove(hop, place);
            self.tell(hop, NextHopInterest::Released);
        }
    }

    fn remove(&mut self, hop: NextHop, place: u32) {
        self.index.remove(&hop);
        self.slots[place as usize] = None;
        self.free.push(place);
        self.last = None;
    }

    /// Its metric; none where it is not reached.
    pub fn metric(&self, hop: NextHop) -> Option<u32> {
        if hop.is_self() {
            return Some(0);
        }
        self.place(hop).and_then(|place| self.slots[place as usize].as_ref()).and_then(|one| one.reach.metric())
    }

    /// Takes note of how it is reached; the prefixes to decide again.
    pub fn resolve(&mut self, hop: NextHop, reach: Reachability) -> Vec<PrefixId> {
        if hop.is_self() {
            return Vec::new();
        }
        let Some(tracked) = self.slot(hop) else { return Vec::new() };
        tracked.preset |= tracked.references == 0;
        if std::mem::replace(&mut tracked.reach, reach) == reach {
            return Vec::new();
        }
        tracked.prefixes.iter().collect()
    }

    /// Forgets what was said about it.
    pub fn forget(&mut self, hop: NextHop) -> Vec<PrefixId> {
        let Some(place) = self.place(hop) else { return Vec::new() };
        let unused = self.slots[place as usize].as_ref().is_some_and(|tracked| tracked.references == 0);
        if unused {
            self.remove(hop, place);
            return Vec::new();
        }
        if let Some(tracked) = &mut self.slots[place as usize] {
            tracked.preset = false;
        }
        self.resolve(
            hop,
            match self.unresolved {
                UnresolvedNextHop::Reachable => Reachability::Reachable(0),
                UnresolvedNextHop::Unreachable => Reachability::Unreachable,
            },
        )
    }

    pub fn take_interest(&mut self) -> Vec<(NextHop, NextHopInterest)> {
        std::mem::take(&mut self.interest).into_iter().collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = (NextHop, Reachability, u32)> + '_ {
        self.slots.iter().flatten().map(|tracked| (tracked.hop, tracked.reach, tracked.references))
    }

    pub fn memory(&self) -> usize {
        let slots = self.slots.capacity() * size_of::<Option<Tracked>>();
        slots + self.slots.iter().flatten().map(|tracked| tracked.prefixes.memory()).sum::<usize>()
    }
}
