//! What voters say to each other. Whoever carries it knows for certain who speaks.

use crate::charter::{ElectorateNumber, epoch};
use crate::names::SeatName;
use gateway_common::{Epoch, moment::Moment};
use serde::{Deserialize, Serialize};

/// A question, or the answer to one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// "Do you stand by me as the holder of this seat?"
    Ask(Ask),
    /// "I do", or why not.
    Answer(Answer),
}

/// A question of who holds a seat or wants to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ask {
    /// The seat.
    pub seat: SeatName,
    /// Under which epoch.
    #[serde(with = "epoch")]
    pub epoch: Epoch,
    /// Where the asker stands.
    pub claim: Claim,
    /// The electorate that the asker goes by.
    pub electorate: ElectorateNumber,
    /// When this was asked, by the asker's clock; nobody else's business.
    #[serde(with = "nanoseconds")]
    pub asked: Moment,
}

/// Where an asker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// It wants to take the seat.
    Bids,
    /// It holds the seat.
    Holds,
    /// It holds the seat and wants it to be taken under this epoch.
    Yields(#[serde(with = "epoch")] Epoch),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// As asked.
    pub seat: SeatName,
    /// As asked.
    #[serde(with = "epoch")]
    pub epoch: Epoch,
    /// As asked.
    #[serde(with = "nanoseconds")]
    pub asked: Moment,
    /// What the voter says.
    pub verdict: Verdict,
}

/// What a voter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It stands by the asker.
    Yes,
    /// It stands by a later holder.
    Superseded(#[serde(with = "epoch")] Epoch),
    /// It knows of no such grant.
    Ungranted,
    /// It sees the present holder alive.
    HolderAlive,
    /// It may have promised something else before it was started, and waits until that cannot matter.
    Abstains,
    /// The asker goes by voters of old.
    OutdatedElectorate(ElectorateNumber),
}

/// A moment as nanoseconds in text.
mod nanoseconds {
    use gateway_common::moment::Moment;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(moment: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
        moment.0.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        u64::deserialize(deserializer).map(Moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_is_heard() {
        let ask = Ask {
            seat: "one".into(),
            epoch: Epoch(7),
            claim: Claim::Yields(Epoch(8)),
            electorate: ElectorateNumber(3),
            asked: Moment(5),
        };
        let answer =
            Answer { seat: "one".into(), epoch: Epoch(7), asked: Moment(5), verdict: Verdict::Superseded(Epoch(9)) };
        for message in [Message::Ask(ask), Message::Answer(answer)] {
            let text = serde_json::to_string(&message).unwrap();
            assert_eq!(serde_json::from_str::<Message>(&text).unwrap(), message);
        }
    }
}
