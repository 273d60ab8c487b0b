//! Steer: the mux's stage. What comes for the shared VIP is sent to the gateway that holds the connection, by where it comes from; what
//! comes back gets the VIP as its source. Only addresses change, so checksums are updated, never computed.

use crate::maps::{DEVICES, NEXTHOPS, SETTINGS, STEER};
use crate::packet::Packet;
use crate::run::Run;
use crate::{PASS, Verdict};
use gateway_common::tables::{Nexthop, Settings, SteerKey, SteerTarget};
use gateway_common::wire::{ethertype, protocol};
use gateway_common::{Address, DropReason, checksum};
use network_types::eth::EthHdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

/// What of a packet decides where it is steered.
struct Packaged {
    source: Address,
    destination: Address,
    protocol: u8,
    ttl: u8,
    /// Where the transport header starts; none in a fragment that is not the first.
    transport: Option<usize>,
}

/// The stage of a gateway that is a mux as well.
#[inline(always)]
pub fn stage(packet: &Packet, _: &mut Run) -> Verdict {
    frame(packet)
}

/// Takes a frame of a mux's port: either way.
#[inline(always)]
pub fn frame(packet: &Packet) -> Verdict {
    match forward(packet) {
        Err(DropReason::SteerUnmatched) => back(packet),
        verdict => verdict,
    }
}

/// Steers a packet for the VIP to its gateway.
#[inline(always)]
pub fn forward(packet: &Packet) -> Verdict {
    let Some(packaged) = read(packet) else { return Err(DropReason::SteerUnmatched) };
    match find(packet, &packaged, SteerKey::FORWARD) {
        Some(target) => rewrite(packet, &packaged, &target, SteerKey::FORWARD),
        None => Err(DropReason::SteerUnmatched),
    }
}

/// Gives a packet from a gateway to a site the VIP as its source; everything else is not ours.
#[inline(always)]
pub fn back(packet: &Packet) -> Verdict {
    let Some(packaged) = read(packet) else { return PASS };
    match find(packet, &packaged, SteerKey::BACK) {
        Some(target) => rewrite(packet, &packaged, &target, SteerKey::BACK),
        None => PASS,
    }
}

#[inline(always)]
fn read(packet: &Packet) -> Option<Packaged> {
    let kind: u16 = packet.load(12)?;
    match u16::from_be(kind) {
        ethertype::IPV4 => {
            let header: [u32; 5] = packet.load(EthHdr::LEN)?;
            if u32::from_be(header[0]) >> 24 != 0x45 {
                return None;
            }
            let third = u32::from_be(header[2]);
            let first_piece = u32::from_be(header[1]) & 0x1fff == 0;
            Some(Packaged {
                source: Address::v4(header[3]),
                destination: Address::v4(header[4]),
                protocol: (third >> 16) as u8,
                ttl: (third >> 24) as u8,
                transport: if first_piece { Some(EthHdr::LEN + Ipv4Hdr::LEN) } else { None },
            })
        }
        ethertype::IPV6 => {
            let header: [u32; 10] = packet.load(EthHdr::LEN)?;
            let second = u32::from_be(header[1]);
            Some(Packaged {
                source: Address([header[2], header[3], header[4], header[5]]),
                destination: Address([header[6], header[7], header[8], header[9]]),
                protocol: (second >> 8) as u8,
                ttl: second as u8,
                transport: Some(EthHdr::LEN + Ipv6Hdr::LEN),
            })
        }
        _ => None,
    }
}

/// The rule for a packet: the one for its site's port or SPI, else the one that leaves it open.
#[inline(always)]
fn find(packet: &Packet, packaged: &Packaged, direction: u32) -> Option<SteerTarget> {
    let at = packaged.transport?;
    let mut key = SteerKey {
        destination: packaged.destination,
        source: packaged.source,
        protocol: u32::from(packaged.protocol),
        port: 0,
        selector: 0,
        direction,
    };
    match packaged.protocol {
        protocol::TCP | protocol::UDP => {
            let [source, destination]: [u16; 2] = packet.load(at)?;
            let (ours, theirs) =
                if direction == SteerKey::FORWARD { (destination, source) } else { (source, destination) };
            key.port = u32::from(u16::from_be(ours));
            key.selector = u32::from(u16::from_be(theirs));
        }
        protocol::ESP => key.selector = u32::from_be(packet.load(at)?),
        protocol::GRE => {}
        _ => return None,
    }
    let by_selector = SETTINGS.get(0).is_none_or(|settings| settings.steering & Settings::SELECTORS != 0);
    if by_selector && let Some(target) = STEER.get_ptr(key) {
        // SAFETY: entries are replaced whole.
        return Some(unsafe { *target });
    }
    key.selector = 0;
    // SAFETY: as above.
    STEER.get_ptr(key).map(|target| unsafe { *target })
}

#[inline(always)]
fn rewrite(packet: &Packet, packaged: &Packaged, target: &SteerTarget, direction: u32) -> Verdict {
    if packaged.ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    let nexthop = NEXTHOPS.get(target.nexthop.0).ok_or(DropReason::NoRoute)?;
    if nexthop.kind != Nexthop::ADJACENCY {
        return Err(DropReason::NeighbourUnresolved);
    }
    let old = if direction == SteerKey::FORWARD { packaged.destination } else { packaged.source };
    if old.is_v4() {
        rewrite4(packet, packaged, old.0[3], target.address.0[3], direction).ok_or(DropReason::OuterTruncated)?;
    } else {
        rewrite6(packet, packaged, old.0, target.address.0, direction).ok_or(DropReason::OuterTruncated)?;
    }
    let macs = (nexthop.header[0], nexthop.header[1] as u32);
    packet.store(0, macs.0).ok_or(DropReason::OuterTruncated)?;
    packet.store(8, macs.1).ok_or(DropReason::OuterTruncated)?;
    DEVICES.redirect(nexthop.port.0, 0).map_err(|_| DropReason::NoPort)
}

#[inline(always)]
fn rewrite4(packet: &Packet, packaged: &Packaged, old: u32, new: u32, direction: u32) -> Option<()> {
    let at = EthHdr::LEN + if direction == SteerKey::FORWARD { 16 } else { 12 };
    let [lifetime, check]: [u16; 2] = packet.load(EthHdr::LEN + 8)?;
    let lower = lifetime.wrapping_sub(1);
    let check = checksum::replace16(checksum::replace32(check, old, new), lifetime, lower);
    packet.store(EthHdr::LEN + 8, [lower, check])?;
    packet.store(at, new)?;
    transport_checksum(packet, packaged, |check| checksum::replace32(check, old, new))
}

#[inline(always)]
fn rewrite6(packet: &Packet, packaged: &Packaged, old: [u32; 4], new: [u32; 4], direction: u32) -> Option<()> {
    let at = EthHdr::LEN + if direction == SteerKey::FORWARD { 24 } else { 8 };
    packet.store(EthHdr::LEN + 7, packaged.ttl.wrapping_sub(1))?;
    packet.store(at, new)?;
    transport_checksum(packet, packaged, |mut check| {
        for word in 0..4 {
            check = checksum::replace32(check, old[word], new[word]);
        }
        check
    })
}

/// Updates the transport's checksum, which covers the addresses. UDP's may be absent (0), and must not become so.
#[inline(always)]
fn transport_checksum(packet: &Packet, packaged: &Packaged, update: impl Fn(u16) -> u16) -> Option<()> {
    let Some(at) = packaged.transport else { return Some(()) };
    match packaged.protocol {
        protocol::TCP => {
            let check: u16 = packet.load(at + 16)?;
            packet.store(at + 16, update(check))
        }
        protocol::UDP => {
            let check: u16 = packet.load(at + 6)?;
            if check == 0 {
                return Some(());
            }
            let check = update(check);
            packet.store(at + 6, if check == 0 { 0xffff } else { check })
        }
        _ => Some(()),
    }
}
