//! A tenant's BGP router: on which gateway it is, and what is told there.
//!
//! The router is on the tenant's first gateway: the one that carries the first of its connections. A connection keeps its gateway, so the
//! router does.

use super::machines::Machine;
use super::sites::Carrier;
use super::subnets::Subnets;
use super::{Input, Problem};
use crate::controller::model::bgp::{BgpPeer, BgpRouter};
use crate::controller::model::tenant::VirtualGateway;
use crate::controller::model::{Id, Reference, Resource};
use crate::plan::bgp::policy::BgpPolicy;
use crate::plan::bgp::{AsNumber, Leads};
use crate::plan::{self, Bgp, ConnectionKind, Dual, Name, unicast};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The tenant's router.
pub(super) struct Router {
    /// Where it is.
    pub gateway: Id,
    /// What that gateway is told.
    pub bgp: Bgp,
}

/// The autonomous system of a router that has none of its own.
const AS_NUMBER: &str = "65001";

/// The tenant's router, if it has one, and if a gateway carries the tenant.
pub(super) fn router(
    input: &Input<'_>,
    subnets: &Subnets,
    machines: &[Machine],
    carriers: &BTreeMap<Id, Carrier<'_>>,
    problems: &mut Vec<Problem>,
) -> Option<Router> {
    let properties = &input.tenant.gateway.as_ref()?.properties;
    let (router, others) = properties.bgp_routers.split_first()?;
    for other in others {
        let message = format!("a tenant has one BGP router, which is {}; remove one of them", router.resource_id);
        problems.push(Problem::of_router(&other.resource_id, message));
    }
    let at = first(input, properties, carriers)?;
    let addresses = addresses(router, subnets, problems);
    let planning = Planning { at, properties, router, addresses, subnets, machines, carriers };
    match planning.bgp(problems) {
        Ok(bgp) => Some(Router { gateway: at.clone(), bgp }),
        Err(message) => {
            problems.push(Problem::of_router(&router.resource_id, message));
            None
        }
    }
}

/// The tenant's first gateway.
fn first<'a>(input: &'a Input<'_>, gateway: &VirtualGateway, carriers: &BTreeMap<Id, Carrier<'_>>) -> Option<&'a Id> {
    gateway.network_connections.iter().find_map(|connection| {
        let at = &input.placements.connections.get(&connection.resource_id)?.gateway;
        let carried = &carriers.get(at)?.connections;
        carried.iter().any(|it| it.name.as_str() == connection.resource_id.as_str()).then_some(at)
    })
}

/// The router's own addresses: of each family the one that is the gateway's, else the first one that nobody else can have.
fn addresses(router: &Resource<BgpRouter>, subnets: &Subnets, problems: &mut Vec<Problem>) -> Dual {
    let mut addresses = Dual::default();
    let chosen = &router.properties.router_ip;
    let gateway = subnets.gateway_addresses;
    for address in chosen.iter().copied().filter(|address| gateway.contains(*address)).chain(chosen.iter().copied()) {
        let subnet = subnets.all.iter().find(|subnet| !subnet.of_gateway && subnet.prefix.contains(address));
        if let Some(subnet) = subnet {
            let message = format!("{address} is in subnet {}; give the router one of the gateway subnet", subnet.id);
            problems.push(Problem::of_router(&router.resource_id, message));
        } else if let Err(complaint) = unicast(address) {
            problems.push(Problem::of_router(&router.resource_id, complaint.to_string()));
        } else {
            match address {
                IpAddr::V4(address) => _ = addresses.v4.get_or_insert(address),
                IpAddr::V6(address) => _ = addresses.v6.get_or_insert(address),
            }
        }
    }
    Dual { v4: addresses.v4.or(gateway.v4), v6: addresses.v6.or(gateway.v6) }
}

struct Planning<'a> {
    at: &'a Id,
    properties: &'a VirtualGateway,
    router: &'a Resource<BgpRouter>,
    addresses: Dual,
    subnets: &'a Subnets,
    machines: &'a [Machine],
    carriers: &'a BTreeMap<Id, Carrier<'a>>,
}

impl Planning<'_> {
    fn bgp(&self, problems: &mut Vec<Problem>) -> Result<Bgp, String> {
        let router = &self.router.properties;
        let mut bgp = Bgp::new(as_number(router.ext_as_number.as_deref().unwrap_or(AS_NUMBER))?);
        if let Some(id) = router.router_id {
            bgp.router_id = Some(id.to_string().parse().map_err(text)?);
        } else if self.addresses.v4.is_none() {
            return Err("the router has no IPv4 address to take its BGP identifier from; write routerId".to_owned());
        }
        if self.addresses != self.subnets.gateway_addresses {
            bgp.addresses = self.addresses;
        }
        let (mut peers, mut policies) = (Vec::new(), BTreeMap::new());
        for peer in &router.bgp_peers {
            match self.peer(peer, &mut policies) {
                Ok(planned) => peers.push(planned),
                Err(message) => {
                    problems.push(Problem::of_peer(&self.router.resource_id, &peer.resource_id, message));
                }
            }
        }
        bgp.peers = peers.into();
        bgp.policies = policies.into_values().collect();
        Ok(bgp)
    }

    fn peer(&self, peer: &Resource<BgpPeer>, policies: &mut BTreeMap<Id, BgpPolicy>) -> Result<plan::BgpPeer, String> {
        let address = peer.properties.peer_ip_address;
        unicast(address).map_err(text)?;
        if self.is_taken(address) {
            return Err(format!("{address} is an address in the cloud; write that of the router at the site"));
        }
        let number = peer.properties.ext_as_number.as_deref().or(peer.properties.as_number.as_deref());
        let number = as_number(number.ok_or("the peer has no extAsNumber; write the site's AS number")?)?;
        let name: Name = peer.resource_id.as_str().parse().map_err(text)?;
        let mut planned = plan::BgpPeer::new(name, address, number);
        planned.connection = Some(self.connection_to(address)?);
        // A policy that is wanted and cannot be had keeps the session from coming up: without it too much would pass.
        planned.policy_in = self.policy(peer.properties.policy_map_in.as_ref(), policies)?;
        planned.policy_out = self.policy(peer.properties.policy_map_out.as_ref(), policies)?;
        Ok(planned)
    }

    /// Whether an address is one of the cloud's, and so no site's.
    fn is_taken(&self, address: IpAddr) -> bool {
        let mut connections = self.carriers.values().flat_map(|carrier| &carrier.connections);
        self.addresses.contains(address)
            || self.subnets.reserved(address).is_some()
            || self.machines.iter().any(|machine| machine.addresses.contains(&address))
            || connections.any(|connection| connection.address_on_link(address) == Some(address))
    }

    /// The connection by which a peer is reached, if the session can run over it.
    fn connection_to(&self, address: IpAddr) -> Result<Name, String> {
        let ways = self.carriers.iter().flat_map(|(gateway, carrier)| {
            let ways = carrier.connections.iter().filter_map(|it| Some((it.leads_to(address)?, it)));
            ways.map(move |(how, connection)| (how, gateway, connection))
        });
        let best = ways.max_by_key(|(how, gateway, _)| (*how, *gateway == self.at));
        let (how, gateway, connection) = best.ok_or_else(|| {
            format!(
                "Peers {address} do not have connectivity through any network connection; add a route to {address} to the one that leads \
                 there"
            )
        })?;
        let name = &connection.name;
        if gateway != self.at {
            return Err(format!(
                "Peers {address} have connectivity through {name} on gateway {gateway}, and the tenant's BGP router is on {}; sessions over \
                 another gateway are not spoken, so let one gateway carry both",
                self.at
            ));
        }
        if let (ConnectionKind::L3(_), Leads::Directly) = (&connection.kind, how)
            && connection.network_of(address).is_none()
            && !connection.routes.iter().any(|route| route.destination.contains(address))
        {
            return Err(format!("{address} is not on the VLAN of {name}; add a route to it to the connection"));
        }
        if connection.address_on_link(address).or(self.addresses.same_family(address)).is_none() {
            return Err(format!("the router has no address of the family of {address}; add one to its routerIP"));
        }
        Ok(name.clone())
    }

    /// The name of a policy, which is then among those of the router.
    fn policy(
        &self,
        reference: Option<&Reference>,
        policies: &mut BTreeMap<Id, BgpPolicy>,
    ) -> Result<Option<Name>, String> {
        let Some(id) = reference.map(Reference::last) else { return Ok(None) };
        if let Some(known) = policies.get(&id) {
            return Ok(Some(known.name.clone()));
        }
        let map = self.properties.policy_maps.iter().find(|map| map.resource_id == id);
        let map = map.ok_or_else(|| format!("there is no policy map {id}"))?;
        let name: Name = map.resource_id.as_str().parse().map_err(text)?;
        let policy = BgpPolicy::from_entries(name.clone(), &map.properties.entries());
        policies.insert(id.clone(), policy.map_err(|error| format!("policy map {id}: {error}"))?);
        Ok(Some(name))
    }
}

fn as_number(number: &str) -> Result<AsNumber, String> {
    number.parse().map_err(text)
}

fn text(complaint: plan::Complaint) -> String {
    complaint.to_string()
}
