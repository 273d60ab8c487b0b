//! One seat as a member sees it.

use super::{Context, Event, Hold, Output};
use crate::bid::Bid;
use crate::charter::Bound;
use crate::message::{Answer, Ask, Claim, Message, Verdict};
use crate::names::{GatewayName, Voter};
use crate::voter::{Incumbent, Opinion, Promise, Record};
use gateway_common::{Epoch, moment::Moment};

/// What a member is to a seat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    /// It may only have a vote.
    #[default]
    Replica,
    /// It wants to take it.
    Bids {
        bid: Bid,
        /// When to ask those again who have not answered.
        ask_at: Moment,
    },
    /// It holds it.
    Holds {
        bid: Bid,
        /// When the lease is over.
        until: Option<Moment>,
        ask_at: Moment,
    },
    /// It holds it and wants another to take it.
    Yields { bid: Bid, until: Moment, ask_at: Moment, to: Epoch, successor: Successor },
}

/// Whom a seat is handed over to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Successor {
    /// It has not taken it, and has time until then.
    Awaited(Moment),
    /// It holds the seat.
    Holds,
}

/// One seat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Seat {
    pub record: Record,
    pub standing: Standing,
    /// Epochs up to here were refused elsewhere as too low.
    pub passed: Epoch,
    /// Up to this epoch nobody took the seat when it was handed over.
    pub declined: Epoch,
    /// When the last promise to somebody was made.
    pub promised_at: Option<Moment>,
    /// When it was last offered to whom the charter wants to have it.
    pub offered_at: Option<Moment>,
}

impl Seat {
    /// A promise from before a restart. Who was promised the seat is taken for its holder until it is known better.
    pub fn recall(&mut self, promise: Promise, now: Moment) {
        let Promise { epoch, to: gateway } = promise.clone();
        self.record.promise = Some(promise);
        self.record.incumbent = Some(Incumbent { epoch, gateway, heard: now, yields_to: None });
    }

    /// What the gate says after a restart. A seat that was being handed over is held again: whether it was taken will be heard.
    pub fn resume(&mut self, epoch: Epoch, hold: Hold, now: Moment) {
        let until = match hold {
            Hold::Replica => return,
            Hold::Held(until) | Hold::Yielding { until, .. } => until,
        };
        if until.is_none_or(|until| until > now) {
            self.standing = Standing::Holds { bid: Bid::new(epoch, now), until, ask_at: now };
        }
    }

    /// Whether this member holds the seat, or is about to.
    pub fn is_wanted_here(&self) -> bool {
        self.standing != Standing::Replica
    }

    /// What the gate is to say.
    pub fn hold(&self) -> (Epoch, Hold) {
        match &self.standing {
            Standing::Replica | Standing::Bids { .. } => (self.record.highest(), Hold::Replica),
            Standing::Holds { bid, until, .. } => (bid.epoch(), Hold::Held(*until)),
            Standing::Yields { bid, until, to, .. } => (bid.epoch(), Hold::Yielding { until: Some(*until), to: *to }),
        }
    }

    pub fn sees(&mut self, gateway: GatewayName, opinion: Opinion, now: Moment) {
        let is_known = matches!(&self.record.opinion, Some((of, what, _)) if *of == gateway && *what == opinion);
        if !is_known {
            self.record.opinion = Some((gateway, opinion, now));
        }
    }

    /// Another gateway asks: what it says of itself, and what this voter says to it.
    pub fn asked(&mut self, context: Context<'_>, asker: &GatewayName, ask: &Ask, out: &mut Vec<Output>) -> Verdict {
        self.record.hear(asker, ask, context.charter, context.now);
        if ask.claim != Claim::Bids && context.charter.grants(context.name, ask.epoch, asker) {
            self.superseded(context, ask.epoch, out);
        }
        self.vote(context, asker, ask, out)
    }

    /// What this voter says to a question, which it keeps to.
    pub fn vote(&mut self, context: Context<'_>, asker: &GatewayName, ask: &Ask, out: &mut Vec<Output>) -> Verdict {
        let Context { charter, timers, now, memory, .. } = context;
        let verdict = self.record.judge(asker, ask, charter, timers.lease(), now, memory);
        if verdict == Verdict::Yes && self.record.promise.as_ref().is_none_or(|promise| promise.epoch < ask.epoch) {
            let promise = Promise { epoch: ask.epoch, to: asker.clone() };
            out.push(Output::Remember { seat: context.name.clone(), promise: promise.clone() });
            self.record.promise = Some(promise);
            self.promised_at = Some(now);
        }
        verdict
    }

    /// Another voter has answered.
    pub fn answered(&mut self, context: Context<'_>, from: &Voter, answer: &Answer, out: &mut Vec<Output>) {
        let bid = match &mut self.standing {
            Standing::Replica => return,
            Standing::Bids { bid, .. } | Standing::Holds { bid, .. } | Standing::Yields { bid, .. } => bid,
        };
        if bid.epoch() != answer.epoch {
            return;
        }
        match answer.verdict {
            Verdict::Yes => {
                bid.agrees(from, answer.asked, context.now);
                self.count(context, out);
            }
            // Not yet a reason to stop: it may stand by one who never gets a majority.
            Verdict::Superseded(by) => self.passed = self.passed.max(by),
            // Not everybody sees the holder's end in the same moment: who does not yet will before long.
            Verdict::HolderAlive => {
                if let Standing::Bids { ask_at, .. } = &mut self.standing {
                    *ask_at = (*ask_at).min(context.now + context.timers.probe());
                }
            }
            _ => {}
        }
    }

    /// Asks all voters, this one first.
    pub fn ask_all(&mut self, context: Context<'_>, epoch: Epoch, claim: Claim, out: &mut Vec<Output>) {
        let ask = context.ask(epoch, claim);
        let Some(me) = context.me.as_gateway() else { return };
        self.record.hear(me, &ask, context.charter, context.now);
        for voter in context.charter.electorate().voters() {
            if voter != context.me {
                out.push(Output::Send { to: voter.clone(), message: Message::Ask(ask.clone()) });
            }
        }
        if context.charter.electorate().voters().any(|voter| voter == context.me) {
            let verdict = self.vote(context, me, &ask, out);
            let answer = Answer { seat: ask.seat, epoch, asked: ask.asked, verdict };
            self.answered(context, context.me, &answer, out);
        }
    }

    /// Looks what a majority's answers amount to.
    fn count(&mut self, context: Context<'_>, out: &mut Vec<Output>) {
        let lease = context.timers.lease();
        let bound = context.charter.seats().get(context.name).map_or(Bound::Leased, |succession| succession.bound);
        let end = |supported: Moment| match bound {
            Bound::Leased => Some(supported + lease),
            Bound::Unbounded => None,
        };
        match &mut self.standing {
            Standing::Replica => {}
            Standing::Bids { bid, .. } => {
                let until = bid.supported(context.charter.electorate()).map(end);
                if let Some(until) = until.filter(|until| until.is_none_or(|until| until > context.now)) {
                    let bid = bid.clone();
                    self.take(context, bid, until, out);
                }
            }
            Standing::Holds { bid, until, .. } => {
                let Some(renewed) = bid.supported(context.charter.electorate()).map(end) else { return };
                let is_news = match (renewed, *until) {
                    (Some(renewed), Some(until)) => renewed > until,
                    (renewed, until) => renewed != until,
                };
                if is_news {
                    *until = renewed;
                    out.push(context.gate(bid.epoch(), Hold::Held(renewed)));
                }
            }
            Standing::Yields { .. } => {}
        }
    }

    /// Holds the seat from here on. The gate first; that others hear of it at once is what stops a former holder.
    fn take(&mut self, context: Context<'_>, bid: Bid, until: Option<Moment>, out: &mut Vec<Output>) {
        let epoch = bid.epoch();
        out.push(context.gate(epoch, Hold::Held(until)));
        out.push(context.event(Event::Taken { epoch, since: bid.since() }));
        self.standing = Standing::Holds { bid, until, ask_at: context.now + context.timers.renewal() };
        self.ask_all(context, epoch, Claim::Holds, out);
    }

    /// Does what the time asks for.
    pub fn look(&mut self, context: Context<'_>, out: &mut Vec<Output>) {
        if matches!(self.standing, Standing::Holds { .. } | Standing::Yields { .. }) {
            self.look_after_lease(context, out);
        }
        if matches!(self.standing, Standing::Replica | Standing::Bids { .. }) {
            self.look_for_opening(context, out);
        }
    }

    /// When to look again.
    pub fn deadline(&self, context: Context<'_>) -> Option<Moment> {
        match &self.standing {
            Standing::Replica => self.opening(context).map(|opening| opening.from),
            Standing::Bids { ask_at, .. } => Some(*ask_at),
            Standing::Holds { until, ask_at, .. } => Some(until.map_or(*ask_at, |until| until.min(*ask_at))),
            Standing::Yields { until, ask_at, successor, .. } => Some(match successor {
                Successor::Awaited(end) => (*until).min(*ask_at).min(*end),
                Successor::Holds => *until,
            }),
        }
    }
}
