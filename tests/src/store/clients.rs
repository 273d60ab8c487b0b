//! Clients of controllers, which ask until they are answered.

use super::controllers::{Controllers, PATIENCE};
use bytes::Bytes;
use gateway_user::agent::address::ControllerAddress;
use gateway_user::agent::events::{Decoder, Event};
use gateway_user::agent::http::{Connection, whole};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName};
use hyper::{Method, Response};
use rustls::ClientConfig;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long one controller is given for one answer.
const ONE_ANSWER: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const OPERATION: HeaderName = HeaderName::from_static("azure-asyncoperation");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// An answer.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// The resource's tag.
    pub etag: Option<String>,
    /// Where else to ask.
    pub location: Option<String>,
    /// The path of the operation.
    pub operation: Option<String>,
    /// What was answered, if that was JSON.
    pub body: Value,
}

/// Somebody who asks controllers, by one connection at a time.
pub struct Client {
    addresses: Vec<ControllerAddress>,
    at: usize,
    config: Arc<ClientConfig>,
    open: Option<Connection>,
}

impl Client {
    /// Who knows these controllers.
    pub fn new(addresses: Vec<ControllerAddress>, config: Arc<ClientConfig>) -> Self {
        Self { addresses, at: 0, config, open: None }
    }

    /// Opens the connection, if it is not open.
    pub async fn connect(&mut self) -> Option<&mut Connection> {
        if self.open.is_none() {
            let address = &self.addresses[self.at];
            let opening = tokio::time::timeout(ONE_ANSWER, Connection::open(address, self.config.clone()));
            self.open = Some(opening.await.ok()?.ok()?);
        }
        self.open.as_mut()
    }

    /// Asks one controller once, without going where it points; nothing if it does not answer.
    pub async fn once(
        &mut self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: &Value,
    ) -> Option<Answered> {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let answered = async {
            let response = self.connect().await?.exchange(method.clone(), path, headers, body).await.ok()?;
            let header = |name: HeaderName| response.headers().get(name)?.to_str().ok().map(str::to_owned);
            let status = response.status().as_u16();
            let (etag, location) = (header(header::ETAG), header(header::LOCATION));
            let operation = header(OPERATION).and_then(|url| Some(url.splitn(4, '/').nth(3)?.to_owned()));
            let operation = operation.map(|path| format!("/{path}"));
            let body = serde_json::from_slice(&whole(response).await.ok()?).unwrap_or(Value::Null);
            Some(Answered { status, etag, location, operation, body })
        };
        let answered = tokio::time::timeout(ONE_ANSWER, answered).await.ok().flatten();
        if answered.is_none() {
            self.open = None;
        }
        answered
    }

    /// Asks until a controller has an answer that is final: another one if it points there, has none now, or is not there. A request is the
    /// same every time.
    pub async fn ask(&mut self, method: Method, path: &str, headers: &[(HeaderName, &str)], body: &Value) -> Answered {
        let start = Instant::now();
        loop {
            let answered = self.once(&method, path, headers, body).await;
            match answered {
                Some(answered) if !matches!(answered.status, 307 | 503) => return answered,
                other => {
                    assert!(start.elapsed() < PATIENCE, "{method} {path} is not answered: {other:?}");
                    self.move_on(other.and_then(|answered| answered.location));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Another controller is asked the next time: this one, or the next.
    fn move_on(&mut self, location: Option<String>) {
        let leader =
            location.and_then(|location| location.splitn(4, '/').take(3).collect::<Vec<_>>().join("/").parse().ok());
        let known =
            leader.and_then(|leader: ControllerAddress| self.addresses.iter().position(|known| *known == leader));
        self.at = known.unwrap_or((self.at + 1) % self.addresses.len());
        self.open = None;
    }

    /// Creates or replaces a resource, whatever it was.
    pub async fn put(&mut self, path: &str, properties: &Value) -> Answered {
        let path = format!("/networking/v1{path}");
        let answered = self.ask(Method::PUT, &path, &[], &json!({ "properties": properties })).await;
        assert!(matches!(answered.status, 200 | 201), "PUT {path}: {answered:?}");
        answered
    }

    /// Reads.
    pub async fn get(&mut self, path: &str) -> Answered {
        self.ask(Method::GET, &format!("/networking/v1{path}"), &[], &Value::Null).await
    }

    /// Follows what changes below a path, after a revision or from the beginning; the status if it is refused, nothing without an answer.
    pub async fn watch(&mut self, path: &str, after: Option<&str>) -> Option<Result<Watching, u16>> {
        let path = format!("/networking/v1{path}?watch=true");
        let headers: Vec<_> = after.iter().map(|&id| (LAST_EVENT_ID, id)).collect();
        let connection = self.connect().await?;
        let Ok(response) = connection.exchange(Method::GET, &path, &headers, Bytes::new()).await else {
            self.open = None;
            return None;
        };
        Some(match response.status().as_u16() {
            200 => Ok(Watching { response, decoder: Decoder::new(16 << 20), _connection: self.open.take() }),
            status => {
                self.open = None;
                Err(status)
            }
        })
    }
}

/// An open watch.
pub struct Watching {
    response: Response<Incoming>,
    decoder: Decoder,
    // It ends with its connection.
    _connection: Option<Connection>,
}

impl Watching {
    /// The next event; nothing if the stream has ended.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.decoder.event().unwrap() {
                return Some(event);
            }
            let frame = tokio::time::timeout(PATIENCE, self.response.frame()).await.expect("signs of life");
            if let Some(bytes) = frame?.ok()?.data_ref() {
                self.decoder.push(bytes).unwrap();
            }
        }
    }
}

/// A resource that is written again and again, each time on the condition that it is as the last answer left it. So a write that is lost, or
/// made twice, makes the next one fail.
pub struct Chain {
    /// Its name.
    pub name: String,
    /// How often it was written.
    pub written: u64,
    /// The last operation.
    pub operation: Option<String>,
    etag: Option<String>,
    client: Client,
}

impl Chain {
    /// One that was not written yet.
    pub fn new(number: usize, controllers: &Controllers) -> Self {
        let name = format!("chain{number}");
        Self { name, written: 0, operation: None, etag: None, client: controllers.client() }
    }

    /// Writes it once more: a virtual network whose only subnet has another name each time.
    pub async fn write(&mut self) {
        let number = self.written + 1;
        let prefix = format!("10.0.{}.0/24", number % 256);
        let body = json!({ "properties": {
            "addressSpace": { "addressPrefixes": ["10.0.0.0/16"] },
            "subnets": [{ "resourceId": format!("s{number}"), "properties": { "addressPrefix": prefix } }] } });
        let id = format!("{}-{number}", self.name);
        let condition = match &self.etag {
            Some(etag) => (header::IF_MATCH, etag.as_str()),
            None => (header::IF_NONE_MATCH, "*"),
        };
        let path = format!("/networking/v1/virtualNetworks/{}", self.name);
        let answered = self.client.ask(Method::PUT, &path, &[condition, (CLIENT_REQUEST_ID, &id)], &body).await;
        let expected = if number == 1 { 201 } else { 200 };
        assert_eq!(answered.status, expected, "write {number} of {} was lost or made twice: {answered:?}", self.name);
        assert_eq!(answered.body["properties"]["subnets"][0]["resourceId"], format!("s{number}"));
        (self.written, self.etag, self.operation) = (number, answered.etag, answered.operation);
    }

    /// Whether an answer to a reader shows the last write.
    pub fn is_shown_by(&self, answered: &Answered) -> bool {
        answered.status == 200 && answered.etag == self.etag
    }
}

/// Chains that are written all at once, in the background.
pub struct Writers {
    tasks: Vec<tokio::task::JoinHandle<Chain>>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    /// When each write was answered, by chain.
    answered: Mutex<Vec<Vec<Instant>>>,
    stop: std::sync::atomic::AtomicBool,
}

impl Writers {
    /// Begins to write.
    pub fn start(chains: Vec<Chain>) -> Self {
        let progress =
            Arc::new(Progress { answered: Mutex::new(vec![Vec::new(); chains.len()]), ..Progress::default() });
        let write = |(number, mut chain): (usize, Chain)| {
            let progress = Arc::clone(&progress);
            tokio::spawn(async move {
                while !progress.stop.load(std::sync::atomic::Ordering::Relaxed) {
                    chain.write().await;
                    progress.answered.lock().unwrap()[number].push(Instant::now());
                }
                chain
            })
        };
        Self { tasks: chains.into_iter().enumerate().map(write).collect(), progress }
    }

    /// Waits until each chain was written so often from now on.
    pub async fn more(&self, times: usize, controllers: &Controllers) {
        let counts = || self.progress.answered.lock().unwrap().iter().map(Vec::len).collect::<Vec<_>>();
        let before = counts();
        controllers
            .until("writes to be answered", async || {
                assert!(self.tasks.iter().all(|task| !task.is_finished()), "a writer failed\n{}", controllers.said());
                let enough = counts().iter().zip(&before).all(|(now, before)| *now >= before + times);
                enough.then_some(())
            })
            .await;
    }

    /// The longest time in which nobody was answered.
    pub fn longest_silence(&self) -> Duration {
        let mut all: Vec<Instant> = self.progress.answered.lock().unwrap().concat();
        all.sort_unstable();
        all.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Lets every chain finish its last write.
    pub async fn finish(self) -> Vec<Chain> {
        self.progress.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let mut chains = Vec::new();
        for task in self.tasks {
            chains.push(task.await.expect("no write was lost or made twice"));
        }
        chains
    }
}
