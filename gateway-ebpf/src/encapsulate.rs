//! Encapsulate: the next hop's header template goes in front of the inner packet, and what depends on the packet is filled in.

use crate::atomic;
use crate::context::Context;
use crate::inner::Family;
use crate::packet::{Bytes, Packet};
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

/// What the variable fields of a header are made of.
pub struct Variable {
    /// The inner packet's version.
    pub family: Family,
    /// Its bytes.
    pub len: u32,
    /// Its traffic class.
    pub class: u8,
    /// Its flow's hash, for the fields that spread flows over paths.
    pub hash: u32,
    /// The connection's sequence number.
    pub sequence: u32,
}

/// Replaces everything before the inner packet by the next hop's header, and takes off what is behind it: padding, or bytes that
/// nobody has metered.
#[inline(always)]
pub fn push(packet: &Packet, nexthop: &Nexthop, offset: usize, variable: &Variable) -> Result<(), DropReason> {
    let surplus = packet.len().wrapping_sub(offset as u32 + variable.len);
    if surplus != 0 {
        packet.adjust_tail((surplus as i32).wrapping_neg())?;
    }
    packet.adjust_head(offset as i32 - (nexthop.header_len & 0xff) as i32)?;
    write(packet, nexthop, variable).ok_or(DropReason::NoHeadroom)
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

/// Writes the next hop's header over the packet's first bytes.
#[inline(always)]
pub fn write<C: Context>(packet: &Packet<C>, nexthop: &Nexthop, variable: &Variable) -> Option<()> {
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
    /// Where GRE's protocol stands.
    const GRE4_PAYLOAD: usize = ETHERNET + IPV4 + 2;
    const GRE6_PAYLOAD: usize = ETHERNET + IPV6 + 2;
    match nexthop.encapsulation {
        VXLAN4 => {
            let header = copy::<{ len(Encapsulation::Vxlan4) }, C>(packet, nexthop)?;
            header.outer4(variable, nexthop.checksum_base);
            header.udp(ETHERNET + IPV4, variable);
            header.payload(len(Encapsulation::Vxlan4) - 2, variable);
        }
        GRE4_KEY => {
            let header = copy::<{ len(Encapsulation::Gre4Key) }, C>(packet, nexthop)?;
            header.outer4(variable, nexthop.checksum_base);
            header.payload(GRE4_PAYLOAD, variable);
        }
        VLAN => {
            copy::<{ len(Encapsulation::Vlan) }, C>(packet, nexthop)?.payload(len(Encapsulation::Vlan) - 2, variable)
        }
        GRE4 => {
            let header = copy::<{ len(Encapsulation::Gre4) }, C>(packet, nexthop)?;
            header.outer4(variable, nexthop.checksum_base);
            header.payload(GRE4_PAYLOAD, variable);
        }
        NVGRE4 => {
            let header = copy::<{ len(Encapsulation::Nvgre4) }, C>(packet, nexthop)?;
            header.outer4(variable, nexthop.checksum_base);
            header.payload(len(Encapsulation::Nvgre4) - 2, variable);
        }
        VXLAN6 => {
            let header = copy::<{ len(Encapsulation::Vxlan6) }, C>(packet, nexthop)?;
            header.outer6(variable);
            header.udp(ETHERNET + IPV6, variable);
            header.payload(len(Encapsulation::Vxlan6) - 2, variable);
        }
        NVGRE6 => {
            let header = copy::<{ len(Encapsulation::Nvgre6) }, C>(packet, nexthop)?;
            header.outer6(variable);
            header.payload(len(Encapsulation::Nvgre6) - 2, variable);
        }
        GRE6 => {
            let header = copy::<{ len(Encapsulation::Gre6) }, C>(packet, nexthop)?;
            header.outer6(variable);
            header.payload(GRE6_PAYLOAD, variable);
        }
        GRE6_KEY => {
            let header = copy::<{ len(Encapsulation::Gre6Key) }, C>(packet, nexthop)?;
            header.outer6(variable);
            header.payload(GRE6_PAYLOAD, variable);
        }
        GRE4_SEQUENCE => {
            let header = copy::<{ len(Encapsulation::Gre4Sequence) }, C>(packet, nexthop)?;
            header.outer4(variable, nexthop.checksum_base);
            header.numbered(variable);
            header.payload(GRE4_PAYLOAD, variable);
        }
        GRE4_KEY_SEQUENCE => {
            let header = copy::<{ len(Encapsulation::Gre4KeySequence) }, C>(packet, nexthop)?;
            header.outer4(variable, nexthop.checksum_base);
            header.numbered(variable);
            header.payload(GRE4_PAYLOAD, variable);
        }
        GRE6_SEQUENCE => {
            let header = copy::<{ len(Encapsulation::Gre6Sequence) }, C>(packet, nexthop)?;
            header.outer6(variable);
            header.numbered(variable);
            header.payload(GRE6_PAYLOAD, variable);
        }
        GRE6_KEY_SEQUENCE => {
            let header = copy::<{ len(Encapsulation::Gre6KeySequence) }, C>(packet, nexthop)?;
            header.outer6(variable);
            header.numbered(variable);
            header.payload(GRE6_PAYLOAD, variable);
        }
        ETHERNET_ONLY => {
            copy::<{ len(Encapsulation::Ethernet) }, C>(packet, nexthop)?
                .payload(len(Encapsulation::Ethernet) - 2, variable);
        }
        _ => return None,
    }
    Some(())
}

/// The header length of a form, as a constant for the copy.
const fn len(encapsulation: Encapsulation) -> usize {
    encapsulation.header_len()
}

/// Copies `LEN` bytes of the template, a word at a time; the last word overlaps the one before.
#[inline(always)]
fn copy<const LEN: usize, C: Context>(packet: &Packet<C>, nexthop: &Nexthop) -> Option<Bytes<LEN>> {
    let header = packet.bytes::<LEN>(0)?;
    let template: *const u8 = nexthop.header.as_ptr().cast();
    let mut at = 0;
    while at + 8 <= LEN {
        // SAFETY: the template has `LEN` bytes; BPF takes any alignment.
        header.put(at, unsafe { *template.add(at).cast::<u64>() });
        at += 8;
    }
    if at < LEN {
        // SAFETY: `LEN` is at least eight, so this word lies within.
        header.put(LEN - 8, unsafe { *template.add(LEN - 8).cast::<u64>() });
    }
    Some(header)
}

/// A header of `LEN` bytes.
impl<const LEN: usize> Bytes<LEN> {
    /// The outer IPv4 header's class, length and checksum; `base` is the sum over the others.
    #[inline(always)]
    fn outer4(&self, variable: &Variable, base: u32) {
        let total = ((LEN - ETHERNET) as u16).wrapping_add(variable.len as u16).to_be();
        let class = ecn::encapsulate(variable.class);
        let first = u16::from_le_bytes([0x45, class]);
        let sum = base + u32::from(total) + u32::from(u16::from_le_bytes([0, class]));
        self.put(ETHERNET, u32::from(first) | u32::from(total) << 16);
        self.put(ETHERNET + 10, checksum::finish32(sum));
    }

    /// The outer IPv6 header's class, flow label (RFC 6438) and length.
    #[inline(always)]
    fn outer6(&self, variable: &Variable) {
        let class = ecn::encapsulate(variable.class);
        let first = 6 << 28 | u32::from(class) << 20 | variable.hash >> 12;
        let payload = ((LEN - ETHERNET - IPV6) as u16).wrapping_add(variable.len as u16);
        self.put(ETHERNET, first.to_be());
        self.put(ETHERNET + 4, payload.to_be());
    }

    /// The UDP header at `at`: the flow's source port, and the length of UDP, VXLAN, inner Ethernet and inner packet.
    #[inline(always)]
    fn udp(&self, at: usize, variable: &Variable) {
        let len = (8 + 8 + ETHERNET as u16).wrapping_add(variable.len as u16);
        self.put(at, flow::source_port(variable.hash).to_be());
        self.put(at + 4, len.to_be());
    }

    /// The GRE sequence number, the header's last word.
    #[inline(always)]
    fn numbered(&self, variable: &Variable) {
        self.put(LEN - 4, variable.sequence.to_be());
    }

    /// The EtherType of the inner packet, at `at`.
    #[inline(always)]
    fn payload(&self, at: usize, variable: &Variable) {
        let kind = match variable.family {
            Family::V4 => ethertype::IPV4,
            Family::V6 => ethertype::IPV6,
        };
        self.put(at, kind.to_be());
    }
}
