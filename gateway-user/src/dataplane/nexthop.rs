//! How a next hop's record becomes another one while packets may be reading it.
//!
//! A record is copied word by word in no order that could be relied on, so a packet may read part of it before and part of it after. What leads
//! to no packet's being sent (unresolved, a black hole) is read as far as its kind only; so between two records of which one sends and one
//! does not, the kind is written by itself.

use gateway_common::tables::Nexthop;

/// Whether more than its kind is read by packets.
fn sends(nexthop: &Nexthop) -> bool {
    matches!(nexthop.kind, Nexthop::ADJACENCY | Nexthop::GROUP)
}

/// What is written first where `old` sends and another kind takes its place: the old record under a kind that does not send. To be followed by a
/// wait for the packets that read the old kind.
pub fn retired(old: &Nexthop, new: &Nexthop) -> Option<Nexthop> {
    (sends(old) && old.kind != new.kind).then(|| {
        let kind = if sends(new) { Nexthop::UNRESOLVED } else { new.kind };
        Nexthop { kind, ..*old }
    })
}

/// What is written before `new` itself where that sends and is of another kind than the old one: the new record under a kind that does not send.
pub fn prepared(old: &Nexthop, new: &Nexthop) -> Option<Nexthop> {
    (sends(new) && old.kind != new.kind).then(|| {
        let kind = if sends(old) { Nexthop::UNRESOLVED } else { old.kind };
        Nexthop { kind, ..*new }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [u32; 5] =
        [Nexthop::UNRESOLVED, Nexthop::ADJACENCY, Nexthop::GROUP, Nexthop::LOCAL, Nexthop::BLACKHOLE];

    /// Whatever mixture of two neighbouring steps a packet reads, it is one of them, or does not send.
    #[test]
    fn no_packet_is_sent_by_half_of_a_record() {
        for (from, to) in KINDS.iter().flat_map(|from| KINDS.map(|to| (*from, to))) {
            let old = Nexthop { kind: from, mtu: 1, header: [1; _], ..Nexthop::default() };
            let new = Nexthop { kind: to, mtu: 2, header: [2; _], ..Nexthop::default() };
            let steps = [Some(old), retired(&old, &new), prepared(&old, &new), Some(new)];
            let steps: Vec<Nexthop> = steps.into_iter().flatten().collect();
            if from == to {
                assert_eq!(steps.len(), 2, "one record of the kind replaces the other");
                continue;
            }
            for pair in steps.windows(2) {
                let only_kind = Nexthop { kind: 0, ..pair[0] } == Nexthop { kind: 0, ..pair[1] };
                assert!(only_kind || !pair.iter().any(sends), "{from} to {to}: {pair:?}");
            }
        }
    }
}
