//! A server with a core that only writes down what it is asked.

use crate::agent::address::ControllerAddress;
use crate::agent::http::{self, Connection, HttpError};
use crate::agent::protocol::{BootId, Heartbeat, Hello, PROTOCOL, Report};
use crate::agent::routes::{RouteReport, Told};
use crate::agent::tls::{self, Shown};
use crate::agent::token::{Client, ClientRole, Grant, Token};
use crate::controller::model::Id;
use crate::controller::model::records::{AgentId, Role};
use crate::controller::server::authority::Authority;
use crate::controller::server::limits::Limits;
use crate::controller::server::service::{
    self, Answer, Call, Calls, Connect, KeyId, Refusal, RefusalKind, Request, Standing, WatchEvent, WatchRequest,
};
use crate::controller::server::tls::Origin;
use crate::controller::server::{Documents, Options, Server};
use bytes::Bytes;
use hyper::header::HeaderName;
use hyper::{Method, StatusCode};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// What the core was asked, in order.
#[derive(Debug)]
pub enum Seen {
    Request(Request),
    Watch(WatchRequest, mpsc::Sender<Arc<WatchEvent>>),
    Enrolled(AgentId),
    Routes(AgentId, RouteReport),
    Connected(Connect, mpsc::Sender<Told>),
    Report(AgentId, Report),
    Heartbeat(AgentId, Heartbeat),
}

/// The running server.
pub struct Rig {
    pub address: ControllerAddress,
    pub socket: SocketAddr,
    pub authority: Arc<Authority>,
    pub data: TempDir,
    pub standing: watch::Sender<Standing>,
    pub seen: mpsc::UnboundedReceiver<Seen>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Rig {
    pub async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub async fn with(limits: Limits) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let authority = Arc::new(Authority::open(data.path()).expect("an authority"));
        Self::over(data, authority, limits, "127.0.0.1:0".parse().expect("an address")).await
    }

    /// With an authority that is there, at an address that may be one that was used before.
    pub async fn over(data: TempDir, authority: Arc<Authority>, limits: Limits, listen: SocketAddr) -> Self {
        let (controller, calls) = service::channel();
        let standing = calls.standing.clone();
        standing.send_replace(Standing::Leader { epoch: 1 });
        let options = Options {
            listen: vec![listen],
            certificate: Origin::Issued(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]),
            documents: Documents::default(),
            limits,
        };
        let server = Server::bind(options, controller, authority.clone()).await.expect("bound");
        let socket = server.addresses().expect("addresses")[0];
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(server.serve(async {
            let _ = stopped.await;
        }));
        let (sender, seen) = mpsc::unbounded_channel();
        tokio::spawn(core(calls, sender));
        let address = format!("https://{socket}").parse().expect("an address");
        Self { address, socket, authority, data, standing, seen, stop: Some(stop), serving }
    }

    /// Ends the server as a service manager does.
    pub async fn stop(mut self) -> (TempDir, Arc<Authority>, SocketAddr) {
        let _ = self.stop.take().expect("not stopped yet").send(());
        (&mut self.serving).await.expect("it ends");
        (self.data, self.authority, self.socket)
    }

    /// The next thing that the core is asked.
    pub async fn next(&mut self) -> Seen {
        tokio::time::timeout(Duration::from_secs(60), self.seen.recv()).await.expect("soon").expect("the core lives")
    }

    /// Speaks to the server without a certificate.
    pub fn stranger(&self) -> Arc<ClientConfig> {
        tls::config(self.authority.certificate(), Shown::Nothing).expect("a configuration")
    }

    /// Speaks to the server with a client's certificate.
    pub fn client(&self, role: ClientRole, lifetime: time::Duration) -> Arc<ClientConfig> {
        let client = Client { name: "alice".to_owned(), role };
        let made = self.authority.client(&client, lifetime).expect("a certificate");
        self.shown(&made.certificate, &made.key)
    }

    pub fn shown(&self, certificate: &str, key: &str) -> Arc<ClientConfig> {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
        tls::config(self.authority.certificate(), Shown::Certificate(certificate, key)).expect("a configuration")
    }

    pub fn admin(&self) -> Arc<ClientConfig> {
        self.client(ClientRole::Admin, time::Duration::hours(1))
    }

    /// Speaks to the server as an agent, with a certificate issued past the enrolment.
    pub fn agent(&self, agent: &AgentId) -> Arc<ClientConfig> {
        let pair = rcgen::KeyPair::generate().expect("a key");
        let request = rcgen::CertificateParams::default().serialize_request(&pair).expect("a request");
        let certificate = self.authority.agent(agent, &request.pem().expect("PEM")).expect("a certificate");
        self.shown(&certificate, &pair.serialize_pem())
    }

    pub fn token(&self, grant: Grant, lifetime: Duration) -> Token {
        self.authority.token(grant, self.authority.fingerprint(), lifetime).expect("a token")
    }

    pub async fn connect(&self, config: Arc<ClientConfig>) -> Result<Connection, HttpError> {
        Connection::open(&self.address, config).await
    }

    /// Asks on a connection of its own.
    pub async fn ask(
        &self,
        config: Arc<ClientConfig>,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: impl Into<Bytes>,
    ) -> (StatusCode, hyper::HeaderMap, String) {
        let mut connection = self.connect(config).await.expect("connected");
        let response = connection.exchange(method, path, headers, body.into()).await.expect("answered");
        let (status, headers) = (response.status(), response.headers().clone());
        let body = http::whole(response).await.expect("whole");
        (status, headers, String::from_utf8_lossy(&body).into_owned())
    }
}

/// Answers what it is asked, and writes it down.
async fn core(mut calls: Calls, seen: mpsc::UnboundedSender<Seen>) {
    let mut tokens: HashMap<String, KeyId> = HashMap::new();
    loop {
        let call = tokio::select! {
            biased;
            Some((agent, heartbeat)) = calls.heartbeats.recv() => {
                let _ = seen.send(Seen::Heartbeat(agent, heartbeat));
                continue;
            }
            Some(call) = calls.calls.recv() => call,
            else => return,
        };
        match call {
            Call::Request(request, reply) => {
                let answer = answer(&request);
                let _ = seen.send(Seen::Request(request));
                reply.send(answer);
            }
            Call::Watch(request, reply) if request.after == Some(1) => {
                reply.send(Err(Answer { status: 410, ..Answer::default() }));
            }
            Call::Watch(request, reply) => {
                let (sender, receiver) = mpsc::channel(16);
                let _ = seen.send(Seen::Watch(request, sender));
                reply.send(Ok(receiver));
            }
            Call::Enrol(enrol, reply) => {
                let key = *tokens.entry(enrol.token).or_insert(enrol.key);
                reply.send(if key == enrol.key {
                    let _ = seen.send(Seen::Enrolled(enrol.agent));
                    Ok(())
                } else {
                    Err(Refusal::new(RefusalKind::Forbidden, "the token was used already"))
                });
            }
            Call::Connect(connect, reply) => {
                let (sender, receiver) = mpsc::channel(16);
                let _ = seen.send(Seen::Connected(connect, sender));
                reply.send(Ok(receiver));
            }
            Call::Vote(_, _, reply) => reply.send(Answer { status: 404, ..Answer::default() }),
            Call::Report(agent, report, reply) => {
                let _ = seen.send(Seen::Report(agent, report));
                reply.send(Ok(()));
            }
            Call::Routes(agent, report, reply) => {
                let _ = seen.send(Seen::Routes(agent, report));
                reply.send(Ok(()));
            }
            Call::Know(_, _, reply) | Call::Revoke(_, reply) => reply.send(Ok(())),
            Call::Backup(_) | Call::Restore(..) => panic!("there is no store"),
        }
    }
}

/// Says what it understood, with all the headers that there are.
fn answer(request: &Request) -> Answer {
    Answer {
        etag: Some("W/\"1\"".to_owned()),
        operation: Some("/networking/v1/operations/7".to_owned()),
        location: Some("/networking/v1/operationResults/7".to_owned()),
        retry_after: Some(10),
        ..Answer::json(201, request.path.clone())
    }
}

pub fn agent(role: Role, id: &str) -> AgentId {
    AgentId { role, id: Id::from(id) }
}

pub fn gateway(id: &str) -> AgentId {
    agent(Role::Gateway, id)
}

pub fn hello() -> Hello {
    let pa = serde_json::from_str(r#"["10.10.0.1"]"#).expect("an address");
    Hello {
        protocol: PROTOCOL,
        version: "1".to_owned(),
        boot: BootId("boot".to_owned()),
        pa,
        ports: Vec::new(),
        life: None,
        resume: None,
    }
}
