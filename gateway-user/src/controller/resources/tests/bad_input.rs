//! Each bad input: its status, its code, where it is.

use super::{World, empty_virtual_gateway, gre, l3, pools, reference, tenant};
use crate::controller::resources::{Code, Conditions, MAX_BODY, parse_body};
use serde_json::{Value, json};

const CONNECTION: &str = "/virtualGateways/VG/networkConnections/c";

/// A body, what is wrong with it, and where.
type Row = (&'static str, Value, Code, &'static str);

fn all_refused(world: &mut World, rows: impl IntoIterator<Item = Row>) {
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
fn with(mut base: Value, property: &str, value: Value) -> Value {
    base[property] = value;
    base
}

fn a_gre() -> Value {
    gre("198.51.100.1", json!("7"))
}

fn an_l3() -> Value {
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
fn addresses_have_to_be_in_their_networks() {
    use Code::{AddressOutsideNetwork as Outside, InvalidParameterValue as Invalid, OverlappingSubnets as Overlap};
    let mut world = tenant();
    let network =
        |space: Value, subnets: Value| json!({ "addressSpace": { "addressPrefixes": space }, "subnets": subnets });
    let subnet = |id: &str, prefix: &str| json!({ "resourceId": id, "properties": { "addressPrefix": prefix } });
    let logical = |properties: Value| json!({ "subnets": [{ "resourceId": "s", "properties": properties }] });
    let pool = |id: &str, start: &str, end: &str| json!({ "resourceId": id, "properties": { "startIpAddress": start, "endIpAddress": end } });
    let nic = |address: &str| {
        json!({ "privateMacAddress": "02-00-00-00-00-01", "ipConfigurations": [{ "resourceId": "c", "properties": {
        "privateIPAddress": address, "subnet": reference("/virtualNetworks/00000000-1111-0000-0001-000000000000/subnets/web") } }] })
    };
    let at = "properties.ipConfigurations[0].properties.privateIPAddress";
    all_refused(
        &mut world,
        [
            (
                "/virtualNetworks/n",
                network(json!(["10.0.0.0/16"]), json!([subnet("a", "10.1.0.0/24")])),
                Outside,
                "properties.subnets[0].properties.addressPrefix",
            ),
            (
                "/virtualNetworks/n",
                network(json!(["10.0.0.0/16"]), json!([subnet("a", "10.0.0.0/24"), subnet("b", "10.0.0.128/25")])),
                Overlap,
                "properties.subnets[1].properties.addressPrefix",
            ),
            (
                "/virtualNetworks/n",
                network(json!(["10.0.0.0/16"]), json!([subnet("a", "10.0.0.128/25"), subnet("b", "10.0.0.0/24")])),
                Overlap,
                "properties.subnets[1].properties.addressPrefix",
            ),
            (
                "/virtualNetworks/n",
                network(json!(["10.0.0.0/16", "10.0.1.0/24"]), json!([])),
                Overlap,
                "properties.addressSpace.addressPrefixes[1]",
            ),
            ("/virtualNetworks/n", network(json!([]), json!([])), Invalid, "properties.addressSpace.addressPrefixes"),
            (
                "/virtualNetworks/n",
                network(json!(["10.0.0.0/16"]), json!([subnet("a", "10.0.0.0/24"), subnet("A", "10.0.1.0/24")])),
                Invalid,
                "properties.subnets[1].resourceId",
            ),
            ("/virtualNetworks/n", json!({}), Code::RequiredPropertyMissing, "properties.addressSpace"),
            (
                "/logicalNetworks/n",
                logical(json!({ "addressPrefix": "10.0.0.0/24", "vlanID": 4095 })),
                Invalid,
                "properties.subnets[0].properties.vlanID",
            ),
            (
                "/logicalNetworks/n",
                logical(json!({ "addressPrefix": "10.0.0.0/24", "ipPools": [pool("p", "10.0.1.1", "10.0.1.9")] })),
                Outside,
                "properties.subnets[0].properties.ipPools[0].properties.startIpAddress",
            ),
            (
                "/logicalNetworks/n",
                logical(json!({ "addressPrefix": "10.0.0.0/24", "ipPools": [pool("p", "10.0.0.9", "10.0.0.1")] })),
                Invalid,
                "properties.subnets[0].properties.ipPools[0].properties.endIpAddress",
            ),
            (
                "/logicalNetworks/n",
                logical(
                    json!({ "addressPrefix": "10.0.0.0/24", "ipPools": [pool("p", "10.0.0.1", "10.0.0.9"), pool("q", "10.0.0.9", "10.0.0.10")] }),
                ),
                Overlap,
                "properties.subnets[0].properties.ipPools[1].properties.startIpAddress",
            ),
            (
                "/logicalNetworks/n",
                logical(json!({ "addressPrefix": "10.0.0.0/24", "defaultGateways": ["10.0.1.1"] })),
                Outside,
                "properties.subnets[0].properties.defaultGateways[0]",
            ),
            ("/networkInterfaces/n", nic("10.2.2.5"), Outside, at),
            ("/networkInterfaces/n", nic("10.2.1.0"), Invalid, at),
            ("/networkInterfaces/n", nic("10.2.1.1"), Invalid, at),
            ("/networkInterfaces/n", nic("10.2.1.255"), Invalid, at),
            (
                CONNECTION,
                l3("/logicalNetworks/LogicalNetwork_VG_1/subnets/LogicalNetwork_VG_1_Subnet_1", "31.1.9.4"),
                Outside,
                "properties.ipAddresses[0].ipAddress",
            ),
            (
                CONNECTION,
                with(an_l3(), "peerIPAddresses", json!(["31.1.2.5"])),
                Outside,
                "properties.peerIPAddresses[0]",
            ),
            (
                CONNECTION,
                with(an_l3(), "peerIPAddresses", json!(["31.1.1.4"])),
                Invalid,
                "properties.peerIPAddresses[0]",
            ),
            (
                CONNECTION,
                with(an_l3(), "routes", json!([{ "destinationPrefix": "9.0.0.0/8", "nextHop": "31.1.2.5" }])),
                Outside,
                "properties.routes[0].nextHop",
            ),
            (
                "/loadBalancerManager/config",
                json!({ "loadBalancerManagerIPAddress": "41.40.40.1" }),
                Outside,
                "properties.loadBalancerManagerIPAddress",
            ),
            (
                "/macPools/m",
                json!({ "startMacAddress": "02-00-00-00-00-09", "endMacAddress": "02-00-00-00-00-01" }),
                Invalid,
                "properties.endMacAddress",
            ),
            (
                "/publicIPAddresses/p",
                json!({ "publicIPAllocationMethod": "Static" }),
                Code::RequiredPropertyMissing,
                "properties.ipAddress",
            ),
            (
                "/publicIPAddresses/p",
                json!({ "ipAddress": "203.0.113.1", "idleTimeoutInMinutes": 31 }),
                Invalid,
                "properties.idleTimeoutInMinutes",
            ),
            (
                "/publicIPAddresses/p",
                json!({ "ipAddress": "203.0.113.1", "publicIPAddressVersion": "IPv6" }),
                Invalid,
                "properties.publicIPAddressVersion",
            ),
        ],
    );
}

#[test]
fn what_only_one_may_have_is_given_once() {
    let mut world = tenant();
    let web = reference("/virtualNetworks/00000000-1111-0000-0001-000000000000/subnets/web");
    let nic = |mac: &str, address: &str| {
        json!({ "privateMacAddress": mac, "server": reference("/servers/HOST1"), "deviceName": format!("tap{}", &mac[16..]),
        "ipConfigurations": [{ "resourceId": "c", "properties": { "privateIPAddress": address, "subnet": web } }] })
    };
    world.put_properties("/networkInterfaces/vm1", nic("02-00-00-00-00-01", "10.2.1.5"));
    world.put_properties(CONNECTION, an_l3());
    world.put_properties("/publicIPAddresses/p", json!({ "ipAddress": "203.0.113.1" }));
    world.put_properties("/virtualServers/other", json!({}));
    world.put_properties(
        "/gateways/GW1",
        json!({ "pool": reference("/gatewayPools/default"), "virtualServer": reference("/virtualServers/CloudGw1") }),
    );
    let mut same_device = nic("02-00-00-00-00-03", "10.2.1.7");
    same_device["deviceName"] = json!("tap1");
    all_refused(
        &mut world,
        [
            (
                "/networkInterfaces/vm2",
                nic("02:00:00:00:00:01", "10.2.1.6"),
                Code::ResourceInUse,
                "properties.deviceName",
            ),
            (
                "/networkInterfaces/vm2",
                with(nic("02:00:00:00:00:01", "10.2.1.6"), "deviceName", json!("tap9")),
                Code::DuplicateMacAddress,
                "properties.privateMacAddress",
            ),
            (
                "/networkInterfaces/vm2",
                nic("02-00-00-00-00-02", "10.2.1.5"),
                Code::DuplicateIPAddress,
                "properties.ipConfigurations[0].properties.privateIPAddress",
            ),
            ("/networkInterfaces/vm2", same_device, Code::ResourceInUse, "properties.deviceName"),
            (
                "/virtualGateways/Second",
                empty_virtual_gateway(),
                Code::MultipleGatwaysUseSameVnet,
                "properties.gatewaySubnets",
            ),
            (
                "/virtualGateways/VG/networkConnections/d",
                an_l3(),
                Code::DuplicateVlan,
                "properties.l3Configuration.vlanSubnet",
            ),
            (
                "/publicIPAddresses/q",
                json!({ "ipAddress": "203.0.113.1" }),
                Code::PublicIPAddressInUse,
                "properties.ipAddress",
            ),
            (
                "/gateways/GW2",
                json!({ "pool": reference("/gatewayPools/default"), "virtualServer": reference("/virtualServers/CloudGw1") }),
                Code::ResourceInUse,
                "properties.virtualServer",
            ),
        ],
    );
    // What is given back is free again.
    world.put_properties("/networkInterfaces/vm1", nic("02-00-00-00-00-01", "10.2.1.9"));
    world.put_properties("/networkInterfaces/vm2", nic("02-00-00-00-00-02", "10.2.1.5"));
    world.try_delete(CONNECTION, &Conditions::default()).expect("deleted");
    world.put_properties("/virtualGateways/VG/networkConnections/d", an_l3());
}

#[test]
fn the_fabrics_own_vlan_is_no_tenants() {
    let mut world = tenant();
    world.put_properties(
        "/logicalNetworks/L",
        json!({ "subnets": [{ "resourceId": "s", "properties": { "addressPrefix": "31.7.0.0/24", "vlanID": 11 } }] }),
    );
    let error = world.refused(CONNECTION, l3("/logicalNetworks/L/subnets/s", "31.7.0.4"));
    assert_eq!(
        (error.code, error.target.as_deref()),
        (Code::DuplicateVlan, Some("properties.l3Configuration.vlanSubnet"))
    );
}

#[test]
fn references_have_to_lead_somewhere() {
    use Code::{InvalidResourceReference as Wrong, ReferencedResourceNotFound as NotFound};
    let mut world = tenant();
    world.put_properties("/virtualNetworks/Other", json!({ "addressSpace": { "addressPrefixes": ["10.2.0.0/16"] }, "subnets": [{ "resourceId": "s", "properties": { "addressPrefix": "10.2.0.0/24" } }] }));
    world.put_properties("/virtualGateways/Other", json!({ "gatewaySubnets": [reference("/virtualNetworks/Other/subnets/s")], "policyMaps": [{ "resourceId": "M", "properties": { "policyMapEntryList": [] } }] }));
    world.put_properties("/virtualGateways/VG/bgpRouters/r", json!({ "extAsNumber": "65001" }));
    let vgw = |name: &str, value: Value| with(empty_virtual_gateway(), name, value);
    let peer = |map: &str| json!({ "peerIpAddress": "40.0.0.1", "extAsNumber": 65002, "policyMapIn": reference(map) });
    let both = json!([
        reference("/virtualNetworks/Other/subnets/s"),
        reference("/virtualNetworks/00000000-1111-0000-0001-000000000000/subnets/web"),
    ]);
    let interfaces = |external: &str, internal: &str| {
        json!({ "pool": reference("/gatewayPools/default"), "networkInterfaces": {
        "externalNetworkInterface": reference(external), "internalNetworkInterface": reference(internal) } })
    };
    let (with_address, without) = (
        "/networkInterfaces/00000000-3333-0000-1111-000000000001",
        "/networkInterfaces/00000000-3333-0000-0000-000000000001",
    );
    all_refused(
        &mut world,
        [
            (
                "/virtualGateways/VG",
                vgw("gatewayPools", json!([reference("/gatewayPools/none")])),
                NotFound,
                "properties.gatewayPools[0]",
            ),
            (
                "/virtualGateways/VG",
                vgw("gatewayPools", json!([reference("/gateways/GW1")])),
                Wrong,
                "properties.gatewayPools[0]",
            ),
            (
                "/virtualGateways/VG",
                vgw("gatewayPools", json!([reference("nonsense")])),
                Wrong,
                "properties.gatewayPools[0]",
            ),
            (
                "/virtualGateways/VG",
                vgw("gatewayPools", json!(["/gatewayPools/default"])),
                Wrong,
                "properties.gatewayPools[0]",
            ),
            (
                "/virtualGateways/VG",
                vgw("gatewayPools", json!([{ "href": "/gatewayPools/default" }])),
                Wrong,
                "properties.gatewayPools[0]",
            ),
            (
                "/virtualGateways/VG",
                vgw("gatewayPools", json!([reference("/gatewayPools/l3"), reference("/gatewayPools/L3")])),
                Code::InvalidParameterValue,
                "properties.gatewayPools[1]",
            ),
            (
                "/virtualGateways/VG",
                vgw("gatewayPools", json!([reference("/gatewayPools/l3"), reference("/gatewayPools/default")])),
                Code::VirtualGatewayPoolsConflict,
                "properties.gatewayPools[1]",
            ),
            (
                "/virtualGateways/VG",
                vgw("gatewaySubnets", json!([])),
                Code::RequiredPropertyMissing,
                "properties.gatewaySubnets",
            ),
            (
                "/virtualGateways/VG",
                vgw("gatewaySubnets", json!(null)),
                Code::RequiredPropertyMissing,
                "properties.gatewaySubnets",
            ),
            (
                "/virtualGateways/VG",
                vgw("gatewaySubnets", both),
                Code::InvalidParameterValue,
                "properties.gatewaySubnets",
            ),
            (
                "/virtualGateways/VG",
                vgw("routingType", json!("Static")),
                Code::InvalidParameterValue,
                "properties.routingType",
            ),
            (
                CONNECTION,
                l3("/logicalNetworks/none/subnets/s", "31.1.1.4"),
                NotFound,
                "properties.l3Configuration.vlanSubnet",
            ),
            (
                CONNECTION,
                l3("/virtualNetworks/Other/subnets/s", "31.1.1.4"),
                Wrong,
                "properties.l3Configuration.vlanSubnet",
            ),
            (
                CONNECTION,
                l3("/logicalNetworks/PublicVIP/subnets/41.40.40.0_27", "41.40.40.4"),
                Wrong,
                "properties.l3Configuration.vlanSubnet",
            ),
            (
                "/virtualGateways/VG/bgpRouters/r/bgpPeers/p",
                peer("/virtualGateways/VG/policyMaps/none"),
                NotFound,
                "properties.policyMapIn",
            ),
            (
                "/virtualGateways/VG/bgpRouters/r/bgpPeers/p",
                peer("/virtualGateways/Other/policyMaps/M"),
                Wrong,
                "properties.policyMapIn",
            ),
            (
                "/virtualNetworks/x",
                json!({ "addressSpace": { "addressPrefixes": ["10.0.0.0/8"] }, "logicalNetwork": reference("/logicalNetworks/Transit") }),
                Wrong,
                "properties.logicalNetwork",
            ),
            (
                "/gateways/g",
                interfaces(without, without),
                Wrong,
                "properties.networkInterfaces.externalNetworkInterface",
            ),
            (
                "/gateways/g",
                interfaces(with_address, with_address),
                Wrong,
                "properties.networkInterfaces.internalNetworkInterface",
            ),
            ("/gateways/g", json!({}), Code::RequiredPropertyMissing, "properties.pool"),
            (
                "/gatewayPools/p",
                json!({ "type": "s2sGre", "redundantGatewayCount": 1, "gatewayCapacityKiloBitsPerSecond": 1 }),
                Code::RequiredPropertyMissing,
                "properties.ipConfiguration.greVipSubnets",
            ),
            (
                "/gatewayPools/p",
                json!({ "type": "forwarding", "redundantGatewayCount": -1, "gatewayCapacityKiloBitsPerSecond": 1 }),
                Code::InvalidParameterValue,
                "properties.redundantGatewayCount",
            ),
            (
                "/gatewayPools/p",
                json!({ "type": "forwarding", "redundantGatewayCount": 1, "gatewayCapacityKiloBitsPerSecond": 0 }),
                Code::InvalidParameterValue,
                "properties.gatewayCapacityKiloBitsPerSecond",
            ),
        ],
    );
    let error = world
        .try_put("/virtualGateways/None/networkConnections/c", json!({ "properties": a_gre() }))
        .expect_err("no parent");
    assert_eq!((error.status(), error.target.as_deref()), (404, Some("/virtualGateways/None")));
}

#[test]
fn what_is_in_use_stays_and_its_users_are_named() {
    let mut world = tenant();
    pools(&mut world);
    world.put_properties(CONNECTION, an_l3());
    world.put_properties("/gateways/GW1", json!({ "pool": reference("/gatewayPools/default") }));
    world.put_properties("/virtualGateways/VG/policyMaps/M", json!({ "policyMapEntryList": [] }));
    world.put_properties("/virtualGateways/VG/bgpRouters/r", json!({ "extAsNumber": "65001", "bgpPeers": [
        { "resourceId": "p", "properties": { "peerIpAddress": "40.0.0.1", "extAsNumber": 65002, "policyMapOut": reference("/virtualGateways/VG/policyMaps/M") } }] }));
    let subnet = "/logicalNetworks/LogicalNetwork_VG_1/subnets/LogicalNetwork_VG_1_Subnet_1";
    let vlan_user = "/virtualGateways/VG/networkConnections/c";
    for (path, users) in [
        ("/gatewayPools/default", vec!["/gateways/GW1", "/virtualGateways/VG"]),
        (subnet, vec![vlan_user]),
        ("/logicalNetworks/LogicalNetwork_VG_1", vec![vlan_user]),
        ("/virtualNetworks/00000000-1111-0000-0001-000000000000", vec!["/virtualGateways/VG"]),
        ("/virtualGateways/VG/policyMaps/m", vec!["/virtualGateways/VG/bgpRouters/r/bgpPeers/p"]),
        ("/credentials/NCHostUser", vec!["/servers/HOST1"]),
    ] {
        let before = world.stored();
        let error = world.try_delete(path, &Conditions::default()).expect_err(path);
        assert_eq!((error.status(), error.code), (409, Code::ResourceInUse), "{path}");
        for user in users {
            assert!(error.message.contains(user), "{path}: {error}");
        }
        assert_eq!(world.stored(), before);
    }
    // The same by a PUT that leaves out what is used, or changes what users rely on.
    let error = world.refused("/logicalNetworks/LogicalNetwork_VG_1", json!({ "subnets": [] }));
    assert_eq!(error.code, Code::ResourceInUse);
    all_refused(
        &mut world,
        [
            (
                subnet,
                json!({ "addressPrefix": "31.1.1.0/24", "vlanID": 1003 }),
                Code::ResourceInUse,
                "properties.vlanID",
            ),
            (
                subnet,
                json!({ "addressPrefix": "31.1.0.0/23", "vlanID": 1001 }),
                Code::ResourceInUse,
                "properties.addressPrefix",
            ),
            (
                "/gatewayPools/default",
                json!({ "type": "forwarding", "redundantGatewayCount": 1, "gatewayCapacityKiloBitsPerSecond": 1 }),
                Code::ResourceInUse,
                "properties.type",
            ),
            (CONNECTION, a_gre(), Code::PropertyImmutable, "properties.connectionType"),
        ],
    );
    // Users first, then what they used.
    for path in [
        "/virtualGateways/VG/bgpRouters/r/bgpPeers/p",
        "/virtualGateways/VG/policyMaps/M",
        "/virtualGateways/VG",
        "/gateways/GW1",
        "/gatewayPools/default",
        "/logicalNetworks/LogicalNetwork_VG_1",
        "/virtualNetworks/00000000-1111-0000-0001-000000000000",
    ] {
        assert!(world.try_delete(path, &Conditions::default()).expect(path).is_some(), "{path}");
    }
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
            { "property": "Remove-All-Community" }, { "property": "MED", "value": 10 }, { "property": "Clear-MED" }, { "property": "Weight", "value": "5" },
            { "property": "Local-Pref", "value": "200" }, { "property": "Next-Hop", "value": "10.0.0.9" },
        ]),
    );
    world.put_properties(PATH, good);
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
