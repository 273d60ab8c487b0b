//! The lab's world around the gateway:
//!
//! ```text
//!  contoso-vm1 ─┐                                          ┌─ contoso-hq     GRE
//!  woodgrove-vm1┴ host1 ─┐                                 ├─ woodgrove-hq   GRE
//!                        ├─ fabric ═ gateway ═ tor (router)┤
//!  contoso-vm2 ─┐        │   fab0 ^     ^ tor0             ├─ contoso-dc     VLAN 1001
//!  woodgrove-vm2┴ host2 ─┘                                 └─ woodgrove-dc   VLAN 1002
//! ```
//!
//! Compute hosts are the kernel's bridges and vxlan devices; the ToR is a bridge towards the gateway and the L3 sites, and a router between
//! that segment and the GRE sites.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::{Xdp, XdpMode};

use crate::bench::rig::lab_programs;
use crate::identity::Identity;
use crate::link::{End, cable};
use crate::node::{Node, Processes};
use crate::tenants::{
    DC, FABRIC_MTU, GATEWAY_MAC, GATEWAY_PA, GATEWAY_TOR, HOST_PA, HQ, MTU, SUBNETS, TENANTS, TOR, Tenant, VIP,
    address, addresses,
};
use crate::tunnel::{Kind, Tunnel};
use crate::vlan::Vlan;

/// The MAC address of every switch, on the segment of its own.
const SWITCH_MAC: &str = "02:00:00:00:ff:01";

/// How the fabric encapsulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// The kernel's own vxlan devices.
    Vxlan,
    /// The lab's NVGRE.
    Nvgre,
}

/// The IP version of an outer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outer {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Outer {
    /// The one of a pair of addresses that has this version.
    pub fn of<T: Copy>(self, pair: [T; 2]) -> T {
        match self {
            Self::V4 => pair[0],
            Self::V6 => pair[1],
        }
    }
}

/// Who is at the compute hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The kernel's bridges and vxlan devices.
    Kernel,
    /// Nobody yet: for the daemon in its role of a host. The machines' interfaces are as the kernel makes them.
    Gatewayd,
}

/// What may differ between labs.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// The fabric's encapsulation.
    pub encapsulation: Encapsulation,
    /// The fabric's IP version.
    pub underlay: Outer,
    /// The IP version between the gateway and the GRE sites.
    pub sites: Outer,
    /// Each tenant's GRE headers; key and all, in the order of [`TENANTS`].
    pub tunnels: [Kind; 2],
    /// Receive queues of the gateway's ports.
    pub queues: u32,
    /// Who is at the compute hosts.
    pub edge: Edge,
}

impl Default for World {
    fn default() -> Self {
        let tunnels = TENANTS.map(|tenant| Kind::gre(Some(tenant.key)));
        Self {
            encapsulation: Encapsulation::Vxlan,
            underlay: Outer::V4,
            sites: Outer::V4,
            tunnels,
            queues: 1,
            edge: Edge::Kernel,
        }
    }
}

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
    /// The GRE site's tunnel.
    pub tunnel: Tunnel,
    _dc: L3Site,
    _identities: [Identity; 3],
}

impl Members {
    /// Every machine with its address.
    pub fn all(&self) -> [(&Arc<Node>, [IpAddr; 2]); 4] {
        [
            (&self.vms[0], addresses(SUBNETS[0].addresses)),
            (&self.vms[1], addresses(SUBNETS[1].addresses)),
            (&self.hq, addresses(HQ)),
            (&self.dc, addresses(DC)),
        ]
    }
}

/// Everything around the gateway, and the machine that it is to run on.
#[derive(Debug)]
pub struct Topology {
    /// How it was built.
    pub world: World,
    /// The first tenant's machines.
    pub contoso: Members,
    /// The second tenant's machines.
    pub woodgrove: Members,
    /// The machine for the gateway, with the ports `fab0` and `tor0`.
    pub gateway: Arc<Node>,
    /// The fabric's switch.
    pub fabric: Arc<Node>,
    /// The compute hosts.
    pub hosts: [Arc<Node>; 2],
    /// The ToR.
    pub tor: Arc<Node>,
    _tunnels: Vec<Tunnel>,
    processes: Arc<Processes>,
}

impl Topology {
    /// Builds it, saying before each step what comes.
    pub fn build(world: World, mut progress: impl FnMut(&str)) -> Result<Self> {
        progress("the fabric, two compute hosts and the ToR");
        let processes = Processes::new()?;
        let fabric = switch("fabric", FABRIC_MTU, &processes)?;
        let tor = switch("tor", MTU, &processes)?;
        let gateway = Node::new("gateway", &processes)?;
        for (port, mtu, at, switch) in [("fab0", FABRIC_MTU, GATEWAY_PA, &fabric), ("tor0", MTU, GATEWAY_TOR, &tor)] {
            let end = End::new(switch, gateway.name()).from_gateway().queues(world.queues);
            plug_in(&gateway, port, mtu, at, end)?;
        }
        gateway.ip(&format!("route add default via {}\nroute add default via {}\n", TOR[0], TOR[1]))?;
        tor.sh("cd /proc/sys/net; echo 1 > ipv4/ip_forward; echo 1 > ipv6/conf/all/forwarding")?;
        tor.ip(&address_lines("switch", TOR, 24))?;

        let mut hosts = Vec::new();
        for (index, pa) in HOST_PA.into_iter().enumerate() {
            let host = Node::new(&format!("host{}", index + 1), &processes)?;
            plug_in(&host, "eth0", FABRIC_MTU, pa, End::new(&fabric, host.name()))?;
            hosts.push(host);
        }
        let hosts: [Arc<Node>; 2] = hosts.try_into().unwrap_or_else(|_| unreachable!("there are two"));
        let mut tunnels = Vec::new();
        let mut members = Vec::new();
        for (tenant, kind) in TENANTS.into_iter().zip(world.tunnels) {
            progress(&format!("{}'s virtual machines and sites", tenant.name));
            let [one, other] = SUBNETS.map(|subnet| &hosts[subnet.host]);
            let vms = [
                vm(&world, tenant, 0, one, &mut tunnels, &processes)?,
                vm(&world, tenant, 1, other, &mut tunnels, &processes)?,
            ];
            let hq = gre_site(tenant, &tor, &processes)?;
            let tunnel = dig(&hq, tenant, world.sites, address(world.sites.of(VIP)), kind)?;
            let dc = L3Site::new(&format!("{}-dc", tenant.name), tenant, &tor, &processes)?;
            let identities = [
                Identity::new(&vms[0], addresses(SUBNETS[0].addresses))?,
                Identity::new(&vms[1], addresses(SUBNETS[1].addresses))?,
                Identity::new(&hq, addresses(HQ))?,
            ];
            members.push(Members {
                tenant,
                vms,
                hq,
                dc: Arc::clone(&dc.node),
                tunnel,
                _dc: dc,
                _identities: identities,
            });
        }
        let [contoso, woodgrove] = members.try_into().unwrap_or_else(|_| unreachable!("there are two"));
        Ok(Self { world, contoso, woodgrove, gateway, fabric, hosts, tor, _tunnels: tunnels, processes })
    }

    /// Both tenants' machines.
    pub fn tenants(&self) -> [&Members; 2] {
        [&self.contoso, &self.woodgrove]
    }

    /// Adds a machine to the lab that is connected to nothing.
    pub fn machine(&self, name: &str) -> Result<Arc<Node>> {
        Node::new(name, &self.processes)
    }

    /// Gives the gateway another port, on a segment of its own, with an L3 site of a tenant's numbers.
    pub fn second_segment(&self, port: &str, site: &str, tenant: Tenant) -> Result<L3Site> {
        let segment = switch(&format!("{port}-switch"), MTU, &self.processes)?;
        let end = End::new(&segment, self.gateway.name()).from_gateway();
        plug_in(&self.gateway, port, MTU, ["198.51.101.2", "2001:db8:101::2"], end)?;
        L3Site::new(site, tenant, &segment, &self.processes)
    }

    /// The processes of its machines, for others to join.
    pub fn processes(&self) -> &Arc<Processes> {
        &self.processes
    }

    /// Every machine.
    pub fn machines(&self) -> Vec<&Arc<Node>> {
        let mut all = vec![&self.gateway, &self.fabric, &self.tor, &self.hosts[0], &self.hosts[1]];
        all.extend(self.tenants().into_iter().flat_map(Members::all).map(|(node, _)| node));
        all
    }
}

/// A bridge named `switch`, with no cable yet. Its address is chosen here: one of the kernel's choice is the lowest of the ports', and would
/// change with a cable that is plugged in later, unknown to everybody whose router it is.
pub(crate) fn switch(name: &str, mtu: u32, processes: &Arc<Processes>) -> Result<Arc<Node>> {
    let node = Node::new(name, processes)?;
    node.ip(&format!(
        "link add switch address {SWITCH_MAC} mtu {mtu} type bridge forward_delay 0 mcast_snooping 0\nlink set switch up\n"
    ))?;
    Ok(node)
}

/// Takes a switch's port out of all VLANs, as far as what comes in by it is concerned. It is in them again when what is returned is dropped.
pub fn take_out_of_vlans(switch: &Node, port: &str) -> Result<Ebpf> {
    switch.within(|| {
        let mut programs = lab_programs()?;
        let untagged: &mut Xdp = programs.program_mut("untagged").context("no program untagged")?.try_into()?;
        untagged.load()?;
        untagged.attach(port, XdpMode::Skb)?;
        Ok(programs)
    })
}

/// Connects a machine's new interface to a switch.
pub(crate) fn plug_in(node: &Arc<Node>, interface: &str, mtu: u32, at: [&str; 2], switch: End<'_>) -> Result<()> {
    cable(mtu, End::new(node, interface).queues(switch.queues), switch)?;
    switch.node.ip(&format!("link set {} master switch\n", switch.name))?;
    node.ip(&address_lines(interface, at, 24))
}

pub(crate) fn address_lines(interface: &str, at: [&str; 2], length: u8) -> String {
    format!("address add {}/{length} dev {interface}\naddress add {}/64 dev {interface} nodad\n", at[0], at[1])
}

/// A virtual machine of a tenant behind a compute host.
fn vm(
    world: &World,
    tenant: Tenant,
    index: usize,
    host: &Arc<Node>,
    tunnels: &mut Vec<Tunnel>,
    processes: &Arc<Processes>,
) -> Result<Arc<Node>> {
    let (subnet, vsid) = (SUBNETS[index], tenant.vsids[index]);
    let name = format!("{}-{}", tenant.name, subnet.vm);
    let node = Node::new(&name, processes)?;
    if world.edge == Edge::Gatewayd {
        let number = TENANTS.iter().position(|one| *one == tenant).unwrap_or_default();
        crate::compute::connect(&node, host, &crate::compute::Place::usual(number, index))?;
        return Ok(node);
    }
    let (local, remote) = (world.underlay.of(HOST_PA[subnet.host]), world.underlay.of(GATEWAY_PA));
    let overlay = format!("vs{vsid}");
    match world.encapsulation {
        Encapsulation::Vxlan => {
            let zero = match world.underlay {
                Outer::V4 => "",
                Outer::V6 => "udp6zerocsumtx udp6zerocsumrx",
            };
            host.ip(&format!(
                "link add {overlay} mtu {MTU} type vxlan id {vsid} local {local} remote {remote} dstport 4789 nolearning {zero}\n"
            ))?;
        }
        Encapsulation::Nvgre => {
            tunnels.push(Tunnel::new(host, &overlay, address(local), address(remote), Kind::Nvgre { vsid })?);
            host.ip(&format!("link set {overlay} mtu {MTU}\n"))?;
        }
    }
    host.ip(&format!(
        "link add br{vsid} type bridge forward_delay 0 mcast_snooping 0\nlink set br{vsid} up\nlink set {overlay} up master br{vsid}\n"
    ))?;
    cable(MTU, End::new(&node, "eth0").mac(subnet.mac), End::new(host, &format!("vm{vsid}")))?;
    host.ip(&format!("link set vm{vsid} master br{vsid}\n"))?;
    let mut lines = address_lines("eth0", subnet.addresses, 24);
    for router in subnet.router {
        // The compute host would answer for the router; here the machine knows it.
        writeln!(lines, "neighbour add {router} lladdr {GATEWAY_MAC} dev eth0 nud permanent")?;
        writeln!(lines, "route add default via {router}")?;
    }
    node.ip(&lines)?;
    Ok(node)
}

/// A site that is to reach its tenant by GRE to a VIP.
pub(crate) fn gre_site(tenant: Tenant, tor: &Arc<Node>, processes: &Arc<Processes>) -> Result<Arc<Node>> {
    let node = Node::new(&format!("{}-hq", tenant.name), processes)?;
    cable(MTU, End::new(&node, "eth0"), End::new(tor, node.name()))?;
    tor.ip(&address_lines(node.name(), tenant.remote_router, 28))?;
    let mut lines = address_lines("eth0", tenant.remote, 28);
    writeln!(lines, "route add 198.51.100.0/24 via {}", tenant.remote_router[0])?;
    writeln!(lines, "route add 2001:db8:100::/64 via {}", tenant.remote_router[1])?;
    node.ip(&lines)?;
    Ok(node)
}

/// Its tunnel.
pub(crate) fn dig(site: &Arc<Node>, tenant: Tenant, outer: Outer, vip: IpAddr, kind: Kind) -> Result<Tunnel> {
    let tunnel = Tunnel::new(site, "gre0", address(outer.of(tenant.remote)), vip, kind)?;
    let mtu = MTU - gre_overhead(outer, kind);
    let mut lines = format!("link set gre0 mtu {mtu} up\n");
    for (own, length, everywhere) in [(HQ[0], 32, "0.0.0.0/0"), (HQ[1], 128, "::/0")] {
        writeln!(lines, "address add {own}/{length} dev gre0 nodad")?;
        writeln!(lines, "route add {everywhere} dev gre0")?;
    }
    site.ip(&lines)?;
    Ok(tunnel)
}

/// What GRE adds to a packet, in bytes.
pub fn gre_overhead(outer: Outer, kind: Kind) -> u32 {
    use crate::tunnel::Presence::Present;
    let options = match kind {
        Kind::Gre { key, checksum, sequence } => {
            4 * (u32::from(key.is_some()) + u32::from(checksum == Present) + u32::from(sequence == Present))
        }
        Kind::Nvgre { .. } => 4,
    };
    4 + options + outer.of([20, 40])
}

/// A site on a VLAN.
#[derive(Debug)]
pub struct L3Site {
    /// Its machine.
    pub node: Arc<Node>,
    _switch: Arc<Node>,
    _vlan: Vlan,
    _identity: Identity,
}

impl L3Site {
    /// Connects a site to a switch, with the VLAN and the addresses that a tenant's has.
    pub(crate) fn new(name: &str, tenant: Tenant, switch: &Arc<Node>, processes: &Arc<Processes>) -> Result<Self> {
        let node = Node::new(name, processes)?;
        cable(MTU, End::new(&node, "eth0"), End::new(switch, name))?;
        switch.ip(&format!("link set {name} master switch\n"))?;
        let device = format!("vlan{}", tenant.vlan);
        let vlan = Vlan::new(&node, &device, "eth0", tenant.vlan)?;
        let mut lines = format!("link set {device} up\n{}", address_lines(&device, tenant.vlan_peer, 24));
        writeln!(lines, "address add {}/32 dev lo\naddress add {}/128 dev lo nodad", DC[0], DC[1])?;
        writeln!(lines, "route add default via {} src {}", tenant.vlan_gateway[0], DC[0])?;
        writeln!(lines, "route add default via {} src {}", tenant.vlan_gateway[1], DC[1])?;
        node.ip(&lines)?;
        let identity = Identity::new(&node, addresses(DC))?;
        Ok(Self { node, _switch: Arc::clone(switch), _vlan: vlan, _identity: identity })
    }
}
