//! Reads resources out of files: JSON or YAML, one or many in a file, one or many files.

use super::error::Usage;
use super::kinds;
use super::target::{self, Target};
use crate::controller::resources::Path;
use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fs;
use std::io::Read;
use std::path::{Path as File, PathBuf};

/// Endings of files that are read out of a directory.
const ENDINGS: [&str; 3] = ["json", "yaml", "yml"];

/// A resource to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Where it is to be.
    pub path: Path,
    /// What is sent.
    pub body: Value,
    /// Where it was read.
    pub source: String,
}

/// Reads files and directories; `-` is standard input.
///
/// # Errors
/// One of them cannot be read, or holds something that is no resource.
pub fn read(files: &[PathBuf]) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    for file in files {
        if file.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read resources from standard input")?;
            documents.extend(parse(&text, "standard input")?);
        } else if file.is_dir() {
            for file in directory(file)? {
                documents.extend(read_file(&file)?);
            }
        } else {
            documents.extend(read_file(file)?);
        }
    }
    if documents.is_empty() {
        bail!("there is no resource in these files");
    }
    Ok(documents)
}

fn directory(path: &File) -> anyhow::Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read the directory {}", path.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(cannot)? {
        let file = entry.with_context(cannot)?.path();
        if file.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| ENDINGS.contains(&ending)) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &File) -> anyhow::Result<Vec<Document>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text, &path.display().to_string())
}

/// Reads a file's text.
///
/// # Errors
/// It is neither JSON nor YAML, or holds something that is no resource.
pub fn parse(text: &str, source: &str) -> anyhow::Result<Vec<Document>> {
    let values: Vec<Value> = if text.trim_start().starts_with(['{', '[']) {
        let json: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
        match json {
            Ok(values) => values,
            // YAML may begin so as well; if it is neither, the complaint is JSON's.
            Err(error) => yaml(text).map_err(|_| anyhow!("{source}: {error}"))?,
        }
    } else {
        yaml(text).map_err(|error| anyhow!("{source}: {error}"))?
    };
    let mut documents = Vec::new();
    for value in values {
        expand(value, source, &mut documents)?;
    }
    Ok(documents)
}

fn yaml(text: &str) -> Result<Vec<Value>, serde_norway::Error> {
    serde_norway::Deserializer::from_str(text).map(Value::deserialize).collect()
}

/// A value may be a resource, a list of them, or what `get` printed.
fn expand(value: Value, source: &str, into: &mut Vec<Document>) -> anyhow::Result<()> {
    match value {
        Value::Null => {}
        Value::Array(values) => {
            for value in values {
                expand(value, source, into)?;
            }
        }
        Value::Object(mut object) => {
            let list = ["items", "value"].into_iter().find(|name| object.get(*name).is_some_and(Value::is_array));
            match list.and_then(|name| object.remove(name)) {
                Some(list) => expand(list, source, into)?,
                None => {
                    let number = into.len() + 1;
                    let document =
                        document(object, source).map_err(|error| anyhow!("{source}, resource {number}: {error:#}"))?;
                    into.push(document);
                }
            }
        }
        other => bail!("{source}: {other} is no resource"),
    }
    Ok(())
}

fn document(mut body: Map<String, Value>, source: &str) -> anyhow::Result<Document> {
    // What is ours alone, and what would make the controller insist on a state that the file's writer saw.
    let kind = take(&mut body, "kind")?;
    take(&mut body, "apiVersion")?;
    let parent = take(&mut body, "parent")?;
    for name in ["etag", "instanceId"] {
        take(&mut body, name)?;
    }
    let path = if let Some(reference) = find(&body, "resourceRef") {
        Path::parse(reference).with_context(|| format!("resourceRef {reference:?}"))?
    } else {
        let (Some(kind), Some(id)) = (kind, find(&body, "resourceId")) else {
            bail!(
                "it does not say what it is: give `resourceRef: /gateways/GW1`, or `kind: gateway` and `resourceId: GW1`"
            );
        };
        let named =
            kinds::named(&kind).ok_or_else(|| anyhow!("there is no kind {kind:?}; there is {}", kinds::known()))?;
        let place = match (&parent, named.info().parent) {
            (None, None) => format!("{}/{id}", named.info().collection),
            (Some(parent), Some(_)) => format!("{}/{}/{id}", parent.trim_matches('/'), named.info().collection),
            (None, Some(above)) => bail!(
                "a {kind} stands in another resource: give `parent: {}/ID`, or its `resourceRef`",
                above.info().collection
            ),
            (Some(_), None) => bail!("a {kind} stands in no other resource: leave out `parent`"),
        };
        match target::parse(&place) {
            Ok(Target::Resource(path)) if path.kind() == named => path,
            Ok(_) => bail!("{place:?} is no {kind}"),
            Err(Usage(message)) => bail!(message),
        }
    };
    if find(&body, "properties").is_none() && !body.keys().any(|name| name.eq_ignore_ascii_case("properties")) {
        bail!("{path} has no `properties`");
    }
    Ok(Document { path, body: Value::Object(body), source: source.to_owned() })
}

/// A member's name as it was written.
fn written<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a String> {
    body.keys().find(|key| key.eq_ignore_ascii_case(name))
}

fn find<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    body.get(written(body, name)?)?.as_str()
}

fn take(body: &mut Map<String, Value>, name: &str) -> anyhow::Result<Option<String>> {
    let Some(key) = written(body, name).cloned() else { return Ok(None) };
    match body.remove(&key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => bail!("`{name}` is a text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        parse(text, "file").expect("good").iter().map(|document| document.path.to_string()).collect()
    }

    fn complaint(text: &str) -> String {
        format!("{:#}", parse(text, "file").expect_err("bad"))
    }

    #[test]
    fn resources_are_read_in_every_form() {
        let many = "
kind: gatewayPool
resourceId: p
properties: {type: s2sGre}
---
resourceRef: /networking/v1/gateways/GW1
etag: W/\"1\"
properties:
  pool: {resourceRef: /gatewayPools/p}
---
---
kind: connection
parent: tenant/contoso
resourceId: hq
properties: {}
";
        assert_eq!(paths(many), ["/gatewayPools/p", "/gateways/GW1", "/virtualGateways/contoso/networkConnections/hq"]);
        let gateway = r#"{"ResourceRef": "/gateways/GW1", "properties": {}}"#;
        for text in [
            gateway.to_owned(),
            format!("[{gateway}]"),
            format!("{gateway}\n{gateway}").replace("\n", "\t\n"),
            format!(r#"{{"items": [{gateway}]}}"#),
            format!(r#"{{"value": [{gateway}], "nextLink": ""}}"#),
            "{resourceRef: /gateways/GW1, properties: {}}".to_owned(),
        ] {
            assert!(paths(&text).iter().all(|path| path == "/gateways/GW1"), "{text}");
        }
    }

    #[test]
    fn what_is_for_us_alone_is_not_sent() {
        let text =
            r#"{"kind": "gateway", "apiVersion": "v1", "resourceId": "GW1", "etag": "W/\"1\"", "properties": {}}"#;
        let documents = parse(text, "file").expect("good");
        assert_eq!(documents[0].body, serde_json::json!({ "resourceId": "GW1", "properties": {} }));
    }

    #[test]
    fn what_is_no_resource_is_told_with_its_place() {
        assert!(complaint("{\"a\": 1").starts_with("file: "));
        assert!(complaint("- 5").contains("file: 5 is no resource"));
        assert!(complaint("properties: {}").contains("file, resource 1: it does not say what it is"));
        assert!(complaint("{kind: gizmo, resourceId: a, properties: {}}").contains("there is no kind"));
        assert!(complaint("{kind: connection, resourceId: a, properties: {}}").contains("parent: virtualGateways/ID"));
        assert!(complaint("{resourceRef: /gateways, properties: {}}").contains("resourceRef"));
        assert!(complaint("{kind: gateway, resourceId: a}").contains("has no `properties`"));
        assert!(complaint("a: [").starts_with("file: "));
    }
}
