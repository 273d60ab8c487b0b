//! Forward: what is done to an inner packet between its decision and its port.

use crate::context::Context;
use crate::encapsulate::Variable;
use crate::inner::{Family, Inner};
use crate::maps::{
    CONNECTION_COUNTERS, CONNECTION_STATE, CONNECTIONS, DEVICES, NEXTHOPS, PORT_COUNTERS, TENANT_COUNTERS, TENANTS,
};
use crate::packet::Packet;
use crate::run::Run;
use crate::{Verdict, encapsulate, gate, icmp, police, resolve, segment, trace};
use gateway_common::tables::{ConnectionState, Counters, Nexthop, Tenant, stage};
use gateway_common::trace::{Reentry, Stage};
use gateway_common::wire::{IPV6_MIN_MTU, protocol};
use gateway_common::{ConnectionId, DropReason, NexthopId, OriginId, checksum, ecn, flow};

/// Takes a packet that has a decision: gate, inbound counters and rate, congestion marks; then on to its next hop.
#[inline(always)]
pub fn admitted(packet: &Packet, run: &mut Run, tenant: &Tenant) -> Verdict {
    // SAFETY: the run is there; read anew, so that what the verifier knew of it on each way here is forgotten.
    let mut inner = unsafe { core::ptr::read_volatile(&run.packet) };
    inner.offset &= 0x1ff;
    let inner = &inner;
    if tenant.flags & Tenant::TRACED != 0 {
        run.flags |= Run::TRACED;
        trace::arrived(packet);
    }
    gate::pass(run.seat, run.now)?;
    run.reach(Stage::Admit);
    if let Some(counters) = PORT_COUNTERS.get_ptr_mut(run.port.0) {
        count_in(counters, packet.len());
    }
    match run.origin.as_connection() {
        Some(id) => {
            if let Some(share) = CONNECTION_COUNTERS.get_ptr_mut(id.0) {
                // SAFETY: fields of a map's value; and so below.
                let (counters, credit) = unsafe { (&raw mut (*share).counters, &raw mut (*share).inbound) };
                count_in(counters, inner.len);
                if let Some(connection) = CONNECTIONS.get(id.0)
                    && let Some(state) = CONNECTION_STATE.get_ptr_mut(id.0)
                {
                    // SAFETY: as above.
                    let word = unsafe { &raw mut (*state).inbound };
                    if !police::admit_from(credit, &connection.inbound, word, inner.len, run.now) {
                        return Err(DropReason::RateInbound);
                    }
                }
            }
        }
        None => {
            if let Some(counters) = TENANT_COUNTERS.get_ptr_mut(run.tenant.0) {
                count_in(counters, inner.len);
            }
        }
    }
    let class = ecn::decapsulate(inner.class, run.outer_class as u8).ok_or(DropReason::EcnInvalid)?;
    if class != inner.class {
        set_class(packet, inner, class)?;
    }
    if run.nexthop == NexthopId::KEEPALIVE {
        return run.hand_over(packet, stage::KEEPALIVE);
    }
    onward::<TELL>(packet, run, inner, class)
}

/// Takes an IPv6 packet that no sender may be told is too big, though the path to its next hop has less room: routers on the path may cut the
/// outer packet (RFC 4213 section 3.2.1).
#[inline(always)]
pub fn least(packet: &Packet, run: &mut Run) -> Verdict {
    let inner = Inner::read(packet, run.inner as usize & 0x1ff, packet.len())?;
    let class = inner.class;
    onward::<CARRY>(packet, run, &inner, class)
}

/// For [`onward`]: a packet that is too big is answered with an error.
const TELL: u32 = 0;
/// For [`onward`]: it is sent in an outer IPv4 packet that may be cut.
const CARRY: u32 = 1;

/// Takes a packet that starts here: an ICMP error, what a compartment says, what the slow path hands back.
#[inline(always)]
pub fn originate(packet: &Packet, run: &mut Run) -> Verdict {
    let inner = Inner::read(packet, run.inner as usize & 0x1ff, packet.len())?;
    let tenant = TENANTS.get(run.tenant.0).ok_or(DropReason::NoRoute)?;
    run.seat = tenant.seat;
    gate::check(run.seat, run.now)?;
    run.reach(Stage::Route);
    run.nexthop = resolve::lookup(run.tenant, &inner.destination).ok_or(DropReason::NoRoute)?;
    let class = inner.class;
    onward::<TELL>(packet, run, &inner, class)
}

/// To the next hop that was decided.
#[inline(always)]
fn onward<const TOO_BIG: u32>(packet: &Packet, run: &mut Run, inner: &Inner, class: u8) -> Verdict {
    let hash = flow_hash(packet, inner);
    let mut nexthop = NEXTHOPS.get(run.nexthop.0).ok_or(DropReason::NoRoute)?;
    if nexthop.kind == Nexthop::GROUP {
        run.nexthop = nexthop.member(hash);
        nexthop = NEXTHOPS.get(run.nexthop.0).ok_or(DropReason::NoRoute)?;
    }
    match nexthop.kind {
        Nexthop::ADJACENCY => {}
        Nexthop::LOCAL => return run.hand_over(packet, stage::PUNT),
        Nexthop::UNRESOLVED => return Err(DropReason::NeighbourUnresolved),
        Nexthop::BLACKHOLE => return Err(DropReason::Blackhole),
        _ => return Err(DropReason::NoRoute),
    }
    if nexthop.seat != run.seat {
        gate::check(nexthop.seat, run.now)?;
    }
    if run.origin.is_gateway() && nexthop.flags & Nexthop::TO_GATEWAY != 0 {
        return Err(DropReason::GatewayLoop);
    }
    // What a gateway says or is told itself crosses the others as if there were but one.
    let is_own = run.origin == OriginId::COMPARTMENT
        || run.origin == OriginId::GATEWAY_ITSELF
        || nexthop.flags & Nexthop::TO_GATEWAY_ITSELF != 0;
    if !is_own && inner.ttl <= 1 {
        return icmp::due(packet, run, icmp::TIME_EXCEEDED, 0);
    }
    run.reach(Stage::Adapt);
    let state = match nexthop.connection {
        ConnectionId::NONE => None,
        id => CONNECTION_STATE.get_ptr_mut(id.0),
    };
    let mtu = match state {
        Some(state) => path_mtu(state, nexthop, run.now),
        None => nexthop.mtu,
    };
    if inner.len > mtu && TOO_BIG == TELL {
        run.mtu = mtu;
        if inner.may_fragment {
            run.what = Reentry::PACKET;
            return run.hand_over(packet, stage::SLOW);
        }
        if mtu < IPV6_MIN_MTU && matches!(inner.family, Family::V6) {
            // Every IPv6 path takes this much, so that is the least that a sender believes (RFC 8201 section 4).
            if inner.len > IPV6_MIN_MTU {
                return icmp::due(packet, run, icmp::TOO_BIG, IPV6_MIN_MTU);
            }
            // Below it, IPv6 leaves it to the link (RFC 8200 section 5): here, to the routers on the path of an outer IPv4 packet.
            if inner.len <= nexthop.mtu && nexthop.checksum_base != 0 {
                return run.hand_over(packet, stage::LEAST);
            }
            return Err(DropReason::TooBig);
        }
        return icmp::due(packet, run, icmp::TOO_BIG, mtu);
    }
    if inner.protocol == protocol::TCP && inner.transport != 0 {
        clamp_segment(packet, run, inner, nexthop.connection);
    }
    let mut sequence = 0;
    match state {
        Some(state) => {
            let id = nexthop.connection;
            if let Some(share) = CONNECTION_COUNTERS.get_ptr_mut(id.0) {
                // SAFETY: fields of a map's value; and so below.
                let (counters, credit) = unsafe { (&raw mut (*share).counters, &raw mut (*share).outbound) };
                if let Some(connection) = CONNECTIONS.get(id.0) {
                    // SAFETY: as above.
                    let word = unsafe { &raw mut (*state).outbound };
                    if !police::admit_from(credit, &connection.outbound, word, inner.len, run.now) {
                        return Err(DropReason::RateOutbound);
                    }
                }
                count_out(counters, inner.len);
            }
            if encapsulate::is_sequenced(nexthop.encapsulation) {
                sequence = encapsulate::next_sequence(state);
            }
        }
        None => {
            if let Some(counters) = TENANT_COUNTERS.get_ptr_mut(run.tenant.0) {
                count_out(counters, inner.len);
            }
        }
    }
    if !is_own {
        decrement_ttl(packet, inner)?;
    }
    run.reach(Stage::Encapsulate);
    let variable = Variable { family: inner.family, len: inner.len, class, hash, sequence };
    encapsulate::push(packet, nexthop, inner.offset, &variable)?;
    if TOO_BIG == CARRY {
        encapsulate::let_it_be_cut(packet)?;
    }
    run.reach(Stage::Emit);
    if let Some(counters) = PORT_COUNTERS.get_ptr_mut(nexthop.port.0) {
        count_out(counters, inner.len + nexthop.header_len);
    }
    DEVICES.redirect(nexthop.port.0, 0).map_err(|_| DropReason::NoPort)
}

/// The largest inner packet that the connection takes now: what ICMP told of the path counts while it is fresh.
#[inline(always)]
pub fn path_mtu(state: *const ConnectionState, nexthop: &Nexthop, now: u64) -> u32 {
    // SAFETY: fields of a map's value; they are written one after the other, and any mix of old and new is a valid answer.
    let (learned, expiry) = unsafe { ((*state).path_mtu, (*state).path_mtu_expiry) };
    if learned == 0 || now >= expiry {
        return nexthop.mtu;
    }
    let overhead = nexthop.header_len - network_types::eth::EthHdr::LEN as u32;
    let room = learned.saturating_sub(overhead);
    if room < nexthop.mtu { room } else { nexthop.mtu }
}

#[inline(always)]
pub fn flow_hash<C: Context>(packet: &Packet<C>, inner: &Inner) -> u32 {
    let addresses = match inner.family {
        Family::V4 => match packet.load::<u64>(inner.offset + 12) {
            Some(pair) => flow::hash_pair(pair),
            None => 0,
        },
        Family::V6 => match packet.load::<[u64; 4]>(inner.offset + 8) {
            Some(words) => {
                flow::mix(flow::mix(flow::mix(flow::mix(0, words[0], 0), words[1], 1), words[2], 2), words[3], 3)
            }
            None => 0,
        },
    };
    let ports = match inner.protocol {
        protocol::TCP | protocol::UDP if inner.transport != 0 && !inner.fragment => {
            packet.load::<u32>(inner.offset + (inner.transport as usize & 0x3fff)).unwrap_or(0)
        }
        _ => 0,
    };
    flow::hash_flow(addresses, inner.protocol, ports)
}

/// Clamps the segment size that a TCP SYN announces to what the connections on its way take.
#[inline(always)]
fn clamp_segment(packet: &Packet, run: &Run, inner: &Inner, leaving: ConnectionId) {
    const SYN: u8 = 0x02;
    let at = inner.offset + (inner.transport as usize & 0x3fff);
    match packet.byte(at + 13) {
        Some(flags) if flags & SYN != 0 => {}
        _ => return,
    }
    let mut limit = u32::from(u16::MAX);
    for id in [run.origin.as_connection(), Some(leaving)] {
        if let Some(id) = id
            && let Some(connection) = CONNECTIONS.get(id.0)
        {
            let mss = match inner.family {
                Family::V4 => connection.mss & 0xffff,
                Family::V6 => connection.mss >> 16,
            };
            if mss != 0 && mss < limit {
                limit = mss;
            }
        }
    }
    segment::clamp(packet, at, limit);
}

/// Writes the traffic class.
#[inline(always)]
pub fn set_class<C: Context>(packet: &Packet<C>, inner: &Inner, class: u8) -> Result<(), DropReason> {
    match inner.family {
        Family::V4 => {
            let first: u16 = packet.load(inner.offset).ok_or(DropReason::InnerTruncated)?;
            let check: u16 = packet.load(inner.offset + 10).ok_or(DropReason::InnerTruncated)?;
            let changed = first & 0x00ff | u16::from(class) << 8;
            packet
                .store(inner.offset + 10, checksum::replace16(check, first, changed))
                .ok_or(DropReason::InnerTruncated)?;
            packet.store(inner.offset, changed).ok_or(DropReason::InnerTruncated)
        }
        Family::V6 => {
            let first = u32::from_be(packet.load(inner.offset).ok_or(DropReason::InnerTruncated)?);
            let changed = first & 0xf00f_ffff | u32::from(class) << 20;
            packet.store(inner.offset, changed.to_be()).ok_or(DropReason::InnerTruncated)
        }
    }
}

/// Takes one off the time to live or hop limit, which is above one.
#[inline(always)]
pub fn decrement_ttl<C: Context>(packet: &Packet<C>, inner: &Inner) -> Result<(), DropReason> {
    match inner.family {
        Family::V4 => {
            let word: u32 = packet.load(inner.offset + 8).ok_or(DropReason::InnerTruncated)?;
            packet.store(inner.offset + 8, checksum::decrement_before(word)).ok_or(DropReason::InnerTruncated)
        }
        Family::V6 => packet.store(inner.offset + 7, inner.ttl.wrapping_sub(1)).ok_or(DropReason::InnerTruncated),
    }
}

/// What this CPU counts of a connection.
#[inline(always)]
pub fn counters_of(connection: ConnectionId) -> Option<*mut Counters> {
    // SAFETY: a field of this CPU's slot of a per-CPU map.
    CONNECTION_COUNTERS.get_ptr_mut(connection.0).map(|share| unsafe { &raw mut (*share).counters })
}

#[inline(always)]
pub fn count_in(counters: *mut Counters, bytes: u32) {
    // SAFETY: this CPU's slot of a per-CPU map.
    unsafe {
        (*counters).in_packets += 1;
        (*counters).in_bytes += u64::from(bytes);
    }
}

#[inline(always)]
pub fn count_out(counters: *mut Counters, bytes: u32) {
    // SAFETY: this CPU's slot of a per-CPU map.
    unsafe {
        (*counters).out_packets += 1;
        (*counters).out_bytes += u64::from(bytes);
    }
}
