//! What is generated from the tables: OpenAPI, and the table of what has no effect.

use super::{Access, Effect, KINDS, Kind, KindInfo, Property, RESOURCE_METADATA, Shape};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The table "accepted, no effect" and its sister "refused", as Markdown.
pub fn effects() -> String {
    let mut text = String::new();
    let mut section = |title: &str, lead: &str, reason: fn(&Property) -> Option<&'static str>| {
        let _ = writeln!(text, "## {title}\n\n{lead}\n\n| resource | property | why |\n|---|---|---|");
        for info in &KINDS {
            rows(&mut text, &full_name(info), info.properties, "", reason);
        }
        rows(&mut text, "every resource", RESOURCE_METADATA, "resourceMetadata.", reason);
        text.push('\n');
    };
    section("Accepted, no effect", "Kept, checked and shown again; nothing else follows from them.", |property| {
        match property.effect {
            Effect::None(reason) => Some(reason),
            _ => None,
        }
    });
    section(
        "Refused",
        "To ignore these would be dangerous, so a value that asks for something is refused (PropertyNotSupported).",
        |property| match property.effect {
            Effect::Refused(reason) => Some(reason),
            _ => None,
        },
    );
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// The table of what is ours alone, as Markdown.
pub fn ours() -> String {
    let mut text = String::from("| resource | property | what |\n|---|---|---|\n");
    for info in &KINDS {
        rows(&mut text, &full_name(info), info.properties, "", |property| property.ours.then_some(property.doc));
    }
    text
}

fn rows(
    text: &mut String,
    kind: &str,
    table: &'static [Property],
    prefix: &str,
    reason: fn(&Property) -> Option<&'static str>,
) {
    for property in table {
        let name = format!("{prefix}{}", property.name);
        if let Some(reason) = reason(property) {
            let _ = writeln!(text, "| {kind} | `{name}` | {reason} |");
        }
        if let Some(table) = object_of(&property.shape) {
            rows(text, kind, table, &format!("{name}."), reason);
        }
    }
}

/// The table of an object's properties, or of an array's objects.
pub(super) fn object_of(shape: &Shape) -> Option<&'static [Property]> {
    match shape {
        Shape::Object(table) | Shape::List(Shape::Object(table)) => Some(table),
        _ => None,
    }
}

/// A collection with those that it is part of: `virtualGateways/bgpRouters/bgpPeers`.
pub fn full_name(info: &KindInfo) -> String {
    match info.parent {
        Some(parent) => format!("{}/{}", full_name(parent.info()), info.collection),
        None => info.collection.to_owned(),
    }
}

/// The interface as OpenAPI 3.1.
pub fn openapi() -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    schemas.insert("Error".to_owned(), error_schema());
    schemas.insert(
        "Reference".to_owned(),
        json!({
            "type": "object",
            "properties": { "resourceRef": { "type": "string", "examples": ["/gatewayPools/default"] } },
            "required": ["resourceRef"],
        }),
    );
    for info in &KINDS {
        schemas.insert(schema_name(info.kind), resource_schema(info));
        let (collection, parameters) = url(info);
        let mut on_collection = json!({ "get": list_operation(info) });
        let id = info.singleton.map_or_else(|| "{id}".to_owned(), ToOwned::to_owned);
        let mut own = parameters.clone();
        if info.singleton.is_none() {
            own.push(path_parameter("id"));
        }
        if !parameters.is_empty() {
            on_collection["parameters"] = json!(parameters);
        }
        let mut on_resource =
            json!({ "get": get_operation(info), "put": put_operation(info), "delete": delete_operation(info) });
        on_resource["parameters"] = json!(own);
        paths.insert(format!("{collection}/{id}"), on_resource);
        paths.insert(collection, on_collection);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Network controller",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Names of properties and paths compare without regard to case. PUT creates or replaces; embedded arrays of resources that are left out stay as they are.",
        },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn schema_name(kind: Kind) -> String {
    format!("{kind:?}")
}

fn path_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
}

/// A collection's URL, and the parameters in it.
fn url(info: &KindInfo) -> (String, Vec<Value>) {
    let Some(parent) = info.parent else { return (format!("/networking/v1/{}", info.collection), Vec::new()) };
    let (above, mut parameters) = url(parent.info());
    let name = format!("{}Id", schema_name(parent));
    parameters.push(path_parameter(&name));
    (format!("{above}/{{{name}}}/{}", info.collection), parameters)
}

fn header(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "header", "required": false, "description": description, "schema": { "type": "string" } })
}

fn content(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn of(kind: Kind) -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", schema_name(kind)) })
}

fn refusals(codes: &[u16]) -> Map<String, Value> {
    let error = content(&json!({ "$ref": "#/components/schemas/Error" }));
    let refusal = |code: &u16| {
        let description = match code {
            400 => "The body is wrong: `target` says where.",
            403 => "Not yours to change.",
            404 => "There is no such resource.",
            409 => "In use, or at odds with another resource: `message` says which.",
            _ => "A condition in the headers does not hold.",
        };
        (code.to_string(), json!({ "description": description, "content": error }))
    };
    codes.iter().map(refusal).collect()
}

fn list_operation(info: &KindInfo) -> Value {
    let list = json!({
        "type": "object",
        "properties": { "value": { "type": "array", "items": of(info.kind) }, "nextLink": { "const": "" } },
    });
    json!({
        "summary": format!("All {}", full_name(info)),
        "tags": [root_name(info)],
        "responses": { "200": { "description": "All of them; there are no pages.", "content": content(&list) } },
    })
}

fn get_operation(info: &KindInfo) -> Value {
    let mut responses = refusals(&[404]);
    responses.insert("200".to_owned(), json!({ "description": info.doc, "content": content(&of(info.kind)) }));
    json!({ "summary": info.doc, "tags": [root_name(info)], "responses": responses })
}

fn put_operation(info: &KindInfo) -> Value {
    let mut responses = refusals(&[400, 403, 404, 409, 412]);
    responses.insert("200".to_owned(), json!({ "description": "Replaced.", "content": content(&of(info.kind)) }));
    responses.insert("201".to_owned(), json!({ "description": "Created.", "content": content(&of(info.kind)) }));
    json!({
        "summary": "Create or replace",
        "tags": [root_name(info)],
        "parameters": [
            header("If-Match", "Only if the resource has this ETag, or `*`: only if it exists."),
            header("If-None-Match", "`*`: only if it does not exist."),
            header("x-ms-client-request-id", "The same request with the same id is carried out once."),
        ],
        "requestBody": { "required": true, "content": content(&of(info.kind)) },
        "responses": responses,
    })
}

fn delete_operation(info: &KindInfo) -> Value {
    let mut responses = refusals(&[403, 409, 412]);
    responses.insert("202".to_owned(), json!({ "description": "Accepted: `Location` says where its end is told." }));
    responses.insert("204".to_owned(), json!({ "description": "There is none." }));
    json!({
        "summary": "Delete, with what is embedded in it",
        "tags": [root_name(info)],
        "parameters": [header("If-Match", "Only if the resource has this ETag.")],
        "responses": responses,
    })
}

fn root_name(info: &KindInfo) -> &'static str {
    info.parent.map_or(info.collection, |parent| root_name(parent.info()))
}

fn resource_schema(info: &KindInfo) -> Value {
    let read = |schema: Value| with(schema, "readOnly", json!(true));
    let mut properties = object_schema(info.properties);
    properties["properties"]["provisioningState"] =
        json!({ "enum": ["Updating", "Deleting", "Failed", "Succeeded"], "readOnly": true });
    json!({
        "type": "object",
        "description": info.doc,
        "properties": {
            "resourceRef": read(json!({ "type": "string" })),
            "resourceId": { "type": "string" },
            "instanceId": read(json!({ "type": "string", "format": "uuid" })),
            "etag": read(json!({ "type": "string" })),
            "tags": { "type": "object" },
            "resourceMetadata": object_schema(RESOURCE_METADATA),
            "properties": properties,
        },
    })
}

fn with(mut schema: Value, name: &str, value: Value) -> Value {
    schema[name] = value;
    schema
}

fn object_schema(table: &'static [Property]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for property in table {
        let mut schema = shape_schema(&property.shape);
        let mut words: Vec<String> = Vec::new();
        if !property.doc.is_empty() {
            words.push(property.doc.to_owned());
        }
        if property.ours {
            words.push("An extension: the Windows interface has no such property.".to_owned());
            schema["x-extension"] = json!(true);
        }
        if property.immutable {
            words.push("Stays as it was at creation.".to_owned());
        }
        if property.operators {
            words.push("For operators only.".to_owned());
        }
        match property.effect {
            Effect::Acts => {}
            Effect::None(reason) => words.push(format!("Accepted, no effect: {reason}.")),
            Effect::Refused(reason) => words.push(format!("Refused: {reason}.")),
        }
        if !words.is_empty() {
            schema["description"] = json!(words.join(" "));
        }
        match property.access {
            Access::ReadOnly => schema["readOnly"] = json!(true),
            Access::Secret => schema["writeOnly"] = json!(true),
            Access::Required => required.push(property.name),
            Access::Optional => {}
        }
        properties.insert(property.name.to_owned(), schema);
    }
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn shape_schema(shape: &Shape) -> Value {
    match shape {
        Shape::Text(longest) => json!({ "type": "string", "maxLength": longest }),
        Shape::Integer(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Address => json!({ "anyOf": [
            { "type": "string", "format": "ipv4" },
            { "type": "string", "format": "ipv6" },
        ] }),
        Shape::Prefix => json!({ "type": "string", "examples": ["10.2.0.0/16"] }),
        Shape::Mac => json!({ "type": "string", "examples": ["00-1D-D8-B7-1C-00"] }),
        Shape::AsnDot => json!({ "type": "string", "examples": ["0.65001"] }),
        Shape::AsnPlain => json!({ "type": "string", "examples": ["65001"] }),
        Shape::GreKey => json!({ "type": "string", "examples": ["1234"] }),
        Shape::Choice(choices) => json!({ "type": "string", "enum": choices }),
        Shape::Reference(_) | Shape::OwnReference(_) => json!({ "$ref": "#/components/schemas/Reference" }),
        Shape::Object(table) => object_schema(table),
        Shape::List(element) => json!({ "type": "array", "items": shape_schema(element) }),
        Shape::Children(kind) => json!({ "type": "array", "items": of(*kind) }),
        Shape::BackReferences(..) => json!({ "type": "array", "items": { "$ref": "#/components/schemas/Reference" } }),
        Shape::Texts => json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] }),
        Shape::Any => json!({}),
    }
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "properties": { "error": { "type": "object", "properties": {
            "code": { "type": "string" },
            "message": { "type": "string" },
            "target": { "type": "string" },
            "innerError": { "type": ["string", "null"] },
            "details": { "type": "array", "items": { "type": "object" } },
        } } },
    })
}

/// The page of the documentation that the tables make.
pub fn page() -> String {
    format!(
        "# Resources of the REST interface\n\n\
         <!-- Made from the schema's tables: change those, then run the test that compares this page with them. -->\n\n\
         The resources are those of Windows Server's network controller, northbound (MS-NCNBI), with the same names and the same JSON.\n\
         `GET /networking/v1/openapi.json` describes each of them; this page lists where this controller differs.\n\n\
         How bodies are read: names of properties and paths compare without regard to case; `null` is as good as absent; a number or a truth\n\
         value may be written as a string; a MAC address may have `-`, `:` or nothing between its bytes, an AS number may be plain or have a\n\
         dot; what is only read is ignored, so a client may PUT back what it got. PUT replaces a resource, but keeps what is left out of these:\n\
         embedded arrays of resources, secrets, properties that never change, `tags`, `resourceMetadata`. Any other unknown property is refused.\n\n\
         Whose a resource is, `resourceMetadata.tenantId` of its root says. A tenant's users read what is their own, and write their own\n\
         {}. What belongs to others does not exist for them.\n\n\
         ## Extensions\n\nNot part of the Windows interface.\n\n{}\n{}",
        KINDS.iter().filter(|info| info.tenants_write).map(|info| info.collection).collect::<Vec<_>>().join(", "),
        ours(),
        effects()
    )
}
