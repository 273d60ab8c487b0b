//! What this gateway is to its pool: the member with its gates, its probes, its letters and its announcements.

use super::announcements::Announcements;
use super::configuration::{Configuration, Seat};
use super::gates::Gates;
use super::history::{Takeover, What};
use super::memory::MemoryFile;
use super::ports::{Interfaces, Port};
use super::post::{Own, Post};
use super::probing::{PathName, Probing, Question, Route};
use super::protocol::{AgentState, Holding, PeerStatus, SeatReport, SeatStatus, Status};
use super::verdicts::opinion;
use super::watch::AgentWatch;
use crate::api::clock;
use crate::net::frame_sender::FrameSender;
use gateway_common::gate::{Gate, State};
use gateway_common::probe::Way;
use seat::watch::{Diagnosis, Side, Sign, Signs, diagnose};
use seat::{
    Charter, Epoch, Event, GatewayName, Hold, Input, Member, Memory, Message, Moment, Opinion, Output, Promise,
    SeatName, Succession, Voter,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// For how long nothing must have passed until a seat that another has taken counts as still.
const STILL: Duration = Duration::from_millis(50);
/// After what time a claim is made again, and then at every renewal.
const CLAIM_AGAIN: [Duration; 3] = [Duration::from_millis(2), Duration::from_millis(10), Duration::from_millis(50)];

/// What is to be told.
#[derive(Debug, Default)]
pub struct News {
    /// What happened, of which seat.
    pub happened: Vec<(Option<SeatName>, What)>,
    /// Letters to the controllers.
    pub letters: Vec<Message>,
}

/// A socket that somebody has to wait for.
#[derive(Debug)]
pub enum Fresh {
    /// Probes come there.
    Probes(Side, Rc<Port>),
    /// Letters do.
    Letters(Side, Rc<Port>),
}

/// What this gateway is to its pool.
#[derive(Debug)]
pub struct Pool {
    configuration: Configuration,
    member: Member,
    memory: MemoryFile,
    probing: Probing,
    post: Post,
    sender: FrameSender,
    seats: BTreeMap<SeatName, SeatState>,
    interfaces: Interfaces,
    diagnoses: BTreeMap<GatewayName, Diagnosis>,
    agent: AgentWatch,
    /// Whom each seat that is probed is held by, and under which epoch.
    probed: BTreeMap<SeatName, (GatewayName, u64)>,
    started: Moment,
    next_tick: Moment,
}

#[derive(Debug)]
struct SeatState {
    seat: Seat,
    announcements: Announcements,
    hold: Hold,
    epoch: u64,
    activated: Moment,
    bid: Option<Moment>,
    /// What the member was last told of its holder.
    told: Option<(GatewayName, Opinion)>,
    /// Who was seen to be gone, when that was seen, and when the last probe of it came back.
    lost: Option<(GatewayName, Moment, Option<Moment>)>,
    claim: Option<(Moment, usize)>,
    /// The highest epoch of which the programs told, as far as the member knows.
    seen: u64,
    awaits_first: bool,
    /// What the tick of its gate was, and since when.
    quiet: (u64, Moment),
}

impl SeatState {
    fn new(seat: &Seat, now: Moment) -> Self {
        Self {
            seat: seat.clone(),
            announcements: Announcements::new(&seat.announcements),
            hold: Hold::Replica,
            epoch: 0,
            activated: now,
            bid: None,
            told: None,
            lost: None,
            claim: None,
            seen: 0,
            awaits_first: false,
            quiet: (0, now),
        }
    }

    const fn holding(&self) -> Holding {
        match self.hold {
            Hold::Replica => Holding::Replica,
            Hold::Held(_) => Holding::Held,
            Hold::Yielding { .. } => Holding::Yielding,
        }
    }

    /// The epoch that the gate is under: while another is to take the seat, the other's.
    const fn gate_epoch(&self) -> u64 {
        match self.hold {
            Hold::Yielding { to, .. } => to.0,
            _ => self.epoch,
        }
    }
}

fn member_of(
    configuration: &Configuration,
    memory: &MemoryFile,
    gates: &mut dyn Gates,
    now: Moment,
) -> (Member, BTreeMap<SeatName, (Epoch, Hold)>) {
    let words = configuration.seats.iter().filter_map(|seat| Some((seat, gates.read(seat.slot)?)));
    let words: Vec<_> = words.collect();
    let recalled = memory.recall(words.iter().map(|(seat, words)| (seat.name.clone(), words.gate)));
    let mut held = BTreeMap::new();
    match &recalled {
        Memory::Kept { held: known, .. } => held.clone_from(known),
        Memory::Blank => {
            // Nobody renews what nobody knows of; without an end it would stay open for ever.
            for (seat, words) in &words {
                if words.gate.state() != State::Replica && words.gate.expiry().is_none() {
                    let _ = gates.write(seat.slot, Gate::REPLICA, Epoch(words.epoch));
                }
            }
        }
    }
    let Configuration { me, incarnation, timers, .. } = configuration;
    (Member::new(Voter::Gateway(me.clone()), *incarnation, *timers, recalled, now), held)
}

impl Pool {
    /// Begins with a configuration that was checked. `random` is this process's session.
    pub fn new(
        configuration: Configuration,
        state: &Path,
        gates: &mut dyn Gates,
        sender: FrameSender,
        random: u64,
        now: Moment,
        news: &mut News,
    ) -> (Self, Vec<Fresh>) {
        let memory = MemoryFile::open(state, configuration.incarnation);
        news.happened.push((None, What::Started { remembers: memory.is_kept() }));
        let (member, held) = member_of(&configuration, &memory, gates, now);
        let mut pool = Self {
            configuration: Configuration { peers: Vec::new(), seats: Vec::new(), ..configuration.clone() },
            member,
            memory,
            probing: Probing::default(),
            post: Post::new(random),
            sender,
            seats: BTreeMap::new(),
            interfaces: Interfaces::now().unwrap_or_default(),
            diagnoses: BTreeMap::new(),
            agent: AgentWatch::new(now),
            probed: BTreeMap::new(),
            started: now,
            next_tick: now,
        };
        let fresh = pool.adopt(configuration, &held, gates, now, news);
        (pool, fresh)
    }

    /// Goes by another configuration, which was checked.
    pub fn configure(
        &mut self,
        configuration: Configuration,
        gates: &mut dyn Gates,
        now: Moment,
        news: &mut News,
    ) -> Vec<Fresh> {
        let identity = |it: &Configuration| (it.me.clone(), it.incarnation, it.timers);
        let mut held = BTreeMap::new();
        if identity(&configuration) != identity(&self.configuration) {
            (self.member, held) = member_of(&configuration, &self.memory, gates, now);
            for state in self.seats.values_mut() {
                (state.hold, state.told) = (Hold::Replica, None);
            }
        }
        self.adopt(configuration, &held, gates, now, news)
    }

    fn adopt(
        &mut self,
        configuration: Configuration,
        held: &BTreeMap<SeatName, (Epoch, Hold)>,
        gates: &mut dyn Gates,
        now: Moment,
        news: &mut News,
    ) -> Vec<Fresh> {
        self.agent.hears(now);
        let mut before = std::mem::take(&mut self.seats);
        for seat in &configuration.seats {
            let mut state = match before.remove(&seat.name).filter(|state| state.seat.slot == seat.slot) {
                Some(mut known) => {
                    if known.seat.announcements != seat.announcements {
                        let mut announcements = Announcements::new(&seat.announcements);
                        announcements.take_over(&known.announcements, now);
                        known.announcements = announcements;
                    }
                    known.seat = seat.clone();
                    known
                }
                None => SeatState::new(seat, now),
            };
            if let Some((epoch, hold)) = held.get(&seat.name) {
                (state.hold, state.epoch, state.claim) = (*hold, epoch.0, Some((now, 0)));
                state.announcements.announce(&self.sender, now);
            }
            self.seats.insert(seat.name.clone(), state);
        }
        for (name, state) in before {
            // A seat that is not this gateway's business any more is not held by it either.
            if state.hold != Hold::Replica {
                let _ = gates.write(state.seat.slot, Gate::REPLICA, Epoch(state.epoch));
                let _ = self.memory.hold(&name, None);
            }
        }
        let names: BTreeSet<&GatewayName> = configuration.peers.iter().map(|peer| &peer.name).collect();
        self.diagnoses.retain(|name, _| names.contains(name));
        self.configuration = configuration;
        let fresh = self.open_ports(None);
        self.probed.clear();
        self.probe_holders(now, true);
        let charter = self.lawful();
        self.step(Input::Charter(charter), gates, now, news);
        fresh
    }

    /// Opens what is not open, or open where the addresses are not any more; gives what somebody has to wait for. Without a new look at the
    /// interfaces, by the last one.
    pub fn open_ports(&mut self, interfaces: Option<Interfaces>) -> Vec<Fresh> {
        if let Some(interfaces) = interfaces {
            self.interfaces = interfaces;
        }
        let Configuration { number, fabric, site, peers, .. } = &self.configuration;
        let probes = self.probing.configure(*number, *fabric, *site, &self.interfaces);
        self.probing.know(peers.iter().map(|peer| (peer.number, &peer.key, peer.fabric, peer.site)));
        let letters = self.post.configure(&self.configuration, &self.interfaces);
        let probes = probes.into_iter().map(|(side, port)| Fresh::Probes(side, port));
        probes.chain(letters.into_iter().map(|(side, port)| Fresh::Letters(side, port))).collect()
    }

    /// The charter without what this gateway was granted and cannot take: it has no slot for the seat, or no agent that would look after it.
    fn lawful(&self) -> Charter {
        let charter = &self.configuration.charter;
        let is_willing = self.agent.state() != AgentState::GivenUp;
        let may = |seat: &SeatName, epoch: Epoch, to: &GatewayName| {
            *to != self.configuration.me
                || self.seats.get(seat).is_some_and(|state| is_willing || epoch.0 <= state.epoch)
        };
        let seats = charter.seats().iter().map(|(seat, succession)| {
            let grants = succession.grants.iter().filter(|grant| may(seat, grant.epoch, &grant.to)).cloned();
            (seat.clone(), Succession { grants: grants.collect(), ..succession.clone() })
        });
        Charter::new(charter.number(), charter.electorate().clone(), seats.collect())
            .unwrap_or_else(|_| charter.clone())
    }

    fn own(&self, now: Moment) -> Own {
        Own { now, agent: self.agent.state() == AgentState::Heard }
    }

    /// Has the member take an input in, and does what follows from it.
    pub fn step(&mut self, input: Input, gates: &mut dyn Gates, now: Moment, news: &mut News) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut out = Vec::new();
            self.member.step(input, now, &mut out);
            let mut unkept = BTreeSet::new();
            for output in out {
                match output {
                    Output::Remember { seat, promise } => {
                        if !self.remember(&seat, &promise) {
                            unkept.insert(seat);
                        }
                    }
                    Output::Gate { seat, epoch, hold } => {
                        inputs.extend(self.write_gate(&seat, epoch, hold, gates, now, news));
                    }
                    Output::Send { to, message } => {
                        let (Message::Ask(seat::Ask { seat, .. }) | Message::Answer(seat::Answer { seat, .. })) =
                            &message;
                        if unkept.contains(seat) {
                            continue;
                        }
                        match to {
                            Voter::Gateway(name) => self.post.send(&name, message, self.own(now)),
                            Voter::Controllers => news.letters.push(message),
                        }
                    }
                    Output::Event { seat, event } => self.tell(&seat, event, now, news),
                }
            }
        }
    }

    fn remember(&mut self, seat: &SeatName, promise: &Promise) -> bool {
        let kept = self.memory.promise(seat, promise);
        if let Err(error) = &kept {
            tracing::error!(%error, %seat, "a promise cannot be kept in the state directory, so it is not made");
        }
        kept.is_ok()
    }

    /// Writes a gate. What the programs had seen by then is the member's next input.
    fn write_gate(
        &mut self,
        name: &SeatName,
        epoch: Epoch,
        hold: Hold,
        gates: &mut dyn Gates,
        now: Moment,
        news: &mut News,
    ) -> Option<Input> {
        let state = self.seats.get_mut(name)?;
        let end = |until: Option<Moment>| until.map_or(u64::MAX, |until| until.0);
        let (gate, under) = match hold {
            Hold::Replica => (Gate::REPLICA, epoch),
            Hold::Held(until) => (Gate::new(State::Held, end(until)), epoch),
            Hold::Yielding { until, to } => (Gate::new(State::Yielding, end(until)), to),
        };
        let mut note = |held: Option<Epoch>| {
            if let Err(error) = self.memory.hold(name, held) {
                tracing::warn!(%error, seat = %name, "after a restart it will not be known that this seat is held");
            }
        };
        // So that whatever the gate lets pass is known to a process that is started now.
        if hold != Hold::Replica {
            note(Some(epoch));
        }
        if let Err(error) = gates.write(state.seat.slot, gate, under) {
            tracing::error!(%error, seat = %name, slot = state.seat.slot, "a gate cannot be written");
        }
        if hold == Hold::Replica {
            note(None);
        }
        let is_new = state.hold == Hold::Replica || state.epoch != epoch.0;
        (state.hold, state.epoch) = (hold, epoch.0);
        match hold {
            Hold::Replica => {
                state.announcements.stop();
                (state.claim, state.awaits_first) = (None, false);
            }
            Hold::Held(_) if is_new => {
                state.activated = Moment(clock::monotonic());
                state.awaits_first = true;
            }
            Hold::Held(_) => {}
            Hold::Yielding { .. } => {
                state.announcements.stop();
                (state.claim, state.quiet) = (None, (0, now));
            }
        }
        if hold == Hold::Replica {
            return None;
        }
        // A packet that told of a later holder may have come between: the fence wins whatever the order.
        let seen = gates.read(state.seat.slot)?.seen;
        if seen <= under.0 {
            return None;
        }
        let _ = gates.write(state.seat.slot, Gate::REPLICA, under);
        state.seen = seen;
        news.happened.push((Some(name.clone()), What::Fenced { by: seen }));
        Some(Input::HigherEpoch { seat: name.clone(), epoch: Epoch(seen) })
    }

    fn tell(&mut self, name: &SeatName, event: Event, now: Moment, news: &mut News) {
        let Some(state) = self.seats.get_mut(name) else { return };
        let what = match event {
            Event::Bids(epoch) => {
                state.bid = Some(now);
                What::Bids { epoch: epoch.0 }
            }
            Event::BidEnded(epoch) => What::BidEnded { epoch: epoch.0 },
            Event::Taken { epoch, since } => {
                // Who wakes up and holds it still is stopped first, then the neighbours learn.
                self.probing.claim(state.seat.number, epoch.0, now.0);
                state.claim = Some((now + CLAIM_AGAIN[0], 1));
                state.announcements.announce(&self.sender, now);
                let announced = clock::monotonic();
                let announcements = state.announcements.count();
                let lost = state.lost.take();
                let from = lost.as_ref().map(|(from, ..)| from.clone());
                let from = from.or_else(|| state.told.as_ref().map(|(from, _)| from.clone()));
                What::Taken(Box::new(Takeover {
                    epoch: epoch.0,
                    from,
                    last_good: lost.as_ref().and_then(|(_, _, good)| good.map(|good| clock::wall(good.0))),
                    detected: lost.as_ref().map(|(_, at, _)| clock::wall(at.0)),
                    bid: clock::wall(since.0),
                    decided: clock::wall(now.0),
                    activated: clock::wall(state.activated.0),
                    announced: (announcements > 0).then(|| clock::wall(announced)),
                    announcements,
                    clocks: self.post.clocks(),
                }))
            }
            Event::Superseded { epoch, by } => What::Superseded { epoch: epoch.0, by: by.0 },
            Event::LeaseOver(epoch) => What::LeaseOver { epoch: epoch.0 },
            Event::Yields { epoch, to } => What::Yields { epoch: epoch.0, to: to.0 },
            Event::YieldFailed(epoch) => {
                state.claim = Some((now, 0));
                state.announcements.announce(&self.sender, now);
                What::YieldFailed { epoch: epoch.0 }
            }
            Event::HandedOver(epoch) => What::HandedOver { epoch: epoch.0 },
            Event::NotHeld => What::NotHeld,
            Event::NoSuccessor => What::NoSuccessor,
        };
        news.happened.push((Some(name.clone()), what));
    }

    /// Takes in what has come on a side.
    pub fn hear_probes(&mut self, side: Side, gates: &mut dyn Gates, now: Moment, news: &mut News) {
        let mut claims = Vec::new();
        self.probing.hear(side, now, &mut claims);
        for claim in claims {
            let number = |state: &SeatState| state.seat.number == claim.seat;
            let seat = self.seats.iter().find(|(_, state)| number(state)).map(|(name, _)| name.clone());
            let known = seat.filter(|name| self.seats.get(name).is_some_and(|state| state.seen < claim.epoch));
            if let Some(seat) = known {
                if let Some(state) = self.seats.get_mut(&seat) {
                    state.seen = claim.epoch;
                }
                self.step(Input::HigherEpoch { seat, epoch: Epoch(claim.epoch) }, gates, now, news);
            }
        }
    }

    /// Takes in what has come on a side.
    pub fn hear_letters(&mut self, side: Side, gates: &mut dyn Gates, now: Moment, news: &mut News) {
        let mut messages = Vec::new();
        self.post.hear(side, self.own(now), &mut messages);
        for (from, message) in messages {
            self.step(Input::Message { from: Voter::Gateway(from), message }, gates, now, news);
        }
    }

    /// The agent is alive.
    pub fn hears_agent(&mut self, now: Moment) {
        self.agent.hears(now);
    }

    /// When [`Self::look`] has something to do.
    pub fn deadline(&self) -> Moment {
        let seats = self
            .seats
            .values()
            .flat_map(|state| [state.announcements.deadline(), state.claim.map(|(due, _)| due)].into_iter().flatten());
        seats.chain(self.member.next_deadline()).fold(self.next_tick, Moment::min)
    }

    /// Does what the time asks for.
    pub fn look(&mut self, gates: &mut dyn Gates, now: Moment, news: &mut News) {
        if now >= self.next_tick {
            self.tick(gates, now, news);
            self.next_tick = now + self.configuration.timers.probe();
        }
        if self.member.next_deadline().is_some_and(|due| due <= now) {
            self.step(Input::Timer, gates, now, news);
        }
        let renewal = self.configuration.timers.renewal();
        for state in self.seats.values_mut() {
            state.announcements.look(&self.sender, now);
            if let Some((due, count)) = state.claim.filter(|(due, _)| *due <= now) {
                self.probing.claim(state.seat.number, state.epoch, due.0);
                state.claim = Some((now + CLAIM_AGAIN.get(count).copied().unwrap_or(renewal), count + 1));
            }
        }
    }

    /// Everything that is done with every probe. What has come is taken in before it is judged what has not.
    fn tick(&mut self, gates: &mut dyn Gates, now: Moment, news: &mut News) {
        let heartbeat = self.configuration.timers.heartbeat();
        let late = now.since(self.next_tick);
        if late > heartbeat / 4 {
            self.agent.discount(late, now);
            self.post.discount(late, now);
        }
        for side in [Side::Fabric, Side::Site] {
            self.hear_probes(side, gates, now, news);
            self.hear_letters(side, gates, now, news);
        }
        self.look_at_gates(gates, now, news);
        self.look_after_agent(gates, now, news);
        self.judge(gates, now, news);
        self.probe_holders(now, false);
        self.probing.send(now);
        self.post.keep_company(heartbeat / 3, self.own(now));
        if now.since(self.started) >= self.configuration.timers.lease()
            && let Err(error) = self.memory.keep()
        {
            tracing::debug!(%error, "what was promised cannot be kept");
        }
    }

    fn look_at_gates(&mut self, gates: &mut dyn Gates, now: Moment, news: &mut News) {
        let mut inputs = Vec::new();
        for (name, state) in &mut self.seats {
            let Some(words) = gates.read(state.seat.slot) else { continue };
            if words.seen > state.seen {
                state.seen = words.seen;
                if state.hold != Hold::Replica && words.seen > state.gate_epoch() {
                    news.happened.push((Some(name.clone()), What::Fenced { by: words.seen }));
                }
                inputs.push(Input::HigherEpoch { seat: name.clone(), epoch: Epoch(words.seen) });
            }
            if state.awaits_first && words.first.0 == state.epoch && words.first.1 > 0 {
                state.awaits_first = false;
                let passed = clock::wall(words.first.1);
                news.happened.push((Some(name.clone()), What::FirstPacket { epoch: state.epoch, passed }));
            }
            if let Hold::Yielding { to, .. } = state.hold {
                let is_taken = self.member.holder(name).is_some_and(|(_, epoch, _)| epoch >= to);
                if !is_taken || words.tick != state.quiet.0 {
                    state.quiet = (words.tick, now);
                } else if now.since(state.quiet.1) >= STILL {
                    inputs.push(Input::Still(name.clone()));
                }
            }
        }
        for input in inputs {
            self.step(input, gates, now, news);
        }
    }

    fn look_after_agent(&mut self, gates: &mut dyn Gates, now: Moment, news: &mut News) {
        let timers = self.configuration.timers;
        let before = self.agent.state();
        let state = self.agent.look(&timers, now);
        if state != before {
            let what = match (before, state) {
                (_, AgentState::Silent) => Some(What::AgentSilent),
                (_, AgentState::GivenUp) => Some(What::AgentGivenUp),
                (AgentState::Silent | AgentState::GivenUp, AgentState::Heard) => Some(What::AgentBack),
                _ => None,
            };
            news.happened.extend(what.map(|what| (None, what)));
            if [before, state].contains(&AgentState::GivenUp) {
                let charter = self.lawful();
                self.step(Input::Charter(charter), gates, now, news);
            }
        }
        if self.agent.hands_over(&timers, now) {
            let held = self.seats.iter().filter(|(_, state)| state.holding() == Holding::Held);
            let held: Vec<SeatName> = held.map(|(name, _)| name.clone()).collect();
            for seat in held {
                self.step(Input::HandOver { seat, to: None }, gates, now, news);
            }
        }
    }

    fn port(gateway: &GatewayName, side: Side) -> PathName {
        PathName { gateway: gateway.clone(), question: Question::Port(side) }
    }

    fn through(gateway: &GatewayName, seat: &SeatName, side: Side) -> PathName {
        PathName { gateway: gateway.clone(), question: Question::Through(seat.clone(), side) }
    }

    /// Looks what is to be thought of every gateway, and of every seat's holder.
    fn judge(&mut self, gates: &mut dyn Gates, now: Moment, news: &mut News) {
        let heartbeat = self.configuration.timers.heartbeat();
        let peers: Vec<GatewayName> = self.configuration.peers.iter().map(|peer| peer.name.clone()).collect();
        let signs: Vec<Signs> = peers
            .iter()
            .map(|peer| Signs {
                fabric: self.probing.sign(&Self::port(peer, Side::Fabric), now),
                site: self.probing.sign(&Self::port(peer, Side::Site), now),
                agent: self.post.agent(peer, heartbeat, now),
            })
            .collect();
        let diagnoses = diagnose(&signs);
        for (peer, diagnosis) in peers.iter().zip(&diagnoses) {
            let before = self.diagnoses.insert(peer.clone(), *diagnosis);
            if before.unwrap_or_default() != *diagnosis {
                let last_answer = self.last_port_answer(peer).map(|at| clock::wall(at.0));
                let what = What::Seen { peer: peer.clone(), diagnosis: *diagnosis, last_answer };
                news.happened.push((None, what));
            }
        }
        let mut inputs = Vec::new();
        let names: Vec<SeatName> = self.configuration.charter.seats().keys().cloned().collect();
        for name in names {
            let Some((holder, ..)) = self.member.holder(&name) else { continue };
            let Some(at) = peers.iter().position(|peer| peer == holder) else { continue };
            let (holder, diagnosis) = (holder.clone(), diagnoses[at]);
            let paths = [Side::Fabric, Side::Site].map(|side| Self::through(&holder, &name, side));
            let through = paths.each_ref().map(|path| self.probing.sign(path, now));
            let opinion = opinion(diagnosis, through);
            let Some(state) = self.seats.get_mut(&name) else {
                // This gateway has a vote on it all the same.
                inputs.push(Input::Seen { seat: name, gateway: holder, opinion });
                continue;
            };
            if state.told.as_ref().is_some_and(|(of, told)| *of == holder && *told == opinion) {
                continue;
            }
            let was = state.told.replace((holder.clone(), opinion)).map(|(_, was)| was);
            let lost = paths.iter().zip(through).filter(|(_, sign)| *sign == Sign::Lost);
            let answers: Vec<Moment> = lost.filter_map(|(path, _)| self.probing.last_answer(path)).collect();
            let is_seats_own = !diagnosis.loses_packets();
            if opinion == Opinion::Gone {
                let last = answers.into_iter().min().or_else(|| self.last_port_answer(&holder));
                if let Some(state) = self.seats.get_mut(&name) {
                    state.lost = Some((holder.clone(), now, last));
                }
                if is_seats_own {
                    let last_answer = last.map_or(0, |last| clock::wall(last.0));
                    let what = What::SeatSeen { peer: holder.clone(), passes: false, last_answer };
                    news.happened.push((Some(name.clone()), what));
                }
            } else {
                state.lost = None;
                if was == Some(Opinion::Gone) && is_seats_own && opinion == Opinion::Alive {
                    let what = What::SeatSeen { peer: holder.clone(), passes: true, last_answer: clock::wall(now.0) };
                    news.happened.push((Some(name.clone()), what));
                }
            }
            inputs.push(Input::Seen { seat: name, gateway: holder, opinion });
        }
        for input in inputs {
            self.step(input, gates, now, news);
        }
    }

    fn last_port_answer(&self, peer: &GatewayName) -> Option<Moment> {
        [Side::Fabric, Side::Site].iter().filter_map(|side| self.probing.last_answer(&Self::port(peer, *side))).min()
    }

    /// Has the seats probed where they are held.
    fn probe_holders(&mut self, now: Moment, anew: bool) {
        let held = self.configuration.charter.seats().keys().filter_map(|seat| {
            let (gateway, epoch, _) = self.member.holder(seat)?;
            (*gateway != self.configuration.me).then(|| (seat.clone(), (gateway.clone(), epoch.0)))
        });
        let held: BTreeMap<SeatName, (GatewayName, u64)> = held.collect();
        if held == self.probed && !anew {
            return;
        }
        let mut wanted = BTreeMap::new();
        let site = self.configuration.site;
        for peer in &self.configuration.peers {
            let route = |to, seat, epoch, by, way| Route { to, gateway: peer.number, seat, epoch, by, way };
            let sides = [(Side::Fabric, Some(peer.fabric)), (Side::Site, peer.site.and(site).and(peer.site))];
            for (side, to) in sides {
                let Some(to) = to else { continue };
                wanted.insert(Self::port(&peer.name, side), route(to, 0, 0, side, Way::Back));
            }
            for (seat, (_, epoch)) in held.iter().filter(|(_, (gateway, _))| *gateway == peer.name) {
                let Some(number) = self.seats.get(seat).map(|state| state.seat.number) else { continue };
                for (side, to) in sides {
                    let Some(to) = to else { continue };
                    let way = match (side, sides[1].1) {
                        (_, None) => Way::Back,
                        (Side::Fabric, _) => Way::Site,
                        (Side::Site, _) => Way::Fabric,
                    };
                    wanted.insert(Self::through(&peer.name, seat, side), route(to, number, *epoch, side, way));
                }
            }
        }
        self.probed = held;
        self.probing.want(wanted, &self.configuration.timers, super::random, now);
    }

    /// How each seat is.
    pub fn reports(&self) -> impl Iterator<Item = SeatReport> {
        self.seats.iter().map(|(name, state)| {
            let holder = self.member.holder(name).map(|(gateway, epoch, _)| (gateway.clone(), epoch.0));
            let told = state.told.as_ref().filter(|(of, _)| holder.as_ref().is_some_and(|(holder, _)| holder == of));
            let sight = told.map(|(_, opinion)| *opinion).unwrap_or_default();
            SeatReport { seat: name.clone(), holding: state.holding(), epoch: state.epoch, holder, sight }
        })
    }

    /// This gateway's name.
    pub const fn me(&self) -> &GatewayName {
        &self.configuration.me
    }

    /// How everything is.
    pub fn status(&self, now: Moment) -> Status {
        let seats = self.reports().map(|report| {
            let state = self.seats.get(&report.seat);
            let until = state.and_then(|state| match state.hold {
                Hold::Replica => None,
                Hold::Held(until) | Hold::Yielding { until, .. } => until,
            });
            let lease_ms = until.map(|until| u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX));
            let known = report.holder.as_ref().map_or(0, |(_, epoch)| *epoch).max(report.epoch);
            let succession = self.configuration.charter.seats().get(&report.seat);
            let next = succession.into_iter().flat_map(|succession| succession.beyond(Epoch(known)));
            let next = next.map(|grant| (grant.to.clone(), grant.epoch.0)).collect();
            SeatStatus { report, lease_ms, next }
        });
        let clocks = self.post.clocks();
        let peers = self.configuration.peers.iter().map(|peer| {
            let gaps = self.probing.gaps(&peer.name);
            let micros = |gap: Duration| u64::try_from(gap.as_micros()).unwrap_or(u64::MAX);
            let clock = clocks.iter().find(|clock| clock.gateway == peer.name);
            PeerStatus {
                name: peer.name.clone(),
                diagnosis: self.diagnoses.get(&peer.name).copied().unwrap_or_default(),
                longest_gap_us: micros(gaps.longest),
                longest_discounted_gap_us: micros(gaps.longest_discounted),
                clock_error_us: clock.map(|clock| clock.error_us),
                clock_ahead_us: clock.map(|clock| clock.ahead_us),
            }
        });
        Status {
            me: self.configuration.me.clone(),
            seats: seats.collect(),
            peers: peers.collect(),
            agent: self.agent.state(),
        }
    }
}
