//! The express way: what nearly every packet is — a plain packet, IPv4 in IPv4, of a flow that is in the cache — goes from port to port
//! in one straight line.
//!
//! It knows no reasons and makes no decisions. A packet that is not plain, is not allowed, or must not leave as it came is left as it is,
//! for the long way (from [`crate::parse`] on), which knows every case; so nothing is written or counted before everything is checked.

use crate::cache::Flow;
use crate::encapsulate::{self, Variable};
use crate::inner::Family;
use crate::maps::{CONNECTION_COUNTERS, CONNECTION_STATE, DEVICES, NEXTHOPS, PORT_COUNTERS, TENANT_COUNTERS, TENANTS};
use crate::packet::{Bytes, Packet, opaque};
use crate::run::Run;
use crate::{forward, gate, resolve, seal};
use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use gateway_common::flow::{self, Carrier, carrier_word, frame_word};
use gateway_common::tables::{Counters, Decision, GATEWAY_MAC, Nexthop, Port, Tenant};
use gateway_common::trace::Stage;
use gateway_common::wire::{VXLAN_FLAGS, VXLAN_PORT, ethertype, protocol};
use gateway_common::{ConnectionId, DropReason, NexthopId, OriginId, TenantId, checksum};
use network_types::eth::EthHdr;
use network_types::ip::Ipv4Hdr;
use network_types::tcp::TcpHdr;

/// Bytes of an inner packet that are read: its header, and its ports if it has some.
const READ: usize = Ipv4Hdr::LEN + 8;
const TAGGED: usize = EthHdr::LEN + 4;
const TUNNEL: usize = EthHdr::LEN + Ipv4Hdr::LEN;
const GRE: usize = TUNNEL + 4;
const GRE_KEYED: usize = TUNNEL + 8;
const NVGRE: usize = TUNNEL + 8 + EthHdr::LEN;
const VXLAN: usize = TUNNEL + 16 + EthHdr::LEN;

/// A frame's first words as they are loaded: EtherType, then the first byte of an IPv4 header without options.
const IPV4_HEADER: u32 = u32::from_le_bytes([8, 0, 0x45, 0]);
const TAG: u32 = u32::from_le_bytes([0x81, 0, 0, 0]);
/// GRE's flags and protocol, likewise.
const GRE_IPV4: u32 = u32::from_le_bytes([0, 0, 8, 0]);
const GRE_KEY_IPV4: u32 = u32::from_le_bytes([0x20, 0, 8, 0]);
const GRE_KEY_BRIDGED: u32 = u32::from_le_bytes([0x20, 0, 0x65, 0x58]);

/// Takes a frame of a port that takes tunnels of `KIND`; `None` if it has to go the long way.
#[inline(always)]
pub fn frame<const KIND: u32>(packet: &Packet) -> Option<u32> {
    let front = packet.bytes::<{ TAGGED + READ }>(0)?;
    let kind: u32 = front.get(12);
    if kind & 0x00ff_ffff == IPV4_HEADER {
        let tunnel: u32 = front.get(TUNNEL);
        match front.get::<u8>(EthHdr::LEN + 9) {
            protocol::GRE => match tunnel {
                GRE_KEY_IPV4 if KIND & Port::SITE != 0 => {
                    let key = u32::from_be(front.get(TUNNEL + 4));
                    tunnelled::<GRE_KEYED, { GRE_KEYED + READ }>(packet, Carrier::GreKeyed, key)
                }
                GRE_IPV4 if KIND & Port::SITE != 0 => tunnelled::<GRE, { GRE + READ }>(packet, Carrier::Gre, 0),
                GRE_KEY_BRIDGED if KIND & Port::FABRIC != 0 => {
                    let key = u32::from_be(front.get(TUNNEL + 4)) >> 8;
                    framed::<NVGRE, { NVGRE + READ }>(packet, Carrier::Nvgre, key)
                }
                _ => None,
            },
            protocol::UDP if KIND & Port::FABRIC != 0 && tunnel >> 16 == u32::from(VXLAN_PORT.to_be()) => {
                let [flags, vni]: [u32; 2] = packet.load(TUNNEL + 8)?;
                if u32::from_be(flags) & VXLAN_FLAGS == 0 {
                    return None;
                }
                framed::<VXLAN, { VXLAN + READ }>(packet, Carrier::Vxlan, u32::from_be(vni) >> 8)
            }
            _ => None,
        }
    } else if KIND & Port::SITE != 0 && kind & 0xffff == TAG && front.get::<u16>(16) == ethertype::IPV4.to_be() {
        tagged::<TAGGED, { TAGGED + READ }>(packet, &front)
    } else {
        None
    }
}

/// A fabric's tunnel, with an Ethernet header before the inner packet at `AT`.
#[inline(always)]
fn framed<const AT: usize, const END: usize>(packet: &Packet, carrier: Carrier, key: u32) -> Option<u32> {
    const MAC: [u8; 6] = GATEWAY_MAC;
    const MAC_WORD: u64 = u64::from_le_bytes([MAC[0], MAC[1], MAC[2], MAC[3], MAC[4], MAC[5], 0, 0]);
    let bytes = packet.bytes::<END>(0)?;
    let destination: u64 = bytes.get(AT - EthHdr::LEN);
    if destination & 0xffff_ffff_ffff != MAC_WORD || bytes.get::<u16>(AT - 2) != ethertype::IPV4.to_be() {
        return None;
    }
    tunnelled::<AT, END>(packet, carrier, key)
}

/// A tunnel over IPv4, with the inner packet at `AT`.
#[inline(always)]
fn tunnelled<const AT: usize, const END: usize>(packet: &Packet, carrier: Carrier, key: u32) -> Option<u32> {
    let bytes = packet.bytes::<END>(0)?;
    let addresses: u64 = bytes.get(EthHdr::LEN + 12);
    let flow =
        [frame_word(bytes.get(0), 0), addresses, bytes.get(AT + 12), carrier_word(carrier, packet.ifindex(), key)];
    let decision = known(&flow)?;
    let first: u32 = bytes.get(EthHdr::LEN);
    let second: u32 = bytes.get(EthHdr::LEN + 4);
    let third: u32 = bytes.get(EthHdr::LEN + 8);
    let sum = u64::from(first) + u64::from(second) + u64::from(third) + u64::from(addresses as u32) + (addresses >> 32);
    let len = u32::from(u16::from_be((first >> 16) as u16));
    // Marks of congestion change the inner packet (RFC 6040), but for those that say that there is none.
    let is_marked = first & 0x0100 != 0;
    if len + EthHdr::LEN as u32 != packet.len() || is_marked || !checksum::is_right(sum) {
        return None;
    }
    onward::<AT, END>(packet, &bytes, &flow, decision, second)
}

/// A frame of a tenant's VLAN.
#[inline(always)]
fn tagged<const AT: usize, const END: usize>(packet: &Packet, bytes: &Bytes<END>) -> Option<u32> {
    let vlan = u16::from_be(bytes.get(EthHdr::LEN)) & 0x0fff;
    let carrier = carrier_word(Carrier::Vlan, packet.ifindex(), 0);
    let flow = [frame_word(bytes.get(0), vlan), 0, bytes.get(AT + 12), carrier];
    onward::<AT, END>(packet, bytes, &flow, known(&flow)?, 0)
}

/// What is in the cache about a flow.
#[inline(always)]
fn known(flow: &[u64; flow::KEY4_WORDS]) -> Option<&'static mut Decision> {
    // SAFETY: a slot of this CPU's, which nobody else touches during the run.
    flow.find().map(|decision| unsafe { &mut *decision })
}

/// Forwards the inner packet at `AT`; `outer` is the outer header's second word.
#[inline(always)]
fn onward<const AT: usize, const END: usize>(
    packet: &Packet,
    bytes: &Bytes<END>,
    flow: &[u64; flow::KEY4_WORDS],
    decision: &mut Decision,
    outer: u32,
) -> Option<u32> {
    let first: u32 = bytes.get(AT);
    let len = u32::from(u16::from_be((first >> 16) as u16));
    let is_fragment = (bytes.get::<u32>(AT + 4) | outer) & u32::from_le_bytes([0, 0, 0x3f, 0xff]) != 0;
    let third: u32 = bytes.get(AT + 8);
    let (ttl, protocol) = (third as u8, (third >> 8) as u8);
    if first as u8 != 0x45 || len + AT as u32 != packet.len() || is_fragment || ttl <= 1 {
        return None;
    }
    let ports = match protocol {
        protocol::TCP if opens(packet, AT) => return None,
        protocol::TCP | protocol::UDP => bytes.get(AT + Ipv4Hdr::LEN),
        _ => 0,
    };
    let hash = flow::hash_flow(flow::hash_pair(flow[2]), protocol, ports);
    let mut nexthop = NEXTHOPS.get(decision.nexthop.0)?;
    let seal = seal::present()?;
    if decision.seal != seal || nexthop.kind != Nexthop::ADJACENCY {
        nexthop = look_over(decision, nexthop, seal, hash, len)?;
    }
    if len > nexthop.mtu {
        return None;
    }
    if !gate::is_open(decision.seat) || nexthop.seat != decision.seat && !gate::is_open(nexthop.seat) {
        return None;
    }
    let from = Side::of(decision.origin.as_connection(), decision.tenant, Way::In)?;
    let leaving = if nexthop.connection == ConnectionId::NONE { None } else { Some(nexthop.connection) };
    let to = Side::of(leaving, decision.tenant, Way::Out)?;
    if !from.lets(len) || !to.lets(len) {
        return None;
    }
    // What follows cannot be undone, and cannot fail but for lack of room or a port that has just gone.
    bytes.put(AT + 8, checksum::decrement_before(third));
    if let Some(counters) = PORT_COUNTERS.get_ptr_mut(decision.port.0) {
        forward::count_in(counters, AT as u32 + len);
    }
    from.take(len);
    to.take(len);
    forward::count_in(from.counters, len);
    forward::count_out(to.counters, len);
    let surplus = AT as i32 - (nexthop.header_len & 0xff) as i32;
    if surplus != 0 && packet.adjust_head(surplus).is_err() {
        return Some(lost(packet.raw(), decision, DropReason::NoHeadroom));
    }
    if let Some(counters) = PORT_COUNTERS.get_ptr_mut(nexthop.port.0) {
        forward::count_out(counters, nexthop.header_len + len);
    }
    let variable = Variable { family: Family::V4, len, class: (first >> 8) as u8, hash, sequence: 0 };
    encapsulate::write(packet, nexthop, &variable);
    match DEVICES.redirect(nexthop.port.0, 0) {
        Ok(action) => Some(action),
        Err(_) => Some(lost(packet.raw(), decision, DropReason::NoPort)),
    }
}

/// Looks at all that may have changed since the decision was made, and seals it. Returns the next hop of this packet, one of a group's; a
/// decision for a group is not sealed, nor one for a path that has shown itself narrower than configured.
#[inline(never)]
fn look_over(
    decision: &mut Decision,
    nexthop: &'static Nexthop,
    seal: u64,
    hash: u32,
    len: u32,
) -> Option<&'static Nexthop> {
    let tenant = TENANTS.get(decision.tenant.0)?;
    if tenant.generation != decision.generation || tenant.flags & Tenant::TRACED != 0 {
        return None;
    }
    let leaving = if nexthop.kind == Nexthop::GROUP { NEXTHOPS.get(nexthop.member(hash).0)? } else { nexthop };
    if leaving.kind != Nexthop::ADJACENCY || encapsulate::is_sequenced(leaving.encapsulation) {
        return None;
    }
    if leaving.flags & Nexthop::TO_GATEWAY != 0 && decision.origin.is_gateway() {
        return None;
    }
    // Their time to live stays as it is.
    if leaving.flags & Nexthop::TO_GATEWAY_ITSELF != 0 || decision.origin == OriginId::GATEWAY_ITSELF {
        return None;
    }
    let mut lasts = nexthop.kind == Nexthop::ADJACENCY;
    if leaving.connection != ConnectionId::NONE {
        let state = CONNECTION_STATE.get(leaving.connection.0)?;
        // SAFETY: a helper without arguments.
        let now = unsafe { bpf_ktime_get_coarse_ns() };
        if state.path_mtu != 0 && now < state.path_mtu_expiry {
            lasts = false;
            if len > forward::path_mtu(state, leaving, now) {
                return None;
            }
        }
    }
    if lasts {
        decision.seal = seal;
    }
    Some(leaving)
}

/// Whether the packet opens a TCP connection, so that its segment size may have to be clamped.
#[inline(always)]
fn opens(packet: &Packet, at: usize) -> bool {
    const SYN: u8 = 0x02;
    packet.byte(at + Ipv4Hdr::LEN + TcpHdr::LEN - 7).is_none_or(|flags| flags & SYN != 0)
}

/// Ends the run of a packet that finds no room or no port.
#[inline(always)]
fn lost(ctx: *mut xdp_md, decision: &Decision, reason: DropReason) -> u32 {
    drop_late(ctx, decision.tenant.0, decision.origin.0, decision.nexthop.0, reason as u32)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn drop_late(ctx: *mut xdp_md, tenant: u32, origin: u32, nexthop: u32, reason: u32) -> u32 {
    let packet = Packet::of(ctx);
    let Some(run) = Run::begin(packet.ifindex()) else { return xdp_action::XDP_ABORTED };
    run.tenant = TenantId(tenant);
    run.origin = OriginId(origin);
    run.nexthop = NexthopId(nexthop);
    run.reach(Stage::Emit);
    run.finish(&packet, Err(resolve::reason_of(reason)))
}

/// Where a packet comes from or goes to, as this CPU counts and meters it.
struct Side {
    counters: *mut Counters,
    /// What a connection's packets may take before the policer is asked; null for the tenant's fabric.
    credit: *mut u64,
}

/// Which of a connection's credits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

impl Side {
    #[inline(always)]
    fn of(connection: Option<ConnectionId>, tenant: TenantId, way: Way) -> Option<Self> {
        let Some(id) = connection else {
            let counters = TENANT_COUNTERS.get_ptr_mut(tenant.0)?;
            return Some(Self { counters, credit: opaque(0) as *mut u64 });
        };
        let share = CONNECTION_COUNTERS.get_ptr_mut(id.0)?;
        // SAFETY: fields of this CPU's slot of a per-CPU map.
        let (counters, inbound, outbound) =
            unsafe { (&raw mut (*share).counters, &raw mut (*share).inbound, &raw mut (*share).outbound) };
        let credit = if way == Way::In { inbound } else { outbound };
        // The compiler must not tell by the number whether there is credit: the verifier tells by the pointer.
        Some(Self { counters, credit: opaque(credit as usize) as *mut u64 })
    }

    #[inline(always)]
    fn lets(&self, bytes: u32) -> bool {
        // SAFETY: a field of this CPU's slot of a per-CPU map.
        self.credit.is_null() || unsafe { *self.credit >= u64::from(bytes) }
    }

    #[inline(always)]
    fn take(&self, bytes: u32) {
        if !self.credit.is_null() {
            // SAFETY: as above.
            unsafe { *self.credit -= u64::from(bytes) };
        }
    }
}
