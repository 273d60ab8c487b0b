//! Random transactions, beside a model that is too simple to be wrong.

use gateway_user::controller::store::{Batch, Change, Compare, Entry, Expected, Op, Outcome, Revision, Store, Txn};
use proptest::prelude::*;

/// A transaction before it is known which revisions there are.
#[derive(Clone, Debug)]
pub struct Step {
    compares: Vec<(u8, Condition)>,
    ops: Vec<(u8, Action)>,
}

#[derive(Clone, Copy, Debug)]
enum Condition {
    /// What holds at that moment.
    AsItIs,
    Absent,
    /// The creation of the key with this number among those that exist.
    CreatedLike(u8),
    ModifiedLike(u8),
}

#[derive(Clone, Debug)]
enum Action {
    Put(Vec<u8>),
    Delete,
    DeletePrefix,
}

const KEYS: [&str; 8] = ["a", "a/1", "a/2", "a/2/x", "b", "b/1", "b1", "c"];

/// Steps, most of which do something.
pub fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    let condition = prop_oneof![
        6 => Just(Condition::AsItIs),
        1 => Just(Condition::Absent),
        1 => any::<u8>().prop_map(Condition::CreatedLike),
        1 => any::<u8>().prop_map(Condition::ModifiedLike),
    ];
    let action = prop_oneof![
        5 => prop::collection::vec(any::<u8>(), 0..4).prop_map(Action::Put),
        2 => Just(Action::Delete),
        1 => Just(Action::DeletePrefix),
    ];
    let key = || 0..KEYS.len() as u8;
    let step = (prop::collection::vec((key(), condition), 0..3), prop::collection::vec((key(), action), 0..4));
    prop::collection::vec(step.prop_map(|(compares, ops)| Step { compares, ops }), 1..=count)
}

/// Everything that ever happened.
#[derive(Default)]
struct Model {
    entries: Vec<Entry>,
    history: Vec<Batch>,
    last: Revision,
}

impl Model {
    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn txn(&self, step: &Step) -> Txn {
        let like = |number: u8| self.entries.get(usize::from(number) % self.entries.len().max(1));
        let compares = step.compares.iter().map(|&(key, condition)| {
            let key = KEYS[usize::from(key)];
            let expected = match condition {
                Condition::AsItIs => {
                    self.entry(key).map_or(Expected::Absent, |entry| Expected::Modified(entry.modified))
                }
                Condition::Absent => Expected::Absent,
                Condition::CreatedLike(number) => {
                    like(number).map_or(Expected::Absent, |entry| Expected::Created(entry.created))
                }
                Condition::ModifiedLike(number) => {
                    like(number).map_or(Expected::Absent, |entry| Expected::Modified(entry.modified))
                }
            };
            Compare { key: key.into(), expected }
        });
        let ops = step.ops.iter().map(|(key, action)| {
            let key = KEYS[usize::from(*key)];
            match action {
                Action::Put(value) => Op::put(key, value.as_slice()),
                Action::Delete => Op::delete(key),
                Action::DeletePrefix => Op::delete_prefix(key),
            }
        });
        Txn { compares: compares.collect(), ops: ops.collect() }
    }

    fn expects_commit(&self, txn: &Txn) -> bool {
        txn.compares.iter().all(|compare| match (compare.expected, self.entry(&compare.key)) {
            (Expected::Absent, entry) => entry.is_none(),
            (Expected::Created(revision), entry) => entry.is_some_and(|entry| entry.created == revision),
            (Expected::Modified(revision), entry) => entry.is_some_and(|entry| entry.modified == revision),
        })
    }

    /// Whether a key is put and changed otherwise in the same transaction.
    fn refuses(txn: &Txn) -> bool {
        let touched = |op: &Op, key: &str| match op {
            Op::Put { key: other, .. } | Op::Delete { key: other } => other == key,
            Op::DeletePrefix { prefix } => key.starts_with(prefix.as_str()),
        };
        txn.ops.iter().any(|op| match op {
            Op::Put { key, .. } => txn.ops.iter().filter(|other| touched(other, key)).count() > 1,
            _ => false,
        })
    }

    fn apply(&mut self, txn: &Txn, revision: Revision) {
        let mut changes = Vec::new();
        for op in &txn.ops {
            match op {
                Op::Put { key, value } => {
                    let created = self.entry(key).map_or(revision, |entry| entry.created);
                    let entry = Entry { key: key.clone(), value: value.clone(), created, modified: revision };
                    self.entries.retain(|entry| entry.key != *key);
                    self.entries.push(entry.clone());
                    self.entries.sort_by(|one, other| one.key.cmp(&other.key));
                    changes.push(Change::Put(entry));
                }
                Op::Delete { key } => self.remove(|entry| entry.key == *key, &mut changes),
                Op::DeletePrefix { prefix } => {
                    self.remove(|entry| entry.key.starts_with(prefix.as_str()), &mut changes)
                }
            }
        }
        if !changes.is_empty() {
            assert!(revision > self.last, "a change at {revision} after one at {}", self.last);
            self.last = revision;
            self.history.push(Batch { revision, changes });
        }
    }

    fn remove(&mut self, gone: impl Fn(&Entry) -> bool, changes: &mut Vec<Change>) {
        changes
            .extend(self.entries.extract_if(.., |entry| gone(entry)).map(|entry| Change::Deleted { key: entry.key }));
    }

    fn history(&self, prefix: &str, from: Revision) -> Vec<Batch> {
        let mut history = self.history.clone();
        history.retain_mut(|batch| {
            batch.changes.retain(|change| change.key().starts_with(prefix));
            batch.revision >= from && !batch.changes.is_empty()
        });
        history
    }
}

/// Makes the steps and compares everything that can be seen.
pub async fn run(store: &Store, steps: &[Step]) {
    let mut model = Model::default();
    for step in steps {
        let txn = model.txn(step);
        let outcome = store.commit(txn.clone()).await;
        if Model::refuses(&txn) {
            assert!(outcome.is_err(), "{txn:?}");
        } else if model.expects_commit(&txn) {
            let Ok(Outcome::Committed(revision)) = outcome else { panic!("{outcome:?} of {txn:?}") };
            model.apply(&txn, revision);
        } else {
            assert_eq!(outcome.unwrap(), Outcome::Conflict, "{txn:?}");
        }
    }
    for prefix in ["", "a", "a/", "b"] {
        let mut expected = model.entries.clone();
        expected.retain(|entry| entry.key.starts_with(prefix));
        assert_eq!(store.range(prefix).await.unwrap().entries, expected);
        let starts = [model.history.first(), model.history.get(model.history.len() / 2), model.history.last()];
        for from in starts.into_iter().flatten().map(|batch| batch.revision) {
            let mut watch = store.watch(prefix, from);
            for expected in model.history(prefix, from) {
                assert_eq!(super::next(&mut watch).await, expected);
            }
        }
    }
}
