//! What a tenant's compartment sends: on a VLAN's attachment, frames for the VLAN; on the routed one, packets from the tenant's own addresses.

use crate::inner::Inner;
use crate::maps::{COMPARTMENTS, CONNECTIONS, DEVICES, PORT_COUNTERS, TENANTS};
use crate::packet::Packet;
use crate::run::Run;
use crate::{Verdict, forward, gate, resolve, trace};
use gateway_common::tables::{Attachment, Connection, Tenant, stage};
use gateway_common::trace::Stage;
use gateway_common::wire::ethertype;
use gateway_common::{ConnectionId, DropReason, OriginId};
use network_types::eth::EthHdr;

const TAG: i32 = 4;

/// Takes a frame from a compartment.
#[inline(always)]
pub fn output(packet: &Packet, run: &mut Run) -> Verdict {
    let Some(attachment) = COMPARTMENTS.get_ptr(run.ifindex) else { return Err(DropReason::NoCompartment) };
    // SAFETY: entries are replaced whole.
    let attachment = unsafe { *attachment };
    run.tenant = attachment.tenant;
    run.seat = attachment.seat;
    if let Some(tenant) = TENANTS.get(run.tenant.0)
        && tenant.flags & Tenant::TRACED != 0
    {
        run.flags |= Run::TRACED;
        trace::arrived(packet);
    }
    if attachment.connection != ConnectionId::NONE {
        gate::speaks(run.seat, run.now)?;
        if CONNECTIONS.get(attachment.connection.0).is_some_and(|it| it.flags & Connection::QUIET != 0) {
            return Err(DropReason::ConnectionLeaving);
        }
        to_vlan(packet, run, &attachment)
    } else {
        gate::check(run.seat, run.now)?;
        to_pipeline(packet, run)
    }
}

/// Puts the VLAN's tag on and sends the frame out.
#[inline(always)]
fn to_vlan(packet: &Packet, run: &mut Run, attachment: &Attachment) -> Verdict {
    packet.adjust_head(-TAG)?;
    let macs: [u32; 3] = packet.load(TAG as usize).ok_or(DropReason::EthernetTruncated)?;
    packet.store(0, macs).ok_or(DropReason::NoHeadroom)?;
    let tag = u32::from(ethertype::VLAN) << 16 | attachment.vlan & 0x0fff;
    packet.store(12, tag.to_be()).ok_or(DropReason::NoHeadroom)?;
    run.reach(Stage::Emit);
    let len = packet.len();
    if let Some(counters) = forward::counters_of(attachment.connection) {
        forward::count_out(counters, len.saturating_sub((EthHdr::LEN + TAG as usize) as u32));
    }
    if let Some(counters) = PORT_COUNTERS.get_ptr_mut(attachment.port.0) {
        forward::count_out(counters, len);
    }
    DEVICES.redirect(attachment.port.0, 0).map_err(|_| DropReason::NoPort)
}

/// Routes a packet, provided that it comes from one of the tenant's own addresses.
#[inline(always)]
fn to_pipeline(packet: &Packet, run: &mut Run) -> Verdict {
    let kind: u16 = packet.load(12).ok_or(DropReason::EthernetTruncated)?;
    if kind != ethertype::IPV4.to_be() && kind != ethertype::IPV6.to_be() {
        return Err(DropReason::NotServed);
    }
    let inner = Inner::read(packet, EthHdr::LEN, packet.len())?;
    run.reach(Stage::Admit);
    if resolve::is_martian(&inner.source) || resolve::is_martian(&inner.destination) {
        return Err(DropReason::Martian);
    }
    if !resolve::is_feasible(run.tenant, &inner.source, OriginId::COMPARTMENT, 0) {
        return Err(DropReason::CompartmentSource);
    }
    run.inner = EthHdr::LEN as u32;
    run.hand_over(packet, stage::ORIGINATE)
}
