//! The numbers that name things in BGP.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use thiserror::Error;

/// An autonomous system's number (RFC 6793), written plain (`65536`) or as asdot (`1.0`, RFC 5396).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Asn(pub u32);

impl Asn {
    /// What stands in two octets for a number that needs four (RFC 6793, 9).
    pub const TRANS: Self = Self(23456);

    /// Whether the number may stand in an OPEN or a path: 0 may not (RFC 7607), nor may the last of the two ranges (RFC 7300).
    pub const fn is_usable(self) -> bool {
        !matches!(self.0, 0 | 23456 | 0xffff | 0xffff_ffff)
    }
}

/// A text that names no autonomous system.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no AS number: write 1 to 4294967295, or as asdot 0.1 to 65535.65535")]
pub struct NoAsn(pub String);

impl FromStr for Asn {
    type Err = NoAsn;

    fn from_str(text: &str) -> Result<Self, NoAsn> {
        let number = match text.split_once('.') {
            None => text.parse().ok(),
            Some((high, low)) => high
                .parse::<u16>()
                .ok()
                .zip(low.parse::<u16>().ok())
                .map(|(high, low)| u32::from(high) << 16 | u32::from(low)),
        };
        number.filter(|_| !text.contains('+')).map(Self).ok_or_else(|| NoAsn(text.to_owned()))
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A speaker's BGP identifier (RFC 6286): any number but 0, written like an IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RouterId(pub Ipv4Addr);

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The address families whose unicast routes are exchanged (RFC 4760).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// AFI 1, SAFI 1.
    Ipv4,
    /// AFI 2, SAFI 1.
    Ipv6,
}

impl Family {
    /// Both, in the order of their AFIs.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The family that an address belongs to.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}

/// Tells several paths to one prefix from one neighbour apart (RFC 7911); 0 where the session has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asn_is_read_plain_and_as_asdot() {
        assert_eq!("65536".parse(), Ok(Asn(65536)));
        assert_eq!("1.0".parse(), Ok(Asn(65536)));
        assert_eq!("0.65001".parse(), Ok(Asn(65001)));
        for wrong in ["", ".", "1.", ".1", "1.65536", "65536.0", "4294967296", "-1", "+1", "1.+1", "1.2.3", "AS1"] {
            assert_eq!(wrong.parse::<Asn>(), Err(NoAsn(wrong.to_owned())));
        }
    }

    #[test]
    fn numbers_set_aside_are_not_usable() {
        assert!(Asn(64512).is_usable());
        for reserved in [0, 23456, 65535, u32::MAX] {
            assert!(!Asn(reserved).is_usable());
        }
    }
}
