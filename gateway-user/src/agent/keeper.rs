//! Makes a whole plan of its documents, so that one tenant's document that cannot be done holds up no other's.

use super::journal::{Documents, Journal, Misfit};
use super::protocol::{Parts, PlanEvent, Position, Problem, Resume};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Events that may wait for their plan to be in force.
const UNWRITTEN: usize = 256;

/// What a role's plan is made of.
pub trait Kind: Send + 'static {
    /// What concerns no tenant.
    type Base: DeserializeOwned + Clone + Send;
    /// One tenant's part.
    type Part: DeserializeOwned + Clone + Send;
    /// The whole.
    type Plan: Send;

    /// Puts a plan together, if its parts agree.
    ///
    /// # Errors
    /// Why they do not, for a person.
    fn assemble<'a>(base: &Self::Base, parts: impl Iterator<Item = &'a Self::Part>) -> Result<Self::Plan, String>
    where
        Self::Part: 'a;
}

/// A plan that can be done, and what of the controller's is not in it.
#[derive(Debug)]
pub struct Made<P> {
    /// The plan.
    pub plan: P,
    /// How new it is.
    pub position: Position,
    /// Tenants that are not as the controller wants them, each with the reason.
    pub problems: BTreeMap<String, Problem>,
}

/// What an event led to.
#[derive(Debug)]
pub enum Taken<P> {
    /// More of it has to come.
    Incomplete,
    /// A plan.
    Made(Made<P>),
    /// No plan: what was in force stays.
    Refused(Problem),
}

/// The documents, and the parts that were made of them.
pub struct Keeper<K: Kind> {
    journal: Journal,
    documents: Documents,
    /// The beginning of an event whose end has not come yet.
    beginning: Option<PlanEvent>,
    /// Events since the file was written: their plan is not in force yet.
    unwritten: Vec<PlanEvent>,
    base: Option<K::Base>,
    parts: BTreeMap<String, K::Part>,
    /// Tenants whose documents say nothing that could be read.
    unread: BTreeMap<String, Problem>,
    /// What is in the plan that was made last.
    used: BTreeMap<String, K::Part>,
    /// Tenants that are otherwise in `parts` than in `used`.
    changed: BTreeSet<String>,
}

impl<K: Kind> Keeper<K> {
    /// Opens the file, and makes a plan if it holds one.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(path: &Path) -> anyhow::Result<(Self, Option<Made<K::Plan>>)> {
        let (journal, documents) = Journal::open(path)?;
        let mut keeper = Self {
            journal,
            documents: Documents::default(),
            beginning: None,
            unwritten: Vec::new(),
            base: None,
            parts: BTreeMap::new(),
            unread: BTreeMap::new(),
            used: BTreeMap::new(),
            changed: BTreeSet::new(),
        };
        let Some(position) = documents.position else { return Ok((keeper, None)) };
        keeper.documents = documents;
        keeper.read_base();
        let names: Vec<String> = keeper.documents.tenants.keys().cloned().collect();
        names.iter().for_each(|name| keeper.read(name));
        match keeper.make(position) {
            Taken::Made(made) => Ok((keeper, Some(made))),
            Taken::Incomplete => Ok((keeper, None)),
            Taken::Refused(problem) => {
                tracing::error!("the stored plan cannot be done: {}", problem.message);
                // The controller sends a whole one.
                keeper.documents.position = None;
                Ok((keeper, None))
            }
        }
    }

    /// What is here: what to resume from.
    pub fn resume(&self) -> Option<Resume> {
        self.documents.resume()
    }

    /// The connection began anew: what was incomplete stays so.
    pub fn interrupted(&mut self) {
        self.beginning = None;
    }

    /// Takes an event.
    ///
    /// # Errors
    /// It does not follow from what is here.
    pub fn take(&mut self, event: PlanEvent) -> Result<Taken<K::Plan>, Misfit> {
        self.documents.check(&event)?;
        let mut event = match self.beginning.take() {
            Some(mut beginning) if beginning.position() == event.position() && beginning.since == event.since => {
                beginning.base = event.base.or(beginning.base);
                beginning.set.extend(event.set);
                beginning.removed.extend(event.removed);
                beginning.parts = event.parts;
                beginning
            }
            Some(_) => return Err(Misfit::Gap),
            None => event,
        };
        if event.parts == Parts::More {
            self.beginning = Some(event);
            return Ok(Taken::Incomplete);
        }
        event.parts = Parts::Last;
        let touched = self.touched(&event);
        let (new_base, position) = (event.base.is_some() || event.since.is_none(), event.position());
        self.documents.take(event.clone());
        if event.since.is_none() {
            self.unwritten.clear();
        }
        self.unwritten.push(event);
        if self.unwritten.len() > UNWRITTEN {
            // Whoever does the plans refuses one after the other: the whole says the same in one.
            self.unwritten = self.documents.whole().into_iter().collect();
        }
        if new_base {
            self.read_base();
        }
        touched.iter().for_each(|name| self.read(name));
        Ok(self.make(position))
    }

    /// The plan that was made last is in force: it is what is to be done after a restart.
    ///
    /// # Errors
    /// It cannot be written; that is tried again with the next one.
    pub fn commit(&mut self) -> anyhow::Result<()> {
        self.journal.append(&self.unwritten, &self.documents)?;
        self.unwritten.clear();
        Ok(())
    }

    /// Tenants whose documents differ after an event.
    fn touched(&self, event: &PlanEvent) -> Vec<String> {
        let before = &self.documents.tenants;
        let set = event.set.iter().filter(|(name, document)| before.get(*name) != Some(document)).map(|(name, _)| name);
        let whole = event.since.is_none();
        let gone = before.keys().filter(|name| whole && !event.set.contains_key(*name));
        set.chain(&event.removed).chain(gone).cloned().collect()
    }

    fn read_base(&mut self) {
        self.base = self.documents.base.as_ref().and_then(|document| {
            document.read().inspect_err(|error| tracing::error!(%error, "the plan's base cannot be read")).ok()
        });
    }

    /// Makes a tenant's part of its document. One that cannot be read leaves the part that was there.
    fn read(&mut self, name: &str) {
        self.unread.remove(name);
        self.changed.insert(name.to_owned());
        match self.documents.tenants.get(name).map(super::protocol::Document::read::<K::Part>) {
            None => drop(self.parts.remove(name)),
            Some(Ok(part)) => drop(self.parts.insert(name.to_owned(), part)),
            Some(Err(error)) => {
                let problem = Problem { about: format!("tenant {name}"), message: error.to_string() };
                self.unread.insert(name.to_owned(), problem);
            }
        }
    }

    /// Makes the plan: with all that changed, else with as much of it as agrees.
    fn make(&mut self, position: Position) -> Taken<K::Plan> {
        let about = format!("plan {position}");
        let Some(base) = self.base.clone() else {
            let message = "what concerns the agent as a whole is missing, or cannot be read".to_owned();
            return Taken::Refused(Problem { about, message });
        };
        if let Ok(plan) = K::assemble(&base, self.parts.values()) {
            let changed = std::mem::take(&mut self.changed);
            for name in changed {
                follow(&mut self.used, &self.parts, &name);
            }
            return Taken::Made(Made { plan, position, problems: self.unread.clone() });
        }
        // What goes makes room for what comes.
        let mut candidate = self.used.clone();
        candidate.retain(|name, _| self.parts.contains_key(name));
        let coming: Vec<&String> = self.changed.iter().filter(|name| self.parts.contains_key(*name)).collect();
        let mut problems = self.unread.clone();
        add::<K>(&base, &mut candidate, &self.parts, &coming, &mut problems);
        match K::assemble(&base, candidate.values()) {
            Ok(plan) => {
                self.changed.retain(|name| problems.contains_key(name));
                self.used = candidate;
                Taken::Made(Made { plan, position, problems })
            }
            Err(message) => Taken::Refused(Problem { about, message }),
        }
    }
}

/// Makes a tenant in one map what it is in another.
fn follow<P: Clone>(used: &mut BTreeMap<String, P>, parts: &BTreeMap<String, P>, name: &str) {
    match parts.get(name) {
        Some(part) => drop(used.insert(name.to_owned(), part.clone())),
        None => drop(used.remove(name)),
    }
}

/// Adds as many tenants as agree with those that are there; the others are told. A half that agrees costs one try.
fn add<K: Kind>(
    base: &K::Base,
    candidate: &mut BTreeMap<String, K::Part>,
    parts: &BTreeMap<String, K::Part>,
    names: &[&String],
    problems: &mut BTreeMap<String, Problem>,
) {
    if names.is_empty() {
        return;
    }
    let before: Vec<Option<K::Part>> = names.iter().map(|name| candidate.get(*name).cloned()).collect();
    names.iter().for_each(|name| follow(candidate, parts, name));
    let Err(message) = K::assemble(base, candidate.values()) else { return };
    for (name, before) in names.iter().zip(before) {
        match before {
            Some(part) => drop(candidate.insert((*name).clone(), part)),
            None => drop(candidate.remove(*name)),
        }
    }
    match names {
        [name] => drop(problems.insert((*name).clone(), Problem { about: format!("tenant {name}"), message })),
        names => {
            let (first, second) = names.split_at(names.len() / 2);
            add::<K>(base, candidate, parts, first, problems);
            add::<K>(base, candidate, parts, second, problems);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::protocol::Document;
    use tempfile::TempDir;

    /// Tenants are numbers, and no two may be equal. The base is what is added to each.
    struct Numbers;

    impl Kind for Numbers {
        type Base = u32;
        type Part = u32;
        type Plan = Vec<u32>;

        fn assemble<'a>(base: &u32, parts: impl Iterator<Item = &'a u32>) -> Result<Vec<u32>, String> {
            let plan: Vec<u32> = parts.map(|part| base + part).collect();
            let different: BTreeSet<u32> = plan.iter().copied().collect();
            if different.len() == plan.len() { Ok(plan) } else { Err("two are equal".to_owned()) }
        }
    }

    fn event(revision: u64, since: Option<u64>, set: &[(&str, &str)], removed: &[&str]) -> PlanEvent {
        let raw = |text: &str| serde_json::from_str::<Document>(text).expect("JSON");
        PlanEvent {
            epoch: 1,
            revision,
            since,
            base: since.is_none().then(|| raw("100")),
            set: set.iter().map(|(name, text)| ((*name).to_owned(), raw(text))).collect(),
            removed: removed.iter().map(|name| (*name).to_owned()).collect(),
            ..PlanEvent::default()
        }
    }

    fn open(directory: &TempDir) -> (Keeper<Numbers>, Option<Made<Vec<u32>>>) {
        Keeper::open(&directory.path().join("plan.log")).expect("opened")
    }

    fn take(keeper: &mut Keeper<Numbers>, event: PlanEvent) -> (Vec<u32>, Vec<String>) {
        match keeper.take(event).expect("it follows") {
            Taken::Made(made) => (made.plan, made.problems.into_keys().collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_tenant_that_cannot_be_done_holds_up_no_other_and_keeps_what_it_had() {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut keeper, _) = open(&directory);
        assert_eq!(take(&mut keeper, event(1, None, &[("a", "1"), ("b", "2")], &[])), (vec![101, 102], vec![]));
        // It disagrees with another.
        let (plan, problems) = take(&mut keeper, event(2, Some(1), &[("a", "2"), ("c", "3")], &[]));
        assert_eq!((plan, problems), (vec![101, 102, 103], vec!["a".to_owned()]));
        // It cannot be read.
        let (plan, problems) = take(&mut keeper, event(3, Some(2), &[("c", "\"x\""), ("d", "4")], &[]));
        assert_eq!((plan, problems), (vec![101, 102, 103, 104], vec!["a".to_owned(), "c".to_owned()]));
        // What was in the way goes: it is done at last.
        let (plan, problems) = take(&mut keeper, event(4, Some(3), &[], &["b"]));
        assert_eq!((plan, problems), (vec![102, 103, 104], vec!["c".to_owned()]));
        let (plan, problems) = take(&mut keeper, event(5, Some(4), &[("c", "5")], &[]));
        assert_eq!((plan, problems), (vec![102, 105, 104], vec![]));
    }

    #[test]
    fn a_whole_plan_with_tenants_that_disagree_is_done_for_the_others() {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut keeper, _) = open(&directory);
        let names: Vec<(String, String)> = (0..50).map(|n| (format!("t{n:02}"), (n % 40).to_string())).collect();
        let set: Vec<(&str, &str)> = names.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let (plan, problems) = take(&mut keeper, event(1, None, &set, &[]));
        assert_eq!((plan.len(), problems.len()), (40, 10));
        // Another whole one: who is not in it is gone.
        assert_eq!(take(&mut keeper, event(2, None, &[("t41", "1")], &[])), (vec![101], vec![]));
    }

    #[test]
    fn parts_are_nothing_before_the_last_and_belong_together() {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut keeper, _) = open(&directory);
        let whole = event(1, None, &[("a", "1"), ("b", "2"), ("c", "3")], &[]);
        let parts = whole.split(1);
        assert_eq!(parts.len(), 3);
        assert!(matches!(keeper.take(parts[0].clone()), Ok(Taken::Incomplete)));
        assert_eq!(keeper.resume(), None);
        keeper.interrupted();
        for part in &parts[..2] {
            assert!(matches!(keeper.take(part.clone()), Ok(Taken::Incomplete)));
        }
        assert_eq!(take(&mut keeper, parts[2].clone()).0, [101, 102, 103]);
        assert!(matches!(keeper.take(parts[0].clone()), Ok(Taken::Incomplete)));
        assert_eq!(keeper.take(event(2, None, &[], &[])).expect_err("another in between"), Misfit::Gap);
    }

    #[test]
    fn only_what_is_in_force_is_there_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut keeper, stored) = open(&directory);
        assert!(stored.is_none());
        take(&mut keeper, event(1, None, &[("a", "1")], &[]));
        keeper.commit().expect("written");
        take(&mut keeper, event(2, Some(1), &[("b", "2")], &[]));
        assert_eq!(open(&directory).1.expect("a plan").plan, [101]);
        // Refused by whoever does it; the next one brings both to the file.
        take(&mut keeper, event(3, Some(2), &[("c", "3")], &[]));
        keeper.commit().expect("written");
        let (keeper, stored) = open(&directory);
        let stored = stored.expect("a plan");
        assert_eq!((stored.plan, stored.position), (vec![101, 102, 103], Position { epoch: 1, revision: 3 }));
        assert_eq!(keeper.resume().map(|resume| resume.position), Some(stored.position));
    }

    #[test]
    fn a_plan_without_a_base_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut keeper, _) = open(&directory);
        let mut event = event(1, None, &[("a", "1")], &[]);
        event.base = None;
        assert!(matches!(keeper.take(event), Ok(Taken::Refused(_))));
    }
}
