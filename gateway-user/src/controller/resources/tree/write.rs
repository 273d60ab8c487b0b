//! PUT and DELETE: what they would change, found out without changing anything.

use super::index::{Claim, Claimed, Edge};
use super::merge::{Merge, missing};
use super::node::{self, Lookup, walk};
use super::{Conditions, Forest, Stamp, conditions, index, internal};
use crate::controller::resources::error::{Code, Error};
use crate::controller::resources::path::Path;
use crate::controller::resources::roles::Principal;
use crate::controller::resources::rules;
use crate::controller::resources::schema::normalise::{Seal, normalise};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a change does to the resource that it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did not exist: 201.
    Created,
    /// It is another one: 200.
    Replaced,
    /// It was like that: 200, with the ETag that it had, and nothing to commit.
    Unchanged,
    /// It is gone.
    Deleted,
}

/// What one request does to one tree: to be committed by the caller, and then applied, or dropped.
#[derive(Clone, Debug)]
pub struct Change {
    /// What was asked for.
    pub path: Path,
    /// The tree that it is in.
    pub root: Path,
    /// What becomes of it.
    pub outcome: Outcome,
    /// The tree's text before.
    pub old: Option<Arc<str>>,
    /// The tree's text from then on; none if it is gone.
    pub new: Option<Arc<str>>,
    /// The resource's ETag from then on, as it is sent.
    pub etag: String,
    pub(super) tenant: Option<Arc<str>>,
    pub(super) edges_gone: Vec<Edge>,
    pub(super) edges_come: Vec<Edge>,
    pub(super) claims_gone: Vec<Claim>,
    pub(super) claims_come: Vec<(Claim, Box<str>)>,
}

impl Change {
    /// The tree's key in the store.
    pub fn store_key(&self) -> String {
        self.root.store_key()
    }
}

/// A PUT.
#[derive(Clone, Copy)]
pub struct Put<'a> {
    /// Of what.
    pub path: &'a Path,
    /// Its body.
    pub body: &'a Value,
    /// On which conditions.
    pub conditions: &'a Conditions,
    /// Who asks.
    pub principal: &'a Principal,
    /// Randomness for its GUIDs.
    pub stamp: Stamp,
    /// What seals its secrets.
    pub seal: &'a dyn Seal,
}

impl std::fmt::Debug for Put<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The body may hold secrets.
        f.debug_struct("Put").field("path", self.path).field("principal", self.principal).finish_non_exhaustive()
    }
}

fn not_found(path: &Path) -> Error {
    Error::at(Code::ResourceNotFound, path.to_string(), format!("there is no {path}"))
}

impl Forest {
    /// What a PUT would change.
    ///
    /// # Errors
    /// It is refused.
    pub fn put(&self, put: &Put<'_>) -> Result<Change, Error> {
        let root = put.path.tree();
        let tree = self.trees.get(root.key().as_str());
        if tree.is_some_and(|tree| !put.principal.sees(tree.tenant.as_deref())) {
            return Err(Error::at(Code::Forbidden, put.path.to_string(), "this id cannot be used; take another one"));
        }
        let old: Option<Value> = tree.map(|tree| serde_json::from_str(&tree.text)).transpose().map_err(internal)?;
        if let Some(parent) = put.path.parent()
            && old.as_ref().and_then(|old| node::find(old, &parent)).is_none()
        {
            return Err(not_found(&parent));
        }
        let old_node = old.as_ref().and_then(|old| node::find(old, put.path));
        put.conditions.check_put(old_node.map(node::etag))?;

        let kind = put.path.kind();
        let mut body = normalise(kind, put.body, &put.path.key(), put.seal)?;
        if let Some(given) = body.get("resourceId").and_then(Value::as_str)
            && !given.eq_ignore_ascii_case(put.path.id().as_str())
        {
            let message = format!("the body's id is {given}, the path's {}; an id never changes", put.path.id());
            return Err(Error::at(Code::InvalidParameterValue, "resourceId", message));
        }
        if put.path.depth() == 0 {
            put.principal.own(&mut body, tree.and_then(|tree| tree.tenant.as_deref()))?;
        }
        rules::leave_out_learned(kind, &mut body);

        let mut merge = Merge { principal: put.principal, stamp: put.stamp, guids: 0, faults: Vec::new() };
        let merged = merge.resource(kind, put.path.id(), old_node, body, "");
        if let Some(error) = Error::all(merge.faults) {
            return Err(error);
        }
        let mut new = match &old {
            None => merged,
            Some(old) => {
                let mut tree = old.clone();
                place(&mut tree, put.path, merged);
                tree
            }
        };
        let root = Path::root(root.kind(), node::id(&new).unwrap_or_default().into());
        rules::draw(self, &root, put.path, &mut new)?;
        let outcome = match old_node {
            None => Outcome::Created,
            Some(_) if old.as_ref() == Some(&new) => Outcome::Unchanged,
            Some(_) => Outcome::Replaced,
        };
        if outcome != Outcome::Unchanged {
            stamp(&mut new, put.path, &put.stamp.guid(0));
        }
        self.change(put.path, &root, outcome, old.as_ref(), Some(&new), put.principal)
    }

    /// What a DELETE would change; none if there is no such resource.
    ///
    /// # Errors
    /// It is refused.
    pub fn delete(
        &self,
        path: &Path,
        conditions: &Conditions,
        principal: &Principal,
        stamp: Stamp,
    ) -> Result<Option<Change>, Error> {
        let Some(tree) =
            self.trees.get(path.tree().key().as_str()).filter(|tree| principal.sees(tree.tenant.as_deref()))
        else {
            return Ok(None);
        };
        let old: Value = serde_json::from_str(&tree.text).map_err(internal)?;
        let Some(node) = node::find(&old, path) else { return Ok(None) };
        conditions.check_delete(node::etag(node))?;
        let root = Path::root(path.tree().kind(), tree.id.clone());
        let Some(parent) = path.parent() else {
            return self.change(path, &root, Outcome::Deleted, Some(&old), None, principal).map(Some);
        };
        let mut new = old.clone();
        let siblings = node::find_mut(&mut new, &parent)
            .and_then(|parent| parent.get_mut("properties")?.get_mut(path.kind().info().collection)?.as_array_mut());
        if let Some(siblings) = siblings {
            siblings.retain(|child| !node::id(child).is_some_and(|id| id.eq_ignore_ascii_case(path.id().as_str())));
        }
        mark(&mut new, &parent, &stamp.guid(0));
        self.change(path, &root, Outcome::Deleted, Some(&old), Some(&new), principal).map(Some)
    }

    /// Checks what a tree would become, and says what that changes.
    fn change(
        &self,
        path: &Path,
        root: &Path,
        outcome: Outcome,
        old: Option<&Value>,
        new: Option<&Value>,
        principal: &Principal,
    ) -> Result<Change, Error> {
        let nothing = json!({});
        let (before, after) = (old.unwrap_or(&nothing), new.unwrap_or(&nothing));
        let lookup_before = Lookup::new(self, root, before);
        let lookup = Lookup::new(self, root, after);

        let claims_before: BTreeMap<Claim, Box<str>> = match old {
            Some(old) if index::has_claims(root.kind()) => index::claims(&lookup_before, root, old)
                .into_iter()
                .map(|claimed| (claimed.claim, claimed.owner))
                .collect(),
            _ => BTreeMap::new(),
        };
        let claims_after = match new {
            Some(new) if index::has_claims(root.kind()) => index::claims(&lookup, root, new),
            _ => Vec::new(),
        };
        let edges_before = old.map(|old| index::edges(root, old)).unwrap_or_default();
        let edges_after = new.map(|new| index::edges(root, new)).unwrap_or_default();

        if outcome != Outcome::Unchanged {
            self.check_in_use(root, outcome, path, old, new, principal)?;
            if let Some(new) = new {
                let mut faults: Vec<Error> = walk(root, new).iter().flat_map(missing).collect();
                if faults.is_empty() {
                    self.check_references(&lookup, root, new, &edges_before, principal, &mut faults);
                }
                if faults.is_empty() {
                    let writing = rules::Writing { lookup: &lookup, root, new, old, principal };
                    faults.extend(rules::check(&writing));
                }
                if faults.is_empty() {
                    faults.extend(self.check_claims(&lookup, root, &claims_after, principal));
                }
                let place = node::place(new, path).unwrap_or_default();
                if let Some(error) = Error::all(faults.into_iter().map(|fault| relative(fault, &place, root)).collect())
                {
                    return Err(error);
                }
            }
            if rules::public::concerns(root.kind())
                && let Some(fault) = rules::public::check(&lookup_before, &lookup, root, new, principal)
            {
                let place = new.and_then(|new| node::place(new, path)).unwrap_or_default();
                return Err(relative(fault, &place, root));
            }
        }

        let claims_after: BTreeMap<Claim, Box<str>> =
            claims_after.into_iter().map(|claimed| (claimed.claim, claimed.owner)).collect();
        let etag = new.and_then(|new| node::find(new, path)).map(|node| conditions::written(node::etag(node)));
        Ok(Change {
            path: new.or(old).and_then(|tree| node::spelled(tree, path)).unwrap_or_else(|| path.clone()),
            root: root.clone(),
            outcome,
            old: self.text(root).cloned(),
            new: match outcome {
                Outcome::Unchanged => self.text(root).cloned(),
                _ => new.map(|new| new.to_string().into()),
            },
            etag: etag.unwrap_or_default(),
            tenant: new.and_then(node::tenant).map(Arc::from),
            edges_gone: edges_before.difference(&edges_after).cloned().collect(),
            edges_come: edges_after.difference(&edges_before).cloned().collect(),
            claims_gone: claims_before
                .iter()
                .filter(|(claim, _)| !claims_after.contains_key(claim))
                .map(|(claim, _)| claim.clone())
                .collect(),
            claims_come: claims_after
                .into_iter()
                .filter(|(claim, owner)| claims_before.get(claim) != Some(owner))
                .collect(),
        })
    }

    /// What others refer to stays, and so do the traits that they rely on.
    fn check_in_use(
        &self,
        root: &Path,
        outcome: Outcome,
        path: &Path,
        old: Option<&Value>,
        new: Option<&Value>,
        principal: &Principal,
    ) -> Result<(), Error> {
        let Some(old) = old else { return Ok(()) };
        let own = root.key();
        for node in walk(root, old) {
            let users = || -> Vec<Path> {
                let referrers = self.referrers(&node.path).map(|(from, _)| from);
                let mut users: Vec<Path> = referrers.filter(|from| from.tree().key() != own).collect();
                users.dedup();
                users
            };
            let Some(after) = new.and_then(|new| node::find(new, &node.path)) else {
                let mut users = users();
                // Inside a tree that goes on, one resource may refer to another one.
                if let Some(new) = new.filter(|_| outcome == Outcome::Deleted) {
                    let inside = self.referrers(&node.path).map(|(from, _)| from);
                    users.extend(inside.filter(|from| from.tree().key() == own && node::find(new, from).is_some()));
                }
                if users.is_empty() {
                    continue;
                }
                let message = format!(
                    "{} is in use by {}; delete or change these first",
                    node.path,
                    self.name_users(&users, principal)
                );
                return Err(Error::at(Code::ResourceInUse, node.path.to_string(), message));
            };
            for property in rules::frozen_in_use(node.path.kind()) {
                if node::get(node.value, property) == node::get(after, property) {
                    continue;
                }
                let users = users();
                if users.is_empty() {
                    continue;
                }
                let message = format!(
                    "`{property}` of {} stays as it is while it is in use by {}",
                    node.path,
                    self.name_users(&users, principal)
                );
                let place = node::place(new.unwrap_or(old), path).unwrap_or_default();
                return Err(relative(Error::at(Code::ResourceInUse, node.at(property), message), &place, root));
            }
        }
        Ok(())
    }

    fn check_references(
        &self,
        lookup: &Lookup<'_>,
        root: &Path,
        new: &Value,
        before: &BTreeSet<Edge>,
        principal: &Principal,
        faults: &mut Vec<Error>,
    ) {
        for node in walk(root, new) {
            let Some(Value::Object(properties)) = node.value.get("properties") else { continue };
            let at = node.at("");
            let from: Box<str> = node.path.to_string().into();
            let table = node.path.kind().info().properties;
            node::references(table, properties, at.trim_end_matches('.'), &mut |at, property, target| {
                let own = matches!(property.shape, crate::controller::resources::schema::Shape::OwnReference(_));
                if own && !lookup.is_own(&target) {
                    let message = format!("{target} belongs to another {}", root.kind().info().collection);
                    faults.push(Error::at(Code::InvalidResourceReference, at, message));
                    return;
                }
                let edge = Edge { target: target.key().into(), via: property.name, from: from.clone() };
                // What stood there before exists: nothing that is referred to can go.
                if !own && before.contains(&edge) {
                    return;
                }
                let seen = lookup.is_own(&target) || principal.sees(self.tenant(&target));
                if !seen || !lookup.contains(&target) {
                    let message = format!("there is no {target}");
                    faults.push(Error::at(Code::ReferencedResourceNotFound, at, message));
                }
            });
        }
    }

    fn check_claims(&self, lookup: &Lookup<'_>, root: &Path, claims: &[Claimed], principal: &Principal) -> Vec<Error> {
        let own = root.key();
        let is_own = |owner: &str| Path::parse(owner).is_ok_and(|owner| owner.tree().key() == own);
        let mut faults = Vec::new();
        let mut seen: BTreeMap<&Claim, &str> = BTreeMap::new();
        for claimed in claims {
            let inside = seen.insert(&claimed.claim, &claimed.owner);
            let others: Vec<&str> = match &claimed.claim {
                Claim::Vlan(vlan, subnet) => {
                    let mut others: Vec<&str> = rules::vlan_conflicts(self, lookup, *vlan, subnet);
                    others.extend(self.index.fabric_vlan(*vlan));
                    others.retain(|owner| !is_own(owner));
                    others
                }
                // Subnets of the fabric may share a VLAN with one another, not with a connection.
                Claim::FabricVlan(vlan, _) => self.index.vlan(*vlan).map(|(_, owner)| owner).collect(),
                claim => self.index.owner(claim).filter(|owner| !is_own(owner)).into_iter().collect(),
            };
            let Some(owner) = inside.or_else(|| others.first().copied()) else { continue };
            let owner = Path::parse(owner).map(|owner| self.name_users(&[owner], principal)).unwrap_or_default();
            let (code, message) = rules::claim_fault(&claimed.claim, &owner);
            faults.push(Error::at(code, claimed.at.clone(), message));
        }
        faults
    }

    /// What claims are taken.
    pub fn claims(&self) -> &index::Index {
        &self.index
    }
}

/// Puts a resource in its place.
fn place(tree: &mut Value, path: &Path, resource: Value) {
    if let Some(old) = node::find_mut(tree, path) {
        *old = resource;
        return;
    }
    let parent = path.parent().and_then(|parent| node::find_mut(tree, &parent));
    let Some(Value::Object(properties)) = parent.and_then(|parent| parent.get_mut("properties")) else { return };
    let siblings = properties.entry(path.kind().info().collection).or_insert_with(|| json!([]));
    if let Value::Array(siblings) = siblings {
        siblings.push(resource);
    }
}

/// A resource's ETag changes with it, and so do those of all above and below it; its siblings keep theirs.
fn stamp(tree: &mut Value, path: &Path, etag: &str) {
    mark(tree, path, etag);
    if let Some(resource) = node::find_mut(tree, path) {
        mark_below(resource, path.kind(), etag);
    }
}

fn mark(tree: &mut Value, path: &Path, etag: &str) {
    let mut above = Some(path.clone());
    while let Some(path) = above {
        if let Some(resource) = node::find_mut(tree, &path) {
            resource["etag"] = json!(etag);
        }
        above = path.parent();
    }
}

fn mark_below(resource: &mut Value, kind: crate::controller::resources::schema::Kind, etag: &str) {
    resource["etag"] = json!(etag);
    for child_kind in crate::controller::resources::schema::Kind::children_of(Some(kind)) {
        let children = resource.get_mut("properties").and_then(|object| object.get_mut(child_kind.info().collection));
        if let Some(Value::Array(children)) = children {
            for child in children {
                mark_below(child, child_kind, etag);
            }
        }
    }
}

/// A fault's place as the body that was sent has it; what stands outside of that body is told from its tree's root.
fn relative(mut fault: Error, place: &str, root: &Path) -> Error {
    if !place.is_empty()
        && let Some(target) = fault.target.take()
    {
        fault.target = Some(match target.strip_prefix(place).and_then(|rest| rest.strip_prefix('.')) {
            Some(rest) => rest.to_owned(),
            None => format!("{root}#{target}"),
        });
    }
    fault
}
