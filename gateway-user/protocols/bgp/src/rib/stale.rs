//! Routes that are kept for a while: graceful restart (RFC 4724), long-lived (RFC 9494), enhanced refresh (RFC 7313).

use super::table::{PathFlags, PrefixId};
use super::{NeighbourId, Rib};
use crate::Moment;
use crate::attributes::{Community, Marks};
use crate::number::Family;

impl Rib {
    /// The paths of a neighbour in a family: the prefixes, to walk while they change.
    fn received_of(&self, id: NeighbourId, family: Family) -> Vec<PrefixId> {
        let Some(neighbour) = self.neighbour(id) else { return Vec::new() };
        neighbour.received.iter().filter(|prefix| self.table.family(*prefix) == family).collect()
    }

    /// Drops the neighbour's paths in a family that have one of the flags; all paths where none is asked for.
    fn sweep(&mut self, id: NeighbourId, family: Family, flag: Option<PathFlags>) {
        for prefix in self.received_of(id, family) {
            let goes = |path: &super::Path| path.neighbour == id && flag.is_none_or(|flag| path.flags.has(flag));
            while let Some(position) = self.table.paths(prefix).iter().position(goes) {
                self.drop_at(prefix, position);
            }
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
                self.mark(id, family, PathFlags::STALE);
            } else {
                self.sweep(id, family, None);
            }
        }
    }

    /// The neighbour has sent all its routes of a family, or the time for it is over: what is still stale goes.
    pub fn end_of_rib(&mut self, id: NeighbourId, family: Family, now: Moment) {
        self.tell(now);
        self.sweep(id, family, Some(PathFlags::STALE));
        self.table.shrink();
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
        self.mark(id, family, PathFlags::REFRESHING);
    }

    /// It has sent them: what it did not send goes.
    pub fn end_refresh(&mut self, id: NeighbourId, family: Family, now: Moment) {
        self.tell(now);
        self.sweep(id, family, Some(PathFlags::REFRESHING));
        self.table.shrink();
    }
}
