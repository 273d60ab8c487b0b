//! Attributes as canonical bytes: the wire's own format, ordered by type code, with AS numbers of four octets, the
//! shortest form of each length, and the next hop of IPv6 in an MP_REACH_NLRI without NLRI. Equal attributes have equal
//! bytes. The weight, which has no place on the wire, stands first under the reserved type 0.

use super::kind::flag::{EXTENDED, OPTIONAL, PARTIAL, TRANSITIVE};
use super::{Aggregator, AsPath, Attributes, NextHop, Origin, RawAttribute, Segment, SegmentKind, kind};
use super::{Community, ExtendedCommunity, LargeCommunity};
use crate::number::{Asn, RouterId};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The weight has no type on the wire.
const WEIGHT: u8 = kind::RESERVED;

/// Writes one attribute; its value is written by `value`, its length put in afterwards.
fn put(out: &mut Vec<u8>, flags: u8, code: u8, value: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[flags, code, 0]);
    value(out);
    let length = out.len() - start - 3;
    match u8::try_from(length) {
        Ok(length) => out[start + 2] = length,
        Err(_) => {
            // No message has more than 65535 octets; what a caller made up beyond that is cut rather than misread.
            let length = u16::try_from(length).unwrap_or(u16::MAX);
            out.truncate(start + 3 + usize::from(length));
            out[start] |= EXTENDED;
            out.splice(start + 2..start + 3, length.to_be_bytes());
        }
    }
}

impl Attributes {
    /// Appends the canonical bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if self.weight > 0 {
            put(out, OPTIONAL, WEIGHT, |out| out.extend_from_slice(&self.weight.to_be_bytes()));
        }
        put(out, TRANSITIVE, kind::ORIGIN, |out| out.push(self.origin.number()));
        put(out, TRANSITIVE, kind::AS_PATH, |out| put_path(out, &self.as_path));
        if let NextHop::V4(address) = self.next_hop {
            put(out, TRANSITIVE, kind::NEXT_HOP, |out| out.extend_from_slice(&address.octets()));
        }
        if let Some(med) = self.med {
            put(out, OPTIONAL, kind::MED, |out| out.extend_from_slice(&med.to_be_bytes()));
        }
        if let Some(preference) = self.local_pref {
            put(out, TRANSITIVE, kind::LOCAL_PREF, |out| out.extend_from_slice(&preference.to_be_bytes()));
        }
        if self.atomic_aggregate {
            put(out, TRANSITIVE, kind::ATOMIC_AGGREGATE, |_| ());
        }
        if let Some(Aggregator { asn, router }) = self.aggregator {
            put(out, OPTIONAL | TRANSITIVE, kind::AGGREGATOR, |out| {
                out.extend_from_slice(&asn.0.to_be_bytes());
                out.extend_from_slice(&router.0.octets());
            });
        }
        if !self.communities.is_empty() {
            put(out, OPTIONAL | TRANSITIVE, kind::COMMUNITIES, |out| {
                self.communities.iter().for_each(|community| out.extend_from_slice(&community.0.to_be_bytes()));
            });
        }
        if let Some(originator) = self.originator_id {
            put(out, OPTIONAL, kind::ORIGINATOR_ID, |out| out.extend_from_slice(&originator.0.octets()));
        }
        if !self.cluster_list.is_empty() {
            put(out, OPTIONAL, kind::CLUSTER_LIST, |out| {
                self.cluster_list.iter().for_each(|cluster| out.extend_from_slice(&cluster.0.octets()));
            });
        }
        if let NextHop::V6 { global, link_local } = self.next_hop {
            put(out, OPTIONAL, kind::MP_REACH, |out| {
                out.extend_from_slice(&[0, 2, 1, if link_local.is_some() { 32 } else { 16 }]);
                out.extend_from_slice(&global.octets());
                if let Some(local) = link_local {
                    out.extend_from_slice(&local.octets());
                }
                out.push(0);
            });
        }
        if !self.extended_communities.is_empty() {
            put(out, OPTIONAL | TRANSITIVE, kind::EXTENDED_COMMUNITIES, |out| {
                self.extended_communities.iter().for_each(|community| out.extend_from_slice(&community.0));
            });
        }
        let mut unknown = self.unknown.iter().peekable();
        let mut raw_up_to = |out: &mut Vec<u8>, end: u8| {
            while let Some(raw) = unknown.next_if(|raw| raw.code < end) {
                put_raw(out, raw);
            }
        };
        raw_up_to(out, kind::LARGE_COMMUNITIES);
        if !self.large_communities.is_empty() {
            put(out, OPTIONAL | TRANSITIVE, kind::LARGE_COMMUNITIES, |out| {
                for community in &self.large_communities {
                    for number in [community.global, community.first, community.second] {
                        out.extend_from_slice(&number.to_be_bytes());
                    }
                }
            });
        }
        raw_up_to(out, kind::ONLY_TO_CUSTOMER);
        if let Some(asn) = self.only_to_customer {
            put(out, OPTIONAL | TRANSITIVE, kind::ONLY_TO_CUSTOMER, |out| out.extend_from_slice(&asn.0.to_be_bytes()));
        }
        for raw in unknown {
            put_raw(out, raw);
        }
    }

    /// Reads canonical bytes. `None` where they are none; what [`Attributes::encode`] wrote always reads back.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut attributes = Self::default();
        while let Some((flags, code, value)) = next(&mut bytes)? {
            attributes.take(flags, code, value)?;
        }
        Some(attributes)
    }

    fn take(&mut self, flags: u8, code: u8, value: &[u8]) -> Option<()> {
        match code {
            WEIGHT => self.weight = number(value)?,
            kind::ORIGIN => self.origin = Origin::of(*value.first()?)?,
            kind::AS_PATH => self.as_path = path(value)?,
            kind::NEXT_HOP => self.next_hop = NextHop::V4(number(value)?.into()),
            kind::MED => self.med = Some(number(value)?),
            kind::LOCAL_PREF => self.local_pref = Some(number(value)?),
            kind::ATOMIC_AGGREGATE => self.atomic_aggregate = true,
            kind::AGGREGATOR => {
                let (asn, router) = value.split_at_checked(4)?;
                self.aggregator = Some(Aggregator { asn: Asn(number(asn)?), router: router_id(router)? });
            }
            kind::COMMUNITIES => self.communities = each(value, |four: [u8; 4]| Community(u32::from_be_bytes(four)))?,
            kind::ORIGINATOR_ID => self.originator_id = Some(router_id(value)?),
            kind::CLUSTER_LIST => self.cluster_list = each(value, |four: [u8; 4]| RouterId(four.into()))?,
            kind::MP_REACH => self.next_hop = next_hop_v6(value)?,
            kind::EXTENDED_COMMUNITIES => self.extended_communities = each(value, ExtendedCommunity)?,
            kind::LARGE_COMMUNITIES => self.large_communities = each(value, large)?,
            kind::ONLY_TO_CUSTOMER => self.only_to_customer = Some(Asn(number(value)?)),
            _ => self.unknown.push(RawAttribute { flags: flags & !EXTENDED, code, value: value.into() }),
        }
        Some(())
    }
}

fn put_raw(out: &mut Vec<u8>, raw: &RawAttribute) {
    put(out, raw.flags & !EXTENDED | PARTIAL, raw.code, |out| out.extend_from_slice(&raw.value));
}

fn put_path(out: &mut Vec<u8>, path: &AsPath) {
    for segment in &path.segments {
        for part in segment.asns.chunks(255) {
            out.extend_from_slice(&[segment.kind.number(), part.len() as u8]);
            part.iter().for_each(|asn| out.extend_from_slice(&asn.0.to_be_bytes()));
        }
    }
}

/// The next attribute of canonical bytes: flags, code, value. `None` outside where they end in the middle of one.
pub(super) fn next<'a>(bytes: &mut &'a [u8]) -> Option<Option<(u8, u8, &'a [u8])>> {
    let (flags, code, rest) = match *bytes {
        [] => return Some(None),
        [flags, code, rest @ ..] => (*flags, *code, rest),
        _ => return None,
    };
    let (length, rest) = match rest {
        [high, low, rest @ ..] if flags & EXTENDED != 0 => (u16::from_be_bytes([*high, *low]), rest),
        [length, rest @ ..] if flags & EXTENDED == 0 => (u16::from(*length), rest),
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length.into())?;
    *bytes = rest;
    Some(Some((flags, code, value)))
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

fn router_id(value: &[u8]) -> Option<RouterId> {
    number(value).map(|number| RouterId(Ipv4Addr::from(number)))
}

fn each<const N: usize, T>(value: &[u8], read: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
    let (parts, rest) = value.as_chunks::<N>();
    rest.is_empty().then(|| parts.iter().map(|part| read(*part)).collect())
}

fn large(bytes: [u8; 12]) -> LargeCommunity {
    let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    LargeCommunity { global: word(0), first: word(4), second: word(8) }
}

fn path(mut value: &[u8]) -> Option<AsPath> {
    let mut path = AsPath::default();
    while let [kind, count, rest @ ..] = value {
        let (asns, rest) = rest.split_at_checked(usize::from(*count) * 4)?;
        let asns = each(asns, |four: [u8; 4]| Asn(u32::from_be_bytes(four)))?;
        path.segments.push(Segment { kind: SegmentKind::of(*kind)?, asns });
        value = rest;
    }
    value.is_empty().then_some(path)
}

fn next_hop_v6(value: &[u8]) -> Option<NextHop> {
    let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(value.get(at..at + 16)?).ok()?));
    match *value.get(3)? {
        16 => Some(NextHop::V6 { global: address(4)?, link_local: None }),
        32 => Some(NextHop::V6 { global: address(4)?, link_local: Some(address(20)?) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paths() -> impl Strategy<Value = AsPath> {
        let segment =
            (1..5_u8, proptest::collection::vec(any::<u32>().prop_map(Asn), 1..300)).prop_map(|(kind, mut asns)| {
                asns.truncate(255);
                Segment { kind: SegmentKind::of(kind).expect("1 to 4 are kinds"), asns }
            });
        proptest::collection::vec(segment, 0..4).prop_map(|segments| AsPath { segments })
    }

    fn next_hops() -> impl Strategy<Value = NextHop> {
        prop_oneof![
            any::<u32>().prop_map(|address| NextHop::V4(address.into())),
            (any::<u128>(), any::<Option<u128>>()).prop_map(|(global, local)| NextHop::V6 {
                global: global.into(),
                link_local: local.map(Ipv6Addr::from),
            }),
        ]
    }

    prop_compose! {
        fn attributes()(
            origin in 0..3_u8, as_path in paths(), next_hop in next_hops(), med: Option<u32>, local_pref: Option<u32>,
            atomic_aggregate: bool, aggregator: Option<(u32, u32)>, communities: Vec<u32>, extended: Vec<[u8; 8]>,
            large: Vec<[u8; 12]>, ids: (Option<u32>, Vec<u32>, Option<u32>, u32), raw: Vec<u8>,
        ) -> Attributes {
            Attributes {
                origin: Origin::of(origin).expect("0 to 2 are origins"), as_path, next_hop, med, local_pref, atomic_aggregate,
                aggregator: aggregator.map(|(asn, id)| Aggregator { asn: Asn(asn), router: RouterId(id.into()) }),
                communities: communities.into_iter().map(Community).collect(),
                extended_communities: extended.into_iter().map(ExtendedCommunity).collect(),
                large_communities: large.into_iter().map(super::large).collect(),
                originator_id: ids.0.map(|id| RouterId(id.into())),
                cluster_list: ids.1.into_iter().map(|id| RouterId(id.into())).collect(),
                only_to_customer: ids.2.map(Asn),
                unknown: [20, 34, 99].map(|code| RawAttribute { flags: 0xe0, code, value: raw.clone().into() }).into(),
                weight: ids.3,
            }
        }
    }

    proptest! {
        #[test]
        fn canonical_bytes_read_back(attributes in attributes()) {
            let mut bytes = Vec::new();
            attributes.encode(&mut bytes);
            let decoded = Attributes::decode(&bytes);
            prop_assert_eq!(decoded.as_ref(), Some(&attributes));
            let mut again = Vec::new();
            Attributes::decode(&bytes).expect("just seen").encode(&mut again);
            prop_assert_eq!(bytes, again);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let _ = Attributes::decode(&bytes);
        }
    }
}
