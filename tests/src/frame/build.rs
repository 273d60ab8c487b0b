//! Layers to bytes: from the innermost outwards, since a header's lengths and checksums depend on what it carries.

use super::layers::{Check, Layer};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The addresses that a transport's checksum covers.
#[derive(Clone, Copy)]
pub(super) enum Pseudo {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

/// The Internet checksum over several pieces, each starting on an even byte.
pub(super) fn checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !(sum as u16)
}

/// The pseudo header of RFC 9293 section 3.1 and RFC 8200 section 8.1.
pub(super) fn pseudo_header(pseudo: Pseudo, protocol: u8, len: usize) -> Vec<u8> {
    let mut header = Vec::new();
    match pseudo {
        Pseudo::V4(source, destination) => {
            header.extend(source.octets());
            header.extend(destination.octets());
            header.extend([0, protocol]);
            header.extend((len as u16).to_be_bytes());
        }
        Pseudo::V6(source, destination) => {
            header.extend(source.octets());
            header.extend(destination.octets());
            header.extend((len as u32).to_be_bytes());
            header.extend([0, 0, 0, protocol]);
        }
    }
    header
}

fn transport_checksum(pseudo: Option<Pseudo>, protocol: u8, header: &[u8], body: &[u8]) -> u16 {
    let pseudo = pseudo.map_or(Vec::new(), |pseudo| pseudo_header(pseudo, protocol, header.len() + body.len()));
    checksum(&[&pseudo, header, body])
}

fn ethertype(layer: Option<&Layer>) -> u16 {
    match layer {
        Some(Layer::Vlan(_)) => 0x8100,
        Some(Layer::Arp(_)) => 0x0806,
        Some(Layer::Ipv4(_)) => 0x0800,
        Some(Layer::Ipv6(_)) => 0x86dd,
        Some(Layer::Ether(_)) => 0x6558,
        // Local experimental 2: nobody's.
        _ => 0x88b6,
    }
}

fn protocol(layer: Option<&Layer>) -> u8 {
    match layer {
        Some(Layer::Ipv4(_)) => 4,
        Some(Layer::Ipv6(_)) => 41,
        Some(Layer::Extension(extension)) => extension.number,
        Some(Layer::Gre(_)) => 47,
        Some(Layer::Udp(_)) => 17,
        Some(Layer::Tcp(_)) => 6,
        Some(Layer::Icmp(icmp)) => icmp_protocol(icmp.version),
        Some(Layer::Esp(_)) => 50,
        // For experiments (RFC 3692).
        _ => 253,
    }
}

fn icmp_protocol(version: u8) -> u8 {
    if version == 4 { 1 } else { 58 }
}

fn put(header: &mut [u8], at: usize, value: u16) {
    header[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// The bytes of `layers`, the first one outermost; `pseudo` are the addresses of the IP header around them.
pub(super) fn emit(layers: &[Layer], pseudo: Option<Pseudo>) -> Vec<u8> {
    let Some((layer, above)) = layers.split_first() else { return Vec::new() };
    let inside = match layer {
        Layer::Ipv4(v4) => Some(Pseudo::V4(v4.source, v4.destination)),
        Layer::Ipv6(v6) => Some(Pseudo::V6(v6.source, v6.destination)),
        Layer::Extension(_) => pseudo,
        _ => None,
    };
    let body = emit(above, inside);
    let mut bytes = header(layer, above.first(), &body, pseudo);
    bytes.extend(body);
    bytes
}

fn header(layer: &Layer, next: Option<&Layer>, body: &[u8], pseudo: Option<Pseudo>) -> Vec<u8> {
    let mut header = Vec::new();
    match layer {
        Layer::Ether(ether) => {
            header.extend(ether.destination.0);
            header.extend(ether.source.0);
            header.extend(ether.ethertype.unwrap_or_else(|| ethertype(next)).to_be_bytes());
        }
        Layer::Vlan(vlan) => {
            header.extend(vlan.control.to_be_bytes());
            header.extend(vlan.ethertype.unwrap_or_else(|| ethertype(next)).to_be_bytes());
        }
        Layer::Arp(arp) => {
            header.extend([0, 1, 8, 0, 6, 4]);
            header.extend(arp.operation.to_be_bytes());
            for (mac, address) in [arp.sender, arp.target] {
                header.extend(mac.0);
                header.extend(address.octets());
            }
        }
        Layer::Ipv4(v4) => {
            let len = 20 + v4.options.len();
            header.extend([v4.version << 4 | v4.header_words.unwrap_or((len / 4) as u8), v4.class]);
            header.extend(v4.total_length.unwrap_or((len + body.len()) as u16).to_be_bytes());
            header.extend(v4.id.to_be_bytes());
            header.extend(v4.fragment.to_be_bytes());
            header.extend([v4.ttl, v4.protocol.unwrap_or_else(|| protocol(next)), 0, 0]);
            header.extend(v4.source.octets());
            header.extend(v4.destination.octets());
            header.extend(&v4.options);
            let check = match v4.check {
                Check::Right => checksum(&[&header]),
                Check::Value(value) => value,
            };
            put(&mut header, 10, check);
        }
        Layer::Ipv6(v6) => {
            header.extend((u32::from(v6.version) << 28 | u32::from(v6.class) << 20 | v6.flow & 0xf_ffff).to_be_bytes());
            header.extend(v6.payload_length.unwrap_or(body.len() as u16).to_be_bytes());
            header.extend([v6.next.unwrap_or_else(|| protocol(next)), v6.hops]);
            header.extend(v6.source.octets());
            header.extend(v6.destination.octets());
        }
        Layer::Extension(extension) => {
            header.push(extension.next.unwrap_or_else(|| protocol(next)));
            header.extend(&extension.body);
        }
        Layer::Gre(gre) => {
            let present =
                [(gre.check.is_some(), 0x8000), (gre.key.is_some(), 0x2000), (gre.sequence.is_some(), 0x1000)];
            let flags = present.iter().filter(|(there, _)| *there).fold(gre.flags, |flags, (_, bit)| flags | bit);
            header.extend(flags.to_be_bytes());
            header.extend(gre.protocol.unwrap_or_else(|| ethertype(next)).to_be_bytes());
            if gre.check.is_some() {
                header.extend([0; 4]);
            }
            header.extend(gre.key.iter().flat_map(|key| key.to_be_bytes()));
            header.extend(gre.sequence.iter().flat_map(|number| number.to_be_bytes()));
            match gre.check {
                Some(Check::Right) => {
                    let check = checksum(&[&header, body]);
                    put(&mut header, 4, check);
                }
                Some(Check::Value(value)) => put(&mut header, 4, value),
                None => {}
            }
        }
        Layer::Udp(udp) => {
            header.extend(udp.source.to_be_bytes());
            header.extend(udp.destination.to_be_bytes());
            header.extend(udp.length.unwrap_or(8 + body.len() as u16).to_be_bytes());
            header.extend([0, 0]);
            let check = match udp.check {
                // A computed zero is sent as all ones (RFC 768).
                Check::Right => match transport_checksum(pseudo, 17, &header, body) {
                    0 => 0xffff,
                    check => check,
                },
                Check::Value(value) => value,
            };
            put(&mut header, 6, check);
        }
        Layer::Vxlan(vxlan) => {
            header.extend([vxlan.flags, 0, 0, 0]);
            header.extend((vxlan.vni << 8).to_be_bytes());
        }
        Layer::Tcp(tcp) => {
            let words = 5 + tcp.options.len().div_ceil(4);
            header.extend(tcp.source.to_be_bytes());
            header.extend(tcp.destination.to_be_bytes());
            header.extend(0x0102_0304u32.to_be_bytes());
            header.extend(0x0506_0708u32.to_be_bytes());
            header.extend([tcp.header_words.unwrap_or(words as u8) << 4, tcp.flags]);
            header.extend(0x7210u16.to_be_bytes());
            header.extend([0; 4]);
            header.extend(&tcp.options);
            header.resize(words * 4, 0);
            let check = match tcp.check {
                Check::Right => transport_checksum(pseudo, 6, &header, body),
                Check::Value(value) => value,
            };
            put(&mut header, 16, check);
        }
        Layer::Icmp(icmp) => {
            header.extend([icmp.kind, icmp.code, 0, 0]);
            header.extend(icmp.rest.to_be_bytes());
            let check = match icmp.check {
                Check::Right if icmp.version == 4 => checksum(&[&header, body]),
                Check::Right => transport_checksum(pseudo, 58, &header, body),
                Check::Value(value) => value,
            };
            put(&mut header, 2, check);
        }
        Layer::Esp(esp) => {
            header.extend(esp.spi.to_be_bytes());
            header.extend(esp.sequence.to_be_bytes());
        }
        Layer::Payload(payload) => header.extend(&payload.0),
    }
    header
}
