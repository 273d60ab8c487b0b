//! What a command is about, as people write it.
//!
//! `gateways`, `gateway GW1 GW2`, `gateways/GW1`, `virtualGateways/contoso/networkConnections`, `connection/contoso/hq`, `connection/hq`.

use super::client::BASE;
use super::error::Usage;
use super::kinds;
use crate::controller::model::Id;
use crate::controller::resources::{Collection, Kind, Path};

/// What a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One resource.
    Resource(Path),
    /// The resources of a kind: roots, or the children of one.
    Collection(Collection),
    /// An embedded kind's resources wherever they are, or those with this id.
    Anywhere(Kind, Option<Id>),
}

/// Reads all words of a command.
///
/// # Errors
/// One of them means nothing.
pub fn all(words: &[String]) -> Result<Vec<Target>, Usage> {
    match words {
        [kind, ids @ ..] if !kind.trim_matches('/').contains('/') && !ids.is_empty() && !ids[0].contains('/') => {
            ids.iter().map(|id| parse(&format!("{}/{id}", kind.trim_matches('/')))).collect()
        }
        words => words.iter().map(|word| parse(word)).collect(),
    }
}

/// Reads one word.
///
/// # Errors
/// It means nothing.
pub fn parse(word: &str) -> Result<Target, Usage> {
    let trimmed = word.trim().trim_matches('/');
    let mut segments: Vec<&str> = trimmed.split('/').collect();
    if segments.len() > 2 && segments[0].eq_ignore_ascii_case("networking") {
        segments.drain(..2);
    }
    let Some((name, rest)) = segments.split_first() else { return Err(unknown(word)) };
    let kind = kinds::named(name).ok_or_else(|| unknown(name))?;
    if kind.info().parent.is_some() {
        return embedded(word, kind, rest);
    }
    descend(word, None, kind, rest)
}

/// A root's kind, or a child's, and what comes after it.
fn descend(word: &str, parent: Option<Path>, kind: Kind, rest: &[&str]) -> Result<Target, Usage> {
    let id = match rest.first() {
        Some(id) => *id,
        // The only one is meant, whether it is named or not.
        None => match kind.info().singleton {
            Some(id) => id,
            None => return Ok(Target::Collection(Collection { parent, kind })),
        },
    };
    let id = kind.id(id).map_err(|error| Usage(error.to_string()))?;
    let path = match &parent {
        Some(parent) => parent.child(kind, id),
        None => Path::root(kind, id),
    };
    match rest.get(1..) {
        None | Some([]) => Ok(Target::Resource(path)),
        Some([name, rest @ ..]) => {
            let child = kinds::child(kind, name).ok_or_else(|| {
                let known: Vec<&str> = Kind::children_of(Some(kind)).map(|kind| kind.info().collection).collect();
                let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
                Usage(format!("{word:?}: there is no {name:?} in {}; there is {known}", kind.info().collection))
            })?;
            descend(word, Some(path), child, rest)
        }
    }
}

/// An embedded kind without its parents' kinds: their ids may be there.
fn embedded(word: &str, kind: Kind, ids: &[&str]) -> Result<Target, Usage> {
    let mut kinds = vec![kind];
    while let Some(parent) = kinds.last().and_then(|kind| kind.info().parent) {
        kinds.push(parent);
    }
    kinds.reverse();
    let id = |kind: Kind, id: &str| kind.id(id).map_err(|error| Usage(error.to_string()));
    match ids {
        [] => Ok(Target::Anywhere(kind, None)),
        [only] => Ok(Target::Anywhere(kind, Some(id(kind, only)?))),
        ids if ids.len() == kinds.len() => {
            let mut path: Option<Path> = None;
            for (kind, text) in kinds.iter().zip(ids) {
                let id = id(*kind, text)?;
                path = Some(match path {
                    Some(path) => path.child(*kind, id),
                    None => Path::root(*kind, id),
                });
            }
            path.map(Target::Resource).ok_or_else(|| unknown(word))
        }
        _ => {
            let above = vec!["ID"; kinds.len()];
            let singular = kinds::of(kind).map_or(word, |names| names.singular);
            Err(Usage(format!(
                "{word:?} has not the ids that it needs: write {singular}/ID or {singular}/{}",
                above.join("/")
            )))
        }
    }
}

fn unknown(word: &str) -> Usage {
    Usage(format!("there is no kind {word:?}; there is {}", kinds::known()))
}

/// One resource of a kind.
///
/// # Errors
/// It is something else.
pub fn root(word: &str, kind: Kind) -> Result<Path, Usage> {
    match parse(word) {
        Ok(Target::Resource(path)) if path.kind() == kind => Ok(path),
        // A bare id does where only one kind can be meant.
        Err(_) if !word.contains('/') => Ok(Path::root(kind, kind.id(word).map_err(|error| Usage(error.to_string()))?)),
        _ => {
            let singular = kinds::of(kind).map_or("resource", |names| names.singular);
            Err(Usage(format!("{word:?} is no {singular}: write {singular}/ID")))
        }
    }
}

/// The URL's path of a resource.
pub fn url(path: &Path) -> String {
    let mut text = BASE.to_owned();
    for (kind, id) in path.steps() {
        text.push('/');
        text.push_str(kind.info().collection);
        text.push('/');
        escape(id.as_str(), &mut text);
    }
    text
}

/// The URL's path of a collection.
pub fn collection_url(collection: &Collection) -> String {
    let above = collection.parent.as_ref().map_or_else(|| BASE.to_owned(), url);
    format!("{above}/{}", collection.kind.info().collection)
}

fn escape(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(word: &str) -> String {
        match parse(word) {
            Ok(Target::Resource(path)) => url(&path),
            Ok(Target::Collection(collection)) => collection_url(&collection),
            Ok(Target::Anywhere(kind, id)) => format!("*/{}/{id:?}", kind.info().collection),
            Err(Usage(message)) => message,
        }
    }

    #[test]
    fn targets_are_understood_as_people_write_them() {
        for (word, expected) in [
            ("gateways", "/networking/v1/gateways"),
            ("gw", "/networking/v1/gateways"),
            ("Gateway/GW1", "/networking/v1/gateways/GW1"),
            ("/networking/v1/gateways/GW1", "/networking/v1/gateways/GW1"),
            ("virtualGateways/VG1/networkConnections", "/networking/v1/virtualGateways/VG1/networkConnections"),
            ("tenant/contoso/connection/hq", "/networking/v1/virtualGateways/contoso/networkConnections/hq"),
            ("connection/contoso/hq", "/networking/v1/virtualGateways/contoso/networkConnections/hq"),
            ("peer/contoso/r1/p1", "/networking/v1/virtualGateways/contoso/bgpRouters/r1/bgpPeers/p1"),
            ("connections", "*/networkConnections/None"),
            ("loadBalancerManager", "/networking/v1/loadBalancerManager/config"),
            ("macPool/a b:1", "/networking/v1/macPools/a%20b%3A1"),
        ] {
            assert_eq!(shown(word), expected, "{word}");
        }
        let Ok(Target::Anywhere(Kind::NetworkConnection, Some(id))) = parse("connection/hq") else {
            panic!("not found")
        };
        assert_eq!(id, Id::from("hq"));
    }

    #[test]
    fn several_words_are_ids_of_a_kind_or_targets_of_their_own() {
        let words = |words: &[&str]| all(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&["gateways", "GW1", "GW2"]), words(&["gateways/GW1", "gw/GW2"]));
        assert_eq!(words(&["gateways"]).map(|targets| targets.len()), Ok(1));
        assert_eq!(words(&["gateways", "pools/p"]).map(|targets| targets.len()), Ok(2));
    }

    #[test]
    fn what_means_nothing_is_told_with_what_would() {
        assert!(shown("gizmos").contains("gatewayPools, gateways, virtualGateways"));
        assert!(shown("tenant/contoso/gizmos").contains("networkConnections, bgpRouters, policyMaps"));
        assert!(shown("gateways/a b").contains("cannot be an id"));
        assert!(shown("connection/a/b/c").contains("write networkConnection/ID or networkConnection/ID/ID"));
        assert!(root("pool/p", Kind::Gateway).is_err());
        assert_eq!(root("GW1", Kind::Gateway), Ok(Path::root(Kind::Gateway, "GW1".into())));
    }
}
