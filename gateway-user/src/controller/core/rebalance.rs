//! Moves of connections from one gateway to another without a gap: begun on request, and brought from stage to stage as soon as everybody whom
//! it concerns does what it asks for.
//!
//! A move is finished by the controller that began it. When another one comes to lead, it ends what was on its way where it is.

use super::event::Sink;
use super::message::{Answer, Request};
use super::plans::Documents;
use super::requests::{body, is_confirmed};
use super::state::State;
use super::{Core, Moment};
use crate::agent::protocol::LinkState;
use crate::controller::model::Id;
use crate::controller::model::records::{AgentId, Stage};
use crate::controller::placement::{Evening, MoveRefusal, Moved, UnderWay};
use crate::controller::planning::instance;
use crate::controller::resources::{Code, Error, Path};
use crate::controller::seats::Seats;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// How long each stage lasts at least, in milliseconds: what is under way arrives, and neighbours that have to be asked answer.
const LINGER: u64 = 2_000;
/// How long each stage lasts at most, in milliseconds. What has not come up where it goes by then stays where it is.
const PATIENCE: u64 = 30_000;

impl Core {
    /// Moves a connection, with all that are at its VIP: `POST /virtualGateways/T/networkConnections/C/move?to=GW2&confirm=true`.
    pub(super) fn move_connection(
        &mut self,
        path: &Path,
        request: &Request,
        now: Moment,
        actions: &mut dyn Sink,
    ) -> Result<Answer, Error> {
        let wrong = |message: String| Error::at(Code::InvalidParameterValue, path.to_string(), message);
        let tenant = path.parent().map(|tenant| tenant.id().clone());
        let to = request.query("to").filter(|to| !to.is_empty()).map(Id::from);
        let (Some(tenant), Some(to)) = (tenant, to) else {
            return Err(wrong("name the gateway that is to carry it: move?to=GW2".to_owned()));
        };
        // Tried on a copy: a look changes nothing.
        let mut fleet = self.state.fleet.clone();
        let moved = fleet.begin_transfer(&tenant, path.id(), &to).map_err(|refusal| refused(path, &refusal))?;
        let from = moved.first().map(|one| one.from.clone());
        self.state.may_go(from.as_ref(), &to).map_err(wrong)?;
        let mut answer = json!({ "resourceRef": path.to_string(), "confirmed": false, "moves": told(&moved, &to) });
        if is_confirmed(request) {
            self.begin(moved, &to, now, actions)?;
            answer["confirmed"] = true.into();
        }
        Ok(body(200, &answer))
    }

    /// Begins the next move that evens the load of a pool's gateways out: `POST /gatewayPools/P/rebalance?confirm=true`.
    pub(super) fn rebalance(
        &mut self,
        path: &Path,
        request: &Request,
        now: Moment,
        actions: &mut dyn Sink,
    ) -> Result<Answer, Error> {
        if self.state.seats_of(path.id()).is_none() {
            let message = "the pool has no seats, so that nothing moves without a loss; name its seatFabricSubnet, or drain gateways";
            return Err(Error::at(Code::InvalidParameterValue, path.to_string(), message));
        }
        let next = self.state.fleet.evening(path.id());
        let mut answer = json!({ "resourceRef": path.to_string(), "confirmed": false, "next": next });
        if let Some(Evening { connections, to, .. }) = next.filter(|_| is_confirmed(request))
            && let Some((tenant, connection)) = connections.first()
        {
            let from = self.state.fleet.placement(tenant, connection).map(|at| at.gateway.clone());
            self.state
                .may_go(from.as_ref(), &to)
                .map_err(|why| Error::at(Code::RetryableError, path.to_string(), why))?;
            let mut fleet = self.state.fleet.clone();
            let moved = fleet.begin_transfer(tenant, connection, &to).map_err(|refusal| refused(path, &refusal))?;
            self.begin(moved, &to, now, actions)?;
            answer["confirmed"] = true.into();
        }
        Ok(body(200, &answer))
    }

    /// Begins a move that was tried on a copy.
    fn begin(&mut self, tried: Vec<Moved>, to: &Id, now: Moment, actions: &mut dyn Sink) -> Result<(), Error> {
        let Some(Moved { tenant, connection, from, .. }) = tried.first() else { return Ok(()) };
        tracing::info!(%tenant, %connection, %from, %to, connections = tried.len(), "moves to another gateway");
        let tenants = tried.iter().map(|one| one.tenant.clone()).collect();
        let begin = |state: &mut State| state.fleet.begin_transfer(tenant, connection, to).unwrap_or_default();
        self.change_transfer(&tenants, now, begin, actions)
    }

    /// Changes how far a move of these tenants' connections is, and tells everybody whom it concerns.
    fn change_transfer(
        &mut self,
        tenants: &BTreeSet<Id>,
        now: Moment,
        change: impl FnOnce(&mut State) -> Vec<Moved>,
        actions: &mut dyn Sink,
    ) -> Result<(), Error> {
        let networks: BTreeSet<Id> = tenants.iter().filter_map(|tenant| self.state.network_of(tenant)).collect();
        let before = self.documents(&networks);
        let moved = change(&mut self.state);
        let after = self.keep_moved(&moved, Some(now), &before, actions)?;
        self.tell_agents(&before, &after, actions);
        self.transfer_since = now.unix_milliseconds;
        let pools: BTreeSet<Id> = moved.iter().map(|moved| moved.placement.pool.clone()).collect();
        self.settle_seats(pools, now, actions);
        Ok(())
    }

    /// Brings what moves to its next stage, if everybody is ready for it.
    pub(super) fn tick_transfer(&mut self, now: Moment, actions: &mut dyn Sink) {
        if self.epoch().is_none() || self.in_flight() > 0 {
            return;
        }
        let lasted = now.unix_milliseconds.saturating_sub(self.transfer_since);
        let Some(under_way) = self.state.fleet.transfer() else { return };
        let stage = under_way.transfer.stage;
        // Where nothing is under way yet, nothing has to arrive.
        if lasted < LINGER && stage != Stage::Known {
            return;
        }
        let tenants: BTreeSet<Id> = under_way.connections.iter().map(|(tenant, _)| tenant.clone()).collect();
        let ready = self.is_told(&tenants, now) && (stage != Stage::Arriving || self.state.has_arrived(&under_way));
        if !ready && lasted < PATIENCE {
            return;
        }
        // Whoever does not do as told is not waited for; but nothing goes where it does not work.
        let stays = matches!(stage, Stage::Known | Stage::Arriving) && !ready;
        let change = |state: &mut State| match stays {
            true => state.fleet.end_transfer(),
            false => state.fleet.advance_transfer(),
        };
        let outcome = self.change_transfer(&tenants, now, change, actions);
        let UnderWay { connections, gateway, transfer } = under_way;
        match outcome {
            Ok(()) if stays => tracing::warn!(
                ?connections, %gateway, to = %transfer.other,
                "did not come up where it was to go, and stays"
            ),
            Ok(()) => tracing::info!(?connections, ?stage, "has ended this stage of its move"),
            Err(error) => tracing::error!(%error, ?connections, "a move cannot go on"),
        }
    }

    /// Ends what another leader had on its way.
    pub(super) fn end_transfer(&mut self, actions: &mut dyn Sink) {
        let ended = self.state.fleet.end_transfer();
        if let Err(error) = self.keep_moved(&ended, None, &Documents::new(), actions) {
            tracing::error!(%error, "a move that was interrupted cannot be ended");
        }
    }

    /// Whether all agents that are there do what they were told last about these tenants.
    fn is_told(&self, tenants: &BTreeSet<Id>, now: Moment) -> bool {
        let networks: BTreeSet<Id> = tenants.iter().filter_map(|tenant| self.state.network_of(tenant)).collect();
        let documents = self.documents(&networks);
        let concerned: BTreeSet<&AgentId> =
            documents.values().flat_map(|planned| planned.documents.keys().chain(planned.replicas.keys())).collect();
        concerned.into_iter().filter_map(|agent| self.state.agents.get(agent)).all(|known| {
            let is_there = known.presence(now.unix_milliseconds) == super::agents::Presence::Alive;
            !is_there || known.stream.is_some() && known.is_up_to_date()
        })
    }
}

impl State {
    /// Whether connections work at who holds the seat that they go to, as far as they worked before. If one gateway has come to hold both
    /// seats there is nothing to wait for.
    fn has_arrived(&self, under_way: &UnderWay) -> bool {
        let UnderWay { connections, gateway, transfer } = under_way;
        if self.may_go(Some(gateway), &transfer.other).is_err() {
            return true;
        }
        let link = |seat: &Id, (tenant, connection): &(Id, Id)| {
            let (_, seats) = self.seats_around(seat)?;
            let agent = self.agents.get(&super::gateway(seats.bearer(seat)?))?;
            Some(agent.connection(&instance(tenant, seat), connection.as_str())?.state)
        };
        connections
            .iter()
            .all(|one| link(&transfer.other, one) == Some(LinkState::Up) || link(gateway, one) != Some(LinkState::Up))
    }

    /// Whether a connection can move to a gateway without a gap: that has a seat, which somebody else holds than the one where it is.
    fn may_go(&self, from: Option<&Id>, gateway: &Id) -> Result<(), String> {
        let together = |seats: &Seats| {
            let carrier = from.and_then(|from| seats.bearer(from));
            carrier.is_some() && carrier == seats.bearer(gateway)
        };
        match self.seats_around(gateway) {
            Some((_, seats)) if seats.seats.contains_key(gateway) && together(seats) => Err(format!(
                "the seat of {gateway} is held by the gateway that carries the connection already; wait until it is elsewhere, or hand it over: \
                 `gatewayctl failover {gateway}` there"
            )),
            Some((_, seats)) if seats.seats.contains_key(gateway) => Ok(()),
            Some(_) => Err(format!("gateway {gateway} has no seat yet; start its agent, or wait until it is heard of")),
            None => Err(format!(
                "gateway {gateway} is in no pool with seats, so that nothing moves there without a loss; `gatewayctl drain` moves with one"
            )),
        }
    }
}

fn refused(path: &Path, refusal: &MoveRefusal) -> Error {
    let code = match refusal {
        MoveRefusal::UnknownConnection { .. } => Code::ResourceNotFound,
        MoveRefusal::NoRoom { .. } | MoveRefusal::NotUsable(_) => Code::InsufficientCapacity,
        MoveRefusal::Moving { .. } => Code::RetryableError,
        _ => Code::InvalidParameterValue,
    };
    Error::at(code, path.to_string(), refusal.to_string())
}

/// What moves where, or would.
fn told(moved: &[Moved], to: &Id) -> Vec<Value> {
    let one = |moved: &Moved| {
        let connection = format!("/virtualGateways/{}/networkConnections/{}", moved.tenant, moved.connection);
        json!({ "resourceRef": connection, "from": moved.from, "to": to })
    };
    moved.iter().map(one).collect()
}
