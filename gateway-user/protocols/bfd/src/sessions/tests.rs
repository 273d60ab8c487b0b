//! Which session a packet is for, and who is due.

use super::*;
use crate::packet::{ControlPlane, Diagnostic, Mode, Packet, Sequence, State};
use crate::timers::Interval;
use std::num::NonZeroU8;

const NOW: Moment = Moment(1_000_000_000);

fn endpoint(place: u32, hops: Hops, peer: &str) -> Endpoint {
    Endpoint { place: Place(place), hops, local: "10.0.0.1".parse().unwrap(), peer: peer.parse().unwrap() }
}

fn single() -> Endpoint {
    endpoint(1, Hops::Single, "10.0.0.2")
}

/// Numbers from a list.
fn numbers(list: &[u32]) -> impl FnMut() -> u32 {
    let mut list = list.iter().copied();
    move || list.next().unwrap_or(1234)
}

struct Bench {
    sessions: Sessions,
    out: Vec<Output>,
}

impl Bench {
    fn new() -> Self {
        Self { sessions: Sessions::default(), out: Vec::new() }
    }

    fn add(&mut self, endpoint: Endpoint, wanted: Wanted, random: &[u32]) -> Discriminator {
        self.sessions.add(endpoint, wanted, NOW, &mut numbers(random), &mut self.out)
    }

    fn receive(
        &mut self,
        arrival: Arrival,
        state: State,
        yours: Option<Discriminator>,
    ) -> Result<Discriminator, Refusal> {
        let packet = Packet {
            diagnostic: Diagnostic::NONE,
            state,
            sequence: Sequence::Outside,
            control_plane: ControlPlane::Shared,
            mode: Mode::Asynchronous,
            multiplier: NonZeroU8::MIN,
            my_discriminator: Discriminator::new(77).unwrap(),
            your_discriminator: yours,
            desired_min_tx: Interval::SLOW,
            required_min_rx: Interval::SLOW,
            required_min_echo_rx: Interval::ZERO,
        };
        self.sessions.receive(&arrival, packet.encode().bytes(), NOW, 0, &mut self.out)
    }
}

fn from(endpoint: Endpoint) -> Arrival {
    Arrival { endpoint, interface: 5, ttl: 255 }
}

#[test]
fn discriminators_are_unique_and_never_zero() {
    let mut bench = Bench::new();
    let first = bench.add(single(), Wanted::default(), &[0, 0, 40, 1]);
    assert_eq!(first, Discriminator::new(40).unwrap());
    let second = bench.add(endpoint(2, Hops::Single, "10.0.0.2"), Wanted::default(), &[40, 40, 0, 41, 1]);
    assert_eq!(second, Discriminator::new(41).unwrap());
    assert_eq!(bench.add(single(), Wanted::default(), &[50]), first, "the same ends are the same session");
    assert_eq!(bench.sessions.len(), 2);
    bench.sessions.remove(first);
    assert_eq!(bench.sessions.at(&single()), None);
    assert_eq!(bench.add(single(), Wanted::default(), &[40, 1]), first);
}

#[test]
fn rfc_5881_5_a_packet_that_passed_a_router_is_refused() {
    let mut bench = Bench::new();
    let session = bench.add(single(), Wanted::default(), &[40, 1]);
    for ttl in [254, 1, 0] {
        let arrival = Arrival { ttl, ..from(single()) };
        assert_eq!(bench.receive(arrival, State::Down, None), Err(Refusal::Ttl(ttl)));
    }
    assert_eq!(bench.receive(from(single()), State::Down, None), Ok(session));
}

#[test]
fn rfc_5883_a_packet_over_several_hops_has_as_much_left_as_is_asked_for() {
    let mut bench = Bench::new();
    let far = endpoint(1, Hops::Multiple, "192.0.2.1");
    let session = bench.add(far, Wanted { minimum_ttl: 250, ..Wanted::default() }, &[40, 1]);
    assert_eq!(bench.receive(Arrival { ttl: 249, ..from(far) }, State::Down, None), Err(Refusal::Ttl(249)));
    assert_eq!(bench.receive(Arrival { ttl: 250, ..from(far) }, State::Down, None), Ok(session));
}

#[test]
fn without_our_discriminator_the_ends_decide_and_only_while_the_sender_is_down() {
    let mut bench = Bench::new();
    let session = bench.add(single(), Wanted::default(), &[40, 1]);
    assert_eq!(bench.receive(from(single()), State::AdminDown, None), Ok(session));
    assert_eq!(bench.receive(from(single()), State::Down, None), Ok(session));
    for state in [State::Init, State::Up] {
        assert!(matches!(bench.receive(from(single()), state, None), Err(Refusal::Malformed(_))));
    }
    let stranger = from(endpoint(1, Hops::Single, "10.0.0.3"));
    assert_eq!(bench.receive(stranger, State::Down, None), Err(Refusal::NoSession));
}

#[test]
fn a_guessed_discriminator_is_of_no_use_to_another_neighbour_network_or_port() {
    let mut bench = Bench::new();
    let session = bench.add(single(), Wanted::default(), &[40, 1]);
    bench.add(endpoint(2, Hops::Single, "10.0.0.2"), Wanted::default(), &[41, 1]);
    bench.receive(from(single()), State::Down, None).unwrap();
    for other in [
        endpoint(1, Hops::Single, "10.0.0.3"),
        endpoint(2, Hops::Single, "10.0.0.2"),
        endpoint(1, Hops::Multiple, "10.0.0.2"),
        Endpoint { local: "10.0.0.9".parse().unwrap(), ..single() },
    ] {
        assert_eq!(bench.receive(from(other), State::Down, Some(session)), Err(Refusal::NoSession));
    }
    assert_eq!(bench.sessions.status(session).unwrap().state, State::Init);
    assert_eq!(bench.receive(from(single()), State::Init, Some(session)), Ok(session));
}

#[test]
fn a_session_of_one_interface_hears_no_other() {
    let mut bench = Bench::new();
    let session = bench.add(single(), Wanted { interface: Some(5), ..Wanted::default() }, &[40, 1]);
    let arrival = Arrival { interface: 6, ..from(single()) };
    assert_eq!(bench.receive(arrival, State::Down, None), Err(Refusal::NoSession));
    assert_eq!(bench.receive(from(single()), State::Down, None), Ok(session));
}

#[test]
fn who_is_due_is_told_in_order_and_whether_something_should_be_read_first() {
    let mut bench = Bench::new();
    let one = bench.add(single(), Wanted::default(), &[40, 1]);
    let far = endpoint(1, Hops::Multiple, "192.0.2.1");
    let two = bench.add(far, Wanted::default(), &[41, 1]);
    for session in [one, two] {
        assert_eq!(bench.sessions.due(NOW), Some(Due::Send(session)));
        bench.sessions.elapse(session, NOW, 0, &mut bench.out);
    }
    assert_eq!(bench.sessions.due(NOW), None);
    bench.receive(from(single()), State::Init, Some(one)).unwrap();
    let second = NOW + Duration::from_secs(1);
    assert_eq!(bench.sessions.deadline(), Some(second), "a multiplier of 1 and a second");
    assert_eq!(bench.sessions.due(second), Some(Due::Expire(one)));
    bench.sessions.excuse(Duration::from_millis(100));
    assert_ne!(bench.sessions.due(second), Some(Due::Expire(one)));
    let farewell = bench.sessions.disable(one, second, 0, &mut bench.out);
    assert_eq!(farewell, Duration::from_secs(3));
    bench.sessions.remove(one);
    bench.sessions.remove(two);
    assert_eq!((bench.sessions.deadline(), bench.sessions.is_empty()), (None, true));
}
