//! Reading tables, lists and single values out of a TOML tree, noting every problem and going on.

use super::bgp::policy::{AsRange, Community, PrefixRange};
use super::bgp::{HoldTime, Hops, Identifier, Milliseconds, Multipath, Password, Percent, RestartTime, StaleTime};
use super::document::{Document, Part, Shift, child};
use super::locate::Missing;
use super::path::{Path, Step};
use super::read::HOMES;
use super::report::Problems;
use super::values::{
    Complaint, Dual, Interface, Kbps, Mac, Mtu, Name, PortName, Prefix, Spi, Vlan, Vsid, parse_address, quoted,
};
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A key that a kind of table may have, and an example of it.
#[derive(Clone, Copy)]
pub(super) struct Key(pub &'static str, pub &'static str);

/// An open table.
pub(super) struct Fields<'t, 'i> {
    what: &'static str,
    keys: &'static [Key],
    table: &'t DeTable<'i>,
    span: Range<usize>,
}

impl<'t, 'i> Fields<'t, 'i> {
    /// What stands under a key.
    pub fn node(&self, key: &'static str) -> Option<&'t Spanned<DeValue<'i>>> {
        child(self.table, key)
    }

    fn example(&self, key: &str) -> &'static str {
        self.keys.iter().find(|known| known.0 == key).map_or("it", |known| known.1)
    }
}

/// Why a value was refused.
pub(super) enum Refusal {
    /// It is of another TOML type than this.
    Type(&'static str),
    /// Its content.
    Content(Complaint),
}

/// A type that a single TOML value can be read as.
pub(super) trait Value: Sized {
    fn read(value: &DeValue<'_>) -> Result<Self, Refusal>;
}

macro_rules! value_from_text {
    ($($name:ty),+) => {
        $(
            impl Value for $name {
                fn read(value: &DeValue<'_>) -> Result<Self, Refusal> {
                    value.as_str().ok_or(Refusal::Type("a text in quotes"))?.parse().map_err(Refusal::Content)
                }
            }
        )+
    };
}

value_from_text!(Name, PortName, Mac, Prefix, Interface, Identifier, Password, PrefixRange, AsRange, Community);

macro_rules! value_from_number {
    ($($name:ty),+) => {
        $(
            impl Value for $name {
                fn read(value: &DeValue<'_>) -> Result<Self, Refusal> {
                    integer(value)?.try_into().map_err(Refusal::Content)
                }
            }
        )+
    };
}

value_from_number!(
    Kbps,
    Mtu,
    Spi,
    Vlan,
    Vsid,
    HoldTime,
    Hops,
    Milliseconds,
    Multipath,
    Percent,
    RestartTime,
    StaleTime
);

impl Value for IpAddr {
    fn read(value: &DeValue<'_>) -> Result<Self, Refusal> {
        parse_address(value.as_str().ok_or(Refusal::Type("a text in quotes"))?).map_err(Refusal::Content)
    }
}

impl Value for bool {
    fn read(value: &DeValue<'_>) -> Result<Self, Refusal> {
        value.as_bool().ok_or(Refusal::Type("`true` or `false`"))
    }
}

impl Value for u32 {
    fn read(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let number = integer(value)?;
        number.try_into().map_err(|_| outside(number, 0, Self::MAX.into()))
    }
}

impl Value for NonZeroU32 {
    fn read(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let number = integer(value)?;
        u32::try_from(number).ok().and_then(Self::new).ok_or_else(|| outside(number, 1, u32::MAX.into()))
    }
}

impl Value for NonZeroU16 {
    fn read(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let number = integer(value)?;
        u16::try_from(number).ok().and_then(Self::new).ok_or_else(|| outside(number, 1, u16::MAX.into()))
    }
}

fn outside(number: i64, low: i64, high: i64) -> Refusal {
    Refusal::Content(Complaint::new(format!("{number} is outside {low}..={high}"), "write a number in that range"))
}

pub(super) fn integer(value: &DeValue<'_>) -> Result<i64, Refusal> {
    let digits = value.as_integer().ok_or(Refusal::Type("a whole number without quotes"))?;
    i64::from_str_radix(digits.as_str(), digits.radix()).map_err(|_| {
        Refusal::Content(Complaint::new(
            format!("the number {} is too large for anything here", quoted(digits.as_str())),
            "write a smaller number",
        ))
    })
}

/// Reads, and notes what it cannot read.
pub(super) struct Reader<'p> {
    document: &'p Document<'p>,
    problems: &'p mut Problems,
    missing: Missing,
    /// Where in the plan the reader is.
    path: Path,
    /// How places in the tree at hand are places in the file.
    shift: Shift,
}

impl<'p> Reader<'p> {
    /// A reader at the top of a plan.
    pub fn new(document: &'p Document<'p>, problems: &'p mut Problems) -> Self {
        Self { document, problems, missing: Missing::default(), path: Path::root(), shift: Shift::default() }
    }

    /// What was left out.
    pub fn into_missing(self) -> Missing {
        self.missing
    }

    /// Leaves out one of the lists at the plan's top.
    pub fn leave_out(&mut self, key: &'static str) {
        self.missing.key(key);
    }

    /// Leaves out an element of a list at the plan's top.
    pub fn leave_out_element(&mut self, key: &'static str, index: usize) {
        self.missing.element(&Path::root().key(key), key, index);
    }

    /// Goes to a part's tree, unless something is wrong with its form.
    pub fn enter(&mut self, part: &Part<'_>) -> bool {
        self.shift = part.shift.clone();
        self.syntax(&part.errors)
    }

    /// Notes what is wrong with the form of some text; whether nothing is.
    fn syntax(&mut self, errors: &[(Complaint, Range<usize>)]) -> bool {
        for (complaint, span) in errors {
            self.problems.at_bytes(span.clone(), complaint.clone());
        }
        errors.is_empty()
    }

    /// Notes a problem.
    pub fn refuse(&mut self, span: Range<usize>, complaint: Complaint) {
        self.problems.at_bytes(self.shift.in_file(span), complaint);
    }

    /// Opens the tree's top.
    pub fn top<'t, 'i>(&mut self, table: &'t Spanned<DeTable<'i>>, keys: &'static [Key]) -> Fields<'t, 'i> {
        let fields = Fields { what: "a plan", keys, table: table.get_ref(), span: 0..0 };
        self.refuse_unknown(&fields);
        fields
    }

    /// Opens a table and refuses keys that it does not have.
    pub fn open<'t, 'i>(
        &mut self,
        node: &'t Spanned<DeValue<'i>>,
        what: &'static str,
        keys: &'static [Key],
    ) -> Option<Fields<'t, 'i>> {
        let fields = self.fields(node, what, keys)?;
        self.refuse_unknown(&fields);
        Some(fields)
    }

    /// Reads the one key that says which other keys a table may have.
    pub fn peek_choice<T: Copy>(
        &mut self,
        node: &Spanned<DeValue<'_>>,
        what: &'static str,
        keys: &'static [Key],
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let fields = self.fields(node, what, keys)?;
        self.choice(&fields, key, choices)
    }

    fn fields<'t, 'i>(
        &mut self,
        node: &'t Spanned<DeValue<'i>>,
        what: &'static str,
        keys: &'static [Key],
    ) -> Option<Fields<'t, 'i>> {
        match node.get_ref().as_table() {
            Some(table) => Some(Fields { what, keys, table, span: node.span() }),
            None => {
                let names = names_of(keys);
                let found = describe(node.get_ref());
                let remedy = if what.starts_with('`') {
                    format!("write the header {what} and its keys below it: {names}")
                } else {
                    format!("write its keys in braces: {{ {} = …, … }} ({names})", keys[0].0)
                };
                self.refuse(node.span(), Complaint::new(format!("{what} is expected here, not {found}"), remedy));
                None
            }
        }
    }

    fn refuse_unknown(&mut self, fields: &Fields<'_, '_>) {
        for key in fields.table.keys() {
            let name: &str = key.get_ref();
            if fields.keys.iter().any(|known| known.0 == name) {
                continue;
            }
            let home = HOMES.iter().find(|(_, keys)| keys.iter().any(|known| known.0 == name));
            let remedy = match (closest(name, fields.keys.iter().map(|known| known.0)), home) {
                (Some(meant), _) => {
                    self.missing.key(meant);
                    format!("did you mean `{meant}`?")
                }
                (None, Some((home, _))) => format!("remove it, or move it: `{name}` belongs to {home}"),
                (None, None) => format!("remove it; the keys here are {}", names_of(fields.keys)),
            };
            let what = format!("{} has no key {}", fields.what, quoted(name).replace('"', "`"));
            self.refuse(key.span(), Complaint::new(what, remedy));
        }
    }

    /// Refuses a table without this key.
    pub fn demand(&mut self, fields: &Fields<'_, '_>, key: &'static str) {
        if fields.node(key).is_none() {
            let example = fields.example(key);
            let remedy = if example.starts_with("the ") {
                format!("add {example}")
            } else {
                format!("add it, such as `{example}`")
            };
            self.refuse(fields.span.clone(), Complaint::new(format!("{} lacks `{key}`", fields.what), remedy));
        }
    }

    /// A value that must be there.
    pub fn required<T: Value>(&mut self, fields: &Fields<'_, '_>, key: &'static str) -> Option<T> {
        self.demand(fields, key);
        self.optional(fields, key)
    }

    /// A value that may be there.
    pub fn optional<T: Value>(&mut self, fields: &Fields<'_, '_>, key: &'static str) -> Option<T> {
        self.value(fields.node(key)?, key, fields.example(key))
    }

    fn value<T: Value>(&mut self, node: &Spanned<DeValue<'_>>, key: &str, example: &str) -> Option<T> {
        let complaint = match T::read(node.get_ref()) {
            Ok(value) => return Some(value),
            Err(Refusal::Content(complaint)) => complaint,
            Err(Refusal::Type(expected)) => mismatch(node, key, expected, example),
        };
        self.refuse(node.span(), complaint);
        None
    }

    /// One of several words, that must be there.
    pub fn choice<T: Copy>(&mut self, fields: &Fields<'_, '_>, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.demand(fields, key);
        self.optional_choice(fields, key, choices)
    }

    /// One of several words, that may be there.
    pub fn optional_choice<T: Copy>(
        &mut self,
        fields: &Fields<'_, '_>,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        self.word(fields.node(key)?, key, fields.example(key), choices)
    }

    /// A list of words; empty if it is not there.
    pub fn words<T: Copy>(&mut self, fields: &Fields<'_, '_>, key: &'static str, choices: &[(&str, T)]) -> Box<[T]> {
        let example = fields.example(key);
        self.list(fields, key, |reader, node| reader.word(node, key, example, choices))
    }

    fn word<T: Copy>(
        &mut self,
        node: &Spanned<DeValue<'_>>,
        key: &str,
        example: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let Some(word) = node.get_ref().as_str() else {
            self.refuse(node.span(), mismatch(node, key, "a text in quotes", example));
            return None;
        };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == word) {
            return Some(*choice);
        }
        let remedy = match closest(word, choices.iter().map(|(name, _)| *name)) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => {
                let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
                format!("write one of {}", names.join(", "))
            }
        };
        self.refuse(node.span(), Complaint::new(format!("`{key}` cannot be {}", quoted(word)), remedy));
        None
    }

    /// A table that may be there.
    pub fn table<T>(
        &mut self,
        fields: &Fields<'_, '_>,
        key: &'static str,
        read: impl Fn(&mut Self, &Spanned<DeValue<'_>>) -> Option<T>,
    ) -> Option<T> {
        self.path.push(Step::Key(key));
        let node = fields.node(key);
        let result = node.and_then(|node| read(self, node));
        self.path.pop();
        if node.is_some() && result.is_none() {
            self.missing.key(key);
        }
        result
    }

    /// Addresses, at most one of each family, that must be there.
    pub fn required_dual(&mut self, fields: &Fields<'_, '_>, key: &'static str) -> Option<Dual> {
        self.demand(fields, key);
        self.optional_dual(fields, key)
    }

    /// Addresses, at most one of each family, that may be there.
    pub fn optional_dual(&mut self, fields: &Fields<'_, '_>, key: &'static str) -> Option<Dual> {
        fields.node(key)?;
        let mut dual = Dual::default();
        let example = fields.example(key);
        self.list(fields, key, |reader, node| {
            let address = reader.value(node, key, example)?;
            dual.add(address).map_err(|complaint| reader.refuse(node.span(), complaint)).ok()
        });
        Some(dual)
    }

    /// A list of values; empty if it is not there.
    pub fn values<T: Value>(&mut self, fields: &Fields<'_, '_>, key: &'static str) -> Box<[T]> {
        let example = fields.example(key);
        self.list(fields, key, |reader, node| reader.value(node, key, example))
    }

    /// A list of tables; empty if it is not there.
    pub fn list<T>(
        &mut self,
        fields: &Fields<'_, '_>,
        key: &'static str,
        mut read: impl FnMut(&mut Self, &Spanned<DeValue<'_>>) -> Option<T>,
    ) -> Box<[T]> {
        let Some(node) = fields.node(key) else { return Box::default() };
        let Some(array) = node.get_ref().as_array() else {
            self.missing.key(key);
            self.refuse(node.span(), mismatch(node, key, "a list", fields.example(key)));
            return Box::default();
        };
        let mut items = Vec::with_capacity(array.len());
        let Some(long) = self.document.long_list(self.shift.in_file(node.span()).start) else {
            for (index, node) in array.iter().enumerate() {
                self.item(key, index, node, &mut read, &mut items);
            }
            return items.into();
        };
        let shift = std::mem::take(&mut self.shift);
        for piece in long.pieces() {
            let text = self.document.piece(piece);
            let (elements, errors) = text.parse();
            self.shift = text.shift.clone();
            if !self.syntax(&errors) {
                self.missing.key(key);
            } else if let Some(elements) = elements.get_ref().as_array() {
                for (index, node) in elements.iter().enumerate() {
                    self.item(key, piece.first + index, node, &mut read, &mut items);
                }
            }
        }
        self.shift = shift;
        items.into()
    }

    /// The one element of a list that is alone in a part of the file, though it is the `index`th.
    pub fn list_item<T>(
        &mut self,
        key: &'static str,
        index: usize,
        part: &Spanned<DeTable<'_>>,
        mut read: impl FnMut(&mut Self, &Spanned<DeValue<'_>>) -> Option<T>,
        items: &mut Vec<T>,
    ) {
        if let Some(node) = child(part.get_ref(), key).and_then(|list| list.get_ref().as_array()?.first()) {
            self.item(key, index, node, &mut read, items);
        }
    }

    fn item<T>(
        &mut self,
        key: &'static str,
        index: usize,
        node: &Spanned<DeValue<'_>>,
        read: &mut impl FnMut(&mut Self, &Spanned<DeValue<'_>>) -> Option<T>,
        items: &mut Vec<T>,
    ) {
        self.path.push(Step::Key(key));
        self.path.push(Step::Index(index));
        let item = read(self, node);
        self.path.pop();
        if item.is_none() {
            self.missing.element(&self.path, key, index);
        }
        self.path.pop();
        items.extend(item);
    }
}

fn mismatch(node: &Spanned<DeValue<'_>>, key: &str, expected: &str, example: &str) -> Complaint {
    let remedy =
        if example.starts_with("the ") { format!("write {example}") } else { format!("write it like `{example}`") };
    Complaint::new(format!("`{key}` is {expected}, not {}", describe(node.get_ref())), remedy)
}

fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn names_of(keys: &[Key]) -> String {
    let names: Vec<String> = keys.iter().map(|key| format!("`{}`", key.0)).collect();
    names.join(", ")
}

/// The candidate that was probably meant, if one is near.
fn closest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let word: Vec<char> = word.chars().take(40).flat_map(char::to_lowercase).collect();
    candidates
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must change, come, go or be swapped with their neighbour to get from one word to the other.
fn distance(from: &[char], to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut best = (rows[i][j] + usize::from(a != b)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}
