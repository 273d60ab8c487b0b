//! The lab's tenants and their addresses. Both tenants use the very same ones, down to the MAC addresses of their machines.

use std::net::IpAddr;

/// A tenant of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: &'static str,
    /// Its virtual subnets' ids, in the order of [`SUBNETS`].
    pub vsids: [u32; 2],
    /// The VLAN of its L3 connection.
    pub vlan: u16,
    /// The gateway's addresses on that VLAN.
    pub vlan_gateway: [&'static str; 2],
    /// The L3 site's addresses on that VLAN.
    pub vlan_peer: [&'static str; 2],
    /// The GRE site's addresses in the outer world: its tunnel's far ends.
    pub remote: [&'static str; 2],
    /// The ToR's addresses on the link to that site.
    pub remote_router: [&'static str; 2],
    /// The key of its GRE connection.
    pub key: u32,
}

/// The first tenant.
pub const CONTOSO: Tenant = Tenant {
    name: "contoso",
    vsids: [5001, 5002],
    vlan: 1001,
    vlan_gateway: ["10.127.134.50", "fd7f:134::50"],
    vlan_peer: ["10.127.134.55", "fd7f:134::55"],
    remote: ["203.0.113.20", "2001:db8:20::20"],
    remote_router: ["203.0.113.17", "2001:db8:20::1"],
    key: 100,
};

/// The second tenant.
pub const WOODGROVE: Tenant = Tenant {
    name: "woodgrove",
    vsids: [6001, 6002],
    vlan: 1002,
    vlan_gateway: ["10.127.134.60", "fd7f:134::60"],
    vlan_peer: ["10.127.134.65", "fd7f:134::65"],
    remote: ["203.0.113.40", "2001:db8:40::40"],
    remote_router: ["203.0.113.33", "2001:db8:40::1"],
    key: 200,
};

/// Both.
pub const TENANTS: [Tenant; 2] = [CONTOSO, WOODGROVE];

/// A virtual subnet and its one machine, the same in both tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its prefixes.
    pub prefixes: [&'static str; 2],
    /// The address by which its machines know their router.
    pub router: [&'static str; 2],
    /// The machine's name.
    pub vm: &'static str,
    /// The machine's addresses.
    pub addresses: [&'static str; 2],
    /// The machine's MAC address.
    pub mac: &'static str,
    /// The compute host that runs the machine.
    pub host: usize,
}

/// A tenant's virtual subnets.
pub const SUBNETS: [Subnet; 2] = [
    Subnet {
        prefixes: ["10.1.0.0/24", "fd01::/64"],
        router: ["10.1.0.1", "fd01::1"],
        vm: "vm1",
        addresses: ["10.1.0.5", "fd01::5"],
        mac: "02:00:00:00:01:05",
        host: 0,
    },
    Subnet {
        prefixes: ["10.1.1.0/24", "fd01:0:0:1::/64"],
        router: ["10.1.1.1", "fd01:0:0:1::1"],
        vm: "vm2",
        addresses: ["10.1.1.5", "fd01:0:0:1::5"],
        mac: "02:00:00:00:02:05",
        host: 1,
    },
];

/// The gateway's own addresses inside each tenant.
pub const TENANT_GATEWAY: [&str; 2] = ["10.1.255.1", "fd01:255::1"];
/// The machine at each tenant's GRE site, and the site's prefixes.
pub const HQ: [&str; 2] = ["10.2.0.1", "fd02::1"];
/// The GRE site's prefixes.
pub const HQ_PREFIXES: [&str; 2] = ["10.2.0.0/16", "fd02::/48"];
/// The machine at each tenant's L3 site.
pub const DC: [&str; 2] = ["10.3.0.1", "fd03::1"];
/// The L3 site's prefixes.
pub const DC_PREFIXES: [&str; 2] = ["10.3.0.0/16", "fd03::/48"];

/// The gateway's provider addresses.
pub const GATEWAY_PA: [&str; 2] = ["10.10.0.1", "fd00:10::1"];
/// The compute hosts' provider addresses.
pub const HOST_PA: [[&str; 2]; 2] = [["10.10.0.11", "fd00:10::11"], ["10.10.0.12", "fd00:10::12"]];
/// The MAC address of the gateway inside virtual subnets.
pub const GATEWAY_MAC: &str = "02:00:5e:00:00:01";

/// The VIPs that GRE sites know.
pub const VIP: [&str; 2] = ["198.51.100.10", "2001:db8:100::10"];
/// The gateway's own addresses on the ToR's segment.
pub const GATEWAY_TOR: [&str; 2] = ["198.51.100.2", "2001:db8:100::2"];
/// The ToR's addresses there.
pub const TOR: [&str; 2] = ["198.51.100.1", "2001:db8:100::1"];

/// The MTU between virtual machines, and at sites.
pub const MTU: u32 = 1500;
/// The fabric's MTU, with room for the encapsulation over either IP version.
pub const FABRIC_MTU: u32 = 1600;

/// An address of the constants above.
pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|error| panic!("the lab's address {text} is none: {error}"))
}

/// A pair of addresses of the constants above.
pub fn addresses(text: [&str; 2]) -> [IpAddr; 2] {
    text.map(address)
}
