//! Probes along one path, and whether they come back.

use crate::timers::Timers;
use gateway_common::moment::Moment;
use std::time::Duration;

/// What tells one probe from the others. It grows by one with each, from a start that nobody can guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub u64);

/// How long a path was silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gaps {
    /// The longest time between two answers.
    pub longest: Duration,
    /// The same, without the time in which the prober itself did not get to probe.
    pub longest_discounted: Duration,
}

/// Probes along one path.
///
/// What counts is how many probes *in a row* were sent, had a whole interval to come back, and did not. A prober that is late itself sends
/// fewer, so that its own stall is no sign of another's. Whoever drives it takes all answers that wait in before it asks for the next probe.
#[derive(Clone, Debug)]
pub struct Prober {
    interval: Duration,
    misses: u32,
    next: Nonce,
    due: Moment,
    /// Probes that were sent since the last one that came back.
    unanswered: u32,
    answered: Option<Nonce>,
    last_answer: Moment,
    /// How late this prober was since the last answer.
    late: Duration,
    gaps: Gaps,
}

impl Prober {
    /// A path of which nothing is known. `random` starts its nonces.
    pub const fn new(timers: &Timers, random: u64, now: Moment) -> Self {
        Self {
            interval: timers.probe(),
            misses: timers.misses(),
            next: Nonce(random),
            due: now,
            unanswered: 0,
            answered: None,
            last_answer: now,
            late: Duration::ZERO,
            gaps: Gaps { longest: Duration::ZERO, longest_discounted: Duration::ZERO },
        }
    }

    /// When the next probe is due.
    pub const fn due(&self) -> Moment {
        self.due
    }

    /// The next probe, if it is due.
    pub fn send(&mut self, now: Moment) -> Option<Nonce> {
        if now < self.due {
            return None;
        }
        self.late += now.since(self.due);
        self.due = now + self.interval;
        let nonce = self.next;
        self.next = Nonce(nonce.0.wrapping_add(1));
        self.unanswered = self.unanswered.saturating_add(1);
        Some(nonce)
    }

    /// A probe has come back. One that was never sent, or came back before, says nothing.
    pub fn came_back(&mut self, nonce: Nonce, now: Moment) {
        let age = self.next.0.wrapping_sub(nonce.0);
        let is_new = self.answered.is_none_or(|last| nonce.0.wrapping_sub(last.0).cast_signed() > 0);
        // Of long ago: it may have been held back by somebody to be shown now.
        if age == 0 || age > u64::from(self.unanswered) || !is_new {
            return;
        }
        let gap = now.since(self.last_answer);
        if self.answered.is_some() {
            self.gaps.longest = self.gaps.longest.max(gap);
            self.gaps.longest_discounted = self.gaps.longest_discounted.max(gap.saturating_sub(self.late));
        }
        self.answered = Some(nonce);
        self.last_answer = now;
        self.late = Duration::ZERO;
        // Those that were sent after it may still come.
        self.unanswered = u32::try_from(age - 1).unwrap_or(u32::MAX);
    }

    /// Whether the path carries probes; `None` before anything is known of it.
    pub fn is_alive(&self, now: Moment) -> Option<bool> {
        let lost = if now < self.due { self.unanswered.saturating_sub(1) } else { self.unanswered };
        if lost >= self.misses { Some(false) } else { self.answered.map(|_| true) }
    }

    /// Whether a probe ever came back. A path that never carried one may not be there yet, which is not the same as its end.
    pub const fn has_answered(&self) -> bool {
        self.answered.is_some()
    }

    /// When the last probe came back, or the prober began.
    pub const fn last_answer(&self) -> Moment {
        self.last_answer
    }

    /// How long the path was silent, at most.
    pub const fn gaps(&self) -> Gaps {
        self.gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn prober() -> (Prober, Moment) {
        let now = Moment(1_000_000_000);
        (Prober::new(&Timers::default(), u64::MAX, now), now)
    }

    #[test]
    fn three_probes_that_do_not_come_back_are_an_end_when_the_last_had_its_time() {
        let (mut prober, mut now) = prober();
        assert_eq!(prober.is_alive(now), None);
        let nonce = prober.send(now).unwrap();
        prober.came_back(nonce, now + MILLISECOND);
        for _ in 0..3 {
            now = prober.due();
            assert_eq!(prober.is_alive(now), Some(true));
            assert!(prober.send(now).is_some());
            assert_eq!(prober.send(now), None, "only when it is due");
            assert_eq!(prober.is_alive(now), Some(true));
        }
        assert_eq!(prober.is_alive(prober.due() - MILLISECOND), Some(true));
        assert_eq!(prober.is_alive(prober.due()), Some(false));
    }

    #[test]
    fn a_prober_that_stalls_takes_nobody_for_dead() {
        let (mut prober, now) = prober();
        let nonce = prober.send(now).unwrap();
        prober.came_back(nonce, now);
        let lost = prober.send(prober.due()).unwrap();
        let later = now + Duration::from_secs(9);
        assert_eq!(prober.is_alive(later), Some(true));
        let answered = prober.send(later).unwrap();
        assert!(answered > lost);
        prober.came_back(answered, later + MILLISECOND);
        let gaps = prober.gaps();
        assert_eq!(gaps.longest, Duration::from_millis(9001));
        assert_eq!(gaps.longest_discounted, Duration::from_millis(11), "what two probes take");
    }

    #[test]
    fn a_late_answer_revives_and_an_old_or_invented_one_does_not() {
        let (mut prober, _) = prober();
        let nonces: Vec<Nonce> = (0..5).map(|_| prober.send(prober.due()).unwrap()).collect();
        let now = prober.due();
        assert_eq!(prober.is_alive(now), Some(false));
        prober.came_back(Nonce(nonces[4].0.wrapping_add(1)), now);
        prober.came_back(Nonce(nonces[0].0.wrapping_sub(1)), now);
        assert_eq!(prober.is_alive(now), Some(false));
        prober.came_back(nonces[2], now);
        assert_eq!(prober.is_alive(now), Some(true));
        for nonce in &nonces[..3] {
            prober.came_back(*nonce, now + MILLISECOND);
        }
        assert_eq!(prober.last_answer(), now, "shown again");
    }
}
