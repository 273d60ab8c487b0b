//! What changes in the tables, for who watches them: nothing is written where nobody does.

use super::{NeighbourId, Nlri, Rib};
use crate::attributes::AttributesId;
use crate::number::PathId;
use ipnet::IpNet;

/// Whether somebody watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// Nobody does.
    #[default]
    Off,
    /// Somebody does.
    On,
}

/// Where something has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a neighbour's Adj-RIB-In, after the import policy.
    Received(NeighbourId),
    /// In the Loc-RIB: the best path.
    Chosen,
}

/// A change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Where.
    pub place: Place,
    /// Of which prefix, and path where there are several.
    pub nlri: Nlri,
    /// The attributes from now on; none where the route is gone.
    pub attributes: Option<AttributesId>,
}

impl Rib {
    /// Begins to note changes, or ends it.
    pub fn watch(&mut self, watch: Watch) {
        let mut untold = Vec::new();
        self.hold_journal(&mut untold);
        self.release_journal(&untold);
        self.journal = match watch {
            Watch::Off => None,
            Watch::On => Some(Vec::new()),
        };
    }

    /// Moves all changes since the last time to `into`, in their order. Their attributes are held until
    /// [`release_journal`](Self::release_journal).
    pub fn hold_journal(&mut self, into: &mut Vec<Noted>) {
        into.append(self.journal.as_mut().unwrap_or(&mut Vec::new()));
    }

    /// What [`hold_journal`](Self::hold_journal) gave is told.
    pub fn release_journal(&mut self, noted: &[Noted]) {
        noted.iter().filter_map(|one| one.attributes).for_each(|id| self.attributes.release(id));
    }

    pub(super) fn note(&mut self, place: Place, prefix: IpNet, path_id: PathId, attributes: Option<AttributesId>) {
        let Some(journal) = &mut self.journal else { return };
        if place == Place::Received(NeighbourId::LOCAL) {
            return;
        }
        journal.push(Noted { place, nlri: Nlri { prefix, path_id }, attributes });
        if let Some(id) = attributes {
            self.attributes.retain(id);
        }
    }
}
