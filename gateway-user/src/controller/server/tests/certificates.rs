//! Whose certificates are taken.

use super::rig::{Rig, gateway};
use crate::agent::files;
use crate::agent::token::{Client, ClientRole};
use crate::controller::server::authority::Authority;
use crate::controller::server::limits::Limits;
use crate::controller::server::subject::{self, Subject};
use crate::controller::server::tls::{self, Origin};
use hyper::{Method, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

const GATEWAYS: &str = "/networking/v1/gateways";

#[tokio::test]
async fn an_authority_is_made_once_and_its_key_is_nobody_elses() {
    let data = tempfile::tempdir().expect("a directory");
    let path = data.path().join("data");
    let first = Authority::open(&path).expect("made");
    let again = Authority::open(&path).expect("read");
    assert_eq!(first.fingerprint(), again.fingerprint());
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("ca.key"))), (0o700, 0o600));
    // A crash between key and certificate.
    std::fs::remove_file(path.join("ca.crt")).expect("removed");
    assert_ne!(Authority::open(&path).expect("made anew").fingerprint(), first.fingerprint());
    std::fs::remove_file(path.join("ca.key")).expect("removed");
    let error = Authority::open(&path).expect_err("half of it").to_string();
    assert!(error.contains("without") && error.contains("ca.key"), "{error}");
}

#[test]
fn an_operators_certificate_and_key_must_belong_together_and_be_an_authoritys() {
    let data = tempfile::tempdir().expect("a directory");
    let (one, other) = (data.path().join("one"), data.path().join("other"));
    let authority = Authority::open(&one).expect("made");
    Authority::open(&other).expect("made");
    Authority::load(&one.join("ca.crt"), &one.join("ca.key")).expect("good");
    let error = Authority::load(&one.join("ca.crt"), &other.join("ca.key")).expect_err("mixed");
    assert!(format!("{error:#}").contains("do not belong together"), "{error:#}");
    let client = Client { name: "alice".to_owned(), role: ClientRole::Admin };
    let made = authority.client(&client, time::Duration::hours(1)).expect("a certificate");
    let (certificate, key) = (data.path().join("c"), data.path().join("k"));
    files::write_private(&certificate, made.certificate.as_bytes()).expect("written");
    files::write_private(&key, made.key.as_bytes()).expect("written");
    let error = Authority::load(&certificate, &key).expect_err("no authority");
    assert!(format!("{error:#}").contains("no authority"), "{error:#}");
    let error = tls::Certificate::new(Origin::Files { certificate, key }, Arc::new(authority)).expect_err("no chain");
    assert!(format!("{error:#}").contains("append it"), "{error:#}");
}

#[test]
fn a_subject_is_read_as_it_was_issued() {
    let data = tempfile::tempdir().expect("a directory");
    let authority = Authority::open(data.path()).expect("made");
    for role in [ClientRole::Admin, ClientRole::ReadOnly, ClientRole::Tenant("contoso".to_owned())] {
        let client = Client { name: "alice".to_owned(), role };
        let made = authority.client(&client, time::Duration::hours(1)).expect("a certificate");
        let der = CertificateDer::from_pem_slice(made.certificate.as_bytes()).expect("a certificate");
        assert_eq!(subject::facts(&der).expect("read").subject, Some(Subject::Client(client)));
    }
    assert_eq!(subject::facts(authority.certificate()).expect("read").subject, None);
}

#[tokio::test]
async fn a_client_with_a_good_certificate_is_answered() {
    let rig = Rig::start().await;
    let (status, headers, _) = rig.ask(rig.admin(), Method::GET, GATEWAYS, &[], "").await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(headers["x-ms-request-id"].len(), 36);
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let rig = Rig::start().await;
    assert!(answer_of(&rig, rig.client(ClientRole::Admin, time::Duration::seconds(-60))).await.is_err());
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (rig, other) = (Rig::start().await, Rig::start().await);
    let client = Client { name: "alice".to_owned(), role: ClientRole::Admin };
    let made = other.authority.client(&client, time::Duration::hours(1)).expect("a certificate");
    assert!(answer_of(&rig, rig.shown(&made.certificate, &made.key)).await.is_err());
}

#[tokio::test]
async fn a_controller_of_another_authority_is_not_believed() {
    let (rig, other) = (Rig::start().await, Rig::start().await);
    let error = rig.connect(other.admin()).await.expect_err("not believed").to_string();
    assert!(error.contains("another controller"), "{error}");
}

#[tokio::test]
async fn the_servers_own_certificate_is_nobodys_who_asks() {
    let rig = Rig::start().await;
    let server = rig.authority.server(&["localhost".to_owned()]).expect("a certificate");
    let config = crate::agent::tls::config(
        rig.authority.certificate(),
        crate::agent::tls::Shown::Certificate(server.chain[0].clone(), server.key),
    );
    assert!(answer_of(&rig, config.expect("a configuration")).await.is_err());
}

#[tokio::test]
async fn a_connection_ends_when_its_certificate_expires() {
    let rig = Rig::start().await;
    let mut connection =
        rig.connect(rig.client(ClientRole::Admin, time::Duration::seconds(3))).await.expect("connected");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    // Asked again and again, it is not idle: only the date ends it.
    while connection.ask(Method::GET, "/healthz", &[], Default::default()).await.is_ok_and(|answer| {
        drop(answer);
        true
    }) {
        assert!(tokio::time::Instant::now() < deadline, "it still answers");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_operators_server_certificate_is_served_and_known_by_its_authority() {
    let data = tempfile::tempdir().expect("a directory");
    let theirs = Authority::open(&data.path().join("theirs")).expect("made");
    let ours = Arc::new(Authority::open(&data.path().join("ours")).expect("made"));
    let server = theirs.server(&["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (data.path().join("chain.pem"), data.path().join("key.pem"));
    let pem = |label: &str, der: &[u8]| {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    let chain: String = server.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
    files::write_private(&certificate, chain.as_bytes()).expect("written");
    files::write_private(&key, pem("PRIVATE KEY", server.key.secret_der()).as_bytes()).expect("written");
    let served = tls::Certificate::new(Origin::Files { certificate, key }, ours).expect("served");
    assert_eq!(served.pinned().expect("a chain"), theirs.fingerprint());
}

/// A client may think that it is connected before the server has looked at its certificate: only an answer shows.
async fn answer_of(rig: &Rig, config: Arc<rustls::ClientConfig>) -> Result<StatusCode, crate::agent::http::HttpError> {
    let mut connection = rig.connect(config).await?;
    connection.exchange(Method::GET, GATEWAYS, &[], Default::default()).await.map(|answer| answer.status())
}

#[tokio::test]
async fn streams_are_bounded_for_each_agent() {
    let mut rig = Rig::with(Limits { streams: 1, ..Limits::default() }).await;
    let agent = gateway("GW1");
    let config = rig.agent(&agent);
    let path = crate::agent::protocol::path(&agent, crate::agent::protocol::Endpoint::Plan);
    let hello = serde_json::to_string(&super::rig::hello()).expect("JSON");
    let mut first = rig.connect(config.clone()).await.expect("connected");
    let stream = first.ask(Method::POST, &path, &[], hello.clone().into()).await.expect("a stream");
    let _open = rig.next().await;
    let (status, ..) = rig.ask(config, Method::POST, &path, &[], hello).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    drop(stream);
}
