//! What compute hosts put on the wire for machines with the offloads that the kernel gives them: packets of every size, with right checksums.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::compute::{Compute, Place};
use lab::frame_socket::FrameSocket;
use lab::link::{End, plain};
use lab::ping::Ping;
use lab::tenants::{SUBNETS, address};
use lab::throughput;
use lab::topology::{Encapsulation, Outer, World};
use lab::tunnel::internet_checksum;

const ETHERNET: usize = 14;

/// Every way between machines: the second one is in the first one's subnet, on the other host.
fn pairs(world: World) -> Result<Compute> {
    Compute::start_with(world, &[Place { tenant: 0, subnet: 0, host: 1, number: 7 }])
}

#[test]
fn echo_of_every_size_comes_back() -> Result<()> {
    for world in ways() {
        let compute = pairs(world)?;
        let from = compute.vm(0, 0);
        for version in [0, 1] {
            let neighbour = compute.more[0].place.addresses()[version].clone();
            for to in [&neighbour, SUBNETS[1].addresses[version]] {
                // Over 1500 the sender cuts the packet itself.
                for length in [64, 1279, 1280, 1281, 1499, 1500, 1501, 3000, 9000] {
                    compute.answers(from, Ping::to(address(to)).length(length))?;
                }
            }
        }
    }
    Ok(())
}

/// The inner packet of a fabric frame in VXLAN over IPv4, if it is one.
fn inner(frame: &[u8]) -> Option<&[u8]> {
    const OUTER: usize = ETHERNET + 20 + 8 + 8;
    let is_vxlan = frame.get(12..14)? == [8, 0] && frame[23] == 17 && frame.get(36..38)? == 4789u16.to_be_bytes();
    if !is_vxlan || frame.get(OUTER + 12..OUTER + 14)? != [8, 0] {
        return None;
    }
    let packet = frame.get(OUTER + ETHERNET..)?;
    let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    packet.get(..length)
}

/// Whether a packet's checksums are right, its TCP's too; nothing for one without TCP.
fn has_right_checksums(packet: &[u8]) -> Option<bool> {
    let (protocol, addresses, header) = match packet.first()? >> 4 {
        4 => (packet[9], &packet[12..20], usize::from(packet[0] & 0x0f) * 4),
        _ => (*packet.get(6)?, packet.get(8..40)?, 40),
    };
    if protocol != 6 {
        return None;
    }
    let tcp = &packet[header..];
    let pseudo = [addresses, &[0, 6], &u16::try_from(tcp.len()).ok()?.to_be_bytes(), tcp].concat();
    let whole = header == 40 || internet_checksum(&packet[..header]) == 0;
    Some(whole && internet_checksum(&pseudo) == 0)
}

/// The IP packet of a frame, without padding.
fn packet_of(frame: &[u8]) -> Option<&[u8]> {
    let packet = frame.get(ETHERNET..)?;
    let length = |at: usize| Some(usize::from(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?)));
    match frame[12..14] {
        [8, 0] => packet.get(..length(2)?),
        [0x86, 0xdd] => packet.get(..length(4)? + 40),
        _ => None,
    }
}

/// Carries some MiB by TCP over either IP version to the second machine, and gives the TCP packets that it sees arrive.
fn carried(compute: &Compute) -> Result<Vec<Vec<u8>>> {
    let machine = &compute.more[0];
    let wire = FrameSocket::open(&machine.node, "eth0")?;
    let mut packets = Vec::new();
    for to in machine.place.addresses() {
        throughput::carry(compute.vm(0, 0), &machine.node, address(&to), 2 << 20)
            .with_context(|| compute.circumstances())?;
        while let Some(frame) = wire.receive()? {
            packets
                .extend(packet_of(&frame).filter(|packet| has_right_checksums(packet).is_some()).map(<[u8]>::to_vec));
        }
    }
    Ok(packets)
}

/// The ways that frames come to a host.
fn ways() -> [World; 2] {
    [World::default(), World { encapsulation: Encapsulation::Nvgre, underlay: Outer::V6, ..World::default() }]
}

#[test]
fn segments_reach_a_machine_joined() -> Result<()> {
    for world in ways() {
        let packets = carried(&pairs(world)?)?;
        let longest = packets.iter().map(Vec::len).max().unwrap_or_default();
        ensure!(longest > 1500, "of {} packets the longest has {longest} bytes", packets.len());
    }
    Ok(())
}

#[test]
fn a_machine_without_offloads_gets_whole_segments_with_right_checksums() -> Result<()> {
    for world in ways() {
        let compute = pairs(world)?;
        let device = compute.more[0].place.device();
        plain(End::new(&compute.lab.world.hosts[1], &device))?;
        let packets = carried(&compute)?;
        for packet in &packets {
            ensure!(packet.len() <= 1500, "a packet of {} bytes has arrived", packet.len());
            ensure!(has_right_checksums(packet) == Some(true), "a packet of {} bytes is wrong", packet.len());
        }
        let long = packets.iter().filter(|packet| packet.len() == 1500).count();
        ensure!(long > 100, "only {long} whole segments among {} packets", packets.len());
    }
    Ok(())
}

#[test]
fn tcp_of_unmodified_machines_has_right_checksums_on_the_wire() -> Result<()> {
    let compute = pairs(World::default())?;
    let (one, other) = (compute.vm(0, 0), &compute.more[0].node);
    let to = address(&compute.more[0].place.addresses()[0]);
    let wires = ["host1", "host2"].map(|port| FrameSocket::open(&compute.lab.world.fabric, port));
    throughput::tcp(one, other, to, Duration::from_millis(300)).with_context(|| compute.circumstances())?;
    throughput::tcp(other, one, address(SUBNETS[0].addresses[0]), Duration::from_millis(300))?;
    for wire in wires {
        let wire = wire?;
        let (mut right, mut long) = (0, 0);
        while let Some(frame) = wire.receive()? {
            let Some(packet) = inner(&frame) else { continue };
            let Some(good) = has_right_checksums(packet) else { continue };
            ensure!(good, "a packet of {} bytes has a wrong checksum", packet.len());
            ensure!(packet.len() <= 1500, "a packet of {} bytes is on the wire", packet.len());
            right += 1;
            long += usize::from(packet.len() == 1500);
        }
        ensure!(right > 100 && long > 50, "only {right} TCP packets on the wire, {long} of them whole segments");
    }
    Ok(())
}

#[test]
fn a_packet_that_may_be_cut_reaches_a_machine_in_pieces() -> Result<()> {
    let compute = pairs(World::default())?;
    let from = compute.vm(0, 0);
    for host in &compute.hosts {
        host.node().ip("link set eth0 mtu 1500\n")?;
    }
    // What is left for the inner packet is 1450, on the way there as on the way back; of 3000 bytes the sender itself makes three packets.
    for to in [&compute.more[0].place.addresses()[0], SUBNETS[1].addresses[0]] {
        for length in [1450, 1451, 1480, 1500, 3000] {
            compute.answers(from, Ping::to(address(to)).length(length))?;
        }
    }
    let status = compute.hosts[0].ctl(&["status", "-o", "json"])?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let fragmented = status["slow_path"]["fragmented"].as_u64();
    ensure!(fragmented >= Some(6), "{status:#}");
    // It still tells who forbids it.
    let ping = Ping::to(address(SUBNETS[1].addresses[0])).length(1480).fragmentation(lab::ping::Fragmentation::Probing);
    let told = lab::wait::until(lab::wait::SOON, "an error from the router", || {
        matches!(ping.send(from, Duration::from_millis(500)), Ok(lab::ping::Answer::TooBig { mtu: 1450, .. }))
            .then_some(())
    });
    told.with_context(|| compute.circumstances())
}

#[test]
fn a_packet_that_is_too_big_for_the_fabric_is_told_to_its_sender() -> Result<()> {
    let compute = pairs(World::default())?;
    let from = compute.vm(0, 0);
    // What is left for the inner packet is 1450.
    compute.hosts[0].node().ip("link set eth0 mtu 1500\n")?;
    for (version, to) in SUBNETS[1].addresses.into_iter().enumerate() {
        let router = address(SUBNETS[0].router[version]);
        let ping = Ping::to(address(to)).length(1480).fragmentation(lab::ping::Fragmentation::Probing);
        let told = lab::wait::until(lab::wait::SOON, "an error from the router", || {
            match ping.send(from, Duration::from_millis(500)) {
                Ok(lab::ping::Answer::TooBig { from, mtu }) => Some((from, mtu)),
                _ => None,
            }
        })
        .with_context(|| compute.circumstances())?;
        ensure!(told.1 == 1450, "the router told {told:?}");
        ensure!(told.0.is_none_or(|from| from == router), "told by {told:?}");
    }
    Ok(())
}
