//! A probe: what is believed is written again as the same bytes, and nothing is believed under another key.
#![no_main]

use gateway_common::probe::{LEN, Probe};
use gateway_common::siphash::Key;
use libfuzzer_sys::fuzz_target;

const KEY: Key = Key([1, 2]);

fuzz_target!(|bytes: &[u8]| {
    if let Some(probe) = Probe::read(bytes, |_| Some(KEY)) {
        assert_eq!(probe.to_bytes(KEY), bytes[..LEN]);
        assert_eq!(Probe::read(bytes, |_| Some(Key([2, 1]))), None);
    }
});
