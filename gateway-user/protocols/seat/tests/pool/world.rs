//! A pool in one process: its members, the network between them, and what everybody sees of everybody. Time moves by events.

use seat::{
    Bound, Charter, CharterNumber, Electorate, ElectorateNumber, Epoch, Event, GatewayName, Grant, Hold, Incarnation,
    Input, Member, Memory, Message, Moment, Opinion, Output, Promise, SeatName, Succession, Timers, Voter,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a message takes.
pub const DELAY: Duration = Duration::from_millis(1);
/// How long it takes until a dead gateway is seen to be dead.
pub const DETECTION: Duration = Duration::from_millis(20);

/// A mistake that is made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A gate stays open when its lease is over.
    SkipLease,
    /// A voter whose machine was started anew takes itself for one that knows what it said.
    ForgetVote,
    /// What a voter said is not kept when its process is started anew.
    LoseVote,
    /// One epoch is granted to two gateways.
    ReuseEpoch,
    /// A voter says yes to whoever asks.
    VoteTwice,
}

/// What the controller does about a machine that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// It lets it take the seat after all others.
    Grants,
    /// It is dead.
    Silent,
}

/// A voter's machine.
pub struct Node {
    pub member: Option<Member>,
    /// What the kernel keeps while the process is away.
    pub gates: BTreeMap<SeatName, (Epoch, Hold)>,
    promises: BTreeMap<SeatName, Promise>,
    incarnation: Incarnation,
    forwards: bool,
}

/// The pool.
pub struct Pool {
    pub now: Moment,
    pub timers: Timers,
    pub nodes: BTreeMap<Voter, Node>,
    pub events: Vec<(Moment, Voter, SeatName, Event)>,
    /// When each epoch was first held, and by whom.
    pub taken: BTreeMap<(SeatName, Epoch), (Moment, Voter)>,
    queue: BTreeMap<(Moment, u64), Happening>,
    number: u64,
    cut: Vec<(Voter, Voter)>,
    electorate: Electorate,
    grants: Vec<Grant>,
    relief: Option<usize>,
    charters: u64,
    /// What the controller does about machines that come back.
    pub controller: Controller,
    fault: Option<Fault>,
    /// How long the next message takes, or that it is lost.
    pub fate: Box<dyn FnMut() -> Option<Duration>>,
}

#[derive(Clone, Debug)]
enum Happening {
    Arrives { from: Voter, to: Voter, message: Message },
    Sees { observer: Voter, gateway: GatewayName, opinion: Opinion },
}

pub fn gateway(number: usize) -> Voter {
    Voter::Gateway(name(number))
}

pub fn name(number: usize) -> GatewayName {
    GatewayName::from(format!("g{number}"))
}

/// The seat that everything is about.
pub fn seat() -> SeatName {
    "s".into()
}

impl Pool {
    /// So many gateways (and the controllers, where they have a vote), and one seat that is granted to these, one after the other.
    pub fn new(gateways: usize, grants: &[usize], fault: Option<Fault>) -> Self {
        let electorate = Electorate::of(ElectorateNumber(1), (0..gateways).map(name));
        let mut pool = Self {
            now: Moment(1_000_000_000_000),
            timers: Timers::default(),
            nodes: BTreeMap::new(),
            events: Vec::new(),
            taken: BTreeMap::new(),
            queue: BTreeMap::new(),
            number: 0,
            cut: Vec::new(),
            electorate: electorate.clone(),
            grants: Vec::new(),
            relief: None,
            charters: 0,
            controller: Controller::Silent,
            fault,
            fate: Box::new(|| Some(DELAY)),
        };
        for voter in electorate.voters() {
            let incarnation = Incarnation(0);
            let node =
                Node { member: None, gates: BTreeMap::new(), promises: BTreeMap::new(), incarnation, forwards: true };
            pool.nodes.insert(voter.clone(), node);
            pool.start(voter);
        }
        for to in grants {
            pool.grant(*to);
        }
        pool.controller = Controller::Grants;
        pool
    }

    /// The controller lets a gateway, in the life that it has, take the seat after all others.
    pub fn grant(&mut self, to: usize) {
        if !self.nodes.contains_key(&gateway(to)) {
            return;
        }
        let epoch = Epoch(self.grants.last().map_or(1, |last| last.epoch.0 + 1));
        let incarnation = self.nodes[&gateway(to)].incarnation;
        self.grants.push(Grant { epoch, to: name(to), incarnation });
        self.tell_all();
    }

    /// The controller takes a grant back, which may have been used before everybody has heard of that.
    pub fn withdraw(&mut self, epoch: Epoch) {
        self.grants.retain(|grant| grant.epoch != epoch);
        self.tell_all();
    }

    /// The controller wants a gateway to have the seat.
    pub fn relieve(&mut self, to: usize) {
        self.relief = Some(to);
        self.tell_all();
    }

    /// Whom the controller wants to have it.
    pub fn relief(&self) -> Option<usize> {
        self.relief
    }

    fn tell_all(&mut self) {
        self.charters += 1;
        let voters: Vec<Voter> = self.nodes.keys().cloned().collect();
        for voter in voters {
            let charter = self.charter_for(&voter);
            self.tell(&voter, Input::Charter(charter));
        }
    }

    fn charter_for(&self, voter: &Voter) -> Charter {
        let mut grants = self.grants.clone();
        let is_wronged = self.nodes.keys().position(|one| one == voter).is_some_and(|place| place % 2 == 1);
        if self.fault == Some(Fault::ReuseEpoch) && is_wronged {
            for pair in grants.chunks_exact_mut(2) {
                let (one, other) = pair.split_at_mut(1);
                std::mem::swap(&mut one[0].to, &mut other[0].to);
                std::mem::swap(&mut one[0].incarnation, &mut other[0].incarnation);
            }
        }
        let succession =
            Succession { bound: Bound::Leased, relief: self.relief.map(name), grants, ..Succession::default() };
        Charter::new(CharterNumber(self.charters), self.electorate.clone(), [(seat(), succession)].into())
            .expect("a charter that makes sense")
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.run_until(end, |_| false);
    }

    /// Lets time pass until something holds; whether it did before `end`.
    pub fn run_until(&mut self, end: Moment, mut holds: impl FnMut(&Self) -> bool) -> bool {
        loop {
            if holds(self) {
                return true;
            }
            let due = self.nodes.values().filter_map(|node| node.member.as_ref()?.next_deadline()).min();
            let arrival = self.queue.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = [due, arrival].into_iter().flatten().min().filter(|next| *next <= end) else {
                self.now = end;
                return holds(self);
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let happening = entry.remove();
                self.happen(happening);
            }
            let voters: Vec<Voter> = self.nodes.keys().cloned().collect();
            for voter in voters {
                let member = self.nodes[&voter].member.as_ref();
                if member.is_some_and(|member| member.next_deadline().is_some_and(|due| due <= self.now)) {
                    self.tell(&voter, Input::Timer);
                    let due = self.nodes[&voter].member.as_ref().and_then(Member::next_deadline);
                    assert!(due.is_none_or(|due| due > self.now), "{voter} asks for time that has passed");
                }
            }
        }
    }

    /// Who forwards the seat's packets, under which epoch, and whether it lets another take it.
    pub fn open(&self) -> Vec<(Voter, Epoch, Hold)> {
        let open = |(voter, node): (&Voter, &Node)| {
            let (epoch, hold) = *node.gates.get(&seat())?;
            let (Hold::Held(until) | Hold::Yielding { until, .. }) = hold else { return None };
            let is_open = self.fault == Some(Fault::SkipLease) || until.is_none_or(|until| until > self.now);
            (node.forwards && is_open).then(|| (voter.clone(), epoch, hold))
        };
        self.nodes.iter().filter_map(open).collect()
    }

    /// Whether exactly this gateway forwards.
    pub fn is_held_by(&self, number: usize) -> bool {
        matches!(&self.open()[..], [(voter, _, _)] if *voter == gateway(number))
    }

    /// Tells a member something, and does what it wants done.
    pub fn tell(&mut self, voter: &Voter, input: Input) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(voter) else { return };
        let Some(member) = &mut node.member else { return };
        let mut out = Vec::new();
        let asker = match (&input, self.fault) {
            (Input::Message { from, message: Message::Ask(ask) }, Some(Fault::VoteTwice)) => {
                Some((from.clone(), ask.clone()))
            }
            _ => None,
        };
        member.step(input, now, &mut out);
        if let Some((from, ask)) = asker {
            let seat::Ask { seat, epoch, asked, .. } = ask;
            let answer = seat::Answer { seat, epoch, asked, verdict: seat::Verdict::Yes };
            out.push(Output::Send { to: from, message: Message::Answer(answer) });
        }
        for output in out {
            self.act(voter, output);
        }
    }

    fn act(&mut self, voter: &Voter, output: Output) {
        let Some(node) = self.nodes.get_mut(voter) else { return };
        match output {
            Output::Remember { seat, promise } => {
                node.promises.insert(seat, promise);
            }
            Output::Gate { seat, epoch, hold } => {
                let before = node.gates.insert(seat.clone(), (epoch, hold));
                let had_it = before.is_some_and(|(before, hold)| before == epoch && hold != Hold::Replica);
                if hold != Hold::Replica && !had_it {
                    let other = self.taken.insert((seat, epoch), (self.now, voter.clone()));
                    assert_eq!(other, None, "epoch {} was taken twice, by {voter} for one", epoch.0);
                }
            }
            Output::Send { to, message } => {
                let is_cut =
                    self.cut.iter().any(|(one, other)| (one, other) == (voter, &to) || (other, one) == (voter, &to));
                if let Some(delay) = (self.fate)().filter(|_| !is_cut) {
                    self.later(delay, Happening::Arrives { from: voter.clone(), to, message });
                }
            }
            Output::Event { seat, event } => self.events.push((self.now, voter.clone(), seat, event)),
        }
    }

    fn later(&mut self, delay: Duration, happening: Happening) {
        self.number += 1;
        self.queue.insert((self.now + delay, self.number), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives { from, to, message } => self.tell(&to, Input::Message { from, message }),
            Happening::Sees { observer, gateway, opinion } => {
                self.tell(&observer, Input::Seen { seat: seat(), gateway, opinion });
            }
        }
    }

    /// Everybody who can will see a gateway so, after a while.
    fn everybody_sees(&mut self, of: &Voter, opinion: Opinion) {
        let observers: Vec<Voter> = self.nodes.keys().filter(|voter| *voter != of).cloned().collect();
        for observer in observers {
            self.sees(&observer, of, opinion);
        }
    }

    /// One observer will see a gateway so, after a while.
    pub fn sees(&mut self, observer: &Voter, of: &Voter, opinion: Opinion) {
        if let Some(gateway) = of.as_gateway().cloned() {
            self.later(DETECTION, Happening::Sees { observer: observer.clone(), gateway, opinion });
        }
    }

    /// A machine stops, with all that its kernel has.
    pub fn crash(&mut self, voter: &Voter) {
        if let Some(node) = self.nodes.get_mut(voter) {
            node.member = None;
            node.forwards = false;
            node.gates.clear();
            node.promises.clear();
        }
        self.everybody_sees(voter, Opinion::Gone);
    }

    /// A machine forwards nothing any more, and its agent knows nothing of it.
    pub fn break_forwarding(&mut self, voter: &Voter) {
        if let Some(node) = self.nodes.get_mut(voter) {
            node.forwards = false;
        }
        self.everybody_sees(voter, Opinion::Gone);
    }

    /// A process stops; its machine forwards.
    pub fn kill_agent(&mut self, voter: &Voter) {
        if let Some(node) = self.nodes.get_mut(voter) {
            node.member = None;
            if self.fault == Some(Fault::LoseVote) {
                node.promises.clear();
            }
        }
    }

    /// A machine or a process starts.
    pub fn start(&mut self, voter: &Voter) {
        let Some(node) = self.nodes.get_mut(voter).filter(|node| node.member.is_none()) else { return };
        let was_down = node.gates.is_empty() && node.promises.is_empty();
        node.forwards |= was_down;
        let memory = if was_down && self.fault != Some(Fault::ForgetVote) {
            Memory::Blank
        } else {
            Memory::Kept { promises: node.promises.clone(), held: node.gates.clone() }
        };
        if was_down {
            node.incarnation.0 += 1;
        }
        node.member = Some(Member::new(voter.clone(), node.incarnation, self.timers, memory, self.now));
        let charter = self.charter_for(voter);
        self.tell(voter, Input::Charter(charter));
        if !was_down {
            return;
        }
        self.everybody_sees(voter, Opinion::Alive);
        let number = (0..self.nodes.len()).find(|number| gateway(*number) == *voter);
        if let Some(number) = number.filter(|_| self.controller == Controller::Grants) {
            self.grant(number);
        }
    }

    /// Whatever is wrong with a machine is repaired, and everybody sees it so.
    pub fn mend(&mut self, voter: &Voter) {
        if let Some(node) = self.nodes.get_mut(voter) {
            node.forwards = true;
        }
        self.start(voter);
        self.everybody_sees(voter, Opinion::Alive);
    }

    /// No message passes between two voters.
    pub fn cut(&mut self, one: &Voter, other: &Voter) {
        self.cut.push((one.clone(), other.clone()));
    }

    /// All messages pass again.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Fails if two gateways forward for longer than a lease after the later of them took the seat.
    pub fn check(&self) -> Result<(), String> {
        let open = self.open();
        let Some((_, highest, _)) = open.iter().max_by_key(|(_, epoch, _)| *epoch) else { return Ok(()) };
        for (voter, epoch, _) in open.iter().filter(|(_, epoch, _)| epoch < highest) {
            let since = self.taken[&(seat(), *highest)].0;
            if self.now > since + self.timers.lease() {
                return Err(format!(
                    "{voter} forwards under epoch {} {:?} after epoch {} was taken",
                    epoch.0,
                    self.now.since(since),
                    highest.0
                ));
            }
        }
        Ok(())
    }
}
