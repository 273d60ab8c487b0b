//! What must hold of a seat's gates on all gateways at every moment, whatever fails.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_common::gate::State;
use seat::Timers;

/// For how long a gate must have said the same thing before it is believed: its words are not written at once.
const SETTLED: Duration = Duration::from_millis(50);

/// A gateway's gate of a seat, as its kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate<'a> {
    /// Whose.
    pub gateway: &'a str,
    /// What it is to the seat.
    pub state: State,
    /// Whether packets pass.
    pub is_open: bool,
    /// The epoch that it is under.
    pub epoch: u64,
    /// The highest that its forwarding plane was told of.
    pub seen: u64,
}

/// The longest that a seat may have no holder and a tenant no packets: until the loss is noticed, and until the lease of a holder is over that
/// only its lease can stop.
pub fn longest_outage(timers: &Timers) -> Duration {
    timers.detection() + timers.lease()
}

/// Looks at a seat's gates again and again.
#[derive(Debug)]
pub struct Judge {
    outage: Duration,
    lease: Duration,
    /// What each gateway's gate says, and since when.
    said: BTreeMap<String, (State, bool, u64, u64)>,
    /// Who has held it under each epoch.
    holders: BTreeMap<u64, String>,
    empty: Option<u64>,
    several: Option<u64>,
    unfenced: BTreeMap<String, u64>,
    /// The longest that nobody held it.
    pub longest_empty: Duration,
    /// The longest that packets passed at several gateways.
    pub longest_overlap: Duration,
}

impl Judge {
    /// For a seat of a pool with these timers.
    pub fn new(timers: &Timers) -> Self {
        Self {
            outage: longest_outage(timers),
            lease: timers.lease(),
            said: BTreeMap::new(),
            holders: BTreeMap::new(),
            empty: None,
            several: None,
            unfenced: BTreeMap::new(),
            longest_empty: Duration::ZERO,
            longest_overlap: Duration::ZERO,
        }
    }

    /// Takes in what all gates say at a time, in nanoseconds; an error is what must not be.
    pub fn look(&mut self, now: u64, gates: &[Gate<'_>]) -> Result<(), String> {
        let open: Vec<&Gate<'_>> = gates.iter().filter(|gate| gate.is_open).collect();
        let since = |from: &mut Option<u64>, holds: bool| {
            *from = holds.then(|| from.unwrap_or(now));
            from.map_or(Duration::ZERO, |from| Duration::from_nanos(now.saturating_sub(from)))
        };
        let empty = since(&mut self.empty, open.is_empty());
        self.longest_empty = self.longest_empty.max(empty);
        if empty > self.outage {
            return Err(format!("nobody has held it for {empty:?}, and {:?} is the bound", self.outage));
        }
        let overlap = since(&mut self.several, open.len() > 1);
        self.longest_overlap = self.longest_overlap.max(overlap);
        if overlap > self.lease + SETTLED {
            return Err(format!("packets pass at several gateways for {overlap:?}, longer than a lease: {open:?}"));
        }
        self.said.retain(|gateway, _| gates.iter().any(|gate| gate.gateway == gateway));
        for gate in gates {
            self.look_at(now, gate)?;
        }
        Ok(())
    }

    fn look_at(&mut self, now: u64, gate: &Gate<'_>) -> Result<(), String> {
        let Gate { gateway, state, is_open, epoch, seen } = *gate;
        let for_long = |since: u64| Duration::from_nanos(now.saturating_sub(since)) > SETTLED;
        if is_open && state == State::Held && seen > epoch {
            let since = *self.unfenced.entry(gateway.to_owned()).or_insert(now);
            if for_long(since) {
                return Err(format!("{gateway} holds it under epoch {epoch}, and has seen {seen}"));
            }
        } else {
            self.unfenced.remove(gateway);
        }
        let says = (state, is_open, epoch);
        let said = self.said.entry(gateway.to_owned()).or_insert((state, is_open, epoch, now));
        if (said.0, said.1, said.2) != says {
            *said = (state, is_open, epoch, now);
        }
        if !for_long(said.3) || !is_open || state != State::Held {
            return Ok(());
        }
        let first = self.holders.entry(epoch).or_insert_with(|| gateway.to_owned());
        if first != gateway {
            return Err(format!("{gateway} holds it under epoch {epoch}, under which {first} held it"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: u64 = 100_000_000;

    fn gate(gateway: &str, epoch: u64) -> Gate<'_> {
        Gate { gateway, state: State::Held, is_open: true, epoch, seen: epoch }
    }

    fn shut(gateway: &str) -> Gate<'_> {
        Gate { gateway, state: State::Replica, is_open: false, epoch: 0, seen: 9 }
    }

    fn judge() -> Judge {
        Judge::new(&Timers::default())
    }

    fn nanos(duration: Duration) -> u64 {
        u64::try_from(duration.as_nanos()).expect("a short time")
    }

    #[test]
    fn a_seat_may_be_empty_for_detection_and_a_lease_and_no_longer() {
        let mut judge = judge();
        let bound = nanos(longest_outage(&Timers::default()));
        assert_eq!(judge.look(5, &[shut("a"), shut("b")]), Ok(()));
        assert_eq!(judge.look(5 + bound, &[shut("a"), shut("b")]), Ok(()));
        assert!(judge.look(6 + bound, &[shut("a"), shut("b")]).is_err());
        assert_eq!(judge.look(7 + bound, &[gate("a", 1)]), Ok(()));
        assert_eq!(judge.look(8 + bound, &[shut("a")]), Ok(()));
    }

    #[test]
    fn two_may_hold_a_seat_for_a_lease_under_epochs_of_their_own() {
        let mut judge = judge();
        let lease = nanos(Timers::default().lease());
        let both = [Gate { seen: 1, ..gate("a", 1) }, gate("b", 2)];
        assert_eq!(judge.look(0, &both), Ok(()));
        assert_eq!(judge.look(lease, &both), Ok(()));
        assert!(judge.look(lease + LONG, &both).is_err());
    }

    #[test]
    fn an_epoch_is_one_gateways() {
        let mut judge = judge();
        assert_eq!(judge.look(0, &[gate("a", 1), shut("b")]), Ok(()));
        assert_eq!(judge.look(LONG, &[gate("a", 1), shut("b")]), Ok(()));
        assert_eq!(judge.look(LONG + 1, &[shut("a"), gate("b", 1)]), Ok(()));
        assert!(judge.look(3 * LONG, &[shut("a"), gate("b", 1)]).is_err());
    }

    #[test]
    fn whoever_has_seen_a_later_epoch_stops_unless_it_yields() {
        let mut judge = judge();
        let yielding = Gate { state: State::Yielding, seen: 3, ..gate("a", 2) };
        let told = Gate { seen: 3, ..gate("a", 2) };
        for (now, one) in [(0, yielding), (LONG, yielding), (2 * LONG, told), (2 * LONG + 1, shut("a"))] {
            assert_eq!(judge.look(now, &[one, gate("b", 3)]), Ok(()), "{one:?}");
        }
        assert_eq!(judge.look(3 * LONG, &[told, gate("b", 3)]), Ok(()));
        assert!(judge.look(4 * LONG, &[told, gate("b", 3)]).is_err());
    }
}
