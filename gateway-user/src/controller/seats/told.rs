//! What a pool's gateways are told of its seats.

use super::record::Seats;
use crate::controller::model::Id;
use crate::controller::planning::Pooled;
use crate::controller::store::Secret;
use crate::plan::{Dual, Pool, PoolPeer, Seat, SeatMac, SeatNumber};
use crate::sentinel::PairKey;
use ring::hmac;
use std::net::IpAddr;
use std::num::NonZeroU16;

/// What keys are derived under.
const LABEL: &[u8] = b"gateway pool pair 1";

/// Where a gateway is reached, whatever seats it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// Its provider addresses.
    pub pa: Dual,
    /// Its address on the racks' side.
    pub site: Option<IpAddr>,
}

/// What a gateway of a pool is told; nothing as long as there is nothing to tell.
pub fn told(pool: &Id, seats: &Seats, me: &Id, secret: &Secret, own: impl Fn(&Id) -> Option<Own>) -> Option<Pooled> {
    let charter = seats.settled().inspect_err(|error| tracing::error!(%pool, %error, "nothing is settled")).ok()?;
    let family = seats.seats.values().find_map(|seat| seat.pa.iter().next());
    let fabric = |own: &Own| family.and_then(|like| own.pa.same_family(like)).or(own.pa.iter().next());
    let number = |id: &Id| seats.gateways.get(id).copied().and_then(NonZeroU16::new);
    let peer = |id: &Id| {
        let own = own(id)?;
        let key = pair_key(secret, me, id);
        Some(PoolPeer {
            name: id.as_str().parse().ok()?,
            number: number(id)?,
            fabric: fabric(&own)?,
            site: own.site,
            key,
        })
    };
    let seat = |(id, known): (&Id, &super::Seat)| {
        Some(Seat {
            name: id.as_str().parse().ok()?,
            number: SeatNumber::new(known.number)?,
            pa: known.pa,
            mac: SeatMac::try_from(known.mac).ok()?,
            next_hop: known.next_hop,
        })
    };
    let here = own(me)?;
    let pool = Pool {
        name: pool.as_str().parse().ok()?,
        number: number(me)?,
        fabric: fabric(&here)?,
        site: here.site,
        charter,
        timers: seats.timers,
        peers: seats.gateways.keys().filter(|id| *id != me).filter_map(peer).collect(),
    };
    Some(Pooled { seats: seats.seats.iter().filter_map(seat).collect(), pool })
}

/// What two gateways have in common, and nobody else: nobody who has it learns anything of other pairs' by it.
fn pair_key(secret: &Secret, one: &Id, other: &Id) -> PairKey {
    let (one, other) = (one.lower(), other.lower());
    let (first, second) = if one < other { (one, other) } else { (other, one) };
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()));
    for part in [LABEL, first.as_bytes(), second.as_bytes()] {
        // Names have no zero byte.
        context.update(part);
        context.update(&[0]);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    PairKey::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_gateways_have_one_key_and_no_other_pair_has_it() {
        let secret = Secret::new("of the pool");
        let key = |one: &str, other: &str| pair_key(&secret, &one.into(), &other.into());
        assert_eq!(key("GW1", "GW2"), key("gw2", "gw1"));
        assert_ne!(key("GW1", "GW2"), key("GW1", "GW3"));
        assert_ne!(key("a", "bc"), key("ab", "c"));
        assert_ne!(key("GW1", "GW2"), pair_key(&Secret::new("of another"), &"GW1".into(), &"GW2".into()));
    }
}
