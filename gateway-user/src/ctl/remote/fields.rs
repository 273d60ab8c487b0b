//! Reads what a table shows out of a resource.

use super::fetch::Item;
use crate::controller::resources::Path;
use serde_json::Value;

/// What stands in for nothing.
pub const NOTHING: &str = "-";

/// A property, by its path within `properties`: `ipConfiguration.greVipSubnets`.
pub fn property<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(&value["properties"], |value, name| &value[name])
}

/// A value in a cell.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::String(text) if text.is_empty() => NOTHING.to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => NOTHING.to_owned(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Object(object) => match object.get("resourceRef").and_then(Value::as_str) {
            Some(reference) => last(reference),
            None => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// The id at a reference's end.
pub fn last(reference: &str) -> String {
    Path::parse(reference).map_or_else(|_| reference.to_owned(), |path| path.id().to_string())
}

/// A property in a cell.
pub fn shown(item: &Item, path: &str) -> String {
    text(property(&item.value, path))
}

/// How many a property holds.
pub fn count(item: &Item, path: &str) -> String {
    property(&item.value, path).as_array().map_or(0, Vec::len).to_string()
}

/// An amount of kbit/s in a cell.
pub fn rate(item: &Item, path: &str) -> String {
    kbps(property(&item.value, path))
}

/// kbit/s as people read them.
pub fn kbps(value: &Value) -> String {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.map_or_else(|| NOTHING.to_owned(), |kbps| crate::ctl::units::limit(Some(kbps)))
}

/// What has been reached of a resource.
pub fn status(item: &Item) -> String {
    match property(&item.value, "configurationState.status") {
        Value::Null => shown(item, "provisioningState"),
        status => text(status),
    }
}

/// The id of the resource that this one is embedded in.
pub fn parent(item: &Item) -> String {
    item.path.parent().map_or_else(|| NOTHING.to_owned(), |parent| parent.id().to_string())
}

/// References in any depth below a value.
pub fn references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| references(value, into)),
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::String(text) if name.eq_ignore_ascii_case("resourceRef") => into.push(text),
                    value => references(value, into),
                }
            }
        }
        _ => {}
    }
}
