//! Putting outer fragments together again, within bounds (RFC 791 section 3.2, RFC 8200 section 4.5).
//!
//! Deterministic: no clock, no I/O. [`Reassembler::accept`] takes an Ethernet frame that holds a fragment and, with the last
//! missing one, gives the whole datagram as one frame; [`Reassembler::expire`] forgets what waited too long.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long a datagram's fragments are waited for. RFC 791 proposes 15 s and RFC 8200 takes 60 s, for paths of their time and of
/// any kind; here the fragments of a datagram come over one fabric or access path within milliseconds, and memory is the
/// scarcer good.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest frame that is put together, Ethernet header included: what the way back takes.
pub const MAX_FRAME: usize = 3400;
/// Fragments of one datagram. At the IPv4 minimum MTU of 68 bytes a datagram of `MAX_FRAME` has 71.
const MAX_FRAGMENTS: usize = 80;
/// Datagrams that are waited for, all sources together.
const MAX_DATAGRAMS: usize = 2048;
/// Datagrams that are waited for from one source.
const MAX_DATAGRAMS_PER_SOURCE: usize = 64;
/// Bytes held, all sources together.
const MAX_BYTES: usize = 4 << 20;
/// Bytes held from one source.
const MAX_BYTES_PER_SOURCE: usize = 256 << 10;

const ETHERNET: usize = 14;
const IPV6: usize = 40;
const FRAGMENT_HEADER: usize = 8;
const IPV6_FRAGMENT: u8 = 44;

/// Why a fragment, or its whole datagram, was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Not an IP fragment, or cut short.
    #[error("malformed fragment")]
    Malformed,
    /// The datagram would be larger than what is put together.
    #[error("datagram too large")]
    TooLarge,
    /// Fragments overlap: the whole datagram is dropped (RFC 5722 section 4).
    #[error("overlapping fragments")]
    Overlap,
    /// Fragments disagree about where the datagram ends.
    #[error("contradictory fragments")]
    Contradiction,
    /// Some fragments are marked as congested, others as not capable (RFC 3168 section 5.3).
    #[error("contradictory congestion marks")]
    Congestion,
    /// The source has too much waiting.
    #[error("source over its bound")]
    SourceFull,
    /// The datagram was dropped before.
    #[error("datagram dropped before")]
    Dropped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    /// Part of IPv4's identification only; 0 for IPv6.
    protocol: u8,
    identification: u32,
    /// Datagrams of different ports never mix.
    context: u32,
}

/// A fragment as parsed, borrowing from its frame.
struct Fragment<'a> {
    key: Key,
    /// Ethernet and IP header in front of the payload; without IPv6's fragment header.
    header: Vec<u8>,
    offset: usize,
    more: bool,
    ecn: u8,
    payload: &'a [u8],
}

#[derive(Debug)]
struct Piece {
    offset: usize,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Datagram {
    serial: u64,
    /// Sorted by offset, disjoint. Empty for one that was dropped and is remembered so that its later fragments are, too.
    pieces: Vec<Piece>,
    /// Of the first fragment.
    header: Option<Vec<u8>>,
    /// Known with the last fragment.
    total: Option<usize>,
    marks: Marks,
    dropped: bool,
}

/// The congestion marks seen.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    not_capable: bool,
    congested: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    datagrams: usize,
    bytes: usize,
}

/// Puts datagrams together.
#[derive(Debug, Default)]
pub struct Reassembler {
    datagrams: HashMap<Key, Datagram>,
    /// Oldest first: all wait equally long.
    order: VecDeque<(Instant, Key, u64)>,
    sources: HashMap<IpAddr, Held>,
    bytes: usize,
    serial: u64,
}

impl Reassembler {
    /// Takes a frame that came in by the interface `context`. The whole datagram as a frame once nothing is missing.
    pub fn accept(&mut self, context: u32, frame: &[u8], now: Instant) -> Result<Option<Vec<u8>>, Refusal> {
        self.expire(now);
        let fragment = parse(context, frame)?;
        let key = fragment.key;
        self.make_room(&fragment, now)?;
        let Some(datagram) = self.datagrams.get_mut(&key) else { return Err(Refusal::SourceFull) };
        if datagram.dropped {
            return Err(Refusal::Dropped);
        }
        match datagram.add(&fragment) {
            Ok(Added::Duplicate) => return Ok(None),
            Ok(Added::New) => {
                let length = fragment.payload.len();
                self.bytes += length;
                self.sources.entry(key.source).or_default().bytes += length;
            }
            Err(refusal) => {
                self.poison(&key);
                return Err(refusal);
            }
        }
        match self.datagrams.get(&key).map(Datagram::finish) {
            Some(Ok(Some(frame))) => {
                self.remove(&key);
                Ok(Some(frame))
            }
            Some(Err(refusal)) => {
                self.poison(&key);
                Err(refusal)
            }
            _ => Ok(None),
        }
    }

    /// Forgets what waited too long; how many datagrams that were.
    pub fn expire(&mut self, now: Instant) -> usize {
        let mut expired = 0;
        while let Some(&(since, key, serial)) = self.order.front() {
            if now.saturating_duration_since(since) < TIMEOUT && self.order.len() <= 4 * MAX_DATAGRAMS {
                break;
            }
            self.order.pop_front();
            if self.datagrams.get(&key).is_some_and(|datagram| datagram.serial == serial) {
                self.remove(&key);
                expired += 1;
            }
        }
        expired
    }

    /// Datagrams that are waited for.
    pub fn waiting(&self) -> usize {
        self.datagrams.len()
    }

    /// Bytes that are held.
    pub fn held_bytes(&self) -> usize {
        self.bytes
    }

    /// Opens the fragment's datagram if it is new, within the bounds. The source's own bounds refuse the fragment; the common
    /// ones push out the oldest datagram, so that nobody can shut others out for long.
    fn make_room(&mut self, fragment: &Fragment<'_>, now: Instant) -> Result<(), Refusal> {
        let held = self.sources.get(&fragment.key.source).copied().unwrap_or_default();
        let is_new = !self.datagrams.contains_key(&fragment.key);
        if held.bytes + fragment.payload.len() > MAX_BYTES_PER_SOURCE
            || (is_new && held.datagrams >= MAX_DATAGRAMS_PER_SOURCE)
        {
            return Err(Refusal::SourceFull);
        }
        while self.bytes + fragment.payload.len() > MAX_BYTES || (is_new && self.datagrams.len() >= MAX_DATAGRAMS) {
            let Some((_, oldest, serial)) = self.order.pop_front() else { break };
            if self.datagrams.get(&oldest).is_some_and(|datagram| datagram.serial == serial) {
                self.remove(&oldest);
            }
        }
        // The datagram itself may have been the oldest.
        if !self.datagrams.contains_key(&fragment.key) {
            self.serial += 1;
            self.datagrams.insert(fragment.key, Datagram::new(self.serial));
            self.order.push_back((now, fragment.key, self.serial));
            self.sources.entry(fragment.key.source).or_default().datagrams += 1;
        }
        Ok(())
    }

    fn remove(&mut self, key: &Key) {
        if let Some(datagram) = self.datagrams.remove(key) {
            self.give_back(key.source, datagram.bytes(), 1);
        }
    }

    /// Drops what is held of a datagram and remembers that it was dropped, until its time is over.
    fn poison(&mut self, key: &Key) {
        if let Some(datagram) = self.datagrams.get_mut(key) {
            let bytes = datagram.bytes();
            datagram.pieces = Vec::new();
            datagram.header = None;
            datagram.dropped = true;
            self.give_back(key.source, bytes, 0);
        }
    }

    fn give_back(&mut self, source: IpAddr, bytes: usize, datagrams: usize) {
        self.bytes -= bytes;
        if let Some(held) = self.sources.get_mut(&source) {
            held.bytes -= bytes;
            held.datagrams -= datagrams;
            if held.datagrams == 0 {
                self.sources.remove(&source);
            }
        }
    }
}

enum Added {
    New,
    /// The very same fragment once more, as RFC 8200 section 4.5 lets us ignore.
    Duplicate,
}

impl Datagram {
    fn new(serial: u64) -> Self {
        Self { serial, pieces: Vec::new(), header: None, total: None, marks: Marks::default(), dropped: false }
    }

    fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.len()).sum()
    }

    fn add(&mut self, fragment: &Fragment<'_>) -> Result<Added, Refusal> {
        let end = fragment.offset + fragment.payload.len();
        let index = self.pieces.partition_point(|piece| piece.offset < fragment.offset);
        if let Some(next) = self.pieces.get(index) {
            if next.offset == fragment.offset && next.bytes == fragment.payload {
                return Ok(Added::Duplicate);
            }
            if next.offset < end {
                return Err(Refusal::Overlap);
            }
        }
        if index
            .checked_sub(1)
            .and_then(|before| self.pieces.get(before))
            .is_some_and(|p| p.offset + p.bytes.len() > fragment.offset)
        {
            return Err(Refusal::Overlap);
        }
        if self.pieces.len() >= MAX_FRAGMENTS {
            return Err(Refusal::TooLarge);
        }
        let last_end = self.pieces.last().map_or(0, |piece| piece.offset + piece.bytes.len());
        match self.total {
            Some(total) if !fragment.more || end > total => return Err(Refusal::Contradiction),
            None if !fragment.more && last_end > end => return Err(Refusal::Contradiction),
            None if !fragment.more => self.total = Some(end),
            _ => {}
        }
        if fragment.offset == 0 {
            self.header = Some(fragment.header.clone());
        }
        match fragment.ecn {
            0b00 => self.marks.not_capable = true,
            0b11 => self.marks.congested = true,
            _ => {}
        }
        self.pieces.insert(index, Piece { offset: fragment.offset, bytes: fragment.payload.to_vec() });
        Ok(Added::New)
    }

    /// The whole frame, if all of it is here.
    fn finish(&self) -> Result<Option<Vec<u8>>, Refusal> {
        let (Some(header), Some(total)) = (&self.header, self.total) else { return Ok(None) };
        // Disjoint pieces that add up to the whole leave no gap.
        if self.bytes() != total {
            return Ok(None);
        }
        if header.len() + total > MAX_FRAME {
            return Err(Refusal::TooLarge);
        }
        if self.marks.congested && self.marks.not_capable {
            return Err(Refusal::Congestion);
        }
        let mut frame = header.clone();
        for piece in &self.pieces {
            frame.extend_from_slice(&piece.bytes);
        }
        let congested = u8::from(self.marks.congested) * 0b11;
        let length = frame.len() - ETHERNET;
        if frame[ETHERNET] >> 4 == 4 {
            let header_length = usize::from(frame[ETHERNET] & 0xf) * 4;
            let ip = &mut frame[ETHERNET..];
            ip[1] |= congested;
            ip[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            ip[6..8].copy_from_slice(&[0, 0]);
            super::fragmentation::write_checksum(&mut ip[..header_length]);
        } else {
            frame[ETHERNET + 1] |= congested << 4;
            frame[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&((length - IPV6) as u16).to_be_bytes());
        }
        Ok(Some(frame))
    }
}

fn parse(context: u32, frame: &[u8]) -> Result<Fragment<'_>, Refusal> {
    let ethertype = frame.get(12..ETHERNET).ok_or(Refusal::Malformed)?;
    let ip = &frame[ETHERNET..];
    let fragment = match ethertype {
        [0x08, 0x00] => parse4(context, frame, ip),
        [0x86, 0xdd] => parse6(context, frame, ip),
        _ => None,
    }
    .ok_or(Refusal::Malformed)?;
    // All but the last come in units of eight bytes; none is empty; one that is whole is no fragment.
    let whole = fragment.offset == 0 && !fragment.more;
    if whole || fragment.payload.is_empty() || (fragment.more && !fragment.payload.len().is_multiple_of(8)) {
        return Err(Refusal::Malformed);
    }
    if fragment.offset + fragment.payload.len() > MAX_FRAME {
        return Err(Refusal::TooLarge);
    }
    Ok(fragment)
}

fn parse4<'a>(context: u32, frame: &'a [u8], ip: &'a [u8]) -> Option<Fragment<'a>> {
    let &[first, tos, l0, l1, i0, i1, f0, f1, _, protocol, _, _, ..] = ip else { return None };
    let header_length = usize::from(first & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([l0, l1]));
    if first >> 4 != 4 || header_length < 20 || total < header_length {
        return None;
    }
    let payload = ip.get(header_length..total)?;
    let address = |at: usize| ip.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(IpAddr::from);
    let field = u16::from_be_bytes([f0, f1]);
    let key = Key {
        source: address(12)?,
        destination: address(16)?,
        protocol,
        identification: u32::from(u16::from_be_bytes([i0, i1])),
        context,
    };
    Some(Fragment {
        key,
        header: frame.get(..ETHERNET + header_length)?.to_vec(),
        offset: usize::from(field & 0x1fff) * 8,
        more: field & 0x2000 != 0,
        ecn: tos & 0b11,
        payload,
    })
}

/// Only with the fragment header right behind the IPv6 header: no sender of tunnels puts others in front of it.
fn parse6<'a>(context: u32, frame: &'a [u8], ip: &'a [u8]) -> Option<Fragment<'a>> {
    let &[first, second, _, _, l0, l1, next, ..] = ip else { return None };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    if first >> 4 != 6 || next != IPV6_FRAGMENT || length < FRAGMENT_HEADER {
        return None;
    }
    let &[protocol, _, f0, f1, i0, i1, i2, i3] = ip.get(IPV6..IPV6 + FRAGMENT_HEADER)? else { return None };
    let payload = ip.get(IPV6 + FRAGMENT_HEADER..IPV6 + length)?;
    let address = |at: usize| ip.get(at..at + 16).and_then(|b| <[u8; 16]>::try_from(b).ok()).map(IpAddr::from);
    let field = u16::from_be_bytes([f0, f1]);
    let key = Key {
        source: address(8)?,
        destination: address(24)?,
        protocol: 0,
        identification: u32::from_be_bytes([i0, i1, i2, i3]),
        context,
    };
    let mut header = frame.get(..ETHERNET + IPV6)?.to_vec();
    header[ETHERNET + 6] = protocol;
    Some(Fragment {
        key,
        header,
        offset: usize::from(field & 0xfff8),
        more: field & 1 != 0,
        ecn: (second >> 4) & 0b11,
        payload,
    })
}

/// For fuzzing: the bytes are a sequence of frames, each after two bytes of length. Panics if an invariant is broken.
pub fn exercise(bytes: &[u8]) {
    let mut reassembler = Reassembler::default();
    let mut now = Instant::now();
    let mut rest = bytes;
    while let [high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (frame, next) = tail.split_at(length);
        if let Ok(Some(whole)) = reassembler.accept(1, frame, now) {
            assert!(whole.len() <= MAX_FRAME, "a frame of {} bytes was put together", whole.len());
        }
        assert!(reassembler.held_bytes() <= MAX_BYTES, "the bound on bytes does not hold");
        assert!(reassembler.waiting() <= MAX_DATAGRAMS, "the bound on datagrams does not hold");
        now += Duration::from_millis(u64::from(*low));
        rest = next;
    }
    reassembler.expire(now + TIMEOUT);
    assert_eq!((reassembler.held_bytes(), reassembler.waiting()), (0, 0), "something is held for ever");
}

#[cfg(test)]
mod tests;
