//! What goes through the `EVENTS` ring buffer: traced packets, and notices that user space acts upon.
//!
//! Every record starts with a word that names its kind ([`Traced::KIND`], [`PathMtu::KIND`]).

use crate::{Address, ConnectionId, NexthopId, OriginId, SeatId, TenantId};
use bytemuck::{Pod, Zeroable};

/// Bytes of a packet that a trace record keeps.
pub const SNAP: usize = 192;

/// One traced packet's run through the pipeline, told at its end.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Traced {
    /// [`Traced::KIND`].
    pub kind: u32,
    /// Where the packet came in.
    pub ifindex: u32,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The tenant.
    pub tenant: TenantId,
    /// Where the packet came from.
    pub origin: OriginId,
    /// The seat that it came in by.
    pub seat: SeatId,
    /// The next hop, after a group's member was chosen; [`NexthopId::NONE`] if it did not get that far.
    pub nexthop: NexthopId,
    /// The last stage that it reached: a [`Stage`] as its number.
    pub stage: u32,
    /// The verdict: an XDP action.
    pub action: u32,
    /// The [`crate::DropReason`]'s number; 0 if it was not dropped.
    pub reason: u32,
    /// [`Traced::CACHED`] and its fellows.
    pub flags: u32,
    /// Bytes of the frame as [`Traced::packet`] has it; may exceed [`SNAP`].
    pub length: u32,
    /// Where the inner IP header starts in it.
    pub inner_offset: u32,
    /// The frame's start, as it stood when the record was made.
    pub packet: [u8; SNAP],
}

impl Traced {
    /// In the first word of such a record.
    pub const KIND: u32 = 1;
    /// The decision came from the flow cache.
    pub const CACHED: u32 = 1;
    /// The packet in this record is as it came in; without it, as it leaves.
    pub const ARRIVED: u32 = 2;
}

/// An ICMP error lowered what a tunnel's path takes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct PathMtu {
    /// [`PathMtu::KIND`].
    pub kind: u32,
    /// The largest outer packet, in bytes.
    pub mtu: u32,
    /// Our end.
    pub local: Address,
    /// The far end.
    pub remote: Address,
    /// The connection, where the quoted header tells; [`ConnectionId::NONE`] for a fabric peer.
    pub connection: ConnectionId,
    /// Zero.
    pub reserved: u32,
}

impl PathMtu {
    /// In the first word of such a record.
    pub const KIND: u32 = 2;
}

/// The stages of the pipeline, in order.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Reading the outer headers.
    Parse = 1,
    /// Whose packet it is.
    Classify = 2,
    /// Taking the outer headers off.
    Decapsulate = 3,
    /// Whether it may pass: source, rate, time to live.
    Admit = 4,
    /// Where it goes.
    Route = 5,
    /// Making it fit: size, segment size, traffic class, rate.
    Adapt = 6,
    /// Putting the new headers on.
    Encapsulate = 7,
    /// Handing it to its port.
    Emit = 8,
    /// Handing it to the compartment's or the host's stack.
    Punt = 9,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: &[Self] = &[
        Self::Parse,
        Self::Classify,
        Self::Decapsulate,
        Self::Admit,
        Self::Route,
        Self::Adapt,
        Self::Encapsulate,
        Self::Emit,
        Self::Punt,
    ];

    /// The stage with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
    }

    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Classify => "classify",
            Self::Decapsulate => "decapsulate",
            Self::Admit => "admit",
            Self::Route => "route",
            Self::Adapt => "adapt",
            Self::Encapsulate => "encapsulate",
            Self::Emit => "emit",
            Self::Punt => "punt",
        }
    }
}

/// The private header in front of what the slow path hands back: after 14 bytes of Ethernet with EtherType
/// [`crate::wire::ethertype::PRIVATE`]. What follows it depends on [`Reentry::operation`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Reentry {
    /// One of the constants below.
    pub operation: u32,
    /// For a frame: the interface index that its first fragment came in by; for a machine's, the machine's. For a packet: the tenant.
    pub context: u32,
    /// For a packet: the origin.
    pub origin: OriginId,
    /// For a packet and a machine's: the largest piece that the next hop takes, on the way to the slow path.
    pub mtu: u32,
}

impl Reentry {
    /// A whole Ethernet frame follows, to be taken as if it had come in by a port.
    pub const FRAME: u32 = 1;
    /// An inner IP packet follows, admitted already, to be routed.
    pub const PACKET: u32 = 2;
    /// A virtual machine's frame follows, to be answered in place of its router and its neighbours. The context is the machine's interface.
    pub const ANSWER: u32 = 3;
    /// A virtual machine's frame follows, whose packet's time to live has run out.
    pub const EXPIRED: u32 = 4;
    /// A virtual machine's frame follows, whose packet is too big for its way.
    pub const TOO_BIG: u32 = 5;
    /// A virtual machine's frame follows, in a plain form: to be taken as if it had just come.
    pub const RESUME: u32 = 6;
    /// A virtual machine's frame follows, whose packet is to be cut into pieces that come back with [`Self::RESUME`].
    pub const CUT: u32 = 7;
    /// A frame of a tenant's VLAN follows, as it came in by the port that is the context: a neighbour's answer to the port itself, on a VLAN of a
    /// seat that another gateway speaks for.
    pub const ANSWERED: u32 = 8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_numbered_in_their_order() {
        for (index, stage) in Stage::ALL.iter().enumerate() {
            assert_eq!(*stage as usize, index + 1);
            assert_eq!(Stage::from_number(*stage as u32), Some(*stage));
            assert!(Stage::ALL[..index].iter().all(|other| other.name() != stage.name()));
        }
        assert_eq!(Stage::from_number(0), None);
        assert_eq!(Stage::from_number(10), None);
    }
}
