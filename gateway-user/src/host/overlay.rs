//! The kernel's VXLAN device, by which TCP goes to the machines.
//!
//! That it is there makes the kernel join segments of TCP inside VXLAN (GRO); and it alone can take the headers off such a train in a way that
//! the kernel knows it is in a tunnel no more. What the program `host` gives to it bears the number of a machine's interface.

use crate::net::links::Link;
use crate::net::netlink::Netlink;
use anyhow::{Context, bail};
use gateway_common::wire::VXLAN_PORT;
use netlink_packet_route::link::LinkFlags;

/// Its name.
pub const DEVICE: &str = "overlay0";

/// Makes the device, or takes the one that is there. Its interface index.
pub fn prepare(netlink: &mut Netlink) -> anyhow::Result<u32> {
    let taken = |what: &str| {
        format!(
            "cannot {what} the VXLAN device {DEVICE}; if another one has UDP port {VXLAN_PORT} (`ip -d link show type vxlan`), remove \
             that or give it another port"
        )
    };
    let link = match find(netlink)? {
        Some(link) => link,
        None => {
            netlink.create_vxlan(DEVICE, VXLAN_PORT, "gateway: overlay").with_context(|| taken("make"))?;
            find(netlink)?.with_context(|| format!("{DEVICE} vanished as soon as it was made"))?
        }
    };
    if link.kind.as_deref() != Some("vxlan") {
        bail!(
            "{DEVICE} is wanted for a VXLAN device, but something else has its name; rename or remove it (`ip link delete {DEVICE}`)"
        );
    }
    // It sends nothing, and neither the kernel's ARP nor its IPv6 has any business here.
    netlink.disable_ipv6_autoconfiguration(link.index)?;
    let flags = LinkFlags::Up | LinkFlags::Noarp;
    netlink.set_flags(link.index, flags, LinkFlags::empty()).with_context(|| taken("bring up"))?;
    Ok(link.index)
}

fn find(netlink: &mut Netlink) -> anyhow::Result<Option<Link>> {
    Ok(netlink.links([DEVICE])?.into_iter().flatten().next())
}

/// Takes it away, if it is there.
pub fn remove(netlink: &mut Netlink) -> anyhow::Result<()> {
    Ok(netlink.delete_link(DEVICE)?)
}
