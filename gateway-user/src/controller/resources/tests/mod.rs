//! The conformance table, row by row: each test is named by what it holds the interface to.

mod bad_input;
mod between_resources;
mod bodies;
mod conformance;
mod conventions;
mod document;
mod properties;
mod roles;

use super::tree::{Conditions, Put};
use super::{Change, Error, Forest, Path, Principal, Seal, Stamp, View};
use serde_json::{Value, json};
use std::sync::Arc;

/// Seals visibly: what was sealed can be told in a stored text, and the secret itself cannot.
pub(super) struct Sealer;

impl Seal for Sealer {
    fn seal(&self, place: &str, secret: &str) -> String {
        format!("sealed {} bytes for {place}", secret.len())
    }
}

/// A forest with somebody who writes to it.
pub(super) struct World {
    pub forest: Forest,
    pub principal: Principal,
    stamp: u128,
}

impl World {
    pub fn new() -> Self {
        Self { forest: Forest::default(), principal: Principal::admin("operator"), stamp: 1 }
    }

    /// What SDN Express creates before the first tenant, and a tenant's network: everything that the bodies under test refer to.
    pub fn furnished() -> Self {
        let mut world = Self::new();
        for (path, properties) in furniture() {
            world.put(path, json!({ "properties": properties }));
        }
        world
    }

    pub fn stamp(&mut self) -> Stamp {
        self.stamp += 1;
        Stamp(self.stamp << 64 | self.stamp)
    }

    pub fn try_put_if(&mut self, path: &str, body: &Value, conditions: &Conditions) -> Result<Change, Error> {
        let stamp = self.stamp();
        let path = Path::parse(path)?;
        let put = Put { path: &path, body, conditions, principal: &self.principal, stamp, seal: &Sealer };
        let change = self.forest.put(&put)?;
        assert!(self.forest.is_current(&change), "a change is one of the forest that it was made of");
        self.forest.apply(&change);
        self.check_indexes();
        Ok(change)
    }

    pub fn try_put(&mut self, path: &str, body: Value) -> Result<Change, Error> {
        self.try_put_if(path, &body, &Conditions::default())
    }

    pub fn put(&mut self, path: &str, body: Value) -> Change {
        self.try_put(path, body).unwrap_or_else(|error| panic!("PUT {path}: {}", error.body()))
    }

    pub fn put_properties(&mut self, path: &str, properties: Value) -> Change {
        self.put(path, json!({ "properties": properties }))
    }

    pub fn refused(&mut self, path: &str, properties: Value) -> Error {
        let before = self.stored();
        let error = match self.try_put(path, json!({ "properties": properties })) {
            Err(error) => error,
            Ok(change) => panic!("PUT {path} was taken: {:?}", change.new),
        };
        assert_eq!(self.stored(), before, "nothing is half applied");
        error
    }

    pub fn try_delete(&mut self, path: &str, conditions: &Conditions) -> Result<Option<Change>, Error> {
        let stamp = self.stamp();
        let change = self.forest.delete(&Path::parse(path)?, conditions, &self.principal, stamp)?;
        if let Some(change) = &change {
            self.forest.apply(change);
            self.check_indexes();
        }
        Ok(change)
    }

    pub fn get(&self, path: &str) -> Value {
        self.try_get(path).unwrap_or_else(|error| panic!("GET {path}: {}", error.body()))
    }

    pub fn try_get(&self, path: &str) -> Result<Value, Error> {
        let view = View { principal: &self.principal, observed: &() };
        self.forest.get(&Path::parse(path)?, &view).map(|(value, _)| value)
    }

    pub fn etag(&self, path: &str) -> String {
        self.get(path)["etag"].as_str().expect("an ETag").to_owned()
    }

    /// The store's content.
    pub fn stored(&self) -> Vec<(String, String)> {
        let kinds = super::Kind::all().filter(|kind| kind.info().parent.is_none());
        let trees = kinds.flat_map(|kind| {
            self.forest.trees(kind).map(move |(id, text)| (Path::root(kind, id.clone()).store_key(), text.to_string()))
        });
        trees.collect()
    }

    /// Indexes that grew change by change equal those of a forest that is read from the store.
    fn check_indexes(&self) {
        let stored: Vec<_> = self.stored().into_iter().map(|(key, text)| (key, Arc::from(text))).collect();
        let read = Forest::load(stored.iter().map(|(key, text)| (key.as_str(), text))).expect("readable");
        assert_eq!(format!("{:?}", read.claims()), format!("{:?}", self.forest.claims()));
        assert_eq!(read.len(), self.forest.len());
    }
}

pub(super) fn reference(path: &str) -> Value {
    json!({ "resourceRef": path })
}

/// In SDN Express' order of creation.
pub(super) fn furniture() -> Vec<(&'static str, Value)> {
    let subnet = |id: &str, prefix: &str, more: Value| {
        let mut properties = json!({ "addressPrefix": prefix });
        for (name, value) in more.as_object().expect("an object") {
            properties[name] = value.clone();
        }
        json!({ "resourceId": id, "properties": properties })
    };
    let pool = |start: &str, end: &str| json!({ "ipPools": [{ "resourceId": "pool", "properties": { "startIpAddress": start, "endIpAddress": end } }] });
    vec![
        (
            "/credentials/NCHostUser",
            json!({ "type": "UsernamePassword", "userName": "nc", "value": "secret-of-the-host" }),
        ),
        (
            "/logicalNetworks/HNVPA",
            json!({ "networkVirtualizationEnabled": "true", "subnets": [subnet("10.10.56.0_23", "10.10.56.0/23", json!({ "vlanID": "11" }))] }),
        ),
        (
            "/logicalNetworks/00000000-2222-0000-9999-000000000000",
            json!({ "subnets": [subnet("00000000-2222-1111-9999-000000000003", "31.30.30.0/24", pool("31.30.30.1", "31.30.30.254"))] }),
        ),
        (
            "/logicalNetworks/LogicalNetwork_VG_1",
            json!({ "subnets": [
                subnet("LogicalNetwork_VG_1_Subnet_1", "31.1.1.0/24", json!({ "vlanID": 1001 })),
                subnet("LogicalNetwork_VG_1_Subnet_2", "31.1.2.0/24", json!({ "vlanID": 1002 })),
            ] }),
        ),
        (
            "/logicalNetworks/PublicVIP",
            json!({ "subnets": [{ "resourceId": "41.40.40.0_27", "properties": {
                "addressPrefix": "41.40.40.0/27", "isPublic": true,
                "ipPools": [{ "resourceId": "41.40.40.0_27", "properties": { "startIpAddress": "41.40.40.1", "endIpAddress": "41.40.40.31" } }],
            } }] }),
        ),
        (
            "/logicalNetworks/Transit",
            json!({ "subnets": [subnet("27.1.1.0_24", "27.1.1.0/24", json!({ "vlanID": 10 }))] }),
        ),
        (
            "/macPools/DefaultMacPool",
            json!({ "startMacAddress": "00-1D-D8-B7-1C-00", "endMacAddress": "00-1D-D8-F4-1F-FF" }),
        ),
        (
            "/loadBalancerManager/config",
            json!({
                "loadBalancerManagerIPAddress": "41.40.40.1",
                "outboundNatIPExemptions": ["41.40.40.1/32"],
                "vipIpPools": [reference("/logicalNetworks/PublicVIP/subnets/41.40.40.0_27/ipPools/41.40.40.0_27")],
            }),
        ),
        (
            "/publicIPAddresses/00000000-5555-0000-0001-000000000000",
            json!({ "publicIPAllocationMethod": "Dynamic", "idleTimeoutInMinutes": 4 }),
        ),
        (
            "/servers/HOST1",
            json!({ "failureDomain": { "rack": "r1" }, "connections": [{
            "managementAddresses": ["host1.example.com"], "credential": reference("/credentials/NCHostUser"), "credentialType": "UsernamePassword",
        }] }),
        ),
        (
            "/virtualServers/CloudGw1",
            json!({ "vmGuid": "36d7f3b5-6f0a-4a62-8e4a-a3c4f2a5d0b4", "server": reference("/servers/HOST1") }),
        ),
        (
            "/networkInterfaces/00000000-3333-0000-0000-000000000001",
            json!({ "privateMacAddress": "001DD8B71C00", "privateMacAllocationMethod": "Static" }),
        ),
        (
            "/networkInterfaces/00000000-3333-0000-1111-000000000001",
            json!({
                "privateMacAddress": "001DD8B71C01", "privateMacAllocationMethod": "Static",
                "ipConfigurations": [{ "resourceId": "FrontEnd", "properties": {
                    "privateIPAddress": "27.1.1.15", "privateIPAllocationMethod": "Static",
                    "subnet": reference("/logicalNetworks/Transit/subnets/27.1.1.0_24"),
                } }],
            }),
        ),
        (
            "/virtualNetworks/00000000-1111-0000-0001-000000000000",
            json!({
                "addressSpace": { "addressPrefixes": ["10.2.0.0/16"] },
                "logicalNetwork": reference("/logicalNetworks/HNVPA"),
                "subnets": [
                    { "resourceId": "00000000-1111-1111-0001-000000000001", "properties": { "addressPrefix": "10.2.11.0/29" } },
                    { "resourceId": "web", "properties": { "addressPrefix": "10.2.1.0/24" } },
                ],
            }),
        ),
    ]
}

/// The pool of the reference, and a second one that a tenant may use beside others.
pub(super) fn pools(world: &mut World) {
    world.put_properties(
        "/gatewayPools/default",
        json!({
            "ipConfiguration": {
                "greVipSubnets": [reference("/logicalNetworks/00000000-2222-0000-9999-000000000000/Subnets/00000000-2222-1111-9999-000000000003")],
                "publicIPAddresses": [reference("/publicIPAddresses/00000000-5555-0000-0001-000000000000")],
            },
            "redundantGatewayCount": 0, "gatewayCapacityKiloBitsPerSecond": 104_857_600, "type": "All",
        }),
    );
    world.put_properties(
        "/gatewayPools/l3",
        json!({ "redundantGatewayCount": "1", "gatewayCapacityKiloBitsPerSecond": 1_000_000, "type": "Forwarding" }),
    );
    world.put_properties(
        "/gatewayPools/ipsec",
        json!({ "redundantGatewayCount": 1, "gatewayCapacityKiloBitsPerSecond": 1_000_000, "type": "S2sIpSec" }),
    );
}

/// A tenant's gateway without connections.
pub(super) fn empty_virtual_gateway() -> Value {
    json!({
        "routingType": "Dynamic",
        "gatewayPools": [reference("/gatewayPools/default")],
        "gatewaySubnets": [reference("/virtualNetworks/00000000-1111-0000-0001-000000000000/subnets/00000000-1111-1111-0001-000000000001")],
    })
}

/// A world with a tenant's gateway, `VG`.
pub(super) fn tenant() -> World {
    let mut world = World::furnished();
    pools(&mut world);
    world.put_properties("/virtualGateways/VG", empty_virtual_gateway());
    world
}

pub(super) fn gre(destination: &str, key: Value) -> Value {
    json!({
        "connectionType": "GRE", "outboundKiloBitsPerSecond": 1000, "inboundKiloBitsPerSecond": 1000,
        "greConfiguration": { "greKey": key }, "destinationIPAddress": destination,
        "routes": [{ "destinationPrefix": "50.1.2.0/24", "nextHop": "0.0.0.0", "metric": 10, "protocol": "Static" }],
    })
}

pub(super) fn l3(subnet: &str, address: &str) -> Value {
    json!({
        "connectionType": "L3", "outboundKiloBitsPerSecond": 1000, "inboundKiloBitsPerSecond": 1000,
        "l3Configuration": { "vlanSubnet": reference(subnet) },
        "ipAddresses": [{ "ipAddress": address, "prefixLength": 24 }],
    })
}
