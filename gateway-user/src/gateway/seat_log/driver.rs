//! The log's sockets: each gateway listens on its own fabric address, and asks every other one of the pool for what that one knows.
//!
//! ```text
//!   agent ── hold, put, … ──► Seats ──► serve ──TLS──► follow ──► Seats ── Heard ──► agent
//!                            (holder)                           (replica)
//! ```

use super::entries::{LogId, Name, Record, Room};
use super::holder::FollowerId;
use super::message::{Message, PROTOCOL};
use super::report::SeatLogReport;
use super::seats::{Heard, Seats};
use super::tls::{self, Identity, Tls};
use crate::agent::backoff::Backoff;
use crate::agent::credentials::Credentials;
use crate::api::clock;
use crate::controller::model::Id;
use crate::dataplane::world::Mac;
use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use gateway_common::Epoch;
use gateway_common::moment::Moment;
use seat::{GatewayName, SeatName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

/// Where gateways listen for each other, on their own fabric addresses (TCP).
pub const PORT: u16 = 61791;

/// How often who has nothing to say says so.
const BEAT: Duration = Duration::from_secs(1);
/// How long the other side may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// The first wait before something is tried again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));
/// How often a certificate that was renewed is looked for.
const RENEWAL: Duration = Duration::from_secs(60);
/// Connections whose other end has yet to show who it is.
const STRANGERS: usize = 32;
/// What was heard and may wait for the agent, and answers that may wait to be sent.
const BACKLOG: usize = 64;

/// Whence this gateway's certificate comes.
#[derive(Debug)]
pub enum Credential {
    /// It is kept where the agent keeps what the controller issued, and renewed there.
    Kept(PathBuf),
    /// It is this.
    Given(Tls),
}

/// Who takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// Where this gateway listens: its own address on the fabric, with [`PORT`].
    pub listen: SocketAddr,
    /// The other gateways of the pool.
    pub peers: Vec<Peer>,
    /// The seats that this gateway may hold.
    pub seats: BTreeSet<SeatName>,
}

/// Another gateway of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name, in which its certificate is.
    pub name: GatewayName,
    /// Where it listens.
    pub address: SocketAddr,
}

/// The logs of this gateway's seats, told to those that may take them. Dropping it ends it.
#[derive(Debug)]
pub struct SeatLog {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    seats: Mutex<Seats>,
    /// There may be something to tell.
    changed: watch::Sender<()>,
    members: watch::Sender<Option<Members>>,
    tls: watch::Sender<Option<Tls>>,
    listening: watch::Sender<Option<SocketAddr>>,
    heard: mpsc::Sender<Heard>,
    /// Held from when something is heard until the agent has it, so that it gets everything in order.
    applying: tokio::sync::Mutex<()>,
    /// The connection by which each gateway follows; a later one ends it.
    serving: Mutex<BTreeMap<GatewayName, oneshot::Sender<()>>>,
    /// What is wrong, by what it is about.
    problems: Mutex<BTreeMap<String, String>>,
}

impl SeatLog {
    /// Starts with no members. To be called within a tokio runtime. What other gateways tell comes by the receiver.
    pub fn start(credential: Credential, room: Room) -> (Self, mpsc::Receiver<Heard>) {
        let (heard, receiver) = mpsc::channel(BACKLOG);
        let shared = Arc::new(Shared {
            seats: Mutex::new(Seats::new(room)),
            changed: watch::Sender::new(()),
            members: watch::Sender::new(None),
            tls: watch::Sender::new(None),
            listening: watch::Sender::new(None),
            heard,
            applying: tokio::sync::Mutex::new(()),
            serving: Mutex::default(),
            problems: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_certificate(shared.clone(), credential));
        tasks.spawn(listen(shared.clone()));
        tasks.spawn(ask_all(shared.clone()));
        (Self { shared, _tasks: tasks }, receiver)
    }

    /// Who takes part: all that there is to know, whenever it may have changed.
    pub fn configure(&self, members: Members) {
        self.shared.seats().want(&members.seats);
        self.shared.members.send_if_modified(|known| {
            let members = Some(members);
            let differs = *known != members;
            *known = members;
            differs
        });
    }

    /// This gateway holds a seat under an epoch. What was heard of it and not taken yet is to be taken before.
    pub fn hold(&self, seat: &SeatName, epoch: Epoch) {
        self.change(|seats| seats.hold(seat, LogId { epoch, life: clock::monotonic() }));
    }

    /// It holds it no more, or not yet.
    pub fn release(&self, seat: &SeatName) {
        self.change(|seats| seats.release(seat));
    }

    /// Somebody holds it under an epoch: earlier ones are refused.
    pub fn heard_of(&self, seat: &SeatName, epoch: Epoch) {
        self.change(|seats| seats.heard_of(seat, epoch));
    }

    /// What became of things of a seat that this gateway holds.
    pub fn put(&self, seat: &SeatName, records: impl IntoIterator<Item = Record>) {
        self.change(|seats| seats.put(seat, records));
    }

    /// All stations of a seat that this gateway holds: tenant, connection, address and link-layer address.
    pub fn neighbours(&self, seat: &SeatName, all: impl IntoIterator<Item = (Name, Name, IpAddr, Mac)>) {
        self.change(|seats| seats.neighbours(seat, all));
    }

    /// A tenant's router has learned all that its peers have to say.
    pub fn complete(&self, seat: &SeatName, tenant: &Name) {
        self.change(|seats| seats.complete(seat, tenant));
    }

    /// The tenants that have a part in a seat that this gateway holds.
    pub fn tenants(&self, seat: &SeatName, tenants: &BTreeSet<Name>) {
        self.change(|seats| seats.tenants(seat, tenants));
    }

    /// All that is known of a seat.
    pub fn known(&self, seat: &SeatName) -> Vec<Record> {
        self.shared.seats().known(seat)
    }

    /// How the logs are.
    pub fn report(&self) -> Vec<SeatLogReport> {
        self.shared.seats().report(now())
    }

    /// What a person should look at, by what it is about.
    pub fn problems(&self) -> BTreeMap<String, String> {
        lock(&self.shared.problems).clone()
    }

    /// Where this gateway listens, once it does.
    pub fn listening(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.shared.listening.subscribe()
    }

    fn change(&self, what: impl FnOnce(&mut Seats)) {
        what(&mut self.shared.seats());
        self.shared.changed.send_replace(());
    }
}

fn now() -> Moment {
    Moment(clock::monotonic())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        lock(&self.seats)
    }

    /// Notes what is wrong, and says it where it is something else than before.
    fn problem(&self, about: &str, problem: Option<String>) {
        let mut problems = lock(&self.problems);
        match problem {
            Some(problem) if problems.get(about) != Some(&problem) => {
                tracing::warn!(about, problem, "the seat log is not as it should be");
                problems.insert(about.to_owned(), problem);
            }
            Some(_) => {}
            None => {
                problems.remove(about);
            }
        }
    }

    /// The gateway of the pool whose certificate this name is in.
    fn member(&self, id: &Id) -> Option<GatewayName> {
        let members = self.members.borrow();
        let peers = members.as_ref().map_or(&[][..], |members| &members.peers);
        peers.iter().find(|peer| Id::from(peer.name.as_str()) == *id).map(|peer| peer.name.clone())
    }
}

/// Reads the certificate whenever it may be another.
async fn keep_certificate(shared: Arc<Shared>, credential: Credential) {
    let directory = match credential {
        Credential::Given(tls) => {
            shared.tls.send_replace(Some(tls));
            return;
        }
        Credential::Kept(directory) => directory,
    };
    const ABOUT: &str = "seat log: certificate";
    let mut known = None;
    loop {
        let read = || -> anyhow::Result<Option<Identity>> {
            Ok(Credentials::load(&directory)?.map(|credentials| credentials.identity()))
        };
        let wait = match read() {
            Ok(Some(identity)) if known.as_ref() == Some(&identity.certificate) => RENEWAL,
            Ok(Some(identity)) => {
                known = Some(identity.certificate.clone());
                match Tls::new(identity) {
                    Ok(tls) => {
                        shared.tls.send_replace(Some(tls));
                        shared.problem(ABOUT, None);
                    }
                    Err(error) => shared.problem(ABOUT, Some(format!("{error:#}"))),
                }
                RENEWAL
            }
            Ok(None) => BEAT,
            Err(error) => {
                shared.problem(ABOUT, Some(format!("{error:#}")));
                RETRY.1
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Waits for this gateway's certificate.
async fn certificate(shared: &Shared) -> Option<Tls> {
    let mut tls = shared.tls.subscribe();
    tls.wait_for(Option::is_some).await.ok()?.clone()
}

/// Takes connections of those that follow.
async fn listen(shared: Arc<Shared>) {
    const ABOUT: &str = "seat log: listening";
    let mut members = shared.members.subscribe();
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    let mut tasks = JoinSet::new();
    if certificate(&shared).await.is_none() {
        return;
    }
    loop {
        let Some(address) = members.borrow_and_update().as_ref().map(|members| members.listen) else {
            if members.changed().await.is_err() {
                return;
            }
            continue;
        };
        let listener = match TcpListener::bind(address).await {
            Ok(listener) => listener,
            Err(error) => {
                shared.problem(
                    ABOUT,
                    Some(format!("cannot listen on {address}: {error}; is the address on a port of this host?")),
                );
                tokio::select! {
                    () = tokio::time::sleep(RETRY.1) => {}
                    _ = members.changed() => {}
                }
                continue;
            }
        };
        shared.problem(ABOUT, None);
        shared.listening.send_replace(listener.local_addr().ok());
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => {
                        let Ok(permit) = strangers.clone().try_acquire_owned() else { continue };
                        let shared = shared.clone();
                        tasks.spawn(async move {
                            if let Err(error) = welcome(&shared, stream, permit).await {
                                tracing::debug!(%from, error = format!("{error:#}"), "a connection for the seat log has ended");
                            }
                        });
                    }
                    // No descriptors are left, for instance: it is tried again in a while.
                    Err(error) => {
                        shared.problem(ABOUT, Some(format!("cannot take a connection: {error}")));
                        tokio::time::sleep(BEAT).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
                changed = members.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if members.borrow_and_update().as_ref().is_none_or(|members| members.listen != address) {
                        break;
                    }
                }
            }
        }
        shared.listening.send_replace(None);
    }
}

/// Finds out who has connected, and serves it.
async fn welcome(
    shared: &Arc<Shared>,
    stream: TcpStream,
    permit: tokio::sync::OwnedSemaphorePermit,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let tls = shared.tls.borrow().clone().context("there is no certificate")?;
    let (stream, id) =
        tokio::time::timeout(SILENCE, tls.accept(stream)).await.context("it does not say who it is")??;
    let gateway = shared.member(&id).with_context(|| format!("{id} is no gateway of this pool"))?;
    drop(permit);
    let (cancel, cancelled) = oneshot::channel();
    lock(&shared.serving).insert(gateway.clone(), cancel);
    tokio::select! {
        ended = serve(shared, &gateway, stream) => ended,
        // The same gateway has connected anew.
        _ = cancelled => Ok(()),
    }
}

/// Gone from the log when it is dropped.
struct Connected<'a> {
    shared: &'a Shared,
    id: FollowerId,
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.shared.seats().disconnect(self.id);
    }
}

/// Tells a gateway of the seats that it follows and this one holds.
async fn serve<S: AsyncRead + AsyncWrite>(
    shared: &Arc<Shared>,
    gateway: &GatewayName,
    stream: S,
) -> anyhow::Result<()> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut frames = Frames::new(reader);
    write(&mut writer, &Message::Hello { protocol: PROTOCOL }).await?;
    frames.greet().await?;
    tracing::info!(%gateway, "a gateway follows this one's seats");
    let id = shared.seats().connect(gateway.clone());
    let _connected = Connected { shared, id };
    let reading = async {
        loop {
            let message = frames.next().await?;
            shared.seats().asked(id, message, now());
            shared.changed.send_replace(());
        }
    };
    let writing = async {
        let mut changed = shared.changed.subscribe();
        let mut spoken = tokio::time::Instant::now();
        loop {
            changed.mark_unchanged();
            let message = shared.seats().next(id, now());
            if let Some(message) = message {
                write(&mut writer, &message).await?;
                spoken = tokio::time::Instant::now();
                continue;
            }
            tokio::select! {
                // It may be nothing for this one.
                _ = changed.changed() => {}
                () = tokio::time::sleep_until(spoken + BEAT) => {
                    write(&mut writer, &Message::Alive).await?;
                    spoken = tokio::time::Instant::now();
                }
            }
        }
    };
    let mut members = shared.members.subscribe();
    let dismissed = members.wait_for(|members| {
        !members.as_ref().is_some_and(|members| members.peers.iter().any(|peer| peer.name == *gateway))
    });
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
        _ = dismissed => bail!("{gateway} is no gateway of this pool any more"),
    }
}

/// Keeps a task for each other gateway.
async fn ask_all(shared: Arc<Shared>) {
    let mut members = shared.members.subscribe();
    let mut tasks = JoinSet::new();
    let mut asked: BTreeMap<GatewayName, (Peer, AbortHandle)> = BTreeMap::new();
    loop {
        let (peers, from) = match &*members.borrow_and_update() {
            Some(members) => (members.peers.clone(), Some(members.listen.ip())),
            None => (Vec::new(), None),
        };
        asked.retain(|name, (known, task)| {
            let stays = peers.contains(known);
            if !stays {
                task.abort();
                shared.problem(&about(name), None);
            }
            stays
        });
        for peer in peers {
            if let Some(from) = from
                && !asked.contains_key(&peer.name)
            {
                let task = tasks.spawn(ask(shared.clone(), peer.clone(), from));
                asked.insert(peer.name.clone(), (peer, task));
            }
        }
        tokio::select! {
            changed = members.changed() => if changed.is_err() { return },
            Some(_) = tasks.join_next() => {}
        }
    }
}

fn about(gateway: &GatewayName) -> String {
    format!("seat log: gateway {gateway}")
}

/// Follows another gateway, again and again.
async fn ask(shared: Arc<Shared>, peer: Peer, from: IpAddr) {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        let Some(tls) = certificate(&shared).await else { return };
        let begun = Instant::now();
        let Err(error) = follow(&shared, &tls, &peer, from).await;
        shared.problem(&about(&peer.name), Some(format!("what it knows of its seats does not come: {error:#}")));
        if begun.elapsed() > SILENCE {
            backoff.reset();
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

async fn follow(shared: &Shared, tls: &Tls, peer: &Peer, from: IpAddr) -> anyhow::Result<std::convert::Infallible> {
    let connecting = async {
        let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(from, 0))?;
        let stream = socket.connect(peer.address).await?;
        stream.set_nodelay(true)?;
        tls.connect(stream, &peer.name, peer.address.ip()).await
    };
    let connected = tokio::time::timeout(SILENCE, connecting).await;
    let stream = connected.context("it does not answer")?.map_err(|error| anyhow::anyhow!(tls::reason(&error)))?;
    let (reader, mut writer) = tokio::io::split(stream);
    let mut frames = Frames::new(reader);
    let mut members = shared.members.subscribe();
    members.mark_unchanged();
    write(&mut writer, &Message::Hello { protocol: PROTOCOL }).await?;
    frames.greet().await.map_err(|error| refused(&error))?;
    let first = shared.seats().follows();
    write(&mut writer, &first).await?;
    shared.problem(&about(&peer.name), None);
    tracing::info!(gateway = %peer.name, "following another gateway's seats");
    let (answers, mut to_send) = mpsc::channel(BACKLOG);
    let reading = async {
        loop {
            let message = frames.next().await?;
            let _order = shared.applying.lock().await;
            let (heard, answer) = shared.seats().told(&peer.name, message);
            if let Some(heard) = heard {
                shared.heard.send(heard).await.context("the agent has ended")?;
            }
            if let Some(answer) = answer {
                answers.send(answer).await.context("nothing can be answered")?;
            }
        }
    };
    let writing = async {
        loop {
            tokio::select! {
                Some(answer) = to_send.recv() => write(&mut writer, &answer).await?,
                _ = members.changed() => {
                    let follows = shared.seats().follows();
                    write(&mut writer, &follows).await?;
                }
                () = tokio::time::sleep(BEAT) => write(&mut writer, &Message::Alive).await?,
            }
        }
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}

/// In TLS 1.3 a client learns only afterwards that its certificate was refused.
fn refused(error: &anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<std::io::Error>() {
        Some(error) => anyhow::anyhow!(tls::reason(error)),
        None => anyhow::anyhow!("{error:#}"),
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), message: &Message) -> anyhow::Result<()> {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes);
    let writing = async {
        writer.write_all(&bytes).await?;
        writer.flush().await
    };
    tokio::time::timeout(SILENCE, writing).await.context("it takes nothing")??;
    Ok(())
}

/// A stream of messages.
struct Frames<R> {
    reader: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    fn new(reader: R) -> Self {
        Self { reader, buffer: BytesMut::new() }
    }

    /// The first message.
    async fn greet(&mut self) -> anyhow::Result<()> {
        let Message::Hello { protocol } = self.next().await? else { bail!("it does not greet") };
        ensure!(
            protocol == PROTOCOL,
            "it speaks version {protocol} of the seat log, and this gateway version {PROTOCOL}; bring both to the same release"
        );
        Ok(())
    }

    async fn next(&mut self) -> anyhow::Result<Message> {
        loop {
            if let Some(message) = Message::decode(&mut self.buffer)? {
                return Ok(message);
            }
            let reading = self.reader.read_buf(&mut self.buffer);
            let count = tokio::time::timeout(SILENCE, reading).await.context("it is silent")??;
            ensure!(count > 0, "it has closed the connection");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_has_nothing_to_say_says_so_however_often_something_changes_for_others() {
        let (log, _heard) = SeatLog::start(Credential::Kept("/nowhere".into()), Room::default());
        let address = SocketAddr::new([127, 0, 0, 1].into(), 0);
        let peers = vec![Peer { name: "GW2".into(), address }];
        log.configure(Members { listen: address, peers, seats: BTreeSet::new() });
        let (here, there) = tokio::io::duplex(4096);
        let mut tasks = JoinSet::new();
        let shared = log.shared.clone();
        tasks.spawn(async move { serve(&shared, &"GW2".into(), here).await.map(drop) });
        let (reader, mut writer) = tokio::io::split(there);
        write(&mut writer, &Message::Hello { protocol: PROTOCOL }).await.expect("it listens");
        let mut frames = Frames::new(reader);
        frames.greet().await.expect("it greets");
        let shared = log.shared.clone();
        tasks.spawn(async move {
            loop {
                tokio::time::sleep(BEAT / 2).await;
                shared.changed.send_replace(());
            }
        });
        assert_eq!(frames.next().await.expect("a sign of life"), Message::Alive);
    }
}
