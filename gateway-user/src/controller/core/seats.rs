//! Seats: they are settled ahead of time, and who holds one is followed.

use super::change::{Entries, json};
use super::event::Sink;
use super::message::WatchKind;
use super::plans::Documents;
use super::state::{State, Unreadable};
use super::{Core, Moment, Out};
use crate::agent::protocol::{Lack, PlanEvent, SeatNews};
use crate::controller::core::agents::Presence;
use crate::controller::model::fabric::{Gateway, GatewayPool, IpPool, Schedulable};
use crate::controller::model::records::{AgentId, Role};
use crate::controller::model::{self, Id, Reference, Resource};
use crate::controller::placement::{GatewayState, Health, VipRange};
use crate::controller::planning::{Pooled, Seating, instance};
use crate::controller::resources::tree::index::Claim;
use crate::controller::resources::{Change, Code, Error, Kind, Path, Seal};
use crate::controller::seats::record::Subnets;
use crate::controller::seats::survival::Loss;
use crate::controller::seats::told::{Own, told};
use crate::controller::seats::{Duty, Floor, Followed, Heard, Member, Pool, Readiness, Seats, Standing};
use seat::Share;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Below this prefix stands what is settled of pools' seats, by pool.
pub const SEATS: &str = "seats/";

/// The key under which a pool's seats stand.
pub(super) fn seats_key(pool: &Id) -> String {
    format!("{SEATS}{}", pool.lower())
}

/// Where a pool's secret is sealed for.
fn place(pool: &Id) -> String {
    format!("/gatewayPools/{}/seats", pool.lower())
}

/// Who carries what is placed on a gateway, and what it calls a tenant.
pub struct Bearer {
    /// The gateway that carries it at present.
    pub gateway: Id,
    seat: Option<Id>,
}

impl Bearer {
    /// Its agent.
    pub fn agent(&self) -> AgentId {
        super::gateway(&self.gateway)
    }

    /// Whether it does so as the holder of a seat.
    pub fn is_seat(&self) -> bool {
        self.seat.is_some()
    }

    /// A tenant's name there.
    pub fn name(&self, tenant: &Id) -> String {
        match &self.seat {
            Some(seat) => instance(tenant, seat),
            None => tenant.to_string(),
        }
    }
}

impl State {
    /// The seats of a pool, if it has any.
    pub fn seats_of(&self, pool: &Id) -> Option<&Seats> {
        self.seats.get(pool).filter(|seats| seats.subnets.is_some())
    }

    /// The seats of a gateway's pool, if that has any.
    pub fn seats_around(&self, gateway: &Id) -> Option<(&Id, &Seats)> {
        let pool = &self.fleet.gateway(gateway)?.pool;
        Some((pool, self.seats_of(pool)?))
    }

    /// Takes what stands in the store.
    pub(super) fn record_seats(&mut self, pool: &str, value: Option<&str>) -> Result<(), Unreadable> {
        let read = value.map(serde_json::from_str::<Seats>).transpose();
        let seats = read.map_err(|error| Unreadable { key: format!("{SEATS}{pool}"), what: error.to_string() })?;
        match seats {
            Some(seats) => _ = self.seats.insert(pool.into(), seats),
            None => _ = self.seats.remove(&Id::from(pool)),
        }
        Ok(())
    }

    /// Who carries what is placed on a gateway.
    pub fn bearer(&self, placed: &Id) -> Bearer {
        match self.seats_around(placed) {
            Some((_, seats)) => Bearer {
                gateway: seats.bearer(placed).unwrap_or(placed).clone(),
                seat: Some(seats.seats.get_key_value(placed).map_or(placed, |(name, _)| name).clone()),
            },
            None => Bearer { gateway: placed.clone(), seat: None },
        }
    }

    /// Whose part of which tenant an agent tells of by this name: the tenant, and the seat, or the gateway itself. None of what is not its to
    /// tell, since another one holds the seat.
    pub fn told_by(&self, gateway: &Id, name: &str) -> Option<(Id, Id)> {
        match name.split_once('@') {
            Some((tenant, seat)) => {
                let seat = Id::from(seat);
                let (_, seats) = self.seats_around(gateway)?;
                (seats.bearer(&seat) == Some(gateway)).then(|| (tenant.into(), seat))
            }
            None => Some((name.into(), gateway.clone())),
        }
    }

    /// Who carries what is placed on a gateway, for planning.
    pub(super) fn seating_of(&self, gateway: &Id) -> Seating {
        let Some((pool, seats)) = self.seats_around(gateway) else { return Seating::Unseated };
        let Some(seat) = seats.seats.get(gateway) else {
            let agent = self.agents.get(&super::gateway(gateway));
            return Seating::Vacant(match agent {
                None => format!(
                    "no agent has enrolled as gateway {gateway}; create a join token for it and start `gatewayd gateway` there"
                ),
                Some(agent) if agent.registration.life.is_none() => {
                    format!("gateway {gateway} cannot hold a seat, as pool {pool} wants; install this version there")
                }
                Some(_) => format!(
                    "there is no address left for the seat of gateway {gateway}; add ipPools to the subnets of seats of pool {pool}"
                ),
            });
        };
        let instances = seats.instances(gateway).cloned().collect();
        let holder = seats.bearer(gateway).cloned();
        Seating::Seat { pa: seat.pa, instances, holder, occupancy: seat.occupancy }
    }

    /// What is known of a pool's gateways.
    fn members(&self, pool: &Id, now: u64) -> BTreeMap<Id, Member> {
        let member = |id: &Id| {
            let spec = self.fleet.gateway(id)?;
            let agent = self.agents.get(&super::gateway(id));
            let is_active = self.fleet.status(id).is_some_and(|status| status.state == GatewayState::Active);
            let member = Member {
                host: spec.host.clone(),
                rack: spec.rack.clone(),
                life: agent.and_then(|agent| agent.registration.life).map(|life| life.incarnation),
                duty: if is_active { Duty::Seat } else { Duty::Standby },
                standing: match spec.scheduling {
                    Schedulable::Enabled => Standing::Open,
                    Schedulable::Cordoned => Standing::Cordoned,
                    Schedulable::Drained => Standing::Leaving,
                },
                heard: match agent.map(|agent| agent.presence(now)) {
                    Some(Presence::Silent) => Heard::Silent,
                    _ => Heard::Lately,
                },
                readiness: match agent {
                    Some(agent) if agent.is_up_to_date() => Readiness::Ready,
                    _ => Readiness::Behind,
                },
            };
            Some((spec.id.clone(), member))
        };
        self.fleet.members(pool).filter_map(member).collect()
    }

    fn ranges(&self, subnet: Option<&Reference>) -> Vec<VipRange> {
        use crate::controller::planning::Fabric;
        let subnet = subnet.and_then(|subnet| self.logical_subnet(subnet));
        let range = |pool: Resource<IpPool>| VipRange {
            first: pool.properties.start_ip_address,
            last: pool.properties.end_ip_address,
        };
        subnet.into_iter().flat_map(|subnet| subnet.ip_pools).map(range).collect()
    }

    /// What a gateway says that it lacks to take a seat.
    pub(super) fn lack(&self, seat: &Id, gateway: &Id) -> Lack {
        let news = self.agents.get(&super::gateway(gateway)).and_then(|agent| agent.seat(seat));
        news.map(|news| news.lack).unwrap_or_default()
    }

    /// Does something with all that is known of a pool.
    fn with_pool<T>(&self, id: &Id, subnets: &Subnets, now: u64, act: impl FnOnce(&Pool<'_>) -> T) -> T {
        let networks: BTreeSet<String> = [Some(&subnets.fabric), subnets.rack.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|subnet| Some(Path::parse(&subnet.path).ok()?.tree().key()))
            .collect();
        let others = || self.seats.iter().filter(|(pool, _)| *pool != id).map(|(_, seats)| seats);
        let is_taken = |address: IpAddr| {
            let claimed = |network: &String| Claim::Address(network.as_str().into(), address);
            let agents = || {
                self.agents.iter().any(|(_, agent)| {
                    let registration = &agent.registration;
                    registration.pa.contains(address)
                        || registration.life.is_some_and(|life| life.site == Some(address))
                })
            };
            let seats = |seats: &Seats| {
                seats.seats.values().any(|seat| seat.pa.contains(address) || seat.next_hop.contains(address))
            };
            networks.iter().any(|network| self.forest.claims().owner(&claimed(network)).is_some())
                || agents()
                || others().any(seats)
        };
        act(&Pool {
            gateways: self.members(id, now),
            fabric: self.ranges(Some(&subnets.fabric)),
            rack: self.ranges(subnets.rack.as_ref()),
            is_taken: &is_taken,
            may_take: &|seat, gateway| self.fleet.may_stand_in(seat, gateway),
            lack: &|seat, gateway| self.lack(seat, gateway),
            share: &|seat| Share(self.fleet.percent_used(seat)),
            floor: Floor {
                epoch: others().map(|seats| seats.epoch).max().unwrap_or_default(),
                number: others().map(|seats| seats.number).max().unwrap_or_default(),
            },
            now,
        })
    }

    /// What a pool's seats are to be, if that is not what they are.
    fn resettled(&self, pool: &Id, seal: &dyn Seal, now: u64) -> Option<Seats> {
        let known = self.seats.get(pool);
        let wanted = self.read::<GatewayPool>(Kind::GatewayPool, pool).map(|pool| pool.properties);
        let mut seats = known.cloned().unwrap_or_default();
        match wanted.as_ref().and_then(subnets_of) {
            None => _ = known.is_some() && seats.dissolve(),
            Some(subnets) => {
                // The schema let through what goes together.
                seats.timers = wanted.and_then(|wanted| wanted.failover_timers.all().ok()).unwrap_or_default();
                if seats.secret.is_none() {
                    seats.secret = seal.draw(&place(pool)).map(Into::into);
                }
                seats.subnets = Some(subnets.clone());
                self.with_pool(pool, &subnets, now, |pool| seats.settle(pool));
            }
        }
        (known.unwrap_or(&Seats::default()) != &seats).then_some(seats)
    }

    /// The losses that a pool with seats does not survive.
    pub fn unsurvived(&self, pool: &Id, now: u64) -> Vec<Loss> {
        let Some(seats) = self.seats_of(pool) else { return Vec::new() };
        let Some(subnets) = &seats.subnets else { return Vec::new() };
        self.with_pool(pool, subnets, now, |pool| seats.unsurvived(pool))
    }

    /// What a gateway is told of its pool.
    pub(super) fn pooled(&self, gateway: &Id, seal: &dyn Seal) -> Option<Pooled> {
        let (pool, seats) = self.seats_around(gateway)?;
        let secret = seal.open(&place(pool), seats.secret.as_deref()?)?;
        let own = |id: &Id| {
            let registration = &self.agents.get(&super::gateway(id))?.registration;
            Some(Own { pa: registration.pa, site: registration.life.and_then(|life| life.site) })
        };
        told(pool, seats, gateway, &secret, own)
    }

    /// The pools whose seats a change may be of importance to.
    pub(super) fn pools_concerned(&self, change: &Change) -> BTreeSet<Id> {
        let with_seats = || self.seats.iter().filter(|(_, seats)| seats.subnets.is_some());
        match change.root.kind() {
            Kind::GatewayPool => [change.root.id().clone()].into(),
            Kind::Gateway => {
                let texts = [&change.old, &change.new].into_iter().flatten();
                let gateways = texts.filter_map(|text| model::parse::<Gateway>(text).ok());
                let pools = gateways.map(|gateway| gateway.properties.pool.root());
                pools.filter(|pool| self.seats_of(pool).is_some()).collect()
            }
            Kind::LogicalNetwork | Kind::Server | Kind::VirtualServer => {
                with_seats().map(|(pool, _)| pool.clone()).collect()
            }
            _ => BTreeSet::new(),
        }
    }

    /// The pools whose seats are to be settled anew because of where a tenant's connections are: a standby has become active.
    pub(super) fn pools_without_seat(&self, tenant: &Id) -> BTreeSet<Id> {
        if self.seats.is_empty() {
            return BTreeSet::new();
        }
        let at = self.fleet.placements(tenant).map(|(_, at)| at);
        let lacking =
            at.filter(|at| self.seats_of(&at.pool).is_some_and(|seats| !seats.seats.contains_key(&at.gateway)));
        lacking.map(|at| at.pool.clone()).collect()
    }

    /// Whether a pool may become what it is to be: seats keep their addresses as long as they are there.
    pub(super) fn may_reseat(&self, at: &Path, pool: &Resource<GatewayPool>) -> Result<(), Error> {
        let Some(seats) = self.seats_of(&pool.resource_id).filter(|seats| !seats.seats.is_empty()) else {
            return Ok(());
        };
        match subnets_of(&pool.properties) {
            Some(wanted) if seats.subnets.as_ref() != Some(&wanted) => {
                let message = "seats have addresses out of the subnets that are written; leave `seatFabricSubnet` and `seatRackSubnet` as \
                               they are, or out of one write before: then the seats are given up, and gateways carry connections themselves";
                Err(Error::at(Code::ResourceInUse, at.to_string(), message))
            }
            _ => Ok(()),
        }
    }

    /// Whether a gateway holds no seat that is at home elsewhere.
    pub(super) fn may_leave(&self, at: &Path, gateway: &Id) -> Result<(), Error> {
        let Some((_, seats)) = self.seats_around(gateway) else { return Ok(()) };
        let Some(seat) = seats.carried(gateway).find(|seat| *seat != gateway) else { return Ok(()) };
        let message = format!(
            "gateway {gateway} holds seat {seat}; have another gateway take it first: `gatewayctl failover {seat}` there"
        );
        Err(Error::at(Code::ResourceInUse, at.to_string(), message))
    }

    /// Whether what is placed on a gateway of a pool with seats is carried, and whether one without a seat could take one.
    fn health_in_pool(&self, seats: &Seats, gateway: &Id, now: u64) -> Health {
        let silent =
            |id: &Id| self.agents.get(&super::gateway(id)).is_some_and(|agent| agent.presence(now) == Presence::Silent);
        let well = match seats.bearer(gateway) {
            Some(bearer) => !silent(bearer),
            None => !silent(gateway) && seats.carried(gateway).next().is_none(),
        };
        if well { Health::Healthy } else { Health::Failed }
    }

    /// The gateways of a pool with seats, each with the others whose seats are carried together with its own.
    fn beside(&self, pool: &Id) -> Vec<(Id, BTreeSet<Id>)> {
        let Some(seats) = self.seats_of(pool) else { return Vec::new() };
        let mut together: BTreeMap<&Id, BTreeSet<Id>> = BTreeMap::new();
        for seat in seats.seats.keys() {
            if let Some(bearer) = seats.bearer(seat) {
                together.entry(bearer).or_default().insert(seat.clone());
            }
        }
        let beside = |gateway: &Id| {
            let mut beside = seats.bearer(gateway).and_then(|bearer| together.get(bearer)).cloned().unwrap_or_default();
            beside.remove(gateway);
            (gateway.clone(), beside)
        };
        self.fleet.members(pool).map(beside).collect()
    }

    /// Tells placement which gateways of a pool with seats may be given connections, and which of them share the room of one.
    pub(super) fn refresh_health(&mut self, pool: &Id, now: u64) {
        let Some(seats) = self.seats_of(pool) else {
            for gateway in self.fleet.members(pool).cloned().collect::<Vec<_>>() {
                self.fleet.set_beside(&gateway, BTreeSet::new());
            }
            return;
        };
        let members: Vec<&Id> = self.fleet.members(pool).collect();
        let health = |id: &Id| (id.clone(), self.health_in_pool(seats, id, now));
        let differs = |(id, health): &(Id, Health)| self.fleet.health(id) != Some(*health);
        let changes: Vec<(Id, Health)> = members.into_iter().map(health).filter(differs).collect();
        for (gateway, beside) in self.beside(pool) {
            self.fleet.set_beside(&gateway, beside);
        }
        for (gateway, health) in changes {
            if health == Health::Failed {
                tracing::warn!(%gateway, "nobody who is heard of carries what is placed on a gateway; it is given no connections");
            }
            let _ = self.fleet.set_health(&gateway, health);
        }
    }

    /// The virtual networks that have to do with a pool's seats.
    /// The tenants of which something is placed on a gateway, or on its way there.
    pub(super) fn concerned_by<'a>(&'a self, gateway: &'a Id) -> impl Iterator<Item = &'a Id> {
        let carried = self.fleet.carried_by(gateway).map(|(tenant, _)| tenant);
        carried.chain(self.fleet.moving_to(gateway))
    }

    fn networks_on(&self, seats: impl Iterator<Item = Id>) -> BTreeSet<Id> {
        let tenants: BTreeSet<Id> =
            seats.flat_map(|seat| self.concerned_by(&seat).cloned().collect::<Vec<_>>()).collect();
        tenants.iter().filter_map(|tenant| self.network_of(tenant)).collect()
    }
}

/// What a pool says of where seats' addresses come from.
fn subnets_of(pool: &GatewayPool) -> Option<Subnets> {
    Some(Subnets { fabric: pool.seat_fabric_subnet.clone()?, rack: pool.seat_rack_subnet.clone() })
}

impl Core {
    /// Settles pools' seats anew after something that they depend on has changed.
    pub(super) fn settle_seats(&mut self, pools: impl IntoIterator<Item = Id>, now: Moment, actions: &mut dyn Sink) {
        if self.epoch().is_none() {
            return;
        }
        for pool in pools {
            self.state.refresh_health(&pool, now.unix_milliseconds);
            let seal = std::sync::Arc::clone(&self.settings.seal);
            if let Some(seats) = self.state.resettled(&pool, &*seal, now.unix_milliseconds) {
                self.keep_seats(&pool, seats, now, actions);
            }
        }
    }

    /// All pools that have seats, or are to have some.
    pub(super) fn settle_all_seats(&mut self, now: Moment, actions: &mut dyn Sink) {
        let pools: Vec<Id> = self.state.fleet.pools().cloned().collect();
        self.settle_seats(pools, now, actions);
    }

    /// Makes what is settled of a pool part of the state, and tells everybody whom it concerns.
    pub(super) fn keep_seats(&mut self, pool: &Id, seats: Seats, now: Moment, actions: &mut dyn Sink) {
        let record = match json(&seats) {
            Ok(record) => record,
            Err(error) => return tracing::error!(%pool, %error, "seats cannot be written"),
        };
        let nothing = Seats::default();
        let was = self.state.seats.get(pool).unwrap_or(&nothing);
        let had = was.subnets.is_some();
        let occupancies = |seats: &Seats| seats.seats.values().map(|seat| seat.occupancy).collect::<Vec<_>>();
        let moved = was.history.len() != seats.history.len()
            || was.history.last() != seats.history.last()
            || occupancies(was) != occupancies(&seats);
        let moves = self.state.fleet.transfer().is_some();
        let told = |seats: &Seats, seat: &Id| {
            let known = seats.seats.get(seat)?;
            // Who holds it matters to what moves only.
            let holder = seats.bearer(seat).filter(|_| moves).cloned();
            Some((known.pa, known.occupancy, holder, seats.instances(seat).cloned().collect::<BTreeSet<Id>>()))
        };
        let members: Vec<Id> = self.state.fleet.members(pool).cloned().collect();
        let differing = members.iter().filter(|id| had != seats.subnets.is_some() || told(was, id) != told(&seats, id));
        let networks = self.state.networks_on(differing.cloned());
        let before = self.documents(&networks);
        self.state.seats.insert(pool.clone(), seats);
        self.write(Entries::from([(seats_key(pool), Some(record))]), actions);
        self.state.refresh_health(pool, now.unix_milliseconds);
        let after = self.documents(&networks);
        // Gateways hear of seats first, and then of what is on them; where seats go, the other way round.
        let first = self.state.seats_of(pool).is_some();
        if first {
            self.tell_bases(&members, actions);
        }
        self.tell_agents(&before, &after, actions);
        if !first {
            self.tell_bases(&members, actions);
        }
        if moved {
            let news = self.news(
                WatchKind::Modified,
                &Path::root(Kind::GatewayPool, pool.clone()),
                None,
                Some(now),
                &Documents::new(),
            );
            self.let_out(Out::News(news), actions);
        }
    }

    pub(super) fn tell_bases(&mut self, gateways: &[Id], actions: &mut dyn Sink) {
        for gateway in gateways {
            let agent = super::gateway(gateway);
            let Some(known) = self.state.agents.get(&agent) else { continue };
            if let Some(stream) = known.stream {
                let event = PlanEvent { base: self.base(&agent, &known.registration), ..PlanEvent::default() };
                self.let_out(Out::Plan { agent, stream, event }, actions);
            }
        }
    }

    /// Takes the word of a gateway on who holds which seat of its pool.
    pub(super) fn follow_seats(
        &mut self,
        agent: &AgentId,
        news: &BTreeMap<String, SeatNews>,
        now: Moment,
        actions: &mut dyn Sink,
    ) {
        if agent.role != Role::Gateway || self.epoch().is_none() {
            return;
        }
        let Some((pool, seats)) = self.state.seats_around(&agent.id) else { return };
        let (pool, mut followed) = (pool.clone(), None);
        for (seat, news) in news {
            let Some(holder) = &news.holder else { continue };
            let (seat, holder) = (Id::from(seat.as_str()), Id::from(holder.as_str()));
            if news.epoch <= seats.seats.get(&seat).map_or(u64::MAX, |known| known.held()) {
                continue;
            }
            let told = followed.get_or_insert_with(|| seats.clone());
            match told.follow(&seat, &holder, news.epoch, now.unix_milliseconds) {
                Followed::Moved => {
                    tracing::warn!(%seat, gateway = %holder, epoch = news.epoch, "a seat is held by this gateway")
                }
                Followed::Known => {}
                Followed::Never => tracing::error!(
                    %agent, %seat, gateway = %holder, epoch = news.epoch,
                    "a seat is said to be held under an epoch that was not granted to that gateway; it is not believed"
                ),
            }
        }
        let Some(mut followed) = followed.filter(|followed| followed != seats) else { return };
        if let Some(subnets) = followed.subnets.clone() {
            self.state.with_pool(&pool, &subnets, now.unix_milliseconds, |pool| followed.settle(pool));
        }
        self.keep_seats(&pool, followed, now, actions);
    }

    /// Settles anew what follows from how much gateways carry and from who is heard of, ends changes of voters that enough of them have heard
    /// of, and keeps placement informed.
    pub(super) fn tick_seats(&mut self, now: Moment, actions: &mut dyn Sink) {
        let Some(epoch) = self.epoch() else { return };
        let pools: Vec<Id> = self
            .state
            .seats
            .iter()
            .filter(|(_, seats)| seats.subnets.is_some())
            .map(|(pool, _)| pool.clone())
            .collect();
        for pool in pools {
            self.settle_seats([pool.clone()], now, actions);
            self.judge_seats(&pool, now, actions);
            let Some(seats) = self.state.seats_of(&pool).filter(|seats| seats.electorate.is_changing()) else {
                continue;
            };
            if self.in_flight() > 0 {
                continue;
            }
            let heard = seats.gateways.keys().filter(|id| {
                let Some(known) = self.state.agents.get(&super::gateway(id)) else { return false };
                let (Some(_), Some(sent), Some(position)) = (known.stream, known.sent, known.position) else {
                    return false;
                };
                position.epoch == epoch && position.revision >= sent
            });
            let mut changed = seats.clone();
            if changed.elected(heard) {
                // Another change may have waited for this one.
                if let Some(subnets) = changed.subnets.clone() {
                    self.state.with_pool(&pool, &subnets, now.unix_milliseconds, |pool| changed.settle(pool));
                }
                self.keep_seats(&pool, changed, now, actions);
            }
        }
    }
}
