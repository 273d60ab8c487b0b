//! A compute host: the edge of its tenants' virtual machines.
//!
//! It runs as the gateway's agent does, with the same data plane and the same loop, by a plan of its own ([`crate::plan::HostPlan`]):
//!
//! ```text
//!  VM ─ tap ─ vm (tc) ──────────────► fabric port        encapsulated, a train of segments still in one piece
//!               │ ARP, ND, echo, errors                          too big, and may be cut
//!               ▼                                                             │
//!          slow1 ─ slow0: reentry, stage_vm (XDP) ─ deliver (tc) ─► tap       ▼
//!                                                   │             slow0 ─ slow1: the slow path's thread
//!                                                   ▼                         │ pieces, to slow0 as above
//!                                          as if it had just come ◄───────────┘
//!
//!  fabric port ─ GRO ─ host (tc) ──────────────────────────► tap       headers off
//!                        │ TCP
//!                        ▼
//!                  overlay0 (VXLAN) ─ overlay (tc) ─────────► tap       headers off, and the mark that a train is in a tunnel
//! ```
//!
//! | to change | go to |
//! |---|---|
//! | what a host's plan may say | [`crate::plan::host`] |
//! | what the maps hold for it | [`crate::dataplane::compile_host`] |
//! | what is done at the start, and for a plan | [`crate::gateway`], where [`crate::gateway::Assignment`] tells the two apart |
//! | interfaces of virtual machines, and the way aside | here |

pub mod overlay;

use crate::dataplane::world::DeviceState;
use crate::net::ethtool::{CHECKSUMS, Ethtool, compartment_features};
use crate::net::links::Link;
use crate::net::netlink::{Netlink, NetlinkError};
use crate::plan::HostPlan;
use anyhow::Context;
use std::collections::BTreeMap;

/// The host's sides of virtual machines' interfaces that exist, by name.
pub fn devices(plan: &HostPlan, netlink: &mut Netlink) -> Result<BTreeMap<String, DeviceState>, NetlinkError> {
    let links = netlink.links(plan.devices().map(|name| name.as_str()))?;
    Ok(links
        .into_iter()
        .flatten()
        .map(|link| (link.name, DeviceState { ifindex: link.index, mtu: link.mtu }))
        .collect())
}

/// Readies an end by which tc hands frames on: the kernel cuts trains of segments and computes checksums before them.
pub fn prepare_aside(end: &str) -> anyhow::Result<()> {
    Ethtool::new(end)?
        .switch(end, compartment_features)
        .with_context(|| format!("cannot switch the offloads of {end} off"))
}

/// Whether frames leave by a port as they will be on the wire. A veth's far end may be an XDP program, to which a checksum that the hardware
/// was to compute is a wrong one.
pub fn leaves_unfinished(link: &Link, feature: &str) -> bool {
    link.kind.as_deref() == Some("veth") && CHECKSUMS.contains(&feature)
}
