//! Policies that make no sense, and what is wrong with them.

use super::{Action, Condition, Edit, NextHopChange, PrefixPattern, Statement, Verdict};
use crate::attributes::NoCommunity;
use crate::number::{Asn, NoAsn};
use crate::policy::BadPattern;
use std::mem::discriminant;
use std::net::IpAddr;
use thiserror::Error;

/// A policy that is refused: which statement of which policy, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("policy {policy:?}, statement {statement:?}: {reason}")]
pub struct PolicyError {
    /// The policy's name.
    pub policy: String,
    /// The statement's name, or its position from 1 where it has none.
    pub statement: String,
    /// What is wrong.
    #[source]
    pub reason: Reason,
}

/// What is wrong with a statement.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// Two statements have one name.
    #[error("another statement has that name")]
    SameName,
    /// More statements than a policy can have.
    #[error("a policy has at most {} statements", u16::MAX)]
    TooMany,
    /// A statement before it matches every route.
    #[error("it is never reached: {0:?} before it matches every route")]
    Unreachable(String),
    /// It denies and changes.
    #[error("what is denied is not changed; leave the actions out")]
    DenyWithActions,
    /// It is to change something and says not what.
    #[error("ModifyAttribute needs at least one action")]
    NothingToModify,
    /// A condition or an action without values.
    #[error("{0} needs at least one value")]
    NoValue(&'static str),
    /// A range from high to low.
    #[error("{0}: the range's lowest is above its highest")]
    EmptyRange(&'static str),
    /// Conditions that cannot hold together.
    #[error("no route can match: every prefix of MatchPrefix is in IgnorePrefix ({0})")]
    Contradiction(PrefixPattern),
    /// The same thing is set twice.
    #[error("{0} is set twice")]
    Twice(&'static str),
    /// A community is added and removed.
    #[error("the community {0} is both added and removed")]
    AddedAndRemoved(String),
    /// A number that cannot stand in a path.
    #[error("AS {0} may not stand in a path")]
    UnusableAsn(Asn),
    /// More numbers in front of the path than anybody accepts.
    #[error("{0} numbers in front of the path are too many; at most 32")]
    PrependTooLong(usize),
    /// An address that is no next hop.
    #[error("{0} cannot be a next hop")]
    NotANextHop(IpAddr),
    /// A kind of condition or action that does not exist.
    #[error("there is no {kind} {name:?}; there are {known}")]
    Unknown {
        /// Condition or action.
        kind: &'static str,
        /// What was written.
        name: String,
        /// What there is.
        known: String,
    },
    /// A value that is not of the kind that its property takes.
    #[error("{property}: {value:?} is {wanted}")]
    Value {
        /// The property.
        property: &'static str,
        /// What was written.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// More values than the property takes.
    #[error("{0} takes one value")]
    OneValue(&'static str),
    /// A value where none belongs.
    #[error("{0} takes no value")]
    UnwantedValue(&'static str),
    /// A bad prefix.
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    /// A bad community.
    #[error(transparent)]
    Community(#[from] NoCommunity),
    /// A bad AS number.
    #[error(transparent)]
    Asn(#[from] NoAsn),
}

/// The most numbers that a statement may put in front of a path.
const PREPEND_MAX: usize = 32;

pub(super) fn check(policy: &str, statements: &[Statement]) -> Result<(), PolicyError> {
    let mut catches_all: Option<&Statement> = None;
    for (position, statement) in statements.iter().enumerate() {
        let failed = |reason| PolicyError {
            policy: policy.to_owned(),
            statement: if statement.name.is_empty() { (position + 1).to_string() } else { statement.name.clone() },
            reason,
        };
        if position >= usize::from(u16::MAX) {
            return Err(failed(Reason::TooMany));
        }
        if let Some(all) = catches_all {
            return Err(failed(Reason::Unreachable(all.name.clone())));
        }
        check_statement(statement).map_err(failed)?;
        if statement.conditions.is_empty() {
            catches_all = Some(statement);
        }
    }
    let mut names: Vec<&str> = statements.iter().map(|one| one.name.as_str()).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => {
            Err(PolicyError { policy: policy.to_owned(), statement: pair[0].to_owned(), reason: Reason::SameName })
        }
    }
}

fn check_statement(statement: &Statement) -> Result<(), Reason> {
    if statement.verdict == Verdict::Deny && !statement.actions.is_empty() {
        return Err(Reason::DenyWithActions);
    }
    statement.conditions.iter().try_for_each(check_condition)?;
    for condition in &statement.conditions {
        let Condition::Prefix(wanted) = condition else { continue };
        for other in &statement.conditions {
            let Condition::NotPrefix(ignored) = other else { continue };
            let ignored: Vec<_> = ignored.patterns().collect();
            if let Some(last) = wanted.patterns().last()
                && wanted.patterns().all(|pattern| ignored.contains(&pattern))
            {
                return Err(Reason::Contradiction(last));
            }
        }
    }
    check_actions(&statement.actions)
}

fn check_condition(condition: &Condition) -> Result<(), Reason> {
    let rising = |name, range: &std::ops::RangeInclusive<u32>| {
        if range.start() <= range.end() { Ok(()) } else { Err(Reason::EmptyRange(name)) }
    };
    let some = |name, empty: bool| if empty { Err(Reason::NoValue(name)) } else { Ok(()) };
    match condition {
        Condition::Prefix(list) => some("MatchPrefix", list.is_empty()),
        Condition::NotPrefix(list) => some("IgnorePrefix", list.is_empty()),
        Condition::NextHop(networks) => some("NextHop", networks.is_empty()),
        Condition::AsPath(_, ranges) => {
            some("AsnRange", ranges.is_empty())?;
            let backwards = ranges.iter().any(|range| range.low > range.high);
            if backwards { Err(Reason::EmptyRange("AsnRange")) } else { Ok(()) }
        }
        Condition::AsPathLength(range) => rising("As-Path-Length", range),
        Condition::Communities(_, wanted) => some("Community", wanted.is_empty()),
        Condition::ExtendedCommunities(_, wanted) => some("Extended-Community", wanted.is_empty()),
        Condition::LargeCommunities(_, wanted) => some("Large-Community", wanted.is_empty()),
        Condition::Med(range) => rising("MED", range),
        Condition::LocalPref(range) => rising("Local-Pref", range),
        Condition::Origin(_) => Ok(()),
    }
}

const fn name_of(action: &Action) -> &'static str {
    match action {
        Action::Weight(_) => "Weight",
        Action::LocalPref(_) => "Local-Pref",
        Action::Med(_) => "MED",
        Action::Origin(_) => "Origin",
        Action::Prepend(_) => "As-Path",
        Action::PrependOwn(_) => "Prepend",
        Action::NextHop(_) => "Next-Hop",
        Action::Communities(_) => "Community",
        Action::ExtendedCommunities(_) => "Extended-Community",
        Action::LargeCommunities(_) => "Large-Community",
    }
}

fn check_actions(actions: &[Action]) -> Result<(), Reason> {
    for (position, action) in actions.iter().enumerate() {
        let is_list =
            matches!(action, Action::Communities(_) | Action::ExtendedCommunities(_) | Action::LargeCommunities(_));
        if !is_list && actions[..position].iter().any(|other| discriminant(other) == discriminant(action)) {
            return Err(Reason::Twice(name_of(action)));
        }
        match action {
            Action::Prepend(asns) => {
                if let Some(asn) = asns.iter().find(|asn| !asn.is_usable()) {
                    return Err(Reason::UnusableAsn(*asn));
                }
                some_but_not_too_many(asns.len(), "As-Path")?;
            }
            Action::PrependOwn(times) => some_but_not_too_many(usize::from(*times), "Prepend")?,
            Action::NextHop(NextHopChange::To(address)) if !is_next_hop(*address) => {
                return Err(Reason::NotANextHop(*address));
            }
            _ => {}
        }
    }
    let edits = |pick: fn(&Action) -> Option<EditOf>| check_edits(actions.iter().filter_map(pick));
    edits(|action| match action {
        Action::Communities(edit) => Some(text_of(edit)),
        _ => None,
    })?;
    edits(|action| match action {
        Action::ExtendedCommunities(edit) => Some(text_of(edit)),
        _ => None,
    })?;
    edits(|action| match action {
        Action::LargeCommunities(edit) => Some(text_of(edit)),
        _ => None,
    })
}

fn some_but_not_too_many(count: usize, name: &'static str) -> Result<(), Reason> {
    match count {
        0 => Err(Reason::NoValue(name)),
        1..=PREPEND_MAX => Ok(()),
        _ => Err(Reason::PrependTooLong(count)),
    }
}

fn is_next_hop(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast)
}

type EditOf = Edit<String>;

fn text_of<T: ToString>(edit: &Edit<T>) -> EditOf {
    let texts = |values: &[T]| values.iter().map(ToString::to_string).collect();
    match edit {
        Edit::Add(values) => Edit::Add(texts(values)),
        Edit::Remove(values) => Edit::Remove(texts(values)),
        Edit::Replace(values) => Edit::Replace(texts(values)),
    }
}

fn check_edits(edits: impl Iterator<Item = EditOf>) -> Result<(), Reason> {
    let (mut added, mut removed, mut replaced) = (Vec::new(), Vec::new(), 0);
    for edit in edits {
        match edit {
            Edit::Add(values) if values.is_empty() => return Err(Reason::NoValue("Add-Community")),
            Edit::Remove(values) if values.is_empty() => return Err(Reason::NoValue("Remove-Community")),
            Edit::Add(values) => added.extend(values),
            Edit::Remove(values) => removed.extend(values),
            Edit::Replace(_) => replaced += 1,
        }
    }
    if replaced > 1 {
        return Err(Reason::Twice("the list of communities"));
    }
    match added.into_iter().find(|value| removed.contains(value)) {
        Some(value) => Err(Reason::AddedAndRemoved(value)),
        None => Ok(()),
    }
}
