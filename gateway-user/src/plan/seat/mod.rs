//! What may move from one gateway of a pool to another: seats, and who the gateways are between whom they move.
//!
//! Only a controller writes these, so they are read from JSON alone: a plan in TOML has no such keys.

pub(super) mod check;

use super::model::{ConnectionKind, Passage, Plan, Tenant};
use super::values::{Complaint, Dual, Mac, Name};
use crate::sentinel::PairKey;
use gateway_common::tables::GATEWAY_MAC;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};

/// What one gateway of a pool holds at a time, and another takes over when that one is gone: addresses, and the tenants' connections that
/// are placed on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seat {
    /// Its name: that of the gateway where it is at home.
    pub name: Name,
    /// Its name on the wire.
    pub number: SeatNumber,
    /// Its provider addresses: at least one.
    pub pa: Dual,
    /// The station that its addresses belong to, whoever holds it.
    pub mac: SeatMac,
    /// Where the rack sends packets for its VIPs.
    #[serde(default, skip_serializing_if = "Dual::is_empty")]
    pub next_hop: Dual,
}

/// A seat's name on the wire, unique in its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeatNumber(NonZeroU32);

impl SeatNumber {
    /// A number; none is 0.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for SeatNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The Ethernet address of a seat: administered locally, since no interface was made with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Mac", into = "Mac")]
pub struct SeatMac(Mac);

impl SeatMac {
    /// The address.
    pub const fn get(self) -> Mac {
        self.0
    }
}

impl TryFrom<Mac> for SeatMac {
    type Error = Complaint;

    fn try_from(mac: Mac) -> Result<Self, Complaint> {
        let octets = mac.octets();
        if octets == GATEWAY_MAC {
            let what = format!("{mac} is the MAC address that every gateway has in virtual subnets");
            return Err(Complaint::new(what, "give the seat one of its own"));
        }
        if octets[0] & 2 == 0 {
            let what = format!("{mac} is some interface's own MAC address");
            return Err(Complaint::new(
                what,
                "give the seat a locally administered one, such as \"02:5e:a7:00:00:01\"",
            ));
        }
        Ok(Self(mac))
    }
}

impl From<SeatMac> for Mac {
    fn from(mac: SeatMac) -> Self {
        mac.0
    }
}

/// The gateways between which seats move, as one of them knows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Its name.
    pub name: Name,
    /// This gateway's name on the wire.
    pub number: NonZeroU16,
    /// This gateway's own address on the fabric, which is no seat's.
    pub fabric: IpAddr,
    /// Its own address where the sites are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<IpAddr>,
    /// Who votes, and who may take which seat.
    pub charter: seat::Charter,
    /// When what is done.
    #[serde(default)]
    pub timers: seat::Timers,
    /// The other gateways.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub peers: Box<[PoolPeer]>,
}

/// Another gateway of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolPeer {
    /// Its name.
    pub name: Name,
    /// Its name on the wire.
    pub number: NonZeroU16,
    /// Its own address on the fabric, which is no seat's.
    pub fabric: IpAddr,
    /// Its own address where the sites are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<IpAddr>,
    /// What this gateway and that one have in common, and nobody else.
    pub key: PairKey,
}

impl Pool {
    /// The addresses of the other gateways.
    pub fn others(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.peers.iter().flat_map(|peer| [Some(peer.fabric), peer.site].into_iter().flatten())
    }
}

impl Tenant {
    /// What tells one instance of a tenant from the others on the same gateway, of which there is one for each seat. No name has an `@`.
    pub fn key(&self) -> Cow<'_, str> {
        match &self.seat {
            None => self.name.as_str().into(),
            Some(seat) => format!("{}@{seat}", self.name).into(),
        }
    }

    /// The seat that a key names.
    pub fn seat_in(key: &str) -> Option<&str> {
        Some(key.split_once('@')?.1)
    }
}

impl Plan {
    /// The seat of a tenant's instance; none for what is the gateway's own.
    pub fn seat_of(&self, tenant: &Tenant) -> Option<&Seat> {
        let name = tenant.seat.as_ref()?;
        self.seats.iter().find(|seat| seat.name == *name)
    }

    /// The provider addresses of a tenant's instance: its seat's, or the gateway's own.
    pub fn pa_of(&self, tenant: &Tenant) -> Dual {
        self.seat_of(tenant).map_or(self.gateway.pa, |seat| seat.pa)
    }

    /// The VIPs of a seat of which neighbours are told unasked: none that is moving.
    pub fn announced_vips_of(&self, seat: &Name) -> BTreeSet<IpAddr> {
        let mut vips = self.vips_of(Some(seat));
        let tenants = self.tenants.iter().filter(|tenant| tenant.seat.as_ref() == Some(seat));
        for connection in tenants.flat_map(|tenant| &tenant.connections).filter(|it| it.passage != Passage::None) {
            if let ConnectionKind::Gre(gre) = &connection.kind {
                vips.remove(&gre.vip);
            }
        }
        vips
    }

    /// The VIPs of a seat, none twice; without one, those of the gateway's own.
    pub fn vips_of(&self, seat: Option<&Name>) -> BTreeSet<IpAddr> {
        let tenants = self.tenants.iter().filter(|tenant| tenant.seat.as_ref() == seat);
        let tunnels = tenants.flat_map(|tenant| &tenant.connections).filter_map(|it| match &it.kind {
            ConnectionKind::Gre(gre) => Some(gre.vip),
            ConnectionKind::L3(_) => None,
        });
        let steered = self.steer.iter().filter(|_| seat.is_none()).map(|rule| rule.vip);
        tunnels.chain(steered).collect()
    }
}
