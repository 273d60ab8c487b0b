//! Learned routes on their way: from the gateway with a tenant's router to the controller, and from there to the hosts of the tenant's machines.
//!
//! ```text
//!   router ──► RouteReporter ──► POST …/routes ──► controller ──► the plan's stream ──► host
//!                 a slice at a time                    next gateways, aggregated
//! ```
//!
//! They are soft state: nobody stores them. Both ways speak in *rounds*. A round begins with the connection, tells all there is slice by slice,
//! and goes on for as long as the connection lasts with what changes. What was known from the round before stays until this one is
//! [complete](Parts::Last), and then goes if it was not told again. So nothing is withdrawn because somebody starts anew, and nothing stays
//! that is gone.

use super::protocol::{BootId, Extent, Parts, PlanEvent, Position};
use crate::dataplane::learned::Via;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Prefixes in one message.
pub const SLICE: usize = 4096;

/// What a gateway has learned for tenants, by connections and other gateways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteReport {
    /// This run of the agent.
    pub boot: BootId,
    /// Grows by one with each.
    pub sequence: u64,
    /// Tenants, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, RouteChanges<Via>>,
}

/// What a host is to know of routes that tenants have learned, by the gateways' provider addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteEvent {
    /// Who says so, and when.
    pub epoch: u64,
    /// The store's revision at that time.
    pub revision: u64,
    /// Tenants, by name.
    pub tenants: BTreeMap<String, RouteChanges<IpAddr>>,
}

impl RouteEvent {
    /// Who says so, and when.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, revision: self.revision }
    }
}

/// What a controller says on an agent's stream.
#[derive(Clone, Debug)]
pub enum Told {
    /// What the agent is to do.
    Plan(Arc<PlanEvent>),
    /// What a host is to know of learned routes.
    Routes(Arc<RouteEvent>),
}

/// A prefix and where it leads, all of them alike; nothing if it is gone.
pub type Leading<V> = (IpNet, Option<Arc<[V]>>);

/// A part of what is told of one tenant's routes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteChanges<V> {
    /// Whether this begins a round.
    pub extent: Extent,
    /// Whether the round is complete with this: what it has not told is gone.
    pub parts: Parts,
    /// Routes that came or changed.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<Routes<V>>,
    /// Routes that went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<IpNet>,
}

/// Routes that lead to the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes<V> {
    /// Where to: all of them alike.
    pub via: Box<[V]>,
    /// What lies there.
    pub prefixes: Vec<IpNet>,
}

impl<V: Clone + Ord> RouteChanges<V> {
    /// Of prefixes, each with where it leads, or with nothing if it is gone.
    pub fn of(extent: Extent, parts: Parts, changes: impl IntoIterator<Item = Leading<V>>) -> Self {
        let mut set: BTreeMap<Arc<[V]>, Vec<IpNet>> = BTreeMap::new();
        let mut gone = Vec::new();
        for (prefix, via) in changes {
            match via {
                Some(via) => set.entry(via).or_default().push(prefix),
                None => gone.push(prefix),
            }
        }
        Self {
            extent,
            parts,
            set: set
                .into_iter()
                .map(|(via, prefixes)| Routes { via: via.iter().cloned().collect(), prefixes })
                .collect(),
            gone,
        }
    }
}

impl<V> RouteChanges<V> {
    /// A round that tells nothing.
    pub fn nothing(parts: Parts) -> Self {
        Self { extent: Extent::Whole, parts, set: Vec::new(), gone: Vec::new() }
    }
}

/// What is known of a tenant's routes by who hears of them in rounds.
#[derive(Clone, Debug)]
pub struct Rounds<V> {
    held: BTreeMap<IpNet, Held<V>>,
    round: u32,
    complete: bool,
}

#[derive(Clone, Debug)]
struct Held<V> {
    via: Arc<[V]>,
    round: u32,
}

impl<V> Default for Rounds<V> {
    fn default() -> Self {
        Self { held: BTreeMap::new(), round: 0, complete: false }
    }
}

impl<V: Clone + PartialEq> Rounds<V> {
    /// Whether a round was begun.
    pub fn is_begun(&self) -> bool {
        self.round > 0
    }

    /// Whether what is known is all there is.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// How many routes are known.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Where a prefix leads.
    pub fn get(&self, prefix: &IpNet) -> Option<&Arc<[V]>> {
        self.held.get(prefix).map(|held| &held.via)
    }

    /// All there is.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, &Arc<[V]>)> {
        self.held.iter().map(|(prefix, held)| (*prefix, &held.via))
    }

    /// Takes what was told, of at most so many prefixes: what is different by it, and how many there was no room for.
    pub fn take(&mut self, told: RouteChanges<V>, room: usize) -> (Vec<Leading<V>>, usize) {
        if told.extent == Extent::Whole {
            self.round += 1;
            self.complete = false;
        }
        let (round, mut changes, mut refused) = (self.round, Vec::new(), 0);
        for prefix in told.gone {
            if self.held.remove(&prefix).is_some() {
                changes.push((prefix, None));
            }
        }
        for Routes { via, prefixes } in told.set {
            let via: Arc<[V]> = via.into();
            for prefix in prefixes.into_iter().map(|prefix| prefix.trunc()) {
                let full = self.held.len() >= room;
                match self.held.entry(prefix) {
                    std::collections::btree_map::Entry::Occupied(mut entry) => {
                        let held = entry.get_mut();
                        held.round = round;
                        if held.via != via {
                            held.via = Arc::clone(&via);
                            changes.push((prefix, Some(Arc::clone(&via))));
                        }
                    }
                    std::collections::btree_map::Entry::Vacant(_) if full => refused += 1,
                    std::collections::btree_map::Entry::Vacant(entry) => {
                        entry.insert(Held { via: Arc::clone(&via), round });
                        changes.push((prefix, Some(Arc::clone(&via))));
                    }
                }
            }
        }
        if told.parts == Parts::Last && !self.complete {
            self.complete = true;
            let gone = self.held.extract_if(.., |_, held| held.round != round);
            changes.extend(gone.map(|(prefix, _)| (prefix, None)));
        }
        (changes, refused)
    }
}

/// Takes what tenants' routers have learned, kept until a controller has it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RouteReporter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    tenants: BTreeMap<String, Tenant>,
}

#[derive(Debug)]
struct Tenant {
    routes: BTreeMap<IpNet, Arc<[Via]>>,
    /// Whether the router has all that its peers have to say.
    learned: Parts,
    telling: Telling,
    /// What differs from what was told of it.
    pending: BTreeSet<IpNet>,
    /// Whether the controller was told that the round is complete.
    closed: Parts,
}

/// How far a round is.
#[derive(Debug)]
enum Telling {
    /// It is still to be begun.
    Begin,
    /// Prefixes up to this one were told.
    Upto(IpNet),
    /// All were.
    Changes,
}

impl Tenant {
    fn new(learned: Parts) -> Self {
        Self {
            routes: BTreeMap::new(),
            learned,
            telling: Telling::Begin,
            pending: BTreeSet::new(),
            closed: Parts::More,
        }
    }

    fn is_told(&self) -> bool {
        matches!(self.telling, Telling::Changes) && self.pending.is_empty() && self.closed == self.learned
    }

    /// The next slice of at most `room` prefixes.
    fn slice(&mut self, room: usize) -> (RouteChanges<Via>, usize) {
        let (extent, after) = match self.telling {
            Telling::Begin => (Extent::Whole, Some(Bound::Unbounded)),
            Telling::Upto(last) => (Extent::Changes, Some(Bound::Excluded(last))),
            Telling::Changes => (Extent::Changes, None),
        };
        let mut changes: Vec<Leading<Via>> = Vec::new();
        while changes.len() < room
            && let Some(prefix) = self.pending.pop_first()
        {
            changes.push((prefix, self.routes.get(&prefix).cloned()));
        }
        if let Some(after) = after {
            let left = room - changes.len();
            let next = self.routes.range((after, Bound::Unbounded)).take(left);
            let before = changes.len();
            changes.extend(next.map(|(prefix, via)| (*prefix, Some(Arc::clone(via)))));
            let told = changes.len() - before;
            self.telling = match changes.last() {
                Some((last, _)) if told == left && told > 0 => Telling::Upto(*last),
                // No room was left to begin with: what comes next begins where this one did.
                _ if left == 0 => match after {
                    Bound::Excluded(last) => Telling::Upto(last),
                    _ => Telling::Begin,
                },
                _ => Telling::Changes,
            };
        }
        let all = matches!(self.telling, Telling::Changes) && self.pending.is_empty();
        self.closed = if all { self.learned } else { Parts::More };
        let count = changes.len();
        (RouteChanges::of(extent, self.closed, changes), count)
    }
}

impl RouteReporter {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tenants with a router here. One that comes has learned all at once that there is, unless an earlier daemon had learned something.
    pub fn tenants<'a>(&self, tenants: impl IntoIterator<Item = (&'a str, Parts)>) {
        let wanted: BTreeMap<&str, Parts> = tenants.into_iter().collect();
        let mut state = self.lock();
        state.tenants.retain(|name, _| wanted.contains_key(name.as_str()));
        for (name, learned) in wanted {
            if !state.tenants.contains_key(name) {
                state.tenants.insert(name.to_owned(), Tenant::new(learned));
            }
        }
        drop(state);
        self.0.changed.notify_one();
    }

    /// What became of a tenant's prefixes: by what they are reached, nothing if they are gone.
    pub fn routes(&self, tenant: &str, changes: impl IntoIterator<Item = (IpNet, Vec<Via>)>) {
        let mut state = self.lock();
        let Some(of) = state.tenants.get_mut(tenant) else { return };
        let mut shared: BTreeSet<Arc<[Via]>> = BTreeSet::new();
        for (prefix, mut via) in changes {
            via.sort_unstable();
            via.dedup();
            let differs = if via.is_empty() {
                of.routes.remove(&prefix).is_some()
            } else {
                let via = shared.get(&via[..]).cloned().unwrap_or_else(|| {
                    let via: Arc<[Via]> = via.into();
                    shared.insert(Arc::clone(&via));
                    via
                });
                of.routes.insert(prefix, Arc::clone(&via)) != Some(via)
            };
            let told = match of.telling {
                Telling::Begin => false,
                Telling::Upto(last) => prefix <= last,
                Telling::Changes => true,
            };
            if differs && told {
                of.pending.insert(prefix);
            }
        }
        drop(state);
        self.0.changed.notify_one();
    }

    /// A tenant's router has learned all that its peers have to say, as far as they are there.
    pub fn complete(&self, tenant: &str) {
        if let Some(of) = self.lock().tenants.get_mut(tenant) {
            of.learned = Parts::Last;
        }
        self.0.changed.notify_one();
    }

    /// A new connection knows nothing: everything is told anew.
    pub(super) fn begin(&self) {
        let mut state = self.lock();
        for of in state.tenants.values_mut() {
            (of.telling, of.closed) = (Telling::Begin, Parts::More);
            of.pending.clear();
        }
    }

    /// What is to be told next, nothing if all was.
    pub(super) fn next(&self, boot: &BootId, sequence: u64) -> Option<RouteReport> {
        let mut state = self.lock();
        let mut report = RouteReport { boot: boot.clone(), sequence, ..RouteReport::default() };
        let mut room = SLICE;
        for (name, of) in state.tenants.iter_mut().filter(|(_, of)| !of.is_told()) {
            if room == 0 {
                break;
            }
            let (changes, count) = of.slice(room);
            room -= count;
            report.tenants.insert(name.clone(), changes);
        }
        (!report.tenants.is_empty()).then_some(report)
    }

    /// That nothing has changed, of all tenants: it keeps the connection open, and a controller that knows nothing of a tenant says so.
    pub(super) fn reminder(&self, boot: &BootId, sequence: u64) -> RouteReport {
        let state = self.lock();
        let told = state.tenants.iter().filter(|(_, of)| of.is_told());
        let nothing = |parts| RouteChanges { extent: Extent::Changes, ..RouteChanges::nothing(parts) };
        let tenants = told.map(|(name, of)| (name.clone(), nothing(of.closed))).collect();
        RouteReport { boot: boot.clone(), sequence, tenants }
    }

    /// Waits until there may be something to tell.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(number: u32) -> IpNet {
        IpNet::new(IpAddr::V4((0x0a00_0000 + (number << 8)).into()), 24).expect("a prefix")
    }

    fn by(name: &str) -> Vec<Via> {
        vec![Via::Connection(name.into())]
    }

    /// Tells everything that there is to tell.
    fn tell(reporter: &RouteReporter, to: &mut Rounds<Via>) -> usize {
        let mut messages = 0;
        while let Some(mut report) = reporter.next(&BootId::default(), 0) {
            messages += 1;
            if let Some(changes) = report.tenants.remove("contoso") {
                let prefixes = changes.set.iter().map(|routes| routes.prefixes.len()).sum::<usize>();
                assert!(prefixes + changes.gone.len() <= SLICE);
                to.take(changes, usize::MAX);
            }
        }
        messages
    }

    fn same(reporter: &RouteReporter, heard: &Rounds<Via>) {
        let state = reporter.lock();
        let told = state.tenants["contoso"].routes.iter().map(|(prefix, via)| (*prefix, via));
        assert!(heard.iter().eq(told));
    }

    #[test]
    fn a_round_comes_in_slices_and_changes_meanwhile_are_not_lost() {
        let (reporter, mut heard) = (RouteReporter::default(), Rounds::default());
        reporter.tenants([("contoso", Parts::Last)]);
        reporter.routes("contoso", (0..10_000).map(|n| (net(n), by("hq"))));
        let first =
            reporter.next(&BootId::default(), 1).expect("a slice").tenants.remove("contoso").expect("its routes");
        assert_eq!((first.extent, first.parts), (Extent::Whole, Parts::More));
        heard.take(first, usize::MAX);
        // One that was told, one that was not.
        reporter.routes("contoso", [(net(1), Vec::new()), (net(9_000), by("dc")), (net(9_001), Vec::new())]);
        assert!(tell(&reporter, &mut heard) >= 2);
        assert!(heard.is_complete());
        same(&reporter, &heard);
        reporter.routes("contoso", [(net(5), Vec::new())]);
        assert_eq!(tell(&reporter, &mut heard), 1);
        assert!(heard.get(&net(5)).is_none());
    }

    #[test]
    fn what_was_known_stays_until_the_next_round_is_complete() {
        let mut heard = Rounds::default();
        let tell = |extent, parts, nets: &[u32]| {
            let via: Arc<[Via]> = by("hq").into();
            RouteChanges::of(extent, parts, nets.iter().map(|n| (net(*n), Some(Arc::clone(&via)))))
        };
        heard.take(tell(Extent::Whole, Parts::Last, &[1, 2, 3]), 10);
        let (changes, _) = heard.take(tell(Extent::Whole, Parts::More, &[1]), 10);
        assert_eq!((changes, heard.len()), (Vec::new(), 3));
        let (changes, _) = heard.take(tell(Extent::Changes, Parts::Last, &[2]), 10);
        assert_eq!(changes, [(net(3), None)]);
        let (changes, refused) = heard.take(tell(Extent::Changes, Parts::Last, &[4, 5]), 3);
        assert_eq!((changes.len(), refused), (1, 1));
    }

    #[test]
    fn a_restarted_router_ends_its_round_when_it_has_heard_its_peers() {
        let (reporter, mut heard) = (RouteReporter::default(), Rounds::default());
        reporter.tenants([("contoso", Parts::More)]);
        reporter.routes("contoso", [(net(1), by("hq"))]);
        tell(&reporter, &mut heard);
        assert!(!heard.is_complete());
        reporter.complete("contoso");
        tell(&reporter, &mut heard);
        assert!(heard.is_complete());
        reporter.begin();
        tell(&reporter, &mut heard);
        same(&reporter, &heard);
        assert_eq!(reporter.next(&BootId::default(), 9), None);
        let reminder = reporter.reminder(&BootId::default(), 10).tenants.remove("contoso").expect("it is reminded of");
        assert_eq!(heard.take(reminder, 10), (Vec::new(), 0));
    }
}
