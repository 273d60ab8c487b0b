//! What is generated from the schema.

use crate::controller::resources::schema::{Access, Effect, KINDS, Kind, Property, RESOURCE_METADATA, Shape, document};
use std::collections::{BTreeMap, BTreeSet};

/// Every table that is used, each once.
fn tables() -> Vec<(&'static str, &'static [Property])> {
    fn below(name: &'static str, table: &'static [Property], found: &mut Vec<(&'static str, &'static [Property])>) {
        found.push((name, table));
        for property in table {
            if let Shape::Object(inner) | Shape::List(Shape::Object(inner)) = &property.shape {
                below(property.name, inner, found);
            }
        }
    }
    let mut found = Vec::new();
    for info in &KINDS {
        below(info.collection, info.properties, &mut found);
    }
    below("resourceMetadata", RESOURCE_METADATA, &mut found);
    found
}

#[test]
fn kinds_stand_where_their_numbers_say() {
    for (position, info) in KINDS.iter().enumerate() {
        assert_eq!(info.kind as usize, position, "{}", info.collection);
        if let Some(parent) = info.parent {
            let holds = |property: &Property| {
                matches!(property.shape, Shape::Children(kind) if kind == info.kind) && property.name == info.collection
            };
            assert!(
                parent.info().properties.iter().any(holds),
                "{} holds {}",
                parent.info().collection,
                info.collection
            );
        }
    }
}

#[test]
fn names_in_a_table_are_told_apart() {
    for (name, table) in tables() {
        let mut seen = BTreeSet::new();
        for called in table.iter().flat_map(|property| property.aliases.iter().chain([&property.name])) {
            assert!(seen.insert(called.to_ascii_lowercase()), "{name} has {called} twice");
        }
    }
}

#[test]
fn every_property_without_effect_has_its_reason_in_the_documentation() {
    let text = document::effects();
    for (table, property) in
        tables().into_iter().flat_map(|(name, table)| table.iter().map(move |property| (name, property)))
    {
        if let Effect::None(reason) | Effect::Refused(reason) = property.effect {
            assert!(!reason.is_empty() && !reason.contains('|'), "{table}.{}", property.name);
            assert!(text.contains(&format!("{}` | {reason} |", property.name)), "{table}.{}", property.name);
        }
        assert!(
            property.access != Access::Secret || !matches!(property.shape, Shape::Object(_) | Shape::List(_)),
            "a secret is text"
        );
        assert!(!property.ours || !property.doc.is_empty(), "{table}.{} is ours and says what it is", property.name);
    }
}

/// No kind leads back to itself by references, so no resource does.
#[test]
fn references_make_no_cycle() {
    let mut to: BTreeMap<Kind, BTreeSet<Kind>> = BTreeMap::new();
    fn root(kind: Kind) -> Kind {
        kind.info().parent.map_or(kind, root)
    }
    fn collect(table: &'static [Property], found: &mut BTreeSet<Kind>) {
        for property in table {
            match &property.shape {
                Shape::Reference(kinds) | Shape::List(Shape::Reference(kinds)) => {
                    found.extend(kinds.iter().map(|kind| root(*kind)))
                }
                Shape::Object(table) | Shape::List(Shape::Object(table)) => collect(table, found),
                _ => {}
            }
        }
    }
    for info in &KINDS {
        collect(info.properties, to.entry(root(info.kind)).or_default());
    }
    // Whatever refers to nothing that is left is taken out; a cycle would stay.
    while let Some(kind) =
        to.iter().find(|(_, targets)| targets.iter().all(|target| !to.contains_key(target))).map(|(kind, _)| *kind)
    {
        to.remove(&kind);
    }
    assert!(to.is_empty(), "these refer to one another: {to:?}");
}

#[test]
fn openapi_describes_every_kind_and_its_references_resolve() {
    let document = document::openapi();
    assert_eq!(document["openapi"], "3.1.0");
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for kind in Kind::all() {
        assert!(schemas.contains_key(&format!("{kind:?}")));
    }
    let paths = document["paths"].as_object().expect("paths");
    let peers = "/networking/v1/virtualGateways/{VirtualGatewayId}/bgpRouters/{BgpRouterId}/bgpPeers";
    assert!(paths.contains_key(peers) && paths.contains_key(&format!("{peers}/{{id}}")));
    assert_eq!(paths[&format!("{peers}/{{id}}")]["parameters"].as_array().map(Vec::len), Some(3));
    assert!(paths.contains_key("/networking/v1/loadBalancerManager/config"));
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        let name = reference.strip_prefix("#/components/schemas/").expect("of the components");
        assert!(schemas.contains_key(name), "{reference}");
    }
    let secret = &schemas["NetworkConnection"]["properties"]["properties"]["properties"]["ipSecConfiguration"]["properties"]
        ["sharedSecret"];
    assert_eq!(secret["writeOnly"], true);
}

/// The page that users read is the one that the tables make. To make it anew: `UPDATE_DOCS=1` before this test.
#[test]
fn the_page_on_resources_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rest-resources.md");
    let page = document::page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).expect("docs/ can be written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "docs/rest-resources.md differs from the schema's tables; run this test with UPDATE_DOCS=1"
    );
}
