//! What goes out: changes to forwarding, UPDATEs to neighbours as far as they take them.

use super::{Output, RouteNextHop, Speaker};
use crate::Moment;
use crate::number::Family;
use crate::rib::{NeighbourId, SLICE, Update};
use crate::session::{Action, Negotiated};
use crate::wire::{Encoder, NlriEntry, RefreshKind};
use bytes::BytesMut;

/// How much is handed to a connection at a time.
const BATCH: usize = 16 * 1024;
/// How much an UPDATE may have.
const LIMIT: u16 = 4096;

impl Speaker {
    /// Tells everybody what has changed.
    pub(super) fn flush(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        self.rib.go_on(SLICE);
        self.tell_watchers(outputs);
        self.tell_forwarding(outputs);
        if !self.rib.has_changes() {
            self.tell_recovered(outputs);
        }
        let waiting: Vec<NeighbourId> = self
            .peers
            .iter()
            .filter(|(id, peer)| peer.session.room() > 0 && self.rib.has_updates(**id))
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.send_updates(id, now, outputs);
        }
    }

    /// Tells forwarding what has changed, as much as is told at once.
    pub(super) fn tell_forwarding(&mut self, outputs: &mut Vec<Output>) {
        let peers = &self.peers;
        self.rib.drain_changes(SLICE, |prefix, paths| {
            let next_hops = paths
                .iter()
                .filter(|path| !path.next_hop.is_self())
                .filter_map(|path| {
                    let neighbor = peers.get(&path.neighbour)?.name.clone();
                    Some(RouteNextHop { address: path.next_hop.address(), neighbor })
                })
                .collect();
            outputs.push(Output::Route { prefix, next_hops });
        });
    }

    fn send_updates(&mut self, id: NeighbourId, now: Moment, outputs: &mut Vec<Output>) {
        let Some(encoder) = self.peers.get(&id).and_then(|peer| peer.session.negotiated()).map(encoder) else { return };
        let mut bytes = BytesMut::with_capacity(BATCH);
        let mut messages = 0;
        loop {
            let room = self.peers.get(&id).map_or(0, |peer| peer.session.room());
            let update = if bytes.len() < room { self.rib.next_update(id, usize::from(encoder.limit)) } else { None };
            let mark = match &update {
                Some(Update::BeginOfRefresh(family)) => Some((*family, RefreshKind::Begin)),
                Some(Update::EndOfRefresh(family)) => Some((*family, RefreshKind::End)),
                _ => None,
            };
            let done = update.is_none();
            if let Some(update) = update {
                messages += self.encode(&encoder, update, &mut bytes);
            }
            if !bytes.is_empty() && (done || mark.is_some() || bytes.len() >= BATCH) {
                let (batch, count) = (bytes.split().freeze(), std::mem::take(&mut messages));
                self.hand_over(id, outputs, |session, out| session.send_updates(batch, count, now, out));
            }
            if let Some((family, kind)) = mark {
                self.hand_over(id, outputs, |session, out| session.send_refresh(family, kind, now, out));
            }
            if done {
                break;
            }
        }
        self.rearm(id);
    }

    fn hand_over(
        &mut self,
        id: NeighbourId,
        outputs: &mut Vec<Output>,
        act: impl FnOnce(&mut crate::session::Session, &mut Vec<Action>),
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let mut actions = Vec::new();
        act(&mut peer.session, &mut actions);
        outputs.extend(actions.into_iter().filter_map(|action| match action {
            Action::Send(connection, bytes) => Some(Output::Send { connection, bytes }),
            _ => None,
        }));
    }

    /// Writes an update's messages; how many they are.
    fn encode(&self, encoder: &Encoder, update: Update, into: &mut BytesMut) -> u64 {
        let entry = |one: &crate::rib::Nlri| NlriEntry { prefix: one.prefix, path: one.path_id };
        let mut messages = 0;
        match update {
            Update::Announce { family, attributes, nlri } => {
                let canonical = self.rib.attributes().canonical(attributes);
                let mut list = nlri.iter().map(entry).peekable();
                while list.peek().is_some() {
                    if encoder.announce(family, canonical, &mut list, into).is_err() {
                        // Nobody can be told of such a route; what was said of the prefix before does not hold either.
                        encoder.withdraw(family, &mut list, into);
                    }
                    messages += 1;
                }
            }
            Update::Withdraw { family, nlri } => {
                let mut list = nlri.iter().map(entry).peekable();
                while list.peek().is_some() {
                    encoder.withdraw(family, &mut list, into);
                    messages += 1;
                }
            }
            Update::EndOfRib(family) => {
                encoder.end_of_rib(family, into);
                messages += 1;
            }
            Update::BeginOfRefresh(_) | Update::EndOfRefresh(_) => {}
        }
        messages
    }
}

fn encoder(agreed: &Negotiated) -> Encoder {
    let sends_paths = |family: &Family| agreed.family(*family).is_some_and(|agreed| agreed.sends_paths);
    Encoder {
        limit: if agreed.extended_message { u16::MAX } else { LIMIT },
        four_octet: agreed.four_octet,
        add_path: Family::ALL.into_iter().filter(sends_paths).collect(),
    }
}
