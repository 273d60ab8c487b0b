//! Routes that are kept for a while: graceful restart (RFC 4724), long-lived (RFC 9494), enhanced refresh (RFC 7313); and routes that go, by
//! and by where they are many.

use super::table::{PathFlags, PrefixId};
use super::{NeighbourId, Rib};
use crate::Moment;
use crate::attributes::{Community, Marks};
use crate::number::Family;

/// Prefixes that are seen to in one go: what takes longer is done by and by, as other tenants' sessions wait.
pub const SLICE: usize = 8192;

/// Paths of a neighbour that are to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    neighbour: NeighbourId,
    family: Family,
    /// Those that have it; all where there is none.
    flag: Option<PathFlags>,
    /// What is before was seen to.
    from: PrefixId,
}

/// How far something is.
enum Progress {
    Begun,
    Done,
}

impl Rib {
    /// The paths of a neighbour in a family: the prefixes, to walk while they change.
    fn received_of(&self, id: NeighbourId, family: Family) -> Vec<PrefixId> {
        let Some(neighbour) = self.neighbour(id) else { return Vec::new() };
        neighbour.received.iter().filter(|prefix| self.table.family(*prefix) == family).collect()
    }

    /// Begins to drop the neighbour's paths in a family that have a flag; all paths where none is asked for.
    fn sweep(&mut self, id: NeighbourId, family: Family, flag: Option<PathFlags>) {
        self.sweeps.push(Sweep { neighbour: id, family, flag, from: PrefixId(0) });
    }

    /// Goes on with a sweep; how many prefixes it has looked at, and whether that were all.
    fn sweep_on(&mut self, sweep: &mut Sweep, most: usize) -> (usize, Progress) {
        let Sweep { neighbour: id, family, flag, .. } = *sweep;
        let goes = |path: &super::Path| path.neighbour == id && flag.is_none_or(|flag| path.flags.has(flag));
        for looked in 0..most {
            let Some(prefix) = self.neighbour(id).and_then(|neighbour| neighbour.received.next(sweep.from)) else {
                return (looked, Progress::Done);
            };
            sweep.from = PrefixId(prefix.0.saturating_add(1));
            if self.table.family(prefix) != family {
                continue;
            }
            while let Some(position) = self.table.paths(prefix).iter().position(goes) {
                self.drop_at(prefix, position);
            }
        }
        (most, Progress::Begun)
    }

    /// Goes on with what was begun and is not done, as far as so many prefixes.
    pub fn go_on(&mut self, mut most: usize) {
        while most > 0 && !self.sweeps.is_empty() {
            let mut sweep = self.sweeps.remove(0);
            let (looked, progress) = self.sweep_on(&mut sweep, most);
            most -= looked;
            match progress {
                Progress::Begun => self.sweeps.insert(0, sweep),
                Progress::Done if self.sweeps.is_empty() => self.table.shrink(),
                Progress::Done => {}
            }
        }
        self.fill_groups(most);
    }

    /// Whether something was begun and is not done.
    pub fn is_busy(&self) -> bool {
        !self.sweeps.is_empty() || !self.filling.is_empty()
    }

    /// Ends what was begun for a neighbour.
    pub(super) fn end_sweeps(&mut self, id: NeighbourId) {
        while let Some(index) = self.sweeps.iter().position(|sweep| sweep.neighbour == id) {
            let mut sweep = self.sweeps.remove(index);
            self.sweep_on(&mut sweep, usize::MAX);
        }
    }

    fn mark(&mut self, id: NeighbourId, family: Family, flag: PathFlags) {
        for prefix in self.received_of(id, family) {
            for path in self.table.paths_mut(prefix).iter_mut().filter(|path| path.neighbour == id) {
                path.flags = path.flags.with(flag);
            }
        }
    }

    /// What was stale already was not sent again by the session that ended: it goes (RFC 4724, 4.2).
    pub(super) fn lose_session(&mut self, id: NeighbourId, keep: &[Family]) {
        for family in Family::ALL {
            if keep.contains(&family) {
                self.sweep(id, family, Some(PathFlags::STALE));
                self.end_sweeps(id);
                self.mark(id, family, PathFlags::STALE);
            } else {
                self.sweep(id, family, None);
            }
        }
        self.go_on(SLICE);
    }

    /// The neighbour has sent all its routes of a family, or the time for it is over: what is still stale goes.
    pub fn end_of_rib(&mut self, id: NeighbourId, family: Family, now: Moment) {
        self.tell(now);
        self.sweep(id, family, Some(PathFlags::STALE));
        self.go_on(SLICE);
    }

    /// The restart took too long, but its stale routes are kept for longer (RFC 9494, 4.2): as a last resort, marked for
    /// others. Those that forbid it go.
    pub fn keep_for_long(&mut self, id: NeighbourId, family: Family, now: Moment) {
        self.tell(now);
        for prefix in self.received_of(id, family) {
            let stale = self.table.paths(prefix).to_vec();
            for path in stale.into_iter().filter(|path| path.neighbour == id && path.flags.has(PathFlags::STALE)) {
                let marks = self.attributes.summary(path.attributes).marks;
                let net = self.table.prefix(prefix);
                if marks.has(Marks::NO_LLGR) {
                    self.drop_path(net, id, path.path_id);
                } else if !marks.has(Marks::LLGR_STALE) {
                    let mut attributes = self.attributes.get(path.attributes);
                    attributes.communities.push(Community::LLGR_STALE);
                    let marked = self.attributes.intern(&attributes);
                    let received = path.received.unwrap_or(path.attributes);
                    let soft = self.neighbour(id).is_some_and(|one| one.settings.soft_reconfiguration);
                    self.put_path(net, id, path.path_id, marked, soft.then_some(received), path.flags);
                    self.attributes.release(marked);
                }
            }
        }
    }

    /// Whether the neighbour has stale routes in a family.
    pub fn has_stale(&self, id: NeighbourId, family: Family) -> bool {
        let stale = |path: &super::Path| path.neighbour == id && path.flags.has(PathFlags::STALE);
        self.received_of(id, family).into_iter().any(|prefix| self.table.paths(prefix).iter().any(stale))
    }

    /// The neighbour begins to send all its routes of a family again (RFC 7313).
    pub fn begin_refresh(&mut self, id: NeighbourId, family: Family) {
        self.end_sweeps(id);
        self.mark(id, family, PathFlags::REFRESHING);
    }

    /// It has sent them: what it did not send goes.
    pub fn end_refresh(&mut self, id: NeighbourId, family: Family, now: Moment) {
        self.tell(now);
        self.sweep(id, family, Some(PathFlags::REFRESHING));
        self.go_on(SLICE);
    }
}
