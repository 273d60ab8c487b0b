//! Whether the agent is alive.

use super::protocol::AgentState;
use seat::{Moment, Timers};
use std::time::Duration;

/// What is known of the agent.
#[derive(Debug)]
pub struct AgentWatch {
    heard: Moment,
    state: AgentState,
    /// When its seats are handed over, again if need be.
    hand_over: Option<Moment>,
}

impl AgentWatch {
    /// It has just been heard.
    pub const fn new(now: Moment) -> Self {
        Self { heard: now, state: AgentState::Heard, hand_over: None }
    }

    /// It is heard.
    pub fn hears(&mut self, now: Moment) {
        self.heard = now;
    }

    /// The watcher itself did not run for so long.
    pub fn discount(&mut self, late: Duration, now: Moment) {
        self.heard = now.min(self.heard + late);
    }

    /// How it is.
    pub const fn state(&self) -> AgentState {
        self.state
    }

    /// Looks how it is.
    pub fn look(&mut self, timers: &Timers, now: Moment) -> AgentState {
        let silent = now.since(self.heard);
        self.state = if silent < timers.heartbeat() {
            AgentState::Heard
        } else if silent < timers.heartbeat() + timers.restart() {
            AgentState::Silent
        } else {
            AgentState::GivenUp
        };
        match self.state {
            AgentState::GivenUp => self.hand_over = self.hand_over.or(Some(now)),
            _ => self.hand_over = None,
        }
        self.state
    }

    /// Whether its seats are to be handed over; and after twice a renewal again, if somebody did not take one.
    pub fn hands_over(&mut self, timers: &Timers, now: Moment) -> bool {
        let is_due = self.hand_over.is_some_and(|due| due <= now);
        if is_due {
            self.hand_over = Some(now + timers.renewal() * 2);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_agent_has_time_to_come_back_and_then_its_seats_are_handed_over() {
        let timers = Timers::default();
        let mut now = Moment(1_000_000_000);
        let mut watch = AgentWatch::new(now);
        assert_eq!(watch.look(&timers, now), AgentState::Heard);
        now = now + timers.heartbeat();
        assert_eq!(watch.look(&timers, now), AgentState::Silent);
        assert!(!watch.hands_over(&timers, now));
        now = now + timers.restart();
        assert_eq!(watch.look(&timers, now), AgentState::GivenUp);
        assert!(watch.hands_over(&timers, now));
        assert!(!watch.hands_over(&timers, now), "once");
        now = now + timers.renewal() * 2;
        watch.look(&timers, now);
        assert!(watch.hands_over(&timers, now), "and again");
        watch.hears(now);
        assert_eq!(watch.look(&timers, now), AgentState::Heard);
        assert!(!watch.hands_over(&timers, now));
    }

    #[test]
    fn a_watcher_that_did_not_run_takes_nobody_for_silent() {
        let timers = Timers::default();
        let mut watch = AgentWatch::new(Moment(0));
        let paused = Duration::from_secs(60);
        let now = Moment(0) + paused;
        watch.discount(paused, now);
        assert_eq!(watch.look(&timers, now), AgentState::Heard);
    }
}
