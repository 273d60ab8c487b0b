//! Which of a tenant's gateways has its BGP router, and which addresses the others have.
//!
//! The router is the tenant's route reflector: the only neighbour of all its sites, whatever gateway their connections are on. It stays on the
//! gateway that it was given first as long as that one carries the tenant. The other gateways have an address each out of the gateway
//! subnet, by a number that they keep as long as they carry the tenant.

use crate::controller::model::Id;
use crate::controller::model::records::{Placement, Placements};
use crate::controller::model::tenant::{ConnectionType, VirtualGateway};
use std::collections::{BTreeMap, BTreeSet};

/// A tenant's placements: where its connections are, with the reflector and the numbers that follow from that and from what was before. Of
/// several gateways that come into question at once, the one with the fewest reflectors has it, and of those the first one.
pub fn seated(
    gateway: &VirtualGateway,
    connections: BTreeMap<Id, Placement>,
    before: Option<&Placements>,
    reflectors: impl Fn(&Id) -> usize,
) -> Placements {
    let carriers = carriers(gateway, &connections);
    // What was written before there was a choice has its reflector where the first connection is.
    let had = before.and_then(|before| {
        before.reflector.clone().or_else(|| self::carriers(gateway, &before.connections).first().cloned())
    });
    let fewest = || carriers.iter().enumerate().min_by_key(|(at, id)| (reflectors(id), *at)).map(|(_, id)| id.clone());
    let reflector = had.filter(|had| carriers.contains(had)).or_else(fewest);
    let others: BTreeSet<&Id> = carriers.iter().filter(|id| reflector.as_ref() != Some(id)).collect();
    let mut kept = before.map_or_else(BTreeMap::new, |before| before.numbers.clone());
    kept.retain(|id, _| others.contains(id));
    let numbers = numbers(kept, carriers.iter().filter(|id| others.contains(id)));
    Placements { connections, reflector, numbers }
}

/// The gateways that carry something of a tenant that has to do with routes, in the order of its connections.
fn carriers(gateway: &VirtualGateway, connections: &BTreeMap<Id, Placement>) -> Vec<Id> {
    let mut carriers = Vec::new();
    for connection in &gateway.network_connections {
        if connection.properties.connection_type != ConnectionType::IpSec
            && let Some(at) = connections.get(&connection.resource_id)
            && !carriers.contains(&at.gateway)
        {
            carriers.push(at.gateway.clone());
        }
    }
    carriers
}

/// The numbers of gateways: those that they have, and for the others the lowest ones, from 1 on, that nobody has.
pub fn numbers<'a>(mut numbers: BTreeMap<Id, u32>, gateways: impl Iterator<Item = &'a Id>) -> BTreeMap<Id, u32> {
    let mut taken: BTreeSet<u32> = numbers.values().copied().collect();
    for gateway in gateways {
        if !numbers.contains_key(gateway) {
            let free = (1..).find(|number| !taken.contains(number)).unwrap_or(u32::MAX);
            taken.insert(free);
            numbers.insert(gateway.clone(), free);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tenant(connections: &[&str]) -> VirtualGateway {
        let properties = json!({
            "connectionType": "GRE", "inboundKiloBitsPerSecond": 1000, "outboundKiloBitsPerSecond": 1000});
        let connection = |name: &&str| json!({"resourceId": name, "properties": properties});
        let connections: Vec<_> = connections.iter().map(connection).collect();
        serde_json::from_value(json!({ "networkConnections": connections })).expect("a virtual gateway")
    }

    fn at(places: &[(&str, &str)]) -> BTreeMap<Id, Placement> {
        let place =
            |gateway: &str| Placement { pool: "default".into(), gateway: gateway.into(), vip: None, transfer: None };
        places.iter().map(|(connection, gateway)| ((*connection).into(), place(gateway))).collect()
    }

    fn shown(placements: &Placements) -> String {
        let numbers: Vec<String> = placements.numbers.iter().map(|(id, number)| format!("{id}={number}")).collect();
        format!("{} {}", placements.reflector.as_ref().map_or("", Id::as_str), numbers.join(" "))
    }

    #[test]
    fn the_reflector_stays_while_its_gateway_carries_the_tenant() {
        let tenant = tenant(&["a", "b", "c"]);
        let first = seated(&tenant, at(&[("a", "GW1")]), None, |_| 0);
        assert_eq!(shown(&first), "GW1 ");
        let more = seated(&tenant, at(&[("a", "GW1"), ("b", "GW2"), ("c", "GW3")]), Some(&first), |_| 9);
        assert_eq!(shown(&more), "GW1 GW2=1 GW3=2");
        let moved = seated(&tenant, at(&[("a", "GW2"), ("b", "GW3"), ("c", "GW1")]), Some(&more), |_| 0);
        assert_eq!(shown(&moved), "GW1 GW2=1 GW3=2", "it is not the first connection that counts");
        let emptied = seated(&tenant, at(&[("a", "GW2"), ("b", "GW3"), ("c", "GW4")]), Some(&moved), |_| 0);
        assert_eq!(shown(&emptied), "GW2 GW3=2 GW4=1", "GW3 keeps its address");
        let none = seated(&tenant, at(&[]), Some(&emptied), |_| 0);
        assert_eq!(shown(&none), " ");
    }

    #[test]
    fn reflectors_of_different_tenants_spread_over_their_gateways() {
        let tenant = tenant(&["a", "b"]);
        let both = at(&[("a", "GW1"), ("b", "GW2")]);
        let chosen = |one: usize, two: usize| {
            let reflectors = |id: &Id| if *id == Id::from("GW1") { one } else { two };
            seated(&tenant, both.clone(), None, reflectors).reflector.expect("one of them")
        };
        assert_eq!((chosen(0, 0), chosen(2, 1), chosen(1, 2)), ("GW1".into(), "GW2".into(), "GW1".into()));
    }

    #[test]
    fn a_record_without_a_reflector_has_it_with_the_first_connection() {
        let tenant = tenant(&["a", "b"]);
        let old: Placements = serde_json::from_value(json!({"connections": {
            "a": {"pool": "default", "gateway": "GW2"}, "b": {"pool": "default", "gateway": "GW1"}}}))
        .expect("a record");
        let new = seated(&tenant, old.connections.clone(), Some(&old), |id| usize::from(*id == Id::from("GW2")) * 7);
        assert_eq!(shown(&new), "GW2 GW1=1");
    }
}
