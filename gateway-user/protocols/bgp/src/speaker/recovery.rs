//! After a restart (RFC 4724, 4.1): routes are collected before any is chosen or sent, until every neighbour that has routes
//! to give has given them, or time is over.

use super::{Config, Output, Speaker};
use crate::Moment;
use crate::number::Family;
use crate::rib::NeighbourId;
use crate::session::{Administrative, Negotiated, OwnRestart};
use crate::wire::Forwarding;
use std::collections::BTreeSet;

/// A restart that is not over.
#[derive(Debug)]
pub(super) struct Recovery {
    forwarding: Forwarding,
    until: Moment,
    /// The neighbours that were heard out, by family.
    complete: BTreeSet<(NeighbourId, Family)>,
}

impl Recovery {
    pub fn new(forwarding: Forwarding, config: &Config, now: Moment) -> Self {
        Self { forwarding, until: now + config.decision.deferral.0, complete: BTreeSet::new() }
    }

    pub const fn until(&self) -> Moment {
        self.until
    }

    pub const fn own_restart(&self) -> OwnRestart {
        OwnRestart::Recovering(self.forwarding)
    }
}

impl Speaker {
    /// A neighbour has sent all its routes of a family.
    pub(super) fn recovered(&mut self, id: NeighbourId, family: Family) {
        if let Some(recovery) = &mut self.recovery {
            recovery.complete.insert((id, family));
        }
    }

    /// A neighbour is up; some have nothing that is worth waiting for.
    pub(super) fn no_need_to_wait(&mut self, id: NeighbourId, agreed: &Negotiated) {
        let Some(recovery) = &mut self.recovery else { return };
        // One that has restarted too waits for us; one without the capability sends no End-of-RIB.
        let sends_end = agreed.restart.as_ref().is_some_and(|restart| !restart.restarted);
        let waited_for = |family: Family| sends_end && agreed.has(family);
        recovery
            .complete
            .extend(Family::ALL.into_iter().filter(|family| !waited_for(*family)).map(|family| (id, family)));
    }

    /// A neighbour is gone: nobody waits for it.
    pub(super) fn forget_waiting(&mut self, id: NeighbourId) {
        if let Some(recovery) = &mut self.recovery {
            recovery.complete.retain(|(of, _)| *of != id);
        }
    }

    /// Ends the restart if there is nothing left to wait for.
    pub(super) fn recover(&mut self, now: Moment) {
        let Some(recovery) = &self.recovery else { return };
        let waiting = self.peers.iter().any(|(id, peer)| {
            let wanted = peer.config.session.administrative == Administrative::Up;
            let open = |family: &Family| !recovery.complete.contains(&(*id, *family));
            wanted && peer.config.session.families.keys().any(open)
        });
        if waiting && now < recovery.until {
            return;
        }
        self.recovery = None;
        self.rib.release();
        self.recovered_now = true;
        // The others hear of the restart when they are back: until then they keep what we sent before it.
        for peer in self.peers.values_mut().filter(|peer| peer.session.negotiated().is_some()) {
            peer.session.set_own_restart(OwnRestart::None);
        }
    }

    /// Says that all routes are told, once they are.
    pub(super) fn tell_recovered(&mut self, outputs: &mut Vec<Output>) {
        if std::mem::take(&mut self.recovered_now) {
            outputs.extend(Family::ALL.map(Output::Recovered));
        }
    }
}
