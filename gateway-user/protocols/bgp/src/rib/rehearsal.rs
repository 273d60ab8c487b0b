//! What would become of a route: the rules and the policy of a neighbour, and nothing is changed.

use super::export::Refusal;
use super::import::Rejection;
use super::settings::SessionFacts;
use super::{NeighbourId, Rib};
use crate::attributes::Attributes;
use crate::policy::Trace;
use ipnet::IpNet;
use std::fmt;

/// Why a route would not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It would not be taken.
    In(Rejection),
    /// It would not be sent.
    Out(Refusal),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(rejection) => rejection.fmt(f),
            Self::Out(refusal) => refusal.fmt(f),
        }
    }
}

/// How a route would be taken or sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsal {
    /// The policy's name and how it took the route, where there is one and the rules before it let the route come so far.
    pub policy: Option<(String, Trace)>,
    /// The attributes at the end, or why there are none.
    pub outcome: Result<Attributes, Stopped>,
}

impl Rib {
    /// How a route would be taken that a neighbour announces.
    pub fn rehearse_import(&self, from: NeighbourId, prefix: IpNet, attributes: &Attributes) -> Option<Rehearsal> {
        let settings = self.neighbour_settings(from)?;
        let admitted = match self.admit(from, attributes) {
            Ok(admitted) => admitted,
            Err(reason) => return Some(Rehearsal { policy: None, outcome: Err(Stopped::In(reason)) }),
        };
        let Some(policy) = &settings.import else {
            return Some(Rehearsal { policy: None, outcome: Ok(admitted) });
        };
        let trace = policy.explain(prefix, self.settings().asn, &admitted);
        let outcome = self.after_policy(from, policy, prefix, &admitted).ok_or(Stopped::In(Rejection::Policy));
        Some(Rehearsal { policy: Some((policy.name().to_owned(), trace)), outcome })
    }

    /// How a route would be sent to a neighbour that another one has told, or the speaker itself ([`NeighbourId::LOCAL`]). `facts` hold
    /// where it has no session.
    pub fn rehearse_export(
        &self,
        to: NeighbourId,
        facts: &SessionFacts,
        prefix: IpNet,
        attributes: &Attributes,
        source: NeighbourId,
    ) -> Option<Rehearsal> {
        let settings = self.neighbour_settings(to)?;
        if source == to {
            return Some(Rehearsal { policy: None, outcome: Err(Stopped::Out(Refusal::CameFromThere)) });
        }
        let facts =
            self.neighbour(to).filter(|neighbour| neighbour.up).and_then(|it| it.facts.as_ref()).unwrap_or(facts);
        let (trace, outcome) = self.export_rehearsed(settings, facts, prefix, attributes, source);
        let policy = settings.export.as_ref().map(|policy| policy.name().to_owned()).zip(trace);
        Some(Rehearsal { policy, outcome: outcome.map_err(Stopped::Out) })
    }
}
