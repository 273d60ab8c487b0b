use super::super::fragmentation::{fragment, write_checksum};
use super::*;
use gateway_common::checksum;
use proptest::prelude::*;

const ETHERNET_IPV4: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
const ETHERNET_IPV6: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];

/// An IPv4 packet without DF.
fn packet4(identification: u16, source: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 47, 0, 0, 203, 0, 113, source, 198, 51, 100, 10];
    packet[2..4].copy_from_slice(&((20 + payload.len()) as u16).to_be_bytes());
    packet[4..6].copy_from_slice(&identification.to_be_bytes());
    write_checksum(&mut packet);
    packet.extend_from_slice(payload);
    packet
}

fn frame4(packet: &[u8]) -> Vec<u8> {
    [&ETHERNET_IPV4, packet].concat()
}

fn frames4(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    fragment(packet, mtu).expect("it may be fragmented").iter().map(|piece| frame4(piece)).collect()
}

fn fragment6(identification: u32, offset: u16, more: bool, class: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = ETHERNET_IPV6.to_vec();
    frame.extend([0x60, class << 4, 0, 0]);
    frame.extend(((payload.len() + 8) as u16).to_be_bytes());
    frame.extend([44, 64]);
    frame.extend([0xfd; 16]);
    frame.extend([0xfe; 16]);
    frame.extend([47, 0]);
    frame.extend((offset | u16::from(more)).to_be_bytes());
    frame.extend(identification.to_be_bytes());
    frame.extend(payload);
    frame
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 256) as u8).collect()
}

#[test]
fn fragments_in_any_order_give_the_packet_back() {
    let packet = packet4(1, 20, &payload(3000));
    let mut frames = frames4(&packet, 600);
    assert!(frames.len() > 4);
    for _ in 0..frames.len() {
        frames.rotate_left(1);
        let mut reassembler = Reassembler::default();
        let now = Instant::now();
        let mut whole = None;
        for frame in &frames {
            assert_eq!(whole, None, "complete before the last fragment came");
            whole = reassembler.accept(3, frame, now).expect("a good fragment");
        }
        assert_eq!(whole, Some(frame4(&packet)));
        assert_eq!((reassembler.waiting(), reassembler.held_bytes()), (0, 0));
    }
}

#[test]
fn ipv6_loses_its_fragment_header() {
    let body = payload(1600);
    let mut reassembler = Reassembler::default();
    let now = Instant::now();
    let first = fragment6(9, 0, true, 0, &body[..1200]);
    assert_eq!(reassembler.accept(3, &fragment6(9, 1200, false, 0, &body[1200..]), now), Ok(None));
    let whole = reassembler.accept(3, &first, now).expect("good").expect("whole");
    assert_eq!(whole.len(), 14 + 40 + 1600);
    assert_eq!(whole[14 + 6], 47, "the next header");
    assert_eq!(whole[18..20], 1600u16.to_be_bytes());
    assert_eq!(whole[54..], body);
}

/// RFC 5722 section 4: the whole datagram goes, and what comes of it later.
#[test]
fn overlapping_fragments_drop_the_whole_datagram() {
    let body = payload(1600);
    for (offset, length) in [(1192, 408), (1208, 8), (0, 1200), (600, 16)] {
        let mut reassembler = Reassembler::default();
        let now = Instant::now();
        reassembler.accept(3, &fragment6(9, 0, true, 0, &body[..1216]), now).expect("the first");
        let evil = vec![0xee; length];
        assert_eq!(
            reassembler.accept(3, &fragment6(9, offset, true, 0, &evil), now),
            Err(Refusal::Overlap),
            "{offset}"
        );
        assert_eq!(reassembler.held_bytes(), 0);
        let last = fragment6(9, 1216, false, 0, &body[1216..]);
        assert_eq!(reassembler.accept(3, &last, now), Err(Refusal::Dropped));
        // Its identification may be used again afterwards.
        assert_eq!(reassembler.accept(3, &last, now + TIMEOUT), Ok(None));
    }
}

#[test]
fn the_very_same_fragment_twice_is_harmless() {
    let packet = packet4(1, 20, &payload(1000));
    let frames = frames4(&packet, 600);
    let mut reassembler = Reassembler::default();
    let now = Instant::now();
    assert_eq!(reassembler.accept(3, &frames[0], now), Ok(None));
    assert_eq!(reassembler.accept(3, &frames[0], now), Ok(None));
    assert_eq!(reassembler.accept(3, &frames[1], now), Ok(Some(frame4(&packet))));
}

#[test]
fn two_ends_or_bytes_behind_the_end_are_contradictions() {
    let body = payload(2000);
    let now = Instant::now();
    let mut reassembler = Reassembler::default();
    reassembler.accept(3, &fragment6(9, 800, false, 0, &body[..8]), now).expect("the last");
    assert_eq!(reassembler.accept(3, &fragment6(9, 1600, false, 0, &body[..8]), now), Err(Refusal::Contradiction));
    let mut reassembler = Reassembler::default();
    reassembler.accept(3, &fragment6(9, 1600, true, 0, &body[..8]), now).expect("beyond");
    assert_eq!(reassembler.accept(3, &fragment6(9, 800, false, 0, &body[..8]), now), Err(Refusal::Contradiction));
}

/// RFC 3168 section 5.3.
#[test]
fn a_congestion_mark_on_one_fragment_marks_the_datagram() {
    let body = payload(1600);
    let now = Instant::now();
    let mut reassembler = Reassembler::default();
    reassembler.accept(3, &fragment6(9, 0, true, 0b10, &body[..1200]), now).expect("capable");
    let whole =
        reassembler.accept(3, &fragment6(9, 1200, false, 0b11, &body[1200..]), now).expect("good").expect("whole");
    assert_eq!((whole[15] >> 4) & 0b11, 0b11);
    reassembler.accept(3, &fragment6(9, 0, true, 0b00, &body[..1200]), now).expect("not capable");
    let last = fragment6(9, 1200, false, 0b11, &body[1200..]);
    assert_eq!(reassembler.accept(3, &last, now), Err(Refusal::Congestion));
}

#[test]
fn datagrams_do_not_mix_across_ports_sources_or_protocols() {
    let body = payload(1000);
    let now = Instant::now();
    let (ours, other) = (packet4(1, 20, &body), packet4(1, 21, &body));
    let mut reassembler = Reassembler::default();
    assert_eq!(reassembler.accept(3, &frames4(&ours, 600)[0], now), Ok(None));
    assert_eq!(reassembler.accept(3, &frames4(&other, 600)[1], now), Ok(None));
    assert_eq!(reassembler.accept(4, &frames4(&ours, 600)[1], now), Ok(None));
    let mut udp = ours;
    udp[9] = 17;
    assert_eq!(reassembler.accept(3, &frames4(&udp, 600)[1], now), Ok(None));
    assert_eq!(reassembler.waiting(), 4);
}

#[test]
fn what_is_never_completed_is_forgotten_in_time() {
    let frames = frames4(&packet4(1, 20, &payload(1000)), 600);
    let now = Instant::now();
    let mut reassembler = Reassembler::default();
    reassembler.accept(3, &frames[0], now).expect("good");
    assert_eq!(reassembler.expire(now + TIMEOUT - Duration::from_millis(1)), 0);
    assert_eq!(reassembler.expire(now + TIMEOUT), 1);
    assert_eq!((reassembler.waiting(), reassembler.held_bytes()), (0, 0));
}

#[test]
fn one_source_cannot_take_what_others_need() {
    let now = Instant::now();
    let mut reassembler = Reassembler::default();
    let mut refused = 0;
    for identification in 0..1000 {
        let frames = frames4(&packet4(identification, 20, &payload(1000)), 600);
        refused += usize::from(reassembler.accept(3, &frames[0], now) == Err(Refusal::SourceFull));
    }
    assert_eq!(refused, 1000 - MAX_DATAGRAMS_PER_SOURCE);
    let packet = packet4(7, 21, &payload(1000));
    let whole =
        frames4(&packet, 600).iter().find_map(|frame| reassembler.accept(3, frame, now).expect("another source"));
    assert_eq!(whole, Some(frame4(&packet)));
}

#[test]
fn many_sources_push_out_the_oldest_only() {
    let now = Instant::now();
    let mut reassembler = Reassembler::default();
    for number in 0..3 * MAX_DATAGRAMS as u32 {
        let mut packet = packet4(number as u16, 20, &payload(1000));
        packet[12..16].copy_from_slice(&(0x0a00_0000 + number).to_be_bytes());
        reassembler.accept(3, &frames4(&packet, 600)[0], now).expect("room is made");
        assert!(reassembler.waiting() <= MAX_DATAGRAMS && reassembler.held_bytes() <= MAX_BYTES);
    }
    assert_eq!(reassembler.waiting(), MAX_DATAGRAMS);
}

#[test]
fn what_does_not_fit_the_way_back_is_refused() {
    let now = Instant::now();
    let mut reassembler = Reassembler::default();
    let frames = frames4(&packet4(1, 20, &payload(4000)), 1500);
    let results: Vec<_> = frames.iter().map(|frame| reassembler.accept(3, frame, now)).collect();
    assert_eq!(results.last(), Some(&Err(Refusal::TooLarge)));
    assert!(results.iter().all(|result| !matches!(result, Ok(Some(_)))));
}

proptest! {
    #[test]
    fn a_packet_fragmented_and_put_together_is_the_same(
        length in 1usize..3300, mtu in 68usize..1500, seed in any::<u64>(), options in 0usize..=10,
    ) {
        let mut packet = packet4(seed as u16, 20, &payload(length));
        packet[0] = 0x45 + options as u8;
        packet.splice(20..20, std::iter::repeat_n(1, 4 * options));
        let total = packet.len() as u16;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        write_checksum(&mut packet[..20 + 4 * options]);
        prop_assume!(mtu >= 20 + 4 * options + 8 && packet.len() > mtu && packet.len() <= MAX_FRAME - 14);
        let mut frames = frames4(&packet, mtu);
        for (index, frame) in frames.iter().enumerate() {
            let ip = &frame[14..];
            prop_assert!(ip.len() <= mtu, "fragment {} has {} bytes", index, ip.len());
            prop_assert_eq!(checksum::finish(checksum::sum(&ip[..usize::from(ip[0] & 0xf) * 4])), 0);
        }
        let count = frames.len();
        for index in 0..count {
            frames.swap(index, (seed as usize).wrapping_mul(index + 1) % count);
        }
        let mut reassembler = Reassembler::default();
        let now = Instant::now();
        let mut whole = None;
        for frame in &frames {
            whole = reassembler.accept(3, frame, now).expect("good fragments");
        }
        prop_assert_eq!(whole, Some(frame4(&packet)));
    }

    #[test]
    fn no_bytes_break_the_reassembler(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        exercise(&bytes);
    }

    /// Random bytes seldom look like fragments: these always do.
    #[test]
    fn no_fragments_break_the_reassembler(
        parts in prop::collection::vec((0u8..3, 0u16..4, 0u16..440, any::<bool>(), 0usize..600, any::<bool>()), 0..60),
    ) {
        let mut bytes = Vec::new();
        for (source, identification, offset, more, length, six) in parts {
            let frame = if six {
                fragment6(u32::from(identification), offset * 8, more, source, &payload(length))
            } else {
                let mut packet = packet4(identification, source, &payload(length));
                packet[6..8].copy_from_slice(&(offset | u16::from(more) << 13).to_be_bytes());
                frame4(&packet)
            };
            bytes.extend((frame.len() as u16).to_be_bytes());
            bytes.extend(frame);
        }
        exercise(&bytes);
    }
}
