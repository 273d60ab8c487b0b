//! The conventions of the interface: ETags, conditions, ids, embedded resources, drawn values.

use super::{World, gre, l3, pools, reference, tenant};
use crate::controller::resources::operations::{Fingerprint, Operation, Status};
use crate::controller::resources::path::VERSIONS;
use crate::controller::resources::tree::answer::Observed;
use crate::controller::resources::{
    Code, Collection, Conditions, Error, Kind, Location, Outcome, Path, Principal, Stamp, View, discovery,
};
use serde_json::{Map, Value, json};
use std::collections::HashSet;

fn status(result: Result<crate::controller::resources::Change, Error>) -> u16 {
    match result {
        Ok(change) if change.outcome == Outcome::Created => 201,
        Ok(_) => 200,
        Err(error) => error.status(),
    }
}

#[test]
fn the_table_of_etags_holds_for_put() {
    const PATH: &str = "/macPools/p";
    let body = |end: u8| json!({ "properties": { "startMacAddress": "02-00-00-00-00-00", "endMacAddress": format!("02-00-00-00-00-{end:02X}") } });
    // If-Match, If-None-Match, status if it does not exist, status if it exists. `=` stands for the ETag, `~` for another one.
    let rows = [
        (None, None, 201, 200),
        (Some(""), None, 201, 200),
        (None, Some(""), 201, 200),
        (Some("*"), None, 412, 200),
        (Some("="), None, 412, 200),
        (Some("~"), None, 412, 412),
        (None, Some("*"), 201, 412),
        (None, Some("="), 201, 412),
        (None, Some("~"), 201, 200),
    ];
    for (if_match, if_none_match, absent, exists) in rows {
        let fill = |header: Option<&str>, etag: &str| {
            header.map(|header| header.replace('=', etag).replace('~', "W/\"11111111-1111-4111-8111-111111111111\""))
        };
        let row = format!("If-Match {if_match:?}, If-None-Match {if_none_match:?}");
        let conditions =
            |etag: &str| Conditions::new(fill(if_match, etag).as_deref(), fill(if_none_match, etag).as_deref());
        let mut world = World::new();
        let got = status(world.try_put_if(PATH, &body(1), &conditions("W/\"22222222-2222-4222-8222-222222222222\"")));
        assert_eq!(got, absent, "{row}, absent");
        let mut world = World::new();
        world.put(PATH, body(1));
        let conditions = conditions(&world.etag(PATH));
        assert_eq!(status(world.try_put_if(PATH, &body(2), &conditions)), exists, "{row}, exists");
    }
}

#[test]
fn the_table_of_etags_holds_for_delete() {
    let body =
        json!({ "properties": { "startMacAddress": "02-00-00-00-00-00", "endMacAddress": "02-00-00-00-00-01" } });
    let mut world = World::new();
    for header in [None, Some("*"), Some("W/\"1\"")] {
        let gone = world.try_delete("/macPools/p", &Conditions::new(header, None)).expect("204");
        assert!(gone.is_none(), "{header:?}: what does not exist is deleted already");
    }
    world.put("/macPools/p", body);
    let error = world.try_delete("/macPools/p", &Conditions::new(Some("W/\"1\""), None)).expect_err("412");
    assert_eq!((error.status(), error.code), (412, Code::PreconditionFailed));
    let etag = world.etag("/macPools/p");
    let change = world.try_delete("/macPools/P", &Conditions::new(Some(&etag), None)).expect("200").expect("a change");
    assert_eq!((change.outcome, change.new), (Outcome::Deleted, None));
    assert_eq!(world.try_get("/macPools/p").expect_err("404").status(), 404);
}

#[test]
fn an_etag_is_read_without_its_quotes_and_in_a_list() {
    let mut world = World::new();
    world.put_properties(
        "/macPools/p",
        json!({ "startMacAddress": "02-00-00-00-00-00", "endMacAddress": "02-00-00-00-00-01" }),
    );
    let etag = world.etag("/macPools/p");
    let bare = etag.trim_start_matches("W/").trim_matches('"').to_owned();
    for header in [bare.clone(), format!("\"{bare}\""), format!("w/\"{bare}\""), format!("\"other\", {etag}")] {
        let conditions = Conditions::new(Some(&header), None);
        assert!(conditions.check_put(Some(&bare)).is_ok(), "{header}");
    }
    assert!(Conditions::new(None, Some(&etag)).not_modified(&etag));
    assert!(!Conditions::new(None, None).not_modified(&etag));
}

#[test]
fn a_change_of_a_child_changes_the_etags_above_and_below_it_and_none_beside_it() {
    let mut world = tenant();
    world.put_properties("/virtualGateways/VG/networkConnections/a", gre("198.51.100.1", json!("1")));
    world.put_properties("/virtualGateways/VG/networkConnections/b", gre("198.51.100.2", json!("1")));
    let router = |peer: &str| json!({ "extAsNumber": "65001", "bgpPeers": [{ "resourceId": "p", "properties": { "peerIpAddress": peer, "extAsNumber": 65002 } }] });
    world.put_properties("/virtualGateways/VG/bgpRouters/r", router("40.0.0.1"));
    let places = [
        "/virtualGateways/VG",
        "/virtualGateways/VG/networkConnections/a",
        "/virtualGateways/VG/networkConnections/b",
        "/virtualGateways/VG/bgpRouters/r",
        "/virtualGateways/VG/bgpRouters/r/bgpPeers/p",
        "/gatewayPools/default",
    ];
    let mut before: Vec<String> = places.iter().map(|place| world.etag(place)).collect();
    let mut changed = |world: &World| {
        let after: Vec<String> = places.iter().map(|place| world.etag(place)).collect();
        let changed: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before != after).collect();
        before = after;
        changed
    };
    world.put_properties("/virtualGateways/VG/networkConnections/a", gre("198.51.100.3", json!("1")));
    assert_eq!(changed(&world), [true, true, false, false, false, false], "a connection");
    world.put_properties(
        "/virtualGateways/VG/bgpRouters/r/bgpPeers/p",
        json!({ "peerIpAddress": "40.0.0.2", "extAsNumber": 65002 }),
    );
    assert_eq!(changed(&world), [true, false, false, true, true, false], "a peer, two levels down");
    world.put_properties("/virtualGateways/VG/bgpRouters/r", router("40.0.0.3"));
    assert_eq!(changed(&world), [true, false, false, true, true, false], "a router, its peer with it");
    let mut whole = world.get("/virtualGateways/VG");
    whole["tags"] = json!({ "a": "b" });
    world.put("/virtualGateways/VG", whole);
    assert_eq!(
        changed(&world),
        [true, true, true, true, true, false],
        "the whole: all that is below, nothing that it refers to"
    );
    world.try_delete("/virtualGateways/VG/networkConnections/b", &Conditions::default()).expect("deleted");
    assert_ne!(before[0], world.etag(places[0]), "a child that goes changes its parent");
    assert_eq!(before[1], world.etag(places[1]), "and not its sibling");
}

#[test]
fn an_embedded_array_that_is_absent_stays_and_one_that_is_present_replaces() {
    let mut world = tenant();
    world.put_properties("/virtualGateways/VG/networkConnections/a", gre("198.51.100.1", json!(1)));
    world.put_properties("/virtualGateways/VG/networkConnections/b", gre("198.51.100.2", json!(1)));
    let instance = world.get("/virtualGateways/VG/networkConnections/b")["instanceId"].clone();
    world.put_properties("/virtualGateways/VG", super::empty_virtual_gateway());
    let connections =
        |world: &World| world.get("/virtualGateways/VG")["properties"]["networkConnections"].as_array().map(Vec::len);
    assert_eq!(connections(&world), Some(2));
    let mut body = super::empty_virtual_gateway();
    body["networkConnections"] = json!([{ "resourceId": "B", "properties": gre("198.51.100.2", json!(1)) }]);
    world.put_properties("/virtualGateways/VG", body);
    assert_eq!(connections(&world), Some(1));
    let left = world.get("/virtualGateways/VG/networkConnections/b");
    assert_eq!(
        (&left["resourceId"], &left["instanceId"]),
        (&json!("b"), &instance),
        "the one that stays is the one that was"
    );
}

#[test]
fn ids_and_names_compare_without_regard_to_case_and_keep_their_spelling() {
    let mut world = World::furnished();
    pools(&mut world);
    world.put("/GATEWAYPOOLS/DEFAULT/", json!({ "RESOURCEID": "dEFAULT", "PROPERTIES": {
        "TYPE": "aLL", "REDUNDANTGATEWAYCOUNT": 1, "gatewaycapacitykilobitspersecond": 5,
        "ipconfiguration": { "GREVIPSUBNETS": [{ "RESOURCEREF": "/LOGICALNETWORKS/00000000-2222-0000-9999-000000000000/SUBNETS/00000000-2222-1111-9999-000000000003" }] } } }));
    let pool = world.get("/gatewayPools/default");
    assert_eq!((&pool["resourceId"], &pool["properties"]["type"]), (&json!("default"), &json!("All")));
    let subnet = &pool["properties"]["ipConfiguration"]["greVipSubnets"][0]["resourceRef"];
    assert_eq!(
        subnet,
        "/logicalNetworks/00000000-2222-0000-9999-000000000000/subnets/00000000-2222-1111-9999-000000000003"
    );
}

#[test]
fn paths_lead_to_resources_collections_and_the_rest() {
    for version in VERSIONS {
        let location = Location::parse(&format!("/networking/{version}/gateways/GW1")).expect("a path");
        assert_eq!(location, Location::Resource(Path::root(Kind::Gateway, "gw1".into())));
    }
    let children = Location::parse("/Networking/V1/VirtualGateways/vg/bgprouters/r/BGPPEERS/").expect("a path");
    let Location::Collection(Collection { parent: Some(parent), kind: Kind::BgpPeer }) = children else {
        panic!("{children:?}")
    };
    assert_eq!(parent.to_string(), "/virtualGateways/vg/bgpRouters/r");
    assert_eq!(Location::parse("/networking/discovery"), Ok(Location::Discovery));
    assert_eq!(Location::parse("/networking/v1/operations/7"), Ok(Location::Operation("7".into())));
    assert_eq!(Location::parse("/networking/v1/operationResults/7"), Ok(Location::OperationResult("7".into())));
    assert_eq!(Location::parse("/networking/v1/internalResourceInstances"), Ok(Location::Instances));
    assert_eq!(Location::parse("/networking/v1/InternalResourceInstances/7"), Ok(Location::Instance("7".into())));
    assert_eq!(Location::parse("/networking/v1/monitoring/networkControllerStatistics"), Ok(Location::Statistics));
    assert_eq!(
        Location::parse("/networking/v1/servers/H/networkInterfaces/SDN Switch").map(|location| match location {
            Location::Resource(path) => path.to_string(),
            other => format!("{other:?}"),
        }),
        Ok("/servers/H/networkInterfaces/SDN Switch".to_owned())
    );
    for wrong in [
        "",
        "/",
        "/networking",
        "/networking/v9/gateways",
        "/networking/v1",
        "/networking/v1/nothing",
        "/networking/v1/gateways/a/subnets",
        "/other/v1/gateways",
    ] {
        let error = Error::from(Location::parse(wrong).expect_err(wrong));
        assert_eq!(error.status(), 404, "{wrong}");
    }
    for wrong in [
        "/networking/v1/gateways/a%2fb",
        "/networking/v1/gateways/..",
        "/networking/v1/gateways/ä",
        "/networking/v1/loadBalancerManager/other",
        "/networking/v1/gateways//",
    ] {
        let error = Error::from(Location::parse(wrong).expect_err(wrong));
        assert_eq!(error.code, Code::InvalidParameterValue, "{wrong}");
    }
    assert_eq!(discovery()["properties"]["currentRestVersion"], "v7.1");
}

#[test]
fn a_reference_may_be_a_whole_url() {
    for text in [
        "/gatewayPools/default",
        "gatewayPools/default",
        "/networking/v1/gatewayPools/default",
        "https://nc.example.com/networking/v3/gatewaypools/default",
    ] {
        assert_eq!(Path::parse(text).expect(text).key(), "gatewaypools/default", "{text}");
    }
}

#[test]
fn a_secret_that_is_left_out_stays() {
    let mut world = tenant();
    let ipsec = |secret: Option<&str>| {
        let mut body = json!({
            "connectionType": "IPSec", "outboundKiloBitsPerSecond": 1, "inboundKiloBitsPerSecond": 1, "destinationIPAddress": "198.51.100.9",
            "ipSecConfiguration": { "authenticationMethod": "PSK" } });
        if let Some(secret) = secret {
            body["ipSecConfiguration"]["sharedSecret"] = json!(secret);
        }
        body
    };
    world.put_properties("/virtualGateways/VG/networkConnections/i", ipsec(Some("hunter2")));
    let text = world.forest.text(&Path::parse("/virtualGateways/VG").expect("a path")).expect("stored").clone();
    assert!(
        text.contains("sealed 7 bytes for virtualgateways/vg/networkconnections/i#sharedSecret")
            && !text.contains("hunter2"),
        "{text}"
    );
    world.put_properties("/virtualGateways/VG/networkConnections/i", ipsec(None));
    let kept = world.forest.text(&Path::parse("/virtualGateways/VG").expect("a path")).expect("stored").clone();
    assert_eq!(text, kept);
}

#[test]
fn drawn_values_are_free_ones_and_stay() {
    let mut world = World::furnished();
    let subnet = "/virtualNetworks/00000000-1111-0000-0001-000000000000/subnets/00000000-1111-1111-0001-000000000001";
    let body = json!({ "ipConfigurations": [{ "resourceId": "c", "properties": { "privateIPAllocationMethod": "Dynamic", "subnet": reference(subnet) } }] });
    let mut addresses = HashSet::new();
    let mut macs = HashSet::new();
    for number in 0..5 {
        let path = format!("/networkInterfaces/vm{number}");
        world.put_properties(&path, body.clone());
        let drawn = world.get(&path);
        addresses.insert(drawn["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"].clone());
        macs.insert(drawn["properties"]["privateMacAddress"].clone());
        world.put_properties(&path, body.clone());
        assert_eq!(world.get(&path), drawn, "the same body draws nothing");
    }
    // 10.2.11.0/29 less its own two addresses and the router's.
    assert_eq!((addresses.len(), macs.len()), (5, 5));
    let error = world.refused("/networkInterfaces/vm6", body);
    assert_eq!((error.code, error.status()), (Code::AddressPoolExhausted, 409));
    assert_eq!(error.target.as_deref(), Some("properties.ipConfigurations[0].properties.privateIPAddress"));

    let public = world.get("/publicIPAddresses/00000000-5555-0000-0001-000000000000");
    assert_eq!(public["properties"]["ipAddress"], "41.40.40.2", "the first is the manager's");
    let network = world.get("/virtualNetworks/00000000-1111-0000-0001-000000000000");
    assert_eq!(network["properties"]["encapsulation"], "VXLAN");
    world.put_properties("/virtualNetworkManager/configuration", json!({ "networkVirtualizationProtocol": "nvgre" }));
    world.put_properties("/virtualNetworks/other", json!({ "addressSpace": { "addressPrefixes": ["10.2.0.0/16"] } }));
    assert_eq!(world.get("/virtualNetworks/other")["properties"]["encapsulation"], "NVGRE");
}

#[test]
fn what_is_observed_is_shown_and_never_stored() {
    struct Live;
    impl Observed for Live {
        fn properties(&self, path: &Path) -> Map<String, Value> {
            let shown = match path.kind() {
                Kind::NetworkConnection => json!({
                    "connectionState": "Connected", "sourceIPAddress": "31.30.30.7", "gateway": reference("/gateways/GW1"),
                    "routes": [{ "destinationPrefix": "60.0.0.0/8", "nextHop": "0.0.0.0", "metric": 0, "protocol": "BGP" }],
                }),
                Kind::VirtualGateway => {
                    json!({ "configurationState": { "status": "Success" }, "provisioningState": "Updating" })
                }
                _ => json!({}),
            };
            match shown {
                Value::Object(map) => map,
                _ => Map::new(),
            }
        }
    }
    let mut world = tenant();
    world.put_properties("/virtualGateways/VG/networkConnections/a", gre("198.51.100.1", json!(1)));
    let view = View { principal: &world.principal, observed: &Live };
    let (seen, _) = world.forest.get(&Path::parse("/virtualGateways/VG").expect("a path"), &view).expect("there");
    assert_eq!(seen["properties"]["provisioningState"], "Updating");
    let connection = &seen["properties"]["networkConnections"][0]["properties"];
    assert_eq!(connection["sourceIPAddress"], "31.30.30.7");
    assert_eq!(connection["routes"].as_array().map(Vec::len), Some(2), "learned routes stand beside the static one");
    let before = world.stored();
    world.put("/virtualGateways/VG", seen);
    assert_eq!(world.stored(), before, "what was seen can be put back: nothing of it is kept");
}

#[test]
fn a_gateway_subnet_names_its_users() {
    let world = tenant();
    let network = world.get("/virtualNetworks/00000000-1111-0000-0001-000000000000");
    assert_eq!(
        network["properties"]["subnets"][0]["properties"]["virtualGateways"],
        json!([reference("/virtualGateways/VG")])
    );
}

#[test]
fn a_vlan_may_be_another_connections_in_other_racks() {
    let mut world = tenant();
    world.put_properties(
        "/logicalNetworks/L",
        json!({ "subnets": [
        { "resourceId": "one", "properties": { "addressPrefix": "31.5.1.0/24", "vlanID": 500, "racks": ["r1", "r2"] } },
        { "resourceId": "two", "properties": { "addressPrefix": "31.5.2.0/24", "vlanID": 500, "racks": ["r3"] } },
        { "resourceId": "three", "properties": { "addressPrefix": "31.5.3.0/24", "vlanID": 500, "racks": ["R2"] } },
    ] }),
    );
    world.put_properties("/virtualGateways/VG/networkConnections/a", l3("/logicalNetworks/L/subnets/one", "31.5.1.4"));
    world.put_properties("/virtualGateways/VG/networkConnections/b", l3("/logicalNetworks/L/subnets/two", "31.5.2.4"));
    let error =
        world.refused("/virtualGateways/VG/networkConnections/c", l3("/logicalNetworks/L/subnets/three", "31.5.3.4"));
    assert_eq!(error.code, Code::DuplicateVlan);
    // A rack cannot be added into which another connection reaches with that VLAN.
    let mut network = world.get("/logicalNetworks/L");
    network["properties"]["subnets"][1]["properties"]["racks"] = json!(["r3", "r1"]);
    let error = world.try_put("/logicalNetworks/L", network).expect_err("in use there");
    assert_eq!(error.target.as_deref(), Some("properties.subnets[1].properties.racks"));
}

#[test]
fn guids_of_a_request_differ_and_repeat() {
    let stamp = Stamp(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    let guids: HashSet<String> = (0..1000).map(|number| stamp.guid(number)).collect();
    assert_eq!(guids.len(), 1000);
    assert_eq!(stamp.guid(3), stamp.guid(3));
    assert!(guids.iter().all(|guid| guid.len() == 36 && &guid[14..15] == "4" && "89ab".contains(&guid[19..20])));
}

#[test]
fn an_operation_tells_how_it_ended() {
    let path = Path::parse("/gateways/GW1").expect("a path");
    let mut operation = Operation::succeeded("alice", &path);
    assert_eq!((operation.result_status(), operation.body()), (204, json!({ "status": "Succeeded" })));
    operation.status = Status::InProgress;
    assert_eq!((operation.result_status(), operation.body()), (202, json!({ "status": "InProgress" })));
    (operation.status, operation.error) = (Status::Failed, Some(Error::new(Code::ResourceInUse, "in use")));
    assert_eq!((operation.result_status(), &operation.body()["error"]["code"]), (409, &json!("ResourceInUse")));
}

#[test]
fn a_secret_leaves_no_trace_in_what_is_stored_of_a_request() {
    let path = Path::parse("/virtualGateways/VG/networkConnections/a").expect("a path");
    let body = |secret: &str, key: u32| json!({ "properties": { "greConfiguration": { "greKey": key }, "ipSecConfiguration": { "SHAREDSECRET": secret } } });
    let fingerprint = |secret: &str, key: u32| Fingerprint::new("PUT", &path, &body(secret, key));
    assert_eq!(fingerprint("s", 1), fingerprint("t", 1));
    assert_ne!(fingerprint("s", 1), fingerprint("s", 2));
}

#[test]
fn auditing_settings_are_kept() {
    let mut world = World::new();
    let path = "/auditingSettings/configuration";
    world.put_properties(path, json!({ "outputDirectory": "C:\\audit" }));
    let got = world.get(path);
    assert_eq!(got["properties"], json!({ "outputDirectory": "C:\\audit", "provisioningState": "Succeeded" }));
    let error = world.try_put("/auditingSettings/other", json!({})).expect_err("there is one only");
    assert_eq!(error.code, Code::InvalidParameterValue);
}

#[test]
fn an_instance_id_leads_to_its_resource() {
    let mut world = tenant();
    let subnet = "/virtualNetworks/00000000-1111-0000-0001-000000000000/subnets/web";
    let id = world.get(subnet)["instanceId"].as_str().expect("a GUID").to_owned();
    let operator = world.principal.clone();
    let told = world.forest.instance(&id.to_ascii_uppercase().as_str().into(), &operator).expect("known");
    assert_eq!(told["resourceRef"], format!("/internalResourceInstances/{id}"));
    assert_eq!((&told["resourceId"], &told["instanceId"]), (&json!(id), &json!(id)));
    assert_eq!(told["properties"], json!({ "resourceRef": subnet, "provisioningState": "Succeeded" }));
    // Each resource is in the list once, children included.
    let all = world.forest.instances(&operator).expect("readable");
    let all = all["value"].as_array().expect("a list");
    assert_eq!(all.iter().filter(|one| **one == told).count(), 1);
    let etag = world.get(subnet)["etag"].as_str().expect("an ETag").to_owned();
    let unknown = ["", "7", "\"instanceId\"", etag.trim_start_matches("W/").trim_matches('"')];
    for unknown in unknown {
        assert_eq!(
            world.forest.instance(&unknown.into(), &operator).map_err(|error| error.status()),
            Err(404),
            "{unknown}"
        );
    }
    // What belongs to others does not exist.
    let stranger = Principal::tenant("red", "red");
    assert_eq!(world.forest.instance(&id.as_str().into(), &stranger).map_err(|error| error.status()), Err(404));
    assert_eq!(world.forest.instances(&stranger).expect("readable")["value"], json!([]));
    world.try_delete("/virtualGateways/VG", &Conditions::default()).expect("deleted");
    world.try_delete(subnet, &Conditions::default()).expect("deleted");
    assert!(world.forest.instance(&id.as_str().into(), &operator).is_err(), "what is gone has no instance");
}
