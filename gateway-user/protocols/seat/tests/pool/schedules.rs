//! A pool under thousands of schedules of failures, each a function of its seed. Whatever happens, these have to hold:
//!
//! - no epoch is ever held by two gateways;
//! - two gateways forward for a seat for no longer than a lease;
//! - in the end, when everything is repaired, exactly one forwards: whom the controller wants, if it wants somebody.
//!
//! Mistakes are planted, one at a time: the simulator is good for something only if it finds them.

use crate::world::{DELAY, Fault, Pool, seat};
use seat::{Hold, Input, Opinion, Voter};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Enough for a few seconds of test time.
const SEEDS: u64 = 200;
/// Failures in a run.
const STEPS: usize = 40;
/// Enough to be offered all that was ever granted, once within each lease.
const WALK: Duration = Duration::from_secs(300);

/// Numbers that look random (SplitMix64).
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// Whether the controller wants one gateway or another to have the seat, whatever becomes of that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wishes {
    None,
    Any,
}

/// One run: what it found, if it found something.
fn run(seed: u64, wishes: Wishes, fault: Option<Fault>) -> Result<(), String> {
    let mut random = Random(seed);
    let gateways = 2 + random.below(4);
    let grants: Vec<usize> = (0..40).map(|number| (number + random.below(2)) % gateways).collect();
    let mut pool = Pool::new(gateways, &grants, fault);
    let mut fate = random.clone();
    let loses = random.one_in(2);
    pool.fate = Box::new(move || match fate.below(100) {
        0..5 if loses => None,
        // Now and then a message comes when everything it speaks of is over.
        5 => Some(Duration::from_millis(fate.below(10_000) as u64)),
        _ => Some(DELAY + Duration::from_micros(fate.below(3000) as u64)),
    });
    let voters: Vec<Voter> = pool.nodes.keys().cloned().collect();
    let mut wish = Random(!seed);
    for _ in 0..STEPS {
        if wishes == Wishes::Any && wish.one_in(6) {
            pool.relieve(wish.below(gateways));
        }
        let one = voters[random.below(voters.len())].clone();
        let other = voters[random.below(voters.len())].clone();
        match random.below(14) {
            // The holder and its successor lose sight of each other, and all others of the holder.
            12 => {
                if let Some((holder, _, _)) = pool.open().pop() {
                    pool.cut(&holder, &other);
                    for voter in &voters {
                        pool.sees(voter, &holder, Opinion::Gone);
                    }
                }
            }
            // A machine starts anew faster than others notice.
            13 => {
                pool.crash(&one);
                pass(&mut pool, Duration::from_millis(5))?;
                pool.start(&one);
            }
            0 | 1 => pool.crash(&one),
            2 => pool.kill_agent(&one),
            3 => pool.break_forwarding(&one),
            4..7 => pool.start(&one),
            7 => pool.cut(&one, &other),
            8 => pool.heal(),
            9 => pool.sees(&one, &other, if random.one_in(2) { Opinion::Gone } else { Opinion::Alive }),
            10 => pool.tell(&one, Input::HandOver { seat: seat(), to: None }),
            _ => pool.tell(&one, Input::Still(seat())),
        }
        let longest = if random.one_in(3) { 6_000 } else { 60 };
        pass(&mut pool, Duration::from_millis(random.below(longest) as u64))?;
    }
    repair(&mut pool)?;
    match pool.relief() {
        Some(wanted) if !pool.run_until(pool.now + WALK, |pool| pool.is_held_by(wanted)) => {
            Err(format!("in the end {:?} forward, and g{wanted} is wanted", pool.open()))
        }
        _ => Ok(()),
    }
}

/// Lets time pass, and looks at every moment in which something happens.
fn pass(pool: &mut Pool, duration: Duration) -> Result<(), String> {
    let mut found = Ok(());
    let end = pool.now + duration;
    pool.run_until(end, |pool| {
        found = pool.check();
        found.is_err()
    });
    found
}

/// Repairs everything: exactly one has to forward after that.
fn repair(pool: &mut Pool) -> Result<(), String> {
    pool.heal();
    pool.fate = Box::new(|| Some(DELAY));
    let voters: Vec<Voter> = pool.nodes.keys().cloned().collect();
    for voter in &voters {
        pool.mend(voter);
    }
    // A gateway may have used all that it was granted.
    for gateway in (0..voters.len()).chain(pool.relief()) {
        pool.grant(gateway);
    }
    pass(pool, Duration::from_secs(60))?;
    match &pool.open()[..] {
        [(_, _, Hold::Held(_))] => Ok(()),
        // It is on its way, or is offered in vain under what a former life was granted, until it is this life's turn.
        [_, ..] if pool.relief().is_some() => Ok(()),
        open => Err(format!("in the end {open:?} forward")),
    }
}

fn find(seeds: u64, wishes: Wishes, fault: Option<Fault>) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, wishes, fault)));
        match outcome {
            Ok(Ok(())) => None,
            Ok(Err(what)) => Some((seed, what)),
            Err(panic) => {
                let what = panic.downcast_ref::<String>().cloned();
                Some((seed, what.unwrap_or_else(|| "a panic".to_owned())))
            }
        }
    })
}

/// `SEAT_SEEDS` makes it as long as one likes.
fn seeds() -> u64 {
    std::env::var("SEAT_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS)
}

#[test]
fn whatever_happens_a_seat_has_one_holder() {
    for wishes in [Wishes::None, Wishes::Any] {
        assert_eq!(find(seeds(), wishes, None), None, "{wishes:?}");
    }
}

#[test]
fn gateways_that_go_on_when_their_lease_is_over_are_found() {
    assert!(find(SEEDS, Wishes::None, Some(Fault::SkipLease)).is_some());
}

#[test]
fn voters_that_forget_in_a_crash_what_they_said_are_found() {
    assert!(find(SEEDS, Wishes::None, Some(Fault::ForgetVote)).is_some());
}

#[test]
fn voters_that_do_not_keep_what_they_said_are_found() {
    assert!(find(SEEDS, Wishes::None, Some(Fault::LoseVote)).is_some());
}

#[test]
fn an_epoch_that_two_are_granted_is_found() {
    assert!(find(SEEDS, Wishes::None, Some(Fault::ReuseEpoch)).is_some());
}

#[test]
fn voters_that_say_yes_to_everybody_are_found() {
    assert!(find(SEEDS, Wishes::None, Some(Fault::VoteTwice)).is_some());
}
