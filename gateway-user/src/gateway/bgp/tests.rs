//! The runtime with a BMP station at its other end: no compartment is there, so that nobody's session comes up.

use super::{Handle, monitor};
use crate::plan::{self, Plan};
use bgp::speaker::Start;
use bgpkit_parser::models::BgpMessage;
use bgpkit_parser::parser::bmp::messages::{BmpMessage, BmpMessageBody};
use bgpkit_parser::parser::bmp::parse_bmp_msg;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// The example, with a station.
fn plan(port: u16, subnet: &str) -> Arc<Plan> {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/bgp.toml")).expect("the example");
    let station = format!("pa = [\"10.10.0.1\"]\nbmp = [ {{ address = \"127.0.0.1\", port = {port} }} ]");
    let text = text.replacen("pa = [\"10.10.0.1\"]", &station, 1);
    let text = text.replace("subnets = [ {", &format!("subnets = [ {{ vsid = 5999, prefix = \"{subnet}\" }}, {{"));
    Arc::new(plan::parse(&text, "bgp.toml").unwrap_or_else(|errors| panic!("{errors}")))
}

async fn message(stream: &mut TcpStream) -> BmpMessage {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.expect("a header");
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let mut bytes = head.to_vec();
    bytes.resize(length, 0);
    stream.read_exact(&mut bytes[5..]).await.expect("the rest");
    parse_bmp_msg(&mut bytes.into()).expect("a message")
}

/// Reads until a prefix is announced.
async fn until_announced(stream: &mut TcpStream, prefix: &str) {
    loop {
        let told = message(stream).await;
        let BmpMessageBody::RouteMonitoring(routes) = told.message_body else { continue };
        let BgpMessage::Update(update) = routes.bgp_message else { panic!("no UPDATE") };
        let header = told.per_peer_header.expect("of a peer");
        assert_eq!(header.peer_distinguisher, monitor::distinguisher("contoso"));
        if update.announced_prefixes.iter().any(|one| one.prefix.to_string() == prefix) {
            return;
        }
    }
}

async fn meet(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = soon("the gateway", listener.accept()).await.expect("a connection");
    let first = soon("the first message", message(&mut stream)).await;
    let BmpMessageBody::InitiationMessage(said) = first.message_body else { panic!("{first:?}") };
    assert_eq!(said.tlvs[0].info, "gw1");
    let second = soon("the table's begin", message(&mut stream)).await;
    let BmpMessageBody::PeerUpNotification(up) = second.message_body else { panic!("{second:?}") };
    assert_eq!(up.tlvs[0].info_value, "contoso");
    stream
}

#[tokio::test]
async fn a_station_is_told_a_table_and_its_changes_and_all_of_it_again_when_it_comes_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (handle, _learned) = Handle::start(directory.path(), directory.path(), Start::Fresh);
    handle.configure(&plan(port, "10.1.7.0/24"));
    let mut stream = meet(&listener).await;
    soon("the subnet", until_announced(&mut stream, "10.1.7.0/24")).await;
    handle.configure(&plan(port, "10.1.8.0/24"));
    soon("the change", until_announced(&mut stream, "10.1.8.0/24")).await;
    drop(stream);
    let mut stream = meet(&listener).await;
    soon("the table again", until_announced(&mut stream, "10.1.8.0/24")).await;
}

#[test]
fn tenants_are_told_apart() {
    assert_ne!(monitor::distinguisher("contoso"), monitor::distinguisher("woodgrove"));
    assert_eq!(monitor::distinguisher("contoso") >> 48, 0, "a route distinguisher of type 0");
}
