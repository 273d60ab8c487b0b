//! What an answer shows: what is stored, less the secrets, plus what is computed and what is observed.

use super::{Forest, conditions, node};
use crate::controller::resources::path::Path;
use crate::controller::resources::roles::Principal;
use crate::controller::resources::schema::{Access, Kind, Property, Shape};
use serde_json::{Map, Value, json};

/// What is known of resources beside what was written: states, statistics, placements.
pub trait Observed {
    /// Properties to show with the resource: they take the place of stored ones, but an array is appended to a stored array.
    fn properties(&self, path: &Path) -> Map<String, Value>;
}

/// Nothing is known.
impl Observed for () {
    fn properties(&self, _: &Path) -> Map<String, Value> {
        Map::new()
    }
}

/// Who reads, and what is known.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Who reads.
    pub principal: &'a Principal,
    /// What is known.
    pub observed: &'a dyn Observed,
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("principal", self.principal).finish_non_exhaustive()
    }
}

impl Forest {
    /// A stored resource as it is shown.
    pub(super) fn present(&self, path: &Path, stored: &Value, view: &View<'_>) -> Value {
        let mut shown = Map::new();
        shown.insert("resourceRef".to_owned(), json!(path.to_string()));
        shown.insert("etag".to_owned(), json!(conditions::written(node::etag(stored))));
        for name in ["resourceId", "instanceId", "tags", "resourceMetadata"] {
            if let Some(value) = stored.get(name) {
                shown.insert(name.to_owned(), value.clone());
            }
        }
        let table = path.kind().info().properties;
        let mut properties = match stored.get("properties") {
            Some(Value::Object(stored)) => self.object(table, stored, path, view),
            _ => Map::new(),
        };
        for property in table {
            match property.shape {
                Shape::BackReferences(kind, by) => {
                    // A pool has as many users as there are tenants: paths are taken apart for those alone who may not see all.
                    let users = self
                        .index
                        .referrers(&path.key())
                        .filter(|(from, via)| *via == by && kind_of(from) == Some(kind));
                    let sees = |from: &str| {
                        view.principal.sees_all()
                            || Path::parse(from).is_ok_and(|from| view.principal.sees(self.tenant(&from)))
                    };
                    let seen = users.filter(|(from, _)| sees(from));
                    let references: Vec<Value> = seen.map(|(from, _)| json!({ "resourceRef": from })).collect();
                    properties.insert(property.name.to_owned(), Value::Array(references));
                }
                Shape::Children(_) => {
                    properties.entry(property.name).or_insert_with(|| json!([]));
                }
                _ => {}
            }
        }
        properties.insert("provisioningState".to_owned(), json!("Succeeded"));
        for (name, value) in view.observed.properties(path) {
            match (properties.get_mut(&name), value) {
                (Some(Value::Array(stored)), Value::Array(more)) => stored.extend(more),
                (_, value) => {
                    properties.insert(name, value);
                }
            }
        }
        shown.insert("properties".to_owned(), Value::Object(properties));
        Value::Object(shown)
    }

    fn object(
        &self,
        table: &'static [Property],
        stored: &Map<String, Value>,
        path: &Path,
        view: &View<'_>,
    ) -> Map<String, Value> {
        let mut shown = Map::new();
        // By the table, not by what is stored: what no table names is not shown, so no secret slips through.
        for property in table.iter().filter(|property| property.access != Access::Secret) {
            let Some(value) = stored.get(property.name) else { continue };
            let value = match (&property.shape, value) {
                (Shape::Object(table), Value::Object(object)) => Value::Object(self.object(table, object, path, view)),
                (Shape::List(Shape::Object(table)), Value::Array(values)) => values
                    .iter()
                    .map(|value| match value {
                        Value::Object(object) => Value::Object(self.object(table, object, path, view)),
                        other => other.clone(),
                    })
                    .collect(),
                (Shape::Children(kind), Value::Array(children)) => children
                    .iter()
                    .map(|child| {
                        let id = node::id(child).unwrap_or_default();
                        self.present(&path.child(*kind, id.into()), child, view)
                    })
                    .collect(),
                (_, value) => value.clone(),
            };
            shown.insert(property.name.to_owned(), value);
        }
        shown
    }
}

/// The kind of what a canonical path leads to.
fn kind_of(path: &str) -> Option<Kind> {
    let mut collections = path.split('/').skip(1).step_by(2);
    let root = Kind::in_collection(None, collections.next()?)?;
    collections.try_fold(root, |parent, name| Kind::in_collection(Some(parent), name))
}
