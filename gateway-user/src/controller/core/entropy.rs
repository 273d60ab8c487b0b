//! GUIDs out of a step's random bits.

/// A generator that is seeded anew in every step (xorshift128+, by Vigna). What it makes need not be secret, only different.
#[derive(Clone, Debug)]
pub struct Entropy(u64, u64);

impl Entropy {
    /// From a step's random bits.
    pub fn new(seed: u128) -> Self {
        // All zero is the one state that it never leaves.
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        Self((seed >> 64) as u64 | 1, seed as u64)
    }

    fn next(&mut self) -> u64 {
        let (mut one, other) = (self.0, self.1);
        self.0 = other;
        one ^= one << 23;
        self.1 = one ^ other ^ (one >> 18) ^ (other >> 5);
        self.1.wrapping_add(other)
    }

    /// A GUID of version 4 (RFC 9562, section 5.4).
    pub fn guid(&mut self) -> String {
        let bits = (u128::from(self.next()) << 64) | u128::from(self.next());
        let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn guids_differ_and_have_their_form() {
        let mut guids = HashSet::new();
        for seed in 0..100 {
            let mut entropy = Entropy::new(seed * 0x1_0000_0001);
            guids.extend((0..100).map(|_| entropy.guid()));
        }
        assert!(guids.len() > 9_900, "{}", guids.len());
        for guid in guids {
            assert_eq!((guid.len(), &guid[14..15], &guid[8..9]), (36, "4", "-"), "{guid}");
            assert!(matches!(&guid[19..20], "8" | "9" | "a" | "b"), "{guid}");
        }
    }
}
