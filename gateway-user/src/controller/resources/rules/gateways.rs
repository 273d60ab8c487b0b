//! Gateway pools, gateways, virtual gateways.

use super::fabric::range;
use super::{Code, Faults, Node, Writing, address_of, is_station, within};
use crate::controller::model::fabric::FailoverTimers;
use crate::controller::resources::schema::Kind;
use crate::controller::resources::tree::node::{get, list, target, text};
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) fn pool(writing: &Writing<'_>, node: &Node<'_>, faults: &mut Faults) {
    let addresses = get(node.value, "ipConfiguration");
    let subnets = addresses.and_then(|addresses| addresses.get("greVipSubnets")?.as_array()).map_or(0, Vec::len);
    let kind = text(node.value, "type").unwrap_or_default();
    if matches!(kind, "s2sGre" | "All") && subnets == 0 {
        let message = format!("a pool of type {kind} needs subnets to draw GRE VIPs from");
        faults.add(Code::RequiredPropertyMissing, node.at("ipConfiguration.greVipSubnets"), message);
    }
    for (name, list) in [("greVipSubnets", addresses), ("publicIPAddresses", addresses)] {
        let references = list.and_then(|list| list.get(name)?.as_array()).map_or(&[] as &[Value], Vec::as_slice);
        twice(references, &node.at(&format!("ipConfiguration.{name}")), faults);
    }
    seats(writing, node, faults);
}

/// Where seats' addresses come from, and when a gateway counts as gone.
fn seats(writing: &Writing<'_>, node: &Node<'_>, faults: &mut Faults) {
    let subnet = |name: &str| get(node.value, name).and_then(target);
    let (fabric, rack) = (subnet("seatFabricSubnet"), subnet("seatRackSubnet"));
    if fabric.is_none() && rack.is_some() {
        let message =
            "seats need addresses on the fabric first: write `seatFabricSubnet`, or leave `seatRackSubnet` out";
        faults.add(Code::RequiredPropertyMissing, node.at("seatFabricSubnet"), message);
    }
    if let (Some(fabric), Some(rack)) = (&fabric, &rack)
        && fabric.key() == rack.key()
    {
        faults.value(node.at("seatRackSubnet"), format!("{rack} is the seats' subnet on the fabric; take another one"));
    }
    let vips = get(node.value, "ipConfiguration").and_then(|addresses| addresses.get("greVipSubnets")?.as_array());
    let vips: BTreeSet<String> = vips.into_iter().flatten().filter_map(target).map(|subnet| subnet.key()).collect();
    for (name, subnet) in [("seatFabricSubnet", &fabric), ("seatRackSubnet", &rack)] {
        let Some(subnet) = subnet else { continue };
        if vips.contains(&subnet.key()) {
            let message = format!("GRE VIPs are drawn from {subnet}; take another subnet for seats");
            faults.add(Code::InvalidResourceReference, node.at(name), message);
        }
        let is_empty =
            writing.lookup.with(subnet, |subnet| !list(subnet, "ipPools").iter().any(|pool| range(pool).is_some()));
        if is_empty == Some(true) {
            let message = format!("{subnet} has no ipPools to draw seats' addresses from; give it one");
            faults.add(Code::InvalidResourceReference, node.at(name), message);
        }
    }
    if let Some(fabric) = &fabric {
        let enabled = |network: &Value| get(network, "networkVirtualizationEnabled").and_then(Value::as_bool);
        if writing.lookup.with(&fabric.tree(), enabled).flatten() != Some(true) {
            let message = format!(
                "{} has no provider addresses, which seats' are on the fabric: its networkVirtualizationEnabled is not true; set it, or take a \
                 subnet of another network",
                fabric.tree()
            );
            faults.add(Code::InvalidResourceReference, node.at("seatFabricSubnet"), message);
        }
    }
    let timers = get(node.value, "failoverTimers").cloned().map(serde_json::from_value::<FailoverTimers>);
    if let Some(Ok(timers)) = timers
        && let Err(error) = timers.all()
    {
        faults.value(node.at("failoverTimers"), error.to_string());
    }
}

/// Each reference stands in a list once.
fn twice(references: &[Value], at: &str, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (position, path) in references.iter().enumerate().filter_map(|(i, reference)| Some((i, target(reference)?))) {
        if !seen.insert(path.key()) {
            faults.value(format!("{at}[{position}]"), format!("{path} stands here twice"));
        }
    }
}

pub(super) fn gateway(writing: &Writing<'_>, node: &Node<'_>, faults: &mut Faults) {
    types(writing, node, faults);
    interfaces(writing, node, faults);
    racks_routers(node, faults);
}

/// The routers that are told of VIPs.
fn racks_routers(node: &Node<'_>, faults: &mut Faults) {
    let Some(config) = get(node.value, "bgpConfig") else { return };
    let peers = config.get("bgpPeer").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
    if !peers.is_empty() && config.get("extASNumber").is_none() {
        let message = "a gateway with BGP peers needs an autonomous system of its own";
        faults.add(Code::RequiredPropertyMissing, node.at("bgpConfig.extASNumber"), message);
    }
    let mut seen = BTreeSet::new();
    for (position, peer) in peers.iter().enumerate() {
        let Some(address) = address_of(peer.get("peerIP")) else { continue };
        let at = format!("{}[{position}].peerIP", node.at("bgpConfig.bgpPeer"));
        if !is_station(address) {
            faults.value(at, format!("{address} cannot be a router's address"));
        } else if !seen.insert(address) {
            faults.value(at, format!("another peer of the gateway has {address}"));
        }
    }
}

/// A gateway that says what it can carry can carry what its pool's gateways do.
fn types(writing: &Writing<'_>, node: &Node<'_>, faults: &mut Faults) {
    let types: Vec<&str> = list(node.value, "types").iter().filter_map(Value::as_str).collect();
    let Some(pool) = get(node.value, "pool").and_then(target).filter(|_| !types.is_empty()) else { return };
    let kind = writing.lookup.with(&pool, |pool| text(pool, "type").map(str::to_owned)).flatten();
    let Some(kind) = kind else { return };
    let needed: &[&str] = match kind.as_str() {
        "s2sIPsec" => &["s2sipsec"],
        "s2sGre" => &["s2sgre"],
        "forwarding" => &["forwarding"],
        _ => &["s2sipsec", "s2sgre", "forwarding"],
    };
    let missing: Vec<&str> = needed.iter().filter(|needed| !types.contains(needed)).copied().collect();
    if !missing.is_empty() {
        let message = format!(
            "{pool} is of type {kind}: its gateways carry {} as well; add that to `types`, leave `types` out, or take another pool",
            missing.join(", ")
        );
        faults.value(node.at("types"), message);
    }
}

fn interfaces(writing: &Writing<'_>, node: &Node<'_>, faults: &mut Faults) {
    let Some(interfaces) = get(node.value, "networkInterfaces") else { return };
    let addresses = |name: &str| {
        let path = target(interfaces.get(name)?)?;
        let kinds = writing.lookup.with(&path, |interface| {
            let configurations = list(interface, "ipConfigurations").iter();
            configurations
                .map(|one| get(one, "subnet").and_then(target).map(|subnet| subnet.kind()))
                .collect::<Vec<_>>()
        })?;
        Some((path, kinds))
    };
    if let Some((path, kinds)) = addresses("externalNetworkInterface")
        && !matches!(kinds.as_slice(), [Some(Kind::LogicalSubnet)])
    {
        let message = format!("{path} needs exactly one address, out of a logical network");
        faults.add(Code::InvalidResourceReference, node.at("networkInterfaces.externalNetworkInterface"), message);
    }
    if let Some((path, kinds)) = addresses("internalNetworkInterface")
        && !kinds.is_empty()
    {
        let message = format!("{path} may not have an address");
        faults.add(Code::InvalidResourceReference, node.at("networkInterfaces.internalNetworkInterface"), message);
    }
}

pub(super) fn virtual_gateway(writing: &Writing<'_>, node: &Node<'_>, faults: &mut Faults) {
    let subnets = list(node.value, "gatewaySubnets");
    twice(subnets, &node.at("gatewaySubnets"), faults);
    if subnets.is_empty() {
        faults.add(
            Code::RequiredPropertyMissing,
            node.at("gatewaySubnets"),
            "a virtual gateway needs a subnet of a virtual network",
        );
    }
    let networks: BTreeSet<String> = subnets.iter().filter_map(target).map(|path| path.tree().key()).collect();
    if networks.len() > 1 {
        faults.value(node.at("gatewaySubnets"), "the subnets have to be of one virtual network");
    }
    let pools = list(node.value, "gatewayPools");
    twice(pools, &node.at("gatewayPools"), faults);
    if pools.len() < 2 {
        return;
    }
    for (position, pool) in pools.iter().enumerate().filter_map(|(i, pool)| Some((i, target(pool)?))) {
        let is_all = writing.lookup.with(&pool, |pool| text(pool, "type") == Some("All")).unwrap_or(false);
        if is_all {
            let message = format!("{pool} is of type All: a virtual gateway that uses it uses no other pool");
            faults.add(Code::VirtualGatewayPoolsConflict, within(node, "gatewayPools", position), message);
        }
    }
}
