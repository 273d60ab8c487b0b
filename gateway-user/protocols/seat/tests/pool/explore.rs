//! All that can happen to three gateways within a few steps, from the moment that one of them holds the seat: messages that arrive sooner or
//! later or never (those from one to another in their order), observers that are wrong, a machine that starts anew, and time that passes.

use crate::world::{name, seat};
use seat::{
    Bound, Charter, CharterNumber, Electorate, ElectorateNumber, Epoch, Grant, Hold, Incarnation, Input, Member,
    Memory, Message, Moment, Opinion, Output, Succession, Timers, Voter,
};
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Duration;

const GATEWAYS: usize = 3;
/// States that are looked at; `SEAT_STATES` for more.
const STATES: usize = 8_000;
/// How much time passes at once: three times are longer than a lease.
const TICK: Duration = Duration::from_millis(1500);
/// Machines that may start anew in one run.
const RESTARTS: usize = 1;

/// Whether gates shut when their leases are over, by the clock and by who wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leases {
    Kept,
    Ignored,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    now: Moment,
    charter: Charter,
    members: Vec<Member>,
    gates: Vec<(Epoch, Hold)>,
    flight: BTreeMap<(usize, usize), VecDeque<Message>>,
    taken: BTreeMap<Epoch, (Moment, usize)>,
    restarts: usize,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Deliver(usize, usize),
    Pass,
    SeesGone { observer: usize, of: usize },
    Restart(usize),
}

fn voter(number: usize) -> Voter {
    Voter::Gateway(name(number))
}

fn number(voter: &Voter) -> usize {
    (0..GATEWAYS).find(|number| self::voter(*number) == *voter).expect("one of the pool")
}

fn charter(relief: Option<usize>) -> Charter {
    let electorate = Electorate::of(ElectorateNumber(1), (0..GATEWAYS).map(name));
    let grants = (1..)
        .zip([0, 1, 2, 0, 1])
        .map(|(epoch, to)| Grant { epoch: Epoch(epoch), to: name(to), incarnation: Incarnation(1) })
        .collect();
    let number = CharterNumber(if relief.is_some() { 2 } else { 1 });
    let succession = Succession { bound: Bound::Leased, relief: relief.map(name), grants, ..Succession::default() };
    Charter::new(number, electorate, [(seat(), succession)].into()).expect("a charter")
}

impl State {
    /// The first gateway has just taken the seat, and everybody knows.
    fn start() -> Self {
        let now = Moment(1_000_000_000_000);
        let timers = Timers::default();
        let members = (0..GATEWAYS)
            .map(|number| Member::new(voter(number), Incarnation(1), timers, Memory::Blank, now))
            .collect();
        let mut state = Self {
            now,
            charter: charter(None),
            members,
            gates: vec![(Epoch(0), Hold::Replica); GATEWAYS],
            flight: BTreeMap::new(),
            taken: BTreeMap::new(),
            restarts: 0,
        };
        for member in 0..GATEWAYS {
            state.tell(member, Input::Charter(state.charter.clone()));
        }
        state.now = now + timers.lease();
        state.tell(0, Input::Timer);
        while let Some((from, to)) = state.flight.keys().next().copied() {
            state.deliver(from, to);
        }
        assert_eq!(state.taken.len(), 1);
        state
    }

    /// The same, and both others take the holder for gone, which it is not.
    fn alarm() -> Self {
        let mut state = Self::start();
        for observer in 1..GATEWAYS {
            state = state.after(&Action::SeesGone { observer, of: 0 }, Leases::Kept);
        }
        state
    }

    /// The same, and it is to hand the seat over to whom another was granted it before.
    fn relief() -> Self {
        let mut state = Self::start();
        state.charter = charter(Some(2));
        for member in 0..GATEWAYS {
            state.tell(member, Input::Charter(state.charter.clone()));
        }
        state
    }

    fn tell(&mut self, to: usize, input: Input) {
        let mut out = Vec::new();
        self.members[to].step(input, self.now, &mut out);
        for output in out {
            match output {
                Output::Gate { epoch, hold, .. } => {
                    self.gates[to] = (epoch, hold);
                    if hold != Hold::Replica {
                        self.taken.entry(epoch).or_insert((self.now, to));
                    }
                }
                Output::Send { to: other, message } => {
                    self.flight.entry((to, number(&other))).or_default().push_back(message);
                }
                Output::Remember { .. } | Output::Event { .. } => {}
            }
        }
    }

    fn deliver(&mut self, from: usize, to: usize) {
        let Some(queue) = self.flight.get_mut(&(from, to)) else { return };
        let message = queue.pop_front();
        if queue.is_empty() {
            self.flight.remove(&(from, to));
        }
        if let Some(message) = message {
            self.tell(to, Input::Message { from: voter(from), message });
        }
    }

    fn actions(&self) -> Vec<Action> {
        let mut actions: Vec<Action> = self.flight.keys().map(|(from, to)| Action::Deliver(*from, *to)).collect();
        actions.push(Action::Pass);
        for observer in 0..GATEWAYS {
            let Some((holder, _, _)) = self.members[observer].holder(&seat()) else { continue };
            let of = number(&Voter::Gateway(holder.clone()));
            if of != observer {
                actions.push(Action::SeesGone { observer, of });
            }
        }
        if self.restarts < RESTARTS {
            actions.extend((0..GATEWAYS).map(Action::Restart));
        }
        actions
    }

    fn after(&self, action: &Action, leases: Leases) -> Self {
        let mut state = self.clone();
        match *action {
            Action::Deliver(from, to) => state.deliver(from, to),
            Action::Pass => {
                state.now = state.now + TICK;
                let gates = state.gates.clone();
                for member in 0..GATEWAYS {
                    state.tell(member, Input::Timer);
                }
                if leases == Leases::Ignored {
                    state.gates = gates;
                }
            }
            Action::SeesGone { observer, of } => {
                let opinion = Opinion::Gone;
                state.tell(observer, Input::Seen { seat: seat(), gateway: name(of), opinion });
            }
            Action::Restart(member) => {
                state.restarts += 1;
                state.gates[member] = (Epoch(0), Hold::Replica);
                state.members[member] =
                    Member::new(voter(member), Incarnation(2), Timers::default(), Memory::Blank, state.now);
                state.tell(member, Input::Charter(state.charter.clone()));
            }
        }
        state
    }

    /// Whether two forward for longer than a lease.
    fn is_wrong(&self, leases: Leases) -> bool {
        let open = self.gates.iter().filter(|(_, hold)| match hold {
            Hold::Replica => false,
            Hold::Held(until) | Hold::Yielding { until, .. } => {
                leases == Leases::Ignored || until.is_none_or(|until| until > self.now)
            }
        });
        let epochs: BTreeSet<Epoch> = open.map(|(epoch, _)| *epoch).collect();
        let Some(highest) = epochs.last() else { return false };
        epochs.len() > 1 && self.now > self.taken[highest].0 + Timers::default().lease()
    }
}

/// How many states there are within reach, or the way to one that is wrong.
fn explore(start: State, leases: Leases, limit: usize) -> Result<usize, Vec<Action>> {
    let mut seen = HashSet::from([start.clone()]);
    let mut queue = VecDeque::from([(start, Vec::new())]);
    while let Some((state, way)) = queue.pop_front() {
        for action in state.actions() {
            let next = state.after(&action, leases);
            let mut way: Vec<Action> = way.clone();
            way.push(action);
            if next.is_wrong(leases) {
                return Err(way);
            }
            if seen.len() < limit && seen.insert(next.clone()) {
                queue.push_back((next, way));
            }
        }
    }
    Ok(seen.len())
}

fn states() -> usize {
    std::env::var("SEAT_STATES").ok().and_then(|text| text.parse().ok()).unwrap_or(STATES)
}

#[test]
fn nothing_that_can_happen_gives_a_seat_two_holders_for_longer_than_a_lease() {
    for start in [State::start(), State::alarm(), State::relief()] {
        let found = explore(start, Leases::Kept, states());
        assert!(found.as_ref().is_ok_and(|count| *count >= states()), "{found:?}");
    }
}

#[test]
fn gates_that_outlive_their_leases_are_found() {
    assert!(explore(State::alarm(), Leases::Ignored, STATES).is_err());
}
