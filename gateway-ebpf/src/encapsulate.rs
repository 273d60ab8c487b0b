//! Encapsulate: the next hop's header template goes in front of the inner packet, and what depends on the packet is filled in.

use crate::atomic;
use crate::context::Context;
use crate::inner::{Family, Inner};
use crate::packet::Packet;
use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use gateway_common::tables::{ConnectionState, Nexthop};
use gateway_common::template::{ETHERNET, Encapsulation, IPV4, IPV6};
use gateway_common::wire::ethertype;
use gateway_common::{DropReason, checksum, ecn, flow};

/// Whether packets in this form are numbered.
#[inline(always)]
pub const fn is_sequenced(encapsulation: u32) -> bool {
    encapsulation == Encapsulation::Gre4Sequence as u32
        || encapsulation == Encapsulation::Gre4KeySequence as u32
        || encapsulation == Encapsulation::Gre6Sequence as u32
        || encapsulation == Encapsulation::Gre6KeySequence as u32
}

/// The connection's next GRE sequence number (RFC 2890 section 2.2).
#[inline(always)]
pub fn next_sequence(state: *mut ConnectionState) -> u32 {
    // SAFETY: an aligned word of a map's value, which all CPUs advance atomically.
    unsafe { atomic::fetch_add(&raw mut (*state).sequence, 1) }
}

/// Replaces everything before the inner packet by the next hop's header, and takes off what is behind it: padding, or bytes that
/// nobody has metered.
#[inline(always)]
pub fn push(
    packet: &Packet,
    nexthop: &Nexthop,
    inner: &Inner,
    class: u8,
    hash: u32,
    sequence: u32,
) -> Result<(), DropReason> {
    let surplus = packet.len().wrapping_sub(inner.offset as u32 + inner.len);
    if surplus != 0 {
        packet.adjust_tail((surplus as i32).wrapping_neg())?;
    }
    packet.adjust_head(inner.offset as i32 - (nexthop.header_len & 0xff) as i32)?;
    write(packet, nexthop, inner, class, hash, sequence).ok_or(DropReason::NoHeadroom)
}

/// Writes the next hop's header over the packet's first bytes.
#[inline(always)]
pub fn write<C: Context>(
    packet: &Packet<C>,
    nexthop: &Nexthop,
    inner: &Inner,
    class: u8,
    hash: u32,
    sequence: u32,
) -> Option<()> {
    Fill { packet, nexthop, inner, class: ecn::encapsulate(class), hash, sequence }.header()
}

/// Takes the outer IPv4 header's "don't fragment" away, and gives the packet an identification that its pieces are known by (RFC 6864).
#[inline(always)]
pub fn let_it_be_cut(packet: &Packet) -> Result<(), DropReason> {
    let was: u32 = packet.load(ETHERNET + 4).ok_or(DropReason::NoHeadroom)?;
    let check: u16 = packet.load(ETHERNET + 10).ok_or(DropReason::NoHeadroom)?;
    // SAFETY: a helper without arguments.
    let identification = unsafe { bpf_get_prandom_u32() } & 0xffff;
    packet.store(ETHERNET + 4, identification).ok_or(DropReason::NoHeadroom)?;
    packet.store(ETHERNET + 10, checksum::replace32(check, was, identification)).ok_or(DropReason::NoHeadroom)
}

/// What a header's variable fields are made of.
struct Fill<'a, C: Context> {
    packet: &'a Packet<C>,
    nexthop: &'a Nexthop,
    inner: &'a Inner,
    class: u8,
    hash: u32,
    sequence: u32,
}

/// The header length of a form, as a constant for the copy.
const fn len(encapsulation: Encapsulation) -> usize {
    encapsulation.header_len()
}

impl<C: Context> Fill<'_, C> {
    #[inline(always)]
    fn header(&self) -> Option<()> {
        const ETHERNET_ONLY: u32 = Encapsulation::Ethernet as u32;
        const VLAN: u32 = Encapsulation::Vlan as u32;
        const GRE4: u32 = Encapsulation::Gre4 as u32;
        const GRE4_KEY: u32 = Encapsulation::Gre4Key as u32;
        const GRE4_SEQUENCE: u32 = Encapsulation::Gre4Sequence as u32;
        const GRE4_KEY_SEQUENCE: u32 = Encapsulation::Gre4KeySequence as u32;
        const GRE6: u32 = Encapsulation::Gre6 as u32;
        const GRE6_KEY: u32 = Encapsulation::Gre6Key as u32;
        const GRE6_SEQUENCE: u32 = Encapsulation::Gre6Sequence as u32;
        const GRE6_KEY_SEQUENCE: u32 = Encapsulation::Gre6KeySequence as u32;
        const VXLAN4: u32 = Encapsulation::Vxlan4 as u32;
        const VXLAN6: u32 = Encapsulation::Vxlan6 as u32;
        const NVGRE4: u32 = Encapsulation::Nvgre4 as u32;
        const NVGRE6: u32 = Encapsulation::Nvgre6 as u32;
        match self.nexthop.encapsulation {
            VXLAN4 => self
                .copy::<{ len(Encapsulation::Vxlan4) }>()?
                .outer4::<{ len(Encapsulation::Vxlan4) }>()?
                .udp::<{ ETHERNET + IPV4 }>()?
                .payload(len(Encapsulation::Vxlan4) - 2),
            GRE4_KEY => self
                .copy::<{ len(Encapsulation::Gre4Key) }>()?
                .outer4::<{ len(Encapsulation::Gre4Key) }>()?
                .payload(ETHERNET + IPV4 + 2),
            VLAN => self.copy::<{ len(Encapsulation::Vlan) }>()?.payload(len(Encapsulation::Vlan) - 2),
            GRE4 => self
                .copy::<{ len(Encapsulation::Gre4) }>()?
                .outer4::<{ len(Encapsulation::Gre4) }>()?
                .payload(ETHERNET + IPV4 + 2),
            NVGRE4 => self
                .copy::<{ len(Encapsulation::Nvgre4) }>()?
                .outer4::<{ len(Encapsulation::Nvgre4) }>()?
                .payload(len(Encapsulation::Nvgre4) - 2),
            VXLAN6 => self
                .copy::<{ len(Encapsulation::Vxlan6) }>()?
                .outer6::<{ len(Encapsulation::Vxlan6) }>()?
                .udp::<{ ETHERNET + IPV6 }>()?
                .payload(len(Encapsulation::Vxlan6) - 2),
            NVGRE6 => self
                .copy::<{ len(Encapsulation::Nvgre6) }>()?
                .outer6::<{ len(Encapsulation::Nvgre6) }>()?
                .payload(len(Encapsulation::Nvgre6) - 2),
            GRE6 => self
                .copy::<{ len(Encapsulation::Gre6) }>()?
                .outer6::<{ len(Encapsulation::Gre6) }>()?
                .payload(ETHERNET + IPV6 + 2),
            GRE6_KEY => self
                .copy::<{ len(Encapsulation::Gre6Key) }>()?
                .outer6::<{ len(Encapsulation::Gre6Key) }>()?
                .payload(ETHERNET + IPV6 + 2),
            GRE4_SEQUENCE => self
                .copy::<{ len(Encapsulation::Gre4Sequence) }>()?
                .outer4::<{ len(Encapsulation::Gre4Sequence) }>()?
                .numbered(len(Encapsulation::Gre4Sequence))?
                .payload(ETHERNET + IPV4 + 2),
            GRE4_KEY_SEQUENCE => self
                .copy::<{ len(Encapsulation::Gre4KeySequence) }>()?
                .outer4::<{ len(Encapsulation::Gre4KeySequence) }>()?
                .numbered(len(Encapsulation::Gre4KeySequence))?
                .payload(ETHERNET + IPV4 + 2),
            GRE6_SEQUENCE => self
                .copy::<{ len(Encapsulation::Gre6Sequence) }>()?
                .outer6::<{ len(Encapsulation::Gre6Sequence) }>()?
                .numbered(len(Encapsulation::Gre6Sequence))?
                .payload(ETHERNET + IPV6 + 2),
            GRE6_KEY_SEQUENCE => self
                .copy::<{ len(Encapsulation::Gre6KeySequence) }>()?
                .outer6::<{ len(Encapsulation::Gre6KeySequence) }>()?
                .numbered(len(Encapsulation::Gre6KeySequence))?
                .payload(ETHERNET + IPV6 + 2),
            ETHERNET_ONLY => self.copy::<{ len(Encapsulation::Ethernet) }>()?.payload(len(Encapsulation::Ethernet) - 2),
            _ => None,
        }
    }

    /// Copies `LEN` bytes of the template, a word at a time; the last word overlaps the one before.
    #[inline(always)]
    fn copy<const LEN: usize>(&self) -> Option<&Self> {
        let target: *mut u8 = self.packet.at::<[u8; LEN]>(0)?.cast();
        let template: *const u8 = self.nexthop.header.as_ptr().cast();
        let mut at = 0;
        while at + 8 <= LEN {
            // SAFETY: both have `LEN` bytes; BPF takes any alignment.
            unsafe { *target.add(at).cast::<u64>() = *template.add(at).cast::<u64>() };
            at += 8;
        }
        if at < LEN {
            // SAFETY: `LEN` is at least eight, so this word lies within both.
            unsafe { *target.add(LEN - 8).cast::<u64>() = *template.add(LEN - 8).cast::<u64>() };
        }
        Some(self)
    }

    /// The outer IPv4 header's class, length and checksum, in a header of `LEN` bytes.
    #[inline(always)]
    fn outer4<const LEN: usize>(&self) -> Option<&Self> {
        let total = ((LEN - ETHERNET) as u16).wrapping_add(self.inner.len as u16).to_be();
        let first = u16::from_le_bytes([0x45, self.class]);
        let sum =
            u64::from(self.nexthop.checksum_base) + u64::from(total) + u64::from(u16::from_le_bytes([0, self.class]));
        self.packet.store(ETHERNET, [first, total])?;
        self.packet.store(ETHERNET + 10, checksum::finish(sum))?;
        Some(self)
    }

    /// The outer IPv6 header's class, flow label (RFC 6438) and length.
    #[inline(always)]
    fn outer6<const LEN: usize>(&self) -> Option<&Self> {
        let first = 6 << 28 | u32::from(self.class) << 20 | self.hash & 0x000f_ffff;
        let payload = ((LEN - ETHERNET - IPV6) as u16).wrapping_add(self.inner.len as u16);
        self.packet.store(ETHERNET, first.to_be())?;
        self.packet.store(ETHERNET + 4, payload.to_be())?;
        Some(self)
    }

    /// The UDP header at `AT`: the flow's source port, and the length of UDP, VXLAN, inner Ethernet and inner packet.
    #[inline(always)]
    fn udp<const AT: usize>(&self) -> Option<&Self> {
        let len = (8 + 8 + ETHERNET as u16).wrapping_add(self.inner.len as u16);
        self.packet.store(AT, flow::source_port(self.hash).to_be())?;
        self.packet.store(AT + 4, len.to_be())?;
        Some(self)
    }

    /// The GRE sequence number, the last word of a header of `len` bytes.
    #[inline(always)]
    fn numbered(&self, len: usize) -> Option<&Self> {
        self.packet.store(len - 4, self.sequence.to_be())?;
        Some(self)
    }

    /// The EtherType of the inner packet, at `at`.
    #[inline(always)]
    fn payload(&self, at: usize) -> Option<()> {
        let kind = match self.inner.family {
            Family::V4 => ethertype::IPV4,
            Family::V6 => ethertype::IPV6,
        };
        self.packet.store(at, kind.to_be())
    }
}
