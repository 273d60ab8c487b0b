//! Lists of prefixes as they stand in UPDATEs (RFC 4271 4.3, RFC 4760 5, RFC 7911 3).

use crate::number::{Family, PathId};
use bytes::Bytes;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A list of prefixes of one family that has been checked: it can be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nlri {
    family: Family,
    bytes: Bytes,
    path_ids: PathIds,
    count: usize,
}

/// Whether each prefix has a path identifier before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathIds {
    Absent,
    Present,
}

impl From<bool> for PathIds {
    fn from(present: bool) -> Self {
        if present { Self::Present } else { Self::Absent }
    }
}

/// One prefix of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NlriEntry {
    /// The prefix; what stood behind its length is cleared.
    pub prefix: IpNet,
    /// Which of several paths; 0 where the session has none.
    pub path: PathId,
}

/// A list of prefixes that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadNlri;

impl Nlri {
    /// Takes the bytes if they can be read to their end.
    pub(super) fn check(family: Family, bytes: Bytes, path_ids: PathIds) -> Result<Self, BadNlri> {
        let mut rest = &bytes[..];
        let mut count = 0;
        while !rest.is_empty() {
            rest = skip(family, path_ids, rest).ok_or(BadNlri)?;
            count += 1;
        }
        Ok(Self { family, bytes, path_ids, count })
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// The prefixes' family.
    pub const fn family(&self) -> Family {
        self.family
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The prefixes in the order in which they came, without those that no unicast route can have (RFC 4271, 6.3).
    pub fn iter(&self) -> impl Iterator<Item = NlriEntry> + '_ {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (entry, after) = read(self.family, self.path_ids, rest)?;
            rest = after;
            Some(entry)
        })
        .filter(|entry| is_unicast(entry.prefix))
    }
}

/// Whether packets to the prefix go to one host each: no group's are among its addresses alone.
const fn is_unicast(prefix: IpNet) -> bool {
    match prefix {
        IpNet::V4(net) => !(net.prefix_len() >= 4 && net.addr().is_multicast()),
        IpNet::V6(net) => !(net.prefix_len() >= 8 && net.addr().is_multicast()),
    }
}

const fn bits(family: Family) -> u8 {
    match family {
        Family::Ipv4 => 32,
        Family::Ipv6 => 128,
    }
}

fn skip(family: Family, path_ids: PathIds, bytes: &[u8]) -> Option<&[u8]> {
    let bytes = if path_ids == PathIds::Present { bytes.get(4..)? } else { bytes };
    let (&length, rest) = bytes.split_first()?;
    if length > bits(family) {
        return None;
    }
    rest.get(usize::from(length).div_ceil(8)..)
}

fn read(family: Family, path_ids: PathIds, bytes: &[u8]) -> Option<(NlriEntry, &[u8])> {
    let (path, bytes) = match path_ids {
        PathIds::Absent => (PathId(0), bytes),
        PathIds::Present => {
            let (id, rest) = bytes.split_first_chunk::<4>()?;
            (PathId(u32::from_be_bytes(*id)), rest)
        }
    };
    let (&length, rest) = bytes.split_first()?;
    let (octets, rest) = rest.split_at_checked(usize::from(length).div_ceil(8))?;
    let prefix = match family {
        Family::Ipv4 => {
            let mut address = [0; 4];
            address.get_mut(..octets.len())?.copy_from_slice(octets);
            IpNet::V4(Ipv4Net::new(Ipv4Addr::from(address), length).ok()?.trunc())
        }
        Family::Ipv6 => {
            let mut address = [0; 16];
            address.get_mut(..octets.len())?.copy_from_slice(octets);
            IpNet::V6(Ipv6Net::new(Ipv6Addr::from(address), length).ok()?.trunc())
        }
    };
    Some((NlriEntry { prefix, path }, rest))
}

/// Writes one prefix.
pub(super) fn write(entry: &NlriEntry, path_ids: PathIds, into: &mut Vec<u8>) {
    if path_ids == PathIds::Present {
        into.extend_from_slice(&entry.path.0.to_be_bytes());
    }
    let length = entry.prefix.prefix_len();
    let octets = usize::from(length).div_ceil(8);
    into.push(length);
    match entry.prefix {
        IpNet::V4(net) => into.extend_from_slice(&net.network().octets()[..octets]),
        IpNet::V6(net) => into.extend_from_slice(&net.network().octets()[..octets]),
    }
}

/// How many octets [`write`] needs.
pub(super) fn written_len(entry: &NlriEntry, path_ids: PathIds) -> usize {
    let id = if path_ids == PathIds::Present { 4 } else { 0 };
    id + 1 + usize::from(entry.prefix.prefix_len()).div_ceil(8)
}
