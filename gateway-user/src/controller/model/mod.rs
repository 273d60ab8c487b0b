//! Typed views of the resources: what the controller itself reads of their JSON.
//!
//! The JSON is canonical by then (see [`resources`](super::resources)): names as in the schema, values in range, references resolved. So these
//! types name only the properties that the controller acts upon, and are parsed from a tree's text when they are needed.
//!
//! | to change | go to |
//! |---|---|
//! | ids and references | this file |
//! | what operators describe: networks, servers, pools, gateways | [`fabric`] |
//! | what tenants describe: virtual networks, interfaces, virtual gateways | [`tenant`] |
//! | tenants' BGP | [`bgp`] |
//! | what the controller keeps beside the resources: placements, allocations, agents | [`records`] |

pub mod bgp;
pub mod fabric;
pub mod records;
pub mod tenant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A resource's id: compared without regard to case, shown as it was written first.
///
/// Ids are ASCII, which the schema sees to.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Id(Arc<str>);

impl Id {
    /// The id as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which ids are compared, and stand in the store's keys.
    pub fn lower(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Id {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Id {}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Id {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let (ours, theirs) = (self.0.as_bytes(), other.0.as_bytes());
        // Ids mostly begin alike, in the same spelling too.
        let alike = ours.iter().zip(theirs).take_while(|(our, their)| our == their).count();
        let (ours, theirs) = (ours[alike..].iter(), theirs[alike..].iter());
        ours.map(u8::to_ascii_lowercase).cmp(theirs.map(u8::to_ascii_lowercase))
    }
}

impl std::hash::Hash for Id {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // Hashers are slow with single bytes.
        let mut lower = [0; 32];
        for part in self.0.as_bytes().chunks(lower.len()) {
            let lower = &mut lower[..part.len()];
            lower.copy_from_slice(part);
            lower.make_ascii_lowercase();
            state.write(lower);
        }
        state.write_u8(0xff);
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A reference to another resource: `{"resourceRef": "/logicalNetworks/A/subnets/B"}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// The path, canonical in its spelling.
    #[serde(rename = "resourceRef")]
    pub path: Box<str>,
}

impl Reference {
    /// The ids along the path: the root's, then its child's, and so on.
    pub fn ids(&self) -> impl Iterator<Item = Id> + '_ {
        self.path.split('/').filter(|segment| !segment.is_empty()).skip(1).step_by(2).map(Id::from)
    }

    /// The id of the tree.
    pub fn root(&self) -> Id {
        self.ids().next().unwrap_or_else(|| Id::from(""))
    }

    /// The id at the path's end.
    pub fn last(&self) -> Id {
        self.ids().last().unwrap_or_else(|| Id::from(""))
    }
}

/// A resource, as every JSON body has it, with the properties of its kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource<P> {
    /// The client's choice, immutable.
    pub resource_id: Id,
    /// What the kind has.
    pub properties: P,
}

/// Reads a tree's canonical text.
///
/// # Errors
/// The text is not what the schema lets through: the store holds something else.
pub fn parse<P: DeserializeOwned>(text: &str) -> Result<Resource<P>, serde_json::Error> {
    serde_json::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_differ_by_more_than_case() {
        let ids: HashSet<Id> = ["GW1", "gw1", "Gw2"].map(Id::from).into();
        assert_eq!(ids.len(), 2);
        assert!(Id::from("abc") < Id::from("ABD"));
        assert_eq!(Id::from("CloudGw1").to_string(), "CloudGw1");
    }

    #[test]
    fn a_reference_tells_the_ids_along_its_path() {
        let reference: Reference =
            serde_json::from_str(r#"{"resourceRef":"/logicalNetworks/A/subnets/B"}"#).expect("a reference");
        assert_eq!((reference.root(), reference.last()), (Id::from("a"), Id::from("b")));
    }
}
