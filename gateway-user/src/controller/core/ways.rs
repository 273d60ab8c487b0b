//! Where packets to an address go from a tenant's gateways: by what is written, and by what its BGP router has learned.
//!
//! The longest prefix wins, wherever it comes from; of two that are as long, what is written.

use super::state::State;
use crate::controller::model::tenant::ConnectionStatus;
use crate::controller::model::{Id, Resource};
use crate::controller::resources::{Kind, Path};
use crate::dataplane::learned::Via;
use ipnet::IpNet;
use serde::Serialize;
use std::cmp::Reverse;
use std::net::IpAddr;

/// Where an address is reached.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ways {
    address: IpAddr,
    /// The prefix that it is looked up by; none if nothing leads there.
    destination_prefix: Option<IpNet>,
    protocol: Option<Protocol>,
    /// All are used alike.
    ways: Vec<Way>,
    /// Whether all is known here that the tenant's BGP router has learned.
    complete: bool,
}

/// Where a route comes from, the better one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
enum Protocol {
    /// A network that is there itself: a virtual subnet, the VLAN of a connection.
    Local,
    /// A route of a connection.
    Static,
    /// What the tenant's router has learned.
    #[serde(rename = "BGP")]
    Bgp,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Way {
    #[serde(skip_serializing_if = "Option::is_none")]
    virtual_subnet: Option<ResourceRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_connection: Option<ResourceRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<ResourceRef>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceRef {
    resource_ref: String,
}

/// A route that leads to the address.
struct Candidate {
    prefix: IpNet,
    protocol: Protocol,
    metric: u32,
    way: Way,
}

impl Candidate {
    /// The greatest is taken.
    fn rank(&self) -> impl Ord + use<> {
        (self.prefix.prefix_len(), Reverse(self.protocol), Reverse(self.metric))
    }
}

impl State {
    /// Where a tenant's gateways send what is for an address.
    pub fn ways(&self, tenant: &Id, address: IpAddr) -> Ways {
        let mut candidates = self.written(tenant);
        candidates.retain(|candidate| candidate.prefix.contains(&address));
        let learned = self.learned.get(tenant);
        if let Some((prefix, via)) = learned.and_then(|learned| learned.longest(address)) {
            let way = |via: &Via| match via {
                Via::Connection(name) => self.by_connection(tenant, &Id::from(&**name)),
                Via::Gateway(pa) => {
                    let gateway = learned.and_then(|learned| learned.gateway_at(*pa));
                    Way { gateway: gateway.map(|id| root(Kind::Gateway, id)), ..Way::default() }
                }
            };
            let ways = via.iter().map(way);
            candidates.extend(ways.map(|way| Candidate { prefix, protocol: Protocol::Bgp, metric: 0, way }));
        }
        let best = candidates.iter().map(Candidate::rank).max();
        candidates.retain(|candidate| Some(candidate.rank()) == best);
        let complete = match learned {
            Some(learned) => learned.is_complete(),
            // Without a router nothing is learned.
            None => self.network_of(tenant).is_none_or(|network| self.planned(&network).reach.router.is_none()),
        };
        Ways {
            address,
            destination_prefix: candidates.first().map(|candidate| candidate.prefix),
            protocol: candidates.first().map(|candidate| candidate.protocol),
            ways: candidates.into_iter().map(|candidate| candidate.way).collect(),
            complete,
        }
    }

    /// What is known without any router.
    fn written(&self, tenant: &Id) -> Vec<Candidate> {
        let Some(tenant) = self.network_of(tenant).and_then(|network| self.tenant(&network)) else { return Vec::new() };
        let network = Path::root(Kind::VirtualNetwork, tenant.network.resource_id.clone());
        let subnet = |subnet: &Resource<_>, prefix| {
            let path = network.child(Kind::VirtualSubnet, subnet.resource_id.clone());
            let way = Way { virtual_subnet: Some(reference(&path)), ..Way::default() };
            Candidate { prefix, protocol: Protocol::Local, metric: 0, way }
        };
        let subnets = &tenant.network.properties.subnets;
        let mut candidates: Vec<Candidate> =
            subnets.iter().map(|it| subnet(it, it.properties.address_prefix)).collect();
        let Some(gateway) = &tenant.gateway else { return candidates };
        for connection in &gateway.properties.network_connections {
            let (id, it) = (&connection.resource_id, &connection.properties);
            let placed = self.fleet.placement(&gateway.resource_id, id).is_some();
            if !placed || it.connection_status == ConnectionStatus::Disabled {
                continue;
            }
            let on_link = it.ip_addresses.iter();
            let on_link = on_link
                .filter_map(|at| Some((IpNet::new(at.ip_address, at.prefix_length).ok()?.trunc(), Protocol::Local, 0)));
            let routes =
                it.routes.iter().map(|route| (route.destination_prefix.trunc(), Protocol::Static, route.metric));
            for (prefix, protocol, metric) in on_link.chain(routes) {
                let way = self.by_connection(&gateway.resource_id, id);
                candidates.push(Candidate { prefix, protocol, metric, way });
            }
        }
        candidates
    }

    fn by_connection(&self, tenant: &Id, connection: &Id) -> Way {
        let path = Path::root(Kind::VirtualGateway, tenant.clone()).child(Kind::NetworkConnection, connection.clone());
        let at = self.fleet.placement(tenant, connection).map(|at| &at.gateway);
        Way {
            network_connection: Some(reference(&path)),
            gateway: at.map(|id| root(Kind::Gateway, id)),
            ..Way::default()
        }
    }
}

fn root(kind: Kind, id: &Id) -> ResourceRef {
    reference(&Path::root(kind, id.clone()))
}

fn reference(path: &Path) -> ResourceRef {
    ResourceRef { resource_ref: path.to_string() }
}
