//! What agents and controllers tell each other: what is understood is written back as the same, and a stream of events is cut anywhere.
#![no_main]

use gateway_user::agent::events::Decoder;
use gateway_user::agent::protocol::{Enrolment, Heartbeat, Hello, PlanEvent, Report};
use gateway_user::agent::token::Token;
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

fn read_again<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let message: T = serde_json::from_slice(bytes).ok()?;
    let text = serde_json::to_string(&message).expect("a message can be written");
    assert_eq!(serde_json::from_str::<T>(&text).expect("and read again"), message);
    Some(message)
}

fuzz_target!(|bytes: &[u8]| {
    read_again::<Report>(bytes);
    read_again::<Heartbeat>(bytes);
    read_again::<Hello>(bytes);
    read_again::<Enrolment>(bytes);
    if let Some(event) = read_again::<PlanEvent>(bytes) {
        let sum: usize = event.split(16).iter().map(|part| part.set.len()).sum();
        assert_eq!(sum, event.set.len());
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(token) = text.parse::<Token>()
    {
        assert!(token.claims().is_some());
    }
    let decode = |pieces: &[&[u8]]| {
        let mut decoder = Decoder::new(1 << 20);
        let mut events = Vec::new();
        for piece in pieces {
            if decoder.push(piece).is_err() {
                break;
            }
            while let Ok(Some(event)) = decoder.event() {
                events.push(event);
            }
        }
        events
    };
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert_eq!(decode(&[bytes]), decode(&[first, second]));
});
