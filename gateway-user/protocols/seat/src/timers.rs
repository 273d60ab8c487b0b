//! The timers of failover, and what must hold between them.
//!
//! | timer | default | what it is |
//! |---|---|---|
//! | probe | 5 ms | between two probes of a gateway's forwarding plane |
//! | misses | 3 | probes in a row without an answer that mean an end |
//! | heartbeat | 300 ms | without a word from an agent, until it counts as dead |
//! | restart | 2 s | what a dead agent is given to come back |
//! | renewal | 500 ms | between two rounds in which a holder has its lease renewed |
//! | lease | 4 s | how long a majority's answer lets a holder forward |
//! | patience | 50 ms | until an unanswered question is asked again, and until the next successor bids; a voter that still sees the holder is asked again after a probe's time |
//!
//! *Detection* is `probe x (misses + 1)` at most. Then `probe < detection < heartbeat + restart`, so that a dead forwarding plane is known
//! before a dead agent is given up, and `renewal + heartbeat + restart < lease`, so that a lease outlives the restart of an agent that died
//! just before it renewed it.

use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;
use thiserror::Error;

/// The timers of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Timers(Settings);

/// Timers as they are written, which nobody has looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Between two probes.
    pub probe: Duration,
    /// Probes in a row without an answer that mean an end.
    pub misses: NonZeroU32,
    /// Without a word from an agent, until it counts as dead.
    pub heartbeat: Duration,
    /// What a dead agent is given to come back.
    pub restart: Duration,
    /// Between two rounds of a holder's questions.
    pub renewal: Duration,
    /// How long a majority's answer lets a holder forward.
    pub lease: Duration,
    /// Until an unanswered question is asked again, and until the next successor bids.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            probe: Duration::from_millis(5),
            misses: NonZeroU32::MIN.saturating_add(2),
            heartbeat: Duration::from_millis(300),
            restart: Duration::from_secs(2),
            renewal: Duration::from_millis(500),
            lease: Duration::from_secs(4),
            patience: Duration::from_millis(50),
        }
    }
}

/// Why timers do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TimersError {
    /// Something would be done without end.
    #[error("a timer of failover is zero: every one needs a time")]
    Zero,
    /// A dead agent would be given up before its forwarding plane is known to be dead.
    #[error(
        "detection takes {detection:?} and giving an agent up {giving_up:?} (heartbeat + restart), which must be longer"
    )]
    DetectionTooSlow {
        /// Probe x (misses + 1).
        detection: Duration,
        /// Heartbeat + restart.
        giving_up: Duration,
    },
    /// An agent's death would stop its forwarding plane.
    #[error(
        "a lease of {lease:?} does not outlive the restart of an agent: it must be longer than {least:?} (renewal + heartbeat + restart)"
    )]
    LeaseTooShort {
        /// The lease.
        lease: Duration,
        /// Renewal + heartbeat + restart.
        least: Duration,
    },
    /// A question would be given up before it can be asked again within a round.
    #[error("a patience of {patience:?} is longer than the {renewal:?} between renewals")]
    TooPatient {
        /// The patience.
        patience: Duration,
        /// The renewal.
        renewal: Duration,
    },
}

impl Timers {
    /// Checks that they go together.
    ///
    /// # Errors
    /// They do not.
    pub fn new(settings: Settings) -> Result<Self, TimersError> {
        let Settings { probe, heartbeat, restart, renewal, lease, patience, .. } = settings;
        if [probe, heartbeat, restart, renewal, lease, patience].contains(&Duration::ZERO) {
            return Err(TimersError::Zero);
        }
        let timers = Self(settings);
        let giving_up = heartbeat.saturating_add(restart);
        if timers.detection() >= giving_up {
            return Err(TimersError::DetectionTooSlow { detection: timers.detection(), giving_up });
        }
        let least = renewal.saturating_add(giving_up);
        if lease <= least {
            return Err(TimersError::LeaseTooShort { lease, least });
        }
        if patience > renewal {
            return Err(TimersError::TooPatient { patience, renewal });
        }
        Ok(timers)
    }

    /// Between two probes.
    pub const fn probe(&self) -> Duration {
        self.0.probe
    }

    /// Probes in a row without an answer that mean an end.
    pub const fn misses(&self) -> u32 {
        self.0.misses.get()
    }

    /// From a forwarding plane's death until its prober knows, at most.
    pub fn detection(&self) -> Duration {
        self.0.probe.saturating_mul(self.0.misses.get().saturating_add(1))
    }

    /// Without a word from an agent, until it counts as dead.
    pub const fn heartbeat(&self) -> Duration {
        self.0.heartbeat
    }

    /// What a dead agent is given to come back.
    pub const fn restart(&self) -> Duration {
        self.0.restart
    }

    /// Between two rounds of a holder's questions.
    pub const fn renewal(&self) -> Duration {
        self.0.renewal
    }

    /// How long a majority's answer lets a holder forward, from the moment that it was asked.
    pub const fn lease(&self) -> Duration {
        self.0.lease
    }

    /// Until an unanswered question is asked again, and until the next successor bids.
    pub const fn patience(&self) -> Duration {
        self.0.patience
    }
}

impl Default for Timers {
    /// Those of the table above.
    fn default() -> Self {
        Self(Settings::default())
    }
}

impl TryFrom<Settings> for Timers {
    type Error = TimersError;

    fn try_from(settings: Settings) -> Result<Self, TimersError> {
        Self::new(settings)
    }
}

impl From<Timers> for Settings {
    fn from(timers: Timers) -> Self {
        timers.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_go_together() {
        assert_eq!(Timers::new(Settings::default()), Ok(Timers::default()));
        let text = serde_json::to_string(&Timers::default()).unwrap();
        assert_eq!(serde_json::from_str::<Timers>(&text).unwrap(), Timers::default());
    }

    #[test]
    fn timers_that_do_not_go_together_are_refused() {
        let usual = Settings::default();
        let seconds = Duration::from_secs;
        assert_eq!(Timers::new(Settings { probe: Duration::ZERO, ..usual }), Err(TimersError::Zero));
        assert!(matches!(
            Timers::new(Settings { probe: seconds(1), ..usual }),
            Err(TimersError::DetectionTooSlow { detection, .. }) if detection == seconds(4)
        ));
        let least = Duration::from_millis(2800);
        assert_eq!(
            Timers::new(Settings { lease: least, ..usual }),
            Err(TimersError::LeaseTooShort { lease: least, least })
        );
        assert!(matches!(Timers::new(Settings { patience: seconds(1), ..usual }), Err(TimersError::TooPatient { .. })));
    }
}
