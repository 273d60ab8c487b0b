//! A pool of members, and what can happen to it: each case by itself.

use crate::world::{Controller, DETECTION, Pool, gateway, name, seat};
use seat::{Answer, Epoch, Event, Hold, Input, Message, Opinion, Verdict, Voter};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// As the timers have it that nobody changed.
const LEASE: Duration = Duration::from_secs(4);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Three gateways; the first holds the seat, the others may take it in this order.
fn held() -> Pool {
    let mut pool = Pool::new(3, &[0, 1, 2, 0], None);
    assert!(pool.run_until(pool.now + LEASE + SECOND, |pool| pool.is_held_by(0)), "{:?}", pool.events);
    pool
}

fn held_by(pool: &mut Pool, number: usize, within: Duration) -> bool {
    pool.run_until(pool.now + within, |pool| pool.is_held_by(number))
}

#[test]
fn a_seat_that_nobody_has_is_taken_by_the_first_in_the_charter_when_everybody_has_listened_for_a_lease() {
    let mut pool = Pool::new(3, &[1, 0], None);
    pool.run_for(LEASE - MILLISECOND);
    assert_eq!(pool.open(), []);
    assert!(held_by(&mut pool, 1, 10 * MILLISECOND));
    pool.run_for(10 * LEASE);
    assert!(pool.is_held_by(1), "it is renewed for ever: {:?}", pool.events);
}

#[test]
fn a_dead_holders_seat_is_taken_one_round_after_two_see_it() {
    let mut pool = held();
    pool.crash(&gateway(0));
    assert!(held_by(&mut pool, 1, DETECTION + 3 * MILLISECOND), "{:?}", pool.events);
    pool.start(&gateway(0));
    pool.run_for(60 * SECOND);
    assert!(pool.is_held_by(1), "it comes back as a replica");
}

#[test]
fn a_forwarding_plane_that_died_alone_loses_the_seat_and_its_agent_learns_so_at_once() {
    let mut pool = held();
    pool.break_forwarding(&gateway(0));
    assert!(held_by(&mut pool, 1, DETECTION + 3 * MILLISECOND));
    pool.run_for(2 * MILLISECOND);
    let (_, hold) = pool.nodes[&gateway(0)].gates[&seat()];
    assert_eq!(hold, Hold::Replica);
}

#[test]
fn one_observer_decides_nothing() {
    let mut pool = held();
    pool.sees(&gateway(1), &gateway(0), Opinion::Gone);
    pool.run_for(60 * SECOND);
    assert!(pool.is_held_by(0), "{:?}", pool.events);
    pool.sees(&gateway(1), &gateway(0), Opinion::Alive);
    pool.run_for(SECOND);
    assert!(pool.events.iter().any(|(_, _, _, event)| matches!(event, Event::BidEnded(_))));
}

#[test]
fn the_second_successor_takes_over_from_the_first_that_dies_on_the_way() {
    let mut pool = held();
    pool.crash(&gateway(0));
    pool.crash(&gateway(1));
    pool.run_for(60 * SECOND);
    assert_eq!(pool.open(), [], "one of three is no majority");
    pool.start(&gateway(0));
    assert!(held_by(&mut pool, 2, 2 * LEASE), "{:?}", pool.events);
}

#[test]
fn without_controllers_a_pair_has_no_majority_but_with_them_it_has() {
    for has_controllers in [false, true] {
        let mut pool = Pool::new(2, &[0, 1], None);
        assert!(pool.run_until(pool.now + 2 * LEASE, |pool| pool.is_held_by(0)));
        if !has_controllers {
            pool.crash(&Voter::Controllers);
        }
        pool.crash(&gateway(0));
        assert_eq!(held_by(&mut pool, 1, 60 * SECOND), has_controllers);
    }
}

#[test]
fn a_seat_moves_while_all_controllers_are_away() {
    let mut pool = held();
    assert!(!pool.nodes.contains_key(&Voter::Controllers), "three gateways decide alone");
    pool.controller = Controller::Silent;
    for (number, next) in [(0, 1), (1, 2)] {
        pool.crash(&gateway(number));
        assert!(held_by(&mut pool, next, 2 * LEASE), "{:?}", pool.events);
        pool.start(&gateway(number));
        pool.run_for(2 * LEASE);
    }
}

#[test]
fn a_holder_that_is_cut_off_stops_before_its_lease_is_over() {
    let mut pool = held();
    for other in [1, 2] {
        pool.cut(&gateway(0), &gateway(other));
    }
    let start = pool.now;
    pool.sees(&gateway(1), &gateway(0), Opinion::Gone);
    pool.sees(&gateway(2), &gateway(0), Opinion::Gone);
    assert!(pool.run_until(start + SECOND, |pool| pool.open().len() == 2), "its successor does not wait");
    assert!(held_by(&mut pool, 1, LEASE), "{:?}", pool.events);
    assert!(pool.now <= start + LEASE);
    pool.heal();
    pool.run_for(60 * SECOND);
    assert!(pool.is_held_by(1));
}

#[test]
fn a_holder_hands_over_to_whom_the_charter_wants_and_tries_again_until_that_one_can() {
    let mut pool = held();
    pool.crash(&gateway(2));
    pool.relieve(2);
    pool.run_for(LEASE + SECOND);
    assert!(pool.is_held_by(0), "{:?}", pool.events);
    let offers = |pool: &Pool| pool.events.iter().filter(|(.., event)| matches!(event, Event::Yields { .. })).count();
    assert!((1..=2).contains(&offers(&pool)), "now and then: {:?}", pool.events);
    pool.start(&gateway(2));
    // It is in another life, and granted anew.
    assert!(
        pool.run_until(pool.now + 3 * LEASE, |pool| {
            assert!(!pool.open().is_empty(), "somebody forwards at every moment");
            pool.is_held_by(2)
        }),
        "{:?}",
        pool.events
    );
    let before = offers(&pool);
    pool.run_for(3 * LEASE);
    assert_eq!(offers(&pool), before, "who is wanted has it");
}

#[test]
fn an_agent_that_is_started_anew_within_its_lease_goes_on() {
    let mut pool = held();
    for number in [0, 1, 2] {
        pool.kill_agent(&gateway(number));
        pool.run_for(pool.timers.restart());
        assert!(pool.is_held_by(0), "its machine forwards");
        pool.start(&gateway(number));
        pool.run_for(2 * LEASE);
        assert!(pool.is_held_by(0), "{:?}", pool.events);
    }
    assert_eq!(pool.taken.len(), 1, "under the epoch that it had");
}

#[test]
fn a_seat_that_is_handed_over_is_open_at_every_moment() {
    let mut pool = held();
    pool.tell(&gateway(0), Input::HandOver { seat: seat(), to: Some(name(2)) });
    let is_shut = |pool: &Pool| pool.open().is_empty();
    assert!(!pool.run_until(pool.now + 10 * MILLISECOND, is_shut));
    let open: Vec<_> =
        pool.open().into_iter().map(|(voter, _, hold)| (voter, matches!(hold, Hold::Yielding { .. }))).collect();
    assert_eq!(open, [(gateway(0), true), (gateway(2), false)], "{:?}", pool.events);
    pool.tell(&gateway(0), Input::Still(seat()));
    assert!(pool.is_held_by(2));
    assert!(!pool.run_until(pool.now + 60 * SECOND, is_shut));
    assert!(pool.is_held_by(2));
}

#[test]
fn a_hand_over_to_one_who_does_not_come_leaves_the_seat_where_it_was() {
    let mut pool = held();
    pool.kill_agent(&gateway(1));
    pool.tell(&gateway(0), Input::HandOver { seat: seat(), to: Some(name(1)) });
    assert!(!pool.run_until(pool.now + 60 * SECOND, |pool| !pool.is_held_by(0)), "{:?}", pool.events);
    assert!(pool.events.iter().any(|(_, _, _, event)| matches!(event, Event::YieldFailed(_))));
    pool.tell(&gateway(0), Input::HandOver { seat: seat(), to: Some("stranger".into()) });
    assert!(matches!(pool.events.last(), Some((_, _, _, Event::NoSuccessor))));
    pool.tell(&gateway(2), Input::HandOver { seat: seat(), to: None });
    assert!(matches!(pool.events.last(), Some((_, _, _, Event::NotHeld))));
}

#[test]
fn a_packet_with_a_higher_epoch_stops_a_holder_at_once() {
    let mut pool = held();
    let (epoch, _) = pool.nodes[&gateway(0)].gates[&seat()];
    pool.tell(&gateway(0), Input::HigherEpoch { seat: seat(), epoch });
    assert!(pool.is_held_by(0), "its own");
    pool.tell(&gateway(0), Input::HigherEpoch { seat: seat(), epoch: seat::Epoch(epoch.0 + 1) });
    assert_eq!(pool.open(), []);
}

#[test]
fn who_was_stopped_by_a_packet_knows_whose_death_to_look_out_for() {
    let mut pool = Pool::new(3, &[0, 1, 0], None);
    assert!(pool.run_until(pool.now + LEASE + SECOND, |pool| pool.is_held_by(0)));
    for other in [1, 2] {
        pool.cut(&gateway(0), &gateway(other));
        pool.sees(&gateway(other), &gateway(0), Opinion::Gone);
    }
    assert!(pool.run_until(pool.now + SECOND, |pool| pool.open().len() == 2), "{:?}", pool.events);
    let epoch = pool.nodes[&gateway(1)].gates[&seat()].0;
    pool.tell(&gateway(0), Input::HigherEpoch { seat: seat(), epoch });
    // Before it says anything to the one that was away.
    pool.crash(&gateway(1));
    pool.heal();
    assert!(held_by(&mut pool, 0, DETECTION + 3 * MILLISECOND), "{:?}", pool.events);
}

#[test]
fn who_is_refused_for_what_it_was_promised_itself_asks_for_that_again() {
    let mut pool = Pool::new(3, &[0, 0], None);
    for other in [1, 2] {
        pool.cut(&gateway(0), &gateway(other));
    }
    pool.run_for(LEASE + SECOND);
    let answer = Answer { seat: seat(), epoch: Epoch(1), asked: pool.now, verdict: Verdict::Superseded(Epoch(2)) };
    pool.tell(&gateway(0), Input::Message { from: gateway(1), message: Message::Answer(answer) });
    pool.heal();
    assert!(held_by(&mut pool, 0, SECOND), "{:?}", pool.events);
}

#[test]
fn what_was_promised_in_vain_is_what_a_holder_offers() {
    let mut pool = held();
    pool.sees(&gateway(1), &gateway(0), Opinion::Gone);
    pool.run_for(SECOND);
    pool.sees(&gateway(1), &gateway(0), Opinion::Alive);
    pool.run_for(SECOND);
    assert!(pool.is_held_by(0), "{:?}", pool.events);
    pool.tell(&gateway(0), Input::HandOver { seat: seat(), to: Some(name(1)) });
    let end = pool.now + 10 * MILLISECOND;
    assert!(
        pool.run_until(end, |pool| pool.open().iter().any(|(voter, ..)| *voter == gateway(1))),
        "{:?}",
        pool.events
    );
}

#[test]
fn who_bid_under_an_epoch_that_was_taken_back_bids_under_the_next_that_it_is_granted() {
    let mut pool = Pool::new(3, &[1, 0, 0], None);
    pool.controller = Controller::Silent;
    // The others have begun later and abstain, so that the first to bid gets no majority in time.
    pool.run_for(LEASE - SECOND);
    for late in [1, 2] {
        pool.crash(&gateway(late));
        pool.start(&gateway(late));
    }
    let bids = |pool: &Pool| {
        pool.events.iter().any(|(_, voter, _, event)| *voter == gateway(0) && matches!(event, Event::Bids(Epoch(2))))
    };
    assert!(pool.run_until(pool.now + 2 * SECOND, bids), "{:?}", pool.events);
    pool.withdraw(Epoch(2));
    pool.run_for(2 * LEASE);
    assert!(pool.is_held_by(0), "{:?}", pool.events);
    assert_eq!(pool.open()[0].1, Epoch(3));
}
