//! Policies from the entries of a policy map.

use super::super::values::{Complaint, Name, Prefix, unicast};
use super::policy::{AsRange, BgpPolicy, Clear, Community, Match, PrefixRange, Set, Statement, Verdict};
use super::values::AsNumber;
use bgp::number::Asn;
use bgp::policy::{Action, AsPathPart, Condition, Edit, Entry, MedChange, NextHopChange, Policy};
use bgp::policy::{AsnRange, PolicyError, PrefixList, Quantifier};
use thiserror::Error;

/// Entries that are no policy for a gateway.
#[derive(Debug, Error)]
pub enum BadPolicy {
    /// They make no sense.
    #[error("{0}")]
    Entry(#[from] PolicyError),
    /// A gateway cannot do it.
    #[error("entry {}: {reason}", position + 1)]
    Statement {
        /// The position of the entry, from 0.
        position: usize,
        /// What is wrong.
        reason: String,
    },
}

impl BadPolicy {
    /// What is wrong, without the place.
    pub fn reason(&self) -> String {
        match self {
            Self::Entry(error) => error.reason.to_string(),
            Self::Statement { reason, .. } => reason.clone(),
        }
    }

    /// The position of the entry that is wrong.
    pub fn position(&self, entries: &[Entry]) -> usize {
        match self {
            Self::Statement { position, .. } => *position,
            Self::Entry(error) => {
                // The later one of two of a name is the one too many.
                let named = entries.iter().rposition(|entry| entry.name == error.statement);
                let numbered = || error.statement.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                named.or_else(numbered).unwrap_or_default()
            }
        }
    }
}

impl BgpPolicy {
    /// The policy that the entries of a policy map describe. A route that none of them matches passes as it is.
    ///
    /// # Errors
    /// They make no sense, or ask for what gateways cannot do.
    pub fn from_entries(name: Name, entries: &[Entry]) -> Result<Self, BadPolicy> {
        let policy = Policy::from_entries(name.as_str(), entries, bgp::policy::Verdict::Permit)?;
        let statements = policy.statements().iter().enumerate();
        let statements: Result<Box<[Statement]>, BadPolicy> = statements
            .map(|(position, it)| statement(it).map_err(|reason| BadPolicy::Statement { position, reason }))
            .collect();
        Ok(Self { name, statements: statements?, otherwise: Verdict::Accept })
    }
}

fn statement(from: &bgp::policy::Statement) -> Result<Statement, String> {
    let mut matches = Match::default();
    for condition in &from.conditions {
        add(&mut matches, condition)?;
    }
    let mut set = Set::default();
    for action in &from.actions {
        change(&mut set, action)?;
    }
    let then = match from.verdict {
        bgp::policy::Verdict::Permit => Verdict::Accept,
        bgp::policy::Verdict::Deny => Verdict::Reject,
    };
    Ok(Statement { matches, set, then })
}

fn add(matches: &mut Match, condition: &Condition) -> Result<(), String> {
    match condition {
        Condition::Prefix(list) => once(&mut matches.prefixes, "MatchPrefix", prefixes(list)?),
        Condition::NotPrefix(list) => once(&mut matches.not_prefixes, "IgnorePrefix", prefixes(list)?),
        Condition::NextHop(networks) => {
            let networks = networks.iter().map(|network| Prefix::try_from(*network).map_err(text));
            once(&mut matches.next_hops, "NextHop", networks.collect::<Result<_, _>>()?)
        }
        Condition::AsPath(AsPathPart::Any, list) => once(&mut matches.as_path, "AsnRange", ranges(list)?),
        Condition::AsPath(AsPathPart::Origin, list) => once(&mut matches.origin_as, "Origin-AsnRange", ranges(list)?),
        Condition::Communities(Quantifier::Any, list) => {
            let list = list.iter().map(|community| Community::Standard(community.0));
            once(&mut matches.communities, "Community", list.collect())
        }
        other => Err(format!("gateways do not know the condition \"{other}\"")),
    }
}

/// Of each kind there is one list, of which one value has to fit.
fn once<T>(list: &mut Box<[T]>, property: &str, values: Vec<T>) -> Result<(), String> {
    if !list.is_empty() {
        return Err(format!("{property} stands here twice; write all its values in one"));
    }
    *list = values.into();
    Ok(())
}

fn prefixes(list: &PrefixList) -> Result<Vec<PrefixRange>, String> {
    list.patterns().map(|pattern| pattern.to_string().parse().map_err(text)).collect()
}

fn ranges(list: &[AsnRange]) -> Result<Vec<AsRange>, String> {
    list.iter().map(|range| Ok(AsRange { first: number(range.low)?, last: number(range.high)? })).collect()
}

fn number(asn: Asn) -> Result<AsNumber, String> {
    AsNumber::try_from(i64::from(asn.0)).map_err(text)
}

fn change(set: &mut Set, action: &Action) -> Result<(), String> {
    match action {
        Action::Weight(weight) => set.weight = Some(*weight),
        Action::LocalPref(preference) => set.local_preference = Some(*preference),
        Action::Med(MedChange::Set(med)) => set.med = Some(*med),
        Action::Med(MedChange::Clear) => push(&mut set.clear, [Clear::Med]),
        Action::Prepend(numbers) => {
            set.prepend = numbers.iter().map(|asn| number(*asn)).collect::<Result<_, _>>()?;
        }
        Action::NextHop(NextHopChange::To(address)) => {
            unicast(*address).map_err(text)?;
            set.next_hop = Some(*address);
        }
        Action::Communities(edit) => {
            let list = |values: &[bgp::attributes::Community]| -> Vec<Community> {
                values.iter().map(|community| Community::Standard(community.0)).collect()
            };
            match edit {
                Edit::Add(values) => push(&mut set.add_communities, list(values)),
                Edit::Remove(values) => push(&mut set.remove_communities, list(values)),
                Edit::Replace(values) => {
                    push(&mut set.clear, [Clear::Communities]);
                    push(&mut set.add_communities, list(values));
                }
            }
        }
        _ => return Err("gateways do not know this change of a route".to_owned()),
    }
    Ok(())
}

fn push<T>(list: &mut Box<[T]>, more: impl IntoIterator<Item = T>) {
    *list = std::mem::take(list).into_vec().into_iter().chain(more).collect();
}

fn text(complaint: Complaint) -> String {
    complaint.to_string()
}
