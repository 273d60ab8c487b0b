//! What both sides of a session can do (RFC 5492).

use super::config::{Local, Neighbor};
use crate::number::{Asn, Family, RouterId};
use crate::wire::{self, AddPath, Forwarding, Notification, Open, Peering, Role};
use crate::wire::{Capabilities, LongLivedCapability, RestartCapability};

/// What a session came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Whether the neighbour is in our AS.
    pub peering: Peering,
    /// Our AS towards it.
    pub local_asn: Asn,
    /// Its AS.
    pub asn: Asn,
    /// Its BGP identifier.
    pub router_id: RouterId,
    /// Seconds; 0 where neither side watches the other.
    pub hold_time: u16,
    /// The families whose routes are exchanged.
    pub families: Vec<FamilyNegotiated>,
    /// AS numbers of four octets.
    pub four_octet: bool,
    /// Messages of up to 65535 octets, both ways.
    pub extended_message: bool,
    /// IPv4 prefixes may have IPv6 next hops.
    pub extended_next_hop: bool,
    /// Routes may be asked for again.
    pub route_refresh: bool,
    /// The beginning and end of what was asked for are marked.
    pub enhanced_refresh: bool,
    /// Our role, where the neighbour's fits (RFC 9234).
    pub role: Option<Role>,
    /// Whether the neighbour has said its own, which fits then.
    pub role_agreed: bool,
    /// The neighbour's graceful restart, where both sides have it.
    pub restart: Option<RestartNegotiated>,
}

/// What was agreed of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyNegotiated {
    /// The family.
    pub family: Family,
    /// We may send several paths.
    pub sends_paths: bool,
    /// The neighbour may.
    pub receives_paths: bool,
}

/// What the neighbour says of its restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartNegotiated {
    /// It has restarted and waits for nobody.
    pub restarted: bool,
    /// Routes stay over notifications: both sides said so.
    pub notifications: bool,
    /// Seconds to wait for it.
    pub time: u16,
    /// Which of its families outlast a restart, and what became of their forwarding in the last one.
    pub families: Vec<(Family, Forwarding)>,
    /// Which may grow old, and for how many seconds.
    pub long_lived: Vec<LongLivedCapability>,
}

impl Negotiated {
    /// Whether routes of the family are exchanged.
    pub fn has(&self, family: Family) -> bool {
        self.family(family).is_some()
    }

    /// What was agreed of a family.
    pub fn family(&self, family: Family) -> Option<&FamilyNegotiated> {
        self.families.iter().find(|agreed| agreed.family == family)
    }
}

/// Where this daemon stands after its own start (RFC 4724, 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnRestart {
    /// There is nothing to restart from, or it is long over.
    None,
    /// Routes are being collected again: the R bit is set, and the F bits say what became of forwarding.
    Recovering(Forwarding),
}

/// The OPEN that we send.
pub(super) fn open(local: &Local, neighbor: &Neighbor, restart: OwnRestart) -> Open {
    let families: Vec<Family> = neighbor.families.keys().copied().collect();
    let both = families.len() > 1 || families.first() == Some(&Family::Ipv6);
    let (restarted, forwarding) = match restart {
        OwnRestart::None => (false, Forwarding::NotPreserved),
        OwnRestart::Recovering(forwarding) => (true, forwarding),
    };
    Open {
        asn: neighbor.local_asn(local),
        hold_time: neighbor.timers.hold,
        router_id: local.router_id,
        capabilities: Capabilities {
            families: Some(families.clone()),
            four_octet: true,
            extended_next_hop: neighbor.extended_next_hop.is_made() && both,
            route_refresh: true,
            enhanced_refresh: true,
            extended_message: neighbor.extended_messages.is_made(),
            graceful_restart: neighbor.graceful_restart.map(|offered| RestartCapability {
                restarted,
                notifications: offered.notifications.is_made(),
                time: offered.time.min(0xfff),
                families: families.iter().map(|family| (*family, forwarding)).collect(),
            }),
            long_lived: match neighbor.graceful_restart.and_then(|offered| offered.long_lived) {
                Some(seconds) => {
                    families.iter().map(|family| LongLivedCapability { family: *family, forwarding, seconds }).collect()
                }
                None => Vec::new(),
            },
            add_path: neighbor
                .families
                .iter()
                .filter_map(|(family, config)| Some((*family, config.add_path?)))
                .collect(),
            roles: neighbor
                .role
                .iter()
                .filter(|_| neighbor.peering(local) == Peering::External)
                .map(|role| role.role.value())
                .collect(),
            unknown: Vec::new(),
        },
    }
}

/// What the neighbour's OPEN and ours come to; the error is what it is told (RFC 4271, 6.2).
pub(super) fn negotiate(
    local: &Local,
    neighbor: &Neighbor,
    ours: &Open,
    theirs: &Open,
) -> Result<Negotiated, Notification> {
    let peering = neighbor.peering(local);
    if theirs.asn != neighbor.asn || theirs.asn.0 == 0 {
        return Err(Notification::bad_peer_as());
    }
    // RFC 6286, 2.2.
    let same = peering == Peering::Internal && theirs.router_id == local.router_id;
    if theirs.router_id.0.is_unspecified() || same {
        return Err(Notification::bad_identifier());
    }
    let short =
        matches!(theirs.hold_time, 1 | 2) || (theirs.hold_time != 0 && theirs.hold_time < neighbor.timers.least_hold);
    if short {
        return Err(Notification::unacceptable_hold_time());
    }
    let families: Vec<FamilyNegotiated> = neighbor
        .families
        .keys()
        .filter(|family| theirs.capabilities.has(**family))
        .map(|family| {
            let (mine, its) = (ours.capabilities.add_path(*family), theirs.capabilities.add_path(*family));
            FamilyNegotiated {
                family: *family,
                sends_paths: mine.is_some_and(AddPath::sends) && its.is_some_and(AddPath::receives),
                receives_paths: mine.is_some_and(AddPath::receives) && its.is_some_and(AddPath::sends),
            }
        })
        .collect();
    if families.is_empty() {
        let wanted: Vec<Family> = neighbor.families.keys().copied().collect();
        return Err(Notification::unsupported_capability(wire::multiprotocol(&wanted)));
    }
    let role = role(neighbor, peering, &theirs.capabilities)?;
    let (mine, its) = (&ours.capabilities, &theirs.capabilities);
    let restart = match (&mine.graceful_restart, &its.graceful_restart) {
        (Some(mine), Some(its)) => Some(RestartNegotiated {
            restarted: its.restarted,
            notifications: mine.notifications && its.notifications,
            time: its.time,
            families: its
                .families
                .iter()
                .copied()
                .filter(|(family, _)| neighbor.families.contains_key(family))
                .collect(),
            // RFC 9494, 4: without graceful restart it means nothing.
            long_lived: if ours.capabilities.long_lived.is_empty() {
                Vec::new()
            } else {
                theirs.capabilities.long_lived.clone()
            },
        }),
        _ => None,
    };
    Ok(Negotiated {
        peering,
        local_asn: ours.asn,
        asn: theirs.asn,
        router_id: theirs.router_id,
        hold_time: ours.hold_time.min(theirs.hold_time),
        families,
        four_octet: mine.four_octet && its.four_octet,
        extended_message: mine.extended_message && its.extended_message,
        extended_next_hop: mine.extended_next_hop && its.extended_next_hop,
        route_refresh: mine.route_refresh && its.route_refresh,
        enhanced_refresh: mine.enhanced_refresh && its.enhanced_refresh && its.route_refresh,
        role,
        role_agreed: role.is_some() && !its.roles.is_empty(),
        restart,
    })
}

/// RFC 9234, 4.2.
fn role(neighbor: &Neighbor, peering: Peering, theirs: &Capabilities) -> Result<Option<Role>, Notification> {
    let Some(ours) = neighbor.role.filter(|_| peering == Peering::External) else { return Ok(None) };
    let Some(first) = theirs.roles.first() else {
        return match ours.strictness {
            super::config::Strictness::Lenient => Ok(Some(ours.role)),
            super::config::Strictness::Strict => Err(Notification::role_mismatch()),
        };
    };
    let fits = *first == ours.role.counterpart().value() && theirs.roles.iter().all(|role| role == first);
    if fits { Ok(Some(ours.role)) } else { Err(Notification::role_mismatch()) }
}
