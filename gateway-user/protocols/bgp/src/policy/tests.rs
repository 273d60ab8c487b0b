use super::*;
use crate::attributes::{AsPath, Community, Origin};

fn entry(action: EntryAction, criteria: &[(&str, &[&str])], settings: &[(&str, &[&str])]) -> Entry {
    let texts = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    Entry {
        name: String::new(),
        action,
        criteria: criteria
            .iter()
            .map(|(name, value)| Criterion { property: (*name).into(), value: texts(value) })
            .collect(),
        settings: settings
            .iter()
            .map(|(name, value)| Setting { property: (*name).into(), value: texts(value) })
            .collect(),
    }
}

fn policy(entries: &[Entry]) -> Result<Policy, String> {
    Policy::from_entries("MAP1", entries, Verdict::Permit).map_err(|error| error.to_string())
}

fn prefix(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn route() -> Attributes {
    Attributes {
        as_path: AsPath::sequence([65001, 65002, 65003]),
        next_hop: "192.0.2.1".parse::<std::net::IpAddr>().expect("an address").into(),
        med: Some(50),
        communities: vec![Community::of(65001, 1), Community::of(65001, 2)],
        extended_communities: vec!["rt:65001:7".parse().expect("a community")],
        large_communities: vec!["65001:1:2".parse().expect("a community")],
        ..Attributes::default()
    }
}

/// Whether a condition holds for the route of the tests and 10.1.0.0/16.
fn holds(property: &str, values: &[&str]) -> bool {
    let policy = policy(&[entry(EntryAction::Deny, &[(property, values)], &[])]).expect("it makes sense");
    !policy.decide(prefix("10.1.0.0/16"), &route()).permitted
}

#[test]
fn every_kind_of_condition_holds_and_fails() {
    for (property, yes, no) in [
        ("MatchPrefix", &["10.1.0.0/16"][..], &["10.0.0.0/8"][..]),
        ("matchprefix", &["10.0.0.0/8 ge 16 le 24"], &["10.0.0.0/8 ge 17"]),
        ("MatchPrefix", &["0.0.0.0/0 le 32"], &["::/0 le 128"]),
        ("IgnorePrefix", &["10.0.0.0/8"], &["10.0.0.0/8 le 16"]),
        ("NextHop", &["192.0.2.1"], &["192.0.2.2", "2001:db8::1"]),
        ("NextHop", &["192.0.2.0/24"], &["192.0.3.0/24"]),
        ("AsnRange", &["65002", "65002"], &["65004", "65009"]),
        ("AsnRange", &["0.65003"], &["1.0"]),
        ("AsnRange", &["1-2", "65003-65009"], &["1-2", "3-4", "5-6"]),
        ("Origin-AsnRange", &["65003"], &["65001", "65002"]),
        ("Neighbor-AsnRange", &["65001"], &["65002", "65003"]),
        ("As-Path-Length", &["3-5"], &["4-5"]),
        ("Community", &["65001:2", "1:1"], &["1:1"]),
        ("Community", &["internet"], &["no-export"]),
        ("All-Community", &["65001:2", "65001:1"], &["65001:2", "1:1"]),
        ("Extended-Community", &["rt:65001:7"], &["soo:65001:7"]),
        ("All-Extended-Community", &["rt:65001:7"], &["rt:65001:7", "soo:65001:7"]),
        ("Large-Community", &["65001:1:2"], &["65001:1:3"]),
        ("All-Large-Community", &["65001:1:2"], &["65001:1:2", "65001:1:3"]),
        ("MED", &["50"], &["51-60"]),
        ("Local-Pref", &["100"], &["101", "4294967295"]),
        ("Origin", &["igp"], &["Incomplete"]),
    ] {
        assert!(holds(property, yes), "{property} {yes:?}");
        assert!(!holds(property, no), "{property} {no:?}");
    }
}

#[test]
fn every_kind_of_action_changes_what_it_names() {
    let set = |settings: &[(&str, &[&str])]| {
        let policy = policy(&[entry(EntryAction::ModifyAttribute, &[], settings)]).expect("it makes sense");
        policy.explain(prefix("10.1.0.0/16"), Asn(65000), &route()).attributes
    };
    assert_eq!(set(&[("As-Path", &["7 8"])]).as_path.to_string(), "7 8 65001 65002 65003");
    assert_eq!(set(&[("Prepend", &["2"])]).as_path.to_string(), "65000 65000 65001 65002 65003");
    assert_eq!(set(&[("MED", &["7"])]).med, Some(7));
    assert_eq!(set(&[("MED", &["+7"])]).med, Some(57));
    assert_eq!(set(&[("MED", &["-70"])]).med, Some(0));
    assert_eq!(set(&[("Clear-MED", &[])]).med, None);
    assert_eq!(set(&[("Weight", &["9"])]).weight, 9);
    assert_eq!(set(&[("Local-Pref", &["9"])]).local_pref, Some(9));
    assert_eq!(set(&[("Origin", &["EGP"])]).origin, Origin::Egp);
    assert_eq!(set(&[("Next-Hop", &["203.0.113.9"])]).next_hop.to_string(), "203.0.113.9");
    let communities = |settings| set(settings).communities.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(communities(&[("Add-Community", &["1:1", "65001:1"])]), ["65001:1", "65001:2", "1:1"]);
    assert_eq!(communities(&[("Remove-Community", &["65001:1"])]), ["65001:2"]);
    assert_eq!(communities(&[("Replace-Community", &["no-export"])]), ["no-export"]);
    assert!(communities(&[("Remove-All-Community", &[])]).is_empty());
    assert_eq!(set(&[("Add-Extended-Community", &["soo:1:1"])]).extended_communities.len(), 2);
    assert!(set(&[("Remove-All-Large-Community", &[])]).large_communities.is_empty());
}

#[test]
fn the_first_statement_that_matches_decides() {
    let policy = policy(&[
        entry(EntryAction::Deny, &[("MatchPrefix", &["10.1.0.0/16"]), ("Community", &["1:1"])], &[]),
        entry(EntryAction::Allow, &[("MatchPrefix", &["10.1.0.0/16"])], &[("Weight", &["5"])]),
        entry(EntryAction::Deny, &[], &[]),
    ])
    .expect("it makes sense");
    assert!(policy.depends_on_prefix());
    let taken = policy.decide(prefix("10.1.0.0/16"), &route());
    assert_eq!(taken, Decision { statement: Some(1), permitted: true });
    assert_eq!(policy.decide(prefix("10.2.0.0/16"), &route()), Decision { statement: Some(2), permitted: false });
    let trace = policy.explain(prefix("10.1.0.0/16"), Asn(65000), &route());
    assert_eq!(trace.steps[0].failed.as_deref(), Some("any of communities 1:1"));
    assert_eq!(trace.steps[1], Step { statement: "2".into(), failed: None });
    assert_eq!((trace.steps.len(), trace.verdict, trace.attributes.weight), (2, Verdict::Permit, 5));
}

#[test]
fn what_no_statement_matches_gets_the_policys_last_word() {
    for (otherwise, permitted) in [(Verdict::Permit, true), (Verdict::Deny, false)] {
        let policy = Policy::new("P", vec![], otherwise).expect("it makes sense");
        assert_eq!(policy.decide(prefix("::/0"), &route()), Decision { statement: None, permitted });
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_its_place() {
    use EntryAction::{Allow, Deny, ModifyAttribute};
    type Parts<'a> = &'a [(&'a str, &'a [&'a str])];
    let refused = |action, criteria: Parts<'_>, settings: Parts<'_>, wanted: &str| {
        let message = policy(&[entry(action, criteria, settings)]).expect_err(wanted);
        assert!(message.starts_with("policy \"MAP1\", statement \"1\": "), "{message}");
        assert!(message.contains(wanted), "{message} does not say {wanted}");
    };
    refused(Deny, &[], &[("Weight", &["1"])], "what is denied is not changed");
    refused(ModifyAttribute, &[], &[], "ModifyAttribute needs");
    refused(Allow, &[("MatchPrefix", &[])], &[], "MatchPrefix needs at least one value");
    refused(Allow, &[("Colour", &["red"])], &[], "there is no condition \"Colour\"; there are MatchPrefix");
    refused(Allow, &[("MatchPrefix", &["10.0.0.1/8"])], &[], "the prefix is 10.0.0.0/8");
    refused(Allow, &[("MatchPrefix", &["10.0.0.0/8 ge 24 le 16"])], &[], "lengths must rise from 8");
    refused(Allow, &[("MatchPrefix", &["10.0.0.0/8 le 33"])], &[], "at most 32");
    refused(Allow, &[("MatchPrefix", &["10.0.0.0/8 xx 9"])], &[], "is no prefix");
    refused(Allow, &[("AsnRange", &["20", "10"])], &[], "lowest is above its highest");
    refused(Allow, &[("AsnRange", &["4294967296"])], &[], "is no AS number");
    refused(Allow, &[("MED", &["9-1"])], &[], "lowest is above its highest");
    refused(Allow, &[("Community", &["70000:1"])], &[], "is no community");
    refused(Allow, &[("MatchPrefix", &["10.0.0.0/8"]), ("IgnorePrefix", &["10.0.0.0/8"])], &[], "no route can match");
    refused(Allow, &[], &[("MED", &["1"]), ("Clear-MED", &[])], "MED is set twice");
    refused(Allow, &[], &[("Clear-MED", &["1"])], "Clear-MED takes no value");
    refused(Allow, &[], &[("Weight", &["1", "2"])], "Weight takes one value");
    refused(Allow, &[], &[("Weight", &["-1"])], "no number from 0");
    refused(Allow, &[], &[("As-Path", &["0"])], "AS 0 may not stand in a path");
    refused(Allow, &[], &[("Prepend", &["33"])], "too many");
    refused(Allow, &[], &[("Prepend", &["0"])], "Prepend needs");
    refused(Allow, &[], &[("Next-Hop", &["224.0.0.1"])], "cannot be a next hop");
    refused(Allow, &[], &[("Next-Hop", &["here"])], "nor self, peer or unchanged");
    refused(Allow, &[], &[("Add-Community", &["1:1"]), ("Remove-Community", &["1:1"])], "both added and removed");
    refused(Allow, &[], &[("Add-Community", &[])], "needs at least one value");
    let message = policy(&[entry(Allow, &[], &[]), entry(Deny, &[], &[])]).expect_err("the second is never reached");
    assert!(message.contains("statement \"2\": it is never reached"), "{message}");
    let mut twice = vec![entry(Allow, &[("MED", &["1"])], &[]), entry(Deny, &[], &[])];
    twice.iter_mut().for_each(|entry| entry.name = "A".to_owned());
    assert!(policy(&twice).expect_err("two of a name").contains("another statement has that name"));
}

#[test]
fn patterns_are_printed_as_they_are_read() {
    for text in ["10.0.0.0/8", "10.0.0.0/8 le 32", "10.0.0.0/8 ge 9", "10.0.0.0/8 ge 16 le 24", "::/0 le 128"] {
        assert_eq!(text.parse::<PrefixPattern>().map(|pattern| pattern.to_string()).as_deref(), Ok(text));
    }
}
