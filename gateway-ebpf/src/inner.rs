//! The inner IP packet: what a tenant sent. Everything ends in this form, and everything leaves from it.

use crate::context::Context;
use crate::packet::Packet;
use crate::segment;
use gateway_common::wire::{IPV4_OPTIONS_MAX, IPV4_OPTIONS_ROOM, has_source_route, protocol};
use gateway_common::{Address, DropReason};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

const REFUSED: u32 = DropReason::InnerSourceRoute as u32;

/// The IP version of an inner packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// An inner packet's header, read and found consistent.
#[derive(Clone, Copy)]
pub struct Inner {
    /// Where it starts: less than 512 bytes into the frame.
    pub offset: usize,
    /// Its version.
    pub family: Family,
    /// Bytes of the whole packet, header included.
    pub len: u32,
    /// The traffic class: DSCP and ECN.
    pub class: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// The transport protocol, past IPv6 extension headers.
    pub protocol: u8,
    /// Where the transport header starts, from the start of the inner packet; 0 in a fragment that is not the first.
    pub transport: u32,
    /// Whether it is a fragment, the first one included.
    pub fragment: bool,
    /// Whether IPv4 routers may fragment it.
    pub may_fragment: bool,
    /// Its source.
    pub source: Address,
    /// Its destination.
    pub destination: Address,
}

impl Inner {
    /// A packet of which nothing is known but its place.
    #[inline(always)]
    pub fn unread(offset: usize, len: u32) -> Self {
        Self {
            offset,
            family: Family::V4,
            len,
            class: 0,
            ttl: 0,
            protocol: 0,
            transport: 0,
            fragment: false,
            may_fragment: false,
            source: Address([0; 4]),
            destination: Address([0; 4]),
        }
    }

    /// Reads the IPv4 header at `offset`; the packet must end by `limit` bytes of the frame.
    #[inline(always)]
    pub fn v4<C: Context>(packet: &Packet<C>, offset: usize, limit: u32) -> Result<Self, DropReason> {
        let words: [u32; 5] = packet.header(offset).ok_or(DropReason::InnerTruncated)?;
        let first = u32::from_be(words[0]);
        let second = u32::from_be(words[1]);
        let third = u32::from_be(words[2]);
        let version = first >> 24;
        let len = first & 0xffff;
        let mut header = Ipv4Hdr::LEN as u32;
        if version != 0x45 {
            header = (version & 0x0f) * 4;
            if version >> 4 != 4 || header < Ipv4Hdr::LEN as u32 {
                return Err(DropReason::InnerMalformed);
            }
            if header > Ipv4Hdr::LEN as u32 {
                match C::check_options(packet.raw(), offset as u32, header) {
                    0 => {}
                    REFUSED => return Err(DropReason::InnerSourceRoute),
                    _ => return Err(DropReason::InnerTruncated),
                }
            }
        }
        if len < header {
            return Err(DropReason::InnerMalformed);
        }
        if offset as u32 + len > limit {
            return Err(DropReason::InnerTruncated);
        }
        Ok(Self {
            offset,
            family: Family::V4,
            len,
            class: (first >> 16) as u8,
            ttl: (third >> 24) as u8,
            protocol: (third >> 16) as u8,
            transport: if second & 0x1fff == 0 { header } else { 0 },
            fragment: second & 0x3fff != 0,
            may_fragment: second & 0x4000 == 0,
            source: Address::v4(words[3]),
            destination: Address::v4(words[4]),
        })
    }

    /// Reads the IPv6 header at `offset`; the packet must end by `limit` bytes of the frame.
    #[inline(always)]
    pub fn v6<C: Context>(packet: &Packet<C>, offset: usize, limit: u32) -> Result<Self, DropReason> {
        let words: [u32; 10] = packet.header(offset).ok_or(DropReason::InnerTruncated)?;
        let first = u32::from_be(words[0]);
        let second = u32::from_be(words[1]);
        let next = (second >> 8) as u8;
        if first >> 28 != 6 {
            return Err(DropReason::InnerMalformed);
        }
        let source = Address([words[2], words[3], words[4], words[5]]);
        let destination = Address([words[6], words[7], words[8], words[9]]);
        if source.is_v4() || destination.is_v4() {
            // In mapped form they would find the tenant's IPv4 routes.
            return Err(DropReason::Martian);
        }
        let len = (second >> 16) + Ipv6Hdr::LEN as u32;
        if offset as u32 + len > limit {
            return Err(DropReason::InnerTruncated);
        }
        let mut inner = Self {
            offset,
            family: Family::V6,
            len,
            class: (first >> 20) as u8,
            ttl: second as u8,
            protocol: next,
            transport: Ipv6Hdr::LEN as u32,
            fragment: false,
            may_fragment: false,
            source,
            destination,
        };
        if matches!(
            next,
            protocol::HOP_BY_HOP
                | protocol::ROUTING
                | protocol::FRAGMENT
                | protocol::DESTINATION_OPTIONS
                | protocol::AUTHENTICATION
        ) {
            let found = segment::transport(packet, offset as u32, next)?;
            inner.protocol = found.protocol;
            inner.transport = found.transport;
            inner.fragment = found.fragment;
        }
        Ok(inner)
    }

    /// Reads a packet of either version.
    #[inline(always)]
    pub fn read<C: Context>(packet: &Packet<C>, offset: usize, limit: u32) -> Result<Self, DropReason> {
        let version = packet.byte(offset).ok_or(DropReason::InnerTruncated)?;
        if version >> 4 == 6 { Self::v6(packet, offset, limit) } else { Self::v4(packet, offset, limit) }
    }
}

/// Looks for source routing among the options of the IPv4 header of `header` bytes at `offset`: 0, or the number of a drop reason.
#[inline(always)]
pub fn check_options<C: Context>(packet: &Packet<C>, offset: u32, header: u32) -> u32 {
    let mut options = [0u8; IPV4_OPTIONS_ROOM];
    let len = header.wrapping_sub(Ipv4Hdr::LEN as u32);
    if offset > 0x1ff {
        return DropReason::InnerTruncated as u32;
    }
    if !packet.copy_some(offset + Ipv4Hdr::LEN as u32, options.as_mut_ptr(), len, IPV4_OPTIONS_MAX as u32) {
        return DropReason::InnerTruncated as u32;
    }
    if has_source_route(&options, len as usize) { DropReason::InnerSourceRoute as u32 } else { 0 }
}
