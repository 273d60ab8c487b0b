//! One tenant's router: its speaker, the sockets in its compartment, and what became of its peers.

use super::monitor::{self, Monitor};
use super::report::Peers;
use super::socket;
use super::stream::{Opener, RouterKey, Stream, Teller, What, accept};
use super::subject::Subject;
use crate::dataplane::learned::{Change, Way};
use crate::net::netns::Netns;
use bgp::Moment;
use bgp::number::Family;
use bgp::session::{Authentication, Close, ConnectionId, Event};
use bgp::speaker::{Config, Input, NeighborName, Output, Speaker, Start};
use ipnet::IpNet;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Connections that a peer may have at once: one of each side, and their successors while those end.
const CONNECTIONS: usize = 4;

/// Changes in one batch for the data plane.
const BATCH: usize = 4096;

enum Connection {
    Opening(AbortHandle, NeighborName),
    Open(Stream, IpAddr),
}

struct Listener {
    task: AbortHandle,
    /// Shared with the task.
    socket: socket2::Socket,
    /// Whose segments are signed, and how.
    signed: HashMap<IpAddr, Authentication>,
}

/// The compartment, or the host's own namespace.
struct Place {
    namespace: Arc<Netns>,
    inode: u64,
}

/// One tenant's router.
pub(super) struct Router {
    pub(super) subject: Subject,
    pub(super) speaker: Speaker,
    place: Option<Place>,
    listeners: HashMap<Family, Listener>,
    connections: HashMap<ConnectionId, Connection>,
    incoming: u64,
    opener: Opener,
    teller: Teller,
    /// What has changed, each prefix once however often it does while the agent is busy.
    pending: HashMap<IpNet, Vec<Way>>,
    /// The same, on its way to the agent in batches.
    outbox: VecDeque<Vec<Change>>,
    recovered: BTreeSet<Family>,
    told_recovered: Recovery,
    pub(super) peers: Peers,
    /// Sessions came or went, of which the agent was not told.
    peers_changed: bool,
    pub(super) monitor: Monitor,
}

/// Whether the agent was told that nothing of an earlier daemon is waited for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recovery {
    /// It is under way.
    Waiting,
    /// All is there, and it is to be told.
    Due,
    /// It was told.
    Told,
}

/// What the agent is to be told next.
pub(super) enum News {
    Routes(Vec<Change>),
    Recovered,
    /// Sessions came or went; so many are up.
    Peers {
        up: usize,
    },
}

impl Router {
    /// A router for somebody.
    pub(super) fn new(
        subject: Subject,
        config: Config,
        start: Start,
        (opener, teller): (Opener, Teller),
        now: Moment,
    ) -> Self {
        let RouterKey(key) = teller.router;
        let seed = now.0 ^ key.rotate_left(32);
        let mut outputs = Vec::new();
        let is_own = subject.tenant().is_none();
        let speaker = Speaker::new(config, start, seed, now, &mut outputs);
        let mut router = Self {
            subject,
            speaker,
            place: None,
            listeners: HashMap::new(),
            connections: HashMap::new(),
            incoming: 0,
            opener,
            teller,
            pending: HashMap::new(),
            outbox: VecDeque::new(),
            recovered: BTreeSet::new(),
            told_recovered: if start == Start::Fresh || is_own { Recovery::Told } else { Recovery::Waiting },
            peers: Peers::default(),
            peers_changed: false,
            monitor: Monitor::default(),
        };
        router.act(outputs, now);
        router
    }

    /// Whose it is.
    pub(super) fn name(&self) -> &str {
        self.subject.name()
    }

    /// Takes another plan.
    pub(super) fn configure(&mut self, subject: Subject, config: Config, now: Moment) {
        self.subject = subject;
        self.peers.keep(&config);
        self.step(Input::Configure(config), now);
        self.listen();
    }

    /// Ends all sessions for good.
    pub(super) fn end(&mut self, now: Moment) {
        let mut config = self.speaker.config().clone();
        config.neighbors.clear();
        self.step(Input::Configure(config), now);
        self.close_listeners();
    }

    /// Ends without a word, as somebody does who is gone: neighbours keep what they know of its successor's routes.
    pub(super) fn fall_silent(&mut self) {
        self.close_listeners();
        for (_, connection) in self.connections.drain() {
            match connection {
                Connection::Opening(task, _) => task.abort(),
                Connection::Open(stream, _) => stream.close(Close::Abort),
            }
        }
    }

    fn close_listeners(&mut self) {
        self.listeners.drain().for_each(|(_, listener)| listener.task.abort());
    }

    /// Opens the compartment if it is there, and listens in it. Whether all is as it should be.
    pub(super) fn enter(&mut self, directory: &Path) -> bool {
        let path = self.subject.namespace(directory);
        let inode = match &path {
            Some(path) => std::fs::metadata(path).map(|metadata| metadata.ino()).ok(),
            None => Some(0),
        };
        if self.place.as_ref().map(|place| place.inode) != inode {
            // Sockets in one that is gone lead nowhere; their peers and their speaker notice that by themselves.
            self.close_listeners();
            self.place = inode.zip(path.map_or_else(Netns::current, |path| Netns::open(&path)).ok()).map(
                |(inode, namespace)| {
                    let namespace = Arc::new(namespace);
                    Place { namespace, inode }
                },
            );
        }
        self.listen();
        self.place.is_some() && self.wanted_families().all(|family| self.listeners.contains_key(&family))
    }

    /// Families of which a peer may connect to us.
    fn wanted_families(&self) -> impl Iterator<Item = Family> + use<'_> {
        Family::ALL.into_iter().filter(|family| {
            let mut neighbors = self.speaker.config().neighbors.values();
            neighbors.any(|it| it.session.mode.accepts() && Family::of(it.session.address) == *family)
        })
    }

    /// Listens for those who may connect, with the passwords that they have.
    fn listen(&mut self) {
        let wanted: BTreeSet<Family> = self.wanted_families().collect();
        self.listeners.retain(|family, listener| {
            let stays = wanted.contains(family);
            if !stays {
                listener.task.abort();
            }
            stays
        });
        let Some(place) = &self.place else { return };
        for family in wanted {
            if !self.listeners.contains_key(&family) {
                match open_listener(&place.namespace, family, &self.teller) {
                    Ok(listener) => drop(self.listeners.insert(family, listener)),
                    Err(error) => {
                        tracing::warn!(tenant = self.name(), %error, "nobody can connect to the tenant's router yet");
                        continue;
                    }
                }
            }
        }
        let subject = &self.subject;
        for (family, listener) in &mut self.listeners {
            let peers = subject.peers().iter().filter(|peer| Family::of(peer.address) == *family);
            let keys: HashMap<IpAddr, Authentication> = peers
                .filter_map(|peer| Some((peer.address, subject.security(peer)?.authentication)))
                .filter(|(_, authentication)| *authentication != Authentication::None)
                .collect();
            listener.sign(keys, subject.name());
        }
    }

    /// Takes what happened to a socket.
    pub(super) fn happened(&mut self, what: What, now: Moment) {
        match what {
            What::Connected { connection, stream, local, remote } => {
                if matches!(self.connections.get(&connection), Some(Connection::Opening(..))) {
                    let stream = Stream::new(connection, stream, &self.teller);
                    self.connections.insert(connection, Connection::Open(stream, remote.ip()));
                    self.step(Input::Connected { connection, local, remote }, now);
                }
            }
            What::ConnectFailed { connection, error } => {
                if let Some(Connection::Opening(_, neighbor)) = self.connections.remove(&connection) {
                    self.peers.failed(self.subject.name(), &neighbor, &error.to_string());
                    self.step(Input::ConnectFailed { connection }, now);
                }
            }
            What::Accepted { stream, local, remote, _turn } => self.accepted(stream, local, remote, now),
            What::Received { connection, bytes, _turn } => {
                if self.connections.contains_key(&connection) {
                    self.step(Input::Received { connection, bytes: &bytes }, now);
                }
            }
            What::Sent { connection, count } => {
                if self.connections.contains_key(&connection) {
                    self.step(Input::Sent { connection, count }, now);
                }
            }
            What::Closed { connection, error } => {
                if let Some(Connection::Open(stream, remote)) = self.connections.remove(&connection) {
                    stream.close(Close::Abort);
                    if let Some(error) = error {
                        tracing::debug!(tenant = self.name(), %remote, %error, "a connection broke");
                    }
                    self.step(Input::Closed { connection }, now);
                }
            }
        }
    }

    fn accepted(&mut self, stream: TcpStream, local: SocketAddr, remote: SocketAddr, now: Moment) {
        let (address, tenant) = (remote.ip(), self.subject.name());
        let expected = self.subject.peer(address).and_then(|peer| Some((peer, self.subject.security(peer)?)));
        let Some((peer, security)) = expected else {
            tracing::debug!(tenant, remote = %address, "a connection from somebody who is no peer is refused");
            return;
        };
        let open = |connection: &&Connection| matches!(connection, Connection::Open(_, it) if *it == address);
        if self.connections.values().filter(open).count() >= CONNECTIONS {
            tracing::warn!(tenant, peer = %peer.name, "a connection is refused: the peer has {CONNECTIONS} already");
            return;
        }
        if let Err(error) = security.limit(&stream) {
            tracing::warn!(tenant, peer = %peer.name, %error, "a connection is refused: its time to live cannot be set");
            return;
        }
        self.incoming += 1;
        let connection = ConnectionId::Incoming(self.incoming);
        self.connections.insert(connection, Connection::Open(Stream::new(connection, stream, &self.teller), address));
        self.step(Input::Accepted { connection, local, remote }, now);
    }

    /// Tells the speaker something, and does what it wants.
    pub(super) fn step(&mut self, input: Input<'_>, now: Moment) {
        let mut outputs = Vec::new();
        self.speaker.step(input, now, &mut outputs);
        self.act(outputs, now);
    }

    fn act(&mut self, outputs: Vec<Output>, now: Moment) {
        for output in outputs {
            match output {
                Output::Connect { connection, neighbor, local, remote } => {
                    self.connect(connection, neighbor, local, remote);
                }
                Output::Close { connection, how } => match self.connections.remove(&connection) {
                    Some(Connection::Opening(task, neighbor)) => {
                        task.abort();
                        let what = "it does not answer; if it is there, the two passwords may differ";
                        self.peers.failed(self.subject.name(), &neighbor, what);
                    }
                    Some(Connection::Open(stream, _)) => stream.close(how),
                    None => {}
                },
                Output::Send { connection, bytes } => {
                    if let Some(Connection::Open(stream, _)) = self.connections.get(&connection) {
                        stream.send(bytes);
                    }
                }
                // The rack's routers are told of VIPs, and say nothing to anybody.
                Output::Route { .. } if self.subject.tenant().is_none() => {}
                Output::Route { prefix, next_hops } => {
                    self.pending.insert(prefix, self.subject.ways(&next_hops));
                }
                Output::Watched { neighbor, update } => {
                    let own = monitor::chosen(self.subject.name(), self.speaker.config());
                    self.monitor.routes(&own, neighbor.as_ref(), &update);
                }
                Output::Recovered(family) => {
                    self.recovered.insert(family);
                    if self.told_recovered == Recovery::Waiting && self.is_recovered() {
                        self.told_recovered = Recovery::Due;
                    }
                }
                Output::Event { neighbor, event } => {
                    self.peers_changed |= matches!(event, Event::Established(_) | Event::Lost { .. });
                    self.watch_session(&neighbor, &event);
                    self.peers.event(self.subject.name(), &neighbor, event, now);
                }
            }
        }
    }

    /// Notes sessions for who watches them.
    fn watch_session(&mut self, neighbor: &NeighborName, event: &Event) {
        let tenant = self.subject.name();
        match event {
            Event::Established(_) => {
                let ends = |connection| match self.connections.get(&connection) {
                    Some(Connection::Open(stream, _)) => stream.ends(),
                    _ => None,
                };
                self.monitor.up(tenant, &self.speaker, neighbor, ends);
            }
            Event::Lost { reason, .. } => self.monitor.down(neighbor, reason),
            _ => {}
        }
    }

    fn is_recovered(&self) -> bool {
        let neighbors = self.speaker.config().neighbors.values();
        neighbors.flat_map(|it| it.session.families.keys()).all(|family| self.recovered.contains(family))
    }

    fn connect(&mut self, connection: ConnectionId, neighbor: NeighborName, local: Option<IpAddr>, remote: SocketAddr) {
        let security = self.subject.peer(remote.ip()).and_then(|peer| self.subject.security(peer));
        // Without a compartment the attempt is left to time out, as if nobody were there.
        let task = match (&self.place, security) {
            (Some(place), Some(security)) => {
                self.opener.open(connection, &place.namespace, (local, remote), security, &self.teller)
            }
            _ => tokio::spawn(std::future::pending::<()>()).abort_handle(),
        };
        self.connections.insert(connection, Connection::Opening(task, neighbor));
    }

    /// Whether the agent is to be told something.
    pub(super) fn has_news(&self) -> bool {
        let routes = !self.pending.is_empty() || !self.outbox.is_empty();
        routes || self.told_recovered == Recovery::Due || self.peers_changed
    }

    /// What the agent is told next.
    pub(super) fn news(&mut self) -> Option<News> {
        if self.outbox.is_empty() {
            let mut all = self.pending.drain().map(|(prefix, ways)| Change { prefix, ways }).peekable();
            while all.peek().is_some() {
                self.outbox.push_back(all.by_ref().take(BATCH).collect());
            }
        }
        if let Some(changes) = self.outbox.pop_front() {
            return Some(News::Routes(changes));
        }
        if self.told_recovered == Recovery::Due {
            self.told_recovered = Recovery::Told;
            return Some(News::Recovered);
        }
        std::mem::take(&mut self.peers_changed).then(|| News::Peers { up: self.sessions() })
    }

    /// How many sessions are up.
    fn sessions(&self) -> usize {
        let neighbors = self.speaker.config().neighbors.keys();
        neighbors.filter(|name| self.speaker.neighbor(name).is_some_and(|it| it.established_at.is_some())).count()
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.close_listeners();
        for (_, connection) in self.connections.drain() {
            match connection {
                Connection::Opening(task, _) => task.abort(),
                Connection::Open(stream, _) => stream.close(Close::AfterSending),
            }
        }
    }
}

fn open_listener(namespace: &Netns, family: Family, teller: &Teller) -> std::io::Result<Listener> {
    let any = match family {
        Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = socket::listen(namespace, any)?;
    let task = accept(TcpListener::from_std(socket.try_clone()?.into())?, teller.clone());
    Ok(Listener { task, socket, signed: HashMap::new() })
}

impl Listener {
    /// Makes the passwords what is wanted.
    fn sign(&mut self, wanted: HashMap<IpAddr, Authentication>, tenant: &str) {
        for address in self.signed.keys().filter(|address| !wanted.contains_key(*address)) {
            if let Err(error) = socket::forget_signature(&self.socket, *address) {
                tracing::warn!(tenant, peer = %address, %error, "a password that is gone cannot be taken from the kernel");
            }
        }
        for (address, authentication) in &wanted {
            if self.signed.get(address) != Some(authentication)
                && let Err(error) = socket::sign(&self.socket, *address, authentication)
            {
                tracing::error!(tenant, peer = %address, %error, "the kernel does not take the peer's password");
            }
        }
        self.signed = wanted;
    }
}
