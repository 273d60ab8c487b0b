//! Compute hosts that are ours: the daemon in its role `host` on both of the lab's hosts, and machines that nobody has prepared for it, with
//! the offloads that the kernel gives a veth by default.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::Lab;
use crate::gateway::Gateway;
use crate::identity::Identity;
use crate::node::Node;
use crate::plan::Plan;
use crate::tenants::{DC_PREFIXES, GATEWAY_PA, HOST_PA, HQ_PREFIXES, MTU, SUBNETS, TENANTS, Tenant, addresses};
use crate::topology::{Edge, Encapsulation, Topology, World};

/// A virtual machine of the lab.
#[derive(Debug)]
pub struct Machine {
    /// The machine.
    pub node: Arc<Node>,
    /// Its place.
    pub place: Place,
    _identity: Option<Identity>,
}

/// Where a virtual machine is, and who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The index in [`TENANTS`].
    pub tenant: usize,
    /// The index in [`SUBNETS`].
    pub subnet: usize,
    /// The index of its host.
    pub host: usize,
    /// The last part of its addresses, IPv4 and IPv6 alike: below 10.
    pub number: u8,
}

impl Place {
    /// The machines that every lab has: the one of each subnet.
    pub const fn usual(tenant: usize, subnet: usize) -> Self {
        Self { tenant, subnet, host: SUBNETS[subnet].host, number: 5 }
    }

    /// Its tenant.
    pub fn tenant(&self) -> Tenant {
        TENANTS[self.tenant]
    }

    /// Its virtual subnet's id.
    pub fn vsid(&self) -> u32 {
        self.tenant().vsids[self.subnet]
    }

    /// Its addresses.
    pub fn addresses(&self) -> [String; 2] {
        SUBNETS[self.subnet].addresses.map(|address| format!("{}{}", &address[..address.len() - 1], self.number))
    }

    /// Its MAC address.
    pub fn mac(&self) -> String {
        let mac = SUBNETS[self.subnet].mac;
        format!("{}{}", &mac[..mac.len() - 1], self.number)
    }

    /// The host's side of its interface.
    pub fn device(&self) -> String {
        if *self == Self::usual(self.tenant, self.subnet) {
            format!("vm{}", self.vsid())
        } else {
            format!("vm{}n{}", self.vsid(), self.number)
        }
    }
}

/// The lab with hosts of ours.
#[derive(Debug)]
pub struct Compute {
    /// The hosts' daemons.
    pub hosts: [Gateway; 2],
    /// The gateway and the world around.
    pub lab: Lab,
    /// Machines beside those that every lab has.
    pub more: Vec<Machine>,
    world: World,
}

impl Compute {
    /// The usual lab.
    pub fn start() -> Result<Self> {
        Self::start_with(World::default(), &[])
    }

    /// A lab in a world of one's own, with more machines.
    pub fn start_with(world: World, more: &[Place]) -> Result<Self> {
        let world = World { edge: Edge::Gatewayd, ..world };
        let topology = Topology::build(world, |_| {})?;
        let more = more.iter().map(|&place| Machine::new(&topology, place)).collect::<Result<Vec<_>>>()?;
        let mut plan = Plan::of(&world);
        for machine in &more {
            let place = machine.place;
            let pa = world.underlay.of(HOST_PA[place.host]);
            for ca in place.addresses() {
                let vm = format!("ca = '{ca}'\nmac = '{}'\nvsid = {}\npa = '{pa}'\n", place.mac(), place.vsid());
                let vm: toml::Table = vm.parse()?;
                let vms = plan.tenant(place.tenant().name)["vms"].as_array_mut().context("a tenant has machines")?;
                vms.push(vm.into());
            }
        }
        for host in &topology.hosts {
            crate::link::join_segments(host, "eth0")?;
        }
        let hosts = [0, 1].map(|host| Gateway::host(&topology.hosts[host]));
        let lab = Lab::around(topology, plan)?;
        let mut compute = Self { hosts, lab, more, world };
        for host in 0..2 {
            let plan = compute.plan(host);
            compute.hosts[host].start_text(&plan)?;
        }
        Ok(compute)
    }

    /// A machine that every lab has.
    pub fn vm(&self, tenant: usize, subnet: usize) -> &Arc<Node> {
        &self.lab.world.tenants()[tenant].vms[subnet]
    }

    /// All places with machines.
    fn places(&self) -> Vec<Place> {
        let usual = (0..2).flat_map(|tenant| (0..2).map(move |subnet| Place::usual(tenant, subnet)));
        usual.chain(self.more.iter().map(|machine| machine.place)).collect()
    }

    /// A host's plan, as text.
    pub fn plan(&self, host: usize) -> String {
        let encapsulation = match self.world.encapsulation {
            Encapsulation::Vxlan => "vxlan",
            Encapsulation::Nvgre => "nvgre",
        };
        let pa = self.world.underlay.of(HOST_PA[host]);
        let mut text = format!("[host]\nname = 'host{}'\npa = ['{pa}']\n[[port]]\nname = 'eth0'\n", host + 1);
        let gateway = self.world.underlay.of(GATEWAY_PA);
        for (index, tenant) in TENANTS.iter().enumerate() {
            // Writing to a string does not fail.
            let _ =
                writeln!(text, "[[tenant]]\nname = '{}'\nencapsulation = '{encapsulation}'\nmtu = {MTU}", tenant.name);
            text += "subnets = [\n";
            for (subnet, vsid) in SUBNETS.iter().zip(tenant.vsids) {
                for (prefix, router) in subnet.prefixes.iter().zip(subnet.router) {
                    let _ = writeln!(text, "  {{ vsid = {vsid}, prefix = '{prefix}', gateway = '{router}' }},");
                }
            }
            text += "]\nvms = [\n";
            for place in self.places().into_iter().filter(|place| place.tenant == index) {
                let device =
                    if place.host == host { format!(", device = '{}'", place.device()) } else { String::new() };
                let _ = writeln!(
                    text,
                    "  {{ ca = {:?}, mac = '{}', vsid = {}, pa = '{}'{device} }},",
                    place.addresses(),
                    place.mac(),
                    place.vsid(),
                    self.world.underlay.of(HOST_PA[place.host]),
                );
            }
            text += "]\nroutes = [\n";
            for prefix in HQ_PREFIXES.iter().chain(&DC_PREFIXES).chain(&["10.1.255.0/29", "fd01:255::/64"]) {
                let _ = writeln!(text, "  {{ destination = '{prefix}', gateways = ['{gateway}'] }},");
            }
            text += "]\n";
        }
        text
    }

    /// Fails unless at that address, as seen from a machine, there is this other machine.
    pub fn finds(&self, from: &Node, to: &str, who: &Node) -> Result<()> {
        self.lab.finds(from, to, who).with_context(|| self.circumstances())
    }

    /// Fails unless an echo request is answered soon.
    pub fn answers(&self, from: &Node, ping: crate::ping::Ping) -> Result<()> {
        let answer = ping.until_reply(from, crate::wait::SOON)?;
        ensure!(
            answer.is_reply(),
            "{} has no reply from {} ({} bytes): {answer:?}\n{}",
            from.name(),
            ping.to,
            ping.length,
            self.circumstances()
        );
        Ok(())
    }

    /// What helps to see why something failed.
    pub fn circumstances(&self) -> String {
        let mut text = String::new();
        for host in &self.hosts {
            for what in ["drops", "nexthops"] {
                text += &host.ctl(&["show", what]).unwrap_or_else(|error| format!("{error:#}"));
            }
            let _ = writeln!(text, "{} said:\n{}", host.node().name(), host.log());
        }
        text
    }
}

impl Machine {
    /// Makes a machine in its place.
    fn new(topology: &Topology, place: Place) -> Result<Self> {
        let name = format!("{}-vm{}n{}", place.tenant().name, place.subnet + 1, place.number);
        let node = Node::new(&name, topology.processes())?;
        connect(&node, &topology.hosts[place.host], &place)?;
        let own = place.addresses();
        let identity = Identity::new(&node, addresses([&own[0], &own[1]]))?;
        Ok(Self { node, place, _identity: Some(identity) })
    }
}

/// Connects a machine to its host as a hypervisor does: a veth with whatever offloads the kernel gives it, addresses, and a default route.
pub fn connect(node: &Arc<Node>, host: &Arc<Node>, place: &Place) -> Result<()> {
    let device = place.device();
    host.ip(&format!(
        "link add {device} mtu {MTU} type veth peer name eth0 mtu {MTU} address {} netns {}\nlink set {device} up\n",
        place.mac(),
        node.namespaces().network.display(),
    ))?;
    let [v4, v6] = place.addresses();
    let [router4, router6] = SUBNETS[place.subnet].router;
    node.ip(&format!(
        "link set eth0 up\naddress add {v4}/24 dev eth0\naddress add {v6}/64 dev eth0 nodad\n\
         route add default via {router4}\nroute add default via {router6}\n"
    ))
}
