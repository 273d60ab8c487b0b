//! `gatewayctl describe`: all there is to say of a resource.

use super::client::Client;
use super::fetch::{self, Item};
use super::fields::{property, text};
use super::kinds;
use super::target;
use crate::controller::resources::Kind;
use crate::ctl::args::Format;
use crate::ctl::output::Output;
use crate::ctl::table::{Align, Row, Table, clean};
use serde_json::{Map, Value};

/// Describes resources.
pub async fn run(client: &mut Client, what: &[String], output: &mut Output) -> anyhow::Result<()> {
    let items = fetch::all(client, &target::all(what)?).await?;
    if output.format() == Format::Json {
        let values: Vec<&Value> = items.iter().map(|item| &item.value).collect();
        match values.as_slice() {
            [only] => output.document(only)?,
            values => output.document(values)?,
        }
        return Ok(());
    }
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            output.line("")?;
        }
        describe(item, output)?;
    }
    Ok(())
}

fn describe(item: &Item, output: &mut Output) -> anyhow::Result<()> {
    let singular = kinds::of(item.path.kind()).map_or("resource", |names| names.singular);
    output.line(&output.style().bold(&format!("{singular} {}", item.path.id())))?;
    output.line(&format!("at:        {}", item.path))?;
    for (label, name) in [("instance:", "instanceId"), ("etag:", "etag")] {
        if let Some(value) = item.value.get(name) {
            output.line(&format!("{label:<10} {}", clean(text(value))))?;
        }
    }
    for (label, name) in [("tags:", "tags"), ("metadata:", "resourceMetadata")] {
        if let Some(value) = item.value.get(name).filter(|value| value.as_object().is_some_and(|map| !map.is_empty())) {
            output.line(label)?;
            output.text(&indented(value, 2))?;
        }
    }
    configuration(item, output)?;
    let mut properties = match item.value.get("properties") {
        Some(Value::Object(properties)) => properties.clone(),
        _ => Map::new(),
    };
    properties.remove("configurationState");
    if item.path.kind() == Kind::Gateway {
        properties.remove("virtualGateways");
    }
    output.line("properties:")?;
    output.text(&indented(&Value::Object(properties), 2))?;
    if item.path.kind() == Kind::Gateway {
        output.line("carries:")?;
        output.table(&carried(item))?;
    }
    Ok(())
}

/// What is wrong of a resource, as its `configurationState` tells.
pub fn problems(resource: &Value) -> Vec<String> {
    let details = property(resource, "configurationState")["detailedInfo"].as_array();
    let said = |detail: &Value| {
        clean(format!("{}: {} ({})", text(&detail["source"]), text(&detail["message"]), text(&detail["code"])))
    };
    details.into_iter().flatten().map(said).collect()
}

/// What has been reached, and what is wrong where.
fn configuration(item: &Item, output: &mut Output) -> anyhow::Result<()> {
    let state = property(&item.value, "configurationState");
    if state.is_null() {
        return Ok(());
    }
    let status = clean(text(&state["status"]));
    output.line(&format!("status:    {}", output.style().state(&status)))?;
    for problem in problems(&item.value) {
        output.line(&format!("  {problem}"))?;
    }
    Ok(())
}

/// The connections that a gateway carries.
fn carried(item: &Item) -> Table {
    let mut table = Table::new("  nothing", &[("  CONNECTION", Align::Left), ("TENANT", Align::Left)]);
    for tenant in property(&item.value, "virtualGateways").as_array().into_iter().flatten() {
        let name = text(&tenant["virtualGateway"]);
        for connection in tenant["networkConnections"].as_array().into_iter().flatten() {
            table.push(Row::new().cell(format!("  {}", text(connection))).cell(&name));
        }
    }
    table
}

/// A value as YAML, moved to the right.
fn indented(value: &Value, by: usize) -> String {
    let yaml = serde_norway::to_string(value).unwrap_or_default();
    yaml.lines().map(|line| format!("{:by$}{}\n", "", clean(line.to_owned()))).collect()
}
