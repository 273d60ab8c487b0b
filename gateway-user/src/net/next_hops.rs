//! The way to outer addresses: the kernel's route, then the neighbour that it leads to.
//!
//! Thousands of remotes usually share a few next hops: each next hop is resolved once, and a neighbour that moves costs no
//! lookup at all. A route that changes has all remotes looked up again, in batches.

use super::links::Mac;
use super::neighbours::{Heard, Neighbours, OnLink};
use super::netlink::{Change, Mode, Netlink, NetlinkError};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHopFlags, RouteType,
    RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

/// A port that next hops may lie behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The port's name.
    pub name: String,
    /// Its MAC address.
    pub mac: Mac,
    /// Its MTU, in bytes.
    pub mtu: u32,
}

/// A resolved way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The interface index of the port.
    pub link: u32,
    /// The next hop's MAC address.
    pub mac: Mac,
    /// The largest IP packet: the port's, or less where the route says so.
    pub mtu: u32,
}

/// What the routing table says of one remote.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Routed {
    /// Next hops in the kernel's order, and the route's MTU.
    Via(Vec<OnLink>, Option<u32>),
    /// No way, and why.
    Not(String),
}

/// The ways to a set of remotes.
#[derive(Debug, Default)]
pub struct NextHops {
    exits: BTreeMap<u32, Exit>,
    remotes: HashMap<IpAddr, Option<IpAddr>>,
    routed: HashMap<IpAddr, Routed>,
    neighbours: Neighbours,
    own: HashSet<IpAddr>,
}

/// What is to be done after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing.
    None,
    /// Ways may be others: ask for them.
    Ways,
    /// The neighbours are to be managed again: [`NextHops::manage`].
    Manage,
    /// The routes are to be looked up again: [`NextHops::look_up`].
    LookUp,
    /// Everything is to be read again: [`NextHops::resync`].
    Resync,
}

impl NextHops {
    /// Which ports may be left by, and which remotes are wanted, each with the source address that packets to it will have.
    /// Only what is new is asked of the kernel: of everything else [`Self::heard`] knows.
    pub fn want(
        &mut self,
        netlink: &mut Netlink,
        exits: BTreeMap<u32, Exit>,
        remotes: HashMap<IpAddr, Option<IpAddr>>,
    ) -> Result<(), NetlinkError> {
        let same_exits = self.exits == exits;
        let before = std::mem::replace(&mut self.remotes, remotes);
        self.exits = exits;
        if !same_exits {
            return self.resync(netlink);
        }
        let remotes = &self.remotes;
        self.routed.retain(|remote, _| remotes.get(remote).is_some_and(|source| before.get(remote) == Some(source)));
        let fresh = remotes.iter().filter(|(remote, _)| !self.routed.contains_key(*remote));
        let fresh = fresh.map(|(&remote, &source)| (remote, source)).collect();
        self.find_routes(netlink, fresh);
        self.neighbours.manage(netlink);
        Ok(())
    }

    /// Reads everything from the kernel.
    pub fn resync(&mut self, netlink: &mut Netlink) -> Result<(), NetlinkError> {
        self.own = netlink.addresses()?;
        self.routed.clear();
        self.find_routes(netlink, self.remotes.iter().map(|(&remote, &source)| (remote, source)).collect());
        self.neighbours.read(netlink)?;
        self.neighbours.manage(netlink);
        Ok(())
    }

    /// Looks every remote's route up again.
    pub fn look_up(&mut self, netlink: &mut Netlink) -> Result<(), NetlinkError> {
        self.own = netlink.addresses()?;
        self.routed.clear();
        self.find_routes(netlink, self.remotes.iter().map(|(&remote, &source)| (remote, source)).collect());
        self.neighbours.manage(netlink);
        Ok(())
    }

    /// Has the kernel keep the next hops resolved.
    pub fn manage(&mut self, netlink: &mut Netlink) {
        self.neighbours.manage(netlink);
    }

    /// Takes a notification.
    pub fn heard(&mut self, change: &Change) -> Effect {
        match change {
            Change::Neighbour { message, gone } => match self.neighbours.heard(message, *gone) {
                Heard::Nothing => Effect::None,
                Heard::Moved => Effect::Ways,
                Heard::Lost => Effect::Manage,
            },
            Change::Routes | Change::Addresses => Effect::LookUp,
            // A port that comes up again has lost its neighbours and, with IPv6, its routes.
            Change::Link { message, .. } if self.exits.contains_key(&message.header.index) => Effect::Resync,
            Change::Link { .. } => Effect::None,
            Change::Overrun => Effect::Resync,
        }
    }

    /// The ways that are resolved. Of several next hops the first that is.
    pub fn ways(&self) -> impl Iterator<Item = (IpAddr, Way)> {
        self.routed.iter().filter_map(|(&remote, routed)| {
            let Routed::Via(hops, limit) = routed else { return None };
            hops.iter().find_map(|&hop| {
                let exit = self.exits.get(&hop.0)?;
                let mac = self.neighbours.mac(hop)?;
                let mtu = limit.map_or(exit.mtu, |limit| limit.min(exit.mtu));
                Some((remote, Way { link: hop.0, mac, mtu }))
            })
        })
    }

    /// The remotes without a way, each with the reason.
    pub fn unresolved(&self) -> BTreeMap<IpAddr, String> {
        let resolved: HashSet<IpAddr> = self.ways().map(|(remote, _)| remote).collect();
        self.routed
            .iter()
            .filter(|(remote, _)| !resolved.contains(remote))
            .map(|(&remote, routed)| {
                let reason = match routed {
                    Routed::Not(reason) => reason.clone(),
                    Routed::Via(hops, _) => {
                        let hops: Vec<String> = hops.iter().map(|(_, address)| address.to_string()).collect();
                        format!("the next hop {} does not answer", hops.join(" or "))
                    }
                };
                (remote, reason)
            })
            .collect()
    }

    /// Whether a next hop has not answered (yet).
    pub fn awaits(&self) -> bool {
        self.neighbours.awaits()
    }

    /// The host's own addresses.
    pub fn own_addresses(&self) -> &HashSet<IpAddr> {
        &self.own
    }

    /// See [`Neighbours::needs_refresh`].
    pub fn needs_refresh(&self) -> bool {
        self.neighbours.needs_refresh()
    }

    /// Lets go of the kernel's entries.
    pub fn release(&mut self, netlink: &mut Netlink) {
        self.neighbours.release(netlink);
    }

    fn find_routes(&mut self, netlink: &mut Netlink, remotes: Vec<(IpAddr, Option<IpAddr>)>) {
        let questions = remotes
            .iter()
            .map(|&(remote, source)| {
                // The kernel refuses a source that is not its own: such a one cannot select a policy route.
                let source = source.filter(|source| self.own.contains(source));
                (RouteNetlinkMessage::GetRoute(question(remote, source)), Mode::Get)
            })
            .collect();
        let answers = netlink.batch(questions);
        for ((remote, _), answer) in remotes.into_iter().zip(answers) {
            let routed = match answer {
                Ok(messages) => messages
                    .iter()
                    .find_map(|message| match message {
                        RouteNetlinkMessage::NewRoute(route) => Some(self.read_route(remote, route)),
                        _ => None,
                    })
                    .unwrap_or_else(|| Routed::Not("the host has no route to it".to_owned())),
                Err(error) if matches!(error.errno(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH)) => {
                    Routed::Not("the host has no route to it".to_owned())
                }
                Err(error) => Routed::Not(format!("its route cannot be looked up: {error}")),
            };
            self.routed.insert(remote, routed);
        }
        let wanted: HashSet<OnLink> = self
            .routed
            .values()
            .filter_map(|routed| match routed {
                Routed::Via(hops, _) => Some(hops),
                Routed::Not(_) => None,
            })
            .flatten()
            .copied()
            .collect();
        self.neighbours.want(self.exits.keys().copied().collect(), wanted);
    }

    fn read_route(&self, remote: IpAddr, route: &RouteMessage) -> Routed {
        match route.header.kind {
            RouteType::Unicast => {}
            RouteType::Local => return Routed::Not("it is the host's own address".to_owned()),
            kind => return Routed::Not(format!("the host's route to it is of type {kind:?}")),
        }
        let mut hops = Vec::new();
        let mut mtu = None;
        let mut single = (None, None);
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::MultiPath(paths) => {
                    for path in paths {
                        if path.flags.intersects(RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown) {
                            continue;
                        }
                        let gateway = path.attributes.iter().find_map(gateway).unwrap_or(remote);
                        hops.push((path.interface_index, gateway));
                    }
                }
                RouteAttribute::Oif(link) => single.0 = Some(*link),
                RouteAttribute::Metrics(metrics) => {
                    mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) => Some(*mtu),
                        _ => None,
                    });
                }
                other => single.1 = single.1.or_else(|| gateway(other)),
            }
        }
        if hops.is_empty() {
            hops.extend(single.0.map(|link| (link, single.1.unwrap_or(remote))));
        }
        let elsewhere = hops.first().map(|hop| hop.0);
        hops.retain(|(link, _)| self.exits.contains_key(link));
        match (hops.is_empty(), elsewhere) {
            (false, _) => Routed::Via(hops, mtu),
            (true, None) => Routed::Not("the host's route to it has no usable next hop".to_owned()),
            (true, Some(link)) => {
                let ports: Vec<&str> = self.exits.values().map(|exit| exit.name.as_str()).collect();
                Routed::Not(format!(
                    "the host's route to it leaves by interface {link}, which is none of the plan's ports ({})",
                    ports.join(", ")
                ))
            }
        }
    }
}

fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(v4)) | RouteAttribute::Via(RouteVia::Inet(v4)) => {
            Some(IpAddr::V4(*v4))
        }
        RouteAttribute::Gateway(RouteAddress::Inet6(v6)) | RouteAttribute::Via(RouteVia::Inet6(v6)) => {
            Some(IpAddr::V6(*v6))
        }
        _ => None,
    }
}

fn question(remote: IpAddr, source: Option<IpAddr>) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (family, length) = match remote {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.header = RouteHeader {
        address_family: family,
        destination_prefix_length: length,
        source_prefix_length: source.map_or(0, |_| length),
        // The whole route as the administrator wrote it, all its next hops included, not one that the kernel chose.
        flags: RouteFlags::FibMatch,
        ..RouteHeader::default()
    };
    message.attributes.push(RouteAttribute::Destination(remote.into()));
    message.attributes.extend(source.map(|source| RouteAttribute::Source(source.into())));
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::route::RouteNextHop;

    fn next_hops() -> NextHops {
        let exit = |name: &str| Exit { name: name.to_owned(), mac: [2, 0, 0, 0, 0, 9], mtu: 1500 };
        NextHops { exits: BTreeMap::from([(3, exit("fab0")), (4, exit("tor0"))]), ..NextHops::default() }
    }

    fn route(kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.kind = kind;
        message.attributes = attributes;
        message
    }

    const REMOTE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 20));
    const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    #[test]
    fn without_a_gateway_the_remote_itself_is_the_next_hop() {
        let routed = next_hops().read_route(REMOTE, &route(RouteType::Unicast, vec![RouteAttribute::Oif(3)]));
        assert_eq!(routed, Routed::Via(vec![(3, REMOTE)], None));
    }

    #[test]
    fn dead_members_of_a_multipath_route_and_those_beyond_the_ports_are_left_out() {
        let member = |link, flags| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = link;
            hop.flags = flags;
            hop.attributes.push(RouteAttribute::Gateway(ROUTER.into()));
            hop
        };
        let members = vec![
            member(3, RouteNextHopFlags::Linkdown),
            member(9, RouteNextHopFlags::empty()),
            member(4, RouteNextHopFlags::empty()),
        ];
        let attributes =
            vec![RouteAttribute::MultiPath(members), RouteAttribute::Metrics(vec![RouteMetric::Mtu(1400)])];
        let routed = next_hops().read_route(REMOTE, &route(RouteType::Unicast, attributes));
        assert_eq!(routed, Routed::Via(vec![(4, ROUTER)], Some(1400)));
    }

    #[test]
    fn a_route_that_leads_elsewhere_is_told_with_its_reason() {
        for (kind, link, words) in [
            (RouteType::Unicast, 9, "none of the plan's ports (fab0, tor0)"),
            (RouteType::Local, 1, "the host's own address"),
            (RouteType::BlackHole, 3, "of type"),
        ] {
            let routed = next_hops().read_route(REMOTE, &route(kind, vec![RouteAttribute::Oif(link)]));
            assert!(matches!(&routed, Routed::Not(reason) if reason.contains(words)), "{routed:?}");
        }
    }
}
