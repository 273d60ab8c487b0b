//! A table, prefix by prefix (RFC 6396, 4.3).

use super::{kind, put_address, record};
use crate::attributes::kind as attribute;
use crate::attributes::kind::flag;
use crate::number::{Asn, Family, PathId, RouterId};
use crate::wire::attributes;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

const PEER_INDEX_TABLE: u16 = 1;
const RIB_IPV4_UNICAST: u16 = 2;
const RIB_IPV6_UNICAST: u16 = 4;
/// RFC 8050: with path identifiers.
const RIB_IPV4_UNICAST_ADDPATH: u16 = 8;
const RIB_IPV6_UNICAST_ADDPATH: u16 = 10;

/// A peer, as the dump's first record names it. Entries say by its position whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpPeer {
    /// Its identifier; 0.0.0.0 where that is not known.
    pub router_id: RouterId,
    /// Its address; the unspecified one for the router's own routes.
    pub address: IpAddr,
    /// Its autonomous system.
    pub asn: Asn,
}

/// One peer's path to a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpEntry<'a> {
    /// The peer's position.
    pub peer: u16,
    /// When it came, since 1970.
    pub since: Duration,
    /// What tells several paths of a peer apart.
    pub path_id: PathId,
    /// The canonical bytes of its attributes.
    pub attributes: &'a [u8],
}

/// A dump in the making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableDump {
    /// When it was made, since 1970.
    at: Duration,
    /// The number of the next prefix.
    sequence: u32,
}

impl TableDump {
    /// Begins a dump with its peers: 65535 at most.
    pub fn begin(at: Duration, collector: RouterId, view: &str, peers: &[DumpPeer], into: &mut Vec<u8>) -> Self {
        record(at, (kind::TABLE_DUMP_V2, PEER_INDEX_TABLE), into, |into| {
            into.extend_from_slice(&collector.0.octets());
            let view = &view.as_bytes()[..view.len().min(usize::from(u16::MAX))];
            into.extend_from_slice(&(view.len() as u16).to_be_bytes());
            into.extend_from_slice(view);
            let count = u16::try_from(peers.len()).unwrap_or(u16::MAX);
            into.extend_from_slice(&count.to_be_bytes());
            for peer in &peers[..usize::from(count)] {
                // AS numbers have four octets.
                into.push(0b10 | u8::from(peer.address.is_ipv6()));
                into.extend_from_slice(&peer.router_id.0.octets());
                put_address(peer.address, into);
                into.extend_from_slice(&peer.asn.0.to_be_bytes());
            }
        });
        Self { at, sequence: 0 }
    }

    /// Writes a prefix and the paths to it.
    pub fn prefix(&mut self, prefix: IpNet, entries: &[DumpEntry<'_>], into: &mut Vec<u8>) {
        let several = entries.iter().any(|entry| entry.path_id != PathId(0));
        let subtype = match (prefix, several) {
            (IpNet::V4(_), false) => RIB_IPV4_UNICAST,
            (IpNet::V6(_), false) => RIB_IPV6_UNICAST,
            (IpNet::V4(_), true) => RIB_IPV4_UNICAST_ADDPATH,
            (IpNet::V6(_), true) => RIB_IPV6_UNICAST_ADDPATH,
        };
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        record(self.at, (kind::TABLE_DUMP_V2, subtype), into, |into| {
            into.extend_from_slice(&sequence.to_be_bytes());
            into.push(prefix.prefix_len());
            let octets = usize::from(prefix.prefix_len()).div_ceil(8);
            match prefix {
                IpNet::V4(net) => into.extend_from_slice(&net.network().octets()[..octets]),
                IpNet::V6(net) => into.extend_from_slice(&net.network().octets()[..octets]),
            }
            let count = u16::try_from(entries.len()).unwrap_or(u16::MAX);
            into.extend_from_slice(&count.to_be_bytes());
            for entry in &entries[..usize::from(count)] {
                into.extend_from_slice(&entry.peer.to_be_bytes());
                into.extend_from_slice(&u32::try_from(entry.since.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
                if several {
                    into.extend_from_slice(&entry.path_id.0.to_be_bytes());
                }
                let list = as_dumped(entry.attributes, Family::of(prefix.addr()));
                into.extend_from_slice(&u16::try_from(list.len()).unwrap_or(u16::MAX).to_be_bytes());
                into.extend_from_slice(&list);
            }
        });
    }
}

/// Attributes as a dump has them: of MP_REACH_NLRI the next hop alone (RFC 6396, 4.3.4), and no weight.
fn as_dumped(canonical: &[u8], family: Family) -> Vec<u8> {
    let mut list = Vec::with_capacity(canonical.len() + 20);
    for raw in attributes::iter(canonical) {
        match raw.kind {
            attribute::RESERVED => {}
            attribute::MP_REACH => {
                // Behind family and subsequent family, before the reserved octet.
                let next_hop = raw.value.get(3..raw.value.len().saturating_sub(1)).unwrap_or_default();
                attributes::write(attribute::MP_REACH, flag::OPTIONAL, next_hop, &mut list);
            }
            attribute::NEXT_HOP if family == Family::Ipv6 => {
                // What the router itself is the next hop of.
                let mut value = vec![16];
                value.extend_from_slice(&Ipv6Addr::UNSPECIFIED.octets());
                attributes::write(attribute::MP_REACH, flag::OPTIONAL, &value, &mut list);
            }
            _ => list.extend_from_slice(raw.whole),
        }
    }
    list
}
