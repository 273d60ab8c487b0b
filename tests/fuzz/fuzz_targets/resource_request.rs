//! A PUT of the northbound interface: the first line is its path, the rest its body. What is taken is canonical, and is written as it is read.
#![no_main]

use gateway_user::controller::resources::{Kind, Location, Path, Seal, normalise, parse_body};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

struct Open;

impl Seal for Open {
    fn seal(&self, _: &str, secret: &str) -> String {
        secret.to_owned()
    }
}

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (path, body) = bytes.split_at(end);
    let location = Location::parse(&String::from_utf8_lossy(path));
    let kind = match &location {
        Ok(Location::Resource(path)) => {
            assert_eq!(Path::parse(&path.to_string()).as_ref(), Ok(path));
            path.kind()
        }
        _ => Kind::VirtualGateway,
    };
    let Ok(body) = parse_body(body) else { return };
    if let Ok(canonical) = normalise(kind, &body, "place", &Open) {
        let canonical = Value::Object(canonical);
        assert_eq!(normalise(kind, &canonical, "place", &Open).map(Value::Object), Ok(canonical));
    }
});
