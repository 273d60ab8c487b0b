//! An IPv4 header's options: a list that a plain reader finds source routing in, or cannot read to its end, is refused.
#![no_main]

use gateway_common::wire::{IPV4_OPTIONS_MAX, IPV4_OPTIONS_ROOM, has_source_route};
use libfuzzer_sys::fuzz_target;

/// The same question, asked without the verifier's bounds.
fn plainly(mut options: &[u8]) -> bool {
    loop {
        match options {
            [] | [0, ..] => return false,
            [1, rest @ ..] => options = rest,
            [131 | 137, ..] => return true,
            [_, size, ..] if (2..=options.len()).contains(&usize::from(*size)) => {
                options = &options[usize::from(*size)..]
            }
            _ => return true,
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut options = [0; IPV4_OPTIONS_ROOM];
    let taken = bytes.len().min(IPV4_OPTIONS_MAX);
    options[..taken].copy_from_slice(&bytes[..taken]);
    assert_eq!(has_source_route(&options, bytes.len()), plainly(&options[..taken]));
});
