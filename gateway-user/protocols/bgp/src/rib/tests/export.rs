//! What goes to whom, and how it is changed.

use super::lab::*;
use crate::attributes::{Attributes, Community, NextHop, SegmentKind};
use crate::number::{Asn, Family, PathId, RouterId};
use crate::policy::{Criterion, Entry, EntryAction, Policy, Setting, Verdict};
use crate::rib::*;
use std::sync::Arc;

const NET: &str = "203.0.113.0/24";

type Parts<'a> = &'a [(&'a str, &'a str)];

fn policy(entries: &[(EntryAction, Parts<'_>, Parts<'_>)]) -> Arc<Policy> {
    let entries: Vec<Entry> = entries
        .iter()
        .map(|(action, criteria, settings)| Entry {
            name: String::new(),
            action: *action,
            criteria: criteria
                .iter()
                .map(|(name, value)| Criterion { property: (*name).into(), value: vec![(*value).into()] })
                .collect(),
            settings: settings
                .iter()
                .map(|(name, value)| Setting { property: (*name).into(), value: vec![(*value).into()] })
                .collect(),
        })
        .collect();
    Arc::new(Policy::from_entries("P", &entries, Verdict::Permit).expect("it makes sense"))
}

/// What the second neighbour is told of a route of the first one.
fn sent(from: NeighbourSettings, to: NeighbourSettings, attributes: &Attributes) -> Option<Attributes> {
    sent_by(settings(), from, to, attributes)
}

fn sent_by(
    settings: RibSettings,
    from: NeighbourSettings,
    to: NeighbourSettings,
    attributes: &Attributes,
) -> Option<Attributes> {
    let mut lab = Lab::new(settings);
    let (from, to) = (lab.add(from), lab.add(to));
    assert_eq!(lab.announce(from, NET, attributes).accepted, 1);
    let told = lab.told(to, NET);
    assert_eq!(lab.told(from, NET), None, "it came from there");
    let explanation = lab.rib.explain(prefix(NET)).expect("there is a path");
    let of = |id| explanation.neighbours.iter().find(|one| one.neighbour == id).map(|one| one.sent.clone());
    assert_eq!(of(from), Some(Err(Refusal::CameFromThere)));
    match (&told, of(to)) {
        (Some(told), Some(Ok(Some(said)))) => assert_eq!(*told, said),
        (None, Some(Err(_)) | None) => {}
        other => panic!("told and explained differ: {other:?}"),
    }
    lab.withdraw(from, NET);
    assert_eq!(lab.told(to, NET), None);
    lab.clear();
    told
}

fn sent_between(from: Relation, to: Relation, attributes: &Attributes) -> Option<Attributes> {
    sent(neighbour(1, from), neighbour(2, to), attributes)
}

#[test]
fn outside_the_path_grows_and_what_is_internal_goes() {
    let route = Attributes {
        local_pref: Some(200),
        med: Some(5),
        originator_id: Some(RouterId([10, 0, 0, 1].into())),
        cluster_list: vec![RouterId([10, 0, 0, 2].into())],
        extended_communities: vec!["rt:1:1".parse().expect("one"), "4002000100000001".parse().expect("one")],
        ..route(1, &[7, 8])
    };
    let told = sent_between(Relation::Internal, Relation::External, &route).expect("it is sent");
    assert_eq!(told.as_path.to_string(), "65000 7 8");
    assert_eq!((told.local_pref, told.med, told.originator_id), (None, None, None));
    assert!(told.cluster_list.is_empty());
    assert_eq!(told.next_hop, NextHop::from(address(254)));
    assert_eq!(told.extended_communities.len(), 1, "the other one is not transitive");
}

#[test]
fn inside_the_route_goes_as_it_came() {
    let route = Attributes { med: Some(5), ..route(1, &[65001, 8]) };
    let told = sent_between(Relation::External, Relation::Internal, &route).expect("it is sent");
    assert_eq!(told, Attributes { local_pref: Some(100), ..route });
}

#[test]
fn only_clients_have_their_routes_reflected_and_get_those_of_others() {
    use Relation::{Client, External, Internal};
    for (from, to, goes) in [
        (Internal, Internal, false),
        (Internal, Client, true),
        (Client, Internal, true),
        (Client, Client, true),
        (External, Internal, true),
        (External, Client, true),
        (Internal, External, true),
        (Client, External, true),
        (External, External, true),
    ] {
        let path: &[u32] = if from == External { &[65001] } else { &[] };
        assert_eq!(sent_between(from, to, &route(1, path)).is_some(), goes, "{from:?} to {to:?}");
    }
    let apart = RibSettings { client_to_client: ClientToClient::Withheld, ..settings() };
    assert_eq!(sent_by(apart, neighbour(1, Client), neighbour(2, Client), &route(1, &[])), None);
}

#[test]
fn a_reflected_route_names_its_originator_and_the_cluster() {
    let own = settings().router_id;
    let told = sent_between(Relation::Client, Relation::Client, &route(1, &[7])).expect("it is reflected");
    assert_eq!(told.originator_id, Some(RouterId([192, 0, 2, 1].into())));
    assert_eq!(told.cluster_list, [own]);
    assert_eq!(told.next_hop, NextHop::from(address(1)), "the next hop stays");
    let (originator, cluster) = (RouterId([10, 0, 0, 1].into()), RouterId([10, 0, 0, 2].into()));
    let before = Attributes { originator_id: Some(originator), cluster_list: vec![cluster], ..route(1, &[7]) };
    let settings = RibSettings { cluster_id: Some(RouterId([10, 0, 0, 9].into())), ..settings() };
    let told = sent_by(settings, neighbour(1, Relation::Internal), neighbour(2, Relation::Client), &before);
    let told = told.expect("it is reflected");
    assert_eq!(told.originator_id, Some(originator));
    assert_eq!(told.cluster_list, [RouterId([10, 0, 0, 9].into()), cluster]);
}

#[test]
fn well_known_communities_keep_routes_in() {
    use Relation::{ConfederationExternal, External, Internal};
    let with = |community| Attributes { communities: vec![community], ..route(1, &[65001]) };
    let confederation = RibSettings { confederation: Some(Confederation { identifier: Asn(100) }), ..settings() };
    for (community, to, goes) in [
        (Community::NO_EXPORT, Internal, true),
        (Community::NO_EXPORT, ConfederationExternal, true),
        (Community::NO_EXPORT, External, false),
        (Community::NO_EXPORT_SUBCONFED, Internal, true),
        (Community::NO_EXPORT_SUBCONFED, ConfederationExternal, false),
        (Community::NO_ADVERTISE, Internal, false),
        (Community::BLACKHOLE, External, true),
        (Community::NO_PEER, External, true),
    ] {
        let told = sent_by(confederation.clone(), neighbour(1, External), neighbour(2, to), &with(community));
        assert_eq!(told.is_some(), goes, "{community} to {to:?}");
        assert!(told.is_none_or(|told| told.communities == [community]), "it stays on the route");
    }
    let peer = NeighbourSettings { role: Some(Role::Peer), ..neighbour(2, External) };
    assert_eq!(sent(neighbour(1, External), peer, &with(Community::NO_PEER)), None);
}

#[test]
fn a_confederation_is_one_system_to_the_world() {
    let settings = RibSettings { confederation: Some(Confederation { identifier: Asn(100) }), ..settings() };
    let mut route = route(1, &[7]);
    route.as_path.prepend_as(SegmentKind::ConfederationSequence, Asn(65001), 1);
    let from = neighbour(1, Relation::ConfederationExternal);
    let outside = sent_by(settings.clone(), from.clone(), neighbour(2, Relation::External), &route);
    assert_eq!(outside.expect("it is sent").as_path.to_string(), "100 7");
    let inside = sent_by(settings, from, neighbour(2, Relation::ConfederationExternal), &route).expect("it is sent");
    assert_eq!(inside.as_path.to_string(), "(65000 65001) 7");
    assert_eq!(inside.local_pref, Some(100));
}

#[test]
fn the_next_hop_is_as_the_mode_says() {
    use Relation::{Client, External, Internal};
    let (own, theirs) = (NextHop::from(address(254)), NextHop::from(address(1)));
    for (mode, from, to, hop) in [
        (NextHopMode::Standard, External, External, own),
        (NextHopMode::Standard, External, Internal, theirs),
        (NextHopMode::ToSelf, External, Internal, own),
        (NextHopMode::ToSelf, Internal, Client, theirs),
        (NextHopMode::ToSelfAlways, Internal, Client, own),
        (NextHopMode::Unchanged, External, External, theirs),
    ] {
        let path: &[u32] = if from == External { &[65001] } else { &[] };
        let to_settings = NeighbourSettings { next_hop: mode, ..neighbour(2, to) };
        let told = sent(neighbour(1, from), to_settings, &route(1, path)).expect("it is sent");
        assert_eq!(told.next_hop, hop, "{mode:?} {from:?} to {to:?}");
    }
    let shared = NeighbourSettings { shared_subnets: vec![prefix("192.0.2.0/24")], ..neighbour(2, External) };
    let told = sent(neighbour(1, External), shared, &route(1, &[65001])).expect("it is sent");
    assert_eq!(told.next_hop, theirs, "a third party on the same subnet");
}

#[test]
fn a_family_needs_a_next_hop_of_its_own() {
    let mut lab = Lab::new(settings());
    let from = lab.add(neighbour(1, Relation::Internal));
    let to = lab.rib.add_neighbour(neighbour(2, Relation::External));
    let v6 = Attributes { next_hop: NextHop::V6 { global: 9.into(), link_local: None }, ..route(1, &[7]) };
    lab.announce(from, "2001:db8:1::/48", &v6);
    lab.announce(from, NET, &route(1, &[7]));
    let bare = SessionFacts { local_v6: None, ..facts(2) };
    lab.up(to, bare.clone());
    assert_eq!(lab.told(to, "2001:db8:1::/48"), None);
    let explanation = lab.rib.explain(prefix("2001:db8:1::/48")).expect("there is a path");
    assert_eq!(explanation.neighbours[1].sent, Err(Refusal::NoNextHop));
    let link = Some("fe80::1".parse().expect("an address"));
    lab.up(to, SessionFacts { local_link: link, ..facts(2) });
    let own = facts(2).local_v6.expect("the lab has one");
    let hop = NextHop::V6 { global: own, link_local: link };
    assert_eq!(lab.told(to, "2001:db8:1::/48").map(|told| told.next_hop), Some(hop));
    // IPv4 routes over IPv6 next hops, where both can (RFC 8950).
    let only_v6 = SessionFacts { local_v4: None, ..facts(2) };
    lab.up(to, only_v6.clone());
    assert_eq!(lab.told(to, NET), None);
    lab.up(to, SessionFacts { extended_next_hop: true, ..only_v6 });
    let hop = NextHop::V6 { global: own, link_local: None };
    assert_eq!(lab.told(to, NET).map(|told| told.next_hop), Some(hop));
    lab.clear();
}

#[test]
fn a_neighbours_number_may_be_replaced() {
    let to = NeighbourSettings { as_override: true, ..neighbour(2, Relation::External) };
    let told = sent(neighbour(1, Relation::External), to, &route(1, &[65001, 65002, 65002])).expect("it is sent");
    assert_eq!(told.as_path.to_string(), "65000 65001 65000 65000");
}

#[test]
fn only_to_customer_keeps_routes_from_going_up_again() {
    let told = |from, to, otc| {
        let settings = |number, role| NeighbourSettings { role, ..neighbour(number, Relation::External) };
        let route = Attributes { only_to_customer: otc, ..route(1, &[65001]) };
        sent(settings(1, from), settings(2, to), &route).map(|told| told.only_to_customer)
    };
    let (up, down, peer) = (Some(Role::Customer), Some(Role::Provider), Some(Role::Peer));
    assert_eq!(told(up, down, None), Some(Some(Asn(65001))), "marked where it came in");
    assert_eq!(told(up, up, None), None);
    assert_eq!(told(up, peer, None), None);
    assert_eq!(told(peer, up, None), None);
    assert_eq!(told(down, up, None), Some(None), "a customer's route goes everywhere");
    assert_eq!(told(down, down, None), Some(Some(OWN)), "marked where it goes out");
    assert_eq!(told(None, None, Some(Asn(9))), Some(Some(Asn(9))));
}

#[test]
fn an_export_policy_decides_and_changes() {
    let prepend = policy(&[
        (EntryAction::Deny, &[("Community", "1:1")], &[]),
        (EntryAction::Allow, &[("MatchPrefix", NET)], &[("Prepend", "2"), ("MED", "9"), ("Next-Hop", "198.51.100.1")]),
    ]);
    let to = NeighbourSettings { export: Some(prepend), ..neighbour(2, Relation::External) };
    let from = neighbour(1, Relation::External);
    let told = sent(from.clone(), to.clone(), &route(1, &[65001])).expect("it is sent");
    assert_eq!(told.as_path.to_string(), "65000 65000 65000 65001");
    assert_eq!((told.med, told.next_hop.to_string().as_str()), (Some(9), "198.51.100.1"));
    let marked = Attributes { communities: vec![Community::of(1, 1)], ..route(1, &[65001]) };
    let mut lab = Lab::new(settings());
    let (from, to) = (lab.add(from), lab.add(to));
    lab.announce(from, NET, &marked);
    assert_eq!(lab.told(to, NET), None);
    let explanation = lab.rib.explain(prefix(NET)).expect("there is a path");
    let refusal = explanation.neighbours[1].sent.clone().expect_err("it is denied");
    assert_eq!(refusal.to_string(), "denied by policy P, statement 1");
    lab.clear();
}

#[test]
fn without_a_policy_nothing_goes_where_one_is_required() {
    let to = NeighbourSettings { without_policy: WithoutPolicy::DenyExternal, ..neighbour(2, Relation::External) };
    assert_eq!(sent(neighbour(1, Relation::External), to.clone(), &route(1, &[65001])), None);
    let inside = NeighbourSettings { relation: Relation::Internal, asn: OWN, ..to };
    assert!(sent(neighbour(1, Relation::External), inside, &route(1, &[65001])).is_some());
}

#[test]
fn another_policy_sends_the_difference_and_nothing_else() {
    let mut lab = Lab::new(settings());
    let from = lab.add(neighbour(1, Relation::External));
    let to = lab.add(neighbour(2, Relation::External));
    let stays = lab.add(neighbour(3, Relation::External));
    let nets = [NET, "198.51.100.0/24", "10.0.0.0/8"];
    for net in nets {
        lab.announce(from, net, &route(1, &[65001]));
    }
    lab.deliver();
    assert_eq!(lab.rib.totals().groups, 1);
    let change = |lab: &mut Lab, export| {
        let before = lab.rib.counters(to, Family::Ipv4);
        let settings = NeighbourSettings { export, ..neighbour(2, Relation::External) };
        assert_eq!(lab.rib.change_neighbour(to, settings, START), Ok(AfterChange::Done));
        lab.deliver();
        let after = lab.rib.counters(to, Family::Ipv4);
        assert_eq!(lab.rib.counters(stays, Family::Ipv4).announcements_out, 3);
        let sent = after.announcements_out - before.announcements_out;
        (sent, after.withdrawals_out - before.withdrawals_out, after.advertised)
    };
    let deny = policy(&[(EntryAction::Deny, &[("MatchPrefix", NET)], &[])]);
    assert_eq!(change(&mut lab, Some(deny.clone())), (0, 1, 2));
    assert_eq!(change(&mut lab, Some(deny)), (0, 0, 2));
    let raise = policy(&[(EntryAction::Allow, &[("MatchPrefix", NET)], &[("MED", "1")])]);
    assert_eq!(change(&mut lab, Some(raise)), (1, 0, 3));
    assert_eq!(change(&mut lab, None), (1, 0, 3));
    assert_eq!(lab.rib.totals().groups, 1);
    lab.clear();
}

#[test]
fn prefixes_with_the_same_attributes_go_together_and_messages_keep_their_size() {
    let mut lab = Lab::new(settings());
    let from = lab.add(neighbour(1, Relation::External));
    let to = lab.add(neighbour(2, Relation::External));
    // The two sets alternate, as from a table that was sorted by prefix.
    for number in 0..2000_u32 {
        let net = format!("10.{}.{}.0/24", number / 256, number % 256);
        lab.announce(from, &net, &route(1, &[65001, 1 + number % 2]));
    }
    let (mut prefixes, mut messages) = (0, 0);
    while let Some(update) = lab.rib.next_update(to, 4096) {
        let Update::Announce { attributes, nlri, .. } = update else { continue };
        let octets = 23 + lab.rib.attributes().canonical(attributes).len() + nlri.len() * 4;
        assert!(octets <= 4096, "{octets}");
        prefixes += nlri.len();
        messages += 1;
    }
    assert_eq!((prefixes, messages), (2000, 2));
    lab.clear();
}

#[test]
fn attributes_that_fit_no_message_are_withdrawn() {
    let mut lab = Lab::new(settings());
    let from = lab.add(neighbour(1, Relation::External));
    let to = lab.add(neighbour(2, Relation::External));
    lab.announce(from, NET, &route(1, &[65001]));
    assert!(lab.told(to, NET).is_some());
    let huge = Attributes { communities: vec![Community::of(1, 1); 1100], ..route(1, &[65001]) };
    lab.announce(from, NET, &huge);
    assert_eq!(lab.told(to, NET), None);
    lab.announce(from, NET, &route(1, &[65001]));
    assert!(lab.told(to, NET).is_some());
    lab.clear();
}

#[test]
fn a_table_ends_with_its_marker_and_a_refresh_repeats_it() {
    let mut lab = Lab::new(settings());
    let from = lab.add(neighbour(1, Relation::External));
    lab.announce(from, NET, &route(1, &[65001]));
    let to = lab.add(neighbour(2, Relation::External));
    let next = |lab: &mut Lab| match lab.rib.next_update(to, 4096) {
        Some(Update::Announce { nlri, .. }) => format!("{}", nlri[0].prefix),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    };
    assert_eq!([(); 4].map(|()| next(&mut lab)), [NET, "EndOfRib(Ipv4)", "EndOfRib(Ipv6)", ""]);
    lab.rib.refresh(to, Family::Ipv4, Enhanced::No);
    assert_eq!([(); 2].map(|()| next(&mut lab)), [NET, ""]);
    lab.rib.refresh(to, Family::Ipv4, Enhanced::Yes);
    assert_eq!([(); 4].map(|()| next(&mut lab)), ["BeginOfRefresh(Ipv4)", NET, "EndOfRefresh(Ipv4)", ""]);
    lab.clear();
}

#[test]
fn nothing_is_told_while_the_table_is_held() {
    let mut lab = Lab::new(settings());
    lab.rib.hold();
    let from = lab.add(neighbour(1, Relation::External));
    let to = lab.add(neighbour(2, Relation::External));
    lab.announce(from, NET, &route(1, &[65001]));
    lab.deliver();
    assert!(lab.told.is_empty() && lab.markers.is_empty() && lab.forwarding.is_empty());
    lab.rib.release();
    assert!(lab.told(to, NET).is_some());
    assert_eq!((lab.markers.len(), lab.forwarding.len()), (4, 1));
    lab.clear();
}

#[test]
fn a_reader_that_sleeps_is_told_only_how_things_stand() {
    let mut lab = Lab::new(settings());
    let from = lab.add(neighbour(1, Relation::External));
    let to = lab.add(neighbour(2, Relation::External));
    lab.announce(from, "10.0.0.0/8", &route(1, &[65001]));
    lab.deliver();
    for round in 0..100 {
        for number in 0..50 {
            let net = format!("203.{number}.0.0/16");
            lab.announce(from, &net, &route(1, &[65001, round]));
        }
        for number in 0..50 {
            lab.withdraw(from, &format!("203.{number}.0.0/16"));
        }
        lab.rib.drain_changes(usize::MAX, |_, _| ());
    }
    assert!(!lab.rib.has_updates(to), "it never heard of them");
    assert_eq!(lab.rib.totals().prefixes_v4, 1);
    lab.announce(from, "10.0.0.0/8", &route(1, &[65001, 5]));
    lab.withdraw(from, "10.0.0.0/8");
    assert!(matches!(lab.rib.next_update(to, 4096), Some(Update::Withdraw { .. })));
    assert_eq!(lab.rib.next_update(to, 4096), None);
    lab.told.clear();
    lab.clear();
}

#[test]
fn several_paths_are_sent_where_the_session_can() {
    for (how_many, wanted) in [(AddPathSend::Best, 1), (AddPathSend::BestOf(2), 2), (AddPathSend::All, 3)] {
        let mut lab = Lab::new(settings());
        let to = lab.rib.add_neighbour(NeighbourSettings { add_path: how_many, ..neighbour(9, Relation::External) });
        lab.up(to, SessionFacts { add_path_send: vec![Family::Ipv4], ..facts(9) });
        let from = [1, 2, 3].map(|number| lab.add(neighbour(number, Relation::External)));
        for (index, id) in from.into_iter().enumerate() {
            let number = 1 + index as u8;
            lab.announce(id, NET, &route(number, &[65000 + u32::from(number)]));
        }
        lab.deliver();
        let paths = |lab: &Lab| {
            let told = lab.told.iter().filter(|((id, _, _), _)| *id == to);
            told.map(|((_, _, path), one)| (*path, one.as_path.to_string())).collect::<Vec<_>>()
        };
        let sent = paths(&lab);
        assert_eq!(sent.len(), wanted);
        assert_eq!(lab.rib.advertised(to).len(), wanted);
        assert!(sent.iter().all(|(path, _)| *path != PathId(0)));
        assert_eq!(lab.rib.counters(to, Family::Ipv4).advertised, 1, "one prefix");
        lab.withdraw(from[0], NET);
        lab.deliver();
        let left = paths(&lab);
        assert_eq!(left.len(), wanted.min(2));
        assert!(left.iter().all(|(_, path)| path != "65000 65001"));
        lab.clear();
    }
}

#[test]
fn a_default_route_is_sent_where_asked_for() {
    let mut lab = Lab::new(settings());
    let to = lab.add(NeighbourSettings { default_originate: true, ..neighbour(1, Relation::External) });
    let other = lab.add(neighbour(2, Relation::External));
    let told = lab.told(to, "0.0.0.0/0").expect("the default route");
    assert_eq!(told.as_path.to_string(), "65000");
    assert!(lab.told(to, "::/0").is_some());
    assert_eq!(lab.told(other, "0.0.0.0/0"), None);
    lab.announce(other, "0.0.0.0/0", &route(2, &[65002]));
    assert_eq!(lab.told(to, "0.0.0.0/0").map(|told| told.as_path.to_string()).as_deref(), Some("65000"));
    let plain = neighbour(1, Relation::External);
    assert_eq!(lab.rib.change_neighbour(to, plain, START), Ok(AfterChange::Done));
    assert_eq!(lab.told(to, "0.0.0.0/0").map(|told| told.as_path.to_string()).as_deref(), Some("65000 65002"));
    assert_eq!(lab.told(to, "::/0"), None);
    lab.clear();
}

#[test]
fn long_lived_stale_routes_go_only_to_who_knows_what_that_means() {
    let stale = Attributes { communities: vec![Community::LLGR_STALE], ..route(1, &[65001]) };
    let mut lab = Lab::new(settings());
    let from = lab.add(neighbour(1, Relation::External));
    let knows = lab.rib.add_neighbour(neighbour(2, Relation::External));
    lab.up(knows, SessionFacts { long_lived: true, ..facts(2) });
    let other = lab.add(neighbour(3, Relation::External));
    lab.announce(from, NET, &stale);
    assert!(lab.told(knows, NET).is_some());
    assert_eq!(lab.told(other, NET), None);
    lab.clear();
}

#[test]
fn a_route_that_goes_round_three_reflectors_ends_there() {
    // Each is a client of the next one: the originator and the cluster list stop the route.
    let mut labs: Vec<(Lab, NeighbourId, NeighbourId)> = (0..3_u8)
        .map(|number| {
            let mut lab = Lab::new(RibSettings::new(OWN, RouterId([10, 0, 0, number].into())));
            let (from, to) = (lab.add(neighbour(1, Relation::Client)), lab.add(neighbour(2, Relation::Client)));
            let before = RouterId([10, 0, 0, (number + 2) % 3].into());
            lab.up(from, SessionFacts { router_id: before, ..facts(1) });
            (lab, from, to)
        })
        .collect();
    let outside = labs[0].0.add(neighbour(7, Relation::External));
    labs[0].0.announce(outside, NET, &route(7, &[65007]));
    let mut hops = 0;
    let mut at = 0;
    loop {
        let (lab, _, to) = &mut labs[at];
        let Some(told) = lab.told(*to, NET) else { break };
        at = (at + 1) % 3;
        let (lab, from, _) = &mut labs[at];
        if lab.announce(*from, NET, &told).accepted == 0 {
            break;
        }
        hops += 1;
        assert!(hops < 10, "it goes round for ever");
    }
    assert_eq!(hops, 2);
}

#[test]
fn what_was_about_to_be_sent_may_be_gone_with_everything_else() {
    let mut lab = Lab::new(settings());
    let from = lab.add(neighbour(1, Relation::External));
    let to = lab.add(neighbour(2, Relation::External));
    for number in 0..200_u32 {
        lab.announce(from, &format!("10.{number}.0.0/16"), &route(1, &[65001, 1 + number]));
    }
    let first = lab.rib.next_update(to, 4096);
    let Some(Update::Announce { nlri, .. }) = first else { panic!("{first:?}") };
    lab.rib.drain_changes(usize::MAX, |_, _| ());
    lab.rib.session_down(from, &[], START);
    lab.rib.drain_changes(usize::MAX, |_, _| ());
    assert_eq!(lab.rib.totals().attributes, 0);
    assert_eq!(lab.rib.next_update(to, 4096), Some(Update::Withdraw { family: Family::Ipv4, nlri }));
    assert!(matches!(lab.rib.next_update(to, 4096), Some(Update::EndOfRib(_))));
    lab.told.clear();
    lab.clear();
}
