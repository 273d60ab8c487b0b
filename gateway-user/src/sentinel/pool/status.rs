//! How everything is, for who asks.

use super::Pool;
use crate::sentinel::protocol::{PeerStatus, SeatReport, SeatStatus, Status};
use seat::{Epoch, GatewayName, Hold, Moment};
use std::time::Duration;

impl Pool {
    /// How each seat is.
    pub fn reports(&self) -> impl Iterator<Item = SeatReport> {
        self.seats.iter().map(|(name, state)| {
            let holder = self.member.holder(name).map(|(gateway, epoch, _)| (gateway.clone(), epoch.0));
            let told = state.told.as_ref().filter(|(of, _)| holder.as_ref().is_some_and(|(holder, _)| holder == of));
            let sight = told.map(|(_, opinion)| *opinion).unwrap_or_default();
            SeatReport { seat: name.clone(), holding: state.holding(), epoch: state.epoch, holder, sight }
        })
    }

    /// This gateway's name.
    pub const fn me(&self) -> &GatewayName {
        &self.configuration.me
    }

    /// How everything is.
    pub fn status(&self, now: Moment) -> Status {
        let seats = self.reports().map(|report| {
            let state = self.seats.get(&report.seat);
            let until = state.and_then(|state| match state.hold {
                Hold::Replica => None,
                Hold::Held(until) | Hold::Yielding { until, .. } => until,
            });
            let lease_ms = until.map(|until| u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX));
            let known = report.holder.as_ref().map_or(0, |(_, epoch)| *epoch).max(report.epoch);
            let succession = self.configuration.charter.seats().get(&report.seat);
            let next = succession.into_iter().flat_map(|succession| succession.beyond(Epoch(known)));
            let next = next.map(|grant| (grant.to.clone(), grant.epoch.0)).collect();
            SeatStatus { report, lease_ms, next }
        });
        let clocks = self.post.clocks();
        let peers = self.configuration.peers.iter().map(|peer| {
            let gaps = self.probing.gaps(&peer.name);
            let micros = |gap: Duration| u64::try_from(gap.as_micros()).unwrap_or(u64::MAX);
            let clock = clocks.iter().find(|clock| clock.gateway == peer.name);
            PeerStatus {
                name: peer.name.clone(),
                diagnosis: self.diagnoses.get(&peer.name).copied().unwrap_or_default(),
                longest_gap_us: micros(gaps.longest),
                longest_discounted_gap_us: micros(gaps.longest_discounted),
                clock_error_us: clock.map(|clock| clock.error_us),
                clock_ahead_us: clock.map(|clock| clock.ahead_us),
            }
        });
        Status {
            me: self.configuration.me.clone(),
            seats: seats.collect(),
            peers: peers.collect(),
            agent: self.agent.state(),
        }
    }
}
