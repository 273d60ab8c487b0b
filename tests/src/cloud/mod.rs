//! The whole cloud: a controller, gateways and compute hosts that it runs, and the tenants' machines and sites around them.
//!
//! ```text
//!                        controller
//!                            │ management
//!         ┌──────────┬───────┴──┬──────────┬──────────┐
//!       host1      host2      gw1        gw2        gw3
//!   vm1 ─┤ │    vm2 ─┤ │      │ │        │ │        │ │      contoso-hq, woodgrove-hq   GRE
//!        │ └─ fabric ─┴────── fab0 ─────────────────┘ └ tor0 ═ tor (router)
//!   of each tenant                                            contoso-dc, woodgrove-dc   VLAN 1001, 1002
//! ```
//!
//! Unlike in [`topology`](crate::topology), the compute hosts are ours too (`gatewayd host`), and the tenants' virtual machines are left as they
//! are: their cables keep the offloads that a guest has by default.

mod operator;
mod routers;
mod traffic;

pub use operator::{Controller, Operated, described};
pub use routers::{LEARNED_DC, LEARNED_HQ, SiteRouters};
pub use traffic::{Noticed, Seen, Traffic};

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::identity::Identity;
use crate::link::End;
use crate::node::{Node, Processes};
use crate::tenants::{DC, FABRIC_MTU, HOST_PA, HQ, MTU, SUBNETS, TENANTS, TOR, Tenant, addresses};
use crate::topology::{L3Site, Outer, address_lines, dig, gre_site, plug_in, switch};
use crate::tunnel::{Kind, Tunnel};

/// How many gateways there are as a rule.
pub const GATEWAYS: usize = 3;
/// How many there may be.
const ROOM: usize = GATEWAYS + 1;

/// The gateways' provider addresses.
pub const GATEWAY_PA: [[&str; 2]; ROOM] = [
    ["10.10.0.1", "fd00:10::1"],
    ["10.10.0.2", "fd00:10::2"],
    ["10.10.0.3", "fd00:10::3"],
    ["10.10.0.4", "fd00:10::4"],
];
/// The gateways' addresses on the ToR's segment.
pub const GATEWAY_TOR: [[&str; 2]; ROOM] = [
    ["198.51.100.2", "2001:db8:100::2"],
    ["198.51.100.3", "2001:db8:100::3"],
    ["198.51.100.4", "2001:db8:100::4"],
    ["198.51.100.5", "2001:db8:100::5"],
];
/// The gateways' own address inside each tenant: that of whichever gateway is asked.
pub const TENANT_GATEWAY: &str = "10.1.255.2";
/// The controller's addresses on the management network.
pub const CONTROLLER: [&str; 2] = ["192.0.2.1", "2001:db8:2::1"];
/// The gateways' there.
pub const GATEWAY_MANAGEMENT: [[&str; 2]; ROOM] = [
    ["192.0.2.11", "2001:db8:2::11"],
    ["192.0.2.12", "2001:db8:2::12"],
    ["192.0.2.13", "2001:db8:2::13"],
    ["192.0.2.14", "2001:db8:2::14"],
];
/// The compute hosts' there.
pub const HOST_MANAGEMENT: [[&str; 2]; 2] = [["192.0.2.21", "2001:db8:2::21"], ["192.0.2.22", "2001:db8:2::22"]];

/// A tenant's machines.
#[derive(Debug)]
pub struct Members {
    /// Whose they are.
    pub tenant: Tenant,
    /// The virtual machine of each virtual subnet.
    pub vms: [Arc<Node>; 2],
    /// The GRE site.
    pub hq: Arc<Node>,
    /// The L3 site.
    pub dc: Arc<Node>,
    _dc: L3Site,
    _identities: [Identity; 2],
}

/// Everything but the programs.
#[derive(Debug)]
pub struct Cloud {
    /// Where the controller runs.
    pub controller: Arc<Node>,
    /// The gateways, each with the ports `fab0` and `tor0`.
    pub gateways: Vec<Arc<Node>>,
    /// The compute hosts, each with the port `fab0` and a device for every virtual machine, of its name.
    pub hosts: Vec<Arc<Node>>,
    /// The fabric's switch.
    pub fabric: Arc<Node>,
    /// The ToR.
    pub tor: Arc<Node>,
    /// The tenants' machines.
    pub tenants: Vec<Members>,
    /// The switch by which everybody reaches the controllers.
    pub management: Arc<Node>,
    processes: Arc<Processes>,
}

impl Cloud {
    /// A tenant's machines; a name that no tenant has is the caller's mistake.
    pub fn members(&self, tenant: &str) -> &Members {
        let found = self.tenants.iter().find(|members| members.tenant.name == tenant);
        found.unwrap_or_else(|| panic!("the cloud has no tenant {tenant}"))
    }

    /// A gateway's machine; a name that no gateway has is the caller's mistake.
    pub fn gateway(&self, name: &str) -> &Arc<Node> {
        let found = self.gateways.iter().find(|gateway| gateway.name() == name);
        found.unwrap_or_else(|| panic!("the cloud has no gateway {name}"))
    }

    /// Builds it, saying before each step what comes.
    pub fn build(progress: impl FnMut(&str)) -> Result<Self> {
        Self::with_gateways(GATEWAYS, progress)
    }

    /// The same with so many gateways.
    pub fn with_gateways(count: usize, mut progress: impl FnMut(&str)) -> Result<Self> {
        progress("the fabric, the ToR and the management network");
        let processes = Processes::new()?;
        let fabric = switch("fabric", FABRIC_MTU, &processes)?;
        let management = switch("management", MTU, &processes)?;
        let tor = switch("tor", MTU, &processes)?;
        tor.sh("cd /proc/sys/net; echo 1 > ipv4/ip_forward; echo 1 > ipv6/conf/all/forwarding")?;
        tor.ip(&address_lines("switch", TOR, 24))?;
        let mut cloud = Self {
            controller: Node::new("controller", &processes)?,
            gateways: Vec::new(),
            hosts: Vec::new(),
            fabric,
            tor,
            tenants: Vec::new(),
            management,
            processes,
        };
        cloud.manage(&cloud.controller, CONTROLLER)?;
        progress(&format!("{count} gateways and two compute hosts"));
        for _ in 0..count {
            cloud.add_gateway()?;
        }
        for (index, management) in HOST_MANAGEMENT.into_iter().enumerate() {
            let host = Node::new(&format!("host{}", index + 1), &cloud.processes)?;
            cloud.manage(&host, management)?;
            plug_in(&host, "fab0", FABRIC_MTU, HOST_PA[index], End::new(&cloud.fabric, host.name()).from_gateway())?;
            cloud.hosts.push(host);
        }
        for tenant in TENANTS {
            progress(&format!("{}'s virtual machines and sites", tenant.name));
            let members = cloud.furnish(tenant)?;
            cloud.tenants.push(members);
        }
        Ok(cloud)
    }

    fn manage(&self, node: &Arc<Node>, at: [&str; 2]) -> Result<()> {
        plug_in(node, "mgmt0", MTU, at, End::new(&self.management, node.name()))
    }

    /// Adds a gateway's machine.
    pub(crate) fn add_gateway(&mut self) -> Result<Arc<Node>> {
        let index = self.gateways.len();
        ensure!(index < ROOM, "the cloud has room for {ROOM} gateways");
        let name = format!("gw{}", index + 1);
        let node = Node::new(&name, &self.processes)?;
        self.manage(&node, GATEWAY_MANAGEMENT[index])?;
        plug_in(&node, "fab0", FABRIC_MTU, GATEWAY_PA[index], End::new(&self.fabric, &name).from_gateway())?;
        plug_in(&node, "tor0", MTU, GATEWAY_TOR[index], End::new(&self.tor, &name).from_gateway())?;
        node.ip(&format!("route add default via {}\nroute add default via {}\n", TOR[0], TOR[1]))?;
        self.gateways.push(Arc::clone(&node));
        Ok(node)
    }

    fn furnish(&self, tenant: Tenant) -> Result<Members> {
        let vms = [self.vm(tenant, 0)?, self.vm(tenant, 1)?];
        let hq = gre_site(tenant, &self.tor, &self.processes)?;
        let dc = L3Site::new(&format!("{}-dc", tenant.name), tenant, &self.tor, &self.processes)?;
        let identities = [
            Identity::new(&vms[0], addresses(SUBNETS[0].addresses))?,
            Identity::new(&vms[1], addresses(SUBNETS[1].addresses))?,
        ];
        Ok(Members { tenant, vms, hq, dc: Arc::clone(&dc.node), _dc: dc, _identities: identities })
    }

    /// A virtual machine as its owner has it: its addresses, its router, and nothing that the fabric would need.
    fn vm(&self, tenant: Tenant, index: usize) -> Result<Arc<Node>> {
        let subnet = SUBNETS[index];
        let name = format!("{}-{}", tenant.name, subnet.vm);
        let node = Node::new(&name, &self.processes)?;
        // The kernel lays this cable with all offloads on, and no NAPI at either end.
        node.ip(&format!(
            "link add eth0 mtu {MTU} address {} type veth peer name {name} mtu {MTU} netns {}\nlink set eth0 up\n",
            subnet.mac,
            self.hosts[subnet.host].namespaces().network.display(),
        ))?;
        self.hosts[subnet.host].ip(&format!("link set {name} up\n"))?;
        let mut lines = address_lines("eth0", subnet.addresses, 24);
        for router in subnet.router {
            lines += &format!("route add default via {router}\n");
        }
        node.ip(&lines)?;
        Ok(node)
    }

    /// Takes the carrier from all of a gateway's ports, as if its host had no power.
    pub fn unplug(&self, gateway: &str) -> Result<()> {
        self.cables(gateway, "down")
    }

    /// Gives it back.
    pub fn plug(&self, gateway: &str) -> Result<()> {
        self.cables(gateway, "up")
    }

    fn cables(&self, gateway: &str, to: &str) -> Result<()> {
        let switches = [&self.fabric, &self.tor, &self.management];
        switches.into_iter().try_for_each(|switch| switch.ip(&format!("link set {gateway} {to}\n")))
    }

    /// Adds a machine that is connected to the management network alone.
    pub fn machine(&self, name: &str, at: [&str; 2]) -> Result<Arc<Node>> {
        let node = Node::new(name, &self.processes)?;
        self.manage(&node, at)?;
        Ok(node)
    }

    /// Every machine.
    pub fn machines(&self) -> Vec<&Arc<Node>> {
        let mut all = vec![&self.controller, &self.fabric, &self.tor];
        all.extend(&self.gateways);
        all.extend(&self.hosts);
        all.extend(self.tenants.iter().flat_map(|one| [&one.vms[0], &one.vms[1], &one.hq, &one.dc]));
        all
    }
}

/// A GRE site's end of its connection, once it is known where that ends.
#[derive(Debug)]
pub struct SiteTunnel {
    _tunnel: Tunnel,
    _identity: Identity,
}

impl Members {
    /// Sets the GRE site's tunnel up, to the VIP that the controller gave the connection.
    pub fn dig(&self, vip: IpAddr) -> Result<SiteTunnel> {
        let outer = if vip.is_ipv4() { Outer::V4 } else { Outer::V6 };
        let tunnel = dig(&self.hq, self.tenant, outer, vip, Kind::gre(Some(self.tenant.key)))?;
        Ok(SiteTunnel { _tunnel: tunnel, _identity: Identity::new(&self.hq, addresses(HQ))? })
    }

    /// Every machine with its addresses.
    pub fn all(&self) -> [(&Arc<Node>, [IpAddr; 2]); 4] {
        [
            (&self.vms[0], addresses(SUBNETS[0].addresses)),
            (&self.vms[1], addresses(SUBNETS[1].addresses)),
            (&self.hq, addresses(HQ)),
            (&self.dc, addresses(DC)),
        ]
    }
}
