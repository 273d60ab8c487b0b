//! A next hop that moves is followed, while packets flow; one that is lost is a counted drop.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::Lab;
use lab::node::Node;
use lab::ping::Ping;
use lab::tenants::{CONTOSO, DC, HQ, TOR, address};
use lab::wait::{SOON, until};

/// Half of the time after which the daemon looks at everything again, so it must have been told. A second is what it takes at most where
/// it need not wait for a CPU.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(5);

/// Fails unless an echo request is answered before the daemon has looked at everything again.
fn is_followed(lab: &Lab, from: &Node, to: &str) -> Result<()> {
    let answer = Ping::to(address(to)).until_reply(from, FOLLOWED_WITHIN)?;
    ensure!(answer.is_reply(), "{} does not reach {to} again\n{}", from.name(), lab.circumstances());
    Ok(())
}

/// As a router that takes over does, it tells its new MAC address by gratuitous ARP: of any other ARP, Linux believes only the first in a second.
fn takes_another_mac(node: &Node, device: &str, mac: &str) -> Result<()> {
    node.sh(&format!("echo 1 > /proc/sys/net/ipv4/conf/{device}/arp_notify"))?;
    node.ip(&format!("link set {device} address {mac}\nneighbour flush dev {device}\n"))
}

#[test]
fn a_tor_that_takes_another_mac_is_followed() -> Result<()> {
    let lab = Lab::start()?;
    let vm = &lab.world.contoso.vms[0];
    lab.reaches(vm, HQ[0])?;
    let tor = &lab.world.tor;
    takes_another_mac(tor, "switch", "02:00:00:00:ee:01")?;
    is_followed(&lab, vm, HQ[0])
}

#[test]
fn a_peer_on_a_vlan_that_takes_another_mac_is_followed() -> Result<()> {
    let lab = Lab::start()?;
    let (vm, dc) = (&lab.world.contoso.vms[0], &lab.world.contoso.dc);
    lab.reaches(vm, DC[0])?;
    takes_another_mac(dc, &format!("vlan{}", CONTOSO.vlan), "02:00:00:00:ee:02")?;
    is_followed(&lab, vm, DC[0])
}

#[test]
fn a_next_hop_that_nobody_is_drops_and_counts_until_the_route_is_put_right() -> Result<()> {
    let lab = Lab::start()?;
    let (vm, gateway) = (&lab.world.contoso.vms[0], &lab.world.gateway);
    lab.reaches(vm, HQ[0])?;
    gateway.ip("route replace default via 198.51.100.77\n")?;
    until(SOON, "drops for want of a next hop", || {
        let _ = Ping::to(address(HQ[0])).send(vm, Duration::from_millis(20));
        lab.gateway.dropped("neighbour_unresolved").ok().filter(|drops| *drops > 0)
    })?;
    gateway.ip(&format!("route replace default via {}\n", TOR[0]))?;
    is_followed(&lab, vm, HQ[0])
}
