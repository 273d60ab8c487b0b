//! Why a route is as it is, for people.

use super::decision::{Judge, Step, Unusable, eliminate};
use super::export::Refusal;
use super::groups::in_order;
use super::table::{Path, PathFlags, PrefixId};
use super::{NeighbourId, Rib};
use crate::Moment;
use crate::attributes::Attributes;
use crate::number::{Family, PathId};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is the best.
    Best,
    /// It is used beside the best.
    Multipath,
    /// It lost against the best at this step.
    Lost(Step),
    /// It does not take part.
    Unusable(Unusable),
}

/// A path and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedPath {
    /// Who told.
    pub neighbour: NeighbourId,
    /// Its address; none for what the speaker originates.
    pub address: Option<IpAddr>,
    /// The identifier that it came with.
    pub path_id: PathId,
    /// Its attributes after import.
    pub attributes: Attributes,
    /// When it came to be as it is.
    pub since: Moment,
    /// Whether it is kept over its neighbour's restart.
    pub stale: bool,
    /// What became of it.
    pub outcome: Outcome,
    /// The same in words, with the two values that decided.
    pub words: String,
}

/// Whether a neighbour was sent the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentTo {
    /// The neighbour.
    pub neighbour: NeighbourId,
    /// Its address.
    pub address: IpAddr,
    /// Whether it has the route: what it was sent, or why it is not. `Ok(None)`: it will be sent it.
    pub sent: Result<Option<Attributes>, Refusal>,
}

/// Everything about one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The prefix.
    pub prefix: IpNet,
    /// Its paths, best first, unusable ones last.
    pub paths: Vec<ExplainedPath>,
    /// Every neighbour with a session that knows the prefix's family.
    pub neighbours: Vec<SentTo>,
}

impl Rib {
    /// Why a prefix is forwarded as it is, and who knows. None where there is no path to it.
    pub fn explain(&mut self, prefix: IpNet) -> Option<Explanation> {
        let prefix = prefix.trunc();
        let id = self.table.find(prefix).filter(|id| !self.table.paths(*id).is_empty())?;
        Some(Explanation { prefix, paths: self.explain_paths(id), neighbours: self.explain_neighbours(id, prefix) })
    }

    fn explain_paths(&self, id: PrefixId) -> Vec<ExplainedPath> {
        let judge = self.judge();
        let paths = self.table.paths(id);
        let chosen = self.table.chosen(id).len();
        let mut steps = vec![None; paths.len()];
        let usable = paths.iter().enumerate().filter_map(|(position, path)| Some((position, judge.rank(path).ok()?)));
        let (positions, ranks): (Vec<usize>, Vec<_>) = usable.unzip();
        let mut alive: Vec<usize> = (0..ranks.len()).collect();
        eliminate(judge.settings, &ranks, &mut alive, &mut Vec::new(), |index, step| {
            steps[positions[index]] = Some(step);
        });
        let mut order = in_order(&judge, paths, paths.len());
        let unusable: Vec<usize> = (0..paths.len()).filter(|position| !order.contains(position)).collect();
        order.extend(unusable);
        let explained = |position: usize| {
            let path = &paths[position];
            let outcome = match judge.usable(path) {
                Err(why) => Outcome::Unusable(why),
                Ok(_) if position == 0 => Outcome::Best,
                Ok(_) if position < chosen => Outcome::Multipath,
                Ok(_) => Outcome::Lost(steps[position].unwrap_or(Step::PathId)),
            };
            ExplainedPath {
                neighbour: path.neighbour,
                address: self.neighbour(path.neighbour).map(|neighbour| neighbour.settings.address),
                path_id: path.path_id,
                attributes: self.attributes.get(path.attributes),
                since: Moment(u64::from(path.since) * 1_000_000_000),
                stale: path.flags.has(PathFlags::STALE),
                outcome,
                words: words(&judge, outcome, path, &paths[0], paths.len()),
            }
        };
        order.into_iter().map(explained).collect()
    }

    fn explain_neighbours(&mut self, id: PrefixId, prefix: IpNet) -> Vec<SentTo> {
        let family = Family::of(prefix.addr());
        let knows = |neighbour: &super::Neighbour| {
            neighbour.up && neighbour.facts.as_ref().is_some_and(|facts| facts.families.contains(&family))
        };
        let ids = self.neighbours.iter().enumerate();
        let ids: Vec<NeighbourId> = ids
            .filter(|(_, neighbour)| neighbour.as_ref().is_some_and(|one| knows(one)))
            .map(|(index, _)| NeighbourId(index as u32))
            .collect();
        ids.into_iter().filter_map(|neighbour| self.explain_neighbour(neighbour, id, prefix)).collect()
    }

    fn explain_neighbour(&mut self, to: NeighbourId, id: PrefixId, prefix: IpNet) -> Option<SentTo> {
        let neighbour = self.neighbour(to)?;
        let address = neighbour.settings.address;
        let index = neighbour.group?;
        let was_sent = neighbour.outbox.was_sent(id);
        let wanted = self.groups[index].as_ref()?.wanted(to, id).next();
        let sent = match wanted {
            Some(out) => Ok(was_sent.then(|| self.attributes.get(out.attributes))),
            None => Err(match self.table.best(id) {
                None => Refusal::NotBest,
                Some(best) if best.neighbour == to => Refusal::CameFromThere,
                Some(best) => match self.export_path(index, prefix, &best) {
                    Err(refusal) => refusal,
                    Ok(attributes) => {
                        self.attributes.release(attributes);
                        Refusal::NotBest
                    }
                },
            }),
        };
        Some(SentTo { neighbour: to, address, sent })
    }
}

/// An outcome in words.
fn words(judge: &Judge<'_>, outcome: Outcome, path: &Path, best: &Path, count: usize) -> String {
    let step = match outcome {
        Outcome::Best if count == 1 => return "best: the only path".to_owned(),
        Outcome::Best => return "best".to_owned(),
        Outcome::Multipath => return "used beside the best: equally good".to_owned(),
        Outcome::Unusable(why) => return why.to_string(),
        Outcome::Lost(step) => step,
    };
    let (Ok(mine), Ok(theirs)) = (judge.rank(path), judge.rank(best)) else { return step.to_string() };
    let against = |mine: &dyn fmt::Display, theirs: &dyn fmt::Display| format!("{step}: {mine} against {theirs}");
    match step {
        Step::Weight => against(&mine.weight, &theirs.weight),
        Step::LocalPref => against(&mine.local_pref, &theirs.local_pref),
        Step::AsPathLength => against(&mine.path_length, &theirs.path_length),
        Step::Origin => against(&mine.origin, &theirs.origin),
        // It may have lost against another path of its system, which then lost against the best.
        Step::Med if mine.neighbour_asn == theirs.neighbour_asn => against(&mine.med, &theirs.med),
        Step::Metric => against(&mine.metric, &theirs.metric),
        Step::RouterId => against(&mine.router_id, &theirs.router_id),
        Step::ClusterListLength => against(&mine.cluster_list_length, &theirs.cluster_list_length),
        Step::PeerAddress => against(&mine.address, &theirs.address),
        Step::PathId => against(&mine.path_id.0, &theirs.path_id.0),
        Step::Oldest => format!("{step} by {} s", mine.since.saturating_sub(theirs.since)),
        Step::Med => format!("{step} than another path through its neighbouring AS"),
        Step::LongLivedStale | Step::LocalOrigin | Step::External => step.to_string(),
    }
}
