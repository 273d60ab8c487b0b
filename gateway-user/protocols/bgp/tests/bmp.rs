//! What is written as BMP is read by another implementation as what it was.

use bgp::bmp::{self, Ended, Source, Stage, Statistic, Up};
use bgp::number::{Asn, Family, RouterId};
use bgp::session::Reason;
use bgp::wire::{Encoder, NlriEntry, Notification};
use bgpkit_parser::models::BgpMessage;
use bgpkit_parser::parser::bmp::messages::{
    BmpMessage, BmpMessageBody, BmpPeerType, PeerDownReason, PerPeerFlags, StatsData,
};
use bgpkit_parser::parser::bmp::parse_bmp_msg;
use bytes::{Bytes, BytesMut};
use std::time::Duration;

const AT: Duration = Duration::new(1_700_000_000, 250_000_000);
const TENANT: u64 = 0x0000_1234_5678_9abc;

fn peer(stage: Stage) -> Source {
    Source { distinguisher: TENANT, stage, asn: Asn(4_200_000_000), router_id: RouterId([10, 2, 0, 1].into()) }
}

fn read(bytes: &[u8]) -> BmpMessage {
    let length = u32::from_be_bytes(bytes[1..5].try_into().expect("four octets")) as usize;
    assert_eq!(length, bytes.len(), "one message, whole");
    parse_bmp_msg(&mut Bytes::copy_from_slice(bytes)).expect("a message")
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> BmpMessage {
    let mut bytes = Vec::new();
    write(&mut bytes);
    read(&bytes)
}

#[test]
fn the_first_and_the_last_message_say_who_speaks() {
    let first = written(|into| bmp::initiation("gw1", "gateway 0.1.0", into));
    let BmpMessageBody::InitiationMessage(said) = first.message_body else { panic!("{first:?}") };
    let texts: Vec<&str> = said.tlvs.iter().map(|one| one.info.as_str()).collect();
    assert_eq!(texts, ["gw1", "gateway 0.1.0"]);
    assert!(matches!(written(bmp::termination).message_body, BmpMessageBody::TerminationMessage(_)));
}

#[test]
fn a_session_comes_and_goes_with_both_opens_and_the_reason() {
    let open = |asn| bmp::made_up_open(Asn(asn), RouterId([10, 2, 0, 1].into()));
    let (sent, received) = (open(64512), open(4_200_000_000));
    let source = peer(Stage::AfterPolicy("10.2.0.1".parse().expect("an address")));
    let local = "10.1.255.1:41000".parse().expect("an end");
    let up = Up { local: Some(local), remote_port: 179, sent: &sent, received: &received, table: "contoso" };
    let told = written(|into| bmp::peer_up(AT, &source, &up, into));
    let header = told.per_peer_header.expect("of a peer");
    assert_eq!((header.peer_type, header.peer_distinguisher), (BmpPeerType::RD, TENANT));
    assert_eq!((header.peer_ip.to_string().as_str(), header.peer_asn.to_u32()), ("10.2.0.1", 4_200_000_000));
    assert!((header.timestamp - 1_700_000_000.25).abs() < 1e-6);
    let BmpMessageBody::PeerUpNotification(up) = told.message_body else { panic!("{:?}", told.message_body) };
    assert_eq!((up.local_addr, up.local_port, up.remote_port), (local.ip(), 41000, 179));
    let (BgpMessage::Open(sent), BgpMessage::Open(received)) = (up.sent_open, up.received_open) else {
        panic!("two OPENs")
    };
    assert_eq!((sent.asn.to_u32(), received.hold_time), (64512, 0));
    assert_eq!(up.tlvs.iter().map(|one| one.info_value.as_str()).collect::<Vec<_>>(), ["contoso"]);

    let reasons = [
        (Reason::Sent(Notification::hold_timer_expired()), PeerDownReason::LocalSystemClosedNotificationPduFollows),
        (Reason::Replaced, PeerDownReason::LocalSystemClosedFsmEvenFollows),
        (
            Reason::Received(Notification::hold_timer_expired()),
            PeerDownReason::RemoteSystemClosedNotificationPduFollows,
        ),
        (Reason::ConnectionClosed, PeerDownReason::RemoteSystemsClosedNoData),
    ];
    for (reason, read_as) in reasons {
        let told = written(|into| bmp::peer_down(AT, &source, &Ended::Session(&reason), into));
        let BmpMessageBody::PeerDownNotification(down) = told.message_body else { panic!("{reason:?}") };
        assert_eq!(down.reason, read_as);
    }
    let told = written(|into| bmp::peer_down(AT, &source, &Ended::NotMonitored, into));
    let BmpMessageBody::PeerDownNotification(down) = told.message_body else { panic!("no peer down") };
    assert_eq!(down.reason, PeerDownReason::PeerDeConfigured);
}

#[test]
fn routes_are_told_with_where_they_stand() {
    let encoder = Encoder { limit: 4096, four_octet: true, add_path: Vec::new() };
    let mut canonical = Vec::new();
    bgp::attributes::Attributes {
        as_path: bgp::attributes::AsPath::sequence([4_200_000_000]),
        next_hop: bgp::attributes::NextHop::V4([10, 2, 0, 1].into()),
        ..bgp::attributes::Attributes::default()
    }
    .encode(&mut canonical);
    let prefix = "10.9.0.0/16".parse().expect("a prefix");
    let mut list = [NlriEntry { prefix, path: bgp::number::PathId(0) }].into_iter().peekable();
    let mut update = BytesMut::new();
    encoder.announce(Family::Ipv4, &canonical, &mut list, &mut update).expect("it fits");
    let v6 = "fd00::3".parse().expect("an address");
    for (stage, kind, after) in [
        (Stage::BeforePolicy(v6), BmpPeerType::RD, Some(false)),
        (Stage::AfterPolicy(v6), BmpPeerType::RD, Some(true)),
        (Stage::Chosen, BmpPeerType::LocalRib, None),
    ] {
        let told = written(|into| bmp::route_monitoring(AT, &peer(stage), &update, into));
        let header = told.per_peer_header.expect("of a peer");
        assert_eq!((header.peer_type, header.peer_distinguisher), (kind, TENANT));
        let read_as = match header.peer_flags {
            PerPeerFlags::PeerFlags(flags) => {
                assert_eq!(header.peer_ip, v6);
                Some(flags.is_post_policy())
            }
            PerPeerFlags::LocalRibPeerFlags(_) => None,
        };
        assert_eq!(read_as, after);
        let BmpMessageBody::RouteMonitoring(routes) = told.message_body else { panic!("no routes") };
        let BgpMessage::Update(update) = routes.bgp_message else { panic!("no UPDATE") };
        assert_eq!(update.announced_prefixes.iter().map(|one| one.prefix).collect::<Vec<_>>(), [prefix]);
        assert_eq!(update.attributes.as_path().map(ToString::to_string).as_deref(), Some("4200000000"));
    }
}

#[test]
fn figures_are_told() {
    let figures = [Statistic::Refused(3), Statistic::Received(Family::Ipv6, 70_000), Statistic::TreatedAsWithdrawn(1)];
    let source = peer(Stage::AfterPolicy("10.2.0.1".parse().expect("an address")));
    let told = written(|into| bmp::statistics(AT, &source, &figures, into));
    let BmpMessageBody::StatsReport(report) = told.message_body else { panic!("no figures") };
    assert_eq!(report.stats_count, 3);
    assert!(matches!(report.counters[0].stat_data, StatsData::Counter(3)));
    assert!(matches!(report.counters[1].stat_data, StatsData::AfiSafiGauge(_, _, 70_000)));
}
