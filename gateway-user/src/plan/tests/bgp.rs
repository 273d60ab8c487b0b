//! A tenant's BGP in a plan.

use super::*;
use crate::plan::bgp::{Announce, PeerMode};

const PLAN: &str = include_str!("../../../../examples/bgp.toml");

fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(PLAN.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from:?} must stand once in the example");
        text.replacen(from, to, 1)
    })
}

fn good(text: &str) -> Plan {
    parse(text, "bgp.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn a_router_and_its_peers_are_read() {
    let plan = good(PLAN);
    let tenant = &plan.tenants[0];
    let bgp = tenant.bgp.as_ref().expect("it has one");
    assert_eq!(bgp.as_number.get().0, 64512);
    assert_eq!(*bgp.announce, [Announce::Subnets]);
    let [hq, dc] = &*bgp.peers else { panic!("two peers") };
    assert_eq!((hq.mode, hq.hold_time.seconds(), hq.graceful_restart.get()), (PeerMode::Mixed, 30, 120));
    assert_eq!((dc.as_number.get().0, dc.hold_time.seconds()), (65546, 90));
    assert_eq!(tenant.announced(), ["10.1.0.0/24".parse().expect("a prefix")]);
    assert_eq!(tenant.connection_to(hq).map(|it| it.name.as_str()), Some("hq"));
    assert_eq!(tenant.connection_to(dc).map(|it| it.name.as_str()), Some("dc"));
    assert_eq!(tenant.local_address_for(hq), Some([10, 1, 255, 1].into()));
    assert_eq!(tenant.local_address_for(dc), Some([10, 127, 134, 50].into()), "on the VLAN, from the VLAN's address");
}

#[test]
fn a_peer_is_found_by_the_longest_static_route_to_it() {
    let plan = good(&changed(&[
        ("key = 100\n", "key = 100\nroutes = [ { destination = \"10.2.0.0/16\" } ]\n"),
        ("connection = \"hq\"\n", ""),
    ]));
    let tenant = &plan.tenants[0];
    let peer = &tenant.bgp.as_ref().expect("it has one").peers[0];
    assert_eq!(tenant.connection_to(peer).map(|it| it.name.as_str()), Some("hq"));
}

#[test]
fn no_password_is_shown() {
    let plan = good(PLAN);
    assert!(!format!("{plan:?}").contains("change me"));
    let long = "s".repeat(81);
    let text = changed(&[("change me", &long)]);
    let errors = parse(&text, "bgp.toml").expect_err("too long");
    assert!(errors.to_string().contains("81 bytes"), "{errors}");
    assert!(!errors.to_string().contains("sss"), "{errors}");
    let json = serde_json::to_string(&plan).expect("JSON").replace("change me", &long);
    let errors = serde_json::from_str::<Plan>(&json).expect_err("too long").to_string();
    assert!(errors.contains("81 bytes") && !errors.contains("sss"), "{errors}");
}

/// What is changed in the example, what is said, and what that points at.
#[test]
fn what_makes_no_sense_is_refused() {
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
    let cases: [Case<'_>; 24] = [
        (
            &[("connection = \"hq\"\n", "")],
            "Peers 10.2.0.1 have no connectivity through any connection",
            "\"10.2.0.1\"",
        ),
        (&[("connection = \"hq\"\n", "connection = \"hg\"\n")], "the tenant has no connection hg", "\"hg\""),
        (&[("as_number = 64513", "as_number = 0")], "0 cannot be a router's AS number", "0"),
        (&[("\"1.10\"", "\"1.x\"")], "\"1.x\" is no AS number", "\"1.x\""),
        (&[("hold_time_ms = 30000", "hold_time_ms = 2000")], "a hold time of 2000 ms cannot be agreed on", "2000"),
        (
            &[("hold_time_ms = 30000", "hold_tim_ms = 30000")],
            "`[[tenant.bgp.peer]]` has no key `hold_tim_ms`",
            "hold_tim_ms",
        ),
        (
            &[("ttl_security = 1", "ttl_security = 1\nmultihop = 3")],
            "`multihop` lets the peer be far away, `ttl_security` keeps it near",
            "3",
        ),
        (&[("ttl_security = 1", "ttl_security = 255")], "a number of hops of 255 is outside 1..=254", "255"),
        (
            &[("ttl_security = 1", "reflection = \"client\"")],
            "a route reflector's client is in the router's own AS 64512",
            "\"client\"",
        ),
        (&[("as_number = 64513", "as_number = 64512\nrole = \"peer\"")], "roles are for eBGP (RFC 9234)", "\"peer\""),
        (
            &[("as_number = 64513", "as_number = 64512\nmultihop = 2")],
            "an iBGP peer may be any number of hops away",
            "2",
        ),
        (&[("ttl_security = 1", "policy_out = \"none\"")], "the tenant has no policy none", "\"none\""),
        (&[("name = \"from-sites\"", "name = \"x\"\nfoo = 1")], "`[[tenant.bgp.policy]]` has no key `foo`", "foo"),
        (
            &[("10.1.0.0/16 le 32", "10.1.0.0/16 le 33")],
            "\"10.1.0.0/16 le 33\" fits no prefix",
            "\"10.1.0.0/16 le 33\"",
        ),
        (&[("64513:50", "64513")], "\"64513\" is no community", "\"64513\""),
        (
            &[("\"10.127.134.55\"", "\"10.127.134.50\"")],
            "10.127.134.50 is the gateway's own address in this tenant",
            "\"10.127.134.50\"",
        ),
        (&[("\"10.127.134.55\"", "\"10.1.0.5\"")], "10.1.0.5 is a VM's address", "\"10.1.0.5\""),
        (
            &[("\"10.127.134.55\"", "\"10.2.0.1\"")],
            "a second peer of the tenant has the address 10.2.0.1",
            "\"10.2.0.1\"",
        ),
        (
            &[("\"10.127.134.55\"", "\"10.127.135.55\"\nconnection = \"dc\"")],
            "10.127.135.55 is not on the VLAN of dc (10.127.134.0/24)",
            "\"10.127.135.55\"",
        ),
        (
            &[("address = \"10.2.0.1\"", "address = \"fd02::1\"")],
            "the gateway has no IPv6 address in this tenant to speak to the peer from",
            "\"fd02::1\"",
        ),
        (
            &[("connection = \"hq\"\n", "connection = \"hq\"\nlocal_address = \"10.1.255.2\"\n")],
            "10.1.255.2 is none of the gateway's own addresses in this tenant",
            "\"10.1.255.2\"",
        ),
        (
            &[("{ match = { prefixes = [\"10.0.0.0/8 le 24\"] } },", "{ then = \"reject\", set = { med = 1 } },")],
            "the policy from-sites: what is denied is not changed; leave the actions out",
            "{ then = \"reject\", set = { med = 1 } }",
        ),
        (
            &[("\"64513:50\"", "\"64513:50\", \"1:2:3\"")],
            "one list asks for large communities and for others",
            "[\"64513:50\", \"1:2:3\"]",
        ),
        (&[("announce = [\"subnets\"]", "announce = [\"subnet\"]")], "`announce` cannot be \"subnet\"", "\"subnet\""),
    ];
    for (changes, what, marked) in cases {
        let text = changed(changes);
        let errors = parse(&text, "bgp.toml").expect_err(what);
        let found = errors.problems().iter().find(|problem| problem.complaint.what == what);
        let Some(Problem { complaint, place: Place::Text { line, column, width, .. }, .. }) = found else {
            panic!("{what:?} is not said, but:\n{errors}")
        };
        let line = text.lines().nth(line - 1).unwrap_or_default();
        assert_eq!(line.chars().skip(column - 1).take(*width).collect::<String>(), marked, "{errors}");
        assert!(!complaint.remedy.is_empty());
    }
}
