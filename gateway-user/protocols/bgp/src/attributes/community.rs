//! Communities: standard (RFC 1997), extended (RFC 4360), large (RFC 8092).

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use thiserror::Error;

/// A text that is no community of the kind asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is no {kind}: write {form}")]
pub struct NoCommunity {
    text: String,
    kind: &'static str,
    form: &'static str,
}

/// A community of four octets, written `65001:100`, as one number, or by its well-known name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl Community {
    /// GRACEFUL_SHUTDOWN (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xffff_0000);
    /// LLGR_STALE (RFC 9494).
    pub const LLGR_STALE: Self = Self(0xffff_0006);
    /// NO_LLGR (RFC 9494).
    pub const NO_LLGR: Self = Self(0xffff_0007);
    /// BLACKHOLE (RFC 7999).
    pub const BLACKHOLE: Self = Self(0xffff_029a);
    /// NO_EXPORT (RFC 1997).
    pub const NO_EXPORT: Self = Self(0xffff_ff01);
    /// NO_ADVERTISE (RFC 1997).
    pub const NO_ADVERTISE: Self = Self(0xffff_ff02);
    /// NO_EXPORT_SUBCONFED (RFC 1997).
    pub const NO_EXPORT_SUBCONFED: Self = Self(0xffff_ff03);
    /// NOPEER (RFC 3765).
    pub const NO_PEER: Self = Self(0xffff_ff04);

    const NAMES: [(&'static str, Self); 10] = [
        ("internet", Self(0)),
        ("graceful-shutdown", Self::GRACEFUL_SHUTDOWN),
        ("llgr-stale", Self::LLGR_STALE),
        ("no-llgr", Self::NO_LLGR),
        ("blackhole", Self::BLACKHOLE),
        ("no-export", Self::NO_EXPORT),
        ("no-advertise", Self::NO_ADVERTISE),
        ("no-export-subconfed", Self::NO_EXPORT_SUBCONFED),
        ("local-as", Self::NO_EXPORT_SUBCONFED),
        ("no-peer", Self::NO_PEER),
    ];

    /// The community of an autonomous system and a number of its own.
    pub const fn of(high: u16, low: u16) -> Self {
        Self((high as u32) << 16 | low as u32)
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().skip(1).find(|(_, community)| community == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff),
        }
    }
}

impl FromStr for Community {
    type Err = NoCommunity;

    fn from_str(text: &str) -> Result<Self, NoCommunity> {
        let wrong = || NoCommunity {
            text: text.to_owned(),
            kind: "community",
            form: "two numbers such as 65001:100, or a name such as no-export",
        };
        if let Some((_, community)) = Self::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return Ok(*community);
        }
        match text.split_once(':') {
            Some((high, low)) => {
                let (high, low) = number::<u16>(high).zip(number::<u16>(low)).ok_or_else(wrong)?;
                Ok(Self::of(high, low))
            }
            None => number(text).map(Self).ok_or_else(wrong),
        }
    }
}

/// An extended community: eight octets of type and value. Written `rt:65001:100`, `soo:192.0.2.1:7` or as sixteen hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub [u8; 8]);

impl ExtendedCommunity {
    /// Whether it may cross the border of an autonomous system (RFC 4360, 2).
    pub const fn is_transitive(self) -> bool {
        self.0[0] & 0x40 == 0
    }

    fn named(self) -> Option<&'static str> {
        match (self.0[0], self.0[1]) {
            (0..=2, 2) => Some("rt"),
            (0..=2, 3) => Some("soo"),
            _ => None,
        }
    }
}

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, _, a, b, c, d, e, g] = self.0;
        match (self.named(), kind) {
            (Some(name), 0) => {
                write!(f, "{name}:{}:{}", u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, g]))
            }
            (Some(name), 1) => write!(f, "{name}:{}:{}", Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([e, g])),
            (Some(name), _) => {
                write!(f, "{name}:{}:{}", u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, g]))
            }
            (None, _) => write!(f, "{:016x}", u64::from_be_bytes(self.0)),
        }
    }
}

impl FromStr for ExtendedCommunity {
    type Err = NoCommunity;

    fn from_str(text: &str) -> Result<Self, NoCommunity> {
        extended(text).map(Self).ok_or_else(|| NoCommunity {
            text: text.to_owned(),
            kind: "extended community",
            form: "rt:65001:100, soo:192.0.2.1:7, or sixteen hex digits",
        })
    }
}

fn extended(text: &str) -> Option<[u8; 8]> {
    let mut parts = text.split(':');
    let (name, middle, last) = (parts.next()?, parts.next(), parts.next());
    let (Some(middle), Some(last), None) = (middle, last, parts.next()) else {
        let hex = name.len() == 16 && middle.is_none() && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        return if hex { u64::from_str_radix(name, 16).ok().map(u64::to_be_bytes) } else { None };
    };
    let subtype = match name.to_ascii_lowercase().as_str() {
        "rt" => 2,
        "soo" => 3,
        _ => return None,
    };
    let put = |kind: u8, first: &[u8], second: &[u8]| {
        let mut bytes = [kind, subtype, 0, 0, 0, 0, 0, 0];
        bytes[2..2 + first.len()].copy_from_slice(first);
        bytes[2 + first.len()..].copy_from_slice(second);
        bytes
    };
    if let Ok(address) = middle.parse::<Ipv4Addr>() {
        return Some(put(1, &address.octets(), &number::<u16>(last)?.to_be_bytes()));
    }
    match u16::try_from(number::<u32>(middle)?) {
        Ok(asn) => Some(put(0, &asn.to_be_bytes(), &number::<u32>(last)?.to_be_bytes())),
        Err(_) => Some(put(2, &number::<u32>(middle)?.to_be_bytes(), &number::<u16>(last)?.to_be_bytes())),
    }
}

/// A large community, written `65001:1:2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// The autonomous system that gives it a meaning.
    pub global: u32,
    /// Its first number.
    pub first: u32,
    /// Its second number.
    pub second: u32,
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.first, self.second)
    }
}

impl FromStr for LargeCommunity {
    type Err = NoCommunity;

    fn from_str(text: &str) -> Result<Self, NoCommunity> {
        let mut parts = text.split(':').map(number::<u32>);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(global)), Some(Some(first)), Some(Some(second)), None) => Ok(Self { global, first, second }),
            _ => Err(NoCommunity {
                text: text.to_owned(),
                kind: "large community",
                form: "three numbers such as 65001:1:2",
            }),
        }
    }
}

/// A decimal number without a sign.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_are_read_as_they_are_written() {
        for text in ["65001:100", "no-export", "blackhole", "0:7"] {
            assert_eq!(text.parse::<Community>().map(|community| community.to_string()).as_deref(), Ok(text));
        }
        for text in ["rt:65001:100", "soo:192.0.2.1:7", "rt:100000:9", "4306000000000001"] {
            assert_eq!(text.parse::<ExtendedCommunity>().map(|community| community.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("65536:1:2".parse::<LargeCommunity>().map(|c| c.to_string()).as_deref(), Ok("65536:1:2"));
        assert_eq!("4294967295".parse(), Ok(Community(u32::MAX)));
    }

    #[test]
    fn what_is_no_community_is_refused() {
        for text in ["", "65536:1", "1:65536", "+1:1", "1:2:3", "no-such"] {
            assert!(text.parse::<Community>().is_err(), "{text}");
        }
        for text in ["", "rt:1", "rt:65536:65536", "xx:1:1", "rt:1:2:3", "430600000000000", "rt:192.0.2.1:65536"] {
            assert!(text.parse::<ExtendedCommunity>().is_err(), "{text}");
        }
        for text in ["", "1:2", "1:2:3:4", "1:2:4294967296", "1::2"] {
            assert!(text.parse::<LargeCommunity>().is_err(), "{text}");
        }
    }
}
