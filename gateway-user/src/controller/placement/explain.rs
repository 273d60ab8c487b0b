//! Why a connection is where it is, or is nowhere. Worked out only when somebody asks.

use super::choose::{Class, Search};
use super::fleet::{Fleet, Gateway};
use super::pool::Pool;
use super::refusal::Refusal;
use super::spec::{Health, Link, Wanted, carries};
use crate::controller::model::Id;
use crate::controller::model::fabric::Schedulable;
use serde::Serialize;
use std::net::IpAddr;

/// All gateways of a tenant's pools, and what speaks for and against each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What is asked for, in kbit/s.
    pub kbps: u64,
    /// Those that would do, the best first; then the others, by name.
    pub candidates: Vec<Candidate>,
}

/// One gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The gateway.
    pub gateway: Id,
    /// Its pool.
    pub pool: Id,
    /// What it has room for without the connection, in kbit/s of the connection's type.
    pub free_kbps: u64,
    /// Whether it would do.
    pub verdict: Verdict,
}

/// Whether a gateway would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It would. The lowest class wins, then the lowest remainder.
    #[serde(rename_all = "camelCase")]
    Fits {
        /// How it is considered.
        class: Class,
        /// What would be left of its capacity, in kbit/s.
        remainder_kbps: u64,
        /// How full it would be, in percent.
        used_percent: u64,
        /// The VIP that a GRE connection would have.
        #[serde(skip_serializing_if = "Option::is_none")]
        vip: Option<IpAddr>,
    },
    /// It would not.
    No(Reason),
}

/// Why a gateway would not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// Its pool does not carry the type.
    WrongType,
    /// It is a standby.
    Standby,
    /// It has failed.
    Failed,
    /// It is cordoned.
    Cordoned,
    /// The VLAN is not in its rack.
    NoRack,
    /// It is too full.
    #[serde(rename_all = "camelCase")]
    Full {
        /// What is missing, in kbit/s of the connection's type.
        lacks_kbps: u64,
    },
    /// At none of its VIPs the remote address and key are free, and no other can be drawn.
    NoVip,
}

impl Fleet {
    /// Why a connection would be placed where it would. One that is placed already is looked at as if it were to be placed again.
    ///
    /// # Errors
    /// The tenant's pools are not as they have to be.
    pub fn explain(&self, tenant: &Id, pools: &[Id], wanted: &Wanted) -> Result<Explanation, Refusal> {
        let search = Search::new(self, tenant, pools, wanted)?;
        let mut candidates = Vec::new();
        for pool in &search.pools {
            for gateway in pool.members().iter().filter_map(|member| self.gateways.get(&member.id)) {
                candidates.push(search.judge(pool, gateway));
            }
        }
        candidates.sort_by(|(one, one_order), (other, other_order)| {
            one_order.cmp(other_order).then_with(|| one.gateway.cmp(&other.gateway))
        });
        let candidates = candidates.into_iter().map(|(candidate, _)| candidate).collect();
        Ok(Explanation { kbps: wanted.bandwidth.total(), candidates })
    }

    /// Why a placed connection is where it is.
    ///
    /// # Errors
    /// The tenant's pools are not as they have to be any more.
    pub fn explain_placed(&self, tenant: &Id, connection: &Id) -> Option<Result<Explanation, Refusal>> {
        let of_tenant = self.tenants.get(tenant)?;
        let placed = of_tenant.connections.get(connection)?;
        Some(self.explain(tenant, &of_tenant.pools, &placed.wanted))
    }
}

/// What orders candidates: those that fit by class, remainder and the pool's order, before those that do not.
type Order = Option<(Class, i128, u32)>;

impl Search<'_> {
    fn judge(&self, pool: &Pool, gateway: &Gateway) -> (Candidate, (bool, Order)) {
        let here = self.current.filter(|placed| placed.at.gateway == gateway.spec.id);
        let own =
            here.map_or(0, |placed| pool.capacity.cost(placed.wanted.link.kind(), placed.wanted.bandwidth.total()));
        let free = pool.remaining(gateway.rank) + own;
        let left = free - self.cost(pool);
        let free_kbps = pool.capacity.room(self.kind(), free);
        let class = if here.is_some() {
            Class::Stay
        } else if self
            .fleet
            .tenants
            .get(self.tenant)
            .is_some_and(|tenant| tenant.gateways.contains_key(&gateway.spec.id))
        {
            Class::Own
        } else if left >= self.reserve(pool) {
            Class::UnderWatermark
        } else {
            Class::AboveWatermark
        };
        let vip = match self.wanted.link {
            Link::Gre { remote, key } => self.vip(pool, gateway, remote, key).map(Some),
            Link::IpSec | Link::L3 { .. } => Some(None),
        };
        let fits = if here.is_some() { self.fits_where_it_is(pool, gateway) } else { left >= 0 };
        let why_not = if !carries(pool.spec.kind, self.kind()) {
            Some(Reason::WrongType)
        } else if here.is_none() && gateway.health == Health::Failed {
            Some(Reason::Failed)
        } else if here.is_none() && gateway.spec.scheduling != Schedulable::Enabled {
            Some(Reason::Cordoned)
        } else if here.is_none() && !pool.is_open(gateway.rank) {
            Some(Reason::Standby)
        } else if !self.racks().has(gateway.spec.rack.as_ref()) {
            Some(Reason::NoRack)
        } else if !fits {
            Some(Reason::Full { lacks_kbps: self.wanted.bandwidth.total().saturating_sub(free_kbps) })
        } else if vip.is_none() {
            Some(Reason::NoVip)
        } else {
            None
        };
        let (verdict, order) = match why_not {
            Some(reason) => (Verdict::No(reason), (true, None)),
            None => {
                let remainder_kbps = super::capacity::kbps(left);
                let used_percent = pool.capacity.percent_used(left);
                let fits = Verdict::Fits { class, remainder_kbps, used_percent, vip: vip.flatten() };
                (fits, (false, Some((class, left, gateway.rank))))
            }
        };
        (Candidate { gateway: gateway.spec.id.clone(), pool: pool.spec.id.clone(), free_kbps, verdict }, order)
    }
}
