//! What a route costs from the wire to the table and to the word for forwarding: a million prefixes with eight attributes,
//! as bytes, into a speaker.
//!
//!     cargo run --release -p bgp --example speaker_cost [PREFIXES] [PREFIXES PER UPDATE]
#![allow(missing_docs, reason = "a program")]

use bgp::Moment;
use bgp::attributes::{Aggregator, AsPath, Attributes, Community};
use bgp::number::{Asn, Family, PathId, RouterId};
use bgp::session::{ConnectionId, Neighbor};
use bgp::speaker::{Config, Input, NeighborConfig, NeighborName, Output, Speaker, Start};
use bgp::wire::{Capabilities, Encoder, NlriEntry, Open, encode_keepalive, encode_open};
use bytes::BytesMut;
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

fn argument(position: usize, default: u32) -> u32 {
    std::env::args().nth(position).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4096
}

/// Processor time of this process, user and system, in hundredths of a second.
fn processor() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    stat.split_whitespace().skip(13).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

fn updates(count: u32, packed: u32) -> BytesMut {
    let encoder = Encoder { limit: 4096, four_octet: true, add_path: Vec::new() };
    let mut bytes = BytesMut::new();
    for update in 0..count.div_ceil(packed) {
        let attributes = Attributes {
            as_path: AsPath::sequence([65001, 3356, 1299 + update % 7, 174 + update / 7 % 1000, 64512 + update % 400]),
            next_hop: IpAddr::from([10, 9, 0, 2]).into(),
            med: Some(update),
            communities: (0..4).map(|low| Community::of(65001, low + (update % 64) as u16)).collect(),
            large_communities: vec!["65001:1:2".parse().expect("a community")],
            atomic_aggregate: true,
            aggregator: Some(Aggregator { asn: Asn(65009), router: RouterId([10, 0, 0, 1].into()) }),
            ..Attributes::default()
        };
        let mut canonical = Vec::new();
        attributes.encode(&mut canonical);
        let first = update * packed;
        let mut list = (first..(first + packed).min(count))
            .map(|number| {
                let net = Ipv4Net::new(Ipv4Addr::from(0x0100_0000 + number * 256), 24).expect("24 is a length");
                NlriEntry { prefix: IpNet::V4(net), path: PathId(0) }
            })
            .peekable();
        while list.peek().is_some() {
            encoder.announce(Family::Ipv4, &canonical, &mut list, &mut bytes).expect("there is room");
        }
    }
    bytes
}

fn main() {
    let (count, packed) = (argument(1, 1_000_000), argument(2, 10));
    let now = Moment(1_000_000_000);
    let mut outputs = Vec::new();
    let mut config = Config::new(Asn(65000), RouterId([10, 9, 0, 1].into()));
    let neighbour = Neighbor::new(IpAddr::from([10, 9, 0, 2]), Asn(65001));
    config.neighbors.insert(NeighborName::from("sender"), NeighborConfig::from(neighbour));
    let mut speaker = Speaker::new(config, Start::Fresh, 1, now, &mut outputs);
    let connection = ConnectionId::Incoming(1);
    let at = |last: u8, port: u16| SocketAddr::new(IpAddr::from([10, 9, 0, last]), port);
    let accepted = Input::Accepted { connection, local: at(1, 179), remote: at(2, 40000) };
    speaker.step(accepted, now, &mut outputs);
    let open = Open {
        asn: Asn(65001),
        hold_time: 90,
        router_id: RouterId([10, 9, 0, 2].into()),
        capabilities: Capabilities { four_octet: true, ..Capabilities::default() },
    };
    let hello = [encode_open(&open), encode_keepalive()].concat();
    speaker.step(Input::Received { connection, bytes: &hello }, now, &mut outputs);
    let bytes = updates(count, packed);
    let (before, begin) = (resident(), processor());
    let mut told = 0;
    for chunk in bytes.chunks(65536) {
        outputs.clear();
        speaker.step(Input::Received { connection, bytes: chunk }, now, &mut outputs);
        told += outputs.iter().filter(|output| matches!(output, Output::Route { .. })).count();
    }
    let spent = (processor() - begin) as f64 * 1e7 / f64::from(count);
    let octets = (resident() - before) as f64 / f64::from(count);
    assert_eq!(told, count as usize);
    println!("{count} prefixes, {packed} in an UPDATE: {spent:.0} ns of the processor, {octets:.0} octets each");
}
