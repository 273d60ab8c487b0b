//! What a successor does: it waits for its turn, and bids.

use super::seat::{Seat, Standing};
use super::{Context, Event, Output};
use crate::bid::Bid;
use crate::message::Claim;
use gateway_common::{Epoch, moment::Moment};

/// A reason to bid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    /// Under which epoch.
    pub epoch: Epoch,
    /// From when on.
    pub from: Moment,
}

impl Seat {
    /// When this gateway may bid for the seat, if nothing changes until then, and under which epoch. Never while the seats that it has leave
    /// no room for this one: another, whose turn is later, may have some.
    pub fn opening(&self, context: Context<'_>) -> Option<Opening> {
        let Context { incarnation, timers, charter, started, .. } = context;
        let me = context.me.as_gateway()?;
        if !context.has_room() {
            return None;
        }
        let held = self.record.holding();
        let promised = self.record.promise.as_ref().map_or(Epoch(0), |promise| promise.epoch);
        let floor = self.passed.max(promised).max(held);
        // A grant that was taken back is nobody's any more: no voter that has heard of that says yes to it.
        let promised_to_me = self.record.promise.as_ref().filter(|promise| {
            promise.to == *me && promise.epoch == floor && charter.grants(context.name, promise.epoch, me)
        });
        let succession = charter.seats().get(context.name)?;
        // What a holder offers comes before what a bid of before got no majority for.
        if let Some(incumbent) = &self.record.incumbent
            && let Some(offered) = incumbent.yields_to.filter(|offered| *offered >= floor)
            && succession
                .grants
                .iter()
                .any(|grant| grant.epoch == offered && grant.to == *me && grant.incarnation == incarnation)
        {
            return Some(Opening { epoch: offered, from: incumbent.heard });
        }
        let mine = match promised_to_me.filter(|promise| promise.epoch > held) {
            Some(promise) => promise.epoch,
            // What others refuse a lower epoch for may be what they promised this one: nobody else has it.
            None => {
                let mut mine =
                    succession.beyond(held).filter(|grant| grant.to == *me && grant.incarnation == incarnation);
                mine.find(|grant| grant.epoch >= floor)?.epoch
            }
        };
        let vacant = match &self.record.incumbent {
            None => started + timers.lease(),
            Some(incumbent) if incumbent.yields_to == Some(mine) => {
                return Some(Opening { epoch: mine, from: incumbent.heard });
            }
            Some(incumbent) => {
                let silent = incumbent.heard + timers.lease();
                self.record.gone_since().map_or(silent, |since| since.min(silent))
            }
        };
        // Whose turn is before this one's has a chance first, and so has who was just promised the seat and does not hold it yet.
        let before =
            succession.beyond(held).take_while(|grant| grant.epoch < mine).filter(|grant| grant.to != *me).count();
        let turn = vacant + timers.patience().saturating_mul(u32::try_from(before).unwrap_or(u32::MAX));
        let from = match self.promised_at {
            Some(at) if promised_to_me.is_none() && promised > held => turn.max(at + timers.patience()),
            _ => turn,
        };
        Some(Opening { epoch: mine, from })
    }

    /// Begins to bid, asks again, or gives up.
    pub fn look_for_opening(&mut self, context: Context<'_>, out: &mut Vec<Output>) {
        let now = context.now;
        let opening = self.opening(context).filter(|opening| opening.from <= now);
        if let Standing::Bids { bid, ask_at } = &mut self.standing {
            let epoch = bid.epoch();
            if opening.is_some_and(|opening| opening.epoch == epoch) {
                if now >= *ask_at {
                    *ask_at = now + context.timers.patience();
                    self.ask_all(context, epoch, Claim::Bids, out);
                }
                return;
            }
            self.standing = Standing::Replica;
            out.push(context.event(Event::BidEnded(epoch)));
        }
        if let Some(Opening { epoch, .. }) = opening {
            self.standing = Standing::Bids { bid: Bid::new(epoch, now), ask_at: now + context.timers.patience() };
            out.push(context.event(Event::Bids(epoch)));
            self.ask_all(context, epoch, Claim::Bids, out);
        }
    }
}
