//! What a voter knows of a seat, and when it says yes.

use crate::charter::Charter;
use crate::message::{Ask, Claim, Verdict};
use crate::names::GatewayName;
use gateway_common::{Epoch, moment::Moment};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a voter has said yes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Promise {
    /// The epoch.
    pub epoch: Epoch,
    /// Whom it stands by.
    pub to: GatewayName,
}

/// What a voter sees of a seat's holder itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opinion {
    /// It forwards.
    Alive,
    /// It does not forward this seat's packets.
    Gone,
    /// Nothing: it does not watch it, or sees nobody at all and must be cut off itself.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Opinion {
    /// Whether nothing is seen.
    pub fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

/// The holder that was heard last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Incumbent {
    pub epoch: Epoch,
    pub gateway: GatewayName,
    pub heard: Moment,
    pub yields_to: Option<Epoch>,
}

/// What a voter knows of a seat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub promise: Option<Promise>,
    pub incumbent: Option<Incumbent>,
    /// What is seen of whom, and since when.
    pub opinion: Option<(GatewayName, Opinion, Moment)>,
}

impl Record {
    /// The highest epoch that this voter stands by or has heard of.
    pub fn highest(&self) -> Epoch {
        let promised = self.promise.as_ref().map_or(Epoch(0), |promise| promise.epoch);
        promised.max(self.holding())
    }

    /// The epoch that was held last, as far as is known.
    pub fn holding(&self) -> Epoch {
        self.incumbent.as_ref().map_or(Epoch(0), |incumbent| incumbent.epoch)
    }

    /// Since when the holder counts as gone, by what is seen of it.
    pub fn gone_since(&self) -> Option<Moment> {
        let incumbent = self.incumbent.as_ref()?;
        match &self.opinion {
            Some((gateway, Opinion::Gone, since)) if *gateway == incumbent.gateway => Some(*since),
            _ => None,
        }
    }

    /// Notes what a holder says of itself, if the seat was granted to it.
    pub fn hear(&mut self, asker: &GatewayName, ask: &Ask, charter: &Charter, now: Moment) {
        let yields_to = match ask.claim {
            Claim::Bids => return,
            Claim::Holds => None,
            Claim::Yields(epoch) => Some(epoch),
        };
        if ask.epoch >= self.holding() && charter.grants(&ask.seat, ask.epoch, asker) {
            self.incumbent = Some(Incumbent { epoch: ask.epoch, gateway: asker.clone(), heard: now, yields_to });
        }
    }

    /// What to say to a question.
    pub fn judge(
        &self,
        asker: &GatewayName,
        ask: &Ask,
        charter: &Charter,
        lease: Duration,
        now: Moment,
        memory: Recollection,
    ) -> Verdict {
        let number = charter.electorate().number();
        if ask.electorate < number {
            return Verdict::OutdatedElectorate(number);
        }
        if ask.epoch < self.highest() {
            return Verdict::Superseded(self.highest());
        }
        if !charter.grants(&ask.seat, ask.epoch, asker) {
            return Verdict::Ungranted;
        }
        if memory == Recollection::Doubtful {
            return Verdict::Abstains;
        }
        let stands_by_it = self.promise.as_ref().is_some_and(|promise| promise.epoch == ask.epoch);
        if stands_by_it || self.is_open_to(asker, ask.epoch, lease, now) { Verdict::Yes } else { Verdict::HolderAlive }
    }

    /// Whether the seat may be taken by somebody else than its holder.
    fn is_open_to(&self, asker: &GatewayName, epoch: Epoch, lease: Duration, now: Moment) -> bool {
        let Some(incumbent) = &self.incumbent else { return true };
        incumbent.gateway == *asker
            || incumbent.yields_to == Some(epoch)
            || self.gone_since().is_some()
            // It asks far more often: its lease is over, or this voter is not needed for it.
            || now.since(incumbent.heard) >= lease
    }
}

/// Whether a voter knows all that it ever said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Recollection {
    Certain,
    Doubtful,
}
