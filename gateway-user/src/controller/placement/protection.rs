//! What a pool is not protected against.

use super::capacity;
use super::fleet::{Fleet, Gateway};
use super::moving::may_take;
use super::pool::Pool;
use crate::controller::model::Id;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Something that an operator should know of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Warning {
    /// The pool has not all its gateways yet.
    #[serde(rename_all = "camelCase")]
    Incomplete {
        /// The pool.
        pool: Id,
        /// How many gateways it has.
        gateways: usize,
        /// N.
        redundant: usize,
        /// How many more it needs.
        missing: usize,
    },
    /// N is 0.
    #[serde(rename_all = "camelCase")]
    Unprotected {
        /// The pool.
        pool: Id,
    },
    /// Fewer than N gateways could take over.
    #[serde(rename_all = "camelCase")]
    FewStandbys {
        /// The pool.
        pool: Id,
        /// N.
        redundant: usize,
        /// How many could.
        ready: usize,
    },
    /// A failure would take away more than the standbys that it leaves can take over.
    #[serde(rename_all = "camelCase")]
    Uncovered {
        /// The pool.
        pool: Id,
        /// What would fail.
        domain: Domain,
        /// How many gateways with connections are in it.
        carrying: usize,
        /// For how many of them there is a standby elsewhere.
        covered: usize,
    },
    /// A gateway carries more than it can.
    #[serde(rename_all = "camelCase")]
    OverCapacity {
        /// The gateway.
        gateway: Id,
        /// How much more, in kbit/s of its capacity.
        kbps: u64,
    },
}

/// What fails as one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Domain {
    /// A gateway alone.
    Gateway(Id),
    /// A physical host.
    Host(Id),
    /// A rack.
    Rack(Id),
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(id) => write!(f, "gateway {id}"),
            Self::Host(id) => write!(f, "host {id}"),
            Self::Rack(id) => write!(f, "rack {id}"),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete { pool, gateways, redundant, missing } => write!(
                f,
                "pool {pool} has {gateways} gateways; for redundantGatewayCount {redundant} with as many active ones it needs {missing} more"
            ),
            Self::Unprotected { pool } => {
                write!(
                    f,
                    "pool {pool} is unprotected: its redundantGatewayCount is 0, and nothing takes over what fails"
                )
            }
            Self::FewStandbys { pool, redundant, ready } => {
                write!(
                    f,
                    "pool {pool} has {ready} of {redundant} standbys that could take over; repair, uncordon or add gateways"
                )
            }
            Self::Uncovered { pool, domain, carrying, covered } => write!(
                f,
                "pool {pool} does not survive the failure of {domain}: standbys elsewhere can take over {covered} of the {carrying} gateways \
                 with connections in it; place standbys elsewhere, and where their VLANs are"
            ),
            Self::OverCapacity { gateway, kbps } => {
                write!(
                    f,
                    "gateway {gateway} carries {kbps} kbit/s more than its capacity; move some of its connections"
                )
            }
        }
    }
}

impl Fleet {
    /// What an operator should know of a pool.
    pub fn warnings(&self, id: &Id) -> Vec<Warning> {
        let Some(pool) = self.pools.get(id) else { return Vec::new() };
        let id = || pool.spec.id.clone();
        let (gateways, redundant) = (pool.members().len(), pool.spec.redundant as usize);
        let missing = (2 * redundant).max(1).saturating_sub(gateways);
        let ready = pool.standbys().count();
        let mut warnings = Vec::new();
        if missing > 0 {
            warnings.push(Warning::Incomplete { pool: id(), gateways, redundant, missing });
        }
        if redundant == 0 {
            warnings.push(Warning::Unprotected { pool: id() });
        } else if ready < redundant && missing == 0 {
            warnings.push(Warning::FewStandbys { pool: id(), redundant, ready });
        }
        if ready > 0 {
            warnings.extend(self.uncovered(pool));
        }
        for (rank, member) in (0..).zip(pool.members()) {
            let remaining = pool.remaining(rank);
            if remaining < 0 {
                warnings
                    .push(Warning::OverCapacity { gateway: member.id.clone(), kbps: capacity::kbps_up(-remaining) });
            }
        }
        warnings
    }

    /// What the standbys could not make good, were it to fail. A host or a rack is named only if that is worse than its gateways one by one.
    fn uncovered(&self, pool: &Pool) -> Vec<Warning> {
        let mut domains: BTreeMap<Domain, Vec<&Gateway>> = BTreeMap::new();
        let members =
            || (0..).zip(pool.members()).filter_map(|(rank, member)| Some((rank, self.gateways.get(&member.id)?)));
        for (rank, gateway) in members() {
            if self.is_carrying(pool, rank) {
                let host = gateway.spec.host.clone().map(Domain::Host);
                let rack = gateway.spec.rack.clone().map(Domain::Rack);
                for domain in [Some(Domain::Gateway(gateway.spec.id.clone())), host, rack].into_iter().flatten() {
                    domains.entry(domain).or_default().push(gateway);
                }
            }
        }
        let standbys: Vec<&Gateway> =
            pool.standbys().filter_map(|rank| self.gateways.get(&pool.member(rank).id)).collect();
        let places: BTreeSet<Domain> = standbys
            .iter()
            .flat_map(|standby| {
                let spec = &standby.spec;
                [spec.host.clone().map(Domain::Host), spec.rack.clone().map(Domain::Rack)]
            })
            .flatten()
            .collect();
        let mut alone: BTreeMap<&Id, usize> = BTreeMap::new();
        let mut warnings = Vec::new();
        for (domain, failed) in &domains {
            let lost = failed.len()
                - match places.contains(domain) {
                    false => matched(failed, &standbys),
                    true => {
                        let outside = standbys.iter().copied().filter(|standby| !is_in(standby, domain));
                        matched(failed, &outside.collect::<Vec<_>>())
                    }
                };
            if let Domain::Gateway(id) = domain {
                alone.insert(id, lost);
            }
            let one_by_one: usize = failed.iter().filter_map(|gateway| alone.get(&gateway.spec.id)).sum();
            if lost > 0 && (matches!(domain, Domain::Gateway(_)) || lost > one_by_one) {
                let (carrying, covered) = (failed.len(), failed.len() - lost);
                warnings.push(Warning::Uncovered {
                    pool: pool.spec.id.clone(),
                    domain: domain.clone(),
                    carrying,
                    covered,
                });
            }
        }
        warnings
    }
}

fn is_in(gateway: &Gateway, domain: &Domain) -> bool {
    match domain {
        Domain::Gateway(id) => gateway.spec.id == *id,
        Domain::Host(id) => gateway.spec.host.as_ref() == Some(id),
        Domain::Rack(id) => gateway.spec.rack.as_ref() == Some(id),
    }
}

/// For how many of the failed gateways there is a standby each: a maximum matching, by augmenting paths.
fn matched(failed: &[&Gateway], standbys: &[&Gateway]) -> usize {
    if failed.iter().all(|gateway| gateway.confined.is_empty()) {
        return failed.len().min(standbys.len());
    }
    let mut taken: Vec<Option<usize>> = vec![None; standbys.len()];
    (0..failed.len()).filter(|at| augment(*at, failed, standbys, &mut taken, &mut vec![false; standbys.len()])).count()
}

fn augment(
    at: usize,
    failed: &[&Gateway],
    standbys: &[&Gateway],
    taken: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    for (standby, gateway) in standbys.iter().enumerate() {
        if seen[standby] || !may_take(failed[at], gateway.spec.rack.as_ref()) {
            continue;
        }
        seen[standby] = true;
        let free = match taken[standby] {
            None => true,
            Some(other) => augment(other, failed, standbys, taken, seen),
        };
        if free {
            taken[standby] = Some(at);
            return true;
        }
    }
    false
}
