//! All resources, as trees: a root with its embedded children is the unit of a write.
//!
//! A tree is kept as its canonical JSON text and parsed when it is asked for: 300,000 of them fit where their objects would not. What a write
//! has to know of other trees stands in two small indexes ([`index`]): who refers to whom, and who has what only one may have.
//!
//! | to change | go to |
//! |---|---|
//! | what a PUT or DELETE does to a tree | [`write`] |
//! | what becomes of a body when its resource exists already | [`merge`] |
//! | `If-Match`, `If-None-Match` | [`conditions`] |
//! | what an answer shows | [`answer`] |
//! | what an instance id belongs to | [`instances`] |

pub mod answer;
pub mod conditions;
mod follow;
pub mod index;
pub mod instances;
pub mod merge;
pub mod node;
pub mod write;

pub use answer::{Observed, View};
pub use conditions::Conditions;
pub use write::{Change, Outcome, Put};

use super::error::{Code, Error};
use super::path::{Collection, Path, STORE_PREFIX};
use super::roles::Principal;
use super::schema::Kind;
use crate::controller::model::Id;
use crate::controller::parallel;
use index::{Claim, Edge, Index};
use node::Lookup;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All resources.
#[derive(Debug, Default)]
pub struct Forest {
    trees: BTreeMap<Box<str>, Tree>,
    index: Index,
}

/// One tree.
#[derive(Clone, Debug)]
struct Tree {
    /// Its root's id, as it was written first.
    id: Id,
    /// Its canonical text.
    text: Arc<str>,
    /// Whose it is.
    tenant: Option<Arc<str>>,
}

/// A tree with what the indexes have of it.
struct Read {
    key: Box<str>,
    tree: Tree,
    edges: Vec<Edge>,
    claims: Vec<(Claim, Box<str>)>,
}

/// Randomness of one request, out of which its GUIDs are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(pub u128);

impl Stamp {
    /// The `number`th GUID (RFC 9562, version 4) of this request; no two are alike.
    pub fn guid(self, number: u64) -> String {
        // splitmix64's finisher: a bijection, so that numbers that differ stay different.
        let mix = |mut word: u64| {
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        };
        let high = mix((self.0 >> 64) as u64);
        let low = mix((self.0 as u64).wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let high = high & !0xf000 | 0x4000;
        let low = low & !(0b11 << 62) | 0b10 << 62;
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}

/// A stored tree that is none: the store was written by something else, or damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store's `{key}` holds no resource: {what}")]
pub struct Corrupt {
    /// The key.
    pub key: String,
    /// What is wrong.
    pub what: String,
}

impl Forest {
    /// Takes what the store holds.
    ///
    /// # Errors
    /// A key or text that no version of this program wrote.
    pub fn load<'a>(trees: impl IntoIterator<Item = (&'a str, &'a Arc<str>)>) -> Result<Self, Corrupt> {
        let mut forest = Self::default();
        // What a connection claims depends on its logical subnet's VLAN, so these come first.
        let first = format!("{STORE_PREFIX}{}", prefix(Kind::LogicalNetwork));
        let (networks, others): (Vec<_>, Vec<_>) = trees.into_iter().partition(|(key, _)| key.starts_with(&first));
        for part in [networks, others] {
            let read = parallel::map(&part, |(key, text)| forest.read(key, text));
            let (mut trees, mut edges, mut claims) = (Vec::with_capacity(read.len()), Vec::new(), Vec::new());
            for read in read {
                let Read { key, tree, edges: of_tree, claims: its_own } = read?;
                trees.push((key, tree));
                edges.extend(of_tree);
                claims.extend(its_own);
            }
            // Many at once are put in order once.
            forest.trees.append(&mut trees.into_iter().collect());
            forest.index.add(edges, claims);
        }
        Ok(forest)
    }

    /// Reads what stands under a key of the store.
    fn read(&self, key: &str, text: &Arc<str>) -> Result<Read, Corrupt> {
        let corrupt = |what: String| Corrupt { key: key.to_owned(), what };
        let path = Path::from_store_key(key).map_err(|error| corrupt(error.to_string()))?;
        let value: Value = serde_json::from_str(text).map_err(|error| corrupt(error.to_string()))?;
        let id = node::id(&value).filter(|id| id.eq_ignore_ascii_case(path.id().as_str()));
        let id = Id::from(id.ok_or_else(|| corrupt("its resourceId differs from its key".to_owned()))?);
        let root = Path::root(path.kind(), id.clone());
        let claims = if index::has_claims(root.kind()) {
            index::claims(&Lookup::new(self, &root, &value), &root, &value)
        } else {
            Vec::new()
        };
        Ok(Read {
            key: root.key().into(),
            edges: index::edges(&root, &value).into_iter().collect(),
            claims: claims.into_iter().map(|claimed| (claimed.claim, claimed.owner)).collect(),
            tree: Tree { id, text: text.clone(), tenant: node::tenant(&value).map(Arc::from) },
        })
    }

    /// How many trees there are.
    pub fn len(&self) -> usize {
        self.trees.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// A tree's canonical text.
    pub fn text(&self, root: &Path) -> Option<&Arc<str>> {
        self.trees.get(root.tree().key().as_str()).map(|tree| &tree.text)
    }

    /// All trees of a kind: id and canonical text, by id.
    pub fn trees(&self, kind: Kind) -> impl Iterator<Item = (&Id, &Arc<str>)> {
        self.of_kind(kind).map(|tree| (&tree.id, &tree.text))
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Tree> {
        let prefix = prefix(kind);
        let from: Box<str> = prefix.as_str().into();
        self.trees.range(from..).take_while(move |(key, _)| key.starts_with(&prefix)).map(|(_, tree)| tree)
    }

    /// Whose a tree is: `resourceMetadata.tenantId` of its root.
    pub fn tenant(&self, path: &Path) -> Option<&str> {
        self.trees.get(path.tree().key().as_str()).and_then(|tree| tree.tenant.as_deref())
    }

    /// Who refers to a resource, by which property.
    pub fn referrers<'a>(&'a self, path: &Path) -> impl Iterator<Item = (Path, &'static str)> + use<'a> {
        self.index.referrers(&path.key()).filter_map(|(from, via)| Some((Path::parse(from).ok()?, via)))
    }

    /// Whether there is such a resource.
    pub fn contains(&self, path: &Path) -> bool {
        self.node(path).is_some()
    }

    /// A resource as it is stored: canonical, with its children.
    pub fn node(&self, path: &Path) -> Option<Value> {
        let tree = self.trees.get(path.tree().key().as_str())?;
        let mut value: Value = serde_json::from_str(&tree.text).ok()?;
        node::find_mut(&mut value, path).map(Value::take)
    }

    /// Where a resource is, with the ids spelled as they were first.
    pub fn spelled(&self, path: &Path) -> Option<Path> {
        let tree = self.trees.get(path.tree().key().as_str())?;
        if path.depth() == 0 {
            return Some(Path::root(path.kind(), tree.id.clone()));
        }
        let value: Value = serde_json::from_str(&tree.text).ok()?;
        node::spelled(&value, path)
    }

    /// What `GET` of a resource answers, and its ETag.
    ///
    /// # Errors
    /// It does not exist, or is not the caller's to see.
    pub fn get(&self, path: &Path, view: &View<'_>) -> Result<(Value, String), Error> {
        let tree =
            self.trees.get(path.tree().key().as_str()).filter(|tree| view.principal.sees(tree.tenant.as_deref()));
        let not_found = || Error::at(Code::ResourceNotFound, path.to_string(), format!("there is no {path}"));
        let tree: Value = serde_json::from_str(&tree.ok_or_else(not_found)?.text).map_err(internal)?;
        let value = node::find(&tree, path).ok_or_else(not_found)?;
        let spelled = node::spelled(&tree, path).ok_or_else(not_found)?;
        Ok((self.present(&spelled, value, view), conditions::written(node::etag(value))))
    }

    /// What `GET` of a collection answers, resource by resource.
    ///
    /// # Errors
    /// The resource that it is part of does not exist.
    pub fn list<'a>(
        &'a self,
        collection: &Collection,
        view: &'a View<'_>,
    ) -> Result<Box<dyn Iterator<Item = Value> + 'a>, Error> {
        let kind = collection.kind;
        let Some(parent) = &collection.parent else {
            let seen = self.of_kind(kind).filter(|tree| view.principal.sees(tree.tenant.as_deref()));
            return Ok(Box::new(seen.filter_map(move |tree| {
                let value: Value = serde_json::from_str(&tree.text).ok()?;
                Some(self.present(&Path::root(kind, tree.id.clone()), &value, view))
            })));
        };
        let (mut parent, _) = self.get(parent, view)?;
        let children = parent["properties"][kind.info().collection].take();
        let Value::Array(children) = children else { return Ok(Box::new(std::iter::empty())) };
        Ok(Box::new(children.into_iter()))
    }

    /// The answer to `GET` of a collection as one value.
    ///
    /// # Errors
    /// As [`Forest::list`].
    pub fn list_all(&self, collection: &Collection, view: &View<'_>) -> Result<Value, Error> {
        let value: Vec<Value> = self.list(collection, view)?.collect();
        Ok(json!({ "value": value, "nextLink": "" }))
    }

    /// Makes a change part of the forest. It has to be one of this forest as it is.
    pub fn apply(&mut self, change: &Change) {
        self.index.apply(change);
        let key = change.root.key();
        match &change.new {
            Some(text) => {
                let tree = Tree { id: change.root.id().clone(), text: text.clone(), tenant: change.tenant.clone() };
                self.trees.insert(key.into(), tree);
            }
            None => {
                self.trees.remove(key.as_str());
            }
        }
    }

    /// Whether a change was made of the forest as it is.
    pub fn is_current(&self, change: &Change) -> bool {
        let now = self.trees.get(change.root.key().as_str()).map(|tree| &tree.text);
        now == change.old.as_ref()
    }

    /// Users of a resource in words that `principal` may read.
    pub(super) fn name_users(&self, users: &[Path], principal: &Principal) -> String {
        const SHOWN: usize = 5;
        let seen: Vec<&Path> = users.iter().filter(|user| principal.sees(self.tenant(user))).collect();
        let mut words: Vec<String> = seen.iter().take(SHOWN).map(ToString::to_string).collect();
        match (seen.len().saturating_sub(SHOWN), users.len() - seen.len()) {
            (0, 0) => {}
            (more, 0) => words.push(format!("{more} more")),
            (0, _) => words.push("another tenant's resource".to_owned()),
            (more, _) => words.push(format!("{more} more, and another tenant's resource")),
        }
        words.join(", ")
    }
}

/// What the keys of a kind's trees begin with.
fn prefix(kind: Kind) -> String {
    format!("{}/", kind.info().collection.to_ascii_lowercase())
}

fn internal(error: serde_json::Error) -> Error {
    Error {
        inner_error: Some(error.to_string()),
        ..Error::new(Code::InternalError, "a stored resource cannot be read")
    }
}
