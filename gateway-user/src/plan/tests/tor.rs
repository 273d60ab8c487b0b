//! BGP with the rack's routers in a plan.

use super::*;
use crate::plan::tor::PreferBy;

const TOR: &str = r#"
[tor]
as_number = "1.10"
next_hop = ["198.51.100.5", "2001:db8:100::5"]
prefer_by = "med"
med = 100
communities = ["64512:100", "no-export"]

[[tor.peer]]
name = "rack1"
address = "198.51.100.1"
local_address = "198.51.100.2"
as_number = 64600
password = "change me"
bfd = { interval_ms = 300 }
families = ["ipv4", "ipv6"]

[[tor.peer]]
name = "rack2"
address = "2001:db8:100::1"
as_number = 64601
ttl_security = 1
"#;

fn with(changes: &[(&str, &str)]) -> String {
    let tor = changes.iter().fold(TOR.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from:?} must stand once");
        text.replacen(from, to, 1)
    });
    format!("{BASE}{tor}")
}

#[test]
fn the_racks_routers_are_read_behind_tenants_and_survive_toml_and_json() {
    let plan = parse(&with(&[]), "plan.toml").unwrap_or_else(|errors| panic!("{errors}"));
    let tor = plan.tor.as_ref().expect("it is there");
    assert_eq!((tor.as_number.get().0, tor.prefer_by, tor.med), (65546, PreferBy::Med, Some(100)));
    let [one, two] = &*tor.peers else { panic!("two routers") };
    assert_eq!((one.name.as_str(), one.families.len()), ("rack1", 2));
    assert_eq!((two.address.to_string().as_str(), two.bfd), ("2001:db8:100::1", None));
    let json = serde_json::to_string(&plan).expect("JSON");
    assert_eq!(serde_json::from_str::<Plan>(&json).expect("read again"), plan);
    let text = toml::to_string(&plan).expect("TOML");
    assert_eq!(parse(&text, "again.toml").unwrap_or_else(|errors| panic!("{errors}")), plan);
    let prefixes: Vec<String> = plan.announced_vips().map(|vip| vip.to_string()).collect();
    assert!(prefixes.contains(&"198.51.100.10/32".to_owned()), "{prefixes:?}");
    assert_eq!(plan.tor_router_id().map(|id| id.to_string()).as_deref(), Some("10.10.0.1"));
}

#[test]
fn what_makes_no_sense_is_refused_in_its_place() {
    for (changes, what) in [
        (&[("next_hop = [\"198.51.100.5\", ", "next_hop = [\"198.51.100.10\", ")][..], "198.51.100.10 is a VIP"),
        (
            &[("next_hop = [\"198.51.100.5\", ", "next_hop = [\"198.51.100.1\", ")],
            "the address of a router of the rack",
        ),
        (&[(", \"2001:db8:100::5\"]", "]")], "there is no IPv6 address to send VIPs' packets to"),
        (
            &[
                ("prefer_by = \"med\"", "prefer_by = \"local-preference\""),
                ("as_number = 64601", "as_number = \"1.10\""),
            ],
            "a local preference says nothing to AS 64600",
        ),
        (&[("local_address = \"198.51.100.2\"\n", "")], "BFD needs to know our end of the session"),
        (&[("interval_ms = 300", "interval_ms = 1")], "a BFD session cannot run with an interval of 1 ms"),
        (&[("ttl_security = 1", "ttl_security = 1\nmultihop = 2")], "`multihop` lets the peer be far away"),
        (&[("name = \"rack2\"", "name = \"rack1\"")], "a second router of the rack is called rack1"),
        (&[("name = \"rack2\"", "name = \"rack2\"\nconnection = \"hq\"")], "`[[tor.peer]]` has no key `connection`"),
    ] {
        let errors = refusal(&with(changes));
        let is_key = what.contains("has no key");
        assert!(errors.problems().len() == 1 || is_key, "{errors}");
        assert!(errors.to_string().contains(what), "{what}: {errors}");
    }
    let errors = refusal(&format!("{BASE}[tor]\nas_number = 64512\n"));
    assert!(errors.to_string().contains("names no router of the rack"), "{errors}");
}
