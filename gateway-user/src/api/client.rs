//! The client's side of the control socket.

use super::line::{LineError, Lines};
use super::protocol::{Answer, Failure, Frame, Hello, PROTOCOL, Request};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Bytes of one line from the daemon.
const LINE_LIMIT: usize = 64 << 20;
/// How long a daemon may take to greet.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no gateway is listening on {0}; start it with `gatewayd gateway --plan FILE`, or name its socket with --socket"
    )]
    NoDaemon(PathBuf),
    /// The socket is somebody else's.
    #[error(
        "not allowed to talk to the gateway on {0}; the socket is its user's alone, so run this as that user (often root)"
    )]
    NotAllowed(PathBuf),
    /// The daemon is of another version.
    #[error(
        "gatewayctl (version {ours}) speaks protocol {PROTOCOL}, the gateway (version {theirs}) protocol {protocol}; \
         use the gatewayctl that was installed together with the running gatewayd"
    )]
    Version {
        /// This program's version.
        ours: String,
        /// The daemon's version.
        theirs: String,
        /// The daemon's protocol.
        protocol: u32,
    },
    /// The daemon went away.
    #[error("the gateway closed the connection; look at its log")]
    Closed,
    /// Whoever listens speaks something else.
    #[error("whoever listens on {0} is no gateway: {1}")]
    NotAGateway(PathBuf, String),
    /// The daemon says no.
    #[error(transparent)]
    Failure(Box<Failure>),
    /// The answer is not to the question.
    #[error("the gateway's answer is not understood: {0}")]
    Confused(String),
    /// The socket failed.
    #[error("the gateway's socket failed: {0}")]
    Io(#[from] io::Error),
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    lines: Lines<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Client {
    /// Connects and greets.
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NoDaemon(path.to_owned()),
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed(path.to_owned()),
            _ => ClientError::Io(error),
        })?;
        let greeting = Self::greet(stream, path);
        tokio::time::timeout(HELLO_TIMEOUT, greeting).await.unwrap_or_else(|_| {
            Err(ClientError::NotAGateway(path.to_owned(), "it does not greet within 10 s".to_owned()))
        })
    }

    /// Greets over a stream that is connected already; `path` is for errors.
    pub async fn greet(stream: UnixStream, path: &Path) -> Result<Self, ClientError> {
        let (reader, writer) = stream.into_split();
        let mut client = Self { lines: Lines::new(reader, LINE_LIMIT), writer };
        let line = client.line().await?;
        let hello: Hello = serde_json::from_slice(&line)
            .map_err(|error| ClientError::NotAGateway(path.to_owned(), error.to_string()))?;
        if hello.protocol != PROTOCOL {
            let ours = Hello::own().version;
            return Err(ClientError::Version { ours, theirs: hello.version, protocol: hello.protocol });
        }
        client.send(&Hello::own()).await?;
        Ok(client)
    }

    /// Asks, and gathers the whole answer.
    pub async fn ask(&mut self, request: &Request) -> Result<Answer, ClientError> {
        self.send(request).await?;
        self.answer().await
    }

    /// Sends without waiting for the answer.
    pub async fn send<T: serde::Serialize>(&mut self, value: &T) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(value).map_err(|error| ClientError::Confused(error.to_string()))?;
        line.push(b'\n');
        self.writer.write_all(&line).await.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::Closed,
            _ => ClientError::Io(error),
        })
    }

    /// The next whole answer. To be cancelled only where answers are single frames, as while tracing.
    pub async fn answer(&mut self) -> Result<Answer, ClientError> {
        let Frame { mut more, mut answer } = self.frame().await?;
        while more {
            let next = self.frame().await?;
            more = next.more;
            if let Answer::Failure(failure) = next.answer {
                return Err(ClientError::Failure(Box::new(failure)));
            }
            answer.append(next.answer).map_err(|_| ClientError::Confused("parts of different kinds".to_owned()))?;
        }
        match answer {
            Answer::Failure(failure) => Err(ClientError::Failure(Box::new(failure))),
            answer => Ok(answer),
        }
    }

    /// The next part of an answer; whoever reads by parts holds no more than one.
    pub async fn frame(&mut self) -> Result<Frame, ClientError> {
        let line = self.line().await?;
        serde_json::from_slice(&line).map_err(|error| ClientError::Confused(error.to_string()))
    }

    async fn line(&mut self) -> Result<Vec<u8>, ClientError> {
        match self.lines.next().await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(ClientError::Closed),
            Err(LineError::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => Err(ClientError::Closed),
            Err(LineError::Io(error)) => Err(ClientError::Io(error)),
            Err(error @ LineError::TooLong(_)) => Err(ClientError::Confused(error.to_string())),
        }
    }
}
