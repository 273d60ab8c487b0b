//! What a statement asks of a route.

use super::prefix_list::PrefixList;
use crate::attributes::{Attributes, Community, ExtendedCommunity, LargeCommunity, Origin};
use crate::number::Asn;
use ipnet::IpNet;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;

/// Autonomous systems from the lowest to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsnRange {
    /// The lowest.
    pub low: Asn,
    /// The highest.
    pub high: Asn,
}

impl AsnRange {
    /// Whether the number is among them.
    pub fn contains(self, asn: Asn) -> bool {
        (self.low..=self.high).contains(&asn)
    }
}

impl Display for AsnRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high { self.low.fmt(f) } else { write!(f, "{}-{}", self.low, self.high) }
    }
}

/// Which of a path's systems are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsPathPart {
    /// Any of them.
    Any,
    /// The one where the route started.
    Origin,
    /// The nearest one.
    Neighbour,
}

/// How many of the values must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantifier {
    /// One of them is enough.
    Any,
    /// Each of them.
    All,
}

impl Quantifier {
    fn holds<T: PartialEq>(self, wanted: &[T], there: &[T]) -> bool {
        match self {
            Self::Any => wanted.iter().any(|one| there.contains(one)),
            Self::All => wanted.iter().all(|one| there.contains(one)),
        }
    }
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The prefix is in the list.
    Prefix(PrefixList),
    /// The prefix is not in the list.
    NotPrefix(PrefixList),
    /// The next hop is in one of the networks.
    NextHop(Vec<IpNet>),
    /// A system of the path is in one of the ranges.
    AsPath(AsPathPart, Vec<AsnRange>),
    /// The path's length, as the decision counts it.
    AsPathLength(RangeInclusive<u32>),
    /// Standard communities.
    Communities(Quantifier, Vec<Community>),
    /// Extended communities.
    ExtendedCommunities(Quantifier, Vec<ExtendedCommunity>),
    /// Large communities.
    LargeCommunities(Quantifier, Vec<LargeCommunity>),
    /// The MED, 0 where there is none.
    Med(RangeInclusive<u32>),
    /// LOCAL_PREF, 100 where there is none.
    LocalPref(RangeInclusive<u32>),
    /// ORIGIN.
    Origin(Origin),
}

impl Condition {
    pub(super) const fn depends_on_prefix(&self) -> bool {
        matches!(self, Self::Prefix(_) | Self::NotPrefix(_))
    }

    /// Whether the route meets it.
    pub fn holds(&self, prefix: IpNet, attributes: &Attributes) -> bool {
        match self {
            Self::Prefix(list) => list.matches(prefix),
            Self::NotPrefix(list) => !list.matches(prefix),
            Self::NextHop(networks) => {
                let address = attributes.next_hop.address();
                networks.iter().any(|network| network.contains(&address))
            }
            Self::AsPath(part, ranges) => {
                let hit = |asn: Asn| ranges.iter().any(|range| range.contains(asn));
                match part {
                    AsPathPart::Any => attributes.as_path.asns().any(hit),
                    AsPathPart::Origin => attributes.as_path.origin().is_some_and(hit),
                    AsPathPart::Neighbour => attributes.as_path.neighbour().is_some_and(hit),
                }
            }
            Self::AsPathLength(range) => range.contains(&attributes.as_path.length()),
            // Every route is of the community "internet".
            Self::Communities(Quantifier::Any, wanted) if wanted.contains(&Community(0)) => true,
            Self::Communities(how, wanted) => how.holds(wanted, &attributes.communities),
            Self::ExtendedCommunities(how, wanted) => how.holds(wanted, &attributes.extended_communities),
            Self::LargeCommunities(how, wanted) => how.holds(wanted, &attributes.large_communities),
            Self::Med(range) => range.contains(&attributes.med.unwrap_or_default()),
            Self::LocalPref(range) => {
                range.contains(&attributes.local_pref.unwrap_or(crate::attributes::DEFAULT_LOCAL_PREF))
            }
            Self::Origin(origin) => attributes.origin == *origin,
        }
    }
}

/// Values with commas between them.
fn values<T: Display>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = |how: &Quantifier| match how {
            Quantifier::Any => "any of",
            Quantifier::All => "all of",
        };
        let range = |range: &RangeInclusive<u32>| match (range.start(), range.end()) {
            (low, high) if low == high => low.to_string(),
            (low, high) => format!("{low}-{high}"),
        };
        match self {
            Self::Prefix(list) => write!(f, "prefix in {list}"),
            Self::NotPrefix(list) => write!(f, "prefix not in {list}"),
            Self::NextHop(networks) => write!(f, "next hop in {}", values(networks)),
            Self::AsPath(AsPathPart::Any, ranges) => write!(f, "AS path contains {}", values(ranges)),
            Self::AsPath(AsPathPart::Origin, ranges) => write!(f, "AS path starts at {}", values(ranges)),
            Self::AsPath(AsPathPart::Neighbour, ranges) => write!(f, "neighbouring AS in {}", values(ranges)),
            Self::AsPathLength(lengths) => write!(f, "AS path of length {}", range(lengths)),
            Self::Communities(how, wanted) => write!(f, "{} communities {}", some(how), values(wanted)),
            Self::ExtendedCommunities(how, wanted) => {
                write!(f, "{} extended communities {}", some(how), values(wanted))
            }
            Self::LargeCommunities(how, wanted) => write!(f, "{} large communities {}", some(how), values(wanted)),
            Self::Med(med) => write!(f, "MED {}", range(med)),
            Self::LocalPref(preference) => write!(f, "local preference {}", range(preference)),
            Self::Origin(origin) => write!(f, "origin {origin}"),
        }
    }
}
