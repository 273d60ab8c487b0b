//! The traffic that failover is measured with counts what it should.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::frame::{Mac, Stack, bytes, ether, ipv4};
use lab::frame_socket::FrameSocket;
use lab::link::{End, cable};
use lab::node::{Node, Processes};
use lab::numbered::{FRAME, Flow, MARK_LEN, Traffic, mark};
use lab::wait::{SOON, until};

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

fn flow(whose: Ipv4Addr) -> Flow {
    let frame: Stack = ether(MAC, MAC) / ipv4("10.8.0.2", OWN);
    let rest = FRAME - frame.build().len();
    Flow { frame: (frame / bytes(vec![0; rest])).build(), from: "here", whose: whose.octets() }
}

/// A cable, one end of which sends, and the other counts.
fn traffic(flows: &[Flow]) -> Result<(std::sync::Arc<Node>, Traffic)> {
    let node = Node::new("ends", &Processes::new()?)?;
    cable(1500, End::new(&node, "here").from_gateway(), End::new(&node, "there").from_gateway())?;
    let traffic = Traffic::new(&node, &["here", "there"], flows)?;
    Ok((node, traffic))
}

#[test]
fn every_number_that_is_sent_is_accounted_for() -> Result<()> {
    let (_node, mut traffic) = traffic(&[flow(OWN), flow(OWN)])?;
    traffic.begin()?;
    traffic.start()?;
    traffic.flows_all(SOON)?;
    traffic.stop()?;
    let account = traffic.account()?;
    ensure!(account.sent > 0 && account.sent == account.arrived, "{account:?}");
    ensure!((account.lost, account.duplicates, account.late, account.foreign) == (0, 0, 0, 0), "{account:?}");
    ensure!(account.outages == [0.0; 2], "{account:?}");
    Ok(())
}

#[test]
fn an_account_that_begins_while_traffic_flows_adds_up() -> Result<()> {
    let flows = vec![flow(OWN); 200];
    let (_node, mut traffic) = traffic(&flows)?;
    traffic.start()?;
    traffic.flows_all(SOON)?;
    for _ in 0..5 {
        traffic.begin()?;
        traffic.flows_all(SOON)?;
        traffic.stop()?;
        let account = traffic.account()?;
        ensure!(account.sent > 0 && (account.arrived, account.lost) == (account.sent, 0), "{account:?}");
        traffic.start()?;
    }
    Ok(())
}

#[test]
fn what_another_is_sent_is_told() -> Result<()> {
    let (_node, mut traffic) = traffic(&[flow(OWN), flow(Ipv4Addr::new(10, 9, 0, 2))])?;
    traffic.begin()?;
    traffic.start()?;
    let missing = traffic.flows_all(Duration::from_millis(500));
    ensure!(missing.is_err_and(|error| format!("{error:#}").contains("1 of 2 flows do not arrive, of them [1]")));
    traffic.stop()?;
    let account = traffic.account()?;
    ensure!(account.foreign * 2 == account.sent && account.arrived * 2 == account.sent, "{account:?}");
    Ok(())
}

#[test]
fn a_cable_that_is_cut_for_a_while_is_an_outage_of_its_length() -> Result<()> {
    let (node, mut traffic) = traffic(&[flow(OWN)])?;
    traffic.start()?;
    traffic.flows_all(SOON)?;
    traffic.begin()?;
    node.ip("link set there down\n")?;
    std::thread::sleep(Duration::from_millis(300));
    node.ip("link set there up\n")?;
    traffic.flows_all(SOON)?;
    traffic.stop()?;
    let account = traffic.account()?;
    ensure!(account.arrived + account.lost == account.sent && account.outages[0] >= 250.0, "{account:?}");
    Ok(())
}

/// Frames that come by hand, in an order of the test's: numbers that are sent, and late, doubled and lost ones by the account.
#[test]
fn late_doubled_and_lost_frames_are_told_from_each_other() -> Result<()> {
    let cases: [(&str, &[u64], [u64; 4]); 6] = [
        ("in order", &[0, 1, 2, 3], [4, 0, 0, 0]),
        ("one is lost", &[0, 1, 3], [3, 1, 0, 0]),
        ("one is late", &[0, 2, 1, 3], [4, 0, 0, 1]),
        ("one is doubled", &[0, 1, 1, 2], [3, 0, 1, 0]),
        ("late and doubled", &[0, 2, 1, 1], [3, 0, 1, 1]),
        ("later than anybody remembers", &[0, 1, 100, 2], [3, 98, 1, 0]),
    ];
    for (what, numbers, right) in cases {
        let (node, mut traffic) = traffic(&[flow(OWN)])?;
        traffic.begin()?;
        let wire = FrameSocket::open(&node, "here")?;
        let mut frame = flow(OWN).frame;
        for number in numbers {
            frame[FRAME - MARK_LEN..].copy_from_slice(&mark(0, *number));
            wire.send(&frame)?;
        }
        let mut seen = None;
        let awaited = until(SOON, what, || {
            let tally = traffic.tally().ok()?;
            seen = Some(tally.clone());
            (tally.arrived + tally.duplicates == numbers.len() as u64).then_some(tally)
        });
        let tally = awaited.with_context(|| format!("{seen:?}"))?;
        let counted = [tally.arrived, tally.lost, tally.duplicates, tally.late];
        ensure!(counted == right, "{what}: {counted:?} instead of {right:?}");
    }
    Ok(())
}
