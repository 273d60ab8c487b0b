//! A traced frame: it is told as far as it goes, whatever it holds.
#![no_main]

use gateway_user::api::dissect;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let view = dissect::frame(bytes);
    if let Some(inner) = view.inner {
        let _ = (inner.summary(), inner.transport(), inner.identity());
    }
});
