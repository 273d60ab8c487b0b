//! The seat gate: who may move a seat's packets, and until when, in one aligned 64-bit word.
//!
//! The upper two bits are the [`State`], the lower 62 the lease's expiry in nanoseconds of `CLOCK_MONOTONIC`.
//! One word, so that a takeover or a fence is one store, and no reader ever sees half of it.

/// What this gateway is to a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Mute and deaf: holds the seat's state, moves none of its packets.
    Replica,
    /// Holds the seat.
    Held,
    /// Still forwards while the next holder is being activated in a planned move.
    Yielding,
}

/// A seat's gate word.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Gate(pub u64);

const STATE_SHIFT: u32 = 62;
const EXPIRY_MASK: u64 = (1 << STATE_SHIFT) - 1;

impl Gate {
    /// The gate of a seat that nobody but this gateway can hold: no lease.
    pub const FOREVER: Self = Self::new(State::Held, EXPIRY_MASK);
    /// A seat that this gateway only replicates.
    pub const REPLICA: Self = Self::new(State::Replica, 0);

    /// A gate in `state` whose lease ends at `expiry` nanoseconds; a later expiry than 62 bits hold means never.
    pub const fn new(state: State, expiry: u64) -> Self {
        let expiry = if expiry > EXPIRY_MASK { EXPIRY_MASK } else { expiry };
        let state = match state {
            State::Replica => 0,
            State::Held => 1,
            State::Yielding => 2,
        };
        Self(state << STATE_SHIFT | expiry)
    }

    /// What this gateway is to the seat, the lease aside. The unused fourth value reads as a replica, the safe side.
    pub const fn state(self) -> State {
        match self.0 >> STATE_SHIFT {
            1 => State::Held,
            2 => State::Yielding,
            _ => State::Replica,
        }
    }

    /// When the lease ends, in nanoseconds; `None` for never.
    pub const fn expiry(self) -> Option<u64> {
        let expiry = self.0 & EXPIRY_MASK;
        if expiry == EXPIRY_MASK { None } else { Some(expiry) }
    }

    /// Whether a packet of the seat may pass at `now` nanoseconds.
    #[inline(always)]
    pub const fn is_open(self, now: u64) -> bool {
        let state = self.0 >> STATE_SHIFT;
        (state == 1 || state == 2) && now < self.0 & EXPIRY_MASK
    }

    /// Whether this gateway tells the seat's neighbours at `now` nanoseconds where the seat is. One that yields does not: a frame with the seat's
    /// MAC address would call back to it what already goes to whoever takes the seat.
    #[inline(always)]
    pub const fn speaks(self, now: u64) -> bool {
        self.0 >> STATE_SHIFT == 1 && now < self.0 & EXPIRY_MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_holder_within_its_lease_passes() {
        for (state, now, open) in [
            (State::Held, 99, true),
            (State::Held, 100, false),
            (State::Held, 101, false),
            (State::Yielding, 99, true),
            (State::Yielding, 100, false),
            (State::Replica, 0, false),
        ] {
            let gate = Gate::new(state, 100);
            assert_eq!(gate.is_open(now), open, "{state:?} at {now}");
            assert_eq!(gate.state(), state);
            assert_eq!(gate.expiry(), Some(100));
        }
    }

    #[test]
    fn who_yields_says_nothing_to_neighbours() {
        for (state, now, says) in [
            (State::Held, 99, true),
            (State::Held, 100, false),
            (State::Yielding, 99, false),
            (State::Replica, 0, false),
        ] {
            assert_eq!(Gate::new(state, 100).speaks(now), says, "{state:?} at {now}");
        }
        assert!(Gate::FOREVER.speaks(u64::MAX >> 3));
    }

    #[test]
    fn forever_has_no_expiry_and_the_unused_state_is_mute() {
        assert!(Gate::FOREVER.is_open(u64::MAX >> 3));
        assert_eq!(Gate::FOREVER.expiry(), None);
        assert_eq!(Gate::new(State::Held, u64::MAX), Gate::FOREVER);
        let unused = Gate(3 << 62 | 100);
        assert!(!unused.is_open(0));
        assert_eq!(unused.state(), State::Replica);
        assert_eq!(Gate::REPLICA.state(), State::Replica);
        assert!(!Gate::REPLICA.is_open(0));
    }
}
