//! The BGP Monitoring Protocol, as a router speaks it (RFC 7854; RFC 9069 for its own table): messages to be sent, nothing is ever read.
//!
//! A [`Source`] is whose routes are told: a peer's Adj-RIB-In before or after the policy, or a router's Loc-RIB. Each has a distinguisher, so that
//! routers with the same peers' addresses share one connection.

mod message;

pub use message::{Ended, Source, Stage, Statistic, Up, initiation, route_monitoring, statistics, termination};
pub use message::{peer_down, peer_up};

use crate::number::{Asn, Family, RouterId};
use crate::wire::{self, Capabilities, Open};
use bytes::Bytes;

/// An OPEN that was never sent, for the peer that a Loc-RIB is told as (RFC 9069, 4.4).
pub fn made_up_open(asn: Asn, router_id: RouterId) -> Bytes {
    let capabilities = Capabilities {
        families: Some(Family::ALL.to_vec()),
        four_octet: true,
        extended_next_hop: true,
        ..Capabilities::default()
    };
    wire::encode_open(&Open { asn, hold_time: 0, router_id, capabilities })
}
