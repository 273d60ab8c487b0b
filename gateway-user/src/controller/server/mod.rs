//! HTTPS for clients and agents. It decides nothing: it takes HTTP's form off what is asked, and bounds who asks.
//!
//! ```text
//!   TCP ──► TLS ──► who is it? ──► router ──► api     ──► core
//!           tls     subject                   agents  ──► core
//!                   tokens, roles             page, tokens_api
//! ```
//!
//! | to change | go to |
//! |---|---|
//! | what the server asks of the core | [`service`] |
//! | what bounds a client | [`limits`], `slow` |
//! | certificates: who issues them, whose are taken | [`authority`], [`subject`], [`tls`] |
//! | tokens | [`tokens`], `tokens_api`, and [`crate::agent::token`] |
//! | who is let in, listed and taken back | `credentials_api`, and [`crate::controller::core::ledger`] |
//! | who may ask for what | `roles` |
//! | what is where | `router` |
//! | the REST API's headers and watches | `api`, `streams` |
//! | backup and restore | `copies` |
//! | what agents ask | `agents` |
//! | the page that shows the API | `page`, `browse.*` |

mod agents;
mod api;
pub mod authority;
mod copies;
mod credentials_api;
pub mod limits;
mod page;
mod response;
mod roles;
mod router;
pub mod service;
mod slow;
mod streams;
pub mod subject;
pub mod tls;
pub mod tokens;
mod tokens_api;
mod uri;

#[cfg(test)]
pub(crate) mod tests;

pub use limits::Limits;
pub use router::Documents;
pub use tokens_api::Wish;

use anyhow::Context as _;
use authority::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use router::{Context, Peer};
use rustls::ServerConfig;
use service::Controller;
use slow::Watched;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where.
    pub listen: Vec<SocketAddr>,
    /// Where the server's certificate comes from.
    pub certificate: tls::Origin,
    /// What is served as it is.
    pub documents: Documents,
    /// What bounds clients.
    pub limits: Limits,
}

/// The server, listening.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    context: Arc<Context>,
    shared: Shared,
    stop: watch::Sender<bool>,
}

/// What all connections share.
#[derive(Clone)]
struct Shared {
    tls: Arc<ServerConfig>,
    connections: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("connections", &self.connections)
            .field("strangers", &self.strangers)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Listens. Nothing is answered before [`Server::serve`].
    ///
    /// # Errors
    /// An address cannot be had, or there is no certificate.
    pub async fn bind(options: Options, controller: Controller, authority: Arc<Authority>) -> anyhow::Result<Self> {
        let certificate = tls::Certificate::new(options.certificate, authority.clone())?;
        let tls = tls::server_config(&authority, certificate.clone())?;
        let mut listeners = Vec::new();
        for address in options.listen {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot listen on {address}; choose another address with --listen"))?;
            listeners.push(listener);
        }
        let (stop, stopping) = watch::channel(false);
        let shared = Shared {
            tls,
            connections: Arc::new(Semaphore::new(options.limits.connections)),
            strangers: Arc::new(Semaphore::new(options.limits.strangers)),
        };
        let context = Context {
            controller,
            authority,
            certificate,
            documents: options.documents,
            limits: options.limits,
            streams: streams::Count::default(),
            stopping,
        };
        Ok(Self { listeners, context: Arc::new(context), shared, stop })
    }

    /// Where it listens, with the ports that the kernel chose.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }

    /// Serves until `ended`; then answers what was asked, within bounds, and ends every stream.
    pub async fn serve(self, ended: impl Future<Output = ()>) {
        let Self { listeners, context, shared, stop } = self;
        // Dropping the set ends what is left in it.
        let mut tasks = JoinSet::new();
        tasks.spawn(context.certificate.clone().keep());
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(listener, context.clone(), shared.clone()));
        }
        ended.await;
        let _ = stop.send(true);
        let farewell = context.limits.farewell;
        let all = async { while accepting.join_next().await.is_some() {} };
        if tokio::time::timeout(farewell + Duration::from_secs(1), all).await.is_err() {
            tracing::warn!("clients that did not let go were cut off");
        }
    }
}

/// Takes connections until the server stops, then waits for those that are open.
async fn accept(listener: TcpListener, context: Arc<Context>, shared: Shared) {
    let mut stopping = context.stopping.clone();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        match accepted {
            Ok((stream, address)) => {
                // Until somebody has shown a certificate they are a stranger: many of these do not shut out those that have.
                let Ok(stranger) = shared.strangers.clone().try_acquire_owned() else {
                    tracing::warn!(from = %address, limit = context.limits.strangers, "too many connections without a certificate; one was turned away");
                    continue;
                };
                connections.spawn(connection(stream, address, stranger, context.clone(), shared.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "no connection can be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(context.limits.farewell, all).await;
}

/// Serves one connection to its end.
async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    stranger: tokio::sync::OwnedSemaphorePermit,
    context: Arc<Context>,
    shared: Shared,
) {
    let _ = stream.set_nodelay(true);
    let limits = &context.limits;
    let stream = match tokio::time::timeout(limits.handshake, TlsAcceptor::from(shared.tls).accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(from = %address, reason = tls::reason(&error), "a connection was refused");
            return;
        }
        Err(_) => {
            tracing::info!(from = %address, reason = "the handshake took too long", "a connection was refused");
            return;
        }
    };
    let (peer, expiry) = who(&stream, address);
    // What is held while the connection lives.
    let mut held = Some(stranger);
    if peer.certified.is_some() {
        match shared.connections.try_acquire_owned() {
            Ok(permit) => held = Some(permit),
            Err(_) => {
                tracing::warn!(from = %address, limit = limits.connections, "too many connections; one was turned away");
                return;
            }
        }
    }
    let peer = Arc::new(peer);
    let mut ledgers = context.controller.ledgers();
    let service = service_fn({
        let (context, peer) = (context.clone(), peer.clone());
        move |request| {
            let (context, peer) = (context.clone(), peer.clone());
            async move { Ok::<_, Infallible>(router::route(context, peer, request).await) }
        }
    });
    let io = TokioIo::new(Watched::new(stream, limits.write, limits.idle));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header).max_buf_size(limits.header_bytes.max(8192));
    let mut serving = pin!(builder.serve_connection(io, service));
    let mut stopping = context.stopping.clone();
    let mut expired = pin!(sleep_until(expiry));
    let mut leaving = false;
    let result = loop {
        tokio::select! {
            result = serving.as_mut() => break result,
            () = expired.as_mut() => {
                tracing::info!(from = %address, reason = "the client's certificate has expired meanwhile", "a connection was ended");
                return;
            }
            Ok(()) = ledgers.changed() => {
                if peer.is_revoked(&ledgers.borrow_and_update()) {
                    tracing::info!(from = %address, reason = "what the client showed was taken back", "a connection was ended");
                    return;
                }
            }
            _ = stopping.wait_for(|stopping| *stopping), if !leaving => {
                leaving = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(from = %address, %error, "a connection broke");
    }
    drop(held);
}

/// Who is at the far end, and when their certificate expires.
fn who(stream: &TlsStream<TcpStream>, address: SocketAddr) -> (Peer, Option<OffsetDateTime>) {
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let facts = certificate.and_then(|certificate| subject::facts(certificate).ok());
    match facts {
        Some(subject::Facts { subject: Some(subject), key, not_after, .. }) => {
            let certified = Some((subject, key));
            (Peer { address, certified, expires: Some(not_after), token: Mutex::default() }, Some(not_after))
        }
        _ => (Peer { address, certified: None, expires: None, token: Mutex::default() }, None),
    }
}

async fn sleep_until(moment: Option<OffsetDateTime>) {
    let Some(moment) = moment else { return std::future::pending().await };
    let left = moment - OffsetDateTime::now_utc();
    tokio::time::sleep(left.try_into().unwrap_or(Duration::ZERO)).await;
}
