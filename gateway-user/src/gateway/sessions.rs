//! The BGP sessions of the tenants on seats that are held here: when they are up belongs to the story of a takeover.

use super::agent::Agent;
use super::standing::Standing;
use crate::plan::{Name, Tenant};
use gateway_common::Epoch;
use std::collections::BTreeMap;

/// How far each held seat's sessions have come.
#[derive(Debug, Default)]
pub struct Sessions(BTreeMap<Name, OfSeat>);

#[derive(Debug)]
struct OfSeat {
    epoch: Epoch,
    /// Sessions that are up, by tenant.
    up: BTreeMap<Box<str>, usize>,
    said: Said,
}

/// What the history has of a seat under its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Nothing,
    First,
    All,
}

/// Something to be written into the history: the first session of a seat is up, or all are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The seat.
    pub seat: Name,
    /// Under which it is held.
    pub epoch: Epoch,
    /// Sessions that are up.
    pub up: usize,
    /// Sessions that there are to be.
    pub of: usize,
}

impl Sessions {
    /// So many sessions of a tenant's instance are up; `all` says how many there are to be on a seat.
    pub fn heard(
        &mut self,
        standing: &Standing,
        all: impl FnOnce(&Name) -> usize,
        tenant: &str,
        up: usize,
    ) -> Option<News> {
        self.0.retain(|seat, known| standing.held.get(seat) == Some(&known.epoch));
        let seat = Tenant::seat_in(tenant)?;
        let (seat, epoch) = standing.held.iter().find(|(name, _)| name.as_str() == seat)?;
        let new = || OfSeat { epoch: *epoch, up: BTreeMap::new(), said: Said::Nothing };
        let known = self.0.entry(seat.clone()).or_insert_with(new);
        if known.said == Said::All {
            return None;
        }
        known.up.insert(tenant.into(), up);
        let (up, of) = (known.up.values().sum(), all(seat));
        let now = match up {
            0 => Said::Nothing,
            up if up < of => Said::First,
            _ => Said::All,
        };
        (now > known.said).then(|| {
            known.said = now;
            News { seat: seat.clone(), epoch: *epoch, up, of }
        })
    }
}

impl Agent {
    /// So many sessions of a tenant are up.
    pub(super) fn heard_sessions(&mut self, tenant: &str, up: usize) {
        let tenants = &self.assignment.plan.tenants;
        let all = |seat: &Name| {
            let here = tenants.iter().filter(|tenant| tenant.seat.as_ref() == Some(seat));
            here.filter_map(|tenant| tenant.bgp.as_ref()).map(|bgp| bgp.peers.len()).sum()
        };
        if let Some(News { seat, epoch, up, of }) = self.sessions.heard(&self.standing, all, tenant, up) {
            self.sentinel.bgp_up(seat.as_str().into(), epoch.0, up, of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(epoch: u64) -> Standing {
        Standing { own: None, held: BTreeMap::from([("GW1".parse().unwrap(), Epoch(epoch))]) }
    }

    #[test]
    fn the_first_session_and_the_last_one_are_told_once_under_each_epoch() {
        let mut sessions = Sessions::default();
        for epoch in [3, 5] {
            let mut heard = |tenant: &str, up: usize| {
                let news = sessions.heard(&standing(epoch), |_| 3, tenant, up)?;
                assert_eq!((news.seat.as_str(), news.epoch, news.of), ("GW1", Epoch(epoch), 3));
                Some(news.up)
            };
            assert_eq!(heard("contoso@GW1", 0), None);
            assert_eq!(heard("contoso@GW1", 1), Some(1));
            assert_eq!(heard("contoso@GW1", 2), None);
            assert_eq!(heard("contoso@GW2", 1), None, "that seat is not held here");
            assert_eq!(heard("woodgrove@GW1", 1), Some(3));
            assert_eq!(heard("woodgrove@GW1", 0), None);
            assert_eq!(heard("woodgrove@GW1", 1), None, "a session that comes back is no part of a takeover");
        }
    }
}
