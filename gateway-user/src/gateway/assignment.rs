//! What the agent is to do: a gateway's plan, or a compute host's. Most of the agent asks for what both have.

use crate::plan::{self, ConnectionKind, HostPlan, Plan, PlanErrors, Pool};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// What a daemon is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// A gateway.
    #[default]
    Gateway,
    /// A compute host.
    Host,
}

/// A plan that runs.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// A gateway's plan; a host's, as far as a gateway's says the same.
    pub plan: Arc<Plan>,
    /// All of a host's plan.
    pub host: Option<Arc<HostPlan>>,
}

impl Assignment {
    /// Reads a plan from a file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(role: Role, path: &Path) -> Result<Self, PlanErrors> {
        match role {
            Role::Gateway => plan::load(path).map(Self::gateway),
            Role::Host => HostPlan::load(path).map(Self::host),
        }
    }

    /// Reads a plan from TOML.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(role: Role, text: &str, name: &str) -> Result<Self, PlanErrors> {
        match role {
            Role::Gateway => plan::parse(text, name).map(Self::gateway),
            Role::Host => HostPlan::parse(text, name).map(Self::host),
        }
    }

    /// A gateway's.
    pub fn gateway(plan: Plan) -> Self {
        Self { plan: Arc::new(plan), host: None }
    }

    /// A compute host's.
    pub fn host(plan: HostPlan) -> Self {
        Self { plan: Arc::new(plan.common()), host: Some(Arc::new(plan)) }
    }

    /// The addresses outside that packets go to, each with the source they have.
    pub(super) fn remotes(&self) -> HashMap<IpAddr, Option<IpAddr>> {
        let own = |remote: IpAddr| (remote, self.plan.gateway.pa.same_family(remote));
        if let Some(host) = &self.host {
            return host.remotes().map(own).collect();
        }
        let hosts = self.plan.tenants.iter().flat_map(|tenant| &tenant.vms).map(|vm| own(vm.pa));
        let connections = self.plan.tenants.iter().flat_map(|tenant| &tenant.connections);
        let sites = connections.filter_map(|connection| match &connection.kind {
            ConnectionKind::Gre(gre) => Some((gre.remote, Some(gre.vip))),
            ConnectionKind::L3(_) => None,
        });
        let steered = self.plan.steer.iter().flat_map(|rule| [(rule.gateway, None), (rule.source, Some(rule.vip))]);
        let gateways = self.plan.tenants.iter().flat_map(|tenant| &tenant.gateways).map(|gateway| own(gateway.pa));
        let pool = self.plan.pool.iter().flat_map(Pool::others).map(|other| (other, None));
        hosts.chain(gateways).chain(sites).chain(steered).chain(pool).collect()
    }

    /// Our own outer addresses.
    pub(super) fn own_outer_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let connections = self.plan.tenants.iter().flat_map(|tenant| &tenant.connections);
        let vips = connections.filter_map(|connection| match &connection.kind {
            ConnectionKind::Gre(gre) => Some(gre.vip),
            ConnectionKind::L3(_) => None,
        });
        let next_hops = self.plan.tor.iter().flat_map(|tor| tor.next_hop.iter());
        let seats = self.plan.seats.iter().flat_map(|seat| seat.pa.iter().chain(seat.next_hop.iter()));
        self.plan
            .gateway
            .pa
            .iter()
            .chain(seats)
            .chain(vips)
            .chain(self.plan.steer.iter().map(|rule| rule.vip))
            .chain(next_hops)
    }

    /// Whether an interface of this name is a virtual machine's here.
    pub(super) fn is_device(&self, name: &str) -> bool {
        self.host.as_ref().is_some_and(|host| host.devices().any(|device| device.as_str() == name))
    }
}
