//! What this gateway is to its pool: the member with its gates, its probes, its letters and its announcements.
//!
//! | to change | go to |
//! |---|---|
//! | what follows from what the member decides | [`outputs`] |
//! | what is thought of other gateways and of seats' holders | [`judgement`] |
//! | what is known of a seat | [`seat_state`] |
//! | what is shown | [`status`] |

mod judgement;
mod outputs;
mod seat_state;
mod status;

use self::seat_state::SeatState;
use super::announcements::Announcements;
use super::configuration::Configuration;
use super::gates::Gates;
use super::history::What;
use super::memory::MemoryFile;
use super::ports::{Interfaces, Port};
use super::post::{Own, Post};
use super::probing::Probing;
use super::protocol::{AgentState, Holding};
use super::watch::AgentWatch;
use crate::api::clock;
use crate::net::frame_sender::FrameSender;
use gateway_common::gate::{Gate, State};
use seat::watch::{Diagnosis, Side};
use seat::{Charter, Epoch, GatewayName, Hold, Input, Member, Memory, Message, Moment, SeatName, Succession, Voter};
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
}
