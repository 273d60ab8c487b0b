//! What a session's actions do to the routes.

use super::{NeighborName, Output, Speaker};
use crate::Moment;
use crate::attributes::Attributes;
use crate::number::Family;
use crate::rib::{Enhanced, LimitScope, NeighbourId, Nlri, SessionFacts};
use crate::session::{Action, Event, MaxPrefixes, Negotiated, OwnRestart};
use crate::wire::{RefreshKind, Update};
use std::net::{IpAddr, SocketAddr};

impl Speaker {
    pub(super) fn perform(&mut self, id: NeighbourId, actions: Vec<Action>, now: Moment, outputs: &mut Vec<Output>) {
        for action in actions {
            match action {
                Action::Connect(connection) => {
                    let Some(peer) = self.peers.get(&id) else { continue };
                    self.connections.insert(connection, id);
                    outputs.push(Output::Connect {
                        connection,
                        neighbor: peer.name.clone(),
                        local: peer.config.session.local_address,
                        remote: SocketAddr::new(peer.config.session.address, peer.config.session.port),
                    });
                }
                Action::Close(connection, how) => {
                    self.connections.remove(&connection);
                    outputs.push(Output::Close { connection, how });
                }
                Action::Send(connection, bytes) => outputs.push(Output::Send { connection, bytes }),
                Action::Event(event) => self.tell(id, event, outputs),
                Action::Established(agreed) => self.up(id, &agreed, now),
                Action::Down { retained } => {
                    self.rib.session_down(id, &retained, now);
                    if let Some(peer) = self.peers.get_mut(&id) {
                        peer.warned.clear();
                    }
                }
                Action::Update(update) => self.update(id, &update, now, outputs),
                Action::Stale(family) => self.rib.begin_refresh(id, family),
                Action::StaleGone(family) => {
                    self.rib.end_of_rib(id, family, now);
                    self.rib.end_refresh(id, family, now);
                }
                Action::LongLived(family) => self.rib.keep_for_long(id, family, now),
                Action::Disabled(family) => {
                    // All are marked, none is sent again: all go.
                    self.rib.begin_refresh(id, family);
                    self.rib.end_refresh(id, family, now);
                }
                Action::EndOfRib(family) => self.heard_out(id, family, now),
                Action::RefreshWanted(family) => self.send_again(id, family),
            }
        }
    }

    pub(super) fn tell(&self, id: NeighbourId, event: Event, outputs: &mut Vec<Output>) {
        if let Some(peer) = self.peers.get(&id) {
            outputs.push(Output::Event { neighbor: NeighborName::clone(&peer.name), event });
        }
    }

    fn up(&mut self, id: NeighbourId, agreed: &Negotiated, now: Moment) {
        let is_recovering = self.recovery.is_some();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !is_recovering {
            peer.session.set_own_restart(OwnRestart::None);
        }
        let routes = &peer.config.routes;
        let local = peer.session.local_address();
        let (v4, v6) = match local {
            Some(IpAddr::V4(address)) => (Some(address), None),
            Some(IpAddr::V6(address)) => (None, Some(address)),
            None => (None, None),
        };
        // A neighbour that is spoken to by IPv6 and takes IPv6 next hops reaches that address for certain (RFC 8950).
        let other_v4 = routes.next_hop_v4.filter(|_| v6.is_none() || !agreed.extended_next_hop);
        let link_local = v6.filter(|address| address.is_unicast_link_local());
        let facts = SessionFacts {
            router_id: agreed.router_id,
            families: agreed.families.iter().map(|agreed| agreed.family).collect(),
            add_path_send: agreed
                .families
                .iter()
                .filter(|agreed| agreed.sends_paths)
                .map(|agreed| agreed.family)
                .collect(),
            extended_next_hop: agreed.extended_next_hop,
            four_octet_asn: agreed.four_octet,
            long_lived: agreed.restart.as_ref().is_some_and(|restart| !restart.long_lived.is_empty()),
            local_v4: v4.or(other_v4),
            local_v6: v6.filter(|_| link_local.is_none()).or(routes.next_hop_v6).or(link_local),
            local_link: link_local.or(routes.link_local),
        };
        // The neighbour is there: it was found above.
        let _ = self.rib.session_up(id, facts, now);
        self.expect_routes(id, agreed, now);
    }

    fn update(&mut self, id: NeighbourId, update: &Update, now: Moment, outputs: &mut Vec<Output>) {
        let convert = |entry: crate::wire::NlriEntry| Nlri { prefix: entry.prefix, path_id: entry.path };
        for gone in &update.withdrawn {
            let list: Vec<Nlri> = gone.iter().map(convert).collect();
            self.rib.withdraw(id, &list, now);
        }
        for announcement in &update.announced {
            let Some(attributes) = Attributes::decode(&announcement.attributes) else { continue };
            let list: Vec<Nlri> = announcement.prefixes.iter().map(convert).collect();
            let received = self.rib.announce(id, &attributes, &list, now);
            self.limits(id, announcement.prefixes.family(), received.exceeded, now, outputs);
        }
    }

    /// Sees to the limits after an announcement.
    fn limits(
        &mut self,
        id: NeighbourId,
        family: Family,
        exceeded: Option<LimitScope>,
        now: Moment,
        outputs: &mut Vec<Output>,
    ) {
        if exceeded == Some(LimitScope::Table) && !std::mem::replace(&mut self.full, true) {
            self.tell(id, Event::TableFull, outputs);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(limit) = peer.config.max_prefixes(family) else { return };
        let count = self.rib.counters(id, family).paths;
        if matches!(exceeded, Some(LimitScope::Neighbour(..))) || count > limit.limit {
            self.session(id, now, outputs, |session, out| session.too_many_prefixes(family, limit, now, out));
        } else if count >= warning(limit) && peer.warned.insert(family) {
            self.tell(id, Event::PrefixWarning { family, count, limit: limit.limit }, outputs);
        }
    }

    /// The neighbour is to send its routes again; the session begins again where it cannot be asked.
    pub(super) fn ask_again(&mut self, id: NeighbourId, now: Moment, outputs: &mut Vec<Output>) {
        self.session(id, now, outputs, |session, out| {
            let Some(agreed) = session.negotiated() else { return };
            let families: Vec<Family> = agreed.families.iter().map(|agreed| agreed.family).collect();
            if agreed.route_refresh {
                families.into_iter().for_each(|family| session.send_refresh(family, RefreshKind::Request, now, out));
            } else {
                session.reset("", now, out);
            }
        });
    }

    /// Our routes go to the neighbour again.
    pub(super) fn send_again(&mut self, id: NeighbourId, family: Family) {
        let Some(agreed) = self.peers.get(&id).and_then(|peer| peer.session.negotiated()) else { return };
        if agreed.has(family) {
            let enhanced = if agreed.enhanced_refresh { Enhanced::Yes } else { Enhanced::No };
            self.rib.refresh(id, family, enhanced);
        }
    }
}

/// From how many prefixes on a warning is given.
fn warning(limit: MaxPrefixes) -> u32 {
    let share = u64::from(limit.limit) * u64::from(limit.warning_percent.min(100)) / 100;
    u32::try_from(share).unwrap_or(u32::MAX).max(1)
}
