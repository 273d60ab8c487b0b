//! Compartments: a network namespace for each tenant that has something for a kernel to do here.
//!
//! Inside are `gw0`, with the tenant's own gateway addresses and the way to everything (the pipeline), and a veth for each L3
//! connection, with the gateway's addresses on that VLAN. The other ends are on the host and carry the program `compartment`.
//!
//! ```text
//!   gw-contoso:  gw0 10.1.255.1/32            vlan1001p4 10.127.134.50/24
//!                 │  default via it            │  ARP, ND with the VLAN's peers
//!   host:        gwc3f…  (program compartment) gwc81…  (program compartment)
//! ```
//!
//! They outlive the daemon. A daemon that starts makes of what it finds what the plan wants, also of what was left half made.

use super::inside;
use super::standing::Standing;
use crate::dataplane::world::{CompartmentState, ConnectionName, Neighbour, PortState, World};
use crate::net::links::{Link, Mac, VethEnd};
use crate::net::neighbours::{Heard, Neighbours, OnLink};
use crate::net::netlink::{Change, Netlink, NetlinkError};
use crate::net::netns::{self, Netns};
use crate::plan::{Connection, ConnectionKind, Plan, Tenant};
use anyhow::{Context, bail};
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What the names of compartments' namespaces start with.
pub const PREFIX: &str = "gw-";
/// The routed attachment, inside.
pub const ROUTED: &str = "gw0";
/// The MAC address of every routed attachment: it is alone with the pipeline, so one does for all.
pub const MAC: Mac = [0x02, 0x00, 0x5e, 0x00, 0x00, 0x02];
/// What the programs take of a frame in one piece.
const MAX_MTU: u32 = 3500;

/// What one compartment is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `gw0` first, then the VLANs.
    pub attachments: Vec<Attachment>,
}

/// One veth of a compartment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The name inside.
    pub name: String,
    /// The name on the host.
    pub root_name: String,
    /// What a person sees of it on the host.
    pub alias: String,
    /// The MAC address inside.
    pub mac: Mac,
    /// The MTU of both ends.
    pub mtu: u32,
    /// The addresses inside, with their prefix lengths.
    pub addresses: BTreeSet<(IpAddr, u8)>,
    /// For a VLAN: the connection.
    pub connection: Option<String>,
    /// For a VLAN: who is to be kept resolved.
    pub peers: BTreeSet<IpAddr>,
}

/// The compartments that a plan needs, by tenant's key. A VLAN whose port is not there has no attachment yet. One of a seat has the seat's own
/// MAC address, and asks for nobody while another gateway holds the seat.
pub fn wanted(plan: &Plan, ports: &BTreeMap<String, PortState>, standing: &Standing) -> BTreeMap<String, Wanted> {
    let mtu = ports.values().map(|port| port.mtu).max().unwrap_or(1500).min(MAX_MTU);
    let mut all = BTreeMap::new();
    for tenant in &plan.tenants {
        let name = tenant.key().into_owned();
        let mac = plan.seat_of(tenant).map(|seat| seat.mac.get().octets());
        let asks = standing.speaks_for(tenant);
        let vlans: Vec<Attachment> = tenant
            .connections
            .iter()
            .filter_map(|connection| match &connection.kind {
                ConnectionKind::L3(l3) => Some((connection, l3)),
                ConnectionKind::Gre(_) => None,
            })
            .filter_map(|(connection, l3)| {
                let port = ports.get(&l3.port.to_string())?;
                let inner = format!("vlan{}p{}", l3.vlan, port.ifindex);
                Some(Attachment {
                    root_name: root_name(&name, &inner),
                    alias: format!("gateway: tenant {name}, VLAN {} on {}", l3.vlan, l3.port),
                    name: inner,
                    mac: mac.unwrap_or(port.mac),
                    mtu: port.mtu.min(MAX_MTU),
                    addresses: l3.addresses.iter().map(|address| (address.addr(), address.prefix_len())).collect(),
                    connection: Some(connection.name.to_string()),
                    peers: peers_on(tenant, connection).filter(|_| asks).collect(),
                })
            })
            .collect();
        let has_l3 = tenant.connections.iter().any(|connection| matches!(connection.kind, ConnectionKind::L3(_)));
        if tenant.own_addresses().next().is_none() && !has_l3 {
            continue;
        }
        let routed = Attachment {
            name: ROUTED.to_owned(),
            root_name: root_name(&name, ROUTED),
            alias: format!("gateway: tenant {name}"),
            mac: MAC,
            mtu,
            addresses: tenant.own_addresses().map(|ip| (ip, if ip.is_ipv4() { 32 } else { 128 })).collect(),
            connection: None,
            peers: BTreeSet::new(),
        };
        all.insert(name, Wanted { attachments: std::iter::once(routed).chain(vlans).collect() });
    }
    all
}

/// Whom a tenant has to do with on the VLAN of an L3 connection: its peers, its routes' next hops, and the routers that speak BGP by it.
pub fn peers_on<'a>(tenant: &'a Tenant, connection: &'a Connection) -> impl Iterator<Item = IpAddr> + 'a {
    let next_hops = connection.routes.iter().filter_map(|route| route.next_hop);
    let routers = tenant.peers_by(connection).map(|peer| peer.address);
    connection.peers.iter().copied().chain(next_hops).chain(routers)
}

/// The host end's name. Tenants' names are longer than an interface's may be, so it is a hash; the alias tells a person.
fn root_name(tenant: &str, inner: &str) -> String {
    // FNV-1a: stable for ever, as the names outlive the daemon.
    let hash = tenant
        .bytes()
        .chain([0])
        .chain(inner.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("gwc{:012x}", hash >> 16)
}

/// A compartment as it is.
#[derive(Debug)]
struct Compartment {
    wanted: Wanted,
    /// By the attachments' names.
    links: BTreeMap<String, Ends>,
    /// Of a compartment with VLANs.
    inside: Option<Inside>,
}

impl Compartment {
    /// Asks for others on its VLANs, of whom some are known; nothing if that is not all that is to be different.
    fn ask(&mut self, wanted: &Wanted, known: &[(Neighbour, Mac)]) -> Option<anyhow::Result<()>> {
        if self.wanted.without_peers() != wanted.without_peers() {
            return None;
        }
        let inside = self.inside.as_mut()?;
        let vlans = vlans(wanted, &self.links);
        inside.neighbours.want(vlans.iter().map(|(_, link)| *link).collect(), peers(&vlans));
        let links: BTreeMap<&str, u32> =
            vlans.iter().filter_map(|(attachment, link)| Some((attachment.connection.as_deref()?, *link))).collect();
        let known = known.iter().filter_map(|(station, mac)| {
            let link = links.get(station.connection.connection.as_str())?;
            Some(((*link, station.address), *mac))
        });
        let adopted = inside.neighbours.adopt(&mut inside.netlink, known);
        let read = inside.neighbours.read(&mut inside.netlink);
        inside.neighbours.manage(&mut inside.netlink);
        self.wanted = wanted.clone();
        Some(adopted.and(read).map_err(Into::into))
    }
}

impl Wanted {
    fn without_peers(&self) -> Vec<Attachment> {
        let bare = |attachment: &Attachment| Attachment { peers: BTreeSet::new(), ..attachment.clone() };
        self.attachments.iter().map(bare).collect()
    }
}

/// The interface indices of a veth's ends.
#[derive(Clone, Copy, Debug)]
struct Ends {
    root: u32,
    inner: u32,
}

#[derive(Debug)]
struct Inside {
    netlink: Netlink,
    neighbours: Neighbours,
    /// Until the agent takes it.
    monitor: Option<OwnedFd>,
}

/// All compartments of the gateway.
#[derive(Debug)]
pub struct Compartments {
    directory: PathBuf,
    live: BTreeMap<String, Compartment>,
}

impl Compartments {
    /// Those whose namespaces are named in `directory`. Nothing is looked at yet.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), live: BTreeMap::new() }
    }

    /// Refuses to take for a compartment of ours what is none: what is wanted, not known, and there all the same.
    pub fn refuse_others(
        &self,
        root: &mut Netlink,
        wanted: &BTreeMap<String, Wanted>,
        known: &BTreeSet<String>,
    ) -> anyhow::Result<()> {
        let fresh: Vec<(&String, &Wanted)> = wanted.iter().filter(|(tenant, _)| !known.contains(*tenant)).collect();
        for (tenant, _) in &fresh {
            let path = self.path(tenant);
            if Netns::open(&path).is_ok() {
                bail!(
                    "the namespace {} is there already, and not as a compartment of this gateway; remove it \
                     (`ip netns delete {PREFIX}{tenant}`), or start with another --netns directory",
                    path.display()
                );
            }
        }
        let names =
            fresh.iter().flat_map(|(_, wanted)| &wanted.attachments).map(|attachment| attachment.root_name.as_str());
        if let Some(link) = root.links(names)?.into_iter().flatten().next() {
            bail!(
                "there is an interface {0} already, as another gateway's for a tenant of the same name would be; detach that \
                 one, or remove what it left (`ip link delete {0}`)",
                link.name
            );
        }
        Ok(())
    }

    /// Makes the compartments what is wanted. Those in `known` that are not wanted are removed; `known` is what the daemon or
    /// its predecessors made. One that cannot be made does not keep the others from being made.
    pub fn reconcile(
        &mut self,
        root: &mut Netlink,
        wanted: BTreeMap<String, Wanted>,
        known: &BTreeSet<String>,
    ) -> Vec<(String, anyhow::Error)> {
        let mut failures = Vec::new();
        if !wanted.is_empty()
            && let Err(error) = netns::prepare_directory(&self.directory)
        {
            let error = anyhow::Error::new(error).context(format!("cannot prepare {}", self.directory.display()));
            failures.push((String::new(), error));
        }
        let gone: BTreeSet<String> =
            known.iter().chain(self.live.keys()).filter(|name| !wanted.contains_key(*name)).cloned().collect();
        failures.extend(self.remove(root, &gone));
        for (name, wanted) in wanted {
            if self.live.get(&name).is_some_and(|compartment| compartment.wanted == wanted) {
                continue;
            }
            let asked = self.live.get_mut(&name).and_then(|compartment| compartment.ask(&wanted, &[]));
            if let Some(Ok(())) = asked {
                continue;
            }
            match self.ensure(root, &name, wanted) {
                Ok(compartment) => {
                    tracing::debug!(tenant = name, "compartment is ready");
                    self.live.insert(name, compartment);
                }
                Err(error) => {
                    self.live.remove(&name);
                    failures.push((name, error));
                }
            }
        }
        failures
    }

    /// Has those that are there ask for whom they are to ask, and for nobody else. Their kernels go by the stations that are known, by tenant's
    /// key, and ask whether they are still there.
    pub fn ask(&mut self, wanted: &BTreeMap<String, Wanted>, known: &BTreeMap<String, Vec<(Neighbour, Mac)>>) {
        for (name, compartment) in &mut self.live {
            let known = known.get(name).map_or(&[][..], Vec::as_slice);
            if let Some(wanted) = wanted.get(name).filter(|wanted| compartment.wanted != **wanted || !known.is_empty())
                && let Some(Err(error)) = compartment.ask(wanted, known)
            {
                tracing::warn!(
                    tenant = name,
                    error = format!("{error:#}"),
                    "the compartment's neighbours cannot be asked for"
                );
            }
        }
    }

    /// Tells the world of the compartments, their attachments and their neighbours.
    pub fn tell(&self, world: &mut World) {
        world.compartments.clear();
        world.attachments.clear();
        world.neighbours.clear();
        for (tenant, compartment) in &self.live {
            for attachment in &compartment.wanted.attachments {
                let Some(ends) = compartment.links.get(&attachment.name) else { continue };
                let Some(connection) = &attachment.connection else {
                    world
                        .compartments
                        .insert(tenant.clone(), CompartmentState { ifindex: ends.root, mac: attachment.mac });
                    continue;
                };
                let connection = ConnectionName { tenant: tenant.clone(), connection: connection.clone() };
                world.attachments.insert(connection.clone(), ends.root);
                let resolved = compartment.inside.iter().flat_map(|inside| inside.neighbours.resolved());
                for ((link, address), mac) in resolved.filter(|((link, _), _)| *link == ends.inner) {
                    debug_assert_eq!(link, ends.inner);
                    world.neighbours.insert(Neighbour { connection: connection.clone(), address }, mac);
                }
            }
        }
    }

    /// The notification sockets that were opened since the last call, by tenant. One for a tenant replaces its former one.
    pub fn take_monitors(&mut self) -> Vec<(String, OwnedFd)> {
        self.live
            .iter_mut()
            .filter_map(|(name, compartment)| Some((name.clone(), compartment.inside.as_mut()?.monitor.take()?)))
            .collect()
    }

    /// Takes a notification from a tenant's compartment; whether the world changed by it.
    pub fn heard(&mut self, tenant: &str, change: &Change) -> Result<Heard, NetlinkError> {
        let Some(inside) = self.live.get_mut(tenant).and_then(|compartment| compartment.inside.as_mut()) else {
            return Ok(Heard::Nothing);
        };
        let heard = match change {
            Change::Overrun => {
                inside.neighbours.read(&mut inside.netlink)?;
                Heard::Lost
            }
            change => inside.neighbours.heard_change(change),
        };
        if heard == Heard::Lost {
            inside.neighbours.manage(&mut inside.netlink);
        }
        Ok(heard)
    }

    /// Asks again for what no kernel keeps by itself; see [`Neighbours::needs_refresh`].
    pub fn refresh(&mut self) {
        for inside in self.live.values_mut().filter_map(|compartment| compartment.inside.as_mut()) {
            if inside.neighbours.needs_refresh() {
                inside.neighbours.manage(&mut inside.netlink);
            }
        }
    }

    /// Whether a peer on a VLAN has not answered (yet).
    pub fn awaits(&self) -> bool {
        self.live
            .values()
            .filter_map(|compartment| compartment.inside.as_ref())
            .any(|inside| inside.neighbours.awaits())
    }

    /// The tenants that have a compartment.
    pub fn tenants(&self) -> impl Iterator<Item = &str> {
        self.live.keys().map(String::as_str)
    }

    /// The host ends, by name and interface index.
    pub fn root_links(&self) -> impl Iterator<Item = (&str, u32)> {
        self.live.values().flat_map(|compartment| {
            compartment.wanted.attachments.iter().filter_map(|attachment| {
                Some((attachment.root_name.as_str(), compartment.links.get(&attachment.name)?.root))
            })
        })
    }

    /// Takes tenants' compartments away. Nothing happens for one that has none.
    pub fn remove<'a>(
        &mut self,
        root: &mut Netlink,
        tenants: impl IntoIterator<Item = &'a String>,
    ) -> Vec<(String, anyhow::Error)> {
        let mut failures = Vec::new();
        let (mut links, mut gone) = (Vec::new(), Vec::new());
        for tenant in tenants {
            self.live.remove(tenant);
            match self.host_ends_of(root, tenant) {
                Ok(mut found) => {
                    links.append(&mut found);
                    gone.push(tenant);
                }
                Err(error) => failures.push((tenant.clone(), error)),
            }
        }
        // Links go at once with their host ends; a namespace alone goes whenever the kernel gets to it.
        if let Err(error) = root.delete_links(&links) {
            failures.push((String::new(), anyhow::Error::new(error).context("cannot remove the compartments' links")));
        }
        for tenant in gone {
            let path = self.path(tenant);
            match netns::remove(&path).with_context(|| format!("cannot remove the namespace {}", path.display())) {
                Ok(()) => tracing::debug!(tenant, "compartment is gone"),
                Err(error) => failures.push((tenant.clone(), error)),
            }
        }
        failures
    }

    /// The host ends of whatever is in a tenant's compartment.
    fn host_ends_of(&self, root: &mut Netlink, tenant: &str) -> anyhow::Result<Vec<u32>> {
        let Ok(namespace) = Netns::open(&self.path(tenant)) else { return Ok(Vec::new()) };
        let links = namespace.run(|| Netlink::new().and_then(|mut netlink| netlink.all_links()))??;
        let names: Vec<String> = links.iter().map(|link| root_name(tenant, &link.name)).collect();
        let found = root.links(names.iter().map(String::as_str))?.into_iter().flatten();
        let joined = |host: &Link| links.iter().any(|link| link.peer == Some(host.index));
        Ok(found.filter(joined).map(|host| host.index).collect())
    }

    fn path(&self, tenant: &str) -> PathBuf {
        self.directory.join(format!("{PREFIX}{tenant}"))
    }

    fn ensure(&mut self, root: &mut Netlink, tenant: &str, wanted: Wanted) -> anyhow::Result<Compartment> {
        let path = self.path(tenant);
        let namespace = match Netns::open(&path) {
            Ok(namespace) => namespace,
            Err(_) => Netns::create(&path).with_context(|| format!("cannot make the namespace {}", path.display()))?,
        };
        let before = self.live.remove(tenant);
        namespace.run(|| -> anyhow::Result<Compartment> {
            let mut netlink = Netlink::new()?;
            let found: BTreeMap<String, Link> = netlink
                .all_links()?
                .into_iter()
                .filter(|link| !link.loopback)
                .map(|link| (link.name.clone(), link))
                .collect();
            let roots = host_ends(root, &wanted)?;
            inside::prepare()?;
            for (name, link) in &found {
                let wanted = wanted.attachments.iter().any(|attachment| attachment.name == *name);
                if !wanted && link.kind.as_deref() == Some("veth") {
                    netlink.delete_link(name)?;
                }
            }
            for attachment in &wanted.attachments {
                let (inner, host) = (found.get(&attachment.name), roots.get(&attachment.name));
                if !joined(inner, host) {
                    if inner.is_some() {
                        netlink.delete_link(&attachment.name)?;
                    }
                    if host.is_some() {
                        root.delete_link(&attachment.root_name)?;
                    }
                    connect(root, attachment, &namespace)?;
                }
            }
            let roots = host_ends(root, &wanted)?;
            let mut links = BTreeMap::new();
            for attachment in &wanted.attachments {
                let name = &attachment.name;
                let inner = netlink.link(name)?.with_context(|| format!("{name} vanished as soon as it was made"))?;
                let host = roots.get(name).with_context(|| format!("{} vanished", attachment.root_name))?;
                inside::configure(&mut netlink, &inner, attachment)
                    .with_context(|| format!("cannot set up {name} of the compartment {PREFIX}{tenant}"))?;
                open_host_end(root, host, attachment)?;
                links.insert(name.clone(), Ends { root: host.index, inner: inner.index });
            }
            let inside = keep_resolved(netlink, &wanted, &links, before.and_then(|before| before.inside))?;
            Ok(Compartment { wanted: wanted.clone(), links, inside })
        })?
    }
}

/// The host ends that exist, by the name of their other end.
fn host_ends(root: &mut Netlink, wanted: &Wanted) -> Result<BTreeMap<String, Link>, NetlinkError> {
    let links = root.links(wanted.attachments.iter().map(|attachment| attachment.root_name.as_str()))?;
    let pairs = wanted.attachments.iter().zip(links);
    Ok(pairs.filter_map(|(attachment, link)| Some((attachment.name.clone(), link?))).collect())
}

/// Whether two links are the ends of one veth.
fn joined(inner: Option<&Link>, host: Option<&Link>) -> bool {
    matches!((inner, host), (Some(inner), Some(host)) if inner.peer == Some(host.index) && host.peer == Some(inner.index))
}

fn connect(root: &mut Netlink, attachment: &Attachment, namespace: &Netns) -> anyhow::Result<()> {
    let here =
        VethEnd { name: attachment.root_name.clone(), mac: None, mtu: attachment.mtu, alias: attachment.alias.clone() };
    let there =
        VethEnd { name: attachment.name.clone(), mac: Some(attachment.mac), mtu: attachment.mtu, alias: String::new() };
    root.create_veth(&here, &there, Some(namespace))
        .with_context(|| format!("cannot make the veth pair of {}", attachment.alias))
}

/// The host's own stack has no business on a host end.
fn open_host_end(root: &mut Netlink, host: &Link, attachment: &Attachment) -> Result<(), NetlinkError> {
    if !host.up {
        root.disable_ipv6_autoconfiguration(host.index)?;
    }
    if host.mtu != attachment.mtu {
        root.set_link(host.index, vec![LinkAttribute::Mtu(attachment.mtu)])?;
    }
    root.set_flags(host.index, LinkFlags::Up | LinkFlags::Noarp, LinkFlags::empty())
}

/// Has the kernel inside keep the peers on the VLANs resolved, and listens to what becomes of them.
fn keep_resolved(
    netlink: Netlink,
    wanted: &Wanted,
    links: &BTreeMap<String, Ends>,
    before: Option<Inside>,
) -> anyhow::Result<Option<Inside>> {
    let vlans = vlans(wanted, links);
    if vlans.is_empty() {
        return Ok(None);
    }
    let mut inside = match before {
        Some(before) => before,
        None => Inside { netlink, neighbours: Neighbours::default(), monitor: Some(inside::monitor()?) },
    };
    inside.neighbours.want(vlans.iter().map(|(_, link)| *link).collect(), peers(&vlans));
    inside.neighbours.read(&mut inside.netlink)?;
    inside.neighbours.manage(&mut inside.netlink);
    Ok(Some(inside))
}

/// The VLANs' attachments, each with the interface index of its inner end.
fn vlans<'a>(wanted: &'a Wanted, links: &BTreeMap<String, Ends>) -> Vec<(&'a Attachment, u32)> {
    let vlans = wanted.attachments.iter().filter(|attachment| attachment.connection.is_some());
    vlans.filter_map(|attachment| Some((attachment, links.get(&attachment.name)?.inner))).collect()
}

/// Who is to be kept resolved on VLANs.
fn peers(vlans: &[(&Attachment, u32)]) -> HashSet<OnLink> {
    let of = |(attachment, link): &(&Attachment, u32)| {
        let on_link =
            |peer: &&IpAddr| attachment.addresses.iter().any(|&(ip, length)| same_network(ip, length, **peer));
        attachment.peers.iter().filter(on_link).map(|&peer| (*link, peer)).collect::<Vec<_>>()
    };
    vlans.iter().flat_map(of).collect()
}

fn same_network(address: IpAddr, length: u8, other: IpAddr) -> bool {
    ipnet::IpNet::new(address, length).is_ok_and(|network| network.contains(&other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_ends_have_names_that_the_kernel_takes_and_that_differ() {
        let names: HashSet<String> = (0..20_000)
            .flat_map(|n| [ROUTED, "vlan1001p4"].map(|inner| root_name(&format!("tenant-{n}"), inner)))
            .collect();
        assert_eq!(names.len(), 40_000);
        assert!(names.iter().all(|name| name.len() == 15));
        // They outlive the daemon: a later version must find them.
        assert_eq!(root_name("contoso", ROUTED), "gwc9fd1de70d940");
    }
}
