//! What is shown, to the letter.

use super::rig::{Rig, event, refusal};
use crate::controller::server::service::{Answer, Method, WatchKind};
use crate::ctl::remote::error::{Refused, Usage};
use serde_json::json;

async fn rig() -> Rig {
    let rig = Rig::start().await;
    rig.put(
        "/gateways/GW1",
        json!({
            "pool": { "resourceRef": "/gatewayPools/gre" }, "state": "Active", "healthState": "Healthy",
            "totalCapacity": 1_000_000, "availableCapacity": 900_000, "failureDomain": { "rack": "r1" },
            "virtualGateways": [{
                "virtualGateway": { "resourceRef": "/virtualGateways/contoso" },
                "networkConnections": [{ "resourceRef": "/virtualGateways/contoso/networkConnections/hq" }],
            }],
            "configurationState": { "status": "Warning", "detailedInfo": [
                { "source": "gateway/GW1", "message": "port tor0 is down", "code": "PolicyConfigurationFailure" }] },
        }),
    );
    rig.put("/gateways/GW2", json!({ "pool": { "resourceRef": "/gatewayPools/gre" }, "state": "Redundant" }));
    let connection = |id: &str| {
        json!({ "resourceId": id, "resourceRef": format!("/virtualGateways/contoso/networkConnections/{id}"),
            "properties": {
                "connectionType": "GRE", "gateway": { "resourceRef": "/gateways/GW1" }, "sourceIPAddress": "192.0.2.1",
                "destinationIPAddress": "198.51.100.7", "connectionState": "Connected",
        } })
    };
    rig.put(
        "/virtualGateways/contoso",
        json!({
            "gatewaySubnets": [{ "resourceRef": "/virtualNetworks/contoso-net/subnets/gw" }],
            "networkConnections": [connection("hq"), connection("lab")],
        }),
    );
    let hq = connection("hq")["properties"].clone();
    rig.put("/virtualGateways/contoso/networkConnections/hq", hq);
    rig
}

#[tokio::test]
async fn gateways_are_shown_with_pool_state_health_and_room() {
    let rig = rig().await;
    let narrow = "\
NAME  POOL  STATE      HEALTH         FREE     TOTAL  TENANTS
GW1   gre   Active     Healthy  900 Mbit/s  1 Gbit/s        1
GW2   gre   Redundant  -                 -         -        0
";
    assert_eq!(rig.prints(&["get", "gateways"]).await, narrow);
    let wide = rig.prints(&["get", "gw", "-o", "wide"]).await;
    assert!(wide.lines().next().is_some_and(|line| line.contains("SCHEDULING  HOST  RACK  VIPS")), "{wide}");
    assert_eq!(rig.prints(&["get", "gateways", "-o", "name"]).await, "gateways/GW1\ngateways/GW2\n");
}

#[tokio::test]
async fn connections_are_shown_of_one_tenant_of_all_or_one_alone() {
    let rig = rig().await;
    let both = "\
NAME  TENANT   TYPE  GATEWAY  VIP        REMOTE        STATE
hq    contoso  GRE   GW1      192.0.2.1  198.51.100.7  Connected
lab   contoso  GRE   GW1      192.0.2.1  198.51.100.7  Connected
";
    assert_eq!(rig.prints(&["get", "networkConnections"]).await, both);
    let one = both.lines().take(2).map(|line| format!("{line}\n")).collect::<String>();
    for word in ["virtualGateways/contoso/networkConnections", "connection/contoso/hq", "connection/hq"] {
        assert_eq!(rig.prints(&["get", word]).await, one, "{word}");
    }
    let error = rig.run(&["get", "connection/nowhere"]).await.expect_err("none");
    assert!(error.to_string().contains("there is no networkConnections/nowhere"), "{error}");
}

#[tokio::test]
async fn programs_get_json_or_yaml_of_one_or_a_list() {
    let rig = rig().await;
    let one: serde_json::Value =
        serde_json::from_str(&rig.prints(&["get", "gateway/GW2", "-o", "json"]).await).expect("JSON");
    assert_eq!(one["properties"]["state"], "Redundant");
    let list: serde_json::Value =
        serde_norway::from_str(&rig.prints(&["get", "gateways", "-o", "yaml"]).await).expect("YAML");
    assert_eq!(list["value"].as_array().map(Vec::len), Some(2));
    let yaml = rig.prints(&["get", "gateway/GW2", "-o", "yaml"]).await;
    assert_eq!(
        yaml,
        "etag: W/\"1\"\nproperties:\n  pool:\n    resourceRef: /gatewayPools/gre\n  state: Redundant\nresourceId: GW2\nresourceRef: /gateways/GW2\n"
    );
}

#[tokio::test]
async fn a_description_says_what_is_wrong_and_what_a_gateway_carries() {
    let rig = rig().await;
    let said = rig.prints(&["describe", "gateway/GW1"]).await;
    for expected in [
        "gateway GW1\nat:        /gateways/GW1\n",
        "status:    Warning\n  gateway/GW1: port tor0 is down (PolicyConfigurationFailure)\n",
        "  totalCapacity: 1000000\n",
        "carries:\n  CONNECTION  TENANT\n  hq          contoso\n",
    ] {
        assert!(said.contains(expected), "{expected}\n---\n{said}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_with_the_remedy_and_what_means_nothing_is_a_wrong_call() {
    let rig = rig().await;
    let error = rig.run(&["get", "gateway/GW9"]).await.expect_err("none");
    let refused = error.downcast_ref::<Refused>().expect("a refusal");
    assert_eq!(refused.to_string(), "GET /gateways/GW9: there is no /gateways/gw9 (ResourceNotFound, 404)");
    assert!(refused.remedy().is_some());
    assert!(rig.run(&["get", "gizmos"]).await.expect_err("none").is::<Usage>());
}

#[tokio::test]
async fn an_explanation_lists_the_candidates_with_their_scores() {
    let rig = rig().await;
    let answer = json!({
        "placement": { "pool": "gre", "gateway": "GW1", "vip": "192.0.2.1" },
        "explanation": { "kbps": 100_000, "candidates": [
            { "gateway": "GW1", "pool": "gre", "freeKbps": 1_000_000,
              "verdict": { "fits": { "class": "stay", "remainderKbps": 900_000, "usedPercent": 10, "vip": "192.0.2.1" } } },
            { "gateway": "GW2", "pool": "gre", "freeKbps": 50_000, "verdict": { "no": { "full": { "lacksKbps": 50_000 } } } },
            { "gateway": "GW3", "pool": "gre", "freeKbps": 1_000_000, "verdict": { "no": "standby" } },
        ] },
    });
    let path = "/virtualGateways/contoso/networkConnections/hq?explain";
    rig.fix(Method::Get, path, Answer::json(200, answer.to_string()));
    let expected = "\
/virtualGateways/contoso/networkConnections/hq: 100 Mbit/s, on GW1 of pool gre, VIP 192.0.2.1
   GATEWAY  POOL       ROOM        LEFT  USED  VIP        VERDICT
*  GW1      gre    1 Gbit/s  900 Mbit/s  10 %  192.0.2.1  fits: it is there already
   GW2      gre   50 Mbit/s           -     -  -          no: too full, lacks 50 Mbit/s
   GW3      gre    1 Gbit/s           -     -  -          no: it is a standby
";
    assert_eq!(rig.prints(&["explain", "connection/hq"]).await, expected);
    assert!(rig.run(&["explain", "gateway/GW1"]).await.expect_err("no connection").is::<Usage>());
}

#[tokio::test]
async fn who_takes_over_and_where_a_tenant_is_are_one_command_each() {
    let rig = rig().await;
    let answer = json!({ "successor": "GW2", "drain": { "gateway": "GW1", "successor": "GW2", "pieces": [
        { "vip": "192.0.2.1", "connections": [["contoso", "hq"], ["contoso", "lab"]], "kbps": 200_000, "to": "GW3" }] } });
    rig.fix(Method::Get, "/gateways/GW1?explain", Answer::json(200, answer.to_string()));
    let expected = "\
if GW1 fails, GW2 takes over all that it carries
VIP        CONNECTIONS                  TAKES  GOES-TO
192.0.2.1  contoso/hq,contoso/lab  200 Mbit/s  GW2
";
    assert_eq!(rig.prints(&["who-takes-over", "gateway/GW1"]).await, expected);
    for (id, network, host) in [("nic1", "contoso-net", "HOST1"), ("nic2", "other", "HOST2")] {
        let subnet = json!({ "resourceRef": format!("/virtualNetworks/{network}/subnets/web") });
        let properties = json!({ "server": { "resourceRef": format!("/servers/{host}") },
            "ipConfigurations": [{ "resourceId": "a", "properties": { "subnet": subnet } }] });
        rig.put(&format!("/networkInterfaces/{id}"), properties);
    }
    let said = rig.prints(&["where", "tenant/contoso"]).await;
    assert!(
        said.starts_with("gateways: GW1\nVIPs: 192.0.2.1\nvirtual networks: contoso-net\nhosts: HOST1\n\nNAME  TENANT"),
        "{said}"
    );
    let way = json!({ "networkConnection": { "resourceRef": "/virtualGateways/contoso/networkConnections/hq" },
                      "gateway": { "resourceRef": "/gateways/GW1" } });
    let answer =
        json!({ "ways": { "destinationPrefix": "10.7.0.0/16", "protocol": "BGP", "ways": [way], "complete": true } });
    rig.fix(Method::Get, "/virtualGateways/contoso?explain", Answer::json(200, answer.to_string()));
    let said = rig.prints(&["where", "tenant/contoso", "10.7.1.9"]).await;
    assert_eq!(said, "10.7.1.9 is in 10.7.0.0/16 (BGP): connection hq, gateway GW1\n");
    let asked = rig.script().asked.last().map(|request| request.query.clone());
    assert_eq!(asked, Some(vec![("explain".to_owned(), "10.7.1.9".to_owned())]));
    let answer = json!({ "ways": { "destinationPrefix": null, "protocol": null, "ways": [], "complete": false } });
    rig.fix(Method::Get, "/virtualGateways/fabrikam?explain", Answer::json(200, answer.to_string()));
    let said = rig.prints(&["where", "tenant/fabrikam", "10.7.1.9"]).await;
    assert!(said.starts_with("no route of fabrikam leads to 10.7.1.9\nthe tenant's BGP router has not told"), "{said}");
}

#[tokio::test]
async fn what_keeps_a_connection_down_is_told_where_it_is_looked_for() {
    let rig = rig().await;
    let gateway = json!({
        "pool": { "resourceRef": "/gatewayPools/gre" }, "state": "Active", "healthState": "Unhealthy", "scheduling": "Cordoned",
        "configurationState": { "status": "Failure", "detailedInfo": [
            { "source": "gateway/GW1", "message": "gateway/GW1 is not heard of", "code": "HostUnreachable" }] },
    });
    rig.put("/gateways/GW1", gateway);
    let narrow = rig.prints(&["get", "gateway/GW1"]).await;
    assert!(narrow.contains("Active,Cordoned  Unhealthy"), "{narrow}");
    let answer = json!({ "placement": { "pool": "gre", "gateway": "GW1" }, "explanation": { "kbps": 100_000, "candidates": [
        { "gateway": "GW1", "pool": "gre", "freeKbps": 1_000_000, "verdict": { "fits": { "class": "stay", "usedPercent": 10 } } }] } });
    let path = "/virtualGateways/contoso/networkConnections/hq?explain";
    rig.fix(Method::Get, path, Answer::json(200, answer.to_string()));
    let said = rig.prints(&["explain", "connection/hq"]).await;
    let expected = "\
/virtualGateways/contoso/networkConnections/hq: 100 Mbit/s, on GW1 of pool gre
GW1 is cordoned: it keeps what it has and is given no more; `gatewayctl drain gateway/GW1` moves it
GW1 is not healthy
GW1 has a problem: gateway/GW1: gateway/GW1 is not heard of (HostUnreachable)
";
    assert!(said.starts_with(expected), "{said}");
    let detail =
        json!([{ "source": "gateway/GW1", "message": "gateway/GW1 is not heard of", "code": "HostUnreachable" }]);
    let hq = json!({ "resourceId": "hq", "properties": { "connectionType": "GRE", "gateway": { "resourceRef": "/gateways/GW1" },
        "connectionState": "Disconnected", "configurationState": { "status": "Failure", "detailedInfo": detail } } });
    rig.put("/virtualGateways/contoso", json!({ "gatewaySubnets": [], "networkConnections": [hq] }));
    let said = rig.prints(&["where", "tenant/contoso"]).await;
    assert!(
        said.ends_with("Disconnected\n\nhq: gateway/GW1: gateway/GW1 is not heard of (HostUnreachable)\n"),
        "{said}"
    );
}

#[tokio::test]
async fn a_gateway_without_connections_has_nobody_to_take_over() {
    let rig = rig().await;
    let answer = json!({ "successor": "GW3", "drain": { "gateway": "GW2", "successor": "GW3", "pieces": [] } });
    rig.fix(Method::Get, "/gateways/GW2?explain", Answer::json(200, answer.to_string()));
    let said = rig.prints(&["who-takes-over", "gateway/GW2"]).await;
    assert_eq!(said, "GW2 carries nothing: if it fails, nothing has to move\n");
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_and_starts_over_where_it_cannot() {
    let rig = rig().await;
    rig.script().streams = [
        Ok(vec![event(41, WatchKind::Added, "/gateways/GW1"), event(42, WatchKind::Bookmark, "/")]),
        Err(refusal(410, "Gone", "too long ago")),
        Ok(vec![event(50, WatchKind::Modified, "/gateways/GW1"), event(51, WatchKind::Deleted, "/gateways/GW2")]),
    ]
    .into();
    let said = rig.prints(&["watch", "gateways", "--count", "3"]).await;
    assert_eq!(said, "ADDED     /gateways/GW1  Success\nMODIFIED  /gateways/GW1  Success\nDELETED   /gateways/GW2\n");
    let after: Vec<_> = rig.script().watched.iter().map(|request| request.after).collect();
    assert_eq!(after, [None, Some(42), None]);
}
