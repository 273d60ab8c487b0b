//! Single values of a tenant's BGP.

use super::super::values::{Complaint, as_text, quoted, ranged};
use bgp::number::{Asn, RouterId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use zeroize::Zeroizing;

/// An autonomous system's number that a router may have: written as a number, or as a text, plain or as asdot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AsNumber(Asn);

impl AsNumber {
    /// The number.
    pub const fn get(self) -> Asn {
        self.0
    }
}

impl TryFrom<i64> for AsNumber {
    type Error = Complaint;

    fn try_from(number: i64) -> Result<Self, Complaint> {
        match u32::try_from(number).map(Asn) {
            Ok(asn) if asn.is_usable() => Ok(Self(asn)),
            _ => Err(Complaint::new(
                format!("{number} cannot be a router's AS number"),
                "write 1 to 4294967294; 0, 23456, 65535 and 4294967295 are set aside (RFC 7607, RFC 6793, RFC 7300)",
            )),
        }
    }
}

impl FromStr for AsNumber {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let asn: Asn = text.parse().map_err(|_| {
            Complaint::new(
                format!("{} is no AS number", quoted(text)),
                "write it plain, such as 64512, or as asdot in quotes, such as \"1.10\"",
            )
        })?;
        i64::from(asn.0).try_into()
    }
}

impl fmt::Display for AsNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for AsNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0.0)
    }
}

impl<'de> Deserialize<'de> for AsNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(i64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => number.try_into(),
            Form::Text(text) => text.parse(),
        }
        .map_err(serde::de::Error::custom)
    }
}

/// A BGP or cluster identifier: any but 0, written like an IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identifier(RouterId);

impl Identifier {
    /// The identifier.
    pub const fn get(self) -> RouterId {
        self.0
    }
}

impl FromStr for Identifier {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        match text.parse::<Ipv4Addr>() {
            Ok(address) if !address.is_unspecified() => Ok(Self(RouterId(address))),
            _ => Err(Complaint::new(
                format!("{} is no BGP identifier", quoted(text)),
                "write it like an IPv4 address other than 0.0.0.0, such as \"10.1.255.1\" (RFC 6286)",
            )),
        }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

as_text!(Identifier);

ranged!(
    /// A number of hops.
    Hops(u8) in 1..=254,
    "a number of hops of",
    "write how many routers away the peer may be; 1 is a peer on the link"
);

ranged!(
    /// How many equally good paths share the flows.
    Multipath(u8) in 1..=16,
    "a number of paths of",
    "flows are spread over 16 at most; 1 is the best path alone"
);

ranged!(
    /// A time of graceful restart, in seconds; RFC 4724 has 12 bits for it.
    RestartTime(u16) in 0..=4095,
    "a restart time of",
    "write seconds; 0 is no graceful restart (RFC 4724)"
);

ranged!(
    /// How long routes may be kept as long-lived stale ones, in seconds; RFC 9494 has 24 bits for it.
    StaleTime(u32) in 1..=16_777_215,
    "a stale time of",
    "write seconds, or leave it out for none (RFC 9494)"
);

ranged!(
    /// A time in milliseconds.
    Milliseconds(u32) in 1..=86_400_000,
    "a time of",
    "write milliseconds, a day at most"
);

ranged!(
    /// A part of a hundred.
    Percent(u8) in 1..=100,
    "a percentage of",
    "write 1 to 100"
);

/// How long a session may be silent: 0 for ever, else whole seconds from 3 (RFC 4271 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct HoldTime(u16);

impl HoldTime {
    /// In seconds.
    pub const fn seconds(self) -> u16 {
        self.0
    }
}

impl Default for HoldTime {
    /// RFC 4271 section 10.
    fn default() -> Self {
        Self(90)
    }
}

impl TryFrom<i64> for HoldTime {
    type Error = Complaint;

    fn try_from(number: i64) -> Result<Self, Complaint> {
        match u16::try_from(number / 1000) {
            Ok(seconds) if number >= 0 && number % 1000 == 0 && (seconds == 0 || seconds >= 3) => Ok(Self(seconds)),
            _ => Err(Complaint::new(
                format!("a hold time of {number} ms cannot be agreed on"),
                "write whole seconds from 3000 to 65535000, or 0 for none (RFC 4271); BFD notices more quickly",
            )),
        }
    }
}

impl From<HoldTime> for i64 {
    fn from(time: HoldTime) -> Self {
        Self::from(time.0) * 1000
    }
}

/// A session's TCP-MD5 password (RFC 2385). Nothing shows it; only the plan itself carries it, to whoever has to use it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Password(Zeroizing<String>);

impl Password {
    /// What the kernel takes, in bytes.
    pub const MAX_LEN: usize = 80;

    /// The text itself, for whoever has to use it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Password {
    type Error = Complaint;

    fn try_from(text: String) -> Result<Self, Complaint> {
        let text = Zeroizing::new(text);
        if (1..=Self::MAX_LEN).contains(&text.len()) && !text.contains('\0') {
            return Ok(Self(text));
        }
        Err(Complaint::new(
            format!("a password of {} bytes cannot be used for TCP-MD5", text.len()),
            format!("write 1 to {} bytes, the same as at the peer; leave it out for none", Self::MAX_LEN),
        ))
    }
}

impl FromStr for Password {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        text.to_owned().try_into()
    }
}

/// A plan has to reach its gateway.
impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_shown_by_nothing_but_the_plan_itself() {
        let password: Password = "correct horse".parse().expect("good");
        assert_eq!(format!("{password:?} {:#?}", Some(&password)).matches("horse").count(), 0);
        assert_eq!(serde_json::to_string(&password).expect("text"), "\"correct horse\"");
        let refused = "x".repeat(81).parse::<Password>().expect_err("too long").to_string();
        assert!(!refused.contains("xxx"), "{refused}");
    }

    #[test]
    fn an_as_number_is_read_as_number_and_as_text() {
        for (text, number) in [("64512", 64512), ("\"64512\"", 64512), ("\"1.10\"", 65546)] {
            assert_eq!(serde_json::from_str::<AsNumber>(text).expect(text).get(), Asn(number));
        }
        for text in ["0", "23456", "65535", "4294967295", "4294967296", "\"0.0\"", "\"AS1\"", "-1"] {
            assert!(serde_json::from_str::<AsNumber>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_hold_time_is_none_or_three_seconds_and_more() {
        for good in [0, 3000, 90_000, 65_535_000] {
            assert_eq!(i64::from(HoldTime::try_from(good).expect("good")), good);
        }
        for bad in [-1000, 1, 1000, 2000, 3500, 65_536_000] {
            assert!(HoldTime::try_from(bad).is_err(), "{bad}");
        }
    }
}
