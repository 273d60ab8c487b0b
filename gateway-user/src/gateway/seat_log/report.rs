//! How the logs of a gateway's seats are, for a person and the controller.

use super::holder;
use seat::{GatewayName, SeatName};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a seat's log is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatLogReport {
    /// The seat.
    pub seat: SeatName,
    /// This gateway's part in it.
    #[serde(flatten)]
    pub part: Part,
}

/// A gateway's part in a seat's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum Part {
    /// It tells others.
    Holder {
        /// Under which epoch it holds the seat.
        epoch: u64,
        /// Whether another gateway has all that it takes to go on with the seat.
        protected: bool,
        /// How many things are known.
        entries: u64,
        /// How many there was no room for.
        #[serde(default)]
        refused: u64,
        /// Who follows.
        followers: Vec<FollowerReport>,
    },
    /// It is told.
    Replica {
        /// By whom it was last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<GatewayName>,
        /// Under which epoch that one held the seat.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<u64>,
        /// Whether it was told everything.
        whole: bool,
        /// How many things are known.
        entries: u64,
        /// How many there was no room for.
        #[serde(default)]
        refused: u64,
    },
}

/// In a few words: who has it, or whence it is.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let things = |entries: &u64| if *entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") };
        match self {
            Self::Holder { protected: false, entries, .. } => write!(f, "unprotected, {}", things(entries)),
            Self::Holder { entries, followers, .. } => {
                let live = followers.iter().filter(|follower| follower.following == Following::Live);
                let live: Vec<&str> = live.map(|follower| follower.gateway.as_str()).collect();
                write!(f, "to {}, {}", live.join(" "), things(entries))
            }
            Self::Replica { holder: Some(holder), whole: true, entries, .. } => {
                write!(f, "from {holder}, {}", things(entries))
            }
            Self::Replica { entries, .. } => write!(f, "incomplete, {}", things(entries)),
        }
    }
}

/// How a follower is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowerReport {
    /// Who it is.
    pub gateway: GatewayName,
    /// How it is.
    pub following: Following,
    /// Changes that it has not acknowledged, at most.
    pub changes: u64,
    /// For how long it has owed the oldest acknowledgement.
    pub milliseconds: u64,
}

/// How a follower is, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Following {
    /// It is being told what there is.
    CatchingUp,
    /// It has everything but what changed lately.
    Live,
    /// It knows of a later epoch.
    Refused,
}

impl From<holder::Following> for Following {
    fn from(following: holder::Following) -> Self {
        match following {
            holder::Following::CatchingUp => Self::CatchingUp,
            holder::Following::Live => Self::Live,
            holder::Following::Refused(_) => Self::Refused,
        }
    }
}
