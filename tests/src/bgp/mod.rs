//! A router of the lab: the product's BGP speaker on a machine, driven by one thread and plain sockets. It is there to meet
//! other implementations; what drives speakers in the product is another thing.

mod socket;

use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bgp::Moment;
use bgp::session::{ConnectionId, Event, State};
use bgp::speaker::{Close, Config, Input, NeighborName, Output, RouteNextHop, Speaker, Start};
use ipnet::IpNet;
use socket2::Socket;

use crate::node::Node;
use crate::wait::{SOON, until};

/// A speaker that runs on a machine; it ends, without a word to anybody, when this is dropped.
#[derive(Debug)]
pub struct Router {
    commands: Option<Sender<Command>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

type Command = Box<dyn FnOnce(&mut Driver) + Send>;

/// What a router's machine forwards by, and what its speaker said.
#[derive(Debug, Default)]
pub struct Seen {
    /// The routes.
    pub routes: BTreeMap<IpNet, Vec<RouteNextHop>>,
    /// Everything that forwarding was told, in order.
    pub changes: Vec<Change>,
    /// What happened, for people.
    pub events: Vec<(NeighborName, Event)>,
}

/// Something that forwarding was told.
#[derive(Clone, Debug)]
pub struct Change {
    /// How many events there had been before.
    pub after: usize,
    /// Of which prefix.
    pub prefix: IpNet,
    /// Its next hops.
    pub next_hops: Vec<RouteNextHop>,
}

impl Router {
    /// Starts a speaker on a machine.
    pub fn start(node: &Arc<Node>, config: Config, start: Start) -> Result<Self> {
        let (commands, received) = channel();
        let (ready, started) = channel();
        let inside = Arc::clone(node);
        let thread = std::thread::Builder::new().name("router".into()).spawn(move || {
            inside.within_network(move || match Driver::new(config, start) {
                Ok(mut driver) => {
                    let _ = ready.send(Ok(()));
                    driver.run(&received);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            });
        })?;
        started.recv().context("the router's thread has ended")??;
        Ok(Self { commands: Some(commands), thread: Some(thread) })
    }

    /// Asks the speaker something.
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Speaker, &Seen) -> T + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = channel();
        let command: Command = Box::new(move |driver| {
            let _ = answer.send(question(&mut driver.speaker, &driver.seen));
        });
        self.commands.as_ref().context("the router has ended")?.send(command).ok().context("the router has ended")?;
        answered.recv().context("the router has ended")
    }

    /// Tells the speaker something.
    pub fn tell(&self, input: Input<'static>) -> Result<()> {
        let command: Command = Box::new(move |driver| driver.step(input));
        self.commands.as_ref().context("the router has ended")?.send(command).ok().context("the router has ended")
    }

    /// Waits until a neighbour's session is in a state.
    pub fn reaches(&self, neighbor: &'static str, state: State) -> Result<()> {
        let name = NeighborName::from(neighbor);
        let mut last = None;
        until(SOON, &format!("{neighbor} in {state}"), || {
            let name = name.clone();
            last = self.ask(move |speaker, _| speaker.neighbor(&name).map(|view| view.state)).ok().flatten();
            (last == Some(state)).then_some(())
        })
        .with_context(|| format!("it is in {last:?}: {}", self.told()))
    }

    /// Waits until the routes are as they should be.
    pub fn routes(&self, awaited: &str, good: impl Fn(&BTreeMap<IpNet, Vec<RouteNextHop>>) -> bool) -> Result<()> {
        until(SOON, awaited, || {
            let routes = self.ask(|_, seen| seen.routes.clone()).ok()?;
            good(&routes).then_some(())
        })
        .with_context(|| format!("{:?}; {}", self.ask(|_, seen| seen.routes.clone()), self.told()))
    }

    /// What happened, for people.
    pub fn told(&self) -> String {
        let lines = self.ask(|_, seen| {
            seen.events.iter().map(|(neighbor, event)| format!("{neighbor}: {event:?}")).collect::<Vec<_>>()
        });
        lines.map_or_else(|error| error.to_string(), |lines| lines.join("\n"))
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed.
            let _ = thread.join();
        }
    }
}

/// One connection's socket and what waits to be sent by it.
#[derive(Debug)]
struct Connection {
    socket: Socket,
    connecting: bool,
    closing: Option<Instant>,
    unsent: Vec<u8>,
}

#[derive(Debug)]
struct Driver {
    speaker: Speaker,
    seen: Seen,
    begun: Instant,
    listeners: Vec<Socket>,
    connections: HashMap<ConnectionId, Connection>,
    accepted: u64,
    backlog: Vec<Output>,
}

impl Driver {
    fn new(config: Config, start: Start) -> Result<Self> {
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let listeners = any.into_iter().map(|address| socket::listen(address, &config)).collect::<Result<_>>()?;
        let mut backlog = Vec::new();
        // A clock of its own that does not begin at zero: nothing may take that for "never".
        let speaker = Speaker::new(config, start, 1, Moment(1_000_000_000), &mut backlog);
        Ok(Self {
            speaker,
            seen: Seen::default(),
            begun: Instant::now(),
            listeners,
            connections: HashMap::new(),
            accepted: 0,
            backlog,
        })
    }

    fn now(&self) -> Moment {
        Moment(1_000_000_000) + self.begun.elapsed()
    }

    fn step(&mut self, input: Input<'_>) {
        let now = self.now();
        self.speaker.step(input, now, &mut self.backlog);
        self.perform();
    }

    fn run(&mut self, commands: &Receiver<Command>) {
        self.perform();
        loop {
            loop {
                match commands.try_recv() {
                    Ok(command) => command(self),
                    Err(std::sync::mpsc::TryRecvError::Empty) => break,
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                }
            }
            self.wait();
            for at in 0..self.listeners.len() {
                self.accept(at);
            }
            for id in self.connections.keys().copied().collect::<Vec<_>>() {
                self.serve(id);
            }
            let now = self.now();
            if self.speaker.next_deadline().is_some_and(|deadline| deadline <= now) {
                self.step(Input::Timer);
            }
        }
    }

    /// Until something can be read or written, or 5 ms are over: commands have no descriptor.
    fn wait(&self) {
        let listening = self.listeners.iter().map(|socket| (socket.as_raw_fd(), libc::POLLIN));
        let connected = self.connections.values().map(|connection| {
            let writes = connection.connecting || !connection.unsent.is_empty();
            (connection.socket.as_raw_fd(), libc::POLLIN | if writes { libc::POLLOUT } else { 0 })
        });
        let mut asked: Vec<_> =
            listening.chain(connected).map(|(fd, events)| libc::pollfd { fd, events, revents: 0 }).collect();
        // SAFETY: the array has as many entries as is said, and lives through the call.
        unsafe { libc::poll(asked.as_mut_ptr(), asked.len() as libc::nfds_t, 5) };
    }

    fn accept(&mut self, at: usize) {
        while let Ok((socket, remote)) = self.listeners[at].accept() {
            let (Some(remote), Ok(local)) = (remote.as_socket(), socket.local_addr()) else { continue };
            let Some(local) = local.as_socket() else { continue };
            if socket.set_nonblocking(true).is_err() {
                continue;
            }
            self.accepted += 1;
            let id = ConnectionId::Incoming(self.accepted);
            self.connections.insert(id, Connection { socket, connecting: false, closing: None, unsent: Vec::new() });
            self.step(Input::Accepted { connection: id, local, remote });
        }
    }

    fn serve(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.closing.is_some_and(|until| connection.unsent.is_empty() || Instant::now() > until) {
            self.connections.remove(&id);
            return;
        }
        if connection.connecting {
            self.finish_connecting(id);
            return;
        }
        self.write(id);
        self.read(id);
    }

    fn finish_connecting(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let outcome = connection.socket.take_error();
        let peer = connection.socket.peer_addr();
        match (outcome, peer, connection.socket.local_addr()) {
            (Ok(None), Ok(remote), Ok(local)) => {
                connection.connecting = false;
                if let (Some(remote), Some(local)) = (remote.as_socket(), local.as_socket()) {
                    self.step(Input::Connected { connection: id, local, remote });
                }
            }
            // Still under way.
            (Ok(None), Err(error), _) if error.kind() == ErrorKind::NotConnected => {}
            _ => {
                self.connections.remove(&id);
                self.step(Input::ConnectFailed { connection: id });
            }
        }
    }

    fn write(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let mut count = 0;
        while count < connection.unsent.len() {
            match connection.socket.write(&connection.unsent[count..]) {
                Ok(written) => count += written,
                Err(_) => break,
            }
        }
        connection.unsent.drain(..count);
        if count > 0 && connection.closing.is_none() {
            self.step(Input::Sent { connection: id, count });
        }
    }

    fn read(&mut self, id: ConnectionId) {
        let mut buffer = [0; 16 * 1024];
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            if connection.closing.is_some() {
                return;
            }
            match connection.socket.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => self.step(Input::Received { connection: id, bytes: &buffer[..count] }),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.connections.remove(&id);
        self.step(Input::Closed { connection: id });
    }

    fn perform(&mut self) {
        let mut failed = Vec::new();
        for output in std::mem::take(&mut self.backlog) {
            match output {
                Output::Connect { connection, neighbor, local, remote } => {
                    let settings = self.speaker.config().neighbors.get(&neighbor);
                    match settings.map(|neighbor| socket::connect(&neighbor.session, local, remote)) {
                        Some(Ok(socket)) => {
                            let connecting = Connection { socket, connecting: true, closing: None, unsent: Vec::new() };
                            self.connections.insert(connection, connecting);
                        }
                        _ => failed.push(connection),
                    }
                }
                Output::Close { connection, how: Close::Abort } => {
                    if let Some(gone) = self.connections.remove(&connection) {
                        let _ = gone.socket.set_linger(Some(Duration::ZERO));
                    }
                }
                Output::Close { connection, how: Close::AfterSending } => {
                    if let Some(connection) = self.connections.get_mut(&connection) {
                        connection.closing = Some(Instant::now() + Duration::from_secs(5));
                    }
                }
                Output::Send { connection, bytes } => {
                    if let Some(connection) = self.connections.get_mut(&connection) {
                        connection.unsent.extend_from_slice(&bytes);
                    }
                }
                Output::Route { prefix, next_hops } => {
                    let after = self.seen.events.len();
                    self.seen.changes.push(Change { after, prefix, next_hops: next_hops.clone() });
                    if next_hops.is_empty() {
                        self.seen.routes.remove(&prefix);
                    } else {
                        self.seen.routes.insert(prefix, next_hops);
                    }
                }
                Output::Recovered(_) | Output::Watched { .. } => {}
                Output::Event { neighbor, event } => self.seen.events.push((neighbor, event)),
            }
        }
        for connection in failed {
            self.step(Input::ConnectFailed { connection });
        }
        let unsent: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, one)| !one.connecting && !one.unsent.is_empty())
            .map(|(id, _)| *id)
            .collect();
        unsent.into_iter().for_each(|id| self.write(id));
    }
}
