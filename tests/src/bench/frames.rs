//! The frames that the generator sends, and the flows that they belong to.

use super::rig::traffic::{Flow, TEMPLATE_WORDS};
use super::scenario::{GATEWAY_PA, HOST_MAC, NEAR_PA, PORT_MAC, SITE, VIP};
use gateway_common::checksum;
use gateway_common::tables::GATEWAY_MAC;
use gateway_common::wire::{VXLAN_PORT, ethertype, protocol};
use std::net::Ipv4Addr;

/// What the frames are; each form has a program of its own that writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Keyed GRE, from a site to the VIP.
    Gre,
    /// VXLAN, from a host to the gateway.
    Vxlan,
    /// Tagged.
    Vlan,
    /// Neither.
    Plain,
}

impl Form {
    /// The program that writes it.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Gre => "gre",
            Self::Vxlan => "vxlan",
            Self::Vlan => "vlan",
            Self::Plain => "plain",
        }
    }

    /// Bytes before the IPv4 packet whose addresses tell the flows apart.
    pub const fn header_len(self) -> usize {
        match self {
            Self::Gre => ETHERNET + IPV4 + 8,
            Self::Vxlan => ETHERNET + IPV4 + 16 + ETHERNET,
            Self::Vlan => ETHERNET + 4,
            Self::Plain => ETHERNET,
        }
    }

    /// Where the flow's key stands.
    const fn key_at(self) -> usize {
        match self {
            Self::Gre => ETHERNET + IPV4 + 4,
            Self::Vxlan => ETHERNET + IPV4 + 12,
            Self::Vlan => ETHERNET,
            Self::Plain => ETHERNET + IPV4,
        }
    }
}

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Bytes of an IPv4 header.
pub const IPV4: usize = 20;

/// A flow before it is bytes: the key's word in host order, the addresses.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints {
    /// See [`Flow::key`].
    pub key: u32,
    /// Where from.
    pub source: Ipv4Addr,
    /// Where to.
    pub destination: Ipv4Addr,
}

/// Frames of one form and size.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// How they look.
    pub form: Form,
    /// Their bytes, those of the last flow.
    pub frame: Vec<u8>,
    /// The flows.
    pub flows: Vec<Flow>,
}

impl Traffic {
    /// Frames whose IPv4 packets, without what is put around them, have `size` bytes.
    pub fn new(form: Form, size: usize, flows: &[Endpoints]) -> Self {
        let mut frame = outer(form, size);
        frame.extend(ipv4(size, protocol::UDP, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED));
        let udp = u16::try_from(size - IPV4).unwrap_or(u16::MAX);
        for word in [UDP_PORTS.0, UDP_PORTS.1, udp, 0] {
            frame.extend(word.to_be_bytes());
        }
        frame.resize((form.header_len() + size).max(TEMPLATE_WORDS * 8), 0);
        frame.truncate(form.header_len() + size);
        let ip = form.header_len();
        let base = checksum::sum(&frame[ip..ip + IPV4]);
        let flows = flows
            .iter()
            .map(|flow| {
                let addresses = [flow.source, flow.destination].map(|address| u32::from_ne_bytes(address.octets()));
                let check = checksum::finish(base + u64::from(addresses[0]) + u64::from(addresses[1]));
                Flow { key: flow.key.to_be(), check: check.into(), addresses }
            })
            .collect::<Vec<_>>();
        if let Some(flow) = flows.last() {
            frame[form.key_at()..][..4].copy_from_slice(&flow.key.to_ne_bytes());
            frame[ip + 10..][..2].copy_from_slice(&(flow.check as u16).to_ne_bytes());
            frame[ip + 12..][..4].copy_from_slice(&flow.addresses[0].to_ne_bytes());
            frame[ip + 16..][..4].copy_from_slice(&flow.addresses[1].to_ne_bytes());
        }
        Self { form, frame, flows }
    }

    /// The front of the frames, which the generator writes.
    pub fn template(&self) -> [u64; TEMPLATE_WORDS] {
        let mut bytes = self.frame.clone();
        bytes.resize(TEMPLATE_WORDS * 8, 0);
        std::array::from_fn(|word| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[word * 8..][..8]);
            u64::from_ne_bytes(eight)
        })
    }
}

/// The inner packets' ports.
const UDP_PORTS: (u16, u16) = (40_000, 40_001);

/// All that stands before the packet whose addresses tell the flows apart; the key is zero.
fn outer(form: Form, size: usize) -> Vec<u8> {
    let mut frame = [PORT_MAC, HOST_MAC].concat();
    let mut put = |bytes: &[u8]| frame.extend_from_slice(bytes);
    match form {
        Form::Plain => put(&ethertype::IPV4.to_be_bytes()),
        Form::Vlan => {
            put(&ethertype::VLAN.to_be_bytes());
            put(&[0; 4]);
        }
        Form::Gre => {
            put(&ethertype::IPV4.to_be_bytes());
            put(&ipv4(IPV4 + 8 + size, protocol::GRE, SITE, VIP));
            put(&[0x20, 0]);
            put(&ethertype::IPV4.to_be_bytes());
            put(&[0; 4]);
        }
        Form::Vxlan => {
            let udp = 16 + ETHERNET + size;
            put(&ethertype::IPV4.to_be_bytes());
            put(&ipv4(IPV4 + udp, protocol::UDP, NEAR_PA, GATEWAY_PA));
            put(&50_000u16.to_be_bytes());
            put(&VXLAN_PORT.to_be_bytes());
            put(&u16::try_from(udp).unwrap_or(u16::MAX).to_be_bytes());
            put(&[0, 0, 0x08, 0, 0, 0, 0, 0, 0, 0]);
            put(&GATEWAY_MAC);
            put(&HOST_MAC);
            put(&ethertype::IPV4.to_be_bytes());
        }
    }
    frame
}

/// An IPv4 header for a packet of `len` bytes. Without addresses the checksum is left out as well.
fn ipv4(len: usize, protocol: u8, source: Ipv4Addr, destination: Ipv4Addr) -> [u8; IPV4] {
    let mut header = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[2..4].copy_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    if !source.is_unspecified() {
        let check = checksum::finish(checksum::sum(&header));
        header[10..12].copy_from_slice(&check.to_ne_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_their_size_and_right_checksums() {
        let flow = Endpoints { key: 0x64, source: [20, 0, 0, 1].into(), destination: [10, 2, 0, 1].into() };
        for form in [Form::Gre, Form::Vxlan, Form::Vlan, Form::Plain] {
            let traffic = Traffic::new(form, 64, &[flow]);
            assert_eq!(traffic.frame.len(), form.header_len() + 64, "{form:?}");
            let inner = &traffic.frame[form.header_len()..][..IPV4];
            assert_eq!(checksum::fold(checksum::sum(inner)), 0xffff, "{form:?}");
            assert_eq!(inner[12..20], [20, 0, 0, 1, 10, 2, 0, 1], "{form:?}");
            assert_eq!(traffic.frame[form.key_at()..][..4], [0, 0, 0, 0x64], "{form:?}");
        }
    }
}
