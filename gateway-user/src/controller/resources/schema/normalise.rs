//! A body becomes canonical: names as in the tables, values in one form, what is only read left out, secrets sealed.

use super::values::{self, quoted, type_name};
use super::{Access, Effect, Kind, Property, RESOURCE_METADATA, Shape};
use crate::controller::resources::error::{Code, Error};
use crate::controller::store::Secret;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Makes secrets unreadable for all but those who need them.
pub trait Seal {
    /// What is stored instead of `secret`, which stands at `place`.
    fn seal(&self, place: &str, secret: &str) -> String;

    /// A new random secret, sealed for this place; none if nothing is kept secret here.
    fn draw(&self, _place: &str) -> Option<String> {
        None
    }

    /// What was sealed for this place; none if it does not open.
    fn open(&self, _place: &str, _sealed: &str) -> Option<Secret> {
        None
    }
}

/// Most elements of an array.
const MAX_ELEMENTS: usize = 10_000;

/// Longest free-form value (tags, and properties that have no effect), as JSON text.
const MAX_FREE_FORM: usize = 16 * 1024;

/// What a body may hold beside its properties. `id` is what some clients call the reference.
const ENVELOPE: [&str; 8] =
    ["resourceRef", "resourceId", "instanceId", "etag", "tags", "resourceMetadata", "properties", "id"];

/// Makes a resource's body canonical: an object with `resourceId` (if it was there), `tags`, `resourceMetadata` and `properties`.
///
/// `null` is as good as absent. What stands at `place` (a path) is sealed with it.
///
/// # Errors
/// Every fault of the body, up to [`Error::MAX_DETAILS`].
pub fn normalise(kind: Kind, body: &Value, place: &str, seal: &dyn Seal) -> Result<Map<String, Value>, Error> {
    let mut reader = Reader { faults: Vec::new(), place, seal };
    let resource = reader.resource(kind, body, "");
    match Error::all(reader.faults) {
        None => Ok(resource),
        Some(error) => Err(error),
    }
}

struct Reader<'a> {
    faults: Vec<Error>,
    place: &'a str,
    seal: &'a dyn Seal,
}

fn within(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

impl Reader<'_> {
    fn fault(&mut self, code: Code, at: &str, message: impl Into<String>) {
        if self.faults.len() < Error::MAX_DETAILS {
            self.faults.push(Error::at(code, at, message));
        }
    }

    fn resource(&mut self, kind: Kind, body: &Value, at: &str) -> Map<String, Value> {
        let mut canonical = Map::new();
        let Value::Object(body) = body else {
            let message = format!("a resource is a JSON object, not {}", type_name(body));
            self.fault(Code::InvalidRequestContent, at, message);
            return canonical;
        };
        let mut seen = HashSet::new();
        let mut properties = None;
        for (name, value) in body {
            let at = within(at, name);
            let Some(known) = ENVELOPE.iter().find(|known| known.eq_ignore_ascii_case(name)) else {
                self.unknown(name, &at, &ENVELOPE[..7], "beside `properties` there is");
                continue;
            };
            if !seen.insert(*known) {
                self.fault(Code::InvalidParameterValue, &at, format!("`{known}` stands here twice"));
                continue;
            }
            match (*known, value) {
                (_, Value::Null) => {}
                ("resourceId", Value::String(id)) => match kind.id(id) {
                    Ok(id) => {
                        canonical.insert("resourceId".to_owned(), Value::String(id.into()));
                    }
                    Err(error) => self.fault(Code::InvalidParameterValue, &at, error.to_string()),
                },
                ("resourceId", _) => self.fault(Code::InvalidParameterValue, &at, "an id is a string"),
                ("tags", Value::Object(_)) => {
                    let short = self.is_short(value, &at);
                    canonical.extend(short.then(|| ("tags".to_owned(), value.clone())));
                }
                ("resourceMetadata", Value::Object(metadata)) => {
                    let metadata = self.object(RESOURCE_METADATA, metadata, &at);
                    canonical.insert("resourceMetadata".to_owned(), Value::Object(metadata));
                }
                ("properties", Value::Object(object)) => properties = Some((object, at)),
                ("tags" | "resourceMetadata" | "properties", other) => {
                    let message = format!("this has to be an object, not {}", type_name(other));
                    self.fault(Code::InvalidParameterValue, &at, message);
                }
                // Only read: resourceRef, instanceId, etag.
                _ => {}
            }
        }
        let properties = match properties {
            Some((object, at)) => self.object(kind.info().properties, object, &at),
            None => Map::new(),
        };
        canonical.insert("properties".to_owned(), Value::Object(properties));
        canonical
    }

    fn object(&mut self, table: &'static [Property], object: &Map<String, Value>, at: &str) -> Map<String, Value> {
        let mut canonical = Map::new();
        let mut seen = HashSet::new();
        for (name, value) in object {
            let at = within(at, name);
            let Some(property) = table.iter().find(|property| property.is_called(name)) else {
                if name.eq_ignore_ascii_case("provisioningState") {
                    continue;
                }
                let known: Vec<&'static str> = table.iter().map(|property| property.name).collect();
                self.unknown(name, &at, &known, "there is");
                continue;
            };
            if value.is_null() || property.access == Access::ReadOnly {
                continue;
            }
            if !seen.insert(property.name) {
                let message = format!("`{}` stands here twice, in two spellings", property.name);
                self.fault(Code::InvalidParameterValue, &at, message);
                continue;
            }
            if let Effect::Refused(reason) = property.effect {
                if !is_empty(value) {
                    let message = format!("`{}` is not supported: {reason}", property.name);
                    self.fault(Code::PropertyNotSupported, &at, message);
                }
                continue;
            }
            if let Some(value) = self.value(property, value, &at) {
                canonical.insert(property.name.to_owned(), value);
            }
        }
        canonical
    }

    fn value(&mut self, property: &Property, value: &Value, at: &str) -> Option<Value> {
        if property.access == Access::Secret {
            return match value {
                Value::String(secret) if !secret.is_empty() => {
                    let place = format!("{}#{}", self.place, property.name);
                    Some(Value::String(self.seal.seal(&place, secret)))
                }
                Value::String(_) => None,
                _ => {
                    // The value is not told, whatever it is.
                    self.fault(Code::InvalidParameterValue, at, "a secret is a string");
                    None
                }
            };
        }
        self.shaped(&property.shape, value, at)
    }

    fn shaped(&mut self, shape: &Shape, value: &Value, at: &str) -> Option<Value> {
        match (shape, value) {
            (_, Value::Null) | (Shape::BackReferences(..), _) => None,
            (Shape::Object(table), Value::Object(object)) => Some(Value::Object(self.object(table, object, at))),
            (Shape::List(element), Value::Array(values)) => {
                if values.len() > MAX_ELEMENTS {
                    self.fault(Code::InvalidParameterValue, at, format!("more than {MAX_ELEMENTS} elements"));
                    return None;
                }
                let mut canonical = Vec::with_capacity(values.len());
                for (index, value) in values.iter().enumerate() {
                    if let Some(value) = self.shaped(element, value, &format!("{at}[{index}]")) {
                        canonical.push(value);
                    }
                }
                Some(Value::Array(canonical))
            }
            (Shape::List(element @ Shape::Reference(_)), Value::Object(object)) => {
                if object.is_empty() {
                    return None;
                }
                self.shaped(element, value, at).map(|one| Value::Array(vec![one]))
            }
            (Shape::List(_) | Shape::Children(_), other) if !other.is_array() => {
                let message = format!("this has to be an array, not {}", type_name(other));
                self.fault(Code::InvalidParameterValue, at, message);
                None
            }
            (Shape::Children(kind), Value::Array(values)) => self.children(*kind, values, at),
            (Shape::Object(_), other) => {
                let message = format!("this has to be an object, not {}", type_name(other));
                self.fault(Code::InvalidParameterValue, at, message);
                None
            }
            (Shape::Any, value) => self.is_short(value, at).then(|| value.clone()),
            (shape, value) => match values::read(shape, value) {
                Ok(value) => value,
                Err(message) => {
                    let code = match shape {
                        Shape::Reference(_) | Shape::OwnReference(_) => Code::InvalidResourceReference,
                        _ => Code::InvalidParameterValue,
                    };
                    self.fault(code, at, message);
                    None
                }
            },
        }
    }

    fn children(&mut self, kind: Kind, values: &[Value], at: &str) -> Option<Value> {
        if values.len() > MAX_ELEMENTS {
            self.fault(Code::InvalidParameterValue, at, format!("more than {MAX_ELEMENTS} elements"));
            return None;
        }
        let mut canonical = Vec::with_capacity(values.len());
        let mut ids = HashSet::new();
        for (index, value) in values.iter().enumerate() {
            let at = format!("{at}[{index}]");
            let child = self.resource(kind, value, &at);
            match child.get("resourceId").and_then(Value::as_str) {
                Some(id) if !ids.insert(id.to_ascii_lowercase()) => {
                    let message = format!("{} stands here twice", quoted(id));
                    self.fault(Code::InvalidParameterValue, &within(&at, "resourceId"), message);
                }
                Some(_) => canonical.push(Value::Object(child)),
                None => {
                    let message = "an embedded resource needs its `resourceId`";
                    self.fault(Code::RequiredPropertyMissing, &within(&at, "resourceId"), message);
                }
            }
        }
        Some(Value::Array(canonical))
    }

    fn is_short(&mut self, value: &Value, at: &str) -> bool {
        let short = value.to_string().len() <= MAX_FREE_FORM;
        if !short {
            self.fault(Code::InvalidParameterValue, at, format!("this is longer than {MAX_FREE_FORM} bytes"));
        }
        short
    }

    fn unknown(&mut self, name: &str, at: &str, known: &[&'static str], there_is: &str) {
        let message = match nearest(name, known) {
            Some(near) => format!("there is no property {}; did you mean `{near}`?", quoted(name)),
            None => format!("there is no property {}; {there_is} {}", quoted(name), known.join(", ")),
        };
        self.fault(Code::UnknownProperty, at, message);
    }
}

/// Whether a value asks for nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}

/// The name that was probably meant: at most two letters off.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    if name.len() > 64 {
        return None;
    }
    let with_distance = |known: &&'static str| (distance(&name, &known.to_ascii_lowercase()), *known);
    known.iter().map(with_distance).min().filter(|(distance, _)| *distance <= 2).map(|(_, name)| name)
}

/// Levenshtein's.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}
