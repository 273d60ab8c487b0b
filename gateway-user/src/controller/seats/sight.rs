//! Whether a seat is carried, by what the pool's gateways see of its holder.

use super::record::Occupancy;
use seat::Opinion;

/// What is heard of a seat and of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signs {
    /// Whether the holder itself is heard of, and says that it holds the seat.
    pub holder: Word,
    /// What others see of the holder that are heard of and know it for the holder.
    pub others: Vec<Opinion>,
    /// Whether anybody who is heard of could take the seat.
    pub successor: Successor,
}

/// What a holder says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// That it holds the seat.
    Holds,
    /// That it does not, or nothing of it.
    Nothing,
    /// It is not heard of.
    Silence,
}

/// Whether a seat could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    /// By somebody who is heard of and was granted it, and whom a majority could agree to.
    Possible,
    /// By nobody.
    None,
}

/// What follows from the signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried.
    Carried,
    /// Its holder is gone; somebody may take it within a lease's time, in which every successor has had its turn.
    Leaderless,
    /// Its holder is gone, and nobody can take it.
    Lost,
    /// Nothing: what was known stays. One that is not heard of may forward all the same.
    Unknown,
}

impl Signs {
    /// One observer alone is not believed against the holder's own word.
    pub fn verdict(&self) -> Verdict {
        let gone = self.others.iter().filter(|opinion| **opinion == Opinion::Gone).count();
        let is_seen = self.others.contains(&Opinion::Alive);
        match (is_seen, gone, self.holder) {
            (true, ..) | (false, 0, Word::Holds) => Verdict::Carried,
            (false, 0, _) => Verdict::Unknown,
            (false, 1, Word::Holds) => Verdict::Unknown,
            (false, ..) if self.successor == Successor::Possible => Verdict::Leaderless,
            (false, ..) => Verdict::Lost,
        }
    }
}

impl Verdict {
    /// What a seat is, which was something else before, and whose holder has been gone for a lease's time or not.
    pub fn occupancy(self, before: Occupancy, waited: Waited) -> Occupancy {
        match (self, waited) {
            (Self::Carried, _) => Occupancy::Carried,
            (Self::Lost, _) | (Self::Leaderless, Waited::Lease) => Occupancy::Empty,
            (Self::Leaderless, Waited::Less) | (Self::Unknown, _) => before,
        }
    }
}

/// How long a seat has been without its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// For a shorter time than a lease.
    Less,
    /// At least as long.
    Lease,
}

#[cfg(test)]
mod tests {
    use super::*;
    use Opinion::{Alive, Gone};

    fn verdict(holder: Word, others: &[Opinion], successor: Successor) -> Verdict {
        Signs { holder, others: others.to_vec(), successor }.verdict()
    }

    #[test]
    fn a_seat_is_lost_when_those_who_look_see_its_holder_gone_and_nobody_can_take_it() {
        assert_eq!(verdict(Word::Silence, &[Gone], Successor::None), Verdict::Lost);
        assert_eq!(verdict(Word::Silence, &[Gone], Successor::Possible), Verdict::Leaderless);
        assert_eq!(
            verdict(Word::Holds, &[Gone, Gone], Successor::None),
            Verdict::Lost,
            "its agent outlived its programs"
        );
        assert_eq!(verdict(Word::Silence, &[Gone, Alive], Successor::None), Verdict::Carried);
        assert_eq!(
            verdict(Word::Holds, &[Gone], Successor::None),
            Verdict::Unknown,
            "it is one word against the other"
        );
        assert_eq!(verdict(Word::Holds, &[], Successor::None), Verdict::Carried);
    }

    #[test]
    fn silence_alone_says_nothing() {
        let unknown = verdict(Word::Silence, &[], Successor::None);
        assert_eq!(unknown, Verdict::Unknown);
        for before in [Occupancy::Carried, Occupancy::Empty] {
            assert_eq!(unknown.occupancy(before, Waited::Lease), before);
        }
    }

    #[test]
    fn who_may_take_a_seat_has_a_lease_s_time_to_do_so() {
        let leaderless = Verdict::Leaderless;
        assert_eq!(leaderless.occupancy(Occupancy::Carried, Waited::Less), Occupancy::Carried);
        assert_eq!(leaderless.occupancy(Occupancy::Carried, Waited::Lease), Occupancy::Empty);
        assert_eq!(leaderless.occupancy(Occupancy::Empty, Waited::Less), Occupancy::Empty);
    }
}
