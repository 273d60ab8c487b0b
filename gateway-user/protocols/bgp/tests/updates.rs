//! What UPDATEs with faults cost (RFC 7606), and that what is written can be read.

use bgp::attributes::{Attributes, NextHop};
use bgp::number::{Asn, Family, PathId};
use bgp::wire::{
    Disposition, Encoder, FirstAs, Framing, Message, NlriEntry, Peering, Role, Unreadable, Update, UpdateContext,
    UpdateError, UpdateFields, decode_update,
};
use bytes::{Bytes, BytesMut};
use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::net::{Ipv4Addr, Ipv6Addr};

fn context() -> UpdateContext {
    UpdateContext {
        peering: Peering::External,
        peer_asn: Asn(65002),
        first_as: FirstAs::Enforced,
        four_octet: true,
        families: Family::ALL.to_vec(),
        add_path: Vec::new(),
        extended_next_hop: true,
        role: None,
        own: vec![Ipv4Addr::new(10, 9, 0, 1).into()],
        unreadable: Unreadable::ResetSession,
    }
}

fn internal() -> UpdateContext {
    UpdateContext { peering: Peering::Internal, peer_asn: Asn(65001), ..context() }
}

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xea];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 10, 9, 0, 2];
const LOCAL_PREF: &[u8] = &[0x40, 5, 4, 0, 0, 0, 100];
const PREFIX: &[u8] = &[24, 192, 0, 2];

fn fields(attributes: &[&[u8]], announced: &'static [u8]) -> UpdateFields {
    UpdateFields { withdrawn: Bytes::new(), attributes: attributes.concat().into(), announced: announced.into() }
}

fn read(attributes: &[&[u8]], context: &UpdateContext) -> Update {
    decode_update(&fields(attributes, PREFIX), context).expect("the session goes on")
}

fn prefix() -> IpNet {
    "192.0.2.0/24".parse().expect("a prefix")
}

/// Every attribute that may be wrong, and whether the routes stay.
#[test]
fn faults_cost_what_the_rfc_says() {
    use Disposition::{DiscardAttribute as Discard, TreatAsWithdraw as Withdraw};
    let base: Vec<&[u8]> = vec![ORIGIN, PATH, NEXT_HOP];
    let inside: Vec<&[u8]> = vec![ORIGIN, PATH, NEXT_HOP, LOCAL_PREF];
    let added: &[(&str, &[u8], Peering, u8, Disposition)] = &[
        ("7.4 MED", &[0x80, 4, 3, 0, 0, 1], Peering::External, 4, Withdraw),
        ("7.5 LOCAL_PREF inside", &[0x40, 5, 3, 0, 0, 1], Peering::Internal, 5, Withdraw),
        ("7.6 ATOMIC_AGGREGATE", &[0x40, 6, 1, 0], Peering::External, 6, Discard),
        ("7.7 AGGREGATOR", &[0xc0, 7, 6, 0, 1, 1, 1, 1, 1], Peering::External, 7, Discard),
        ("RFC 7607 AGGREGATOR", &[0xc0, 7, 8, 0, 0, 0, 0, 1, 1, 1, 1], Peering::External, 7, Discard),
        ("7.8 COMMUNITIES", &[0xc0, 8, 3, 0, 0, 1], Peering::External, 8, Withdraw),
        ("7.8 COMMUNITIES empty", &[0xc0, 8, 0], Peering::External, 8, Withdraw),
        ("7.9 ORIGINATOR_ID inside", &[0x80, 9, 3, 0, 0, 1], Peering::Internal, 9, Withdraw),
        ("7.10 CLUSTER_LIST inside", &[0x80, 10, 3, 0, 0, 1], Peering::Internal, 10, Withdraw),
        ("7.14 EXTENDED COMMUNITIES", &[0xc0, 16, 4, 0, 0, 0, 1], Peering::External, 16, Withdraw),
        ("RFC 5701", &[0xc0, 25, 4, 0, 0, 0, 1], Peering::External, 25, Withdraw),
        ("RFC 8092", &[0xc0, 32, 4, 0, 0, 0, 1], Peering::External, 32, Withdraw),
        ("RFC 9234", &[0xc0, 35, 3, 0, 0, 1], Peering::External, 35, Withdraw),
        ("3 c: flags", &[0x40, 4, 4, 0, 0, 0, 1], Peering::External, 4, Withdraw),
        ("3 c: flags", &[0x80, 8, 4, 0, 0, 0, 1], Peering::External, 8, Withdraw),
        ("3 g: twice", &[0x40, 1, 1, 2], Peering::External, 1, Discard),
        ("not well-known", &[0x40, 99, 1, 2], Peering::External, 99, Withdraw),
        ("4: overrun", &[0xc0, 8, 200, 0], Peering::External, 8, Withdraw),
        ("4: half a header", &[0xc0], Peering::External, 0, Withdraw),
    ];
    for (why, bytes, peering, attribute, disposition) in added {
        let (context, base) = match peering {
            Peering::External => (context(), &base),
            Peering::Internal if bytes[1] == 5 => (internal(), &base),
            Peering::Internal => (internal(), &inside),
        };
        let update = read(&[base.concat().as_slice(), bytes], &context);
        let worst = update.faults.iter().max_by_key(|fault| fault.disposition).expect(why);
        assert_eq!((worst.attribute, worst.disposition), (*attribute, *disposition), "{why}: {:?}", update.faults);
        assert_eq!(update.announced.is_empty(), *disposition == Withdraw, "{why}");
        assert_eq!(update.withdrawn.is_empty(), *disposition == Discard, "{why}");
    }
    let instead: &[(&str, &[&[u8]], u8)] = &[
        ("7.1 ORIGIN too long", &[&[0x40, 1, 2, 0, 0], PATH, NEXT_HOP], 1),
        ("7.1 ORIGIN 3", &[&[0x40, 1, 1, 3], PATH, NEXT_HOP], 1),
        ("7.2 AS_PATH overruns", &[ORIGIN, &[0x40, 2, 6, 2, 2, 0, 0, 0xfd, 0xea], NEXT_HOP], 2),
        ("7.2 AS_PATH with an empty segment", &[ORIGIN, &[0x40, 2, 8, 2, 1, 0, 0, 0xfd, 0xea, 2, 0], NEXT_HOP], 2),
        ("RFC 7607 AS 0", &[ORIGIN, &[0x40, 2, 6, 2, 1, 0, 0, 0, 0], NEXT_HOP], 2),
        ("another first AS", &[ORIGIN, &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xeb], NEXT_HOP], 2),
        ("an empty path", &[ORIGIN, &[0x40, 2, 0], NEXT_HOP], 2),
        ("7.3 NEXT_HOP", &[ORIGIN, PATH, &[0x40, 3, 3, 1, 2, 3]], 3),
        ("NEXT_HOP 0", &[ORIGIN, PATH, &[0x40, 3, 4, 0, 0, 0, 0]], 3),
        ("NEXT_HOP multicast", &[ORIGIN, PATH, &[0x40, 3, 4, 224, 0, 0, 5]], 3),
        ("NEXT_HOP ours", &[ORIGIN, PATH, &[0x40, 3, 4, 10, 9, 0, 1]], 3),
        ("3 d: no ORIGIN", &[PATH, NEXT_HOP], 1),
        ("3 d: no AS_PATH", &[ORIGIN, NEXT_HOP], 2),
        ("3 d: no NEXT_HOP", &[ORIGIN, PATH], 3),
    ];
    for (why, attributes, attribute) in instead {
        let update = read(attributes, &context());
        assert!(update.announced.is_empty(), "{why}");
        assert_eq!(update.withdrawn[0].iter().next().expect(why).prefix, prefix(), "{why}");
        assert!(update.faults.iter().any(|fault| fault.attribute == *attribute), "{why}: {:?}", update.faults);
    }
    let update = read(&[ORIGIN, PATH, NEXT_HOP], &internal());
    assert_eq!(update.faults[0].attribute, 5, "LOCAL_PREF is mandatory inside");
}

fn decoded(update: &Update) -> Attributes {
    assert_eq!(update.faults, []);
    Attributes::decode(&update.announced[0].attributes).expect("canonical bytes")
}

#[test]
fn what_is_for_the_inside_is_not_taken_from_outside() {
    let attributes: &[&[u8]] =
        &[ORIGIN, PATH, NEXT_HOP, LOCAL_PREF, &[0x80, 9, 4, 1, 1, 1, 1], &[0x80, 10, 3, 1, 1, 1]];
    let outside = decoded(&read(attributes, &context()));
    assert_eq!((outside.local_pref, outside.originator_id, outside.cluster_list.len()), (None, None, 0));
    let inside = decoded(&read(&[ORIGIN, PATH, NEXT_HOP, LOCAL_PREF, &[0x80, 9, 4, 1, 1, 1, 1]], &internal()));
    assert_eq!(inside.local_pref, Some(100));
    assert!(inside.originator_id.is_some());
}

#[test]
fn no_neighbour_sets_our_weight() {
    let update = read(&[ORIGIN, PATH, NEXT_HOP, &[0xc0, 0, 4, 0, 0, 0xff, 0xff]], &context());
    assert_eq!((update.faults[0].attribute, update.faults[0].disposition), (0, Disposition::DiscardAttribute));
    assert_eq!(Attributes::decode(&update.announced[0].attributes).expect("canonical").weight, 0);
}

#[test]
fn equal_attributes_are_equal_bytes_whatever_their_order_and_form() {
    let one = read(&[ORIGIN, PATH, NEXT_HOP, &[0x80, 4, 4, 0, 0, 0, 9], &[0xe0, 99, 1, 7]], &context());
    let other =
        read(&[&[0xc0, 99, 1, 7], &[0x90, 4, 0, 4, 0, 0, 0, 9], NEXT_HOP, &[0x80, 98, 1, 7], PATH, ORIGIN], &context());
    assert_eq!(one.announced[0].attributes, other.announced[0].attributes);
    let mut again = Vec::new();
    decoded(&one).encode(&mut again);
    assert_eq!(one.announced[0].attributes, again, "the store's own form");
}

#[test]
fn two_octet_neighbours_are_understood() {
    let old = UpdateContext { four_octet: false, ..context() };
    let path: &[u8] = &[0x40, 2, 6, 2, 2, 0xfd, 0xea, 0x5b, 0xa0];
    let four: &[u8] = &[0xc0, 17, 6, 2, 1, 0, 1, 0, 0];
    let trans: &[u8] = &[0xc0, 7, 6, 0x5b, 0xa0, 1, 1, 1, 1];
    let aggregator: &[u8] = &[0xc0, 18, 8, 0, 1, 0, 0, 1, 1, 1, 1];
    let both = decoded(&read(&[ORIGIN, path, NEXT_HOP, trans, four, aggregator], &old));
    assert_eq!(both.as_path.asns().collect::<Vec<_>>(), [Asn(65002), Asn(65536)]);
    assert_eq!(both.aggregator.expect("it is there").asn, Asn(65536));
    // RFC 6793, 4.2.3: an aggregator of two octets says that the late attributes are stale.
    let plain: &[u8] = &[0xc0, 7, 6, 0, 9, 1, 1, 1, 1];
    let stale = decoded(&read(&[ORIGIN, path, NEXT_HOP, plain, four, aggregator], &old));
    assert_eq!(stale.as_path.asns().collect::<Vec<_>>(), [Asn(65002), Asn::TRANS]);
    assert_eq!(stale.aggregator.expect("it is there").asn, Asn(9));
    // RFC 6793, 6.
    let update = read(&[ORIGIN, path, NEXT_HOP, &[0xc0, 17, 5, 2, 1, 0, 1, 0]], &old);
    assert_eq!((update.faults[0].attribute, update.faults[0].disposition), (17, Disposition::DiscardAttribute));
    // Between speakers of four octets they mean nothing.
    assert_eq!(decoded(&read(&[ORIGIN, PATH, NEXT_HOP, four], &context())).as_path.asns().count(), 1);
}

#[test]
fn leaks_are_found_by_roles() {
    let marked: &[u8] = &[0xc0, 35, 4, 0, 0, 0xfd, 0xea];
    let foreign: &[u8] = &[0xc0, 35, 4, 0, 0, 0, 7];
    let of =
        |role, extra: &[u8]| read(&[ORIGIN, PATH, NEXT_HOP, extra], &UpdateContext { role: Some(role), ..context() });
    for (role, extra, leaked) in [
        (Role::Provider, marked, true),
        (Role::RouteServer, marked, true),
        (Role::Peer, marked, false),
        (Role::Peer, foreign, true),
        (Role::Customer, foreign, false),
        (Role::RouteServerClient, foreign, false),
    ] {
        assert_eq!(of(role, extra).announced.is_empty(), leaked, "{role:?}");
    }
    for (role, gets) in [(Role::Customer, Some(Asn(65002))), (Role::Peer, Some(Asn(65002))), (Role::Provider, None)] {
        assert_eq!(decoded(&of(role, &[])).only_to_customer, gets, "{role:?}");
    }
}

#[test]
fn a_family_may_be_given_up_instead_of_the_session() {
    // MP_REACH_NLRI for IPv6 with a prefix that overruns.
    let reach = [&[0x80, 14, 23, 0, 2, 1, 16][..], &[0x20; 16], &[0, 64, 1]].concat();
    let fields = fields(&[ORIGIN, PATH, &reach], &[]);
    let lenient = UpdateContext { unreadable: Unreadable::DisableFamily, ..context() };
    assert_eq!(decode_update(&fields, &lenient), Err(UpdateError::Disable(Family::Ipv6)));
    let alone = UpdateContext { families: vec![Family::Ipv6], ..lenient };
    assert!(matches!(decode_update(&fields, &alone), Err(UpdateError::Reset(_))));
    let given_up = UpdateContext { families: vec![Family::Ipv4], ..context() };
    assert_eq!(decode_update(&fields, &given_up).map(|update| update.announced.len()), Ok(0), "it is not looked at");
}

#[test]
fn groups_are_no_unicast_routes() {
    let fields = fields(&[ORIGIN, PATH, NEXT_HOP], &[4, 224, 24, 192, 0, 2, 32, 239, 1, 1, 1, 3, 224]);
    let update = decode_update(&fields, &context()).expect("the session goes on");
    let prefixes: Vec<String> = update.announced[0].prefixes.iter().map(|entry| entry.prefix.to_string()).collect();
    assert_eq!(prefixes, ["192.0.2.0/24", "224.0.0.0/3"]);
}

#[test]
fn ends_of_rib_are_told_from_empty_updates() {
    let end = |attributes: &[&[u8]]| {
        decode_update(&fields(attributes, &[]), &context()).expect("the session goes on").end_of_rib
    };
    assert_eq!(end(&[]), Some(Family::Ipv4));
    assert_eq!(end(&[&[0x80, 15, 3, 0, 2, 1]]), Some(Family::Ipv6));
    assert_eq!(end(&[&[0x90, 15, 0, 3, 0, 2, 1]]), Some(Family::Ipv6));
    assert_eq!(end(&[ORIGIN, &[0x80, 15, 3, 0, 2, 1]]), None);
    assert_eq!(end(&[ORIGIN, PATH]), None);
}

fn next_hops() -> impl Strategy<Value = NextHop> {
    let global = any::<u64>().prop_map(|low| Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(low) | 1 << 64));
    let local = proptest::option::of(any::<u64>().prop_map(|low| Ipv6Addr::from(0xfe80_u128 << 112 | u128::from(low))));
    prop_oneof![
        (1..200_u8, any::<[u8; 3]>())
            .prop_filter("not loopback, not ours", |(first, _)| ![127, 10].contains(first))
            .prop_map(|(first, rest)| NextHop::V4(Ipv4Addr::new(first, rest[0], rest[1], rest[2]))),
        (global, local).prop_map(|(global, link_local)| NextHop::V6 { global, link_local }),
    ]
}

fn entries() -> impl Strategy<Value = (Family, Vec<NlriEntry>)> {
    let path = any::<u32>().prop_map(PathId);
    let four = (any::<u32>(), 0..=32_u8, path.clone()).prop_map(|(bits, length, path)| NlriEntry {
        prefix: IpNet::new(Ipv4Addr::from(bits >> 1).into(), length).expect("at most 32").trunc(),
        path,
    });
    let six = (any::<u128>(), 0..=128_u8, path).prop_map(|(bits, length, path)| NlriEntry {
        prefix: IpNet::new(Ipv6Addr::from(bits >> 1).into(), length).expect("at most 128").trunc(),
        path,
    });
    prop_oneof![
        proptest::collection::vec(four, 1..3000).prop_map(|list| (Family::Ipv4, list)),
        proptest::collection::vec(six, 1..1000).prop_map(|list| (Family::Ipv6, list)),
    ]
}

/// The UPDATEs of a stream, as this context reads them.
fn updates(bytes: &[u8], extended: bool, context: &UpdateContext) -> Vec<Update> {
    let mut framing = Framing::default();
    if extended {
        framing.extend();
    }
    framing.push(bytes);
    std::iter::from_fn(|| framing.next())
        .map(|received| match received.expect("within the limit").message {
            Message::Update(fields) => decode_update(&fields, context).expect("readable"),
            other => panic!("{other:?} is no UPDATE"),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_can_be_read(
        (family, entries) in entries(), next_hop in next_hops(), path in proptest::collection::vec(1..=u32::MAX, 0..20),
        communities in proptest::collection::vec(any::<u32>(), 0..200), med: Option<u32>,
        extended: bool, four_octet: bool, add_path: bool,
    ) {
        prop_assume!(family == Family::Ipv4 || matches!(next_hop, NextHop::V6 { .. }));
        let attributes = Attributes {
            as_path: bgp::attributes::AsPath::sequence([65002].into_iter().chain(path)),
            next_hop,
            med,
            communities: communities.into_iter().map(bgp::attributes::Community).collect(),
            ..Attributes::default()
        };
        let mut canonical = Vec::new();
        attributes.encode(&mut canonical);
        let paths: Vec<Family> = add_path.then_some(family).into_iter().collect();
        let encoder = Encoder { limit: if extended { 65535 } else { 4096 }, four_octet, add_path: paths.clone() };
        let context = UpdateContext { four_octet, add_path: paths, ..context() };
        let mut bytes = BytesMut::new();
        let mut list = entries.iter().copied().peekable();
        while list.peek().is_some() {
            encoder.announce(family, &canonical, &mut list, &mut bytes).expect("there is room");
        }
        let mut gone = entries.iter().copied().peekable();
        while gone.peek().is_some() {
            encoder.withdraw(family, &mut gone, &mut bytes);
        }
        let expected: Vec<NlriEntry> =
            entries.iter().map(|entry| NlriEntry { path: if add_path { entry.path } else { PathId(0) }, ..*entry }).collect();
        let mut announced = Vec::new();
        let mut withdrawn = Vec::new();
        for update in updates(&bytes, extended, &context) {
            prop_assert_eq!(&update.faults, &[]);
            for announcement in &update.announced {
                prop_assert_eq!(&announcement.attributes[..], &canonical[..]);
                announced.extend(announcement.prefixes.iter());
            }
            withdrawn.extend(update.withdrawn.iter().flat_map(|list| list.iter().collect::<Vec<_>>()));
        }
        prop_assert_eq!(announced, expected.clone());
        prop_assert_eq!(withdrawn, expected);
    }

    #[test]
    fn no_update_makes_the_decoder_panic(
        withdrawn: Vec<u8>, attributes: Vec<u8>, announced: Vec<u8>, four_octet: bool, inside: bool, paths: bool,
    ) {
        let context = UpdateContext {
            four_octet,
            add_path: if paths { Family::ALL.to_vec() } else { Vec::new() },
            ..if inside { internal() } else { context() }
        };
        let fields = UpdateFields { withdrawn: withdrawn.into(), attributes: attributes.into(), announced: announced.into() };
        let _ = decode_update(&fields, &context);
    }

    /// A good UPDATE with one octet changed: whatever is announced has canonical attributes.
    #[test]
    fn one_octet_never_poisons_the_store(at in 0..40_usize, to: u8, inside: bool, four_octet: bool) {
        let mut attributes = [ORIGIN, PATH, NEXT_HOP, LOCAL_PREF, &[0xc0, 8, 4, 0, 1, 0, 2], &[0x80, 4, 4, 0, 0, 0, 1]].concat();
        let at = at % attributes.len();
        attributes[at] = to;
        let context = UpdateContext { four_octet, first_as: FirstAs::Any, ..if inside { internal() } else { context() } };
        if let Ok(update) = decode_update(&fields(&[&attributes], PREFIX), &context) {
            for announcement in update.announced {
                let mut again = Vec::new();
                Attributes::decode(&announcement.attributes).expect("canonical").encode(&mut again);
                prop_assert_eq!(&announcement.attributes[..], &again[..]);
            }
        }
    }
}

#[test]
fn attributes_that_leave_no_room_are_said_to() {
    let attributes = Attributes {
        as_path: bgp::attributes::AsPath::sequence((1..1100).map(|number| 65000 + number)),
        next_hop: NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)),
        ..Attributes::default()
    };
    let mut canonical = Vec::new();
    attributes.encode(&mut canonical);
    let encoder = Encoder { limit: 4096, four_octet: true, add_path: Vec::new() };
    let mut list = [NlriEntry { prefix: prefix(), path: PathId(0) }].into_iter().peekable();
    let mut bytes = BytesMut::new();
    assert!(encoder.announce(Family::Ipv4, &canonical, &mut list, &mut bytes).is_err());
    assert!(list.peek().is_some() && bytes.is_empty());
}
