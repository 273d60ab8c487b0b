//! Who may do what, and who sees what.

use super::{World, empty_virtual_gateway, gre, l3, pools, reference};
use crate::controller::resources::roles::{Method, Principal, Role};
use crate::controller::resources::{Code, Conditions, Location};
use serde_json::json;

fn location(path: &str) -> Location {
    Location::parse(path).expect("a path")
}

#[test]
fn roles_allow_what_they_say() {
    let admin = Principal::admin("a");
    let reader = Principal { name: "r".into(), role: Role::ReadOnly };
    let tenant = Principal::tenant("t", "blue");
    let rows = [
        ("/networking/v1/gateways/GW1", Method::Read, [true, true, true]),
        ("/networking/v1/gateways/GW1", Method::Write, [true, false, false]),
        ("/networking/v1/gateways/GW1", Method::Delete, [true, false, false]),
        ("/networking/v1/virtualGateways/V/networkConnections/C", Method::Write, [true, false, true]),
        ("/networking/v1/virtualNetworks/N", Method::Delete, [true, false, true]),
        ("/networking/v1/logicalNetworks/N/subnets/S", Method::Write, [true, false, false]),
        ("/networking/v1/virtualGateways", Method::Read, [true, true, true]),
        ("/networking/v1/monitoring/networkControllerStatistics", Method::Read, [true, true, false]),
        ("/networking/v1/internalResourceInstances", Method::Read, [true, true, true]),
        ("/networking/v1/internalResourceInstances/7", Method::Write, [true, false, false]),
        ("/networking/v3/auditingSettings/configuration", Method::Write, [true, false, false]),
        ("/networking/discovery", Method::Read, [true, true, true]),
    ];
    for (path, method, allowed) in rows {
        for (principal, allowed) in [&admin, &reader, &tenant].into_iter().zip(allowed) {
            let got = principal.may(method, &location(path));
            assert_eq!(got.is_ok(), allowed, "{principal:?} {method:?} {path}");
            assert!(got.err().is_none_or(|error| error.status() == 403));
        }
    }
}

/// A network of the tenant `blue`, one of the tenant `red`, and what the operator has.
fn two_tenants() -> World {
    let mut world = World::furnished();
    pools(&mut world);
    for tenant in ["blue", "red"] {
        world.principal = Principal::tenant(tenant, tenant);
        world.put_properties(
            &format!("/virtualNetworks/{tenant}"),
            json!({ "addressSpace": { "addressPrefixes": ["10.0.0.0/8"] }, "subnets": [{ "resourceId": "s", "properties": { "addressPrefix": "10.0.0.0/24" } }] }),
        );
    }
    world.principal = Principal::admin("operator");
    world
}

#[test]
fn a_tenant_sees_its_own_and_nothing_of_others() {
    let mut world = two_tenants();
    world.principal = Principal::tenant("blue", "blue");
    let own = world.get("/virtualNetworks/blue");
    assert_eq!(own["resourceMetadata"]["tenantId"], "blue", "what a tenant creates is its own");
    for hidden in ["/virtualNetworks/red", "/virtualNetworks/red/subnets/s", "/gatewayPools/default"] {
        let error = world.try_get(hidden).expect_err("hidden");
        assert_eq!((error.status(), error.message), (404, format!("there is no {hidden}")), "as if it did not exist");
    }
    assert!(world.try_delete("/virtualNetworks/red", &Conditions::default()).expect("204").is_none());
    let error = world.refused("/virtualNetworks/RED", json!({ "addressSpace": { "addressPrefixes": ["10.0.0.0/8"] } }));
    assert_eq!(error.code, Code::Forbidden);
    let error =
        world.refused("/virtualGateways/V", json!({ "gatewaySubnets": [reference("/virtualNetworks/red/subnets/s")] }));
    assert_eq!(error.code, Code::ReferencedResourceNotFound);
    let error = world
        .refused("/virtualGateways/V", json!({ "gatewaySubnets": [reference("/virtualNetworks/none/subnets/s")] }));
    assert_eq!(error.code, Code::ReferencedResourceNotFound, "the same words as for what does not exist");
}

#[test]
fn what_is_the_operators_stays_in_a_tenants_put() {
    let mut world = two_tenants();
    let body = json!({ "gatewaySubnets": [reference("/virtualNetworks/blue/subnets/s")] });
    world.put(
        "/virtualGateways/V",
        json!({ "resourceMetadata": { "tenantId": "blue" }, "properties": {
        "gatewaySubnets": body["gatewaySubnets"], "gatewayPools": [reference("/gatewayPools/l3")] } }),
    );
    world.put_properties("/virtualGateways/V", body.clone());
    assert_eq!(
        world.get("/virtualGateways/V")["resourceMetadata"]["tenantId"],
        "blue",
        "an operator that leaves it out takes nothing away"
    );
    world.principal = Principal::admin("operator");
    let mut with_pools = body.clone();
    with_pools["gatewayPools"] = json!([reference("/gatewayPools/l3")]);
    world.put_properties("/virtualGateways/V", with_pools);

    world.principal = Principal::tenant("blue", "blue");
    let mut other = body.clone();
    other["gatewayPools"] = json!([reference("/gatewayPools/default")]);
    let error = world.refused("/virtualGateways/V", other);
    assert_eq!((error.code, error.target.as_deref()), (Code::Forbidden, Some("properties.gatewayPools")));
    world.put_properties("/virtualGateways/V", body);
    assert_eq!(world.get("/virtualGateways/V")["properties"]["gatewayPools"], json!([reference("/gatewayPools/l3")]));
    world.put_properties("/virtualGateways/V/networkConnections/g", gre("198.51.100.1", json!("7")));
    let error = world
        .try_put("/virtualGateways/V", json!({ "resourceMetadata": { "tenantId": "red" } }))
        .expect_err("given away");
    assert_eq!((error.code, error.target.as_deref()), (Code::Forbidden, Some("resourceMetadata.tenantId")));
}

#[test]
fn a_refusal_names_no_other_tenant() {
    let mut world = two_tenants();
    let subnet = "/logicalNetworks/LogicalNetwork_VG_1/subnets/LogicalNetwork_VG_1_Subnet_1";
    world.put_properties(
        "/virtualGateways/RedGateway",
        json!({ "gatewaySubnets": [reference("/virtualNetworks/red/subnets/s")] }),
    );
    world.put_properties("/virtualGateways/RedGateway/networkConnections/RedLine", l3(subnet, "31.1.1.4"));
    let mut network = world.get("/logicalNetworks/LogicalNetwork_VG_1");
    network["resourceMetadata"] = json!({ "tenantId": "blue" });
    world.put("/logicalNetworks/LogicalNetwork_VG_1", network);

    world.put_properties("/virtualGateways/BlueGateway", empty_virtual_gateway());
    world.put(
        "/virtualGateways/BlueGateway",
        json!({ "resourceMetadata": { "tenantId": "blue" }, "properties": empty_virtual_gateway() }),
    );
    let error = world.refused("/virtualGateways/BlueGateway/networkConnections/b", l3(subnet, "31.1.1.9"));
    assert!(
        error.message.contains("/virtualGateways/RedGateway/networkConnections/RedLine"),
        "an operator reads who: {error}"
    );
    world.principal = Principal::tenant("blue", "blue");
    let error = world.refused("/virtualGateways/BlueGateway/networkConnections/b", l3(subnet, "31.1.1.9"));
    assert_eq!(error.code, Code::DuplicateVlan);
    assert!(
        error.message.contains("another tenant's resource") && !error.message.contains("Red"),
        "a tenant does not: {error}"
    );
}
