//! Moving connections: who would take over, where everything would go, and doing it.
//!
//! A VIP with all its GRE connections is the smallest thing that moves between gateways, so that no site has to learn another destination. An
//! L3 or IPsec connection moves by itself.

use super::capacity;
use super::fleet::{Fleet, Gateway, Placed, Tenant};
use super::pool::{Load, Pool, Rank};
use super::refusal::MoveRefusal;
use super::spec::{Link, Racks};
use crate::controller::model::Id;
use crate::controller::model::records::Placement;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Where a gateway's connections would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// The gateway.
    pub gateway: Id,
    /// The standby that would take all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successor: Option<Id>,
    /// Where each part would go without a standby, the largest first.
    pub pieces: Vec<Piece>,
}

/// What moves as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Piece {
    /// The VIP that the connections are at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip: Option<IpAddr>,
    /// The connections, each after its tenant.
    pub connections: Vec<(Id, Id)>,
    /// What they take of a gateway's capacity, in kbit/s, rounded up.
    pub kbps: u64,
    /// The gateway with room for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Id>,
}

/// A connection that was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The tenant.
    pub tenant: Id,
    /// The connection.
    pub connection: Id,
    /// Where it was.
    pub from: Id,
    /// Where it is.
    pub placement: Placement,
}

/// Connections that move as one.
pub(super) struct Part<'a> {
    pub vip: Option<IpAddr>,
    pub connections: Vec<(&'a Id, &'a Placed)>,
    pub cost: i128,
}

impl Fleet {
    /// The standby that would take a gateway's connections over: one that all its VLANs reach, if possible in another rack and on another host.
    pub fn successor(&self, gateway: &Id) -> Option<Id> {
        let gateway = self.gateways.get(gateway)?;
        let pool = self.pools.get(&gateway.spec.pool)?;
        let standbys = pool.standbys().filter(|rank| *rank != gateway.rank);
        let best = standbys.min_by_key(|rank| {
            let standby = self.gateways.get(&pool.member(*rank).id).map(|standby| &standby.spec);
            let shared = |one: &Option<Id>, other: Option<&Option<Id>>| one.is_some() && other == Some(one);
            (
                !may_take(gateway, pool.member(*rank).rack.as_ref()),
                shared(&gateway.spec.rack, standby.map(|standby| &standby.rack)),
                shared(&gateway.spec.host, standby.map(|standby| &standby.host)),
                *rank,
            )
        })?;
        Some(pool.member(best).id.clone())
    }

    /// Where a gateway's connections would go. Nothing is moved.
    pub fn drain(&self, id: &Id) -> Option<Drain> {
        let gateway = self.gateways.get(id)?;
        let pool = self.pools.get(&gateway.spec.pool)?;
        let mut given: BTreeMap<Rank, i128> = BTreeMap::new();
        let mut pieces = Vec::new();
        for piece in self.pieces(pool, id) {
            let reserve = pool.capacity.reserve(self.settings.soft_watermark_percent);
            let open = (0..pool.len()).filter(|rank| *rank != gateway.rank && pool.is_open(*rank));
            let fitting = open.filter_map(|rank| {
                let left = pool.remaining(rank) - given.get(&rank).unwrap_or(&0) - piece.cost;
                (left >= 0 && piece.reaches(pool.member(rank).rack.as_ref())).then_some((left < reserve, left, rank))
            });
            let to = fitting.min().map(|(_, _, rank)| rank);
            if let Some(rank) = to {
                *given.entry(rank).or_default() += piece.cost;
            }
            pieces.push(Piece {
                vip: piece.vip,
                connections: piece.names(),
                kbps: capacity::kbps_up(piece.cost),
                to: to.map(|rank| pool.member(rank).id.clone()),
            });
        }
        let successor = self.successor(id).filter(|successor| {
            let rack = self.gateways.get(successor).and_then(|successor| successor.spec.rack.as_ref());
            may_take(gateway, rack)
        });
        Some(Drain { gateway: id.clone(), successor, pieces })
    }

    /// Moves all that a gateway carries: to its successor, or else over the pool's other active gateways.
    ///
    /// # Errors
    /// There is no place for all of it: nothing is moved, and what would go where is told.
    pub fn evacuate(&mut self, id: &Id) -> Result<Vec<Moved>, Drain> {
        let Some(drain) = self.drain(id) else { return Ok(Vec::new()) };
        if let Some(successor) = &drain.successor {
            let connections = drain.pieces.iter().flat_map(|piece| piece.connections.iter().cloned()).collect();
            return Ok(self.put(connections, successor));
        }
        let mut moves = Vec::new();
        for piece in &drain.pieces {
            match &piece.to {
                Some(to) => moves.push((piece.connections.clone(), to.clone())),
                None => return Err(drain),
            }
        }
        Ok(moves.into_iter().flat_map(|(connections, to)| self.put(connections, &to)).collect())
    }

    /// Gives a gateway's connections and VIPs to a standby, even if they are too much for one gateway. What a VLAN does not let move stays.
    ///
    /// # Errors
    /// The standby is none of the same pool, is not usable, or carries something already.
    pub fn take_over(&mut self, from: &Id, to: &Id) -> Result<Vec<Moved>, MoveRefusal> {
        let (pool, target) = self.target(from, to)?;
        if pool.member(target.rank).load != Load::Idle {
            let free_kbps = capacity::kbps(pool.remaining(target.rank));
            let kbps = self.pieces(pool, from).iter().map(|piece| piece.cost).sum();
            return Err(MoveRefusal::NoRoom { to: to.clone(), kbps: capacity::kbps_up(kbps), free_kbps });
        }
        let rack = target.spec.rack.as_ref();
        let pieces = self.pieces(pool, from);
        let connections = pieces.iter().filter(|piece| piece.reaches(rack)).flat_map(Part::names).collect();
        Ok(self.put(connections, to))
    }

    /// Moves a connection, with all others of its VIP.
    ///
    /// # Errors
    /// It cannot be there.
    pub fn move_connection(&mut self, tenant: &Id, connection: &Id, to: &Id) -> Result<Vec<Moved>, MoveRefusal> {
        let connections = self.movable(tenant, connection, to)?;
        Ok(self.put(connections, to))
    }

    /// All that has to move together with a connection, and may be where it is to go; nothing if it is there.
    ///
    /// # Errors
    /// It cannot be there.
    pub(super) fn movable(&self, tenant: &Id, connection: &Id, to: &Id) -> Result<Vec<(Id, Id)>, MoveRefusal> {
        let unknown = || MoveRefusal::UnknownConnection { tenant: tenant.clone(), connection: connection.clone() };
        let from = self.placement(tenant, connection).ok_or_else(unknown)?.gateway.clone();
        if from == *to {
            return Ok(Vec::new());
        }
        let (pool, target) = self.target(&from, to)?;
        let pieces = self.pieces(pool, &from);
        let is_it = |piece: &&Part<'_>| {
            piece.connections.iter().any(|(of, placed)| *of == tenant && placed.wanted.connection == *connection)
        };
        let piece = pieces.iter().find(is_it).ok_or_else(unknown)?;
        let remaining = pool.remaining(target.rank);
        if remaining < piece.cost {
            let (kbps, free_kbps) = (capacity::kbps_up(piece.cost), capacity::kbps(remaining));
            return Err(MoveRefusal::NoRoom { to: to.clone(), kbps, free_kbps });
        }
        if !piece.reaches(target.spec.rack.as_ref()) {
            return Err(MoveRefusal::NoRack { to: to.clone(), tenant: tenant.clone(), connection: connection.clone() });
        }
        Ok(piece.names())
    }

    /// Brings the connections of a VIP together that are on several gateways: who moved them has not come to its end. They go where they may
    /// be, and where most of them are already.
    pub fn reunite(&mut self) -> Vec<Moved> {
        let vips: Vec<IpAddr> = self.vips.several_times().collect();
        let mut moved = Vec::new();
        for vip in vips {
            let having = self.gateways.values().filter_map(|gateway| Some((gateway, gateway.vips.get(&vip)?)));
            let best = having.max_by_key(|(gateway, count)| (gateway.is_usable(), **count));
            let Some(to) = best.map(|(gateway, _)| gateway.spec.id.clone()) else { continue };
            let of_vip = |(tenant, of): (&Id, &Tenant)| {
                let elsewhere = of.connections.values().filter(|it| it.at.vip == Some(vip) && it.at.gateway != to);
                elsewhere.map(|placed| (tenant.clone(), placed.wanted.connection.clone())).collect::<Vec<_>>()
            };
            let apart = self.tenants.iter().flat_map(of_vip).collect();
            moved.extend(self.put(apart, &to));
        }
        moved
    }

    /// A gateway that something of another one can be moved to.
    fn target(&self, from: &Id, to: &Id) -> Result<(&Pool, &Gateway), MoveRefusal> {
        let unknown = |id: &Id| MoveRefusal::UnknownGateway(id.clone());
        let source = self.gateways.get(from).ok_or_else(|| unknown(from))?;
        let target = self.gateways.get(to).ok_or_else(|| unknown(to))?;
        let pool = self.pools.get(&target.spec.pool).ok_or_else(|| unknown(to))?;
        if source.spec.pool != target.spec.pool || from == to {
            return Err(MoveRefusal::OtherPool { from: from.clone(), to: to.clone() });
        }
        if !target.is_usable() {
            return Err(MoveRefusal::NotUsable(to.clone()));
        }
        Ok((pool, target))
    }

    /// What a gateway carries, in the parts that move as one: the largest first.
    pub(super) fn pieces<'a>(&'a self, pool: &Pool, gateway: &'a Id) -> Vec<Part<'a>> {
        let mut by_vip: BTreeMap<IpAddr, Part<'a>> = BTreeMap::new();
        let mut pieces = Vec::new();
        for (tenant, placed) in self.connections_on(gateway) {
            let cost = pool.capacity.cost(placed.wanted.link.kind(), placed.wanted.bandwidth.total());
            let empty = Part { vip: placed.at.vip, connections: Vec::new(), cost: 0 };
            let mut alone = None;
            let piece = match placed.at.vip {
                Some(vip) => by_vip.entry(vip).or_insert(empty),
                None => alone.insert(empty),
            };
            piece.connections.push((tenant, placed));
            piece.cost += cost;
            pieces.extend(alone);
        }
        pieces.extend(by_vip.into_values());
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.cost));
        pieces
    }

    /// Puts connections on a gateway. All of a VIP's come together.
    pub(super) fn put(&mut self, connections: Vec<(Id, Id)>, to: &Id) -> Vec<Moved> {
        let lifted: Vec<(Id, Placed)> = connections
            .into_iter()
            .filter_map(|(tenant, connection)| self.count_out(&tenant, &connection).map(|placed| (tenant, placed)))
            .collect();
        let mut moved = Vec::with_capacity(lifted.len());
        for (tenant, mut placed) in lifted {
            let from = std::mem::replace(&mut placed.at.gateway, to.clone());
            placed.at.transfer = None;
            let connection = placed.wanted.connection.clone();
            moved.push(Moved { tenant: tenant.clone(), connection, from, placement: placed.at.clone() });
            self.count_in(&tenant, placed);
        }
        moved
    }
}

impl Part<'_> {
    pub fn reaches(&self, rack: Option<&Id>) -> bool {
        let racks = self.connections.iter().filter_map(|(_, placed)| match &placed.wanted.link {
            Link::L3 { racks } => Some(racks),
            Link::IpSec | Link::Gre { .. } => None,
        });
        racks.into_iter().all(|racks: &Racks| racks.has(rack))
    }

    pub fn names(&self) -> Vec<(Id, Id)> {
        self.connections.iter().map(|(tenant, placed)| ((*tenant).clone(), placed.wanted.connection.clone())).collect()
    }
}

/// Whether all VLANs of a gateway are in a rack.
impl Fleet {
    /// Whether all VLANs of what is placed on a gateway are where another one stands.
    pub fn may_stand_in(&self, gateway: &Id, other: &Id) -> bool {
        let rack = self.gateways.get(other).and_then(|other| other.spec.rack.as_ref());
        self.gateways.get(gateway).is_none_or(|gateway| may_take(gateway, rack))
    }
}

pub(super) fn may_take(gateway: &Gateway, rack: Option<&Id>) -> bool {
    gateway.confined.keys().all(|racks| rack.is_some_and(|rack| racks.contains(rack)))
}
