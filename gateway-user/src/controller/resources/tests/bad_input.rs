//! Each bad input: its status, its code, where it is.

use super::{World, gre, l3, reference, tenant};
use crate::controller::resources::{Code, MAX_BODY, parse_body};
use serde_json::{Value, json};

pub(super) const CONNECTION: &str = "/virtualGateways/VG/networkConnections/c";

/// A body, what is wrong with it, and where.
pub(super) type Row = (&'static str, Value, Code, &'static str);

pub(super) fn all_refused(world: &mut World, rows: impl IntoIterator<Item = Row>) {
    for (path, properties, code, target) in rows {
        let shown = properties.to_string();
        let error = world.refused(path, properties);
        assert_eq!((error.code, error.target.as_deref()), (code, Some(target)), "{path} {shown}: {error}");
        let expected = match code {
            Code::ResourceInUse
            | Code::DuplicateVlan
            | Code::DuplicateMacAddress
            | Code::DuplicateIPAddress
            | Code::PublicIPAddressInUse
            | Code::MultipleGatwaysUseSameVnet => 409,
            _ => 400,
        };
        assert_eq!(error.status(), expected, "{path} {shown}");
        let body = error.body();
        assert_eq!((&body["error"]["code"], &body["error"]["target"]), (&json!(code), &json!(target)));
        assert!(
            body["error"]["message"].as_str().is_some_and(|message| !message.is_empty())
                && body["error"]["details"].is_array()
        );
    }
}

/// `base` with a property set; `null` takes it away.
pub(super) fn with(mut base: Value, property: &str, value: Value) -> Value {
    base[property] = value;
    base
}

pub(super) fn a_gre() -> Value {
    gre("198.51.100.1", json!("7"))
}

pub(super) fn an_l3() -> Value {
    l3("/logicalNetworks/LogicalNetwork_VG_1/subnets/LogicalNetwork_VG_1_Subnet_1", "31.1.1.4")
}

fn an_ipsec() -> Value {
    json!({ "connectionType": "IPSec", "outboundKiloBitsPerSecond": 1, "inboundKiloBitsPerSecond": 1, "destinationIPAddress": "198.51.100.9",
        "ipSecConfiguration": { "authenticationMethod": "PSK", "sharedSecret": "hunter2" } })
}

#[test]
fn a_body_that_is_no_json_is_refused_with_its_place_and_nothing_of_its_content() {
    let error = parse_body(b"{\"properties\": {\n \"sharedSecret\": hunter2}}").expect_err("no JSON");
    assert_eq!((error.status(), error.code), (400, Code::InvalidRequestContent));
    assert!(error.message.contains("line 2, column") && !error.message.contains("hunter"), "{error}");
    assert_eq!(parse_body(b"").expect_err("empty").status(), 400);
    assert_eq!(parse_body(b"\xff\xfe").expect_err("no UTF-8").status(), 400);
    assert_eq!(parse_body(&vec![b'['; 100_000]).expect_err("too deep").status(), 400);
    assert_eq!(parse_body(&vec![b' '; MAX_BODY + 1]).expect_err("too long").status(), 413);
    assert_eq!(parse_body(b"\xef\xbb\xbf{}").expect("a byte order mark is no fault"), json!({}));
}

#[test]
fn what_is_no_resource_is_refused() {
    let mut world = tenant();
    for body in [json!([]), json!("text"), json!(null), json!(7)] {
        let error = world.try_put(CONNECTION, body).expect_err("no object");
        assert_eq!(error.code, Code::InvalidRequestContent);
    }
    for (body, target) in [
        (json!({ "properties": [] }), "properties"),
        (json!({ "resourceId": "other", "properties": a_gre() }), "resourceId"),
        (json!({ "resourceId": 7, "properties": a_gre() }), "resourceId"),
        (json!({ "tags": "x", "properties": a_gre() }), "tags"),
        (json!({ "Properties": a_gre(), "properties": a_gre() }), "properties"),
    ] {
        let error = world.try_put(CONNECTION, body.clone()).expect_err("refused");
        assert_eq!((error.code, error.target.as_deref()), (Code::InvalidParameterValue, Some(target)), "{body}");
    }
    let error = world.try_put(CONNECTION, json!({ "propertys": {} })).expect_err("refused");
    assert_eq!(
        (error.code, error.message.contains("did you mean `properties`?")),
        (Code::UnknownProperty, true),
        "{error}"
    );
}

#[test]
fn values_of_the_wrong_form_are_refused_where_they_stand() {
    use Code::InvalidParameterValue as Invalid;
    let mut world = tenant();
    let route = |value: Value| with(a_gre(), "routes", json!([{ "destinationPrefix": "10.9.0.0/16" }, value]));
    let key = |value: Value| with(a_gre(), "greConfiguration", json!({ "greKey": value }));
    all_refused(
        &mut world,
        [
            (CONNECTION, with(a_gre(), "connectionType", json!("PPTP")), Invalid, "properties.connectionType"),
            (CONNECTION, with(a_gre(), "connectionType", json!(7)), Invalid, "properties.connectionType"),
            (
                CONNECTION,
                with(a_gre(), "connectionType", json!(null)),
                Code::RequiredPropertyMissing,
                "properties.connectionType",
            ),
            (
                CONNECTION,
                with(a_gre(), "outboundKiloBitsPerSecond", json!(0)),
                Invalid,
                "properties.outboundKiloBitsPerSecond",
            ),
            (
                CONNECTION,
                with(a_gre(), "outboundKiloBitsPerSecond", json!(1.5)),
                Invalid,
                "properties.outboundKiloBitsPerSecond",
            ),
            (
                CONNECTION,
                with(a_gre(), "outboundKiloBitsPerSecond", json!("many")),
                Invalid,
                "properties.outboundKiloBitsPerSecond",
            ),
            (
                CONNECTION,
                with(a_gre(), "inboundKiloBitsPerSecond", json!(null)),
                Code::RequiredPropertyMissing,
                "properties.inboundKiloBitsPerSecond",
            ),
            (CONNECTION, with(a_gre(), "outboundKbps", json!(1)), Code::UnknownProperty, "properties.outboundKbps"),
            (
                CONNECTION,
                with(a_gre(), "destinationIPAddress", json!("10.0.0.0/8")),
                Invalid,
                "properties.destinationIPAddress",
            ),
            (
                CONNECTION,
                with(a_gre(), "destinationIPAddress", json!("224.0.0.1")),
                Invalid,
                "properties.destinationIPAddress",
            ),
            (
                CONNECTION,
                with(a_gre(), "destinationIPAddress", json!(null)),
                Code::RequiredPropertyMissing,
                "properties.destinationIPAddress",
            ),
            (CONNECTION, with(a_gre(), "connectionStatus", json!("On")), Invalid, "properties.connectionStatus"),
            (CONNECTION, with(a_gre(), "routes", json!({})), Invalid, "properties.routes"),
            (
                CONNECTION,
                route(json!({ "destinationPrefix": "10.1.2.3/16" })),
                Invalid,
                "properties.routes[1].destinationPrefix",
            ),
            (
                CONNECTION,
                route(json!({ "destinationPrefix": "10.0.0.0/33" })),
                Invalid,
                "properties.routes[1].destinationPrefix",
            ),
            (
                CONNECTION,
                route(json!({ "destinationPrefix": "10.9.0.0/16" })),
                Invalid,
                "properties.routes[1].destinationPrefix",
            ),
            (
                CONNECTION,
                route(json!({ "metric": 1 })),
                Code::RequiredPropertyMissing,
                "properties.routes[1].destinationPrefix",
            ),
            (
                CONNECTION,
                route(json!({ "destinationPrefix": "10.8.0.0/16", "nextHop": "fd00::1" })),
                Invalid,
                "properties.routes[1].nextHop",
            ),
            (CONNECTION, route(json!(7)), Invalid, "properties.routes[1]"),
            (CONNECTION, key(json!("12x")), Invalid, "properties.greConfiguration.greKey"),
            (CONNECTION, key(json!("+7")), Invalid, "properties.greConfiguration.greKey"),
            (CONNECTION, key(json!(4_294_967_296_u64)), Invalid, "properties.greConfiguration.greKey"),
            (CONNECTION, key(json!(-1)), Invalid, "properties.greConfiguration.greKey"),
            (
                "/networkInterfaces/n",
                json!({ "privateMacAddress": "01-00-5E-00-00-01" }),
                Invalid,
                "properties.privateMacAddress",
            ),
            (
                "/networkInterfaces/n",
                json!({ "privateMacAddress": "02-00-5E" }),
                Invalid,
                "properties.privateMacAddress",
            ),
            (
                "/networkInterfaces/n",
                json!({ "privateMacAddress": "02-00-5E-00-00-01", "deviceName": "a/b", "server": reference("/servers/HOST1") }),
                Invalid,
                "properties.deviceName",
            ),
            (
                "/networkInterfaces/n",
                json!({ "privateMacAddress": "02-00-5E-00-00-01", "deviceName": "tap0" }),
                Code::RequiredPropertyMissing,
                "properties.server",
            ),
            (
                "/networkInterfaces/n",
                json!({ "accessControlList": reference("/accessControlLists/a") }),
                Code::PropertyNotSupported,
                "properties.accessControlList",
            ),
        ],
    );
}

#[test]
fn gre_keys_are_taken_in_their_forms() {
    let mut world = tenant();
    for (number, (given, kept)) in [
        (json!("1234"), json!("1234")),
        (json!(1234), json!("1234")),
        (json!(0), json!("0")),
        (json!("007"), json!("7")),
        (json!(""), json!(null)),
        (json!(null), json!(null)),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/virtualGateways/VG/networkConnections/c{number}");
        world.put_properties(&path, gre("198.51.100.1", given.clone()));
        assert_eq!(
            world.get(&path)["properties"]["greConfiguration"].get("greKey").unwrap_or(&json!(null)),
            &kept,
            "{given}"
        );
    }
}

#[test]
fn several_faults_are_told_at_once() {
    let mut world = tenant();
    let error = world.refused(
        CONNECTION,
        json!({ "connectionType": "PPTP", "nonsense": 1, "routes": [{ "destinationPrefix": "x" }] }),
    );
    let targets: Vec<_> = error.details.iter().filter_map(|fault| fault.target.as_deref()).collect();
    assert_eq!(targets, ["properties.connectionType", "properties.nonsense", "properties.routes[0].destinationPrefix"]);
    let many: Vec<Value> = (0..100).map(|_| json!({ "destinationPrefix": "x" })).collect();
    assert_eq!(world.refused(CONNECTION, with(a_gre(), "routes", json!(many))).details.len(), 20);
}

#[test]
fn each_connection_type_has_its_own_needs() {
    use Code::{InvalidParameterValue as Invalid, RequiredPropertyMissing as Missing};
    let mut world = tenant();
    let ipsec = |name: &str, value: Value| {
        let mut body = an_ipsec();
        body["ipSecConfiguration"][name] = value;
        body
    };
    let selector = json!([{ "type": "IPv4", "ipAddressStart": "10.0.0.9", "ipAddressEnd": "10.0.0.1" }]);
    let ports = json!([{ "type": "IPv4", "portStart": 9, "portEnd": 1 }]);
    let family = json!([{ "type": "IPv6", "ipAddressStart": "10.0.0.1", "ipAddressEnd": "10.0.0.1" }]);
    all_refused(
        &mut world,
        [
            (CONNECTION, with(an_ipsec(), "ipSecConfiguration", json!(null)), Missing, "properties.ipSecConfiguration"),
            (CONNECTION, ipsec("sharedSecret", json!(null)), Missing, "properties.ipSecConfiguration.sharedSecret"),
            (CONNECTION, ipsec("sharedSecret", json!(12345)), Invalid, "properties.ipSecConfiguration.sharedSecret"),
            (
                CONNECTION,
                ipsec("authenticationMethod", json!(null)),
                Missing,
                "properties.ipSecConfiguration.authenticationMethod",
            ),
            (
                CONNECTION,
                ipsec("authenticationMethod", json!("EAP")),
                Invalid,
                "properties.ipSecConfiguration.authenticationMethod",
            ),
            (
                CONNECTION,
                ipsec("mainMode", json!({ "diffieHellmanGroup": "Group3" })),
                Invalid,
                "properties.ipSecConfiguration.mainMode.diffieHellmanGroup",
            ),
            (
                CONNECTION,
                ipsec("mainMode", json!({ "encryptionAlgorithm": "ROT13" })),
                Invalid,
                "properties.ipSecConfiguration.mainMode.encryptionAlgorithm",
            ),
            (
                CONNECTION,
                ipsec("quickMode", json!({ "perfectForwardSecrecy": "PFS3" })),
                Invalid,
                "properties.ipSecConfiguration.quickMode.perfectForwardSecrecy",
            ),
            (
                CONNECTION,
                ipsec("quickMode", json!({ "cipherTransformationConstant": "AES" })),
                Invalid,
                "properties.ipSecConfiguration.quickMode.cipherTransformationConstant",
            ),
            (
                CONNECTION,
                ipsec("quickMode", json!({ "authenticationTransformationConstant": "SHA" })),
                Invalid,
                "properties.ipSecConfiguration.quickMode.authenticationTransformationConstant",
            ),
            (
                CONNECTION,
                ipsec("localVpnTrafficSelector", selector),
                Invalid,
                "properties.ipSecConfiguration.localVpnTrafficSelector[0].ipAddressEnd",
            ),
            (
                CONNECTION,
                ipsec("localVpnTrafficSelector", ports),
                Invalid,
                "properties.ipSecConfiguration.localVpnTrafficSelector[0].portEnd",
            ),
            (
                CONNECTION,
                ipsec("remoteVpnTrafficSelector", family),
                Invalid,
                "properties.ipSecConfiguration.remoteVpnTrafficSelector[0].type",
            ),
            (
                CONNECTION,
                with(an_ipsec(), "greConfiguration", json!({ "greKey": "1" })),
                Invalid,
                "properties.greConfiguration",
            ),
            (
                CONNECTION,
                with(a_gre(), "l3Configuration", an_l3()["l3Configuration"].clone()),
                Invalid,
                "properties.l3Configuration",
            ),
            (
                CONNECTION,
                with(an_l3(), "destinationIPAddress", json!("198.51.100.1")),
                Invalid,
                "properties.destinationIPAddress",
            ),
            (CONNECTION, with(an_l3(), "l3Configuration", json!({})), Missing, "properties.l3Configuration.vlanSubnet"),
            (CONNECTION, with(an_l3(), "ipAddresses", json!([])), Missing, "properties.ipAddresses"),
            (
                CONNECTION,
                with(an_l3(), "ipAddresses", json!([{ "ipAddress": "31.1.1.4" }])),
                Missing,
                "properties.ipAddresses[0].prefixLength",
            ),
            (
                CONNECTION,
                with(an_l3(), "ipAddresses", json!([{ "ipAddress": "31.1.1.4", "prefixLength": 33 }])),
                Invalid,
                "properties.ipAddresses[0].prefixLength",
            ),
        ],
    );
    // What a secret is, is told nowhere.
    let error = world.refused(CONNECTION, ipsec("sharedSecret", json!(["hunter2"])));
    assert!(!format!("{error:?} {error} {}", error.body()).contains("hunter2"));
}

#[test]
fn autonomous_systems_are_numbers_that_a_speaker_may_have() {
    let mut world = tenant();
    let router = |asn: Value| json!({ "extAsNumber": asn });
    for (given, kept) in [
        (json!("65001"), "0.65001"),
        (json!(65001), "0.65001"),
        (json!("1.10"), "1.10"),
        (json!("65546"), "1.10"),
        (json!(4_200_000_000_u32), "64086.59904"),
    ] {
        world.put_properties("/virtualGateways/VG/bgpRouters/r", router(given));
        assert_eq!(world.get("/virtualGateways/VG/bgpRouters/r")["properties"]["extAsNumber"], kept);
    }
    for wrong in [
        json!(0),
        json!("0.0"),
        json!(23456),
        json!(65535),
        json!("65535.65535"),
        json!("1.65536"),
        json!("1.2.3"),
        json!("AS1"),
        json!(4_294_967_296_u64),
        json!(-1),
        json!([]),
    ] {
        let error = world.refused("/virtualGateways/VG/bgpRouters/r", router(wrong.clone()));
        assert_eq!(
            (error.code, error.target.as_deref()),
            (Code::InvalidParameterValue, Some("properties.extAsNumber")),
            "{wrong}"
        );
    }
    let peer = |properties: Value| with(properties, "peerIpAddress", json!("40.0.0.1"));
    all_refused(
        &mut world,
        [
            (
                "/virtualGateways/VG/bgpRouters/r/bgpPeers/p",
                peer(json!({})),
                Code::RequiredPropertyMissing,
                "properties.extAsNumber",
            ),
            (
                "/virtualGateways/VG/bgpRouters/r/bgpPeers/p",
                peer(json!({ "asNumber": 1, "extAsNumber": "0.2" })),
                Code::InvalidParameterValue,
                "properties.asNumber",
            ),
            (
                "/virtualGateways/VG/bgpRouters/r",
                json!({ "extAsNumber": 1, "routerId": "fd00::1" }),
                Code::InvalidParameterValue,
                "properties.routerId",
            ),
        ],
    );
}

#[test]
fn the_rack_s_routers_of_a_gateway_make_sense() {
    const PATH: &str = "/gateways/CloudGw9";
    let mut world = tenant();
    let gateway = |config: Value| with(json!({ "pool": reference("/gatewayPools/default") }), "bgpConfig", config);
    let peer = |address: &str| json!({ "peerIP": address, "peerExtAsNumber": "1.10" });
    let config = |peers: Value| json!({ "extASNumber": 65546, "bgpPeer": peers });
    all_refused(
        &mut world,
        [
            (
                PATH,
                gateway(json!({ "bgpPeer": [peer("11.0.1.1")] })),
                Code::RequiredPropertyMissing,
                "properties.bgpConfig.extASNumber",
            ),
            (
                PATH,
                gateway(config(json!([peer("11.0.1.1"), peer("11.0.1.1")]))),
                Code::InvalidParameterValue,
                "properties.bgpConfig.bgpPeer[1].peerIP",
            ),
            (
                PATH,
                gateway(config(json!([peer("224.0.0.1")]))),
                Code::InvalidParameterValue,
                "properties.bgpConfig.bgpPeer[0].peerIP",
            ),
            (
                PATH,
                gateway(config(json!([{ "peerIP": "11.0.1.1" }]))),
                Code::RequiredPropertyMissing,
                "properties.bgpConfig.bgpPeer[0].peerExtAsNumber",
            ),
            (
                PATH,
                gateway(json!({ "extASNumber": "0.0" })),
                Code::InvalidParameterValue,
                "properties.bgpConfig.extASNumber",
            ),
        ],
    );
    world.put_properties(PATH, gateway(config(json!([peer("11.0.1.1"), peer("fd00::1")]))));
    let kept = &world.get(PATH)["properties"]["bgpConfig"];
    assert_eq!((&kept["extASNumber"], &kept["bgpPeer"][1]["peerExtAsNumber"]), (&json!("1.10"), &json!("1.10")));
}

#[test]
fn every_kind_of_match_and_set_is_checked() {
    const PATH: &str = "/virtualGateways/VG/policyMaps/M";
    let mut world = tenant();
    let entry = |matches: Value, sets: Value| json!({ "policyMapEntryList": [{ "action": "ModifyAttribute", "matchCriteria": matches, "setActions": sets }] });
    let good = entry(
        json!([
            { "property": "MatchPrefix", "value": ["10.0.0.0/8", "fd00::/8"] }, { "property": "IgnorePrefix", "value": ["10.1.0.0/16"] },
            { "property": "NextHop", "value": ["10.0.0.1"] }, { "property": "AsnRange", "value": ["123", "345"] }, { "property": "Community", "value": ["1:1", "no-export"] },
        ]),
        json!([
            { "property": "As-Path", "value": "65001 65001" }, { "property": "Add-Community", "value": ["1:2"] }, { "property": "Remove-Community", "value": "1:3" },
            { "property": "Remove-All-Community" }, { "property": "MED", "value": 10 }, { "property": "Weight", "value": "5" },
            { "property": "Local-Pref", "value": "200" }, { "property": "Next-Hop", "value": "10.0.0.9" },
        ]),
    );
    world.put_properties(PATH, good);
    world.put_properties(PATH, entry(json!([]), json!([{ "property": "Clear-MED" }])));
    for (property, value) in [
        ("MatchPrefix", json!(["10.0.0.1/8"])),
        ("IgnorePrefix", json!([])),
        ("NextHop", json!(["x"])),
        ("AsnRange", json!(["9", "3"])),
        ("AsnRange", json!(["1", "2", "3"])),
        ("Community", json!(["70000:1"])),
    ] {
        let error = world.refused(
            PATH,
            entry(json!([{ "property": property, "value": value }]), json!([{ "property": "MED", "value": 1 }])),
        );
        assert_eq!(
            error.target.as_deref(),
            Some("properties.policyMapEntryList[0].matchCriteria[0].value"),
            "{property}"
        );
    }
    for (property, value) in [
        ("As-Path", json!([])),
        ("As-Path", json!("0")),
        ("Add-Community", json!("x")),
        ("MED", json!("many")),
        ("Weight", json!(["1", "2"])),
        ("Next-Hop", json!(null)),
        ("Clear-MED", json!("1")),
    ] {
        let error = world.refused(PATH, entry(json!([]), json!([{ "property": property, "value": value }])));
        assert_eq!(error.target.as_deref(), Some("properties.policyMapEntryList[0].setActions[0].value"), "{property}");
    }
    let error = world.refused(PATH, entry(json!([]), json!([])));
    assert_eq!(error.target.as_deref(), Some("properties.policyMapEntryList[0].setActions"));
    let error = world.refused(
        PATH,
        json!({ "policyMapEntryList": [{ "matchCriteria": [{ "property": "Colour", "value": "red" }] }] }),
    );
    assert_eq!(error.target.as_deref(), Some("properties.policyMapEntryList[0].matchCriteria[0].property"));
}
