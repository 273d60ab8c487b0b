//! Logical networks, their subnets and pools; public addresses; the load balancer's manager.

use super::{Code, Faults, Node, Writing, address_of, number, overlaps, prefix_of, same_family, within};
use crate::controller::resources::path::Path;
use crate::controller::resources::tree::Forest;
use crate::controller::resources::tree::index::vlan;
use crate::controller::resources::tree::node::{self, Lookup, get, list, target, text};
use crate::plan::Mac;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;

pub(super) fn logical_network(writing: &Writing<'_>, node: &Node<'_>, faults: &mut Faults) {
    let subnets = list(node.value, "subnets");
    let prefixes: Vec<_> =
        subnets.iter().enumerate().filter_map(|(i, subnet)| Some((i, prefix_of(subnet, "addressPrefix")?))).collect();
    for (later, earlier) in overlaps(&prefixes) {
        let other = subnets.get(earlier).and_then(node::id).unwrap_or_default();
        let at = format!("{}.properties.addressPrefix", within(node, "subnets", later));
        faults.add(Code::OverlappingSubnets, at, format!("the subnet shares addresses with subnet {other}"));
    }
    // Racks may change while a connection uses the VLAN, but not into those of another one.
    for (position, subnet) in subnets.iter().enumerate() {
        let Some(vlan) = vlan(subnet) else { continue };
        let path = node
            .path
            .child(crate::controller::resources::Kind::LogicalSubnet, node::id(subnet).unwrap_or_default().into());
        let before = writing.old.and_then(|old| node::find(old, &path));
        if before.is_none_or(|before| get(before, "racks") == get(subnet, "racks")) {
            continue;
        }
        let forest = writing.lookup.forest;
        let used = forest.claims().vlan(vlan).any(|(key, _)| key == path.key());
        if used && let Some(owner) = vlan_conflicts(forest, writing.lookup, vlan, &path.key()).first() {
            let owner =
                Path::parse(owner).map(|owner| forest.name_users(&[owner], writing.principal)).unwrap_or_default();
            let at = format!("{}.properties.racks", within(node, "subnets", position));
            faults.add(Code::DuplicateVlan, at, format!("in these racks VLAN {vlan} is that of {owner}"));
        }
    }
}

pub(super) fn logical_subnet(node: &Node<'_>, faults: &mut Faults) {
    let Some(prefix) = prefix_of(node.value, "addressPrefix") else { return };
    for (position, gateway) in list(node.value, "defaultGateways").iter().enumerate() {
        if let Some(address) = address_of(Some(gateway)).filter(|address| !prefix.contains(address)) {
            let message = format!("{address} lies outside the subnet, {prefix}");
            faults.add(Code::AddressOutsideNetwork, within(node, "defaultGateways", position), message);
        }
    }
    let pools = list(node.value, "ipPools");
    let mut ranges: Vec<(u128, u128, usize)> = Vec::new();
    for (position, pool) in pools.iter().enumerate() {
        let at = within(node, "ipPools", position);
        let (Some((start, end)), id) = (range(pool), node::id(pool).unwrap_or_default()) else { continue };
        for (name, address) in [("startIpAddress", start), ("endIpAddress", end)] {
            if !prefix.contains(&address) {
                let message = format!("{address} lies outside the pool's subnet, {prefix}");
                faults.add(Code::AddressOutsideNetwork, format!("{at}.properties.{name}"), message);
            }
        }
        if !same_family(start, end) || start > end {
            faults.value(
                format!("{at}.properties.endIpAddress"),
                format!("pool {id} ends at {end}, before its start {start}"),
            );
        }
        ranges.push((number(start), number(end), position));
    }
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        if let [(_, end, one), (start, _, other)] = pair
            && start <= end
        {
            let id = pools.get(*one).and_then(node::id).unwrap_or_default();
            let at = format!("{}.properties.startIpAddress", within(node, "ipPools", *other));
            faults.add(Code::OverlappingSubnets, at, format!("the pool shares addresses with pool {id}"));
        }
    }
}

/// First and last address of a pool.
pub(super) fn range(pool: &Value) -> Option<(IpAddr, IpAddr)> {
    Some((address_of(get(pool, "startIpAddress"))?, address_of(get(pool, "endIpAddress"))?))
}

pub(super) fn mac_range(pool: &Value) -> Option<(u64, u64)> {
    let number = |name| {
        let mac: Mac = text(pool, name)?.parse().ok()?;
        Some(mac.octets().iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet)))
    };
    Some((number("startMacAddress")?, number("endMacAddress")?))
}

pub(super) fn mac_pool(node: &Node<'_>, faults: &mut Faults) {
    if let Some((start, end)) = mac_range(node.value).filter(|(start, end)| start > end) {
        faults.value(node.at("endMacAddress"), format!("the pool ends {} addresses before its start", start - end));
    }
}

pub(super) fn public_ip_address(node: &Node<'_>, faults: &mut Faults) {
    let address = address_of(get(node.value, "ipAddress"));
    let method = text(node.value, "publicIPAllocationMethod").unwrap_or("Static");
    let version = text(node.value, "publicIPAddressVersion");
    match (address, version) {
        (None, _) if method == "Static" => {
            faults.add(
                Code::RequiredPropertyMissing,
                node.at("ipAddress"),
                "`ipAddress` is needed with the method Static",
            );
        }
        (Some(address), _) if !super::is_station(address) => {
            faults.value(node.at("ipAddress"), format!("{address} is no address of one station"));
        }
        (Some(address), Some(version)) if (version == "IPv4") != address.is_ipv4() => {
            faults.value(node.at("publicIPAddressVersion"), format!("{address} is not of version {version}"));
        }
        _ => {}
    }
}

pub(super) fn load_balancer_manager(writing: &Writing<'_>, node: &Node<'_>, faults: &mut Faults) {
    let Some(address) = address_of(get(node.value, "loadBalancerManagerIPAddress")) else { return };
    let pools = list(node.value, "vipIpPools").iter().filter_map(target);
    let mut ranges = pools.filter_map(|pool| writing.lookup.with(&pool, range).flatten());
    if !ranges.any(|(start, end)| same_family(start, address) && start <= address && address <= end) {
        let message = format!("{address} is in none of the pools of vipIpPools");
        faults.add(Code::AddressOutsideNetwork, node.at("loadBalancerManagerIPAddress"), message);
    }
}

/// The racks of a logical subnet; none means all.
fn racks(subnet: &Value) -> BTreeSet<String> {
    list(subnet, "racks").iter().filter_map(Value::as_str).map(str::to_ascii_lowercase).collect()
}

/// Who has the VLAN of `subnet` by another subnet, where both exist in one rack.
pub fn vlan_conflicts<'a>(forest: &'a Forest, lookup: &Lookup<'_>, vlan: u16, subnet: &str) -> Vec<&'a str> {
    let racks_of = |key: &str| Path::parse(key).ok().and_then(|path| lookup.with(&path, racks)).unwrap_or_default();
    let ours = racks_of(subnet);
    let meet = |theirs: &BTreeSet<String>| ours.is_empty() || theirs.is_empty() || !ours.is_disjoint(theirs);
    let others = forest.claims().vlan(vlan).filter(|(key, _)| *key != subnet);
    others.filter(|(key, _)| meet(&racks_of(key))).map(|(_, owner)| owner).collect()
}
