//! Whether a port is fit for the gateway: what would mislead the programs is switched, or refused with the reason.
//!
//! [`inspect`] looks and changes nothing. [`prepare`] switches what the reports say and notes it in a [`Switched`]; [`restore`]
//! undoes that.

use super::ethtool::{
    self, CHECKSUMS, Ethtool, Feature, GRO, GRO_HARDWARE, LRO, Membership, RX_VLAN_FILTER, RX_VLAN_STRIP,
};
use super::links::{Link, Mac};
use super::netlink::{Netlink, NetlinkError};
use super::{virtio, xdp_features};
use crate::plan::{ConnectionKind, Plan, Port, PortMode};
use anyhow::Context;
use netlink_packet_route::link::LinkFlags;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

/// The largest MTU with which every driver that takes our programs runs them: a frame, headroom and tail in one page.
pub const MAX_MTU: u32 = 3498;
/// Below this a port carries no tunnel of any use (IPv6's own minimum).
const MIN_MTU: u32 = 1280;

/// What is known of one port of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortReport {
    /// The interface's name.
    pub name: String,
    /// The driver.
    pub driver: Option<String>,
    /// The MTU.
    pub mtu: Option<u32>,
    /// The MAC address, as people write it.
    pub mac: Option<String>,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
}

impl PortReport {
    /// Whether the gateway can run on the port.
    pub fn is_fit(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict != Verdict::Refused)
    }
}

/// Something that a person should know of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What follows from it.
    pub verdict: Verdict,
    /// What was found.
    pub message: String,
    /// What to do about it; for what is switched, what the gateway does.
    pub remedy: String,
}

/// What follows from a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The gateway does not run on it.
    Refused,
    /// It runs, with the consequence that the message tells.
    Warning,
    /// The gateway switches it when it starts, and back when it is detached.
    Switched,
}

/// What was changed on the host, so that it can be undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Switched {
    /// Features that were on, by port.
    pub features: BTreeMap<String, BTreeSet<String>>,
    /// Multicast MAC addresses that were let in, by port.
    pub multicast: BTreeMap<String, BTreeSet<Mac>>,
    /// Ports that were made promiscuous.
    pub promiscuous: BTreeSet<String>,
}

/// Interfaces that run a program of this gateway's, by index; nothing if that cannot be told.
pub type Ours = Option<BTreeSet<u32>>;

/// Looks at the plan's ports. Only what keeps the kernel from being asked at all is an error.
pub fn inspect(plan: &Plan, ours: &Ours) -> anyhow::Result<Vec<PortReport>> {
    let mut netlink = Netlink::new().context("cannot talk to the kernel's routing")?;
    let links = netlink.links(plan.ports.iter().map(|port| port.name.as_str()))?;
    // The other links are only needed to name them in a remedy: a gateway with many tenants has tens of thousands.
    let plain = |link: &Link| link.controller.is_none() && matches!(link.kind.as_deref(), None | Some("veth" | "tun"));
    let all =
        if links.iter().all(|link| link.as_ref().is_some_and(plain)) { Vec::new() } else { netlink.all_links()? };
    Ok(plan.ports.iter().zip(links).map(|(port, link)| report(plan, port, link.as_ref(), &all, ours)).collect())
}

fn report(plan: &Plan, port: &Port, link: Option<&Link>, all: &[Link], ours: &Ours) -> PortReport {
    let name = port.name.to_string();
    let mut findings = Vec::new();
    let mut say = |verdict, message: String, remedy: String| findings.push(Finding { verdict, message, remedy });
    let Some(link) = link else {
        let names: Vec<&str> =
            all.iter().filter(|link| !link.loopback).map(|link| link.name.as_str()).take(12).collect();
        say(
            Verdict::Refused,
            format!("there is no interface {name}"),
            format!("name one of the host's interfaces in the plan ({})", names.join(", ")),
        );
        return PortReport { name, driver: None, mtu: None, mac: None, findings };
    };
    if port.mode == PortMode::Stack {
        ordinary(link, &mut say);
    } else {
        kind(link, all, &mut say);
    }
    size(port.mode, link, &mut say);
    if let (Some(program), Some(ours)) = (link.xdp, ours)
        && port.mode != PortMode::Stack
        && !ours.contains(&link.index)
    {
        say(
            Verdict::Refused,
            format!("XDP is in use by another program on {name}, number {program}"),
            format!(
                "see whose it is with `bpftool net`, and stop its owner or detach it (`ip link set dev {name} xdp off`)"
            ),
        );
    }
    if findings.is_empty() && !link.up {
        let remedy = format!("`ip link set {name} up`");
        findings.push(Finding {
            verdict: Verdict::Warning,
            message: format!("{name} is down: nothing passes"),
            remedy,
        });
    }
    let ethtool = Ethtool::new(&name);
    let driver = ethtool.as_ref().ok().and_then(|ethtool| ethtool.driver(&name).ok());
    if findings.iter().all(|finding| finding.verdict != Verdict::Refused) {
        let mut say = |verdict, message: String, remedy: String| findings.push(Finding { verdict, message, remedy });
        driver_support(port, link, driver.as_deref(), &mut say);
        if let (Ok(ethtool), PortMode::Native, Some("virtio_net")) = (&ethtool, port.mode, driver.as_deref()) {
            virtual_card(link, ethtool, &mut say);
        }
    }
    if findings.iter().all(|finding| finding.verdict != Verdict::Refused) {
        let mut say = |verdict, message: String, remedy: String| findings.push(Finding { verdict, message, remedy });
        match ethtool
            .and_then(|ethtool| Ok(ethtool.features(&name)?.into_iter().map(|(n, f)| (n.to_owned(), f)).collect()))
        {
            Ok(features) => offloads(plan, port, link, &features, &mut say),
            Err(error) => say(
                Verdict::Warning,
                format!("its offloads cannot be read: {error}"),
                "make sure that VLAN stripping and LRO are off".to_owned(),
            ),
        }
    }
    findings.sort_by_key(|finding| finding.verdict);
    PortReport { name, driver, mtu: Some(link.mtu), mac: Some(written(link.mac)), findings }
}

/// What tc asks of a port: that it carries Ethernet frames.
fn ordinary(link: &Link, say: &mut impl FnMut(Verdict, String, String)) {
    let name = &link.name;
    if link.loopback {
        say(Verdict::Refused, format!("{name} is the loopback device"), "name an interface that leads out".to_owned());
    } else if !link.ethernet {
        say(Verdict::Refused, format!("{name} is no Ethernet interface"), "name an Ethernet interface".to_owned());
    }
}

fn kind(link: &Link, all: &[Link], say: &mut impl FnMut(Verdict, String, String)) {
    let name = &link.name;
    let kind = link.kind.as_deref();
    let instead = |what: &str| format!("name {what} as ports instead, each by itself");
    if link.loopback {
        say(Verdict::Refused, format!("{name} is the loopback device"), "name an interface that leads out".to_owned());
    } else if matches!(kind, Some("bond" | "team")) {
        let remedy = instead("the members of the bond, taken out of it,");
        say(Verdict::Refused, format!("{name} is a bond: frames cannot be redirected into it reliably"), remedy);
    } else if kind == Some("bridge") {
        say(
            Verdict::Refused,
            format!("{name} is a bridge: native XDP does not run on it"),
            instead("the bridge's members, taken out of it,"),
        );
    } else if matches!(kind, Some("vlan" | "macvlan" | "macvtap" | "ipvlan")) {
        let under = link
            .peer
            .and_then(|index| all.iter().find(|link| link.index == index))
            .map_or("its parent", |link| &link.name);
        let remedy = format!("name {under} as the port; VLANs are told by the plan's L3 connections");
        say(Verdict::Refused, format!("{name} is a {} on top of another interface", kind.unwrap_or_default()), remedy);
    } else if let Some(kind) = kind.filter(|kind| !matches!(*kind, "veth" | "tun")) {
        say(
            Verdict::Refused,
            format!("{name} is a device of kind {kind}: native XDP does not run on it"),
            "name a physical interface, a virtual machine's one, or a veth".to_owned(),
        );
    } else if !link.ethernet {
        say(Verdict::Refused, format!("{name} is no Ethernet interface"), "name an Ethernet interface".to_owned());
    }
    if let Some(controller) = link.controller {
        let master = all.iter().find(|link| link.index == controller).map_or("another device", |link| &link.name);
        say(
            Verdict::Refused,
            format!("{name} belongs to {master}, which would take its frames"),
            format!("take it out: `ip link set {name} nomaster`"),
        );
    }
}

fn size(mode: PortMode, link: &Link, say: &mut impl FnMut(Verdict, String, String)) {
    let (name, mtu) = (&link.name, link.mtu);
    if mtu > MAX_MTU && mode != PortMode::Stack {
        say(
            Verdict::Refused,
            format!("{name} has MTU {mtu}; with XDP a frame must fit one page of memory"),
            format!("`ip link set {name} mtu {MAX_MTU}` or less"),
        );
    } else if mtu < MIN_MTU {
        say(
            Verdict::Refused,
            format!("{name} has MTU {mtu}: too small for a tunnel"),
            format!("`ip link set {name} mtu 1500`"),
        );
    }
}

fn driver_support(port: &Port, link: &Link, driver: Option<&str>, say: &mut impl FnMut(Verdict, String, String)) {
    let name = &link.name;
    if port.mode == PortMode::Generic {
        say(
            Verdict::Warning,
            format!("{name} runs in generic mode, at a fraction of the speed, and frames that arrive merged are lost"),
            "use mode = \"native\" where the driver can".to_owned(),
        );
        return;
    }
    if port.mode == PortMode::Stack {
        return;
    }
    let driver = driver.unwrap_or("unknown");
    match xdp_features::query(link.index) {
        // What a veth says depends on its other end at the moment; that end is looked at below.
        Ok(Some(_)) if link.kind.as_deref() == Some("veth") => {}
        Ok(Some(features)) if !features.runs_programs() || !features.redirects() => say(
            Verdict::Refused,
            format!("the driver of {name} ({driver}) has no native XDP"),
            "use another interface, or say mode = \"generic\" in the plan".to_owned(),
        ),
        // Some drivers say so only once a program is attached, which they need for their transmit queues.
        Ok(Some(features)) if !features.takes_redirected() && !TAKES_WITH_PROGRAM.contains(&driver) => say(
            Verdict::Refused,
            format!("frames cannot be redirected into {name}: its driver ({driver}) does not take them"),
            "use another interface, or say mode = \"generic\" in the plan".to_owned(),
        ),
        Ok(_) => {}
        Err(error) => tracing::debug!(port = name, %error, "the kernel does not tell what the driver can do with XDP"),
    }
}

/// A hypervisor's card: what it does to packets must be for the machine to switch, and sending wants queues.
fn virtual_card(link: &Link, ethtool: &Ethtool, say: &mut impl FnMut(Verdict, String, String)) {
    let name = &link.name;
    if let Some(wrong) = virtio::fixed_offload(name) {
        say(
            Verdict::Refused,
            format!("{name}: {wrong}, and the hypervisor does not let that be switched: its driver takes no XDP program then"),
            "give the virtual card `ctrl_guest_offloads`, or switch its guest offloads off (QEMU: `ctrl_guest_offloads=on` for the \
             device; libvirt: `<driver><guest csum='off' tso4='off' tso6='off' ecn='off' ufo='off'/></driver>`)"
                .to_owned(),
        );
        return;
    }
    // Once a program is attached, the queues that were set aside for it count among those in use.
    let (None, Ok(queues), Ok(processors)) = (link.xdp, ethtool.queues(name), aya::util::nr_cpus()) else { return };
    if let Some(needed) = queues.too_few_for(u32::try_from(processors).unwrap_or(u32::MAX)) {
        say(
            Verdict::Warning,
            format!(
                "{name} has too few queue pairs ({}) for {processors} processors: they send by turns, under a lock",
                queues.all
            ),
            format!(
                "give the virtual card {needed} queues, and let the stack use {} of them (`ethtool -L {name} combined {}`)",
                queues.used, queues.used
            ),
        );
    }
}

/// Drivers that take redirected frames only while a program is attached.
const TAKES_WITH_PROGRAM: &[&str] =
    &["virtio_net", "i40e", "ice", "ixgbe", "ixgbevf", "igb", "igc", "mlx5_core", "ena", "gve", "bnxt_en"];

fn offloads(
    plan: &Plan,
    port: &Port,
    link: &Link,
    features: &BTreeMap<String, Feature>,
    say: &mut impl FnMut(Verdict, String, String),
) {
    let name = &link.name;
    let has_vlans = vlans(plan, port);
    for (feature, wrong, fixed) in unwanted(port.mode, has_vlans) {
        let Some(state) = features.get(feature).filter(|state| state.active) else { continue };
        if state.changeable {
            say(
                Verdict::Switched,
                format!("{feature} is on: {wrong}"),
                format!("the gateway switches it off (`ethtool -K {name} {feature} off`)"),
            );
        } else if feature == RX_VLAN_FILTER {
            let remedy = format!("the gateway makes {name} promiscuous, which opens the filter");
            say(Verdict::Switched, format!("{feature} is on and cannot be switched: {wrong}"), remedy);
        } else {
            say(
                Verdict::Refused,
                format!("{feature} is on and the driver does not let it be switched off: {wrong}"),
                fixed.to_owned(),
            );
        }
    }
    if port.mode == PortMode::Stack && features.get(GRO).is_some_and(|state| !state.active) {
        say(
            Verdict::Warning,
            format!("{GRO} of {name} is off: TCP comes to the machines segment by segment, at a fraction of the speed"),
            format!("`ethtool -K {name} gro on`"),
        );
    } else if link.kind.as_deref() == Some("veth") && features.get(GRO).is_some_and(|state| !state.active) {
        // Our own end cannot tell about the other one, but the usual mistake is made at both alike.
        say(
            Verdict::Warning,
            format!("{name} is a veth: what is redirected into it is lost unless its other end takes frames by NAPI"),
            "on the other end: `ethtool -K PEER gro on`, or an XDP program".to_owned(),
        );
    }
}

/// Features that must be off, what they do wrong, and what to do if they cannot be switched.
fn unwanted(mode: PortMode, has_vlans: bool) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let strip = (
        RX_VLAN_STRIP,
        "VLAN tags are taken off before the program sees them",
        "use another interface for VLANs: without its tag a frame of one tenant looks like another's",
    );
    let lro = (LRO, "packets arrive merged, which cannot be forwarded", "use another interface");
    let hardware = (GRO_HARDWARE, "packets arrive merged, which cannot be forwarded", "use another interface");
    let filter = (RX_VLAN_FILTER, "frames of VLANs that the kernel has no device for are not let in", "");
    let generic = (GRO, "in generic mode packets arrive merged, which cannot be forwarded", "use another interface");
    let by_xdp = (mode != PortMode::Stack).then_some([strip, hardware]).into_iter().flatten();
    by_xdp.chain([lro]).chain(has_vlans.then_some(filter)).chain((mode == PortMode::Generic).then_some(generic))
}

fn vlans(plan: &Plan, port: &Port) -> bool {
    l3_addresses(plan, port).next().is_some()
}

fn l3_addresses<'a>(plan: &'a Plan, port: &'a Port) -> impl Iterator<Item = IpAddr> + 'a {
    plan.tenants
        .iter()
        .flat_map(|tenant| &tenant.connections)
        .filter_map(|connection| match &connection.kind {
            ConnectionKind::L3(l3) if l3.port == port.name => Some(&l3.addresses),
            _ => None,
        })
        .flat_map(|addresses| addresses.iter().map(|address| address.addr()))
}

/// Multicast groups that must be let in by a port for neighbour discovery to find the gateway's addresses behind it.
fn groups(plan: &Plan, port: &Port, mac: Mac) -> BTreeSet<Mac> {
    let vips =
        plan.tenants.iter().flat_map(|tenant| &tenant.connections).filter_map(|connection| match &connection.kind {
            ConnectionKind::Gre(gre) => Some(gre.vip),
            ConnectionKind::L3(_) => None,
        });
    let vips = vips.chain(plan.steer.iter().map(|rule| rule.vip)).filter(|_| port.role.is_site());
    let pas = plan.gateway.pa.iter().filter(|_| port.role.is_fabric());
    let mut six: BTreeSet<Ipv6Addr> = vips
        .chain(pas)
        .chain(l3_addresses(plan, port))
        .filter_map(|address| match address {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        })
        .collect();
    if l3_addresses(plan, port).any(|address| address.is_ipv6()) {
        six.insert(link_local(mac));
    }
    let mut groups: BTreeSet<Mac> = six.iter().map(|address| solicited_node(*address)).collect();
    if !groups.is_empty() {
        groups.insert([0x33, 0x33, 0, 0, 0, 1]); // all nodes
    }
    groups
}

/// The Ethernet address of an address's solicited-node group (RFC 4291 section 2.7.1, RFC 2464 section 7).
fn solicited_node(address: Ipv6Addr) -> Mac {
    let [.., a, b, c] = address.octets();
    [0x33, 0x33, 0xff, a, b, c]
}

/// The link-local address that the kernel makes from a MAC address (RFC 4291 appendix A).
fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// Who computes checksums and cuts segments before frames leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finishing {
    /// The XDP programs send whole frames.
    Programs,
    /// The port does, for a compute host's machines: in hardware, or, where there is none, the kernel.
    Port,
}

/// Makes the ports fit: switches what [`inspect`] told, and notes it in `switched`, which may tell of an earlier run already.
pub fn prepare(
    plan: &Plan,
    finishing: Finishing,
    links: &BTreeMap<String, Link>,
    switched: &mut Switched,
    netlink: &mut Netlink,
) -> anyhow::Result<()> {
    for port in &plan.ports {
        let Some(link) = links.get(port.name.as_str()) else { continue };
        let name = &link.name;
        let ethtool = Ethtool::new(name).with_context(|| format!("cannot read the offloads of {name}"))?;
        let features: BTreeMap<String, Feature> =
            ethtool.features(name)?.into_iter().map(|(name, feature)| (name.to_owned(), feature)).collect();
        let has_vlans = vlans(plan, port);
        let unfinished = CHECKSUMS
            .into_iter()
            .filter(|feature| finishing == Finishing::Port && crate::host::leaves_unfinished(link, feature));
        let on: Vec<&str> = unwanted(port.mode, has_vlans)
            .map(|(feature, ..)| feature)
            .chain(unfinished)
            .filter(|feature| features.get(*feature).is_some_and(|state| state.active))
            .collect();
        let off: BTreeSet<&str> = on.iter().copied().filter(|feature| features[*feature].changeable).collect();
        if !off.is_empty() {
            tracing::info!(port = name, features = ?off, "switching offloads off that would mislead the programs");
            ethtool
                .switch(name, |feature| off.contains(feature).then_some(false))
                .with_context(|| format!("cannot switch {off:?} of {name} off"))?;
            let kept = switched.features.entry(name.clone()).or_default();
            kept.extend(off.iter().map(|&feature| feature.to_owned()));
        }
        if on.contains(&RX_VLAN_FILTER) && !off.contains(RX_VLAN_FILTER) && switched.promiscuous.insert(name.clone()) {
            tracing::info!(port = name, "making the port promiscuous: its VLAN filter cannot be switched off");
            netlink.set_flags(link.index, LinkFlags::Promisc, LinkFlags::empty())?;
        }
        let wanted = groups(plan, port, link.mac);
        let joined = switched.multicast.entry(name.clone()).or_default();
        for &group in wanted.difference(&joined.clone()) {
            ethtool::multicast(name, group, Membership::Add)
                .with_context(|| format!("cannot let {} into {name}", written(group)))?;
            joined.insert(group);
        }
        for &group in joined.clone().difference(&wanted) {
            ethtool::multicast(name, group, Membership::Drop)?;
            joined.remove(&group);
        }
    }
    // A port that the plan names no more gets back what it had.
    let gone: BTreeSet<String> = switched
        .features
        .keys()
        .chain(switched.multicast.keys())
        .chain(&switched.promiscuous)
        .filter(|name| !plan.ports.iter().any(|port| port.name.as_str() == **name))
        .cloned()
        .collect();
    restore_ports(switched, &gone, netlink);
    Ok(())
}

/// Switches back all that was switched. A port that has gone meanwhile needs nothing.
pub fn restore(switched: &mut Switched, netlink: &mut Netlink) {
    let all = switched.features.keys().chain(switched.multicast.keys()).chain(&switched.promiscuous).cloned().collect();
    restore_ports(switched, &all, netlink);
}

fn restore_ports(switched: &mut Switched, ports: &BTreeSet<String>, netlink: &mut Netlink) {
    for name in ports {
        let features = switched.features.remove(name).unwrap_or_default();
        let groups = switched.multicast.remove(name).unwrap_or_default();
        let promiscuous = switched.promiscuous.remove(name);
        let link = match netlink.link(name) {
            Ok(Some(link)) => link,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(port = name, %error, "cannot look the port up to switch its offloads back");
                continue;
            }
        };
        let result = || -> anyhow::Result<()> {
            if !features.is_empty() {
                Ethtool::new(name)?.switch(name, |feature| features.contains(feature).then_some(true))?;
            }
            for group in groups {
                ethtool::multicast(name, group, Membership::Drop)?;
            }
            if promiscuous {
                netlink.set_flags(link.index, LinkFlags::empty(), LinkFlags::Promisc)?;
            }
            Ok(())
        }();
        if let Err(error) = result {
            tracing::warn!(port = name, error = format!("{error:#}"), "cannot switch the port back to what it was");
        }
    }
}

/// The plan's ports that exist, by name.
pub fn links(plan: &Plan, netlink: &mut Netlink) -> Result<BTreeMap<String, Link>, NetlinkError> {
    let links = netlink.links(plan.ports.iter().map(|port| port.name.as_str()))?;
    Ok(links.into_iter().flatten().map(|link| (link.name.clone(), link)).collect())
}

fn written(mac: Mac) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link {
            index: 4,
            name: "eth1".to_owned(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            kind: None,
            controller: None,
            peer: None,
            ethernet: true,
            up: true,
            running: true,
            loopback: false,
            promiscuous: false,
            xdp: None,
        }
    }

    fn refusals(link: &Link) -> Vec<String> {
        let mut said = Vec::new();
        let mut say = |verdict, message: String, remedy: String| {
            assert_eq!(verdict, Verdict::Refused);
            said.push(format!("{message}; {remedy}"));
        };
        kind(link, &[], &mut say);
        size(PortMode::Native, link, &mut say);
        said
    }

    #[test]
    fn a_plain_ethernet_interface_is_fit() {
        assert_eq!(refusals(&link()), Vec::<String>::new());
        assert_eq!(refusals(&Link { kind: Some("veth".to_owned()), ..link() }), Vec::<String>::new());
    }

    #[test]
    fn what_the_programs_cannot_run_on_is_refused_with_a_remedy() {
        let of_kind = |kind: &str| Link { kind: Some(kind.to_owned()), ..link() };
        for (link, words) in [
            (of_kind("bond"), "is a bond"),
            (of_kind("bridge"), "is a bridge"),
            (of_kind("vlan"), "on top of another interface"),
            (of_kind("vxlan"), "kind vxlan"),
            (Link { loopback: true, ..link() }, "loopback"),
            (Link { ethernet: false, ..link() }, "no Ethernet"),
            (Link { controller: Some(9), ..link() }, "nomaster"),
            (Link { mtu: 9000, ..link() }, "ip link set eth1 mtu 3498"),
            (Link { mtu: 576, ..link() }, "too small"),
        ] {
            let said = refusals(&link);
            assert!(said.len() == 1 && said[0].contains(words), "{link:?}: {said:?}");
        }
    }

    /// RFC 4291 section 2.7.1 has this example: 4037::01:800:200E:8C6C is in FF02::1:FF0E:8C6C.
    #[test]
    fn solicited_node_groups_are_those_of_the_rfc() {
        let address: Ipv6Addr = "4037::01:800:200e:8c6c".parse().expect("an address");
        assert_eq!(solicited_node(address), [0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]);
    }

    #[test]
    fn the_kernels_own_link_local_address_is_known() {
        let mac = [0x00, 0x00, 0x5e, 0x00, 0x53, 0x01];
        assert_eq!(link_local(mac).to_string(), "fe80::200:5eff:fe00:5301");
    }
}
