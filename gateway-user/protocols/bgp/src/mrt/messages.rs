//! Messages and changes of state, as they happen (RFC 6396, 4.4; RFC 8050).

use super::{kind, put_address, record};
use crate::number::Asn;
use crate::session::State;
use std::net::IpAddr;
use std::time::Duration;

const STATE_CHANGE_AS4: u16 = 5;
const MESSAGE: u16 = 1;
const MESSAGE_AS4: u16 = 4;
const MESSAGE_ADDPATH: u16 = 8;
const MESSAGE_AS4_ADDPATH: u16 = 9;

/// Whose messages they are, and what is to be known to read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The peer's autonomous system.
    pub peer_asn: Asn,
    /// Our own.
    pub local_asn: Asn,
    /// The peer's address.
    pub peer: IpAddr,
    /// Ours: of the same family.
    pub local: IpAddr,
    /// Whether AS numbers in the messages have four octets.
    pub four_octet: bool,
    /// Whether prefixes in the messages have path identifiers.
    pub add_path: bool,
}

/// A log in the making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageLog;

impl MessageLog {
    /// A message that came, header included.
    pub fn message(self, at: Duration, of: &Conversation, message: &[u8], into: &mut Vec<u8>) {
        let subtype = match (of.four_octet, of.add_path) {
            (false, false) => MESSAGE,
            (true, false) => MESSAGE_AS4,
            (false, true) => MESSAGE_ADDPATH,
            (true, true) => MESSAGE_AS4_ADDPATH,
        };
        record(at, (kind::BGP4MP_ET, subtype), into, |into| {
            if of.four_octet {
                put_ends(of, into);
            } else {
                put_short_ends(of, into);
            }
            into.extend_from_slice(message);
        });
    }

    /// A session's state has changed.
    pub fn state(self, at: Duration, of: &Conversation, (was, is): (State, State), into: &mut Vec<u8>) {
        record(at, (kind::BGP4MP_ET, STATE_CHANGE_AS4), into, |into| {
            put_ends(of, into);
            into.extend_from_slice(&number(was).to_be_bytes());
            into.extend_from_slice(&number(is).to_be_bytes());
        });
    }
}

fn put_ends(of: &Conversation, into: &mut Vec<u8>) {
    into.extend_from_slice(&of.peer_asn.0.to_be_bytes());
    into.extend_from_slice(&of.local_asn.0.to_be_bytes());
    put_addresses(of, into);
}

fn put_short_ends(of: &Conversation, into: &mut Vec<u8>) {
    /// What stands for a number of four octets (RFC 6793).
    const AS_TRANS: u16 = 23456;
    for asn in [of.peer_asn, of.local_asn] {
        into.extend_from_slice(&u16::try_from(asn.0).unwrap_or(AS_TRANS).to_be_bytes());
    }
    put_addresses(of, into);
}

fn put_addresses(of: &Conversation, into: &mut Vec<u8>) {
    // No interface.
    into.extend_from_slice(&[0, 0]);
    let family: u16 = if of.peer.is_ipv6() { 2 } else { 1 };
    into.extend_from_slice(&family.to_be_bytes());
    put_address(of.peer, into);
    let local = if of.local.is_ipv6() == of.peer.is_ipv6() {
        of.local
    } else if of.peer.is_ipv6() {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    };
    put_address(local, into);
}

/// RFC 6396, 4.4.1.
const fn number(state: State) -> u16 {
    match state {
        State::Idle => 1,
        State::Connect => 2,
        State::Active => 3,
        State::OpenSent => 4,
        State::OpenConfirm => 5,
        State::Established => 6,
    }
}
