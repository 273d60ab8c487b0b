//! The protocol over real sockets, with a fake agent, kind and hostile clients.

use super::agent::{self, AgentHandle, Call, TraceNames, TraceTarget};
use super::client::ClientError;
use super::protocol::{
    Answer, Applied, Failure, FailureCode, Hello, PROTOCOL, PlanSource, Query, Request, TraceRequest,
};
use super::report::{DropReport, RouteReport, StatusReport};
use super::{Client, Server, server};
use gateway_common::TenantId;
use gateway_common::trace::{Stage, Traced};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

/// Answers everything in a recognisable way.
fn fake_agent() -> AgentHandle {
    let (handle, mut calls) = agent::channel();
    tokio::spawn(async move {
        while let Some(call) = calls.recv().await {
            match call {
                Call::Show(Query::Status, reply) => {
                    let status = StatusReport { name: "gw1".to_owned(), ..StatusReport::default() };
                    reply.send(Ok(Answer::Status(Box::new(status)).into()));
                }
                Call::Show(Query::Routes { tenant, .. }, reply) if tenant == "contoso" => {
                    reply.send(Ok(Answer::Routes((0..1234).map(route).collect()).into()));
                }
                Call::Show(Query::Routes { tenant, .. }, reply) => {
                    reply.send(Err(Failure::not_found("tenant", &tenant)))
                }
                Call::Show(_, reply) => reply.send(Ok(Answer::Drops(vec![DropReport::default()]).into())),
                Call::Apply(PlanSource::Text { text, .. }, reply) if text == "bad" => {
                    let failure = Failure::new(FailureCode::PlanInvalid, "2 errors in plan.toml");
                    reply.send(Err(failure.details(vec!["one".to_owned(), "two".to_owned()])));
                }
                Call::Apply(source, reply) => {
                    reply.send(Ok(Applied { added: vec![format!("{source:?}")], ..Applied::default() }));
                }
                Call::TraceTarget { tenant, reply, .. } => reply.send(match tenant.as_str() {
                    "contoso" => Ok(TraceTarget { tenant: TenantId(1), connection: None }),
                    other => Err(Failure::not_found("tenant", other)),
                }),
                Call::TraceNames(_, reply) => {
                    reply.send(Ok(TraceNames { tenant: "contoso".to_owned(), ..TraceNames::default() }));
                }
            }
        }
    });
    handle
}

fn route(number: u32) -> RouteReport {
    let address = std::net::Ipv4Addr::from(0x0a00_0000 + number);
    RouteReport {
        prefix: ipnet::IpNet::new(address.into(), 32).expect("a length for IPv4"),
        leads_to: "connection hq".to_owned(),
        nexthop: Some(7),
        feasible: vec!["connection hq".to_owned()],
    }
}

/// A client that has greeted, and a handle to the agent.
async fn connected() -> (Client, AgentHandle) {
    let agent = fake_agent();
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    tokio::spawn(server::session(theirs, agent.clone()));
    (Client::greet(ours, Path::new("test")).await.expect("a greeting"), agent)
}

/// A client that has said nothing yet.
fn raw() -> UnixStream {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    tokio::spawn(server::session(theirs, fake_agent()));
    ours
}

/// All that the daemon says until it closes. What it left unread makes a reset, after its last words.
async fn until_closed(mut stream: UnixStream) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the daemon closes");
    String::from_utf8(bytes).expect("text")
}

fn show(query: Query) -> Request {
    Request::Show(query)
}

#[tokio::test]
async fn a_question_is_answered_and_another_after_it() {
    let (mut client, _) = connected().await;
    let Answer::Status(status) = client.ask(&show(Query::Status)).await.expect("an answer") else { panic!("a status") };
    assert_eq!(status.name, "gw1");
    assert!(matches!(client.ask(&show(Query::Drops)).await, Ok(Answer::Drops(list)) if list.len() == 1));
}

#[tokio::test]
async fn a_long_list_arrives_whole_though_it_travels_in_parts() {
    let (mut client, _) = connected().await;
    let query = Query::Routes { tenant: "contoso".to_owned(), prefix: None };
    let Answer::Routes(routes) = client.ask(&show(query)).await.expect("an answer") else { panic!("routes") };
    assert_eq!(routes, (0..1234).map(route).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_refused_plan_names_all_its_errors() {
    let (mut client, _) = connected().await;
    let plan = |text: &str| Request::Apply(PlanSource::Text { name: "plan.toml".to_owned(), text: text.to_owned() });
    let Err(ClientError::Failure(failure)) = client.ask(&plan("bad")).await else { panic!("a failure") };
    assert_eq!((failure.code, failure.details.len()), (FailureCode::PlanInvalid, 2));
    assert!(matches!(client.ask(&plan("good")).await, Ok(Answer::Applied(applied)) if applied.added.len() == 1));
}

#[tokio::test]
async fn another_protocol_is_said_plainly_by_either_side() {
    let mut stream = raw();
    stream.write_all(b"{\"protocol\":99,\"version\":\"9.9\"}\n").await.expect("room");
    let text = until_closed(stream).await;
    assert!(text.contains("\"version\"") && text.contains("speaks protocol 99"), "{text}");

    let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
    theirs.write_all(b"{\"protocol\":2,\"version\":\"2.0\",\"new\":1}\n").await.expect("room");
    let error = Client::greet(ours, Path::new("test")).await.expect_err("another protocol");
    assert!(error.to_string().contains("gateway (version 2.0) protocol 2"), "{error}");
}

#[tokio::test]
async fn who_does_not_greet_is_turned_away() {
    for junk in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\xff\xfe\x00\n", b"{}\n", &[b'x'; 10_000]] {
        let mut stream = raw();
        stream.write_all(junk).await.expect("room");
        let text = until_closed(stream).await;
        assert!(text.lines().count() == 2 && text.contains("failure"), "{text}");
    }
}

#[tokio::test]
async fn garbage_between_questions_is_answered_and_harms_nothing() {
    let mut stream = raw();
    let hello = serde_json::to_string(&Hello::own()).expect("JSON");
    let lines = format!("{hello}\n\n[1,2\n{{\"show\":\"everything\"}}\n\"\\u0000\"\n{{\"show\":\"status\"}}\n");
    stream.write_all(lines.as_bytes()).await.expect("room");
    stream.write_all(&[0xff, 0, 0xfe, b'\n']).await.expect("room");
    stream.shutdown().await.expect("half a close");
    let text = until_closed(stream).await;
    assert_eq!(text.matches("bad_request").count(), 4, "{text}");
    assert_eq!(text.matches("gw1").count(), 1, "{text}");
}

#[tokio::test]
async fn a_huge_line_ends_the_client_and_not_the_daemon() {
    let mut stream = raw();
    let hello = serde_json::to_string(&Hello::own()).expect("JSON");
    stream.write_all(format!("{hello}\n").as_bytes()).await.expect("room");
    let (mut reader, mut writer) = stream.into_split();
    let writing = tokio::spawn(async move {
        let chunk = vec![b' '; 1 << 20];
        let mut written = 0;
        while written <= 2 * server::REQUEST_LIMIT && writer.write_all(&chunk).await.is_ok() {
            written += chunk.len();
        }
        written
    });
    let mut said = Vec::new();
    let _ = timeout(PATIENCE, reader.read_to_end(&mut said)).await.expect("the daemon closes");
    assert!(String::from_utf8(said).expect("text").contains("longer than 16 MiB"));
    assert!(writing.await.expect("a writer") <= server::REQUEST_LIMIT + (4 << 20));
}

#[tokio::test]
async fn a_half_closed_client_still_gets_its_answer() {
    let mut stream = raw();
    let hello = serde_json::to_string(&Hello::own()).expect("JSON");
    stream.write_all(format!("{hello}\n{{\"show\":\"status\"}}").as_bytes()).await.expect("room");
    stream.shutdown().await.expect("half a close");
    assert!(until_closed(stream).await.contains("gw1"));
}

fn trace(tenant: &str, count: Option<u64>) -> Request {
    Request::Trace(TraceRequest { tenant: tenant.to_owned(), count, ..TraceRequest::default() })
}

fn dropped_packet() -> Traced {
    Traced {
        kind: Traced::KIND,
        tenant: TenantId(1),
        stage: Stage::Classify as u32,
        action: 1,
        reason: gateway_common::DropReason::ConnectionDisabled as u32,
        ..bytemuck::Zeroable::zeroed()
    }
}

#[tokio::test]
async fn a_trace_tells_packets_and_ends_at_its_count() {
    let (mut client, agent) = connected().await;
    assert_eq!(client.ask(&trace("contoso", Some(2))).await.expect("a start"), Answer::TraceStarted);
    assert!(agent.tracers().wanted().contains(&TenantId(1)));
    for _ in 0..3 {
        agent.tracers().offer(bytemuck::bytes_of(&dropped_packet()));
    }
    for _ in 0..2 {
        let answer = timeout(PATIENCE, client.answer()).await.expect("in time").expect("a packet");
        assert!(
            matches!(&answer, Answer::Traced(event) if event.reason.as_deref() == Some("connection_disabled")),
            "{answer:?}"
        );
    }
    assert_eq!(client.answer().await.expect("an end"), Answer::TraceEnded { lost: 0 });
    assert!(agent.tracers().wanted().is_empty());
    assert!(matches!(client.ask(&show(Query::Status)).await, Ok(Answer::Status(_))));
}

#[tokio::test]
async fn tracing_ends_when_the_client_goes_away() {
    let (mut client, agent) = connected().await;
    client.ask(&trace("contoso", None)).await.expect("a start");
    agent.tracers().changed().await;
    drop(client);
    timeout(PATIENCE, async {
        while !agent.tracers().wanted().is_empty() {
            agent.tracers().changed().await;
        }
    })
    .await
    .expect("the flag is no longer wanted");
}

#[tokio::test]
async fn an_unknown_tenant_is_not_traced() {
    let (mut client, agent) = connected().await;
    let Err(ClientError::Failure(failure)) = client.ask(&trace("fabrikam", None)).await else { panic!("a failure") };
    assert_eq!(failure.code, FailureCode::NotFound);
    assert!(agent.tracers().wanted().is_empty());
}

#[tokio::test]
async fn the_socket_is_its_owners_alone_and_replaces_a_dead_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run/control.sock");
    let error = Client::connect(&path).await.expect_err("nobody listens");
    assert!(error.to_string().starts_with("no gateway is listening on"), "{error}");

    let server = Server::bind(&path).expect("a socket");
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert!(matches!(Server::bind(&path), Err(server::BindError::InUse(_))));
    let serving = tokio::spawn(server.serve(fake_agent()));
    let mut client = Client::connect(&path).await.expect("a daemon");
    assert!(client.ask(&show(Query::Status)).await.is_ok());
    serving.abort();
    let _ = serving.await;
    assert!(!path.exists());

    // What a killed daemon leaves.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists());
    assert!(Server::bind(&path).is_ok());
    std::fs::write(&path, "no socket").expect("a file");
    assert!(matches!(Server::bind(&path), Err(server::BindError::NotASocket(_))));
}

#[tokio::test]
async fn a_daemon_that_shuts_down_says_so() {
    let (handle, calls) = agent::channel();
    drop(calls);
    assert_eq!(handle.show(Query::Status).await.expect_err("nobody is there").code, FailureCode::Busy);
}

#[test]
fn what_travels_is_stable() {
    let json = |value: &dyn erased::Json| value.json();
    assert_eq!(json(&show(Query::Status)), r#"{"show":"status"}"#);
    assert_eq!(
        json(&show(Query::Routes { tenant: "a".to_owned(), prefix: None })),
        r#"{"show":{"routes":{"tenant":"a"}}}"#
    );
    assert_eq!(json(&trace("a", Some(3))), r#"{"trace":{"tenant":"a","count":3}}"#);
    assert_eq!(json(&Request::Apply(PlanSource::Path("/p".into()))), r#"{"apply":{"path":"/p"}}"#);
    assert_eq!(PROTOCOL, 1);
}

mod erased {
    pub trait Json {
        fn json(&self) -> String;
    }
    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).expect("JSON")
        }
    }
}
