//! The controllers' vote: where a pool's gateways are even in number they could come to a tie, which the controller that leads breaks.
//!
//! It has no sight of its own of what a gateway forwards. It takes a bidder's word that the holder is gone, since a bidder says so only if it sees
//! it. But as long as the holder speaks it does so ever more slowly, or two gateways that do not see each other would take a seat from each other
//! all the time. What it has said yes to is in the store before anybody hears of it, so that the next leader stands by it as well.

use super::record::{Holder, Seats, gateway_name};
use crate::controller::model::Id;
use seat::{
    Answer, Ask, Claim, Epoch, GatewayName, Incarnation, Input, Member, Memory, Message, Moment, Opinion, Output,
    Promise, SeatName, Voter,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// For how long a holder that speaks keeps a seat that it was given, whatever a bidder says.
const REST: Duration = Duration::from_secs(1);
/// For how long at most, when it is taken from one another again and again.
const LONGEST_REST: Duration = Duration::from_secs(64);
/// After so many rests without a move it counts as the first one again.
const FORGOTTEN: u32 = 8;

/// A seat's last move.
#[derive(Clone, Copy, Debug)]
struct Given {
    at: Moment,
    rest: Duration,
}

/// The vote of the controller that leads, in one pool.
#[derive(Debug)]
pub struct Vote {
    member: Member,
    given: BTreeMap<SeatName, Given>,
}

/// What is said, and what has to be kept before that.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// The answer; none to whoever does not vote itself.
    pub answer: Option<Answer>,
    /// What was said yes to for the first time.
    pub promise: Option<(SeatName, Promise)>,
}

impl Vote {
    /// Begins with what was said before, by this controller or another one.
    pub fn new(seats: &Seats, now: Moment) -> Self {
        let promise = |promised: &Holder| Promise { epoch: Epoch(promised.epoch), to: gateway_name(&promised.gateway) };
        let promises = seats
            .seats
            .iter()
            .filter_map(|(name, known)| Some((SeatName::from(name.as_str()), promise(known.promised.as_ref()?))));
        let memory = Memory::Kept { promises: promises.collect(), held: BTreeMap::new() };
        // It holds nothing, so that its life is nobody's business.
        let member = Member::new(Voter::Controllers, Incarnation(0), seats.timers, memory, now);
        Self { member, given: BTreeMap::new() }
    }

    /// What to say to a gateway's question.
    pub fn asked(&mut self, seats: &Seats, asker: &Id, ask: Ask, now: Moment) -> Said {
        let Ok(charter) = seats.settled() else { return Said { answer: None, promise: None } };
        let mut out = Vec::new();
        self.member.step(Input::Charter(charter), now, &mut out);
        let seat = ask.seat.clone();
        let holder = self.member.holder(&seat).map(|(holder, ..)| holder.clone());
        if let Some(holder) = holder.filter(|_| ask.claim == Claim::Bids && self.has_rested(&seat, now)) {
            self.see(&seat, holder, Opinion::Gone, now);
        }
        out.clear();
        let from = Voter::Gateway(gateway_name(asker));
        self.member.step(Input::Message { from, message: Message::Ask(ask) }, now, &mut out);
        if let Some((holder, ..)) = self.member.holder(&seat) {
            let holder = holder.clone();
            self.see(&seat, holder, Opinion::Unknown, now);
        }
        let mut said = Said { answer: None, promise: None };
        for output in out {
            match output {
                Output::Remember { seat, promise } => {
                    self.give(seat.clone(), now);
                    said.promise = Some((seat, promise));
                }
                Output::Send { message: Message::Answer(answer), .. } => said.answer = Some(answer),
                // It holds nothing, and asks nobody.
                Output::Send { .. } | Output::Gate { .. } | Output::Event { .. } => {}
            }
        }
        said
    }

    fn has_rested(&self, seat: &SeatName, now: Moment) -> bool {
        self.given.get(seat).is_none_or(|given| now.since(given.at) >= given.rest)
    }

    fn give(&mut self, seat: SeatName, now: Moment) {
        let before = self.given.get(&seat).filter(|given| now.since(given.at) < given.rest * FORGOTTEN);
        let rest = before.map_or(REST, |given| LONGEST_REST.min(given.rest * 2));
        self.given.insert(seat, Given { at: now, rest });
    }

    fn see(&mut self, seat: &SeatName, gateway: GatewayName, opinion: Opinion, now: Moment) {
        self.member.step(Input::Seen { seat: seat.clone(), gateway, opinion }, now, &mut Vec::new());
    }
}
