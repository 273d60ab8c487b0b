//! Probes of the pool's other gateways, and what they claim of seats: returned by this program, whatever user space does meanwhile.
//!
//! A message with a higher epoch of a seat than ours means that another gateway holds it. We stop at once; only a seat that is yielded
//! goes on, since its successor is meant to appear.

use crate::answers::{self, Mac, OVER_IPV4, OVER_IPV6};
use crate::maps::{DEVICES, NEXTHOPS, PORTS, PROBERS, SEAT_NUMBERS, SEATS};
use crate::packet::Packet;
use crate::run::Run;
use crate::{PASS, Verdict, gate};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use gateway_common::gate::{Gate, State};
use gateway_common::probe::{self, Kind, LEN, Words, word};
use gateway_common::siphash::Key;
use gateway_common::tables::{Nexthop, ProbeWay, Prober};
use gateway_common::wire::{DEFAULT_TTL, ethertype, protocol};
use gateway_common::{DropReason, Epoch, NexthopId, SeatId, checksum};
use network_types::eth::EthHdr;

const UDP_HEADER: usize = 8;
const UDP_LEN: u32 = (UDP_HEADER + LEN) as u32;

/// Whether what stands at `at` is UDP to the probes' port, and long enough to be one.
#[inline(always)]
pub fn is_probe(packet: &Packet, at: usize) -> bool {
    match packet.load::<[u16; 2]>(at) {
        Some([_, port]) => port == probe::PORT.to_be() && packet.has((at + UDP_HEADER + LEN) as u32),
        None => false,
    }
}

/// Returns a request, takes in what is claimed, and leaves to the kernel's sockets what is for this gateway's own prober.
#[inline(always)]
pub fn stage(packet: &Packet, run: &mut Run) -> Verdict {
    let kind: u16 = packet.load(12).ok_or(DropReason::EthernetTruncated)?;
    match u16::from_be(kind) {
        ethertype::IPV4 => frame::<OVER_IPV4>(packet, run),
        _ => frame::<OVER_IPV6>(packet, run),
    }
}

/// The same for a probe over UDP at `AT`.
#[inline(always)]
fn frame<const AT: usize>(packet: &Packet, run: &mut Run) -> Verdict {
    let mut words: Words = packet.load(AT + UDP_HEADER).ok_or(DropReason::OuterTruncated)?;
    let (kind, observer) = probe::read_head(words[word::HEAD]).ok_or(DropReason::ProbeForged)?;
    if matches!(kind, Kind::Reply) {
        // Its tag is the business of whoever asked.
        return PASS;
    }
    let prober = PROBERS.get_ptr(u32::from(observer)).ok_or(DropReason::ProbeForged)?;
    // SAFETY: entries are replaced whole; a torn key believes nobody.
    let prober = unsafe { &*prober };
    let key = Key(prober.key);
    if probe::tag(key, &words) != words[word::TAG] {
        return Err(DropReason::ProbeForged);
    }
    let seat = u64::from_be(words[word::SEAT]);
    let (number, way) = ((seat >> 32) as u32, seat as u32);
    let mut epoch = Epoch(0);
    if number != 0 {
        let slot = SEAT_NUMBERS.get_ptr(number).ok_or(DropReason::ProbeUnheld)?;
        // SAFETY: one aligned word.
        let slot = unsafe { *slot };
        epoch = see(slot, Epoch(u64::from_be(words[word::EPOCH])));
        if matches!(kind, Kind::Request) {
            gate::check(slot, run.now).map_err(|_| DropReason::ProbeUnheld)?;
        }
    }
    if matches!(kind, Kind::Claim) {
        return PASS;
    }
    words[word::HEAD] = probe::head(Kind::Reply, observer);
    words[word::EPOCH] = epoch.0.to_be();
    // SAFETY: a helper without arguments.
    words[word::CLOCK] = unsafe { bpf_ktime_get_ns() }.to_be();
    words[word::TAG] = probe::tag(key, &words);
    packet.store(AT + UDP_HEADER, words).ok_or(DropReason::OuterTruncated)?;
    match way {
        0 => back::<AT>(packet, run, &words),
        1 | 2 => through::<AT>(packet, prober, way, &words),
        _ => Err(DropReason::ProbeForged),
    }
}

/// Takes in an epoch of a seat, and returns the one under which this gateway has it.
///
/// What was seen is written before the gate: whoever opens the gate meanwhile looks at what was seen afterwards, and closes it again.
#[inline(always)]
fn see(slot: SeatId, epoch: Epoch) -> Epoch {
    let Some(seat) = SEATS.get_ptr_mut(slot.0) else { return Epoch(0) };
    // SAFETY: aligned words of a map's value. CPUs that race here write epochs that all are higher than the gate's.
    unsafe {
        let own = (&raw const (*seat).epoch).read_volatile();
        if epoch > own {
            if epoch > (&raw const (*seat).seen).read_volatile() {
                (&raw mut (*seat).seen).write_volatile(epoch);
            }
            if matches!((&raw const (*seat).gate).read_volatile().state(), State::Held) {
                (&raw mut (*seat).gate).write_volatile(Gate::REPLICA);
            }
        }
        own
    }
}

/// Sends a reply back to whom the request came from.
#[inline(always)]
fn back<const AT: usize>(packet: &Packet, run: &Run, words: &Words) -> Verdict {
    // SAFETY: a port's record is replaced whole, and never while its program is attached.
    let port = PORTS.get_ptr(run.ifindex).map(|port| unsafe { *port }).ok_or(DropReason::NoPort)?;
    let mac = Mac::padded(&port.mac);
    let turned = || {
        let [from, to]: [u16; 2] = packet.load(AT)?;
        if AT == OVER_IPV4 {
            let header: [u32; 5] = packet.load(EthHdr::LEN)?;
            write_udp::<AT>(packet, [to, from], sum(&header[3..5]), words)?;
            answers::turn_packet4(packet, mac, header)
        } else {
            let header: [u32; 10] = packet.load(EthHdr::LEN)?;
            write_udp::<AT>(packet, [to, from], sum(&header[2..10]), words)?;
            answers::turn_packet6(packet, mac, header)
        }
    };
    turned().ok_or(DropReason::OuterTruncated)?;
    DEVICES.redirect(port.id.0, 0).map_err(|_| DropReason::NoPort)
}

/// Sends a reply out on one of the gateway's sides.
#[inline(always)]
fn through<const AT: usize>(packet: &Packet, prober: &Prober, way: u32, words: &Words) -> Verdict {
    let ProbeWay { nexthop, source, destination, .. } = if way == 1 { &prober.ways[0] } else { &prober.ways[1] };
    if *nexthop == NexthopId::NONE || source.is_v4() != (AT == OVER_IPV4) {
        return Err(DropReason::NoRoute);
    }
    let nexthop = NEXTHOPS.get(nexthop.0).ok_or(DropReason::NoRoute)?;
    if nexthop.kind != Nexthop::ADJACENCY {
        return Err(DropReason::NeighbourUnresolved);
    }
    let written = || {
        let [from, to]: [u16; 2] = packet.load(AT)?;
        if AT == OVER_IPV4 {
            let mut header: [u32; 5] = packet.load(EthHdr::LEN)?;
            (header[3], header[4]) = (source.0[3], destination.0[3]);
            let lifetime = u32::from_be(header[2]) & 0x00ff_0000 | u32::from(DEFAULT_TTL) << 24;
            header[2] = lifetime.to_be();
            let check = u32::from(checksum::finish(sum(&header)));
            header[2] |= check << 16;
            packet.store(EthHdr::LEN, header)?;
            write_udp::<AT>(packet, [to, from], sum(&header[3..5]), words)?;
        } else {
            packet.store(EthHdr::LEN + 7, DEFAULT_TTL)?;
            packet.store(EthHdr::LEN + 8, [source.0, destination.0])?;
            write_udp::<AT>(packet, [to, from], sum(&source.0) + sum(&destination.0), words)?;
        }
        packet.store(0, nexthop.header[0])?;
        packet.store(8, nexthop.header[1] as u32)
    };
    written().ok_or(DropReason::OuterTruncated)?;
    DEVICES.redirect(nexthop.port.0, 0).map_err(|_| DropReason::NoPort)
}

/// Writes the UDP header of a probe between these ports, under a checksum; `addresses` is the sum of the addresses.
#[inline(always)]
fn write_udp<const AT: usize>(packet: &Packet, ports: [u16; 2], addresses: u64, words: &Words) -> Option<()> {
    let ports = u32::from(ports[0]) | u32::from(ports[1]) << 16;
    let len = UDP_LEN.to_be() >> 16;
    // The length stands in the pseudo-header as well, beside the protocol.
    let mut total =
        addresses + u64::from(ports) + 2 * u64::from(len) + u64::from(u32::from(protocol::UDP).to_be() >> 16);
    for word in words {
        total += (*word & 0xffff_ffff) + (*word >> 32);
    }
    let check = match checksum::finish(total) {
        0 => 0xffff,
        check => check,
    };
    packet.store(AT, ports)?;
    packet.store(AT + 4, len | u32::from(check) << 16)
}

#[inline(always)]
fn sum(words: &[u32]) -> u64 {
    let mut total = 0;
    for word in words {
        total += u64::from(*word);
    }
    total
}
