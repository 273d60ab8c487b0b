//! SipHash-2-4 (Aumasson, Bernstein 2012): a keyed tag over short messages of whole words. Small enough for a program in the kernel.

/// A key of 128 bits.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Key(pub [u64; 2]);

impl core::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Key(…)")
    }
}

/// The tag of a message of `WORDS` words of eight bytes, each read as SipHash does: the lowest byte first.
#[inline(always)]
pub const fn tag<const WORDS: usize>(key: Key, message: [u64; WORDS]) -> u64 {
    let mut state = State::new(key);
    let mut at = 0;
    while at < WORDS {
        state = state.take(message[at]);
        at += 1;
    }
    state.take(((WORDS as u64 * 8) & 0xff) << 56).finish()
}

#[derive(Clone, Copy)]
struct State {
    a: u64,
    b: u64,
    c: u64,
    d: u64,
}

impl State {
    #[inline(always)]
    const fn new(Key([low, high]): Key) -> Self {
        Self {
            a: low ^ 0x736f_6d65_7073_6575,
            b: high ^ 0x646f_7261_6e64_6f6d,
            c: low ^ 0x6c79_6765_6e65_7261,
            d: high ^ 0x7465_6462_7974_6573,
        }
    }

    #[inline(always)]
    const fn take(mut self, word: u64) -> Self {
        self.d ^= word;
        self = self.round().round();
        self.a ^= word;
        self
    }

    #[inline(always)]
    const fn finish(mut self) -> u64 {
        self.c ^= 0xff;
        let Self { a, b, c, d } = self.round().round().round().round();
        a ^ b ^ c ^ d
    }

    #[inline(always)]
    const fn round(self) -> Self {
        let Self { mut a, mut b, mut c, mut d } = self;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        Self { a, b, c, d }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of the vectors in the authors' paper and reference: bytes 0 to 15.
    const KEY: Key = Key([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);

    #[test]
    fn tags_are_those_of_the_published_vectors() {
        assert_eq!(tag(KEY, []), 0x726f_db47_dd0e_0e31);
        assert_eq!(tag(KEY, [0x0706_0504_0302_0100]), 0x93f5_f579_9a93_2462);
        assert_eq!(tag(KEY, [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]), 0x3f2a_cc7f_57c2_9bdb);
    }

    #[test]
    fn a_key_is_never_shown() {
        extern crate std;
        assert_eq!(std::format!("{KEY:?}"), "Key(…)");
    }
}
