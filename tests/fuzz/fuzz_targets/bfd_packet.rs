//! A BFD control packet: what is read can be written and is read again as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| bfd::packet::exercise(bytes));
