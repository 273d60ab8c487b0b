//! What is addressed to the gateway's own outer addresses (VIPs, provider addresses) and is no tunnel's packet: ARP, neighbour discovery,
//! echo, and ICMP errors about our tunnels. Everything under the gate of the seat that the address belongs to.

use crate::answers::{self, ICMP_HEADER, Mac, OVER_IPV4, OVER_IPV6};
use crate::context::Context;
use crate::maps::{CONNECTION_STATE, CONNECTIONS, DEVICES, EVENTS, GRE, LOCAL, PORTS, SEAT_SETUP};
use crate::packet::Packet;
use crate::run::Run;
use crate::{PASS, Verdict, gate, probe, seal, steer};
use gateway_common::tables::{GreKey, Local, Port, stage};
use gateway_common::trace::PathMtu;
use gateway_common::wire::{
    GreFlags, IPV4_MIN_PATH_MTU, IPV6_MIN_MTU, KEEPALIVE_PROTOCOL, VXLAN_PORT, ethertype, protocol,
};
use gateway_common::{Address, ConnectionId, DropReason, OriginId};
use network_types::eth::EthHdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

/// How long a learned path MTU holds: ten minutes (RFC 1191 section 6.3).
const PATH_MTU_LIFETIME: u64 = 600_000_000_000;

/// Answers what asks for one of our addresses; steers what a rule matches; passes the rest.
#[inline(always)]
pub fn answer(packet: &Packet, run: &mut Run) -> Verdict {
    let kind: u16 = packet.load(12).ok_or(DropReason::EthernetTruncated)?;
    match u16::from_be(kind) {
        ethertype::ARP => arp(packet, run),
        ethertype::IPV4 => ipv4(packet, run),
        ethertype::IPV6 => ipv6(packet, run),
        _ => PASS,
    }
}

/// The entry of an own address.
#[inline(always)]
fn local(address: Address) -> Option<Local> {
    // SAFETY: entries are replaced whole.
    LOCAL.get_ptr(address).map(|local| unsafe { *local })
}

/// The port that the packet came in by.
#[inline(always)]
fn port(run: &Run) -> Option<Port> {
    // SAFETY: a port's record is replaced whole, and never while its program is attached.
    PORTS.get_ptr(run.ifindex).map(|port| unsafe { *port })
}

/// The MAC address that an own address is at: the seat's, if it has one that moves with it, else the port's.
#[inline(always)]
fn shown_by(local: &Local, port: &Port) -> Mac {
    match SEAT_SETUP.get(local.seat.0) {
        Some(setup) if setup.mac != [0; 8] => Mac::padded(&setup.mac),
        _ => Mac::padded(&port.mac),
    }
}

/// Sends the frame back out of the port it came in by. (By redirection: XDP_TX needs more of a veth's far end than that.)
#[inline(always)]
fn back(port: &Port) -> Verdict {
    DEVICES.redirect(port.id.0, 0).map_err(|_| DropReason::NoPort)
}

/// Answers an ARP request for one of our addresses (RFC 826).
#[inline(always)]
fn arp(packet: &Packet, run: &Run) -> Verdict {
    let Some(target) = answers::requested(packet) else { return PASS };
    let (Some(local), Some(port)) = (local(Address::v4(target)), port(run)) else { return PASS };
    // Who takes a seat announces its address. An answer by whoever still yields it would turn the switches back.
    if local.flags & Local::ANSWERED == 0 || answers::announces(packet, target) {
        return PASS;
    }
    gate::speaks(local.seat, run.now)?;
    answers::reply(packet, shown_by(&local, &port), target).ok_or(DropReason::EthernetTruncated)?;
    back(&port)
}

#[inline(always)]
fn ipv4(packet: &Packet, run: &mut Run) -> Verdict {
    let header: [u32; 5] = packet.load(EthHdr::LEN).ok_or(DropReason::OuterTruncated)?;
    let protocol = (u32::from_be(header[2]) >> 16) as u8;
    let destination = Address::v4(header[4]);
    if protocol == protocol::UDP && probe::is_probe(packet, OVER_IPV4) {
        return run.hand_over(packet, stage::PROBE);
    }
    let Some(local) = local(destination) else { return steer::back(packet) };
    if local.flags & Local::STEERED != 0 && protocol != protocol::ICMP {
        gate::check(local.seat, run.now)?;
        return steer::forward(packet);
    }
    let kind = if protocol == protocol::ICMP { packet.byte(OVER_IPV4).unwrap_or(0) } else { 0 };
    match kind {
        3 | 11 => error4(packet, run, &local, destination, kind),
        8 if local.flags & Local::ANSWERED != 0 => {
            gate::check(local.seat, run.now)?;
            let Some(port) = port(run) else { return PASS };
            answers::echo4(packet, shown_by(&local, &port), header).ok_or(DropReason::OuterTruncated)?;
            back(&port)
        }
        _ => unserved(&local),
    }
}

#[inline(always)]
fn ipv6(packet: &Packet, run: &mut Run) -> Verdict {
    let header: [u32; 10] = packet.load(EthHdr::LEN).ok_or(DropReason::OuterTruncated)?;
    let second = u32::from_be(header[1]);
    let protocol = (second >> 8) as u8;
    let kind = if protocol == protocol::ICMPV6 { packet.byte(OVER_IPV6).unwrap_or(0) } else { 0 };
    if kind == 135 && second & 0xff == 255 {
        return solicitation(packet, run);
    }
    let destination = Address([header[6], header[7], header[8], header[9]]);
    if protocol == protocol::UDP && probe::is_probe(packet, OVER_IPV6) {
        return run.hand_over(packet, stage::PROBE);
    }
    let Some(local) = local(destination) else { return steer::back(packet) };
    if local.flags & Local::STEERED != 0 && protocol != protocol::ICMPV6 {
        gate::check(local.seat, run.now)?;
        return steer::forward(packet);
    }
    match kind {
        1..=3 => error6(packet, run, &local, destination, kind),
        128 if local.flags & Local::ANSWERED != 0 => {
            gate::check(local.seat, run.now)?;
            let Some(port) = port(run) else { return PASS };
            answers::echo6(packet, shown_by(&local, &port), header).ok_or(DropReason::OuterTruncated)?;
            back(&port)
        }
        _ => unserved(&local),
    }
}

/// Takes in what a packet for one of our own addresses tells of our tunnels; the rest is the kernel's. For a compute host, whose addresses are.
#[inline(always)]
pub fn learn<C: Context>(packet: &Packet<C>, run: &mut Run) -> Verdict {
    let kind: u16 = packet.load(12).ok_or(DropReason::EthernetTruncated)?;
    match u16::from_be(kind) {
        ethertype::IPV4 => {
            let header: [u32; 5] = packet.load(EthHdr::LEN).ok_or(DropReason::OuterTruncated)?;
            let destination = Address::v4(header[4]);
            let Some(local) = local(destination) else { return PASS };
            if (u32::from_be(header[2]) >> 16) as u8 != protocol::ICMP {
                return PASS;
            }
            match packet.byte(OVER_IPV4).unwrap_or(0) {
                kind @ (3 | 11) => error4(packet, run, &local, destination, kind),
                _ => PASS,
            }
        }
        ethertype::IPV6 => {
            let header: [u32; 10] = packet.load(EthHdr::LEN).ok_or(DropReason::OuterTruncated)?;
            let destination = Address([header[6], header[7], header[8], header[9]]);
            let Some(local) = local(destination) else { return PASS };
            if (u32::from_be(header[1]) >> 8) as u8 != protocol::ICMPV6 {
                return PASS;
            }
            match packet.byte(OVER_IPV6).unwrap_or(0) {
                kind @ 1..=3 => error6(packet, run, &local, destination, kind),
                _ => PASS,
            }
        }
        _ => PASS,
    }
}

/// Takes in an ICMP error, if it is about one of our tunnels.
#[inline(always)]
fn error4<C: Context>(packet: &Packet<C>, run: &mut Run, local: &Local, own: Address, kind: u8) -> Verdict {
    gate::check(local.seat, run.now)?;
    let code = packet.byte(OVER_IPV4 + 1).ok_or(DropReason::OuterTruncated)?;
    let mtu: u16 = packet.load(OVER_IPV4 + 6).ok_or(DropReason::OuterTruncated)?;
    let learned = if kind == 3 && code == 4 { u32::from(u16::from_be(mtu)).max(IPV4_MIN_PATH_MTU) } else { 0 };
    tunnel_error(packet, run, local, own, quoted4(packet), learned)
}

/// The same over IPv6.
#[inline(always)]
fn error6<C: Context>(packet: &Packet<C>, run: &mut Run, local: &Local, own: Address, kind: u8) -> Verdict {
    gate::check(local.seat, run.now)?;
    let mtu: u32 = packet.load(OVER_IPV6 + 4).ok_or(DropReason::OuterTruncated)?;
    let learned = if kind == 2 { u32::from_be(mtu).max(IPV6_MIN_MTU) } else { 0 };
    tunnel_error(packet, run, local, own, quoted6(packet), learned)
}

/// What is neither: the host's, if its kernel has the address; else nobody's.
#[inline(always)]
fn unserved(local: &Local) -> Verdict {
    if local.flags & Local::ANSWERED != 0 { Err(DropReason::NotServed) } else { PASS }
}

/// Answers a neighbour solicitation for one of our addresses (RFC 4861 section 7.2.4).
#[inline(always)]
fn solicitation(packet: &Packet, run: &Run) -> Verdict {
    let Some(target) = answers::solicited(packet) else { return PASS };
    let (Some(local), Some(port)) = (local(Address(target)), port(run)) else { return PASS };
    if local.flags & Local::ANSWERED == 0 {
        return PASS;
    }
    gate::speaks(local.seat, run.now)?;
    answers::advertise(packet, shown_by(&local, &port), target)?;
    back(&port)
}

/// What an ICMP error quotes of the packet that it is about.
struct Quoted {
    source: Address,
    destination: Address,
    protocol: u8,
    /// Where the tunnel's header starts in the frame.
    tunnel: usize,
}

#[inline(always)]
fn quoted4<C: Context>(packet: &Packet<C>) -> Option<Quoted> {
    const AT: usize = OVER_IPV4 + ICMP_HEADER;
    let header: [u32; 5] = packet.load(AT)?;
    if u32::from_be(header[0]) >> 24 != 0x45 {
        return None;
    }
    Some(Quoted {
        source: Address::v4(header[3]),
        destination: Address::v4(header[4]),
        protocol: (u32::from_be(header[2]) >> 16) as u8,
        tunnel: AT + Ipv4Hdr::LEN,
    })
}

#[inline(always)]
fn quoted6<C: Context>(packet: &Packet<C>) -> Option<Quoted> {
    const AT: usize = OVER_IPV6 + ICMP_HEADER;
    let header: [u32; 10] = packet.load(AT)?;
    Some(Quoted {
        source: Address([header[2], header[3], header[4], header[5]]),
        destination: Address([header[6], header[7], header[8], header[9]]),
        protocol: (u32::from_be(header[1]) >> 8) as u8,
        tunnel: AT + Ipv6Hdr::LEN,
    })
}

/// Takes in an ICMP error about one of our tunnels. It must quote a packet that we could have sent: from the address that the error is for,
/// to the far end of a tunnel that we have. `learned` is what the path takes, 0 if the error says something else.
#[inline(always)]
fn tunnel_error<C: Context>(
    packet: &Packet<C>,
    run: &mut Run,
    local: &Local,
    own: Address,
    quoted: Option<Quoted>,
    learned: u32,
) -> Verdict {
    let unmatched = || if local.flags & Local::ANSWERED != 0 { Err(DropReason::IcmpUnmatched) } else { PASS };
    let Some(quoted) = quoted else { return unmatched() };
    if quoted.source != own {
        return unmatched();
    }
    let connection = match quoted.protocol {
        protocol::GRE if local.flags & Local::VIP != 0 => {
            let Some([flags, _]) = packet.load::<[u16; 2]>(quoted.tunnel) else { return unmatched() };
            let flags = GreFlags(u16::from_be(flags));
            let mut key = GreKey { vip: own, remote: quoted.destination, key: 0, keyed: 0 };
            if flags.has_key() {
                let Some(number) = packet.load::<u32>(quoted.tunnel + 4) else { return unmatched() };
                key.key = u32::from_be(number);
                key.keyed = 1;
            }
            let Some(id) = GRE.get_ptr(key) else { return unmatched() };
            // SAFETY: one aligned word.
            let id = unsafe { *id };
            if let Some(connection) = CONNECTIONS.get(id.0) {
                run.tenant = connection.tenant;
                run.origin = OriginId::connection(id);
            }
            id
        }
        protocol::GRE if local.flags & Local::FABRIC != 0 => ConnectionId::NONE,
        protocol::UDP if local.flags & Local::FABRIC != 0 => match packet.load::<[u16; 2]>(quoted.tunnel) {
            Some([_, port]) if port == VXLAN_PORT.to_be() => ConnectionId::NONE,
            _ => return unmatched(),
        },
        _ => return unmatched(),
    };
    if learned != 0 {
        lower_path_mtu(run, connection, learned);
        notify(own, quoted.destination, connection, learned);
    }
    Err(DropReason::IcmpConsumed)
}

/// Lowers what the connection's path is known to take; a larger value than is known never raises it before that has aged.
#[inline(always)]
fn lower_path_mtu(run: &Run, connection: ConnectionId, learned: u32) {
    let Some(state) = CONNECTION_STATE.get_ptr_mut(connection.0) else { return };
    // SAFETY: fields of a map's value; see `forward::path_mtu` for who reads them.
    unsafe {
        let known = (*state).path_mtu;
        if known == 0 || run.now >= (*state).path_mtu_expiry || learned <= known {
            (*state).path_mtu_expiry = run.now + PATH_MTU_LIFETIME;
            (*state).path_mtu = learned;
            seal::break_all();
        }
    }
}

/// Tells user space, which lowers the next hops of fabric peers and shows the rest.
#[inline(always)]
fn notify(local: Address, remote: Address, connection: ConnectionId, mtu: u32) {
    let Some(mut entry) = EVENTS.reserve_untyped::<PathMtu>(0) else { return };
    entry.write(PathMtu { kind: PathMtu::KIND, mtu, local, remote, connection, reserved: 0 });
    entry.submit(0);
}

/// Returns a GRE keepalive (Cisco's): a packet for its own sender inside its tunnel, GRE again, with protocol 0. It leaves as it is, unwrapped.
#[inline(always)]
pub fn keepalive(packet: &Packet, run: &mut Run) -> Verdict {
    let at = run.inner as usize & 0x1ff;
    let Some(port) = port(run) else { return Err(DropReason::NoPort) };
    // Fixed offsets before variable ones: the other way round the compiler drops a check that the verifier needs.
    let sender_low: u32 = packet.load(6).ok_or(DropReason::InnerTruncated)?;
    let sender_high: u16 = packet.load(10).ok_or(DropReason::InnerTruncated)?;
    let version = packet.byte(at).ok_or(DropReason::InnerTruncated)?;
    let protocol = packet.byte(at + 9).ok_or(DropReason::InnerTruncated)?;
    let [flags, inside]: [u16; 2] = packet.load(at + Ipv4Hdr::LEN).ok_or(DropReason::InnerTruncated)?;
    let valid = GreFlags(u16::from_be(flags)).is_valid() && u16::from_be(inside) == KEEPALIVE_PROTOCOL;
    if version != 0x45 || protocol != protocol::GRE || !valid {
        return Err(DropReason::Spoofed);
    }
    packet.adjust_head(at as i32 - EthHdr::LEN as i32)?;
    let mac = Mac::padded(&port.mac);
    let returned = || {
        packet.store(0, sender_low)?;
        packet.store(4, sender_high)?;
        packet.store(6, mac.low)?;
        packet.store(10, mac.high)?;
        packet.store(12, ethertype::IPV4.to_be())
    };
    returned().ok_or(DropReason::NoHeadroom)?;
    back(&port)
}
