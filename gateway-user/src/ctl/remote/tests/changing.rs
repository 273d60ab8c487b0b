//! What changes resources.

use super::rig::{Rig, refusal, run};
use crate::agent::token::{Grant, Token};
use crate::controller::server::service::{Answer, Method};
use crate::ctl::remote::args::Reach;
use crate::ctl::remote::error::Refused;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

const FILE: &str = "
kind: gateway
resourceId: GW1
properties: {pool: {resourceRef: /gatewayPools/gre}}
---
kind: gatewayPool
resourceId: gre
properties: {type: s2sGre, redundantGatewayCount: 1, gatewayCapacityKiloBitsPerSecond: 1000000}
";

#[tokio::test]
async fn apply_creates_then_finds_nothing_to_do_then_changes_what_changed() {
    let rig = Rig::start().await;
    let file = rig.file("fabric.yaml", FILE);
    let file = file.to_str().expect("UTF-8");
    assert_eq!(rig.prints(&["apply", "-f", file]).await, "/gatewayPools/gre created\n/gateways/GW1 created\n");
    assert_eq!(rig.prints(&["apply", "-f", file]).await, "/gatewayPools/gre unchanged\n/gateways/GW1 unchanged\n");
    assert_eq!(rig.run(&["diff", "-f", file]).await.expect("compared").code, 0);
    rig.file("fabric.yaml", &FILE.replace("GatewayCount: 1", "GatewayCount: 2"));
    let said = rig.run(&["diff", "-f", file]).await.expect("compared");
    assert_eq!(
        (said.code, said.out.as_str()),
        (1, "/gatewayPools/gre\n  ~ properties.redundantGatewayCount: 1 -> 2\n")
    );
    assert_eq!(rig.prints(&["apply", "-f", file]).await, "/gatewayPools/gre configured\n/gateways/GW1 unchanged\n");
}

#[tokio::test]
async fn one_refusal_does_not_keep_the_others_back_but_is_a_failure() {
    let rig = Rig::start().await;
    rig.fix(Method::Put, "/gatewayPools/gre", refusal(400, "InvalidParameterValue", "no"));
    let file = rig.file("fabric.yaml", FILE);
    let said = rig.run(&["apply", "-f", file.to_str().expect("UTF-8")]).await.expect("applied in part");
    assert_eq!((said.code, said.out.as_str()), (1, "/gateways/GW1 created\n"));
}

#[tokio::test]
async fn deletion_goes_backwards_and_waits_until_it_is_done() {
    let rig = Rig::start().await;
    let file = rig.file("fabric.yaml", FILE);
    let file = file.to_str().expect("UTF-8");
    rig.prints(&["apply", "-f", file]).await;
    rig.script().asked.clear();
    let result = "/operationResults/7";
    rig.fix(Method::Get, result, Answer { status: 204, ..Answer::default() });
    assert_eq!(rig.prints(&["delete", "-f", file]).await, "/gateways/GW1 deleted\n/gatewayPools/gre deleted\n");
    assert_eq!(
        rig.asked(),
        ["Delete /gateways/GW1", "Get /operationResults/7", "Delete /gatewayPools/gre", "Get /operationResults/7"]
    );
    let said = rig.run(&["delete", "gateway/GW1"]).await.expect("asked");
    assert_eq!(said.code, 1, "it is gone already");
    assert_eq!(rig.prints(&["delete", "gateway/GW1", "--ignore-not-found"]).await, "/gateways/GW1 not found\n");
    assert!(rig.run(&["delete", "gateways"]).await.is_err(), "not all of them at once");
}

#[tokio::test]
async fn draining_shows_what_would_move_and_moves_it_if_told_to() {
    let rig = Rig::start().await;
    let plan = json!({ "confirmed": false, "drain": { "gateway": "GW1", "pieces": [
        { "vip": "192.0.2.1", "connections": [["contoso", "hq"]], "kbps": 100_000, "to": "GW3" },
        { "connections": [["contoso", "l3"]], "kbps": 1_000_000 }] } });
    rig.fix(Method::Post, "/gateways/GW1/drain", Answer::json(200, plan.to_string()));
    let done = json!({ "confirmed": true, "moved": [
        { "resourceRef": "/virtualGateways/contoso/networkConnections/hq", "from": "GW1", "to": "GW3" }] });
    rig.fix(Method::Post, "/gateways/GW1/drain?confirm", Answer::json(200, done.to_string()));
    let expected = "\
VIP        CONNECTIONS       TAKES  GOES-TO
192.0.2.1  contoso/hq   100 Mbit/s  GW3
-          contoso/l3     1 Gbit/s  nowhere: no gateway of the pool has room
nothing was moved; to move it, each connection interrupted for a moment: gatewayctl drain gateway/GW1 --confirm
";
    assert_eq!(rig.prints(&["drain", "gateway/GW1"]).await, expected);
    assert_eq!(
        rig.prints(&["drain", "GW1", "--confirm"]).await,
        "/virtualGateways/contoso/networkConnections/hq moved from GW1 to GW3\ngateway GW1 is drained: 1 moved; `gatewayctl cordon gateway/GW1` keeps it empty\n"
    );
}

#[tokio::test]
async fn draining_in_a_pool_with_seats_waits_until_they_are_handed_over() {
    let rig = Rig::start().await;
    rig.put("/gateways/GW1", json!({ "pool": { "resourceRef": "/gatewayPools/gre" } }));
    let held = json!({ "seat": "GW1", "holder": "GW1", "next": [{ "gateway": "GW3", "lacks": "knowledge" }] });
    rig.put("/gatewayPools/gre", json!({ "seats": [held] }));
    let look = json!({ "confirmed": false, "drain": { "pieces": [] }, "seats": [held] });
    rig.fix(Method::Post, "/gateways/GW1/drain", Answer::json(200, look.to_string()));
    let said = rig.prints(&["drain", "GW1"]).await;
    assert!(said.contains("GW3 (lacks knowledge)") && said.contains("nothing was moved"), "{said}");
    let hasty = Reach { timeout: 1, ..rig.reach() };
    let error = run(&["drain", "GW1", "--confirm"], hasty).await.expect_err("nobody takes it");
    assert!(error.to_string().contains("still holds GW1 after 1 s"), "{error:#}");

    rig.put("/gatewayPools/gre", json!({ "seats": [{ "seat": "GW1", "holder": "GW3" }] }));
    let said = rig.prints(&["drain", "GW1", "--confirm"]).await;
    assert!(said.starts_with("seat GW1 is held by GW3, after "), "{said}");
    assert!(said.contains("gateway GW1 holds no seat"), "{said}");
    assert_eq!(rig.script().resources["/gateways/gw1"].0["properties"]["scheduling"], "Drained");
}

#[tokio::test]
async fn a_move_is_followed_to_its_end_and_says_where_the_connection_is() {
    let rig = Rig::start().await;
    const HQ: &str = "/virtualGateways/contoso/networkConnections/hq";
    let moves = json!([{ "resourceRef": HQ, "from": "GW1", "to": "GW2" }]);
    let answer = json!({ "confirmed": true, "moves": moves });
    for query in ["?to", "?to?confirm"] {
        rig.fix(Method::Post, &format!("{HQ}/move{query}"), Answer::json(200, answer.to_string()));
    }
    let said = rig.prints(&["move", "connection/contoso/hq", "--to", "gateway/GW2"]).await;
    assert!(said.contains("nothing was moved") && said.contains("--to GW2 --confirm"), "{said}");
    let at = |gateway: &str| json!({ "placement": { "gateway": gateway } }).to_string();
    rig.fix(Method::Get, &format!("{HQ}?explain"), Answer::json(200, at("GW1")));
    let stays = run(&["move", "connection/contoso/hq", "--to", "GW2", "--confirm"], rig.reach()).await;
    assert!(stays.expect_err("it stays").to_string().contains("did not come up on GW2 and stays on GW1"));
    rig.script().fixed.retain(|(method, ..)| *method != Method::Get);
    rig.fix(Method::Get, &format!("{HQ}?explain"), Answer::json(200, at("GW2")));
    let said = rig.prints(&["move", "connection/contoso/hq", "--to", "GW2", "--confirm"]).await;
    assert!(said.starts_with(&format!("{HQ} moved from GW1 to GW2, in ")), "{said}");

    let nothing = json!({ "confirmed": true, "moves": [] });
    rig.script().fixed.retain(|(method, ..)| *method != Method::Post);
    rig.fix(Method::Post, &format!("{HQ}/move?to?confirm"), Answer::json(200, nothing.to_string()));
    let words = ["move", "connection/contoso/hq", "--to", "GW2", "--confirm"];
    assert_eq!(rig.prints(&words).await, format!("{HQ} is on GW2 already\n"));
    let said = rig.prints(&[&words[..], &["-o", "json"]].concat()).await;
    let said: Value = serde_json::from_str(&said).expect("a document");
    assert_eq!(said["moved"], json!([]), "{said}");
}

#[tokio::test]
async fn a_pool_that_is_even_is_left_alone() {
    let rig = Rig::start().await;
    let next = json!({ "from": "GW1", "to": "GW2", "connections": [["contoso", "dc"]], "kbps": 1000 });
    rig.fix(Method::Post, "/gatewayPools/gre/rebalance", Answer::json(200, json!({ "next": next }).to_string()));
    let said = rig.prints(&["rebalance", "pool/gre"]).await;
    assert!(said.starts_with("contoso/dc (1 Mbit/s) would move from GW1 to GW2\nnothing was moved"), "{said}");
    rig.fix(
        Method::Post,
        "/gatewayPools/gre/rebalance?confirm",
        Answer::json(200, json!({ "next": null }).to_string()),
    );
    let said = rig.prints(&["rebalance", "pool/gre", "--confirm"]).await;
    assert_eq!(said, "the load of pool gre is as even as moves make it\n");
}

/// A gateway of a pool with two, as the controller shows it.
fn gateway(seats: serde_json::Value, run: &str, version: &str) -> serde_json::Value {
    json!({
        "pool": { "resourceRef": "/gatewayPools/gre" }, "healthState": "Healthy", "configurationState": { "status": "Success" },
        "agent": { "run": run, "version": version }, "seats": seats,
    })
}

async fn pool_of_two() -> Rig {
    let rig = Rig::start().await;
    let held = json!([{ "seat": "GW1", "holder": "GW1", "next": [{ "gateway": "GW2" }] }]);
    let references = json!([{ "resourceRef": "/gateways/GW1" }, { "resourceRef": "/gateways/GW2" }]);
    rig.put("/gatewayPools/gre", json!({ "gateways": references, "seats": [{ "seat": "GW1", "holder": "GW2" }] }));
    rig.put("/gateways/GW1", gateway(held.clone(), "a", "1.2.0"));
    rig.put("/gateways/GW2", gateway(held.clone(), "b", "1.2.0"));
    for (id, seats) in [("GW1", held), ("GW2", json!([]))] {
        let look = json!({ "confirmed": false, "drain": { "pieces": [] }, "seats": seats });
        rig.fix(Method::Post, &format!("/gateways/{id}/drain"), Answer::json(200, look.to_string()));
    }
    rig
}

#[tokio::test]
async fn an_upgrade_begins_with_who_holds_nothing_and_leaves_alone_who_is_done() {
    let rig = pool_of_two().await;
    let said = rig.prints(&["upgrade", "pool/gre"]).await;
    let order: Vec<&str> = said.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(order[..2], ["GW2", "GW1"], "{said}");
    assert!(said.contains("nothing was done"), "{said}");
    assert!(!rig.asked().iter().any(|asked| asked.starts_with("Put")), "{:?}", rig.asked());

    rig.put("/gateways/GW2", gateway(json!([]), "b", "1.3.0"));
    rig.put("/gateways/GW1", gateway(json!([]), "a", "1.3.0"));
    let said = rig.prints(&["upgrade", "pool/gre", "--to", "1.3.0", "--run", "exit 1", "--confirm"]).await;
    assert_eq!(said, "pool gre is upgraded: 0 gateways\n");
}

#[tokio::test]
async fn an_upgrade_ends_at_the_first_gateway_that_it_does_not_go_well_at() {
    let rig = pool_of_two().await;
    let hasty = || Reach { timeout: 1, ..rig.reach() };
    let line = |command: &'static str| ["upgrade", "pool/gre", "--run", command, "--confirm"];
    let drained = || rig.script().resources["/gateways/gw2"].0["properties"]["scheduling"].clone();

    let well = gateway(json!([{ "seat": "GW1", "holder": "GW1" }]), "a", "1.2.0");
    let mut ill = well.clone();
    ill["healthState"] = "Unhealthy".into();
    rig.put("/gateways/GW1", ill);
    let error = run(&line("true"), hasty()).await.expect_err("nobody would be left");
    assert!(format!("{error:#}").contains("gateway GW1 is not well"), "{error:#}");
    assert_eq!(drained(), serde_json::Value::Null);

    rig.put("/gateways/GW1", well);
    let error = run(&line("test $GATEWAY = GW1"), hasty()).await.expect_err("it is GW2's turn");
    let told = format!("{error:#}");
    assert!(told.contains("stopped at gateway GW2, 0 of 2 done") && told.contains("failed for GW2"), "{told}");
    assert_eq!(drained(), "Drained");

    let error = run(&line("true"), hasty()).await.expect_err("it runs on as it was");
    assert!(format!("{error:#}").contains("has not been started anew"), "{error:#}");
    assert_eq!(drained(), "Drained");
}

#[tokio::test]
async fn a_cordon_undoes_no_other_change() {
    let rig = Rig::start().await;
    rig.put("/gateways/GW1", json!({ "pool": { "resourceRef": "/gatewayPools/gre" } }));
    // Somebody else was quicker, once.
    rig.script().first = [
        Answer::json(200, json!({ "resourceRef": "/gateways/GW1", "etag": "W/\"0\"", "properties": {} }).to_string()),
        refusal(412, "PreconditionFailed", "it is another one"),
    ]
    .into();
    let said = rig.prints(&["cordon", "gateway/GW1"]).await;
    assert_eq!(said, "gateway GW1 is cordoned: it keeps what it has and is given no more\n");
    let stored = rig.script().resources["/gateways/gw1"].0["properties"].clone();
    assert_eq!(stored, json!({ "pool": { "resourceRef": "/gatewayPools/gre" }, "scheduling": "Cordoned" }));
    let conditions: Vec<_> = rig.script().asked.iter().filter_map(|request| request.if_match.clone()).collect();
    assert_eq!(conditions, ["W/\"0\"", "W/\"1\""]);
    assert!(rig.prints(&["cordon", "gateway/GW1"]).await.contains("already cordoned"));
    assert!(rig.prints(&["uncordon", "gateway/GW1"]).await.contains("enabled"));
}

#[tokio::test]
async fn a_refusal_is_told_with_every_fault_and_shows_no_secret() {
    let rig = Rig::start().await;
    let told = json!({ "error": { "code": "ResourceInUse", "message": "others refer to it", "target": "/gatewayPools/gre",
        "details": [{ "code": "ResourceInUse", "message": "/gateways/GW1 does" }] } });
    rig.fix(Method::Get, "/gatewayPools/gre", Answer::json(409, told.to_string()));
    let error = rig.run(&["get", "pool/gre"]).await.expect_err("refused");
    let refused = error.downcast_ref::<Refused>().expect("a refusal");
    assert_eq!(refused.details(), ["  /gateways/GW1 does"]);
    assert_eq!(refused.remedy(), Some("delete or change first what refers to it"));
}

#[tokio::test]
async fn a_token_lets_an_agent_in_and_a_file_with_it_is_its_owners_alone() {
    let rig = Rig::start().await;
    let printed = rig.prints(&["token", "create", "gateway/GW1", "--minutes", "5"]).await;
    let token: Token = printed.parse().expect("a token");
    let grant = rig.authority.claims(&token).expect("genuine").grant;
    assert!(matches!(grant, Grant::Join(agent) if agent.to_string() == "gateway/GW1"));
    let path = rig.data.path().join("host.token");
    let said = rig.prints(&["token", "create", "host/H1", "--write", path.to_str().expect("UTF-8")]).await;
    let written = std::fs::read_to_string(&path).expect("written");
    assert!(written.parse::<Token>().is_ok() && !said.contains(written.trim()), "{said}");
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
}
