//! Cutting an inner IPv4 packet without DF into pieces that the next hop takes (RFC 791 section 3.2).

use gateway_common::checksum;

const HEADER: usize = 20;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// An option with this bit set stands in every fragment.
const COPIED: u8 = 0x80;

/// Why a packet is not cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Not an IPv4 packet, or cut short.
    #[error("malformed packet")]
    Malformed,
    /// It says so itself.
    #[error("the packet must not be fragmented")]
    DontFragment,
    /// Not even eight bytes fit behind the header.
    #[error("the MTU is too small for any fragment")]
    TooSmall,
}

/// The packet in pieces of at most `mtu` bytes; as it is if it fits. A packet that is a fragment itself is cut further.
pub fn fragment(packet: &[u8], mtu: usize) -> Result<Vec<Vec<u8>>, Refusal> {
    let (header, payload, field) = parse(packet).ok_or(Refusal::Malformed)?;
    if header.len() + payload.len() <= mtu {
        return Ok(vec![packet[..header.len() + payload.len()].to_vec()]);
    }
    if field & DONT_FRAGMENT != 0 {
        return Err(Refusal::DontFragment);
    }
    let later_header = copied_options(header);
    let start = field & OFFSET;
    let mut pieces = Vec::new();
    let mut done = 0;
    while done < payload.len() {
        let header = if done == 0 { header } else { &later_header };
        let room = mtu.saturating_sub(header.len()) / 8 * 8;
        if room == 0 {
            return Err(Refusal::TooSmall);
        }
        // The last piece need not be a multiple of eight.
        let left = payload.len() - done;
        let take = if header.len() + left <= mtu { left } else { room };
        let offset = usize::from(start) + done / 8;
        if offset > usize::from(OFFSET) {
            return Err(Refusal::Malformed);
        }
        let more = if done + take < payload.len() { MORE_FRAGMENTS } else { field & MORE_FRAGMENTS };
        let mut piece = Vec::with_capacity(header.len() + take);
        piece.extend_from_slice(header);
        piece.extend_from_slice(&payload[done..done + take]);
        let total = piece.len() as u16;
        piece[2..4].copy_from_slice(&total.to_be_bytes());
        piece[6..8].copy_from_slice(&(offset as u16 | more).to_be_bytes());
        write_checksum(&mut piece[..header.len()]);
        pieces.push(piece);
        done += take;
    }
    Ok(pieces)
}

/// Header with options, payload, and the field of flags and offset.
fn parse(packet: &[u8]) -> Option<(&[u8], &[u8], u16)> {
    let first = *packet.first()?;
    let header_length = usize::from(first & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    if first >> 4 != 4 || header_length < HEADER {
        return None;
    }
    let field = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]);
    Some((packet.get(..header_length)?, packet.get(header_length..total)?, field))
}

/// The header as later fragments have it: with those options only that are to be copied, padded to four bytes.
fn copied_options(header: &[u8]) -> Vec<u8> {
    let mut copied = header[..HEADER].to_vec();
    let mut options = &header[HEADER..];
    loop {
        let length = match *options {
            [] | [0, ..] => break,
            [1, ..] => 1,
            // A length that makes no sense ends the options: the first fragment has them all the same.
            [_, length, ..] if length >= 2 && usize::from(length) <= options.len() => usize::from(length),
            _ => break,
        };
        if options[0] & COPIED != 0 {
            copied.extend_from_slice(&options[..length]);
        }
        options = &options[length..];
    }
    copied.resize(copied.len().next_multiple_of(4), 0);
    copied[0] = 0x40 | (copied.len() / 4) as u8;
    copied
}

/// Sets the checksum of an IPv4 header.
pub fn write_checksum(header: &mut [u8]) {
    header[10..12].copy_from_slice(&[0, 0]);
    let check = checksum::finish(checksum::sum(header));
    header[10..12].copy_from_slice(&check.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(options: &[u8], field: u16, payload: usize) -> Vec<u8> {
        let header_length = HEADER + options.len();
        let mut packet = vec![0u8; header_length];
        packet[0] = 0x40 | (header_length / 4) as u8;
        packet[2..4].copy_from_slice(&((header_length + payload) as u16).to_be_bytes());
        packet[6..8].copy_from_slice(&field.to_be_bytes());
        packet[HEADER..].copy_from_slice(options);
        write_checksum(&mut packet);
        packet.extend((0..payload).map(|index| index as u8));
        packet
    }

    #[test]
    fn a_packet_that_fits_is_left_alone() {
        let packet = packet(&[], DONT_FRAGMENT, 100);
        assert_eq!(fragment(&packet, 120), Ok(vec![packet.clone()]));
        assert_eq!(fragment(&packet, 119), Err(Refusal::DontFragment));
    }

    #[test]
    fn a_fragment_is_cut_further_and_keeps_its_place() {
        let pieces = fragment(&packet(&[], MORE_FRAGMENTS | 100, 64), 60).expect("no DF");
        let fields: Vec<u16> = pieces.iter().map(|piece| u16::from_be_bytes([piece[6], piece[7]])).collect();
        assert_eq!(fields, [MORE_FRAGMENTS | 100, MORE_FRAGMENTS | 105]);
        let last = fragment(&packet(&[], 100, 64), 60).expect("no DF");
        assert_eq!(u16::from_be_bytes([last[1][6], last[1][7]]), 105);
    }

    /// RFC 791 section 3.1: the copied flag.
    #[test]
    fn later_fragments_have_only_the_options_that_are_copied() {
        // Record route (not copied), router alert (copied), end of options.
        let options = [7, 3, 4, 148, 4, 0, 0, 0];
        let pieces = fragment(&packet(&options, 0, 100), 68).expect("no DF");
        assert_eq!(pieces[0][HEADER..28], options);
        for piece in &pieces[1..] {
            assert_eq!(piece[0], 0x46);
            assert_eq!(piece[HEADER..24], [148, 4, 0, 0]);
            assert_eq!(checksum::finish(checksum::sum(&piece[..24])), 0);
        }
    }

    #[test]
    fn an_mtu_without_room_for_a_payload_is_refused() {
        assert_eq!(fragment(&packet(&[], 0, 100), 27), Err(Refusal::TooSmall));
        assert_eq!(fragment(&packet(&[1; 40], 0, 100), 60), Err(Refusal::TooSmall));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(mut bytes in prop::collection::vec(any::<u8>(), 0..300), mtu in 0usize..200, plausible in any::<bool>()) {
            if let Some(first) = bytes.first_mut().filter(|_| plausible) {
                *first = 0x40 | (*first & 0xf);
            }
            if plausible && bytes.len() > 7 {
                bytes[2] = 0;
                bytes[6] &= 0x3f;
            }
            if let Ok(pieces) = fragment(&bytes, mtu) {
                prop_assert!(pieces.iter().all(|piece| piece.len() <= mtu));
            }
        }
    }
}
