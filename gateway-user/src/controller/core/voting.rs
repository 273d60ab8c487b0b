//! The controllers' vote on who holds seats: asked by gateways, answered by the controller that leads.

use super::change::{Entries, json};
use super::event::Sink;
use super::message::Answer;
use super::seats::seats_key;
use super::{Core, Moment};
use crate::controller::model::Id;
use crate::controller::model::records::{AgentId, Role};
use crate::controller::resources::Error;
use crate::controller::seats::Seats;
use crate::controller::seats::record::Holder;
use crate::controller::seats::vote::{Said, Vote};
use seat::Ask;

impl Core {
    /// What to say to a gateway that asks whether the controllers stand by it. It is let out when it is certain that the next leader knows.
    pub(super) fn vote(&mut self, agent: &AgentId, ask: Ask, now: Moment, actions: &mut dyn Sink) -> Answer {
        if let Err(refusal) = self.leads() {
            return Answer { retry_after: Some(1), ..Answer::error(503, "RetryableError", &refusal.message) };
        }
        let around = self.state.seats_around(&agent.id).filter(|_| agent.role == Role::Gateway);
        let Some((pool, seats)) = around.map(|(pool, seats)| (pool.clone(), seats.clone())) else {
            return Answer::error(404, "NotFound", "the gateway is in no pool with seats");
        };
        // By the clock of the wall: what it jumps by, a lease may seem to be over or not, which a bidder has to see as well.
        let time = seat::Moment(now.unix_milliseconds.saturating_mul(1_000_000));
        let vote = self.votes.entry(pool.clone()).or_insert_with(|| Vote::new(&seats, time));
        let Said { answer, promise } = vote.asked(&seats, &agent.id, ask, time);
        if let Some((seat, promise)) = promise {
            let promised = Holder { gateway: promise.to.as_str().into(), epoch: promise.epoch.0 };
            if let Err(error) = self.keep_promise(&pool, seats, &seat.as_str().into(), promised, actions) {
                return Answer::error(500, "InternalError", &error.to_string());
            }
        }
        match answer.map(|answer| serde_json::to_vec(&answer)) {
            Some(Ok(body)) => Answer::json(200, body),
            Some(Err(error)) => Answer::error(500, "InternalError", &error.to_string()),
            None => Answer::error(403, "Forbidden", "the gateway does not vote in its pool"),
        }
    }

    fn keep_promise(
        &mut self,
        pool: &Id,
        mut seats: Seats,
        seat: &Id,
        promised: Holder,
        actions: &mut dyn Sink,
    ) -> Result<(), Error> {
        tracing::info!(%pool, %seat, gateway = %promised.gateway, epoch = promised.epoch, "the controllers stand by this gateway");
        if let Some(known) = seats.seats.get_mut(seat) {
            known.promised = Some(promised);
        }
        let record = json(&seats)?;
        self.state.seats.insert(pool.clone(), seats);
        self.write(Entries::from([(seats_key(pool), Some(record))]), actions);
        Ok(())
    }
}
