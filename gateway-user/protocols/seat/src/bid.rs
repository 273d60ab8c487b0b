//! A gateway's case for a seat: who has answered which question.

use crate::charter::Electorate;
use crate::names::Voter;
use gateway_common::{Epoch, moment::Moment};
use std::collections::BTreeMap;

/// A gateway's case for a seat under one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bid {
    epoch: Epoch,
    since: Moment,
    /// By voter, when the last question was asked that it said yes to.
    agreed: BTreeMap<Voter, Moment>,
}

impl Bid {
    /// A case that nobody has heard of.
    pub const fn new(epoch: Epoch, since: Moment) -> Self {
        Self { epoch, since, agreed: BTreeMap::new() }
    }

    /// The epoch.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// When it began.
    pub const fn since(&self) -> Moment {
        self.since
    }

    /// Notes that a voter said yes to the question that was asked at `asked`; not to one that was not.
    pub fn agrees(&mut self, voter: &Voter, asked: Moment, now: Moment) {
        if asked < self.since || asked > now {
            return;
        }
        match self.agreed.get_mut(voter) {
            Some(last) => *last = asked.max(*last),
            None => {
                self.agreed.insert(voter.clone(), asked);
            }
        }
    }

    /// The latest moment since which a majority stands by this case: every one of it said yes to a question of then or later.
    pub fn supported(&self, electorate: &Electorate) -> Option<Moment> {
        let mut moments: Vec<Moment> = self.agreed.values().copied().collect();
        moments.sort_unstable_by(|one, other| other.cmp(one));
        moments.into_iter().find(|&moment| {
            electorate.is_majority(self.agreed.iter().filter(|(_, asked)| **asked >= moment).map(|(voter, _)| voter))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charter::ElectorateNumber;

    #[test]
    fn the_slower_half_of_a_majority_counts() {
        let electorate = Electorate::of(ElectorateNumber(1), ["a", "b", "c"].map(Into::into));
        let [a, b, c] = ["a", "b", "c"].map(|name| Voter::Gateway(name.into()));
        let now = Moment(100);
        let mut bid = Bid::new(Epoch(3), Moment(10));
        bid.agrees(&a, Moment(50), now);
        assert_eq!(bid.supported(&electorate), None);
        bid.agrees(&b, Moment(20), now);
        assert_eq!(bid.supported(&electorate), Some(Moment(20)));
        bid.agrees(&c, Moment(40), now);
        assert_eq!(bid.supported(&electorate), Some(Moment(40)));
        bid.agrees(&c, Moment(30), now);
        assert_eq!(bid.supported(&electorate), Some(Moment(40)), "an answer that comes late takes nothing back");
    }

    #[test]
    fn answers_to_what_was_not_asked_do_not_count() {
        let electorate = Electorate::of(ElectorateNumber(1), ["a"].map(Into::into));
        let a = Voter::Gateway("a".into());
        let mut bid = Bid::new(Epoch(3), Moment(10));
        bid.agrees(&a, Moment(9), Moment(100));
        bid.agrees(&a, Moment(101), Moment(100));
        assert_eq!(bid.supported(&electorate), None);
    }
}
