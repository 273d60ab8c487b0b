//! The whole gateway on other kernels: daemon and client in a virtual machine, whose virtio cards are the ports, between the lab's hosts and sites.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gateway_user::api::report::{ConnectionReport, PortReport, StatusReport};
use lab::identity::who_is_at;
use lab::node::Node;
use lab::ping::Ping;
use lab::plan::Plan;
use lab::tenants::{FABRIC_MTU, GATEWAY_PA, GATEWAY_TOR, MTU, TENANT_GATEWAY, TOR, address};
use lab::throughput;
use lab::topology::{Members, Topology, World};
use lab::vm::{Kernel, Machine, Offloads, Vm};
use serde::de::DeserializeOwned;

#[test]
#[ignore = "takes minutes: `cargo xtask test vm --all`"]
fn the_gateway_runs_on_linux_6_12_and_a_reboot_leaves_nothing_of_it() -> Result<()> {
    runs_on(Kernel::Linux6_12)
}

#[test]
fn the_gateway_runs_on_linux_6_1_and_a_reboot_leaves_nothing_of_it() -> Result<()> {
    runs_on(Kernel::Linux6_1)
}

/// All that is tried with one machine.
fn runs_on(kernel: Kernel) -> Result<()> {
    if !kernel.is_offered() {
        eprintln!("this release of Debian has no such kernel: nothing is tested on it");
        return Ok(());
    }
    let mut gateway = VirtualGateway::boot(kernel)?;
    gateway.cards_are_looked_at()?;
    let before = gateway.traces()?;

    gateway.start()?;
    gateway.everyone_is_reached()?;
    gateway.tcp_flows()?;
    gateway.counters_are_shown()?;

    gateway.vm.sh("kill -9 $(cat /run/gateway/gatewayd.pid)")?;
    gateway.everyone_is_reached().context("without its daemon")?;
    gateway.start()?;
    ensure!(gateway.show::<StatusReport>("status")?.adopted, "the daemon did not adopt what was there");
    gateway.everyone_is_reached()?;

    gateway.stop()?;
    ensure!(gateway.traces()? != before, "nothing was left behind to forward packets");
    gateway.vm.sh("gatewayctl detach")?;
    let after = gateway.traces()?;
    ensure!(after == before, "before:\n{before}\nafter:\n{after}");

    // Once more, and the power is cut while packets flow.
    gateway.start()?;
    gateway.everyone_is_reached()?;
    let written = gateway.vm.sh("find / -xdev -newer /run/booted ! -path / ! -path /run ! -path /tmp")?;
    ensure!(
        written.trim().is_empty(),
        "this is neither below /run nor in the kernel, and outlives a reboot:\n{written}"
    );
    gateway.vm.reboot()?;
    gateway.connect()?;
    let fresh = gateway.traces()?;
    ensure!(fresh == before, "before:\n{before}\nafter the reboot:\n{fresh}");
    gateway.start()?;
    ensure!(!gateway.show::<StatusReport>("status")?.adopted, "something was left over");
    gateway.everyone_is_reached()
}

/// The lab with a virtual machine in the gateway's place.
struct VirtualGateway {
    vm: Vm,
    world: Topology,
    _elsewhere: Arc<Node>,
}

/// An emulated kernel takes its time, and an emulated verifier more of it.
const PATIENCE: Duration = Duration::from_secs(60);
const START: Duration = Duration::from_secs(200);

impl VirtualGateway {
    fn boot(kernel: Kernel) -> Result<Self> {
        let world = Topology::build(World::default(), |_| {})?;
        let elsewhere = world.machine("elsewhere")?;
        let plan = Plan::of(&world.world);
        let mut unfit = plan.clone();
        unfit.add("port", "name = 'unfit0'\nrole = 'site'");
        let mut machine = Machine::new(kernel)?.processors(2).own_program("gatewayd")?.own_program("gatewayctl")?;
        machine = machine.file("/etc/gateway/plan.toml", plan.to_string().into_bytes());
        machine = machine.file("/etc/gateway/unfit.toml", unfit.to_string().into_bytes());
        for (switch, mtu) in [(&world.fabric, FABRIC_MTU), (&world.tor, MTU)] {
            switch.ip("link set gateway down\n")?;
            machine = machine.card_with(Offloads::Switchable, switch, "linux", mtu)?;
            switch.ip("link set linux master switch\n")?;
        }
        machine = machine.card_with(Offloads::Fixed, &elsewhere, "linux", MTU)?;
        let vm = machine.boot(world.processes())?;
        let mut gateway = Self { vm, world, _elsewhere: elsewhere };
        gateway.connect()?;
        Ok(gateway)
    }

    /// What the machine's own system does at every boot.
    fn connect(&mut self) -> Result<()> {
        let mut script = String::new();
        for (card, port, mtu, [v4, v6]) in
            [("eth0", "fab0", FABRIC_MTU, GATEWAY_PA), ("eth1", "tor0", MTU, GATEWAY_TOR)]
        {
            script += &format!(
                "ip link set {card} name {port} mtu {mtu}; ip link set {port} up
                 ip address add {v4}/24 dev {port}; ip address add {v6}/64 dev {port} nodad\n"
            );
        }
        script += &format!("ip route add default via {}\nip route add default via {}\n", TOR[0], TOR[1]);
        self.vm.sh(&format!("{script}ip link set eth2 name unfit0 up; touch /run/booted"))?;
        Ok(())
    }

    /// What a gateway leaves or does not leave on its machine.
    /// The kernel's own routes to neighbours are left out: they come with a card's carrier, some time after the boot.
    fn traces(&mut self) -> Result<String> {
        self.vm.sh("ip -o link | grep -oE '^[0-9]+: [^:]+:|PROMISC|xdp[a-z]*'
                    find /sys/fs/bpf -mindepth 1 ! -name '*.debug'; ls -A /run /run/netns
                    ip rule; ip route; ip -6 route | grep -v '^fe80::/64'; ip maddress | grep static || true
                    for port in fab0 tor0; do ethtool -k $port | grep -E '^(rx-vlan-filter|rx-gro-hw|large-receive-offload)'; done")
    }

    fn start(&mut self) -> Result<()> {
        let begun = self.vm.sh_for(
            START,
            "gatewayd gateway --plan /etc/gateway/plan.toml > /tmp/log 2>&1 &
             daemon=$!
             until gatewayctl status > /dev/null 2>&1; do
                 kill -0 $daemon || { cat /tmp/log; exit 1; }
                 sleep 0.2
             done",
        );
        begun.map(drop).context("gatewayd does not start")
    }

    fn stop(&mut self) -> Result<()> {
        let script =
            "pid=$(cat /run/gateway/gatewayd.pid); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.1; done";
        self.vm.sh(script).map(drop)
    }

    fn show<T: DeserializeOwned>(&mut self, what: &str) -> Result<T> {
        let printed = self.vm.sh(&format!("gatewayctl show {what} -o json"))?;
        serde_json::from_str(&printed).with_context(|| printed)
    }

    fn circumstances(&mut self) -> String {
        let asked = "cat /tmp/log; gatewayctl show drops; gatewayctl show nexthops; gatewayctl show ports; ip -s link";
        self.vm.sh(asked).unwrap_or_else(|error| format!("{error:#}"))
    }

    /// A card whose hypervisor keeps its offloads to itself is refused, in words that help; those of the ports are not.
    fn cards_are_looked_at(&mut self) -> Result<()> {
        let said = self.vm.sh("gatewayctl check /etc/gateway/plan.toml")?;
        for words in
            ["port fab0: fit (driver virtio_net", "3 queues", "ethtool -K fab0 rx-gro-hw off", "makes tor0 promiscuous"]
        {
            ensure!(said.contains(words), "gatewayctl check did not say {words:?}:\n{said}");
        }
        for command in ["gatewayctl check", "gatewayd gateway --plan"] {
            let said = self.vm.sh(&format!("! {command} /etc/gateway/unfit.toml"))?;
            ensure!(said.contains("unfit0: packets arrive merged") && said.contains("ctrl_guest_offloads"), "{said}");
            ensure!(!said.contains("no native XDP"), "{said}");
        }
        Ok(())
    }

    fn everyone_is_reached(&mut self) -> Result<()> {
        let outcome = self.world.tenants().into_iter().try_for_each(reach_each_other);
        outcome.map_err(|error| error.context(self.circumstances()))
    }

    /// In whole segments with right checksums, whatever the cards would do for their machine.
    fn tcp_flows(&mut self) -> Result<()> {
        let members = &self.world.contoso;
        let mut outcome = Ok(());
        for (site, at) in members.all().into_iter().skip(2) {
            for at in at {
                outcome = outcome.and_then(|()| {
                    let rate = throughput::tcp(&members.vms[0], site, at, Duration::from_secs(1))?;
                    ensure!(rate > 0.0, "nothing arrives at {at}");
                    throughput::tcp(
                        site,
                        &members.vms[0],
                        members.all()[0].1[usize::from(at.is_ipv6())],
                        Duration::from_secs(1),
                    )
                    .map(drop)
                });
            }
        }
        outcome.map_err(|error| error.context(self.circumstances()))
    }

    fn counters_are_shown(&mut self) -> Result<()> {
        let connections: Vec<ConnectionReport> = self.show("connections")?;
        ensure!(connections.len() == 4, "{connections:#?}");
        for connection in connections {
            let traffic = &connection.traffic;
            ensure!(connection.state == "up" && traffic.in_packets > 0 && traffic.out_packets > 0, "{connection:#?}");
        }
        let ports: Vec<PortReport> = self.show("ports")?;
        for port in ports {
            let traffic = &port.traffic;
            ensure!(port.mode == "native" && traffic.in_packets > 0 && traffic.out_packets > 0, "{port:#?}");
        }
        Ok(())
    }
}

/// Every machine of a tenant reaches every other, itself and nobody of another tenant's, and the gateway's own address.
fn reach_each_other(members: &Members) -> Result<()> {
    for (from, own) in members.all() {
        for (to, addresses) in members.all().into_iter().filter(|(to, _)| to.name() != from.name()) {
            for (from_address, at) in own.into_iter().zip(addresses) {
                let heard = who_is_at(from, Some(from_address), at, PATIENCE)?;
                let name = heard.as_ref().map(|heard| heard.name.as_str());
                ensure!(
                    name == Some(to.name()),
                    "{} finds {name:?} at {at}, and should find {}",
                    from.name(),
                    to.name()
                );
            }
        }
        for at in TENANT_GATEWAY {
            let answer = Ping::to(address(at)).until_reply(from, PATIENCE)?;
            ensure!(answer.is_reply(), "{} has no reply from {at}: {answer:?}", from.name());
        }
    }
    Ok(())
}
