//! The gates of seats, as memory that this process shares with the programs: a takeover is one store, and what the programs note there is
//! read without asking the kernel.

use super::error::{Error, Result};
use super::map::Table;
use gateway_common::gate::{Gate, State};
use gateway_common::tables::Seat;
use gateway_common::{Epoch, SeatId};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Words of a [`Seat`].
const WORDS: usize = size_of::<Seat>() / 8;
const GATE: usize = std::mem::offset_of!(Seat, gate) / 8;
const EPOCH: usize = std::mem::offset_of!(Seat, epoch) / 8;
const SEEN: usize = std::mem::offset_of!(Seat, seen) / 8;

/// All seats' gates.
#[derive(Debug)]
pub struct Gates {
    start: NonNull<AtomicU64>,
    bytes: NonZeroUsize,
    seats: u32,
}

// SAFETY: the memory is the map's for as long as this lives, and every access to it is atomic.
unsafe impl Send for Gates {}
// SAFETY: likewise.
unsafe impl Sync for Gates {}

/// What became of a gate that was to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It says what it was to say.
    Done,
    /// It is closed: a higher epoch than its own was seen.
    Superseded(Epoch),
}

impl Gates {
    /// Maps the gates whose map is pinned in a directory.
    ///
    /// # Errors
    /// There is no such map, or it is of another shape: it was left by another version of the programs.
    pub fn open(directory: &Path) -> Result<Self> {
        let table: Table<u32, Seat> = Table::open(directory, "SEATS")?;
        let seats = table.capacity();
        let error = |source: io::Error| Error::map("SEATS", "map", source);
        let bytes = NonZeroUsize::new(seats as usize * size_of::<Seat>())
            .ok_or_else(|| error(io::ErrorKind::InvalidData.into()))?;
        // SAFETY: a new mapping at an address of the kernel's choice; the map outlives its descriptor for as long as it is mapped.
        let start =
            unsafe { mmap(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, &table, 0) };
        let start = start.map_err(|errno| error(errno.into()))?;
        Ok(Self { start: start.cast(), bytes, seats })
    }

    /// How many seats there is room for.
    pub const fn len(&self) -> u32 {
        self.seats
    }

    /// Whether there is room for none.
    pub const fn is_empty(&self) -> bool {
        self.seats == 0
    }

    /// What stands in a seat's words. The programs write to them all the time, each word by itself.
    pub fn read(&self, slot: SeatId) -> Seat {
        let mut words = [0u64; WORDS];
        for (at, word) in words.iter_mut().enumerate() {
            *word = self.word(slot, at).map_or(0, |word| word.load(Ordering::Acquire));
        }
        bytemuck::cast(words)
    }

    /// Sets a seat's gate under an epoch.
    ///
    /// The programs write a higher epoch that they see before they close the gate. Here the gate is written before that is looked at. So
    /// whoever comes last finds what the other has written, and the gate of a lower epoch ends up closed. A gate that yields stays as it
    /// is, since a successor is meant to appear.
    pub fn set(&self, slot: SeatId, epoch: Epoch, gate: Gate) -> Opened {
        let (Some(gates), Some(epochs), Some(seen)) =
            (self.word(slot, GATE), self.word(slot, EPOCH), self.word(slot, SEEN))
        else {
            return Opened::Superseded(Epoch(u64::MAX));
        };
        if gate.state() == State::Replica {
            gates.store(gate.0, Ordering::SeqCst);
            epochs.store(epoch.0, Ordering::SeqCst);
            return Opened::Done;
        }
        epochs.store(epoch.0, Ordering::SeqCst);
        gates.store(gate.0, Ordering::SeqCst);
        let seen = Epoch(seen.load(Ordering::SeqCst));
        if gate.state() == State::Held && seen > epoch {
            gates.store(Gate::REPLICA.0, Ordering::SeqCst);
            return Opened::Superseded(seen);
        }
        Opened::Done
    }

    fn word(&self, slot: SeatId, at: usize) -> Option<&AtomicU64> {
        if slot.0 >= self.seats || at >= WORDS {
            return None;
        }
        // SAFETY: the word lies within the mapping, which is aligned to a page, and elements are whole words without gaps.
        Some(unsafe { self.start.add(slot.0 as usize * WORDS + at).as_ref() })
    }
}

impl Drop for Gates {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's, and nothing borrowed from it is left.
        let _ = unsafe { munmap(self.start.cast::<c_void>(), self.bytes.get()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    fn gates() -> Gates {
        let bytes = NonZeroUsize::new(256 * size_of::<Seat>()).expect("room");
        let kinds = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping of nothing else.
        let start = unsafe { nix::sys::mman::mmap_anonymous(None, bytes, kinds, MapFlags::MAP_SHARED) };
        Gates { start: start.expect("memory").cast(), bytes, seats: 256 }
    }

    #[test]
    fn a_gate_of_a_lower_epoch_than_was_seen_does_not_stay_open() {
        let gates = gates();
        let (slot, held) = (SeatId(3), Gate::new(State::Held, 99));
        assert_eq!(gates.set(slot, Epoch(4), held), Opened::Done);
        assert_eq!((gates.read(slot).gate, gates.read(slot).epoch), (held, Epoch(4)));
        gates.word(slot, SEEN).expect("a word").store(5, Ordering::SeqCst);
        assert_eq!(gates.set(slot, Epoch(4), held), Opened::Superseded(Epoch(5)));
        assert_eq!(gates.read(slot).gate, Gate::REPLICA);
        let yielding = Gate::new(State::Yielding, 99);
        assert_eq!(gates.set(slot, Epoch(4), yielding), Opened::Done);
        assert_eq!(gates.set(slot, Epoch(5), held), Opened::Done);
        assert_eq!(gates.read(SeatId(2)), Seat::default());
    }

    #[test]
    fn a_seat_beyond_the_table_is_never_opened() {
        let gates = gates();
        let outside = SeatId(gates.len());
        assert!(matches!(gates.set(outside, Epoch(1), Gate::FOREVER), Opened::Superseded(_)));
        assert_eq!(gates.read(outside), Seat::default());
    }
}
