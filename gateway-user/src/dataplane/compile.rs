//! From the plan and the world to the content of the maps. Pure: the same three inputs give the same tables.

use super::ids::Ids;
use super::learned::{Exit, Exits, Learned, Via};
use super::memory::{Memory, Remembered};
use super::routes::{Candidate, Chosen, Rank, RouteBuilder, Routes};
use super::tables::Tables;
use super::world::{ConnectionName, Hop, Mac, World};
use crate::plan::{
    AntiSpoofing, Connection, ConnectionKind, Dual, Encapsulation, Gre, Kbps, L3, Name, Passage, Plan, Steer,
    SteerMatch, Tenant, Vm, Vsid,
};
use gateway_common::policer::Policer;
use gateway_common::tables::{self, GATEWAY_MAC, Nexthop, Settings};
use gateway_common::template::{Ends, Link, Sequence, Template};
use gateway_common::wire::protocol;
use gateway_common::{Address, ConnectionId, NexthopId, OriginId, PortId, SeatId, TenantId, VlanId, Vni, mss};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The slot of what is the gateway's own and moves nowhere: all of it where the plan has no seats.
pub const SEAT: SeatId = SeatId(0);
/// In place of a device-map slot: there is none.
pub(super) const NO_DEVICE: PortId = tables::Tenant::NO_COMPARTMENT;
/// How much of a connection's rate may pass at once: what comes together while TCP waits for its least retransmission timeout, which it runs
/// into whenever the bandwidth-delay product is a few packets. With less, one flow does not reach the rate over a short path.
const BURST_NANOSECONDS: u64 = 200_000_000;
/// Packets of full size that a burst has room for at least.
const BURST_PACKETS: u64 = 10;
/// The largest inner packet where nothing says what it is: IPv6's minimum, safe everywhere.
pub(super) const MTU_UNKNOWN: u32 = 1280;

// A packet may read a next hop's record while it is written, and so half of the old one and half of the new. Therefore all that says what the
// packet becomes (form, ends, key, virtual subnet, VLAN, port of the VLAN) is part of what the record's number means, and never changes under
// it. What changes is the way there: of two ways, half of each leads at worst to nobody.

/// What the maps are to hold for a plan in a world. Numbers come from `ids`, which also forgets those that are not needed any more.
pub fn compile(plan: &Plan, world: &World, ids: &mut Ids) -> Tables {
    compile_onto(plan, world, ids, &Memory::default(), (&mut Learned::default(), None)).0
}

/// The same, by way of what is remembered of the last time: the routes of a tenant that is as it was are not chosen again.
/// What was learned is met with it, and, at the first time, with what the maps hold already.
pub(super) fn recompile(
    plan: &Arc<Plan>,
    world: &World,
    ids: &mut Ids,
    memory: &mut Memory,
    learned: (&mut Learned, Option<&Tables>),
) -> Tables {
    let (tables, tenants) = compile_onto(plan, world, ids, memory, learned);
    *memory = Memory::new(plan, tenants);
    tables
}

fn compile_onto(
    plan: &Plan,
    world: &World,
    ids: &mut Ids,
    memory: &Memory,
    (learned, found): (&mut Learned, Option<&Tables>),
) -> (Tables, HashMap<TenantId, Remembered>) {
    ids.begin();
    let mut compiler = Compiler::new(plan, world, ids);
    compiler.ports();
    compiler.settings();
    compiler.seats();
    let mut tenants = HashMap::with_capacity(plan.tenants.len());
    for (index, tenant) in plan.tenants.iter().enumerate() {
        let (id, neighbours, chosen) = compiler.tenant(tenant, memory);
        tenants.insert(id, Remembered { index, neighbours, chosen });
    }
    compiler.stand = compiler.stand_of(None);
    for rule in &plan.steer {
        compiler.steer(rule);
    }
    let (mut tables, exits) = (compiler.tables, compiler.exits);
    learned.settle(exits, found, ids, &mut tables);
    ids.end();
    (tables, tenants)
}

/// A port that is there.
#[derive(Clone, Copy)]
struct PortHere {
    id: PortId,
    ifindex: u32,
    mac: Mac,
    mtu: u32,
}

/// Under whose gate something is, and by which addresses it is on the fabric.
#[derive(Clone, Copy)]
pub(super) struct Stand {
    pub(super) seat: SeatId,
    pa: Dual,
}

pub(super) struct Compiler<'a> {
    pub(super) plan: &'a Plan,
    pub(super) world: &'a World,
    pub(super) ids: &'a mut Ids,
    /// Whose it is that is compiled at the moment.
    pub(super) stand: Stand,
    ports: HashMap<&'a str, PortHere>,
    by_ifindex: HashMap<u32, PortId>,
    /// What is known on each L3 connection's VLAN.
    neighbours: HashMap<&'a ConnectionName, Vec<(IpAddr, Mac)>>,
    /// The same for every tenant: the tenant's own tables say where its compartment is.
    local: NexthopId,
    blackhole: NexthopId,
    /// Of tenants whose router learns routes.
    exits: HashMap<TenantId, Exits>,
    pub(super) tables: Tables,
}

impl<'a> Compiler<'a> {
    fn new(plan: &'a Plan, world: &'a World, ids: &'a mut Ids) -> Self {
        let mut neighbours: HashMap<_, Vec<_>> = HashMap::new();
        for (neighbour, mac) in &world.neighbours {
            neighbours.entry(&neighbour.connection).or_default().push((neighbour.address, *mac));
        }
        let (local, blackhole) = (ids.nexthop("local"), ids.nexthop("blackhole"));
        let mut tables = Tables::default();
        let own = |kind| Nexthop {
            kind,
            connection: ConnectionId::NONE,
            seat: SEAT,
            mtu: u32::from(u16::MAX),
            ..Nexthop::default()
        };
        tables.nexthops.insert(local.0, own(Nexthop::LOCAL));
        tables.nexthops.insert(blackhole.0, own(Nexthop::BLACKHOLE));
        Self {
            plan,
            world,
            ids,
            stand: Stand { seat: SEAT, pa: plan.gateway.pa },
            ports: HashMap::new(),
            by_ifindex: HashMap::new(),
            neighbours,
            local,
            blackhole,
            exits: HashMap::new(),
            tables,
        }
    }

    fn ports(&mut self) {
        for port in &self.plan.ports {
            // Also for a port that is missing, so that its slot does not change when it comes.
            let id = self.ids.port(port.name.as_str());
            let Some(state) = self.world.ports.get(port.name.as_str()) else { continue };
            let flags = if port.role.is_fabric() { tables::Port::FABRIC } else { 0 }
                | if port.role.is_site() { tables::Port::SITE } else { 0 };
            self.tables.ports.insert(state.ifindex, tables::Port { id, flags, mac: padded(state.mac) });
            self.tables.devices.insert(id.0, state.ifindex);
            self.by_ifindex.insert(state.ifindex, id);
            let here = PortHere { id, ifindex: state.ifindex, mac: state.mac, mtu: state.mtu };
            self.ports.insert(port.name.as_str(), here);
        }
        for pa in self.plan.gateway.pa.iter() {
            self.own_address(pa, tables::Local::FABRIC);
        }
        // Where the rack sends packets for VIPs: nothing ends there, and nobody else answers for it.
        let next_hops = self.plan.tor.iter().flat_map(|tor| tor.next_hop.iter());
        for address in next_hops.filter(|address| !self.world.owned.contains(address)) {
            self.own_address(address, 0);
        }
    }

    /// Whose what is of a seat; none is the gateway itself.
    pub(super) fn stand_of(&mut self, seat: Option<&Name>) -> Stand {
        let seat = seat.and_then(|name| self.plan.seats.iter().find(|seat| seat.name == *name));
        seat.map_or(Stand { seat: SEAT, pa: self.plan.gateway.pa }, |seat| Stand {
            seat: self.ids.seat(seat.name.as_str()),
            pa: seat.pa,
        })
    }

    pub(super) fn own_address(&mut self, address: IpAddr, purpose: u32) {
        own_address(&mut self.tables, self.world, self.stand.seat, (address, purpose));
    }

    /// A VIP where packets still arrive, and for which another gateway answers.
    fn leave_address(&mut self, vip: IpAddr) {
        let local = self.tables.local.entry(vip.into()).or_default();
        *local = tables::Local { seat: self.stand.seat, flags: local.flags | tables::Local::VIP };
    }

    fn settings(&mut self) {
        let slow_port = self.world.slow_port.map(|ifindex| self.device("slow", ifindex));
        self.tables.settings = Settings { slow_port: slow_port.unwrap_or(NO_DEVICE), ..limits() };
    }

    fn device(&mut self, name: &str, ifindex: u32) -> PortId {
        let id = self.ids.veth(name);
        self.tables.devices.insert(id.0, ifindex);
        id
    }

    fn tenant(&mut self, tenant: &Tenant, memory: &Memory) -> (TenantId, Vec<(ConnectionId, IpAddr)>, Chosen) {
        self.stand = self.stand_of(tenant.seat.as_ref());
        let id = self.ids.tenant(&tenant.key());
        let neighbours = self.neighbours_of(id, tenant);
        let remembered = memory.of(id, (self.plan, tenant), &neighbours);
        let mut routes = if remembered.is_some() { Routes::Known } else { Routes::Gathered(RouteBuilder::default()) };
        self.own_addresses(id, tenant, &mut routes);
        if tenant.bgp.is_some() {
            self.exits.insert(id, Exits::new());
        }
        let fabric_mtu = self.fabric(id, tenant, &mut routes);
        for connection in &tenant.connections {
            self.connection(id, tenant, connection, fabric_mtu, &mut routes);
        }
        let chosen = match (routes, remembered) {
            (Routes::Gathered(routes), _) => routes.finish(self.ids),
            (Routes::Known, remembered) => remembered.cloned().unwrap_or_default(),
        };
        chosen.enter(id, self.ids, &mut self.tables);
        (id, neighbours, chosen)
    }

    /// Who is known on the tenant's VLANs; their routes depend on it.
    fn neighbours_of(&mut self, id: TenantId, tenant: &Tenant) -> Vec<(ConnectionId, IpAddr)> {
        let mut all = Vec::new();
        for connection in
            tenant.connections.iter().filter(|connection| matches!(connection.kind, ConnectionKind::L3(_)))
        {
            let connection_id = self.ids.connection(id, connection.name.as_str());
            let known = self.neighbours.get(&connection_name(tenant, connection)).into_iter().flatten();
            all.extend(known.map(|(address, _)| (connection_id, *address)));
        }
        all.sort_unstable();
        all
    }

    fn own_addresses(&mut self, id: TenantId, tenant: &Tenant, routes: &mut Routes) {
        let addresses = tenant.gateway_addresses;
        for address in tenant.own_addresses() {
            routes.own(address, self.local);
        }
        if let Some(subnet) = tenant.gateway_subnet {
            routes.subnet(subnet.net(), self.blackhole);
        }
        let stand = self.stand;
        let compartment = self.world.compartments.get(&*tenant.key()).map(|state| {
            let slot = self.device(&format!("compartment/{}", id.0), state.ifindex);
            let attachment = tables::Attachment {
                tenant: id,
                seat: stand.seat,
                connection: ConnectionId::NONE,
                port: NO_DEVICE,
                ..Default::default()
            };
            self.tables.compartments.insert(state.ifindex, attachment);
            (slot, state.mac)
        });
        let (slot, mac) = compartment.unwrap_or((NO_DEVICE, Mac::default()));
        let entry = tables::Tenant {
            gateway4: addresses.v4.map_or(0, |address| u32::from_ne_bytes(address.octets())),
            gateway6: addresses.v6.map_or_else(Address::default, Address::from),
            compartment: slot,
            compartment_mac: padded(mac),
            seat: stand.seat,
            ..Default::default()
        };
        self.tables.tenants.insert(id.0, entry);
    }

    /// The tenant's side of the fabric. Returns the largest packet that all its VMs and other gateways take, as far as the way to them is known.
    fn fabric(&mut self, id: TenantId, tenant: &Tenant, routes: &mut Routes) -> u32 {
        let travels = tenant.encapsulation.unwrap_or(self.plan.gateway.encapsulation);
        let encapsulation = match travels {
            Encapsulation::Vxlan => tables::FabricKey::VXLAN,
            Encapsulation::Nvgre => tables::FabricKey::NVGRE,
        };
        for subnet in &tenant.subnets {
            routes.subnet(subnet.prefix.net(), self.blackhole);
        }
        let vsids = tenant.subnets.iter().map(|subnet| subnet.vsid).chain(tenant.gateway_vsid);
        for vni in vsids.map(|vsid| Vni(vsid.get())) {
            for pa in self.stand.pa.iter() {
                let key = tables::FabricKey { pa: pa.into(), vni, encapsulation };
                self.tables.fabric.insert(key, tables::Vnet { tenant: id, seat: self.stand.seat });
            }
        }
        let mut mtu = u32::MAX;
        for vm in &tenant.vms {
            let host = OriginId::host(self.ids.host(vm.pa));
            self.tables.fabric_peers.insert(tables::FabricPeerKey { pa: vm.pa.into(), tenant: id }, host);
            let nexthop = self.vm(id, travels, vm);
            mtu = mtu.min(self.room_of(nexthop));
            routes.add(vm.ca.into(), Candidate::new(Rank::Own, nexthop).feasible(host));
        }
        for gateway in &tenant.gateways {
            let Some(vsid) = tenant.gateway_vsid else { continue };
            let key = tables::FabricPeerKey { pa: gateway.pa.into(), tenant: id };
            self.tables.fabric_peers.insert(key, OriginId::GATEWAY);
            let meaning = format!("gateway/{}/{}/{vsid}", id.0, gateway.pa);
            let nexthop = self.tunnel(&meaning, travels, gateway.pa, vsid, GATEWAY_MAC, Nexthop::TO_GATEWAY);
            mtu = mtu.min(self.room_of(nexthop));
            let exit = Exit { any: nexthop, routers: HashMap::new(), sender: OriginId::GATEWAY };
            self.exit(tenant, Via::Gateway(gateway.pa), exit);
            for &address in &gateway.addresses {
                let meaning = format!("gateway-itself/{}/{}/{vsid}", id.0, gateway.pa);
                let flags = Nexthop::TO_GATEWAY | Nexthop::TO_GATEWAY_ITSELF;
                let nexthop = self.tunnel(&meaning, travels, gateway.pa, vsid, GATEWAY_MAC, flags);
                routes.add(address.into(), Candidate::new(Rank::Own, nexthop));
            }
            for route in &gateway.routes {
                routes.add(route.destination.net().into(), Candidate::new(Rank::Metric(route.metric), nexthop));
            }
        }
        mtu
    }

    /// The largest packet that a next hop takes, as far as that is known.
    fn room_of(&self, nexthop: NexthopId) -> u32 {
        let resolved = self.tables.nexthops.get(&nexthop.0).filter(|way| way.kind == Nexthop::ADJACENCY);
        resolved.map_or(u32::MAX, |way| way.mtu)
    }

    fn vm(&mut self, tenant: TenantId, travels: Encapsulation, vm: &Vm) -> NexthopId {
        let meaning = format!("vm/{}/{}/{}/{}", tenant.0, vm.vsid, vm.mac, vm.pa);
        self.tunnel(&meaning, travels, vm.pa, vm.vsid, vm.mac.octets(), 0)
    }

    /// The next hop to a station in a virtual subnet, behind an address of the fabric.
    fn tunnel(
        &mut self,
        meaning: &str,
        travels: Encapsulation,
        to: IpAddr,
        vsid: Vsid,
        station: Mac,
        flags: u32,
    ) -> NexthopId {
        let local = self.stand.pa.same_family(to);
        let form = match travels {
            Encapsulation::Vxlan => "vxlan",
            Encapsulation::Nvgre => "nvgre",
        };
        let from = local.map_or_else(String::new, |local| local.to_string());
        let id = self.ids.nexthop(&format!("{meaning}/{form}/{from}"));
        let ends = local.and_then(|local| Ends::new(local, to));
        let way = ends.zip(self.way(to));
        let nexthop = way.map_or_else(
            || unresolved(self.stand.seat, ConnectionId::NONE, MTU_UNKNOWN),
            |(ends, (hop, port))| {
                let inner = Link { destination: station, source: GATEWAY_MAC };
                let vni = Vni(vsid.get());
                let template = match travels {
                    Encapsulation::Vxlan => Template::vxlan(link(hop), ends, vni, inner),
                    Encapsulation::Nvgre => Template::nvgre(link(hop), ends, vni, inner),
                };
                adjacency(self.stand.seat, &template, ConnectionId::NONE, port, room(hop.mtu, &template))
            },
        );
        self.tables.nexthops.insert(id.0, Nexthop { flags, ..nexthop });
        id
    }

    /// The way to an outer address, if there is one by a port of ours.
    fn way(&self, remote: IpAddr) -> Option<(&'a Hop, PortId)> {
        way(self.world, &self.by_ifindex, remote)
    }

    fn connection(
        &mut self,
        tenant_id: TenantId,
        tenant: &Tenant,
        connection: &Connection,
        fabric_mtu: u32,
        routes: &mut Routes,
    ) {
        let id = self.ids.connection(tenant_id, connection.name.as_str());
        let (mtu, attachment) = match &connection.kind {
            ConnectionKind::Gre(gre) => (self.gre(id, tenant, connection, gre, routes), NO_DEVICE),
            ConnectionKind::L3(l3) => self.l3(tenant_id, id, tenant, connection, l3, routes),
        };
        let flag = |on: bool, flag: u32| if on { flag } else { 0 };
        let sequenced = matches!(&connection.kind, ConnectionKind::Gre(Gre { sequence: true, .. }));
        let flags = flag(connection.enabled, tables::Connection::ENABLED)
            | flag(connection.anti_spoofing != AntiSpoofing::Off, tables::Connection::ANTI_SPOOFING)
            | flag(connection.anti_spoofing == AntiSpoofing::Strict, tables::Connection::STRICT)
            | flag(sequenced, tables::Connection::SEQUENCED)
            | flag(connection.passage == Passage::Leaving, tables::Connection::QUIET);
        // A segment has to fit on both sides of the gateway.
        let segment = mtu.min(fabric_mtu);
        let entry = tables::Connection {
            inbound: self.policer(connection.inbound_kbps, mtu),
            outbound: self.policer(connection.outbound_kbps, mtu),
            tenant: tenant_id,
            seat: self.stand.seat,
            flags,
            mss: u32::from(mss::for_mtu(segment, 20)) | u32::from(mss::for_mtu(segment, 40)) << 16,
            attachment,
            reserved: 0,
        };
        self.tables.connections.insert(id.0, entry);
    }

    /// A connection's limit one way.
    fn policer(&self, limit: Option<Kbps>, mtu: u32) -> Policer {
        let Some(kbps) = limit.map(|limit| u64::from(limit.get())) else { return Policer::UNLIMITED };
        // bits / (kbit/s) is milliseconds.
        let packets = BURST_PACKETS * u64::from(mtu) * 8 * 1_000_000 / kbps;
        let processors = self.world.processors.map_or(0, |processors| processors.get().into());
        Policer::new(kbps, BURST_NANOSECONDS.max(packets)).shared(processors)
    }

    /// A candidate for a connection's prefix: its next hop, and whether the connection may send from there.
    fn candidate(rank: Rank, nexthop: NexthopId, id: ConnectionId, connection: &Connection) -> Candidate {
        let candidate = Candidate::new(rank, nexthop);
        match connection.anti_spoofing {
            AntiSpoofing::Strict => candidate.feasible_if_best(OriginId::connection(id)),
            AntiSpoofing::Feasible | AntiSpoofing::Off => candidate.feasible(OriginId::connection(id)),
        }
    }

    /// Returns the largest packet that the tunnel takes.
    fn gre(
        &mut self,
        id: ConnectionId,
        tenant: &Tenant,
        connection: &Connection,
        gre: &Gre,
        routes: &mut Routes,
    ) -> u32 {
        match connection.passage {
            // Another gateway answers for it.
            Passage::Leaving => self.leave_address(gre.vip),
            Passage::None | Passage::Arriving => self.own_address(gre.vip, tables::Local::VIP),
        }
        let key = tables::GreKey {
            vip: gre.vip.into(),
            remote: gre.remote.into(),
            key: gre.key.unwrap_or_default(),
            keyed: gre.key.is_some().into(),
        };
        self.tables.gre.insert(key, id);
        let limit = connection.mtu.map_or(u32::MAX, |mtu| mtu.get().into());
        let way = Ends::new(gre.vip, gre.remote).zip(self.way(gre.remote));
        let nexthop = way.map_or_else(
            || unresolved(self.stand.seat, id, MTU_UNKNOWN.min(limit)),
            |(ends, (hop, port))| {
                let sequence = if gre.sequence { Sequence::Sent } else { Sequence::Omitted };
                let template = Template::gre(link(hop), ends, gre.key, sequence);
                adjacency(self.stand.seat, &template, id, port, room(hop.mtu, &template).min(limit))
            },
        );
        let key = gre.key.map_or_else(String::new, |key| key.to_string());
        let numbered = if gre.sequence { "numbered" } else { "" };
        let meaning = format!("gre/{}/{}/{}/{key}/{numbered}", id.0, gre.vip, gre.remote);
        let nexthop_id = self.ids.nexthop(&meaning);
        self.tables.nexthops.insert(nexthop_id.0, nexthop);
        if connection.enabled {
            let exit = Exit { any: nexthop_id, routers: HashMap::new(), sender: OriginId::connection(id) };
            self.exit(tenant, Via::of(connection), exit);
            // A BGP peer is reached before it has said anything.
            let speakers = tenant.peers_by(connection).map(|peer| peer.address);
            for peer in connection.peers.iter().copied().chain(speakers) {
                let candidate = Self::candidate(Rank::Connected, nexthop_id, id, connection);
                routes.add(peer.into(), candidate);
            }
            for route in routes.wanted(connection) {
                let candidate = Self::candidate(Rank::Metric(route.metric), nexthop_id, id, connection);
                routes.add(route.destination.net().into(), candidate);
            }
        }
        nexthop.mtu
    }

    /// Returns the largest packet that the VLAN takes, and the slot of its attachment.
    fn l3(
        &mut self,
        tenant_id: TenantId,
        id: ConnectionId,
        tenant: &Tenant,
        connection: &Connection,
        l3: &L3,
        routes: &mut Routes,
    ) -> (u32, PortId) {
        let name = connection_name(tenant, connection);
        let port = self.ports.get(l3.port.as_str()).copied();
        let limit = connection.mtu.map_or(u32::MAX, |mtu| mtu.get().into());
        let mtu = port.map_or(MTU_UNKNOWN, |port| port.mtu).min(limit);
        if let Some(port) = port {
            let key = tables::VlanKey { ifindex: port.ifindex, vlan: l3.vlan.get().into() };
            self.tables.vlans.insert(key, id);
        }
        let attachment = match self.world.attachments.get(&name).copied() {
            None => NO_DEVICE,
            Some(ifindex) => {
                let entry = tables::Attachment {
                    tenant: tenant_id,
                    seat: self.stand.seat,
                    connection: id,
                    port: port.map_or(NO_DEVICE, |port| port.id),
                    vlan: l3.vlan.get().into(),
                    reserved: 0,
                };
                self.tables.compartments.insert(ifindex, entry);
                self.device(&format!("attachment/{}", id.0), ifindex)
            }
        };
        for address in &l3.addresses {
            routes.own(address.addr(), self.local);
        }
        if !connection.enabled {
            return (mtu, attachment);
        }
        let known = self.neighbours.get(&name).cloned().unwrap_or_default();
        let mut vlan = VlanSide { nexthops: HashMap::new(), id, l3, port, mtu, known };
        for address in &l3.addresses {
            let nexthop = self.vlan_nexthop(&vlan, None);
            routes.add(address.network().net().into(), Self::candidate(Rank::Connected, nexthop, id, connection));
        }
        let on_link = |address: &IpAddr| {
            let own = l3.addresses.iter().any(|own| own.addr() == *address);
            !own && l3.addresses.iter().any(|own| own.network().contains(*address))
        };
        vlan.known.retain(|(address, _)| on_link(address));
        let next_hops = connection.routes.iter().filter_map(|route| route.next_hop);
        let mut reached: Vec<IpAddr> = connection
            .peers
            .iter()
            .copied()
            .chain(next_hops)
            .chain(tenant.peers_by(connection).map(|peer| peer.address).filter(on_link))
            .chain(vlan.known.iter().map(|(address, _)| *address))
            .collect();
        reached.sort_unstable();
        reached.dedup();
        for address in reached {
            let nexthop = self.vlan_nexthop(&vlan, Some(address));
            vlan.nexthops.insert(address, nexthop);
            routes.add(address.into(), Self::candidate(Rank::Connected, nexthop, id, connection));
        }
        if tenant.bgp.is_some() {
            let any = self.vlan_nexthop(&vlan, None);
            let exit = Exit { any, routers: vlan.nexthops.clone(), sender: OriginId::connection(id) };
            self.exit(tenant, Via::of(connection), exit);
        }
        for route in routes.wanted(connection) {
            let known = route.next_hop.and_then(|address| vlan.nexthops.get(&address));
            let nexthop = known.copied().unwrap_or_else(|| self.vlan_nexthop(&vlan, route.next_hop));
            let candidate = Self::candidate(Rank::Metric(route.metric), nexthop, id, connection);
            routes.add(route.destination.net().into(), candidate);
        }
        (mtu, attachment)
    }

    /// Notes by what learned routes leave.
    fn exit(&mut self, tenant: &Tenant, via: Via, exit: Exit) {
        let id = self.ids.tenant(&tenant.key());
        if let Some(exits) = self.exits.get_mut(&id) {
            exits.insert(via, exit);
        }
    }

    /// The next hop for an address on a VLAN; without one, for those of its addresses that nobody was seen to have.
    fn vlan_nexthop(&mut self, vlan: &VlanSide<'_>, address: Option<IpAddr>) -> NexthopId {
        let whose = address.map_or_else(|| "all".to_owned(), |address| address.to_string());
        let id = self.ids.nexthop(&format!("vlan/{}/{}/{}/{whose}", vlan.id.0, vlan.l3.port, vlan.l3.vlan));
        let mac =
            address.and_then(|address| vlan.known.iter().find(|(known, _)| *known == address)).map(|(_, mac)| *mac);
        let seat = self.stand.seat;
        self.tables.nexthops.entry(id.0).or_insert_with(|| match (vlan.port, mac) {
            (Some(port), Some(mac)) => {
                let link = Link { destination: mac, source: port.mac };
                adjacency(seat, &Template::vlan(link, VlanId(vlan.l3.vlan.get())), vlan.id, port.id, vlan.mtu)
            }
            _ => unresolved(seat, vlan.id, vlan.mtu),
        });
        id
    }

    fn steer(&mut self, rule: &Steer) {
        self.own_address(rule.vip, tables::Local::STEERED);
        let (protocol, port, forward, back) = match rule.select {
            SteerMatch::Udp { port, source_port } => {
                let site = source_port.map_or(0, |port| port.get().into());
                (protocol::UDP, port.get().into(), site, site)
            }
            SteerMatch::Tcp { port, source_port } => {
                let site = source_port.map_or(0, |port| port.get().into());
                (protocol::TCP, port.get().into(), site, site)
            }
            // The way back has an SPI that the site chose.
            SteerMatch::Esp { spi } => (protocol::ESP, 0, spi.map_or(0, crate::plan::Spi::get), 0),
            SteerMatch::Gre => (protocol::GRE, 0, 0, 0),
        };
        let key = |destination: IpAddr, source: IpAddr, selector, direction| tables::SteerKey {
            destination: destination.into(),
            source: source.into(),
            protocol: protocol.into(),
            port,
            selector,
            direction,
        };
        let forward = key(rule.vip, rule.source, forward, tables::SteerKey::FORWARD);
        let back = key(rule.source, rule.gateway, back, tables::SteerKey::BACK);
        let to_gateway =
            tables::SteerTarget { address: rule.gateway.into(), nexthop: self.hop(rule.gateway), reserved: 0 };
        let to_site = tables::SteerTarget { address: rule.vip.into(), nexthop: self.hop(rule.source), reserved: 0 };
        if forward.selector != 0 {
            self.tables.settings.steering = Settings::SELECTORS;
        }
        self.tables.steer.insert(forward, to_gateway);
        self.tables.steer.insert(back, to_site);
    }

    /// The way to an outer address, without a tunnel.
    pub(super) fn hop(&mut self, address: IpAddr) -> NexthopId {
        let id = self.ids.nexthop(&format!("hop/{address}"));
        let nexthop = self.way(address).map_or_else(
            || unresolved(SEAT, ConnectionId::NONE, MTU_UNKNOWN),
            |(hop, port)| adjacency(SEAT, &Template::ethernet(link(hop)), ConnectionId::NONE, port, hop.mtu),
        );
        self.tables.nexthops.insert(id.0, nexthop);
        id
    }
}

/// One of the outer addresses of our own: answered by the programs unless the host's kernel has it.
pub(super) fn own_address(tables: &mut Tables, world: &World, seat: SeatId, (address, purpose): (IpAddr, u32)) {
    let answered = if world.owned.contains(&address) { 0 } else { tables::Local::ANSWERED };
    let local = tables.local.entry(address.into()).or_default();
    *local = tables::Local { seat, flags: local.flags | purpose | answered };
}

/// Settings without devices. The limits are our own protection; ICMP's is what Linux has (icmp_msgs_per_sec, icmp_msgs_burst).
pub(super) fn limits() -> Settings {
    const BURST: u64 = 50_000_000;
    Settings {
        slow_port: NO_DEVICE,
        aside: 0,
        steering: 0,
        reserved: 0,
        icmp: Policer::new(1_000, BURST),
        punt: Policer::new(10_000, BURST),
        punt_routing: Policer::new(10_000, BURST),
        punt_total: Policer::new(100_000, BURST),
        slow: Policer::new(50_000, BURST),
    }
}

/// The way to an outer address, if there is one by a port of ours.
pub(super) fn way<'w>(world: &'w World, ports: &HashMap<u32, PortId>, remote: IpAddr) -> Option<(&'w Hop, PortId)> {
    let hop = world.hops.get(&remote)?;
    Some((hop, *ports.get(&hop.ifindex)?))
}

fn connection_name(tenant: &Tenant, connection: &Connection) -> ConnectionName {
    ConnectionName { tenant: tenant.key().into_owned(), connection: connection.name.as_str().into() }
}

/// An L3 connection while its routes are made.
struct VlanSide<'a> {
    /// By the address on the VLAN.
    nexthops: HashMap<IpAddr, NexthopId>,
    id: ConnectionId,
    l3: &'a L3,
    port: Option<PortHere>,
    mtu: u32,
    known: Vec<(IpAddr, Mac)>,
}

pub(super) fn padded(mac: Mac) -> [u8; 8] {
    let mut padded = [0; 8];
    padded[..6].copy_from_slice(&mac);
    padded
}

pub(super) fn link(hop: &Hop) -> Link {
    Link { destination: hop.destination, source: hop.source }
}

/// What is left for the inner packet.
pub(super) fn room(outer: u32, template: &Template) -> u32 {
    outer.saturating_sub(template.encapsulation.overhead() as u32)
}

pub(super) fn adjacency(
    seat: SeatId,
    template: &Template,
    connection: ConnectionId,
    port: PortId,
    mtu: u32,
) -> Nexthop {
    Nexthop {
        kind: Nexthop::ADJACENCY,
        encapsulation: template.encapsulation as u32,
        connection,
        port,
        mtu,
        flags: 0,
        header_len: template.encapsulation.header_len() as u32,
        checksum_base: template.checksum_base,
        header: template.words(),
        seat,
        vni: Vni(0),
    }
}

pub(super) fn unresolved(seat: SeatId, connection: ConnectionId, mtu: u32) -> Nexthop {
    Nexthop { kind: Nexthop::UNRESOLVED, connection, port: NO_DEVICE, mtu, seat, ..Nexthop::default() }
}
