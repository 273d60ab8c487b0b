//! What an UPDATE says, and what its faults cost (RFC 4271 4.3 and 6.3, RFC 4760, RFC 7606).

use super::attributes::{self, Raw};
use super::nlri::{BadNlri, Nlri, PathIds};
use super::{Notification, Role, UpdateFields, codec};
use crate::attributes::NextHop;
use crate::attributes::kind;
use crate::number::{Asn, Family};
use bytes::Bytes;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What has to be known of a session to read its UPDATEs.
#[derive(Clone, Debug)]
pub struct UpdateContext {
    /// Whether the neighbour is in our AS.
    pub peering: Peering,
    /// The neighbour's AS.
    pub peer_asn: Asn,
    /// Whether its paths must begin with it.
    pub first_as: FirstAs,
    /// Whether AS numbers have four octets on this session.
    pub four_octet: bool,
    /// The families that were negotiated, without those that were given up.
    pub families: Vec<Family>,
    /// The families whose prefixes come with path identifiers.
    pub add_path: Vec<Family>,
    /// Whether IPv4 prefixes may have an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// Our role towards the neighbour (RFC 9234).
    pub role: Option<Role>,
    /// Our own addresses: no route leads there.
    pub own: Vec<IpAddr>,
    /// What to do about prefixes of MP_REACH_NLRI and MP_UNREACH_NLRI that cannot be read.
    pub unreadable: Unreadable,
}

/// Whether a neighbour is in our AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peering {
    /// It is (iBGP).
    Internal,
    /// It is not (eBGP).
    External,
}

/// Whether a path has to begin with its sender's AS (RFC 4271, 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirstAs {
    /// Routes that do not are treated as withdrawn.
    #[default]
    Enforced,
    /// Any will do: the neighbour is a route server.
    Any,
}

impl FirstAs {
    pub(super) fn is_enforced(self) -> bool {
        self == Self::Enforced
    }
}

/// What prefixes that cannot be read cost (RFC 7606, 2 and 7.11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unreadable {
    /// The session.
    #[default]
    ResetSession,
    /// The family, for as long as the session lasts.
    DisableFamily,
}

/// What one UPDATE says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Prefixes that are reachable: at most one list in the body and one in MP_REACH_NLRI.
    pub announced: Vec<Announcement>,
    /// Prefixes that are gone, those among them whose announcement was too faulty to be believed.
    pub withdrawn: Vec<Nlri>,
    /// That all routes of a family have been sent (RFC 4724, 2).
    pub end_of_rib: Option<Family>,
    /// What was wrong, for people.
    pub faults: Vec<Fault>,
}

/// Prefixes that are reachable by one next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// What holds for all of them, the next hop too, in the canonical bytes of [`crate::attributes`].
    pub attributes: Bytes,
    /// What is reachable.
    pub prefixes: Nlri,
}

/// The same while it is being read.
struct Reach {
    next_hop: NextHop,
    prefixes: Nlri,
}

/// What a fault costs, from little to much (RFC 7606, 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disposition {
    /// The attribute.
    DiscardAttribute,
    /// The routes of this message.
    TreatAsWithdraw,
}

/// Something wrong in an UPDATE that does not end the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// The attribute's type.
    pub attribute: u8,
    /// What is wrong with it.
    pub what: &'static str,
    /// What it costs.
    pub disposition: Disposition,
}

impl Fault {
    pub(super) const fn new(attribute: u8, what: &'static str, disposition: Disposition) -> Self {
        Self { attribute, what, disposition }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attribute {} {}: ", self.attribute, self.what)?;
        f.write_str(match self.disposition {
            Disposition::DiscardAttribute => "the attribute is ignored",
            Disposition::TreatAsWithdraw => "the message's routes are treated as withdrawn",
        })
    }
}

/// An UPDATE that costs more than its routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateError {
    /// The session ends with this.
    Reset(Notification),
    /// No route of this family is believed until the session's end; those that are there go.
    Disable(Family),
}

impl From<Notification> for UpdateError {
    fn from(notification: Notification) -> Self {
        Self::Reset(notification)
    }
}

/// Reads an UPDATE.
///
/// # Errors
///
/// Where prefixes cannot be found or read, so that nobody knows what to withdraw.
pub fn decode_update(fields: &UpdateFields, context: &UpdateContext) -> Result<Update, UpdateError> {
    let ids = |family| PathIds::from(context.add_path.contains(&family));
    let body = |bytes: &Bytes| {
        // RFC 7606, 5.3.
        Nlri::check(Family::Ipv4, bytes.clone(), ids(Family::Ipv4)).map_err(|BadNlri| Notification::invalid_network())
    };
    let (withdrawn, announced) = (body(&fields.withdrawn)?, body(&fields.announced)?);
    let mut faults = Vec::new();
    let mut found = attributes::read(&fields.attributes, context, &mut faults)?;
    let reach = found.mp_reach.map(|raw| reach(&raw, fields, context)).transpose()?.flatten();
    let unreach = found.mp_unreach.map(|raw| unreach(&raw, fields, context)).transpose()?.flatten();

    let end_of_rib = end_of_rib(fields, &found, unreach.as_ref());
    let ipv4 = context.families.contains(&Family::Ipv4);
    let mut announcements = Vec::new();
    if !announced.is_empty() && ipv4 {
        // Without a next hop there is a fault, and nothing of this is announced.
        let next_hop = body_next_hop(found.next_hop, &mut faults).map_or(NextHop::SELF, NextHop::V4);
        announcements.push(Reach { next_hop, prefixes: announced.clone() });
    }
    announcements.extend(reach.filter(|reach| !reach.prefixes.is_empty()));
    if !announcements.is_empty() {
        found.check_announced(context, &mut faults);
    }
    for announcement in &announcements {
        if let Some(what) = unusable(announcement.next_hop, context) {
            faults.push(Fault::new(kind::NEXT_HOP, what, Disposition::TreatAsWithdraw));
        }
    }
    let mut gone: Vec<Nlri> =
        [Some(withdrawn).filter(|_| ipv4), unreach].into_iter().flatten().filter(|list| !list.is_empty()).collect();
    if faults.iter().any(|fault| fault.disposition == Disposition::TreatAsWithdraw) {
        if announced.is_empty() && found.mp_reach.is_none() {
            // RFC 7606, 5.2: what should be withdrawn may hide behind the fault.
            return Err(Notification::malformed_attributes().into());
        }
        gone.extend(announcements.drain(..).map(|announcement| announcement.prefixes));
    }
    let announced = announcements
        .into_iter()
        .map(|reach| Announcement { attributes: found.canonical(reach.next_hop), prefixes: reach.prefixes })
        .collect();
    Ok(Update { announced, withdrawn: gone, end_of_rib, faults })
}

/// RFC 4724, 2: nothing at all, or nothing but an empty MP_UNREACH_NLRI.
fn end_of_rib(fields: &UpdateFields, found: &attributes::Attributes<'_>, unreach: Option<&Nlri>) -> Option<Family> {
    if !fields.withdrawn.is_empty() || !fields.announced.is_empty() {
        return None;
    }
    if !found.has_any {
        return Some(Family::Ipv4);
    }
    let raw = found.mp_unreach.filter(|raw| raw.whole.len() == fields.attributes.len() && raw.value.len() == 3)?;
    unreach.filter(|list| list.is_empty() && raw.value.len() == 3).map(Nlri::family)
}

/// The body's next hop; `None`, with a fault, where it is missing or malformed.
fn body_next_hop(raw: Option<Raw<'_>>, faults: &mut Vec<Fault>) -> Option<Ipv4Addr> {
    let fault = |what| Fault::new(kind::NEXT_HOP, what, Disposition::TreatAsWithdraw);
    let Some(raw) = raw else {
        // Where it was there with wrong flags, its fault is there already.
        if !faults.iter().any(|fault| fault.attribute == kind::NEXT_HOP) {
            faults.push(fault("is missing"));
        }
        return None;
    };
    let octets: Option<[u8; 4]> = raw.value.try_into().ok();
    if octets.is_none() {
        faults.push(fault("has a length other than 4"));
    }
    octets.map(Ipv4Addr::from)
}

/// A next hop that no packet can be sent to.
fn unusable(next_hop: NextHop, context: &UpdateContext) -> Option<&'static str> {
    let address = next_hop.address();
    let nowhere = match address {
        IpAddr::V4(address) => {
            let first = address.octets()[0];
            first == 0 || first >= 224 || address.is_loopback()
        }
        IpAddr::V6(address) => address.is_unspecified() || address.is_loopback() || address.is_multicast(),
    };
    if nowhere {
        return Some("is no address of a host");
    }
    context.own.contains(&address).then_some("is our own address")
}

/// AFI, SAFI and what follows them.
fn family(raw: &Raw<'_>) -> Result<(Option<Family>, usize), Notification> {
    let Some((&[high, low, safi], _)) = raw.value.split_first_chunk::<3>() else {
        return Err(Notification::optional_attribute(Bytes::copy_from_slice(raw.whole)));
    };
    Ok((codec::family_of(u16::from_be_bytes([high, low]), safi), 3))
}

/// What it costs that prefixes of this family cannot be read.
fn unreadable(raw: &Raw<'_>, family: Family, context: &UpdateContext) -> UpdateError {
    match context.unreadable {
        Unreadable::DisableFamily if context.families.len() > 1 => UpdateError::Disable(family),
        _ => Notification::optional_attribute(Bytes::copy_from_slice(raw.whole)).into(),
    }
}

/// A part of the message's buffer that a slice of it stands for.
fn part(fields: &UpdateFields, slice: &[u8]) -> Bytes {
    fields.attributes.slice_ref(slice)
}

fn reach(raw: &Raw<'_>, fields: &UpdateFields, context: &UpdateContext) -> Result<Option<Reach>, UpdateError> {
    let (family, at) = family(raw)?;
    // RFC 7606, 5.4 and RFC 4760, 7: what was not negotiated is not looked at.
    let Some(family) = family.filter(|family| context.families.contains(family)) else { return Ok(None) };
    let bad = || unreadable(raw, family, context);
    let (&length, rest) = raw.value[at..].split_first().ok_or_else(bad)?;
    let (hop, rest) = rest.split_at_checked(usize::from(length)).ok_or_else(bad)?;
    let (_reserved, prefixes) = rest.split_first().ok_or_else(bad)?;
    let next_hop = mp_next_hop(family, hop, context).ok_or_else(bad)?;
    let ids = PathIds::from(context.add_path.contains(&family));
    let prefixes = Nlri::check(family, part(fields, prefixes), ids).map_err(|BadNlri| bad())?;
    Ok(Some(Reach { next_hop, prefixes }))
}

/// RFC 2545, 3 and RFC 8950, 3: one address, or a global and a link-local one.
fn mp_next_hop(family: Family, bytes: &[u8], context: &UpdateContext) -> Option<NextHop> {
    let six = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).ok().map(Ipv6Addr::from);
    if family == Family::Ipv4 && bytes.len() == 4 {
        return <[u8; 4]>::try_from(bytes).ok().map(|octets| NextHop::V4(octets.into()));
    }
    if family == Family::Ipv4 && !context.extended_next_hop {
        return None;
    }
    match bytes.len() {
        16 => six(bytes).map(|global| NextHop::V6 { global, link_local: None }),
        32 => {
            let (global, local) = (six(&bytes[..16])?, six(&bytes[16..])?);
            // Some send no global address, or the link-local one twice.
            Some(match (global.is_unspecified() || global == local, local.is_unicast_link_local()) {
                (true, true) => NextHop::V6 { global: local, link_local: Some(local) },
                (false, true) => NextHop::V6 { global, link_local: Some(local) },
                (_, false) => NextHop::V6 { global, link_local: None },
            })
        }
        _ => None,
    }
}

fn unreach(raw: &Raw<'_>, fields: &UpdateFields, context: &UpdateContext) -> Result<Option<Nlri>, UpdateError> {
    let (family, at) = family(raw)?;
    let Some(family) = family.filter(|family| context.families.contains(family)) else { return Ok(None) };
    let ids = PathIds::from(context.add_path.contains(&family));
    Nlri::check(family, part(fields, &raw.value[at..]), ids)
        .map(Some)
        .map_err(|BadNlri| unreadable(raw, family, context))
}
