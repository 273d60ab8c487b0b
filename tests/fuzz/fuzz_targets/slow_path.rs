//! A frame on the slow path: what goes back names the context it came with.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| gateway_user::gateway::slowpath::exercise(bytes));
