//! BGP routers, peers and policy maps.

use super::{Code, Faults, Node, address_of, is_station, within};
use crate::controller::resources::schema::values::{asn, quoted};
use crate::controller::resources::tree::node::{get, list, text};
use serde_json::{Value, json};
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
    for (position, entry) in list(node.value, "policyMapEntryList").iter().enumerate() {
        let at = within(node, "policyMapEntryList", position);
        let part = |name: &str| entry.get(name).and_then(Value::as_array).into_iter().flatten().enumerate();
        for (criterion, value) in part("matchCriteria") {
            let at = format!("{at}.matchCriteria[{criterion}].value");
            if let Err(message) = check_match(value) {
                faults.value(at, message);
            }
        }
        let mut actions = 0;
        for (action, value) in part("setActions") {
            actions += 1;
            let at = format!("{at}.setActions[{action}].value");
            if let Err(message) = check_set(value) {
                faults.value(at, message);
            }
        }
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
}

/// The texts of a value, whether it is one or an array.
fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => vec![text.as_str()],
        _ => Vec::new(),
    }
}

fn check_match(criterion: &Value) -> Result<(), String> {
    let property = criterion.get("property").and_then(Value::as_str).unwrap_or_default();
    let values = texts(criterion.get("value"));
    if values.is_empty() {
        return Err(format!("{property} needs at least one value"));
    }
    match property {
        "MatchPrefix" | "IgnorePrefix" => values.iter().try_for_each(|text| {
            text.parse::<crate::plan::Prefix>().map(drop).map_err(|complaint| complaint.to_string())
        }),
        "NextHop" => values.iter().try_for_each(|text| address(text)),
        "AsnRange" => {
            let numbers: Vec<u32> = values.iter().map(|text| asn(&json!(text))).collect::<Result<_, _>>()?;
            match numbers.as_slice() {
                [_] => Ok(()),
                [low, high] if low <= high => Ok(()),
                _ => Err("AsnRange takes one number, or the lowest and the highest".to_owned()),
            }
        }
        "Community" => values.iter().try_for_each(|text| community(text)),
        _ => Ok(()),
    }
}

fn check_set(action: &Value) -> Result<(), String> {
    let property = action.get("property").and_then(Value::as_str).unwrap_or_default();
    let values = texts(action.get("value")).into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
    let one_number = || match values.as_slice() {
        [text] => {
            text.parse::<u32>().map(drop).map_err(|_| format!("{property} takes a number from 0 to {}", u32::MAX))
        }
        _ => Err(format!("{property} takes one number")),
    };
    match property {
        "As-Path" if values.is_empty() => Err("As-Path takes the numbers to prepend".to_owned()),
        "As-Path" => {
            let mut numbers = values.iter().flat_map(|text| text.split([' ', ','])).filter(|text| !text.is_empty());
            numbers.try_for_each(|text| asn(&json!(text)).map(drop))
        }
        "Add-Community" | "Remove-Community" if values.is_empty() => Err(format!("{property} takes communities")),
        "Add-Community" | "Remove-Community" => values.iter().try_for_each(|text| community(text)),
        "MED" | "Weight" | "Local-Pref" => one_number(),
        "Next-Hop" => match values.as_slice() {
            [text] => address(text),
            _ => Err("Next-Hop takes one address".to_owned()),
        },
        _ if !values.is_empty() => Err(format!("{property} takes no value")),
        _ => Ok(()),
    }
}

fn address(text: &str) -> Result<(), String> {
    text.parse::<IpAddr>().map(drop).map_err(|_| format!("{} is no address", quoted(text)))
}

/// `1:1` (RFC 1997), one number, or a well-known name.
fn community(text: &str) -> Result<(), String> {
    const WELL_KNOWN: [&str; 4] = ["no-export", "no-advertise", "no-export-subconfed", "internet"];
    let good = match text.split_once(':') {
        Some((high, low)) => high.parse::<u16>().is_ok() && low.parse::<u16>().is_ok(),
        None => text.parse::<u32>().is_ok() || WELL_KNOWN.iter().any(|name| name.eq_ignore_ascii_case(text)),
    };
    if good { Ok(()) } else { Err(format!("{} is no community; write two numbers such as 65001:100", quoted(text))) }
}

/// What a router takes for its identifier when none is given.
pub fn router_id(router: &Value) -> Option<Ipv4Addr> {
    let first = |value: &Value| value.as_str()?.parse().ok();
    text(router, "routerId")
        .and_then(|text| text.parse().ok())
        .or_else(|| list(router, "routerIP").iter().find_map(first))
}
