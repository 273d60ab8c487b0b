//! How connections and sessions end, and what stays of them.

use super::*;

impl Session {
    /// Ends a connection with words, and what follows for the session.
    pub(super) fn fail(&mut self, id: ConnectionId, notification: Notification, now: Moment, out: &mut Actions) {
        let Some(connection) = self.say_and_close(id, &notification, now, out) else { return };
        self.ended(connection, Reason::Sent(notification), now, out);
    }

    /// Ends a connection that is one too many: no failure.
    pub(super) fn dismiss(&mut self, id: ConnectionId, notification: Notification, now: Moment, out: &mut Actions) {
        self.say_and_close(id, &notification, now, out);
        if self.next_attempt.is_none() && self.established().is_none() {
            self.retry_later(now);
        }
    }

    /// Ends a connection without words.
    pub(super) fn abort(&mut self, id: ConnectionId, reason: Reason, now: Moment, out: &mut Actions) {
        let Some(connection) = self.take(id) else { return };
        out.push(Action::Close(id, Close::Abort));
        self.ended(connection, reason, now, out);
    }

    pub(super) fn say_and_close(
        &mut self,
        id: ConnectionId,
        notification: &Notification,
        now: Moment,
        out: &mut Actions,
    ) -> Option<Connection> {
        let connection = self.take(id)?;
        if matches!(connection.phase, Phase::Connecting) {
            out.push(Action::Close(id, Close::Abort));
            return Some(connection);
        }
        self.statistics.sent(kind::NOTIFICATION, now);
        self.statistics.connection_closed = Some(now);
        out.push(Action::Send(id, wire::encode_notification(notification)));
        out.push(Action::Close(id, Close::AfterSending));
        Some(connection)
    }

    pub(super) fn end_all(&mut self, notification: &Notification, now: Moment, out: &mut Actions) {
        for id in self.connections.iter().map(|connection| connection.id).collect::<Vec<_>>() {
            self.fail(id, notification.clone(), now, out);
        }
        if self.established_at.is_none() && notification.is_hard_reset() || !self.is_up() {
            self.forget_retained(out);
        }
    }

    pub(super) fn forget_retained(&mut self, out: &mut Actions) {
        while let Some(family) = Family::ALL.into_iter().find_map(|family| self.retained.complete(family)) {
            Self::tell(family, out);
        }
    }

    /// A connection is gone; what that means depends on how far it was.
    pub(super) fn ended(&mut self, connection: Connection, reason: Reason, now: Moment, out: &mut Actions) {
        let lasted = self.established_at.filter(|_| connection.is_established()).map(|at| now.since(at));
        let Some(lasted) = lasted else {
            if matches!(connection.phase, Phase::Connecting) {
                return;
            }
            if self.established().is_none() {
                self.pause_after_failure(now);
                out.push(Action::Event(Event::Failed(reason)));
            }
            return;
        };
        self.established_at = None;
        self.statistics.lost += 1;
        let Phase::Established(agreed) = connection.phase else { return };
        let retained = self.retained_after(&agreed, &reason);
        let fates = match &agreed.negotiated.restart {
            Some(restart) => self.retained.lost(&retained, restart, now),
            None => {
                self.retained.clear();
                Vec::new()
            }
        };
        // What was stale before goes; only then is the rest marked.
        fates.into_iter().for_each(|fate| Self::tell(fate, out));
        out.push(Action::Down { retained: retained.clone() });
        out.push(Action::Event(Event::Lost { reason, retained }));
        if lasted >= STABLE {
            self.begin(now);
        } else {
            self.pause_after_failure(now);
        }
    }

    /// The families whose routes outlast the session's end (RFC 4724, 4.2; RFC 8538, 4).
    pub(super) fn retained_after(&self, agreed: &Agreed, reason: &Reason) -> Vec<Family> {
        let Some(restart) = &agreed.negotiated.restart else { return Vec::new() };
        let stays = match reason {
            Reason::ConnectionClosed | Reason::Replaced => true,
            Reason::Sent(notification) | Reason::Received(notification) => {
                restart.notifications && !notification.is_hard_reset()
            }
            Reason::ConnectFailed => false,
        };
        let waited_for = |family: &Family| {
            restart.time > 0 || restart.long_lived.iter().any(|entry| entry.family == *family && entry.seconds > 0)
        };
        restart
            .families
            .iter()
            .map(|(family, _)| *family)
            .filter(|family| stays && self.is_up() && waited_for(family))
            .filter(|family| agreed.context.families.contains(family) && self.neighbor.families.contains_key(family))
            .collect()
    }

    pub(super) fn pause_after_failure(&mut self, now: Moment) {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = now;
        let timers = &self.neighbor.timers;
        let pause = if now < self.eager_until {
            timers.eager_retry
        } else {
            let doubled = timers.idle_hold.saturating_mul(1 << self.failures.saturating_sub(1).min(16));
            doubled.min(timers.longest_idle_hold)
        };
        let until = now + self.chance.jittered(pause);
        self.pause = Pause::Until(until);
        self.next_attempt = Some(until);
    }

    pub(super) fn tell(fate: Fate, out: &mut Actions) {
        match fate {
            Fate::Gone(family) => out.push(Action::StaleGone(family)),
            Fate::GivenUp(family) => out.extend([Action::StaleGone(family), Action::Event(Event::StaleGone(family))]),
            Fate::LongLived(family) => out.extend([Action::LongLived(family), Action::Event(Event::LongLived(family))]),
        }
    }
}
