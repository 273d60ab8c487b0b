//! A tenant's connections, as the gateways that carry them are told.

use super::{FAILURE, Fabric, Input, Problem, Seating, Side, UNREACHABLE, passage};
use crate::controller::model::Id;
use crate::controller::model::records::{AgentId, Placement, Registration, Role};
use crate::controller::model::tenant::{Address, ConnectionStatus, ConnectionType, NetworkConnection, Route};
use crate::controller::seats::Occupancy;
use crate::plan::{self, Connection, ConnectionKind, Dual, Gre, Interface, Kbps, L3, PortName, Prefix, Vlan};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A gateway that carries the tenant.
pub(super) struct Carrier {
    /// Where others reach it.
    pub pa: Dual,
    /// The seat's, by the gateways that hold it or may take it, each with its port to sites; none if the gateway has no seat.
    pub instances: Option<BTreeMap<Id, PortName>>,
    /// Whether anybody carries what comes there.
    pub occupancy: Occupancy,
    /// At least one, unless something moves to or from here.
    pub connections: Vec<Connection>,
}

impl Carrier {
    /// What is reached by its connections, with the lowest metric: their routes, their peers, their VLANs' networks.
    pub fn destinations(&self) -> BTreeMap<Prefix, u32> {
        let mut destinations = BTreeMap::new();
        for connection in self.connections.iter().filter(|connection| connection.enabled) {
            let networks = match &connection.kind {
                ConnectionKind::Gre(_) => &[][..],
                ConnectionKind::L3(l3) => &l3.addresses,
            };
            let networks = networks.iter().map(|address| address.network());
            let peers = connection.peers.iter().filter_map(|peer| Prefix::try_from(IpNet::from(*peer)).ok());
            let routes = connection.routes.iter().map(|route| (route.destination, route.metric));
            for (destination, metric) in routes.chain(peers.chain(networks).map(|prefix| (prefix, 0))) {
                let least = destinations.entry(destination).or_insert(metric);
                *least = metric.min(*least);
            }
        }
        destinations
    }
}

/// The gateways that carry the tenant, with what they carry.
pub(super) fn carriers(
    input: &Input<'_>,
    side: Side,
    fabric: &impl Fabric,
    problems: &mut Vec<Problem>,
) -> BTreeMap<Id, Carrier> {
    let mut carriers: BTreeMap<Id, Carrier> = BTreeMap::new();
    let gateway = input.tenant.gateway.as_ref();
    for connection in gateway.into_iter().flat_map(|gateway| &gateway.properties.network_connections) {
        let id = &connection.resource_id;
        let site = Site { id, properties: &connection.properties };
        let placement = input.placements.connections.get(id);
        match site.carried(placement, fabric, problems) {
            Ok((gateway, carrier, mut connection)) => {
                connection.passage = passage::of(placement, side);
                carriers.entry(gateway).or_insert(carrier).connections.push(connection);
            }
            Err(problem) => problems.push(problem),
        }
        let elsewhere = placement.and_then(passage::elsewhere);
        if let Some(Ok((gateway, carrier, _))) = elsewhere.map(|at| site.carried(Some(&at), fabric, problems)) {
            carriers.entry(gateway).or_insert(carrier);
        }
    }
    carriers
}

struct Site<'a> {
    id: &'a Id,
    properties: &'a NetworkConnection,
}

impl Site<'_> {
    fn failure(&self, message: impl Into<String>) -> Problem {
        Problem::of_connection(self.id, FAILURE, message.into())
    }

    fn unreachable(&self, message: impl Into<String>) -> Problem {
        Problem::of_connection(self.id, UNREACHABLE, message.into())
    }

    /// The gateway that carries the connection, and what it is told.
    fn carried(
        &self,
        placement: Option<&Placement>,
        fabric: &impl Fabric,
        problems: &mut Vec<Problem>,
    ) -> Result<(Id, Carrier, Connection), Problem> {
        if self.properties.connection_type == ConnectionType::IpSec {
            return Err(self.failure("no gateway can carry IPSec connections yet; use GRE or L3"));
        }
        let placement = placement.ok_or_else(|| self.unreachable("the connection is on no gateway; write it again"))?;
        let gateway = &placement.gateway;
        let (carrier, port) = match fabric.seating(gateway) {
            Seating::Unseated => {
                let (registration, port) = self.at(gateway, fabric)?;
                (
                    Carrier {
                        pa: registration.pa,
                        instances: None,
                        occupancy: Occupancy::Carried,
                        connections: Vec::new(),
                    },
                    port.clone(),
                )
            }
            Seating::Vacant(why) => return Err(self.unreachable(why)),
            Seating::Seat { pa, instances, occupancy, .. } => {
                let mut ports = BTreeMap::new();
                let mut wrong = None;
                for instance in instances {
                    match self.at(&instance, fabric) {
                        Ok((_, port)) => _ = ports.insert(instance, port.clone()),
                        Err(problem) => wrong = Some(problem),
                    }
                }
                let Some(port) = ports.get(gateway).or(ports.values().next()).cloned() else {
                    let nobody = || {
                        self.unreachable(format!("no gateway may hold the seat of {gateway}; repair one of its pool"))
                    };
                    return Err(wrong.unwrap_or_else(nobody));
                };
                (Carrier { pa, instances: Some(ports), occupancy, connections: Vec::new() }, port)
            }
        };
        let kind = match self.properties.connection_type {
            ConnectionType::Gre => ConnectionKind::Gre(self.tunnel(placement)?),
            _ => ConnectionKind::L3(self.vlan(gateway, &port, fabric)?),
        };
        let connection = Connection {
            name: self.id.as_str().parse().map_err(|complaint| self.failure(format!("{complaint}")))?,
            enabled: self.properties.connection_status == ConnectionStatus::Enabled,
            inbound_kbps: limit(self.properties.inbound_kilo_bits_per_second),
            outbound_kbps: limit(self.properties.outbound_kilo_bits_per_second),
            mtu: None,
            anti_spoofing: plan::AntiSpoofing::default(),
            passage: plan::Passage::None,
            peers: self.peers(),
            routes: self.routes(problems),
            kind,
        };
        Ok((gateway.clone(), carrier, connection))
    }

    /// What a gateway said of its machine, and its port to sites.
    fn at<'f>(&self, gateway: &Id, fabric: &'f impl Fabric) -> Result<(&'f Registration, &'f PortName), Problem> {
        let agent = AgentId { role: Role::Gateway, id: gateway.clone() };
        let registration = fabric.registration(&agent).ok_or_else(|| {
            self.unreachable(format!(
                "no agent has enrolled as gateway {gateway}; create a join token for it and start `gatewayd gateway` there"
            ))
        })?;
        let port = registration.ports.iter().find(|(_, role)| role.is_site()).map(|(name, _)| name);
        let port = port.ok_or_else(|| {
            self.unreachable(format!("gateway {gateway} has no port to sites; give it one with the role site or both"))
        })?;
        Ok((registration, port))
    }

    fn tunnel(&self, placement: &Placement) -> Result<Gre, Problem> {
        let remote = self.properties.destination_ip_address;
        let remote =
            remote.ok_or_else(|| self.failure("the connection has no destinationIPAddress; write the site's"))?;
        let vip = placement.vip.filter(|vip| vip.is_ipv4() == remote.is_ipv4());
        let vip = vip.ok_or_else(|| self.unreachable("the connection has no VIP; write it again"))?;
        Ok(Gre { vip, remote, key: self.properties.gre_configuration.key(), sequence: false })
    }

    fn vlan(&self, gateway: &Id, port: &PortName, fabric: &impl Fabric) -> Result<L3, Problem> {
        let reference = self.properties.l3_configuration.vlan_subnet.as_ref();
        let reference =
            reference.ok_or_else(|| self.failure("the connection has no vlanSubnet; name the logical subnet"))?;
        let subnet = fabric.logical_subnet(reference);
        let subnet = subnet.ok_or_else(|| self.failure(format!("there is no logical subnet {}", reference.path)))?;
        let vlan = subnet.vlan.and_then(|vlan| Vlan::try_from(i64::from(vlan)).ok());
        let vlan =
            vlan.ok_or_else(|| self.failure(format!("{} has no vlanID; write the VLAN of the site", reference.path)))?;
        if let Some(rack) = fabric.rack(gateway)
            && !subnet.racks.is_empty()
            && !subnet.racks.iter().any(|with| Id::from(with.as_str()) == rack)
        {
            return Err(self.unreachable(format!(
                "VLAN {vlan} is not in rack {rack}, where gateway {gateway} is; extend it there, or move the connection"
            )));
        }
        let addresses: Result<Vec<Interface>, Problem> =
            self.properties.ip_addresses.iter().map(|address| self.interface(address)).collect();
        let addresses = addresses?;
        if addresses.is_empty() {
            return Err(self.failure("the connection has no ipAddresses; write the gateway's own on the VLAN"));
        }
        Ok(L3 { port: port.clone(), vlan, addresses: addresses.into() })
    }

    fn interface(&self, address: &Address) -> Result<Interface, Problem> {
        let Address { ip_address, prefix_length } = *address;
        let net = IpNet::new(ip_address, prefix_length);
        let net =
            net.map_err(|_| self.failure(format!("{ip_address} has no prefix of {prefix_length} bits; correct it")))?;
        Interface::try_from(net).map_err(|complaint| self.failure(complaint.to_string()))
    }

    fn peers(&self) -> Box<[IpAddr]> {
        let mut peers: Vec<IpAddr> = Vec::with_capacity(self.properties.peer_ip_addresses.len());
        for peer in &self.properties.peer_ip_addresses {
            if !peers.contains(peer) {
                peers.push(*peer);
            }
        }
        peers.into()
    }

    /// The routes, each destination and next hop once, with the lowest metric.
    fn routes(&self, problems: &mut Vec<Problem>) -> Box<[plan::Route]> {
        let mut routes: BTreeMap<(Prefix, Option<IpAddr>), u32> = BTreeMap::new();
        for route in &self.properties.routes {
            let Ok(destination) = Prefix::try_from(route.destination_prefix.trunc()) else { continue };
            match self.next_hop(route) {
                Ok(next_hop) => {
                    let metric = routes.entry((destination, next_hop)).or_insert(route.metric);
                    *metric = route.metric.min(*metric);
                }
                Err(problem) => problems.push(problem),
            }
        }
        routes
            .into_iter()
            .map(|((destination, next_hop), metric)| plan::Route { destination, next_hop, metric })
            .collect()
    }

    /// The router on the VLAN: the one that is named, else the first peer of the family. A tunnel has none.
    fn next_hop(&self, route: &Route) -> Result<Option<IpAddr>, Problem> {
        if self.properties.connection_type == ConnectionType::Gre {
            return Ok(None);
        }
        let is_ipv4 = route.destination_prefix.addr().is_ipv4();
        let named = route.next_hop.filter(|next_hop| !next_hop.is_unspecified());
        let next_hop =
            named.or_else(|| self.properties.peer_ip_addresses.iter().copied().find(|peer| peer.is_ipv4() == is_ipv4));
        let destination = route.destination_prefix;
        next_hop.map(Some).ok_or_else(|| {
            self.failure(format!("the route to {destination} has no next hop; write one, or a peer of its family"))
        })
    }
}

/// A limit in the range that gateways know. Theirs begins at 1 kbit/s, and what is above it is beyond any port.
fn limit(kbps: u64) -> Option<Kbps> {
    Kbps::try_from(i64::try_from(kbps).unwrap_or(i64::MAX).clamp(1, u32::MAX.into())).ok()
}
