//! What is done inside a compartment's namespace, by a thread that has entered it.

use super::compartment::{Attachment, ROUTED};
use crate::net::ethtool::{self, Ethtool};
use crate::net::links::{Link, Mac};
use crate::net::neighbours::permanent;
use crate::net::netlink::{Mode, Monitor, Netlink, NetlinkError, Scope};
use anyhow::Context;
use gateway_common::tables::GATEWAY_MAC;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

/// The pipeline as the next hop of `gw0`: link-local, so no tenant's address is taken for it.
const PIPELINE4: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 1);
const PIPELINE6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const LOOPBACK: u32 = 1;

/// Settings of the namespace. `default` holds for links made later, so this comes before any link.
const SETTINGS: &[(&str, &str)] = &[
    // The pipeline forwards, not this kernel.
    ("ipv4/ip_forward", "0"),
    ("ipv6/conf/all/forwarding", "0"),
    ("ipv6/conf/default/forwarding", "0"),
    // Answers leave by gw0 whatever link the question came in by.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // ARP speaks on a VLAN of the addresses of that VLAN only.
    ("ipv4/conf/all/arp_ignore", "1"),
    ("ipv4/conf/all/arp_announce", "2"),
    // Routes are the plan's alone.
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv6/conf/all/accept_redirects", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/autoconf", "0"),
    // An address serves from the moment it is there: a seat that moves brings addresses that were elsewhere a moment ago.
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/dad_transmits", "0"),
];

/// Sets the namespace up, before its links.
pub fn prepare() -> anyhow::Result<()> {
    for (setting, value) in SETTINGS {
        let path = format!("/proc/sys/net/{setting}");
        match std::fs::write(&path, value) {
            // A kernel without IPv6.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            result => result.with_context(|| format!("cannot set {setting} inside the compartment"))?,
        }
    }
    Ok(())
}

/// A socket that hears of the namespace's neighbours.
pub fn monitor() -> Result<OwnedFd, NetlinkError> {
    Monitor::open(Scope::Neighbours)
}

/// Makes the inner end of an attachment what it is to be.
pub fn configure(netlink: &mut Netlink, link: &Link, attachment: &Attachment) -> anyhow::Result<()> {
    let name = &attachment.name;
    Ethtool::new(name)?.switch(name, ethtool::compartment_features).context("cannot switch its offloads")?;
    let mut changes = Vec::new();
    if link.mac != attachment.mac {
        changes.push(LinkAttribute::Address(attachment.mac.to_vec()));
    }
    if link.mtu != attachment.mtu {
        changes.push(LinkAttribute::Mtu(attachment.mtu));
    }
    if !changes.is_empty() {
        netlink.set_link(link.index, changes)?;
    }
    if !link.up {
        netlink.set_flags(LOOPBACK, LinkFlags::Up, LinkFlags::empty())?;
        netlink.set_flags(link.index, LinkFlags::Up, LinkFlags::empty())?;
    }
    addresses(netlink, link.index, &attachment.addresses)?;
    if attachment.name == ROUTED {
        for (destination, pipeline) in [
            (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(PIPELINE4)),
            (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(PIPELINE6)),
        ] {
            let mac: Mac = GATEWAY_MAC;
            let neighbour = RouteNetlinkMessage::NewNeighbour(permanent((link.index, pipeline), mac));
            netlink.request(neighbour, Mode::Replace)?;
            netlink
                .request(RouteNetlinkMessage::NewRoute(default_route(destination, pipeline, link.index)), Mode::Replace)
                .context("cannot set its default route")?;
        }
    }
    Ok(())
}

/// Adds what is missing and removes what is not wanted, link-local addresses aside.
fn addresses(netlink: &mut Netlink, link: u32, wanted: &BTreeSet<(IpAddr, u8)>) -> anyhow::Result<()> {
    let mut found = BTreeSet::new();
    let mut requests = Vec::new();
    for message in netlink.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))? {
        let RouteNetlinkMessage::NewAddress(message) = message else { continue };
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        });
        let Some(address) =
            address.filter(|_| message.header.index == link && message.header.scope != AddressScope::Link)
        else {
            continue;
        };
        found.insert((address, message.header.prefix_len));
        if !wanted.contains(&(address, message.header.prefix_len)) {
            requests.push((RouteNetlinkMessage::DelAddress(message), Mode::Change));
        }
    }
    for &(address, length) in wanted.difference(&found) {
        requests.push((RouteNetlinkMessage::NewAddress(address_message(link, address, length)), Mode::Replace));
    }
    for answer in netlink.batch(requests) {
        answer.context("cannot set its addresses")?;
    }
    Ok(())
}

fn address_message(link: u32, address: IpAddr, length: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = length;
    message.header.index = link;
    message.attributes.push(AddressAttribute::Address(address));
    match address {
        IpAddr::V4(v4) => {
            message.attributes.push(AddressAttribute::Local(address));
            if length < 31 {
                let host_bits = u32::MAX.checked_shr(u32::from(length)).unwrap_or_default();
                message.attributes.push(AddressAttribute::Broadcast(Ipv4Addr::from(u32::from(v4) | host_bits)));
            }
        }
        IpAddr::V6(_) => message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad)),
    }
    message
}

fn default_route(destination: IpAddr, via: IpAddr, link: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(destination),
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        flags: RouteFlags::Onlink,
        ..RouteHeader::default()
    };
    message.attributes = vec![RouteAttribute::Gateway(via.into()), RouteAttribute::Oif(link)];
    message
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
