//! The agent's side: sees to it that the process runs, tells it what is settled, and hands on what it tells.

use super::configuration::Configuration;
use super::history::Entry;
use super::protocol::{Event, Hello, LINE_LIMIT, PROTOCOL, Request, SeatReport, Status};
use crate::agent::backoff::Backoff;
use crate::api::line::Lines;
use anyhow::{Context, bail};
use seat::{GatewayName, SeatName};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How long a process that was started may take to listen, and one that listens to greet or answer.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one line may take to be written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a process that was started is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// What happened and nobody has taken: more is forgotten here, the process keeps it.
const ENTRIES: usize = 1024;

/// Where the process is, and how it is started where it is not.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the agent keeps its things: the process listens there.
    pub state: PathBuf,
    /// Where the tables are pinned.
    pub pins: PathBuf,
    /// `gatewayd`.
    pub program: PathBuf,
}

impl Options {
    /// A process that this very program becomes, which is `gatewayd`.
    pub fn new(state: PathBuf, pins: PathBuf) -> Self {
        // Also after the file was replaced by a later version's.
        Self { state, pins, program: "/proc/self/exe".into() }
    }

    fn socket(&self) -> PathBuf {
        super::socket_in(&self.state)
    }
}

/// An agent's use of its sentinel. Cheap to clone. The process is started with the first configuration.
#[derive(Clone, Debug)]
pub struct SentinelClient {
    shared: Arc<Shared>,
    _task: Arc<Task>,
}

#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the handles and their task share. Everything but what happened is the latest state; nothing queues up without bound.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something is to be sent.
    wanted: Notify,
    /// Something is to be taken.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    configuration: Option<Configuration>,
    is_unsent: bool,
    requests: VecDeque<Request>,
    seats: BTreeMap<SeatName, SeatReport>,
    untold: BTreeMap<SeatName, SeatReport>,
    entries: VecDeque<Entry>,
    letters: VecDeque<seat::Message>,
}

/// Something for the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// How a seat is: the latest that is known of it.
    Seat(SeatReport),
    /// What happened.
    Happened(Entry),
    /// A letter to the controllers.
    Letter(seat::Message),
}

impl SentinelClient {
    /// Begins; within a tokio runtime. When the client and all its clones are gone the process is on its own.
    pub fn start(options: Options) -> Self {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(keep_connected(shared.clone(), Arc::new(options)));
        Self { shared, _task: Arc::new(Task(task)) }
    }

    /// What is settled from here on. The process has it soon, and after each restart; what has not changed is not sent.
    pub fn configure(&self, configuration: Configuration) {
        let mut state = self.shared.state();
        if state.configuration.as_ref() != Some(&configuration) {
            state.configuration = Some(configuration);
            state.is_unsent = true;
            self.shared.wanted.notify_one();
        }
    }

    /// Has another gateway take a seat that this one holds, without a loss.
    pub fn hand_over(&self, seat: SeatName, to: Option<GatewayName>) {
        self.ask(Request::HandOver { seat, to });
    }

    /// The first BGP session of a seat's tenants is up, or all are.
    pub fn bgp_up(&self, seat: SeatName, epoch: u64, up: usize, of: usize) {
        self.ask(Request::BgpUp { seat, epoch, up, of });
    }

    /// Hands in a letter of the controllers.
    pub fn letter(&self, message: seat::Message) {
        self.ask(Request::Letter(message));
    }

    fn ask(&self, request: Request) {
        let mut state = self.shared.state();
        if state.requests.len() < ENTRIES {
            state.requests.push_back(request);
        }
        self.shared.wanted.notify_one();
    }

    /// How each seat is, as it was told last.
    pub fn seats(&self) -> BTreeMap<SeatName, SeatReport> {
        self.shared.state().seats.clone()
    }

    /// The next news; for one taker. May be cancelled.
    pub async fn next(&self) -> News {
        loop {
            if let Some(news) = self.shared.take() {
                return news;
            }
            self.shared.changed.notified().await;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<News> {
        let mut state = self.state();
        if let Some((_, report)) = state.untold.pop_first() {
            return Some(News::Seat(report));
        }
        if let Some(letter) = state.letters.pop_front() {
            return Some(News::Letter(letter));
        }
        state.entries.pop_front().map(News::Happened)
    }

    fn heard(&self, event: Event) {
        let mut state = self.state();
        match event {
            Event::Seat(report) => {
                if state.seats.insert(report.seat.clone(), report.clone()).as_ref() == Some(&report) {
                    return;
                }
                state.untold.insert(report.seat.clone(), report);
            }
            Event::Happened(entry) => push(&mut state.entries, *entry),
            Event::Letter(letter) => push(&mut state.letters, letter),
            Event::Refused { message } => {
                tracing::warn!(message, "the sentinel refuses a request");
                return;
            }
            Event::Status(_) | Event::History(_) => return,
        }
        drop(state);
        self.changed.notify_one();
    }

    /// What the process is to be told next.
    fn take_request(&self) -> Option<Request> {
        let mut state = self.state();
        if std::mem::take(&mut state.is_unsent) {
            return state.configuration.clone().map(|configuration| Request::Configure(Box::new(configuration)));
        }
        state.requests.pop_front()
    }

    /// How often the agent says that it is alive.
    fn beat(&self) -> Duration {
        let state = self.state();
        let heartbeat = state.configuration.as_ref().map_or(Duration::from_secs(1), |it| it.timers.heartbeat());
        (heartbeat / 4).max(Duration::from_millis(1))
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == ENTRIES {
        queue.pop_front();
    }
    queue.push_back(item);
}

/// How the process at a socket sees everything.
///
/// # Errors
/// Nobody listens there, or it does not answer.
pub async fn status(socket: &Path) -> anyhow::Result<Status> {
    ask(socket, Request::Status, |event| match event {
        Event::Status(status) => Some(*status),
        _ => None,
    })
    .await
}

/// What the process at a socket knows to have happened, oldest first.
///
/// # Errors
/// Nobody listens there, or it does not answer.
pub async fn history(socket: &Path) -> anyhow::Result<Vec<Entry>> {
    ask(socket, Request::History, |event| match event {
        Event::History(entries) => Some(entries),
        _ => None,
    })
    .await
}

async fn ask<T>(socket: &Path, request: Request, mut take: impl FnMut(Event) -> Option<T>) -> anyhow::Result<T> {
    let mut connection = Connection::open(socket).await?;
    connection.send(&request).await?;
    let asked = async {
        loop {
            match connection.next().await? {
                Event::Refused { message } => bail!("the sentinel refuses: {message}"),
                event => {
                    if let Some(answer) = take(event) {
                        return Ok(answer);
                    }
                }
            }
        }
    };
    timeout(START_TIMEOUT, asked).await.context("the sentinel does not answer")?
}

/// Has the process at a socket end, and waits until it has, or for so long. Blocks. What is held stays held until its lease is over.
pub fn end(socket: &Path, patience: Duration) {
    let asked = || -> io::Result<()> {
        let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(patience))?;
        // Whatever it speaks, it understands this.
        for mut line in [serde_json::to_vec(&Hello::own())?, serde_json::to_vec(&Request::End)?] {
            line.push(b'\n');
            stream.write_all(&line)?;
        }
        io::copy(&mut stream, &mut io::sink()).map(drop)
    };
    if let Err(error) = asked() {
        tracing::debug!(%error, "no sentinel was ended");
    }
}

async fn keep_connected(shared: Arc<Shared>, options: Arc<Options>) {
    // A sentinel that is not there is urgent: the lease runs.
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
    loop {
        while shared.state().configuration.is_none() {
            shared.wanted.notified().await;
        }
        let since = Instant::now();
        let error = match connect(&options).await {
            Ok(connection) => match converse(&shared, connection).await {
                Ok(()) => continue,
                Err(error) => error,
            },
            Err(error) => error,
        };
        tracing::warn!(error = format!("{error:#}"), "the sentinel is not there; it is started again");
        if since.elapsed() > Duration::from_secs(60) {
            backoff.reset();
        }
        sleep(backoff.wait()).await;
    }
}

/// Tells and hears until the connection breaks.
async fn converse(shared: &Shared, mut connection: Connection) -> anyhow::Result<()> {
    shared.state().is_unsent = true;
    loop {
        while let Some(request) = shared.take_request() {
            connection.send(&request).await?;
        }
        tokio::select! {
            () = shared.wanted.notified() => {}
            () = sleep(shared.beat()) => connection.send(&Request::Alive).await?,
            event = connection.next() => shared.heard(event?),
        }
    }
}

/// Connects to the process, which is started if nobody listens.
async fn connect(options: &Options) -> anyhow::Result<Connection> {
    let socket = options.socket();
    if let Ok(stream) = UnixStream::connect(&socket).await {
        match Connection::greet(stream).await {
            Ok(connection) => return Ok(connection),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the sentinel that runs is ended for another");
                let socket = socket.clone();
                let _ = tokio::task::spawn_blocking(move || end(&socket, START_TIMEOUT)).await;
            }
        }
    }
    start(options)?;
    let found = async {
        loop {
            if let Ok(stream) = UnixStream::connect(&socket).await {
                return Connection::greet(stream).await;
            }
            sleep(LOOK).await;
        }
    };
    timeout(START_TIMEOUT, found).await.with_context(|| {
        format!("the sentinel was started and does not listen on {}; look at its log", socket.display())
    })?
}

/// Starts the process, which lives on by itself.
fn start(options: &Options) -> anyhow::Result<()> {
    let mut command = Command::new(&options.program);
    command.arg0("gatewayd").arg("sentinel").arg("--state").arg(&options.state).arg("--pins").arg(&options.pins);
    command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    // What systemd is told is the agent's own affair.
    command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID");
    let mut child = command.spawn().with_context(|| format!("cannot start {} sentinel", options.program.display()))?;
    tracing::info!(pid = child.id(), "the sentinel was started");
    // Only so that no zombie stays while we live.
    std::thread::Builder::new().name("sentinel-wait".into()).spawn(move || child.wait())?;
    Ok(())
}

/// A connection to the process.
#[derive(Debug)]
pub struct Connection {
    lines: Lines<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Connection {
    /// Connects to the process that listens there.
    ///
    /// # Errors
    /// Nobody does, or it speaks something else.
    pub async fn open(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).await.with_context(|| {
            format!(
                "no sentinel listens on {}: a gateway has one while it is in a pool with seats; is --state right?",
                socket.display()
            )
        })?;
        Self::greet(stream).await
    }

    async fn greet(stream: UnixStream) -> anyhow::Result<Self> {
        let (reader, writer) = stream.into_split();
        let mut connection = Self { lines: Lines::new(reader, LINE_LIMIT), writer };
        let line = timeout(START_TIMEOUT, connection.line()).await.context("it does not greet")??;
        let hello: Hello = serde_json::from_slice(&line).context("its greeting is not understood")?;
        if hello.sentinel_protocol != PROTOCOL {
            bail!("it (version {}) speaks protocol {}, we {PROTOCOL}", hello.version, hello.sentinel_protocol);
        }
        connection.send_line(&Hello::own()).await?;
        Ok(connection)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The process does not read.
    pub async fn send(&mut self, request: &Request) -> anyhow::Result<()> {
        self.send_line(request).await
    }

    async fn send_line(&mut self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        timeout(WRITE_TIMEOUT, self.writer.write_all(&line)).await.context("it does not read")??;
        Ok(())
    }

    /// The next event. May be cancelled.
    ///
    /// # Errors
    /// The process is gone, or is not understood.
    pub async fn next(&mut self) -> anyhow::Result<Event> {
        Ok(serde_json::from_slice(&self.line().await?)?)
    }

    async fn line(&mut self) -> anyhow::Result<Vec<u8>> {
        self.lines.next().await?.context("it closed the connection")
    }
}
