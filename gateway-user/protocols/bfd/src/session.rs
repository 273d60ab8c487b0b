//! One neighbour's session (RFC 5880, 6).
//!
//! ```text
//!                              +--+
//!                              |  | UP, ADMIN DOWN, TIMER
//!                              |  V
//!                      DOWN  +------+  INIT
//!               +------------|      |------------+
//!               |            | DOWN |            |
//!               |  +-------->|      |<--------+  |
//!               |  |         +------+         |  |
//!               |  |                          |  |
//!               |  |               ADMIN DOWN,|  |
//!               |  |ADMIN DOWN,          DOWN,|  |
//!               |  |TIMER                TIMER|  |
//!               V  |                          |  V
//!             +------+                      +------+
//!        +----|      |                      |      |----+
//!    DOWN|    | INIT |--------------------->|  UP  |    |INIT, UP
//!        +--->|      | INIT, UP             |      |<---+
//!             +------+                      +------+
//! ```

use crate::auth::{AuthError, Authenticator, Key};
use crate::packet::{
    ControlPlane, DecodeError, Diagnostic, Discriminator, Encoded, Mode, Packet, Received, Sequence, State,
};
use crate::status::{Cause, Failure, Remote, Status};
use crate::timers::{Interval, Timers, jittered};
use gateway_common::moment::Moment;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use thiserror::Error;

/// Who speaks first (RFC 5880, 6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// We, whether anybody listens or not.
    #[default]
    Active,
    /// The neighbour.
    Passive,
}

/// What a session is to run with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Settings {
    /// Who speaks first.
    #[serde(default)]
    pub role: Role,
    /// How fast.
    #[serde(default)]
    pub timers: Timers,
    /// What both ends know, if packets are to be authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
}

/// What a session wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A packet to the neighbour.
    Send(Encoded),
    /// State or failure are others than before: [`Session::status`].
    Changed,
}

/// Whether what comes from the neighbour is carried on by whoever forwards here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// As far as is known.
    #[default]
    Works,
    /// It is not.
    Broken,
}

/// Why a packet was discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It is no valid packet.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// It came over a router, or from somebody who pretends (RFC 5881, 5; 5883, 4).
    #[error("its TTL is {0}, so it has come too far")]
    Ttl(u8),
    /// It names no session, or one that another neighbour has.
    #[error("no session with its sender has that discriminator")]
    NoSession,
    /// It is not to be believed.
    #[error(transparent)]
    Unauthenticated(#[from] AuthError),
    /// We are switched off.
    #[error("the session is switched off here")]
    AdminDown,
    /// Nothing is forwarded here, whatever the neighbour says.
    #[error("nothing is forwarded here")]
    ForwardingBroken,
}

/// How many pauses of ours are excused in one silence of the neighbour.
const EXCUSES: u8 = 10;

/// What both ends' intervals are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offer {
    desired_min_tx: Interval,
    required_min_rx: Interval,
}

/// Where a poll sequence of ours is (6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poll {
    Idle,
    /// Our packets carry P until one with F comes.
    Asking,
    /// It came; answers to earlier packets of the sequence may follow, so the next one waits for a packet without F.
    Settling,
}

/// What the neighbour said (6.8.1).
#[derive(Clone, Debug)]
struct Neighbour {
    heard: Option<Remote>,
    required_min_rx: Interval,
    mode: Mode,
}

impl Neighbour {
    const UNHEARD: Self = Self { heard: None, required_min_rx: Interval(1), mode: Mode::Asynchronous };

    fn state(&self) -> State {
        self.heard.as_ref().map_or(State::Down, |heard| heard.state)
    }

    fn discriminator(&self) -> Option<Discriminator> {
        self.heard.as_ref()?.discriminator
    }
}

/// One neighbour's session.
#[derive(Clone, Debug)]
pub struct Session {
    discriminator: Discriminator,
    settings: Settings,
    auth: Option<Authenticator>,
    state: State,
    diagnostic: Diagnostic,
    neighbour: Neighbour,
    failure: Option<Failure>,
    forwarding: Forwarding,
    /// What our packets say.
    offered: Offer,
    /// What is in force; both differ only while [`Poll::Asking`].
    agreed: Offer,
    poll: Poll,
    last_sent: Option<Moment>,
    /// When the next packet is due, and for which interval that was computed.
    next_send: Option<(Moment, Duration)>,
    last_heard: Option<Moment>,
    /// For how long of the silence we were not there to hear.
    excused: Duration,
    excuses: u8,
}

impl Session {
    /// A session that is down. `random` is any number; our first packet is due at once.
    pub fn new(discriminator: Discriminator, settings: Settings, now: Moment, random: u32) -> Self {
        let offer = offer(State::Down, &settings.timers);
        let mut session = Self {
            discriminator,
            auth: settings.key.clone().map(|key| Authenticator::new(key, random)),
            settings,
            state: State::Down,
            diagnostic: Diagnostic::NONE,
            neighbour: Neighbour::UNHEARD,
            failure: None,
            forwarding: Forwarding::Works,
            offered: offer,
            agreed: offer,
            poll: Poll::Idle,
            last_sent: None,
            next_send: None,
            last_heard: None,
            excused: Duration::ZERO,
            excuses: 0,
        };
        session.schedule(now, random);
        session
    }

    /// Our name for the session.
    pub fn discriminator(&self) -> Discriminator {
        self.discriminator
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.state
    }

    /// All that is told of it.
    pub fn status(&self) -> Status {
        Status {
            state: self.state,
            diagnostic: self.diagnostic,
            discriminator: self.discriminator,
            remote: self.neighbour.heard.clone(),
            transmit_interval: self.transmit_interval(),
            detection_time: self.detection_time().map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
            failure: self.failure,
        }
    }

    /// What it is to run with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Other settings. Timers take effect by a poll sequence, without the session going down; so does the key, if the neighbour's
    /// changes within the detection time.
    pub fn set(&mut self, settings: Settings, now: Moment, random: u32, out: &mut Vec<Output>) {
        if self.auth.as_ref().map(Authenticator::key) != settings.key.as_ref() {
            self.auth = settings.key.clone().map(|key| Authenticator::new(key, random));
        }
        self.settings = settings;
        let before = self.poll;
        if self.negotiate() != before {
            self.send_news(now, random, out);
        }
        self.schedule(now, random);
    }

    /// Switches the session off, which is no failure (6.8.16). The neighbour is told for as long as [`Self::farewell`] says.
    pub fn disable(&mut self, now: Moment, random: u32, out: &mut Vec<Output>) {
        if self.state != State::AdminDown {
            self.failure = None;
            self.become_state(State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN, now, random, out);
        }
        self.schedule(now, random);
    }

    /// Whether this end forwards. While it does not, the session is down, and the neighbour is told why (6.8.17): our C bit makes that the
    /// path's end for it.
    pub fn set_forwarding(&mut self, forwarding: Forwarding, now: Moment, random: u32, out: &mut Vec<Output>) {
        self.forwarding = forwarding;
        if forwarding == Forwarding::Broken && matches!(self.state, State::Init | State::Up) {
            self.become_state(State::Down, Diagnostic::FORWARDING_PLANE_RESET, now, random, out);
        }
        self.schedule(now, random);
    }

    /// For how long a neighbour has to be told that the session is off, so that it surely knows (6.8.16).
    pub fn farewell(&self) -> Duration {
        self.transmit_interval().duration() * u32::from(self.settings.timers.multiplier().get())
    }

    /// When [`Self::elapse`] is to be called next. To be asked again after every other call.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let send = self.next_send.map(|(moment, _)| moment);
        send.into_iter().chain(self.silence_ends()).min()
    }

    /// Whether [`Self::elapse`] would find the neighbour silent for too long. Who asks had better look first whether something waits to
    /// be received.
    pub fn expires(&self, now: Moment) -> bool {
        self.silence_ends().is_some_and(|end| end <= now)
    }

    /// We did not run for so long, and could not hear: that time is not counted as the neighbour's silence. Pauses that matter little are
    /// not looked at, and no more than a few are excused in one silence: a real failure is found, however slow this machine is.
    pub fn excuse(&mut self, pause: Duration) {
        let matters = self.detection_time().is_some_and(|time| pause >= time / 10);
        if matters && self.excuses < EXCUSES {
            self.excuses += 1;
            self.excused += pause;
        }
    }

    /// Time has passed.
    pub fn elapse(&mut self, now: Moment, random: u32, out: &mut Vec<Output>) {
        if self.expires(now) {
            self.fall_silent(now, random, out);
        }
        if self.next_send.is_some_and(|(moment, _)| moment <= now) {
            self.send(Sequence::Outside, now, random, out);
        }
    }

    /// A packet that has come from the neighbour, in order (6.8.6).
    ///
    /// # Errors
    /// It was discarded.
    pub fn receive(
        &mut self,
        received: &Received<'_>,
        now: Moment,
        random: u32,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let packet = &received.packet;
        if packet.your_discriminator.is_some_and(|it| it != self.discriminator) {
            return Err(Refusal::NoSession);
        }
        self.authenticate(received, now)?;
        if self.forwarding == Forwarding::Broken {
            return Err(Refusal::ForwardingBroken);
        }
        let state_before = self.neighbour.state();
        self.neighbour = Neighbour {
            heard: Some(Remote {
                state: packet.state,
                diagnostic: packet.diagnostic,
                discriminator: Some(packet.my_discriminator),
                control_plane: packet.control_plane,
                desired_min_tx: packet.desired_min_tx,
                required_min_rx: packet.required_min_rx,
                multiplier: packet.multiplier,
            }),
            required_min_rx: packet.required_min_rx,
            mode: packet.mode,
        };
        self.last_heard = Some(now);
        (self.excused, self.excuses) = (Duration::ZERO, 0);
        match (packet.sequence, self.poll) {
            (Sequence::Final, Poll::Asking) => {
                self.agreed = self.offered;
                self.poll = Poll::Settling;
            }
            (Sequence::Outside | Sequence::Poll, Poll::Settling) => {
                self.poll = Poll::Idle;
                if self.negotiate() == Poll::Asking {
                    self.send_news(now, random, out);
                }
            }
            _ => {}
        }
        if self.state == State::AdminDown {
            self.schedule(now, random);
            return Err(Refusal::AdminDown);
        }
        let before = self.state;
        self.follow(packet, now, random, out);
        if self.state == before && packet.state != state_before {
            out.push(Output::Changed);
        }
        if packet.sequence == Sequence::Poll {
            self.send(Sequence::Final, now, random, out);
        }
        self.schedule(now, random);
        Ok(())
    }

    fn authenticate(&mut self, received: &Received<'_>, now: Moment) -> Result<(), AuthError> {
        // Twice the detection time without a packet: the neighbour may number its packets anew (6.8.1).
        let long = self.detection_time().map(|time| time * 2);
        let silent = self.last_heard.zip(long).is_some_and(|(last, long)| now.since(last) >= long);
        match (&mut self.auth, &received.section) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(AuthError::Unexpected),
            (Some(_), None) => Err(AuthError::Missing),
            (Some(auth), Some(section)) => {
                if silent {
                    auth.forget_sequence();
                }
                auth.check(section, received.bytes, received.packet.multiplier)
            }
        }
    }

    /// The state machine (6.8.6).
    fn follow(&mut self, packet: &Packet, now: Moment, random: u32, out: &mut Vec<Output>) {
        let signaled = Diagnostic::NEIGHBOR_SIGNALED_DOWN;
        match (self.state, packet.state) {
            (State::AdminDown, _) | (State::Down, State::Up) => {}
            (State::Down, State::AdminDown) => {
                // It says now that nothing failed.
                if self.failure.take().is_some() {
                    out.push(Output::Changed);
                }
            }
            (_, State::AdminDown) => self.become_state(State::Down, signaled, now, random, out),
            (State::Down, State::Down) => self.become_state(State::Init, Diagnostic::NONE, now, random, out),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                self.failure = None;
                self.become_state(State::Up, Diagnostic::NONE, now, random, out);
            }
            (State::Init, State::Down) | (State::Up, State::Init | State::Up) => {}
            (State::Up, State::Down) => {
                self.failure = Some(Failure { cause: Cause::Signaled, control_plane: packet.control_plane });
                self.become_state(State::Down, signaled, now, random, out);
            }
        }
    }

    /// The detection time has passed (6.8.4): whatever the state, the neighbour's discriminator is unknown (6.8.1).
    fn fall_silent(&mut self, now: Moment, random: u32, out: &mut Vec<Output>) {
        let control_plane = self.neighbour.heard.as_ref().map_or(ControlPlane::Shared, |heard| heard.control_plane);
        if let Some(heard) = &mut self.neighbour.heard {
            heard.discriminator = None;
            heard.state = State::Down;
        }
        // One that wanted nothing, or asked when it wanted to know, may not be there any more to say so.
        self.neighbour = Neighbour { heard: self.neighbour.heard.take(), ..Neighbour::UNHEARD };
        self.last_heard = None;
        (self.excused, self.excuses) = (Duration::ZERO, 0);
        match self.state {
            State::Up => {
                self.failure = Some(Failure { cause: Cause::Silence, control_plane });
                self.become_state(State::Down, Diagnostic::DETECTION_TIME_EXPIRED, now, random, out);
            }
            State::Init => {
                self.become_state(State::Down, Diagnostic::DETECTION_TIME_EXPIRED, now, random, out);
            }
            State::Down | State::AdminDown => {}
        }
        self.schedule(now, random);
    }

    fn become_state(&mut self, state: State, diagnostic: Diagnostic, now: Moment, random: u32, out: &mut Vec<Output>) {
        self.state = state;
        self.diagnostic = diagnostic;
        out.push(Output::Changed);
        self.negotiate();
        // The neighbour learns it at once (6.8.7).
        self.send_news(now, random, out);
    }

    /// Offers what the settings want in this state (6.8.3). While the session is up, a slower pace of ours waits until the neighbour knows
    /// of it, and so does a shorter time for it to be silent.
    fn negotiate(&mut self) -> Poll {
        let wanted = offer(self.state, &self.settings.timers);
        if self.state != State::Up {
            self.poll = Poll::Idle;
            self.offered = wanted;
            self.agreed = wanted;
        } else if wanted != self.offered && self.poll == Poll::Idle {
            self.offered = wanted;
            self.agreed.desired_min_tx = self.agreed.desired_min_tx.min(wanted.desired_min_tx);
            self.agreed.required_min_rx = self.agreed.required_min_rx.max(wanted.required_min_rx);
            self.poll = Poll::Asking;
        }
        self.poll
    }

    /// The time between our packets, without jitter (6.8.7).
    fn transmit_interval(&self) -> Interval {
        self.agreed.desired_min_tx.max(self.neighbour.required_min_rx)
    }

    /// How long the neighbour may be silent (6.8.4): its multiplier, and the slower of its pace and what we can take.
    fn detection_time(&self) -> Option<Duration> {
        let heard = self.neighbour.heard.as_ref()?;
        let interval = self.agreed.required_min_rx.max(heard.desired_min_tx);
        Some(interval.duration() * u32::from(heard.multiplier.get()))
    }

    fn silence_ends(&self) -> Option<Moment> {
        Some(self.last_heard? + self.detection_time()? + self.excused)
    }

    /// Whether anything may be sent without having been asked for (6.8.7).
    fn may_speak(&self) -> bool {
        let waits = self.settings.role == Role::Passive && self.neighbour.discriminator().is_none();
        !waits && self.neighbour.required_min_rx != Interval::ZERO
    }

    /// Whether packets go out at intervals.
    fn is_periodic(&self) -> bool {
        let demand =
            self.neighbour.mode == Mode::Demand && self.state == State::Up && self.neighbour.state() == State::Up;
        self.may_speak() && (!demand || self.poll == Poll::Asking)
    }

    /// Computes when the next packet is due, unless that holds already.
    fn schedule(&mut self, now: Moment, random: u32) {
        if !self.is_periodic() {
            self.next_send = None;
            return;
        }
        let interval = self.transmit_interval().duration();
        if self.next_send.is_some_and(|(_, computed_for)| computed_for == interval) {
            return;
        }
        let wait = jittered(interval, self.settings.timers.multiplier(), random);
        self.next_send = Some((self.last_sent.map_or(now, |last| last + wait), interval));
    }

    fn send_news(&mut self, now: Moment, random: u32, out: &mut Vec<Output>) {
        if self.may_speak() {
            self.send(Sequence::Outside, now, random, out);
        }
    }

    fn send(&mut self, sequence: Sequence, now: Moment, random: u32, out: &mut Vec<Output>) {
        let asks = sequence == Sequence::Outside && self.poll == Poll::Asking;
        let packet = Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            sequence: if asks { Sequence::Poll } else { sequence },
            control_plane: ControlPlane::Independent,
            mode: Mode::Asynchronous,
            multiplier: self.settings.timers.multiplier(),
            my_discriminator: self.discriminator,
            your_discriminator: self.neighbour.discriminator(),
            desired_min_tx: self.offered.desired_min_tx,
            required_min_rx: self.offered.required_min_rx,
            required_min_echo_rx: Interval::ZERO,
        };
        let mut encoded = packet.encode();
        if let Some(auth) = &mut self.auth {
            auth.sign(&mut encoded);
        }
        out.push(Output::Send(encoded));
        self.last_sent = Some(now);
        self.next_send = None;
        self.schedule(now, random);
    }
}

fn offer(state: State, timers: &Timers) -> Offer {
    let desired = timers.desired_min_tx();
    Offer {
        desired_min_tx: if state == State::Up { desired } else { desired.max(Interval::SLOW) },
        required_min_rx: timers.required_min_rx(),
    }
}

#[cfg(test)]
mod tests;
