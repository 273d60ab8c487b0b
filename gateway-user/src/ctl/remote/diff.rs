//! `gatewayctl diff -f`: what `apply` would change.

use super::client::Client;
use super::documents::Document;
use super::error::is_not_found;
use super::{fetch, order};
use crate::controller::resources::schema::{Access, Property, Shape};
use crate::controller::resources::{Kind, Seal, normalise};
use crate::ctl::args::Format;
use crate::ctl::output::Output;
use crate::ctl::table::clean;
use crate::ctl::{FAILED, OK};
use anyhow::anyhow;
use serde::Serialize;
use serde_json::{Map, Value};

/// What the controller draws if it is left out, and keeps.
const DRAWN: [&str; 4] = ["encapsulation", "ipAddress", "privateIPAddress", "privateMacAddress"];

/// A resource, and how it would change.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed {
    resource_ref: String,
    change: Change,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<Difference>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Change {
    Create,
    Configure,
    None,
}

/// A property that would be another one.
#[derive(Debug, PartialEq, Serialize)]
struct Difference {
    property: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Value>,
}

/// Secrets are not compared, and shown to nobody.
struct Hidden;

impl Seal for Hidden {
    fn seal(&self, _: &str, _: &str) -> String {
        String::new()
    }
}

/// Compares documents with what is there.
pub async fn run(client: &mut Client, documents: &[Document], output: &mut Output) -> anyhow::Result<u8> {
    let mut all = Vec::new();
    for document in order::creation(documents.to_vec()) {
        let kind = document.path.kind();
        let wanted = canonical(kind, &document.body).map_err(|error| error.context(document.source.clone()))?;
        let changed = match fetch::one(client, &document.path).await {
            Ok(item) => {
                let differences = compare(kind, &canonical(kind, &item.value)?, &wanted);
                let change = if differences.is_empty() { Change::None } else { Change::Configure };
                Changed { resource_ref: document.path.to_string(), change, differences }
            }
            Err(error) if is_not_found(&error) => {
                let differences = compare(kind, &Map::new(), &wanted);
                Changed { resource_ref: document.path.to_string(), change: Change::Create, differences }
            }
            Err(error) => return Err(error),
        };
        all.push(changed);
    }
    match output.format() {
        Format::Json => output.document(&all)?,
        Format::Table => {
            for changed in &all {
                output.text(&text(changed))?;
            }
        }
    }
    Ok(if all.iter().all(|changed| changed.change == Change::None) { OK } else { FAILED })
}

fn canonical(kind: Kind, body: &Value) -> anyhow::Result<Map<String, Value>> {
    normalise(kind, body, "", &Hidden).map_err(|error| {
        let details: Vec<String> = error.details.iter().map(ToString::to_string).collect();
        let all = if details.is_empty() { error.to_string() } else { details.join("; ") };
        anyhow!("{}", clean(all))
    })
}

fn text(changed: &Changed) -> String {
    let word = match changed.change {
        Change::None => return String::new(),
        Change::Create => " (new)",
        Change::Configure => "",
    };
    let mut text = format!("{}{word}\n", changed.resource_ref);
    for Difference { property, from, to } in &changed.differences {
        let line = match (from, to) {
            (None, Some(to)) => format!("+ {property}: {to}"),
            (Some(from), None) => format!("- {property}: {from}"),
            (Some(from), Some(to)) => format!("~ {property}: {from} -> {to}"),
            (None, None) => continue,
        };
        text.push_str(&format!("  {}\n", clean(line)));
    }
    text
}

/// How a canonical resource differs from another, as PUT sees it: what it keeps is no difference.
fn compare(kind: Kind, old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<Difference> {
    let mut differences = Vec::new();
    resource(kind, old, new, "", &mut differences);
    differences
}

fn within(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

fn resource(kind: Kind, old: &Map<String, Value>, new: &Map<String, Value>, at: &str, into: &mut Vec<Difference>) {
    for name in ["tags", "resourceMetadata"] {
        if let Some(to) = new.get(name)
            && old.get(name) != Some(to)
        {
            into.push(Difference { property: within(at, name), from: old.get(name).cloned(), to: Some(to.clone()) });
        }
    }
    let none = Map::new();
    let (old, new) = (properties(old).unwrap_or(&none), properties(new).unwrap_or(&none));
    object(kind.info().properties, old, new, &within(at, "properties"), into);
}

fn properties(resource: &Map<String, Value>) -> Option<&Map<String, Value>> {
    resource.get("properties").and_then(Value::as_object)
}

fn object(
    table: &'static [Property],
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    at: &str,
    into: &mut Vec<Difference>,
) {
    for property in table.iter().filter(|property| !matches!(property.access, Access::Secret | Access::ReadOnly)) {
        let at = within(at, property.name);
        match (property.shape, old.get(property.name), new.get(property.name)) {
            (Shape::Object(table), Some(Value::Object(old)), Some(Value::Object(new))) => {
                object(table, old, new, &at, into);
            }
            // A new object may hold secrets: it is gone through as well.
            (Shape::Object(table), None, Some(Value::Object(new))) => object(table, &Map::new(), new, &at, into),
            (Shape::Children(kind), old, Some(Value::Array(new))) => {
                let old = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                children(kind, old, new, &at, into);
            }
            (_, Some(_), None) if is_kept(property) => {}
            (_, old, new) if old == new => {}
            (_, old, new) => into.push(Difference { property: at, from: old.cloned(), to: new.cloned() }),
        }
    }
}

/// Whether PUT keeps it where it is left out.
fn is_kept(property: &Property) -> bool {
    property.immutable
        || property.operators
        || matches!(property.shape, Shape::Children(_))
        || DRAWN.contains(&property.name)
}

fn children(kind: Kind, old: &[Value], new: &[Value], at: &str, into: &mut Vec<Difference>) {
    let id = |value: &Value| value.get("resourceId").and_then(Value::as_str).unwrap_or_default().to_owned();
    let same = |one: &Value, other: &Value| id(one).eq_ignore_ascii_case(&id(other));
    for child in new {
        let at = format!("{at}/{}", id(child));
        match (old.iter().find(|known| same(known, child)), child) {
            (Some(Value::Object(old)), Value::Object(new)) => resource(kind, old, new, &at, into),
            (_, Value::Object(new)) => resource(kind, &Map::new(), new, &at, into),
            _ => {}
        }
    }
    for gone in old.iter().filter(|known| !new.iter().any(|child| same(known, child))) {
        into.push(Difference { property: format!("{at}/{}", id(gone)), from: Some(gone.clone()), to: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn differences(kind: Kind, old: &Value, new: &Value) -> Vec<String> {
        let canonical = |value| canonical(kind, value).expect("good");
        let changed = Changed {
            resource_ref: "x".to_owned(),
            change: Change::Configure,
            differences: compare(kind, &canonical(old), &canonical(new)),
        };
        text(&changed).lines().skip(1).map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn what_put_keeps_or_reads_alike_is_no_difference() {
        let old = json!({
            "resourceRef": "/virtualGateways/t", "etag": "W/\"1\"", "tags": { "a": "b" },
            "properties": {
                "provisioningState": "Succeeded",
                "gatewaySubnets": [{ "resourceRef": "/virtualNetworks/v/subnets/g" }],
                "networkConnections": [{ "resourceId": "hq", "properties": {
                    "connectionType": "GRE", "outboundKiloBitsPerSecond": 100, "inboundKiloBitsPerSecond": 100,
                    "greConfiguration": { "greKey": "12" }, "connectionState": "Connected" } }],
            },
        });
        let same = json!({ "properties": {
            "GatewaySubnets": { "resourceRef": "/virtualNetworks/v/subnets/g" },
        } });
        assert_eq!(differences(Kind::VirtualGateway, &old, &same), [""; 0]);
        let also = json!({ "properties": {
            "gatewaySubnets": [{ "resourceRef": "/virtualNetworks/v/subnets/g" }],
            "networkConnections": [{ "resourceId": "HQ", "properties": {
                "connectionType": "gre", "outboundKiloBitsPerSecond": "100", "inboundKiloBitsPerSecond": 100,
                "greConfiguration": { "greKey": 12 } } }],
        } });
        assert_eq!(differences(Kind::VirtualGateway, &old, &also), [""; 0]);
    }

    #[test]
    fn each_difference_is_told_with_its_place() {
        let old = json!({ "properties": { "pool": { "resourceRef": "/gatewayPools/a" }, "scheduling": "Cordoned" } });
        let new = json!({ "properties": {
            "pool": { "resourceRef": "/gatewayPools/b" }, "failureDomain": { "rack": "r1" } } });
        assert_eq!(
            differences(Kind::Gateway, &old, &new),
            [
                "~ properties.pool: {\"resourceRef\":\"/gatewayPools/a\"} -> {\"resourceRef\":\"/gatewayPools/b\"}",
                "+ properties.failureDomain.rack: \"r1\"",
                "- properties.scheduling: \"Cordoned\"",
            ]
        );
    }

    #[test]
    fn secrets_are_neither_compared_nor_shown() {
        let with =
            |secret: &str| json!({ "properties": { "type": "usernamePassword", "userName": "u", "value": secret } });
        assert_eq!(differences(Kind::Credential, &with(""), &with("hunter2")), [""; 0]);
        let created = differences(Kind::Credential, &json!({ "properties": {} }), &with("hunter2")).join("\n");
        assert!(created.contains("usernamePassword") && !created.contains("hunter2"), "{created}");
    }
}
