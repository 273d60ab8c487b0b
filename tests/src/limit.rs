//! Whether a limit lets through what it should, without a word about how fast the machine is.
//!
//! Refusing is proof: at that instant the policer's burst was used up. So between two refusals the limit's rate has passed, not more and not
//! less, whoever was kept waiting for a CPU in between, unless nothing was offered for longer than the burst lasts; and refusals that
//! follow each other sooner than that exclude it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

/// An instant is known well if it lies between two looks that are no further apart.
const WELL_KNOWN: Duration = Duration::from_millis(20);
/// How often the counters are looked at.
const INTERVAL: Duration = Duration::from_millis(2);
/// How long it may take until there is enough to judge.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes that may pass beyond the limit: a policer lets the packet through that crosses it.
const PACKET: f64 = 1500.0;

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Bytes a second.
    pub rate: f64,
    /// How long a burst lasts.
    pub burst: Duration,
}

/// One look at a limit's counters: they were read at some time between the two instants.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Before they were read.
    pub asked: Instant,
    /// When they had been read.
    pub answered: Instant,
    /// Bytes of packets that have passed.
    pub passed: u64,
    /// Packets that were refused.
    pub refused: u64,
}

impl Look {
    /// Reads, in a moment, what has passed and what was refused.
    pub fn soon(read: impl FnOnce() -> Result<(u64, u64)>) -> Result<Self> {
        std::thread::sleep(INTERVAL);
        let asked = Instant::now();
        let (passed, refused) = read()?;
        Ok(Self { asked, answered: Instant::now(), passed, refused })
    }

    fn passed_since(&self, other: &Self) -> f64 {
        self.passed.saturating_sub(other.passed) as f64
    }
}

/// Two looks between which a packet was refused.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    before: Look,
    after: Look,
}

impl Refusal {
    fn is_well_known(&self) -> bool {
        self.after.answered - self.before.asked <= WELL_KNOWN
    }

    /// It came after that one by at least and by at most this time.
    fn since(&self, earlier: &Self) -> [Duration; 2] {
        [
            self.before.asked.saturating_duration_since(earlier.after.answered),
            self.after.answered - earlier.before.asked,
        ]
    }
}

impl Limit {
    /// Fails if more has passed between two looks than the rate and a burst.
    pub fn allows(&self, first: &Look, last: &Look) -> Result<()> {
        let (time, passed) = (last.answered - first.asked, last.passed_since(first));
        let most = self.rate * (time + self.burst).as_secs_f64() + PACKET;
        ensure!(passed <= most, "{passed} bytes have passed in {time:?}, and at most {most:.0} may");
        Ok(())
    }

    /// Looks on while more is offered than may pass, until that has been so for this long; fails unless what passed is the rate within two
    /// percent, and never more than the rate and a burst.
    pub fn holds_for(&self, duration: Duration, mut look: impl FnMut() -> Result<Look>) -> Result<()> {
        let begin = look()?;
        let (mut last, mut refusals, mut idle) = (begin, None, Duration::ZERO);
        while last.answered - begin.asked < PATIENCE {
            let refusal = Refusal { before: last, after: look()? };
            last = refusal.after;
            self.allows(&begin, &last)?;
            if refusal.after.refused == refusal.before.refused {
                continue;
            }
            let Some((first, latest)) = refusals else {
                refusals = refusal.is_well_known().then_some((refusal, refusal));
                continue;
            };
            refusals = Some((first, refusal));
            idle += refusal.since(&latest)[1].saturating_sub(self.burst);
            let [least, most] = refusal.since(&first);
            let least = least.saturating_sub(idle);
            if least >= duration && refusal.is_well_known() {
                return self.passes(&first, &refusal, [least, most]);
            }
        }
        bail!("what was offered did not exceed the limit for {duration:?}: {refusals:?}, {idle:?} idle")
    }

    /// Fails unless the rate has passed within two percent from one refusal to another, whose distance is at least and at most this.
    fn passes(&self, first: &Refusal, last: &Refusal, distance: [Duration; 2]) -> Result<()> {
        let [least, most] = distance.map(|time| time.as_secs_f64() * self.rate);
        let surely = last.before.passed_since(&first.after);
        let possibly = last.after.passed_since(&first.before);
        ensure!(
            possibly + PACKET >= least * 0.98 && surely <= most * 1.02 + PACKET,
            "{surely} to {possibly} bytes have passed, and the limit is {least:.0} to {most:.0}"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { rate: 1_000_000.0, burst: Duration::from_millis(200) };

    /// Looks at what a policer would count: each step is a time in ms, the bytes that pass in it, and the packets that it refuses.
    fn judged(steps: impl IntoIterator<Item = (u64, u64, u64)>) -> Result<()> {
        let mut now = Instant::now();
        let (mut passed, mut refused) = (0, 0);
        let mut steps = steps.into_iter();
        LIMIT.holds_for(Duration::from_secs(2), || {
            let (time, bytes, packets) = steps.next().unwrap_or((100_000, 0, 0));
            now += Duration::from_millis(time);
            (passed, refused) = (passed + bytes, refused + packets);
            Ok(Look { asked: now, answered: now, passed, refused })
        })
    }

    #[test]
    fn the_rate_is_exact_and_three_percent_off_are_not() {
        judged((0..300).map(|_| (10, 10_000, 1))).expect("exact");
        judged((0..300).map(|_| (10, 9_850, 1))).expect("within two percent");
        for bytes in [9_600, 10_400] {
            judged((0..300).map(|_| (10, bytes, 1))).expect_err("three percent and more");
        }
    }

    #[test]
    fn whoever_waits_within_the_burst_gets_it_later() {
        // Nothing for 150 ms, then all of it at once.
        judged((0..300).map(|step| if step % 16 == 15 { (10, 160_000, 9) } else { (10, 0, 0) })).expect("exact");
    }

    #[test]
    fn time_beyond_the_burst_in_which_nothing_is_offered_does_not_count() {
        let steps = (0..400).map(|step| match step % 100 {
            50 => (600, 0, 0),
            51 => (10, 210_000, 1),
            _ => (10, 10_000, 1),
        });
        judged(steps).expect("exact");
        judged((0..400).map(|step| if step % 100 == 50 { (600, 0, 0) } else { (10, 9_000, 1) }))
            .expect_err("the rest is too little");
    }

    #[test]
    fn more_than_a_burst_at_once_is_noticed_at_once() {
        judged([(0, 0, 0), (10, 205_000, 0), (10, 30_000, 0)]).expect_err("beyond the burst");
    }

    #[test]
    fn what_never_exceeds_the_limit_proves_nothing() {
        judged((0..300).map(|_| (10, 5_000, 0))).expect_err("no refusal");
    }
}
