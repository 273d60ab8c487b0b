//! Messages and timers of a connection, and attempts to open one.

use super::*;

impl Session {
    pub(super) fn is_up(&self) -> bool {
        self.neighbor.administrative == Administrative::Up
    }

    pub(super) fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == id)
    }

    pub(super) fn established(&self) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.is_established())
    }

    pub(super) fn take(&mut self, id: ConnectionId) -> Option<Connection> {
        let at = self.connections.iter().position(|connection| connection.id == id)?;
        Some(self.connections.swap_remove(at))
    }

    /// RFC 8538: a neighbour that keeps routes over notifications has to be told where it should not.
    pub(super) fn hard(&self, notification: Notification) -> Notification {
        let keeps =
            self.negotiated().and_then(|agreed| agreed.restart.as_ref()).is_some_and(|restart| restart.notifications);
        if keeps { notification.into_hard_reset() } else { notification }
    }

    pub(super) fn begin(&mut self, now: Moment) {
        self.failures = 0;
        self.pause = Pause::None;
        self.eager_until = now + self.neighbor.timers.eager_for;
        self.next_attempt = Some(now);
    }

    pub(super) fn may_attempt(&self) -> bool {
        let busy = |connection: &Connection| {
            !matches!(connection.phase, Phase::Waiting) || matches!(connection.id, ConnectionId::Outgoing(_))
        };
        self.is_up() && self.neighbor.mode.connects() && !self.connections.iter().any(busy)
    }

    pub(super) fn attempt(&mut self, now: Moment, out: &mut Actions) {
        let due = self.next_attempt.is_some_and(|at| at <= now);
        if !due || self.pause != Pause::None || !self.may_attempt() {
            return;
        }
        let id = ConnectionId::Outgoing(self.next_number);
        self.next_number += 1;
        let mut connection = Connection::new(id, negotiated::open(&self.local, &self.neighbor, self.own_restart), now);
        connection.hold = Some(now + self.neighbor.timers.connect_retry.max(Duration::from_secs(1)));
        self.connections.push(connection);
        self.next_attempt = None;
        out.push(Action::Connect(id));
    }

    pub(super) fn retry_later(&mut self, now: Moment) {
        let timers = &self.neighbor.timers;
        let retry = if now < self.eager_until { timers.eager_retry } else { timers.connect_retry };
        self.next_attempt = Some(now + self.chance.jittered(retry));
    }

    pub(super) fn connection_timeout(&mut self, id: ConnectionId, now: Moment, out: &mut Actions) {
        let over = |deadline: Option<Moment>| deadline.is_some_and(|deadline| deadline <= now);
        let Some(connection) = self.connection_mut(id) else { return };
        if over(connection.hold) {
            match connection.phase {
                Phase::Connecting => {
                    out.push(Action::Close(id, Close::Abort));
                    self.connect_failed(id, now, out);
                }
                // Nothing was said yet: a NOTIFICATION would come before an OPEN.
                Phase::Waiting => self.abort(id, Reason::Sent(Notification::hold_timer_expired()), now, out),
                _ => self.fail(id, Notification::hold_timer_expired(), now, out),
            }
            return;
        }
        if over(connection.send_hold) {
            // RFC 9687, 4.4: nobody would read the notification.
            self.statistics.connection_closed = Some(now);
            self.abort(id, Reason::Sent(Notification::send_hold_timer_expired()), now, out);
            return;
        }
        if over(connection.delay_open) {
            self.send_open(id, now, out);
            return;
        }
        if over(connection.keepalive) {
            self.send_keepalive(id, now, out);
        }
    }

    pub(super) fn send(&mut self, id: ConnectionId, kind: u8, bytes: Bytes, now: Moment, out: &mut Actions) {
        let send_hold = self.neighbor.timers.send_hold;
        let Some(connection) = self.connection_mut(id) else { return };
        connection.sends(bytes.len(), send_hold, now);
        self.statistics.sent(kind, now);
        out.push(Action::Send(id, bytes));
    }

    pub(super) fn send_open(&mut self, id: ConnectionId, now: Moment, out: &mut Actions) {
        let Some(connection) = self.connection_mut(id) else { return };
        connection.phase = Phase::OpenSent;
        connection.delay_open = None;
        let open = wire::encode_open(&connection.ours);
        self.send(id, kind::OPEN, open, now, out);
    }

    pub(super) fn send_keepalive(&mut self, id: ConnectionId, now: Moment, out: &mut Actions) {
        let Some(connection) = self.connections.iter_mut().find(|connection| connection.id == id) else { return };
        connection.keepalive = connection.hold_time().map(|hold| now + self.chance.jittered(hold / 3));
        // Where a window's worth waits, the neighbour does not lack signs of life; it does not read.
        if connection.unsent < WINDOW {
            self.send(id, kind::KEEPALIVE, wire::encode_keepalive(), now, out);
        }
    }

    pub(super) fn message(&mut self, id: ConnectionId, message: Message, now: Moment, out: &mut Actions) {
        let Some(connection) = self.connection_mut(id) else { return };
        if let Some(hold) = connection.hold_time() {
            connection.hold = Some(now + hold);
        }
        if let Message::Notification(notification) = message {
            let Some(connection) = self.take(id) else { return };
            self.statistics.connection_closed = Some(now);
            out.push(Action::Close(id, Close::AfterSending));
            self.ended(connection, Reason::Received(notification), now, out);
            return;
        }
        let kind = message.kind();
        match (&mut connection.phase, message) {
            (Phase::Waiting | Phase::OpenSent, Message::Open(open)) => self.opened(id, &open, now, out),
            (Phase::OpenConfirm(_), Message::Keepalive) => self.establish(id, now, out),
            (Phase::Established(_), Message::Keepalive) => {}
            (Phase::Established(agreed), Message::Update(update)) => {
                match wire::decode_update(&update, &agreed.context) {
                    Ok(update) => self.update(update, now, &mut *out),
                    Err(UpdateError::Disable(family)) => {
                        agreed.context.families.retain(|other| *other != family);
                        out.extend([Action::Disabled(family), Action::Event(Event::Disabled(family))]);
                    }
                    Err(UpdateError::Reset(notification)) => self.fail(id, notification, now, out),
                }
            }
            (Phase::Established(agreed), Message::Refresh(refresh)) => {
                let Some(family) = refresh.family.filter(|family| agreed.negotiated.has(*family)) else { return };
                let enhanced = agreed.negotiated.enhanced_refresh;
                match refresh.kind {
                    RefreshKind::Request => out.push(Action::RefreshWanted(family)),
                    RefreshKind::Begin if enhanced => {
                        let stale = self.stale_time();
                        self.retained.refreshing(family, stale, now);
                        out.push(Action::Stale(family));
                    }
                    RefreshKind::End if enhanced => {
                        self.retained.complete(family).into_iter().for_each(|fate| Self::tell(fate, out));
                    }
                    _ => {}
                }
            }
            (Phase::OpenConfirm(_), _) => {
                self.fail(id, Notification::out_of_turn(OutOfTurn::OpenConfirm, kind), now, out)
            }
            (Phase::Established(_), _) => {
                self.fail(id, Notification::out_of_turn(OutOfTurn::Established, kind), now, out)
            }
            _ => self.fail(id, Notification::out_of_turn(OutOfTurn::OpenSent, kind), now, out),
        }
    }

    pub(super) fn stale_time(&self) -> Duration {
        self.neighbor.graceful_restart.unwrap_or_default().stale
    }

    pub(super) fn update(&mut self, update: Update, now: Moment, out: &mut Actions) {
        if let Some(worst) = update.faults.iter().map(|fault| fault.disposition).max() {
            match worst {
                Disposition::DiscardAttribute => self.statistics.attributes_discarded += 1,
                Disposition::TreatAsWithdraw => self.statistics.treated_as_withdrawn += 1,
            }
        }
        out.extend(update.faults.iter().map(|fault| Action::Event(Event::Faulty(*fault))));
        for announcement in &update.announced {
            let prefixes = &announcement.prefixes;
            self.statistics.routes(prefixes.family()).updates_received += prefixes.len() as u64;
            self.retained.announced(prefixes.family());
        }
        for list in &update.withdrawn {
            self.statistics.routes(list.family()).withdrawals_received += list.len() as u64;
        }
        match update.end_of_rib {
            None => out.push(Action::Update(update)),
            Some(family) => {
                self.retained.ended(family, now).into_iter().for_each(|fate| Self::tell(fate, out));
                out.extend([Action::EndOfRib(family), Action::Event(Event::EndOfRib(family))]);
            }
        }
    }
}
