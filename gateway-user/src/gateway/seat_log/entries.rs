//! What a log tells: link-layer addresses on tenants' VLANs, and the routes that tenants' routers have learned.

use crate::dataplane::learned::Way;
use crate::dataplane::world::Mac;
use gateway_common::Epoch;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// A tenant's or a connection's name, which many entries share.
pub type Name = Arc<str>;

/// Equally good ways, which many routes share.
pub type Ways = Arc<[Way]>;

/// A place in a log. What is told first has 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before everything.
    pub const START: Self = Self(0);

    /// The next place.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// How many places it is from an earlier one to this.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Which log it is. A later one of a seat is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// Under which epoch the seat is held.
    pub epoch: Epoch,
    /// When the holder's agent began it, by its machine's clock since it was started: an agent that comes again under the same epoch
    /// begins a later one.
    pub life: u64,
}

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The tenant.
    pub tenant: Name,
    /// What of it.
    pub subject: Subject,
}

/// What of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Whether its router has learned all that its peers have to say.
    Complete,
    /// A station on the VLAN of one of its L3 connections.
    Neighbour {
        /// The connection.
        connection: Name,
        /// The station's address.
        address: IpAddr,
    },
    /// A learned route.
    Route(IpNet),
}

/// What is so of a [`Key`], each kind with its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// It is.
    Complete,
    /// The station's link-layer address.
    Neighbour(Mac),
    /// Where the route leads: at least one way.
    Route(Ways),
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub(super) key: Key,
    /// Nothing if it is gone. Of the key's kind.
    pub(super) value: Option<Value>,
}

/// A record, as its reader takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact<'a> {
    /// The tenant's router has learned all, or has yet to.
    Complete(bool),
    /// A station on the VLAN of a connection.
    Neighbour {
        /// The connection.
        connection: &'a Name,
        /// The station's address.
        address: IpAddr,
        /// Its link-layer address; nothing if it is known no more.
        mac: Option<Mac>,
    },
    /// A learned route.
    Route {
        /// The prefix.
        prefix: IpNet,
        /// Where it leads; nothing if it is gone.
        ways: &'a [Way],
    },
}

impl Record {
    /// A station's link-layer address, or that it is known no more.
    pub fn neighbour(tenant: Name, connection: Name, address: IpAddr, mac: Option<Mac>) -> Self {
        let key = Key { tenant, subject: Subject::Neighbour { connection, address } };
        Self { key, value: mac.map(Value::Neighbour) }
    }

    /// Where a prefix leads; nowhere if it is gone.
    pub fn route(tenant: Name, prefix: IpNet, ways: Ways) -> Self {
        let key = Key { tenant, subject: Subject::Route(prefix.trunc()) };
        Self { key, value: (!ways.is_empty()).then_some(Value::Route(ways)) }
    }

    /// A tenant's router has learned all that its peers have to say.
    pub fn complete(tenant: Name) -> Self {
        Self { key: Key { tenant, subject: Subject::Complete }, value: Some(Value::Complete) }
    }

    /// Of this key nothing is so any more.
    pub(super) fn gone(key: Key) -> Self {
        Self { key, value: None }
    }

    /// The tenant.
    pub fn tenant(&self) -> &Name {
        &self.key.tenant
    }

    /// What it says.
    pub fn fact(&self) -> Fact<'_> {
        match &self.key.subject {
            Subject::Complete => Fact::Complete(self.value.is_some()),
            Subject::Neighbour { connection, address } => {
                let mac = match &self.value {
                    Some(Value::Neighbour(mac)) => Some(*mac),
                    _ => None,
                };
                Fact::Neighbour { connection, address: *address, mac }
            }
            Subject::Route(prefix) => {
                let ways = match &self.value {
                    Some(Value::Route(ways)) => &**ways,
                    _ => &[],
                };
                Fact::Route { prefix: *prefix, ways }
            }
        }
    }
}

/// How much a log or a replica may hold: beyond it, what comes is refused and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Entries.
    pub entries: usize,
    /// What is remembered of entries that are gone, for those that have yet to hear it. Who has fallen further behind begins anew.
    pub gone: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { entries: 4 << 20, gone: 64 << 10 }
    }
}
