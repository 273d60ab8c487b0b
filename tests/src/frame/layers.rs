//! The headers of links and of the network layer, and what all layers are; unset fields are filled in by [`super::Stack::build`].

use super::Stack;
use super::transport::{Esp, Gre, Icmp, Tcp, Udp, Vxlan};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Div;

/// A MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everybody.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The multicast address of an IPv6 multicast group (RFC 2464 section 7).
    pub fn multicast6(group: Ipv6Addr) -> Self {
        let octets = group.octets();
        Self([0x33, 0x33, octets[12], octets[13], octets[14], octets[15]])
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// What can stand for an address in a test: the address or its text.
pub trait Named<T> {
    /// The address. Panics if the text is none.
    fn address(self) -> T;
}

macro_rules! named {
    ($($address:ty),+) => {$(
        impl Named<$address> for &str {
            fn address(self) -> $address {
                self.parse().unwrap_or_else(|_| panic!("{self} is no {}", stringify!($address)))
            }
        }

        impl Named<$address> for $address {
            fn address(self) -> $address {
                self
            }
        }
    )+};
}

named!(Ipv4Addr, Ipv6Addr, IpAddr);

/// How a checksum field is filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// With the right sum.
    #[default]
    Right,
    /// With this value.
    Value(u16),
}

/// Ethernet II.
#[derive(Clone, Debug)]
pub struct Ether {
    pub(super) destination: Mac,
    pub(super) source: Mac,
    pub(super) ethertype: Option<u16>,
}

/// An Ethernet header to `destination` from `source`.
pub fn ether(destination: Mac, source: Mac) -> Ether {
    Ether { destination, source, ethertype: None }
}

impl Ether {
    /// Sets the EtherType, whatever follows.
    pub fn ethertype(mut self, ethertype: u16) -> Self {
        self.ethertype = Some(ethertype);
        self
    }
}

/// An 802.1Q tag.
#[derive(Clone, Debug)]
pub struct Vlan {
    pub(super) control: u16,
    pub(super) ethertype: Option<u16>,
}

/// A tag with VLAN identifier `vlan` and priority 0.
pub fn vlan(vlan: u16) -> Vlan {
    Vlan { control: vlan, ethertype: None }
}

impl Vlan {
    /// Sets the three priority bits.
    pub fn priority(mut self, priority: u16) -> Self {
        self.control |= priority << 13;
        self
    }

    /// Sets the EtherType, whatever follows.
    pub fn ethertype(mut self, ethertype: u16) -> Self {
        self.ethertype = Some(ethertype);
        self
    }
}

/// ARP for IPv4 over Ethernet.
#[derive(Clone, Debug)]
pub struct Arp {
    pub(super) operation: u16,
    pub(super) sender: (Mac, Ipv4Addr),
    pub(super) target: (Mac, Ipv4Addr),
}

/// Who has `target`? Tell `sender`.
pub fn arp_request(mac: Mac, sender: impl Named<Ipv4Addr>, target: impl Named<Ipv4Addr>) -> Arp {
    Arp { operation: 1, sender: (mac, sender.address()), target: (Mac([0; 6]), target.address()) }
}

/// `sender` is at `mac`, told to `target` at `target_mac`.
pub fn arp_reply(mac: Mac, sender: impl Named<Ipv4Addr>, target_mac: Mac, target: impl Named<Ipv4Addr>) -> Arp {
    Arp { operation: 2, sender: (mac, sender.address()), target: (target_mac, target.address()) }
}

/// IPv4 (RFC 791). TTL 64, DF set, identification 0 unless told otherwise.
#[derive(Clone, Debug)]
pub struct Ipv4 {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) version: u8,
    pub(super) class: u8,
    pub(super) id: u16,
    pub(super) fragment: u16,
    pub(super) ttl: u8,
    pub(super) protocol: Option<u8>,
    pub(super) options: Vec<u8>,
    pub(super) header_words: Option<u8>,
    pub(super) total_length: Option<u16>,
    pub(super) check: Check,
}

/// An IPv4 header.
pub fn ipv4(source: impl Named<Ipv4Addr>, destination: impl Named<Ipv4Addr>) -> Ipv4 {
    Ipv4 {
        source: source.address(),
        destination: destination.address(),
        version: 4,
        class: 0,
        id: 0,
        fragment: 0x4000,
        ttl: 64,
        protocol: None,
        options: Vec::new(),
        header_words: None,
        total_length: None,
        check: Check::Right,
    }
}

impl Ipv4 {
    /// Sets the destination.
    pub fn towards(mut self, destination: impl Named<IpAddr>) -> Self {
        match destination.address() {
            IpAddr::V4(v4) => self.destination = v4,
            IpAddr::V6(v6) => panic!("{v6} is no IPv4 address"),
        }
        self
    }

    /// Sets the version field.
    pub fn version(mut self, version: u8) -> Self {
        self.version = version;
        self
    }

    /// Sets the type of service: DSCP and ECN.
    pub fn class(mut self, class: u8) -> Self {
        self.class = class;
        self
    }

    /// Sets the identification.
    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// Clears DF.
    pub fn fragmentable(mut self) -> Self {
        self.fragment &= !0x4000;
        self
    }

    /// Makes it a fragment at `offset` (bytes, a multiple of 8), DF clear, the last one.
    pub fn last_fragment(mut self, offset: u16) -> Self {
        self.fragment = offset / 8;
        self
    }

    /// Makes it a fragment at `offset` (bytes, a multiple of 8), DF clear, with more to follow.
    pub fn fragment(mut self, offset: u16) -> Self {
        self.fragment = 0x2000 | (offset / 8);
        self
    }

    /// Sets the time to live.
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets the protocol, whatever follows.
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Sets the options, which are padded to whole words with zeros.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self.options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// Sets the header length in words, whatever it is.
    pub fn header_words(mut self, words: u8) -> Self {
        self.header_words = Some(words);
        self
    }

    /// Sets the total length, whatever it is.
    pub fn total_length(mut self, length: u16) -> Self {
        self.total_length = Some(length);
        self
    }

    /// Sets the header checksum.
    pub fn check(mut self, value: u16) -> Self {
        self.check = Check::Value(value);
        self
    }
}

/// IPv6 (RFC 8200). Hop limit 64 and flow label 0 unless told otherwise.
#[derive(Clone, Debug)]
pub struct Ipv6 {
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    pub(super) version: u8,
    pub(super) class: u8,
    pub(super) flow: u32,
    pub(super) next: Option<u8>,
    pub(super) payload_length: Option<u16>,
    pub(super) hops: u8,
}

/// An IPv6 header.
pub fn ipv6(source: impl Named<Ipv6Addr>, destination: impl Named<Ipv6Addr>) -> Ipv6 {
    Ipv6 {
        source: source.address(),
        destination: destination.address(),
        version: 6,
        class: 0,
        flow: 0,
        next: None,
        payload_length: None,
        hops: 64,
    }
}

impl Ipv6 {
    /// Sets the version field.
    pub fn version(mut self, version: u8) -> Self {
        self.version = version;
        self
    }

    /// Sets the traffic class: DSCP and ECN.
    pub fn class(mut self, class: u8) -> Self {
        self.class = class;
        self
    }

    /// Sets the flow label.
    pub fn flow(mut self, flow: u32) -> Self {
        self.flow = flow;
        self
    }

    /// Sets the next header, whatever follows.
    pub fn next(mut self, next: u8) -> Self {
        self.next = Some(next);
        self
    }

    /// Sets the payload length, whatever it is.
    pub fn payload_length(mut self, length: u16) -> Self {
        self.payload_length = Some(length);
        self
    }

    /// Sets the hop limit.
    pub fn hops(mut self, hops: u8) -> Self {
        self.hops = hops;
        self
    }
}

/// An IP header of either version.
#[derive(Clone, Debug)]
pub enum Ip {
    /// Version 4.
    V4(Ipv4),
    /// Version 6.
    V6(Ipv6),
}

/// An IP header of the version that both addresses have. Panics if they differ.
pub fn ip(source: impl Named<IpAddr>, destination: impl Named<IpAddr>) -> Ip {
    match (source.address(), destination.address()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Ip::V4(ipv4(source, destination)),
        (IpAddr::V6(source), IpAddr::V6(destination)) => Ip::V6(ipv6(source, destination)),
        (source, destination) => panic!("{source} and {destination} are of two families"),
    }
}

impl Ip {
    /// The IPv4 header. Panics if it is none.
    pub fn into_v4(self) -> Ipv4 {
        match self {
            Self::V4(v4) => v4,
            Self::V6(v6) => panic!("{v6:?} is no IPv4 header"),
        }
    }

    /// The IPv6 header. Panics if it is none.
    pub fn into_v6(self) -> Ipv6 {
        match self {
            Self::V6(v6) => v6,
            Self::V4(v4) => panic!("{v4:?} is no IPv6 header"),
        }
    }

    /// Sets the time to live or hop limit.
    pub fn ttl(self, ttl: u8) -> Self {
        match self {
            Self::V4(v4) => Self::V4(v4.ttl(ttl)),
            Self::V6(v6) => Self::V6(v6.hops(ttl)),
        }
    }

    /// Sets type of service or traffic class.
    pub fn class(self, class: u8) -> Self {
        match self {
            Self::V4(v4) => Self::V4(v4.class(class)),
            Self::V6(v6) => Self::V6(v6.class(class)),
        }
    }
}

/// An IPv6 extension header: its number, and what follows its next-header byte.
#[derive(Clone, Debug)]
pub struct Extension {
    pub(super) number: u8,
    pub(super) body: Vec<u8>,
    pub(super) next: Option<u8>,
}

/// The extension header `number` (0 hop-by-hop, 43 routing, 60 destination options, …) whose bytes after the next-header byte are `body`.
pub fn extension(number: u8, body: &[u8]) -> Extension {
    Extension { number, body: body.to_vec(), next: None }
}

/// A fragment header (RFC 8200 section 4.5) at `offset` (bytes, a multiple of 8).
pub fn fragment_header(offset: u16, more: More, id: u32) -> Extension {
    let mut body = vec![0];
    body.extend_from_slice(&(offset & !7 | u16::from(more == More::Follow)).to_be_bytes());
    body.extend_from_slice(&id.to_be_bytes());
    extension(44, &body)
}

/// Whether fragments follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// This is the last one.
    Last,
    /// More follow.
    Follow,
}

impl Extension {
    /// Sets the next header, whatever follows.
    pub fn next(mut self, next: u8) -> Self {
        self.next = Some(next);
        self
    }
}

/// Bytes as they are.
#[derive(Clone, Debug)]
pub struct Payload(pub(super) Vec<u8>);

/// These bytes.
pub fn bytes(bytes: impl Into<Vec<u8>>) -> Payload {
    Payload(bytes.into())
}

/// `len` bytes of a pattern in which every 251st byte repeats, so that a shifted copy shows.
pub fn pattern(len: usize) -> Payload {
    Payload((0..len).map(|index| (index % 251) as u8).collect())
}

macro_rules! layers {
    ($($name:ident($doc:literal)),+ $(,)?) => {
        /// One layer of a frame.
        #[derive(Clone, Debug)]
        pub enum Layer {
            $(#[doc = $doc] $name($name),)+
        }

        $(
            impl From<$name> for Layer {
                fn from(layer: $name) -> Self {
                    Self::$name(layer)
                }
            }

            impl<T: Into<Stack>> Div<T> for $name {
                type Output = Stack;

                fn div(self, above: T) -> Stack {
                    Stack::from(self) / above
                }
            }
        )+
    };
}

layers!(
    Ether("Ethernet."),
    Vlan("An 802.1Q tag."),
    Arp("ARP."),
    Ipv4("IPv4."),
    Ipv6("IPv6."),
    Extension("An IPv6 extension header."),
    Gre("GRE or NVGRE."),
    Udp("UDP."),
    Vxlan("VXLAN."),
    Tcp("TCP."),
    Icmp("ICMP or ICMPv6."),
    Esp("ESP."),
    Payload("Anything."),
);

impl From<Ip> for Layer {
    fn from(ip: Ip) -> Self {
        match ip {
            Ip::V4(v4) => Self::Ipv4(v4),
            Ip::V6(v6) => Self::Ipv6(v6),
        }
    }
}

impl<T: Into<Stack>> Div<T> for Ip {
    type Output = Stack;

    fn div(self, above: T) -> Stack {
        Stack::from(self) / above
    }
}
