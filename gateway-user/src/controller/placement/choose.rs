//! Finding a connection its gateway.
//!
//! A connection that is placed stays where it is if it fits there. Else it goes to, in this order: a gateway that carries the tenant
//! already; one that stays under the soft watermark; one that does not. Among several the one that is left with the least room, of equal ones
//! the first in the pool's order of [`spread`](super::spread), then by name. A GRE connection needs a VIP of that gateway where its remote
//! address and key are free: one that the gateway has, or one more out of the pool's subnets.

use super::capacity::Bandwidth;
use super::fleet::{Fleet, Gateway, Placed, Tunnel};
use super::pool::{Pool, Rank};
use super::refusal::{Refusal, Refused, Shortage, ShortageCause, lack};
use super::spec::{Link, Racks, Wanted, carries, same_family};
use crate::controller::model::Id;
use crate::controller::model::fabric::PoolType;
use crate::controller::model::records::Placement;
use crate::controller::model::tenant::ConnectionType;
use serde::Serialize;
use std::collections::btree_set;
use std::iter::Peekable;
use std::net::IpAddr;

/// How a gateway came to be considered; in the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Class {
    /// The connection is there already.
    Stay,
    /// It carries the tenant already.
    Own,
    /// It stays under the soft watermark.
    UnderWatermark,
    /// It has room.
    AboveWatermark,
}

/// Where a connection was placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The connection.
    pub connection: Id,
    /// Where it is.
    pub placement: Placement,
    /// Why there.
    pub class: Class,
    /// Where it was before, if anywhere.
    pub before: Option<Placement>,
}

/// Pools without a name of the tenant's choice, in the order in which they are looked for.
const DEFAULT_POOLS: [&str; 2] = ["default", "DefaultAll"];

/// A request, with what is known of the tenant.
pub(super) struct Search<'a> {
    pub fleet: &'a Fleet,
    pub tenant: &'a Id,
    pub wanted: &'a Wanted,
    pub pools: Vec<&'a Pool>,
    pub current: Option<&'a Placed>,
}

/// What a placement was decided upon.
struct Choice {
    class: Class,
    at: Placement,
}

/// Open gateways of one pool, the least room first.
struct Lane<'a> {
    pool: &'a Pool,
    cost: i128,
    gateways: Peekable<btree_set::Range<'a, (i128, Rank)>>,
}

impl<'a> Lane<'a> {
    /// What orders gateways of the same class: the room that is left, then the pool's order, then the name.
    fn head(&mut self) -> Option<(i128, Rank, &'a Id)> {
        let &&(remaining, rank) = self.gateways.peek()?;
        Some((remaining - self.cost, rank, &self.pool.member(rank).id))
    }
}

impl Fleet {
    /// Finds a connection its gateway, and puts it there. One that is placed already stays or is moved; a refusal changes nothing.
    ///
    /// # Errors
    /// Nothing in `pools` (in the default pool, where that is empty) can carry it.
    pub fn place(&mut self, tenant: &Id, pools: &[Id], wanted: &Wanted) -> Result<Decision, Refusal> {
        let search = Search::new(self, tenant, pools, wanted)?;
        let before = search.current.map(|placed| placed.at.clone());
        let Choice { class, at } = search.choose()?;
        if before.is_some() {
            self.count_out(tenant, &wanted.connection);
        }
        self.count_in(tenant, Placed { wanted: wanted.clone(), at: at.clone() });
        self.subscribe(tenant, pools);
        Ok(Decision { connection: wanted.connection.clone(), placement: at, class, before })
    }

    /// Places all that a tenant wants, and releases what it wants no more: all of it or nothing. The decisions are in the order of `wanted`.
    ///
    /// # Errors
    /// The first connection that has no place.
    pub fn settle(&mut self, tenant: &Id, pools: &[Id], wanted: &[Wanted]) -> Result<Vec<Decision>, Refused> {
        let before = self.tenants.get(tenant).cloned();
        let placed = before.iter().flat_map(|before| &before.connections);
        for (id, _) in placed.filter(|(id, _)| !wanted.iter().any(|wanted| wanted.connection == **id)) {
            self.release(tenant, id);
        }
        // What takes less than before makes room for what takes more.
        let grows = |wanted: &Wanted| {
            let had = before.as_ref().and_then(|before| before.connections.get(&wanted.connection));
            had.is_none_or(|had| had.wanted.bandwidth.total() < wanted.bandwidth.total())
        };
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_by_key(|at| grows(&wanted[*at]));
        let mut decisions = Vec::with_capacity(wanted.len());
        for at in order {
            match self.place(tenant, pools, &wanted[at]) {
                Ok(decision) => decisions.push((at, decision)),
                Err(why) => {
                    self.forget(tenant);
                    if let Some(before) = before {
                        for placed in before.connections.into_values() {
                            self.count_in(tenant, placed);
                        }
                        self.subscribe(tenant, &before.pools);
                    }
                    return Err(Refused { connection: wanted[at].connection.clone(), why });
                }
            }
        }
        decisions.sort_by_key(|(at, _)| *at);
        let before = before.unwrap_or_default();
        Ok(decisions
            .into_iter()
            .map(|(_, mut decision)| {
                decision.before = before.connections.get(&decision.connection).map(|placed| placed.at.clone());
                decision
            })
            .collect())
    }

    pub(super) fn subscribe(&mut self, tenant: &Id, pools: &[Id]) {
        if let Some(tenant) = self.tenants.get_mut(tenant)
            && tenant.pools != pools
        {
            tenant.pools = pools.to_vec();
        }
    }
}

impl<'a> Search<'a> {
    pub fn new(fleet: &'a Fleet, tenant: &'a Id, pools: &[Id], wanted: &'a Wanted) -> Result<Self, Refusal> {
        let mut found: Vec<&Pool> = Vec::with_capacity(pools.len().max(1));
        for id in pools {
            let pool = fleet.pools.get(id).ok_or_else(|| Refusal::UnknownPool(id.clone()))?;
            if !found.iter().any(|seen| seen.spec.id == pool.spec.id) {
                found.push(pool);
            }
        }
        if found.is_empty() {
            let default = DEFAULT_POOLS.iter().find_map(|name| fleet.pools.get(&Id::from(*name)));
            found.push(default.ok_or(Refusal::NoDefaultPool)?);
        }
        if found.len() > 1
            && let Some(pool) = found.iter().find(|pool| pool.spec.kind == PoolType::All)
        {
            return Err(Refusal::AllPoolNotAlone { pool: pool.spec.id.clone() });
        }
        if let Link::Gre { remote, .. } = wanted.link
            && let Some(pool) = found.iter().find(|pool| pool.spec.vips.iter().any(|range| range.contains(remote)))
        {
            return Err(Refusal::RemoteIsVip { remote, pool: pool.spec.id.clone() });
        }
        let current = fleet.tenants.get(tenant).and_then(|tenant| tenant.connections.get(&wanted.connection));
        Ok(Self { fleet, tenant, wanted, pools: found, current })
    }

    pub fn kind(&self) -> ConnectionType {
        self.wanted.link.kind()
    }

    fn kbps(&self) -> u64 {
        self.wanted.bandwidth.total()
    }

    pub fn cost(&self, pool: &Pool) -> i128 {
        pool.capacity.cost(self.kind(), self.kbps())
    }

    pub fn reserve(&self, pool: &Pool) -> i128 {
        pool.capacity.reserve(self.fleet.settings.soft_watermark_percent)
    }

    /// The racks in which the gateway has to be.
    pub fn racks(&self) -> &Racks {
        match &self.wanted.link {
            Link::L3 { racks } => racks,
            Link::IpSec | Link::Gre { .. } => &Racks::All,
        }
    }

    /// The tenant's pools that carry the type.
    fn suitable(&self) -> impl Iterator<Item = &'a Pool> + '_ {
        self.pools.iter().copied().filter(|pool| carries(pool.spec.kind, self.kind()))
    }

    fn choose(&self) -> Result<Choice, Refusal> {
        let choice = self.stay().or_else(|| self.own()).or_else(|| self.under()).or_else(|| self.above());
        choice.ok_or_else(|| self.refusal())
    }

    fn stay(&self) -> Option<Choice> {
        let current = self.current?;
        let pool = self.suitable().find(|pool| pool.spec.id == current.at.pool)?;
        let gateway = self.fleet.gateways.get(&current.at.gateway)?;
        (self.fits_where_it_is(pool, gateway) && self.racks().has(gateway.spec.rack.as_ref())).then_some(())?;
        self.seated(Class::Stay, pool, gateway)
    }

    /// Whether it fits beside the others of its gateway. What asks for no more than it has may stay even where too much is carried.
    pub fn fits_where_it_is(&self, pool: &Pool, gateway: &Gateway) -> bool {
        let had = self.current.map_or(Bandwidth::default(), |placed| placed.wanted.bandwidth).total();
        let kind = self.current.map_or(self.kind(), |placed| placed.wanted.link.kind());
        let more = self.cost(pool) - pool.capacity.cost(kind, had);
        more <= 0 || pool.remaining(gateway.rank) >= more
    }

    fn own(&self) -> Option<Choice> {
        let mut own: Vec<(i128, &Id, &Pool, &Gateway)> = Vec::new();
        for id in self.fleet.tenants.get(self.tenant)?.gateways.keys() {
            let Some(gateway) = self.fleet.gateways.get(id) else { continue };
            let Some(pool) = self.suitable().find(|pool| pool.spec.id == gateway.spec.pool) else { continue };
            let left = pool.remaining(gateway.rank) - self.cost(pool);
            if left >= 0
                && pool.is_open(gateway.rank)
                && self.racks().has(gateway.spec.rack.as_ref())
                && !self.is_at(id)
            {
                own.push((left, id, pool, gateway));
            }
        }
        own.sort_by(|one, other| (one.0, one.3.rank, one.1).cmp(&(other.0, other.3.rank, other.1)));
        own.into_iter().find_map(|(_, _, pool, gateway)| self.seated(Class::Own, pool, gateway))
    }

    fn under(&self) -> Option<Choice> {
        self.fullest(Class::UnderWatermark, |pool, cost| {
            pool.lanes(self.racks(), (cost + self.reserve(pool), Rank::MIN)..)
        })
    }

    fn above(&self) -> Option<Choice> {
        self.fullest(Class::AboveWatermark, |pool, cost| {
            pool.lanes(self.racks(), (cost, Rank::MIN)..(cost + self.reserve(pool), Rank::MIN))
        })
    }

    /// The gateway that would have the least room left, over all pools, of those where the connection finds a VIP.
    fn fullest(
        &self,
        class: Class,
        lanes: impl Fn(&'a Pool, i128) -> Vec<btree_set::Range<'a, (i128, Rank)>>,
    ) -> Option<Choice> {
        let mut all: Vec<Lane<'a>> = Vec::new();
        for pool in self.suitable() {
            let cost = self.cost(pool);
            let of_pool = lanes(pool, cost);
            all.extend(of_pool.into_iter().map(|lane| Lane { pool, cost, gateways: lane.peekable() }));
        }
        loop {
            let heads = all.iter_mut().filter_map(|lane| lane.head().map(|head| (head, lane)));
            let ((_, _, id), lane) = heads.min_by_key(|(head, _)| *head)?;
            lane.gateways.next();
            if !self.is_at(id)
                && let Some(gateway) = self.fleet.gateways.get(id)
                && let Some(choice) = self.seated(class, lane.pool, gateway)
            {
                return Some(choice);
            }
        }
    }

    fn is_at(&self, gateway: &Id) -> bool {
        self.current.is_some_and(|placed| placed.at.gateway == *gateway)
    }

    /// The choice of a gateway, if the connection finds a VIP there or needs none.
    fn seated(&self, class: Class, pool: &Pool, gateway: &Gateway) -> Option<Choice> {
        let vip = match self.wanted.link {
            Link::Gre { remote, key } => Some(self.vip(pool, gateway, remote, key)?),
            Link::IpSec | Link::L3 { .. } => None,
        };
        let at = Placement { pool: pool.spec.id.clone(), gateway: gateway.spec.id.clone(), vip, transfer: None };
        Some(Choice { class, at })
    }

    /// A VIP at which the site's address and key are free: the one that the connection has, one of the gateway's, one that nobody has.
    pub fn vip(&self, pool: &Pool, gateway: &Gateway, remote: IpAddr, key: Option<u32>) -> Option<IpAddr> {
        let is_free = |vip: &IpAddr| {
            let tunnel = Tunnel { vip: *vip, remote, key };
            same_family(*vip, remote)
                && (!self.fleet.tunnels.contains(&tunnel) || self.current.and_then(Placed::tunnel) == Some(tunnel))
        };
        let kept = self.current.and_then(|placed| placed.at.vip).filter(|vip| self.comes_along(*vip, pool, gateway));
        kept.filter(is_free).or_else(|| gateway.vips.keys().copied().find(is_free)).or_else(|| self.drawn(pool, remote))
    }

    /// Whether a connection that moves to a gateway may keep its VIP: no other connection is left behind at it.
    fn comes_along(&self, vip: IpAddr, pool: &Pool, gateway: &Gateway) -> bool {
        if self.is_at(&gateway.spec.id) {
            return true;
        }
        let alone =
            self.current.and_then(|placed| self.fleet.gateways.get(&placed.at.gateway)?.vips.get(&vip)) == Some(&1);
        alone && pool.spec.vips.iter().any(|range| range.contains(vip))
    }

    fn drawn(&self, pool: &Pool, remote: IpAddr) -> Option<IpAddr> {
        let ranges = pool.spec.vips.iter().filter(|range| same_family(range.first, remote));
        ranges.into_iter().find_map(|range| self.fleet.vips.first_free(range))
    }

    /// Why nothing was found.
    pub fn refusal(&self) -> Refusal {
        let kind = self.kind();
        if self.suitable().next().is_none() {
            return Refusal::WrongType { kind, pools: self.pools.iter().map(|pool| pool.spec.id.clone()).collect() };
        }
        let shortages: Vec<Shortage> = self.suitable().filter_map(|pool| self.shortage(pool)).collect();
        let with_room = self.suitable().filter(|pool| !shortages.iter().any(|shortage| shortage.pool == pool.spec.id));
        let with_room: Vec<&Pool> = with_room.collect();
        match self.wanted.link {
            Link::Gre { remote, key } if !with_room.is_empty() => {
                let has_vips = |pool: &&Pool| {
                    let members = pool.members().iter().filter_map(|member| self.fleet.gateways.get(&member.id));
                    members.flat_map(|gateway| gateway.vips.keys()).any(|vip| same_family(*vip, remote))
                };
                if with_room.iter().any(has_vips) {
                    Refusal::TunnelTaken { remote, key }
                } else {
                    Refusal::NoVip { remote, pools: with_room.iter().map(|pool| pool.spec.id.clone()).collect() }
                }
            }
            _ => Refusal::NoRoom { kind, kbps: self.kbps(), shortages },
        }
    }

    /// What a pool lacks; nothing if it has room.
    fn shortage(&self, pool: &Pool) -> Option<Shortage> {
        let (kind, kbps) = (self.kind(), self.kbps());
        let most = pool.capacity.most(kind);
        let (free, cause) = match pool.freest(self.racks()) {
            Some((remaining, _)) if remaining >= self.cost(pool) => return None,
            _ if pool.capacity.total() < self.cost(pool) => (most, ShortageCause::TooSmall { most_kbps: most }),
            Some((remaining, rank)) => {
                let free_kbps = pool.capacity.room(kind, remaining);
                (free_kbps, ShortageCause::Full { gateway: pool.member(rank).id.clone(), free_kbps })
            }
            None => match self.racks() {
                Racks::Only(racks) if pool.freest(&Racks::All).is_some() => {
                    (0, ShortageCause::NoRack { racks: racks.iter().cloned().collect() })
                }
                _ => (0, ShortageCause::NoGateway),
            },
        };
        Some(Shortage { pool: pool.spec.id.clone(), lacks_kbps: lack(kbps, free), cause })
    }
}
