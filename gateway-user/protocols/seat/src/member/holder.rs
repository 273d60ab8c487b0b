//! What a holder does: it keeps its lease, stops in time, and hands over.

use super::seat::{Seat, Standing, Successor};
use super::{Context, Event, Hold, Output};
use crate::message::Claim;
use crate::names::GatewayName;
use crate::voter::Incumbent;
use gateway_common::Epoch;

impl Seat {
    /// Renews the lease, or ends with it.
    pub fn look_after_lease(&mut self, context: Context<'_>, out: &mut Vec<Output>) {
        let now = context.now;
        let next_ask = now + context.timers.renewal();
        match &mut self.standing {
            Standing::Holds { bid, until: Some(until), .. } if now >= *until => {
                let epoch = bid.epoch();
                self.stop(context, epoch, Event::LeaseOver(epoch), out);
            }
            Standing::Holds { bid, ask_at, .. } if now >= *ask_at => {
                *ask_at = next_ask;
                let epoch = bid.epoch();
                let supported = bid.supported(context.charter.electorate()).unwrap_or(bid.since());
                if self.passed > epoch && now.since(supported) >= context.timers.renewal().saturating_mul(2) {
                    // A majority stands by a successor that did not get to know of it: it is let take the seat while the lease lasts.
                    let later = context.charter.seats().get(context.name).and_then(|it| it.granted(self.passed));
                    if let Some(successor) = later.filter(|to| context.me.as_gateway() != Some(*to)).cloned() {
                        self.hand_over(context, Some(&successor), out);
                        return;
                    }
                }
                self.ask_all(context, epoch, Claim::Holds, out);
            }
            Standing::Yields { bid, until, successor, .. } if now >= *until => {
                let epoch = bid.epoch();
                let event = match successor {
                    Successor::Holds => Event::HandedOver(epoch),
                    Successor::Awaited(_) => Event::LeaseOver(epoch),
                };
                self.stop(context, epoch, event, out);
            }
            Standing::Yields { bid, until, to, successor: Successor::Awaited(end), .. } if now >= *end => {
                self.declined = *to;
                let (bid, until) = (bid.clone(), Some(*until));
                let epoch = bid.epoch();
                out.push(context.gate(epoch, Hold::Held(until)));
                out.push(context.event(Event::YieldFailed(epoch)));
                self.standing = Standing::Holds { bid, until, ask_at: next_ask };
                self.ask_all(context, epoch, Claim::Holds, out);
            }
            Standing::Yields { bid, ask_at, to, successor: Successor::Awaited(_), .. } if now >= *ask_at => {
                *ask_at = now + context.timers.patience();
                let (epoch, to) = (bid.epoch(), *to);
                self.ask_all(context, epoch, Claim::Yields(to), out);
            }
            _ => {}
        }
    }

    /// Has another take the seat while this one still forwards.
    pub fn hand_over(&mut self, context: Context<'_>, to: Option<&GatewayName>, out: &mut Vec<Output>) {
        let Context { now, timers, .. } = context;
        let Standing::Holds { bid, until, .. } = &self.standing else {
            out.push(context.event(Event::NotHeld));
            return;
        };
        let epoch = bid.epoch();
        let succession = context.charter.seats().get(context.name);
        // An epoch that somebody was promised and that nobody holds is offered to whom it was granted.
        let next = succession.into_iter().flat_map(|succession| succession.beyond(epoch));
        let next = next.filter(|grant| grant.epoch >= self.passed && context.me.as_gateway() != Some(&grant.to));
        let next: Vec<_> = next.filter(|grant| to.is_none_or(|to| *to == grant.to)).collect();
        let undeclined = next.iter().find(|grant| grant.epoch > self.declined);
        let Some(grant) = undeclined.or(next.first()) else {
            out.push(context.event(Event::NoSuccessor));
            return;
        };
        let (bid, to) = (bid.clone(), grant.epoch);
        let until = until.unwrap_or(now + timers.lease());
        out.push(context.gate(epoch, Hold::Yielding { until: Some(until), to }));
        out.push(context.event(Event::Yields { epoch, to }));
        let successor = Successor::Awaited(now + timers.renewal());
        self.standing = Standing::Yields { bid, until, ask_at: now + timers.patience(), to, successor };
        self.ask_all(context, epoch, Claim::Yields(to), out);
    }

    /// Another holds the seat under a higher epoch: this one stops at once, unless it let that one take it.
    pub fn superseded(&mut self, context: Context<'_>, by: Epoch, out: &mut Vec<Output>) {
        match &mut self.standing {
            Standing::Yields { bid, to, successor, .. } if *to == by && bid.epoch() < by => {
                *successor = Successor::Holds
            }
            Standing::Holds { bid, .. } | Standing::Yields { bid, .. } if bid.epoch() < by => {
                let epoch = bid.epoch();
                self.stop(context, epoch, Event::Superseded { epoch, by }, out);
            }
            Standing::Bids { bid, .. } if bid.epoch() < by => {
                let epoch = bid.epoch();
                self.standing = Standing::Replica;
                out.push(context.event(Event::BidEnded(epoch)));
            }
            _ => {}
        }
        self.passed = self.passed.max(by);
        self.learn_holder(context, by);
    }

    /// Who holds an epoch that was told of by a packet is who was granted it. It may die before it says a word to this one.
    fn learn_holder(&mut self, context: Context<'_>, epoch: Epoch) {
        let succession = context.charter.seats().get(context.name);
        let granted = succession.and_then(|succession| succession.granted(epoch));
        if let Some(gateway) =
            granted.filter(|to| epoch > self.record.holding() && context.me.as_gateway() != Some(*to))
        {
            let gateway = gateway.clone();
            self.record.incumbent = Some(Incumbent { epoch, gateway, heard: context.now, yields_to: None });
        }
    }

    /// Nothing comes any more for a seat that was handed over.
    pub fn still(&mut self, context: Context<'_>, out: &mut Vec<Output>) {
        if let Standing::Yields { bid, successor: Successor::Holds, .. } = &self.standing {
            let epoch = bid.epoch();
            self.stop(context, epoch, Event::HandedOver(epoch), out);
        }
    }

    fn stop(&mut self, context: Context<'_>, epoch: Epoch, event: Event, out: &mut Vec<Output>) {
        self.standing = Standing::Replica;
        out.push(context.gate(epoch, Hold::Replica));
        out.push(context.event(event));
    }
}
