//! The documents: what every gateway and host is told of a tenant, and of itself.

use super::bgp::{Routers, routers};
use super::gateways::Own;
use super::machines::{Machine, machines};
use super::passage::{self, Others};
use super::sites::{Carrier, carriers};
use super::subnets::Subnets;
use super::{FAILURE, Fabric, Input, Planned, Problem, Reach, Side, UNREACHABLE};
use crate::agent::protocol::Document;
use crate::controller::model::Id;
use crate::controller::model::fabric::RackBgp;
use crate::controller::model::records::{AgentId, Registration, Role};
use crate::controller::model::tenant::Encapsulation;
use crate::controller::seats::Occupancy;
use crate::plan::bgp::AsNumber;
use crate::plan::host::{Host, HostPlan, HostPort, HostRoute, HostSubnet, HostTenant, HostVm};
use crate::plan::{
    self, BgpPeer, ConnectionKind, Dual, GatewayRoute, Name, OtherGateway, Plan, Port, PortMode, PortName, Prefix,
    Subnet, Tor, Vm,
};
use gateway_common::tables::Nexthop;
use ipnet::IpNet;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// What an agent is told of itself: its name, addresses and ports.
pub fn base(agent: &AgentId, registration: &Registration, rack: Option<&RackBgp>) -> Option<Document> {
    base_in_pool(agent, registration, rack, None)
}

/// What a gateway is told of its pool: the seats that there are, and what is settled of them.
#[derive(Clone, Debug)]
pub struct Pooled {
    /// The seats.
    pub seats: Box<[plan::Seat]>,
    /// Who votes, who may take what, and who the others are.
    pub pool: plan::Pool,
}

/// The same of a gateway of a pool that has seats.
pub fn base_in_pool(
    agent: &AgentId,
    registration: &Registration,
    rack: Option<&RackBgp>,
    pooled: Option<Pooled>,
) -> Option<Document> {
    let name: Name = agent.id.as_str().parse().ok()?;
    let pa = registration.pa;
    match agent.role {
        Role::Gateway => {
            let port = |(name, role): &(plan::PortName, plan::PortRole)| Port {
                name: name.clone(),
                role: *role,
                mode: PortMode::default(),
            };
            let gateway = plan::Gateway {
                name,
                encapsulation: plan::Encapsulation::Vxlan,
                pa,
                routes_per_tenant: plan::Gateway::DEFAULT_ROUTES_PER_TENANT,
                bmp: Box::default(),
            };
            let ports = registration.ports.iter().map(port).collect();
            let (seats, pool) = pooled.map(|pooled| (pooled.seats, pooled.pool)).unzip();
            let seats = seats.unwrap_or_default();
            written(&Plan {
                gateway,
                ports,
                tenants: Box::default(),
                steer: Box::default(),
                seats,
                pool,
                tor: rack.and_then(|rack| tor(rack, pa)),
            })
        }
        Role::Host => {
            let fabric = registration.ports.iter().filter(|(_, role)| role.is_fabric());
            let ports = fabric.map(|(name, _)| HostPort { name: name.clone() }).collect();
            written(&HostPlan { host: Host { name, pa }, ports, tenants: Box::default() })
        }
    }
}

/// A gateway's BGP with the rack's routers, if it is to have any.
fn tor(rack: &RackBgp, pa: Dual) -> Option<Tor> {
    let as_number: AsNumber = rack.ext_as_number.as_ref()?.parse().ok()?;
    let peers = rack.peers.iter().enumerate().filter_map(|(number, peer)| {
        let name: Name = format!("rack{}", number + 1).parse().ok()?;
        Some(BgpPeer::new(name, peer.address, peer.ext_as_number.parse().ok()?))
    });
    let peers: Box<[BgpPeer]> = peers.collect();
    // Without an IPv4 address to take it from, the identifier is made of the IPv6 one, which is as unique.
    let made = pa.v6.filter(|_| pa.v4.is_none()).map(|pa| {
        let [.., a, b, c, d] = pa.octets();
        Ipv4Addr::new(a, b, c, d.max(1)).to_string().parse().ok()
    });
    let router_id = made.flatten();
    (!peers.is_empty()).then(|| Tor { router_id, peers, ..Tor::new(as_number) })
}

/// What follows for a tenant.
pub fn tenant(input: &Input<'_>, fabric: &impl Fabric) -> Planned {
    let mut planned = seen_by(Side::Most, input, fabric);
    if let Some(Others { placements, gateways }) = passage::others(input.placements, fabric) {
        let mut other = seen_by(Side::Other, &Input { placements: &placements, ..*input }, fabric);
        for id in gateways {
            let agent = AgentId { role: Role::Gateway, id };
            match other.replicas.remove(&agent) {
                Some(seats) => planned.replicas.insert(agent, seats),
                None => planned.replicas.remove(&agent),
            };
        }
    }
    planned
}

fn seen_by(side: Side, input: &Input<'_>, fabric: &impl Fabric) -> Planned {
    let mut problems = Vec::new();
    let subnets = Subnets::of(input, &mut problems);
    let machines = machines(input, &subnets, fabric, &mut problems);
    let mut carriers = carriers(input, side, fabric, &mut problems);
    let own = Own::of(input, &subnets, &machines, &carriers, &mut problems);
    let routers = routers(input, &subnets, &machines, (&carriers, &own), &mut problems);
    routers.make_known(&mut carriers);
    let mut whole = Whole { input, subnets, machines, carriers, own, routers, problems, told: BTreeSet::new() };
    let mut documents = BTreeMap::new();
    let mut replicas = BTreeMap::new();
    if let Some(gateway) = &input.tenant.gateway
        && let Some(name) = whole.name(&gateway.resource_id)
    {
        for id in whole.carriers.keys().cloned().collect::<Vec<_>>() {
            let Some(tenant) = whole.for_gateway(name.clone(), &id) else { continue };
            match whole.carriers.get(&id).and_then(|carrier| carrier.instances.as_ref()) {
                Some(instances) => replicate(tenant, &id, instances, &mut replicas),
                None => {
                    let document = written(&tenant).map(|document| (AgentId { role: Role::Gateway, id }, document));
                    documents.extend(document);
                }
            }
        }
    }
    let mut reach = whole.reach();
    let hosts: BTreeMap<Id, Dual> = whole.machines.iter().map(|machine| (machine.host.clone(), machine.pa)).collect();
    if !hosts.is_empty()
        && let Some(name) = whole.name(&input.tenant.network.resource_id)
    {
        for (id, pa) in hosts {
            reach.hosts.insert(id.clone(), whole.reached(|_| true, pa, &format!("host {id}")));
            let document = written(&whole.for_host(name.clone(), &id, pa));
            documents.extend(document.map(|document| (AgentId { role: Role::Host, id }, document)));
        }
    }
    let gateway = input.tenant.gateway.as_ref().map(|gateway| gateway.resource_id.clone());
    Planned { gateway, documents, replicas, problems: whole.problems, reach: Arc::new(reach) }
}

/// The document of a seat for each gateway that holds it or may take it: they differ by the ports' names alone.
fn replicate(
    mut tenant: plan::Tenant,
    seat: &Id,
    instances: &BTreeMap<Id, PortName>,
    replicas: &mut BTreeMap<AgentId, BTreeMap<Id, Document>>,
) {
    let Ok(name) = seat.as_str().parse() else { return };
    tenant.seat = Some(name);
    let mut known: BTreeMap<&PortName, Document> = BTreeMap::new();
    for (gateway, port) in instances {
        if !known.contains_key(port) {
            for connection in &mut tenant.connections {
                if let ConnectionKind::L3(l3) = &mut connection.kind {
                    l3.port = port.clone();
                }
            }
            let Some(document) = written(&tenant) else { continue };
            known.insert(port, document);
        }
        if let Some(document) = known.get(port) {
            let agent = AgentId { role: Role::Gateway, id: gateway.clone() };
            replicas.entry(agent).or_default().insert(seat.clone(), document.clone());
        }
    }
}

/// Everything of a tenant.
struct Whole<'a> {
    input: &'a Input<'a>,
    subnets: Subnets,
    machines: Vec<Machine>,
    carriers: BTreeMap<Id, Carrier>,
    /// The gateways' own addresses.
    own: Own,
    routers: Routers,
    problems: Vec<Problem>,
    /// Of which interfaces and gateways it was told already that they cannot be reached.
    told: BTreeSet<String>,
}

impl Whole<'_> {
    fn name(&mut self, id: &Id) -> Option<Name> {
        let name = id.as_str().parse();
        name.map_err(|complaint: plan::Complaint| self.problems.push(Problem::of_tenant(complaint.to_string()))).ok()
    }

    fn for_gateway(&mut self, name: Name, id: &Id) -> Option<plan::Tenant> {
        let carrier = self.carriers.get(id)?;
        let (pa, connections) = (carrier.pa, carrier.connections.clone());
        let mut vms = Vec::with_capacity(self.machines.len());
        let mut apart = Vec::new();
        for machine in &self.machines {
            match common(pa, machine.pa) {
                Some((_, pa)) => {
                    vms.extend(machine.addresses.iter().map(|&ca| Vm { ca, mac: machine.mac, vsid: machine.vsid, pa }));
                }
                None => apart.push((machine.interface.clone(), machine.host.clone())),
            }
        }
        for (interface, host) in apart {
            self.apart(&interface, &host, &format!("gateway {id}"));
        }
        let gateway_vsid = self.subnets.between_gateways().filter(|_| self.carriers.len() > 1);
        let gateways = if gateway_vsid.is_some() { self.other_gateways(id, pa) } else { Box::default() };
        let subnets = self.subnets.all.iter().filter(|subnet| !subnet.of_gateway);
        Some(plan::Tenant {
            name,
            seat: None,
            encapsulation: Some(self.encapsulation()),
            gateway_addresses: self.own.addresses(id),
            gateway_subnet: self.subnets.all.iter().find(|subnet| subnet.of_gateway).map(|subnet| subnet.prefix),
            subnets: subnets.map(|subnet| Subnet { vsid: subnet.vsid, prefix: subnet.prefix }).collect(),
            vms: vms.into(),
            gateway_vsid,
            gateways,
            connections: connections.into(),
            bgp: self.routers.by_gateway.get(id).cloned(),
        })
    }

    fn for_host(&mut self, name: Name, id: &Id, pa: Dual) -> HostTenant {
        let mut vms = Vec::with_capacity(self.machines.len());
        let mut apart = Vec::new();
        let mut without_device = Vec::new();
        for machine in &self.machines {
            let here = machine.host == *id;
            let Some((_, remote)) = common(pa, machine.pa) else {
                apart.push((machine.interface.clone(), machine.host.clone()));
                continue;
            };
            if here && machine.device.is_none() {
                without_device.push(machine.interface.clone());
                continue;
            }
            let device = machine.device.clone().filter(|_| here);
            let ca = machine.addresses.clone().into();
            vms.push(HostVm { ca, mac: machine.mac, vsid: machine.vsid, pa: remote, device });
        }
        for (interface, host) in apart {
            self.apart(&interface, &host, &format!("host {id}"));
        }
        for interface in without_device {
            let message = format!("the interface has no deviceName; write the name that its tap or veth has on {id}");
            self.problems.push(Problem::of_interface(&interface, FAILURE, message));
        }
        let subnets = self.subnets.all.iter().filter(|subnet| !subnet.of_gateway);
        let subnet = |subnet: &super::subnets::VirtualSubnet| HostSubnet {
            vsid: subnet.vsid,
            prefix: subnet.prefix,
            gateway: subnet.router,
        };
        HostTenant {
            name,
            encapsulation: self.encapsulation(),
            mtu: None,
            subnets: subnets.map(subnet).collect(),
            vms: vms.into(),
            routes: self.host_routes(id, pa),
        }
    }

    /// What learned routes meet, but for the hosts.
    fn reach(&self) -> Reach {
        let router = self.own.reflector.as_ref().filter(|id| self.routers.by_gateway.contains_key(*id));
        let Some(router) = router else { return Reach::default() };
        let mut connections = BTreeMap::new();
        let mut planned: BTreeSet<IpNet> = self.subnets.all.iter().map(|subnet| subnet.prefix.net()).collect();
        for (id, carrier) in &self.carriers {
            let carried = carrier.connections.iter().filter(|connection| connection.enabled);
            connections.extend(carried.map(|connection| (Id::from(connection.name.as_str()), id.clone())));
            planned.extend(carrier.destinations().keys().map(|destination| destination.net()));
        }
        let addresses =
            |(id, carrier): (&Id, &Carrier)| carrier.pa.iter().map(|pa| (pa, id.clone())).collect::<Vec<_>>();
        let gateways = self.carriers.iter().flat_map(addresses).collect();
        let empty = self.carriers.keys().filter(|id| self.is_empty(id)).cloned().collect();
        Reach { router: Some(router.clone()), connections, empty, gateways, hosts: BTreeMap::new(), planned }
    }

    /// Ways to what is behind the gateways.
    fn host_routes(&mut self, host: &Id, pa: Dual) -> Box<[HostRoute]> {
        let others = self.reached(|_| true, pa, &format!("host {host}"));
        let others: BTreeMap<Id, IpAddr> = others.into_iter().filter(|(id, _)| !self.is_empty(id)).collect();
        let mut routes = self.ways(&others);
        for subnet in self.subnets.all.iter().filter(|subnet| subnet.of_gateway && !others.is_empty()) {
            routes.insert(subnet.prefix, (0, others.values().copied().collect()));
        }
        for (id, &gateway) in others.iter().filter(|_| others.len() > 1) {
            for address in
                self.addresses_of(id).into_iter().filter_map(|address| Prefix::try_from(IpNet::from(address)).ok())
            {
                let (_, by) = routes.entry(address).or_insert((0, BTreeSet::new()));
                by.insert(gateway);
            }
        }
        let route = |(destination, (metric, gateways)): (Prefix, (u32, BTreeSet<IpAddr>))| HostRoute {
            destination,
            gateways: gateways.into_iter().take(Nexthop::GROUP_SIZE).collect(),
            metric,
        };
        routes.into_iter().map(route).collect()
    }

    /// The tenant's other gateways, each with what only it, or it best, leads to. What a gateway reaches as well by a connection of its own is
    /// never sent to another one, which would have to drop it if it thought the same.
    fn other_gateways(&mut self, id: &Id, pa: Dual) -> Box<[OtherGateway]> {
        let others = self.reached(|other| other != id, pa, &format!("gateway {id}"));
        let own = self.carriers.get(id).map(Carrier::destinations).unwrap_or_default();
        let mut routes: BTreeMap<IpAddr, Vec<GatewayRoute>> = others.values().map(|&pa| (pa, Vec::new())).collect();
        for (destination, (metric, gateways)) in self.ways(&others) {
            if own.get(&destination).is_some_and(|own| *own <= metric) {
                continue;
            }
            for gateway in gateways.iter().take(Nexthop::GROUP_SIZE) {
                routes.entry(*gateway).or_default().push(GatewayRoute { destination, metric });
            }
        }
        let mine = self.addresses_of(id);
        let other = |(id, pa): (Id, IpAddr)| {
            let addresses = self.addresses_of(&id).into_iter().filter(|address| !mine.contains(address)).collect();
            OtherGateway { pa, addresses, routes: routes.remove(&pa).unwrap_or_default().into() }
        };
        others.into_iter().map(other).collect()
    }

    /// All of a gateway's own addresses.
    fn addresses_of(&self, id: &Id) -> Vec<IpAddr> {
        let gateway = self.own.addresses(id);
        let router = self.routers.by_gateway.get(id).map(|bgp| bgp.addresses).unwrap_or_default();
        gateway.iter().chain(router.iter().filter(|address| !gateway.contains(*address))).collect()
    }

    /// Where gateways are reached from a machine with these provider addresses. Those that are not are told.
    fn reached(&mut self, wanted: impl Fn(&Id) -> bool, pa: Dual, from: &str) -> BTreeMap<Id, IpAddr> {
        let mut reached = BTreeMap::new();
        for (id, carrier) in self.carriers.iter().filter(|(id, _)| wanted(id)) {
            if let Some((_, gateway)) = common(pa, carrier.pa) {
                reached.insert(id.clone(), gateway);
            } else if self.told.insert(format!("{from} {id}")) {
                let message = format!(
                    "{from} and gateway {id} have no provider addresses of one family; give one of them another"
                );
                self.problems.push(Problem { about: None, code: UNREACHABLE, message });
            }
        }
        reached
    }

    /// Whether nobody holds a gateway's seat. Its addresses stay known, so that whoever takes it is believed at once; no route leads there.
    fn is_empty(&self, id: &Id) -> bool {
        self.carriers.get(id).is_some_and(|carrier| carrier.occupancy == Occupancy::Empty)
    }

    /// The best ways to what is behind gateways. Of several metrics only the lowest is of use: who is told does not see connections fail.
    fn ways(&self, gateways: &BTreeMap<Id, IpAddr>) -> BTreeMap<Prefix, (u32, BTreeSet<IpAddr>)> {
        let mut ways: BTreeMap<Prefix, (u32, BTreeSet<IpAddr>)> = BTreeMap::new();
        for (id, &gateway) in gateways.iter().filter(|(id, _)| !self.is_empty(id)) {
            let destinations = self.carriers.get(id).map(Carrier::destinations).unwrap_or_default();
            for (destination, metric) in destinations {
                let (least, by) = ways.entry(destination).or_insert((metric, BTreeSet::new()));
                if metric < *least {
                    (*least, *by) = (metric, BTreeSet::new());
                }
                if metric == *least {
                    by.insert(gateway);
                }
            }
        }
        ways
    }

    fn apart(&mut self, interface: &Id, host: &Id, other: &str) {
        if self.told.insert(format!("{interface} {other}")) {
            let message = format!(
                "its host {host} and {other} have no provider addresses of one family; give one of them another"
            );
            self.problems.push(Problem::of_interface(interface, UNREACHABLE, message));
        }
    }

    fn encapsulation(&self) -> plan::Encapsulation {
        match self.input.tenant.network.properties.encapsulation {
            Encapsulation::Vxlan => plan::Encapsulation::Vxlan,
            Encapsulation::Nvgre => plan::Encapsulation::Nvgre,
        }
    }
}

/// Addresses of one family, IPv4 first: ours and the other's.
fn common(ours: Dual, other: Dual) -> Option<(IpAddr, IpAddr)> {
    ours.iter().find_map(|address| other.same_family(address).map(|other| (address, other)))
}

/// A document; what cannot be written does not exist.
fn written(value: &impl Serialize) -> Option<Document> {
    Document::of(value).inspect_err(|error| tracing::error!(%error, "a document cannot be written")).ok()
}
