//! Why something cannot be done, in words for the person who asked.

use super::capacity::MAX_KBPS;
use super::spec::{List, name_of};
use crate::controller::model::Id;
use crate::controller::model::tenant::ConnectionType;
use serde::Serialize;
use std::fmt;
use std::net::IpAddr;
use thiserror::Error;

/// Why a tenant's connections cannot be placed as asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("connection {connection}: {why}")]
pub struct Refused {
    /// The first connection that has no place.
    pub connection: Id,
    /// Why.
    #[source]
    pub why: Refusal,
}

/// Why a connection cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A pool that the tenant subscribes to does not exist.
    #[error("there is no gateway pool {0}")]
    UnknownPool(Id),
    /// The tenant names no pool.
    #[error(
        "no gateway pool is named and there is no default one; name one in gatewayPools, or create the pool \"default\""
    )]
    NoDefaultPool,
    /// A tenant on a pool of type All has no other.
    #[error("pool {pool} is of type All: a tenant on it subscribes to no other pool; name it alone in gatewayPools")]
    AllPoolNotAlone {
        /// The pool of type All.
        pool: Id,
    },
    /// None of the tenant's pools takes the type.
    #[error("no gateway of the pools {} carries {} connections; subscribe to a pool that does", List(pools), name_of(*kind))]
    WrongType {
        /// The connection's type.
        kind: ConnectionType,
        /// The tenant's pools.
        pools: Vec<Id>,
    },
    /// No gateway has room.
    #[error("no gateway has room for {kbps} kbit/s (in + out) of {}: {}; ask for less, or add gateways to a pool", name_of(*kind), List(shortages))]
    NoRoom {
        /// The connection's type.
        kind: ConnectionType,
        /// What it asks for.
        kbps: u64,
        /// What each pool lacks.
        shortages: Vec<Shortage>,
    },
    /// The site's address and key are in use at every VIP.
    #[error("the destination {remote} with {} is in use already at every VIP; choose another greKey", Key(*key))]
    TunnelTaken {
        /// The site's end.
        remote: IpAddr,
        /// The key.
        key: Option<u32>,
    },
    /// The site's end is one of ours.
    #[error(
        "the destination {remote} is in the greVipSubnets of pool {pool}, from which the gateways' own ends are; write the site's address"
    )]
    RemoteIsVip {
        /// The site's end, as it was written.
        remote: IpAddr,
        /// The pool.
        pool: Id,
    },
    /// No VIP is left.
    #[error(
        "the pools {} have no GRE VIP of the family of {remote} left; extend the IP pools of their greVipSubnets",
        List(pools)
    )]
    NoVip {
        /// The site's end.
        remote: IpAddr,
        /// The pools with room.
        pools: Vec<Id>,
    },
}

/// How much a pool lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shortage {
    /// The pool.
    pub pool: Id,
    /// What is missing on its freest gateway, in kbit/s of the connection's type.
    pub lacks_kbps: u64,
    /// Why it is missing.
    pub cause: ShortageCause,
}

/// Why a pool lacks room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ShortageCause {
    /// Its active gateways are too full.
    Full {
        /// The freest of them.
        gateway: Id,
        /// What that has, in kbit/s of the connection's type.
        free_kbps: u64,
    },
    /// Not even an empty gateway of the pool carries as much.
    TooSmall {
        /// What an empty gateway carries, in kbit/s of the connection's type.
        most_kbps: u64,
    },
    /// None of its gateways is active, works and may be given more.
    NoGateway,
    /// None of these is in a rack with the VLAN.
    NoRack {
        /// The racks with the VLAN.
        racks: Vec<Id>,
    },
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, lacks_kbps, cause } = self;
        match cause {
            ShortageCause::Full { gateway, free_kbps } => {
                write!(f, "pool {pool} lacks {lacks_kbps} kbit/s (its freest gateway, {gateway}, has {free_kbps})")
            }
            ShortageCause::TooSmall { most_kbps } => {
                write!(f, "pool {pool} lacks {lacks_kbps} kbit/s (an empty gateway of it carries {most_kbps})")
            }
            ShortageCause::NoGateway => {
                write!(
                    f,
                    "pool {pool} lacks {lacks_kbps} kbit/s (no gateway of it is active, healthy and not cordoned)"
                )
            }
            ShortageCause::NoRack { racks } => write!(
                f,
                "pool {pool} lacks {lacks_kbps} kbit/s (no active gateway of it is in a rack with the VLAN: {})",
                List(racks)
            ),
        }
    }
}

struct Key(Option<u32>);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => write!(f, "GRE key {key}"),
            None => f.write_str("no GRE key"),
        }
    }
}

/// Why a pool or a gateway cannot be what is asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FleetRefusal {
    /// There is no such pool.
    #[error("there is no gateway pool {0}")]
    UnknownPool(Id),
    /// There is no such gateway.
    #[error("there is no gateway {0}")]
    UnknownGateway(Id),
    /// A pool with gateways stays.
    #[error("pool {pool} has the gateways {}; remove them first", List(gateways))]
    HasGateways {
        /// The pool.
        pool: Id,
        /// Its gateways.
        gateways: Vec<Id>,
    },
    /// Too few gateways for N standbys.
    #[error(
        "pool {pool} would have {active} active gateways and {redundant} standbys, but has to have as many active ones as standbys at \
         least; add gateways, or lower redundantGatewayCount to {active}"
    )]
    TooFew {
        /// The pool.
        pool: Id,
        /// M.
        active: usize,
        /// N.
        redundant: usize,
    },
    /// More gateways carry connections than would be active.
    #[error(
        "{carrying} gateways of pool {pool} carry connections, and only {active} could beside {redundant} standbys; move connections, add \
         gateways, or lower redundantGatewayCount"
    )]
    HoldsTooMuch {
        /// The pool.
        pool: Id,
        /// How many carry connections.
        carrying: usize,
        /// M.
        active: usize,
        /// N.
        redundant: usize,
    },
    /// The pool's type does not fit what it carries.
    #[error("pool {pool} carries {} connections, for instance on gateway {gateway}; remove or move them first", name_of(*kind))]
    TypeInUse {
        /// The pool.
        pool: Id,
        /// A gateway that does.
        gateway: Id,
        /// What it carries.
        kind: ConnectionType,
    },
    /// A pool of type All stands alone.
    #[error(
        "{tenants} tenants subscribe to pool {pool} and to others, which a pool of type All does not allow; change their gatewayPools first"
    )]
    SharedSubscription {
        /// The pool.
        pool: Id,
        /// How many tenants do.
        tenants: usize,
    },
    /// A VIP would be outside of the pool's subnets.
    #[error(
        "VIP {vip} of gateway {gateway} is in use by {}, and would be in none of the greVipSubnets of pool {pool}; keep it in one of their ipPools, or delete these connections first",
        List(users)
    )]
    VipInUse {
        /// The pool.
        pool: Id,
        /// The gateway.
        gateway: Id,
        /// The VIP.
        vip: IpAddr,
        /// The connections that have it, as their resources are called.
        users: Vec<String>,
    },
    /// A gateway that carries connections stays where it is.
    #[error("gateway {gateway} carries {connections} connections; drain it first")]
    Carries {
        /// The gateway.
        gateway: Id,
        /// How many.
        connections: usize,
    },
}

/// Why something cannot be moved.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MoveRefusal {
    /// There is no such gateway.
    #[error("there is no gateway {0}")]
    UnknownGateway(Id),
    /// There is no such connection.
    #[error("tenant {tenant} has no connection {connection} on a gateway")]
    UnknownConnection {
        /// The tenant.
        tenant: Id,
        /// The connection.
        connection: Id,
    },
    /// It cannot be given anything.
    #[error("gateway {0} has failed or is cordoned")]
    NotUsable(Id),
    /// Connections are counted in one pool.
    #[error("gateways {from} and {to} are in different pools")]
    OtherPool {
        /// Where it is.
        from: Id,
        /// Where it was to be.
        to: Id,
    },
    /// What moves does not fit.
    #[error("gateway {to} has room for {free_kbps} kbit/s of capacity, and {kbps} are to be moved")]
    NoRoom {
        /// Where it was to be.
        to: Id,
        /// What is to be moved, in kbit/s of capacity.
        kbps: u64,
        /// What it has, in kbit/s of capacity.
        free_kbps: u64,
    },
    /// One thing at a time.
    #[error("connection {connection} of tenant {tenant} is moving; try again when it has arrived")]
    Moving {
        /// Whose is moving.
        tenant: Id,
        /// What is moving.
        connection: Id,
    },
    /// A VLAN is not there.
    #[error("a VLAN of tenant {tenant}'s connection {connection} is not in the rack of gateway {to}")]
    NoRack {
        /// Where it was to be.
        to: Id,
        /// The tenant.
        tenant: Id,
        /// The connection.
        connection: Id,
    },
}

/// What a request lacks of what there is, in kbit/s.
pub(super) const fn lack(asked: u64, free: u64) -> u64 {
    let lack = asked.saturating_sub(free);
    if lack < MAX_KBPS { lack } else { MAX_KBPS }
}
