//! What the maps are to hold, as one value that can be compared.

use bytemuck::{Pod, Zeroable};
use gateway_common::tables::{
    Attachment, Connection, FabricKey, FabricPeerKey, FeasibleKey, Flood, FloodKey, GreKey, Local, Nexthop, Port,
    Prober, Route, SeatSetup, Settings, Station, StationKey, SteerKey, SteerTarget, Tenant, VlanKey, VmPort, Vnet,
};
use gateway_common::{Address, ConnectionId, OriginId, SeatId, TenantId};
use ipnet::IpNet;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

/// The content of all maps that user space fills. Generations are not in here: they are the history of changes, not part of what is to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// By interface index.
    pub ports: HashMap<u32, Port>,
    /// Interface indices by slot.
    pub devices: HashMap<u32, u32>,
    /// Tunnels.
    pub gre: HashMap<GreKey, ConnectionId>,
    /// Tenants' VLANs.
    pub vlans: HashMap<VlanKey, ConnectionId>,
    /// Virtual subnets.
    pub fabric: HashMap<FabricKey, Vnet>,
    /// Who may send on the fabric.
    pub fabric_peers: HashMap<FabricPeerKey, OriginId>,
    /// By interface index.
    pub compartments: HashMap<u32, Attachment>,
    /// The gateway's own outer addresses.
    pub local: HashMap<Address, Local>,
    /// By number; without generation.
    pub tenants: HashMap<u32, Tenant>,
    /// By number.
    pub connections: HashMap<u32, Connection>,
    /// By number.
    pub nexthops: HashMap<u32, Nexthop>,
    /// Members of feasible sets.
    pub feasible: HashMap<FeasibleKey, u8>,
    /// A mux's rules.
    pub steer: HashMap<SteerKey, SteerTarget>,
    /// Virtual machines on this host, by interface index.
    pub vms: HashMap<u32, VmPort>,
    /// MAC addresses of virtual subnets.
    pub stations: HashMap<StationKey, Station>,
    /// Who gets a virtual subnet's broadcasts.
    pub floods: HashMap<FloodKey, Flood>,
    /// Each tenant's routes; shared with the tables of the next plan where nothing changed.
    pub routes: HashMap<TenantId, Arc<TenantRoutes>>,
    /// What seats show, by slot. Their gates are in no tables: they are their holder's.
    pub seats: HashMap<u32, SeatSetup>,
    /// Seats' slots by their names on the wire.
    pub seat_numbers: HashMap<u32, SeatId>,
    /// The gateways whose probes are answered, by their names on the wire.
    pub probers: HashMap<u32, Prober>,
    /// What holds for the whole gateway.
    pub settings: Settings,
}

/// A tenant's routes, each family sorted by prefix, no prefix twice. At a million routes this form matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantRoutes {
    /// IPv4.
    pub v4: Box<[(Prefix4, Route)]>,
    /// IPv6.
    pub v6: Box<[(Prefix6, Route)]>,
}

/// An IPv4 prefix as the kernel's trie has it. Ordered by length, then address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Prefix4 {
    /// Its length.
    pub len: u32,
    /// Its bytes on the wire.
    pub address: [u8; 4],
}

/// An IPv6 prefix as the kernel's trie has it. Ordered by length, then address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Prefix6 {
    /// Its length.
    pub len: u32,
    /// Its bytes on the wire.
    pub address: [u8; 16],
}

/// A prefix of either family, as its own family's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyPrefix {
    /// IPv4.
    V4(Prefix4),
    /// IPv6.
    V6(Prefix6),
}

impl From<IpNet> for AnyPrefix {
    fn from(net: IpNet) -> Self {
        let len = u32::from(net.prefix_len());
        match net.network() {
            IpAddr::V4(address) => Self::V4(Prefix4 { len, address: address.octets() }),
            IpAddr::V6(address) => Self::V6(Prefix6 { len, address: address.octets() }),
        }
    }
}

impl From<IpAddr> for AnyPrefix {
    fn from(address: IpAddr) -> Self {
        IpNet::from(address).into()
    }
}

/// What must be written and what removed to make one map of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<K, V> {
    /// Keys to write.
    pub keys: Vec<K>,
    /// Their values, in the same order.
    pub values: Vec<V>,
    /// Keys to remove.
    pub gone: Vec<K>,
}

impl<K, V> Difference<K, V> {
    /// Whether the two are the same.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.gone.is_empty()
    }

    fn none() -> Self {
        Self { keys: Vec::new(), values: Vec::new(), gone: Vec::new() }
    }
}

/// The difference between two hash maps.
pub fn difference<K: Copy + Eq + Hash, V: Copy + PartialEq>(
    old: &HashMap<K, V>,
    new: &HashMap<K, V>,
) -> Difference<K, V> {
    let mut difference = Difference::none();
    for (key, value) in new {
        if old.get(key) != Some(value) {
            difference.keys.push(*key);
            difference.values.push(*value);
        }
    }
    // Most often nothing has gone, and the lengths say so without another walk.
    let kept = new.len() - difference.keys.iter().filter(|key| !old.contains_key(key)).count();
    if kept < old.len() {
        difference.gone = old.keys().filter(|key| !new.contains_key(key)).copied().collect();
    }
    difference
}

/// The difference between two sorted lists.
pub fn sorted_difference<K: Copy + Ord, V: Copy + PartialEq>(old: &[(K, V)], new: &[(K, V)]) -> Difference<K, V> {
    let mut difference = Difference::none();
    if old == new {
        return difference;
    }
    let mut old = old.iter().peekable();
    for &(key, value) in new {
        while let Some(&&(gone, _)) = old.peek().filter(|(old, _)| *old < key) {
            difference.gone.push(gone);
            old.next();
        }
        match old.next_if(|(old, _)| *old == key) {
            Some((_, same)) if *same == value => {}
            _ => {
                difference.keys.push(key);
                difference.values.push(value);
            }
        }
    }
    difference.gone.extend(old.map(|&(key, _)| key));
    difference
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn applied(old: &BTreeMap<u8, u8>, difference: &Difference<u8, u8>) -> BTreeMap<u8, u8> {
        let mut new = old.clone();
        new.extend(difference.keys.iter().copied().zip(difference.values.iter().copied()));
        for key in &difference.gone {
            assert!(new.remove(key).is_some());
        }
        new
    }

    proptest! {
        #[test]
        fn a_difference_makes_the_new_of_the_old_and_is_minimal(
            old in proptest::collection::btree_map(0u8..30, 0u8..3, 0..20),
            new in proptest::collection::btree_map(0u8..30, 0u8..3, 0..20),
        ) {
            let sorted = |map: &BTreeMap<u8, u8>| map.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>();
            let hashed = |map: &BTreeMap<u8, u8>| map.iter().map(|(k, v)| (*k, *v)).collect::<HashMap<_, _>>();
            let changed = new.iter().filter(|(key, value)| old.get(key) != Some(value)).count();
            let gone = old.keys().filter(|key| !new.contains_key(key)).count();
            for difference in [sorted_difference(&sorted(&old), &sorted(&new)), difference(&hashed(&old), &hashed(&new))] {
                prop_assert_eq!(&applied(&old, &difference), &new);
                prop_assert_eq!(difference.keys.len(), changed);
                prop_assert_eq!(difference.gone.len(), gone);
                prop_assert_eq!(difference.is_empty(), old == new);
            }
        }
    }

    #[test]
    fn a_prefix_is_as_the_trie_has_it() {
        let v4: IpNet = "10.1.2.0/24".parse().expect("a prefix");
        assert_eq!(AnyPrefix::from(v4), AnyPrefix::V4(Prefix4 { len: 24, address: [10, 1, 2, 0] }));
        assert_eq!(bytemuck::bytes_of(&Prefix4 { len: 24, address: [10, 1, 2, 0] }), [24, 0, 0, 0, 10, 1, 2, 0]);
        assert_eq!(size_of::<Prefix6>(), 20);
    }
}
