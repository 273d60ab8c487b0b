//! Policies: what is let in from a peer or out to it, and what is changed on the way.

use super::super::values::{Complaint, Name, Prefix, as_text, quoted};
use super::values::AsNumber;
use bgp::attributes::{Community as Standard, LargeCommunity};
use bgp::policy::{Action, AsPathPart, AsnRange, Condition, Edit, MedChange, NextHopChange, Policy, PolicyError};
use bgp::policy::{PrefixList, PrefixPattern, Quantifier};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A policy: the first statement that matches and decides, decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BgpPolicy {
    /// Its name, unique within the tenant.
    pub name: Name,
    /// In their order.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub statements: Box<[Statement]>,
    /// What becomes of a route that no statement decided on.
    #[serde(default)]
    pub otherwise: Verdict,
}

impl BgpPolicy {
    /// The policy as the router takes it.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn compiled(&self) -> Result<Policy, PolicyError> {
        let numbered = self.statements.iter().zip(1_usize..);
        let statements = numbered.map(|(statement, number)| statement.compiled(number)).collect();
        Policy::new(self.name.as_str(), statements, self.otherwise.into())
    }
}

impl From<Verdict> for bgp::policy::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Accept => Self::Permit,
            Verdict::Reject => Self::Deny,
        }
    }
}

impl Statement {
    /// What explanations call it is its place, from 1.
    fn compiled(&self, number: usize) -> bgp::policy::Statement {
        bgp::policy::Statement {
            name: number.to_string(),
            conditions: self.matches.conditions(),
            verdict: self.then.into(),
            actions: self.set.actions(),
        }
    }
}

/// What becomes of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It passes.
    #[default]
    Accept,
    /// It does not.
    Reject,
}

/// One step of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Which routes it is about: those that fit all that is said; all routes if nothing is.
    #[serde(rename = "match", default, skip_serializing_if = "Match::is_empty")]
    pub matches: Match,
    /// What is changed.
    #[serde(default, skip_serializing_if = "Set::is_empty")]
    pub set: Set,
    /// What becomes of them.
    #[serde(default)]
    pub then: Verdict,
}

/// Which routes a statement is about. Of a list, one has to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Prefixes.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub prefixes: Box<[PrefixRange]>,
    /// Prefixes that it is not about.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub not_prefixes: Box<[PrefixRange]>,
    /// Where the next hop is.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub next_hops: Box<[Prefix]>,
    /// Autonomous systems of which the path has one.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub as_path: Box<[AsRange]>,
    /// Autonomous systems where the path begins.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub origin_as: Box<[AsRange]>,
    /// Communities.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub communities: Box<[Community]>,
}

impl Match {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Match {
    fn conditions(&self) -> Vec<Condition> {
        fn patterns(ranges: &[PrefixRange]) -> PrefixList {
            let pattern = |range: &PrefixRange| PrefixPattern::new(range.prefix.net(), range.shortest, range.longest);
            PrefixList::new(ranges.iter().filter_map(|range| pattern(range).ok()))
        }
        fn ranges(ranges: &[AsRange]) -> Vec<AsnRange> {
            ranges.iter().map(|range| AsnRange { low: range.first.get(), high: range.last.get() }).collect()
        }
        let (standard, large) = split(&self.communities);
        let all = [
            (!self.prefixes.is_empty()).then(|| Condition::Prefix(patterns(&self.prefixes))),
            (!self.not_prefixes.is_empty()).then(|| Condition::NotPrefix(patterns(&self.not_prefixes))),
            (!self.next_hops.is_empty())
                .then(|| Condition::NextHop(self.next_hops.iter().map(|prefix| prefix.net()).collect())),
            (!self.as_path.is_empty()).then(|| Condition::AsPath(AsPathPart::Any, ranges(&self.as_path))),
            (!self.origin_as.is_empty()).then(|| Condition::AsPath(AsPathPart::Origin, ranges(&self.origin_as))),
            (!standard.is_empty()).then_some(Condition::Communities(Quantifier::Any, standard)),
            (!large.is_empty()).then_some(Condition::LargeCommunities(Quantifier::Any, large)),
        ];
        all.into_iter().flatten().collect()
    }
}

/// Communities of either kind.
fn split(communities: &[Community]) -> (Vec<Standard>, Vec<LargeCommunity>) {
    let (mut standard, mut large) = (Vec::new(), Vec::new());
    for community in communities {
        match *community {
            Community::Standard(number) => standard.push(Standard(number)),
            Community::Large([global, one, two]) => large.push(LargeCommunity { global, first: one, second: two }),
        }
    }
    (standard, large)
}

/// What a statement changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// The local preference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_preference: Option<u32>,
    /// The multi-exit discriminator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub med: Option<u32>,
    /// The weight, by which this router alone prefers the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// The next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<IpAddr>,
    /// Autonomous systems that come before the path, the first of them first.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub prepend: Box<[AsNumber]>,
    /// Communities that are added.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub add_communities: Box<[Community]>,
    /// Communities that are taken away.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub remove_communities: Box<[Community]>,
    /// What is taken away whole, before anything is set.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub clear: Box<[Clear]>,
}

impl Set {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Set {
    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.clear.contains(&Clear::Communities) {
            actions.push(Action::Communities(Edit::Replace(Vec::new())));
            actions.push(Action::LargeCommunities(Edit::Replace(Vec::new())));
        }
        let (standard, large) = split(&self.remove_communities);
        actions.extend((!standard.is_empty()).then_some(Action::Communities(Edit::Remove(standard))));
        actions.extend((!large.is_empty()).then_some(Action::LargeCommunities(Edit::Remove(large))));
        let (standard, large) = split(&self.add_communities);
        actions.extend((!standard.is_empty()).then_some(Action::Communities(Edit::Add(standard))));
        actions.extend((!large.is_empty()).then_some(Action::LargeCommunities(Edit::Add(large))));
        let clear = self.clear.contains(&Clear::Med).then_some(MedChange::Clear);
        actions.extend(self.med.map(MedChange::Set).or(clear).map(Action::Med));
        actions.extend(self.weight.map(Action::Weight));
        actions.extend(self.local_preference.map(Action::LocalPref));
        actions.extend(self.next_hop.map(|address| Action::NextHop(NextHopChange::To(address))));
        if !self.prepend.is_empty() {
            actions.push(Action::Prepend(self.prepend.iter().map(|number| number.get()).collect()));
        }
        actions
    }
}

/// An attribute that is taken away whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clear {
    /// The multi-exit discriminator.
    Med,
    /// All communities.
    Communities,
}

/// Prefixes within one, of some lengths: `10.0.0.0/8`, `10.0.0.0/8 le 24`, `10.0.0.0/8 ge 16 le 24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PrefixRange {
    prefix: Prefix,
    shortest: u8,
    longest: u8,
}

impl PrefixRange {
    /// The prefix around them.
    pub const fn prefix(self) -> Prefix {
        self.prefix
    }

    /// The least and the largest length.
    pub const fn lengths(self) -> (u8, u8) {
        (self.shortest, self.longest)
    }
}

impl FromStr for PrefixRange {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let mut words = text.split_ascii_whitespace();
        let prefix: Prefix = words.next().unwrap_or_default().parse()?;
        let (own, most) = (prefix.prefix_len(), prefix.net().max_prefix_len());
        let (mut ge, mut le) = (None, None);
        while let Some(word) = words.next() {
            let bound = match word {
                "ge" if ge.is_none() && le.is_none() => &mut ge,
                "le" if le.is_none() => &mut le,
                _ => return Err(Self::malformed(text)),
            };
            *bound = Some(words.next().and_then(|number| number.parse().ok()).ok_or_else(|| Self::malformed(text))?);
        }
        let shortest = ge.unwrap_or(own);
        let longest = le.unwrap_or(if ge.is_some() { most } else { own });
        if own <= shortest && shortest <= longest && longest <= most {
            return Ok(Self { prefix, shortest, longest });
        }
        Err(Complaint::new(
            format!("{} fits no prefix", quoted(text)),
            format!("write lengths from {own} to {most}, the least one first"),
        ))
    }
}

impl PrefixRange {
    fn malformed(text: &str) -> Complaint {
        let remedy = "write one such as \"10.0.0.0/8\", \"10.0.0.0/8 le 24\" or \"10.0.0.0/8 ge 16 le 24\"";
        Complaint::new(format!("{} is not a range of prefixes", quoted(text)), remedy)
    }
}

impl fmt::Display for PrefixRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.prefix)?;
        if self.shortest != self.prefix.prefix_len() {
            write!(f, " ge {}", self.shortest)?;
        }
        let without = if self.shortest == self.prefix.prefix_len() {
            self.prefix.prefix_len()
        } else {
            self.prefix.net().max_prefix_len()
        };
        if self.longest != without {
            write!(f, " le {}", self.longest)?;
        }
        Ok(())
    }
}

/// Autonomous systems: `64512`, or `64512-64520`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AsRange {
    /// The first.
    pub first: AsNumber,
    /// The last.
    pub last: AsNumber,
}

impl FromStr for AsRange {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last): (AsNumber, AsNumber) = (first.trim().parse()?, last.trim().parse()?);
        if first <= last {
            return Ok(Self { first, last });
        }
        Err(Complaint::new(format!("{} begins after its end", quoted(text)), "write the lower number first"))
    }
}

impl fmt::Display for AsRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.first != self.last {
            write!(f, "-{}", self.last)?;
        }
        Ok(())
    }
}

/// A community (RFC 1997: `64512:100`), or a large one (RFC 8092: `64512:1:2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Community {
    /// Of two numbers of 16 bits.
    Standard(u32),
    /// Of three numbers of 32 bits.
    Large([u32; 3]),
}

/// The communities that have a name (RFC 1997, RFC 7999, RFC 8326).
const WELL_KNOWN: [(&str, u32); 5] = [
    ("no-export", 0xffff_ff01),
    ("no-advertise", 0xffff_ff02),
    ("no-export-subconfed", 0xffff_ff03),
    ("blackhole", 0xffff_029a),
    ("graceful-shutdown", 0xffff_0000),
];

impl FromStr for Community {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        if let Some((_, number)) = WELL_KNOWN.iter().find(|(name, _)| *name == text) {
            return Ok(Self::Standard(*number));
        }
        let digits = |part: &&str| !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit());
        let parts: Vec<&str> = text.split(':').collect();
        let numbers: Option<Vec<u32>> =
            parts.iter().map(|part| Some(part).filter(|part| digits(part))?.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[high, low]) if high <= 0xffff && low <= 0xffff => Ok(Self::Standard(high << 16 | low)),
            Some(&[global, one, two]) => Ok(Self::Large([global, one, two])),
            _ => Err(Complaint::new(
                format!("{} is no community", quoted(text)),
                "write one such as \"64512:100\", a large one such as \"64512:1:2\", or no-export, no-advertise, \
                 no-export-subconfed, blackhole, graceful-shutdown",
            )),
        }
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(number) => match WELL_KNOWN.iter().find(|(_, known)| known == number) {
                Some((name, _)) => f.write_str(name),
                None => write!(f, "{}:{}", number >> 16, number & 0xffff),
            },
            Self::Large([global, one, two]) => write!(f, "{global}:{one}:{two}"),
        }
    }
}

as_text!(PrefixRange, AsRange, Community);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written_the_same() {
        for text in ["10.0.0.0/8", "10.0.0.0/8 le 24", "10.0.0.0/8 ge 16", "10.0.0.0/8 ge 16 le 24", "::/0 le 48"] {
            assert_eq!(text.parse::<PrefixRange>().expect(text).to_string(), text);
        }
        for text in ["64512", "64512-64520"] {
            assert_eq!(text.parse::<AsRange>().expect(text).to_string(), text);
        }
        for text in ["64512:100", "64512:1:2", "no-export", "blackhole"] {
            assert_eq!(text.parse::<Community>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_fits_nothing_is_refused() {
        for text in
            ["", "10.0.0.0/8 le 7", "10.0.0.0/8 ge 24 le 16", "10.0.0.0/8 le 33", "10.0.0.0/8 le", "10.0.0.0/8 x 9"]
        {
            assert!(text.parse::<PrefixRange>().is_err(), "{text}");
        }
        for text in ["9-8", "", "1-2-3", "0-4"] {
            assert!(text.parse::<AsRange>().is_err(), "{text}");
        }
        for text in ["1", "65536:1", "1:65536", "1:2:3:4", "+1:2", "a:b"] {
            assert!(text.parse::<Community>().is_err(), "{text}");
        }
    }
}
