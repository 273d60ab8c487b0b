//! The latest records of a kind, kept in the store so that the next leader knows them too, the oldest forgotten first.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many records are kept.
const KEPT: usize = 4096;

/// A record, with its place in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Numbered<T> {
    number: u64,
    record: T,
}

/// The latest records, by key.
#[derive(Debug)]
pub struct Latest<T> {
    /// Below this prefix they stand in the store.
    prefix: &'static str,
    records: BTreeMap<String, Numbered<T>>,
    order: BTreeMap<u64, String>,
    next: u64,
}

impl<T: Serialize + DeserializeOwned> Latest<T> {
    /// None yet.
    pub const fn new(prefix: &'static str) -> Self {
        Self { prefix, records: BTreeMap::new(), order: BTreeMap::new(), next: 0 }
    }

    /// A record.
    pub fn get(&self, key: &str) -> Option<&T> {
        self.records.get(key).map(|numbered| &numbered.record)
    }

    /// Keeps a record: what is to be written.
    pub fn keep(&mut self, key: &str, record: T) -> Vec<(String, Option<Arc<str>>)> {
        let numbered = Numbered { number: self.next, record };
        let Ok(text) = serde_json::to_string(&numbered) else { return Vec::new() };
        let mut entries = vec![(format!("{}{key}", self.prefix), Some(text.into()))];
        self.insert(key.to_owned(), numbered);
        // Two at a time, so that what was too much shrinks again.
        for _ in 0..2 {
            if self.records.len() > KEPT
                && let Some((_, oldest)) = self.order.pop_first()
            {
                self.records.remove(&oldest);
                entries.push((format!("{}{oldest}", self.prefix), None));
            }
        }
        entries
    }

    /// Takes what the store holds, under a key without the prefix.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn record(&mut self, key: &str, value: Option<&str>) -> serde_json::Result<()> {
        match value.map(serde_json::from_str).transpose()? {
            Some(numbered) => self.insert(key.to_owned(), numbered),
            None => self.forget(key),
        }
        Ok(())
    }

    fn insert(&mut self, key: String, numbered: Numbered<T>) {
        self.forget(&key);
        self.next = self.next.max(numbered.number + 1);
        self.order.insert(numbered.number, key.clone());
        self.records.insert(key, numbered);
    }

    fn forget(&mut self, key: &str) {
        if let Some(numbered) = self.records.remove(key) {
            self.order.remove(&numbered.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_known_to_the_next_leader_and_the_oldest_is_forgotten() {
        let (mut latest, mut next) = (Latest::new("of/"), Latest::new("of/"));
        for number in 0..KEPT + 2 {
            for (key, value) in latest.keep(&number.to_string(), number) {
                let key = key.strip_prefix("of/").expect("below the prefix");
                next.record(key, value.as_deref()).expect("readable");
            }
        }
        assert_eq!((latest.records.len(), &latest.records), (KEPT, &next.records));
        assert_eq!((next.get("0"), next.get("2")), (None, Some(&2)));
        assert_eq!(next.order.len(), next.records.len());
    }
}
