//! A second codec reads what we write, and what we read it reads alike.

use bgp::attributes::{AsPath, Attributes, Community, NextHop, Origin};
use bgp::number::{Asn, Family, PathId};
use bgp::wire::{Encoder, FirstAs, Framing, Message, NlriEntry, Peering, Unreadable, UpdateContext, decode_update};
use bytes::BytesMut;
use ipnet::IpNet;
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::path_attribute::{AsPath as TheirPath, MpReach, MpUnreach, PathAttributeValue};
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What both have to agree about.
#[derive(Debug, Default, PartialEq)]
struct Said {
    announced: Vec<IpNet>,
    withdrawn: Vec<IpNet>,
    next_hop: Option<IpAddr>,
    link_local: Option<Ipv6Addr>,
    origin: Option<u8>,
    path: Vec<u32>,
    med: Option<u32>,
    communities: Vec<u32>,
}

/// The other codec leaves out prefixes that end in the range of groups or broadcasts, too.
fn comparable(mut said: Said) -> Said {
    let unicast = |prefix: &IpNet| match prefix.broadcast() {
        IpAddr::V4(last) => last.octets()[0] < 224,
        IpAddr::V6(last) => !last.is_multicast(),
    };
    said.announced.retain(unicast);
    said.withdrawn.retain(unicast);
    said
}

/// What the other codec reads; none where it does not.
fn theirs(message: &[u8]) -> Option<Said> {
    let mut context = BgpParsingContext::new(true, HashMap::new(), HashMap::new(), false, false, false, true);
    let Ok(BgpMessage::Update(update)) = BgpMessage::parse(&mut SliceReader::new(message), &mut context) else {
        return None;
    };
    let mut said = Said::default();
    said.announced.extend(update.nlri().iter().map(|one| IpNet::V4(one.network().address().trunc())));
    said.withdrawn.extend(update.withdraw_routes().iter().map(|one| IpNet::V4(one.network().address().trunc())));
    for attribute in update.path_attributes() {
        match attribute.value() {
            PathAttributeValue::Origin(origin) => said.origin = Some(*origin as u8),
            PathAttributeValue::AsPath(TheirPath::As4PathSegments(segments)) => {
                said.path = segments.iter().flat_map(|segment| segment.as_numbers().to_vec()).collect();
            }
            PathAttributeValue::NextHop(hop) => said.next_hop = Some(hop.next_hop().into()),
            PathAttributeValue::MultiExitDiscriminator(med) => said.med = Some(med.metric()),
            PathAttributeValue::Communities(list) => {
                said.communities = list.communities().iter().map(|community| community.value()).collect();
            }
            PathAttributeValue::MpReach(MpReach::Ipv6Unicast { next_hop_global, next_hop_local, nlri }) => {
                said.next_hop = Some((*next_hop_global).into());
                // Another address beside the first is nobody's.
                said.link_local = next_hop_local.filter(Ipv6Addr::is_unicast_link_local);
                said.announced.extend(nlri.iter().map(|one| IpNet::V6(one.network().address().trunc())));
            }
            PathAttributeValue::MpUnreach(MpUnreach::Ipv6Unicast { nlri }) => {
                said.withdrawn.extend(nlri.iter().map(|one| IpNet::V6(one.network().address().trunc())));
            }
            PathAttributeValue::MpReach(_) | PathAttributeValue::MpUnreach(_) => return None,
            _ => {}
        }
    }
    Some(comparable(said))
}

/// What we read; none where there is a fault.
fn ours(message: &[u8]) -> Option<Said> {
    let context = UpdateContext {
        peering: Peering::External,
        peer_asn: Asn(65002),
        first_as: FirstAs::Any,
        four_octet: true,
        families: Family::ALL.to_vec(),
        add_path: Vec::new(),
        extended_next_hop: false,
        role: None,
        own: Vec::new(),
        unreadable: Unreadable::ResetSession,
    };
    let mut framing = Framing::default();
    framing.push(message);
    let Message::Update(fields) = framing.next()?.ok()?.message else { return None };
    let update = decode_update(&fields, &context).ok().filter(|update| update.faults.is_empty())?;
    let mut said = Said::default();
    said.withdrawn
        .extend(update.withdrawn.iter().flat_map(|list| list.iter().map(|entry| entry.prefix).collect::<Vec<_>>()));
    // Two next hops cannot be compared with what has room for one.
    if update.announced.len() > 1 {
        return None;
    }
    for announcement in &update.announced {
        said.announced.extend(announcement.prefixes.iter().map(|entry| entry.prefix));
        let attributes = Attributes::decode(&announcement.attributes).expect("canonical");
        said.next_hop = Some(attributes.next_hop.address());
        if let NextHop::V6 { link_local, .. } = attributes.next_hop {
            said.link_local = link_local;
        }
        said.origin = Some(attributes.origin.number());
        said.path = attributes.as_path.asns().map(|asn| asn.0).collect();
        said.med = attributes.med;
        said.communities = attributes.communities.iter().map(|community| community.0).collect();
    }
    Some(comparable(said))
}

prop_compose! {
    fn attributes()(
        six: bool, hop: u32, local: Option<u64>, origin in 0..3_u8, path in proptest::collection::vec(1..=u32::MAX, 1..12),
        med: Option<u32>, communities in proptest::collection::vec(any::<u32>(), 0..20),
    ) -> Attributes {
        Attributes {
            origin: Origin::of(origin).expect("0 to 2"),
            as_path: AsPath::sequence(path),
            next_hop: if six {
                NextHop::V6 {
                    global: Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(hop)),
                    link_local: local.map(|low| Ipv6Addr::from(0xfe80_u128 << 112 | u128::from(low))),
                }
            } else {
                NextHop::V4(Ipv4Addr::from(0x0a00_0000 | hop >> 8))
            },
            med,
            communities: communities.into_iter().map(Community).collect(),
            ..Attributes::default()
        }
    }
}

/// One message that announces some of the prefixes, and one that withdraws some.
fn messages(attributes: &Attributes, seeds: &[u128]) -> [BytesMut; 2] {
    let family = Family::of(attributes.next_hop.address());
    let entries: Vec<NlriEntry> = seeds
        .iter()
        .map(|seed| {
            let prefix = match family {
                Family::Ipv4 => IpNet::new(Ipv4Addr::from(*seed as u32 >> 1).into(), (seed >> 64) as u8 % 33),
                Family::Ipv6 => IpNet::new(Ipv6Addr::from(*seed >> 1).into(), (seed >> 64) as u8 % 129),
            };
            NlriEntry { prefix: prefix.expect("within the family").trunc(), path: PathId(0) }
        })
        .collect();
    let encoder = Encoder { limit: 4096, four_octet: true, add_path: Vec::new() };
    let mut canonical = Vec::new();
    attributes.encode(&mut canonical);
    let (mut announce, mut withdraw) = (BytesMut::new(), BytesMut::new());
    encoder
        .announce(family, &canonical, &mut entries.iter().copied().peekable(), &mut announce)
        .expect("there is room");
    encoder.withdraw(family, &mut entries.iter().copied().peekable(), &mut withdraw);
    [announce, withdraw]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn the_other_codec_reads_what_we_write(
        attributes in attributes(), seeds in proptest::collection::vec(any::<u128>(), 1..40),
    ) {
        for message in messages(&attributes, &seeds) {
            let (mine, other) = (ours(&message), theirs(&message));
            prop_assert!(mine.is_some());
            prop_assert_eq!(mine, other);
        }
    }

    #[test]
    fn what_both_read_they_read_alike(
        attributes in attributes(), seeds in proptest::collection::vec(any::<u128>(), 1..6),
        changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..4),
    ) {
        for mut message in messages(&attributes, &seeds) {
            for (at, to) in &changes {
                // The header stays: it says how long all is.
                let at = 19 + usize::from(*at) % (message.len() - 19);
                message[at] = *to;
            }
            if let (Some(mine), Some(other)) = (ours(&message), theirs(&message)) {
                // Attributes of a message that announces nothing are nobody's.
                if !mine.announced.is_empty() {
                    prop_assert_eq!(mine, other);
                } else {
                    prop_assert_eq!(mine.withdrawn, other.withdrawn);
                }
            }
        }
    }
}
