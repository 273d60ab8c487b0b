//! What the slow path hands back: whole frames, as if they had just come in, and packets that were admitted before.

use crate::Verdict;
use crate::maps::TENANTS;
use crate::packet::Packet;
use crate::run::Run;
use gateway_common::tables::{Tenant, stage};
use gateway_common::trace::Reentry;
use gateway_common::wire::ethertype;
use gateway_common::{DropReason, OriginId, TenantId};
use network_types::eth::EthHdr;

/// Takes the private header off and goes on where it says.
#[inline(always)]
pub fn take_back(packet: &Packet, run: &mut Run) -> Verdict {
    let kind: u16 = packet.load(12).ok_or(DropReason::SlowPathMalformed)?;
    if kind != ethertype::PRIVATE.to_be() {
        return Err(DropReason::SlowPathMalformed);
    }
    let [operation, context, origin, mtu]: [u32; 4] = packet.load(EthHdr::LEN).ok_or(DropReason::SlowPathMalformed)?;
    packet.adjust_head((EthHdr::LEN + size_of::<Reentry>()) as i32)?;
    match operation {
        Reentry::FRAME => {
            run.ifindex = context;
            run.hand_over(packet, stage::FRAME)
        }
        Reentry::PACKET => {
            run.tenant = TenantId(context);
            run.origin = OriginId(origin);
            if let Some(tenant) = TENANTS.get(context)
                && tenant.flags & Tenant::TRACED != 0
            {
                run.flags |= Run::TRACED;
            }
            run.hand_over(packet, stage::ORIGINATE)
        }
        Reentry::ANSWER | Reentry::EXPIRED | Reentry::TOO_BIG | Reentry::RESUME => {
            run.ifindex = context;
            run.what = operation;
            run.mtu = mtu;
            run.hand_over(packet, stage::VM)
        }
        _ => Err(DropReason::SlowPathMalformed),
    }
}
