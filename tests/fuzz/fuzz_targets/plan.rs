//! A plan file: it is taken or refused with a reason, and what is refused names a place.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(problems) = gateway_user::plan::parse(text, "plan.toml") {
        assert!(!problems.to_string().is_empty());
    }
});
