//! One speaker: its neighbours' sessions and the routes between them.
//!
//! | what | where |
//! |---|---|
//! | what is configured | [`Config`] |
//! | what it is told | [`Input`] |
//! | what it wants done | [`Output`] |

mod config;
mod io;

pub use crate::session::Close;
pub use config::{Config, NeighborConfig, NeighborName, Network, Start};
pub use io::{Bfd, Input, NextHopChange, Output, Reset, RouteNextHop};

use crate::Moment;

/// One speaker.
#[derive(Debug)]
pub struct Speaker {
    config: Config,
}

impl Speaker {
    /// A speaker that begins with this configuration. `seed` is for what is left to chance: the jitter of timers.
    pub fn new(config: Config, start: Start, seed: u64, now: Moment, outputs: &mut Vec<Output>) -> Self {
        let _ = (start, seed, now, outputs);
        Self { config }
    }

    /// Tells the speaker what has happened by `now`; what it wants done is appended to `outputs`.
    pub fn step(&mut self, input: Input<'_>, now: Moment, outputs: &mut Vec<Output>) {
        let _ = (now, outputs);
        if let Input::Configure(config) = input {
            self.config = config;
        }
    }

    /// When [`Input::Timer`] is wanted; changes with every step.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        None
    }

    /// What is configured.
    pub const fn config(&self) -> &Config {
        &self.config
    }
}
