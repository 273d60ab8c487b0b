//! A host that the gateway cannot run on: it says plainly what is missing and what to do, and leaves the host as it was.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use gateway_user::dataplane::attach::{Entry, Wanted};
use gateway_user::dataplane::pins::Mode;
use gateway_user::dataplane::{Dataplane, Options, detach};
use lab::gateway::{PLAN, program};
use lab::link::{End, cable};
use lab::node::{Node, Processes};

/// A machine with a port, a plan for it, and nothing else.
struct Host {
    node: Arc<Node>,
    _fabric: Arc<Node>,
}

impl Host {
    fn new() -> Result<Self> {
        let processes = Processes::new()?;
        let (node, fabric) = (Node::new("gateway", &processes)?, Node::new("fabric", &processes)?);
        cable(1500, End::new(&node, "fab0"), End::new(&fabric, "fab0"))?;
        let plan = "gateway = { name = 'gw1', encapsulation = 'vxlan', pa = ['10.10.0.1'] }\n\
                    port = [ { name = 'fab0', role = 'fabric' } ]\n\
                    tenant = [ { name = 'contoso', gateway_addresses = ['10.1.255.1'] } ]\n";
        node.write(PLAN, plan)?;
        Ok(Self { node, _fabric: fabric })
    }

    /// All that a daemon could change.
    fn look(&self) -> Result<String> {
        self.node.sh("ip -o link | cut -d: -f2; ip -d link show fab0 | grep -o 'prog/xdp.*' || true
                      ethtool -k fab0 | grep rx-vlan; ls -A /run /run/netns; mount | grep -c 'type bpf' || true
                      find /sys/fs/bpf -mindepth 1 ! -name '*.debug' 2>/dev/null || true")
    }

    /// Starts a daemon by way of other words; it must refuse in these words, and change nothing.
    fn refuses(&self, before: &[&str], after: &[&str], words: &[&str]) -> Result<()> {
        self.refuses_as("gateway", before, after, words)
    }

    /// The same in any role.
    fn refuses_as(&self, role: &str, before: &[&str], after: &[&str], words: &[&str]) -> Result<()> {
        let found = self.look()?;
        let mut command = Command::new("timeout");
        command.arg("60").args(before).arg(program("gatewayd")?).args([role, "--plan", PLAN]).args(after);
        let said = self.node.run(&mut command).err().map(|error| format!("{error:#}")).context("it started")?;
        ensure!(said.contains("exit status: 1"), "{said}");
        for words in words {
            ensure!(said.contains(words), "gatewayd did not say {words:?}: {said}");
        }
        let left = self.look()?;
        ensure!(left == found, "before:\n{found}\nafter:\n{left}");
        Ok(())
    }
}

#[test]
fn without_type_information_it_names_the_kernel_option() -> Result<()> {
    let host = Host::new()?;
    host.node.sh("mount -t tmpfs tmpfs /sys/kernel/btf")?;
    host.refuses(&[], &[], &["gatewayd: the kernel has no BTF", "CONFIG_DEBUG_INFO_BTF=y"])
}

#[test]
fn without_a_bpf_file_system_it_names_the_mount_and_does_it_where_it_may() -> Result<()> {
    let host = Host::new()?;
    let elsewhere = ["--pins", "/run/pins"];
    host.refuses(
        &[],
        &elsewhere,
        &["/run/pins is not on a BPF file system", "`mount -t bpf bpf /run/pins`", "--pins"],
    )?;
    // Where distributions mount it, the daemon does: here until something else stands in its way.
    host.node.sh("umount /sys/fs/bpf; ip link add slow0 type dummy || ip link add slow0 type veth peer name other0")?;
    let mut command = Command::new("timeout");
    command.arg("60").arg(program("gatewayd")?).args(["gateway", "--plan", PLAN]);
    let said = host.node.run(&mut command).err().map(|error| format!("{error:#}")).context("it started")?;
    ensure!(said.contains("mounted the BPF file system") && said.contains("ip link delete slow0"), "{said}");
    host.node.sh("mountpoint /sys/fs/bpf").map(drop)
}

#[test]
fn without_the_rights_it_names_them_and_asks_for_root() -> Result<()> {
    let host = Host::new()?;
    let bounded = |set: &'static str| ["setpriv", "--bounding-set", set];
    host.refuses(&bounded("-all"), &[], &["it lacks CAP_NET_ADMIN, CAP_SYS_ADMIN; run it as root"])?;
    host.refuses(&bounded("-net_admin"), &[], &["it lacks CAP_NET_ADMIN; run it as root"])?;
    host.refuses(&bounded("-sys_admin"), &[], &["it lacks CAP_SYS_ADMIN; run it as root"])?;
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-all"]).arg(program("gatewayctl")?).arg("detach");
    let said = host.node.run(&mut command).err().map(|error| format!("{error:#}")).context("it detached")?;
    ensure!(said.contains("run it as root"), "{said}");
    Ok(())
}

#[test]
fn a_port_that_another_program_has_is_left_to_it() -> Result<()> {
    let host = Host::new()?;
    let elsewhere = Options { pins: "/sys/fs/bpf/other".into(), state: "/run/other".into(), ..Options::default() };
    let other = host.node.within(|| -> Result<Dataplane> {
        let ifindex = nix::net::if_::if_nametoindex("fab0")?;
        let mut other = Dataplane::open(&elsewhere)?;
        other.attach(&[Wanted { name: "fab0".into(), ifindex, entry: Entry::Pass, mode: Mode::Native }])?;
        Ok(other)
    })?;
    let words = ["fab0: XDP is in use by another program", "bpftool net", "`ip link set dev fab0 xdp off`"];
    host.refuses(&[], &[], &words)?;
    let mut check = Command::new(program("gatewayctl")?);
    let said =
        host.node.run(check.args(["check", PLAN])).err().map(|error| format!("{error:#}")).context("it is fit")?;
    ensure!(said.contains("refused: XDP is in use by another program on fab0"), "{said}");
    // To the other one it is no other.
    let mut check = Command::new(program("gatewayctl")?);
    let said = host.node.run(check.args(["check", PLAN, "--pins", "/sys/fs/bpf/other"]))?;
    ensure!(said.contains("port fab0: fit"), "{said}");
    drop(other);
    host.node.within(|| detach(Path::new("/sys/fs/bpf/other"), Path::new("/run/other"))).map(drop)?;
    Ok(())
}

#[test]
fn what_has_the_name_or_the_port_of_a_hosts_own_device_stays_as_it_is() -> Result<()> {
    let host = Host::new()?;
    host.node.write(PLAN, "host = { name = 'host1', pa = ['10.10.0.11'] }\nport = [ { name = 'fab0' } ]\n")?;
    host.node.sh("ip link add overlay0 type veth peer name other0")?;
    let words = ["there is an interface overlay0 already", "`ip link delete overlay0`"];
    host.refuses_as("host", &[], &[], &words)?;
    host.node.sh("ip link delete overlay0; ip link add theirs type vxlan id 7 dstport 4789; ip link set theirs up")?;
    let words = ["the VXLAN device overlay0", "UDP port 4789", "`ip -d link show type vxlan`"];
    host.refuses_as("host", &[], &[], &words)?;
    host.node.sh("ip link show theirs").map(drop)
}
