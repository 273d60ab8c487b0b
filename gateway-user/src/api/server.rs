//! Serves the control socket: one task a client, everything bounded, so no client can hold the daemon.

use super::agent::{AgentHandle, Shown, TraceNames};
use super::line::{LineError, Lines};
use super::protocol::{Answer, Failure, FailureCode, Frame, Hello, PROTOCOL, Query, Request, TraceRequest};
use super::story::{self, Joiner, Run};
use super::view::RouteList;
use gateway_common::NexthopId;
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// Clients served at once.
const CLIENTS: usize = 64;
/// Bytes of a request: a plan's text may be one. What is larger goes by the path of its file.
pub const REQUEST_LIMIT: usize = 16 << 20;
/// Bytes of a client's greeting.
const HELLO_LIMIT: usize = 4096;
/// How long a client may take to greet.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may be silent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a client may take to read one frame.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to read an answer of many frames.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Rows of a list in one frame.
const ROWS: usize = 500;
/// How long the names of what traced packets meet are believed.
const NAMES_LIFETIME: Duration = Duration::from_secs(1);
/// Names that are remembered.
const NAMES: usize = 4096;

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error("another gateway is listening on {0}; stop it first, or choose another socket with --socket")]
    InUse(PathBuf),
    /// Something that is no socket has the name.
    #[error("{0} exists and is no socket; remove it, or choose another path with --socket")]
    NotASocket(PathBuf),
    /// The kernel refused.
    #[error("cannot listen on {path}: {source}; choose another path with --socket")]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The control socket, removed when it is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Listens on `path`; see [`listen`].
    ///
    /// # Errors
    /// Somebody else listens there, or the kernel refuses.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        Ok(Self { listener: listen(path)?, path: path.to_owned() })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves clients until the future is dropped. To be called within a tokio runtime.
    pub async fn serve(self, agent: AgentHandle) {
        let room = Arc::new(Semaphore::new(CLIENTS));
        // Dropping the set ends the clients with the server.
        let mut clients = tokio::task::JoinSet::new();
        loop {
            while clients.try_join_next().is_some() {}
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "control socket: accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(permit) = room.clone().try_acquire_owned() else {
                tracing::warn!(limit = CLIENTS, "control socket: too many clients, one turned away");
                continue;
            };
            let agent = agent.clone();
            clients.spawn(async move {
                session(stream, agent).await;
                drop(permit);
            });
        }
    }
}

/// Listens on `path`, with mode 0600. What a killed daemon left there is replaced.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(BindError::InUse(path.to_owned()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    // Nobody can connect before listen(2), and by then the mode is set: the name appears by rename alone.
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    let hidden = PathBuf::from(hidden);
    let _ = std::fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden).map_err(failed)?;
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| std::fs::rename(&hidden, path))
        .map_err(|error| {
            let _ = std::fs::remove_file(&hidden);
            failed(error)
        })?;
    Ok(listener)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves one client to its end.
pub async fn session(stream: UnixStream, agent: AgentHandle) {
    match Session::new(stream, agent).run().await {
        Ok(()) => {}
        Err(SessionError::Line(LineError::Io(error))) | Err(SessionError::Io(error)) => {
            tracing::debug!(%error, "control socket: client gone");
        }
        Err(error) => tracing::info!(%error, "control socket: client turned away"),
    }
}

#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it does not read what it asked for")]
    Slow,
    #[error("it was silent for too long")]
    Silent,
    #[error("it greeted wrongly")]
    Greeting,
}

struct Session {
    lines: Lines<OwnedReadHalf>,
    out: Out,
    agent: AgentHandle,
}

struct Out {
    writer: tokio::net::unix::OwnedWriteHalf,
}

impl Out {
    async fn line<T: serde::Serialize>(&mut self, value: &T) -> Result<(), SessionError> {
        let mut line = serde_json::to_vec(value).map_err(io::Error::other)?;
        line.push(b'\n');
        write_all(&mut self.writer, &line).await
    }

    async fn answer(&mut self, answer: Answer) -> Result<(), SessionError> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut parts = answer.split(ROWS).into_iter().peekable();
        while let Some(answer) = parts.next() {
            self.line(&Frame { more: parts.peek().is_some(), answer }).await?;
            if Instant::now() > deadline {
                return Err(SessionError::Slow);
            }
        }
        Ok(())
    }
}

impl Out {
    /// Makes the rows as they are read, so that a long list is never there as a whole.
    async fn routes(&mut self, list: RouteList) -> Result<(), SessionError> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let sorted = tokio::task::spawn_blocking(|| list.sorted()).await.map_err(io::Error::other)?;
        let mut parts = sorted.parts(ROWS);
        loop {
            // Of no routes, too, there is one part.
            let rows = parts.next().unwrap_or_default();
            let more = parts.len() > 0;
            self.line(&Frame { more, answer: Answer::Routes(rows) }).await?;
            if !more {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(SessionError::Slow);
            }
        }
    }
}

async fn write_all(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), SessionError> {
    timeout(WRITE_TIMEOUT, writer.write_all(bytes)).await.map_err(|_| SessionError::Slow)?.map_err(SessionError::Io)
}

impl Session {
    fn new(stream: UnixStream, agent: AgentHandle) -> Self {
        let (reader, writer) = stream.into_split();
        Self { lines: Lines::new(reader, HELLO_LIMIT), out: Out { writer }, agent }
    }

    async fn run(mut self) -> Result<(), SessionError> {
        self.greet().await?;
        self.lines.set_limit(REQUEST_LIMIT);
        loop {
            let line = match timeout(IDLE_TIMEOUT, self.lines.next()).await {
                Err(_) => return Err(SessionError::Silent),
                Ok(Err(LineError::TooLong(limit))) => {
                    let failure = Failure::new(
                        FailureCode::BadRequest,
                        format!("the request is longer than {} MiB", limit >> 20),
                    );
                    self.out.answer(Answer::Failure(failure.remedy("name the plan's file by its path"))).await?;
                    return Err(LineError::TooLong(limit).into());
                }
                Ok(line) => line?,
            };
            let Some(line) = line else { return Ok(()) };
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match serde_json::from_slice(&line) {
                Ok(request) => self.request(request).await?,
                Err(error) => {
                    let failure =
                        Failure::new(FailureCode::BadRequest, format!("the request is not understood: {error}"));
                    self.out.answer(Answer::Failure(failure)).await?;
                }
            }
        }
    }

    async fn greet(&mut self) -> Result<(), SessionError> {
        self.out.line(&Hello::own()).await?;
        let line = timeout(HELLO_TIMEOUT, self.lines.next()).await.map_err(|_| SessionError::Silent)?;
        let problem = match line {
            Ok(None) => return Err(SessionError::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(Some(line)) => match serde_json::from_slice::<Hello>(&line) {
                Ok(hello) if hello.protocol == PROTOCOL => return Ok(()),
                Ok(hello) => format!(
                    "the client (version {}) speaks protocol {}, the daemon (version {}) protocol {PROTOCOL}",
                    hello.version,
                    hello.protocol,
                    Hello::own().version,
                ),
                Err(error) => format!("the first line is no greeting: {error}"),
            },
            Err(LineError::TooLong(limit)) => format!("the greeting is longer than {limit} bytes"),
            Err(error) => return Err(error.into()),
        };
        let failure = Failure::new(FailureCode::Version, problem)
            .remedy("use the gatewayctl that was installed together with the running gatewayd");
        self.out.answer(Answer::Failure(failure)).await?;
        Err(SessionError::Greeting)
    }

    async fn request(&mut self, request: Request) -> Result<(), SessionError> {
        let answer = match request {
            Request::Show(query) => return self.show(query).await,
            Request::Apply(source) => self.agent.apply(source).await.map(Answer::Applied),
            Request::Trace(request) => return self.trace(request).await,
        };
        self.out.answer(answer.unwrap_or_else(Answer::Failure)).await
    }

    /// Shows something, part by part where it is long: whoever answers does other things between two parts.
    async fn show(&mut self, query: Query) -> Result<(), SessionError> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut next = query;
        loop {
            let (answer, rest) = match self.agent.show(next).await {
                Ok(Shown::Routes(list)) => return self.out.routes(list).await,
                Ok(Shown::Whole(answer)) => (answer, None),
                Ok(Shown::Part(answer, rest)) => (answer, rest),
                Err(failure) => (Answer::Failure(failure), None),
            };
            let parts = answer.split(ROWS);
            let last = parts.len() - 1;
            for (at, answer) in parts.into_iter().enumerate() {
                let more = rest.is_some() || at < last;
                // What is empty says nothing but that more follows.
                if !(more && answer.is_empty()) {
                    self.out.line(&Frame { more, answer }).await?;
                }
            }
            let Some(rest) = rest else { return Ok(()) };
            if Instant::now() > deadline {
                return Err(SessionError::Slow);
            }
            next = rest;
        }
    }

    /// Tells traced packets until the count is reached, or the client sends something or closes its side.
    async fn trace(&mut self, request: TraceRequest) -> Result<(), SessionError> {
        let target = match self.agent.trace_target(request.tenant.clone(), request.connection.clone()).await {
            Ok(target) => target,
            Err(failure) => return self.out.answer(Answer::Failure(failure)).await,
        };
        let mut records = self.agent.tracers().subscribe(target.tenant);
        self.out.answer(Answer::TraceStarted).await?;
        let mut joiner = Joiner::default();
        let mut names = Names { agent: self.agent.clone(), known: HashMap::new(), since: Instant::now() };
        let mut left = request.count.unwrap_or(u64::MAX);
        let mut tick = tokio::time::interval(story::JOIN_WINDOW);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while left > 0 {
            // In this order: what has come is looked at before anything is given up, however late this task is.
            let runs = tokio::select! {
                biased;
                line = self.lines.next() => {
                    line?;
                    break;
                }
                record = records.next() => match record {
                    Some(record) if !story::matches(&record, &request) => continue,
                    Some(record) => joiner.push(*record, std::time::Instant::now()),
                    None => break,
                },
                _ = tick.tick() => joiner.expire(std::time::Instant::now()),
            };
            for run in runs.into_iter().filter(|run| run.matches(&request)) {
                let met = names.of(&run).await;
                if left == 0 || target.connection.is_some_and(|wanted| !run.touches(wanted, met.out_connection)) {
                    continue;
                }
                left -= 1;
                self.out.answer(Answer::Traced(Box::new(story::tell(&run, &met)))).await?;
            }
        }
        let lost = records.lost();
        drop(records);
        self.out.answer(Answer::TraceEnded { lost }).await
    }
}

/// Asks the agent for names, and remembers them for a moment.
struct Names {
    agent: AgentHandle,
    known: HashMap<super::agent::TraceKeys, TraceNames>,
    since: Instant,
}

impl Names {
    async fn of(&mut self, run: &Run) -> TraceNames {
        if self.since.elapsed() > NAMES_LIFETIME || self.known.len() >= NAMES {
            self.known.clear();
            self.since = Instant::now();
        }
        let keys = run.keys();
        if let Some(names) = self.known.get(&keys) {
            return names.clone();
        }
        // A name that is not to be had is no reason to keep the packet back.
        let names = self.agent.trace_names(keys).await.unwrap_or_else(|_| TraceNames {
            tenant: format!("#{}", keys.tenant.0),
            in_port: format!("if{}", keys.ifindex),
            origin: format!("origin {:#x}", keys.origin.0),
            leads_to: (keys.nexthop != NexthopId::NONE).then(|| format!("next hop {}", keys.nexthop.0)),
            ..TraceNames::default()
        });
        self.known.insert(keys, names.clone());
        names
    }
}
