//! Connections as tasks: bytes in, bytes out, each within bounds that the other end cannot move.
//!
//! A connection has at most [`CHUNKS`] pieces of input under way, so a peer that floods waits for its own, and nobody else's. What is to be sent
//! is bounded by its speaker, which is told what the kernel has taken.

use super::socket::{self, Security};
use crate::net::netns::Netns;
use bgp::session::{Close, ConnectionId};
use bytes::Bytes;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;

/// Pieces of a connection's input that may wait.
const CHUNKS: usize = 2;
/// Bytes of a piece.
const CHUNK: usize = 16 << 10;
/// Accepted connections of a listener that may wait.
const ACCEPTED: usize = 16;
/// How long the last words of a connection may take.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Sockets that are being made in compartments at once: each takes a thread.
const OPENING: usize = 8;

/// A router among all that the runtime ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RouterKey(pub u64);

/// Something that happened to a router's sockets.
#[derive(Debug)]
pub(super) struct Happening {
    pub(super) router: RouterKey,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// A connection that was asked for is open.
    Connected { connection: ConnectionId, stream: TcpStream, local: SocketAddr, remote: SocketAddr },
    /// It cannot be opened.
    ConnectFailed { connection: ConnectionId, error: io::Error },
    /// Somebody has connected.
    Accepted { stream: TcpStream, local: SocketAddr, remote: SocketAddr, _turn: OwnedSemaphorePermit },
    /// Bytes have come; the next ones wait for these.
    Received { connection: ConnectionId, bytes: Bytes, _turn: OwnedSemaphorePermit },
    /// The kernel has taken bytes.
    Sent { connection: ConnectionId, count: usize },
    /// The connection is gone.
    Closed { connection: ConnectionId, error: Option<io::Error> },
}

/// Where happenings go. Each task has a bounded number of them under way.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    pub(super) router: RouterKey,
    pub(super) to: mpsc::UnboundedSender<Happening>,
}

impl Teller {
    fn tell(&self, what: What) {
        let _ = self.to.send(Happening { router: self.router, what });
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Arc<TcpStream>,
    sender: mpsc::UnboundedSender<Bytes>,
    reader: AbortHandle,
    writer: AbortHandle,
}

impl Stream {
    /// Reads and writes from here on.
    pub(super) fn new(connection: ConnectionId, socket: TcpStream, teller: &Teller) -> Self {
        let socket = Arc::new(socket);
        let (sender, outgoing) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read(connection, Arc::clone(&socket), teller.clone())).abort_handle();
        let writer = tokio::spawn(write(connection, Arc::clone(&socket), outgoing, teller.clone())).abort_handle();
        Self { socket, sender, reader, writer }
    }

    /// Our end and the other.
    pub(super) fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.socket.local_addr().ok().zip(self.socket.peer_addr().ok())
    }

    /// Sends bytes after those before.
    pub(super) fn send(&self, bytes: Bytes) {
        let _ = self.sender.send(bytes);
    }

    /// Ends it; nothing is told of it any more but what the speaker does not listen to.
    pub(super) fn close(self, how: Close) {
        self.reader.abort();
        match how {
            // The writer ends when all is sent and nobody can send more.
            Close::AfterSending => {
                let writer = self.writer.clone();
                drop(self);
                tokio::spawn(async move {
                    tokio::time::sleep(LAST_WORDS).await;
                    writer.abort();
                });
            }
            Close::Abort => {
                // A reset: what was not read is of no interest to anybody.
                let _ = socket2::SockRef::from(&*self.socket).set_linger(Some(Duration::ZERO));
                self.writer.abort();
            }
        }
    }
}

async fn read(connection: ConnectionId, socket: Arc<TcpStream>, teller: Teller) {
    let turns = Arc::new(Semaphore::new(CHUNKS));
    let error = loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        if let Err(error) = socket.readable().await {
            break Some(error);
        }
        match take(&socket) {
            Ok(bytes) if bytes.is_empty() => break None,
            Ok(bytes) => teller.tell(What::Received { connection, bytes, _turn: turn }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => break Some(error),
        }
    };
    teller.tell(What::Closed { connection, error });
}

/// What is there now. The room for it is not kept by connections that are silent.
fn take(socket: &TcpStream) -> io::Result<Bytes> {
    let mut room = [0; CHUNK];
    let count = socket.try_read(&mut room)?;
    Ok(Bytes::copy_from_slice(&room[..count]))
}

async fn write(
    connection: ConnectionId,
    socket: Arc<TcpStream>,
    mut outgoing: mpsc::UnboundedReceiver<Bytes>,
    teller: Teller,
) {
    while let Some(mut bytes) = outgoing.recv().await {
        let whole = bytes.len();
        while !bytes.is_empty() {
            if socket.writable().await.is_err() {
                return;
            }
            match socket.try_write(&bytes) {
                Ok(count) => drop(bytes.split_to(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The reader tells of it.
                Err(_) => return,
            }
        }
        teller.tell(What::Sent { connection, count: whole });
    }
    let _ = socket2::SockRef::from(&*socket).shutdown(std::net::Shutdown::Write);
}

/// Opens connections in compartments.
#[derive(Clone, Debug)]
pub(super) struct Opener(Arc<Semaphore>);

impl Default for Opener {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(OPENING)))
    }
}

impl Opener {
    /// Opens a connection and tells of it.
    pub(super) fn open(
        &self,
        connection: ConnectionId,
        namespace: &Arc<Netns>,
        (local, remote): (Option<IpAddr>, SocketAddr),
        security: Security,
        teller: &Teller,
    ) -> AbortHandle {
        let (places, namespace, teller) = (Arc::clone(&self.0), Arc::clone(namespace), teller.clone());
        let open = async move {
            let place = places.acquire_owned().await.map_err(io::Error::other)?;
            let made = tokio::task::spawn_blocking(move || socket::connect(&namespace, local, remote, &security));
            let made = made.await.map_err(io::Error::other)??;
            drop(place);
            let stream = TcpStream::from_std(made.into())?;
            stream.writable().await?;
            match stream.take_error()? {
                Some(error) => Err(error),
                None => Ok((stream.local_addr()?, stream.peer_addr()?, stream)),
            }
        };
        let task = tokio::spawn(async move {
            teller.tell(match open.await {
                Ok((local, remote, stream)) => What::Connected { connection, stream, local, remote },
                Err(error) => What::ConnectFailed { connection, error },
            });
        });
        task.abort_handle()
    }
}

/// Takes connections until it is aborted.
pub(super) fn accept(listener: TcpListener, teller: Teller) -> AbortHandle {
    let task = tokio::spawn(async move {
        let turns = Arc::new(Semaphore::new(ACCEPTED));
        loop {
            let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
            let taken = listener.accept().await.and_then(|(stream, remote)| Ok((stream.local_addr()?, stream, remote)));
            match taken {
                Ok((local, stream, remote)) => teller.tell(What::Accepted { stream, local, remote, _turn: turn }),
                // Too many open files, or a connection that was gone at once.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    task.abort_handle()
}
