//! Linux's own GRE, VLAN, VXLAN and NVGRE as the far ends: a virtual machine is a tenant's GRE site, its L3 site and its compute host.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::gateway::Gateway;
use lab::node::Node;
use lab::plan::Plan;
use lab::tenants::{CONTOSO, DC, FABRIC_MTU, GATEWAY_MAC, GATEWAY_PA, HOST_PA, HQ, MTU, SUBNETS, TENANT_GATEWAY, VIP};
use lab::topology::{Encapsulation, Outer, Topology, World, gre_overhead};
use lab::tunnel::Kind;
use lab::vm::{Kernel, Machine, Vm};

#[test]
fn linux_forwards_by_keyed_gre_vlan_and_vxlan_over_ipv4() -> Result<()> {
    Peers::start(World::default())?.converse()
}

#[test]
fn linux_forwards_by_gre_without_key_and_nvgre_over_ipv4() -> Result<()> {
    let tunnels = [Kind::gre(None), Kind::gre(Some(200))];
    Peers::start(World { encapsulation: Encapsulation::Nvgre, tunnels, ..World::default() })?.converse()
}

/// Linux puts a tunnel encapsulation limit, a destination option, in front of every GRE header over IPv6.
#[test]
fn linux_forwards_by_keyed_gre_and_nvgre_over_ipv6() -> Result<()> {
    let world =
        World { encapsulation: Encapsulation::Nvgre, underlay: Outer::V6, sites: Outer::V6, ..World::default() };
    Peers::start(world)?.converse()
}

/// The lab with a virtual machine in the place of the first tenant's sites `hq` and `dc` and of its machine `vm`, each a namespace in it.
struct Peers {
    vm: Vm,
    lab: Lab,
}

/// Asks every second until there is an answer: the first requests may be lost while neighbours are resolved.
const ANSWERED: &str =
    "answered() { for try in $(seq 60); do ping -c 1 -W 2 $1 && return; sleep 1; done; return 1; }; answered";

/// Takes the place of a machine at a switch or router.
fn replace(at: &Arc<Node>, name: &str, mtu: u32, machine: Machine) -> Result<Machine> {
    at.ip(&format!("address flush dev {name}\nlink set {name} down\n"))?;
    machine.card(at, "linux", mtu)
}

impl Peers {
    fn start(world: World) -> Result<Self> {
        let topology = Topology::build(world, |_| {})?;
        let machine = Machine::new(Kernel::Linux6_12)?;
        let machine = replace(&topology.tor, "contoso-hq", MTU, machine)?;
        topology.tor.ip(&format!(
            "address add {}/28 dev linux\naddress add {}/64 dev linux nodad\nlink set linux name site\n",
            CONTOSO.remote_router[0], CONTOSO.remote_router[1]
        ))?;
        let machine = replace(&topology.tor, "contoso-dc", MTU, machine)?;
        topology.tor.ip("link set linux master switch\n")?;
        let machine = replace(&topology.fabric, "host1", FABRIC_MTU, machine)?;
        topology.fabric.ip("link set linux master switch\n")?;
        let mut vm = machine.boot(topology.processes())?;
        vm.sh("for name in hq dc vm; do
                   ip netns add $name
                   ip netns exec $name ip link set lo up
               done
               ip link set eth0 netns hq; ip link set eth1 netns dc; ip link set eth2 netns vm")?;
        vm.within("hq", &hq(&world))?;
        vm.within("dc", &dc())?;
        vm.within("vm", &compute_host(&world))?;
        let plan = Plan::of(&world);
        let mut gateway = Gateway::new(&topology.gateway);
        gateway.start(&plan)?;
        Ok(Self { vm, lab: Lab { gateway, plan, world: topology } })
    }

    /// All that is tried with one boot.
    fn converse(mut self) -> Result<()> {
        let outcome = self.everyone_is_reached().and_then(|()| self.gateway_is_a_hop()).and_then(|()| self.tcp_flows());
        let outcome = outcome.and_then(|()| self.every_size_passes_or_is_told_what_fits());
        outcome.with_context(|| self.lab.circumstances())
    }

    fn everyone_is_reached(&mut self) -> Result<()> {
        let (vm, gateway) = (SUBNETS[0].addresses, TENANT_GATEWAY);
        for (from, to) in
            [("hq", vm), ("vm", HQ), ("dc", vm), ("vm", DC), ("hq", DC), ("dc", HQ), ("dc", CONTOSO.vlan_gateway)]
                .into_iter()
                .chain(["hq", "dc", "vm"].map(|from| (from, gateway)))
        {
            for to in to {
                self.vm.within(from, &format!("{ANSWERED} {to}"))?;
            }
        }
        Ok(())
    }

    fn gateway_is_a_hop(&mut self) -> Result<()> {
        for (from, to) in [("vm", HQ), ("hq", DC), ("dc", SUBNETS[0].addresses)] {
            for (program, to, gateway) in
                [("traceroute", to[0], TENANT_GATEWAY[0]), ("traceroute6", to[1], TENANT_GATEWAY[1])]
            {
                let hops = self.vm.within(from, &format!("{program} -n -m 4 -q 3 -w 5 {to}"))?;
                let seen = |hop: &str, address: &str| {
                    hops.lines().any(|line| {
                        let mut words = line.split_whitespace();
                        words.next() == Some(hop) && words.any(|word| word == address)
                    })
                };
                ensure!(seen("1", gateway) && seen("2", to), "{from} to {to}:\n{hops}");
            }
        }
        Ok(())
    }

    fn tcp_flows(&mut self) -> Result<()> {
        self.vm.within("hq", "iperf3 --server --daemon")?;
        self.vm.within("dc", "iperf3 --server --daemon")?;
        for to in HQ.into_iter().chain(DC) {
            for direction in ["", "--reverse"] {
                const PATIENCE: Duration = Duration::from_secs(240);
                let command =
                    format!("timeout 200 iperf3 --client {to} --bytes 2M --connect-timeout 10000 {direction}");
                // The servers listen once they are told so by the kernel; nobody tells us.
                let printed = lab::wait::until(PATIENCE, "a TCP connection", || self.vm.within("vm", &command).ok())?;
                ensure!(printed.contains("receiver"), "{to} {direction}: {printed}");
            }
        }
        Ok(())
    }

    /// Sizes on both sides of what fits into the tunnel, never to be fragmented on the way.
    fn every_size_passes_or_is_told_what_fits(&mut self) -> Result<()> {
        let world = self.lab.world.world;
        let fits = MTU - gre_overhead(world.sites, world.tunnels[0]);
        for (version, header) in [(0, 28), (1, 48)] {
            let (to, gateway) = (HQ[version], TENANT_GATEWAY[version]);
            let edge = fits - header;
            self.vm.within(
                "vm",
                &format!(
                    "for size in 1 64 1000 {} {} {edge}; do ping -c 1 -W 30 -M do -s $size {to}; done",
                    edge - 2,
                    edge - 1
                ),
            )?;
            for size in [edge + 1, edge + 8, MTU - header] {
                self.vm.within("vm", "ip route flush cache; ip -6 route flush cache")?;
                // Errors are rate-limited, so not every request has one.
                let asked = format!("ping -c 30 -i 0.3 -w 20 -M do -s {size} {to} || true; ip route get {to}");
                let told = self.vm.within("vm", &asked)?;
                ensure!(
                    told.contains(gateway) && told.contains(&format!("mtu {fits}")),
                    "{size} bytes to {to}: {told}"
                );
            }
        }
        Ok(())
    }
}

/// A site with GRE to the gateway. Left alone, Linux gives the outer header the inner TTL, and a traceroute ends at the ToR.
fn hq(world: &World) -> String {
    let [remote, remote6] = CONTOSO.remote;
    let [router, router6] = CONTOSO.remote_router;
    let (kind, local, far) = match world.sites {
        Outer::V4 => ("gre", remote, VIP[0]),
        Outer::V6 => ("ip6gre", remote6, VIP[1]),
    };
    let key = match world.tunnels[0] {
        Kind::Gre { key: Some(key), .. } => format!("key {key}"),
        _ => String::new(),
    };
    format!(
        "ip link set eth0 up
         ip address add {remote}/28 dev eth0
         ip address add {remote6}/64 dev eth0 nodad
         ip route add 198.51.100.0/24 via {router}
         ip route add 2001:db8:100::/64 via {router6}
         ip link add tunnel type {kind} local {local} remote {far} ttl 64 {key}
         ip link set tunnel up
         ip address add {}/32 dev tunnel
         ip address add {}/128 dev tunnel nodad
         ip route add default dev tunnel
         ip -6 route add default dev tunnel
         ",
        HQ[0], HQ[1]
    )
}

/// A site on a VLAN.
fn dc() -> String {
    let ([own, own6], [gateway, gateway6]) = (CONTOSO.vlan_peer, CONTOSO.vlan_gateway);
    format!(
        "ip link set eth1 up
         ip link add link eth1 name vlan type vlan id {}
         ip link set vlan up
         ip address add {own}/24 dev vlan
         ip address add {own6}/64 dev vlan nodad
         ip address add {}/32 dev lo
         ip address add {}/128 dev lo nodad
         ip route add default via {gateway} src {}
         ip -6 route add default via {gateway6} src {}
         ",
        CONTOSO.vlan, DC[0], DC[1], DC[0], DC[1]
    )
}

/// A compute host whose overlay device is itself the tenant's machine.
fn compute_host(world: &World) -> String {
    let subnet = SUBNETS[0];
    let vsid = CONTOSO.vsids[0];
    let (local, remote) = (world.underlay.of(HOST_PA[0]), world.underlay.of(GATEWAY_PA));
    let device = match (world.encapsulation, world.underlay) {
        (Encapsulation::Vxlan, Outer::V4) => format!("type vxlan id {vsid} dstport 4789 nolearning"),
        (Encapsulation::Vxlan, Outer::V6) => {
            format!("type vxlan id {vsid} dstport 4789 nolearning udp6zerocsumtx udp6zerocsumrx")
        }
        // A VSID is the upper 24 bits of the key; the lower 8 tell flows apart.
        (Encapsulation::Nvgre, Outer::V4) => format!("type gretap key {}", vsid << 8),
        (Encapsulation::Nvgre, Outer::V6) => format!("type ip6gretap key {}", vsid << 8),
    };
    let [address, address6] = subnet.addresses;
    let mut script = format!(
        "ip link set eth2 mtu {FABRIC_MTU} up
         ip address add {}/24 dev eth2
         ip address add {}/64 dev eth2 nodad
         ip link add overlay address {} {device} local {local} remote {remote}
         ip link set overlay mtu {MTU} up
         ip address add {address}/24 dev overlay
         ip address add {address6}/64 dev overlay nodad
         ",
        HOST_PA[0][0], HOST_PA[0][1], subnet.mac
    );
    for router in subnet.router {
        script += &format!(
            "ip neighbour add {router} lladdr {GATEWAY_MAC} dev overlay nud permanent
             ip route add default via {router}
             "
        );
    }
    script
}
