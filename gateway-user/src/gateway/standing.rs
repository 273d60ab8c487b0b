//! How the gateway stands with its seats: which of them it holds, and whether its forwarding plane runs.

use crate::plan::{Name, Tenant};
use gateway_common::Epoch;
use std::collections::BTreeMap;

/// What is the gateway's to speak for at a moment. At first nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Under which epoch it speaks for what is its own; none while a port does not run its program.
    pub own: Option<Epoch>,
    /// The seats whose gates are open, and under which epochs.
    pub held: BTreeMap<Name, Epoch>,
}

impl Standing {
    /// Whether a tenant's instance is to be spoken for here: what has no seat is nowhere else.
    pub fn speaks_for(&self, tenant: &Tenant) -> bool {
        tenant.seat.as_ref().is_none_or(|seat| self.held.contains_key(seat))
    }

    /// The epoch under which packets for a seat, or for the gateway's own, are forwarded here.
    pub fn forwards(&self, seat: Option<&Name>) -> Option<Epoch> {
        let own = self.own?;
        seat.map_or(Some(own), |seat| self.held.get(seat).copied())
    }
}
