//! A key file and a sealed secret: nothing but what was sealed opens.
#![no_main]

use gateway_user::controller::store::seal::{Keys, Sealed};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// A key file as the controller writes it; the key is of all zeros.
static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let id = include_str!("../corpus/sealed/id").trim();
    Keys::parse(&format!("aes-256-gcm {id} {}", "0".repeat(64))).expect("a key file")
});

fuzz_target!(|text: &str| {
    if let Ok(keys) = Keys::parse(text) {
        assert!(!keys.id().is_empty());
    }
    assert!(KEYS.open("place", &Sealed::from_text(text)).is_err());
});
