//! One speaker: its neighbours' sessions and the routes between them.
//!
//! [`Speaker::step`] is told what happens ([`Input`]) and the time, and appends what it wants done ([`Output`]).
//!
//! | to change | go to |
//! |---|---|
//! | what is configured | `config` |
//! | what it is told and what it wants done | `io` |
//! | what a change of the configuration touches | `change` |
//! | what a session's actions do to the routes | `actions` |
//! | what goes out to neighbours and forwarding | `out` |
//! | when a restart is over | `recovery` |
//! | what would become of a route | `rehearsal` |
//! | what is told to who watches the tables | `watch` |

mod actions;
mod change;
mod config;
mod io;
mod out;
mod recovery;
mod rehearsal;
mod watch;

pub use crate::rib::ClientToClient;
pub use crate::rib::Watch;
pub use crate::session::Close;
pub use config::{
    AsOverride, Config, Decision, DefaultOriginate, Deferral, NeighborConfig, NeighborName, Network, Reflection,
    RouteConfig, SoftReconfiguration, Start,
};
pub use io::{Bfd, Input, NextHopChange, Output, Reset, RouteNextHop};
pub use watch::{Piece, end_of_rib};

use crate::Moment;
use crate::number::Family;
use crate::rib::{Explanation, FamilyCounters, NeighbourId, Reachability, Rib};
use crate::session::{Action, ConnectionId, Negotiated, OwnRestart, Session, State, Statistics};
use crate::wire::Forwarding;
use ipnet::IpNet;
use recovery::Recovery;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

/// One neighbour, live.
#[derive(Debug)]
struct Peer {
    name: NeighborName,
    config: NeighborConfig,
    session: Session,
    /// Under which deadline it stands in the list of timers.
    deadline: Option<Moment>,
    /// The families whose limit of prefixes was warned of.
    warned: BTreeSet<Family>,
}

/// One speaker.
#[derive(Debug)]
pub struct Speaker {
    config: Config,
    rib: Rib,
    peers: HashMap<NeighbourId, Peer>,
    names: BTreeMap<NeighborName, NeighbourId>,
    connections: HashMap<ConnectionId, NeighbourId>,
    timers: BTreeSet<(Moment, NeighbourId)>,
    /// How many sessions there have been: each numbers its connections in a range of its own.
    sessions: u64,
    seed: u64,
    recovery: Option<Recovery>,
    /// A restart is over, and nobody was told.
    recovered_now: bool,
    /// Whether it was said that the table is full, since it last was not.
    full: bool,
    watch: Watch,
}

/// What is known of a neighbour.
#[derive(Debug)]
pub struct NeighborView<'a> {
    /// What is configured.
    pub config: &'a NeighborConfig,
    /// The session's state.
    pub state: State,
    /// Since when it is up.
    pub established_at: Option<Moment>,
    /// What was agreed, while it is up.
    pub negotiated: Option<&'a Negotiated>,
    /// Our address, while it is up.
    pub local_address: Option<IpAddr>,
    /// What was counted, prefixes sent included.
    pub statistics: Statistics,
    /// The table's figures: IPv4, IPv6.
    pub routes: [FamilyCounters; 2],
    /// The table's number for it, as paths name it.
    pub id: NeighbourId,
}

impl Speaker {
    /// A speaker that begins with this configuration. `seed` is for what is left to chance: the jitter of timers.
    pub fn new(config: Config, start: Start, seed: u64, now: Moment, outputs: &mut Vec<Output>) -> Self {
        let mut speaker = Self {
            rib: Rib::new(config.rib()),
            config: Config::new(config.asn, config.router_id),
            peers: HashMap::new(),
            names: BTreeMap::new(),
            connections: HashMap::new(),
            timers: BTreeSet::new(),
            sessions: 0,
            seed,
            recovery: None,
            recovered_now: false,
            full: false,
            watch: Watch::Off,
        };
        speaker.config.cluster_id = config.cluster_id;
        speaker.config.decision = config.decision.clone();
        if let Start::Restart(forwarding) = start {
            speaker.recovery = Some(Recovery::new(forwarding, &config, now));
            speaker.rib.hold();
        }
        speaker.configure(config, now, outputs);
        speaker.flush(now, outputs);
        speaker
    }

    /// Tells the speaker what has happened by `now`; what it wants done is appended to `outputs`.
    pub fn step(&mut self, input: Input<'_>, now: Moment, outputs: &mut Vec<Output>) {
        match input {
            Input::Configure(config) => self.configure(config, now, outputs),
            Input::Connected { connection, local, .. } => {
                self.connection(connection, now, outputs, |session, out| {
                    session.connected(connection, local.ip(), now, out)
                });
            }
            Input::ConnectFailed { connection } => {
                self.connection(connection, now, outputs, |session, out| session.connect_failed(connection, now, out));
                self.connections.remove(&connection);
            }
            Input::Accepted { connection, local, remote } => self.accepted(connection, local, remote, now, outputs),
            Input::Closed { connection } => {
                self.connection(connection, now, outputs, |session, out| session.closed(connection, now, out));
                self.connections.remove(&connection);
            }
            Input::Received { connection, bytes } => {
                self.connection(connection, now, outputs, |session, out| session.received(connection, bytes, now, out));
            }
            Input::Sent { connection, count } => {
                self.connection(connection, now, outputs, |session, _| session.sent(connection, count, now));
            }
            Input::Timer => {}
            Input::Bfd { neighbor, state } => {
                let forwarding = match state {
                    Bfd::Up => None,
                    Bfd::Down => Some(Forwarding::Preserved),
                    Bfd::ForwardingDown => Some(Forwarding::NotPreserved),
                };
                if let (Some(id), Some(forwarding)) = (self.names.get(&neighbor).copied(), forwarding) {
                    self.session(id, now, outputs, |session, out| session.bfd_down(forwarding, now, out));
                }
            }
            Input::NextHop { address, change } => self.resolve(address, change),
            Input::Reset { neighbor, how } => self.reset(&neighbor, &how, now, outputs),
        }
        self.pass_time(now, outputs);
        self.flush(now, outputs);
    }

    /// When [`Input::Timer`] is wanted; changes with every step. At once, while there is more to do than one step does: the owner of many
    /// speakers sees to the others in between.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        if self.rib.is_busy() || self.rib.has_changes() {
            return Some(Moment(0));
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        let recovery = self.recovery.as_ref().map(Recovery::deadline);
        [timer, recovery, self.rib.deadline()].into_iter().flatten().min()
    }

    /// What is configured.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The routes.
    pub const fn rib(&self) -> &Rib {
        &self.rib
    }

    /// Why a prefix's routes stand as they do, and who was sent what.
    pub fn explain(&mut self, prefix: IpNet) -> Option<Explanation> {
        self.rib.explain(prefix)
    }

    /// Tells forwarding everything again, as for one that begins anew.
    pub fn repeat_routes(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        self.rib.repeat_changes();
        self.flush(now, outputs);
    }

    /// What is known of a neighbour.
    pub fn neighbor(&self, name: &NeighborName) -> Option<NeighborView<'_>> {
        let id = *self.names.get(name)?;
        let peer = self.peers.get(&id)?;
        let mut statistics = *peer.session.statistics();
        let routes = Family::ALL.map(|family| self.rib.counters(id, family));
        for (family, counters) in Family::ALL.into_iter().zip(&routes) {
            let counts = statistics.routes(family);
            counts.updates_sent = counters.announcements_out;
            counts.withdrawals_sent = counters.withdrawals_out;
        }
        Some(NeighborView {
            config: &peer.config,
            state: peer.session.state(),
            established_at: peer.session.established_at(),
            negotiated: peer.session.negotiated(),
            local_address: peer.session.local_address(),
            statistics,
            routes,
            id,
        })
    }

    /// The names of all neighbours.
    pub fn neighbors(&self) -> impl Iterator<Item = &NeighborName> {
        self.names.keys()
    }

    /// The name of the neighbour that a path is from; none for the speaker's own.
    pub fn name_of(&self, id: NeighbourId) -> Option<&NeighborName> {
        self.peers.get(&id).map(|peer| &peer.name)
    }

    /// Whether it still waits for routes after a restart.
    pub const fn is_recovering(&self) -> bool {
        self.recovery.is_some()
    }

    fn own_restart(&self) -> OwnRestart {
        self.recovery.as_ref().map_or(OwnRestart::None, Recovery::own_restart)
    }

    /// Runs something on the session that a connection belongs to.
    fn connection(
        &mut self,
        connection: ConnectionId,
        now: Moment,
        outputs: &mut Vec<Output>,
        act: impl FnOnce(&mut Session, &mut Vec<Action>),
    ) {
        if let Some(id) = self.connections.get(&connection).copied() {
            self.session(id, now, outputs, act);
        }
    }

    /// Runs something on a neighbour's session, and does what it wants.
    fn session(
        &mut self,
        id: NeighbourId,
        now: Moment,
        outputs: &mut Vec<Output>,
        act: impl FnOnce(&mut Session, &mut Vec<Action>),
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let mut actions = Vec::new();
        act(&mut peer.session, &mut actions);
        self.perform(id, actions, now, outputs);
        self.rearm(id);
    }

    fn rearm(&mut self, id: NeighbourId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let next = peer.session.next_deadline();
        if next != peer.deadline {
            if let Some(old) = std::mem::replace(&mut peer.deadline, next) {
                self.timers.remove(&(old, id));
            }
            self.timers.extend(next.map(|at| (at, id)));
        }
    }

    fn pass_time(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        while let Some((_, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.session(id, now, outputs, |session, out| session.timeout(now, out));
            // Whatever is due was done; a deadline that stays where it was must not be asked for forever.
            if self.timers.first().is_some_and(|(at, same)| *same == id && *at <= now) {
                let stuck = self.timers.pop_first();
                if let (Some(peer), Some(_)) = (self.peers.get_mut(&id), stuck) {
                    peer.deadline = None;
                }
            }
        }
        if self.rib.deadline().is_some_and(|deadline| deadline <= now) {
            self.rib.tick(now);
        }
        self.recover(now);
    }

    fn accepted(
        &mut self,
        connection: ConnectionId,
        local: SocketAddr,
        remote: SocketAddr,
        now: Moment,
        outputs: &mut Vec<Output>,
    ) {
        let expected = self.peers.iter().find(|(_, peer)| {
            let session = &peer.config.session;
            session.address == remote.ip() && session.local_address.is_none_or(|address| address == local.ip())
        });
        let Some(id) = expected.map(|(id, _)| *id) else {
            outputs.push(Output::Close { connection, how: Close::Abort });
            return;
        };
        self.connections.insert(connection, id);
        self.session(id, now, outputs, |session, out| session.accepted(connection, local.ip(), now, out));
    }

    fn resolve(&mut self, address: IpAddr, change: NextHopChange) {
        let reach = match change {
            NextHopChange::Reachable { metric } => Reachability::Reachable(metric),
            NextHopChange::Unreachable => Reachability::Unreachable,
        };
        let same: Vec<_> = self.rib.next_hops().map(|(hop, ..)| hop).filter(|hop| hop.address() == address).collect();
        for hop in same.into_iter().chain([address.into()]).collect::<BTreeSet<_>>() {
            self.rib.resolve(hop, reach);
        }
    }

    fn reset(&mut self, neighbor: &NeighborName, how: &Reset, now: Moment, outputs: &mut Vec<Output>) {
        let Some(id) = self.names.get(neighbor).copied() else { return };
        match how {
            Reset::Session(words) => self.session(id, now, outputs, |session, out| session.reset(words, now, out)),
            Reset::In => self.ask_again(id, now, outputs),
            Reset::Out => {
                for family in Family::ALL {
                    self.send_again(id, family);
                }
            }
        }
    }
}
