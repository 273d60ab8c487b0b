//! A gateway that holds a seat, and another one that it may take: only if both fit. It hands them over one at a time.

use crate::world::{gateway, name};
use seat::{
    Bound, Charter, CharterNumber, Electorate, ElectorateNumber, Epoch, Event, Grant, Hold, Incarnation, Input, Member,
    Memory, Moment, Output, SeatName, Share, Succession, Timers,
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Two seats that this gateway may take, and nobody else votes.
fn charter(shares: [u32; 2]) -> Charter {
    let succession = |(number, share)| {
        let grant = Grant { epoch: Epoch(number), to: name(0), incarnation: Incarnation(0) };
        Succession { bound: Bound::Leased, share: Share(share), grants: vec![grant], ..Succession::default() }
    };
    let seats = [("a", (1, shares[0])), ("b", (2, shares[1]))];
    let seats = seats.map(|(name, of)| (SeatName::from(name), succession(of))).into();
    Charter::new(CharterNumber(1), Electorate::of(ElectorateNumber(1), [name(0)]), seats).expect("a charter")
}

/// What it holds after it has listened for a lease.
fn held(member: &mut Member, now: Moment) -> Vec<String> {
    let mut out = Vec::new();
    member.step(Input::Timer, now, &mut out);
    let taken = |output: Output| match output {
        Output::Event { seat, event: Event::Taken { .. } } => Some(seat.to_string()),
        _ => None,
    };
    out.into_iter().filter_map(taken).collect()
}

fn started(charter: Charter) -> (Member, Moment) {
    let now = Moment(1_000_000_000_000);
    let mut member = Member::new(gateway(0), Incarnation(0), Timers::default(), Memory::Blank, now);
    member.step(Input::Charter(charter), now, &mut Vec::new());
    (member, now + Timers::default().lease() + SECOND)
}

#[test]
fn two_seats_that_fit_are_taken_both() {
    let (mut member, now) = started(charter([60, 40]));
    assert_eq!(held(&mut member, now), ["a", "b"]);
}

#[test]
fn a_seat_that_does_not_fit_beside_another_is_left_to_others() {
    let (mut member, now) = started(charter([60, 41]));
    assert_eq!(held(&mut member, now), ["a"]);
    assert!(held(&mut member, now + SECOND).is_empty(), "nor later");
    assert!(member.next_deadline().is_none_or(|due| due > now + SECOND), "and it does not wait for it busily");
    // It became less, or the gateway more.
    let smaller =
        Charter::new(CharterNumber(2), charter([60, 40]).electorate().clone(), charter([60, 40]).seats().clone());
    let mut out = Vec::new();
    member.step(Input::Charter(smaller.expect("a charter")), now + SECOND, &mut out);
    assert!(out.iter().any(|output| matches!(output, Output::Event { event: Event::Taken { .. }, .. })), "{out:?}");
}

#[test]
fn who_has_nothing_takes_a_seat_however_large() {
    let (mut member, now) = started(charter([250, 1]));
    assert_eq!(held(&mut member, now), ["a"]);
}

#[test]
fn seats_are_handed_over_one_at_a_time_and_one_that_nobody_takes_stops_no_other() {
    let (mut member, mut now) = started(charter([60, 40]));
    held(&mut member, now);
    let mut seats = charter([60, 40]).seats().clone();
    for (number, succession) in (3..).zip(seats.values_mut()) {
        succession.relief = Some(name(1));
        succession.grants.push(Grant { epoch: Epoch(number), to: name(1), incarnation: Incarnation(0) });
    }
    let voters = Electorate::of(ElectorateNumber(2), [name(0), name(1)]);
    let charter = Charter::new(CharterNumber(2), voters, seats).expect("a charter");
    let mut out = Vec::new();
    member.step(Input::Charter(charter), now, &mut out);
    let mut offered = Vec::new();
    let end = now + Timers::default().lease();
    while now < end {
        offered.extend(out.drain(..).filter_map(|output| match output {
            Output::Event { seat, event: Event::Yields { .. } } => Some(seat.to_string()),
            _ => None,
        }));
        let yielding = ["a", "b"].map(|seat| matches!(member.hold(&seat.into()).1, Hold::Yielding { .. }));
        assert_ne!(yielding, [true, true]);
        now = member.next_deadline().expect("it renews its leases").max(now);
        member.step(Input::Timer, now, &mut out);
    }
    assert_eq!(offered, ["a", "b"], "each once within a lease");
}
