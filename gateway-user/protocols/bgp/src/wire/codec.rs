//! Between our messages and the codec's: the only file that names it.

use super::{
    AddPath, Capabilities, Forwarding, LongLivedCapability, Message, Notification, Open, Refresh, RefreshKind,
    RestartCapability, UpdateFields,
};
use crate::number::{Asn, Family, RouterId};
use bytes::{Bytes, BytesMut};
use rustbgpd_wire as theirs;
use theirs::notification as registry;
use theirs::{Afi, Capability, DecodeError, Safi};

/// The header's length: what the shortest message has.
pub(super) const HEADER: usize = theirs::constants::HEADER_LEN;
/// The longest message without the capability for more.
pub(super) const LONGEST: u16 = theirs::MAX_MESSAGE_LEN;
/// The longest message with it (RFC 8654).
pub(super) const LONGEST_EXTENDED: u16 = theirs::EXTENDED_MAX_MESSAGE_LEN;

pub(super) const fn afi(family: Family) -> u16 {
    match family {
        Family::Ipv4 => 1,
        Family::Ipv6 => 2,
    }
}

const fn their_afi(family: Family) -> Afi {
    match family {
        Family::Ipv4 => Afi::Ipv4,
        Family::Ipv6 => Afi::Ipv6,
    }
}

fn family(afi: Afi, safi: Safi) -> Option<Family> {
    match (afi, safi) {
        (Afi::Ipv4, Safi::Unicast) => Some(Family::Ipv4),
        (Afi::Ipv6, Safi::Unicast) => Some(Family::Ipv6),
        _ => None,
    }
}

/// The family of raw numbers.
pub(super) fn family_of(afi: u16, safi: u8) -> Option<Family> {
    family(Afi::from_u16(afi)?, Safi::from_u8(safi)?)
}

/// One whole message, header and all.
pub(super) fn decode(mut bytes: Bytes, limit: u16) -> Result<Message, Notification> {
    let kind = bytes.get(HEADER - 1).copied().unwrap_or_default();
    // RFC 7313, 5. Longer ones carry filters, which nobody was offered.
    if kind == super::kind::REFRESH && bytes.len() != HEADER + 4 {
        return Err(Notification::bad_refresh_length(bytes));
    }
    match theirs::decode_message(&mut bytes, limit) {
        Ok(theirs::Message::Open(open)) => Ok(Message::Open(our_open(&open))),
        Ok(theirs::Message::Keepalive) => Ok(Message::Keepalive),
        Ok(theirs::Message::Update(update)) => Ok(Message::Update(UpdateFields {
            withdrawn: update.withdrawn_routes,
            attributes: update.path_attributes,
            announced: update.nlri,
        })),
        Ok(theirs::Message::Notification(theirs)) => Ok(Message::Notification(Notification {
            code: theirs.code.as_u8(),
            subcode: theirs.subcode,
            data: theirs.data,
        })),
        Ok(theirs::Message::RouteRefresh(refresh)) => Ok(Message::Refresh(Refresh {
            family: family_of(refresh.afi_raw, refresh.safi_raw),
            kind: match refresh.subtype_raw {
                0 => RefreshKind::Request,
                1 => RefreshKind::Begin,
                2 => RefreshKind::End,
                other => RefreshKind::Unknown(other),
            },
        })),
        // A kind that a later version of the codec knows.
        Ok(_) => Err(Notification::bad_type(kind)),
        Err(error) => Err(notification(&error)),
    }
}

fn notification(error: &DecodeError) -> Notification {
    let (code, subcode, data) = error.to_notification();
    Notification { code: code.as_u8(), subcode, data }
}

fn our_open(open: &theirs::OpenMessage) -> Open {
    let mut capabilities = Capabilities::default();
    for capability in &open.capabilities {
        match capability {
            Capability::MultiProtocol { afi, safi } => {
                let families = capabilities.families.get_or_insert_default();
                families.extend(family(*afi, *safi).filter(|family| !families.contains(family)));
            }
            // A family that the codec does not know still says that the list is there.
            Capability::Unknown { code: 1, .. } => {
                capabilities.families.get_or_insert_default();
            }
            Capability::FourOctetAs { .. } => capabilities.four_octet = true,
            Capability::ExtendedNextHop(entries) => {
                capabilities.extended_next_hop |= entries.iter().any(|entry| {
                    family(entry.nlri_afi, entry.nlri_safi) == Some(Family::Ipv4) && entry.next_hop_afi == Afi::Ipv6
                });
            }
            Capability::Unknown { code: 5, data } => {
                // One tuple of an unknown family makes the codec give all back raw.
                capabilities.extended_next_hop |= data.chunks_exact(6).any(|tuple| tuple == [0, 1, 0, 1, 0, 2]);
            }
            Capability::RouteRefresh => capabilities.route_refresh = true,
            Capability::EnhancedRouteRefresh => capabilities.enhanced_refresh = true,
            Capability::ExtendedMessage => capabilities.extended_message = true,
            Capability::GracefulRestart { restart_state, notification, restart_time, families } => {
                capabilities.graceful_restart = Some(RestartCapability {
                    restarted: *restart_state,
                    notifications: *notification,
                    time: *restart_time,
                    families: families
                        .iter()
                        .filter_map(|entry| {
                            Some((family(entry.afi, entry.safi)?, Forwarding::from(entry.forwarding_preserved)))
                        })
                        .collect(),
                });
            }
            Capability::LongLivedGracefulRestart(families) => {
                capabilities.long_lived = families
                    .iter()
                    .filter_map(|entry| {
                        Some(LongLivedCapability {
                            family: family(entry.afi, entry.safi)?,
                            forwarding: Forwarding::from(entry.forwarding_preserved),
                            seconds: entry.stale_time,
                        })
                    })
                    .collect();
            }
            Capability::AddPath(families) => {
                capabilities.add_path = families
                    .iter()
                    .filter_map(|entry| {
                        let mode = match entry.send_receive {
                            theirs::AddPathMode::Receive => AddPath::Receive,
                            theirs::AddPathMode::Send => AddPath::Send,
                            theirs::AddPathMode::Both => AddPath::Both,
                        };
                        Some((family(entry.afi, entry.safi)?, mode))
                    })
                    .collect();
            }
            Capability::Role { role } => capabilities.roles.push(role.to_u8()),
            // RFC 9234, 4.2: a role without a meaning pairs with none; one of another length is as if it were not there.
            Capability::Unknown { code: 9, data } if data.len() == 1 => capabilities.roles.push(data[0]),
            other => capabilities.unknown.push(other.code()),
        }
    }
    Open {
        asn: Asn(open.four_byte_as()),
        hold_time: open.hold_time,
        router_id: RouterId(open.bgp_identifier),
        capabilities,
    }
}

fn their_capabilities(open: &Open) -> Vec<Capability> {
    let ours = &open.capabilities;
    let mut list = Vec::new();
    for family in ours.families.iter().flatten() {
        list.push(Capability::MultiProtocol { afi: their_afi(*family), safi: Safi::Unicast });
    }
    if ours.route_refresh {
        list.push(Capability::RouteRefresh);
    }
    if ours.enhanced_refresh {
        list.push(Capability::EnhancedRouteRefresh);
    }
    if ours.extended_next_hop {
        list.push(Capability::ExtendedNextHop(vec![theirs::ExtendedNextHopFamily {
            nlri_afi: Afi::Ipv4,
            nlri_safi: Safi::Unicast,
            next_hop_afi: Afi::Ipv6,
        }]));
    }
    if ours.extended_message {
        list.push(Capability::ExtendedMessage);
    }
    list.extend(ours.roles.iter().map(|role| Capability::Unknown { code: 9, data: Bytes::copy_from_slice(&[*role]) }));
    if let Some(restart) = &ours.graceful_restart {
        list.push(Capability::GracefulRestart {
            restart_state: restart.restarted,
            notification: restart.notifications,
            restart_time: restart.time.min(0xfff),
            families: restart
                .families
                .iter()
                .map(|(family, forwarding)| theirs::GracefulRestartFamily {
                    afi: their_afi(*family),
                    safi: Safi::Unicast,
                    forwarding_preserved: *forwarding == Forwarding::Preserved,
                })
                .collect(),
        });
    }
    if ours.four_octet {
        list.push(Capability::FourOctetAs { asn: open.asn.0 });
    }
    if !ours.add_path.is_empty() {
        list.push(Capability::AddPath(
            ours.add_path
                .iter()
                .map(|(family, mode)| theirs::AddPathFamily {
                    afi: their_afi(*family),
                    safi: Safi::Unicast,
                    send_receive: match mode {
                        AddPath::Receive => theirs::AddPathMode::Receive,
                        AddPath::Send => theirs::AddPathMode::Send,
                        AddPath::Both => theirs::AddPathMode::Both,
                    },
                })
                .collect(),
        ));
    }
    if !ours.long_lived.is_empty() {
        list.push(Capability::LongLivedGracefulRestart(
            ours.long_lived
                .iter()
                .map(|entry| theirs::LlgrFamily {
                    afi: their_afi(entry.family),
                    safi: Safi::Unicast,
                    forwarding_preserved: entry.forwarding == Forwarding::Preserved,
                    stale_time: entry.seconds.min(0x00ff_ffff),
                })
                .collect(),
        ));
    }
    list
}

/// An OPEN's bytes.
pub(super) fn encode_open(open: &Open) -> Bytes {
    let message = theirs::Message::Open(theirs::OpenMessage {
        version: theirs::constants::BGP_VERSION,
        my_as: u16::try_from(open.asn.0).unwrap_or(theirs::constants::AS_TRANS),
        hold_time: open.hold_time,
        bgp_identifier: open.router_id.0,
        capabilities: their_capabilities(open),
    });
    encode(&message)
}

/// The bytes of one capability for several protocols: the data of "unsupported capability".
pub(super) fn multiprotocol(families: &[Family]) -> Bytes {
    let mut bytes = Vec::with_capacity(6 * families.len());
    for family in families {
        bytes.extend_from_slice(&[1, 4, 0, afi(*family).to_be_bytes()[1], 0, 1]);
    }
    Bytes::from(bytes)
}

/// A KEEPALIVE's bytes.
pub(super) fn encode_keepalive() -> Bytes {
    encode(&theirs::Message::Keepalive)
}

/// A NOTIFICATION's bytes; data that does not fit is cut.
pub(super) fn encode_notification(notification: &Notification) -> Bytes {
    let room = usize::from(LONGEST) - HEADER - 2;
    encode(&theirs::Message::Notification(theirs::NotificationMessage::new(
        theirs::NotificationCode::from_u8(notification.code),
        notification.subcode,
        notification.data.slice(..notification.data.len().min(room)),
    )))
}

/// A ROUTE-REFRESH's bytes.
pub(super) fn encode_refresh(family: Family, kind: RefreshKind) -> Bytes {
    let subtype = match kind {
        RefreshKind::Request => theirs::RouteRefreshSubtype::Normal,
        RefreshKind::Begin => theirs::RouteRefreshSubtype::BoRR,
        RefreshKind::End => theirs::RouteRefreshSubtype::EoRR,
        RefreshKind::Unknown(other) => theirs::RouteRefreshSubtype::Unknown(other),
    };
    encode(&theirs::Message::RouteRefresh(theirs::RouteRefreshMessage::new_with_subtype(
        their_afi(family),
        Safi::Unicast,
        subtype,
    )))
}

/// An UPDATE's header and the bytes of its three parts.
pub(super) fn encode_update(fields: &UpdateFields, limit: u16, into: &mut BytesMut) -> bool {
    theirs::UpdateMessage {
        withdrawn_routes: fields.withdrawn.clone(),
        path_attributes: fields.attributes.clone(),
        nlri: fields.announced.clone(),
    }
    .encode_with_limit(into, limit)
    .is_ok()
}

fn encode(message: &theirs::Message) -> Bytes {
    // What is built here is always within the limits: at most ten capabilities, data that was cut to fit.
    theirs::encode_message(message).map(BytesMut::freeze).unwrap_or_default()
}

/// RFC 9003: a length and words, cut at 128 octets.
pub(super) fn shutdown_communication(words: &str) -> Bytes {
    registry::encode_shutdown_communication(words)
}

/// The words of the other side's operator.
pub(super) fn communication(notification: &Notification) -> Option<String> {
    let theirs = theirs::NotificationMessage::new(
        theirs::NotificationCode::from_u8(notification.code),
        notification.subcode,
        notification.data.clone(),
    );
    registry::extract_shutdown_communication(&theirs).ok().flatten().map(str::to_owned)
}

/// The registry's name for a code and subcode.
pub(super) fn notification_name(code: u8, subcode: u8) -> &'static str {
    registry::description(theirs::NotificationCode::from_u8(code), subcode)
}
