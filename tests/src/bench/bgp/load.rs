//! What peers announce: prefixes as in a full table, attributes shared as there, and the UPDATEs that say so, made once for all receivers.

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// How many prefixes of a thousand have which length, roughly as in the Internet's table. The rest are /24.
const LENGTHS: [(u8, u64); 8] = [(16, 14), (17, 8), (18, 15), (19, 30), (20, 45), (21, 45), (22, 120), (23, 100)];
/// Where the prefixes begin.
const FIRST: u64 = 0x0100_0000;
/// What nobody announces, and what the rig itself needs: 10/8, 127/8.
const RESERVED: [u64; 2] = [10, 127];
/// A message's header before its length.
const MARKER: [u8; 16] = [0xff; 16];
/// The most octets of a message.
const MESSAGE: usize = 4096;

/// The type of an UPDATE.
const UPDATE: u8 = 2;

/// A sequence that looks like chance and is always the same.
#[derive(Clone, Debug)]
pub struct Sequence(u64);

impl Sequence {
    /// Another sequence for another seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    /// The next one, below a limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// So many prefixes as in a full table, in no order, as they come from a peer.
pub fn full_table(count: usize) -> Vec<Ipv4Net> {
    let mut chance = Sequence::new(1);
    let mut at = FIRST;
    let mut prefixes = Vec::with_capacity(count);
    while prefixes.len() < count {
        let mut draw = chance.below(1000);
        let length = LENGTHS.iter().find_map(|(length, share)| {
            let hit = draw < *share;
            draw = draw.saturating_sub(*share);
            hit.then_some(*length)
        });
        let length = length.unwrap_or(24);
        let size = 1 << (32 - length);
        let mut start = at.next_multiple_of(size);
        while let Some(taken) = RESERVED.iter().find(|net| (**net << 24) < start + size && start < (**net + 1) << 24) {
            start = ((*taken + 1) << 24).next_multiple_of(size);
        }
        at = start + size;
        prefixes.push(net(u32::try_from(start).expect("the table ends before the addresses do"), length));
    }
    for left in (1..prefixes.len()).rev() {
        prefixes.swap(left, chance.below(left as u64 + 1) as usize);
    }
    prefixes
}

/// What a site of a tenant announces: prefixes within 20.0.0.0/8.
pub fn site(number: u32, count: u32) -> Vec<Ipv4Net> {
    (0..count).map(|index| net(0x1400_0000 + ((number * count + index) << 8), 24)).collect()
}

fn net(address: u32, length: u8) -> Ipv4Net {
    Ipv4Net::new(Ipv4Addr::from(address), length).expect("a length of IPv4")
}

/// UPDATEs that announce prefixes, so many with the same attributes.
pub fn announce(prefixes: &[Ipv4Net], shared: usize, asn: u32, next_hop: Ipv4Addr) -> Vec<u8> {
    let mut chance = Sequence::new(2);
    let mut bytes = Vec::new();
    for group in prefixes.chunks(shared) {
        let attributes = attributes(&mut chance, asn, next_hop);
        update(&[], &attributes, group, &mut bytes);
    }
    bytes
}

/// An UPDATE that withdraws a prefix.
pub fn withdraw(prefix: Ipv4Net) -> Vec<u8> {
    let mut bytes = Vec::new();
    update(&[prefix], &[], &[], &mut bytes);
    bytes
}

/// A message of a type.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = MARKER.len() + 3 + body.len();
    assert!(length <= MESSAGE, "a message of {length} octets");
    [&MARKER[..], &(length as u16).to_be_bytes(), &[kind], body].concat()
}

fn update(gone: &[Ipv4Net], attributes: &[u8], announced: &[Ipv4Net], into: &mut Vec<u8>) {
    let (gone, announced) = (nlri(gone), nlri(announced));
    let sized = |part: &[u8]| [&(part.len() as u16).to_be_bytes()[..], part].concat();
    into.extend(message(UPDATE, &[sized(&gone), sized(attributes), announced].concat()));
}

fn nlri(prefixes: &[Ipv4Net]) -> Vec<u8> {
    let octets = |net: &Ipv4Net| {
        let used = usize::from(net.prefix_len().div_ceil(8));
        let mut octets = vec![net.prefix_len()];
        octets.extend(&net.addr().octets()[..used]);
        octets
    };
    prefixes.iter().flat_map(octets).collect()
}

/// ORIGIN, a path of three to six systems, NEXT_HOP, now and then MED, some communities, now and then a large one.
fn attributes(chance: &mut Sequence, asn: u32, next_hop: Ipv4Addr) -> Vec<u8> {
    let mut all = vec![0x40, 1, 1, 0];
    let hops = 3 + chance.below(4) as usize;
    let path: Vec<u32> = std::iter::once(asn)
        .chain((1..hops).map(|hop| {
            if hop + 1 < hops { 1000 + chance.below(400) as u32 } else { 130_000 + chance.below(70_000) as u32 }
        }))
        .collect();
    let path: Vec<u8> = path.iter().flat_map(|asn| asn.to_be_bytes()).collect();
    all.extend([0x40, 2, path.len() as u8 + 2, 2, hops as u8]);
    all.extend(path);
    all.extend([0x40, 3, 4]);
    all.extend(next_hop.octets());
    if chance.below(4) == 0 {
        all.extend([0x80, 4, 4]);
        all.extend((chance.below(200) as u32).to_be_bytes());
    }
    let communities = 2 + chance.below(5) as u8;
    all.extend([0xc0, 8, communities * 4]);
    for _ in 0..communities {
        all.extend((asn as u16).to_be_bytes());
        all.extend((chance.below(3000) as u16).to_be_bytes());
    }
    if chance.below(8) == 0 {
        all.extend([0xc0, 32, 12]);
        all.extend(asn.to_be_bytes());
        all.extend(1u32.to_be_bytes());
        all.extend((chance.below(50) as u32).to_be_bytes());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_table_has_no_prefix_twice_and_all_messages_are_whole() {
        let table = full_table(20_000);
        assert_eq!(table.iter().collect::<HashSet<_>>().len(), table.len());
        assert!(table.iter().all(|net| net.trunc() == *net && !net.addr().is_loopback() && !net.addr().is_private()));
        let short = table.iter().filter(|net| net.prefix_len() < 24).count();
        assert!((6000..9000).contains(&short), "{short}");
        let bytes = announce(&table, 100, 64513, Ipv4Addr::new(10, 9, 0, 2));
        let (mut rest, mut count) = (&bytes[..], 0);
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            assert_eq!((&rest[..16], rest[18]), (&MARKER[..], UPDATE));
            rest = &rest[length..];
            count += 1;
        }
        assert_eq!(count, 200);
    }

    #[test]
    fn a_whole_table_fits_into_the_addresses() {
        let table = full_table(1_000_000);
        assert!(table.iter().all(|net| net.addr() < Ipv4Addr::new(224, 0, 0, 0)));
    }
}
