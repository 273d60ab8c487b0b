//! One rule of RFC 5880 a test, then two sessions over a bad line.

use super::*;
use proptest::prelude::*;
use std::num::NonZeroU8;

const MILLISECOND: Duration = Duration::from_millis(1);
const START: Moment = Moment(1_000_000_000_000);

fn id(number: u32) -> Discriminator {
    Discriminator::new(number).unwrap()
}

fn timers(tx: u32, rx: u32, multiplier: u8) -> Timers {
    Timers::new(Interval::from_millis(tx), Interval::from_millis(rx), multiplier).unwrap()
}

fn settings(tx: u32, rx: u32, multiplier: u8) -> Settings {
    Settings { timers: timers(tx, rx, multiplier), ..Settings::default() }
}

fn after(milliseconds: u64) -> Moment {
    START + Duration::from_millis(milliseconds)
}

/// A session of ours, and what it wanted done since last asked.
struct Bench {
    session: Session,
    out: Vec<Output>,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        Self { session: Session::new(id(7), settings, START, 0), out: Vec::new() }
    }

    /// Up with a neighbour of 300 ms and multiplier 3.
    fn up(settings: Settings) -> Self {
        let mut bench = Self::new(settings);
        bench.elapse(START);
        for state in [State::Down, State::Init] {
            bench.hear(Packet { state, ..from_neighbour() }, START);
        }
        assert_eq!(bench.session.state(), State::Up);
        // It has heard our poll, if there was one.
        bench.hear(Packet { sequence: Sequence::Final, ..from_neighbour() }, START);
        bench.hear(from_neighbour(), START);
        bench.out.clear();
        bench
    }

    fn hear(&mut self, packet: Packet, now: Moment) {
        let encoded = packet.encode();
        let received = Received::decode(encoded.bytes()).unwrap();
        let _ = self.session.receive(&received, now, 0, &mut self.out);
    }

    fn elapse(&mut self, now: Moment) {
        self.session.elapse(now, 0, &mut self.out);
    }

    /// What was sent since last asked.
    fn sent(&mut self) -> Vec<Packet> {
        let packets = self.out.drain(..).filter_map(|output| match output {
            Output::Send(encoded) => Some(Received::decode(encoded.bytes()).unwrap().packet),
            Output::Changed => None,
        });
        packets.collect()
    }

    fn only_packet(&mut self) -> Packet {
        let [packet] = &self.sent()[..] else { panic!("not one packet") };
        packet.clone()
    }

    fn due_after(&self) -> u128 {
        self.session.deadline().unwrap().since(START).as_millis()
    }
}

/// Up, 300 ms, three times, knows us.
fn from_neighbour() -> Packet {
    Packet {
        diagnostic: Diagnostic::NONE,
        state: State::Up,
        sequence: Sequence::Outside,
        control_plane: ControlPlane::Independent,
        mode: Mode::Asynchronous,
        multiplier: NonZeroU8::new(3).unwrap(),
        my_discriminator: id(9),
        your_discriminator: Some(id(7)),
        desired_min_tx: Interval::from_millis(300),
        required_min_rx: Interval::from_millis(300),
        required_min_echo_rx: Interval::ZERO,
    }
}

#[test]
fn rfc_5880_6_8_17_a_session_is_down_while_nothing_is_forwarded_and_says_so_at_once() {
    let mut bench = Bench::up(settings(300, 300, 3));
    bench.session.set_forwarding(Forwarding::Broken, START, 0, &mut bench.out);
    let told = bench.only_packet();
    assert_eq!((told.state, told.diagnostic), (State::Down, Diagnostic::FORWARDING_PLANE_RESET));
    assert_eq!(told.control_plane, ControlPlane::Independent);
    for state in [State::Down, State::Init, State::Up] {
        bench.hear(Packet { state, ..from_neighbour() }, after(100));
        assert_eq!(bench.session.state(), State::Down, "whatever the neighbour says");
    }
    assert_eq!(bench.session.status().failure, None, "that is no failure of the neighbour's");
    bench.session.set_forwarding(Forwarding::Works, after(200), 0, &mut bench.out);
    for state in [State::Down, State::Init] {
        bench.hear(Packet { state, ..from_neighbour() }, after(300));
    }
    assert_eq!(bench.session.state(), State::Up);
}

#[test]
fn rfc_5880_6_8_6_every_state_follows_every_state_that_is_heard() {
    use State::{AdminDown, Down, Init, Up};
    let cases = [
        (Down, AdminDown, Down),
        (Down, Down, Init),
        (Down, Init, Up),
        (Down, Up, Down),
        (Init, AdminDown, Down),
        (Init, Down, Init),
        (Init, Init, Up),
        (Init, Up, Up),
        (Up, AdminDown, Down),
        (Up, Down, Down),
        (Up, Init, Up),
        (Up, Up, Up),
        (AdminDown, AdminDown, AdminDown),
        (AdminDown, Down, AdminDown),
        (AdminDown, Init, AdminDown),
        (AdminDown, Up, AdminDown),
    ];
    for (own, heard, expected) in cases {
        let mut bench = Bench::new(settings(300, 300, 3));
        match own {
            Down => {}
            Init => bench.hear(Packet { state: Down, ..from_neighbour() }, START),
            Up => bench.hear(Packet { state: Init, ..from_neighbour() }, START),
            AdminDown => bench.session.disable(START, 0, &mut bench.out),
        }
        assert_eq!(bench.session.state(), own);
        bench.hear(Packet { state: heard, ..from_neighbour() }, START);
        assert_eq!(bench.session.state(), expected, "{own} hears {heard}");
    }
}

#[test]
fn a_session_that_is_not_up_sends_no_faster_than_once_a_second_and_says_so() {
    let mut bench = Bench::new(settings(50, 50, 3));
    bench.elapse(START);
    let packet = bench.only_packet();
    assert_eq!((packet.state, packet.desired_min_tx), (State::Down, Interval::SLOW));
    assert_eq!((packet.required_min_rx, packet.your_discriminator), (Interval::from_millis(50), None));
    assert_eq!(packet.control_plane, ControlPlane::Independent);
    assert_eq!(packet.required_min_echo_rx, Interval::ZERO);
    assert_eq!(bench.due_after(), 1000);
    // Nor does one that waits for an answer.
    bench.hear(Packet { state: State::Down, desired_min_tx: Interval::SLOW, ..from_neighbour() }, START);
    assert_eq!(bench.session.state(), State::Init);
    assert_eq!(bench.only_packet().desired_min_tx, Interval::SLOW);
    assert_eq!(bench.due_after(), 1000);
}

#[test]
fn our_interval_is_the_slower_of_what_we_wish_and_what_the_neighbour_takes() {
    for (ours, theirs, expected) in [(300, 300, 300), (300, 700, 700), (300, 50, 300), (300, 2000, 2000)] {
        let mut bench = Bench::up(settings(ours, 300, 3));
        bench.hear(Packet { required_min_rx: Interval::from_millis(theirs), ..from_neighbour() }, START);
        assert_eq!(bench.session.transmit_interval(), Interval::from_millis(expected));
    }
}

#[test]
fn jitter_shortens_an_interval_by_up_to_a_quarter() {
    for (random, expected) in [(0, 300), (u32::MAX, 225)] {
        let mut bench = Bench::up(settings(300, 300, 3));
        let due = bench.session.deadline().unwrap();
        bench.session.elapse(due, random, &mut bench.out);
        assert_eq!(bench.session.deadline().unwrap().since(due).as_millis(), expected);
    }
}

#[test]
fn the_detection_time_is_the_neighbours_multiplier_and_the_slower_of_its_pace_and_ours() {
    for (required, desired, multiplier, expected) in
        [(300, 300, 3, 900), (300, 500, 3, 1500), (400, 50, 5, 2000), (300, 300, 1, 300)]
    {
        // Our own multiplier and our own pace have no part in it.
        let mut bench = Bench::up(settings(1000, required, 50));
        let packet = Packet {
            desired_min_tx: Interval::from_millis(desired),
            multiplier: NonZeroU8::new(multiplier).unwrap(),
            ..from_neighbour()
        };
        bench.hear(packet, START);
        assert!(!bench.session.expires(after(expected) - MILLISECOND));
        assert!(bench.session.expires(after(expected)));
    }
}

#[test]
fn silence_brings_the_session_down_and_makes_the_neighbours_discriminator_unknown() {
    let mut bench = Bench::up(settings(300, 300, 3));
    bench.elapse(after(899));
    bench.out.clear();
    assert_eq!(bench.session.state(), State::Up);
    bench.elapse(after(900));
    let status = bench.session.status();
    assert_eq!((status.state, status.diagnostic), (State::Down, Diagnostic::DETECTION_TIME_EXPIRED));
    let failure = Failure { cause: Cause::Silence, control_plane: ControlPlane::Independent };
    assert_eq!(status.failure, Some(failure));
    let packet = bench.only_packet();
    assert_eq!(packet.your_discriminator, None, "RFC 5880, 6.8.1: bfd.RemoteDiscr must be zero");
    assert_eq!((packet.state, packet.desired_min_tx), (State::Down, Interval::SLOW));
    assert_eq!(status.detection_time, Some(900_000));
    assert!(!bench.session.expires(after(1_000_000)), "once is enough");
}

#[test]
fn a_neighbour_that_falls_silent_before_the_session_is_up_is_forgotten_too() {
    for state in [State::Down, State::AdminDown] {
        let mut bench = Bench::new(settings(300, 300, 3));
        // After AdminDown it stays Down, after Down it is Init: both forget.
        bench.hear(Packet { state, required_min_rx: Interval::ZERO, ..from_neighbour() }, START);
        assert_eq!(bench.sent(), [], "it wants nothing");
        bench.elapse(after(900));
        let packet = bench.sent().pop().expect("it may want something after its restart");
        assert_eq!((packet.state, packet.your_discriminator), (State::Down, None));
        assert_eq!(bench.session.status().failure, None, "it was never up");
    }
}

#[test]
fn a_neighbour_that_requires_zero_is_sent_nothing_but_answers() {
    let mut bench = Bench::up(settings(300, 300, 3));
    let silent = Packet { required_min_rx: Interval::ZERO, ..from_neighbour() };
    bench.hear(silent.clone(), START);
    assert_eq!(bench.due_after(), 900, "only its own silence is awaited");
    bench.elapse(after(800));
    assert_eq!(bench.sent(), []);
    bench.hear(Packet { sequence: Sequence::Poll, ..silent }, after(800));
    assert_eq!(bench.only_packet().sequence, Sequence::Final);
    bench.hear(from_neighbour(), after(850));
    bench.elapse(after(1200));
    assert_eq!(bench.only_packet().state, State::Up, "it wants packets again");
}

#[test]
fn a_change_of_state_is_told_at_once() {
    let mut bench = Bench::new(settings(300, 300, 3));
    bench.elapse(START);
    bench.out.clear();
    bench.hear(Packet { state: State::Down, your_discriminator: None, ..from_neighbour() }, after(10));
    let packet = bench.only_packet();
    assert_eq!((packet.state, packet.your_discriminator), (State::Init, Some(id(9))));
    bench.hear(Packet { state: State::Init, ..from_neighbour() }, after(20));
    assert_eq!(bench.only_packet().state, State::Up);
    bench.hear(Packet { state: State::Down, ..from_neighbour() }, after(30));
    let packet = bench.only_packet();
    assert_eq!((packet.state, packet.diagnostic), (State::Down, Diagnostic::NEIGHBOR_SIGNALED_DOWN));
}

#[test]
fn the_faster_pace_of_a_session_that_comes_up_is_told_by_a_poll_until_it_is_answered() {
    let mut bench = Bench::new(settings(300, 300, 3));
    bench.elapse(START);
    bench.hear(Packet { state: State::Down, ..from_neighbour() }, START);
    bench.out.clear();
    bench.hear(Packet { state: State::Init, ..from_neighbour() }, START);
    let packet = bench.only_packet();
    assert_eq!((packet.sequence, packet.desired_min_tx), (Sequence::Poll, Interval::from_millis(300)));
    bench.elapse(after(300));
    assert_eq!(bench.only_packet().sequence, Sequence::Poll, "faster takes effect at once");
    bench.hear(Packet { sequence: Sequence::Final, ..from_neighbour() }, after(310));
    bench.elapse(after(600));
    assert_eq!(bench.only_packet().sequence, Sequence::Outside);
}

#[test]
fn a_poll_is_answered_at_once_and_an_answer_is_no_poll() {
    let mut bench = Bench::up(settings(300, 300, 3));
    // Even while we ask ourselves.
    bench.session.set(settings(500, 300, 3), START, 0, &mut bench.out);
    bench.out.clear();
    bench.hear(Packet { sequence: Sequence::Poll, ..from_neighbour() }, after(1));
    assert_eq!(bench.only_packet().sequence, Sequence::Final);
}

#[test]
fn a_slower_pace_takes_effect_only_when_the_neighbour_knows() {
    let mut bench = Bench::up(settings(300, 300, 3));
    bench.session.set(settings(1000, 300, 3), START, 0, &mut bench.out);
    let packet = bench.only_packet();
    assert_eq!((packet.sequence, packet.desired_min_tx), (Sequence::Poll, Interval::from_millis(1000)));
    assert_eq!(bench.session.transmit_interval(), Interval::from_millis(300));
    bench.hear(Packet { sequence: Sequence::Final, ..from_neighbour() }, after(5));
    assert_eq!(bench.session.transmit_interval(), Interval::from_millis(1000));
}

#[test]
fn a_shorter_silence_is_an_end_only_when_the_neighbour_knows() {
    let mut bench = Bench::up(settings(300, 1000, 3));
    bench.session.set(settings(300, 300, 3), START, 0, &mut bench.out);
    let packet = bench.only_packet();
    assert_eq!((packet.sequence, packet.required_min_rx), (Sequence::Poll, Interval::from_millis(300)));
    bench.hear(from_neighbour(), START);
    assert!(!bench.session.expires(after(2999)));
    bench.hear(Packet { sequence: Sequence::Final, ..from_neighbour() }, START);
    assert!(bench.session.expires(after(900)));
    // A longer one takes effect at once.
    let mut bench = Bench::up(settings(300, 300, 3));
    bench.session.set(settings(300, 1000, 3), START, 0, &mut bench.out);
    assert!(!bench.session.expires(after(2999)));
}

#[test]
fn changes_during_a_poll_wait_for_a_poll_of_their_own() {
    let mut bench = Bench::up(settings(300, 300, 3));
    bench.session.set(settings(500, 300, 3), START, 0, &mut bench.out);
    bench.out.clear();
    bench.session.set(settings(700, 300, 3), START, 0, &mut bench.out);
    assert_eq!(bench.sent(), [], "an answer could not be told from one to the first");
    bench.hear(Packet { sequence: Sequence::Final, ..from_neighbour() }, after(1));
    assert_eq!(bench.sent(), [], "another answer to the first may be on its way");
    bench.hear(Packet { sequence: Sequence::Final, ..from_neighbour() }, after(2));
    assert_eq!(bench.sent(), []);
    bench.hear(from_neighbour(), after(3));
    let packet = bench.only_packet();
    assert_eq!((packet.sequence, packet.desired_min_tx), (Sequence::Poll, Interval::from_millis(700)));
    assert_eq!(bench.session.transmit_interval(), Interval::from_millis(500));
}

#[test]
fn demand_mode_stops_periodic_packets_once_both_are_up_but_not_polls() {
    let mut bench = Bench::up(settings(300, 300, 3));
    let demand = Packet { mode: Mode::Demand, ..from_neighbour() };
    bench.hear(demand.clone(), START);
    assert_eq!(bench.due_after(), 900, "only its own silence is awaited");
    bench.hear(Packet { sequence: Sequence::Poll, ..demand.clone() }, after(10));
    assert_eq!(bench.only_packet().sequence, Sequence::Final);
    bench.session.set(settings(500, 300, 3), after(20), 0, &mut bench.out);
    assert_eq!(bench.only_packet().sequence, Sequence::Poll);
    bench.elapse(after(400));
    assert_eq!(bench.only_packet().sequence, Sequence::Poll, "until it is answered");
    bench.hear(Packet { sequence: Sequence::Final, ..demand.clone() }, after(410));
    bench.elapse(after(1200));
    assert_eq!(bench.sent(), []);
    // Its own silence counts as ever: we did not ask it for demand mode.
    bench.elapse(after(1310));
    assert_eq!(bench.session.state(), State::Down);
    // Demand means nothing before both are up.
    let mut bench = Bench::new(settings(300, 300, 3));
    bench.hear(Packet { state: State::Down, ..demand }, START);
    assert_eq!(bench.due_after(), 900);
    bench.out.clear();
    bench.elapse(after(900));
    assert!(!bench.sent().is_empty());
}

#[test]
fn a_passive_session_waits_to_be_spoken_to() {
    let mut bench = Bench::new(Settings { role: Role::Passive, ..settings(300, 300, 3) });
    assert_eq!(bench.session.deadline(), None);
    bench.elapse(after(5000));
    assert_eq!(bench.sent(), []);
    bench.hear(Packet { state: State::Down, your_discriminator: None, ..from_neighbour() }, after(5000));
    assert_eq!(bench.only_packet().state, State::Init);
    bench.elapse(after(5900));
    assert_eq!(bench.sent(), [], "and is silent again when the neighbour is");
    assert_eq!(bench.session.deadline(), None);
}

#[test]
fn a_session_that_somebody_switches_off_is_no_failure_at_either_end() {
    let mut bench = Bench::up(settings(300, 300, 3));
    bench.session.disable(START, 0, &mut bench.out);
    let packet = bench.only_packet();
    assert_eq!((packet.state, packet.diagnostic), (State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN));
    assert_eq!(bench.session.status().failure, None);
    assert_eq!(bench.session.farewell(), Duration::from_secs(3));
    bench.elapse(after(1000));
    assert_eq!(bench.sent().last().map(|packet| packet.state), Some(State::AdminDown), "it goes on being told");
    let mut other = Bench::up(settings(300, 300, 3));
    other.hear(Packet { state: State::AdminDown, ..from_neighbour() }, START);
    let status = other.session.status();
    assert_eq!((status.state, status.diagnostic), (State::Down, Diagnostic::NEIGHBOR_SIGNALED_DOWN));
    assert_eq!(status.failure, None);
}

#[test]
fn a_failure_is_told_until_the_session_is_up_or_known_to_be_off() {
    for last in [State::Init, State::AdminDown] {
        let mut bench = Bench::up(settings(300, 300, 3));
        bench.hear(Packet { state: State::Down, ..from_neighbour() }, START);
        let failure = Failure { cause: Cause::Signaled, control_plane: ControlPlane::Independent };
        assert_eq!(bench.session.status().failure, Some(failure));
        bench.out.clear();
        bench.hear(Packet { state: last, ..from_neighbour() }, START);
        assert_eq!(bench.session.status().failure, None);
        assert!(bench.out.contains(&Output::Changed));
    }
}

#[test]
fn the_neighbours_c_bit_is_part_of_a_failure() {
    let mut bench = Bench::up(settings(300, 300, 3));
    bench.hear(Packet { control_plane: ControlPlane::Shared, ..from_neighbour() }, START);
    bench.elapse(after(900));
    let failure = Failure { cause: Cause::Silence, control_plane: ControlPlane::Shared };
    assert_eq!(bench.session.status().failure, Some(failure));
}

#[test]
fn time_in_which_we_did_not_run_is_not_the_neighbours_silence_but_not_for_ever() {
    let mut bench = Bench::up(settings(300, 300, 3));
    bench.session.excuse(Duration::from_millis(500));
    assert!(!bench.session.expires(after(1399)));
    assert!(bench.session.expires(after(1400)));
    bench.session.excuse(Duration::from_millis(89));
    assert!(bench.session.expires(after(1400)), "too short to matter");
    // A machine may stand still for long.
    bench.session.excuse(Duration::from_secs(60));
    assert!(!bench.session.expires(after(61_399)));
    assert!(bench.session.expires(after(61_400)));
    // However slow it is, a real failure is found.
    for _ in 0..100 {
        bench.session.excuse(Duration::from_millis(100));
    }
    assert!(bench.session.expires(after(62_200)));
    bench.hear(from_neighbour(), START);
    assert!(bench.session.expires(after(900)), "what is heard begins anew");
}

#[test]
fn a_discriminator_that_is_not_ours_is_refused() {
    let mut bench = Bench::up(settings(300, 300, 3));
    let encoded = Packet { your_discriminator: Some(id(8)), ..from_neighbour() }.encode();
    let received = Received::decode(encoded.bytes()).unwrap();
    let refused = bench.session.receive(&received, after(800), 0, &mut bench.out);
    assert_eq!(refused, Err(Refusal::NoSession));
    assert!(bench.session.expires(after(900)), "it does not count as a sign of life");
}

#[test]
fn with_a_key_only_those_are_believed_who_have_it() {
    let key = |secret: &[u8]| Key::new(1, crate::Strength::MeticulousSha1, secret).unwrap();
    let with = |secret: Option<&[u8]>| Settings { key: secret.map(key), ..settings(300, 300, 3) };
    let offer = |from: Option<&[u8]>, to: Option<&[u8]>| {
        let mut sender = Session::new(id(9), with(from), START, 5);
        let mut out = Vec::new();
        sender.elapse(START, 0, &mut out);
        let Some(Output::Send(encoded)) = out.pop() else { panic!("nothing was sent") };
        let mut receiver = Bench::new(with(to));
        let received = Received::decode(encoded.bytes()).unwrap();
        receiver.session.receive(&received, START, 0, &mut receiver.out)
    };
    assert_eq!(offer(Some(b"one"), Some(b"one")), Ok(()));
    assert_eq!(offer(Some(b"one"), Some(b"two")), Err(Refusal::Unauthenticated(AuthError::Digest)));
    assert_eq!(offer(None, Some(b"two")), Err(Refusal::Unauthenticated(AuthError::Missing)));
    assert_eq!(offer(Some(b"one"), None), Err(Refusal::Unauthenticated(AuthError::Unexpected)));
}

/// Two sessions and what is on its way between them.
struct Line {
    now: Moment,
    ends: [Session; 2],
    /// When it arrives, to whom, and what.
    under_way: Vec<(Moment, usize, Encoded)>,
    /// What each end heard last.
    heard: [Option<(Moment, Packet)>; 2],
    /// The least that each end ever said it can receive.
    least_required: [Interval; 2],
}

/// What the line does with one packet.
#[derive(Clone, Copy, Debug)]
struct Fate {
    lost: bool,
    delay: u16,
    random: u32,
}

impl Line {
    fn new(settings: [Settings; 2]) -> Self {
        let least_required = settings.each_ref().map(|settings| settings.timers.required_min_rx());
        let [one, two] = settings;
        let ends = [Session::new(id(7), one, START, 1), Session::new(id(9), two, START, 2)];
        Self { now: START, ends, under_way: Vec::new(), heard: [None, None], least_required }
    }

    /// Whatever comes next.
    fn step(&mut self, fate: Fate) {
        let arrival = self.under_way.iter().map(|(moment, ..)| *moment).min();
        let timers = self.ends.iter().filter_map(Session::deadline);
        let Some(next) = timers.chain(arrival).min() else { return };
        self.now = self.now.max(next);
        let mut out = [Vec::new(), Vec::new()];
        while let Some(at) = self.under_way.iter().position(|(moment, ..)| *moment <= self.now) {
            let (_, to, encoded) = self.under_way.remove(at);
            let received = Received::decode(encoded.bytes()).unwrap();
            let taken = self.ends[to].receive(&received, self.now, fate.random, &mut out[to]);
            assert_eq!(taken, Ok(()));
            self.heard[to] = Some((self.now, received.packet));
        }
        for (end, out) in out.iter_mut().enumerate() {
            let was_up = self.ends[end].state() == State::Up;
            self.ends[end].elapse(self.now, fate.random, out);
            let silence = Diagnostic::DETECTION_TIME_EXPIRED;
            let is_down = self.ends[end].state() == State::Down && self.ends[end].status().diagnostic == silence;
            if was_up && is_down {
                let (moment, last) = self.heard[end].as_ref().unwrap();
                let pace = last.desired_min_tx.max(self.least_required[end]);
                let least = pace.duration() * u32::from(last.multiplier.get());
                assert!(self.now.since(*moment) >= least, "down after {:?}", self.now.since(*moment));
            }
        }
        for (end, out) in out.into_iter().enumerate() {
            for output in out {
                if let Output::Send(encoded) = output
                    && !fate.lost
                {
                    let arrival = self.now + Duration::from_micros(fate.delay.into()) * 5;
                    self.under_way.push((arrival, 1 - end, encoded));
                }
            }
        }
    }
}

fn some_settings() -> impl Strategy<Value = Settings> {
    (5..2000_u32, 5..2000_u32, 1..10_u8).prop_map(|(tx, rx, multiplier)| settings(tx, rx, multiplier))
}

fn fate() -> impl Strategy<Value = Fate> {
    (proptest::bool::weighted(0.3), any::<u16>(), any::<u32>()).prop_map(|(lost, delay, random)| Fate {
        lost,
        delay,
        random,
    })
}

proptest! {
    #[test]
    fn over_a_bad_line_nobody_is_declared_dead_too_early_and_over_a_good_one_both_are_up(
        settings in [some_settings(), some_settings()],
        fates in proptest::collection::vec(fate(), 0..400),
        change in some_settings(),
    ) {
        let mut line = Line::new(settings);
        let half = fates.len() / 2;
        for (number, fate) in fates.into_iter().enumerate() {
            if number == half {
                let mut out = Vec::new();
                line.least_required[0] = line.least_required[0].min(change.timers.required_min_rx());
                line.ends[0].set(change.clone(), line.now, fate.random, &mut out);
            }
            line.step(fate);
        }
        let good = Fate { lost: false, delay: 100, random: 0 };
        let until = line.now + Duration::from_secs(90);
        while line.now < until {
            line.step(good);
        }
        let states = line.ends.each_ref().map(Session::state);
        prop_assert_eq!(states, [State::Up, State::Up]);
        // And both know of each other's timers.
        for (own, other) in [(0, 1), (1, 0)] {
            let heard = line.ends[own].status().remote.unwrap();
            let timers = line.ends[other].settings().timers;
            prop_assert_eq!(heard.desired_min_tx, timers.desired_min_tx());
            prop_assert_eq!(heard.required_min_rx, timers.required_min_rx());
            prop_assert_eq!(heard.multiplier, timers.multiplier());
            let pace = line.ends[own].transmit_interval();
            prop_assert_eq!(pace, line.ends[own].settings().timers.desired_min_tx().max(timers.required_min_rx()));
        }
    }

    #[test]
    fn arbitrary_packets_leave_a_session_that_goes_on(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 24..60), 0..20),
        pauses in proptest::collection::vec(0..5_000_000_000_u64, 20),
    ) {
        let mut bench = Bench::up(settings(300, 300, 3));
        let mut now = START;
        for (payload, pause) in payloads.iter().zip(pauses) {
            let mut payload = payload.clone();
            // Valid up to what the session itself looks at.
            payload[0] = 0x20 | payload[0] & 0x1f;
            payload[1] &= 0xfa;
            payload[3] = 24;
            payload[8..12].copy_from_slice(&[0, 0, 0, 7]);
            if let Ok(received) = Received::decode(&payload) {
                let _ = bench.session.receive(&received, now, 0, &mut bench.out);
            }
            now = now + Duration::from_nanos(pause);
            bench.elapse(now);
            prop_assert!(bench.out.len() < 16, "bounded by what came");
            bench.out.clear();
            prop_assert!(bench.session.deadline().is_none_or(|deadline| deadline > now));
        }
    }
}
