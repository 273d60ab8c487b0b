//! What is counted of a neighbour.

use crate::Moment;
use crate::number::Family;
use crate::wire::kind;

/// Messages of one type, one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub count: u64,
    /// When the last one.
    pub last: Option<Moment>,
}

impl Count {
    fn one(&mut self, now: Moment) {
        self.count += 1;
        self.last = Some(now);
    }
}

/// Messages of one type, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// By us.
    pub sent: Count,
    /// By the neighbour.
    pub received: Count,
}

/// Prefixes of one family, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Announced by us.
    pub updates_sent: u64,
    /// Announced by the neighbour.
    pub updates_received: u64,
    /// Withdrawn by us.
    pub withdrawals_sent: u64,
    /// Withdrawn by the neighbour.
    pub withdrawals_received: u64,
}

/// All of a neighbour, since it was configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// When a connection was last there.
    pub connection_established: Option<Moment>,
    /// When one was last gone.
    pub connection_closed: Option<Moment>,
    /// How often a session came up.
    pub established: u64,
    /// How often one was lost.
    pub lost: u64,
    /// OPENs.
    pub open: Messages,
    /// UPDATEs.
    pub update: Messages,
    /// NOTIFICATIONs.
    pub notification: Messages,
    /// KEEPALIVEs.
    pub keepalive: Messages,
    /// ROUTE-REFRESHs.
    pub refresh: Messages,
    /// IPv4 prefixes.
    pub ipv4: Routes,
    /// IPv6 prefixes.
    pub ipv6: Routes,
    /// UPDATEs with an attribute that was ignored.
    pub attributes_discarded: u64,
    /// UPDATEs whose routes were treated as withdrawn.
    pub treated_as_withdrawn: u64,
}

impl Statistics {
    fn of(&mut self, kind: u8) -> &mut Messages {
        match kind {
            kind::OPEN => &mut self.open,
            kind::UPDATE => &mut self.update,
            kind::NOTIFICATION => &mut self.notification,
            kind::KEEPALIVE => &mut self.keepalive,
            _ => &mut self.refresh,
        }
    }

    pub(super) fn sent(&mut self, kind: u8, now: Moment) {
        self.of(kind).sent.one(now);
    }

    pub(super) fn received(&mut self, kind: u8, now: Moment) {
        self.of(kind).received.one(now);
    }

    /// The counters of a family's prefixes.
    pub fn routes(&mut self, family: Family) -> &mut Routes {
        match family {
            Family::Ipv4 => &mut self.ipv4,
            Family::Ipv6 => &mut self.ipv6,
        }
    }
}
