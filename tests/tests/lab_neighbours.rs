//! Next hops that move are followed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::Lab;
use lab::node::Node;
use lab::ping::Ping;
use lab::tenants::{HQ, SUBNETS, address};

/// Gives an interface another MAC address, which its machine announces as machines do.
fn moves(lab: &Lab, node: &Node, interface: &str, mac: &str, from: &Node, to: &str) -> Result<()> {
    let ping = Ping::to(address(to));
    lab.answers(from, ping)?;
    node.sh(&format!(
        "echo 1 > /proc/sys/net/ipv4/conf/{interface}/arp_notify; echo 1 > /proc/sys/net/ipv6/conf/{interface}/ndisc_notify"
    ))?;
    let stream = ping.stream(from, Duration::from_millis(5))?;
    stream.go_on(10)?;
    node.ip(&format!("link set {interface} address {mac}\n"))?;
    let (moved, answered) = (Instant::now(), stream.answered());
    // Replies that were under way do not count.
    let again = lab::wait::until(Duration::from_secs(5), "packets to follow", || {
        (stream.answered() > answered + 5).then(|| moved.elapsed())
    });
    drop(stream);
    let again = again.map_err(|error| error.context(lab.circumstances()))?;
    ensure!(again < Duration::from_secs(1), "{} ms until packets followed", again.as_millis());
    Ok(())
}

#[test]
fn a_router_with_another_mac_is_followed_within_a_second() -> Result<()> {
    let lab = Lab::start()?;
    moves(&lab, &lab.world.tor, "switch", "02:00:00:00:99:01", &lab.world.contoso.vms[0], HQ[0])
}

#[test]
fn a_compute_host_with_another_mac_is_followed_within_a_second() -> Result<()> {
    let lab = Lab::start()?;
    let hq = &lab.world.contoso.hq;
    moves(&lab, &lab.world.hosts[0], "eth0", "02:00:00:00:99:02", hq, SUBNETS[0].addresses[0])
}

#[test]
fn an_l3_peer_with_another_mac_is_followed_within_a_second() -> Result<()> {
    let lab = Lab::start()?;
    let members = &lab.world.contoso;
    moves(&lab, &members.dc, "vlan1001", "02:00:00:00:99:03", &members.vms[0], lab::tenants::DC[0])
}

#[test]
fn a_route_by_another_router_is_followed_within_a_second() -> Result<()> {
    let lab = Lab::start()?;
    let from = &lab.world.contoso.vms[0];
    // A second router on the ToR's segment that forwards by the first.
    let router = lab.world.machine("tor2")?;
    lab::link::cable(1500, lab::link::End::new(&router, "eth0"), lab::link::End::new(&lab.world.tor, "tor2"))?;
    lab.world.tor.ip("link set tor2 master switch\n")?;
    router.ip("address add 198.51.100.3/24 dev eth0\nroute add default via 198.51.100.1\n")?;
    router.sh("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/conf/eth0/send_redirects; echo 0 > /proc/sys/net/ipv4/conf/all/send_redirects")?;
    lab.reaches(&router, "198.51.100.1")?;
    let forwarded = || -> Result<u64> {
        let line = router.sh("awk '/^Ip:/ {line = $0} END {split(line, field); print field[7]}' /proc/net/snmp")?;
        Ok(line.trim().parse()?)
    };
    lab.reaches(from, HQ[0])?;
    let (before, start) = (forwarded()?, Instant::now());
    lab.gateway.node().ip("route add 203.0.113.0/24 via 198.51.100.3\n")?;
    let stream = Ping::to(address(HQ[0])).stream(from, Duration::from_millis(5))?;
    lab::wait::until(Duration::from_secs(5), "packets to take the new route", || {
        (forwarded().ok()? > before + 3).then_some(())
    })
    .map_err(|error| error.context(lab.circumstances()))?;
    ensure!(start.elapsed() < Duration::from_secs(1), "{} ms until packets followed", start.elapsed().as_millis());
    stream.go_on(10)
}
