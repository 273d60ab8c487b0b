//! ICMP errors that the gateway sends, from the tenant's own gateway address (RFC 792, RFC 1191, RFC 4443).

use crate::Verdict;
use crate::inner::{Family, Inner};
use crate::maps::{SCRATCH, SETTINGS, TENANT_STATE, TENANTS};
use crate::packet::Packet;
use crate::police;
use crate::run::{Run, Scratch};
use crate::trace;
use aya_ebpf::helpers::generated::bpf_csum_diff;
use gateway_common::tables::{Settings, stage};
use gateway_common::wire::{DEFAULT_TTL, protocol};
use gateway_common::{Address, DropReason, OriginId, checksum};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

/// In [`Run::what`]: the time to live ran out.
pub const TIME_EXCEEDED: u32 = 1;
/// In [`Run::what`]: too big for the next hop; [`Run::mtu`] says what it takes.
pub const TOO_BIG: u32 = 2;

/// Bytes of an ICMP or ICMPv6 error's own header.
const HEADER: usize = 8;
/// Quoted bytes over IPv4, so that the error has 576 in all (RFC 1812 section 4.3.2.3).
const QUOTE4: u32 = 548;
/// Quoted bytes over IPv6, so that the error has 1280 in all (RFC 4443 section 3.1).
const QUOTE6: u32 = 1232;
/// Class of the error itself: internetwork control (RFC 1812 section 4.3.2.5).
const CLASS: u8 = 0xc0;
/// Bytes that one checksum call takes: a third of the scratch room, within the kernel's bound of 512.
const PIECE: usize = Scratch::WORDS * 8 / 3;

/// Hands the packet to [`error`], or drops it at once if errors for it are none of the gateway's business.
#[inline(always)]
pub fn due(packet: &Packet, run: &mut Run, what: u32, mtu: u32) -> Verdict {
    run.what = what;
    run.mtu = mtu;
    run.hand_over(packet, stage::ICMP)
}

/// Turns the inner packet into an ICMP error to its sender, and sends that on its way.
#[inline(always)]
pub fn error(packet: &Packet, run: &mut Run) -> Verdict {
    let tenant = TENANTS.get(run.tenant.0).ok_or(DropReason::NoRoute)?;
    turn(packet, run, tenant.gateway4, &tenant.gateway6)?;
    run.origin = OriginId::COMPARTMENT;
    run.inner = 0;
    run.outer_class = 0;
    run.hand_over(packet, stage::ORIGINATE)
}

/// Turns the inner packet into an ICMP error to its sender from one of these addresses: the frame is that packet, with nothing in front.
#[inline(always)]
pub fn turn(packet: &Packet, run: &Run, from4: u32, from6: &Address) -> Result<Family, DropReason> {
    let reason = if run.what == TOO_BIG { DropReason::TooBig } else { DropReason::TtlExpired };
    let inner = Inner::read(packet, run.inner as usize & 0x1ff, packet.len())?;
    let has_address = match inner.family {
        Family::V4 => from4 != 0,
        Family::V6 => from6.0 != [0; 4],
    };
    if is_silent(packet, &inner) || !has_address {
        return Err(reason);
    }
    let (Some(settings), Some(state)) = (SETTINGS.get(0), TENANT_STATE.get_ptr_mut(run.tenant.0)) else {
        return Err(reason);
    };
    // SAFETY: a field of a map's value.
    let word = unsafe { &raw mut (*state).icmp };
    if !police::admit(&settings.icmp, word, Settings::PACKET, run.now) {
        return Err(DropReason::IcmpRateLimited);
    }
    // Its end, told while it is whole; the error is a packet of its own.
    if run.flags & Run::TRACED != 0 {
        trace::dropped(packet, reason as u32);
    }
    let sum = quote(packet, &inner)?;
    match inner.family {
        Family::V4 => header4(packet, run, from4, inner.source.0[3], sum)?,
        Family::V6 => header6(packet, run, from6.0, inner.source.0, sum)?,
    }
    run.count_drop(reason);
    Ok(inner.family)
}

/// What no error answers: ICMP errors, and fragments that are not the first (RFC 1812 section 4.3.2.7, RFC 4443 section 2.4).
#[inline(always)]
fn is_silent(packet: &Packet, inner: &Inner) -> bool {
    if inner.transport == 0 {
        return true;
    }
    let kind = match packet.byte(inner.offset + (inner.transport as usize & 0x3fff)) {
        Some(kind) => kind,
        None => return inner.protocol == protocol::ICMP || inner.protocol == protocol::ICMPV6,
    };
    match inner.protocol {
        protocol::ICMP => !matches!(kind, 0 | 8 | 13 | 14 | 17 | 18),
        protocol::ICMPV6 => kind < 128,
        _ => false,
    }
}

/// Cuts the frame down to the part of the inner packet that is quoted, and sums that up.
#[inline(always)]
fn quote(packet: &Packet, inner: &Inner) -> Result<Quote, DropReason> {
    let most = match inner.family {
        Family::V4 => QUOTE4,
        Family::V6 => QUOTE6,
    };
    let len = if inner.len < most { inner.len } else { most };
    packet.adjust_head(inner.offset as i32)?;
    let surplus = packet.len() as i32 - len as i32;
    if surplus > 0 {
        packet.adjust_tail(-surplus)?;
    }
    let scratch: *mut u64 = SCRATCH.get_ptr_mut(0).ok_or(DropReason::NoHeadroom)?.cast();
    for word in 0..Scratch::WORDS {
        // SAFETY: within this CPU's scratch room; volatile, so that it stays a loop of words.
        unsafe { scratch.add(word).write_volatile(0) };
    }
    if !packet.copy_some(0, scratch.cast(), len, QUOTE6) {
        return Err(DropReason::InnerTruncated);
    }
    let mut sum = 0;
    for piece in 0..3 {
        // SAFETY: a third of this CPU's scratch room.
        sum = unsafe {
            let from: *mut u8 = scratch.cast::<u8>().add(piece * PIECE);
            bpf_csum_diff(core::ptr::null_mut(), 0, from.cast(), PIECE as u32, sum)
        } as u32;
    }
    Ok(Quote { len, sum })
}

/// What an error quotes.
struct Quote {
    /// Bytes.
    len: u32,
    /// Their sum.
    sum: u32,
}

#[inline(always)]
fn header4(packet: &Packet, run: &Run, from: u32, to: u32, quote: Quote) -> Result<(), DropReason> {
    packet.adjust_head(-((Ipv4Hdr::LEN + HEADER) as i32))?;
    let (kind, code) = if run.what == TOO_BIG { (3, 4) } else { (11, 0) };
    let total = (Ipv4Hdr::LEN + HEADER) as u32 + quote.len;
    let mut header = [
        u32::from_be(0x4500_0000 | u32::from(CLASS) << 16 | total & 0xffff),
        u32::from_be(0x0000_4000),
        u32::from_be(u32::from(DEFAULT_TTL) << 24 | u32::from(protocol::ICMP) << 16),
        from,
        to,
    ];
    let mut sum = 0u64;
    for word in header {
        sum += u64::from(word);
    }
    header[2] |= u32::from(checksum::finish(sum)) << 16;
    let mut icmp = [u32::from_be(kind << 24 | code << 16), u32::from_be(run.mtu & 0xffff)];
    icmp[0] |= u32::from(checksum::finish(u64::from(quote.sum) + u64::from(icmp[0]) + u64::from(icmp[1]))) << 16;
    packet.store(0, header).ok_or(DropReason::NoHeadroom)?;
    packet.store(Ipv4Hdr::LEN, icmp).ok_or(DropReason::NoHeadroom)
}

#[inline(always)]
fn header6(packet: &Packet, run: &Run, from: [u32; 4], to: [u32; 4], quote: Quote) -> Result<(), DropReason> {
    packet.adjust_head(-((Ipv6Hdr::LEN + HEADER) as i32))?;
    let kind = if run.what == TOO_BIG { 2 } else { 3 };
    let len = HEADER as u32 + quote.len;
    let header = [
        u32::from_be(6 << 28 | u32::from(CLASS) << 20),
        u32::from_be(len << 16 | u32::from(protocol::ICMPV6) << 8 | u32::from(DEFAULT_TTL)),
        from[0],
        from[1],
        from[2],
        from[3],
        to[0],
        to[1],
        to[2],
        to[3],
    ];
    let mut icmp = [u32::from_be(kind << 24), u32::from_be(run.mtu)];
    // The pseudo-header of RFC 8200 section 8.1: addresses, length, protocol.
    let mut sum = u64::from(quote.sum) + u64::from(len.to_be()) + u64::from(u32::from(protocol::ICMPV6).to_be());
    for word in 0..4 {
        sum += u64::from(from[word]) + u64::from(to[word]);
    }
    icmp[0] |= u32::from(checksum::finish(sum + u64::from(icmp[0]) + u64::from(icmp[1]))) << 16;
    packet.store(0, header).ok_or(DropReason::NoHeadroom)?;
    packet.store(Ipv6Hdr::LEN, icmp).ok_or(DropReason::NoHeadroom)
}
