//! IPv4 and IPv6 addresses in one fixed form, as map keys hold them.

use bytemuck::{Pod, Zeroable};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address as four 32-bit words in the byte order of the wire, IPv4 as `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2).
///
/// The words are loaded from a packet without swapping, so comparing and hashing them costs nothing extra.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Address(pub [u32; 4]);

impl Address {
    /// The third word of every IPv4 address.
    pub const V4_MARK: u32 = u32::from_be(0x0000_ffff);

    /// An IPv4 address from its word on the wire.
    #[inline(always)]
    pub const fn v4(word: u32) -> Self {
        Self([0, 0, Self::V4_MARK, word])
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.0[0] | self.0[1] | (self.0[2] ^ Self::V4_MARK) == 0
    }

    /// The address's bytes as the wire has them, IPv4 mapped.
    pub fn octets(&self) -> [u8; 16] {
        bytemuck::cast(self.0)
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self::v4(u32::from_ne_bytes(address.octets()))
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        Self(bytemuck::cast(address.octets()))
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        let octets = address.octets();
        if address.is_v4() {
            IpAddr::V4(Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]))
        } else {
            IpAddr::V6(Ipv6Addr::from(octets))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_survive_the_fixed_form() {
        for text in ["0.0.0.0", "10.127.134.55", "255.255.255.255", "::", "fe80::1", "2001:db8::ff:1"] {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(IpAddr::from(Address::from(address)), address);
            assert_eq!(Address::from(address).is_v4(), address.is_ipv4());
        }
        assert_eq!(
            Address::from(IpAddr::from([192, 0, 2, 1])).octets(),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]
        );
    }

    #[test]
    fn only_the_mapped_prefix_makes_an_ipv4_address() {
        let mark = Address::V4_MARK;
        assert!(Address([0, 0, mark, 7]).is_v4());
        // Bits that would cancel each other out must not.
        for words in
            [[1, 0, mark], [0, 1, mark], [1, 1, mark], [0, 0, 0], [1, 0, mark ^ 1], [0, 1, mark ^ 1], [3, 1, mark ^ 2]]
        {
            assert!(!Address([words[0], words[1], words[2], 7]).is_v4(), "{words:x?}");
        }
    }
}
