//! In which order a pool's gateways are taken into use, so that those next to each other fail apart.

use super::spec::GatewaySpec;
use crate::controller::model::Id;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What fails together with a gateway: its rack, else its host, else itself alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group<'a> {
    Rack(&'a Id),
    Host(&'a Id),
    Alone(&'a Id),
}

/// Positions of `gateways` in the order in which they become active. The standbys are taken from the end: each from the rack, then from the
/// host, that has the fewest standbys so far, then the largest, so that one failure leaves as many of them as possible.
pub(super) fn fill_order(gateways: &[&GatewaySpec]) -> Vec<usize> {
    let rack = |at: &usize| {
        let gateway = gateways[*at];
        match (&gateway.rack, &gateway.host) {
            (Some(rack), _) => Group::Rack(rack),
            (None, Some(host)) => Group::Host(host),
            (None, None) => Group::Alone(&gateway.id),
        }
    };
    let host = |at: &usize| {
        let gateway = gateways[*at];
        (rack(at), gateway.host.as_ref().map_or(Group::Alone(&gateway.id), Group::Host))
    };
    let mut order: Vec<usize> = (0..gateways.len()).collect();
    order.sort_by(|one, other| gateways[*other].id.cmp(&gateways[*one].id));
    take_turns(&mut order, host);
    take_turns(&mut order, rack);
    order.reverse();
    order
}

/// Takes one of each group, then the second of each, and so on: larger groups first, then those that come last by name.
fn take_turns<G: Ord + Clone>(order: &mut [usize], group: impl Fn(&usize) -> G) {
    let mut sizes: BTreeMap<G, usize> = BTreeMap::new();
    let mut turns = BTreeMap::new();
    for at in order.iter() {
        let size = sizes.entry(group(at)).or_default();
        turns.insert(*at, *size);
        *size += 1;
    }
    order.sort_by_cached_key(|at| {
        let group = group(at);
        (turns[at], Reverse(sizes[&group]), Reverse(group))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::placement::tests::gateway_at;

    fn order(gateways: &[(&str, &str, &str)]) -> String {
        let specs: Vec<GatewaySpec> = gateways.iter().map(|(id, host, rack)| gateway_at(id, "P", host, rack)).collect();
        let order = fill_order(&specs.iter().collect::<Vec<_>>());
        order.iter().map(|at| gateways[*at].0).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn without_places_the_order_is_by_name() {
        assert_eq!(order(&[("GW3", "", ""), ("gw1", "", ""), ("GW2", "", "")]), "gw1 GW2 GW3");
    }

    #[test]
    fn neighbours_in_the_order_are_in_different_racks() {
        let racks = [
            ("A1", "", "r1"),
            ("A2", "", "r1"),
            ("B1", "", "r2"),
            ("B2", "", "r2"),
            ("C1", "", "r3"),
            ("C2", "", "r3"),
        ];
        assert_eq!(order(&racks), "A1 B1 C1 A2 B2 C2");
    }

    #[test]
    fn within_a_rack_neighbours_are_on_different_hosts() {
        let hosts = [("A1", "h1", "r"), ("A2", "h1", "r"), ("B1", "h2", "r"), ("B2", "h2", "r")];
        assert_eq!(order(&hosts), "A1 B1 A2 B2");
    }

    #[test]
    fn the_last_ones_are_of_different_racks_however_unequal_the_racks_are() {
        let racks = [("A1", "", "r1"), ("A2", "", "r1"), ("A3", "", "r1"), ("B1", "", "r2")];
        assert_eq!(order(&racks), "A1 A2 B1 A3");
    }
}
