//! Moves without a gap: a connection, or a VIP with all that are at it, goes from one gateway's seat to another's in stages, of which the next
//! begins when everybody has done what the last one asks for. There is one move at a time. And which move would even a pool's load out.

use super::capacity;
use super::fleet::Fleet;
use super::moving::Moved;
use super::refusal::MoveRefusal;
use crate::controller::model::Id;
use crate::controller::model::records::{Stage, Transfer};
use serde::Serialize;

/// By how much of a gateway's capacity, in percent, two have to differ in load for something to be moved.
const WORTH_PERCENT: i128 = 5;

/// A move that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// What moves together, each after its tenant.
    pub connections: Vec<(Id, Id)>,
    /// Where it is.
    pub gateway: Id,
    /// Where else it is, and how far it has come.
    pub transfer: Transfer,
}

/// A move that would even the load out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evening {
    /// Where it is.
    pub from: Id,
    /// Where it would go.
    pub to: Id,
    /// What moves together, each after its tenant.
    pub connections: Vec<(Id, Id)>,
    /// What it takes of a gateway's capacity, in kbit/s, rounded up.
    pub kbps: u64,
}

impl Fleet {
    /// Begins to move a connection, with all others of its VIP. They are counted where they were until they arrive.
    ///
    /// # Errors
    /// It cannot be there, or something is moving already.
    pub fn begin_transfer(&mut self, tenant: &Id, connection: &Id, to: &Id) -> Result<Vec<Moved>, MoveRefusal> {
        let together = self.movable(tenant, connection, to)?;
        if let Some((tenant, connection)) = self.moving.first().filter(|_| !together.is_empty()) {
            return Err(MoveRefusal::Moving { tenant: tenant.clone(), connection: connection.clone() });
        }
        let transfer = Transfer { stage: Stage::Known, other: to.clone() };
        Ok(together.into_iter().filter_map(|one| self.mark(one, Some(transfer.clone()))).collect())
    }

    /// The move that is under way.
    pub fn transfer(&self) -> Option<UnderWay> {
        let (tenant, connection) = self.moving.first()?;
        let at = self.placement(tenant, connection)?;
        Some(UnderWay {
            connections: self.moving.iter().cloned().collect(),
            gateway: at.gateway.clone(),
            transfer: at.transfer.clone()?,
        })
    }

    /// The tenants of which something moves to or from a gateway while it is placed elsewhere.
    pub fn moving_to<'a>(&'a self, gateway: &'a Id) -> impl Iterator<Item = &'a Id> {
        let towards = |(tenant, connection): &&(Id, Id)| {
            let at = self.placement(tenant, connection);
            at.and_then(|at| at.transfer.as_ref()).is_some_and(|transfer| transfer.other == *gateway)
        };
        self.moving.iter().filter(towards).map(|(tenant, _)| tenant)
    }

    /// Brings what moves to its next stage. Where there is no room for it any more, or its destination is gone, it stays where it is.
    pub fn advance_transfer(&mut self) -> Vec<Moved> {
        let Some(UnderWay { connections, gateway, transfer }) = self.transfer() else { return Vec::new() };
        let Some((tenant, connection)) = connections.first() else { return Vec::new() };
        match transfer.stage {
            Stage::Arriving => match self.movable(tenant, connection, &transfer.other) {
                Ok(together) => {
                    let moved = self.put(together, &transfer.other);
                    let transfer = Transfer { stage: Stage::Leaving, other: gateway };
                    for one in &moved {
                        self.mark((one.tenant.clone(), one.connection.clone()), Some(transfer.clone()));
                    }
                    self.as_they_are(moved)
                }
                Err(_) => self.end_transfer(),
            },
            Stage::Known => self.mark_all(&connections, &Transfer { stage: Stage::Arriving, ..transfer }),
            Stage::Leaving => self.mark_all(&connections, &Transfer { stage: Stage::Announced, ..transfer }),
            Stage::Announced => self.end_transfer(),
        }
    }

    /// Ends the move, wherever what moves is.
    pub fn end_transfer(&mut self) -> Vec<Moved> {
        let moving: Vec<(Id, Id)> = self.moving.iter().cloned().collect();
        moving.into_iter().filter_map(|one| self.mark(one, None)).collect()
    }

    /// The move that evens the load of a pool's gateways out best: from the one that has most, of those of which something can go, to the one
    /// that has least.
    pub fn evening(&self, pool: &Id) -> Option<Evening> {
        let pool = self.pools.get(pool)?;
        let mut open: Vec<_> = (0..pool.len()).filter(|rank| pool.is_open(*rank)).collect();
        open.sort_by_key(|rank| (pool.remaining(*rank), *rank));
        let (emptiest, others) = open.split_last()?;
        let to = pool.member(*emptiest);
        let worth = pool.capacity.total() * WORTH_PERCENT;
        others.iter().find_map(|rank| {
            let from = &pool.member(*rank).id;
            let difference = pool.remaining(*emptiest) - pool.remaining(*rank);
            // What is left of the difference afterwards.
            let left = |cost: i128| (difference - 2 * cost).abs();
            let pieces = self.pieces(pool, from);
            let worthwhile = pieces
                .iter()
                .filter(|piece| piece.reaches(to.rack.as_ref()) && (difference - left(piece.cost)) * 100 >= worth);
            let piece = worthwhile.min_by_key(|piece| left(piece.cost))?;
            Some(Evening {
                from: from.clone(),
                to: to.id.clone(),
                connections: piece.names(),
                kbps: capacity::kbps_up(piece.cost),
            })
        })
    }

    fn mark_all(&mut self, connections: &[(Id, Id)], transfer: &Transfer) -> Vec<Moved> {
        connections.iter().filter_map(|one| self.mark(one.clone(), Some(transfer.clone()))).collect()
    }

    fn mark(&mut self, (tenant, connection): (Id, Id), transfer: Option<Transfer>) -> Option<Moved> {
        let placed = self.tenants.get_mut(&tenant)?.connections.get_mut(&connection)?;
        placed.at.transfer = transfer;
        let one = (tenant, connection);
        let moved = Moved {
            tenant: one.0.clone(),
            connection: one.1.clone(),
            from: placed.at.gateway.clone(),
            placement: placed.at.clone(),
        };
        match placed.at.transfer {
            Some(_) => self.moving.insert(one),
            None => self.moving.remove(&one),
        };
        Some(moved)
    }

    fn as_they_are(&self, moved: Vec<Moved>) -> Vec<Moved> {
        let now = |one: Moved| {
            let placement = self.placement(&one.tenant, &one.connection).cloned().unwrap_or(one.placement);
            Moved { placement, ..one }
        };
        moved.into_iter().map(now).collect()
    }
}
