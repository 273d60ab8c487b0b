//! Answers to ARP, neighbour discovery and echo requests: the frame that asks becomes the frame that answers. For whom is decided elsewhere.

use crate::packet::Packet;
use gateway_common::wire::{DEFAULT_TTL, protocol};
use gateway_common::{DropReason, checksum};
use network_types::arp::ArpHdr;
use network_types::eth::EthHdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

/// Where what an IPv4 packet carries starts in a frame.
pub const OVER_IPV4: usize = EthHdr::LEN + Ipv4Hdr::LEN;
/// Where what an IPv6 packet carries starts in a frame.
pub const OVER_IPV6: usize = EthHdr::LEN + Ipv6Hdr::LEN;
/// Bytes of an ICMP header.
pub const ICMP_HEADER: usize = 8;

/// A MAC address as it is written: four bytes, then two.
#[derive(Clone, Copy)]
pub struct Mac {
    /// The first four.
    pub low: u32,
    /// The last two.
    pub high: u16,
}

impl Mac {
    /// One that stands in a table.
    #[inline(always)]
    pub const fn padded(mac: &[u8; 8]) -> Self {
        Self { low: u32::from_ne_bytes([mac[0], mac[1], mac[2], mac[3]]), high: u16::from_ne_bytes([mac[4], mac[5]]) }
    }
}

/// Writes the Ethernet addresses of an answer: to who asked, from this address.
#[inline(always)]
pub fn turn_frame(packet: &Packet, mac: Mac) -> Option<()> {
    let asker_low: u32 = packet.load(6)?;
    let asker_high: u16 = packet.load(10)?;
    packet.store(0, asker_low)?;
    packet.store(4, asker_high)?;
    packet.store(6, mac.low)?;
    packet.store(10, mac.high)
}

/// The IPv4 address that an ARP request asks for (RFC 826), as on the wire; nothing if it is none.
#[inline(always)]
pub fn requested(packet: &Packet) -> Option<u32> {
    const REQUEST: u32 = 0x0604_0001;
    const ETHERNET_IPV4: u32 = 0x0001_0800;
    packet.at::<ArpHdr>(EthHdr::LEN)?;
    let [kinds, operation]: [u32; 2] = packet.load(EthHdr::LEN)?;
    if u32::from_be(kinds) != ETHERNET_IPV4 || u32::from_be(operation) != REQUEST {
        return None;
    }
    packet.load(EthHdr::LEN + 24)
}

/// Whether an ARP request asks nobody: it announces the sender's own address (RFC 5227, 3).
#[inline(always)]
pub fn announces(packet: &Packet, target: u32) -> bool {
    packet.load(EthHdr::LEN + 14) == Some(target)
}

/// Turns an ARP request into its reply: `target` is at `mac`.
#[inline(always)]
pub fn reply(packet: &Packet, mac: Mac, target: u32) -> Option<()> {
    const REPLY: u16 = 2;
    let asker_low: u32 = packet.load(EthHdr::LEN + 8)?;
    let asker_high: u16 = packet.load(EthHdr::LEN + 12)?;
    let asker: u32 = packet.load(EthHdr::LEN + 14)?;
    packet.store(EthHdr::LEN + 6, REPLY.to_be())?;
    packet.store(EthHdr::LEN + 8, mac.low)?;
    packet.store(EthHdr::LEN + 12, mac.high)?;
    packet.store(EthHdr::LEN + 14, target)?;
    packet.store(EthHdr::LEN + 18, asker_low)?;
    packet.store(EthHdr::LEN + 22, asker_high)?;
    packet.store(EthHdr::LEN + 24, asker)?;
    turn_frame(packet, mac)
}

/// Turns an echo request over IPv4 with this header into its reply (RFC 792).
#[inline(always)]
pub fn echo4(packet: &Packet, mac: Mac, header: [u32; 5]) -> Option<()> {
    let [kind, check]: [u16; 2] = packet.load(OVER_IPV4)?;
    let reply = u16::from_be(u16::from_be(kind) & 0x00ff);
    packet.store(OVER_IPV4, [reply, checksum::replace16(check, kind, reply)])?;
    turn_packet4(packet, mac, header)
}

/// Sends an IPv4 packet with this header back to its sender, its payload as it is.
#[inline(always)]
pub fn turn_packet4(packet: &Packet, mac: Mac, header: [u32; 5]) -> Option<()> {
    let lifetime = header[2];
    let renewed = lifetime & 0xffff_ff00 | u32::from(DEFAULT_TTL);
    let ip_check = (lifetime >> 16) as u16;
    let ip_check = checksum::replace16(ip_check, lifetime as u16, renewed as u16);
    packet.store(EthHdr::LEN + 8, renewed & 0xffff | u32::from(ip_check) << 16)?;
    packet.store(EthHdr::LEN + 12, [header[4], header[3]])?;
    turn_frame(packet, mac)
}

/// Turns an echo request over IPv6 with this header into its reply (RFC 4443 section 4.2); swapping the addresses leaves the
/// pseudo-header's sum.
#[inline(always)]
pub fn echo6(packet: &Packet, mac: Mac, header: [u32; 10]) -> Option<()> {
    let [kind, check]: [u16; 2] = packet.load(OVER_IPV6)?;
    let reply = u16::from_be(129 << 8 | u16::from_be(kind) & 0x00ff);
    packet.store(OVER_IPV6, [reply, checksum::replace16(check, kind, reply)])?;
    turn_packet6(packet, mac, header)
}

/// Sends an IPv6 packet with this header back to its sender, its payload as it is.
#[inline(always)]
pub fn turn_packet6(packet: &Packet, mac: Mac, header: [u32; 10]) -> Option<()> {
    packet.store(EthHdr::LEN + 7, DEFAULT_TTL)?;
    packet.store(EthHdr::LEN + 8, [header[6], header[7], header[8], header[9]])?;
    packet.store(EthHdr::LEN + 24, [header[2], header[3], header[4], header[5]])?;
    turn_frame(packet, mac)
}

/// The address that a neighbour solicitation asks for (RFC 4861 section 4.3).
#[inline(always)]
pub fn solicited(packet: &Packet) -> Option<[u32; 4]> {
    packet.load(OVER_IPV6 + ICMP_HEADER)
}

/// Turns a neighbour solicitation into its advertisement (RFC 4861 section 7.2.4): `target` is at `mac`.
#[inline(always)]
pub fn advertise(packet: &Packet, mac: Mac, target: [u32; 4]) -> Result<(), DropReason> {
    const ADVERTISEMENT: usize = ICMP_HEADER + 16 + 8;
    const SOLICITED_OVERRIDE: u32 = 0x6000_0000;
    const OVERRIDE: u32 = 0x2000_0000;
    let asker: [u32; 4] = packet.load(EthHdr::LEN + 8).ok_or(DropReason::OuterTruncated)?;
    let surplus = packet.len() as i32 - (OVER_IPV6 + ADVERTISEMENT) as i32;
    if surplus != 0 {
        packet.adjust_tail(-surplus)?;
    }
    // Who has no address yet (duplicate address detection) is answered at all nodes' address.
    let probing = asker == [0; 4];
    let to = if probing { [u32::from_be(0xff02_0000), 0, 0, u32::from_be(1)] } else { asker };
    let flags = if probing { OVERRIDE } else { SOLICITED_OVERRIDE };
    let low = mac.low.to_be();
    let high = u32::from(mac.high.to_be());
    let mut body = [
        u32::from_be(136 << 24),
        u32::from_be(flags),
        target[0],
        target[1],
        target[2],
        target[3],
        u32::from_be(2 << 24 | 1 << 16 | low >> 16),
        u32::from_be(low << 16 | high),
    ];
    let mut sum = u64::from((ADVERTISEMENT as u32).to_be()) + u64::from(u32::from(protocol::ICMPV6).to_be());
    for word in body {
        sum += u64::from(word);
    }
    for word in 0..4 {
        sum += u64::from(target[word]) + u64::from(to[word]);
    }
    body[0] |= u32::from(checksum::finish(sum)) << 16;
    let answered = || {
        packet.store(EthHdr::LEN, u32::from_be(6 << 28))?;
        packet.store(
            EthHdr::LEN + 4,
            u32::from_be((ADVERTISEMENT as u32) << 16 | u32::from(protocol::ICMPV6) << 8 | 255),
        )?;
        packet.store(EthHdr::LEN + 8, target)?;
        packet.store(EthHdr::LEN + 24, to)?;
        packet.store(OVER_IPV6, body)?;
        turn_frame(packet, mac)?;
        if probing {
            // All nodes' MAC address (RFC 2464 section 7).
            packet.store(0, u32::from_be(0x3333_0000))?;
            packet.store(4, u16::from_be(1))?;
        }
        Some(())
    };
    answered().ok_or(DropReason::OuterTruncated)
}
