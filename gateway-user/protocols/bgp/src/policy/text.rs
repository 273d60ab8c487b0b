//! Policies as the resources and plan files write them: properties and texts.

use super::error::{PolicyError, Reason};
use super::{
    Action, AsPathPart, AsnRange, Condition, Edit, MedChange, NextHopChange, Policy, PrefixList, PrefixPattern,
};
use super::{Quantifier, Statement, Verdict};
use crate::attributes::Origin;
use crate::number::Asn;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// What an entry does with the routes that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryAction {
    /// They are refused.
    Deny,
    /// They pass, changed as the entry says.
    #[serde(alias = "Permit")]
    Allow,
    /// The same, and the entry must change something.
    ModifyAttribute,
}

/// A condition of an entry. `property` is one of `MatchPrefix`, `IgnorePrefix`, `NextHop`, `AsnRange`, `Origin-AsnRange`,
/// `Neighbor-AsnRange`, `As-Path-Length`, `Community`, `All-Community`, `Extended-Community`, `All-Extended-Community`,
/// `Large-Community`, `All-Large-Community`, `MED`, `Local-Pref`, `Origin`; case does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// Its name.
    pub property: String,
    /// Its values.
    pub value: Vec<String>,
}

/// A change that an entry makes. `property` is one of `As-Path`, `Prepend`, `MED`, `Clear-MED`, `Weight`, `Local-Pref`,
/// `Next-Hop`, `Origin`, and `Add-Community`, `Remove-Community`, `Replace-Community`, `Remove-All-Community`, the same
/// for `Extended-Community` and `Large-Community`; case does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Its name.
    pub property: String,
    /// Its values.
    #[serde(default)]
    pub value: Vec<String>,
}

/// An entry of a policy map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Entry {
    /// Its name.
    #[serde(alias = "policyName", alias = "policy-name", default)]
    pub name: String,
    /// What becomes of the routes that match.
    pub action: EntryAction,
    /// What they must have, all of it.
    #[serde(rename = "match", alias = "matchCriteria", alias = "match-criteria", default)]
    pub criteria: Vec<Criterion>,
    /// What is changed about them.
    #[serde(rename = "set", alias = "setActions", alias = "set-actions", default)]
    pub settings: Vec<Setting>,
}

impl Policy {
    /// The policy that these entries describe; a route that none of them matches gets the verdict `otherwise`.
    pub fn from_entries(name: &str, entries: &[Entry], otherwise: Verdict) -> Result<Self, PolicyError> {
        let statement = |(position, entry): (usize, &Entry)| {
            statement(entry, position).map_err(|reason| PolicyError {
                policy: name.to_owned(),
                statement: label(entry, position),
                reason,
            })
        };
        let statements = entries.iter().enumerate().map(statement).collect::<Result<_, _>>()?;
        Self::new(name, statements, otherwise)
    }
}

fn label(entry: &Entry, position: usize) -> String {
    if entry.name.is_empty() { (position + 1).to_string() } else { entry.name.clone() }
}

fn statement(entry: &Entry, position: usize) -> Result<Statement, Reason> {
    if entry.action == EntryAction::ModifyAttribute && entry.settings.is_empty() {
        return Err(Reason::NothingToModify);
    }
    Ok(Statement {
        name: label(entry, position),
        conditions: entry.criteria.iter().map(condition).collect::<Result<_, _>>()?,
        verdict: if entry.action == EntryAction::Deny { Verdict::Deny } else { Verdict::Permit },
        actions: entry.settings.iter().map(action).collect::<Result<_, _>>()?,
    })
}

const CONDITIONS: [&str; 16] = [
    "MatchPrefix",
    "IgnorePrefix",
    "NextHop",
    "AsnRange",
    "Origin-AsnRange",
    "Neighbor-AsnRange",
    "As-Path-Length",
    "Community",
    "All-Community",
    "Extended-Community",
    "All-Extended-Community",
    "Large-Community",
    "All-Large-Community",
    "MED",
    "Local-Pref",
    "Origin",
];

const ACTIONS: [&str; 20] = [
    "As-Path",
    "Prepend",
    "MED",
    "Clear-MED",
    "Weight",
    "Local-Pref",
    "Next-Hop",
    "Origin",
    "Add-Community",
    "Remove-Community",
    "Replace-Community",
    "Remove-All-Community",
    "Add-Extended-Community",
    "Remove-Extended-Community",
    "Replace-Extended-Community",
    "Remove-All-Extended-Community",
    "Add-Large-Community",
    "Remove-Large-Community",
    "Replace-Large-Community",
    "Remove-All-Large-Community",
];

/// The name as the list spells it.
fn known(kind: &'static str, names: &[&'static str], written: &str) -> Result<&'static str, Reason> {
    names.iter().copied().find(|name| name.eq_ignore_ascii_case(written)).ok_or_else(|| Reason::Unknown {
        kind,
        name: written.to_owned(),
        known: names.join(", "),
    })
}

fn condition(criterion: &Criterion) -> Result<Condition, Reason> {
    let name = known("condition", &CONDITIONS, &criterion.property)?;
    let values: Vec<&str> =
        criterion.value.iter().map(|value| value.trim()).filter(|value| !value.is_empty()).collect();
    if values.is_empty() {
        return Err(Reason::NoValue(name));
    }
    Ok(match name {
        "MatchPrefix" => Condition::Prefix(prefixes(&values)?),
        "IgnorePrefix" => Condition::NotPrefix(prefixes(&values)?),
        "NextHop" => Condition::NextHop(values.iter().map(|value| network(value)).collect::<Result<_, _>>()?),
        "AsnRange" => Condition::AsPath(AsPathPart::Any, asn_ranges(&values)?),
        "Origin-AsnRange" => Condition::AsPath(AsPathPart::Origin, asn_ranges(&values)?),
        "Neighbor-AsnRange" => Condition::AsPath(AsPathPart::Neighbour, asn_ranges(&values)?),
        "As-Path-Length" => Condition::AsPathLength(range("As-Path-Length", &values)?),
        "Community" => Condition::Communities(Quantifier::Any, each(&values)?),
        "All-Community" => Condition::Communities(Quantifier::All, each(&values)?),
        "Extended-Community" => Condition::ExtendedCommunities(Quantifier::Any, each(&values)?),
        "All-Extended-Community" => Condition::ExtendedCommunities(Quantifier::All, each(&values)?),
        "Large-Community" => Condition::LargeCommunities(Quantifier::Any, each(&values)?),
        "All-Large-Community" => Condition::LargeCommunities(Quantifier::All, each(&values)?),
        "MED" => Condition::Med(range("MED", &values)?),
        "Local-Pref" => Condition::LocalPref(range("Local-Pref", &values)?),
        _ => Condition::Origin(origin(one("Origin", &values)?)?),
    })
}

fn action(setting: &Setting) -> Result<Action, Reason> {
    let name = known("action", &ACTIONS, &setting.property)?;
    let values: Vec<&str> = setting.value.iter().map(|value| value.trim()).filter(|value| !value.is_empty()).collect();
    let nothing = || if values.is_empty() { Ok(()) } else { Err(Reason::UnwantedValue(name)) };
    Ok(match name {
        "As-Path" => {
            let words = values.iter().flat_map(|value| value.split([' ', ','])).filter(|word| !word.is_empty());
            Action::Prepend(words.map(Asn::from_str).collect::<Result<_, _>>()?)
        }
        "Prepend" => {
            let times = number("Prepend", one("Prepend", &values)?)?;
            Action::PrependOwn(u8::try_from(times).map_err(|_| Reason::PrependTooLong(times as usize))?)
        }
        "MED" => Action::Med(med(one("MED", &values)?)?),
        "Clear-MED" => nothing().map(|()| Action::Med(MedChange::Clear))?,
        "Weight" => Action::Weight(number("Weight", one("Weight", &values)?)?),
        "Local-Pref" => Action::LocalPref(number("Local-Pref", one("Local-Pref", &values)?)?),
        "Next-Hop" => Action::NextHop(next_hop(one("Next-Hop", &values)?)?),
        "Origin" => Action::Origin(origin(one("Origin", &values)?)?),
        "Add-Community" => Action::Communities(Edit::Add(each(&values)?)),
        "Remove-Community" => Action::Communities(Edit::Remove(each(&values)?)),
        "Replace-Community" => Action::Communities(Edit::Replace(each(&values)?)),
        "Remove-All-Community" => nothing().map(|()| Action::Communities(Edit::Replace(Vec::new())))?,
        "Add-Extended-Community" => Action::ExtendedCommunities(Edit::Add(each(&values)?)),
        "Remove-Extended-Community" => Action::ExtendedCommunities(Edit::Remove(each(&values)?)),
        "Replace-Extended-Community" => Action::ExtendedCommunities(Edit::Replace(each(&values)?)),
        "Remove-All-Extended-Community" => {
            nothing().map(|()| Action::ExtendedCommunities(Edit::Replace(Vec::new())))?
        }
        "Add-Large-Community" => Action::LargeCommunities(Edit::Add(each(&values)?)),
        "Remove-Large-Community" => Action::LargeCommunities(Edit::Remove(each(&values)?)),
        "Replace-Large-Community" => Action::LargeCommunities(Edit::Replace(each(&values)?)),
        _ => nothing().map(|()| Action::LargeCommunities(Edit::Replace(Vec::new())))?,
    })
}

fn one<'a>(property: &'static str, values: &[&'a str]) -> Result<&'a str, Reason> {
    match values {
        [value] => Ok(value),
        [] => Err(Reason::NoValue(property)),
        _ => Err(Reason::OneValue(property)),
    }
}

fn each<T: FromStr>(values: &[&str]) -> Result<Vec<T>, Reason>
where
    Reason: From<T::Err>,
{
    values.iter().map(|value| value.parse().map_err(Reason::from)).collect()
}

fn number(property: &'static str, value: &str) -> Result<u32, Reason> {
    value.parse().ok().filter(|_| !value.starts_with('+')).ok_or_else(|| Reason::Value {
        property,
        value: value.to_owned(),
        wanted: "no number from 0 to 4294967295",
    })
}

fn prefixes(values: &[&str]) -> Result<PrefixList, Reason> {
    Ok(PrefixList::new(each::<PrefixPattern>(values)?))
}

fn network(value: &str) -> Result<IpNet, Reason> {
    let address = || value.parse::<IpAddr>().ok().map(IpNet::from);
    let network = value.parse::<IpNet>().ok().filter(|network| network.trunc() == *network);
    network.or_else(address).ok_or_else(|| Reason::Value {
        property: "NextHop",
        value: value.to_owned(),
        wanted: "neither an address nor a network",
    })
}

/// One number, two (the lowest and the highest), or any count of ranges written `low-high`.
fn asn_ranges(values: &[&str]) -> Result<Vec<AsnRange>, Reason> {
    if let [low, high] = values
        && !low.contains('-')
        && !high.contains('-')
    {
        return Ok(vec![AsnRange { low: low.parse()?, high: high.parse()? }]);
    }
    let range = |value: &&str| {
        let (low, high) = value.split_once('-').unwrap_or((value, value));
        Ok(AsnRange { low: low.trim().parse()?, high: high.trim().parse()? })
    };
    values.iter().map(range).collect()
}

fn range(property: &'static str, values: &[&str]) -> Result<RangeInclusive<u32>, Reason> {
    match values {
        [low, high] => Ok(number(property, low)?..=number(property, high)?),
        [value] => {
            let (low, high) = value.split_once('-').unwrap_or((value, value));
            Ok(number(property, low.trim())?..=number(property, high.trim())?)
        }
        _ => Err(Reason::OneValue(property)),
    }
}

fn origin(value: &str) -> Result<Origin, Reason> {
    [Origin::Igp, Origin::Egp, Origin::Incomplete]
        .into_iter()
        .find(|origin| origin.to_string().eq_ignore_ascii_case(value))
        .ok_or_else(|| Reason::Value {
            property: "Origin",
            value: value.to_owned(),
            wanted: "none of IGP, EGP, incomplete",
        })
}

fn med(value: &str) -> Result<MedChange, Reason> {
    Ok(match value.split_at_checked(1) {
        Some(("+", more)) => MedChange::Add(number("MED", more)?),
        Some(("-", less)) => MedChange::Subtract(number("MED", less)?),
        _ => MedChange::Set(number("MED", value)?),
    })
}

fn next_hop(value: &str) -> Result<NextHopChange, Reason> {
    Ok(match value.to_ascii_lowercase().as_str() {
        "self" => NextHopChange::ToSelf,
        "peer" => NextHopChange::ToPeer,
        "unchanged" => NextHopChange::Unchanged,
        _ => NextHopChange::To(value.parse().map_err(|_| Reason::Value {
            property: "Next-Hop",
            value: value.to_owned(),
            wanted: "no address, nor self, peer or unchanged",
        })?),
    })
}
