//! Path attributes: what is said about a route besides its prefix.
//!
//! [`Attributes`] is the decoded form that policies and people work with. [`AttributeStore`] keeps each distinct set once,
//! as its canonical bytes with the few numbers that the decision process compares, and hands out an [`AttributesId`].

mod as_path;
mod canonical;
mod community;
pub(crate) mod kind;
mod store;

pub use as_path::{AsPath, Segment, SegmentKind};
pub use community::{Community, ExtendedCommunity, LargeCommunity, NoCommunity};
pub use store::{AttributeStore, AttributesId, Marks, Summary};
pub(crate) use store::{DEFAULT_LOCAL_PREF, WeakAttributes};

use crate::number::{Asn, RouterId};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a route came into BGP (RFC 4271, 5.1.1). The order is that of preference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// An interior protocol, or the speaker's own configuration.
    #[default]
    Igp,
    /// The protocol EGP.
    Egp,
    /// Anything else.
    Incomplete,
}

impl Origin {
    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The origin of that number.
    pub const fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Igp),
            1 => Some(Self::Egp),
            2 => Some(Self::Incomplete),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Igp => "IGP",
            Self::Egp => "EGP",
            Self::Incomplete => "incomplete",
        })
    }
}

/// Where packets for the route go: NEXT_HOP (RFC 4271) or the next hop of MP_REACH_NLRI (RFC 2545, RFC 8950).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// An IPv4 address; unspecified for what this speaker originates: it is the next hop itself.
    V4(Ipv4Addr),
    /// An IPv6 address, and the link-local one that stands beside it on a shared link.
    V6 {
        /// Global; unspecified for what this speaker originates.
        global: Ipv6Addr,
        /// Link-local, where the sender gave one.
        link_local: Option<Ipv6Addr>,
    },
}

impl NextHop {
    /// "This speaker itself": what a route that starts here has until it is sent.
    pub const SELF: Self = Self::V4(Ipv4Addr::UNSPECIFIED);

    /// The global address.
    pub const fn address(self) -> IpAddr {
        match self {
            Self::V4(address) => IpAddr::V4(address),
            Self::V6 { global, .. } => IpAddr::V6(global),
        }
    }

    /// Whether it names this speaker itself.
    pub const fn is_self(self) -> bool {
        match self {
            Self::V4(address) => address.is_unspecified(),
            Self::V6 { global, .. } => global.is_unspecified(),
        }
    }
}

impl Default for NextHop {
    fn default() -> Self {
        Self::SELF
    }
}

impl From<IpAddr> for NextHop {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(global) => Self::V6 { global, link_local: None },
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6 { global, link_local: None } => global.fmt(f),
            Self::V6 { global, link_local: Some(local) } => write!(f, "{global} ({local})"),
        }
    }
}

/// Who made an aggregate (RFC 4271, 5.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Aggregator {
    /// Its autonomous system.
    pub asn: Asn,
    /// Its identifier.
    pub router: RouterId,
}

/// An optional transitive attribute that this implementation does not know: passed on as it is (RFC 4271, 9).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RawAttribute {
    /// The flags as received. The encoder sets Partial, and Extended Length as the value needs it.
    pub flags: u8,
    /// The type code.
    pub code: u8,
    /// The value.
    pub value: Box<[u8]>,
}

/// All that a route carries besides its prefix.
///
/// AS numbers have four octets here whatever the session speaks; MP_REACH_NLRI is reduced to its next hop, AS4_PATH and
/// AS4_AGGREGATOR are merged by the codec (RFC 6793, 4.2.3). Communities and cluster lists keep the order they came in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH.
    pub as_path: AsPath,
    /// The next hop.
    pub next_hop: NextHop,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE.
    pub atomic_aggregate: bool,
    /// AGGREGATOR.
    pub aggregator: Option<Aggregator>,
    /// COMMUNITIES (RFC 1997).
    pub communities: Vec<Community>,
    /// EXTENDED COMMUNITIES (RFC 4360).
    pub extended_communities: Vec<ExtendedCommunity>,
    /// LARGE_COMMUNITY (RFC 8092).
    pub large_communities: Vec<LargeCommunity>,
    /// ORIGINATOR_ID (RFC 4456).
    pub originator_id: Option<RouterId>,
    /// CLUSTER_LIST (RFC 4456), nearest reflector first.
    pub cluster_list: Vec<RouterId>,
    /// Only to Customer (RFC 9234).
    pub only_to_customer: Option<Asn>,
    /// Unknown transitive attributes, by type code.
    pub unknown: Vec<RawAttribute>,
    /// This speaker's own preference before all others; never sent.
    pub weight: u32,
}
