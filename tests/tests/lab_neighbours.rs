//! The kernel's routes and neighbours lead the gateway's packets, and a change of theirs is followed when the kernel tells of it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gateway_user::net::links::Mac;
use gateway_user::net::netlink::{Monitor, Netlink, Scope};
use gateway_user::net::next_hops::{Effect, Exit, NextHops, Way};
use lab::link::{End, cable};
use lab::node::{Node, Processes};
use lab::ping::Ping;
use lab::tenants::address;
use lab::wait::SOON;

mod common;
use common::on;

const ROUTERS: [&str; 2] = ["02:00:00:00:aa:01", "02:00:00:00:aa:02"];

struct Lab {
    gateway: Arc<Node>,
    routers: [Arc<Node>; 2],
}

/// A gateway with a port to each of two routers.
fn lab() -> Result<Lab> {
    let processes = Processes::new()?;
    let gateway = Node::new("gateway", &processes)?;
    let routers = [Node::new("first", &processes)?, Node::new("second", &processes)?];
    for (index, router) in routers.iter().enumerate() {
        cable(1500, End::new(&gateway, &format!("tor{index}")), End::new(router, "eth0").mac(ROUTERS[index]))?;
        gateway.ip(&format!(
            "address add 192.0.{index}.1/24 dev tor{index}\naddress add 2001:db8:{index}::1/64 dev tor{index} nodad\n"
        ))?;
        router.ip(&format!(
            "address add 192.0.{index}.254/24 dev eth0\naddress add 2001:db8:{index}::fe/64 dev eth0 nodad\n"
        ))?;
    }
    gateway.ip("route add 203.0.113.0/24 via 192.0.0.254\nroute add 2001:db8:cafe::/48 via 2001:db8:0::fe\n")?;
    Ok(Lab { gateway, routers })
}

/// The gateway's side, on the gateway's machine: follows changes until something is so.
struct Follower {
    netlink: Netlink,
    monitor: Monitor,
    next_hops: NextHops,
    runtime: tokio::runtime::Runtime,
}

impl Follower {
    fn new(ports: &[&str], remotes: &[IpAddr]) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let monitor = {
            let _guard = runtime.enter();
            Monitor::new(Monitor::open(Scope::Everything)?)?
        };
        let mut netlink = Netlink::new()?;
        let links = netlink.links(ports.iter().copied())?;
        let exits: BTreeMap<u32, Exit> = links
            .into_iter()
            .flatten()
            .map(|link| (link.index, Exit { name: link.name, mac: link.mac, mtu: link.mtu }))
            .collect();
        let remotes: HashMap<IpAddr, Option<IpAddr>> = remotes.iter().map(|remote| (*remote, None)).collect();
        let mut next_hops = NextHops::default();
        next_hops.want(&mut netlink, exits, remotes)?;
        Ok(Self { netlink, monitor, next_hops, runtime })
    }

    fn way(&self, remote: IpAddr) -> Option<Way> {
        self.next_hops.ways().find(|(address, _)| *address == remote).map(|(_, way)| way)
    }

    /// How long it took until the way was as wanted.
    fn until(&mut self, remote: IpAddr, limit: Duration, wanted: impl Fn(Option<Way>) -> bool) -> Result<Duration> {
        let start = Instant::now();
        while !wanted(self.way(remote)) {
            let left = limit.checked_sub(start.elapsed());
            let left =
                left.with_context(|| format!("the way to {remote} is {:?} after {limit:?}", self.way(remote)))?;
            let Ok(changes) = self.runtime.block_on(async { tokio::time::timeout(left, self.monitor.next()).await })
            else {
                continue;
            };
            for change in changes? {
                match self.next_hops.heard(&change) {
                    Effect::None | Effect::Ways => {}
                    Effect::Manage => self.next_hops.manage(&mut self.netlink),
                    Effect::LookUp => self.next_hops.look_up(&mut self.netlink)?,
                    Effect::Resync => self.next_hops.resync(&mut self.netlink)?,
                }
            }
        }
        Ok(start.elapsed())
    }
}

/// The MAC address of an interface of the calling thread's network.
fn mac(interface: &str) -> Result<Mac> {
    Ok(Netlink::new()?.link(interface)?.with_context(|| format!("no interface {interface}"))?.mac)
}

/// A MAC address as `ip` writes it.
fn written([a, b, c, d, e, f]: Mac) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

fn leads_to(mac: &'static str) -> impl Fn(Option<Way>) -> bool {
    move |way| way.is_some_and(|way| written(way.mac) == mac)
}

#[test]
fn a_router_that_takes_another_mac_is_followed() -> Result<()> {
    let Lab { gateway, routers } = lab()?;
    for (remote, router) in [("203.0.113.20", "192.0.0.1"), ("2001:db8:cafe::20", "2001:db8:0::1")] {
        let remote = address(remote);
        on(&gateway, || -> Result<()> {
            let mut follower = Follower::new(&["tor0", "tor1"], &[remote])?;
            let mac = written(routers[0].within(|| mac("eth0"))?);
            follower.until(remote, SOON, |way| way.is_some_and(|way| written(way.mac) == mac))?;
            // It speaks from its new MAC, as a router that takes over does.
            let moved = if remote.is_ipv4() { "02:00:00:00:aa:11" } else { "02:00:00:00:aa:12" };
            routers[0].ip(&format!("link set eth0 address {moved}\nneighbour flush dev eth0\n"))?;
            let ping = Ping::to(address(router));
            let _ = ping.send(&routers[0], Duration::from_millis(300));
            follower.until(remote, SOON, leads_to(moved))?;
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_route_that_moves_to_another_router_is_followed() -> Result<()> {
    let Lab { gateway, routers: _routers } = lab()?;
    on(&gateway, || -> Result<()> {
        let remote = address("203.0.113.20");
        let mut follower = Follower::new(&["tor0", "tor1"], &[remote])?;
        follower.until(remote, SOON, leads_to(ROUTERS[0]))?;
        gateway.ip("route replace 203.0.113.0/24 via 192.0.1.254\n")?;
        follower.until(remote, SOON, leads_to(ROUTERS[1]))?;
        gateway.ip("route delete 203.0.113.0/24\n")?;
        follower.until(remote, SOON, |way| way.is_none())?;
        assert!(follower.next_hops.unresolved()[&remote].contains("no route"), "{:?}", follower.next_hops.unresolved());
        Ok(())
    })
}

#[test]
fn of_several_next_hops_one_that_answers_is_taken() -> Result<()> {
    let Lab { gateway, routers: _routers } = lab()?;
    on(&gateway, || -> Result<()> {
        let remote = address("203.0.113.20");
        // Nobody is 192.0.0.77.
        gateway
            .ip("route replace 203.0.113.0/24 nexthop via 192.0.0.77 dev tor0 nexthop via 192.0.1.254 dev tor1\n")?;
        let mut follower = Follower::new(&["tor0", "tor1"], &[remote])?;
        follower.until(remote, SOON, leads_to(ROUTERS[1]))?;
        Ok(())
    })
}

#[test]
fn a_port_that_goes_down_and_comes_back_is_resolved_again() -> Result<()> {
    let Lab { gateway, routers: _routers } = lab()?;
    on(&gateway, || -> Result<()> {
        let remote = address("192.0.0.254");
        let mut follower = Follower::new(&["tor0"], &[remote])?;
        follower.until(remote, SOON, leads_to(ROUTERS[0]))?;
        gateway.ip("link set tor0 down\n")?;
        follower.until(remote, SOON, |way| way.is_none())?;
        gateway.ip("link set tor0 up\n")?;
        follower.until(remote, SOON, leads_to(ROUTERS[0]))?;
        Ok(())
    })
}

#[test]
fn a_route_beyond_the_plans_ports_is_no_way() -> Result<()> {
    let Lab { gateway, routers: _routers } = lab()?;
    on(&gateway, || -> Result<()> {
        let remote = address("203.0.113.20");
        let follower = Follower::new(&["tor1"], &[remote])?;
        assert_eq!(follower.way(remote), None);
        assert!(follower.next_hops.unresolved()[&remote].contains("none of the plan's ports (tor1)"));
        Ok(())
    })
}

#[test]
fn an_administrators_neighbour_is_used_and_left_alone() -> Result<()> {
    let Lab { gateway, routers: _routers } = lab()?;
    on(&gateway, || -> Result<()> {
        let remote = address("203.0.113.20");
        gateway.ip("neighbour add 192.0.0.254 lladdr 02:00:00:00:bb:01 dev tor0 nud permanent\n")?;
        let mut follower = Follower::new(&["tor0"], &[remote])?;
        follower.until(remote, SOON, leads_to("02:00:00:00:bb:01"))?;
        follower.next_hops.release(&mut follower.netlink);
        let shown = gateway.sh("ip neighbour show dev tor0")?;
        assert!(shown.contains("02:00:00:00:bb:01 PERMANENT"), "{shown}");
        Ok(())
    })
}

#[test]
fn thousands_of_remotes_share_one_managed_neighbour_and_none_is_left_behind() -> Result<()> {
    let Lab { gateway, routers: _routers } = lab()?;
    on(&gateway, || -> Result<()> {
        gateway.ip("route add 198.18.0.0/15 via 192.0.0.254 mtu 1400\n")?;
        let remotes: Vec<IpAddr> = (0..5000u32).map(|n| IpAddr::from((0xc612_0001 + n).to_be_bytes())).collect();
        let mut follower = Follower::new(&["tor0", "tor1"], &remotes)?;
        follower.until(remotes[4999], SOON, leads_to(ROUTERS[0]))?;
        assert_eq!(follower.next_hops.ways().count(), 5000);
        assert!(follower.next_hops.ways().all(|(_, way)| way.mtu == 1400), "the route's MTU");
        let shown = gateway.sh("ip neighbour show dev tor0")?;
        assert_eq!(shown.lines().filter(|line| line.contains("managed")).count(), 1, "{shown}");
        follower.next_hops.release(&mut follower.netlink);
        let shown = gateway.sh("ip neighbour show dev tor0")?;
        assert!(!shown.contains("managed"), "{shown}");
        Ok(())
    })
}
