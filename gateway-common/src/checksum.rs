//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! Sums are kept unfolded in a `u32` or `u64` and in the byte order of the wire: one's complement addition gives the same
//! bytes in either order (RFC 1071 section 1.2 B), so words go in as they are loaded and the result goes out as it is.

/// Folds a sum to 16 bits. Both halves are added at once by adding the sum to itself rotated: the upper half of that is the result, with
/// the lower half's carry already in it.
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    !finish32(((sum & 0xffff_ffff) + (sum >> 32)) as u32)
}

/// [`finish`] for a sum of a few words.
#[inline(always)]
pub const fn finish32(sum: u32) -> u16 {
    !(sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// Whether a sum that includes the checksum field is right: all ones, folded (and so a multiple of ffff). Not for a sum of nothing but zeros.
#[inline(always)]
pub const fn is_right(sum: u64) -> bool {
    // The inverse of ffff modulo 2^64 takes its multiples, and only those, to 0, 1, 2 and so on.
    const MOST: u64 = u64::MAX / 0xffff;
    sum.wrapping_mul(MOST.wrapping_neg()) <= MOST
}

/// The checksum field for a sum: its complement.
#[inline(always)]
pub const fn finish(sum: u64) -> u16 {
    !fold(sum)
}

/// The new checksum field after a 16-bit word under it changed (RFC 1624 equation 3). All in wire order.
#[inline(always)]
pub const fn replace16(check: u16, old: u16, new: u16) -> u16 {
    !fold(!check as u64 + !old as u64 + new as u64)
}

/// The new checksum field after a 32-bit word under it changed.
#[inline(always)]
pub const fn replace32(check: u16, old: u32, new: u32) -> u16 {
    !fold(!check as u64 + !old as u64 + new as u64)
}

/// The new checksum field and the new word where one was taken off the lower byte of a 16-bit word that stands right before the field, as a
/// TTL does: both in one 32-bit word in wire order, which is loaded little endian. The byte is not zero.
#[inline(always)]
pub const fn decrement_before(word_and_check: u32) -> u32 {
    // One less in the word is one more in the field, around the end.
    let next = word_and_check as u64 + 0xffff;
    (next + (next >> 32 << 16)) as u32
}

/// The sum over `bytes`; an odd last byte counts as the first of its word (RFC 1071).
pub fn sum(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(2);
    let mut total: u64 = words.by_ref().map(|word| u64::from(u16::from_ne_bytes([word[0], word[1]]))).sum();
    if let [last] = words.remainder() {
        total += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_rfc_1071_example_sums_to_ddf2() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)), u16::from_ne_bytes([0xdd, 0xf2]));
        assert_eq!(finish(sum(&bytes)), !u16::from_ne_bytes([0xdd, 0xf2]));
    }

    #[test]
    fn an_odd_byte_is_padded_behind() {
        assert_eq!(sum(&[0x12]), sum(&[0x12, 0]));
        assert_ne!(sum(&[0x12]), sum(&[0, 0x12]));
    }

    #[test]
    fn folding_takes_every_carry() {
        assert_eq!(fold(u64::MAX), 0xffff);
        assert_eq!(fold(0x1_0000), 1);
        assert_eq!(fold(0x1_0000_0000), 1);
        // The one kind of sum whose carry only the last step takes in.
        assert_eq!(fold(0x0001_0000_ffff_ffff), 1);
        assert_eq!(fold(0xffff_ffff_0001), fold(0xffff + 0xffff + 0xffff + 1));
    }

    /// The plainest way: carry by carry.
    fn folded_slowly(mut sum: u64) -> u16 {
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    proptest! {
        #[test]
        fn taking_one_off_a_lifetime_is_an_incremental_update(lifetime in 1..=255u8, protocol: u8, check: u16) {
            let old = u16::from_le_bytes([lifetime, protocol]);
            let new = decrement_before(u32::from(old) | u32::from(check) << 16);
            prop_assert_eq!(new as u16, old - 1);
            // 0 and ffff are the same number; which of the two stands there says nothing.
            let expected = replace16(check, old, old - 1);
            prop_assert_eq!((new >> 16) % 0xffff, u32::from(expected) % 0xffff);
        }

        #[test]
        fn folding_equals_carrying_one_by_one(sum: u64) {
            prop_assert_eq!(fold(sum), folded_slowly(sum));
            prop_assert_eq!(fold(sum >> 31), folded_slowly(sum >> 31));
            prop_assert_eq!(finish32(sum as u32), !folded_slowly(sum & 0xffff_ffff));
            let sum = sum.max(1);
            prop_assert_eq!(is_right(sum), folded_slowly(sum) == 0xffff);
            prop_assert!(is_right((sum >> 16 | 1) * 0xffff));
        }

        #[test]
        fn an_incremental_update_equals_a_new_sum(mut bytes in proptest::collection::vec(any::<u8>(), 20), new16: u16, new32: u32) {
            let check = finish(sum(&bytes));
            let old16 = u16::from_ne_bytes([bytes[4], bytes[5]]);
            let old32 = u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
            bytes[4..6].copy_from_slice(&new16.to_ne_bytes());
            let after16 = replace16(check, old16, new16);
            // +0 and -0 are the same sum.
            prop_assert_eq!(fold(sum(&bytes) + u64::from(after16)), 0xffff);
            bytes[8..12].copy_from_slice(&new32.to_ne_bytes());
            let after32 = replace32(after16, old32, new32);
            prop_assert_eq!(fold(sum(&bytes) + u64::from(after32)), 0xffff);
        }
    }
}
