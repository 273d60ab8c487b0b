//! What is drawn when a client leaves it open: addresses, MAC addresses, the encapsulation.

use super::fabric::{mac_range, range};
use super::networks::router_address;
use super::public::{managers_address, pools};
use super::{address_of, number, prefix_of};
use crate::controller::resources::error::{Code, Error};
use crate::controller::resources::path::Path;
use crate::controller::resources::schema::{Kind, values};
use crate::controller::resources::tree::Forest;
use crate::controller::resources::tree::index::Claim;
use crate::controller::resources::tree::node::{self, Lookup, get, list, place, target, text, walk};
use crate::plan::Mac;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Most addresses that are looked at before a range counts as used up.
const PATIENCE: u64 = 1 << 20;

/// Fills in what the resource at `path`, and what is below it, leaves open.
///
/// # Errors
/// Nothing is left to draw.
pub fn draw(forest: &Forest, root: &Path, path: &Path, tree: &mut Value) -> Result<(), Error> {
    let strip = place(tree, path).unwrap_or_default();
    let relative = |mut error: Error| {
        error.target = error
            .target
            .map(|at| at.strip_prefix(&strip).map_or(at.clone(), |rest| rest.trim_start_matches('.').to_owned()));
        error
    };
    match root.kind() {
        Kind::VirtualNetwork => encapsulation(forest, tree),
        Kind::NetworkInterface => interface(forest, root, tree).map_err(relative)?,
        Kind::PublicIpAddress => public(forest, root, tree)?,
        _ => {}
    }
    Ok(())
}

fn encapsulation(forest: &Forest, tree: &mut Value) {
    if get(tree, "encapsulation").is_none() {
        let manager = forest.node(&Path::root(Kind::VirtualNetworkManager, "configuration".into()));
        let protocol = manager.as_ref().and_then(|manager| text(manager, "networkVirtualizationProtocol"));
        tree["properties"]["encapsulation"] = json!(protocol.unwrap_or("VXLAN"));
    }
}

fn interface(forest: &Forest, root: &Path, tree: &mut Value) -> Result<(), Error> {
    let old = forest.node(root);
    let lookup_tree = tree.clone();
    let lookup = Lookup::new(forest, root, &lookup_tree);
    let mut networks = BTreeSet::new();
    let mut drawn: BTreeSet<IpAddr> = BTreeSet::new();
    for node in walk(root, &lookup_tree).iter().filter(|node| node.path.kind() == Kind::IpConfiguration) {
        let Some(subnet) = get(node.value, "subnet").and_then(target) else { continue };
        let network = subnet.tree().key();
        networks.insert(network.clone());
        if text(node.value, "privateIPAddress").is_some()
            || text(node.value, "privateIPAllocationMethod") == Some("Static")
        {
            continue;
        }
        let before = old.as_ref().and_then(|old| node::find(old, &node.path));
        let kept = before.filter(|before| get(before, "subnet") == get(node.value, "subnet"));
        let address = match kept.and_then(|before| address_of(get(before, "privateIPAddress"))) {
            Some(address) => address,
            None => {
                let Some(prefix) = lookup.with(&subnet, |subnet| prefix_of(subnet, "addressPrefix")).flatten() else {
                    continue;
                };
                let pools =
                    lookup.with(&subnet, |subnet| list(subnet, "ipPools").iter().filter_map(range).collect::<Vec<_>>());
                let ranges = match (subnet.kind(), pools) {
                    (Kind::LogicalSubnet, Some(pools)) => pools,
                    _ => vec![(next(router_address(prefix)), last(prefix))],
                };
                let free = |address| {
                    !drawn.contains(&address)
                        && forest.claims().owner(&Claim::Address(network.as_str().into(), address)).is_none()
                };
                first_free(&ranges, free).ok_or_else(|| {
                    Error::at(
                        Code::AddressPoolExhausted,
                        node.at("privateIPAddress"),
                        format!("no address of {subnet} is free"),
                    )
                })?
            }
        };
        drawn.insert(address);
        if let Some(configuration) = node::find_mut(tree, &node.path) {
            configuration["properties"]["privateIPAddress"] = json!(address);
        }
    }
    if text(tree, "privateMacAddress").is_some() || text(tree, "privateMacAllocationMethod") == Some("Static") {
        return Ok(());
    }
    let kept = old.as_ref().and_then(|old| text(old, "privateMacAddress")).map(ToOwned::to_owned);
    let mac = match kept {
        Some(mac) => mac,
        None => free_mac(forest, root, &networks)?,
    };
    tree["properties"]["privateMacAddress"] = json!(mac);
    Ok(())
}

fn next(address: IpAddr) -> IpAddr {
    from_number(number(address).saturating_add(1), address)
}

fn from_number(number: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => std::net::Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::from(number).into(),
    }
}

/// The last address of a prefix that a station may have.
fn last(prefix: ipnet::IpNet) -> IpAddr {
    let last = prefix.broadcast();
    if prefix.addr().is_ipv4() && prefix.prefix_len() < 31 { from_number(number(last) - 1, last) } else { last }
}

fn first_free(ranges: &[(IpAddr, IpAddr)], free: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut patience = PATIENCE;
    for (start, end) in ranges {
        let mut at = number(*start);
        while at <= number(*end) && patience > 0 {
            let address = from_number(at, *start);
            if free(address) {
                return Some(address);
            }
            patience -= 1;
            at += 1;
        }
    }
    None
}

fn free_mac(forest: &Forest, root: &Path, networks: &BTreeSet<String>) -> Result<String, Error> {
    let is_free = |mac: &str| {
        networks.iter().all(|network| forest.claims().owner(&Claim::Mac(network.as_str().into(), mac.into())).is_none())
    };
    // It starts at a place of the interface's own, so that a draw is short however many were drawn before.
    let start = root
        .key()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    for pool in forest.trees(Kind::MacPool).filter_map(|(_, text)| serde_json::from_str::<Value>(text).ok()) {
        let Some((first, last)) = mac_range(&pool).filter(|(first, last)| first <= last) else { continue };
        let size = last - first + 1;
        for step in 0..size.min(PATIENCE) {
            let number = first + start.wrapping_add(step) % size;
            let octets: [u8; 8] = number.to_be_bytes();
            let Some(mac) = octets[2..].first_chunk::<6>().and_then(|octets| Mac::try_from(*octets).ok()) else {
                continue;
            };
            let mac = values::written(mac);
            if is_free(&mac) {
                return Ok(mac);
            }
        }
    }
    let message = "no MAC address is free: give `privateMacAddress`, or create one of macPools";
    Err(Error::at(Code::AddressPoolExhausted, "properties.privateMacAddress", message))
}

fn public(forest: &Forest, root: &Path, tree: &mut Value) -> Result<(), Error> {
    if text(tree, "ipAddress").is_some() || text(tree, "publicIPAllocationMethod") != Some("Dynamic") {
        return Ok(());
    }
    let old = forest.node(root);
    let kept = old.as_ref().and_then(|old| address_of(get(old, "ipAddress")));
    let wanted = text(tree, "publicIPAddressVersion").map(|version| version == "IPv4");
    let address = kept.or_else(|| {
        let lookup = Lookup::new(forest, root, tree);
        let managers_address = managers_address(&lookup);
        let ranges = pools(&lookup).into_iter().map(|(_, range)| range);
        let ranges: Vec<_> = ranges.filter(|(start, _)| wanted.is_none_or(|v4| v4 == start.is_ipv4())).collect();
        first_free(&ranges, |address| {
            Some(address) != managers_address && forest.claims().owner(&Claim::Public(address)).is_none()
        })
    });
    let address = address.ok_or_else(|| {
        let message = "no public address is free: give `ipAddress`, or a pool of a public subnet to loadBalancerManager's vipIpPools";
        Error::at(Code::AddressPoolExhausted, "properties.ipAddress", message)
    })?;
    tree["properties"]["ipAddress"] = json!(address);
    Ok(())
}
