//! What is asked of tenants' BGP routers in more than a word, and how that is answered.

use super::report::BgpRouteReport;
use clap::ValueEnum;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Which paths are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpRoutesQuery {
    /// The tenant's name.
    pub tenant: String,
    /// Only these prefixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<IpNet>,
    /// Which prefixes those are.
    #[serde(default)]
    pub matching: BgpMatching,
    /// Only paths that this peer has told; `local` for what the router announces itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Only paths with this community, of any kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub community: Option<String>,
    /// Where the table is gone on with.
    #[serde(skip)]
    pub from: u32,
}

/// How prefixes and the one that is asked for belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum BgpMatching {
    /// They contain it or lie within it
    #[default]
    Related,
    /// It alone
    Exact,
    /// They lie within it
    Longer,
    /// They contain it
    Covering,
}

/// A dump of a tenant's table is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpDumpQuery {
    /// The tenant's name.
    pub tenant: String,
    /// Where it is gone on with.
    #[serde(skip)]
    pub from: Option<BgpDumpPlace>,
}

/// A dump that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpDumpPlace {
    /// The dump, with the number of its next prefix.
    pub dump: bgp::mrt::TableDump,
    /// The peers, in the dump's order; the router itself is before them.
    pub peers: Vec<bgp::speaker::NeighborName>,
    /// Where the table is gone on with.
    pub from: u32,
}

/// What would become of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpPolicyTest {
    /// The tenant's name.
    pub tenant: String,
    /// What it goes through.
    pub through: BgpThrough,
    /// The route's prefix.
    pub prefix: IpNet,
    /// Its attributes.
    #[serde(default)]
    pub route: BgpTestedRoute,
    /// The peer that has told it, on its way to another one; without, the router announces it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// What a tested route goes through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BgpThrough {
    /// All that a peer's routes go through, or routes to it.
    Peer {
        /// Its name.
        name: String,
        /// Which way.
        direction: BgpDirection,
    },
    /// A policy alone, by its name.
    Policy(String),
}

/// Which way routes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum BgpDirection {
    /// From the peer
    In,
    /// To the peer
    Out,
}

/// A tested route's attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BgpTestedRoute {
    /// Those of a path that the router has.
    Known,
    /// These.
    Given(BgpGivenAttributes),
}

impl Default for BgpTestedRoute {
    fn default() -> Self {
        Self::Given(BgpGivenAttributes::default())
    }
}

/// Attributes of a route that need not be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BgpGivenAttributes {
    /// The autonomous systems on the way, the nearest first; if absent, that of the peer which has told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_path: Option<Vec<u32>>,
    /// Where it leads; if absent, to the peer which has told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<IpAddr>,
    /// ORIGIN.
    pub origin: BgpOrigin,
    /// MULTI_EXIT_DISC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub med: Option<u32>,
    /// LOCAL_PREF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_preference: Option<u32>,
    /// Communities of every kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<String>,
}

/// ORIGIN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum BgpOrigin {
    /// From inside of its autonomous system
    #[default]
    Igp,
    /// By EGP
    Egp,
    /// From somewhere else
    Incomplete,
}

/// What a route says besides its prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BgpAttributesReport {
    /// Where it leads; none for what the router announces itself.
    pub next_hop: Option<IpAddr>,
    /// The autonomous systems on the way.
    pub as_path: String,
    /// ORIGIN.
    pub origin: String,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_preference: Option<u32>,
    /// What it is worth to this router alone.
    pub weight: u32,
    /// Communities of every kind.
    pub communities: Vec<String>,
}

impl BgpAttributesReport {
    /// Each attribute by its name, as text.
    pub fn texts(&self) -> [(&'static str, String); 7] {
        let number = |value: Option<u32>| value.map_or_else(String::new, |value| value.to_string());
        [
            ("next hop", self.next_hop.map_or_else(String::new, |address| address.to_string())),
            ("AS path", self.as_path.clone()),
            ("origin", self.origin.clone()),
            ("MED", number(self.med)),
            ("local preference", number(self.local_preference)),
            ("weight", number(Some(self.weight).filter(|weight| *weight > 0))),
            ("communities", self.communities.join(" ")),
        ]
    }
}

impl From<&BgpRouteReport> for BgpAttributesReport {
    fn from(route: &BgpRouteReport) -> Self {
        Self {
            next_hop: route.next_hop,
            as_path: route.as_path.clone(),
            origin: route.origin.clone(),
            med: route.med,
            local_preference: route.local_preference,
            weight: route.weight,
            communities: route.communities.clone(),
        }
    }
}

/// What would become of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpPolicyTestReport {
    /// The tenant.
    pub tenant: String,
    /// The route's prefix.
    pub prefix: IpNet,
    /// The peer, where one was named.
    #[serde(default)]
    pub peer: Option<String>,
    /// Which way.
    #[serde(default)]
    pub direction: Option<BgpDirection>,
    /// Whether it passes.
    pub permitted: bool,
    /// What decided, in words.
    pub why: String,
    /// The policy that it went through, if it came to one.
    #[serde(default)]
    pub policy: Option<String>,
    /// The statements that were looked at, in their order.
    #[serde(default)]
    pub steps: Vec<BgpPolicyStepReport>,
    /// The route as it was tested.
    pub before: BgpAttributesReport,
    /// As it is afterwards, if it passes.
    #[serde(default)]
    pub after: Option<BgpAttributesReport>,
}

/// What a statement of a policy said to a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpPolicyStepReport {
    /// Its place in the policy, from 1.
    pub statement: String,
    /// Whether it matched, and decided.
    pub matched: bool,
    /// The condition that the route does not meet, if it does not match.
    #[serde(default)]
    pub failed: Option<String>,
}
