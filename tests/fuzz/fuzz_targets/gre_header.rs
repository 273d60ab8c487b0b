//! GRE's first two bytes: fields stand where RFC 2784 and RFC 2890 put them, and NVGRE is one of the valid forms.
#![no_main]

use gateway_common::wire::{GreFlags, is_nvgre};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: [u8; 2]| {
    let flags = GreFlags(u16::from_be_bytes(bytes));
    let fields = [flags.has_checksum(), flags.has_key(), flags.has_sequence()];
    assert_eq!(flags.header_len(), 4 + 4 * fields.iter().filter(|&&present| present).count());
    if flags.has_key() {
        assert!(flags.key_offset() + 4 <= flags.header_len());
    }
    if is_nvgre(flags) {
        assert!(flags.is_valid() && flags.header_len() == 8);
    }
});
