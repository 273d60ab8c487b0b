//! What is told of pools, gateways and connections.

use super::capacity::Bandwidth;
use crate::controller::model::Id;
use crate::controller::model::fabric::{CapacityRule, PoolType, Schedulable};
use crate::controller::model::tenant::ConnectionType;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// How connections are spread, for the whole fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Up to this use, in percent, a gateway is filled before one above it is considered.
    pub soft_watermark_percent: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self { soft_watermark_percent: 80 }
    }
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// Its id.
    pub id: Id,
    /// What its gateways carry.
    pub kind: PoolType,
    /// What each gateway can carry, in kbit/s.
    pub capacity_kbps: u64,
    /// N: how many gateways are kept as standbys.
    pub redundant: u32,
    /// How capacity is counted.
    pub rule: CapacityRule,
    /// Where GRE VIPs come from, in the order in which they are used up.
    pub vips: Vec<VipRange>,
}

/// A range of addresses of one family, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VipRange {
    /// The first address.
    pub first: IpAddr,
    /// The last address.
    pub last: IpAddr,
}

impl VipRange {
    /// All its addresses, the lowest first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let number = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        let is_ipv4 = self.first.is_ipv4();
        (number(self.first)..=number(self.last)).map(move |number| match u32::try_from(number) {
            Ok(number) if is_ipv4 => Ipv4Addr::from_bits(number).into(),
            _ => Ipv6Addr::from_bits(number).into(),
        })
    }

    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        same_family(self.first, address) && (self.first..=self.last).contains(&address)
    }
}

pub(super) const fn same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

/// A gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySpec {
    /// Its id.
    pub id: Id,
    /// The pool that it is in.
    pub pool: Id,
    /// The physical host that it stands on, where that is known.
    pub host: Option<Id>,
    /// The rack, where that is known.
    pub rack: Option<Id>,
    /// Whether it may be given more.
    pub scheduling: Schedulable,
    /// How it does IPsec.
    pub ipsec: IpsecPath,
}

/// How a gateway does IPsec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IpsecPath {
    /// As fast as the 2019 rule counts it.
    #[default]
    Fast,
    /// As the 2016 rule counts it. One such gateway makes the whole pool be counted so, for IPsec.
    Classic,
}

/// Whether a gateway works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// It does, as far as is known.
    #[default]
    Healthy,
    /// It does not: it is given nothing, and keeps what it has until that is moved.
    Failed,
}

/// What a gateway is in its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum GatewayState {
    /// It carries connections or may be given some.
    Active,
    /// It waits to take over.
    Redundant,
}

/// A connection that is to be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its id, unique within the tenant.
    pub connection: Id,
    /// Its limits.
    pub bandwidth: Bandwidth,
    /// How the site is reached.
    pub link: Link,
}

/// How a site is reached, as far as that says where a connection can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// IKEv2 and ESP.
    IpSec,
    /// A GRE tunnel, to a VIP.
    Gre {
        /// The site's end.
        remote: IpAddr,
        /// The key. None differs from 0.
        key: Option<u32>,
    },
    /// A VLAN.
    L3 {
        /// Where the VLAN is.
        racks: Racks,
    },
}

impl Link {
    /// The connection's type.
    pub const fn kind(&self) -> ConnectionType {
        match self {
            Self::IpSec => ConnectionType::IpSec,
            Self::Gre { .. } => ConnectionType::Gre,
            Self::L3 { .. } => ConnectionType::L3,
        }
    }
}

/// Where a VLAN is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Racks {
    /// In every rack.
    All,
    /// In these racks only. A gateway whose rack is not known is in none of them.
    Only(Arc<BTreeSet<Id>>),
}

impl Racks {
    /// From a list of which an empty one means every rack.
    pub fn new(racks: impl IntoIterator<Item = Id>) -> Self {
        let racks: BTreeSet<Id> = racks.into_iter().collect();
        if racks.is_empty() { Self::All } else { Self::Only(Arc::new(racks)) }
    }

    /// Whether the VLAN is in a gateway's rack.
    pub fn has(&self, rack: Option<&Id>) -> bool {
        match self {
            Self::All => true,
            Self::Only(racks) => rack.is_some_and(|rack| racks.contains(rack)),
        }
    }
}

/// Whether gateways of a pool carry a type of connection.
pub(super) fn carries(pool: PoolType, kind: ConnectionType) -> bool {
    match pool {
        PoolType::All => true,
        PoolType::IpSec => kind == ConnectionType::IpSec,
        PoolType::Gre => kind == ConnectionType::Gre,
        PoolType::Forwarding => kind == ConnectionType::L3,
    }
}

/// A type as people write it.
pub(super) const fn name_of(kind: ConnectionType) -> &'static str {
    match kind {
        ConnectionType::IpSec => "IPSec",
        ConnectionType::Gre => "GRE",
        ConnectionType::L3 => "L3",
    }
}

/// Names with commas between them.
pub(super) struct List<'a, I>(pub &'a I);

impl<'a, I, T> fmt::Display for List<'a, I>
where
    &'a I: IntoIterator<Item = T>,
    T: fmt::Display,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, item) in self.0.into_iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{item}")?;
        }
        Ok(())
    }
}
