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
use crate::controller::model::records::{AgentId, Stage, Transfer};
use crate::controller::placement::{Evening, MoveRefusal, Moved};
use crate::controller::planning::instance;
use crate::controller::resources::{Code, Error, Path};
use crate::controller::seats::Seats;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// How long each stage lasts at least, in milliseconds: what is under way arrives, and neighbours that have to be asked answer.
const LINGER: u64 = 2_000;
/// How long each stage lasts at most, in milliseconds. What has not come up where it goes by then stays where it is.
const PATIENCE: u64 = 30_000;

/// Connections of one move.
struct Group {
    connections: Vec<(Id, Id)>,
    gateway: Id,
    transfer: Transfer,
}

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
        self.change_transfers(&tenants, now, begin, actions)
    }

    /// Changes how far moves of these tenants are, and tells everybody whom it concerns.
    fn change_transfers(
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
    pub(super) fn tick_transfers(&mut self, now: Moment, actions: &mut dyn Sink) {
        if self.epoch().is_none() || self.in_flight() > 0 {
            return;
        }
        let lasted = now.unix_milliseconds.saturating_sub(self.transfer_since);
        let Some(group) = self.state.moves().into_iter().next() else { return };
        // Where nothing is under way yet, nothing has to arrive.
        if lasted < LINGER && group.transfer.stage != Stage::Known {
            return;
        }
        let arrives = group.transfer.stage == Stage::Arriving;
        let begins = group.transfer.stage == Stage::Known;
        let ready = self.is_told(&group, now) && (!arrives || self.state.has_arrived(&group));
        if !ready && lasted < PATIENCE {
            return;
        }
        // Whoever does not do as told is not waited for; but nothing goes where it does not work.
        let stays = (begins || arrives) && !ready;
        let tenants: BTreeSet<Id> = group.connections.iter().map(|(tenant, _)| tenant.clone()).collect();
        let Group { connections, gateway, transfer } = group;
        let change = |state: &mut State| match stays {
            true => state.fleet.end_transfers(&connections),
            false => state.fleet.advance_transfers(&connections),
        };
        let outcome = self.change_transfers(&tenants, now, change, actions);
        match outcome {
            Ok(()) if stays => tracing::warn!(
                ?connections, %gateway, to = %transfer.other,
                "did not come up where it was to go, and stays"
            ),
            Ok(()) => tracing::info!(?connections, stage = ?transfer.stage, "has ended this stage of its move"),
            Err(error) => tracing::error!(%error, ?connections, "a move cannot go on"),
        }
    }

    /// Ends what another leader had on its way.
    pub(super) fn end_transfers(&mut self, actions: &mut dyn Sink) {
        let all: Vec<(Id, Id)> =
            self.state.fleet.transfers().into_iter().map(|(tenant, connection, _)| (tenant, connection)).collect();
        let ended = self.state.fleet.end_transfers(&all);
        if let Err(error) = self.keep_moved(&ended, None, &Documents::new(), actions) {
            tracing::error!(%error, "moves that were interrupted cannot be ended");
        }
    }

    /// Whether all agents that are there do what the group's stage asks for.
    fn is_told(&self, group: &Group, now: Moment) -> bool {
        let tenants: BTreeSet<&Id> = group.connections.iter().map(|(tenant, _)| tenant).collect();
        let networks: BTreeSet<Id> = tenants.into_iter().filter_map(|tenant| self.state.network_of(tenant)).collect();
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
    /// What moves, in groups that move as one.
    fn moves(&self) -> Vec<Group> {
        let mut groups: Vec<(Option<std::net::IpAddr>, Group)> = Vec::new();
        for (tenant, connection, transfer) in self.fleet.transfers() {
            let Some(at) = self.fleet.placement(&tenant, &connection) else { continue };
            let same = groups.iter_mut().find(|(vip, group)| {
                vip.is_some() && *vip == at.vip && group.transfer == transfer && group.gateway == at.gateway
            });
            match same {
                Some((_, group)) => group.connections.push((tenant, connection)),
                None => groups.push((
                    at.vip,
                    Group { connections: vec![(tenant, connection)], gateway: at.gateway.clone(), transfer },
                )),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// Whether connections work at who holds the seat that they go to, as far as they worked before. If one gateway has come to hold both
    /// seats there is nothing to wait for.
    fn has_arrived(&self, group: &Group) -> bool {
        if self.may_go(Some(&group.gateway), &group.transfer.other).is_err() {
            return true;
        }
        let link = |seat: &Id, (tenant, connection): &(Id, Id)| {
            let (_, seats) = self.seats_around(seat)?;
            let agent = self.agents.get(&super::gateway(seats.bearer(seat)?))?;
            Some(agent.connection(&instance(tenant, seat), connection.as_str())?.state)
        };
        group.connections.iter().all(|one| {
            link(&group.transfer.other, one) == Some(LinkState::Up) || link(&group.gateway, one) != Some(LinkState::Up)
        })
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
