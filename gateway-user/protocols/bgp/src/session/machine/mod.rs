//! The state machine itself: what it holds, and what may happen to it.

mod ending;
mod opening;
mod progress;

use super::chance::Chance;
use super::config::{Administrative, Local, MaxPrefixes, Neighbor};
use super::connection::{Agreed, Connection, Phase};
use super::negotiated::{self, Negotiated, OwnRestart};
use super::retained::{Fate, Retained};
use super::statistics::Statistics;
use super::{Action, Close, ConnectionId, Event, Reason, State};
use crate::Moment;
use crate::number::Family;
use crate::wire::{
    self, Disposition, Message, Notification, Open, OutOfTurn, RefreshKind, Update, UpdateContext, UpdateError, cease,
    kind,
};
use bytes::Bytes;
use std::net::IpAddr;
use std::time::Duration;

/// How much may be under way in a connection before UPDATEs wait.
pub const WINDOW: usize = 64 * 1024;
/// A session that lasted this long was no failure: the next attempt is eager, and pauses begin anew.
const STABLE: Duration = Duration::from_secs(30);
/// A connection that comes this long after a session is up is not one that collided with it.
const SETTLED: Duration = Duration::from_secs(1);
/// So many failures in a row are forgiven to a neighbour that connects to us.
const FORGIVEN: u32 = 3;

/// Why nothing is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    None,
    /// Until then.
    Until(Moment),
    /// Until somebody sees to it.
    Held,
}

/// One neighbour's state machine.
#[derive(Debug)]
pub struct Session {
    local: Local,
    neighbor: Neighbor,
    own_restart: OwnRestart,
    connections: Vec<Connection>,
    next_number: u64,
    pause: Pause,
    next_attempt: Option<Moment>,
    eager_until: Moment,
    failures: u32,
    failed_at: Moment,
    established_at: Option<Moment>,
    retained: Retained,
    chance: Chance,
    statistics: Statistics,
}

type Actions = Vec<Action>;

impl Session {
    /// A session that begins. Its own connections are numbered from `first_number` on.
    pub fn new(
        local: Local,
        neighbor: Neighbor,
        own_restart: OwnRestart,
        first_number: u64,
        seed: u64,
        now: Moment,
    ) -> Self {
        let mut session = Self {
            local,
            neighbor,
            own_restart,
            connections: Vec::new(),
            next_number: first_number,
            pause: Pause::None,
            next_attempt: None,
            eager_until: now,
            failures: 0,
            failed_at: now,
            established_at: None,
            retained: Retained::default(),
            chance: Chance::new(seed),
            statistics: Statistics::default(),
        };
        session.begin(now);
        session
    }

    /// What is configured.
    pub const fn neighbor(&self) -> &Neighbor {
        &self.neighbor
    }

    /// What is counted.
    pub const fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// What is counted, to be added to: the speaker counts the prefixes that it sends.
    pub const fn statistics_mut(&mut self) -> &mut Statistics {
        &mut self.statistics
    }

    /// The state of whichever connection is farthest.
    pub fn state(&self) -> State {
        let waits = if self.is_up() && self.pause == Pause::None { State::Active } else { State::Idle };
        self.connections.iter().map(Connection::state).max().unwrap_or(waits)
    }

    /// What was agreed, while the session is up.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.established().and_then(Connection::agreed).map(|agreed| &agreed.negotiated)
    }

    /// The connection of a session that is up, and the two OPENs, headers included: ours and the neighbour's.
    pub fn opens(&self) -> Option<(ConnectionId, Bytes, Bytes)> {
        let connection = self.established()?;
        Some((connection.id, wire::encode_open(&connection.ours), connection.theirs.clone()))
    }

    /// Our address in the connection of a session that is up.
    pub fn local_address(&self) -> Option<IpAddr> {
        self.established().and_then(|connection| connection.local)
    }

    /// Since when the session is up.
    pub const fn established_at(&self) -> Option<Moment> {
        self.established_at
    }

    /// How many octets of UPDATEs may be sent; 0 while the session is not up.
    pub fn room(&self) -> usize {
        self.established().map_or(0, |connection| WINDOW.saturating_sub(connection.unsent))
    }

    /// Whether a connection is this session's.
    pub fn has(&self, id: ConnectionId) -> bool {
        self.connections.iter().any(|connection| connection.id == id)
    }

    /// When [`Session::timeout`] is wanted; changes with every call.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let pause = match self.pause {
            Pause::Until(until) => Some(until),
            Pause::None | Pause::Held => None,
        };
        let attempt = self.next_attempt.filter(|_| self.may_attempt() && self.pause == Pause::None);
        self.connections
            .iter()
            .map(Connection::next_deadline)
            .chain([pause, attempt, self.retained.next_deadline()])
            .flatten()
            .min()
    }

    /// Where the daemon stands after its own restart; holds for the next OPEN.
    pub const fn set_own_restart(&mut self, own_restart: OwnRestart) {
        self.own_restart = own_restart;
    }

    /// Time has passed.
    pub fn timeout(&mut self, now: Moment, out: &mut Actions) {
        for fate in self.retained.expire(now) {
            Self::tell(fate, out);
        }
        let due: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|connection| connection.next_deadline().is_some_and(|deadline| deadline <= now))
            .map(|connection| connection.id)
            .collect();
        for id in due {
            self.connection_timeout(id, now, out);
        }
        if matches!(self.pause, Pause::Until(until) if until <= now) {
            self.pause = Pause::None;
        }
        self.attempt(now, out);
    }

    /// A connection that was asked for is open.
    pub fn connected(&mut self, id: ConnectionId, local: IpAddr, now: Moment, out: &mut Actions) {
        let delay = self.neighbor.timers.delay_open;
        let open_hold = self.neighbor.timers.open_hold;
        let Some(connection) = self.connection_mut(id) else { return };
        connection.local = Some(local);
        connection.phase = Phase::Waiting;
        connection.hold = Some(now + open_hold);
        self.statistics.connection_established = Some(now);
        if delay.is_zero() {
            self.send_open(id, now, out);
        } else if let Some(connection) = self.connection_mut(id) {
            connection.delay_open = Some(now + delay);
        }
    }

    /// A connection that was asked for could not be opened.
    pub fn connect_failed(&mut self, id: ConnectionId, now: Moment, out: &mut Actions) {
        if self.take(id).is_none() {
            return;
        }
        self.retry_later(now);
        if self.failures == 0 {
            self.failures = 1;
            out.push(Action::Event(Event::Failed(Reason::ConnectFailed)));
        }
    }

    /// The neighbour has connected to us.
    pub fn accepted(&mut self, id: ConnectionId, local: IpAddr, now: Moment, out: &mut Actions) {
        // Our own pause must not keep the neighbour out for long: two of them that pause would never meet.
        let damped = self.failures > FORGIVEN && now < self.failed_at + self.neighbor.timers.idle_hold;
        if !self.is_up() || !self.neighbor.mode.accepts() || self.pause == Pause::Held {
            let words = wire::encode_notification(&Notification::cease(cease::REJECTED));
            self.statistics.sent(kind::NOTIFICATION, now);
            out.extend([Action::Send(id, words), Action::Close(id, Close::AfterSending)]);
            return;
        }
        if damped {
            out.push(Action::Close(id, Close::Abort));
            return;
        }
        // Whoever opens a second one has forgotten the first.
        let older = self
            .connections
            .iter()
            .find(|other| matches!(other.id, ConnectionId::Incoming(_)) && !other.is_established());
        if let Some(older) = older.map(|connection| connection.id) {
            self.dismiss(older, Notification::cease(cease::COLLISION), now, out);
        }
        let mut connection = Connection::new(id, negotiated::open(&self.local, &self.neighbor, self.own_restart), now);
        connection.local = Some(local);
        connection.phase = Phase::Waiting;
        connection.hold = Some(now + self.neighbor.timers.open_hold);
        self.connections.push(connection);
        self.statistics.connection_established = Some(now);
        let delay = self.neighbor.timers.delay_open;
        // Beside a session that is up, the neighbour has to say first that it means it.
        if self.established().is_some() {
            return;
        }
        if delay.is_zero() {
            self.send_open(id, now, out);
        } else if let Some(connection) = self.connection_mut(id) {
            connection.delay_open = Some(now + delay);
        }
    }

    /// A connection is gone.
    pub fn closed(&mut self, id: ConnectionId, now: Moment, out: &mut Actions) {
        let Some(connection) = self.take(id) else { return };
        self.statistics.connection_closed = Some(now);
        self.ended(connection, Reason::ConnectionClosed, now, out);
    }

    /// Bytes have come.
    pub fn received(&mut self, id: ConnectionId, bytes: &[u8], now: Moment, out: &mut Actions) {
        if let Some(connection) = self.connection_mut(id) {
            connection.framing.push(bytes);
        }
        while let Some(next) = self.connection_mut(id).and_then(|connection| connection.framing.next()) {
            match next {
                Ok(received) => {
                    self.statistics.received(received.message.kind(), now);
                    if let (Message::Open(_), Some(connection)) = (&received.message, self.connection_mut(id)) {
                        connection.theirs = received.bytes;
                    }
                    self.message(id, received.message, now, out);
                }
                Err(notification) => self.fail(id, notification, now, out),
            }
        }
    }

    /// Bytes have left.
    pub fn sent(&mut self, id: ConnectionId, octets: usize, now: Moment) {
        let send_hold = self.neighbor.timers.send_hold;
        if let Some(connection) = self.connection_mut(id) {
            connection.sent(octets, send_hold, now);
        }
    }

    /// BFD says that packets do not pass (RFC 5882, 10.1; RFC 9384).
    pub fn bfd_down(&mut self, forwarding: wire::Forwarding, now: Moment, out: &mut Actions) {
        let down = Notification::cease(cease::BFD_DOWN);
        let down = match forwarding {
            wire::Forwarding::Preserved => down,
            wire::Forwarding::NotPreserved => self.hard(down),
        };
        if let Some(id) = self.established().map(|connection| connection.id) {
            self.fail(id, down, now, out);
        } else if forwarding == wire::Forwarding::NotPreserved {
            // What a neighbour's restart had kept leads nowhere (RFC 5882, 4.3.2).
            self.forget_retained(out);
        }
    }

    /// There are more prefixes than the limit.
    pub fn too_many_prefixes(&mut self, family: Family, limit: MaxPrefixes, now: Moment, out: &mut Actions) {
        let Some(id) = self.established().map(|connection| connection.id) else { return };
        let words = self.hard(Notification::max_prefixes(family, limit.limit));
        self.fail(id, words, now, out);
        self.pause = limit.restart.map_or(Pause::Held, |after| Pause::Until(now + after));
        self.next_attempt = limit.restart.map(|after| now + after);
    }

    /// An operator wants the session begun again.
    pub fn reset(&mut self, words: &str, now: Moment, out: &mut Actions) {
        let notification = self.hard(Notification::administrative(cease::RESET, words));
        self.end_all(&notification, now, out);
        self.begin(now);
    }

    /// The neighbour is not configured any more: the session is to be forgotten after this.
    pub fn remove(&mut self, now: Moment, out: &mut Actions) {
        let notification = self.hard(Notification::cease(cease::DECONFIGURED));
        self.end_all(&notification, now, out);
        self.pause = Pause::Held;
    }

    /// The configuration has changed.
    pub fn configure(&mut self, local: Local, neighbor: Neighbor, now: Moment, out: &mut Actions) {
        let was = std::mem::replace(&mut self.neighbor, neighbor);
        let same_local = local == std::mem::replace(&mut self.local, local);
        match (&was.administrative, &self.neighbor.administrative) {
            (Administrative::Up, Administrative::Down(words)) => {
                let notification = self.hard(Notification::administrative(cease::SHUTDOWN, words));
                self.end_all(&notification, now, out);
                return;
            }
            (Administrative::Down(_), Administrative::Up) => {
                self.begin(now);
                return;
            }
            _ => {}
        }
        if !same_local || needs_reset(&was, &self.neighbor) {
            self.end_all(&Notification::cease(cease::CONFIGURATION), now, out);
            self.begin(now);
        } else if was != self.neighbor {
            if self.pause == Pause::Held {
                self.begin(now);
            }
            self.update_contexts();
        }
    }

    /// UPDATEs of the speaker's go out, as many as it counted.
    pub fn send_updates(&mut self, bytes: Bytes, messages: u64, now: Moment, out: &mut Actions) {
        let Some(id) = self.established().map(|connection| connection.id) else { return };
        self.statistics.update.sent.count += messages.saturating_sub(1);
        self.send(id, kind::UPDATE, bytes, now, out);
    }

    /// A family's routes are wanted again, or ours are about to be sent again, or were. Marks are for neighbours that know them.
    pub fn send_refresh(&mut self, family: Family, refresh: RefreshKind, now: Moment, out: &mut Actions) {
        let Some(connection) = self.established() else { return };
        let knows = connection.agreed().is_some_and(|agreed| match refresh {
            RefreshKind::Request => agreed.negotiated.route_refresh,
            _ => agreed.negotiated.enhanced_refresh,
        } && agreed.negotiated.has(family));
        let id = connection.id;
        if knows {
            self.send(id, kind::REFRESH, wire::encode_refresh(family, refresh), now, out);
        }
    }
}

/// What cannot change under a session.
fn needs_reset(was: &Neighbor, is: &Neighbor) -> bool {
    let families = |neighbor: &Neighbor| {
        neighbor.families.iter().map(|(family, config)| (*family, config.add_path)).collect::<Vec<_>>()
    };
    was.address != is.address
        || was.local_address != is.local_address
        || was.port != is.port
        || was.asn != is.asn
        || was.local_asn != is.local_asn
        || was.role != is.role
        || was.authentication != is.authentication
        || was.distance != is.distance
        || (was.timers.hold, was.timers.least_hold) != (is.timers.hold, is.timers.least_hold)
        || families(was) != families(is)
}
