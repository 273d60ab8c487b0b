//! The types of path attributes and their flags (RFC 4271, 4.3; IANA "BGP Path Attributes"): the numbers that the wire and the canonical bytes
//! share.

/// Type 0, which no attribute of the wire may have. In canonical bytes it is the weight.
pub(crate) const RESERVED: u8 = 0;
pub(crate) const ORIGIN: u8 = 1;
pub(crate) const AS_PATH: u8 = 2;
pub(crate) const NEXT_HOP: u8 = 3;
pub(crate) const MED: u8 = 4;
pub(crate) const LOCAL_PREF: u8 = 5;
pub(crate) const ATOMIC_AGGREGATE: u8 = 6;
pub(crate) const AGGREGATOR: u8 = 7;
pub(crate) const COMMUNITIES: u8 = 8;
pub(crate) const ORIGINATOR_ID: u8 = 9;
pub(crate) const CLUSTER_LIST: u8 = 10;
pub(crate) const MP_REACH: u8 = 14;
pub(crate) const MP_UNREACH: u8 = 15;
pub(crate) const EXTENDED_COMMUNITIES: u8 = 16;
pub(crate) const AS4_PATH: u8 = 17;
pub(crate) const AS4_AGGREGATOR: u8 = 18;
pub(crate) const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
pub(crate) const LARGE_COMMUNITIES: u8 = 32;
pub(crate) const ONLY_TO_CUSTOMER: u8 = 35;

/// What an attribute's first octet says of it.
pub(crate) mod flag {
    pub(crate) const OPTIONAL: u8 = 0x80;
    pub(crate) const TRANSITIVE: u8 = 0x40;
    pub(crate) const PARTIAL: u8 = 0x20;
    /// The length takes two octets.
    pub(crate) const EXTENDED: u8 = 0x10;
}
