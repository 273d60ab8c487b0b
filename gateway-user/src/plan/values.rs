//! The single values of a plan. Each is checked when it is made, so a value that exists is in range.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::str::FromStr;

/// What is wrong with a value, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct Complaint {
    /// What is wrong, in a sentence without a full stop.
    pub what: String,
    /// What to do, likewise.
    pub remedy: String,
}

impl Complaint {
    /// A complaint in these words.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// Serde as text, by `FromStr` and `Display`.
macro_rules! as_text {
    ($($name:ty),+) => {
        $(
            impl TryFrom<String> for $name {
                type Error = Complaint;

                fn try_from(text: String) -> Result<Self, Complaint> {
                    text.parse()
                }
            }

            impl From<$name> for String {
                fn from(value: $name) -> Self {
                    value.to_string()
                }
            }
        )+
    };
}

pub(super) use as_text;

as_text!(Name, PortName, Mac, Prefix, Interface);

/// A number in a range, with its unit or meaning in the type.
macro_rules! ranged {
    ($(#[$doc:meta])* $name:ident($inner:ty) in $range:expr, $what:literal, $remedy:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "i64", into = "i64")]
        pub struct $name($inner);

        impl $name {
            /// The number.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = Complaint;

            fn try_from(number: i64) -> Result<Self, Complaint> {
                let range: std::ops::RangeInclusive<i64> = $range;
                match <$inner>::try_from(number) {
                    Ok(value) if range.contains(&number) => Ok(Self(value)),
                    _ => Err(Complaint::new(
                        format!(concat!($what, " {} is outside {}..={}"), number, range.start(), range.end()),
                        $remedy,
                    )),
                }
            }
        }

        impl From<$name> for i64 {
            fn from(value: $name) -> Self {
                value.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

pub(super) use ranged;

ranged!(
    /// A virtual subnet's identifier on the fabric: NVGRE's VSID, VXLAN's VNI. RFC 7637 section 3.2 reserves what is below 4096 and 0xffffff.
    Vsid(u32) in 4096..=16_777_214,
    "the VSID",
    "choose one that no other tenant uses; the numbers outside are reserved (RFC 7637)"
);

ranged!(
    /// An 802.1Q VLAN identifier; 0 and 4095 are reserved.
    Vlan(u16) in 1..=4094,
    "the VLAN",
    "use the VLAN identifier that the switch gave the tenant"
);

ranged!(
    /// The largest inner IP packet, in bytes.
    Mtu(u16) in 576..=9000,
    "an MTU of",
    "leave `mtu` out to have it follow from the port's"
);

ranged!(
    /// An ESP security parameter index; RFC 4303 reserves what is below 256.
    Spi(u32) in 256..=4_294_967_295,
    "the SPI",
    "leave `spi` out to steer every ESP packet of the source; the numbers outside are reserved (RFC 4303)"
);

/// A rate in kbit/s, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Kbps(NonZeroU32);

impl Kbps {
    /// The rate in kbit/s.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<i64> for Kbps {
    type Error = Complaint;

    fn try_from(number: i64) -> Result<Self, Complaint> {
        u32::try_from(number).ok().and_then(NonZeroU32::new).map(Self).ok_or_else(|| {
            Complaint::new(
                format!("a limit of {number} kbit/s is outside 1..={}", u32::MAX),
                "leave the limit out for no limit; set `enabled = false` to let nothing through",
            )
        })
    }
}

impl From<Kbps> for i64 {
    fn from(value: Kbps) -> Self {
        value.get().into()
    }
}

impl fmt::Display for Kbps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a gateway, a tenant or a connection: 1 to 63 letters, digits, `-`, `_` and `.`, a letter or digit first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Box<str>);

impl Name {
    /// Longest name, in bytes.
    pub const MAX_LEN: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        let starts_well = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        if text.len() <= Self::MAX_LEN && starts_well && text.bytes().all(good) {
            return Ok(Self(text.into()));
        }
        Err(Complaint::new(
            format!("{} is not a name", quoted(text)),
            "use 1 to 63 letters, digits, `-`, `_` and `.`, a letter or digit first",
        ))
    }
}

/// The name of a network interface, as the kernel takes it: 1 to 15 bytes without `/`, `:` and white space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortName(Box<str>);

impl PortName {
    /// Longest name, in bytes: the kernel's `IFNAMSIZ` less its terminator.
    pub const MAX_LEN: usize = 15;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PortName {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let good = |c: u8| c.is_ascii_graphic() && !matches!(c, b'/' | b':' | b'%');
        if (1..=Self::MAX_LEN).contains(&text.len()) && text.bytes().all(good) && !matches!(text, "." | "..") {
            return Ok(Self(text.into()));
        }
        Err(Complaint::new(
            format!("{} cannot be the name of an interface", quoted(text)),
            "use a name that `ip link` shows: at most 15 characters, without `/`, `:`, `%` and spaces",
        ))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The Ethernet address of one station: not a group's, not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

impl Mac {
    /// The six bytes.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl TryFrom<[u8; 6]> for Mac {
    type Error = Complaint;

    fn try_from(octets: [u8; 6]) -> Result<Self, Complaint> {
        if octets == [0; 6] {
            return Err(Complaint::new("a MAC address of zero is nobody's", "write the MAC of the VM's own interface"));
        }
        if octets[0] & 1 == 1 {
            return Err(Complaint::new(
                format!("{} is a group's (multicast) MAC address", Self(octets)),
                "write the MAC of the VM's own interface: its first byte is even",
            ));
        }
        Ok(Self(octets))
    }
}

impl FromStr for Mac {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let malformed = || {
            Complaint::new(
                format!("{} is not a MAC address", quoted(text)),
                "write six bytes in hexadecimal, such as \"02:00:00:00:01:05\"",
            )
        };
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut parts = text.split(separator);
        let mut octets = [0; 6];
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit()));
            *octet = part.and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or_else(malformed)?;
        }
        if parts.next().is_some() {
            return Err(malformed());
        }
        octets.try_into()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A network: no bit is set behind the prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(IpNet);

impl Prefix {
    /// The network.
    pub const fn net(self) -> IpNet {
        self.0
    }

    /// The network's own address.
    pub fn addr(self) -> IpAddr {
        self.0.addr()
    }

    /// The number of leading bits that count.
    pub fn prefix_len(self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether the address lies in the network.
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl TryFrom<IpNet> for Prefix {
    type Error = Complaint;

    fn try_from(net: IpNet) -> Result<Self, Complaint> {
        if net == net.trunc() {
            return Ok(Self(net));
        }
        Err(Complaint::new(
            format!("{net} has bits set behind its prefix length"),
            format!("write {} for the network, or {} for the one address", net.trunc(), IpNet::from(net.addr())),
        ))
    }
}

impl FromStr for Prefix {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        parse_net(text, "10.2.0.0/16")?.try_into()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One address of an interface together with the length of the network's prefix around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interface(IpNet);

impl Interface {
    /// The address.
    pub fn addr(self) -> IpAddr {
        self.0.addr()
    }

    /// The length of the connected network's prefix.
    pub fn prefix_len(self) -> u8 {
        self.0.prefix_len()
    }

    /// The connected network.
    pub fn network(self) -> Prefix {
        Prefix(self.0.trunc())
    }
}

impl TryFrom<IpNet> for Interface {
    type Error = Complaint;

    fn try_from(net: IpNet) -> Result<Self, Complaint> {
        unicast(net.addr())?;
        if net.prefix_len() == 0 {
            let what = format!("the network of {net} is everything");
            return Err(Complaint::new(what, "write the length of the network's prefix, such as /24 or /64"));
        }
        if names_no_host(net, net.addr()) {
            return Err(Complaint::new(
                format!("{net} names the network, not an address in it"),
                format!("write the gateway's own address there, with /{}", net.prefix_len()),
            ));
        }
        Ok(Self(net))
    }
}

impl FromStr for Interface {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        parse_net(text, "10.127.134.50/24")?.try_into()
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// At most one address of each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<IpAddr>", into = "Vec<IpAddr>")]
pub struct Dual {
    /// The IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

impl Dual {
    /// The addresses, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    /// Whether there is no address.
    pub fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }

    /// Whether `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.same_family(address) == Some(address)
    }

    /// The address of the same family as `other`.
    pub fn same_family(&self, other: IpAddr) -> Option<IpAddr> {
        match other {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }

    /// Takes one more address; refuses a second one of a family.
    pub(super) fn add(&mut self, address: IpAddr) -> Result<(), Complaint> {
        unicast(address)?;
        let before = match address {
            IpAddr::V4(v4) => self.v4.replace(v4).map(IpAddr::V4),
            IpAddr::V6(v6) => self.v6.replace(v6).map(IpAddr::V6),
        };
        match before {
            None => Ok(()),
            Some(first) => Err(Complaint::new(
                format!("{address} is the second {} address after {first}", family(address)),
                "keep one of each family",
            )),
        }
    }
}

impl TryFrom<Vec<IpAddr>> for Dual {
    type Error = Complaint;

    fn try_from(addresses: Vec<IpAddr>) -> Result<Self, Complaint> {
        let mut dual = Self::default();
        addresses.into_iter().try_for_each(|address| dual.add(address))?;
        Ok(dual)
    }
}

impl From<Dual> for Vec<IpAddr> {
    fn from(dual: Dual) -> Self {
        dual.iter().collect()
    }
}

/// The family's name.
pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Addresses that are not one station's, or not the same one's everywhere. Of two that contain an address the first names it.
const SPECIAL: [(IpNet, &str); 12] = [
    (v4([0, 0, 0, 0], 32), "the unspecified address"),
    (v4([0, 0, 0, 0], 8), "of \"this network\" (RFC 1122)"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([240, 0, 0, 0], 4), "broadcast or reserved"),
    (v6([0; 8], 128), "the unspecified address"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), "IPv4 in IPv6's form"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local (RFC 3879)"),
];

const fn v4([a, b, c, d]: [u8; 4], prefix_len: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix_len))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix_len: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix_len))
}

/// What is special about all of a network, if it is.
fn special(net: IpNet) -> Option<&'static str> {
    SPECIAL.iter().find(|(special, _)| special.contains(&net)).map(|(_, kind)| *kind)
}

/// Refuses an address that no single station can have, or that means another thing on every link.
pub fn unicast(address: IpAddr) -> Result<(), Complaint> {
    match special(address.into()) {
        None => Ok(()),
        Some(kind) => Err(Complaint::new(
            format!("{address} is {kind}, which cannot be used here"),
            "write an IPv4 or IPv6 unicast address that is valid beyond one link",
        )),
    }
}

/// Refuses a network to which nothing can be routed.
pub(super) fn routable(prefix: Prefix) -> Result<(), Complaint> {
    match special(prefix.net()) {
        None => Ok(()),
        Some(kind) => Err(Complaint::new(
            format!("{prefix} is {kind}, to which nothing is routed"),
            "write a unicast network, or 0.0.0.0/0 or ::/0 for all of them",
        )),
    }
}

/// Whether `address` is the network's own or its broadcast address, which no host can have (RFC 1122; RFC 3021 for /31; RFC 4291 section 2.6.1).
pub(super) fn names_no_host(net: IpNet, address: IpAddr) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() < 31 && (address == net.network() || address == net.broadcast()),
        IpNet::V6(net) => net.prefix_len() < 127 && address == net.network(),
    }
}

/// An address in text, with a hint at what is usually wrong.
pub(super) fn parse_address(text: &str) -> Result<IpAddr, Complaint> {
    text.parse().map_err(|_| {
        let remedy = match text.split_once('/') {
            Some((address, _)) if address.parse::<IpAddr>().is_ok() => {
                format!("leave the prefix length out: \"{address}\"")
            }
            _ => "write one such as \"198.51.100.10\" or \"2001:db8::10\"".to_owned(),
        };
        Complaint::new(format!("{} is not an IP address", quoted(text)), remedy)
    })
}

fn parse_net(text: &str, example: &str) -> Result<IpNet, Complaint> {
    text.parse().map_err(|_| {
        let remedy = match text.parse::<IpAddr>() {
            Ok(address) => {
                format!("add the prefix length, such as \"{}\" for this address alone", IpNet::from(address))
            }
            Err(_) => format!("write one such as \"{example}\""),
        };
        Complaint::new(format!("{} is not an address with a prefix length", quoted(text)), remedy)
    })
}

/// Text from outside, shortened and made printable.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 48;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
