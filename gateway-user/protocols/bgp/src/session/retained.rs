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
//!
//! Some send the End-of-RIB of a family before its first route (FRR 8.4, IPv6): what is said to be all is then nothing. Such
//! an end is believed after [`FIRST_ROUTES`], and not at once as RFC 4724 would have it: the routes are about to come.

use super::negotiated::RestartNegotiated;
use crate::Moment;
use crate::number::Family;
use crate::wire::Forwarding;
use std::time::Duration;

/// How long a neighbour's first routes may take where nothing else tells that none will come. FRR sends its own a little more than
/// a second after a session is up.
pub const FIRST_ROUTES: Duration = Duration::from_secs(5);

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
    Waiting {
        long_lived: Option<u32>,
    },
    LongLived,
    /// The neighbour is back, and has sent none of them again so far.
    Returned,
    /// It has sent some.
    Sending,
    /// It says that it has sent all, and has sent none.
    EmptyEnd,
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
        self.kept.push(Kept { family, phase: Phase::Sending, until: now + stale });
    }

    /// The neighbour sends routes of a family.
    pub fn announced(&mut self, family: Family) {
        let mut kept = self.kept.iter_mut().filter(|kept| kept.family == family);
        if let Some(kept) = kept.find(|kept| kept.phase == Phase::Returned) {
            kept.phase = Phase::Sending;
        }
    }

    /// The neighbour says that it has sent all routes of a family.
    pub fn ended(&mut self, family: Family, now: Moment) -> Option<Fate> {
        let kept = self.kept.iter_mut().find(|kept| kept.family == family)?;
        match kept.phase {
            Phase::Returned => {
                *kept = Kept { phase: Phase::EmptyEnd, until: kept.until.min(now + FIRST_ROUTES), ..*kept };
                None
            }
            Phase::EmptyEnd => None,
            _ => self.complete(family),
        }
    }

    /// The neighbour has sent all routes of a family, or nothing of them is to stay for another reason.
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
                Phase::EmptyEnd => {
                    fates.push(Fate::Gone(kept.family));
                    false
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
