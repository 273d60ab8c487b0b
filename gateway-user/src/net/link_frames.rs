//! What the stations of a link say to each other of their addresses: ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861), as whole
//! Ethernet frames with their 802.1Q tags.
//!
//! A *question* leaves nothing behind in anybody's cache that says where an address of ours is: it is an ARP probe, without a sender's address, or
//! a solicitation from a link-local address that is the port's alone.

use super::links::Mac;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const VLAN: [u8; 2] = [0x81, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const IPV6: [u8; 2] = [0x86, 0xdd];
const BROADCAST: Mac = [0xff; 6];
/// Ethernet and IPv4, with addresses of six and four bytes; the operation follows.
const ARP_KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_REQUEST: [u8; 2] = [0, 1];
const ARP_REPLY: [u8; 2] = [0, 2];
const ICMPV6: u8 = 58;
/// What shows that no router has forwarded it (RFC 4861, 7.1).
const HOP_LIMIT: u8 = 255;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// The flag of an advertisement that replaces what is known.
const OVERRIDE: u8 = 0x20;
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

/// Says to everybody that an address is at `mac` from here on: a gratuitous ARP request (RFC 5227, 3), or an unsolicited advertisement with the
/// override flag (RFC 4861, 7.2.6).
pub fn announcement(mac: Mac, vlan: Option<u16>, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => frame(BROADCAST, mac, vlan, ARP, &arp(mac, address, address)),
        IpAddr::V6(address) => {
            let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            let message = discovery(ADVERTISEMENT, OVERRIDE, address, (TARGET_LINK_LAYER, mac));
            frame(group(all_nodes), mac, vlan, IPV6, &icmp(address, all_nodes, message))
        }
    }
}

/// Asks who has an address, to answer to `mac`: an ARP probe (RFC 5227, 2.1.1), or a solicitation (RFC 4861, 7.2.2).
pub fn question(mac: Mac, vlan: Option<u16>, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => frame(BROADCAST, mac, vlan, ARP, &arp(mac, Ipv4Addr::UNSPECIFIED, address)),
        IpAddr::V6(address) => {
            let [.., a, b, c] = address.octets();
            let group_of = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
            let message = discovery(SOLICITATION, 0, address, (SOURCE_LINK_LAYER, mac));
            frame(group(group_of), mac, vlan, IPV6, &icmp(link_local(mac), group_of, message))
        }
    }
}

/// What a station answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The frame's VLAN.
    pub vlan: Option<u16>,
    /// Whose address.
    pub address: IpAddr,
    /// Where it is.
    pub mac: Mac,
}

/// Reads an answer, an ARP reply or a neighbour advertisement; nothing if the frame is none, or a wrong one.
pub fn answer(bytes: &[u8]) -> Option<Answer> {
    let (_, rest) = bytes.split_at_checked(12)?;
    let (vlan, rest) = match rest.split_first_chunk::<4>()? {
        ([0x81, 0x00, high, low], after) => (Some(u16::from_be_bytes([high & 0x0f, *low])), after),
        _ => (None, rest),
    };
    let (kind, packet) = rest.split_first_chunk::<2>()?;
    let (address, mac) = match *kind {
        ARP => arp_reply(packet)?,
        IPV6 => advertised(packet)?,
        _ => return None,
    };
    // A group is nobody's place.
    (mac[0] & 1 == 0 && mac != Mac::default()).then_some(Answer { vlan, address, mac })
}

fn arp_reply(packet: &[u8]) -> Option<(IpAddr, Mac)> {
    let packet = packet.strip_prefix(&ARP_KIND)?.strip_prefix(&ARP_REPLY)?;
    let (mac, packet) = packet.split_first_chunk::<6>()?;
    let (address, _) = packet.split_first_chunk::<4>()?;
    Some((Ipv4Addr::from(*address).into(), *mac))
}

fn advertised(packet: &[u8]) -> Option<(IpAddr, Mac)> {
    let (header, rest) = packet.split_first_chunk::<40>()?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let message = rest.get(..length)?;
    let (next, hop_limit) = (header[6], header[7]);
    if header[0] >> 4 != 6 || next != ICMPV6 || hop_limit != HOP_LIMIT || checksum(&header[8..40], message) != 0 {
        return None;
    }
    let ([ADVERTISEMENT, 0, ..], rest) = message.split_first_chunk::<8>()? else { return None };
    let (target, mut options) = rest.split_first_chunk::<16>()?;
    while let [kind, eights, ..] = *options {
        let (option, after) = options.split_at_checked(usize::from(eights) * 8).filter(|_| eights != 0)?;
        if kind == TARGET_LINK_LAYER {
            return Some((Ipv6Addr::from(*target).into(), *option.get(2..)?.first_chunk::<6>()?));
        }
        options = after;
    }
    None
}

fn frame(to: Mac, from: Mac, vlan: Option<u16>, kind: [u8; 2], packet: &[u8]) -> Vec<u8> {
    let tag = vlan.map(|vlan| [VLAN, vlan.to_be_bytes()].concat()).unwrap_or_default();
    [to.as_slice(), &from, &tag, &kind, packet].concat()
}

/// An ARP request for `target`.
fn arp(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    [&ARP_KIND[..], &ARP_REQUEST, &mac, &sender.octets(), &[0; 6], &target.octets()].concat()
}

/// A message of neighbour discovery with a link-layer address, without its checksum.
fn discovery(kind: u8, flags: u8, target: Ipv6Addr, (option, mac): (u8, Mac)) -> Vec<u8> {
    [&[kind, 0, 0, 0, flags, 0, 0, 0], target.octets().as_slice(), &[option, 1], &mac].concat()
}

/// The ICMPv6 packet with that message.
fn icmp(source: Ipv6Addr, destination: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    let addresses = [source.octets(), destination.octets()].concat();
    let sum = checksum(&addresses, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let length = (message.len() as u16).to_be_bytes();
    [&[0x60, 0, 0, 0], length.as_slice(), &[ICMPV6, HOP_LIMIT], &addresses, &message].concat()
}

/// The checksum of an ICMPv6 message (RFC 4443, 2.3) between `addresses`; 0 for one that has the right one.
fn checksum(addresses: &[u8], message: &[u8]) -> u16 {
    let pseudo = [addresses, &(message.len() as u32).to_be_bytes(), &[0, 0, 0, ICMPV6]].concat();
    let words = pseudo.chunks(2).chain(message.chunks(2));
    let word = |bytes: &[u8]| u32::from(bytes[0]) << 8 | bytes.get(1).copied().map_or(0, u32::from);
    let mut sum: u32 = words.map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The group's MAC address (RFC 2464, 7).
fn group(address: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = address.octets();
    [0x33, 0x33, a, b, c, d]
}

/// The link-local address that follows from a MAC address (RFC 4291, appendix A).
fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// For fuzzing: reads any bytes. Never panics.
pub fn exercise(bytes: &[u8]) {
    if let Some(read) = answer(bytes) {
        assert!(read.mac[0] & 1 == 0, "a group has answered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 7];

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_ipv4_address_is_announced_as_a_request_for_itself() {
        let frame = announcement(MAC, Some(100), address("192.0.2.1"));
        let expected = [
            &[0xff; 6][..],
            &[2, 0, 0, 0, 0, 7, 0x81, 0, 0, 100, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &[2, 0, 0, 0, 0, 7, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1],
        ];
        assert_eq!(frame, expected.concat());
    }

    #[test]
    fn an_ipv6_address_is_advertised_to_all_with_override_and_a_right_checksum() {
        let frame = announcement(MAC, None, address("2001:db8::1"));
        assert_eq!(frame[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 7, 0x86, 0xdd]);
        let (header, message) = frame[14..].split_at(40);
        assert_eq!((header[6], header[7], message[0], message[4]), (58, 255, 136, 0x20));
        assert_eq!(message[24..], [2, 1, 2, 0, 0, 0, 0, 7]);
        assert_eq!(checksum(&header[8..40], message), 0);
        let told = Answer { vlan: None, address: address("2001:db8::1"), mac: MAC };
        assert_eq!(answer(&frame), Some(told), "whoever hears it reads what it says");
    }

    #[test]
    fn a_question_for_an_ipv4_address_names_no_sender() {
        let frame = question(MAC, Some(100), address("192.0.2.9"));
        let expected = [
            &[0xff; 6][..],
            &[2, 0, 0, 0, 0, 7, 0x81, 0, 0, 100, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &[2, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 9],
        ];
        assert_eq!(frame, expected.concat());
    }

    #[test]
    fn a_question_for_an_ipv6_address_goes_to_its_group_from_the_ports_own() {
        let frame = question(MAC, None, address("2001:db8::12:3456"));
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let (header, message) = frame[14..].split_at(40);
        assert_eq!(header[8..24], link_local(MAC).octets());
        assert_eq!(link_local(MAC), address("fe80::ff:fe00:7"));
        assert_eq!(header[24..40], [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0x12, 0x34, 0x56]);
        assert_eq!((message[0], &message[24..]), (135, &[1, 1, 2, 0, 0, 0, 0, 7][..]));
        assert_eq!(checksum(&header[8..40], message), 0);
    }

    fn reply() -> Vec<u8> {
        let packet = [&ARP_KIND[..], &ARP_REPLY, &MAC, &[192, 0, 2, 9], &[2; 6], &[0; 4]].concat();
        frame([2; 6], MAC, Some(100), ARP, &packet)
    }

    #[test]
    fn a_reply_says_who_has_an_address() {
        let expected = Answer { vlan: Some(100), address: address("192.0.2.9"), mac: MAC };
        assert_eq!(answer(&reply()), Some(expected));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        assert_eq!(answer(&question(MAC, None, address("192.0.2.9"))), None);
        assert_eq!(answer(&question(MAC, None, address("2001:db8::9"))), None);
        let mut of_a_group = reply();
        of_a_group[26] |= 1;
        assert_eq!(answer(&of_a_group), None);
        let advertisement = announcement(MAC, Some(7), address("2001:db8::9"));
        for (at, what) in
            [(18 + 7, "was forwarded"), (18 + 42, "has a wrong checksum"), (18 + 65, "has an empty option")]
        {
            let mut wrong = advertisement.clone();
            wrong[at] = wrong[at].wrapping_sub(1);
            assert_eq!(answer(&wrong), None, "one that {what}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..90, at in 0usize..90) {
            exercise(&bytes);
            for whole in [reply(), announcement(MAC, None, address("2001:db8::9"))] {
                exercise(&whole[..cut.min(whole.len())]);
                let mut wrong = whole;
                let at = at % wrong.len();
                wrong[at] = bytes.first().copied().unwrap_or_default();
                exercise(&wrong);
            }
        }
    }
}
