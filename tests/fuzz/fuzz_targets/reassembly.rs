//! A sequence of outer fragments: what is held stays within its bounds, and so does what comes out.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| gateway_user::gateway::reassembly::exercise(bytes));
