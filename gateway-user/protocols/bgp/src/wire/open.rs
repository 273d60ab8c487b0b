//! OPEN messages and the capabilities in them (RFC 4271 4.2, RFC 5492, RFC 9072).

use crate::number::{Asn, Family, RouterId};
use serde::{Deserialize, Serialize};

/// What a speaker says of itself when a connection opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The AS; from the capability for four octets where it is there (RFC 6793).
    pub asn: Asn,
    /// The proposed hold time in seconds.
    pub hold_time: u16,
    /// The BGP identifier.
    pub router_id: RouterId,
    /// What it can do.
    pub capabilities: Capabilities,
}

/// What a speaker can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Multiprotocol (RFC 4760): the families among ours. `None` where the capability is absent, which means IPv4 alone.
    pub families: Option<Vec<Family>>,
    /// AS numbers of four octets (RFC 6793).
    pub four_octet: bool,
    /// IPv4 prefixes with an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// Route refresh (RFC 2918).
    pub route_refresh: bool,
    /// Route refresh with its beginning and end marked (RFC 7313).
    pub enhanced_refresh: bool,
    /// Messages of up to 65535 octets (RFC 8654).
    pub extended_message: bool,
    /// Graceful restart (RFC 4724).
    pub graceful_restart: Option<RestartCapability>,
    /// Long-lived graceful restart (RFC 9494).
    pub long_lived: Vec<LongLivedCapability>,
    /// Several paths to a prefix (RFC 7911).
    pub add_path: Vec<(Family, AddPath)>,
    /// The roles that it says to have: more than one is an error unless they agree (RFC 9234).
    pub roles: Vec<u8>,
    /// Codes that are not known here.
    pub unknown: Vec<u8>,
}

impl Capabilities {
    /// Whether routes of this family may be exchanged as far as this side goes.
    pub fn has(&self, family: Family) -> bool {
        match &self.families {
            None => family == Family::Ipv4,
            Some(families) => families.contains(&family),
        }
    }

    /// What it says of several paths in a family.
    pub fn add_path(&self, family: Family) -> Option<AddPath> {
        self.add_path.iter().find(|(of, _)| *of == family).map(|(_, mode)| *mode)
    }
}

/// Graceful restart (RFC 4724, 3; RFC 8538, 2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartCapability {
    /// The R bit: the sender has restarted, and is not to be waited for.
    pub restarted: bool,
    /// The N bit: routes are kept over notifications too.
    pub notifications: bool,
    /// Seconds until the sender expects to be back after a restart; 12 bits.
    pub time: u16,
    /// The families whose forwarding it can keep, each with its F bit: whether it did.
    pub families: Vec<(Family, Forwarding)>,
}

/// What became of a family's forwarding over a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// It went on: the F bit is set.
    Preserved,
    /// It stopped, or there was no restart.
    NotPreserved,
}

impl From<bool> for Forwarding {
    fn from(preserved: bool) -> Self {
        if preserved { Self::Preserved } else { Self::NotPreserved }
    }
}

/// Long-lived graceful restart of one family (RFC 9494, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongLivedCapability {
    /// Whose routes may grow old.
    pub family: Family,
    /// Whether forwarding went on.
    pub forwarding: Forwarding,
    /// For how many seconds; 24 bits.
    pub seconds: u32,
}

/// Which way several paths to a prefix may go (RFC 7911, 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddPath {
    /// The speaker takes several.
    Receive,
    /// The speaker sends several.
    Send,
    /// Both.
    Both,
}

impl AddPath {
    /// Whether the speaker sends several paths.
    pub const fn sends(self) -> bool {
        matches!(self, Self::Send | Self::Both)
    }

    /// Whether the speaker takes several paths.
    pub const fn receives(self) -> bool {
        matches!(self, Self::Receive | Self::Both)
    }
}

/// What a speaker is to its neighbour (RFC 9234, 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Gives the neighbour transit.
    Provider,
    /// A route server.
    RouteServer,
    /// A route server's client.
    RouteServerClient,
    /// Buys transit from the neighbour.
    Customer,
    /// Exchanges its customers' routes with the neighbour's.
    Peer,
}

impl Role {
    /// The capability's value.
    pub const fn value(self) -> u8 {
        match self {
            Self::Provider => 0,
            Self::RouteServer => 1,
            Self::RouteServerClient => 2,
            Self::Customer => 3,
            Self::Peer => 4,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::RouteServer => "route-server",
            Self::RouteServerClient => "route-server-client",
            Self::Customer => "customer",
            Self::Peer => "peer",
        }
    }

    /// What the neighbour has to be.
    pub const fn counterpart(self) -> Self {
        match self {
            Self::Provider => Self::Customer,
            Self::Customer => Self::Provider,
            Self::RouteServer => Self::RouteServerClient,
            Self::RouteServerClient => Self::RouteServer,
            Self::Peer => Self::Peer,
        }
    }
}
