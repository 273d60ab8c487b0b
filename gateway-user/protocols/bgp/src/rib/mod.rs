//! The routing tables of one speaker: what came in, what is best, what goes out.
//!
//! [`Rib`] is told of neighbours, sessions and routes; it decides at once and only about the prefixes concerned. It says
//! what changed for forwarding by [`Rib::drain_changes`], and what a neighbour must be sent by [`Rib::next_update`], which
//! is asked when the neighbour can take more: what waits is a bit a prefix, never a message.
//!
//! | to change | go to |
//! |---|---|
//! | what is taken from a neighbour | `import` |
//! | which path wins | `decision` |
//! | what is sent to whom, and how changed | `export`, `groups` |
//! | how updates are packed | `updates` |
//! | restarts, refreshes | `stale` |
//! | what is noted for who watches | `journal` |
//! | what a person is told | `explain`, `rehearsal` |

mod aggregate;
mod bits;
mod damping;
mod decision;
mod explain;
mod export;
mod groups;
mod import;
mod journal;
mod neighbour;
mod next_hops;
mod rehearsal;
mod settings;
mod stale;
mod table;
mod updates;

pub use decision::{Step, Unusable};
pub use explain::{ExplainedPath, Explanation, Outcome, SentTo};
pub use export::Refusal;
pub use import::{Received, Rejection};
pub use journal::{Noted, Place, Watch};
pub use neighbour::FamilyCounters;
pub use next_hops::{NextHopInterest, Reachability};
pub use rehearsal::{Rehearsal, Stopped};
pub use settings::{
    AddPathSend, AggregateSettings, ClientToClient, Confederation, DampingSettings, EqualPaths, Limit, LimitScope,
    MedScope, MissingMed, Multipath, NeighbourSettings, NextHopMode, Relation, RibSettings, Role, SessionFacts,
    TieBreak, UnresolvedNextHop, WithoutPolicy,
};
pub use stale::SLICE;
pub use updates::{Enhanced, Update};

use crate::Moment;
use crate::attributes::{AttributeStore, Attributes, AttributesId, NextHop, WeakAttributes};
use crate::number::{Family, PathId};
use aggregate::Aggregate;
use bits::BitSet;
use damping::Damping;
use decision::{Judge, Scratch};
use groups::Group;
use ipnet::IpNet;
use neighbour::Neighbour;
use next_hops::NextHops;
use stale::Sweep;
use table::{Path, PathFlags, PrefixId, Table};
use thiserror::Error;

/// A neighbour of a [`Rib`], which gives the number and may give it again when the neighbour is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighbourId(pub u32);

impl NeighbourId {
    /// The speaker itself: where the routes come from that it originates.
    pub const LOCAL: Self = Self(u32::MAX);
}

/// A prefix in an update, with its path identifier where the session has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nlri {
    /// The prefix.
    pub prefix: IpNet,
    /// 0 where the session has none.
    pub path_id: PathId,
}

impl From<IpNet> for Nlri {
    fn from(prefix: IpNet) -> Self {
        Self { prefix, path_id: PathId(0) }
    }
}

/// One way to forward to a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHopPath {
    /// Where to. Itself for what the speaker originates.
    pub next_hop: NextHop,
    /// Who told.
    pub neighbour: NeighbourId,
}

/// A path as it stands in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathView {
    /// Who told.
    pub neighbour: NeighbourId,
    /// The identifier it came with.
    pub path_id: PathId,
    /// The attributes after import.
    pub attributes: AttributesId,
    /// The attributes before it, where they are kept and differ.
    pub received: Option<AttributesId>,
    /// When it came to be as it is.
    pub since: Moment,
    /// Whether it is used for forwarding; the first one that is, is the best.
    pub chosen: bool,
    /// Whether it is kept over its neighbour's restart.
    pub stale: bool,
    /// Whether it is kept although it was refused.
    pub rejected: bool,
}

/// A neighbour that the table does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("there is no neighbour {}", .0.0)]
pub struct NoNeighbour(pub NeighbourId);

/// Whether a neighbour must send its routes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AfterChange {
    /// The new settings hold for every route.
    Done,
    /// What came before was not kept: ask the neighbour for a route refresh.
    RefreshNeeded,
}

/// The figures of a whole table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RibCounters {
    /// Prefixes of IPv4.
    pub prefixes_v4: usize,
    /// Prefixes of IPv6.
    pub prefixes_v6: usize,
    /// Paths of all neighbours, and originated ones.
    pub paths: usize,
    /// Distinct sets of attributes.
    pub attributes: usize,
    /// Groups of neighbours that are sent the same.
    pub groups: usize,
    /// Octets, roughly.
    pub memory: usize,
}

/// The routing tables of one speaker.
#[derive(Debug)]
pub struct Rib {
    settings: RibSettings,
    attributes: AttributeStore,
    table: Table,
    neighbours: Vec<Option<Box<Neighbour>>>,
    groups: Vec<Option<Group>>,
    next_hops: NextHops,
    aggregates: Vec<Aggregate>,
    damping: Damping,
    /// Prefixes whose forwarding changed.
    changed: BitSet,
    /// Whether nothing is told to anybody yet.
    held: bool,
    paths: usize,
    warned: bool,
    /// Seconds of the clock, as last told.
    clock: u32,
    scratch: Scratch,
    /// What was decoded last.
    decoded: Option<(WeakAttributes, Attributes)>,
    /// What is to go by and by.
    sweeps: Vec<Sweep>,
    /// Groups whose Adj-RIB-Out is not complete: up to which prefix it is.
    filling: Vec<(usize, PrefixId)>,
    /// What was chosen of a prefix before it was decided about again.
    before: Vec<Path>,
    /// What has changed, where somebody watches.
    journal: Option<Vec<Noted>>,
}

impl Rib {
    /// An empty table.
    pub fn new(settings: RibSettings) -> Self {
        Self {
            next_hops: NextHops::new(settings.unresolved),
            aggregates: settings.aggregates.iter().cloned().map(Aggregate::new).collect(),
            settings,
            attributes: AttributeStore::default(),
            table: Table::default(),
            neighbours: Vec::new(),
            groups: Vec::new(),
            damping: Damping::default(),
            changed: BitSet::default(),
            held: false,
            paths: 0,
            warned: false,
            clock: 0,
            scratch: Scratch::default(),
            decoded: None,
            sweeps: Vec::new(),
            filling: Vec::new(),
            before: Vec::new(),
            journal: None,
        }
    }

    /// Its settings.
    pub const fn settings(&self) -> &RibSettings {
        &self.settings
    }

    /// The attributes of its routes.
    pub const fn attributes(&self) -> &AttributeStore {
        &self.attributes
    }

    // Neighbours and their sessions.

    /// A neighbour without a session yet.
    pub fn add_neighbour(&mut self, settings: NeighbourSettings) -> NeighbourId {
        let neighbour = Some(Box::new(Neighbour::new(settings)));
        let index = match self.neighbours.iter().position(Option::is_none) {
            Some(free) => {
                self.neighbours[free] = neighbour;
                free
            }
            None => {
                self.neighbours.push(neighbour);
                self.neighbours.len() - 1
            }
        };
        NeighbourId(index as u32)
    }

    /// A neighbour and all its routes go.
    pub fn remove_neighbour(&mut self, id: NeighbourId, now: Moment) {
        self.session_down(id, &[], now);
        self.end_sweeps(id);
        self.table.shrink();
        self.damping.forget(id);
        if let Some(slot) = self.neighbours.get_mut(id.0 as usize) {
            *slot = None;
        }
    }

    /// Other settings for a neighbour. They hold at once, for what is sent and, where the routes are kept as they came, for
    /// what was received.
    pub fn change_neighbour(
        &mut self,
        id: NeighbourId,
        settings: NeighbourSettings,
        now: Moment,
    ) -> Result<AfterChange, NoNeighbour> {
        self.tell(now);
        let neighbour = self.neighbour_mut(id).ok_or(NoNeighbour(id))?;
        let old = std::mem::replace(&mut neighbour.settings, settings);
        let kept = old.soft_reconfiguration;
        let same = old.imports_like(&neighbour.settings);
        let has_routes = !neighbour.received.is_empty() || neighbour.up;
        self.regroup(id);
        if same || !has_routes {
            return Ok(AfterChange::Done);
        }
        if kept {
            self.import_again(id, now);
            return Ok(AfterChange::Done);
        }
        Ok(AfterChange::RefreshNeeded)
    }

    /// The neighbour's settings.
    pub fn neighbour_settings(&self, id: NeighbourId) -> Option<&NeighbourSettings> {
        self.neighbour(id).map(|neighbour| &neighbour.settings)
    }

    /// A session is established: the neighbour is sent the whole table and End-of-RIBs. Routes of its that were kept over a
    /// restart stay until [`end_of_rib`](Self::end_of_rib).
    pub fn session_up(&mut self, id: NeighbourId, facts: SessionFacts, now: Moment) -> Result<(), NoNeighbour> {
        self.tell(now);
        self.end_sweeps(id);
        self.leave_group(id);
        self.reset_outbox(id);
        let neighbour = self.neighbour_mut(id).ok_or(NoNeighbour(id))?;
        let moved = neighbour.facts.as_ref().is_some_and(|old| old.router_id != facts.router_id);
        for family in &facts.families {
            neighbour.outbox.markers[family_index(*family)].end_of_rib = true;
        }
        neighbour.facts = Some(facts);
        neighbour.up = true;
        neighbour.warned = [false; 2];
        if moved {
            let kept: Vec<PrefixId> = neighbour.received.iter().collect();
            kept.into_iter().for_each(|id| self.decide_again(id));
        }
        self.join_group(id);
        Ok(())
    }

    /// The session ended. The routes of the families in `keep` stay, stale (RFC 4724), the others go, by and by
    /// ([`go_on`](Self::go_on)).
    pub fn session_down(&mut self, id: NeighbourId, keep: &[Family], now: Moment) {
        self.tell(now);
        self.end_sweeps(id);
        self.leave_group(id);
        self.reset_outbox(id);
        let Some(neighbour) = self.neighbour_mut(id) else { return };
        neighbour.up = false;
        self.lose_session(id, keep);
    }

    /// A neighbour's figures in a family.
    pub fn counters(&self, id: NeighbourId, family: Family) -> FamilyCounters {
        let Some(neighbour) = self.neighbour(id) else { return FamilyCounters::default() };
        neighbour.counters[family_index(family)]
    }

    // Routes of the speaker's own.

    /// Originates a route: a network of the speaker's own, a static route. `path_id` tells several apart.
    pub fn originate(&mut self, prefix: IpNet, path_id: PathId, attributes: &Attributes, now: Moment) {
        self.tell(now);
        let id = self.attributes.intern(attributes);
        self.put_path(prefix, NeighbourId::LOCAL, path_id, id, None, PathFlags::default());
        self.attributes.release(id);
    }

    /// Originates it no more.
    pub fn withdraw_local(&mut self, prefix: IpNet, path_id: PathId, now: Moment) {
        self.tell(now);
        self.drop_path(prefix.trunc(), NeighbourId::LOCAL, path_id);
    }

    // Next hops.

    /// How a next hop is reached, now and until told otherwise.
    pub fn resolve(&mut self, next_hop: NextHop, reach: Reachability) {
        for id in self.next_hops.resolve(next_hop, reach) {
            self.decide_again(id);
        }
    }

    /// A next hop that was spoken of is like one that nobody has spoken of.
    pub fn forget_next_hop(&mut self, next_hop: NextHop) {
        for id in self.next_hops.forget(next_hop) {
            self.decide_again(id);
        }
    }

    /// The next hops that must be resolved, and those that need no more: since the last call, and only where unresolved
    /// ones are unreachable ([`UnresolvedNextHop::Unreachable`]).
    pub fn take_next_hop_interest(&mut self) -> Vec<(NextHop, NextHopInterest)> {
        self.next_hops.take_interest()
    }

    /// Every next hop in use, how it is reached, and how many paths go through it.
    pub fn next_hops(&self) -> impl Iterator<Item = (NextHop, Reachability, u32)> + '_ {
        self.next_hops.iter()
    }

    // Time.

    /// When [`tick`](Self::tick) is due. To be asked again after any other call.
    pub fn deadline(&self) -> Option<Moment> {
        self.damping.deadline()
    }

    /// Uses routes again that have calmed down.
    pub fn tick(&mut self, now: Moment) {
        self.tell(now);
        while let Some((neighbour, prefix, path_id)) = self.damping.reused(now) {
            let Some(id) = self.table.find(prefix) else { continue };
            for path in self.table.paths_mut(id) {
                if path.neighbour == neighbour && path.path_id == path_id {
                    path.flags = path.flags.without(PathFlags::DAMPED);
                }
            }
            self.decide_again(id);
        }
    }

    // What came of it.

    /// Nothing is told to forwarding and neighbours until [`release`](Self::release): a speaker that restarts waits for its
    /// neighbours' End-of-RIBs before it selects routes (RFC 4724, 4.1).
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Ends [`hold`](Self::hold).
    pub fn release(&mut self) {
        self.held = false;
    }

    /// Whether forwarding must be told something.
    pub fn has_changes(&self) -> bool {
        !self.held && !self.changed.is_empty()
    }

    /// Tells of up to `most` prefixes how they are forwarded; no paths: not at all. How many were told.
    pub fn drain_changes(&mut self, most: usize, mut tell: impl FnMut(IpNet, &[NextHopPath])) -> usize {
        if self.held {
            return 0;
        }
        let mut paths = Vec::new();
        let (mut told, mut from) = (0, PrefixId(0));
        while told < most {
            let Some(id) = self.changed.next(from) else { break };
            from = id;
            self.changed.remove(id);
            self.hops(self.table.chosen(id), &mut paths);
            tell(self.table.prefix(id), &paths);
            told += 1;
            if let Some(entry) = self.table.get_mut(id) {
                entry.holds -= 1;
            }
            self.table.remove_unused(id);
        }
        if self.changed.is_empty() && told > 0 {
            self.table.shrink();
        }
        told
    }

    /// Tells forwarding everything again, as for one that starts anew.
    pub fn repeat_changes(&mut self) {
        let ids: Vec<PrefixId> = self.table.ids().collect();
        ids.into_iter().for_each(|id| self.mark_changed(id));
    }

    /// The prefixes that have paths, in no order.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.table.ids().filter(|id| !self.table.paths(*id).is_empty()).map(|id| self.table.prefix(id))
    }

    /// The prefixes that have paths among the next `places` of the table from `from` on, and where to go on; none at the table's end.
    /// What changes between two pages is in both, in one or in none; what does not change is in one.
    pub fn page(&self, from: u32, places: u32) -> (Vec<IpNet>, Option<u32>) {
        let end = u32::try_from(self.table.end()).unwrap_or(u32::MAX);
        let until = from.saturating_add(places).min(end);
        let ids = (from..until).map(PrefixId).filter(|id| !self.table.paths(*id).is_empty());
        (ids.map(|id| self.table.prefix(id)).collect(), (until < end).then_some(until))
    }

    /// The paths to a prefix, those in use first.
    pub fn paths(&self, prefix: IpNet) -> Vec<PathView> {
        let Some(id) = self.table.find(prefix.trunc()) else { return Vec::new() };
        let chosen = self.table.chosen(id).len();
        let view = |(position, path): (usize, &Path)| PathView {
            neighbour: path.neighbour,
            path_id: path.path_id,
            attributes: path.attributes,
            received: path.received,
            since: Moment(u64::from(path.since) * 1_000_000_000),
            chosen: position < chosen,
            stale: path.flags.has(PathFlags::STALE),
            rejected: path.flags.has(PathFlags::REJECTED),
        };
        self.table.paths(id).iter().enumerate().map(view).collect()
    }

    /// The best path to a prefix: its attributes.
    pub fn best(&self, prefix: IpNet) -> Option<AttributesId> {
        self.table.find(prefix.trunc()).and_then(|id| self.table.best(id)).map(|path| path.attributes)
    }

    /// The figures of the whole table.
    pub fn totals(&self) -> RibCounters {
        let neighbours = self.neighbours.iter().flatten();
        let of_neighbour = |one: &Neighbour| {
            one.received.memory() + one.outbox.pending.memory() + one.outbox.sent.memory() + size_of::<Neighbour>()
        };
        RibCounters {
            prefixes_v4: self.table.len_of(Family::Ipv4),
            prefixes_v6: self.table.len_of(Family::Ipv6),
            paths: self.paths,
            attributes: self.attributes.len(),
            groups: self.groups.iter().flatten().count(),
            memory: self.table.memory()
                + self.attributes.memory()
                + self.next_hops.memory()
                + self.changed.memory()
                + neighbours.map(|one| of_neighbour(one)).sum::<usize>()
                + self.groups.iter().flatten().map(Group::memory).sum::<usize>(),
        }
    }

    // Inside.

    fn tell(&mut self, now: Moment) {
        self.clock = u32::try_from(now.0 / 1_000_000_000).unwrap_or(u32::MAX);
    }

    fn neighbour(&self, id: NeighbourId) -> Option<&Neighbour> {
        self.neighbours.get(id.0 as usize)?.as_deref()
    }

    fn neighbour_mut(&mut self, id: NeighbourId) -> Option<&mut Neighbour> {
        self.neighbours.get_mut(id.0 as usize)?.as_deref_mut()
    }

    fn judge(&self) -> Judge<'_> {
        Judge {
            settings: &self.settings,
            attributes: &self.attributes,
            neighbours: &self.neighbours,
            next_hops: &self.next_hops,
        }
    }

    fn hops(&self, chosen: &[Path], into: &mut Vec<NextHopPath>) {
        into.clear();
        for path in chosen {
            let next_hop = self.attributes.summary(path.attributes).next_hop;
            if !into.iter().any(|other| other.next_hop == next_hop) {
                into.push(NextHopPath { next_hop, neighbour: path.neighbour });
            }
        }
    }

    fn mark_changed(&mut self, id: PrefixId) {
        if self.changed.insert(id)
            && let Some(entry) = self.table.get_mut(id)
        {
            entry.holds += 1;
        }
    }

    /// Puts a path in, or in the place of the one that the neighbour sent before under the identifier. The references to
    /// the attributes stay the caller's.
    fn put_path(
        &mut self,
        prefix: IpNet,
        neighbour: NeighbourId,
        path_id: PathId,
        attributes: AttributesId,
        received: Option<AttributesId>,
        flags: PathFlags,
    ) {
        let id = self.table.insert(prefix.trunc());
        let family = family_index(self.table.family(id));
        let paths = self.table.paths(id);
        let position = paths.iter().position(|path| path.neighbour == neighbour && path.path_id == path_id);
        let old = position.map(|position| paths[position]);
        let local_id = match old {
            Some(old) => old.local_id,
            None => free_local_id(paths),
        };
        let since = match old {
            Some(old) if old.attributes == attributes => old.since,
            _ => self.clock,
        };
        let path = Path { neighbour, path_id, attributes, received, since, local_id, flags };
        if old == Some(path) {
            return;
        }
        let before = self.note_chosen(id);
        self.attributes.retain(attributes);
        if let Some(received) = received {
            self.attributes.retain(received);
        }
        self.next_hops.retain(self.attributes.summary(attributes).next_hop, id);
        match position {
            Some(position) => self.table.paths_mut(id)[position] = path,
            None => {
                self.paths += 1;
                self.table.add_path(id, path);
            }
        }
        let (counted, from) = (old.is_none(), neighbour);
        if let Some(neighbour) = self.neighbour_mut(neighbour) {
            neighbour.received.insert(id);
            let counters = &mut neighbour.counters[family];
            counters.paths += u32::from(counted);
            let was_rejected = old.is_some_and(|old| old.flags.has(PathFlags::REJECTED));
            counters.rejected -= u32::from(was_rejected);
            counters.rejected += u32::from(flags.has(PathFlags::REJECTED));
        }
        if self.journal.is_some() {
            let accepted = (!flags.has(PathFlags::REJECTED)).then_some(attributes);
            self.note(Place::Received(from), prefix.trunc(), path_id, accepted);
        }
        self.settle(id, &before);
        self.before = before;
        if let Some(old) = old {
            self.let_go(&old);
        }
    }

    fn let_go(&mut self, path: &Path) {
        self.next_hops.release(self.attributes.summary(path.attributes).next_hop);
        self.attributes.release(path.attributes);
        if let Some(received) = path.received {
            self.attributes.release(received);
        }
    }

    /// Takes a path out; whether it was there.
    fn drop_path(&mut self, prefix: IpNet, neighbour: NeighbourId, path_id: PathId) -> bool {
        let Some(id) = self.table.find(prefix) else { return false };
        let same = |path: &Path| path.neighbour == neighbour && path.path_id == path_id;
        let Some(position) = self.table.paths(id).iter().position(same) else { return false };
        self.drop_at(id, position);
        true
    }

    fn drop_at(&mut self, id: PrefixId, position: usize) {
        let before = self.note_chosen(id);
        let family = family_index(self.table.family(id));
        let old = self.table.paths(id)[position];
        self.table.remove_path(id, position);
        self.paths -= 1;
        let more = self.table.paths(id).iter().any(|path| path.neighbour == old.neighbour);
        if let Some(neighbour) = self.neighbour_mut(old.neighbour) {
            if !more {
                neighbour.received.remove(id);
            }
            let counters = &mut neighbour.counters[family];
            counters.paths -= 1;
            counters.rejected -= u32::from(old.flags.has(PathFlags::REJECTED));
        }
        if self.journal.is_some() {
            self.note(Place::Received(old.neighbour), self.table.prefix(id), old.path_id, None);
        }
        self.settle(id, &before);
        self.before = before;
        self.let_go(&old);
    }

    /// Decides about a prefix where something besides its paths changed.
    fn decide_again(&mut self, id: PrefixId) {
        let before = self.note_chosen(id);
        self.settle(id, &before);
        self.before = before;
    }

    /// What is chosen of a prefix, in the room that is kept for it.
    fn note_chosen(&mut self, id: PrefixId) -> Vec<Path> {
        let mut before = std::mem::take(&mut self.before);
        before.clear();
        before.extend_from_slice(self.table.chosen(id));
        before
    }

    /// Decides about a prefix and passes on what came of it. `before` is what was chosen, its attributes still held.
    fn settle(&mut self, id: PrefixId, before: &[Path]) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let judge = Judge {
            settings: &self.settings,
            attributes: &self.attributes,
            neighbours: &self.neighbours,
            next_hops: &self.next_hops,
        };
        let chosen = judge.choose(self.table.paths_mut(id), &mut scratch);
        self.scratch = scratch;
        let Some(entry) = self.table.get_mut(id) else { return };
        entry.chosen = chosen;
        if self.forwards_differently(id, before) {
            self.mark_changed(id);
        }
        let source = |path: &Path| (path.attributes, path.neighbour, path.local_id);
        let was = before.first().map(source);
        let best_changed = was != self.table.best(id).as_ref().map(source);
        if best_changed && self.journal.is_some() {
            let best = self.table.best(id).map(|path| path.attributes);
            self.note(Place::Chosen, self.table.prefix(id), PathId(0), best);
        }
        if best_changed && !self.aggregates.is_empty() {
            self.contribute(id, before.first().map(|path| path.attributes));
        }
        for index in 0..self.groups.len() {
            if best_changed || self.sends_several(index) {
                self.export(index, id);
            }
        }
        self.table.remove_unused(id);
    }

    fn forwards_differently(&self, id: PrefixId, before: &[Path]) -> bool {
        let after = self.table.chosen(id);
        let hop = |path: &Path| (self.attributes.summary(path.attributes).next_hop, path.neighbour);
        if let ([], [] | [_, ..]) | ([_, ..], []) = (before, after) {
            return before.len() != after.len();
        }
        if let ([old], [new]) = (before, after) {
            return hop(old) != hop(new);
        }
        let sorted = |paths: &[Path]| {
            let mut hops = Vec::new();
            self.hops(paths, &mut hops);
            hops.sort_unstable();
            hops
        };
        sorted(before) != sorted(after)
    }
}

/// The smallest identifier that none of the prefix's paths has.
fn free_local_id(paths: &[Path]) -> u16 {
    if paths.is_empty() {
        return 1;
    }
    // One of the first so many and one more is free.
    let mut taken = vec![false; paths.len() + 2];
    for path in paths {
        if let Some(taken) = taken.get_mut(usize::from(path.local_id)) {
            *taken = true;
        }
    }
    let free = (1..taken.len()).find(|id| !taken[*id]).unwrap_or_default();
    u16::try_from(free).unwrap_or(u16::MAX)
}

const fn family_index(family: Family) -> usize {
    match family {
        Family::Ipv4 => 0,
        Family::Ipv6 => 1,
    }
}

#[cfg(test)]
mod tests;
