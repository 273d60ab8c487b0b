//! Links: found by name, made, changed and removed.

use super::netlink::{Mode, Netlink, NetlinkError};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
};
use std::collections::HashSet;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

/// A MAC address.
pub type Mac = [u8; 6];

/// A link as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The interface index.
    pub index: u32,
    /// The name.
    pub name: String,
    /// The MAC address; zero for a link without one.
    pub mac: Mac,
    /// The largest IP packet.
    pub mtu: u32,
    /// The kind (`veth`, `bond` …); nothing for a physical device.
    pub kind: Option<String>,
    /// The bridge or bond that it belongs to.
    pub controller: Option<u32>,
    /// The index of the other end of a veth, in whatever namespace that is.
    pub peer: Option<u32>,
    /// The link-layer type is Ethernet.
    pub ethernet: bool,
    /// Administratively up.
    pub up: bool,
    /// Up and with a carrier.
    pub running: bool,
    /// A loopback device.
    pub loopback: bool,
    /// Promiscuous by somebody's command.
    pub promiscuous: bool,
    /// The id of the XDP program attached.
    pub xdp: Option<u32>,
}

impl Link {
    /// Reads what the kernel sent.
    pub fn from_message(message: &LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: [0; 6],
            mtu: 0,
            kind: None,
            controller: None,
            peer: None,
            ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::LowerUp),
            loopback: flags.contains(LinkFlags::Loopback),
            promiscuous: flags.contains(LinkFlags::Promisc),
            xdp: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().unwrap_or_default(),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::Link(index) => link.peer = Some(*index),
                LinkAttribute::LinkInfo(infos) => {
                    link.kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                LinkAttribute::Xdp(parts) => {
                    link.xdp = parts.iter().find_map(|part| match part {
                        LinkXdp::ProgId(id)
                        | LinkXdp::DrvProgId(id)
                        | LinkXdp::SkbProgId(id)
                        | LinkXdp::HwProgId(id) => Some(*id),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        link
    }
}

/// One end of a veth pair that is to be made.
#[derive(Clone, Debug, Default)]
pub struct VethEnd {
    /// The name.
    pub name: String,
    /// The MAC address; the kernel's choice without one.
    pub mac: Option<Mac>,
    /// The largest IP packet.
    pub mtu: u32,
    /// What a person sees of it in `ip link`.
    pub alias: String,
}

impl Netlink {
    /// The link with this name, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        Ok(self.links([name])?.pop().flatten())
    }

    /// The links with these names, in order.
    pub fn links<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Option<Link>>, NetlinkError> {
        let requests = names.into_iter().map(|name| (RouteNetlinkMessage::GetLink(named(name)), Mode::Get)).collect();
        self.batch(requests)
            .into_iter()
            .map(|answer| match answer {
                Ok(messages) => Ok(messages.iter().find_map(|message| match message {
                    RouteNetlinkMessage::NewLink(link) => Some(Link::from_message(link)),
                    _ => None,
                })),
                Err(error) if error.is_absent() => Ok(None),
                Err(error) => Err(error),
            })
            .collect()
    }

    /// All links of the namespace.
    pub fn all_links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let links = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(links
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewLink(link) => Some(Link::from_message(link)),
                _ => None,
            })
            .collect())
    }

    /// The host's own addresses.
    pub fn addresses(&mut self) -> Result<HashSet<IpAddr>, NetlinkError> {
        let addresses = self.dump(RouteNetlinkMessage::GetAddress(Default::default()))?;
        Ok(addresses
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewAddress(address) => {
                    // On a point-to-point link Address is the other side; Local is ours where both are given.
                    let find = |local: bool| {
                        address.attributes.iter().find_map(|attribute| match attribute {
                            AddressAttribute::Local(ip) if local => Some(*ip),
                            AddressAttribute::Address(ip) if !local => Some(*ip),
                            _ => None,
                        })
                    };
                    find(true).or_else(|| find(false))
                }
                _ => None,
            })
            .collect())
    }

    /// Makes a veth pair: one end here, the other in `namespace` (or here, without one).
    pub fn create_veth(
        &mut self,
        here: &VethEnd,
        there: &VethEnd,
        namespace: Option<&super::netns::Netns>,
    ) -> Result<(), NetlinkError> {
        let mut peer = end(there);
        if let Some(namespace) = namespace {
            peer.attributes.push(LinkAttribute::NetNsFd(namespace.file().as_raw_fd()));
        }
        let mut message = end(here);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.request(RouteNetlinkMessage::NewLink(message), Mode::Create)?;
        // The kernel ignores an alias that comes with the creation.
        if !here.alias.is_empty() {
            let mut message = named(&here.name);
            message.attributes.push(LinkAttribute::IfAlias(here.alias.clone()));
            self.request(RouteNetlinkMessage::SetLink(message), Mode::Change)?;
        }
        Ok(())
    }

    /// Makes a VXLAN device that takes all packets for UDP port `port`, whatever their network identifier.
    pub fn create_vxlan(&mut self, name: &str, port: u16, alias: &str) -> Result<(), NetlinkError> {
        let mut message = named(name);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vxlan),
            LinkInfo::Data(InfoData::Vxlan(vec![
                InfoVxlan::CollectMetadata(true),
                InfoVxlan::Learning(false),
                InfoVxlan::Port(port),
                InfoVxlan::UDPZeroCsumRX(true),
            ])),
        ]));
        self.request(RouteNetlinkMessage::NewLink(message), Mode::Create)?;
        let mut message = named(name);
        message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
        self.request(RouteNetlinkMessage::SetLink(message), Mode::Change).map(drop)
    }

    /// Changes attributes of the link with this index.
    pub fn set_link(&mut self, index: u32, attributes: Vec<LinkAttribute>) -> Result<(), NetlinkError> {
        let mut message = indexed(index);
        message.attributes = attributes;
        self.request(RouteNetlinkMessage::SetLink(message), Mode::Change).map(drop)
    }

    /// Sets flags of the link with this index, and clears others.
    pub fn set_flags(&mut self, index: u32, set: LinkFlags, clear: LinkFlags) -> Result<(), NetlinkError> {
        let mut message = indexed(index);
        message.header.flags = set;
        message.header.change_mask = set | clear;
        self.request(RouteNetlinkMessage::SetLink(message), Mode::Change).map(drop)
    }

    /// Keeps the kernel from giving the link IPv6 addresses by itself.
    pub fn disable_ipv6_autoconfiguration(&mut self, index: u32) -> Result<(), NetlinkError> {
        self.set_link(
            index,
            vec![LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
                In6AddrGenMode::None,
            )])])],
        )
    }

    /// Removes links, all in one go: one by one each costs the kernel a wait of some ten milliseconds.
    pub fn delete_links(&mut self, indices: &[u32]) -> Result<(), NetlinkError> {
        // A group that holds nothing else.
        const DOOMED: u32 = 0x6777_6465;
        let [first, rest @ ..] = indices else { return Ok(()) };
        if rest.is_empty() {
            return match self.request(RouteNetlinkMessage::DelLink(indexed(*first)), Mode::Change) {
                Err(error) if !error.is_absent() => Err(error),
                _ => Ok(()),
            };
        }
        let marks = indices.iter().map(|&index| {
            let mut message = indexed(index);
            message.attributes.push(LinkAttribute::Group(DOOMED));
            (RouteNetlinkMessage::SetLink(message), Mode::Change)
        });
        for answer in self.batch(marks.collect()) {
            match answer {
                Err(error) if !error.is_absent() => return Err(error),
                _ => {}
            }
        }
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(DOOMED));
        match self.request(RouteNetlinkMessage::DelLink(message), Mode::Change) {
            Err(error) if !error.is_absent() => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the link with this name; nothing if there is none.
    pub fn delete_link(&mut self, name: &str) -> Result<(), NetlinkError> {
        match self.request(RouteNetlinkMessage::DelLink(named(name)), Mode::Change) {
            Err(error) if !error.is_absent() => Err(error),
            _ => Ok(()),
        }
    }
}

fn indexed(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn end(end: &VethEnd) -> LinkMessage {
    let mut message = named(&end.name);
    // One queue: by default the kernel makes as many as there are processors, at both ends, ten thousand times.
    message.attributes.extend([
        LinkAttribute::Mtu(end.mtu),
        LinkAttribute::NumTxQueues(1),
        LinkAttribute::NumRxQueues(1),
    ]);
    if let Some(mac) = end.mac {
        message.attributes.push(LinkAttribute::Address(mac.to_vec()));
    }
    message
}
