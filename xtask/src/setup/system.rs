//! Programs that come from the distribution's packages. They are looked for by what they are, a program, so that this works on
//! every distribution; only installing them needs Debian's package names.

use super::{Group, Missing, Remedy};
use crate::process;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// A program and the Debian package that holds it.
struct Program {
    group: Group,
    name: &'static str,
    package: &'static str,
    why: &'static str,
}

const fn program(group: Group, name: &'static str, package: &'static str, why: &'static str) -> Program {
    Program { group, name, package, why }
}

const PROGRAMS: [Program; 23] = [
    program(Group::Build, "cc", "gcc", "links programs"),
    program(Group::Build, "protoc", "protobuf-compiler", "compiles the messages of etcd's client"),
    program(Group::Test, "ip", "iproute2", "makes the lab's namespaces and veths"),
    program(Group::Test, "tc", "iproute2", "pushes VLAN tags at a site's end"),
    program(Group::Test, "ethtool", "ethtool", "switches a test sender's offloads"),
    program(Group::Test, "ping", "iputils-ping", "asks who reaches whom"),
    program(Group::Test, "tracepath", "iputils-tracepath", "discovers path MTUs through the gateway"),
    program(Group::Test, "traceroute", "traceroute", "shows the gateway as a hop"),
    program(Group::Test, "iperf3", "iperf3", "carries TCP through the gateway"),
    program(Group::Test, "tcpdump", "tcpdump", "reads the captures that `gatewayctl trace -w` writes"),
    program(Group::Test, "curl", "curl", "asks the controller as anybody's script would"),
    program(Group::Test, "etcd", "etcd-server", "is a store of several controllers (never started as a service)"),
    program(Group::Test, "vtysh", "frr", "is a site's router (never started as a service)"),
    program(Group::Test, "bird", "bird2", "is a site's router (never started as a service)"),
    program(Group::Test, "gobgpd", "gobgpd", "is a site's router (never started as a service)"),
    program(Group::Test, "exabgp", "exabgp", "sends what no router would (never started as a service)"),
    program(
        Group::Bench,
        "ovs-vswitchd",
        "openvswitch-switch",
        "is the peer of the dataplane bench (never started as a service)",
    ),
    program(Group::Bench, "keepalived", "keepalived", "is the peer of the failover bench (never started as a service)"),
    program(Group::Vm, "qemu-system-x86_64", "qemu-system-x86", "runs the virtual machine"),
    program(Group::Vm, "depmod", "kmod", "orders the virtual machine's kernel modules"),
    program(Group::Vm, "modprobe", "kmod", "orders the virtual machine's kernel modules"),
    program(Group::Vm, "iperf3", "iperf3", "carries TCP to and from the virtual machine"),
    program(Group::Vm, "dpkg-deb", "dpkg", "unpacks the virtual machine's kernels"),
];

/// Where protoc finds the well-known types by itself.
const WELL_KNOWN_TYPES: [&str; 2] =
    ["/usr/include/google/protobuf/descriptor.proto", "/usr/local/include/google/protobuf/descriptor.proto"];

/// What is missing of one group's programs.
pub fn survey(group: Group) -> Vec<Missing> {
    let mut missing: Vec<Missing> = Vec::new();
    for program in PROGRAMS.iter().filter(|program| program.group == group) {
        if process::find(program.name).is_none() {
            missing.push(Missing {
                group,
                what: program.name.into(),
                why: program.why.into(),
                remedy: Remedy::Packages(vec![program.package.into()]),
            });
        }
    }
    if group == Group::Build && !WELL_KNOWN_TYPES.iter().any(|path| Path::new(path).exists()) {
        missing.push(Missing {
            group,
            what: "google/protobuf/descriptor.proto".into(),
            why: "is part of the messages of etcd's client".into(),
            remedy: Remedy::Packages(vec!["libprotobuf-dev".into()]),
        });
    }
    if group == Group::Vm && !process::find("busybox").is_some_and(|path| is_static(&path)) {
        missing.push(Missing {
            group,
            what: "busybox, statically linked".into(),
            why: "is the virtual machine's user space".into(),
            remedy: Remedy::Packages(vec!["busybox-static".into()]),
        });
    }
    missing
}

/// What is missing of rustup's components.
pub fn components() -> Vec<Missing> {
    [("cargo-fmt", "rustfmt", "checks the code's layout"), ("cargo-clippy", "clippy", "checks the code")]
        .into_iter()
        .filter(|(program, ..)| process::find(program).is_none())
        .map(|(_, component, why)| Missing {
            group: Group::Test,
            what: component.into(),
            why: why.into(),
            remedy: if process::find("rustup").is_some() {
                let mut command = Command::new("rustup");
                command.args(["component", "add", component]);
                Remedy::Command(Box::new(command))
            } else {
                Remedy::ByHand(format!("install {component} for the Rust compiler that cargo uses"))
            },
        })
        .collect()
}

/// Whether the program names no dynamic loader, which would stand near its start.
fn is_static(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut start));
    read.is_ok() && !start.windows(3).any(|window| window == b"ld-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamically_linked_program_is_told_apart() {
        assert!(!is_static(&process::find("sh").unwrap()));
        assert!(!is_static(Path::new("/nonexistent")));
    }
}
