//! Parse: from a port's frame to the inner packet and everything that says whose it may be.
//!
//! A frame that cannot be read is dropped only if it is ours, by its outer destination or VLAN; anybody else's goes to the host.

use crate::cache::{self, Flow};
use crate::context::Context;
use crate::inner::{Family, Inner};
use crate::maps::{CONNECTIONS, LOCAL, PORTS, VLANS};
use crate::packet::{Packet, opaque};
use crate::resolve::{self, Query};
use crate::run::Run;
use crate::{PASS, Verdict, forward, gate, punt};
use gateway_common::flow::{Carrier, carrier_word, frame_word};
use gateway_common::tables::{Connection, Decision, GATEWAY_MAC, Local, Port, Tenant, VlanKey, stage};
use gateway_common::trace::{Reentry, Stage};
use gateway_common::wire::{GreFlags, VXLAN_FLAGS, VXLAN_PORT, ethertype, is_nvgre, protocol};
use gateway_common::{Address, DropReason, OriginId, checksum};
use network_types::eth::EthHdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};
use network_types::udp::UdpHdr;

/// Why parsing ended without an inner packet.
pub enum Refusal {
    /// Not ours.
    Pass,
    /// Not a tunnel's packet: perhaps for one of our own addresses.
    Host,
    /// A fragment: if it is ours, the slow path puts it together.
    Fragment,
    /// What the kernel does on a tenant's VLAN: ARP and neighbour discovery.
    Control,
    /// Wrong, if it is ours.
    Drop(DropReason),
}

impl From<DropReason> for Refusal {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}

/// In [`Query::vlan`]: the frame ends within its tag, which makes it nobody else's either.
const CUT_TAG: u16 = u16::MAX;

/// Takes a frame of a port that takes tunnels of `KIND`.
#[inline(always)]
pub fn frame<const KIND: u32>(packet: &Packet, run: &mut Run) -> Verdict {
    run.query.begin(run.ifindex);
    match headers::<KIND, _>(packet, run) {
        Ok(inner) => run.packet = inner,
        Err(Refusal::Pass) => return PASS,
        Err(Refusal::Host) => return run.hand_over(packet, stage::HOST),
        Err(Refusal::Fragment) if is_ours_to_reassemble(packet, &run.query) => {
            run.what = Reentry::FRAME;
            return run.hand_over(packet, stage::SLOW);
        }
        Err(Refusal::Fragment) => return PASS,
        Err(Refusal::Control) => {
            return match control(run) {
                Ok(Listener::Compartment) => run.hand_over(packet, stage::PUNT),
                Ok(Listener::Agent) => run.hand_over(packet, stage::SLOW),
                Err(Refusal::Drop(reason)) => Err(reason),
                Err(_) => PASS,
            };
        }
        Err(Refusal::Drop(reason)) => return if is_ours(&run.query) { Err(reason) } else { PASS },
    }
    run.reach(Stage::Classify);
    run.inner = run.packet.offset as u32;
    let decided = if run.query.outer_destination.is_v4() && matches!(run.packet.family, Family::V4) {
        decide(run.query.key4(), run)
    } else {
        decide(run.query.key6(), run)
    };
    match decided {
        Ok(tenant) => forward::admitted(packet, run, tenant),
        Err(Refusal::Drop(reason)) => Err(reason),
        Err(Refusal::Host) => run.hand_over(packet, stage::HOST),
        Err(_) => PASS,
    }
}

/// The flow's decision, from the cache or made now.
#[inline(always)]
fn decide<F: Flow>(key: F, run: &mut Run) -> Result<&'static Tenant, Refusal> {
    let (decision, tenant) = match cache::recall(&key) {
        Some(hit) => {
            run.flags |= Run::CACHED;
            hit
        }
        None => {
            let mut decision = Decision::default();
            resolve::resolve(run, &mut decision)?;
            key.remember(&decision);
            (decision, resolve::tenant(decision.tenant)?)
        }
    };
    run.tenant = decision.tenant;
    run.origin = decision.origin;
    run.seat = decision.seat;
    run.nexthop = decision.nexthop;
    run.port = decision.port;
    Ok(tenant)
}

/// Reads everything before the inner packet, and that.
#[inline(always)]
pub fn headers<const KIND: u32, C: Context>(packet: &Packet<C>, run: &mut Run) -> Result<Inner, Refusal> {
    const IPV4: u16 = ethertype::IPV4.to_be();
    const IPV6: u16 = ethertype::IPV6.to_be();
    const VLAN: u16 = ethertype::VLAN.to_be();
    const ARP: u16 = ethertype::ARP.to_be();
    let ethertype: u16 = packet.load(12).ok_or(Refusal::Pass)?;
    match ethertype {
        IPV4 => outer4::<KIND, C>(packet, run),
        IPV6 => outer6::<KIND, C>(packet, run),
        VLAN if KIND & Port::SITE != 0 => vlan(packet, &mut run.query),
        ARP => Err(Refusal::Host),
        _ => Err(Refusal::Pass),
    }
}

#[inline(always)]
fn outer4<const KIND: u32, C: Context>(packet: &Packet<C>, run: &mut Run) -> Result<Inner, Refusal> {
    let header: [u32; 5] = packet.load(EthHdr::LEN).ok_or(Refusal::Pass)?;
    let query = &mut run.query;
    query.mac = packet.load(0).ok_or(Refusal::Pass)?;
    query.outer_source = Address::v4(header[3]);
    query.outer_destination = Address::v4(header[4]);
    let first = u32::from_be(header[0]);
    let second = u32::from_be(header[1]);
    let protocol = (u32::from_be(header[2]) >> 16) as u8;
    if first >> 24 != 0x45 {
        let options = first >> 28 == 4 && (first >> 24) & 0x0f > 5;
        return Err(Refusal::Drop(if options { DropReason::OuterOptions } else { DropReason::OuterMalformed }));
    }
    let len = first & 0xffff;
    if len < Ipv4Hdr::LEN as u32 {
        return Err(Refusal::Drop(DropReason::OuterMalformed));
    }
    let limit = EthHdr::LEN as u32 + len;
    if limit > packet.len() {
        return Err(Refusal::Drop(DropReason::OuterTruncated));
    }
    let mut sum = 0u64;
    for word in header {
        sum += u64::from(word);
    }
    if checksum::fold(sum) != 0xffff {
        return Err(Refusal::Drop(DropReason::OuterChecksum));
    }
    if second & 0x3fff != 0 {
        return Err(Refusal::Fragment);
    }
    run.outer_class = (first >> 16) & 0xff;
    tunnel::<KIND, C>(packet, &mut run.query, protocol, EthHdr::LEN + Ipv4Hdr::LEN, limit)
}

#[inline(always)]
fn outer6<const KIND: u32, C: Context>(packet: &Packet<C>, run: &mut Run) -> Result<Inner, Refusal> {
    let header: [u32; 10] = packet.load(EthHdr::LEN).ok_or(Refusal::Pass)?;
    let query = &mut run.query;
    query.mac = packet.load(0).ok_or(Refusal::Pass)?;
    query.outer_source = Address([header[2], header[3], header[4], header[5]]);
    query.outer_destination = Address([header[6], header[7], header[8], header[9]]);
    let first = u32::from_be(header[0]);
    let second = u32::from_be(header[1]);
    if query.outer_source.is_v4() || query.outer_destination.is_v4() {
        // An IPv4 address in mapped form is no IPv6 address (RFC 4291 section 2.5.5.2), and must not find our IPv4 ones.
        return Err(Refusal::Pass);
    }
    if first >> 28 != 6 {
        return Err(Refusal::Drop(DropReason::OuterMalformed));
    }
    let limit = (EthHdr::LEN + Ipv6Hdr::LEN) as u32 + (second >> 16);
    if limit > packet.len() {
        return Err(Refusal::Drop(DropReason::OuterTruncated));
    }
    run.outer_class = (first >> 20) & 0xff;
    let mut protocol = (second >> 8) as u8;
    let mut at = EthHdr::LEN + Ipv6Hdr::LEN;
    if protocol == protocol::DESTINATION_OPTIONS {
        // Linux sends the tunnel encapsulation limit of RFC 2473 so: one header of eight bytes.
        let [next, length]: [u8; 2] = packet.load(at).ok_or(Refusal::Drop(DropReason::OuterTruncated))?;
        if length != 0 {
            return Err(Refusal::Drop(DropReason::OuterOptions));
        }
        protocol = next;
        at += 8;
    }
    match protocol {
        protocol::FRAGMENT => Err(Refusal::Fragment),
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS | protocol::AUTHENTICATION => {
            Err(Refusal::Drop(DropReason::OuterOptions))
        }
        protocol => tunnel::<KIND, C>(packet, &mut run.query, protocol, at, limit),
    }
}

/// The tunnel header at `at`; the outer packet ends at `limit`.
#[inline(always)]
fn tunnel<const KIND: u32, C: Context>(
    packet: &Packet<C>,
    query: &mut Query,
    protocol: u8,
    at: usize,
    limit: u32,
) -> Result<Inner, Refusal> {
    match protocol {
        protocol::GRE => gre::<KIND, C>(packet, query, at, limit),
        protocol::UDP => {
            let port: u16 = packet.load(at + 2).ok_or(Refusal::Host)?;
            if port == VXLAN_PORT.to_be() { vxlan::<KIND, C>(packet, query, at, limit) } else { Err(Refusal::Host) }
        }
        _ => Err(Refusal::Host),
    }
}

#[inline(always)]
fn gre<const KIND: u32, C: Context>(
    packet: &Packet<C>,
    query: &mut Query,
    at: usize,
    limit: u32,
) -> Result<Inner, Refusal> {
    let [flags, protocol]: [u16; 2] = packet.load(at).ok_or(DropReason::GreTruncated)?;
    let flags = GreFlags(u16::from_be(flags));
    if !flags.is_valid() {
        return Err(Refusal::Drop(DropReason::GreMalformed));
    }
    if at as u32 + flags.header_len() as u32 > limit {
        return Err(Refusal::Drop(DropReason::GreTruncated));
    }
    if protocol == ethertype::BRIDGED.to_be() {
        return nvgre::<KIND, C>(packet, query, at, limit, flags);
    }
    if KIND & Port::SITE == 0 {
        return Err(Refusal::Drop(DropReason::PortKind));
    }
    query.carrier = Carrier::Gre;
    if flags.has_key() {
        query.carrier = Carrier::GreKeyed;
        query.key = u32::from_be(packet.load(at + flags.key_offset()).ok_or(DropReason::GreTruncated)?);
    }
    if flags.has_checksum() && !C::has_right_gre_checksum(packet.raw(), at as u32, limit) {
        return Err(Refusal::Drop(DropReason::GreChecksum));
    }
    let at = at + flags.header_len();
    match u16::from_be(protocol) {
        ethertype::IPV4 => inner4(packet, query, at, limit),
        ethertype::IPV6 => inner6(packet, query, at, limit),
        _ => Err(Refusal::Drop(DropReason::GreProtocol)),
    }
}

#[inline(always)]
fn nvgre<const KIND: u32, C: Context>(
    packet: &Packet<C>,
    query: &mut Query,
    at: usize,
    limit: u32,
    flags: GreFlags,
) -> Result<Inner, Refusal> {
    if KIND & Port::FABRIC == 0 {
        return Err(Refusal::Drop(DropReason::PortKind));
    }
    if !is_nvgre(flags) {
        return Err(Refusal::Drop(DropReason::NvgreMalformed));
    }
    let key: u32 = packet.load(at + 4).ok_or(DropReason::GreTruncated)?;
    query.carrier = Carrier::Nvgre;
    // The lower eight bits are the FlowID: entropy, not identity.
    query.key = u32::from_be(key) >> 8;
    inner_frame::<KIND, C>(packet, query, at + 8, limit)
}

#[inline(always)]
fn vxlan<const KIND: u32, C: Context>(
    packet: &Packet<C>,
    query: &mut Query,
    at: usize,
    limit: u32,
) -> Result<Inner, Refusal> {
    if KIND & Port::FABRIC == 0 {
        return Err(Refusal::Drop(DropReason::PortKind));
    }
    let [flags, vni]: [u32; 2] = packet.load(at + UdpHdr::LEN).ok_or(DropReason::VxlanTruncated)?;
    if (at + UdpHdr::LEN + 8) as u32 > limit {
        return Err(Refusal::Drop(DropReason::VxlanTruncated));
    }
    if u32::from_be(flags) & VXLAN_FLAGS == 0 {
        return Err(Refusal::Drop(DropReason::VxlanMalformed));
    }
    query.carrier = Carrier::Vxlan;
    query.key = u32::from_be(vni) >> 8;
    inner_frame::<KIND, C>(packet, query, at + UdpHdr::LEN + 8, limit)
}

/// The Ethernet frame inside the fabric's encapsulation.
#[inline(always)]
fn inner_frame<const KIND: u32, C: Context>(
    packet: &Packet<C>,
    query: &mut Query,
    at: usize,
    limit: u32,
) -> Result<Inner, Refusal> {
    const MAC: u64 = u64::from_le_bytes([
        GATEWAY_MAC[0],
        GATEWAY_MAC[1],
        GATEWAY_MAC[2],
        GATEWAY_MAC[3],
        GATEWAY_MAC[4],
        GATEWAY_MAC[5],
        0,
        0,
    ]);
    let destination: u64 = packet.load(at).ok_or(DropReason::InnerEthernetTruncated)?;
    let kind: u16 = packet.load(at + 12).ok_or(DropReason::InnerEthernetTruncated)?;
    if (at + EthHdr::LEN) as u32 > limit {
        return Err(Refusal::Drop(DropReason::InnerEthernetTruncated));
    }
    if KIND & Port::HOST != 0 {
        // What is in the frame is its receiver's affair.
        return Ok(Inner::unread(at + EthHdr::LEN, limit - (at + EthHdr::LEN) as u32));
    }
    match u16::from_be(kind) {
        ethertype::IPV4 | ethertype::IPV6 if destination & 0xffff_ffff_ffff != MAC => {
            Err(Refusal::Drop(DropReason::OtherStation))
        }
        ethertype::IPV4 => inner4(packet, query, at + EthHdr::LEN, limit),
        ethertype::IPV6 => inner6(packet, query, at + EthHdr::LEN, limit),
        _ => Err(Refusal::Drop(DropReason::InnerEthertype)),
    }
}

#[inline(always)]
fn vlan<C: Context>(packet: &Packet<C>, query: &mut Query) -> Result<Inner, Refusal> {
    query.carrier = Carrier::Vlan;
    query.vlan = CUT_TAG;
    let [tag, kind]: [u16; 2] = packet.load(EthHdr::LEN).ok_or(DropReason::EthernetTruncated)?;
    query.mac = packet.load(0).ok_or(Refusal::Pass)?;
    query.vlan = u16::from_be(tag) & 0x0fff;
    query.outer_source = Address::v4(0);
    query.outer_destination = Address::v4(0);
    let at = EthHdr::LEN + 4;
    let limit = packet.len();
    match u16::from_be(kind) {
        ethertype::IPV4 => inner4(packet, query, at, limit),
        ethertype::IPV6 => {
            let inner = inner6(packet, query, at, limit)?;
            if inner.protocol == protocol::ICMPV6 && is_neighbour_discovery(packet, query, &inner) {
                return Err(Refusal::Control);
            }
            Ok(inner)
        }
        ethertype::ARP => Err(Refusal::Control),
        _ => Err(Refusal::Pass),
    }
}

/// Whether an ICMPv6 packet is what a link's own stations say to each other (RFC 4861), rather than something to be routed.
#[inline(always)]
fn is_neighbour_discovery<C: Context>(packet: &Packet<C>, query: &Query, inner: &Inner) -> bool {
    let destination = u32::from_be(query.destination.0[0]);
    if destination >> 24 == 0xff || destination >> 22 == 0xfe80 >> 6 {
        return true;
    }
    let kind = match packet.byte(inner.offset + Ipv6Hdr::LEN) {
        Some(kind) => kind,
        None => return false,
    };
    inner.ttl == 255 && (133..=137).contains(&kind)
}

#[inline(always)]
fn inner4<C: Context>(packet: &Packet<C>, query: &mut Query, at: usize, limit: u32) -> Result<Inner, Refusal> {
    let inner = Inner::v4(packet, at, limit)?;
    query.source = inner.source;
    query.destination = inner.destination;
    Ok(inner)
}

#[inline(always)]
fn inner6<C: Context>(packet: &Packet<C>, query: &mut Query, at: usize, limit: u32) -> Result<Inner, Refusal> {
    let inner = Inner::v6(packet, at, limit)?;
    query.source = inner.source;
    query.destination = inner.destination;
    Ok(inner)
}

impl Query {
    /// The flow's key where all addresses are IPv4.
    #[inline(always)]
    pub fn key4(&self) -> [u64; gateway_common::flow::KEY4_WORDS] {
        let pair = |first: &Address, second: &Address| u64::from(first.0[3]) | u64::from(second.0[3]) << 32;
        [
            frame_word(self.mac, self.vlan),
            pair(&self.outer_source, &self.outer_destination),
            pair(&self.source, &self.destination),
            carrier_word(self.carrier, self.ifindex, self.key),
        ]
    }

    /// The flow's key where some are IPv6.
    #[inline(always)]
    pub fn key6(&self) -> [u64; gateway_common::flow::KEY6_WORDS] {
        let half = |address: &Address, at: usize| u64::from(address.0[at]) | u64::from(address.0[at + 1]) << 32;
        [
            frame_word(self.mac, self.vlan),
            half(&self.outer_source, 0),
            half(&self.outer_source, 2),
            half(&self.outer_destination, 0),
            half(&self.outer_destination, 2),
            half(&self.source, 0),
            half(&self.source, 2),
            half(&self.destination, 0),
            half(&self.destination, 2),
            carrier_word(self.carrier, self.ifindex, self.key),
        ]
    }
}

/// Whether a frame that cannot be read is ours: by its outer destination, or by its VLAN.
#[inline(never)]
pub fn is_ours(query: &Query) -> bool {
    match query.carrier {
        Carrier::Vlan if query.vlan == CUT_TAG => true,
        Carrier::Vlan => VLANS.get_ptr(VlanKey { ifindex: query.ifindex, vlan: u32::from(query.vlan) }).is_some(),
        _ => LOCAL.get_ptr(query.outer_destination).is_some(),
    }
}

/// Whether an outer fragment goes to the slow path: it is for an address that the kernel does not serve itself, or is a tunnel's for certain.
#[inline(never)]
pub fn is_ours_to_reassemble<C: Context>(packet: &Packet<C>, query: &Query) -> bool {
    let Some(local) = LOCAL.get_ptr(query.outer_destination) else { return false };
    // SAFETY: entries are replaced whole, and a stale flag is a lost fragment at worst.
    let answered = unsafe { (*local).flags } & Local::ANSWERED != 0;
    let at = if query.outer_destination.is_v4() { EthHdr::LEN + 9 } else { EthHdr::LEN + Ipv6Hdr::LEN };
    // Opaque, or the compiler joins the comparison with whether the byte is there, and compares what was never read.
    let protocol = opaque(packet.byte(at).unwrap_or(0).into());
    answered || protocol == usize::from(protocol::GRE)
}

/// Who is to hear what a neighbour says.
enum Listener {
    /// The tenant's compartment, which has the seat's addresses.
    Compartment,
    /// The agent, which asked in the port's own name.
    Agent,
}

/// ARP and neighbour discovery on a tenant's VLAN, for the compartment's attachment under the seat's gate: whose it is. A gateway that does not
/// speak for the seat hears what is said to its port all the same.
#[inline(never)]
fn control(run: &mut Run) -> Result<Listener, Refusal> {
    let key = VlanKey { ifindex: run.query.ifindex, vlan: u32::from(run.query.vlan) };
    let id = VLANS.get_ptr(key).ok_or(Refusal::Pass)?;
    // SAFETY: one aligned word.
    let id = unsafe { *id };
    let connection = CONNECTIONS.get(id.0).ok_or(Refusal::Pass)?;
    run.tenant = connection.tenant;
    run.origin = OriginId::connection(id);
    run.seat = connection.seat;
    if connection.flags & Connection::ENABLED == 0 {
        return Err(Refusal::Drop(DropReason::ConnectionDisabled));
    }
    let speaks = match connection.flags & Connection::QUIET {
        0 => gate::speaks(connection.seat, run.now),
        _ => Err(DropReason::ConnectionLeaving),
    };
    if let Err(reason) = speaks {
        if !is_for_port(&run.query) {
            return Err(Refusal::Drop(reason));
        }
        run.what = Reentry::ANSWERED;
        return Ok(Listener::Agent);
    }
    run.what = punt::CONTROL;
    Ok(Listener::Compartment)
}

/// Whether a frame is for the port's own MAC address.
#[inline(always)]
fn is_for_port(query: &Query) -> bool {
    let Some(port) = PORTS.get_ptr(query.ifindex) else { return false };
    // SAFETY: a port's record is replaced whole, and never while its program is attached.
    query.mac & 0xffff_ffff_ffff == u64::from_le_bytes(unsafe { (*port).mac })
}
