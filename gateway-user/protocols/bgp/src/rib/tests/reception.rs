//! What is taken, and for how long it is kept.

use super::lab::*;
use crate::attributes::{Attributes, Community};
use crate::number::{Asn, Family, PathId, RouterId};
use crate::policy::{Criterion, Entry, EntryAction, Policy, Setting, Verdict};
use crate::rib::*;
use std::sync::Arc;
use std::time::Duration;

const NET: &str = "203.0.113.0/24";

/// A policy of one statement.
fn policy(action: EntryAction, criterion: (&str, &str), setting: Option<(&str, &str)>) -> Arc<Policy> {
    let entry = Entry {
        name: String::new(),
        action,
        criteria: vec![Criterion { property: criterion.0.into(), value: vec![criterion.1.into()] }],
        settings: setting
            .into_iter()
            .map(|(name, value)| Setting { property: name.into(), value: vec![value.into()] })
            .collect(),
    };
    Arc::new(Policy::from_entries("P", &[entry], Verdict::Permit).expect("it makes sense"))
}

/// A route that is refused takes the place of the one before: there is no path any more.
fn refused(settings: NeighbourSettings, good: &Attributes, bad: &Attributes, reason: Rejection) {
    let mut lab = Lab::new(super::lab::settings());
    let id = lab.add(settings);
    assert_eq!(lab.announce(id, NET, good), Received { accepted: 1, ..Received::default() });
    let received = lab.announce(id, NET, bad);
    assert_eq!(received, Received { rejected: 1, reason: Some(reason), ..Received::default() });
    assert!(lab.rib.paths(prefix(NET)).is_empty());
    assert_eq!(lab.rib.counters(id, Family::Ipv4).refused_in, 1);
    lab.clear();
}

#[test]
fn loops_are_refused() {
    let (outside, inside) = (neighbour(1, Relation::External), neighbour(1, Relation::Internal));
    let good = route(1, &[65001]);
    refused(outside.clone(), &good, &route(1, &[65001, OWN.0]), Rejection::OwnAsn);
    let tolerant = NeighbourSettings { allow_own_asn: 1, ..outside };
    refused(tolerant, &route(1, &[65001, OWN.0]), &route(1, &[65001, OWN.0, OWN.0]), Rejection::OwnAsn);
    let own = super::lab::settings().router_id;
    let reflected = Attributes { originator_id: Some(own), ..good.clone() };
    refused(inside.clone(), &good, &reflected, Rejection::OwnOriginatorId);
    let reflected = Attributes { cluster_list: vec![RouterId([9; 4].into()), own], ..good.clone() };
    refused(inside.clone(), &good, &reflected, Rejection::OwnCluster);
    let mirrored = Attributes { next_hop: address(254).into(), ..good.clone() };
    refused(inside, &good, &mirrored, Rejection::OwnNextHop);
}

#[test]
fn the_first_system_must_be_the_neighbours() {
    let settings = neighbour(1, Relation::External);
    refused(settings.clone(), &route(1, &[65001]), &route(1, &[65002, 65001]), Rejection::FirstAsn);
    let mut lab = Lab::new(super::lab::settings());
    let id = lab.add(NeighbourSettings { enforce_first_asn: false, ..settings });
    assert_eq!(lab.announce(id, NET, &route(1, &[65002, 65001])).accepted, 1);
}

#[test]
fn leaks_are_refused() {
    let with = |role| NeighbourSettings { role: Some(role), ..neighbour(1, Relation::External) };
    let marked = |asn| Attributes { only_to_customer: Some(Asn(asn)), ..route(1, &[65001]) };
    refused(with(Role::Provider), &route(1, &[65001]), &marked(7), Rejection::Leak);
    refused(with(Role::Peer), &marked(65001), &marked(7), Rejection::Leak);
    let mut lab = Lab::new(settings());
    let id = lab.add(with(Role::Customer));
    assert_eq!(lab.announce(id, NET, &marked(7)).accepted, 1);
}

#[test]
fn what_means_something_only_inside_does_not_come_from_outside() {
    let mut lab = Lab::new(settings());
    let id = lab.add(neighbour(1, Relation::External));
    let route = Attributes {
        local_pref: Some(500),
        originator_id: Some(RouterId([9; 4].into())),
        cluster_list: vec![RouterId([9; 4].into())],
        ..route(1, &[65001])
    };
    lab.announce(id, NET, &route);
    let kept = lab.rib.best(prefix(NET)).map(|id| lab.rib.attributes().get(id)).expect("it is taken");
    assert_eq!((kept.local_pref, kept.originator_id, kept.cluster_list.len()), (None, None, 0));
    // RFC 8326: a neighbour that is about to go.
    let shutdown = Attributes { communities: vec![Community::GRACEFUL_SHUTDOWN], ..route };
    lab.announce(id, NET, &shutdown);
    let kept = lab.rib.best(prefix(NET)).map(|id| lab.rib.attributes().get(id)).expect("it is taken");
    assert_eq!(kept.local_pref, Some(0));
}

#[test]
fn without_a_policy_nothing_comes_where_one_is_required() {
    let strict = NeighbourSettings { without_policy: WithoutPolicy::DenyExternal, ..neighbour(1, Relation::External) };
    let mut lab = Lab::new(settings());
    let id = lab.add(strict.clone());
    assert_eq!(lab.announce(id, NET, &route(1, &[65001])).reason, Some(Rejection::NoPolicy));
    let open = policy(EntryAction::Allow, ("MatchPrefix", "0.0.0.0/0 le 32"), None);
    let changed = NeighbourSettings { import: Some(open), ..strict };
    assert_eq!(lab.rib.change_neighbour(id, changed, START), Ok(AfterChange::RefreshNeeded));
    assert_eq!(lab.announce(id, NET, &route(1, &[65001])).accepted, 1);
}

#[test]
fn an_import_policy_decides_by_prefix_and_by_attributes() {
    let mut lab = Lab::new(settings());
    let deny = policy(EntryAction::Deny, ("MatchPrefix", NET), None);
    let id = lab.add(NeighbourSettings { import: Some(deny), ..neighbour(1, Relation::External) });
    let nlri = [NET, "10.0.0.0/8", "11.0.0.0/8"].map(|net| prefix(net).into());
    let received = lab.rib.announce(id, &route(1, &[65001]), &nlri, START);
    assert_eq!((received.accepted, received.rejected), (2, 1));
    assert!(lab.chosen(NET).is_empty());
    let raise = policy(EntryAction::ModifyAttribute, ("AsnRange", "65001"), Some(("Local-Pref", "300")));
    let id = lab.add(NeighbourSettings { import: Some(raise), ..neighbour(2, Relation::External) });
    lab.announce(id, "10.0.0.0/8", &route(2, &[65002, 65001]));
    assert_eq!(lab.chosen("10.0.0.0/8"), [id], "the preference makes up for the longer path");
    lab.clear();
}

#[test]
fn routes_kept_as_they_came_are_taken_again_under_another_policy() {
    let mut lab = Lab::new(settings());
    let plain = NeighbourSettings { soft_reconfiguration: true, ..neighbour(1, Relation::External) };
    let id = lab.add(plain.clone());
    let to = lab.add(neighbour(2, Relation::Internal));
    for net in [NET, "10.0.0.0/8"] {
        lab.announce(id, net, &route(1, &[65001]));
    }
    let change = |lab: &mut Lab, import| {
        let settings = NeighbourSettings { import, ..plain.clone() };
        assert_eq!(lab.rib.change_neighbour(id, settings, START), Ok(AfterChange::Done));
    };
    change(&mut lab, Some(policy(EntryAction::Deny, ("MatchPrefix", NET), None)));
    assert_eq!(lab.told(to, NET), None);
    assert!(lab.told(to, "10.0.0.0/8").is_some());
    let counters = lab.rib.counters(id, Family::Ipv4);
    assert_eq!((counters.paths, counters.rejected), (2, 1));
    let explanation = lab.rib.explain(prefix(NET)).expect("it is kept");
    assert_eq!(explanation.paths[0].outcome, Outcome::Unusable(Unusable::Rejected));
    change(&mut lab, Some(policy(EntryAction::Allow, ("MatchPrefix", NET), Some(("MED", "7")))));
    assert_eq!(lab.told(to, NET).and_then(|told| told.med), Some(7));
    change(&mut lab, None);
    assert_eq!(lab.told(to, NET).map(|told| told.med), Some(None));
    assert_eq!(lab.rib.counters(id, Family::Ipv4).rejected, 0);
    lab.clear();
}

#[test]
fn beyond_its_limit_a_neighbour_is_warned_about_and_then_kept_out() {
    let limit = Some(Limit { maximum: 3, warning: 2 });
    let mut lab = Lab::new(settings());
    let id = lab.add(NeighbourSettings { limit, ..neighbour(1, Relation::External) });
    let scope = LimitScope::Neighbour(id, Family::Ipv4);
    let mut announce = |net: &str| {
        let received = lab.announce(id, net, &route(1, &[65001]));
        (received.accepted, received.warning, received.exceeded)
    };
    assert_eq!(announce("10.0.0.0/8"), (1, None, None));
    assert_eq!(announce("11.0.0.0/8"), (1, Some(scope), None));
    assert_eq!(announce("12.0.0.0/8"), (1, None, None));
    assert_eq!(announce("13.0.0.0/8"), (0, None, Some(scope)));
    assert_eq!(announce("12.0.0.0/8"), (1, None, None), "it is there already");
    assert_eq!(announce("2001:db8::/32").2, None, "each family has its own");
    assert_eq!(lab.rib.counters(id, Family::Ipv4).beyond_limit_in, 1);
    lab.clear();
}

#[test]
fn a_tables_limit_holds_for_all_neighbours_together() {
    let mut lab = Lab::new(RibSettings { limit: Some(Limit { maximum: 2, warning: 2 }), ..settings() });
    let ids = [1, 2].map(|number| lab.add(neighbour(number, Relation::External)));
    assert_eq!(lab.announce(ids[0], NET, &route(1, &[65001])).warning, None);
    assert_eq!(lab.announce(ids[1], NET, &route(2, &[65002])).warning, Some(LimitScope::Table));
    assert_eq!(lab.announce(ids[1], "10.0.0.0/8", &route(2, &[65002])).exceeded, Some(LimitScope::Table));
    assert_eq!(lab.rib.totals().paths, 2);
    lab.clear();
}

#[test]
fn routes_survive_a_restart_until_the_end_of_rib() {
    let mut lab = Lab::new(settings());
    let from = lab.add(neighbour(1, Relation::External));
    let to = lab.add(neighbour(2, Relation::External));
    for net in [NET, "10.0.0.0/8"] {
        lab.announce(from, net, &route(1, &[65001]));
    }
    lab.announce(
        from,
        "2001:db8::/32",
        &Attributes { next_hop: "2001:db8::1".parse::<std::net::IpAddr>().expect("one").into(), ..route(1, &[65001]) },
    );
    lab.deliver();
    let sent = lab.rib.counters(to, Family::Ipv4);
    lab.rib.session_down(from, &[Family::Ipv4], START);
    assert!(lab.rib.has_stale(from, Family::Ipv4));
    assert_eq!(lab.told(to, "2001:db8::/32"), None, "that family is not kept");
    lab.up(from, facts(1));
    lab.announce(from, NET, &route(1, &[65001]));
    lab.deliver();
    assert_eq!(lab.rib.counters(to, Family::Ipv4), sent, "the neighbours notice nothing");
    lab.rib.end_of_rib(from, Family::Ipv4, START);
    assert!(lab.told(to, NET).is_some());
    assert_eq!(lab.told(to, "10.0.0.0/8"), None, "it was not sent again");
    // What was stale when the session ends again is gone.
    lab.rib.session_down(from, &[Family::Ipv4], START);
    lab.up(from, facts(1));
    lab.rib.session_down(from, &[Family::Ipv4], START);
    assert_eq!(lab.told(to, NET), None);
    lab.clear();
}

#[test]
fn stale_routes_may_live_long_as_a_last_resort() {
    let mut lab = Lab::new(settings());
    let from = lab.add(neighbour(1, Relation::External));
    let other = lab.add(neighbour(2, Relation::External));
    lab.announce(from, NET, &route(1, &[65001]));
    lab.announce(other, NET, &route(2, &[65002, 7, 8, 9]));
    lab.announce(from, "10.0.0.0/8", &Attributes { communities: vec![Community::NO_LLGR], ..route(1, &[65001]) });
    lab.announce(from, "11.0.0.0/8", &route(1, &[65001]));
    lab.rib.session_down(from, &Family::ALL, START);
    assert_eq!(lab.chosen(NET), [from]);
    lab.rib.keep_for_long(from, Family::Ipv4, START);
    assert_eq!(lab.chosen(NET), [other]);
    assert_eq!(lab.chosen("11.0.0.0/8"), [from]);
    assert!(lab.chosen("10.0.0.0/8").is_empty());
    assert_eq!(lab.told(other, "11.0.0.0/8"), None, "it does not know what that means");
    lab.up(from, facts(1));
    lab.announce(from, "11.0.0.0/8", &route(1, &[65001]));
    lab.rib.end_of_rib(from, Family::Ipv4, START);
    assert!(lab.told(other, "11.0.0.0/8").is_some());
    assert_eq!(lab.rib.paths(prefix(NET)).len(), 1);
    lab.clear();
}

#[test]
fn what_an_enhanced_refresh_does_not_repeat_is_gone() {
    let mut lab = Lab::new(settings());
    let id = lab.add(neighbour(1, Relation::External));
    for net in [NET, "10.0.0.0/8"] {
        lab.announce(id, net, &route(1, &[65001]));
    }
    lab.rib.begin_refresh(id, Family::Ipv4);
    lab.announce(id, NET, &route(1, &[65001]));
    assert_eq!(lab.chosen("10.0.0.0/8"), [id]);
    lab.rib.end_refresh(id, Family::Ipv4, START);
    assert_eq!(lab.chosen(NET), [id]);
    assert!(lab.chosen("10.0.0.0/8").is_empty());
    lab.clear();
}

#[test]
fn a_route_that_flaps_is_left_out_until_it_is_calm() {
    let damping = Some(DampingSettings::default());
    let mut lab = Lab::new(settings());
    let id = lab.add(NeighbourSettings { damping, ..neighbour(1, Relation::External) });
    for _ in 0..6 {
        lab.announce(id, NET, &route(1, &[65001]));
        assert_eq!(lab.chosen(NET), [id]);
        lab.withdraw(id, NET);
    }
    lab.announce(id, NET, &route(1, &[65001]));
    assert!(lab.chosen(NET).is_empty());
    let explanation = lab.rib.explain(prefix(NET)).expect("it is kept");
    assert_eq!(explanation.paths[0].words, "suppressed because it flaps");
    let due = lab.rib.deadline().expect("it will be used again");
    assert!(due.since(START) > Duration::from_secs(30 * 60));
    lab.rib.tick(due);
    assert_eq!(lab.chosen(NET), [id]);
    lab.clear();
}

#[test]
fn several_paths_of_one_neighbour_are_told_apart() {
    let mut lab = Lab::new(settings());
    let id = lab.add(neighbour(1, Relation::External));
    lab.announce_with_id(id, NET, 1, &route(1, &[65001, 7]));
    lab.announce_with_id(id, NET, 2, &route(2, &[65001]));
    assert_eq!(lab.rib.paths(prefix(NET)).iter().map(|path| path.path_id.0).collect::<Vec<_>>(), [2, 1]);
    lab.rib.withdraw(id, &[Nlri { prefix: prefix(NET), path_id: PathId(2) }], START);
    assert_eq!(lab.rib.paths(prefix(NET)).len(), 1);
    assert_eq!(lab.rib.counters(id, Family::Ipv4).paths, 1);
    lab.clear();
}

#[test]
fn a_neighbour_has_only_so_many_paths_to_a_prefix() {
    let mut lab = Lab::new(settings());
    let id = lab.add(neighbour(1, Relation::External));
    for path in 1..=128 {
        assert_eq!(lab.announce_with_id(id, NET, path, &route(1, &[65001, path])).accepted, 1);
    }
    let one_more = lab.announce_with_id(id, NET, 129, &route(1, &[65001]));
    assert_eq!((one_more.accepted, one_more.exceeded), (0, Some(LimitScope::Prefix(id))));
    assert_eq!(lab.announce_with_id(id, NET, 128, &route(1, &[65001])).accepted, 1, "it is there already");
    assert_eq!(lab.announce_with_id(id, "10.0.0.0/8", 129, &route(1, &[65001])).accepted, 1);
    lab.clear();
}

#[test]
fn a_flood_leaves_no_memory_behind() {
    let mut lab = Lab::new(settings());
    let id = lab.add(neighbour(1, Relation::External));
    let to = lab.add(neighbour(2, Relation::External));
    let flood = |lab: &mut Lab, round: u32| {
        for number in 0..2000_u32 {
            let net = format!("{}.{}.{}.0/24", 20 + round, number / 256, number % 256);
            lab.announce(id, &net, &route(1, &[65001, round, number]));
        }
        lab.deliver_to(to, 4096);
        lab.rib.drain_changes(usize::MAX, |_, _| ());
    };
    let empty = lab.rib.totals().memory;
    flood(&mut lab, 0);
    let full = lab.rib.totals().memory;
    for round in 0..10 {
        flood(&mut lab, round);
        lab.rib.session_down(id, &[], START);
        lab.up(id, facts(1));
        lab.deliver_to(to, 4096);
        lab.rib.drain_changes(usize::MAX, |_, _| ());
    }
    let totals = lab.rib.totals();
    assert_eq!((totals.paths, totals.prefixes_v4, totals.attributes), (0, 0, 0));
    assert!(totals.memory < empty + full / 10, "{} of {full}", totals.memory);
    lab.clear();
}

/// A table that takes several goes.
fn large(lab: &mut Lab, from: NeighbourId) -> usize {
    let count = SLICE * 5 / 2;
    for number in 0..count {
        lab.announce(from, &format!("20.{}.{}.0/24", number / 256, number % 256), &route(1, &[65001]));
    }
    count
}

#[test]
fn many_routes_go_by_and_by_and_all_go() {
    let mut lab = Lab::new(settings());
    let id = lab.add(neighbour(1, Relation::External));
    let count = large(&mut lab, id);
    lab.deliver();
    assert_eq!(lab.forwarding.len(), count);
    lab.rib.session_down(id, &[], START);
    assert_eq!(lab.rib.totals().paths, count - SLICE, "one go");
    let mut goes = 1;
    while lab.rib.is_busy() {
        lab.rib.go_on(SLICE);
        goes += 1;
    }
    assert_eq!((lab.rib.totals().paths, goes), (0, 3));
    lab.deliver();
    assert!(lab.forwarding.is_empty());
    lab.clear();
}

#[test]
fn a_session_that_comes_back_meets_none_of_the_routes_that_are_going() {
    let mut lab = Lab::new(settings());
    let id = lab.add(neighbour(1, Relation::External));
    large(&mut lab, id);
    lab.rib.session_down(id, &[], START);
    assert!(lab.rib.is_busy());
    lab.up(id, facts(1));
    assert_eq!((lab.rib.totals().paths, lab.rib.counters(id, Family::Ipv4).paths), (0, 0));
    lab.announce(id, "20.0.0.0/24", &route(1, &[65001]));
    lab.announce(id, "20.79.255.0/24", &route(1, &[65001]));
    while lab.rib.is_busy() {
        lab.rib.go_on(SLICE);
    }
    assert_eq!(lab.rib.totals().paths, 2);
    lab.clear();
}

#[test]
fn a_neighbour_of_a_large_table_is_sent_all_of_it_before_the_end_of_it() {
    let mut lab = Lab::new(settings());
    let id = lab.add(neighbour(1, Relation::External));
    let count = large(&mut lab, id);
    lab.deliver();
    lab.markers.clear();
    let to = lab.add(neighbour(2, Relation::External));
    while let Some(update) = lab.rib.next_update(to, 4096) {
        assert!(!matches!(update, Update::EndOfRib(_)), "the table is not complete");
    }
    while lab.rib.is_busy() {
        lab.rib.go_on(SLICE);
    }
    lab.deliver_to(to, 4096);
    assert_eq!(lab.markers.len(), Family::ALL.len());
    assert_eq!(lab.rib.counters(to, Family::Ipv4).advertised as usize, count);
    lab.told.clear();
    lab.clear();
}
