//! What is told of a session.

use crate::packet::{ControlPlane, Diagnostic, Discriminator, State};
use crate::timers::Interval;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU8;

/// A session as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Our state.
    pub state: State,
    /// Why it last changed.
    pub diagnostic: Diagnostic,
    /// Our name for the session.
    pub discriminator: Discriminator,
    /// What the neighbour says, once it was heard.
    pub remote: Option<Remote>,
    /// The time between our packets.
    pub transmit_interval: Interval,
    /// How long the neighbour may be silent, in microseconds; none while nothing was heard of it.
    pub detection_time: Option<u64>,
    /// That the path failed, if it did since the session was last up.
    pub failure: Option<Failure>,
}

/// What the neighbour said last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Its state.
    pub state: State,
    /// Why it last changed.
    pub diagnostic: Diagnostic,
    /// Its name for the session; none once it was silent for the detection time.
    pub discriminator: Option<Discriminator>,
    /// Whether its session survives its control plane.
    pub control_plane: ControlPlane,
    /// How fast it would like to send.
    pub desired_min_tx: Interval,
    /// How fast it can receive.
    pub required_min_rx: Interval,
    /// How many of its packets in a row have to be missed.
    pub multiplier: NonZeroU8,
}

/// A session that was up is down, and nobody switched it off (RFC 5882, 3.2).
///
/// What that means for routes is in `control_plane` (RFC 5882, 4.3): where the neighbour's session is independent of its control plane,
/// the path has failed, also while its control plane restarts gracefully; where it is not, a graceful restart explains the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// How it was noticed.
    pub cause: Cause,
    /// What the neighbour said of its session while it was up.
    pub control_plane: ControlPlane,
}

/// How a failure was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nothing was heard for the detection time.
    Silence,
    /// The neighbour does not hear us, or began anew.
    Signaled,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silence => "nothing was heard for the detection time",
            Self::Signaled => "the neighbor said that the session is down",
        })
    }
}
