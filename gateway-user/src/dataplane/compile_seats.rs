//! What the tables say of seats: their slots, their addresses, and the gateways whose probes are answered.

use super::compile::{Compiler, padded};
use crate::plan::{Pool, PoolPeer};
use crate::sentinel::keys::probe_key;
use gateway_common::NexthopId;
use gateway_common::tables::{Local, ProbeWay, Prober, SeatSetup};
use std::net::IpAddr;

impl Compiler<'_> {
    /// The seats that this gateway holds or may take. Whether it holds one is not said here: gates are nobody's but the holder's.
    pub(super) fn seats(&mut self) {
        for seat in &self.plan.seats {
            self.stand = self.stand_of(Some(&seat.name));
            let slot = self.stand.seat;
            self.tables.seats.insert(slot.0, SeatSetup { mac: padded(seat.mac.get().octets()) });
            self.tables.seat_numbers.insert(seat.number.get(), slot);
            for pa in seat.pa.iter() {
                self.own_address(pa, Local::FABRIC);
            }
            // Where the rack sends packets for its VIPs: nothing ends there.
            for address in seat.next_hop.iter().filter(|address| !self.world.owned.contains(address)) {
                self.own_address(address, 0);
            }
        }
        self.stand = self.stand_of(None);
        if let Some(pool) = &self.plan.pool {
            for peer in &pool.peers {
                let prober = self.prober(pool, peer);
                self.tables.probers.insert(peer.number.get().into(), prober);
            }
        }
    }

    /// A gateway that probes this one.
    fn prober(&mut self, pool: &Pool, peer: &PoolPeer) -> Prober {
        let fabric = self.probe_way(Some(pool.fabric), Some(peer.fabric));
        let site = self.probe_way(pool.site, peer.site);
        Prober { key: probe_key(&peer.key, peer.number.get()).0, ways: [fabric, site] }
    }

    fn probe_way(&mut self, own: Option<IpAddr>, its: Option<IpAddr>) -> ProbeWay {
        match own.zip(its).filter(|(own, its)| own.is_ipv4() == its.is_ipv4()) {
            Some((own, its)) => {
                ProbeWay { nexthop: self.hop(its), reserved: 0, source: own.into(), destination: its.into() }
            }
            None => ProbeWay { nexthop: NexthopId::NONE, ..ProbeWay::default() },
        }
    }
}
