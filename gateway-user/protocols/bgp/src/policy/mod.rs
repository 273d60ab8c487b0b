//! Route policy: ordered statements of conditions and actions, the first that matches decides.
//!
//! [`Policy::new`] refuses what makes no sense, [`Policy::from_entries`] reads the form of the resources and plan files.
//! [`Policy::decide`] is cheap and does not change anything; [`Policy::apply`] changes the attributes as the statement says.

mod action;
mod condition;
mod error;
mod prefix_list;
mod text;

pub use action::{Action, Edit, MedChange, NextHopChange};
pub use condition::{AsPathPart, AsnRange, Condition, Quantifier};
pub use error::{PolicyError, Reason};
pub use prefix_list::{BadPattern, PrefixList, PrefixPattern};
pub use text::{Criterion, Entry, EntryAction, Setting};

use crate::attributes::Attributes;
use crate::number::Asn;
use ipnet::IpNet;

/// What becomes of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken, or sent.
    Permit,
    /// It is not.
    Deny,
}

/// A rule: when all its conditions hold, its verdict is final and its actions are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What explanations call it.
    pub name: String,
    /// All of them must hold; none: it matches every route.
    pub conditions: Vec<Condition>,
    /// What becomes of the route.
    pub verdict: Verdict,
    /// What is changed about a route that is permitted, in this order.
    pub actions: Vec<Action>,
}

/// A policy that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    name: String,
    statements: Vec<Statement>,
    otherwise: Verdict,
    depends_on_prefix: bool,
}

/// What a policy said to a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// The position of the statement that matched; none where the policy's own last word was taken.
    pub statement: Option<u16>,
    /// Whether the route passes.
    pub permitted: bool,
}

/// How one statement took a route: for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The statement's name.
    pub statement: String,
    /// The condition that did not hold, in words; none where the statement matched.
    pub failed: Option<String>,
}

/// How a policy takes a route: for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The statements that were looked at; the last one matched unless it says what failed.
    pub steps: Vec<Step>,
    /// What becomes of the route.
    pub verdict: Verdict,
    /// Its attributes afterwards.
    pub attributes: Attributes,
}

impl Policy {
    /// A policy of these statements; a route that none of them matches gets the verdict `otherwise`.
    pub fn new(name: impl Into<String>, statements: Vec<Statement>, otherwise: Verdict) -> Result<Self, PolicyError> {
        let name = name.into();
        error::check(&name, &statements)?;
        let depends_on_prefix =
            statements.iter().flat_map(|statement| &statement.conditions).any(Condition::depends_on_prefix);
        Ok(Self { name, statements, otherwise, depends_on_prefix })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its statements, in order.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// Whether two routes with the same attributes may be taken differently. Where not, a decision holds for every prefix.
    pub const fn depends_on_prefix(&self) -> bool {
        self.depends_on_prefix
    }

    /// What becomes of a route.
    pub fn decide(&self, prefix: IpNet, attributes: &Attributes) -> Decision {
        let matches = |statement: &Statement| statement.conditions.iter().all(|one| one.holds(prefix, attributes));
        let position = self.statements.iter().position(matches);
        let verdict = position.map_or(self.otherwise, |position| self.statements[position].verdict);
        Decision {
            statement: position.and_then(|position| u16::try_from(position).ok()),
            permitted: verdict == Verdict::Permit,
        }
    }

    /// Changes the attributes of a route that was permitted. What the next hop is to become is for the caller to put in:
    /// only it knows its addresses.
    pub fn apply(&self, decision: Decision, own: Asn, attributes: &mut Attributes) -> Option<NextHopChange> {
        let statement = self.statements.get(usize::from(decision.statement?))?;
        let mut next_hop = None;
        for action in &statement.actions {
            next_hop = action.apply(own, attributes).or(next_hop);
        }
        next_hop
    }

    /// Whether a decision leaves the attributes as they are.
    pub fn changes(&self, decision: Decision) -> bool {
        let statement = decision.statement.and_then(|position| self.statements.get(usize::from(position)));
        statement.is_some_and(|statement| !statement.actions.is_empty())
    }

    /// How a route would be taken, step by step.
    pub fn explain(&self, prefix: IpNet, own: Asn, attributes: &Attributes) -> Trace {
        let mut steps = Vec::new();
        for statement in &self.statements {
            let failed =
                statement.conditions.iter().find(|one| !one.holds(prefix, attributes)).map(ToString::to_string);
            let matched = failed.is_none();
            steps.push(Step { statement: statement.name.clone(), failed });
            if matched {
                break;
            }
        }
        let decision = self.decide(prefix, attributes);
        let mut after = attributes.clone();
        if let Some(NextHopChange::To(address)) = self.apply(decision, own, &mut after).filter(|_| decision.permitted) {
            after.next_hop = address.into();
        }
        let verdict = if decision.permitted { Verdict::Permit } else { Verdict::Deny };
        Trace { steps, verdict, attributes: after }
    }
}

#[cfg(test)]
mod tests;
