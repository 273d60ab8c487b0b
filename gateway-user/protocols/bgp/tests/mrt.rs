//! What is written as MRT is read by another implementation as what it was.

use bgp::attributes::{AsPath, Attributes, Community, NextHop};
use bgp::mrt::{Conversation, DumpEntry, DumpPeer, MessageLog, TableDump};
use bgp::number::{Asn, PathId, RouterId};
use bgp::session::State;
use bgpkit_parser::models::{Bgp4MpEnum, BgpState, MrtMessage, MrtRecord, TableDumpV2Message};
use bgpkit_parser::parser::{Elementor, parse_mrt_record};
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;

const AT: Duration = Duration::new(1_700_000_000, 123_456_000);

fn read(bytes: &[u8]) -> Vec<MrtRecord> {
    let mut rest = bytes;
    let mut records = Vec::new();
    while !rest.is_empty() {
        records.push(parse_mrt_record(&mut rest).expect("a record"));
    }
    records
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn canonical(attributes: &Attributes) -> Vec<u8> {
    let mut bytes = Vec::new();
    attributes.encode(&mut bytes);
    bytes
}

#[test]
fn a_table_is_read_back_with_every_peers_paths() {
    let peers = [
        DumpPeer { router_id: RouterId([10, 1, 255, 1].into()), address: address("0.0.0.0"), asn: Asn(64512) },
        DumpPeer { router_id: RouterId([10, 2, 0, 1].into()), address: address("10.2.0.1"), asn: Asn(64513) },
        DumpPeer { router_id: RouterId([10, 3, 0, 1].into()), address: address("fd00::3"), asn: Asn(4_200_000_000) },
    ];
    let own = canonical(&Attributes::default());
    let first = canonical(&Attributes {
        as_path: AsPath::sequence([64513, 4_200_000_001]),
        next_hop: NextHop::V4([10, 2, 0, 1].into()),
        med: Some(7),
        local_pref: Some(150),
        communities: vec![Community(64513 << 16 | 50)],
        weight: 9,
        ..Attributes::default()
    });
    let second = canonical(&Attributes {
        as_path: AsPath::sequence([4_200_000_000]),
        next_hop: NextHop::V6 { global: "fd00::3".parse().expect("an address"), link_local: None },
        ..Attributes::default()
    });
    let (v4, v6): (IpNet, IpNet) = ("10.9.0.0/17".parse().expect("v4"), "2001:db8:9::/49".parse().expect("v6"));
    let entry = |peer, path, attributes| DumpEntry { peer, since: AT, path_id: PathId(path), attributes };
    let mut bytes = Vec::new();
    let mut dump = TableDump::begin(AT, peers[0].router_id, "contoso", &peers, &mut bytes);
    dump.prefix(v4, &[entry(1, 0, &first), entry(0, 0, &own)], &mut bytes);
    dump.prefix(v6, &[entry(2, 0, &second), entry(0, 0, &own)], &mut bytes);
    dump.prefix(v4, &[entry(1, 3, &first), entry(1, 4, &first)], &mut bytes);

    let records = read(&bytes);
    assert_eq!(records.len(), 4);
    assert!(records.iter().all(|record| record.common_header.timestamp == 1_700_000_000));
    let MrtMessage::TableDumpV2Message(TableDumpV2Message::PeerIndexTable(table)) = &records[0].message else {
        panic!("{:?}", records[0].message)
    };
    assert_eq!((table.view_name.as_str(), table.id_peer_map.len()), ("contoso", 3));
    let prefixes: Vec<_> = records[1..]
        .iter()
        .map(|record| match &record.message {
            MrtMessage::TableDumpV2Message(TableDumpV2Message::RibAfi(rib)) => {
                (rib.sequence_number, rib.rib_entries.iter().map(|entry| entry.path_id).collect::<Vec<_>>())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(prefixes, [(0, vec![None, None]), (1, vec![None, None]), (2, vec![Some(3), Some(4)])]);

    let mut elementor = Elementor::new();
    let paths: Vec<_> = records.into_iter().flat_map(|record| elementor.record_to_elems(record)).collect();
    assert_eq!(paths.len(), 6);
    assert_eq!(paths[0].prefix.prefix, v4);
    assert_eq!((paths[0].peer_ip, paths[0].peer_asn.to_u32()), (address("10.2.0.1"), 64513));
    assert_eq!(paths[0].next_hop, Some(address("10.2.0.1")));
    assert_eq!(paths[0].as_path.as_ref().map(ToString::to_string).as_deref(), Some("64513 4200000001"));
    assert_eq!((paths[0].med, paths[0].local_pref), (Some(7), Some(150)));
    assert_eq!(paths[0].communities.as_ref().map(Vec::len), Some(1));
    assert_eq!(paths[1].peer_asn.to_u32(), 64512);
    assert_eq!((paths[2].prefix.prefix, paths[2].next_hop), (v6, Some(address("fd00::3"))));
    assert_eq!((paths[3].prefix.prefix, paths[3].next_hop), (v6, Some(address("::"))));
}

#[test]
fn messages_and_states_are_read_back_to_the_microsecond() {
    let mut of = Conversation {
        peer_asn: Asn(4_200_000_000),
        local_asn: Asn(64512),
        peer: address("fd00::3"),
        local: address("fd00::1"),
        four_octet: true,
        add_path: false,
    };
    let keepalive = bgp::wire::encode_keepalive();
    let mut bytes = Vec::new();
    MessageLog.state(AT, &of, (State::OpenConfirm, State::Established), &mut bytes);
    MessageLog.message(AT, &of, &keepalive, &mut bytes);
    of.four_octet = false;
    of.peer = address("10.2.0.1");
    MessageLog.message(AT, &of, &keepalive, &mut bytes);

    let records = read(&bytes);
    assert!(records.iter().all(|record| record.common_header.microsecond_timestamp == Some(123_456)));
    let MrtMessage::Bgp4Mp(Bgp4MpEnum::StateChange(change)) = &records[0].message else { panic!("{records:?}") };
    assert_eq!((change.old_state, change.new_state), (BgpState::OpenConfirm, BgpState::Established));
    assert_eq!((change.peer_ip, change.local_addr), (address("fd00::3"), address("fd00::1")));
    let message = |at: usize| match &records[at].message {
        MrtMessage::Bgp4Mp(Bgp4MpEnum::Message(message)) => (message.peer_asn.to_u32(), message.local_ip),
        other => panic!("{other:?}"),
    };
    assert_eq!(message(1), (4_200_000_000, address("fd00::1")));
    // Two octets have no room for the peer's number; the router's end is of another family.
    assert_eq!(message(2), (23456, address("0.0.0.0")));
}
