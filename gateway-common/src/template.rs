//! Header templates: everything before the inner IP packet, written once when a next hop is resolved and copied before every packet.
//!
//! What depends on the packet is left zero and filled in by the program: lengths, the traffic class, the EtherType or GRE protocol
//! of the payload, the IPv4 checksum (from [`Template::checksum_base`]), UDP's source port, the flow label, the sequence number.

use crate::tables::TEMPLATE_WORDS;
use crate::wire::{DEFAULT_TTL, GreFlags, VXLAN_FLAGS, VXLAN_PORT, ethertype, protocol};
use crate::{VlanId, Vni, checksum};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Bytes of an Ethernet header with a VLAN tag.
pub const TAGGED: usize = ETHERNET + 4;
/// Bytes of an IPv4 header without options.
pub const IPV4: usize = 20;
/// Bytes of an IPv6 header.
pub const IPV6: usize = 40;
/// Bytes of UDP and VXLAN headers together.
pub const UDP_VXLAN: usize = 16;

macro_rules! encapsulations {
    ($($(#[$doc:meta])+ $name:ident = $number:literal, $len:expr;)+) => {
        /// Every form in which a packet leaves. The number stands in [`crate::tables::Nexthop::encapsulation`].
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Encapsulation {
            $($(#[$doc])+ $name = $number,)+
        }

        impl Encapsulation {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Bytes of header, Ethernet included.
            pub const fn header_len(self) -> usize {
                match self { $(Self::$name => $len,)+ }
            }

            /// The one with this number.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

encapsulations! {
    /// Plain Ethernet, into a compartment.
    Ethernet = 1, ETHERNET;
    /// 802.1Q, to an L3 site.
    Vlan = 2, TAGGED;
    /// GRE over IPv4.
    Gre4 = 3, ETHERNET + IPV4 + 4;
    /// GRE over IPv4 with a key.
    Gre4Key = 4, ETHERNET + IPV4 + 8;
    /// GRE over IPv4 with a sequence number.
    Gre4Sequence = 5, ETHERNET + IPV4 + 8;
    /// GRE over IPv4 with a key and a sequence number.
    Gre4KeySequence = 6, ETHERNET + IPV4 + 12;
    /// GRE over IPv6.
    Gre6 = 7, ETHERNET + IPV6 + 4;
    /// GRE over IPv6 with a key.
    Gre6Key = 8, ETHERNET + IPV6 + 8;
    /// GRE over IPv6 with a sequence number.
    Gre6Sequence = 9, ETHERNET + IPV6 + 8;
    /// GRE over IPv6 with a key and a sequence number.
    Gre6KeySequence = 10, ETHERNET + IPV6 + 12;
    /// VXLAN over IPv4.
    Vxlan4 = 11, ETHERNET + IPV4 + UDP_VXLAN + ETHERNET;
    /// VXLAN over IPv6.
    Vxlan6 = 12, ETHERNET + IPV6 + UDP_VXLAN + ETHERNET;
    /// NVGRE over IPv4.
    Nvgre4 = 13, ETHERNET + IPV4 + 8 + ETHERNET;
    /// NVGRE over IPv6.
    Nvgre6 = 14, ETHERNET + IPV6 + 8 + ETHERNET;
}

impl Encapsulation {
    /// Bytes added to an inner IP packet's size as the outer network counts it: all headers but the first Ethernet one.
    pub const fn overhead(self) -> usize {
        match self {
            Self::Ethernet | Self::Vlan => 0,
            _ => self.header_len() - ETHERNET,
        }
    }
}

/// An Ethernet hop: who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Destination MAC address.
    pub destination: [u8; 6],
    /// Source MAC address.
    pub source: [u8; 6],
}

/// A tunnel's own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// From, to; over IPv4.
    V4(Ipv4Addr, Ipv4Addr),
    /// From, to; over IPv6.
    V6(Ipv6Addr, Ipv6Addr),
}

impl Ends {
    /// Pairs two addresses of one family; `None` if the families differ.
    pub const fn new(local: IpAddr, remote: IpAddr) -> Option<Self> {
        match (local, remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => Some(Self::V4(local, remote)),
            (IpAddr::V6(local), IpAddr::V6(remote)) => Some(Self::V6(local, remote)),
            _ => None,
        }
    }
}

/// A header, ready to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its form.
    pub encapsulation: Encapsulation,
    /// Its bytes; the first [`Encapsulation::header_len`] count.
    pub bytes: [u8; TEMPLATE_WORDS * 8],
    /// The sum over the outer IPv4 header as it stands here; 0 without one.
    pub checksum_base: u32,
}

/// Writes a template from front to back.
struct Writer {
    bytes: [u8; TEMPLATE_WORDS * 8],
    len: usize,
}

impl Writer {
    fn new(link: Link) -> Self {
        let mut writer = Self { bytes: [0; TEMPLATE_WORDS * 8], len: 0 };
        writer.put(&link.destination).put(&link.source);
        writer
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        self
    }

    /// EtherType and outer IP header: lengths, traffic class and checksum zero; over IPv4 never fragmented (RFC 7588).
    fn outer(&mut self, ends: Ends, protocol: u8) -> &mut Self {
        match ends {
            Ends::V4(local, remote) => self
                .put(&ethertype::IPV4.to_be_bytes())
                .put(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, DEFAULT_TTL, protocol, 0, 0])
                .put(&local.octets())
                .put(&remote.octets()),
            Ends::V6(local, remote) => self
                .put(&ethertype::IPV6.to_be_bytes())
                .put(&[0x60, 0, 0, 0, 0, 0, protocol, DEFAULT_TTL])
                .put(&local.octets())
                .put(&remote.octets()),
        }
    }

    /// The inner frame's header up to its EtherType, which is left zero.
    fn inner(&mut self, inner: Link) -> &mut Self {
        self.put(&inner.destination).put(&inner.source).put(&[0, 0])
    }

    fn finish(&self, encapsulation: Encapsulation) -> Template {
        debug_assert_eq!(self.len, encapsulation.header_len());
        let checksum_base = match encapsulation {
            Encapsulation::Gre4
            | Encapsulation::Gre4Key
            | Encapsulation::Gre4Sequence
            | Encapsulation::Gre4KeySequence
            | Encapsulation::Vxlan4
            | Encapsulation::Nvgre4 => checksum::sum(&self.bytes[ETHERNET..ETHERNET + IPV4]) as u32,
            _ => 0,
        };
        Template { encapsulation, bytes: self.bytes, checksum_base }
    }
}

impl Template {
    /// Plain Ethernet.
    pub fn ethernet(link: Link) -> Self {
        Writer::new(link).put(&[0, 0]).finish(Encapsulation::Ethernet)
    }

    /// An 802.1Q tag with priority 0.
    pub fn vlan(link: Link, vlan: VlanId) -> Self {
        Writer::new(link)
            .put(&ethertype::VLAN.to_be_bytes())
            .put(&(vlan.0 & 0x0fff).to_be_bytes())
            .put(&[0, 0])
            .finish(Encapsulation::Vlan)
    }

    /// GRE (RFC 2784), with a key or sequence numbers if asked for (RFC 2890).
    pub fn gre(link: Link, ends: Ends, key: Option<u32>, sequence: Sequence) -> Self {
        let sequenced = sequence == Sequence::Sent;
        let mut flags = 0;
        if key.is_some() {
            flags |= GreFlags::KEY;
        }
        if sequenced {
            flags |= GreFlags::SEQUENCE;
        }
        let mut writer = Writer::new(link);
        writer.outer(ends, protocol::GRE).put(&flags.to_be_bytes()).put(&[0, 0]);
        if let Some(key) = key {
            writer.put(&key.to_be_bytes());
        }
        if sequenced {
            writer.put(&[0; 4]);
        }
        writer.finish(match (ends, key.is_some(), sequenced) {
            (Ends::V4(..), false, false) => Encapsulation::Gre4,
            (Ends::V4(..), true, false) => Encapsulation::Gre4Key,
            (Ends::V4(..), false, true) => Encapsulation::Gre4Sequence,
            (Ends::V4(..), true, true) => Encapsulation::Gre4KeySequence,
            (Ends::V6(..), false, false) => Encapsulation::Gre6,
            (Ends::V6(..), true, false) => Encapsulation::Gre6Key,
            (Ends::V6(..), false, true) => Encapsulation::Gre6Sequence,
            (Ends::V6(..), true, true) => Encapsulation::Gre6KeySequence,
        })
    }

    /// VXLAN (RFC 7348) with a zero UDP checksum (over IPv6 by RFC 6935).
    pub fn vxlan(link: Link, ends: Ends, vni: Vni, inner: Link) -> Self {
        let encapsulation = match ends {
            Ends::V4(..) => Encapsulation::Vxlan4,
            Ends::V6(..) => Encapsulation::Vxlan6,
        };
        Writer::new(link)
            .outer(ends, protocol::UDP)
            .put(&[0, 0])
            .put(&VXLAN_PORT.to_be_bytes())
            .put(&[0; 4])
            .put(&VXLAN_FLAGS.to_be_bytes())
            .put(&(vni.0 << 8).to_be_bytes())
            .inner(inner)
            .finish(encapsulation)
    }

    /// NVGRE (RFC 7637) with FlowID 0.
    pub fn nvgre(link: Link, ends: Ends, vsid: Vni, inner: Link) -> Self {
        let encapsulation = match ends {
            Ends::V4(..) => Encapsulation::Nvgre4,
            Ends::V6(..) => Encapsulation::Nvgre6,
        };
        Writer::new(link)
            .outer(ends, protocol::GRE)
            .put(&GreFlags::KEY.to_be_bytes())
            .put(&ethertype::BRIDGED.to_be_bytes())
            .put(&(vsid.0 << 8).to_be_bytes())
            .inner(inner)
            .finish(encapsulation)
    }

    /// The bytes as a next hop holds them.
    pub fn words(&self) -> [u64; TEMPLATE_WORDS] {
        bytemuck::cast(self.bytes)
    }
}

/// Whether a GRE tunnel's packets are numbered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sequence {
    /// No sequence number field.
    #[default]
    Omitted,
    /// Every packet carries the next number.
    Sent,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link = Link { destination: [2, 0, 0, 0, 0, 1], source: [2, 0, 0, 0, 0, 2] };
    const INNER: Link = Link { destination: [2, 0, 0, 0, 0, 3], source: [2, 0, 0, 0, 0, 4] };
    const V4: Ends = Ends::V4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    const V6: Ends = Ends::V6(Ipv6Addr::new(0xfd, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd, 0, 0, 0, 0, 0, 0, 2));

    #[test]
    fn numbers_and_lengths_agree() {
        for &encapsulation in Encapsulation::ALL {
            assert_eq!(Encapsulation::from_number(encapsulation as u32), Some(encapsulation));
            assert!(encapsulation.header_len() <= TEMPLATE_WORDS * 8);
        }
        assert_eq!(Encapsulation::from_number(0), None);
        assert_eq!(Encapsulation::from_number(15), None);
        assert_eq!(Encapsulation::Vlan.overhead(), 0);
        assert_eq!(Encapsulation::Ethernet.overhead(), 0);
        assert_eq!(Encapsulation::Gre4Key.overhead(), 28);
        assert_eq!(Encapsulation::Vxlan4.overhead(), 50);
        assert_eq!(Encapsulation::Nvgre6.overhead(), 62);
    }

    #[test]
    fn a_vxlan_header_is_what_rfc_7348_draws() {
        let template = Template::vxlan(LINK, V4, Vni(0x12_3456), INNER);
        let expected: &[u8] = &[
            2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, // Ethernet
            0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
            0, 0, 0x12, 0xb5, 0, 0, 0, 0, // UDP
            0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0, // VXLAN
            2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4, 0, 0, // inner Ethernet
        ];
        assert_eq!(&template.bytes[..64], expected);
        assert_eq!(template.encapsulation, Encapsulation::Vxlan4);
        assert_eq!(template.checksum_base as u64, checksum::sum(&expected[14..34]));
        assert_eq!(bytemuck::bytes_of(&template.words())[..64], *expected);
    }

    #[test]
    fn an_nvgre_header_over_ipv6_is_what_rfc_7637_draws() {
        let template = Template::nvgre(LINK, V6, Vni(0x5000), INNER);
        assert_eq!(template.encapsulation, Encapsulation::Nvgre6);
        assert_eq!(template.checksum_base, 0);
        assert_eq!(&template.bytes[12..22], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 47, 64]);
        assert_eq!(&template.bytes[54..62], &[0x20, 0, 0x65, 0x58, 0, 0x50, 0, 0]);
        assert_eq!(&template.bytes[62..76], &[2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4, 0, 0]);
        assert_eq!(Template::nvgre(LINK, V4, Vni(1), INNER).encapsulation, Encapsulation::Nvgre4);
        assert_eq!(Template::vxlan(LINK, V6, Vni(1), INNER).encapsulation, Encapsulation::Vxlan6);
    }

    #[test]
    fn gre_carries_a_key_and_a_sequence_number_only_if_asked() {
        for (ends, at, key, sequence, encapsulation, bytes) in [
            (V4, 34, None, Sequence::Omitted, Encapsulation::Gre4, &[0, 0, 0, 0][..]),
            (V4, 34, Some(7), Sequence::Omitted, Encapsulation::Gre4Key, &[0x20, 0, 0, 0, 0, 0, 0, 7]),
            (V4, 34, None, Sequence::Sent, Encapsulation::Gre4Sequence, &[0x10, 0, 0, 0, 0, 0, 0, 0]),
            (V4, 34, Some(7), Sequence::Sent, Encapsulation::Gre4KeySequence, &[0x30, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0]),
            (V6, 54, None, Sequence::Omitted, Encapsulation::Gre6, &[0, 0, 0, 0]),
            (V6, 54, Some(7), Sequence::Omitted, Encapsulation::Gre6Key, &[0x20, 0, 0, 0, 0, 0, 0, 7]),
            (V6, 54, None, Sequence::Sent, Encapsulation::Gre6Sequence, &[0x10, 0, 0, 0, 0, 0, 0, 0]),
            (V6, 54, Some(7), Sequence::Sent, Encapsulation::Gre6KeySequence, &[0x30, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0]),
        ] {
            let template = Template::gre(LINK, ends, key, sequence);
            assert_eq!(template.encapsulation, encapsulation);
            assert_eq!(&template.bytes[at..at + bytes.len()], bytes);
            assert_eq!(template.checksum_base != 0, at == 34);
        }
    }

    #[test]
    fn a_vlan_tag_holds_twelve_bits() {
        let template = Template::vlan(LINK, VlanId(0xf3e9));
        assert_eq!(&template.bytes[12..18], &[0x81, 0, 0x03, 0xe9, 0, 0]);
        assert_eq!(Template::ethernet(LINK).bytes[12..14], [0, 0]);
    }

    #[test]
    fn ends_are_of_one_family() {
        let v4 = IpAddr::from([1, 1, 1, 1]);
        let v6 = IpAddr::from([0u16, 0, 0, 0, 0, 0, 0, 1]);
        assert!(Ends::new(v4, v4).is_some() && Ends::new(v6, v6).is_some());
        assert!(Ends::new(v4, v6).is_none() && Ends::new(v6, v4).is_none());
    }
}
