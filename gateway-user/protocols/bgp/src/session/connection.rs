//! One connection of a session: how far its opening is, its timers, and how much of what was sent has not left.

use super::negotiated::Negotiated;
use super::{ConnectionId, State};
use crate::Moment;
use crate::wire::{Framing, Open, UpdateContext};
use bytes::Bytes;
use std::net::IpAddr;
use std::time::Duration;

/// How far a connection is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Asked for.
    Connecting,
    /// Open; our OPEN waits for the neighbour's, or for its time.
    Waiting,
    /// Our OPEN is sent.
    OpenSent,
    /// Both OPENs are good.
    OpenConfirm(Box<Agreed>),
    /// Up.
    Established(Box<Agreed>),
}

/// What holds once both OPENs are there.
#[derive(Debug)]
pub(super) struct Agreed {
    pub negotiated: Negotiated,
    pub context: UpdateContext,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub id: ConnectionId,
    pub phase: Phase,
    pub since: Moment,
    pub local: Option<IpAddr>,
    pub framing: Framing,
    /// The OPEN that we send by it.
    pub ours: Open,
    /// The neighbour's, as it came; nothing before.
    pub theirs: Bytes,
    /// The end of the wait for something to come.
    pub hold: Option<Moment>,
    /// When our OPEN goes out though the neighbour's is not there.
    pub delay_open: Option<Moment>,
    /// When the next KEEPALIVE is due.
    pub keepalive: Option<Moment>,
    /// When what is unsent must have moved.
    pub send_hold: Option<Moment>,
    /// Octets that the owner of the socket has not given to the kernel.
    pub unsent: usize,
}

impl Connection {
    pub fn new(id: ConnectionId, ours: Open, now: Moment) -> Self {
        Self {
            id,
            phase: Phase::Connecting,
            since: now,
            local: None,
            framing: Framing::default(),
            ours,
            theirs: Bytes::new(),
            hold: None,
            delay_open: None,
            keepalive: None,
            send_hold: None,
            unsent: 0,
        }
    }

    pub const fn state(&self) -> State {
        match self.phase {
            Phase::Connecting => State::Connect,
            Phase::Waiting => State::Active,
            Phase::OpenSent => State::OpenSent,
            Phase::OpenConfirm(_) => State::OpenConfirm,
            Phase::Established(_) => State::Established,
        }
    }

    pub const fn agreed(&self) -> Option<&Agreed> {
        match &self.phase {
            Phase::OpenConfirm(agreed) | Phase::Established(agreed) => Some(agreed),
            _ => None,
        }
    }

    pub const fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Established(_))
    }

    /// The negotiated hold time; `None` where neither side watches the other.
    pub fn hold_time(&self) -> Option<Duration> {
        let seconds = self.agreed()?.negotiated.hold_time;
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    pub fn next_deadline(&self) -> Option<Moment> {
        [self.hold, self.delay_open, self.keepalive, self.send_hold].into_iter().flatten().min()
    }

    /// Counts what goes out.
    pub fn sends(&mut self, octets: usize, send_hold: Duration, now: Moment) {
        if self.unsent == 0 && !send_hold.is_zero() {
            self.send_hold = Some(now + send_hold);
        }
        self.unsent += octets;
    }

    /// Counts what has left.
    pub fn sent(&mut self, octets: usize, send_hold: Duration, now: Moment) {
        self.unsent = self.unsent.saturating_sub(octets);
        self.send_hold = (self.unsent > 0 && !send_hold.is_zero()).then(|| now + send_hold);
    }
}
