//! What holds for any input.

use super::{Sealer, World, tenant};
use crate::controller::resources::schema::{KINDS, Kind, Property, Shape};
use crate::controller::resources::{Location, Path, Seal, normalise};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Leaves secrets as they are, so that a body can be read twice.
struct Open;

impl Seal for Open {
    fn seal(&self, _: &str, secret: &str) -> String {
        secret.to_owned()
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "(/[a-zA-Z]{1,12}){0,4}".prop_map(Value::from),
        "[0-9.:/]{1,18}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((".{0,8}", inner), 0..5).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// A value that is often of the shape.
fn shaped(shape: Shape, depth: u32) -> BoxedStrategy<Value> {
    let text = |pattern: &'static str| pattern.prop_map(Value::from).boxed();
    let good = match shape {
        Shape::Text(_) => text("[a-z]{1,8}"),
        Shape::Integer(least, most) => prop_oneof![
            (least..=most).prop_map(Value::from),
            (least.max(0)..=most).prop_map(|number| json!(number.to_string()))
        ]
        .boxed(),
        Shape::Boolean => prop_oneof![any::<bool>().prop_map(Value::from), Just(json!("True"))].boxed(),
        Shape::Address => prop_oneof![
            any::<u32>().prop_map(|bits| json!(std::net::Ipv4Addr::from(bits))),
            any::<u128>().prop_map(|bits| json!(std::net::Ipv6Addr::from(bits)))
        ]
        .boxed(),
        Shape::Prefix => (any::<u32>(), 0_u8..=32)
            .prop_map(|(bits, length)| {
                json!(ipnet::Ipv4Net::new(bits.into(), length).expect("in range").trunc().to_string())
            })
            .boxed(),
        Shape::Mac => text("0[26](-[0-9a-f]{2}){5}|0[26][0-9A-F]{10}|0[26](:[0-9a-f]{2}){5}"),
        Shape::AsnDot | Shape::AsnPlain => prop_oneof![
            any::<u32>().prop_map(|asn| json!(asn)),
            any::<(u16, u16)>().prop_map(|(high, low)| json!(format!("{high}.{low}")))
        ]
        .boxed(),
        Shape::GreKey => {
            prop_oneof![any::<u32>().prop_map(|key| json!(key)), any::<u32>().prop_map(|key| json!(key.to_string()))]
                .boxed()
        }
        Shape::Choice(choices) => {
            prop::sample::select(choices).prop_map(|choice| json!(choice.to_ascii_uppercase())).boxed()
        }
        Shape::Reference(kinds) => {
            prop::sample::select(kinds).prop_map(|kind| json!({ "resourceRef": example(kind) })).boxed()
        }
        Shape::OwnReference(kind) => Just(json!({ "resourceRef": example(kind) })).boxed(),
        Shape::Object(table) => object(table, depth).prop_map(Value::Object).boxed(),
        Shape::List(element) => prop::collection::vec(shaped(*element, depth), 0..3).prop_map(Value::from).boxed(),
        Shape::Children(kind) if depth > 0 => {
            prop::collection::vec(resource(kind, depth - 1), 0..3).prop_map(Value::from).boxed()
        }
        Shape::Texts => prop_oneof![text("[a-z0-9:]{1,6}"), Just(json!(["1:1", 7]))].boxed(),
        Shape::Children(_) | Shape::BackReferences(..) | Shape::Any => any_json().boxed(),
    };
    prop_oneof![9 => good, 1 => any_json()].boxed()
}

fn example(kind: Kind) -> String {
    let above = kind.info().parent.map(example).unwrap_or_default();
    format!("{above}/{}/{}", kind.info().collection.to_ascii_uppercase(), kind.info().singleton.unwrap_or("a"))
}

fn object(table: &'static [Property], depth: u32) -> BoxedStrategy<Map<String, Value>> {
    let parts: Vec<_> = table
        .iter()
        .map(|property| {
            let names: Vec<String> = [property.name]
                .iter()
                .chain(property.aliases)
                .flat_map(|name| [name.to_string(), name.to_ascii_uppercase()])
                .collect();
            prop::option::of((prop::sample::select(names), shaped(property.shape, depth)))
        })
        .collect();
    parts.prop_map(|parts| parts.into_iter().flatten().collect()).boxed()
}

fn resource(kind: Kind, depth: u32) -> BoxedStrategy<Value> {
    ("[a-z]{1,3}", object(kind.info().properties, depth))
        .prop_map(|(id, properties)| json!({ "resourceId": id, "properties": properties, "etag": "x" }))
        .boxed()
}

fn kind() -> impl Strategy<Value = Kind> {
    (0..KINDS.len()).prop_map(|position| KINDS[position].kind)
}

fn path_to(kind: Kind) -> Path {
    Path::parse(&example(kind)).expect("a path")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_canonical_stays_as_it_is(body in kind().prop_flat_map(|kind| (Just(kind), resource(kind, 2)))) {
        let (kind, body) = body;
        if let Ok(canonical) = normalise(kind, &body, "place", &Open) {
            let canonical = Value::Object(canonical);
            let again = normalise(kind, &canonical, "place", &Open).map(Value::Object);
            prop_assert_eq!(again, Ok(canonical));
        }
    }

    #[test]
    fn any_json_is_taken_or_refused(kind in kind(), body in any_json()) {
        let _ = normalise(kind, &body, "place", &Sealer);
        let _ = normalise(kind, &json!({ "resourceId": "a", "properties": body }), "place", &Sealer);
    }

    #[test]
    fn any_text_is_a_path_or_none(text in "\\PC{0,64}|(/[a-zA-Z0-9 %.]{0,20}){0,7}") {
        if let Ok(path) = Path::parse(&text) {
            prop_assert_eq!(Path::parse(&path.to_string()), Ok(path.clone()), "a path is written as it is read");
            prop_assert_eq!(Path::parse(&path.key()).map(|path| path.key()), Ok(path.key()));
        }
        let _ = Location::parse(&format!("/networking/v1{text}"));
    }

    /// A PUT is taken whole or not at all; what is taken can be read, put back unchanged, and deleted.
    #[test]
    fn a_put_is_taken_whole_or_not_at_all(body in kind().prop_flat_map(|kind| (Just(kind), resource(kind, 1)))) {
        let (kind, mut body) = body;
        let mut world = if kind.info().parent.is_some() { tenant() } else { World::new() };
        let path = path_to(kind).to_string();
        body["resourceId"] = Value::Null;
        let before = world.stored();
        match world.try_put(&path, body) {
            Err(error) => {
                prop_assert!((400..500).contains(&error.status()), "{:?}", error);
                prop_assert_eq!(world.stored(), before);
            }
            Ok(_) => {
                let got = world.get(&path);
                let stored = world.stored();
                world.put(&path, got);
                prop_assert_eq!(world.stored(), stored);
                prop_assert!(world.try_delete(&path, &Default::default()).expect("deleted").is_some());
            }
        }
    }
}
