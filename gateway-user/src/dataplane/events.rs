//! The ring buffer through which the programs tell of traced packets and of what they learned.

use super::error::{Error, Result};
use aya::maps::{Map, MapData, RingBuf};
use gateway_common::trace::{PathMtu, Traced};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const MAP: &str = "EVENTS";

/// What a program told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A traced packet's run through the pipeline.
    Traced(Box<Traced>),
    /// An ICMP error lowered what a tunnel's path takes.
    PathMtu(PathMtu),
}

/// The reading end. One reader gets each event; a second one would take them from it.
pub struct Events {
    ring: RingBuf<MapData>,
}

impl Events {
    /// Opens the ring that is pinned in a directory.
    pub fn open(directory: &Path) -> Result<Self> {
        let ring = MapData::from_pin(directory.join(MAP)).and_then(Map::from_map_data).and_then(RingBuf::try_from);
        let ring = ring.map_err(|error| Error::map(MAP, "open", io::Error::other(error)))?;
        Ok(Self { ring })
    }

    /// What has come since the last call, without waiting.
    pub fn drain(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(item) = self.ring.next() {
            match decode(&item) {
                Some(event) => events.push(event),
                // Of an earlier version's programs, perhaps.
                None => tracing::debug!(bytes = item.len(), "an event of an unknown kind"),
            }
        }
        events
    }

    /// Makes it one that can be waited for. To be called within a tokio runtime.
    pub fn into_async(self) -> Result<AsyncEvents> {
        // SAFETY: the ring owns its descriptor and never replaces it.
        #[allow(unsafe_code)]
        let fd = unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) };
        let fd = fd.map_err(|error| Error::map(MAP, "wait for", error.into()))?;
        Ok(AsyncEvents { fd })
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

/// The reading end within tokio.
pub struct AsyncEvents {
    fd: AsyncFd<Events>,
}

impl AsyncEvents {
    /// Waits for events: at least one. Safe to drop while it waits.
    pub async fn next(&mut self) -> Result<Vec<Event>> {
        loop {
            let mut ready = self.fd.readable_mut().await.map_err(|source| Error::map(MAP, "wait for", source))?;
            let events = ready.get_inner_mut().drain();
            ready.clear_ready();
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

fn decode(bytes: &[u8]) -> Option<Event> {
    let kind = u32::from_ne_bytes(*bytes.first_chunk()?);
    match kind {
        Traced::KIND => Some(Event::Traced(Box::new(read(bytes)?))),
        PathMtu::KIND => read(bytes).map(Event::PathMtu),
        _ => None,
    }
}

/// A record, which may be followed by padding.
fn read<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Option<T> {
    Some(bytemuck::pod_read_unaligned(bytes.get(..size_of::<T>())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    #[test]
    fn a_record_is_told_by_its_first_word() {
        let path_mtu = PathMtu { kind: PathMtu::KIND, mtu: 1400, ..PathMtu::zeroed() };
        assert_eq!(decode(bytemuck::bytes_of(&path_mtu)), Some(Event::PathMtu(path_mtu)));
        let traced = Traced { kind: Traced::KIND, reason: 3, ..Traced::zeroed() };
        assert_eq!(decode(bytemuck::bytes_of(&traced)), Some(Event::Traced(Box::new(traced))));
    }

    #[test]
    fn a_short_or_unknown_record_is_none() {
        let path_mtu = PathMtu { kind: PathMtu::KIND, ..PathMtu::zeroed() };
        let bytes = bytemuck::bytes_of(&path_mtu);
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(&[9, 0, 0, 0]), None);
        assert_eq!(decode(&[1]), None);
    }
}
