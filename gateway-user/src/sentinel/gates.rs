//! The gates of this gateway's seats.

use crate::dataplane::pins::Pins;
use crate::dataplane::seats;
use anyhow::Context;
use gateway_common::gate::Gate;
use gateway_common::{Epoch, SeatId};
use std::io;
use std::path::Path;

/// What stands in the table of gates about one seat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The gate.
    pub gate: Gate,
    /// The epoch that it is under.
    pub epoch: u64,
    /// The highest epoch of which an authenticated packet told.
    pub seen: u64,
    /// Changes with packets that pass, as often as the clock of the programs ticks.
    pub tick: u64,
    /// Under which epoch the first packet passed, and when.
    pub first: (u64, u64),
}

/// The table of gates.
pub trait Gates: std::fmt::Debug {
    /// What stands in a slot; `None` if there is no such slot.
    fn read(&self, slot: u32) -> Option<Words>;

    /// Writes a gate under an epoch.
    ///
    /// # Errors
    /// There is no such slot.
    fn write(&mut self, slot: u32, gate: Gate, epoch: Epoch) -> io::Result<()>;
}

/// The table that the programs go by.
#[derive(Debug)]
pub struct Table {
    gates: seats::Gates,
}

impl Table {
    /// Opens the table that is pinned there.
    ///
    /// # Errors
    /// There is none.
    pub fn open(pins: &Path) -> anyhow::Result<Self> {
        let maps = Pins::new(pins).maps();
        let what =
            || format!("no gates are pinned in {}: the agent makes them, and starts this by itself", maps.display());
        Ok(Self { gates: seats::Gates::open(&maps).with_context(what)? })
    }
}

impl Gates for Table {
    fn read(&self, slot: u32) -> Option<Words> {
        let seat = (slot < self.gates.len()).then(|| self.gates.read(SeatId(slot)))?;
        Some(Words {
            gate: seat.gate,
            epoch: seat.epoch.0,
            seen: seat.seen.0,
            tick: seat.tick,
            first: (seat.passed.0, seat.first),
        })
    }

    fn write(&mut self, slot: u32, gate: Gate, epoch: Epoch) -> io::Result<()> {
        if slot >= self.gates.len() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no slot {slot}")));
        }
        // What was seen is looked at by whoever writes.
        let _ = self.gates.set(SeatId(slot), epoch, gate);
        Ok(())
    }
}
