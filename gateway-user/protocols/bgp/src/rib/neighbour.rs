//! What the table keeps of a neighbour.

use super::bits::BitSet;
use super::settings::{NeighbourSettings, SessionFacts};
use super::table::PrefixId;
use crate::attributes::AttributesId;
use crate::number::{Family, RouterId};
use hashbrown::HashMap;

/// A neighbour's figures in one family, kept as they change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilyCounters {
    /// Paths that are kept, rejected ones included.
    pub paths: u32,
    /// Of them, those that the import refused.
    pub rejected: u32,
    /// Prefixes that it is sent.
    pub advertised: u32,
    /// Announcements that came, over all time.
    pub announcements_in: u64,
    /// Withdrawals that came.
    pub withdrawals_in: u64,
    /// Announcements that the import refused.
    pub refused_in: u64,
    /// Announcements beyond a limit.
    pub beyond_limit_in: u64,
    /// Announcements that were sent.
    pub announcements_out: u64,
    /// Withdrawals that were sent.
    pub withdrawals_out: u64,
}

/// A marker in the stream of updates to a neighbour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Markers {
    /// An End-of-RIB is due when every prefix was looked at once.
    pub end_of_rib: bool,
    /// A begin of a refresh is due at once.
    pub refresh_begin: bool,
    /// Its end, when every prefix was looked at once.
    pub refresh_end: bool,
}

/// Something that is about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Staged {
    /// None for a withdrawal.
    pub attributes: Option<AttributesId>,
    pub family: Family,
    pub prefix: PrefixId,
    pub local_id: u16,
}

/// What a neighbour was sent and must still be sent: bits, never messages.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub pending: BitSet,
    pub sent: BitSet,
    /// The paths that were sent of each prefix, where sessions have path identifiers.
    pub sent_paths: HashMap<PrefixId, Vec<u16>>,
    pub staged: Vec<Staged>,
    pub staged_at: usize,
    pub cursor: PrefixId,
    pub markers: [Markers; 2],
}

impl Outbox {
    pub fn has_work(&self) -> bool {
        !self.pending.is_empty()
            || self.staged_at < self.staged.len()
            || self.markers.iter().any(|marker| *marker != Markers::default())
    }
}

#[derive(Debug)]
pub(super) struct Neighbour {
    pub settings: NeighbourSettings,
    /// Of the session, or of the last one while its routes are kept.
    pub facts: Option<SessionFacts>,
    pub up: bool,
    pub group: Option<usize>,
    /// The prefixes with a path of its.
    pub received: BitSet,
    pub outbox: Outbox,
    pub counters: [FamilyCounters; 2],
    pub warned: [bool; 2],
}

impl Neighbour {
    pub fn new(settings: NeighbourSettings) -> Self {
        Self {
            settings,
            facts: None,
            up: false,
            group: None,
            received: BitSet::default(),
            outbox: Outbox::default(),
            counters: Default::default(),
            warned: [false; 2],
        }
    }

    pub fn router_id(&self) -> Option<RouterId> {
        self.facts.as_ref().map(|facts| facts.router_id)
    }
}
