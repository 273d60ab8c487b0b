//! Agents: how they join, and that each speaks for itself only.

use super::api::piece;
use super::rig::{Rig, Seen, agent, gateway, hello};
use crate::agent::credentials::{Credentials, Key};
use crate::agent::enrol::join;
use crate::agent::http;
use crate::agent::protocol::{
    Document, Endpoint, Enrolled, Heartbeat, PlanEvent, Position, Renewal, Report, Resume, path,
};
use crate::agent::routes::Told;
use crate::agent::token::{Client, ClientRole, Grant, Token};
use crate::controller::model::records::{AgentId, Role};
use crate::controller::server::service::Standing;
use hyper::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);

async fn enrol(rig: &Rig, directory: &TempDir, who: &AgentId, token: Option<&Token>) -> anyhow::Result<Credentials> {
    join(directory.path(), who, std::slice::from_ref(&rig.address), token, &hello()).await
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

#[tokio::test]
async fn an_agent_joins_by_its_token_and_then_is_known_by_its_certificate() {
    let mut rig = Rig::start().await;
    let (files, who) = (directory(), gateway("GW1"));
    let token = rig.token(Grant::Join(who.clone()), HOUR);
    let credentials = enrol(&rig, &files, &who, Some(&token)).await.expect("joined");
    assert!(matches!(rig.next().await, Seen::Enrolled(agent) if agent == who));
    for name in ["agent.key", "agent.crt", "authority.crt"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(files.path().join(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let heartbeat = serde_json::to_string(&Heartbeat { sequence: 7, ..Heartbeat::default() }).expect("JSON");
    let config = credentials.config().expect("a configuration");
    let (status, ..) = rig.ask(config, Method::POST, &path(&who, Endpoint::Heartbeat), &[], heartbeat).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(matches!(rig.next().await, Seen::Heartbeat(agent, heartbeat) if agent == who && heartbeat.sequence == 7));
    // Started again, it needs neither the token nor the controller.
    let again = join(files.path(), &who, &[], None, &hello()).await.expect("joined before");
    assert_eq!(again.not_after(), credentials.not_after());
}

#[tokio::test]
async fn a_token_is_good_for_one_key() {
    let rig = Rig::start().await;
    let (first, second, who) = (directory(), directory(), gateway("GW1"));
    let token = rig.token(Grant::Join(who.clone()), HOUR);
    enrol(&rig, &first, &who, Some(&token)).await.expect("joined");
    // Its answer may have been lost: with the same key it may come again.
    std::fs::remove_file(first.path().join("agent.crt")).expect("removed");
    enrol(&rig, &first, &who, Some(&token)).await.expect("joined again");
    let error = enrol(&rig, &second, &who, Some(&token)).await.expect_err("used");
    assert!(format!("{error:#}").contains("used already"), "{error:#}");
}

#[tokio::test]
async fn tokens_that_are_expired_forged_or_for_something_else_are_refused() {
    let (rig, other) = (Rig::start().await, Rig::start().await);
    let who = gateway("GW1");
    let claims = |authority, token: &Token| {
        let mut claims = token.claims().expect("claims");
        claims.authority = authority;
        Token::new(&serde_json::to_vec(&claims).expect("JSON"), b"signed by nobody")
    };
    let join = Grant::Join(who.clone());
    let forged = claims(rig.authority.fingerprint(), &other.token(join.clone(), HOUR));
    let client = Grant::Client(Client { name: "alice".to_owned(), role: ClientRole::Admin });
    for (token, reason) in [
        (rig.token(join.clone(), Duration::ZERO), "has expired"),
        (forged, "not one of this controller's"),
        (rig.token(client, HOUR), "for the REST API"),
        (rig.token(Grant::Join(gateway("GW2")), HOUR), "for gateway/GW2"),
        (rig.token(Grant::Join(agent(Role::Host, "GW1")), HOUR), "for host/GW1"),
    ] {
        let files = directory();
        let error = enrol(&rig, &files, &who, Some(&token)).await.expect_err(reason);
        assert!(format!("{error:#}").contains(reason), "{error:#}");
        assert!(!files.path().join("agent.crt").exists());
    }
    let error = enrol(&rig, &directory(), &who, None).await.expect_err("no token").to_string();
    assert!(error.contains("token create"), "{error}");
}

#[tokio::test]
async fn an_agent_does_not_give_its_token_to_another_controller() {
    let (mut rig, other) = (Rig::start().await, Rig::start().await);
    let who = gateway("GW1");
    // Its fingerprint is the other controller's.
    let token = other.token(Grant::Join(who.clone()), HOUR);
    let files = directory();
    let joining = enrol(&rig, &files, &who, Some(&token));
    // It asks again and again, and never says what it has: only a handshake that is refused shows that it tried.
    assert!(tokio::time::timeout(Duration::from_millis(1500), joining).await.is_err());
    assert!(rig.seen.try_recv().is_err());
}

#[tokio::test]
async fn an_agent_speaks_for_itself_only() {
    let mut rig = Rig::start().await;
    let config = rig.agent(&gateway("GW1"));
    let report = serde_json::to_string(&Report::default()).expect("JSON");
    for other in [gateway("GW2"), agent(Role::Host, "GW1")] {
        for endpoint in Endpoint::ALL {
            let (status, ..) =
                rig.ask(config.clone(), Method::POST, &path(&other, endpoint), &[], report.clone()).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{other} {endpoint:?}");
        }
    }
    for config in [rig.admin(), rig.stranger()] {
        let (status, ..) =
            rig.ask(config, Method::POST, &path(&gateway("GW1"), Endpoint::Report), &[], report.clone()).await;
        assert!(matches!(status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED));
    }
    assert!(rig.seen.try_recv().is_err(), "nothing of it reached the core");
    // Under its own name, in any spelling, and known by the spelling in its certificate.
    let (status, ..) = rig.ask(config, Method::POST, &path(&gateway("gw1"), Endpoint::Report), &[], report).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(
        matches!(rig.next().await, Seen::Report(agent, report) if agent.to_string() == "gateway/GW1" && report == Report::default())
    );
}

#[tokio::test]
async fn a_renewal_keeps_the_key() {
    let rig = Rig::start().await;
    let (files, who) = (directory(), gateway("GW1"));
    let token = rig.token(Grant::Join(who.clone()), HOUR);
    let credentials = enrol(&rig, &files, &who, Some(&token)).await.expect("joined");
    let config = credentials.config().expect("a configuration");
    let renew = async |request: String| {
        let body = serde_json::to_string(&Renewal { request }).expect("JSON");
        rig.ask(config.clone(), Method::POST, &path(&who, Endpoint::Renew), &[], body).await
    };
    let (status, _, body) = renew(credentials.key().request().expect("a request")).await;
    assert_eq!(status, StatusCode::OK);
    let enrolled: Enrolled = serde_json::from_str(&body).expect("a certificate");
    let renewed = credentials.renewed(&enrolled.certificate).expect("kept");
    assert_eq!(renewed.agent(), &who);
    assert!(renewed.renewal() < renewed.not_after());
    let other = Key::open(directory().path()).expect("a key").request().expect("a request");
    assert_eq!(renew(other).await.0, StatusCode::FORBIDDEN);
    assert_eq!(renew("no request".to_owned()).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_plan_is_streamed_as_the_core_tells_it() {
    let mut rig = Rig::start().await;
    let who = gateway("GW1");
    let mut connection = rig.connect(rig.agent(&who)).await.expect("connected");
    let mut said = hello();
    let tenants = [("a".to_owned(), Document::of(&1).expect("JSON").digest())].into();
    said.resume = Some(Resume { position: Position { epoch: 1, revision: 5 }, base: None, tenants });
    let body = serde_json::to_string(&said).expect("JSON");
    let mut stream =
        connection.ask(Method::POST, &path(&who, Endpoint::Plan), &[], body.into()).await.expect("a stream");
    let Seen::Connected(connect, sender) = rig.next().await else { panic!("not connected") };
    assert_eq!((connect.agent, connect.hello), (who, said));
    let event = PlanEvent { epoch: 2, revision: 9, base: Document::of(&1).ok(), ..PlanEvent::default() };
    sender.send(Told::Plan(Arc::new(event))).await.expect("taken");
    let told = piece(&mut stream).await.expect("open");
    assert_eq!(told, "id: 2.9\nevent: plan\ndata: {\"epoch\":2,\"revision\":9,\"base\":1}\n\n");
}

#[tokio::test]
async fn an_agent_of_another_protocol_is_told_which_one_to_upgrade() {
    let rig = Rig::start().await;
    let who = gateway("GW1");
    let mut said = hello();
    said.protocol += 1;
    let body = serde_json::to_string(&said).expect("JSON");
    let (status, _, body) = rig.ask(rig.agent(&who), Method::POST, &path(&who, Endpoint::Plan), &[], body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains("upgrade the older of the two"), "{body}");
}

#[tokio::test]
async fn an_agent_at_a_follower_is_sent_to_the_leader() {
    let (rig, mut leader) = (Rig::start().await, Rig::start().await);
    let who = gateway("GW1");
    // Both share one authority, as controllers of one store do: here the leader's is the one that counts.
    let follower = Rig::over(
        directory(),
        leader.authority.clone(),
        Default::default(),
        "127.0.0.1:0".parse().expect("an address"),
    )
    .await;
    follower.standing.send_replace(Standing::Follower { leader: Some(leader.address.to_string().into()) });
    let token = leader.token(Grant::Join(who.clone()), HOUR);
    enrol(&follower, &directory(), &who, Some(&token)).await.expect("joined at the leader");
    assert!(matches!(leader.next().await, Seen::Enrolled(_)));
    let mut connection = follower.connect(follower.agent(&who)).await.expect("connected");
    let error =
        connection.ask(Method::POST, &path(&who, Endpoint::Report), &[], "{}".into()).await.expect_err("elsewhere");
    assert!(matches!(error, http::HttpError::Elsewhere(address) if address == leader.address));
    drop(rig);
}
