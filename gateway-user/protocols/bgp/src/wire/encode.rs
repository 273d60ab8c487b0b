//! UPDATEs to send: many prefixes of one set of attributes in a message, never more than the session takes.

use super::attributes;
use super::nlri::{self, NlriEntry, PathIds};
use super::{UpdateFields, as_path, codec};
use crate::attributes::NextHop;
use crate::attributes::kind::{self, flag};
use crate::number::Family;
use bytes::{Bytes, BytesMut};
use std::iter::Peekable;
use std::net::Ipv6Addr;
use thiserror::Error;

/// Attributes that leave no room for a prefix in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("attributes of {0} octets leave no room for a prefix in a message")]
pub struct TooLong(pub usize);

/// How a session wants its UPDATEs.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// The longest message.
    pub limit: u16,
    /// Whether AS numbers have four octets.
    pub four_octet: bool,
    /// The families whose prefixes are sent with path identifiers.
    pub add_path: Vec<Family>,
}

/// Header, length of the withdrawn routes, length of the attributes.
const FRAME: usize = codec::HEADER + 4;
/// An attribute's header with a length of two octets.
const ATTRIBUTE: usize = 4;

impl Encoder {
    fn ids(&self, family: Family) -> PathIds {
        PathIds::from(self.add_path.contains(&family))
    }

    /// Takes from `prefixes`, all of `family`, as many as fit into one message, and writes it. `attributes` are the canonical
    /// bytes of [`crate::attributes`], their next hop a real one.
    ///
    /// # Errors
    ///
    /// Where not even one prefix fits; none is taken then.
    pub fn announce(
        &self,
        family: Family,
        attributes: &[u8],
        prefixes: &mut Peekable<impl Iterator<Item = NlriEntry>>,
        into: &mut BytesMut,
    ) -> Result<(), TooLong> {
        match (family, attributes::next_hop(attributes).unwrap_or_default()) {
            (Family::Ipv4, NextHop::V4(next_hop)) => {
                let list = self.attributes(attributes, Some(&next_hop.octets()));
                let room = self.room(FRAME + list.len(), prefixes, family)?;
                let announced = self.fill(family, prefixes, room, Vec::new());
                self.write(&UpdateFields { withdrawn: Bytes::new(), attributes: list.into(), announced }, into);
            }
            (_, next_hop) => {
                let tail = self.attributes(attributes, None);
                let mut value = Vec::from(codec::afi(family).to_be_bytes());
                value.push(1);
                let (global, link_local) = match next_hop {
                    NextHop::V4(address) if address.is_unspecified() => (Ipv6Addr::UNSPECIFIED, None),
                    NextHop::V4(address) => (address.to_ipv6_mapped(), None),
                    NextHop::V6 { global, link_local } => (global, link_local),
                };
                value.push(if link_local.is_some() { 32 } else { 16 });
                value.extend_from_slice(&global.octets());
                value.extend(link_local.iter().flat_map(Ipv6Addr::octets));
                value.push(0);
                let room = self.room(FRAME + ATTRIBUTE + value.len() + tail.len(), prefixes, family)?;
                let value = self.fill(family, prefixes, room, value);
                // RFC 7606, 5.1: the prefixes come first.
                let mut list = Vec::with_capacity(ATTRIBUTE + value.len() + tail.len());
                attributes::write(kind::MP_REACH, flag::OPTIONAL, &value, &mut list);
                list.extend_from_slice(&tail);
                self.write(&UpdateFields { attributes: list.into(), ..UpdateFields::default() }, into);
            }
        }
        Ok(())
    }

    /// Takes from `prefixes` as many as fit into one message that withdraws them, and writes it.
    pub fn withdraw(
        &self,
        family: Family,
        prefixes: &mut Peekable<impl Iterator<Item = NlriEntry>>,
        into: &mut BytesMut,
    ) {
        let limit = usize::from(self.limit);
        let fields = match family {
            Family::Ipv4 => UpdateFields {
                withdrawn: self.fill(family, prefixes, limit - FRAME, Vec::new()),
                ..UpdateFields::default()
            },
            Family::Ipv6 => {
                let head = vec![0, 2, 1];
                let value = self.fill(family, prefixes, limit - FRAME - ATTRIBUTE - head.len(), head);
                let mut list = Vec::with_capacity(ATTRIBUTE + value.len());
                attributes::write(kind::MP_UNREACH, flag::OPTIONAL, &value, &mut list);
                UpdateFields { attributes: list.into(), ..UpdateFields::default() }
            }
        };
        self.write(&fields, into);
    }

    /// That all routes of the family were sent (RFC 4724, 2).
    pub fn end_of_rib(&self, family: Family, into: &mut BytesMut) {
        self.withdraw(family, &mut std::iter::empty().peekable(), into);
    }

    /// Attributes as the session takes them, the next hop of the body among them.
    fn attributes(&self, canonical: &[u8], next_hop: Option<&[u8]>) -> Vec<u8> {
        let mut list = Vec::with_capacity(canonical.len() + 16);
        let mut next_hop = next_hop;
        for raw in attributes::iter(canonical) {
            if raw.kind > kind::NEXT_HOP
                && let Some(next_hop) = next_hop.take()
            {
                attributes::write(kind::NEXT_HOP, flag::TRANSITIVE, next_hop, &mut list);
            }
            match raw.kind {
                // The weight has no place on the wire.
                kind::RESERVED | kind::NEXT_HOP | kind::MP_REACH => {}
                kind::AS_PATH if !self.four_octet => {
                    let (narrow, _) = as_path::narrow(raw.value);
                    attributes::write(raw.kind, raw.flags, &narrow, &mut list);
                }
                kind::AGGREGATOR if !self.four_octet => {
                    let (asn, address) = raw.value.split_at(raw.value.len().saturating_sub(4));
                    let short = if asn.starts_with(&[0, 0]) { &asn[2..] } else { &[0x5b, 0xa0] };
                    attributes::write(raw.kind, raw.flags, &[short, address].concat(), &mut list);
                }
                _ => list.extend_from_slice(raw.whole),
            }
        }
        if let Some(next_hop) = next_hop {
            attributes::write(kind::NEXT_HOP, flag::TRANSITIVE, next_hop, &mut list);
        }
        if !self.four_octet {
            late_attributes(canonical, &mut list);
        }
        list
    }

    /// How many octets of prefixes fit behind `used`: at least one prefix.
    fn room(
        &self,
        used: usize,
        prefixes: &mut Peekable<impl Iterator<Item = NlriEntry>>,
        family: Family,
    ) -> Result<usize, TooLong> {
        let room = usize::from(self.limit).saturating_sub(used);
        let first = prefixes.peek().map_or(0, |entry| nlri::written_len(entry, self.ids(family)));
        if used > usize::from(self.limit) || first > room { Err(TooLong(used)) } else { Ok(room) }
    }

    fn fill(
        &self,
        family: Family,
        prefixes: &mut Peekable<impl Iterator<Item = NlriEntry>>,
        room: usize,
        mut into: Vec<u8>,
    ) -> Bytes {
        let ids = self.ids(family);
        let end = into.len() + room;
        while let Some(entry) = prefixes.next_if(|entry| into.len() + nlri::written_len(entry, ids) <= end) {
            nlri::write(&entry, ids, &mut into);
        }
        into.into()
    }

    fn write(&self, fields: &UpdateFields, into: &mut BytesMut) {
        let fits = codec::encode_update(fields, self.limit, into);
        debug_assert!(fits, "the parts were measured");
    }
}

/// AS4_PATH and AS4_AGGREGATOR where numbers did not fit (RFC 6793, 4.2.2).
fn late_attributes(canonical: &[u8], list: &mut Vec<u8>) {
    for raw in attributes::iter(canonical) {
        let flags = flag::OPTIONAL | flag::TRANSITIVE;
        match raw.kind {
            kind::AS_PATH => {
                if let (_, Some(four)) = as_path::narrow(raw.value) {
                    attributes::write(kind::AS4_PATH, flags, &four, list);
                }
            }
            kind::AGGREGATOR if !raw.value.starts_with(&[0, 0]) => {
                attributes::write(kind::AS4_AGGREGATOR, flags, raw.value, list);
            }
            _ => {}
        }
    }
}
