//! A tenant's BGP: routers, their peers, and policy maps.

use super::{Reference, Resource};
use ::bgp::policy::{Criterion, Entry, EntryAction, Setting};
use serde::Deserialize;
use serde_json::Value;
use std::net::IpAddr;

/// A tenant's BGP router.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BgpRouter {
    /// Its autonomous system.
    pub ext_as_number: Option<String>,
    /// Its BGP identifier.
    pub router_id: Option<IpAddr>,
    /// Its addresses, out of the gateway subnet.
    #[serde(rename = "routerIP")]
    pub router_ip: Vec<IpAddr>,
    /// Its neighbours.
    pub bgp_peers: Vec<Resource<BgpPeer>>,
}

/// A neighbour at a site.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpPeer {
    /// Its address.
    pub peer_ip_address: IpAddr,
    /// Its autonomous system, in two halves.
    #[serde(default)]
    pub ext_as_number: Option<String>,
    /// Its autonomous system, plain.
    #[serde(default)]
    pub as_number: Option<String>,
    /// What is let in.
    #[serde(default)]
    pub policy_map_in: Option<Reference>,
    /// What is let out.
    #[serde(default)]
    pub policy_map_out: Option<Reference>,
}

/// What is let in from a peer, or out to it, and how it is changed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyMap {
    /// In their order.
    pub policy_map_entry_list: Vec<Value>,
}

impl PolicyMap {
    /// Its entries.
    pub fn entries(&self) -> Vec<Entry> {
        self.policy_map_entry_list.iter().map(entry).collect()
    }
}

/// An entry of a policy map.
pub fn entry(value: &Value) -> Entry {
    let part = |name: &str| value.get(name).and_then(Value::as_array).into_iter().flatten();
    Entry {
        name: value.get("policyName").and_then(Value::as_str).unwrap_or_default().to_owned(),
        action: match value.get("action").and_then(Value::as_str) {
            Some("Deny") => EntryAction::Deny,
            Some("ModifyAttribute") => EntryAction::ModifyAttribute,
            _ => EntryAction::Allow,
        },
        criteria: part("matchCriteria").map(criterion).collect(),
        settings: part("setActions").map(setting).collect(),
    }
}

/// A condition of an entry.
pub fn criterion(value: &Value) -> Criterion {
    Criterion { property: property(value), value: texts(value.get("value")) }
}

/// A change that an entry makes.
pub fn setting(value: &Value) -> Setting {
    Setting { property: property(value), value: texts(value.get("value")) }
}

fn property(value: &Value) -> String {
    value.get("property").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The texts of a value, whether it is one or an array.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(text)) => vec![text.clone()],
        _ => Vec::new(),
    }
}
