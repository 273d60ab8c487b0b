//! A controller with resources in a map, that can be told to answer otherwise.

use crate::agent::token::{Client, ClientRole, Grant};
use crate::controller::server::authority::Authority;
use crate::controller::server::service::{
    self, Answer, Call, Calls, Method, Request, Standing, WatchEvent, WatchKind, WatchRequest,
};
use crate::controller::server::tls::Origin;
use crate::controller::server::{Documents, Limits, Options, Server};
use crate::ctl::args::Args;
use crate::ctl::output::Output;
use crate::ctl::remote::args::Reach;
use bytes::Bytes;
use clap::Parser;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

/// What the controller is to do, and what it was asked.
#[derive(Default)]
pub struct Script {
    /// Resources by their path in lower case, each with its own path and its tag.
    pub resources: BTreeMap<String, (Value, u32)>,
    /// What is answered before anything else.
    pub first: VecDeque<Answer>,
    /// What is answered at a path, to a method.
    pub fixed: Vec<(Method, String, Answer)>,
    /// Events of each watch; the last stream stays open.
    pub streams: VecDeque<Result<Vec<WatchEvent>, Answer>>,
    /// What was asked.
    pub asked: Vec<Request>,
    /// What was watched.
    pub watched: Vec<WatchRequest>,
    open: Vec<mpsc::Sender<Arc<WatchEvent>>>,
}

/// The running controller.
pub struct Rig {
    pub address: String,
    pub authority: Arc<Authority>,
    pub data: Arc<TempDir>,
    pub standing: watch::Sender<Standing>,
    pub script: Arc<Mutex<Script>>,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: u8,
    pub out: String,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("a lock").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Rig {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let authority = Arc::new(Authority::open(data.path()).expect("an authority"));
        Self::with(Arc::new(data), authority).await
    }

    /// Another controller of the same authority.
    pub async fn beside(other: &Self) -> Self {
        Self::with(other.data.clone(), other.authority.clone()).await
    }

    async fn with(data: Arc<TempDir>, authority: Arc<Authority>) -> Self {
        let (controller, calls) = service::channel();
        let standing = calls.standing.clone();
        standing.send_replace(Standing::Leader { epoch: 1 });
        let options = Options {
            listen: vec!["127.0.0.1:0".parse().expect("an address")],
            certificate: Origin::Issued(vec!["127.0.0.1".to_owned()]),
            documents: Documents::default(),
            limits: Limits::default(),
        };
        let server = Server::bind(options, controller, authority.clone()).await.expect("bound");
        let address = format!("https://{}", server.addresses().expect("addresses")[0]);
        tokio::spawn(server.serve(std::future::pending()));
        let script = Arc::new(Mutex::new(Script::default()));
        tokio::spawn(core(calls, script.clone()));
        Self { address, authority, data, standing, script }
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.data.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// Options of an administrator with a certificate.
    pub fn reach(&self) -> Reach {
        let client = Client { name: "alice".to_owned(), role: ClientRole::Admin };
        let made = self.authority.client(&client, time::Duration::hours(1)).expect("a certificate");
        Reach {
            controllers: vec![self.address.parse().expect("an address")],
            authority: Some(self.file("ca.pem", &crate::agent::credentials::pem(self.authority.certificate()))),
            certificate: Some(self.file("client.pem", &made.certificate)),
            key: Some(self.file("client.key", &made.key)),
            timeout: 60,
            ..Reach::default()
        }
    }

    /// A file with an administrator's token.
    pub fn token_file(&self) -> PathBuf {
        let grant = Grant::Client(Client { name: "alice".to_owned(), role: ClientRole::Admin });
        let minute = Duration::from_secs(600);
        let token = self.authority.token(grant, self.authority.fingerprint(), minute).expect("a token");
        self.file("admin.token", token.expose())
    }

    /// Runs a command as an administrator.
    pub async fn run(&self, line: &[&str]) -> anyhow::Result<Said> {
        run(line, self.reach()).await
    }

    /// What a command prints that goes well.
    pub async fn prints(&self, line: &[&str]) -> String {
        let said = self.run(line).await.expect("it goes well");
        assert_eq!(said.code, 0, "{}", said.out);
        said.out
    }

    pub fn put(&self, path: &str, properties: Value) {
        let id = path.rsplit('/').next().expect("an id");
        let value = json!({ "resourceRef": path, "resourceId": id, "properties": properties });
        self.script().resources.insert(path.to_ascii_lowercase(), (value, 1));
    }

    pub fn fix(&self, method: Method, path: &str, answer: Answer) {
        self.script().fixed.push((method, path.to_ascii_lowercase(), answer));
    }

    pub fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().expect("a lock")
    }

    /// The methods and paths that were asked.
    pub fn asked(&self) -> Vec<String> {
        let script = self.script();
        script.asked.iter().map(|request| format!("{:?} {}", request.method, local(&request.path))).collect()
    }
}

pub async fn run(line: &[&str], reach: Reach) -> anyhow::Result<Said> {
    let mut args = Args::try_parse_from(std::iter::once(&"gatewayctl").chain(line)).expect("a good line");
    args.reach = reach;
    let shared = Shared::default();
    let mut output = Output::to(args.output, shared.clone());
    let code = crate::ctl::run(&args, &mut output).await?;
    output.flush()?;
    let out = String::from_utf8(shared.0.lock().expect("a lock").clone()).expect("UTF-8");
    Ok(Said { code, out })
}

pub fn event(revision: u64, kind: WatchKind, path: &str) -> WatchEvent {
    let object = json!({ "properties": { "configurationState": { "status": "Success" } } });
    let data = match kind {
        WatchKind::Deleted => json!({ "resourceRef": path }),
        _ => json!({ "resourceRef": path, "object": object }),
    };
    WatchEvent { revision: Some(revision), kind, data: data.to_string().into() }
}

pub fn refusal(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(status, json!({ "error": { "code": code, "message": message, "target": "" } }).to_string())
}

fn local(path: &str) -> &str {
    path.strip_prefix("/networking/v1").unwrap_or(path)
}

async fn core(mut calls: Calls, script: Arc<Mutex<Script>>) {
    while let Some(call) = calls.calls.recv().await {
        let mut script = script.lock().expect("a lock");
        match call {
            Call::Request(request, reply) => {
                let answer = match script.first.pop_front() {
                    Some(answer) => answer,
                    None => answer(&mut script, &request),
                };
                script.asked.push(request);
                reply.send(answer);
            }
            Call::Watch(request, reply) => {
                script.watched.push(request);
                match script.streams.pop_front() {
                    Some(Err(answer)) => reply.send(Err(answer)),
                    events => {
                        let (sender, receiver) = mpsc::channel(16);
                        for event in events.and_then(Result::ok).into_iter().flatten() {
                            sender.try_send(Arc::new(event)).expect("room");
                        }
                        reply.send(Ok(receiver));
                        if script.streams.is_empty() {
                            script.open.push(sender);
                        }
                    }
                }
            }
            Call::Know(_, _, reply) | Call::Revoke(_, reply) => reply.send(Ok(())),
            _ => panic!("no agent is here"),
        }
    }
}

fn answer(script: &mut Script, request: &Request) -> Answer {
    let path = local(&request.path).to_ascii_lowercase();
    let query: Vec<String> = request.query.iter().map(|(name, _)| format!("?{name}")).collect();
    let asked = format!("{path}{}", query.join(""));
    if let Some((_, _, answer)) = script.fixed.iter().find(|(method, at, _)| *method == request.method && *at == asked)
    {
        return answer.clone();
    }
    let tagged = |value: &Value, tag: u32, status: u16| {
        let etag = format!("W/\"{tag}\"");
        let mut value = value.clone();
        value["etag"] = etag.as_str().into();
        Answer { etag: Some(etag), ..Answer::json(status, value.to_string()) }
    };
    match request.method {
        Method::Get if path.split('/').count().is_multiple_of(2) => {
            let inside = format!("{path}/");
            let values: Vec<&Value> = script
                .resources
                .iter()
                .filter(|(key, _)| key.strip_prefix(&inside).is_some_and(|rest| !rest.contains('/')))
                .map(|(_, (value, _))| value)
                .collect();
            Answer::json(200, json!({ "value": values, "nextLink": "" }).to_string())
        }
        Method::Get => match script.resources.get(&path) {
            Some((value, tag)) => tagged(value, *tag, 200),
            None => refusal(404, "ResourceNotFound", &format!("there is no {path}")),
        },
        Method::Put => {
            let mut value: Value = serde_json::from_slice(&request.body).expect("JSON");
            value["resourceRef"] = local(&request.path).into();
            value.as_object_mut().expect("an object").remove("etag");
            let (status, tag) = match script.resources.get(&path) {
                None => (201, 1),
                Some((old, tag)) if *old == value => (200, *tag),
                Some((_, tag)) => (200, tag + 1),
            };
            let answer = tagged(&value, tag, status);
            script.resources.insert(path, (value, tag));
            answer
        }
        Method::Delete => match script.resources.remove(&path) {
            Some(_) => Answer {
                status: 202,
                location: Some("/networking/v1/operationResults/7".to_owned()),
                body: Bytes::new(),
                ..Answer::default()
            },
            None => Answer { status: 204, ..Answer::default() },
        },
        _ => refusal(405, "MethodNotAllowed", "no"),
    }
}
