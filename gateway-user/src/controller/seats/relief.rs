//! Seats get home: a gateway that holds several hands over what it can, since the next failure would find it without room.

use super::record::{Relief, Seats};
use super::settle::{Heard, Member, Pool, Readiness, Standing};
use crate::agent::protocol::Lack;
use crate::controller::model::Id;
use std::collections::{BTreeMap, BTreeSet};

/// How long a seat stays where it is for each time that it moved lately, in milliseconds: who fails again and again gets it ever more seldom, and
/// who has just failed is known to be silent by then.
const REST: u64 = 60_000;
/// What is lately, in milliseconds.
const LATELY: u64 = 3_600_000;

impl Seats {
    /// Says which seats are to be handed over to whom: to their home, or to a standby, that is heard of, holds nothing and does as it was told.
    /// A gateway keeps one seat, its own if it has that. Nothing else goes back by itself.
    pub(super) fn relieve(&mut self, pool: &Pool<'_>) {
        let mut carried: BTreeMap<&Id, Vec<&Id>> = BTreeMap::new();
        for (name, seat) in &self.seats {
            if let Some(holder) = &seat.holder {
                carried.entry(&holder.gateway).or_default().push(name);
            }
        }
        let mut taken: BTreeSet<&Id> = self.seats.keys().filter_map(|seat| self.bearer(seat)).collect();
        let mut reliefs: BTreeMap<Id, Relief> = BTreeMap::new();
        for (holder, seats) in carried.iter().filter(|(_, seats)| seats.len() > 1) {
            let mut movable: Vec<&Id> =
                seats.iter().copied().filter(|seat| seat != holder && self.has_rested(pool, seat)).collect();
            // Those whose homes are back go first.
            movable.sort_by_key(|seat| (taken.contains(seat) || !self.is_able(pool, seat, seat), *seat));
            let mut spare = seats.len() - 1;
            for seat in movable {
                let mut candidates: Vec<&Id> = self.candidates(seat).collect();
                candidates.sort_by_key(|to| *to != seat);
                let able = |to: &&Id| !taken.contains(to) && self.is_able(pool, seat, to);
                let Some(to) = candidates.into_iter().find(able).filter(|_| spare > 0) else { continue };
                let Some(incarnation) = pool.gateways.get(to).and_then(|member| member.life) else { continue };
                spare -= 1;
                taken.insert(to);
                reliefs.insert(seat.clone(), Relief { to: to.clone(), incarnation });
            }
        }
        for (name, seat) in &mut self.seats {
            seat.relief = reliefs.remove(name);
        }
    }

    /// Whether a gateway can take a seat without a loss. One that was ready in this life is, whatever it has been told since: who is asked to
    /// take a seat is told so itself.
    fn is_able(&self, pool: &Pool<'_>, seat: &Id, to: &Id) -> bool {
        let Some(Member { life: Some(life), heard, standing, readiness, .. }) = pool.gateways.get(to) else {
            return false;
        };
        let asked = self.seats.get(seat).and_then(|known| known.relief.as_ref());
        let is_asked = asked.is_some_and(|asked| asked.to == *to && asked.incarnation == *life);
        *heard == Heard::Lately
            && *standing == Standing::Open
            && (*readiness == Readiness::Ready && (pool.lack)(seat, to) == Lack::Nothing || is_asked)
            && pool.serves(to, seat)
    }

    /// Whether a seat has not moved for long enough.
    fn has_rested(&self, pool: &Pool<'_>, seat: &Id) -> bool {
        // That it was first taken, at home, is no move.
        let moves = self.history.iter().filter(|it| it.seat == *seat && (it.from.is_some() || it.to != *seat));
        let since = moves.map(|it| pool.now.saturating_sub(it.heard));
        let lately: Vec<u64> = since.filter(|since| *since < LATELY).collect();
        lately.iter().min().is_none_or(|last| *last >= REST.saturating_mul(lately.len() as u64))
    }
}
