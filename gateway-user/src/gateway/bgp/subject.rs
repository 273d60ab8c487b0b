//! Whose router it is: what a router asks of the plan, whether it speaks for a tenant or for the gateway itself.

use super::bfd::{Between, Session};
use super::socket::Security;
use super::{tor, translate};
use crate::dataplane::learned::Way;
use crate::gateway::standing::Standing;
use crate::plan::bgp::Reach;
use crate::plan::{BgpPeer, Plan, Tenant};
use bgp::speaker::{Config, NeighborName, RouteNextHop};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the gateway's own router goes by where tenants' go by their names. No tenant can be called so.
const OWN: &str = "-";

/// Whose router it is, in a plan.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    plan: Arc<Plan>,
    whose: Whose,
    name: Arc<str>,
}

#[derive(Clone, Debug)]
enum Whose {
    /// The tenant's at that place in the plan.
    Tenant(usize),
    /// The gateway's own, for the rack's routers, while it stands so with its seats.
    Gateway(Arc<Standing>),
}

impl Subject {
    /// All who have a router by a plan, and are spoken for here.
    pub(super) fn all<'a>(plan: &'a Arc<Plan>, standing: &'a Arc<Standing>) -> impl Iterator<Item = Self> + 'a {
        let tenants = plan.tenants.iter().enumerate();
        let tenants = tenants.filter(|(_, tenant)| tenant.bgp.is_some() && standing.speaks_for(tenant));
        let own = plan.tor.iter().map(move |_| (Whose::Gateway(Arc::clone(standing)), OWN.into()));
        let all = tenants.map(|(index, tenant)| (Whose::Tenant(index), tenant.key().into())).chain(own);
        all.map(|(whose, name)| Self { plan: Arc::clone(plan), whose, name })
    }

    /// Whether seats that move matter to it: it is of one, or tells of what is theirs.
    pub(super) fn moves(&self) -> bool {
        self.tenant().is_none_or(|tenant| tenant.seat.is_some())
    }

    /// The tenant, if it is a tenant's.
    pub(super) fn tenant(&self) -> Option<&Tenant> {
        match self.whose {
            Whose::Tenant(index) => self.plan.tenants.get(index),
            Whose::Gateway(_) => None,
        }
    }

    /// What it goes by in the log and in what is shown.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What its speaker is configured with.
    pub(super) fn config(&self) -> Option<Config> {
        match self.whose {
            Whose::Tenant(index) => {
                translate::config(self.plan.tenants.get(index)?, self.plan.gateway.routes_per_tenant)
            }
            Whose::Gateway(ref standing) => tor::config(&self.plan, standing),
        }
    }

    /// The path of its network namespace, below the directory of those; none for the host's own.
    pub(super) fn namespace(&self, directory: &Path) -> Option<PathBuf> {
        self.tenant()?;
        Some(directory.join(format!("{}{}", crate::gateway::compartment::PREFIX, self.name)))
    }

    /// Its peers.
    pub(super) fn peers(&self) -> &[BgpPeer] {
        match self.whose {
            Whose::Tenant(_) => self.tenant().and_then(|tenant| tenant.bgp.as_ref()).map_or(&[], |bgp| &bgp.peers),
            Whose::Gateway(_) => self.plan.tor.as_ref().map_or(&[], |tor| &tor.peers),
        }
    }

    /// The peer at an address.
    pub(super) fn peer(&self, address: IpAddr) -> Option<&BgpPeer> {
        self.peers().iter().find(|peer| peer.address == address)
    }

    /// What the sockets of a peer's sessions are to see to.
    pub(super) fn security(&self, peer: &BgpPeer) -> Option<Security> {
        match self.whose {
            Whose::Tenant(_) => Some(translate::security(self.tenant()?.bgp.as_ref()?, peer)),
            Whose::Gateway(_) => Some(translate::security_in(self.plan.tor.as_ref()?.as_number, peer)),
        }
    }

    /// Our end of the session with a peer, if the plan says it.
    pub(super) fn local_address_for(&self, peer: &BgpPeer) -> Option<IpAddr> {
        self.tenant().map_or(peer.local_address, |tenant| tenant.local_address_for(peer))
    }

    /// By what packets leave that go to equally good next hops which peers have told, the best first.
    pub(super) fn ways(&self, next_hops: &[RouteNextHop]) -> Vec<Way> {
        self.tenant().map(|tenant| translate::ways(tenant, next_hops)).unwrap_or_default()
    }

    /// The BFD sessions that watch peers.
    pub(super) fn bfd(&self, directory: &Path) -> Vec<(NeighborName, Session)> {
        let wanted = self.peers().iter().filter_map(|peer| {
            let between = match self.tenant() {
                Some(tenant) => {
                    let on_link = match tenant.reach_of(peer)? {
                        Reach::Connection(connection) if connection.enabled => {
                            connection.network_of(peer.address).is_some()
                        }
                        Reach::Connection(_) => return None,
                        Reach::Gateway(_) => false,
                    };
                    if on_link { Between::Link } else { Between::Network }
                }
                None => Between::Link,
            };
            let security = self.security(peer)?;
            let session = Session::of(peer, self.local_address_for(peer)?, &security, between)?;
            let session = match self.namespace(directory) {
                Some(netns) => session.within(netns),
                None => session.forwarded_by(self.plan.ports.iter().map(|port| port.name.as_str())),
            };
            Some((translate::name(peer), session))
        });
        wanted.collect()
    }
}
