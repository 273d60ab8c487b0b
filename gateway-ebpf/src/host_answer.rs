//! What a compute host answers its virtual machines in place of others (XDP): ARP and neighbour discovery for the subnet's router and
//! machines, echo to the router, ICMP errors. The frames come from tc, by the private header of the slow path, and the answers go back there.

use crate::answers::{self, ICMP_HEADER, Mac, OVER_IPV4, OVER_IPV6};
use crate::inner::Family;
use crate::maps::{NEXTHOPS, TENANTS, VMS};
use crate::packet::{Packet, opaque};
use crate::run::Run;
use crate::{Verdict, icmp, resolve};
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_meta;
use gateway_common::tables::{Delivery, GATEWAY_MAC, Nexthop, TEMPLATE_WORDS, Tenant, VmPort};
use gateway_common::trace::{Reentry, Stage};
use gateway_common::wire::{ethertype, protocol};
use gateway_common::{Address, DropReason, NexthopId, OriginId};
use network_types::eth::EthHdr;

const ROUTER: Mac = Mac::padded(&[
    GATEWAY_MAC[0],
    GATEWAY_MAC[1],
    GATEWAY_MAC[2],
    GATEWAY_MAC[3],
    GATEWAY_MAC[4],
    GATEWAY_MAC[5],
    0,
    0,
]);

/// Takes a frame of the machine behind the interface that `run` names.
#[inline(always)]
pub fn frame(packet: &Packet, run: &mut Run) -> Verdict {
    let port = VMS.get_ptr(run.ifindex).ok_or(DropReason::VmUnknown)?;
    // SAFETY: entries are replaced whole, and their memory stays for the run.
    let port: &VmPort = unsafe { &*port };
    run.tenant = port.tenant;
    run.origin = OriginId::connection(port.connection);
    if let Some(tenant) = TENANTS.get(run.tenant.0)
        && tenant.flags & Tenant::TRACED != 0
    {
        run.flags |= Run::TRACED;
    }
    run.reach(Stage::Punt);
    run.inner = EthHdr::LEN as u32;
    match run.what {
        Reentry::ANSWER => answer(packet, run, port)?,
        Reentry::EXPIRED => error(packet, run, port, icmp::TIME_EXCEEDED)?,
        Reentry::TOO_BIG => error(packet, run, port, icmp::TOO_BIG)?,
        _ => return pass(packet, Delivery { operation: Delivery::RESUME, ifindex: run.ifindex }),
    }
    pass(packet, Delivery { operation: Delivery::UNICAST, ifindex: run.ifindex })
}

/// Lets the frame pass to tc, with a note of what to do.
#[inline(always)]
fn pass(packet: &Packet, delivery: Delivery) -> Verdict {
    const LEN: usize = size_of::<Delivery>();
    let ctx = packet.raw();
    // SAFETY: the context is valid.
    if unsafe { bpf_xdp_adjust_meta(ctx, -(LEN as i32)) } != 0 {
        return Err(DropReason::NoHeadroom);
    }
    // SAFETY: fields of the kernel's context.
    let (note, frame) = unsafe { ((*ctx).data_meta as usize, (*ctx).data as usize) };
    if note + LEN > frame {
        return Err(DropReason::NoHeadroom);
    }
    // SAFETY: the bytes between are ours.
    unsafe { *(note as *mut [u32; 2]) = [delivery.operation, delivery.ifindex] };
    Ok(xdp_action::XDP_PASS)
}

/// Makes the frame that asks into the one that answers.
#[inline(always)]
fn answer(packet: &Packet, run: &mut Run, port: &VmPort) -> Result<(), DropReason> {
    let kind: u16 = packet.load(12).ok_or(DropReason::EthernetTruncated)?;
    match u16::from_be(kind) {
        ethertype::ARP => {
            let target = answers::requested(packet).ok_or(DropReason::VmFrame)?;
            let mac = find(run, port, &Address::v4(target))?;
            answers::reply(packet, mac, target).ok_or(DropReason::EthernetTruncated)
        }
        ethertype::IPV4 => echo4(packet),
        ethertype::IPV6 => {
            let header: [u32; 10] = packet.load(EthHdr::LEN).ok_or(DropReason::InnerTruncated)?;
            let second = u32::from_be(header[1]);
            let is_icmp = (second >> 8) as u8 == protocol::ICMPV6;
            let kind = if is_icmp { packet.byte(OVER_IPV6).unwrap_or(0) } else { 0 };
            if kind == 135 && second & 0xff == 255 {
                let target = answers::solicited(packet).ok_or(DropReason::InnerTruncated)?;
                let mac = find(run, port, &Address(target))?;
                return answers::advertise(packet, mac, target);
            }
            if kind == 128 {
                return answers::echo6(packet, ROUTER, header).ok_or(DropReason::InnerTruncated);
            }
            Err(DropReason::NotServed)
        }
        _ => Err(DropReason::VmFrame),
    }
}

/// The router's echo reply; to a piece of a request, the same piece of the reply.
#[inline(always)]
fn echo4(packet: &Packet) -> Result<(), DropReason> {
    const ECHO: u8 = 8;
    let header: [u32; 5] = packet.load(EthHdr::LEN).ok_or(DropReason::InnerTruncated)?;
    let is_icmp = (u32::from_be(header[2]) >> 16) as u8 == protocol::ICMP;
    if !is_icmp || u32::from_be(header[0]) >> 24 != 0x45 {
        return Err(DropReason::NotServed);
    }
    let turned = if u32::from_be(header[1]) & 0x1fff != 0 {
        answers::turn_packet4(packet, ROUTER, header)
    } else {
        if packet.byte(OVER_IPV4).unwrap_or(0) != ECHO || packet.len() < (OVER_IPV4 + ICMP_HEADER) as u32 {
            return Err(DropReason::NotServed);
        }
        answers::echo4(packet, ROUTER, header)
    };
    turned.ok_or(DropReason::InnerTruncated)
}

/// The MAC address of a machine or router in the asker's own subnet. Nobody answers for the asker itself.
#[inline(always)]
fn find(run: &mut Run, port: &VmPort, address: &Address) -> Result<Mac, DropReason> {
    let id: NexthopId = resolve::lookup(port.tenant, address).ok_or(DropReason::StationUnknown)?;
    let nexthop = NEXTHOPS.get(id.0).ok_or(DropReason::StationUnknown)?;
    run.nexthop = id;
    if nexthop.vni != port.vni || nexthop.vni.0 == 0 || nexthop.connection == port.connection {
        return Err(DropReason::StationUnknown);
    }
    match nexthop.kind {
        Nexthop::LOCAL => Ok(ROUTER),
        Nexthop::ADJACENCY => inner_destination(nexthop).ok_or(DropReason::StationUnknown),
        _ => Err(DropReason::NeighbourUnresolved),
    }
}

/// The MAC address that frames for a next hop have inside.
#[inline(always)]
fn inner_destination(nexthop: &Nexthop) -> Option<Mac> {
    // What Linux 6.12 and older learn of a number holds for the very copy that is compared.
    let at = opaque((nexthop.header_len as usize).wrapping_sub(EthHdr::LEN));
    if at > TEMPLATE_WORDS * 8 - EthHdr::LEN {
        return None;
    }
    let header: *const u8 = nexthop.header.as_ptr().cast();
    // SAFETY: six bytes from there lie within the template; BPF takes any alignment.
    let (low, high) = unsafe { (*header.add(at).cast::<u32>(), *header.add(at + 4).cast::<u16>()) };
    Some(Mac { low, high })
}

/// Makes the frame into an ICMP error from the subnet's router to its sender.
#[inline(always)]
fn error(packet: &Packet, run: &mut Run, port: &VmPort, what: u32) -> Result<(), DropReason> {
    run.what = what;
    let family = icmp::turn(packet, run, port.router4, &port.router6)?;
    packet.adjust_head(-(EthHdr::LEN as i32))?;
    let mac = Mac::padded(&port.mac);
    let kind = match family {
        Family::V4 => ethertype::IPV4,
        Family::V6 => ethertype::IPV6,
    };
    let written = || {
        packet.store(0, mac.low)?;
        packet.store(4, mac.high)?;
        packet.store(6, ROUTER.low)?;
        packet.store(10, ROUTER.high)?;
        packet.store(12, kind.to_be())
    };
    written().ok_or(DropReason::NoHeadroom)
}
