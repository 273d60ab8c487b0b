//! A TCP header's options: what is found is an MSS option, and lies within them.
#![no_main]

use gateway_common::mss::{self, OPTIONS_ROOM};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut options = [0; OPTIONS_ROOM];
    let taken = bytes.len().min(OPTIONS_ROOM);
    options[..taken].copy_from_slice(&bytes[..taken]);
    if let Some(found) = mss::find(&options, bytes.len()) {
        assert!(found.offset + 2 <= taken);
        assert_eq!(options[found.offset - 2..found.offset], [2, 4]);
        assert_eq!(found.value.to_be_bytes(), options[found.offset..found.offset + 2]);
    }
});
