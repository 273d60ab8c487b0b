//! Seats are handed over: by a gateway that holds several, since the next failure would find it without room, and by one that is drained.

use super::record::{Relief, Seats};
use super::settle::{Heard, Member, Pool, Readiness, Standing};
use super::survivors::Burden;
use crate::agent::protocol::Lack;
use crate::controller::model::Id;
use seat::Share;
use std::collections::{BTreeMap, BTreeSet};

/// How long a seat stays where it is for each time that it moved lately, in milliseconds: who fails again and again gets it ever more seldom, and
/// who has just failed is known to be silent by then.
const REST: u64 = 60_000;
/// What is lately, in milliseconds.
const LATELY: u64 = 3_600_000;

impl Seats {
    /// Says which seats are to be handed over to whom: to their home, or to a standby, that is heard of, holds nothing and does as it was told.
    /// A gateway keeps one seat, its own if it has that; one that an operator wants to be empty keeps none, and hands its seats, one
    /// after the other, to whoever has room for them if nobody is idle. Nothing else goes back by itself.
    pub(super) fn relieve(&mut self, pool: &Pool<'_>) {
        let bearers: BTreeMap<Id, Id> =
            self.seats.keys().filter_map(|seat| Some((seat.clone(), self.bearer(seat)?.clone()))).collect();
        let burden = Burden::of(pool, &bearers);
        let mut carried: BTreeMap<&Id, Vec<&Id>> = BTreeMap::new();
        for (name, seat) in &self.seats {
            if let Some(holder) = &seat.holder {
                carried.entry(&holder.gateway).or_default().push(name);
            }
        }
        let leaves = |gateway: &Id| pool.gateways.get(gateway).is_some_and(|it| it.standing == Standing::Leaving);
        let mut taken: BTreeSet<&Id> = bearers.values().collect();
        let mut promised: BTreeMap<&Id, Share> = BTreeMap::new();
        let mut reliefs: BTreeMap<Id, Relief> = BTreeMap::new();
        for (holder, seats) in &carried {
            let leaves = leaves(holder);
            // Who is to be empty hands over one after the other, so that each move is over before the next one begins.
            let mut spare = if leaves { 1 } else { seats.len() - 1 };
            let may_go = |seat: &&Id| leaves || seat != holder && self.has_rested(pool, seat);
            let mut movable: Vec<&Id> = seats.iter().copied().filter(may_go).collect();
            // What has begun comes first, then those whose homes are back.
            let has_begun = |seat: &Id| self.seats.get(seat).is_some_and(|known| known.relief.is_some());
            movable.sort_by_key(|seat| {
                (!(leaves && has_begun(seat)), taken.contains(seat) || !self.is_able(pool, seat, seat), *seat)
            });
            for seat in movable {
                if spare == 0 {
                    break;
                }
                let mut candidates: Vec<&Id> =
                    self.candidates(seat).filter(|to| self.is_able(pool, seat, to)).collect();
                candidates.sort_by_key(|to| *to != seat);
                let share = (pool.share)(seat);
                let fits = |to: &&Id| {
                    let more = promised.get(to).copied().unwrap_or_default().plus(share);
                    leaves && burden.on(to).plus(more) <= Share::WHOLE
                };
                let idle = candidates.iter().copied().find(|to| !taken.contains(to));
                let Some(to) = idle.or_else(|| candidates.iter().copied().find(fits)) else { continue };
                let Some(incarnation) = pool.gateways.get(to).and_then(|member| member.life) else { continue };
                spare -= 1;
                taken.insert(to);
                let before = promised.entry(to).or_default();
                *before = before.plus(share);
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
