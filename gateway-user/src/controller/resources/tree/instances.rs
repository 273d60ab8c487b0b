//! The way back from an instance id to its resource: the collection `internalResourceInstances`.

use super::node::walk;
use super::{Forest, Tree, internal};
use crate::controller::model::Id;
use crate::controller::resources::error::{Code, Error};
use crate::controller::resources::path::Path;
use crate::controller::resources::roles::Principal;
use crate::controller::resources::schema::Kind;
use serde_json::{Value, json};

impl Forest {
    /// What `GET` of one instance id answers.
    ///
    /// # Errors
    /// It is the id of nothing, or of nothing that the caller may see.
    pub fn instance(&self, id: &Id, principal: &Principal) -> Result<Value, Error> {
        let wanted = id.as_str().to_ascii_lowercase();
        // The texts are searched, and only the one that has it is parsed.
        for (kind, tree) in self.seen(principal).filter(|(_, tree)| tree.text.contains(&wanted)) {
            if let Some(found) = instances(kind, tree)?.into_iter().find(|found| found["instanceId"] == wanted) {
                return Ok(found);
            }
        }
        let at = format!("/internalResourceInstances/{id}");
        Err(Error::at(Code::ResourceNotFound, at.clone(), format!("there is no {at}")))
    }

    /// What `GET` of the collection answers: each resource that the caller may see.
    ///
    /// # Errors
    /// A stored resource cannot be read.
    pub fn instances(&self, principal: &Principal) -> Result<Value, Error> {
        let mut all = Vec::new();
        for (kind, tree) in self.seen(principal) {
            all.extend(instances(kind, tree)?);
        }
        Ok(json!({ "value": all, "nextLink": "" }))
    }

    fn seen(&self, principal: &Principal) -> impl Iterator<Item = (Kind, &Tree)> {
        let roots = Kind::children_of(None).flat_map(|kind| self.of_kind(kind).map(move |tree| (kind, tree)));
        roots.filter(|(_, tree)| principal.sees(tree.tenant.as_deref()))
    }
}

/// The instance ids of a tree, each with its resource.
fn instances(kind: Kind, tree: &Tree) -> Result<Vec<Value>, Error> {
    let value: Value = serde_json::from_str(&tree.text).map_err(internal)?;
    let root = Path::root(kind, tree.id.clone());
    let told = |path: &Path, id: &str| {
        json!({
            "resourceRef": format!("/internalResourceInstances/{id}"),
            "resourceId": id,
            "instanceId": id,
            "properties": { "resourceRef": path.to_string(), "provisioningState": "Succeeded" },
        })
    };
    let nodes = walk(&root, &value);
    Ok(nodes.iter().filter_map(|node| Some(told(&node.path, node.value.get("instanceId")?.as_str()?))).collect())
}
