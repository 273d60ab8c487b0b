//! What is known of the packet under way, and its end: counted, traced, answered.

use crate::inner::Inner;
use crate::maps::{DROPS, NEXTHOPS, RUN, STAGES};
use crate::packet::Packet;
use crate::resolve::Query;
use crate::{Verdict, trace};
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use gateway_common::tables::DropKey;
use gateway_common::trace::Stage;
use gateway_common::{ConnectionId, DropReason, NexthopId, OriginId, PortId, SeatId, TenantId};

/// One packet's run through the pipeline.
///
/// It lives in a map, of which every CPU has its own slot and runs one packet at a time: the next stage finds it there, and the verifier,
/// which knows nothing of a map's contents, proves what follows once for all that may be in it.
#[repr(C)]
pub struct Run {
    /// When the run began: nanoseconds of the coarse monotonic clock.
    pub now: u64,
    /// By which interface the packet came in.
    pub ifindex: u32,
    /// Whose it is; [`Run::UNKNOWN`] so far.
    pub tenant: TenantId,
    /// Where it came from.
    pub origin: OriginId,
    /// By which seat it came in.
    pub seat: SeatId,
    /// Where it goes.
    pub nexthop: NexthopId,
    /// By which port it came in.
    pub port: PortId,
    /// Where the inner IP header starts.
    pub inner: u32,
    /// The traffic class of the outer header that was taken off; 0 if there was none.
    pub outer_class: u32,
    /// The last stage that was reached.
    pub stage: u32,
    /// [`Run::TRACED`] and its fellows.
    pub flags: u32,
    /// For [`crate::icmp`]: which error. For the slow path: which operation.
    pub what: u32,
    /// For [`crate::icmp`] and the slow path: the largest packet that the next hop takes.
    pub mtu: u32,
    /// Of a virtual machine's frame: its MAC addresses.
    pub macs: [u32; 3],
    /// Of a virtual machine's frame: its flow's hash.
    pub hash: u32,
    /// What was read of the outer headers.
    pub query: Query,
    /// What was read of the inner one.
    pub packet: Inner,
}

/// Room for a quoted packet, or a piece under a checksum.
#[repr(C)]
pub struct Scratch {
    /// The bytes, in whole words.
    pub bytes: [u64; Scratch::WORDS],
}

impl Scratch {
    /// Words of room: what an ICMPv6 error may quote at most.
    pub const WORDS: usize = 156;
}

impl Run {
    /// No tenant yet.
    pub const UNKNOWN: TenantId = TenantId(u32::MAX);
    /// The tenant is being traced.
    pub const TRACED: u32 = 1;
    /// The decision came from the flow cache.
    pub const CACHED: u32 = 2;

    /// A run that begins.
    #[inline(always)]
    pub fn begin(ifindex: u32) -> Option<&'static mut Self> {
        let run = Self::taken_over()?;
        // SAFETY: a helper without arguments.
        run.now = unsafe { bpf_ktime_get_coarse_ns() };
        run.ifindex = ifindex;
        run.tenant = Self::UNKNOWN;
        run.origin = OriginId::COMPARTMENT;
        run.seat = SeatId(0);
        run.nexthop = NexthopId::NONE;
        run.inner = 0;
        run.outer_class = 0;
        run.stage = Stage::Parse as u32;
        run.flags = 0;
        run.what = 0;
        run.mtu = 0;
        Some(run)
    }

    /// The run as the calling stage left it.
    #[inline(always)]
    pub fn taken_over() -> Option<&'static mut Self> {
        // SAFETY: this CPU's slot, which nobody else touches during the run.
        RUN.get_ptr_mut(0).map(|run| unsafe { &mut *run })
    }

    /// Hands the packet to another stage. Comes back only if that stage is not loaded.
    #[inline(always)]
    pub fn hand_over(&self, packet: &Packet, stage: u32) -> Verdict {
        // SAFETY: every program in the array is an XDP program; nothing here needs dropping.
        unsafe { STAGES.tail_call(&packet.context(), stage) };
        Err(DropReason::StageMissing)
    }

    /// Notes how far the packet got.
    #[inline(always)]
    pub fn reach(&mut self, stage: Stage) {
        self.stage = stage as u32;
    }

    /// The run's end: the verdict as an action, a drop counted, both traced if asked for.
    #[inline(always)]
    pub fn finish(&self, packet: &Packet, verdict: Verdict) -> u32 {
        match verdict {
            Ok(action) => {
                if self.flags & Self::TRACED != 0 {
                    trace::ended(packet, action);
                }
                action
            }
            Err(reason) => {
                self.count_drop(reason);
                trace::dropped(packet, reason as u32);
                xdp_action::XDP_DROP
            }
        }
    }

    /// Counts a drop where it belongs: to the connection that the packet was leaving by, where that was the cause; else to where it came from.
    #[inline(always)]
    pub fn count_drop(&self, reason: DropReason) {
        let (scope, id) = self.blamed(reason);
        count_drop(scope, id, reason as u32);
    }

    #[inline(always)]
    fn blamed(&self, reason: DropReason) -> (u32, u32) {
        if self.tenant == Self::UNKNOWN {
            return (DropKey::PORT, self.ifindex);
        }
        let leaving = matches!(
            reason,
            DropReason::RateOutbound | DropReason::TooBig | DropReason::NeighbourUnresolved | DropReason::NoPort
        );
        if leaving
            && self.nexthop != NexthopId::NONE
            && let Some(nexthop) = NEXTHOPS.get(self.nexthop.0)
            && nexthop.connection != ConnectionId::NONE
        {
            return (DropKey::CONNECTION, nexthop.connection.0);
        }
        match self.origin.as_connection() {
            Some(connection) => (DropKey::CONNECTION, connection.0),
            None => (DropKey::TENANT, self.tenant.0),
        }
    }
}

/// Counts a drop.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn count_drop(scope: u32, id: u32, reason: u32) -> u32 {
    let key = DropKey { scope, id, reason };
    match DROPS.get_ptr_mut(key) {
        // SAFETY: this CPU's slot of a per-CPU map.
        Some(count) => unsafe { *count += 1 },
        // A full map loses the count, never the drop.
        None => drop(DROPS.insert(key, 1, 0)),
    }
    0
}
