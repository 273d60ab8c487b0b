//! Whether tables fit into the maps: at all, and beside what the maps hold while one takes the place of the other.

use super::error::{Error, Result};
use super::ids::FIRST_VETH;
use super::maps::Maps;
use super::tables::Tables;
use std::collections::HashMap;
use std::hash::Hash;

/// What there is room for.
#[derive(Debug)]
pub enum Room {
    /// The new tables beside the old ones.
    Beside,
    /// The new tables once what they do not have is gone; until then this is the error.
    AfterRemoving(Error),
}

/// One kind of things in a map.
struct Need {
    what: &'static str,
    map: &'static str,
    /// By the new tables alone.
    alone: usize,
    /// While the change is made.
    beside: usize,
    room: u32,
}

/// Compares what is needed with what there is.
pub fn check(maps: &Maps, old: &Tables, new: &Tables, routes_room: u32) -> Result<Room> {
    let full = |need: &Need, needed| Error::Full { what: need.what, map: need.map, needed, room: need.room as usize };
    let needs = needs(maps, old, new);
    if let Some(need) = needs.iter().find(|need| need.alone > need.room as usize) {
        return Err(full(need, need.alone));
    }
    let room = routes_room as usize;
    for (tenant, routes) in &new.routes {
        let needed = routes.v4.len().max(routes.v6.len());
        if needed > room {
            return Err(Error::RoutesFull { tenant: tenant.0, needed, room });
        }
    }
    let crowded = needs.iter().find(|need| need.beside > need.room as usize);
    Ok(crowded.map_or(Room::Beside, |need| Room::AfterRemoving(full(need, need.beside))))
}

fn needs(maps: &Maps, old: &Tables, new: &Tables) -> [Need; 16] {
    let numbered = |what, map, slots: (usize, usize), room| Need { what, map, alone: slots.0, beside: slots.1, room };
    let keyed = |what, map, (alone, beside), room| Need { what, map, alone, beside, room };
    [
        numbered("tenants", "TENANTS", dense(&new.tenants), maps.tenants.capacity()),
        numbered("connections", "CONNECTIONS", dense(&new.connections), maps.connections.capacity()),
        numbered("next hops", "NEXTHOPS", dense(&new.nexthops), maps.nexthops.capacity()),
        numbered("devices", "DEVICES", devices(&new.devices), maps.devices.capacity()),
        keyed("ports", "PORTS", both(&old.ports, &new.ports), maps.ports.capacity()),
        keyed("GRE tunnels", "GRE", both(&old.gre, &new.gre), maps.gre.capacity()),
        keyed("VLANs", "VLANS", both(&old.vlans, &new.vlans), maps.vlans.capacity()),
        keyed("virtual subnets", "FABRIC", both(&old.fabric, &new.fabric), maps.fabric.capacity()),
        keyed(
            "pairs of tenant and host",
            "FABRIC_PEERS",
            both(&old.fabric_peers, &new.fabric_peers),
            maps.fabric_peers.capacity(),
        ),
        keyed("attachments", "COMPARTMENTS", both(&old.compartments, &new.compartments), maps.compartments.capacity()),
        keyed("VIPs and provider addresses", "LOCAL", both(&old.local, &new.local), maps.local.capacity()),
        keyed("members of feasible sets", "FEASIBLE", both(&old.feasible, &new.feasible), maps.feasible.capacity()),
        keyed("steering rules, counted twice", "STEER", both(&old.steer, &new.steer), maps.steer.capacity()),
        keyed("virtual machines", "VMS", both(&old.vms, &new.vms), maps.vms.capacity()),
        keyed(
            "MAC addresses of virtual subnets",
            "STATIONS",
            both(&old.stations, &new.stations),
            maps.stations.capacity(),
        ),
        keyed("receivers of broadcasts", "FLOODS", both(&old.floods, &new.floods), maps.floods.capacity()),
    ]
}

/// Slots of an array, whose first is nobody's: as many as there are things, and up to the largest number that one has, since numbers in use
/// are not given out again before they are free.
fn dense<V>(things: &HashMap<u32, V>) -> (usize, usize) {
    let largest = things.keys().max().map_or(0, |largest| *largest as usize);
    (things.len() + 1, largest + 1)
}

/// The same for the device map, where veths come after ports.
fn devices(devices: &HashMap<u32, u32>) -> (usize, usize) {
    let (_, beside) = dense(devices);
    let veths = devices.keys().filter(|slot| **slot >= FIRST_VETH).count();
    let alone = if veths == 0 { devices.len() + 1 } else { FIRST_VETH as usize + veths + 1 };
    (alone, beside)
}

/// Keys of a hash map: the new ones, and those with the old ones, which go last.
fn both<K: Eq + Hash, V>(old: &HashMap<K, V>, new: &HashMap<K, V>) -> (usize, usize) {
    (new.len(), old.len() + new.keys().filter(|key| !old.contains_key(*key)).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_up_to_the_largest_and_keys_together() {
        let map = |keys: &[u32]| keys.iter().map(|key| (*key, 0)).collect::<HashMap<u32, u32>>();
        assert_eq!(dense(&map(&[])), (1, 1));
        assert_eq!(dense(&map(&[1, 2, 9])), (4, 10));
        assert_eq!(both(&map(&[1, 2]), &map(&[2, 3, 4])), (3, 4));
        assert_eq!(devices(&map(&[1, 2])), (3, 3));
        assert_eq!(devices(&map(&[1, 257, 300])), (259, 301));
    }
}
