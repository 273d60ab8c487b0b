//! What the first packet of a flow meets: classify (whose is it?), admit (may it come from there?), route (where does it go?).
//! The answer is cached; see [`crate::cache`].

use crate::maps::{
    CONNECTIONS, FABRIC, FABRIC_PEERS, FEASIBLE, GRE, LOCAL, NEXTHOPS, PORTS, SEAT_SETUP, TENANTS, VLANS,
};
use crate::parse::Refusal;
use crate::route;
use crate::run::Run;
use gateway_common::flow::Carrier;
use gateway_common::tables::{
    Connection, Decision, FabricKey, FabricPeerKey, FeasibleKey, GreKey, Local, Nexthop, Port, Route, Tenant, VlanKey,
};
use gateway_common::{Address, ConnectionId, DropReason, Feasible, NexthopId, OriginId, SeatId, TenantId, Vni};

/// Covering prefixes that a source is looked for in, at most: one of every IPv4 length.
const WALK_MAX: usize = 33;

/// Everything of a frame that decides whose it is and where it goes.
pub struct Query {
    /// The frame's destination MAC address, in the lower 48 bits as loaded.
    pub mac: u64,
    /// What carries the inner packet.
    pub carrier: Carrier,
    /// By which interface the frame came in.
    pub ifindex: u32,
    /// The tunnel's key or VNI.
    pub key: u32,
    /// The VLAN identifier; 0 for an untagged frame.
    pub vlan: u16,
    /// The outer source.
    pub outer_source: Address,
    /// The outer destination.
    pub outer_destination: Address,
    /// The inner source.
    pub source: Address,
    /// The inner destination.
    pub destination: Address,
}

impl Query {
    /// Forgets the packet before. The addresses and the MAC address are always written.
    #[inline(always)]
    pub fn begin(&mut self, ifindex: u32) {
        self.carrier = Carrier::Gre;
        self.ifindex = ifindex;
        self.key = 0;
        self.vlan = 0;
    }
}

/// Whose a packet is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Class {
    tenant: TenantId,
    seat: SeatId,
    origin: OriginId,
}

/// The tenant's record.
#[inline(always)]
pub fn tenant(id: TenantId) -> Result<&'static Tenant, Refusal> {
    TENANTS.get(id.0).ok_or(Refusal::Pass)
}

/// Decides about the flow that `run` has read. What is known of a packet that is refused, `run` has as well.
#[inline(always)]
pub fn resolve(run: &mut Run, decision: &mut Decision) -> Result<(), Refusal> {
    *decision = Decision { tenant: Run::UNKNOWN, ..Decision::default() };
    let answer = decide(decision);
    run.tenant = decision.tenant;
    run.origin = decision.origin;
    run.seat = decision.seat;
    match answer {
        DECIDED => Ok(()),
        NOT_OURS => Err(Refusal::Pass),
        HOSTS => Err(Refusal::Host),
        reason => Err(Refusal::Drop(reason_of(reason))),
    }
}

const DECIDED: u32 = 0;
const NOT_OURS: u32 = u32::MAX;
const HOSTS: u32 = u32::MAX - 1;

/// The drop reason with a number that came from one.
#[inline(always)]
pub fn reason_of(number: u32) -> DropReason {
    if number == 0 || number >= DropReason::COUNT as u32 {
        return DropReason::NoRoute;
    }
    // SAFETY: the numbers are dense, from 1 to COUNT - 1.
    unsafe { core::mem::transmute(number) }
}

/// [`resolve`] for the verifier: [`DECIDED`], [`NOT_OURS`], [`HOSTS`] for [`Refusal::Host`], or the number of a drop reason.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn decide(decision: *mut Decision) -> u32 {
    let Some(run) = Run::taken_over() else { return NOT_OURS };
    if decision.is_null() {
        return NOT_OURS;
    }
    // SAFETY: it points to the caller's stack, and the verifier has checked its size.
    match try_decide(&run.query, unsafe { &mut *decision }) {
        Ok(()) => DECIDED,
        Err(Refusal::Drop(reason)) => reason as u32,
        Err(Refusal::Host) => HOSTS,
        Err(_) => NOT_OURS,
    }
}

#[inline(always)]
fn try_decide(query: &Query, decision: &mut Decision) -> Result<(), Refusal> {
    let port = PORTS.get_ptr(query.ifindex).ok_or(Refusal::Pass)?;
    // SAFETY: a port's record is replaced whole, and never while its program is attached.
    let port = unsafe { *port };
    let class = classify(query, &port)?;
    decision.tenant = class.tenant;
    decision.origin = class.origin;
    decision.seat = class.seat;
    decision.port = port.id;
    // The generation is read before everything that it covers: classify once more, so that this covers the classification too.
    decision.generation = tenant(class.tenant)?.generation;
    if classify(query, &port)? != class {
        return Err(Refusal::Drop(DropReason::NoRoute));
    }
    if !is_for(query, &port, class.seat) {
        return Err(Refusal::Drop(DropReason::OtherStation));
    }
    let flags = match class.origin.as_connection() {
        Some(id) => CONNECTIONS.get(id.0).ok_or(Refusal::Pass)?.flags,
        None => Connection::ENABLED | Connection::ANTI_SPOOFING,
    };
    if flags & Connection::ENABLED == 0 {
        return Err(Refusal::Drop(DropReason::ConnectionDisabled));
    }
    if is_keepalive(query) {
        decision.nexthop = NexthopId::KEEPALIVE;
        return Ok(());
    }
    if is_martian(&query.source) || is_martian(&query.destination) {
        return Err(Refusal::Drop(DropReason::Martian));
    }
    if flags & Connection::ANTI_SPOOFING != 0 && !is_feasible(class.tenant, &query.source, class.origin, flags) {
        return Err(Refusal::Drop(DropReason::Spoofed));
    }
    decision.nexthop = lookup(class.tenant, &query.destination).ok_or(DropReason::NoRoute)?;
    if class.origin == OriginId::GATEWAY && is_gateways_own(class.tenant, &query.source) {
        decision.origin = OriginId::GATEWAY_ITSELF;
    }
    Ok(())
}

/// Whether an address of the tenant's is another gateway's own.
#[inline(always)]
fn is_gateways_own(tenant: TenantId, address: &Address) -> bool {
    let Some(id) = lookup(tenant, address) else { return false };
    NEXTHOPS.get(id.0).is_some_and(leads_to_itself)
}

/// Whether a next hop leads to another gateway's own address.
#[inline(always)]
pub fn leads_to_itself(nexthop: &Nexthop) -> bool {
    nexthop.kind != Nexthop::GROUP && nexthop.flags & Nexthop::TO_GATEWAY_ITSELF != 0
}

/// Where the tenant's packets for `destination` go.
#[inline(always)]
pub fn lookup(tenant: TenantId, destination: &Address) -> Option<NexthopId> {
    match find_nexthop(tenant.0, destination) {
        0 => None,
        id => Some(NexthopId(id)),
    }
}

/// [`lookup`] for the verifier: the next hop's number, [`NexthopId::NONE`]'s without one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_nexthop(tenant: u32, destination: *const Address) -> u32 {
    if destination.is_null() {
        return NexthopId::NONE.0;
    }
    // SAFETY: the verifier has checked that an address is there.
    let destination = unsafe { *destination };
    let mut len = route::longest(&destination);
    for _ in 0..WALK_MAX {
        let Some(Route { nexthop, prefix_len, .. }) = route::lookup(TenantId(tenant), &destination, len) else {
            return NexthopId::NONE.0;
        };
        // A prefix without a next hop is known only as a source: a shorter one may lead there.
        if nexthop != NexthopId::NONE || prefix_len == 0 {
            return nexthop.0;
        }
        len = prefix_len - 1;
    }
    NexthopId::NONE.0
}

/// Whether `source` may come from `origin`: a feasible path leads back there (RFC 8704 section 3), or, if strict, the best one does (RFC 3704 section 2.2).
#[inline(always)]
pub fn is_feasible(tenant: TenantId, source: &Address, origin: OriginId, flags: u32) -> bool {
    origin == OriginId::GATEWAY || find_feasible(tenant.0, source, origin.0, flags) != 0
}

/// [`is_feasible`] for the verifier: 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_feasible(tenant: u32, source: *const Address, origin: u32, flags: u32) -> u32 {
    if source.is_null() {
        return 0;
    }
    // SAFETY: the verifier has checked that an address is there.
    let source = unsafe { *source };
    let mut len = route::longest(&source);
    for _ in 0..WALK_MAX {
        let Some(Route { feasible, prefix_len, .. }) = route::lookup(TenantId(tenant), &source, len) else { return 0 };
        if is_member(feasible, OriginId(origin)) {
            return 1;
        }
        // Nobody may send from a virtual subnet's addresses but its VMs: a site's default route does not make them its own.
        if feasible.0 == Feasible::NOBODY.0 || flags & Connection::STRICT != 0 || prefix_len == 0 {
            return 0;
        }
        len = prefix_len - 1;
    }
    0
}

#[inline(always)]
fn is_member(feasible: Feasible, origin: OriginId) -> bool {
    match feasible.as_set() {
        Some(set) => FEASIBLE.get_ptr(FeasibleKey { set, origin }).is_some(),
        None => feasible.is_only(origin),
    }
}

#[inline(always)]
fn classify(query: &Query, port: &Port) -> Result<Class, Refusal> {
    match query.carrier {
        Carrier::Gre | Carrier::GreKeyed => classify_gre(query, port),
        Carrier::Vxlan => classify_fabric(query, port, FabricKey::VXLAN),
        Carrier::Nvgre => classify_fabric(query, port, FabricKey::NVGRE),
        Carrier::Vlan => {
            let key = VlanKey { ifindex: query.ifindex, vlan: u32::from(query.vlan) };
            // SAFETY: one aligned word.
            let id = unsafe { *VLANS.get_ptr(key).ok_or(Refusal::Pass)? };
            connection(id)
        }
    }
}

#[inline(always)]
fn classify_gre(query: &Query, port: &Port) -> Result<Class, Refusal> {
    let key = GreKey {
        vip: query.outer_destination,
        remote: query.outer_source,
        key: query.key,
        keyed: u32::from(matches!(query.carrier, Carrier::GreKeyed)),
    };
    let Some(id) = GRE.get_ptr(key) else {
        return Err(not_found(query, Local::VIP, DropReason::GreUnknown));
    };
    if port.flags & Port::SITE == 0 {
        return Err(Refusal::Drop(DropReason::PortKind));
    }
    // SAFETY: one aligned word.
    connection(unsafe { *id })
}

#[inline(always)]
fn classify_fabric(query: &Query, port: &Port, encapsulation: u32) -> Result<Class, Refusal> {
    let key = FabricKey { pa: query.outer_destination, vni: Vni(query.key), encapsulation };
    let Some(vnet) = FABRIC.get_ptr(key) else {
        return Err(not_found(query, Local::FABRIC, DropReason::VniUnknown));
    };
    if port.flags & Port::FABRIC == 0 {
        return Err(Refusal::Drop(DropReason::PortKind));
    }
    // SAFETY: entries are replaced whole.
    let vnet = unsafe { *vnet };
    let key = FabricPeerKey { pa: query.outer_source, tenant: vnet.tenant };
    let Some(origin) = FABRIC_PEERS.get_ptr(key) else {
        return Err(Refusal::Drop(DropReason::FabricPeerUnknown));
    };
    // SAFETY: one aligned word.
    Ok(Class { tenant: vnet.tenant, seat: vnet.seat, origin: unsafe { *origin } })
}

/// Whose a frame of the fabric is, on a compute host: its tenant and its origin.
#[inline(always)]
pub fn on_host(query: &Query) -> Result<(TenantId, OriginId), Refusal> {
    let port = PORTS.get_ptr(query.ifindex).ok_or(Refusal::Pass)?;
    // SAFETY: a port's record is replaced whole, and never while its program is attached.
    let port = unsafe { *port };
    let encapsulation = if matches!(query.carrier, Carrier::Nvgre) { FabricKey::NVGRE } else { FabricKey::VXLAN };
    let class = classify_fabric(query, &port, encapsulation)?;
    if query.mac & 0xffff_ffff_ffff != u64::from_le_bytes(port.mac) {
        return Err(Refusal::Drop(DropReason::OtherStation));
    }
    Ok((class.tenant, class.origin))
}

/// Whether a frame is for this station: the port's, or the one that moves with the seat.
#[inline(always)]
fn is_for(query: &Query, port: &Port, seat: SeatId) -> bool {
    let to = query.mac & 0xffff_ffff_ffff;
    if to == u64::from_le_bytes(port.mac) {
        return true;
    }
    match SEAT_SETUP.get(seat.0) {
        Some(setup) => to != 0 && to == u64::from_le_bytes(setup.mac),
        None => false,
    }
}

#[inline(always)]
fn connection(id: ConnectionId) -> Result<Class, Refusal> {
    let connection = CONNECTIONS.get(id.0).ok_or(Refusal::Pass)?;
    Ok(Class { tenant: connection.tenant, seat: connection.seat, origin: OriginId::connection(id) })
}

/// A tunnel that no table has: dropped if it was for an address of ours that takes such tunnels, else not ours, but perhaps to be steered.
#[inline(always)]
fn not_found(query: &Query, flag: u32, reason: DropReason) -> Refusal {
    let Some(local) = LOCAL.get_ptr(query.outer_destination) else { return Refusal::Host };
    // SAFETY: one aligned word.
    let flags = unsafe { (*local).flags };
    if flags & Local::STEERED != 0 {
        Refusal::Host
    } else if flags & flag != 0 {
        Refusal::Drop(reason)
    } else {
        Refusal::Drop(DropReason::NotServed)
    }
}

/// Whether the inner packet would go from our end of its tunnel back to the far end: how a GRE keepalive is built.
#[inline(always)]
fn is_keepalive(query: &Query) -> bool {
    matches!(query.carrier, Carrier::Gre | Carrier::GreKeyed)
        && query.source == query.outer_destination
        && query.destination == query.outer_source
}

/// Addresses that nobody routes: unspecified, loopback, link-local, multicast, reserved (RFC 1812 section 5.3.7, RFC 4291 section 2.4).
#[inline(always)]
pub fn is_martian(address: &Address) -> bool {
    if address.is_v4() {
        let word = u32::from_be(address.0[3]);
        let first = word >> 24;
        first == 0 || first == 127 || first >= 224 || word >> 16 == 0xa9fe
    } else {
        let first = u32::from_be(address.0[0]);
        let loopback_or_unspecified =
            address.0[0] == 0 && address.0[1] == 0 && address.0[2] == 0 && u32::from_be(address.0[3]) <= 1;
        first >> 24 == 0xff || first >> 22 == 0xfe80 >> 6 || loopback_or_unspecified
    }
}
