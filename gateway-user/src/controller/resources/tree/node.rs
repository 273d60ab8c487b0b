//! Ways through a canonical tree.

use super::Forest;
use crate::controller::model::Id;
use crate::controller::resources::path::Path;
use crate::controller::resources::schema::{Kind, Property, Shape};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::HashMap;

/// A resource's id.
pub fn id(resource: &Value) -> Option<&str> {
    resource.get("resourceId")?.as_str()
}

/// A resource's ETag, bare.
pub fn etag(resource: &Value) -> &str {
    resource.get("etag").and_then(Value::as_str).unwrap_or_default()
}

/// Whose a root is.
pub fn tenant(root: &Value) -> Option<&str> {
    root.get("resourceMetadata")?.get("tenantId")?.as_str().filter(|tenant| !tenant.is_empty())
}

/// A property of a resource.
pub fn get<'a>(resource: &'a Value, name: &str) -> Option<&'a Value> {
    resource.get("properties")?.get(name)
}

/// A property that is text.
pub fn text<'a>(resource: &'a Value, name: &str) -> Option<&'a str> {
    get(resource, name)?.as_str()
}

/// A property that is an array; an absent one is empty.
pub fn list<'a>(resource: &'a Value, name: &str) -> &'a [Value] {
    get(resource, name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What a reference refers to.
pub fn target(reference: &Value) -> Option<Path> {
    Path::parse(reference.get("resourceRef")?.as_str()?).ok()
}

fn child_position(resource: &Value, kind: Kind, id: &Id) -> Option<usize> {
    let children = list(resource, kind.info().collection);
    children.iter().position(|child| self::id(child).is_some_and(|text| text.eq_ignore_ascii_case(id.as_str())))
}

/// The resource at `path` in the tree of that root.
pub fn find<'a>(root: &'a Value, path: &Path) -> Option<&'a Value> {
    path.steps().skip(1).try_fold(root, |resource, (kind, id)| {
        list(resource, kind.info().collection).get(child_position(resource, *kind, id)?)
    })
}

/// The same, to be changed.
pub fn find_mut<'a>(root: &'a mut Value, path: &Path) -> Option<&'a mut Value> {
    path.steps().skip(1).try_fold(root, |resource, (kind, id)| {
        let position = child_position(resource, *kind, id)?;
        resource.get_mut("properties")?.get_mut(kind.info().collection)?.get_mut(position)
    })
}

/// The path with the ids as the tree spells them.
pub fn spelled(root: &Value, path: &Path) -> Option<Path> {
    let (kind, _) = path.steps().next()?;
    let mut here = root;
    let mut spelled = Path::root(*kind, id(here)?.into());
    for (kind, step) in path.steps().skip(1) {
        here = list(here, kind.info().collection).get(child_position(here, *kind, step)?)?;
        spelled = spelled.child(*kind, id(here)?.into());
    }
    Some(spelled)
}

/// Where the resource stands in its root's body: `properties.subnets[2]`; empty for the root.
pub fn place(root: &Value, path: &Path) -> Option<String> {
    let mut here = root;
    let mut place = String::new();
    for (kind, id) in path.steps().skip(1) {
        let position = child_position(here, *kind, id)?;
        here = list(here, kind.info().collection).get(position)?;
        if !place.is_empty() {
            place.push('.');
        }
        place.push_str(&format!("properties.{}[{position}]", kind.info().collection));
    }
    Some(place)
}

/// A resource on a walk through a tree.
#[derive(Debug)]
pub struct Node<'a> {
    /// Where it is.
    pub path: Path,
    /// Where it stands in the root's body, as [`place`].
    pub place: String,
    /// What it is.
    pub value: &'a Value,
}

impl Node<'_> {
    /// Where one of its properties stands in the root's body.
    pub fn at(&self, property: &str) -> String {
        if self.place.is_empty() {
            format!("properties.{property}")
        } else {
            format!("{}.properties.{property}", self.place)
        }
    }
}

/// All resources of a tree, parents first.
pub fn walk<'a>(root: &Path, value: &'a Value) -> Vec<Node<'a>> {
    let mut nodes = vec![Node { path: root.clone(), place: String::new(), value }];
    let mut next = 0;
    while let Some(node) = nodes.get(next) {
        let mut found = Vec::new();
        for kind in Kind::children_of(Some(node.path.kind())) {
            let name = kind.info().collection;
            for (position, child) in list(node.value, name).iter().enumerate() {
                let place = node.at(&format!("{name}[{position}]"));
                found.push(Node {
                    path: node.path.child(kind, id(child).unwrap_or_default().into()),
                    place,
                    value: child,
                });
            }
        }
        nodes.extend(found);
        next += 1;
    }
    nodes
}

/// Visits each reference of a resource, not those of its children: where it stands, by which property, to what.
pub fn references(
    table: &'static [Property],
    object: &Map<String, Value>,
    at: &str,
    visit: &mut dyn FnMut(String, &'static Property, Path),
) {
    for property in table {
        let Some(value) = object.get(property.name) else { continue };
        let at = format!("{at}.{}", property.name);
        match (&property.shape, value) {
            (Shape::Reference(_) | Shape::OwnReference(_), value) => {
                if let Some(path) = target(value) {
                    visit(at, property, path);
                }
            }
            (Shape::Object(table), Value::Object(object)) => references(table, object, &at, visit),
            (Shape::List(element), Value::Array(values)) => {
                for (position, value) in values.iter().enumerate() {
                    let at = format!("{at}[{position}]");
                    match (element, value) {
                        (Shape::Reference(_), value) => {
                            if let Some(path) = target(value) {
                                visit(at, property, path);
                            }
                        }
                        (Shape::Object(table), Value::Object(object)) => references(table, object, &at, visit),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// Resources as they would be if one tree were replaced. Trees are parsed once.
#[derive(Debug)]
pub struct Lookup<'a> {
    /// Resources as they are.
    pub forest: &'a Forest,
    own_key: String,
    own: &'a Value,
    parsed: RefCell<HashMap<String, Option<Value>>>,
}

impl<'a> Lookup<'a> {
    /// With `own` in place of the tree at `root`.
    pub fn new(forest: &'a Forest, root: &Path, own: &'a Value) -> Self {
        Self { forest, own_key: root.key(), own, parsed: RefCell::default() }
    }

    /// Whether a path leads into the tree that is replaced.
    pub fn is_own(&self, path: &Path) -> bool {
        path.tree().key() == self.own_key
    }

    /// A resource.
    pub fn node(&self, path: &Path) -> Option<Value> {
        self.with(path, Clone::clone)
    }

    /// Whether there is such a resource.
    pub fn contains(&self, path: &Path) -> bool {
        if path.depth() == 0 {
            return self.is_own(path) || self.forest.trees.contains_key(path.key().as_str());
        }
        self.with(path, |_| ()).is_some()
    }

    /// Looks at a resource.
    pub fn with<R>(&self, path: &Path, look: impl FnOnce(&Value) -> R) -> Option<R> {
        let key = path.tree().key();
        if key == self.own_key {
            return find(self.own, path).map(look);
        }
        let mut parsed = self.parsed.borrow_mut();
        let tree = parsed.entry(key).or_insert_with_key(|key| {
            let tree = self.forest.trees.get(key.as_str())?;
            serde_json::from_str(&tree.text).ok()
        });
        find(tree.as_ref()?, path).map(look)
    }
}
