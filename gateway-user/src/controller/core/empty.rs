//! Seats that nobody holds and nobody can take: found out by what gateways report, told to everybody who sends there.

use super::event::Sink;
use super::state::State;
use super::{Core, Moment};
use crate::agent::protocol::Holding;
use crate::controller::core::agents::Presence;
use crate::controller::model::Id;
use crate::controller::seats::record::gateway_name;
use crate::controller::seats::sight::{Signs, Successor, Verdict, Waited, Word};
use crate::controller::seats::{Holder, Occupancy, Seats};
use seat::{Share, Voter};
use std::collections::BTreeMap;

impl State {
    fn presence(&self, gateway: &Id, now: u64) -> Presence {
        self.agents.get(&super::gateway(gateway)).map_or(Presence::Unknown, |agent| agent.presence(now))
    }

    /// What is heard of a seat's holder.
    fn signs(&self, seats: &Seats, seat: &Id, holder: &Holder, now: u64) -> Signs {
        let news = |gateway: &Id| {
            let agent = self.agents.get(&super::gateway(gateway))?;
            agent.seat(seat).filter(|_| agent.presence(now) == Presence::Alive)
        };
        let of_holder =
            news(&holder.gateway).filter(|news| news.epoch == holder.epoch && news.holding != Holding::Replica);
        let word = match (self.presence(&holder.gateway, now), of_holder) {
            (Presence::Alive, Some(_)) => Word::Holds,
            (Presence::Alive, None) => Word::Nothing,
            _ => Word::Silence,
        };
        let others = seats.gateways.keys().filter(|id| **id != holder.gateway).filter_map(news);
        let others = others.filter(|news| news.epoch == holder.epoch).map(|news| news.sight).collect();
        Signs { holder: word, others, successor: self.successor(seats, seat, now) }
    }

    /// Whether anybody could take a seat, as far as is heard.
    fn successor(&self, seats: &Seats, seat: &Id, now: u64) -> Successor {
        let is_there = |gateway: &Id| self.presence(gateway, now) != Presence::Silent;
        let gateways = seats.gateways.keys().filter(|id| is_there(id)).map(|id| Voter::Gateway(gateway_name(id)));
        let left: Vec<Voter> = gateways.chain([Voter::Controllers]).collect();
        let share = |seat: &Id| seats.seats.get(seat).map(|known| known.share).unwrap_or_default();
        let has_room = |gateway: &Id| {
            let borne: Vec<Share> = seats.carried(gateway).map(share).collect();
            borne.is_empty() || borne.into_iter().sum::<Share>().plus(share(seat)) <= Share::WHOLE
        };
        let mut able = seats.candidates(seat).filter(|id| is_there(id) && has_room(id));
        if able.next().is_some() && seats.electorate.is_majority(left.iter()) {
            Successor::Possible
        } else {
            Successor::None
        }
    }
}

impl Core {
    /// Finds out which seats of a pool nobody holds, and has what leads there withdrawn, or restored.
    pub(super) fn judge_seats(&mut self, pool: &Id, now: Moment, actions: &mut dyn Sink) {
        let Some(seats) = self.state.seats_of(pool).filter(|_| self.epoch().is_some()) else { return };
        let now_ms = now.unix_milliseconds;
        let lease = u64::try_from(seats.timers.lease().as_millis()).unwrap_or(u64::MAX);
        let mut since = BTreeMap::new();
        let mut changed = BTreeMap::new();
        for (name, known) in &seats.seats {
            let Some(holder) = &known.holder else { continue };
            let verdict = self.state.signs(seats, name, holder, now_ms).verdict();
            let mut waited = Waited::Less;
            if verdict == Verdict::Leaderless {
                let known = self.state.leaderless.get(name).filter(|(_, epoch)| *epoch == holder.epoch);
                let first = known.map_or(now_ms, |(first, _)| *first);
                since.insert(name.clone(), (first, holder.epoch));
                if now_ms.saturating_sub(first) >= lease {
                    waited = Waited::Lease;
                }
            }
            let occupancy = verdict.occupancy(known.occupancy, waited);
            if occupancy != known.occupancy {
                changed.insert(name.clone(), occupancy);
            }
        }
        let mut settled = (!changed.is_empty()).then(|| seats.clone());
        let of_pool: Vec<Id> = seats.seats.keys().cloned().collect();
        self.state.leaderless.retain(|seat, _| !of_pool.contains(seat));
        self.state.leaderless.extend(since);
        let Some(seats) = &mut settled else { return };
        for (name, occupancy) in changed {
            match occupancy {
                Occupancy::Empty => {
                    tracing::error!(seat = %name, "nobody holds a seat, and nobody can take it; its routes are withdrawn")
                }
                Occupancy::Carried => tracing::warn!(seat = %name, "a seat is held again; its routes are restored"),
            }
            if let Some(known) = seats.seats.get_mut(&name) {
                known.occupancy = occupancy;
            }
        }
        if let Some(seats) = settled {
            self.keep_seats(pool, seats, now, actions);
        }
    }
}
