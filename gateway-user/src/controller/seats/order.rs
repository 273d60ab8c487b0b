//! In which order gateways may take seats.

use super::settle::Pool;
use crate::controller::model::Id;
use std::collections::{BTreeMap, BTreeSet};

/// Who may take which seat, in order: first of all one that is no other seat's first, as far as there are enough of them, so that seats that
/// fail together do not wait for one gateway; one that stands elsewhere than the seat's bearer; one where the seat's VLANs are.
pub(super) fn order<'a>(
    pool: &Pool<'_>,
    seats: &BTreeMap<&'a Id, &'a Id>,
    idle: &BTreeSet<&'a Id>,
) -> BTreeMap<&'a Id, Vec<&'a Id>> {
    let liked = |seat: &Id, bearer: &Id| -> Vec<&'a Id> {
        let mut idle: Vec<&Id> = idle.iter().copied().collect();
        idle.sort_by_cached_key(|gateway| dislike(pool, seat, bearer, gateway));
        idle
    };
    let liked: BTreeMap<&Id, Vec<&Id>> = seats.iter().map(|(seat, bearer)| (*seat, liked(seat, bearer))).collect();
    let firsts = firsts(pool, &liked);
    let ordered = liked.into_iter().map(|(seat, mut gateways)| {
        if let Some(first) = firsts.get(seat)
            && let Some(at) = gateways.iter().position(|gateway| gateway == first)
        {
            gateways[..=at].rotate_right(1);
        }
        (seat, gateways)
    });
    ordered.collect()
}

/// What speaks against a gateway: that the seat's VLANs are not there, that it fails together with the bearer.
fn dislike<'a>(pool: &Pool<'_>, seat: &Id, bearer: &Id, gateway: &'a Id) -> (bool, bool, bool, &'a Id) {
    let of = |id: &Id| pool.gateways.get(id);
    let same = |one: Option<&Id>, other: Option<&Id>| one.is_some() && one == other;
    let (at, it) = (of(bearer), of(gateway));
    let host = same(at.and_then(|at| at.host.as_ref()), it.and_then(|it| it.host.as_ref()));
    let rack = same(at.and_then(|at| at.rack.as_ref()), it.and_then(|it| it.rack.as_ref()));
    (!(pool.may_take)(seat, gateway), host, rack, gateway)
}

/// Each seat's first: as many different ones as there are, in rounds, each a maximum matching by augmenting paths.
fn firsts<'a>(pool: &Pool<'_>, liked: &BTreeMap<&'a Id, Vec<&'a Id>>) -> BTreeMap<&'a Id, &'a Id> {
    let mut firsts = BTreeMap::new();
    let mut left: Vec<&Id> = liked.keys().copied().collect();
    loop {
        let mut taken: BTreeMap<&Id, &Id> = BTreeMap::new();
        for seat in &left {
            augment(pool, liked, seat, &mut taken, &mut BTreeSet::new());
        }
        firsts.extend(taken.iter().map(|(gateway, seat)| (*seat, *gateway)));
        let before = left.len();
        left.retain(|seat| !firsts.contains_key(seat));
        if left.is_empty() || left.len() == before {
            return firsts;
        }
    }
}

fn augment<'a>(
    pool: &Pool<'_>,
    liked: &BTreeMap<&'a Id, Vec<&'a Id>>,
    seat: &'a Id,
    taken: &mut BTreeMap<&'a Id, &'a Id>,
    seen: &mut BTreeSet<&'a Id>,
) -> bool {
    for gateway in liked.get(seat).into_iter().flatten().copied() {
        if !(pool.may_take)(seat, gateway) || !seen.insert(gateway) {
            continue;
        }
        let free = match taken.get(gateway).copied() {
            None => true,
            Some(other) => augment(pool, liked, other, taken, seen),
        };
        if free {
            taken.insert(gateway, seat);
            return true;
        }
    }
    false
}

/// For how many seats there is one of these gateways each.
pub(super) fn matched(pool: &Pool<'_>, seats: &[&Id], gateways: &[&Id]) -> usize {
    let liked: BTreeMap<&Id, Vec<&Id>> = seats.iter().map(|seat| (*seat, gateways.to_vec())).collect();
    let mut taken = BTreeMap::new();
    seats.iter().filter(|seat| augment(pool, &liked, seat, &mut taken, &mut BTreeSet::new())).count()
}
