//! Cables: veth pairs between the lab's machines, with the offloads switched so that what runs over them looks like a wire.

use std::sync::Arc;

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::node::Node;

/// One end of a cable.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The machine it is plugged into.
    pub node: &'a Arc<Node>,
    /// The interface's name there.
    pub name: &'a str,
    /// The interface's MAC address; the kernel chooses one if there is none.
    pub mac: Option<&'a str>,
    /// How many queues it has, to receive and to send.
    pub queues: u32,
    /// What the other end sends.
    pub receives: Receives,
}

/// What arrives at an end of a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receives {
    /// What a stack or a socket has sent.
    Sent,
    /// Also frames that an XDP program at the other end redirects. They need GRO here, which makes the NAPI context that they arrive in. Raw and
    /// packet sockets at this end would see merged packets.
    Redirected,
}

impl<'a> End<'a> {
    /// An end with a MAC address of the kernel's choice.
    pub fn new(node: &'a Arc<Node>, name: &'a str) -> Self {
        Self { node, name, mac: None, queues: 1, receives: Receives::Sent }
    }

    /// The same with this MAC address.
    pub fn mac(self, mac: &'a str) -> Self {
        Self { mac: Some(mac), ..self }
    }

    /// The same with so many queues.
    pub fn queues(self, queues: u32) -> Self {
        Self { queues, ..self }
    }

    /// The same for a cable whose other end is a port of the gateway's.
    pub fn from_gateway(self) -> Self {
        Self { receives: Receives::Redirected, ..self }
    }
}

/// Lays a cable and sets both ends up.
///
/// Checksums and VLAN tags are written by the sender, as on a wire, since an XDP program at the other end sees neither a checksum that is
/// still to be computed nor a tag beside the frame.
pub fn cable(mtu: u32, one: End<'_>, other: End<'_>) -> Result<()> {
    let options = |end: End<'_>| {
        let address = end.mac.map_or(String::new(), |mac| format!(" address {mac}"));
        format!("{address} numrxqueues {0} numtxqueues {0}", end.queues)
    };
    one.node.ip(&format!(
        "link add {} mtu {mtu}{} type veth peer name {} mtu {mtu}{} netns {}\n",
        one.name,
        options(one),
        other.name,
        options(other),
        other.node.namespaces().network.display(),
    ))?;
    // The offloads first: an interface learns only when it comes up whether its peer takes redirected frames.
    for end in [one, other] {
        plain(end)?;
    }
    for end in [one, other] {
        end.node.ip(&format!("link set {} up\n", end.name))?;
    }
    Ok(())
}

/// Has what is sent by an end be as on a wire: checksums computed, and every segment a frame of its own.
pub fn plain(end: End<'_>) -> Result<()> {
    end.node
        .within_network(|| {
            set(end.name, ETHTOOL_STXCSUM, 0)?;
            set(end.name, ETHTOOL_SFLAGS, 0)?;
            set(end.name, ETHTOOL_SGRO, u32::from(end.receives == Receives::Redirected))
        })
        .with_context(|| format!("on {}: cannot switch the offloads of {}", end.node.name(), end.name))
}

/// How many frames that an XDP program sent by one of these interfaces found the queue at the cable's other end full, ever.
pub fn overflows(node: &Node, interfaces: &[&str]) -> Result<u64> {
    let shown = node.sh(&format!("for at in {}; do ethtool -S $at; done", interfaces.join(" ")))?;
    let counts = shown.lines().filter_map(|line| line.trim().split_once(": "));
    let errors = counts.filter(|(name, _)| name.ends_with("_xdp_xmit_errors")).map(|(_, count)| count.parse::<u64>());
    errors.sum::<Result<u64, _>>().with_context(|| format!("on {}: no statistics: {shown}", node.name()))
}

/// Has an interface join the segments of a flow that it receives (GRO), as network cards have it by default.
pub fn join_segments(node: &Node, interface: &str) -> Result<()> {
    node.within_network(|| set(interface, ETHTOOL_SGRO, 1))
        .with_context(|| format!("on {}: cannot switch GRO of {interface} on", node.name()))
}

// Of linux/ethtool.h.
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_SFLAGS: u32 = 0x26;
const ETHTOOL_SGRO: u32 = 0x2c;

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

fn set(interface: &str, command: u32, data: u32) -> Result<()> {
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut value = Value { command, data };
    let mut request = request(interface)?;
    request.ifr_ifru.ifru_data = std::ptr::from_mut(&mut value).cast();
    // SAFETY: the request names an interface and points to a value that lives through the call.
    nix::errno::Errno::result(unsafe {
        libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&any), libc::SIOCETHTOOL, std::ptr::from_mut(&mut request))
    })?;
    Ok(())
}

/// A request about the interface of that name.
pub(crate) fn request(interface: &str) -> Result<libc::ifreq> {
    // SAFETY: all zeroes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    anyhow::ensure!(interface.len() < request.ifr_name.len(), "the interface name {interface} is too long");
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}
