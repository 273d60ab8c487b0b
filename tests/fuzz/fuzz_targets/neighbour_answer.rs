//! What a neighbour answers on a tenant's VLAN.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| gateway_user::net::link_frames::exercise(bytes));
