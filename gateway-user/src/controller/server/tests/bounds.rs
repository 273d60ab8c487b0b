//! Nobody holds the server: not by size, not by doing nothing, not by number.

use super::rig::{Rig, Seen, gateway};
use crate::agent::protocol::{Document, Endpoint, PlanEvent, path};
use crate::agent::routes::Told;
use crate::controller::server::limits::Limits;
use hyper::{Method, StatusCode};
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

async fn raw(rig: &Rig) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(rig.socket).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(rig.admin()).connect(name, stream).await.expect("shaken hands")
}

/// What the server says before it hangs up.
async fn last_words(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        // An end without TLS's own goodbye is an end, too.
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            bytes.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(LONG, reading).await.expect("it hangs up");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_by_its_length_and_by_its_bytes() {
    let mut rig = Rig::with(Limits { request_bytes: 1000, ..Limits::default() }).await;
    let path = "/networking/v1/gateways/GW1";
    let (status, _, body) = rig.ask(rig.admin(), Method::PUT, path, &[], vec![b' '; 1001]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
    assert_eq!(rig.ask(rig.admin(), Method::PUT, path, &[], vec![b' '; 1000]).await.0, StatusCode::CREATED);
    let Seen::Request(request) = rig.next().await else { panic!("no request") };
    assert_eq!(request.body.len(), 1000);
    // In pieces, without saying how much comes.
    let mut stream = raw(&rig).await;
    let head = format!("PUT {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("written");
    let piece = format!("{:x}\r\n{}\r\n", 600, " ".repeat(600));
    stream.write_all(piece.repeat(2).as_bytes()).await.expect("written");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert!(rig.seen.try_recv().is_err(), "it did not reach the core");
}

#[tokio::test]
async fn who_sends_a_header_or_body_by_and_by_is_cut_off() {
    let mut rig = Rig::with(Limits { header: SHORT, body: SHORT, ..Limits::default() }).await;
    let mut stream = raw(&rig).await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n").await.expect("written");
    assert_eq!(last_words(&mut stream).await, "");
    let mut stream = raw(&rig).await;
    stream
        .write_all(b"PUT /networking/v1/gateways/GW1 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{")
        .await
        .expect("written");
    let words = last_words(&mut stream).await;
    assert!(words.starts_with("HTTP/1.1 408"), "{words}");
    assert!(rig.seen.try_recv().is_err(), "nothing of it reached the core");
}

#[tokio::test]
async fn who_does_not_shake_hands_is_cut_off() {
    let rig = Rig::with(Limits { handshake: SHORT, ..Limits::default() }).await;
    let mut stream = TcpStream::connect(rig.socket).await.expect("connected");
    assert_eq!(last_words(&mut stream).await, "");
    let mut stream = TcpStream::connect(rig.socket).await.expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
    last_words(&mut stream).await;
}

#[tokio::test]
async fn an_agent_that_does_not_read_its_plan_is_cut_off() {
    let mut rig = Rig::with(Limits { write: SHORT, ..Limits::default() }).await;
    let who = gateway("GW1");
    let mut connection = rig.connect(rig.agent(&who)).await.expect("connected");
    let hello = serde_json::to_string(&super::rig::hello()).expect("JSON");
    let _unread = connection.ask(Method::POST, &path(&who, Endpoint::Plan), &[], hello.into()).await.expect("a stream");
    let Seen::Connected(_, sender) = rig.next().await else { panic!("not connected") };
    let event = Arc::new(PlanEvent { base: Document::of(&"x".repeat(1 << 20)).ok(), ..PlanEvent::default() });
    let sending = async { while sender.send(Told::Plan(event.clone())).await.is_ok() {} };
    tokio::time::timeout(LONG, sending).await.expect("the core sees that it has gone");
}

#[tokio::test]
async fn strangers_do_not_shut_out_who_has_a_certificate() {
    let rig = Rig::with(Limits { strangers: 2, ..Limits::default() }).await;
    // One known connection counts as no stranger's any more.
    let mut known = rig.connect(rig.admin()).await.expect("connected");
    known.ask(Method::GET, "/healthz", &[], Default::default()).await.expect("answered");
    let first = TcpStream::connect(rig.socket).await.expect("connected");
    let second = TcpStream::connect(rig.socket).await.expect("connected");
    // The third is turned away: those two still have to shake hands.
    let mut third = TcpStream::connect(rig.socket).await.expect("connected");
    assert_eq!(last_words(&mut third).await, "");
    known.ask(Method::GET, "/healthz", &[], Default::default()).await.expect("answered");
    drop((first, second));
}
