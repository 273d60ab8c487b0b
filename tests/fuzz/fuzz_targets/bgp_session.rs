//! Everything that can happen to a speaker with two neighbours, in any order: it never panics, what it holds of a connection
//! stays within bounds, and it comes to rest.
#![no_main]

use bgp::Moment;
use bgp::number::{Asn, Family, RouterId};
use bgp::session::{ConnectionId, FamilyConfig, Neighbor};
use bgp::speaker::{Bfd, Config, Input, NeighborName, Network, Output, Speaker, Start};
use bgp::wire::Forwarding;
use libfuzzer_sys::fuzz_target;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

fn config() -> Config {
    let mut config = Config::new(Asn(65001), RouterId(Ipv4Addr::new(1, 1, 1, 1)));
    for number in [2, 3] {
        let mut neighbor = Neighbor::new(Ipv4Addr::new(10, 9, 0, number).into(), Asn(65000 + u32::from(number)));
        neighbor.families = Family::ALL.map(|family| (family, FamilyConfig::default())).into();
        config.neighbors.insert(NeighborName::from(if number == 2 { "two" } else { "three" }), neighbor.into());
    }
    config.networks = vec![Network::from("192.0.2.0/24".parse::<ipnet::IpNet>().expect("a prefix"))];
    config
}

fuzz_target!(|bytes: &[u8]| {
    let mut now = Moment(1_000_000_000);
    let mut outputs = Vec::new();
    let start = match bytes.first() {
        Some(0) => Start::Restart(Forwarding::Preserved),
        _ => Start::Fresh,
    };
    let mut speaker = Speaker::new(config(), start, 1, now, &mut outputs);
    let mut open: Vec<ConnectionId> = Vec::new();
    let mut accepted = 0;
    let mut rest = bytes.get(1..).unwrap_or_default();
    while let Some((&[what, which], after)) = rest.split_first_chunk::<2>() {
        rest = after;
        let connection = open.get(usize::from(which) % open.len().max(1)).copied();
        let remote = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2 + which % 3)), 179);
        let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)), 179);
        match (what % 9, connection) {
            (0, _) => {
                accepted += 1;
                let connection = ConnectionId::Incoming(accepted);
                open.push(connection);
                speaker.step(Input::Accepted { connection, local, remote }, now, &mut outputs);
            }
            (1, Some(connection)) => speaker.step(Input::Connected { connection, local, remote }, now, &mut outputs),
            (2, Some(connection)) => speaker.step(Input::ConnectFailed { connection }, now, &mut outputs),
            (3, Some(connection)) => speaker.step(Input::Closed { connection }, now, &mut outputs),
            (4 | 5, Some(connection)) => {
                let (chunk, after) = rest.split_at(usize::from(which).min(rest.len()));
                rest = after;
                speaker.step(Input::Received { connection, bytes: chunk }, now, &mut outputs);
            }
            (6, _) => {
                now = now + Duration::from_millis(u64::from(which) * 50);
                speaker.step(Input::Timer, now, &mut outputs);
            }
            (7, _) => {
                let state = if which % 2 == 0 { Bfd::Down } else { Bfd::ForwardingDown };
                speaker.step(Input::Bfd { neighbor: "two".into(), state }, now, &mut outputs);
            }
            (8, Some(connection)) => {
                speaker.step(Input::Sent { connection, count: usize::from(which) * 64 }, now, &mut outputs);
            }
            _ => {}
        }
        // What is due is done at once, as its driver does it; a session may wish to connect without delay, but not for ever.
        for _ in 0..4 {
            if speaker.next_deadline().is_some_and(|deadline| deadline <= now) {
                speaker.step(Input::Timer, now, &mut outputs);
            }
        }
        for output in outputs.drain(..) {
            match output {
                Output::Connect { connection, .. } => open.push(connection),
                Output::Close { connection, .. } => open.retain(|other| *other != connection),
                _ => {}
            }
        }
        assert!(speaker.next_deadline().is_none_or(|deadline| deadline > now), "it asks for time that has passed");
    }
});
