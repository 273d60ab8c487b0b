//! What becomes of a body when its resource exists already: PUT replaces, but what clients cannot know or see is kept.
//!
//! Kept if absent: secrets (never shown), embedded children, what stays as it was at creation, what is the operator's in a tenant's PUT, and
//! `tags` and `resourceMetadata` as a whole.

use super::node;
use crate::controller::model::Id;
use crate::controller::resources::error::{Code, Error};
use crate::controller::resources::roles::Principal;
use crate::controller::resources::schema::{Access, Kind, Property, Shape};
use serde_json::{Map, Value};

/// What a merge finds wrong, and the GUIDs that it gives out.
#[derive(Debug)]
pub struct Merge<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// Randomness of this request.
    pub stamp: super::Stamp,
    /// GUIDs given out so far; the first is the ETag.
    pub guids: u64,
    /// What is wrong.
    pub faults: Vec<Error>,
}

impl Merge<'_> {
    /// The resource that a canonical body makes of the old one. `id` is its id if neither says.
    pub fn resource(&mut self, kind: Kind, id: &Id, old: Option<&Value>, body: Map<String, Value>, at: &str) -> Value {
        let mut body = body;
        let mut resource = Map::new();
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(ToOwned::to_owned);
        let given = text(body.get("resourceId")).unwrap_or_else(|| id.as_str().to_owned());
        let id = old.and_then(node::id).map_or(given, ToOwned::to_owned);
        let instance = text(old.and_then(|old| old.get("instanceId"))).unwrap_or_else(|| {
            self.guids += 1;
            self.stamp.guid(self.guids)
        });
        resource.insert("resourceId".to_owned(), id.into());
        resource.insert("instanceId".to_owned(), instance.into());
        if let Some(etag) = old.and_then(|old| old.get("etag")) {
            resource.insert("etag".to_owned(), etag.clone());
        }
        for name in ["tags", "resourceMetadata"] {
            if let Some(value) = body.remove(name).or_else(|| old.and_then(|old| old.get(name)).cloned()) {
                resource.insert(name.to_owned(), value);
            }
        }
        let old = old.and_then(|old| old.get("properties")).and_then(Value::as_object);
        let new = match body.remove("properties") {
            Some(Value::Object(properties)) => properties,
            _ => Map::new(),
        };
        let at = if at.is_empty() { "properties".to_owned() } else { format!("{at}.properties") };
        let properties = self.object(kind.info().properties, old, new, &at);
        resource.insert("properties".to_owned(), Value::Object(properties));
        Value::Object(resource)
    }

    fn object(
        &mut self,
        table: &'static [Property],
        old: Option<&Map<String, Value>>,
        mut new: Map<String, Value>,
        at: &str,
    ) -> Map<String, Value> {
        for property in table {
            let at = format!("{at}.{}", property.name);
            let before = old.and_then(|old| old.get(property.name));
            let given = new.remove(property.name);
            if let Some(value) = self.property(property, before, given, &at) {
                new.insert(property.name.to_owned(), value);
            }
        }
        new
    }

    fn property(
        &mut self,
        property: &'static Property,
        before: Option<&Value>,
        given: Option<Value>,
        at: &str,
    ) -> Option<Value> {
        let Some(given) = given else {
            let kept = property.access == Access::Secret
                || property.immutable
                || matches!(property.shape, Shape::Children(_))
                || property.operators && !self.principal.is_operator();
            return before.filter(|_| kept).cloned();
        };
        if property.operators && !self.principal.is_operator() && before != Some(&given) {
            let message = format!("only operators change `{}`", property.name);
            self.faults.push(Error::at(Code::Forbidden, at, message));
            return before.cloned();
        }
        if property.immutable && before.is_some_and(|before| *before != given) {
            let message =
                format!("`{}` stays as it was at creation; delete the resource and create it anew", property.name);
            self.faults.push(Error::at(Code::PropertyImmutable, at, message));
            return before.cloned();
        }
        match (&property.shape, given) {
            (Shape::Children(_), Value::Array(children)) if children.is_empty() => None,
            (Shape::Children(kind), Value::Array(children)) => Some(self.children(*kind, before, children, at)),
            (Shape::Object(table), Value::Object(given)) => {
                Some(Value::Object(self.object(table, before.and_then(Value::as_object), given, at)))
            }
            (_, given) => Some(given),
        }
    }

    fn children(&mut self, kind: Kind, before: Option<&Value>, children: Vec<Value>, at: &str) -> Value {
        let before = before.and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
        let mut merged = Vec::with_capacity(children.len());
        for (position, child) in children.into_iter().enumerate() {
            let Value::Object(child) = child else { continue };
            let id: Id = child.get("resourceId").and_then(Value::as_str).unwrap_or_default().into();
            let same = |old: &&Value| node::id(old).is_some_and(|text| text.eq_ignore_ascii_case(id.as_str()));
            let old = before.iter().find(same);
            merged.push(self.resource(kind, &id, old, child, &format!("{at}[{position}]")));
        }
        Value::Array(merged)
    }
}

/// What is needed and absent, in a tree.
pub fn missing(tree: &super::node::Node<'_>) -> Vec<Error> {
    let mut faults = Vec::new();
    let table = tree.path.kind().info().properties;
    if let Some(Value::Object(properties)) = tree.value.get("properties") {
        let at = tree.at("");
        missing_in(table, properties, at.trim_end_matches('.'), &mut faults);
    }
    faults
}

fn missing_in(table: &'static [Property], object: &Map<String, Value>, at: &str, faults: &mut Vec<Error>) {
    for property in table {
        let at = format!("{at}.{}", property.name);
        match (object.get(property.name), &property.shape) {
            (None, _) if property.access == Access::Required => {
                let message = format!(
                    "`{}` is needed{}",
                    property.name,
                    if property.doc.is_empty() { String::new() } else { format!(": {}", property.doc) }
                );
                faults.push(Error::at(Code::RequiredPropertyMissing, at, message));
            }
            (Some(Value::Object(object)), Shape::Object(table)) => missing_in(table, object, &at, faults),
            (Some(Value::Array(values)), Shape::List(Shape::Object(table))) => {
                for (position, value) in values.iter().enumerate() {
                    if let Value::Object(object) = value {
                        missing_in(table, object, &format!("{at}[{position}]"), faults);
                    }
                }
            }
            _ => {}
        }
    }
}
