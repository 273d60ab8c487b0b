//! BGP routers, peers and policy maps.

use super::{Code, Faults, Node, address_of, is_station, within};
use crate::controller::model::bgp::{criterion, entry, setting};
use crate::controller::resources::schema::values::asn;
use crate::controller::resources::tree::node::{get, list, text};
use crate::plan::bgp::BadPolicy;
use crate::plan::bgp::policy::BgpPolicy;
use ::bgp::policy::{Criterion, Entry, EntryAction, Setting};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

pub(super) fn router(node: &Node<'_>, faults: &mut Faults) {
    if let Some(address) = address_of(get(node.value, "routerId")).filter(IpAddr::is_ipv6) {
        faults.value(
            node.at("routerId"),
            format!("{address}: a BGP identifier has the form of an IPv4 address (RFC 4271)"),
        );
    }
    let mut seen = BTreeSet::new();
    for (position, peer) in list(node.value, "bgpPeers").iter().enumerate() {
        if let Some(address) = address_of(get(peer, "peerIpAddress"))
            && !seen.insert(address)
        {
            let at = format!("{}.properties.peerIpAddress", within(node, "bgpPeers", position));
            faults.value(at, format!("another peer of the router has {address}"));
        }
    }
}

pub(super) fn peer(node: &Node<'_>, faults: &mut Faults) {
    if let Some(address) = address_of(get(node.value, "peerIpAddress")).filter(|address| !is_station(*address)) {
        faults.value(node.at("peerIpAddress"), format!("{address} cannot be a peer's address"));
    }
    let number = |name: &str| get(node.value, name).and_then(|value| asn(value).ok());
    match (number("extAsNumber"), number("asNumber")) {
        (None, None) => {
            faults.add(
                Code::RequiredPropertyMissing,
                node.at("extAsNumber"),
                "a peer needs its `extAsNumber` or `asNumber`",
            );
        }
        (Some(one), Some(other)) if one != other => {
            faults.value(node.at("asNumber"), format!("`asNumber` is {other}, `extAsNumber` is {one}; leave one out"));
        }
        _ => {}
    }
}

pub(super) fn policy_map(node: &Node<'_>, faults: &mut Faults) {
    let entries = list(node.value, "policyMapEntryList");
    let good_so_far = faults.0.len();
    for (position, entry) in entries.iter().enumerate() {
        let at = within(node, "policyMapEntryList", position);
        let part = |name: &str| entry.get(name).and_then(Value::as_array).into_iter().flatten().enumerate();
        for (number, value) in part("matchCriteria") {
            if let Err(message) = check_match(criterion(value)) {
                faults.value(format!("{at}.matchCriteria[{number}].value"), message);
            }
        }
        for (number, value) in part("setActions") {
            if let Err(message) = check_alone(Vec::new(), vec![setting(value)]) {
                faults.value(format!("{at}.setActions[{number}].value"), message);
            }
        }
        let actions = part("setActions").count();
        match entry.get("action").and_then(Value::as_str) {
            Some("ModifyAttribute") if actions == 0 => {
                faults
                    .value(format!("{at}.setActions"), "the action ModifyAttribute needs at least one of `setActions`");
            }
            Some("Deny") if actions > 0 => {
                faults.value(format!("{at}.setActions"), "what is denied is not changed; leave `setActions` out");
            }
            _ => {}
        }
    }
    if faults.0.len() > good_so_far {
        return;
    }
    // What single values do not show: entries that are never reached, that contradict themselves, and the like.
    let entries: Vec<Entry> = entries.iter().map(entry).collect();
    if let Err(error) = policy(&entries) {
        faults.value(within(node, "policyMapEntryList", error.position(&entries)), error.reason());
    }
}

fn policy(entries: &[Entry]) -> Result<(), BadPolicy> {
    // The name is of no account here, and every map has one that gateways take or that planning complains of.
    "map".parse().map_or(Ok(()), |name| BgpPolicy::from_entries(name, entries).map(drop))
}

/// What is wrong with one part of an entry, whatever the others are.
fn check_alone(criteria: Vec<Criterion>, settings: Vec<Setting>) -> Result<(), String> {
    let entry = Entry { name: String::new(), action: EntryAction::Allow, criteria, settings };
    policy(&[entry]).map_err(|error| error.reason())
}

fn check_match(criterion: Criterion) -> Result<(), String> {
    // Two numbers are the ends of one range, so three are a mistake.
    if criterion.property == "AsnRange"
        && criterion.value.len() > 2
        && !criterion.value.iter().any(|value| value.contains('-'))
    {
        return Err("AsnRange takes one number, or the lowest and the highest".to_owned());
    }
    check_alone(vec![criterion], Vec::new())
}

/// What a router takes for its identifier when none is given.
pub fn router_id(router: &Value) -> Option<Ipv4Addr> {
    let first = |value: &Value| value.as_str()?.parse().ok();
    text(router, "routerId")
        .and_then(|text| text.parse().ok())
        .or_else(|| list(router, "routerIP").iter().find_map(first))
}
