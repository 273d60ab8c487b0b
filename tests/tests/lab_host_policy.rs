//! What a compute host lets its machines do, and what is left when its daemon is gone.

use anyhow::{Context, Result, ensure};
use lab::compute::{Compute, Place};
use lab::frame::{Mac, ether, ip, pattern, udp};
use lab::frame_socket::FrameSocket;
use lab::ping::{Answer, Ping};
use lab::tenants::{GATEWAY_MAC, SUBNETS, TENANTS, address};
use lab::topology::World;
use lab::wait::{SOON, until};

const NEIGHBOURS: [Place; 2] =
    [Place { tenant: 0, subnet: 0, host: 0, number: 6 }, Place { tenant: 0, subnet: 0, host: 1, number: 7 }];

fn mac(text: &str) -> Mac {
    let mut bytes = [0; 6];
    for (byte, part) in bytes.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(part, 16).expect("a MAC address");
    }
    Mac(bytes)
}

#[test]
fn a_machine_speaks_only_as_itself() -> Result<()> {
    let compute = Compute::start_with(World::default(), &NEIGHBOURS)?;
    let (vm, host) = (compute.vm(0, 0), &compute.hosts[0]);
    let own = mac(SUBNETS[0].mac);
    let wire = FrameSocket::open(vm, "eth0")?;
    let router = mac(GATEWAY_MAC);
    for (reason, from, source) in [
        ("spoofed_mac", mac("02:00:00:00:09:09"), SUBNETS[0].addresses[0]),
        ("spoofed", own, "10.1.0.6"),
        ("spoofed", own, "10.2.0.1"),
    ] {
        let before = host.dropped(reason)?;
        wire.send(&(ether(router, from) / ip(source, SUBNETS[1].addresses[0]) / udp(1, 2) / pattern(40)).build())?;
        until(SOON, "the drop to be counted", || host.dropped(reason).ok().filter(|after| *after > before))
            .with_context(|| compute.circumstances())?;
    }
    let shown = host.connection(TENANTS[0].name, &Place::usual(0, 0).device())?;
    ensure!(shown.r#type == "vm" && shown.endpoint.contains(SUBNETS[0].addresses[0]), "{shown:?}");
    ensure!(shown.traffic.drops.iter().any(|drop| drop.reason == "spoofed"), "{shown:?}");
    Ok(())
}

#[test]
fn routers_and_neighbours_are_answered_for() -> Result<()> {
    let compute = Compute::start_with(World::default(), &NEIGHBOURS)?;
    let vm = compute.vm(0, 0);
    for version in [0, 1] {
        for machine in &compute.more {
            compute.answers(vm, Ping::to(address(&machine.place.addresses()[version])))?;
        }
        compute.answers(vm, Ping::to(address(SUBNETS[0].router[version])))?;
    }
    let known = vm.sh("ip neighbour show")?;
    for (address, mac) in [
        (SUBNETS[0].router[0].to_owned(), GATEWAY_MAC.to_owned()),
        (SUBNETS[0].router[1].to_owned(), GATEWAY_MAC.to_owned()),
        (compute.more[0].place.addresses()[0].clone(), compute.more[0].place.mac()),
        (compute.more[1].place.addresses()[1].clone(), compute.more[1].place.mac()),
    ] {
        let line = known.lines().find(|line| line.starts_with(&format!("{address} "))).unwrap_or_default();
        ensure!(line.contains(&mac), "{address} should be at {mac}:\n{known}");
    }
    ensure!(Ping::to(address("10.1.0.99")).send(vm, SOON)? != Answer::Silence || known.is_empty(), "nobody is there");
    Ok(())
}

#[test]
fn the_routers_own_errors_reach_the_machine() -> Result<()> {
    let compute = Compute::start()?;
    for (version, to) in SUBNETS[1].addresses.into_iter().enumerate() {
        let router = address(SUBNETS[0].router[version]);
        let answer = until(SOON, "time exceeded", || {
            match Ping::to(address(to)).ttl(1).send(compute.vm(0, 0), std::time::Duration::from_millis(500)) {
                Ok(Answer::TimeExceeded { from }) => Some(from),
                _ => None,
            }
        })
        .with_context(|| compute.circumstances())?;
        ensure!(answer == router, "{answer} said so");
    }
    Ok(())
}

#[test]
fn a_broadcast_reaches_the_subnets_machines_and_no_others() -> Result<()> {
    let compute = Compute::start_with(World::default(), &NEIGHBOURS)?;
    let own = mac(SUBNETS[0].mac);
    let wire = FrameSocket::open(compute.vm(0, 0), "eth0")?;
    let [near, far] = [0, 1].map(|index| FrameSocket::open(&compute.more[index].node, "eth0"));
    let strangers = [FrameSocket::open(compute.vm(0, 1), "eth0")?, FrameSocket::open(compute.vm(1, 0), "eth0")?];
    let frame =
        (ether(Mac::BROADCAST, own) / ip(SUBNETS[0].addresses[0], "10.1.0.255") / udp(9, 9999) / pattern(64)).build();
    // Anew until it arrives: the fabric's addresses may be being resolved.
    for receiver in [near?, far?] {
        let arrived = until(SOON, "the broadcast", || {
            wire.send(&frame).ok()?;
            receiver.expect(std::time::Duration::from_millis(100), |other| other == frame).ok().flatten()
        });
        arrived.with_context(|| compute.circumstances())?;
    }
    for stranger in strangers {
        while let Some(other) = stranger.receive()? {
            ensure!(other != frame, "the broadcast reached another subnet");
        }
    }
    Ok(())
}

#[test]
fn packets_flow_without_the_daemon_and_end_with_detach() -> Result<()> {
    let mut compute = Compute::start()?;
    let to = SUBNETS[1].addresses[0];
    compute.answers(compute.vm(0, 0), Ping::to(address(to)))?;
    compute.hosts[0].kill();
    compute.hosts[1].kill();
    compute.answers(compute.vm(0, 0), Ping::to(address(to)))?;
    compute.answers(compute.vm(0, 0), Ping::to(address(SUBNETS[0].router[1])))?;
    // The next daemon takes over what is there.
    let plan = compute.plan(0);
    compute.hosts[0].start_text(&plan)?;
    ensure!(compute.hosts[0].status()?.adopted, "the daemon began anew");
    compute.answers(compute.vm(0, 0), Ping::to(address(to)))?;
    compute.hosts[0].stop()?;
    compute.hosts[0].ctl(&["detach"])?;
    let left = compute.hosts[0].node().sh("ls /sys/fs/bpf; ip -d link show eth0; ip link show")?;
    ensure!(
        !left.contains("gateway") && !left.contains("xdp") && !left.contains("slow0") && !left.contains("overlay0"),
        "left behind:\n{left}"
    );
    ensure!(Ping::to(address(to)).send(compute.vm(0, 0), std::time::Duration::from_millis(300))? == Answer::Silence);
    Ok(())
}
