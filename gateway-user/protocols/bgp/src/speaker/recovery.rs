//! After a restart (RFC 4724, 4.1): routes are collected before any is chosen or sent, until every neighbour that has routes
//! to give has given them, or time is over.

use super::{Config, Output, Speaker};
use crate::Moment;
use crate::number::Family;
use crate::rib::NeighbourId;
use crate::session::{Administrative, FIRST_ROUTES, Negotiated, OwnRestart};
use crate::wire::Forwarding;
use std::collections::{BTreeMap, BTreeSet};

/// A restart that is not over.
#[derive(Debug)]
pub(super) struct Recovery {
    forwarding: Forwarding,
    until: Moment,
    /// The neighbours that were heard out, by family.
    complete: BTreeSet<(NeighbourId, Family)>,
    /// Those that said so before they sent anything, or may never say so, and until when they are waited for.
    doubted: BTreeMap<(NeighbourId, Family), Moment>,
}

impl Recovery {
    pub fn new(forwarding: Forwarding, config: &Config, now: Moment) -> Self {
        Self {
            forwarding,
            until: now + config.decision.deferral.0,
            complete: BTreeSet::new(),
            doubted: BTreeMap::new(),
        }
    }

    /// When it is to be looked at again.
    pub fn deadline(&self) -> Moment {
        self.doubted.values().copied().min().map_or(self.until, |doubted| doubted.min(self.until))
    }

    pub const fn own_restart(&self) -> OwnRestart {
        OwnRestart::Recovering(self.forwarding)
    }
}

impl Speaker {
    /// A neighbour says that it has sent all its routes of a family. If that is none, it may be about to send some.
    pub(super) fn heard_out(&mut self, id: NeighbourId, family: Family, now: Moment) {
        let nothing = self.rib.counters(id, family).paths == 0;
        if let Some(recovery) = &mut self.recovery {
            if nothing {
                recovery.doubted.entry((id, family)).or_insert(now + FIRST_ROUTES);
            } else {
                recovery.complete.insert((id, family));
            }
        }
    }

    /// A neighbour is up; not all are waited for until they say that they have sent all.
    pub(super) fn expect_routes(&mut self, id: NeighbourId, agreed: &Negotiated, now: Moment) {
        let Some(recovery) = &mut self.recovery else { return };
        // One that has restarted too may wait for us, and one without the capability sends no End-of-RIB: neither may hold us up
        // (RFC 4724, 4.1). Still, what they had to give is forwarded by, and is about to come: FRR says for two minutes after its
        // start that it has restarted.
        let sends_end = agreed.restart.as_ref().is_some_and(|restart| !restart.restarted);
        for family in Family::ALL {
            if !agreed.has(family) {
                recovery.complete.insert((id, family));
            } else if !sends_end {
                recovery.doubted.insert((id, family), now + FIRST_ROUTES);
            }
        }
    }

    /// A neighbour is gone: nobody waits for it.
    pub(super) fn forget_waiting(&mut self, id: NeighbourId) {
        if let Some(recovery) = &mut self.recovery {
            recovery.complete.retain(|(of, _)| *of != id);
            recovery.doubted.retain(|(of, _), _| *of != id);
        }
    }

    /// Ends the restart if there is nothing left to wait for.
    pub(super) fn recover(&mut self, now: Moment) {
        let Some(recovery) = &mut self.recovery else { return };
        recovery.complete.extend(recovery.doubted.extract_if(.., |_, until| *until <= now).map(|(whose, _)| whose));
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
