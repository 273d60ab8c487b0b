//! What is wrong between resources: addresses outside their networks, what only one may have, references, what is in use.

use super::bad_input::{CONNECTION, a_gre, all_refused, an_l3, with};
use super::{World, empty_virtual_gateway, l3, pools, reference, tenant};
use crate::controller::resources::{Code, Conditions};
use serde_json::{Value, json};

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
    // Nor the other way round.
    world.put_properties(CONNECTION, an_l3());
    let fabric = json!({ "networkVirtualizationEnabled": true, "subnets": [
        { "resourceId": "s", "properties": { "addressPrefix": "10.20.0.0/24", "vlanID": 1001 } }] });
    let error = world.refused("/logicalNetworks/SecondFabric", fabric);
    assert_eq!(
        (error.code, error.target.as_deref()),
        (Code::DuplicateVlan, Some("properties.subnets[0].properties.vlanID"))
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
fn public_addresses_stay_in_the_pools_that_they_are_drawn_from() {
    let mut world = tenant();
    let (subnet, manager) = ("/logicalNetworks/PublicVIP/subnets/41.40.40.0_27", "/loadBalancerManager/config");
    let pool = format!("{subnet}/ipPools/41.40.40.0_27");
    let drawn = "/publicIPAddresses/drawn";
    let range = |start: &str, end: &str| json!({ "startIpAddress": start, "endIpAddress": end });
    // The first two are the manager's and the pool's shared one; what a client chose itself is nobody's draw.
    world.put_properties(drawn, json!({ "publicIPAllocationMethod": "Dynamic" }));
    assert_eq!(world.get(drawn)["properties"]["ipAddress"], "41.40.40.3");
    world.put_properties("/publicIPAddresses/chosen", json!({ "ipAddress": "41.40.40.9" }));
    world.put_properties(&pool, range("41.40.40.1", "41.40.40.5"));
    let refused = |world: &mut World, path: &str, properties: Value, user: &str, target: &str| {
        let error = world.refused(path, properties);
        assert_eq!((error.status(), error.code, error.target.as_deref()), (409, Code::ResourceInUse, Some(target)));
        assert!(error.message.contains(user), "{path}: {error}");
    };
    let private = with(world.get(subnet)["properties"].clone(), "isPublic", json!(false));
    refused(&mut world, &pool, range("41.40.40.4", "41.40.40.9"), drawn, "properties.startIpAddress");
    refused(&mut world, &pool, range("41.40.40.1", "41.40.40.2"), drawn, "properties.endIpAddress");
    refused(&mut world, &pool, range("41.40.40.2", "41.40.40.9"), manager, "properties.startIpAddress");
    refused(&mut world, subnet, private, drawn, "properties.isPublic");
    refused(&mut world, manager, json!({ "vipIpPools": [] }), drawn, "properties.vipIpPools");
    let error = world.try_delete(manager, &Conditions::default()).expect_err("the pools would be gone");
    assert_eq!((error.status(), error.code), (409, Code::ResourceInUse), "{error}");
    // In another pool is as good.
    world.put_properties(&format!("{subnet}/ipPools/upper"), range("41.40.40.10", "41.40.40.12"));
    let both = json!([reference(&pool), reference(&format!("{subnet}/ipPools/upper"))]);
    world.put_properties(manager, json!({ "loadBalancerManagerIPAddress": "41.40.40.10", "vipIpPools": both }));
    world.put_properties(&pool, range("41.40.40.2", "41.40.40.3"));
    // What nobody has is given up.
    world.try_delete(drawn, &Conditions::default()).expect("deleted");
    world.put_properties(&pool, range("41.40.40.2", "41.40.40.2"));
}

#[test]
fn a_link_has_one_subnet_of_each_ip_version_and_an_interface_is_on_one() {
    let mut world = tenant();
    let subnet = |id: &str, prefix: &str, with: Option<&str>| {
        let mut properties = json!({ "addressPrefix": prefix });
        if let Some(with) = with {
            properties["sameLinkAs"] = reference(&format!("/virtualNetworks/n/subnets/{with}"));
        }
        json!({ "resourceId": id, "properties": properties })
    };
    let network = |subnets: Value| json!({ "addressSpace": { "addressPrefixes": ["10.0.0.0/16", "fd00::/48"] }, "subnets": subnets });
    let (four, other) = (subnet("a4", "10.0.0.0/24", None), subnet("b4", "10.0.1.0/24", None));
    let six = subnet("a6", "fd00::/64", Some("A4"));
    let nic = |addresses: &[(&str, &str)]| {
        let configuration = |(position, (subnet, address)): (usize, &(&str, &str))| {
            let subnet = reference(&format!("/virtualNetworks/n/subnets/{subnet}"));
            json!({ "resourceId": format!("c{position}"), "properties": { "privateIPAddress": address, "subnet": subnet } })
        };
        let configurations: Vec<Value> = addresses.iter().enumerate().map(configuration).collect();
        json!({ "privateMacAddress": "02-00-00-00-00-01", "ipConfigurations": configurations })
    };
    let third = "properties.subnets[2].properties.sameLinkAs";
    all_refused(
        &mut world,
        [
            (
                "/virtualNetworks/n",
                network(json!([four, other, subnet("c4", "10.0.2.0/24", Some("a4"))])),
                Code::InvalidParameterValue,
                third,
            ),
            (
                "/virtualNetworks/n",
                network(json!([four, six, subnet("b6", "fd00:0:0:1::/64", Some("a4"))])),
                Code::InvalidParameterValue,
                third,
            ),
            (
                "/virtualNetworks/n",
                network(json!([four, six, subnet("c4", "10.0.2.0/24", Some("a6"))])),
                Code::InvalidParameterValue,
                third,
            ),
        ],
    );
    world.put_properties("/virtualNetworks/n", network(json!([four, other, six])));
    let second = "properties.ipConfigurations[1].properties.subnet";
    let apart = nic(&[("b4", "10.0.1.5"), ("a6", "fd00::5")]);
    all_refused(
        &mut world,
        [
            ("/networkInterfaces/n", apart, Code::InvalidParameterValue, second),
            (
                "/networkInterfaces/n",
                nic(&[("a4", "10.0.0.5"), ("b4", "10.0.1.5")]),
                Code::InvalidParameterValue,
                second,
            ),
            (
                "/virtualNetworks/n",
                network(json!([four, other, subnet("a6", "fd00::/64", Some("b4"))])),
                Code::PropertyImmutable,
                "properties.subnets[2].properties.sameLinkAs",
            ),
        ],
    );
    world.put_properties("/networkInterfaces/n", nic(&[("a4", "10.0.0.5"), ("a6", "fd00::5")]));
    let gone =
        world.try_delete("/virtualNetworks/n/subnets/a4", &Conditions::default()).expect_err("a6 is on its link");
    assert_eq!(gone.code, Code::ResourceInUse);
}

#[test]
fn a_gateway_s_types_are_those_of_its_pool_at_least() {
    let mut world = tenant();
    pools(&mut world);
    let gateway =
        |pool: &str, types: Value| json!({ "pool": reference(&format!("/gatewayPools/{pool}")), "types": types });
    all_refused(
        &mut world,
        [
            ("/gateways/GW1", gateway("default", json!(["s2sgre"])), Code::InvalidParameterValue, "properties.types"),
            ("/gateways/GW1", gateway("l3", json!(["s2sGre", "vpn"])), Code::InvalidParameterValue, "properties.types"),
        ],
    );
    world.put_properties("/gateways/GW1", gateway("default", json!(["Forwarding", "S2SIPsec", "s2sGre"])));
    world.put_properties("/gateways/GW2", gateway("l3", json!(["forwarding"])));
    world.put_properties("/gateways/GW3", gateway("ipsec", json!([])));
}
