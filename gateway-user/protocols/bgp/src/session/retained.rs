//! Routes of a neighbour that is away for a moment (RFC 4724, 4.2; RFC 9494, 4.3), and routes being sent again (RFC 7313).
//!
//! ```text
//!            session lost              time over, long-lived agreed
//!   (none) ---------------> Waiting ---------------------------------> LongLived
//!     ^                       |  session back, forwarding preserved        |
//!     |                       v                                            |
//!     +------------------- Returned <--------------------------------------+
//!      End-of-RIB, End-of-RR
//!      or time over: what is still stale goes (from each of the three)
//! ```

use super::negotiated::RestartNegotiated;
use crate::Moment;
use crate::number::Family;
use crate::wire::Forwarding;
use std::time::Duration;

/// What becomes of a family's stale routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// They go. The neighbour has sent what it has.
    Gone(Family),
    /// They go: time is over, or the neighbour did not keep its side of it.
    GivenUp(Family),
    /// They grow old: others are preferred to them.
    LongLived(Family),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting { long_lived: Option<u32> },
    LongLived,
    Returned,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    family: Family,
    phase: Phase,
    until: Moment,
}

/// The families with stale routes.
#[derive(Debug, Default)]
pub(super) struct Retained {
    kept: Vec<Kept>,
}

impl Retained {
    /// The session was lost, and these families' routes stay. Routes that were stale before go (RFC 4724, 4.2): the caller
    /// has to do away with them before it marks the others.
    pub fn lost(&mut self, families: &[Family], agreed: &RestartNegotiated, now: Moment) -> Vec<Fate> {
        let fates = self.kept.drain(..).map(|kept| Fate::Gone(kept.family)).collect();
        for family in families {
            let long_lived = agreed
                .long_lived
                .iter()
                .find(|entry| entry.family == *family)
                .map(|entry| entry.seconds)
                .filter(|s| *s > 0);
            let until = now + Duration::from_secs(agreed.time.into());
            self.kept.push(Kept { family: *family, phase: Phase::Waiting { long_lived }, until });
        }
        fates
    }

    /// Nothing stays.
    pub fn clear(&mut self) {
        self.kept.clear();
    }

    /// The session is back: routes stay where forwarding went on, until the neighbour has sent them again.
    pub fn returned(&mut self, agreed: Option<&RestartNegotiated>, stale: Duration, now: Moment) -> Vec<Fate> {
        let mut fates = Vec::new();
        self.kept.retain_mut(|kept| {
            let preserved = agreed.is_some_and(|agreed| {
                agreed.families.contains(&(kept.family, Forwarding::Preserved))
                    || (kept.phase == Phase::LongLived
                        && agreed
                            .long_lived
                            .iter()
                            .any(|entry| entry.family == kept.family && entry.forwarding == Forwarding::Preserved))
            });
            if preserved {
                *kept = Kept { phase: Phase::Returned, until: now + stale, ..*kept };
            } else {
                fates.push(Fate::GivenUp(kept.family));
            }
            preserved
        });
        fates
    }

    /// The neighbour begins to send a family's routes again.
    pub fn refreshing(&mut self, family: Family, stale: Duration, now: Moment) {
        self.kept.retain(|kept| kept.family != family);
        self.kept.push(Kept { family, phase: Phase::Returned, until: now + stale });
    }

    /// The neighbour has sent all routes of a family.
    pub fn complete(&mut self, family: Family) -> Option<Fate> {
        let at = self.kept.iter().position(|kept| kept.family == family)?;
        self.kept.swap_remove(at);
        Some(Fate::Gone(family))
    }

    /// When something becomes of them next.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.kept.iter().map(|kept| kept.until).min()
    }

    /// What becomes of them by `now`.
    pub fn expire(&mut self, now: Moment) -> Vec<Fate> {
        let mut fates = Vec::new();
        self.kept.retain_mut(|kept| {
            if kept.until > now {
                return true;
            }
            match kept.phase {
                Phase::Waiting { long_lived: Some(seconds) } => {
                    fates.push(Fate::LongLived(kept.family));
                    *kept = Kept {
                        phase: Phase::LongLived,
                        until: kept.until + Duration::from_secs(seconds.into()),
                        ..*kept
                    };
                    true
                }
                _ => {
                    fates.push(Fate::GivenUp(kept.family));
                    false
                }
            }
        });
        fates
    }
}
