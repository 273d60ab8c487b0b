//! The sender: sessions that say what was made for them and read what they are told, one thread for all of them.
//!
//! It is no speaker of ours, and the same for every receiver: it connects, or is connected to, says OPEN and KEEPALIVE, and when the other side has said so too,
//! hands its bytes to the kernel as fast as they are taken. The hold time is 0, or so long that nothing else is ever due.

use super::load::message;
use anyhow::{Context, Result, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PORT: u16 = 179;
/// How long a peer that refuses is left alone.
const RETRY: Duration = Duration::from_millis(50);
const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const KEEPALIVE: u8 = 4;
const HEADER: usize = 19;
/// What is read at once.
const ROOM: usize = 1 << 16;

/// One session.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The network that it is in.
    pub network: Arc<File>,
    /// Its own address.
    pub local: Ipv4Addr,
    /// The receiver's.
    pub remote: Ipv4Addr,
    /// Its system.
    pub asn: u32,
    /// Its hold time, in seconds.
    pub hold_time: u16,
    /// Its UPDATEs.
    pub updates: Arc<Vec<u8>>,
    /// How many prefixes it waits to be told.
    pub awaits: usize,
    /// Who connects to whom.
    pub opening: Opening,
}

/// Who opens a session's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The sender.
    Ours,
    /// The receiver. All such sessions are in one network, where nobody else listens.
    Theirs,
}

/// All sessions, up. They end with this.
#[derive(Debug)]
pub struct Sender {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Sessions that have handed everything to the kernel.
    sent: AtomicUsize,
    /// Sessions that have been told what they wait for.
    told: AtomicUsize,
    /// When the last of them was.
    last_told: Mutex<Option<Instant>>,
    /// When the first connection was begun.
    begun: OnceLock<Instant>,
    /// Sessions that have said all, by their numbers.
    open: Mutex<HashMap<usize, Socket>>,
    /// Sessions that were refused or lost.
    failures: AtomicUsize,
    end: AtomicBool,
}

impl Sender {
    /// Begins to connect.
    pub fn start(peers: Vec<Peer>) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("sender".into()).spawn(move || {
            let sessions = peers.into_iter().enumerate().map(|(number, peer)| Session::new(number, peer)).collect();
            Driver { shared: theirs, sessions }.run();
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Waits until so many sessions have handed their bytes to the kernel.
    pub fn sent(&self, sessions: usize, patience: Duration) -> Result<()> {
        self.count(&self.shared.sent, sessions, patience, "to have sent all")
    }

    /// Waits until so many sessions were told what they wait for. How long it took from the first connection to the last of them.
    pub fn told(&self, sessions: usize, patience: Duration) -> Result<Duration> {
        self.count(&self.shared.told, sessions, patience, "to have been told all")?;
        let last = *self.shared.last_told.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, begun) = last.zip(self.shared.begun.get().copied()).context("nobody was told anything")?;
        Ok(last - begun)
    }

    fn count(&self, counter: &AtomicUsize, wanted: usize, patience: Duration, what: &str) -> Result<()> {
        let start = Instant::now();
        while counter.load(Ordering::Acquire) < wanted {
            ensure!(
                start.elapsed() < patience,
                "waited {} s in vain for {wanted} sessions {what}: {} have, {} times one failed",
                patience.as_secs(),
                counter.load(Ordering::Acquire),
                self.shared.failures.load(Ordering::Acquire),
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Says a little more in a session that has said all.
    pub fn say(&self, session: usize, bytes: &[u8]) -> Result<()> {
        let open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = open.get(&session).with_context(|| format!("session {session} is not up"))?;
        Ok((&*socket).write_all(bytes)?)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Until then nothing is tried.
    Idle(Instant),
    Connecting,
    /// OPEN is said.
    Opening,
    /// Both sides have said KEEPALIVE: where the UPDATEs are.
    Up(usize),
}

struct Session {
    number: usize,
    peer: Peer,
    socket: Option<Socket>,
    stage: Stage,
    input: Vec<u8>,
    told: usize,
}

struct Driver {
    shared: Arc<Shared>,
    sessions: Vec<Session>,
}

impl Driver {
    fn run(mut self) {
        let mut room = vec![0; ROOM];
        let theirs = self.sessions.iter().find(|session| session.peer.opening == Opening::Theirs);
        let listener = theirs.and_then(|session| {
            let listening = listen(&session.peer.network);
            listening.inspect_err(|error| eprintln!("bench: nobody can connect: {error}")).ok()
        });
        while !self.shared.end.load(Ordering::Acquire) {
            let now = Instant::now();
            while let Some((socket, remote)) = listener.as_ref().and_then(|listener| listener.accept().ok()) {
                self.accepted(socket, &remote);
            }
            for session in self.sessions.iter_mut().filter(|session| session.peer.opening == Opening::Ours) {
                if matches!(session.stage, Stage::Idle(from) if from <= now) {
                    self.shared.begun.get_or_init(|| now);
                    if session.connect().is_err() {
                        session.fail(&self.shared);
                    }
                }
            }
            let ready: Vec<(usize, PollFlags)> = {
                let wanted = |session: &Session| {
                    let writes = match session.stage {
                        Stage::Connecting => true,
                        Stage::Up(at) => at < session.peer.updates.len(),
                        Stage::Idle(_) | Stage::Opening => false,
                    };
                    if writes { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN }
                };
                let open = self.sessions.iter().enumerate();
                let open = open.filter_map(|(index, session)| Some((index, session.socket.as_ref()?, wanted(session))));
                let (indices, mut polled): (Vec<usize>, Vec<PollFd<'_>>) =
                    open.map(|(index, socket, wanted)| (index, PollFd::new(socket.as_fd(), wanted))).unzip();
                // Short: sessions that were refused try again, others connect, and all may be over.
                let most: u8 = if listener.is_some() { 1 } else { 20 };
                if poll(&mut polled, PollTimeout::from(most)).is_err() {
                    continue;
                }
                let events = polled.iter().map(|one| one.revents().unwrap_or(PollFlags::empty()));
                indices.into_iter().zip(events).filter(|(_, events)| !events.is_empty()).collect()
            };
            for (index, events) in ready {
                let session = &mut self.sessions[index];
                if session.step(events, &self.shared, &mut room).is_err() {
                    session.fail(&self.shared);
                }
            }
        }
    }
}

impl Driver {
    /// A receiver has connected: to the neighbour that it takes us for.
    fn accepted(&mut self, socket: Socket, remote: &SockAddr) {
        let local = socket.local_addr().ok().and_then(|local| local.as_socket_ipv4());
        let remote = remote.as_socket_ipv4();
        let is = |address: Option<SocketAddrV4>, of| address.is_some_and(|address| *address.ip() == of);
        let its = |session: &&mut Session| {
            let Peer { local: ours, remote: theirs, .. } = session.peer;
            is(local, ours) && is(remote, theirs) && matches!(session.stage, Stage::Idle(_))
        };
        let Some(session) = self.sessions.iter_mut().find(its) else { return };
        self.shared.begun.get_or_init(Instant::now);
        if socket.set_nonblocking(true).and_then(|()| session.connected(socket)).is_err() {
            session.fail(&self.shared);
        }
    }
}

/// Listens for all sessions of a network.
fn listen(network: &File) -> std::io::Result<Socket> {
    setns(network, CloneFlags::CLONE_NEWNET)?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT)))?;
    socket.listen(libc::SOMAXCONN)?;
    Ok(socket)
}

impl Session {
    /// The connection is open.
    fn connected(&mut self, socket: Socket) -> std::io::Result<()> {
        // Fits into an empty buffer.
        (&socket).write_all(&open(&self.peer))?;
        self.input.clear();
        (self.socket, self.stage) = (Some(socket), Stage::Opening);
        Ok(())
    }

    fn new(number: usize, peer: Peer) -> Self {
        Self { number, peer, socket: None, stage: Stage::Idle(Instant::now()), input: Vec::new(), told: 0 }
    }

    fn connect(&mut self) -> std::io::Result<()> {
        setns(&*self.peer.network, CloneFlags::CLONE_NEWNET)?;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&SockAddr::from(SocketAddr::new(self.peer.local.into(), 0)))?;
        match socket.connect(&SockAddr::from(SocketAddr::new(self.peer.remote.into(), PORT))) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        (self.socket, self.stage) = (Some(socket), Stage::Connecting);
        self.input.clear();
        Ok(())
    }

    fn fail(&mut self, shared: &Shared) {
        if shared.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number).is_some() {
            shared.sent.fetch_sub(1, Ordering::AcqRel);
        }
        shared.failures.fetch_add(1, Ordering::AcqRel);
        (self.socket, self.stage) = (None, Stage::Idle(Instant::now() + RETRY));
    }

    fn step(&mut self, events: PollFlags, shared: &Shared, room: &mut [u8]) -> std::io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        if self.stage == Stage::Connecting {
            if let Some(error) = socket.take_error()? {
                return Err(error);
            }
            if let Some(socket) = self.socket.take() {
                self.connected(socket)?;
            }
        }
        let Some(socket) = &self.socket else { return Ok(()) };
        if events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            match (&*socket).read(room) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend(&room[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.read(shared)?;
        self.write(shared)
    }

    fn read(&mut self, shared: &Shared) -> std::io::Result<()> {
        let mut at = 0;
        while let Some(header) = self.input.get(at..at + HEADER) {
            let (length, kind) = (usize::from(u16::from_be_bytes([header[16], header[17]])), header[18]);
            let Some(whole) = self.input.get(at..at + length.max(HEADER)) else { break };
            let body = &whole[HEADER..];
            match (kind, self.stage, &self.socket) {
                (OPEN, Stage::Opening, Some(socket)) => (&*socket).write_all(&message(KEEPALIVE, &[]))?,
                (KEEPALIVE, Stage::Opening, _) => self.stage = Stage::Up(0),
                (UPDATE, Stage::Up(_), _) => {
                    let before = self.told;
                    self.told += announced(body);
                    if (before..self.told).contains(&(self.peer.awaits.max(1) - 1)) {
                        *shared.last_told.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                        shared.told.fetch_add(1, Ordering::AcqRel);
                    }
                }
                _ => {}
            }
            at += length.max(HEADER);
        }
        self.input.drain(..at);
        Ok(())
    }

    fn write(&mut self, shared: &Shared) -> std::io::Result<()> {
        let (Stage::Up(at), Some(socket)) = (&mut self.stage, &self.socket) else { return Ok(()) };
        let updates = &self.peer.updates;
        while *at < updates.len() {
            match (&*socket).write(&updates[*at..]) {
                Ok(count) => *at += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if *at == updates.len() {
                let socket = socket.try_clone()?;
                shared.open.lock().unwrap_or_else(PoisonError::into_inner).insert(self.number, socket);
                shared.sent.fetch_add(1, Ordering::AcqRel);
            }
        }
        Ok(())
    }
}

/// An OPEN: version 4, IPv4 unicast, four octets for the number of a system.
fn open(&Peer { asn, local, hold_time, .. }: &Peer) -> Vec<u8> {
    let capabilities = [&[1, 4, 0, 1, 0, 1, 65, 4][..], &asn.to_be_bytes()].concat();
    let short = u16::try_from(asn).unwrap_or(23456);
    let parameter = [&[2, capabilities.len() as u8][..], &capabilities].concat();
    let mut body = vec![4];
    body.extend(short.to_be_bytes());
    body.extend(hold_time.to_be_bytes());
    body.extend(local.octets());
    body.push(parameter.len() as u8);
    body.extend(parameter);
    message(OPEN, &body)
}

/// How many prefixes of IPv4 an UPDATE announces, in its own field or in MP_REACH_NLRI.
fn announced(body: &[u8]) -> usize {
    let sized = |bytes: &[u8]| -> Option<usize> {
        Some(2 + usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?])))
    };
    let Some(withdrawn) = sized(body) else { return 0 };
    let Some((rest, length)) = body.get(withdrawn..).and_then(|rest| Some((rest, sized(rest)?))) else { return 0 };
    let mut attributes = rest.get(2..length).unwrap_or_default();
    let mut count = prefixes(rest.get(length..).unwrap_or_default());
    while let [flags, kind, one, ..] = *attributes {
        let (start, size) = match (flags & 0x10, attributes.get(3)) {
            (0, _) | (_, None) => (3, usize::from(one)),
            (_, Some(low)) => (4, usize::from(u16::from_be_bytes([one, *low]))),
        };
        let Some(value) = attributes.get(start..start + size) else { break };
        if let (14, [0, 1, 1, next_hop, ..]) = (kind, value) {
            count += prefixes(value.get(5 + usize::from(*next_hop)..).unwrap_or_default());
        }
        attributes = &attributes[start + size..];
    }
    count
}

fn prefixes(mut nlri: &[u8]) -> usize {
    let mut count = 0;
    while let Some(length) = nlri.first() {
        let octets = 1 + usize::from(length.div_ceil(8));
        nlri = nlri.get(octets..).unwrap_or_default();
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;

    #[test]
    fn prefixes_that_are_announced_are_counted_and_withdrawn_ones_are_not() {
        let bytes = load::announce(&load::site(3, 100), 100, 64513, Ipv4Addr::new(10, 2, 0, 1));
        assert_eq!(announced(&bytes[HEADER..]), 100);
        assert_eq!(announced(&load::withdraw(load::site(3, 1)[0])[HEADER..]), 0);
        let mut reach = vec![0, 1, 1, 4, 10, 2, 0, 1, 0];
        reach.extend([24, 20, 0, 0, 24, 20, 0, 1]);
        let attribute = [&[0x80, 14, reach.len() as u8][..], &reach].concat();
        let body = [&[0, 0, 0, attribute.len() as u8][..], &attribute].concat();
        assert_eq!(announced(&body), 2);
    }
}
