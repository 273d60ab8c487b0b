//! A letter between gateways of a pool: what nobody sealed is not opened, what was sealed says what it said.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| gateway_user::sentinel::letters::exercise(bytes));
