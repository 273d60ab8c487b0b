//! The lab's own parts work, with no gateway in sight.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use lab::identity::{Identity, who_is_at};
use lab::link::{End, cable};
use lab::node::{Node, Processes};
use lab::ping::{Answer, Ping};
use lab::tenants::{CONTOSO, GATEWAY_PA, HOST_PA, MTU, TOR, address, addresses};
use lab::topology::{Topology, World};
use lab::tunnel::{Kind, Presence, Tunnel};
use lab::vlan::Vlan;
use lab::wait::SOON;

/// Two machines with a cable between them, addresses on it, and devices on top that have addresses of their own.
fn pair() -> Result<[Arc<Node>; 2]> {
    let processes = Processes::new()?;
    let (one, other) = (Node::new("one", &processes)?, Node::new("other", &processes)?);
    cable(MTU, End::new(&one, "eth0"), End::new(&other, "eth0"))?;
    for (node, number) in [(&one, 1), (&other, 2)] {
        node.ip(&format!(
            "address add 192.0.2.{number}/24 dev eth0\naddress add 2001:db8::{number}/64 dev eth0 nodad\n"
        ))?;
    }
    Ok([one, other])
}

fn inside(node: &Node, device: &str, number: u8) -> Result<()> {
    node.ip(&format!(
        "link set {device} mtu 1400 up\naddress add 10.9.0.{number}/24 dev {device}\naddress add fd09::{number}/64 dev {device} nodad\n"
    ))
}

fn reach_each_other(one: &Node) -> Result<()> {
    for to in ["10.9.0.2", "fd09::2"] {
        for length in [84, 1400] {
            let answer = Ping::to(address(to)).length(length).until_reply(one, SOON)?;
            assert!(answer.is_reply(), "{length} bytes to {to}: {answer:?}");
        }
    }
    Ok(())
}

#[test]
fn gre_in_user_space_carries_both_ip_versions_over_both() -> Result<()> {
    for ends in [["192.0.2.1", "192.0.2.2"], ["2001:db8::1", "2001:db8::2"]] {
        let [one, other] = pair()?;
        let [here, there] = addresses(ends);
        let kind = Kind::Gre { key: Some(100), checksum: Presence::Present, sequence: Presence::Present };
        let first = Tunnel::new(&one, "gre0", here, there, kind)?;
        let second = Tunnel::new(&other, "gre0", there, here, kind)?;
        inside(&one, "gre0", 1)?;
        inside(&other, "gre0", 2)?;
        reach_each_other(&one)?;
        for seen in [first.seen(), second.seen()] {
            assert_eq!(seen.wrong.load(Ordering::Relaxed), 0);
            assert!(seen.sequenced.load(Ordering::Relaxed) > 0);
        }
    }
    Ok(())
}

#[test]
fn gre_with_another_key_is_of_another_tunnel() -> Result<()> {
    let [one, other] = pair()?;
    let [here, there] = addresses(["192.0.2.1", "192.0.2.2"]);
    let _first = Tunnel::new(&one, "gre0", here, there, Kind::gre(Some(100)))?;
    let _second = Tunnel::new(&other, "gre0", there, here, Kind::gre(Some(101)))?;
    inside(&one, "gre0", 1)?;
    inside(&other, "gre0", 2)?;
    assert_eq!(Ping::to(address("10.9.0.2")).send(&one, Duration::from_millis(200))?, Answer::Silence);
    Ok(())
}

#[test]
fn nvgre_in_user_space_carries_frames() -> Result<()> {
    let [one, other] = pair()?;
    let [here, there] = addresses(["192.0.2.1", "192.0.2.2"]);
    let _first = Tunnel::new(&one, "nvgre0", here, there, Kind::Nvgre { vsid: 5001 })?;
    let _second = Tunnel::new(&other, "nvgre0", there, here, Kind::Nvgre { vsid: 5001 })?;
    inside(&one, "nvgre0", 1)?;
    inside(&other, "nvgre0", 2)?;
    reach_each_other(&one)
}

#[test]
fn vlans_in_user_space_are_tagged_on_the_wire_and_kept_apart() -> Result<()> {
    let [one, other] = pair()?;
    let _first = Vlan::new(&one, "vlan7", "eth0", 7)?;
    let _second = Vlan::new(&other, "vlan7", "eth0", 7)?;
    let _third = Vlan::new(&other, "vlan8", "eth0", 8)?;
    inside(&one, "vlan7", 1)?;
    inside(&other, "vlan7", 2)?;
    other.ip("link set vlan8 up\naddress add 10.9.0.3/32 dev vlan8\n")?;
    reach_each_other(&one)?;
    let wire = lab::frame_socket::FrameSocket::open(&other, "eth0")?;
    Ping::to(address("10.9.0.2")).send(&one, SOON)?;
    let tagged = wire.expect(SOON, |frame| frame.get(12..18) == Some(&[0x81, 0, 0, 7, 8, 0]))?;
    assert!(tagged.is_some());
    Ok(())
}

#[test]
fn the_whole_world_stands_without_its_gateway() -> Result<()> {
    let start = std::time::Instant::now();
    let world = Topology::build(World::default(), |_| {})?;
    println!("built in {} ms", start.elapsed().as_millis());
    for (node, to) in [
        (&world.hosts[0], GATEWAY_PA[0]),
        (&world.hosts[0], HOST_PA[1][1]),
        (&world.gateway, TOR[0]),
        (&world.gateway, TOR[1]),
        (&world.gateway, CONTOSO.remote[0]),
        (&world.gateway, CONTOSO.remote[1]),
    ] {
        let answer = Ping::to(address(to)).until_reply(node, SOON)?;
        assert!(answer.is_reply(), "{} to {to}: {answer:?}", node.name());
    }
    Ok(())
}

#[test]
fn compute_hosts_speak_vxlan_as_the_kernel_does() -> Result<()> {
    let world = Topology::build(World::default(), |_| {})?;
    // Both hosts' devices of one subnet, each told that the other is its gateway.
    for (host, other, number) in [(0, 1, 1), (1, 0, 2)] {
        let (node, local, remote) = (&world.hosts[host], HOST_PA[host][0], HOST_PA[other][0]);
        node.ip(&format!("link add test type vxlan id 7777 local {local} remote {remote} dstport 4789\n"))?;
        inside(node, "test", number)?;
    }
    reach_each_other(&world.hosts[0])
}

#[test]
fn machines_say_who_they_are() -> Result<()> {
    let [one, other] = pair()?;
    let _identity = Identity::new(&other, addresses(["192.0.2.2", "2001:db8::2"]))?;
    for at in ["192.0.2.2", "2001:db8::2"] {
        let heard = who_is_at(&one, None, address(at), SOON)?;
        assert_eq!(heard.map(|heard| heard.name).as_deref(), Some("other"));
    }
    assert_eq!(who_is_at(&other, None, address("192.0.2.1"), Duration::ZERO)?, None);
    Ok(())
}

#[test]
fn a_lab_ends_with_its_processes() -> Result<()> {
    let processes = Processes::new()?;
    let node = Node::new("one", &processes)?;
    let id = node.spawn(std::process::Command::new("sleep").arg("1000"))?.id();
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists(), "a dropped process is still there");
    // Nobody in the lab knows this one any more, as after a daemon that forked.
    node.sh("sleep 1000 >/dev/null 2>&1 & echo $! > /run/id")?;
    let network = std::fs::read_link(node.namespaces().network)?;
    drop((node, processes));
    let still =
        |process: &std::fs::DirEntry| std::fs::read_link(process.path().join("ns/net")).is_ok_and(|it| it == network);
    assert_eq!(std::fs::read_dir("/proc")?.flatten().filter(still).count(), 0);
    Ok(())
}
