//! Every body of the interface's description is taken as printed there (a placeholder filled in, an elision completed), and comes back with what
//! the interface adds.

use super::{World, furniture, pools, reference};
use crate::controller::model;
use crate::controller::resources::{Collection, Kind, View};
use serde_json::{Value, json};

/// Whether all of `sent` is in `got`: names without regard to case, secrets and references apart.
fn comes_back(sent: &Value, got: &Value, at: &str) {
    match (sent, got) {
        (Value::Object(sent), Value::Object(got)) => {
            for (name, sent) in sent {
                let lower = name.to_ascii_lowercase();
                if lower == "value" && at.starts_with("/credentials") {
                    assert!(got.get(name).is_none(), "{at}.{name} is shown");
                    continue;
                }
                if matches!(lower.as_str(), "sharedsecret" | "radiussecret" | "radiusserver" | "etag" | "instanceid") {
                    assert!(
                        !got.keys().any(|known| known.to_ascii_lowercase() == lower
                            && lower != "etag"
                            && lower != "instanceid"),
                        "{at}.{name} is shown"
                    );
                    continue;
                }
                if sent.is_null() || lower == "configurationstate" || lower == "isgenerated" {
                    continue;
                }
                let known = got.iter().find(|(known, _)| known.to_ascii_lowercase() == lower);
                let (_, got) = known.unwrap_or_else(|| panic!("{at}.{name} does not come back"));
                comes_back(sent, got, &format!("{at}.{name}"));
            }
        }
        (Value::Array(sent), Value::Array(got)) => {
            assert_eq!(sent.len(), got.len(), "{at}");
            for (position, (sent, got)) in sent.iter().zip(got).enumerate() {
                comes_back(sent, got, &format!("{at}[{position}]"));
            }
        }
        (Value::String(sent), Value::String(got)) if at.ends_with("MacAddress") => {
            assert_eq!(sent.replace('-', ""), got.replace('-', ""), "{at}");
        }
        (Value::String(sent), Value::String(got)) => {
            assert!(sent.eq_ignore_ascii_case(got), "{at}: {sent} became {got}")
        }
        (Value::String(sent), Value::Number(got)) => assert_eq!(sent, &got.to_string(), "{at}"),
        (Value::String(sent), Value::Bool(got)) => assert_eq!(sent, &got.to_string(), "{at}"),
        (sent, got) => assert_eq!(sent, got, "{at}"),
    }
}

/// PUTs a body as printed; what comes back holds it, and what every resource has.
fn taken(world: &mut World, path: &str, body: Value) -> Value {
    world.put(path, body.clone());
    let got = world.get(path);
    comes_back(&body, &got, path);
    for name in ["resourceRef", "resourceId", "instanceId"] {
        assert!(got[name].is_string(), "{path} has {name}");
    }
    assert!(
        got["etag"].as_str().is_some_and(|etag| etag.starts_with("W/\"") && etag.len() == 40),
        "{path}: {}",
        got["etag"]
    );
    assert_eq!(got["properties"]["provisioningState"], "Succeeded");
    // What was got can be put back, and changes nothing.
    let etag = world.etag(path);
    world.put(path, got.clone());
    assert_eq!(world.get(path), got, "{path} is put back as it was got");
    assert_eq!(world.etag(path), etag, "and nothing was written");
    got
}

fn pool() -> Value {
    json!({"resourceId":"default","properties":{
     "ipConfiguration":{
      "greVipSubnets":[{"resourceRef":"/logicalNetworks/00000000-2222-0000-9999-000000000000/Subnets/00000000-2222-1111-9999-000000000003"}],
      "publicIPAddresses":[{"resourceRef":"/publicIPAddresses/00000000-5555-0000-0001-000000000000"}]},
     "redundantGatewayCount":0,"gatewayCapacityKiloBitsPerSecond":104857600,
     "RadiusServer":"1.2.3.4","RadiusSecret":"111_aaa","type":"All"}})
}

fn gateway() -> Value {
    json!({"resourceId":"CloudGw1","properties":{"pool":{"resourceRef":"/GatewayPools/default"},
     "types":["s2sipsec","s2sgre","forwarding","vpn"],
     "virtualServer":{"resourceRef":"/VirtualServers/CloudGw1"},
     "networkInterfaces":{"externalNetworkInterface":{"resourceRef":"/NetworkInterfaces/00000000-3333-0000-1111-000000000001"},
                          "internalNetworkInterface":{"resourceRef":"/NetworkInterfaces/00000000-3333-0000-0000-000000000001"}},
     "bgpConfig":{"extASNumber":"0.1","bgpPeer":[{"peerIP":"11.0.1.100","peerExtAsNumber":"0.1"}]}}})
}

fn ipsec() -> Value {
    json!({"resourceRef":"/VirtualGateways/VirtualGateway_1/NetworkConnections/VirtualGatewayTenant_1_IPSEC_1","resourceId":"VirtualGatewayTenant_1_IPSEC_1","properties":{
     "connectionType":"IPSec","outboundKiloBitsPerSecond":1000700000,"inboundKiloBitsPerSecond":1000700000,
     "ipSecConfiguration":{"authenticationMethod":"PSK","SharedSecret":"123abc",
      "quickMode":{"perfectForwardSecrecy":"PFS2048","cipherTransformationConstant":"DES3","authenticationTransformationConstant":"SHA256128","idleDisconnectSeconds":500,"saLifeTimeSeconds":1233,"saLifeTimeKiloBytes":2000},
      "mainMode":{"diffieHellmanGroup":"Group2","encryptionAlgorithm":"AES256","integrityAlgorithm":"SHA256","saLifeTimeSeconds":1234,"saLifeTimeKiloBytes":2000},
      "localVpnTrafficSelector":[{"type":"IPv4","protocolId":0,"portStart":0,"portEnd":65535,"ipAddressStart":"0.0.0.0","ipAddressEnd":"255.255.255.255","tsPayloadId":0}],
      "remoteVpnTrafficSelector":[{"type":"IPv4","protocolId":0,"portStart":0,"portEnd":65535,"ipAddressStart":"0.0.0.0","ipAddressEnd":"255.255.255.255","tsPayloadId":0}]},
     "l3Configuration":{},"ipAddresses":[],"peerIPAddresses":[],
     "routes":[{"destinationPrefix":"40.1.1.4/32","nextHop":"0.0.0.0","metric":10,"protocol":"Static"}],
     "connectionStatus":"Enabled","destinationIPAddress":"11.1.0.1"}})
}

fn gre() -> Value {
    json!({"resourceId":"VirtualGateway_1_GRE_1","properties":{"connectionType":"GRE","outboundKiloBitsPerSecond":1000,"inboundKiloBitsPerSecond":1000,"greConfiguration":{"greKey":"1234"},"l3Configuration":{},"ipAddresses":[],"peerIPAddresses":[],"routes":[{"destinationPrefix":"50.1.2.0/24","nextHop":"0.0.0.0","metric":10,"protocol":"Static"}],"connectionStatus":"Enabled","destinationIPAddress":"11.1.0.2"}})
}

fn l3() -> Value {
    json!({"resourceId":"VirtualGateway_1_L3_1","properties":{"connectionType":"L3","outboundKiloBitsPerSecond":1000,"inboundKiloBitsPerSecond":1000,"l3Configuration":{"vlanSubnet":{"resourceRef":"/logicalNetworks/LogicalNetwork_VG_1/subnets/LogicalNetwork_VG_1_Subnet_1"}},"ipAddresses":[{"ipAddress":"31.1.1.4","prefixLength":24}],"peerIPAddresses":["31.1.1.5"],"routes":[{"destinationPrefix":"50.1.3.0/24","nextHop":"0.0.0.0","metric":10,"protocol":"Static"}],"connectionStatus":"Enabled"}})
}

fn peer(id: &str, address: &str) -> Value {
    json!({"resourceId":id,"properties":{"peerIpAddress":address,"asNumber":"1236","extAsNumber":"0.1236","policyMapIn":null,"policyMapOut":null}})
}

fn router() -> Value {
    json!({"resourceRef":"/VirtualGateways/VirtualGateway_1/BgpRouters/router1","resourceId":"router1","properties":{"isEnabled":true,"requireIgpSync":true,"extAsNumber":"0.3458","routerId":"10.1.1.1","routerIP":["10.1.1.1"],"isGenerated":false,
     "bgpPeers":[peer("Peer1", "40.1.1.4"), {"resourceId":"Peer2","properties":{"peerIpAddress":"40.1.2.4","extAsNumber":"0.1236","addressFamily":"IPv4","policyMapIn":{"resourceRef":"/VirtualGateways/VirtualGateway_1/PolicyMaps/MAP1"}}}],
     "configurationState":{"status":"Success","lastUpdatedTime":"2016-06-15T21:34:32.1843967-07:00"}}})
}

fn policy_map() -> Value {
    json!({"resourceId":"MAP1","etag":"W/\"00000000-0000-0000-0000-000000000000\"","instanceId":"c8b34df3-0000-0000-0000-000000000000","properties":{"provisioningState":"Succeeded","policyMapEntryList":[
     {"policyName":"INPOLICY1","action":"Deny","matchCriteria":[{"property":"MatchPrefix","value":["5.4.3.2/32","5.4.3.1/32"]},{"property":"NextHop","value":["4.3.2.1","6.4.3.1"]}],"setActions":[]},
     {"action":"Permit","matchCriteria":[{"property":"AsnRange","value":["123","345"]},{"property":"Community","value":["1:1","2:2"]}],"setActions":[]}]}})
}

fn virtual_gateway() -> Value {
    json!({"resourceRef":"/VirtualGateways/VirtualGateway_1","resourceId":"VirtualGateway_1","properties":{
     "networkConnections":[ipsec(), gre(), l3()],
     "bgpRouters":[router()], "policyMaps":[policy_map()],
     "routingType":"Dynamic",
     "GatewayPools":[{"resourceRef":"/GatewayPools/default"}],
     "gatewaySubnets":[{"resourceRef":"/virtualNetworks/00000000-1111-0000-0001-000000000000/subnets/00000000-1111-1111-0001-000000000001"}]}})
}

#[test]
fn the_order_of_creation_of_sdn_express_runs_through() {
    let mut world = World::new();
    for (path, properties) in furniture() {
        taken(&mut world, path, json!({ "properties": properties }));
    }
    taken(
        &mut world,
        "/loadBalancerMuxes/mux1.example.com",
        json!({ "properties": {
            "virtualServer": reference("/virtualServers/CloudGw1"),
            "routerConfiguration": { "localASN": 64628, "peerRouterConfigurations": [
                { "routerName": "BGPGateway-64000-64001", "routerIPAddress": "10.10.10.1", "peerASN": 64623, "localIPAddress": "10.10.10.30" } ] } } }),
    );
    taken(&mut world, "/GatewayPools/default", pool());
    taken(&mut world, "/gateways/CloudGw1", gateway());
    // The virtual gateway comes empty, then each part at its own place.
    let empty = json!({ "properties": {
        "gatewayPools": [reference("/gatewayPools/default")], "vpnClientAddressSpace": {}, "bgpRouters": [], "networkConnections": [],
        "gatewaySubnets": [reference("/virtualNetworks/00000000-1111-0000-0001-000000000000/subnets/00000000-1111-1111-0001-000000000001")] } });
    taken(&mut world, "/virtualGateways/VirtualGateway_1", empty);
    for connection in [ipsec(), gre(), l3()] {
        let id = connection["resourceId"].as_str().expect("an id").to_owned();
        taken(&mut world, &format!("/virtualGateways/VirtualGateway_1/networkConnections/{id}"), connection);
    }
    // With the strings that the description has for truth values there.
    let own = json!({ "resourceId": "router1", "properties": {
        "isEnabled": "true", "requireIGPSync": "true", "extASNumber": "0.3458", "routerId": "10.1.1.1", "routerIP": ["10.1.1.1"] } });
    taken(&mut world, "/VirtualGateways/VirtualGateway_1/BgpRouters/router1", own);
    taken(&mut world, "/VirtualGateways/VirtualGateway_1/PolicyMaps/MAP1", policy_map());
    taken(&mut world, "/VirtualGateways/VirtualGateway_1/BgpRouters/router1/BgpPeers/Peer1", peer("Peer1", "40.1.1.4"));
    // SDN Express says it so.
    let named =
        json!({ "properties": { "peerIpAddress": "40.1.2.4", "peerAsNumber": 65001, "ExtAsNumber": "0.65001" } });
    world.put("/virtualGateways/VirtualGateway_1/bgpRouters/router1/bgpPeers/Peer2", named);
    let peer = world.get("/virtualGateways/VirtualGateway_1/bgpRouters/router1/bgpPeers/peer2");
    assert_eq!(
        (&peer["properties"]["asNumber"], &peer["properties"]["extAsNumber"]),
        (&json!("65001"), &json!("0.65001"))
    );
}

#[test]
fn a_pool_comes_back_with_who_uses_it() {
    let mut world = World::furnished();
    taken(&mut world, "/networking/v1/GatewayPools/default", pool());
    taken(&mut world, "/gateways/CloudGw1", gateway());
    taken(&mut world, "/VirtualGateways/VirtualGateway_1", virtual_gateway());
    let pool = world.get("/gatewaypools/DEFAULT");
    assert_eq!(pool["resourceRef"], "/gatewayPools/default");
    assert_eq!(pool["properties"]["gateways"], json!([{ "resourceRef": "/gateways/CloudGw1" }]));
    assert_eq!(pool["properties"]["virtualGateways"], json!([{ "resourceRef": "/virtualGateways/VirtualGateway_1" }]));
    for hidden in ["RadiusServer", "RadiusSecret"] {
        assert!(pool["properties"].get(hidden).is_none(), "{hidden} is not returned");
    }
}

#[test]
fn a_virtual_gateway_comes_whole() {
    let mut world = World::furnished();
    pools(&mut world);
    let got = taken(&mut world, "/VirtualGateways/VirtualGateway_1", virtual_gateway());
    let map = &got["properties"]["policyMaps"][0]["properties"];
    let peer2 = json!([{ "resourceRef": "/virtualGateways/VirtualGateway_1/bgpRouters/router1/bgpPeers/Peer2" }]);
    assert_eq!(map["bgpPeersWithPolicyMapIn"], peer2);
    assert_eq!(map["bgpPeersWithPolicyMapOut"], json!([]));
    let connection = world.get("/virtualgateways/virtualgateway_1/NETWORKCONNECTIONS/virtualgateway_1_gre_1");
    assert_eq!(connection, got["properties"]["networkConnections"][1], "a child is the same at its own place");

    let text = world.forest.text(&"/virtualGateways/VirtualGateway_1".parse_path()).expect("stored").clone();
    assert!(!text.contains("123abc"), "the secret is sealed: {text}");
    let read = model::parse::<model::tenant::VirtualGateway>(&text).expect("the controller reads it");
    assert_eq!(read.properties.network_connections.len(), 3);
    assert_eq!(read.properties.network_connections[1].properties.gre_configuration.key(), Some(1234));
}

trait ParsePath {
    fn parse_path(&self) -> crate::controller::resources::Path;
}

impl ParsePath for str {
    fn parse_path(&self) -> crate::controller::resources::Path {
        crate::controller::resources::Path::parse(self).expect("a path")
    }
}

#[test]
fn the_controller_reads_what_is_stored() {
    let mut world = World::furnished();
    pools(&mut world);
    world.put("/gateways/CloudGw1", gateway());
    let mut read = 0;
    for (key, text) in world.stored() {
        use model::{fabric, tenant};
        let result = match key.split('/').nth(1).expect("a collection") {
            "logicalnetworks" => model::parse::<fabric::LogicalNetwork>(&text).map(drop),
            "publicipaddresses" => model::parse::<fabric::PublicIpAddress>(&text).map(drop),
            "servers" => model::parse::<fabric::Server>(&text).map(drop),
            "virtualservers" => model::parse::<fabric::VirtualServer>(&text).map(drop),
            "gatewaypools" => model::parse::<fabric::GatewayPool>(&text).map(drop),
            "gateways" => model::parse::<fabric::Gateway>(&text).map(drop),
            "virtualnetworks" => model::parse::<tenant::VirtualNetwork>(&text).map(drop),
            "networkinterfaces" => model::parse::<tenant::NetworkInterface>(&text).map(drop),
            _ => continue,
        };
        assert!(result.is_ok(), "{key}: {result:?}\n{text}");
        read += 1;
    }
    assert_eq!(read, 15);
}

#[test]
fn a_collection_is_a_value_without_pages() {
    let mut world = World::furnished();
    pools(&mut world);
    let view = View { principal: &world.principal, observed: &() };
    let list = |parent: Option<&str>, kind| {
        let collection = Collection { parent: parent.map(str::parse_path), kind };
        world.forest.list_all(&collection, &view).expect("a list")
    };
    let all = list(None, Kind::GatewayPool);
    assert_eq!(all["nextLink"], "");
    let ids: Vec<_> =
        all["value"].as_array().expect("an array").iter().map(|pool| pool["resourceId"].as_str()).collect();
    assert_eq!(ids, [Some("default"), Some("ipsec"), Some("l3")]);
    assert_eq!(list(None, Kind::Gateway), json!({ "value": [], "nextLink": "" }));
    let subnets = list(Some("/logicalNetworks/logicalnetwork_vg_1"), Kind::LogicalSubnet);
    assert_eq!(subnets["value"].as_array().map(Vec::len), Some(2));
}
