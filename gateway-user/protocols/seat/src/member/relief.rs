//! What a holder does for a seat that the charter wants elsewhere: it hands seats over one at a time, and again until they are taken.

use super::seat::{Seat, Standing};
use super::{Context, Member, Output};
use crate::names::GatewayName;
use gateway_common::moment::Moment;

impl Member {
    /// Offers the seat whose turn it is, if none is being handed over: that of the longest ago, so that one that nobody takes stops no other.
    pub(super) fn relieve(&mut self, now: Moment, out: &mut Vec<Output>) {
        if self.seats.values().any(|seat| matches!(seat.standing, Standing::Yields { .. })) {
            return;
        }
        let due = self.mine.iter().filter_map(|name| {
            let seat = self.seats.get(name)?;
            let to = seat.relief(self.context(name, now))?;
            Some((seat.offered_at, name.clone(), to.clone()))
        });
        let Some((_, name, to)) = due.min() else { return };
        self.with(&name, now, |seat, context| {
            seat.offered_at = Some(now);
            seat.hand_over(context, Some(&to), out);
        });
    }
}

impl Seat {
    /// Whom the charter wants to have the seat: one that may take it, and was not offered it within a lease.
    fn relief<'a>(&self, context: Context<'a>) -> Option<&'a GatewayName> {
        let Standing::Holds { bid, .. } = &self.standing else { return None };
        let succession = context.charter.seats().get(context.name)?;
        let to = succession.relief.as_ref().filter(|to| context.me.as_gateway() != Some(*to))?;
        let is_due = self.offered_at.is_none_or(|at| context.now.since(at) >= context.timers.lease());
        let mut ahead = succession.beyond(bid.epoch()).filter(|grant| grant.epoch >= self.passed);
        (is_due && ahead.any(|grant| grant.to == *to)).then_some(to)
    }
}
