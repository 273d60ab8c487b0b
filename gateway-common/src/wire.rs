//! Numbers and headers of the wire. Everything is big-endian there; the fields here are in host order unless they say otherwise.

/// EtherTypes, in host order.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP (RFC 826).
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// An 802.1Q customer tag.
    pub const VLAN: u16 = 0x8100;
    /// Transparent Ethernet bridging, as NVGRE's protocol type (RFC 7637 section 3.2).
    pub const BRIDGED: u16 = 0x6558;
    /// Local experimental (IEEE 802), which marks the private header of the slow path.
    pub const PRIVATE: u16 = 0x88b5;
}

/// IP protocol numbers.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// GRE.
    pub const GRE: u8 = 47;
    /// ESP.
    pub const ESP: u8 = 50;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// UDP port of VXLAN (RFC 7348 section 5).
pub const VXLAN_PORT: u16 = 4789;
/// VXLAN's first word with just the valid-VNI flag (RFC 7348 section 5), in host order.
pub const VXLAN_FLAGS: u32 = 0x0800_0000;
/// TTL and hop limit of what the gateway itself sends.
pub const DEFAULT_TTL: u8 = 64;
/// A GRE keepalive's protocol type inside (Cisco's): nothing follows.
pub const KEEPALIVE_PROTOCOL: u16 = 0;
/// The least MTU of IPv6 (RFC 8200 section 5), and the floor for a learned path MTU over it.
pub const IPV6_MIN_MTU: u32 = 1280;
/// The floor for a learned path MTU over IPv4 (RFC 1191 section 3 allows 68; below this an attack is likelier than a link).
pub const IPV4_MIN_PATH_MTU: u32 = 552;

/// The GRE header's first 16 bits (RFC 2784 section 2.1, RFC 2890 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GreFlags(pub u16);

impl GreFlags {
    /// Checksum present.
    pub const CHECKSUM: u16 = 0x8000;
    /// Key present.
    pub const KEY: u16 = 0x2000;
    /// Sequence number present.
    pub const SEQUENCE: u16 = 0x1000;
    /// Bits 1, 4 and 5 (routing, strict source route and the first of the recursion field) and the version: a receiver must drop a
    /// packet in which one of them is set, unless it implements RFC 1701.
    pub const FORBIDDEN: u16 = 0x4c07;

    /// Whether RFC 2784 lets us take the packet.
    #[inline(always)]
    pub const fn is_valid(self) -> bool {
        self.0 & Self::FORBIDDEN == 0
    }

    /// Whether a checksum is there.
    #[inline(always)]
    pub const fn has_checksum(self) -> bool {
        self.0 & Self::CHECKSUM != 0
    }

    /// Whether a key is there.
    #[inline(always)]
    pub const fn has_key(self) -> bool {
        self.0 & Self::KEY != 0
    }

    /// Whether a sequence number is there.
    #[inline(always)]
    pub const fn has_sequence(self) -> bool {
        self.0 & Self::SEQUENCE != 0
    }

    /// Where the key stands, from the start of the header.
    #[inline(always)]
    pub const fn key_offset(self) -> usize {
        if self.has_checksum() { 8 } else { 4 }
    }

    /// Bytes of the whole header: 4 to 16.
    #[inline(always)]
    pub const fn header_len(self) -> usize {
        4 + 4 * (self.has_checksum() as usize + self.has_key() as usize + self.has_sequence() as usize)
    }
}

/// Whether the flags are those of NVGRE: a key and nothing else (RFC 7637 section 3.2).
#[inline(always)]
pub const fn is_nvgre(flags: GreFlags) -> bool {
    flags.0 == GreFlags::KEY
}

/// Bytes of options that an IPv4 header has room for.
pub const IPV4_OPTIONS_MAX: usize = 40;
/// Bytes of the buffer that holds them: more, since the verifier does not see that an option's last bytes stay within the first 40.
pub const IPV4_OPTIONS_ROOM: usize = 48;

/// Whether an IPv4 option list of the first `len` bytes of `options` asks for loose or strict source routing (RFC 791).
/// Malformed lists count as such: nobody sends them for good.
#[inline(always)]
pub fn has_source_route(options: &[u8; IPV4_OPTIONS_ROOM], len: usize) -> bool {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE: u8 = 131;
    const STRICT: u8 = 137;
    let len = if len > IPV4_OPTIONS_MAX { IPV4_OPTIONS_MAX } else { len };
    let mut at = 0;
    for _ in 0..IPV4_OPTIONS_MAX {
        if at >= len || at >= IPV4_OPTIONS_MAX {
            return false;
        }
        match options[at] {
            END => return false,
            NO_OPERATION => at += 1,
            LOOSE | STRICT => return true,
            _ => {
                if at + 2 > len || at + 1 >= IPV4_OPTIONS_MAX {
                    return true;
                }
                let size = options[at + 1] as usize;
                if !(2..=IPV4_OPTIONS_MAX).contains(&size) || at + size > len {
                    return true;
                }
                at += size;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gre_headers_are_as_long_as_their_flags_say() {
        for (flags, key, len) in [
            (0, 4, 4),
            (GreFlags::KEY, 4, 8),
            (GreFlags::SEQUENCE, 4, 8),
            (GreFlags::CHECKSUM, 8, 8),
            (GreFlags::CHECKSUM | GreFlags::KEY, 8, 12),
            (GreFlags::KEY | GreFlags::SEQUENCE, 4, 12),
            (GreFlags::CHECKSUM | GreFlags::KEY | GreFlags::SEQUENCE, 8, 16),
        ] {
            let flags = GreFlags(flags);
            assert!(flags.is_valid());
            assert_eq!((flags.key_offset(), flags.header_len()), (key, len), "{flags:?}");
        }
    }

    #[test]
    fn gre_of_rfc_1701_or_another_version_is_refused() {
        for flags in [0x4000, 0x0800, 0x0400, 1, 2, 4, 7] {
            assert!(!GreFlags(flags).is_valid(), "{flags:#x}");
        }
        // Bits 6 to 12 are reserved for later and ignored on receipt.
        for flags in [0x0200, 0x0100, 0x00f8] {
            assert!(GreFlags(flags).is_valid(), "{flags:#x}");
        }
    }

    #[test]
    fn nvgre_has_a_key_and_nothing_else() {
        assert!(is_nvgre(GreFlags(0x2000)));
        assert!(!is_nvgre(GreFlags(0x3000)) && !is_nvgre(GreFlags(0xa000)) && !is_nvgre(GreFlags(0)));
    }

    #[test]
    fn source_routes_are_found_and_harmless_options_are_not() {
        let options = |bytes: &[u8]| {
            let mut room = [0; IPV4_OPTIONS_ROOM];
            room[..bytes.len()].copy_from_slice(bytes);
            (room, bytes.len())
        };
        for (bytes, expected) in [
            (&[131, 7, 4, 1, 2, 3, 4, 0][..], true),
            (&[1, 1, 1, 137, 7, 4, 1, 2, 3, 4, 0, 0], true),
            (&[148, 4, 0, 0, 131, 3, 4, 0], true),
            (&[148, 4, 0, 0], false),
            (&[7, 7, 4, 0, 0, 0, 0, 0], false),
            (&[0, 131, 3, 4], false),
            (&[1, 1, 1, 1], false),
            (&[1, 1, 1, 1, 1, 1, 1, 1, 7, 4, 4, 0], false),
            (&[1, 1, 136, 2], false),
            (&[68, 1, 0, 0], true),
            (&[68, 12, 5, 0], true),
            (&[1, 1, 1, 68], true),
            (&[], false),
        ] {
            let (room, len) = options(bytes);
            assert_eq!(has_source_route(&room, len), expected, "{bytes:?}");
        }
        assert!(!has_source_route(&[1; IPV4_OPTIONS_ROOM], 40));
        assert!(!has_source_route(&[1; IPV4_OPTIONS_ROOM], 99));
        let mut late = [1; IPV4_OPTIONS_ROOM];
        late[39] = 131;
        assert!(has_source_route(&late, 40) && !has_source_route(&late, 39));
        late[39] = 7;
        assert!(has_source_route(&late, 40));
        let mut full = [0; IPV4_OPTIONS_ROOM];
        full[0] = 7;
        full[1] = 40;
        assert!(!has_source_route(&full, 40));
        full[1] = 41;
        assert!(has_source_route(&full, 40));
    }
}
