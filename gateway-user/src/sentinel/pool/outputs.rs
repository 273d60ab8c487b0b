//! What follows from what the member decides: promises are kept, gates written, letters sent, neighbours told.

use super::{CLAIM_AGAIN, News, Pool};
use crate::api::clock;
use crate::sentinel::gates::Gates;
use crate::sentinel::history::{Takeover, What};
use gateway_common::gate::{Gate, State};
use seat::{Epoch, Event, Hold, Input, Message, Moment, Output, Promise, SeatName, Voter};
use std::collections::BTreeSet;

impl Pool {
    /// Has the member take an input in, and does what follows from it.
    pub fn step(&mut self, input: Input, gates: &mut dyn Gates, now: Moment, news: &mut News) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut out = Vec::new();
            self.member.step(input, now, &mut out);
            let mut unkept = BTreeSet::new();
            for output in out {
                match output {
                    Output::Remember { seat, promise } => {
                        if !self.remember(&seat, &promise) {
                            unkept.insert(seat);
                        }
                    }
                    Output::Gate { seat, epoch, hold } => {
                        inputs.extend(self.write_gate(&seat, epoch, hold, gates, now, news));
                    }
                    Output::Send { to, message } => {
                        let (Message::Ask(seat::Ask { seat, .. }) | Message::Answer(seat::Answer { seat, .. })) =
                            &message;
                        if unkept.contains(seat) {
                            continue;
                        }
                        match to {
                            Voter::Gateway(name) => self.post.send(&name, message, self.own(now)),
                            Voter::Controllers => news.letters.push(message),
                        }
                    }
                    Output::Event { seat, event } => self.tell(&seat, event, now, news),
                }
            }
        }
    }

    fn remember(&mut self, seat: &SeatName, promise: &Promise) -> bool {
        let kept = self.memory.promise(seat, promise);
        if let Err(error) = &kept {
            tracing::error!(%error, %seat, "a promise cannot be kept in the state directory, so it is not made");
        }
        kept.is_ok()
    }

    /// Writes a gate. What the programs had seen by then is the member's next input.
    fn write_gate(
        &mut self,
        name: &SeatName,
        epoch: Epoch,
        hold: Hold,
        gates: &mut dyn Gates,
        now: Moment,
        news: &mut News,
    ) -> Option<Input> {
        let state = self.seats.get_mut(name)?;
        let end = |until: Option<Moment>| until.map_or(u64::MAX, |until| until.0);
        let (gate, under) = match hold {
            Hold::Replica => (Gate::REPLICA, epoch),
            Hold::Held(until) => (Gate::new(State::Held, end(until)), epoch),
            Hold::Yielding { until, to } => (Gate::new(State::Yielding, end(until)), to),
        };
        let mut note = |held: Option<Epoch>| {
            if let Err(error) = self.memory.hold(name, held) {
                tracing::warn!(%error, seat = %name, "after a restart it will not be known that this seat is held");
            }
        };
        // So that whatever the gate lets pass is known to a process that is started now.
        if hold != Hold::Replica {
            note(Some(epoch));
        }
        if let Err(error) = gates.write(state.seat.slot, gate, under) {
            tracing::error!(%error, seat = %name, slot = state.seat.slot, "a gate cannot be written");
        }
        if hold == Hold::Replica {
            note(None);
        }
        let is_new = state.hold == Hold::Replica || state.epoch != epoch.0;
        (state.hold, state.epoch) = (hold, epoch.0);
        match hold {
            Hold::Replica => {
                state.announcements.stop();
                (state.claim, state.awaits_first) = (None, false);
            }
            Hold::Held(_) if is_new => {
                state.activated = Moment(clock::monotonic());
                state.awaits_first = true;
            }
            Hold::Held(_) => {}
            Hold::Yielding { .. } => {
                state.announcements.stop();
                (state.claim, state.quiet) = (None, (0, now));
            }
        }
        if hold == Hold::Replica {
            return None;
        }
        // A packet that told of a later holder may have come between: the fence wins whatever the order.
        let seen = gates.read(state.seat.slot)?.seen;
        if seen <= under.0 {
            return None;
        }
        let _ = gates.write(state.seat.slot, Gate::REPLICA, under);
        state.seen = seen;
        news.happened.push((Some(name.clone()), What::Fenced { by: seen }));
        Some(Input::HigherEpoch { seat: name.clone(), epoch: Epoch(seen) })
    }

    fn tell(&mut self, name: &SeatName, event: Event, now: Moment, news: &mut News) {
        let Some(state) = self.seats.get_mut(name) else { return };
        let what = match event {
            Event::Bids(epoch) => {
                state.bid = Some(now);
                What::Bids { epoch: epoch.0 }
            }
            Event::BidEnded(epoch) => What::BidEnded { epoch: epoch.0 },
            Event::Taken { epoch, since } => {
                // Who wakes up and holds it still is stopped first, then the neighbours learn.
                self.probing.claim(state.seat.number, epoch.0, now.0);
                state.claim = Some((now + CLAIM_AGAIN[0], 1));
                state.announcements.announce(&self.sender, now);
                let announced = clock::monotonic();
                let announcements = state.announcements.count();
                let lost = state.lost.take();
                let from = lost.as_ref().map(|(from, ..)| from.clone());
                let from = from.or_else(|| state.told.as_ref().map(|(from, _)| from.clone()));
                What::Taken(Box::new(Takeover {
                    epoch: epoch.0,
                    from,
                    last_good: lost.as_ref().and_then(|(_, _, good)| good.map(|good| clock::wall(good.0))),
                    detected: lost.as_ref().map(|(_, at, _)| clock::wall(at.0)),
                    bid: clock::wall(since.0),
                    decided: clock::wall(now.0),
                    activated: clock::wall(state.activated.0),
                    announced: (announcements > 0).then(|| clock::wall(announced)),
                    announcements,
                    clocks: self.post.clocks(),
                }))
            }
            Event::Superseded { epoch, by } => What::Superseded { epoch: epoch.0, by: by.0 },
            Event::LeaseOver(epoch) => What::LeaseOver { epoch: epoch.0 },
            Event::Yields { epoch, to } => What::Yields { epoch: epoch.0, to: to.0 },
            Event::YieldFailed(epoch) => {
                state.claim = Some((now, 0));
                state.announcements.announce(&self.sender, now);
                What::YieldFailed { epoch: epoch.0 }
            }
            Event::HandedOver(epoch) => What::HandedOver { epoch: epoch.0 },
            Event::NotHeld => What::NotHeld,
            Event::NoSuccessor => What::NoSuccessor,
        };
        news.happened.push((Some(name.clone()), what));
    }
}
