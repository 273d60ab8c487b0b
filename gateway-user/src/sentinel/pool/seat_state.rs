//! What is known of a seat.

use crate::sentinel::announcements::Announcements;
use crate::sentinel::configuration::Seat;
use crate::sentinel::protocol::Holding;
use seat::{GatewayName, Hold, Moment, Opinion};

#[derive(Debug)]
pub(super) struct SeatState {
    pub(super) seat: Seat,
    pub(super) announcements: Announcements,
    pub(super) hold: Hold,
    pub(super) epoch: u64,
    pub(super) activated: Moment,
    pub(super) bid: Option<Moment>,
    /// What the member was last told of its holder.
    pub(super) told: Option<(GatewayName, Opinion)>,
    /// Who was seen to be gone, when that was seen, and when the last probe of it came back.
    pub(super) lost: Option<(GatewayName, Moment, Option<Moment>)>,
    pub(super) claim: Option<(Moment, usize)>,
    /// The highest epoch of which the programs told, as far as the member knows.
    pub(super) seen: u64,
    pub(super) awaits_first: bool,
    /// What the tick of its gate was, and since when.
    pub(super) quiet: (u64, Moment),
}

impl SeatState {
    pub(super) fn new(seat: &Seat, now: Moment) -> Self {
        Self {
            seat: seat.clone(),
            announcements: Announcements::new(&seat.announcements),
            hold: Hold::Replica,
            epoch: 0,
            activated: now,
            bid: None,
            told: None,
            lost: None,
            claim: None,
            seen: 0,
            awaits_first: false,
            quiet: (0, now),
        }
    }

    pub(super) const fn holding(&self) -> Holding {
        match self.hold {
            Hold::Replica => Holding::Replica,
            Hold::Held(_) => Holding::Held,
            Hold::Yielding { .. } => Holding::Yielding,
        }
    }

    /// The epoch that the gate is under: while another is to take the seat, the other's.
    pub(super) const fn gate_epoch(&self) -> u64 {
        match self.hold {
            Hold::Yielding { to, .. } => to.0,
            _ => self.epoch,
        }
    }
}
