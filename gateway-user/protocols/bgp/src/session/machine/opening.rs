//! From the neighbour's OPEN to a session that is up (RFC 4271, 6.2 and 6.8).

use super::*;

impl Session {
    /// The neighbour's OPEN is there.
    pub(super) fn opened(&mut self, id: ConnectionId, open: &Open, now: Moment, out: &mut Actions) {
        let Some(connection) = self.connections.iter().find(|connection| connection.id == id) else { return };
        let negotiated = match negotiated::negotiate(&self.local, &self.neighbor, &connection.ours, open) {
            Ok(negotiated) => negotiated,
            Err(notification) => return self.fail(id, notification, now, out),
        };
        if !self.prevails(id, open, now, out) {
            return;
        }
        let context = self.context(&negotiated, id);
        let Some(connection) = self.connection_mut(id) else { return };
        let waiting = matches!(connection.phase, Phase::Waiting);
        if negotiated.extended_message {
            connection.framing.extend();
        }
        if waiting {
            self.send_open(id, now, out);
        }
        let Some(connection) = self.connection_mut(id) else { return };
        connection.phase = Phase::OpenConfirm(Box::new(Agreed { negotiated, context }));
        connection.hold = connection.hold_time().map(|hold| now + hold);
        self.send_keepalive(id, now, out);
    }

    /// Whether a connection whose OPEN is good is the one to go on with (RFC 4271, 6.8; RFC 6286, 2.3; RFC 4724, 5). Those
    /// that have to make way are closed.
    pub(super) fn prevails(&mut self, id: ConnectionId, open: &Open, now: Moment, out: &mut Actions) -> bool {
        let since =
            self.connections.iter().find(|connection| connection.id == id).map_or(now, |connection| connection.since);
        let collision = || Notification::cease(cease::COLLISION);
        if let Some(up) = self.established() {
            let settled = self.established_at.is_some_and(|at| at + SETTLED <= since);
            let restarted =
                open.capabilities.graceful_restart.as_ref().is_some_and(|restart| settled || restart.restarted);
            let agreed = up.agreed().is_some_and(|agreed| agreed.negotiated.restart.is_some());
            if !(restarted && agreed) {
                self.dismiss(id, collision(), now, out);
                return false;
            }
            // The neighbour's old connection is nobody's.
            let old = up.id;
            self.abort(old, Reason::Replaced, now, out);
            return self.has(id);
        }
        let confirmed =
            self.connections.iter().find(|other| other.id != id && matches!(other.phase, Phase::OpenConfirm(_)));
        let Some(other) = confirmed.map(|connection| connection.id) else { return true };
        let ours = (self.local.router_id, self.neighbor.local_asn(&self.local));
        let keeps_outgoing = ours > (open.router_id, open.asn);
        let loses = if matches!(id, ConnectionId::Outgoing(_)) == keeps_outgoing { other } else { id };
        self.dismiss(loses, collision(), now, out);
        loses != id
    }

    pub(super) fn context(&self, negotiated: &Negotiated, id: ConnectionId) -> UpdateContext {
        let local =
            self.connections.iter().find(|connection| connection.id == id).and_then(|connection| connection.local);
        UpdateContext {
            peering: negotiated.peering,
            peer_asn: negotiated.asn,
            first_as: self.neighbor.first_as,
            four_octet: negotiated.four_octet,
            families: negotiated.families.iter().map(|agreed| agreed.family).collect(),
            add_path: negotiated
                .families
                .iter()
                .filter(|agreed| agreed.receives_paths)
                .map(|agreed| agreed.family)
                .collect(),
            extended_next_hop: negotiated.extended_next_hop,
            role: negotiated.role,
            own: local.into_iter().chain(self.neighbor.local_address).collect(),
            unreadable: self.neighbor.unreadable,
        }
    }

    pub(super) fn update_contexts(&mut self) {
        let (first_as, unreadable) = (self.neighbor.first_as, self.neighbor.unreadable);
        for connection in &mut self.connections {
            if let Phase::OpenConfirm(agreed) | Phase::Established(agreed) = &mut connection.phase {
                agreed.context.first_as = first_as;
                agreed.context.unreadable = unreadable;
            }
        }
    }

    pub(super) fn establish(&mut self, id: ConnectionId, now: Moment, out: &mut Actions) {
        let stale = self.stale_time();
        let Some(connection) = self.connection_mut(id) else { return };
        let Phase::OpenConfirm(agreed) = std::mem::replace(&mut connection.phase, Phase::Waiting) else { return };
        let negotiated = agreed.negotiated.clone();
        connection.phase = Phase::Established(agreed);
        self.established_at = Some(now);
        self.statistics.established += 1;
        self.next_attempt = None;
        let others: Vec<ConnectionId> =
            self.connections.iter().map(|other| other.id).filter(|other| *other != id).collect();
        for other in others {
            self.dismiss(other, Notification::cease(cease::COLLISION), now, out);
        }
        for fate in self.retained.returned(negotiated.restart.as_ref(), stale, now) {
            Self::tell(fate, out);
        }
        out.push(Action::Established(Box::new(negotiated.clone())));
        out.push(Action::Event(Event::Established(Box::new(negotiated))));
    }
}
