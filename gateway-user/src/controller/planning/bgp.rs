//! A tenant's BGP router: on which gateway it is, and what is told there and to the tenant's other gateways.
//!
//! The router is the neighbour of all the tenant's sites. It reaches those whose connections are on other gateways by these, and passes what
//! it learns on to them: each has a router of its own with that one neighbour, whose client it is (RFC 4456).

use super::gateways::Own;
use super::machines::Machine;
use super::sites::Carrier;
use super::subnets::Subnets;
use super::{Input, Problem};
use crate::controller::model::bgp::{BgpPeer, BgpRouter};
use crate::controller::model::tenant::VirtualGateway;
use crate::controller::model::{Id, Reference, Resource};
use crate::plan::bgp::policy::BgpPolicy;
use crate::plan::bgp::{AsNumber, Leads, PeerFamily, PeerMode, Reflection};
use crate::plan::{self, Bgp, ConnectionKind, Dual, Name, unicast};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The tenant's routers.
#[derive(Default)]
pub(super) struct Routers {
    /// What gateways are told.
    pub by_gateway: BTreeMap<Id, Bgp>,
    /// By which gateway and connection peers are reached.
    reached: Vec<Reached>,
}

struct Reached {
    peer: IpAddr,
    gateway: Id,
    connection: Name,
}

impl Routers {
    /// Makes the peers known to the connections that lead to them, so that every gateway finds its way to them.
    pub fn make_known(&self, carriers: &mut BTreeMap<Id, Carrier>) {
        if carriers.len() < 2 {
            return;
        }
        for Reached { peer, gateway, connection } in &self.reached {
            let connections = carriers.get_mut(gateway).into_iter().flat_map(|carrier| &mut carrier.connections);
            for it in connections.filter(|it| it.name == *connection) {
                let fits = matches!(it.kind, ConnectionKind::Gre(_)) || it.network_of(*peer).is_some();
                if fits && !it.peers.contains(peer) {
                    it.peers = it.peers.iter().copied().chain([*peer]).collect();
                }
            }
        }
    }
}

/// The autonomous system of a router that has none of its own.
const AS_NUMBER: &str = "65001";

/// What the other gateways call the router.
const REFLECTOR: &str = "route-reflector";

/// The tenant's routers, if it has one, and if a gateway carries the tenant.
pub(super) fn routers(
    input: &Input<'_>,
    subnets: &Subnets,
    machines: &[Machine],
    (carriers, own): (&BTreeMap<Id, Carrier>, &Own),
    problems: &mut Vec<Problem>,
) -> Routers {
    let mut routers = Routers::default();
    let Some(gateway) = &input.tenant.gateway else { return routers };
    let properties = &gateway.properties;
    let Some((router, others)) = properties.bgp_routers.split_first() else { return routers };
    for other in others {
        let message = format!("a tenant has one BGP router, which is {}; remove one of them", router.resource_id);
        problems.push(Problem::of_router(&other.resource_id, message));
    }
    let Some(at) = &own.reflector else { return routers };
    let addresses = addresses(router, subnets, problems);
    let planning = Planning { at, properties, router, addresses, subnets, machines, carriers, own };
    if let Err(message) = planning.all(&mut routers, problems) {
        problems.push(Problem::of_router(&router.resource_id, message));
    }
    routers
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
    carriers: &'a BTreeMap<Id, Carrier>,
    own: &'a Own,
}

impl Planning<'_> {
    /// The router, and those of the other gateways if there is something to tell them.
    fn all(&self, routers: &mut Routers, problems: &mut Vec<Problem>) -> Result<(), String> {
        let mut bgp = self.bgp(&mut routers.reached, problems)?;
        if !bgp.peers.is_empty() {
            let mut clients = Vec::new();
            for id in self.carriers.keys().filter(|id| *id != self.at && self.is_reached(id)) {
                match self.client(id, &bgp) {
                    Ok((client, router)) => {
                        clients.push(client);
                        routers.by_gateway.insert(id.clone(), router);
                    }
                    Err(message) => problems.push(Problem::of_router(&self.router.resource_id, message)),
                }
            }
            bgp.peers = bgp.peers.into_iter().chain(clients).collect();
        }
        routers.by_gateway.insert(self.at.clone(), bgp);
        Ok(())
    }

    /// Another gateway as a peer of the router, and its own router.
    fn client(&self, id: &Id, bgp: &Bgp) -> Result<(plan::BgpPeer, Bgp), String> {
        let own = self.own.addresses(id);
        let pair = self.addresses.iter().find_map(|router| Some((router, own.same_family(router)?)));
        let (router, client) = pair.ok_or_else(|| {
            format!(
                "gateway {id} has no address of its own to learn routes from; take a larger subnet for the gateways"
            )
        })?;
        if own.v4.is_none() {
            return Err(format!(
                "gateway {id} has no IPv4 address to take its BGP identifier from; add an IPv4 gateway subnet"
            ));
        }
        let families: Box<[PeerFamily]> = {
            let is_wanted = |ipv4: bool| bgp.peers.iter().any(|peer| peer.address.is_ipv4() == ipv4);
            let both = [(true, PeerFamily::Ipv4), (false, PeerFamily::Ipv6)];
            both.into_iter().filter(|(ipv4, _)| is_wanted(*ipv4)).map(|(_, family)| family).collect()
        };
        let is_taken = |name: &str| bgp.peers.iter().any(|peer| peer.name.as_str() == name);
        let mut name = id.as_str().to_owned();
        while is_taken(&name) {
            name.push('-');
        }
        let mut peer = plan::BgpPeer::new(name.parse().map_err(text)?, client, bgp.as_number);
        peer.reflection = Reflection::Client;
        peer.mode = PeerMode::Passive;
        peer.families = families.clone();
        let mut reflector = plan::BgpPeer::new(REFLECTOR.parse().map_err(text)?, router, bgp.as_number);
        reflector.mode = PeerMode::Active;
        reflector.families = families;
        let mut there = Bgp::new(bgp.as_number);
        there.announce = Box::default();
        there.peers = [reflector].into();
        Ok((peer, there))
    }

    /// Whether the router's gateway reaches another one.
    fn is_reached(&self, id: &Id) -> bool {
        let pa = |id: &Id| self.carriers.get(id).map(|carrier| carrier.pa);
        let pair = pa(self.at).zip(pa(id));
        let common = pair.is_some_and(|(ours, other)| ours.iter().any(|ours| other.same_family(ours).is_some()));
        common && self.subnets.between_gateways().is_some()
    }

    fn bgp(&self, reached: &mut Vec<Reached>, problems: &mut Vec<Problem>) -> Result<Bgp, String> {
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
            match self.peer(peer, &mut policies, reached) {
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

    fn peer(
        &self,
        peer: &Resource<BgpPeer>,
        policies: &mut BTreeMap<Id, BgpPolicy>,
        reached: &mut Vec<Reached>,
    ) -> Result<plan::BgpPeer, String> {
        let address = peer.properties.peer_ip_address;
        unicast(address).map_err(text)?;
        if self.is_taken(address) {
            return Err(format!("{address} is an address in the cloud; write that of the router at the site"));
        }
        let number = peer.properties.ext_as_number.as_deref().or(peer.properties.as_number.as_deref());
        let number = as_number(number.ok_or("the peer has no extAsNumber; write the site's AS number")?)?;
        let name: Name = peer.resource_id.as_str().parse().map_err(text)?;
        let mut planned = plan::BgpPeer::new(name, address, number);
        let (gateway, connection) = self.connection_to(address)?;
        planned.connection = Some(connection.clone()).filter(|_| gateway == self.at);
        // A policy that is wanted and cannot be had keeps the session from coming up: without it too much would pass.
        planned.policy_in = self.policy(peer.properties.policy_map_in.as_ref(), policies)?;
        planned.policy_out = self.policy(peer.properties.policy_map_out.as_ref(), policies)?;
        reached.push(Reached { peer: address, gateway: gateway.clone(), connection });
        Ok(planned)
    }

    /// Whether an address is one of the cloud's, and so no site's.
    fn is_taken(&self, address: IpAddr) -> bool {
        let mut connections = self.carriers.values().flat_map(|carrier| &carrier.connections);
        self.addresses.contains(address)
            || self.own.has(address)
            || self.subnets.reserved(address).is_some()
            || self.machines.iter().any(|machine| machine.addresses.contains(&address))
            || connections.any(|connection| connection.address_on_link(address) == Some(address))
    }

    /// The gateway and the connection by which a peer is reached, if the session can run over it.
    fn connection_to(&self, address: IpAddr) -> Result<(&Id, Name), String> {
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
        if gateway != self.at && !self.is_reached(gateway) {
            return Err(format!(
                "Peers {address} have connectivity through {name} on gateway {gateway}, which gateway {} with the tenant's BGP router does \
                 not reach: they have no provider addresses of one family",
                self.at
            ));
        }
        if gateway != self.at && !connection.enabled {
            return Err(format!("Peers {address} have no connectivity: {name} on gateway {gateway} is switched off"));
        }
        if let (ConnectionKind::L3(_), Leads::Directly) = (&connection.kind, how)
            && connection.network_of(address).is_none()
            && !connection.routes.iter().any(|route| route.destination.contains(address))
        {
            return Err(format!("{address} is not on the VLAN of {name}; add a route to it to the connection"));
        }
        let on_link = connection.address_on_link(address).filter(|_| gateway == self.at);
        if on_link.or(self.addresses.same_family(address)).is_none() {
            return Err(format!("the router has no address of the family of {address}; add one to its routerIP"));
        }
        Ok((gateway, name.clone()))
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
