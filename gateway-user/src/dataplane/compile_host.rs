//! From a compute host's plan and the world to the content of the maps. Pure, as [`super::compile`] is.
//!
//! A machine on this host has a connection's number: by it its packets are counted, and its drops.

use super::compile::{
    MTU_UNKNOWN, NO_DEVICE, SEAT, adjacency, limits, link, own_address, padded, room, unresolved, way,
};
use super::ids::Ids;
use super::learned::{Exit, Exits, Learned, Via};
use super::routes::{Candidate, Rank, RouteBuilder};
use super::tables::Tables;
use super::world::World;
use crate::plan::Encapsulation;
use crate::plan::host::{HostPlan, HostRoute, HostTenant, HostVm};
use gateway_common::tables::{self, FloodKey, GATEWAY_MAC, Nexthop};
use gateway_common::template::{Ends, Link, Template};
use gateway_common::{ConnectionId, NexthopId, OriginId, PortId, TenantId, Vni};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

const BROADCAST: [u8; 6] = [0xff; 6];

/// What the maps are to hold for a host's plan in a world. What was learned is met with it, and, at the first time, with what the maps hold
/// already.
pub(super) fn compile_host(
    plan: &HostPlan,
    world: &World,
    ids: &mut Ids,
    (learned, found): (&mut Learned, Option<&Tables>),
) -> Tables {
    ids.begin();
    let mut compiler = Compiler {
        plan,
        world,
        blackhole: ids.nexthop("blackhole"),
        ids,
        by_ifindex: HashMap::new(),
        tables: Tables::default(),
        exits: HashMap::new(),
    };
    compiler.ports();
    for tenant in &plan.tenants {
        compiler.tenant(tenant);
    }
    let (mut tables, exits) = (compiler.tables, compiler.exits);
    learned.settle(exits, found, ids, &mut tables);
    ids.end();
    tables
}

struct Compiler<'a> {
    plan: &'a HostPlan,
    world: &'a World,
    ids: &'a mut Ids,
    by_ifindex: HashMap<u32, PortId>,
    blackhole: NexthopId,
    tables: Tables,
    /// By what learned routes leave: gateways, by their addresses.
    exits: HashMap<TenantId, Exits>,
}

/// What is looked up about the tenant at hand.
struct Side<'a> {
    id: TenantId,
    tenant: &'a HostTenant,
    /// The largest packet in the virtual network, as far as the plan says.
    limit: u32,
}

impl Side<'_> {
    fn template(&self, link: Link, ends: Ends, vni: Vni, inner: Link) -> Template {
        match self.tenant.encapsulation {
            Encapsulation::Vxlan => Template::vxlan(link, ends, vni, inner),
            Encapsulation::Nvgre => Template::nvgre(link, ends, vni, inner),
        }
    }
}

impl Compiler<'_> {
    fn ports(&mut self) {
        for port in &self.plan.ports {
            // Also for a port that is missing, so that its slot does not change when it comes.
            let id = self.ids.port(port.name.as_str());
            let Some(state) = self.world.ports.get(port.name.as_str()) else { continue };
            let flags = tables::Port::FABRIC | tables::Port::HOST;
            self.tables.ports.insert(state.ifindex, tables::Port { id, flags, mac: padded(state.mac) });
            self.tables.devices.insert(id.0, state.ifindex);
            self.by_ifindex.insert(state.ifindex, id);
        }
        for pa in self.plan.host.pa.iter() {
            own_address(&mut self.tables, self.world, SEAT, (pa, tables::Local::FABRIC));
        }
        let blackhole = Nexthop {
            kind: Nexthop::BLACKHOLE,
            connection: ConnectionId::NONE,
            seat: SEAT,
            mtu: u32::from(u16::MAX),
            ..Nexthop::default()
        };
        self.tables.nexthops.insert(self.blackhole.0, blackhole);
        self.tables.settings = limits();
        self.tables.settings.aside = self.world.aside.unwrap_or_default();
        if let Some(ifindex) = self.world.slow_port {
            let slot = self.ids.veth("slow");
            self.tables.devices.insert(slot.0, ifindex);
            self.tables.settings.slow_port = slot;
        }
    }

    fn tenant(&mut self, tenant: &HostTenant) {
        let id = self.ids.tenant(tenant.name.as_str());
        let limit = tenant.mtu.map_or(u32::MAX, |mtu| mtu.get().into());
        let side = Side { id, tenant, limit };
        let entry = tables::Tenant { compartment: NO_DEVICE, seat: SEAT, ..Default::default() };
        self.tables.tenants.insert(id.0, entry);
        let mut routes = RouteBuilder::default();
        self.subnets(&side, &mut routes);
        let mut receivers: BTreeMap<Vni, (Vec<u32>, BTreeSet<IpAddr>)> = BTreeMap::new();
        for vm in &tenant.vms {
            let vni = Vni(vm.vsid.get());
            let (here, elsewhere) = receivers.entry(vni).or_default();
            match &vm.device {
                Some(device) => here.extend(self.local(&side, vm, device.as_str(), &mut routes)),
                None => {
                    elsewhere.insert(vm.pa);
                    self.remote(&side, vm, &mut routes);
                }
            }
        }
        for (vni, (here, elsewhere)) in receivers {
            self.receivers(&side, vni, here, elsewhere);
        }
        for route in &tenant.routes {
            self.route(&side, route, &mut routes);
        }
        routes.finish(self.ids).enter(id, self.ids, &mut self.tables);
    }

    fn subnets(&mut self, side: &Side<'_>, routes: &mut RouteBuilder) {
        let encapsulation = match side.tenant.encapsulation {
            Encapsulation::Vxlan => tables::FabricKey::VXLAN,
            Encapsulation::Nvgre => tables::FabricKey::NVGRE,
        };
        for subnet in &side.tenant.subnets {
            let vni = Vni(subnet.vsid.get());
            routes.add(subnet.prefix.net().into(), Candidate::new(Rank::Subnet, self.blackhole));
            for pa in self.plan.host.pa.iter() {
                let key = tables::FabricKey { pa: pa.into(), vni, encapsulation };
                self.tables.fabric.insert(key, tables::Vnet { tenant: side.id, seat: SEAT });
            }
            let Some(gateway) = subnet.gateway else { continue };
            let router = self.ids.nexthop(&format!("router/{}/{}", side.id.0, vni.0));
            let entry = Nexthop {
                kind: Nexthop::LOCAL,
                connection: ConnectionId::NONE,
                seat: SEAT,
                vni,
                mtu: u32::from(u16::MAX),
                ..Nexthop::default()
            };
            self.tables.nexthops.insert(router.0, entry);
            routes.add(gateway.into(), Candidate::new(Rank::Own, router));
        }
    }

    /// A machine on this host. Its interface's index, if it is there.
    fn local(&mut self, side: &Side<'_>, vm: &HostVm, device: &str, routes: &mut RouteBuilder) -> Option<u32> {
        let vni = Vni(vm.vsid.get());
        let connection = self.ids.connection(side.id, device);
        let origin = OriginId::connection(connection);
        let entry = tables::Connection {
            tenant: side.id,
            seat: SEAT,
            flags: tables::Connection::ENABLED | tables::Connection::ANTI_SPOOFING,
            attachment: NO_DEVICE,
            ..Default::default()
        };
        self.tables.connections.insert(connection.0, entry);
        let id = self.ids.nexthop(&format!("machine/{}", connection.0));
        let slot = self.ids.veth(&format!("machine/{}", connection.0));
        let state = self.world.devices.get(device).copied();
        let nexthop = match state {
            Some(state) => {
                self.tables.devices.insert(slot.0, state.ifindex);
                let template = Template::ethernet(Link { destination: vm.mac.octets(), source: GATEWAY_MAC });
                adjacency(SEAT, &template, connection, slot, state.mtu.min(side.limit))
            }
            None => unresolved(SEAT, connection, side.limit.min(MTU_UNKNOWN)),
        };
        self.tables.nexthops.insert(id.0, Nexthop { vni, ..nexthop });
        for &ca in &vm.ca {
            routes.add(ca.into(), Candidate::new(Rank::Own, id).feasible(origin));
        }
        let ifindex = state.map_or(0, |state| state.ifindex);
        let key = tables::StationKey::new(side.id, vni, vm.mac.octets());
        self.tables.stations.insert(key, tables::Station { nexthop: id, ifindex, connection, reserved: 0 });
        let ifindex = state?.ifindex;
        let routers = || side.tenant.subnets.iter().filter(|it| it.vsid == vm.vsid).filter_map(|it| it.gateway);
        let port = tables::VmPort {
            tenant: side.id,
            connection,
            vni,
            router4: routers()
                .find_map(|router| match router {
                    IpAddr::V4(v4) => Some(u32::from_ne_bytes(v4.octets())),
                    IpAddr::V6(_) => None,
                })
                .unwrap_or_default(),
            mac: padded(vm.mac.octets()),
            router6: routers().find(IpAddr::is_ipv6).map(Into::into).unwrap_or_default(),
        };
        self.tables.vms.insert(ifindex, port);
        Some(ifindex)
    }

    /// A machine on another host.
    fn remote(&mut self, side: &Side<'_>, vm: &HostVm, routes: &mut RouteBuilder) {
        let vni = Vni(vm.vsid.get());
        let host = OriginId::host(self.ids.host(vm.pa));
        self.tables.fabric_peers.insert(tables::FabricPeerKey { pa: vm.pa.into(), tenant: side.id }, host);
        let inner = Link { destination: vm.mac.octets(), source: GATEWAY_MAC };
        let meaning = format!("vm/{}/{}/{}/{}", side.id.0, vm.vsid, vm.mac, vm.pa);
        let id = self.tunnel(side, &meaning, vm.pa, vni, inner, 0);
        for &ca in &vm.ca {
            routes.add(ca.into(), Candidate::new(Rank::Own, id).feasible(host));
        }
        let key = tables::StationKey::new(side.id, vni, vm.mac.octets());
        let connection = ConnectionId::NONE;
        self.tables.stations.insert(key, tables::Station { nexthop: id, ifindex: 0, connection, reserved: 0 });
    }

    /// The next hop to a machine, to all machines or to a gateway behind an address of the fabric.
    fn tunnel(&mut self, side: &Side<'_>, meaning: &str, to: IpAddr, vni: Vni, inner: Link, flags: u32) -> NexthopId {
        let id = self.ids.nexthop(meaning);
        let ends = self.plan.host.pa.same_family(to).and_then(|own| Ends::new(own, to));
        let nexthop = ends.zip(way(self.world, &self.by_ifindex, to)).map_or_else(
            || unresolved(SEAT, ConnectionId::NONE, MTU_UNKNOWN),
            |(ends, (hop, port))| {
                let template = side.template(link(hop), ends, vni, inner);
                adjacency(SEAT, &template, ConnectionId::NONE, port, room(hop.mtu, &template).min(side.limit))
            },
        );
        self.tables.nexthops.insert(id.0, Nexthop { vni, flags, ..nexthop });
        id
    }

    /// Who gets the subnet's broadcasts and multicasts; nobody needs to know where no machine is here.
    fn receivers(&mut self, side: &Side<'_>, vni: Vni, here: Vec<u32>, elsewhere: BTreeSet<IpAddr>) {
        if here.is_empty() {
            return;
        }
        let inner = Link { destination: BROADCAST, source: GATEWAY_MAC };
        let local = here.into_iter().map(|ifindex| tables::Flood { nexthop: NexthopId::NONE, ifindex });
        let remote = elsewhere.into_iter().map(|pa| {
            let meaning = format!("flood/{}/{}/{pa}", side.id.0, vni.0);
            tables::Flood { nexthop: self.tunnel(side, &meaning, pa, vni, inner, 0), ifindex: 0 }
        });
        let all: Vec<_> = local.chain(remote).collect();
        for (index, receiver) in (0..).zip(all) {
            self.tables.floods.insert(FloodKey { tenant: side.id, vni, index }, receiver);
        }
    }

    fn route(&mut self, side: &Side<'_>, route: &HostRoute, routes: &mut RouteBuilder) {
        for &gateway in &route.gateways {
            let key = tables::FabricPeerKey { pa: gateway.into(), tenant: side.id };
            self.tables.fabric_peers.insert(key, OriginId::GATEWAY);
            // The subnet is the sender's, which the program writes.
            let inner = Link { destination: GATEWAY_MAC, source: GATEWAY_MAC };
            let meaning = format!("gateway/{}/{gateway}", side.id.0);
            let id = self.tunnel(side, &meaning, gateway, Vni(0), inner, Nexthop::TO_GATEWAY);
            routes.add(route.destination.net().into(), Candidate::new(Rank::Metric(route.metric), id));
            let exit = Exit { any: id, routers: HashMap::new(), sender: OriginId::GATEWAY };
            self.exits.entry(side.id).or_default().insert(Via::Gateway(gateway), exit);
        }
    }
}
