//! The messages (RFC 7854, 4).

use crate::number::{Asn, Family, RouterId};
use crate::session::Reason;
use crate::wire::{Notification, encode_notification};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const VERSION: u8 = 3;

mod kind {
    pub const ROUTE_MONITORING: u8 = 0;
    pub const STATISTICS: u8 = 1;
    pub const PEER_DOWN: u8 = 2;
    pub const PEER_UP: u8 = 3;
    pub const INITIATION: u8 = 4;
    pub const TERMINATION: u8 = 5;
}

/// Types of peers: one that a distinguisher tells apart from others with its address, and a router's own table.
const DISTINGUISHED: u8 = 1;
const LOC_RIB: u8 = 3;

/// What is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A peer's routes as they came.
    BeforePolicy(IpAddr),
    /// A peer's routes after the import policy.
    AfterPolicy(IpAddr),
    /// The routes that were chosen.
    Chosen,
}

/// Whose routes, and where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Tells routers apart.
    pub distinguisher: u64,
    /// What is told of.
    pub stage: Stage,
    /// The peer's autonomous system; the router's own for what was chosen.
    pub asn: Asn,
    /// The peer's identifier; the router's own for what was chosen.
    pub router_id: RouterId,
}

impl Source {
    fn write(&self, at: Duration, into: &mut Vec<u8>) {
        let (kind, flags, address) = match self.stage {
            Stage::BeforePolicy(address) => (DISTINGUISHED, 0, Some(address)),
            Stage::AfterPolicy(address) => (DISTINGUISHED, 0x40, Some(address)),
            Stage::Chosen => (LOC_RIB, 0, None),
        };
        let v6 = if matches!(address, Some(IpAddr::V6(_))) { 0x80 } else { 0 };
        into.extend_from_slice(&[kind, flags | v6]);
        into.extend_from_slice(&self.distinguisher.to_be_bytes());
        put_address(address, into);
        into.extend_from_slice(&self.asn.0.to_be_bytes());
        into.extend_from_slice(&self.router_id.0.octets());
        into.extend_from_slice(&u32::try_from(at.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
        into.extend_from_slice(&at.subsec_micros().to_be_bytes());
    }
}

/// An address in sixteen octets; one of IPv4 in the last four.
fn put_address(address: Option<IpAddr>, into: &mut Vec<u8>) {
    match address {
        Some(IpAddr::V6(address)) => into.extend_from_slice(&address.octets()),
        Some(IpAddr::V4(address)) => {
            into.extend_from_slice(&[0; 12]);
            into.extend_from_slice(&address.octets());
        }
        None => into.extend_from_slice(&[0; 16]),
    }
}

fn message(kind: u8, into: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = into.len();
    into.push(VERSION);
    into.extend_from_slice(&[0; 4]);
    into.push(kind);
    body(into);
    let length = u32::try_from(into.len() - start).unwrap_or(u32::MAX);
    into[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
}

/// Text is cut where no message has room for it.
fn put_text(kind: u16, text: &str, into: &mut Vec<u8>) {
    let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    into.extend_from_slice(&kind.to_be_bytes());
    into.extend_from_slice(&(text.len() as u16).to_be_bytes());
    into.extend_from_slice(text);
}

/// The first message: who speaks.
pub fn initiation(name: &str, description: &str, into: &mut Vec<u8>) {
    message(kind::INITIATION, into, |into| {
        put_text(2, name, into);
        put_text(1, description, into);
    });
}

/// The last one: that nobody wants to speak any more.
pub fn termination(into: &mut Vec<u8>) {
    message(kind::TERMINATION, into, |into| into.extend_from_slice(&[0, 1, 0, 2, 0, 0]));
}

/// How a session came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Up<'a> {
    /// Our end; none for what was chosen.
    pub local: Option<SocketAddr>,
    /// The peer's port.
    pub remote_port: u16,
    /// Our OPEN, header included.
    pub sent: &'a [u8],
    /// The peer's.
    pub received: &'a [u8],
    /// Whose table it is.
    pub table: &'a str,
}

/// A session is up: before any route of its.
pub fn peer_up(at: Duration, source: &Source, up: &Up<'_>, into: &mut Vec<u8>) {
    message(kind::PEER_UP, into, |into| {
        source.write(at, into);
        put_address(up.local.map(|local| local.ip()), into);
        into.extend_from_slice(&up.local.map_or(0, |local| local.port()).to_be_bytes());
        into.extend_from_slice(&up.remote_port.to_be_bytes());
        into.extend_from_slice(up.sent);
        into.extend_from_slice(up.received);
        // A name of a table, where it is one; else words.
        put_text(if source.stage == Stage::Chosen { 3 } else { 0 }, up.table, into);
    });
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended<'a> {
    /// As the session says.
    Session(&'a Reason),
    /// The peer, or the router, is not looked at any more.
    NotMonitored,
}

/// A session is over: all routes of its are gone for the station.
pub fn peer_down(at: Duration, source: &Source, ended: &Ended<'_>, into: &mut Vec<u8>) {
    let pdu = |reason: u8, notification: &Notification, into: &mut Vec<u8>| {
        into.push(reason);
        into.extend_from_slice(&encode_notification(notification));
    };
    message(kind::PEER_DOWN, into, |into| {
        source.write(at, into);
        match ended {
            Ended::Session(Reason::Sent(notification)) => pdu(1, notification, into),
            Ended::Session(Reason::Received(notification)) => pdu(3, notification, into),
            // Event 24 of the state machine: another connection took its place.
            Ended::Session(Reason::Replaced) => into.extend_from_slice(&[2, 0, 24]),
            Ended::Session(Reason::ConnectionClosed | Reason::ConnectFailed) => into.push(4),
            Ended::NotMonitored => into.push(5),
        }
    });
}

/// Routes, as an UPDATE with its header: AS numbers have four octets, path identifiers stand where the peer's OPENs say so.
pub fn route_monitoring(at: Duration, source: &Source, update: &[u8], into: &mut Vec<u8>) {
    message(kind::ROUTE_MONITORING, into, |into| {
        source.write(at, into);
        into.extend_from_slice(update);
    });
}

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Prefixes that the import policy has refused.
    Refused(u32),
    /// Prefixes that the peer has told, of a family.
    Received(Family, u64),
    /// Prefixes that are chosen, of a family.
    Chosen(Family, u64),
    /// UPDATEs whose routes were taken as withdrawn (RFC 7606).
    TreatedAsWithdrawn(u32),
}

/// Figures of a peer or of what was chosen.
pub fn statistics(at: Duration, source: &Source, figures: &[Statistic], into: &mut Vec<u8>) {
    let short = |kind: u16, value: u32, into: &mut Vec<u8>| {
        into.extend_from_slice(&kind.to_be_bytes());
        into.extend_from_slice(&[0, 4]);
        into.extend_from_slice(&value.to_be_bytes());
    };
    let of_family = |kind: u16, family: Family, value: u64, into: &mut Vec<u8>| {
        into.extend_from_slice(&kind.to_be_bytes());
        into.extend_from_slice(&[0, 11, 0, if family == Family::Ipv4 { 1 } else { 2 }, 1]);
        into.extend_from_slice(&value.to_be_bytes());
    };
    message(kind::STATISTICS, into, |into| {
        source.write(at, into);
        into.extend_from_slice(&u32::try_from(figures.len()).unwrap_or(u32::MAX).to_be_bytes());
        for figure in figures {
            match *figure {
                Statistic::Refused(value) => short(0, value, into),
                Statistic::Received(family, value) => of_family(9, family, value, into),
                Statistic::Chosen(family, value) => of_family(10, family, value, into),
                Statistic::TreatedAsWithdrawn(value) => short(11, value, into),
            }
        }
    });
}
