//! From a path in what was read back to its place in the file. Nobody needs it but who has to tell a problem, so the file is parsed again there.

use super::document::{Document, Part, Shift, child};
use super::path::{Path, Step};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What could not be read because something was wrong with it.
#[derive(Default)]
pub(super) struct Missing {
    /// By list, the indices in the file of elements that were left out.
    elements: HashMap<Path, Vec<usize>>,
    keys: HashSet<&'static str>,
}

impl Missing {
    /// Notes that an element of the list at `list`, under `key`, was left out.
    pub fn element(&mut self, list: &Path, key: &'static str, index: usize) {
        self.elements.entry(list.clone()).or_default().push(index);
        self.keys.insert(key);
    }

    /// Notes that what stands under a key was left out.
    pub fn key(&mut self, key: &'static str) {
        self.keys.insert(key);
    }

    /// Whether nothing under a key was left out, so that what is not there is really not in the plan.
    pub fn nothing_of(&self, key: &'static str) -> bool {
        !self.keys.contains(key)
    }
}

/// Finds the places of paths in the file.
pub(super) struct Locator<'a> {
    document: &'a Document<'a>,
    missing: &'a Missing,
    /// The part that was asked for last: `None` is what is in no tenant's part.
    last: Option<(Option<usize>, Part<'a>)>,
}

impl<'a> Locator<'a> {
    /// A locator for paths into what was read, less what was left out.
    pub fn new(document: &'a Document<'a>, missing: &'a Missing) -> Self {
        Self { document, missing, last: None }
    }

    /// The bytes at a path, or at the nearest place above it that the file has.
    pub fn locate(&mut self, path: &Path) -> Range<usize> {
        let path = self.in_file(path);
        let (wanted, steps) = match path.steps() {
            [Step::Key("tenant"), Step::Index(index), steps @ ..] if *index < self.document.tenants() => {
                (Some(*index), steps)
            }
            steps => (None, steps),
        };
        let document = self.document;
        let part = match self.last.take() {
            Some((kept, part)) if kept == wanted => part,
            _ => wanted.map_or_else(|| document.rest(), |index| document.tenant(index)),
        };
        let (_, part) = self.last.insert((wanted, part));
        let top = part.table.get_ref();
        if wanted.is_none() {
            return below(document, top, steps, &part.shift).unwrap_or(0..0);
        }
        match child(top, "tenant").and_then(|list| list.get_ref().as_array()?.first()) {
            Some(tenant) => at(document, tenant, steps, &part.shift),
            None => part.shift.in_file(0..0),
        }
    }

    /// The path with the file's own indices.
    fn in_file(&self, path: &Path) -> Path {
        let mut result = Path::root();
        for step in path.steps() {
            result.push(match (step, self.missing.elements.get(&result)) {
                (Step::Index(index), Some(left_out)) => {
                    Step::Index(left_out.iter().fold(*index, |index, &before| index + usize::from(before <= index)))
                }
                _ => *step,
            });
        }
        result
    }
}

/// The place of what the steps lead to from a value: its own, if they lead nowhere.
fn at(document: &Document<'_>, value: &Spanned<DeValue<'_>>, steps: &[Step], shift: &Shift) -> Range<usize> {
    let span = shift.in_file(value.span());
    let found = match (steps, value.get_ref()) {
        (_, DeValue::Table(table)) => below(document, table, steps, shift),
        ([Step::Index(index), steps @ ..], DeValue::Array(array)) => match document.long_list(span.start) {
            None => array.get(*index).map(|element| at(document, element, steps, shift)),
            Some(list) => {
                let piece = list.piece_of(*index);
                let text = document.piece(piece);
                let (elements, _) = text.parse();
                let element = elements.get_ref().as_array().and_then(|elements| elements.get(index - piece.first));
                element.map(|element| at(document, element, steps, &text.shift))
            }
        },
        _ => None,
    };
    found.unwrap_or(span)
}

fn below(document: &Document<'_>, table: &DeTable<'_>, steps: &[Step], shift: &Shift) -> Option<Range<usize>> {
    let (Step::Key(key), steps) = steps.split_first()? else { return None };
    child(table, key).map(|value| at(document, value, steps, shift))
}
