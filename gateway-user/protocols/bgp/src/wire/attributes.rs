//! Path attributes: which are there, which of them are wrong, and what that costs (RFC 7606).
//!
//! The outcome is the canonical string of bytes by which [`crate::attributes`] interns: each attribute once, in the order of
//! the types, with the flags of its definition, a length of one octet where that suffices, AS numbers of four octets, and an
//! MP_REACH_NLRI that holds an IPv6 next hop alone.

use super::as_path::{self, Width};
use super::update::{Disposition, Fault, Peering, UpdateContext};
use super::{Notification, Role, code};
use crate::attributes::NextHop;
use crate::attributes::kind::{self, flag};
use crate::number::Asn;
use bytes::Bytes;
use std::borrow::Cow;
use std::net::Ipv6Addr;

const WELL_KNOWN: u8 = flag::TRANSITIVE;
const OPTIONAL: u8 = flag::OPTIONAL;
const OPTIONAL_TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;

/// The flags that a known type must have.
fn flags_of(kind: u8) -> Option<u8> {
    match kind {
        kind::ORIGIN | kind::AS_PATH | kind::NEXT_HOP | kind::LOCAL_PREF | kind::ATOMIC_AGGREGATE => Some(WELL_KNOWN),
        kind::MED | kind::ORIGINATOR_ID | kind::CLUSTER_LIST | kind::MP_REACH | kind::MP_UNREACH => Some(OPTIONAL),
        kind::AGGREGATOR
        | kind::COMMUNITIES
        | kind::EXTENDED_COMMUNITIES
        | kind::AS4_PATH
        | kind::AS4_AGGREGATOR
        | kind::IPV6_EXTENDED_COMMUNITIES
        | kind::LARGE_COMMUNITIES
        | kind::ONLY_TO_CUSTOMER => Some(OPTIONAL_TRANSITIVE),
        _ => None,
    }
}

/// One attribute as it stands in a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    pub kind: u8,
    pub flags: u8,
    pub value: &'a [u8],
    /// Header and value.
    pub whole: &'a [u8],
}

/// What the attributes come to.
pub(super) struct Attributes<'a> {
    pub next_hop: Option<Raw<'a>>,
    pub mp_reach: Option<Raw<'a>>,
    pub mp_unreach: Option<Raw<'a>>,
    pub has_any: bool,
    kept: Vec<(u8, u8, Cow<'a, [u8]>)>,
}

/// Takes the next attribute off the front; the error is the rest that does not hold one.
fn take<'a>(rest: &mut &'a [u8]) -> Option<Raw<'a>> {
    let bytes = *rest;
    let (&[flags, kind], after) = bytes.split_first_chunk::<2>()?;
    let (length, after) = if flags & flag::EXTENDED == 0 {
        let (&length, after) = after.split_first()?;
        (usize::from(length), after)
    } else {
        let (length, after) = after.split_first_chunk::<2>()?;
        (usize::from(u16::from_be_bytes(*length)), after)
    };
    let (value, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(Raw { kind, flags, value, whole: &bytes[..bytes.len() - after.len()] })
}

/// Reads all attributes. What is wrong goes into `faults`; an error is a session's end.
pub(super) fn read<'a>(
    bytes: &'a [u8],
    context: &UpdateContext,
    faults: &mut Vec<Fault>,
) -> Result<Attributes<'a>, Notification> {
    let mut found =
        Attributes { next_hop: None, mp_reach: None, mp_unreach: None, has_any: !bytes.is_empty(), kept: Vec::new() };
    let mut seen = [false; 256];
    let mut as4_path = None;
    let mut as4_aggregator = None;
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some(raw) = take(&mut rest) else {
            // RFC 7606, 4: what follows cannot be found, the prefixes can.
            faults.push(Fault::new(
                rest.get(1).copied().unwrap_or_default(),
                "overruns the list of attributes",
                Disposition::TreatAsWithdraw,
            ));
            break;
        };
        if std::mem::replace(&mut seen[usize::from(raw.kind)], true) {
            // RFC 7606, 3 (g).
            if matches!(raw.kind, kind::MP_REACH | kind::MP_UNREACH) {
                return Err(Notification::malformed_attributes());
            }
            faults.push(Fault::new(raw.kind, "is there twice", Disposition::DiscardAttribute));
            continue;
        }
        if raw.kind == kind::RESERVED {
            // It is reserved, and names inside this speaker what no neighbour may set: the weight.
            faults.push(Fault::new(raw.kind, "is of a reserved type", Disposition::DiscardAttribute));
            continue;
        }
        let Some(flags) = flags_of(raw.kind) else {
            match raw.flags & OPTIONAL_TRANSITIVE {
                // RFC 4271, 5: passed on, and marked as not understood on the way.
                OPTIONAL_TRANSITIVE => {
                    found.kept.push((raw.kind, OPTIONAL_TRANSITIVE | flag::PARTIAL, Cow::Borrowed(raw.value)));
                }
                OPTIONAL => {}
                _ => {
                    faults.push(Fault::new(raw.kind, "says to be well-known, and is not", Disposition::TreatAsWithdraw))
                }
            }
            continue;
        };
        if raw.flags & OPTIONAL_TRANSITIVE != flags {
            if matches!(raw.kind, kind::MP_REACH | kind::MP_UNREACH) {
                return Err(Notification::new(code::UPDATE, 4, Bytes::copy_from_slice(raw.whole)));
            }
            // RFC 7606, 3 (c). What an external neighbour should not send at all is dropped, whatever its flags.
            let disposition = if is_internal(raw.kind) && context.peering == Peering::External {
                Disposition::DiscardAttribute
            } else {
                Disposition::TreatAsWithdraw
            };
            faults.push(Fault::new(raw.kind, "has the flags of another kind of attribute", disposition));
            continue;
        }
        match raw.kind {
            kind::NEXT_HOP => found.next_hop = Some(raw),
            kind::MP_REACH => found.mp_reach = Some(raw),
            kind::MP_UNREACH => found.mp_unreach = Some(raw),
            // RFC 6793, 4.1: between two speakers of four octets they have no place.
            kind::AS4_PATH if !context.four_octet => as4_path = Some(raw.value),
            kind::AS4_AGGREGATOR if !context.four_octet => as4_aggregator = Some(raw.value),
            kind::AS4_PATH | kind::AS4_AGGREGATOR => {}
            // RFC 7606, 7.5, 7.9, 7.10; RFC 4271, 5.1.5.
            internal if is_internal(internal) && context.peering == Peering::External => {}
            _ => match wrong(&raw, context) {
                Some((what, disposition)) => faults.push(Fault::new(raw.kind, what, disposition)),
                None => {
                    // Checked here, but passed on as what is not known is.
                    let partial = if raw.kind == kind::IPV6_EXTENDED_COMMUNITIES { flag::PARTIAL } else { 0 };
                    found.kept.push((raw.kind, flags | partial, Cow::Borrowed(raw.value)));
                }
            },
        }
    }
    if !context.four_octet {
        found.widen(as4_path, as4_aggregator, faults);
    }
    found.kept.sort_by_key(|(kind, ..)| *kind);
    Ok(found)
}

/// What only speakers of one AS tell each other.
const fn is_internal(kind: u8) -> bool {
    matches!(kind, kind::LOCAL_PREF | kind::ORIGINATOR_ID | kind::CLUSTER_LIST)
}

/// RFC 7606, 7 and what the definitions of later attributes say.
fn wrong(raw: &Raw, context: &UpdateContext) -> Option<(&'static str, Disposition)> {
    use Disposition::{DiscardAttribute, TreatAsWithdraw};
    let length = raw.value.len();
    let list_of = |size: usize| length == 0 || !length.is_multiple_of(size);
    let width = if context.four_octet { Width::Four } else { Width::Two };
    match raw.kind {
        kind::ORIGIN if length != 1 => Some(("has a length other than 1", TreatAsWithdraw)),
        kind::ORIGIN if raw.value[0] > 2 => Some(("has a value without meaning", TreatAsWithdraw)),
        kind::AS_PATH if !as_path::is_well_formed(raw.value, width) => Some(("is malformed", TreatAsWithdraw)),
        kind::MED | kind::LOCAL_PREF | kind::ORIGINATOR_ID if length != 4 => {
            Some(("has a length other than 4", TreatAsWithdraw))
        }
        kind::ATOMIC_AGGREGATE if length != 0 => Some(("has a value", DiscardAttribute)),
        kind::AGGREGATOR if length != if context.four_octet { 8 } else { 6 } => {
            Some(("has a wrong length", DiscardAttribute))
        }
        // RFC 7607, 2.
        kind::AGGREGATOR if raw.value[..length - 4].iter().all(|byte| *byte == 0) => {
            Some(("has AS 0", DiscardAttribute))
        }
        kind::COMMUNITIES | kind::CLUSTER_LIST if list_of(4) => Some(("is no list of 4 octets each", TreatAsWithdraw)),
        kind::EXTENDED_COMMUNITIES if list_of(8) => Some(("is no list of 8 octets each", TreatAsWithdraw)),
        kind::LARGE_COMMUNITIES if list_of(12) => Some(("is no list of 12 octets each", TreatAsWithdraw)),
        kind::IPV6_EXTENDED_COMMUNITIES if list_of(20) => Some(("is no list of 20 octets each", TreatAsWithdraw)),
        kind::ONLY_TO_CUSTOMER if length != 4 => Some(("has a length other than 4", TreatAsWithdraw)),
        _ => None,
    }
}

impl Attributes<'_> {
    fn value(&self, kind: u8) -> Option<&[u8]> {
        self.kept.iter().find(|(of, ..)| *of == kind).map(|(.., value)| &**value)
    }

    fn replace(&mut self, kind: u8, value: Vec<u8>) {
        if let Some((.., old)) = self.kept.iter_mut().find(|(of, ..)| *of == kind) {
            *old = Cow::Owned(value);
        }
    }

    /// RFC 6793, 4.2.3 and 6: makes of a two-octet neighbour's attributes what a four-octet one would have sent.
    fn widen(&mut self, as4_path: Option<&[u8]>, as4_aggregator: Option<&[u8]>, faults: &mut Vec<Fault>) {
        let as4_path = as4_path.filter(|path| {
            let good = as_path::is_well_formed(path, Width::Four);
            if !good {
                faults.push(Fault::new(kind::AS4_PATH, "is malformed", Disposition::DiscardAttribute));
            }
            good
        });
        let as4_aggregator = as4_aggregator.filter(|value| {
            if value.len() != 8 {
                faults.push(Fault::new(kind::AS4_AGGREGATOR, "has a wrong length", Disposition::DiscardAttribute));
            }
            value.len() == 8
        });
        let mut believed = true;
        if let Some(short) = self.value(kind::AGGREGATOR) {
            let asn = u16::from_be_bytes([short[0], short[1]]);
            let wide = if u32::from(asn) == Asn::TRANS.0 {
                as4_aggregator.map(<[u8]>::to_vec)
            } else {
                believed = as4_aggregator.is_none();
                None
            };
            let wide = wide.unwrap_or_else(|| [&[0, 0], short].concat());
            self.replace(kind::AGGREGATOR, wide);
        }
        if let Some(path) = self.value(kind::AS_PATH) {
            let wide = match as4_path.filter(|_| believed) {
                Some(four) => as_path::merge(path, four),
                None => as_path::widen(path),
            };
            self.replace(kind::AS_PATH, wide);
        }
    }

    /// What announced prefixes must have, and whether it may be believed (RFC 4271 6.3, RFC 9234 5).
    pub fn check_announced(&mut self, context: &UpdateContext, faults: &mut Vec<Fault>) {
        let mut withdraw = |kind, what| faults.push(Fault::new(kind, what, Disposition::TreatAsWithdraw));
        let internal = context.peering == Peering::Internal;
        for mandatory in [kind::ORIGIN, kind::AS_PATH].into_iter().chain(internal.then_some(kind::LOCAL_PREF)) {
            if self.value(mandatory).is_none() {
                withdraw(mandatory, "is missing");
            }
        }
        if internal {
            return;
        }
        if let Some(path) = self.value(kind::AS_PATH) {
            match as_path::first(path) {
                Some(first) if first == context.peer_asn => {}
                _ if !context.first_as.is_enforced() => {}
                _ => withdraw(kind::AS_PATH, "does not begin with the neighbour's AS"),
            }
        }
        self.check_only_to_customer(context, faults);
    }

    /// RFC 9234, 5: a route that went down or sideways once may not come from below or the side again.
    fn check_only_to_customer(&mut self, context: &UpdateContext, faults: &mut Vec<Fault>) {
        let Some(role) = context.role else { return };
        let marked = self
            .value(kind::ONLY_TO_CUSTOMER)
            .map(|value| Asn(value.iter().fold(0, |asn, byte| asn << 8 | u32::from(*byte))));
        let leaked = match (role, marked) {
            (_, None) => false,
            // Our role: the neighbour is a customer or a route server's client.
            (Role::Provider | Role::RouteServer, Some(_)) => true,
            (Role::Peer, Some(asn)) => asn != context.peer_asn,
            (Role::Customer | Role::RouteServerClient, Some(_)) => false,
        };
        if leaked {
            faults.push(Fault::new(
                kind::ONLY_TO_CUSTOMER,
                "says that the route has leaked",
                Disposition::TreatAsWithdraw,
            ));
        }
        if marked.is_none() && matches!(role, Role::Customer | Role::RouteServerClient | Role::Peer) {
            let value = context.peer_asn.0.to_be_bytes().to_vec();
            self.kept.push((kind::ONLY_TO_CUSTOMER, OPTIONAL_TRANSITIVE, Cow::Owned(value)));
            self.kept.sort_by_key(|(kind, ..)| *kind);
        }
    }

    /// The canonical bytes with this next hop.
    pub fn canonical(&self, next_hop: NextHop) -> Bytes {
        let mut bytes = Vec::with_capacity(self.kept.iter().map(|(.., value)| value.len() + 4).sum::<usize>() + 44);
        let mut next_hop = Some(next_hop);
        for (kind, flags, value) in &self.kept {
            if *kind > next_hop.map_or(u8::MAX, kind_of) {
                next_hop.take().into_iter().for_each(|next_hop| write_next_hop(next_hop, &mut bytes));
            }
            write(*kind, *flags, value, &mut bytes);
        }
        next_hop.into_iter().for_each(|next_hop| write_next_hop(next_hop, &mut bytes));
        Bytes::from(bytes)
    }
}

const fn kind_of(next_hop: NextHop) -> u8 {
    match next_hop {
        NextHop::V4(_) => kind::NEXT_HOP,
        NextHop::V6 { .. } => kind::MP_REACH,
    }
}

/// A next hop as it stands in canonical bytes.
fn write_next_hop(next_hop: NextHop, into: &mut Vec<u8>) {
    match next_hop {
        NextHop::V4(address) => write(kind::NEXT_HOP, WELL_KNOWN, &address.octets(), into),
        NextHop::V6 { global, link_local } => {
            let mut value = Vec::with_capacity(37);
            value.extend_from_slice(&[0, 2, 1, if link_local.is_some() { 32 } else { 16 }]);
            value.extend_from_slice(&global.octets());
            value.extend(link_local.iter().flat_map(Ipv6Addr::octets));
            value.push(0);
            write(kind::MP_REACH, OPTIONAL, &value, into);
        }
    }
}

/// The next hop in canonical bytes.
pub(super) fn next_hop(canonical: &[u8]) -> Option<NextHop> {
    iter(canonical).find_map(|raw| {
        let six = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(raw.value.get(at..at + 16)?).ok()?));
        match raw.kind {
            kind::NEXT_HOP => <[u8; 4]>::try_from(raw.value).ok().map(|octets| NextHop::V4(octets.into())),
            kind::MP_REACH => Some(NextHop::V6 {
                global: six(4)?,
                link_local: if raw.value.get(3) == Some(&32) { six(20) } else { None },
            }),
            _ => None,
        }
    })
}

/// Writes an attribute, its length in as few octets as it needs.
pub(crate) fn write(kind: u8, flags: u8, value: &[u8], into: &mut Vec<u8>) {
    let flags = flags & !flag::EXTENDED;
    match u8::try_from(value.len()) {
        Ok(length) => into.extend_from_slice(&[flags, kind, length]),
        Err(_) => {
            let length = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
            into.extend_from_slice(&[flags | flag::EXTENDED, kind, length[0], length[1]]);
        }
    }
    into.extend_from_slice(value);
}

/// The attributes of a canonical string.
pub(crate) fn iter(bytes: &[u8]) -> impl Iterator<Item = Raw<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || take(&mut rest))
}
