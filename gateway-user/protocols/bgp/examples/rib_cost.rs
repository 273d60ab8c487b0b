//! What a route costs the table: nanoseconds of the processor and octets, for a million prefixes with eight attributes.
//!
//!     cargo run --release -p bgp --example rib_cost [PREFIXES] [PREFIXES PER UPDATE] [NEIGHBOURS TO SEND TO]
#![allow(missing_docs, reason = "a program")]

use bgp::Moment;
use bgp::attributes::{Aggregator, AsPath, Attributes, Community};
use bgp::number::{Asn, RouterId};
use bgp::rib::{NeighbourSettings, Nlri, Relation, Rib, RibSettings, SessionFacts, Update};
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr};

fn argument(position: usize, default: u32) -> u32 {
    std::env::args().nth(position).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4096
}

/// Processor time of this process, user and system, in hundredths of a second: what others do on the machine counts less.
fn processor() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    stat.split_whitespace().skip(13).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

fn facts(number: u8) -> SessionFacts {
    SessionFacts::new(RouterId([192, 0, 2, number].into()), IpAddr::from([192, 0, 2, 254]))
}

fn main() {
    let (count, packed, readers) = (argument(1, 1_000_000), argument(2, 10), argument(3, 0));
    let mut rib = Rib::new(RibSettings::new(Asn(65000), RouterId([192, 0, 2, 254].into())));
    let address = |number: u8| IpAddr::from([192, 0, 2, number]);
    let sender = rib.add_neighbour(NeighbourSettings::new(address(1), Asn(65001), Relation::External));
    rib.session_up(sender, facts(1), Moment(0)).expect("it was added");
    let mut others = Vec::new();
    for number in 0..readers as u8 {
        let settings = NeighbourSettings::new(address(2 + number), Asn(65002 + u32::from(number)), Relation::External);
        let id = rib.add_neighbour(settings);
        rib.session_up(id, facts(2 + number), Moment(0)).expect("it was added");
        others.push(id);
    }
    let updates: Vec<(Attributes, Vec<Nlri>)> = (0..count.div_ceil(packed))
        .map(|update| {
            let attributes = Attributes {
                as_path: AsPath::sequence([
                    65001,
                    3356,
                    1299 + update % 7,
                    174 + update / 7 % 1000,
                    64512 + update % 400,
                ]),
                next_hop: address(1).into(),
                med: Some(update),
                communities: (0..4).map(|low| Community::of(65001, low + (update % 64) as u16)).collect(),
                large_communities: vec!["65001:1:2".parse().expect("a community")],
                atomic_aggregate: true,
                aggregator: Some(Aggregator { asn: Asn(65009), router: RouterId([10, 0, 0, 1].into()) }),
                ..Attributes::default()
            };
            let first = update * packed;
            let net = |number: u32| {
                let net = Ipv4Net::new(Ipv4Addr::from(0x0100_0000 + number * 256), 24).expect("24 is a length");
                Nlri::from(IpNet::V4(net))
            };
            (attributes, (first..(first + packed).min(count)).map(net).collect())
        })
        .collect();
    let per = |what: &str, begin: u64| {
        let nanoseconds = (processor() - begin) as f64 * 1e7 / f64::from(count);
        println!("{what:<40} {nanoseconds:8.0} ns a prefix");
    };
    let before = resident();
    let begin = processor();
    for (attributes, nlri) in &updates {
        rib.announce(sender, attributes, nlri, Moment(0));
    }
    per("announce", begin);
    let begin = processor();
    let told = rib.drain_changes(usize::MAX, |_, paths| assert_eq!(paths.len(), 1));
    per("tell forwarding", begin);
    assert_eq!(told, count as usize);
    let begin = processor();
    let mut messages = 0;
    for id in others {
        while let Some(update) = rib.next_update(id, 4096) {
            messages += usize::from(matches!(update, Update::Announce { .. }));
        }
    }
    per(&format!("make updates ({messages})"), begin);
    let octets = (resident() - before) as f64 / f64::from(count);
    let totals = rib.totals();
    let counted = totals.memory as f64 / f64::from(count);
    println!("{octets:.1} octets a prefix resident, {counted:.1} counted, {} sets of attributes", totals.attributes);
    let begin = processor();
    for (attributes, nlri) in &updates {
        rib.announce(sender, attributes, nlri, Moment(0));
    }
    per("announce the same again", begin);
    let begin = processor();
    rib.session_down(sender, &[], Moment(0));
    per("lose the session", begin);
    rib.drain_changes(usize::MAX, |_, paths| assert!(paths.is_empty()));
    println!("{} octets counted in the end", rib.totals().memory);
}
