//! Virtual networks and interfaces.

use super::{Code, Faults, Node, Writing, address_of, is_station, overlaps, prefix_of, within};
use crate::controller::resources::schema::Kind;
use crate::controller::resources::tree::node::{self, get, list, target, text};
use ipnet::IpNet;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;

pub(super) fn virtual_network(writing: &Writing<'_>, node: &Node<'_>, faults: &mut Faults) {
    let space: Vec<(usize, IpNet)> = get(node.value, "addressSpace")
        .and_then(|space| space.get("addressPrefixes")?.as_array())
        .into_iter()
        .flatten()
        .enumerate()
        .filter_map(|(i, prefix)| Some((i, prefix.as_str()?.parse().ok()?)))
        .collect();
    let at = |i: usize| node.at(&format!("addressSpace.addressPrefixes[{i}]"));
    if space.is_empty() {
        faults.value(node.at("addressSpace.addressPrefixes"), "a virtual network needs at least one prefix");
    }
    for (later, earlier) in overlaps(&space) {
        faults.add(Code::OverlappingSubnets, at(later), format!("the prefix shares addresses with prefix {earlier}"));
    }
    let subnets = list(node.value, "subnets");
    let prefixes: Vec<_> =
        subnets.iter().enumerate().filter_map(|(i, subnet)| Some((i, prefix_of(subnet, "addressPrefix")?))).collect();
    for (position, prefix) in &prefixes {
        if !space.iter().any(|(_, wide)| wide.contains(prefix)) {
            let at = format!("{}.properties.addressPrefix", within(node, "subnets", *position));
            faults.add(
                Code::AddressOutsideNetwork,
                at,
                format!("{prefix} is in none of the network's addressPrefixes"),
            );
        }
    }
    for (later, earlier) in overlaps(&prefixes) {
        let other = subnets.get(earlier).and_then(node::id).unwrap_or_default();
        let at = format!("{}.properties.addressPrefix", within(node, "subnets", later));
        faults.add(Code::OverlappingSubnets, at, format!("the subnet shares addresses with subnet {other}"));
    }
    links(node, faults);
    if let Some(fabric) = get(node.value, "logicalNetwork").and_then(target) {
        let enabled = |network: &Value| get(network, "networkVirtualizationEnabled").and_then(Value::as_bool);
        if writing.lookup.with(&fabric, enabled).flatten() != Some(true) {
            let message = format!("{fabric} has no provider addresses: its networkVirtualizationEnabled is not true");
            faults.add(Code::InvalidResourceReference, node.at("logicalNetwork"), message);
        }
    }
}

/// A link has one subnet, or one of each IP version.
fn links(node: &Node<'_>, faults: &mut Faults) {
    let subnets = list(node.value, "subnets");
    let mut joined = BTreeSet::new();
    for (position, subnet) in subnets.iter().enumerate() {
        let Some(other) = get(subnet, "sameLinkAs").and_then(target) else { continue };
        let at = format!("{}.properties.sameLinkAs", within(node, "subnets", position));
        let id = other.id().as_str();
        let Some(found) = subnets.iter().find(|one| node::id(one).is_some_and(|one| one.eq_ignore_ascii_case(id)))
        else {
            continue;
        };
        let is_ipv4 = |subnet| prefix_of(subnet, "addressPrefix").map(|prefix| prefix.addr().is_ipv4());
        if is_ipv4(subnet) == is_ipv4(found) {
            faults.value(at, format!("{id} is of the same IP version; a link has one subnet of each"));
        } else if get(found, "sameLinkAs").is_some() || !joined.insert(other.key()) {
            faults.value(at, format!("{id} shares its link with another subnet already"));
        }
    }
}

/// What VMs of a subnet take for their router: its first address.
pub fn router_address(prefix: IpNet) -> IpAddr {
    match prefix {
        IpNet::V4(net) if net.prefix_len() >= 31 => net.network().into(),
        IpNet::V4(net) => std::net::Ipv4Addr::from(u32::from(net.network()).saturating_add(1)).into(),
        IpNet::V6(net) if net.prefix_len() >= 127 => net.network().into(),
        IpNet::V6(net) => std::net::Ipv6Addr::from(u128::from(net.network()).saturating_add(1)).into(),
    }
}

pub(super) fn network_interface(writing: &Writing<'_>, node: &Node<'_>, faults: &mut Faults) {
    if let Some(device) = text(node.value, "deviceName") {
        if get(node.value, "server").is_none() {
            faults.add(Code::RequiredPropertyMissing, node.at("server"), "`deviceName` names a device on a `server`");
        }
        if let Err(complaint) = device.parse::<crate::plan::PortName>() {
            faults.value(node.at("deviceName"), complaint.to_string());
        }
    }
    if text(node.value, "privateMacAllocationMethod") == Some("Static")
        && text(node.value, "privateMacAddress").is_none()
    {
        let message = "`privateMacAddress` is needed with the method Static";
        faults.add(Code::RequiredPropertyMissing, node.at("privateMacAddress"), message);
    }
    let (mut network, mut link) = (None, None);
    for (position, configuration) in list(node.value, "ipConfigurations").iter().enumerate() {
        let at = format!("{}.properties", within(node, "ipConfigurations", position));
        let Some(subnet) = get(configuration, "subnet").and_then(target) else { continue };
        let here = subnet.tree().key();
        if network.get_or_insert_with(|| here.clone()) != &here {
            faults.value(format!("{at}.subnet"), "all addresses of an interface are of one network");
        }
        let shared = writing.lookup.with(&subnet, |subnet| get(subnet, "sameLinkAs").and_then(target)).flatten();
        let here = shared.unwrap_or_else(|| subnet.clone()).key();
        if subnet.kind() == Kind::VirtualSubnet && link.get_or_insert_with(|| here.clone()) != &here {
            faults.value(
                format!("{at}.subnet"),
                "an interface is on one link: take a second interface, or a subnet of the other IP version that is `sameLinkAs` the first",
            );
        }
        let Some(prefix) = writing.lookup.with(&subnet, |subnet| prefix_of(subnet, "addressPrefix")).flatten() else {
            continue;
        };
        let Some(address) = address_of(get(configuration, "privateIPAddress")) else {
            let message = "`privateIPAddress` is needed with the method Static";
            faults.add(Code::RequiredPropertyMissing, format!("{at}.privateIPAddress"), message);
            continue;
        };
        let at = format!("{at}.privateIPAddress");
        let broadcast = prefix.prefix_len() < 31 && prefix.addr().is_ipv4() && address == prefix.broadcast();
        if !prefix.contains(&address) {
            faults.add(Code::AddressOutsideNetwork, at, format!("{address} lies outside its subnet, {prefix}"));
        } else if !is_station(address)
            || broadcast
            || prefix.prefix_len() < prefix.max_prefix_len() - 1 && address == prefix.network()
        {
            faults.value(at, format!("{address} is the subnet's own address; take another one of {prefix}"));
        } else if subnet.kind() == Kind::VirtualSubnet && address == router_address(prefix) {
            faults.value(at, format!("{address} is the subnet's router; take another one of {prefix}"));
        }
    }
}
