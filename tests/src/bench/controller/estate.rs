//! What operators and tenants have made: pools, gateways, hosts; of each tenant a network, a machine and two connections.

use gateway_user::agent::protocol::{Hello, PROTOCOL};
use gateway_user::controller::core;
use gateway_user::controller::model::Id;
use gateway_user::controller::model::records::{AgentId, Role};
use gateway_user::plan::{Dual, PortRole};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// How many gateways there are.
pub const GATEWAYS: usize = 1_000;
/// How many compute hosts there are.
pub const HOSTS: usize = 500;
const RACKS: usize = 25;
const VLAN_MAX: usize = 4094;
/// Every so many tenants one has an L3 connection beside its tunnel; the others have two tunnels.
const L3_EVERY: usize = 4;

/// A path below the version, and its body.
pub type Put = (String, Value);

/// What there is.
#[derive(Clone, Debug)]
pub struct Estate {
    pub pools: usize,
    pub tenants: usize,
    /// Of every tenant with an L3 connection, in their order: its VLAN and the racks that have it.
    vlans: Vec<(u16, [usize; 2])>,
}

impl Estate {
    pub fn new(pools: usize, tenants: usize) -> Self {
        let mut taken = vec![[false; VLAN_MAX + 1]; RACKS];
        let vlan = |number: usize| {
            let pool = number * L3_EVERY % pools;
            // Of the racks that the pool's gateways are in, two: one of them has an active gateway.
            let of_pool = GATEWAYS / pools;
            let turn = number * L3_EVERY / pools;
            let racks = [turn, turn + of_pool / 2].map(|place| rack(pool + place % of_pool * pools));
            // Each rack has 2,000 of them at most, so that some VLAN is free in both.
            let vlan = (2..=VLAN_MAX).find(|vlan| racks.iter().all(|rack| !taken[*rack][*vlan])).unwrap_or(VLAN_MAX);
            racks.iter().for_each(|rack| taken[*rack][vlan] = true);
            (vlan as u16, racks)
        };
        Self { pools, tenants, vlans: (0..tenants.div_ceil(L3_EVERY)).map(vlan).collect() }
    }

    /// What the operator makes before any tenant comes.
    pub fn fabric(&self) -> Vec<Put> {
        let mut puts = Vec::new();
        for pool in 0..self.pools {
            let bits: u32 = if self.pools == 1 { 16 } else { 12 };
            let first = 0x0a80_0000 + ((pool as u32) << bits);
            let address = |number: u32| Ipv4Addr::from_bits(first + number);
            let range = json!({ "startIpAddress": address(1), "endIpAddress": address((1 << bits) - 2) });
            let subnet = json!({
                "addressPrefix": format!("{}/{}", address(0), 32 - bits),
                "ipPools": [{ "resourceId": "vips", "properties": range }],
            });
            puts.push((
                format!("logicalNetworks/vips-{pool}"),
                json!({ "subnets": [{ "resourceId": "gre", "properties": subnet }] }),
            ));
            puts.push((
                format!("gatewayPools/pool-{pool}"),
                json!({
                    "type": "All",
                    "redundantGatewayCount": GATEWAYS / self.pools / 10,
                    "gatewayCapacityKiloBitsPerSecond": 100_000_000,
                    "ipConfiguration": {
                        "greVipSubnets": [reference(format!("/logicalNetworks/vips-{pool}/subnets/gre"))],
                    },
                }),
            ));
        }
        for host in 0..HOSTS {
            puts.push((format!("servers/host-{host}"), json!({})));
        }
        for gateway in 0..GATEWAYS {
            puts.push((format!("virtualServers/gateway-{gateway}"), json!({})));
            let domain =
                json!({ "host": format!("machine-{}", gateway / 2), "rack": format!("rack-{}", rack(gateway)) });
            puts.push((
                format!("gateways/gateway-{gateway}"),
                json!({
                    "pool": reference(format!("/gatewayPools/pool-{}", gateway % self.pools)),
                    "virtualServer": reference(format!("/virtualServers/gateway-{gateway}")),
                    "failureDomain": domain,
                }),
            ));
        }
        puts
    }

    /// What a tenant makes, and the operator for it.
    pub fn tenant(&self, tenant: usize) -> Vec<Put> {
        let name = tenant_name(tenant);
        let mut puts = vec![(
            format!("virtualNetworks/{name}"),
            json!({
                "addressSpace": { "addressPrefixes": ["10.0.0.0/16"] },
                "subnets": [
                    { "resourceId": "machines", "properties": { "addressPrefix": "10.0.1.0/24" } },
                    { "resourceId": "gateway", "properties": { "addressPrefix": "10.0.255.0/28" } },
                ],
            }),
        )];
        if let Some((vlan, racks)) = self.l3(tenant) {
            let racks = racks.map(|rack| format!("rack-{rack}"));
            let subnet = json!({ "addressPrefix": "172.16.0.0/24", "vlanID": vlan, "racks": racks });
            puts.push((
                format!("logicalNetworks/{name}"),
                json!({ "subnets": [{ "resourceId": "vlan", "properties": subnet }] }),
            ));
        }
        puts.push(self.gateway_of(tenant, 0));
        let octets = (tenant as u32).to_be_bytes();
        let mac = format!("02-00-{:02X}-{:02X}-{:02X}-{:02X}", octets[0], octets[1], octets[2], octets[3]);
        puts.push((
            format!("networkInterfaces/{name}"),
            json!({
                "privateMacAllocationMethod": "Static",
                "privateMacAddress": mac,
                "server": reference(format!("/servers/host-{}", tenant % HOSTS)),
                "deviceName": format!("vm{tenant}"),
                "ipConfigurations": [{ "resourceId": "address", "properties": {
                    "privateIPAddress": "10.0.1.5",
                    "privateIPAllocationMethod": "Static",
                    "subnet": reference(format!("/virtualNetworks/{name}/subnets/machines")),
                } }],
            }),
        ));
        puts
    }

    /// A tenant's gateway; what lies behind its first site is different with each `version`.
    pub fn gateway_of(&self, tenant: usize, version: usize) -> Put {
        let name = tenant_name(tenant);
        let tunnel = |id: &str, key: u32, destination: String| {
            // As many sites share a key's value as there are VIPs that tell them apart.
            let remote = Ipv4Addr::from_bits(0xc100_0001 + (tenant / 4) as u32);
            json!({ "resourceId": id, "properties": {
                "connectionType": "GRE",
                "inboundKiloBitsPerSecond": 30_000,
                "outboundKiloBitsPerSecond": 20_000,
                "greConfiguration": { "greKey": key.to_string() },
                "destinationIPAddress": remote,
                "routes": [
                    { "destinationPrefix": destination, "metric": 10 },
                    { "destinationPrefix": "192.168.100.0/24", "metric": 10 },
                ],
            } })
        };
        let second = match self.l3(tenant) {
            None => tunnel("branch", 2, "192.168.200.0/24".to_owned()),
            Some(_) => json!({ "resourceId": "branch", "properties": {
                "connectionType": "L3",
                "inboundKiloBitsPerSecond": 10_000,
                "outboundKiloBitsPerSecond": 6_000,
                "l3Configuration": { "vlanSubnet": reference(format!("/logicalNetworks/{name}/subnets/vlan")) },
                "ipAddresses": [{ "ipAddress": "172.16.0.2", "prefixLength": 24 }],
                "peerIPAddresses": ["172.16.0.1"],
                "routes": [{ "destinationPrefix": "192.168.200.0/24", "metric": 10 }],
            } }),
        };
        let changing = format!("10.{}.{}.0/24", 64 + version / 256 % 64, version % 256);
        (
            format!("virtualGateways/{name}"),
            json!({
                "gatewayPools": [reference(format!("/gatewayPools/pool-{}", tenant % self.pools))],
                "gatewaySubnets": [reference(format!("/virtualNetworks/{name}/subnets/gateway"))],
                "networkConnections": [tunnel("hq", 1, changing), second],
            }),
        )
    }

    /// The agents, each with what it says of its machine.
    pub fn agents() -> impl Iterator<Item = (AgentId, Hello)> {
        let gateways = (0..GATEWAYS).map(|number| {
            let ports = vec![("fab0", PortRole::Fabric), ("tor0", PortRole::Site)];
            (core::gateway(&Id::from(format!("gateway-{number}"))), 0x0a10_0001 + number, ports)
        });
        let hosts = (0..HOSTS).map(|number| {
            let ports = vec![("fab0", PortRole::Fabric)];
            (core::host(&Id::from(format!("host-{number}"))), 0x0a20_0001 + number, ports)
        });
        gateways.chain(hosts).map(|(agent, address, ports)| {
            let hello = Hello {
                protocol: PROTOCOL,
                version: "bench".to_owned(),
                boot: Default::default(),
                pa: Dual { v4: Some(Ipv4Addr::from_bits(address as u32)), v6: None },
                ports: ports.into_iter().filter_map(|(name, role)| Some((name.parse().ok()?, role))).collect(),
                life: None,
                resume: None,
            };
            (agent, hello)
        })
    }

    /// The agent of the host that a tenant's machine is on.
    pub fn host_of(tenant: usize) -> AgentId {
        AgentId { role: Role::Host, id: Id::from(format!("host-{}", tenant % HOSTS)) }
    }

    /// Some of the tenants, from all over.
    pub fn some(&self, count: usize) -> impl Iterator<Item = usize> + use<> {
        let tenants = self.tenants;
        (0..count).map(move |number| number * 7919 % tenants)
    }

    fn l3(&self, tenant: usize) -> Option<(u16, [usize; 2])> {
        tenant.is_multiple_of(L3_EVERY).then(|| self.vlans[tenant / L3_EVERY])
    }
}

/// What a tenant's network, gateway and interface are called.
pub fn tenant_name(tenant: usize) -> String {
    format!("tenant-{tenant}")
}

fn rack(gateway: usize) -> usize {
    gateway * RACKS / GATEWAYS
}

fn reference(path: String) -> Value {
    json!({ "resourceRef": path })
}
