//! Each rule of the decision, with two paths that differ in nothing but what it looks at.

use super::lab::*;
use crate::attributes::{Aggregator, AsPath, Attributes, Community, NextHop, Origin, Segment, SegmentKind};
use crate::number::{Asn, PathId, RouterId};
use crate::rib::*;
use std::time::Duration;

const NET: &str = "203.0.113.0/24";

/// Two neighbours announce; the second's path is better for the reason that is named. Then the same the other way round.
fn decides(step: Step, settings: RibSettings, relations: [Relation; 2], worse: Attributes, better: Attributes) {
    for swapped in [false, true] {
        let mut lab = Lab::new(settings.clone());
        let first = lab.add(neighbour(1, relations[0]));
        let second = lab.add(neighbour(2, relations[1]));
        let announce =
            |lab: &mut Lab, id, attributes: &Attributes| assert_eq!(lab.announce(id, NET, attributes).accepted, 1);
        if swapped {
            announce(&mut lab, second, &better);
            announce(&mut lab, first, &worse);
        } else {
            announce(&mut lab, first, &worse);
            announce(&mut lab, second, &better);
        }
        assert_eq!(lab.chosen(NET), [second], "{step:?}");
        let explanation = lab.rib.explain(prefix(NET)).expect("there are paths");
        assert_eq!(explanation.paths[0].outcome, Outcome::Best);
        assert_eq!(explanation.paths[1].outcome, Outcome::Lost(step), "{}", explanation.paths[1].words);
        lab.withdraw(second, NET);
        assert_eq!(lab.chosen(NET), [first]);
        lab.clear();
    }
}

const INSIDE: [Relation; 2] = [Relation::Internal; 2];

#[test]
fn local_preference_comes_before_the_path() {
    let worse = Attributes { local_pref: Some(100), ..route(1, &[1]) };
    let better = Attributes { local_pref: Some(101), ..route(2, &[1, 2, 3]) };
    decides(Step::LocalPref, settings(), INSIDE, worse.clone(), better);
    // None is 100.
    decides(Step::LocalPref, settings(), INSIDE, Attributes { local_pref: Some(99), ..worse }, route(2, &[1, 2]));
}

#[test]
fn the_weight_comes_before_local_preference() {
    let mut lab = Lab::new(settings());
    let first = lab.add(neighbour(1, Relation::Internal));
    let second = lab.add(NeighbourSettings { weight: 1, ..neighbour(2, Relation::Internal) });
    lab.announce(first, NET, &Attributes { local_pref: Some(500), ..route(1, &[1]) });
    lab.announce(second, NET, &route(2, &[1]));
    assert_eq!(lab.chosen(NET), [second]);
    let explanation = lab.rib.explain(prefix(NET)).expect("there are paths");
    assert_eq!(explanation.paths[1].words, "lower weight: 0 against 1");
    lab.clear();
}

#[test]
fn what_starts_here_comes_before_what_is_learned() {
    let mut lab = Lab::new(settings());
    let first = lab.add(neighbour(1, Relation::Internal));
    lab.announce(first, NET, &route(1, &[]));
    lab.rib.originate(
        prefix(NET),
        PathId(0),
        &Attributes { origin: Origin::Incomplete, ..Attributes::default() },
        START,
    );
    assert_eq!(lab.chosen(NET), [NeighbourId::LOCAL]);
    lab.rib.withdraw_local(prefix(NET), PathId(0), START);
    assert_eq!(lab.chosen(NET), [first]);
    lab.clear();
}

#[test]
fn the_shorter_path_wins_and_a_set_counts_as_one() {
    decides(Step::AsPathLength, settings(), INSIDE, route(1, &[1, 2, 3]), route(2, &[1, 2]));
    let mut set = route(2, &[1]);
    let asns = (10..20).map(Asn).collect();
    set.as_path.segments.push(Segment { kind: SegmentKind::Set, asns });
    decides(Step::AsPathLength, settings(), INSIDE, route(1, &[1, 2, 3]), set.clone());
    set.as_path.segments.insert(0, Segment { kind: SegmentKind::ConfederationSequence, asns: vec![Asn(9); 5] });
    decides(Step::AsPathLength, settings(), INSIDE, route(1, &[1, 2, 3]), set);
}

#[test]
fn the_lower_origin_wins() {
    let with = |number, origin| Attributes { origin, ..route(number, &[1]) };
    decides(Step::Origin, settings(), INSIDE, with(1, Origin::Incomplete), with(2, Origin::Egp));
    decides(Step::Origin, settings(), INSIDE, with(1, Origin::Egp), with(2, Origin::Igp));
}

#[test]
fn the_lower_med_wins_within_one_neighbouring_system() {
    let with = |number, path: &[u32], med| Attributes { med, ..route(number, path) };
    decides(Step::Med, settings(), INSIDE, with(1, &[1], Some(20)), with(2, &[1], Some(10)));
    decides(Step::Med, settings(), INSIDE, with(1, &[1], Some(20)), with(2, &[1], None));
    let across = RibSettings { med_scope: MedScope::AcrossAsns, ..settings() };
    decides(Step::Med, across, INSIDE, with(1, &[1], Some(20)), with(2, &[2], Some(10)));
    let worst = RibSettings { missing_med: MissingMed::Worst, ..settings() };
    decides(Step::Med, worst, INSIDE, with(1, &[1], None), with(2, &[1], Some(10)));
    // Of two systems it says nothing: the identifier decides, for the first.
    let mut lab = Lab::new(settings());
    let ids = [1, 2].map(|number| lab.add(neighbour(number, Relation::Internal)));
    lab.announce(ids[0], NET, &with(1, &[1], Some(20)));
    lab.announce(ids[1], NET, &with(2, &[2], Some(10)));
    assert_eq!(lab.chosen(NET), [ids[0]]);
}

#[test]
fn meds_do_not_make_the_outcome_depend_on_the_order() {
    // RFC 5004's and Cisco's example of three paths, two through one system.
    let paths = [
        Attributes { med: Some(150), ..route(3, &[1]) },
        Attributes { med: Some(200), ..route(1, &[2]) },
        Attributes { med: Some(100), ..route(2, &[2]) },
    ];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        let mut lab = Lab::new(settings());
        let ids = [3, 1, 2].map(|number| lab.add(neighbour(number, Relation::Internal)));
        for index in order {
            lab.announce(ids[index], NET, &paths[index]);
        }
        assert_eq!(lab.chosen(NET), [ids[2]], "{order:?}");
    }
}

#[test]
fn outside_comes_before_inside() {
    decides(
        Step::External,
        settings(),
        [Relation::Internal, Relation::External],
        route(1, &[65002]),
        route(2, &[65002]),
    );
}

#[test]
fn the_nearer_next_hop_wins_and_an_unreachable_one_is_not_used() {
    let mut lab = Lab::new(settings());
    let ids = [1, 2].map(|number| lab.add(neighbour(number, Relation::Internal)));
    for (number, id) in [(1, ids[0]), (2, ids[1])] {
        lab.announce(id, NET, &route(number, &[1]));
    }
    let hop = |number| NextHop::from(address(number));
    assert_eq!(lab.chosen(NET), [ids[0]]);
    lab.rib.resolve(hop(1), Reachability::Reachable(10));
    assert_eq!(lab.chosen(NET), [ids[1]]);
    let explanation = lab.rib.explain(prefix(NET)).expect("there are paths");
    assert_eq!(explanation.paths[1].words, "farther next hop: 10 against 0");
    lab.rib.resolve(hop(2), Reachability::Unreachable);
    assert_eq!(lab.chosen(NET), [ids[0]]);
    lab.rib.resolve(hop(1), Reachability::Unreachable);
    assert!(lab.chosen(NET).is_empty());
    lab.deliver();
    assert!(lab.forwarding.is_empty());
    lab.rib.forget_next_hop(hop(2));
    assert_eq!(lab.chosen(NET), [ids[1]]);
    lab.deliver();
    assert_eq!(lab.forwarding[&prefix(NET)], [hop(2)]);
    lab.clear();
}

#[test]
fn next_hops_are_asked_for_once_and_let_go_with_their_last_route() {
    let mut lab = Lab::new(RibSettings { unresolved: UnresolvedNextHop::Unreachable, ..settings() });
    let id = lab.add(neighbour(1, Relation::Internal));
    let hop = NextHop::from(address(1));
    lab.announce(id, NET, &route(1, &[1]));
    lab.announce(id, "10.0.0.0/8", &route(1, &[1, 2]));
    assert!(lab.chosen(NET).is_empty());
    assert_eq!(lab.rib.take_next_hop_interest(), [(hop, NextHopInterest::Needed)]);
    lab.rib.resolve(hop, Reachability::Reachable(1));
    assert_eq!(lab.chosen(NET), [id]);
    lab.withdraw(id, NET);
    assert!(lab.rib.take_next_hop_interest().is_empty());
    lab.withdraw(id, "10.0.0.0/8");
    assert_eq!(lab.rib.take_next_hop_interest(), [(hop, NextHopInterest::Released)]);
    lab.announce(id, NET, &route(1, &[1]));
    lab.withdraw(id, NET);
    assert!(lab.rib.take_next_hop_interest().is_empty(), "needed and released before anybody asked");
    lab.clear();
}

#[test]
fn the_older_of_two_from_outside_wins_where_asked_for() {
    let oldest = RibSettings { tie_break: TieBreak::Oldest, ..settings() };
    for (settings, winner) in [(oldest, 1), (settings(), 0)] {
        let mut lab = Lab::new(settings);
        let ids = [1, 2].map(|number| lab.add(neighbour(number, Relation::External)));
        lab.announce(ids[1], NET, &route(2, &[65002]));
        lab.now = lab.now + Duration::from_secs(5);
        lab.announce(ids[0], NET, &route(1, &[65001]));
        assert_eq!(lab.chosen(NET), [ids[winner]]);
        lab.clear();
    }
}

#[test]
fn the_lower_identifier_wins_and_the_originators_counts() {
    let from = |number, id| Attributes { originator_id: Some(RouterId([10, 0, 0, id].into())), ..route(number, &[1]) };
    decides(Step::RouterId, settings(), INSIDE, from(1, 2), from(2, 1));
    // 10.0.0.1 is lower than the first neighbour's own 192.0.2.1.
    decides(Step::RouterId, settings(), INSIDE, route(1, &[1]), from(2, 1));
}

#[test]
fn the_shorter_cluster_list_wins() {
    let reflected = |number, clusters: u8| Attributes {
        originator_id: Some(RouterId([10, 0, 0, 1].into())),
        cluster_list: (0..clusters).map(|cluster| RouterId([10, 0, 1, cluster].into())).collect(),
        ..route(number, &[1])
    };
    decides(Step::ClusterListLength, settings(), INSIDE, reflected(1, 2), reflected(2, 1));
}

#[test]
fn the_lower_address_wins_in_the_end() {
    let mut lab = Lab::new(settings());
    let ids = [2, 1].map(|number| lab.rib.add_neighbour(neighbour(number, Relation::Internal)));
    for id in ids {
        lab.up(id, facts(9));
        lab.announce(id, NET, &route(9, &[1]));
    }
    assert_eq!(lab.chosen(NET), [ids[1]]);
    let explanation = lab.rib.explain(prefix(NET)).expect("there are paths");
    assert_eq!(explanation.paths[1].words, "higher neighbour address: 192.0.2.2 against 192.0.2.1");
    // And of two paths of one neighbour the lower identifier.
    lab.announce_with_id(ids[1], NET, 7, &route(8, &[1]));
    assert_eq!(lab.chosen(NET), [ids[1]]);
    assert_eq!(lab.rib.explain(prefix(NET)).map(|one| one.paths.len()), Some(3));
    lab.deliver();
    assert_eq!(lab.forwarding[&prefix(NET)], [NextHop::from(address(9))]);
    lab.clear();
}

#[test]
fn long_lived_stale_routes_come_last() {
    let stale = Attributes { communities: vec![Community::LLGR_STALE], local_pref: Some(900), ..route(1, &[1]) };
    decides(Step::LongLivedStale, settings(), INSIDE, stale, route(2, &[1, 2, 3]));
}

#[test]
fn equal_paths_are_used_together_up_to_the_maximum() {
    let multipath = |maximum, paths| RibSettings { multipath: Multipath { maximum, paths }, ..settings() };
    let chosen = |settings, paths: [&[u32]; 3]| {
        let mut lab = Lab::new(settings);
        for (index, path) in paths.into_iter().enumerate() {
            let number = 1 + index as u8;
            let settings = NeighbourSettings { enforce_first_asn: false, ..neighbour(number, Relation::External) };
            let id = lab.add(settings);
            lab.announce(id, NET, &route(number, path));
        }
        let chosen: Vec<u32> = lab.chosen(NET).iter().map(|id| id.0).collect();
        lab.deliver();
        assert_eq!(lab.forwarding[&prefix(NET)].len(), chosen.len());
        lab.clear();
        chosen
    };
    let [same, other, longer]: [&[u32]; 3] = [&[7, 9], &[8, 9], &[7, 8, 9]];
    assert_eq!(chosen(multipath(1, EqualPaths::SameLength), [same, same, same]), [0]);
    assert_eq!(chosen(multipath(2, EqualPaths::SameLength), [same, same, same]), [0, 1]);
    assert_eq!(chosen(multipath(8, EqualPaths::SameLength), [same, other, same]), [0, 1, 2]);
    assert_eq!(chosen(multipath(8, EqualPaths::SameNeighbour), [same, other, same]), [0, 2]);
    assert_eq!(chosen(multipath(8, EqualPaths::SameLength), [longer, same, same]), [1, 2]);
}

#[test]
fn forwarding_is_told_only_of_what_concerns_it() {
    let mut lab = Lab::new(settings());
    let id = lab.add(neighbour(1, Relation::Internal));
    lab.announce(id, NET, &route(1, &[1]));
    lab.deliver();
    lab.announce(id, NET, &Attributes { med: Some(5), ..route(1, &[1, 2]) });
    assert!(!lab.rib.has_changes(), "the next hop is the same");
    lab.announce(id, NET, &route(7, &[1, 2]));
    assert!(lab.rib.has_changes());
    lab.deliver();
    assert_eq!(lab.forwarding[&prefix(NET)], [NextHop::from(address(7))]);
    lab.rib.repeat_changes();
    lab.forwarding.clear();
    lab.deliver();
    assert_eq!(lab.forwarding.len(), 1);
    lab.clear();
}

#[test]
fn an_aggregate_lives_while_something_is_in_it() {
    for (summary_only, keep_as_path) in [(false, false), (true, false), (true, true)] {
        let aggregate = AggregateSettings { prefix: prefix("203.0.0.0/16"), summary_only, keep_as_path };
        let mut lab = Lab::new(RibSettings { aggregates: vec![aggregate], ..settings() });
        let from = lab.add(neighbour(1, Relation::External));
        let to = lab.add(neighbour(2, Relation::External));
        lab.announce(from, NET, &Attributes { origin: Origin::Egp, ..route(1, &[65001, 7]) });
        lab.announce(from, "203.0.114.0/24", &route(1, &[65001, 8]));
        let told = lab.told(to, "203.0.0.0/16").expect("the aggregate");
        assert_eq!(told.aggregator, Some(Aggregator { asn: OWN, router: settings().router_id }));
        assert_eq!(told.origin, Origin::Egp);
        assert_eq!(told.atomic_aggregate, !keep_as_path);
        let path = if keep_as_path { "65000 {7,8,65001}" } else { "65000" };
        assert_eq!(told.as_path.to_string(), path);
        assert_eq!(lab.told(to, NET).is_none(), summary_only);
        lab.withdraw(from, NET);
        let told = lab.told(to, "203.0.0.0/16").expect("one is left");
        assert_eq!(told.origin, Origin::Igp);
        lab.withdraw(from, "203.0.114.0/24");
        assert_eq!(lab.told(to, "203.0.0.0/16"), None);
        lab.clear();
    }
}

#[test]
fn a_confederations_members_are_not_counted() {
    let mut inside = route(2, &[1]);
    inside.as_path.prepend_as(SegmentKind::ConfederationSequence, Asn(65100), 4);
    let relations = [Relation::Internal, Relation::ConfederationExternal];
    let confederation = Some(Confederation { identifier: Asn(100) });
    decides(Step::AsPathLength, RibSettings { confederation, ..settings() }, relations, route(1, &[1, 2]), inside);
    assert_eq!(AsPath::default().length(), 0);
}
