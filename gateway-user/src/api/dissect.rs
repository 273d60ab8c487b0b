//! Reads the headers of a captured frame, for people. Never fails: what is cut short or strange is told as far as it goes.

use gateway_common::wire::{GreFlags, VXLAN_PORT, ethertype, protocol};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Extension headers that are followed.
const EXTENSIONS: usize = 8;

/// An IP packet's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The transport protocol's number, after extension headers.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// The traffic class's byte: DSCP and ECN.
    pub traffic_class: u8,
    /// The length that the header says, header included.
    pub length: u32,
    /// IPv4: the identification; IPv6: that of a fragment header, else 0.
    pub identification: u32,
    /// Byte offset of a fragment; 0 for the first and for whole packets.
    pub fragment_offset: u16,
    /// Further fragments follow.
    pub more_fragments: MoreFragments,
    /// IPv4: may not be fragmented. IPv6: always so.
    pub dont_fragment: DontFragment,
    /// What follows the headers, as far as it was captured.
    pub payload: &'a [u8],
}

/// Whether further fragments follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoreFragments {
    /// They do.
    Follow,
    /// This is the last, or the only one.
    None,
}

/// Whether a router may fragment the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DontFragment {
    /// It may not.
    Set,
    /// It may.
    Clear,
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
}

impl<'a> Packet<'a> {
    /// Reads an IPv4 or IPv6 packet; `None` if there is none.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::read4(bytes),
            6 => Self::read6(bytes),
            _ => None,
        }
    }

    fn read4(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..20)?;
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let fragment = be16(header, 6)?;
        Some(Self {
            source: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
            destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
            protocol: header[9],
            ttl: header[8],
            traffic_class: header[1],
            length: be16(header, 2)?.into(),
            identification: be16(header, 4)?.into(),
            fragment_offset: (fragment & 0x1fff) * 8,
            more_fragments: if fragment & 0x2000 != 0 { MoreFragments::Follow } else { MoreFragments::None },
            dont_fragment: if fragment & 0x4000 != 0 { DontFragment::Set } else { DontFragment::Clear },
            payload: bytes.get(header_len.max(20)..).unwrap_or_default(),
        })
    }

    fn read6(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..40)?;
        let address = |at: usize| -> Option<IpAddr> {
            let octets: [u8; 16] = header.get(at..at + 16)?.try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        };
        let mut packet = Self {
            source: address(8)?,
            destination: address(24)?,
            protocol: header[6],
            ttl: header[7],
            traffic_class: (header[0] << 4) | (header[1] >> 4),
            length: u32::from(be16(header, 4)?) + 40,
            identification: 0,
            fragment_offset: 0,
            more_fragments: MoreFragments::None,
            dont_fragment: DontFragment::Set,
            payload: &bytes[40..],
        };
        for _ in 0..EXTENSIONS {
            let rest = packet.payload;
            let len = match packet.protocol {
                protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                    rest.get(1).map(|&units| (usize::from(units) + 1) * 8)
                }
                protocol::AUTHENTICATION => rest.get(1).map(|&units| (usize::from(units) + 2) * 4),
                protocol::FRAGMENT => {
                    if let (Some(offset), Some(identification)) = (be16(rest, 2), be32(rest, 4)) {
                        packet.fragment_offset = offset & 0xfff8;
                        packet.identification = identification;
                        packet.more_fragments =
                            if offset & 1 != 0 { MoreFragments::Follow } else { MoreFragments::None };
                    }
                    Some(8)
                }
                _ => break,
            };
            let (Some(len), Some(&next)) = (len, rest.first()) else { break };
            packet.protocol = next;
            packet.payload = rest.get(len..).unwrap_or_default();
            if packet.fragment_offset != 0 {
                break;
            }
        }
        Some(packet)
    }

    /// Source, destination and what the transport says: `10.2.0.5 > 10.1.0.5 TCP 443 > 3312 SYN ACK`.
    pub fn summary(&self) -> String {
        format!("{} > {} {}", self.source, self.destination, self.transport())
    }

    /// What the transport header says.
    pub fn transport(&self) -> String {
        let mut text = String::new();
        if self.fragment_offset != 0 {
            let _ = write!(text, "{} fragment at {}", protocol_name(self.protocol), self.fragment_offset);
            return text;
        }
        match self.protocol {
            protocol::TCP | protocol::UDP => {
                text.push_str(&protocol_name(self.protocol));
                if let (Some(from), Some(to)) = (be16(self.payload, 0), be16(self.payload, 2)) {
                    let _ = write!(text, " {from} > {to}");
                }
                if self.protocol == protocol::TCP
                    && let Some(&flags) = self.payload.get(13)
                {
                    for (bit, name) in [(0x02, "SYN"), (0x01, "FIN"), (0x04, "RST"), (0x08, "PSH"), (0x10, "ACK")] {
                        if flags & bit != 0 {
                            text.push(' ');
                            text.push_str(name);
                        }
                    }
                }
            }
            protocol::ICMP => text.push_str(&icmp4(self.payload)),
            protocol::ICMPV6 => text.push_str(&icmp6(self.payload)),
            other => text.push_str(&protocol_name(other)),
        }
        if self.more_fragments == MoreFragments::Follow {
            text.push_str(" (first fragment)");
        }
        text
    }

    /// What tells this packet from others of the same moment, and stays the same on its way through a gateway.
    pub fn identity(&self) -> Identity {
        Identity {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            identification: self.identification,
            fragment_offset: self.fragment_offset,
            // Ports, or ICMP's type, code, id and sequence number, but not its checksum; TCP's sequence number.
            start: [0, 1, 2, 3, 4, 5, 6, 7].map(|at| match (self.protocol, at) {
                (protocol::ICMP | protocol::ICMPV6, 2 | 3) | (protocol::UDP, 6 | 7) => 0,
                _ => self.payload.get(at).copied().unwrap_or_default(),
            }),
        }
    }
}

/// See [`Packet::identity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    identification: u32,
    fragment_offset: u16,
    start: [u8; 8],
}

fn protocol_name(number: u8) -> String {
    match number {
        protocol::ICMP => "ICMP".to_owned(),
        protocol::TCP => "TCP".to_owned(),
        protocol::UDP => "UDP".to_owned(),
        protocol::GRE => "GRE".to_owned(),
        protocol::ESP => "ESP".to_owned(),
        protocol::ICMPV6 => "ICMPv6".to_owned(),
        89 => "OSPF".to_owned(),
        132 => "SCTP".to_owned(),
        other => format!("protocol {other}"),
    }
}

fn with_sequence(name: &str, payload: &[u8]) -> String {
    match (be16(payload, 4), be16(payload, 6)) {
        (Some(id), Some(sequence)) => format!("{name} id {id} seq {sequence}"),
        _ => name.to_owned(),
    }
}

fn icmp4(payload: &[u8]) -> String {
    let (Some(&kind), Some(&code)) = (payload.first(), payload.get(1)) else { return "ICMP".to_owned() };
    match (kind, code) {
        (0, _) => with_sequence("ICMP echo reply", payload),
        (8, _) => with_sequence("ICMP echo request", payload),
        (3, 4) => match be16(payload, 6) {
            Some(mtu) => format!("ICMP fragmentation needed, mtu {mtu}"),
            None => "ICMP fragmentation needed".to_owned(),
        },
        (3, code) => format!("ICMP unreachable code {code}"),
        (5, _) => "ICMP redirect".to_owned(),
        (11, _) => "ICMP time exceeded".to_owned(),
        (kind, code) => format!("ICMP type {kind} code {code}"),
    }
}

fn icmp6(payload: &[u8]) -> String {
    let (Some(&kind), Some(&code)) = (payload.first(), payload.get(1)) else { return "ICMPv6".to_owned() };
    match (kind, code) {
        (128, _) => with_sequence("ICMPv6 echo request", payload),
        (129, _) => with_sequence("ICMPv6 echo reply", payload),
        (1, code) => format!("ICMPv6 unreachable code {code}"),
        (2, _) => match be32(payload, 4) {
            Some(mtu) => format!("ICMPv6 packet too big, mtu {mtu}"),
            None => "ICMPv6 packet too big".to_owned(),
        },
        (3, _) => "ICMPv6 time exceeded".to_owned(),
        (133, _) => "ICMPv6 router solicitation".to_owned(),
        (134, _) => "ICMPv6 router advertisement".to_owned(),
        (135, _) => "ICMPv6 neighbour solicitation".to_owned(),
        (136, _) => "ICMPv6 neighbour advertisement".to_owned(),
        (kind, code) => format!("ICMPv6 type {kind} code {code}"),
    }
}

/// A frame down to its inner packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameView<'a> {
    /// The outer headers in short: `GRE key 100 203.0.113.20 > 198.51.100.10`, `vlan 1001`, `Ethernet`.
    pub outer: String,
    /// The inner packet, or the only one.
    pub inner: Option<Packet<'a>>,
    /// The packet that the frame carries itself.
    pub outermost: Option<Packet<'a>>,
}

/// A MAC address as people write it.
pub fn mac(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (index, byte) in bytes.iter().take(6).enumerate() {
        let _ = write!(text, "{}{byte:02x}", if index == 0 { "" } else { ":" });
    }
    text
}

/// Reads a whole Ethernet frame.
pub fn frame(bytes: &[u8]) -> FrameView<'_> {
    let (Some(mut kind), Some(mut rest)) = (be16(bytes, 12), bytes.get(14..)) else {
        return FrameView { outer: "a frame cut short".to_owned(), ..FrameView::default() };
    };
    let mut outer = String::new();
    if kind == ethertype::VLAN
        && let (Some(tag), Some(next), Some(behind)) = (be16(rest, 0), be16(rest, 2), rest.get(4..))
    {
        let _ = write!(outer, "vlan {} ", tag & 0x0fff);
        kind = next;
        rest = behind;
    }
    let packet = match kind {
        ethertype::IPV4 | ethertype::IPV6 => Packet::read(rest),
        ethertype::ARP => {
            outer.push_str("ARP");
            None
        }
        other => {
            let _ = write!(outer, "EtherType {other:#06x}");
            None
        }
    };
    let Some(packet) = packet else {
        return FrameView { outer: outer.trim_end().to_owned(), ..FrameView::default() };
    };
    let inner = match tunnel(&packet) {
        Some((name, inner)) => {
            let _ = write!(outer, "{name} {} > {}", packet.source, packet.destination);
            inner
        }
        None => Some(packet.clone()),
    };
    if outer.is_empty() {
        outer.push_str("Ethernet");
    }
    FrameView { outer: outer.trim_end().to_owned(), inner, outermost: Some(packet) }
}

/// The tunnel's name and what is inside, if the packet is one.
fn tunnel<'a>(packet: &Packet<'a>) -> Option<(String, Option<Packet<'a>>)> {
    if packet.fragment_offset != 0 {
        return None;
    }
    let payload = packet.payload;
    match packet.protocol {
        protocol::GRE => {
            let flags = GreFlags(be16(payload, 0)?);
            let inside = be16(payload, 2)?;
            let key = if flags.has_key() { be32(payload, flags.key_offset()) } else { None };
            let rest = payload.get(flags.header_len()..).unwrap_or_default();
            if inside == ethertype::BRIDGED {
                let name = key.map_or_else(|| "NVGRE".to_owned(), |key| format!("NVGRE vsid {}", key >> 8));
                return Some((name, inner_frame(rest)));
            }
            let name = key.map_or_else(|| "GRE".to_owned(), |key| format!("GRE key {key}"));
            Some((name, Packet::read(rest)))
        }
        protocol::UDP if be16(payload, 2)? == VXLAN_PORT => {
            let vni = be32(payload, 12)? >> 8;
            Some((format!("VXLAN vni {vni}"), inner_frame(payload.get(16..)?)))
        }
        _ => None,
    }
}

fn inner_frame(bytes: &[u8]) -> Option<Packet<'_>> {
    Packet::read(bytes.get(14..)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_keyed_gre_packet_is_read_to_its_inner_echo() {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
        bytes.extend([0x45, 0, 0, 56, 0, 0, 0x40, 0, 64, 47, 0, 0, 203, 0, 113, 20, 198, 51, 100, 10]);
        bytes.extend([0x20, 0, 0x08, 0, 0, 0, 0, 100]);
        bytes.extend([0x45, 0, 0, 28, 0, 7, 0, 0, 63, 1, 0, 0, 10, 2, 0, 5, 10, 1, 0, 5]);
        bytes.extend([8, 0, 0, 0, 0, 9, 0, 3]);
        let view = frame(&bytes);
        assert_eq!(view.outer, "GRE key 100 203.0.113.20 > 198.51.100.10");
        let inner = view.inner.expect("an inner packet");
        assert_eq!(inner.summary(), "10.2.0.5 > 10.1.0.5 ICMP echo request id 9 seq 3");
        assert_eq!((inner.ttl, inner.length, inner.identification), (63, 28, 7));
    }

    #[test]
    fn a_vxlan_packet_over_ipv6_is_read_to_its_inner_tcp() {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
        bytes.extend([0x60, 0, 0, 0, 0, 90, 17, 64]);
        bytes.extend(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).octets());
        bytes.extend(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).octets());
        bytes.extend([0xc0, 1, 0x12, 0xb5, 0, 90, 0, 0, 8, 0, 0, 0, 0, 0x13, 0x89, 0]);
        bytes.extend([2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4, 0x08, 0x00]);
        bytes.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 5, 10, 2, 0, 5]);
        bytes.extend([0x0c, 0xf0, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0]);
        let view = frame(&bytes);
        assert_eq!(view.outer, "VXLAN vni 5001 fd00::1 > fd00::2");
        assert_eq!(view.inner.expect("inner").summary(), "10.1.0.5 > 10.2.0.5 TCP 3312 > 443 SYN ACK");
    }

    #[test]
    fn a_tagged_frame_tells_its_vlan() {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0x00, 0x03, 0xe9, 0x08, 0x00];
        bytes.extend([0x45, 0, 0, 20, 0, 0, 0x20, 2, 64, 17, 0, 0, 10, 1, 0, 5, 10, 2, 0, 5]);
        let view = frame(&bytes);
        assert_eq!(view.outer, "vlan 1001");
        assert_eq!(view.inner.expect("inner").transport(), "UDP fragment at 16");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_told_somehow(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let view = frame(&bytes);
            prop_assert!(!view.outer.is_empty());
            if let Some(inner) = view.inner {
                let _ = (inner.summary(), inner.identity());
            }
            let _ = Packet::read(&bytes).map(|packet| packet.summary());
        }
    }
}
