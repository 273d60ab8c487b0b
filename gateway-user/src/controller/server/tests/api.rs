//! What the core sees of a client's request, and the client of its answer.

use super::rig::{Rig, Seen, gateway};
use crate::agent::http::Connection;
use crate::agent::token::{Client, ClientRole, Grant, Token};
use crate::controller::server::limits::Limits;
use crate::controller::server::service::{Method as Does, Role, Standing, WatchEvent, WatchKind};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{self, HeaderName};
use hyper::{Method, Response, StatusCode};
use std::sync::Arc;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn client(role: ClientRole) -> Grant {
    Grant::Client(Client { name: "alice".to_owned(), role })
}

fn bearer(token: &Token) -> String {
    format!("Bearer {}", token.expose())
}

#[tokio::test]
async fn a_request_reaches_the_core_without_its_escapes_and_an_answer_its_client_with_urls() {
    let mut rig = Rig::start().await;
    let headers = [
        (header::IF_MATCH, "W/\"0\""),
        (header::IF_NONE_MATCH, "*"),
        (HeaderName::from_static("x-ms-client-request-id"), "client-1"),
        (HeaderName::from_static("x-ms-return-client-request-id"), "True"),
    ];
    let path = "/Networking/v1/virtualGateways/a%20b/?explain&x=1%2B1";
    let (status, answered, body) = rig.ask(rig.admin(), Method::PUT, path, &headers, "{}").await;
    assert_eq!((status, body.as_str()), (StatusCode::CREATED, "/networking/v1/virtualGateways/a b"));
    assert_eq!(answered["etag"], "W/\"1\"");
    assert_eq!(answered["azure-asyncoperation"], format!("{}/networking/v1/operations/7", rig.address));
    assert_eq!(answered["location"], format!("{}/networking/v1/operationResults/7", rig.address));
    assert_eq!(
        (&answered["retry-after"], &answered["x-ms-client-request-id"]),
        (&"10".parse().expect("a value"), &"client-1".parse().expect("a value"))
    );
    let Seen::Request(request) = rig.next().await else { panic!("no request") };
    assert_eq!((request.method, &*request.principal.name, request.principal.role), (Does::Put, "alice", Role::Admin));
    assert_eq!(request.query, [("explain".to_owned(), String::new()), ("x".to_owned(), "1+1".to_owned())]);
    assert_eq!((request.if_match.as_deref(), request.if_none_match.as_deref()), (Some("W/\"0\""), Some("*")));
    assert_eq!((request.client_request_id.as_deref(), &request.body[..]), (Some("client-1"), b"{}".as_slice()));
}

#[tokio::test]
async fn clients_are_known_by_token_as_well_and_may_what_their_role_may() {
    let mut rig = Rig::start().await;
    let path = "/networking/v1/gateways/GW1";
    let mut ask = async |role: ClientRole, method: Method| {
        let token = bearer(&rig.token(client(role), MINUTE));
        let (status, ..) = rig.ask(rig.stranger(), method, path, &[(header::AUTHORIZATION, &token)], "").await;
        if status != StatusCode::CREATED {
            return Err(status);
        }
        match rig.next().await {
            Seen::Request(request) => Ok(request.principal.role),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(ClientRole::Admin, Method::DELETE).await, Ok(Role::Admin));
    assert_eq!(ask(ClientRole::ReadOnly, Method::GET).await, Ok(Role::ReadOnly));
    assert_eq!(ask(ClientRole::ReadOnly, Method::PUT).await, Err(StatusCode::FORBIDDEN));
    let tenant = ClientRole::Tenant("contoso".to_owned());
    assert_eq!(ask(tenant, Method::PUT).await, Ok(Role::Tenant("contoso".into())));
}

#[tokio::test]
async fn nobody_is_answered_who_is_not_known() {
    let rig = Rig::start().await;
    let other = Rig::start().await;
    let expired = rig.token(client(ClientRole::Admin), Duration::ZERO);
    let forged = other.token(client(ClientRole::Admin), MINUTE);
    let join = rig.token(Grant::Join(gateway("GW1")), MINUTE);
    for authorization in
        [None, Some(bearer(&expired)), Some(bearer(&forged)), Some(bearer(&join)), Some("Basic YTpi".to_owned())]
    {
        let headers: Vec<_> = authorization.iter().map(|text| (header::AUTHORIZATION, text.as_str())).collect();
        let (status, answered, body) =
            rig.ask(rig.stranger(), Method::GET, "/networking/v1/gateways", &headers, "").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
        assert_eq!(answered["www-authenticate"], "Bearer");
        assert!(body.contains("\"code\":\"Unauthorized\""), "{body}");
    }
}

#[tokio::test]
async fn an_agent_is_no_client() {
    let rig = Rig::start().await;
    let config = rig.agent(&gateway("GW1"));
    let (status, ..) = rig.ask(config.clone(), Method::GET, "/networking/v1/gateways", &[], "").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, ..) = rig.ask(config, Method::POST, "/networking/tokens", &[], "{}").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_administrator_makes_tokens_and_nobody_else() {
    let rig = Rig::start().await;
    let wish = r#"{"grant":{"join":{"role":"gateway","id":"GW1"}},"minutes":5}"#;
    let (status, _, body) = rig.ask(rig.admin(), Method::POST, "/networking/tokens", &[], wish).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    let made: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let token: Token = made["token"].as_str().expect("a token").parse().expect("a token");
    let claims = rig.authority.claims(&token).expect("genuine");
    assert_eq!((claims.grant, claims.authority), (Grant::Join(gateway("GW1")), rig.authority.fingerprint()));
    for role in [ClientRole::ReadOnly, ClientRole::Tenant("contoso".to_owned())] {
        let config = rig.client(role, time::Duration::hours(1));
        assert_eq!(rig.ask(config, Method::POST, "/networking/tokens", &[], wish).await.0, StatusCode::FORBIDDEN);
    }
    assert_eq!(
        rig.ask(rig.stranger(), Method::POST, "/networking/tokens", &[], wish).await.0,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_follower_reads_itself_and_points_writers_to_the_leader() {
    let rig = Rig::start().await;
    rig.standing.send_replace(Standing::Follower { leader: Some("https://leader:8443".into()) });
    let path = "/networking/v1/gateways/GW1?x=1";
    assert_eq!(rig.ask(rig.admin(), Method::GET, path, &[], "").await.0, StatusCode::CREATED);
    let (status, answered, _) = rig.ask(rig.admin(), Method::PUT, path, &[], "{}").await;
    assert_eq!(
        (status, &answered["location"]),
        (StatusCode::TEMPORARY_REDIRECT, &format!("https://leader:8443{path}").parse().expect("a value"))
    );
    rig.standing.send_replace(Standing::Follower { leader: None });
    let (status, answered, _) = rig.ask(rig.admin(), Method::PUT, path, &[], "{}").await;
    assert_eq!((status, &answered["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().expect("a value")));
}

#[tokio::test]
async fn what_everybody_may_see_needs_no_certificate() {
    let rig = Rig::start().await;
    for (path, kind) in [
        ("/healthz", "application/json"),
        ("/networking", "text/html; charset=utf-8"),
        ("/networking/browse.js", "text/javascript; charset=utf-8"),
        ("/networking/browse.css", "text/css; charset=utf-8"),
        ("/networking/openapi.json", "application/json"),
        ("/networking/v1/openapi.json", "application/json"),
        ("/networking/discovery", "application/json"),
    ] {
        let (status, answered, body) = rig.ask(rig.stranger(), Method::GET, path, &[], "").await;
        assert_eq!((status, &answered["content-type"]), (StatusCode::OK, &kind.parse().expect("a value")), "{path}");
        let loads =
            |scheme: &str| body.contains(&format!("src=\"{scheme}")) || body.contains(&format!("href=\"{scheme}"));
        assert!(!loads("http") && !loads("//"), "{path} loads something from elsewhere");
    }
    rig.standing.send_replace(Standing::Starting);
    assert_eq!(rig.ask(rig.stranger(), Method::GET, "/healthz", &[], "").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn what_makes_no_sense_is_told_so() {
    let rig = Rig::start().await;
    for (method, path, expected) in [
        (Method::GET, "/elsewhere", StatusCode::NOT_FOUND),
        (Method::GET, "/networking/v99/gateways", StatusCode::NOT_FOUND),
        (Method::GET, "/networking/v1/gateways/%zz", StatusCode::BAD_REQUEST),
        (Method::GET, "/networking/v1/gateways/a%2Fb", StatusCode::BAD_REQUEST),
        (Method::GET, "/networking/v1/gateways?x=%", StatusCode::BAD_REQUEST),
        (Method::GET, "/networking/v1/gateways?watch=true&revision=x", StatusCode::BAD_REQUEST),
        (Method::OPTIONS, "/networking/v1/gateways", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "/networking/tokens", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "/networking/agents/v1/enrol", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/networking/agents/v1/gateway/GW1/dance", StatusCode::NOT_FOUND),
    ] {
        let (status, _, body) = rig.ask(rig.admin(), method, path, &[], "").await;
        assert_eq!(status, expected, "{path}: {body}");
        assert!(body.contains("\"error\":{"), "{path}: {body}");
    }
}

/// The next piece of a stream.
pub(super) async fn piece(stream: &mut Response<hyper::body::Incoming>) -> Option<Bytes> {
    let frame = tokio::time::timeout(MINUTE, stream.frame()).await.expect("soon")?;
    frame.ok()?.into_data().ok()
}

async fn watch(rig: &Rig, path: &str, last: Option<&str>) -> (Connection, Response<hyper::body::Incoming>) {
    let mut connection = rig.connect(rig.admin()).await.expect("connected");
    let headers: Vec<_> = last.map(|last| (HeaderName::from_static("last-event-id"), last)).into_iter().collect();
    let stream = connection.exchange(Method::GET, path, &headers, Bytes::new()).await.expect("answered");
    (connection, stream)
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_left_and_says_that_it_lives() {
    let mut rig = Rig::with(Limits { keep_alive: Duration::from_millis(100), ..Limits::default() }).await;
    let (_connection, mut stream) = watch(&rig, "/networking/v1/gateways?watch=true&revision=3", Some("41")).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let Seen::Watch(asked, sender) = rig.next().await else { panic!("no watch") };
    assert_eq!(
        (asked.path.as_str(), asked.after),
        ("/networking/v1/gateways", Some(41)),
        "the header wins over the query"
    );
    assert_eq!(piece(&mut stream).await.expect("open"), ": alive\n\n");
    let event = WatchEvent { revision: Some(42), kind: WatchKind::Modified, data: Bytes::from_static(b"{}") };
    sender.send(Arc::new(event)).await.expect("taken");
    let mut told = piece(&mut stream).await.expect("open");
    while told == ": alive\n\n" {
        told = piece(&mut stream).await.expect("open");
    }
    assert_eq!(told, "id: 42\nevent: MODIFIED\ndata: {}\n\n");
    // The core ends a stream by letting go of it; the client has all that was sent.
    drop(sender);
    while let Some(told) = piece(&mut stream).await {
        assert_eq!(told, ": alive\n\n");
    }
}

#[tokio::test]
async fn a_watch_from_too_long_ago_is_gone() {
    let rig = Rig::start().await;
    let (_connection, stream) = watch(&rig, "/networking/v1/gateways?watch=true", Some("1")).await;
    assert_eq!(stream.status(), StatusCode::GONE);
}

#[tokio::test]
async fn the_core_sees_that_a_watcher_has_gone() {
    let mut rig = Rig::start().await;
    let (connection, stream) = watch(&rig, "/networking/v1?watch=true", None).await;
    let Seen::Watch(asked, sender) = rig.next().await else { panic!("no watch") };
    assert_eq!((asked.path.as_str(), asked.after), ("/networking/v1", None));
    drop((connection, stream));
    tokio::time::timeout(MINUTE, sender.closed()).await.expect("seen");
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams_and_takes_nobody() {
    let mut rig = Rig::start().await;
    let (_connection, mut stream) = watch(&rig, "/networking/v1?watch=true", None).await;
    let Seen::Watch(_, _sender) = rig.next().await else { panic!("no watch") };
    let admin = rig.admin();
    let address = rig.address.clone();
    let _kept = rig.stop().await;
    assert_eq!(piece(&mut stream).await, None);
    assert!(Connection::open(&address, admin).await.is_err());
}
