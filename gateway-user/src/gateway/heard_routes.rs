//! Learned routes between this agent and the controller: up from a gateway, down to a compute host.
//!
//! A host keeps what it was told for as long as nobody says otherwise: without a controller, after its own restart, and while a controller
//! itself does not know all yet.

use super::agent::{Agent, UNTOLD};
use super::bgp::Told;
use crate::agent::protocol::{Extent, Parts};
use crate::agent::routes::{Rounds, RouteChanges, RouteEvent};
use crate::dataplane::learned::{Change, Via, Way};
use crate::plan::{Gateway, Tenant};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// What a host was told of a tenant's routes.
pub(super) type HeardRoutes = Rounds<IpAddr>;

impl Agent {
    /// Says which tenants have a router here. One whose peers are still to tell what the maps hold already has not learned all.
    pub(super) fn report_routers(&self) {
        let tenants = self
            .assignment
            .plan
            .tenants
            .iter()
            .filter(|tenant| tenant.bgp.is_some() && self.standing.speaks_for(tenant));
        let keys: Vec<_> = tenants.map(Tenant::key).collect();
        self.routes.tenants(keys.iter().map(|key| {
            let key: &str = key;
            (key, if self.unswept.contains_key(key) { Parts::More } else { Parts::Last })
        }));
    }

    /// Passes on what a tenant's router has learned.
    pub(super) fn report_routes(&self, tenant: &str, changes: &[Change]) {
        let via = |change: &Change| change.ways.iter().map(|way| way.via.clone()).collect();
        self.routes.routes(tenant, changes.iter().map(|change| (change.prefix, via(change))));
    }

    /// Takes what the controller says of learned routes.
    pub(super) fn heard_routes(&mut self, event: RouteEvent) {
        let Some(host) = self.assignment.host.clone() else { return };
        for (tenant, told) in event.tenants {
            // Its plan is refused, or gone meanwhile: whoever sends it again sends these again.
            if !host.tenants.iter().any(|it| it.name.as_str() == tenant) {
                continue;
            }
            let heard = self.heard.entry(tenant.clone()).or_default();
            let (changes, refused) = heard.take(told, Gateway::DEFAULT_ROUTES_PER_TENANT as usize);
            let complete = heard.is_complete();
            if refused > 0 {
                tracing::warn!(tenant, refused, "the tenant's table is full: learned routes are left out");
            }
            self.write_routes(&tenant, changes);
            if !complete {
                self.unswept.entry(tenant).or_insert_with(|| Instant::now() + UNTOLD);
            } else if self.unswept.remove(&tenant).is_some() {
                self.give_up(&tenant);
            }
        }
    }

    /// Nobody will tell what is still missing of a round.
    pub(super) fn end_round(&mut self, tenant: &str) {
        let Some(heard) = self.heard.get_mut(tenant) else { return };
        let rest = RouteChanges { extent: Extent::Changes, ..RouteChanges::nothing(Parts::Last) };
        let (changes, _) = heard.take(rest, usize::MAX);
        self.write_routes(tenant, changes);
    }

    /// Forgets tenants that are gone, and puts into the tables what was told of one that has come again.
    pub(super) fn settle_heard(&mut self, added: &[String]) {
        let Some(host) = self.assignment.host.clone() else { return };
        let is_there = |name: &str| host.tenants.iter().any(|tenant| tenant.name.as_str() == name);
        self.heard.retain(|name, _| is_there(name));
        let added = added.iter().filter_map(|what| what.strip_prefix("tenant "));
        for name in added.map(str::to_owned).collect::<Vec<_>>() {
            let Some(heard) = self.heard.get(&name) else { continue };
            let all = heard.iter().map(|(prefix, via)| (prefix, Some(Arc::clone(via)))).collect();
            self.write_routes(&name, all);
        }
    }

    fn write_routes(&mut self, tenant: &str, changes: Vec<(IpNet, Option<Arc<[IpAddr]>>)>) {
        if changes.is_empty() {
            return;
        }
        let way = |pa: &IpAddr| Way { via: Via::Gateway(*pa), next_hop: *pa };
        let change = |(prefix, via): (IpNet, Option<Arc<[IpAddr]>>)| Change {
            prefix,
            ways: via.iter().flat_map(|via| via.iter()).map(way).collect(),
        };
        self.learn(Told::Routes { tenant: tenant.into(), changes: changes.into_iter().map(change).collect() });
    }
}
