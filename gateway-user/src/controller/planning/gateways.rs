//! Where a tenant's BGP router is, and which addresses its gateways have of their own.

use super::machines::Machine;
use super::sites::Carrier;
use super::subnets::Subnets;
use super::{Input, Problem};
use crate::controller::model::Id;
use crate::controller::placement::numbers;
use crate::plan::Dual;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The gateways' own addresses.
pub(super) struct Own {
    /// The gateway that the router is on, or would be.
    pub reflector: Option<Id>,
    by_gateway: BTreeMap<Id, Dual>,
}

impl Own {
    pub fn of(
        input: &Input<'_>,
        subnets: &Subnets,
        machines: &[Machine],
        carriers: &BTreeMap<Id, Carrier>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let reflector = reflector(input, carriers);
        let others = || carriers.keys().filter(|id| reflector.as_ref() != Some(id));
        let numbers = numbers(input.placements.numbers.clone(), others());
        let is_machines = |address: &IpAddr| machines.iter().any(|machine| machine.addresses.contains(address));
        let has_router =
            input.tenant.gateway.as_ref().is_some_and(|gateway| !gateway.properties.bgp_routers.is_empty());
        let router = subnets.gateway_addresses;
        let mut by_gateway: BTreeMap<Id, Dual> = reflector.iter().map(|id| (id.clone(), router)).collect();
        for id in others() {
            let free = numbers.get(id).map(|number| subnets.numbered(*number)).unwrap_or_default();
            let mut own = Dual::default();
            for of_router in router.iter() {
                let address = free.same_family(of_router).filter(|address| !is_machines(address));
                if address.is_none() && has_router {
                    let family = if of_router.is_ipv4() { "IPv4" } else { "IPv6" };
                    problems.push(Problem::of_tenant(format!(
                        "the gateway subnet has no {family} address left for gateway {id}, which needs one of its own beside the BGP \
                         router's {of_router}; take a larger subnet for the gateways, or let fewer of them carry the tenant"
                    )));
                }
                // Without a router nobody asks for one gateway rather than another: whichever is asked can answer.
                match address.or(Some(of_router).filter(|_| !has_router)) {
                    Some(IpAddr::V4(address)) => own.v4 = Some(address),
                    Some(IpAddr::V6(address)) => own.v6 = Some(address),
                    None => {}
                }
            }
            by_gateway.insert(id.clone(), own);
        }
        Self { reflector, by_gateway }
    }

    /// A gateway's.
    pub fn addresses(&self, gateway: &Id) -> Dual {
        self.by_gateway.get(gateway).copied().unwrap_or_default()
    }

    /// Whether an address is some gateway's.
    pub fn has(&self, address: IpAddr) -> bool {
        self.by_gateway.values().any(|own| own.contains(address))
    }
}

/// The gateway that was chosen; as long as it cannot be told anything, the one of the first connection that can.
fn reflector(input: &Input<'_>, carriers: &BTreeMap<Id, Carrier>) -> Option<Id> {
    let chosen = input.placements.reflector.as_ref().filter(|id| carriers.contains_key(id));
    let first = || {
        let gateway = &input.tenant.gateway.as_ref()?.properties;
        gateway.network_connections.iter().find_map(|connection| {
            let at = &input.placements.connections.get(&connection.resource_id)?.gateway;
            let carried = &carriers.get(at)?.connections;
            carried.iter().any(|it| it.name.as_str() == connection.resource_id.as_str()).then_some(at)
        })
    };
    chosen.or_else(first).cloned()
}
