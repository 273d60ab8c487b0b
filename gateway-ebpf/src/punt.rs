//! Punt: what the kernel or user space must see. Packets for a tenant's own addresses go to its compartment, policed; fragments go to
//! the slow path.

use crate::Verdict;
use crate::inner::Inner;
use crate::maps::{CONNECTIONS, DEVICES, SETTINGS, TENANT_STATE, TENANTS, TOTALS};
use crate::packet::Packet;
use crate::police;
use crate::run::Run;
use gateway_common::tables::{GATEWAY_MAC, Settings, Tenant};
use gateway_common::trace::{Reentry, Stage};
use gateway_common::wire::{ethertype, protocol};
use gateway_common::{DropReason, PortId};
use network_types::eth::EthHdr;

/// In [`Run::what`]: a frame of a tenant's VLAN that the kernel must see whole.
pub const CONTROL: u32 = 3;
const TAG: usize = 4;
const BGP_PORT: u16 = 179;
const BFD_PORTS: [u16; 3] = [3784, 3785, 4784];

/// Hands the packet to the tenant's compartment.
#[inline(always)]
pub fn to_compartment(packet: &Packet, run: &mut Run) -> Verdict {
    run.reach(Stage::Punt);
    let tenant = TENANTS.get(run.tenant.0).ok_or(DropReason::NoCompartment)?;
    let routing = run.what != CONTROL && is_routing(packet, run.inner as usize & 0x1ff);
    if !is_within_rate(run, routing) {
        return Err(DropReason::PuntRateLimited);
    }
    if let Some(attachment) = vlan_attachment(packet, run) {
        let macs: [u32; 3] = packet.load(0).ok_or(DropReason::InnerTruncated)?;
        packet.store(TAG, macs).ok_or(DropReason::InnerTruncated)?;
        packet.adjust_head(TAG as i32)?;
        return DEVICES.redirect(attachment.0, 0).map_err(|_| DropReason::NoCompartment);
    }
    if run.what == CONTROL || tenant.compartment == Tenant::NO_COMPARTMENT {
        return Err(DropReason::NoCompartment);
    }
    let inner = run.inner as i32;
    packet.adjust_head(inner - EthHdr::LEN as i32)?;
    let version = packet.byte(EthHdr::LEN).ok_or(DropReason::InnerTruncated)?;
    let kind = if version >> 4 == 6 { ethertype::IPV6 } else { ethertype::IPV4 };
    let to = tenant.compartment_mac;
    let from = GATEWAY_MAC;
    let header = [
        to[0],
        to[1],
        to[2],
        to[3],
        to[4],
        to[5],
        from[0],
        from[1],
        from[2],
        from[3],
        from[4],
        from[5],
        (kind >> 8) as u8,
        kind as u8,
    ];
    packet.store(0, header).ok_or(DropReason::NoHeadroom)?;
    DEVICES.redirect(tenant.compartment.0, 0).map_err(|_| DropReason::NoCompartment)
}

/// The veth of the VLAN that the frame still carries the tag of, if its connection has one.
#[inline(always)]
fn vlan_attachment(packet: &Packet, run: &Run) -> Option<PortId> {
    let connection = CONNECTIONS.get(run.origin.as_connection()?.0)?;
    if connection.attachment == Tenant::NO_COMPARTMENT {
        return None;
    }
    let kind: u16 = packet.load(12)?;
    if kind == ethertype::VLAN.to_be() { Some(connection.attachment) } else { None }
}

/// Whether the packet is BGP's or BFD's, which have a rate of their own.
#[inline(always)]
fn is_routing(packet: &Packet, offset: usize) -> bool {
    let Ok(inner) = Inner::read(packet, offset, packet.len()) else { return false };
    if inner.transport == 0 {
        return false;
    }
    let Some([source, destination]) = packet.load::<[u16; 2]>(offset + (inner.transport as usize & 0x3fff)) else {
        return false;
    };
    let (source, destination) = (u16::from_be(source), u16::from_be(destination));
    match inner.protocol {
        protocol::TCP => source == BGP_PORT || destination == BGP_PORT,
        protocol::UDP => destination == BFD_PORTS[0] || destination == BFD_PORTS[1] || destination == BFD_PORTS[2],
        _ => false,
    }
}

#[inline(always)]
fn is_within_rate(run: &Run, routing: bool) -> bool {
    let (Some(settings), Some(state), Some(totals)) =
        (SETTINGS.get(0), TENANT_STATE.get_ptr_mut(run.tenant.0), TOTALS.get_ptr_mut(0))
    else {
        return false;
    };
    // SAFETY: fields of maps' values.
    let (punt, punt_routing, total) =
        unsafe { (&raw mut (*state).punt, &raw mut (*state).punt_routing, &raw mut (*totals).punt) };
    if routing {
        return police::admit(&settings.punt_routing, punt_routing, Settings::PACKET, run.now);
    }
    police::admit(&settings.punt, punt, Settings::PACKET, run.now)
        && police::admit(&settings.punt_total, total, Settings::PACKET, run.now)
}

/// Hands the packet to user space, behind a private header that says what is to be done.
#[inline(always)]
pub fn to_slow_path(packet: &Packet, run: &mut Run) -> Verdict {
    run.reach(Stage::Punt);
    let (Some(settings), Some(totals)) = (SETTINGS.get(0), TOTALS.get_ptr_mut(0)) else {
        return Err(DropReason::StageMissing);
    };
    if settings.slow_port == Tenant::NO_COMPARTMENT {
        return Err(match run.what {
            Reentry::FRAME => DropReason::OuterFragment,
            Reentry::ANSWERED => DropReason::SeatNotHeld,
            _ => DropReason::TooBig,
        });
    }
    // SAFETY: a field of a map's value.
    let word = unsafe { &raw mut (*totals).slow };
    if !police::admit(&settings.slow, word, Settings::PACKET, run.now) {
        return Err(DropReason::SlowPathLimited);
    }
    let (strip, context) = match run.what {
        Reentry::FRAME | Reentry::ANSWERED => (0, run.ifindex),
        _ => (run.inner as i32, run.tenant.0),
    };
    packet.adjust_head(strip - (EthHdr::LEN + size_of::<Reentry>()) as i32)?;
    packet.store(0, [0u32; 3]).ok_or(DropReason::NoHeadroom)?;
    packet.store(12, ethertype::PRIVATE.to_be()).ok_or(DropReason::NoHeadroom)?;
    packet.store(EthHdr::LEN, [run.what, context, run.origin.0, run.mtu]).ok_or(DropReason::NoHeadroom)?;
    DEVICES.redirect(settings.slow_port.0, 0).map_err(|_| DropReason::NoPort)
}
