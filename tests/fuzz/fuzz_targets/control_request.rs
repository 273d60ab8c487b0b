//! A line on the control socket: what is understood is written back as a line that says the same.
#![no_main]

use gateway_user::api::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = serde_json::from_slice::<Request>(bytes) {
        let line = serde_json::to_string(&request).expect("a request can be written");
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Request>(&line).expect("and read again"), request);
    }
});
