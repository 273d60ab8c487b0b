//! Who is let in, and who is not any more.

use super::rig::{Controller, agent, make, plan, said};
use bytes::Bytes;
use gateway_user::agent::credentials::Credentials;
use gateway_user::agent::http::{Connection, HttpError};
use hyper::{Method, StatusCode};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A client's certificate, made on the controller's host.
fn certificate(data: &Path, out: &Path, days: &str) {
    let create = ["certificate", "create", "--role", "admin", "--client", "alice", "--days", days];
    make(&[&create[..], &["--out", text(out), "--data-dir", text(data)]].concat());
}

fn as_alice(controller: &Controller, alice: &Path, what: &[&str]) -> Output {
    let (certificate, key) = (alice.join("client.crt"), alice.join("client.key"));
    controller.ctl_as(&["--cert", text(&certificate), "--key", text(&key)], what)
}

#[test]
fn a_token_is_listed_and_refused_once_it_is_revoked() {
    let directory = tempfile::tempdir().expect("a directory");
    let controller = Controller::start(&directory.path().join("data"));
    controller.describe();
    let (token, other) = (directory.path().join("reader"), directory.path().join("other"));
    controller.ask(&["token", "create", "client/reader", "--role", "read-only", "-w", text(&token)]);
    let bearer = ["--token-file", text(&token)];
    let get = ["get", "gateways"];
    assert!(controller.ctl_as(&bearer, &get).status.success());
    let listed = controller.ask(&["token", "list"]);
    assert!(listed.contains("client/reader  read-only  good"), "{listed}");
    // A watch that is open ends with the token.
    let mut watch = Command::new(env!("CARGO_BIN_EXE_gatewayctl"));
    watch.args(["--controller", &controller.address, "--ca", text(&controller.data.join("ca.crt"))]).args(bearer);
    let mut watch = watch.arg("watch").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let mut first = [0];
    std::io::Read::read_exact(watch.stdout.as_mut().expect("its output"), &mut first).expect("an event");
    let revoked = controller.ask(&["token", "revoke", text(&token)]);
    assert!(revoked.contains("is revoked (client/reader)"), "{revoked}");
    let output = controller.ctl_as(&bearer, &get);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("revoked"), "{}", said(&output));
    let ended = watch.wait_with_output().expect("its end");
    assert!(!ended.status.success() && said(&ended).contains("revoked"), "{ended:?}");
    assert!(controller.ask(&["token", "list"]).contains("revoked"));
    // One that was made past the controller, and that nobody has shown.
    let made = ["token", "create", "--role", "admin", "--client", "bob", "--data-dir", text(&controller.data)];
    fs::write(&other, make(&made)).expect("written");
    let revoked = controller.ask(&["token", "revoke", text(&other)]);
    assert!(revoked.contains("nobody has shown it"), "{revoked}");
    // Also after a restart, and only by an administrator.
    let data = controller.kill();
    let controller = Controller::start(&data);
    for token in [&token, &other] {
        let output = controller.ctl_as(&["--token-file", text(token)], &get);
        assert!(said(&output).contains("revoked"), "{}", said(&output));
    }
    controller.ask(&["token", "create", "client/reader", "--role", "read-only", "-w", text(&token)]);
    let output = controller.ctl_as(&bearer, &["token", "list"]);
    assert!(said(&output).contains("role admin"), "{}", said(&output));
}

#[test]
fn a_certificate_is_listed_once_it_was_shown_and_refused_once_it_is_revoked() {
    let directory = tempfile::tempdir().expect("a directory");
    let controller = Controller::start(&directory.path().join("data"));
    let alice = directory.path().join("alice");
    certificate(&controller.data, &alice, "20");
    let output = as_alice(&controller, &alice, &["get", "gateways"]);
    assert!(output.status.success(), "{}", said(&output));
    controller.until("the certificates to be known", || {
        let listed = controller.ask(&["certificate", "list"]);
        (listed.contains("client/alice") && listed.contains("client/admin")).then_some(())
    });
    let own = controller.ctl(&["certificate", "revoke", text(&controller.data.join("admin.crt"))]);
    assert!(said(&own).contains("another credential"), "{}", said(&own));
    controller.ask(&["certificate", "revoke", text(&alice.join("client.crt"))]);
    let output = as_alice(&controller, &alice, &["get", "gateways"]);
    assert!(said(&output).contains("revoked"), "{}", said(&output));
    assert!(controller.ask(&["certificate", "list"]).contains("revoked"));
}

#[test]
fn certificates_that_are_expired_or_anothers_and_bodies_that_are_too_large_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let controller = Controller::start(&directory.path().join("data"));
    let (old, foreign) = (directory.path().join("old"), directory.path().join("foreign"));
    certificate(&controller.data, &old, "0");
    // It is good to the end of this very second.
    let refused = || as_alice(&controller, &old, &["get", "gateways"]).status.code() == Some(1);
    controller.until("the certificate to expire", || refused().then_some(()));
    let output = as_alice(&controller, &old, &["get", "gateways"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("client.crt expired on"), "{}", said(&output));
    certificate(&directory.path().join("other"), &foreign, "20");
    assert_eq!(as_alice(&controller, &foreign, &["get", "gateways"]).status.code(), Some(1));
    controller.until("the reasons in the log", || {
        let log = controller.log();
        (log.contains("has expired") && log.contains("not from this controller's authority")).then_some(())
    });
    let large = directory.path().join("large.json");
    let resource = serde_json::json!({ "resourceRef": "/credentials/large", "properties": {
        "type": "usernamePassword", "userName": "a", "value": "x".repeat(9 << 20) } });
    fs::write(&large, resource.to_string()).expect("written");
    let output = controller.ctl(&["apply", "-f", text(&large)]);
    assert!(said(&output).contains("413") || String::from_utf8_lossy(&output.stdout).contains("larger"), "{output:?}");
    assert!(controller.ask(&["get", "credentials"]).contains("nothing there"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agents_certificate_of_before_it_joined_again_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let controller = Controller::start(&directory.path().join("data"));
    controller.describe();
    let (before, after) = (directory.path().join("before"), directory.path().join("after"));
    let mut link = agent(&controller.address, "GW1", Some(controller.token("GW1")), &before);
    assert_eq!(plan(&mut link).await.0.len(), 1);
    drop(link);
    let mut link = agent(&controller.address, "GW1", Some(controller.token("GW1")), &after);
    assert_eq!(plan(&mut link).await.0.len(), 1);
    // Who has the old disk, or a copy of it, gets, reports and renews nothing.
    let old = Credentials::load(&before).expect("readable").expect("there");
    for what in ["plan", "report", "heartbeat", "renew"] {
        let address = controller.address.parse().expect("an address");
        let mut connection = Connection::open(&address, old.config().expect("a configuration")).await.expect("open");
        let path = format!("/networking/agents/v1/gateway/GW1/{what}");
        let refused = connection.ask(Method::POST, &path, &[], Bytes::from_static(b"{}")).await;
        let Err(HttpError::Refused { status, message }) = refused else { panic!("{what}: {refused:?}") };
        assert!(status == StatusCode::UNAUTHORIZED && message.contains("joined again"), "{what}: {status} {message}");
    }
    // Its present one is listed, and can be taken back as well.
    let listed = controller.ask(&["certificate", "list"]);
    let line = listed.lines().find(|line| line.starts_with("gateway/GW1")).expect("the agent's");
    let id = line.split_whitespace().next_back().expect("its number");
    controller.ask(&["certificate", "revoke", id]);
    let present = Credentials::load(&after).expect("readable").expect("there");
    let address = controller.address.parse().expect("an address");
    let mut connection = Connection::open(&address, present.config().expect("a configuration")).await.expect("open");
    let refused = connection.ask(Method::POST, "/networking/agents/v1/gateway/GW1/heartbeat", &[], Bytes::new()).await;
    assert!(matches!(refused, Err(HttpError::Refused { status: StatusCode::UNAUTHORIZED, .. })), "{refused:?}");
}

#[test]
fn a_crash_leaves_no_memory_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let controller = Controller::start(&directory.path().join("data"));
    let limits = fs::read_to_string(format!("/proc/{}/limits", controller.pid())).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("the limit");
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
}

#[test]
fn what_is_used_is_shown_once_where_nobody_looks_at_a_terminal() {
    let directory = tempfile::tempdir().expect("a directory");
    let controller = Controller::start(&directory.path().join("data"));
    controller.describe();
    let gateways = controller.ask(&["top", "gateways", "--interval", "0.1"]);
    assert!(gateways.contains("GW1") && gateways.contains("10 Gbit/s"), "{gateways}");
    let connections: serde_json::Value =
        serde_json::from_str(&controller.ask(&["top", "connections", "--once", "-o", "json"])).expect("JSON");
    assert_eq!((&connections[0]["connection"], &connections[0]["gateway"]), (&"hq".into(), &"GW1".into()));
    assert!(controller.ask(&["top", "hosts"]).contains("no hosts"));
}
