//! What a change of the configuration touches: what differs, and no session that need not end.

use super::{Config, NeighborConfig, NeighborName, Network, Output, Peer, Speaker};
use crate::Moment;
use crate::number::PathId;
use crate::rib::{AfterChange, Rib};
use crate::session::Session;
use std::collections::BTreeSet;

impl Speaker {
    pub(super) fn configure(&mut self, config: Config, now: Moment, outputs: &mut Vec<Output>) {
        let was = std::mem::replace(&mut self.config, config);
        let gone: Vec<NeighborName> =
            self.names.keys().filter(|name| !self.config.neighbors.contains_key(*name)).cloned().collect();
        for name in gone {
            self.remove(&name, now, outputs);
        }
        let anew = was.rib() != self.config.rib();
        if anew {
            self.begin_anew(now, outputs);
        }
        let wanted: Vec<(NeighborName, NeighborConfig)> =
            self.config.neighbors.iter().map(|(name, config)| (name.clone(), config.clone())).collect();
        for (name, config) in wanted {
            match self.names.get(&name).copied() {
                None => self.add(name, config, now),
                Some(id) => {
                    let local = self.config.local();
                    let Some(peer) = self.peers.get_mut(&id) else { continue };
                    if peer.config == config && was.local() == local {
                        continue;
                    }
                    peer.config = config.clone();
                    let settings = config.rib(&local);
                    // The session first: what ends it takes its routes along.
                    self.session(id, now, outputs, |session, out| session.configure(local, config.session, now, out));
                    if self.rib.change_neighbour(id, settings, now) == Ok(AfterChange::RefreshNeeded) {
                        self.ask_again(id, now, outputs);
                    }
                }
            }
        }
        let before = if anew { &[][..] } else { &was.networks };
        self.originate(before, now);
    }

    fn originate(&mut self, was: &[Network], now: Moment) {
        let wanted: BTreeSet<_> = self.config.networks.iter().map(|network| network.prefix.trunc()).collect();
        for network in was {
            if !wanted.contains(&network.prefix.trunc()) {
                self.rib.withdraw_local(network.prefix, PathId(0), now);
            }
        }
        for network in &self.config.networks {
            if !was.contains(network) {
                self.rib.originate(network.prefix, PathId(0), &network.attributes(), now);
            }
        }
    }

    fn add(&mut self, name: NeighborName, config: NeighborConfig, now: Moment) {
        let local = self.config.local();
        let id = self.rib.add_neighbour(config.rib(&local));
        self.sessions += 1;
        let seed = self.seed.wrapping_add(self.sessions.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let session = Session::new(local, config.session.clone(), self.own_restart(), self.sessions << 32, seed, now);
        self.peers.insert(id, Peer { name: name.clone(), config, session, deadline: None, warned: BTreeSet::new() });
        self.names.insert(name, id);
        self.rearm(id);
    }

    fn remove(&mut self, name: &NeighborName, now: Moment, outputs: &mut Vec<Output>) {
        let Some(id) = self.names.get(name).copied() else { return };
        self.session(id, now, outputs, |session, out| session.remove(now, out));
        self.rib.remove_neighbour(id, now);
        self.names.remove(name);
        if let Some(deadline) = self.peers.remove(&id).and_then(|peer| peer.deadline) {
            self.timers.remove(&(deadline, id));
        }
        self.connections.retain(|_, of| *of != id);
        self.forget_waiting(id);
    }

    /// How routes are chosen has changed, or who we are: no session outlasts that.
    fn begin_anew(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        for name in self.names.keys().cloned().collect::<Vec<_>>() {
            self.remove(&name, now, outputs);
        }
        // What was forwarded is taken back before the table that knows of it goes.
        self.flush(now, outputs);
        while self.rib.has_changes() {
            self.tell_forwarding(outputs);
        }
        self.rib = Rib::new(self.config.rib());
        self.rib.watch(self.watch);
        if self.recovery.is_some() {
            self.rib.hold();
        }
    }
}
