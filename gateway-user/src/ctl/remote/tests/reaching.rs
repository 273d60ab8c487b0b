//! Which controller is asked, how often, and as whom.

use super::rig::{Rig, refusal, run};
use crate::controller::server::service::{Answer, Standing};
use crate::ctl::remote::args::Reach;
use crate::ctl::remote::error::Refused;
use serde_json::json;

const FILE: &str = r#"{"resourceRef": "/gateways/GW1", "properties": {}}"#;

#[tokio::test]
async fn a_write_goes_to_the_leader() {
    let follower = Rig::start().await;
    let leader = Rig::beside(&follower).await;
    follower.standing.send_replace(Standing::Follower { leader: Some(leader.address.as_str().into()) });
    let file = follower.file("gateway.json", FILE);
    let said = follower.prints(&["apply", "-f", file.to_str().expect("UTF-8")]).await;
    assert_eq!(said, "/gateways/GW1 created\n");
    assert_eq!(
        (follower.asked(), leader.asked()),
        (vec!["Get /gateways/GW1".to_owned()], vec!["Put /gateways/GW1".to_owned()])
    );
}

#[tokio::test]
async fn not_now_is_asked_again_as_the_same_request() {
    let rig = Rig::start().await;
    let later = Answer { retry_after: Some(0), ..refusal(503, "RetryableError", "no leader yet") };
    rig.script().first = [later.clone(), later].into();
    rig.put("/gateways/GW1", json!({}));
    assert_eq!(rig.prints(&["get", "gateway/GW1", "-o", "name"]).await, "gateways/GW1\n");
    let ids: Vec<_> = rig.script().asked.iter().map(|request| request.client_request_id.clone()).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids[0].is_some() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn the_patience_ends_and_says_why() {
    let rig = Rig::start().await;
    let later = Answer { retry_after: Some(0), ..refusal(503, "RetryableError", "no leader yet") };
    rig.script().first = vec![later; 1000].into();
    let error = run(&["get", "gateways"], Reach { timeout: 1, ..rig.reach() }).await.expect_err("never");
    let refused = error.downcast_ref::<Refused>().expect("a refusal");
    assert!(refused.to_string().contains("no leader yet") && refused.remedy().is_some());
}

#[tokio::test]
async fn another_controller_is_asked_if_one_is_not_there() {
    let rig = Rig::start().await;
    let mut reach = rig.reach();
    // A port that was free a moment ago, and that nobody listens on as long as this holds it.
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = held.local_addr().expect("an address");
    drop(held);
    reach.controllers.insert(0, format!("https://{nobody}").parse().expect("an address"));
    assert_eq!(run(&["get", "gateways", "-o", "name"], reach.clone()).await.expect("the other").out, "");
    reach.controllers.truncate(1);
    let error = run(&["get", "gateways"], reach).await.expect_err("nobody");
    assert!(error.to_string().contains(&format!("no controller is to be reached: https://{nobody}")), "{error}");
}

#[tokio::test]
async fn a_controller_is_believed_by_its_authority_or_its_fingerprint_and_no_other_is() {
    let rig = Rig::start().await;
    let other = Rig::start().await;
    let get = ["get", "gateways", "-o", "name"];
    let token = Reach {
        controllers: rig.reach().controllers,
        token_file: Some(rig.token_file()),
        timeout: 60,
        ..Reach::default()
    };
    assert!(run(&get, token).await.is_ok(), "a token tells whom to believe");
    let fingerprint = rig.authority.fingerprint().to_string().to_uppercase();
    let pinned = Reach { authority: None, fingerprint: Some(fingerprint), ..rig.reach() };
    assert!(run(&get, pinned.clone()).await.is_ok());
    let wrong = Reach { controllers: other.reach().controllers, ..pinned };
    assert!(run(&get, wrong).await.is_err());
    let wrong = Reach { controllers: other.reach().controllers, ..rig.reach() };
    assert!(run(&get, wrong).await.is_err());
    let nobody = Reach { certificate: None, key: None, ..rig.reach() };
    let error = run(&get, nobody).await.expect_err("nobody");
    assert!(
        error.downcast_ref::<Refused>().and_then(Refused::remedy).is_some_and(|remedy| remedy.contains("--token-file"))
    );
}

#[tokio::test]
async fn contexts_are_kept_used_and_forgotten() {
    let rig = Rig::start().await;
    let contexts = Some(rig.data.path().join("kept").join("contexts.json"));
    let by = Reach { contexts: contexts.clone(), timeout: 60, ..Reach::default() };
    let set = Reach { contexts, ..rig.reach() };
    assert_eq!(run(&["config", "set-context", "lab"], set.clone()).await.expect("set").out, "context lab set\n");
    assert!(run(&["get", "gateways"], by.clone()).await.is_ok(), "the first one is used");
    run(&["config", "set-context", "b"], set).await.expect("set");
    run(&["config", "use-context", "b"], by.clone()).await.expect("used");
    let shown = run(&["config", "get-contexts"], by.clone()).await.expect("shown").out;
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[1].starts_with("*        b ") && lines[2].starts_with("         lab "), "{shown}");
    run(&["config", "delete-context", "b"], by.clone()).await.expect("deleted");
    assert!(run(&["get", "gateways"], by.clone()).await.is_err(), "none is chosen");
    assert!(run(&["config", "use-context", "b"], by).await.is_err());
}

#[tokio::test]
async fn completions_and_manual_pages_need_no_controller() {
    let directory = tempfile::tempdir().expect("a directory");
    for shell in ["bash", "zsh", "fish"] {
        let said = run(&["completion", shell], Reach::default()).await.expect("printed");
        assert!(said.out.contains("who-takes-over"), "{shell}");
    }
    let path = directory.path().join("man1");
    run(&["man", path.to_str().expect("UTF-8")], Reach::default()).await.expect("written");
    for page in ["gatewayctl.1", "gatewayctl-drain.1", "gatewayctl-token-create.1"] {
        assert!(path.join(page).exists(), "{page}");
    }
}
