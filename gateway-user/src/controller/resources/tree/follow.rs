//! Taking a tree that another controller wrote.

use super::index::{self, Claim};
use super::node::{self, Lookup};
use super::{Change, Corrupt, Forest, Outcome};
use crate::controller::resources::path::Path;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Forest {
    /// Takes what stands under a key of the store: a tree that came, changed or went. It was checked by whoever wrote it. Gives its root.
    ///
    /// # Errors
    /// A key or text that no version of this program wrote.
    pub fn replace(&mut self, key: &str, text: Option<&Arc<str>>) -> Result<Path, Corrupt> {
        let corrupt = |what: String| Corrupt { key: key.to_owned(), what };
        let path = Path::from_store_key(key).map_err(|error| corrupt(error.to_string()))?;
        let old = self.text(&path).cloned();
        let parse = |text: &Arc<str>| serde_json::from_str::<Value>(text).map_err(|error| corrupt(error.to_string()));
        let (before, after) = (old.as_ref().map(parse).transpose()?, text.map(parse).transpose()?);
        let id = after.as_ref().or(before.as_ref()).and_then(node::id).unwrap_or_default();
        let root = Path::root(path.kind(), id.into());
        let nothing = json!({});
        let claims = |tree: &Option<Value>| -> BTreeMap<Claim, Box<str>> {
            let Some(tree) = tree.as_ref().filter(|_| index::has_claims(root.kind())) else { return BTreeMap::new() };
            let lookup = Lookup::new(self, &root, tree);
            index::claims(&lookup, &root, tree).into_iter().map(|claimed| (claimed.claim, claimed.owner)).collect()
        };
        let edges = |tree: &Option<Value>| tree.as_ref().map(|tree| index::edges(&root, tree)).unwrap_or_default();
        let (claims_gone, claims_come) = (claims(&before), claims(&after));
        let (edges_gone, edges_come): (BTreeSet<_>, BTreeSet<_>) = (edges(&before), edges(&after));
        let change = Change {
            path: root.clone(),
            root: root.clone(),
            outcome: if text.is_some() { Outcome::Replaced } else { Outcome::Deleted },
            old,
            new: text.cloned(),
            etag: node::etag(after.as_ref().unwrap_or(&nothing)).to_owned(),
            tenant: after.as_ref().and_then(node::tenant).map(Arc::from),
            edges_gone: edges_gone.into_iter().collect(),
            edges_come: edges_come.into_iter().collect(),
            claims_gone: claims_gone.into_keys().collect(),
            claims_come: claims_come.into_iter().collect(),
        };
        self.apply(&change);
        Ok(root)
    }
}
