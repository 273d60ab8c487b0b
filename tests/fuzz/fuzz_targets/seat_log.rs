//! What gateways tell each other of their seats: what is read can be written and is read again as it was, and a stream is cut anywhere.
#![no_main]

use gateway_user::gateway::seat_log::message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| message::exercise(bytes));
