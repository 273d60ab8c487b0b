//! What is secret stays so: neither the log, at its finest, nor `Debug`, nor an answer tells it.

use super::rig::{Rig, gateway, hello};
use crate::agent::credentials::Key;
use crate::agent::enrol::join;
use crate::agent::token::{Client, ClientRole, Grant};
use hyper::header::AUTHORIZATION;
use hyper::{Method, StatusCode};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_secret_is_logged_or_shown() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    // All tasks of this test are on this thread.
    let _guard = tracing::subscriber::set_default(subscriber);
    let rig = Rig::start().await;
    let who = gateway("GW1");
    let files = tempfile::tempdir().expect("a directory");
    let joining = rig.token(Grant::Join(who.clone()), Duration::from_secs(60));
    let credentials =
        join(files.path(), &who, std::slice::from_ref(&rig.address), Some(&joining), &hello()).await.expect("joined");
    let client = Grant::Client(Client { name: "alice".to_owned(), role: ClientRole::Admin });
    let token = rig.token(client, Duration::from_secs(60));
    let bearer = format!("Bearer {}", token.expose());
    let body = r#"{"properties":{"type":"usernamePassword","value":"correct horse"}}"#;
    let path = "/networking/v1/credentials/c1";
    let (status, ..) = rig.ask(rig.stranger(), Method::PUT, path, &[(AUTHORIZATION, &bearer)], body).await;
    assert_eq!(status, StatusCode::CREATED);
    // One that is refused is logged, but not told.
    let other = Rig::start().await;
    let (status, _, answer) = other.ask(other.stranger(), Method::PUT, path, &[(AUTHORIZATION, &bearer)], body).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);

    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).expect("there");
    let keys = [read(rig.data.path().join("ca.key")), read(files.path().join("agent.key"))];
    let mut secrets = vec!["correct horse", joining.expose(), token.expose()];
    secrets.extend(keys.iter().flat_map(|key| key.lines().filter(|line| !line.starts_with('-'))));
    let key = Key::open(files.path()).expect("a key");
    let shown = format!("{:?} {:?} {:?} {:?} {:?} {answer}", joining, token, credentials, key, rig.authority);
    let logged = String::from_utf8_lossy(&log.0.lock().expect("no panic")).into_owned();
    assert!(logged.contains("an agent has joined") && logged.contains("/networking/v1/credentials/c1"), "{logged}");
    for secret in secrets {
        assert!(!logged.contains(secret), "logged: {secret}");
        assert!(!shown.contains(secret), "shown: {secret}");
    }
}
