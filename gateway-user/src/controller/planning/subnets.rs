//! A virtual network's subnets, and the addresses in them that are not machines'.
//!
//! The first address of a subnet is its router, for which every host answers. In a gateway subnet the second one, or the one that the BGP
//! router was given, belongs to the gateway that the router is on; the tenant's other gateways have those after it.

use super::{Input, Problem};
use crate::controller::model::{Id, Reference};
use crate::plan::{Dual, Prefix, Vsid};
use ipnet::IpNet;
use std::net::IpAddr;

/// A subnet.
pub(super) struct VirtualSubnet {
    pub id: Id,
    pub vsid: Vsid,
    pub prefix: Prefix,
    /// Its router's address.
    pub router: Option<IpAddr>,
    pub of_gateway: bool,
}

/// The subnets of a virtual network.
pub(super) struct Subnets {
    network: Id,
    pub all: Vec<VirtualSubnet>,
    /// What gateways are reached by inside the tenant.
    pub gateway_addresses: Dual,
}

impl Subnets {
    pub fn of(input: &Input<'_>, problems: &mut Vec<Problem>) -> Self {
        let network = &input.tenant.network;
        let gateway = input.tenant.gateway.as_ref().map(|gateway| &gateway.properties);
        let of_gateway = |id: &Id| {
            let references = gateway.into_iter().flat_map(|gateway| &gateway.gateway_subnets);
            references.into_iter().any(|it| it.root() == network.resource_id && it.last() == *id)
        };
        let mut all = Vec::with_capacity(network.properties.subnets.len());
        for subnet in &network.properties.subnets {
            let (id, net) = (&subnet.resource_id, subnet.properties.address_prefix.trunc());
            match (input.allocations.subnets.get(id), Prefix::try_from(net)) {
                (Some(&vsid), Ok(prefix)) => {
                    let router = nth(net, 1);
                    all.push(VirtualSubnet { id: id.clone(), vsid, prefix, router, of_gateway: of_gateway(id) });
                }
                (None, _) => problems.push(Problem::of_tenant(format!(
                    "subnet {id} has no virtual subnet id: all are in use; remove virtual subnets that nobody needs"
                ))),
                (_, Err(complaint)) => problems.push(Problem::of_tenant(format!("subnet {id}: {complaint}"))),
            }
        }
        let routers = gateway.into_iter().flat_map(|gateway| &gateway.bgp_routers);
        let chosen: Vec<IpAddr> = routers.flat_map(|router| &router.properties.router_ip).copied().collect();
        let mut gateway_addresses = Dual::default();
        for subnet in all.iter().filter(|subnet| subnet.of_gateway) {
            let inside = chosen.iter().copied().find(|address| subnet.prefix.contains(*address));
            match inside.or_else(|| nth(subnet.prefix.net(), 2)).or(subnet.router) {
                Some(IpAddr::V4(address)) => _ = gateway_addresses.v4.get_or_insert(address),
                Some(IpAddr::V6(address)) => _ = gateway_addresses.v6.get_or_insert(address),
                None => {}
            }
        }
        Self { network: network.resource_id.clone(), all, gateway_addresses }
    }

    /// A subnet of this network by a reference to it.
    pub fn find(&self, reference: &Reference) -> Option<&VirtualSubnet> {
        let id = reference.last();
        self.all.iter().find(|subnet| reference.root() == self.network && subnet.id == id)
    }

    /// The virtual subnet by which gateways send to each other: the one that their own addresses are from.
    pub fn between_gateways(&self) -> Option<Vsid> {
        let of_gateway = self.all.iter().find(|subnet| subnet.of_gateway);
        of_gateway.or(self.all.first()).map(|subnet| subnet.vsid)
    }

    /// The gateways' addresses of a number: those after the router's, or what it has left free.
    pub fn numbered(&self, number: u32) -> Dual {
        let mut addresses = Dual::default();
        for subnet in self.all.iter().filter(|subnet| subnet.of_gateway) {
            let place = number.checked_add(2).and_then(|place| nth(subnet.prefix.net(), place));
            let place = match place {
                Some(address) if self.gateway_addresses.contains(address) => nth(subnet.prefix.net(), 2),
                place => place,
            };
            match place {
                Some(IpAddr::V4(address)) if addresses.v4.is_none() => addresses.v4 = Some(address),
                Some(IpAddr::V6(address)) if addresses.v6.is_none() => addresses.v6 = Some(address),
                _ => {}
            }
        }
        addresses
    }

    /// Whether the network's own devices have an address.
    pub fn reserved(&self, address: IpAddr) -> Option<&'static str> {
        if self.gateway_addresses.contains(address) {
            Some("the gateway's own address")
        } else if self.all.iter().any(|subnet| subnet.router == Some(address)) {
            Some("the subnet's router")
        } else {
            None
        }
    }
}

/// The address so many after the network's own, if the network has it for a host.
fn nth(net: IpNet, number: u32) -> Option<IpAddr> {
    let address = match net {
        IpNet::V4(net) => IpAddr::from(std::net::Ipv4Addr::from_bits(net.network().to_bits().checked_add(number)?)),
        IpNet::V6(net) => std::net::Ipv6Addr::from_bits(net.network().to_bits().checked_add(number.into())?).into(),
    };
    let is_broadcast = net.prefix_len() < 31 && net.broadcast() == address && address.is_ipv4();
    (net.contains(&address) && !is_broadcast).then_some(address)
}
