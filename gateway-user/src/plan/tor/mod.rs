//! The gateway's own BGP with the routers of its rack: how its VIPs are announced to them.

pub(super) mod check;
pub(super) mod read;

use super::bgp::policy::Community;
use super::bgp::{AsNumber, BgpPeer, Identifier};
use super::model::{ConnectionKind, Plan};
use super::values::Dual;
use bgp::number::RouterId;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The gateway's BGP with the rack's routers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tor {
    /// The gateway's autonomous system.
    pub as_number: AsNumber,
    /// Its BGP identifier; if absent, its IPv4 provider address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_id: Option<Identifier>,
    /// Where packets for VIPs go: the addresses on the rack's segment that move with the VIPs. If one is absent, our end of the session.
    #[serde(default, skip_serializing_if = "Dual::is_empty")]
    pub next_hop: Dual,
    /// How the rack's routers know the gateway that took the VIPs over last.
    #[serde(default)]
    pub prefer_by: PreferBy,
    /// MULTI_EXIT_DISC of what is announced; with `prefer_by = "med"` what the epoch is taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub med: Option<u32>,
    /// LOCAL_PREF towards routers in the gateway's own AS; with `prefer_by = "local-preference"` what the epoch is added to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_preference: Option<u32>,
    /// What is announced carries these.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub communities: Box<[Community]>,
    /// The rack's routers.
    #[serde(rename = "peer", default, skip_serializing_if = "<[_]>::is_empty")]
    pub peers: Box<[BgpPeer]>,
}

/// How the rack's routers know the gateway that took a VIP over last. It grows with the epoch of the VIP's seat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PreferBy {
    /// By nothing in BGP: the next hop is an address that moves.
    #[default]
    NextHop,
    /// By a MED that falls.
    Med,
    /// By a LOCAL_PREF that rises: within one AS.
    LocalPreference,
}

impl Tor {
    /// What an epoch is taken from where the plan does not say.
    pub const DEFAULT_MED: u32 = 1_000_000;
    /// What an epoch is added to where the plan does not say (RFC 4271 leaves it open; all have this).
    pub const DEFAULT_LOCAL_PREFERENCE: u32 = 100;

    /// A session layer of which nothing more is said.
    pub fn new(as_number: AsNumber) -> Self {
        Self {
            as_number,
            router_id: None,
            next_hop: Dual::default(),
            prefer_by: PreferBy::default(),
            med: None,
            local_preference: None,
            communities: Box::default(),
            peers: Box::default(),
        }
    }

    /// The MED of what is announced in an epoch.
    pub fn med_in(&self, epoch: u64) -> Option<u32> {
        match self.prefer_by {
            PreferBy::Med => Some(self.med.unwrap_or(Self::DEFAULT_MED).saturating_sub(small(epoch))),
            PreferBy::NextHop | PreferBy::LocalPreference => self.med,
        }
    }

    /// The LOCAL_PREF of what is announced in an epoch.
    pub fn local_preference_in(&self, epoch: u64) -> Option<u32> {
        match self.prefer_by {
            PreferBy::LocalPreference => {
                let least = self.local_preference.unwrap_or(Self::DEFAULT_LOCAL_PREFERENCE);
                Some(least.saturating_add(small(epoch)))
            }
            PreferBy::NextHop | PreferBy::Med => self.local_preference,
        }
    }
}

fn small(epoch: u64) -> u32 {
    u32::try_from(epoch).unwrap_or(u32::MAX)
}

impl Plan {
    /// The VIPs that site tunnels and muxes' rules end at, none twice.
    pub fn vips(&self) -> BTreeSet<IpAddr> {
        let connections = self.tenants.iter().flat_map(|tenant| &tenant.connections);
        let tunnels = connections.filter_map(|connection| match &connection.kind {
            ConnectionKind::Gre(gre) => Some(gre.vip),
            ConnectionKind::L3(_) => None,
        });
        tunnels.chain(self.steer.iter().map(|rule| rule.vip)).collect()
    }

    /// What is announced to the rack's routers.
    pub fn announced_vips(&self) -> impl Iterator<Item = IpNet> {
        self.vips().into_iter().map(IpNet::from)
    }

    /// The BGP identifier towards the rack's routers.
    pub fn tor_router_id(&self) -> Option<RouterId> {
        let tor = self.tor.as_ref()?;
        let named = tor.router_id.map(|id| id.get());
        named.or(self.gateway.pa.v4.or(tor.next_hop.v4).map(RouterId))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tor(prefer_by: PreferBy) -> Tor {
        Tor { prefer_by, ..Tor::new(AsNumber::try_from(64512).expect("good")) }
    }

    #[test]
    fn a_later_epoch_is_preferred() {
        let by_med = tor(PreferBy::Med);
        assert!(by_med.med_in(2) < by_med.med_in(1));
        assert_eq!(by_med.local_preference_in(2), None);
        let by_preference = tor(PreferBy::LocalPreference);
        assert!(by_preference.local_preference_in(2) > by_preference.local_preference_in(1));
        assert_eq!(by_preference.med_in(2), None);
        for epoch in [1, u64::MAX] {
            let by_address = Tor { med: Some(7), ..tor(PreferBy::NextHop) };
            assert_eq!((by_address.med_in(epoch), by_address.local_preference_in(epoch)), (Some(7), None));
        }
    }
}
