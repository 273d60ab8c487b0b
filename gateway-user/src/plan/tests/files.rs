//! Files: the examples, and forms that mean the same.

use super::*;
use std::path::PathBuf;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

#[test]
fn every_example_is_a_good_plan() {
    let mut count = 0;
    for entry in std::fs::read_dir(examples()).expect("there are examples") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            count += 1;
            let plan = load(&path).unwrap_or_else(|errors| panic!("{errors}"));
            assert_round_trip(&plan);
        }
    }
    assert!(count >= 3);
}

#[test]
fn every_complete_example_in_the_reference_is_a_good_plan() {
    let reference = std::fs::read_to_string(examples().join("../docs/plan-file.md")).expect("the reference is there");
    let blocks = reference.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block);
    let whole: Vec<&str> = blocks.filter(|block| block.contains("[gateway]")).collect();
    assert!(!whole.is_empty());
    for block in whole {
        parse(block, "docs/plan-file.md").unwrap_or_else(|errors| panic!("{errors}"));
    }
}

#[test]
fn the_reference_names_every_key() {
    let reference = std::fs::read_to_string(examples().join("../docs/plan-file.md")).expect("the reference is there");
    for (home, keys) in read::HOMES {
        for key in *keys {
            // A key, or the end of a header.
            let named = reference.contains(&format!("`{}`", key.0)) || reference.contains(&format!("{}]", key.0));
            assert!(named, "`{}` of {home} is not in docs/plan-file.md", key.0);
        }
    }
}

#[test]
fn the_reference_says_how_many_equal_routes_there_may_be() {
    let reference = std::fs::read_to_string(examples().join("../docs/plan-file.md")).expect("the reference is there");
    let most = gateway_common::tables::Nexthop::GROUP_SIZE;
    assert!(reference.contains(&format!("flows are spread over equal ones, at most {most} ")));
}

/// A plan written as TOML or as JSON and read again is the same plan.
fn assert_round_trip(plan: &Plan) {
    let text = toml::to_string(plan).expect("a plan is TOML");
    assert_eq!(&parse(&text, "again.toml").unwrap_or_else(|errors| panic!("{errors}\n{text}")), plan);
    assert_eq!(&toml::from_str::<Plan>(&text).expect("serde reads it too"), plan);
    let json = serde_json::to_string(plan).expect("a plan is JSON");
    assert_eq!(&serde_json::from_str::<Plan>(&json).expect("as JSON too"), plan);
}

#[test]
fn a_plan_survives_toml_and_json() {
    assert_round_trip(&parse(BASE, "plan.toml").unwrap_or_else(|errors| panic!("{errors}")));
}

#[test]
fn what_is_left_out_has_its_default() {
    let plan = parse(include_str!("../../../../examples/minimal.toml"), "minimal.toml").expect("good");
    assert_eq!(plan.gateway.routes_per_tenant, 1_000_000);
    assert_eq!(plan.ports[0].mode, PortMode::Native);
    let connection = &plan.tenants[0].connections[0];
    assert!(connection.enabled);
    assert_eq!(connection.anti_spoofing, AntiSpoofing::Feasible);
    assert_eq!((connection.inbound_kbps, connection.outbound_kbps, connection.mtu), (None, None, None));
    assert_eq!(connection.routes[0].metric, 0);
    let ConnectionKind::Gre(gre) = &connection.kind else { panic!("a tunnel") };
    assert_eq!((gre.key, gre.sequence), (None, false));
}

#[test]
fn no_key_and_key_zero_are_two_tunnels() {
    let text = include_str!("../../../../examples/minimal.toml");
    let second = "[[tenant.connection]]\nname = \"hq2\"\ntype = \"gre\"\nvip = \"198.51.100.10\"\nremote = \"203.0.113.20\"\nkey = 0\n";
    assert!(parse(&format!("{text}{second}"), "plan.toml").is_ok());
}

#[test]
fn sections_may_stand_in_any_order_and_between_tenants() {
    let plan = parse(BASE, "plan.toml").expect("good");
    let mut sections: Vec<String> = Vec::new();
    for line in BASE.lines() {
        if line.starts_with("[[tenant]]") || (line.starts_with('[') && !line.starts_with("[[tenant")) {
            sections.push(String::new());
        }
        let section = sections.last_mut().expect("begins with a header");
        section.push_str(line);
        section.push('\n');
    }
    // Tenants, ports and rules keep their order among themselves; the kinds are interleaved backwards.
    let of = |header: &str| sections.iter().filter(|it| it.starts_with(header)).cloned().collect::<Vec<_>>();
    let (tenants, ports, rules) = (of("[[tenant]]"), of("[[port]]"), of("[[steer]]"));
    let mut text = String::new();
    for index in 0..3 {
        text.extend(rules.get(index).cloned());
        text.extend(tenants.get(index).cloned());
        text.extend(ports.get(index).cloned());
    }
    text.extend(of("[gateway]"));
    assert_eq!(parse(&text, "plan.toml").unwrap_or_else(|errors| panic!("{errors}")), plan);
    assert_eq!(parse(&text.replace('\n', "\r\n"), "plan.toml").expect("line ends do not matter"), plan);
}

#[test]
fn tenants_may_be_one_list_in_braces() {
    let text = BASE.split("[[tenant]]").next().expect("the head").to_owned();
    let inline = format!("tenant = [ {{ name = \"a\" }}, {{ name = \"b\" }} ]\n{text}");
    assert_eq!(parse(&inline, "plan.toml").expect("good").tenants.len(), 2);
    assert_eq!(parse(&inline.replace("\"b\"", "\"a\""), "plan.toml").expect_err("twice").problems().len(), 1);
}

#[test]
fn json_is_checked_like_toml_and_tells_its_path() {
    let plan = parse(BASE, "plan.toml").expect("good");
    let json = serde_json::to_string(&plan).expect("JSON");
    let twice = json.replace("\"vlan\":1002", "\"vlan\":1001").replace("\"port\":\"tor1\"", "\"port\":\"tor0\"");
    let error = serde_json::from_str::<Plan>(&twice).expect_err("the VLAN is taken").to_string();
    assert!(error.contains("the VLAN 1001 on tor0 is the connection dc of the tenant contoso already"), "{error}");
    assert!(error.contains("plan: tenant[1].connection[1].vlan"), "{error}");
    assert!(error.contains("the other is tenant[0].connection[1].vlan"), "{error}");
    for (from, to, expected) in [
        ("\"vlan\":1002", "\"vlan\":4095", "the VLAN 4095 is outside 1..=4094"),
        ("\"vlan\":1002", "\"vlan\":1002,\"key\":1", "`key` means nothing for a connection of type \"l3\""),
        ("\"vlan\":1002,", "", "a connection of type \"l3\" needs `vlan`"),
        ("\"name\":\"tor0\"", "\"name\":\"tor0\",\"speed\":1", "unknown field `speed`"),
        ("\"protocol\":\"esp\"", "\"protocol\":\"esp\",\"port\":1", "`port` means nothing for protocol \"esp\""),
    ] {
        assert!(json.contains(from));
        let error = serde_json::from_str::<Plan>(&json.replacen(from, to, 1)).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let errors = load(Path::new("/nonexistent/plan.toml")).expect_err("it is not there").to_string();
    assert!(errors.starts_with("error: the plan cannot be read: "), "{errors}");
    assert!(errors.contains("--> /nonexistent/plan.toml"), "{errors}");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("plan.toml");
    std::fs::write(&path, b"name = \"\xff\"").expect("written");
    let errors = load(&path).expect_err("not text").to_string();
    assert!(errors.contains("= help: save the plan as UTF-8 text"), "{errors}");
}
