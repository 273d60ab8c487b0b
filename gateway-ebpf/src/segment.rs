//! The transport header: found behind IPv6 extension headers, and its TCP segment size clamped.

use crate::context::Context;
use crate::packet::Packet;
use aya_ebpf::bindings::xdp_md;
use gateway_common::wire::protocol;
use gateway_common::{DropReason, checksum, mss};
use network_types::ip::Ipv6Hdr;
use network_types::tcp::TcpHdr;

/// Extension headers that are followed at most; RFC 8200 section 4.1 knows of seven.
const EXTENSIONS_MAX: usize = 8;

/// Where an IPv6 packet's transport header is.
pub struct Transport {
    /// Its protocol.
    pub protocol: u8,
    /// Where it starts, from the IPv6 header; 0 in a fragment that is not the first.
    pub transport: u32,
    /// Whether a fragment header was seen.
    pub fragment: bool,
}

/// Finds the transport header of the IPv6 packet at `offset`, whose first extension header is `next`.
#[inline(always)]
pub fn transport<C: Context>(packet: &Packet<C>, offset: u32, next: u8) -> Result<Transport, DropReason> {
    let found = C::walk_extensions(packet.raw(), offset, u32::from(next));
    if found & FOUND == 0 {
        return Err(match found as u32 {
            SOURCE_ROUTE => DropReason::InnerSourceRoute,
            EXTENSIONS => DropReason::InnerExtensions,
            _ => DropReason::InnerTruncated,
        });
    }
    Ok(Transport { protocol: found as u8, transport: (found >> 8) as u32 & 0xffff, fragment: found & FRAGMENT != 0 })
}

const FOUND: u64 = 1 << 63;
const FRAGMENT: u64 = 1 << 62;
const SOURCE_ROUTE: u32 = DropReason::InnerSourceRoute as u32;
const EXTENSIONS: u32 = DropReason::InnerExtensions as u32;

/// Follows the extension headers of the IPv6 packet at `offset`, the first of which is `next`. Refuses routing headers of type 0 (RFC 5095).
///
/// [`FOUND`], perhaps [`FRAGMENT`], where the transport header starts (from bit 8) and its protocol; or else the number of a drop reason.
#[inline(always)]
pub fn walk_extensions<C: Context>(packet: &Packet<C>, offset: u32, next: u32) -> u64 {
    let mut next = next as u8;
    let mut at = Ipv6Hdr::LEN as u32;
    let mut fragment = 0;
    for _ in 0..EXTENSIONS_MAX {
        if !matches!(
            next,
            protocol::HOP_BY_HOP
                | protocol::ROUTING
                | protocol::FRAGMENT
                | protocol::DESTINATION_OPTIONS
                | protocol::AUTHENTICATION
        ) {
            return FOUND | fragment | u64::from(at) << 8 | u64::from(next);
        }
        let mut header = [0u8; 4];
        if !packet.copy_out(offset + at, header.as_mut_ptr(), 4) {
            return DropReason::InnerTruncated as u64;
        }
        let [following, length, third, fourth] = header;
        match next {
            protocol::FRAGMENT => {
                fragment = FRAGMENT;
                // The upper 13 bits are the offset: past the first fragment there is no transport header.
                if third != 0 || fourth & 0xf8 != 0 {
                    return FOUND | FRAGMENT | u64::from(following);
                }
                at += 8;
            }
            protocol::AUTHENTICATION => at += (u32::from(length) + 2) * 4,
            _ => {
                // In a routing header the third byte is its type.
                if next == protocol::ROUTING && third == 0 {
                    return DropReason::InnerSourceRoute as u64;
                }
                at += (u32::from(length) + 1) * 8;
            }
        }
        next = following;
    }
    DropReason::InnerExtensions as u64
}

/// Lowers the maximum segment size that the TCP header at `offset` announces to `limit`, if it has the option and it is larger.
#[inline(always)]
pub fn clamp(packet: &Packet, offset: usize, limit: u32) {
    let clamped = clamped_segment(packet.raw(), offset as u32, limit);
    if clamped & FOUND == 0 {
        return;
    }
    let at = offset + (clamped >> 16) as usize % 64;
    let _ = packet.store(at, (limit as u16).to_be());
    let _ = packet.store(offset + 16, clamped as u16);
}

/// What clamping changes: [`FOUND`], where the option's value stands (from bit 16, from the start of the TCP header), and the new
/// checksum. 0 if nothing is to be changed. (The packet itself is written by the caller, whose pointers into it stay good that way.)
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn clamped_segment(ctx: *mut xdp_md, offset: u32, limit: u32) -> u64 {
    let packet = Packet::of(ctx);
    let mut header = [0u8; TcpHdr::LEN];
    if !packet.copy_out(offset, header.as_mut_ptr(), TcpHdr::LEN as u32) {
        return 0;
    }
    let len = (u32::from(header[12] >> 4) * 4).wrapping_sub(TcpHdr::LEN as u32);
    let mut options = [0u8; mss::OPTIONS_ROOM];
    if !packet.copy_some(offset + TcpHdr::LEN as u32, options.as_mut_ptr(), len, mss::OPTIONS_MAX as u32) {
        return 0;
    }
    let Some(found) = mss::find(&options, len as usize) else { return 0 };
    if u32::from(found.value) <= limit {
        return 0;
    }
    let new = limit as u16;
    let check = u16::from_ne_bytes([header[16], header[17]]);
    // An option at an odd offset straddles two words of the sum: its bytes count swapped.
    let (old_word, new_word) =
        if found.offset % 2 == 0 { (found.value.to_be(), new.to_be()) } else { (found.value.to_le(), new.to_le()) };
    let check = checksum::replace16(check, old_word, new_word);
    FOUND | ((TcpHdr::LEN + found.offset) as u64) << 16 | u64::from(check)
}
