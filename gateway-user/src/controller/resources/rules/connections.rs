//! Connections: what each type needs and excludes.

use super::{Code, Faults, Node, Writing, address_of, is_station, prefix_of, same_family, within};
use crate::controller::resources::schema::Kind;
use crate::controller::resources::tree::index::vlan;
use crate::controller::resources::tree::node::{self, get, list, target, text};
use ipnet::IpNet;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Drops routes that were learned: clients send back what they got.
pub fn leave_out_learned(kind: Kind, body: &mut Map<String, Value>) {
    let Some(Value::Object(properties)) = body.get_mut("properties") else { return };
    match kind {
        Kind::NetworkConnection => {
            if let Some(Value::Array(routes)) = properties.get_mut("routes") {
                routes.retain(|route| route.get("protocol").and_then(Value::as_str) != Some("BGP"));
            }
        }
        Kind::VirtualGateway => {
            if let Some(Value::Array(connections)) = properties.get_mut("networkConnections") {
                for connection in connections.iter_mut().filter_map(Value::as_object_mut) {
                    leave_out_learned(Kind::NetworkConnection, connection);
                }
            }
        }
        _ => {}
    }
}

fn is_given(resource: &Value, name: &str) -> bool {
    match get(resource, name) {
        Some(Value::Object(object)) => !object.is_empty(),
        Some(Value::Array(values)) => !values.is_empty(),
        Some(_) => true,
        None => false,
    }
}

pub(super) fn connection(writing: &Writing<'_>, node: &Node<'_>, faults: &mut Faults) {
    let kind = text(node.value, "connectionType").unwrap_or_default();
    let foreign: &[&str] = match kind {
        "IPSec" => &["greConfiguration", "l3Configuration"],
        "GRE" => &["ipSecConfiguration", "l3Configuration"],
        _ => &["ipSecConfiguration", "greConfiguration", "destinationIPAddress"],
    };
    for name in foreign.iter().filter(|name| is_given(node.value, name)) {
        faults.value(node.at(name), format!("`{name}` means nothing for a connection of type {kind}; leave it out"));
    }
    match kind {
        "L3" => l3(writing, node, faults),
        _ => tunnel(node, kind, faults),
    }
    if kind == "IPSec" {
        ipsec(node, faults);
    }
    routes(node, kind, faults);
}

fn tunnel(node: &Node<'_>, kind: &str, faults: &mut Faults) {
    match address_of(get(node.value, "destinationIPAddress")) {
        None => {
            let message = format!("a connection of type {kind} needs the site's address");
            faults.add(Code::RequiredPropertyMissing, node.at("destinationIPAddress"), message);
        }
        Some(address) if !is_station(address) || address.is_loopback() => {
            faults.value(node.at("destinationIPAddress"), format!("{address} cannot be a site's address"));
        }
        Some(_) => {}
    }
}

fn ipsec(node: &Node<'_>, faults: &mut Faults) {
    let Some(ipsec) = get(node.value, "ipSecConfiguration") else {
        faults.add(Code::RequiredPropertyMissing, node.at("ipSecConfiguration"), "a connection of type IPSec needs it");
        return;
    };
    let psk = ipsec.get("authenticationMethod").and_then(Value::as_str) == Some("PSK");
    if psk && ipsec.get("sharedSecret").is_none() {
        let message = "`sharedSecret` is needed with the method PSK";
        faults.add(Code::RequiredPropertyMissing, node.at("ipSecConfiguration.sharedSecret"), message);
    }
    for name in ["localVpnTrafficSelector", "remoteVpnTrafficSelector"] {
        for (position, selector) in ipsec.get(name).and_then(Value::as_array).into_iter().flatten().enumerate() {
            let at = node.at(&format!("ipSecConfiguration.{name}[{position}]"));
            let port = |name: &str| selector.get(name).and_then(Value::as_u64);
            if let (Some(start), Some(end)) = (port("portStart"), port("portEnd"))
                && start > end
            {
                faults.value(
                    format!("{at}.portEnd"),
                    format!("the range of ports ends at {end}, before its start {start}"),
                );
            }
            let address = |name: &str| address_of(selector.get(name));
            let version = selector.get("type").and_then(Value::as_str);
            match (address("ipAddressStart"), address("ipAddressEnd")) {
                (Some(start), Some(end)) if !same_family(start, end) || start > end => {
                    faults.value(
                        format!("{at}.ipAddressEnd"),
                        format!("the range ends at {end}, before its start {start}"),
                    );
                }
                (Some(start), _) if version.is_some_and(|version| (version == "IPv4") != start.is_ipv4()) => {
                    faults.value(
                        format!("{at}.type"),
                        format!("{start} is not of the type {}", version.unwrap_or_default()),
                    );
                }
                _ => {}
            }
        }
    }
}

fn l3(writing: &Writing<'_>, node: &Node<'_>, faults: &mut Faults) {
    let subnet = get(node.value, "l3Configuration").and_then(|l3| target(l3.get("vlanSubnet")?));
    let at = node.at("l3Configuration.vlanSubnet");
    let mut prefix: Option<IpNet> = None;
    match &subnet {
        None => {
            faults.add(Code::RequiredPropertyMissing, at, "a connection of type L3 needs a logical subnet with a VLAN")
        }
        Some(path) => {
            let found = writing.lookup.with(path, |subnet| (vlan(subnet), prefix_of(subnet, "addressPrefix")));
            if let Some((None, _)) = found {
                faults.add(Code::InvalidResourceReference, at, format!("{path} has no VLAN; give it a `vlanID`"));
            }
            prefix = found.and_then(|(_, prefix)| prefix);
        }
    }
    let addresses = list(node.value, "ipAddresses");
    if addresses.is_empty() {
        let message = "a connection of type L3 needs the gateway's address on the VLAN";
        faults.add(Code::RequiredPropertyMissing, node.at("ipAddresses"), message);
    }
    let mut networks = Vec::new();
    for (position, entry) in addresses.iter().enumerate() {
        let Some(address) = address_of(entry.get("ipAddress")) else { continue };
        let at = within(node, "ipAddresses", position);
        let length = entry.get("prefixLength").and_then(Value::as_u64).and_then(|length| u8::try_from(length).ok());
        let Some(network) = length.and_then(|length| IpNet::new(address, length).ok()) else {
            faults.value(format!("{at}.prefixLength"), format!("{address} cannot have a prefix of that length"));
            continue;
        };
        // A VLAN may have more than the prefix of its subnet: IPv6 beside IPv4.
        if let Some(prefix) = prefix.filter(|prefix| same_family(prefix.addr(), address) && !prefix.contains(&address))
        {
            faults.add(
                Code::AddressOutsideNetwork,
                format!("{at}.ipAddress"),
                format!("{address} lies outside the VLAN's subnet, {prefix}"),
            );
        } else if !is_station(address) {
            faults.value(format!("{at}.ipAddress"), format!("{address} is no address of one station"));
        }
        networks.push(network);
    }
    for (position, peer) in list(node.value, "peerIPAddresses").iter().enumerate() {
        let Some(peer) = address_of(Some(peer)) else { continue };
        let at = within(node, "peerIPAddresses", position);
        if networks.iter().any(|network| network.addr() == peer) {
            faults.value(at, format!("{peer} is the gateway's own address"));
        } else if !networks.iter().any(|network| network.contains(&peer)) {
            faults.add(Code::AddressOutsideNetwork, at, format!("{peer} is on no network of `ipAddresses`"));
        }
    }
}

fn routes(node: &Node<'_>, kind: &str, faults: &mut Faults) {
    let networks: Vec<IpNet> = list(node.value, "ipAddresses")
        .iter()
        .filter_map(|entry| {
            let length = u8::try_from(entry.get("prefixLength")?.as_u64()?).ok()?;
            IpNet::new(address_of(entry.get("ipAddress"))?, length).ok()
        })
        .collect();
    let mut seen = BTreeSet::new();
    for (position, route) in list(node.value, "routes").iter().enumerate() {
        let at = within(node, "routes", position);
        let destination: Option<IpNet> = route.get("destinationPrefix").and_then(|text| text.as_str()?.parse().ok());
        let Some(destination) = destination else { continue };
        let hop = address_of(route.get("nextHop")).filter(|hop| !hop.is_unspecified());
        if let Some(hop) = hop {
            if !same_family(hop, destination.addr()) {
                faults.value(format!("{at}.nextHop"), format!("{hop} is not of the version of {destination}"));
            } else if kind == "L3" && !networks.iter().any(|network| network.contains(&hop)) {
                let message = format!("{hop} is on no network of `ipAddresses`");
                faults.add(Code::AddressOutsideNetwork, format!("{at}.nextHop"), message);
            }
        }
        if !seen.insert((destination, hop)) {
            faults.value(format!("{at}.destinationPrefix"), format!("there is another route to {destination}"));
        }
    }
}

/// Two connections of one virtual gateway may not have one VLAN in one rack, by whatever subnets.
pub(super) fn vlans(writing: &Writing<'_>, node: &Node<'_>, faults: &mut Faults) {
    let mut seen: Vec<(u16, BTreeSet<String>, &str)> = Vec::new();
    for (position, connection) in list(node.value, "networkConnections").iter().enumerate() {
        if text(connection, "connectionType") != Some("L3") {
            continue;
        }
        let subnet = get(connection, "l3Configuration").and_then(|l3| target(l3.get("vlanSubnet")?));
        let found = subnet.and_then(|subnet| {
            writing.lookup.with(&subnet, |subnet| {
                let racks =
                    list(subnet, "racks").iter().filter_map(Value::as_str).map(str::to_ascii_lowercase).collect();
                (vlan(subnet), racks)
            })
        });
        let Some((Some(vlan), racks)) = found else { continue };
        let racks: BTreeSet<String> = racks;
        let meet = |theirs: &BTreeSet<String>| racks.is_empty() || theirs.is_empty() || !racks.is_disjoint(theirs);
        if let Some((_, _, other)) = seen.iter().find(|(number, theirs, _)| *number == vlan && meet(theirs)) {
            let at = format!("{}.properties.l3Configuration.vlanSubnet", within(node, "networkConnections", position));
            faults.add(
                Code::DuplicateVlan,
                at,
                format!("VLAN {vlan} is that of connection {other}: one VLAN per connection"),
            );
        }
        seen.push((vlan, racks, node::id(connection).unwrap_or_default()));
    }
}
