//! The TCP maximum segment size option (RFC 9293 section 3.7.1), found within the bounds of a TCP header.

/// Bytes of options that a TCP header has room for.
pub const OPTIONS_MAX: usize = 40;
/// Bytes of the buffer that holds them: more, since the verifier does not see that an option's last bytes stay within the first 40.
pub const OPTIONS_ROOM: usize = 48;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;

/// An MSS option that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mss {
    /// Where its two value bytes start, from the start of the options.
    pub offset: usize,
    /// Its value, in bytes.
    pub value: u16,
}

/// Finds the MSS option in the first `len` bytes of `options`; `None` if there is none or the options are malformed before it.
#[inline(always)]
pub fn find(options: &[u8; OPTIONS_ROOM], len: usize) -> Option<Mss> {
    let len = if len > OPTIONS_MAX { OPTIONS_MAX } else { len };
    let mut at = 0;
    // Every turn moves on by a byte at least; the bound is for the verifier.
    for _ in 0..OPTIONS_MAX {
        if at >= len || at >= OPTIONS_MAX {
            return None;
        }
        match options[at] {
            END => return None,
            NO_OPERATION => at += 1,
            kind => {
                if at + 2 > len || at + 1 >= OPTIONS_MAX {
                    return None;
                }
                let size = options[at + 1] as usize;
                if !(2..=OPTIONS_MAX).contains(&size) {
                    return None;
                }
                if kind == MAXIMUM_SEGMENT_SIZE {
                    if size != 4 || at + 4 > len || at + 3 >= OPTIONS_MAX {
                        return None;
                    }
                    let value = u16::from_be_bytes([options[at + 2], options[at + 3]]);
                    return Some(Mss { offset: at + 2, value });
                }
                at += size;
            }
        }
    }
    None
}

/// The segment size that fits an inner packet of `mtu` bytes whose IP header without options has `header` bytes (RFC 6691).
pub const fn for_mtu(mtu: u32, header: u32) -> u16 {
    let room = mtu.saturating_sub(header + 20);
    if room > u16::MAX as u32 { u16::MAX } else { room as u16 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(bytes: &[u8]) -> [u8; OPTIONS_ROOM] {
        let mut room = [0; OPTIONS_ROOM];
        room[..bytes.len()].copy_from_slice(bytes);
        room
    }

    #[test]
    fn the_option_is_found_wherever_it_stands() {
        assert_eq!(find(&options(&[2, 4, 0x05, 0xb4]), 4), Some(Mss { offset: 2, value: 1460 }));
        assert_eq!(find(&options(&[1, 1, 4, 2, 2, 4, 2, 3]), 8), Some(Mss { offset: 6, value: 515 }));
        let mut last = [1; OPTIONS_ROOM];
        last[36..40].copy_from_slice(&[2, 4, 1, 0]);
        assert_eq!(find(&last, 40), Some(Mss { offset: 38, value: 256 }));
        assert_eq!(find(&last, 400), Some(Mss { offset: 38, value: 256 }));
    }

    #[test]
    fn malformed_or_ended_options_hold_none() {
        for bytes in [
            &[0, 2, 4, 5, 6][..],
            &[2, 3, 5, 6],
            &[2, 5, 5, 6, 7],
            &[3, 0, 2, 4, 5, 6],
            &[3, 1, 2, 4, 5, 6],
            &[3, 41, 2, 4],
            &[3, 40, 2, 4],
            &[2],
            &[2, 4, 5],
            &[],
        ] {
            assert_eq!(find(&options(bytes), bytes.len()), None, "{bytes:?}");
        }
        assert_eq!(find(&[1; OPTIONS_ROOM], 40), None);
        let mut cut = [1; OPTIONS_ROOM];
        cut[37..40].copy_from_slice(&[2, 4, 1]);
        assert_eq!(find(&cut, 40), None);
        cut[37] = 1;
        cut[39] = 2;
        assert_eq!(find(&cut, 40), None);
    }

    #[test]
    fn a_segment_fits_its_packet() {
        assert_eq!(for_mtu(1500, 20), 1460);
        assert_eq!(for_mtu(1500, 40), 1440);
        assert_eq!(for_mtu(30, 20), 0);
        assert_eq!(for_mtu(100_000, 20), u16::MAX);
    }

    proptest! {
        #[test]
        fn arbitrary_options_give_an_offset_within_bounds(options: [u8; OPTIONS_ROOM], len in 0usize..80) {
            if let Some(mss) = find(&options, len) {
                prop_assert!(mss.offset + 2 <= len.min(OPTIONS_MAX));
                prop_assert_eq!(&options[mss.offset - 2..mss.offset], &[2, 4]);
            }
        }
    }
}
