//! How many elements each map is made for.

use std::collections::BTreeMap;
use std::str::FromStr;

/// The maps' sizes by name. A map that is not named here is as large as the object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes(BTreeMap<String, u32>);

/// Maps that have one element a tenant.
const TENANT_MAPS: [&str; 5] = ["TENANTS", "TENANT_STATE", "TENANT_COUNTERS", "ROUTES4", "ROUTES6"];
/// Maps that have one element a connection.
const CONNECTION_MAPS: [&str; 3] = ["CONNECTIONS", "CONNECTION_STATE", "CONNECTION_COUNTERS"];
/// Maps that have one element a device.
const DEVICE_MAPS: [&str; 2] = ["DEVICES", "INTERFACES"];

/// Maps that have as many elements as the object says for each processor.
pub(super) const EACH_PROCESSORS: [&str; 2] = ["FLOWS4", "FLOWS6"];

impl Default for Sizes {
    /// Room for 16,384 tenants and 65,536 connections.
    fn default() -> Self {
        let mut sizes = Self(BTreeMap::new());
        sizes.set("TENANTS", 16_384);
        sizes.set("CONNECTIONS", 65_536);
        for (name, entries) in [
            ("NEXTHOPS", 131_072),
            ("GRE", 65_536),
            ("VLANS", 65_536),
            ("FABRIC", 65_536),
            ("FABRIC_PEERS", 131_072),
            ("COMPARTMENTS", 65_536),
            ("DEVICES", 65_536),
            ("LOCAL", 16_384),
            ("FEASIBLE", 131_072),
            ("STEER", 65_536),
            ("VMS", 16_384),
            ("STATIONS", 131_072),
            ("FLOODS", 131_072),
        ] {
            sizes.set(name, entries);
        }
        sizes
    }
}

impl Sizes {
    /// The size of a map, if it is named.
    pub fn get(&self, map: &str) -> Option<u32> {
        self.0.get(map).copied()
    }

    /// Sets a map's size. `TENANTS`, `CONNECTIONS` and `DEVICES` stand for all maps that have one element a tenant, connection or device.
    pub fn set(&mut self, map: &str, entries: u32) {
        let all: &[&str] = match map {
            "TENANTS" => &TENANT_MAPS,
            "CONNECTIONS" => &CONNECTION_MAPS,
            "DEVICES" => &DEVICE_MAPS,
            _ => &[map],
        };
        for name in all {
            self.0.insert((*name).to_owned(), entries);
        }
    }
}

/// One size as it stands on a command line: `CONNECTIONS=100000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// The map.
    pub map: String,
    /// Its elements.
    pub entries: u32,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (map, entries) = text.split_once('=').ok_or("write it as MAP=ENTRIES, such as CONNECTIONS=100000")?;
        let known = Sizes::default();
        if known.get(map).is_none() {
            let names: Vec<&str> = known.0.keys().map(String::as_str).collect();
            return Err(format!("there is no map {map} with a size of choice; there are {}", names.join(", ")));
        }
        match entries.parse() {
            Ok(entries) if entries > 0 => Ok(Self { map: map.to_owned(), entries }),
            _ => Err(format!("{entries} is not a number of entries from 1")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_with_an_element_a_tenant_grow_together() {
        let mut sizes = Sizes::default();
        let size: Size = "TENANTS=7".parse().expect("a size");
        sizes.set(&size.map, size.entries);
        assert!(TENANT_MAPS.iter().all(|name| sizes.get(name) == Some(7)));
        assert_eq!(sizes.get("CONNECTIONS"), Some(65_536));
        assert_eq!(sizes.get("EVENTS"), None);
    }

    #[test]
    fn a_size_that_means_nothing_is_refused() {
        for text in ["TENANTS", "TENANTS=0", "TENANTS=x", "NONE=7"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
