//! What is configured of a speaker.

use crate::number::{Asn, RouterId};
use crate::session::Neighbor;
use crate::wire::Forwarding;
use ipnet::IpNet;
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Names a neighbour among those of a speaker: what people call it. Stays the same over changes of its settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighborName(Arc<str>);

impl From<&str> for NeighborName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl Borrow<str> for NeighborName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for NeighborName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NeighborName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One speaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its AS.
    pub asn: Asn,
    /// Its BGP identifier.
    pub router_id: RouterId,
    /// What it puts into cluster lists (RFC 4456); the identifier where it is absent.
    pub cluster_id: Option<RouterId>,
    /// Its neighbours.
    pub neighbors: BTreeMap<NeighborName, NeighborConfig>,
    /// Prefixes that it originates.
    pub networks: Vec<Network>,
}

/// A neighbour and what happens to its routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborConfig {
    /// Its session.
    pub session: Neighbor,
}

/// A prefix that a speaker originates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The prefix.
    pub prefix: IpNet,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
}

/// How a speaker begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// There was none before it.
    Fresh,
    /// It takes over from one that ended, whose neighbours may have kept its routes (RFC 4724, 4.1).
    Restart(Forwarding),
}
