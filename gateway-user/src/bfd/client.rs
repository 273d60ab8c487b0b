//! The agent's side: sees to it that the process runs, tells it which sessions are wanted, and hands on what it tells.

use super::protocol::{Event, Hello, LINE_LIMIT, PROTOCOL, Report, Request, SessionKey, SessionOptions};
use super::watcher::Watcher;
use crate::agent::backoff::Backoff;
use crate::api::line::Lines;
use anyhow::{Context, bail};
use std::collections::{BTreeMap, BTreeSet};
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

/// How long a process that was started may take to listen, and one that listens to greet.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one line may take to be written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a process that was started is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Where the process is, and how it is started where it is not.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens.
    pub socket: PathBuf,
    /// How long it keeps sessions without us.
    pub owner_timeout: Duration,
    /// `gatewayd`.
    pub program: PathBuf,
}

impl Options {
    /// A process that this very program becomes, which is `gatewayd`.
    pub fn new(socket: PathBuf) -> Self {
        // Also after the file was replaced by a later version's.
        Self { socket, owner_timeout: super::OWNER_TIMEOUT, program: "/proc/self/exe".into() }
    }
}

/// An agent's use of BFD. Cheap to clone. The process is started with the first session.
#[derive(Clone, Debug)]
pub struct BfdClient {
    shared: Arc<Shared>,
    options: Arc<Options>,
    _task: Arc<Task>,
}

#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl BfdClient {
    /// Begins; within a tokio runtime. When the client and all its clones are gone the process is on its own.
    pub fn start(options: Options) -> Self {
        let (shared, options) = (Arc::new(Shared::default()), Arc::new(options));
        let task = tokio::spawn(keep_connected(shared.clone(), options.clone()));
        Self { shared, options, _task: Arc::new(Task(task)) }
    }

    /// A set of sessions, empty at first.
    pub fn watcher(&self) -> Watcher {
        let changed = Arc::new(Notify::new());
        let id = self.shared.state().watch(changed.clone());
        Watcher::new(self.shared.clone(), id, changed)
    }

    /// All sessions that the process keeps, whoever wants them; none where it does not run.
    ///
    /// # Errors
    /// It runs and does not answer.
    pub async fn list(&self) -> anyhow::Result<Vec<Report>> {
        list(&self.options.socket).await
    }
}

/// All sessions that the process at a socket keeps; none where nobody listens.
///
/// # Errors
/// It does not answer.
pub async fn list(socket: &Path) -> anyhow::Result<Vec<Report>> {
    let Ok(stream) = UnixStream::connect(socket).await else { return Ok(Vec::new()) };
    let asked = async {
        let mut connection = Connection::greet(stream).await?;
        connection.send(&Request::List).await?;
        let mut reports = Vec::new();
        loop {
            match connection.next().await? {
                Event::Listed(report) => reports.push(*report),
                Event::ListEnded => return Ok(reports),
                Event::Refused { message } => bail!("the BFD process refuses: {message}"),
                Event::Session(_) => {}
            }
        }
    };
    timeout(START_TIMEOUT, asked).await.context("the BFD process does not answer")?
}

/// Has the process at a socket switch all sessions off and end, and waits until it has, or for so long. Blocks.
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
        tracing::debug!(%error, "no BFD process was ended");
    }
}

/// What the client's handles and its task share. Everything is the latest state; nothing queues up.
#[derive(Debug, Default)]
pub struct Shared {
    state: Mutex<State>,
    /// Something is in `State::unsent`.
    wanted: Notify,
}

#[derive(Debug, Default)]
struct State {
    sessions: BTreeMap<SessionKey, Wanted>,
    watchers: BTreeMap<u64, Watching>,
    /// Sessions of which the process has to be told.
    unsent: BTreeSet<SessionKey>,
    last_watcher: u64,
}

#[derive(Debug)]
struct Wanted {
    options: SessionOptions,
    watchers: BTreeSet<u64>,
    latest: Report,
}

#[derive(Debug)]
struct Watching {
    /// Sessions of which the watcher has to be told.
    untold: BTreeSet<SessionKey>,
    changed: Arc<Notify>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, watcher: u64, session: SessionKey, options: SessionOptions) {
        let mut state = self.state();
        let unknown = || Report::unknown(session.clone(), None);
        let entry = state.sessions.entry(session.clone()).or_insert_with(|| Wanted {
            options: SessionOptions::default(),
            watchers: BTreeSet::new(),
            latest: unknown(),
        });
        let is_first = entry.watchers.is_empty();
        let is_known = !entry.watchers.insert(watcher) || entry.latest == unknown();
        if is_first || entry.options != options {
            entry.options = options;
            state.unsent.insert(session.clone());
            self.wanted.notify_one();
        }
        if !is_known {
            state.tell(watcher, session);
        }
    }

    pub(super) fn remove(&self, watcher: u64, session: &SessionKey) {
        let mut state = self.state();
        if state.release(watcher, session) {
            self.wanted.notify_one();
        }
    }

    pub(super) fn forget(&self, watcher: u64) {
        let mut state = self.state();
        state.watchers.remove(&watcher);
        let all: Vec<SessionKey> = state.sessions.keys().cloned().collect();
        for session in all {
            state.release(watcher, &session);
        }
        self.wanted.notify_one();
    }

    pub(super) fn take_report(&self, watcher: u64) -> Option<Report> {
        let mut state = self.state();
        let State { sessions, watchers, .. } = &mut *state;
        let untold = &mut watchers.get_mut(&watcher)?.untold;
        while let Some(session) = untold.pop_first() {
            if let Some(wanted) = sessions.get(&session) {
                return Some(wanted.latest.clone());
            }
        }
        None
    }

    pub(super) fn report(&self, watcher: u64, session: &SessionKey) -> Option<Report> {
        let state = self.state();
        let wanted = state.sessions.get(session)?;
        wanted.watchers.contains(&watcher).then(|| wanted.latest.clone())
    }

    /// The process told how a session is.
    fn heard(&self, report: Report) {
        let mut state = self.state();
        let session = report.session.clone();
        let Some(wanted) = state.sessions.get_mut(&session) else { return };
        wanted.latest = report;
        for watcher in wanted.watchers.clone() {
            state.tell(watcher, session.clone());
        }
    }

    /// The process is gone, and with it all that was known; all is to be told to the next.
    fn lost(&self, trouble: &str) {
        let mut state = self.state();
        let all: Vec<SessionKey> = state.sessions.keys().cloned().collect();
        state.unsent = all.iter().cloned().collect();
        drop(state);
        for session in all {
            self.heard(Report::unknown(session, Some(trouble.to_owned())));
        }
    }

    fn has_wanted(&self) -> bool {
        !self.state().sessions.is_empty()
    }

    /// What the process has to be told next.
    fn take_request(&self) -> Option<Request> {
        let mut state = self.state();
        let session = state.unsent.pop_first()?;
        Some(match state.sessions.get(&session) {
            Some(wanted) => Request::Add { session, options: wanted.options.clone() },
            None => Request::Remove { session },
        })
    }
}

impl State {
    fn watch(&mut self, changed: Arc<Notify>) -> u64 {
        self.last_watcher += 1;
        self.watchers.insert(self.last_watcher, Watching { untold: BTreeSet::new(), changed });
        self.last_watcher
    }

    fn tell(&mut self, watcher: u64, session: SessionKey) {
        if let Some(watching) = self.watchers.get_mut(&watcher) {
            watching.untold.insert(session);
            watching.changed.notify_one();
        }
    }

    /// Whether the process has to be told.
    fn release(&mut self, watcher: u64, session: &SessionKey) -> bool {
        let Some(wanted) = self.sessions.get_mut(session) else { return false };
        let last = wanted.watchers.remove(&watcher) && wanted.watchers.is_empty();
        if last {
            self.sessions.remove(session);
            self.unsent.insert(session.clone());
        }
        last
    }
}

async fn keep_connected(shared: Arc<Shared>, options: Arc<Options>) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    loop {
        while !shared.has_wanted() {
            shared.wanted.notified().await;
        }
        let since = Instant::now();
        let error = match connect(&options).await {
            Ok(connection) => match converse(&shared, connection, options.owner_timeout).await {
                Ok(()) => continue,
                Err(error) => error,
            },
            Err(error) => error,
        };
        tracing::warn!(error = format!("{error:#}"), "the BFD process is not there; it is started again");
        shared.lost(&format!("the BFD process is not there: {error:#}"));
        if since.elapsed() > Duration::from_secs(60) {
            backoff.reset();
        }
        sleep(backoff.wait()).await;
    }
}

/// Tells and hears until the connection breaks.
async fn converse(shared: &Shared, mut connection: Connection, owner_timeout: Duration) -> anyhow::Result<()> {
    // Sessions that are kept for us are claimed again, all at once.
    let all: Vec<SessionKey> = shared.state().sessions.keys().cloned().collect();
    shared.state().unsent.extend(all);
    let mut alive = tokio::time::interval(owner_timeout / 4);
    loop {
        while let Some(request) = shared.take_request() {
            connection.send(&request).await?;
        }
        tokio::select! {
            () = shared.wanted.notified() => {}
            _ = alive.tick() => connection.send(&Request::Alive).await?,
            event = connection.next() => match event? {
                Event::Session(report) => shared.heard(*report),
                Event::Refused { message } => tracing::warn!(message, "the BFD process refuses a request"),
                Event::Listed(_) | Event::ListEnded => {}
            },
        }
    }
}

/// Connects to the process, which is started if nobody listens.
async fn connect(options: &Options) -> anyhow::Result<Connection> {
    if let Ok(stream) = UnixStream::connect(&options.socket).await {
        match Connection::greet(stream).await {
            Ok(connection) => return Ok(connection),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the BFD process that runs is ended for another");
                let socket = options.socket.clone();
                let _ = tokio::task::spawn_blocking(move || end(&socket, START_TIMEOUT)).await;
            }
        }
    }
    start(options)?;
    let found = async {
        loop {
            if let Ok(stream) = UnixStream::connect(&options.socket).await {
                return Connection::greet(stream).await;
            }
            sleep(LOOK).await;
        }
    };
    timeout(START_TIMEOUT, found).await.with_context(|| {
        format!("the BFD process was started and does not listen on {}; look at its log", options.socket.display())
    })?
}

/// Starts the process, which lives on by itself.
fn start(options: &Options) -> anyhow::Result<()> {
    let mut command = Command::new(&options.program);
    command.arg0("gatewayd").arg("bfd").arg("--socket").arg(&options.socket);
    command.arg("--owner-timeout").arg(options.owner_timeout.as_secs().max(1).to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    // What systemd is told is the agent's own affair.
    command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID");
    let mut child = command.spawn().with_context(|| format!("cannot start {} bfd", options.program.display()))?;
    tracing::info!(pid = child.id(), "the BFD process was started");
    // Only so that no zombie stays while we live.
    std::thread::Builder::new().name("bfd-wait".into()).spawn(move || child.wait())?;
    Ok(())
}

/// A connection to the process.
#[derive(Debug)]
struct Connection {
    lines: Lines<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Connection {
    async fn greet(stream: UnixStream) -> anyhow::Result<Self> {
        let mut connection = Self::over(stream);
        let line = timeout(START_TIMEOUT, connection.line()).await.context("it does not greet")??;
        let hello: Hello = serde_json::from_slice(&line).context("its greeting is not understood")?;
        if hello.bfd_protocol != PROTOCOL {
            bail!("it (version {}) speaks protocol {}, we {PROTOCOL}", hello.version, hello.bfd_protocol);
        }
        connection.send(&Hello::own()).await?;
        Ok(connection)
    }

    fn over(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { lines: Lines::new(reader, LINE_LIMIT), writer }
    }

    async fn send(&mut self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        timeout(WRITE_TIMEOUT, self.writer.write_all(&line)).await.context("it does not read")??;
        Ok(())
    }

    /// May be cancelled.
    async fn next(&mut self) -> anyhow::Result<Event> {
        Ok(serde_json::from_slice(&self.line().await?)?)
    }

    async fn line(&mut self) -> anyhow::Result<Vec<u8>> {
        self.lines.next().await?.context("it closed the connection")
    }
}
