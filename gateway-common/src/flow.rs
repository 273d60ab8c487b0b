//! Flows: the key under which a decision is cached, and the hash that spreads flows over equal paths.
//!
//! A key holds everything that classify, admit and route look at, bit for bit, so that a hit needs no further check:
//! the frame's destination MAC and VLAN, the outer addresses, the tunnel's kind and key, the port, the inner addresses.
//! The decision's generation covers the rest (what the tables say).

/// Words of a key whose addresses are all IPv4.
pub const KEY4_WORDS: usize = 4;
/// Words of a key with an IPv6 address.
pub const KEY6_WORDS: usize = 10;

/// What carried a packet here: the part of a key that says how to read the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Carrier {
    /// GRE without a key.
    Gre = 1,
    /// GRE with a key.
    GreKeyed = 2,
    /// VXLAN.
    Vxlan = 3,
    /// NVGRE.
    Nvgre = 4,
    /// A tenant's VLAN.
    Vlan = 5,
}

/// The key word that names the carrier: its kind, the port (interface indices below 2^28) and the tunnel's key, VNI or 0.
#[inline(always)]
pub const fn carrier_word(carrier: Carrier, ifindex: u32, key: u32) -> u64 {
    (carrier as u64) << 60 | ((ifindex as u64) & 0x0fff_ffff) << 32 | key as u64
}

/// The key word of the frame: destination MAC (as loaded, in 48 bits) and VLAN identifier (0 for an untagged frame).
#[inline(always)]
pub const fn frame_word(mac: u64, vlan: u16) -> u64 {
    mac & 0xffff_ffff_ffff | (vlan as u64) << 48
}

const MULTIPLIERS: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9, 0xd6e8_feb8_6659_fd93];

/// Mixes one more word into a hash.
#[inline(always)]
pub const fn mix(hash: u64, word: u64, round: usize) -> u64 {
    let product = (hash ^ word).wrapping_mul(MULTIPLIERS[round % 4]);
    product ^ (product >> 32)
}

/// The hash of an IPv4 key, for its slot in the cache: of the upper bits, which all that is hashed moves.
#[inline(always)]
pub const fn hash4(key: &[u64; KEY4_WORDS]) -> u32 {
    // The frame's word is the same for nearly all packets of a port: it need not stir the slot. The tunnel's two are stirred beside the
    // inner addresses, which a machine does at the same time.
    let tunnel = key[1].wrapping_add(key[3].wrapping_mul(MULTIPLIERS[2]));
    ((hash_pair(key[2]) ^ tunnel).wrapping_mul(MULTIPLIERS[1]) >> 32) as u32
}

/// The hash of two IPv4 addresses as loaded, in the upper bits above all.
#[inline(always)]
pub const fn hash_pair(pair: u64) -> u64 {
    pair.wrapping_mul(MULTIPLIERS[0])
}

/// The hash of an IPv6 key, likewise.
#[inline(always)]
pub fn hash6(key: &[u64; KEY6_WORDS]) -> u32 {
    let mut hash = 0;
    let mut round = 1;
    while round < KEY6_WORDS {
        hash = mix(hash, key[round], round);
        round += 1;
    }
    hash as u32
}

/// The hash of an inner flow: addresses' hash, protocol and ports (both ports in one word, 0 where there are none, as in fragments).
/// Its upper bits choose among equal-cost members and give VXLAN's UDP source port its entropy.
#[inline(always)]
pub const fn hash_flow(addresses: u64, protocol: u8, ports: u32) -> u32 {
    ((addresses ^ (ports ^ protocol as u32) as u64).wrapping_mul(MULTIPLIERS[3]) >> 32) as u32
}

/// The UDP source port for a flow, from the dynamic range 49152 to 65535 (RFC 7348 section 5), in host order.
#[inline(always)]
pub const fn source_port(hash: u32) -> u16 {
    0xc000 | (hash >> 18) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carriers_of_one_number_never_share_a_word() {
        let words = [
            carrier_word(Carrier::Gre, 3, 0),
            carrier_word(Carrier::GreKeyed, 3, 0),
            carrier_word(Carrier::Vxlan, 3, 0),
            carrier_word(Carrier::Nvgre, 3, 0),
            carrier_word(Carrier::Vlan, 3, 0),
            carrier_word(Carrier::Gre, 4, 0),
            carrier_word(Carrier::Gre, 3, 4),
            carrier_word(Carrier::Gre, 0x1000_0000, 0),
        ];
        for (index, word) in words.iter().enumerate() {
            assert!(!words[..index].contains(word), "{index}");
        }
        assert_eq!(carrier_word(Carrier::Vlan, 7, 0xffff_ffff), 5 << 60 | 7 << 32 | 0xffff_ffff);
    }

    #[test]
    fn a_frame_word_keeps_mac_and_vlan_apart() {
        assert_eq!(frame_word(0xffff_1122_3344_5566, 0x0abc), 0x0abc_1122_3344_5566);
    }

    #[test]
    fn every_word_of_a_key_moves_the_hash_but_the_frame() {
        let base4 = hash4(&[1, 2, 3, 4]);
        assert_eq!(hash4(&[9, 2, 3, 4]), base4);
        for word in 1..KEY4_WORDS {
            let mut key = [1, 2, 3, 4];
            key[word] ^= 1 << 40;
            assert_ne!(hash4(&key), base4, "word {word}");
        }
        let base6 = hash6(&[7; KEY6_WORDS]);
        for word in 1..KEY6_WORDS {
            let mut key = [7; KEY6_WORDS];
            key[word] ^= 1 << 40;
            assert_ne!(hash6(&key), base6, "word {word}");
        }
    }

    #[test]
    fn neighbouring_flows_spread_over_the_slots() {
        let mut hits = [0u16; 1024];
        for host in 0..10_240u64 {
            let key = [1, 0x0a00_0001_0a00_0002, host << 32 | 0xc0a8_0001, 5 << 60];
            hits[(hash4(&key) >> 22) as usize] += 1;
        }
        assert!(hits.iter().all(|&hit| (1..=30).contains(&hit)));
        let mut members = [0u16; 4];
        for port in 0..4096 {
            members[(hash_flow(0x1234_5678, 6, port << 16 | 443) >> 30) as usize] += 1;
        }
        assert!(members.iter().all(|&hit| (880..=1170).contains(&hit)), "{members:?}");
    }

    #[test]
    fn the_same_addresses_behind_many_tunnels_spread_over_the_slots() {
        let inner = 0x0900_000a_0100_000a;
        let remote = |number: u64| (203 | (number >> 8) << 8 | (number & 0xff) << 16 | 7 << 24) << 32 | 0x0100_000a;
        let spread = |key: &dyn Fn(u64) -> [u64; KEY4_WORDS]| {
            let mut hits = [0u16; 1024];
            for number in 0..10_240 {
                hits[(hash4(&key(number)) >> 22) as usize] += 1;
            }
            assert!(hits.iter().all(|&hit| hit <= 40), "{hits:?}");
        };
        spread(&|number| [1, 5, inner, 2 << 60 | number]);
        spread(&|number| [1, remote(number), inner, 2 << 60 | 100]);
    }

    #[test]
    fn the_flow_hash_takes_addresses_protocol_and_ports() {
        let base = hash_flow(1, 6, 80);
        assert_ne!(hash_flow(2, 6, 80), base);
        assert_ne!(hash_flow(1, 17, 80), base);
        assert_ne!(hash_flow(1, 6, 81), base);
    }

    #[test]
    fn every_round_mixes_in_its_own_way() {
        let rounds = [0, 1, 2, 3].map(|round| mix(1, 2, round));
        for (index, round) in rounds.iter().enumerate() {
            assert!(!rounds[..index].contains(round), "round {index}");
        }
        assert_eq!(mix(1, 2, 4), mix(1, 2, 0));
    }

    #[test]
    fn both_halves_of_a_flows_hash_depend_on_its_ports() {
        // Equal-cost members and source ports take the upper ones, an IPv6 flow label also some of the lower.
        for mask in [0xffff_0000u32, 0x0000_ffff] {
            let seen = [80, 81, 443, 8080].map(|ports| hash_flow(1, 6, ports) & mask);
            assert!(seen.iter().any(|hash| *hash != seen[0]), "{seen:?}");
            assert!(seen.iter().all(|hash| *hash != 0), "{seen:?}");
        }
    }

    #[test]
    fn source_ports_stay_in_the_dynamic_range() {
        assert_eq!(source_port(0), 49152);
        assert_eq!(source_port(u32::MAX), 65535);
        assert_eq!(source_port(0x0007_ffff), 49153);
    }
}
